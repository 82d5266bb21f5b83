"""What can be wrong with covariates next to an intercept for every cluster: only differences within clusters count.

Differences are judged after scaling, so that units do not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

from clusterglm.data.checks import (
    FEASIBLE,
    RANK_TOLERANCE,
    ROWS,
    SeparationReport,
    combinations,
    distinct,
    listed,
    null_space,
    separating,
    sparsest,
)
from clusterglm.data.tables.glance import column_range
from clusterglm.errors import DesignError
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import ROWS_IN_CACHE
from clusterglm.model.response.base import Response

_FEWEST_PAIRS = 10  # pairs that each direction brings at least, where there are many
_FLAT = 1e-13  # of a column's largest value: variation within clusters that is rounding


def refuse_unidentified(
    X: Array, starts: NDArray[np.int64], names: Sequence[str], informative: NDArray[np.bool_]
) -> None:
    """Refuse covariates whose coefficients have no unique estimate next to an intercept for every cluster.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Without a column of ones.
    starts : ndarray of int64, shape (m + 1,)
    names : sequence of str
    informative : ndarray of bool, shape (m,)
        Clusters whose responses vary; the others say nothing of the coefficients.

    Raises
    ------
    DesignError
        On columns that are constant within every cluster, or within every informative one, and columns that are
        combinations of others within clusters; it names the columns.
    """
    refuse_flat(variation(X, starts, informative), names)


@dataclass(frozen=True)
class Variation:
    """How columns vary within clusters.

    Parameters
    ----------
    everywhere, inside : ndarray, shape (p,)
        Largest difference from the first row of a cluster: in all clusters, and in the informative ones.
    triangle : ndarray, shape (at most p, p)
        Of a QR decomposition of the rows of informative clusters about the means of their clusters.
    low, high : ndarray, shape (p,)
        Least and largest values.
    """

    everywhere: Array
    inside: Array
    triangle: Array
    low: Array
    high: Array

    @property
    def negligible(self) -> Array:
        """Differences that may be rounding, shape (p,)."""
        return _FLAT * np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Columns that are constant within every cluster, shape (p,)."""
        return np.asarray(self.everywhere <= self.negligible)

    def rescaled(self, centre: Array, scale: Array) -> Variation:
        """How the columns times `scale`, plus `centre`, vary."""
        low, high = (bound * scale + centre for bound in (self.low, self.high))
        return Variation(self.everywhere * scale, self.inside * scale, self.triangle * scale, low, high)


def joined(parts: Sequence[Variation]) -> Variation:
    """How columns vary in the clusters of several parts together."""
    if len(parts) == 1:
        return parts[0]
    return Variation(
        np.max([part.everywhere for part in parts], axis=0),
        np.max([part.inside for part in parts], axis=0),
        np.asarray(np.linalg.qr(np.vstack([part.triangle for part in parts]), mode="r")),
        np.min([part.low for part in parts], axis=0),
        np.max([part.high for part in parts], axis=0),
    )


def refuse_flat(found: Variation, names: Sequence[str]) -> None:
    """Refuse columns without variation of their own; see `refuse_unidentified`."""
    if len(names) == 0:
        return
    triangle, flat, constant = found.triangle, found.inside <= found.negligible, found.constant
    sentences, guilty = [], []
    for which, one, several, what in (
        (constant, "is", "are", "constant within every cluster"),
        (flat & ~constant, "varies", "vary", "only within clusters that drop out because their responses do not vary"),
    ):
        some = [names[j] for j in np.flatnonzero(which).tolist()]
        if some:
            sentences.append(f"{listed(some)} {one if len(some) == 1 else several} {what}")
            guilty += some
    others = np.flatnonzero(~flat).tolist()
    if len(others) > 0:
        triangle = triangle[:, others] / np.linalg.norm(triangle[:, others], axis=0)
        diagonal = np.abs(np.diag(qr(triangle, mode="r", pivoting=True)[0]))
        if len(diagonal) < len(others) or diagonal[-1] <= RANK_TOLERANCE:
            words, columns = combinations(triangle, [names[j] for j in others], centred=False)
            sentences.append("within clusters, " + "; ".join(words))
            guilty += columns
    if guilty:
        error = AbsorbedError if constant.any() and not flat.all() else DesignError
        problem = error(
            f"effects that the clusters' intercepts or other effects take up: {'; '.join(sentences)}",
            "columns that vary within clusters whose responses vary, none of them a combination of the others there",
            f"drop {listed(guilty)} from the formula; or cg.random_effects, which compares clusters as well",
        )
        if isinstance(problem, AbsorbedError):
            problem.columns = tuple(names[j] for j in np.flatnonzero(constant).tolist())
        raise problem


