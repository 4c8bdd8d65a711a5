"""The room below the limit: ratios of correct implementations, and false rejects."""

import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from ..ops import OPS, Op, implementation
from .cases.case import Case
from .catalogue import LEVELS, cases_of, covered_ops
from .outputs import flatten
from .precision import dtype_of, is_low, rounded, wide
from .truth import Truth, truth
from .vectors.export import fits
from .verdict import LIMIT, judge

CHUNKS = (16, 32, 64, 128, 256)
DTYPES = ("float32", "float64", "bfloat16", "float16")
# Their errors are relative to the whole signal, so they are no candidates.
SPECTRAL = ("fft", "convolution")


@dataclass(frozen=True)
class Margin:
    """How close the correct runs of an op come to the limit in each dtype."""

    op: str
    runs: int
    rejected: int
    worst: dict[str, float]


def margin(op: str) -> Margin:
    """Run every form of golden on the core cases of an op in every dtype.

    In the low dtypes as a careful kernel does: float32 inside, y rounded once.
    """
    found = {name: list(_ratios(op, dtype_of(name))) for name in DTYPES}
    ratios = [ratio for of_dtype in found.values() for ratio in of_dtype]
    return Margin(
        op,
        len(ratios),
        sum(not ratio <= LIMIT for ratio in ratios),
        {name: max(of_dtype, default=0.0) for name, of_dtype in found.items()},
    )


def _ratios(op: str, dtype: np.dtype) -> Iterator[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # float32 overflows where cases are extreme
        for case in cases_of(op):
            if not fits(case, dtype):
                continue
            expected = truth(case, dtype)
            for form, options in _forms(OPS[op]):
                outputs = _run(case, expected, form, options)
                yield judge(case, expected, outputs).ratio


def _forms(op: Op) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "", {}
    for form in op.forms:
        if form == "chunked":
            yield from ((form, {"chunk_size": size}) for size in CHUNKS)
        elif form not in SPECTRAL:
            yield form, {}


def _run(
    case: Case, expected: Truth, form: str, options: dict[str, Any]
) -> dict[str, np.ndarray]:
    op = OPS[case.op]
    module = import_module(f"ssmref.golden.{op.module}")
    function = getattr(module, f"{op.function}_{form}" if form else op.function)
    arguments = rounded(expected.arguments, wide(expected.dtype))
    outputs = flatten(op, function(**arguments, **options))
    if is_low(expected.dtype) and "y" in outputs:
        outputs["y"] = outputs["y"].astype(expected.dtype)
    return outputs


def seconds(levels: Iterable[str] = LEVELS) -> dict[str, tuple[int, float]]:
    """Return, for each level, its cases and how long golden takes in float32."""
    return {level: _seconds(level) for level in levels}


def _seconds(level: str) -> tuple[int, float]:
    dtype, total, count = np.dtype(np.float32), 0.0, 0
    for op in covered_ops():
        golden = implementation(OPS[op], "ssmref.golden")
        for case in cases_of(op, level):
            arguments = case.arguments(dtype)
            start = time.perf_counter()
            with np.errstate(all="ignore"):
                golden(**arguments)
            total, count = total + time.perf_counter() - start, count + 1
    return count, total
