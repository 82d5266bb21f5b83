"""Rows with two grouping factors, each level of which has an intercept: what they say, and what hangs together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import encode, group
from clusterglm.data.constants import totals
from clusterglm.data.groupings import Levels
from clusterglm.data.prepare import ModelData, assemble
from clusterglm.data.request import Request
from clusterglm.data.response import ResponseValues
from clusterglm.data.rows import Dropped, read_formula
from clusterglm.data.tables.table import column, read_table
from clusterglm.data.within import constant_within_clusters
from clusterglm.errors import ClusterError
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_Integers = NDArray[np.int64]


@dataclass(frozen=True)
class TwoWay:
    """Rows in the order of the clusters, and their levels of a second factor.

    Parameters
    ----------
    rows : ModelData
        Without a column of ones in X; clusters are the levels of the factor that has more of them.
    second : Levels
        Of the other factor.
    """

    rows: ModelData
    second: Levels

    @property
    def first_codes(self) -> _Integers:
        """Each row's cluster, shape (n,)."""
        return np.repeat(np.arange(self.rows.n_clusters), np.diff(self.rows.starts))

    @property
    def factors(self) -> tuple[str, str]:
        """Names of both factors."""
        return str(self.rows.cluster_name), self.second.group


def prepare_two_way(formula: str, data: Any, request: Request, names: tuple[str, str]) -> TwoWay:
    """Read the table as `prepare` does, with two factors.

    Parameters
    ----------
    formula : str
    data : table
    request : Request
        For fixed effects; it says nothing of clusters.
    names : tuple of two str
        Columns.

    Raises
    ------
    DataError
        As `prepare`.
    """
    table = read_table(data)
    sizes = [len(encode(column(table, name, "cluster=")).labels) for name in names]
    cluster, other = names if sizes[0] >= sizes[1] else names[::-1]
    asked = replace(request, cluster=cluster, beside=(other,))
    rows = assemble(table, *read_formula(formula, table.columns, asked))
    found = encode(column(table, other, "cluster=")[rows.row_index])
    return _without_flat(TwoWay(rows, Levels(other, found.codes, found.labels, nested=False)))


def _without_flat(whole: TwoWay) -> TwoWay:
    """Without columns that are constant within every level of the second factor, whose intercepts take them up."""
    rows, second = whole.rows, whole.second
    some = np.flatnonzero(second.codes == second.codes[0])
    suspects = np.flatnonzero(constant_within_clusters(rows.X[some], np.array([0, len(some)])))
    if len(suspects) == 0:
        return whole
    grouping = group(second.codes, len(second.labels))
    order = np.arange(rows.n_obs) if grouping.order is None else grouping.order
    flat = suspects[constant_within_clusters(np.take(rows.X[:, suspects], order, axis=0), grouping.starts)]
    if len(flat) == 0:
        return whole
    kept = [j for j in range(len(rows.names)) if j not in flat]
    design = rows.design.without(flat.tolist())
    names = ", ".join(repr(rows.names[j]) for j in flat.tolist())
    note = f"without {names}: constant within every level of {second.group!r}, whose effects take the place"
    left = replace(
        rows,
        X=np.ascontiguousarray(rows.X[:, kept]),
        names=tuple(rows.names[j] for j in kept),
        design=design,
        notes=(*rows.notes, note),
    )
    return TwoWay(left, second)


