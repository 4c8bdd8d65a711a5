"""What is found of a contender at a workload, and how it is recorded."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..conformance.verdict import LIMIT
from . import environment
from .limits import Limit, share, share_of_triad
from .measure import Samples
from .rates import Rates
from .task import Named
from .verification import Check

MEASURED, WRONG, ABSENT, SKIPPED = "measured", "wrong", "not available", "skipped"
# What only sweeps find: memory or time would not have sufficed, the child has died.
OOM, TIMED_OUT, CRASHED = "oom_predicted", "timed_out", "crashed"
# Before anything was judged.
NOTHING = Check(True, 0.0, ())


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
    rates: Rates = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """Which part of the limit is reached; in the same rounds, if those have rates.

        None without a time or a limit.
        """
        if not self.samples or not self.limit.parts:
            return None
        return self._in_rounds(share) or self.limit.seconds / self.samples.median

    @property
    def share_of_triad(self) -> float | None:
        """The time of a triad of as many bytes, in the same rounds, by that of a call.

        None where memory is not what sets the limit.
        """
        known = self.samples and self.limit.binding == "memory"
        return self._in_rounds(share_of_triad) if known else None

    def _in_rounds(self, part: Callable[..., float | None]) -> float | None:
        cost, samples = self.workload.cost, self.samples
        if cost is None or samples is None:
            return None
        return part(cost, samples.seconds, self.rates, np.dtype(self.dtype))


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


def raised(error: Exception) -> str:
    """Say what was raised."""
    return f"raised {type(error).__name__}: {error}"


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
        "rates": [
            asdict(rate) | {"samples": list(rate.samples)}
            for rate in found.rates.values()
        ],
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
