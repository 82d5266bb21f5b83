"""Score test of no clustering: whether a small variance of cluster intercepts would raise the pooled likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtr

from clusterglm.data.prepare import ModelData
from clusterglm.engine.block import Block
from clusterglm.fit.sums import Sums
from clusterglm.likelihood.evaluation import ClusterArrays
from clusterglm.model.arrays import Array
from clusterglm.model.printing import p_in_words, printed
from clusterglm.model.response.base import Response

_SCORED_ROWS = 32_768  # at a time, so that what is made of them stays in the cache


@printed
@dataclass(frozen=True)
class ScoreTest:
    """One-sided score test of sigma = 0.

    Parameters
    ----------
    statistic : float
        Score of the variance over its standard deviation under the null hypothesis; standard normal in large samples.
        Positive where responses in a cluster are more alike than the pooled model expects.
    pvalue : float
        P(Z >= statistic).
    """

    statistic: float
    pvalue: float

    def __str__(self) -> str:
        words = f"score statistic {self.statistic:.4g}, {p_in_words(self.pvalue)}"
        return f"{words} (one-sided normal; needs the pooled fit only)"


def score_test(data: ModelData, response: Response, beta: Array) -> ScoreTest:
    """Test that the variance of cluster intercepts is zero, from the pooled fit alone.

    Parameters
    ----------
    data : ModelData
        With the design of the pooled model.
    response : Response
    beta : ndarray, shape (p,)
        Maximum likelihood estimate of the pooled model.

    Notes
    -----
    For an intercept of small variance, whatever its distribution, the score of the variance is
    U = sum over clusters of (S1^2 + S2) / 2, S1 and S2 being the cluster's sums of first and second derivatives of the
    log-likelihood in eta (Dean, JASA 87, 1992). With v = E[G^2] a row's information and A = G^2 + H, of mean 0, the
    cluster's share has variance (sum Var A + 2 (sum v)^2 - 2 sum v^2) / 4 and covariance sum Cov(A, G) x / 2 with the
    score of beta: both exact, by summing over the outcomes of a single trial. What estimating beta takes away is
    subtracted. Weights count as repeated trials and clusters.
    """
    return _tested([_sums(data.X, data, response, beta)])


def score_test_over_blocks(sums: Sums, beta: Array) -> ScoreTest:
    """Score test of no clustering of data in blocks; the columns' units do not matter to it."""
    return _tested(sums.blocks.each(_of_block, sums.standard.inside(beta)))


@dataclass(frozen=True)
class _Sums:
    """Over clusters: score of the variance, its own variance, its covariance with beta's score, information on beta."""

    score: float
    variance: float
    cross: Array
    information: Array


def _of_block(block: Block, gamma: Array) -> _Sums:
    return _sums(block.X, block.data, block.response, gamma)


def _sums(X: Array, data: ClusterArrays, response: Response, beta: Array) -> _Sums:
    n, starts = len(data.a), data.starts[:-1]
    G, H, information, spread, shared = (np.empty(n) for _ in range(5))
    for first in range(0, n, _SCORED_ROWS):
        rows = slice(first, first + _SCORED_ROWS)
        a, b = data.a[rows], data.b[rows]
        one, size = response.score_terms(X[rows] @ beta + data.offset[rows], a, b), response.sizes(a, b)
        G[rows], H[rows], information[rows] = one.G, one.H, size * one.v
        spread[rows], shared[rows] = size * (one.variance - 2.0 * one.v * one.v), size * one.covariance
    S1, S2, V, spread = (np.add.reduceat(each, starts) for each in (G, H, information, spread))
    weight = _per_row(data.cluster_weights, data.starts)
    return _Sums(
        score=0.5 * float(data.cluster_weights @ (S1 * S1 + S2)),
        variance=0.25 * float(data.cluster_weights @ (spread + 2.0 * V * V)),
        cross=0.5 * X.T @ (weight * shared),
        information=X.T @ (X * (weight * information)[:, None]),
    )


def _tested(parts: Sequence[_Sums]) -> ScoreTest:
    score, variance = sum(part.score for part in parts), sum(part.variance for part in parts)
    cross, information = (np.sum([getattr(part, name) for part in parts], axis=0) for name in ("cross", "information"))
    variance -= float(cross @ cho_solve(cho_factor(information), cross))
    z = score / np.sqrt(variance)
    return ScoreTest(float(z), float(ndtr(-z)))


def _per_row(values: Array, starts: NDArray[np.int64]) -> Array:
    return np.repeat(values, np.diff(starts))
