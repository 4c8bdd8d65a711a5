"""What the selective scan refuses, keeps and returns; the slots of its step."""

import numpy as np
import pytest
from support.compare import assert_close
from support.laws import assert_precisions, assert_pure
from support.mamba1_inputs import EXAMPLES, selective_scan_inputs, step_of

from ssmref.golden import mamba1
from ssmref.golden.mamba1 import selective_scan, selective_scan_step

SUFFIXES = ("", "_hillis_steele", "_blelloch", "_chunked", "_attention")
FORMS = {name: getattr(mamba1, f"selective_scan{name}") for name in SUFFIXES}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def inputs(**sizes):
    return selective_scan_inputs(np.random.default_rng(11), **sizes)


def step_example():
    return EXAMPLES["mamba1.selective_scan_step"](np.random.default_rng(2))


@each_form
@pytest.mark.parametrize("complex_A", [False, True])
def test_precision_is_that_of_the_arguments(form, complex_A):
    assert_precisions(form, inputs(complex_A=complex_A))


def test_precision_of_a_step_is_that_of_its_arguments():
    assert_precisions(selective_scan_step, step_example())


@each_form
def test_arguments_are_not_modified(form):
    assert_pure(form, inputs())
    assert_pure(form, inputs(length=0))
    assert_pure(selective_scan_step, step_example())


@pytest.mark.parametrize("slots", [[4, -1, 1], [-1, -1, -1], [2, 0, 1]])
def test_slots_are_rows_of_the_cache_and_negative_ones_padding(slots):
    call = {**step_example(), "slots": np.array(slots)}
    y, state = selective_scan_step(**call)
    for row, slot in enumerate(slots):
        if slot < 0:
            assert not np.any(y[row])
            continue
        one = {n: call[n][row : row + 1] for n in ("u", "dt", "z", "B", "C")}
        one |= {"slots": None, "state": call["state"][slot : slot + 1]}
        expected = selective_scan_step(**{**call, **one})
        assert_close((y[row], state[slot]), tuple(part[0] for part in expected), 1e-15)
    others = [s for s in range(5) if s not in slots]
    assert_close(state[others], call["state"][others], 0.0)


def test_slots_of_a_real_cache_take_complex_states():
    call = inputs(batch=1, length=1, complex_A=True, initial_state=False)
    cache, slots = np.zeros((3, 6, 4)), np.array([1])
    found = selective_scan_step(**step_of(call, 0), state=cache, slots=slots)
    y, state = selective_scan(**call)
    assert_close((found[0], found[1][slots]), (y[:, 0], state), 1e-15)


CALL = inputs()


@each_form
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": CALL["dt"][:, :8]}, r"dt has shape \(2, 8, 6\).*length = 9 from u"),
        ({"A": CALL["A"][:5]}, r"A has shape \(5, 4\).*channels = 6 from u"),
        ({"B": CALL["B"][..., :3]}, r"B has shape \(2, 9, 3, 3\).*state = 4 from A"),
        ({"C": CALL["C"][:, :8]}, r"C has shape \(2, 8, 3, 4\).*length = 9 from u"),
        ({"B": CALL["B"][:, 0]}, r"B has shape \(2, 3, 4\); .*length = 9"),
        ({"D": np.ones(5)}, r"D has shape \(5,\).*channels = 6"),
        ({"z": CALL["z"][..., :5]}, r"z has shape \(2, 9, 5\)"),
        ({"dt_bias": np.ones((6, 1))}, r"dt_bias has shape \(6, 1\)"),
        (
            {"initial_state": np.ones((1, 6, 4))},
            r"initial_state has shape \(1, 6, 4\); .*sequences = 2 from u",
        ),
        (
            {"B": np.ones((2, 9, 4, 4)), "C": np.ones((2, 9, 4, 4))},
            "B has 4 groups; their number needs to divide 6",
        ),
        ({"B": np.ones((2, 9, 0, 4)), "C": np.ones((2, 9, 4))}, "B has 0 groups"),
        (
            {"cu_seqlens": np.array([0, 9]), "initial_state": None},
            "batch is 2; packed sequences need batch 1",
        ),
    ],
)
def test_wrong_values_are_refused(form, changes, message):
    with pytest.raises(ValueError, match=message):
        form(**{**CALL, **changes})


@each_form
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"u": CALL["u"] + 0j}, "u has dtype complex128; it needs one of: float"),
        ({"B": CALL["B"].astype(int)}, "B has dtype int64; it needs one of: "),
        (
            {"A": CALL["A"].astype(np.float32)},
            "A has dtype float32, but u has precision",
        ),
        ({"C": None}, "C is None; it needs to be a NumPy array"),
        ({"D": 1.0}, "D is a float; it needs to be a NumPy array"),
    ],
)
def test_wrong_types_are_refused(form, changes, message):
    with pytest.raises(TypeError, match=message):
        form(**{**CALL, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": np.ones((5, 6, 3))}, r"state has shape \(5, 6, 3\).*state = 4"),
        ({"slots": None}, r"state has shape \(5, 6, 4\); .*slots = 3 from u"),
        ({"slots": np.array([1, 1, 0])}, "a slot may occur only once"),
        ({"slots": np.array([1, 5, 0])}, "the state has 5 slots"),
        ({"B": np.ones((3, 4, 4)), "C": np.ones((3, 4))}, "B has 4 groups; .*divide 6"),
    ],
)
def test_wrong_values_of_a_step_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        selective_scan_step(**{**step_example(), **changes})


def test_chunk_size_is_positive():
    with pytest.raises(ValueError, match="chunk_size is 0; it needs to be at least 1"):
        mamba1.selective_scan_chunked(**CALL, chunk_size=0)
