"""Mamba-3 over time on the GPU: what is not finite, and faults put into the kernels."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import sanitized
from emulated import to_device
from hostcupy.settings import using
from judging import (
    DTYPES,
    assert_right,
    device_op,
    numbers,
    on_device,
    ours,
    verdict_on,
)
from mamba3_calls import MIMO, NEAR, SISO, cut, distances, mimo, packed, siso
from ssmref.gpu import _mamba3_scan, _segments
from ssmref.gpu._launch import Program

from ssmref.conformance.precision import dtype_of, per_token, rounded
from ssmref.conformance.verdict import FAILED
from ssmref.ops import OPS, implementation

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.mark.parametrize("name", ["x", "dt", "A", "B", "C", "trap", "angles"])
def test_a_nan_stays_in_its_head_and_row(name):
    call = on_device(SISO, siso(batch=2, heads=3, groups=3, length=40))
    call[name][1, 20, 2] = np.nan
    y, state = device_op(SISO)(**call)
    bad = np.isnan(y.get())
    assert bad[1, 20:, 2].all() == (name != "C")
    assert bad[1, 20, 2].all()
    bad[1, :, 2] = False
    assert not bad.any()
    others = np.isnan(state.ssm.get())
    assert others[1, 2].any() == (name != "C")
    others[1, 2] = False
    assert not others.any()


def spoilt(call, value):
    """Return the call with one number of each row replaced by a value.

    It comes to x, B and C at all places of a tile and next to it; NaN to all else.
    """
    names = ("x", "B", "C", "dt", "A", "trap", "angles")
    places = [(n, value, t) for n in names[:3] for t in range(15, 33)]
    places += [(n, np.nan, 21) for n in names[3:]]
    call = {n: call[n][np.zeros(len(places), int)] for n in names}
    for row, (name, number, token) in enumerate(places):
        call[name][row, token].flat[-1] = number
    return call


# Of infinite numbers golden may have sums in which they cancel, to NaN.
@pytest.mark.parametrize(
    ("make", "value", "found_by"),
    [
        (siso, np.nan, np.isnan),
        (siso, -np.inf, lambda x: ~np.isfinite(x)),
        (partial(mimo, 3), np.nan, np.isnan),
    ],
)
@each_dtype
def test_what_is_not_finite_is_seen_as_by_golden(make, value, found_by, dtype):
    seen, expected = not_finite(make, value, found_by, dtype)
    assert expected[0].any()
    for one, other in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_infinite_as_a_factor_is_seen(with_fault):
    right = "if (overflown(h)) add_seen(out, desk, n);"
    with_fault("mamba3_scan.cu", right, "if (false) ;")
    seen, expected = not_finite(siso, np.nan, np.isnan, "bfloat16")
    assert (seen[0] & ~expected[0]).any()
    assert not (expected[0] & ~seen[0]).any()


def not_finite(make, value, found_by, dtype):
    """Return where outputs of ours and of golden are not finite."""
    op = SISO if make is siso else MIMO
    call = make(batch=1, length=40, heads=1, headdim=3, state=4, angles=1)
    low = rounded(spoilt(call, value), dtype_of(dtype), per_token(OPS[op]))
    found = numbers(device_op(op)(**{n: to_device(v) for n, v in low.items()}))
    golden = implementation(OPS[op], "ssmref.golden")
    with np.errstate(all="ignore"):
        expected = numbers(golden(**rounded(low, np.dtype(np.float64))))
    return [found_by(a) for a in found], [found_by(a) for a in expected]


def test_wrong_results_are_refused():
    def turned_twice(*args, initial_state, **options):
        angle = initial_state.angle + np.float32(0.001)
        state = initial_state._replace(angle=angle)
        return ours(SISO)(*args, initial_state=state, **options)

    def without_before(*args, initial_state, **options):
        state = initial_state._replace(k=0 * initial_state.k)
        return ours(SISO)(*args, initial_state=state, **options)

    for wrong in (turned_twice, without_before):
        assert verdict_on(wrong, SISO, siso(length=20)).status == FAILED


# What is wrong: the file, a piece of its text, and what stands there instead.
FAULTS = {
    "chunks are not waited for": (
        "mamba3_scan.cu",
        "cp_async_wait<0>();\n      __syncthreads();  // the chunk has arrived",
        "__syncthreads();  // the chunk has arrived",
    ),
    "scores are read before they are whole": (
        "mamba3_scan.cu",
        "__syncthreads();  // scores of every row",
        "// scores of every row",
    ),
    "keys are read before they are rotated": (
        "mamba3_scan.cu",
        "__syncthreads();  // keys and queries, x",
        "// keys and queries, x",
    ),
    "angles are read before they stand": (
        "mamba3_scan.cu",
        "__syncthreads();  // sines",
        "",
    ),
    "the step behind a chunk is left out": (
        "mamba3_chunk.cuh",
        "now + sigmoid(-s.next_trap) * s.next_dt",
        "now + (lane + 1 < tokens ? sigmoid(-s.next_trap) * s.next_dt : 0.f)",
    ),
    "a token counts for itself as for others": (
        "mamba3_tiles.cuh",
        "tokens == 0 ? c.now[i]",
        "tokens == 0 ? c.weight[i]",
    ),
    "a fragment is transposed": (
        "products.cuh",
        "ldmatrix_x4_trans(words",
        "ldmatrix_x4(words",
    ),
    "a segment starts from nothing": (
        "state_carry.cu",
        "next = fmaf(ex2(spans[s * heads + number / numbers]), h, here);",
        "next = here;",
    ),
    "angles of a segment start from nothing": (
        "mamba3_carry.cu",
        "start = add_turns(start, turned);",
        "start = turned;",
    ),
}


PROGRAMS = (_mamba3_scan, "SCAN"), (_mamba3_scan, "CARRY"), (_segments, "CARRY")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault, with_fault, monkeypatch):
    with_fault(*FAULTS[fault])
    cut(monkeypatch, 2)
    call = mimo(4, batch=1, length=70, headdim=18, state=8, angles=3)
    call["A"] *= 0.02  # what segments pass on is not forgotten
    seen = []
    for seed in (1, 2, 3):
        with using(resident=2, seed=seed):
            seen.append(max(distances(MIMO, call, "bfloat16")))
    assert not max(seen) < NEAR["bfloat16"]


def test_faults_are_put_into_copies(tmp_path):
    assert (
        replace(_mamba3_scan.SCAN, folder=tmp_path).source == _mamba3_scan.SCAN.source
    )
    assert isinstance(_mamba3_scan.SCAN, Program)


def without_faults():
    lengths = (0, 1, 36)
    call = packed(mimo(3, length=sum(lengths), headdim=18, state=6, angles=2), lengths)
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, 1)
        assert_right(MIMO, call, "bfloat16")


@pytest.mark.parametrize("mode", ["asan", "tsan"])
def test_sanitizers_find_nothing(mode):
    _ = sanitized.run(mode, "test_mamba3_faults:without_faults")
