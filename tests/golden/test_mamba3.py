"""Mamba-3: known answers, and what all forms of SISO and of MIMO agree on."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compare import assert_close
from support.mamba3_inputs import (
    comparable,
    initial_state,
    mimo_example,
    part,
    siso_example,
)

from ssmref.golden import mamba3
from ssmref.golden.mamba3 import Mamba3State, mimo, siso


def stepwise(step, *, initial_state=None, **call):
    """Run a step token by token, under the signature of its op."""
    (batch, length, heads, headdim), state = call["x"].shape, call["B"].shape[-1]
    ranks = call["B"].shape[2] if call["B"].ndim == 5 else 1
    cache = initial_state or Mamba3State(
        np.zeros((batch, heads, call["angles"].shape[-1])),
        np.zeros((batch, heads, headdim, state)),
        np.zeros((batch, ranks, heads, state)),
        np.zeros((batch, heads, headdim)),
    )
    y = np.empty_like(call["x"])
    for t in range(length):
        y[:, t], cache = step(**part(call, t), state=cache)
    return y, cache


def forms_of(name):
    """Return the forms of an op, its own name first."""
    chunked = getattr(mamba3, f"{name}_chunked")
    return {
        name: getattr(mamba3, name),
        **{f"{name}_chunked {n}": partial(chunked, chunk_size=n) for n in (1, 3, 16)},
        f"{name}_rotating": getattr(mamba3, f"{name}_rotating"),
        f"{name}_step": partial(stepwise, getattr(mamba3, f"{name}_step")),
    }


EXAMPLES = {"siso": siso_example, "mimo": mimo_example}
ALL = {k: (f, op) for op in EXAMPLES for k, f in forms_of(op).items()}
OTHER = {k: v for k, v in ALL.items() if k not in EXAMPLES}
every_form = pytest.mark.parametrize(("form", "op"), ALL.values(), ids=ALL)
other_form = pytest.mark.parametrize(("form", "op"), OTHER.values(), ids=OTHER)
PACKED = {k: v for k, v in ALL.items() if "step" not in k}


def rng():
    return np.random.default_rng(11)


def assert_same(actual, expected):
    __tracebackhide__ = True
    assert_close(comparable(actual), comparable(expected))


def assert_is_definition(form, op, call):
    """Assert that a form gives what the recurrence of its op gives."""
    __tracebackhide__ = True
    assert_same(form(**call), getattr(mamba3, op)(**call))


def known_call(op):
    q, k = (
        [[1, 0.5, -0.5, 2], [0.3, 1, 1, -1]],
        [[0.2, -1, 1, 0.4], [2, 0.1, -0.3, 0.6]],
    )
    dt, a = np.array([0.5, 0.8]), np.array([-0.2, -0.6])
    ranks = (1,) if op == "mimo" else ()
    return {
        "x": np.array([1.0, -2.0]).reshape(1, 2, 1, 1),
        "dt": dt.reshape(1, 2, 1),
        "A": (a / dt).reshape(1, 2, 1),
        "B": np.array(k).reshape(1, 2, *ranks, 1, 4),
        "C": np.array(q).reshape(1, 2, *ranks, 1, 4),
        "trap": np.array([0.3, -0.7]).reshape(1, 2, 1),
        "angles": np.array([[0.4, -1.2], [0.9, 0.25]]).reshape(1, 2, 1, 2),
        "B_bias": np.array([-0.1, 0, 0.1, 0.2]).reshape(1, *ranks, 4),
        "C_bias": np.array([0.1, 0.2, 0.3, 0.4]).reshape(1, *ranks, 4),
        "D": np.array([0.9]),
        "z": np.array([0.5, -1.0]).reshape(1, 2, 1, 1),
    }


KNOWN = {
    "pairwise": (
        [0.336423518051, 0.326689161433],
        [1.06856618349, -0.992160201945, 0.199551269101, -0.803756551815],
        [-1.46505030884, 1.21393063746, 0.357920633779, 0.742894891566],
    ),
    "halved": (
        [0.336423518051, 0.654104937046],
        [0.428358516926, -0.167547768715, -0.325922886069, 0.213056895939],
        [-1.26176523353, 0.58853759841, 1.43455515595, 0.551020412742],
    ),
}


@every_form
@pytest.mark.parametrize("pairing", KNOWN)
def test_known_answer(form, op, pairing):
    y, state = form(**known_call(op), pairing=pairing)
    found = (y.ravel(), state.ssm.ravel(), state.k.ravel(), state.angle.ravel())
    angle = np.array([2.39707533572, 5.5892314491])
    # The digits that are known.
    assert_close(found, (*(np.array(v) for v in KNOWN[pairing]), angle), 5e-12)
    assert state.v.item() == -2


@pytest.mark.parametrize(("op", "pairing"), [("siso", "pairwise"), ("mimo", "halved")])
def test_each_op_pairs_as_its_official_kernel(op, pairing):
    definition, call = getattr(mamba3, op), EXAMPLES[op](rng())
    assert_same(definition(**call), definition(**call, pairing=pairing))


@other_form
@pytest.mark.parametrize("length", [0, 1, 2, 3, 16, 17])
@pytest.mark.parametrize("pairing", ["pairwise", "halved"])
def test_form_is_recurrence(form, op, length, pairing):
    call = EXAMPLES[op](rng(), length=length)
    assert_is_definition(form, op, dict(call, pairing=pairing))


OPTIONAL = ["B_bias", "C_bias", "D", "z", "norm_weight", "initial_state"]
OPTIONAL += ["mimo_x", "mimo_z", "mimo_o"]


@other_form
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    batch=st.integers(1, 3),
    length=st.integers(0, 12),
    heads=st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3), (6, 2)]),
    headdim=st.integers(1, 3),
    pairs=st.integers(1, 4),
    angles=st.integers(0, 4),
    ranks=st.integers(1, 4),
    dropped=st.sets(st.sampled_from(OPTIONAL)),
    pairing=st.sampled_from(["pairwise", "halved"]),
)
def test_form_is_recurrence_for_any_call(
    form, op, seed, heads, pairs, angles, ranks, dropped, pairing, **sizes
):
    sizes |= {"heads": heads[0], "groups": heads[1]}
    sizes |= {"state": 2 * pairs, "angles": min(angles, pairs)}
    sizes |= {"ranks": ranks} if op == "mimo" else {}
    call = EXAMPLES[op](np.random.default_rng(seed), **sizes)
    call = {k: v for k, v in call.items() if k not in dropped}
    assert_is_definition(form, op, dict(call, pairing=pairing))


@other_form
@pytest.mark.parametrize("dt", [0.0, 1e-8, 20.0, 20.01])
@pytest.mark.parametrize("A", [-0.0, -1e-3, -1e4])
@pytest.mark.parametrize("logit", [-1e3, 30.0])
def test_form_is_recurrence_at_extremes(form, op, dt, A, logit):
    call = EXAMPLES[op](rng(), length=9)
    call["dt"][:, ::2], call["A"][:, ::3] = dt, A
    call["trap"][:, 1::2], call["angles"][:, ::4] = logit, logit
    assert_is_definition(form, op, call)


@every_form
@pytest.mark.parametrize("turns", [-3, 1, 5])
def test_whole_turns_of_the_angle_do_not_matter(form, op, turns):
    call = EXAMPLES[op](rng())
    state = call["initial_state"]
    turned = state._replace(angle=state.angle + 2 * np.pi * turns)
    assert_same(form(**dict(call, initial_state=turned)), form(**call))


@every_form
def test_angle_is_returned_modulo_two_pi(form, op):
    call = EXAMPLES[op](rng(), length=40)
    _, state = form(**call)
    assert np.all(state.angle >= 0)
    assert np.all(state.angle <= 2 * np.pi)
    rates = np.pi * np.tanh(call["angles"]) * call["dt"][..., None]
    total = call["initial_state"].angle + np.sum(rates, axis=1)
    assert np.max(np.abs(total)) > 10
    assert_close(np.exp(1j * state.angle), np.exp(1j * total))


@every_form
@pytest.mark.parametrize("second", ["", "_chunked", "_rotating"])
@pytest.mark.parametrize("at", [0, 1, 6, 7])
def test_split_with_carried_state_is_whole(form, op, second, at):
    call = EXAMPLES[op](rng())
    y0, state = form(**part(call, slice(None, at)))
    rest = dict(part(call, slice(at, None)), initial_state=state)
    y1, state = getattr(mamba3, op + second)(**rest)
    whole = getattr(mamba3, op)(**call)
    assert_same((np.concatenate([y0, y1], axis=1), state), whole)


@every_form
@pytest.mark.parametrize("field", Mamba3State._fields)
def test_every_part_of_the_state_is_used(form, op, field):
    call = EXAMPLES[op](rng())
    state = call["initial_state"]
    changed = state._replace(**{field: getattr(state, field) + 0.1})
    y, _ = form(**call)
    y_changed, _ = form(**dict(call, initial_state=changed))
    assert np.max(np.abs(y_changed - y)[:, 0]) > 1e-3


@pytest.mark.parametrize(("form", "op"), PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("bounds", [[0, 4, 4, 11], [0, 0, 11], [0, 11, 11], [0, 11]])
def test_pack_is_separate_sequences(form, op, bounds):
    call = EXAMPLES[op](rng(), batch=1, length=11)
    ranks = call["initial_state"].k.shape[1]
    start = initial_state(rng(), call, ranks, rows=len(bounds) - 1)
    pack = dict(call, initial_state=start, cu_seqlens=np.array(bounds))
    y, state = form(**pack)
    for i, (first, last) in enumerate(pairwise(bounds)):
        row = Mamba3State(*(v[i : i + 1] for v in start))
        own = form(**dict(part(call, slice(first, last)), initial_state=row))
        ends = Mamba3State(*(v[i : i + 1] for v in state))
        assert_same((y[:, first:last], ends), own)


@every_form
def test_padding_with_zero_steps_keeps_outputs_angle_and_ssm(form, op):
    call = EXAMPLES[op](rng(), length=10)
    call["dt"][:, 6:] = 0
    y, angle, turned, ssm, *_ = comparable(form(**call))
    expected = comparable(getattr(mamba3, op)(**part(call, slice(6))))
    assert_close((y[:, :6], angle, turned, ssm), expected[:4])


@every_form
def test_future_tokens_do_not_change_the_past(form, op):
    call = EXAMPLES[op](rng(), length=20)
    y, _ = form(**call)
    for name in ("x", "dt", "A", "B", "C", "trap", "angles", "z"):
        changed = call[name].copy()
        changed[:, 11] += 0.25
        y_changed, _ = form(**{**call, name: changed})
        np.testing.assert_array_equal(y_changed[:, :11], y[:, :11])
        assert np.any(y_changed[:, 11] != y[:, 11])


@every_form
def test_groups_are_repeated_for_consecutive_heads(form, op):
    call = EXAMPLES[op](rng())
    axis = call["B"].ndim - 2
    repeated = {k: np.repeat(call[k], 2, axis) for k in "BC"}
    assert_is_definition(form, op, dict(call, **repeated))
    assert_same(form(**call), form(**dict(call, **repeated)))


@every_form
def test_op_is_linear_in_input_and_state(form, op):
    call = EXAMPLES[op](rng())
    call["norm_weight"] = None
    x, start = call.pop("x"), call.pop("initial_state")
    none = start._replace(ssm=0 * start.ssm, v=0 * start.v)
    scaled = start._replace(ssm=-3 * start.ssm, v=-3 * start.v)
    y0, h0 = form(x=x, initial_state=none, **call)
    y1, h1 = form(x=0 * x, initial_state=start, **call)
    y, h = form(x=2 * x, initial_state=scaled, **call)
    assert_close((y, h.ssm), (2 * y0 - 3 * y1, 2 * h0.ssm - 3 * h1.ssm))


def test_norm_is_per_head_before_the_gate_and_without_one():
    call = siso_example(rng())
    y = siso(**dict(call, norm_weight=None, z=None))[0]
    mean = np.mean(y * y, axis=-1, keepdims=True)
    normed = y / np.sqrt(mean + 0.25) * call["norm_weight"]
    assert_close(siso(**dict(call, z=None))[0], normed)
    gate = call["z"] / (1 + np.exp(-call["z"]))
    assert_close(siso(**call)[0], normed * gate)


def test_norm_of_mimo_is_per_rank():
    call = mimo_example(rng())
    ranks = np.eye(4)[:, None, :, None] * np.ones((1, 6, 4, 5))
    parts = [mimo(**dict(call, mimo_o=one * call["mimo_o"]))[0] for one in ranks]
    assert_close(sum(parts), mimo(**call)[0])
    plain = dict(call, mimo_o=ranks[2], norm_weight=None, z=None)
    y = mimo(**plain)[0]
    mean = np.mean(y * y, axis=-1, keepdims=True)
    normed = y / np.sqrt(mean + 0.25) * call["norm_weight"]
    assert_close(mimo(**dict(call, mimo_o=ranks[2], z=None))[0], normed)
