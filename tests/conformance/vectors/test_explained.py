"""Failures in a folder of outputs say what `ssmref verify` says of them."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from ssmref.commands.vectors import vectors as command
from ssmref.conformance import diagnosis
from ssmref.conformance.bugs.zoo import BUGS, stranger
from ssmref.conformance.candidates import Candidate
from ssmref.conformance.catalogue import CASES
from ssmref.conformance.diagnosis import diagnose_run
from ssmref.conformance.outputs import flatten
from ssmref.conformance.run import verify
from ssmref.conformance.vectors import npy
from ssmref.conformance.vectors.check import check
from ssmref.conformance.vectors.export import write_set
from ssmref.conformance.vectors.manifest import json_bytes, sha256
from ssmref.conformance.vectors.stored import open_set, read_case
from ssmref.conformance.verdict import FAILED, PASSED
from ssmref.ops import OPS

F32 = np.dtype(np.float32)
OP = "mamba2.ssd_step"
GROUPS = f"{OP}/groups-inner/b2h6g2"
PLAIN = f"{OP}/plain/b2p5"
IDS = (PLAIN, GROUPS, f"{OP}/everything/b3h6g3n5")
BUG = "groups-tile-hf"
WRONG = stranger([BUGS[BUG]], OPS[OP])


@pytest.fixture
def root(tmp_path):
    """A set of a few cases and, beside it, the outputs of a program with a bug."""
    folder = tmp_path / "set"
    jobs = [(CASES[i], F32) for i in IDS]
    assert len(list(write_set(folder, jobs))) == len(IDS)
    for reference in open_set(folder):
        _, truth = read_case(folder, reference)
        target = tmp_path / "outputs" / reference.id / reference.dtype
        target.mkdir(parents=True)
        result = WRONG(**truth.arguments)
        for name, array in flatten(OPS[OP], result).items():
            target.joinpath(f"{name}.npy").write_bytes(npy.to_bytes(array))
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """The ids of the cases on which golden or a bug of it was run, as they come."""
    ids, truth = [], diagnosis.truth

    def noted(case, dtype):
        ids.append(case.id)
        return truth(case, dtype)

    monkeypatch.setattr(diagnosis, "truth", noted)
    return ids


def judged(root):
    folder = root / "set"
    return list(check(folder, open_set(folder), root / "outputs"))


def test_a_failure_says_what_verify_says_of_it(root):
    candidate = Candidate("wrong", {OP: WRONG})
    expected = list(verify(candidate, [CASES[i] for i in IDS], F32))
    found = judged(root)
    assert [v.status for v in found] == [PASSED, FAILED, FAILED]
    for one, other in zip(found, expected, strict=True):
        assert one.diagnosis == other.diagnosis
        assert one.resembles == other.resembles
    assert found[1].resembles == ((BUG,),)
    assert diagnose_run(found) == diagnose_run(expected)


def test_golden_runs_on_failed_cases_only(root, asked):
    assert [v.status for v in judged(root)] == [PASSED, FAILED, FAILED]
    assert set(asked) == set(IDS[1:])


def test_the_command_and_its_file_name_the_bug(root):
    path = root / "verdicts.json"
    words = ["check", str(root / "set"), "--outputs", str(root / "outputs")]
    result = CliRunner().invoke(command, [*words, "--json", str(path)])
    assert result.exit_code == 1
    assert f"behaves like `{BUG}`" in result.output
    assert "(explains 2 of 2 failed cases)" in result.output
    document = json.loads(path.read_text())
    assert [v["resembles"] for v in document["verdicts"]] == [[], [[BUG]], [[BUG]]]
    assert [(b["op"], b["bugs"]) for b in document["bugs"]] == [(OP, [BUG])]


def test_outputs_that_are_missing_are_not_called_right(root):
    root.joinpath("outputs", GROUPS, "float32", "final_state.npy").unlink()
    verdict = judged(root)[1]
    assert verdict.resembles == ((BUG,),)
    assert not any("right:" in sentence for sentence in verdict.diagnosis)


def refused_by_golden(root, case_id):
    """Give a case in a set limits that exclude everything, checksums in order."""
    folder = root / "set" / case_id / "float32"
    document = json.loads(folder.joinpath("manifest.json").read_text())
    document["options"]["dt_limit"] = [1.0, 0.0]
    data = json_bytes(document)
    folder.joinpath("manifest.json").write_bytes(data)
    whole = json.loads(root.joinpath("set", "manifest.json").read_text())
    (listed,) = [e for e in whole["cases"] if e["id"] == case_id]
    listed["sha256"] = sha256(data)
    root.joinpath("set", "manifest.json").write_bytes(json_bytes(whole))


def test_a_failed_case_that_golden_refuses_has_no_diagnosis(root):
    refused_by_golden(root, GROUPS)
    verdict = judged(root)[1]
    assert verdict.status == FAILED
    assert verdict.diagnosis == ()


def test_a_passed_case_that_golden_refuses_contradicts_nothing(root):
    refused_by_golden(root, PLAIN)
    (conclusion,) = diagnose_run(judged(root))
    assert conclusion.bugs == (BUG,)
