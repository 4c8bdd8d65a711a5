"""All that a report shows: whose verdicts they are and what was demanded of them."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ...ops import OPS
from ..candidates import Candidate
from ..expected import Expectation, unmatched
from ..precision import dtype_of
from ..verdict import (
    EXPECTED,
    FAILED,
    LIMIT,
    NOT_PROVIDED,
    PASSED,
    UNEXPECTED,
    Finding,
    Verdict,
)
from ..words import where

STATUSES = (PASSED, FAILED, EXPECTED, UNEXPECTED, NOT_PROVIDED)


@dataclass(frozen=True)
class Results:
    """The verdicts on a candidate in one dtype, and what was demanded of it.

    Expectations are already applied to the verdicts. `required` are the ops that have
    to be provided completely; without any, every op that has a verdict has to be.
    """

    candidate: Candidate
    dtype: str
    verdicts: Sequence[Verdict]
    required: tuple[str, ...] = ()
    expectations: tuple[Expectation, ...] = ()

    @property
    def ops(self) -> list[str]:
        """The ops that have verdicts or are required, in the order of the verdicts."""
        return list(
            dict.fromkeys((*(v.case.op for v in self.verdicts), *self.required))
        )

    def of(self, op: str) -> list[Verdict]:
        """Return the verdicts on one op."""
        return [v for v in self.verdicts if v.case.op == op]

    def is_required(self, op: str) -> bool:
        """Return whether an op has to be complete."""
        return not self.required or op in self.required

    @cached_property
    def unmatched(self) -> list[Expectation]:
        """The expected failures whose case was not run."""
        return unmatched(self.verdicts, self.expectations, self.dtype)

    @property
    def counts(self) -> dict[str, int]:
        """How many cases are required, were run, and have each status."""
        required = sum(self.is_required(v.case.op) for v in self.verdicts)
        count = counts(self.verdicts)
        return {"required": required, "run": run(count)} | count


def counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Return how many verdicts have each status."""
    found = Counter(v.status for v in verdicts)
    return {status: found[status] for status in STATUSES}


def run(count: dict[str, int]) -> int:
    """Return how many cases were run, by what `counts` says."""
    return sum(count[s] for s in STATUSES if s != NOT_PROVIDED)


def worst(verdicts: Iterable[Verdict]) -> float | None:
    """Return the worst ratio of the cases that were run, None where none was."""
    return max((v.ratio for v in verdicts if v.status != NOT_PROVIDED), default=None)


def absent(required: Iterable[str], verdicts: Sequence[Verdict]) -> list[str]:
    """Return the required ops that have no verdict at all."""
    present = {v.case.op for v in verdicts}
    return [op for op in required if op not in present]


def words(verdict: Verdict, finding: Finding) -> str:
    """Say what was found of one output, for a person."""
    if finding.problem:
        return finding.problem
    if not finding.size:
        return "empty, as it has to be"
    numbers = (
        f"got {finding.got:.6g}, expected {finding.expected:.6g}, "
        f"ratio {finding.ratio:.3g}, limit {LIMIT:g}"
    )
    share = f"{finding.wrong} of {finding.size} elements are wrong"
    return f"{share}; worst at {place(verdict, finding)}: {numbers}"


def place(verdict: Verdict, finding: Finding) -> str:
    """Say where the worst element of an output is."""
    arguments = verdict.case.arguments(dtype_of(verdict.dtype))
    return where(OPS[verdict.case.op], finding.output, finding.index, arguments)


def repeat(candidate: Candidate, verdict: Verdict) -> str:
    """Return the command that repeats one case."""
    case = f"--case {verdict.case.id} --dtype {verdict.dtype}"
    return f"ssmref {_command(candidate.name, verdict.case.op)} {case}"


def _command(name: str, op: str) -> str:
    """Return the command that a candidate's name stands for."""
    if name.startswith("vectors check "):
        return name
    # An option is a piece of a command line already; a stranger's module is not.
    target = name if name.startswith("--") else shlex.quote(name)
    needs_op = ":" in name or name.startswith("--exec")
    return f"verify {target}" + (f" --op {op}" if needs_op else "")
