# Where PyTorch is not installed, its name means torch.py of this folder to a checker.
# pyright: reportAttributeAccessIssue=false
"""mambapy (mamba.py): the selective scan of its block, by its parallel scan."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from mambapy.mamba import MambaBlock

from ...conformance.arrays import converter, to_numpy
from ..contender import Contender, Outputs

_tensor = converter("torch")


def prepare(arguments: Mapping[str, Any]) -> Callable[[], torch.Tensor]:
    """Return the method of the block, which uses nothing of the block."""
    tensors = [_tensor(arguments[name]) for name in ("u", "dt", "A", "B", "C", "D")]
    return lambda: MambaBlock.selective_scan(None, *tensors)


def _y(result: torch.Tensor) -> Outputs:
    return {"y": to_numpy(result)}


def _workspace(*, batch: int, length: int, channels: int, state: int) -> float:
    """Decays, drives and states, and transposed copies padded to a power of 2."""
    padded = 2 ** (length - 1).bit_length()
    return batch * channels * state * (3 * length + 4 * padded)


CONTENDERS = (
    Contender("peer:mambapy:pscan", "mamba1.selective_scan", prepare, _y, _workspace),
)
