"""From a kernel file to a launch: what reaches the kernel, and what is refused."""

import sys
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hostcupy.settings import using
from ssmref.gpu import _cupy
from ssmref.gpu._arguments import entries, plan
from ssmref.gpu._launch import Budget, CompileError, Kernel, Program, product

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def floats(values):
    return np.array(values, np.float32)


SOURCE = """
#include "io.cuh"
#include "own.cuh"

// extern "C" __global__ void gone(int old)
extern "C" __global__ void __launch_bounds__(64)
scale(const IO* __restrict__ x, IO* y, const float* by, int count, long long skip) {
  const long long i = skip + blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) y[i] = from_float<IO>(own(to_float(x[i]), by ? by[0] : 1.f));
}

extern "C" __global__ void
/* through shared memory */
turn(float* x, unsigned n) {
  SSM_DYN_SMEM(float, room);
  room[threadIdx.x + SKIP] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = room[n - 1 - threadIdx.x + SKIP];
}

extern "C" __global__ void
numbers(float* y, float a, unsigned b, unsigned long long c) {
  y[0] = a, y[1] = b, y[2] = c;
}
"""
OWN = """
#pragma once
#include "io.cuh"
__device__ __forceinline__ float own(float x, float by) { return x * by; }
"""
VARIANTS = product(IO=("float", "bf16", "f16"), SKIP=(0, 1))


@pytest.fixture
def program(tmp_path):
    _ = (tmp_path / "own.cuh").write_text(OWN)
    _ = (tmp_path / "kernel.cu").write_text(SOURCE)
    return Program("kernel.cu", VARIANTS, folder=tmp_path)


def test_product_combines_all_values():
    assert VARIANTS[1] == {"IO": "float", "SKIP": 1}
    assert len(VARIANTS) == 6
    assert product() == ({},)


def test_includes_are_in_place_once(program):
    source = program.source
    assert source.count("float own(") == 1
    assert source.count("struct bf16 {") == 1
    assert '#include "' not in source
    assert "#pragma once" not in source


def test_lines_keep_their_numbers(program):
    lines = program.source.splitlines()
    numbers, file, number = {}, None, 0
    for line in lines:
        if line.startswith("#line "):
            number, file = int(line.split()[1]) - 1, line.split('"')[1]
        else:
            number += 1
            numbers[file, number] = line
    for file, text in (("kernel.cu", SOURCE), ("own.cuh", OWN)):
        for at, line in enumerate(text.splitlines(), 1):
            if not line.startswith(("#include", "#pragma")):
                assert numbers[file, at] == line


def test_missing_include_is_named(tmp_path):
    _ = (tmp_path / "kernel.cu").write_text('#include "gone.cuh"\n')
    with pytest.raises(FileNotFoundError, match=r"gone\.cuh"):
        _ = Program("kernel.cu", folder=tmp_path).source


def test_entries_have_types_and_names(program):
    found = entries(program.source)
    assert set(found) == {"scale", "turn", "numbers"}
    assert found["scale"] == [
        ("IO *", "x"),
        ("IO *", "y"),
        ("float *", "by"),
        ("int", "count"),
        ("long long", "skip"),
    ]


@pytest.mark.parametrize("word", ["float", "bf16", "f16"])
@pytest.mark.parametrize("skip", [0, 3])
def test_kernel_computes(cupy, program, word, skip):
    dtype = {"float": np.float32, "bf16": BFLOAT16, "f16": np.float16}[word]
    x = cupy.asarray(np.arange(100).astype(dtype))
    y, by = cupy.zeros(100, dtype), cupy.asarray(floats([2]))
    kernel = program.kernel("scale", IO=word, SKIP=0)
    kernel((2,), (64,), (x, y, by, 100, skip))
    expected = 2 * np.arange(100.0) * (np.arange(100) >= skip)
    assert (y.get().astype(float) == expected).all()


def test_none_is_a_null_pointer(cupy, program):
    x, y = cupy.asarray(floats([3])), cupy.zeros(1, np.float32)
    program.kernel("scale", IO="float", SKIP=0)((1,), (64,), (x, y, None, 1, 0))
    assert y.get() == 3


def test_numbers_arrive_as_declared(cupy, program):
    y = cupy.zeros(3, np.float32)
    kernel = program.kernel("numbers", IO="float", SKIP=0)
    kernel((1,), (1,), (y, 0.5, np.int64(2**31), 2**40))
    assert (y.get() == [0.5, 2**31, 2**40]).all()
    kernel((1,), (1,), (y, np.float64(2), np.uint32(1), 0))
    assert (y.get() == [2, 1, 0]).all()


