"""``ssmref peers``: what runs, what is reported, and what is said of mistakes."""

import json
import sys
from typing import Any

import pytest
from click.testing import CliRunner

from ssmref.commands import peers as command
from ssmref.conformance.adjudication import (
    KNOWN,
    Known,
    Run,
    known,
    markdown,
    merged,
    read_runs,
    write_runs,
)
from ssmref.conformance.candidates import peer_names
from ssmref.conformance.catalogue import CASES

# Stands for `ssmref verify`: judges jax, crashes on s5, cannot import the others.
VERIFY = """
import json, os, sys, time
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
peer = options["--peer"]
if peer == "jax":
    with open(options["--json"], "w") as file:
        file.write(os.environ["DOCUMENT"])
    sys.exit(1)
if peer == "mambapy":
    time.sleep(60)
if peer == "s5":
    sys.exit("Segmentation fault")
print(f"Error: cannot import x.{peer}: ImportError: {peer} is missing", file=sys.stderr)
sys.exit(2)
"""


def verdict(case, status="passed", ratio: Any = 0.5, **others):
    output = {"output": "y", "ratio": ratio, "words": others.pop("words", "")}
    return {
        "case": case,
        "op": case.partition("/")[0],
        "status": status,
        "message": "",
        "diagnosis": [],
        "outputs": [] if ratio is None else [output],
        "repeat": f"ssmref verify --peer jax --case {case}",
        **others,
    }


def document(*verdicts):
    return {
        "created": "2026-01-02T03:04:05Z",
        "dtype": "float32",
        "versions": {"numpy": "2.0"},
        "verdicts": list(verdicts),
    }


VERDICTS = document(
    verdict("mamba2.ssd/plain/x"),
    verdict(
        "mamba2.ssd/other/y",
        "failed",
        "inf",
        words="2 of 9 elements | <b>",
        diagnosis=["behaves like groups-tile-hf"],
    ),
    verdict("mamba2.ssd/third/z", "not provided", None),
)
JUDGED = Run("jax", {"jax": "1.2"}, VERDICTS)
ABSENT = Run("s5", {}, reason="the adapter for s5 needs s5")


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.setattr(command, "COMMAND", (sys.executable, "-c", VERIFY))
    monkeypatch.setenv("DOCUMENT", json.dumps(VERDICTS))

    def run(*arguments):
        return CliRunner().invoke(command.peers, [str(a) for a in arguments])

    return run


def row(text, peer, op):
    (line,) = [x for x in text.splitlines() if x.startswith(f"| {peer} | ") and op in x]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_table_counts_by_status():
    assert row(markdown([JUDGED]), "jax", "mamba2.ssd") == [
        *("jax", "1.2", "mamba2.ssd"),
        *("2", "1", "1", "1", "inf"),
    ]


def test_nothing_run_has_no_ratio():
    run = Run("jax", {}, document(verdict("s5.s5/a/b", "not provided", None)))
    assert row(markdown([run]), "jax", "s5.s5")[3:] == ["0", "0", "0", "1", "-"]


def test_failure_has_its_diagnosis_and_command():
    text = markdown([JUDGED])
    assert "behaves like groups-tile-hf" in text
    assert "Repeat: `ssmref verify --peer jax --case mamba2.ssd/other/y`" in text
    assert "not looked into" in text
    assert "2 of 9 elements \\| &lt;b>" in text
    assert "third/z" not in text


def test_failures_of_one_cause_are_told_once():
    cases = [c for c in CASES if c.startswith("mamba3.siso_step/")][:3]
    failed = (verdict(case, "failed", 100 + i) for i, case in enumerate(cases))
    text = markdown([Run("mamba_ssm_triton", {}, document(*failed))])
    assert "mamba3.siso_step, 3 cases" in text
    assert text.count("Cause: ") == 1
    assert all(case in text for case in cases)


def test_versions_and_dates_are_shown():
    assert "2026-01-02T03:04:05Z | float32 | jax 1.2, numpy 2.0" in markdown([JUDGED])


def test_known_causes_are_about_cases_that_exist():
    for entry in KNOWN:
        assert entry.peer in peer_names()
        assert any(entry.explains(entry.peer, case) for case in CASES), entry
        assert entry.link.startswith("https://")


def test_known_is_of_the_same_peer():
    case = "mamba3.siso_step/plain/b2p5n8s4"
    assert isinstance(known("mamba_ssm_triton", case), Known)
    assert known("jax", case) is None


def test_verdicts_count_more_than_absence():
    assert merged([ABSENT, JUDGED, Run("jax", {}, reason="missing")]) == [
        JUDGED,
        ABSENT,
    ]


def test_runs_are_written_and_read(tmp_path):
    write_runs(tmp_path / "runs.json", [JUDGED, ABSENT])
    assert read_runs(tmp_path / "runs.json") == [JUDGED, ABSENT]


def test_every_peer_is_run_or_named(peers, tmp_path):
    result = peers("--out", tmp_path / "peers.md", "--timeout", "5")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "peers.md").read_text()
    assert row(text, "jax", "mamba2.ssd")[3:6] == ["2", "1", "1"]
    absent = text[text.index("## Not run") :]
    assert "- mambapy: took more than 5 s" in absent
    assert "- s5: `ssmref verify` ended with status 1: Segmentation fault" in absent
    assert "- transformers: transformers is missing\n" in absent
    assert all(f"- {name}: " in absent or name == "jax" for name in peer_names())


def test_report_without_a_file_goes_to_the_terminal(peers):
    assert "| jax | " in peers("--peer", "jax").stdout


def test_files_of_several_environments_are_joined(peers, tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert peers("--peer", "jax", "--json", first).exit_code == 0
    assert (
        peers("--peer", "transformers", "--peer", "jax", "--json", second).exit_code
        == 0
    )
    write_runs(second, [ABSENT, Run("jax", {}, reason="missing here")])
    joined = peers("--from", first, "--from", second).stdout
    assert row(joined, "jax", "mamba2.ssd")[3] == "2"
    assert "missing here" not in joined
    assert "- s5: the adapter for s5 needs s5" in joined


EMPTY_RUN = {"peer": "jax", "packages": {}, "document": {"a": 1}}
EMPTY_DOCUMENT = json.dumps({"format": 1, "peers": [EMPTY_RUN]})
WRONG = [
    ("", "is not a file of"),
    ("[]", "is not a file of"),
    ('{"format": 2}', "the format is 2, not 1"),
    ('{"format": 1, "peers": [{"peer": "jax"}]}', "is not a file of"),
    (EMPTY_DOCUMENT, "is not a file of"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_wrong_file_is_named(peers, tmp_path, text, words):
    (tmp_path / "runs.json").write_text(text)
    result = peers("--from", tmp_path / "runs.json", "--out", tmp_path / "peers.md")
    assert result.exit_code == 2
    assert "runs.json" in result.stderr
    assert words in " ".join(result.stderr.split())
    assert not (tmp_path / "peers.md").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--peer", "transformer"), "transformers"),
        (("--out", "/no/such/folder/x.md"), "is not a folder"),
        (("--json", "/no/such/folder/x.json"), "is not a folder"),
        (("--dtype", "int8"), "int8"),
    ],
)
def test_mistake_is_named_at_once(peers, arguments, words):
    result = peers(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def test_from_runs_nothing(peers, tmp_path):
    write_runs(tmp_path / "runs.json", [JUDGED])
    result = peers("--from", tmp_path / "runs.json", "--peer", "jax")
    assert result.exit_code == 2
    assert "leave out --peer" in result.stderr
