import numpy as np
import pytest
from support.compare import assert_close, error

from ssmref.golden import discretize as rules
from ssmref.golden._linalg import solve

A = np.array([[-0.3, -2.0 - 5.0j, 0.7j], [-1e-3, -40.0, -1.0 + 3.0j]])
B = np.array([[1.0, 0.5 - 1.0j, 2.0], [-1.0, 3.0, 1.0j]])
DT = np.array([0.1, 0.7])


def exact_response(eigenvalue, time):
    """Solve x' = a x + cos(2 t) from x(0) = 0: Re of (e^{2it} - e^{at})/(2i - a)."""
    up = (np.exp(2j * time) - np.exp(eigenvalue * time)) / (2j - eigenvalue)
    down = (np.exp(-2j * time) - np.exp(eigenvalue * time)) / (-2j - eigenvalue)
    return (up + down) / 2


def one_tap(rule):
    def taps(eigenvalue, dt):
        A_bar, B_bar = rule(np.array([[eigenvalue]]), np.ones((1, 1)), np.array([dt]))
        return A_bar[0, 0], 0, B_bar[0, 0]

    return taps


def averaged_bilinear(eigenvalue, dt):
    decay, _, drive = one_tap(rules.bilinear)(eigenvalue, dt)
    return decay, drive / 2, drive / 2


def trapezoidal(lam):
    def taps(eigenvalue, dt):
        one = np.array([eigenvalue]), np.array([dt]), np.array([lam])
        return [x[0] for x in rules.exponential_trapezoidal(*one)]

    return taps


ORDERS = {
    "euler": (one_tap(rules.euler), 1),
    "zero-order hold": (one_tap(rules.zero_order_hold), 1),
    "bilinear": (one_tap(rules.bilinear), 1),
    "bilinear, averaged": (averaged_bilinear, 2),
    "trapezoidal, 1/2": (trapezoidal(0.5), 2),
    "trapezoidal, 0.8": (trapezoidal(0.8), 1),
}


def final_error(taps, dt, eigenvalue=-0.8 + 3j, end=2.0):
    count = round(end / dt)
    u = np.cos(2 * dt * np.arange(count + 1))
    decay, before, now = taps(eigenvalue, dt)
    x = 0
    for t in range(1, count + 1):
        x = decay * x + before * u[t - 1] + now * u[t]
    return abs(x - exact_response(eigenvalue, end))


@pytest.mark.parametrize(("taps", "order"), ORDERS.values(), ids=ORDERS)
def test_halving_the_step_shows_the_order(taps, order):
    coarse, fine = final_error(taps, 1 / 256), final_error(taps, 1 / 512)
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.05)


def test_zero_order_hold_is_exact_for_constant_input():
    A_bar, B_bar = rules.zero_order_hold(A, B, DT)
    x = 0
    for _ in range(5):
        x = A_bar * x + B_bar
    assert_close(x, B / A * (np.exp(5 * DT[:, None] * A) - 1))


def test_zero_order_hold_has_its_limit_at_zero():
    zeros = np.zeros((2, 3))
    A_bar, B_bar = rules.zero_order_hold(zeros, np.ones((2, 3)), DT)
    assert_close((A_bar, B_bar), rules.euler(zeros, np.ones((2, 3)), DT), limit=0)


@pytest.mark.parametrize("size", [1e-3, 1e-8, 1e-16, 1e-300])
@pytest.mark.parametrize("direction", [-1.0, 1.0j, np.exp(2j)])
def test_zero_order_hold_does_not_cancel_near_zero(size, direction):
    small = np.full((1, 1), size * direction)
    _, B_bar = rules.zero_order_hold(small, np.ones((1, 1)), np.ones(1))
    series = np.ones((1, 1)) + small / 2 + small**2 / 6 + small**3 / 24
    series = series + small**4 / 120 + small**5 / 720
    assert error(B_bar, series) <= 1e-15


@pytest.mark.parametrize("rule", [rules.zero_order_hold, rules.bilinear])
def test_rules_keep_a_fixed_point(rule):
    A_bar, B_bar = rule(A, B, DT)
    assert_close(B_bar / (1 - A_bar), -B / A)


