"""The selective scan where B and C are vectors: constant ones, and complex states."""

from ._mamba1_blocks import add_steps, block_of, buffers, enter, items_of, leave, load
from ._mamba1_tiles import begin, end
from ._mamba1_wide_tiles import advance_complex, advance_real
from .toolkit.items import Item, next_item
from .toolkit.kernels import kernel, lane_count_of


@kernel
def _spread(wide, X, constant, plan, block, start, parts, factor):
    """Write B or C of a tile as vectors of one number; constant ones as they are."""
    lanes, (_, groups, states, given) = lane_count_of(wide), X.shape
    if constant:
        if start == block.start:
            load(wide, X[0], block.first, block.channels, parts, lanes)
            wide *= factor
        return
    group = min(block.group, groups - 1)
    for t in range(min(plan.tokens, block.stop - start)):
        for n in range(states):
            for p in range(given):
                place = ((p * states + n) * plan.tokens + t) * lanes
                wide[place : place + lanes] = X[start + t, group, n, p] * factor


@kernel
def _spread_both(tile, inputs, plan, block, start, parts):
    """Prepare B and C; twice C where states are complex: one of each pair is stored."""
    one = inputs.u.dtype.type(1)
    _spread(tile.B, inputs.B, plan.fixed_b, plan, block, start, parts, one)
    _spread(tile.C, inputs.C, plan.fixed_c, plan, block, start, parts, one * parts)


@kernel
def _steps(constant, plan, lanes):
    """Return how far states and tokens lie apart in what `_spread` wrote."""
    return (lanes, 0) if constant else (plan.tokens * lanes, lanes)


@kernel
def _scan_wide(inputs, tile, plan, block, elapsed, y):
    """Run a block through its tokens; B or C is constant, or states are complex."""
    u, raw, z, A = inputs.u, inputs.dt, inputs.z, inputs.A
    D, bias = inputs.D, inputs.bias
    h, rates, dt, dx, out, top, B, C = tile
    stride, states, lanes = A.shape[0], A.shape[1], len(top)
    parts = plan.parts
    b_state, b_row = _steps(plan.fixed_b, plan, lanes)
    c_state, c_row = _steps(plan.fixed_c, plan, lanes)
    for start in range(block.start, block.stop, plan.tokens):
        tokens = min(plan.tokens, block.stop - start)
        _spread_both(tile, inputs, plan, block, start, parts)
        for inside in range(0, block.channels, lanes):
            channel, some = block.first + inside, min(lanes, block.channels - inside)
            here, at = start * stride + channel, inside * parts * states
            begin(
                *(top, dt, dx, out, raw, u, here, stride, tokens, bias, D, channel),
                *(some, plan.softplus, plan.skip),
            )
            b, c = at * plan.fixed_b, at * plan.fixed_c
            if parts == 1:
                advance_real(
                    *(h, rates, at, states, dt, dx, out, tokens),
                    *(B, b, b_state, b_row, C, c, c_state, c_row),
                )
            else:
                advance_complex(
                    *(h, rates, at, states, dt, dx, out, tokens),
                    *(B, b, b_state, b_row, C, c, c_state, c_row),
                )
            if plan.whole:
                end(y, here, stride, tokens, out, some, z, plan.gated, 0)
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
            enter(tile, inputs.A, h, block, plan.parts)
            own = elapsed[block.piece]
            _scan_wide(inputs, tile, plan, block, own, y)
            leave(tile, h, block)
        item = next_item(taken, worker, count)
