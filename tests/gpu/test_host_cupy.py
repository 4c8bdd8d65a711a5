"""The stand-in is as strict as CuPy, and stricter where a mistake would be silent."""

import sys

import ml_dtypes
import numpy as np
import pytest
from hostcupy.memory import overrun
from hostcupy.module import installed
from hostcupy.settings import current, using


def test_ops_find_the_stand_in_and_others_do_not(cupy):
    import cupy as imported

    assert imported is cupy
    before = sys.modules.pop("cupy")
    with installed():
        assert sys.modules["cupy"] is cupy
    assert "cupy" not in sys.modules
    sys.modules["cupy"] = before


@pytest.mark.parametrize("name", ["einsum_path", "hostcupy", "memory", "nonsense"])
def test_there_are_no_other_names(cupy, name):
    with pytest.raises(AttributeError):
        getattr(cupy, name)
    with pytest.raises(AttributeError):
        getattr(cupy.cuda, name)
    with pytest.raises(AttributeError):
        getattr(cupy.zeros(3), name)


def test_numpy_gets_nothing_without_being_given_it(cupy):
    array = cupy.arange(3)
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(array)
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.ascontiguousarray(array)
    assert isinstance(array.get(), np.ndarray)
    assert not isinstance(array, np.ndarray)
    assert isinstance(cupy.asnumpy(array), np.ndarray)


def test_arrays_of_numpy_do_not_mix(cupy):
    ours, theirs = cupy.zeros(3), np.zeros(3)
    for mixed in (
        lambda: ours + theirs,
        lambda: theirs * ours,
        lambda: cupy.concatenate([ours, theirs]),
        lambda: cupy.maximum(ours, theirs),
        lambda: ours.__setitem__(0, theirs),
    ):
        with pytest.raises(TypeError, match="Unsupported type"):
            mixed()
    with pytest.raises(IndexError, match="ndarray"):
        ours[np.array([0, 1])]


def test_results_are_arrays_on_the_device(cupy):
    a = cupy.asarray(np.arange(6.0, dtype=np.float32).reshape(2, 3))
    results = (
        *(a + 1, 2 * a, -a, a @ a.T, a > 2, a[0, 1], a[:, ::2], a.sum(), a.max(axis=0)),
        *(a.T, a.astype(np.float16), np.exp(a), cupy.exp(a), a.reshape(-1), a.real),
        *(cupy.where(a > 1, a, 0), cupy.stack([a, a]), cupy.fft.rfft(a), *a),
    )
    assert all(isinstance(result, cupy.ndarray) for result in results)
    assert a[0, 1].shape == ()
    assert float(a[0, 1]) == 1
    assert int(a[1, 2]) == 5
    with pytest.raises(TypeError):
        range(a[1, 2])
    assert bool(a[0, 1] == 1)
    assert cupy.fft.rfft(a).dtype == np.complex64


def test_values_are_those_of_numpy(cupy):
    host = np.random.default_rng(0).standard_normal((3, 4))
    a = cupy.asarray(host)
    assert a.shape == host.shape
    assert a.dtype == host.dtype
    assert a.tolist() == host.tolist()
    assert a.T.strides == host.T.strides
    assert a.flags.c_contiguous
    assert a.T.flags.f_contiguous
    assert ((a * a + 1).get() == host * host + 1).all()
    a[1] = 5
    assert (a.get()[1] == 5).all()
    assert host[1, 0] != 5


def test_views_share_memory_and_copies_do_not(cupy):
    a = cupy.zeros((4, 4), np.float32)
    a[1:, 2:].fill(3)
    assert float(a.sum()) == 18
    for copy in (a.copy(), cupy.array(a), a.astype(np.float32), a.get()):
        copy[...] = 7
    assert float(a.sum()) == 18
    assert cupy.asarray(a) is a
    assert cupy.ascontiguousarray(a) is a
    assert cupy.ascontiguousarray(a.T).flags.c_contiguous


def test_new_arrays_like_another_have_its_order(cupy):
    a = cupy.zeros((2, 3, 4), np.float32)
    for like in (a, a.T, a.transpose(1, 0, 2), a[:, ::-1], a[0, 0, 0]):
        made = cupy.empty_like(like)
        assert made.strides == np.empty_like(like._host).strides
        assert made.shape == like.shape
        assert cupy.zeros_like(like).tolist() == like.tolist()
    assert cupy.full_like(a.T, 3).flags.f_contiguous
    assert cupy.empty_like(a.T, shape=(5, 2)).flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float16])
def test_new_memory_is_poison(cupy, dtype):
    assert np.isnan(cupy.empty((3, 5), dtype).get().astype(np.float32)).all()
    assert np.isnan(
        cupy.empty_like(cupy.zeros(3, dtype)).get().astype(np.float32)
    ).all()
    assert (cupy.empty(3, np.int32).get() == -1).all()


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_memory_is_aligned_to_sixteen_bytes_or_to_elements(cupy, offset):
    with using(offset=offset):
        for size in range(1, 40):
            made = cupy.empty(size, np.float32)
            given = cupy.asarray(np.zeros(size, np.float16))
            assert made.data.ptr % 32 == 16
            assert given.data.ptr % 16 == 2 * offset
    assert current().offset == 0


def test_overrun_sees_both_sides(cupy):
    import ctypes

    for at, side in ((-1, "before"), (12, "beyond"), (500, "beyond")):
        array = cupy.zeros(12, np.uint8)
        assert not overrun(array._host)
        ctypes.memset(array.data.ptr + at, 7, 1)
        assert overrun(array._host) == side
        assert overrun(array[3:].reshape(3, 3).T._host) == side


def test_what_numpy_made_has_no_zones(cupy):
    made = (cupy.zeros((4, 4), np.complex64) * 2).real[:, None, 1:]
    assert not overrun(made._host)
    assert not overrun(cupy.stack([made, made]).view(np.float32)._host)


class OnDevice:
    """What speaks DLPack and says where it is."""

    def __init__(self, array: np.ndarray, device: int) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **_: object):
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0


def test_dlpack_shares_memory_on_the_device_and_refuses_the_host(cupy):
    array = np.zeros(3, np.float32)
    taken = cupy.from_dlpack(OnDevice(array, 2))
    array[1] = 4
    assert taken.tolist() == [0, 4, 0]
    assert taken.__dlpack_device__() == (2, 0)
    with pytest.raises(TypeError, match="CPU arrays"):
        cupy.from_dlpack(OnDevice(array, 1))


def test_the_suite_takes_results_back(cupy):
    from ssmref.conformance.arrays import to_numpy

    assert to_numpy(cupy.arange(3)).tolist() == [0, 1, 2]


def test_there_is_one_device(cupy):
    with using(processors=7, shared_limit=101376, compute_capability="86"):
        attributes = cupy.cuda.Device().attributes
        assert attributes["MultiProcessorCount"] == 7
        assert attributes["MaxSharedMemoryPerBlockOptin"] == 101376
        assert cupy.cuda.Device(0).compute_capability == "86"
    assert cupy.cuda.runtime.getDeviceCount() == 1
    with pytest.raises(ValueError, match="one device"):
        cupy.cuda.Device(1)


def test_unknown_settings_are_refused():
    with pytest.raises(TypeError, match="residents"), using(residents=3):
        pass
