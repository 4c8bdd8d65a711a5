"""How a selective scan is divided: channels first, then time, in three phases.

Channels of sequences are divided among the threads, in blocks of some vectors. Only
where not every thread gets a vector of them, sequences are split into stretches. Their
last states are found from zero states; then the true initial state of each stretch
follows from those of the one before, ``h exp(A sum dt) + local``, the operator of the
parallel scans; then all stretches are scanned. The first pass costs as much as the
last.
"""

import numpy as np

from . import _mamba1_shared as shared
from . import _mamba1_wide as wide
from ._mamba1_blocks import Plan
from ._mamba1_direct import STATES
from ._streaming import streams
from .toolkit.elementary import cos, exp, sin
from .toolkit.items import APART, for_each
from .toolkit.kernels import kernel, lane_count
from .toolkit.memory import LINE
from .toolkit.threads import segments, workers

# Tokens per tile: with three buffers of so many vectors, states and rates a block fills
# half of the first-level cache. Vectors per block at most: rows of 1 KiB.
TOKENS = 64
# Where states stay in registers, beginning a tile is all that a tile costs.
DIRECT_TOKENS = 256
VECTORS = 16
# What beginning a tile costs, in vectors, and how much of its last block a thread is
# late at the end: its processor may do other work as well. With both, blocks of 4 to 8
# vectors come out; on a quiet machine 12 are as fast, on others by a tenth slower.
OVERHEAD, LATE = 0.5, 0.5
# The first pass of a split scan, relative to the second (0.99 has been measured: it
# writes no outputs, but adds up steps), and the least tokens per stretch, so that
# loading and storing states stays small.
FIRST_PASS = 1.0
SHORTEST = 256
# Outputs of so many bytes are more than the caches of most processors hold.
STREAMED = 1 << 24
# What the update of a vector counts, in operations.
UPDATE = 8


def scan(inputs, options, bounds, state, y):
    """Scan all sequences; write y, and the last states over the initial ones.

    `options` are the fields of `Plan` from `share` to `gated`; state: (sequences,
    channels, state, parts).
    """
    vectors = -(-y.size // lane_count(y.dtype)) * state.shape[2] * state.shape[3]
    available = workers(UPDATE * vectors)
    place = place_of(inputs, options, y)
    options = options | {
        "streaming": int(streams(y, len(inputs.A), STREAMED, place)),
        "direct": _direct(inputs, options),
        "pad": place // y.itemsize,
    }
    plan, count = _divide(inputs, options, bounds, available)
    with np.errstate(all="ignore"):
        if count == 1:
            pieces = bounds[:-1], bounds[1:]
            _run(available, inputs, plan, *pieces, state, np.empty((len(state), 0)), y)
        else:
            _scan_split(available, inputs, plan, _stretches(bounds, count), state, y)


def _direct(inputs, options):
    return int(inputs.A.shape[1] == STATES and not options["wide"])


def place_of(inputs, options, *outputs):
    """Return where in a line of the cache the rows of all arrays begin, in bytes.

    NumPy begins large arrays 16 bytes after one. Vectors of channels that begin with
    lines all the same are a fifth faster than others, but need outputs that begin in
    that place, too. 0 where it is not the same for all, or lines are of no use.
    """
    row, lanes = len(inputs.A), lane_count(inputs.u.dtype)
    if not _direct(inputs, options) or row * inputs.u.itemsize % LINE:
        return 0
    arrays = inputs.u, inputs.dt, inputs.z, *outputs
    place, *others = {x.ctypes.data % LINE for x in arrays}
    alike = not others and place % inputs.u.itemsize == 0
    return place if alike and options["share"] % lanes == 0 else 0


def _divide(inputs, options, bounds, workers):
    """Return the plan, and into how many stretches each sequence is split."""
    lanes, share = lane_count(inputs.u.dtype), options["share"]
    longest = max(int((bounds[1:] - bounds[:-1]).max()), 1)
    # A pack counts as so many sequences of its greatest length.
    rows = -(-int(bounds[-1]) // longest) * (len(inputs.A) // share)
    vectors, count = -(-(options["pad"] + share) // lanes), 1
    width = 1 if options["direct"] else min(vectors, VECTORS)
    if workers > 1:
        limits = {"first_pass": FIRST_PASS, "shortest": SHORTEST}
        count = segments(rows * vectors, longest, **limits)
        if not options["direct"]:
            width = _width(rows * count, vectors, workers)
    tokens = DIRECT_TOKENS if options["direct"] else TOKENS
    tokens = min(tokens, -(-longest // count))
    return Plan(width * lanes, tokens, **options, whole=1), count


def _width(rows, vectors, workers):
    """Return with how many vectors per block the last thread is done first."""

    def busiest(width):
        blocks = rows * -(-vectors // width)
        return -(-blocks // workers) * (width + OVERHEAD) + LATE * width

    return min(range(1, min(vectors, VECTORS) + 1), key=busiest)


def _stretches(bounds, count):
    """Return where stretches begin and end, `count` of each sequence."""
    lengths = np.diff(bounds)[:, None]
    edges = bounds[:-1, None] + np.minimum(
        np.arange(count + 1) * -(-lengths // count), lengths
    )
    return edges[:, :-1].ravel(), edges[:, 1:].ravel()


def _run(workers, inputs, plan, *arguments):
    share = wide.scan_share if plan.wide else shared.scan_share
    # Shares are large: whether several pay off has been decided.
    operations = 0 if workers == 1 else 1 << 62
    taken = np.zeros(workers * APART, np.int64)
    every = inputs, plan, *arguments, taken
    for_each(share, workers, operations, inputs.u.dtype, *every)


def _scan_split(workers, inputs, plan, stretches, state, y):
    """Scan in three phases."""
    starts, stops = stretches
    count = len(starts) // len(state)
    local = np.zeros((len(starts), *state.shape[1:]), state.dtype)
    elapsed = np.zeros(local.shape[:2])
    # What the last stretch of a sequence adds is not needed.
    needed = np.where(np.arange(len(starts)) % count == count - 1, starts, stops)
    tokens = min(TOKENS, plan.tokens)
    first = plan._replace(whole=0, direct=0, tokens=tokens)
    _run(workers, inputs, first, starts, needed, local, elapsed, y)
    enter(inputs.A, elapsed, state, local)
    _run(workers, inputs, plan, starts, stops, local, elapsed, y)
    state[...] = local[count - 1 :: count]


@kernel
def enter(A, elapsed, initial, local):
    """Turn the local last states of stretches into those that stretches begin with.

    `elapsed` is the sum of dt over each stretch; sequences come one after the other,
    each from its initial state.
    """
    count = len(local) // len(initial)
    for sequence in range(len(initial)):
        state = initial[sequence].copy()
        for piece in range(sequence * count, (sequence + 1) * count):
            for d in range(len(A)):
                for n in range(A.shape[1]):
                    old, own = state[d, n], local[piece, d, n]
                    _step_over(A[d, n], elapsed[piece, d], old, own)


@kernel
def _step_over(rate, time, state, local):
    """Exchange the state before a stretch and what the stretch added by itself."""
    size = exp(rate[0] * time)
    real, imaginary = size, size * 0
    if len(rate) == 2:
        real, imaginary = size * cos(rate[1] * time), size * sin(rate[1] * time)
    x, z = state[0], (state[1] if len(state) == 2 else 0 * state[0])
    state[0], local[0] = real * x - imaginary * z + local[0], x
    if len(state) == 2:
        state[1], local[1] = real * z + imaginary * x + local[1], z