def test_kernels_are_made_once(program):
    first = program.kernel("scale", IO="bf16", SKIP=0)
    assert program.kernel("scale", IO="bf16", SKIP=0) is first
    assert program.kernel("scale", IO="bf16", SKIP=1) is not first
    assert program.kernel("turn", IO="bf16", SKIP=0) is not first


@pytest.mark.parametrize(
    ("macros", "message"),
    [
        ({"IO": "float"}, r"kernel.cu has no variant with macros \['IO'\]"),
        ({"IO": "float", "SKIP": 0, "N": 1}, r"has no variant with macros .*'N'"),
        ({"IO": "half", "SKIP": 0}, "has no variant with IO=half"),
    ],
)
def test_unknown_macros_are_refused(program, macros, message):
    with pytest.raises(ValueError, match=message):
        program.kernel("scale", **macros)


def test_integers_may_be_others_than_compiled_in_tests(cupy, program):
    x = cupy.asarray(np.arange(32, dtype=np.float32))
    kernel = program.kernel("turn", IO="float", SKIP=5)
    kernel((1,), (32,), (x, 32), shared=4 * 37)
    assert (x.get() == np.arange(32)[::-1]).all()


def arguments(cupy, **changes):
    given = {
        "x": cupy.zeros(4, BFLOAT16),
        "y": cupy.zeros(4, BFLOAT16),
        "by": cupy.zeros(1, np.float32),
        "count": 4,
        "skip": 0,
    }
    return tuple((given | changes).values())


