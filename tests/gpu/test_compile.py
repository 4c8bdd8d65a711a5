"""Every kernel compiles for every architecture and stays within its budget."""

import pytest
from ssmref.gpu._launch import KERNELS
from support.gate import findings, programs, refusals
from support.nvrtc import ARCHITECTURES, needs_nvrtc

PROGRAMS = programs()
# The oldest, that of the figures in the plans, and the newest; the others take minutes.
ALWAYS = (80, 90, 120)
each_architecture = pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(a, marks=() if a in ALWAYS else pytest.mark.thorough)
        for a in ARCHITECTURES
    ],
)


def test_every_kernel_file_belongs_to_a_program():
    assert {p.name for p in KERNELS.glob("*.cu")} == {p.file for p in PROGRAMS}


@needs_nvrtc
@each_architecture
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.file)
def test_kernels_stay_within_their_budgets(program, architecture):
    assert not refusals(program, list(findings(program, architecture)))
