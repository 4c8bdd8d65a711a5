"""Chunks, pieces of time and threads of Mamba-3: what the suite's cases cannot see."""

from typing import Any

import numpy as np
import pytest
from support.compare import assert_close
from support.fast_paths import cast, workspace
from support.mamba3_inputs import (
    comparable,
    initial_state,
    mimo_example,
    part,
    siso_example,
    siso_inputs,
)

from ssmref.conformance.testing import cases, check
from ssmref.cpu import _mamba3_pieces as pieces
from ssmref.cpu import _mamba3_step as steps
from ssmref.cpu import mamba3
from ssmref.golden import mamba3 as golden

OPS = ("siso", "siso_step", "mimo", "mimo_step")
EXAMPLES: dict[str, Any] = {"siso": siso_example, "mimo": mimo_example}


def example(op, length, *, slow=False, **sizes):
    call = EXAMPLES[op](np.random.default_rng(length), length=length, **sizes)
    return {**call, "A": call["A"] / 100} if slow else call


def run(op, call):
    return comparable(getattr(mamba3, op)(**call))


def expected(op, call):
    with np.errstate(invalid="ignore", over="ignore"):
        return comparable(getattr(golden, op)(**call))


def in_pieces(op, call, count, monkeypatch):
    """Run an op with every sequence in so many pieces."""
    monkeypatch.setattr(pieces, "segments", lambda *_args, **_options: count)
    return run(op, call)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 65])
@pytest.mark.parametrize("pairing", ["pairwise", "halved"])
def test_chunks_of_one_rank_join_without_a_seam(length, pairing):
    call = {**example("siso", length), "pairing": pairing}
    assert_close(run("siso", call), expected("siso", call), 1e-12)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 5, 16, 33])
@pytest.mark.parametrize("pairing", ["pairwise", "halved"])
def test_chunks_of_several_ranks_join_without_a_seam(ranks, pairing):
    call = {**example("mimo", 19, ranks=ranks), "pairing": pairing}
    assert_close(run("mimo", call), expected("mimo", call), 1e-12)


