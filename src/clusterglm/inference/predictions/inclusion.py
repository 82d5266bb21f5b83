"""Probabilities of rows within sets, given the sets' totals, as a conditional likelihood has them.

Given its number of successes, a set's rows are successes with probabilities in which no intercept has a part: for one
success in proportion to exp(x'beta). For any number d, with any intercept, they follow from the distribution of the
number N of successes: E(y; N = d) is the mean over a circle of phi(t) y(t), phi(t) = E exp(it(N - d)) and y(t) the mean
of y after tilting by exp(it). Sums over more nodes than N has values are exact, and at the intercept for which d is the
mean of N nothing is lost in them (as in the likelihood of many trials, `inversion.hpp`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm import _core
from clusterglm.data.clusters import rows_of
from clusterglm.likelihood.profile import ProfileLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import NUMBERS_AT_A_TIME
from clusterglm.model.response.base import Response

_EXPONENT = 60.0  # of what is left out: see inversion.hpp


@dataclass(frozen=True)
class Inclusion:
    """Probabilities of one success (or event) in each row, given its set's total.

    Parameters
    ----------
    logit : ndarray, shape (n,)
        -inf and inf where the total leaves nothing to chance.
    gradient : ndarray, shape (n, p)
        Derivatives of `logit` in the coefficients; nan where that is infinite.
    """

    logit: Array
    gradient: Array


def shares_of_events(X: Array, eta: Array, starts: NDArray[np.int64]) -> Inclusion:
    """Probability that an event of a set falls to the row: of counts given their sum.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    eta : ndarray, shape (n,)
        X beta and offset.
    starts : ndarray of int64, shape (m + 1,)
        First row of each set, none of them empty, and n.
    """
    first, sizes = starts[:-1], np.diff(starts)
    log = eta - np.repeat(np.maximum.reduceat(eta, first), sizes)
    odds = np.exp(log)
    total = np.repeat(np.add.reduceat(odds, first), sizes)
    share = odds / total
    largest = np.zeros(len(eta), dtype=bool)
    largest[np.lexsort((log, np.repeat(np.arange(len(sizes)), sizes)))[starts[1:] - 1]] = True
    others = np.repeat(np.add.reduceat(np.where(largest, 0.0, odds), first), sizes)  # nothing cancels in the largest
    with np.errstate(divide="ignore", invalid="ignore"):
        logit = np.where(largest, -np.log(others), log - np.log(total) - np.log1p(-share))
        means = np.add.reduceat(share[:, None] * X, first, axis=0)
        gradient = (X - np.repeat(means, sizes, axis=0)) / np.where(largest, others / total, 1.0 - share)[:, None]
    gradient[np.isinf(logit)] = np.nan
    return Inclusion(logit, gradient)


def inclusion(
    X: Array, offset: Array, size: Array, total: Array, starts: NDArray[np.int64], beta: Array, response: Response
) -> Inclusion:
    """Probability that a trial of the row is a success, given the number of successes of its set.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    offset : ndarray, shape (n,)
    size : ndarray, shape (n,)
        Trials of each row, whole numbers above 0.
    total : ndarray, shape (m,)
        Successes of each set, from 0 to its trials.
    starts : ndarray of int64, shape (m + 1,)
        First row of each set, none of them empty, and n.
    beta : ndarray, shape (p,)
    response : Response
        Binomial with the logit link.

    Notes
    -----
    Derivatives are covariances of a row's successes with the sum of x over all successes, given their number.
    """
    m, (n, p) = len(total), X.shape
    trials = np.add.reduceat(size, starts[:-1])
    sizes = np.diff(starts)
    a = size * np.repeat(total / trials, sizes)
    X, a, b, offset = (np.ascontiguousarray(each) for each in (X, a, size - a, offset))
    problem = _core.Problem(starts, X, a, b, offset, np.ones(m), response.code)
    intercepts = ProfileLikelihood(problem).intercepts(beta)
    eta = X @ beta + offset + np.repeat(intercepts, sizes)
    logit = np.repeat(np.where(total == 0.0, -np.inf, np.inf), sizes)
    gradient = np.full((n, p), np.nan)
    open_ = np.flatnonzero((total > 0.0) & (total < trials))
    for alike in _alike(sizes[open_], trials[open_]):
        sets = open_[alike]
        circle = _Circle.of(trials[sets[0]], _variances(eta, size, starts, sets, response))
        step = max(1, NUMBERS_AT_A_TIME // (int(sizes[sets[0]]) * len(circle.angles)))
        for k in range(0, len(sets), step):
            rows, _ = rows_of(starts, sets[k : k + step])
            shape = -1, int(sizes[sets[0]])
            found = _given_totals(
                X[rows].reshape(*shape, p), eta[rows].reshape(shape), size[rows].reshape(shape), circle, response
            )
            logit[rows], gradient[rows] = found[0].ravel(), found[1].reshape(-1, p)
    return Inclusion(logit, gradient)


def _alike(sizes: NDArray[np.int64], trials: Array) -> list[NDArray[np.int64]]:
    """Sets of as many rows and trials, together."""
    _, which = np.unique(np.column_stack([sizes, trials]), axis=0, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")
    return np.split(order, np.flatnonzero(np.diff(which.ravel()[order])) + 1) if len(order) > 0 else []


def _variances(
    eta: Array, size: Array, starts: NDArray[np.int64], sets: NDArray[np.int64], response: Response
) -> Array:
    rows, first = rows_of(starts, sets)
    return np.asarray(np.add.reduceat(size[rows] * response.mean_derivative(eta[rows]), first[:-1]))


@dataclass(frozen=True)
class _Circle:
    """Nodes on half a circle and their weights: 1 at angle 0, 2 elsewhere."""

    angles: Array
    weights: Array

    @staticmethod
    def of(trials: float, variances: Array) -> _Circle:
        """So many that the rest is of no account for any of some sets: see inversion.hpp."""
        exponent = _EXPONENT + float(np.log1p(12.0 * variances.max()))
        reach = exponent / 3.0 + np.sqrt(exponent**2 / 9.0 + 2.0 * exponent * variances.max())
        circle = 2 * int(0.5 * min(trials + 1.0, np.ceil(reach) + 1.0)) + 1  # odd: no node at pi
        versine = exponent / max(float(variances.min()), 1e-300)
        last = 2.0 * np.arcsin(np.sqrt(0.5 * versine)) if versine < 2.0 else np.pi
        k = np.arange(1 + min((circle - 1) // 2, int(np.ceil(last * circle / (2.0 * np.pi)))))
        return _Circle(2.0 * np.pi * k / circle, np.where(k == 0, 1.0, 2.0))


def _given_totals(X: Array, eta: Array, size: Array, circle: _Circle, response: Response) -> tuple[Array, Array]:
    """Logits, shape (c, n), and their gradients, shape (c, n, p), of c sets of n rows, each total at its mean."""
    p, q = response.mean(eta)[:, :, None], response.mean(-eta)[:, :, None]  # the logit link is symmetric
    half = np.sin(0.5 * circle.angles)
    turn = -2.0 * half * half + 1j * np.sin(circle.angles)  # exp(it) - 1
    trials = size[:, :, None]
    factor = 1.0 + p * turn
    log = (trials * (np.log(factor) - 1j * p * circle.angles)).sum(axis=1)  # totals are the sums of the means
    phi = circle.weights * np.exp(log)
    weight = (phi / phi.real.sum(axis=1, keepdims=True))[:, None, :]  # real parts of sums are means given the totals
    success, failure = p * (1.0 + turn) / factor, q / factor
    of_success, of_failure = ((weight * each).real.sum(axis=2) for each in (success, failure))
    spread = (weight * success * failure).real.sum(axis=2)
    centred = X - X.mean(axis=1, keepdims=True)
    sums = np.einsum("cnk,cnp->cpk", trials * success, centred)
    means = np.einsum("cn,cnp->cp", size * of_success, centred)
    covariance = np.einsum("cnk,cpk->cnp", weight * success, sums).real
    covariance += spread[:, :, None] * centred - of_success[:, :, None] * means[:, None, :]
    with np.errstate(divide="ignore", invalid="ignore"):  # where a float64 leaves nothing to chance
        logit = np.log(of_success / of_failure)
        gradient = covariance / (of_success * of_failure)[:, :, None]
    gradient[~np.isfinite(logit)] = np.nan
    return logit, gradient
