"""The contract of golden functions: what is refused, how packs and slots run."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from support.compare import assert_close

from ssmref.golden._contract import (
    at_least,
    checked,
    choose,
    expand_groups,
    in_slots,
    map_state,
    separately,
)
from ssmref.golden._types import Complex, Integer, Number, Real

Pieces = Number[np.ndarray, "batch *rest"]


class Pair(NamedTuple):
    """A state of two parts, of an op (one row per sequence) and its step (slots)."""

    ssm: Real[np.ndarray, "rows heads state"]
    last: Real[np.ndarray, "rows heads"]


@checked
def scan(
    x: Real[np.ndarray, "batch length heads"],
    B: Real[np.ndarray, "heads state"] | Real[np.ndarray, "batch length heads state"],
    *,
    D: Real[np.ndarray, " heads"] | None = None,
    initial_state: Pair | None = None,
    cu_seqlens: Integer[np.ndarray, " bounds"] | None = None,
) -> tuple[np.ndarray, Pair]:
    """Sum up what was seen; y is the sum before B, so that order matters."""
    if cu_seqlens is not None:
        return separately(scan, locals())
    weight = np.broadcast_to(B, (*x.shape, B.shape[-1]))
    if initial_state is None:
        ssm, last = np.zeros((x.shape[0], *weight.shape[2:])), np.zeros_like(x[:, 0])
    else:
        ssm, last = initial_state
    y = np.empty_like(x)
    for t in range(x.shape[1]):
        y[:, t] = x[:, t] + 0.5 * last + ssm.sum(axis=-1)
        ssm, last = ssm + weight[:, t], x[:, t]
    return y if D is None else y * D, Pair(ssm, last)


@checked
def step(
    x: Real[np.ndarray, "batch heads"],
    B: Real[np.ndarray, "batch heads state"],
    state: Pair,
    *,
    D: Real[np.ndarray, " heads"] | None = None,
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[np.ndarray, Pair]:
    if slots is not None:
        return in_slots(step, locals())
    y = x + 0.5 * state.last + state.ssm.sum(axis=-1)
    return y if D is None else y * D, Pair(state.ssm + B, x.copy())


@checked
def pieces(a: Pieces, b: Pieces) -> None:
    """Have an axis that stands for any number of axes."""


@checked
def taps(
    weight: Real[np.ndarray, " width"], past: Real[np.ndarray, "width-1 3"]
) -> None:
    """Have an axis that follows from another one."""


@checked
def spectrum(c: Complex[np.ndarray, " state"]) -> None:
    """Need complex numbers."""


@checked
def turn(
    x: Real[np.ndarray, "batch state"],
    state: Number[np.ndarray, "slots state"],
    *,
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a complex state, whatever came in."""
    if slots is not None:
        return in_slots(turn, locals())
    return x, state * 1j


def random(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def scan_call(batch=2, length=7, **changes) -> dict[str, Any]:
    return {"x": random(batch, length, 3), "B": random(3, 4), **changes}


def step_call(**changes) -> dict[str, Any]:
    state = Pair(random(5, 3, 4), random(5, 3))
    slots = np.array([3, 0])
    arrays = {"x": random(2, 3), "B": random(2, 3, 4), "state": state, "slots": slots}
    return {**arrays, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": [1.0]}, "x is a list; it needs to be a NumPy array"),
        ({"x": None}, "x is None; it needs to be a NumPy array"),
        ({"x": np.float64(1)}, "x is a float64; it needs to be a NumPy array"),
        (
            {"x": random(2, 7, 3).astype(int)},
            "x has dtype int64; it needs one of: .*64",
        ),
        ({"x": random(2, 7, 3) + 0j}, "x has dtype complex128; it needs one of: float"),
        ({"x": random(2, 7, 3).astype(np.float16)}, "x has dtype float16"),
        ({"B": random(3, 4).astype(bool)}, "B has dtype bool"),
        ({"cu_seqlens": [0, 7]}, "cu_seqlens is a list; it needs to be a NumPy array"),
        (
            {"cu_seqlens": np.array([0.0, 7.0])},
            "cu_seqlens has dtype float64; it needs one of: int32, int64",
        ),
        (
            {"B": random(3, 4).astype(np.float32)},
            "B has dtype float32, but x has precision float64; all .* one precision",
        ),
        (
            {"initial_state": Pair(random(2, 3, 4), random(2, 3).astype(np.float32))},
            "initial_state.last has dtype float32, but x has precision float64",
        ),
        (
            {"initial_state": (random(2, 3, 4), random(2, 3))},
            r"initial_state is a tuple; it needs to be Pair\(ssm, last\)",
        ),
        (
            {"initial_state": random(2, 3, 4)},
            r"initial_state is a ndarray; it needs to be Pair\(ssm, last\)",
        ),
        (
            {"initial_state": Pair(random(2, 3, 4), None)},  # type: ignore[arg-type]
            "initial_state.last is None; it needs to be a NumPy array",
        ),
    ],
)
def test_wrong_types_are_refused(changes, message):
    with pytest.raises(TypeError, match=message):
        scan(**scan_call(**changes))


