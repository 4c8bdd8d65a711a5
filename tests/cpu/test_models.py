"""Blocks of models over the ops of `ssmref.cpu` are those over golden.

Blocks reach ops by the name of a package, so this is what users of models get.
"""

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from support.blocks_inputs import CONFIGS, LAYERS, block_inputs
from support.compare import assert_close
from support.exact import cast

from ssmref.models.blocks import (
    MIXERS,
    LayerConfig,
    residual_layer,
    residual_layer_step,
)

CPU, GOLDEN = "ssmref.cpu", "ssmref.golden"
ALL = {**CONFIGS, **{f"layer: {name}": config for name, config in LAYERS.items()}}
# Their ops are those of a module, which one worker compiles.
MIXER = re.compile(r"mamba\d|attention")
# float32 is held to what golden's own run in float32 is (tests/models): rounding of
# 6e-8, some tens of operations deep. Both errors count, so no limit can be lower.
LIMITS = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-5}
each_config = pytest.mark.parametrize(
    "config",
    [
        pytest.param(c, id=name, marks=pytest.mark.xdist_group(MIXER.findall(name)[0]))
        for name, c in ALL.items()
    ],
)
each_dtype = pytest.mark.parametrize("dtype", LIMITS, ids=str)


def run(parameters, x, config, cache=None, *, ops=CPU, **options):
    options |= {"cache": cache, "ops": ops}
    if isinstance(config, LayerConfig):
        return residual_layer(parameters, x, config, **options)
    return MIXERS[type(config)].block(parameters, x, config, **options)


def step(parameters, x, config, cache, *, ops=CPU):
    if isinstance(config, LayerConfig):
        return residual_layer_step(parameters, x, config, cache, ops=ops)
    return MIXERS[type(config)].step(parameters, x, config, cache, ops=ops)


def leaves(value: Any, name: str = "") -> tuple[np.ndarray, ...]:
    """Return the arrays of a result in order; angles, which wrap, as points."""
    if isinstance(value, tuple):
        names = getattr(value, "_fields", [""] * len(value))
        pairs = zip(value, names, strict=True)
        return tuple(leaf for part, n in pairs for leaf in leaves(part, n))
    if value is None:
        return ()
    return (np.exp(1j * value) if name == "angle" else value,)


@each_config
@each_dtype
@pytest.mark.parametrize("length", [1, 7, 70])
def test_block_is_that_over_golden(config, dtype, length):
    parameters, x = block_inputs(np.random.default_rng(8), config, length=length)
    parameters, x = cast(parameters, dtype.type), cast(x, dtype.type)
    found = leaves(run(parameters, x, config))
    # Golden in float64 on the same numbers: one error counts, not those of both.
    exact = cast(parameters, np.float64), cast(x, np.float64)
    expected = cast(leaves(run(*exact, config, ops=GOLDEN)), dtype.type)
    assert_close(found, expected, LIMITS[dtype])


@each_config
@each_dtype
@pytest.mark.parametrize("ends", [[4, 5, 6], [0, 1, 2, 3, 4, 5, 6], [3, 3, 4]], ids=str)
def test_prefill_and_decoding_are_the_whole(config, dtype, ends):
    parameters, x = block_inputs(np.random.default_rng(8), config)
    parameters, x = cast(parameters, dtype.type), cast(x, dtype.type)
    outputs, cache = [], None
    for start, stop in pairwise([0, *ends, 7]):
        if stop - start == 1 and cache is not None:
            y, cache = step(parameters, x[:, start], config, cache)
            outputs.append(y[:, None])
        else:
            y, cache = run(parameters, x[:, start:stop], config, cache)
            outputs.append(y)
    found = np.concatenate(outputs, axis=1), *leaves(cache)
    assert_close(found, leaves(run(parameters, x, config)), LIMITS[dtype])


@each_config
def test_pack_is_that_over_golden(config):
    parameters, x = block_inputs(np.random.default_rng(8), config, batch=1)
    bounds = {"cu_seqlens": np.array([0, 0, 1, 5, 5, 7])}
    found, expected = (
        leaves(run(parameters, x, config, ops=ops, **bounds)) for ops in (CPU, GOLDEN)
    )
    assert_close(found, expected, LIMITS[x.dtype])


@each_config
def test_step_is_that_over_golden(config):
    parameters, x = block_inputs(np.random.default_rng(8), config)
    results = []
    for ops in (CPU, GOLDEN):
        _, cache = run(parameters, x[:, :6], config, ops=ops)
        results.append(leaves(step(parameters, x[:, 6], config, cache, ops=ops)))
    found, expected = results
    assert_close(found, expected, LIMITS[x.dtype])


def test_the_package_is_used(monkeypatch):
    """A mistake in an op of ours is seen in a block: golden is not run instead."""
    from ssmref.cpu import layers

    config = CONFIGS["mamba1"]
    parameters, x = block_inputs(np.random.default_rng(8), config)
    before, _ = run(parameters, x, config)
    real = layers.causal_conv1d

    def wrong(*args, **kwargs):
        y, state = real(*args, **kwargs)
        return 1.001 * y, state

    monkeypatch.setattr(layers, "causal_conv1d", wrong)
    after, _ = run(parameters, x, config)
    assert np.max(np.abs(after - before)) > 1e-5
    same, _ = run(parameters, x, config, ops=GOLDEN)
    assert_close(same, before, 1e-10)
