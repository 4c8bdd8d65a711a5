import numpy as np
import pytest

from ssmref.bench.workloads import GROUPS, LENGTHS, WORKLOADS
from ssmref.conformance.vectors.parts import arrays, input_axes
from ssmref.ops import OPS

F32 = np.dtype(np.float32)
MEBIBYTE = 2**20


def named(workload_id):
    return next(w for w in WORKLOADS if w.id == workload_id)


def test_ids_and_definitions_tell_workloads_apart():
    assert len({w.id for w in WORKLOADS}) == len(WORKLOADS)
    assert len({w.definition for w in WORKLOADS}) == len(WORKLOADS)
    assert {w.group for w in WORKLOADS} == set(GROUPS)


@pytest.mark.parametrize(
    "workload_id",
    [
        "mamba1.selective_scan/b1l8192d1536n16",
        "mamba2.ssd/b1l8192h24p64g1n128",
        "mamba3.siso/b1l8192h24p64g1n128s32",
        "mamba3.mimo/b1l8192h24p64g1r4n128s32",
        "attention.attention/b1l4096h24p64",
        "s4.s4_convolution/b1l16384d512r1n32",
        "s4d.s4d_convolution/b1l16384d512n32",
    ],
)
def test_the_published_targets_are_there(workload_id):
    assert named(workload_id).group == "targets"


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.id)
def test_small_sizes_and_samples_are_of_the_same_op(workload):
    assert set(workload.small) == set(workload.sizes)
    assert all(
        workload.small[n] <= s for n, s in workload.sizes.items() if n != "batch"
    )
    case = workload.small_case()
    made = arrays(case.arguments(F32))
    words = {w for n, a in made.items() for w in input_axes(OPS[case.op], n, a.ndim)}
    cut = set(workload.sample)
    assert cut <= words | {"slots", "rows", "batch", "kv_heads"}
    assert not cut or cut & words


def test_steps_take_turns_until_the_caches_are_full():
    step = named("mamba1.selective_scan_step/b1d1536n16")
    copies = step.copies(F32, MEBIBYTE)
    assert copies * step.input_bytes(F32) >= 3 * MEBIBYTE
    assert (copies - 1) * step.input_bytes(F32) < 3 * MEBIBYTE
    assert step.copies(F32, 2**40) == 512
    assert step.copies(F32, 1) == 1


def test_sequences_come_once():
    assert named("mamba1.selective_scan/b1l8192d1536n16").copies(F32, 2**40) == 1


def test_growth_reaches_a_million_tokens():
    assert LENGTHS == (1024, 4096, 16384, 65536, 262144, 1048576)


def test_a_resized_workload_is_another_one():
    step = named("mamba1.selective_scan/b1l8192d1536n16")
    short = step.resized(length=16)
    assert short.id == "mamba1.selective_scan/b1l16d1536n16"
    assert short.small["length"] == 16
    assert short.definition != step.definition
    assert step.sizes["length"] == 8192
