"""Means with several random effects: averaged over their distribution, and given a cluster's data.

A row with a = 1 and b = 0 adds log mean(lambda) to a log-likelihood: the log of a probability of success, or of an
expected count. So the mean averaged over effects is the likelihood of a cluster of that row alone; and the mean given a
cluster's data is the likelihood of the cluster with that row added, over that without. Of truncated counts it is not so
(`Response.mean_is_a_row`): their means are averaged as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.blocks.store import BlockArrays
from clusterglm.data.clusters import rows_of
from clusterglm.data.effects import Children
from clusterglm.data.prepare import ModelData
from clusterglm.fit.levels import OneLevel
from clusterglm.fit.mixed import MixedFit
from clusterglm.fit.mixed_task import EffectArrays, MixedTask, choose, effects_of
from clusterglm.inference.predictions.normal_mean import normal_jet
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import ROWS_MADE_UP
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response

_EACH_ROW = 1e-9  # error of the logarithm of a row's mean
_OF_AN_AVERAGE = 1e-10  # that of a mean which `normal_jet` averages
_CLUSTERS_AT_A_TIME = 20_000
_ROWS_WITH_CLUSTERS = 1_000_000  # rows of all clusters at a time


@dataclass(frozen=True)
class LogMeans:
    """Logarithms of means of n rows, and their derivatives in theta = (beta, phi).

    Parameters
    ----------
    value : ndarray, shape (n,)
    gradient : ndarray, shape (n, q)
    error : float
        Bound of the sum of the values' errors, of the rows that were computed together.
    """

    value: Array
    gradient: Array
    error: float


def averaged(X: Array, Z: Array, offset: Array, fit: MixedFit) -> LogMeans:
    """Logarithms of means over the distribution of effects.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    Z : ndarray, shape (n, q)
    offset : ndarray, shape (n,)
    fit : MixedFit

    Notes
    -----
    z'L u is normal with standard deviation s = |L'z|: one effect of a cluster of one row.
    """
    n, covariance = len(X), fit.effects.covariance
    L = covariance.factor(fit.phi)
    eta, scaled = X @ fit.beta + offset, Z @ L
    s = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
    moved = np.einsum("ni,kij,nj->nk", Z, covariance.slopes(fit.phi), scaled)  # half the derivatives of s^2
    if not fit.response.mean_is_a_row:
        jet = normal_jet(eta, s, fit.response)
        gradient = np.hstack([(jet.first / jet.mean)[:, None] * X, (jet.second / jet.mean)[:, None] * moved])
        return LogMeans(np.log(jet.mean), gradient, np.inf if jet.unresolved else _OF_AN_AVERAGE)
    value, by_eta, by_size = np.zeros(n), np.zeros(n), np.zeros(n)
    error = 0.0
    for first in range(0, n, _CLUSTERS_AT_A_TIME):
        rows = slice(first, min(first + _CLUSTERS_AT_A_TIME, n))
        likelihood = _of_single_rows(eta[rows], s[rows], fit.response)
        theta = np.array([0.0, 1.0])
        chosen = choose(likelihood, theta, Quadrature("auto", tolerance=_EACH_ROW * likelihood.n_clusters))
        value[rows] = likelihood.cluster_values(theta, chosen.plan)
        scores = likelihood.unit_scores(theta, chosen.plan)
        by_eta[rows], by_size[rows] = scores[:, 0], scores[:, 1]
        error = max(error, chosen.error)
    # d s / d phi = (L'z)' (dL'z) / s, and by_size is s times the derivative in s
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(s > 0.0, by_size / s**2, 0.0)
    return LogMeans(value, np.hstack([by_eta[:, None] * X, factor[:, None] * moved]), error)


def given_clusters(
    X: Array, Z: Array, offset: Array, codes: NDArray[np.int64], fit: MixedFit, known: ModelData, alone: bool = False
) -> LogMeans:
    """Logarithms of means given the data of each row's cluster.

    Parameters
    ----------
    X, Z, offset : ndarray
        As in `averaged`.
    codes : ndarray of int64, shape (n,)
        Clusters of `known`, or their children where these have effects.
    fit : MixedFit
    known : ModelData
        With effects: the data of the fit, or others.
    alone : bool
        Whether each row is one of a new child of its cluster; `codes` are then those of the cluster's last child.
    """
    n = len(X)
    value, gradient, error = np.zeros(n), np.zeros((n, len(fit.theta))), 0.0
    sizes = np.diff(known.starts)[known.innermost_clusters[codes]] + 1
    ends = np.append(0, np.cumsum(sizes))
    first = 0
    while first < n:
        reach = int(np.searchsorted(ends, ends[first] + _ROWS_WITH_CLUSTERS, side="right")) - 1
        last = min(max(reach, first + 1), n)
        rows = slice(first, last)
        with_row, without = _extended(X[rows], Z[rows], offset[rows], codes[rows], known, alone)
        more, more_scores, more_error = cluster_integrals(with_row.X, with_row, fit)
        less, less_scores, less_error = cluster_integrals(without.X, without, fit)
        value[rows], gradient[rows] = more - less, more_scores - less_scores
        error, first = max(error, more_error + less_error), last
    return LogMeans(value, gradient, error)


def on_link(means: LogMeans, response: Response) -> tuple[Array, Array]:
    """Links of means, and their derivatives in theta: the derivative in the logarithm of a mean is mean / mean'."""
    mean = np.exp(means.value)
    link = response.link_function(mean)
    return link, (mean / response.mean_derivative(link))[:, None] * means.gradient


