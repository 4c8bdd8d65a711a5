"""The ``ssmref`` command."""

import os
import sys

import click

from . import __version__
from .commands.bench import bench
from .commands.cases import cases
from .commands.compare import compare
from .commands.peers import peers
from .commands.report import report
from .commands.vectors import vectors
from .commands.verify import verify
from .commands.zoo import zoo


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ssmref")
def main() -> None:
    """Verify state space model kernels against golden NumPy references."""
    # As `python -m` does: a target may lie in the current folder.
    sys.path.insert(0, os.getcwd())


for command in (verify, cases, vectors, peers, zoo, bench, report, compare):
    main.add_command(command)
