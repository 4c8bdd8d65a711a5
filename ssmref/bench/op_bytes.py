"""What an op takes in memory, by its sizes: inputs, outputs, state, workspace.

Inputs are counted from their shapes; results are what `costs` counts beyond them: every
number that enters or leaves, once. States are part of the results and counted here.
"""

import numpy as np

from .costs import CHUNK, mamba3_state
from .workloads import Workload

# Of `ssmref.cpu`, per thread: buffers of a tile of the scan, blocks of attention, and
# of chunked forms a chunk with the states of so many heads. Besides, a few rows of
# channels of the scan, and positions of tokens of attention.
_TILE, _ONLINE_SOFTMAX, _POSITION = 51 * 1024, 100 * 1024, 8
_HEADS = {"mamba2.ssd": 8, "mamba3.siso": 4, "mamba3.mimo": 4}


def op_bytes(workload: Workload, dtype: np.dtype, threads: int = 1) -> dict[str, int]:
    """Return the bytes of each part for `ssmref.cpu` with so many threads."""
    inputs, size = workload.input_bytes(dtype), dtype.itemsize
    results = round(workload.cost.elements) * size - inputs
    state = state_numbers(workload.op, **workload.sizes) * size
    return {
        "inputs": inputs,
        "outputs": results - state,
        "state": state,
        "workspace": _workspace(workload, size, threads),
    }


def state_numbers(op: str, **sizes: int) -> int:
    """Return how many real numbers the state has that a call returns."""
    model, batch = op.removesuffix("_step"), sizes["batch"]
    modes = sizes.get("channels", 0) * sizes.get("state", 0)
    if model == "mamba1.selective_scan":
        return batch * modes
    if model == "mamba2.ssd":
        return batch * sizes["heads"] * sizes["headdim"] * sizes["state"]
    if model in ("mamba3.siso", "mamba3.mimo"):
        names = ("batch", "heads", "headdim", "state", "angles")
        own = {name: sizes[name] for name in names}
        return mamba3_state(**own, ranks=sizes.get("ranks", 1))
    if model == "attention.attention":
        tokens = sizes["length"] if "length" in sizes else sizes["cached"] + 1
        return 2 * batch * tokens * sizes["heads"] * sizes["headdim"]
    if model == "layers.causal_conv1d":
        return batch * (sizes["width"] - 1) * sizes["channels"]
    if model in ("s4.s4", "s4d.s4d"):
        return 2 * batch * modes
    if model == "s5.s5":
        return 2 * batch * sizes["state"]
    if model == "h3.h3":
        return batch * sizes["heads"] * (2 * sizes["state"] + sizes["taps"])
    return 0


def _workspace(workload: Workload, size: int, threads: int) -> int:
    """Return what `ssmref.cpu` holds besides its results, as its modules say."""
    sizes, model = workload.sizes, workload.op.removesuffix("_step")
    if model == "mamba1.selective_scan":
        return threads * _TILE + 5 * sizes["channels"] * size
    if model == "attention.attention":
        return threads * _ONLINE_SOFTMAX + _POSITION * sizes.get("length", 1)
    if workload.is_step or model not in _HEADS:
        return 0
    heads = min(_HEADS[model], -(-sizes["heads"] // threads))
    states = heads * sizes["headdim"] * sizes["state"]
    chunk = CHUNK * (CHUNK + sizes["state"] + 2 * sizes["headdim"])
    # Mamba-3 keeps the states that a sequence begins with beside those it ends with.
    given = 0 if model == "mamba2.ssd" else state_numbers(model, **sizes)
    return (threads * (chunk + states) + given) * size
