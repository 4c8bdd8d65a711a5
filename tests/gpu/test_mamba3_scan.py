"""Mamba-3 over time on the GPU: tiles, ranks, segments that the cases have not."""

from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace

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
from ssmref.gpu import _mamba3_scan, _segments
from ssmref.gpu._launch import Program
from ssmref.gpu._mamba3_plan import SHARED_LIMIT, layout, segment_length
from ssmref.gpu.check import contenders, official
from ssmref.gpu.check.grid import GRID
from support.mamba3_inputs import initial_state, mimo_example, siso_example

from ssmref.bench.verification import check_small
from ssmref.conformance.precision import dtype_of, per_token, rounded
from ssmref.conformance.verdict import FAILED
from ssmref.golden.mamba3 import siso as golden_siso
from ssmref.ops import OPS, implementation

SISO = "mamba3.siso"
MIMO = "mamba3.mimo"
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def rng():
    return np.random.default_rng(11)


def siso(**sizes):
    return siso_example(rng(), **{"heads": 2, "groups": 1, **sizes})


def mimo(ranks=2, **sizes):
    return mimo_example(rng(), ranks=ranks, **{"heads": 2, "groups": 1, **sizes})


def packed(call, lengths):
    """Return the first row of a call as a pack, each sequence with its own state."""
    one = {
        name: value[:1]
        if name in ("x", "dt", "A", "B", "C", "trap", "angles", "z")
        else value
        for name, value in call.items()
    }
    ranks = call["initial_state"].k.shape[1]
    return one | {
        "cu_seqlens": np.cumsum([0, *lengths]),
        "initial_state": initial_state(rng(), one, ranks, len(lengths)),
    }


def cut(monkeypatch, chunks):
    """Cut sequences in segments of so many chunks."""

    def planned(laid, *_):
        return chunks * laid.tokens

    monkeypatch.setattr(_mamba3_scan, "segment_length", planned)


def distances(op, call, dtype):
    """Return how far each output is from golden, as a part of its size.

    Limits of low precisions are wide for single numbers: a wrong fragment may pass.
    """
    low = rounded(call, dtype_of(dtype), per_token(OPS[op]))
    found = numbers(device_op(op)(**{n: to_device(v) for n, v in low.items()}))
    golden = implementation(OPS[op], "ssmref.golden")
    expected = numbers(golden(**rounded(low, np.dtype(np.float64))))
    found[1], expected[1] = (np.exp(1j * x[1]) for x in (found, expected))
    pairs = zip(found, expected, strict=True)
    return [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs]


# How far products of these dtypes lead, at most, of all numbers together.
NEAR = {"float32": 2**-19, "bfloat16": 2**-7, "float16": 2**-10}


# Around the tiles: 16 columns and 64 of headdim, 16, 64, 128 and 256 states, a chunk of
# 64 or 32 rows; pairs that turn and that do not, of states whose halves are odd.
SIZES = {
    "one": {"length": 1, "headdim": 1, "state": 2, "angles": 1},
    "no-angles": {"length": 9, "headdim": 3, "state": 6, "angles": 0},
    "a-tile": {"length": 64, "headdim": 16, "state": 16, "angles": 8},
    "beyond-a-tile": {"length": 65, "headdim": 17, "state": 18, "angles": 5},
    "a-block": {"length": 33, "headdim": 64, "state": 64, "angles": 16},
    "two-blocks": {"length": 31, "heads": 1, "headdim": 70, "state": 24, "angles": 12},
    "odd-halves": {"length": 20, "headdim": 5, "state": 66, "angles": 33},
    "checkpoint": {"length": 70, "heads": 1, "headdim": 64, "state": 128, "angles": 32},
    "most-states": {
        "length": 35,
        "heads": 1,
        "headdim": 20,
        "state": 256,
        "angles": 128,
    },
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_one_rank(name, dtype):
    assert_right(SISO, siso(batch=1, **SIZES[name]), dtype)


@each_dtype
@pytest.mark.parametrize("name", ["checkpoint", "most-states", "beyond-a-tile"])
def test_all_numbers_together_are_near(name, dtype):
    for op, call in (
        (SISO, siso(batch=1, **SIZES[name])),
        (MIMO, mimo(4, batch=1, **SIZES[name])),
    ):
        assert max(distances(op, call, dtype)) < NEAR[dtype], op


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 5, 6, 7, 8, 16])
def test_ranks(ranks):
    call = mimo(ranks, batch=1, length=37, headdim=18, state=20, angles=7)
    assert_right(MIMO, call, "bfloat16")
    if ranks in (3, 4, 8):
        assert_right(MIMO, call)


