"""Groups, tiles and parts of S4D: what the cases of the suite cannot see."""

import numpy as np
import pytest
from numba import get_num_threads
from support.fast_paths import cast, close, threads_agree_and_runs_repeat, workspace
from support.s4_inputs import complex_normal
from support.s4d_inputs import s4d_inputs

from ssmref.cpu import _diagonal as diagonal
from ssmref.cpu import _s4d_kernels as kernels
from ssmref.cpu._discretize import discrete
from ssmref.cpu.s4d import (
    s4d,
    s4d_convolution,
    s4d_kernel,
    s4d_state_response,
    s4d_step,
)
from ssmref.cpu.toolkit.kernels import kernel, lane_count
from ssmref.golden import discretize as golden_discretize
from ssmref.golden import s4d as golden

LIMITS = {np.float32: 1e-5, np.float64: 1e-12}
DTYPES = list(LIMITS)


def inputs(length, channels=5, dtype=np.float64, **sizes):
    """Return a call of `s4d` in a dtype."""
    rng = np.random.default_rng(length + channels)
    return cast(s4d_inputs(rng, length=length, channels=channels, **sizes), dtype)


@kernel
def advance(W, K, X, U, Y, tokens, plane, reading):
    diagonal.advance(
        W, 0, K, 0, X, 0, U, Y, 0, tokens, plane, reading, U, Y, 0, 1, 1, 0
    )


def system(states, dtype):
    """Return a, b, c and the constants of a vector of channels, from their formulas."""
    rng, count = np.random.default_rng(states), lane_count(dtype)
    a, b, c = (complex_normal(rng, states, count) for _ in range(3))
    a *= 0.9 / np.abs(a)
    groups = range(diagonal.GROUP)
    drives, reads = [b * a**j for j in groups], [c * a ** (j + 1) for j in groups]
    rows = [a, a**diagonal.GROUP, *drives, *reads]
    W = np.array([part for row in rows for part in (np.real(row), np.imag(row))])
    K = np.array([np.real(c * a**j * b).sum(0) for j in groups])
    return (a, b, c), W.astype(dtype).ravel(), K.astype(dtype).ravel()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 5, 8, 11, diagonal.TILE])
@pytest.mark.parametrize("states", [1, 3])
def test_groups_of_tokens_are_the_recurrence(states, tokens, dtype):
    (a, b, c), W, K = system(states, dtype)
    rng, count = np.random.default_rng(tokens), lane_count(dtype)
    X = rng.standard_normal((2, states, count)).astype(dtype)
    U = rng.standard_normal((tokens, count)).astype(dtype)
    x, expected = X[0] + 1j * X[1], np.empty_like(U)
    for t, u in enumerate(U):
        x = a * x + b * u
        expected[t] = (c * x).real.sum(0)
    for reading in (True, False):
        own, Y = X.copy(), np.full_like(U, 7.0)
        advance(
            W, K, own.ravel(), U.ravel(), Y.ravel(), tokens, states * count, reading
        )
        close(own[0] + 1j * own[1], x, LIMITS[dtype])
        if reading:
            close(Y, expected, LIMITS[dtype])
        else:
            assert (Y == 7).all()


@kernel
def take(tiles, source, width, tokens):
    diagonal.take(tiles, 3, 60, source, 5, 40, width, tokens)


@kernel
def put(tiles, target, width, tokens):
    diagonal.put(tiles, 3, 60, target, 5, 40, width, tokens)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 7, 8, 9, 16, 17, 33])
def test_tiles_come_and_go(width, dtype):
    source = np.arange(200.0, dtype=dtype) + 1
    tiles = np.full(500, -1, dtype)
    expected, back = tiles.copy(), np.zeros_like(source)
    diagonal._plain_take(expected, 3, 60, source, 5, 40, width, 3)
    take(tiles, source, width, 3)
    np.testing.assert_array_equal(tiles, expected)
    assert (tiles != -1).sum() == 3 * lane_count(dtype) * -(-width // lane_count(dtype))
    put(tiles, back, width, 3)
    places = 5 + 40 * np.arange(3)[:, None] + np.arange(width)
    np.testing.assert_array_equal(back[places], source[places])
    assert (back != 0).sum() == 3 * width


@pytest.mark.parametrize("method", ["zoh", "bilinear"])
def test_discretisation_is_that_of_golden(method):
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-12, 2, (4, 50))
    A = -sizes + 1j * rng.uniform(-300, 300, (4, 50)) * (np.arange(50) % 3)
    A[0, :3] = 0, 1e-200, -1e-30j
    dt = rng.uniform(0.001, 0.3, (4, 1))
    A_bar, scale = discrete(A, dt, method)
    wide = dt[:, 0].astype(np.longdouble), A.astype(np.clongdouble)
    a, b = golden_discretize.discretize(
        wide[1], np.ones_like(wide[1]), wide[0], method=method
    )
    size = 1 + np.abs(dt * A)
    assert (np.abs(A_bar - a) <= 4e-16 * size).all()
    assert (np.abs(scale - b) <= 1e-15 * dt * size).all()


# Around groups, tiles, chunks, vectors and stripes.
SIZES = [
    *[(1, 1), (3, 7), (4, 8), (5, 9), (127, 15), (128, 16), (129, 17)],
    *[(255, 2), (256, 33), (257, 3), (6, 127), (7, 128), (9, 130)],
]


