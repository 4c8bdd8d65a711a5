"""The byte models against what is measured: within a tenth, mostly a hundredth."""

import tracemalloc

import numpy as np
import pytest

from ssmref.bench.blocks import DECODE, matched_task, package_block, resized
from ssmref.bench.bytes import (
    block_bytes,
    cache_numbers,
    naive_attention_bytes,
    request_bytes,
)
from ssmref.bench.explorers_naive import attention
from ssmref.bench.inference import stack
from ssmref.bench.presets import BLOCKS, MODELS, matched

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
MEBIBYTE = 2**20
WIDTH = 256


# Its kernels are compiled in the worker that has compiled them for tests/cpu.
KINDS = {name: name.split(".")[1].split("_")[0] for name in BLOCKS}
KINDS["block.transformer"] = "attention"
each_kind = pytest.mark.parametrize(
    "op",
    [pytest.param(op, marks=pytest.mark.xdist_group(k)) for op, k in KINDS.items()],
)


def task(op, form="", *, batch=1, length=1024):
    tokens = {"context" if form == DECODE else "length": length}
    return matched_task(op, {"batch": batch, **tokens}, form, WIDTH)


def peak_of(call):
    """Return the most bytes that a second call holds."""
    call()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result is not None
    return peak - before


def agreement(one):
    """Measure in one thread: of a token, the scratch of others is not in the model."""
    numba = pytest.importorskip("numba", reason="ssmref.cpu needs numba")
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        return _agreement(one)
    finally:
        numba.set_num_threads(before)


def _agreement(one):
    contender = package_block("ssmref.cpu", one)
    model = one.bytes(F32)
    expected = sum(model[part] for part in ("outputs", "state", "workspace"))
    return peak_of(contender.prepare(one.arguments(F32))) / expected


@pytest.mark.parametrize("form", ["", DECODE])
@each_kind
def test_a_block_holds_what_is_predicted(op, form):
    pytest.importorskip("numba", reason="ssmref.cpu needs numba")
    assert agreement(task(op, form, batch=4 if form else 1)) == pytest.approx(
        1, abs=0.1
    )


@pytest.mark.parametrize(
    "op",
    [
        pytest.param(op, marks=pytest.mark.xdist_group(KINDS[op]))
        for op in ("block.transformer", "block.mamba2")
    ],
)
def test_a_long_block_holds_what_is_predicted_to_a_fiftieth(op):
    pytest.importorskip("numba", reason="ssmref.cpu needs numba")
    assert agreement(task(op, length=4096)) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("form", ["", DECODE])
@pytest.mark.parametrize("op", BLOCKS)
def test_inputs_and_states_are_counted_exactly(op, form):
    one = task(op, form, batch=2, length=40)
    arguments, model = one.arguments(F32), one.bytes(F32)
    contender = package_block("ssmref.golden", one)
    got = contender.outputs(contender.prepare(arguments)())
    before = [arguments["x"], *(a for p in arguments["parameters"] for a in p.values())]
    given = sum(array.nbytes for array in before)
    if form:
        caches = contender.outputs((arguments["x"], arguments["caches"]))
        given += sum(array.nbytes for n, array in caches.items() if n != "y")
    assert model["inputs"] == given
    assert model["outputs"] == got.pop("y").nbytes
    assert model["state"] == sum(array.nbytes for array in got.values())


@pytest.mark.parametrize("op", BLOCKS)
def test_memory_is_linear_in_tokens_for_everybody(op):
    """Also for a Transformer: blocked attention does not write its scores out."""
    one = task(op, length=2**14)
    small, large = (resized(one, length=2**n).bytes(F32) for n in (14, 16))
    for part in ("outputs", "workspace"):
        assert large[part] == pytest.approx(4 * small[part], rel=0.01)
    grows = op == "block.transformer"
    assert large["state"] == (4 if grows else 1) * small["state"]


def test_double_precision_takes_twice_as_much():
    layers = matched(WIDTH)["block.mamba1"]
    one, two = (
        block_bytes(layers, dtype, inputs=8, batch=1, length=64) for dtype in (F32, F64)
    )
    assert all(two[part] == 2 * one[part] for part in ("outputs", "state", "workspace"))


def test_naive_attention_holds_one_matrix():
    sizes = {"batch": 2, "length": 512, "heads": 3, "headdim": 32}
    rng = np.random.default_rng(0)
    shape = (2, 512, 3, 32)
    q, k, v = (rng.standard_normal(shape, dtype=np.float32) for _ in range(3))
    model = naive_attention_bytes(F32, **sizes)
    assert model["inputs"] == q.nbytes + k.nbytes + v.nbytes
    measured = peak_of(lambda: attention(q, k, v))
    expected = model["outputs"] + model["workspace"]
    assert measured == pytest.approx(expected, rel=0.1)
    four = naive_attention_bytes(F32, **{**sizes, "length": 2048})
    assert four["workspace"] == pytest.approx(16 * model["workspace"], rel=0.01)


def test_what_a_request_holds_of_known_models():
    """24 layers of 24 x 64 x 128 numbers and 3 x 1792 inputs of the convolution."""
    mamba = MODELS["mamba2-130m"]
    assert request_bytes(mamba, F32, 1024) == 4 * 24 * (24 * 64 * 128 + 3 * 1792)
    assert request_bytes(mamba, F32, 2**20) == request_bytes(mamba, F32, 1)
    hybrid = MODELS["nemotron-h-8b"]
    # Keys and values of 8 heads of 128 numbers in 4 layers.
    grown = request_bytes(hybrid, F32, 1001) - request_bytes(hybrid, F32, 1)
    assert grown == 4 * 1000 * 4 * 2 * 8 * 128
    assert request_bytes(hybrid, F32, 5, 1000) == 1000 * request_bytes(hybrid, F32, 5)


def test_a_cache_overtakes_a_state():
    """A state of Mamba-2 is as large as the cache of some hundred tokens."""
    transformer, mamba = (stack(f"block.{n}") for n in ("transformer", "mamba2"))
    state = request_bytes(mamba, F32, 1)
    per_token = request_bytes(transformer, F32, 1)
    assert 200 < state / per_token < 300


def test_a_cache_is_two_numbers_per_channel_and_token():
    (layer,) = matched(WIDTH)["block.transformer"]
    assert cache_numbers(layer, 3, 7) == 3 * 7 * 2 * WIDTH
