"""What blocks, caches and naive attention take in memory, by their sizes.

A block over `ssmref.cpu` holds most while one of its stages runs: each stage is a list
of the arrays that are alive then, as numbers per token, in the order of the code of
`ssmref.models`. Arrays are counted that NumPy or an op makes; views are not. What
threads hold each (some hundred KiB, see `op_bytes`) is left out. NumPy reuses the
memory of intermediate results from 256 KiB on only: below, some more is held.
"""

from collections.abc import Iterator

import numpy as np

from ..models.blocks import (
    AttentionConfig,
    LayerConfig,
    Mamba1Config,
    Mamba2Config,
    Mamba3Config,
)
from .costs import mamba3_state
from .presets import Model

Layers = tuple[LayerConfig, ...]
# Of SiLU: the exponential, its sum with 1, and the part of the quotient above it.
_SILU = 3


def cache_numbers(layer: LayerConfig, batch: int, tokens: int) -> int:
    """Return how many numbers a layer keeps for the token after so many."""
    c = layer.mixer
    if isinstance(c, AttentionConfig):
        return batch * tokens * 2 * c.kv_heads * c.headdim
    if isinstance(c, Mamba1Config):
        return batch * c.d_inner * (c.d_conv - 1 + c.d_state)
    if isinstance(c, Mamba2Config):
        state = c.nheads * c.headdim * c.d_state
        return batch * ((c.d_conv - 1) * c.conv_dim + state)
    return mamba3_state(batch, c.nheads, c.headdim, c.d_state, c.angles, c.rank)


def request_bytes(
    model: Model, dtype: np.dtype, context: int, requests: int = 1
) -> int:
    """Return what a model keeps of so many requests of this context, in all layers.

    This is what grows with requests: caches of keys and values, or states, with the
    inputs that convolutions look back at.
    """
    kept = sum(n * cache_numbers(layer, 1, context) for n, layer in model.layers)
    return requests * kept * dtype.itemsize


def block_bytes(
    layers: Layers,
    dtype: np.dtype,
    *,
    inputs: int,
    batch: int,
    length: int | None = None,
    context: int | None = None,
) -> dict[str, int]:
    """Return the bytes of each part for a call of a block over `ssmref.cpu`.

    `inputs` are known from elsewhere. Outputs, state and workspace together are what is
    held at the fullest moment: the results need not be there yet.
    """
    tokens, kept = batch * (length or 1), (context or 0) + (length or 1)
    states = [cache_numbers(layer, batch, kept) for layer in layers]
    outputs = tokens * layers[0].mixer.d_model
    peak = outputs + sum(states)
    for number, layer in enumerate(layers):
        # The first layer reads the inputs, a later one what is held of the one before.
        before = outputs if number else 0
        held = tokens * max(sum(stage) for stage in _stages(layer)) + _rates(layer)
        peak = max(peak, sum(states[: number + 1]) + before + held)
    return {
        "inputs": inputs,
        "outputs": outputs * dtype.itemsize,
        "state": sum(states) * dtype.itemsize,
        "workspace": (peak - outputs - sum(states)) * dtype.itemsize,
    }


def _stages(layer: LayerConfig) -> Iterator[list[int]]:
    """Yield the numbers per token that each stage of a layer holds, but no caches."""
    mixer, width = layer.mixer, layer.mixer.d_model
    if isinstance(mixer, AttentionConfig):
        stages = _attention(mixer)
    elif isinstance(mixer, Mamba1Config):
        stages = _mamba1(mixer)
    elif isinstance(mixer, Mamba2Config):
        stages = _mamba2(mixer)
    else:
        stages = _mamba3(mixer)
    for stage in stages:
        yield [width, *stage]  # behind the norm
    if layer.mlp:
        hidden = layer.mlp.hidden
        # The residual, the norm; value and gate; SiLU of the gate.
        yield [2 * width, 2 * hidden, _SILU * hidden]


def _rates(layer: LayerConfig) -> int:
    """Return the numbers of A, made of its logarithm, which is large in Mamba-1."""
    c = layer.mixer
    return c.d_inner * c.d_state if isinstance(c, Mamba1Config) else 0


def _attention(c: AttentionConfig) -> Iterator[list[int]]:
    """The rotated queries are copies; keys and values are the cache."""
    queries = c.widths[0]
    projected = sum(c.widths) + 2 * c.d_mlp
    yield [projected, queries, queries]  # rotated, or laid out for the kernel; y
    yield [projected, queries, c.d_model]


def _mamba1(c: Mamba1Config) -> Iterator[list[int]]:
    inner, small = c.d_inner, c.rank + 2 * c.d_state
    projected = 2 * inner
    yield [projected, inner, inner]  # channels of the convolution, laid out; out of it
    # Out of the convolution; dt, B, C; dt of all channels; z, B, C laid out; y.
    yield [projected, inner, small, inner, inner + 2 * c.d_state, inner]
    yield [projected, inner, small, inner, c.d_model]


def _mamba2(c: Mamba2Config) -> Iterator[list[int]]:
    projected = 2 * c.d_mlp + c.width + c.conv_dim + c.nheads
    own = projected + c.conv_dim
    gate = 0 if c.rmsnorm else c.width
    yield [projected, c.conv_dim, c.conv_dim]
    # x, B and C and dt laid out; z where the op gates; y.
    yield [own, c.conv_dim, c.nheads, gate, c.width]
    if c.rmsnorm:
        yield [own, c.width, c.width, c.width]  # y, z laid out, the norm
    yield [own, c.width, c.d_model]


def _mamba3(c: Mamba3Config) -> Iterator[list[int]]:
    projected, inner, heads = sum(c.widths), c.d_inner, c.nheads
    pairs = 2 * c.rank * c.ngroups * c.d_state
    # dt and A; B and C behind their norms; angles of each head.
    made = [2 * heads, pairs, heads * c.angles]
    yield [projected, *made, inner, inner, heads, inner]  # x, z, trap laid out; y
    yield [projected, inner, c.d_model]


def naive_attention_bytes(
    dtype: np.dtype, *, batch: int, length: int, heads: int, headdim: int
) -> dict[str, int]:
    """Return the bytes of attention that writes its scores out, in one matrix.

    The matrix is scaled, masked and normalised in place, so it is there once; a row per
    query holds its largest score, then its sum. The mask is one byte per pair.
    """
    one = batch * length * heads * headdim * dtype.itemsize
    rows = batch * heads * length
    scores = rows * length * dtype.itemsize
    return {
        "inputs": 3 * one,
        "outputs": one,
        "state": 0,
        "workspace": scores + length**2 + rows * dtype.itemsize,
    }
