"""Bugs of scans that work in chunks: what passes from one chunk to the next."""

import ml_dtypes
import numpy as np

from .bug import Bug, before
from .chunk_parts import (
    boundary_offset,
    by_differences,
    first_mask,
    from_chunk_start,
    has_pauses,
    late_state,
    long_off_grid,
    off_grid,
    only_first,
    padding_counts,
    passing,
    rounding,
    state_for_chunk,
    steep,
    tail_dropped,
    with_padding,
    wrapped,
    wrong_axis,
)
from .drive import SCANS
from .recurrence import recurrent
from .states import zeros
from .time_step import HF
from .tokens import lengths
from .when import any_token, both, either, has_start, longer_than

VLLM = "https://github.com/vllm-project/vllm"
TRTLLM = "https://github.com/NVIDIA/TensorRT-LLM"
# Chunk sizes of public kernels; a bug of chunks is one bug per size.
SIZES = (16, 32, 64, 128, 256)
LONG = ("mamba1.selective_scan", "mamba2.ssd")


def scans(size: int, largest: int) -> tuple[str, ...]:
    """Return the scans with chunks of this size; those of Mamba-3 are at most 64."""
    return tuple(op for op in SCANS if size <= (largest if op in LONG else 64))


def carried(size: int) -> tuple[Bug, ...]:
    """Return the bugs of what passes from chunk to chunk, for one size of chunks."""
    return (
        Bug(
            f"chunk-state-lost@{size}",
            scans(size, 256),
            f"Every chunk of {size} tokens starts from zeros.",
            "Pass the state at the end of each chunk to the next.",
            f"more than {size} tokens",
            longer_than(size),
            passing(zeros, size),
        ),
        Bug(
            f"ssd-interchunk-axis@{size}",
            ("mamba2.ssd",),
            f"States of chunks of {size} are summed over the target chunk, not over "
            "the "
            "source: they are rescaled instead of passed on.",
            "new[j] = sum_i decay[j, i] S[i]: reduce over the second index.",
            f"more than {size} tokens, or an initial state",
            either(longer_than(size), both(has_start, any_token)),
            recurrent(run=wrong_axis(size)),
            (
                f"{HF}/issues/34817",
                f"{HF}/pull/35154",
                "https://github.com/fla-org/flash-linear-attention/pull/84",
            ),
            ("ssd-interchunk-axis",),
        ),
    )


def started(size: int) -> tuple[Bug, ...]:
    """Return the bugs of an initial state, for one size of chunks."""
    return (
        Bug(
            f"initial-state-first-chunk@{size}",
            scans(size, 128),
            f"The initial state reaches the first chunk of {size} only.",
            "Decay the initial state into all later chunks, as any chunk's state.",
            f"an initial state and more than {size} tokens",
            both(has_start, longer_than(size)),
            only_first(size),
        ),
        Bug(
            f"ssd-init-decay-from-chunk-start@{size}",
            ("mamba2.ssd",),
            f"The initial state of a packed sequence decays from the start of the "
            "chunk of "
            f"{size} that it begins in, by the sequence before.",
            "Decay from the start of the sequence: exp(cs[end] - cs[start - 1]).",
            "an initial state and a boundary inside a chunk",
            off_grid(size),
            from_chunk_start(size),
            (f"{VLLM}/pull/23279", f"{TRTLLM}/pull/6334"),
            ("ssd-init-decay-from-chunk-start",),
        ),
    )


def ended(size: int) -> tuple[Bug, ...]:
    """Return the bugs of the last chunk, for one size of chunks."""
    return (
        Bug(
            f"chunk-tail-dropped@{size}",
            scans(size, 256),
            f"A partial last chunk of {size} is not computed.",
            "Round the number of chunks up.",
            f"a length that is no multiple of {size}",
            lambda a: any_token(a) and any(n % size for n in lengths(a)),
            tail_dropped(size),
        ),
        Bug(
            f"final-state-before-last-chunk@{size}",
            scans(size, 256),
            f"The final state is the one that entered the last chunk of {size}.",
            "Return the state after the last chunk.",
            "any token",
            any_token,
            late_state(size),
        ),
        Bug(
            f"chunk-padding-decays@{size}",
            LONG,
            f"The zeros that fill up the last chunk of {size} decay the state: "
            "softplus "
            "and the bias turn them into steps.",
            "Set dt to 0 after softplus beyond the end.",
            f"softplus, a bias or a lower limit, and no multiple of {size}",
            padding_counts(size),
            with_padding(size),
        ),
    )


