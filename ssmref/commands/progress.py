"""A bar for what takes a while."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

# A bar that flashes by helps nobody.
PATIENCE_SECONDS = 2.0
Item = TypeVar("Item")


def with_progress(
    items: Iterable[Item],
    total: int,
    words: str = "verifying",
    console: "Console | None" = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Item]:
    """Pass items on, with a bar on a terminal's error stream if it takes a while."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    screen = console or Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    bar = Progress(
        *columns, console=screen, transient=True, disable=not screen.is_terminal
    )
    task = bar.add_task(words, total=total)
    start = clock()
    try:
        for item in items:
            bar.advance(task)
            if not bar.live.is_started and clock() - start > PATIENCE_SECONDS:
                bar.start()
            yield item
    finally:
        bar.stop()
