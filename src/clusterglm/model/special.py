"""log Phi and its derivatives, accurate in relative terms from the far lower to the far upper tail."""

from __future__ import annotations

import numpy as np
from scipy.special import erfcx, log_ndtr

from clusterglm.model.arrays import Array, Jet

LOG_2PI = float(np.log(2.0 * np.pi))
_TAIL = -2.0  # below it the plain recurrence loses digits: it subtracts nearly equal numbers
_LEVELS = 100  # of the continued fraction; enough for the fourth derivative at x = -2


def log_normal_density(s: Array) -> Array:
    """log phi(s), elementwise."""
    return -0.5 * s * s - 0.5 * LOG_2PI


def log_normal_cdf(x: Array) -> Jet:
    """log Phi(x) and its first four derivatives.

    Parameters
    ----------
    x : ndarray
        Any shape, finite.

    Returns
    -------
    tuple of five ndarrays
        Shaped like `x`; no NaN and no warning for finite `x`.
    """
    x = np.asarray(x, dtype=np.float64)
    high = np.maximum(x, _TAIL)
    # z = phi / Phi; then z' = -z (x + z), and so on by the product rule
    z = np.sqrt(2.0 / np.pi) / erfcx(-high / np.sqrt(2.0))
    d = high + z
    e = 1.0 - z * d  # derivative of d
    z1 = -z * d
    z2 = -(z1 * d + z * e)
    z3 = -(z2 * d + 2.0 * z1 * e + z * (-z1 * d - z * e))
    derivatives = [z, z1, z2, z3]
    tail = x < _TAIL
    if np.any(tail):
        for whole, part in zip(derivatives, _tail_derivatives(-x[tail]), strict=True):
            whole[tail] = part
    return log_ndtr(x), derivatives[0], derivatives[1], derivatives[2], derivatives[3]


def _tail_derivatives(y: Array) -> tuple[Array, Array, Array, Array]:
    """Derivatives 1 to 4 of log Phi at -y, y > 2.

    phi/Phi at -y is y + 1/(y + 2/(y + 3/(y + ...))) (Laplace); each level is differentiated with the rest,
    and only sums of the same sign or of very different size remain.
    """
    # deep in the fraction w is nearly the fixed point of w = y + n / w: a start that saves many levels
    n = _LEVELS + 1.0
    root = np.sqrt(y * y + 4.0 * n)
    w0, w1, w2, w3 = 0.5 * (y + root), 0.5 + 0.5 * y / root, 2.0 * n / root**3, -6.0 * n * y / root**5
    for k in range(_LEVELS, 0, -1):  # w <- y + k / w with three derivatives in y
        u = 1.0 / w0
        s1, s2, s3 = w1 * u, w2 * u, w3 * u
        w0 = y + k * u
        w1 = 1.0 - k * u * s1
        w2 = k * u * (2.0 * s1 * s1 - s2)
        w3 = k * u * (6.0 * s1 * s2 - 6.0 * s1 * s1 * s1 - s3)
    # d/dx = -d/dy
    return w0, -w1, w2, -w3
