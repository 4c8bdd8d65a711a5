"""What a sweep shows: a bar on a terminal, else a line per point; then tables."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ..bench.budget import as_text

if TYPE_CHECKING:
    from rich.console import Console

    from ..bench.points import Finding, Setting
    from ..bench.sweep import Progress

# For whom nothing was measured for want of a package, of what may be installed.
_EXTRA = "pip install 'ssmref[peers]'"
# Seconds after which a line says what goes on, where no bar is drawn.
SILENCE = 10.0


class Shown:
    """What the user sees of a sweep; a `brief` one has its tables in the end only."""

    def __init__(self, console: "Console", setting: "Setting", *, brief: bool = False):
        """Draw an empty bar."""
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress, TextColumn

        self.console, self.setting, self.brief = console, setting, brief
        self.counts: Counter[str] = Counter()
        self.found: list[Finding] = []
        self.begun: set[str] = set()
        self.said = time.monotonic()
        terminal = Console(stderr=True)
        self.plain = not terminal.is_terminal
        # Drawn when something happens, not while something is timed.
        self.bar = Progress(
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}", markup=False),
            console=terminal,
            auto_refresh=False,
            transient=True,
            disable=self.plain,
        )
        self.task = self.bar.add_task("", total=None, left="")
        self.bar.start()

    def progress(self, now: "Progress") -> None:
        """Say what goes on."""
        left = "" if now.left is None else f"{as_text(now.left)} left,"
        fields = {"completed": now.done, "total": now.total, "left": left}
        self.bar.update(self.task, description=now.words, **fields)
        self.bar.refresh()
        if self.plain:
            self._say_now(now.words)

    def _say_now(self, words: str) -> None:
        """Say what goes on where an op is compiled, and after a long silence."""
        op = words.partition("/")[0]
        if words.endswith(": verifying") and op not in self.begun:
            self.begun.add(op)
            self._echo(f"verifying {op}; what has to be compiled is kept")
        elif time.monotonic() - self.said > SILENCE:
            self._echo(words)

    def _echo(self, line: str) -> None:
        self.said = time.monotonic()
        click.echo(line, err=True)

    def show(self, found: "list[Finding]", done: int, total: int) -> None:
        """Show what was found at one task."""
        self.counts.update(finding.status for finding in found)
        self.found += found
        if self.plain:
            for line in _plain(found, done, total):
                self._echo(line)
        if not self.brief:
            self.bar.stop()  # the tables go where the bar was
            self._tables(found)
            self.bar.start()

    def _tables(self, found: "list[Finding]") -> None:
        from ..bench import memory_report, report
        from ..bench.points import TIMES

        if found[0].point.what == TIMES:
            rows = [self.setting.measurement(finding) for finding in found]
            table, notes = report.table(rows), report.notes(rows)
        else:
            table = memory_report.memory_table(found, self.setting)
            notes = memory_report.memory_notes(found, self.setting)
        self.console.print(table)
        self._say(notes)

    def close(self) -> None:
        """Take the bar away."""
        self.bar.stop()

    def end(self, total: int, missing: "list[str]") -> None:
        """Show the tables of a brief suite, and how many points there are of each kind.

        `missing` are libraries that would have taken part if they were installed.
        """
        from ..bench.overview import explanation, overview, reasons

        if self.brief and self.found:
            for table in overview(self.found, self.setting):
                self.console.print(table)
                self.console.print()
            about = explanation(self.found)
            self._say([*reasons(self.found), *([about] if about else [])])
        if missing:
            names = ", ".join(missing)
            self._say([f"not installed and left out: {names} ({_EXTRA})"])
        self._say([self.summary(total)])

    def _say(self, lines) -> None:
        for line in lines:
            self.console.print(line, soft_wrap=True, highlight=False, markup=False)
        if not self.brief:
            self.console.print()

    def summary(self, total: int) -> str:
        """Say how many points there are of each kind."""
        before = total - sum(self.counts.values())
        parts = [f"{count} {status}" for status, count in self.counts.items()]
        if before:
            words = "recorded before; --fresh measures them again"
            parts.append(f"{before} {words}")
        return f"{total} points: {', '.join(parts) or 'none'}"

    def status(self, total: int) -> int:
        """Return 1 where nothing was measured or somebody failed."""
        failed = self.counts["wrong"] + self.counts["crashed"]
        nothing = not total or (self.counts and not self.counts["measured"])
        return 1 if failed or nothing else 0


def _plain(found: "list[Finding]", done: int, total: int) -> Iterator[str]:
    for number, finding in enumerate(found, done - len(found) + 1):
        point = finding.point
        words = finding.reason or finding.status
        if finding.samples:
            words = f"{1e3 * finding.samples.median:.3g} ms"
        yield (
            f"[{number}/{total}] {point.task.id}, {point.implementation}, "
            f"{point.what}: {words}"
        )
