"""Blocks: whole, in parts, token by token and packed give the same numbers."""

import sys
from itertools import pairwise
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.blocks_inputs import CONFIGS, LAYERS, block_inputs
from support.compare import assert_close
from support.exact import cast

from ssmref.models.blocks import (
    MIXERS,
    AttentionConfig,
    LayerConfig,
    gated_mlp,
    init_layer,
    layer_shapes,
    residual_layer,
    residual_layer_step,
)
from ssmref.ops import OPS, implementation

ALL = {**CONFIGS, **{f"layer: {name}": config for name, config in LAYERS.items()}}
each_config = pytest.mark.parametrize("config", ALL.values(), ids=ALL)


def rng():
    return np.random.default_rng(8)


def run(parameters, x, config, cache=None, **options):
    if isinstance(config, LayerConfig):
        return residual_layer(parameters, x, config, cache=cache, **options)
    return MIXERS[type(config)].block(parameters, x, config, cache=cache, **options)


def step(parameters, x, config, cache, **options):
    if isinstance(config, LayerConfig):
        return residual_layer_step(parameters, x, config, cache, **options)
    return MIXERS[type(config)].step(parameters, x, config, cache, **options)


def in_parts(parameters, x, config, ends, advance):
    """Return the outputs and the last cache of a sequence cut at `ends`."""
    outputs, cache = [], None
    for start, stop in pairwise([0, *ends, x.shape[1]]):
        y, cache = advance(parameters, x[:, start:stop], config, cache)
        outputs.append(y)
    return np.concatenate(outputs, axis=1), cache


def one_step(parameters, x, config, cache):
    """Run a part of one token by the step, and longer parts by the block."""
    if x.shape[1] != 1 or cache is None:
        return run(parameters, x, config, cache)
    y, cache = step(parameters, x[:, 0], config, cache)
    return y[:, None], cache


def leaves(cache):
    """Return the arrays of a cache in order."""
    if cache is None:
        return []
    if isinstance(cache, tuple):
        return [leaf for part in cache for leaf in leaves(part)]
    return [cache]


def join(*caches):
    """Return caches of the same kind as one, with the rows of all."""
    if isinstance(caches[0], tuple):
        return type(caches[0])(*(join(*parts) for parts in zip(*caches, strict=True)))
    return np.concatenate(caches)


def assert_same(found, expected, limit=1e-12):
    assert_close(found[0], expected[0], limit)
    assert type(found[1]) is type(expected[1])
    assert_close(tuple(leaves(found[1])), tuple(leaves(expected[1])), limit)


WAYS = {
    "one token first": ([1], run),
    "prefill, several tokens": ([4], run),
    "an empty part": ([0, 3, 3], run),
    "token by token in blocks": ([1, 2, 3, 4, 5, 6], run),
    "token by token in steps": ([0, 1, 2, 3, 4, 5, 6], one_step),
    "prefill, steps": ([4, 5, 6], one_step),
    "steps, several tokens, step": ([0, 1, 2, 6], one_step),
}


@each_config
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_all_ways_give_the_same(config, way):
    parameters, x = block_inputs(rng(), config)
    ends, advance = way
    found = in_parts(parameters, x, config, ends, advance)
    assert_same(found, run(parameters, x, config))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(list(ALL)),
    length=st.integers(1, 9),
    ends=st.lists(st.integers(0, 9), max_size=5),
)
def test_any_parts_give_the_same(seed, name, length, ends):
    config = ALL[name]
    parameters, x = block_inputs(np.random.default_rng(seed), config, length=length)
    ends = sorted(min(end, length) for end in ends)
    found = in_parts(parameters, x, config, ends, one_step)
    assert_same(found, run(parameters, x, config))


@each_config
@pytest.mark.parametrize("bounds", [[0, 7], [0, 3, 7], [0, 0, 1, 5, 5, 7]])
def test_pack_is_separate_sequences(config, bounds):
    parameters, x = block_inputs(rng(), config, batch=1)
    y, cache = run(parameters, x, config, cu_seqlens=np.array(bounds))
    alone = [run(parameters, x[:, a:b], config) for a, b in pairwise(bounds)]
    assert_close(y, np.concatenate([part for part, _ in alone], axis=1))
    rows = zip(*(leaves(own) for _, own in alone), strict=True)
    mixer = config.mixer if isinstance(config, LayerConfig) else config
    for found, parts in zip(leaves(cache), rows, strict=True):
        # Caches of keys and values differ in length: they are packed along time.
        packed_keys = isinstance(mixer, AttentionConfig) and found.ndim == 4
        assert_close(found, np.concatenate(parts, axis=1 if packed_keys else 0))


RECURRENT = {n: c for n, c in CONFIGS.items() if not n.startswith("attention")}


