"""The layer of s5-pytorch, a port of the official S5, under the name of golden.

Under judgement are ``apply_ssm`` with its associative scan, and the two functions that
discretise. The library stores both of each conjugate pair where golden stores one, and
has as many outputs as inputs: the fewer of the two are filled up by zeros.
"""

from typing import Any

import numpy as np

from ..arrays import converter, to_numpy
from ..lacking import lacking

try:
    import torch
    from s5.s5_model import apply_ssm, discretize_bilinear, discretize_zoh
except ImportError as error:
    raise ImportError(
        "the adapter for s5 needs the packages torch and s5-pytorch; "
        "install them by: pip install 'ssmref[peers]'"
    ) from error

_tensor = converter("torch")
lacks = lacking("s5-pytorch")
_DISCRETISE = {"zoh": discretize_zoh, "bilinear": discretize_bilinear}


def s5(
    u: np.ndarray,
    dt: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    *,
    D: np.ndarray | None = None,
    C_backward: np.ndarray | None = None,
    method: str = "zoh",
    conj_sym: bool = True,
    initial_state: np.ndarray | None = None,
    cu_seqlens: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.s5.s5`."""
    _refuse(u, C_backward, initial_state, cu_seqlens)
    state, outputs = len(A), len(C)
    width = max(outputs, u.shape[2])
    D = np.zeros(width, u.dtype) if D is None else D
    u, B = (_filled(X, width, axis=-1) for X in (u, B))
    C, C_backward = (_filled(X, width, axis=0) for X in (C, C_backward))
    if conj_sym:
        dt = np.concatenate([dt, dt])
        A, B = (np.concatenate([X, X.conj()]) for X in (A, B))
        C, C_backward, initial_state = map(_pairs, (C, C_backward, initial_state))
    both = C_backward is not None
    C = np.concatenate([C, C_backward], axis=1) if C_backward is not None else C
    system = _DISCRETISE[method](*map(_tensor, (A, B, dt)))
    arrays = [*system, _tensor(C), _tensor(D)]
    starts = [None] * len(u) if initial_state is None else map(_tensor, initial_state)
    rows = zip(map(_tensor, u), starts, strict=True)
    results = [apply_ssm(*arrays, row, start, both) for row, start in rows]
    y, last = (to_numpy(torch.stack(parts)) for parts in zip(*results, strict=True))
    return y[:, :, :outputs], last[:, :state]


def _refuse(
    u: np.ndarray,
    C_backward: np.ndarray | None,
    initial_state: np.ndarray | None,
    cu_seqlens: np.ndarray | None,
) -> None:
    """Raise NotImplementedError for what the library lacks."""
    lacks("packed sequences", cu_seqlens)
    two_ways = C_backward is not None and initial_state is not None
    lacks("initial state in both directions", two_ways)
    half = u.dtype.name in ("bfloat16", "float16")
    lacks("complex numbers in half precision", half)


def _filled(array: Any, width: int, axis: int) -> Any:
    """Append zeros along an axis."""
    if array is None:
        return None
    fill = [(0, 0)] * array.ndim
    fill[axis] = (0, width - array.shape[axis])
    return np.pad(array, fill)


def _pairs(array: Any) -> Any:
    """Append the conjugates along the state, the last axis."""
    return None if array is None else np.concatenate([array, array.conj()], axis=-1)
