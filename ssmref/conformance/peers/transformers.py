"""The Mamba functions of Hugging Face transformers under the names of golden.

Under judgement are the functions in PyTorch that its modules fall back to, with every
Mamba model of the library on top of them. Layouts are translated and nothing else: what
the library lacks raises NotImplementedError, also where it would ignore an option. In
half precision, outputs are rounded to the dtype of the input, as in the mixers.
"""

import inspect
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ..lacking import lacking

try:
    import torch
    from transformers.cache_utils import LinearAttentionLayer
    from transformers.models.mamba import modeling_mamba
    from transformers.models.mamba2 import modeling_mamba2
except ImportError as error:
    raise ImportError(
        "the adapter for transformers needs the packages torch and transformers; "
        "install them by: pip install 'ssmref[peers]'"
    ) from error

lacks = lacking("transformers")
# Of the chunk scan, which pads to a multiple of it.
CHUNK_SIZE = 64


def _own(module: ModuleType, name: str) -> Callable[..., Any]:
    """Return a function of transformers itself.

    The name in the module is a wrapper that prefers the kernels of mamba_ssm and
    causal_conv1d where these import.
    """
    function = inspect.unwrap(getattr(module, name))
    if inspect.getsourcefile(function) != module.__file__:
        raise ImportError(f"{module.__name__}.{name} is not defined in transformers")
    return function


_conv1d = _own(modeling_mamba, "causal_conv1d_fn")
_conv1d_update = _own(modeling_mamba, "causal_conv1d_update")
_selective_scan = _own(modeling_mamba, "mamba_selective_scan")
_selective_update = _own(modeling_mamba, "mamba_selective_state_update")
_chunk_scan = _own(modeling_mamba2, "mamba2_chunk_scan")
_chunk_update = _own(modeling_mamba2, "mamba2_selective_state_update")


