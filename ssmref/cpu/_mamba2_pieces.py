"""How a scan of Mamba-2 is divided: chunks, heads of a work item, pieces of time."""

from math import ceil

import numpy as np

from ._arguments import fresh
from ._mamba2_kernels import Call, pass_states, scan
from ._outputs import output
from .toolkit.threads import segments, threads

# Tokens of a chunk: with more, the products inside it cost more than the state; with
# fewer, the sums of products become short.
CHUNK = 48
# Bytes of the states of one work item: they stay in the second-level cache.
STATES = 1 << 18
# What the pass without outputs costs (measured: 0.28 to 0.47, more for larger states),
# and the fewest tokens that are worth a piece.
FIRST_PASS = 0.5
SHORTEST = 4 * CHUNK


def scan_sequences(
    call: Call, bounds: np.ndarray, initial: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs, (tokens, heads, headdim), and the states at the ends."""
    heads, count = division(call, bounds)
    return scan_in_pieces(call, bounds, initial, heads, count)


def division(call: Call, bounds: np.ndarray) -> tuple[int, int]:
    """Return how many heads share a work item, and into how many pieces time is split.

    Heads of a group share their scores; the busiest thread decides.
    """
    groups, state = call.B.shape[1:]
    heads, headdim = call.x.shape[1] // groups, call.x.shape[2]
    longest = int(np.diff(bounds).max(initial=0))
    sequences = ceil(int(bounds[-1]) / longest) if longest else 1
    shared, own = state * CHUNK, headdim * (4 * state + CHUNK)

    def cost(each: int, count: int) -> float:
        items = sequences * groups * ceil(heads / each) * count
        passes = 1.0 if count == 1 else 1.0 + FIRST_PASS
        return ceil(items / threads()) / count * (shared + each * own) * passes

    most = STATES // max(1, state * headdim * call.x.itemsize)
    choices = []
    for each in range(1, max(1, min(heads, most)) + 1):
        rows = sequences * groups * ceil(heads / each)
        count = segments(rows, longest, first_pass=FIRST_PASS, shortest=SHORTEST)
        choices.append((cost(each, count), each, count))
    return min(choices)[1:]


def scan_in_pieces(
    call: Call, bounds: np.ndarray, initial: np.ndarray | None, heads: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """`scan_sequences` with `heads` per work item and every sequence in `count` pieces.

    In a first pass the pieces begin at zero; what they add to the state is passed on,
    and all run once more from their true states.
    """
    shape = (*call.x.shape[1:], call.B.shape[2])
    states = fresh(initial, (len(bounds) - 1, *shape), call.x.dtype)
    pieces = pieces_of(bounds, count)
    if count > 1:
        every = np.zeros((len(pieces), *shape), call.x.dtype)
        every[::count] = states
        _begin(call, pieces, every, heads, count)
        states = every
    y = output(call.x.shape, call.x.dtype)
    _run(call, pieces, states, y, heads)
    return y, states if count == 1 else states[count - 1 :: count].copy()


def pieces_of(bounds: np.ndarray, count: int) -> np.ndarray:
    """Return (start, stop) of `count` pieces per sequence, of whole chunks."""
    start, length = bounds[:-1, None], np.diff(bounds)[:, None]
    each = -(-length // (count * CHUNK)) * CHUNK
    cuts = start + np.minimum(np.arange(count + 1) * each, length)
    return np.stack([cuts[:, :-1], cuts[:, 1:]], axis=2).reshape(-1, 2)


def _begin(
    call: Call, pieces: np.ndarray, states: np.ndarray, heads: int, count: int
) -> None:
    """Fill the states that all pieces begin with; those of the first ones are there."""
    early, last = pieces.copy(), slice(count - 1, None, count)
    early[last, 1] = early[last, 0]
    added = np.zeros_like(states)
    spans = _run(call, early, added, call.x[:0], heads)
    first = np.arange(len(pieces)) % count == 0
    later = np.flatnonzero(~first)
    states[later] = added[later - 1]
    pass_states(states, spans, first)


def _run(
    call: Call, pieces: np.ndarray, states: np.ndarray, y: np.ndarray, heads: int
) -> np.ndarray:
    """Scan pieces; return the sum and the least of the exponents of each head."""
    spans = np.zeros((len(pieces), call.x.shape[1], 2))
    scan(call, pieces, states, spans, y, CHUNK, heads)
    return spans
