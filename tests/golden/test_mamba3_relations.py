"""Mamba-3: how SISO, MIMO, both pairings and Mamba-2 are related."""

from typing import Any

import numpy as np
import pytest
from support.compare import assert_close
from support.mamba3_inputs import comparable, mimo_example, siso_example

from ssmref.golden import mamba3
from ssmref.golden.layers import rotary
from ssmref.golden.mamba2 import ssd
from ssmref.golden.mamba3 import Mamba3State, mimo, siso, to_halved, to_pairwise

FORMS = ["", "_chunked", "_rotating"]
every_form = pytest.mark.parametrize("form", FORMS)


def rng():
    return np.random.default_rng(12)


def assert_same(actual, expected):
    __tracebackhide__ = True
    assert_close(comparable(actual), comparable(expected))


def with_one_rank(call: dict[str, Any]) -> dict[str, Any]:
    """Return a SISO call as MIMO of one rank with unit projections."""
    ranked: dict[str, Any] = {k: call[k][:, :, None] for k in "BC"}
    ranked |= {k: call[k][:, None] for k in ("B_bias", "C_bias")}
    return dict(call, **ranked)


def halved(call: dict[str, Any]) -> dict[str, Any]:
    """Return the call with everything along the state reordered."""
    names = ("B", "C", "B_bias", "C_bias")
    state = halved_state(call["initial_state"])
    changed: dict[str, Any] = {k: to_halved(call[k]) for k in names}
    return dict(call, initial_state=state, **changed)


def halved_state(state: Mamba3State) -> Mamba3State:
    return state._replace(ssm=to_halved(state.ssm), k=to_halved(state.k))


def test_to_halved_of_four_coordinates():
    v = np.array([0.0, 1, 2, 3])
    assert_close(to_halved(v), np.array([0.0, 2, 1, 3]), 0)
    assert_close(to_pairwise(to_halved(v)), v, 0)


@pytest.mark.parametrize("angles", [0, 1, 3, 5])
def test_halved_rotation_of_halved_is_pairwise_rotation(angles):
    v = rng().standard_normal((3, 10))
    theta = rng().standard_normal((3, angles))
    found = rotary(to_halved(v), theta, pairing="halved")
    assert_close(found, to_halved(rotary(v, theta)), 0)
    assert_close(to_pairwise(found), rotary(v, theta), 0)


@pytest.mark.parametrize("convert", [to_halved, to_pairwise])
def test_odd_state_has_no_other_pairing(convert):
    with pytest.raises(ValueError, match="v has a state of 5; it needs to be even"):
        convert(np.zeros((2, 5)))


@every_form
@pytest.mark.parametrize("pairing", ["pairwise", "halved"])
def test_mimo_of_one_rank_is_siso(form, pairing):
    call = dict(siso_example(rng()), pairing=pairing)
    found = getattr(mamba3, "mimo" + form)(**with_one_rank(call))
    assert_same(found, siso(**call))


@every_form
def test_reordered_mimo_of_one_rank_is_siso_with_default_pairings(form):
    call = siso_example(rng())
    y, state = getattr(mamba3, "mimo" + form)(**with_one_rank(halved(call)))
    y_siso, state_siso = siso(**call)
    assert_same((y, state), (y_siso, halved_state(state_siso)))


def test_pairings_differ_without_reordering():
    call = siso_example(rng())
    y, _ = mimo(**with_one_rank(call))
    assert np.max(np.abs(y - siso(**call)[0])) > 0.1


@every_form
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_mimo_with_all_but_one_rank_zero_is_siso(form, ranks):
    call = mimo_example(rng(), ranks=ranks)
    first = np.zeros((6, ranks, 5))
    first[:, 0] = 1
    one: dict[str, Any] = {k: first for k in ("mimo_x", "mimo_z", "mimo_o")}
    y, state = getattr(mamba3, "mimo" + form)(**dict(call, **one))
    single = {k: v for k, v in call.items() if not k.startswith("mimo")}
    single |= {k: call[k][:, :, 0] for k in "BC"}
    single |= {k: call[k][:, 0] for k in ("B_bias", "C_bias")}
    start = call["initial_state"]
    single["initial_state"] = start._replace(k=start.k[:, :1])
    expected = siso(**single, pairing="halved")
    assert_same((y, state._replace(k=state.k[:, :1])), expected)


