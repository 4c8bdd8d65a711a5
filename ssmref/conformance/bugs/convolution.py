"""Bugs of the short causal convolution and of its state."""

from typing import Any

import numpy as np

from ...golden.layers import sigmoid, silu
from .bug import Arguments, Bug, Function, around, changed, on_y, without
from .tokens import each_sequence, in_slots, is_step, lengths, tokens
from .when import Condition, any_token, both, either, given, has_start

CONV, STEP = "layers.causal_conv1d", "layers.causal_conv1d_step"
CIRCULAR = "layers.causal_conv1d_step_circular"
LINEAR = (CONV, STEP)
ALL = (CONV, STEP, CIRCULAR)


def width(arguments: Arguments) -> int:
    """Return the number of taps of the filter."""
    return arguments["weight"].shape[1]


def wider_than(size: int) -> Condition:
    """Return the condition that the filter has more taps and meets a token."""
    return lambda a: any_token(a) and width(a) > size


def per_row(run) -> Any:
    """Return the wrap of a run that knows neither packs nor slots."""

    def whole(function: Function, arguments: Arguments) -> Any:
        def one(**single: Any) -> Any:
            return run(function, single)

        if not is_step(arguments):
            return each_sequence(one, arguments)
        if arguments.get("slots") is not None:
            return in_slots(one, arguments)
        return one(**arguments)

    return around(whole)


def _start(arguments: Arguments, like: np.ndarray) -> np.ndarray:
    start = arguments.get("state" if is_step(arguments) else "initial_state")
    return np.zeros_like(like) if start is None else start


def _timed(y: np.ndarray) -> np.ndarray:
    return y if y.ndim == 3 else y[:, None]


def _outputs_kept(function: Function, arguments: Arguments) -> Any:
    y, state = function(**arguments)
    start = _start(arguments, state)
    window = state.shape[1]
    everything = np.concatenate([start, _timed(y)], axis=1)
    return y, everything[:, everything.shape[1] - window :]


def _newest_first(function: Function, arguments: Arguments) -> Any:
    def flip(state: np.ndarray) -> np.ndarray:
        return state[:, ::-1].copy()

    name = "state" if is_step(arguments) else "initial_state"
    start = arguments.get(name)
    flipped = {} if start is None else {name: flip(start)}
    y, state = function(**(arguments | flipped))
    return y, flip(state)


def _centred(function: Function, arguments: Arguments) -> Any:
    ahead = (width(arguments) - 1) // 2
    x = arguments["x"]
    padded = np.concatenate([x, np.zeros_like(x, shape=(len(x), ahead, x.shape[2]))], 1)
    _, state = function(**arguments)
    return function(**(arguments | {"x": padded}))[0][:, ahead:], state


def _short_state_cleared(function: Function, arguments: Arguments) -> Any:
    y, state = function(**arguments)
    kept = state.shape[1] - tokens(arguments)
    if kept > 0:
        state = state.copy()
        state[:, :kept] = 0
    return y, state


def _oldest_taps(function: Function, arguments: Arguments) -> Any:
    _, state = function(**arguments)
    used = arguments["state"][:, : width(arguments) - 1]
    return function(**(arguments | {"state": used}))[0], state


def _one_token_only(function: Function, arguments: Arguments) -> Any:
    x = arguments["x"]
    if x.ndim < 3 or x.shape[1] < 2:
        return function(**arguments)
    y, state = function(**(arguments | {"x": x[:, :1]}))
    return np.broadcast_to(y, x.shape).copy(), state


def _several(arguments: Arguments) -> bool:
    return arguments["x"].ndim == 3 and arguments["x"].shape[1] > 1


def _activated(change) -> Any:
    """Return the wrap that changes what an activation would see, with the bias."""

    def run(function: Function, arguments: Arguments) -> Any:
        if arguments.get("activation") is None:
            return function(**arguments)
        rest = {n: v for n, v in arguments.items() if n not in ("activation", "bias")}
        y, state = function(**rest)
        return change(y, arguments.get("bias", y.dtype.type(0))), state

    return around(run)


def _reaches_back(arguments: Arguments) -> bool:
    """Return whether some state entry is not a raw input of this call."""
    return any(n < width(arguments) - 1 for n in lengths(arguments))


def _window(arguments: Arguments) -> int:
    """Return how many tokens a state holds."""
    if is_step(arguments):
        return arguments["state"].shape[1]
    return width(arguments) - 1


