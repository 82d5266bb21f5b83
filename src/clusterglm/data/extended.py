"""Data of other sizes made of data that are there: more clusters or fewer, of more rows or fewer."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import rows_of
from clusterglm.data.planned import systematic
from clusterglm.data.prepare import ModelData
from clusterglm.data.within import constant_within_clusters


def extended(data: ModelData, clusters: int | None, size: int | None, rng: np.random.Generator) -> ModelData:
    """Clusters of the data as they are, each as often as any other but for one, to some number; and so their rows.

    Parameters
    ----------
    data : ModelData
        Without weights.
    clusters : int, optional
        How many; by default as many as there are.
    size : int, optional
        Rows of each; by default those that it has.
    rng : numpy Generator

    Returns
    -------
    ModelData
        Copies of a cluster are clusters of their own, labelled by their numbers; levels of factors that cross them
        stay the same.

    Notes
    -----
    Of a part of the clusters, or a part of a further copy, every k-th is taken from a random start, in the order of
    what is constant in clusters and then of their labels: the shares of treatments stay what they are (systematic
    sampling, Cochran, Sampling Techniques, 1977, chapter 8). Rows likewise, in the order of the table.
    """
    if clusters is None and size is None:
        return data
    chosen = np.arange(data.n_clusters)
    if clusters is not None:
        flat = constant_within_clusters(data.X, data.starts)
        firsts = data.X[data.starts[:-1]][:, flat]
        order = np.lexsort((chosen, *firsts.T[::-1]))
        chosen = np.sort(order[systematic(data.n_clusters, clusters, rng)])
    rows, starts = rows_of(data.starts, chosen)
    if size is not None:
        bounds = pairwise(starts.tolist())
        parts = [first + systematic(last - first, size, rng) for first, last in bounds]
        rows, starts = rows[np.concatenate(parts)], np.arange(len(chosen) + 1, dtype=np.int64) * size
    return _taken(data, rows, starts)


def _taken(data: ModelData, rows: NDArray[np.int64], starts: NDArray[np.int64]) -> ModelData:
    n, m = len(rows), len(starts) - 1

    def take(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values[:1], n) if values.strides == (0,) else np.ascontiguousarray(values[rows])

    return replace(
        data,
        X=np.ascontiguousarray(data.X[rows]),
        a=take(data.a),
        b=take(data.b),
        offset=take(data.offset),
        weights=take(data.weights),
        trials=take(data.trials),
        starts=starts,
        labels=np.arange(m),
        cluster_weights=np.ones(m),
        row_index=np.arange(n),
        constant=0.0,
        saturated=float("nan"),
        effects=None if data.effects is None else data.effects.taken(rows, starts),
    )
