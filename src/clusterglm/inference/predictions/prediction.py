"""Predictions and their uncertainty: everything on the scale of the link first, then transformed.

What is predicted is a function of the estimates theta = (beta, sigma) and, where a cluster's own intercept enters, of
noise that the estimates do not explain. Each row has a gradient in theta and an extra variance; the variance is
gradient' V gradient + extra, V the covariance of the estimates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from clusterglm.data.prepare import ModelData
from clusterglm.inference.uncertainty.degrees import interval
from clusterglm.likelihood.integrator import Intercepts
from clusterglm.likelihood.profile import ClusterProfile
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.large_data import ROWS_AT_A_TIME
from clusterglm.model.parameters import random_intercept
from clusterglm.model.response.base import Response

_AT_CORNER = 1e-7  # a mode so close, over sigma, to a corner of the density is there


@dataclass(frozen=True)
class LinkPrediction:
    """Predictions on the scale of the link, and how they depend on the estimates.

    The gradient of row j is `slope[j] * x[j]` in beta and `by_sigma[j]` in sigma, plus row `cluster[j]` of `own`; and
    `by_response[j]` in the response's own parameters, which come last.

    Parameters
    ----------
    estimate : ndarray, shape (n,)
    slope : ndarray, shape (n,)
        Derivative in the row's x'beta.
    extra : ndarray, shape (n,)
        Variance that is not the estimates'.
    by_sigma : ndarray, shape (n,), or None
        Derivative in sigma.
    own : ndarray, shape (m, q), or None
        Derivative of each cluster's intercept in theta.
    cluster : ndarray of int64, shape (n,), or None
        Cluster of each row, a number in `own`.
    by_response : ndarray, shape (n, k), or None
        Derivative in the response's own parameters; None where it has none, or they are taken as known.
    of_new : ndarray of bool, shape (n,), or None
        Rows whose interval is to hold the linear predictor of a new cluster, not the estimate.
    """

    estimate: Array
    slope: Array
    extra: Array
    by_sigma: Array | None = None
    own: Array | None = None
    cluster: NDArray[np.int64] | None = None
    by_response: Array | None = None
    of_new: NDArray[np.bool_] | None = None

    def gradient(self, X: Array, size: int, rows: slice = slice(None)) -> Array:
        """Derivatives of some rows' predictions in all `size` parameters.

        Parameters
        ----------
        X : ndarray, shape (n, p)
            Of all rows.
        size : int
        rows : slice
        """
        parameters, some = random_intercept(X.shape[1]), X[rows]
        gradient = np.zeros((len(some), size))
        gradient[:, parameters.coefficients] = self.slope[rows, None] * some
        if self.by_sigma is not None:
            gradient[:, parameters.scale] = self.by_sigma[rows]
        if self.own is not None and self.cluster is not None:
            gradient[:, : self.own.shape[1]] += self.own[self.cluster[rows]]
        if self.by_response is not None:
            gradient[:, size - self.by_response.shape[1] :] = self.by_response[rows]
        return gradient

    def variance(self, X: Array, covariance: Array) -> Array:
        """Variance of each row's prediction, shape (n,).

        Parameters
        ----------
        X : ndarray, shape (n, p)
        covariance : ndarray, shape (q, q)
            Of theta, (beta, sigma) or beta alone, and of the response's own parameters; one that is known has 0.
        """
        n, found = len(X), np.array(self.extra, dtype=np.float64)
        for start in range(0, n, ROWS_AT_A_TIME):
            rows = slice(start, min(start + ROWS_AT_A_TIME, n))
            gradient = self.gradient(X, len(covariance), rows)
            with np.errstate(invalid="ignore"):  # of rows that cannot be predicted, which some processors mind
                found[rows] += np.einsum("ij,ij->i", gradient @ covariance, gradient)
        return found


@dataclass(frozen=True)
class PredictedIntercepts:
    """Clusters' intercepts as predictions use them, m clusters, q parameters.

    Parameters
    ----------
    values : ndarray, shape (m,)
        Posterior modes, or estimates of fixed intercepts.
    derivatives : ndarray, shape (m, q)
        Of the values in theta.
    variances : ndarray, shape (m,)
        Mean squared distance of the intercept from its value given the data, at known theta; inf where a heavy-tailed
        posterior has none.
    """

    values: Array
    derivatives: Array
    variances: Array


@dataclass(frozen=True)
class Prediction:
    """Predictions with their uncertainty, shape (n,) each: estimate, standard error and interval."""

    estimate: Array
    std_error: Array
    low: Array
    high: Array


def at_intercepts(eta: Array) -> LinkPrediction:
    """At intercepts that are known, already part of the linear predictor `eta`, shape (n,)."""
    return LinkPrediction(eta, np.ones(len(eta)), np.zeros(len(eta)))


def given_clusters(eta: Array, cluster: NDArray[np.int64], intercepts: PredictedIntercepts) -> LinkPrediction:
    """At the intercept of each row's cluster.

    Parameters
    ----------
    eta : ndarray, shape (n,)
        Linear predictor without intercept; nan where the prediction is not wanted.
    cluster : ndarray of int64, shape (n,)
        Numbers in `intercepts`; any where `eta` is nan.
    intercepts : PredictedIntercepts
    """
    estimate = np.where(np.isnan(eta), np.nan, eta + intercepts.values[cluster])
    extra = intercepts.variances[cluster]
    return LinkPrediction(estimate, np.ones(len(eta)), extra, own=intercepts.derivatives, cluster=cluster)


def combined(where: NDArray[np.bool_], inside: LinkPrediction, outside: LinkPrediction) -> LinkPrediction:
    """Rows of `inside`, which has no clusters, where `where` is true, else rows of `outside`."""
    by_sigma = [np.zeros(len(where)) if each.by_sigma is None else each.by_sigma for each in (inside, outside)]
    own, cluster = outside.own, outside.cluster
    if own is not None and cluster is not None:
        cluster = np.where(where, len(own), cluster)
        own = np.vstack([own, np.zeros((1, own.shape[1]))])
    return LinkPrediction(
        np.where(where, inside.estimate, outside.estimate),
        np.where(where, inside.slope, outside.slope),
        np.where(where, inside.extra, outside.extra),
        np.where(where, *by_sigma),
        own,
        cluster,
        of_new=inside.of_new,
    )


def posterior_modes(
    data: ModelData,
    response: Response,
    distribution: Distribution,
    theta: Array,
    found: Intercepts,
) -> PredictedIntercepts:
    """Posterior modes of random intercepts with what their uncertainty needs.

    Parameters
    ----------
    data : ModelData
        The clusters' rows: those of the fit, or others.
    response : Response
    distribution : Distribution
    theta : ndarray, shape (p + 1,)
        (beta, sigma).
    found : Intercepts
        The posterior by rules that are accurate, whatever quadrature the fit used.

    Notes
    -----
    The variance is the conditional mean squared error of prediction of Booth and Hobert (Journal of the American
    Statistical Association 93, 1998): the posterior variance, about the mode, plus the variance that the estimates add
    through the mode, as R's lme4 and glmmTMB do.
    The mode u solves h_u = 0, h the log-posterior of the intercept, whence du/dtheta = -h_u,theta / h_uu.
    """
    m, p = data.n_clusters, data.X.shape[1]
    if theta[random_intercept(p).scale] == 0.0:
        return PredictedIntercepts(np.zeros(m), np.zeros((m, len(theta))), np.zeros(m))
    variances = np.square(found.sds) + np.square(found.means - found.modes)
    return PredictedIntercepts(
        found.modes, _mode_derivatives(data, response, distribution, theta, found.modes), variances
    )


def _mode_derivatives(
    data: ModelData, response: Response, distribution: Distribution, theta: Array, modes: Array
) -> Array:
    """du/dtheta, shape (m, p + 1)."""
    parameters, first = random_intercept(data.X.shape[1]), data.starts[:-1]
    sigma = float(theta[parameters.scale])
    eta = data.X @ theta[parameters.coefficients] + data.offset + np.repeat(modes, np.diff(data.starts))
    curvature = response.derivatives(eta, data.a, data.b)[2]
    _, f1, f2, _, _ = distribution.at(sigma).log_density(modes / sigma)
    h_uu = f2 / sigma**2 + np.add.reduceat(curvature, first)
    derivatives = np.empty((len(modes), len(theta)))
    for j in range(data.X.shape[1]):  # column by column: no second matrix of n rows
        derivatives[:, j] = np.add.reduceat(curvature * data.X[:, j], first)
    derivatives[:, parameters.scale] = -(f1 + f2 * modes / sigma) / sigma**2
    if not distribution.scale_family:  # the slope of the log-density of the intercept, by differences in sigma
        step = 1e-4 * sigma
        high, low = (distribution.at(c).log_density(modes / c)[1] / c for c in (sigma + step, sigma - step))
        derivatives[:, parameters.scale] = (high - low) / (2.0 * step)
    derivatives /= -h_uu[:, None]
    if distribution.kinks and not distribution.density_scale:  # a mode at a corner of the density stays there
        corners = distribution.at(sigma).quantile_of_normal(np.array(distribution.kinks))
        derivatives[np.abs(modes[:, None] / sigma - corners).min(axis=1) < _AT_CORNER] = 0.0
    return derivatives


def fixed_intercepts(profile: ClusterProfile, cluster_weights: Array) -> PredictedIntercepts:
    """Estimated intercepts: with their derivatives, the joint inverse information of coefficients and intercepts.

    x'beta + gamma_i has the variance (x - mean_i)' V (x - mean_i) + 1 / information_i (Patefield, Sankhya B 39, 1977).
    Infinite intercepts have none: nan.
    """
    information = profile.information * cluster_weights
    variances = np.where(information > 0.0, 1.0 / np.where(information > 0.0, information, 1.0), np.nan)
    return PredictedIntercepts(profile.intercepts, -profile.means, variances)


def with_a_unit(covariance: Array) -> Array:
    """A covariance matrix, and after it that of something standard normal and independent."""
    q = len(covariance)
    whole = np.zeros((q + 1, q + 1))
    whole[:q, :q], whole[q, q] = covariance, 1.0
    return whole


def on_scale(scale: str, response: Response, link: Array) -> tuple[Array, Array]:
    """Values and slopes of the transformation from the link's scale, shape (n,) each.

    Parameters
    ----------
    scale : {"link", "response", "ratio", "probability"}
        Scale of the prediction: the link itself; the mean; the exponential; or the probability whose logit it is.
    response : Response
    link : ndarray, shape (n,)
    """
    if scale == "link":
        return link, np.ones(len(link))
    with np.errstate(over="ignore", invalid="ignore"):  # infinite predictors
        if scale == "ratio":
            ratio = np.exp(link)
            return ratio, ratio
        if scale == "probability":
            return expit(link), expit(link) * expit(-link)
        return response.mean(link), response.mean_derivative(link)


def with_interval(
    scale: str, response: Response, link: Array, variance: Array, level: float, df: Array | None = None
) -> Prediction:
    """Standard errors by the delta method, and normal (or t) intervals of the link, transformed: they stay in range."""
    estimate, slope = on_scale(scale, response, link)
    with np.errstate(invalid="ignore"):  # infinite predictors and variances
        se = np.sqrt(np.where(np.isfinite(link), variance, np.nan))
        low, high = (on_scale(scale, response, end)[0] for end in interval(link, se, level, df))
        return Prediction(estimate, _scaled(slope, se), low, high)


def _scaled(slope: Array, se: Array) -> Array:
    """slope * se; an infinite standard error stays infinite where the slope rounds to 0."""
    return np.where(np.isinf(se), np.inf, slope * se)
