"""Every option is seen beside every other one, and without it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from inspect import signature
from itertools import permutations, product

import numpy as np
import pytest

from ssmref.conformance.bugs.bug import Arguments, Wrap, before, changed, without
from ssmref.conformance.bugs.states import zeros
from ssmref.conformance.bugs.tokens import first
from ssmref.conformance.bugs.zoo import BUGS, stranger
from ssmref.conformance.cases.case import Case
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.run import verify_case
from ssmref.conformance.truth import truth
from ssmref.conformance.verdict import FAILED
from ssmref.ops import OPS, implementation

F32 = np.dtype(np.float32)
# One option, another one, and whether that is given.
Pair = tuple[str, str, bool]
MIMO = ("mamba3.mimo", "mamba3.mimo_step")
NORM_EPS: set[Pair] = {("norm_eps", "norm_weight", False)}
MIMO_Z: set[Pair] = {("mimo_z", "z", False)}
ROTARY: set[Pair] = {(o, "rotary_dim", False) for o in ("rotary_base", "interleaved")}
# Where one option has no meaning, or is refused, because of another one.
IMPOSSIBLE: dict[str, set[Pair]] = {
    "layers.rms_norm_gated": {("norm_before_gate", "z", False)},
    "mamba3.siso": NORM_EPS,
    "mamba3.siso_step": NORM_EPS,
    "mamba3.mimo": NORM_EPS | MIMO_Z,
    "mamba3.mimo_step": NORM_EPS | MIMO_Z,
    "attention.attention": {
        ("initial_state", "cu_seqlens", True),
        ("cu_seqlens", "initial_state", True),
        *ROTARY,
    },
    "attention.attention_step": ROTARY,
}
# Without it shapes do not fit: no implementation goes on.
NEEDED = ("head_dim",)


def _own_rows(arguments: Arguments) -> Arguments:
    return arguments | {"slots": np.arange(len(first(arguments)))}


def losing(option: str, op: str) -> Wrap:
    """Return the wrap that ignores an option and still returns what has its shape."""
    known = {"initial_state": changed(initial_state=zeros), "slots": before(_own_rows)}
    if op != "attention.attention":  # its cache is as long as the pack
        known["cu_seqlens"] = BUGS["packing-ignored"].wrap
    return known.get(option, without(option))


def options(op: str) -> dict[str, object]:
    """Return the options of an op with their defaults."""
    parameters = signature(implementation(OPS[op], "ssmref.golden")).parameters
    return {n: p.default for n, p in parameters.items() if p.default is not p.empty}


def given(case: Case) -> set[str]:
    """Return the options that a case gives, and not as the default."""
    arguments = truth(case, F32).arguments
    return {
        name
        for name, default in options(case.op).items()
        if (value := arguments.get(name)) is not None
        and (isinstance(value, np.ndarray | tuple) or value != default)
    }


def sees(case: Case, option: str) -> bool:
    """Return whether a case rejects who ignores an option, by the numbers."""
    if option in NEEDED:
        return True
    bug = replace(BUGS["skip-dropped"], wrap=losing(option, case.op))
    verdict = verify_case(stranger([bug], OPS[case.op]), case, F32)
    return verdict.status == FAILED and not verdict.message


def unseen(cases: Iterable[Case], pairs: set[Pair]) -> set[Pair]:
    """Return the pairs whose first option no case sees beside or without the second."""
    left = set(pairs)
    for case in cases:
        own = given(case)
        for option in own & {a for a, _, _ in left}:
            shown = {(a, b, g) for a, b, g in left if a == option and g == (b in own)}
            if shown and sees(case, option):
                left -= shown
    return left


def pairs_of(names: Iterable[str]) -> set[Pair]:
    return {(a, b, g) for (a, b), g in product(permutations(names, 2), (True, False))}


@pytest.mark.parametrize("op", [op for op in OPS if len(options(op)) > 1])
def test_every_option_is_seen_beside_and_without_every_other(op):
    pairs = pairs_of(options(op))
    assert unseen(cases_of(op), pairs) == IMPOSSIBLE.get(op, set())


def of_ranks(op: str) -> Iterator[list[Case]]:
    """Yield the cases of one rank, and those of several."""
    for single in (True, False):
        yield [
            case
            for case in cases_of(op)
            if (truth(case, F32).arguments["B"].shape[-3] == 1) == single
        ]


@pytest.mark.parametrize("op", MIMO)
def test_one_rank_and_several_are_each_seen_with_every_option(op):
    projections = pairs_of(("mimo_x", "mimo_z", "mimo_o"))
    alone = {(name, "nothing", False) for name in options(op)}
    one, several = of_ranks(op)
    assert not unseen(one, projections | alone)
    assert unseen(several, pairs_of(options(op))) == IMPOSSIBLE[op]


def test_what_no_case_sees_is_found_out():
    cases = cases_of("mamba2.ssd_step")
    pair = ("z", "D", False)
    assert unseen(cases, {pair}) == set()
    others = [case for case in cases if case.family != "gate-alone"]
    assert unseen(others, {pair}) == {pair}


def test_options_that_are_defaults_are_not_given():
    found = {case.family: given(case) for case in cases_of("mamba2.ssd_step")}
    assert found["plain"] == set()
    assert found["gate-alone"] == {"z"}
