"""Explorers: what is varied really is, and work, depth and traffic are as counted."""

import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ssmref.bench import explorers_chunked, explorers_naive, explorers_scans
from ssmref.bench.contender import UnavailableError
from ssmref.bench.explorers import (
    CHUNKS,
    STATES,
    chunk_tasks,
    form_tasks,
    naive_tasks,
    state_tasks,
)
from ssmref.bench.explorers_chunked import ssd
from ssmref.bench.explorers_scans import FORMS, cost, depth, moved, steps
from ssmref.bench.field import Absent
from ssmref.bench.suites import Choice
from ssmref.bench.task import describe, restore
from ssmref.golden.scan import linear_scan_blelloch, linear_scan_hillis_steele

F32 = np.dtype(np.float32)
CHOICE = Choice((64,))
EVERY = [
    *(*naive_tasks(CHOICE), *chunk_tasks(CHOICE)),
    *(*state_tasks(CHOICE), *form_tasks(CHOICE)),
]


def who(task, *names) -> Any:
    """Return everybody whom the names stand for."""
    return list(task.contenders(names, 1))


def judged(task, contender):
    """Return the verdicts at small sizes and at full size."""
    arguments = task.arguments(F32)
    small = task.check_small(contender, F32)
    judge = task.judge(arguments, F32)
    got = contender.outputs(contender.prepare(arguments)())
    return small, judge(contender, got)


@pytest.mark.parametrize("task", EVERY, ids=lambda t: t.id)
def test_tasks_survive_the_way_to_another_process(task):
    assert restore(describe(task)) == task
    assert restore(describe(task)).id == task.id


def test_kinds_and_ids():
    assert {t.kind for t in EVERY} == {"op", "chunks", "state", "forms"}
    assert len({t.id for t in EVERY}) == len(EVERY)
    chunk = next(t for t in EVERY if t.kind == "chunks")
    assert chunk.id == "mamba2.ssd_chunked/b1l64h24p64g1n128q16"
    assert EVERY[0].id == "attention.naive/b1l64h24p64"
    assert EVERY[0].growth == 2.0


def test_what_is_varied():
    assert [t.sizes["chunk"] for t in chunk_tasks(CHOICE)] == 2 * list(CHUNKS)
    scan, ssd_, siso = (
        [t for t in state_tasks(CHOICE) if t.op == op]
        for op in ("mamba1.selective_scan", "mamba2.ssd", "mamba3.siso")
    )
    for tasks in (scan, ssd_, siso):
        assert [t.sizes["state"] for t in tasks] == list(STATES)
    for one, other in zip(scan, ssd_, strict=True):
        channels = other.sizes["heads"] * other.sizes["headdim"]
        assert one.sizes["channels"] == channels
        assert one.bytes(F32)["state"] == other.bytes(F32)["state"]
    assert {t.length for t in form_tasks(Choice((64,)))} == {4, 16, 64}


def smaller(task, **sizes):
    own = {**task.sizes, "length": 200, **sizes}
    return type(task)(task.op, task.group, "", own, task.small, task.sample, task.form)


def test_naive_attention_is_right():
    (task,) = naive_tasks(CHOICE)
    (contender,) = who(task, "ssmref.cpu", "peer")
    for found in judged(smaller(task), contender):
        assert found.passed, found.problem
    assert contender.workspace(**task.sizes) == 24 * 64 * 64


def test_naive_attention_that_sees_the_future_is_wrong(monkeypatch):
    (task,) = naive_tasks(CHOICE)
    monkeypatch.setattr(np, "tri", lambda n, dtype: np.ones((n, n), dtype))
    small = task.check_small(explorers_naive.CONTENDER, F32)
    assert not small.passed


@pytest.mark.parametrize("chunk", [16, 100])
def test_numpy_in_chunks_is_right(chunk):
    task = smaller(next(chunk_tasks(CHOICE)), chunk=chunk, heads=3)
    (contender,) = who(task, "peer", "yardstick:c")
    assert contender.name == "numpy"
    for found in judged(task, contender):
        assert found.passed, found.problem
    assert contender.workspace(**task.sizes) > 0


def test_numpy_shares_projections_between_heads_of_a_group():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 10, 4, 3))
    dt, A = rng.uniform(0.1, 1, (2, 10, 4)), -rng.uniform(1, 2, 4)
    B, C = (rng.standard_normal((2, 10, 2, 5)) for _ in range(2))
    both = ssd(x, dt, A, B, C, D=np.ones(4), chunk_size=4)
    for g in range(2):
        h = slice(2 * g, 2 * g + 2)
        own = (x[:, :, h], dt[:, :, h], A[h], B[:, :, g : g + 1], C[:, :, g : g + 1])
        y, state = ssd(*own, D=np.ones(2), chunk_size=3)
        assert np.allclose(y, both[0][:, :, h], rtol=0, atol=1e-12)
        assert np.allclose(state, both[1][:, h], rtol=0, atol=1e-12)


