"""Every bug of the zoo is killed, and shows only under its condition."""

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner

from ssmref.commands.zoo import zoo
from ssmref.conformance.bugs.bug import Bug
from ssmref.conformance.bugs.documented import DOCUMENTED, PENDING, REGRESSIONS
from ssmref.conformance.bugs.generic import GENERIC
from ssmref.conformance.bugs.score import pairs, score
from ssmref.conformance.bugs.zoo import BUGS, bugs_of, stranger
from ssmref.conformance.catalogue import ALL_CASES, cases_of, covered_ops
from ssmref.conformance.precision import dtype_of
from ssmref.conformance.run import verify_case
from ssmref.conformance.truth import truth
from ssmref.conformance.verdict import FAILED, PASSED
from ssmref.ops import OPS

F32 = np.dtype(np.float32)


def unkilled_and_leaking(bugs, op):
    """Run bugs until one core case kills each, and on all that should not see them."""
    alive, leaks = {bug.id for bug in bugs}, []
    for case in cases_of(op):
        arguments = truth(case, F32).arguments
        for bug in bugs:
            exposed = bug.exposes(arguments)
            if exposed and bug.id not in alive:
                continue
            verdict = verify_case(stranger([bug], OPS[op]), case, F32)
            if exposed and verdict.status == FAILED:
                alive.discard(bug.id)
            elif not exposed and verdict.status != PASSED:
                leaks.append((bug.id, case.id, verdict.ratio))
    return alive, leaks


@pytest.mark.parametrize("op", covered_ops())
def test_bugs_are_killed_and_show_only_where_exposed(op):
    alive, leaks = unkilled_and_leaking(bugs_of(op), op)
    assert not alive
    assert not leaks


@pytest.mark.parametrize("op", covered_ops())
def test_generic_mistakes_are_killed(op):
    bugs = [bug for bug in GENERIC if op in bug.ops]
    alive, _ = unkilled_and_leaking(bugs, op)
    assert len(bugs) >= 8
    assert not alive


def test_a_bug_that_nothing_shows_is_found_out():
    harmless = dataclasses.replace(BUGS["skip-dropped"], wrap=lambda function: function)
    assert unkilled_and_leaking([harmless], "mamba2.ssd_step")[0] == {"skip-dropped"}


def test_a_bug_that_shows_elsewhere_is_found_out():
    never = dataclasses.replace(BUGS["groups-tile-hf"], exposes=lambda _: False)
    _, leaks = unkilled_and_leaking([never], "mamba2.ssd_step")
    assert {case.split("/")[1] for _, case, _ in leaks} == {
        "groups-inner",
        "everything",
    }


def test_every_documented_bug_is_accounted_for_once():
    written = {name for bug in BUGS.values() for name in bug.documented}
    assert len(DOCUMENTED) == len(set(DOCUMENTED)) == 57
    assert written | set(PENDING) | set(REGRESSIONS) == set(DOCUMENTED)
    assert not written & (set(PENDING) | set(REGRESSIONS))
    assert not set(PENDING) & set(REGRESSIONS)


def test_regressions_keep_cases_of_their_shape():
    for name, ids in REGRESSIONS.items():
        assert ids, name
        assert set(ids) <= set(ALL_CASES), name


@pytest.mark.parametrize("bug", [*BUGS.values(), *GENERIC], ids=lambda bug: bug.id)
def test_descriptions_are_complete(bug):
    assert bug.ops
    assert set(bug.ops) <= set(OPS)
    for sentence in (bug.wrong, bug.fix):
        assert sentence[-1] == "."
        assert sentence.strip() == sentence
    assert bug.exposed_by
    assert all(link.startswith("https://") for link in bug.links)
    assert bool(bug.documented) <= bool(bug.links)


def test_ids_are_unique():
    assert all(name == bug.id for name, bug in BUGS.items())
    ids = [*BUGS, *(bug.id for bug in GENERIC)]
    assert len(ids) == len(set(ids))


def test_two_bugs_combine_by_wrapping_twice():
    case = next(c for c in cases_of("mamba2.ssd") if c.family == "gate")
    both = [BUGS["skip-twice"], BUGS["gate-sigmoid"]]
    given = truth(case, F32).arguments
    y, _ = stranger(both, OPS[case.op])(**given)
    for one in both:
        assert np.max(np.abs(y - stranger([one], OPS[case.op])(**given)[0])) > 0.01


