"""Nobody who is wrong has a time, and every outcome becomes a valid record."""

from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest

from ssmref.bench import packages
from ssmref.bench import run as run_module
from ssmref.bench.measure import Samples
from ssmref.bench.records import schema
from ssmref.bench.run import ABSENT, MEASURED, SKIPPED, WRONG, record, run
from ssmref.bench.workloads import WORKLOADS
from ssmref.golden.mamba1 import selective_scan, selective_scan_step

ID = "0123456789ab"
SCAN = next(w for w in WORKLOADS if w.op == "mamba1.selective_scan")
SCAN = SCAN.resized(length=150, channels=6)


def outcomes(settings, *names, workload=SCAN):
    found = list(run(workload, names, settings))
    for m in found:
        jsonschema.validate({"format": 1, **record(m, ID)}, schema())
    return {m.implementation: m for m in found}


def test_what_is_right_is_timed(settings):
    (m,) = outcomes(settings, "ssmref.golden").values()
    assert m.status == MEASURED
    assert m.samples is not None
    assert len(m.samples.seconds) == 2
    assert all(s > 0 for s in m.samples.seconds)
    assert m.check is not None
    assert m.check.passed
    assert m.check.places == (
        "small sizes",
        "23 of 23 core cases",
        "timed result, 2 of the channels",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        lambda y: y * np.float32(1.01),
        lambda y: y * np.float32(np.nan),
        lambda y: y[:, ::-1],
        lambda _: None,
    ],
    ids=["one per cent", "nan", "backwards", "nothing"],
)
def test_what_is_wrong_has_no_time(settings, package, wrong):
    def scan(*args, **options):
        y, state = selective_scan(*args, **options)
        return wrong(y), state

    name = package("wrong_scan", scan)
    m = outcomes(settings, name)[name]
    assert m.status == WRONG
    assert m.samples is None
    assert m.reason
    assert record(m, ID)["samples"] == []


def test_what_is_wrong_only_at_full_size_has_no_time(settings, package):
    def forgets(u, dt, *args, **options):
        y, state = selective_scan(u, dt, *args, **options)
        if u.shape[1] == 150 and u.shape[0] == 1:
            y[:, 140:, -1] *= np.float32(1.01)
        return y, state

    name = package("forgetful_scan", forgets)
    m = outcomes(settings, name)[name]
    assert m.status == WRONG
    assert "timed result" in m.reason
    assert m.samples is None


def test_what_raises_has_no_time(settings, package):
    def raises(*_, **__):
        raise ZeroDivisionError("not today")

    name = package("raising_scan", raises)
    m = outcomes(settings, name)[name]
    assert m.status == WRONG
    assert "ZeroDivisionError: not today" in m.reason


def test_what_raises_while_it_is_timed_has_no_time(settings, package):
    calls = []

    def tires(*args, **options):
        calls.append(1)
        if len(calls) > 60:
            raise MemoryError("no more")
        return selective_scan(*args, **options)

    name = package("tiring_scan", tires)
    patient = replace(settings, rounds=60)
    found = outcomes(patient, name, "ssmref.golden")
    assert found[name].status == WRONG
    assert found[name].reason == "raised MemoryError: no more"
    assert found[name].samples is None
    right = found["ssmref.golden"].samples
    assert right is not None
    assert len(right.seconds) == 60


def test_one_who_fails_does_not_stop_the_others(settings, package):
    name = package("zero_scan", lambda u, *_, **__: (0 * u, None))
    found = outcomes(settings, name, "ssmref.golden")
    assert found[name].status == WRONG
    assert found["ssmref.golden"].status == MEASURED


def test_who_is_not_there_is_named(settings, package):
    name = package("other_model", selective_scan_step, op="selective_scan_step")
    found = outcomes(settings, "no.such.package", name)
    assert {m.status for m in found.values()} == {ABSENT}
    assert "cannot import no.such.package" in found["no.such.package"].reason
    assert "does not offer mamba1.selective_scan" in found[name].reason


def test_what_is_not_implemented_is_not_wrong(settings, package):
    def later(*_, **__):
        raise NotImplementedError("only on Tuesdays")

    name = package("lazy_scan", later)
    m = outcomes(settings, name)[name]
    assert (m.status, m.reason) == (ABSENT, "only on Tuesdays")


def test_too_large_a_workload_is_skipped_with_the_reason(settings, monkeypatch):
    monkeypatch.setattr(type(SCAN), "arguments", None)  # it is never made
    tight = replace(settings, available_bytes=10_000)
    m = outcomes(tight, "ssmref.golden")["ssmref.golden"]
    assert m.status == SKIPPED
    assert "GB of memory" in m.reason
    assert m.samples is None


def test_a_step_is_timed_over_copies_and_recorded_per_call(settings, monkeypatch):
    def rounds(calls, number, **_):
        return [(name, 8.0) for name in calls for _ in range(number)]

    monkeypatch.setattr(run_module, "interleaved", rounds)
    step = next(w for w in WORKLOADS if w.op == "mamba1.selective_scan_step")
    step = step.resized(channels=4)
    m = outcomes(settings, "ssmref.golden", workload=step)["ssmref.golden"]
    assert m.copies == step.copies(np.dtype(np.float32), 2**12)
    assert m.copies > 3
    assert m.samples is not None
    assert m.samples == Samples((8.0 / m.copies,) * 2, m.samples.warm_up)


def test_every_copy_is_called(settings, package):
    step = next(w for w in WORKLOADS if w.op == "mamba1.selective_scan_step")
    step, seen = step.resized(channels=4), set()

    def spy(u, *args, **options):
        seen.add(u.tobytes())
        return selective_scan_step(u, *args, **options)

    name = package("spying_step", spy, op="selective_scan_step")
    m = outcomes(settings, name, workload=step)[name]
    assert m.status == MEASURED
    inputs = [step.arguments(np.dtype(np.float32), i)["u"] for i in range(m.copies)]
    assert {u.tobytes() for u in inputs} <= seen


def test_a_form_is_what_the_workload_says(settings):
    workload = next(w for w in WORKLOADS if w.op == "s4d.s4d").resized(
        length=64, channels=4
    )
    called = packages.package_contender("ssmref.golden", workload)
    assert called.function is None
    call: Any = called.prepare(workload.arguments(settings.dtype))
    assert call.func.__name__ == "s4d_convolution"
    found = outcomes(settings, "ssmref.golden", workload=workload)
    assert found["ssmref.golden"].status == MEASURED
