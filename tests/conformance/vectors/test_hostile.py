"""What strangers put into a set of vectors: one clear error, and it names the file."""

import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmref.conformance.vectors import npy
from ssmref.conformance.vectors.files import VectorError
from ssmref.conformance.vectors.manifest import json_bytes, sha256
from ssmref.conformance.vectors.schema import _validator, misfit
from ssmref.conformance.vectors.stored import open_set, read_case

SSD = "mamba2.ssd/packed/l140"
SISO = "mamba3.siso/initial-state/b2l40"
FOLDER = f"{SSD}/float32"


def read_all(root):
    return [read_case(root, reference) for reference in open_set(root)]


def test_every_damaged_file_is_named(vectors):
    files = sorted(vectors.joinpath(FOLDER).rglob("*.npy"))
    assert len(files) == 11
    for path in (*files, vectors / FOLDER / "manifest.json", vectors / "manifest.json"):
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(VectorError) as caught:
            read_all(vectors)
        assert str(path) in str(caught.value)
        path.unlink()
        with pytest.raises(VectorError, match="is missing") as caught:
            read_all(vectors)
        assert str(path) in str(caught.value)
        path.write_bytes(good)
    assert len(read_all(vectors)) == 5


def test_case_folders_that_are_links_are_refused(vectors, exported):
    path = vectors / "mamba2.ssd"
    path.rename(vectors / "elsewhere")
    path.symlink_to(exported / "mamba2.ssd")
    with pytest.raises(VectorError, match=r"mamba2\.ssd is a symbolic link"):
        read_all(vectors)


def rewrite(root, change):
    """Change the manifest of a case, and the checksum in that of the set."""
    path = root / FOLDER / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    data = json_bytes(document)
    path.write_bytes(data)
    whole = json.loads(root.joinpath("manifest.json").read_text())
    for entry in whole["cases"]:
        if entry["id"] == SSD:
            entry["sha256"] = sha256(data)
    root.joinpath("manifest.json").write_bytes(json_bytes(whole))


def nested(depth):
    """Return as many lists, one in another."""
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


LIES = {
    "format": (lambda d: d.update(format=2), "'format' is not 1"),
    "id": (lambda d: d.update(id=SISO), "'id' is not that of its folder"),
    "dtype": (lambda d: d.update(dtype="float64"), "'dtype' is not that of its folder"),
    "op": (lambda d: d.update(op="mamba1.selective_scan"), "'op' is not that of"),
    "unknown op": (lambda d: d.update(op="os.system"), "'os.system', which is not"),
    "limit": (lambda d: d.update(limit=1e9), "'limit' is not 30"),
    "no outputs": (lambda d: d.update(outputs={}), "its outputs are not"),
    "one output": (lambda d: d["outputs"].pop("y"), "its outputs are not"),
    "list": (lambda d: d.update(inputs=[]), "'inputs' has to be of type dict"),
    "path": (
        lambda d: d["inputs"]["x"].update(file="../../../../secret"),
        "a 'file' is not in/x.npy",
    ),
    "absolute path": (
        lambda d: d["outputs"]["y"]["golden"].update(file="/etc/passwd"),
        "a 'file' is not out/y.npy",
    ),
    "name": (lambda d: d["inputs"].update({"../x": {}}), "has no input '../x'"),
    "option": (lambda d: d["options"].update(__class__=1), "has no option"),
    "option value": (lambda d: d["options"].update(dt_limit={}), "is no scalar"),
    "object dtype": (lambda d: d["inputs"]["x"].update(dtype="O"), "'dtype' is 'O'"),
    "golden dtype": (
        lambda d: d["outputs"]["y"]["golden"].update(dtype="float32"),
        "'golden' of y has dtype float32",
    ),
    "negative": (lambda d: d["inputs"]["x"].update(shape=[-1, 3]), "'shape' is no"),
    "huge": (lambda d: d["inputs"]["x"].update(shape=[2**31, 2]), "'shape' is no"),
    "huge empty": (lambda d: d["inputs"]["x"].update(shape=[0, 2**40]), "'shape' is"),
    "axes": (lambda d: d["inputs"]["x"].update(shape=[1] * 40), "'shape' is no"),
    "bool": (lambda d: d["inputs"]["x"].update(shape=[True]), "'shape' is no list"),
    "another shape": (
        lambda d: d["inputs"]["x"].update(shape=[140, 1, 3, 2]),
        "in/x.npy has shape (1, 140, 3, 2), needed is (140, 1, 3, 2)",
    ),
    "checksum": (
        lambda d: d["inputs"]["x"].update(sha256="0" * 64),
        "in/x.npy is damaged",
    ),
    "no checksum": (lambda d: d["inputs"]["x"].update(sha256=""), "is no checksum"),
    "escape": (lambda d: d.update(reason="\x1b[2J"), "cannot be printed"),
    "surrogate": (lambda d: d.update(reason="\ud800"), "cannot be printed"),
    "flags": (lambda d: d.update(flags=[["x"]]), "'flags' are not names"),
    "no layout": (lambda d: d.pop("layout"), "'layout' is a required property"),
    "another key": (lambda d: d.update(more=1), "('more' was unexpected)"),
    "level": (
        lambda d: d.update(level="easy"),
        "['level']: 'easy' is not one of ['core', 'extended', 'long', 'precision']",
    ),
    "axes of no word": (
        lambda d: d["inputs"]["x"].update(axes=[1]),
        "['inputs']['x']['axes'][0]: 1 is not of type 'string'",
    ),
    "deep axes": (
        lambda d: d["inputs"]["x"].update(axes=nested(200)),
        "['inputs']['x']['axes'][0]: [[[[",
    ),
    "digits": (lambda d: d.update(layout=10**4000), "['layout']: 1000"),
    "half an option": (
        lambda d: d["options"].update(dt_limit=[]),
        "['options']['dt_limit']: [] ",
    ),
    "no error": (
        lambda d: d["outputs"]["y"].pop("golden_error"),
        "['outputs']['y']: 'golden_error' is a dependency of 'golden'",
    ),
    "set": (lambda d: d.update(vector_set="1"), "['vector_set']: '1' does not match"),
    "eps": (lambda d: d.update(eps=1.0), "'eps' or 'tiny' is not that of float32"),
    "no input": (lambda d: d["inputs"].pop("A"), "missing a required argument: 'A'"),
    "sparse": (lambda d: d["inputs"]["x"].update(shape=[10**9]), "'shape' is no list"),
}


