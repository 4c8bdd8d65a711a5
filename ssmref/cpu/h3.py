"""H3 on the CPU: see `ssmref.golden.h3`."""

from typing import NamedTuple

import numpy as np

from ..contract import at_least
from . import _h3_kernels as kernels
from ._arguments import (
    boundaries,
    checked,
    flat_tokens,
    next_state,
    optional,
    parts,
    ready,
    rows_of,
)
from ._discretize import holds
from ._types import Complex, Integer, Real

Sequence = Real[np.ndarray, "batch length channels"]
Token = Real[np.ndarray, "batch channels"]
PerHead = Real[np.ndarray, " heads"]
PerChannel = Real[np.ndarray, " channels"]
Diagonal = Complex[np.ndarray, "heads state"]
Taps = Real[np.ndarray, "channels taps"]
Bounds = Integer[np.ndarray, " bounds"]


class H3State(NamedTuple):
    """The latest keys, newest first, and the state of each key-value pair of a head."""

    shift: Real[np.ndarray, "rows channels taps"]
    ssm: Complex[np.ndarray, "rows heads headdim headdim state"]


@checked
def h3(
    q: Sequence,
    k: Sequence,
    v: Sequence,
    dt: PerHead,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    shift_C: Taps,
    *,
    shift_D: PerChannel | None = None,
    D: PerHead | None = None,
    head_dim: int = 1,
    method: str = "bilinear",
    initial_state: H3State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, H3State]:
    """`golden.h3.h3`: both recurrences in one pass over the tokens of some heads.

    Time is cut where heads and sequences are too few for the threads.
    """
    _check(q, dt, shift_C, head_dim, initial_state)
    hold = holds(method)
    pairs = (q.shape[2] * head_dim, A.shape[1])
    start = None if initial_state is None else initial_state.ssm
    if start is not None:
        start = start.reshape(len(start), *pairs)
    y, shift, ssm = kernels.scan(
        *(flat_tokens(q), flat_tokens(k), flat_tokens(v)),
        *(ready(dt), ready(A), ready(B), ready(C), optional(D, q)),
        *(_filter(shift_C, shift_D), hold, boundaries(q, cu_seqlens)),
        optional(initial_state and initial_state.shift, q, *shift_C.shape),
        optional(start, A, *pairs),
    )
    ssm = ssm.reshape(len(ssm), len(dt), head_dim, head_dim, A.shape[1])
    return y.reshape(q.shape), H3State(shift, ssm)


def _filter(shift_C: np.ndarray, shift_D: np.ndarray | None) -> np.ndarray:
    """Return the taps of the keys; the skip meets the same key as the first of them."""
    taps = np.array(shift_C, order="C")
    if shift_D is not None:
        taps[:, 0] += shift_D
    return taps


def _check(q, dt, shift_C, head_dim: int, state: H3State | None) -> None:
    """Raise ValueError where heads, features and taps do not fit."""
    heads, channels = len(dt), q.shape[-1]
    at_least("head_dim", head_dim, 1)
    if heads * head_dim != channels:
        raise ValueError(
            f"head_dim is {head_dim} with {heads} heads from dt; together they need "
            f"to be the {channels} channels"
        )
    at_least("the taps of shift_C", shift_C.shape[1], 1)
    if state is not None and state.ssm.shape[2] != head_dim:
        raise ValueError(
            f"initial_state.ssm has headdim {state.ssm.shape[2]}; "
            f"it needs the head_dim {head_dim}"
        )


@checked
def h3_step(
    q: Token,
    k: Token,
    v: Token,
    dt: PerHead,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    shift_C: Taps,
    state: H3State,
    *,
    shift_D: PerChannel | None = None,
    D: PerHead | None = None,
    head_dim: int = 1,
    method: str = "bilinear",
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[Token, H3State]:
    """`golden.h3.h3_step`: discretises and advances a head at a time."""
    _check(q, dt, shift_C, head_dim, state)
    pairs, size = q.shape[1] * head_dim, 2 * A.shape[1]
    new = H3State(next_state(state.shift, slots), next_state(state.ssm, slots))
    old_ssm, new_ssm = (
        parts(s.ssm).reshape(len(s.ssm), pairs, size) for s in (state, new)
    )
    y = kernels.step(
        *(ready(q), ready(k), ready(v), ready(dt), parts(A), parts(B), parts(C)),
        *(optional(D, q), ready(shift_C), optional(shift_D, q), holds(method)),
        *(ready(state.shift), new.shift, old_ssm, new_ssm, rows_of(slots, len(q))),
    )
    return y, new
