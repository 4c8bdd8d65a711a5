"""What a person sees at a terminal: a table of ops, the failures, the conclusion."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..diagnosis import diagnose_run
from ..expected import expectation_of
from ..verdict import EXPECTED, FAILED, LIMIT, NOT_PROVIDED, PASSED, UNEXPECTED, Verdict
from .clean import clean
from .outcome import outcome
from .results import Results, counts, repeat, run, words, worst

# More failures than this help nobody at a terminal; the files have them all.
SHOWN = 8
# The table fits into 80 columns with ops of up to this many characters.
WIDEST_OP = 26
EXPLANATION = (
    f"ratio = error / (eps x scale), at most {LIMIT:g}; grades A (as good as "
    "rounding allows), B, C (digits are lost), F (failed)"
)
HEADINGS = (
    "required",
    "run",
    "passed",
    "failed",
    "expected\nfailures",
    "not\nprovided",
    "worst\nratio",
)


def show(console: Console, results: Results) -> None:
    """Print the table of ops, the failures with their repeats, and the conclusion."""
    console.print(_table(console, results))
    _print(console, *_not_provided(results))
    failed = [v for v in results.verdicts if v.status in (FAILED, UNEXPECTED)]
    for verdict in failed[:SHOWN]:
        _print(console, "", *failure(results, verdict))
    if len(failed) > SHOWN:
        _print(console, f"... and {len(failed) - SHOWN} more failures; --json has all")
    _print(console, *_unmatched(results), *conclusions(results))
    console.print(Text(outcome(results).sentence, style="bold"), soft_wrap=True)


def _print(console: Console, *lines: str) -> None:
    for line in lines:  # unwrapped, so that commands can be copied
        console.print(Text(clean(line)), soft_wrap=True)


def _table(console: Console, results: Results) -> Table:
    title = Text(clean(f"{results.candidate.name} against golden, {results.dtype}"))
    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("op", no_wrap=True)
    for heading in HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for op in results.ops:
        name = _folded(op) if console.width < 100 else op
        table.add_row(name, *_cells(results, op), style=_style(results, op))
    table.caption = EXPLANATION
    return table


def _folded(op: str) -> str:
    """Break a long name where it has a joint."""
    if len(op) <= WIDEST_OP:
        return op
    joint = max(m.end() for m in re.finditer("[._]", op[:WIDEST_OP]))
    return f"{op[:joint]}\n  {_folded(op[joint:])}"


def _cells(results: Results, op: str) -> Iterator[str]:
    own = results.of(op)
    count, ratio = counts(own), worst(own)
    yield str(len(own)) if results.is_required(op) else "0"
    for number in (
        run(count),
        count[PASSED],
        count[FAILED] + count[UNEXPECTED],
        count[EXPECTED],
        count[NOT_PROVIDED],
    ):
        yield str(number)
    yield "-" if ratio is None else f"{_short(ratio)} {grade(own)}"


def _short(ratio: float) -> str:
    """Return a ratio in at most six characters."""
    return f"{ratio:.0e}" if 1000 <= ratio < math.inf else f"{ratio:.3g}"


def grade(verdicts: Iterable[Verdict]) -> str:
    """Return the worst grade of the cases that were run."""
    return max((v.grade for v in verdicts if v.status != NOT_PROVIDED), default="-")


def _style(results: Results, op: str) -> str:
    count = counts(results.of(op))
    if count[FAILED] or count[UNEXPECTED]:
        return "red"
    return "green" if run(count) and not count[NOT_PROVIDED] else "yellow"


def _not_provided(results: Results) -> Iterator[str]:
    for message, cases in not_provided(results).items():
        noun = "case" if cases == 1 else "cases"
        yield f"not provided, {cases} {noun}: {message}"


def not_provided(results: Results) -> Counter[str]:
    """Return what is not provided, by op and reason, and for how many cases."""
    return Counter(
        f"{v.case.op}: {v.message}"
        for v in results.verdicts
        if v.status == NOT_PROVIDED
    )


def failure(results: Results, verdict: Verdict) -> Iterator[str]:
    """Say all that is known of a failure, line by line."""
    yield f"{verdict.case.id}: {verdict.case.reason}"
    if verdict.status == UNEXPECTED:
        yield f"  {unexpected(results, verdict)}"
    if verdict.message:
        yield f"  {verdict.message}"
    for finding in verdict.findings:
        if not finding.passed:
            yield f"  {finding.output}: {words(verdict, finding)}"
    yield from (f"  {sentence}" for sentence in verdict.diagnosis)
    yield f"  repeat: {repeat(results.candidate, verdict)}"


def unexpected(results: Results, verdict: Verdict) -> str:
    """Say what was expected of a case that passed."""
    known = expectation_of(verdict, results.expectations)
    reason = f" ({known.reason})" if known else ""
    return f"passed, but a failure was expected{reason}: remove its entry"


def _unmatched(results: Results) -> Iterator[str]:
    for entry in results.unmatched:
        yield f"expected to fail, but not run: {entry.case} ({entry.reason})"


def conclusions(results: Results) -> Iterator[str]:
    """Say of each op which known bugs explain its failures, where any do."""
    yield from (c.words for c in diagnose_run(results.verdicts) if c.bugs)
