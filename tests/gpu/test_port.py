"""What the port header promises: one instruction on GPUs, the same on the host."""

import re

import ml_dtypes
import numpy as np
import pytest
from hostcupy.settings import using
from ssmref.gpu._launch import Program, product
from support.gate import findings
from support.nvrtc import ARCHITECTURES, needs_nvrtc

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = {"float": np.dtype(np.float32), "bf16": BFLOAT16, "f16": np.dtype(np.float16)}

# What each function of the port has to become: all of these opcodes. Some have another
# name on other architectures.
BECOMES = {
    "y[0] = ex2(x[0]);": r"MUFU\.EX2",
    "y[0] = lg2(x[0]);": r"MUFU\.LG2",
    "y[0] = rcp_approx(x[0]);": r"MUFU\.RCP",
    "y[0] = rsqrt_approx(x[0]);": r"MUFU\.RSQ",
    "y[0] = sqrt_approx(x[0]);": r"MUFU\.(SQRT|RSQ)",
    "y[0] = tanh_approx(x[0]);": r"MUFU\.TANH",
    "cp_async16(room, x);": r"LDGSTS\.E\.BYPASS\.(LTC128B\.)?128",
    "cp_async8(room, x);": r"LDGSTS\.E\.(LTC128B\.)?64",
    "cp_async4(room, x);": r"LDGSTS\.E(\.LTC128B)?",
    "cp_async16_zfill(room, x, n);": r"LDGSTS\.E\.BYPASS\.(LTC128B\.)?128(\.ZFILL)?",
    "cp_async8_zfill(room, x, n);": r"LDGSTS\.E\.(LTC128B\.)?64(\.ZFILL)?",
    "cp_async4_zfill(room, x, n);": r"LDGSTS\.E(\.LTC128B)?(\.ZFILL)?",
    "cp_async4(room, x); cp_async_commit();": r"LDGDEPBAR",
    "cp_async4(room, x); cp_async_commit(); cp_async_wait<0>();": r"DEPBAR(\.LE)?",
    "unsigned r[1]; ldmatrix_x1(r, room); y[0] = r[0];": r"LDSM\.16\.M88",
    "unsigned r[2]; ldmatrix_x2(r, room); y[0] = r[1];": r"LDSM\.16\.M88\.2",
    "unsigned r[4]; ldmatrix_x4(r, room); y[0] = r[3];": r"LDSM\.16\.M88\.4",
    "unsigned r[1]; ldmatrix_x1_trans(r, room); y[0] = r[0];": r"LDSM\.16\.MT88",
    "unsigned r[2]; ldmatrix_x2_trans(r, room); y[0] = r[1];": r"LDSM\.16\.MT88\.2",
    "unsigned r[4]; ldmatrix_x4_trans(r, room); y[0] = r[3];": r"LDSM\.16\.MT88\.4",
    "mma_m16n8k16<bf16>(d, a, b); y[0] = d[0];": r"HMMA\.16816\.F32\.BF16",
    "mma_m16n8k16<f16>(d, a, b); y[0] = d[0];": r"HMMA\.16816\.F32",
    "mma_m16n8k8_tf32(d, a, b); y[0] = d[0];": r"HMMA\.1688\.F32\.TF32",
    "y[0] = __uint_as_float(to_tf32(x[0]));": r"IMAD\.IADD\.U32",
    "b[0] = pack2<bf16>(x[0], x[1]); y[0] = b[0];": r"F2FP\.BF16.*",
    "b[0] = pack2<f16>(x[0], x[1]); y[0] = b[0];": r"F2FP\.(F16.*|PACK_AB)",
    "y[0] = ld_acquire(flag);": r"LDG?\.E\.STRONG\.GPU",
    "y[0] = ld_acquire((unsigned long long*)flag);": r"LDG?\.E\.64\.STRONG\.GPU",
    "st_release(flag, 1u);": r"STG?\.E\.STRONG\.GPU",
    "st_release((unsigned long long*)flag, 1ull);": r"STG?\.E\.64\.STRONG\.GPU",
}
KERNEL = """
extern "C" __global__ void
k%d(const float* x, float* y, unsigned* flag, int n) {
  SSM_DYN_SMEM(float, room);
  unsigned a[4] = {flag[0], flag[1], flag[2], flag[3]}, b[2] = {flag[4], flag[5]};
  float d[4] = {x[4], x[5], x[6], x[7]};
  %s
}
"""


def program(tmp_path, source, variants=({},)):
    _ = (tmp_path / "kernel.cu").write_text(source)
    return Program("kernel.cu", variants, folder=tmp_path)


