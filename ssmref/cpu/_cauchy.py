"""The generating function of S4 at the roots of unity, by sums over conjugate pairs.

With ``z = 2i tan(theta)``, theta = pi k / L, and eigenvalues ``a`` of dt A::

    r(v) = sum over pairs of v / (z - a) + conj(v) / (z - conj(a))
         = sum of (alpha + z beta) / (|a|^2 + z^2 - 2 z Re a)
    alpha = -2 Re(v conj(a))        beta = 2 Re v
    K^ = (1 + i tan(theta)) (r(C~ B) - r(C~ P) (I + r(P* P))^-1 r(P* B))

where v is dt times a product of a left (C~ or P*) and a right (B or P) vector. Where
Re A < 0 the matrix has a positive real part, and is eliminated without exchanges.

Limit: for each pair and vector of nodes 6 operations, a division and 4 multiply-adds
per left and right vector. Vectors run over nodes; double precision, because nodes come
as near to the poles as Re A.
"""

import numpy as np

from .toolkit.items import Item, for_each
from .toolkit.kernels import (
    INT64,
    inner,
    lane_count,
    lane_count_of,
    micro_kernel,
    use_wide_vectors,
)
from .toolkit.memory import new_zeros

# Products of vectors whose sums, four numbers each, stay in registers together.
PRODUCTS = 4
# Constants of a pair: |a|^2, -2 Re a, then alpha and beta of each product.
CONSTANTS = 2 + 2 * PRODUCTS
# Nodes of a tile.
NODES = 128


def _plain_pairs(constants, at, pairs, s, s_at, sums, place, plane, vectors):
    """Set real and imaginary parts of the sums of PRODUCTS products, plane by plane.

    s is ``z / i`` of each node.
    """
    count = vectors * lane_count(s.dtype)
    z = s[s_at : s_at + count]
    c = constants[at : at + pairs * CONSTANTS].reshape(pairs, CONSTANTS)
    inverse = 1 / (c[:, :1] - z**2 + 1j * z * c[:, 1:2])
    for p in range(PRODUCTS):
        alpha, beta = c[:, 2 + 2 * p, None], c[:, 3 + 2 * p, None]
        total = np.sum((alpha + 1j * z * beta) * inverse, axis=0)
        for half, part in enumerate((total.real, total.imag)):
            first = place + (2 * p + half) * plane
            sums[first : first + count] = part


