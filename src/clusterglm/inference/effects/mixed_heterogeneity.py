"""How far clusters differ in rows of given covariates, where several effects vary: a row's z'b has variance z'S z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtri

from clusterglm.fit.mixed import MixedFit
from clusterglm.inference.effects.ratios import Estimates
from clusterglm.inference.uncertainty.intervals import wald_interval
from clusterglm.model.arrays import Array


@dataclass(frozen=True)
class Sizes:
    """Standard deviations of n rows' z'b.

    Parameters
    ----------
    sd : ndarray, shape (n,)
    of_log : ndarray, shape (n,)
        Standard errors of their logarithms; nan where they are 0.
    slopes : ndarray, shape (n, k)
        Their derivatives in phi; 0 where they are 0.
    """

    sd: Array
    of_log: Array
    slopes: Array


def sizes(Z: Array, fit: MixedFit, covariance: Array, effects: slice = slice(None)) -> Sizes:
    """Standard deviations on the linear predictor of what some effects add to it.

    Parameters
    ----------
    Z : ndarray, shape (n, q)
    fit : MixedFit
    covariance : ndarray, shape (k, k)
        Of (beta, phi); 0 for what is held.
    effects : slice
        Of one grouping factor, or all.

    Notes
    -----
    With a = L'z, d |a| / d phi = a'(dL'z) / |a|.
    """
    a = np.zeros_like(Z)
    a[:, effects] = (Z @ fit.factor)[:, effects]
    sd = np.linalg.norm(a, axis=1)
    random = fit.parameters.place("random")
    slopes = np.einsum("ni,kij,nj->nk", Z, fit.effects.covariance.slopes(fit.phi), a)
    varies = sd > 0.0
    slopes = np.divide(slopes, sd[:, None], out=np.zeros_like(slopes), where=varies[:, None])
    error = np.sqrt(np.einsum("nk,kl,nl->n", slopes, covariance[random, random], slopes))
    return Sizes(sd, np.divide(error, sd, out=np.full(len(sd), np.nan), where=varies), slopes)


def latent_shares(found: Sizes, latent: float, level: float) -> Estimates:
    """Intraclass correlations on the latent scale, sd^2 / (sd^2 + latent), with intervals on the logit scale."""
    share = found.sd**2 / (found.sd**2 + latent)
    with np.errstate(divide="ignore"):
        low, high = wald_interval(2.0 * np.log(found.sd) - np.log(latent), 2.0 * found.of_log, level)
    return Estimates(share, share * (1.0 - share) * 2.0 * found.of_log, expit(low), expit(high))


def shares_of_upper(upper: Sizes, lower: Sizes, latent: float, covariance: Array, level: float) -> Estimates:
    """Shares of the variance that rows of different children of a cluster have in common.

    Parameters
    ----------
    upper, lower : Sizes
        Of the clusters' effects, and of those of what is nested in them.
    latent : float
        Variance of the latent error.
    covariance : ndarray, shape (k, k)
        Of phi; 0 for what is held.
    level : float
        Coverage of the intervals, on the logit scale.
    """
    rest = lower.sd**2 + latent
    share = upper.sd**2 / (upper.sd**2 + rest)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_logit = 2.0 * upper.slopes / upper.sd[:, None] - 2.0 * (lower.sd / rest)[:, None] * lower.slopes
        error = np.sqrt(np.einsum("nk,kl,nl->n", of_logit, covariance, of_logit))
        error[upper.sd == 0.0] = np.nan
        low, high = wald_interval(2.0 * np.log(upper.sd) - np.log(rest), error, level)
    return Estimates(share, share * (1.0 - share) * error, expit(low), expit(high))


def median_ratios(found: Sizes, level: float) -> Estimates:
    """Medians of the higher over the lower ratio of two clusters, exp(sqrt(2) sd Phi^-1(0.75)); see `median_ratio`."""
    log_ratio = np.sqrt(2.0) * float(ndtri(0.75)) * found.sd
    with np.errstate(divide="ignore", over="ignore"):
        low, high = wald_interval(np.log(log_ratio), found.of_log, level)
        ratio = np.exp(log_ratio)
        return Estimates(ratio, ratio * log_ratio * found.of_log, np.exp(np.exp(low)), np.exp(np.exp(high)))
