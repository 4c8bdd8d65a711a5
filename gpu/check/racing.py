"""One point of the grid: verify everybody, then time who is right."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from ssmref.bench.contender import Contender, UnavailableError
from ssmref.bench.limits import Limit
from ssmref.bench.measure import Samples
from ssmref.bench.rates import Rates
from ssmref.bench.run import (
    ABSENT,
    MEASURED,
    NOTHING,
    SKIPPED,
    WRONG,
    Measurement,
    raised,
)
from ssmref.bench.verification import (
    Check,
    Sample,
    check_sample,
    check_small,
    cut_input,
    sample,
)
from ssmref.conformance.cases.case import Case
from ssmref.conformance.precision import MULTIPLYING, dtype_of, tf32
from ssmref.conformance.truth import truth

from .._cupy import cupy
from .contenders import IN_TF32, OURS, contenders
from .device import Call, Device
from .grid import (
    FORGETFUL,
    JUDGED,
    LAST,
    LONG,
    Point,
    operations,
    special_functions,
)
from .guard import assert_alive
from .timing import Turns, race

# Of free memory so much may be taken; outputs and work space are as large as inputs.
SHARE_OF_MEMORY = 0.8
TIMES_INPUTS = 3
# Copies of the inputs fill the L2 so often, that a call does not find its own there.
TIMES_L2 = 3
MOST_COPIES = 64
EAGER = ", eager"
Begin = Callable[[str], bool]
# Calls that are shorter are replayed as graphs, so that it is not Python that is timed.
SHORT_SECONDS = 1e-3


@dataclass
class Race:
    """The contenders of one point on their way from names to times."""

    device: Device
    point: Point
    dtype: np.dtype
    rates: Rates
    out: list[Measurement] = field(default_factory=list)
    checks: dict[str, Check] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    graphs: set[str] = field(default_factory=set)
    coarse: set[str] = field(default_factory=set)
    begin: Begin = lambda _: True
    bytes: int = 0
    copies: int = 1

    def measurement(self, name: str, status: str, **more: Any) -> Measurement:
        """Return what was found of a contender."""
        check = self.checks.get(name.removesuffix(EAGER))
        note = more.pop("note", self.notes.get(name.removesuffix(EAGER), ""))
        return Measurement(
            *(self.point.workload, self.dtype.name, 1, name, status, self.limit()),
            **{"copies": self.copies, "check": check, "suite": "gpu", **more},
            note=note,
        )

    def limit(self) -> Limit:
        """Return the seconds that each resource needs, where its rate is known."""
        op, sizes = self.point.workload.op, self.point.workload.sizes
        needs = {
            "memory": (float(self.bytes), "copy"),
            "special functions": (special_functions(op, sizes), "ex2"),
            "multiply-adds": (operations(op, sizes), "fma_float32"),
        }
        return Limit(
            {
                name: amount / self.rates[rate].best
                for name, (amount, rate) in needs.items()
                if amount and rate in self.rates
            }
        )

    def attempt(self, name: str, step: Callable[[], Check]) -> bool:
        """Do a step of verification; return whether the contender stays.

        Raises LostError where the GPU does not survive it.
        """
        if not self.begin(name):
            self.out.append(self.measurement(name, ABSENT, reason="left out"))
            return False
        try:
            found = step()
        except (UnavailableError, NotImplementedError) as error:
            self.out.append(self.measurement(name, ABSENT, reason=str(error)))
            return False
        except Exception as error:  # a stranger's code may raise anything
            if _no_memory(error):
                self.out.append(self.measurement(name, SKIPPED, reason=raised(error)))
                return False
            assert_alive(self.device)
            found = Check(False, float("inf"), (), raised(error))
        self.checks[name] = self.checks.get(name, NOTHING) + found
        if not found.passed:
            self.out.append(self.measurement(name, WRONG, reason=found.problem))
        return found.passed


def _no_memory(error: Exception) -> bool:
    """CuPy raises a MemoryError, torch a RuntimeError."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()


