"""Why a failure may have happened: which known bugs give the same outputs.

The outputs of a failed case are compared with those of every bug of the zoo on the same
case, by the measure that compares them with golden. One that fits is named; where none
does, pairs of bugs are tried. `pattern` reads the error without the zoo.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations

import numpy as np

from ..ops import OPS
from .bugs.bug import Arguments, Bug
from .bugs.zoo import BUGS, behaviour, bugs_of, visible
from .cases.case import Case
from .outputs import MalformedResultError
from .pattern import pattern
from .precision import dtype_of, judged_as
from .truth import Truth, truth
from .verdict import FAILED, LIMIT, MODIFIED, PASSED, Verdict, ratios_of

Outputs = dict[str, np.ndarray]
Names = tuple[str, ...]

# A bug must explain an error this much better than golden does.
BETTER = 10.0
# An axis of the first argument may be so long; longer cases are not run with bugs.
LONGEST = 1024
# What can be tried: pairs per case, cases per op on which no bug fitted, elements of
# the first argument, and explanations that are shown.
PAIRS, BLIND_SEARCHES, LARGEST, SHOWN = 100, 2, 20_000, 3


def diagnosed(
    verdict: Verdict, truth: Truth, outputs: Outputs, earlier: Iterable[Verdict] = ()
) -> Verdict:
    """Return a failed verdict with what its error looks like.

    `earlier` verdicts of the same run say which bugs are likely. Verdicts that passed
    and outputs that are missing or of a wrong shape or dtype are returned as they are.
    """
    if verdict.message.startswith(MODIFIED):
        return _modified(verdict)
    judged = bool(outputs) and not any(f.problem for f in verdict.findings)
    if verdict.status != FAILED or not judged:
        return verdict
    own = [v for v in earlier if v.case.op == verdict.case.op and v.status == FAILED]
    found = _likely_first(explanations(verdict, truth, outputs, own), own)
    sentences = (*named(found), *pattern(verdict, truth, outputs))
    return replace(verdict, diagnosis=sentences, resembles=tuple(found))


def _modified(verdict: Verdict) -> Verdict:
    """Name the bugs that write where they should not."""
    ids = tuple(b.id for b in bugs_of(verdict.case.op) if b.modifies)
    found = [(name,) for name in ids]
    return replace(verdict, diagnosis=tuple(named(found)), resembles=tuple(found))


def explanations(
    verdict: Verdict, truth: Truth, outputs: Outputs, earlier: Sequence[Verdict] = ()
) -> list[Names]:
    """Return the bugs, or pairs of them, that give these outputs."""
    case = verdict.case
    if too_large(truth.arguments) or _unwritten(truth, outputs):
        return []
    bugs = [bug for bug in bugs_of(case.op) if visible(bug, truth.arguments)]
    single = [(b.id,) for b in bugs if explains((b.id,), verdict, truth, outputs)]
    if single:
        return single
    for names in _pairs(bugs, earlier):
        if explains(names, verdict, truth, outputs):
            return [names]
    return []


def _unwritten(truth: Truth, outputs: Outputs) -> bool:
    """Return whether all is 0 that should not be: most bugs could be said of that."""
    needed = [name for name in outputs if truth.outputs[name].any()]
    return bool(needed) and not any(outputs[name].any() for name in needed)


def too_large(arguments: Arguments) -> bool:
    """Return whether a case would take too long to run with many bugs."""
    first = next(iter(arguments.values()))
    chunks = [v for v in arguments.values() if type(v) is int]
    return first.size > LARGEST or max((*first.shape, *chunks), default=0) > LONGEST


def explains(names: Names, verdict: Verdict, truth: Truth, outputs: Outputs) -> bool:
    """Return whether these bugs, the first one outermost, give these outputs.

    A candidate may have left some outputs out; the others decide.
    """
    wrong, ratio = _behaviour(names, verdict.case, verdict.dtype)
    if not wrong or ratio <= LIMIT:
        return False
    limit = min(LIMIT, verdict.ratio / BETTER)
    return all(
        _worst(name, got, wrong[name], truth) <= limit for name, got in outputs.items()
    )


@lru_cache(maxsize=2048)
def _behaviour(names: Names, case: Case, precision: str) -> tuple[Outputs, float]:
    """Return what bugs give and its ratio to golden; nothing where they raise."""
    with judged_as(precision) as dtype:
        return _behaviour_in(dtype, names, case)


def _behaviour_in(dtype: np.dtype, names: Names, case: Case) -> tuple[Outputs, float]:
    expected = truth(case, dtype)
    bugs = [BUGS[name] for name in names]
    try:
        wrong = behaviour(bugs, OPS[case.op], expected.arguments, dtype)
    except (ValueError, TypeError, IndexError, MalformedResultError):
        return {}, float("inf")  # two bugs need not fit each other
    if any(wrong[n].shape != expected.outputs[n].shape for n in wrong):
        return {}, float("inf")
    return wrong, _distance(wrong, expected)


def _distance(outputs: Outputs, truth: Truth) -> float:
    """Return the worst ratio to golden, where golden is finite."""
    worst = 0.0
    for name, expected in truth.outputs.items():
        got, scale = outputs[name], truth.scales[name]
        ratios = ratios_of(name, got, expected, scale, truth.dtype)
        worst = max(
            worst, float(np.max(ratios, where=np.isfinite(expected), initial=0))
        )
    return worst


def _worst(name: str, got: np.ndarray, wrong: np.ndarray, truth: Truth) -> float:
    """Return the worst ratio to a bug.

    The scale grows with the distance of the bug from golden: where a bug makes numbers
    large, the rounding of its own arithmetic is as large. Numbers that are not finite
    are alike: which of them comes out depends on the order of operations.
    """
    if got.size == 0:
        return 0.0
    expected = truth.outputs[name]
    wrong, got = wrong.astype(expected.dtype), got.astype(expected.dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        extra = np.nan_to_num(np.abs(wrong - expected), nan=0, posinf=0)
        ratios = ratios_of(name, got, wrong, truth.scales[name] + extra, truth.dtype)
    alike = ~np.isfinite(got) & ~np.isfinite(wrong)
    return float(np.max(np.where(alike, 0.0, ratios)))


def _pairs(bugs: Sequence[Bug], earlier: Sequence[Verdict]) -> Iterator[Names]:
    """Yield pairs to try: known ones first, then pairs of known bugs, then any.

    The order within a pair matters: the first one is outermost.
    """
    counts = Counter(name for v in earlier for names in v.resembles for name in names)
    known = [name for name, _ in counts.most_common() if name in {b.id for b in bugs}]
    blind = sum(not v.resembles for v in earlier) < BLIND_SEARCHES
    rest = [b.id for b in bugs if b.id not in known] if blind or known else []
    likely = list(permutations(known[:6], 2))
    half = [p for a in known[:2] for b in rest for p in ((a, b), (b, a))]
    others = list(permutations(rest, 2)) if blind else []
    tried = dict.fromkeys((*likely, *half, *_spread(others)))
    yield from list(tried)[:PAIRS]


def _spread(pairs: list[Names]) -> list[Names]:
    """Return pairs in an order in which the first ones are about all bugs."""
    step = max(len(pairs) // PAIRS, 1)
    return [pair for start in range(step) for pair in pairs[start::step]]


def _likely_first(found: list[Names], earlier: Sequence[Verdict]) -> list[Names]:
    counts = Counter(names for v in earlier for names in v.resembles)
    return sorted(found, key=lambda names: -counts[names])


def named(found: Sequence[Names]) -> Iterator[str]:
    """Yield a sentence for each explanation shown; sizes of chunks share one."""
    by_stem: dict[Names, list[Names]] = {}
    for names in found:
        by_stem.setdefault(tuple(n.partition("@")[0] for n in names), []).append(names)
    for i, group in enumerate(list(by_stem.values())[:SHOWN]):
        others = ", ".join(" with ".join(names) for names in group[1:])
        same = f" (or {others})" if others else ""
        yield f"{'or ' if i else 'behaves '}like {sentence(group[0])}{same}"
    if rest := [" with ".join(stem) for stem in list(by_stem)[SHOWN:]]:
        yield f"or like {', '.join(rest)}"


def sentence(names: Names) -> str:
    """Return bugs in words: id, wrong mathematics, links, fix."""
    bugs = [BUGS[name] for name in names]
    ids = " together with ".join(f"`{bug.id}`" for bug in bugs)
    links = [link for bug in bugs for link in bug.links]
    wrong = " ".join(bug.wrong for bug in bugs)
    fix = " ".join(bug.fix for bug in bugs)
    seen = f" ({', '.join(links)})" if links else ""
    return f"{ids}: {wrong}{seen} Fix: {fix}"


@dataclass(frozen=True)
class Conclusion:
    """The bugs that explain the failures of an op, by id.

    `bugs` explain `explained` of the `failed` cases and contradict no passed one;
    `alternatives` would explain as many.
    """

    op: str
    bugs: Names
    explained: int
    failed: int
    alternatives: tuple[Names, ...] = ()

    @property
    def words(self) -> str:
        """The conclusion in one sentence."""
        if not self.bugs:
            return f"{self.op}: no known bug explains the {self.failed} failed cases"
        share = f"explains {self.explained} of {self.failed} failed cases"
        other = "".join(f"; or {', '.join(a)}" for a in self.alternatives)
        return f"{self.op}: {sentence(self.bugs)} ({share}{other})"


def diagnose_run(verdicts: Sequence[Verdict]) -> list[Conclusion]:
    """Return one conclusion per op with failed cases.

    The fewest bugs that explain most failed cases, none of which would have failed a
    case that passed.
    """
    ops = dict.fromkeys(v.case.op for v in verdicts if v.status == FAILED)
    return [_conclude(op, [v for v in verdicts if v.case.op == op]) for op in ops]


def _conclude(op: str, verdicts: Sequence[Verdict]) -> Conclusion:
    failed = [v for v in verdicts if v.status == FAILED]
    passed = [v for v in verdicts if v.status == PASSED]
    known = Counter(name for v in failed for names in v.resembles for name in names)
    possible = [name for name in known if not any(contradicts(name, v) for v in passed)]
    pairs = {names for v in failed for names in v.resembles if len(names) > 1}
    options = [(name,) for name in possible]
    options += sorted(p for p in pairs if set(p) <= set(possible))
    chosen, others = _fewest(options, failed)
    return Conclusion(op, chosen, _explained(chosen, failed), len(failed), others)


def _fewest(
    options: Sequence[Names], failed: Sequence[Verdict]
) -> tuple[Names, tuple[Names, ...]]:
    """Return few names that explain many failures, and what would do as well."""
    chosen, others = (), ()
    while options:
        gain = {names: _explained((*chosen, *names), failed) for names in options}
        best = max(gain.values())
        if best <= _explained(chosen, failed):
            break
        ties = [names for names in options if gain[names] == best]
        others = () if chosen else tuple(ties[1:])
        chosen = tuple(dict.fromkeys((*chosen, *ties[0])))
    return chosen, others


def _explained(names: Names, failed: Sequence[Verdict]) -> int:
    return sum(any(set(r) <= set(names) for r in v.resembles) for v in failed)


def contradicts(name: str, passed: Verdict) -> bool:
    """Return whether a bug would have failed a case that passed."""
    dtype = dtype_of(passed.dtype)
    try:
        arguments = passed.case.arguments(dtype)
        if too_large(arguments) or not visible(BUGS[name], arguments):
            return False
        return _behaviour((name,), passed.case, passed.dtype)[1] > LIMIT
    except Exception:  # files may hold a case that golden refuses: it says nothing
        return False