SIZES = [
    {"headdim": 1, "state": 2, "angles": 1},
    {"headdim": 64, "state": 2, "angles": 0},
    {"headdim": 16, "state": 64, "angles": 32},
    {"headdim": 37, "state": 46, "angles": 17},
    {"heads": 5, "groups": 1},
    {"heads": 9, "groups": 1},
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("op", ["siso", "mimo"])
def test_sizes_around_those_of_vectors_and_blocks(op, sizes):
    call = example(op, 35, **sizes)
    assert_close(run(op, call), expected(op, call), 1e-12)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("op", ["siso", "mimo"])
def test_steps_continue_a_sequence(op, sizes):
    call = example(op, 34, **sizes)
    before, now = part(call, slice(33)), part(call, 33)
    _, now["state"] = getattr(mamba3, op)(**before)
    del now["initial_state"]
    y, *state = comparable(getattr(mamba3, f"{op}_step")(**now))
    whole, *final = expected(op, call)
    assert_close((y, *state), (whole[:, -1], *final), 1e-12)


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("length", [1, 5, 100, 321])
@pytest.mark.parametrize("op", ["siso", "mimo"])
def test_pieces_of_time_join_without_a_seam(op, length, count, monkeypatch):
    call = example(op, length, slow=True)
    assert_close(in_pieces(op, call, count, monkeypatch), expected(op, call), 1e-12)


@pytest.mark.parametrize("pairing", ["pairwise", "halved"])
def test_pieces_of_packed_sequences_join(pairing, monkeypatch):
    bounds = np.array([0, 0, 70, 71, 160, 160])
    call = example("siso", 160, batch=1, slow=True)
    state = initial_state(np.random.default_rng(0), call, 1, rows=5)
    options = {"cu_seqlens": bounds, "initial_state": state, "pairing": pairing}
    call |= options
    whole = expected("siso", call)
    assert_close(run("siso", call), whole, 1e-12)
    assert_close(in_pieces("siso", call, 3, monkeypatch), whole, 1e-12)


def test_angles_do_not_depend_on_pieces(monkeypatch):
    call = example("siso", 500, slow=True)
    _, whole = mamba3.siso(**call)
    monkeypatch.setattr(pieces, "segments", lambda *_args, **_options: 7)
    _, split = mamba3.siso(**call)
    np.testing.assert_array_equal(split.angle, whole.angle)


@pytest.mark.parametrize("op", ["siso_step", "mimo_step"])
def test_states_past_the_caches_are_the_same_bits(op, monkeypatch):
    sizes: dict[str, Any] = {"batch": 4, "heads": 8, "groups": 2, "headdim": 64}
    ranks: dict[str, Any] = {"ranks": 4} if op == "mimo_step" else {}
    call = example(op[:4], 2, **sizes, **ranks, state=128)
    call = part(cast(call, np.float32), 1)
    call["state"] = call.pop("initial_state")
    usual = run(op, call)
    monkeypatch.setattr(steps, "STREAMED", 1)
    for own, other in zip(run(op, call), usual, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("op", ["siso", "mimo"])
def test_states_of_empty_sequences_stay_as_they_are(op):
    call = example(op, 9, batch=1)
    ranks = call["initial_state"].k.shape[1]
    given = initial_state(np.random.default_rng(0), call, ranks, rows=3)
    given.angle[:] -= 40
    call |= {"initial_state": given, "cu_seqlens": np.array([0, 0, 9, 9])}
    _, final = getattr(mamba3, op)(**call)
    for own, before in zip(final, given, strict=True):
        np.testing.assert_array_equal(own[[0, 2]], before[[0, 2]])


# What takes the slow path is small: interpreted, it takes most of the time.
SMALL: dict[str, Any] = {"heads": 2, "groups": 1, "headdim": 3, "state": 6, "angles": 2}
ARGUMENTS = ("x", "dt", "A", "B", "C", "trap", "angles", "z")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("op", ["siso", "mimo"])
def test_what_is_not_finite_goes_where_it_goes_in_golden(op, argument, value):
    call = example(op, 40, **SMALL)
    call[argument][1, 20, 0] = value
    with np.errstate(invalid="ignore", over="ignore"):
        found, truth = getattr(mamba3, op)(**call), getattr(golden, op)(**call)
    np.testing.assert_array_equal(np.isfinite(found[0]), np.isfinite(truth[0]))
    assert np.isfinite(found[0][0]).all()
    assert np.isfinite(found[0][1, :20]).all()
    for own, other in zip(found[1], truth[1], strict=True):
        np.testing.assert_array_equal(np.isfinite(own), np.isfinite(other))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("field", golden.Mamba3State._fields)
@pytest.mark.parametrize("op", OPS)
def test_states_that_are_not_finite_spread_as_in_golden(op, field, value):
    call = example(op.removesuffix("_step"), 34, **SMALL)
    getattr(call["initial_state"], field)[1, 0] = value
    if op.endswith("step"):
        call = part(call, 0)
        call["state"] = call.pop("initial_state")
    with np.errstate(invalid="ignore"):
        found, truth = getattr(mamba3, op)(**call), getattr(golden, op)(**call)
    for own, other in zip((found[0], *found[1]), (truth[0], *truth[1]), strict=True):
        np.testing.assert_array_equal(np.isfinite(own), np.isfinite(other))


def test_a_decay_of_zero_forgets():
    """An exponent of minus infinity, and sums that no float32 holds."""
    call = example("siso", 40, **SMALL)
    call["A"][:, 20] = -np.inf
    call["A"][:, 30] = -1e38
    call = cast(call, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        (y, state), (whole, final) = mamba3.siso(**call), golden.siso(**call)
    np.testing.assert_allclose(y, whole, rtol=0, atol=2e-5)
    np.testing.assert_allclose(state.ssm, final.ssm, rtol=0, atol=2e-5)


def test_growing_states_are_not_clipped():
    call = example("siso", 66)
    call["A"] = -call["A"] / 4
    assert_close(run("siso", call), expected("siso", call), 1e-12)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("split", [1, 3])
def test_any_number_of_threads_gives_the_same_bits(
    count, split, monkeypatch, use_threads
):
    call = example("mimo", 90, **SMALL)
    monkeypatch.setattr(pieces, "segments", lambda *_args, **_options: split)
    one = run("mimo", call)
    use_threads(count)
    results = [run("mimo", call) for _ in range(3)]
    for result in results:
        for own, other in zip(result, one, strict=True):
            np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("op", ["siso", "mimo"])
def test_strided_and_reversed_inputs_give_the_same_bits(op):
    call = example(op, 40)
    strange = {**call, **{n: call[n][:, ::-1].copy()[:, ::-1] for n in ("x", "B")}}
    strange["angles"] = np.asfortranarray(call["angles"])
    for own, other in zip(run(op, strange), run(op, call), strict=True):
        np.testing.assert_array_equal(own, other)


def test_angles_of_float32_do_not_drift():
    """Sums of float32 near 6 would lose 5e-7 of the 1.5e-3 that each token adds."""
    length = 20000
    one = {"batch": 1, "heads": 1, "groups": 1, "headdim": 1, "state": 2, "angles": 1}
    call = siso_inputs(np.random.default_rng(0), length=length, **one)
    call["angles"][:] = np.arctanh(0.5)
    call["dt"][:] = 2**-10
    _, state = mamba3.siso(**cast(call, np.float32))
    turns = float(np.tanh(np.float32(np.arctanh(0.5)))) * 2**-11 * length
    error = (state.angle[0, 0, 0] / (2 * np.pi) - turns + 0.5) % 1 - 0.5
    assert abs(error) < 2e-6


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("op", ["siso", "mimo"])
def test_workspace_does_not_grow_with_the_length(op):
    """Numba's arrays count too; each thread has its own."""
    calls = (example(op, length, batch=1) for length in (30, 150))
    short, long = (workspace(getattr(mamba3, op), call) for call in calls)
    assert long < short + 4000


def test_halves_and_pairs_are_inverse():
    v = np.random.default_rng(0).standard_normal((2, 3, 8))
    np.testing.assert_array_equal(mamba3.to_halved(v), golden.to_halved(v))
    np.testing.assert_array_equal(mamba3.to_pairwise(v), golden.to_pairwise(v))
    np.testing.assert_array_equal(mamba3.to_pairwise(mamba3.to_halved(v)), v)


@pytest.mark.parametrize("function", ["to_halved", "to_pairwise"])
def test_an_odd_state_has_no_halves(function):
    with pytest.raises(ValueError, match="v has a state of 3; it needs to be even"):
        getattr(mamba3, function)(np.zeros((2, 3)))


def all_cases():
    return [
        pytest.param(op, case, id=str(case))
        for op in OPS
        for case in cases(f"mamba3.{op}")
    ]


@pytest.mark.parametrize(("op", "case"), all_cases())
def test_cases(op, case):
    check(getattr(mamba3, op), case, "float32", required=True)
