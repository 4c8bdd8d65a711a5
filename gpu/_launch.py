"""The way to CuPy: one clear sentence where it is missing."""

from types import ModuleType


def cupy() -> ModuleType:
    """Import CuPy, or raise ImportError that says how to install it."""
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            "ssmref.gpu needs CuPy, which is not installed: "
            "pip install 'ssmref[gpu]' on a machine with an NVIDIA GPU and CUDA 12"
        ) from error
    return cupy
