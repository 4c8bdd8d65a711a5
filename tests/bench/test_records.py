import json

import jsonschema
import pytest

from ssmref.bench.environment import environment, identity, now
from ssmref.bench.records import RecordError, append, load, run_folder, schema

ID = "0123456789ab"
RATES = {
    "kind": "rates",
    "time": "2026-01-02T03:04:05Z",
    "environment": ID,
    "threads": 1,
    "rates": [{"name": "triad", "unit": "B/s", "method": "C", "samples": [1e10]}],
}
MEASUREMENT = {
    "format": 1,
    "kind": "measurement",
    "time": "2026-01-02T03:04:05Z",
    "environment": ID,
    "suite": "ops",
    "workload": "mamba2.ssd/b1l8",
    "definition": ID,
    "op": "mamba2.ssd",
    "form": "",
    "sizes": {"batch": 1, "length": 8},
    "dtype": "float32",
    "threads": 1,
    "implementation": "ssmref.golden",
    "note": "",
    "status": "measured",
    "reason": "",
    "copies": 1,
    "samples": [0.1, 0.2],
    "warm_up": [0.3],
    "verdict": {"passed": True, "ratio": 1.0, "limit": 30.0, "places": []},
    "cost": {n: 0 for n in ("elements", "instructions", "flops", "products", "exps")},
    "limit": {"memory": 0.01},
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "machine" / "day" / "ops.jsonl"


def test_what_is_appended_is_loaded_in_order(path):
    for threads in (1, 2, 3):
        append(path, RATES | {"threads": threads})
    assert [r["threads"] for r in load(path)] == [1, 2, 3]
    assert list(load(path)) == list(load(path.parents[2]))


@pytest.mark.parametrize("left", [1, 5, 100])
def test_a_half_written_line_is_dropped(path, left):
    append(path, RATES)
    append(path, RATES | {"threads": 2})
    path.write_bytes(path.read_bytes()[:-left])
    assert [r["threads"] for r in load(path)] == [1]
    append(path, RATES | {"threads": 3})
    assert [r["threads"] for r in load(path)] == [1, 3]


def test_a_file_of_half_a_line_is_empty(path):
    path.parent.mkdir(parents=True)
    path.write_text('{"format": 1, "kin')
    assert list(load(path)) == []
    append(path, RATES)
    assert len(list(load(path))) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [("{", "line 2"), ("[1]", "format is None"), ('{"format": 7}', "format is 7")],
)
def test_a_whole_line_that_is_no_record_is_an_error(path, line, words):
    append(path, RATES)
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(RecordError, match=words):
        list(load(path))


def test_a_missing_file_is_an_error(path):
    with pytest.raises(RecordError, match="does not exist"):
        list(load(path))


def test_records_hold_no_nan(path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        append(path, RATES | {"threads": float("nan")})
    assert not path.exists() or list(load(path)) == []


def test_the_schema_accepts_what_a_run_writes():
    details = environment({"requested": 1}) | {"compiler": ""}
    head = {"format": 1, "time": now(), "environment": identity(details)}
    record = head | {"kind": "environment", "details": details}
    jsonschema.validate(json.loads(json.dumps(record)), schema())
    jsonschema.validate({"format": 1, **RATES}, schema())
    jsonschema.validate(MEASUREMENT, schema())
    jsonschema.validate(MEASUREMENT | {"rates": RATES["rates"]}, schema())


RATE = RATES["rates"][0]
WRONG = {
    "a time without a verdict": {"verdict": None},
    "a time of what is wrong": {"verdict": MEASUREMENT["verdict"] | {"passed": False}},
    "measured without samples": {"samples": []},
    "a time of what was skipped": {"status": "skipped"},
    "an unknown status": {"status": "fast", "samples": []},
    "a negative time": {"samples": [-1.0]},
    "an unknown field": {"speed": 1},
    "a rate of nothing": {"rates": [RATE | {"samples": [0.0]}]},
    "a rate without samples": {"rates": [RATE | {"samples": []}]},
    "a rate without a method": {"rates": [{n: RATE[n] for n in ("name", "unit")}]},
    "another format": {"format": 2},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_the_schema_rejects(change):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(MEASUREMENT | change, schema())


def test_the_schema_rejects_a_missing_field():
    for name in MEASUREMENT:
        rest = {n: v for n, v in MEASUREMENT.items() if n != name}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(rest, schema())


def test_the_schema_itself_is_valid():
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_folder_names_machine_day_and_commit(tmp_path, monkeypatch):
    monkeypatch.setattr("ssmref.bench.environment.commit", lambda: "abc1234")
    monkeypatch.setattr("ssmref.bench.environment.machine_slug", lambda: "fast-4cpu")
    folder = run_folder(tmp_path)
    assert folder.parent == tmp_path / "fast-4cpu"
    assert folder.name.endswith("-abc1234")
    assert len(folder.name) == len("2026-01-02-abc1234")
