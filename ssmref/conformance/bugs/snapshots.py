"""Bugs of snapshots of states at block boundaries."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from .bug import Arguments, Bug, Function, around, without
from .serving import SGLANG, VLLM

SNAPSHOTS = ("caches.snapshots",)


def boundaries(a: Arguments) -> list[tuple[int, int, int]]:
    """Return each snapshot as (sequence, first token, token after the last)."""
    found = []
    for row, (first, last) in enumerate(pairwise(a["cu_seqlens"].tolist())):
        seen = int(a["position"][row]) - first
        stops = range(first + 1, last + 1)
        found += [(row, first, s) for s in stops if (seen + s) % a["block"] == 0]
    return found


def taken_at(where: Callable[[Arguments], list[tuple[int, int]]]):
    """Return the wrap that takes each snapshot (sequence, token) somewhere else."""

    def run(function: Function, a: Arguments) -> Any:
        each = a | {"block": 1, "position": np.zeros_like(a["position"])}
        states, right = function(**each), function(**a)
        start = a.get("initial_state")
        if start is None:
            start = np.zeros_like(right, shape=(len(a["position"]), *right.shape[1:]))
        picked = [
            start[row] if token <= a["cu_seqlens"][row] else states[token - 1]
            for row, token in where(a)
        ]
        return np.stack(picked) if picked else right

    return around(run)


def _own_grids(a: Arguments) -> list[tuple[int, int]]:
    """Return where states lie if every sequence had a grid of chunks of its own."""
    block, bounds, found = a["block"], a["cu_seqlens"], []
    counts = np.concatenate([[0], np.cumsum(np.diff(bounds) // block)])
    for row, first, stop in boundaries(a):
        chunk = int(counts[row]) + -(-(stop - first) // block)
        token = min(chunk * block, int(bounds[-1]))
        found.append((_sequence(a, token), token))
    return found


def _sequence(a: Arguments, token: int) -> int:
    """Return the sequence of the last of so many tokens."""
    return int(np.searchsorted(a["cu_seqlens"], token, side="left")) - 1


def _local_chunks(a: Arguments) -> list[tuple[int, int]]:
    block = a["block"]
    return [
        (row, first + (stop - first) // block * block)
        for row, first, stop in boundaries(a)
    ]


def _whole_chunks(a: Arguments, chunk: int = 8) -> list[tuple[int, int]]:
    block, found = a["block"], []
    for row, first, stop in boundaries(a):
        seen = int(a["position"][row])
        blocks = (seen + stop - first) // block
        found.append(
            (row, max(first, first - seen + blocks * (block // chunk) * chunk))
        )
    return found


def moved(where) -> Callable[[Arguments], bool]:
    """Return the condition that a snapshot is taken elsewhere."""
    return lambda a: [(r, s) for r, _, s in boundaries(a)] != where(a)


SNAPSHOT = (
    Bug(
        "ssd-h-grid-index",
        SNAPSHOTS,
        "States are located as if each sequence had a grid of chunks of its own, "
        "while the "
        "kernel cuts the flattened batch.",
        "Take the state at the flat token cu_seqlens[i] + aligned length.",
        "an earlier sequence whose length is no multiple of the block",
        moved(_own_grids),
        taken_at(_own_grids),
        (f"{SGLANG}/issues/31833", f"{SGLANG}/pull/33450", f"{SGLANG}/pull/37836"),
        ("ssd-h-grid-index",),
    ),
    Bug(
        "cache-block-incomplete",
        SNAPSHOTS,
        "A block is published with the state of the last chunk that began in this "
        "step, "
        "before its end.",
        "Align chunks to absolute multiples of the block.",
        "a prefill that is split inside a block",
        moved(_local_chunks),
        taken_at(_local_chunks),
        (f"{VLLM}/pull/34587", f"{VLLM}/pull/34798"),
        ("cache-block-incomplete",),
    ),
    Bug(
        "cache-block-not-chunks",
        SNAPSHOTS,
        "Blocks are counted in whole chunks of 8, which the block is no multiple of.",
        "Make blocks multiples of the chunk, or store states at token positions.",
        "a block that is no multiple of a chunk",
        moved(_whole_chunks),
        taken_at(_whole_chunks),
        (f"{VLLM}/pull/55601", f"{VLLM}/pull/54076"),
        ("cache-block-units",),
    ),
    Bug(
        "snapshots-initial-state-ignored",
        SNAPSHOTS,
        "Sequences start from zeros.",
        "Start each sequence from its initial state.",
        "an initial state",
        lambda a: a.get("initial_state") is not None and len(boundaries(a)) > 0,
        without("initial_state"),
    ),
)
