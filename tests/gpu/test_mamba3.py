"""The steps of Mamba-3 on the GPU: sizes, strides and threads that cases have not."""

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
from support.mamba3_inputs import (
    initial_state,
    mimo_example,
    siso_example,
    step_of,
)

from ssmref.conformance.verdict import FAILED

SISO = "mamba3.siso_step"
MIMO = "mamba3.mimo_step"
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def rng():
    return np.random.default_rng(7)


def siso(**sizes):
    return step_of(siso_example(rng(), length=1, **sizes))


def mimo(ranks=2, **sizes):
    return step_of(mimo_example(rng(), length=1, ranks=ranks, **sizes))


def with_slots(call, slots):
    """Return a step whose rows use these slots of a pool."""
    per_token = {k: v[:, None] for k, v in call.items() if k in ("x", "B", "angles")}
    ranks = call["state"].k.shape[1]
    state = initial_state(rng(), per_token, ranks, max(slots) + 2)
    return {**call, "state": state, "slots": np.array(slots, np.int32)}


# States around what a lane, a team and a warp hold, pairs that turn and that do not;
# rows around what the teams of a block hold at a time.
SIZES = {
    "one": {"headdim": 1, "state": 2, "angles": 1},
    "less-than-a-team": {"headdim": 3, "state": 6, "angles": 0},
    "vectors": {"headdim": 4, "state": 16, "angles": 8},
    "a-block-of-rows": {"heads": 2, "groups": 1, "headdim": 64, "state": 32},
    "more-rows": {"heads": 2, "groups": 2, "headdim": 37, "state": 128, "angles": 32},
    "beyond-a-warp": {"heads": 1, "groups": 1, "headdim": 33, "state": 260},
    "odd-pairs": {"heads": 2, "groups": 1, "headdim": 35, "state": 130, "angles": 65},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_one_rank(name, dtype):
    assert_right(SISO, siso(**SIZES[name]), dtype)


@pytest.mark.parametrize("ranks", [1, 3, 4])
@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_ranks(name, ranks):
    assert_right(MIMO, mimo(ranks, **SIZES[name]), "bfloat16")


@pytest.mark.parametrize("pairing", ["pairwise", "halved"])
@pytest.mark.parametrize("ranks", [1, 3])
def test_pairings(pairing, ranks):
    call = mimo(ranks, state=20, angles=7) | {"pairing": pairing}
    assert_right(MIMO, call)


OPTIONS = (
    *("B_bias", "C_bias", "D", "z", "norm_weight", "mimo_x", "mimo_z", "mimo_o"),
)


@pytest.mark.parametrize("only", [None, *OPTIONS])
def test_each_option_by_itself(only):
    call = {k: v for k, v in mimo().items() if k not in OPTIONS or k == only}
    assert_right(MIMO, call, "bfloat16")


@pytest.mark.parametrize("slots", [(3, 0), (-1, 2), (-1, -2)], ids=str)
def test_slots(slots):
    assert_right(SISO, with_slots(siso(), slots), "bfloat16")
    assert_right(MIMO, with_slots(mimo(), slots))


def as_parts(call):
    """Return what comes per token as parts of the rows of one projection."""
    names = ("x", "B", "C", "z", "dt", "A", "trap", "angles")
    host = [call[name].get() for name in names]
    rows = to_device(np.concatenate([a.reshape(len(a), -1) for a in host], axis=1))
    ends = np.cumsum([a[0].size for a in host]).tolist()
    parts = zip([0, *ends[:-1]], ends, host, strict=True)
    taken = [rows[:, start:end].reshape(a.shape) for start, end, a in parts]
    return dict(zip(names, taken, strict=True))


@pytest.mark.parametrize(("op", "make"), [(SISO, siso), (MIMO, mimo)])
def test_inputs_may_be_parts_of_a_projection(op, make):
    call = on_device(op, make(), "bfloat16")
    parts = as_parts(call)
    assert parts["trap"].strides[0] > call["trap"].strides[0]
    assert_same(device_op(op)(**{**call, **parts}), device_op(op)(**call))


@pytest.mark.parametrize("offset", [1, 2])
def test_arrays_may_begin_anywhere(offset):
    with using(offset=offset):
        assert_right(MIMO, mimo(state=64, headdim=40), "bfloat16")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_order_of_threads_changes_nothing(seed):
    call = on_device(MIMO, mimo(state=64, headdim=40), "bfloat16")
    expected = device_op(MIMO)(**call)
    with using(seed=seed, resident=3):
        assert_same(device_op(MIMO)(**call), expected)


def test_arguments_stay_as_they_are(cupy):
    call = on_device(MIMO, with_slots(mimo(), (1, 0)))
    arrays = (*(v for v in call.values() if isinstance(v, cupy.ndarray)), call["state"])
    before = numbers(arrays)
    _ = device_op(MIMO)(**call)
    for one, other in zip(numbers(arrays), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_nan_stays_in_its_head():
    call = on_device(SISO, siso(batch=3))
    call["trap"][1, 2] = np.nan
    y, state = device_op(SISO)(**call)
    for result in (y.get(), state.ssm.get()):
        bad = np.isnan(result).reshape(3, 6, -1)
        assert bad[1, 2].all()
        assert bad.sum() == bad[1, 2].size


def by_steps(op):
    """Return a scan made of steps."""

    def scan(*args, initial_state, z, **options):
        state, outputs = initial_state, []
        for t in range(args[0].shape[1]):
            y, state = ours(op)(*(a[:, t] for a in args), state, z=z[:, t], **options)
            outputs.append(y)
        return np.stack(outputs, axis=1), state

    return scan


@each_dtype
def test_steps_are_the_scan(dtype):
    assert_right("mamba3.siso", siso_example(rng(), length=12), dtype, by_steps(SISO))
    call = mimo_example(rng(), length=8, ranks=2)
    assert_right("mamba3.mimo", call, dtype, by_steps(MIMO))


def test_angles_stay_within_a_turn(cupy):
    call = on_device(SISO, siso())
    call["angles"] = cupy.asarray(np.full(call["angles"].shape, 9, np.float32))
    call["dt"] = cupy.asarray(np.full(call["dt"].shape, 50, np.float32))
    for sign in (1, -1):
        call["angles"] = sign * abs(call["angles"])
        _, state = device_op(SISO)(**call)
        angle = state.angle.get()
        assert np.all((angle >= 0) & (angle < 2 * np.pi))


def test_wrong_results_are_refused():
    def turned_twice(*args, **options):
        *others, state = args
        state = state._replace(angle=state.angle + 0.001)
        return ours(MIMO)(*others, state, **options)

    def without_before(*args, **options):
        *others, state = args
        y, new = ours(MIMO)(*others, state._replace(k=0 * state.k), **options)
        return y, new

    for wrong in (turned_twice, without_before):
        assert verdict_on(wrong, MIMO, mimo()).status == FAILED


REFUSED = {
    "pairing is 'twice'": {"pairing": "twice"},
    "eps is -1": {"norm_eps": -1.0},
}


@pytest.mark.parametrize("message", REFUSED)
def test_options_that_make_no_sense_are_refused(message):
    with pytest.raises(ValueError, match=message):
        _ = device_op(SISO)(**on_device(SISO, siso() | REFUSED[message]))


def test_states_that_do_not_fit_are_refused():
    ranked = {**siso(), "state": mimo()["state"]}
    with pytest.raises(ValueError, match="k of the state has 2 ranks; it needs one"):
        _ = device_op(SISO)(**on_device(SISO, ranked))
    with pytest.raises(ValueError, match="theta has 9 angles for a state of 16"):
        _ = device_op(SISO)(**on_device(SISO, siso(state=16, angles=9)))
    with pytest.raises(ValueError, match="number of ranks of B is 0"):
        _ = device_op(MIMO)(**on_device(MIMO, mimo(ranks=0)))


def without_faults():
    sizes = {"heads": 2, "groups": 1, "headdim": 35}
    assert_right(MIMO, mimo(ranks=3, state=20, batch=1, **sizes), "bfloat16")
    assert_right(MIMO, mimo(ranks=2, state=6, angles=3, batch=1, **sizes))


@pytest.mark.parametrize("mode", ["asan", "tsan"])
def test_sanitizers_find_nothing(mode):
    _ = sanitized.run(mode, "test_mamba3:without_faults")