def test_golden_has_chunks_of_its_own():
    for task in chunk_tasks(CHOICE):
        if task.sizes["chunk"] == 16:
            own = smaller(task, length=40, heads=1)
            contender = who(own, "ssmref.golden")[0]
            call = contender.prepare(own.arguments(F32))
            assert call.keywords["chunk_size"] == 16
            assert judged(own, contender)[1].passed


def test_a_package_without_chunks_is_named():
    task = next(chunk_tasks(CHOICE))
    found = who(task, "no.such.package")
    assert found[0] == Absent("no.such.package", found[0].reason)
    assert "does not offer mamba2.ssd_chunked" in found[0].reason


def test_the_private_constant_is_set_for_the_call_only(monkeypatch):
    pieces: Any = SimpleNamespace(CHUNK=48)
    seen = []

    def function(**_):
        seen.append(pieces.CHUNK)
        raise ZeroDivisionError

    own = SimpleNamespace(ssd=function)
    made: Any = {"ssmref.cpu.mamba2": own, "ssmref.cpu._mamba2_pieces": pieces}
    monkeypatch.setattr(explorers_chunked, "import_module", made.__getitem__)
    contender = explorers_chunked.contender("ssmref.cpu", "mamba2.ssd", 96)
    with pytest.raises(ZeroDivisionError):
        contender.prepare({})()
    assert seen == [96]
    assert pieces.CHUNK == 48
    del pieces.CHUNK
    with pytest.raises(UnavailableError, match="has no chunks of"):
        explorers_chunked.contender("ssmref.cpu", "mamba2.ssd", 96)


def test_forms_are_golden_s_where_nobody_else_has_them():
    by_form = {
        t.form: [c.name for c in who(t, "peer", "ssmref.golden.mamba2")]
        for t in form_tasks(Choice((64,)))
    }
    assert by_form[""] == ["ssmref.golden.mamba2", "ssmref.golden"]
    assert {tuple(by_form[f]) for f in FORMS if f} == {("ssmref.golden",)}


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_right(form):
    task = next(t for t in form_tasks(Choice((64,))) if t.form == form)
    (contender,) = who(task)
    for found in judged(smaller(task, channels=4), contender):
        assert found.passed, found.problem


class Counted:
    """A number whose products are counted."""

    products = 0

    def __mul__(self, _):
        Counted.products += 1
        return self

    def __add__(self, _):
        return self

    __rmul__, __radd__ = __mul__, __add__  # of the identity, (1, 0)


def products_of(scan, length):
    """Return how many products a scan of golden makes."""
    numbers = np.full((1, length), Counted(), dtype=object)
    Counted.products = 0
    inspect.unwrap(scan)(numbers, numbers)
    return Counted.products


@pytest.mark.parametrize("length", [2, 7, 8, 37, 64])
def test_work_of_hillis_and_steele_is_what_golden_does(length):
    found = products_of(linear_scan_hillis_steele, length)
    assert found == 2 * steps("hillis_steele", length)


@pytest.mark.parametrize("length", [2, 8, 64])
def test_work_of_blelloch_is_what_golden_does(length):
    """The last composition with the element itself needs one product, not two."""
    found = products_of(linear_scan_blelloch, length)
    assert found == 2 * steps("blelloch", length) - length


def test_work_and_depth_by_hand():
    assert steps("hillis_steele", 8) == 7 + 6 + 4
    assert (steps("", 8), depth("", 8)) == (8, 8)
    assert steps("blelloch", 8) == 2 * 7 + 8
    assert depth("blelloch", 8) == 2 * 3 + 1
    assert depth("blelloch", 9) == 2 * 4 + 1
    assert steps("chunked", 32) == 2 * 32 + 2
    assert depth("chunked", 32) == 16 + 2 + 1
    assert [steps(form, 1) for form in FORMS] == [1, 0, 1, 33]


def test_work_grows_as_is_known():
    def ratio(form):
        return steps(form, 2**20) / 2**20

    assert ratio("blelloch") == pytest.approx(3, rel=1e-5)
    assert ratio("hillis_steele") == pytest.approx(19, rel=1e-5)
    assert ratio("chunked") == pytest.approx(2 + 1 / 16)
    assert [depth(form, 2**20) for form in FORMS] == [2**20, 20, 41, 2**16 + 17]


def test_fused_moves_least():
    sizes = {"batch": 1, "length": 1024, "channels": 64, "state": 16}
    found = {form: cost(form, **sizes).elements for form in FORMS}
    assert min(found, key=lambda form: found[form]) == ""
    assert found["chunked"] < found["blelloch"] < found["hillis_steele"]
    assert moved("", 1024) == 0
    assert found["chunked"] - found[""] == 64 * 16 * 1024 * 11
    assert cost("blelloch", **sizes).flops > cost("", **sizes).flops


def test_what_forms_write_out():
    width = {"channels": 4, "state": 16}
    rows = {"batch": 2, "length": 100, **width}
    assert explorers_scans.workspace("", **rows) == 0
    assert explorers_scans.workspace("blelloch", **rows) == 3 * 128 * 64
    assert explorers_scans.workspace("chunked", **rows) == 9 * 200 * 64
