"""Profile intervals of the covariance of an intercept and a slope, logit, by brute force.

The integral is a sum over one lattice on the scale of standard normal effects, the same for every cluster; the profile
is maximised by SciPy's L-BFGS-B from several starts, with bounds of 0 for standard deviations and of +-pi/2 for the
angle whose sine is the correlation. Shares nothing with the package.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize

Array = NDArray[np.float64]
Value = Callable[[Array], tuple[float, Array]]

_DROP = 1.920729410347062  # half the 95% quantile of chi-square on one degree of freedom
_BOUNDS = ((None, None), (None, None), (0.0, None), (0.0, None), (-np.pi / 2, np.pi / 2))
_STARTS = ((0.0, 1.0, 1.0, 0.5, 0.3), (0.0, 1.0, 1.0, 0.3, -1.2), (0.0, 1.0, 1.0, 0.3, 1.2), (0.0, 1.0, 1.0, 0.01, 0.0))


def likelihood(y: Array, x: Array, size: int, step: float = 0.3, radius: float = 6.6) -> Value:
    """theta = (intercept, slope, their standard deviations, angle) -> log-likelihood and score."""
    axis = np.arange(-radius, radius + 1e-9, step)
    U = np.array(np.meshgrid(axis, axis)).reshape(2, -1)
    U = U[:, (U**2).sum(axis=0) <= radius**2]
    weights = -0.5 * (U**2).sum(axis=0) - np.log(2.0 * np.pi) + 2.0 * np.log(step)
    m, sign = len(y) // size, 2.0 * y - 1.0

    def value(theta: Array) -> tuple[float, Array]:
        b0, b1, s1, s2, angle = theta
        sine, cosine = np.sin(angle), np.cos(angle)
        eta = (b0 + b1 * x)[:, None] + s1 * U[0] + x[:, None] * (s2 * (sine * U[0] + cosine * U[1]))
        small = np.exp(-np.abs(eta))
        log_p = np.minimum(sign[:, None] * eta, 0.0) - np.log1p(small)
        gap = y[:, None] - np.where(eta > 0.0, 1.0 / (1.0 + small), small / (1.0 + small))
        terms = log_p.reshape(m, size, -1).sum(axis=1) + weights
        most = terms.max(axis=1, keepdims=True)
        w = np.exp(terms - most)
        total = w.sum(axis=1)
        w /= total[:, None]
        plain = w * gap.reshape(m, size, -1).sum(axis=1)
        tilted = w * (gap * x[:, None]).reshape(m, size, -1).sum(axis=1)
        one, two = (tilted * U[0]).sum(), (tilted * U[1]).sum()
        score = (
            plain.sum(),
            tilted.sum(),
            (plain * U[0]).sum(),
            sine * one + cosine * two,
            s2 * (cosine * one - sine * two),
        )
        return float((np.log(total) + most[:, 0]).sum()), np.array(score)

    return value


def profile_intervals(y: Array, x: Array, size: int) -> Array:
    """95% intervals of both standard deviations and of the correlation, shape (3, 2); clusters have `size` rows."""
    value = likelihood(np.asarray(y, dtype=float), np.asarray(x, dtype=float), size)
    top, best = _maximum(value, None, 0.0, [np.array(start) for start in _STARTS])
    ends = [_interval(value, k, best, top) for k in (2, 3, 4)]
    ends[2] = (float(np.sin(ends[2][0])), float(np.sin(ends[2][1]))) if best[3] > 1e-6 else (-1.0, 1.0)
    return np.array(ends)


def _maximum(value: Value, held: int | None, at: float, starts: list[Array]) -> tuple[float, Array]:
    free = [j for j in range(5) if j != held]
    top, best = -np.inf, starts[0]
    for start in starts:
        begin = start.copy()
        if held is not None:
            begin[held] = at

        def negative(some: Array, begin: Array = begin) -> tuple[float, Array]:
            theta = begin.copy()
            theta[free] = some
            found, score = value(theta)
            return -found, -score[free]

        options = {"ftol": 1e-13, "gtol": 1e-7, "maxiter": 300}
        bounds = [_BOUNDS[j] for j in free]
        found = minimize(negative, begin[free], jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        if -found.fun > top:
            top, best = -float(found.fun), begin
            best[free] = found.x
    return top, best


def _interval(value: Value, k: int, best: Array, top: float) -> tuple[float, float]:
    starts = [best.copy() for _ in range(3)]
    for start, sd, angle in zip(starts[1:], (0.3, 0.5), (0.0, 0.9), strict=True):
        start[2:] = max(best[2], 0.1), max(best[3], sd), angle
    ends = []
    for side, limit in zip((-1.0, 1.0), _BOUNDS[k], strict=True):

        def above(at: float) -> float:
            return _maximum(value, k, at, starts)[0] - (top - _DROP)

        if limit is not None and above(limit) >= 0.0:
            ends.append(limit)
            continue
        near, far = best[k], best[k]
        while above(far) >= 0.0:
            near, far = far, far + side * 0.15
            far = far if limit is None or side * (far - limit) < 0.0 else limit
        ends.append(float(brentq(above, near, far, xtol=1e-5, rtol=1e-6)))
    return ends[0], ends[1]
