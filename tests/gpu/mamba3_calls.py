"""Calls of Mamba-3 over time on the GPU, for the tests beside."""

import numpy as np
from emulated import to_device
from judging import device_op, numbers
from ssmref.gpu import _mamba3_scan
from support.mamba3_inputs import initial_state, mimo_example, siso_example

from ssmref.conformance.precision import dtype_of, per_token, rounded
from ssmref.ops import OPS, implementation

SISO = "mamba3.siso"
MIMO = "mamba3.mimo"


def rng():
    return np.random.default_rng(11)


def siso(**sizes):
    return siso_example(rng(), **{"heads": 2, "groups": 1, **sizes})


def mimo(ranks=2, **sizes):
    return mimo_example(rng(), ranks=ranks, **{"heads": 2, "groups": 1, **sizes})


def packed(call, lengths):
    """Return the first row of a call as a pack, each sequence with its own state."""
    one = {
        name: value[:1]
        if name in ("x", "dt", "A", "B", "C", "trap", "angles", "z")
        else value
        for name, value in call.items()
    }
    ranks = call["initial_state"].k.shape[1]
    return one | {
        "cu_seqlens": np.cumsum([0, *lengths]),
        "initial_state": initial_state(rng(), one, ranks, len(lengths)),
    }


def cut(monkeypatch, chunks):
    """Cut sequences in segments of so many chunks."""

    def planned(laid, *_):
        return chunks * laid.tokens

    monkeypatch.setattr(_mamba3_scan, "segment_length", planned)


def distances(op, call, dtype):
    """Return how far each output is from golden, as a part of its size.

    Limits of low precisions are wide for single numbers: a wrong fragment may pass.
    """
    low = rounded(call, dtype_of(dtype), per_token(OPS[op]))
    found = numbers(device_op(op)(**{n: to_device(v) for n, v in low.items()}))
    golden = implementation(OPS[op], "ssmref.golden")
    expected = numbers(golden(**rounded(low, np.dtype(np.float64))))
    found[1], expected[1] = (np.exp(1j * x[1]) for x in (found, expected))
    pairs = zip(found, expected, strict=True)
    return [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs]


# How far products of these dtypes lead, at most, of all numbers together.
NEAR = {"float32": 2**-19, "bfloat16": 2**-7, "float16": 2**-10}
