"""Reading the records of runs; whatever is wrong with them is said in one sentence."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import environment, records
from .points import Memory, Subject, Timing, memory, timing

# What makes two machines comparable; versions and threads may differ on one machine.
_MACHINE = ("cpu", "cpus", "isa", "caches", "limits")


class SourceError(Exception):
    """There is nothing to read, or it cannot be read; the message says what."""


@dataclass
class Run:
    """All that was read. Of each point the latest record counts."""

    sources: list[str]
    environments: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    rates: dict[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)
    timings: list[Timing] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def machines(self) -> dict[str, str]:
        """The machines of the environments: what identifies each, and its name."""
        return {machine(e): named(e) for e in self.environments.values()}

    @property
    def subjects(self) -> list[Subject]:
        """Everything that has a record."""
        return [found.subject for found in (*self.timings, *self.memories)]


def machine(details: Mapping[str, Any]) -> str:
    """Return a text that two environments share if they are of one kind of machine."""
    kept = {name: details.get(name) for name in _MACHINE}
    kept["memory"] = round((details.get("memory") or 0) / 2**30)
    if gpu := gpu_name(details):
        kept["gpu"] = gpu
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    return digest.hexdigest()[:12]


def named(details: Mapping[str, Any]) -> str:
    """Return the GPU, if there is one, and the CPU beside it."""
    gpu, cpu = gpu_name(details), str(details["cpu"])
    return f"{gpu} beside {cpu}" if gpu else cpu


def gpu_name(details: Mapping[str, Any]) -> str:
    """Return the name of the GPU of an environment, or nothing."""
    return str((details.get("gpu") or {}).get("name") or "")


def latest(root: Path) -> Path:
    """Return the folder of the latest run below `root`, by day, then by change.

    Runs of this machine come before all others: records of other machines may be newer
    by their clocks.
    """
    own = root / environment.machine_slug()
    every = list(own.rglob("*.jsonl")) or root.rglob("*.jsonl")
    folders = {path.parent for path in every}
    if not folders:
        raise SourceError(f"{root} holds no records; ssmref bench writes them")
    return max(folders, key=_age)


def _age(folder: Path) -> tuple[str, int, str]:
    changed = max(path.stat().st_mtime_ns for path in folder.glob("*.jsonl"))
    return folder.name[:10], changed, folder.name


def read(paths: Iterable[Path]) -> Run:
    """Return what files and folders of records hold."""
    paths = list(paths)
    run = Run([str(path) for path in paths])
    times: dict[tuple[Any, ...], Timing] = {}
    bytes_: dict[tuple[Any, ...], Memory] = {}
    for path in dict.fromkeys(file for p in paths for file in _files(p)):
        for number, record in enumerate(_records(path, run), 1):
            try:
                _sort(record, run, times, bytes_)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise SourceError(_words(path, number, error)) from error
    run.timings = _current(times.values(), run)
    run.memories = _current(bytes_.values(), run)
    if not run.subjects:
        names = ", ".join(run.sources)
        raise SourceError(f"{names}: there is no measurement in these records")
    _check_environments(run)
    return run


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise SourceError(f"{path} does not exist")
    if path.is_file():
        return [path]
    found = sorted(path.rglob("*.jsonl"))
    if not found:
        raise SourceError(f"{path} holds no file of records (*.jsonl)")
    return found


def _records(path: Path, run: Run) -> Iterator[dict[str, Any]]:
    """Yield the records of a file; a half-written line at its end is noted."""
    try:
        if path.read_bytes()[-1:] not in (b"", b"\n"):
            run.notes.append(
                f"The last line of {path.name} was only half written when its run was "
                "stopped; it is left out."
            )
        yield from records.load(path)
    except records.RecordError as error:
        raise SourceError(str(error)) from error
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error


def _words(path: Path, number: int, error: Exception) -> str:
    missing = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
    return f"{path}, line {number} is not a record of ssmref bench: {missing}"


def _sort(
    record: dict[str, Any],
    run: Run,
    times: dict[tuple[Any, ...], Timing],
    bytes_: dict[tuple[Any, ...], Memory],
) -> None:
    """Put one record where it belongs; later ones replace earlier ones."""
    kind = record["kind"]
    if kind == "environment":
        run.environments[record["environment"]] = _details(record["details"])
    elif kind == "rates":
        run.rates[record["environment"], record["threads"]] = record
    elif kind == "measurement":
        found = timing(record)
        _replace(times, found.subject.point, found)
    elif kind == "memory":
        found = memory(record)
        _replace(bytes_, found.subject.point, found)
    else:
        raise ValueError(f"its kind is {kind!r}")


def _details(details: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("cpu", "cpus", "caches", "memory", "versions", "commit"):
        details[name]
    return details


def _replace(found: dict[tuple[Any, ...], Any], key: tuple[Any, ...], new: Any) -> None:
    """Put a record at the end: the order is the one of measuring."""
    found.pop(key, None)
    found[key] = new


def _current(found: Iterable[Any], run: Run) -> list[Any]:
    """Drop what was measured by a definition that a later record has changed."""
    found = list(found)
    newest = {f.subject.workload: f.subject.definition for f in found}
    kept = [f for f in found if f.subject.definition == newest[f.subject.workload]]
    if dropped := len(found) - len(kept):
        run.notes.append(
            f"{dropped} older records are left out: what they timed has been defined "
            "anew since."
        )
    return kept


def _check_environments(run: Run) -> None:
    lacking = {s.environment for s in run.subjects} - run.environments.keys()
    if lacking:
        names = ", ".join(run.sources)
        raise SourceError(f"{names}: the environment {min(lacking)} is not described")
