"""What a run shows of memory: exact, resident and by the byte model, side by side."""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from .points import Finding, Setting, compared
from .run import MEASURED

HEADINGS = ("allocated", "resident", "byte model", "allocated\nby model", "verdict")


def memory_title(found: Sequence[Finding], setting: Setting) -> str:
    """Return the task, and what its inputs take."""
    task = found[0].point.task
    inputs = task.bytes(setting.dtype, setting.threads)["inputs"]
    return (
        f"{task.id}, {setting.dtype}; memory of a call beyond {size(inputs)} of inputs"
    )


def memory_table(found: Sequence[Finding], setting: Setting) -> Table:
    """Return the table of one task for a terminal."""
    made = Table(
        title=Text(memory_title(found, setting)),
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=0,
    )
    made.add_column("implementation", no_wrap=True)
    for heading in HEADINGS:
        made.add_column(heading, justify="right", no_wrap=True)
    for finding in found:
        style = None if finding.status == MEASURED else "yellow"
        style = "red" if finding.status == "wrong" else style
        made.add_row(
            finding.point.implementation, *_cells(finding, setting), style=style
        )
    return made


def _cells(found: Finding, setting: Setting) -> tuple[str, ...]:
    if found.status != MEASURED or found.peaks is None:
        return *("-" * (len(HEADINGS) - 1)), found.status
    model = found.point.task.bytes(setting.dtype, setting.threads)
    agreement, _ = compared(found, model)
    return (
        size(found.peaks.get("traced")),
        size(found.peaks.get("resident")),
        size(sum(model.values()) - model["inputs"]),
        "-" if agreement is None else f"{agreement:.3f}",
        f"pass {found.check.ratio:.2g}" if found.check else "-",
    )


def memory_notes(found: Sequence[Finding], setting: Setting) -> Iterator[str]:
    """Say why there is no figure, or why two of them differ."""
    for finding in found:
        name = finding.point.implementation
        if finding.reason:
            yield f"{name}: {finding.status}: {finding.reason}"
        model = finding.point.task.bytes(setting.dtype, setting.threads)
        if words := compared(finding, model)[1]:
            yield f"{name}: {words}"


def size(count: int | None) -> str:
    """Return bytes in three digits, with a unit that fits."""
    if count is None:
        return "-"
    value, units = float(count), ["B", "KiB", "MiB", "GiB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.3g} {units[0]}"
