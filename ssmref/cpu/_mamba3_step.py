"""Kernels of one token of Mamba-3: every state is read once and written once.

Limit: bytes, 8 for each number of the state in float32, and the keys. The arithmetic,
1 + 3 R multiply-adds per number, takes less time, also for four ranks.

States stay as they are, rows of coordinates of k: the few vectors that turn do so in
halves, and are then brought into the order of the state.
"""

from typing import Any, NamedTuple

from ._mamba3_advance import advance
from ._mamba3_chunks import make_desk
from ._mamba3_halves import from_halves
from ._mamba3_kernels import Part, load_options, open_chunk, turn_rows, write_out
from ._mamba3_rows import copy, fill, spread
from ._mamba3_turns import from_angles, to_angles
from ._streaming import STREAMED, streams
from .toolkit.elementary import exp, sigmoid
from .toolkit.items import Item, for_each
from .toolkit.kernels import inner
from .toolkit.memory import new_numbers
from .toolkit.rows import prefetch_rows, scale_rows


class StepState(NamedTuple):
    """The states of all slots, flat."""

    angle: Any  # (slots, heads, pairs)
    ssm: Any  # (slots, heads, headdim, state)
    k: Any  # (slots, ranks, heads, state)
    v: Any  # (slots, heads, headdim)


@inner
def load_values(call, old, memory, desk, b, slot, head):
    """Fill values and their weighted rows: of this token, then of the one before.

    The latter go behind the outputs. Return the decay.
    """
    width, ranks, at = desk.width, desk.ranks, b * call.heads + head
    plane, early = ranks * width, (slot * call.heads + head) * width
    decay = exp(call.A[at] * call.dt[at])
    memory[desk.now] = sigmoid(call.trap[at]) * call.dt[at]
    memory[desk.now + 1] = sigmoid(-call.trap[at]) * call.dt[at] * decay
    values, out, weight = desk.values, desk.out + plane, desk.factors
    spread(memory, values, call.x, at * width, 0, weight, 1, ranks, width)
    spread(memory, values + plane, old.v, early, 0, weight, 1, ranks, width)
    scale_rows(memory, out, plane, memory, values, plane, memory, desk.now, 2, plane)
    return decay


@inner
def load_keys(call, old, new, memory, desk, slot, head):
    """Bring keys and queries into the order of the state; keep the new keys.

    They go to `raw`: keys of this token, of the one before, then queries.
    """
    ranks, depth, raw = desk.ranks, desk.depth, desk.raw
    rows, step = ranks * depth, call.heads * depth
    at = (slot * ranks * call.heads + head) * depth
    from_halves(memory, raw, depth, memory, desk.turned, ranks, depth, call.pairwise)
    copy(new.k, at, step, memory, raw, depth, ranks, depth)
    copy(memory, raw + rows, depth, old.k, at, step, ranks, depth)
    target = raw + 2 * rows
    from_halves(
        memory, target, depth, memory, desk.queries, ranks, depth, call.pairwise
    )


@inner
def advance_head(call, old, new, y, b, slot, head, streamed):
    """Advance one head of one row of the batch."""
    ranks, depth, width, pairs = call.ranks, call.depth, call.width, call.pairs
    desk = make_desk(3 * ranks, ranks, depth, width, 1, pairs)
    memory = new_numbers(desk.states, call.x)
    part = Part(0, b, b + 1, slot, 0, b + 1, head, 1, 1, True)
    row, at = slot * call.heads + head, b * call.heads + head
    load_options(call, memory, desk, head, 0)
    open_chunk(call, part, memory, desk, b, ranks)
    memory[desk.half] = call.dt[at] / 2
    from_angles(memory, desk.turns, old.angle, row * pairs, pairs)
    turn_rows(call, part, memory, desk, b, 1, 0)
    to_angles(new.angle, row * pairs, memory, desk.turns, pairs)
    load_keys(call, old, new, memory, desk, slot, head)
    decay = load_values(call, old, memory, desk, b, slot, head)
    at = (slot * ranks * call.heads + head + 1) * depth
    for keys in (old.k, new.k):  # of the next head: far from those of this one
        prefetch_rows(keys, at, call.heads * depth, 0, ranks, depth)
    own = ranks * depth
    advance(
        *(new.ssm, old.ssm, row * width * depth, memory, desk.out + ranks * width),
        *(desk.raw, desk.raw + 2 * own, desk.out, ranks, width, depth, decay),
        streamed,
    )
    copy(new.v, row * width, 0, call.x, (b * call.heads + head) * width, 0, 1, width)
    write_out(call, memory, desk, 0, y, b, 1, head)


@Item
def _step(call, old, new, y, rows, streamed, job):
    """Advance one head of one row; a negative slot is padding."""
    b, head = job // call.heads, job % call.heads
    slot = rows[b]
    if slot >= 0:
        advance_head(call, old, new, y, b, slot, head, streamed)
    else:
        fill(y, job * call.width, call.width, 0.0)


def step(call, old, new, y, rows):
    """Advance the states of some slots, from the old arrays to the new ones."""
    items = len(rows) * call.heads
    work = 4 * items * call.width * call.depth
    streamed = int(streams(new.ssm, call.depth, STREAMED))
    for_each(_step, items, work, y.dtype, call, old, new, y, rows, streamed)
