"""Intraclass correlation, on the latent scale and on that of the response."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from clusterglm.inference.diagnostics.residuals import log_moment
from clusterglm.inference.effects.heterogeneity import ScalarEstimate, elasticity, sigma_note
from clusterglm.inference.predictions.averaged_mean import averaged_jet, bounded_means, panel_rule
from clusterglm.inference.uncertainty.intervals import wald_interval
from clusterglm.model.arrays import Array, times
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.parameters import random_intercept
from clusterglm.model.response.base import Response

_NO_VARIANCE = "the intercept's distribution has no finite variance"
_ICC_TOLERANCE = 1e-8


@dataclass(frozen=True)
class IntraclassCorrelation:
    """Share of the intercepts' variance in the total variance of a latent response.

    Parameters
    ----------
    value : float or None
        Between 0 and 1; nan when the intercepts have no finite variance; None when there is no latent scale.
    reason : str
        Why `value` is no number; empty when it is one.
    """

    value: float | None
    reason: str = ""


def intraclass_correlation(response: Response, sd: float) -> IntraclassCorrelation:
    """Correlation of the latent responses of two rows of a cluster that have the same covariates.

    Parameters
    ----------
    response : Response
        Its link fixes the variance of the latent error: pi^2/3 for logit, 1 for probit, pi^2/6 for cloglog.
    sd : float
        Standard deviation of the random intercept, inf if it has none.

    Notes
    -----
    Counts have no latent error, so a Poisson model has no such correlation free of the covariates; see
    `response_correlation` for one that depends on them.
    """
    latent = response.latent_variance
    if latent is None:
        return IntraclassCorrelation(None, f"a {response.family} response has no latent scale")
    if not np.isfinite(sd):
        return IntraclassCorrelation(np.nan, _NO_VARIANCE)
    return IntraclassCorrelation(float(sd**2 / (sd**2 + latent)))


def latent_correlation(
    response: Response, distribution: Distribution, sigma: float, se: float, level: float, *, fixed: bool
) -> ScalarEstimate:
    """The latent intraclass correlation with an interval on the logit scale.

    Parameters
    ----------
    response : Response
    distribution : Distribution
    sigma, se : float
        Scale of the intercept with its standard error.
    level : float
    fixed : bool
        Whether sigma was held fixed.

    Notes
    -----
    With rho = sd^2 / (sd^2 + v), logit rho = 2 log sd - log v, so that its standard error is 2 se / sigma where sd is
    in proportion to sigma.
    """
    name = "intraclass correlation (latent scale)"
    found = intraclass_correlation(response, distribution.sd_at(sigma))
    nan = float("nan")
    if found.value is None or np.isnan(found.value):
        return ScalarEstimate(name, nan, nan, nan, nan, level, found.reason)
    note, se = sigma_note(sigma, se, fixed)
    if sigma == 0.0:
        return ScalarEstimate(name, 0.0, se, se, se, level, note)
    relative = se / sigma * elasticity(distribution.sd_at, distribution, sigma)
    return _on_logit_scale(name, found.value, found.value * (1.0 - found.value) * 2.0 * relative, level, note)


@dataclass(frozen=True)
class ResponseCorrelation:
    """Correlation of two responses of a cluster at one linear predictor.

    Parameters
    ----------
    value : float
        Between 0 and 1; nan where `reason` says why.
    by_eta, by_sigma : float
        Its derivatives.
    reason : str
    """

    value: float
    by_eta: float
    by_sigma: float
    reason: str = ""


def response_correlation(
    eta: float, sigma: float, response: Response, distribution: Distribution
) -> ResponseCorrelation:
    """Correlation of two responses of a cluster that have the same covariates: single trials, or counts.

    Parameters
    ----------
    eta : float
        Linear predictor at an intercept of zero.
    sigma : float
    response : Response
    distribution : Distribution

    Notes
    -----
    Var m / (Var m + E v), m the mean given the intercept and v the variance of a response given it: for a trial
    Var m / (M (1 - M)), M = E m; for a count Var m / (Var m + M). Goldstein, Browne and Rasbash (Understanding
    Statistics 1, 2002, method A by integration instead of linearisation or simulation); Nakagawa, Johnson and
    Schielzeth (J. R. Soc. Interface 14, 2017). At sigma = 0 it is 0, with zero slopes.
    """
    nan = float("nan")
    if sigma == 0.0:
        return ResponseCorrelation(0.0, 0.0, 0.0)
    if response.exponential_mean:
        return _of_counts(eta, sigma, response, distribution)
    jet = averaged_jet(np.array([eta]), sigma, response, distribution)
    mean, first, by_sigma = float(jet.mean[0]), float(jet.first[0]), float(jet.by_sigma[0])
    coarse, variance = (
        _variance_of_means(eta, sigma, mean, first, by_sigma, response, distribution, panels) for panels in (1, 2)
    )
    size = np.maximum(variance[0] * np.array([1.0, 1.0, 1.0 / sigma]), np.abs(variance))
    if not np.all(np.abs(variance - coarse) <= _ICC_TOLERANCE * size):
        return ResponseCorrelation(nan, nan, nan, "the variance of the mean could not be integrated accurately")
    total = mean * (1.0 - mean)
    if not (jet.resolved[0] and total > 0.0):
        return ResponseCorrelation(nan, nan, nan, "the mean rounds to 0 or 1")
    value = float(variance[0] / total)
    slopes = (variance[1:] - value * (1.0 - 2.0 * mean) * np.array([first, by_sigma])) / total
    return ResponseCorrelation(value, float(slopes[0]), float(slopes[1]))


def correlation_with_interval(
    found: ResponseCorrelation,
    gradient: Array,
    sigma: float,
    covariance: Array,
    level: float,
    *,
    fixed: bool,
) -> ScalarEstimate:
    """The correlation of responses with an interval on the logit scale.

    Parameters
    ----------
    found : ResponseCorrelation
    gradient : ndarray, shape (p,)
        Of the linear predictor in beta; zero where it is a given number.
    sigma : float
    covariance : ndarray, shape (p + 1, p + 1)
        Of (beta, sigma); a sigma that is known has 0.
    level : float
    fixed : bool
        Whether sigma was held fixed: only beta then adds to the standard error.
    """
    name, nan = "intraclass correlation (response scale)", float("nan")
    if found.reason:
        return ScalarEstimate(name, nan, nan, nan, nan, level, found.reason)
    note, _ = sigma_note(sigma, nan, fixed)
    if sigma == 0.0:
        end = 0.0 if fixed else nan
        return ScalarEstimate(name, 0.0, end, end, end, level, note)
    slopes = random_intercept(len(gradient)).joined(found.by_eta * gradient, found.by_sigma)
    return _on_logit_scale(name, found.value, float(np.sqrt(slopes @ covariance @ slopes)), level, note)


def _of_counts(eta: float, sigma: float, response: Response, distribution: Distribution) -> ResponseCorrelation:
    """Correlation of counts: r = D M / (D M + w).

    K_j = log E exp(j b), D = exp(K_2 - 2 K_1) - 1, w = E v / M = s + c M (1 + D),
    s the slope of the variance in the mean, 1 for counts.
    """
    (once, once_slope), (twice, twice_slope) = (log_moment(distribution, order, sigma) for order in (1, 2))
    if not (np.isfinite(once) and np.isfinite(twice)):
        nan = float("nan")
        return ResponseCorrelation(nan, nan, nan, "the counts have no finite variance over the intercepts")
    excess = float(np.expm1(twice - 2.0 * once))
    excess_slope = (excess + 1.0) * (twice_slope - 2.0 * once_slope)
    with np.errstate(over="ignore"):
        mean = float(np.exp(eta + once))
    between, slope = excess * mean, mean * (excess_slope + excess * once_slope)
    curved = response.variance_curvature * mean if response.variance_curvature else 0.0
    within, within_slope = (
        response.variance_slope + curved * (1.0 + excess),
        curved * (excess_slope + (1.0 + excess) * once_slope),
    )
    share = 1.0 / (within + between)
    by_eta = (between * within - between * (within - response.variance_slope)) * share**2
    return ResponseCorrelation(between * share, by_eta, (slope * within - between * within_slope) * share**2)


def _variance_of_means(
    eta: float,
    sigma: float,
    mean: float,
    first: float,
    by_sigma: float,
    response: Response,
    distribution: Distribution,
    panels: int,
) -> Array:
    """Variance of the mean over intercepts and its derivatives in eta and sigma, shape (3,)."""
    s, weights = panel_rule(eta, sigma, distribution, panels)
    with np.errstate(all="ignore"):  # far out anything may overflow, and has no weight there
        m, slope, _ = bounded_means(eta + sigma * distribution.at(sigma).quantile_of_normal(s), response)
        away = m - mean  # about the mean, so that nothing cancels at a small sigma
        return np.array(
            [
                weights @ np.square(away),
                2.0 * (weights @ (away * (slope - first))),
                2.0 * (weights @ (away * (times(slope, distribution.by_sigma(s, sigma)) - by_sigma))),
            ]
        )


def _on_logit_scale(name: str, value: float, se: float, level: float, note: str) -> ScalarEstimate:
    low, high = wald_interval(np.array([logit(value)]), np.array([se / (value * (1.0 - value))]), level)
    return ScalarEstimate(name, value, se, float(expit(low[0])), float(expit(high[0])), level, note)
