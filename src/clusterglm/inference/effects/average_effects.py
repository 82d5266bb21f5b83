"""Average effects of a user's variables on the mean of a response, with delta-method standard errors."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm.inference.diagnostics.design_changes import DesignChange
from clusterglm.inference.predictions.averaged_mean import MeanJet
from clusterglm.inference.predictions.prediction import PredictedIntercepts
from clusterglm.inference.uncertainty.bias import cluster_sums
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import random_intercept
from clusterglm.model.response.base import Response

_NO_INFORMATION = 1e-290  # of a cluster all of whose means are 0 or 1: one over less could overflow


@dataclass(frozen=True)
class AverageEffects:
    """Averages over rows of the change in the mean of one trial, or of the count; k effects, q parameters.

    Parameters
    ----------
    terms, contrasts : tuple of str, length k
        The variable, and "derivative" or a difference such as "drug - placebo"; of a mean, where it is.
    estimate, std_error : ndarray, shape (k,)
    covariance : ndarray, shape (k, k)
    gradient : ndarray, shape (k, q)
        Of the estimates in (beta, sigma), clusters' intercepts following.
    unresolved : int
        Rows whose averaged mean is not known accurately.
    exists : bool
        False where the averaged mean is infinite.
    """

    terms: tuple[str, ...]
    contrasts: tuple[str, ...]
    estimate: Array
    std_error: Array
    covariance: Array
    gradient: Array
    unresolved: int
    exists: bool


@dataclass(frozen=True)
class ClusterIntercepts:
    """Intercepts of clusters that the averages are taken at, m clusters.

    Parameters
    ----------
    at : PredictedIntercepts
        Values, derivatives in the parameters, and variances given them.
    cluster : ndarray of int64, shape (n,)
        Cluster of each row, a number in `at`.
    shift, curvature : ndarray, shape (m,)
        What noise of the intercepts adds to a mean of derivatives d' and d'' (sums over a cluster): d' shift +
        d'' curvature, to be subtracted. Zero without correction.
    """

    at: PredictedIntercepts
    cluster: NDArray[np.int64]
    shift: Array
    curvature: Array


def uncorrected(at: PredictedIntercepts, cluster: NDArray[np.int64]) -> ClusterIntercepts:
    """Intercepts whose noise is not corrected for."""
    zero = np.zeros(len(at.values))
    return ClusterIntercepts(at, cluster, zero, zero)


def bias_corrected(
    at: PredictedIntercepts, starts: NDArray[np.int64], eta: Array, size: Array, response: Response
) -> ClusterIntercepts:
    """Fixed intercepts with what their noise does to averages, to first order; weights of clusters play no part.

    Parameters
    ----------
    at : PredictedIntercepts
    starts : ndarray of int64, shape (m + 1,)
    eta, size : ndarray, shape (n,)
        Linear predictor and weighted trials of the rows that were fitted.
    response : Response
        Of the binomial family.

    Notes
    -----
    Hahn and Newey (Econometrica 72, 2004), Fernandez-Val (J. Econometrics 150, 2009). With d the sum of effects over a
    cluster, their mean at the estimated intercept exceeds the true one by d' E[gamma-hat - gamma] + d'' / (2 tau),
    derivatives in gamma, where tau is the cluster's information: shift = sum(size c) / tau^2, curvature = 1 / (2 tau).
    The formula knows nothing of clusters without a finite intercept: where there are many, in short clusters, what
    counting them at 0 takes from an average over all rows remains, and its standard error takes these zeros as known.
    """
    v, c = response.bias_moments(eta)
    tau = cluster_sums(size * v, starts)
    inverse = np.divide(1.0, tau, out=np.zeros_like(tau), where=tau > _NO_INFORMATION)
    cluster = np.repeat(np.arange(len(tau)), np.diff(starts))
    return ClusterIntercepts(at, cluster, cluster_sums(size * c, starts) * inverse * inverse, 0.5 * inverse)


def average_effects(
    changes: Collection[DesignChange],
    beta: Array,
    known: Array,
    weights: Array,
    covariance: Array,
    jet: Callable[[Array], MeanJet],
    intercepts: ClusterIntercepts | None = None,
    times: Array | None = None,
) -> AverageEffects:
    """Average the effects of changes of the design, or means.

    Parameters
    ----------
    changes : collection of DesignChange
        Of n rows, or of some of them; gone through once, so that they may be made one by one.
    beta : ndarray, shape (p,)
    known : ndarray, shape (n,)
        What the linear predictor has besides X beta: offset and intercept.
    weights : ndarray, shape (n,)
        Of the rows. They sum to one, or to less where further rows count with effects of zero.
    covariance : ndarray, shape (q, q)
        Of (beta, sigma), or of beta alone; a sigma that is known has 0.
    jet : function
        Means and derivatives of linear predictors, shape (n,).
    intercepts : ClusterIntercepts, optional
        Where `known` holds intercepts that were estimated.
    times : ndarray, shape (n,), optional
        How many rows each of them is; by default one.

    Notes
    -----
    The effect of a numeric variable x is F'(eta) d eta/dx, that of a level F(eta at the level) - F(eta at the base),
    averaged as R's margins and marginaleffects do. Its gradient in beta is F'' (d eta/dx) X + F' dX/dx, or
    F'(eta_1) X_1 - F'(eta_0) X_0; that of a mean F(eta) is F'(eta) X. Where F is an average over intercepts, it moves
    with sigma as well. Intercepts of clusters that were estimated move with the parameters, and have noise of their
    own, e_i of variance v_i: with S_i the weighted sum over the cluster of the effect's derivative in the intercept,
    they add sum S_i^2 v_i.
    The average is that of the rows at hand: how it would vary over other samples of covariates is not included.
    """
    k, q, parameters = len(changes), len(covariance), random_intercept(len(beta))
    of_beta, of_sigma = parameters.coefficients, parameters.scale
    estimate, gradient = np.zeros(k), np.zeros((k, q))
    m = 0 if intercepts is None else len(intercepts.at.values)
    noise = np.zeros((k, m))
    poor = np.zeros(len(known), dtype=bool)
    names, exists = [], True
    for j, change in enumerate(changes):
        names.append((change.variable, change.contrast))
        where, own = change.of_rows(weights)
        high = jet(change.high @ beta + known[where])
        if not high.exists:
            exists = False
            continue
        if change.low is not None:
            low = jet(change.low @ beta + known[where])
            effect, first, second = high.mean - low.mean, high.first - low.first, high.second - low.second
            gradient[j, of_beta] = (own * high.first) @ change.high - (own * low.first) @ change.low
            by_sigma = high.by_sigma - low.by_sigma
            poor[where] |= ~low.resolved
        elif change.slope is not None:
            slope = change.slope @ beta
            effect, first = high.first * slope, high.second * slope
            second = np.zeros_like(first) if high.third is None else high.third * slope
            gradient[j, of_beta] = (own * first) @ change.high + (own * high.first) @ change.slope
            by_sigma = high.first_by_sigma * slope
        else:
            effect, first, second, by_sigma = high.mean, high.first, high.second, high.by_sigma
            gradient[j, of_beta] = (own * first) @ change.high
        if q == len(parameters):
            gradient[j, of_sigma] = own @ by_sigma
        poor[where] |= ~high.resolved
        estimate[j] = own @ effect
        if intercepts is not None:
            noise[j] = np.bincount(intercepts.cluster[where], own * first, m)
            gradient[j] += noise[j] @ intercepts.at.derivatives
            bends = np.bincount(intercepts.cluster[where], own * second, m)
            estimate[j] -= noise[j] @ intercepts.shift + bends @ intercepts.curvature
    terms, contrasts = (tuple(name[side] for name in names) for side in (0, 1))
    if not exists:
        nothing = np.full((k, max(k, q)), np.nan)
        return AverageEffects(terms, contrasts, nothing[:, 0], nothing[:, 0], nothing[:, :k], nothing[:, :q], 0, False)
    total = gradient @ covariance @ gradient.T
    if intercepts is not None:
        with np.errstate(invalid="ignore"):  # 0 * inf: a heavy-tailed posterior in a cluster that does not matter
            total = total + np.nan_to_num((noise * intercepts.at.variances) @ noise.T, nan=0.0, posinf=np.inf)
    return AverageEffects(
        terms,
        contrasts,
        estimate,
        np.sqrt(np.diag(total)),
        total,
        gradient,
        int(np.count_nonzero(poor) if times is None else times[poor].sum()),
        True,
    )


def expected_intercepts(
    X: Array,
    starts: NDArray[np.int64],
    cluster_weights: Array,
    eta: Array,
    size: Array,
    intercepts: Array,
    response: Response,
) -> PredictedIntercepts:
    """Fixed intercepts with derivatives and variances from the expected information, as the correction has them.

    With gamma-hat_i(beta) the intercepts that belong to beta, gamma-hat_i - gamma_i = -xbar_i' (beta-hat - beta) + e_i,
    e_i of variance 1 / (w_i tau_i) and uncorrelated with beta-hat.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Rows of clusters with a finite intercept.
    starts : ndarray of int64, shape (m + 1,)
    cluster_weights : ndarray, shape (m,)
    eta, size : ndarray, shape (n,)
        Linear predictor, and weighted trials or, for counts, weights.
    intercepts : ndarray, shape (m,)
    response : Response
    """
    information = size * response.bias_moments(eta)[0]
    tau = cluster_sums(information, starts)
    known = tau > _NO_INFORMATION
    sums = cluster_sums(X * information[:, None], starts)
    means = np.divide(sums, tau[:, None], out=np.zeros_like(sums), where=known[:, None])
    variances = np.divide(1.0, cluster_weights * tau, out=np.zeros_like(tau), where=known)
    return PredictedIntercepts(intercepts, -means, variances)
