"""Convolution and norms on the GPU: sizes, strides and threads that cases have not."""

import numpy as np
import pytest
import sanitized
from emulated import on_numpy, to_device
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
from ssmref.gpu import _convolution

from ssmref.conformance.verdict import FAILED

CONVOLVE = "layers.causal_conv1d"
STEP = "layers.causal_conv1d_step"
CIRCULAR = "layers.causal_conv1d_step_circular"
GATED = "layers.rms_norm_gated"
each_dtype = pytest.mark.parametrize("dtype", DTYPES)

# Threads in turn, or in odd orders; several blocks at once.
CIRCUMSTANCES = (
    {"seed": 1, "resident": 2},
    {"seed": 2, "resident": 5},
    {"resident": 3},
)


def rng():
    return np.random.default_rng(5)


def convolution(batch=2, length=19, channels=16, width=4, lengths=(), initial=True):
    r = rng()
    call = {
        "x": r.standard_normal((batch, length, channels)),
        "weight": r.standard_normal((channels, width)),
        "bias": r.standard_normal(channels),
        "activation": "silu",
    }
    if lengths:
        call["x"] = r.standard_normal((1, sum(lengths), channels))
        call["cu_seqlens"] = np.cumsum([0, *lengths], dtype=np.int32)
    if initial:
        rows = len(lengths) or batch
        call["initial_state"] = r.standard_normal((rows, width - 1, channels))
    return call


def step(batch=3, length=2, channels=16, width=4, window=5, slots=()):
    r = rng()
    call = convolution(batch, length, channels, width, initial=False)
    rows = max(slots, default=batch - 1) + 2 if slots else batch
    call["state"] = r.standard_normal((rows, window, channels))
    if slots:
        call["slots"] = np.array(slots, np.int32)
    return call


def gated(rows=(3, 4), size=24, groups=2, after=False):
    r = rng()
    channels = size * groups
    return {
        "x": r.standard_normal((*rows, channels)),
        "weight": r.standard_normal(channels),
        "z": r.standard_normal((*rows, channels)),
        "group_size": size,
        "norm_before_gate": after,
    }


EXAMPLES = {
    CONVOLVE: convolution,
    STEP: lambda: step(slots=(2, -1, 0)),
    GATED: lambda: gated(size=1200),
}


def part(x, before, after):
    """Return x as a part of an array with more channels."""
    pad = [(0, 0)] * (x.ndim - 1) + [(before, after)]
    whole = to_device(np.pad(x.get(), pad))
    return whole[..., before : before + x.shape[-1]]


VIEWS = {
    "aligned part": lambda x: part(x, 8, 16),
    "part": lambda x: part(x, 3, 1),
    "transposed": lambda x: x.swapaxes(-1, -2).copy().swapaxes(-1, -2),
    "every other row": lambda x: x.repeat(2, axis=0)[::2],
    "every other token": lambda x: x.repeat(2, axis=1)[:, ::2],
    "backwards": lambda x: to_device(x.get()[:, ::-1].copy())[:, ::-1],
}


# Filters that registers hold for all, for half or for none of a vector of channels.
FILTERS = {
    "float32": ((1, 8), (8, 4), (9, 40), (4, 1)),
    "bfloat16": ((1, 40), (2, 8), (4, 40), (5, 8), (8, 40), (9, 8), (9, 13)),
    "float16": ((4, 40), (6, 16), (4, 13)),
}


@each_dtype
def test_convolution_of_widths_and_channels(dtype):
    for width, channels in FILTERS[dtype]:
        assert_right(CONVOLVE, convolution(channels=channels, width=width), dtype)


@pytest.mark.parametrize("busy", [1, 10**6], ids=["long-tiles", "short-tiles"])
@pytest.mark.parametrize("length", [1, 3, 8, 9, 129, 300])
def test_convolution_around_tiles(length, busy, monkeypatch):
    monkeypatch.setattr(_convolution, "BUSY", busy)
    assert_right(CONVOLVE, convolution(length=length, channels=8))


PACKS = {
    "short": (1, 2, 3, 1, 1, 9),
    "empty": (0, 5, 0, 0, 17, 0),
    "at-tiles": (8, 16, 7, 1, 32),
    "nothing": (0, 0),
}


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("width", [1, 4, 9])
@pytest.mark.parametrize("name", PACKS)
def test_packed_convolution(name, width, initial):
    call = convolution(lengths=PACKS[name], width=width, initial=initial)
    assert_right(CONVOLVE, call, "bfloat16")


def test_a_nan_stays_in_its_sequence():
    call = on_device(CONVOLVE, convolution(lengths=(5, 6, 7), initial=False))
    call["x"][:, 5:11] = np.nan
    y, state = device_op(CONVOLVE)(**call)
    assert np.isnan(y.get()).any(axis=(0, 2)).nonzero()[0].tolist() == list(
        range(5, 11)
    )
    assert np.isnan(state.get()).any(axis=(1, 2)).tolist() == [False, True, False]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("op", [CONVOLVE, STEP, GATED])
def test_arrays_may_have_any_strides(op, view):
    def seen(*args, **kwargs):
        given = [
            VIEWS[view](value) if i == 0 else value for i, value in enumerate(args)
        ]
        kwargs = {n: VIEWS[view](v) if n == "z" else v for n, v in kwargs.items()}
        return device_op(op)(*given, **kwargs)

    assert_right(op, EXAMPLES[op](), "bfloat16", on_numpy(seen))


