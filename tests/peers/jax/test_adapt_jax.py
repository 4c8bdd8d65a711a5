"""The adapter with JAX: there and back in every dtype, and a whole op."""

import numpy as np
import pytest
from peers.requirement import require

from ssmref.conformance.adapt import adapt
from ssmref.conformance.arrays import converter, to_numpy
from ssmref.conformance.catalogue import CASES
from ssmref.conformance.precision import dtype_of
from ssmref.conformance.run import verify_case
from ssmref.conformance.verdict import FAILED, NOT_PROVIDED, PASSED

jax = require("jax", "peers")
jnp = jax.numpy

pytestmark = pytest.mark.peers
PLAIN = CASES["layers.causal_conv1d/bias/l8"]


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "bfloat16", "complex64", "bool"]
)
def test_arrays_go_there_and_back(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype_of(dtype))
    made = converter("jax")(array)
    assert isinstance(made, jax.Array)
    back = to_numpy(made)
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()


def convolution(x, weight, *, bias=None):
    """A causal convolution without activation or earlier inputs."""
    width = weight.shape[1]
    padded = jnp.pad(x, ((0, 0), (width - 1, 0), (0, 0)))
    terms = (weight[:, k] * padded[:, k : k + x.shape[1]] for k in range(width))
    y = sum(terms) if bias is None else sum(terms) + bias
    return y, padded[:, x.shape[1] :]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_jax_function_passes(dtype):
    adapted = adapt("layers.causal_conv1d", jax.jit(convolution), to="jax")
    with jax.enable_x64(dtype == "float64"):
        found = verify_case(adapted, PLAIN, dtype_of(dtype))
    assert found.status == PASSED, found


def test_wrong_jax_function_fails():
    def flipped(x, weight, *, bias=None):
        return convolution(x, weight[:, ::-1], bias=bias)

    adapted = adapt("layers.causal_conv1d", flipped, to="jax")
    assert verify_case(adapted, PLAIN, dtype_of("float32")).status == FAILED


def test_float64_needs_a_setting_that_is_named():
    adapted = adapt("layers.causal_conv1d", convolution, to="jax")
    with jax.enable_x64(False):
        found = verify_case(adapted, PLAIN, dtype_of("float64"))
    assert found.status == NOT_PROVIDED
    assert "JAX_ENABLE_X64=1" in found.message
