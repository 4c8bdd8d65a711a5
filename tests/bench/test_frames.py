import math
import subprocess
import sys

import pytest
from support import scaling_records as made

import ssmref.bench
from ssmref.bench.records import RecordError

pandas = pytest.importorskip("pandas", reason="pip install '.[bench]'")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "machine" / "2026-01-02-abc" / "x.jsonl"
    made.write(path, made.records())
    return tmp_path


def rows(found):
    return found.to_dict("records")


def test_every_time_and_memory_is_a_row(folder):
    found = ssmref.bench.load(folder)
    kinds = [r["kind"] for r in made.records()]
    assert dict(found["kind"].value_counts()) == {
        kind: kinds.count(kind) for kind in ("measurement", "memory")
    }
    assert set(found["cpu"]) == {"Example CPU 3000"}
    assert set(found["commit"]) == {"abc1234def"}


def test_dictionaries_become_columns_and_samples_have_a_median(folder):
    found = ssmref.bench.load(folder)
    own = found[
        (found.kind == "measurement")
        & (found.op == "mamba2.ssd")
        & (found.implementation == "ssmref.cpu")
        & (found.kind_of_workload == "op")
    ].set_index("sizes.length")
    assert own.loc[4096, "median"] == pytest.approx(2e-6 * 4096)
    assert own.loc[4096, "verdict.ratio"] == 1.5
    assert len(own.loc[4096, "samples"]) == 7
    outputs = [row["model.outputs"] for row in rows(found) if row["kind"] == "memory"]
    assert max(outputs) > 0


def test_what_was_not_measured_has_no_median_but_a_reason(folder):
    found = ssmref.bench.load(folder)
    kinds = [row for row in rows(found) if row["kind"] == "measurement"]
    other = [row for row in kinds if row["status"] != "measured"]
    assert 0 < len(other) < len(kinds)
    assert all(math.isnan(row["median"]) for row in other)
    assert all(row["reason"] for row in other)


def test_several_paths_stand_below_each_other(folder):
    assert len(ssmref.bench.load(folder, folder)) == 2 * len(ssmref.bench.load(folder))


def test_without_a_path_it_is_bench_results(folder, monkeypatch):
    (folder / "machine").rename(folder / "bench_results")
    monkeypatch.chdir(folder)
    assert len(ssmref.bench.load()) == len(ssmref.bench.load(folder))


def test_what_is_no_record_is_an_error(tmp_path):
    with pytest.raises(RecordError, match="does not exist"):
        ssmref.bench.load(tmp_path / "nothing")


def test_an_unknown_name_is_an_error():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        ssmref.bench.lode  # noqa: B018 - asking for it is the test


def test_importing_the_package_does_not_import_pandas():
    code = "import sys, ssmref.bench as b; print('pandas' in sys.modules); b.load"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('pandas' in sys.modules)"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.split() == ["False", "False"]