WRONG = {
    "dtype": (
        lambda cp: {"x": cp.zeros(4, np.float32)},
        "x of kernel scale is float32",
    ),
    "other float": (lambda cp: {"by": cp.zeros(1, np.float64)}, "by .* is float64"),
    "host": (
        lambda _: {"x": np.zeros(4, BFLOAT16)},
        "x .* is ndarray; it needs a CuPy",
    ),
    "number": (lambda _: {"by": 1.0}, "by of kernel scale is float; it needs a CuPy"),
    "too large": (lambda _: {"count": 2**31}, "count of kernel scale is 2147483648"),
    "fraction": (lambda _: {"count": 2.5}, "count of kernel scale is 2.5"),
    "array": (lambda cp: {"count": cp.zeros(1, np.int32)}, "count of kernel scale is"),
    "missing": (lambda _: {"extra": 1}, "kernel scale has 5 parameters, not 6"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused(cupy, program, change, message):
    kernel = program.kernel("scale", IO="bf16", SKIP=0)
    kernel((1,), (64,), arguments(cupy))
    with pytest.raises(TypeError, match=message):
        kernel((1,), (64,), arguments(cupy, **change(cupy)))


def test_unknown_kernel_is_refused(program):
    with pytest.raises(ValueError, match='no extern "C" __global__ void gone'):
        program.kernel("gone", IO="float", SKIP=0)((1,), (1,), (1,))


def test_parameters_that_cannot_be_passed_are_refused():
    source = 'extern "C" __global__ void strange(struct Mine* x, double y) {}'
    with pytest.raises(ValueError, match="y of kernel strange is a double"):
        plan(source, "strange", {})


def test_empty_grid_launches_nothing(cupy, program):
    x = cupy.asarray(floats([1, 2]))
    kernel = program.kernel("turn", IO="float", SKIP=0)
    kernel((1, 0), (2,), (x, 2), shared=8)
    assert (x.get() == [1, 2]).all()
    kernel((1, 1), (2,), (x, 2), shared=8)
    assert (x.get() == [2, 1]).all()


@pytest.mark.parametrize(
    ("grid", "block", "message"),
    [
        ((1, 65536), (2,), r"kernel turn: grid \(1, 65536\)"),
        ((2**31,), (2,), "kernel turn: grid"),
        ((1,), (1025,), r"kernel turn: block \(1025,\) needs 1 to 1024 threads"),
        ((1,), (2, 0), "kernel turn: block"),
    ],
)
def test_sizes_beyond_every_device_are_refused(cupy, program, grid, block, message):
    x = cupy.zeros(2, np.float32)
    with pytest.raises(ValueError, match=message):
        program.kernel("turn", IO="float", SKIP=0)(grid, block, (x, 2), shared=8)


def test_shared_memory_is_asked_for_once(cupy, program):
    kernel = program.kernel("turn", IO="float", SKIP=0)
    x = cupy.asarray(floats([1, 2]))
    asked = []
    kernel.__dict__["_function"] = Asked(kernel._function, asked)
    for shared in (8, 50_000, 60_000, 55_000):
        kernel((1,), (2,), (x, 2), shared=shared)
    assert asked == [50_000, 60_000]
    assert (x.get() == [1, 2]).all()


class Asked:
    """A kernel of CuPy that notes how much shared memory it is granted."""

    function: Any
    asked: list[int]

    def __init__(self, function, asked):
        vars(self).update(function=function, asked=asked)

    def __call__(self, *args, **options):
        self.function(*args, **options)

    def __setattr__(self, name, value):
        self.asked.append(value)
        setattr(self.function, name, value)


def test_shared_memory_beyond_the_device_is_refused(cupy, program):
    x = cupy.zeros(2, np.float32)
    kernel = program.kernel("turn", IO="float", SKIP=0)
    _cupy.limit.cache_clear()
    with (
        using(shared_limit=101_376),
        pytest.raises(ValueError, match=r"needs 120000 bytes .* this GPU has 101376"),
    ):
        kernel((1,), (2,), (x, 2), shared=120_000)
    _cupy.limit.cache_clear()


def test_mistake_in_a_kernel_is_shown_with_file_and_line(cupy, tmp_path):
    wrong = SOURCE.replace("x[threadIdx.x];", "z[threadIdx.x];")
    _ = (tmp_path / "own.cuh").write_text(OWN)
    _ = (tmp_path / "kernel.cu").write_text(wrong)
    kernel = Program("kernel.cu", VARIANTS, folder=tmp_path).kernel(
        "turn", IO="bf16", SKIP=1
    )
    with pytest.raises(
        CompileError, match=r"-DIO=bf16 -DSKIP=1:\n(.*\n)*kernel.cu:16:"
    ):
        kernel((1,), (2,), (cupy.zeros(2, np.float32), 2), shared=16)


def test_budgets_hold_for_their_variants():
    budget = Budget("scale", registers=8, when={"IO": "bf16"})
    assert budget.holds_for("scale", {"IO": "bf16", "SKIP": 0})
    assert not budget.holds_for("scale", {"IO": "float", "SKIP": 0})
    assert not budget.holds_for("turn", {"IO": "bf16", "SKIP": 0})
    assert Budget("turn", registers=8).holds_for("turn", {})


class NoGpuError(RuntimeError):
    """As CuPy's CUDARuntimeError."""


def none_found():
    raise NoGpuError("cudaErrorNoDevice: no CUDA-capable device is detected")


@pytest.fixture
def fresh_caches():
    for function in (_cupy.cupy, _cupy.device_count, _cupy.limit):
        function.cache_clear()
    yield
    for function in (_cupy.cupy, _cupy.device_count, _cupy.limit):
        function.cache_clear()


@pytest.mark.usefixtures("fresh_caches")
@pytest.mark.parametrize(
    ("count", "message"),
    [
        (none_found, "^ssmref.gpu needs an NVIDIA GPU: cudaErrorNoDevice"),
        (lambda: 0, "^ssmref.gpu needs an NVIDIA GPU; CuPy finds none$"),
    ],
)
def test_missing_gpu_is_one_sentence(monkeypatch, program, count, message):
    runtime = SimpleNamespace(getDeviceCount=count, CUDARuntimeError=NoGpuError)
    cuda = SimpleNamespace(runtime=runtime)
    absent = SimpleNamespace(cuda=cuda, ndarray=int)
    monkeypatch.setitem(sys.modules, "cupy", absent)
    kernel = Kernel(program, "numbers", {"IO": "float", "SKIP": 0})
    with pytest.raises(RuntimeError, match=message):
        kernel((1,), (1,), (None, 1.0, 1, 1))


@pytest.mark.usefixtures("fresh_caches")
def test_missing_cupy_is_one_sentence(monkeypatch, program):
    monkeypatch.setitem(sys.modules, "cupy", None)
    kernel = program.kernel("numbers", IO="float", SKIP=0)
    with pytest.raises(ImportError, match=r"^ssmref.gpu needs CuPy.*ssmref\[gpu\]"):
        kernel((1,), (1,), (None, 1.0, 1, 1))
