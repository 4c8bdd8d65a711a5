"""The folder of a case says what the case is, to people, programs and JSON readers."""

import json
from importlib import resources

import jsonschema
import numpy as np
import pytest

from ssmref.conformance.catalogue import CASES, cases_of, covered_ops
from ssmref.conformance.precision import dtype_of
from ssmref.conformance.truth import truth
from ssmref.conformance.vectors import npy
from ssmref.conformance.vectors.files import VectorError
from ssmref.conformance.vectors.folder import (
    place,
    read_outputs,
    write_golden,
    write_inputs,
)
from ssmref.conformance.vectors.manifest import golden_errors, sha256
from ssmref.conformance.vectors.parts import arrays, input_axes, options, returned_dtype
from ssmref.conformance.vectors.strict import DTYPES, ID
from ssmref.conformance.verdict import judge_output
from ssmref.ops import OPS

F32 = np.dtype(np.float32)
SOME = [cases_of(op)[i] for op in covered_ops() for i in (0, 1, -1)]
SSD = CASES["mamba2.ssd/everything/b2l99h6p3g3n5"]
SISO = CASES["mamba3.siso/initial-state/b2l40"]
SCHEMA = json.loads(
    resources.files("ssmref.conformance.vectors").joinpath("schema.json").read_text()
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def written(folder, case, dtype=F32):
    write_inputs(folder, case, truth(case, dtype))
    return json.loads(folder.joinpath("manifest.json").read_text())


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_case_text_has_its_lines_in_their_order(tmp_path):
    written(tmp_path, SSD)
    assert tmp_path.joinpath("case.txt").read_text() == (
        "format=1\n"
        "id=mamba2.ssd/everything/b2l99h6p3g3n5\n"
        "op=mamba2.ssd\n"
        "dtype=float32\n"
        "in.x=float32 2 99 6 3\n"
        "in.dt=float32 2 99 6\n"
        "in.A=float32 6\n"
        "in.B=float32 2 99 3 5\n"
        "in.C=float32 2 99 3 5\n"
        "in.D=float32 6\n"
        "in.z=float32 2 99 6 3\n"
        "in.dt_bias=float32 6\n"
        "in.initial_state=float32 2 6 3 5\n"
        "option.dt_softplus=1\n"
        "option.dt_limit=0.01 0.2\n"
        "out.y=float32 2 99 6 3\n"
        "out.final_state=float32 2 6 3 5\n"
    )


def test_states_have_a_file_per_part(tmp_path):
    written(tmp_path, SISO)
    names = {p.name for p in tmp_path.joinpath("in").iterdir()}
    parts = {f"initial_state.{part}.npy" for part in ("angle", "ssm", "k", "v")}
    assert parts <= names
    assert "out.final_state.angle=float32" in tmp_path.joinpath("case.txt").read_text()


def test_inputs_alone_have_no_golden(tmp_path):
    document = written(tmp_path, SSD)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "case.txt",
        "in",
        "manifest.json",
    ]
    assert set(document["outputs"]["y"]) == {"dtype", "shape", "axes"}
    VALIDATOR.validate(document)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_mixed_precision_is_declared_per_array(tmp_path, dtype):
    document = written(tmp_path, SSD, dtype_of(dtype))
    wide = "float64" if dtype == "float64" else "float32"
    assert document["dtype"] == document["inputs"]["x"]["dtype"] == dtype
    assert document["inputs"]["A"]["dtype"] == wide
    assert document["outputs"]["y"]["dtype"] == dtype
    assert document["outputs"]["final_state"]["dtype"] == wide
    VALIDATOR.validate(document)


@pytest.mark.parametrize("case", SOME, ids=str)
def test_cases_of_every_op_have_valid_folders(tmp_path, case):
    found = truth(case, F32)
    document = written(tmp_path, case)
    VALIDATOR.validate(document)
    assert ID.fullmatch(case.id)
    for name, array in arrays(found.arguments).items():
        entry = document["inputs"][name]
        data = tmp_path.joinpath(entry["file"]).read_bytes()
        assert sha256(data) == entry["sha256"]
        assert np.array_equal(np.load(tmp_path / entry["file"]), array)
        assert len(entry["axes"]) == len(entry["shape"]) == array.ndim
    for name, golden in found.outputs.items():
        assert len(document["outputs"][name]["axes"]) == golden.ndim


