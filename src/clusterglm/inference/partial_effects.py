"""Average partial effects of a fixed-effects logit, probit or cloglog, with and without correction for bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm.inference.bias import centre, cluster_sums, trial_moments
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class PartialEffects:
    """Averages over rows of the change in the mean of one trial.

    Parameters
    ----------
    names : tuple of str, length p
        Columns of the design.
    estimate, std_error : ndarray, shape (p,)
    covariance : ndarray, shape (p, p)
    kinds : tuple of str, length p
        "derivative": change of the mean per unit of the column; "difference": between the column at 1 and at 0.
    corrected : bool
        Whether the bias that comes from the noise of the intercepts was subtracted.
    n_rows : int
        Rows with a finite intercept, over which the sums run.
    """

    names: tuple[str, ...]
    estimate: Array
    std_error: Array
    covariance: Array
    kinds: tuple[str, ...]
    corrected: bool
    n_rows: int


def average_partial_effects(
    X: Array,
    names: Sequence[str],
    starts: NDArray[np.int64],
    cluster_weights: Array,
    weights: Array,
    eta: Array,
    size: Array,
    beta: Array,
    covariance: Array,
    response: Response,
    *,
    corrected: bool,
    total_weight: float,
) -> PartialEffects:
    """Average the effect of each column on the mean of one trial.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Rows of the informative clusters, sorted by cluster; without a column of ones.
    names : sequence of str, length p
    starts : ndarray of int64, shape (m + 1,)
        Where each cluster begins; no cluster is empty.
    cluster_weights : ndarray, shape (m,)
    weights : ndarray, shape (n,)
        Of the rows in the average; each is multiplied by the weight of its cluster.
    eta : ndarray, shape (n,)
        Linear predictor, at intercepts that are solved for `beta`.
    size : ndarray, shape (n,)
        Weighted trials of each row.
    beta : ndarray, shape (p,)
    covariance : ndarray, shape (p, p)
        Of beta.
    response : Response
        Of the binomial family.
    corrected : bool
        Subtract the bias from the noise of the intercepts. `beta` is then a corrected one.
    total_weight : float
        What the sums are divided by. The mean of a cluster without successes or without failures does not move, so
        with the weight of all rows the average is over these clusters too, at an effect of 0.

    Returns
    -------
    PartialEffects

    Notes
    -----
    A column that holds only 0 and 1 is switched from 0 to 1, any other moved by an infinitesimal amount, each by
    itself: columns made from the same variable, such as its square, do not follow.

    Correction: Hahn and Newey (Econometrica 72, 2004), Fernandez-Val (J. Econometrics 150, 2009). With d the sum of
    effects over a cluster, their mean at the estimated intercept exceeds the true one by
    d' E[gamma-hat - gamma] + d'' / (2 tau), derivatives in gamma, where tau is the cluster's information. The formula
    knows nothing of clusters without a finite intercept: where there are many, in short clusters, what counting them
    at 0 takes from an average over all rows remains, and its standard error takes these zeros as known.

    Standard errors: delta method on the joint inverse information of beta and the intercepts. With gamma-hat_i(beta)
    the intercepts that belong to beta, gamma-hat_i - gamma_i = -xbar_i' (beta-hat - beta) + e_i, e_i of variance
    1 / (w_i tau_i) and uncorrelated with beta-hat. xbar and tau are from the expected information, as in the
    correction, whatever `covariance` is made of. The average is that of the rows at hand: how it would vary over
    other samples of covariates and intercepts is not included. Weights count as repeated trials and clusters.
    """
    n, p = X.shape
    v, c = trial_moments(eta, response)
    information = size * v
    tau = cluster_sums(information, starts)
    centred = centre(X, starts, information, tau)
    row_weights = weights * np.repeat(cluster_weights, np.diff(starts)) / total_weight
    # d' E[gamma-hat - gamma] + d'' / (2 tau) = (d' shift + d'' / 2) / tau; clusters of no information have no noise
    known = tau > 0.0
    shift = np.divide(cluster_sums(size * c, starts), tau, out=np.zeros_like(tau), where=known)
    _, *slopes = mean_derivatives(eta, response)

    estimate, jacobian, by_cluster = np.zeros(p), np.zeros((p, p)), np.zeros((len(tau), p))
    kinds = []
    for k in range(p):
        x, within = X[:, k], centred[:, k]
        if np.all((x == 0.0) | (x == 1.0)):
            kinds.append("difference")
            low = mean_derivatives(eta - x * beta[k], response)
            high = mean_derivatives(eta + (1.0 - x) * beta[k], response)
            effect, first, second = (up - down for up, down in zip(high[:3], low[:3], strict=True))
            # x is 1 on one side and 0 on the other, less the same mean of the cluster
            own = high[1] * (within + (1.0 - x)) - low[1] * (within - x)
        else:
            kinds.append("derivative")
            effect, first, second = (beta[k] * slope for slope in slopes)
            own = slopes[0] + first * within
        estimate[k] = row_weights @ effect
        jacobian[k] = (row_weights * first) @ centred
        jacobian[k, k] = row_weights @ own
        by_cluster[:, k] = cluster_sums(row_weights * first, starts)
        if corrected:
            excess = by_cluster[:, k] * shift + 0.5 * cluster_sums(row_weights * second, starts)
            estimate[k] -= np.divide(excess, tau, out=np.zeros_like(tau), where=known).sum()
    precision = (cluster_weights * tau)[:, None]
    noise = np.divide(by_cluster, np.sqrt(precision), out=np.zeros_like(by_cluster), where=precision > 0.0)
    total = jacobian @ covariance @ jacobian.T + noise.T @ noise
    return PartialEffects(tuple(names), estimate, np.sqrt(np.diag(total)), total, tuple(kinds), corrected, n)


def mean_derivatives(eta: Array, response: Response) -> tuple[Array, Array, Array, Array]:
    """Mean of one trial and its first three derivatives in the linear predictor.

    Parameters
    ----------
    eta : ndarray, shape (n,)
    response : Response
        Of the binomial family.

    Returns
    -------
    tuple of four ndarray, shape (n,)

    Notes
    -----
    log mu is the kernel of a success, with derivatives G, H, I: mu'' = mu (H + G^2), mu''' = mu (I + 3 G H + G^3).
    Where mu is near 1, G is small and accurate, so that nothing is lost there either.
    """
    mean = response.mean(eta)
    _, g, h, i, _ = response.derivatives(eta, np.ones_like(eta), np.zeros_like(eta))
    return mean, response.mean_derivative(eta), mean * (h + g * g), mean * (i + g * (3.0 * h + g * g))
