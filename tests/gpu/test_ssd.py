"""Mamba-2 over time on the GPU: tiles, strides and segments that the cases have not."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import sanitized
from emulated import to_device
from hostcupy.settings import using
from judging import (
    DTYPES,
    assert_right,
    assert_same,
    device_op,
    numbers,
    on_device,
    ours,
    verdict_on,
)
from ssmref.gpu import _mamba2_scan, precision
from ssmref.gpu._mamba2_chunks import STATES, layout, segment_length
from ssmref.gpu._segments import BLOCKS
from support.mamba2_inputs import ssd_example

from ssmref.conformance.precision import dtype_of, per_token, rounded
from ssmref.conformance.verdict import FAILED
from ssmref.ops import OPS, implementation

SSD = "mamba2.ssd"
# What a block may have on the smallest of the devices: 8.6, 8.9 and 12.0.
LEAST_SHARED = 99 * 1024
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def rng():
    return np.random.default_rng(5)


def inputs(**sizes):
    return ssd_example(rng(), **{"batch": 1, "heads": 2, "groups": 1, **sizes})


def slow(**sizes):
    """Return inputs whose states remember all of the sequence."""
    call = inputs(**sizes)
    return call | {"A": -rng().uniform(0.002, 0.02, len(call["A"]))}


def packed(lengths, **sizes):
    """Return a pack of sequences of these lengths, each with its own state."""
    call = slow(length=sum(lengths), **sizes)
    shape = len(lengths), *call["initial_state"].shape[1:]
    bounds = np.cumsum([0, *lengths])
    return call | {
        "cu_seqlens": bounds,
        "initial_state": rng().standard_normal(shape),
    }


def cut(monkeypatch, chunks):
    """Cut sequences in segments of so many chunks."""
    monkeypatch.setattr(
        _mamba2_scan, "segment_length", lambda laid, *_: chunks * laid.rows
    )


def distances(call, dtype):
    """Return how far y and the state are from golden, as a part of their size.

    Limits of low precisions are wide for single numbers: a wrong fragment may pass.
    """
    low = rounded(call, dtype_of(dtype), per_token(OPS[SSD]))
    found = numbers(device_op(SSD)(**{n: to_device(v) for n, v in low.items()}))
    golden = implementation(OPS[SSD], "ssmref.golden")
    expected = numbers(golden(**rounded(low, np.dtype(np.float64))))
    pairs = zip(found, expected, strict=True)
    return [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs]


# How far products of these dtypes lead, at most, of all numbers together.
NEAR = {"float32": 2**-19, "bfloat16": 2**-7, "float16": 2**-10}

# Around the tiles: 16 columns and 64 of headdim, 16, 64, 128 and 256 states, chunks of
# 64, 32 or 16 tokens.
SIZES = {
    "one": {"length": 1, "headdim": 1, "state": 1},
    "odd": {"length": 9, "headdim": 3, "state": 7},
    "a-tile": {"length": 64, "headdim": 16, "state": 16},
    "beyond-a-tile": {"length": 65, "headdim": 17, "state": 18},
    "a-block": {"length": 33, "headdim": 64, "state": 64},
    "two-blocks": {"length": 31, "heads": 1, "headdim": 70, "state": 65},
    "checkpoint": {"length": 100, "headdim": 64, "state": 128},
    "most-states": {"length": 35, "heads": 1, "headdim": 20, "state": 256},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SIZES)
def test_sizes_around_tiles(name, dtype):
    assert_right(SSD, inputs(**SIZES[name]), dtype)


@each_dtype
@pytest.mark.parametrize("name", ["checkpoint", "most-states", "beyond-a-tile"])
def test_all_numbers_together_are_near(name, dtype):
    assert max(distances(slow(**SIZES[name]), dtype)) < NEAR[dtype]


@each_dtype
def test_segments(dtype, monkeypatch):
    cut(monkeypatch, 1)
    call = slow(batch=2, length=150, headdim=17, state=9)
    assert_right(SSD, call, dtype)
    assert max(distances(call, dtype)) < NEAR[dtype]
    del call["initial_state"]
    assert_right(SSD, call, dtype)


@pytest.mark.parametrize("chunks", [1, 2, 100])
def test_packs(chunks, monkeypatch):
    cut(monkeypatch, chunks)
    call = packed((0, 1, 63, 0, 65, 130), headdim=5, state=6)
    assert_right(SSD, call, "bfloat16")
    assert_right(SSD, call)


def test_a_nan_stays_in_its_sequence(monkeypatch):
    cut(monkeypatch, 1)
    call = on_device(SSD, packed((40, 70, 20)), "bfloat16")
    expected = numbers(device_op(SSD)(**call))
    call["x"][:, 40:110] = np.nan
    y, state = numbers(device_op(SSD)(**call))
    assert np.isnan(y[:, 40:110]).all()
    assert np.isnan(state[1]).all()
    np.testing.assert_array_equal(
        np.delete(y, np.s_[40:110], 1)[0], np.delete(expected[0], np.s_[40:110], 1)[0]
    )
    np.testing.assert_array_equal(state[[0, 2]], expected[1][[0, 2]])


# One token of a row of the batch is spoilt: that of x at every place in tiles of 16, in
# each tile of two chunks; others at a few.
SPOILT = [
    (name, value, token)
    for value in (np.nan, np.inf)
    for name, tokens in (
        ("x", [t + t % 3 * 16 for t in range(16)]),
        *((name, (0, 21, 38)) for name in ("dt", "B", "C", "z")),
    )
    for token in tokens
]


def spoilt(dtype):
    """Return numbers of y and the state that are finite, and those of golden."""
    call = slow(batch=len(SPOILT), length=48, headdim=3, state=5)
    call["dt_limit"] = (0.0, np.inf)
    for row, (name, value, token) in enumerate(SPOILT):
        call[name][row, token].flat[-1] = value
    low = rounded(call, dtype_of(dtype), per_token(OPS[SSD]))
    found = numbers(device_op(SSD)(**{n: to_device(v) for n, v in low.items()}))
    with np.errstate(all="ignore"):
        golden = implementation(OPS[SSD], "ssmref.golden")
        expected = numbers(golden(**rounded(low, np.dtype(np.float64))))
    return [[np.isfinite(a) for a in arrays] for arrays in (found, expected)]


@pytest.mark.parametrize(
    "dtype", [*DTYPES, pytest.param("tf32", marks=pytest.mark.thorough)]
)
def test_what_is_not_finite_spreads_as_in_golden(dtype):
    inside = precision.tf32() if dtype == "tf32" else nullcontext()
    with inside:
        found, expected = spoilt("float32" if dtype == "tf32" else dtype)
    for one, other in zip(found, expected, strict=True):
        assert not other.all()
        np.testing.assert_array_equal(one, other)


def as_parts(call):
    """Return x, B, C, z and dt as parts of the rows of one projection."""
    names = ("x", "B", "C", "z", "dt")
    host = [call[name].get() for name in names]
    lead = host[0].shape[:2]
    rows = to_device(np.concatenate([a.reshape(*lead, -1) for a in host], axis=2))
    ends = np.cumsum([a[0, 0].size for a in host]).tolist()
    parts = zip(names, [0, *ends], ends, host, strict=False)
    return {name: rows[:, :, i:j].reshape(a.shape) for name, i, j, a in parts}


@pytest.mark.parametrize("headdim", [16, 9])
def test_inputs_may_be_parts_of_a_projection(headdim):
    sizes = {"batch": 2, "length": 67, "headdim": headdim, "state": 8}
    call = on_device(SSD, inputs(**sizes), "bfloat16")
    parts = as_parts(call)
    assert parts["B"].strides[1] > call["B"].strides[1]
    assert_same(device_op(SSD)(**{**call, **parts}), device_op(SSD)(**call))


@each_dtype
@pytest.mark.parametrize("offset", [1, 2, 4])
def test_arrays_may_begin_anywhere(offset, dtype):
    with using(offset=offset):
        assert_right(SSD, inputs(length=67, headdim=24, state=16), dtype)


@each_dtype
def test_order_of_threads_changes_nothing(dtype, monkeypatch):
    cut(monkeypatch, 1)
    call = on_device(SSD, slow(length=140, headdim=64, state=16), dtype)
    expected = device_op(SSD)(**call)
    for seed in (1, 2):
        with using(seed=seed, resident=3):
            assert_same(device_op(SSD)(**call), expected)


def test_arguments_stay_as_they_are(cupy):
    call = on_device(SSD, packed((30, 40)))
    arrays = tuple(v for v in call.values() if isinstance(v, cupy.ndarray))
    before = numbers(arrays)
    _ = device_op(SSD)(**call)
    for one, other in zip(numbers(arrays), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sizes", [{"length": 0}, {"batch": 0}, {"headdim": 0}])
def test_nothing_to_do(sizes):
    call = on_device(SSD, inputs(**sizes))
    y, state = device_op(SSD)(**call)
    assert y.shape == call["x"].shape
    assert_same(state, call["initial_state"])


def test_states_that_have_no_room_are_refused():
    call = on_device(SSD, inputs(state=257, headdim=1))
    with pytest.raises(ValueError, match="B has 257 states; at most 256"):
        _ = device_op(SSD)(**call)


@pytest.mark.parametrize("per_group", [1, 2, 7, 8])
@pytest.mark.parametrize("itemsize", [2, 4])
def test_every_state_has_a_layout(itemsize, per_group):
    for size in range(1, STATES[-1] + 1):
        laid = layout(itemsize, size, per_group)
        assert laid is not None
        assert laid.state >= size
        assert per_group % laid.heads == 0
        assert laid.shared(itemsize, gated=True) <= LEAST_SHARED
    assert layout(itemsize, STATES[-1] + 1, per_group) is None


def test_blocks_have_two_heads_where_there_is_room():
    def heads(itemsize, size, per_group):
        laid = layout(itemsize, size, per_group)
        assert laid is not None
        return laid.heads

    assert heads(2, 128, 80) == heads(2, 16, 2) == 2
    assert heads(2, 128, 1) == heads(2, 128, 3) == heads(2, 129, 2) == 1
    assert heads(4, 16, 2) == 1


def test_segments_fill_the_gpu_where_rows_do_not():
    def cut_at(heads, length, batch=1):
        laid = layout(2, 128, heads)
        assert laid is not None
        return segment_length(laid, heads, 64, batch * length, length, 132)

    assert cut_at(128, 2048, 8) == 2048
    few = cut_at(24, 65536)
    assert few % 64 == 0
    assert 24 / 2 * 65536 / few <= 132 * BLOCKS
    assert few * 3 <= 65536
    for length in (0, 1, 500):
        assert cut_at(24, length) == max(length, 1)


def test_wrong_results_are_refused():
    def tiled(x, dt, A, B, C, **options):
        B, C = (np.tile(X, (1, 1, len(A) // X.shape[2], 1)) for X in (B, C))
        return ours(SSD)(x, dt, A, B, C, **options)

    def fresh(*args, initial_state, **options):
        return ours(SSD)(*args, initial_state=0 * initial_state, **options)

    for wrong in (tiled, fresh):
        call = inputs(length=20, heads=4, groups=2)
        assert verdict_on(wrong, SSD, call).status == FAILED


# What is wrong: the file, a piece of its text, and what stands there instead.
FAULTS = {
    "chunks are waited for behind the barrier": (
        "ssd_scan.cu",
        "cp_async_wait<0>();\n    __syncthreads();",
        "__syncthreads();\n    cp_async_wait<0>();",
    ),
    "scores are read before they are whole": (
        "ssd_scan.cu",
        "__syncthreads();  // scores of every row",
        "// scores of every row",
    ),
    "weights are read before they are there": (
        "ssd_scan.cu",
        "__syncthreads();  // the chunk and its weights",
        "// the chunk and its weights",
    ),
    "rows are written before they are whole": (
        "ssd_scan_tiles.cuh",
        "__syncwarp();  // whole rows are there",
        "",
    ),
    "two heads have the scores of one": (
        "ssd_scan.cu",
        "desk.scores + which * ROWS",
        "desk.scores + 0 * ROWS",
    ),
    "later tokens are seen": (
        "ssd_scan_tiles.cuh",
        "row < token ? 0.f : weighed",
        "weighed",
    ),
    "a token decays once too often": (
        "ssd_scan_chunk.cuh",
        "dt[k] * ex2(left)",
        "dt[k] * ex2(left + pace.log_decay(dt[k]))",
    ),
    "a segment forgets what its chunks before have decayed": (
        "ssd_scan_chunk.cuh",
        "pace.spent += ",
        "pace.spent = ",
    ),
}


PROGRAMS = ((_mamba2_scan, "SCAN"),)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault, with_fault, monkeypatch):
    with_fault(*FAULTS[fault])
    cut(monkeypatch, 2)
    call = slow(length=300, headdim=64, state=16) | {"dt_limit": (0.1, 15.0)}
    seen = []
    for seed in (1, 2, 3):
        with using(resident=2, seed=seed):
            seen.append(max(distances(call, "bfloat16")))
    assert not max(seen) < NEAR["bfloat16"]


def test_what_spreads_is_seen(with_fault):
    with_fault("ssd_scan.cu", "!narrow<IO> && infinite(h));", "false);")
    found, expected = spoilt("bfloat16")
    assert (found[0] != expected[0]).any()


def test_faults_are_put_into_copies(tmp_path):
    copy = replace(_mamba2_scan.SCAN, folder=tmp_path)
    assert copy.source == _mamba2_scan.SCAN.source


def without_faults():
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, 1)
        assert_right(SSD, packed((0, 1, 140), headdim=18, state=6), "bfloat16")
        assert_right(SSD, packed((33,), headdim=64, state=16))


@pytest.mark.parametrize("mode", ["asan", "tsan"])
def test_sanitizers_find_nothing(mode):
    _ = sanitized.run(mode, "test_ssd:without_faults")
