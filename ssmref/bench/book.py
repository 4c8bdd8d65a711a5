"""What a sweep has written: the file it goes on with, and what it need not do again."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from .budget import LEAST_CALLS, USUAL_START, Took
from .points import KINDS, TIMES, Finding, Point, Setting, series
from .records import append, load, run_folder
from .run import CRASHED, MEASURED, SKIPPED, WRONG

# What is found again by running again; anything else may have been for want of time,
# memory or a package.
FINAL = (MEASURED, WRONG, CRASHED, SKIPPED)
# Of the name of a folder, the day and a hyphen.
_DAY = len("2026-01-02-")


def choose_file(root: Path, suite: str, *, fresh: bool) -> Path:
    """Return the file of the latest sweep of this commit on this machine, or a new one.

    A fresh sweep begins a file of its own: ``scaling.jsonl``, then ``scaling-2.jsonl``.
    """
    folder = run_folder(root)
    version = folder.name[_DAY:]
    found = sorted(folder.parent.glob(f"*/{suite}*.jsonl"), key=_by_age)
    same = [p for p in found if p.parent.name[_DAY:] == version]
    same = [p for p in same if re.fullmatch(rf"{suite}(-\d+)?", p.stem)]
    if same and not fresh:
        return same[-1]
    taken = sum(p.parent == folder for p in same)
    return folder / (f"{suite}-{taken + 1}.jsonl" if taken else f"{suite}.jsonl")


def _by_age(path: Path) -> tuple[str, int]:
    """Sort by day, then by number."""
    number = re.search(r"-(\d+)$", path.stem)
    return path.parent.name, int(number[1]) if number else 1


class Book:
    """The records of a sweep, in a file or nowhere."""

    def __init__(self, path: Path | None, setting: Setting):
        """Read what is there."""
        self.path, self.setting = path, setting
        self.statuses: dict[str, str] = {}
        self.history: dict[str, dict[int, Took]] = {}
        self.starts: dict[str, float] = {}
        self.crashed: dict[str, tuple[int, str]] = {}
        self.environment_id = ""
        for record in load(path) if path is not None and path.exists() else ():
            if "key" in record:
                self._remember(record)

    def _remember(self, record: dict[str, Any]) -> None:
        self.statuses[record["key"]] = record["status"]
        same = (str(self.setting.dtype), self.setting.threads)
        if (record["dtype"], record["threads"]) != same:
            return
        what = next(w for w, kind in KINDS.items() if kind == record["kind"])
        names = ("implementation", "op", "form", "sizes")
        own = series(what, *(record[name] for name in names))
        length = record["length"]
        if record["took"]:
            took, name = Took(**record["took"]), record["implementation"]
            self.history.setdefault(own, {})[length] = took
            # The least of all: what compiles does so once.
            self.starts[name] = min(took.start, self.starts.get(name, math.inf))
        if record["status"] == CRASHED:
            self.crashed.setdefault(own, (length, record["reason"]))

    def is_done(self, point: Point) -> bool:
        """Return whether a point was found for good."""
        return self.statuses.get(self._key(point)) in FINAL

    def add(self, found: Finding) -> None:
        """Write a finding; one that says the same as the last is not repeated."""
        key = self._key(found.point)
        record = self.setting.record(found, self.environment_id)
        again = self.statuses.get(key) == found.status and found.status not in FINAL
        if not again:
            self.write(record)
        self._remember(record)

    def write(self, record: dict[str, Any]) -> None:
        """Append a record, where there is a file."""
        if self.path is not None:
            append(self.path, record)

    def predicted(self, point: Point) -> float:
        """Return the least seconds of a point, from the next shorter one.

        Calls that were timed say more than the one that memory is measured of.
        """
        length = point.task.length
        # A process that had to compile says nothing about the next one.
        start = min(self.starts.get(point.implementation, 0.0), USUAL_START)
        timed = self.history.get(replace(point, what=TIMES).series, {})
        known = {**self.history.get(point.series, {}), **timed}
        shorter = max((n for n in known if n <= length), default=None)
        if shorter is None:
            return start
        calls = LEAST_CALLS if point.what == TIMES else 1
        ratio = length / max(shorter, 1)
        return start + known[shorter].at(ratio, point.task.growth, calls)

    def crash_before(self, point: Point) -> str:
        """Return how a shorter point of the series ended, if it crashed."""
        length, reason = self.crashed.get(point.series, (math.inf, ""))
        return f"{reason}, at length {length}" if length < point.task.length else ""

    def _key(self, point: Point) -> str:
        return point.key(self.setting.suite, self.setting.dtype, self.setting.threads)
