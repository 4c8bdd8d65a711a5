"""The references of mamba_ssm and causal_conv1d under the names of golden.

Under judgement are the functions in PyTorch, ``*_ref``, that the authors compare their
kernels with; the kernels are judged by ``mamba_ssm_triton``. Layouts are translated and
nothing else: what a reference lacks raises NotImplementedError.

Importing this prepares the process for a machine without CUDA, so it needs one of its
own: `ssmref verify --peer` is that. Compiled extensions are replaced by empty modules,
and the ``__init__`` of mamba_ssm, which imports transformers, is left out.
"""

import contextlib
import math
import os
import sys
import types
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..arrays import converter, to_numpy
from ..lacking import lacking

lacks = lacking("mamba_ssm")
PACKAGES = ("torch", "triton", "einops", "mamba_ssm", "causal_conv1d")
EXTENSIONS = ("selective_scan_cuda", "causal_conv1d_cuda")
# They compute in float32 whatever comes in.
REFUSED = frozenset({"float64", "complex128"})
# Of the scan of Mamba-2 in chunks.
CHUNK_SIZE = 32


def _prepare() -> None:
    """Make mamba_ssm importable without CUDA."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise ImportError(
            f"the adapter for mamba_ssm needs the packages {', '.join(PACKAGES)}; "
            f"not installed: {', '.join(missing)}"
        )
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        raise ImportError(
            "the adapter for mamba_ssm needs a process that has not imported triton, "
            "or TRITON_INTERPRET=1 in its environment"
        )
    # Read when triton is imported.
    os.environ["TRITON_INTERPRET"] = "1"
    for name in EXTENSIONS:
        _ = sys.modules.setdefault(name, types.ModuleType(name))
    _ = sys.modules.setdefault("mamba_ssm", _without_init("mamba_ssm"))


def _without_init(name: str) -> types.ModuleType:
    spec = find_spec(name)
    package = types.ModuleType(name)
    package.__spec__ = spec
    package.__path__ = list((spec and spec.submodule_search_locations) or ())
    return package


_prepare()

import torch  # noqa: E402
from causal_conv1d import causal_conv1d_interface as conv  # noqa: E402
from causal_conv1d import causal_conv1d_varlen as varlen  # noqa: E402
from mamba_ssm.modules import ssd_minimal as minimal  # noqa: E402
from mamba_ssm.ops import selective_scan_interface as scan  # noqa: E402
from mamba_ssm.ops.triton import layer_norm as norms  # noqa: E402
from mamba_ssm.ops.triton import layernorm_gated as gated  # noqa: E402
from mamba_ssm.ops.triton import selective_state_update as update  # noqa: E402

# Kernels and references are called inside of ``with torch.cuda.device(...)``.
torch.cuda.device = lambda *_: contextlib.nullcontext()


def causal_conv1d(
    x: np.ndarray,
    weight: np.ndarray,
    *,
    bias: np.ndarray | None = None,
    activation: str | None = None,
    initial_state: np.ndarray | None = None,
    cu_seqlens: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.layers.causal_conv1d`; ``causal_conv1d_ref``.

    Of packed sequences the states are by ``causal_conv1d_varlen_states_ref``.
    """
    arrays = (channels_first(x), tensor(weight), tensor(bias))
    if cu_seqlens is None:
        y, state = conv.causal_conv1d_ref(
            *arrays,
            initial_states=channels_first(initial_state),
            return_final_states=True,
            activation=activation,
        )
        return channels_last(y), channels_last(state)
    lacks("packed sequences with initial states in causal_conv1d_ref", initial_state)
    y = conv.causal_conv1d_ref(*arrays, activation=activation, seq_idx=ids(cu_seqlens))
    state = varlen.causal_conv1d_varlen_states_ref(
        tensor(x[0]), tensor(cu_seqlens), weight.shape[1] - 1
    )
    return channels_last(y), channels_last(state)


