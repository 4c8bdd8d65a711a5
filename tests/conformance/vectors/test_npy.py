"""Array files: what NumPy writes is read, what is wrong has one clear error."""

import os
import struct
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmref.conformance.precision import dtype_of
from ssmref.conformance.vectors import npy
from ssmref.conformance.vectors.files import VectorError

SHAPES = [(), (0,), (3,), (2, 3), (2, 0, 5), (2, 3, 4)]


def sample(dtype, shape):
    count = int(np.prod(shape))
    return np.arange(count).reshape(shape).astype(dtype_of(dtype))


def header(text, version=b"\x01\x00"):
    body = text.encode("latin-1") + b"\n"
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(body))
    return b"\x93NUMPY" + version + size + body


def described(descr="'<f4'", fortran="False", shape="(2, 3)"):
    return header(f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}}}")


def read(folder, data, dtype="float32", shape=(2, 3), **options):
    folder.joinpath("y.npy").write_bytes(data)
    return npy.read(folder, "y.npy", dtype, shape, **options)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", npy.DESCRIPTIONS)
def test_what_is_written_is_read_back(tmp_path, dtype, shape):
    array = sample(dtype, shape)
    found = read(tmp_path, npy.to_bytes(array), dtype, shape)
    assert found.dtype == array.dtype
    assert found.shape == shape
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", npy.DESCRIPTIONS)
def test_numpy_reads_what_is_written(tmp_path, dtype, shape):
    array = sample(dtype, shape)
    path = tmp_path / "x.npy"
    path.write_bytes(npy.to_bytes(array))
    found = np.load(path, allow_pickle=False)
    assert found.shape == shape
    assert found.tobytes() == array.tobytes()
    assert path.read_bytes()[6:8] == b"\x01\x00"
    assert (path.stat().st_size - array.nbytes) % 64 == 0


def test_big_endian_and_strided_arrays_are_written_as_the_format_says(tmp_path):
    array = np.arange(6, dtype=">f4").reshape(2, 3).T
    assert np.array_equal(read(tmp_path, npy.to_bytes(array), shape=(3, 2)), array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_writes_is_read(tmp_path, version, order):
    array = np.asarray(sample("float32", (2, 3)), order=order)
    with open(tmp_path / "y.npy", "wb") as file:
        np.lib.format.write_array(file, array, version)
    assert np.array_equal(npy.read(tmp_path, "y.npy", "float32", (2, 3)), array)


def test_bfloat16_is_read_from_its_bits_and_from_numpy_save(tmp_path):
    array = np.array([1.5, -2, 3], ml_dtypes.bfloat16)
    np.save(tmp_path / "y.npy", array)
    saved = npy.read(tmp_path, "y.npy", "bfloat16", (3,))
    bits = read(tmp_path, npy.to_bytes(array), "bfloat16", (3,))
    assert saved.tobytes() == bits.tobytes() == array.tobytes()
    assert saved.dtype == bits.dtype == array.dtype


def test_other_spellings_of_a_header_are_read(tmp_path):
    spelled = header('{"shape":(2,3,) ,"fortran_order":False,\t"descr":"<f4",}   ')
    array = sample("float32", (2, 3))
    assert np.array_equal(read(tmp_path, spelled + array.tobytes()), array)


GOOD = npy.to_bytes(sample("float32", (2, 3)))
BODY = sample("float32", (2, 3)).tobytes()
BROKEN = {
    "empty file": (b"", "is not a .npy file"),
    "text": (b"0.5 0.25\n", "is not a .npy file"),
    "zip": (b"PK\x03\x04" + bytes(60), "is not a .npy file"),
    "version 3": (b"\x93NUMPY\x03\x00" + GOOD[8:], "is not a .npy file"),
    "no header": (GOOD[:9], "header"),
    "half a header": (GOOD[:40], "truncated"),
    "header of 4 GB": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "too long"),
    "truncated": (GOOD[:-1], "truncated: 23 bytes follow a header that declares 24"),
    "no numbers": (GOOD[:-24], "truncated: 0 bytes"),
    "trailing": (GOOD + b"\0", "trailing bytes: 25 bytes follow"),
    "object": (described("'|O'") + BODY, "has dtype '|O'; allowed are <f8"),
    "pickle": (described("'|O'") + b"\x80\x04cos\nsystem\n.", "has dtype '|O'"),
    "strings": (described("'<U6'") + BODY, "has dtype '<U6'"),
    "big-endian": (described("'>f4'") + BODY, "has dtype '>f4'"),
    "long double": (described("'<f16'") + BODY, "has dtype '<f16'"),
    "structured": (described("[('a', '<f4')]") + BODY, "no header of a plain array"),
    "negative size": (described(shape="(-2, -3)") + BODY, "no header of a plain"),
    "expression": (described(shape="(2, 3)*1") + BODY, "no header of a plain array"),
    "call": (described(fortran="exit()") + BODY, "no header of a plain array"),
    "two shapes": (
        header("{'descr':'<f4','fortran_order':False,'shape':(2,3),'shape':(2,3)}"),
        "no header of a plain array",
    ),
    "another key": (
        header("{'descr':'<f4','fortran_order':False,'shape':(2,3),'x':1}") + BODY,
        "no header of a plain array",
    ),
    "missing key": (header("{'descr': '<f4', 'shape': (2, 3)}"), "no header"),
    "nested": (header("(" * 60_000), "no header of a plain array"),
    "digits": (described(shape="(" + "9" * 50_000 + ",)"), "no header of a plain"),
    "1e9 elements": (described(shape="(1000000000,)") + BODY, "is truncated"),
    "many sizes": (described(shape=f"({'9' * 17}," + "1," * 64 + ")"), "more axes"),
    "more digits than print": (described(shape=f"({f'{10**17},' * 60})"), "or bytes"),
    "overflow": (described(shape="(4294967296, 4294967296)"), "is truncated"),
    "overflow to the size": (described(shape=f"({2**59}, 32)"), "is truncated"),
}


