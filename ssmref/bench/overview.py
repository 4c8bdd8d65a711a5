"""All findings of a brief suite in two tables: times and memory against length."""

from collections.abc import Callable, Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ..conformance.verdict import LIMIT
from .memory_report import size
from .points import MEMORY, TIMES, Finding, Setting
from .report import milliseconds

_TITLES = {
    TIMES: "milliseconds per call against tokens",
    MEMORY: "memory of a call beyond its inputs against tokens",
}
_STYLES = {"wrong": "red", "crashed": "red"}
UNSTABLE = "!"


def overview(found: Sequence[Finding], setting: Setting) -> Iterator[Table]:
    """Yield a table of the times and one of the memory, where there are some."""
    for what, figure in ((TIMES, _time), (MEMORY, _peak)):
        if own := [f for f in found if f.point.what == what]:
            yield _table(f"{_TITLES[what]}, {setting.dtype}", own, figure)


def _table(
    title: str, found: Sequence[Finding], figure: Callable[[Finding], str]
) -> Table:
    made = Table(
        title=Text(title),
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    made.add_column("")
    made.add_column("by")
    lengths = sorted({f.point.task.length for f in found})
    for length in lengths:
        made.add_column(words_of_length(length), justify="right")
    made.add_column("verdict", justify="right")
    rows: dict[tuple[str, str], dict[int, Finding]] = {}
    for one in found:
        key = one.point.task.op, one.point.implementation
        rows.setdefault(key, {})[one.point.task.length] = one
    for key, own in rows.items():
        cells = (_cell(own.get(length), figure) for length in lengths)
        made.add_row(*key, *cells, verdict_words(list(own.values())))
    return made


def _cell(found: Finding | None, figure: Callable[[Finding], str]) -> Text:
    if found is None:
        return Text("")
    text = figure(found)
    return Text(text) if text else Text(found.status, _STYLES.get(found.status, ""))


def _time(found: Finding) -> str:
    if not found.samples:
        return ""
    return milliseconds(found.samples.median) + (UNSTABLE if found.samples.note else "")


def _peak(found: Finding) -> str:
    """Return the exact count, or else what was resident."""
    peaks = found.peaks or {}
    count = next((p for p in (peaks.get("traced"), peaks.get("resident")) if p), None)
    return size(count) if count else ""


def explanation(found: Sequence[Finding]) -> str:
    """Say what the verdicts are about; nothing where there are none."""
    places = {place for f in found if f.check for place in f.check.places}
    if not places:
        return ""
    counts = [int(p.split()[0]) for p in _core_places(found)]
    core = f"{sum(counts)} core cases, " if counts else ""
    more = "small sizes, " if "small sizes" in places else ""
    marked = any(f.samples and f.samples.note for f in found)
    note = f"{UNSTABLE} quartiles more than 10 % apart: measure again when idle; "
    return (
        f"{note if marked else ''}verdict: the worst ratio of error to rounding, at "
        f"most {LIMIT:g}, of {core}{more}and a sample of every result that was timed "
        "or measured"
    )


def _core_places(found: Sequence[Finding]) -> list[str]:
    """Return the place of the core cases of each op and implementation, once."""
    places = {
        (f.point.task.op, f.point.implementation, place): place
        for f in found
        if f.check
        for place in f.check.places
        if place.endswith("core cases")
    }
    return list(places.values())


def reasons(found: Sequence[Finding]) -> Iterator[str]:
    """Say why points have no figure, what is the same for several once."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for f in found:
        if f.reason:
            key = f.point.implementation, f.status, f.reason
            groups.setdefault(key, []).append(f)
    for (name, status, reason), own in groups.items():
        point = own[0].point
        where = f"{point.task.id}, {point.what}"
        rest = f" and {len(own) - 1} more" if len(own) > 1 else ""
        yield f"{name}: {status}: {reason} ({where}{rest})"


def words_of_length(length: int) -> str:
    """Return a length as users give it: 1K, 8K, 1000."""
    return f"{length // 1024}K" if length % 1024 == 0 else str(length)


def verdict_words(found: Sequence[Finding]) -> str:
    """Return whether all results were right, and the worst ratio of error."""
    checks = [f.check for f in found if f.check]
    if not checks:
        return "-"
    worst = max(check.ratio for check in checks)
    passed = all(check.passed for check in checks)
    return f"pass {worst:.2g}" if passed else "wrong"
