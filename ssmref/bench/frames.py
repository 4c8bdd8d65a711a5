"""Records as a table of pandas, one row for each time or memory that was recorded."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import records

if TYPE_CHECKING:
    import pandas

RESULTS = Path("bench_results")
_ROWS = ("measurement", "memory")
# Of the environment: what tells machines and states of the code apart.
_MACHINE = ("cpu", "cpus", "commit")


def load(*paths: Path | str) -> "pandas.DataFrame":
    """Return what files or folders of records hold, in the order of recording.

    Without paths that is the folder bench_results here. The columns are the fields of
    the records (``records.schema.json``); those of a dictionary are columns of their
    own, such as ``sizes.length``, ``verdict.ratio`` and ``model.state``. Added are
    ``median`` of the samples in seconds, and ``cpu``, ``cpus`` and ``commit`` of the
    environment. Nothing is left out: later records of a point stand below the earlier
    ones, and a row without a time or size says why in ``status`` and ``reason``.

    Raises RecordError where a file is not one of records.
    """
    import pandas

    return pandas.DataFrame(list(_rows(paths or (RESULTS,))))


def _rows(paths: tuple[Path | str, ...]) -> Iterator[dict[str, Any]]:
    found = [record for path in paths for record in records.load(path)]
    machines = {
        r["environment"]: {name: r["details"].get(name) for name in _MACHINE}
        for r in found
        if r["kind"] == "environment"
    }
    for record in found:
        if record["kind"] in _ROWS:
            yield _row(record) | machines.get(record["environment"], {})


def _row(record: dict[str, Any]) -> dict[str, Any]:
    row = {}
    for name, value in record.items():
        parts = value if isinstance(value, dict) else None
        if parts is None:
            row[name] = value
        else:
            row |= {f"{name}.{part}": inner for part, inner in parts.items()}
    if record["kind"] == "measurement":
        row["median"] = statistics.median(record["samples"] or [float("nan")])
    return row
