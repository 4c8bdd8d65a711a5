"""What serving does with states on the CPU: see `ssmref.golden.caches`."""

import math
from typing import Any, NamedTuple

import numpy as np

from ..contract import at_least
from ._arguments import checked
from ._state_passing import carry, decays_of, steps_of
from ._types import Integer, Real
from .layers import causal_conv1d, causal_conv1d_step
from .mamba2 import ssd, ssd_step

Tokens = Real[np.ndarray, "batch length channels"]
StepSizes = Real[np.ndarray, "batch length heads"]
PerHead = Real[np.ndarray, " heads"]
PerRow = Integer[np.ndarray, " batch"]
Outputs = Real[np.ndarray, "batch length heads headdim"]


class ServeState(NamedTuple):
    """A pool of states: a slot holds what the next token of one sequence needs."""

    conv: Real[np.ndarray, "slots width-1 channels"]
    ssm: Real[np.ndarray, "slots heads headdim state"]


@checked
def serve(
    xBC: Tokens,
    dt: StepSizes,
    A: PerHead,
    weight: Real[np.ndarray, "channels width"],
    read: PerRow,
    write: PerRow,
    state: ServeState,
    *,
    bias: Real[np.ndarray, " channels"] | None = None,
    D: PerHead | None = None,
    dt_bias: PerHead | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    mask: Integer[np.ndarray, "batch length"] | None = None,
    accepted: PerRow | None = None,
) -> tuple[Outputs, ServeState]:
    """`golden.caches.serve`, all rows as one pack of their real tokens.

    Rejected drafts are a second pack, which starts where the first one ends: each token
    is computed once. Plain decoding, a token for slots that are read and written, is a
    step of each op on the pool.
    """
    real, kept = _tokens(xBC, mask, accepted)
    _check_slots(read, write, len(state.ssm))
    if not len(xBC):
        y = np.zeros((*dt.shape, state.ssm.shape[2]), dt.dtype)
        return y, ServeState(*map(np.copy, state))
    options: dict[str, Any] = {"D": D, "dt_bias": dt_bias, "dt_softplus": dt_softplus}
    layer = _Layer(weight, bias, A, {**options, "dt_limit": dt_limit})
    if _decodes(real, kept, read, write):
        slots = np.where(real[:, 0], write, -1)
        return layer.step(xBC[:, 0], dt[:, 0], state, slots)
    final = ServeState(*(np.array(part, order="C") for part in state))
    early = real & (np.cumsum(real, axis=1) <= kept[:, None])
    y, ends = layer.run(xBC, dt, early, _start(state, read))
    late = real & ~early
    if np.any(late):
        drafts, _ = layer.run(xBC, dt, late, ends)
        y[late] = drafts[late]
    live = write >= 0
    for part, new in zip(final, ends, strict=True):
        part[write[live]] = new if np.all(live) else new[live]
    return y, final


def _decodes(
    real: np.ndarray, kept: np.ndarray, read: np.ndarray, write: np.ndarray
) -> bool:
    """Return whether all rows are a token for a slot of their own, or padding."""
    if real.shape[1] != 1:
        return False
    own = (read == write) & ((write >= 0) | ~real[:, 0])
    return bool(np.all(own & (kept == real[:, 0])))


class _Layer(NamedTuple):
    """A Mamba-2 layer from the input projection to the norm."""

    weight: np.ndarray
    bias: np.ndarray | None
    A: np.ndarray
    options: dict[str, Any]

    def step(
        self, xBC: np.ndarray, dt: np.ndarray, state: ServeState, slots: np.ndarray
    ) -> tuple[np.ndarray, ServeState]:
        """Advance the slots of a pool by a token; a negative one is padding."""
        xBC, conv = causal_conv1d_step(
            *(xBC, self.weight, state.conv),
            bias=self.bias,
            activation="silu",
            slots=slots,
        )
        x, B, C = _split(xBC, state.ssm)
        options = {**self.options, "slots": slots}
        y, ssm = ssd_step(x, dt, self.A, B, C, state.ssm, **options)
        return y[:, None], ServeState(conv, ssm)

    def run(
        self, xBC: np.ndarray, dt: np.ndarray, chosen: np.ndarray, start: ServeState
    ) -> tuple[np.ndarray, ServeState]:
        """Run the chosen tokens; return y, 0 at the others, and where rows end."""
        bounds = np.concatenate([[0], np.cumsum(np.sum(chosen, axis=1))])
        xBC, conv = causal_conv1d(
            _packed(xBC, chosen),
            self.weight,
            bias=self.bias,
            activation="silu",
            initial_state=start.conv,
            cu_seqlens=bounds,
        )
        x, B, C = _split(xBC, start.ssm)
        states: dict[str, Any] = {"initial_state": start.ssm, "cu_seqlens": bounds}
        y, ssm = ssd(x, _packed(dt, chosen), self.A, B, C, **self.options, **states)
        return _unpacked(y, chosen), ServeState(conv, ssm)


