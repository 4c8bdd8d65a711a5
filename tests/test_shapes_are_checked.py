"""Annotations are checked under pytest: fails if the jaxtyping option is dropped.

The option ``--jaxtyping-packages`` checks what `checked` does not: returned arrays and
calls inside golden. Each of these mistakes broadcasts silently without it.
"""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from ssmref.golden import layers, mamba1

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
