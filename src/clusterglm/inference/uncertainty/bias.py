"""Incidental-parameter bias of fixed-effects logit, probit and cloglog.

With an intercept for each cluster, each estimated from the few rows of its cluster, the coefficients carry a bias of
the order of one over the size of the clusters, however many clusters there are (Neyman and Scott, Econometrica 16,
1948). Two estimates of it: from a formula, and from fits to half of each cluster.

Every function wants rows sorted by cluster, of informative clusters only: those with successes and failures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from clusterglm.errors import DesignError
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class AnalyticalBias:
    """First-order bias of a fixed-effects fit.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        E[beta-hat] - beta; the corrected estimate is beta-hat minus it.
    intercepts : ndarray, shape (m,)
        E[gamma-hat_i(beta) - gamma_i] of each cluster's intercept, for given beta. nan for a cluster all of whose
        means are 0 or 1 in float64, inf if the bias exceeds float64.
    """

    beta: Array
    intercepts: Array


def analytical_bias(
    X: Array, starts: Rows, cluster_weights: Array, eta: Array, size: Array, response: Response
) -> AnalyticalBias:
    """Estimate the bias of a fixed-effects fit to the order of one over the clusters' size.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Without a column of ones.
    starts : ndarray of int64, shape (m + 1,)
        Where each cluster begins; no cluster is empty.
    cluster_weights : ndarray, shape (m,)
    eta : ndarray, shape (n,)
        Linear predictor at the estimates, offset and intercept included.
    size : ndarray, shape (n,)
        Weighted trials of each row, a + b: a weight counts as so many independent trials.
    response : Response
        Of the binomial family.

    Returns
    -------
    AnalyticalBias

    Raises
    ------
    DesignError
        When the expected information about beta is singular.

    Notes
    -----
    Hahn and Newey (Econometrica 72, 2004), Fernandez-Val (J. Econometrics 150, 2009), for rows that are independent
    given the intercepts and covariates that do not answer to earlier responses. A trial's log-likelihood has the
    derivatives G, H, I in eta; with v = -E[H], tau the sum of v over a cluster's trials, x~ = x - sum(v x) / tau, the
    profile score of a cluster has expectation

        b = sum x~ c / tau,    c = E[G H] + E[I] / 2,

    so that the bias of beta-hat is J^-1 sum b, with J = sum v x~ x~', and that of an intercept sum c / tau^2; cluster
    weights multiply b and J. Expectations are over the responses, at the estimates.
    """
    score, information, slope, tau = bias_sums(X, starts, cluster_weights, eta, size, response)
    return AnalyticalBias(solve_bias(information, score), intercept_bias(slope, tau))


def bias_sums(
    X: Array, starts: Rows, cluster_weights: Array, eta: Array, size: Array, response: Response
) -> tuple[Array, Array, Array, Array]:
    """What `analytical_bias` is made of: b, shape (p,), and J, (p, p); and each cluster's sums of c and of v, (m,)."""
    v, c = response.bias_moments(eta)
    weight, slope = size * v, size * c
    tau = cluster_sums(weight, starts)
    centred = centre(X, starts, weight, tau)
    counts = np.diff(starts)
    by_row = np.repeat(cluster_weights, counts)
    # the quotient first: 1 / tau may overflow where slope / tau is of order one
    score = (by_row * _ratio(slope, np.repeat(tau, counts))) @ centred
    information = centred.T @ (centred * (by_row * weight)[:, None])
    return score, information, cluster_sums(slope, starts), tau


def own_bias(starts: Rows, cluster_weights: Array, v: Array, c: Array) -> float:
    """Expectation of the score in a working value of the response, each cluster's intercept being at its best.

    Parameters
    ----------
    starts : ndarray of int64, shape (m + 1,)
    cluster_weights : ndarray, shape (m,)
    v, c : ndarray, shape (n,)
        See `OwnParameters.own_bias_moments`, times the rows' weights.

    Notes
    -----
    The working value being orthogonal to the mean, its bias is this over its information, and coefficients have none
    from it. Theirs of `analytical_bias` is 0 for negative binomial counts with variance mu + alpha mu^2 as for Poisson
    ones: with v = mu / (1 + alpha mu), E[G H] + E[I] / 2 = -v / 2, in proportion to the weights of the centred columns.
    """
    return float(cluster_weights @ _ratio(cluster_sums(c, starts), cluster_sums(v, starts)))


def intercept_bias(slope: Array, tau: Array) -> Array:
    """Bias of intercepts from a cluster's sums of c and v; nan where tau is 0.

    Parameters
    ----------
    slope, tau : ndarray, shape (m,)

    Returns
    -------
    ndarray, shape (m,)
    """
    with np.errstate(over="ignore"):  # two steps: tau^2 may underflow where the quotient is in range
        return np.divide(_ratio(slope, tau), tau, out=np.full_like(tau, np.nan), where=tau > 0.0)


