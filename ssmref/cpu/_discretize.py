"""From continuous to discrete time: `golden.discretize`, for kernels and for NumPy.

Everything here is in double precision, whatever the dtype of an op: it is done once per
call and its errors would stay in every token. Complex numbers are planes of real and
imaginary parts, over which LLVM vectorises.
"""

import numpy as np

from ..contract import choose
from .toolkit.elementary import cos, exp, expm1, sin
from .toolkit.kernels import inner, kernel, use_wide_vectors

# Where |z|^2 is no longer a normal number, (e^z - 1) / z is 1 to all digits.
TINY = 1e-300


def holds(method: str) -> bool:
    """Return whether `method` is ``"zoh"``, or raise ValueError: see `choose`."""
    choose("method", method, "zoh", "bilinear")
    return method == "zoh"


def discrete(A: np.ndarray, dt: np.ndarray, method: str) -> tuple[np.ndarray, ...]:
    """Return A_bar and what B is multiplied by; dt and A are broadcast."""
    dt = dt.astype(np.float64)
    z = (dt * A.astype(np.complex128)).ravel()
    planes = np.stack([z.real, z.imag])
    a, g = np.empty_like(planes), np.empty_like(planes)
    discretize(planes, a, g, holds(method))
    return tuple(
        p.T.copy().view(z.dtype).reshape(A.shape)
        for p in (a, g * np.broadcast_to(dt, A.shape).ravel())
    )


@kernel
def discretize(z, a, g, hold):
    """For ``z = dt A`` find ``A_bar = a`` and ``B_bar = g dt B``; axis 0: re, im."""
    if hold:
        _zero_order_hold(z[0], z[1], a[0], a[1], g[0], g[1])
    else:
        _bilinear(z[0], z[1], a[0], a[1], g[0], g[1])


@inner
def _zero_order_hold(z_re, z_im, a_re, a_im, g_re, g_im):
    """Find ``a = e^z`` and ``g = (e^z - 1) / z``, 1 at z = 0.

    With half the angle nothing cancels: ``cos y - 1 = -2 sin(y/2)^2``.
    """
    use_wide_vectors()
    for i in range(len(z_re)):
        x, y = z_re[i], z_im[i]
        s, c = sin(y / 2), cos(y / 2)
        sine, less = 2 * s * c, 2 * s * s
        size, above = exp(x), expm1(x)
        a_re[i], a_im[i] = size * (1 - less), size * sine
        re, im = above * (1 - less) - less, size * sine
        norm = x * x + y * y
        tiny = norm < TINY
        inverse = 1 / (1.0 if tiny else norm)
        g_re[i] = 1.0 if tiny else (re * x + im * y) * inverse
        g_im[i] = 0.0 if tiny else (im * x - re * y) * inverse


@inner
def _bilinear(z_re, z_im, a_re, a_im, g_re, g_im):
    """Find ``a = (1 + z/2) / (1 - z/2)`` and ``g = 1 / (1 - z/2)``."""
    use_wide_vectors()
    for i in range(len(z_re)):
        x, y = z_re[i] / 2, z_im[i] / 2
        inverse = 1 / ((1 - x) * (1 - x) + y * y)
        g_re[i], g_im[i] = (1 - x) * inverse, y * inverse
        # 1 + z/2 = 2 - (1 - z/2)
        a_re[i], a_im[i] = ((1 - x) * (1 + x) - y * y) * inverse, 2 * y * inverse
