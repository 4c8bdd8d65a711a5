"""The selective scan where B and C are numbers that the channels of a block share."""

from ._mamba1_blocks import add_steps, block_of, buffers, enter, items_of, leave
from ._mamba1_decay import MODERATE
from ._mamba1_direct import advance_directly
from ._mamba1_tiles import advance, begin, end
from ._streaming import settle
from .toolkit.items import Item, next_item
from .toolkit.kernels import kernel
from .toolkit.memory import LINE


@kernel
def _moderate(rate, top):
    """Return 1 where the largest exponent of a tile suits `decay_of`, else 0."""
    largest = top[0]
    for size in top:
        largest = max(largest, size)
    return 1 if rate * largest < MODERATE else 0


@kernel
def _past_caches(plan, channel, channels, lanes):
    """Return 1 where outputs are streamed: vectors that are a line of the cache."""
    whole = channels == lanes and (channel + plan.pad) % lanes == 0
    return plan.streaming if whole else 0


@kernel
def _on_two_lines(u, dt, y, stride):
    """Return 1 where vectors may begin within lines of the cache, else 0.

    NumPy begins large arrays 16 bytes after a line.
    """
    places = u.ctypes.data | dt.ctypes.data | y.ctypes.data | stride * u.itemsize
    return 1 if places % LINE else 0


@kernel
def _places(X, group):
    """Return how far tokens lie apart in B or C, and where a group begins."""
    _, groups, states, _ = X.shape
    return groups * states, min(group, groups - 1) * states


@kernel
def _scan_shared(inputs, tile, plan, block, largest, elapsed, y):
    """Run a block through its tokens; its channels share numbers B and C.

    Arrays have names of their own here and go straight into micro-kernels: to take one
    out of a tuple counts a reference, at the price of a dozen updates.
    """
    u, raw, z, D, bias = inputs.u, inputs.dt, inputs.z, inputs.D, inputs.bias
    h, rates, dt, dx, out, top, _, _ = tile
    (stride, states, _), lanes = inputs.A.shape, len(top)
    b_row, b_group = _places(inputs.B, block.group)
    c_row, c_group = _places(inputs.C, block.group)
    B, C = inputs.B.reshape(-1), inputs.C.reshape(-1)
    # What is streamed is not fetched.
    target = y if plan.whole and not plan.streaming else u
    vectors = -(-block.channels // lanes)
    lines = vectors + _on_two_lines(u, raw, target, stride)
    for start in range(block.start, block.stop, plan.tokens):
        tokens = min(plan.tokens, block.stop - start)
        later = start + tokens if start + tokens < block.stop else start
        for vector in range(vectors):
            inside, at = vector * lanes, vector * states * lanes
            channel, some = block.first + inside, min(lanes, block.channels - inside)
            here, row = start * stride + channel, vector * tokens * lines // vectors
            if plan.direct and advance_directly(
                *(h, rates, largest, dt, u, raw, z, y, here, stride, tokens, some),
                *(B, start * b_row + b_group, b_row, C, start * c_row + c_group, c_row),
                *(bias, D, channel, plan.softplus, plan.skip, plan.gated),
                _past_caches(plan, channel, some, lanes),
            ):
                continue
            begin(
                *(top, dt, dx, out, raw, u, here, stride, tokens, bias, D, channel),
                *(some, plan.softplus, plan.skip),
            )
            row, line = later + row // lines, row % lines
            advance(
                *(h, rates, at, states, dt, dx, out, tokens),
                *(B, start * b_row + b_group, b_row, C, start * c_row + c_group, c_row),
                *(_moderate(largest, top), u, raw, z, target),
                *(row * stride + block.first, line, lines, stride),
            )
            if plan.whole:
                past = _past_caches(plan, channel, some, lanes)
                end(y, here, stride, tokens, out, some, z, plan.gated, past)
            else:
                add_steps(elapsed, top, dt, tokens, channel, some)


@Item
def scan_share(inputs, plan, starts, stops, h, elapsed, y, taken, worker):
    """Scan blocks of channels, as long as there are some that nobody has taken.

    Piece i are the tokens ``starts[i]:stops[i]``, row i of h (pieces, channels, state,
    parts) its states, row i of `elapsed` (pieces, channels) its sums of dt.
    """
    tile, channels = buffers(inputs.u, plan, h.shape[2]), h.shape[1]
    count = items_of(starts, plan, channels)
    item = next_item(taken, worker, count)
    while item < count:
        block = block_of(item, starts, stops, plan, channels)
        if block.start < block.stop:
            largest = enter(tile, inputs.A, h, block, plan.parts)
            own = elapsed[block.piece]
            _scan_shared(inputs, tile, plan, block, largest, own, y)
            leave(tile, h, block)
        item = next_item(taken, worker, count)
    settle(y)
