"""What a distribution on mass points says: of clusters given their data, and of means."""

from __future__ import annotations

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.npml import NonparametricFit
from clusterglm.likelihood.mixture import Mixture, MixtureLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response


def fitted_mixture(fit: NonparametricFit) -> Mixture:
    """Coefficients, points and weights of a fit; finite points are its parameters."""
    return Mixture(fit.beta, fit.points, fit.weights, np.isfinite(fit.points))


def posterior_probabilities(data: ModelData, response: Response, fit: NonparametricFit) -> Array:
    """Of each point given a cluster's data, shape (m, k); rows sum to one."""
    return MixtureLikelihood(data.X, data, response).probabilities(fitted_mixture(fit))


def mixture_scores(data: ModelData, response: Response, fit: NonparametricFit) -> Array:
    """Each cluster's score in all parameters, weights included, shape (m, q)."""
    return MixtureLikelihood(data.X, data, response).scores(fitted_mixture(fit))


def moments(points: Array, probabilities: Array) -> tuple[Array, Array]:
    """Means and standard deviations over points.

    Parameters
    ----------
    points : ndarray, shape (k,)
    probabilities : ndarray, shape (..., k)

    Returns
    -------
    mean, sd : ndarray, shape (...)
        Where an infinite point has weight the mean is infinite (nan if there is one on either side) and sd is inf,
        unless that point has all the weight: then sd is 0.
    """
    with np.errstate(invalid="ignore"):
        parts = np.where(probabilities > 0.0, probabilities * points, 0.0)
        mean = parts.sum(axis=-1)
        away = np.where(probabilities > 0.0, probabilities * (points - mean[..., None]) ** 2, 0.0)
        sd = np.sqrt(away.sum(axis=-1))
    sure = probabilities.max(axis=-1) == 1.0
    return mean, np.where(sure, 0.0, np.where(np.isfinite(mean), sd, np.inf))


def averaged_mean(response: Response, eta: Array, points: Array, probabilities: Array) -> Array:
    """Mean of each row over the points.

    Parameters
    ----------
    response : Response
    eta : ndarray, shape (n,)
    points : ndarray, shape (k,)
    probabilities : ndarray, shape (k,) or (n, k)
    """
    means = response.mean(eta[:, None] + points)
    return np.asarray((means * probabilities).sum(axis=1))


def marginal_gradient(response: Response, eta: Array, fit: NonparametricFit) -> tuple[Array, Array, Array]:
    """Link of the mean over the fitted distribution, and its derivatives.

    Returns
    -------
    link : ndarray, shape (n,)
    by_eta : ndarray, shape (n,)
    by_distribution : ndarray, shape (n, q - p)
        In the finite points, and the logs of all weights but the last relative to it.
    """
    points, pi = fit.points, fit.weights
    means = response.mean(eta[:, None] + points)
    slopes = pi * response.mean_derivative(eta[:, None] + points)
    mean = means @ pi
    link = response.link_function(mean)
    steepness = response.mean_derivative(link)[:, None]
    finite = np.isfinite(points)
    by_distribution = np.hstack([slopes[:, finite], (pi * (means - mean[:, None]))[:, :-1]]) / steepness
    return link, np.asarray(slopes.sum(axis=1) / steepness[:, 0]), by_distribution
