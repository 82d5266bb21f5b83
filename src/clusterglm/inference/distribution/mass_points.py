"""What a distribution on mass points says: of clusters given their data, and of means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import rows_of
from clusterglm.data.prepare import ModelData
from clusterglm.fit.npml import NonparametricFit
from clusterglm.fit.own_rows import kernel_data
from clusterglm.likelihood.mixture import Mixture, MixtureLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import NUMBERS_AT_A_TIME
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import OwnParameters

_FAR_POINT = 600.0  # a linear predictor beyond is as good as infinite
_STEP_OF_WORKING = 1e-5  # of differences in working values


@dataclass(frozen=True)
class Chances:
    """With which probabilities the intercepts of n rows take the points.

    Parameters
    ----------
    probabilities : ndarray, shape (n, k)
    cluster : ndarray of int64, shape (n,), or None
        Those given the data of these clusters; None: those of the population.
    """

    probabilities: Array
    cluster: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Averaged:
    """A function of the intercept averaged over the points, and how that moves.

    Parameters
    ----------
    value : ndarray, shape (n,)
    by_eta : ndarray, shape (n,)
        In the linear predictor without the intercept.
    by_parameters : ndarray, shape (n, q)
        In coefficients (at fixed eta), finite points, logs of all weights but the last relative to it, and the
        response's own parameters.
    """

    value: Array
    by_eta: Array
    by_parameters: Array


def fitted_mixture(fit: NonparametricFit) -> Mixture:
    """Coefficients, points and weights of a fit; finite points are its parameters."""
    return Mixture(fit.beta, fit.points, fit.weights, np.isfinite(fit.points))


def posterior_probabilities(data: ModelData, response: Response, fit: NonparametricFit) -> Array:
    """Probability of each point given a cluster's data, shape (m, k); rows sum to one."""
    mixture = fitted_mixture(fit)
    if isinstance(response, OwnParameters):
        rows = response.kernel_rows(data.a, data.b)
        data, response = kernel_data(data, rows), rows.response
        mixture = Mixture(mixture.beta, rows.sign * mixture.points, mixture.weights, mixture.free)
    return MixtureLikelihood(data.X, data, response).probabilities(mixture)


def mixture_scores(data: ModelData, response: Response, fit: NonparametricFit) -> Array:
    """Each cluster's score in all parameters, weights included, shape (m, q)."""
    if not isinstance(response, OwnParameters):
        return MixtureLikelihood(data.X, data, response).scores(fitted_mixture(fit))
    tau, w = posterior_probabilities(data, response, fit), data.cluster_weights[:, None]
    members = np.arange(data.n_clusters)
    at = np.broadcast_to(fit.points, tau.shape)
    by_beta, by_points = scores_at(data, response, fit.beta, members, at)
    by_own = own_scores_at(data, response, fit.beta, members, fit.points)
    parts = [
        (by_beta * tau).sum(axis=2).T,
        (tau * by_points)[:, np.isfinite(fit.points)],
        (tau - fit.weights)[:, :-1],
        (by_own * tau).sum(axis=2).T,
    ]
    return np.asarray(w * np.hstack(parts))


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


def link_of_mean(
    data: ModelData, response: Response, fit: NonparametricFit, eta: Array, over: Chances
) -> tuple[Array, Array, Array]:
    """Link of the mean over the points, and its derivatives.

    Parameters
    ----------
    data : ModelData
        Of the clusters.
    response : Response
    fit : NonparametricFit
    eta : ndarray, shape (n,)
        nan where nothing is wanted.
    over : Chances

    Returns
    -------
    link, by_eta : ndarray, shape (n,)
    by_parameters : ndarray, shape (n, q)
        Of the mean, over the slope of the mean in the link.
    """
    at = eta[:, None] + fit.points
    by_own = np.zeros((*at.shape, 0))
    if isinstance(response, OwnParameters):
        psi = response.working
        moves = [
            (response.at(psi + h).mean(at) - response.at(psi - h).mean(at)) / (2.0 * _STEP_OF_WORKING)
            for h in _STEP_OF_WORKING * np.eye(len(psi))
        ]
        by_own = np.stack(moves, axis=2) / response.slopes(psi) if moves else by_own
    found = averaged(data, response, fit, over, response.mean(at), response.mean_derivative(at), by_own)
    link = response.link_function(found.value)
    with np.errstate(divide="ignore", invalid="ignore"):
        steepness = response.mean_derivative(link)
        return link, found.by_eta / steepness, found.by_parameters / steepness[:, None]


