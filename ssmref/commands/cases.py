"""The command ``ssmref cases``: what is judged, and why."""

import inspect

import click

from .choice import LEVELS, check_known, chosen_cases


@click.command()
@click.option("--op", "ops", multiple=True, metavar="OP", help="Only this op.")
@click.option(
    "--level",
    "levels",
    multiple=True,
    type=click.Choice(LEVELS),
    help="Cases of this level; may be repeated.  [default: core]",
)
def cases(ops: tuple[str, ...], levels: tuple[str, ...]) -> None:
    """List the cases: their ids and the mistakes that each can see."""
    from ..conformance.catalogue import covered_ops

    check_known("--op", ops, covered_ops())
    op = None
    for case in chosen_cases(ops, (), levels):
        if case.op != op:
            op = case.op
            click.echo(f"{op}{_signature(op)}")
        click.echo(f"  {case.id}\n      {case.reason}")


def _signature(op: str) -> str:
    from ..ops import OPS, implementation

    parameters = inspect.signature(implementation(OPS[op], "ssmref.golden")).parameters
    bare = [p.replace(annotation=p.empty) for p in parameters.values()]
    return str(inspect.Signature(bare))