@pytest.mark.parametrize("only", ["mimo_x", "mimo_z", "mimo_o"])
def test_one_rank_has_weights_too(only):
    call = mimo(1, batch=1, length=20, headdim=8, state=6, angles=3)
    rest = ("mimo_x", "mimo_z", "mimo_o", "norm_weight")
    call = {k: v for k, v in call.items() if k not in rest or k == only}
    assert_right(MIMO, call, "bfloat16")


@pytest.mark.parametrize("name", ["beyond-a-tile", "two-blocks", "odd-halves"])
def test_sizes_of_ranks(name):
    assert_right(MIMO, mimo(3, batch=1, **SIZES[name]), "float16")


@pytest.mark.parametrize("pairing", ["pairwise", "halved"])
@pytest.mark.parametrize("state", [20, 22])
def test_pairings(pairing, state):
    call = mimo(3, length=19, state=state, angles=7) | {"pairing": pairing}
    assert_right(MIMO, call)


OPTIONS = (
    *("B_bias", "C_bias", "D", "z", "norm_weight", "mimo_x", "mimo_z", "mimo_o"),
    "initial_state",
)


@pytest.mark.parametrize("headdim", [7, 66])
@pytest.mark.parametrize("only", [None, *OPTIONS])
def test_each_option_by_itself(only, headdim):
    call = mimo(batch=1, length=20, headdim=headdim, state=6, angles=3)
    call = {k: v for k, v in call.items() if k not in OPTIONS or k == only}
    assert_right(MIMO, call, "bfloat16")


@each_dtype
@pytest.mark.parametrize("chunks", [1, 2])
def test_segments_are_the_whole(chunks, dtype, monkeypatch):
    cut(monkeypatch, chunks)
    assert_right(SISO, siso(length=150, headdim=18), dtype)
    assert_right(MIMO, mimo(3, length=60), dtype)


@pytest.mark.parametrize("chunks", [1, 100])
def test_packs_in_segments(chunks, monkeypatch):
    cut(monkeypatch, chunks)
    lengths = (70, 0, 1, 32, 47)
    call = packed(siso(length=sum(lengths)), lengths)
    assert_right(SISO, call, "bfloat16")
    call = packed(mimo(2, length=sum(lengths)), lengths)
    assert_right(MIMO, call)


def test_long_sequences_are_cut():
    laid = layout(2, 128, 1, 32)
    assert laid is not None
    sizes = {"headdim": 64, "processors": 132}

    def cut_at(heads, length, batch=1):
        tokens = batch * length
        return segment_length(laid, heads, tokens=tokens, longest=length, **sizes)

    assert cut_at(64, 65536) == 65536 // 4
    assert cut_at(64, 65536, batch=4) == 65536
    assert cut_at(128, 65536) == 65536
    assert cut_at(8, 512) == 512
    assert cut_at(1, 2**20) % laid.tokens == 0


