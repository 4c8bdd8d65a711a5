"""What the user chose among what there is, or a mistake that names what was meant."""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..conformance.cases.case import Case

# As in the catalogue and in precision, which --help does not load.
DTYPES = ("float32", "float64", "bfloat16", "float16")
TF32 = "tf32"
LEVELS = ("core", "extended", "long", "precision")


def check_known(option: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise a usage error for a name that is not known."""
    known = list(known)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
            inside = [k for k in known if name and name in k][:3]
            hint = ", ".join(dict.fromkeys([*inside, *close]) or known)
            raise click.UsageError(f"{option} {name!r} is unknown; meant was: {hint}")


def refuse_as_tf32(ops: Iterable[str]) -> None:
    """Raise a usage error where one of the ops is no product of tiles."""
    from ..conformance.precision import MULTIPLYING

    for op in ops:
        if op not in MULTIPLYING:
            known = ", ".join(MULTIPLYING)
            raise click.UsageError(
                f"--dtype tf32 is for ops that are products of tiles ({known}); "
                f"{op} is not: judge it in float32"
            )


def chosen_cases(
    ops: tuple[str, ...], ids: tuple[str, ...], levels: tuple[str, ...]
) -> "list[Case]":
    """Return the cases of the catalogue with these ops, ids and levels.

    Nothing given means all ops, all ids and the level core; an id is of any level.
    """
    from ..conformance.catalogue import ALL_CASES, covered_ops

    check_known("--op", ops, covered_ops())
    check_known("--case", ids, ALL_CASES)
    if not levels:
        levels = LEVELS if ids else ("core",)
    chosen = [
        case
        for case in ALL_CASES.values()
        if (not ops or case.op in ops)
        and (not ids or case.id in ids)
        and case.level in levels
    ]
    if not chosen:
        raise click.UsageError(f"no case of level {', '.join(levels)} is left")
    return chosen