def test_bugs_leave_their_arguments_alone():
    """Else a kill could be a scribble; only those that say so may write."""
    for bug in bugs_of("mamba3.siso_step"):
        case = cases_of("mamba3.siso_step")[-1]
        verdict = verify_case(stranger([bug], OPS[case.op]), case, F32)
        assert verdict.message.startswith("modified") == bug.modifies, bug.id


@pytest.mark.parametrize(
    "op", ["parameters.mamba_rate", "stages.siso_stages", "mamba2.ssd", "s4d.s4d_step"]
)
def test_a_stranger_without_bugs_passes_in_low_precision(op):
    """Of all outputs y alone is rounded, wherever it stands."""
    for case in cases_of(op)[:3]:
        verdict = verify_case(stranger([], OPS[op]), case, dtype_of("bfloat16"))
        assert verdict.status == PASSED, (case.id, verdict.findings)


def test_score_counts():
    found = score(BUGS["groups-tile-hf"], "mamba2.ssd_step", F32)
    assert {name.split("/")[1] for name in found.kills} == {
        "groups-inner",
        "everything",
    }
    assert found.strongest[1] >= found.weakest[1] > 30
    assert not found.leaks
    assert found.exposed == 2
    assert found.cases == len(cases_of("mamba2.ssd_step"))


def test_pairs_go_op_by_op():
    chosen = pairs(BUGS.values(), ["mamba2.ssd_step", "layers.rms_norm"])
    assert [op for _, op in chosen] == sorted(op for _, op in chosen)
    assert {op for _, op in chosen} == {"mamba2.ssd_step", "layers.rms_norm"}


def run(*arguments):
    return CliRunner().invoke(zoo, arguments)


def test_command_shows_kills_and_writes_them(tmp_path):
    path = tmp_path / "zoo.json"
    result = run("--op", "mamba2.ssd_step", "--bug", "groups-tile-hf", "--json", path)
    assert result.exit_code == 0, result.output
    assert "mutation score: 1 of 1 killed, 100.0 %" in result.output
    assert "mamba2.ssd_step/groups-inner/b2h6g2" in result.output
    (record,) = json.loads(path.read_text())["bugs"]
    assert record["documented"] == ["groups-tile-hf", "groups-tile-ggml"]
    assert all(ratio > 30 for ratio in record["kills"].values())
    assert len(record["kills"]) == 2


def test_command_counts_diagnoses():
    result = run("--op", "parameters.mamba_rate", "--diagnose")
    assert "diagnosis: 3 of 3 named, 100.0 %" in result.output


def test_command_lists_without_running():
    result = run("--list", "--bug", "groups-tile-hf")
    assert result.exit_code == 0
    assert "Heads take groups cyclically" in result.output
    assert "killed" not in result.output


def test_surviving_bug_fails_the_command(monkeypatch):
    harmless = dataclasses.replace(BUGS["skip-dropped"], wrap=lambda function: function)
    monkeypatch.setitem(BUGS, "skip-dropped", harmless)
    result = run("--op", "mamba2.ssd_step", "--bug", "skip-dropped")
    assert result.exit_code == 1
    assert "not killed: skip-dropped in mamba2.ssd_step" in result.output


MISTAKES = {
    "unknown bug": (["--bug", "group-tile-hf"], "meant was: groups-tile-hf"),
    "nonsense": (["--bug", "zzzzzz"], "see `ssmref zoo --list`"),
    "unknown op": (["--op", "mamba2.sd"], "meant was: mamba2.ssd"),
    "nothing left": (["--bug", "norm-gate-order", "--op", "s4.s4"], "no bug is left"),
    "no folder": (["--json", "/no/such/folder/x.json"], "is not a folder"),
    "list and json": (["--list", "--json", "x.json"], "--list runs nothing"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_explained(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


def test_a_bug_is_a_value():
    assert isinstance(BUGS["skip-dropped"], Bug)
    with pytest.raises(dataclasses.FrozenInstanceError):
        BUGS["skip-dropped"].id = "x"  # pyright: ignore[reportAttributeAccessIssue] - the claim