def rounded(size: int) -> tuple[Bug, ...]:
    """Return the bugs of rounded states, for one size of chunks."""
    return (
        Bug(
            f"ssd-prefill-state-bf16@{size}",
            LONG,
            f"The state between chunks of {size} is rounded to bfloat16.",
            "Keep states in float32.",
            f"more than {size} tokens",
            longer_than(size),
            passing(rounding(ml_dtypes.bfloat16), size),
            (f"{TRTLLM}/pull/14600", f"{VLLM}/pull/39032"),
            ("ssd-prefill-state-bf16",),
        ),
        Bug(
            f"state-float16@{size}",
            LONG,
            f"The state between chunks of {size} is rounded to float16.",
            "Keep states in float32.",
            f"more than {size} tokens",
            longer_than(size),
            passing(rounding(np.float16), size),
            (f"{VLLM}/pull/39032",),
        ),
    )


ONCE = (
    Bug(
        "ssd-init-boundary-offset",
        ("mamba2.ssd",),
        "Rows of later tiles decay the initial state of a packed sequence from their "
        "own "
        "tile instead of from the start of the sequence.",
        "Subtract the cumulative sum at the boundary, the same for all tiles.",
        "an initial state, a boundary inside a chunk, more tokens in it than a tile",
        long_off_grid(128, 32),
        boundary_offset(128, 32),
        (f"{VLLM}/pull/21783", f"{TRTLLM}/pull/6334"),
        ("ssd-init-boundary-offset",),
    ),
    Bug(
        "ssd-exp-positive-diff",
        ("mamba2.ssd",),
        "exp of a difference of cumulative sums is not bounded by 1: rounding makes "
        "large "
        "differences positive and exp overflows.",
        "Clamp the difference at 0 before exp, or sum each segment by itself.",
        "very large sums of dt A within a chunk",
        steep,
        recurrent(run=by_differences(64)),
        (
            "https://github.com/state-spaces/mamba/pull/713",
            f"{VLLM}/pull/37501",
            "https://github.com/sgl-project/sglang/pull/23128",
        ),
        ("ssd-exp-positive-diff",),
    ),
    Bug(
        "ssd-dstate-eq-chunk",
        ("mamba2.ssd",),
        "The size of the state is used where the chunk of 64 is meant: the tokens of a "
        "chunk beyond it are not loaded.",
        "Load B in tiles of chunk by state.",
        "a chunk longer than the state is wide",
        lambda a: min(a["B"].shape[1], 64) > a["B"].shape[-1],
        before(state_for_chunk),
        ("https://github.com/flashinfer-ai/flashinfer/issues/3397",),
        ("ssd-dstate-eq-chunk",),
    ),
    Bug(
        "ssd-index-overflow",
        ("mamba2.ssd",),
        "Offsets wrap around (here at 1024 elements instead of 2^31) and read far-away "
        "tokens.",
        "Compute offsets that grow with length in 64 bits.",
        "more elements than the modulus",
        lambda a: a["x"].size > 1024,
        before(wrapped),
        (
            "https://github.com/state-spaces/mamba/issues/1015",
            "https://github.com/state-spaces/mamba/pull/882",
        ),
        ("ssd-index-overflow",),
    ),
    Bug(
        "ssd-mask-not-sliced",
        ("mamba2.ssd",),
        "Every segment of 64 tokens is masked as the first one is: the padding mask is "
        "not sliced.",
        "Cut the mask with the segment.",
        "masked tokens and more than one segment",
        both(longer_than(64), has_pauses),
        before(first_mask),
        ("https://github.com/ml-explore/mlx-lm/pull/546",),
        ("ssd-mask-not-sliced",),
    ),
)

_SIZED = (
    bug
    for size in SIZES
    for bugs in (carried, started, ended, rounded)
    for bug in bugs(size)
    if bug.ops
)
CHUNKS = (*_SIZED, *ONCE)
