"""Nobody who is wrong has a time, and every outcome becomes a valid record."""

from dataclasses import replace

import jsonschema
import numpy as np

from ssmref.bench.field import LIBRARIES
from ssmref.bench.race import race
from ssmref.bench.records import schema
from ssmref.bench.run import ABSENT, MEASURED, OOM, WRONG, record
from ssmref.bench.workloads import WORKLOADS
from ssmref.conformance.catalogue import cases_of

ID = "0123456789ab"
SCAN = next(w for w in WORKLOADS if w.op == "mamba1.selective_scan")
SCAN = SCAN.resized(length=150, channels=6)
STEP = next(w for w in WORKLOADS if w.op == "mamba1.selective_scan_step")
STEP = STEP.resized(channels=4)


def outcomes(settings, *names, workload=SCAN):
    found = list(race(workload, names, settings))
    for m in found:
        jsonschema.validate({"format": 1, **record(m, ID)}, schema())
    return {m.implementation: m for m in found}


def test_what_is_right_is_timed(settings):
    (m,) = outcomes(settings, "ssmref.golden").values()
    assert m.status == MEASURED
    assert m.samples is not None
    assert len(m.samples.seconds) == 2
    assert all(s > 0 for s in m.samples.seconds)
    found = record(m, ID)
    assert {"triad", "triad_same_size"} < {rate["name"] for rate in found["rates"]}
    assert all(len(rate["samples"]) == 2 for rate in found["rates"])
    assert m.check is not None
    assert m.check.passed
    count = len(cases_of(SCAN.op))
    assert m.check.places == (
        "small sizes",
        f"{count} of {count} core cases",
        "timed result, 2 of the channels",
    )


# What a package does with y and its state, and what is said of it.
WRONGS = {
    "one_per_cent": ("return y * np.float32(1.01), state", "small sizes"),
    "nan": ("return y * np.float32(np.nan), state", "small sizes"),
    "only_at_full_size": (
        "y[:, 140:, -1] *= np.float32(1.01 if u.shape[1] == 150 else 1)\n"
        "    return y, state",
        "timed result",
    ),
    "raises": ("raise ZeroDivisionError('not today')", "ZeroDivisionError: not today"),
    "tires": (
        "if len(calls) > 40: raise MemoryError('no more')\n    return y, state",
        "raised MemoryError: no more",
    ),
}


def test_what_is_wrong_has_no_time_and_does_not_stop_others(settings, package):
    names = [package(name, rest) for name, (rest, _) in WRONGS.items()]
    found = outcomes(replace(settings, rounds=40), *names, "ssmref.golden")
    for name, (_, words) in WRONGS.items():
        assert found[name].status == WRONG, name
        assert words in found[name].reason
        assert found[name].samples is None
        assert record(found[name], ID)["samples"] == []
    samples = found["ssmref.golden"].samples
    assert samples is not None
    assert len(samples.seconds) == 40


def test_who_is_not_there_is_named(settings, package):
    name = package("other_model", "return y, state", op="selective_scan_step")
    lazy = package("lazy_scan", "raise NotImplementedError('only on Tuesdays')")
    found = outcomes(settings, "no.such.package", name, lazy)
    assert {m.status for m in found.values()} == {ABSENT}
    assert "cannot import no.such.package" in found["no.such.package"].reason
    assert "does not offer mamba1.selective_scan" in found[name].reason
    assert found[lazy].reason == "only on Tuesdays"


def test_a_library_that_is_missing_is_named(settings, tmp_path, monkeypatch):
    """All of them are, where a module of the same name cannot be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    for library in LIBRARIES:
        _ = (tmp_path / f"{library}.py").write_text("raise ImportError('broken')")
    found = outcomes(settings, "peer")
    assert {m.status for m in found.values()} == {ABSENT}
    assert set(found) == {f"peer:{library}" for library in LIBRARIES}


def test_too_large_a_workload_is_not_tried(settings):
    m = outcomes(replace(settings, available_bytes=10_000), "ssmref.golden")
    assert m["ssmref.golden"].status == OOM
    assert "GB of memory" in m["ssmref.golden"].reason
    assert m["ssmref.golden"].samples is None


def test_a_step_is_timed_over_copies_and_recorded_per_call(settings, package):
    """Every call takes a millisecond at least."""
    rest = "time.sleep(0.001)\n    return y, state"
    name = package("slow_step", rest, op="selective_scan_step")
    m = outcomes(settings, name, workload=STEP)[name]
    assert m.copies == STEP.copies(np.dtype(np.float32), settings.cache_bytes) > 3
    assert m.samples is not None
    assert all(0.001 <= s < 0.001 * m.copies for s in m.samples.seconds)


def test_a_form_is_what_the_workload_says(settings):
    workload = next(w for w in WORKLOADS if w.op == "s4d.s4d")
    workload = workload.resized(length=64, channels=4)
    found = outcomes(settings, "ssmref.golden", workload=workload)
    assert found["ssmref.golden"].status == MEASURED
    check = found["ssmref.golden"].check
    assert check is not None
    assert check.places[0] == "small sizes"
