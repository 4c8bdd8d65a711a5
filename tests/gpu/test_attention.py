"""Attention on the GPU: sizes, layouts, parts and faults that cases have not."""

from itertools import pairwise

import numpy as np
import pytest
import sanitized
from emulated import to_device
from hostcupy.kernels import Function
from hostcupy.settings import using
from judging import (
    DTYPES,
    assert_right,
    assert_same,
    device_op,
    numbers,
    on_device,
    ours,
    verdict_on,
)
from ssmref.gpu import _attention_forward, _attention_plan, _attention_step, precision
from support.attention_inputs import attention_inputs, cache

from ssmref.conformance import precision as judged
from ssmref.conformance.verdict import FAILED, PASSED
from ssmref.golden.attention import AttentionState
from ssmref.golden.attention import attention as golden_attention

ATTENTION = "attention.attention"
STEP = "attention.attention_step"
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def call(length=70, cached=0, batch=1, heads=2, kv_heads=1, **sizes):
    """Return random inputs of attention, behind a cache if there is one."""
    rng = np.random.default_rng(5)
    sizes = {"batch": batch, "kv_heads": kv_heads, **sizes}
    made = attention_inputs(rng, length=length, heads=heads, **sizes)
    if cached:
        made["initial_state"] = cache(rng, cached=cached, **sizes)
    return made


def step(cached=70, **sizes):
    """Return random inputs of a step."""
    made = call(length=1, cached=cached, **sizes)
    state = made.pop("initial_state")
    return {name: array[:, 0] for name, array in made.items()} | {"state": state}


# Around what a fragment, a tile and a block hold, and rows that fill none of them.
SIZES = {
    "one": {"length": 1, "headdim": 1, "valuedim": 1},
    "a-tile": {"length": 64, "headdim": 16, "valuedim": 16},
    "beyond-a-tile": {"length": 65, "headdim": 17, "valuedim": 24, "batch": 2},
    "narrow-keys": {"length": 31, "headdim": 3, "valuedim": 64},
    "wide-keys": {"length": 33, "headdim": 128, "valuedim": 1},
    "large": {"length": 130, "headdim": 128, "valuedim": 96, "heads": 1},
    "largest": {"length": 40, "headdim": 256, "valuedim": 256, "heads": 1},
    "odd": {"length": 71, "headdim": 129, "valuedim": 255, "heads": 1},
    "cached": {"length": 66, "cached": 45, "headdim": 40, "valuedim": 64},
    "whole-tiles-cached": {"length": 2, "cached": 127, "headdim": 64, "valuedim": 8},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SIZES)
def test_sizes(name, dtype):
    assert_right(ATTENTION, call(**SIZES[name]), dtype)


STEPS = {
    "one": {"headdim": 1, "valuedim": 1},
    "a-lane-each": {"headdim": 16, "valuedim": 8, "batch": 3},
    "many-queries": {"headdim": 8, "valuedim": 32, "heads": 14, "kv_heads": 2},
    "a-warp": {"headdim": 128, "valuedim": 128, "heads": 4},
    "two-vectors": {"headdim": 132, "valuedim": 256, "heads": 3},
    "odd": {"headdim": 255, "valuedim": 33, "heads": 5},
}


@pytest.mark.parametrize("keys", [64, 1024])
@pytest.mark.parametrize("name", STEPS)
def test_steps_in_parts_and_as_a_whole(name, keys, monkeypatch):
    monkeypatch.setattr(_attention_step, "keys_per_block", lambda *_: keys)
    for cached in (63, 64, 200):
        assert_right(STEP, step(cached, **STEPS[name]), "bfloat16")
    assert_right(STEP, step(130, **STEPS[name]))


@pytest.mark.parametrize("scale", [-0.7, 0.0, -3e-3])
@pytest.mark.parametrize("rotary", [0, 4, 6])
def test_scales_of_any_sign(scale, rotary):
    options = {"scale": scale, "rotary_dim": rotary}
    assert_right(ATTENTION, call(80) | options)
    assert_right(STEP, step() | options)


