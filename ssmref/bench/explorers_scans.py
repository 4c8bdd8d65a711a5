"""What the forms of a scan do: steps, depth, numbers moved, numbers written out.

The forms are those of `ssmref.golden.scan` inside of the selective scan. Each scans as
many recurrences as there are channels times states, of decays a and drives b; they
write these out first, where the fused recurrence keeps them in registers. An element is
one number of one of these arrays.
"""

from math import ceil

from .costs import EXP, Cost, selective_scan

FORMS = ("", "hillis_steele", "blelloch", "chunked")
# The default of golden.
CHUNK = 16


def steps(form: str, length: int) -> int:
    """Return how many compositions of two steps a form makes: its work.

    A composition is two products and a sum; the recurrence needs only one product.
    """
    if form == "hillis_steele":
        return sum(length - distance for distance in _doublings(length))
    if form == "blelloch":
        return 2 * (_padded(length) - 1) + length
    if form == "chunked":
        chunks = ceil(length / CHUNK)
        return 2 * chunks * CHUNK + chunks
    return length


def depth(form: str, length: int) -> int:
    """Return how many compositions follow each other at least: the span."""
    if form == "hillis_steele":
        return len(_doublings(length))
    if form == "blelloch":
        return 2 * (_padded(length).bit_length() - 1) + 1
    if form == "chunked":
        return CHUNK + ceil(length / CHUNK) + 1
    return length


def moved(form: str, length: int) -> int:
    """Return how often an element is read or written, for one channel and state.

    a and b are written, and the states are read once for the outputs. Between them:
    Hillis & Steele reads both operands and writes the result of every composition;
    so does the up-sweep of Blelloch, and the way down also copies the left ones; a
    chunk is scanned, its products are formed, and both meet the carry.
    """
    outside = 3 * length
    if form == "hillis_steele":
        return outside + 6 * steps(form, length)
    if form == "blelloch":
        return outside + 14 * (_padded(length) - 1) + 4 * length
    if form == "chunked":
        return outside + (3 + 2 + 3) * ceil(length / CHUNK) * CHUNK
    return 0


def words(form: str, length: int) -> str:
    """Return work and depth in words, for tables."""
    if not form:
        return f"one token after the other: {length} steps"
    return f"work {steps(form, length)}, depth {depth(form, length)}"


def cost(form: str, *, batch: int, length: int, channels: int, state: int) -> Cost:
    """Return what a form does and moves: of the fused recurrence, what it needs.

    Inputs and outputs enter and leave in every form.
    """
    fused = selective_scan(batch=batch, length=length, channels=channels, state=state)
    if not form:
        return fused
    rows = batch * channels * state
    work = rows * steps(form, length)
    updates = rows * length
    return Cost(
        elements=fused.elements + rows * moved(form, length),
        instructions=(EXP + 2) * updates + 2 * work,
        flops=3 * work + 4 * updates,
        exps=updates,
    )


# Arrays of all tokens, channels and states that golden holds at its fullest moment:
# decays and drives, copies of both, and what each doubling or each phase makes of them.
_GOLDEN = {"hillis_steele": 6, "chunked": 9}


def workspace(form: str, *, batch: int, length: int, channels: int, state: int) -> int:
    """Return the numbers that a form writes out: `ssmref.cpu` has Blelloch's only.

    That one holds decays, drives and states, in a power of two of tokens, of one
    sequence at a time. The other forms are golden's.
    """
    rows = channels * state
    if form == "blelloch":
        return 3 * _padded(length) * rows
    return _GOLDEN.get(form, 0) * batch * length * rows


def _padded(length: int) -> int:
    return 1 << max(length - 1, 0).bit_length()


def _doublings(length: int) -> list[int]:
    return [1 << k for k in range(max(length - 1, 0).bit_length())]
