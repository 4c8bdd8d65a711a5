"""A child answers, and whatever happens to it becomes a status with a reason."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.toys import Toy

from ssmref.bench.child import decoded, encoded
from ssmref.bench.process import THREAD_VARIABLES, Child, ChildError
from ssmref.bench.task import OpTask, describe, restore
from ssmref.bench.verification import Check
from ssmref.bench.workloads import FEW, MAMBA1


def order(do, name="toy.right", task=None, **more):
    made = {"do": do, "task": describe(task or Toy()), "implementation": name}
    return (
        made
        | {"dtype": "float32", "threads": 1, "cache_bytes": 1, "warm_up": 0.5}
        | more
    )


@pytest.fixture
def child():
    with Child(1) as made:
        yield made


def test_it_prepares_and_then_gives_one_sample_per_order(child):
    steps = []
    child.on_step = steps.append
    ready = child.ask(order("prepare"), 60)
    assert decoded(ready["check"]).passed
    assert ready["pinned"]["requested"] == 1
    assert len(ready["warm_up"]) >= 4
    assert "warming up" in steps
    samples = [child.ask({"do": "go"}, 60)["seconds"] for _ in range(3)]
    assert all(0 < s < 1 for s in samples)
    assert child.spent > 0
    assert 0 < (child.started or 0) < child.spent


def test_what_is_wrong_is_dropped_with_the_reason(child):
    answer = child.ask(order("prepare", "toy.wrong"), 60)
    assert (answer["dropped"], answer["reason"]) == ("wrong", "y is 3")
    assert not decoded(answer["check"]).passed


def test_what_is_not_offered_is_dropped(child):
    answer = child.ask(order("prepare", "toy.lazy"), 60)
    assert (answer["dropped"], answer["reason"]) == (
        "not available",
        "only on Tuesdays",
    )
    answer = child.ask(order("prepare", "toy.absent"), 60)
    assert answer["reason"] == "not installed: no toys"


def test_what_it_prints_is_no_answer(child):
    assert child.ask(order("prepare", "toy.chatty"), 60)["warm_up"]
    assert child.ask({"do": "go"}, 60)["seconds"] > 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("toy.killed", "ended by SIGKILL, as the system does when memory runs out"),
        ("toy.exits", "ended with exit status 3: no toys today"),
    ],
)
def test_a_death_has_a_status_and_a_reason(child, name, words):
    with pytest.raises(ChildError, match=words) as raised:
        child.ask(order("prepare", name), 60)
    assert raised.value.status == "crashed"
    with pytest.raises(ChildError):
        child.ask({"do": "go"}, 60)


def test_an_order_that_is_none_ends_it_with_a_reason(child):
    with pytest.raises(ChildError, match="AttributeError"):
        child.ask({"do": "nothing"}, 60)


def test_it_is_stopped_at_its_limit(child):
    with pytest.raises(ChildError, match=r"stopped after 1\.5 s") as raised:
        child.ask(order("prepare", "toy.hangs"), 1.5)
    assert raised.value.status == "timed_out"
    assert child.process.wait() == -signal.SIGKILL


PARENT = """
import sys, time
from ssmref.bench.process import Child
child = Child(1)
print(child.process.pid, flush=True)
child.process.stdin.write(sys.argv[1] + chr(10))
child.process.stdin.flush()
time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_it_dies_with_its_parent():
    import json

    hanging = json.dumps(order("prepare", "toy.hangs"))
    path = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, hanging],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        time.sleep(1.0)  # until it hangs
        assert _lives(pid)
        parent.kill()
    deadline = time.monotonic() + 30
    while _lives(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(pid)


def _lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_threads_are_set_for_every_library(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with Child(1) as child:
        environ = Path(f"/proc/{child.process.pid}/environ")
        if not environ.exists():
            pytest.skip("needs /proc")
        pairs = (v.partition("=") for v in environ.read_text().split("\0"))
        found = {name: value for name, _, value in pairs}
    assert {found[name] for name in THREAD_VARIABLES} == {"1"}


def test_who_takes_part_is_looked_up(child):
    tasks = [describe(Toy()), describe(Toy("toy.other"))]
    names = ["toy.right", "toy.absent"]
    asked = {"do": "resolve", "names": names, "tasks": tasks, "threads": 1}
    found = child.ask(asked, 60)["resolved"]
    assert (
        found
        == [
            [
                {"name": "toy.right", "note": "", "workspace": 0.0},
                {"name": "toy.absent", "absent": "not installed: no toys"},
            ]
        ]
        * 2
    )


def test_core_cases_are_judged_once(child):
    answer = child.ask(order("prepare", "toy.core"), 60)
    assert answer["core"]["places"] == ["core"]
    assert answer["check"]["places"] == ["small sizes", "core", "timed result"]
    with Child(1) as other:
        failed = {"passed": False, "ratio": None, "places": ["core"], "problem": "off"}
        again = other.ask(order("prepare", "toy.core", core=failed), 60)
    assert (again["dropped"], again["reason"]) == ("wrong", "off")


def test_memory_is_measured_with_and_without_the_call(child):
    found = child.ask(order("memory", "toy.hungry", call=True), 60)
    assert 32 * 2**20 <= found["traced"] < 33 * 2**20
    assert found["peak"] > 32 * 2**20
    with Child(1) as other:
        baseline = other.ask(order("memory", "toy.hungry", call=False), 60)
    assert baseline["traced"] < 2**20
    assert baseline["peak"] < found["peak"] - 25 * 2**20


def test_what_only_the_first_call_takes_is_not_the_memory_of_a_short_one(child):
    found = child.ask(order("memory", "toy.hungry_at_first", call=True), 60)
    assert found["traced"] < 2**20


def test_a_long_call_is_measured_once(child):
    found = child.ask(order("memory", "toy.slow_and_hungry_at_first", call=True), 60)
    assert found["traced"] >= 32 * 2**20


def test_a_task_is_the_same_in_another_process():
    sizes = {"batch": 1, "length": 64, **MAMBA1}
    cut = {"channels": 2}
    task = OpTask("mamba1.selective_scan", "g", "n", sizes, {**sizes, **FEW}, cut)
    again = restore(describe(task))
    assert again == task
    assert (again.id, again.definition) == (task.id, task.definition)


@pytest.mark.parametrize("ratio", [0.5, float("inf")])
def test_a_check_survives_json(ratio):
    check = Check(ratio < 1, ratio, ("here", "there"), "why")
    assert decoded(encoded(check)) == check