def test_precisions_agree_across_real_and_complex():
    pieces(random(2, 3), random(2, 3) + 0j)
    with pytest.raises(TypeError, match="b has dtype complex64, but a has precision"):
        pieces(random(2, 3), (random(2, 3) + 0j).astype(np.complex64))
    with pytest.raises(TypeError, match=r"c has dtype float64; it needs one of: clong"):
        spectrum(random(4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x": random(2, 7)},
            r"x has shape \(2, 7\); it needs \(batch, length, heads\)",
        ),
        (
            {"B": random(5, 4)},
            r"B has shape \(5, 4\); it needs \(heads, state\) or "
            r"\(batch, length, heads, state\) with .*heads = 3 from x",
        ),
        ({"B": random(2, 6, 3, 4)}, r"B has shape .* length = 7 from x"),
        (
            {"B": random(2, 7, 3)},
            r"B has shape \(2, 7, 3\); it needs \(heads, state\) or",
        ),
        ({"D": random(4)}, r"D has shape \(4,\); it needs \(heads\) with heads = 3"),
        ({"D": np.array(1.0)}, r"D has shape \(\); it needs \(heads\)"),
        (
            {"initial_state": Pair(random(3, 3, 4), random(3, 3))},
            r"initial_state.ssm has shape \(3, 3, 4\); .*rows = 2 from x",
        ),
        (
            {"initial_state": Pair(random(2, 3, 4), random(2, 4))},
            r"initial_state.last has shape \(2, 4\); .*heads = 3 from x",
        ),
        (
            {"initial_state": Pair(random(2, 3, 5), random(2, 3))},
            r"initial_state.ssm has shape \(2, 3, 5\); .*state = 4 from B",
        ),
    ],
)
def test_wrong_shapes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        scan(**scan_call(**changes))


def test_derived_and_variadic_axes_are_checked():
    taps(random(4), random(3, 3))
    with pytest.raises(ValueError, match=r"past .*\(4, 3\); .*\(width-1, 3\) .*= 4"):
        taps(random(4), random(4, 3))
    with pytest.raises(ValueError, match=r"past has shape \(3, 4\)"):
        taps(random(4), random(3, 4))
    pieces(random(2, 3, 4), random(2, 3, 4))
    pieces(random(2), random(2))
    with pytest.raises(ValueError, match=r"b has shape .*\*rest = \(3, 4\) from a"):
        pieces(random(2, 3, 4), random(2, 4, 3))
    with pytest.raises(ValueError, match=r"b has shape \(2,\)"):
        pieces(random(2, 3), random(2))


def test_missing_and_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="missing a required argument: 'B'"):
        scan(random(2, 7, 3))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'E'"):
        scan(**scan_call(E=1))


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (
            [],
            r"cu_seqlens is \[\]; it needs to start at 0 and end at the length 7 of x",
        ),
        ([0], r"cu_seqlens is \[0\]; it needs to start at 0 and end"),
        ([1, 7], r"cu_seqlens is \[1, 7\]; it needs to start at 0"),
        ([0, 6], r"cu_seqlens is \[0, 6\]; .* end at the length 7 of x"),
        ([0, 8], r"cu_seqlens is \[0, 8\]; .* end at the length 7"),
        ([0, 5, 4, 7], r"cu_seqlens is \[0, 5, 4, 7\]; it must not decrease"),
        ([0, -1, 7], "it must not decrease"),
        ([0, 9, 7], "it must not decrease"),
    ],
)
def test_wrong_bounds_are_refused(bounds, message):
    with pytest.raises(ValueError, match=message):
        scan(**scan_call(batch=1, cu_seqlens=np.array(bounds, np.int64)))


def test_pack_needs_one_row_and_one_state_per_sequence():
    bounds = np.array([0, 3, 7])
    with pytest.raises(ValueError, match="batch is 2; packed sequences need batch 1"):
        scan(**scan_call(cu_seqlens=bounds))
    state = Pair(random(1, 3, 4), random(1, 3))
    with pytest.raises(ValueError, match=r"ssm has .* rows = 2 from cu_seqlens"):
        scan(**scan_call(batch=1, cu_seqlens=bounds, initial_state=state))
    with pytest.raises(ValueError, match=r"cu_seqlens has shape \(1, 3\)"):
        scan(**scan_call(batch=1, cu_seqlens=bounds[None]))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("bounds", [[0, 7], [0, 3, 7], [0, 0, 4, 4, 7], [0, 2, 7, 7]])