def run_point(
    device: Device,
    point: Point,
    dtype: str,
    rates: Rates,
    begin: Begin = lambda _: True,
) -> Iterator[Measurement]:
    """Verify and time all contenders of a point in one precision.

    `begin` is told who begins with something, and says whether they may.
    """
    own = Race(device, point, dtype_of(dtype), rates, begin=begin)
    offered = contenders(point.workload.op, own.dtype)
    right = [c for c in offered if _right_at_small_sizes(own, c)]
    if right and (reason := _too_large(own)):
        for contender in right:
            own.out.append(own.measurement(contender.name, SKIPPED, reason=reason))
    elif right:
        _try_to_time(own, right)
    device.release()
    yield from own.out


def _right_at_small_sizes(own: Race, contender: Contender) -> bool:
    own.notes[contender.name] = contender.note
    return own.attempt(contender.name, partial(_checked_small, own, contender))


def _checked_small(own: Race, contender: Contender) -> Check:
    """Judge at small sizes; who is not right in float32 may be right in TF32.

    Ours are, where they say so, and nowhere else.
    """
    case, name = own.point.small_case(), contender.name
    declared = contender.note == IN_TF32
    found = check_small(contender, case, own.dtype)
    stranger = not name.startswith(OURS) and contender.op in MULTIPLYING
    if declared or (stranger and own.dtype == np.float32 and not found.passed):
        with tf32():
            coarse = check_small(contender, case, own.dtype)
        if declared or coarse.passed:
            own.coarse.add(name)
            own.notes[name] = IN_TF32
            return coarse
    return found


def _too_large(own: Race) -> str:
    """Say what is missing of memory: outputs and work space are as large as inputs."""
    needed = TIMES_INPUTS * own.point.workload.input_bytes(np.dtype(np.float32))
    free = own.device.available()
    if needed <= SHARE_OF_MEMORY * free:
        return ""
    return f"needs about {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"


def _try_to_time(own: Race, right: list[Contender]) -> None:
    """Time; where inputs themselves have no room, say so of everybody."""
    try:
        _time(own, right)
    except Exception as error:
        if not _no_memory(error):
            raise
        told = {m.implementation for m in own.out}
        own.out += [
            own.measurement(contender.name, SKIPPED, reason=raised(error))
            for contender in right
            if contender.name not in told
        ]


def _time(own: Race, right: list[Contender]) -> None:
    """Verify first results at full size, then time all that are right."""
    stretch, point = own.point.stretch(own.dtype), own.point
    rows, tokens = range(point.rows), range(point.length)
    inputs = [point.repeated(stretch, cupy(), rows, tokens)]
    own.copies = _copies(own, inputs[0])
    while len(inputs) < own.copies:
        inputs.append(point.repeated(stretch, cupy(), rows, tokens))
    samples = list(_samples(own, stretch))
    calls: dict[str, list[Call]] = {}
    for contender in right:
        made: list[Call] = []
        step = partial(_verified, own, contender, inputs, samples, made)
        if own.attempt(contender.name, step):
            calls[contender.name] = made
    failed: dict[str, Any] = {}
    turns: dict[str, Turns] = {}
    for name, made in calls.items():
        _ = own.begin(name)
        turns |= _turns(own, name, made, failed)
    for name, found in race(own.device, turns, failed).items():
        times = per_call(found, own.copies) if name in own.graphs else found
        own.out.append(own.measurement(name, MEASURED, samples=times))
    if failed:
        assert_alive(own.device)
    for name, error in failed.items():
        status = SKIPPED if _no_memory(error) else WRONG
        own.out.append(own.measurement(name, status, reason=raised(error)))


def _verified(
    own: Race,
    contender: Contender,
    inputs: list[dict[str, Any]],
    samples: list[Sample],
    made: list[Call],
) -> Check:
    """Prepare all copies, and judge what the first one returns."""
    made.extend(contender.prepare(copy) for copy in inputs)
    got = contender.outputs(made[0]())
    own.bytes = own.bytes or _nbytes(inputs[0]) + _nbytes(got)
    found = NOTHING
    with tf32() if contender.name in own.coarse else nullcontext():
        for expected in samples:
            found += check_sample(contender, expected, got)
    return found


