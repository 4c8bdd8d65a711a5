"""What the core cases launch has been compiled for a GPU, whatever its macros.

Programs state samples of their integers; here are those that calls lead to. Kernels do
not run: a launch is noted, and compiled as CuPy would.
"""

import re

import emulated
import numpy as np
import pytest
from ssmref.gpu._launch import Kernel, Program, product
from support.gate import check_shared
from support.nvrtc import RefusedError, compiled, needs_nvrtc

from ssmref.conformance.candidates import call
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.precision import dtype_of
from ssmref.ops import OPS

ARCHITECTURE = 90
PRECISIONS = ("float32", "bfloat16", "float16")


@pytest.fixture
def launched(monkeypatch):
    """Return kernels that are launched from now on; they do nothing but fit."""
    found = {}

    def note(self, _grid, _block, _args, *, shared=0):
        check_shared(self, shared)
        found[self.program.file, self.name, *self.macros.items()] = self

    monkeypatch.setattr(Kernel, "__call__", note)
    return found


def call_all(name):
    """Call an op on its core cases in each precision; results are not looked at."""
    function = getattr(emulated, name.replace(".", "_"))
    for dtype in map(dtype_of, PRECISIONS):
        for case in cases_of(name):
            with np.errstate(over="ignore", invalid="ignore"):
                _ = call(function, OPS[name], case.arguments(dtype))


def not_compiled(kernels, *, alike):
    """Return those whose macros are not compiled elsewhere, each source once.

    Words, as for precisions, are all in variants: one choice of them is enough where
    those that differ in nothing else are `alike`.
    """
    others = [k for k in kernels if k.macros not in k.program.variants]
    kept = int if alike else (int, str)
    return {
        (
            k.program.file,
            *sorted(m for m in k.macros.items() if isinstance(m[1], kept)),
        ): k
        for k in others
    }.values()


def complaints(kernels):
    """Yield what is wrong with kernels."""
    for kernel in kernels:
        try:
            made = compiled(kernel.program, ARCHITECTURE, kernel.macros)
        except RefusedError as error:
            yield f"{kernel.program.file} {kernel.macros}: {error}"
            continue
        for name, usage in made.usage.items():
            if usage.stack or usage.shared:
                yield f"{name} {kernel.macros}: {usage}"


@needs_nvrtc
@pytest.mark.parametrize(
    "alike", [True, pytest.param(False, marks=pytest.mark.thorough)]
)
@pytest.mark.parametrize("name", emulated.offered())
def test_what_core_cases_launch_compiles(name, alike, launched):
    call_all(name)
    assert launched
    assert not list(complaints(not_compiled(launched.values(), alike=alike)))


def test_words_alone_make_no_difference_where_kernels_are_alike(tmp_path):
    _ = (tmp_path / "sample.cu").write_text(SAMPLE)
    words = product(IO=("float", "bf16"), N=(1,))
    program = Program("sample.cu", words, folder=tmp_path)
    made = [program.kernel("s", **m) for m in product(IO=("float", "bf16"), N=(1, 2))]
    assert len(not_compiled(made, alike=False)) == 2
    assert [k.macros["N"] for k in not_compiled(made, alike=True)] == [2]


SAMPLE = """
#if N == 7
#error "not seven"
#endif
extern "C" __global__ void sample(float* x, int n) {
  float v[N] = {};
  for (int i = 0; i < n; ++i) v[i * 3 % N] += x[i];
  x[0] = v[n % N];
}
"""


@needs_nvrtc
@pytest.mark.parametrize(
    ("number", "complaint"),
    [(1, None), (7, r"sample.cu\(3\): .*not seven"), (64, "stack=256")],
)
def test_macros_that_fail_are_found(tmp_path, number, complaint):
    _ = (tmp_path / "sample.cu").write_text(SAMPLE)
    program = Program("sample.cu", product(N=(1,)), folder=tmp_path)
    found = list(complaints([program.kernel("sample", N=number)]))
    assert len(found) == (complaint is not None)
    assert all(re.search(str(complaint), text) for text in found)
