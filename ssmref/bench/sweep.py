"""A suite from its tasks to its records: children are raced, killed, and survived."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from .book import Book
from .budget import Budget, Took
from .child import decoded
from .measure import WARM_UP_SECONDS
from .points import MEMORY, TIMES, Finding, Point, Setting, is_traced
from .probes import Gauge
from .process import Child, ChildError
from .rounds import Racer, ended, take_turns
from .run import ABSENT, MEASURED, OOM, SKIPPED, TIMED_OUT
from .task import Task, describe

# Of the memory that is there, so much may be taken.
_SHARE_OF_MEMORY = 0.8
# What a process holds before it has inputs: Python, NumPy and what it compiles with.
PROCESS_BYTES = 300_000_000
JUDGED_ONCE = ("small", "core")
_DIED = "its process ended while it was looked for"


@dataclass(frozen=True)
class Progress:
    """Where a sweep is: words on what it does, points done, of so many, time left."""

    words: str
    done: int
    total: int
    left: float | None


@dataclass(frozen=True)
class Limits:
    """What a sweep may take."""

    budget: Budget
    rounds: int
    cache_bytes: int
    available_bytes: Callable[[], int | None]
    warm_up: float = WARM_UP_SECONDS


class Sweep:
    """All points of a suite: found once each, short ones first."""

    def __init__(
        self,
        setting: Setting,
        limits: Limits,
        book: Book,
        on_progress: Callable[[Progress], object] = lambda _: None,
    ):
        """Begin with nothing."""
        self.setting, self.limits, self.book = setting, limits, book
        self.on_progress = on_progress
        self.total = self.done = 0
        self.current = ""
        # Libraries that a name like "peer" stands for and that are not installed.
        self.missing: list[str] = []
        # What no process has to judge again, by `_judged`.
        self.known: dict[tuple[str, ...], dict[str, Any]] = {}
        self.gauge = Gauge(setting.threads, setting.dtype, limits.cache_bytes)

    def run(
        self, wanted: Iterable[tuple[Task, str]], names: Iterable[str]
    ) -> Iterator[list[Finding]]:
        """Yield what was found at the points of each task that were not done before."""
        entries = list(wanted)
        tasks = {task.id: task for task, _ in entries}
        resolved = self._resolved(list(tasks.values()), tuple(names))
        points = dict(zip(tasks, resolved, strict=True))
        groups = [
            [replace(point, what=what) for point in points[task.id]]
            # Sorting keeps the order of those that are equally long.
            for task, what in sorted(entries, key=lambda e: e[0].length)
        ]
        self.total = sum(map(len, groups))
        with self.gauge:
            for own in groups:
                todo = [point for point in own if not self.book.is_done(point)]
                self.done += len(own) - len(todo)
                if todo:
                    yield list(self._group(todo))

    def _resolved(
        self, tasks: Sequence[Task], names: Sequence[str]
    ) -> list[list[Point]]:
        """Return the points of each task, in the order of the names."""
        self._step(f"looking for {', '.join(names)}")
        found = self._resolve(tasks, names)
        if found is None:  # one of them has ended the process: who?
            alone = [self._resolve(tasks, [name]) for name in names]
            parts = [
                own or [[{"name": name, "absent": _DIED}]] * len(tasks)
                for name, own in zip(names, alone, strict=True)
            ]
            found = [list(chain(*own)) for own in zip(*parts, strict=True)]
        every = [{entry["name"]: entry for entry in own} for own in found]
        implied = {
            name
            for own in every
            for name, entry in own.items()
            if "absent" in entry and name.startswith("peer:") and name not in names
        }
        self.missing = sorted(implied)
        return [
            [_point(task, e) for name, e in own.items() if name not in implied]
            for task, own in zip(tasks, every, strict=True)
        ]

    def _resolve(
        self, tasks: Sequence[Task], names: Sequence[str]
    ) -> list[list[dict[str, Any]]] | None:
        """Ask a child who takes part in each task; None where it ends instead."""
        threads, every = self.setting.threads, [describe(task) for task in tasks]
        more = {"names": list(names), "tasks": every, "threads": threads}
        with Child(threads) as child:
            try:
                return child.ask({"do": "resolve", **more})["resolved"]
            except ChildError:
                return None

    def _group(self, points: list[Point]) -> Iterator[Finding]:
        """Yield what is found at these points, each written before."""
        started = [point for point in points if not point.absent]
        for point in points:
            if point.absent:
                yield self._found(Finding(point, ABSENT, point.absent))
        find = self._times if points[0].what == TIMES else self._memory
        for batch in self._batches(started):
            for found in find(batch):
                yield self._found(found)

    def _found(self, found: Finding) -> Finding:
        self.book.add(found)
        self.done += 1
        return found

    def _batches(self, points: list[Point]) -> Iterator[list[Point]]:
        """Yield those who run side by side: as many as fit into memory, in order."""
        batch: list[Point] = []
        held = 0.0
        for point in points:
            needed = self._needed(point)
            if batch and (point.what == MEMORY or held + needed > self._may_take()):
                yield batch
                batch, held = [], 0.0
            batch, held = [*batch, point], held + needed
        if batch:
            yield batch

    def _may_take(self) -> float:
        available = self.limits.available_bytes()
        return float("inf") if available is None else _SHARE_OF_MEMORY * available

    def _needed(self, point: Point) -> float:
        """Predict what the child of a point holds at its peak."""
        task, dtype = point.task, self.setting.dtype
        parts = task.bytes(dtype, self.setting.threads)
        copies = 1
        if point.what == TIMES:
            copies = task.copies(dtype, self.limits.cache_bytes)
        if not is_traced(point.implementation):
            copies += 1  # in the layout that the library wants
        own = max(parts["workspace"], point.workspace * dtype.itemsize)
        results = parts["outputs"] + parts["state"]
        return PROCESS_BYTES + copies * parts["inputs"] + results + own

    def _limit(self, point: Point, before: int = 0) -> float:
        """Return the seconds that a point may take; so many others are under way."""
        first = _judged(point, "core") not in self.known
        left = self.total - self.done - before
        return self.limits.budget.limit(left, first=first)

    def _refused(self, point: Point, limit: float) -> Finding | None:
        """Return why a point is not tried, if it is not."""
        needed, most = self._needed(point), self._may_take()
        if needed > most:
            words = f"needs about {needed / 1e9:.2f} GB of memory, {most / 1e9:.2f} GB"
            return Finding(point, OOM, f"{words} may be taken")
        if crash := self.book.crash_before(point):
            return Finding(point, SKIPPED, f"not tried: it {crash}")
        predicted = self.book.predicted(point)
        if limit <= 0:
            return Finding(point, TIMED_OUT, "not tried: the time was used up before")
        if predicted >= limit:
            words = f"at least {predicted:.2g} s, {limit:.2g} s are left for this point"
            return Finding(point, TIMED_OUT, f"predicted: {words}")
        return None

    def _ask(
        self, child: Child, point: Point, do: str, limit: float, **more: Any
    ) -> tuple[dict[str, Any], Finding | None]:
        """Give the first order of a point; return the answer, or why there is none."""
        order = {
            "do": do,
            "task": describe(point.task),
            "implementation": point.implementation,
            "dtype": str(self.setting.dtype),
            "threads": self.setting.threads,
            **self._known(point),
            **more,
        }
        first = order["core"] is None
        try:
            answer = child.ask(order, limit)
        except ChildError as error:
            return {}, ended(point, error, child)
        if first:
            self.limits.budget.compiled(child.started or 0.0)
        own = {_judged(point, name): answer.get(name) for name in JUDGED_ONCE}
        self.known |= {judged: found for judged, found in own.items() if found}
        if "dropped" in answer:
            check = decoded(answer["check"])
            words = answer["reason"], answer["note"]
            return answer, Finding(point, answer["dropped"], *words, check)
        return answer, None

    def _known(self, point: Point) -> dict[str, Any]:
        """Return what a child need not judge again.

        Small sizes also warm up: the one call that memory is measured of must not be
        the first of its process.
        """
        names = JUDGED_ONCE if point.what == TIMES else ("core",)
        return {name: self.known.get(_judged(point, name)) for name in names}

    def _times(self, points: list[Point]) -> Iterator[Finding]:
        """Yield who drops out at once, then those who were timed side by side."""
        with ExitStack() as stack:
            racers = []
            for number, point in enumerate(points):
                started = self._start(point, stack, number)
                if isinstance(started, Racer):
                    racers.append(started)
                else:
                    yield started
            self._prepare_gauge(racers)
            yield from take_turns(racers, self.gauge, self.limits.rounds, self._turn)
            for racer in racers:
                if not racer.left:
                    yield racer.finding(self.gauge.rates())

    def _prepare_gauge(self, racers: list[Racer]) -> None:
        """Measure rates in the rounds too, unless memory is needed for the ops."""
        points = [racer.point for racer in racers]
        held = sum(map(self._needed, points))
        if points and held + self.gauge.needed(points[0].task) <= self._may_take():
            self.gauge.prepare(points[0].task)
        else:
            self.gauge.rest()

    def _turn(self, racer: Racer, words: str) -> None:
        self._at(racer.point)
        self._step(words)

    def _start(self, point: Point, stack: ExitStack, before: int) -> Racer | Finding:
        limit = self._limit(point, before)
        if refused := self._refused(point, limit):
            return refused
        self._at(point)
        child = stack.enter_context(Child(self.setting.threads, self._step))
        own = {
            "cache_bytes": self.limits.cache_bytes,
            "warm_up": self.limits.warm_up,
        }
        answer, dropped = self._ask(child, point, "prepare", limit, **own)
        if dropped:
            child.close()
            return dropped
        return Racer(point, child, limit, answer, _took(child, answer))

    def _memory(self, points: list[Point]) -> Iterator[Finding]:
        """Yield the peaks of one contender."""
        for point in points:
            limit = self._limit(point)
            refused = self._refused(point, limit)
            if refused:
                yield refused
                continue
            self._at(point)
            with Child(self.setting.threads, self._step) as child:
                answer, dropped = self._ask(child, point, "memory", limit, call=True)
                yield dropped or self._peaks(child, point, answer, limit)

    def _peaks(
        self, child: Child, point: Point, answer: dict[str, Any], limit: float
    ) -> Finding:
        before = answer["before"]
        if before is None:
            with Child(self.setting.threads, self._step) as baseline:
                asked = self._ask(baseline, point, "memory", limit, call=False)
                before = asked[0].get("peak")
        known = None not in (answer["peak"], before)
        peaks = {
            "traced": answer["traced"] if is_traced(point.implementation) else None,
            "resident": max(answer["peak"] - before, 0) if known else None,
            "gpu_pool": answer["gpu_pool"],
        }
        return Finding(
            *(point, MEASURED, "", answer["note"], decoded(answer["check"])),
            peaks=peaks,
            took=_took(child, answer),
            pinned=answer["pinned"],
        )

    def _at(self, point: Point) -> None:
        self.current = f"{point.task.id}, {point.implementation}"
        self.current += ", memory" if point.what == MEMORY else ""

    def _step(self, words: str) -> None:
        text = f"{self.current}: {words}" if self.current else words
        left = self.limits.budget.left
        self.on_progress(Progress(text, self.done, self.total, left))


def _judged(point: Point, name: str) -> tuple[str, ...]:
    """Return what is judged once: core cases for an op, small sizes for a series."""
    task = point.task
    rest = point.breadth if name == "small" else ""
    return name, point.implementation, task.kind, task.op, task.form, rest


def _point(task: Task, entry: dict[str, Any]) -> Point:
    more = {name: value for name, value in entry.items() if name != "name"}
    return Point(task, TIMES, entry["name"], **more)


def _took(child: Child, answer: dict[str, Any]) -> Took:
    """Return what a point took so far."""
    return Took(child.started or 0.0, answer["setup"], answer["calls"][-1])
