"""Small cases run in one thread: here they, and larger inputs, run in several."""

import numpy as np
import pytest

from ssmref.conformance.testing import cases, check
from ssmref.cpu import _threads, layers
from ssmref.golden import layers as golden
from ssmref.ops import OPS, implementation


@pytest.mark.parametrize("op", OPS)
def test_core_cases_pass_in_several_threads(op, monkeypatch):
    monkeypatch.setattr(_threads, "SERIAL", 0)
    function = implementation(OPS[op], "ssmref.cpu")
    found = cases(op)
    assert found
    for case in found:
        check(function, case, "float32", required=True)


@pytest.mark.parametrize("length", [500, 513, 1025])
def test_long_convolution_writes_every_token(length):
    rng = np.random.default_rng(length)
    x, weight = rng.standard_normal((1, length, 300)), rng.standard_normal((300, 4))
    assert x.size > _threads.SERIAL
    found, expected = (
        f(x, weight)[0] for f in (layers.causal_conv1d, golden.causal_conv1d)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