class AbsorbedError(DesignError):
    """Columns are constant within every cluster, and others are not; `columns` are their names."""

    columns: tuple[str, ...] = ()


def absorbed(names: Sequence[str]) -> str:
    """What a reader should know of columns that clusters' intercepts take up."""
    them = "it" if len(names) == 1 else "them"
    return f"without {listed(names)}: constant within every cluster, whose intercepts take {them} up"


def constant_within_clusters(X: Array, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Columns that are constant within every cluster, but for rounding, shape (p,); mostly seen from a few rows."""
    some = int(np.searchsorted(starts, ROWS_IN_CACHE)) + 1
    flat = _flat(X, starts[:some])
    doubtful = np.flatnonzero(flat)
    if len(doubtful) > 0 and some < len(starts):
        flat[doubtful] = _flat(X[:, doubtful], starts)
    return flat


def _flat(X: Array, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    rows = X[: starts[-1]]
    first = np.repeat(rows[starts[:-1]], np.diff(starts), axis=0)
    largest = np.abs(rows).max(axis=0, initial=0.0)
    return np.asarray(np.abs(rows - first).max(axis=0, initial=0.0) <= _FLAT * largest)


def variation(X: Array, starts: NDArray[np.int64], informative: NDArray[np.bool_]) -> Variation:
    """How the columns of X vary within clusters; see `refuse_unidentified` for the arguments."""
    p = X.shape[1]
    everywhere, inside, triangle = np.zeros(p), np.zeros(p), np.empty((0, p))
    for codes, part, means in _pieces(X, starts):
        use = informative[codes]
        largest = np.abs(part).max(axis=0)
        np.maximum(everywhere, largest, out=everywhere)
        if not use.any():
            continue
        if not use.all():
            part, means = part[use], means[use]
            largest = np.abs(part).max(axis=0)
        np.maximum(inside, largest, out=inside)
        triangle = np.asarray(np.linalg.qr(np.vstack([triangle, part - means]), mode="r"))
    return Variation(everywhere, inside, triangle, *column_range(X))


def _pieces(X: Array, starts: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Array, Array]]:
    """Rows a chunk at a time: their clusters, their differences from the first row of the cluster, and its mean.

    As differences, what is constant is exactly 0 and large values lose no digits.
    """
    k, m = 0, len(starts) - 1
    while k < m:
        end = max(k + 1, int(np.searchsorted(starts, starts[k] + ROWS_IN_CACHE, side="right")) - 1)
        first, last = int(starts[k]), int(starts[end])
        if last - first <= ROWS_IN_CACHE:
            sizes = np.diff(starts[k : end + 1])
            local = np.repeat(np.arange(end - k), sizes)
            part = X[first:last] - X[starts[k:end]][local]
            means = np.add.reduceat(part, starts[k:end] - first, axis=0) / sizes[:, None]
            yield k + local, part, means[local]
        else:  # one large cluster
            mean = np.array([(x - x[0]).mean() for x in X[first:last].T])
            for begin in range(first, last, ROWS_IN_CACHE):
                part = X[begin : min(begin + ROWS_IN_CACHE, last)] - X[first]
                yield np.full(len(part), k), part, np.broadcast_to(mean, part.shape)
        k = end


def find_separation_within(
    X: Array,
    a: Array,
    b: Array,
    starts: NDArray[np.int64],
    names: Sequence[str],
    response: Response,
    informative: NDArray[np.bool_],
    most: int | None = None,
) -> SeparationReport | None:
    """Complete or quasi-complete separation next to an intercept for every cluster, by linear programs.

    A direction d separates when x_s'd >= x_f'd for every two rows of a cluster of which s has successes and f has
    failures (or s a positive count, and f any), with inequality somewhere: moving along d, the intercepts following,
    then never lowers the likelihood. Pairs of rows enter the programs as they bind; whether all of them allow a
    direction shows in the lowest x_s'd and the highest x_f'd of each cluster.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Without a column of ones.
    a, b : ndarray, shape (n,)
        Weighted successes and failures, or weighted counts and weights.
    starts : ndarray of int64, shape (m + 1,)
    names : sequence of str
    response : Response
    informative : ndarray of bool, shape (m,)
        Clusters whose intercept has a finite maximum.
    most : int, optional
        Directions to look for; all of them by default, so that every column with a part in one is named. With fewer,
        whether the separation is complete is left open.

    Returns
    -------
    SeparationReport or None
        None when the maximum is finite.
    """
    p = X.shape[1]
    use = np.repeat(informative, np.diff(starts)) & ((a > 0.0) | (b > 0.0))
    if p == 0 or not use.any():
        return None
    Z, scale, of = _within(X, starts, use)
    pairs = _Pairs(Z, a[use] > 0.0, b[use] > 0.0, of)
    rows = _first_rows(pairs)
    found: list[Array] = []
    affected = np.zeros(p, dtype=bool)
    while len(found) < (p if most is None else min(p, most)):
        direction, rows = _allowed(rows, pairs)
        if direction is None:
            break
        affected |= np.abs(direction) > 1e-5 * np.abs(direction).max()
        # pairs that the direction decides drop out; what is left may separate in its turn
        pairs, rows = pairs.undecided(direction), rows[rows @ direction <= FEASIBLE]
        found.append(direction / scale)
    if not found:
        return None
    # a positive count without an upper end stays beside itself
    left = np.bincount(of, weights=pairs.upper | pairs.lower).max()
    complete = most is None and bool(left <= (not response.bounded))
    columns = tuple(names[j] for j in np.flatnonzero(affected).tolist())
    what = response.words.separated
    how = "within clusters" if most is not None else "within clusters in part"
    how = "completely within every cluster" if complete else how
    return SeparationReport(
        got=f"{listed(columns)} separate{'s' * (len(columns) == 1)} {what} {how}: the maximum lies at infinity",
        needed="no combination of covariates that, among the rows of a cluster, predicts some responses perfectly",
        advice="separation='limit', for the limit of the fit with its likelihood; or "
        f"penalty='firth', whose estimates are finite; or drop {listed(columns)}, or merge levels; or "
        "cg.random_effects(..., separation='limit'), which compares clusters as well",
        columns=columns,
        directions=tuple(found),
        complete=complete,
    )


@dataclass(frozen=True)
class Sides:
    """Rows of some clusters, as differences within these in units of `scale`, and which of them directions leave open.

    Parameters
    ----------
    Z : ndarray, shape (k, p)
    scale : ndarray, shape (p,)
        Units of the columns.
    of : ndarray of int64, shape (k,)
        Clusters 0, 1, ... in order.
    undecided : ndarray of bool, shape (k,)
        Rows that are still to be told from others of their cluster.
    """

    Z: Array
    scale: Array
    of: NDArray[np.int64]
    undecided: NDArray[np.bool_]


def sides(
    X: Array,
    a: Array,
    b: Array,
    starts: NDArray[np.int64],
    use: NDArray[np.bool_],
    directions: Sequence[Array],
) -> Sides:
    """The rows in use, and what directions that `find_separation_within` has found leave of them."""
    Z, scale, of = _within(X, starts, use)
    pairs = _Pairs(Z, a[use] > 0.0, b[use] > 0.0, of)
    for direction in directions:
        pairs = pairs.undecided(direction * scale)
    return Sides(Z, scale, of, pairs.upper | pairs.lower)


def _within(X: Array, starts: NDArray[np.int64], use: NDArray[np.bool_]) -> tuple[Array, Array, NDArray[np.int64]]:
    """Rows in use, as differences from the first of their cluster over the widest range in one; ranges; clusters."""
    codes = np.repeat(np.arange(len(starts) - 1), np.diff(starts))[use]
    of: NDArray[np.int64] = np.cumsum(np.diff(codes, prepend=codes[0]) > 0, dtype=np.int64)
    first = np.flatnonzero(np.diff(of, prepend=-1))
    Z: Array = X[use]
    Z -= Z[first][of]
    scale = (np.maximum.reduceat(Z, first, axis=0) - np.minimum.reduceat(Z, first, axis=0)).max(axis=0)
    scale[scale == 0.0] = 1.0
    Z /= scale
    return Z, scale, of


@dataclass(frozen=True)
class _Pairs:
    """Pairs of rows s, f of a cluster, of which x_s'd >= x_f'd is asked.

    Parameters
    ----------
    Z : ndarray, shape (k, p)
    upper, lower : ndarray of bool, shape (k,)
        Rows that take the part of s, and of f; a row may take both.
    of : ndarray of int64, shape (k,)
        Clusters 0, 1, ... in order.
    """

    Z: Array
    upper: NDArray[np.bool_]
    lower: NDArray[np.bool_]
    of: NDArray[np.int64]

    def bounds(self, u: Array) -> tuple[Array, Array]:
        """Lowest u of the upper and highest u of the lower rows of each cluster; inf and -inf without any."""
        first = np.flatnonzero(np.diff(self.of, prepend=-1))
        low = np.minimum.reduceat(np.where(self.upper, u, np.inf), first)
        return low, np.maximum.reduceat(np.where(self.lower, u, -np.inf), first)

    def against(self, direction: Array, most: int) -> Array:
        """Differences x_s - x_f, shape (any, p), of pairs that forbid a direction: the worst of the worst clusters."""
        u = self.Z @ direction
        low, high = self.bounds(u)
        clusters = np.flatnonzero(low - high < -FEASIBLE)
        clusters = clusters[np.argsort((low - high)[clusters])[:most]]
        begins, ends = np.searchsorted(self.of, clusters), np.searchsorted(self.of, clusters, side="right")
        s, f = [], []
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            upper = begin + np.flatnonzero(self.upper[begin:end])
            lower = begin + np.flatnonzero(self.lower[begin:end])
            k = min(len(upper), len(lower), -(-most // len(clusters)))
            # lowest with highest, second lowest with second highest, ...
            s.append(upper[np.argsort(u[upper])[:k]])
            f.append(lower[np.argsort(-u[lower])[:k]])
        if not s:
            return np.empty((0, self.Z.shape[1]))
        difference: Array = self.Z[np.concatenate(s)] - self.Z[np.concatenate(f)]
        return difference[difference @ direction < 0.0]

    def undecided(self, direction: Array) -> _Pairs:
        """The pairs left for which a direction that all allow makes no difference."""
        u = self.Z @ direction
        low, high = self.bounds(u)
        upper = self.upper & (u <= high[self.of] + FEASIBLE)
        return replace(self, upper=upper, lower=self.lower & (u >= low[self.of] - FEASIBLE))


def _first_rows(pairs: _Pairs) -> Array:
    """Differences to start from: where columns vary most, either way."""
    p = pairs.Z.shape[1]
    each = max(_FEWEST_PAIRS, ROWS // (2 * p))
    return distinct(np.vstack([pairs.against(sign * e, each) for e in np.eye(p) for sign in (1.0, -1.0)]))


def _allowed(rows: Array, pairs: _Pairs) -> tuple[Array | None, Array]:
    """A direction of few columns that all pairs allow and that decides some; None without one. And all rows it took."""
    free, ones = np.eye(pairs.Z.shape[1]), np.empty(0, dtype=np.int64)
    rows = _spanning(rows, pairs)
    while len(rows) > 0:
        direction = separating(rows, free)
        if direction is None:
            break
        more = pairs.against(direction, ROWS)
        if len(more) == 0:
            sparse = sparsest(rows, free, direction, ones)
            more = pairs.against(sparse, ROWS)
            if len(more) == 0:
                return sparse, rows
        known = len(rows)
        rows = distinct(np.vstack([rows, more]))
        if len(rows) == known:  # within the accuracy of the linear programs
            return direction, rows
    return None, rows


def _spanning(rows: Array, pairs: _Pairs) -> Array:
    """Differences that span those of all pairs, so that without a direction for them there is none at all."""
    p = pairs.Z.shape[1]
    while True:
        unseen = null_space(rows, p).T
        each = max(_FEWEST_PAIRS, ROWS // (2 * max(1, len(unseen))))
        more = [pairs.against(sign * direction, each) for direction in unseen for sign in (1.0, -1.0)]
        grown = distinct(np.vstack([rows, *more]))
        if len(grown) == len(rows):
            return rows
        rows = grown
