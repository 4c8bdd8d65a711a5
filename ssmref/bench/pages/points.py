"""What records say of each point: times or memory, and how they came about."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..costs import Cost
from ..limits import share, share_of_triad
from ..measure import Samples
from ..rates import Rate, Rates
from .fits import Spread, spread

MEASURED, WRONG = "measured", "wrong"
OOM, TIMED_OUT = "oom_predicted", "timed_out"
# In words, for people.
STATUSES = {
    MEASURED: "measured",
    WRONG: "wrong",
    OOM: "OOM (predicted)",
    TIMED_OUT: "timed out",
    "crashed": "crashed",
    "skipped": "skipped",
    "not available": "not available",
}
KINDS = ("op", "block", "inference", "chunks", "state", "forms")
# Sizes that are a length.
LENGTHS = ("length", "cached", "context")
_PARTS = ("inputs", "outputs", "state", "workspace")


@dataclass(frozen=True)
class Subject:
    """What was measured, by whom and how it ended."""

    suite: str
    workload: str
    definition: str
    kind: str
    op: str
    form: str
    sizes: Mapping[str, int]
    dtype: str
    threads: int
    implementation: str
    status: str
    reason: str
    note: str
    environment: str

    @property
    def name(self) -> str:
        """The op with its form."""
        return f"{self.op}_{self.form}" if self.form else self.op

    @property
    def model(self) -> str:
        """The published model that a block is of, behind a colon; else nothing."""
        return self.workload.partition("/")[2].partition(":")[2]

    @property
    def length(self) -> int | None:
        """The number of tokens of a sequence, or in the cache; None for a step."""
        return next((self.sizes[name] for name in LENGTHS if name in self.sizes), None)

    @property
    def batch(self) -> int:
        """How many sequences there are."""
        return self.sizes.get("batch", 1)

    @property
    def point(self) -> tuple[Any, ...]:
        """What two records of the same point agree in."""
        return (
            *(self.suite, self.workload, self.implementation),
            *(self.dtype, self.threads),
        )


@dataclass(frozen=True)
class Timing:
    """Times of one point, or the reason why there are none.

    `rates` are those of the same rounds; older records have none.
    """

    subject: Subject
    samples: tuple[float, ...]
    tokens: int
    limit: Mapping[str, float]
    verdict: Mapping[str, Any] | None
    cost: Mapping[str, float]
    rates: Rates = field(default_factory=dict)

    @property
    def seconds(self) -> Spread | None:
        """Median and quartiles of the time of one call."""
        return spread(self.samples) if self.samples else None

    @property
    def rate(self) -> Spread | None:
        """Tokens per second; the quartiles change places."""
        s = self.seconds
        if s is None or not self.tokens:
            return None
        return Spread(*(self.tokens / x for x in (s.middle, s.high, s.low)))

    @property
    def least(self) -> float | None:
        """The time below which no call can be, by the rates of the machine."""
        return max(self.limit.values(), default=None)

    @property
    def share(self) -> float | None:
        """Which part of the limit is reached, round by round where that is known."""
        if not self.samples or not self.least:
            return None
        return self._in_rounds(share) or self.least / Samples(self.samples).median

    @property
    def share_of_triad(self) -> float | None:
        """The time of a triad of as many bytes, by that of a call.

        None where memory is not what sets the limit.
        """
        binds = self.limit and max(self.limit, key=lambda n: self.limit[n]) == "memory"
        return self._in_rounds(share_of_triad) if binds else None

    def _in_rounds(self, part: Callable[..., float | None]) -> float | None:
        if not self.rates or not self.cost:
            return None
        dtype = np.dtype(self.subject.dtype)
        return part(Cost(**self.cost), self.samples, self.rates, dtype)

    @property
    def unstable(self) -> str:
        """Why the times are to be read with care, or nothing."""
        return Samples(self.samples).note if self.samples else ""


@dataclass(frozen=True)
class Memory:
    """Bytes of one point: by the model, and as they were measured."""

    subject: Subject
    model: Mapping[str, int]
    peak: int | None
    resident: int | None
    gpu: int | None
    agreement: float | None

    @property
    def measured(self) -> int | None:
        """The bytes that were measured: exact, or else those of the process or GPU.

        What allocates past tracemalloc is known by the other two only.
        """
        given = (self.peak, self.gpu, self.resident)
        return next((size for size in given if size), None)

    @property
    def predicted(self) -> int:
        """The bytes that a call takes besides its inputs, by the model."""
        return sum(self.model.get(part, 0) for part in _PARTS[1:])

    @property
    def whole(self) -> int:
        """The bytes of the model with the inputs."""
        return sum(self.model.get(part, 0) for part in _PARTS)


def subject(record: Mapping[str, Any]) -> Subject:
    """Return what a record of a measurement or of memory is about."""
    return Subject(
        suite=record["suite"],
        workload=record["workload"],
        definition=record["definition"],
        kind=record.get("kind_of_workload", "op"),
        op=record["op"],
        form=record["form"],
        sizes={str(name): int(size) for name, size in record["sizes"].items()},
        dtype=record["dtype"],
        threads=int(record["threads"]),
        implementation=record["implementation"],
        status=record["status"],
        reason=record.get("reason", ""),
        note=record.get("note", ""),
        environment=record["environment"],
    )


def timing(record: Mapping[str, Any]) -> Timing:
    """Return the times of a record of the kind "measurement"."""
    own = subject(record)
    samples = tuple(float(s) for s in record["samples"])
    if (own.status == MEASURED) != bool(samples):
        raise ValueError(f"status {own.status!r} with {len(samples)} samples")
    if any(s <= 0 for s in samples):
        raise ValueError("a time is not above zero")
    verdict = record.get("verdict")
    if own.status == MEASURED and not (verdict and verdict["passed"]):
        raise ValueError("a time without a verdict that passed")
    return Timing(
        own,
        samples,
        int(record.get("tokens") or own.batch * own.sizes.get("length", 1)),
        record.get("limit") or {},
        verdict,
        record.get("cost") or {},
        {
            r["name"]: Rate(**r | {"samples": tuple(r["samples"])})
            for r in record.get("rates") or ()
        },
    )


def memory(record: Mapping[str, Any]) -> Memory:
    """Return the bytes of a record of the kind "memory"."""
    own = subject(record)
    model = {part: int(size) for part, size in (record.get("model") or {}).items()}
    return Memory(
        own,
        model,
        record.get("tracemalloc_peak"),
        record.get("resident_peak"),
        record.get("gpu_pool_peak"),
        record.get("agreement"),
    )
