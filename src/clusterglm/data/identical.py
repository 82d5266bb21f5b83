"""Rows and clusters that cannot be told apart become one, with weights added, which leaves every likelihood as it is.

A row enters a likelihood by its covariates and offset, and by two numbers (a, b). Where its log-probability is linear
in these (`Response.additive`), rows of a cluster with the same covariates are one row with the sums of a and b.
Clusters with the same rows are one cluster with the sum of their weights. Data with few covariate patterns shrink to a
small table by that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import rows_of
from clusterglm.data.prepare import ModelData
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import FEWEST_MERGED, ROWS_FOR_MERGING
from clusterglm.model.response.base import Response

_Integers = NDArray[np.int64]
_FEW = 0.1  # share of rows that may be left: a large fit evaluates its likelihood only two or three times
_FIRST = 8  # of so many clusters that are looked at, one is looked at first, ...
_MUCH = 0.9  # ... and all of them only where it leaves less than this share: r**(1/8) is at most 0.75 where r <= 0.1


@dataclass(frozen=True)
class Merged:
    """Clusters as a likelihood takes them, identical ones perhaps merged.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    starts : ndarray of int64, shape (m + 1,)
    a, b, offset : ndarray, shape (n,)
    cluster_weights : ndarray, shape (m,)
        Sums over those that became one.
    sort : ndarray of int64, shape (number of clusters in the data,), or None
        Which of these each cluster of the data has become; None where the data are as they were.
    """

    X: Array
    starts: _Integers
    a: Array
    b: Array
    offset: Array
    cluster_weights: Array
    sort: _Integers | None = None

    @property
    def n_obs(self) -> int:
        """Rows."""
        return len(self.a)

    @property
    def n_clusters(self) -> int:
        """Clusters."""
        return len(self.starts) - 1


def merge_identical(data: ModelData, response: Response, *, always: bool = False) -> Merged:
    """Merge rows and clusters that cannot be told apart, where that pays: the likelihood does not change.

    Parameters
    ----------
    data : ModelData
    response : Response
        Without additive rows nothing is merged.
    always : bool
        Merge whatever can be, however little it is.

    Returns
    -------
    Merged
        Of the data themselves, nothing copied, where they are small or little can be merged.

    Notes
    -----
    Identical rows and clusters are found by 64-bit hashes, and compared number by number before they are merged. Large
    data are looked at in part first; how many patterns all of them have at most follows from how many that part shows
    only once.
    """
    whole = Merged(data.X, data.starts, data.a, data.b, data.offset, data.cluster_weights)
    if not response.additive:
        return whole
    if always:
        return _merged(whole)
    if data.n_obs < FEWEST_MERGED or _share_left(whole, _FIRST) > _MUCH or _share_left(whole) > _FEW:
        return whole
    merged = _merged(whole)
    return merged if merged.n_obs <= _FEW * whole.n_obs else whole


def distinct_rows(X: Array, *columns: Array) -> tuple[_Integers, _Integers]:
    """The first of all rows that are alike, where no more than half of the rows are left; otherwise every row.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    *columns : ndarray, shape (n,)
        What else must be alike.

    Returns
    -------
    first : ndarray of int64, shape (k,)
        Numbers of rows.
    place : ndarray of int64, shape (n,)
        Which of these each row is like.
    """
    n = len(X)
    every = np.arange(n)
    if n < FEWEST_MERGED:
        return every, every
    _, first, place = np.unique(_hashes(*X.T, *columns), return_index=True, return_inverse=True)
    if 2 * len(first) > n:
        return every, every
    model = first[place]
    for some in np.array_split(every, n // ROWS_FOR_MERGING + 1):
        same = (X[model[some]] == X[some]).all(axis=1)
        for column in columns:
            same &= column[model[some]] == column[some]
        if not same.all():  # two hashes are alike that should not be
            return every, every
    return first.astype(np.int64), place.astype(np.int64)


def _merged(data: Merged) -> Merged:
    return _with_clusters_merged(_with_rows_merged(data))


def _with_rows_merged(data: Merged) -> Merged:
    """Within clusters; the rows that are left lie in an order that depends on nothing but themselves."""
    cluster = np.repeat(np.arange(data.n_clusters, dtype=np.uint64), np.diff(data.starts))
    bits = np.uint64(64 - data.n_clusters.bit_length())  # of the hash; the cluster's number is put before them
    order = np.argsort((cluster << bits) | (_hashes(*data.X.T, data.offset) >> (np.uint64(64) - bits)))
    X, offset = data.X[order], data.offset[order]
    new = np.ones(data.n_obs, dtype=bool)
    new[1:] = (X[1:] != X[:-1]).any(axis=1) | (offset[1:] != offset[:-1])
    new[data.starts[:-1]] = True
    first = np.flatnonzero(new)
    return Merged(
        X=np.ascontiguousarray(X[first]),
        starts=np.searchsorted(first, data.starts).astype(np.int64),
        a=np.add.reduceat(data.a[order], first),
        b=np.add.reduceat(data.b[order], first),
        offset=offset[first],
        cluster_weights=data.cluster_weights,
    )


def _with_clusters_merged(data: Merged) -> Merged:
    """Clusters whose rows lie in the same order."""
    sizes, model = np.diff(data.starts), _same_clusters(data)
    # each cluster's rows beside those of the first cluster with its hash
    beside = np.arange(data.n_obs) + np.repeat(data.starts[model] - data.starts[:-1], sizes)
    differ = (data.X[beside] != data.X).any(axis=1)
    for values in (data.a, data.b, data.offset):
        differ |= values[beside] != values
    model = np.where(np.logical_or.reduceat(differ, data.starts[:-1]), np.arange(data.n_clusters), model)
    kept, sort = np.unique(model, return_inverse=True)
    rows, starts = rows_of(data.starts, kept)
    return Merged(
        X=np.ascontiguousarray(data.X[rows]),
        starts=starts,
        a=data.a[rows],
        b=data.b[rows],
        offset=data.offset[rows],
        cluster_weights=np.bincount(sort, weights=data.cluster_weights).astype(np.float64),
        sort=sort.astype(np.int64),
    )


def _same_clusters(data: Merged) -> _Integers:
    """For each cluster the number of the first one of its size with its hash."""
    sizes = np.diff(data.starts)
    rows = _hashes(*data.X.T, data.offset, data.a, data.b)
    hashes = _scrambled(np.add.reduceat(rows, data.starts[:-1]) + sizes.astype(np.uint64))
    _, first, sort = np.unique(hashes, return_index=True, return_inverse=True)
    model: _Integers = first[sort.ravel()].astype(np.int64)
    return np.where(sizes == sizes[model], model, np.arange(data.n_clusters))


def _share_left(data: Merged, part: int = 1) -> float:
    """Estimated share of the rows that merging leaves, from some of the clusters, long ones in part.

    With another `part`, one in so many of these rows is looked at. Things that are seen once among s are the share
    r(s) = sum p exp(-s p) of them, if each is drawn with its probability p; by Jensen's inequality r(s / k) is at most
    r(s)**(1 / k), so that a share near one among few tells that it will not be small among more.
    """
    m, sizes, most = data.n_clusters, np.diff(data.starts), ROWS_FOR_MERGING // part
    few = max(1, min(m, int(np.sqrt(20.0 * m)) // part, int(most * m / data.n_obs)))
    clusters = np.linspace(0, m - 1, few).astype(np.int64)
    steps = -(-sizes[clusters] // max(most // few, 1))
    shown = -(-sizes[clusters] // steps)
    starts = np.concatenate([[0], np.cumsum(shown)]).astype(np.int64)
    within = np.arange(starts[-1]) - np.repeat(starts[:-1], shown)
    rows = np.repeat(data.starts[clusters], shown) + within * np.repeat(steps, shown)
    some = Merged(data.X[rows], starts, data.a[rows], data.b[rows], data.offset[rows], np.ones(few))
    times = _with_rows_merged(replace(some, a=np.ones(len(rows)))).a  # that each pattern has been seen
    some = _with_rows_merged(some)
    once = np.add.reduceat((times == 1.0).astype(np.int64), some.starts[:-1])
    rows_left = _patterns(shown, np.diff(some.starts), once, sizes[clusters]).sum() / sizes[clusters].sum()
    seen = np.unique(_same_clusters(some), return_counts=True)[1]
    clusters_left = _patterns(np.array(few), np.array(len(seen)), (seen == 1).sum(), np.array(m)) / m
    return float(rows_left * clusters_left)


def _patterns(shown: _Integers, distinct: _Integers, once: _Integers, total: _Integers) -> Array:
    """At most so many patterns are expected of `total` things: those seen, and new ones at the rate of the last seen.

    The rate is that of patterns seen once (Good, Biometrika 40, 1953); it falls as more are seen.
    """
    return np.asarray(distinct + (total - shown) * once / shown, dtype=np.float64)


def _hashes(*columns: Array) -> NDArray[np.uint64]:
    rows = np.zeros(len(columns[-1]), dtype=np.uint64)
    for column in columns:
        rows = _scrambled(rows + np.ascontiguousarray(column + 0.0).view(np.uint64))  # -0.0 is 0.0
    return rows


def _scrambled(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Steele, Lea and Flood's SplitMix64 (OOPSLA 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
