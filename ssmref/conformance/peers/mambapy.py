"""The selective scan of mambapy (mamba.py) under the name of golden.

Under judgement is ``MambaBlock.selective_scan``, which is the default of the library,
with its parallel scan ``pscan``. Around it stand what ``MambaBlock`` itself does there:
softplus and gate by PyTorch.
"""

from typing import Any

import numpy as np

from ..arrays import converter, to_numpy
from ..lacking import lacking

try:
    import torch
    from mambapy.mamba import MambaBlock
    from mambapy.pscan import pscan
except ImportError as error:
    raise ImportError(
        "the adapter for mambapy needs the packages torch and mambapy; "
        "install them by: pip install 'ssmref[peers]'"
    ) from error

_tensor = converter("torch")
lacks = lacking("mambapy")


def selective_scan(
    u: np.ndarray,
    dt: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    *,
    D: np.ndarray | None = None,
    z: np.ndarray | None = None,
    dt_bias: np.ndarray | None = None,
    dt_softplus: bool = False,
    initial_state: np.ndarray | None = None,
    cu_seqlens: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.mamba1.selective_scan`."""
    _refuse(u, A, B, C, initial_state, cu_seqlens)
    D = np.zeros(u.shape[2], u.dtype) if D is None else D
    x, step, rate, key, query, skip = map(_tensor, (u, dt, A, B, C, D))
    step = step if dt_bias is None else step + _tensor(dt_bias)
    step = torch.nn.functional.softplus(step) if dt_softplus else step
    # The method of a block uses nothing of the block.
    y = MambaBlock.selective_scan(None, x, step, rate, key, query, skip)
    y = y if z is None else y * torch.nn.functional.silu(_tensor(z))
    return to_numpy(y), to_numpy(_last_state(x, step, rate, key))


def _refuse(
    u: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    initial_state: np.ndarray | None,
    cu_seqlens: np.ndarray | None,
) -> None:
    """Raise NotImplementedError for what the library lacks."""
    lacks("initial state in its scan", initial_state)
    lacks("packed sequences", cu_seqlens)
    lacks("complex A", np.iscomplexobj(A))
    lacks("groups of B and C", any(X.ndim > 3 for X in (B, C)))
    lacks("B and C that are constant", any(X.ndim < 3 for X in (B, C)))
    half = u.dtype.name in ("bfloat16", "float16")
    lacks("mix of half precision with float32", half)


def _last_state(x: Any, dt: Any, A: Any, B: Any) -> Any:
    """Return the last state of the same scan, which the method does not return."""
    decay = torch.exp(dt[..., None] * A)
    return pscan(decay, dt[..., None] * B[:, :, None] * x[..., None])[:, -1]
