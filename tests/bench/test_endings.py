"""The end of a long sequence is judged, and who is wrong there only is found."""

from dataclasses import replace

import numpy as np
import pytest

from ssmref.bench import endings
from ssmref.bench.suites import Choice, op_tasks
from ssmref.bench.verification import check_sample
from ssmref.conformance.outputs import flatten
from ssmref.ops import OPS, implementation

F32 = np.dtype(np.float32)
LENGTH = 150
NARROW = {
    "mamba1.selective_scan": {"channels": 3, "state": 4},
    "mamba2.ssd": {"heads": 2, "headdim": 3, "state": 4},
    "mamba3.siso": {"heads": 2, "headdim": 3, "state": 8, "angles": 2},
    "mamba3.mimo": {"heads": 2, "headdim": 3, "state": 8, "angles": 2, "ranks": 2},
    "attention.attention": {"heads": 3, "headdim": 4},
}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """So few tokens that golden forgets the first ones."""
    monkeypatch.setattr(endings, "TAIL", 16)


def narrow(op, length=LENGTH, cut=32):
    (task,) = (t for t in op_tasks(Choice((length,))) if t.op == op)
    sizes = {**task.sizes, **NARROW[op]}
    return replace(task, sizes=sizes, sample={**task.sample, "length": cut})


def golden(task, arguments):
    op = OPS[task.op]
    return flatten(op, implementation(op, "ssmref.golden")(**arguments))


class Anybody:
    whole_signal = False


def judged(task, arguments, outputs):
    expected = endings.ending(task, arguments, F32)
    return check_sample(Anybody, expected, outputs)  # type: ignore[arg-type]


@pytest.mark.parametrize("op", NARROW)
def test_golden_in_the_dtype_of_the_candidate_is_right(op):
    task = narrow(op)
    arguments = task.arguments(F32)
    found = judged(task, arguments, golden(task, arguments))
    assert found.passed, found.problem
    assert found.ratio < 3
    assert found.places[0].startswith("final state, the last ")


@pytest.mark.parametrize("op", NARROW)
def test_who_is_wrong_at_the_last_token_only_is_found(op):
    task = narrow(op)
    arguments = task.arguments(F32)
    outputs = golden(task, arguments)
    outputs["y"] = outputs["y"].copy()
    outputs["y"][:, -1] *= 1.001
    found = judged(task, arguments, outputs)
    assert not found.passed
    assert "y at" in found.problem


STATES = [
    (op, name)
    for op in NARROW
    for name in OPS[op].outputs
    if name != "y" and not name.endswith(".v")
]


@pytest.mark.parametrize(("op", "name"), STATES)
def test_a_wrong_final_state_is_found(op, name):
    task = narrow(op)
    arguments = task.arguments(F32)
    outputs = golden(task, arguments)
    found = judged(task, arguments, {**outputs, name: outputs[name] * 1.01})
    assert not found.passed
    assert name in found.problem


@pytest.mark.parametrize("op", [op for op in NARROW if not op.startswith("attention")])
def test_a_state_that_was_lost_before_the_end_is_found(op):
    """The last tokens start from zeros, as with a boundary of chunks that leaks."""
    task = narrow(op)
    arguments = task.arguments(F32)
    late = endings.tokens_of(OPS[op], arguments, LENGTH - 40, None)
    outputs, lost = golden(task, arguments), golden(task, late)
    merged = outputs["y"].copy()
    merged[:, -40:] = lost["y"]
    assert not judged(task, arguments, {**lost, "y": merged}).passed


@pytest.mark.parametrize("op", ["mamba3.siso", "mamba3.mimo"])
def test_angles_count_from_the_first_token_beyond_the_horizon(op, monkeypatch):
    task = narrow(op)
    arguments = task.arguments(F32)
    arguments["A"] = np.full_like(arguments["A"], -4e3)  # all else is forgotten
    outputs = golden(task, arguments)
    monkeypatch.setattr(endings, "HORIZON", 60)
    assert judged(task, arguments, outputs).passed
    monkeypatch.setattr(endings, "_turned", lambda *_: None)
    assert not judged(task, arguments, outputs).passed


def test_what_is_judged_as_a_whole_has_no_ending():
    task = narrow("mamba2.ssd", length=32)
    assert endings.ending(task, task.arguments(F32), F32) is None
    whole = replace(narrow("mamba2.ssd"), sample={"heads": 1})
    assert endings.ending(whole, whole.arguments(F32), F32) is None


@pytest.mark.parametrize("op", NARROW)
def test_a_task_judges_its_first_and_its_last_tokens(op):
    task = narrow(op)
    arguments = task.arguments(F32)
    judge = task.judge(arguments, F32)
    outputs = golden(task, arguments)
    found = judge(Anybody, outputs)  # type: ignore[arg-type]
    assert found.passed
    assert len(found.places) == 2
    wrong = {**outputs, "y": outputs["y"].copy()}
    wrong["y"][:, -1] = np.nan
    assert not judge(Anybody, wrong).passed  # type: ignore[arg-type]