@pytest.mark.parametrize(("lie", "message"), LIES.values(), ids=LIES)
def test_manifest_that_lies_is_named(vectors, lie, message):
    rewrite(vectors, lie)
    with pytest.raises(VectorError) as caught:
        read_all(vectors)
    assert message in str(caught.value)
    assert str(vectors / FOLDER) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 350 + len(str(vectors / FOLDER))


@pytest.mark.parametrize("number", [-1.0, np.inf])
def test_scales_that_would_let_anything_pass_are_refused(vectors, number):
    path = vectors / FOLDER / "scale" / "y.npy"
    scale = np.load(path)
    scale[0, 7] = number
    path.write_bytes(npy.to_bytes(scale))
    new = sha256(path.read_bytes())
    rewrite(vectors, lambda d: d["outputs"]["y"]["scale"].update(sha256=new))
    with pytest.raises(VectorError, match=r"y\.npy is no scale"):
        read_all(vectors)


NOT_JSON = {
    "empty": b"",
    "nothing": b"null",
    "not UTF-8": b'{"format": 1, "x": "\xff"}',
    "nan": b'{"format": 1, "x": NaN}',
    "twice": b'{"format": 1, "format": 1}',
    "deep": b"[" * 100_000,
    "digits": b'{"format": ' + b"9" * 10_000 + b"}",
    "number": b"1e999",
    "no cases": b'{"format": 1}',
    "no case": b'{"format": 1, "cases": []}',
    "cases": b'{"format": 1, "cases": [1]}',
    "ids": b'{"format": 1, "cases": [{"id": "../../etc/passwd"}]}',
    "dots": b'{"format": 1, "cases": [{"id": "mamba2.ssd/../.."}]}',
    "long": b'{"format": 1, "cases": [{"id": "a/b/' + b"c" * 999 + b'"}]}',
}


@pytest.mark.parametrize("data", NOT_JSON.values(), ids=NOT_JSON)
def test_broken_manifest_of_a_set_is_named(tmp_path, data):
    tmp_path.joinpath("manifest.json").write_bytes(data)
    with pytest.raises(VectorError) as caught:
        open_set(tmp_path)
    assert str(tmp_path / "manifest.json") in str(caught.value)
    assert len(str(caught.value)) < 250 + len(str(tmp_path))


