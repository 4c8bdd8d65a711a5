"""What the commands of ``ssmref bench`` do before they measure, and say meanwhile."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..bench.rates import Rates


def check_names(option: str, names: tuple[str, ...]) -> None:
    """Raise a usage error for a name that can never stand for anybody."""
    from ..bench.field import check_name

    for name in names:
        try:
            check_name(name)
        except ValueError as error:
            raise click.UsageError(f"{option}: {error}") from error


def thread_count(threads: int | None) -> int:
    """Return the number of threads, all that there are without a choice."""
    from ..bench.threads import usable_cpus

    if threads is not None and threads > usable_cpus():
        raise click.UsageError(f"--threads is {threads}; usable are {usable_cpus()}")
    return threads or usable_cpus()


def measured_rates(threads: int, **choice: Any) -> "Rates":
    """Measure the machine; the choice is that of `ssmref.bench.rates.measure`."""
    from ..bench import rates

    say = Line()
    found: Rates = {}
    say("rates of the machine")
    for rate in rates.measure(threads, **choice):
        found[rate.name] = rate
        say(f"rates of the machine: {rate.name}")
    say.done()
    return found


def begin(
    records: Path | None, rates: "Rates", threads: int, done: dict[str, Any]
) -> str:
    """Write the environment and the rates; return the environment's id."""
    from ..bench import environment
    from ..bench.records import append
    from ..bench.yardsticks.compile import compiler_version

    details = environment.environment(done) | {"compiler": compiler_version()}
    written = environment.identity(details)
    if records is not None:
        head = {"time": environment.now(), "environment": written}
        append(records, {"kind": "environment", **head, "details": details})
        more = {"threads": threads, "rates": [asdict(rate) for rate in rates.values()]}
        append(records, {"kind": "rates", **head, **more})
    return written


class Line:
    """A line on a terminal that says what goes on, without a thread of its own.

    A bar would be drawn while something is timed.
    """

    def __init__(self, prefix: str = ""):
        """Show nothing yet."""
        self.prefix, self.last = prefix, 0.0
        self.shown = sys.stderr.isatty()

    def __call__(self, words: str) -> None:
        """Show words in the place of the last ones, not too often."""
        if self.shown and time.monotonic() - self.last > 0.1:
            self.last = time.monotonic()
            click.echo(f"\r\033[2K{self.prefix}{words}", nl=False, err=True)

    def done(self) -> None:
        """Take the line away."""
        if self.shown:
            click.echo("\r\033[2K", nl=False, err=True)