def _packed(array: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the chosen tokens of all rows, one after the other."""
    if np.all(chosen):
        return array.reshape(1, chosen.size, *array.shape[2:])
    return array[chosen][None]


def _unpacked(array: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Undo `_packed`, with zeros for the other tokens."""
    shape = *chosen.shape, *array.shape[2:]
    if np.all(chosen):
        return array.reshape(shape)
    rows = np.zeros(shape, array.dtype)
    rows[chosen] = array[0]
    return rows


def _split(xBC: np.ndarray, ssm: np.ndarray) -> tuple[np.ndarray, ...]:
    """Cut channels into x, B and C, with their own axes, to fit the states `ssm`."""
    heads, headdim, state = ssm.shape[1:]
    inner, channels = heads * headdim, xBC.shape[-1]
    groups, rest = divmod(channels - inner, 2 * state)
    if groups < 1 or rest:
        raise ValueError(
            f"xBC has {channels} channels; it needs {inner} + 2 groups {state} for "
            f"{heads} heads of {headdim} and a state of {state}"
        )
    x, B, C = np.split(xBC, (inner, inner + groups * state), axis=-1)
    X = x.reshape(*x.shape[:-1], heads, headdim)
    return X, *(v.reshape(*v.shape[:-1], groups, state) for v in (B, C))


def _tokens(
    xBC: np.ndarray, mask: np.ndarray | None, accepted: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return which tokens are real and how many of them each state keeps."""
    real = np.ones(xBC.shape[:2], bool) if mask is None else mask == 1
    if mask is not None and np.any(~real & (mask != 0)):
        raise ValueError(f"mask has values {np.unique(mask).tolist()}; it needs 0 or 1")
    count = np.sum(real, axis=1)
    kept = count if accepted is None else accepted
    if np.any((kept < 0) | (kept > count)):
        raise ValueError(
            f"accepted is {kept.tolist()}; it needs to be within 0 and the numbers of "
            f"real tokens {count.tolist()}"
        )
    return real, kept


def _check_slots(read: np.ndarray, write: np.ndarray, slots: int) -> None:
    for name, rows in (("read", read.tolist()), ("write", write.tolist())):
        if max(rows, default=-1) >= slots:
            raise ValueError(f"{name} is {rows}; the state has {slots} slots")
    live = [slot for slot in write.tolist() if slot >= 0]
    if len(set(live)) < len(live):
        raise ValueError(f"write is {write.tolist()}; a slot may occur only once")


def _start(state: ServeState, read: np.ndarray) -> ServeState:
    """Return the states that rows read: zeros where negative."""

    def rows(part: np.ndarray) -> np.ndarray:
        if not len(part):
            return np.zeros((len(read), *part.shape[1:]), part.dtype)
        start = part[np.maximum(read, 0)]
        start[read < 0] = 0
        return start

    return ServeState(*map(rows, state))


@checked
@np.errstate(all="ignore")
def snapshots(
    x: Real[np.ndarray, "batch length heads headdim"],
    dt: StepSizes,
    A: PerHead,
    B: Real[np.ndarray, "batch length groups state"],
    cu_seqlens: Integer[np.ndarray, " bounds"],
    position: Integer[np.ndarray, " sequences"],
    *,
    block: int,
    dt_bias: PerHead | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    initial_state: Real[np.ndarray, "sequences heads headdim state"] | None = None,
) -> Real[np.ndarray, "snapshots heads headdim state"]:
    """`golden.caches.snapshots`, all stretches between boundaries at once, from zeros.

    Then the states are passed on from boundary to boundary.
    """
    at_least("block", block, 1)
    at_least("position", min(position.tolist(), default=0), 0)
    stops, counts = _boundaries(cu_seqlens, position, block)
    if initial_state is None:
        shape = (len(position), *x.shape[2:], B.shape[3])
        initial_state = np.zeros(shape, x.dtype)
    if not len(stops):
        return initial_state[:0].copy()
    # Stretches end where a snapshot is taken, and where sequences do.
    bounds = np.unique(np.concatenate([cu_seqlens, stops]))
    ending = np.searchsorted(bounds, stops) - 1
    options = {"dt_bias": dt_bias, "dt_softplus": dt_softplus, "dt_limit": dt_limit}
    # Outputs are not asked for: any C will do.
    _, ends = ssd(x, dt, A, B, B, **options, cu_seqlens=bounds)
    decays = decays_of(steps_of(dt, *options.values())[0] * A, bounds)
    states = ends[ending]
    carry(states, decays[ending], initial_state, np.append(0, np.cumsum(counts)))
    return states


def _boundaries(
    cu_seqlens: np.ndarray, position: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return after how many tokens snapshots are taken, and how many per sequence."""
    passed = position // block
    counts = (position + np.diff(cu_seqlens)) // block - passed
    first = cu_seqlens[:-1] - position + (passed + 1) * block
    nth = np.arange(np.sum(counts)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(first, counts) + nth * block, counts
