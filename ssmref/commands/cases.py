"""The command ``ssmref cases``: what is judged, and why."""

import inspect

import click

from . import options
from .choice import check_known, chosen_cases


@click.command()
@options.ops
@options.levels
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
