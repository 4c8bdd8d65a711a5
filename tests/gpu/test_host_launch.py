"""Launches: arguments, limits, blocks, shared memory, copies, order."""

from collections.abc import Sequence

import ml_dtypes
import numpy as np
import pytest
from hostcupy import build
from hostcupy.kernels import CompileException, CUDARuntimeError, Function
from hostcupy.module import cupy
from hostcupy.settings import using

CODE = """
#include <ssm_host.h>
// extern "C" __global__ void commented(int a) {}
#if MISSING
extern "C" __global__ void missing(int a) {}
#endif
extern "C" __global__ void __launch_bounds__(2 * (SIZE + 16), 3) numbers(
    float* out, int a, unsigned b, long long c, float d, const IO* e) {
  out[0] = a, out[1] = b, out[2] = c, out[3] = d, out[4] = e ? to_float(e[0]) : -7.f;
}
extern "C" __global__ void where(unsigned* out) {
  unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  out[block * threads + thread] += block * 1000 + thread;
}
extern "C" __global__ void order(unsigned* count, unsigned* out) {
  out[atomicAdd(count, 1u)] = blockIdx.x * blockDim.x + threadIdx.x;
  __syncthreads();
  out[atomicAdd(count, 1u)] = blockIdx.x * blockDim.x + threadIdx.x;
}
extern "C" __global__ void remember(const int* in, int* out, int n) {
  SSM_DYN_SMEM(int, tile);
  out[blockIdx.x * n] = tile[n - 1];
  tile[n - 1] = in[0];
}
extern "C" __global__ void copies(const float* in, float* out) {
  SSM_DYN_SMEM(float, tile);
  for (int stage = 0; stage < 3; ++stage) {
    cp_async16(tile + 4 * stage, in + 4 * stage);
    cp_async_commit();
  }
  cp_async16_zfill(tile + 12, in, 8);
  cp_async_wait<1>();
  for (int i = 0; i < 16; ++i) out[i] = tile[i];
  cp_async_commit();
  cp_async_wait<0>();
  for (int i = 0; i < 16; ++i) out[16 + i] = tile[i];
}
// A sum over blocks, each waiting for the one before it.
extern "C" __global__ void look_back(unsigned* ticket, float* sums, const float* in) {
  SSM_DYN_SMEM(unsigned, tile);
  if (threadIdx.x == 0) {
    tile[0] = atomicAdd(ticket, 1u);
    while (ld_acquire(ticket + 1) != tile[0]) __nanosleep(20);
    float before = tile[0] ? sums[tile[0] - 1] : 0.f;
    sums[tile[0]] = before + in[tile[0]];
    st_release(ticket + 1, tile[0] + 1);
  }
}
"""
OPTIONS = "-std=c++17", "-DIO=bf16", "-DSIZE=48"


def kernel(name: str, *options: str) -> Function:
    return cupy.RawModule(code=CODE, options=(*OPTIONS, *options)).get_function(name)


def numbers(*args: object) -> list[float]:
    out = cupy.empty(5, np.float32)
    kernel("numbers")((1,), (1,), (out, *args))
    return out.tolist()


FITTING = (np.int32(-5), np.uint32(6), np.int64(1 << 40), np.float32(0.5), None)


def test_arguments_arrive():
    array = cupy.asarray(np.array([1.5], ml_dtypes.bfloat16))
    assert numbers(*FITTING) == [-5, 6, 1 << 40, 0.5, -7]
    assert numbers(*FITTING[:4], array) == [-5, 6, 1 << 40, 0.5, 1.5]


WRONG = {
    "a Python int": (0, 5),
    "a float for an int": (0, np.float32(5)),
    "a wider int": (0, np.int64(5)),
    "a signed for an unsigned": (1, np.int32(5)),
    "a Python float": (3, 0.5),
    "a double": (3, np.float64(0.5)),
    "a number for a pointer": (4, np.int64(0)),
    "an array of NumPy": (4, np.zeros(3, np.float32)),
    "an array of another dtype": (4, cupy.zeros(3, np.float32)),
    "a pointer for a number": (0, cupy.zeros(1, np.int32)),
}


@pytest.mark.parametrize("what", WRONG)
def test_arguments_of_other_types_are_refused(what):
    place, value = WRONG[what]
    given = [*FITTING[:place], value, *FITTING[place + 1 :]]
    with pytest.raises(TypeError, match=f"numbers, argument {place + 1} "):
        numbers(*given)


def test_too_few_arguments_are_refused():
    with pytest.raises(TypeError, match="6 parameters, not 5"):
        numbers(*FITTING[:4])


LAUNCHES = {
    "an empty grid": ((0,), (1,), 0, "grid is"),
    "a high grid": ((1, 65536), (1,), 0, "grid is"),
    "a large block": ((1,), (1025,), 0, "block is"),
    "more threads than bounded": ((1,), (129,), 0, "for 128 at most"),
    "much shared memory": ((1,), (1,), 49153, "49152 are granted"),
}


@pytest.mark.parametrize("what", LAUNCHES)
def test_launches_that_a_driver_refuses_are_refused(what):
    grid, block, shared, message = LAUNCHES[what]
    arguments = cupy.empty(5, np.float32), *FITTING
    with pytest.raises(CUDARuntimeError, match=message):
        kernel("numbers")(grid, block, arguments, shared_mem=shared)
    kernel("numbers")((1,), (128,), arguments, shared_mem=49152)


