"""What weights mean: a whole number is so many rows, or so many clusters, that are alike.

Likelihoods are sums, in which a weight of three and three rows are the same. Whatever counts or draws single rows or
clusters asks here how many there are, or has them written out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import rows_of
from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import MOST_REPEATS

_OF_A_QUOTIENT = 1e-12  # relative error


@dataclass(frozen=True)
class Repeats:
    """How many rows and clusters each row and cluster of some data stands for.

    Parameters
    ----------
    rows : ndarray, shape (n,)
        Rows of its cluster: the case weights where all of them are whole numbers, otherwise ones.
    clusters : ndarray, shape (m,)
        The cluster weights where all of them are whole numbers, otherwise ones.
    """

    rows: Array
    clusters: Array


@dataclass(frozen=True)
class Counts:
    """What weights add up to.

    Parameters
    ----------
    rows, clusters : int
        Rows, repeats counted where all weights are whole numbers; and clusters, where cluster weights are.
    sum_rows, sum_clusters : float
        Sums of the weights: of rows times those of their clusters, and of clusters.
    weighted : tuple of str
        Which weights differ from one: "case", "cluster".
    fractions : tuple of str
        Which of them are not all whole numbers.
    """

    rows: int
    clusters: int
    sum_rows: float
    sum_clusters: float
    weighted: tuple[str, ...] = ()
    fractions: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether all weights are whole numbers, which say how many rows and clusters there are."""
        return not self.fractions


def repeats_of(data: ModelData) -> Repeats:
    """How often each row and cluster counts."""
    return Repeats(
        data.weights if _are_whole(data.weights) else np.broadcast_to(1.0, data.n_obs),
        data.cluster_weights if _are_whole(data.cluster_weights) else np.broadcast_to(1.0, data.n_clusters),
    )


def rows_of_clusters(data: ModelData, repeats: Repeats) -> Array:
    """Rows that each cluster has, itself not repeated, shape (m,)."""
    sizes = np.diff(data.starts)
    if repeats.rows.strides == (0,):  # known to be alike without a look
        return np.asarray(sizes * repeats.rows[0])
    return np.asarray(np.add.reduceat(repeats.rows, data.starts[:-1]))


def sizes_of_clusters(data: ModelData, repeats: Repeats) -> dict[int, int]:
    """Number of clusters of each size, in ascending order."""
    sizes, place = np.unique(rows_of_clusters(data, repeats), return_inverse=True)
    count = np.bincount(place, repeats.clusters)
    return dict(zip(sizes.astype(int).tolist(), count.astype(int).tolist(), strict=True))


def counts_of(data: ModelData) -> Counts:
    """How many rows and clusters the data stand for."""
    n, m = data.n_obs, data.n_clusters
    kinds = {"case": data.weights, "cluster": data.cluster_weights}
    weighted = tuple(name for name, weights in kinds.items() if not _are_ones(weights))
    if not weighted:
        return Counts(n, m, float(n), float(m))
    fractions = tuple(name for name in weighted if not _are_whole(kinds[name]))
    repeats = repeats_of(data)
    return Counts(
        n if fractions else int(rows_of_clusters(data, repeats) @ repeats.clusters),
        int(repeats.clusters.sum()),
        float(np.add.reduceat(data.weights, data.starts[:-1]) @ data.cluster_weights),
        float(data.cluster_weights.sum()),
        weighted,
        fractions,
    )


def together(parts: Sequence[Counts], rows: int, clusters: int) -> Counts:
    """Counts of all parts of some data, which have so many rows and clusters."""

    def any_of(attribute: str) -> tuple[str, ...]:
        return tuple(name for name in ("case", "cluster") if any(name in getattr(part, attribute) for part in parts))

    fractions = any_of("fractions")
    return Counts(
        rows if fractions else sum(part.rows for part in parts),
        clusters if "cluster" in fractions else sum(part.clusters for part in parts),
        float(sum(part.sum_rows for part in parts)),
        float(sum(part.sum_clusters for part in parts)),
        any_of("weighted"),
        fractions,
    )


def refuse_fractions(data: ModelData, what: str) -> None:
    """Refuse weights that say of no number of rows or clusters how often it is there.

    Raises
    ------
    OptionError
    """
    for name, weights in (("weights", data.weights), ("cluster weights", data.cluster_weights)):
        if not _are_whole(weights):
            odd = float(weights[np.argmax(np.rint(weights) != weights)])
            raise OptionError(
                f"{what}, of a fit with {name} that are not whole numbers (such as {odd:.6g})",
                "weights that say how many rows, or clusters, each one stands for: only these can be drawn or counted",
                "what the likelihood alone tells, such as conf_int() or conf_int(method='profile'); or whole numbers",
            )


def written_out(data: ModelData, what: str) -> ModelData:
    """Every row and cluster as often as its weight says, with weights of one.

    Parameters
    ----------
    data : ModelData
    what : str
        What takes single rows, for the error.

    Returns
    -------
    ModelData
        The data themselves where nothing is repeated. Repeats lie next to each other; those of a cluster are clusters
        of their own, labelled by their numbers.

    Raises
    ------
    OptionError
        Where weights are not whole numbers, or stand for too many rows.
    """
    refuse_fractions(data, what)
    counts = counts_of(data)
    if not counts.weighted:
        return data
    if counts.rows > MOST_REPEATS:
        raise OptionError(
            f"{what}, of a fit whose weights stand for {counts.rows:,} rows",
            f"at most {MOST_REPEATS:,} rows, which are written out",
            "a sample of whole clusters",
        )
    clusters = written_out_clusters(data)
    rows, starts = rows_of(data.starts, clusters)
    ends = np.concatenate([[0], np.cumsum(data.weights[rows].astype(np.int64))])
    starts = ends[starts].astype(np.int64)
    rows = written_out_rows(data)
    trials = data.trials[rows] if data.trials.strides != (0,) else np.broadcast_to(data.trials[0], len(rows))
    return replace(
        data,
        X=np.ascontiguousarray(data.X[rows]),
        a=_single(data.a[rows] / data.weights[rows]),
        b=_single(data.b[rows] / data.weights[rows]),
        offset=data.offset[rows],
        weights=np.broadcast_to(1.0, len(rows)),
        trials=trials,
        starts=starts,
        labels=np.arange(len(clusters)),
        cluster_weights=np.ones(len(clusters)),
        row_index=data.row_index[rows],
        effects=None if data.effects is None else data.effects.taken(rows, starts),
    )


def written_out_clusters(data: ModelData) -> NDArray[np.int64]:
    """For each cluster of `written_out` the number of the one that it repeats."""
    return np.repeat(np.arange(data.n_clusters), data.cluster_weights.astype(np.int64))


def written_out_rows(data: ModelData) -> NDArray[np.int64]:
    """For each row of `written_out` the number of the one that it repeats."""
    rows, _ = rows_of(data.starts, written_out_clusters(data))
    return np.repeat(rows, data.weights[rows].astype(np.int64))


def _single(values: Array) -> Array:
    """Counts without what a division has left them off by; measured values as they are."""
    near = np.rint(values)
    return near if bool((np.abs(values - near) <= _OF_A_QUOTIENT * np.maximum(1.0, np.abs(near))).all()) else values


def _are_whole(weights: Array) -> bool:
    some = weights[:1] if weights.strides == (0,) else weights
    return bool((np.rint(some) == some).all())


def _are_ones(weights: Array) -> bool:
    some = weights[:1] if weights.strides == (0,) else weights
    return bool((some == 1.0).all())
