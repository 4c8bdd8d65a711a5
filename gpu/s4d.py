"""S4D on the GPU: see `ssmref.golden.s4d`."""

from itertools import pairwise

from . import _diagonal as diagonal
from ._arrays import ready
from ._contract import at_least, checked, choose
from ._cupy import cupy
from ._types import Array, Complex, Integer, Real, Wide
from ._vandermonde import discrete, expm1, power_sums
from .convolution import convolve

Sequence = Real[Array, "batch length channels"]
Token = Real[Array, "batch channels"]
PerChannel = Wide[Array, " channels"]
Diagonal = Complex[Array, "channels state"]
State = Complex[Array, "sequences channels state"]
SlotState = Complex[Array, "slots channels state"]
Bounds = Integer[Array, " bounds"]

RULES = {"zoh": "zero_order_hold", "bilinear": "bilinear"}
# Shorter parts of a sequence do not pay for the pass that finds their ends.
SHORTEST = 128


@checked
def s4d(
    u: Sequence,
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    *,
    D: PerChannel | None = None,
    method: str = "zoh",
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, State]:
    """`golden.s4d.s4d`, one token at a time.

    Time is cut where channels and sequences are too few for the GPU.
    """
    system = _system(dt, A, B, C, method)
    return diagonal.scan(u, system, D, initial_state, cu_seqlens, SHORTEST)


@checked
def s4d_step(
    u: Token,
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    state: SlotState,
    *,
    D: PerChannel | None = None,
    method: str = "zoh",
    slots: Integer[Array, " batch"] | None = None,
) -> tuple[Token, SlotState]:
    """`golden.s4d.s4d_step`: states are read and written once."""
    return diagonal.step(u, _system(dt, A, B, C, method), D, state, slots)


@checked
def s4d_convolution(
    u: Sequence,
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    *,
    D: PerChannel | None = None,
    method: str = "zoh",
    initial_state: State | None = None,
    cu_seqlens: Bounds | None = None,
) -> tuple[Sequence, State]:
    """`golden.s4d.s4d_convolution`, sequence by sequence, with one kernel for all.

    The last states are those of the recurrence.
    """
    bounds = [0, u.shape[1]] if cu_seqlens is None else cu_seqlens.tolist()
    longest = max(b - a for a, b in pairwise(bounds))
    kernel = s4d_kernel(dt, A, B, C, longest, method=method)
    more = None
    if initial_state is not None:
        more = _state_response(dt, A, C, initial_state, longest, method)
    u, y = ready(u), cupy().empty(u.shape, u.dtype)
    for row, (first, last) in enumerate(pairwise(bounds)):
        rows = slice(None) if cu_seqlens is None else slice(row, row + 1)
        own = None if more is None else more[rows, :, : last - first]
        part = slice(first, last)
        convolve(u[:, part], kernel[:, : last - first], y[:, part], D, more=own)
    options = {"initial_state": initial_state, "cu_seqlens": cu_seqlens}
    return y, s4d(u, dt, A, B, C, method=method, **options)[1]


@checked
def s4d_kernel(
    dt: PerChannel,
    A: Diagonal,
    B: Diagonal,
    C: Diagonal,
    length: int,
    *,
    method: str = "zoh",
) -> Wide[Array, "channels length"]:
    """`golden.s4d.s4d_kernel`: the Vandermonde product as one of two small factors.

    Method "dss" looks at the sign of Re A, and waits for the GPU.
    """
    at_least("length", length, 0)
    choose("method", method, "zoh", "bilinear", "dss")
    if method == "dss":
        weight, decay = _dss(dt, A, B, C, length)
    else:
        decay, scale = discrete(dt, A, method)
        weight = 2 * C * (scale * B)
    return power_sums(weight, decay, length)


@checked
def s4d_state_response(
    dt: PerChannel,
    A: Diagonal,
    C: Diagonal,
    state: Complex[Array, "batch channels state"],
    length: int,
    *,
    method: str = "zoh",
) -> Wide[Array, "batch length channels"]:
    """`golden.s4d.s4d_state_response`: a kernel for each row of the batch."""
    at_least("length", length, 0)
    choose("method", method, "zoh", "bilinear")
    return ready(_state_response(dt, A, C, state, length, method).swapaxes(1, 2))


def _state_response(dt, A, C, state, length: int, method: str) -> Array:
    """Return the response as (batch, channels, length)."""
    decay, _ = discrete(dt, A, method)
    weight = (2 * C * decay * state).reshape(len(state) * len(A), A.shape[1])
    return power_sums(weight, decay, length).reshape(len(state), len(A), length)


def _dss(dt, A, B, C, length: int) -> tuple[Array, Array]:
    """Return the weights and the decays of the normalised kernel."""
    cp = cupy()
    if bool(cp.any(A.real > 0)):
        raise ValueError("A has real parts above 0; method dss needs them at most 0")
    exponent = dt.astype("float64")[:, None] * A
    x = A * expm1(exponent * length)
    inverse = x.conj() / (cp.abs(x) ** 2 + 1e-7)
    return C * B * expm1(exponent) * inverse, cp.exp(exponent)


def _system(dt, A, B, C, method: str) -> diagonal.System:
    choose("method", method, *RULES)
    planes = diagonal.planes(dt, A, B, C, None, RULES[method])
    return diagonal.System(planes, 0, False, diagonal.diagonal_power(planes))
