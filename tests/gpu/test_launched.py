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


def not_compiled(kernels):
    """Return those whose macros are not compiled elsewhere, each source once."""
    found = {(k.program.file, *sorted(k.macros.items())): k for k in kernels}
    return [k for k in found.values() if k.macros not in k.program.variants]


def some_of(kernels):
    """Return a few with every value of an integer that is not compiled elsewhere.

    Words, as for precisions, are all in variants.
    """
    kernels = not_compiled(kernels)
    missing, chosen = set().union(*map(_new, kernels)), []
    while missing:
        most = max(kernels, key=lambda k: len(_new(k) & missing))
        missing -= _new(most)
        chosen.append(most)
    return chosen


def _new(kernel):
    """Return the integers of a kernel that no variant of its program has."""
    program, known = kernel.program, set()
    for variant in program.variants:
        known |= variant.items()
    integers = {m for m in kernel.macros.items() if isinstance(m[1], int)}
    return {(program.file, *macro) for macro in integers - known}


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
    "chosen", [some_of, pytest.param(not_compiled, marks=pytest.mark.thorough)]
)
@pytest.mark.parametrize("name", emulated.offered())
def test_what_core_cases_launch_compiles(name, chosen, launched):
    call_all(name)
    assert launched
    assert not list(complaints(chosen(launched.values())))


def test_few_kernels_have_every_new_value(tmp_path):
    _ = (tmp_path / "sample.cu").write_text(SAMPLE)
    known = product(IO=("float", "bf16"), N=(1,), M=(1, 2))
    program = Program("sample.cu", known, folder=tmp_path)
    others = product(IO=("float", "bf16"), N=(1, 2, 3), M=(1, 2, 4))
    made = [program.kernel("sample", **macros) for macros in others]
    assert len(not_compiled(made)) == len(others) - len(known)
    values = [(k.macros["N"], k.macros["M"]) for k in some_of(made)]
    assert len(values) == 2
    assert {n for n, _ in values} == {2, 3}
    assert 4 in {m for _, m in values}
    assert some_of([program.kernel("sample", **macros) for macros in known]) == []


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
