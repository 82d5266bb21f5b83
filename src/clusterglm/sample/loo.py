"""Leave-one-out prediction of clusters from one posterior, by importance sampling with smoothed weights; WAIC.

Vehtari, Gelman and Gabry, Statistics and Computing 27, 2017; Vehtari, Simpson, Gelman, Yao and Gabry, Journal of
Machine Learning Research 25, 2024. The generalised Pareto distribution is fitted to the weights' tail as in Zhang and
Stephens, Technometrics 51, 2009, with the weak prior of the second paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from clusterglm.model.arrays import Array
from clusterglm.sample.diagnostics import variance

_FEWEST_WEIGHTS = 5  # weights of a tail, below which it is left alone


@dataclass(frozen=True)
class Pointwise:
    """Expected log predictive densities of m clusters.

    Parameters
    ----------
    elpd : ndarray, shape (m,)
    p : ndarray, shape (m,)
        Effective parameters: the log density of the cluster with its own data less that without.
    tails : ndarray, shape (m,)
        Pareto k of each cluster's weights; nan for WAIC, which has none.
    """

    elpd: Array
    p: Array
    tails: Array


def threshold(draws: int) -> float:
    """Pareto k above which so many draws cannot tell what is estimated."""
    return float(min(1.0 - 1.0 / np.log10(draws), 0.7)) if draws > 10 else 0.0


def leave_one_out(values: Array) -> Pointwise:
    """From clusters' log-likelihoods at draws, shape (draws, m)."""
    draws = len(values)
    inside = logsumexp(values, axis=0) - np.log(draws)
    elpd, tails = np.empty(values.shape[1]), np.empty(values.shape[1])
    for i, column in enumerate(values.T):
        log_weights, tails[i] = smoothed(-column)
        elpd[i] = logsumexp(column + log_weights) - logsumexp(log_weights)
    return Pointwise(elpd, inside - elpd, tails)


def waic(values: Array) -> Pointwise:
    """Watanabe's criterion, as an expected log predictive density, from values of shape (draws, m)."""
    p = variance(values)
    inside = logsumexp(values, axis=0) - np.log(len(values))
    return Pointwise(inside - p, p, np.full(len(p), np.nan))


def smoothed(log_weights: Array) -> tuple[Array, float]:
    """Logs of weights whose largest are those that a Pareto tail has; and the shape k of that tail.

    Parameters
    ----------
    log_weights : ndarray, shape (s,)
        -inf where a weight is 0.

    Returns
    -------
    smoothed : ndarray, shape (s,)
        The largest of them is at most 0.
    k : float
        -inf where the largest weights are equal, inf where they are too few.
    """
    weights = log_weights - log_weights.max()
    s = len(weights)
    count = int(np.ceil(min(0.2 * s, 3.0 * np.sqrt(s))))
    if count < _FEWEST_WEIGHTS:
        return weights, np.inf
    order = np.argsort(weights, kind="stable")
    cut = weights[order[s - count - 1]]
    tail = order[s - count :]
    tail = tail[weights[tail] > cut]  # a draw that is repeated may be on both sides of the cut
    excess = np.exp(weights[tail]) - np.exp(cut)
    if len(tail) == 0 or excess[-1] <= 1e-12:  # all alike
        return weights, -np.inf
    count = len(tail)
    if count < _FEWEST_WEIGHTS:
        return weights, np.inf
    k, scale = pareto(np.maximum(excess, 1e-300))
    shares = (np.arange(count) + 0.5) / count
    if np.isfinite(k):
        with np.errstate(over="ignore"):  # quantiles of heavy tails end at the largest weight
            quantiles = -scale * np.log1p(-shares) if abs(k) < 1e-12 else scale * np.expm1(-k * np.log1p(-shares)) / k
        weights = weights.copy()
        weights[tail] = np.minimum(np.log(quantiles + np.exp(cut)), 0.0)
    return weights, k


def pareto(x: Array) -> tuple[float, float]:
    """Shape k and scale of a generalised Pareto distribution, from values above 0 in ascending order, shape (n,).

    The posterior mean of Zhang and Stephens: with b the shape over minus the scale, a profile likelihood averaged over
    a grid of b, and k drawn towards 1/2 as by ten observations more.
    """
    n = len(x)
    m = 30 + int(np.sqrt(n))
    quartile = x[int(n / 4.0 + 0.5) - 1]
    b = 1.0 / x[-1] + (1.0 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3.0 * quartile)
    k = np.log1p(-b[:, None] * x).mean(axis=1)
    log_likelihood = n * (np.log(-b / k) - k - 1.0)
    b_mean = float(b @ np.exp(log_likelihood - logsumexp(log_likelihood)))
    shape = float(np.log1p(-b_mean * x).mean())
    return (n * shape + 5.0) / (n + 10.0), -shape / b_mean
