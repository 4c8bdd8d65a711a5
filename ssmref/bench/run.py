"""Verify, then time: everybody who offers a workload, side by side."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..conformance.verdict import LIMIT
from . import environment
from .contender import Contender, UnavailableError
from .field import Absent, resolve
from .limits import Limit, limit
from .measure import Samples, interleaved, warm_up
from .rates import Rates
from .task import Named
from .verification import Check, Sample, check_core, check_sample, check_small, sample
from .workloads import Workload

MEASURED, WRONG, ABSENT, SKIPPED = "measured", "wrong", "not available", "skipped"
# What only sweeps find: memory or time would not have sufficed, the child has died.
OOM, TIMED_OUT, CRASHED = "oom_predicted", "timed_out", "crashed"
# Before anything was judged.
NOTHING = Check(True, 0.0, ())
# Of the memory that is there, so much may be taken.
_SHARE_OF_MEMORY = 0.8


@dataclass(frozen=True)
class Measurement:
    """What was found of one contender at one workload: times, or why there are none."""

    workload: Named
    dtype: str
    threads: int
    implementation: str
    status: str
    limit: Limit
    reason: str = ""
    note: str = ""
    copies: int = 1
    check: Check | None = None
    samples: Samples | None = None
    suite: str = "ops"


@dataclass(frozen=True)
class Settings:
    """How a run measures."""

    dtype: np.dtype
    threads: int
    rounds: int
    rates: Rates
    cache_bytes: int
    available_bytes: int | None = None
    on_step: Callable[[str], object] = lambda _: None


class Race:
    """The contenders of one workload on their way from names to calls.

    Who drops out leaves a measurement without times.
    """

    def __init__(self, workload: Workload, settings: Settings):
        """Start with nobody."""
        self.workload, self.settings = workload, settings
        self.small = workload.small_case()
        self.copies = workload.copies(settings.dtype, settings.cache_bytes)
        self.checks: dict[str, Check] = {}
        self.calls: dict[str, Callable[[], object]] = {}
        self.warm: dict[str, tuple[float, ...]] = {}
        self.failed: dict[str, str] = {}
        self.out: list[Measurement] = []

    def measurement(self, name: str, status: str, **more: Any) -> Measurement:
        """Return a measurement of this workload."""
        s = self.settings
        best = limit(self.workload.cost, s.rates, s.dtype)
        return Measurement(
            *(self.workload, str(s.dtype), s.threads, name, status, best),
            **{"copies": self.copies, "check": self.checks.get(name), **more},
        )

    def drop(self, name: str, status: str, reason: str, note: str = "") -> None:
        """Let a contender go, with the reason."""
        found = self.measurement(name, status, reason=reason, note=note)
        self.out.append(found)

    def attempt(self, contender: Contender, step: Callable[[], Check]) -> bool:
        """Do a step of verification; return whether the contender stays."""
        name = contender.name
        try:
            found = step()
        except (UnavailableError, NotImplementedError) as error:
            self.drop(name, ABSENT, str(error), contender.note)
            return False
        except Exception as error:  # a stranger's code may raise anything
            found = Check(False, float("inf"), (), raised(error))
        self.checks[name] = self.checks.get(name, NOTHING) + found
        if not found.passed:
            self.drop(name, WRONG, found.problem, contender.note)
        return found.passed


def raised(error: Exception) -> str:
    """Say what was raised."""
    return f"raised {type(error).__name__}: {error}"


def run(
    workload: Workload, names: Iterable[str], settings: Settings
) -> Iterator[Measurement]:
    """Verify and time everybody that the names stand for; yield each when it is done.

    Those who drop out come first, then those who were timed, in the order of names.
    """
    race = Race(workload, settings)
    contenders = _verified(race, names)
    contenders = [c for c in contenders if _fits(race, c)]
    if contenders:
        arguments = [
            workload.arguments(settings.dtype, copy) for copy in range(race.copies)
        ]
        settings.on_step("computing golden on a sample")
        expected = sample(workload, arguments[0], settings.dtype)
        contenders = [c for c in contenders if _ready(race, c, arguments, expected)]
    yield from race.out
    samples = _times(race)
    for contender in contenders:
        name, note = contender.name, contender.note
        if name in race.failed:
            yield race.measurement(name, WRONG, reason=race.failed[name], note=note)
            continue
        found = Samples(tuple(samples[name]), race.warm[name])
        yield race.measurement(name, MEASURED, samples=found, note=note)


def _verified(race: Race, names: Iterable[str]) -> list[Contender]:
    """Return who is right at small sizes."""
    settings, workload = race.settings, race.workload
    right = []
    for found in resolve(names, workload, settings.threads):
        if isinstance(found, Absent):
            race.drop(found.name, ABSENT, found.reason)
            continue
        settings.on_step(f"verifying {found.name}")
        if _is_right(race, found):
            right.append(found)
    return right


def _is_right(race: Race, contender: Contender) -> bool:
    op, dtype = race.workload.op, race.settings.dtype
    small = race.attempt(contender, lambda: check_small(contender, race.small, dtype))
    function = contender.function
    if not small or function is None:
        return small
    return race.attempt(contender, lambda: check_core(function, op, dtype))


def _fits(race: Race, contender: Contender) -> bool:
    """Predict the memory that all copies take; drop who needs more than there is."""
    available = race.settings.available_bytes
    needed = predicted_bytes(contender, race.workload, race.settings.dtype)
    needed += race.copies * race.workload.input_bytes(race.settings.dtype)
    if available is None or needed <= _SHARE_OF_MEMORY * available:
        return True
    reason = (
        f"needs about {needed / 1e9:.1f} GB of memory, "
        f"{available / 1e9:.1f} GB are available"
    )
    race.drop(contender.name, SKIPPED, reason, contender.note)
    return False


def predicted_bytes(contender: Contender, workload: Workload, dtype: np.dtype) -> float:
    """Return what a call takes besides its inputs: outputs, a copy, its workspace."""
    outputs = workload.cost.elements * dtype.itemsize
    workspace = contender.workspace(**workload.sizes) * dtype.itemsize
    return outputs + workspace


def _ready(
    race: Race,
    contender: Contender,
    arguments: list[dict[str, Any]],
    expected: Sample,
) -> bool:
    """Prepare all copies, verify what the first returns, and warm up."""
    name = contender.name
    race.settings.on_step(f"warming up {name}")
    calls: list[Callable[[], Any]] = []

    def first_result() -> Check:
        calls.extend(contender.prepare(copy) for copy in arguments)
        return check_sample(contender, expected, contender.outputs(calls[0]()))

    def warm() -> Check:
        times = warm_up(in_turn(calls))
        race.warm[name] = tuple(seconds / len(calls) for seconds in times)
        return NOTHING

    right = race.attempt(contender, first_result) and race.attempt(contender, warm)
    if right:
        race.calls[name] = in_turn(calls)
    return right


def in_turn(calls: list[Callable[[], Any]]) -> Callable[[], object]:
    """Return one call that makes all of them, so that each finds cold inputs."""
    if len(calls) == 1:
        return calls[0]

    def every() -> None:
        for call in calls:
            call()

    return every


def _guarded(race: Race, name: str, call: Callable[[], object]) -> Callable[[], object]:
    """Return a call that notes a failure, so that the others are still timed."""

    def guarded() -> object:
        try:
            return call()
        except Exception as error:  # a stranger's code may raise anything
            race.failed[name] = raised(error)
            return None

    return guarded


def _times(race: Race) -> Mapping[str, list[float]]:
    settings = race.settings
    samples: dict[str, list[float]] = {name: [] for name in race.calls}
    calls = {name: _guarded(race, name, call) for name, call in race.calls.items()}
    rounds = interleaved(calls, settings.rounds, warm=race.warm)
    for name, seconds in rounds:
        samples[name].append(seconds / race.copies)
        settings.on_step(f"round {len(samples[name])} of {settings.rounds}")
    return samples


def record(found: Measurement, environment_id: str) -> dict[str, Any]:
    """Return a measurement as a record."""
    workload = found.workload
    return {
        "kind": "measurement",
        "time": environment.now(),
        "environment": environment_id,
        "suite": found.suite,
        **described(workload),
        "dtype": found.dtype,
        "threads": found.threads,
        "implementation": found.implementation,
        "note": found.note,
        "status": found.status,
        "reason": found.reason,
        "copies": found.copies,
        "samples": list(found.samples.seconds) if found.samples else [],
        "warm_up": list(found.samples.warm_up) if found.samples else [],
        "verdict": verdict(found.check),
        "cost": workload.cost and asdict(workload.cost),
        "limit": found.limit.parts,
    }


def described(workload: Named) -> dict[str, Any]:
    """Return what records say of what was measured."""
    return {
        "workload": workload.id,
        "kind_of_workload": workload.kind,
        "definition": workload.definition,
        "op": workload.op,
        "form": workload.form,
        "sizes": dict(workload.sizes),
        "tokens": workload.tokens,
    }


def verdict(check: Check | None) -> dict[str, Any] | None:
    """Return what was judged, for a record."""
    return check and {
        "passed": check.passed,
        "ratio": check.ratio if np.isfinite(check.ratio) else None,
        "limit": LIMIT,
        "places": list(check.places),
    }
