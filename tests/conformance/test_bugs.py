"""Bugs that real libraries had are rejected, and only where their condition holds."""

import numpy as np
import pytest

from ssmref.conformance.candidates import Candidate
from ssmref.conformance.catalogue import cases_of
from ssmref.conformance.run import verify
from ssmref.conformance.verdict import FAILED, PASSED
from ssmref.golden import layers, mamba1, mamba2, mamba3

F32 = np.dtype(np.float32)


def without(function, *names):
    """Ignore these options, as some libraries silently do."""

    def wrong(*inputs, **options):
        return function(*inputs, **{k: v for k, v in options.items() if k not in names})

    return wrong


def with_gate(function, gate):
    """Compute without z, then gate in another way."""

    def wrong(*inputs, z=None, **options):
        y, state = function(*inputs, **options)
        return (y if z is None else (y * gate(z)).astype(y.dtype)), state

    return wrong


def with_dt(function, change, position=1):
    """Apply bias and softplus in another way before the op sees dt."""

    def wrong(*inputs, dt_bias=None, dt_softplus=False, **options):
        inputs = list(inputs)
        inputs[position] = change(inputs[position], dt_bias, dt_softplus)
        return function(*inputs, **options)

    return wrong


def _naive(dt, bias, use):
    dt = dt if bias is None else dt + bias
    with np.errstate(over="ignore"):
        return np.log(1 + np.exp(dt)) if use else dt


def _bias_after(dt, bias, use):
    dt = layers.softplus(dt) if use else dt
    return dt if bias is None else dt + bias


def _tiled(function, axis, of):
    """Heads take their groups in turn: B and C tiled, not repeated."""

    def wrong(x, dt, A, B, C, *rest, **options):
        def expand(X):
            grouped = X.ndim > of
            if not grouped:
                return X
            groups, heads = X.shape[axis], x.shape[axis]
            shape = [1] * X.ndim
            shape[axis] = heads // groups
            return np.tile(X, shape)

        return function(x, dt, A, expand(B), expand(C), *rest, **options)

    return wrong


def _forgets_between_chunks(x, dt, A, B, C, *, cu_seqlens=None, **options):
    """The state is not passed from chunk to chunk of 64."""
    if cu_seqlens is not None:
        return mamba2.ssd(x, dt, A, B, C, cu_seqlens=cu_seqlens, **options)
    y, state = mamba2.ssd(x, dt, A, B, C, **options)
    for a in range(64, x.shape[1], 64):
        t = slice(a, a + 64)
        fresh = {k: v for k, v in options.items() if k != "initial_state"}
        if fresh.get("z") is not None:
            fresh["z"] = fresh["z"][:, t]
        y[:, t], state = mamba2.ssd(x[:, t], dt[:, t], A, B[:, t], C[:, t], **fresh)
    return y, state


def _flipped(x, weight, **options):
    return layers.causal_conv1d(x, weight[:, ::-1].copy(), **options)


def _state_after_convolution(x, weight, **options):
    y, state = layers.causal_conv1d(x, weight, **options)
    kept = state.shape[1]
    return y, y[:, -kept:].copy() if kept and y.shape[1] >= kept else state


def _first_state_only(function):
    """The previous token's key and value of the state are dropped."""

    def wrong(*inputs, initial_state=None, **options):
        if initial_state is not None:
            initial_state = initial_state._replace(
                k=0 * initial_state.k, v=0 * initial_state.v
            )
        return function(*inputs, initial_state=initial_state, **options)

    return wrong


def _other_pairing(function, default):
    other = {"pairwise": "halved", "halved": "pairwise"}

    def wrong(*inputs, pairing=default, **options):
        return function(*inputs, pairing=other[pairing], **options)

    return wrong


def _trap_is_lambda(function):
    def wrong(x, dt, A, B, C, trap, *rest, **options):
        lam = np.clip(trap, 0.01, 0.99)
        return function(x, dt, A, B, C, np.log(lam / (1 - lam)), *rest, **options)

    return wrong


def sigmoid_gate(z):
    return layers.sigmoid(z)


SCAN, STEP = mamba1.selective_scan, mamba1.selective_scan_step
SSD, SSD_STEP = mamba2.ssd, mamba2.ssd_step
CONV = layers.causal_conv1d

