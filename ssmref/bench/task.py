"""What suites measure: an op at fixed sizes, or anything else of the same kind.

A task is made again in the process of each child, from its class and its fields: it is
a frozen dataclass of strings, numbers, and dictionaries and tuples of them.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from operator import add
from typing import Any, Protocol

import numpy as np

from .contender import Contender, Outputs
from .costs import Cost
from .endings import ending
from .field import Absent, resolve
from .op_bytes import op_bytes
from .verification import Check, check_core, check_sample, check_small, sample
from .workloads import Workload

# Judges what a contender returned at full size.
Judge = Callable[[Contender, Outputs], Check]


class Named(Protocol):
    """What a record says of what was measured.

    `kind` is op, block, inference, chunks, state or forms; `tokens` are computed by one
    call. A task without a `cost` has no limit.
    """

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def group(self) -> str: ...  # noqa: D102
    @property
    def note(self) -> str: ...  # noqa: D102
    @property
    def op(self) -> str: ...  # noqa: D102
    @property
    def form(self) -> str: ...  # noqa: D102
    @property
    def sizes(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def definition(self) -> str: ...  # noqa: D102
    @property
    def cost(self) -> Cost | None: ...  # noqa: D102
    @property
    def tokens(self) -> int: ...  # noqa: D102


class Task(Named, Protocol):
    """What can be verified, timed, and measured for its memory."""

    @property
    def length(self) -> int:
        """What time and memory grow with: tokens, or those in the cache."""
        ...

    @property
    def growth(self) -> float:
        """The power of length with which time grows, for predictions."""
        ...

    def contenders(
        self, names: Iterable[str], threads: int
    ) -> Iterator[Contender | Absent]:
        """Yield everybody whom the names stand for."""
        ...

    def copies(self, dtype: np.dtype, cache_bytes: int) -> int:
        """Return how many inputs take turns within a sample."""
        ...

    def arguments(self, dtype: np.dtype, copy: int = 0) -> dict[str, Any]:
        """Return the inputs, which `Contender.prepare` takes."""
        ...

    def check_small(self, contender: Contender, dtype: np.dtype) -> Check:
        """Judge a contender at small sizes."""
        ...

    def check_core(self, contender: Contender, dtype: np.dtype) -> Check | None:
        """Judge a contender on cases that are the same for all sizes, if there are."""
        ...

    def judge(self, arguments: Mapping[str, Any], dtype: np.dtype) -> Judge:
        """Return what judges the outputs for these arguments, or a sample of them."""
        ...

    def bytes(self, dtype: np.dtype, threads: int = 1) -> dict[str, int]:
        """Predict the bytes of "inputs", "outputs", "state" and "workspace".

        What a call of `ssmref.cpu` holds at its peak is all but the inputs.
        """
        ...


@dataclass(frozen=True)
class OpTask(Workload):
    """An op as a task."""

    @property
    def length(self) -> int:
        """Tokens, or those in the cache of a step."""
        return self.sizes.get("length", self.sizes.get("cached", 1))

    @property
    def growth(self) -> float:
        """Attention is quadratic in the tokens, all else linear."""
        return 2.0 if self.op == "attention.attention" else 1.0

    def contenders(
        self, names: Iterable[str], threads: int
    ) -> Iterator[Contender | Absent]:
        """Yield everybody whom the names stand for and who has this op."""
        return resolve(names, self, threads)

    def check_small(self, contender: Contender, dtype: np.dtype) -> Check:
        """Judge a contender on the small case."""
        return check_small(contender, self.small_case(), dtype)

    def check_core(self, contender: Contender, dtype: np.dtype) -> Check | None:
        """Judge a package on the core cases of the op."""
        function = contender.function
        return check_core(function, self.op, dtype) if function else None

    def judge(self, arguments: Mapping[str, Any], dtype: np.dtype) -> Judge:
        """Compute golden on samples; return what compares with them."""
        first = sample(self, arguments, dtype)
        samples = [s for s in (first, ending(self, arguments, dtype)) if s]

        def judged(contender: Contender, got: Outputs) -> Check:
            return reduce(add, (check_sample(contender, s, got) for s in samples))

        return judged

    def bytes(self, dtype: np.dtype, threads: int = 1) -> dict[str, int]:
        """Predict what a call of `ssmref.cpu` takes."""
        return op_bytes(self, dtype, threads)


def describe(task: Task) -> dict[str, Any]:
    """Return what another process makes the same task of."""
    kind = type(task)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    fields = {name: _plain(getattr(task, name)) for name in names}
    return {"class": [kind.__module__, kind.__qualname__], "fields": fields}


def restore(described: Mapping[str, Any]) -> Any:
    """Return the task that was described."""
    module, name = described["class"]
    return getattr(import_module(module), name)(**described["fields"])


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
