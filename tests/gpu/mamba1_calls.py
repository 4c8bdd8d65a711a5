"""Calls of Mamba-1 on the GPU, and their judge: for the tests beside.

The judge is the suite's: golden in extended precision, its scale and its limit.
"""

import ml_dtypes
import numpy as np
from emulated import on_numpy
from ssmref.gpu import _mamba1_operands, mamba1
from ssmref.gpu._mamba1_plan import Plan, tiling
from support.mamba1_inputs import selective_scan_inputs

from ssmref.conformance.cases.case import Case
from ssmref.conformance.precision import dtype_of
from ssmref.conformance.run import verify_case
from ssmref.conformance.verdict import PASSED

LOW_DTYPES = ("bfloat16", "float16")
DTYPES = ("float32", *LOW_DTYPES)
FLOAT32 = np.dtype(np.float32)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
LOW = ("u", "dt", "z", "B", "C")

scan = on_numpy(mamba1.selective_scan)
step = on_numpy(mamba1.selective_scan_step)


def judged(function, op, call, dtype="float32"):
    """Return the verdict of the suite on `function` for these arguments."""
    case = Case(f"mamba1.{op}", "random", "here", "", lambda _: dict(call))
    return verify_case(function, case, dtype_of(dtype))


def right(function, op, call, dtype="float32"):
    verdict = judged(function, op, call, dtype)
    assert verdict.status == PASSED, f"{verdict.message} {verdict.findings}"


def inputs(seed=0, **sizes):
    return selective_scan_inputs(np.random.default_rng(seed), **sizes)


def packed(lengths, seed=0, **sizes):
    """Return inputs of a pack of sequences of these lengths."""
    call = inputs(seed, batch=1, length=sum(lengths), initial_state=False, **sizes)
    rows = len(lengths), *call["A"].shape
    bounds = np.cumsum([0, *lengths], dtype=np.int64)
    state = np.random.default_rng(seed + 1).standard_normal(rows)
    return call | {"cu_seqlens": bounds, "initial_state": state}


def on_device(cupy, call, dtype=FLOAT32):
    """Return the arguments as arrays on the device: per token in `dtype`."""
    return {
        name: cupy.asarray(value.astype(kind_of(name, value, dtype)))
        if isinstance(value, np.ndarray)
        else value
        for name, value in call.items()
    }


def kind_of(name, value, dtype):
    if value.dtype.kind in "iu":
        return value.dtype
    if value.dtype.kind == "c":
        return np.complex64
    return dtype if name in LOW else np.float32


def host(results):
    return [result.get() for result in results]


def same(got, expected):
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one.astype(np.float32), other.astype(np.float32))


def cut(monkeypatch, length: int, rows: int = 1) -> None:
    """Plan segments of a length, and one or two channels of a lane."""

    def planned(work):
        sizes = work.state, work.numbers, work.per_group, work.itemsize
        return Plan(tiling(*sizes, rows=rows), length)

    monkeypatch.setattr(_mamba1_operands, "plan", planned)


def by_time(cupy, array):
    """Return the same numbers, as the transposed view of (batch, channels, length)."""
    return cupy.asarray(array.get().transpose(0, 2, 1).copy()).transpose(0, 2, 1)


def floats(value):
    is_real = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return value.astype(np.float32) if is_real else value
