import json
import os

import jsonschema
import pytest
from support import scaling_records as made

from ssmref.bench.pages.sources import SourceError, latest, machine, read
from ssmref.bench.records import schema

SIZES = {"batch": 1, "length": 64, "heads": 1, "headdim": 4}


def point(seconds: float | None = 0.5, who="ssmref.cpu", **more):
    return made.timing("op", "mamba2.ssd", SIZES, who, seconds, **more)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "machine" / "2026-01-02-abc" / "scaling.jsonl"


def test_the_made_up_records_are_as_the_schema_says():
    found = made.records()
    check = jsonschema.Draft202012Validator(schema())
    assert [r for r in found if not check.is_valid(r)] == []
    statuses = {r["status"] for r in found if "status" in r}
    assert statuses == set(schema()["$defs"]["status"]["enum"])
    kinds = {r.get("kind_of_workload") for r in found}
    assert kinds >= {"op", "block", "inference", "chunks", "state", "forms"}


def test_everything_is_read(path):
    found = made.records()
    run = read([made.write(path, found)])
    kinds = [r["kind"] for r in found]
    assert len(run.timings) == kinds.count("measurement")
    assert len(run.memories) == kinds.count("memory")
    assert list(run.machines.values()) == ["Example CPU 3000"]
    assert run.notes == []


def test_files_and_folders_are_the_same(path):
    made.write(path, [made.environment(), point()])
    by_file, by_folder = read([path]), read([path.parents[2]])
    assert by_file.timings == by_folder.timings
    assert read([path, path.parent]).timings == by_file.timings


def test_the_latest_record_of_a_point_counts(path):
    found = [made.environment(), point(0.5), point(None, status="crashed"), point(0.25)]
    run = read([made.write(path, found)])
    assert [t.samples[3] for t in run.timings] == [0.25]


def test_what_was_defined_anew_is_left_out_and_said(path):
    old = point(0.5, "ssmref.golden", definition="0" * 12)
    new = point(0.25, definition="1" * 12)
    run = read([made.write(path, [made.environment(), old, new])])
    assert [t.subject.definition for t in run.timings] == ["1" * 12]
    assert run.notes[0].startswith("1 older records are left out")


def test_a_half_written_line_is_left_out_and_said(path):
    made.write(path, [made.environment(), point()])
    with path.open("a") as file:
        file.write('{"format": 1, "kin')
    run = read([path])
    assert len(run.timings) == 1
    assert "scaling.jsonl was only half written" in run.notes[0]


def broken(**changes):
    return json.dumps(point() | changes)


WRONG = {
    "another format": ('{"format": 2}', "line 2: format is 2, needed is 1"),
    "no JSON": ("{", "line 2: "),
    "a list": ("[]", "line 2: format is None"),
    "no kind": ('{"format": 1}', "line 2 is not a record .*: 'kind' is missing"),
    "an unknown kind": (broken(kind="speed"), "line 2 .*: its kind is 'speed'"),
    "no sizes": (broken(sizes=None), "line 2 is not a record"),
    "no samples": (broken(samples=[]), "'measured' with 0 samples"),
    "no verdict": (broken(verdict=None), "without a verdict that passed"),
    "a time of zero": (broken(samples=[0.0]), "not above zero"),
    "an unknown environment": (broken(environment="f" * 12), "f{12} is not described"),
    "a text as a sample": (broken(samples=["fast"]), "could not convert"),
}


@pytest.mark.parametrize(("line", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_sentence(path, line, words):
    made.write(path, [made.environment()])
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(SourceError, match=words) as caught:
        read([path])
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_named(path):
    lacking = {name: value for name, value in point().items() if name != "op"}
    with pytest.raises(SourceError, match=r"line 2 is not .*: 'op' is missing"):
        read([made.write(path, [made.environment(), lacking])])


def test_nothing_to_read_is_said(tmp_path, path):
    with pytest.raises(SourceError, match="nowhere does not exist"):
        read([tmp_path / "nowhere"])
    with pytest.raises(SourceError, match=r"holds no file of records \(\*.jsonl\)"):
        read([tmp_path])
    with pytest.raises(SourceError, match="there is no measurement"):
        read([made.write(path, [made.environment(), made.rates()])])


def test_the_latest_run_is_the_one_of_the_latest_day_then_change(tmp_path):
    names = ("2026-01-02-bbb", "2026-01-10-aaa", "2026-01-10-abc")
    for age, name in enumerate(names):
        path = made.write(tmp_path / "machine" / name / "x.jsonl", [point()])
        os.utime(path, (100 - age, 100 - age))
    assert latest(tmp_path).name == "2026-01-10-aaa"
    with pytest.raises(SourceError, match="holds no records"):
        latest(tmp_path / "other")


def test_a_machine_is_known_by_its_hardware_alone():
    one = machine(made.DETAILS)
    assert machine({**made.DETAILS, "versions": {}, "load": [9], "commit": ""}) == one
    assert machine({**made.DETAILS, "threads": {}, "memory": 2**34 + 5}) == one
    assert machine({**made.DETAILS, "cpu": "other"}) != one
    assert machine({**made.DETAILS, "memory": 2**35}) != one
    assert machine({**made.DETAILS, "caches": {}}) != one
    assert machine({**made.DETAILS, "gpu": {"name": "Example GPU"}}) != one