def causal_conv1d_step(
    x: np.ndarray,
    weight: np.ndarray,
    state: np.ndarray,
    *,
    bias: np.ndarray | None = None,
    activation: str | None = None,
    slots: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.layers.causal_conv1d_step`; ``causal_conv1d_update_ref``."""
    lacks("slots in causal_conv1d_update_ref", slots)
    return _conv1d_step(x, weight, state, bias, activation, None)


def causal_conv1d_step_circular(
    x: np.ndarray,
    weight: np.ndarray,
    state: np.ndarray,
    position: np.ndarray,
    *,
    bias: np.ndarray | None = None,
    activation: str | None = None,
    slots: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.layers.causal_conv1d_step_circular`.

    ``causal_conv1d_update_ref`` with ``cache_seqlens``.
    """
    lacks("slots in causal_conv1d_update_ref", slots)
    return _conv1d_step(x, weight, state, bias, activation, position)


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
    """See `ssmref.golden.mamba1.selective_scan`; ``selective_scan_ref``."""
    lacks("initial state in selective_scan_ref", initial_state)
    lacks("packed sequences in selective_scan_ref", cu_seqlens)
    y, state = scan.selective_scan_ref(
        channels_first(u),
        channels_first(dt),
        tensor(A),
        _projection(B),
        _projection(C),
        D=tensor(D),
        z=channels_first(z),
        delta_bias=tensor(dt_bias),
        delta_softplus=dt_softplus,
        return_last_state=True,
    )
    return channels_last(y), to_numpy(state)


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

    ``selective_state_update_ref``.
    """
    lacks("slots in selective_state_update_ref", slots)
    options = {"D": D, "z": z, "dt_bias": dt_bias, "dt_softplus": dt_softplus}
    function = update.selective_state_update_ref
    return step_of_channels(function, (u, dt, A, B, C, state), options)


def ssd(
    x: np.ndarray,
    dt: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    *,
    initial_state: np.ndarray | None = None,
    chunk_size: int = CHUNK_SIZE,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.mamba2.ssd`; ``ssd_minimal_discrete``, which has no options.

    It wants dt multiplied in, a head's own B and C, and whole chunks.
    """
    heads, length = x.shape[2], x.shape[1]
    fill = [(0, 0), (0, -length % chunk_size)]
    B, C = (np.repeat(X, heads // X.shape[2], axis=2) for X in (B, C))
    arrays = (dt[..., None] * x, dt * A, B, C)
    padded = (np.pad(a, fill + [(0, 0)] * (a.ndim - 2)) for a in arrays)
    start = None if initial_state is None else tensor(initial_state[:, None])
    y, state = minimal.ssd_minimal_discrete(*map(tensor, padded), chunk_size, start)
    return to_numpy(y)[:, :length], to_numpy(state)


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
    """See `ssmref.golden.mamba2.ssd_step`; ``selective_state_update_ref``."""
    lacks("slots in selective_state_update_ref", slots)
    no_limit(dt_limit)
    options = {"D": D, "z": z, "dt_bias": dt_bias, "dt_softplus": dt_softplus}
    function = update.selective_state_update_ref
    return step_of_heads(function, (x, dt, A, B, C, state), options)


def rms_norm(
    x: np.ndarray, weight: np.ndarray | None = None, *, eps: float = 1e-5
) -> np.ndarray:
    """See `ssmref.golden.layers.rms_norm`; ``rms_norm_ref``, which needs a weight."""
    arrays = (tensor(x), tensor(ones(x) if weight is None else weight), None)
    return to_numpy(norms.rms_norm_ref(*arrays, eps=eps, upcast=True))


def layer_norm(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    eps: float = 1e-5,
) -> np.ndarray:
    """See `ssmref.golden.layers.layer_norm`; ``layer_norm_ref``."""
    weight = ones(x) if weight is None else weight
    arrays = map(tensor, (x, weight, bias))
    return to_numpy(norms.layer_norm_ref(*arrays, eps=eps, upcast=True))


def rms_norm_gated(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    z: np.ndarray | None = None,
    *,
    eps: float = 1e-5,
    group_size: int | None = None,
    norm_before_gate: bool = False,
) -> np.ndarray:
    """See `ssmref.golden.layers.rms_norm_gated`; the gated ``rms_norm_ref``."""
    y = gated.rms_norm_ref(
        tensor(x),
        tensor(ones(x) if weight is None else weight),
        None,
        z=tensor(z),
        eps=eps,
        group_size=group_size,
        norm_before_gate=norm_before_gate,
    )
    return to_numpy(y)


def no_limit(dt_limit: tuple[float, float]) -> None:
    """Refuse limits of dt in a step."""
    lacks("dt_limit in decoding", dt_limit != (0.0, math.inf))


def tensor(array: np.ndarray | None) -> Any:
    """Return a copy, so that updates in place stay unseen."""
    if array is None:
        return None
    refused = array.dtype.name in REFUSED
    lacks(f"{array.dtype}: it computes in float32", refused)
    return converter("torch")(np.ascontiguousarray(array)).clone()


def channels_first(array: np.ndarray | None) -> Any:
    """(batch, length, ..., channels) to (batch, ..., channels, length)."""
    return None if array is None else tensor(array).movedim(1, -1)


def channels_last(result: Any) -> np.ndarray:
    """(batch, ..., channels, length) to (batch, length, ..., channels)."""
    return to_numpy(result.movedim(-1, 1))


def ids(cu_seqlens: np.ndarray) -> Any:
    """Return the number of the sequence that each token of a pack belongs to."""
    lengths = np.diff(cu_seqlens)
    return torch.tensor(np.repeat(np.arange(len(lengths)), lengths)[None]).int()


def ones(x: np.ndarray) -> np.ndarray:
    """Return the weight that changes nothing."""
    return np.ones(x.shape[-1], np.float32)


def step_of_channels(
    function: Callable, arrays: tuple[np.ndarray, ...], options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Run a step of Mamba-1: channels are heads of one dimension, to allow groups."""
    u, dt, A, B, C, state = arrays
    lacks("complex numbers in its step", np.iscomplexobj(A))
    B, C = (X if X.ndim == 3 else X[:, None] for X in (B, C))
    h = tensor(state[:, :, None])
    options = {n: _of_one(v) for n, v in options.items()}
    wide = (tensor(X[..., None]) for X in (u, dt))
    y = function(h, *wide, *map(tensor, (A[:, None], B, C)), **options)
    return to_numpy(y)[..., 0], to_numpy(h)[:, :, 0]


def step_of_heads(
    function: Callable, arrays: tuple[np.ndarray, ...], options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Run a step of Mamba-2, with A, dt and the like spread without copies."""
    x, dt, A, B, C, state = arrays
    _, heads, headdim, size = state.shape
    h = tensor(state)
    spread = {n: _spread(options[n], headdim) for n in ("D", "dt_bias")}
    y = function(
        h,
        tensor(x),
        tensor(dt)[:, :, None].expand(-1, -1, headdim),
        tensor(A)[:, None, None].expand(heads, headdim, size),
        tensor(B),
        tensor(C),
        **options | spread | {"z": tensor(options["z"])},
    )
    return to_numpy(y), to_numpy(h)


def _of_one(option: Any) -> Any:
    """Append an axis of headdim 1."""
    array = isinstance(option, np.ndarray)
    return tensor(option[..., None]) if array else option


def _spread(array: np.ndarray | None, headdim: int) -> Any:
    if array is None or array.ndim == 2:
        return tensor(array)
    return tensor(array)[:, None].expand(-1, headdim)


def _projection(X: np.ndarray) -> Any:
    """Constant as it is, else time last; complex numbers then as pairs along time."""
    if X.ndim == 2:
        return tensor(X)
    X = np.ascontiguousarray(np.moveaxis(X, 1, -1))
    return tensor(X.view(np.real(X).dtype) if np.iscomplexobj(X) else X)


def _conv1d_step(
    x: np.ndarray,
    weight: np.ndarray,
    state: np.ndarray,
    bias: np.ndarray | None,
    activation: str | None,
    position: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Run a linear buffer, or a circular one where `position` is given."""
    buffer = channels_first(state)
    y = conv.causal_conv1d_update_ref(
        channels_first(x if x.ndim == 3 else x[:, None]),
        buffer,
        tensor(weight),
        tensor(bias),
        activation=activation,
        cache_seqlens=tensor(position),
    )
    return channels_last(y).reshape(x.shape), channels_last(buffer)
