"""Attention against a scalar transcription at 50 digits."""

import numpy as np
import pytest
from mpmath import cos, exp, mpf, sin, sqrt, workdps
from support.attention_inputs import attention_inputs, cache
from support.exact import DIGITS, DTYPES, assert_exact, cast, numbers

from ssmref.golden.attention import attention, attention_blocked, attention_quadratic

OPTIONS = [
    {},
    {"scale": 0.75, "rotary_dim": 2, "rotary_base": 10.0},
    {"rotary_dim": 4, "rotary_base": 100.0, "interleaved": True},
]


def rotate(v, position, *, rotary_dim=0, rotary_base=1.0, interleaved=False):
    """Return the list v rotated by its position."""
    out = list(v)
    for i in range(rotary_dim // 2):
        first = 2 * i if interleaved else i
        second = 2 * i + 1 if interleaved else i + rotary_dim // 2
        theta = position / mpf(rotary_base) ** (mpf(2 * i) / rotary_dim)
        a, b = v[first], v[second]
        out[first] = a * cos(theta) - b * sin(theta)
        out[second] = a * sin(theta) + b * cos(theta)
    return out


def one_head(query, keys, values, factor):
    """Return the average of the values, weighted by the keys' likeness to query."""
    weights = [exp(factor * dot(query, key)) for key in keys]
    return [dot(weights, column) / sum(weights) for column in zip(*values, strict=True)]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def exact(q, k, v, initial_state, *, scale=None, **rotary):
    """Return y and the keys and values of the cache, in nested lists."""
    q, k, v = numbers(q), numbers(k), numbers(v)
    keys, values = numbers(initial_state.k), numbers(initial_state.v)
    factor = 1 / sqrt(mpf(len(q[0][0][0]))) if scale is None else mpf(scale)
    y = [[] for _ in q]
    for b in range(len(q)):
        for t in range(len(q[b])):
            position = mpf(len(keys[b]))
            keys[b].append([rotate(head, position, **rotary) for head in k[b][t]])
            values[b].append(v[b][t])
            heads = []
            for h in range(len(q[b][t])):
                g = h // (len(q[b][t]) // len(k[b][t]))
                query = rotate(q[b][t][h], position, **rotary)
                seen = [token[g] for token in keys[b]]
                heads.append(
                    one_head(query, seen, [token[g] for token in values[b]], factor)
                )
            y[b].append(heads)
    return y, (keys, values)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("form", [attention, attention_quadratic, attention_blocked])
def test_equations_at_50_digits(form, options, dtype):
    rng = np.random.default_rng(3)
    sizes = {"headdim": 4, "heads": 4, "kv_heads": 2, "length": 5}
    call = attention_inputs(rng, **sizes)
    state = cache(rng, cached=2, kv_heads=2, headdim=4)
    call |= {"initial_state": state}
    found = form(**cast(call, dtype), **options)
    with workdps(DIGITS):
        assert_exact(found, exact(**call, **options))
