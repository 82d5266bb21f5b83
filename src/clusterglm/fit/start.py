"""Where Newton's method starts: from the pooled fit, with a moment estimate of sigma."""

from __future__ import annotations

import numpy as np

from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.response.base import Response

_LEAST_SD, _MOST_SD = 0.2, 2.5  # standard deviations worth starting from
_DEFAULT = 0.5  # where the moments show no clustering: sigma = 0 is a stationary point and no place to start


def sigma_moments(S1: Array, S2: Array, cluster_weights: Array) -> tuple[float, float]:
    """Sums over clusters of S1^2 + S2 and of S2^2, from which `start_sigma` starts.

    Parameters
    ----------
    S1, S2 : ndarray, shape (m,)
        The clusters' sums of first and second derivatives in the linear predictor, at the pooled fit.
    cluster_weights : ndarray, shape (m,)
    """
    return float(cluster_weights @ (S1 * S1 + S2)), float(cluster_weights @ (S2 * S2))


def start_sigma(score: float, information: float, distribution: Distribution) -> float:
    """Moment estimate of sigma from the pooled fit.

    To second order the likelihood of a small variance has score (S1^2 + S2)/2 in each cluster and information near
    S2^2/2, where S1 and S2 are the cluster's sums of first and second derivatives: one Newton step from zero.

    Parameters
    ----------
    score, information : float
        The two `sigma_moments`.
    distribution : Distribution
        Its standard member sets the unit of sigma.
    """
    variance = score / information if information > 0.0 else 0.0
    sd = float(np.clip(np.sqrt(variance), _LEAST_SD, _MOST_SD)) if variance > 0.0 else _DEFAULT
    return sd / _spread(distribution, sd)


def start_coefficients(
    gamma: Array, sigma: float, distribution: Distribution, response: Response, intercept: int | None
) -> Array:
    """Pooled coefficients, corrected for what integrating over the intercept does to them."""
    variance = (sigma * _spread(distribution, sigma)) ** 2
    corrected: Array = gamma * np.sqrt(1.0 + response.attenuation * variance)
    if response.exponential_mean and intercept is not None:
        corrected[intercept] -= 0.5 * variance  # log E exp(b) of a Gaussian intercept
    return corrected


def _spread(distribution: Distribution, sigma: float) -> float:
    """Half the distance between the 16% and 84% points over sigma: 1 for a Gaussian, finite for all."""
    low, high = distribution.at(sigma).quantile_of_normal(np.array([-1.0, 1.0]))
    return float(0.5 * (high - low))
