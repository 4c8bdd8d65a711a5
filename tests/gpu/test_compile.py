"""Every kernel compiles for every architecture and stays within its budget."""

import pytest
from ssmref.gpu._launch import KERNELS
from support.gate import findings, programs, refusals
from support.nvrtc import ARCHITECTURES, needs_nvrtc

PROGRAMS = programs()


def test_every_kernel_file_belongs_to_a_program():
    assert {p.name for p in KERNELS.glob("*.cu")} == {p.file for p in PROGRAMS}


@needs_nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.file)
def test_kernels_stay_within_their_budgets(program, architecture):
    assert not refusals(program, list(findings(program, architecture)))