def _turns(
    own: Race, name: str, made: list[Call], failed: dict[str, Any]
) -> dict[str, Turns]:
    """Return what is timed: calls as they are; also the replay of a graph.

    That is for steps, and for what takes as little time as a launch. A graph has all
    copies; its time is that of so many calls.
    """
    kept = [_kept(call) for call in made] if len(made) > 1 else made
    try:
        short = own.point.steps or own.device.seconds(kept[:1]) < SHORT_SECONDS
    except Exception as error:  # a stranger's code may raise anything
        assert_alive(own.device)
        failed[name] = error
        return {}
    if not short:
        return {name: Turns(kept)}
    found = {name + EAGER: Turns(kept)}
    try:
        found[name] = Turns([own.device.captured(made)])
        own.graphs.add(name)
    except Exception as error:  # a stranger's code may do what no graph can hold
        reason = f"no graph: {raised(error)}"
        own.out.append(own.measurement(name, ABSENT, reason=reason))
    return found


def _kept(call: Call) -> Call:
    """Keep the last result, so that every copy has memory of its own to write to."""
    last: list[object] = []

    def keeping() -> object:
        last[:] = [call()]
        return last[0]

    return keeping


def _copies(own: Race, inputs: Mapping[str, Any]) -> int:
    """Return how many inputs take turns, so that none is found in the L2."""
    size = max(_nbytes(inputs), 1)
    wanted = math.ceil(TIMES_L2 * own.device.l2_bytes / size)
    possible = int(own.device.available() * SHARE_OF_MEMORY / (TIMES_INPUTS * size))
    return max(min(wanted, possible, MOST_COPIES), 1)


def _nbytes(value: Any) -> int:
    """Return how much memory arrays take, in dictionaries and states as well."""
    if isinstance(value, Mapping):
        return sum(map(_nbytes, value.values()))
    if hasattr(value, "_fields"):
        return sum(map(_nbytes, value))
    return int(getattr(value, "nbytes", 0))


def _samples(own: Race, stretch: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield what the timed result is judged by; of a long one its beginning and end."""
    point, rows = own.point, range(own.point.rows - 1, own.point.rows)
    module = point.workload.op.partition(".")[0]
    if point.length < LONG or module not in FORGETFUL:
        arguments = point.repeated(stretch, np, rows, range(point.length))
        yield sample(point.workload, arguments, own.dtype)
        return
    cut = replace(point.workload, sample={**point.workload.sample, "length": LAST})
    yield sample(cut, point.repeated(stretch, np, rows, range(LAST)), own.dtype)
    tokens = range(point.length - LAST, point.length)
    yield _end(own, point.repeated(stretch, np, rows, tokens))


def _end(own: Race, arguments: dict[str, Any]) -> Sample:
    """Return a sample of the last tokens and the final state."""
    workload = own.point.workload
    cut = {
        name: cut_input(workload.op, name, value, workload.sample)
        for name, value in arguments.items()
    }
    case = Case(workload.op, "gpu", "end", "", lambda _: cut, "bench")
    # Past the cache of truths, as in `ssmref.bench.verification.sample`.
    whole = truth.__wrapped__(case, own.dtype)
    outputs, scales = (
        {name: a[:, -JUDGED:] if name == "y" else a for name, a in found.items()}
        for found in (whole.outputs, whole.scales)
    )
    expected = replace(whole, outputs=outputs, scales=scales)
    return Sample(workload, case, expected, last=JUDGED)


def per_call(found: Samples, copies: int) -> Samples:
    """Return the samples of a graph of so many calls as those of one."""
    both = (found.seconds, found.warm_up)
    return Samples(*(tuple(s / copies for s in seconds) for seconds in both))
