"""The check as a command: parts, records, resuming, exit status; rates; contenders."""

import json
import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
from ssmref.gpu import precision
from ssmref.gpu.check import child, contenders, device, parts
from ssmref.gpu.check.book import Book
from ssmref.gpu.check.grid import Point
from ssmref.gpu.check.parts import PARTS, Run, run_part
from ssmref.gpu.check.rates import Sizes, measure
from ssmref.gpu.check.verify import ops, verify
from toy_gpu import SCAN, STEP, Clock

from ssmref.bench import records
from ssmref.golden import attention, layers

SMALL = Sizes(copy_bytes=2**14, l2_bytes=2**12, rounds=8, blocks_per_processor=2)
NORM = "layers.rms_norm"


@pytest.fixture
def run(tmp_path):
    """A small check on a device with a clock of its own."""
    lines = []
    clock = Clock()
    clock.free = 10**12
    grid = {"scan": (Point(SCAN, ("float32", "bfloat16")),), "steps": (Point(STEP),)}
    return Run(
        *(clock, Book(tmp_path, clock), lines.append),
        sizes=SMALL,
        grid=grid,
        dtypes=("float32",),
    )


def written(run):
    return list(run.book.records())


def test_a_book_is_of_a_device_a_day_and_a_commit(run):
    slug, day = run.book.folder.parts[-2:]
    assert slug == "toy-gpu"
    assert day[:2] == "20"


def test_parts_count_while_the_sources_are_the_same(run, monkeypatch):
    assert run.book.finished("rates") is None
    run.book.finish("rates", passed=True, summary="6 rates", seconds=1)
    run.book.finish("verify", passed=False, summary="1 failed", seconds=1)
    assert run.book.finished("rates")["summary"] == "6 rates"
    assert run.book.finished("verify") is None, "what failed is done again"
    monkeypatch.setattr(run.book, "sources", "0123456789ab")
    assert run.book.finished("rates") is None


def test_a_broken_list_of_parts_is_no_list(run):
    run.book.finish("rates", passed=True, summary="", seconds=1)
    path = run.book.folder / "gpu-parts.json"
    path.write_text(path.read_text()[:20])
    assert run.book.finished("rates") is None


def test_timed_parts_write_records(run):
    for part in ("rates", "scan", "steps"):
        assert run_part(run, part).passed
    found = written(run)
    for record in found:
        jsonschema.validate(record, records.schema())
    assert [r["kind"] for r in found[:2]] == ["environment", "rates"]
    gpu = {"name": "Toy GPU", "clocks.sm at first": "1980 MHz"}
    assert found[0]["details"]["gpu"] == gpu
    timed = [r for r in found if r["kind"] == "measurement"]
    by = {(r["op"], r["dtype"], r["implementation"]): r for r in timed}
    ours = by["mamba1.selective_scan", "bfloat16", "ssmref.gpu"]
    assert ours["status"] == "measured"
    assert ours["verdict"]["passed"]
    assert set(ours["limit"]) == {"memory", "special functions", "multiply-adds"}
    assert ours["definition"] != SCAN.definition, "with a gate and softplus"
    assert ("layers.causal_conv1d_step", "float32", "ssmref.gpu, eager") in by
    if find_spec("mamba_ssm") is None:
        theirs = by["mamba1.selective_scan", "float32", "mamba_ssm"]
        assert theirs["status"] == "not available"
        assert "is not installed" in theirs["reason"]


def test_rates_are_read_back(run):
    assert run_part(run, "rates").passed
    found = run.book.rates()
    record = next(r for r in written(run) if r["kind"] == "rates")
    assert [asdict(r) for r in found.values()] == [
        {**r, "samples": tuple(r["samples"])} for r in record["rates"]
    ]


def test_a_part_that_is_done_is_not_run_again(run, monkeypatch):
    assert run_part(run, "scan").passed
    before = written(run)
    monkeypatch.setattr(parts, "run_point", lambda *_: pytest.fail("it ran again"))
    assert run_part(run, "scan").passed
    assert written(run) == before
    run.book.forget(["verify", "scan"])
    with pytest.raises(pytest.fail.Exception, match="it ran again"):
        _ = run_part(run, "scan")


def test_a_wrong_kernel_shows_no_time_and_fails_its_part(run, monkeypatch):
    original = contenders._prepared

    def off(function, arguments):
        call = original(function, arguments)

        def wrong():
            y, state = call()
            return y + y, state

        return wrong

    monkeypatch.setattr(contenders, "_prepared", off)
    lines = run.echo.__self__
    assert not run_part(run, "scan").passed
    timed = [r for r in written(run) if r.get("implementation") == "ssmref.gpu"]
    assert {r["status"] for r in timed} == {"wrong"}
    assert not any(r["samples"] for r in timed)
    assert any("scan: FAILED, 0 figures, 2 of ours wrong" in line for line in lines)
    assert run.book.finished("scan") is None


def test_verification_has_an_outcome_for_each_op_and_precision():
    functions = {NORM: ops()[NORM]}
    found = list(verify("core", functions, ("float32", "bfloat16")))
    assert [(o.op, o.dtype) for o in found] == [(NORM, "float32"), (NORM, "bfloat16")]
    assert all(o.passed and o.cases > 3 and 0 < o.worst < 30 for o in found)
    wrong = {NORM: lambda *args, **kw: 1.001 * layers.rms_norm(*args, **kw)}
    (outcome,) = verify("core", wrong, ("float32",))
    assert not outcome.passed
    assert len(outcome.failures) > 3


