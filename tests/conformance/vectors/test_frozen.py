"""The frozen set: what was published stays what it is."""

import json
import zipfile
from dataclasses import replace
from importlib import resources

import jsonschema
import numpy as np
import pytest

from ssmref.conformance.catalogue import CASES
from ssmref.conformance.truth import truth
from ssmref.conformance.vectors import export
from ssmref.conformance.vectors.export import freeze, packed
from ssmref.conformance.vectors.files import VectorError
from ssmref.conformance.vectors.parts import arrays, options
from ssmref.conformance.vectors.stored import open_set, read_case

F32 = np.dtype(np.float32)
FILES = resources.files("ssmref.conformance.vectors")
ZIP = FILES.joinpath("core.zip")
SMALL = ("mamba2.ssd/smallest/l1h1p1n1", "mamba2.ssd/one-token/b3l1")
LARGE = "mamba2.ssd/plain/b2l37h3p5n4"
# Rounding of the scales' own sums in float64; a scale that changes changes verdicts.
SAME_SCALE = 1e-9


@pytest.fixture(scope="module")
def frozen(unpacked):
    return unpacked, open_set(unpacked)


def test_it_is_at_most_five_megabytes():
    with ZIP.open("rb") as file:
        assert len(file.read()) <= 5_000_000


def test_its_ids_are_in_the_catalogue(frozen):
    _, references = frozen
    assert {r.id for r in references} <= set(CASES)
    assert {r.dtype for r in references} == {"float32"}
    assert len(references) >= 180


def test_its_manifests_fit_the_schema(frozen):
    root, references = frozen
    schema = json.loads(FILES.joinpath("schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    for reference in references:
        path = root / reference.id / reference.dtype / "manifest.json"
        validator.validate(json.loads(path.read_text()))


def test_its_numbers_are_those_of_the_catalogue(frozen):
    """After a deliberate change: ssmref vectors freeze, and another VECTOR_SET."""
    root, references = frozen
    changed = [difference for r in references for difference in differences(root, r)]
    assert not changed


def differences(root, reference):
    case, old = read_case(root, reference)
    new = truth(CASES[case.id], F32)
    for what, same in (
        ("inputs", all_of(arrays(old.arguments), arrays(new.arguments), bitwise)),
        ("options", options(old.arguments) == options(new.arguments)),
        ("golden", all_of(old.outputs, new.outputs, within_an_ulp)),
        ("scales", all_of(old.scales, new.scales, of_one_scale)),
    ):
        if not same:
            yield f"{case.id}: {what}"


def all_of(old, new, alike):
    return set(old) == set(new) and all(alike(old[n], new[n]) for n in old)


def bitwise(old, new):
    return (old.dtype, old.shape) == (new.dtype, new.shape) and (
        old.tobytes() == new.tobytes()
    )


def within_an_ulp(old, new):
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return False
    a, b = old.reshape(-1).view(np.float64), new.reshape(-1).view(np.float64)
    near = np.abs(a - b) <= np.spacing(np.maximum(np.abs(a), np.abs(b)))
    return bool(np.all(near | (np.isnan(a) & np.isnan(b))))


def of_one_scale(old, new):
    near = np.abs(old - new) <= SAME_SCALE * np.abs(old)
    nan = np.isnan(old) & np.isnan(new)
    return old.shape == new.shape and bool(np.all(near | nan))


def test_the_comparison_sees_one_ulp_and_more():
    old = np.array([1.0, np.nan, 0.0])
    assert within_an_ulp(old, np.nextafter(old, 2))
    assert not within_an_ulp(old, old * (1 + 1e-15))
    assert not within_an_ulp(old, np.array([1.0, 0.0, 0.0]))
    assert not within_an_ulp(old, old[:2])
    assert not within_an_ulp(old, old.astype(np.float32))
    assert not bitwise(np.zeros(1), -np.zeros(1))
    assert not of_one_scale(old, old * (1 + 1e-8))
    assert not all_of({"y": old}, {}, bitwise)


def test_every_kind_of_change_is_seen(frozen, monkeypatch):
    root, references = frozen
    case = CASES[SMALL[1]]
    reference = next(r for r in references if r.id == case.id)
    assert not list(differences(root, reference))
    for build, change in (
        (lambda draw: scaled(case.build(draw)), ["inputs", "golden", "scales"]),
        (lambda draw: case.build(draw) | {"dt_softplus": False}, ["options"]),
    ):
        monkeypatch.setitem(CASES, case.id, replace(case, build=build))
        found = list(differences(root, reference))
        assert found == [f"{case.id}: {what}" for what in change]


def scaled(arguments):
    return arguments | {"x": arguments["x"] * (1 + 1e-6)}


def test_freezing_is_the_same_every_time(tmp_path):
    jobs = [(CASES[i], F32) for i in SMALL]
    for name in ("a.zip", "b.zip"):
        assert len(list(freeze(tmp_path / name, jobs))) == 2
    assert tmp_path.joinpath("a.zip").read_bytes() == (
        tmp_path.joinpath("b.zip").read_bytes()
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "b.zip"]


def test_the_archive_is_sorted_and_has_no_times(tmp_path):
    list(freeze(tmp_path / "a.zip", [(CASES[SMALL[1]], F32)]))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        infos = archive.infolist()
    names = [i.filename for i in infos]
    assert names == sorted(names)
    assert "manifest.json" in names
    assert {i.date_time for i in infos} == {(1980, 1, 1, 0, 0, 0)}


def test_cases_above_the_size_are_not_frozen(tmp_path):
    jobs = [(CASES[i], F32) for i in (*SMALL, LARGE)]
    assert len(list(freeze(tmp_path / "a.zip", jobs))) == 3
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "set")
    assert [r.id for r in open_set(tmp_path / "set")] == list(SMALL)
    assert not tmp_path.joinpath("set", LARGE).exists()


def test_a_set_that_is_too_large_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "FROZEN_MOST", 1000)
    with pytest.raises(VectorError, match="lower FROZEN_BYTES"):
        list(freeze(tmp_path / "a.zip", [(CASES[SMALL[0]], F32)]))
    assert list(tmp_path.iterdir()) == []


def test_folders_are_not_packed(tmp_path):
    tmp_path.joinpath("empty").mkdir()
    tmp_path.joinpath("file").write_text("x")
    data = packed(tmp_path)
    tmp_path.joinpath("a.zip").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["file"]
