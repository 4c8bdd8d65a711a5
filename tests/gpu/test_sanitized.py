"""Every op under AddressSanitizer, UBSan and ThreadSanitizer, on one rich case each."""

import emulated
import pytest
import sanitized

from ssmref.conformance.catalogue import cases_of

CIRCUMSTANCES = {
    "asan": ("--offset", "1"),
    "tsan": ("--resident", "2"),
}


def richest(name: str) -> str:
    """Return the case that gives every option, or the last one."""
    cases = cases_of(name)
    return str(next((c for c in cases if c.family == "everything"), cases[-1]))


# Each builds its kernels anew, and other files have tests of their own for all other
# kernels: ssd, mamba3_scan, mamba3, mamba2, layers, s4, long_convolution, and for races
# of attention.
SCAN, ATTENTION = "mamba1.selective_scan", "attention.attention"
ALWAYS = {
    "asan": (SCAN, f"{SCAN}_step", ATTENTION, f"{ATTENTION}_step"),
    "tsan": (SCAN,),
}


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        pytest.param(mode, op, marks=() if op in always else pytest.mark.thorough)
        for mode, always in ALWAYS.items()
        for op in emulated.offered()
    ],
)
def test_op_is_clean(mode, name):
    case = richest(name)
    options = "--op", name, "--dtype", "bfloat16", "--case", case
    said = sanitized.run(mode, *options, *CIRCUMSTANCES[mode])
    assert said == f"{mode}: {case} in bfloat16 passed\n"