@pytest.mark.parametrize("circumstances", CIRCUMSTANCES, ids=str)
@pytest.mark.parametrize("op", [CONVOLVE, STEP, GATED])
def test_order_of_threads_changes_nothing(op, circumstances):
    call = on_device(op, EXAMPLES[op](), "bfloat16")
    expected = device_op(op)(**call)
    with using(**circumstances):
        assert_same(device_op(op)(**call), expected)


@pytest.mark.parametrize("offset", [1, 2, 4])
@pytest.mark.parametrize("op", [CONVOLVE, STEP, GATED])
def test_arrays_may_begin_anywhere(op, offset):
    with using(offset=offset):
        assert_right(op, EXAMPLES[op](), "bfloat16")


@pytest.mark.parametrize("op", [CONVOLVE, STEP, GATED])
def test_arguments_stay_as_they_are(op, cupy):
    call = on_device(op, EXAMPLES[op]())
    before = numbers(tuple(v for v in call.values() if isinstance(v, cupy.ndarray)))
    _ = device_op(op)(**call)
    after = numbers(tuple(v for v in call.values() if isinstance(v, cupy.ndarray)))
    for one, other in zip(after, before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("length", [1, 4, 11])
@pytest.mark.parametrize(("width", "window"), [(1, 0), (4, 3), (4, 9), (9, 8), (2, 7)])
def test_linear_steps(width, window, length):
    call = step(length=length, channels=24, width=width, window=window)
    assert_right(STEP, call, "bfloat16")


@pytest.mark.parametrize("length", [1, 4, 11])
@pytest.mark.parametrize(("width", "window"), [(1, 1), (4, 3), (4, 9), (9, 8), (2, 7)])
def test_circular_steps(width, window, length):
    call = step(3, length, 5, width, window, slots=(4, -1, 1))
    call["position"] = np.array([2**40 + 5, -7, 0])
    assert_right(CIRCULAR, call)


def test_steps_are_the_convolution():
    def by_steps(x, weight, *, initial_state, **options):
        state, outputs = initial_state, []
        for t in range(x.shape[1]):
            y, state = ours(STEP)(x[:, t], weight, state, **options)
            outputs.append(y)
        return np.stack(outputs, axis=1), state

    assert_right(CONVOLVE, convolution(length=9), "bfloat16", by_steps)


# Channels around what a lane, a warp, a block and its registers hold.
SIZES = (1, 8, 31, 136, 1024, 1032, 4104, 8200, 16392)


@pytest.mark.parametrize("size", SIZES)
def test_norms_of_any_size(size):
    call = gated((2,), size, 1)
    x, weight = call["x"], call["weight"]
    assert_right("layers.rms_norm", {"x": x, "weight": weight}, "bfloat16")
    assert_right("layers.layer_norm", {"x": x})


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("size", "groups"), [(3, 5), (16, 33), (1100, 2), (2304, 1)])
def test_gated_norms_in_groups(size, groups, after):
    assert_right(GATED, gated((2, 3), size, groups, after), "bfloat16")


@pytest.mark.parametrize("size", [40, 1200])
def test_a_nan_stays_in_its_group(size):
    call = on_device(GATED, gated((3,), size))
    call["x"][1, size + 2] = np.nan
    bad = np.isnan(device_op(GATED)(**call).get())
    assert bad[1, size:].all()
    assert bad.sum() == size


def test_long_rows_are_summed_well():
    """A thread adds up hundreds of squares here."""
    x = 1 + 0.1 * rng().standard_normal((1, 2**18))
    found = verdict_on(ours("layers.rms_norm"), "layers.rms_norm", {"x": x})
    assert found.ratio < 4


def test_wrong_results_are_refused():
    def late(*args, **kwargs):
        y, state = ours(CONVOLVE)(*args, **kwargs)
        return np.roll(y, 1, axis=1), state

    def without_weight(x, _, z, **options):
        return ours(GATED)(x, None, z, **options)

    assert verdict_on(late, CONVOLVE, convolution()).status == FAILED
    assert verdict_on(without_weight, GATED, gated()).status == FAILED


def test_a_position_of_padding_may_be_anything(cupy):
    call = on_device(CIRCULAR, step(slots=(1, -1, 0)))
    for position, refused in (([0, -9, 1], False), ([0, 0, -1], True)):
        call["position"] = cupy.asarray(np.array(position))
        if refused:
            with pytest.raises(ValueError, match="position is -1"):
                _ = device_op(CIRCULAR)(**call)
        else:
            _ = device_op(CIRCULAR)(**call)


def without_overruns():
    assert_right(CONVOLVE, convolution(length=21), "bfloat16")
    assert_right(CONVOLVE, convolution(lengths=(3, 0, 9), width=9), "bfloat16")
    assert_right(STEP, step(slots=(3, -1, 0)), "bfloat16")
    without_races()


def without_races():
    assert_right(GATED, gated((1,), 1100), "bfloat16")


@pytest.mark.parametrize(
    ("mode", "function"), [("asan", without_overruns), ("tsan", without_races)]
)
def test_sanitizers_find_nothing(mode, function):
    _ = sanitized.run(mode, f"test_layers:{function.__name__}")
