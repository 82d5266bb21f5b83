"""The mean of a response with its derivatives, at a known intercept and averaged over random intercepts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from clusterglm.inference.marginal_mean import marginal_link, normal_score
from clusterglm.inference.partial_effects import mean_derivatives
from clusterglm.likelihood.rules import averaging_rule
from clusterglm.model.arrays import Array, times
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.response.base import Response
from clusterglm.model.special import log_normal_density

_Integrand: TypeAlias = Callable[[Array, Array], Array]

_NARROW, _WIDE = 9.0, 37.0  # half-widths: the standard normal leaves 2e-19 outside the first, float64 nothing the other
_STEP = 0.25  # of the coarsest rule
_FLAT = 1e-7  # where the mean moves less than this, what matters may lie outside the narrow rule
_TOLERANCE, _OF_SLOPES, _NOTHING = 1e-11, 1e-9, 1e-30
_STEEP = 45.0  # linear predictors beyond leave a mean 3e-20 from 0 or 1
_ORDER = 16  # of the Gauss-Legendre rules
_FIRST, _FINEST = 1 << 6, 1 << 11  # nodes of the rules on the normal scale
_BLOCK = 1 << 16  # elements at a time
_FAR = 700.0  # a linear predictor beyond is as good as infinite
_GRID = 1.0 / 128.0  # step in eta of the table that serves many rows
_STENCIL = np.arange(-2, 4)


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
    if response.link == "log":
        mean = response.mean(eta)
        return MeanJet(mean, mean, mean, mean, zero, zero, settled)
    return MeanJet(*mean_derivatives(eta, response), zero, zero, settled)


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
    the integral. Many rows are interpolated from a fine table in eta, to about 1e-11.
    """
    n = len(eta)
    settled = np.ones(n, dtype=bool)
    if sigma == 0.0:
        return mean_jet(eta, response)
    if response.link == "log":
        one = marginal_link(np.zeros(1), sigma, response, distribution)
        with np.errstate(over="ignore"):
            mean = np.exp(eta + one.link[0])
        by_sigma = mean * one.by_sigma[0]
        return MeanJet(mean, mean, mean, None, by_sigma, by_sigma, settled, one.exists)
    if response.link == "probit" and distribution.code == "gaussian":
        root = float(np.hypot(1.0, sigma))
        z = eta / root
        density, slope = np.exp(log_normal_density(z)), -eta * sigma / root**3
        first_by_sigma = -density * (z * slope + sigma / root**2) / root
        second = -z * density / root**2
        return MeanJet(ndtr(z), density / root, second, None, density * slope, first_by_sigma, settled)
    different, place = np.unique(eta, return_inverse=True)
    if n > 0 and (different[-1] - different[0]) / _GRID + len(_STENCIL) < 0.5 * len(different):
        found, settled = _from_table(eta, sigma, response, distribution)
    else:
        found, settled = _integrals(different, sigma, response, distribution)
        found, settled = found[:, place], settled[place]
    mean, first, second, by_sigma, first_by_sigma = found
    return MeanJet(mean, first, second, None, by_sigma, first_by_sigma, settled)


def _from_table(
    eta: Array, sigma: float, response: Response, distribution: Distribution
) -> tuple[Array, NDArray[np.bool_]]:
    """Sixth-order interpolation between points of a regular grid."""
    first = np.floor(eta.min() / _GRID) + _STENCIL[0]
    count = int(np.floor(eta.max() / _GRID) + _STENCIL[-1] - first) + 1
    table, resolved = _integrals((first + np.arange(count)) * _GRID, sigma, response, distribution)
    position = eta / _GRID - first
    left = np.floor(position).astype(np.int64)
    fraction = position - left
    found, settled = np.zeros((5, len(eta))), np.ones(len(eta), dtype=bool)
    for k in _STENCIL:  # Lagrange's weights
        weight = np.ones(len(eta))
        for other in _STENCIL[k != _STENCIL]:
            weight *= (fraction - other) / (k - other)
        found += weight * table[:, left + k]
        settled &= resolved[left + k]
    return found, settled