def cluster_sums(values: Array, starts: Rows) -> Array:
    """Sums over each cluster's rows, (n,) to (m,) or (n, p) to (m, p); no cluster is empty."""
    return np.asarray(np.add.reduceat(values, starts[:-1], axis=0), dtype=np.float64)


def centre(X: Array, starts: Rows, weight: Array, tau: Array) -> Array:
    """X less the weighted mean of its cluster.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    starts : ndarray of int64, shape (m + 1,)
    weight : ndarray, shape (n,)
    tau : ndarray, shape (m,)
        Sums of `weight` over clusters. Where one is 0 the mean is the plain one.

    Returns
    -------
    ndarray, shape (n, p)
    """
    counts = np.diff(starts)
    # less the plain mean first, so that a large common level of x costs no digits
    centred = X - np.repeat(cluster_sums(X, starts) / counts[:, None], counts, axis=0)
    share = _ratio(weight, np.repeat(tau, counts))  # in range where weights are too small for a product
    centred -= np.repeat(cluster_sums(centred * share[:, None], starts), counts, axis=0)
    return np.asarray(centred)


def _ratio(numerator: Array, denominator: Array) -> Array:
    """The quotient of arrays of one shape, 0 where the denominator is."""
    return np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator > 0.0)


def solve_bias(information: Array, score: Array) -> Array:
    """Solve for the bias in units of the columns' standard errors, so that those of the covariates do not matter."""
    if len(score) == 0:
        return np.zeros(0)
    scale = np.sqrt(np.diag(information))
    try:
        if not (scale > 0.0).all():
            raise LinAlgError
        factor = cho_factor(information / np.outer(scale, scale))
    except LinAlgError:
        raise DesignError(
            "covariates that do not vary independently of each other within the clusters",
            "a non-singular information matrix in the clusters that have both successes and failures",
            "fewer covariates, or bias_correction=None",
        ) from None
    return np.asarray(cho_solve(factor, score / scale) / scale, dtype=np.float64)


def half_panels(starts: Rows, order: NDArray[np.generic]) -> tuple[tuple[Rows, Rows], ...]:
    """Split each cluster into its first and second half.

    Parameters
    ----------
    starts : ndarray of int64, shape (m + 1,)
    order : ndarray, shape (n,)
        Ranks or times of the rows within their clusters; rows of equal `order` keep the order they have.

    Returns
    -------
    tuple of pairs of ndarray of int64
        Row numbers of the first and of the second halves, ascending, so that rows remain sorted by cluster. One pair
        when all clusters that are split have an even number of rows. Otherwise two: in the first, the middle row of an
        odd cluster is in the first half; in the other, in the second.

    Notes
    -----
    Dhaene and Jochmans (Rev. Econ. Stud. 82, 2015, section 3). A cluster of one row says nothing about beta, in any
    sample, and is in no half. One of two or three rows is split like any other, though a half of one row says nothing
    either.
    """
    counts = np.diff(starts)
    cluster = np.repeat(np.arange(len(counts)), counts)
    rank = np.empty(len(cluster), dtype=np.int64)
    rank[np.lexsort((order, cluster))] = np.arange(len(cluster)) - np.repeat(starts[:-1], counts)
    rows = np.flatnonzero(np.repeat(counts > 1, counts))
    odd = bool((counts[counts > 1] % 2 == 1).any())
    pairs = []
    for extra in (1, 0) if odd else (0,):
        first = rank[rows] < np.repeat((counts + extra) // 2, counts)[rows]
        pairs.append((rows[first].astype(np.int64), rows[~first].astype(np.int64)))
    return tuple(pairs)


def jackknife(full: Array, halves: Sequence[tuple[Array, Array]], panels: Sequence[tuple[Rows, Rows]]) -> Array:
    """Half-panel jackknife: twice the estimate less the mean of those from the halves.

    Parameters
    ----------
    full : ndarray, shape (p,)
        Estimate from all rows.
    halves : sequence of pairs of ndarray, each of shape (p,)
        Estimates from the first and the second half of each split.
    panels : sequence of pairs of ndarray
        The rows of these halves, as `half_panels` gives them.

    Returns
    -------
    ndarray, shape (p,)

    Notes
    -----
    A half counts by its share of the split's rows, as in Dhaene and Jochmans: its bias is in inverse proportion to
    its rows, and the sum is twice the bias of `full` also when the halves differ in length. The mean over splits is
    plain.

    The covariance matrix to use is that of `full`. The mean of the halves' estimates has the same influence function
    as `full`, hence so has 2 full - mean: removing the bias changes the variance only in terms of higher order
    (their theorem 3.1). In short clusters the corrected estimate varies visibly more than that.
    """
    means = []
    for estimates, rows in zip(halves, panels, strict=True):
        share = len(rows[0]) / (len(rows[0]) + len(rows[1]))
        means.append(share * estimates[0] + (1.0 - share) * estimates[1])
    return np.asarray(2.0 * full - np.mean(means, axis=0), dtype=np.float64)
