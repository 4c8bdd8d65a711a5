"""All bugs, and what they return."""

import inspect
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from ...ops import Op, implementation
from ..outputs import flatten
from ..precision import is_low, rounded, wide
from .attention import ATTENTION_BUGS
from .blocks import BLOCKS
from .bug import Arguments, Bug, Function
from .cauchy import CAUCHY
from .chunks import CHUNKS
from .convolution import CONVOLUTION
from .drive import DRIVE
from .gates import GATES
from .mamba3 import MAMBA3_BUGS
from .mamba3_output import OUTPUT
from .norms import NORMS
from .pairs import PAIRS
from .parameters import PARAMETERS
from .ranges import RANGES
from .serving import CACHE, CONV_CACHE
from .snapshots import SNAPSHOT
from .stages import STAGES
from .states import STATES
from .structured import STRUCTURED
from .time_step import TIME_STEP

_ALL = (
    *TIME_STEP,
    *DRIVE,
    *GATES,
    *STATES,
    *CHUNKS,
    *CONVOLUTION,
    *NORMS,
    *MAMBA3_BUGS,
    *OUTPUT,
    *STRUCTURED,
    *ATTENTION_BUGS,
    *CONV_CACHE,
    *CACHE,
    *SNAPSHOT,
    *PARAMETERS,
    *STAGES,
    *BLOCKS,
    *CAUCHY,
    *RANGES,
    *PAIRS,
)
BUGS: dict[str, Bug] = {bug.id: bug for bug in _ALL}

# Forms of golden that are faster than the definition and equal to it.
_FAST = {"mamba3.siso": "siso_chunked", "mamba3.mimo": "mimo_chunked"}


def bugs_of(op: str) -> list[Bug]:
    """Return the bugs that an op can have."""
    return [bug for bug in BUGS.values() if op in bug.ops]


@lru_cache
def correct(op: Op) -> Function:
    """Return a correct implementation that remembers its latest results."""
    if op.name in _FAST:
        module = import_module(f"ssmref.golden.{op.module}")
        return _remembering(getattr(module, _FAST[op.name]))
    return _remembering(implementation(op, "ssmref.golden"))


def other(op: Op) -> Function:
    """Return the golden form of an op that rounds least like `correct`."""
    if not op.forms:
        return implementation(op, "ssmref.golden")
    module = import_module(f"ssmref.golden.{op.module}")
    return getattr(module, f"{op.function}_{op.forms[-1]}")


def _remembering(function: Function) -> Function:
    """Remember results by the bytes of the arguments: most bugs change few of them."""
    known: dict[Any, Any] = {}

    def remembered(**arguments: Any) -> Any:
        key = tuple((name, _key(value)) for name, value in arguments.items())
        if key not in known:
            while len(known) >= 256:
                known.pop(next(iter(known)))
            known[key] = function(**arguments)
        return _copied(known[key])

    return remembered


def _key(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_key(part) for part in value)
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, hash(value.tobytes())
    return value


def _copied(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_copied(part) for part in value))
    if isinstance(value, tuple):
        return tuple(_copied(part) for part in value)
    return value.copy()


def visible(bug: Bug, arguments: Arguments) -> bool:
    """Return whether a bug may show with arguments in any precision."""
    low = is_low(first_dtype(arguments))
    return bug.exposes(rounded(arguments, np.dtype(np.float32)) if low else arguments)


def wrong(bugs: Sequence[Bug], function: Function) -> Function:
    """Return an implementation with these bugs, the first one outermost."""
    for bug in reversed(bugs):
        function = bug.wrap(function)
    return function


def behaviour(
    bugs: Sequence[Bug], op: Op, arguments: Arguments, dtype: np.dtype
) -> dict[str, np.ndarray]:
    """Return the outputs that the bugs give for arguments in the precision of `dtype`.

    Raises whatever the bugs raise.
    """
    function = wrong(bugs, correct(op))
    with np.errstate(all="ignore"):
        result = function(**rounded(arguments, wide(dtype)))
    return flatten(op, result)


def stranger(bugs: Sequence[Bug], op: Op, base: Function | None = None) -> Function:
    """Return the bugs as somebody's module would have them: called as golden is.

    In mixed precision it computes in float32 and rounds y. Arguments are not copied.
    """
    names = parameters(op)
    function = wrong(bugs, base or correct(op))

    def candidate(*inputs: Any, **options: Any) -> Any:
        arguments = dict(zip(names, inputs, strict=False)) | options
        given = first_dtype(arguments)
        if is_low(given):
            arguments = rounded(arguments, wide(given))
        with np.errstate(all="ignore"):
            return _y_in(given, op, function(**arguments))

    return candidate


def first_dtype(arguments: Arguments) -> np.dtype:
    """Return the dtype of a case from its first argument."""
    return next(v.dtype for v in arguments.values() if isinstance(v, np.ndarray))


def parameters(op: Op) -> Sequence[str]:
    """Return the names of what golden takes, in order."""
    return list(inspect.signature(implementation(op, "ssmref.golden")).parameters)


def _y_in(dtype: np.dtype, op: Op, result: Any) -> Any:
    """Return a result with y, of all outputs the only one, in a dtype."""
    if "y" not in op.outputs:
        return result
    if not isinstance(result, tuple):
        return result.astype(dtype)
    before, y = result[: op.outputs.index("y")], result[op.outputs.index("y")]
    return *before, y.astype(dtype), *result[len(before) + 1 :]