@micro_kernel(_plain_pairs)
def _sum_pairs(lanes, constants, at, pairs, s, s_at, sums, place, plane, vectors):
    """`_plain_pairs`: alpha and beta are summed apart, so that z comes last."""
    builder = lanes.builder

    def vector(_, values):
        s_at, place = values
        z = lanes.load(s, s_at)
        square = z * z

        def pair(_, values):
            at, totals = values[0], values[1:]
            c = [
                lanes.broadcast(constants, builder.add(at, INT64(i)))
                for i in range(CONSTANTS)
            ]
            re, im = c[0] - square, z * c[1]
            over = 1.0 / lanes.fma(re, re, im * im)
            parts = re * over, im * over
            new = []
            for i, total in enumerate(totals):
                new.append(lanes.fma(c[2 + i // 2], parts[i % 2], total))
            return [builder.add(at, INT64(CONSTANTS)), *new]

        zeros = [lanes.constant(0.0)] * (4 * PRODUCTS)
        totals = lanes.loop(pairs, [at, *zeros], pair)[1:]
        for p in range(PRODUCTS):
            # (re - i im) of 1 / (re + i im)
            a_re, a_im, b_re, b_im = totals[4 * p : 4 * p + 4]
            real = lanes.fma(z, b_im, a_re)
            imag = z * b_re - a_im
            for half, part in enumerate((real, imag)):
                offset = builder.mul(plane, INT64(2 * p + half))
                lanes.store(part, sums, builder.add(place, offset))
        step = INT64(lanes.count)
        return [builder.add(s_at, step), builder.add(place, step)]

    lanes.loop(vectors, [s_at, place], vector)


def spectrum(dt, A, left, right, length, dtype):
    """Return K^ at the first half of the roots, (channels, length // 2 + 1).

    Of left and right, (1 + ranks, channels, state), C~ and B come first, then conj(P)
    and P.
    """
    nodes = length // 2 + 1
    angle = np.pi * np.arange(nodes) / length
    out = np.empty((A.shape[0], nodes), np.result_type(dtype, 1j))
    nyquist = length % 2 == 0
    with np.errstate(over="ignore"):
        t = np.tan(angle[: nodes - nyquist])
    a = dt[:, None] * A
    v = dt[:, None] * left[:, None] * right[None]
    jobs, work = len(a) * -(-len(t) // NODES), 30 * t.size * A.size
    constants = _constants(a, v.reshape(-1, *A.shape))
    for_each(_run_tile, jobs, work, out.dtype, constants, len(left), t, out)
    if nyquist:
        out[:, -1] = np.sum(np.real(v[0, 0]), axis=1)
    return out


def _constants(a, v):
    """Return (channels, groups of PRODUCTS, state, CONSTANTS)."""
    groups = -(-len(v) // PRODUCTS)
    shape = (a.shape[0], groups, a.shape[1], CONSTANTS)
    constants = np.zeros(shape)
    constants[..., 0] = (np.abs(a) ** 2)[:, None]
    constants[..., 1] = -2 * a.real[:, None]
    for p, product in enumerate(v):
        group, place = p // PRODUCTS, 2 + 2 * (p % PRODUCTS)
        constants[:, group, :, place] = -2 * np.real(product * np.conj(a))
        constants[:, group, :, place + 1] = 2 * np.real(product)
    return constants


@Item
def _run_tile(constants, size, t, out, job):
    """Find K^ of a channel at some nodes."""
    tiles = -(-len(t) // NODES)
    channel, first = job // tiles, job % tiles * NODES
    nodes = min(NODES, len(t) - first)
    groups, state = constants.shape[1], constants.shape[2]
    s = new_zeros(NODES, t)
    for i in range(nodes):
        s[i] = 2 * t[first + i]
    sums = new_zeros(groups * PRODUCTS * 2 * NODES, t)
    vectors = NODES // lane_count_of(t)
    for group in range(groups):
        at = (channel * groups + group) * state * CONSTANTS
        place = group * PRODUCTS * 2 * NODES
        _sum_pairs(constants.ravel(), at, state, s, 0, sums, place, NODES, vectors)
    r = sums.reshape(groups * PRODUCTS, 2, NODES)
    _eliminate(r, size)
    for i in range(nodes):
        re, im, tangent = r[0, 0, i], r[0, 1, i], t[first + i]
        out[channel, first + i] = complex(re - tangent * im, im + tangent * re)


@inner
def _eliminate(r, size):
    """Leave the first of r, (size, size), less what the ranks take, in its place."""
    for k in range(size - 1, 0, -1):
        r[k * size + k, 0] += 1.0
    for k in range(size - 1, 0, -1):
        pivot = r[k * size + k]
        for i in range(k):
            for j in range(k):
                _subtract(r[i * size + j], r[i * size + k], r[k * size + j], pivot)


@inner
def _subtract(x, a, b, pivot):
    """Find ``x - a b / pivot`` for complex numbers in planes."""
    use_wide_vectors()
    for i in range(x.shape[1]):
        norm = pivot[0, i] * pivot[0, i] + pivot[1, i] * pivot[1, i]
        re = a[0, i] * b[0, i] - a[1, i] * b[1, i]
        im = a[0, i] * b[1, i] + a[1, i] * b[0, i]
        x[0, i] -= (re * pivot[0, i] + im * pivot[1, i]) / norm
        x[1, i] -= (im * pivot[0, i] - re * pivot[1, i]) / norm
