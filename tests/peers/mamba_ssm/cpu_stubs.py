"""What mamba_ssm and causal_conv1d need in order to run without CUDA.

Their references are PyTorch; their Triton kernels run in Triton's interpreter.
"""

import contextlib
import importlib.util
import os
import sys
import types
from typing import Any

import numpy as np

PTX = {"cos.approx.f32": np.cos, "sin.approx.f32": np.sin, "tanh.approx.f32": np.tanh}


def install() -> None:
    """Prepare this process, before anything imports triton."""
    # Read when triton is imported.
    os.environ["TRITON_INTERPRET"] = "1"
    # Compiled extensions, which an installation without CUDA does not have.
    for name in ("selective_scan_cuda", "causal_conv1d_cuda"):
        sys.modules[name] = types.ModuleType(name)
    # mamba_ssm/__init__.py imports its language models and with them transformers.
    sys.modules["mamba_ssm"] = _without_init("mamba_ssm")
    _patch_torch()
    _patch_triton()


def _without_init(name: str) -> types.ModuleType:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations or ())
    return package


def _patch_torch() -> None:
    import torch

    # Kernels are launched inside ``with torch.cuda.device(tensor.device.index)``.
    torch.cuda.device = lambda *_: contextlib.nullcontext()


def _patch_triton() -> None:
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.interpreter import InterpreterBuilder

    # The autotuner times on a GPU; without times it takes the first configuration.
    Autotuner._bench = lambda *_, **__: [0.0, 0.0, 0.0]
    # PTX approximations of cos, sin and tanh become the functions themselves.
    InterpreterBuilder.create_inline_asm = _inline_asm
    # The interpreter keeps bfloat16 as integers and would multiply those.
    InterpreterBuilder.create_dot = _dot_of_float32(InterpreterBuilder.create_dot)


class _Result:
    def __init__(self, handle: Any):
        self.handle = handle

    def get_result(self, _: int) -> Any:
        return self.handle


def _inline_asm(_builder, assembly: str, _constraints, values, *_) -> _Result:
    from triton.runtime.interpreter import TensorHandle

    (value,) = values
    exact = PTX[assembly.split()[0]](value.data)
    return _Result(TensorHandle(exact.astype(value.data.dtype), value.dtype))


def _dot_of_float32(create_dot):
    def dot(builder, a, b, *others):
        return create_dot(builder, _float32(a), _float32(b), *others)

    return dot


def _float32(handle: Any) -> Any:
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    if handle.dtype.scalar != tl.bfloat16:
        return handle
    bits = handle.data.astype(np.uint32) << 16
    return TensorHandle(bits.view(np.float32), tl.float32)
