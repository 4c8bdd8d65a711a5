"""Every point of a sweep ends with a valid record, whatever becomes of its child."""

from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from support.toys import Toy

from ssmref.bench import environment
from ssmref.bench import sweep as sweep_module
from ssmref.bench.book import Book, choose_file
from ssmref.bench.budget import Budget
from ssmref.bench.points import MEMORY, TIMES, Finding, Point, Setting, version
from ssmref.bench.records import RecordError, load, schema
from ssmref.bench.sweep import Limits, Progress, Sweep

ID = "0123456789ab"
SETTING = Setting("toys", np.dtype(np.float32), 1, {})
GIBI = 2**30


def toys(*lengths, **more):
    return [Toy(sizes={"length": n}, **more) for n in lengths]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "toys.jsonl"


def limits(total=None, point=30.0, rounds=3, available=8 * GIBI):
    return Limits(Budget(total, point), rounds, 1, lambda: available)


def swept(path, tasks, *names, what=(TIMES,), **more):
    """Return what a sweep finds, by what, length and name; all records are valid."""
    book = Book(path, SETTING)
    book.environment_id = ID
    steps: list[Progress] = []
    made = Sweep(SETTING, limits(**more), book, steps.append)
    wanted = [(task, kind) for task in tasks for kind in what]
    found = [f for group in made.run(wanted, names) for f in group]
    assert made.done == made.total
    for record in load(path) if path.exists() else ():
        jsonschema.validate(record, schema())
    return {
        (f.point.what, f.point.task.length, f.point.implementation): f for f in found
    }


def statuses(found):
    return {key: f.status for key, f in found.items()}


def test_everybody_is_timed_side_by_side(path):
    found = swept(path, toys(8), "toy.one", "toy.two")
    assert set(statuses(found).values()) == {"measured"}
    for f in found.values():
        assert f.samples is not None
        assert len(f.samples.seconds) == 3
        assert f.check is not None
        assert f.check.places == ("small sizes", "timed result")
    records = list(load(path))
    assert [r["kind"] for r in records] == ["measurement"] * 2
    assert {r["pinned"]["requested"] for r in records} == {1}
    assert {r["length"] for r in records} == {r["tokens"] for r in records} == {8}
    assert len({r["key"] for r in records}) == 2


FAILURES = {
    "toy.wrong": ("wrong", "y is 3"),
    "toy.absent": ("not available", "not installed: no toys"),
    "toy.lazy": ("not available", "only on Tuesdays"),
    "toy.killed": ("crashed", "ended by SIGKILL"),
    "toy.exits": ("crashed", "no toys today"),
    "toy.killed_later": ("crashed", "ended by SIGKILL"),
    "toy.raises_later": ("wrong", "raised MemoryError: no more toys"),
}


@pytest.fixture(scope="module")
def failures(tmp_path_factory):
    path = tmp_path_factory.mktemp("failures") / "toys.jsonl"
    return swept(path, toys(8), *FAILURES, "toy.right", rounds=20), list(load(path))


@pytest.mark.parametrize("name", FAILURES)
def test_one_who_fails_has_a_reason_and_does_not_stop_the_others(failures, name):
    found, records = failures
    failed, (status, words) = found[TIMES, 8, name], FAILURES[name]
    assert failed.status == status
    assert words in failed.reason
    assert failed.samples is None
    assert found[TIMES, 8, "toy.right"].status == "measured"
    assert len(found[TIMES, 8, "toy.right"].samples.seconds) == 20
    by_name = {r["implementation"]: r for r in records}
    assert by_name[name]["samples"] == []
    assert words in by_name[name]["reason"]


def test_one_who_ends_the_process_that_looks_for_all_is_named(path):
    found = swept(path, toys(8), "toy.one", "toy.explodes_when_imported")
    assert found[TIMES, 8, "toy.one"].status == "measured"
    failed = found[TIMES, 8, "toy.explodes_when_imported"]
    assert failed.status == "not available"
    assert "ended while it was looked for" in failed.reason


def test_who_crashed_is_not_tried_at_longer_lengths(path):
    found = swept(path, toys(8, 16), "toy.killed")
    assert found[TIMES, 8, "toy.killed"].status == "crashed"
    longer = found[TIMES, 16, "toy.killed"]
    assert longer.status == "skipped"
    assert longer.reason.startswith("not tried: it ended by SIGKILL")
    assert longer.reason.endswith("at length 8")


def test_who_takes_too_long_is_stopped_and_longer_lengths_are_not_tried(path):
    """The first one has time to compile, and takes as long as it likes."""
    found = swept(path, toys(8, 16, 32), "toy.hangs_when_long", point=2.5)
    assert found[TIMES, 8, "toy.hangs_when_long"].status == "measured"
    stopped = found[TIMES, 16, "toy.hangs_when_long"]
    assert stopped.status == "timed_out"
    assert stopped.reason == "stopped after 2.5 s, the limit of this point"
    longer = found[TIMES, 32, "toy.hangs_when_long"]
    assert longer.status == "timed_out"
    assert longer.reason.startswith("predicted: at least")