@needs_nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_functions_become_instructions(tmp_path, architecture):
    texts = [KERNEL % pair for pair in enumerate(BECOMES)]
    every = program(tmp_path, "\n".join(['#include "port.cuh"', *texts]))
    found = {f.kernel: f.listing for f in findings(every, architecture)}
    assert len(found) == len(BECOMES)
    for i, (body, opcode) in enumerate(BECOMES.items()):
        names = set(found[f"k{i}"].opcodes.values())
        assert any(re.fullmatch(opcode, name) for name in names), (body, sorted(names))


COPY = """
#include "io.cuh"

// Thread i copies WIDTH numbers; the last ones only as far as there are any.
extern "C" __global__ void copy(const IO* x, IO* y, float* wide, int count) {
  const int first = (blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
  const int left = count - first;
  if (left <= 0) return;
  float v[WIDTH];
  if (left >= WIDTH && WHOLE) load<WIDTH>(v, x + first);
  else load_some<WIDTH>(v, x + first, left, -7.f);
#pragma unroll
  for (int i = 0; i < WIDTH; ++i) wide[first + i] = v[i];
  if (left >= WIDTH && WHOLE) store<WIDTH>(y + first, v);
  else store_some<WIDTH>(y + first, v, left);
}
"""
COPIES = product(IO=("float", "bf16", "f16"), WIDTH=(2, 4, 8, 16), WHOLE=(0, 1))


@pytest.mark.parametrize("width", [2, 4, 8, 16])
@pytest.mark.parametrize("word", DTYPES)
@pytest.mark.parametrize("offset", [0, 1])
def test_rows_are_loaded_and_stored(cupy, tmp_path, width, word, offset):
    """Any address, any count; numbers beyond the end are left alone."""
    dtype, count = DTYPES[word], 5 * width + 1
    host = np.random.default_rng(0).standard_normal(count).astype(dtype)
    with using(offset=offset):
        x, y = cupy.asarray(host), cupy.asarray(np.zeros_like(host))
    wide = cupy.zeros(6 * width, np.float32)
    kernel = program(tmp_path, COPY, COPIES).kernel(
        "copy", IO=word, WIDTH=width, WHOLE=int(offset == 0)
    )
    kernel((1,), (8,), (x, y, wide, count))
    assert y.get().tobytes() == host.tobytes()
    assert (wide.get()[:count] == host.astype(np.float32)).all()
    assert (wide.get()[count:] == -7).all()


@needs_nvrtc
@pytest.mark.parametrize("architecture", [80, 120])
def test_whole_rows_take_the_widest_accesses(tmp_path, architecture):
    for finding in findings(program(tmp_path, COPY, COPIES), architecture):
        macros = finding.variant
        size = int(macros["WIDTH"]) * DTYPES[str(macros["IO"])].itemsize
        suffix = {4: "", 8: ".64", 16: ".128"}[min(size, 16)]
        for opcode in ("LDG.E", "STG.E"):
            found = finding.listing.count(f"{opcode}{suffix}") > 0
            assert found or not macros["WHOLE"], str(finding)


ROUNDING = """
#include "port.cuh"

extern "C" __global__ void
round_all(const float* x, IO* single, IO* low, IO* high, float* back, int count) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  single[i] = from_float<IO>(x[i]);
  const unsigned both = pack2<IO>(x[i], x[count - 1 - i]);
  low[i].bits = both & 0xffff;
  high[i].bits = both >> 16;
  float a, b;
  unpack2<IO>(both, a, b);
  back[i] = a;
  back[count + i] = b;
}
"""


@pytest.mark.parametrize("word", ["bf16", "f16"])
def test_rounding_is_to_nearest_even(cupy, tmp_path, word):
    dtype = DTYPES[word]
    rng = np.random.default_rng(0)
    ties = (1 + np.arange(64) / 32 * 2.0 ** -(7 if word == "bf16" else 10)).astype("f4")
    x = np.concatenate([rng.standard_normal(100), ties, [0, -0.0, np.inf, 1e30, 6e-8]])
    x = x.astype(np.float32)
    with np.errstate(over="ignore"):
        expected = x.astype(dtype)
    count = x.size
    made = [cupy.zeros(count, dtype) for _ in range(3)]
    back = cupy.zeros(2 * count, np.float32)
    kernel = program(tmp_path, ROUNDING, product(IO=("bf16", "f16"))).kernel(
        "round_all", IO=word
    )
    kernel((2,), (128,), (cupy.asarray(x), *made, back, count))
    for array, right in zip(made, (expected, expected, expected[::-1]), strict=True):
        assert array.get().tobytes() == np.ascontiguousarray(right).tobytes()
    wide = expected.astype(np.float32)
    assert (back.get() == np.concatenate([wide, wide[::-1]])).all()