def test_shared_memory_is_granted_up_to_the_device():
    function = kernel("remember")
    arguments = cupy.zeros(1, np.int32), cupy.zeros(99999, np.int32), np.int32(20000)
    function.max_dynamic_shared_size_bytes = 80000
    function((1,), (1,), arguments, shared_mem=80000)
    with using(shared_limit=65536), pytest.raises(CUDARuntimeError, match="65536 are"):
        function((1,), (1,), arguments, shared_mem=80000)


def test_kernels_are_found_as_the_preprocessor_leaves_them():
    found = build.kernels(CODE, OPTIONS)
    assert {*found} == {"numbers", "where", "order", "remember", "copies", "look_back"}
    assert found["where"] == "0"
    assert "missing" in build.kernels(CODE, (*OPTIONS, "-DMISSING=1"))
    assert kernel("numbers").max_threads_per_block == 128
    assert kernel("where").max_threads_per_block == 1024
    with pytest.raises(CUDARuntimeError, match="not found: missing"):
        kernel("missing")


def test_compiler_complains_with_the_line_of_the_kernel():
    code = f'{CODE}\n#line 7 "mistaken.cu"\nint mistake = "text";\n'
    module = cupy.RawModule(code=code, options=OPTIONS)
    with pytest.raises(CompileException, match=r"mistaken\.cu:7"):
        module.get_function("where")


@pytest.mark.parametrize("option", ["-I/usr/include", "--use_fast_math", "-O0"])
def test_options_that_mean_nothing_here_are_refused(option):
    with pytest.raises(ValueError, match=option):
        cupy.RawModule(code=CODE, options=(option,))


def test_a_macro_may_be_called_as_something_in_the_runtime():
    names = ("K", "COUNT", "LANES", "Warp", "site", "ULP", "launch", "Block")
    kernel("where", *(f"-D{name}=99" for name in names))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("resident", [1, 3, 99])
@pytest.mark.parametrize(
    ("grid", "block"), [((1,), (1,)), ((5,), (33,)), ((2, 3, 2), (4, 3, 5))]
)
def test_every_thread_of_every_block_runs_once(grid, block, resident, seed):
    blocks, threads = int(np.prod(grid)), int(np.prod(block))
    out = cupy.zeros((blocks, threads), np.uint32)
    with using(resident=resident, seed=seed):
        kernel("where")(grid, block, (out,))
    expected = np.arange(blocks)[:, None] * 1000 + np.arange(threads)
    assert (out.get() == expected).all()


def order(resident: int, seed: int) -> Sequence[int]:
    count, out = cupy.zeros(1, np.uint32), cupy.empty(4 * 2 * 64, np.uint32)
    with using(resident=resident, seed=seed):
        kernel("order")((4,), (64,), (count, out))
    return tuple(out.tolist())


def test_order_depends_on_the_seed_and_on_nothing_else():
    orders = {seed: order(2, seed) for seed in range(4)}
    assert len({*orders.values()}) == 4
    assert all(order(2, seed) == found for seed, found in orders.items())
    assert order(1, 1) != order(2, 1)


def test_resident_blocks_are_mixed_and_others_are_not():
    blocks = np.array(order(1, 3)) // 64
    assert (np.diff(blocks) >= 0).all()
    blocks = np.array(order(2, 3)) // 64
    assert (np.diff(blocks) < 0).any()
    assert {*blocks[:128]} <= {0, 1, 2}


@pytest.mark.parametrize("resident", [1, 2])
def test_shared_memory_of_a_block_holds_nothing_of_the_one_before(resident):
    out = cupy.zeros(40, np.int32)
    arguments = cupy.asarray(np.array([5], np.int32)), out, np.int32(10)
    with using(resident=resident):
        kernel("remember")((4,), (1,), arguments, shared_mem=40)
    assert out[::10].tolist() == [-1] * 4


def test_copies_arrive_in_groups_when_they_are_waited_for():
    given = np.arange(1, 13, dtype=np.float32)
    out = cupy.zeros(32, np.float32)
    kernel("copies")((1,), (1,), (cupy.asarray(given), out), shared_mem=64)
    early, late = out.get().reshape(2, 16)
    assert (early[:8] == given[:8]).all()
    assert np.isnan(early[8:]).all()
    assert (late[:12] == given).all()
    assert late[12:].tolist() == [1, 2, 0, 0]


@pytest.mark.parametrize("resident", [1, 4, 16])
@pytest.mark.parametrize("seed", [0, 5])
def test_blocks_that_look_back_come_to_an_end(resident, seed):
    given = np.arange(16, dtype=np.float32)
    ticket, sums = cupy.zeros(2, np.uint32), cupy.empty(16, np.float32)
    with using(resident=resident, seed=seed):
        arguments = ticket, sums, cupy.asarray(given)
        kernel("look_back")((16,), (64,), arguments, shared_mem=4)
    assert (sums.get() == np.cumsum(given)).all()


@pytest.mark.parametrize("seed", [0, 3])
def test_fibers_of_the_c_library_run_in_the_same_order(seed):
    """For processors that the hand-written switch does not know."""
    usual = order(2, seed)
    with using(mode="ucontext"):
        assert order(2, seed) == usual


def test_an_unfinished_build_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("SSMREF_HOST_CACHE", str(tmp_path))

    def interrupted(path):
        path.write_text("half of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build.built("thing", ["a"], interrupted)
    assert build.built("thing", ["a"], lambda path: path.write_text("all")).exists()
    made = build.built("thing", ["a"], interrupted)
    assert made.read_text() == "all"
    assert build.built("thing", ["b"], lambda path: path.write_text("b")) != made