def test_pack_is_separate_sequences(bounds, dtype):
    sequences = len(bounds) - 1
    state = Pair(random(sequences, 3, 4), random(sequences, 3))
    call = scan_call(batch=1, D=random(3), B=random(1, 7, 3, 4))
    cu_seqlens = np.array(bounds, dtype)
    y, final = scan(**call, initial_state=state, cu_seqlens=cu_seqlens)
    for i in range(sequences):
        part, row = slice(bounds[i], bounds[i + 1]), slice(i, i + 1)
        one = {n: call[n][:, part] for n in "xB"}
        start = Pair(state.ssm[row], state.last[row])
        expected = scan(**{**call, **one}, initial_state=start)
        assert_close(y[:, part], expected[0], 0.0)
        assert_close(Pair(final.ssm[row], final.last[row]), expected[1], 0.0)
    assert isinstance(final, Pair)


def test_constant_argument_is_not_cut_by_a_pack():
    call = scan_call(batch=1, length=3)
    y, _ = scan(**call, cu_seqlens=np.array([0, 3]))
    assert_close(y, scan(**call)[0], 0.0)


def test_slots_are_read_and_written():
    call = step_call()
    y, state = step(**call)
    taken = map_state(lambda s: s[[3, 0]], call["state"])
    expected = step(**{**call, "state": taken, "slots": None})
    assert_close(y, expected[0], 0.0)
    assert_close(map_state(lambda s: s[[3, 0]], state), expected[1], 0.0)
    others = map_state(lambda s: s[[1, 2, 4]], call["state"])
    assert_close(map_state(lambda s: s[[1, 2, 4]], state), others, 0.0)
    assert_close(call["state"], step_call()["state"], 0.0)


@pytest.mark.parametrize("slots", [[-1, 2], [-1, -1], [4, -7]])
def test_negative_slots_are_padding(slots):
    call = step_call(slots=np.array(slots), D=random(3))
    y, state = step(**call)
    for row, slot in enumerate(slots):
        assert np.any(y[row]) == (slot >= 0)
    unused = [s for s in range(5) if s not in slots]
    assert_close(
        map_state(lambda s: s[unused], state),
        map_state(lambda s: s[unused], call["state"]),
        0.0,
    )
    for slot in (s for s in slots if s >= 0):
        assert np.all(state.last[slot] != call["state"].last[slot])


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        (np.array([2, 2]), r"slots is \[2, 2\]; a slot may occur only once"),
        (np.array([0, 5]), r"slots is \[0, 5\]; the state has 5 slots"),
        (np.array([0, 1, 2]), r"slots has shape \(3,\); .*batch = 2 from x"),
    ],
)
def test_wrong_slots_are_refused(slots, message):
    with pytest.raises(ValueError, match=message):
        step(**step_call(slots=slots))


def test_slots_are_integers():
    with pytest.raises(
        TypeError, match="slots has dtype float64; it needs one of: int"
    ):
        step(**step_call(slots=np.array([0.0, 1.0])))
    with pytest.raises(TypeError, match="slots is a list"):
        step(**step_call(slots=[0, 1]))


def test_state_of_a_step_is_required_and_has_the_rows_of_the_batch():
    with pytest.raises(TypeError, match="state is None; it needs to be Pair"):
        step(**step_call(state=None))
    with pytest.raises(ValueError, match=r"state.ssm has shape .*rows = 2 from x"):
        step(**step_call(slots=None))


def test_slot_of_a_real_cache_takes_complex_states():
    state = random(3, 4)
    _, found = turn(random(1, 4), state, slots=np.array([1]))
    assert_close(found[1], state[1] * 1j, 0.0)
    assert_close(found[::2], state[::2] + 0j, 0.0)


def test_groups_are_repeated_not_tiled():
    expanded = expand_groups("B", np.array([[10.0, 20.0]]), 6, axis=1)
    assert expanded.tolist() == [[10, 10, 10, 20, 20, 20]]
    for groups in (0, 4, 7):
        with pytest.raises(ValueError, match=f"B has {groups} groups; .* divide 6"):
            expand_groups("B", np.zeros((1, groups)), 6, axis=1)


def test_options_are_checked():
    choose("pairing", "a", "a", "b")
    with pytest.raises(ValueError, match=r"pairing is 'c'; .* one of \('a', 'b'\)"):
        choose("pairing", "c", "a", "b")
    at_least("eps", 0, 0)
    for value in (-1, -1e-9, float("nan")):
        with pytest.raises(ValueError, match=f"eps is {value}; .* at least 0"):
            at_least("eps", value, 0)
