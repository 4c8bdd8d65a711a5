"""``python -m ssmref``."""

from .cli import main

main(prog_name="ssmref")