def test_what_does_not_fit_into_memory_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise MemoryError

    tmp_path.joinpath("y.npy").write_bytes(GOOD)
    monkeypatch.setattr(npy.np, "empty", full)
    with pytest.raises(VectorError, match=r"y\.npy does not fit into memory"):
        npy.read(tmp_path, "y.npy", "float32", (2, 3))


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_file_has_one_error_that_names_it(tmp_path, data, message):
    with pytest.raises(VectorError) as caught:
        read(tmp_path, data)
    assert not isinstance(caught.value, npy.MismatchError)
    assert str(tmp_path / "y.npy") in str(caught.value)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
    assert "\n" not in str(caught.value)


OTHERS = {
    "shape": (npy.to_bytes(sample("float32", (3, 2))), "has shape (3, 2), needed is"),
    "rank": (npy.to_bytes(sample("float32", (6,))), "has shape (6,)"),
    "dtype": (npy.to_bytes(sample("float64", (2, 3))), "has dtype float64, needed is"),
    "no tokens": (npy.to_bytes(sample("float32", (0, 3))), "has shape (0, 3)"),
}


@pytest.mark.parametrize(("data", "message"), OTHERS.values(), ids=OTHERS)
def test_sound_file_of_another_array_is_a_mismatch(tmp_path, data, message):
    with pytest.raises(npy.MismatchError) as caught:
        read(tmp_path, data)
    assert message in str(caught.value)
    assert str(tmp_path / "y.npy") in str(caught.value)


def test_bits_of_float16_are_not_bfloat16(tmp_path):
    with pytest.raises(npy.MismatchError):
        read(tmp_path, npy.to_bytes(sample("float16", (3,))), "bfloat16", (3,))


def test_nothing_is_allocated_for_a_declared_size(tmp_path):
    path = tmp_path / "y.npy"
    path.write_bytes(described(shape="(1000000000,)"))
    os.truncate(path, path.stat().st_size + 4_000_000_000)  # sparse: takes no space
    tracemalloc.start()
    try:
        with pytest.raises(npy.MismatchError, match="shape"):
            npy.read(tmp_path, "y.npy", "float32", (2, 3))
        with pytest.raises(VectorError, match="truncated"):
            read(tmp_path, described(shape="(1000000000,)") + BODY, shape=(10**9,))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_sha256_is_checked(tmp_path):
    good = "9f2b" + "0" * 60
    with pytest.raises(VectorError, match="is damaged: its sha256"):
        read(tmp_path, GOOD, sha256=good)


def test_absent_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        npy.read(tmp_path, "y.npy", "float32", (2, 3))


def test_symbolic_links_are_not_followed(tmp_path):
    secret, folder = tmp_path / "secret.npy", tmp_path / "out"
    secret.write_bytes(GOOD)
    folder.mkdir()
    folder.joinpath("y.npy").symlink_to(secret)
    with pytest.raises(VectorError, match=r"y\.npy is a symbolic link"):
        npy.read(folder, "y.npy", "float32", (2, 3))
    folder.joinpath("away").symlink_to(tmp_path)
    with pytest.raises(VectorError, match="away is a symbolic link"):
        npy.read(folder, "away/secret.npy", "float32", (2, 3))
    folder.joinpath("dangling.npy").symlink_to(tmp_path / "nothing")
    with pytest.raises(VectorError, match="is a symbolic link"):
        npy.read(folder, "dangling.npy", "float32", (2, 3))


def test_root_may_be_a_symbolic_link(tmp_path):
    tmp_path.joinpath("y.npy").write_bytes(GOOD)
    root = tmp_path / "link"
    root.symlink_to(tmp_path)
    assert npy.read(root, "y.npy", "float32", (2, 3)).tobytes() == BODY


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are files on Unix only")
def test_pipes_and_folders_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "y.npy")
    with pytest.raises(VectorError, match="is not a regular file"):
        npy.read(tmp_path, "y.npy", "float32", (2, 3))
    tmp_path.joinpath("z.npy").mkdir()
    with pytest.raises(VectorError, match=r"z\.npy"):
        npy.read(tmp_path, "z.npy", "float32", (2, 3))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def survives(folder, data):
    try:
        found = read(folder, data)
    except VectorError as error:
        return str(folder / "y.npy") in str(error)
    return found.shape == (2, 3) and found.nbytes < len(data)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255))))
def test_mutated_bytes_are_read_or_refused(scratch, changes):
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    assert survives(scratch, bytes(data))


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=300), st.sampled_from([b"", GOOD[:8], GOOD[:10], GOOD]))
def test_random_bytes_are_read_or_refused(scratch, data, start):
    assert survives(scratch, start + data)


sizes = st.integers(-(2**70), 2**70) | st.integers(0, 4)
words = st.text("abf4<|'()", max_size=4)
values = st.one_of(
    st.tuples(sizes, sizes),
    st.sampled_from(["<f4", "|O", ">f4", "<f8", "<V2"]),
    st.booleans(),
    st.lists(st.tuples(words, words), max_size=3),
)


@settings(deadline=None, derandomize=True)
@given(
    st.dictionaries(st.sampled_from(["descr", "fortran_order", "shape", "x"]), values),
    st.sampled_from([0, 24, 48]),
)
def test_random_headers_are_read_or_refused(scratch, fields, count):
    text = repr(fields).encode("latin-1", "replace").decode("latin-1")
    assert survives(scratch, header(text) + bytes(count))
