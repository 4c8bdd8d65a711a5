"""Tensor cores: fragments, and the error of the sum, against NumPy's products."""

import ml_dtypes
import numpy as np
import pytest
from hostcupy.kernels import KernelFault
from hostcupy.module import cupy
from hostcupy.settings import using

# What the PTX ISA says of the fragments, written out once more: here a thread loads
# its own, so that both would have to be wrong in the same way.
HALVES = """
#include <ssm_host.h>
extern "C" __global__ void multiply(const IO* a, const IO* b, float* d) {
  const int row = threadIdx.x / 4, pair = threadIdx.x % 4;
  const unsigned* a2 = reinterpret_cast<const unsigned*>(a);  // 16 rows of 8 words
  const unsigned* b2 = reinterpret_cast<const unsigned*>(b);  // 8 columns of 8 words
  unsigned x[4] = {a2[row * 8 + pair], a2[(row + 8) * 8 + pair],
                   a2[row * 8 + pair + 4], a2[(row + 8) * 8 + pair + 4]};
  unsigned y[2] = {b2[row * 8 + pair], b2[row * 8 + pair + 4]};
  float z[4];
  for (int i = 0; i < 4; ++i) z[i] = d[(row + i / 2 * 8) * 8 + pair * 2 + i % 2];
  mma_m16n8k16<IO>(z, x, y);
  for (int i = 0; i < 4; ++i) d[(row + i / 2 * 8) * 8 + pair * 2 + i % 2] = z[i];
}
"""
TF32 = """
#include <ssm_host.h>
extern "C" __global__ void multiply(const float* a, const float* b, float* d) {
  const int row = threadIdx.x / 4, k = threadIdx.x % 4;
  unsigned x[4] = {CONVERT(a[row * 8 + k]), CONVERT(a[(row + 8) * 8 + k]),
                   CONVERT(a[row * 8 + k + 4]), CONVERT(a[(row + 8) * 8 + k + 4])};
  unsigned y[2] = {CONVERT(b[row * 8 + k]), CONVERT(b[row * 8 + k + 4])};
  float z[4];
  for (int i = 0; i < 4; ++i) z[i] = d[(row + i / 2 * 8) * 8 + k * 2 + i % 2];
  mma_m16n8k8_tf32(z, x, y);
  for (int i = 0; i < 4; ++i) d[(row + i / 2 * 8) * 8 + k * 2 + i % 2] = z[i];
}
"""
LOAD = """
#include <ssm_host.h>
extern "C" __global__ void load(const unsigned short* in, unsigned* out) {
  SSM_DYN_SMEM(unsigned short, tile);
  const int lane = threadIdx.x;
  for (int i = lane; i < 32 * 8; i += 32) tile[i] = in[i];
  __syncwarp();
  unsigned r[COUNT];
  LOAD(r, tile + (lane * 8 + SHIFT) % (32 * 8));
  for (int i = 0; i < COUNT; ++i) out[lane * COUNT + i] = r[i];
}
"""
TYPES = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}
each_type = pytest.mark.parametrize("word", TYPES)


def product(code: str, a: np.ndarray, b: np.ndarray, d: np.ndarray, *options: str):
    """Return ``d + a b`` by one warp; `b` has its columns one after the other."""
    function = cupy.RawModule(code=code, options=options).get_function("multiply")
    result = cupy.asarray(d)
    with using(seed=1):
        function((1,), (32,), (cupy.asarray(a), cupy.asarray(b), result))
    return result.get()


def operands(k: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal(s).astype(np.float32) for s in ((16, k), (8, k), (16, 8))
    ]


@each_type
def test_product_of_halves(word):
    a, b, d = operands(16)
    low = a.astype(TYPES[word]), b.astype(TYPES[word])
    found = product(HALVES, *low, d, f"-DIO={word}")
    exact = d + low[0].astype(np.float64) @ low[1].astype(np.float64).T
    assert np.abs(found - exact).max() < 3e-6


@pytest.mark.parametrize("convert", ["to_tf32", "__float_as_uint"])
def test_product_of_tf32_does_not_see_the_last_bits(convert):
    a, b, d = operands(8)
    found = product(TF32, a, b, d, f"-DCONVERT={convert}")
    half = np.uint32(0x1000 if convert == "to_tf32" else 0)
    x, y = (
        ((m.view(np.uint32) + half) & np.uint32(0xFFFFE000)).view(np.float32)
        for m in (a, b)
    )
    assert np.abs(found - (d + x.astype(np.float64) @ y.T)).max() < 3e-6
    assert np.abs(found - (d + a.astype(np.float64) @ b.T)).max() > 1e-5


@each_type
def test_sum_is_cut_off_and_not_rounded(word):
    """Addends lose what is beyond 24 bits of the largest: 1 + 8 * 0.9 ulp is 1."""
    a, b = np.zeros((16, 16), np.float32), np.ones((8, 16), np.float32)
    a[:, :8], b[:, :8] = 0.9375 * 2.0**-12, 2.0**-11
    found = product(
        HALVES,
        a.astype(TYPES[word]),
        b.astype(TYPES[word]),
        np.ones((16, 8), np.float32),
        f"-DIO={word}",
    )
    assert (found == 1).all()


def test_infinities_and_nan_come_through():
    a, b, d = (np.ones(s, np.float32) for s in ((16, 16), (8, 16), (16, 8)))
    a[3, 2], d[5, 1] = np.inf, np.nan
    found = product(HALVES, a.astype(np.float16), b.astype(np.float16), d, "-DIO=f16")
    assert np.isinf(found[3]).all()
    assert np.isnan(found[5, 1])
    assert (np.delete(found, [3, 5], axis=0) == 17).all()


def loaded(count: int, transposed: bool, shift: int = 0) -> np.ndarray:
    name = f"ldmatrix_x{count}{'_trans' * transposed}"
    options = f"-DCOUNT={count}", f"-DLOAD={name}", f"-DSHIFT={shift}"
    function = cupy.RawModule(code=LOAD, options=options).get_function("load")
    given, out = np.arange(256, dtype=np.uint16), cupy.empty((32, count), np.uint32)
    function((1,), (32,), (cupy.asarray(given), out), shared_mem=512)
    return out.get()


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_matrices_are_loaded_by_rows_or_columns(count, transposed):
    matrices = np.arange(256).reshape(4, 8, 8)[:count]
    if transposed:
        matrices = matrices.transpose(0, 2, 1)
    pairs = matrices.reshape(count, 32, 2)
    expected = (pairs[..., 0] | pairs[..., 1] << 16).T
    assert (loaded(count, transposed) == expected).all()


def test_rows_of_matrices_are_aligned():
    with pytest.raises(KernelFault, match="row at an address that is not a multiple"):
        loaded(4, False, shift=4)


def test_rows_of_matrices_are_in_shared_memory():
    code = LOAD.replace("tile + (lane", "in + (lane")
    options = "-DCOUNT=4", "-DLOAD=ldmatrix_x4", "-DSHIFT=0"
    function = cupy.RawModule(code=code, options=options).get_function("load")
    arguments = cupy.zeros(256, np.uint16), cupy.empty((32, 4), np.uint32)
    with pytest.raises(KernelFault, match="outside of the block's shared memory"):
        function((1,), (32,), arguments, shared_mem=512)
