"""Products in float16, of numbers beyond its largest one and below its smallest."""

import numpy as np
import pytest
from judging import assert_right, ours, verdict_on
from ssmref.gpu import _attention_forward, _mamba2_scan
from support.attention_inputs import attention_inputs
from support.mamba2_inputs import ssd_example

from ssmref.conformance.verdict import FAILED

SSD = "mamba2.ssd"
ATTENTION = "attention.attention"
PROGRAMS = ((_mamba2_scan, "SCAN"), (_attention_forward, "FORWARD"))


def call(**sizes):
    """Return a call of steps up to 60, whose D leaves room for large inputs."""
    rng = np.random.default_rng(5)
    made = ssd_example(
        rng, **{"batch": 1, "heads": 2, "groups": 1, "state": 9, **sizes}
    )
    return made | {"dt_limit": (0.1, 60.0), "D": 1e-3 * made["D"]}


def large_state():
    """Return a call with a column of the state that the second token wipes."""
    made = call(length=70, headdim=20)
    made["initial_state"][:, :, 10] *= 1e9
    made["C"][:, 0] *= 1e-7
    made["A"][:], made["dt"][:, 1] = -3.0, 40.0
    return made


def large_scores():
    """Return a pack with a token whose products with all others are large."""
    made = call(length=70, headdim=20)
    made["B"] *= 200
    made["x"] *= 1e-4
    made["C"][:, 20] *= 900
    made["cu_seqlens"] = np.array([0, 5, 70])
    state = made["initial_state"]
    return made | {"initial_state": 1e-3 * np.concatenate([state, state])}


def large_inputs():
    """Return a call with an input that is beyond float16 once it is weighed."""
    made = call(length=70, heads=1, headdim=20, state=140)
    made["B"] *= 1e-3
    made["x"][:, 63, :, 5], made["dt"][:, 63] = 9e3, 30.0
    return made


LARGE = {
    "state": large_state,
    "scores": large_scores,
    "inputs": large_inputs,
}


@pytest.fixture(autouse=True)
def _one_chunk_for_each_segment(monkeypatch):
    monkeypatch.setattr(_mamba2_scan, "segment_length", lambda laid, *_: laid.rows)


@pytest.mark.parametrize("name", LARGE)
def test_what_float16_has_no_room_for_is_right(name):
    assert_right(SSD, LARGE[name](), "float16")


# What is not looked at: the file, a piece of its text, and what stands there instead.
FAULTS = {
    "state": (
        "ssd_scan_again.cuh",
        "sum += y[0][k][1] + (k ? y[0][k][0] : 0.f);",
        "sum += 0.f;",
    ),
    "scores": ("ssd_scan_again.cuh", "sum += y[m][0][0] + y[m][0][2];", "sum += 0.f;"),
    "inputs": ("ssd_scan.cu", " || infinite(h))", ")"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_not_looked_at_is_seen(name, with_fault):
    with_fault(*FAULTS[name])
    assert verdict_on(ours(SSD), SSD, LARGE[name](), "float16").status == FAILED


def small_weights():
    """Return a call whose last query gives all but one key a weight of e^-17.5."""
    made = attention_inputs(
        np.random.default_rng(5), length=70, heads=1, kv_heads=1, valuedim=1
    )
    size = made["k"].shape[-1]
    made["k"][:], made["q"][:] = 0, 17.5 / np.sqrt(size)
    made["k"][:, 0], made["v"][:], made["v"][:, 0] = 1, 6e4, 1e-3
    return made


def small_weights_ratio() -> float:
    return verdict_on(ours(ATTENTION), ATTENTION, small_weights(), "float16").ratio


def test_weights_below_the_smallest_numbers_count():
    assert small_weights_ratio() < 1


def test_weights_that_are_rounded_away_are_seen(with_fault):
    with_fault("attention_tiles.cuh", "narrow<IO> ? 15.f : 0.f", "0.f")
    assert small_weights_ratio() > 10
