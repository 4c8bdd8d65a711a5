"""Who is timed: the ops of `ssmref.gpu`, and the official kernels where installed."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from ssmref.bench.contender import Contender, Outputs
from ssmref.conformance.arrays import to_numpy
from ssmref.conformance.outputs import flatten
from ssmref.conformance.precision import MULTIPLYING
from ssmref.ops import OPS

from .._cupy import cupy
from ..precision import tf32
from .official import OFFICIAL

OURS = "ssmref.gpu"
# In the notes of those who multiply float32 as TF32.
IN_TF32 = "in TF32"
# Other algorithms of ours for the same op, by the function's name in its module.
FORMS = {
    "s4d.s4d": (("s4d_convolution", "Fourier transforms"),),
    "s4.s4": (("s4_convolution", "Fourier transforms"),),
}


def contenders(op: str, dtype: np.dtype) -> list[Contender]:
    """Return everybody who may offer an op in a precision; ours first."""
    own, forms = OPS[op], FORMS.get(op, ())
    found = [_ours(op, OURS, own.function, "")]
    found += [_ours(op, f"{OURS} {name}", name, note) for name, note in forms]
    if op in MULTIPLYING and dtype == np.float32:
        found.append(_ours(op, f"{OURS} tf32", own.function, IN_TF32))
    found += [_official(op, name, make) for name, make in OFFICIAL.get(op, {}).items()]
    return [contender for contender in found if contender is not None]


def _ours(op: str, name: str, function: str, note: str) -> Contender | None:
    try:
        module = import_module(f"{OURS}.{OPS[op].module}")
    except ImportError:
        return None
    if (found := getattr(module, function, None)) is None:
        return None
    coarse = note == IN_TF32
    return Contender(
        name,
        op,
        partial(_prepared, partial(_in_tf32, found) if coarse else found),
        partial(flatten, OPS[op]),
        note=note,
        whole_signal=bool(note) and not coarse,
    )


def _in_tf32(function: Callable, **arguments: Any) -> Any:
    with tf32():
        return function(**arguments)


def _prepared(function: Callable, arguments: Mapping[str, Any]) -> Callable[[], Any]:
    return partial(function, **{n: to_device(v) for n, v in arguments.items()})


def _official(op: str, name: str, make: Callable) -> Contender:
    def prepare(arguments: Mapping[str, Any]) -> Callable[[], Any]:
        return make({n: to_device(v) for n, v in arguments.items()})

    return Contender(name, op, prepare, _named)


def _named(result: dict[str, Any]) -> Outputs:
    """Return the outputs on the host; a state may be kept in a low precision."""
    found = {name: to_numpy(value) for name, value in result.items()}
    return {
        name: array if name == "y" or array.itemsize > 2 else array.astype(np.float32)
        for name, array in found.items()
    }


def to_device(value: Any) -> Any:
    """Return arrays of NumPy as CuPy's, also those of a state; all else as it is."""
    if hasattr(value, "_fields"):
        return type(value)(*map(to_device, value))
    return cupy().asarray(value) if isinstance(value, np.ndarray) else value
