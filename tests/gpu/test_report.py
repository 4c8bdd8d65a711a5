"""The table of what kernels take: every kernel, every variant, and what is wrong."""

from importlib import metadata
from pathlib import Path

import gpu_report
import pytest
from ssmref.gpu._launch import Budget, Program, product
from support.gate import programs
from support.nvrtc import needs_nvrtc

pytestmark = needs_nvrtc

PAGE = Path(__file__).parents[2] / "reports" / "gpu.md"

SOURCE = """
extern "C" __global__ void sum(const float* x, float* y, int n) {
  float total = 0.f;
#pragma unroll 1
  for (int i = 0; i < n; ++i) total += sqrtf(x[i]) * SCALE;
  y[0] = total;
}

extern "C" __global__ void clear(float* y) { y[threadIdx.x] = 0.f; }
"""


@pytest.fixture
def report(tmp_path, monkeypatch, capsys):
    """Return status, table and complaints for these budgets, of two architectures."""
    monkeypatch.setattr(gpu_report, "ARCHITECTURES", (gpu_report.COUNTED, 120))

    def run(*budgets, files=()):
        _ = (tmp_path / "sums.cu").write_text(SOURCE)
        program = Program("sums.cu", product(SCALE=(1, 2)), budgets, folder=tmp_path)
        monkeypatch.setattr(gpu_report, "programs", lambda: (program,))
        status = gpu_report.main(files)
        printed = capsys.readouterr()
        return status, printed.out, printed.err.strip()

    return run


SUM = Budget("sum", registers=40, per=("MUFU.RSQ", 30))
CLEAR = Budget("clear", registers=16)


def test_every_kernel_has_a_row(report):
    status, text, wrong = report(SUM, CLEAR)
    assert (status, wrong) == (0, "")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert [row[:2] for row in rows] == [
        ["| `clear`", "SCALE=1"],
        ["| `sum`", "SCALE=1"],
        ["| `clear`", "SCALE=2"],
        ["| `sum`", "SCALE=2"],
    ]
    for row in rows:
        assert len(row[2].split()) == len(gpu_report.ARCHITECTURES)
        assert row[4] == "0"
    assert "per MUFU.RSQ (at most 30)" in rows[1][-1]
    assert "not run on a GPU" in text


def test_page_is_the_same_every_time(report):
    assert report(SUM, CLEAR)[1] == report(SUM, CLEAR)[1]


def test_page_tells_how_old_it_is(report, tmp_path):
    page = report(SUM, CLEAR)[1]
    program = Program("sums.cu", product(SCALE=(1, 2)), folder=tmp_path)
    assert not gpu_report.outdated(page, [program])
    more = Program("sums.cu", product(SCALE=(1, 2, 3)), folder=tmp_path)
    assert gpu_report.outdated(page, [more]) == ["sums.cu: no line for SCALE=3"]
    fewer = Program("sums.cu", product(SCALE=(1,)), folder=tmp_path)
    assert len(gpu_report.outdated(page, [fewer])) == 2
    assert gpu_report.outdated(page, []) == ["sums.cu: in one only"]
    assert gpu_report.outdated("# Kernels\n", [program]) == ["sums.cu: in one only"]
    _ = (tmp_path / "sums.cu").write_text(SOURCE + SOURCE.replace("clear", "fill"))
    new = Program("sums.cu", product(SCALE=(1, 2)), folder=tmp_path)
    assert gpu_report.outdated(page, [new]) == ["sums.cu: no line for `fill`"]


def test_page_of_the_repository_has_every_kernel():
    text = PAGE.read_text()
    assert not gpu_report.outdated(text, programs())
    version = metadata.version("nvidia-cuda-nvrtc")
    assert f"Compiled by NVRTC {version} and emulated, not run" in text


def test_breaches_are_told(report):
    status, text, wrong = report(SUM, Budget("clear", registers=1))
    assert status == 1
    assert "| `clear` | SCALE=2 |" in text
    assert "sums.cu: clear SCALE=2 sm_90 takes" in wrong


def test_unknown_file_is_no_success(report):
    assert report(SUM, CLEAR, files=["other.cu"])[0] == 1
