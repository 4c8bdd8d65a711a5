"""The way to CuPy and to a GPU: one clear sentence where either is missing."""

import functools
from types import ModuleType

INSTALL = "pip install 'ssmref[gpu]' for CUDA 12, 'ssmref[gpu-cuda13]' for CUDA 13"


@functools.cache
def cupy() -> ModuleType:
    """Import CuPy, or raise ImportError that says how to install it."""
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            f"ssmref.gpu needs CuPy, which is not installed: {INSTALL}, on a machine "
            "with an NVIDIA GPU"
        ) from error
    return cupy


@functools.cache
def device_count() -> int:
    """Return how many GPUs there are; raise RuntimeError where there is none."""
    runtime = cupy().cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise RuntimeError(f"ssmref.gpu needs an NVIDIA GPU: {error}") from error
    if count == 0:
        raise RuntimeError("ssmref.gpu needs an NVIDIA GPU; CuPy finds none")
    return count


@functools.cache
def limit(device: int, attribute: str) -> int:
    """Return an attribute of a device by CuPy's name, as ``MultiProcessorCount``."""
    return cupy().cuda.Device(device).attributes[attribute]
