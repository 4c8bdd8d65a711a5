"""Products of tiles: each precision, each way in which a factor comes about."""

from pathlib import Path

import numpy as np
import pytest
from ssmref.gpu._launch import KERNELS, Program, product

from ssmref.conformance.precision import dtype_of

K = 32
# Type in memory, parts of a number, and the error of a sum relative to its terms. The
# tensor cores cut off what they add up; a factor of TF32 is off by 2^-12 on average.
PRECISIONS = {
    "bf16": ("bf16", 1, "bfloat16", 2.0**-21),
    "f16": ("f16", 1, "float16", 2.0**-21),
    "tf32": ("float", 1, "float32", 2.0**-10),
    "tf32x3": ("float", 2, "float32", 2.0**-21),
}
# How factors come about: by states, or by time; the two have orders of their own.
LEFTS = {"rows_in_state": 0, "rows_in_time": 1, "weighted": 2}
RIGHTS = {"columns_in_state": 0, "columns_in_time": 1, "from_sums": 2}
PAIRS = (
    ("rows_in_state", "columns_in_state"),
    ("rows_in_state", "from_sums"),
    ("rows_in_time", "columns_in_time"),
    ("weighted", "columns_in_time"),
)
VARIANTS = product(
    IO=("bf16", "f16", "float"), PARTS=(1, 2), LEFT=range(3), RIGHT=range(3), K=(K,)
)
PRODUCTS = Program("products.cu", VARIANTS, folder=Path(__file__).parent)


def error(cupy, precision, left, right, program=PRODUCTS):
    """Return the largest error of a product, relative to the sum of absolute terms."""
    io, parts, name, _ = PRECISIONS[precision]
    dtype, rng = dtype_of(name), np.random.default_rng(LEFTS[left] + 3 * RIGHTS[right])
    a, b = (rng.standard_normal(s).astype(dtype) for s in ((16, K), (K, 16)))
    weights = rng.uniform(0.5, 2, K).astype(np.float32)
    start = rng.standard_normal((16, 16)).astype(np.float32)
    given_a = a.T if left == "weighted" else a
    given_b = b if right == "columns_in_time" else b.T
    arrays = [
        cupy.asarray(np.ascontiguousarray(x))
        for x in (given_a, given_b, weights, start)
    ]
    kernel = program.kernel(
        "product", IO=io, PARTS=parts, LEFT=LEFTS[left], RIGHT=RIGHTS[right], K=K
    )
    each = (K + 16) * (16 + 16 // a.itemsize) * a.itemsize
    kernel((1,), (32,), arrays, shared=2 * each)
    if left == "weighted":  # rounded once, and not at all where a number has two parts
        a = a.astype(np.float64) * weights
        a = a.astype(dtype) if parts == 1 and io != "float" else a
    a, b, start = (x.astype(np.float64) for x in (a, b, start))
    scale = np.abs(start) + np.abs(a) @ np.abs(b)
    return np.max(np.abs(arrays[3].get() - (start + a @ b)) / scale)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("left", "right"), PAIRS, ids="-".join)
def test_product(precision, left, right, cupy):
    assert 0 < error(cupy, precision, left, right) <= PRECISIONS[precision][3]


def test_one_part_of_tf32_is_coarse(cupy):
    assert error(cupy, "tf32", *PAIRS[0]) > 2.0**-17


# A piece of the header, what stands there instead, and who should see it.
FAULTS = {
    "rows of another lane": (
        "ldmatrix_x4(a.high[0], p + lane % 16 * stride + lane / 16 * 8);\n"
        "  } else {\n#pragma unroll\n    for (int i = 0; i < 4; ++i) {  // half i / 2",
        "ldmatrix_x4(a.high[0], p + (lane + 8) % 16 * stride + lane / 16 * 8);\n"
        "  } else {\n#pragma unroll\n    for (int i = 0; i < 4; ++i) {  // half i / 2",
        ("bf16", *PAIRS[0]),
    ),
    "columns that change places": (
        "ldmatrix_x4_trans(words, p + lane % 16 * stride + lane / 16 * 8)",
        "ldmatrix_x4_trans(words, p + lane % 16 * stride + (1 - lane / 16) * 8)",
        ("f16", *PAIRS[2]),
    ),
    "sums in the order of time": (
        "b.set(0, 1, first[at + 1]);\n    b.set(1, 0, second[at]);",
        "b.set(1, 0, first[at + 1]);\n    b.set(0, 1, second[at]);",
        ("tf32", *PAIRS[1]),
    ),
    "a small product is left out": (
        "mma_m16n8k8_tf32(apart, a.low[half], b.high[half]);",
        "",
        ("tf32x3", *PAIRS[0]),
    ),
    "weights of the other half": (
        "weight[half * 8 + i / 2 * 4 + c]",
        "weight[(1 - half) * 8 + i / 2 * 4 + c]",
        ("tf32x3", *PAIRS[3]),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault, cupy, tmp_path):
    right, wrong, (precision, *pair) = FAULTS[fault]
    header = (KERNELS / "products.cuh").read_text()
    assert header.count(right) == 1
    _ = (tmp_path / "products.cuh").write_text(header.replace(right, wrong))
    kernel = (PRODUCTS.folder / PRODUCTS.file).read_text()
    _ = (tmp_path / PRODUCTS.file).write_text(kernel)
    faulty = Program(PRODUCTS.file, VARIANTS, folder=tmp_path)
    found = error(cupy, precision, *pair, program=faulty)
    assert not found <= PRECISIONS[precision][3]