def test_large_manifest_is_not_read(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_bytes(b"{}")
    os.truncate(path, 2**33)
    with pytest.raises(VectorError, match="has 8589934592 bytes; at most"):
        open_set(tmp_path)


def test_case_that_is_listed_twice_is_refused(vectors):
    path = vectors / "manifest.json"
    document = json.loads(path.read_text())
    document["cases"].append(document["cases"][0])
    path.write_bytes(json_bytes(document))
    with pytest.raises(VectorError, match="listed twice"):
        open_set(vectors)


def stored(root, name, array, change):
    """Exchange an array of a case, with all checksums in order."""
    path = root / FOLDER / f"{name}.npy"
    path.write_bytes(npy.to_bytes(array))
    new = {"sha256": sha256(path.read_bytes())}
    rewrite(root, lambda d: change(d, new, list(array.shape)))


def test_inputs_that_are_no_arguments_are_refused(vectors):
    def change(document, new, shape):
        document["inputs"]["cu_seqlens"].update(new, shape=shape)

    stored(vectors, "in/cu_seqlens", np.zeros(0, np.int64), change)
    with pytest.raises(VectorError, match=r"is no case of mamba2\.ssd: "):
        read_all(vectors)


def test_results_of_another_rank_are_refused(vectors):
    def change(document, new, shape):
        output = document["outputs"]["y"]
        output["shape"] = shape
        for name in ("golden", "scale"):
            output[name].update(new)

    for name in ("out/y", "scale/y"):
        stored(vectors, name, np.ones(7), change)
    with pytest.raises(VectorError, match=r"is no case of mamba2\.ssd: y cannot have"):
        read_all(vectors)


texts = st.text("ab/.\x1b\ud800", max_size=5)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["file", "dtype", "shape"]), inner, max_size=3
        )
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def scratch(exported, tmp_path_factory):
    """A set of one case, whose manifests are written again for every example."""
    root = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(exported / SSD, root / SSD)
    document = json.loads(exported.joinpath("manifest.json").read_text())
    document["cases"] = [e for e in document["cases"] if e["id"] == SSD]
    root.joinpath("manifest.json").write_bytes(json_bytes(document))
    return root


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from places(inner, (*path, key))


def refused_or_read(root):
    try:
        found = read_all(root)
    except VectorError as error:
        return str(root) in str(error) and str(error).isprintable()
    return len(found) == 1


@settings(deadline=None, derandomize=True)
@given(st.data())
def test_random_values_in_a_manifest_are_read_or_refused(scratch, data):
    path = scratch / FOLDER / "manifest.json"
    good = path.read_bytes()

    def change(document):
        *path, last = data.draw(st.sampled_from(list(places(document))[1:]))
        for key in path:
            document = document[key]
        document[last] = data.draw(json_values)

    rewrite(scratch, change)
    assert refused_or_read(scratch)
    path.write_bytes(good)


def test_lists_that_are_too_deep_to_be_printed_are_refused(scratch):
    document = json.loads((scratch / FOLDER / "manifest.json").read_text())
    assert misfit(document, "case") == ""
    # JSON as deep as that is not read: whoever gets it here has another limit.
    deep = document | {"layout": nested(100_000)}
    assert misfit(deep, "case") == "the whole: it is nested too deeply"


@pytest.mark.parametrize("kind", ["set", "case"])
def test_the_schema_refers_to_nothing_that_had_to_be_fetched(kind):
    assert "$ref" not in json.dumps(_validator(kind).schema)


def test_the_schema_is_asked_for_one_place_alone():
    document = {"format": 1, "vector_set": "1.2", "cases": [{}] * 100_000}
    assert misfit(document, "set") == "['cases'][0]: 'id' is a required property"


@settings(deadline=None, derandomize=True)
@given(json_values)
def test_random_manifests_of_sets_are_refused(scratch, document):
    folder = scratch / "other"
    folder.mkdir(exist_ok=True)
    folder.joinpath("manifest.json").write_bytes(json.dumps(document).encode())
    with pytest.raises(VectorError, match=r"manifest\.json"):
        open_set(folder)
