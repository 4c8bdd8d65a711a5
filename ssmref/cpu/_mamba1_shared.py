"""The selective scan where B and C are numbers that the channels of a block share."""

from ._mamba1_blocks import add_steps, block_of, buffers, enter, items_of, leave
from ._mamba1_decay import MODERATE
from ._mamba1_tiles import advance, begin, end
from ._streaming import settle
from .toolkit.items import Item, next_item
from .toolkit.kernels import kernel
from .toolkit.memory import LINE


@kernel
def _largest(top):
    largest = top[0]
    for size in top:
        largest = max(largest, size)
    return largest


@kernel
def _on_two_lines(u, dt, y, stride):
    """Return 1 where vectors may begin within lines of the cache, else 0.

    NumPy begins large arrays 16 bytes after a line.
    """
    places = u.ctypes.data | dt.ctypes.data | y.ctypes.data | stride * u.itemsize
    return 1 if places % LINE else 0


@kernel
def _scan_shared(inputs, tile, plan, block, largest, elapsed, y):
    """Run a block through its tokens; its channels share numbers B and C.

    Arrays have names of their own here and go straight into micro-kernels: to take one
    out of a tuple counts a reference, at the price of a dozen updates.
    """
    u, raw, z, A = inputs.u, inputs.dt, inputs.z, inputs.A
    B, C, D, bias = inputs.B, inputs.C, inputs.D, inputs.bias
    h, rates, dt, dx, out, top, _, _ = tile
    stride, states, lanes = A.shape[0], A.shape[1], len(top)
    b_row, c_row = B.shape[1] * states, C.shape[1] * states
    b_group = min(block.group, B.shape[1] - 1) * states
    c_group = min(block.group, C.shape[1] - 1) * states
    B, C = B.reshape(-1), C.reshape(-1)
    # What is streamed is not fetched.
    written = plan.whole and not plan.streaming
    vectors, target = -(-block.channels // lanes), y if written else u
    lines = vectors + _on_two_lines(u, raw, target, stride)
    for start in range(block.start, block.stop, plan.tokens):
        tokens = min(plan.tokens, block.stop - start)
        later = start + tokens if start + tokens < block.stop else start
        for vector in range(vectors):
            inside, at = vector * lanes, vector * states * lanes
            channel, some = block.first + inside, min(lanes, block.channels - inside)
            here, row = start * stride + channel, vector * tokens * lines // vectors
            begin(
                *(top, dt, dx, out, raw, u, here, stride, tokens, bias, D, channel),
                *(some, plan.softplus, plan.skip),
            )
            row, line = later + row // lines, row % lines
            moderate = 1 if largest * _largest(top) < MODERATE else 0
            advance(
                *(h, rates, at, states, dt, dx, out, tokens),
                *(B, start * b_row + b_group, b_row, C, start * c_row + c_group, c_row),
                *(moderate, u, raw, z, target),
                *(row * stride + block.first, line, lines, stride),
            )
            if plan.whole:
                past = plan.streaming if some == lanes and channel % lanes == 0 else 0
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
