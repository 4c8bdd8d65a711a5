"""Sets of vectors: written whole or not at all, read only if they are sound."""

import json
import os
from importlib import resources

import jsonschema
import numpy as np
import pytest

from ssmref.conformance.cases.case import Case
from ssmref.conformance.catalogue import CASES
from ssmref.conformance.precision import dtype_of
from ssmref.conformance.truth import truth
from ssmref.conformance.vectors.export import fits, new_folder, write_set
from ssmref.conformance.vectors.files import VectorError
from ssmref.conformance.vectors.parts import arrays
from ssmref.conformance.vectors.stored import open_set, read_case

F32 = np.dtype(np.float32)
SSD = "mamba2.ssd/packed/l140"
SISO = "mamba3.siso/initial-state/b2l40"
FOLDER = f"{SSD}/float32"
SCHEMA = resources.files("ssmref.conformance.vectors").joinpath("schema.json")


def test_a_set_lists_its_cases(exported):
    document = json.loads(exported.joinpath("manifest.json").read_text())
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    assert [r.id for r in open_set(exported)] == [e["id"] for e in document["cases"]]
    assert len(open_set(exported)) == 5


def test_the_schema_refuses_other_documents(exported):
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    case = json.loads(exported.joinpath(FOLDER, "manifest.json").read_text())
    assert validator.is_valid(case)
    for key in case:
        assert not validator.is_valid({k: v for k, v in case.items() if k != key}), key
        assert not validator.is_valid(case | {key: None}), key
    assert not validator.is_valid(case | {"more": 1})


def test_a_case_is_read_as_it_was(exported):
    for reference in open_set(exported):
        case, found = read_case(exported, reference)
        known = CASES[reference.id]
        expected = truth(known, F32)
        assert (case.id, case.reason, case.level, case.flags) == (
            *(known.id, known.reason, known.level, known.flags),
        )
        for a, b in zip(pairs(found), pairs(expected), strict=True):
            assert a[0] == b[0]
            assert a[1].dtype == b[1].dtype
            assert np.array_equal(a[1], b[1])
        assert options(found.arguments) == options(expected.arguments)
        assert options(case.arguments(F32)) == options(expected.arguments)


def pairs(found):
    arguments = sorted(arrays(found.arguments).items())
    return [*arguments, *found.outputs.items(), *found.scales.items()]


def options(arguments):
    return {k: v for k, v in arguments.items() if isinstance(v, bool | str | float)}


def test_states_become_the_named_tuples_that_they_were(exported):
    reference = next(r for r in open_set(exported) if r.id == SISO)
    _, found = read_case(exported, reference)
    state = found.arguments["initial_state"]
    assert type(state) is type(truth(CASES[SISO], F32).arguments["initial_state"])


def test_infinite_options_survive_json(tmp_path):
    case = next(c for c in CASES.values() if c.op == "mamba2.ssd")

    def build(draw):
        return {**case.build(draw), "dt_limit": (0.0, float("inf"))}

    endless = Case(case.op, "endless", "l1", "no upper limit", build)
    assert len(list(write_set(tmp_path, [(endless, F32)]))) == 1
    text = tmp_path.joinpath(endless.id, "float32", "case.txt").read_text()
    assert "option.dt_limit=0.0 inf\n" in text
    _, found = read_case(tmp_path, open_set(tmp_path)[0])
    assert found.arguments["dt_limit"] == (0.0, float("inf"))


def test_a_failure_leaves_nothing(tmp_path):
    def fails():
        with new_folder(tmp_path / "set") as root:
            root.joinpath("half").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_appears_whole(tmp_path, exists):
    target = tmp_path / "set"
    if exists:
        target.mkdir()
    with new_folder(target) as root:
        root.joinpath("file").write_text("x")
        assert not exists or not list(target.iterdir())
    assert [p.name for p in target.iterdir()] == ["file"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
    assert target.stat().st_mode & 0o777 == 0o777 & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    file = tmp_path / "mine"
    file.write_text("precious")
    for target, message in (
        (tmp_path, "is not empty"),
        (file, "is not a folder"),
        (tmp_path / "no" / "set", "is not a folder"),
    ):
        with pytest.raises(VectorError, match=message), new_folder(target):
            pass
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_cases_that_a_dtype_cannot_hold_are_left_out(tmp_path):
    large = CASES["mamba2.ssd/large-values/l15"]
    low = dtype_of("float16")
    assert fits(large, F32)
    assert not fits(large, low)
    small = CASES["mamba2.ssd/smallest/l1h1p1n1"]
    done = list(write_set(tmp_path, [(large, low), (small, low)]))
    assert [written for *_, written in done] == [False, True]
    assert [r.id for r in open_set(tmp_path)] == [small.id]
    with pytest.raises(VectorError, match="no case is left"):
        list(write_set(tmp_path, [(large, low)]))
