"""Memory for vectors begins with a line of the caches, in kernels and outside."""

import numpy as np
import pytest

from ssmref.cpu.toolkit import memory
from ssmref.cpu.toolkit.kernels import kernel

DTYPES = [np.float32, np.float64, np.complex128, np.int64]


@kernel
def from_kernels(size, like):
    zeros, numbers = memory.new_zeros(size, like), memory.new_numbers(size, like)
    numbers[:] = 1
    return zeros, numbers


def made(size: int, dtype: type) -> dict[str, np.ndarray]:
    zeros, numbers = from_kernels(size, np.zeros(1, dtype))
    empty = memory.aligned_empty((size,), dtype)
    empty[:] = 1
    return {
        "zeros": memory.aligned_zeros((size,), dtype),
        "empty": empty,
        "zeros in kernels": zeros,
        "empty in kernels": numbers,
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 3, 1001])
def test_every_kind_begins_with_a_line(size, dtype):
    for _ in range(5):  # the allocator gives other places
        for name, array in made(size, dtype).items():
            assert array.ctypes.data % memory.LINE == 0, name
            assert (array.shape, array.dtype) == ((size,), dtype), name
            assert np.all(array == name.startswith("empty")), name


def test_shapes_are_kept_and_nothing_is_shared():
    first, second = (memory.aligned_zeros((2, 3, 4), np.float32) for _ in "ab")
    first[:] = 1
    assert second.shape == (2, 3, 4)
    assert not np.any(second)
    assert first.flags.carray
    for shape in ((), (0,), (3, 0)):
        assert memory.aligned_empty(shape, np.float64).shape == shape
