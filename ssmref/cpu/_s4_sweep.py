"""One token of S4 after the other, for the states of a vector of channels.

A product Re(F x) needs all states of a token before any of them can go on, so states do
not stay in registers: constants, states and sums are in the caches, and one number is
read for each multiply-add.
"""

import numpy as np

from ._s4_system import RANKS, READ
from .toolkit.kernels import INT64, Value, lane_count, micro_kernel

# States that are advanced together, so that sums do not wait for each other.
TOGETHER = 4


def _plain_sweep(
    W, w_at, ranks, X, x_at, plane, f, old, new, D, d_at, U, Y, at, tokens, states
):
    """Advance all states of a vector of channels over some tokens.

    W is (state, rows, 2, lanes) from w_at on, X (2, state, lanes) with planes apart; f
    has ``Re(F x)`` of each rank, from `old` on before a token, from `new` on after it.
    """
    lanes, rows = lane_count(X.dtype), RANKS + 2 * ranks
    w = W[w_at : w_at + states * rows * 2 * lanes].reshape(states, rows, 2, lanes)
    w = w[:, :, 0] + 1j * w[:, :, 1]
    real = X[x_at : x_at + states * lanes].reshape(states, lanes)
    imag = X[x_at + plane :][: states * lanes].reshape(states, lanes)
    sums = [f[i : i + ranks * lanes].reshape(ranks, lanes) for i in (old, new)]
    for t in range(tokens):
        row = slice(at + t * lanes, at + (t + 1) * lanes)
        x = w[:, 0] * (real + 1j * imag) + w[:, 1] * U[row]
        x = x - np.sum(w[:, RANKS : RANKS + ranks] * sums[t % 2], axis=1)
        real[:], imag[:] = x.real, x.imag
        Y[row] = D[d_at : d_at + lanes] * U[row] + np.sum(w[:, READ] * x, 0).real
        sums[1 - t % 2][:] = np.sum(w[:, RANKS + ranks :] * x[:, None], 0).real


@micro_kernel(_plain_sweep)
def sweep(
    lanes,
    W,
    w_at,
    ranks,
    X,
    x_at,
    plane,
    f,
    old,
    new,
    D,
    d_at,
    U,
    Y,
    at,
    tokens,
    states,
):
    """`_plain_sweep`; see `_Sweep`."""
    builder = lanes.builder
    many = builder.sdiv(states, INT64(TOGETHER))
    few = builder.srem(states, INT64(TOGETHER))
    skip = lanes.load(D, d_at)

    def token(_, values):
        at, old, new = values
        u = lanes.load(U, at)
        one = _Sweep(lanes, W, ranks, X, plane, f, old, new, u)
        one.clear()
        start = [w_at, x_at, skip * u, lanes.constant(0.0)]
        start = lanes.loop(many, start, lambda _, v: one.advance(v, TOGETHER))
        *_, y, z = lanes.loop(few, start, lambda _, v: one.advance(v, 1))
        lanes.store(y + z, Y, at)
        return [builder.add(at, INT64(lanes.count)), new, old]

    lanes.loop(tokens, [at, old, new], token)