def informative(whole: TwoWay, response: Response) -> TwoWay:
    """Without rows that say nothing of coefficients, as long as there are some.

    Those of levels of either factor whose responses leave no finite intercept (all failures, all successes, zero
    counts), and those of levels of a single row, which an intercept of its own fits perfectly. What is left may have
    further ones.

    Parameters
    ----------
    whole : TwoWay
    response : Response

    Raises
    ------
    ClusterError
        When no row is left.
    """
    rows = whole.rows
    keep = np.ones(rows.n_obs, dtype=bool)
    codes = whole.first_codes, whole.second.codes
    counts: dict[str, int] = {}
    changed = True
    while changed and keep.any():
        changed = False
        for name, own in zip(whole.factors, codes, strict=True):
            for reason, lost in _silent(own, keep, rows, response, name):
                counts[reason] = counts.get(reason, 0) + int(lost.sum())
                keep &= ~lost
                changed = True
    if not keep.any():
        one, two = whole.factors
        raise ClusterError(
            f"no level of {one!r} and {two!r} with {response.words.varied} in more than one row, once those without "
            f"are left out ({'; '.join(f'{count} rows: {reason}' for reason, count in counts.items())})",
            "responses that vary within levels of both factors",
            "check that cluster= names the right columns; or one of them alone",
        )
    return without_rows(whole, keep, tuple(Dropped(reason, count) for reason, count in counts.items()), response)


def _silent(
    own: _Integers, keep: NDArray[np.bool_], rows: ModelData, response: Response, name: str
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Rows of the levels of one factor that say nothing, with the reason."""
    here = keep.astype(np.float64)
    size = np.bincount(own, here)
    a, b = (np.bincount(own, here * each).astype(np.float64) for each in (rows.a, rows.b))
    towards = response.rises_towards(a, b)
    words = response.words
    found = []
    for levels, what in (
        ((towards < 0.0) & (size > 0.0), words.only_low),
        ((towards > 0.0) & (size > 0.0), f"only {words.high}"),
        ((towards == 0.0) & (size == 1.0), "a single row"),
    ):
        if levels.any():
            found.append((f"level of {name!r} with {what}", levels[own] & keep))
    return found


def without_rows(whole: TwoWay, keep: NDArray[np.bool_], reasons: tuple[Dropped, ...], response: Response) -> TwoWay:
    """Some of the rows, with the levels that they have.

    Parameters
    ----------
    whole : TwoWay
    keep : ndarray of bool, shape (n,)
    reasons : tuple of Dropped
        What to say of the others.
    response : Response
    """
    if keep.all():
        return whole
    rows, second = whole.rows, whole.second
    which = np.flatnonzero(keep)
    sizes = np.add.reduceat(keep.astype(np.int64), rows.starts[:-1])
    clusters, (codes, levels) = np.flatnonzero(sizes), _renumbered(second.codes[which], len(second.labels))
    starts = np.append(0, np.cumsum(sizes[clusters])).astype(np.int64)
    a, b, weights, trials = (_taken(each, which) for each in (rows.a, rows.b, rows.weights, rows.trials))
    per_cluster = rows.cluster_weights[clusters]
    # counts again, of which a weight made a product
    values = ResponseValues(np.rint(a / weights), trials, None)
    constant, saturated = totals(values, weights, per_cluster, starts, a, b, response)
    left = replace(
        rows,
        X=np.ascontiguousarray(rows.X[which]),
        a=a,
        b=b,
        offset=_taken(rows.offset, which),
        weights=weights,
        trials=trials,
        starts=starts,
        labels=rows.labels[clusters],
        cluster_weights=per_cluster,
        row_index=rows.row_index[which],
        constant=constant,
        saturated=saturated,
        dropped=_added(rows.dropped, reasons),
    )
    return TwoWay(left, replace(second, codes=codes, labels=second.labels[levels]))


def _added(known: tuple[Dropped, ...], more: tuple[Dropped, ...]) -> tuple[Dropped, ...]:
    counts: dict[str, int] = {}
    for each in (*known, *more):
        counts[each.reason] = counts.get(each.reason, 0) + each.count
    return tuple(Dropped(reason, count) for reason, count in counts.items())


def _taken(values: Array, which: _Integers) -> Array:
    if values.strides == (0,):  # one value for all
        return np.broadcast_to(values[:1], len(which))
    return np.ascontiguousarray(values[which])


def _renumbered(codes: _Integers, n: int) -> tuple[_Integers, _Integers]:
    """Codes of the levels that occur, and which these are."""
    used = np.bincount(codes, minlength=n) > 0
    return (np.cumsum(used) - 1)[codes].astype(np.int64), np.flatnonzero(used)
