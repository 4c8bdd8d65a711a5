"""How well the cases see the bugs: which case kills which bug, and by how much."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ...ops import OPS
from ..candidates import Candidate
from ..catalogue import cases_of, covered_ops
from ..diagnosis import Conclusion, diagnose_run
from ..run import verify, verify_case
from ..truth import truth
from ..verdict import FAILED
from .bug import Bug
from .zoo import other, stranger


@dataclass(frozen=True)
class Score:
    """What the core cases of an op say of one bug.

    `kills` are the ids of the cases that fail with the ratio of each; `leaks` are those
    among them where the bug should be invisible. `exposed` of the `cases` expose it.
    """

    bug: Bug
    op: str
    kills: dict[str, float]
    leaks: dict[str, float]
    exposed: int
    cases: int

    @property
    def strongest(self) -> tuple[str, float]:
        """The case with the largest ratio; kills must not be empty."""
        return max(self.kills.items(), key=lambda item: item[1])

    @property
    def weakest(self) -> tuple[str, float]:
        """The case with the smallest ratio that still kills."""
        return min(self.kills.items(), key=lambda item: item[1])


def pairs(bugs: Iterable[Bug], ops: Iterable[str] = ()) -> list[tuple[Bug, str]]:
    """Return bugs with each of their ops that has cases, op by op; all ops if none."""
    bugs, wanted = list(bugs), list(ops)
    chosen = [op for op in covered_ops() if not wanted or op in wanted]
    return [(bug, op) for op in chosen for bug in bugs if op in bug.ops]


def scores(chosen: Iterable[tuple[Bug, str]], dtype: np.dtype) -> Iterator[Score]:
    """Yield the score of each bug in each op."""
    for bug, op in chosen:
        yield score(bug, op, dtype)


def score(bug: Bug, op: str, dtype: np.dtype) -> Score:
    """Run a bug as a stranger's module on the core cases of an op."""
    kills, exposed, cases = {}, set(), cases_of(op)
    candidate = stranger([bug], OPS[op])
    for case in cases:
        if bug.exposes(truth(case, dtype).arguments):
            exposed.add(case.id)
        verdict = verify_case(candidate, case, dtype)
        if verdict.status == FAILED:
            kills[case.id] = verdict.ratio
    leaks = {name: ratio for name, ratio in kills.items() if name not in exposed}
    return Score(bug, op, kills, leaks, len(exposed), len(cases))


def diagnosis_of(bug: Bug, op: str, dtype: np.dtype) -> Conclusion | None:
    """Return what is said of a stranger whose code has a bug; None if nothing fails.

    The stranger's sums run in another order than those that it is compared with.
    """
    candidate = Candidate(bug.id, {op: stranger([bug], OPS[op], other(OPS[op]))})
    verdicts = list(verify(candidate, cases_of(op), dtype))
    return next(iter(diagnose_run(verdicts)), None)


def is_named(bug: Bug, conclusion: Conclusion | None) -> bool:
    """Return whether a conclusion is this bug, or leaves it as one of a few."""
    if conclusion is None:
        return False
    return (bug.id,) in (conclusion.bugs, *conclusion.alternatives[:3])
