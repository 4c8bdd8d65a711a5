"""Sentences on inference and on the size of the state, from the figures of a run."""

from collections.abc import Callable, Iterator

from .findings import OURS
from .points import Memory, Subject, Timing
from .series import Series, along
from .serving import is_decode, per_request
from .sources import Run
from .words import digits, of_bytes, of_length, of_seconds

# Of two times that are as close as this nothing is said to be slower.
SAME = 0.15


def held(run: Run) -> Iterator[str]:
    """Say what is held of one request at the longest context that all have."""
    by_op: dict[str, dict[int, Memory]] = {}
    for m in run.memories:
        s = m.subject
        if s.kind == "inference" and is_decode(s) and m.model.get("state"):
            by_op.setdefault(s.op, {})[s.length or 0] = m
    common = set.intersection(*(set(own) for own in by_op.values())) if by_op else set()
    if not common:
        return
    context = max(common)
    words = [
        f"{op} {of_bytes(per_request(own[context]))}{_constancy(own)}"
        for op, own in by_op.items()
    ]
    yield (
        f"With {of_length(context)} tokens of context one request holds, counted: "
        f"{'; '.join(words)}."
    )


def _constancy(own: dict[int, Memory]) -> str:
    sizes = {per_request(m) for m in own.values()}
    if len(own) < 2:
        return ""
    return " (at any context)" if len(sizes) == 1 else " (grows with the context)"


def latency(run: Run, spoken_of: Callable[[Run, Subject], bool]) -> Iterator[str]:
    """Say how long one token takes, behind the shortest and the longest context."""
    own = [
        t
        for t in run.timings
        if t.subject.kind == "inference"
        and is_decode(t.subject)
        and t.subject.batch == 1
        and t.seconds
        and spoken_of(run, t.subject)
    ]
    words = [_latency(one) for one in along("length", own) if len(one.points) > 1]
    if words:
        yield f"The next token of one request takes: {'; '.join(words)}."


def _latency(series: Series[Timing]) -> str:
    first, last = series.points[0], series.points[-1]
    assert first.seconds is not None
    assert last.seconds is not None
    a, b = first.seconds.middle, last.seconds.middle
    places = [of_length(n) for n in (series.places[0], series.places[-1])]
    same = abs(b / a - 1) <= SAME
    verdict = "as long" if same else f"{digits(b / a, 2)} times as long"
    return (
        f"{series.subject.op} {of_seconds(a)} behind {places[0]} tokens, {verdict} "
        f"behind {places[1]}"
    )


def states(run: Run) -> Iterator[str]:
    """Say how the scan of Mamba-1 and SSD compare at equal states."""
    own = [
        t
        for t in run.timings
        if t.subject.kind == "state" and t.subject.implementation == OURS and t.seconds
    ]
    by_op = {s.subject.op: s for s in along("state", own)}
    scan, ssd = by_op.get("mamba1.selective_scan"), by_op.get("mamba2.ssd")
    if not scan or not ssd:
        return
    common = sorted(set(scan.places) & set(ssd.places))
    words = [f"{_faster(scan, ssd, n)} at {n}" for n in common]
    if words:
        yield (
            "At equal channels and equal states mamba2.ssd takes this part of the time "
            f"of mamba1.selective_scan, by the size of the state: {', '.join(words)}."
        )


def _faster(scan: Series[Timing], ssd: Series[Timing], state: int) -> str:
    times = []
    for series in (ssd, scan):
        found = series.points[series.places.index(state)].seconds
        assert found is not None
        times.append(found.middle)
    return digits(times[0] / times[1], 2)
