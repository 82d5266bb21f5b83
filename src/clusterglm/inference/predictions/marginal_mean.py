"""The mean of a response averaged over the distribution of the random intercept, on the scale of the link."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from clusterglm.inference.diagnostics.residuals import log_moment
from clusterglm.inference.predictions.count_mean import averaged_counts
from clusterglm.inference.predictions.normal_rule import NARROW, WIDE, Settled, for_many_rows, refined
from clusterglm.model.arrays import Array, times
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.response.base import Response

_RARE = 1e-7  # a probability below this lies too far out for the narrow rule
_NOTHING = 1e-290  # a probability below this has no digits left
_TOLERANCE, _OF_SLOPES = 1e-11, 1e-8  # relative to the probability
_FINE, _FINEST = 1 << 11, 1 << 14  # nodes
_FAR = 1e4  # a linear predictor beyond is as good as infinite


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
    Many rows are read from a table.
    """
    n = len(eta)
    if sigma == 0.0:
        return MarginalLink(eta, np.ones(n), np.zeros(n), True, np.ones(n, dtype=bool))
    if response.exponential_mean:
        shift, slope = log_moment(distribution, 1, sigma)
        exists = bool(np.isfinite(shift))
        by_eta = np.full(n, 1.0 if exists else np.nan)
        return MarginalLink(eta + shift, by_eta, np.full(n, slope), exists, np.ones(n, dtype=bool))
    if response.normal_latent and distribution.normal:
        root = np.hypot(1.0, sigma)
        by_sigma = -eta * sigma / root**3
        return MarginalLink(eta / root, np.full(n, 1.0 / root), by_sigma, True, np.ones(n, dtype=bool))
    if not response.trials:
        return _of_counts(eta, sigma, response, distribution)
    found, resolved = for_many_rows(eta, lambda values: _integrals(values, sigma, response, distribution))
    link, by_eta, by_sigma = found
    return MarginalLink(link, by_eta, by_sigma, True, resolved)


def marginal_link_by_row(eta: Array, sd: Array, response: Response) -> MarginalLink:
    """Average a probability over a normal part of the linear predictor whose size differs between rows.

    Parameters
    ----------
    eta : ndarray, shape (n,)
        Finite.
    sd : ndarray, shape (n,)
        Standard deviations, not negative; `by_sigma` are derivatives in them.
    response : Response
        With trials.
    """
    (link, by_eta, by_sigma), resolved = _integrals(eta, sd, response, Gaussian())
    return MarginalLink(link, by_eta, by_sigma, True, resolved)


def _of_counts(eta: Array, sigma: float, response: Response, distribution: Distribution) -> MarginalLink:
    """Of counts whose mean is no exponential."""
    (mean, first, _, by_sigma, _), resolved, exists = averaged_counts(eta, sigma, response, distribution)
    link = response.link_function(mean)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = np.where(np.isfinite(link), response.mean_derivative(link), np.nan)
        return MarginalLink(link, first / slope, by_sigma / slope, exists, resolved)


def _integrals(
    eta: Array, sigma: float | Array, response: Response, distribution: Distribution
) -> tuple[Array, Settled]:
    """Link of the mean and its derivatives in eta and sigma, shape (3, n); and which rows settled.

    `sigma` may differ between rows, shape (n,), where the distribution is the same at all of them.
    """
    # the probability of the rarer outcome, which loses nothing where the other rounds to one
    success = (eta <= response.link_function(np.array([0.5]))[0]).astype(np.float64)
    sign = 2.0 * success - 1.0

    each = np.broadcast_to(sigma, eta.shape)[:, None]
    scale = float(sigma) if np.ndim(sigma) == 0 else 1.0
    member = distribution.at(scale)

    def over_intercepts(rows: NDArray[np.int64], s: Array) -> Array:
        t, r = member.quantile_of_normal(s), distribution.by_sigma(s, scale)
        at = np.clip(eta[rows, None] + each[rows] * t, -_FAR, _FAR)
        p = np.exp(response.value(at, success[rows, None], 1.0 - success[rows, None]))
        slope = sign[rows, None] * response.mean_derivative(at)
        return np.stack([p, slope, times(slope, np.broadcast_to(r, slope.shape))])

    def over_latent(rows: NDArray[np.int64], s: Array) -> Array:
        z = (_latent(s, response) - eta[rows, None]) / each[rows]
        density = sign[rows, None] * np.exp(member.log_density(z)[0]) / each[rows]
        r = z if distribution.scale_family else distribution.by_sigma(member.normal_of(z), scale)
        return np.stack([np.where(success[rows, None] == 1.0, member.sf(z), member.cdf(z)), density, density * r])

    values, resolved = np.full((3, len(eta)), np.nan), np.zeros(len(eta), dtype=bool)
    with np.errstate(all="ignore"):  # far out anything may overflow, and has no weight there
        for integrand, half_width, most in (
            (over_intercepts, NARROW, _FINE),
            (over_intercepts, WIDE, _FINE),
            (over_latent, WIDE, _FINEST),
            (over_intercepts, WIDE, _FINEST),
        ):
            rows = np.flatnonzero(~resolved)
            if len(rows) == 0:
                break
            own = distribution if integrand is over_intercepts else None
            found, settled = refined(integrand, rows, half_width, most, _moved, own)
            settled &= (found[0] > _RARE) | (half_width == WIDE)
            keep = settled | np.isnan(values[0, rows])
            values[:, rows[keep]], resolved[rows[settled]] = found[:, keep], True
        rare, by_eta, by_sigma = values
        link = link_of_rarer(rare, success, response)
        slope = sign * response.mean_derivative(link)
        answer = np.stack([link, by_eta / slope, by_sigma / slope])
    return answer, resolved & np.isfinite(answer).all(axis=0)


def link_of_rarer(probability: Array, success: Array, response: Response) -> Array:
    """Linear predictors at which successes (where `success` is 1; else failures) have these probabilities.

    Infinite where a probability is below 1e-290; accurate, to a relative error of the probability, where it is small.
    """
    link: Array = np.where(success == 1.0, response.link_function(probability), 0.0)
    upper = success == 0.0
    link[upper] = _link_of_failures(probability[upper], response)
    return np.where(probability < _NOTHING, (1.0 - 2.0 * success) * np.inf, link)


def _moved(rows: NDArray[np.int64], one: Array, other: Array) -> Settled:
    change, size = np.abs(one - other), 0.5 * (one[0] + other[0])
    still: Settled = ~((change[0] <= _TOLERANCE * size) & (change[1:].max(axis=0) <= _OF_SLOPES * size))
    return still


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
