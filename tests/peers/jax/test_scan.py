"""Recurrences by JAX's own scans, in double precision."""

from functools import partial

import numpy as np
import pytest
from peers.requirement import require
from support.compare import assert_close
from support.mamba1_inputs import KINDS, selective_scan_inputs

from ssmref.golden import layers, mamba1, scan

jax = require("jax", "peers")
jnp, lax = jax.numpy, jax.lax

pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def after(first, second):
    """Compose two affine steps, `first` before `second`."""
    return first[0] * second[0], second[0] * first[1] + second[1]


def by_associative_scan(a, b, start):
    product, state = lax.associative_scan(after, (a, b), axis=1)
    return state + product * start[:, None]


def by_scan(a, b, start):
    def step(h, token):
        h = token[0] * h + token[1]
        return h, h

    tokens = jnp.moveaxis(a, 1, 0), jnp.moveaxis(b, 1, 0)
    return jnp.moveaxis(lax.scan(step, start, tokens)[1], 0, 1)


SCANS = {
    "associative_scan": jax.jit(by_associative_scan),
    "scan": jax.jit(by_scan),
}
each_scan = pytest.mark.parametrize("states", SCANS.values(), ids=SCANS)


@each_scan
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("length", [1, 2, 37])
def test_linear_scan(states, dtype, length):
    rng = np.random.default_rng(length)
    a, b, start = (
        _normal(rng, dtype, *shape)
        for shape in ((2, length, 3, 4), (2, length, 3, 4), (2, 3, 4))
    )
    a = a / (0.2 + abs(a)) * rng.uniform(0.3, 1, a.shape)
    found = np.asarray(states(a, b, start))
    assert_close(found, scan.linear_scan(a, b, initial_state=start))


@each_scan
@pytest.mark.parametrize("complex_A", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize(("B", "C"), [KINDS[:2], KINDS[1:], KINDS[::-2]])
def test_selective_scan(states, complex_A, B, C):
    rng = np.random.default_rng(0)
    call = selective_scan_inputs(rng, length=33, B=B, C=C, complex_A=complex_A)
    y, final_state = selective_scan(states, **call)
    found = np.asarray(y), np.asarray(final_state)
    assert_close(found, mamba1.selective_scan(**call))


def selective_scan(
    states, u, dt, A, B, C, *, D, z, dt_bias, dt_softplus, initial_state
):
    """Discretise, scan, read out: everything but the layout by JAX."""
    assert dt_softplus
    dt = jax.nn.softplus(dt + dt_bias)
    B, C = (_per_channel(X, u.shape) for X in (B, C))
    a = jnp.exp(jnp.einsum("btd,dn->btdn", dt, A))
    b = jnp.einsum("btd,btdn,btd->btdn", dt, B, u)
    h = states(a, b.astype(a.dtype), jnp.asarray(initial_state))
    y = jnp.einsum("btdn,btdn->btd", C, h)
    y = 2 * y.real if jnp.iscomplexobj(y) else y
    return (y + D * u) * jax.nn.silu(z), h[:, -1]


def _per_channel(X, shape):
    *_, channels = shape
    if X.ndim == 2:
        return jnp.broadcast_to(X, (*shape, X.shape[-1]))
    X = X[:, :, None] if X.ndim == 3 else X
    return jnp.repeat(X, channels // X.shape[2], axis=2)


def _normal(rng, dtype, *shape):
    real = rng.standard_normal(shape)
    imaginary = rng.standard_normal(shape)
    return real + 1j * imaginary if dtype is np.complex128 else real


ACTIVATIONS = {
    "softplus": partial(layers.softplus, threshold=None),
    "sigmoid": layers.sigmoid,
    "silu": layers.silu,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name):
    x = np.linspace(-40, 20, 241)
    found = np.asarray(getattr(jax.nn, name)(x))
    np.testing.assert_allclose(found, ACTIVATIONS[name](x), rtol=1e-14)
