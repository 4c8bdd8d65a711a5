"""An error in words, without knowledge of bugs: what, where, and how it goes on.

Everything is read from the outputs of one case and from the ratio of each element.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ops import OPS, Op
from .outputs import axes
from .truth import Truth
from .verdict import LIMIT, Verdict, ratios_of

Outputs = dict[str, np.ndarray]

# Chunks of public kernels, largest first, so that the best explanation comes first.
CHUNKS = (256, 128, 64, 32, 16)
PLURAL = {
    "batch": "rows of the batch",
    "length": "tokens",
    "heads": "heads",
    "channels": "channels",
    "headdim": "dimensions",
    "state": "entries of the state",
    "sequences": "sequences",
    "slots": "slots",
    "rows": "rows",
    "ranks": "ranks",
    "angles": "angles",
    "window": "entries of the buffer",
    "width-1": "entries of the buffer",
    "snapshots": "snapshots",
    "groups": "groups",
}
# How far the error moves along time before it is said to grow or to decay.
GROWTH = 10.0
FARTHEST_SHIFT = 8
LONGEST_PERIOD = 1024


@dataclass(frozen=True)
class Error:
    """One output that is wrong: its numbers and which of them are wrong, by axis."""

    op: Op
    name: str
    got: np.ndarray
    expected: np.ndarray
    ratios: np.ndarray
    axes: tuple[str, ...]
    arguments: dict[str, Any]

    @property
    def bad(self) -> np.ndarray:
        """Which elements are wrong."""
        return np.asarray(~(self.ratios <= LIMIT))

    def along(self, axis: str) -> np.ndarray:
        """Return which indices of an axis have a wrong element."""
        i = self.axes.index(axis)
        others = tuple(j for j in range(self.bad.ndim) if j != i)
        return np.asarray(self.bad.any(axis=others))


def pattern(verdict: Verdict, truth: Truth, outputs: Outputs) -> tuple[str, ...]:
    """Return what an error looks like, in sentences; none for outputs that pass."""
    wrong = [f.output for f in verdict.findings if not f.passed and f.size]
    if not wrong:
        return ()
    op = OPS[verdict.case.op]
    errors = [_error(op, name, truth, outputs[name]) for name in wrong]
    right = [f.output for f in verdict.findings if f.passed]
    sentences = [*_outputs(wrong, right)]
    for error in errors[:2]:
        sentences += [f"{error.name}: {part}" for part in _parts(error)]
    return tuple(sentences)


def _parts(error: Error) -> Iterator[str]:
    if np.isnan(error.got).all() and error.bad.all():
        yield "everything is NaN"
        return
    if not error.got.any():
        yield "everything is 0: was the result written?"
        return
    readings = (_kinds, _time, _places, _course) if error.bad.size > 1 else (_kinds,)
    found = [sentence for read in readings for sentence in read(error)]
    yield from found
    if not found:
        yield f"{int(error.bad.sum())} of {error.bad.size} elements are wrong"


def _error(op: Op, name: str, truth: Truth, got: np.ndarray) -> Error:
    expected = truth.outputs[name]
    ratios = ratios_of(name, got, expected, truth.scales[name], truth.dtype)
    words = axis_names(axes(op)[name], got.ndim)
    wide = got.astype(expected.dtype)
    return Error(op, name, wide, expected, ratios, words, truth.arguments)


def axis_names(words: Sequence[str], rank: int) -> tuple[str, ...]:
    """Return one name per axis; one word with a star stands for any number of axes."""
    star = next((i for i, w in enumerate(words) if w.startswith("*")), None)
    if star is None:
        return tuple(words)
    missing = rank - len(words) + 1
    filled = ("batch", "length", "channels")
    filled = filled[:missing] if star == 0 else filled[3 - missing :]
    filled += ("axis",) * (missing - len(filled))
    return (*words[:star], *filled, *words[star + 1 :])


def _outputs(wrong: Sequence[str], right: Sequence[str]) -> Iterator[str]:
    if right:
        yield f"wrong: {', '.join(wrong)}; right: {', '.join(right)}"


def _kinds(error: Error) -> Iterator[str]:
    """Yield what the numbers are, if there is one word for it."""
    got, expected, bad = error.got, error.expected, error.bad
    unknown = np.isnan(got) & bad
    if unknown.any():
        yield f"NaN in {int(unknown.sum())} of {got.size} elements"
        return
    if not got[bad].any():
        yield "zero where it should not be"
        return
    relation = _factor(error) or _shift(error) or _swap(error)
    if relation:
        yield relation
    elif not expected[bad].any():
        yield "not zero where it should be"


def _close(error: Error, other: np.ndarray) -> bool:
    """Return whether what came out is this, much closer than it is to golden."""
    if other.shape != error.got.shape:
        return False
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(error.got - other)
        far = np.abs(error.got - error.expected)
    largest = float(np.max(far, where=np.isfinite(far), initial=0.0))
    return largest > 0 and bool(np.all(near <= 1e-4 * largest))


def _factor(error: Error) -> str | None:
    got, expected = error.got[error.bad], error.expected[error.bad]
    size = np.sum(np.abs(expected) ** 2)
    if got.size < 3 or not size > 0 or not np.isfinite(got).all():
        return None
    factor = np.sum(got * np.conj(expected)) / size
    rest = np.abs(got - factor * expected)
    if np.max(rest) > 1e-4 * np.max(np.abs(got)) or np.abs(factor.imag) > 1e-4:
        return None
    return _times(float(factor.real))


def _times(factor: float) -> str:
    if abs(factor + 1) < 1e-4:
        return "the sign is flipped"
    return f"{factor:.4g} times what it should be, in every wrong element"


def _shift(error: Error) -> str | None:
    """Say by how many tokens the output is late or early."""
    if "length" not in error.axes:
        return None
    got = np.moveaxis(error.got, error.axes.index("length"), 0)
    expected = np.moveaxis(error.expected, error.axes.index("length"), 0)
    for k in range(1, min(FARTHEST_SHIFT, len(got) - 2) + 1):
        for way, a, b in (
            ("late", got[k:], expected[:-k]),
            ("early", got[:-k], expected[k:]),
        ):
            if np.abs(b).max(initial=0) > 0 and _same(a, b):
                return f"{k} token{'s' * (k > 1)} too {way}, right otherwise"
    return None


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.all(np.abs(a - b) <= 1e-5 * np.max(np.abs(b))))


def _swap(error: Error) -> str | None:
    """Say which two axes are swapped, in place or in memory."""
    got, expected, names = error.got, error.expected, error.axes
    for i in range(got.ndim):
        for j in range(i + 1, got.ndim):
            if 1 in (got.shape[i], got.shape[j]):
                continue
            other = np.swapaxes(expected, i, j).reshape(expected.shape)
            if _close(error, other):
                one, two = (PLURAL.get(names[k], names[k]) for k in (i, j))
                return f"{one} and {two} are swapped"
    return None


def _time(error: Error) -> Iterator[str]:
    """Yield where along time the error begins and what is there."""
    if "length" not in error.axes or error.got.shape[error.axes.index("length")] < 2:
        return
    wrong = np.flatnonzero(error.along("length"))
    length = error.got.shape[error.axes.index("length")]
    bounds = error.arguments.get("cu_seqlens")
    if len(wrong) == length:
        yield f"all {length} tokens are wrong"
        return
    if error.bad.sum() == 1:
        return
    first, last = int(wrong[0]), int(wrong[-1])
    if bounds is not None:
        yield from _in_pack(wrong, np.asarray(bounds))
    elif len(wrong) == 1:
        yield f"only token {first} of {length} is wrong{_meaning(first, length)}"
    else:
        yield f"wrong from token {first} to {last} of {length}{_meaning(first, length)}"


def _meaning(first: int, length: int) -> str:
    """Say what a token is at which an error begins."""
    if first == 0:
        return ""
    for chunk in CHUNKS:
        if first % chunk == 0:
            tail = first == (length - 1) // chunk * chunk and length % chunk
            place = (
                "where the last, partial chunk begins" if tail else "a chunk boundary"
            )
            return f": {first} is {first // chunk} x {chunk}, {place}"
    if first == length - 1:
        return ": the last token"
    return ""


def _in_pack(wrong: np.ndarray, bounds: np.ndarray) -> Iterator[str]:
    """Yield which sequences of a pack are wrong and from which of their tokens."""
    rows = np.searchsorted(bounds, wrong, side="right") - 1
    bad = sorted(set(rows.tolist()))
    starts = [int(wrong[rows == row][0] - bounds[row]) for row in bad]
    some = [row for row in range(len(bounds) - 1) if bounds[row] < bounds[row + 1]]
    if len(bad) < len(some):
        yield f"only sequences {_list(bad)} of {len(bounds) - 1} are wrong"
    if not any(starts):
        yield "wrong from the first token of each wrong sequence"
    else:
        pairs = zip(bad, starts, strict=True)
        yield "wrong from " + ", ".join(f"token {t} of sequence {s}" for s, t in pairs)


def _places(error: Error) -> Iterator[str]:
    """Yield which indices of other axes are wrong, where not all are."""
    if error.bad.sum() == 1:
        yield f"one single element is wrong, of {error.bad.size}"
        return
    if found := list(_only(error)):
        yield f"only {', '.join(found)}"


def _only(error: Error) -> Iterator[str]:
    for axis in error.axes:
        if axis in ("length", "axis"):
            continue
        wrong = error.along(axis)
        if wrong.all() or len(wrong) < 2:
            continue
        indices, name = np.flatnonzero(wrong).tolist(), PLURAL.get(axis, axis)
        yield f"{name} {_list(indices)} of {len(wrong)}{_group(error, axis, wrong)}"


def _group(error: Error, axis: str, wrong: np.ndarray) -> str:
    """Say how wrong heads or channels lie in the groups of B and C."""
    groups = _groups(error)
    if axis not in ("heads", "channels") or groups < 2 or len(wrong) % groups:
        return ""
    by_group = wrong.reshape(groups, -1)
    if (by_group.all(axis=1) == by_group.any(axis=1)).all():
        return f" (all of group {_list(np.flatnonzero(by_group.any(axis=1)).tolist())})"
    if (by_group == by_group[0]).all():
        return " (the same in every group)"
    return f" (in {groups} groups of {by_group.shape[1]})"


def _groups(error: Error) -> int:
    B = error.arguments.get("B")
    if B is None or error.op.module not in ("mamba1", "mamba2", "mamba3"):
        return 0
    first = next(iter(error.arguments.values()))
    grouped = first.ndim + (error.op.module == "mamba1")
    return B.shape[-2] if B.ndim >= grouped else 0


def _course(error: Error) -> Iterator[str]:
    """Yield whether the error grows, decays or repeats along time."""
    if "length" not in error.axes:
        return
    i = error.axes.index("length")
    worst = error.ratios.max(axis=tuple(j for j in range(error.ratios.ndim) if j != i))
    wrong = ~(worst <= LIMIT)
    if (period := _period(wrong)) is not None:
        yield f"wrong tokens repeat every {period} tokens"
        return
    run = worst[np.argmax(wrong) :]
    run = run[np.isfinite(run)]
    if len(run) < 12:
        return
    third = len(run) // 3
    early, late = np.median(run[:third]), np.median(run[-third:])
    if late > GROWTH * max(early, 1e-30):
        yield "the error grows along time"
    elif early > GROWTH * max(late, 1e-30):
        yield "the error decays along time"


def _period(wrong: np.ndarray) -> int | None:
    """Return after how many tokens the same ones are wrong again, at least twice."""
    if wrong.all() or wrong.sum() < 3:
        return None
    for period in range(2, min(len(wrong) // 3, LONGEST_PERIOD) + 1):
        if (wrong[period:] == wrong[:-period]).all():
            return period
    return None


def _list(numbers: Sequence[int]) -> str:
    """Return numbers with runs in short: 0-3, 7."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    words = [str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs]
    return ", ".join(words[:8]) + (", ..." if len(words) > 8 else "")
