"""Data in which clusters are left out, or are there more often: for deletion, the jackknife and the bootstrap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.checks import check_design
from clusterglm.data.positive import refuse_alike_columns
from clusterglm.data.prepare import ModelData
from clusterglm.data.repeats import repeats_of
from clusterglm.model.arrays import Array


def only_rows(data: ModelData, rows: NDArray[np.int64]) -> ModelData:
    """Some of the rows, in cluster order, and the clusters that they make up."""
    cluster = np.repeat(np.arange(data.n_clusters), np.diff(data.starts))[rows]
    kept, counts = np.unique(cluster, return_counts=True)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return replace(
        data,
        X=np.ascontiguousarray(data.X[rows]),
        a=data.a[rows],
        b=data.b[rows],
        offset=data.offset[rows],
        weights=data.weights[rows],
        trials=data.trials[rows],
        row_index=data.row_index[rows],
        starts=starts,
        labels=data.labels[kept],
        cluster_weights=data.cluster_weights[kept],
        constant=0.0,
        saturated=float("nan"),
        effects=None if data.effects is None else data.effects.taken(rows, starts),
    )


def only_clusters(data: ModelData, chosen: NDArray[np.bool_]) -> ModelData:
    """Some of the clusters, with all their rows."""
    if chosen.all():
        return data
    return only_rows(data, np.flatnonzero(np.repeat(chosen, np.diff(data.starts))))


def rows_as_clusters(data: ModelData) -> ModelData:
    """Data in which every row is a cluster with the row's weight, labelled by its position in the user's table."""
    order = np.argsort(data.row_index, kind="stable")
    whole = replace(
        data,
        a=data.a / data.weights,
        b=data.b / data.weights,
        weights=np.ones(data.n_obs),
        starts=np.arange(data.n_obs + 1, dtype=np.int64),
        labels=data.row_index,
        cluster_weights=data.weights * np.repeat(data.cluster_weights, np.diff(data.starts)),
    )
    if np.array_equal(order, np.arange(data.n_obs)):
        return whole
    moved = {name: getattr(whole, name)[order] for name in ("a", "b", "offset", "weights", "trials", "row_index")}
    X = np.take(data.X, order, axis=0)
    return replace(whole, X=X, labels=moved["row_index"], cluster_weights=whole.cluster_weights[order], **moved)


def clusters_taken(data: ModelData, times: Array) -> ModelData:
    """Each cluster as often as `times` says, by its weight: to a likelihood the same as so many copies.

    Parameters
    ----------
    data : ModelData
    times : ndarray, shape (m,)
        Of the clusters that each one stands for (`repeats_of`), not of their weights: 0 leaves a cluster out.
    """
    some = times > 0.0
    there = only_clusters(data, some)
    each = data.cluster_weights / repeats_of(data).clusters
    return replace(there, cluster_weights=(each * times)[some], constant=0.0, saturated=float("nan"))


def identified(data: ModelData) -> ModelData:
    """The data, if the rows that are left still tell all coefficients, and what varies over clusters, apart.

    Raises
    ------
    DesignError
    """
    check_design(data.X, data.names, data.intercept)
    if data.effects is not None:
        refuse_alike_columns(data.effects)
    return data