@pytest.mark.parametrize(("length", "channels"), SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes_around_tiles(length, channels, dtype):
    call = inputs(length, channels, dtype, state=3)
    for found, expected in zip(s4d(**call), golden.s4d(**call), strict=True):
        assert found.dtype == expected.dtype
        close(found, expected, 10 * LIMITS[dtype])


def scan(call, bounds, cuts):
    """Run a pack in so many parts per sequence."""
    u, dt, A, B, C, D, start = call.values()
    order = ["u", "dt", "A", "B", "C", "D", "initial_state"]
    assert list(call) == order
    return kernels.scan(u[0], dt, A, B, C, D, True, bounds, start, cuts=cuts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("cuts", [2, 3, 7, 16])
def test_any_number_of_parts_is_the_whole(cuts, initial, dtype):
    call = inputs(90, 17, dtype, batch=1, rows=5)
    if not initial:
        call["initial_state"] = call["initial_state"][:0]
    bounds = np.array([0, 41, 41, 42, 47, 90])
    for found, whole in zip(
        scan(call, bounds, cuts), scan(call, bounds, 1), strict=True
    ):
        close(found, whole, LIMITS[dtype])
    y, _ = scan(call, bounds, cuts)
    pack = {**call, "cu_seqlens": bounds}
    pack["initial_state"] = call["initial_state"] if initial else None
    close(y, golden.s4d(**pack)[0][0], 10 * LIMITS[dtype])


def test_threads_agree_and_runs_repeat(thread_counts):
    call = inputs(1100, 3, batch=1, state=2)
    threads_agree_and_runs_repeat(s4d, call, thread_counts, 1e-12)


def test_few_rows_of_a_long_sequence_are_cut():
    before = get_num_threads()
    bounds = np.array([0, 100_000])
    cuts = [kernels.parts_of(rows, bounds, 0.6, 512) for rows in (1, 64 * before)]
    assert cuts[1] == 1
    assert (cuts[0] > 1) == (before > 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_channel_and_future(value):
    call = inputs(139, 20)
    clean, clean_state = s4d(**call)
    call["u"][1, 70, 6] = value
    with np.errstate(invalid="ignore"):
        y, state = s4d(**call)
    touched = np.zeros(y.shape, bool)
    touched[1, 70:, 6] = True
    np.testing.assert_array_equal(y[~touched], clean[~touched])
    assert not np.isfinite(y[touched]).any()
    assert not np.isfinite(state[1, 6]).any()
    state[1, 6] = clean_state[1, 6]
    np.testing.assert_array_equal(state, clean_state)


def test_parameters_that_are_not_finite_stay_in_their_channel():
    call = inputs(20, 20)
    clean, _ = s4d(**call)
    call["A"][3, 1] = np.nan
    y, _ = s4d(**call)
    assert np.isnan(y[:, :, 3]).all()
    np.testing.assert_array_equal(np.delete(y, 3, 2), np.delete(clean, 3, 2))


@pytest.mark.usefixtures("one_thread")
def test_workspace_does_not_grow_with_length():
    short, long = (
        workspace(s4d, inputs(length, 16, state=2, batch=1)) for length in (1000, 4000)
    )
    assert long < short + 4000


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["zoh", "bilinear"])
def test_step_is_a_sequence_of_one_token(method, dtype):
    call = inputs(1, 37, dtype, state=5)
    y, state = s4d(**call, method=method)
    token = {**call, "u": call["u"][:, 0], "state": call.pop("initial_state")}
    del token["initial_state"]
    found, new = s4d_step(**token, method=method)
    close(found, y[:, 0], LIMITS[dtype])
    close(new, state, LIMITS[dtype])


# Around the 128 columns and 64 rows of a product.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 8192, 8193, 8400])
def test_kernel_is_that_of_golden(length, dtype):
    call = inputs(2, 3, dtype)
    system = {name: call[name] for name in ("dt", "A", "B", "C")}
    for method in ("zoh", "bilinear", "dss") if length else ("zoh",):
        found = s4d_kernel(**system, length=length, method=method)
        expected = golden.s4d_kernel(**system, length=length, method=method)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        close(found, expected, 10 * LIMITS[dtype])


def test_slow_kernel_keeps_its_digits_in_single_precision():
    A = np.array([[-1e-4 + 0.01j, -1e-3 + 3j]])
    one = np.ones((1, 2), A.dtype)
    a, b = A.astype(np.complex64), one.astype(np.complex64)
    found = s4d_kernel(np.ones(1, np.float32), a, b, b, 20000)
    exact = golden.s4d_kernel(np.ones(1), a.astype(A.dtype), one, one, 20000)
    close(found, exact, 2e-6)


@pytest.mark.parametrize("packed", [True, False])
def test_convolution_is_the_recurrence(packed):
    call = inputs(60, 5, batch=1 if packed else 3, rows=4 if packed else None)
    if packed:
        call["cu_seqlens"] = np.array([0, 7, 7, 8, 60])
    for found, expected in zip(s4d_convolution(**call), s4d(**call), strict=True):
        close(found, expected)
    y, _ = s4d_convolution(**{**call, "initial_state": None, "D": None})
    expected, _ = golden.s4d(**{**call, "initial_state": None, "D": None})
    close(y, expected)


def test_state_response_is_that_of_golden():
    call = inputs(1, 5)
    arguments = {name: call[name] for name in ("dt", "A", "C")}
    arguments["state"] = call["initial_state"]
    found = s4d_state_response(**arguments, length=140, method="bilinear")
    close(found, golden.s4d_state_response(**arguments, length=140, method="bilinear"))
    with pytest.raises(ValueError, match="length is -1; it needs to be at least 0"):
        s4d_state_response(**arguments, length=-1)


def test_growing_modes_are_refused_by_dss():
    call = inputs(2, 3)
    system = {name: call[name] for name in ("dt", "A", "B", "C")}
    system["A"] = -system["A"]
    with pytest.raises(ValueError, match="A has real parts above 0; method dss"):
        s4d_kernel(**system, length=4, method="dss")
    with pytest.raises(ValueError, match="method is 'euler'"):
        s4d_kernel(**system, length=4, method="euler")
