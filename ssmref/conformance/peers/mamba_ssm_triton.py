"""The Triton kernels of mamba_ssm, interpreted on the CPU, under the names of golden.

Under judgement is the text of the kernels: the arithmetic that they say, not what a
compiler or a GPU makes of it. Triton's interpreter is changed in three places: the
autotuner takes its first configuration, approximations by PTX instructions become the
functions that they approximate, and products of bfloat16 are taken in float32.
Layouts are translated and nothing else: what a kernel lacks raises
NotImplementedError. An empty sequence would make the kernels write out of bounds. The
sizes that those of Mamba-3 cannot have are filled up by zeros, which change nothing.
"""

import math
from typing import Any

import numpy as np

from ...golden.mamba3 import Mamba3State
from ..arrays import to_numpy
from .mamba_ssm import (
    CHUNK_SIZE,
    ids,
    lacks,
    no_limit,
    ones,
    step_of_channels,
    step_of_heads,
    tensor,
)

# First was the preparation of the process, by the import of the references.
import triton.language as tl  # isort: skip
from mamba_ssm.ops.triton import layer_norm as norms  # isort: skip
from mamba_ssm.ops.triton import layernorm_gated as gated  # isort: skip
from mamba_ssm.ops.triton import selective_state_update as update  # isort: skip
from mamba_ssm.ops.triton import ssd_combined as combined  # isort: skip
from mamba_ssm.ops.triton.mamba3 import mamba3_siso_combined as mamba3  # isort: skip
from mamba_ssm.ops.triton.mamba3 import mamba3_siso_step as mamba3_step  # isort: skip
from triton.runtime.autotuner import Autotuner  # isort: skip
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle  # isort: skip

# Of Mamba-3: of its chunk scan, and the least power of two for headdim and state.
SISO_CHUNK_SIZE = 16
SISO_LEAST = 16
PTX = {"cos.approx.f32": np.cos, "sin.approx.f32": np.sin, "tanh.approx.f32": np.tanh}


class _Result:
    """What a call of inline assembly returns."""

    def __init__(self, handle: Any):
        self.handle = handle

    def get_result(self, _: int) -> Any:
        """Return the only result."""
        return self.handle


def _inline_asm(_builder: Any, assembly: str, _constraints, values, *_) -> _Result:
    (value,) = values
    exact = PTX[assembly.split()[0]](value.data)
    return _Result(TensorHandle(exact.astype(value.data.dtype), value.dtype))


def _dot_of_float32(create_dot: Any) -> Any:
    def dot(builder, a, b, *others):
        return create_dot(builder, _float32(a), _float32(b), *others)

    return dot


def _float32(handle: Any) -> Any:
    """The interpreter keeps bfloat16 as integers and would multiply those."""
    if handle.dtype.scalar != tl.bfloat16:
        return handle
    bits = handle.data.astype(np.uint32) << 16
    return TensorHandle(bits.view(np.float32), tl.float32)


Autotuner._bench = lambda *_, **__: [0.0, 0.0, 0.0]
InterpreterBuilder.create_inline_asm = _inline_asm
InterpreterBuilder.create_dot = _dot_of_float32(InterpreterBuilder.create_dot)


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
    """See `ssmref.golden.mamba1.selective_scan_step`; ``selective_state_update``."""
    options = {"D": D, "z": z, "dt_bias": dt_bias, "dt_softplus": dt_softplus}
    arrays = (u, dt, A, B, C, state)
    return step_of_channels(_update(slots, u), arrays, _completed(options, u))


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
    chunk_size: int = CHUNK_SIZE,
) -> tuple[np.ndarray, np.ndarray]:
    """See `ssmref.golden.mamba2.ssd`; ``mamba_chunk_scan_combined``."""
    _has_tokens(x, cu_seqlens)
    if cu_seqlens is not None:
        lacks("initial state for each packed sequence in Mamba-2", initial_state)
    y, *states = combined.mamba_chunk_scan_combined(
        *map(tensor, (x, dt, A, B, C)),
        chunk_size,
        D=tensor(D),
        z=tensor(z),
        dt_bias=tensor(dt_bias),
        dt_softplus=dt_softplus,
        dt_limit=dt_limit,
        initial_states=tensor(initial_state),
        return_final_states=True,
        **_pack(cu_seqlens),
    )
    return to_numpy(y), to_numpy(states[-1])


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
    """See `ssmref.golden.mamba2.ssd_step`; ``selective_state_update``."""
    no_limit(dt_limit)
    options = {"D": D, "z": z, "dt_bias": dt_bias, "dt_softplus": dt_softplus}
    arrays = (x, dt, A, B, C, state)
    return step_of_heads(_update(slots, x), arrays, _completed(options, x))


