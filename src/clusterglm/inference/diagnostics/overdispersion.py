"""Pearson's estimate of how far counts vary more than Poisson's law lets them, given the clusters' sums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.engine.block import Block
from clusterglm.fit.sums import Sums
from clusterglm.likelihood.evaluation import ClusterArrays
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class Overdispersion:
    """Pearson's statistic.

    Parameters
    ----------
    statistic : float
    df : float
        Rows of the clusters that have events, less these clusters, less coefficients.
    """

    statistic: float
    df: float

    @property
    def dispersion(self) -> float:
        """The first over the second: 1 where the model holds; nan without degrees of freedom."""
        return self.statistic / self.df if self.df > 0.0 else float("nan")


def conditional_overdispersion(data: ModelData, response: Response, beta: Array) -> Overdispersion:
    """Overdispersion of counts given the sums of their clusters, which are multinomial.

    Parameters
    ----------
    data : ModelData
        Case weights stand for repeated rows, cluster weights for repeated clusters.
    response : Response
        Poisson.
    beta : ndarray, shape (p,)

    Notes
    -----
    Armstrong, Gasparrini and Tobias, BMC Medical Research Methodology 14:122, 2014. What a row of x'beta is expected to
    have, given its cluster's sum, is the mean of a Poisson model with an intercept for each cluster. Clusters without
    events say nothing of dispersion and are not counted.
    """
    return _less_coefficients([_parts(data.X, data, response, beta)], beta)


def overdispersion_over_blocks(sums: Sums, beta: Array) -> Overdispersion:
    """Overdispersion of counts given the sums of their clusters, from data in blocks."""
    return _less_coefficients(sums.blocks.each(_of_block, sums.standard.inside(beta)), beta)


def _less_coefficients(parts: Iterable[tuple[float, float]], beta: Array) -> Overdispersion:
    statistic, rows = (sum(each) for each in zip(*parts, strict=True))
    return Overdispersion(float(statistic), float(rows) - len(beta))


def _of_block(block: Block, gamma: Array) -> tuple[float, float]:
    return _parts(block.X, block.data, block.response, gamma)


def _parts(X: Array, data: ClusterArrays, response: Response, beta: Array) -> tuple[float, float]:
    """Pearson's statistic, and the number of rows less that of clusters."""
    first, sizes = data.starts[:-1], np.diff(data.starts)
    eta = X @ beta + data.offset
    eta = eta - np.repeat(np.maximum.reduceat(eta, first), sizes)
    total = np.add.reduceat(data.a, first)
    expected = data.b * response.mean(eta)
    expected *= np.repeat(total / np.add.reduceat(expected, first), sizes)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(expected > 0.0, (data.a - expected) ** 2 / expected, 0.0)
    weights = np.where(total > 0.0, data.cluster_weights, 0.0)
    return float(weights @ np.add.reduceat(parts, first)), float(weights @ (np.add.reduceat(data.b, first) - 1.0))
