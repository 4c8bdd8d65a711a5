"""S4D on the CPU: see `ssmref.golden.s4d`."""

import numpy as np

from . import _s4d_kernels as kernels
from ._contract import boundaries, checked, flat_tokens, ready
from ._discretize import holds
from ._types import Complex, Integer, Real

Sequence = Real[np.ndarray, "batch length channels"]
Token = Real[np.ndarray, "batch channels"]
PerChannel = Real[np.ndarray, " channels"]
Diagonal = Complex[np.ndarray, "channels state"]
State = Complex[np.ndarray, "sequences channels state"]
SlotState = Complex[np.ndarray, "slots channels state"]
Bounds = Integer[np.ndarray, " bounds"]


@checked
def s4d(
    u: Sequence,
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    *,
    D: PerChannel | None = None,
    method: str = "zoh",
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, State]:
    """`golden.s4d.s4d`, four tokens at a time; see `_diagonal`.

    Time is cut where channels and sequences are too few for the threads.
    """
    skip = np.empty(0, u.dtype) if D is None else ready(D)
    start = np.empty((0, *A.shape), A.dtype) if initial_state is None else initial_state
    y, state = kernels.scan(
        *(flat_tokens(u), ready(dt), ready(A), ready(B), ready(C), skip),
        *(holds(method), boundaries(u, cu_seqlens), ready(start)),
    )
    return y.reshape(u.shape), state