def siso(
    x: np.ndarray,
    dt: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    trap: np.ndarray,
    angles: np.ndarray,
    *,
    B_bias: np.ndarray | None = None,
    C_bias: np.ndarray | None = None,
    D: np.ndarray | None = None,
    z: np.ndarray | None = None,
    pairing: str = "pairwise",
    initial_state: Mamba3State | None = None,
    cu_seqlens: np.ndarray | None = None,
    chunk_size: int = SISO_CHUNK_SIZE,
) -> tuple[np.ndarray, Mamba3State]:
    """See `ssmref.golden.mamba3.siso`; behind ``mamba3_siso_combined``.

    That rounds what it gets to bfloat16 and calls the function that is called here.
    """
    _has_tokens(x, cu_seqlens)
    _pairwise(pairing)
    sizes = _Sizes(x, B, angles)
    bounds = None if cu_seqlens is None else cu_seqlens.astype(np.int32)
    start = (None,) * 4 if initial_state is None else sizes.theirs(initial_state)
    y, *state = mamba3._Mamba3Function.apply(
        *(sizes.fill(X, n) for X, n in ((C, "state"), (B, "state"), (x, "headdim"))),
        *(tensor(np.swapaxes(X, 1, 2)) for X in (A * dt, dt, trap)),
        *(sizes.bias(bias) for bias in (C_bias, B_bias)),
        sizes.fill(angles, "angles"),
        tensor(D),
        sizes.fill(z, "headdim"),
        *start,
        tensor(bounds),
        chunk_size,
        True,
    )
    return to_numpy(y)[..., : x.shape[-1]], sizes.golden(state)


def siso_step(
    x: np.ndarray,
    dt: np.ndarray,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    trap: np.ndarray,
    angles: np.ndarray,
    state: Mamba3State,
    *,
    B_bias: np.ndarray | None = None,
    C_bias: np.ndarray | None = None,
    D: np.ndarray | None = None,
    z: np.ndarray | None = None,
    pairing: str = "pairwise",
    slots: np.ndarray | None = None,
) -> tuple[np.ndarray, Mamba3State]:
    """See `ssmref.golden.mamba3.siso_step`; ``mamba3_siso_step``."""
    lacks("slots in mamba3_siso_step", slots)
    _pairwise(pairing)
    sizes = _Sizes(x, B, angles)
    y, after = mamba3_step.mamba3_siso_step(
        *(sizes.fill(X, n) for X, n in ((C, "state"), (B, "state"), (x, "headdim"))),
        *map(tensor, (A * dt, dt, trap)),
        *(sizes.bias(bias) for bias in (C_bias, B_bias)),
        sizes.fill(angles, "angles"),
        tensor(D),
        sizes.fill(z, "headdim"),
        Input_States=sizes.theirs(state),
    )
    return to_numpy(y)[..., : x.shape[-1]], sizes.golden(after)


def rms_norm(
    x: np.ndarray, weight: np.ndarray | None = None, *, eps: float = 1e-5
) -> np.ndarray:
    """See `ssmref.golden.layers.rms_norm`; ``rms_norm_fn``."""
    weight = ones(x) if weight is None else weight
    return to_numpy(norms.rms_norm_fn(tensor(x), tensor(weight), None, eps=eps))


def layer_norm(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    eps: float = 1e-5,
) -> np.ndarray:
    """See `ssmref.golden.layers.layer_norm`; ``layer_norm_fn``."""
    weight = ones(x) if weight is None else weight
    return to_numpy(norms.layer_norm_fn(*map(tensor, (x, weight, bias)), eps=eps))


