"""The command ``ssmref bench sizes``: what is kept between two tokens, counted."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ..bench.suites import parse_lengths
from .choice import DTYPES, check_known

if TYPE_CHECKING:
    from rich.table import Table

    from ..bench.sizes import Kept

# The options of one's own sizes: the field of `bench.sizes.Shape`, and its words.
_OWN = {
    "layers": "Layers, all of one kind.  [default: 24]",
    "heads": "Heads of attention.  [default: 12]",
    "kv_heads": "Heads with keys and values.  [default: as many as --heads]",
    "headdim": "Channels of a head.  [default: 64]",
    "expand": "Heads of a state space model for each head of attention.  [default: 2]",
    "mamba1_state": "Numbers that Mamba-1 keeps of a channel.  [default: 16]",
    "state": "Numbers that Mamba-2 and Mamba-3 keep of a channel.  [default: 128]",
    "groups": "Groups of B and C in Mamba-2.  [default: 1]",
    "rank": "Rank of MIMO in Mamba-3.  [default: 4]",
    "conv": "Width of the convolutions.  [default: 4]",
}
_HELP = """\
Count what is kept of requests between two tokens: caches of keys and values against
states. Nothing is measured.

\b
  ssmref bench sizes                           all published models
  ssmref bench sizes --preset mamba2-2.7b      one, and a Transformer like it
  ssmref bench sizes --heads 32 --layers 24    sizes of your own

Exit status: 0, or 2 for a mistake in the command.
"""


def _number(flag: str, words: str, default: int | None = None) -> click.Option:
    kind = click.IntRange(min=1)
    return click.Option([flag], type=kind, metavar="N", help=words, default=default)


def _own() -> Iterator[click.Option]:
    for name, words in _OWN.items():
        yield _number(f"--{name.replace('_', '-')}", words)


def _options() -> list[click.Parameter]:
    preset = click.Option(
        ["--preset", "presets"],
        multiple=True,
        metavar="NAME",
        help="A published model; may be repeated.",
    )
    lengths = click.Option(
        ["--seq-len", "seq_len"],
        default="1K,32K,128K",
        show_default=True,
        metavar="LENGTHS",
        help="Tokens of context: 128K, 1K,8K or 1K..1Mx4.",
    )
    dtype = click.Option(
        ["--dtype"], type=click.Choice(DTYPES), default="bfloat16", show_default=True
    )
    batch = _number("--batch", "Requests at once.  [default: 1]", 1)
    return [preset, *_own(), lengths, batch, dtype]


def run(
    presets: tuple[str, ...],
    seq_len: str,
    batch: int,
    dtype: str,
    **own: int | None,
) -> None:
    """Print the table."""
    from rich.console import Console

    given = {name: value for name, value in own.items() if value is not None}
    if presets and given:
        flag = next(iter(given)).replace("_", "-")
        raise click.UsageError(f"--preset has its sizes: --{flag} cannot be given too")
    found = _of_shape(given) if given else list(_of_models(presets))
    try:
        lengths = parse_lengths(seq_len)
    except ValueError as error:
        raise click.UsageError(f"--seq-len: {error}") from error
    console = Console()
    console.print(_table(found, lengths, batch, dtype))
    console.print(_EXPLANATION, soft_wrap=True, highlight=False)


_EXPLANATION = (
    "Counted, without the weights. Official code may keep more: Mamba-3 keeps its "
    "state in float32."
)


def _of_models(presets: tuple[str, ...]) -> "Iterator[Kept]":
    """Yield what the models keep, and where they were named Transformers like them."""
    from ..bench.presets import MODELS
    from ..bench.sizes import of_model, transformer_like

    check_known("--preset", presets, MODELS)
    for name in presets or MODELS:
        yield of_model(MODELS[name])
        if presets and (other := transformer_like(MODELS[name])):
            yield other


def _of_shape(given: dict[str, int]) -> "list[Kept]":
    from ..bench.sizes import Shape, of_shape

    heads = {"kv_heads": given["heads"]} if "heads" in given else {}
    try:
        return of_shape(Shape(**heads | given))
    except ValueError as error:
        raise click.UsageError(f"--{str(error).replace('_', '-')}") from error


def _table(
    found: "list[Kept]", lengths: tuple[int, ...], batch: int, dtype: str
) -> "Table":
    from rich.table import Table

    from ..bench.pages.words import of_bytes, of_length, plural

    title = f"What {plural(batch, 'request')} keep{'' if batch > 1 else 's'}, {dtype}"
    table = Table(title=title)
    table.add_column("")
    for name in ("always", "each token", *(f"at {of_length(n)}" for n in lengths)):
        table.add_column(name, justify="right")
    for kept in found:
        always, first = kept.bytes(dtype, 0, batch), kept.bytes(dtype, 1, batch)
        sizes = (kept.bytes(dtype, n, batch) for n in lengths)
        table.add_row(kept.name, *map(of_bytes, (always, first - always, *sizes)))
    return table


sizes = click.Command(
    "sizes",
    callback=run,
    params=_options(),
    help=_HELP,
    short_help="Count caches of keys and values, and states.",
)
