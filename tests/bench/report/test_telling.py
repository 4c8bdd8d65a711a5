"""Sentences on decoding, states and the machine say what the records show."""

import pytest
from support import scaling_records as made

from ssmref.bench.pages.sources import latest, read
from ssmref.bench.pages.summary import summary


def sentence(found, start):
    [one] = [s for s in found if s.startswith(start)]
    return one


def decode(op, context, seconds, **more):
    sizes = {"batch": 1, "context": context}
    more = {"suite": "inference", "form": "decode", **more}
    return made.timing("inference", op, sizes, "ssmref.cpu", seconds, **more)


def test_a_token_behind_a_long_context_is_compared_with_one_behind_a_short(run_of):
    found = summary(
        run_of(
            *(decode("block.transformer", n, 1e-6 * n) for n in (1024, 4096)),
            *(decode("block.mamba2", n, 1e-4 * (1 + n / 1e5)) for n in (1024, 4096)),
            decode("block.mamba1", 1024, 1.0),  # one context says nothing
        )
    )
    assert sentence(found, "The next token") == (
        "The next token of one request takes: block.transformer 1.02 ms behind 1K "
        "tokens, 4.0 times as long behind 4K; block.mamba2 101 µs behind 1K tokens, as "
        "long behind 4K."
    )


def test_the_scan_and_ssd_are_compared_at_equal_states(run):
    text = sentence(summary(run), "At equal channels")
    assert text.endswith("1.0 at 16, 1.0 at 32, 1.0 at 64, 1.0 at 128.")


def state(op, n, seconds):
    sizes = {"batch": 1, "length": 64, "state": n}
    return made.timing("state", op, sizes, "ssmref.cpu", seconds, suite="state")


def test_states_that_only_one_has_are_left_out(run_of):
    found = summary(
        run_of(
            state("mamba2.ssd", 16, 1e-3),
            state("mamba2.ssd", 32, 1e-3),
            state("mamba1.selective_scan", 32, 4e-3),
            state("mamba1.selective_scan", 64, 8e-3),
        )
    )
    assert sentence(found, "At equal channels").endswith("state: 0.25 at 32.")


@pytest.mark.parametrize(("load", "busy"), [(0.4, False), (1.9, False), (2.1, True)])
def test_a_busy_machine_is_named(tmp_path, load, busy):
    records = [made.environment(load=[load, 0.0, 0.0]), decode("block.mamba2", 8, 1.0)]
    run = read([made.write(tmp_path / "x.jsonl", records)])
    told = [s for s in summary(run) if s.startswith("The machine was busy")]
    assert bool(told) == busy
    assert not busy or "a load of 2.1 on 4 CPUs" in told[0]


@pytest.mark.parametrize(("factor", "told"), [(1.01, False), (2.0, True)])
def test_times_that_are_unstable_are_counted(run_of, factor, told):
    record = decode("block.mamba2", 8, 1.0)
    record["samples"] = [1.0, 1.0, factor, factor]
    found = [s for s in summary(run_of(record)) if "quartiles that are more" in s]
    assert bool(found) == told
    assert not told or found[0].startswith("1 of 1 time have")


def test_runs_of_this_machine_come_before_newer_ones_of_others(tmp_path, monkeypatch):
    monkeypatch.setattr("ssmref.bench.environment.machine_slug", lambda: "mine")
    for machine, day in (("mine", "2026-01-01-a"), ("other", "2026-01-09-a")):
        made.write(tmp_path / machine / day / "x.jsonl", [made.environment()])
    assert latest(tmp_path).name == "2026-01-01-a"
    monkeypatch.setattr("ssmref.bench.environment.machine_slug", lambda: "third")
    assert latest(tmp_path).name == "2026-01-09-a"