def test_dense_bilinear_of_a_diagonal_is_bilinear():
    full = A[:, :, None] * np.eye(3)
    A_bar, B_bar = rules.bilinear_dense(full, B, DT)
    expected = rules.bilinear(A, B, DT)
    assert_close((A_bar, B_bar), (expected[0][:, :, None] * np.eye(3), expected[1]))


def test_dense_bilinear_commutes_with_a_change_of_basis():
    V = np.random.default_rng(0).standard_normal((2, 3, 3))
    full = V @ (A[:, :, None] * np.eye(3)) @ np.linalg.inv(V)
    drive = (V @ B[:, :, None])[:, :, 0]
    A_bar, B_bar = rules.bilinear_dense(full, drive, DT)
    expected = rules.bilinear(A, B, DT)
    assert_close(np.linalg.inv(V) @ A_bar @ V, expected[0][:, :, None] * np.eye(3))
    assert_close((np.linalg.inv(V) @ B_bar[:, :, None])[:, :, 0], expected[1])


def test_trapezoid_of_weight_one_is_euler():
    dt = np.broadcast_to(DT[:, None], A.shape)
    one = np.ones_like(dt)
    alpha, beta, gamma = rules.exponential_trapezoidal(A, dt, one)
    assert not np.any(beta)
    assert_close((alpha, gamma * B), rules.euler(A, B, DT), limit=0)


def test_trapezoid_of_weight_zero_is_euler_one_step_late():
    dt = np.broadcast_to(DT[:, None], A.shape)
    zero = np.zeros_like(dt)
    alpha, beta, gamma = rules.exponential_trapezoidal(A, dt, zero)
    assert_close(beta, alpha * dt)
    assert not np.any(gamma)


def test_method_names_the_rule():
    zoh = rules.discretize(A, B, DT, method="zoh")
    assert_close(zoh, rules.zero_order_hold(A, B, DT), limit=0)
    bilinear = rules.discretize(A, B, DT, method="bilinear")
    assert_close(bilinear, rules.bilinear(A, B, DT), limit=0)
    with pytest.raises(ValueError, match=r"method is 'euler'; it needs to be one of"):
        rules.discretize(A, B, DT, method="euler")


@pytest.mark.parametrize("rule", [rules.euler, rules.zero_order_hold, rules.bilinear])
@pytest.mark.parametrize("real", [np.float32, np.float64, np.longdouble])
def test_precision_is_kept(rule, real):
    result = rule(np.real(A).astype(real), np.real(B).astype(real), DT.astype(real))
    assert [x.dtype for x in result] == [real, real]
    kind = np.result_type(real, 1j)
    result = rule(A.astype(kind), B.astype(kind), DT.astype(real))
    assert [x.dtype for x in result] == [kind, kind]


def test_shapes_and_dtypes_are_checked():
    with pytest.raises(ValueError, match=r"dt has shape \(3,\); it needs"):
        rules.euler(A, B, np.ones(3))
    with pytest.raises(TypeError, match="B has dtype float32"):
        rules.bilinear(np.real(A), np.real(B).astype(np.float32), DT)


@pytest.mark.parametrize("dtype", [np.float64, np.longdouble, np.clongdouble])
@pytest.mark.parametrize("size", [0, 1, 2, 9])
def test_solve_solves(size, dtype):
    rng = np.random.default_rng(size)
    matrix = rng.standard_normal((2, 3, size, size)).astype(dtype)
    matrix[0, 0] = np.eye(size)[::-1]  # needs a pivot in each column
    if np.issubdtype(dtype, np.complexfloating):
        matrix = matrix + 1j * rng.standard_normal(matrix.shape)
    x = rng.standard_normal((2, 3, size, 4)).astype(dtype)
    assert_close(solve(matrix, matrix @ x), x, 1e5 * np.finfo(dtype).eps)


def test_solve_broadcasts_and_keeps_its_arguments():
    matrix, x = np.diag([2.0, 4.0]), np.ones((3, 2, 1))
    assert_close(solve(matrix, x), np.tile([[0.5], [0.25]], (3, 1, 1)))
    assert_close(matrix, np.diag([2.0, 4.0]), limit=0)


def test_singular_matrix_is_refused():
    with pytest.raises(ValueError, match="singular"):
        solve(np.ones((2, 2)), np.ones((2, 1)))
