"""Mamba-2: known answers, and what all forms of SSD agree on."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compare import assert_close
from support.mamba2_inputs import part, ssd_example, ssd_inputs

from ssmref.golden.layers import softplus
from ssmref.golden.mamba1 import selective_scan
from ssmref.golden.mamba2 import ssd, ssd_chunked, ssd_quadratic, ssd_step


def stepwise(*, initial_state=None, **call):
    """Run `ssd_step` token by token, under the signature of `ssd`."""
    x, B = call["x"], call["B"]
    state = np.zeros((len(x), *x.shape[2:], B.shape[3]))
    state = state if initial_state is None else initial_state
    y = np.empty_like(x)
    for t in range(x.shape[1]):
        y[:, t], state = ssd_step(**part(call, t), state=state)
    return y, state


FORMS = {
    "quadratic": ssd_quadratic,
    "chunked 1": partial(ssd_chunked, chunk_size=1),
    "chunked 3": partial(ssd_chunked, chunk_size=3),
    "chunked 16": partial(ssd_chunked, chunk_size=16),
    "chunked": ssd_chunked,
    "steps": stepwise,
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
with_recurrence = pytest.mark.parametrize(
    "form", [ssd, *FORMS.values()], ids=["recurrence", *FORMS]
)


def rng():
    return np.random.default_rng(2)


def known_call():
    x = np.array([[1, -1], [2, 0.5], [0, 3]])
    dt = np.array([[0, 1], [-1, 0.5], [2, -2]])
    B = np.array([[1, 0.5], [-1, 2], [0.3, 0.7]])
    C = np.array([[0.2, 1], [1, -1], [0.5, 0.5]])
    return {
        "x": x[None, :, :, None],
        "dt": dt[None],
        "A": np.array([-0.5, -1.5]),
        "B": B[None, :, None],
        "C": C[None, :, None],
        "D": np.array([1.0, 2.0]),
        "dt_bias": np.array([0.1, -0.1]),
        "dt_softplus": True,
        "dt_limit": (0.2, 1.5),
        "initial_state": np.full((1, 2, 1, 2), 0.25),
    }


@with_recurrence
def test_known_answer(form):
    y, state = form(**known_call())
    expected = "1.72784292298 -2.82218668531 0.266906275237 -0.527291053941"
    expected += " 0.452140508139 6.30109532518"
    states = "0.0428127539675 0.861468262311 -0.384627195345 0.986817845699"
    assert_close(y.ravel(), np.array(expected.split(), float))
    assert_close(state.ravel(), np.array(states.split(), float))


@every_form
@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 16, 17, 70])
def test_form_is_recurrence(form, length):
    call = ssd_example(rng(), length=length)
    assert_close(form(**call), ssd(**call))


@every_form
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    batch=st.integers(1, 3),
    length=st.integers(0, 20),
    heads=st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3), (6, 2)]),
    headdim=st.integers(1, 3),
    state=st.integers(1, 3),
    dropped=st.sets(st.sampled_from(["D", "z", "dt_bias", "initial_state"])),
    softplus_first=st.booleans(),
)
def test_form_is_recurrence_for_any_call(
    form, seed, batch, length, heads, headdim, state, dropped, softplus_first
):
    sizes = {"batch": batch, "length": length, "headdim": headdim, "state": state}
    heads, groups = heads
    rng = np.random.default_rng(seed)
    call = ssd_example(rng, **sizes, heads=heads, groups=groups)
    call = {k: v for k, v in call.items() if k not in dropped}
    call["dt_softplus"] = softplus_first
    assert_close(form(**call), ssd(**call))


@every_form
@pytest.mark.parametrize("raw", [-50.0, -17.0, 20.0, 20.01, 1e3])
@pytest.mark.parametrize("A", [-0.0, -1e-3, -1e4])
def test_form_is_recurrence_at_extreme_steps(form, raw, A):
    call = dict(ssd_example(rng(), length=9), dt_limit=(0.0, np.inf))
    call["dt"][:, ::2] = raw
    call["A"][::2] = A
    assert_close(form(**call), ssd(**call))


@every_form
def test_initial_state_reaches_every_token(form):
    call = dict(ssd_inputs(rng(), length=20), A=np.full(6, -0.01))
    call["x"][:] = 0
    start = rng().standard_normal((2, 6, 5, 4))
    y, state = form(**call, initial_state=start)
    left = np.exp(-0.01 * np.cumsum(call["dt"], axis=1))
    C = np.repeat(call["C"], 2, axis=2)
    assert_close(y, np.einsum("bth,bthn,bhpn->bthp", left, C, start))
    assert_close(state, left[:, -1, :, None, None] * start)


@with_recurrence
def test_ssd_is_selective_scan_with_one_decay_per_head(form):
    call = dict(ssd_inputs(rng(), groups=6), D=rng().standard_normal((6, 5)))
    y, state = form(**call)
    dt, B, C = (np.repeat(call[k], 5, axis=2) for k in ("dt", "B", "C"))
    A = np.repeat(call["A"], 5)[:, None] * np.ones(4)
    u, D = call["x"].reshape(2, 7, 30), call["D"].ravel()
    y1, state1 = selective_scan(u, dt, A, B, C, D=D)
    assert_close(y, y1.reshape(2, 7, 6, 5))
    assert_close(state, state1.reshape(2, 6, 5, 4))


@with_recurrence
def test_groups_are_repeated_for_consecutive_heads(form):
    call = ssd_example(rng())
    repeated = {k: np.repeat(call[k], 2, axis=2) for k in "BC"}
    assert_close(form(**call), ssd(**dict(call, **repeated)))
    tiled = {k: np.tile(call[k], (1, 1, 2, 1)) for k in "BC"}
    assert not np.allclose(form(**call)[0], ssd(**dict(call, **tiled))[0])


@pytest.mark.parametrize("first", [ssd, *FORMS.values()], ids=["recurrence", *FORMS])
@pytest.mark.parametrize("second", [ssd, ssd_quadratic, ssd_chunked])
@pytest.mark.parametrize("at", [0, 1, 6, 7])
def test_split_with_carried_state_is_whole(first, second, at):
    call = ssd_example(rng())
    y0, state = first(**part(call, slice(None, at)))
    y1, state = second(**dict(part(call, slice(at, None)), initial_state=state))
    assert_close((np.concatenate([y0, y1], axis=1), state), ssd(**call))


@pytest.mark.parametrize("form", [ssd, ssd_quadratic, ssd_chunked])
@pytest.mark.parametrize("bounds", [[0, 4, 4, 11], [0, 0, 11], [0, 11, 11], [0, 11]])
def test_pack_is_separate_sequences(form, bounds):
    call = ssd_example(rng(), batch=1, length=11)
    start = rng().standard_normal((len(bounds) - 1, 6, 5, 4))
    y, state = form(**dict(call, initial_state=start, cu_seqlens=np.array(bounds)))
    for i, (first, last) in enumerate(pairwise(bounds)):
        own = dict(part(call, slice(first, last)), initial_state=start[i : i + 1])
        assert_close((y[:, first:last], state[i : i + 1]), form(**own))


@with_recurrence
def test_padding_with_zero_steps_changes_nothing(form):
    call = dict(ssd_inputs(rng(), length=10), D=np.ones(6))
    call["dt"][:, 6:] = 0
    y, state = form(**call)
    assert_close((y[:, :6], state), ssd(**part(call, slice(6))))


@with_recurrence
def test_future_tokens_do_not_change_the_past(form):
    call = ssd_example(rng(), length=20)
    y, _ = form(**call)
    for name in ("x", "dt", "B", "C", "z"):
        changed = call[name].copy()
        changed[:, 11] += 1
        y_changed, _ = form(**{**call, name: changed})
        np.testing.assert_array_equal(y_changed[:, :11], y[:, :11])
        assert np.any(y_changed[:, 11] != y[:, 11])


@with_recurrence
def test_ssd_is_linear_in_input_and_state(form):
    call = dict(ssd_inputs(rng()), D=rng().standard_normal(6))
    x, start = call.pop("x"), rng().standard_normal((2, 6, 5, 4))
    y0, h0 = form(x=x, **call)
    y1, h1 = form(x=0 * x, **call, initial_state=start)
    y, h = form(x=2 * x, **call, initial_state=-3 * start)
    assert_close((y, h), (2 * y0 - 3 * y1, 2 * h0 - 3 * h1))


@with_recurrence
@pytest.mark.parametrize("softplus_first", [False, True])
def test_limits_clip_after_bias_and_softplus(form, softplus_first):
    call = dict(ssd_example(rng()), dt_softplus=softplus_first)
    dt = call["dt"] + call["dt_bias"]
    clipped = np.clip(softplus(dt) if softplus_first else dt, 0.1, 1.5)
    assert np.any(clipped == 0.1)
    assert np.any(clipped == 1.5)
    plain = {"dt": clipped, "dt_bias": None, "dt_softplus": False}
    assert_close(form(**call), ssd(**dict(call, dt_limit=(0.0, np.inf), **plain)))


@with_recurrence
def test_default_limits_clip_negative_steps(form):
    call = ssd_inputs(rng())
    call["dt"][:, 3] = -0.4
    zero = call["dt"].copy()
    zero[:, 3] = 0
    assert_close(form(**call), ssd(**dict(call, dt=zero)))


@with_recurrence
def test_infinite_step_is_clipped(form):
    call = ssd_example(rng())
    call["dt"][:, 3] = np.inf
    large = call["dt"].copy()
    large[:, 3] = 1e6
    assert_close(form(**call), ssd(**dict(call, dt=large)))


@with_recurrence
def test_skip_per_head_is_broadcast_over_headdim(form):
    call, D = ssd_example(rng()), rng().standard_normal(6)
    wide = np.repeat(D[:, None], 5, axis=1)
    assert_close(form(**dict(call, D=D)), ssd(**dict(call, D=wide)))
