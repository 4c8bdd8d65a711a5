"""From continuous to discrete time: the rules of all the models, side by side.

A continuous system ``x' = A x + B u`` sampled with step dt becomes
``x[t] = A_bar x[t-1] + B_bar u[t]``. Four rules, for an eigenvalue A:

=========================  ==================  ====================  =============
rule                       A_bar               B_bar                 used by
=========================  ==================  ====================  =============
`euler`                    e^{dt A}            dt B                  Mamba-1, 2
`zero_order_hold`          e^{dt A}            (e^{dt A} - 1)/A B    S4D, S5
`bilinear`                 (1+dt A/2)/         dt/(1-dt A/2) B       S4, S5, H3
                           (1-dt A/2)
`exponential_trapezoidal`  e^{dt A}            two taps, see there   Mamba-3
=========================  ==================  ====================  =============

For smooth inputs the first three converge with order 1 (the bilinear rule would have
order 2 if u were averaged over the step; no model does that), the last with order 2
where its weight is 1/2.
"""

import numpy as np

from ._contract import checked, choose
from ._linalg import solve
from ._types import Number, Real

Diagonal = Number[np.ndarray, "*channels state"]
Steps = Real[np.ndarray, "*channels"]


@checked
def euler(A: Diagonal, B: Diagonal, dt: Steps) -> tuple[Diagonal, Diagonal]:
    """Return ``(e^{dt A}, dt B)``: exact decay, first-order input.

    The Mamba papers print `zero_order_hold`; their code has computed this from the
    beginning (state-spaces/mamba, issues 19, 114, 121).
    """
    return np.exp(dt[..., None] * A), dt[..., None] * B


@checked
def zero_order_hold(A: Diagonal, B: Diagonal, dt: Steps) -> tuple[Diagonal, Diagonal]:
    """Return ``(e^{dt A}, (e^{dt A} - 1)/A B)``: exact where u is constant in a step.

    S4D (arXiv 2206.11893), section 2; the limit dt B is taken at A = 0. By expm1, so
    that nothing cancels for small dt A, unlike the official code of S4D and S5.
    """
    exponent = dt[..., None] * A
    safe = np.where(exponent == 0, 1, exponent)
    growth = np.where(exponent == 0, 1, np.expm1(safe) / safe)
    return np.exp(exponent), growth * dt[..., None] * B


@checked
def bilinear(A: Diagonal, B: Diagonal, dt: Steps) -> tuple[Diagonal, Diagonal]:
    """Return ``((1 + dt A/2)/(1 - dt A/2), dt/(1 - dt A/2) B)``, Tustin's rule.

    S4 (arXiv 2111.00396), equation 3: only u[t], not the mean of u[t-1] and u[t],
    drives the step.
    """
    half = dt[..., None] * A / 2
    return (1 + half) / (1 - half), dt[..., None] * B / (1 - half)


@checked
def bilinear_dense(
    A: Number[np.ndarray, "*channels state state"], B: Diagonal, dt: Steps
) -> tuple[Number[np.ndarray, "*channels state state"], Diagonal]:
    """Return `bilinear` for a full matrix A: inverses instead of quotients.

    ::

        A_bar = (I - dt A/2)^-1 (I + dt A/2)
        B_bar = (I - dt A/2)^-1 dt B

    Raises ValueError where ``I - dt A/2`` is singular.
    """
    half = dt[..., None, None] * A / 2
    identity = np.eye(A.shape[-1], dtype=A.dtype)
    drive = (dt[..., None] * B)[..., None]
    both = solve(identity - half, np.concatenate([identity + half, drive], axis=-1))
    return both[..., :-1], both[..., -1]


@checked
def discretize(
    A: Diagonal, B: Diagonal, dt: Steps, *, method: str
) -> tuple[Diagonal, Diagonal]:
    """Return `zero_order_hold` or `bilinear`, for `method` ``"zoh"`` or ``"bilinear"``.

    The choice that S4D, S5 and H3 leave open.
    """
    choose("method", method, "zoh", "bilinear")
    return (zero_order_hold if method == "zoh" else bilinear)(A, B, dt)


@checked
def exponential_trapezoidal(
    A: Number[np.ndarray, "*shape"],
    dt: Real[np.ndarray, "*shape"],
    lam: Real[np.ndarray, "*shape"],
) -> tuple[
    Number[np.ndarray, "*shape"],
    Number[np.ndarray, "*shape"],
    Real[np.ndarray, "*shape"],
]:
    """Return (alpha, beta, gamma) of the rule with both end points of the step.

    ::

        x[t] = alpha x[t-1] + beta B[t-1] u[t-1] + gamma B[t] u[t]
        alpha = e^{dt A}    beta = (1 - lam) dt alpha    gamma = lam dt

    Mamba-3 (arXiv 2603.15569), section 3.1: the integral of
    ``e^{A (dt - s)} B u(s)`` over the step, by a weighted trapezoid. lam = 1 is
    `euler`, lam = 1/2 the trapezoidal rule.
    """
    alpha = np.exp(dt * A)
    return alpha, (1 - lam) * dt * alpha, lam * dt