@pytest.mark.parametrize("interleaved", [False, True])
@each_dtype
def test_far_positions(interleaved, dtype):
    options = {"rotary_dim": 6, "rotary_base": 50.0, "interleaved": interleaved}
    assert_right(ATTENTION, call(5, cached=3000, heads=1) | options, dtype)
    assert_right(STEP, step(3000, heads=1) | options, dtype)


def test_angles_of_any_position_are_exact():
    high, low = _attention_forward._frequencies(8, 10000.0, 0)
    exact = 10000.0 ** (-np.arange(0, 8, 2) / 8) / (2 * np.pi)
    found = high.get().astype(float) + low.get()
    np.testing.assert_allclose(found, exact, rtol=1e-14)


@pytest.mark.parametrize("offset", [1, 2, 4])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bases_may_be_anywhere(offset, dtype):
    with using(offset=offset):
        assert_right(ATTENTION, call(70, headdim=16, valuedim=16), dtype)
        assert_right(STEP, step(headdim=16, valuedim=16), dtype)


def as_parts(made):
    """Return queries, keys and values as parts of the rows of one projection."""
    host = [made[name].get() for name in "qkv"]
    lead = host[0].shape[:-2]
    rows = to_device(np.concatenate([a.reshape(*lead, -1) for a in host], axis=-1))
    ends = np.cumsum([a.shape[-2] * a.shape[-1] for a in host]).tolist()
    parts = zip([0, *ends[:-1]], ends, host, strict=True)
    taken = [rows[..., start:end] for start, end, _ in parts]
    split = [a.reshape(b.shape) for a, b in zip(taken, host, strict=True)]
    return dict(zip("qkv", split, strict=True))


@each_dtype
def test_inputs_may_be_parts_of_a_projection(dtype):
    made = on_device(ATTENTION, call(67, batch=2, headdim=16, valuedim=16), dtype)
    parts = as_parts(made)
    assert parts["q"].strides[1] > made["q"].strides[1]
    one, other = (device_op(ATTENTION)(**{**made, **p}) for p in ({}, parts))
    assert_same(one, other)


@each_dtype
def test_sequences_of_a_pack_are_as_by_themselves(dtype):
    lengths = (70, 0, 1, 64, 13)
    ends = [0, *np.cumsum(lengths).tolist()]
    made = call(ends[-1])
    bounds = {"rotary_dim": 4, "cu_seqlens": np.array(ends, np.int32)}
    packed = on_device(ATTENTION, made | bounds, dtype)
    y, state = device_op(ATTENTION)(**packed)
    for start, end in pairwise(ends):
        one = {n: a[:, start:end] for n, a in made.items()} | {"rotary_dim": 4}
        alone, kept = device_op(ATTENTION)(**on_device(ATTENTION, one, dtype))
        assert_same(alone, y[:, start:end])
        assert_same(kept, tuple(part[:, start:end] for part in state))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["k", "v"])
@each_dtype
def test_what_is_not_finite_is_seen_as_by_golden(name, value, dtype):
    # Rows of 5 are no vectors of 16 bytes. The first block of keys is off the diagonal.
    for valuedim, tokens in ((8, (0, 99)), (5, (37,))):
        made = call(100, cached=70, valuedim=valuedim)
        clean = result(made, dtype)
        for token in tokens:
            spoilt = with_value(made, name, token, value)
            y, expected = result(spoilt, dtype), golden_result(spoilt, dtype)
            np.testing.assert_array_equal(y[:, :token], clean[:, :token])
            odd = ~np.isfinite(expected)
            assert odd.any() or value < 0
            np.testing.assert_array_equal(y[odd], expected[odd])
            assert np.isfinite(y[~odd]).all()


def golden_result(made, dtype):
    """Return golden's y, in the precision of `result`, from the same numbers."""
    exact = judged.rounded(rounded_to(made, dtype), np.dtype(np.float64))
    with np.errstate(all="ignore"):
        return golden_attention(**exact)[0].astype(np.float32)


