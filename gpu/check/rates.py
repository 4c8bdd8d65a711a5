"""What the GPU can do: see ``kernels/rates.cu``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ssmref.bench.rates import Rate

from .._cupy import cupy
from .._launch import Budget, Program
from .device import Call, Device

THREADS = 256
RATES = Program(
    "rates.cu",
    budgets=(
        Budget("rate_copy", 64, needs=("LDG.E.128", "STG.E.128"), shared=0),
        Budget("rate_l2", 64, needs=("LDG.E.128",), shared=0),
        Budget("rate_ex2", 40, per=("MUFU.EX2", 1.2), shared=0),
        Budget("rate_fma", 40, per=("FFMA", 1.2), shared=0),
        Budget("rate_mma", 64, per=("HMMA", 3.0), shared=0),
        Budget("rate_atomics", 40, needs=("RED",), shared=0),
    ),
)
REPEATS = 7
# Operations of a 16 x 8 x 16 product.
MMA_FLOPS = 2 * 16 * 8 * 16


@dataclass(frozen=True)
class Sizes:
    """How much work: on a GPU of today a sample takes about a millisecond."""

    copy_bytes: int = 2**30
    l2_bytes: int = 4 * 2**20
    rounds: int = 2000
    blocks_per_processor: int = 8


def measure(device: Device, sizes: Sizes | None = None) -> Iterator[Rate]:
    """Yield every rate, after a call that warms up."""
    sizes = sizes or Sizes()
    blocks = device.processors * sizes.blocks_per_processor
    for name, unit, method, prepare in _MEASURES:
        work, call = prepare(blocks, sizes)
        _ = device.seconds([call] * 2)
        seconds = [device.seconds([call]) for _ in range(REPEATS)]
        yield Rate(name, unit, method, tuple(work / s for s in seconds))


def _launch(name: str, blocks: int, *arguments: object) -> Call:
    kernel = RATES.kernel(name)
    return lambda: kernel((blocks,), (THREADS,), arguments)


def _copy(blocks: int, sizes: Sizes) -> tuple[float, Call]:
    cp, count = cupy(), sizes.copy_bytes // 32
    source = cp.zeros(4 * count, np.uint32)
    target = cp.zeros(4 * count, np.uint32)
    return 32.0 * count, _launch("rate_copy", blocks, source, target, count)


def _l2(blocks: int, sizes: Sizes) -> tuple[float, Call]:
    cp, count = cupy(), sizes.l2_bytes // 16
    rounds = max(sizes.rounds // 200, 1)
    source = cp.zeros(4 * count, np.uint32)
    out = cp.zeros(blocks * THREADS, np.uint32)
    return (
        16.0 * count * rounds * blocks,
        _launch("rate_l2", blocks, source, out, count, rounds),
    )


def _ex2(blocks: int, sizes: Sizes) -> tuple[float, Call]:
    out = cupy().zeros(blocks * THREADS, np.float32)
    return 8.0 * sizes.rounds * out.size, _launch("rate_ex2", blocks, out, sizes.rounds)


def _fma(blocks: int, sizes: Sizes) -> tuple[float, Call]:
    out = cupy().zeros(blocks * THREADS, np.float32)
    call = _launch("rate_fma", blocks, out, sizes.rounds, 0.5, 1.0)
    return 16.0 * sizes.rounds * out.size, call


def _mma(blocks: int, sizes: Sizes) -> tuple[float, Call]:
    out = cupy().zeros(blocks * THREADS, np.float32)
    products = 4.0 * sizes.rounds * out.size / 32
    return MMA_FLOPS * products, _launch("rate_mma", blocks, out, sizes.rounds)


def _atomics(blocks: int, sizes: Sizes) -> tuple[float, Call]:
    rounds = max(sizes.rounds // 100, 1)
    counters = cupy().zeros(sizes.l2_bytes // 4, np.uint32)
    call = _launch("rate_atomics", blocks, counters, counters.size, rounds)
    return float(rounds * blocks * THREADS), call


Prepare = Callable[[int, Sizes], tuple[float, Call]]
_MEASURES: tuple[tuple[str, str, str, Prepare], ...] = (
    ("copy", "B/s", "CUDA, read and written, 16 bytes per access", _copy),
    ("l2", "B/s", "CUDA, read by every block, 16 bytes per access", _l2),
    ("ex2", "1/s", "CUDA, ex2.approx, 8 chains per thread", _ex2),
    ("fma_float32", "FLOP/s", "CUDA, 8 chains per thread", _fma),
    ("mma_bfloat16", "FLOP/s", "CUDA, mma.sync m16n8k16, 4 chains per warp", _mma),
    ("atomics", "1/s", "CUDA, additions to neighbouring counters", _atomics),
)
