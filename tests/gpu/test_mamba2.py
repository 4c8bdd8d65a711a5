"""The step of Mamba-2 on the GPU: sizes, strides and threads that cases have not."""

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
from support.mamba2_inputs import ssd_example

from ssmref.conformance.verdict import FAILED

SCAN = "mamba2.ssd"
STEP = "mamba2.ssd_step"


def rng():
    return np.random.default_rng(6)


def step(batch=2, heads=6, headdim=9, groups=3, size=16, slots=(), skip_per_row=True):
    r = rng()
    call = {
        "x": r.standard_normal((batch, heads, headdim)),
        "dt": r.standard_normal((batch, heads)) - 2,
        "A": -r.uniform(0.5, 8, heads),
        "B": r.standard_normal((batch, groups, size)),
        "C": r.standard_normal((batch, groups, size)),
        "D": r.standard_normal((heads, headdim) if skip_per_row else heads),
        "z": r.standard_normal((batch, heads, headdim)),
        "dt_bias": r.standard_normal(heads),
        "dt_softplus": True,
    }
    rows = max(slots, default=0) + 2 if slots else batch
    call["state"] = r.standard_normal((rows, heads, headdim, size))
    if slots:
        call["slots"] = np.array(slots, np.int32)
    return call


# States around what a lane, a team and a warp hold; rows around those of a block.
SIZES = {
    "one": (1, 1),
    "less-than-a-team": (3, 6),
    "a-vector": (4, 4),
    "two-lanes-short": (16, 120),
    "a-warp": (17, 128),
    "beyond-a-warp": (5, 132),
    "many": (33, 260),
    "odd": (2, 129),
    "rows": (65, 16),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SIZES)
def test_sizes_around_lanes_and_blocks(name, dtype):
    headdim, size = SIZES[name]
    assert_right(STEP, step(headdim=headdim, size=size), dtype)


@pytest.mark.parametrize("slots", [(3, -1, 0), (-1, -1, -1), (0, 1, 2)], ids=str)
def test_slots(slots):
    call = step(batch=3, slots=slots, skip_per_row=False)
    assert_right(STEP, call, "bfloat16")


def as_parts(call):
    """Return x, B, C, z and dt as parts of the rows of one projection."""
    names = ("x", "B", "C", "z", "dt")
    host = [call[name].get() for name in names]
    rows = to_device(np.concatenate([a.reshape(len(a), -1) for a in host], axis=1))
    ends = np.cumsum([a[0].size for a in host]).tolist()
    parts = zip([0, *ends], ends, host, strict=False)
    return {
        name: rows[:, start:end].reshape(a.shape)
        for name, (start, end, a) in zip(names, parts, strict=True)
    }


@pytest.mark.parametrize("headdim", [16, 9])
def test_inputs_may_be_parts_of_a_projection(headdim):
    call = on_device(STEP, step(headdim=headdim), "bfloat16")
    parts = as_parts(call)
    assert parts["B"].strides[0] > call["B"].strides[0]
    assert_same(device_op(STEP)(**{**call, **parts}), device_op(STEP)(**call))


@pytest.mark.parametrize("offset", [1, 2, 4])
def test_arrays_may_begin_anywhere(offset):
    with using(offset=offset):
        assert_right(STEP, step(size=128), "bfloat16")


@pytest.mark.parametrize("seed", [1, 2])
def test_order_of_threads_changes_nothing(seed):
    call = on_device(STEP, step(slots=(4, 1)), "bfloat16")
    expected = device_op(STEP)(**call)
    with using(seed=seed, resident=3):
        assert_same(device_op(STEP)(**call), expected)


def test_arguments_stay_as_they_are(cupy):
    call = on_device(STEP, step(slots=(1, 0)))
    arrays = tuple(v for v in call.values() if isinstance(v, cupy.ndarray))
    before = numbers(arrays)
    _ = device_op(STEP)(**call)
    for one, other in zip(numbers(arrays), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_nan_stays_in_its_row():
    call = on_device(STEP, step(batch=3))
    call["dt"][1, 2] = np.nan
    y, state = (result.get() for result in device_op(STEP)(**call))
    for result in (y, state):
        bad = np.isnan(result).reshape(3, 6, -1)
        assert bad[1, 2].all()
        assert bad.sum() == bad[1, 2].size


def scan(x, dt, A, B, C, *, initial_state, z, **options):
    """Run the steps of a sequence."""
    state, outputs = initial_state, []
    for t in range(x.shape[1]):
        now = (x[:, t], dt[:, t], A, B[:, t], C[:, t], state)
        y, state = ours(STEP)(*now, z=z[:, t], **options)
        outputs.append(y)
    return np.stack(outputs, axis=1), state


@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_are_the_scan(dtype):
    assert_right(SCAN, ssd_example(rng(), length=12), dtype, scan)


def test_wrong_results_are_refused():
    def tiled(x, dt, A, B, C, state, **options):
        B, C = (np.tile(X, (1, len(A) // X.shape[1], 1)) for X in (B, C))
        return ours(STEP)(x, dt, A, B, C, state, **options)

    def forgetful(*args, **options):
        y, state = ours(STEP)(*args, **options)
        return y, 1.001 * state

    for wrong in (tiled, forgetful):
        assert verdict_on(wrong, STEP, step()).status == FAILED


def test_limits_that_exclude_each_other_are_refused():
    with pytest.raises(ValueError, match=r"dt_limit is \(2.0, 1.0\)"):
        _ = device_op(STEP)(**on_device(STEP, step() | {"dt_limit": (2.0, 1.0)}))


def without_faults():
    assert_right(STEP, step(headdim=17, size=36, slots=(2, -1)), "bfloat16")
    assert_right(STEP, step(headdim=5, size=7))


def test_sanitizers_find_nothing():
    _ = sanitized.run("asan", "test_mamba2:without_faults")
