"""A sweep that is killed at any moment loses nothing, and another run completes it."""

import os
import random
import subprocess
import sys
import time

import jsonschema
import pytest

from ssmref.bench.records import load, schema

SWEEP = """
import sys
from pathlib import Path
import numpy as np
from support.toys import Toy
from ssmref.bench import environment
from ssmref.bench.book import Book
from ssmref.bench.budget import Budget
from ssmref.bench.points import Setting
from ssmref.bench.sweep import Limits, Sweep

environment.commit = lambda: "abc1234"  # somebody may commit meanwhile
setting = Setting("toys", np.dtype(np.float32), 1, {})
book = Book(Path(sys.argv[1]), setting)
book.environment_id = "0123456789ab"
limits = Limits(Budget(None, 30.0), 2, 1, lambda: None)
wanted = [(Toy(), what) for what in ("times", "memory")]
names = ["toy.one", "toy.wrong"]
for found in Sweep(setting, limits, book).run(wanted, names):
    print(len(found), flush=True)
"""


def start(path):
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", SWEEP, str(path)]
    return subprocess.Popen(words, env=variables, stdout=subprocess.DEVNULL)


def points(path):
    """Return the points of all whole lines; each is a valid record, and there once."""
    records = list(load(path)) if path.exists() else []
    for record in records:
        jsonschema.validate(record, schema())
    keys = [(r["kind"], r["workload"], r["implementation"]) for r in records]
    assert len(set(keys)) == len(keys)
    return {key: r["status"] for key, r in zip(keys, records, strict=True)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return what a run writes that nobody disturbs, and its seconds."""
    path, begin = tmp_path_factory.mktemp("whole") / "toys.jsonl", time.monotonic()
    assert start(path).wait(timeout=120) == 0
    found = points(path)
    assert len(found) == 2 * 2
    assert sorted(set(found.values())) == ["measured", "wrong"]
    return path.read_bytes(), found, time.monotonic() - begin


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.thorough) for n in range(1, 6))]
)
def test_kills_at_random_moments(tmp_path, whole, seed):
    _, expected, seconds = whole
    path, moments, kept = tmp_path / "toys.jsonl", random.Random(seed), {}
    for _ in range(2):
        with start(path) as running:
            time.sleep(moments.uniform(0.3, 0.8 * seconds))
            running.kill()
        found = points(path)
        assert kept.items() <= found.items()  # nothing that was there is lost
        assert found.items() <= expected.items()
        kept = found
    assert start(path).wait(timeout=120) == 0
    assert points(path) == expected
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_a_record_half_written_is_dropped(tmp_path, whole, cut):
    written, expected, _ = whole
    path = tmp_path / "toys.jsonl"
    path.write_bytes(written[:-cut])
    found = points(path)
    assert len(found) == len(expected) - 1
    assert found.items() <= expected.items()


def test_the_point_of_a_half_written_record_is_done_again(tmp_path, whole):
    written, expected, _ = whole
    path = tmp_path / "toys.jsonl"
    path.write_bytes(written[:-40])
    assert start(path).wait(timeout=120) == 0
    assert points(path) == expected
    assert path.read_bytes().startswith(written[: written.rindex(b"\n", 0, -1)])
