"""Annotations are checked under pytest: fails if the jaxtyping option is dropped.

The option ``--jaxtyping-packages`` checks what `checked` does not: returned arrays and
calls inside golden. Each of these mistakes broadcasts silently without it. What it
checks takes longer than golden itself: the gate has it for this file alone, in which
all of golden is called once.
"""

from collections.abc import Callable, Iterator
from importlib import import_module

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from support.many import assert_each

from ssmref.conformance.catalogue import cases_of
from ssmref.golden import convolution, discretize, hippo, layers, mamba1, mamba3, s4
from ssmref.ops import OPS, Op

X = np.random.default_rng(0).standard_normal((2, 7, 3))


def test_wrong_returned_shape_is_seen(monkeypatch):
    monkeypatch.setattr(layers, "_activate", lambda y, _: y[:, :1])
    with pytest.raises(TypeCheckError, match="return value"):
        layers.causal_conv1d(X, np.ones((3, 4)))


def test_wrong_returned_dtype_is_seen(monkeypatch):
    monkeypatch.setattr(layers, "_activate", lambda y, _: y.astype(np.complex128))
    with pytest.raises(TypeCheckError, match="return value"):
        layers.causal_conv1d(X, np.ones((3, 4)))


def test_wrong_shape_of_a_returned_state_is_seen(monkeypatch):
    monkeypatch.setattr(mamba1, "_start", lambda *_: np.zeros((2, 3, 4)))
    empty, A = X[:, :0], np.ones((3, 5))
    with pytest.raises(TypeCheckError, match="return value"):
        mamba1.selective_scan(empty, empty, A, A, A)


def test_inner_call_with_a_wrong_shape_is_seen():
    inner = vars(layers.rms_norm)["__wrapped__"]  # the function below `checked`
    with pytest.raises(TypeCheckError, match="parameter 'weight'"):
        inner(X, np.ones(1))


def forms(op: Op) -> Iterator[Callable]:
    """Yield all golden forms of an op."""
    module = import_module(f"ssmref.golden.{op.module}")
    yield getattr(module, op.function)
    for form in op.forms:
        yield getattr(module, f"{op.function}_{form}")


@pytest.mark.parametrize("name", OPS)
def test_shapes_hold_in_all_forms_for_every_case(name):
    def every_form_runs(case):
        with np.errstate(all="ignore"):
            for form in forms(OPS[name]):
                form(**case.arguments(np.dtype(np.float64)))

    assert_each(every_form_runs, cases_of(name))


STATE = np.arange(-8.0, 0).reshape(2, 4)
DENSE = np.tile(np.diag(STATE[0]), (2, 1, 1))
STEP = np.array([0.1, 0.2])
POLES = STATE + 1j * STATE**2
P = np.ones((1, 2, 4), complex)
# What no op calls, but for the matrices of HiPPO.
MORE = {
    "bidirectional_convolution": lambda: convolution.bidirectional_convolution(
        X, np.ones((3, 7)), np.ones((3, 6)), D=np.ones(3)
    ),
    "euler": lambda: discretize.euler(STATE, STATE, STEP),
    "exponential_trapezoidal": lambda: discretize.exponential_trapezoidal(
        STATE[0], STATE[1], STATE[1]
    ),
    "softplus_inverse": lambda: layers.softplus_inverse(np.array([0.1, 30.0])),
    "to_halved": lambda: mamba3.to_halved(X[..., :2]),
    "to_pairwise": lambda: mamba3.to_pairwise(X[..., :2]),
    "dense_kernel": lambda: s4.dense_kernel(STEP, DENSE, STATE, STATE, 7),
    "s4_kernel_dense": lambda: s4.s4_kernel_dense(STEP, POLES, POLES, POLES, P, 7),
    "s4_c_from_tilde": lambda: s4.s4_c_from_tilde(STEP, POLES, POLES, P, 7),
}


@pytest.mark.parametrize("function", MORE.values(), ids=MORE)
def test_shapes_hold_where_no_op_goes(function):
    with np.errstate(all="ignore"):
        assert function() is not None


@pytest.mark.parametrize("size", [2, 8])
def test_shapes_hold_for_the_matrices_of_hippo(size):
    for name in ("inv", "legs", "lin", "quad", "real"):
        assert getattr(hippo, f"s4d_{name}")(size).dtype == complex
    for name in ("fourier", "legs", "legt"):
        assert hippo.nplr(name, size).B.shape == (size,)
        assert hippo.dplr(name, size)
