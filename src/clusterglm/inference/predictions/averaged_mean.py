"""The mean of a response with its derivatives, at a known intercept and averaged over random intercepts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from clusterglm.inference.predictions.count_mean import averaged_counts
from clusterglm.inference.predictions.marginal_mean import marginal_link
from clusterglm.inference.predictions.normal_rule import NARROW, WIDE, Settled, for_many_rows, refined
from clusterglm.model.arrays import Array, times
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.response.base import Response
from clusterglm.model.special import log_normal_density

_FLAT_MEAN = 1e-7  # where the mean moves less than this, what matters may lie outside the narrow rule
_TOLERANCE, _OF_AVERAGED_SLOPES, _NO_PART = 1e-11, 1e-9, 1e-30
_CERTAIN = 45.0  # linear predictors beyond leave a mean 3e-20 from 0 or 1
_ORDER = 16  # of the Gauss-Legendre rules
_FINEST_RULE = 1 << 11  # nodes of the trapezoid rule
_FAR_AVERAGED = 700.0  # a linear predictor beyond is as good as infinite


@dataclass(frozen=True)
class MeanJet:
    """Means and their derivatives, shape (n,) each.

    Parameters
    ----------
    mean, first, second : ndarray
        The mean (of one trial, or of the count) and its derivatives in the linear predictor.
    third : ndarray or None
        The third derivative; None for an averaged mean.
    by_sigma, first_by_sigma : ndarray
        Derivatives of `mean` and of `first` in sigma; zero at a known intercept.
    resolved : ndarray of bool
        Rows whose integrals settled.
    exists : bool
        False where the mean is infinite: counts whose intercept has too heavy tails.
    """

    mean: Array
    first: Array
    second: Array
    third: Array | None
    by_sigma: Array
    first_by_sigma: Array
    resolved: NDArray[np.bool_]
    exists: bool = True


def mean_jet(eta: Array, response: Response) -> MeanJet:
    """The mean at known intercepts.

    Parameters
    ----------
    eta : ndarray, shape (n,)
        Linear predictor, intercept included.
    response : Response
    """
    zero, settled = np.zeros(len(eta)), np.ones(len(eta), dtype=bool)
    return MeanJet(*response.mean_derivatives(eta), zero, zero, settled)


def link_jet(eta: Array) -> MeanJet:
    """Linear predictors at known intercepts in the place of means.

    Parameters
    ----------
    eta : ndarray, shape (n,)
    """
    zero = np.zeros(len(eta))
    return MeanJet(eta, np.ones(len(eta)), zero, zero, zero, zero, np.ones(len(eta), dtype=bool))


def averaged_link_jet(eta: Array, sigma: float, response: Response, distribution: Distribution) -> MeanJet:
    """Links of means averaged over intercepts sigma Z in the place of means; their second derivatives are nan.

    Parameters
    ----------
    eta, sigma, response, distribution
        As in `averaged_jet`.
    """
    at, unknown = marginal_link(eta, sigma, response, distribution), np.full(len(eta), np.nan)
    return MeanJet(at.link, at.by_eta, unknown, None, at.by_sigma, unknown, at.resolved, at.exists)


def averaged_jet(eta: Array, sigma: float, response: Response, distribution: Distribution) -> MeanJet:
    """The mean averaged over intercepts sigma Z.

    Parameters
    ----------
    eta : ndarray, shape (n,)
        Linear predictor at an intercept of zero, finite.
    sigma : float
        Scale of the intercept, not negative.
    response : Response
    distribution : Distribution
        Of Z.

    Notes
    -----
    Closed forms: counts (exp(eta) times the moment generating function at sigma), probit with Gaussian intercepts.
    Otherwise the trapezoid rule on the normal scale, halved until nothing changes; where the mean is too steep a
    function of the intercept (a large sigma, or heavy tails far from zero), `panel_rule`. Derivatives are taken under
    the integral. Many rows are read from a table.
    """
    n = len(eta)
    settled = np.ones(n, dtype=bool)
    if sigma == 0.0:
        return mean_jet(eta, response)
    if response.exponential_mean:
        one = marginal_link(np.zeros(1), sigma, response, distribution)
        with np.errstate(over="ignore"):
            mean = np.exp(eta + one.link[0])
        by_sigma = mean * one.by_sigma[0]
        return MeanJet(mean, mean, mean, None, by_sigma, by_sigma, settled, one.exists)
    if response.normal_latent and distribution.normal:
        root = float(np.hypot(1.0, sigma))
        z = eta / root
        density, slope = np.exp(log_normal_density(z)), -eta * sigma / root**3
        first_by_sigma = -density * (z * slope + sigma / root**2) / root
        second = -z * density / root**2
        return MeanJet(ndtr(z), density / root, second, None, density * slope, first_by_sigma, settled)
    if not response.trials:
        (mean, first, second, by_sigma, first_by_sigma), settled, exists = averaged_counts(
            eta, sigma, response, distribution
        )
        return MeanJet(mean, first, second, None, by_sigma, first_by_sigma, settled, exists)
    found, resolved = for_many_rows(eta, lambda values: _integrals(values, sigma, response, distribution))
    mean, first, second, by_sigma, first_by_sigma = found
    return MeanJet(mean, first, second, None, by_sigma, first_by_sigma, resolved)


def _integrals(eta: Array, sigma: float, response: Response, distribution: Distribution) -> tuple[Array, Settled]:
    """Mean, first and second derivative, and those of the first two in sigma, shape (5, n); which rows settled."""

    member = distribution.at(sigma)

    def integrand(rows: NDArray[np.int64], s: Array) -> Array:
        mean, first, second = bounded_means(eta[rows, None] + sigma * member.quantile_of_normal(s), response)
        wide = np.broadcast_to(distribution.by_sigma(s, sigma), mean.shape)
        return np.stack([mean, first, second, times(first, wide), times(second, wide)])

    def still(rows: NDArray[np.int64], one: Array, other: Array) -> Settled:
        return _unsettled(one, other, eta[rows])

    values, resolved = np.full((5, len(eta)), np.nan), np.zeros(len(eta), dtype=bool)
    with np.errstate(all="ignore"):  # far out anything may overflow, and has no weight there
        for half_width in (NARROW, WIDE):
            rows = np.flatnonzero(~resolved)
            if len(rows) > 0:
                values[:, rows], settled = refined(integrand, rows, half_width, _FINEST_RULE, still, distribution)
                resolved[rows] = settled & ((values[1, rows] > _FLAT_MEAN) | (half_width == WIDE))
        for row in np.flatnonzero(~resolved):
            one = np.array([row])
            for panels in (1, 2):
                s, weights = panel_rule(float(eta[row]), sigma, distribution, panels)
                before, values[:, row] = values[:, row].copy(), (integrand(one, s) @ weights)[:, 0]
            resolved[row] = not still(one, before[:, None], values[:, row, None])[0]
    return values, resolved & np.isfinite(values).all(axis=0)


def bounded_means(eta: Array, response: Response) -> tuple[Array, Array, Array]:
    """Mean of one trial and two derivatives, the latter exactly zero for linear predictors beyond 700, even infinite.

    Parameters
    ----------
    eta : ndarray, any shape
    response : Response
        Of the binomial family.
    """
    mean, first, second, _ = response.mean_derivatives(np.clip(eta, -_FAR_AVERAGED, _FAR_AVERAGED))
    near = np.abs(eta) < _FAR_AVERAGED
    return mean, np.where(near, first, 0.0), np.where(near, second, 0.0)


def panel_rule(eta: float, sigma: float, distribution: Distribution, panels: int = 2) -> tuple[Array, Array]:
    """Nodes on the normal scale, and weights with its density, for functions of the mean at eta + sigma T(s).

    Gauss-Legendre rules between points that lie close where the mean moves, however steeply, and evenly elsewhere.

    Parameters
    ----------
    eta, sigma : float
    distribution : Distribution
    panels : int
        For each unit of the linear predictor, and of the normal scale.
    """
    t = (np.linspace(-_CERTAIN, _CERTAIN, 2 * int(_CERTAIN) * panels + 1) - eta) / sigma
    steep = distribution.at(sigma).normal_of(t)
    even = np.linspace(-WIDE, WIDE, 4 * int(WIDE) * panels + 1)
    edges = np.unique(np.concatenate([even, steep[np.abs(steep) < WIDE], distribution.kinks]))
    x, w = np.polynomial.legendre.leggauss(_ORDER)
    half = 0.5 * np.diff(edges)[:, None]
    s = (0.5 * (edges[:-1] + edges[1:])[:, None] + half * x).ravel()
    return s, (half * w).ravel() * np.exp(log_normal_density(s))


def _unsettled(one: Array, other: Array, eta: Array) -> Settled:
    """Whether two rules, shape (5, r), still differ, relative to what the integrals are made of."""
    change = np.abs(one - other)
    size = np.maximum(other[1] * (1.0 + np.abs(eta)), np.abs(other[1:])) * _OF_AVERAGED_SLOPES + _NO_PART
    still: Settled = ~((change[0] <= _TOLERANCE * other[0] + _NO_PART) & (change[1:] <= size).all(axis=0))
    return still