def test_time_is_predicted_from_the_length_before(path):
    lengths = toys(1, 2, 1024, growth=2.0)
    found = swept(path, lengths, "toy.slow", what=(MEMORY,), point=20.0)
    assert found[MEMORY, 2, "toy.slow"].status == "measured"
    longest = found[MEMORY, 1024, "toy.slow"]
    assert longest.status == "timed_out"
    assert longest.reason.startswith("predicted: at least")
    seconds = float(longest.reason.split()[3])
    assert seconds > 0.04 * 512**2  # the call at length 2, by the square


def test_without_time_nobody_is_started(path, monkeypatch):
    started = []
    real = sweep_module.Child

    def spy(*args):
        started.append(args)
        return real(*args)

    monkeypatch.setattr(sweep_module, "Child", spy)
    found = swept(path, toys(8), "toy.one", "toy.two", total=1e-9)
    assert set(statuses(found).values()) == {"timed_out"}
    assert len(started) == 1  # who looks for contenders
    assert {f.reason for f in found.values()} == {
        "not tried: the time was used up before"
    }


def test_short_lengths_come_first(path):
    tasks = [*toys(32, 8), *toys(16, op="toy.triple")]
    # In no time, so that nothing is run.
    swept(path, tasks, "toy.one", what=(TIMES, MEMORY), total=1e-9)
    order = [(r["length"], r["kind"]) for r in load(path)]
    kinds = ("measurement", "memory")
    assert order == [(n, kind) for n in (8, 16, 32) for kind in kinds]


def test_what_does_not_fit_is_predicted_and_never_made(path, monkeypatch):
    monkeypatch.setattr(Toy, "arguments", None)
    tasks = toys(8, workspace=10 * GIBI)
    found = swept(path, tasks, "toy.one", what=(TIMES, MEMORY))
    assert set(statuses(found).values()) == {"oom_predicted"}
    for f in found.values():
        assert f.reason == "needs about 11.04 GB of memory, 6.87 GB may be taken"


def test_who_do_not_fit_side_by_side_run_one_after_the_other(path, monkeypatch):
    alive, most = [], []
    real = sweep_module.Child

    class Counted(real):
        def __init__(self, *args):
            super().__init__(*args)
            alive.append(self)
            most.append(len(alive))

        def close(self):
            super().close()
            if self in alive:
                alive.remove(self)

    monkeypatch.setattr(sweep_module, "Child", Counted)
    tasks = toys(8, workspace=3 * GIBI)
    found = swept(path, tasks, "toy.one", "toy.two")
    assert set(statuses(found).values()) == {"measured"}
    assert max(most) == 1
    fresh = path.with_name("more.jsonl")
    swept(fresh, toys(8), "toy.one", "toy.two")
    assert max(most) == 2


def test_a_machine_without_memory_for_the_smallest_point(path):
    found = swept(path, toys(8, 16), "toy.one", available=1000)
    assert set(statuses(found).values()) == {"oom_predicted"}


def test_memory_has_three_figures(path):
    found = swept(path, toys(8), "toy.hungry", what=(MEMORY,))
    (record,) = load(path)
    assert record["kind"] == "memory"
    assert 32 * 2**20 <= record["tracemalloc_peak"] < 33 * 2**20
    assert record["resident_peak"] == pytest.approx(32 * 2**20, rel=0.1)
    assert record["model"]["outputs"] == 32
    assert "% from the byte model" in record["note"]
    assert found[MEMORY, 8, "toy.hungry"].peaks is not None


def test_without_a_mark_that_can_be_set_back_a_second_child_says_what_inputs_take(
    path, monkeypatch
):
    real, asked = sweep_module.Child.ask, []

    def ask(self, order, seconds=None):
        answer = real(self, order, seconds)
        asked.append(order.get("call"))
        return answer | ({"before": None} if "before" in answer else {})

    monkeypatch.setattr(sweep_module.Child, "ask", ask)
    swept(path, toys(8), "toy.hungry", what=(MEMORY,))
    (record,) = load(path)
    assert asked == [None, True, False]
    assert record["resident_peak"] == pytest.approx(32 * 2**20, rel=0.1)


def test_a_second_run_does_nothing_again(path):
    first = swept(path, toys(8), "toy.one", "toy.wrong", what=(TIMES, MEMORY))
    assert len(first) == 4
    before = path.read_bytes()
    assert swept(path, toys(8), "toy.one", "toy.wrong", what=(TIMES, MEMORY)) == {}
    assert path.read_bytes() == before


