"""The blocks of the peers are right where these are there, and say what they lack."""

import numpy as np
import pytest

from ssmref.bench.blocks import DECODE, OFFERED, matched_task, model_tasks
from ssmref.bench.blocks_check import expected, judged
from ssmref.bench.contender import Contender, UnavailableError
from ssmref.bench.suites import Choice

pytestmark = pytest.mark.peers
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


@pytest.fixture(scope="module")
def contenders():
    pytest.importorskip("transformers", reason="needs transformers")
    from ssmref.bench.peers import transformers_blocks

    return {c.op: c for c in transformers_blocks.CONTENDERS}


@pytest.fixture(scope="module")
def torch_blocks():
    pytest.importorskip("torch", reason="needs torch")
    from ssmref.bench.peers import torch_blocks

    return torch_blocks


def task(op, form):
    tokens = {"context" if form else "length": 300}
    return matched_task(op, {"batch": 2, **tokens}, form, width=128)


@pytest.mark.parametrize("form", ["", DECODE])
@pytest.mark.parametrize("op", ["block.mamba1", "block.mamba2"])
def test_its_mixers_are_right(contenders, op, form):
    one = task(op, form)
    (contender,) = one.contenders(["peer:transformers"], 1)
    assert isinstance(contender, Contender)
    assert contender is contenders[f"{op}_step" if form else op]
    assert contender.workspace(**one.sizes) >= 0
    found = one.check_small(contender, F32)
    assert found.passed, found.problem
    arguments = one.arguments(F32)
    got = contender.outputs(contender.prepare(arguments)())
    found = one.judge(arguments, F32)(contender, got)
    assert found.passed, found.problem
    assert len(found.places) == (1 if form else 2)


def test_a_cache_that_moves_on_stays_out_of_the_verdict(contenders):
    one = task("block.mamba1", DECODE)
    arguments = one.arguments(F32)
    contender = contenders["block.mamba1_step"]
    call = contender.prepare(arguments)
    got, right = contender.outputs(call()), expected(arguments, F32)
    call()
    assert judged(right, got, "first").passed
    assert not judged(right, contender.outputs(call()), "third").passed


def test_what_it_lacks_is_named(contenders):
    double = task("block.mamba1", "").arguments(F64)
    with pytest.raises(UnavailableError, match="float32 only"):
        contenders["block.mamba1"].prepare(double)
    hybrid = next(model_tasks(Choice((8,)), "falcon-h1-0.5b")).arguments(F32)
    with pytest.raises(UnavailableError, match="norm at its end"):
        contenders["block.mamba2"].prepare(hybrid)
    siso = task("block.mamba3_siso", "").arguments(F32)
    with pytest.raises(UnavailableError, match="no MLP"):
        contenders["block.mamba1"].prepare(siso)


def test_it_offers_what_it_is_missed_for(contenders):
    assert set(contenders) == set(OFFERED["transformers"])


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("form", ["", DECODE])
def test_the_transformer_of_torch_is_right(torch_blocks, form, dtype):
    one = task("block.transformer", form)
    (contender,) = one.contenders(["peer:torch"], 1)
    assert isinstance(contender, Contender)
    assert contender in torch_blocks.CONTENDERS
    assert contender.name == "peer:torch:sdpa"
    assert contender.workspace(**one.sizes) > 0
    found = one.check_small(contender, dtype)
    assert found.passed, found.problem
    arguments = one.arguments(dtype)
    got = contender.outputs(contender.prepare(arguments)())
    found = one.judge(arguments, dtype)(contender, got)
    assert found.passed, found.problem
    assert form or "its last 70 tokens" in found.places


def test_torch_shares_keys_between_queries(torch_blocks):
    (one,) = [
        t
        for t in model_tasks(Choice((64,)), "falcon-h1-0.5b")
        if t.op == "block.transformer"
    ]
    (contender,) = one.contenders(["peer:torch:sdpa"], 1)
    assert isinstance(contender, Contender)
    assert contender in torch_blocks.CONTENDERS
    found = one.check_small(contender, F32)
    assert found.passed, found.problem


def test_torch_offers_what_it_is_missed_for(torch_blocks):
    assert {c.op for c in torch_blocks.CONTENDERS} == set(OFFERED["torch"])
