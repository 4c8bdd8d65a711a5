"""The linear recurrence: its parallel forms are the loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compare import assert_close
from support.exact import cast

from ssmref.golden import scan
from ssmref.golden.scan import linear_scan, linear_scan_chunked

FORMS = {
    name: getattr(scan, f"linear_scan{name}")
    for name in ("", "_hillis_steele", "_blelloch", "_chunked")
}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def inputs(length, *, rest=(3, 4), complex_numbers=False, batch=2, seed=0):
    rng = np.random.default_rng((seed, length))
    a = rng.uniform(0.3, 1, (batch, length, *rest))
    b, h = rng.standard_normal(a.shape), rng.standard_normal((batch, *rest))
    if complex_numbers:
        a = a * np.exp(1j * rng.uniform(-3, 3, a.shape))
        b, h = b + 1j * rng.standard_normal(b.shape), h * (1 + 2j)
    return a, b, h


@each_form
def test_known_answer(form):
    a, b = np.array([[2.0, 3.0, -1.0, 0.5]]), np.array([[1.0, 1.0, 2.0, 0.0]])
    assert form(a, b).tolist() == [[1, 4, -2, -1]]
    assert form(a, b, initial_state=np.array([10.0])).tolist() == [[21, 64, -62, -31]]


LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 130]


@each_form
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("complex_numbers", [False, True])
def test_forms_agree(form, length, complex_numbers):
    a, b, h = inputs(length, complex_numbers=complex_numbers)
    expected = linear_scan(a, b, initial_state=h)
    assert_close(form(a, b, initial_state=h), expected, 1e-14)
    assert_close(form(a, b), linear_scan(a, b), 1e-14)


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 16, 130, 1000])
def test_any_chunk_size_gives_the_same(chunk_size):
    a, b, h = inputs(130)
    found = linear_scan_chunked(a, b, initial_state=h, chunk_size=chunk_size)
    assert_close(found, linear_scan(a, b, initial_state=h), 1e-14)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(0, 70),
    rest=st.sampled_from([(), (1,), (2, 3)]),
    chunk_size=st.integers(1, 80),
)
def test_forms_agree_anywhere(seed, length, rest, chunk_size):
    a, b, h = inputs(length, rest=rest, seed=seed)
    expected = linear_scan(a, b, initial_state=h)
    for form in FORMS.values():
        assert_close(form(a, b, initial_state=h), expected, 1e-14)
    found = linear_scan_chunked(a, b, initial_state=h, chunk_size=chunk_size)
    assert_close(found, expected, 1e-14)


@each_form
def test_zero_forgets_and_one_remembers(form):
    a, b, h = inputs(40)
    a[:, 20] = 0
    assert_close(form(a, b, initial_state=h)[:, 20], b[:, 20], 0.0)
    ones = np.ones_like(a)
    assert_close(form(ones, b), np.cumsum(b, axis=1), 1e-14)


@each_form
def test_state_is_causal(form):
    a, b, h = inputs(40)
    before = form(a, b, initial_state=h)
    later_a, later_b = a.copy(), b.copy()
    later_a[:, 23:], later_b[:, 23:] = 0.5, 7
    after = form(later_a, later_b, initial_state=h)
    np.testing.assert_array_equal(after[:, :23], before[:, :23])
    assert np.all(after[:, 23:] != before[:, 23:])


@each_form
@pytest.mark.parametrize("split", [0, 1, 16, 39, 40])
def test_split_with_carried_state_is_whole(form, split):
    a, b, h = inputs(40)
    first = form(a[:, :split], b[:, :split], initial_state=h)
    carried = first[:, -1] if split else h
    second = form(a[:, split:], b[:, split:], initial_state=carried)
    joined = np.concatenate([first, second], axis=1)
    assert_close(joined, form(a, b, initial_state=h), 1e-14)


@each_form
def test_real_and_complex_mix(form):
    a, b, h = inputs(9)
    expected = form(a + 0j, b + 0j, initial_state=1j * h)
    assert_close(form(a, b, initial_state=1j * h), expected, 1e-15)
    assert_close(form(a + 0j, b), form(a + 0j, b + 0j), 1e-15)


@each_form
@pytest.mark.parametrize(
    ("dtype", "limit"), [(np.float32, 1e-5), (np.longdouble, 1e-14)]
)
@pytest.mark.parametrize("complex_numbers", [False, True])
def test_precision_is_that_of_the_arguments(form, dtype, limit, complex_numbers):
    exact = inputs(40, complex_numbers=complex_numbers)
    a, b, h = cast(exact, dtype)
    found = form(a, b, initial_state=h)
    assert found.dtype == a.dtype
    assert_close(
        cast(found, np.float64), form(*exact[:2], initial_state=exact[2]), limit
    )
    for array, same in zip(
        exact, inputs(40, complex_numbers=complex_numbers), strict=True
    ):
        np.testing.assert_array_equal(array, same)


@each_form
def test_wrong_values_are_refused(form):
    a, b, h = inputs(5)
    with pytest.raises(ValueError, match=r"b has shape \(2, 4, 3, 4\).*length = 5"):
        form(a, b[:, :4])
    with pytest.raises(ValueError, match=r"b has shape .*\*rest = \(3, 4\) from a"):
        form(a, b[..., :2])
    with pytest.raises(ValueError, match=r"initial_state has shape \(1, 3, 4\)"):
        form(a, b, initial_state=h[:1])
    with pytest.raises(TypeError, match="b has dtype float32, but a has precision"):
        form(a, b.astype(np.float32))


def test_chunk_size_is_positive():
    with pytest.raises(ValueError, match="chunk_size is 0; it needs to be at least 1"):
        linear_scan_chunked(*inputs(5)[:2], chunk_size=0)