CONVOLUTION = (
    Bug(
        "conv-filter-flipped",
        ALL,
        "The filter is reversed: its first tap meets the current input.",
        "Correlate: the last tap meets the current input.",
        "more than one tap",
        wider_than(1),
        changed(weight=lambda w: w[:, ::-1].copy()),
    ),
    Bug(
        "conv-first-channel",
        ALL,
        "All channels use the filter of the first.",
        "Each channel has its own filter.",
        "more than one channel",
        lambda a: any_token(a) and len(a["weight"]) > 1,
        changed(weight=lambda w: np.broadcast_to(w[:1], w.shape).copy()),
    ),
    Bug(
        "conv-not-causal",
        (CONV,),
        "The filter is centred, as 'same' padding does, and sees later tokens.",
        "Pad width - 1 tokens on the left only.",
        "more than two taps",
        wider_than(2),
        per_row(_centred),
    ),
    Bug(
        "conv-bias-dropped",
        ALL,
        "The bias is not added.",
        "Add the bias before the activation.",
        "a bias",
        given("bias"),
        without("bias"),
    ),
    Bug(
        "conv-bias-twice",
        ALL,
        "The bias is added twice.",
        "Add the bias once.",
        "a bias",
        given("bias"),
        changed(bias=lambda b: 2 * b),
    ),
    Bug(
        "conv-bias-after-activation",
        ALL,
        "The bias is added after the activation.",
        "Add the bias first: silu(conv(x) + bias).",
        "a bias together with an activation",
        both(given("bias"), given("activation")),
        _activated(lambda y, bias: silu(y) + bias),
    ),
    Bug(
        "conv-activation-dropped",
        ALL,
        "The activation is left out.",
        "Apply SiLU where activation says so.",
        "an activation",
        given("activation"),
        without("activation"),
    ),
    Bug(
        "conv-activation-twice",
        ALL,
        "SiLU is applied twice, by the kernel and by its caller.",
        "Apply SiLU once.",
        "an activation",
        given("activation"),
        on_y(lambda y, a: silu(y) if a.get("activation") else y),
    ),
    Bug(
        "conv-activation-sigmoid",
        ALL,
        "The activation is a sigmoid.",
        "Swish means silu(x) = x sigmoid(x).",
        "an activation",
        given("activation"),
        _activated(lambda y, bias: sigmoid(y + bias)),
    ),
    Bug(
        "conv-state-post-conv",
        LINEAR,
        "The state holds outputs of the convolution.",
        "Store the last width - 1 raw inputs.",
        "more than one tap",
        lambda a: any_token(a) and _window(a) > 0,
        per_row(_outputs_kept),
        ("https://github.com/state-spaces/mamba/pull/1027",),
        ("conv-state-post-conv",),
    ),
    Bug(
        "conv-state-newest-first",
        LINEAR,
        "The state is kept with the newest input first.",
        "Keep the oldest input first.",
        "more than two taps",
        lambda a: _window(a) > 1 and (any_token(a) or has_start(a)),
        around(_newest_first),
    ),
    Bug(
        "conv-short-chunk-cleared",
        LINEAR,
        "Fewer tokens than width - 1 leave zeros in the state instead of older inputs.",
        "Shift the old state; replace only as many entries as there are tokens.",
        "a state that comes in and fewer tokens than it has entries",
        both(has_start, either(_reaches_back, is_step)),
        per_row(_short_state_cleared),
    ),
    Bug(
        "conv-window-oldest",
        (STEP,),
        "In a buffer that is wider than width - 1 the oldest entries are used.",
        "Use the last width - 1 entries of the buffer.",
        "a buffer wider than width - 1",
        lambda a: any_token(a) and _window(a) >= width(a) > 1,
        around(_oldest_taps),
    ),
    Bug(
        "cache-multitoken-as-step",
        (STEP, CIRCULAR),
        "Of several tokens only the first is taken in; its output is repeated.",
        "Choose the one-token path by the number of tokens, not by whether a state "
        "exists.",
        "several tokens with a state",
        both(any_token, _several),
        around(_one_token_only),
        (
            "https://github.com/huggingface/transformers/pull/46741",
            "https://github.com/huggingface/transformers/issues/46032",
        ),
        ("cache-multitoken-as-step",),
    ),
    Bug(
        "conv-circular-position-ignored",
        (CIRCULAR,),
        "The circular buffer is read as if it began at entry 0.",
        "Token p lies at entry p mod window.",
        "a position that is no multiple of the window",
        lambda a: any_token(a) and bool(np.any(a["position"] % a["state"].shape[1])),
        changed(position=np.zeros_like),
    ),
    Bug(
        "conv-circular-off-by-one",
        (CIRCULAR,),
        "The position counts the current token as seen.",
        "position is the number of tokens before this one.",
        "any token",
        any_token,
        changed(position=lambda p: p + 1),
    ),
)
