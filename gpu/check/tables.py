"""What is printed: one line per finding, tables by part."""

from collections.abc import Iterable, Iterator

from ssmref.bench.run import MEASURED, Measurement

from .contenders import OURS
from .verify import Outcome

HEAD = f"{'microseconds':>12}  {'spread':>6}  {'of limit':>9}  {'ratio':>6}"


def outcome(found: Outcome) -> Iterator[str]:
    """Yield a line of verification, and one for each failure."""
    failed = len(found.failures)
    words = "passed" if found.passed else f"{failed} FAILED"
    yield (
        f"  {found.op:<34} {found.dtype:<9} {found.cases:>3} cases  {words:<9} "
        f"worst ratio {found.worst:.2g}  {found.seconds:.1f} s"
    )
    for case, message in found.failures:
        yield f"    {case}: {message}"


def point(found: Iterable[Measurement]) -> Iterator[str]:
    """Yield the lines of one point in one precision."""
    found = list(found)
    if not found:
        return
    first = found[0]
    yield f"  {first.workload.id}  {first.dtype}  ({first.workload.note})"
    ours = next(
        (m for m in found if m.implementation == OURS and m.status == MEASURED), None
    )
    for measurement in found:
        words = _cells(measurement, ours)
        note = f"  {measurement.note}" if measurement.note else ""
        yield f"    {measurement.implementation:<30} {words}{note}"


def _cells(found: Measurement, ours: Measurement | None) -> str:
    if found.status != MEASURED or found.samples is None:
        return f"{found.status}: {found.reason}"
    median = found.samples.median
    share = found.limit.seconds / median if found.limit.parts else None
    words = f"{share:>8.0%} {found.limit.binding}" if share is not None else f"{'-':>9}"
    ratio = f"{found.check.ratio:>6.2g}" if found.check else ""
    line = f"{1e6 * median:>12.2f}  {found.samples.spread:>6.1%}  {words}  {ratio}"
    if ours is None or ours.samples is None or found.implementation.startswith(OURS):
        return line
    return f"{line}  {median / ours.samples.median:.2f} x ours"
