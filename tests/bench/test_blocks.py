"""Blocks: who is wrong has no time, at small sizes, at the start or at the end."""

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ssmref.bench.blocks import (
    DECODE,
    PEERS,
    block_tasks,
    matched_task,
    model_tasks,
    package_block,
    resized,
)
from ssmref.bench.blocks_check import expected, judged
from ssmref.bench.blocks_run import (
    Portable,
    cache_of,
    caches_of,
    flat,
    inputs,
    needed_ops,
    run,
    small,
)
from ssmref.bench.contender import UnavailableError
from ssmref.bench.field import Absent
from ssmref.bench.inputs import Numbers
from ssmref.bench.limits import limit
from ssmref.bench.presets import BLOCKS, matched
from ssmref.bench.suites import Choice
from ssmref.bench.task import describe, restore
from ssmref.golden import attention, layers, mamba1, mamba2, mamba3

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
MODULES = (attention, layers, mamba1, mamba2, mamba3)


def task(op, length=300, form="", width=128, batch=2):
    tokens = {"context" if form == DECODE else "length": length}
    return matched_task(op, {"batch": batch, **tokens}, form, width)


def who(one, *names) -> Any:
    """Return everybody whom the names stand for."""
    return list(one.contenders(names, 1))


@pytest.fixture
def altered(monkeypatch):
    """Return a function that makes golden with one function replaced."""

    def make(name, module, function, change):
        whole = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, whole)
        for golden in MODULES:
            own = golden.__name__.rpartition(".")[2]
            part = ModuleType(f"{name}.{own}")
            monkeypatch.setitem(sys.modules, f"{name}.{own}", part)
            for offered, value in vars(golden).items():
                if callable(value):
                    setattr(part, offered, value)
                    setattr(whole, f"{own}_{offered}", value)
        wrong = change(getattr(sys.modules[f"ssmref.golden.{module}"], function))
        setattr(sys.modules[f"{name}.{module}"], function, wrong)
        return name

    return make


def checks(one, name, dtype: Any = F32):
    """Return the verdicts at small sizes and at full size."""
    contender = package_block(name, one)
    at_small = one.check_small(contender, dtype)
    arguments = one.arguments(dtype)
    judge = one.judge(arguments, dtype)
    got = contender.outputs(contender.prepare(arguments)())
    return at_small, judge(contender, got)


@pytest.mark.parametrize("form", ["", DECODE])
@pytest.mark.parametrize("op", BLOCKS)
def test_golden_is_right(op, form):
    for found in checks(task(op, form=form), "ssmref.golden"):
        assert found.passed, found.problem
        assert found.ratio <= 3.0  # a row alone may be summed in another order


@pytest.mark.parametrize("op", BLOCKS)
def test_float64_is_judged_in_higher_precision(op):
    one = task(op, length=20)
    for found in checks(one, "ssmref.golden", F64):
        assert found.passed, found.problem
        assert 0 < found.ratio <= 3.0


def test_the_places_are_named():
    at_small, full = checks(task("block.mamba2", 300), "ssmref.golden")
    assert at_small.places == ("small sizes",)
    assert full.places == (
        "timed result, the last row, its first 200 tokens",
        "its last 70 tokens",
    )
    _, full = checks(task("block.mamba2", 100), "ssmref.golden")
    assert full.places == ("timed result, the last row",)


def scaled(function):
    """Change one channel: a norm would undo a change of all."""

    def wrong(*args, **options):
        y, state = function(*args, **options)
        y = y.copy()
        y[..., 0] *= y.dtype.type(1.001)
        return y, state

    return wrong


@pytest.mark.parametrize(
    ("op", "module", "function"),
    [
        ("block.transformer", "attention", "attention"),
        ("block.mamba1", "mamba1", "selective_scan"),
        ("block.mamba2", "mamba2", "ssd"),
        ("block.mamba3_siso", "mamba3", "siso"),
        ("block.mamba3_mimo", "mamba3", "mimo"),
        ("block.mamba2", "layers", "causal_conv1d"),
    ],
)
def test_a_part_in_a_thousand_is_wrong(altered, op, module, function):
    name = altered("scaled_ops", module, function, scaled)
    at_small, full = checks(task(op), name)
    assert not at_small.passed
    assert not full.passed
    assert "limit 30" in at_small.problem


