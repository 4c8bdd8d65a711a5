"""Prompts and tokens behind a context, and what is held of many requests."""

import numpy as np
import pytest

from ssmref.bench.bytes import request_bytes
from ssmref.bench.inference import (
    BATCHES,
    CONTEXTS,
    REQUESTS,
    batch_tasks,
    decode_tasks,
    held,
    prefill_tasks,
    stack,
)
from ssmref.bench.presets import BLOCKS, MODELS, matched, parameters
from ssmref.bench.suites import Choice

F32 = np.dtype(np.float32)
CHOICE = Choice((1024, 8192), batch=2)


def test_every_block_has_a_prompt_and_a_token_at_every_length():
    for tasks, form in ((prefill_tasks, "prefill"), (decode_tasks, "decode")):
        found = list(tasks(CHOICE))
        assert {t.op for t in found} == set(BLOCKS)
        assert len(found) == 2 * len(BLOCKS)
        assert {t.form for t in found} == {form}
        assert {t.kind for t in found} == {"inference"}
        assert {t.length for t in found} == {1024, 8192}
        assert {t.sizes["batch"] for t in found} == {2}


def test_tokens_are_those_of_a_call():
    assert {t.tokens for t in prefill_tasks(Choice((64,), batch=3))} == {192}
    assert {t.tokens for t in decode_tasks(Choice((64,), batch=3))} == {3}


def test_batches_reach_a_thousand_requests_behind_the_shortest_context():
    found = list(batch_tasks(CHOICE))
    assert {t.sizes["context"] for t in found} == {1024}
    batches = {t.sizes["batch"] for t in found}
    assert batches == {*BATCHES, *REQUESTS} >= {1, 128, 100, 1000}


@pytest.mark.parametrize("op", BLOCKS)
def test_the_state_of_a_call_is_what_a_request_holds(op):
    one = next(t for t in decode_tasks(Choice((1024,))) if t.op == op)
    state = one.bytes(F32)["state"]
    assert state == request_bytes(stack(op, depth=1), F32, 1025)


def test_decoding_costs_more_behind_a_longer_context_only_with_a_cache():
    for op in BLOCKS:
        short, long = (t.cost for t in decode_tasks(CHOICE) if t.op == op)
        assert (long.elements > short.elements) == (op == "block.transformer")
        assert (long.flops > short.flops) == (op == "block.transformer")


def test_stacks_have_equal_parameter_counts():
    for op in BLOCKS:
        model = stack(op)
        count = sum(n * parameters(layer) for n, layer in model.layers)
        own = sum(map(parameters, matched(768)[op]))
        assert count == 12 * own
        assert count == pytest.approx(12 * 7.537e6, rel=0.02)


def test_what_models_hold():
    every = list(held(dtype=F32))
    assert {h.model for h in every} == set(MODELS)
    assert len(every) == len(MODELS) * len(CONTEXTS) * len(REQUESTS)
    one = [h for h in every if h.model == "mamba2-2.7b" and h.requests == 100]
    assert len({h.bytes for h in one}) == 1
    grows = [h for h in every if h.model == "falcon-h1-0.5b" and h.requests == 1]
    assert [h.bytes for h in grows] == sorted({h.bytes for h in grows})


def test_what_is_held_of_chosen_models():
    (found,) = held([stack("block.mamba1")], dtype=F32, contexts=[5], requests=[1000])
    # 24 layers of 1536 channels with 16 numbers of state and 3 inputs.
    assert found.bytes == 1000 * 4 * 24 * 1536 * 19
    assert found.model == "12 x block.mamba1"
