"""What a person sees of verdicts: a table, the failures, a JSON file."""

import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import __version__
from ..ops import OPS
from .candidates import Candidate
from .precision import dtype_of
from .truth import truth
from .verdict import FAILED, LIMIT, NOT_PROVIDED, PASSED, Finding, Verdict
from .words import where

# More failures than this help nobody at a terminal; the JSON file has them all.
SHOWN = 8


def show(
    console: Console, candidate: Candidate, verdicts: Sequence[Verdict], dtype: str
) -> None:
    """Print the table of ops and the failures with the command that repeats each."""
    console.print(_table(candidate, verdicts, dtype))
    for message, cases in _not_provided(verdicts).items():
        noun = "case" if len(cases) == 1 else "cases"
        text = Text(f"not provided, {len(cases)} {noun}: {message}")
        console.print(text, soft_wrap=True)
    failed = [v for v in verdicts if v.status == FAILED]
    for verdict in failed[:SHOWN]:
        text = Text("\n".join(_failure(candidate, verdict)))
        console.print(text, soft_wrap=True)  # so that commands can be copied
    if len(failed) > SHOWN:
        console.print(f"... and {len(failed) - SHOWN} more failures; --json has all")
    console.print(Text(conclusion(verdicts), style="bold"))


def conclusion(verdicts: Iterable[Verdict]) -> str:
    """Return the verdict in one sentence."""
    count = counts(verdicts)
    run = count[PASSED] + count[FAILED]
    if not run:
        return "NOTHING RAN: no case could be run on this implementation"
    if count[FAILED]:
        return f"FAILED: {count[FAILED]} of {run} cases run are wrong"
    if count[NOT_PROVIDED]:
        return (
            f"INCOMPLETE: all {run} cases run passed, "
            f"{count[NOT_PROVIDED]} are not provided"
        )
    return f"PASSED: all {run} cases"


def exit_status(verdicts: Iterable[Verdict]) -> int:
    """Return 0 if everything ran and passed, 1 on failure, 3 if not all could run."""
    count = counts(verdicts)
    if count[FAILED]:
        return 1
    return 0 if count[PASSED] and not count[NOT_PROVIDED] else 3


def counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Return how many verdicts have each status."""
    statuses = [v.status for v in verdicts]
    return {s: statuses.count(s) for s in (PASSED, FAILED, NOT_PROVIDED)}


def _table(candidate: Candidate, verdicts: Sequence[Verdict], dtype: str) -> Table:
    table = Table(title=f"{candidate.name} against ssmref.golden, {dtype}")
    table.add_column("op", no_wrap=True)
    for column in ("run", "passed", "failed", "not provided", "worst ratio"):
        table.add_column(column, justify="right")
    for op in dict.fromkeys(v.case.op for v in verdicts):
        own = [v for v in verdicts if v.case.op == op]
        count = counts(own)
        style = "red" if count[FAILED] else "yellow" if count[NOT_PROVIDED] else "green"
        run = count[PASSED] + count[FAILED]
        worst = max((v.ratio for v in own if v.status != NOT_PROVIDED), default=None)
        ratio = "-" if worst is None else f"{worst:.3g}"
        cells = (run, count[PASSED], count[FAILED], count[NOT_PROVIDED], ratio)
        table.add_row(op, *(str(cell) for cell in cells), style=style)
    table.caption = f"ratio = error / (eps x scale); the limit is {LIMIT:g}"
    return table


def _not_provided(verdicts: Iterable[Verdict]) -> dict[str, list[str]]:
    messages: dict[str, list[str]] = {}
    for v in verdicts:
        if v.status == NOT_PROVIDED:
            messages.setdefault(f"{v.case.op}: {v.message}", []).append(v.case.id)
    return messages


def _failure(candidate: Candidate, verdict: Verdict) -> Iterator[str]:
    yield ""
    yield f"{verdict.case.id}: {verdict.case.reason}"
    if verdict.message:
        yield f"  {verdict.message}"
    for finding in verdict.findings:
        if not finding.passed:
            yield f"  {finding.output}: {_finding(verdict, finding)}"
    yield f"  repeat: {repeat(candidate, verdict)}"


def _finding(verdict: Verdict, finding: Finding) -> str:
    if finding.problem:
        return finding.problem
    arguments = truth(verdict.case, dtype_of(verdict.dtype)).arguments
    place = where(OPS[verdict.case.op], finding.output, finding.index, arguments)
    return (
        f"{finding.wrong} of {finding.size} elements are wrong; worst at {place}: "
        f"got {finding.got:.6g}, expected {finding.expected:.6g}, "
        f"ratio {finding.ratio:.3g}, limit {LIMIT:g}"
    )


def repeat(candidate: Candidate, verdict: Verdict) -> str:
    """Return the command that repeats one case."""
    option = f" --op {verdict.case.op}" if ":" in candidate.name else ""
    return (
        f"ssmref verify {candidate.name}{option} --case {verdict.case.id} "
        f"--dtype {verdict.dtype}"
    )


def write_json(
    path: Path, candidate: Candidate, verdicts: Sequence[Verdict], dtype: str
) -> None:
    """Write every verdict with the versions that it was given under."""
    document = {
        "ssmref": __version__,
        "target": candidate.name,
        "dtype": dtype,
        "limit": LIMIT,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "counts": counts(verdicts),
        "conclusion": conclusion(verdicts),
        "verdicts": [_record(candidate, v) for v in verdicts],
    }
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


def _record(candidate: Candidate, verdict: Verdict) -> dict[str, Any]:
    return {
        "case": verdict.case.id,
        "op": verdict.case.op,
        "reason": verdict.case.reason,
        "status": verdict.status,
        "message": verdict.message,
        "repeat": repeat(candidate, verdict),
        "outputs": [
            {
                "output": f.output,
                "passed": f.passed,
                "ratio": f.ratio if np.isfinite(f.ratio) else None,
                "index": list(f.index),
                "got": None if f.got is None else str(f.got),
                "expected": None if f.expected is None else str(f.expected),
                "wrong": f.wrong,
                "size": f.size,
                "problem": f.problem,
            }
            for f in verdict.findings
        ],
    }