def rms_norm_gated(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    z: np.ndarray | None = None,
    *,
    eps: float = 1e-5,
    group_size: int | None = None,
    norm_before_gate: bool = False,
) -> np.ndarray:
    """See `ssmref.golden.layers.rms_norm_gated`; ``rmsnorm_fn``."""
    arrays = (x, ones(x) if weight is None else weight, None, z)
    options = {"group_size": group_size, "norm_before_gate": norm_before_gate}
    return to_numpy(gated.rmsnorm_fn(*map(tensor, arrays), eps=eps, **options))


def _has_tokens(x: np.ndarray, cu_seqlens: np.ndarray | None) -> None:
    """Refuse sequences without tokens."""
    empty = cu_seqlens is not None and not np.diff(cu_seqlens).all()
    lacks("empty sequences in its kernels", empty or not x.size)


def _pack(cu_seqlens: np.ndarray | None) -> dict[str, Any]:
    """Return the options of packed sequences: bounds alone would be ignored."""
    if cu_seqlens is None:
        return {}
    return {
        "seq_idx": ids(cu_seqlens),
        "cu_seqlens": tensor(cu_seqlens).int(),
        "return_varlen_states": True,
    }


def _update(slots: np.ndarray | None, x: np.ndarray) -> Any:
    _has_tokens(x, None)

    def function(*arrays, **options):
        indices = {} if slots is None else {"state_batch_indices": tensor(slots)}
        return update.selective_state_update(*arrays, **options, **indices)

    return function


def _completed(options: dict[str, Any], x: np.ndarray) -> dict[str, Any]:
    """Give zeros for D and dt_bias, which the kernel cannot do without."""
    zeros = np.zeros(x.shape[1], np.float32)
    missing = {n: zeros for n in ("D", "dt_bias") if options[n] is None}
    return options | missing


def _pairwise(pairing: str) -> None:
    lacks("other pairing than pairwise in its SISO kernels", pairing != "pairwise")


class _Sizes:
    """The sizes of a call of Mamba-3 and those that its kernels take.

    headdim and state are powers of two there, and the number of angles is even.
    """

    def __init__(self, x: np.ndarray, B: np.ndarray, angles: np.ndarray):
        self.heads, headdim = x.shape[-2:]
        self.ours = {
            "headdim": headdim,
            "state": B.shape[-1],
            "angles": angles.shape[-1],
        }
        self.wide = {
            "headdim": _power_of_two(headdim),
            "state": _power_of_two(B.shape[-1]),
            "angles": max(angles.shape[-1] + angles.shape[-1] % 2, 2),
        }

    def fill(self, array: np.ndarray | None, *axes: str) -> Any:
        """Fill up the last axes, which have these names."""
        if array is None:
            return None
        fill = [(0, self.wide[n] - self.ours[n]) for n in axes]
        return tensor(np.pad(array, [(0, 0)] * (array.ndim - len(axes)) + fill))

    def bias(self, bias: np.ndarray | None) -> Any:
        """Return a bias, which the kernels cannot do without."""
        nothing = np.zeros((self.heads, self.ours["state"]), np.float32)
        return self.fill(nothing if bias is None else bias, "state")

    def theirs(self, state: Mamba3State) -> tuple:
        """Return a state for the kernels, whose k has no axis of ranks."""
        angle, ssm, k, v = state
        return (
            self.fill(angle, "angles"),
            self.fill(ssm, "headdim", "state"),
            self.fill(k[:, 0], "state"),
            self.fill(v, "headdim"),
        )

    def golden(self, parts: Any) -> Mamba3State:
        """Return the state that the kernels give, in our sizes."""
        angle, ssm, k, v = map(to_numpy, parts)
        p, n, s = (self.ours[name] for name in ("headdim", "state", "angles"))
        return Mamba3State(
            angle[..., :s], ssm[..., :p, :n], k[:, None, :, :n], v[..., :p]
        )


def _power_of_two(size: int) -> int:
    return max(SISO_LEAST, 1 << (size - 1).bit_length())