class _Sweep:
    """One token: the emitted code of some states at a time."""

    def __init__(self, lanes, W, ranks, X, plane, f, old, new, u):
        self.lanes, self.builder, self.one = lanes, lanes.builder, lanes.count
        self.W, self.ranks, self.X, self.plane = W, ranks, X, plane
        self.f, self.old, self.new, self.u = f, old, new, u
        pair = INT64(2 * self.one)
        self.column = self.builder.mul(ranks, pair)
        both = self.builder.mul(self.column, INT64(2))
        self.step = self.builder.add(both, self.builder.mul(INT64(RANKS), pair))

    def clear(self):
        """Begin the sums of the next token."""

        def rank(_, values):
            self.lanes.store(self.lanes.constant(0.0), self.f, values[0])
            return [self.builder.add(values[0], INT64(self.one))]

        self.lanes.loop(self.ranks, [self.new], rank)

    def advance(self, values, count):
        """Advance `count` states; return places and sums for the next ones."""
        builder, (w, x, y, z) = self.builder, values
        places = [
            builder.add(w, builder.mul(self.step, INT64(i))) for i in range(count)
        ]
        slots = [builder.add(x, INT64(i * self.one)) for i in range(count)]
        states = [self._diagonal(*p) for p in zip(places, slots, strict=True)]
        ranks = [builder.add(p, INT64(2 * RANKS * self.one)) for p in places]
        states = self._less_ranks(ranks, states)
        for slot, (re, im) in zip(slots, states, strict=True):
            self.lanes.store(re, self.X, slot)
            self.lanes.store(im, self.X, builder.add(slot, self.plane))
        read = [builder.add(p, INT64(2 * READ * self.one)) for p in places]
        y, z = self._add_products(read, states, [y, z])
        self._add_ranks([builder.add(p, self.column) for p in ranks], states)
        w = builder.add(w, builder.mul(self.step, INT64(count)))
        return [w, builder.add(x, INT64(count * self.one)), y, z]

    def _pair(self, place):
        imaginary = self.builder.add(place, INT64(self.one))
        return self.lanes.load(self.W, place), self.lanes.load(self.W, imaginary)

    def _minus(self, value):
        return Value(self.lanes, self.builder.fneg(value.ir))

    def _diagonal(self, place, slot):
        """Return ``a x + b u``."""
        fma = self.lanes.fma
        re = self.lanes.load(self.X, slot)
        im = self.lanes.load(self.X, self.builder.add(slot, self.plane))
        a_re, a_im = self._pair(place)
        b_re, b_im = self._pair(self.builder.add(place, INT64(2 * self.one)))
        new_re = fma(a_re, re, fma(a_im, self._minus(im), b_re * self.u))
        return new_re, fma(a_re, im, fma(a_im, re, b_im * self.u))

    def _less_ranks(self, places, states):
        """Return the states less ``G Re(F x)`` of the token before."""

        def rank(_, values):
            at, offset, flat = values[0], values[1], values[2:]
            less = self._minus(self.lanes.load(self.f, at))
            new = []
            for i, place in enumerate(places):
                g = self._pair(self.builder.add(place, offset))
                parts = flat[2 * i : 2 * i + 2]
                new += [
                    self.lanes.fma(a, less, b) for a, b in zip(g, parts, strict=True)
                ]
            at = self.builder.add(at, INT64(self.one))
            return [at, self.builder.add(offset, INT64(2 * self.one)), *new]

        flat = [part for state in states for part in state]
        flat = self.lanes.loop(self.ranks, [self.old, INT64(0), *flat], rank)[2:]
        return list(zip(flat[::2], flat[1::2], strict=True))

    def _add_products(self, places, states, sums):
        """Add the real parts of a row times the states to two sums in turn."""
        sums = list(sums)
        for i, (place, (re, im)) in enumerate(zip(places, states, strict=True)):
            w_re, w_im = self._pair(place)
            part = self.lanes.fma(w_re, re, sums[i % 2])
            sums[i % 2] = self.lanes.fma(w_im, self._minus(im), part)
        return sums

    def _add_ranks(self, places, states):
        """Add ``Re(F x)`` of these states to the sums of the next token."""

        def rank(_, values):
            at, offset = values
            rows = [self.builder.add(place, offset) for place in places]
            sums = [self.lanes.load(self.f, at), self.lanes.constant(0.0)]
            one, other = self._add_products(rows, states, sums)
            self.lanes.store(one + other, self.f, at)
            at = self.builder.add(at, INT64(self.one))
            return [at, self.builder.add(offset, INT64(2 * self.one))]

        self.lanes.loop(self.ranks, [self.new, INT64(0)], rank)