def test_blocks_have_room_everywhere():
    for itemsize in (2, 4):
        for state in (2, 16, 64, 128, 256):
            for ranks in range(1, 9):
                laid = layout(itemsize, state, ranks, state // 2)
                assert laid is not None, (itemsize, state, ranks)
                assert laid.shared <= SHARED_LIMIT
                groups = -(-laid.tokens // (1 << laid.shift))
                assert groups * (state // 2) <= 128
    assert layout(2, 258, 1, 1) is None
    assert layout(2, 16, 65, 1) is None


def test_sizes_beyond_a_block_are_refused():
    with pytest.raises(ValueError, match="B has a state of 258 and 1 ranks"):
        _ = device_op(SISO)(**on_device(SISO, siso(length=2, state=258)))


@pytest.mark.parametrize("offset", [1, 2])
@each_dtype
def test_arrays_may_begin_anywhere(offset, dtype):
    with using(offset=offset):
        assert_right(MIMO, mimo(length=40, state=32, headdim=40, angles=16), dtype)


def as_parts(call):
    """Return what comes per token as parts of the rows of one projection."""
    names = ("x", "B", "C", "z", "dt", "A", "trap", "angles")
    host = [call[name].get() for name in names]
    rows = np.concatenate([a.reshape(*a.shape[:2], -1) for a in host], axis=2)
    rows = to_device(rows)
    ends = np.cumsum([a[0, 0].size for a in host]).tolist()
    parts = zip([0, *ends[:-1]], ends, host, strict=True)
    taken = [rows[..., start:end].reshape(a.shape) for start, end, a in parts]
    return dict(zip(names, taken, strict=True))


@pytest.mark.parametrize(("op", "make"), [(SISO, siso), (MIMO, mimo)])
def test_inputs_may_be_parts_of_a_projection(op, make, monkeypatch):
    call = on_device(op, make(length=23, headdim=8, state=16, angles=8), "bfloat16")
    parts = as_parts(call)
    assert parts["trap"].strides[1] > call["trap"].strides[1]
    expected = device_op(op)(**call)
    cut(monkeypatch, 100)
    assert_same(device_op(op)(**{**call, **parts}), expected)


@pytest.mark.parametrize("seed", [1, 2])
def test_order_of_threads_changes_nothing(seed, monkeypatch):
    cut(monkeypatch, 1)
    call = on_device(MIMO, mimo(length=70, headdim=40), "bfloat16")
    expected = device_op(MIMO)(**call)
    with using(seed=seed, resident=3):
        assert_same(device_op(MIMO)(**call), expected)


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
    right = "if (overflown(h)) add_seen(out, desk);"
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


def test_a_reset_forgets_all():
    call = siso(length=40)
    call["A"][:, 15] = -1e30
    assert_right(SISO, call)
    assert_right(SISO, call, "bfloat16")


def test_steps_of_many_turns(monkeypatch):
    call = siso(length=100, state=8, angles=4)
    call["angles"] = np.abs(call["angles"]) + 3
    call["dt"] *= 4
    for chunks in (1, 100):
        cut(monkeypatch, chunks)
        assert_right(SISO, call)


def test_arguments_stay_as_they_are(cupy):
    call = on_device(MIMO, mimo(length=20))
    arrays = [v for v in call.values() if isinstance(v, cupy.ndarray)]
    arrays = (*arrays, call["initial_state"])
    before = numbers(arrays)
    _ = device_op(MIMO)(**call)
    for one, other in zip(numbers(arrays), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sizes", [{"length": 0}, {"batch": 0}, {"headdim": 0}])
def test_nothing_to_do(sizes):
    call = on_device(SISO, siso(**sizes))
    y, state = device_op(SISO)(**call)
    assert y.shape == call["x"].shape
    if sizes == {"length": 0}:
        assert_same(state, call["initial_state"])
    assert np.isfinite(state.angle.get()).all()


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
        "note(desk, scalar, tokens);\n      cp_async_wait<0>();",
        "note(desk, scalar, tokens);",
    ),
    "scores are read before they are whole": (
        "mamba3_scan.cu",
        "__syncthreads();  // scores and values",
        "// scores and values",
    ),
    "keys are overwritten too early": (
        "mamba3_scan.cu",
        "__syncthreads();  // keys, scores and values are free",
        "",
    ),
    "the step behind a chunk is left out": (
        "mamba3_chunk.cuh",
        "now + desk.before[t + 1]",
        "now + (t + 1 < tokens ? desk.before[t + 1] : 0.f)",
    ),
    "a token counts for itself as for others": (
        "mamba3_tiles.cuh",
        "query.token == token ? score * now",
        "query.token == token ? score * weight",
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


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
def test_the_official_kernel_gets_its_layouts(monkeypatch):
    torch = import_module("torch")

    def tensor(array, *swapped):
        if array is None:
            return None
        made = torch.from_numpy(array.get())
        return made.transpose(*swapped).contiguous() if swapped else made

    def by_golden(Q, K, V, ADT, DT, Trap, Q_bias, K_bias, Angles, D, Z, **options):
        assert Z is None
        assert options == {"return_final_states": True}
        dt, decay, trap = (x.transpose(1, 2).numpy() for x in (DT, ADT, Trap))
        rest = {"B_bias": K_bias.numpy(), "C_bias": Q_bias.numpy(), "D": D.numpy()}
        tokens = V.numpy(), dt, decay / dt, K.numpy(), Q.numpy(), trap, Angles.numpy()
        y, state = golden_siso(*tokens, **rest)
        states = (state.angle, state.ssm, state.k[:, 0], state.v)
        return tuple(map(torch.from_numpy, (y, *states)))

    offered = SimpleNamespace(mamba3_siso_combined=by_golden)
    monkeypatch.setattr(official, "_found", lambda _: offered)
    monkeypatch.setattr(official, "_tensor", tensor)
    theirs = contenders.contenders(SISO, np.dtype(np.float32))[-1]
    assert not theirs.name.startswith("ssmref")
    point = next(p for p in GRID["mamba3"] if p.workload.op == SISO)
    check = check_small(theirs, point.small_case(), np.dtype(np.float32))
    assert check.passed, check.problem


def without_faults():
    lengths = (0, 1, 36)
    call = packed(mimo(3, length=sum(lengths), headdim=18, state=6, angles=2), lengths)
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, 1)
        assert_right(MIMO, call, "bfloat16")


@pytest.mark.parametrize("mode", ["asan", "tsan"])
def test_sanitizers_find_nothing(mode):
    _ = sanitized.run(mode, "test_mamba3_scan:without_faults")