# op, wrong implementation, families that must fail, families that must still pass
BUGS = {
    "groups tiled": ("mamba2.ssd", _tiled(SSD, 2, 3), ["groups-inner", "groups-three"],
                     ["plain", "group-per-head"]),
    "groups tiled in the step": ("mamba2.ssd_step", _tiled(SSD_STEP, 1, 2),
                                 ["groups-inner"], ["plain", "group-per-head"]),
    "groups tiled in mamba 1": ("mamba1.selective_scan", _tiled(SCAN, 2, 3),
                                ["groups"], ["plain", "group-per-channel"]),
    "groups tiled in mamba 3": ("mamba3.siso", _tiled(mamba3.siso, 2, 3),
                                ["groups-inner"], ["plain", "group-per-head"]),
    "state lost between chunks": ("mamba2.ssd", _forgets_between_chunks,
                                  ["above-chunk", "chunks", "ragged", "initial-state"],
                                  ["chunk", "below-chunk"]),
    "initial state ignored": ("mamba2.ssd", without(SSD, "initial_state"),
                              ["initial-state", "one-token", "empty", "packed"],
                              ["plain", "packed-zero"]),
    "initial state ignored in mamba 1": ("mamba1.selective_scan",
                                         without(SCAN, "initial_state"),
                                         ["initial-state", "one-token", "packed"],
                                         ["plain"]),
    "packing ignored": ("mamba2.ssd", without(SSD, "cu_seqlens", "initial_state"),
                        ["packed-zero"], ["plain"]),
    "packing ignored by the convolution": ("layers.causal_conv1d",
                                           without(CONV, "cu_seqlens", "initial_state"),
                                           ["packed-zero"], ["plain"]),
    "dt limit ignored": ("mamba2.ssd_step", without(SSD_STEP, "dt_limit"),
                         ["dt-limit"], ["softplus"]),
    "D ignored": ("mamba2.ssd", without(SSD, "D"), ["skip", "skip-headdim", "gate"],
                  ["plain"]),
    "gate ignored": ("mamba2.ssd", without(SSD, "z"), ["gate"], ["skip"]),
    "sigmoid gate": ("mamba1.selective_scan", with_gate(SCAN, sigmoid_gate), ["gate"],
                     ["skip"]),
    "softplus without guards": ("mamba1.selective_scan_step", with_dt(STEP, _naive),
                                ["softplus-tails"], ["plain", "softplus"]),
    "bias after softplus": ("mamba2.ssd", with_dt(SSD, _bias_after),
                            ["softplus", "dt-limit"], ["softplus-tails", "plain"]),
    "filter flipped": ("layers.causal_conv1d", _flipped, ["plain", "width-two"],
                       ["smallest"]),
    "state after the convolution": ("layers.causal_conv1d", _state_after_convolution,
                                    ["plain", "silu", "initial-state"], ["empty"]),
    "key and value of the state dropped": ("mamba3.siso",
                                           _first_state_only(mamba3.siso),
                                           ["initial-state", "one-token", "packed"],
                                           ["plain"]),
    "wrong rotary pairs": ("mamba3.siso", _other_pairing(mamba3.siso, "pairwise"),
                           ["plain", "partial-rotation"], ["no-rotation"]),
    "wrong rotary pairs in MIMO": ("mamba3.mimo", _other_pairing(mamba3.mimo, "halved"),
                                   ["plain", "partial-rotation"], ["no-rotation"]),
    "trap taken for lambda": ("mamba3.mimo_step", _trap_is_lambda(mamba3.mimo_step),
                              ["plain", "trapezoid-left"], []),
    "bias ignored": ("mamba3.siso", without(mamba3.siso, "B_bias"),
                     ["biases", "everything"], ["plain"]),
    "norm ignored": ("mamba3.mimo", without(mamba3.mimo, "norm_weight"), ["norm"],
                     ["gate"]),
    "projection of the gate ignored": ("mamba3.mimo", without(mamba3.mimo, "mimo_z"),
                                       ["gate"], ["plain"]),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize("name", BUGS)
def test_bug_fails_where_it_shows_and_only_there(name):
    op, wrong, exposing, blind = BUGS[name]
    cases = [case for case in cases_of(op) if case.family in (*exposing, *blind)]
    verdicts = verify(Candidate("wrong", {op: wrong}), cases, F32)
    status = {v.case.family: v.status for v in verdicts}
    for family in exposing:
        assert status[family] == FAILED, family
    for family in blind:
        assert status[family] == PASSED, family
