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


# Each builds its kernels anew; the kernels with the most barriers are always checked.
ALWAYS = ("mamba1.selective_scan", "mamba3.mimo_step", "layers.rms_norm_gated")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(op, marks=() if op in ALWAYS else pytest.mark.thorough)
        for op in emulated.offered()
    ],
)
@pytest.mark.parametrize("mode", CIRCUMSTANCES)
def test_op_is_clean(name, mode):
    case = richest(name)
    options = "--op", name, "--dtype", "bfloat16", "--case", case
    said = sanitized.run(mode, *options, *CIRCUMSTANCES[mode])
    assert said == f"{mode}: {case} in bfloat16 passed\n"