def test_golden_is_added(tmp_path):
    written(tmp_path, SSD)
    found = truth(SSD, F32)
    write_golden(tmp_path, SSD, found)
    document = json.loads(tmp_path.joinpath("manifest.json").read_text())
    VALIDATOR.validate(document)
    for name, output in document["outputs"].items():
        for kind, wanted in (("golden", found.outputs), ("scale", found.scales)):
            entry = output[kind]
            assert np.array_equal(np.load(tmp_path / entry["file"]), wanted[name])
            data = tmp_path.joinpath(entry["file"]).read_bytes()
            assert sha256(data) == entry["sha256"]


@pytest.mark.parametrize("case", [SSD, SISO], ids=str)
def test_golden_is_better_than_one_unit_of_float64(case):
    errors = golden_errors(case, truth(case, F32))
    assert set(errors) == set(OPS[case.op].outputs)
    if np.finfo(np.longdouble).eps < 2e-19:
        assert all(error is not None and 0 < error < 1 for error in errors.values())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [SSD, SISO], ids=str)
def test_declared_dtypes_are_those_that_the_verdict_needs(case, dtype):
    found = truth(case, dtype_of(dtype))
    for name, golden in found.outputs.items():
        needed = returned_dtype(name, golden, found.dtype)
        arguments = (golden, found.scales[name], found.dtype)
        assert judge_output(name, golden.astype(needed), *arguments).problem == ""
        other = np.dtype(np.float32 if needed != np.float32 else np.float64)
        wrong = judge_output(name, golden.astype(other), *arguments)
        assert "dtype" in wrong.problem


def test_an_axis_that_stands_for_several_is_spelled_out():
    step = OPS["layers.rms_norm"]
    assert input_axes(step, "x", 2) == ["batch", "channels"]
    assert input_axes(step, "x", 3) == ["batch", "batch_2", "channels"]
    assert input_axes(step, "x", 1) == ["channels"]
    with pytest.raises(ValueError, match="no weight of 3 axes"):
        input_axes(step, "weight", 3)


def test_options_are_what_is_no_array():
    arguments = {"x": np.zeros(3), "eps": 1e-5, "weight": None, "pairing": "halved"}
    assert options(arguments) == {"eps": 1e-5, "pairing": "halved"}
    assert set(arrays(arguments)) == {"x"}


def test_a_case_is_found_by_its_id_and_dtype():
    assert place(SSD.id, "float32") == f"{SSD.id}/float32"


@pytest.fixture
def results():
    found = truth(SISO, F32)
    return {
        name: golden.astype(returned_dtype(name, golden, F32))
        for name, golden in found.outputs.items()
    }


def save(folder, arrays):
    for name, array in arrays.items():
        folder.joinpath(f"{name}.npy").write_bytes(npy.to_bytes(array))


def test_outputs_are_read_and_absent_ones_left_out(tmp_path, results):
    del results["final_state.k"]
    save(tmp_path, results)
    found = read_outputs(tmp_path, SISO, truth(SISO, F32))
    assert set(found) == set(results)
    assert all(np.array_equal(found[name], results[name]) for name in results)


def test_no_outputs_are_no_error(tmp_path):
    assert read_outputs(tmp_path / "absent", SISO, truth(SISO, F32)) == {}


def test_files_that_the_op_does_not_name_are_not_looked_at(tmp_path, results):
    save(tmp_path, results)
    tmp_path.joinpath("other.npy").write_bytes(b"garbage")
    assert set(read_outputs(tmp_path, SISO, truth(SISO, F32))) == set(results)


def test_output_of_another_dtype_is_a_mismatch(tmp_path, results):
    save(tmp_path, results | {"y": results["y"].astype(np.float64)})
    with pytest.raises(npy.MismatchError, match="dtype float64, needed is float32"):
        read_outputs(tmp_path, SISO, truth(SISO, F32))


def test_broken_output_is_named(tmp_path, results):
    save(tmp_path, results)
    path = tmp_path / "final_state.v.npy"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(VectorError, match=r"final_state\.v\.npy is truncated"):
        read_outputs(tmp_path, SISO, truth(SISO, F32))
