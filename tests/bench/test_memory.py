"""Two counts of memory that know nothing of each other, and the model beside them."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from support.toys import MEBI, Toy

from ssmref.bench import peaks
from ssmref.bench.field import Absent
from ssmref.bench.memory_report import memory_notes, memory_table, size
from ssmref.bench.op_bytes import state_numbers
from ssmref.bench.peaks import measured_call
from ssmref.bench.points import MEMORY, Finding, Point, Setting, compared
from ssmref.bench.task import OpTask
from ssmref.bench.threads import limited
from ssmref.bench.verification import Check
from ssmref.bench.workloads import WORKLOADS
from ssmref.ops import OPS

FLOAT32 = np.dtype(np.float32)
EACH = {(w.op, w.form): w for w in reversed(WORKLOADS)}


def test_what_a_call_holds_at_most_is_exact():
    def call():
        first = np.ones(MEBI, np.uint8)
        del first
        second = np.ones(3 * MEBI, np.uint8)
        return second[: 2 * MEBI].copy()

    result, found = measured_call(call)
    assert result.nbytes == 2 * MEBI
    assert 5 * MEBI <= found["traced"] < 5 * MEBI + 2_000


def test_what_was_there_before_does_not_count():
    before = np.ones(8 * MEBI, np.uint8)
    _, found = measured_call(lambda: before[:MEBI].copy())
    assert MEBI <= found["traced"] < MEBI + 2_000


def test_the_system_sees_the_same():
    _, found = measured_call(lambda: np.ones(64 * MEBI, np.uint8))
    if found["before"] is None:
        pytest.skip("the high-water mark cannot be set back")
    held = found["peak"] - found["before"]
    assert held == pytest.approx(64 * MEBI, rel=0.05)


@pytest.mark.parametrize("parallel", [False, True], ids=["one thread", "threads"])
def test_arrays_of_compiled_kernels_are_seen(parallel):
    numba = pytest.importorskip("numba", reason="needs numba")
    if numba.config.DISABLE_JIT:
        pytest.skip("Numba does not compile")
    prange = numba.prange

    @numba.njit(parallel=parallel, nogil=True)
    def kernel(size, out):
        for i in prange(2):
            own = np.ones(size)
            out[i] = own.sum()

    out = np.zeros(2)
    kernel(8, out)
    _, found = measured_call(lambda: kernel(MEBI, out))
    assert found["traced"] >= 8 * MEBI
    # Numba takes the allocation out of a parallel loop: each thread has an array.
    most = max(2, numba.get_num_threads()) if parallel else 2
    assert found["traced"] <= most * 8 * MEBI + 10_000
    assert out.tolist() == [MEBI, MEBI]


def test_memory_that_a_package_keeps_for_its_next_result_counts_again():
    pytest.importorskip("numba", reason="ssmref.cpu needs numba")
    from ssmref.cpu._outputs import output

    def call():
        result = output((2 * MEBI,), np.uint8)
        result[:] = 1
        return result

    call()  # compiles
    for _ in range(3):  # dropped each time
        assert 2 * MEBI <= measured_call(call)[1]["traced"] < 2.1 * MEBI
        call()


def test_where_the_mark_cannot_be_set_back_another_process_has_to_say(monkeypatch):
    monkeypatch.setattr(peaks, "reset_peak", lambda: False)
    assert measured_call(lambda: None)[1]["before"] is None


def test_without_proc_there_is_the_highest_mark(monkeypatch, tmp_path):
    monkeypatch.setattr(peaks, "_STATUS", tmp_path / "no")
    monkeypatch.setattr(peaks, "_CLEAR", tmp_path / "no" / "such")
    assert not peaks.reset_peak()
    assert peaks.resident_bytes() is None
    pytest.importorskip("resource", reason="needs a system with resource")
    assert (peaks.peak_resident_bytes() or 0) > 10 * MEBI


def test_the_pool_of_a_gpu_is_read_where_it_is_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert measured_call(lambda: None)[1]["gpu_pool"] is None
    held = iter((100, 350))
    pool = SimpleNamespace(total_bytes=lambda: next(held))
    cupy = SimpleNamespace(get_default_memory_pool=lambda: pool)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert measured_call(lambda: None)[1]["gpu_pool"] == 250


def _task(workload):
    small = {n: min(s, 64) for n, s in workload.sizes.items()}
    sizes = {n: min(s, 96) for n, s in small.items()} | (
        {} if workload.is_step else {"length": 33}
    )
    return OpTask(workload.op, "g", "", sizes, small, {}, workload.form)


@pytest.mark.parametrize("workload", EACH.values(), ids=[w.op for w in EACH.values()])
def test_outputs_and_states_of_the_model_are_those_of_golden(workload):
    task = _task(workload)
    (golden,) = task.contenders(["ssmref.golden"], 1)
    assert not isinstance(golden, Absent)
    arguments = task.arguments(FLOAT32)
    got = golden.outputs(golden.prepare(arguments)())
    model = task.bytes(FLOAT32)
    assert model["outputs"] == got["y"].nbytes
    assert model["state"] == sum(a.nbytes for n, a in got.items() if n != "y")


def test_states_grow_with_batch_and_caches_with_length():
    sizes = {"heads": 2, "headdim": 4}
    cache = [
        state_numbers("attention.attention", batch=1, length=n, **sizes)
        for n in (1, 10)
    ]
    assert cache[1] == 10 * cache[0]
    assert state_numbers("mamba2.ssd", batch=3, length=9, state=5, **sizes) == 120


OURS = ("mamba1.selective_scan", "mamba2.ssd", "mamba3.siso", "attention.attention")
# Each in the worker that compiles it for tests/cpu.
GROUPED = [
    pytest.param(op, marks=pytest.mark.xdist_group(OPS[op].module)) for op in OURS
]


@pytest.mark.parametrize("op", GROUPED)
def test_the_model_is_right_for_our_kernels(op):
    pytest.importorskip("numba", reason="needs numba")
    workload = EACH[op, ""].resized(length=2048)
    task = OpTask(op, "g", "", workload.sizes, workload.small)
    (ours,) = task.contenders(["ssmref.cpu"], 1)
    if isinstance(ours, Absent):
        pytest.skip(ours.reason)
    small = OpTask(op, "g", "", workload.small, workload.small)
    with limited(1):
        ours.prepare(small.arguments(FLOAT32))()
        call = ours.prepare(task.arguments(FLOAT32))
        _, found = measured_call(call)
    held = {n: b for n, b in task.bytes(FLOAT32, 1).items() if n != "inputs"}
    assert found["traced"] == pytest.approx(sum(held.values()), rel=0.05)
    assert found["traced"] > held["outputs"] + held["state"]


SETTING = Setting("toys", FLOAT32, 1, {})


def _found(traced, name="ssmref.cpu", **more):
    point = Point(Toy(sizes={"length": MEBI}, workspace=2**20), MEMORY, name)
    check = Check(True, 1.5, ("small sizes",))
    measured = {"traced": traced, "resident": 7 * MEBI, "gpu_pool": None}
    return Finding(point, "measured", check=check, peaks=measured, **more)


@pytest.mark.parametrize(("off", "said"), [(1.0, ""), (1.09, ""), (0.91, "")])
def test_agreement_is_a_ratio(off, said):
    found = _found(round(off * 5 * MEBI))
    ratio, words = compared(found, found.point.task.bytes(FLOAT32))
    assert ratio == pytest.approx(off, rel=1e-6)
    assert words == said


@pytest.mark.parametrize(("off", "said"), [(1.2, "+20 %"), (0.5, "-50 %")])
def test_disagreement_is_said(off, said):
    found = _found(round(off * 5 * MEBI))
    record = SETTING.record(found, "0123456789ab")
    assert record["agreement"] == pytest.approx(off, rel=1e-6)
    assert record["note"].startswith(said)
    assert any(said in line for line in memory_notes([found], SETTING))


def test_what_allocates_past_tracemalloc_is_said():
    record = SETTING.record(_found(None, "peer:torch:sdpa"), "0123456789ab")
    assert record["agreement"] is None
    assert (
        record["note"] == "allocates past tracemalloc: its memory is the resident peak"
    )
    assert record["resident_peak"] == 7 * MEBI


def test_figures_stand_side_by_side():
    from rich.console import Console

    point = Point(Toy(), MEMORY, "peer:x")
    missing = Finding(point, "oom_predicted", "needs 9 GB")
    console = Console(width=120, record=True)
    console.print(memory_table([_found(5 * MEBI), missing], SETTING))
    (line,) = (x for x in console.export_text().splitlines() if "ssmref.cpu" in x)
    shown = ["ssmref.cpu", "5", "MiB", "7", "MiB", "5", "MiB", "1.000", "pass", "1.5"]
    assert line.split() == shown
    assert "peer:x: oom_predicted: needs 9 GB" in memory_notes([missing], SETTING)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1023, "0.999 KiB"),
        (3 * 2**40, "3.07e+03 GiB"),
    ],
)
def test_sizes_have_units(count, text):
    assert size(count) == text
