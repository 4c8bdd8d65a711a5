"""Stages: what they mean, that they make y, and that kernels' own ways agree."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import exp as mp_exp
from mpmath import mp, pi, tanh
from support.compare import assert_close
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers
from support.mamba2_inputs import part
from support.stages_inputs import (
    EXAMPLES,
    scan_stages_example,
    siso_stages_example,
    ssd_stages_example,
)

from ssmref.golden import stages
from ssmref.golden.mamba1 import selective_scan
from ssmref.golden.mamba2 import ssd
from ssmref.golden.mamba3 import siso

FORMS = {
    "ssd_stages": ("ssd_stages_passing", ssd_stages_example),
    "selective_scan_stages": ("selective_scan_stages_blelloch", scan_stages_example),
    "siso_stages": ("siso_stages_scaled", siso_stages_example),
}
FUNCTIONS = [
    (getattr(stages, function), example)
    for name, (form, example) in FORMS.items()
    for function in (name, form)
]
every_function = pytest.mark.parametrize(
    ("function", "example"), FUNCTIONS, ids=[f.__name__ for f, _ in FUNCTIONS]
)
every_ssd = pytest.mark.parametrize(
    "form", [stages.ssd_stages, stages.ssd_stages_passing]
)
every_siso = pytest.mark.parametrize(
    "form", [stages.siso_stages, stages.siso_stages_scaled]
)


def rng():
    return np.random.default_rng(10)


def leaves(value):
    parts = value if isinstance(value, tuple) else (value,)
    return [x for p in parts for x in (leaves(p) if isinstance(p, tuple) else [p])]


@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    length=st.integers(0, 11),
    chunk=st.integers(1, 6),
    from_zero=st.booleans(),
)
def test_form_is_definition(name, seed, length, chunk, from_zero):
    form, example = FORMS[name]
    call = example(np.random.default_rng(seed), length=length)
    if "chunk_size" in call:
        call["chunk_size"] = chunk
    if from_zero:
        call["initial_state"] = None
    assert_close(getattr(stages, form)(**call), getattr(stages, name)(**call))


@every_ssd
def test_ssd_stages_end_in_ssd(form):
    call = ssd_stages_example(rng())
    found = form(**call)
    assert_close((found.y, found.final_state), ssd(**without(call, "chunk_size")))


def without(call, *names):
    return {name: value for name, value in call.items() if name not in names}


@every_ssd
def test_chunk_states_are_passed_on(form):
    """What a kernel does between chunks; the first chunk starts from the state."""
    call = ssd_stages_example(rng(), length=11)
    found, h = form(**call), call["initial_state"]
    assert found.chunk_states.shape[1] == 4
    for c in range(4):
        assert_close(found.entering_states[:, c], h)
        kept = np.exp(found.log_decay[:, :, c, -1])[..., None, None]
        h = kept * h + found.chunk_states[:, c]
    assert_close(found.final_state, h)


@every_ssd
def test_stages_of_ssd_make_its_outputs(form):
    """y from the stages alone, chunk by chunk, as the last kernel computes it."""
    call = ssd_stages_example(rng())
    s, B, C = form(**call), *(np.repeat(call[n], 2, axis=2) for n in "BC")
    for t in range(7):
        c, i = divmod(t, 3)
        first = t - i
        kept = np.exp(s.log_decay[:, :, c, i])[..., None, None]
        h = kept * s.entering_states[:, c]
        for j in range(i + 1):
            decay = np.exp(s.log_decay[:, :, c, i] - s.log_decay[:, :, c, j])
            weight = (decay * s.dt[:, :, c, j])[..., None, None]
            x = call["x"][:, first + j, :, :, None]
            h = h + weight * x * B[:, first + j, :, None]
        assert_close(s.y[:, t], np.einsum("bhpn,bhn->bhp", h, C[:, t]), 1e-11)


@every_ssd
def test_filling_of_the_last_chunk_neither_decays_nor_adds(form):
    found = form(**ssd_stages_example(rng(), length=7))
    assert found.dt.shape == found.log_decay.shape == (2, 6, 3, 3)
    assert not np.any(found.dt[:, :, 2, 1:])
    assert np.all(found.dt[:, :, 2, 0] > 0)
    assert_close(found.log_decay[..., 2, 1:], found.log_decay[..., 2, [0, 0]], 0)


@every_ssd
def test_chunk_states_are_those_of_the_chunk_alone(form):
    call = ssd_stages_example(rng())
    found = form(**call)
    alone = without(part(call, slice(3, 6)), "chunk_size", "initial_state")
    assert_close(found.chunk_states[:, 1], ssd(**alone)[1])
    before = without(part(call, slice(3)), "chunk_size")
    assert_close(found.entering_states[:, 1], ssd(**before)[1])


@pytest.mark.parametrize(
    "form", [stages.selective_scan_stages, stages.selective_scan_stages_blelloch]
)
def test_stages_of_the_scan_are_its_recurrence(form):
    call = scan_stages_example(rng())
    s, h = form(**call), call["initial_state"]
    assert_close((s.y, s.final_state), selective_scan(**call))
    C = np.repeat(call["C"], 2, axis=2)
    for t in range(9):
        h = s.decay[:, t] * h + s.drive[:, t]
        assert_close(s.states[:, t], h)
        assert_close(s.y[:, t], np.einsum("bdn,bdn->bd", C[:, t], h))
    assert_close(s.decay, np.exp(s.dt[..., None] * call["A"]))


@every_siso
def test_stages_of_siso_end_in_siso(form):
    call = siso_stages_example(rng())
    found = form(**call)
    assert_close((found.y, found.final_state), siso(**without(call, "chunk_size")))


@every_siso
def test_stages_of_siso_make_its_outputs(form):
    """The loop of the official kernel over its own stored stages."""
    call = siso_stages_example(rng())
    s = form(**call)
    gamma, scale, log_decay = (
        np.swapaxes(v, 1, 2) for v in (s.gamma, s.scale, s.log_decay)
    )
    for t in range(7):
        c, i = divmod(t, 3)
        kept = np.exp(log_decay[:, t])[..., None, None]
        h = kept * s.entering_states[:, c]
        for j in range(t - i, t):
            decay = np.exp(log_decay[:, t] - log_decay[:, j])[..., None, None]
            h = h + decay * call["x"][:, j, :, :, None] * s.k[:, j, :, None]
        y = np.einsum("bhpn,bhn->bhp", h, s.q[:, t])
        own = np.sum(s.q[:, t] * s.k[:, t], axis=-1) * gamma[:, t] / scale[:, t]
        assert_close(s.y[:, t], y + own[..., None] * call["x"][:, t], 1e-11)


@every_siso
def test_key_of_the_last_token_is_the_final_state(form):
    found = form(**siso_stages_example(rng()))
    k = found.k[:, -1] / found.scale[:, :, -1, None]
    assert_close(k, found.final_state.k[:, 0])
    assert_close(found.scale[:, :, -1], found.gamma[:, :, -1])


@pytest.mark.parametrize("dtype", DTYPES)
@every_siso
def test_weights_satisfy_their_equations(form, dtype):
    call = siso_stages_example(rng(), batch=1, length=4, heads=2, groups=1, angles=3)
    found = form(**cast(call, dtype))
    with mp.workdps(DIGITS):
        dt, A, trap, angles = (
            numbers(call[n][0]) for n in ("dt", "A", "trap", "angles")
        )
        weight = [[1 / (1 + mp_exp(-v)) for v in row] for row in trap]
        turn, gamma, scale, sums = [], [[], []], [[], []], [[], []]
        for t in range(4):
            turn.append([])
            for h in range(2):
                turn[t].append([pi * tanh(v) * dt[t][h] for v in angles[t][h]])
                gamma[h].append(weight[t][h] * dt[t][h])
                after = (1 - weight[t + 1][h]) * dt[t + 1][h] if t < 3 else 0
                scale[h].append(gamma[h][t] + after)
                sums[h].append(A[t][h] * dt[t][h] + (sums[h][-1] if t % 3 else 0))
        assert_exact((found.turn, found.gamma), ([turn], [gamma]))
        assert_exact((found.scale, found.log_decay), ([scale], [sums]))


@every_function
@pytest.mark.parametrize(
    ("dtype", "limit"), [(np.float32, 1e-5), (np.longdouble, 1e-12)]
)
def test_each_precision_is_its_own(function, example, dtype, limit):
    call = example(rng())
    found = function(**cast(call, dtype))
    assert all(x.dtype == dtype for x in leaves(found))
    assert_close(cast(found, np.float64), function(**call), limit)


@every_function
def test_inputs_are_not_modified(function, example):
    call = example(rng())
    before = copy.deepcopy(call)
    found = function(**call)
    for name, value in before.items():
        for x, y in zip(leaves(call[name]), leaves(value), strict=True):
            np.testing.assert_array_equal(x, y)
    start = leaves(call["initial_state"])
    assert not any(np.shares_memory(x, y) for x in leaves(found) for y in start)


@every_function
def test_future_tokens_do_not_change_earlier_outputs(function, example):
    call = example(rng())
    name = "u" if "u" in call else "x"
    changed = call[name].copy()
    changed[:, 4] += 1
    y, other = function(**call).y, function(**call | {name: changed}).y
    np.testing.assert_array_equal(other[:, :4], y[:, :4])
    assert np.all(other[:, 4] != y[:, 4])


WRONG = [
    ("ssd_stages", {"chunk_size": 0}, "chunk_size is 0; it needs to be at least 1"),
    ("ssd_stages", {"dt_limit": (1.0, 0.5)}, "dt_limit is"),
    ("ssd_stages", {"B": np.zeros((2, 7, 4, 4))}, "C has shape.*groups = 4 from B"),
    (
        "ssd_stages",
        {"initial_state": np.zeros((1, 6, 5, 4))},
        "initial_state has shape",
    ),
    ("selective_scan_stages", {"A": np.zeros((6, 5))}, "B has shape"),
    ("siso_stages", {"chunk_size": 0}, "chunk_size is 0"),
    ("siso_stages", {"pairing": "none"}, "pairing is 'none'"),
    ("siso_stages", {"trap": np.zeros((2, 7, 5))}, "trap has shape"),
]


@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize(("name", "wrong", "message"), WRONG)
def test_wrong_call_is_refused(name, wrong, message, other):
    form = FORMS[name][0] if other else name
    with pytest.raises(ValueError, match=message):
        getattr(stages, form)(**EXAMPLES[f"stages.{name}"](rng()) | wrong)


@pytest.mark.parametrize("name", FORMS["selective_scan_stages"][:1])
def test_wrong_state_of_the_scan_is_refused(name):
    wrong = {"initial_state": np.zeros((1, 6, 4))}
    for form in ("selective_scan_stages", name):
        with pytest.raises(ValueError, match="initial_state has shape"):
            getattr(stages, form)(**scan_stages_example(rng()) | wrong)
