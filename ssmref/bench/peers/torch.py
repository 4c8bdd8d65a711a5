# Where PyTorch is not installed, its name means torch.py of this folder to a checker.
# pyright: reportAttributeAccessIssue=false
"""PyTorch: its attention and convolution, and the formulations that people write in it.

The scan is the plain loop over tokens, as in the reference of state-spaces/mamba
(``selective_scan_ref``); SSD is the chunked form of the Mamba-2 paper (arXiv
2405.21060, listing 1) by einsums, which needs lengths in multiples of the chunk.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ...conformance.arrays import converter, to_numpy
from ..contender import Contender, Outputs

CHUNK = 64
_tensor = converter("torch")


def _y(result: torch.Tensor) -> Outputs:
    return {"y": to_numpy(result)}


def _y_and_state(result: tuple[torch.Tensor, torch.Tensor]) -> Outputs:
    y, state = result
    return {"y": to_numpy(y), "final_state": to_numpy(state)}


def _tensors(arguments: Mapping[str, Any], *names: str) -> list[torch.Tensor]:
    return [_tensor(np.ascontiguousarray(arguments[name])) for name in names]


def prepare_loop(arguments: Mapping[str, Any]) -> Callable[[], Any]:
    """Return the selective scan, token by token."""
    u, dt, A, B, C, D = _tensors(arguments, "u", "dt", "A", "B", "C", "D")
    return lambda: selective_scan_loop(u, dt, A, B, C, D)


def selective_scan_loop(u, dt, A, B, C, D):
    """Discretise all tokens at once, then run the recurrence over them."""
    decay = torch.exp(dt[..., None] * A)
    drive = (dt * u)[..., None] * B[:, :, None]
    h = u.new_zeros(u.shape[0], *A.shape)
    rows = []
    for t in range(u.shape[1]):
        h = decay[:, t] * h + drive[:, t]
        rows.append(torch.einsum("bdn,bn->bd", h, C[:, t]))
    return torch.stack(rows, dim=1) + D * u, h


def prepare_ssd(arguments: Mapping[str, Any]) -> Callable[[], Any]:
    """Return SSD in chunks, padded to a multiple of them where it has to be."""
    x, dt, A, B, C, D = _tensors(arguments, "x", "dt", "A", "B", "C", "D")
    return lambda: ssd_chunked(x, dt, A, B, C, D)


def ssd_chunked(x, dt, A, B, C, D):
    """Compute inside of chunks, their states, the states between them, their outputs.

    Heads of a group share B and C by expansion, as in the listing of the paper.
    """
    batch, length, heads, _ = x.shape
    missing = -length % CHUNK
    log_decay, drive = dt * A, dt[..., None] * x
    B, C = (M.repeat_interleave(heads // M.shape[2], dim=2) for M in (B, C))
    drive, B, C = (_chunks(M, missing) for M in (drive, B, C))
    total = _chunks(log_decay, missing).permute(0, 3, 1, 2).cumsum(-1)
    inside = torch.exp(_differences(total))
    y = torch.einsum("bclhn,bcshn,bhcls,bcshp->bclhp", C, B, inside, drive)
    to_end = torch.exp(total[..., -1:] - total)
    states = torch.einsum("bclhn,bhcl,bclhp->bchpn", B, to_end, drive)
    states = torch.cat([torch.zeros_like(states[:, :1]), states], dim=1)
    ends = torch.nn.functional.pad(total[..., -1], (1, 0)).cumsum(-1)
    states = torch.einsum("bhzc,bchpn->bzhpn", torch.exp(_differences(ends)), states)
    y = y + torch.einsum("bclhn,bchpn,bhcl->bclhp", C, states[:, :-1], total.exp())
    y = y.reshape(batch, length + missing, heads, -1)[:, :length]
    return y + D[:, None] * x, states[:, -1]


def _chunks(M: torch.Tensor, missing: int) -> torch.Tensor:
    """Split time into chunks, after zeros at its end: they neither decay nor drive."""
    if missing:
        M = torch.cat([M, M.new_zeros(M.shape[0], missing, *M.shape[2:])], dim=1)
    return M.unflatten(1, (-1, CHUNK))


def _differences(total: torch.Tensor) -> torch.Tensor:
    """Return ``total[t] - total[s]`` for s <= t, minus infinity above."""
    table = total[..., :, None] - total[..., None, :]
    past = torch.ones(table.shape[-2:], dtype=torch.bool).tril()
    return table.masked_fill(~past, float("-inf"))


def prepare_attention(arguments: Mapping[str, Any]) -> Callable[[], Any]:
    """Return causal attention; its heads stand before time, as the library wants."""
    q, k, v = (M.transpose(1, 2).contiguous() for M in _tensors(arguments, *"qkv"))
    attention = torch.nn.functional.scaled_dot_product_attention
    return lambda: attention(q, k, v, is_causal=True)


def _y_of_attention(result: torch.Tensor) -> Outputs:
    return {"y": to_numpy(result.transpose(1, 2).contiguous())}


def prepare_convolution(arguments: Mapping[str, Any]) -> Callable[[], Any]:
    """Return the depthwise convolution; its channels stand before time."""
    x, weight, bias = _tensors(arguments, "x", "weight", "bias")
    x, width = x.transpose(1, 2).contiguous(), weight.shape[1]
    weight = weight[:, None]

    def call() -> torch.Tensor:
        y = torch.nn.functional.conv1d(
            x, weight, bias, padding=width - 1, groups=len(weight)
        )
        return torch.nn.functional.silu(y[..., : x.shape[2]])

    return call


def _y_of_convolution(result: torch.Tensor) -> Outputs:
    return {"y": to_numpy(result.transpose(1, 2).contiguous())}


def prepare_norm(arguments: Mapping[str, Any]) -> Callable[[], Any]:
    """Return the RMS norm, gated where there is a gate."""
    x, weight = _tensors(arguments, "x", "weight")
    gate = _tensors(arguments, "z")[0] if "z" in arguments else None
    norm, silu = torch.nn.functional.rms_norm, torch.nn.functional.silu
    if gate is None:
        return lambda: norm(x, weight.shape, weight, eps=1e-5)
    return lambda: norm(x * silu(gate), weight.shape, weight, eps=1e-5)


def prepare_scan_step(arguments: Mapping[str, Any]) -> Callable[[], Any]:
    """Return one token of the selective scan."""
    names = ("u", "dt", "A", "B", "C", "state", "D")
    u, dt, A, B, C, state, D = _tensors(arguments, *names)

    def call() -> tuple[torch.Tensor, torch.Tensor]:
        decay = torch.exp(dt[..., None] * A)
        h = decay * state + (dt * u)[..., None] * B[:, None]
        return torch.einsum("bdn,bn->bd", h, C) + D * u, h

    return call


def prepare_ssd_step(arguments: Mapping[str, Any]) -> Callable[[], Any]:
    """Return one token of SSD with one group."""
    names = ("x", "dt", "A", "B", "C", "state", "D")
    x, dt, A, B, C, state, D = _tensors(arguments, *names)

    def call() -> tuple[torch.Tensor, torch.Tensor]:
        decay = torch.exp(dt * A)[..., None, None]
        h = decay * state + (dt[..., None] * x)[..., None] * B[:, :, None]
        return torch.einsum("bhpn,bgn->bhp", h, C) + D[:, None] * x, h

    return call


def _loop_workspace(*, batch: int, length: int, channels: int, state: int) -> float:
    return 3 * batch * length * channels * state


def _ssd_workspace(
    *, batch: int, length: int, heads: int, headdim: int, state: int, **_: int
) -> float:
    chunks = length / CHUNK
    tables = 4 * batch * heads * length * CHUNK + 2 * batch * heads * chunks**2
    return tables + batch * length * heads * (4 * state + 4 * headdim)


def _once(*, batch: int, length: int, channels: int, **_: int) -> float:
    return 3 * batch * length * channels


CONTENDERS = (
    Contender(
        "peer:torch:loop",
        "mamba1.selective_scan",
        prepare_loop,
        _y_and_state,
        _loop_workspace,
    ),
    Contender(
        *("peer:torch:ssd_minimal", "mamba2.ssd", prepare_ssd, _y_and_state),
        workspace=_ssd_workspace,
        note="einsums in chunks of 64",
    ),
    Contender(
        *("peer:torch:sdpa", "attention.attention", prepare_attention),
        _y_of_attention,
        note="heads before time, outside of the time",
    ),
    Contender(
        *("peer:torch:conv1d", "layers.causal_conv1d", prepare_convolution),
        *(_y_of_convolution, _once),
        note="channels before time, outside of the time",
    ),
    Contender("peer:torch:rms_norm", "layers.rms_norm", prepare_norm, _y, _once),
    Contender("peer:torch:rms_norm", "layers.rms_norm_gated", prepare_norm, _y, _once),
    Contender(
        *("peer:torch:eager", "mamba1.selective_scan_step"),
        *(prepare_scan_step, _y_and_state),
    ),
    Contender("peer:torch:eager", "mamba2.ssd_step", prepare_ssd_step, _y_and_state),
)
