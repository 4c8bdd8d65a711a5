"""Large results, written past the caches.

A store to a line that is in no cache fetches it first: a third of what a copy moves.
"""

from .toolkit.kernels import INT32, lane_count, micro_kernel
from .toolkit.memory import LINE

# Results of so many bytes are more than the last cache of most processors.
STREAMED = 1 << 25


def streams(y, row, least=None, place=0):
    """Return whether rows of `row` numbers are better written past the caches.

    From `least` bytes on (`STREAMED`), where rows and vectors are whole lines, those
    that begin `place` bytes before y.
    """
    if y.nbytes < (least or STREAMED):
        return False
    lines = y.ctypes.data - place | row * y.itemsize | lane_count(y.dtype) * y.itemsize
    return lines % LINE == 0


def stream(lanes, value, array, at):
    """Emit the store of a vector that is a line of the caches."""
    builder = lanes.builder
    place = builder.bitcast(builder.gep(array, [at]), lanes.type.as_pointer())
    store = builder.store(value.ir, place, align=LINE)
    store.set_metadata("nontemporal", builder.module.add_metadata([INT32(1)]))


def _plain_settle(out):
    """Let all that was streamed arrive before anything else is written."""


@micro_kernel(_plain_settle)
def settle(lanes, _out):
    """Emit `_plain_settle`: others may read as soon as they hear of it."""
    lanes.builder.fence("seq_cst")