def averaged(
    data: ModelData,
    response: Response,
    fit: NonparametricFit,
    over: Chances,
    values: Array,
    slopes: Array,
    by_own: Array,
) -> Averaged:
    """The average of a function over the points.

    Parameters
    ----------
    data : ModelData
        Of the clusters.
    response : Response
    fit : NonparametricFit
    over : Chances
    values, slopes : ndarray, shape (n, k)
        The function at each point, and its derivative in the linear predictor.
    by_own : ndarray, shape (n, k, r)
        Those in the response's own parameters.

    Notes
    -----
    A change of the logarithms of unnormalised probabilities by d changes the mean of h by the covariance of h and d.
    """
    chosen = over.probabilities
    mean = (chosen * values).sum(axis=1)
    apart = chosen * (values - mean[:, None])  # a covariance is a sum of its products
    parameters = fitted_mixture(fit).parameters
    by_parameters = np.zeros((len(mean), len(parameters) + by_own.shape[2]))
    of_own = slice(len(parameters), by_parameters.shape[1])
    if over.cluster is not None:
        by_parameters = _by_chances(data, response, fit, over.cluster, apart)
    by_parameters[:, parameters.place("points")] += (chosen * slopes)[:, np.isfinite(fit.points)]
    by_parameters[:, parameters.place("weights")] = apart[:, :-1]
    by_parameters[:, of_own] += (chosen[:, :, None] * by_own).sum(axis=1)
    return Averaged(mean, (chosen * slopes).sum(axis=1), by_parameters)


def _by_chances(
    data: ModelData, response: Response, fit: NonparametricFit, cluster: NDArray[np.int64], apart: Array
) -> Array:
    """What averages move by as probabilities given rows' clusters do, but with the weights, shape (n, q)."""
    points, (n, k) = fit.points, apart.shape
    finite = np.flatnonzero(np.isfinite(points))
    parameters = fitted_mixture(fit).parameters
    own = len(response.own) if isinstance(response, OwnParameters) else 0
    found = np.zeros((n, len(parameters) + own))
    size = max(1, NUMBERS_AT_A_TIME // k)
    for start in range(0, n, size):
        rows = slice(start, start + size)
        members, which = np.unique(cluster[rows], return_inverse=True)
        at = np.broadcast_to(points, (len(members), k))
        by_beta, by_points = scores_at(data, response, fit.beta, members, at)
        for j, score in enumerate(by_beta):
            found[rows, j] = (apart[rows] * score[which]).sum(axis=1)
        with np.errstate(invalid="ignore"):
            found[rows, parameters.place("points")] = (apart[rows] * by_points[which])[:, finite]
        if isinstance(response, OwnParameters):
            for j, score in enumerate(own_scores_at(data, response, fit.beta, members, points)):
                found[rows, len(parameters) + j] = (apart[rows] * score[which]).sum(axis=1)
    return found


def own_scores_at(
    data: ModelData, response: OwnParameters, beta: Array, members: NDArray[np.int64], points: Array
) -> Array:
    """Derivatives of clusters' log-likelihoods, given an intercept, in the response's own parameters.

    Parameters
    ----------
    data : ModelData
    response : OwnParameters
    beta : ndarray, shape (p,)
    members : ndarray of int64, shape (c,)
        Clusters.
    points : ndarray, shape (k,)
        Intercepts; infinite ones are taken to be very large.

    Returns
    -------
    ndarray, shape (r, c, k)
        Without the clusters' weights.
    """
    row, begin = rows_of(data.starts, members)
    eta, found = data.X[row] @ beta + data.offset[row], np.zeros((len(response.own), len(members), len(points)))
    for j, point in enumerate(points):
        at = np.clip(eta + point, -_FAR_POINT, _FAR_POINT)
        found[:, :, j] = np.add.reduceat(own_slopes(response, at, data.a[row], data.b[row]), begin[:-1], axis=0).T
    return found


def own_slopes(response: OwnParameters, eta: Array, a: Array, b: Array) -> Array:
    """Derivatives of rows' log-probabilities in the response's own parameters, shape (n, r)."""
    psi, rows = response.working, response.kernel_rows(a, b)
    of = np.arange(len(eta)) if rows.of is None else rows.of
    x = rows.sign * eta[of] + rows.shift
    coordinates = response.coordinates(psi)
    parts = []
    if rows.columns is not None:
        parts.append(rows.response.derivatives(x, rows.a, rows.b)[1][:, None] * rows.columns)
    if rows.own:
        assert rows.groups is not None
        g = response.own_derivatives(x, rows.a, rows.b)[0]
        parts.append(np.where(rows.groups[:, None] == np.arange(rows.own), g[:, None], 0.0))
    found = response.terms(psi, a, b).first
    if parts:
        each = np.hstack(parts) @ coordinates.first
        first = np.flatnonzero(np.diff(of, prepend=-1))
        found = found + np.add.reduceat(each, first, axis=0)
    return found / response.slopes(psi)


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
        if isinstance(response, OwnParameters):  # whose rows may be several of a kernel
            slope = np.column_stack([response.derivatives(at_one, data.a[part], data.b[part])[1] for at_one in eta.T])
        else:
            slope = response.derivatives(eta, data.a[part, None], data.b[part, None])[1]
        first = np.flatnonzero(np.diff(of, prepend=-1))
        for j in range(p):
            by_beta[j, of[first]] += np.add.reduceat(slope * data.X[part, j, None], first, axis=0)
        by_intercept[of[first]] += np.add.reduceat(slope, first, axis=0)
    return by_beta, by_intercept