def test_equal_scores_do_not_drift():
    # Rounding the largest score must not shrink early tiles: 640 times, here.
    rng = np.random.default_rng(0)
    cached = 40959
    k, v = np.ones((1, cached, 1, 16)), rng.standard_normal((1, cached, 1, 4))
    v[:, : cached // 2] += 1
    one = {"q": np.full((1, 1, 1, 16), 3.3 / 4), "k": k[:, :1], "v": v[:, :1]}
    found = verdict_on(
        ours(ATTENTION), ATTENTION, one | {"initial_state": AttentionState(k, v)}
    )
    assert found.ratio < 8


def with_value(made, name, token, value):
    """Return the call with one number of one token replaced."""
    array = made[name].copy()
    array[0, token, 0, 2] = value
    return {**made, name: array}


def result(made, dtype):
    """Return y on the host, in a precision that NumPy knows."""
    return ours(ATTENTION)(**rounded_to(made, dtype))[0].astype(np.float32)


def rounded_to(made, dtype):
    """Return arguments on the host as a case in `dtype` has them."""
    return {n: to_host(v) for n, v in on_device(ATTENTION, made, dtype).items()}


def to_host(value):
    """Return what lies on the device as NumPy's."""
    if isinstance(value, tuple):
        return type(value)(*(part.get() for part in value))
    return value.get() if hasattr(value, "get") else value


@pytest.mark.parametrize(
    ("sizes", "name"), [({"headdim": 257}, "q"), ({"valuedim": 300}, "v")]
)
def test_heads_that_are_too_wide_are_refused(sizes, name, monkeypatch):
    def launched(*_args, **_options):
        raise AssertionError("a kernel was launched")

    monkeypatch.setattr(Function, "__call__", launched)
    for op, made in ((ATTENTION, call(3, **sizes)), (STEP, step(3, **sizes))):
        with pytest.raises(ValueError, match=f"^{name} has heads of"):
            ours(op)(**rounded_to(made, "float32"))


@pytest.mark.parametrize("threads", [1, 2])
@each_dtype
def test_order_of_threads_and_blocks_changes_nothing(threads, dtype):
    made = on_device(ATTENTION, call(130, headdim=32, valuedim=32), dtype)
    whole = numbers(device_op(ATTENTION)(**made))
    with using(resident=3, seed=threads):
        again = numbers(device_op(ATTENTION)(**made))
    for one, other in zip(whole, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_float32_as_tf32_is_called_that():
    def coarse(*args, **options):
        with precision.tf32():
            return ours(ATTENTION)(*args, **options)

    made = call(70, headdim=64, valuedim=64)
    assert verdict_on(coarse, ATTENTION, made).status == FAILED
    with judged.tf32():
        assert verdict_on(coarse, ATTENTION, made).status == PASSED


class TestPlan:
    """How attention is cut."""

    def test_blocks_have_room_everywhere(self):
        for itemsize in (2, 4):
            for size in _attention_plan.SIZES:
                assert _attention_plan.shared_bytes(itemsize, size) <= 96 * 1024

    def test_blocks_of_queries_cover_a_pack_heaviest_first(self):
        table = _attention_plan.blocks_of_queries([0, 130, 130, 131, 200], 64)
        keys = table[:, 2] - table[:, 0]
        assert keys.tolist() == sorted(keys.tolist(), reverse=True)
        tokens = [t for _, begin, end in table for t in range(begin, end)]
        assert sorted(tokens) == list(range(200))
        assert ((table[:, 2] - table[:, 1]) <= 64).all()

    def test_empty_packs_have_no_blocks(self):
        assert _attention_plan.blocks_of_queries([0, 0], 64).shape == (0, 3)

    @pytest.mark.parametrize("keys", [1, 64, 65, 5000, 10**6])
    @pytest.mark.parametrize("blocks", [1, 8, 10**5])
    def test_parts_of_a_cache_are_neither_tiny_nor_huge(self, keys, blocks):
        found = _attention_plan.keys_per_block(keys, blocks, 132)
        assert found % 64 == 0
        assert 64 <= found <= 1024

    def test_few_rows_are_cut_and_many_are_not(self):
        cut = _attention_plan.keys_per_block
        assert -(-5000 // cut(5000, 1, 132)) > 50
        assert cut(1000, 10**5, 132) == 1024


# What is wrong: the file, a piece of its text, and what stands there instead.
FAULTS = {
    "keys are read before they are there": (
        "attention.cu",
        "    cp_async_wait<0>();\n    __syncthreads();  // keys;",
        "    __syncthreads();  // keys;",
    ),
    "keys of other threads are not waited for": (
        "attention.cu",
        "__syncthreads();  // keys;",
        "//",
    ),
    "values of other threads are not waited for": (
        "attention.cu",
        "__syncthreads();  // values; the place of keys is free",
        "",
    ),
    "values meet other weights": (
        "attention_tiles.cuh",
        "as_left(weights, scores[2 * j], scores[2 * j + 1]);",
        "as_left(weights, scores[2 * j + 1], scores[2 * j]);",
    ),
    "a token too many is seen": (
        "attention.cu",
        "8 * n + j % 2 >= least",
        "8 * n + j % 2 > least",
    ),
    "sums do not shrink": (
        "attention_tiles.cuh",
        "sums[n][j] *= shrink[j / 2];",
        "sums[n][j] *= shrink[0];",
    ),
}
STEP_FAULTS = {
    "weights are read before they are whole": (
        "attention_step.cu",
        "__syncthreads();  // weights, and the new value",
        "",
    ),
    "parts are added as they are": (
        "attention_step.cu",
        "sum = fmaf(ex2(tops[row * parts + p] - most),",
        "sum = fmaf(1.f,",
    ),
    "the last key is left out": (
        "attention_step.cu",
        "min(begin + span, cached + 1);",
        "min(begin + span, cached);",
    ),
}
PROGRAMS = (
    (_attention_forward, "FORWARD"),
    (_attention_forward, "CACHE"),
    (_attention_step, "STEP"),
)


def rising(length):
    """Return a call whose largest score comes late."""
    made = call(length, headdim=16, valuedim=16)
    made["k"] *= np.linspace(1, 9, length)[:, None, None]
    return made


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault, with_fault):
    with_fault(*FAULTS[fault])
    assert FAILED in seen(ATTENTION, rising(150))


@pytest.mark.parametrize("fault", STEP_FAULTS)
def test_a_fault_of_a_step_is_seen(fault, with_fault, monkeypatch):
    with_fault(*STEP_FAULTS[fault])
    monkeypatch.setattr(_attention_step, "keys_per_block", lambda *_: 64)
    assert FAILED in seen(STEP, step(150, headdim=16, valuedim=16))


def test_what_is_infinite_as_a_factor_is_seen(with_fault):
    right = "slot[j] = from_float<IO>(0.f);"
    with_fault("attention_tiles.cuh", right, "slot[j] = slot[j];")
    y = result(with_value(call(100), "v", 99, np.inf), "bfloat16")
    assert not np.isfinite(y[:, 64:99]).all()


def seen(op, made):
    """Return what the suite says of an op under several orders of threads."""
    found = []
    for seed in (1, 2, 3):
        with using(resident=3, seed=seed):
            found.append(verdict_on(ours(op), op, made).status)
    return found


def test_without_a_fault_all_pass(monkeypatch):
    monkeypatch.setattr(_attention_step, "keys_per_block", lambda *_: 64)
    assert set(seen(ATTENTION, rising(150))) == {PASSED}
    assert set(seen(STEP, step(150, headdim=16, valuedim=16))) == {PASSED}


@pytest.mark.parametrize("op", [ATTENTION, STEP])
def test_nothing_races(op):
    options = ("--dtype", "bfloat16", "--case", "everything", "--resident", "2")
    assert "passed" in sanitized.run("tsan", "--op", op, *options)
