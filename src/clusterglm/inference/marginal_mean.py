"""The mean of a response averaged over the distribution of the random intercept, on the scale of the link."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from clusterglm.inference.residuals import log_moment
from clusterglm.likelihood.rules import averaging_rule
from clusterglm.model.arrays import Array, times
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.response.base import Response
from clusterglm.model.special import log_normal_density

_Integrand: TypeAlias = Callable[[NDArray[np.int64], Array], Array]

_HALF_WIDTH = 9.0  # the standard normal leaves 2e-19 outside ...
_WIDE = 37.0  # ... and float64 nothing
_STEP = 0.25  # of the coarsest rule
_RARE = 1e-7  # a probability below this lies too far out for the narrow rule
_NOTHING = 1e-290  # a probability below this has no digits left
_TOLERANCE, _OF_SLOPES = 1e-11, 1e-8  # relative to the probability
_FIRST, _FINE, _FINEST = 1 << 6, 1 << 11, 1 << 14  # nodes
_BLOCK = 1 << 18  # elements at a time
_FAR = 1e4  # a linear predictor beyond is as good as infinite
_GRID = 1.0 / 128.0  # step in eta of the table that serves many rows
_STENCIL = np.arange(-2, 4)


@dataclass(frozen=True)
class MarginalLink:
    """The link of the averaged mean, and how it moves.

    Parameters
    ----------
    link : ndarray, shape (n,)
        Linear predictor at which a row without random intercept has the averaged mean; inf where there is none.
    by_eta, by_sigma : ndarray, shape (n,)
        Its derivatives in the linear predictor and in sigma; nan where `link` is inf.
    exists : bool
        False where the mean is infinite: counts whose intercept has too heavy tails.
    resolved : ndarray of bool, shape (n,)
        Rows whose integral settled, to a relative error of the probability of about 1e-11; False also where that
        probability is below 1e-290 and `link` therefore infinite.
    """

    link: Array
    by_eta: Array
    by_sigma: Array
    exists: bool
    resolved: NDArray[np.bool_]


def marginal_link(eta: Array, sigma: float, response: Response, distribution: Distribution) -> MarginalLink:
    """Average the mean over intercepts sigma Z.

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
    Closed forms: counts (exp(eta) times the moment generating function at sigma) and probit with Gaussian intercepts.
    Otherwise the trapezoid rule on the normal scale, halved until nothing changes. Where the mean is steep as a
    function of the intercept (heavy tails far from zero) the parts change places: with F the mean, as a function of the
    linear predictor the distribution function of a latent variable L, E F(eta + sigma Z) = E P(Z > (L - eta) / sigma).
    Many rows are interpolated from a fine table in eta, to about 1e-11.
    """
    n = len(eta)
    if sigma == 0.0:
        return MarginalLink(eta, np.ones(n), np.zeros(n), True, np.ones(n, dtype=bool))
    if response.link == "log":
        shift, slope = log_moment(distribution, 1, sigma)
        exists = bool(np.isfinite(shift))
        by_eta = np.full(n, 1.0 if exists else np.nan)
        return MarginalLink(eta + shift, by_eta, np.full(n, slope), exists, np.ones(n, dtype=bool))
    if response.link == "probit" and distribution.code == "gaussian":
        root = np.hypot(1.0, sigma)
        by_sigma = -eta * sigma / root**3
        return MarginalLink(eta / root, np.full(n, 1.0 / root), by_sigma, True, np.ones(n, dtype=bool))
    different, place = np.unique(eta, return_inverse=True)
    if n > 0 and (different[-1] - different[0]) / _GRID + len(_STENCIL) < 0.5 * len(different):
        return _from_table(eta, sigma, response, distribution)
    values, resolved = _integrals(different, sigma, response, distribution)
    link, by_eta, by_sigma = values[:, place]
    return MarginalLink(link, by_eta, by_sigma, True, resolved[place])


def _from_table(eta: Array, sigma: float, response: Response, distribution: Distribution) -> MarginalLink:
    """Sixth-order interpolation between points of a regular grid."""
    first = np.floor(eta.min() / _GRID) + _STENCIL[0]
    count = int(np.floor(eta.max() / _GRID) + _STENCIL[-1] - first) + 1
    table, resolved = _integrals((first + np.arange(count)) * _GRID, sigma, response, distribution)
    position = eta / _GRID - first
    left = np.floor(position).astype(np.int64)
    fraction = position - left
    found, settled = np.zeros((3, len(eta))), np.ones(len(eta), dtype=bool)
    for k in _STENCIL:  # Lagrange's weights
        weight = np.ones(len(eta))
        for other in _STENCIL[k != _STENCIL]:
            weight *= (fraction - other) / (k - other)
        found += weight * table[:, left + k]
        settled &= resolved[left + k]
    return MarginalLink(found[0], found[1], found[2], True, settled)


def _integrals(
    eta: Array, sigma: float, response: Response, distribution: Distribution
) -> tuple[Array, NDArray[np.bool_]]:
    """Link of the mean and its derivatives in eta and sigma, shape (3, n); and which rows settled."""
    # the probability of the rarer outcome, which loses nothing where the other rounds to one
    success = (eta <= response.link_function(np.array([0.5]))[0]).astype(np.float64)
    sign = 2.0 * success - 1.0

    member = distribution.at(sigma)

    def over_intercepts(rows: NDArray[np.int64], s: Array) -> Array:
        t, r = member.quantile_of_normal(s), distribution.by_sigma(s, sigma)
        at = np.clip(eta[rows, None] + sigma * t, -_FAR, _FAR)
        p = np.exp(response.value(at, success[rows, None], 1.0 - success[rows, None]))
        slope = sign[rows, None] * response.mean_derivative(at)
        return np.stack([p, slope, times(slope, np.broadcast_to(r, slope.shape))])

    def over_latent(rows: NDArray[np.int64], s: Array) -> Array:
        z = (_latent(s, response) - eta[rows, None]) / sigma
        density = sign[rows, None] * np.exp(member.log_density(z)[0]) / sigma
        r = z if distribution.scale_family else distribution.by_sigma(normal_score(member, z), sigma)
        return np.stack([np.where(success[rows, None] == 1.0, member.sf(z), member.cdf(z)), density, density * r])

    values, resolved = np.full((3, len(eta)), np.nan), np.zeros(len(eta), dtype=bool)
    with np.errstate(all="ignore"):  # far out anything may overflow, and has no weight there
        for integrand, half_width, most in (
            (over_intercepts, _HALF_WIDTH, _FINE),
            (over_intercepts, _WIDE, _FINE),
            (over_latent, _WIDE, _FINEST),
            (over_intercepts, _WIDE, _FINEST),
        ):
            rows = np.flatnonzero(~resolved)
            if len(rows) == 0:
                break
            if integrand is over_intercepts and (distribution.kinks or distribution.own_scale):
                found, settled = _by_other_rules(integrand, rows, half_width, most, distribution)
            else:
                found, settled = _refined(integrand, rows, half_width, most)
            settled &= (found[0] > _RARE) | (half_width == _WIDE)
            keep = settled | np.isnan(values[0, rows])
            values[:, rows[keep]], resolved[rows[settled]] = found[:, keep], True
        rare, by_eta, by_sigma = values
        link = np.where(success == 1.0, response.link_function(rare), 0.0)
        upper = success == 0.0
        link[upper] = _link_of_failures(rare[upper], response)
        link = np.where(rare < _NOTHING, -sign * np.inf, link)
        slope = sign * response.mean_derivative(link)
        answer = np.stack([link, by_eta / slope, by_sigma / slope])
    return answer, resolved & np.isfinite(answer).all(axis=0)


def _refined(
    integrand: _Integrand, rows: NDArray[np.int64], half_width: float, most: int
) -> tuple[Array, NDArray[np.bool_]]:
    """Trapezoid rules with twice the nodes each, until nothing changes: integrals (3, r), and which rows settled."""
    step = _STEP
    s = np.arange(-half_width, half_width + 0.5 * step, step)
    values = _sums(integrand, rows, s, step)
    open_ = np.arange(len(rows))
    while len(open_) > 0 and len(s) < most:
        between = s[:-1] + 0.5 * step
        more = _sums(integrand, rows[open_], between, step)
        change = more - values[:, open_]
        values[:, open_] = 0.5 * (values[:, open_] + more)
        open_ = open_[~_settled(change, values[0, open_])]
        s, step = np.arange(-half_width, half_width + 0.25 * step, 0.5 * step), 0.5 * step
    settled = np.ones(len(rows), dtype=bool)
    settled[open_] = False
    return values, settled


def _by_other_rules(
    integrand: _Integrand, rows: NDArray[np.int64], half_width: float, most: int, distribution: Distribution
) -> tuple[Array, NDArray[np.bool_]]:
    """The same with the rules that the distribution asks for."""
    nodes, open_ = _FIRST, np.arange(len(rows))
    values = _weighted(integrand, rows, *averaging_rule(distribution, nodes, half_width))
    while len(open_) > 0 and nodes < most:
        nodes *= 2
        finer = _weighted(integrand, rows[open_], *averaging_rule(distribution, nodes, half_width))
        still = ~_settled(finer - values[:, open_], finer[0])
        values[:, open_] = finer
        open_ = open_[still]
    settled = np.ones(len(rows), dtype=bool)
    settled[open_] = False
    return values, settled


def _settled(change: Array, size: Array) -> NDArray[np.bool_]:
    change = np.abs(change)
    there: NDArray[np.bool_] = (change[0] <= _TOLERANCE * size) & (change[1:].max(axis=0) <= _OF_SLOPES * size)
    return there


def normal_score(distribution: Distribution, t: Array) -> Array:
    """Phi^-1(F(t)), from whichever tail is small."""
    low, high = distribution.cdf(t), distribution.sf(t)
    score: Array = np.where(low < high, ndtri(low), -ndtri(high))
    return score


def _sums(integrand: _Integrand, rows: NDArray[np.int64], s: Array, step: float) -> Array:
    return _weighted(integrand, rows, s, step * np.exp(log_normal_density(s)))


def _weighted(integrand: _Integrand, rows: NDArray[np.int64], s: Array, weights: Array) -> Array:
    size = max(1, _BLOCK // len(s))
    blocks = [integrand(rows[k : k + size], s) @ weights for k in range(0, len(rows), size)]
    return np.concatenate(blocks, axis=1)


def _latent(s: Array, response: Response) -> Array:
    """The latent variable on the normal scale: its quantile at Phi(s), each tail from its own probability."""
    x = np.empty_like(s)
    low = s <= 0.0
    x[low] = response.link_function(ndtr(s[low]))
    x[~low] = _link_of_failures(ndtr(-s[~low]), response)
    return x


def _link_of_failures(q: Array, response: Response) -> Array:
    """Linear predictor at which a failure has probability q, accurate where q is small.

    Newton's method on log(-log q), which is nearly linear or flattens out, so that it cannot overshoot for long.
    """
    target = np.log(-np.log(q))
    one, zero = np.ones_like(q), np.zeros_like(q)
    eta = response.link_function(np.clip(1.0 - q, 0.0, 1.0 - 1e-15))
    for _ in range(60):
        value = response.value(eta, zero, one)
        slope = -response.mean_derivative(eta) / (np.exp(value) * value)
        step = (target - np.log(-value)) / slope
        eta = eta + step
        if not np.any(np.abs(step) > 1e-14 * (1.0 + np.abs(eta))):
            break
    return eta
