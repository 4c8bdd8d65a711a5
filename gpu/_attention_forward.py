"""The launches of attention over time; what they do stands in the kernels."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from ._arrays import ready
from ._attention_plan import SIZES, blocks_of_queries, padded, shared_bytes, tile
from ._cupy import cupy
from ._launch import Budget, Program, product
from ._rows import packed, steps_of, vectors, whole
from ._types import FLOAT32, Array, word
from .precision import parts

IO = ("float", "bf16", "f16")
FORWARD = Program(
    "attention.cu",
    variants=(
        *product(IO=("bf16",), PARTS=(1,), SIZE=SIZES),
        *product(IO=("f16",), PARTS=(1,), SIZE=(16, 128)),
        *product(IO=("float",), PARTS=(2,), SIZE=(16, 128, 256)),
        *product(IO=("float",), PARTS=(1,), SIZE=(128,)),
    ),
    budgets=(
        # Of floats in two parts, 128 wide, a few addresses for the end of a block are
        # spilled beyond compute capability 9.0.
        Budget("attention_forward", 255, spills=True, needs=("HMMA", "LDGSTS")),
        *(Budget("attention_forward", 255, when={"IO": io}) for io in IO[1:]),
        *(Budget("attention_forward", 255, when={"SIZE": size}) for size in (16, 256)),
        Budget("attention_forward", 144, when={"SIZE": 16}),
        Budget(
            "attention_forward",
            176,
            needs=("LDSM",),
            per=("HMMA", 7),
            when={"IO": "bf16", "SIZE": 64},
        ),
        Budget(
            "attention_forward",
            224,
            needs=("LDSM",),
            per=("HMMA", 5),
            when={"IO": "bf16", "SIZE": 128},
        ),
    ),
)
CACHE = Program(
    "attention_cache.cu",
    variants=product(IO=IO),
    budgets=(Budget("attention_cache", registers=64),),
)
# Warps of a block of attention_cache.cu, a row each.
WARPS = 4


class Rotation(NamedTuple):
    """Frequencies in turns per token, in two parts, and which pairs they turn."""

    high: Array | None
    low: Array | None
    dim: int
    interleaved: bool


class Cache(NamedTuple):
    """The cache to return, and keys and values as the products read them."""

    k: Array
    v: Array
    keys: Array
    values: Array


def rotation(call: dict[str, Any]) -> Rotation:
    """Return the rotation that the arguments of `attention` ask for."""
    dim, interleaved = call["rotary_dim"], bool(call["interleaved"])
    if not dim:
        return Rotation(None, None, 0, interleaved)
    device = cupy().cuda.runtime.getDevice()
    high, low = _frequencies(dim, float(call["rotary_base"]), device)
    return Rotation(high, low, dim, interleaved)


@functools.lru_cache(maxsize=64)
def _frequencies(dim: int, base: float, device: int) -> tuple[Array, Array]:  # noqa: ARG001
    """Return base^(-2i / dim) / 2 pi as floats, and what these lack.

    They stay on the device: a step should not wait for a copy.
    """
    with np.errstate(all="ignore"):
        exact = np.power(base, -np.arange(0, dim, 2) / dim) / (2 * math.pi)
        high = exact.astype(np.float32)
        low = (exact - high).astype(np.float32)
    found = cupy().asarray(high), cupy().asarray(low)
    cupy().cuda.get_current_stream().synchronize()
    return found


def scale_of(call: dict[str, Any]) -> float:
    """Return the scale of products of queries and keys; of empty ones it is any."""
    if call["scale"] is not None:
        return float(call["scale"])
    return max(call["q"].shape[-1], 1) ** -0.5


def forward(call: dict[str, Any]) -> tuple[Array, tuple[Array, Array]]:
    """Return y and the parts of the cache.

    Raises ValueError where rows of q or v are too wide for a block.
    """
    q, v = call["q"], call["v"]
    _ = size_of(q, v)
    turn = rotation(call)
    cache = _cache(call, turn)
    y = cupy().empty((*q.shape[:3], v.shape[3]), q.dtype)
    _attend(call, turn, cache, y)
    return y, (cache.k, cache.v)


def size_of(q: Array, v: Array) -> int:
    """Return the size that rows are padded to; raise ValueError where there is none."""
    size = padded(q.shape[-1], v.shape[-1])
    if size is None:
        name, width = (
            ("q", q.shape[-1]) if q.shape[-1] > SIZES[-1] else ("v", v.shape[-1])
        )
        raise ValueError(
            f"{name} has heads of {width}; attention on a GPU has room for {SIZES[-1]}"
        )
    return size


def _cache(call: dict[str, Any], turn: Rotation) -> Cache:
    """Put new keys, rotated, and values behind the old ones."""
    k, v, state = (call[name] for name in ("k", "v", "initial_state"))
    k, v = packed(k, 2), packed(v, 2)
    old_k, old_v = (None, None) if state is None else map(ready, state)
    batch, length, heads, _ = k.shape
    cached = 0 if old_k is None else old_k.shape[1]
    bounds = whole(call["cu_seqlens"])
    next_k, next_v = (
        cupy().empty((batch, cached + length, heads, a.shape[3]), FLOAT32)
        for a in (k, v)
    )
    keys = values = None
    if k.dtype != FLOAT32:
        keys = cupy().empty(next_k.shape, k.dtype) if turn.dim or cached else None
        values = cupy().empty(next_v.shape, v.dtype) if cached else None
    rows = batch * (cached + length) * heads
    CACHE.kernel("attention_cache", IO=word(k))(
        (-(-rows // WARPS),),
        (32 * WARPS,),
        (
            *(k, v, *steps_of(k), *steps_of(v), old_k, old_v, bounds),
            *(0 if bounds is None else len(bounds) - 1, turn.high, turn.low),
            *(next_k, next_v, keys, values, rows, length, cached, heads),
            *(k.shape[3], v.shape[3], turn.dim, turn.interleaved),
        ),
    )
    if k.dtype == FLOAT32:
        return Cache(next_k, next_v, next_k, next_v)
    return Cache(
        next_k, next_v, k if keys is None else keys, v if values is None else values
    )


def _attend(call: dict[str, Any], turn: Rotation, cache: Cache, y: Array) -> None:
    q, bounds = packed(call["q"], 2), call["cu_seqlens"]
    batch, length, heads, headdim = q.shape
    size, scale = size_of(q, y), scale_of(call)
    queries, _ = tile(q.itemsize, size)
    per_row = -(-length // queries)
    count, table = batch * per_row, None
    if bounds is not None:
        blocks = blocks_of_queries(bounds.tolist(), queries)
        count, table = len(blocks), cupy().asarray(blocks)
    keys, values = cache.keys, cache.values
    FORWARD.kernel(
        "attention_forward",
        IO=word(q),
        PARTS=parts(q.dtype),
        SIZE=size,
    )(
        (count * heads,),
        (2 * queries,),
        (
            *(q, keys, values, *steps_of(q), *steps_of(keys), *steps_of(values), table),
            *(turn.high, turn.low, y, length, keys.shape[1] - length, batch, per_row),
            *(heads, keys.shape[2], headdim, y.shape[3], turn.dim, turn.interleaved),
            *(vectors(a) for a in (q, keys, values, y)),
            # A scale of 0 makes all queries 0.
            math.copysign(1, scale) if scale else 0.0,
            (abs(scale) or 1.0) * math.log2(math.e),
        ),
        shared=shared_bytes(q.itemsize, size),
    )
