"""The options that several commands have: one name, one meaning, one sentence."""

from collections.abc import Callable
from pathlib import Path

import click

from .choice import DTYPES, LEVELS

# The exit status of all commands, as a shell has it for a program that Ctrl-C ended.
INTERRUPTED = 130

ops = click.option(
    "--op",
    "ops",
    multiple=True,
    metavar="OP",
    help="Only this op, for example mamba2.ssd; may be repeated.",
)
ids = click.option(
    "--case",
    "ids",
    multiple=True,
    metavar="ID",
    help="Only this case, of whatever level; may be repeated. See `ssmref cases`.",
)
levels = click.option(
    "--level",
    "levels",
    multiple=True,
    type=click.Choice(LEVELS),
    help="Cases of this level; may be repeated.  [default: core]",
)
dtype = click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="float32",
    show_default=True,
    help="Precision; the low ones keep parameters and states in float32.",
)


def written(name: str, parameter: str, text: str) -> Callable:
    """Return an option for a file that the command writes."""
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option(name, parameter, metavar="FILE", type=kind, help=text)


markdown = written("--markdown", "markdown_path", "Write the tables as Markdown.")