def causal_conv1d(
    x: np.ndarray,
    weight: np.ndarray,
    *,
    bias: np.ndarray | None = None,
    activation: str | None = None,
    initial_state: np.ndarray | None = None,
    cu_seqlens: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.layers.causal_conv1d`.

    ``causal_conv1d_fn`` behind the cache of a linear attention layer, as the mixers
    call it. The cache has width columns, of which the oldest is never used.
    """
    lacks("packed sequences in causal_conv1d_fn", cu_seqlens)
    tokens = _channels_first(x)
    cache, width = LinearAttentionLayer(), weight.shape[1]
    if initial_state is not None:
        earlier = _channels_first(initial_state)
        _ = cache.update_conv_state(earlier, conv_kernel_size=width)
    seen = cache.update_conv_state(tokens, conv_kernel_size=width)
    y = _conv1d(seen, _tensor(weight), _tensor(bias), activation=activation)
    y = y[:, :, y.shape[2] - x.shape[1] :]
    state = cache.conv_states[0][:, :, 1:]
    return _array(y.transpose(1, 2), x), _state(state.transpose(1, 2))


def causal_conv1d_step(
    x: np.ndarray,
    weight: np.ndarray,
    state: np.ndarray,
    *,
    bias: np.ndarray | None = None,
    activation: str | None = None,
    slots: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.layers.causal_conv1d_step`; ``causal_conv1d_update``."""
    lacks("slots in causal_conv1d_update", slots)
    tokens = _channels_first(x if x.ndim == 3 else x[:, None])
    buffer = _channels_first(state)
    y = _conv1d_update(tokens, buffer, _tensor(weight), _tensor(bias), activation)
    y = _array(y.transpose(1, 2), x)
    return y.reshape(x.shape), _state(buffer.transpose(1, 2))


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
    """See `ssmref.golden.mamba1.selective_scan`; ``mamba_selective_scan``."""
    lacks("initial state in mamba_selective_scan", initial_state)
    lacks("packed sequences in mamba_selective_scan", cu_seqlens)
    _one_group(B, C, axes=3)
    y, state = _selective_scan(
        _channels_first(u),
        _channels_first(dt),
        _tensor(A),
        _channels_first(B),
        _channels_first(C),
        D=_tensor(D),
        z=_channels_first(z),
        delta_bias=_tensor(dt_bias),
        delta_softplus=dt_softplus,
        return_last_state=True,
    )
    return _array(y.transpose(1, 2), u), _state(state)


def selective_scan_step(
    u: np.ndarray,
    dt: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    state: np.ndarray,
    *,
    D: np.ndarray | None = None,
    z: np.ndarray | None = None,
    dt_bias: np.ndarray | None = None,
    dt_softplus: bool = False,
    slots: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.mamba1.selective_scan_step`.

    ``mamba_selective_state_update``.
    """
    lacks("slots in mamba_selective_state_update", slots)
    _one_group(B, C, axes=2)
    arrays = (state, u, dt, A, B, C, D)
    h, *arguments = (_tensor(array) for array in arrays)
    y = _selective_update(
        h, *arguments, dt_bias=_tensor(dt_bias), dt_softplus=dt_softplus, z=_tensor(z)
    )
    return _array(y, u), _state(h)


def ssd(
    x: np.ndarray,
    dt: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    *,
    D: np.ndarray | None = None,
    z: np.ndarray | None = None,
    dt_bias: np.ndarray | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    initial_state: np.ndarray | None = None,
    cu_seqlens: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.mamba2.ssd`; ``mamba2_chunk_scan``."""
    lacks("gate in mamba2_chunk_scan, which ignores z", z)
    lacks("packed sequences in mamba2_chunk_scan", cu_seqlens)
    lacks("D per head and dimension", D is not None and D.ndim == 2)
    y, state = _chunk_scan(
        *(_tensor(array) for array in (x, dt, A, B, C)),
        CHUNK_SIZE,
        D=_tensor(D),
        dt_bias=_tensor(dt_bias),
        initial_states=_tensor(initial_state),
        dt_softplus=dt_softplus,
        dt_limit=dt_limit,
        return_final_states=True,
    )
    return _array(y, x), _state(state)


def ssd_step(
    x: np.ndarray,
    dt: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    state: np.ndarray,
    *,
    D: np.ndarray | None = None,
    z: np.ndarray | None = None,
    dt_bias: np.ndarray | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    slots: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.mamba2.ssd_step`; ``mamba2_selective_state_update``.

    The library spreads what is one number per head over headdim and state itself.
    """
    lacks("slots in mamba2_selective_state_update", slots)
    lacks("dt_limit in decoding", dt_limit != (0.0, math.inf))
    _, heads, headdim, size = state.shape
    h = _tensor(state)
    y = _chunk_update(
        h,
        _tensor(x),
        _tensor(dt)[:, :, None].expand(-1, -1, headdim),
        _tensor(A)[:, None, None].expand(heads, headdim, size),
        _tensor(B),
        _tensor(C),
        _per_dimension(D, headdim),
        dt_bias=_per_dimension(dt_bias, headdim),
        dt_softplus=dt_softplus,
        z=_tensor(z),
    )
    return _array(y, x), _state(h)


def _one_group(*projections: np.ndarray, axes: int) -> None:
    """Refuse B or C unless it is (batch, [length,] state)."""
    several = any(X.ndim > axes for X in projections)
    lacks("groups of B and C in Mamba-1", several)
    constant = any(X.ndim < axes for X in projections)
    lacks("B and C that are constant", constant)


def _tensor(array: np.ndarray | None) -> Any:
    """Return a copy, so that updates in place stay unseen."""
    if array is None:
        return None
    if array.dtype.name == "bfloat16":  # of ml_dtypes, which torch does not know
        return torch.tensor(array.view(np.int16)).view(torch.bfloat16)
    other = array.dtype.name not in ("float32", "float16")
    lacks(f"{array.dtype}: it computes the states of Mamba in float32", other)
    return torch.tensor(array)


def _channels_first(array: np.ndarray | None) -> Any:
    return None if array is None else _tensor(array).transpose(1, 2)


def _per_dimension(array: np.ndarray | None, headdim: int) -> Any:
    if array is None or array.ndim == 2:
        return _tensor(array)
    return _tensor(array)[:, None].expand(-1, headdim)


def _state(tensor: Any) -> np.ndarray:
    return tensor.float().numpy()


def _array(tensor: Any, like: np.ndarray) -> np.ndarray:
    """Return y in the dtype of the input."""
    return tensor.float().numpy().astype(like.dtype)