@pytest.mark.parametrize("config", RECURRENT.values(), ids=RECURRENT)
def test_pack_continues_the_cache_of_each_sequence(config):
    parameters, x = block_inputs(rng(), config, batch=1)
    _, first = run(parameters, x[:, :2], config)
    _, second = run(parameters, x[:, 2:5], config)
    caches = join(first, second)
    y, _ = run(parameters, x, config, caches, cu_seqlens=np.array([0, 3, 7]))
    assert_close(y[:, :3], run(parameters, x[:, :3], config, first)[0])
    assert_close(y[:, 3:], run(parameters, x[:, 3:], config, second)[0])


@each_config
def test_output_is_causal_and_rows_are_independent(config):
    parameters, x = block_inputs(rng(), config)
    before, _ = run(parameters, x, config)
    changed = x.copy()
    changed[1, 4, 0] += 1
    after, _ = run(parameters, changed, config)
    assert_close(after[0], before[0], 1e-14)
    assert_close(after[1, :4], before[1, :4], 1e-14)
    assert np.all(after[1, 4:] != before[1, 4:])


@each_config
def test_every_parameter_matters(config):
    parameters, x = block_inputs(rng(), config)
    before, _ = run(parameters, x, config)
    for name, value in parameters.items():
        after, _ = run({**parameters, name: value * 1.01}, x, config)
        assert np.max(np.abs(after - before)) > 1e-6, name


@each_config
@pytest.mark.parametrize(
    ("dtype", "limit"), [(np.float32, 1e-5), (np.longdouble, 1e-13)]
)
def test_precision_is_that_of_the_arguments(config, dtype, limit):
    parameters, x = block_inputs(rng(), config)
    y, cache = run(cast(parameters, dtype), x.astype(dtype), config)
    assert {array.dtype for array in (y, *leaves(cache))} == {np.dtype(dtype)}
    assert_close(cast(y, np.float64), run(parameters, x, config)[0], limit)


@each_config
def test_arguments_are_not_modified(config):
    parameters, x = block_inputs(rng(), config)
    _, cache = run(parameters, x, config)
    for array in (*parameters.values(), x, *leaves(cache)):
        array.flags.writeable = False
    run(parameters, x, config, cache)
    step(parameters, x[:, 0], config, cache)


class Recorder(ModuleType):
    """A module of the package ``recorded``: the golden ops, with a list of calls."""

    called: ClassVar[list[str]] = []

    def __getattr__(self, function):
        name = f"{self.__name__.removeprefix('recorded.')}.{function}"
        self.called.append(name)
        return implementation(OPS[name], "ssmref.golden")


@each_config
def test_blocks_run_the_ops_of_the_table_from_the_package_asked_for(
    config, monkeypatch
):
    monkeypatch.setattr(Recorder, "called", [])
    for module in {op.module for op in OPS.values()}:
        name = f"recorded.{module}"
        monkeypatch.setitem(sys.modules, name, Recorder(name))
    parameters, x = block_inputs(rng(), config)
    y, cache = run(parameters, x, config, ops="recorded")
    whole = Recorder.called[:]
    Recorder.called.clear()
    step(parameters, x[:, 0], config, cache, ops="recorded")
    one = Recorder.called[:]
    assert_close(y, run(parameters, x, config)[0], 0.0)
    assert whole
    assert one == [n if "norm" in n else f"{n}_step" for n in whole]


@pytest.mark.parametrize("config", LAYERS.values(), ids=LAYERS)
def test_residual_layer_adds_mixer_and_mlp_after_their_norms(config):
    p, x = block_inputs(rng(), config)

    def norm(name, h):
        weight, bias = p[f"{name}.weight"], p.get(f"{name}.bias")
        h = h - h.mean(axis=-1, keepdims=True) if bias is not None else h
        size = np.sqrt(np.mean(h**2, axis=-1, keepdims=True) + config.norm_eps)
        return h / size * weight + (0 if bias is None else bias)

    def part(name):
        return {n.removeprefix(name): v for n, v in p.items() if n.startswith(name)}

    h, cache = run(part("mixer."), norm("norm", x), config.mixer)
    expected = x + h
    if config.d_intermediate:
        expected += gated_mlp(part("mlp."), norm("norm2", expected), config.mlp)
    assert_same(residual_layer(p, x, config), (expected, cache))


@pytest.mark.parametrize("config", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_initial_parameters_fit(config, dtype):
    parameters = init_layer(rng(), config, dtype)
    assert {n: p.shape for n, p in parameters.items()} == layer_shapes(config)
    assert {p.dtype for p in parameters.values()} == {np.dtype(dtype)}
    x = rng().standard_normal((2, 7, 12)).astype(dtype)
    y, _ = residual_layer(parameters, x, config)
    assert np.all(np.isfinite(y))
    again = init_layer(rng(), config, dtype)
    assert all(np.array_equal(p, again[n]) for n, p in parameters.items())