def test_what_is_wrong_at_the_end_only_is_found(altered):
    def forgets(function):
        def wrong(x, *args, **options):
            y, state = function(x, *args, **options)
            if x.shape[1] == 320:
                y[-1, -2:] = 0
            return y, state

        return wrong

    name = altered("forgetful_ops", "layers", "causal_conv1d", forgets)
    at_small, full = checks(task("block.mamba2", 320), name)
    assert at_small.passed
    assert not full.passed
    assert "last 70 tokens" in full.problem


def test_a_wrong_state_is_found_by_decoding(altered):
    def keeps(function):
        def wrong(*args, **options):
            y, state = function(*args, **options)
            return y, state * state.dtype.type(1.001)

        return wrong

    name = altered("keeping_ops", "mamba1", "selective_scan_step", keeps)
    one = task("block.mamba1", form=DECODE)
    for found in checks(one, name):
        assert not found.passed
        assert "0.ssm" in found.problem


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_number_is_wrong(value):
    one = task("block.mamba1", 20)
    arguments = one.arguments(F32)
    right = expected(arguments, F32)
    got = {"y": right.outputs["y"].astype(F32)}
    assert judged(right, got, "here").passed
    got["y"][1, 7, 3] = value
    found = judged(right, got, "here")
    assert not found.passed
    assert "y at (1, 7, 3)" in found.problem


def test_a_result_without_y_has_no_time():
    one = task("block.mamba1")
    found = one.judge(one.arguments(F32), F32)(package_block("ssmref.golden", one), {})
    assert not found.passed
    assert "no output y" in found.problem


def test_missing_and_misshapen_outputs_are_wrong():
    right = expected(task("block.mamba1", 5).arguments(F32), F32)
    assert "no output y" in judged(right, {}, "here").problem
    short = {"y": right.outputs["y"][:, 1:]}
    assert "needed is shape (2, 5, 128)" in judged(right, short, "here").problem
    more = {"y": right.outputs["y"], "rest": right.outputs["y"]}
    assert "no such output" in judged(right, more, "here").problem


def test_an_angle_may_be_a_turn_away():
    right = expected(task("block.mamba3_siso", 5).arguments(F64), F64)
    got = {name: array.astype(F64) for name, array in right.outputs.items()}
    got["0.ssm.angle"] = got["0.ssm.angle"] + 2 * np.pi
    assert judged(right, got, "here").passed
    got["0.ssm.angle"] = got["0.ssm.angle"] + 1e-3
    assert not judged(right, got, "here").passed


def test_a_package_without_an_op_is_named():
    one = task("block.mamba2")
    with pytest.raises(UnavailableError, match="does not offer layers"):
        package_block("ssmref.golden.mamba2", one)
    found = who(one, "no.such.package")
    assert found[0] == Absent("no.such.package", found[0].reason)
    assert "cannot import" in found[0].reason


def test_ops_that_are_needed():
    (layer, _) = matched(128)["block.mamba2"]
    assert needed_ops((layer,), step=True) == [
        *("layers.causal_conv1d_step", "mamba2.ssd_step"),
        *("layers.rms_norm", "layers.rms_norm_gated"),
    ]


def test_inputs_are_the_same_everywhere():
    (layer, _) = matched(128)["block.mamba1"]
    first = inputs("name", (layer,), F64, batch=1, length=2)
    again = inputs("name", (layer,), F64, batch=1, length=2)
    weight = first["parameters"][0]["mixer.in_proj.weight"]
    assert np.array_equal(weight, again["parameters"][0]["mixer.in_proj.weight"])
    assert abs(weight).max() < 128**-0.5 < 1.01 * abs(weight).max()
    other = inputs("other", (layer,), F64, batch=1, length=2)
    assert not np.array_equal(first["x"], other["x"])


def test_numbers_of_initial_values_are_uniform():
    numbers = Portable("name").uniform(-1.0, 3.0, (50, 40))
    assert numbers.shape == (50, 40)
    assert -1 <= numbers.min() < -0.9
    assert 2.9 < numbers.max() < 3
    assert abs(numbers.mean() - 1) < 0.1
    own = Portable("name")
    assert not np.array_equal(own.uniform(0, 1, 9), own.uniform(0, 1, 9))


@pytest.mark.parametrize("op", BLOCKS)
def test_made_up_caches_have_the_shapes_of_true_ones(op):
    layer = matched(128)[op][0]
    given = inputs("x", (layer,), F32, batch=2, length=9)
    true = flat(run(**given, ops="ssmref.golden"))
    made = cache_of(layer, Numbers("x", F32), "0", 2, 9)
    shapes = {n: (a.shape, a.dtype) for n, a in true.items() if n != "y"}
    named = flat((true["y"], [made]))
    assert {n: (a.shape, a.dtype) for n, a in named.items() if n != "y"} == shapes
    (again,) = caches_of((layer,), named)
    assert flat((true["y"], [again])).keys() == named.keys()
    with pytest.raises(KeyError):
        caches_of((layer,), {"y": true["y"]})


