"""A report from a run: what its files hold, before any is written."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from . import claims
from .calculator import sizes_section
from .exploring import exploring_sections
from .growth import growth_section
from .machine import machine_section, points_section
from .markdown import MARKER, markdown
from .page import page
from .scaling import memory_section, time_sections
from .section import Section
from .serving import serving_section
from .sources import Run
from .static import pictures
from .summary import summary, title

PAGE, TEXT = "index.html", "README.md"
# Every chart that there may be: what an earlier report has left is taken away.
CHARTS = (
    *("time-op", "time-block", "throughput-op", "throughput-block", "memory"),
    *("prefill", "decode", "batch", "cache", "chunks", "state", "forms"),
)


class OccupiedError(Exception):
    """The folder has files of somebody else; the message names one."""


def sections(run: Run) -> list[Section]:
    """Return all parts that the records have something for; charts with a curve."""
    every = [
        *time_sections(run),
        *memory_section(run),
        *serving_section(run),
        *growth_section(run),
        *exploring_sections(run),
        sizes_section(),
        *_published(),
        *machine_section(run),
        *points_section(run),
    ]
    return [replace(s, charts=[c for c in s.charts if not c.empty]) for s in every]


def _published() -> Iterator[Section]:
    if tables := claims.published():
        yield Section("claims", "Published claims", [], tables)


def report(run: Run) -> dict[str, bytes]:
    """Return the files of a report by their names."""
    heading, sentences, parts = title(run), summary(run), sections(run)
    drawn = dict(pictures([chart for part in parts for chart in part.charts]))
    return {
        TEXT: markdown(heading, sentences, parts).encode(),
        PAGE: page(heading, sentences, parts, drawn).encode(),
        **drawn,
    }


def check_folder(folder: Path) -> None:
    """Raise OccupiedError where something that is not ours would be overwritten."""
    text, page_path = folder / TEXT, folder / PAGE
    for path in (text, page_path):
        if path.exists() and not _is_ours(text):
            raise OccupiedError(f"{path} was not written by ssmref report")


def _is_ours(text: Path) -> bool:
    try:
        return text.read_text(encoding="utf-8").startswith(MARKER)
    except (OSError, UnicodeDecodeError):
        return False


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write all files, and take away the pictures that an earlier report had more."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (f"{chart}.{kind}" for chart in CHARTS for kind in ("svg", "png")):
        if name not in files:
            (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
