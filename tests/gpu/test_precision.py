"""Float32 multiplied as TF32: only where asked for, and judged as what it is."""

import inspect
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from emulated import offered, on_numpy
from judging import device_op, on_device, verdict_on
from ssmref.gpu import precision
from ssmref.gpu._launch import Kernel
from ssmref.gpu._types import BFLOAT16, FLOAT16, FLOAT32

from ssmref.conformance import precision as judged
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.verdict import FAILED, PASSED

DTYPES = (FLOAT32, BFLOAT16, FLOAT16)
# Ops whose kernels multiply tiles, and a case of each with sums long enough to tell.
OPS = {
    "mamba2.ssd": "chunks",
    "mamba3.siso": "chunks",
    "mamba3.mimo": "chunks",
    "attention.attention": "above-block",
}


def parts():
    return [precision.parts(dtype) for dtype in DTYPES]


def test_only_float32_has_parts_and_only_outside():
    assert parts() == [2, 1, 1]
    with precision.tf32():
        assert parts() == [1, 1, 1]
    assert parts() == [2, 1, 1]


def test_an_error_ends_it():
    with pytest.raises(KeyError), precision.tf32():
        raise KeyError
    assert parts() == [2, 1, 1]


def test_the_suite_knows_the_same_ops():
    assert set(judged.MULTIPLYING) == set(OPS)


def test_other_threads_do_not_see_it():
    with precision.tf32(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(parts).result() == [2, 1, 1]


def test_judge_knows_tf32_for_float32_alone():
    before = [judged.eps_and_tiny(dtype) for dtype in DTYPES]
    with judged.tf32():
        eps, tiny = judged.eps_and_tiny(FLOAT32)
        assert (eps, tiny) == (2.0**-10, np.finfo(np.float32).tiny)
        assert [judged.eps_and_tiny(dtype) for dtype in DTYPES[1:]] == before[1:]
    assert [judged.eps_and_tiny(dtype) for dtype in DTYPES] == before


def coarse(name):
    """Return an op as a function of NumPy arrays that multiplies as TF32."""
    function = on_numpy(device_op(name))

    def call(*args, **kwargs):
        with precision.tf32():
            return function(*args, **kwargs)

    call.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return call


def arguments(name):
    case = next(c for c in cases_of(name) if c.family == OPS[name])
    return case.arguments(np.dtype(np.float64))


@pytest.mark.parametrize("name", OPS)
def test_tf32_is_right_as_tf32_and_wrong_as_float32(name):
    call = arguments(name)
    assert verdict_on(coarse(name), name, call).status == FAILED
    with judged.tf32():
        assert verdict_on(coarse(name), name, call).status == PASSED


@pytest.mark.parametrize("name", offered())
def test_what_multiplies_tiles_is_known(name, monkeypatch):
    used = []
    monkeypatch.setattr(Kernel, "__call__", lambda self, *_, **__: used.append(self))
    call = cases_of(name)[0].arguments(np.dtype(np.float64))
    _ = device_op(name)(**on_device(name, call))
    assert used
    assert any(map(multiplies_tiles, used)) == (name in OPS)


def multiplies_tiles(kernel):
    return '"products.cuh"' in kernel.program.source
