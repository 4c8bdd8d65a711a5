"""Every kernel compiles for every architecture and stays within its budget."""

import pytest
from ssmref.gpu._launch import KERNELS
from support.gate import findings, programs, refusals, representatives
from support.nvrtc import ARCHITECTURES, needs_nvrtc

PROGRAMS = programs()
# That of the figures in the plans, and the newest, have every value of every macro in
# the gate; all variants for all architectures take minutes.
ALWAYS = (90, 120)
each_program = pytest.mark.parametrize(
    "program", PROGRAMS, ids=lambda program: program.file
)


def test_every_kernel_file_belongs_to_a_program():
    assert {p.name for p in KERNELS.glob("*.cu")} == {p.file for p in PROGRAMS}


@needs_nvrtc
@pytest.mark.parametrize("architecture", ALWAYS)
@each_program
def test_representatives_stay_within_their_budgets(program, architecture):
    found = list(findings(program, architecture, representatives(program)))
    assert not refusals(program, found)


@needs_nvrtc
@pytest.mark.thorough
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@each_program
def test_kernels_stay_within_their_budgets(program, architecture):
    assert not refusals(program, list(findings(program, architecture)))
