"""What each op needs at least: numbers moved, operations, exponentials.

`Cost` is counted for the sizes that the axes have (the words of `ssmref.golden`), with
every input read once and every output written once. Sums of products that are matrix
products in a chunked form count for the rate of matrix products, all else as vector
instructions, one per number, at the rate of multiply-adds. Real numbers are counted; a
complex one is two.

Elements, and operations of recurrences, are lower limits for any algorithm. Matrix
products are those of chunks of 64 rows, as in the published chunked forms, and S4 and
S4D those of a kernel and Fourier transforms: what the usual algorithm needs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

CHUNK = 64
# An exponential at its cheapest: the product that is its argument, two multiply-adds
# and a product with a power from a table. (A polynomial without table has three more.)
# A function that is built on it costs at least as much.
EXP = 4


@dataclass(frozen=True)
class Cost:
    """What one call needs at least.

    `elements` are real numbers that enter or leave; `products` are operations inside
    of matrix products, `flops` those outside, without those of the `exps`;
    `instructions` are multiplications and multiply-adds in vectors, per lane, for all
    but the products: additions, loads and shuffles have units of their own.
    """

    elements: float
    instructions: float
    flops: float = 0.0
    products: float = 0.0
    exps: float = 0.0


def selective_scan(batch: int, channels: int, state: int, length: int = 1) -> Cost:
    """Per update: an exponential, a product and two multiply-adds.

    With all that has to be loaded, rounded and added in registers there are about 14
    vector instructions per update. That is no limit at the rate of multiply-adds: in
    the caches the C kernel is faster, since processors of today issue both at once.
    """
    tokens, updates = batch * length, batch * length * channels * state
    moved = 3 * tokens * channels + 2 * tokens * state
    parameters = channels * state + channels
    return Cost(
        elements=moved + parameters + batch * channels * state,
        instructions=(EXP + 3) * updates,
        flops=6 * updates + 3 * tokens * channels,
        exps=updates,
    )


def selective_scan_step(batch: int, channels: int, state: int) -> Cost:
    """As `selective_scan`, and the state enters."""
    return _and_reads(selective_scan(batch, channels, state), batch * channels * state)


def ssd(batch: int, length: int, heads: int, headdim: int, state: int, groups: int):
    """Products within chunks, into states and out of them.

    The products of C and B, which heads of a group share, are left out: 2 % for 24
    heads.
    """
    rows = batch * length * heads
    shared = 2 * batch * length * groups * state
    return Cost(
        elements=rows * (2 * headdim + 1)
        + shared
        + 2 * heads
        + batch * heads * headdim * state,
        instructions=EXP * rows + rows * headdim,
        flops=2 * rows * headdim,
        products=2 * rows * headdim * (2 * state + CHUNK),
        exps=rows,
    )


def ssd_step(batch: int, heads: int, headdim: int, state: int, groups: int) -> Cost:
    """Per number of the state: decay, drive, read-out."""
    rows, numbers = batch * heads, batch * heads * headdim * state
    return Cost(
        elements=rows * (2 * headdim + 1)
        + 2 * batch * groups * state
        + 2 * heads
        + 2 * numbers,
        instructions=3 * numbers + EXP * rows,
        flops=5 * numbers,
        exps=rows,
    )


def siso(**sizes: int) -> Cost:
    """As `mimo` of rank 1, without its projections."""
    heads, headdim = sizes["heads"], sizes["headdim"]
    whole = mimo(ranks=1, **sizes)
    return _and_reads(whole, -2 * heads * headdim)


def mimo(
    batch: int,
    length: int,
    heads: int,
    headdim: int,
    state: int,
    groups: int,
    angles: int,
    ranks: int,
) -> Cost:
    """Every rank of every token is a row of a chunk; keys and queries turn per head."""
    rows = batch * length * heads
    turns = 2 * rows * ranks * angles
    exps = rows * (2 + 3 * angles)  # decay, sigmoid; tanh, sine and cosine
    return Cost(
        elements=_mamba3_tokens(batch * length, heads, headdim, state, groups, angles)
        + 2 * (ranks - 1) * batch * length * groups * state
        + _mamba3_parameters(heads, headdim, state, ranks)
        + mamba3_state(batch, heads, headdim, state, angles, ranks),
        instructions=EXP * exps + 4 * turns,
        flops=6 * turns,
        products=2 * rows * ranks * (2 * headdim * state + CHUNK * (headdim + state)),
        exps=exps,
    )


def siso_step(**sizes: int) -> Cost:
    """As `mimo_step` of rank 1, without its projections."""
    heads, headdim = sizes["heads"], sizes["headdim"]
    return _and_reads(mimo_step(ranks=1, **sizes), -2 * heads * headdim)


def mimo_step(
    batch: int,
    heads: int,
    headdim: int,
    state: int,
    groups: int,
    angles: int,
    ranks: int,
) -> Cost:
    """Per number of the state: a decay, and two drives and a read-out per rank."""
    rows, numbers = batch * heads, batch * heads * headdim * state
    exps = rows * (2 + 3 * angles)
    turns = 2 * rows * ranks * angles
    return Cost(
        elements=_mamba3_tokens(batch, heads, headdim, state, groups, angles)
        + 2 * (ranks - 1) * batch * groups * state
        + _mamba3_parameters(heads, headdim, state, ranks)
        + 2 * mamba3_state(batch, heads, headdim, state, angles, ranks),
        instructions=(1 + 3 * ranks) * numbers + EXP * exps + 4 * turns,
        flops=(1 + 6 * ranks) * numbers + 6 * turns,
        exps=exps,
    )


def _mamba3_tokens(tokens, heads, headdim, state, groups, angles) -> int:
    """Count x, y, dt, A, trap and angles, and B and C of one rank."""
    return tokens * (heads * (2 * headdim + 3 + angles) + 2 * groups * state)


def _mamba3_parameters(heads, headdim, state, ranks) -> int:
    """Count the biases, the projections in and out, and D."""
    return heads * (2 * ranks * state + 2 * ranks * headdim + 1)


def mamba3_state(batch, heads, headdim, state, angles, ranks) -> int:
    """Count angles, the state, and key and value of the last token."""
    return batch * heads * (angles + headdim * state + ranks * state + headdim)


def causal_conv1d(batch: int, channels: int, width: int, length: int = 1) -> Cost:
    """Taps, a bias and SiLU."""
    numbers = batch * length * channels
    return Cost(
        elements=2 * numbers + channels * (width + 1) + batch * (width - 1) * channels,
        instructions=(width + EXP + 3) * numbers,
        flops=2 * width * numbers,
        exps=numbers,
    )


def causal_conv1d_step(batch: int, channels: int, width: int) -> Cost:
    """As `causal_conv1d`, and the buffer enters."""
    buffer = batch * (width - 1) * channels
    return _and_reads(causal_conv1d(batch, channels, width), buffer)


def rms_norm(batch: int, length: int, channels: int) -> Cost:
    """A sum of squares, a scaling, the weight."""
    numbers = batch * length * channels
    return Cost(2 * numbers + channels, 3 * numbers, flops=4 * numbers)


def rms_norm_gated(batch: int, length: int, channels: int) -> Cost:
    """As `rms_norm`, of a product with SiLU."""
    numbers = batch * length * channels
    return Cost(
        elements=3 * numbers + channels,
        instructions=(EXP + 7) * numbers,
        flops=8 * numbers,
        exps=numbers,
    )


def attention(batch: int, length: int, heads: int, headdim: int) -> Cost:
    """Scores and mixtures below the diagonal; keys and values are returned."""
    pairs = batch * heads * length * (length + 1) // 2
    return Cost(
        elements=6 * batch * length * heads * headdim,
        instructions=(EXP + 3) * pairs,
        products=4 * pairs * headdim,
        exps=pairs,
    )


def attention_step(batch: int, heads: int, headdim: int, cached: int) -> Cost:
    """The cache enters, and leaves one token longer."""
    pairs = batch * heads * (cached + 1)
    rows = batch * heads * headdim
    return Cost(
        elements=4 * rows + 2 * rows * cached + 2 * rows * (cached + 1),
        instructions=2 * pairs * headdim + (EXP + 3) * pairs,
        flops=4 * pairs * headdim,
        exps=pairs,
    )


def s4d(batch: int, length: int, channels: int, state: int) -> Cost:
    """By convolution: a kernel from powers, three Fourier transforms, a last state.

    A transform of n real numbers takes 2.5 n log2(n) operations.
    """
    modes = channels * state
    transforms = (2 * batch + 1) * channels * 2.5 * 2 * length * math.log2(2 * length)
    return Cost(
        elements=2 * batch * length * channels
        + 6 * modes
        + 2 * channels
        + 2 * batch * modes,
        instructions=(6 + 2 * batch) * modes * length + transforms / 2,
        flops=(10 + 4 * batch) * modes * length + transforms,
        exps=modes,
    )


def s4(batch: int, length: int, channels: int, state: int, ranks: int) -> Cost:
    """As `s4d`, with a reciprocal and (1 + ranks)^2 sums per pole and node."""
    modes = channels * state
    diagonal = s4d(batch, length, channels, state)
    sums = (10 + 8 * (1 + ranks) ** 2 - 10) * modes * length
    return Cost(
        elements=diagonal.elements + 2 * ranks * modes,
        instructions=diagonal.instructions + sums / 2,
        flops=diagonal.flops + sums,
        exps=diagonal.exps,
    )


def s4d_step(batch: int, channels: int, state: int) -> Cost:
    """Per mode: a complex product, a drive, half a complex product."""
    modes = channels * state
    return Cost(
        elements=2 * batch * channels + 2 * channels + 6 * modes + 4 * batch * modes,
        instructions=8 * batch * modes + 2 * EXP * modes,
        flops=16 * batch * modes,
        exps=modes,
    )


def s4_step(batch: int, channels: int, state: int, ranks: int) -> Cost:
    """As `s4d_step`, and twice into the low-rank term, once out of it."""
    modes = channels * state
    diagonal = s4d_step(batch, channels, state)
    return Cost(
        elements=diagonal.elements + 2 * ranks * modes,
        instructions=diagonal.instructions + 6 * ranks * batch * modes,
        flops=diagonal.flops + 12 * ranks * batch * modes,
    )


def s5_step(batch: int, inputs: int, outputs: int, state: int) -> Cost:
    """Two matrices are read; with one row there is nothing to reuse."""
    matrices = state * (inputs + outputs)
    return Cost(
        elements=batch * (inputs + outputs)
        + state
        + outputs
        + 2 * state
        + 2 * matrices
        + 4 * batch * state,
        instructions=2 * batch * matrices,
        flops=4 * batch * matrices,
        exps=state,
    )


def h3_step(batch: int, heads: int, state: int, taps: int) -> Cost:
    """A shift of the keys with its taps, and `s4d_step` for heads of one channel."""
    modes, kept = heads * state, heads * taps
    return Cost(
        elements=4 * batch * heads
        + 3 * heads
        + 6 * modes
        + 4 * batch * modes
        + kept
        + 2 * batch * kept,
        instructions=8 * batch * modes + 2 * EXP * modes + batch * kept,
        flops=16 * batch * modes + 2 * batch * kept,
        exps=modes,
    )


def _and_reads(cost: Cost, more: float) -> Cost:
    return Cost(
        cost.elements + more, cost.instructions, cost.flops, cost.products, cost.exps
    )


COSTS: dict[str, Callable[..., Cost]] = {
    "mamba1.selective_scan": selective_scan,
    "mamba1.selective_scan_step": selective_scan_step,
    "mamba2.ssd": ssd,
    "mamba2.ssd_step": ssd_step,
    "mamba3.siso": siso,
    "mamba3.siso_step": siso_step,
    "mamba3.mimo": mimo,
    "mamba3.mimo_step": mimo_step,
    "layers.causal_conv1d": causal_conv1d,
    "layers.causal_conv1d_step": causal_conv1d_step,
    "layers.rms_norm": rms_norm,
    "layers.rms_norm_gated": rms_norm_gated,
    "attention.attention": attention,
    "attention.attention_step": attention_step,
    "s4.s4": s4,
    "s4.s4_step": s4_step,
    "s4d.s4d": s4d,
    "s4d.s4d_step": s4d_step,
    "s5.s5_step": s5_step,
    "h3.h3_step": h3_step,
}
