"""Clusters that cannot be told apart become one with their weights added, which leaves every likelihood as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData

_FEW = 0.7  # share of distinct clusters above which merging does not pay


def merge_identical(data: ModelData) -> ModelData:
    """The same likelihood from fewer clusters, where many have the same rows.

    Parameters
    ----------
    data : ModelData

    Returns
    -------
    ModelData
        Rows, labels and weights of the first cluster of each sort; `data` itself where there is little to merge. The
        constants are those of the whole.

    Notes
    -----
    Clusters are compared by 64-bit hashes of their rows (covariates, response, weights, offset), whatever their order.
    """
    codes = _cluster_hashes(data)
    _, first, sort = np.unique(codes, return_index=True, return_inverse=True)
    if len(first) > _FEW * len(codes):
        return data
    sizes = np.diff(data.starts)[first]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    rows = np.arange(starts[-1]) + np.repeat(data.starts[first] - starts[:-1], sizes)
    per_row = {name: getattr(data, name)[rows] for name in ("a", "b", "offset", "weights", "trials", "row_index")}
    return replace(
        data,
        X=np.ascontiguousarray(data.X[rows]),
        starts=starts,
        labels=data.labels[first],
        cluster_weights=np.bincount(sort.ravel(), weights=data.cluster_weights).astype(np.float64),
        **per_row,
    )


def _cluster_hashes(data: ModelData) -> NDArray[np.uint64]:
    rows = np.zeros(data.n_obs, dtype=np.uint64)
    for column in (*data.X.T, data.a, data.b, data.offset):
        rows = _scrambled(rows + np.ascontiguousarray(column + 0.0).view(np.uint64))  # -0.0 is 0.0
    return np.add.reduceat(rows, data.starts[:-1]) + np.diff(data.starts).astype(np.uint64)


def _scrambled(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Steele, Lea and Flood's SplitMix64 (OOPSLA 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