def test_products_are_verified_in_tf32_too():
    used = []

    def rough(*args, **kwargs):
        used.append(precision.parts(np.dtype(np.float32)))
        y, cache = attention.attention(*args, **kwargs)
        return y * np.float32(1 + 2e-5), cache

    functions = {"attention.attention": rough, NORM: layers.rms_norm}
    outcomes = verify("core", functions, ("float32", "tf32"))
    found = {(o.op, o.dtype): o.passed for o in outcomes}
    assert found == {
        ("attention.attention", "float32"): False,
        ("attention.attention", "tf32"): True,
        (NORM, "float32"): True,
    }
    assert set(used) == {2, 1}
    assert precision.parts(np.dtype(np.float32)) == 2


def test_all_ops_of_the_package_are_verified():
    assert {NORM, "s4.s4", "s4d.s4d_step", "mamba1.selective_scan"} <= set(ops())


def test_a_level_without_cases_does_not_pass(run, monkeypatch):
    monkeypatch.setattr(parts, "ops", dict)
    assert not run_part(run, "verify").passed


class Emulated(Clock, device.Gpu):
    """The stand-in for CuPy, with a clock of its own."""

    def __init__(self):
        device.Gpu.__init__(self)
        Clock.__init__(self)
        self.free = 10**12
        self.name = "Emulated GPU"


@pytest.fixture
def main(monkeypatch, tmp_path):
    """The command on the emulated device, with one op to verify."""
    monkeypatch.setattr(child, "Gpu", Emulated)
    monkeypatch.setattr(parts, "ops", lambda: {NORM: ops()[NORM]})
    return lambda *words: child.main([*words, "--out", str(tmp_path)])


def test_the_command_runs_parts_and_resumes(main, capsys):
    assert main("--only", "verify") == 0
    first = capsys.readouterr().out
    assert "Emulated GPU" in first
    assert f"{NORM} " in first
    assert "verify: passed" in first
    assert main("--only", "verify") == 0
    assert "verify: done at" in capsys.readouterr().out
    assert main("--only", "verify", "--again") == 0
    assert "verify: passed" in capsys.readouterr().out


def test_what_there_is_no_time_for_does_not_pass(main, capsys):
    assert main("--only", "verify", "--only", "rates", "--minutes", "0") == 1
    said = capsys.readouterr().out
    assert "at most 0 minutes" in said
    assert f"verify: FAILED, no time left for {NORM}" in said
    assert "rates: FAILED, no time left for rates" in said


def test_the_command_fails_where_an_op_is_wrong(main, monkeypatch, capsys):
    wrong = {NORM: lambda *args, **kw: 2 * layers.rms_norm(*args, **kw)}
    monkeypatch.setattr(parts, "ops", lambda: wrong)
    assert main("--only", "verify") == 1
    assert "FAILED" in capsys.readouterr().out


def test_an_unknown_part_is_a_mistake(main, capsys):
    with pytest.raises(SystemExit) as stopped:
        _ = main("--only", "everything")
    assert stopped.value.code == 2
    assert "choose from 'verify'" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("cupy") is not None, reason="CuPy is installed")
def test_without_a_gpu_there_is_one_clear_sentence(tmp_path):
    words = [sys.executable, "-m", "ssmref.gpu.check"]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("ssmref.gpu.check: ssmref.gpu needs CuPy, which is not")


def test_a_machine_without_a_device_is_said_so(monkeypatch, capsys):
    def none():
        raise RuntimeError("ssmref.gpu needs an NVIDIA GPU; CuPy finds none")

    monkeypatch.setattr(device, "device_count", none)
    assert child.main(["--only", "verify"]) == 2
    assert "CuPy finds none" in capsys.readouterr().err


def test_correctness_is_the_first_part():
    assert PARTS[:2] == ("verify", "rates")
    assert set(parts.LEVELS) <= set(PARTS)


def test_rates_are_of_work_that_is_done(cupy):
    """Every kernel writes what shows that all of its work was done."""
    results = {}
    original = cupy.zeros

    def zeros(*words):
        made = original(*words)
        results.setdefault(made.size, []).append(made)
        return made

    cupy.zeros = zeros
    try:
        found = {rate.name: rate for rate in measure(Clock(), SMALL)}
    finally:
        cupy.zeros = original
    assert set(found) == {"copy", "l2", "ex2", "fma_float32", "mma_bfloat16", "atomics"}
    threads = 2 * 256
    outs = [made.get() for made in results[threads]]
    _, ex2, fma, mma = outs
    np.testing.assert_allclose(ex2, 8 * 0.6412, rtol=0.02)
    np.testing.assert_allclose(fma, 8 * 2, rtol=0.02)
    np.testing.assert_allclose(mma, 4 * 2 * 8 * 16)
    counters = results[2**12 // 4][-1].get()
    launches = 9
    assert counters.sum() == launches * threads
    assert found["copy"].samples == (2**14 / 1e-3,) * 7
    assert found["mma_bfloat16"].best == pytest.approx(4096 * 4 * 8 * 16 / 1e-3)


def test_what_nvidia_smi_says_is_kept(monkeypatch):
    def query(*_, **__):
        return SimpleNamespace(stdout="580.1, 1980 MHz, 2619 MHz, 700 W, 41\n")

    monkeypatch.setattr(device.subprocess, "run", query)
    names = "driver_version", "clocks.sm"
    assert device.queried(names, "0:4")["clocks.sm"] == "1980 MHz"
    monkeypatch.setattr(
        device.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(OSError())
    )
    assert device.queried(names, "0:4") == {}


def test_the_list_of_parts_is_plain(run):
    run.book.finish("verify", passed=True, summary="ok", seconds=1.26)
    text = (run.book.folder / "gpu-parts.json").read_text()
    assert json.loads(text)["verify"]["seconds"] == 1.3