def test_a_second_run_goes_on_where_time_ran_out(path):
    swept(path, toys(8), "toy.one", total=1e-9)
    again = swept(path, toys(8), "toy.one")
    assert set(statuses(again).values()) == {"measured"}
    assert [r["status"] for r in load(path)] == ["timed_out", "measured"]


def test_what_has_not_changed_is_not_repeated(path):
    for _ in range(2):
        swept(path, toys(8), "toy.one", "toy.absent", total=1e-9)
    assert len(list(load(path))) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "others"},
        {"dtype": np.dtype(np.float64)},
        {"threads": 2},
    ],
)
def test_other_settings_are_other_points(change):
    point = Point(Toy(), TIMES, "toy.one")
    other = replace(SETTING, **change)
    keys = [point.key(s.suite, s.dtype, s.threads) for s in (SETTING, other)]
    assert len(set(keys)) == 2


def test_other_points_have_other_keys(monkeypatch):
    point = Point(Toy(), TIMES, "toy.one")
    made = {p.key("s", SETTING.dtype, 1) for p in (
        point,
        replace(point, what=MEMORY),
        replace(point, implementation="toy.two"),
        replace(point, task=Toy("toy.triple")),
        replace(point, task=Toy(sizes={"length": 9})),
    )}  # fmt: skip
    assert len(made) == 5
    monkeypatch.setattr(environment, "machine_slug", lambda: "another")
    made.add(point.key("s", SETTING.dtype, 1))
    assert len(made) == 6


@pytest.fixture
def versions(monkeypatch):
    version.cache_clear()
    monkeypatch.setattr(
        environment, "versions", lambda: {"torch": "9.9", "ssmref": "1"}
    )
    monkeypatch.setattr(environment, "commit", lambda: "abc1234")
    yield
    version.cache_clear()


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("peer:torch:sdpa", "9.9"),
        ("peer:jax", ""),
        ("ssmref.cpu", "1 abc1234"),
        ("yardstick:c", "1 abc1234"),
        ("numpy.linalg", np.__version__),
        ("no.such.package", ""),
    ],
)
def test_the_version_is_that_of_who_computes(name, expected):
    assert version(name) == expected


def test_the_file_is_the_latest_of_this_commit_or_a_new_one(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "commit", lambda: "abc1234")
    monkeypatch.setattr(environment, "machine_slug", lambda: "fast")
    new = choose_file(tmp_path, "quick", fresh=False)
    assert new.name == "quick.jsonl"
    for day, name in (
        ("2001-01-01-abc1234", "quick.jsonl"),
        ("2001-01-02-abc1234", "quick-2.jsonl"),
        ("2001-01-02-abc1234", "quick-10.jsonl"),
        ("2001-01-03-fffffff", "quick.jsonl"),
        ("2001-01-03-abc1234", "quicker.jsonl"),
    ):
        (tmp_path / "fast" / day).mkdir(parents=True, exist_ok=True)
        (tmp_path / "fast" / day / name).touch()
    found = choose_file(tmp_path, "quick", fresh=False)
    assert found == tmp_path / "fast" / "2001-01-02-abc1234" / "quick-10.jsonl"
    assert choose_file(tmp_path, "quick", fresh=True) == new
    new.parent.mkdir()
    new.touch()
    assert choose_file(tmp_path, "quick", fresh=True) == new.with_name("quick-2.jsonl")


def test_records_of_another_format_are_refused(path):
    path.write_text('{"format": 99}\n')
    with pytest.raises(RecordError, match="format is 99"):
        Book(path, SETTING)


def test_progress_says_where_it_is(path):
    book, steps = Book(path, SETTING), []
    made = Sweep(SETTING, limits(total=60.0), book, steps.append)
    list(made.run([(toy, TIMES) for toy in toys(8)], ["toy.one"]))
    assert steps[0].words == "looking for toy.one"
    assert steps[-1].words.startswith("toy.double/l8, toy.one: round 3 of 3")
    assert steps[-1].total == 1
    assert 0 < steps[-1].left < 60.0


def test_a_finding_without_a_figure_has_none_in_its_record():
    point = Point(Toy(), MEMORY, "toy.one")
    record = SETTING.record(Finding(point, "timed_out", "late"), ID)
    jsonschema.validate({"format": 1, **record}, schema())
    wrong = {"format": 1, **record, "tracemalloc_peak": 5}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema())


def test_nobody_is_started_in_less_time_than_a_start_takes(path):
    swept(path, toys(8), "toy.one")
    others = toys(8, op="toy.triple")
    book = Book(path, SETTING)
    (other,) = (Point(task, TIMES, "toy.one") for task in others)
    start = book.starts["toy.one"]
    assert start > 0
    assert book.predicted(other) == start
    assert book.predicted(replace(other, implementation="toy.two")) == 0.0
    found = swept(path, others, "toy.one", total=start / 2)
    assert found[TIMES, 8, "toy.one"].status == "timed_out"
