"""Means of counts that are no exponentials of the linear predictor, averaged over random intercepts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.inference.diagnostics.residuals import log_moment
from clusterglm.inference.predictions.normal_rule import NARROW, WIDE, Settled, for_many_rows, refined
from clusterglm.model.arrays import Array, times
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.response.base import Response

_FINEST_OF_COUNTS = 1 << 11  # nodes of the trapezoid rule
_TOLERANCE, _OF_COUNTS_SLOPES = 1e-11, 1e-9  # relative to what the integrals are made of
_OUTERMOST_COUNT = 600.0  # linear predictors beyond have no weight, or no mean exists


def averaged_counts(
    eta: Array, sigma: float, response: Response, distribution: Distribution
) -> tuple[Array, NDArray[np.bool_], bool]:
    """The mean, its first two derivatives, and those of the first two in sigma, by refined trapezoid rules.

    Parameters
    ----------
    eta : ndarray, shape (n,)
        Linear predictor at an intercept of zero.
    sigma : float
        Above 0.
    response : Response
        Whose mean grows like exp(eta).
    distribution : Distribution

    Returns
    -------
    values : ndarray, shape (5, n)
    resolved : ndarray of bool, shape (n,)
        Rows whose integrals settled.
    exists : bool
        Whether the mean is finite.
    """
    if not np.isfinite(log_moment(distribution, 1, sigma)[0]):
        return np.full((5, len(eta)), np.inf), np.ones(len(eta), dtype=bool), False
    member = distribution.at(sigma)

    def integrals(values: Array) -> tuple[Array, Settled]:
        def integrand(rows: NDArray[np.int64], s: Array) -> Array:
            at = values[rows, None] + sigma * member.quantile_of_normal(s)
            mean, first, second, _ = response.mean_derivatives(np.clip(at, -_OUTERMOST_COUNT, _OUTERMOST_COUNT))
            wide = np.broadcast_to(distribution.by_sigma(s, sigma), mean.shape)
            return np.stack([mean, first, second, times(first, wide), times(second, wide)])

        found, settled = np.full((5, len(values)), np.nan), np.zeros(len(values), dtype=bool)
        with np.errstate(all="ignore"):  # far out anything may overflow, and has no weight there
            for half_width in (NARROW, WIDE):
                rows = np.flatnonzero(~settled)
                if len(rows) > 0:
                    own = distribution if half_width == NARROW else None
                    found[:, rows], settled[rows] = refined(integrand, rows, half_width, _FINEST_OF_COUNTS, _moved, own)
                    if half_width == NARROW:  # which is wide enough where an exponential of the intercept lies within
                        settled &= sigma * member.quantile_of_normal(np.array([NARROW]))[0] < 0.5 * NARROW**2 - 20.0
        return found, settled & np.isfinite(found).all(axis=0)

    found, resolved = for_many_rows(eta, integrals)
    return found, resolved, True


def _moved(rows: NDArray[np.int64], one: Array, other: Array) -> Settled:
    """Whether two rules, shape (5, r), still differ."""
    change = np.abs(one - other)
    size = _OF_COUNTS_SLOPES * np.maximum(np.abs(other[1:]), other[0])
    still: Settled = ~((change[0] <= _TOLERANCE * other[0]) & (change[1:] <= size).all(axis=0))
    return still
