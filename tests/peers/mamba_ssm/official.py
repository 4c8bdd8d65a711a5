"""The functions of mamba_ssm and causal_conv1d in the layouts of golden.

Each is called like the golden function of the same op, with what it offers of its
options, and returns NumPy arrays in the dtype of the arguments. ``_ref`` is PyTorch.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np
from peers.mamba_ssm import cpu_stubs
from peers.requirement import keep_apart_from, require

from ssmref.golden.mamba3 import Mamba3State

ENVIRONMENT = "peers-mamba-ssm"
PACKAGES = ("torch", "triton", "mamba_ssm", "causal_conv1d")

keep_apart_from("transformers")
if all(find_spec(name) for name in PACKAGES):
    cpu_stubs.install()
torch, *_ = (require(name, ENVIRONMENT) for name in PACKAGES)
torch.set_num_threads(1)  # the tensors are tiny

conv = require("causal_conv1d.causal_conv1d_interface", ENVIRONMENT)
varlen = require("causal_conv1d.causal_conv1d_varlen", ENVIRONMENT)
scan = require("mamba_ssm.ops.selective_scan_interface", ENVIRONMENT)
update = require("mamba_ssm.ops.triton.selective_state_update", ENVIRONMENT)
minimal = require("mamba_ssm.modules.ssd_minimal", ENVIRONMENT)
combined = require("mamba_ssm.ops.triton.ssd_combined", ENVIRONMENT)
gated = require("mamba_ssm.ops.triton.layernorm_gated", ENVIRONMENT)
norms = require("mamba_ssm.ops.triton.layer_norm", ENVIRONMENT)
mamba3 = require("mamba_ssm.ops.triton.mamba3.mamba3_siso_combined", ENVIRONMENT)
mamba3_step = require("mamba_ssm.ops.triton.mamba3.mamba3_siso_step", ENVIRONMENT)
rotary = require("mamba_ssm.ops.triton.mamba3.mamba3_mimo_rotary_step", ENVIRONMENT)


def tensor(array: np.ndarray | None) -> Any:
    return None if array is None else torch.tensor(array)


def channels_first(array: np.ndarray | None) -> Any:
    """(batch, length, ..., channels) to (batch, ..., channels, length)."""
    return None if array is None else tensor(np.moveaxis(array, 1, -1))


def channels_last(result: Any) -> np.ndarray:
    return np.moveaxis(result.numpy(), -1, 1)


def causal_conv1d_ref(x, weight, *, bias=None, activation=None, initial_state=None):
    y, state = conv.causal_conv1d_ref(
        channels_first(x),
        tensor(weight),
        tensor(bias),
        initial_states=channels_first(initial_state),
        return_final_states=True,
        activation=activation,
    )
    return channels_last(y), channels_last(state)


def causal_conv1d_update_ref(
    x, weight, state, position=None, *, bias=None, activation=None
):
    """A linear buffer, or a circular one where `position` is given."""
    buffer = channels_first(state)
    y = conv.causal_conv1d_update_ref(
        channels_first(x) if x.ndim == 3 else tensor(x),
        buffer,
        tensor(weight),
        tensor(bias),
        activation=activation,
        cache_seqlens=tensor(position),
    )
    y = channels_last(y) if x.ndim == 3 else y.numpy()
    return y, channels_last(buffer)


def selective_scan_ref(
    u, dt, A, B, C, *, D=None, z=None, dt_bias=None, dt_softplus=False
):
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
    return channels_last(y), state.numpy()


def _projection(X: np.ndarray) -> Any:
    """Constant as it is, else time last; complex numbers then as pairs along time."""
    if X.ndim == 2:
        return tensor(X)
    X = np.ascontiguousarray(np.moveaxis(X, 1, -1))
    return tensor(X.view(np.finfo(X.dtype).dtype))


def selective_scan_step(function, u, dt, A, B, C, state, **options):
    """Channels are heads of one dimension, so that there may be groups."""
    wide = {"u": u, "dt": dt, "D": None, "dt_bias": None, "z": None} | options
    x, dt, D, dt_bias, z = (
        None if wide[n] is None else wide[n][..., None]
        for n in ("u", "dt", "D", "dt_bias", "z")
    )
    B, C = (X if X.ndim == 3 else X[:, None] for X in (B, C))
    h = tensor(state[:, :, None])
    y = function(
        h,
        *map(tensor, (x, dt, A[:, None], B, C)),
        D=tensor(D),
        z=tensor(z),
        dt_bias=tensor(dt_bias),
        dt_softplus=options.get("dt_softplus", False),
    )
    return y.numpy()[..., 0], h.numpy()[:, :, 0]


def ssd_step(
    function,
    x,
    dt,
    A,
    B,
    C,
    state,
    *,
    D=None,
    z=None,
    dt_bias=None,
    dt_softplus=False,
    slots=None,
):
    """A, dt and their like are spread over headdim and state without copies.

    The kernel cannot do without dt_bias and D.
    """
    _, heads, headdim, size = state.shape
    nothing, h = np.zeros(heads, x.dtype), tensor(state)
    indices = {} if slots is None else {"state_batch_indices": tensor(slots)}
    y = function(
        h,
        tensor(x),
        tensor(dt)[:, :, None].expand(-1, -1, headdim),
        tensor(A)[:, None, None].expand(heads, headdim, size),
        tensor(B),
        tensor(C),
        D=_spread(nothing if D is None else D, headdim),
        z=tensor(z),
        dt_bias=_spread(nothing if dt_bias is None else dt_bias, headdim),
        dt_softplus=dt_softplus,
        **indices,
    )
    return y.numpy(), h.numpy()


def _spread(array: np.ndarray, headdim: int) -> Any:
    if array.ndim == 2:
        return tensor(array)
    return tensor(array)[:, None].expand(-1, headdim)


def ssd_minimal_discrete(x, dt, A, B, C, *, chunk_size, initial_state=None):
    """It wants dt multiplied in, a head's own B and C, and whole chunks."""
    heads, length = x.shape[2], x.shape[1]
    fill = [(0, 0), (0, -length % chunk_size)]
    B, C = (np.repeat(X, heads // X.shape[2], axis=2) for X in (B, C))
    arrays = (dt[..., None] * x, dt * A, B, C)
    padded = (np.pad(a, fill + [(0, 0)] * (a.ndim - 2)) for a in arrays)
    start = None if initial_state is None else tensor(initial_state[:, None])
    y, state = minimal.ssd_minimal_discrete(*map(tensor, padded), chunk_size, start)
    return y.numpy()[:, :length], state.numpy()


def ssd_chunk_scan_combined_ref(x, dt, A, B, C, *, chunk_size, **options):
    arguments = {name: _maybe_tensor(value) for name, value in options.items()}
    y = combined.ssd_chunk_scan_combined_ref(
        *map(tensor, (x, dt, A, B, C)), chunk_size, **arguments
    )
    return y.numpy()


def ssd(x, dt, A, B, C, *, chunk_size=32, initial_state=None, **options):
    arguments = {name: _maybe_tensor(value) for name, value in options.items()}
    results = combined.mamba_chunk_scan_combined(
        *map(tensor, (x, dt, A, B, C)),
        chunk_size,
        initial_states=tensor(initial_state),
        return_final_states=True,
        **arguments,
    )
    return tuple(result.numpy() for result in results)


def _maybe_tensor(value: Any) -> Any:
    return tensor(value) if isinstance(value, np.ndarray) else value


def siso(x, dt, A, B, C, trap, angles, *, cu_seqlens=None, chunk_size=16, **options):
    """The function behind ``mamba3_siso_combined``, which rounds to bfloat16."""
    heads, size = x.shape[2], B.shape[3]
    no_bias = np.zeros((heads, size), x.dtype)
    start = options.get("initial_state")
    bounds = None if cu_seqlens is None else cu_seqlens.astype(np.int32)
    y, *state = mamba3._Mamba3Function.apply(
        *map(tensor, (C, B, x)),
        *map(_time_last, (A * dt, dt, trap)),
        tensor(options.get("C_bias", no_bias)),
        tensor(options.get("B_bias", no_bias)),
        tensor(angles),
        tensor(options.get("D")),
        tensor(options.get("z")),
        *((None,) * 4 if start is None else _mamba3_state(start)),
        tensor(bounds),
        chunk_size,
        True,
    )
    return y.numpy(), _golden_state(state)


def siso_step(x, dt, A, B, C, trap, angles, state, *, D=None, z=None, **biases):
    no_bias = np.zeros((x.shape[1], B.shape[2]), x.dtype)
    y, after = mamba3_step.mamba3_siso_step(
        *map(tensor, (C, B, x, A * dt, dt, trap)),
        tensor(biases.get("C_bias", no_bias)),
        tensor(biases.get("B_bias", no_bias)),
        *map(tensor, (angles, D, z)),
        Input_States=_mamba3_state(state),
    )
    return y.numpy(), _golden_state(after)


def _time_last(array: np.ndarray) -> Any:
    return tensor(np.ascontiguousarray(np.swapaxes(array, 1, 2)))


def _mamba3_state(state: Mamba3State) -> tuple:
    """Their k has no axis of ranks."""
    return tuple(map(tensor, state._replace(k=state.k[:, 0])))


def _golden_state(parts: Any) -> Mamba3State:
    angle, ssm, k, v = (part.numpy() for part in parts)
    return Mamba3State(angle, ssm, k[:, None], v)
