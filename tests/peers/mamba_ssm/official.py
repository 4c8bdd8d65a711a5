"""The adapters for mamba_ssm, and what the tests need besides them."""

from importlib.util import find_spec
from typing import Any

import numpy as np
from peers.requirement import keep_apart_from, require

ENVIRONMENT = "peers-mamba-ssm"
PACKAGES = ("torch", "triton", "einops", "mamba_ssm", "causal_conv1d")

keep_apart_from("transformers")
# The adapter comes first where all is there: it prepares the process.
if not all(find_spec(name) for name in PACKAGES):
    for name in PACKAGES:
        _ = require(name, ENVIRONMENT)
references = require("ssmref.conformance.peers.mamba_ssm", ENVIRONMENT)
kernels = require("ssmref.conformance.peers.mamba_ssm_triton", ENVIRONMENT)
torch = require("torch", ENVIRONMENT)
torch.set_num_threads(1)  # the tensors are tiny

combined, mamba3, update = kernels.combined, kernels.mamba3, kernels.update
rotary = require("mamba_ssm.ops.triton.mamba3.mamba3_mimo_rotary_step", ENVIRONMENT)


def ssd_chunk_scan_combined_ref(x, dt, A, B, C, *, chunk_size, **options):
    """It returns no state, and is no adapter's for that."""
    arguments = {name: _maybe_tensor(value) for name, value in options.items()}
    arrays = map(references.tensor, (x, dt, A, B, C))
    y = combined.ssd_chunk_scan_combined_ref(*arrays, chunk_size, **arguments)
    return y.numpy()


def _maybe_tensor(value: Any) -> Any:
    return references.tensor(value) if isinstance(value, np.ndarray) else value
