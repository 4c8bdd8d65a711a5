"""The tests of Mamba-1 on the GPU see faults that are put into its kernels."""

import pytest
from hostcupy.settings import using
from mamba1_calls import cut, inputs, judged, scan
from ssmref.gpu import _mamba1_lookback, _mamba1_scan, mamba1

from ssmref.conformance.verdict import FAILED

# What is wrong: the file, a piece of its text, and what stands there instead.
FAULTS = {
    "tiles are read before they are whole": (
        "selective_scan.cu",
        "raw_z);\n    __syncthreads();",
        "raw_z);",
    ),
    "sums are read before they are whole": (
        "selective_scan.cu",
        "elapsed[r] += in_tile[r];\n    __syncthreads();",
        "elapsed[r] += in_tile[r];",
    ),
    "copies are not waited for": ("selective_scan.cu", "cp_async_wait<0>();", ""),
    "the bias is read before it is there": (
        "selective_scan_tiles.cuh",
        "  }\n  __syncthreads();\n}",
        "  }\n}",
    ),
    "tokens beyond the end have a step": (
        "selective_scan_tiles.cuh",
        "spread_steps(s, p, count_at(p, seg, tokens), ",
        "spread_steps(s, p, VECTOR, ",
    ),
    "a segment starts from nothing": (
        "selective_scan_carry.cu",
        "h.advance(span, 1.f, next);",
        "h = next;",
    ),
    "a segment too many is decayed": (
        "selective_scan_carry.cu",
        "store_number<PARTS>(added + at, h);\n      h.advance(span, 1.f, next);",
        "h.advance(span, 1.f, next);\n      store_number<PARTS>(added + at, h);",
    ),
    "a stretch is read before it is there": (
        "selective_scan_lookback.cu",
        "if (lane < since) wait_for(board.flag(0, earlier, d, warp));",
        "",
    ),
    "stretches are joined in the wrong order": (
        "selective_scan_lookback.cu",
        "if (lane + by < 32) x = after(x, earlier);",
        "if (lane + by < 32) x = after(earlier, x);",
    ),
    "sums of warps are read before they are whole": (
        "selective_scan_lookback.cu",
        "warp, lane);\n    __syncthreads();",
        "warp, lane);",
    ),
}


PROGRAMS = (
    (_mamba1_scan, "SCAN"),
    (_mamba1_scan, "CARRY"),
    (_mamba1_lookback, "LOOKBACK"),
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault, with_fault, monkeypatch):
    with_fault(*FAULTS[fault])
    call = inputs(length=90, channels=9, groups=1)
    cut(monkeypatch, 40)
    if "lookback" in FAULTS[fault][0]:
        call = inputs(length=600, groups=1)
        monkeypatch.setattr(mamba1, "scan", lambda a: _mamba1_scan.scan(a, "lookback"))
    seen = []
    for seed in (1, 2, 3):
        with using(resident=3, seed=seed):
            seen.append(judged(scan, "selective_scan", call).status)
    assert FAILED in seen