@pytest.mark.parametrize("op", BLOCKS)
def test_the_cache_goes_on(op):
    given = inputs("x", small(matched(128)[op]), F64, batch=2, length=9)
    whole, _ = run(**given, ops="ssmref.golden")
    x = given.pop("x")
    _, caches = run(x[:, :8], **given, ops="ssmref.golden")
    given["caches"] = caches
    last, _ = run(x[:, 8], **given, ops="ssmref.golden")
    assert np.allclose(last, whole[:, 8], rtol=0, atol=1e-12)


def test_tasks_survive_the_way_to_another_process():
    for one in (*block_tasks(Choice((64, 128))), *model_tasks(Choice((64,)))):
        assert restore(describe(one)) == one
        assert one.layers
        assert one.note


def test_ids_and_definitions_tell_blocks_apart():
    one = task("block.mamba2", 64)
    every = [
        *(one, resized(one, length=65), task("block.mamba1", 64)),
        *(task("block.mamba2", 64, DECODE), task("block.mamba2", 64, "prefill")),
        *model_tasks(Choice((64,)), "mamba2-130m", "mamba2-370m"),
    ]
    assert len({t.id for t in every}) == len(every)
    assert len({t.definition for t in every}) == len(every)
    assert one.id == "block.mamba2/b2l64e128"
    assert every[3].id == "block.mamba2_decode/b2c64e128"
    assert every[5].id == "block.mamba2/b1l64e768:mamba2-130m"
    assert [t.kind for t in every[2:5]] == ["block", "inference", "inference"]
    assert [t.tokens for t in every[2:5]] == [128, 2, 128]


def test_a_layer_of_a_model_is_one_of_each_kind():
    found = [t.op for t in model_tasks(Choice((64,)), "falcon-h1-0.5b")]
    assert found == ["block.mamba2", "block.transformer"]


def test_sizes_tell_layers_of_models_apart():
    every = [*model_tasks(Choice((64,))), *block_tasks(Choice((64,)))]
    assert len({(t.op, *t.sizes.values()) for t in every}) == len(
        {(t.op, t.layers) for t in every}
    )


def test_times_grow_as_is_certain():
    def growth(op, length, form=""):
        return task(op, length, form, width=768).growth

    assert growth("block.mamba2", 2**20) == 1.0
    assert growth("block.transformer", 2**14) == 1.0
    assert growth("block.transformer", 2**20) == 2.0
    assert growth("block.mamba2", 2**20, DECODE) == 0.0
    assert growth("block.transformer", 2**20, DECODE) == 1.0


def test_decoding_takes_turns_with_parameters():
    prefill, decode = task("block.mamba2", 64), task("block.mamba2", 64, DECODE)
    assert prefill.copies(F32, 2**30) == 1
    assert decode.copies(F32, 2**20) * decode.bytes(F32)["inputs"] >= 3 * 2**20
    assert decode.copies(F32, 2**40) == 64


@pytest.mark.parametrize("op", BLOCKS)
def test_costs_count_projections_and_ops(op, rates):
    one = task(op, 256, width=384)
    cost = one.cost
    numbers = sum(a.size for p in one.arguments(F32)["parameters"] for a in p.values())
    matrices = 2 * one.tokens * numbers
    assert 0.97 * matrices < cost.products < 1.8 * matrices
    assert cost.elements > numbers
    assert limit(cost, rates, F32).seconds > 0
    longer = resized(one, length=512).cost
    grown = longer.products / cost.products
    assert grown > 2.01 if op == "block.transformer" else grown == pytest.approx(2)
    step = task(op, 256, DECODE, width=384).cost
    assert step.products == pytest.approx(2 * 2 * numbers, rel=0.05)


def test_peers_are_missed_by_name_where_they_are_not_installed(monkeypatch):
    monkeypatch.setitem(PEERS, "torch", "no_such_module")
    (found,) = who(task("block.transformer"), "peer:torch")
    assert isinstance(found, Absent)
    assert found.name == "peer:torch"
    assert "not installed" in found.reason
    assert not who(task("block.mamba2"), "peer:torch")
    assert not who(task("block.mamba2"), "yardstick:c")
