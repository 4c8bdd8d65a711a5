"""Everybody who offers a workload, verified, then timed side by side.

Each computes in a process of its own, and one after the other: the threads of several
runtimes in one process wait for each other's.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields

from .book import Book
from .budget import Budget
from .field import LIBRARIES
from .points import TIMES, Setting
from .run import Measurement, Settings
from .sweep import Limits, Progress, Sweep
from .task import OpTask
from .workloads import Workload

# What verifying and timing one contender may take, in seconds.
LONGEST = 3600.0


def race(
    workload: Workload, names: Iterable[str], settings: Settings
) -> Iterator[Measurement]:
    """Yield what was found of everybody whom the names stand for.

    Those who drop out come first, then those who were timed, in the order of names.
    """
    setting = Setting("ops", settings.dtype, settings.threads, settings.rates)
    limits = Limits(
        *(Budget(None, LONGEST), settings.rounds, settings.cache_bytes),
        lambda: settings.available_bytes,
    )

    def tell(progress: Progress) -> None:
        settings.on_step(progress.words)

    sweep = Sweep(setting, limits, Book(None, setting), tell)
    task = OpTask(**{f.name: getattr(workload, f.name) for f in fields(workload)})
    for found in sweep.run([(task, TIMES)], _spelled_out(names)):
        yield from map(setting.measurement, found)


def _spelled_out(names: Iterable[str]) -> Iterator[str]:
    """Name all libraries where all peers are meant: those that are missing show."""
    for name in names:
        yield from (f"peer:{x}" for x in LIBRARIES) if name == "peer" else [name]
