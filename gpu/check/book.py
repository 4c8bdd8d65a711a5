"""What a check has found so far: records, and which parts are done."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ssmref.bench import environment, records
from ssmref.bench.rates import Rate, Rates

from .device import Device

HERE = Path(__file__).parents[1]
SUITE = "gpu"


class Book:
    """A folder of one device, day and commit; parts that are done are not done again.

    ``gpu.jsonl`` has the records, ``gpu-parts.json`` what became of each part. A part
    counts as long as no file of `ssmref.gpu` changes.
    """

    def __init__(self, root: Path, device: Device) -> None:
        """Open, or begin, the book of today."""
        self.folder, self.sources = _folder(root, device), sources()
        self.path = self.folder / f"{SUITE}.jsonl"
        self._parts = self.folder / f"{SUITE}-parts.json"
        details = environment.environment({}) | {"compiler": "NVRTC"}
        details["gpu"] = device.details()
        self.environment = environment.identity(details)
        # Not part of the identity: a run that goes on later finds its rates.
        now = {f"{name} at first": value for name, value in device.moment().items()}
        self._details = details | {"gpu": details["gpu"] | now}

    def finished(self, part: str) -> dict[str, Any] | None:
        """Return what became of a part, None where it has to be done (again)."""
        found = self._read().get(part, {})
        done = found.get("passed") and found["sources"] == self.sources
        return found if done else None

    def forget(self, parts: Iterable[str]) -> None:
        """Let parts be done again."""
        kept = {part: e for part, e in self._read().items() if part not in {*parts}}
        self._write(kept)

    def finish(self, part: str, *, passed: bool, summary: str, seconds: float) -> None:
        """Note what became of a part."""
        entry = {
            "passed": passed,
            "summary": summary,
            "seconds": round(seconds, 1),
            "time": environment.now(),
            "sources": self.sources,
        }
        self._write({**self._read(), part: entry})

    def append(self, record: dict[str, Any]) -> None:
        """Write a record; the first one of an environment comes after that."""
        if not any(r.get("environment") == self.environment for r in self.records()):
            self._append({"kind": "environment", "details": self._details})
        self._append(record)

    def rates(self) -> Rates:
        """Return the rates that were measured last in this environment."""
        found: Rates = {}
        for record in self.records():
            if record["kind"] == "rates" and record["environment"] == self.environment:
                found = {
                    r["name"]: Rate(**{**r, "samples": tuple(r["samples"])})
                    for r in record["rates"]
                }
        return found

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records of this book."""
        if self.path.exists():
            yield from records.load(self.path)

    def _append(self, record: dict[str, Any]) -> None:
        now = {"time": environment.now(), "environment": self.environment}
        records.append(self.path, {**now, **record})

    def _write(self, parts: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self._parts.with_suffix(".draft")
        draft.write_text(json.dumps(parts, indent=1) + "\n")
        draft.replace(self._parts)

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads(self._parts.read_text())
        except (OSError, ValueError):
            return {}


def sources() -> str:
    """Return a hash of all files of `ssmref.gpu`."""
    files = [p for s in ("py", "cu", "cuh") for p in HERE.rglob(f"*.{s}")]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(HERE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _folder(root: Path, device: Device) -> Path:
    slug = re.sub(r"[^a-z0-9]+", "-", device.name.lower()).strip("-") or "gpu"
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    return root / slug / f"{day}-{environment.commit() or 'no-commit'}"