def _integrals(
    eta: Array, sigma: float, response: Response, distribution: Distribution
) -> tuple[Array, NDArray[np.bool_]]:
    """Mean, first and second derivative, and those of the first two in sigma, shape (5, n); which rows settled."""

    member = distribution.at(sigma)

    def integrand(rows: Array, s: Array) -> Array:
        mean, first, second = bounded_means(rows[:, None] + sigma * member.quantile_of_normal(s), response)
        wide = np.broadcast_to(distribution.by_sigma(s, sigma), mean.shape)
        return np.stack([mean, first, second, times(first, wide), times(second, wide)])

    values, resolved = np.full((5, len(eta)), np.nan), np.zeros(len(eta), dtype=bool)
    with np.errstate(all="ignore"):  # far out anything may overflow, and has no weight there
        for half_width in (_NARROW, _WIDE):
            rows = np.flatnonzero(~resolved)
            if len(rows) > 0:
                if distribution.kinks or distribution.own_scale:
                    values[:, rows], settled = _by_other_rules(integrand, eta[rows], half_width, distribution)
                else:
                    values[:, rows], settled = _refined(integrand, eta[rows], half_width)
                resolved[rows] = settled & ((values[1, rows] > _FLAT) | (half_width == _WIDE))
        for row in np.flatnonzero(~resolved):
            one = eta[row : row + 1]
            for panels in (1, 2):
                s, weights = panel_rule(float(one[0]), sigma, distribution, panels)
                before, values[:, row] = values[:, row].copy(), (integrand(one, s) @ weights)[:, 0]
            resolved[row] = not _unsettled(before[:, None], values[:, row, None], one)[0]
    return values, resolved & np.isfinite(values).all(axis=0)


def bounded_means(eta: Array, response: Response) -> tuple[Array, Array, Array]:
    """Mean of one trial and two derivatives, the latter exactly zero for linear predictors beyond 700, even infinite.

    Parameters
    ----------
    eta : ndarray, any shape
    response : Response
        Of the binomial family.
    """
    mean, first, second, _ = mean_derivatives(np.clip(eta, -_FAR, _FAR), response)
    near = np.abs(eta) < _FAR
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
    t = (np.linspace(-_STEEP, _STEEP, 2 * int(_STEEP) * panels + 1) - eta) / sigma
    steep = normal_score(distribution.at(sigma), t)
    even = np.linspace(-_WIDE, _WIDE, 4 * int(_WIDE) * panels + 1)
    edges = np.unique(np.concatenate([even, steep[np.abs(steep) < _WIDE], distribution.kinks]))
    x, w = np.polynomial.legendre.leggauss(_ORDER)
    half = 0.5 * np.diff(edges)[:, None]
    s = (0.5 * (edges[:-1] + edges[1:])[:, None] + half * x).ravel()
    return s, (half * w).ravel() * np.exp(log_normal_density(s))


def _refined(integrand: _Integrand, eta: Array, half_width: float) -> tuple[Array, NDArray[np.bool_]]:
    """Trapezoid rules with twice the nodes each, until nothing changes: integrals (5, r), and which rows settled."""
    step = _STEP
    s = np.arange(-half_width, half_width + 0.5 * step, step)
    values = _sums(integrand, eta, s, step)
    open_ = np.arange(len(eta))
    while len(open_) > 0 and len(s) < _FINEST:
        more = _sums(integrand, eta[open_], s[:-1] + 0.5 * step, step)
        before = values[:, open_]
        values[:, open_] = 0.5 * (before + more)
        still = _unsettled(more, before, eta[open_])
        open_ = open_[still]
        s, step = np.arange(-half_width, half_width + 0.25 * step, 0.5 * step), 0.5 * step
    settled = np.ones(len(eta), dtype=bool)
    settled[open_] = False
    return values, settled


def _by_other_rules(
    integrand: _Integrand, eta: Array, half_width: float, distribution: Distribution
) -> tuple[Array, NDArray[np.bool_]]:
    """The same with the rules that the distribution asks for."""
    nodes, open_ = _FIRST, np.arange(len(eta))
    values = _weighted(integrand, eta, *averaging_rule(distribution, nodes, half_width))
    while len(open_) > 0 and nodes < _FINEST:
        nodes *= 2
        finer = _weighted(integrand, eta[open_], *averaging_rule(distribution, nodes, half_width))
        still = _unsettled(finer, values[:, open_], eta[open_])
        values[:, open_] = finer
        open_ = open_[still]
    settled = np.ones(len(eta), dtype=bool)
    settled[open_] = False
    return values, settled


def _unsettled(one: Array, other: Array, eta: Array) -> NDArray[np.bool_]:
    """Whether two rules, shape (5, r), still differ, relative to what the integrals are made of."""
    change = np.abs(one - other)
    size = np.maximum(other[1] * (1.0 + np.abs(eta)), np.abs(other[1:])) * _OF_SLOPES + _NOTHING
    still: NDArray[np.bool_] = ~((change[0] <= _TOLERANCE * other[0] + _NOTHING) & (change[1:] <= size).all(axis=0))
    return still


def _sums(integrand: _Integrand, eta: Array, s: Array, step: float) -> Array:
    return _weighted(integrand, eta, s, step * np.exp(log_normal_density(s)))


def _weighted(integrand: _Integrand, eta: Array, s: Array, weights: Array) -> Array:
    size = max(1, _BLOCK // len(s))
    return np.concatenate([integrand(eta[k : k + size], s) @ weights for k in range(0, len(eta), size)], axis=1)