def log_survival(X: Array, Z: Array, offset: Array, starts: NDArray[np.int64], fit: MixedFit) -> LogMeans:
    """Logarithms of the probability of no event up to each period of some curves; see `survival_curves`.

    Parameters
    ----------
    X, Z, offset : ndarray
        As in `averaged`: rows that are the periods of each curve, in their order.
    starts : ndarray of int64, shape (m + 1,)
        First row of each curve, and n.
    fit : MixedFit
    """
    n = len(X)
    value, gradient, error = np.zeros(n), np.zeros((n, len(fit.theta))), 0.0
    first = np.repeat(starts[:-1], np.diff(starts))  # of each period's curve
    lengths = np.arange(n) - first + 1
    for block in np.split(np.arange(n), np.flatnonzero(np.diff(np.cumsum(lengths) // ROWS_MADE_UP)) + 1):
        if len(block) == 0:
            continue
        begin = np.concatenate([[0], np.cumsum(lengths[block])])
        rows = np.arange(begin[-1]) - np.repeat(begin[:-1] - first[block], lengths[block])
        nothing, once = np.zeros(len(rows)), np.ones(len(rows))
        effects = replace(fit.effects, Z=np.ascontiguousarray(Z[rows]), children=None, outside=())
        made_up = BlockArrays(
            begin, nothing, once, np.ascontiguousarray(offset[rows]), np.ones(len(block)), effects=effects
        )
        value[block], gradient[block], wrong = cluster_integrals(np.ascontiguousarray(X[rows]), made_up, fit)
        error = max(error, wrong)
    return LogMeans(value, gradient, error)


def cluster_integrals(X: Array, data: EffectArrays, fit: MixedFit) -> tuple[Array, Array, float]:
    """Log-likelihoods of single clusters, their scores in (beta, phi), and what the former may be wrong by."""
    task = MixedTask.of(data, fit.response, X, np.ones(effects_of(data).Z.shape[1]), 1)
    theta = task.entries(fit.theta)
    chosen = choose(task.likelihood, theta, Quadrature("auto", tolerance=_EACH_ROW * (len(data.starts) - 1)))
    scores = task.likelihood.unit_scores(theta, chosen.plan) @ task.slopes(fit.theta).T
    return task.likelihood.cluster_values(theta, chosen.plan), scores, chosen.error


def _of_single_rows(eta: Array, s: Array, response: Response) -> OneLevel:
    """A cluster for each row, with a = 1, b = 0 and the effect s u."""
    n = len(eta)
    ones = np.ones(n)
    arrays = BlockArrays(np.arange(n + 1), ones, np.zeros(n), np.ascontiguousarray(eta), ones)
    return OneLevel(np.ones((n, 1)), np.ascontiguousarray(s[:, None]), arrays, response)


def _extended(
    X: Array, Z: Array, offset: Array, codes: NDArray[np.int64], known: ModelData, alone: bool
) -> tuple[ModelData, ModelData]:
    """A copy of its cluster for each row, with the row added, and those without."""
    clusters = known.innermost_clusters[codes]
    rows, starts = rows_of(known.starts, clusters)
    effects = effects_of(known).taken(rows, starts)

    def plain(values: Array) -> Array:
        return np.ascontiguousarray(values[rows])

    ones = np.ones(len(codes))
    without = replace(
        known, X=plain(known.X), a=plain(known.a), b=plain(known.b), offset=plain(known.offset), starts=starts,
        cluster_weights=ones, effects=effects,
    )  # fmt: skip
    places = starts[:-1] + known.innermost[codes + 1] - known.starts[clusters]  # where each row's group ends

    def moved(begin: NDArray[np.int64]) -> NDArray[np.int64]:
        return begin + np.searchsorted(places, begin, side="right")

    def more(values: Array, new: Array | float) -> Array:
        return np.ascontiguousarray(np.insert(values, places, new, axis=0))

    children = effects.children
    if children is not None:
        begin = moved(children.starts)
        if alone:
            begin = np.sort(np.concatenate([begin, places + np.arange(len(places))]))
        children = Children(children.group, begin, np.arange(len(begin) - 1))
    with_row = replace(
        without, X=more(without.X, X), a=more(without.a, 1.0), b=more(without.b, 0.0),
        offset=more(without.offset, offset), starts=moved(starts),
        effects=replace(effects, Z=more(effects.Z, Z), children=children),
    )  # fmt: skip
    return with_row, without
