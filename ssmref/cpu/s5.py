"""S5 on the CPU: see `ssmref.golden.s5`."""

import numpy as np

from . import _s5_kernels as kernels
from ._arguments import (
    boundaries,
    checked,
    flat_tokens,
    fresh,
    next_state,
    optional,
    parts,
    planes,
    ready,
    rows_of,
)
from ._discretize import discrete, holds
from ._s5_step import Call, step
from ._types import Complex, Integer, Real

Inputs = Real[np.ndarray, "batch length inputs"]
Outputs = Real[np.ndarray, "batch length outputs"]
Steps = Real[np.ndarray, " state"]
Diagonal = Complex[np.ndarray, " state"]
Projection = Complex[np.ndarray, "state inputs"]
Readout = Complex[np.ndarray, "outputs state"]
Skip = Real[np.ndarray, " outputs"]
State = Complex[np.ndarray, "sequences state"]
SlotState = Complex[np.ndarray, "slots state"]
Bounds = Integer[np.ndarray, " bounds"]


@checked
def s5(
    u: Inputs,
    dt: Steps,
    A: Diagonal,
    B: Projection,
    C: Readout,
    *,
    D: Skip | None = None,
    C_backward: Readout | None = None,
    method: str = "zoh",
    conj_sym: bool = True,
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Outputs, State]:
    """`golden.s5.s5`, by products of matrices around the recurrence, in chunks.

    Chunks are shared by the threads, whatever sequences they belong to.
    """
    A_bar, scale = discrete(A, dt, method)
    outputs = len(C)
    _check_skip(D, u.shape[2], outputs)
    flat, bounds = flat_tokens(u), boundaries(u, cu_seqlens)
    states = fresh(initial_state, (len(bounds) - 1, len(A)), A.dtype)
    y = np.zeros((len(flat), outputs), u.dtype) if D is None else D * flat
    drive = np.concatenate(planes((scale[:, None] * B).T, u.dtype), axis=1)
    again = np.zeros_like(states)
    for readout, state in ((C, states), (C_backward, again)):
        if readout is not None and len(A):
            read = _readout(readout, conj_sym)
            kernels.scan(
                *(flat, y, bounds, planes(A_bar), drive, read, parts(state)),
                backward=readout is not C,
            )
    return y.reshape(*u.shape[:2], outputs), states


def _readout(C: np.ndarray, conj_sym: bool) -> np.ndarray:
    """Return (2 state, outputs): what real and imaginary parts are multiplied by."""
    both = np.concatenate([np.real(C).T, -np.imag(C).T])
    return np.array(2 * both if conj_sym else both, order="C")


def _check_skip(D: np.ndarray | None, inputs: int, outputs: int) -> None:
    if D is not None and inputs != outputs:
        raise ValueError(
            f"D is given with {inputs} inputs and {outputs} outputs; "
            "it needs as many of both"
        )


@checked
def s5_step(
    u: Real[np.ndarray, "batch inputs"],
    dt: Steps,
    A: Diagonal,
    B: Projection,
    C: Readout,
    state: SlotState,
    *,
    D: Skip | None = None,
    method: str = "zoh",
    conj_sym: bool = True,
    slots: Integer[np.ndarray, " batch"] | None = None,
) -> tuple[Real[np.ndarray, "batch outputs"], SlotState]:
    """`golden.s5.s5_step`: B and C are read once, row by row, for all of the batch."""
    hold = holds(method)
    _check_skip(D, u.shape[1], len(C))
    new, y = next_state(state, slots), np.empty((len(u), len(C)), u.dtype)
    step(
        Call(
            *(ready(u), ready(dt), parts(A), parts(B), parts(C), optional(D, u)),
            *(parts(state), parts(new), rows_of(slots, len(u)), hold),
            *(2 if conj_sym else 1, y),
        )
    )
    return y, new