@every_form
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_equal_ranks_share_one_state(form, ranks):
    call = dict(siso_example(rng()), z=None, norm_weight=None, D=np.zeros(6))
    many = with_one_rank(call)
    many |= {k: np.repeat(many[k], ranks, 2) for k in "BC"}
    many |= {k: np.repeat(many[k], ranks, 1) for k in ("B_bias", "C_bias")}
    start = call["initial_state"]
    many["initial_state"] = start._replace(k=np.repeat(start.k, ranks, 1))
    share = np.full((6, ranks, 5), 1 / ranks)
    D, x = rng().standard_normal(6), call["x"]
    run = getattr(mamba3, "mimo" + form)
    y, state = run(**dict(many, D=D, mimo_x=share, pairing="pairwise"))
    y_one, state_one = siso(**call)
    assert_close(y, ranks * y_one + D[:, None] * x)
    assert_close(state.ssm, state_one.ssm)


@every_form
@pytest.mark.parametrize("ranks", [2, 4])
def test_missing_projections_are_ones(form, ranks):
    call = mimo_example(rng(), ranks=ranks)
    names = ("mimo_x", "mimo_z", "mimo_o")
    none: dict[str, Any] = dict.fromkeys(names)
    ones: dict[str, Any] = dict.fromkeys(names, np.ones((6, ranks, 5)))
    run = getattr(mamba3, "mimo" + form)
    assert_same(run(**dict(call, **none)), mimo(**dict(call, **ones)))


@every_form
@pytest.mark.parametrize("trap", [50.0, np.inf])
def test_mamba3_without_trapezoid_and_rotation_is_ssd(form, trap):
    call = siso_example(rng())
    A = -rng().uniform(0.1, 1.2, 6)
    still = Mamba3State(*(np.zeros_like(v) for v in call["initial_state"]))
    start = still._replace(ssm=call["initial_state"].ssm)
    plain: dict[str, Any] = dict.fromkeys(("B_bias", "C_bias", "norm_weight"))
    plain |= {"A": np.broadcast_to(A, (2, 7, 6)), "trap": np.full((2, 7, 6), trap)}
    plain |= {"angles": np.zeros((2, 7, 6, 8)), "initial_state": start}
    y, state = getattr(mamba3, "siso" + form)(**dict(call, **plain))
    x, dt, B, C = (call[k] for k in ("x", "dt", "B", "C"))
    expected = ssd(x, dt, A, B, C, D=call["D"], z=call["z"], initial_state=start.ssm)
    assert_close((y, state.ssm), expected)


@every_form
def test_trapezoid_without_weight_on_the_token_is_one_token_late(form):
    call = siso_example(rng())
    call["trap"][:] = -np.inf
    call = dict(call, D=None, norm_weight=None, z=None)
    y, _ = getattr(mamba3, "siso" + form)(**call)
    changed = call["x"].copy()
    changed[:, 4] += 1
    y_changed, _ = getattr(mamba3, "siso" + form)(**dict(call, x=changed))
    np.testing.assert_array_equal(y_changed[:, :5], y[:, :5])
    assert np.max(np.abs(y_changed[:, 5] - y[:, 5])) > 0.1


@pytest.mark.parametrize("op", ["siso", "mimo"])
def test_no_angles_is_no_rotation(op):
    example = {"siso": siso_example, "mimo": mimo_example}[op]
    call = example(rng(), angles=0)
    still = call["initial_state"]._replace(angle=np.zeros((2, 6, 9)))
    full = dict(call, angles=np.zeros((2, 7, 6, 9)), initial_state=still)
    for form in FORMS:
        y, state = getattr(mamba3, op + form)(**call)
        y_full, state_full = getattr(mamba3, op)(**full)
        assert state.angle.shape == (2, 6, 0)
        assert_close((y, state.ssm, state.k), (y_full, state_full.ssm, state_full.k))
