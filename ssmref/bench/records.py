"""Records: one JSON object per line, appended as soon as it is known, never edited.

A file is ``<folder>/<machine>/<date>-<commit>/<suite>.jsonl``; where the package is
installed without git its version stands for the commit. The lines are of three
kinds (``records.schema.json``): the environment, the rates of the machine, and
measurements, which name their environment. A line counts from its line feed on: what a
killed run left half-written is dropped when the file is read, and when a later run
appends to it.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from . import environment

FORMAT = 1


class RecordError(Exception):
    """A file is not one of records; the message says where and why."""


def run_folder(root: Path) -> Path:
    """Return where a run that starts today on this machine puts its records."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    return root / environment.machine_slug() / f"{day}-{environment.version()}"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a line."""
    text = (
        files(__name__.rpartition(".")[0]).joinpath("records.schema.json").read_text()
    )
    return json.loads(text)


def append(path: Path, record: dict[str, Any]) -> None:
    """Write one line and wait until the disk has it."""
    line = json.dumps({"format": FORMAT, **record}, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        _drop_half_line(file)
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def _drop_half_line(file: Any) -> None:
    """Cut off what follows the last line feed."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)


def load(path: Path | str) -> Iterator[dict[str, Any]]:
    """Yield the records of a file, or of all files below a folder, as dictionaries.

    Raises RecordError where a whole line is no record of this format.
    """
    path = Path(path)
    if not path.exists():
        raise RecordError(f"{path} does not exist")
    for file in sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]:
        yield from _load(file)


def _load(path: Path) -> Iterator[dict[str, Any]]:
    *whole, _half = path.read_bytes().split(b"\n")
    for number, line in enumerate(whole, 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise RecordError(f"{path}, line {number}: {error}") from error
        found = record.get("format") if isinstance(record, dict) else None
        if found != FORMAT:
            raise RecordError(
                f"{path}, line {number}: format is {found!r}, needed is {FORMAT}"
            )
        yield record
