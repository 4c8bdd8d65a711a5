"""The official kernels, where installed: mamba_ssm, causal_conv1d; torch's attention.

Each function takes the arguments of the op as arrays of CuPy and returns a call that
returns tensors by the names of the op's outputs. Layouts that a kernel wants are made
before, so that only the kernel is timed. Steps change the state that they get.
"""

import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from ssmref.bench.contender import UnavailableError

from .._cupy import cupy

Arguments = Mapping[str, Any]
Call = Callable[[], dict[str, Any]]


def selective_scan(a: Arguments) -> Call:
    """``selective_scan_fn``, CUDA, on (batch, channels, length)."""
    function = _found("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    u, dt, B, C, z = (_tensor(a.get(name), 1, 2) for name in ("u", "dt", "B", "C", "z"))
    A, D, bias = (_tensor(a.get(name)) for name in ("A", "D", "dt_bias"))
    options = {"delta_bias": bias, "delta_softplus": a.get("dt_softplus", False)}

    def call() -> dict[str, Any]:
        y, state = function(u, dt, A, B, C, D=D, z=z, **options, return_last_state=True)
        return {"y": y.movedim(-1, 1), "final_state": state}

    return call


def selective_scan_step(a: Arguments) -> Call:
    """``selective_state_update``, Triton."""
    function, names = _update(), ("u", "dt", "A", "B", "C")
    options = {name: _tensor(a.get(name)) for name in ("D", "z", "dt_bias")}
    return _stepping(function, a, [_tensor(a[name]) for name in names], options)


def ssd(a: Arguments) -> Call:
    """``mamba_chunk_scan_combined``, Triton, in the chunks of Mamba-2's layers."""
    module = _found("mamba_ssm.ops.triton.ssd_combined")
    arrays = [_tensor(a[name]) for name in ("x", "dt", "A", "B", "C")]
    options = {name: _tensor(a.get(name)) for name in ("D", "z", "dt_bias")}
    options |= {"chunk_size": 256, "dt_softplus": a.get("dt_softplus", False)}

    def call() -> dict[str, Any]:
        y, state = module.mamba_chunk_scan_combined(
            *arrays, **options, return_final_states=True
        )
        return {"y": y, "final_state": state}

    return call


def ssd_step(a: Arguments) -> Call:
    """``selective_state_update``, Triton, with what heads share not copied."""
    function = _update()
    x, dt, A, B, C = (_tensor(a[name]) for name in ("x", "dt", "A", "B", "C"))
    headdim, state = a["state"].shape[2:]
    wide = dt[..., None].expand(*dt.shape, headdim)
    rates = A[:, None, None].expand(-1, headdim, state)
    options = {
        name: _tensor(a[name])[:, None].expand(-1, headdim)
        for name in ("D", "dt_bias")
        if a.get(name) is not None
    }
    return _stepping(function, a, [x, wide, rates, B, C], options)


def siso(a: Arguments) -> Call:
    """``mamba3_siso_combined``, Triton, with A dt made before."""
    module = _found("mamba_ssm.ops.triton.mamba3.mamba3_siso_combined")
    names = ("C_bias", "B_bias", "angles", "D", "z")
    C, B, x, *options = (_tensor(a.get(name)) for name in ("C", "B", "x", *names))
    dt, A, trap = (_tensor(a[name], 1, 2) for name in ("dt", "A", "trap"))
    dt = dt.float()
    arrays = (C, B, x, A.float() * dt, dt, trap, *options)

    def call() -> dict[str, Any]:
        found = module.mamba3_siso_combined(*arrays, return_final_states=True)
        y, angle, ssm, k, v = found
        state = {"angle": angle, "ssm": ssm, "k": k[:, None], "v": v}
        return {"y": y} | {f"final_state.{name}": part for name, part in state.items()}

    return call


def _update() -> Callable:
    return _found("mamba_ssm.ops.triton.selective_state_update").selective_state_update


def _stepping(
    function: Callable, a: Arguments, arrays: list[Any], options: dict[str, Any]
) -> Call:
    state = _tensor(a["state"]).clone()
    softplus = a.get("dt_softplus", False)

    def call() -> dict[str, Any]:
        y = function(state, *arrays, **options, dt_softplus=softplus)
        return {"y": y, "final_state": state}

    return call


def causal_conv1d(a: Arguments) -> Call:
    """``causal_conv1d_fn``, CUDA, on the layout of the op."""
    function = _found("causal_conv1d").causal_conv1d_fn
    x = _tensor(a["x"]).movedim(1, 2)
    weight, bias = _tensor(a["weight"]), _tensor(a.get("bias"))

    def call() -> dict[str, Any]:
        y, state = function(
            x, weight, bias, return_final_states=True, activation=a.get("activation")
        )
        return {"y": y.movedim(-1, 1), "final_state": state.movedim(-1, 1)}

    return call


def causal_conv1d_step(a: Arguments) -> Call:
    """``causal_conv1d_update``, CUDA, on (batch, channels, window)."""
    function = _found("causal_conv1d").causal_conv1d_update
    x, state = _tensor(a["x"]), _tensor(a["state"], 1, 2).to(_tensor(a["x"]).dtype)
    weight, bias = _tensor(a["weight"]), _tensor(a.get("bias"))

    def call() -> dict[str, Any]:
        y = function(x, state, weight, bias, activation=a.get("activation"))
        return {"y": y, "final_state": state.movedim(-1, 1)}

    return call


def rms_norm(a: Arguments) -> Call:
    """``rms_norm_fn``, Triton."""
    module = _found("mamba_ssm.ops.triton.layer_norm")
    x, weight = _tensor(a["x"]), _tensor(a["weight"])
    return lambda: {"y": module.rms_norm_fn(x, weight, None, eps=1e-5)}


def rms_norm_gated(a: Arguments) -> Call:
    """``rmsnorm_fn``, Triton."""
    module = _found("mamba_ssm.ops.triton.layernorm_gated")
    x, weight, z = (_tensor(a[name]) for name in ("x", "weight", "z"))
    options = {"norm_before_gate": False, "eps": 1e-5}
    return lambda: {"y": module.rmsnorm_fn(x, weight, None, z=z, **options)}


def attention(a: Arguments) -> Call:
    """``scaled_dot_product_attention``: y without a cache."""
    function = _attention_of_torch(a)
    q, k, v = (_tensor(a[name]).transpose(1, 2) for name in "qkv")
    options = {"is_causal": True, "scale": a.get("scale")}

    def call() -> dict[str, Any]:
        return {"y": function(q, k, v, **options).transpose(1, 2)}

    return call


def attention_step(a: Arguments) -> Call:
    """``scaled_dot_product_attention``, behind a cache of its dtype with a free row."""
    function, torch = _attention_of_torch(a), import_module("torch")
    q, k, v = (_tensor(a[name])[:, :, None] for name in "qkv")
    old = [_tensor(part).transpose(1, 2).to(q.dtype) for part in a["state"]]
    keys, values = (torch.cat(two, 2) for two in zip(old, (k, v), strict=True))
    options = {"scale": a.get("scale")}

    def call() -> dict[str, Any]:
        keys[:, :, -1:], values[:, :, -1:] = k, v
        return {"y": function(q, keys, values, **options)[:, :, 0]}

    return call


def _attention_of_torch(a: Arguments) -> Callable:
    """Return torch's function, if it does what the arguments ask for."""
    function = _found("torch.nn.functional").scaled_dot_product_attention
    names = ("rotary_dim", "cu_seqlens", "initial_state")
    if any(a.get(name) is not None for name in names):
        raise UnavailableError(f"torch has none of {', '.join(names)}")
    if a["q"].shape[-2] != a["k"].shape[-2]:
        raise UnavailableError("torch would copy keys to each query head")
    return function


OFFICIAL: dict[str, dict[str, Callable[[Arguments], Call]]] = {
    "mamba1.selective_scan": {"mamba_ssm": selective_scan},
    "mamba1.selective_scan_step": {"mamba_ssm triton": selective_scan_step},
    "mamba2.ssd": {"mamba_ssm triton": ssd},
    "mamba2.ssd_step": {"mamba_ssm triton": ssd_step},
    "mamba3.siso": {"mamba_ssm triton": siso},
    "attention.attention": {"torch sdpa": attention},
    "attention.attention_step": {"torch sdpa": attention_step},
    "layers.causal_conv1d": {"causal_conv1d": causal_conv1d},
    "layers.causal_conv1d_step": {"causal_conv1d": causal_conv1d_step},
    "layers.rms_norm": {"mamba_ssm triton": rms_norm},
    "layers.rms_norm_gated": {"mamba_ssm triton": rms_norm_gated},
}


@cache
def _found(name: str) -> ModuleType:
    """Import a module of a package, or raise UnavailableError."""
    package = name.partition(".")[0]
    for needed in ("torch", package):
        if find_spec(needed) is None:
            raise UnavailableError(f"{needed} is not installed")
    if package == "mamba_ssm":
        _leave_out_init(package)
    try:
        _use_our_stream()
        return import_module(name)
    except Exception as error:  # extensions that were built for other versions
        kind = type(error).__name__
        raise UnavailableError(f"cannot import {name}: {kind}: {error}") from error


def _leave_out_init(name: str) -> None:
    """Make the modules of a package importable without its ``__init__``.

    That of mamba_ssm imports all models and transformers.
    """
    if name not in sys.modules:
        spec, package = find_spec(name), ModuleType(name)
        package.__spec__ = spec
        package.__path__ = list((spec and spec.submodule_search_locations) or ())
        sys.modules[name] = package


def _use_our_stream() -> None:
    """Let torch launch on the current stream of CuPy."""
    torch = import_module("torch")
    pointer = cupy().cuda.get_current_stream().ptr
    torch.cuda.set_stream(torch.cuda.ExternalStream(pointer))


def _tensor(array: Any, *swapped: int) -> Any:
    """Return an array as a tensor on the same memory, or a copy with swapped axes."""
    if array is None:
        return None
    torch = import_module("torch")
    if array.dtype.name == "bfloat16":
        made = torch.from_dlpack(array.view(np.int16)).view(torch.bfloat16)
    else:
        made = torch.from_dlpack(array)
    return made.transpose(*swapped).contiguous() if swapped else made
