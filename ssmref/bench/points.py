"""A point of a sweep: one task by one implementation, for its times or its memory."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np

from . import environment
from .budget import Took
from .limits import Limit, usual_limit
from .measure import Samples
from .rates import Rates
from .report import is_other
from .run import Measurement, described, record, verdict
from .task import Task
from .verification import Check

TIMES, MEMORY = "times", "memory"
KINDS = {TIMES: "measurement", MEMORY: "memory"}
# Sizes that are the length of a task.
_LENGTHS = ("length", "cached", "context")
# Beyond this the byte model and the exact count disagree.
DISAGREEMENT = 0.1


@dataclass(frozen=True)
class Point:
    """What is to be found; `workspace` is what the contender predicts, in numbers.

    `absent` says why it cannot be found here.
    """

    task: Task
    what: str
    implementation: str
    note: str = ""
    workspace: float = 0.0
    absent: str = ""

    def key(self, suite: str, dtype: np.dtype, threads: int) -> str:
        """Return a hash of all that a resumed run must not do again."""
        parts = [suite, self.what, self.task.definition, self.task.id]
        parts += [self.implementation, version(self.implementation)]
        parts += [str(dtype), threads, environment.machine_slug()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    @property
    def breadth(self) -> str:
        """The sizes that are no length."""
        return _breadth(self.task.sizes)

    @property
    def series(self) -> str:
        """What is the same for points that differ in their length alone."""
        task = self.task
        return series(self.what, self.implementation, task.op, task.form, task.sizes)


def series(
    what: str, implementation: str, op: str, form: str, sizes: Mapping[str, int]
) -> str:
    """Return the name of what a point's time is predicted from."""
    return json.dumps([what, implementation, op, form, _breadth(sizes)])


def _breadth(sizes: Mapping[str, int]) -> str:
    return json.dumps(sorted((n, s) for n, s in sizes.items() if n not in _LENGTHS))


@cache
def version(implementation: str) -> str:
    """Return the version of an implementation, and of ours also the commit."""
    kind, _, rest = implementation.partition(":")
    if kind == "peer":
        return environment.versions().get(rest.partition(":")[0], "")
    package = kind.partition(".")[0]
    if package in ("ssmref", "yardstick"):
        return f"{environment.versions().get('ssmref', '')} {environment.commit()}"
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


@dataclass(frozen=True)
class Finding:
    """What was found at a point: figures, or why there are none.

    `peaks` are bytes: traced, resident, gpu_pool. `rates` are those of the same rounds.
    """

    point: Point
    status: str
    reason: str = ""
    note: str = ""
    check: Check | None = None
    copies: int = 1
    samples: Samples | None = None
    peaks: Mapping[str, int | None] | None = None
    took: Took | None = None
    pinned: Mapping[str, Any] | None = None
    rates: Rates = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What is the same for all points of a sweep."""

    suite: str
    dtype: np.dtype
    threads: int
    rates: Rates

    def measurement(self, found: Finding) -> Measurement:
        """Return what tables show of a finding of times."""
        task = found.point.task
        best = Limit({})
        if task.cost:
            best = usual_limit(task.cost, self.rates, found.rates, self.dtype)
        return Measurement(
            *(task, str(self.dtype), self.threads, found.point.implementation),
            *(found.status, best, found.reason, found.note or found.point.note),
            *(found.copies, found.check, found.samples, self.suite, found.rates),
        )

    def record(self, found: Finding, environment_id: str) -> dict[str, Any]:
        """Return a finding as a record."""
        if found.point.what == TIMES:
            made = record(self.measurement(found), environment_id)
        else:
            made = self._memory(found, environment_id)
        made["key"] = found.point.key(self.suite, self.dtype, self.threads)
        made["length"] = found.point.task.length
        made["took"] = found.took and asdict(found.took)
        made["pinned"] = dict(found.pinned or {})
        return made

    def _memory(self, found: Finding, environment_id: str) -> dict[str, Any]:
        task, peaks = found.point.task, found.peaks or {}
        model = task.bytes(self.dtype, self.threads)
        agreement, words = compared(found, model)
        notes = (found.note or found.point.note, words)
        return {
            "kind": "memory",
            "time": environment.now(),
            "environment": environment_id,
            "suite": self.suite,
            **described(task),
            "dtype": str(self.dtype),
            "threads": self.threads,
            "implementation": found.point.implementation,
            "note": "; ".join(note for note in notes if note),
            "status": found.status,
            "reason": found.reason,
            "verdict": verdict(found.check),
            "model": model,
            "tracemalloc_peak": peaks.get("traced"),
            "resident_peak": peaks.get("resident"),
            "gpu_pool_peak": peaks.get("gpu_pool"),
            "agreement": agreement,
        }


def compared(found: Finding, model: Mapping[str, int]) -> tuple[float | None, str]:
    """Return the exact count by the model's, and a note where they disagree."""
    traced = (found.peaks or {}).get("traced")
    if traced is None:
        return None, UNTRACED if found.peaks else ""
    expected = sum(model[name] for name in ("outputs", "state", "workspace"))
    if not expected:
        return None, ""
    ratio = traced / expected
    if abs(ratio - 1) <= DISAGREEMENT:
        return ratio, ""
    return ratio, f"{100 * (ratio - 1):+.0f} % from the byte model, of ssmref.cpu"


UNTRACED = "allocates past tracemalloc: its memory is the resident peak"


def is_traced(implementation: str) -> bool:
    """Return whether tracemalloc sees all that an implementation allocates."""
    return not is_other(implementation)
