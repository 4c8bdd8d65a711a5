"""Every kernel compiles for every architecture and stays within its budget.

In the gate representatives, which have every value of every macro, are compiled for the
architecture of the figures in the plans; one of the others has each of them as well, in
turns. All variants for all architectures take minutes, and are thorough.
"""

import pytest
from ssmref.gpu._launch import KERNELS
from support.gate import (
    findings,
    findings_among,
    programs,
    refusals,
    representatives,
    violations,
)
from support.nvrtc import ARCHITECTURES, needs_nvrtc

PROGRAMS = programs()
PLANNED = 90
OTHERS = [number for number in ARCHITECTURES if number != PLANNED]
# The disassembler takes half a second to begin: several programs share a call.
SHARES = 4
CHOSEN = [(p, variant) for p in PROGRAMS for variant in representatives(p)]


def test_every_kernel_file_belongs_to_a_program():
    assert {p.name for p in KERNELS.glob("*.cu")} == {p.file for p in PROGRAMS}


@needs_nvrtc
@pytest.mark.parametrize("share", range(SHARES))
def test_representatives_stay_within_their_budgets(share):
    own = PROGRAMS[share::SHARES]
    chosen = [pair for pair in CHOSEN if pair[0] in own]
    found = list(findings_among(chosen, PLANNED))
    for program in own:
        assert not refusals(program, [f for f in found if f.file == program.file])


@needs_nvrtc
@pytest.mark.parametrize("architecture", OTHERS)
def test_other_architectures_have_their_share(architecture):
    found = list(
        findings_among(CHOSEN[OTHERS.index(architecture) :: len(OTHERS)], architecture)
    )
    assert len({f.file for f in found}) > len(PROGRAMS) // 2
    assert not violations(found)


@needs_nvrtc
@pytest.mark.thorough
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.file)
def test_kernels_stay_within_their_budgets(program, architecture):
    assert not refusals(program, list(findings(program, architecture)))
