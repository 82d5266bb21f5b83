"""What a distribution on mass points says: of clusters given their data, and of means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import rows_of
from clusterglm.data.prepare import ModelData
from clusterglm.fit.npml import NonparametricFit
from clusterglm.likelihood.mixture import Mixture, MixtureLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import NUMBERS_AT_A_TIME
from clusterglm.model.response.base import Response

_FAR_POINT = 600.0  # a linear predictor beyond is as good as infinite


def fitted_mixture(fit: NonparametricFit) -> Mixture:
    """Coefficients, points and weights of a fit; finite points are its parameters."""
    return Mixture(fit.beta, fit.points, fit.weights, np.isfinite(fit.points))


def posterior_probabilities(data: ModelData, response: Response, fit: NonparametricFit) -> Array:
    """Probability of each point given a cluster's data, shape (m, k); rows sum to one."""
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


def posterior_gradient(
    data: ModelData, response: Response, fit: NonparametricFit, eta: Array, cluster: NDArray[np.int64], chosen: Array
) -> tuple[Array, Array]:
    """Derivatives of the link of means over the points with their probabilities given the rows' clusters.

    Parameters
    ----------
    data : ModelData
        Of the clusters.
    response : Response
    fit : NonparametricFit
    eta : ndarray, shape (n,)
        nan where nothing is wanted.
    cluster : ndarray of int64, shape (n,)
    chosen : ndarray, shape (n, k)
        The probabilities.

    Returns
    -------
    by_eta : ndarray, shape (n,)
    by_parameters : ndarray, shape (n, q)
        In coefficients, finite points, and the logs of all weights but the last relative to it, at fixed eta.

    Notes
    -----
    A change of the logarithms of unnormalised probabilities by d changes the mean of h by the covariance of h and d.
    """
    points, (n, k) = fit.points, chosen.shape
    finite = np.flatnonzero(np.isfinite(points))
    means, slopes = response.mean(eta[:, None] + points), response.mean_derivative(eta[:, None] + points)
    mean = (chosen * means).sum(axis=1)
    apart = chosen * (means - mean[:, None])  # a covariance is a sum of its products
    parameters = fitted_mixture(fit).parameters
    by_parameters = np.empty((n, len(parameters)))
    size = max(1, NUMBERS_AT_A_TIME // k)
    for start in range(0, n, size):
        rows = slice(start, start + size)
        members, which = np.unique(cluster[rows], return_inverse=True)
        at = np.broadcast_to(points, (len(members), k))
        by_beta, by_points = scores_at(data, response, fit.beta, members, at)
        for j, score in enumerate(by_beta):
            by_parameters[rows, j] = (apart[rows] * score[which]).sum(axis=1)
        with np.errstate(invalid="ignore"):
            by_point = (apart[rows] * by_points[which])[:, finite] + (chosen[rows] * slopes[rows])[:, finite]
        by_parameters[rows, parameters.place("points")] = by_point
    by_parameters[:, parameters.place("weights")] = apart[:, :-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        steepness = response.mean_derivative(response.link_function(mean))
        return (chosen * slopes).sum(axis=1) / steepness, by_parameters / steepness[:, None]


def scores_at(
    data: ModelData, response: Response, beta: Array, members: NDArray[np.int64], at: Array
) -> tuple[Array, Array]:
    """Derivatives of clusters' log-likelihoods, given intercepts, in the coefficients and in the intercepts.

    Parameters
    ----------
    data : ModelData
    response : Response
    beta : ndarray, shape (p,)
    members : ndarray of int64, shape (c,)
        Clusters.
    at : ndarray, shape (c, k)
        Intercepts of each; infinite ones are taken to be very large.

    Returns
    -------
    by_beta, by_intercept : ndarray, shape (p, c, k) and (c, k)
        Without the clusters' weights.
    """
    (c, k), p = at.shape, len(beta)
    row, begin = rows_of(data.starts, members)
    owner = np.repeat(np.arange(c), np.diff(begin))
    by_beta, by_intercept, size = np.zeros((p, c, k)), np.zeros((c, k)), max(1, NUMBERS_AT_A_TIME // k)
    for start in range(0, len(row), size):
        part, of = row[start : start + size], owner[start : start + size]
        eta = np.clip((data.X[part] @ beta + data.offset[part])[:, None] + at[of], -_FAR_POINT, _FAR_POINT)
        slope = response.derivatives(eta, data.a[part, None], data.b[part, None])[1]
        first = np.flatnonzero(np.diff(of, prepend=-1))
        for j in range(p):
            by_beta[j, of[first]] += np.add.reduceat(slope * data.X[part, j, None], first, axis=0)
        by_intercept[of[first]] += np.add.reduceat(slope, first, axis=0)
    return by_beta, by_intercept
