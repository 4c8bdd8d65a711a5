"""Mamba-3 over time on the GPU: tiles, ranks, segments that the cases have not."""

from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from emulated import to_device
from hostcupy.settings import using
from judging import (
    DTYPES,
    assert_right,
    assert_same,
    device_op,
    numbers,
    on_device,
)
from mamba3_calls import MIMO, NEAR, SISO, cut, distances, mimo, packed, siso
from ssmref.gpu._mamba3_plan import SHARED_LIMIT, WARPS, layout, segment_length
from ssmref.gpu.check import contenders, official
from ssmref.gpu.check.grid import GRID

from ssmref.bench.verification import check_small
from ssmref.golden.mamba3 import siso as golden_siso

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


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


@pytest.mark.parametrize(
    ("pairing", "state", "ranks"),
    [("pairwise", 20, 4), ("pairwise", 22, 3), ("halved", 20, 3), ("halved", 22, 4)],
)
def test_pairings(pairing, state, ranks):
    call = mimo(ranks, length=19, state=state, angles=7) | {"pairing": pairing}
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

    assert cut_at(64, 65536) == 65536 // 8
    assert cut_at(64, 65536, batch=4) == 65536
    assert cut_at(128, 65536) == 65536 // 4
    assert cut_at(256, 65536) == 65536
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
                assert groups * (state // 2) <= laid.threads
    assert layout(2, 258, 1, 1) is None
    assert layout(2, 16, 33, 1) is None


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_a_multiprocessor_has_room_for_all_its_blocks(ranks):
    laid = layout(2, 128, ranks, 32, fixed=True)
    assert laid is not None
    reserved = 1024  # of each block, by CUDA
    blocks = WARPS * 32 // laid.threads
    assert blocks * (laid.shared + reserved) <= 227 * 1024  # of 9.0 and 10.0


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
