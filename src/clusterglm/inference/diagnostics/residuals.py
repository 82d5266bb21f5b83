"""Residuals of single rows: of given linear predictors, or averaged over the distribution of the intercept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import OptionError
from clusterglm.inference.diagnostics.quantile_residuals import over_intercepts
from clusterglm.likelihood.scalar.rules import averaging_rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.response.base import Response

KINDS = ("response", "pearson", "deviance")

_NORMAL_REACH = 37.0  # of the standard normal in float64
_EXPONENTIAL_NODES = 2 * 3700 + 1  # for moments of the exponential
_INSIDE = 25.0  # an integrand whose log falls so far by the ends has its mass inside


@dataclass(frozen=True)
class MarginalMoments:
    """Moments of one trial or count, the cluster's intercept drawn at random.

    Parameters
    ----------
    mean : ndarray, shape (n,)
        Average over intercepts of the mean. inf where the average does not exist, as that of a count when the
        intercept's tails are heavy.
    between : ndarray, shape (n,)
        Variance of the mean between clusters.
    within : ndarray, shape (n,)
        Average variance of one trial or count given the intercept.
    unresolved : int
        Rows whose integral did not settle to 1e-10.
    """

    mean: Array
    between: Array
    within: Array
    unresolved: int = 0


def observed(response: Response, a: Array, b: Array) -> Array:
    """The observed mean of each row: share of successes, or count.

    Parameters
    ----------
    response : Response
    a, b : ndarray, shape (n,)
        Weighted successes and failures, or weighted counts and weights.
    """
    return np.asarray(a / response.sizes(a, b))


def residuals(kind: str, response: Response, eta: Array, a: Array, b: Array) -> Array:
    """Residuals, row by row.

    Parameters
    ----------
    kind : {"response", "pearson", "deviance"}
        Observed minus mean; the same over its standard deviation; or the signed root of the row's deviance. The last
        two carry the row's weight.
    response : Response
    eta : ndarray, shape (n,)
        Linear predictor.
    a, b : ndarray, shape (n,)
        The data of each row.

    Returns
    -------
    ndarray, shape (n,)
    """
    mean = response.mean(eta)
    difference = observed(response, a, b) - mean
    if kind == "response":
        return difference
    if kind == "pearson":
        return _standardised(difference, response.variance(mean) * response.overdispersion(a, b) / response.sizes(a, b))
    lack = response.saturated(a, b) - response.value(eta, a, b)
    return np.asarray(np.copysign(np.sqrt(2.0 * np.maximum(lack, 0.0)), difference))


def marginal_residuals(kind: str, response: Response, moments: MarginalMoments, a: Array, b: Array) -> Array:
    """Residuals from the mean over all clusters.

    Parameters
    ----------
    kind : {"response", "pearson"}
        The second has the variance of the mean between clusters in its denominator.
    response : Response
    moments : MarginalMoments
        Of the n rows.
    a, b : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    OptionError
        Where the mean does not exist or, for Pearson residuals, the variance.
    """
    needed = [moments.mean] if kind == "response" else [moments.mean, moments.between]
    lost = int(np.count_nonzero(~np.isfinite(needed).all(axis=0)))
    if lost > 0:
        raise OptionError(
            f"{kind} residuals over all clusters in {lost} rows whose moments do not exist or lie too far out",
            "intercepts with tails light enough: a count's moments are averages of exponentials of the intercept",
            'intercepts="conditional"; or kind="quantile", which needs no moments',
        )
    difference = observed(response, a, b) - moments.mean
    if kind == "response":
        return difference
    within = moments.within * response.overdispersion(a, b)
    return _standardised(difference, moments.between + within / response.sizes(a, b))


def marginal_moments(
    response: Response, eta: Array, distribution: Distribution, sigma: float | Array
) -> MarginalMoments:
    """Mean and variance of a row when its cluster is any cluster.

    Parameters
    ----------
    response : Response
    eta : ndarray, shape (n,)
        Linear predictor at an intercept of zero.
    distribution : Distribution
    sigma : float, or ndarray of shape (n,)
        Scale of the intercept; see `over_intercepts`.
    """
    if response.exponential_mean:  # the intercept is a factor of the mean
        first, second = (_exponential_moments(distribution, order, sigma) for order in (1, 2))
        mean, square = response.mean(eta) * first, response.mean(2.0 * eta)
        with np.errstate(invalid="ignore"):
            spread = np.where(np.isfinite(second), second - first**2, second)
        curved = response.variance_curvature
        within = response.variance_slope * mean + (curved * square * second if curved else 0.0)
        return MarginalMoments(mean, square * spread, within)

    sizes = np.ones((2, len(eta)))
    if response.unbounded_counts:  # averages settle to a share of these, which are about as large
        first, second = (_exponential_moments(distribution, order, sigma) for order in (1, 2))
        with np.errstate(over="ignore"):
            sizes += np.nan_to_num(np.exp([eta, 2.0 * eta]) * np.stack([first + 0.0 * eta, second + 0.0 * eta]))

    def moments(rows: NDArray[np.int64], shift: Array) -> Array:
        mean, (size, squared) = response.mean(eta[rows, None] + shift), sizes[:, rows, None]
        return np.stack([mean / size, mean * mean / squared, response.variance(mean) / squared])

    averages, unresolved = over_intercepts(moments, len(eta), distribution, sigma)
    mean, square, within = averages * sizes[[0, 1, 1]]
    return MarginalMoments(mean, np.maximum(square - mean**2, 0.0), within, unresolved)


def with_zeros_for_certain(counts: MarginalMoments, share: Array) -> MarginalMoments:
    """Moments of counts that are 0 for certain with a probability of each row, shape (n,), whatever the intercept."""
    rest = 1.0 - share
    within = rest * (counts.within + share * (counts.between + counts.mean**2))
    return MarginalMoments(rest * counts.mean, rest**2 * counts.between, within, counts.unresolved)


def _exponential_moments(distribution: Distribution, order: int, sigma: float | Array) -> Array:
    """E exp(order b) of the intercept b at each sigma."""
    scales, where = np.unique(sigma, return_inverse=True)
    with np.errstate(over="ignore"):
        return np.exp([log_moment(distribution, order, float(each))[0] for each in scales])[
            where.reshape(np.shape(sigma))
        ]


def log_moment(distribution: Distribution, order: float, sigma: float) -> tuple[float, float]:
    """log E exp(order b) of the intercept b and its derivative in sigma.

    inf and nan where it does not exist, nan where it lies too far out to compute. In closed form where the distribution
    has one, otherwise by the trapezoid rule on the normal scale, in logarithms, as far as float64 knows the normal
    distribution.
    """
    if sigma == 0.0:
        return 0.0, float("nan")
    known = distribution.log_moment(order, sigma)
    if known is not None:
        return known
    if distribution.moment_order < np.inf:
        return float("inf"), float("nan")
    step = 1e-4 * sigma
    low, middle, high = (_log_moment(distribution, order, each) for each in (sigma - step, sigma, sigma + step))
    return middle, (high - low) / (2.0 * step) if np.isfinite(middle) else float("nan")


def _log_moment(distribution: Distribution, order: float, sigma: float) -> float:
    s, weights = averaging_rule(distribution, _EXPONENTIAL_NODES, _NORMAL_REACH)
    with np.errstate(over="ignore", divide="ignore"):
        height = order * sigma * distribution.at(sigma).quantile_of_normal(s) + np.log(weights)
    top = float(height.max())
    end, before = (height[-1], height[-2]) if order > 0 else (height[0], height[1])
    if np.isfinite(top) and end < top - _INSIDE:
        return float(top + np.log(np.exp(height - top).sum()))
    return float("inf") if not np.isfinite(top) or end >= before else float("nan")


def _standardised(difference: Array, variance: Array) -> Array:
    """A mean that rounds to the border has variance 0: the residual is 0 where the row lies there too, or inf."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0.0, 0.0, difference / np.sqrt(variance))
