"""Rows to predict: their covariates, offsets and clusters, and what is missing in each."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm.data.clusters import cluster_column, encode, group
from clusterglm.data.design import DesignRows
from clusterglm.data.durations import parse_durations
from clusterglm.data.effects import Effects
from clusterglm.data.formulas.formula import parse_formula
from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.data.response import ResponseValues, parse_cbind, parse_response, to_kernel
from clusterglm.data.rows import evaluated
from clusterglm.data.tables.table import column, is_missing, read_table
from clusterglm.errors import ClusterError, DataError, OptionError, PredictionWarning, nearest
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.results.tables.table import counted

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw

_Mask = NDArray[np.bool_]

_REASONS_SHOWN = 3  # reasons that a summary spells out


class RowStatus:
    """What stands in the way of each row, the first reason that was found.

    Parameters
    ----------
    rows : int
        Number of rows, all "ok" at first.
    """

    def __init__(self, rows: int) -> None:
        self.text: NDArray[np.object_] = np.full(rows, "ok", dtype=object)
        self.ok: _Mask = np.ones(rows, dtype=bool)
        self._counts: dict[str, int] = {}

    def warn(self, stacklevel: int) -> None:
        """Warn of rows that cannot be predicted, where there are any; `stacklevel` as seen by who calls this."""
        refused = int(np.count_nonzero(~self.ok))
        if refused > 0:
            words = f"{refused} of {len(self.ok)} rows cannot be predicted ({self})"
            warnings.warn(words, PredictionWarning, stacklevel=stacklevel + 1)

    def refuse(self, where: _Mask, reason: str | NDArray[np.object_], summary: str | None = None) -> None:
        """Mark rows that cannot be predicted; those marked before keep their reason.

        Parameters
        ----------
        where : ndarray of bool, shape (rows,)
        reason : str, or ndarray of object, shape (rows,)
        summary : str, optional
            The reason without what differs between rows; by default `reason`.
        """
        now = where & self.ok
        count = int(np.count_nonzero(now))
        if count > 0:
            self._write(now, reason)
            self.ok &= ~now
            key = str(reason) if summary is None else summary
            self._counts[key] = self._counts.get(key, 0) + count

    def note(self, where: _Mask, reason: str | NDArray[np.object_]) -> None:
        """Say of rows that are predicted what their prediction lacks."""
        self._write(where & self.ok & (self.text == "ok"), reason)

    def say_first(self, where: _Mask, reason: NDArray[np.object_]) -> None:
        """Say something of rows that are predicted before what else was noted of them."""
        for row in np.flatnonzero(where & self.ok):
            self.text[row] = reason[row] if self.text[row] == "ok" else f"{reason[row]}; {self.text[row]}"

    def _write(self, where: _Mask, reason: str | NDArray[np.object_]) -> None:
        self.text[where] = reason if isinstance(reason, str) else reason[where]

    def __str__(self) -> str:
        reasons = sorted(self._counts.items(), key=lambda item: -item[1])
        words = "; ".join(f"{count}: {reason}" for reason, count in reasons[:_REASONS_SHOWN])
        more = len(reasons) - _REASONS_SHOWN
        return words + (f"; and {counted(more, 'other reason')}" if more > 0 else "")


@dataclass(frozen=True)
class Rows:
    """Rows to predict, k of them.

    Parameters
    ----------
    X : ndarray, shape (k, p)
        Design; nan in rows that cannot be predicted.
    offset : ndarray, shape (k,)
    index : ndarray of int64, shape (k,)
        Position of each row in the table.
    status : RowStatus
    frame : narwhals DataFrame or None
        The new data; None for the rows of the fit.
    """

    X: Array
    offset: Array
    index: NDArray[np.int64]
    status: RowStatus
    frame: nw.DataFrame[Any] | None

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.index)

    def unmarked(self) -> Rows:
        """The same, of which more can be found out without a word in `status`."""
        return replace(self, status=deepcopy(self.status))

    def given(self, values: Array) -> Array:
        """A number, or one for each row in the order of the answer, in the order of these rows; shape (k,)."""
        values = np.broadcast_to(values, (self.size,))
        if self.frame is not None:
            return values
        return values[np.argsort(np.argsort(self.index, kind="stable"), kind="stable")]

    def eta(self, beta: Array) -> Array:
        """X beta + offset, shape (k,); nan where a row cannot be predicted."""
        return np.where(self.status.ok, self.X @ beta + self.offset, np.nan)


def fitted_rows(data: ModelData) -> Rows:
    """The rows that were used, in cluster order."""
    return Rows(data.X, data.offset, data.row_index, RowStatus(data.n_obs), None)


def new_rows(data: FittedData, table: Any) -> Rows:
    """Rows of a table, in its order.

    Parameters
    ----------
    data : FittedData
        What was fitted.
    table : table
        The new data, in any form that a fit takes.

    Raises
    ------
    DataError
        When a column is missing altogether, or of another kind than in the fit.
    """
    frame, design = read_table(table), data.design
    status = RowStatus(len(frame))
    found = design.rows(frame)
    refuse_incomplete(found, status)
    offset = design.offset(frame)
    for name in design.offset_columns:
        status.refuse(is_missing(column(frame, name, "offset")), f"missing value in {name!r}")
    status.refuse(np.asarray(~np.isfinite(offset)), "the offset is not finite")
    X = found.X
    status.refuse(np.asarray(~np.isfinite(X).all(axis=1)), "a covariate is not finite once transformed")
    return Rows(X, offset, np.arange(len(frame)), status, frame)


def columns_with_effects(effects: Effects | None, rows: Rows) -> Array:
    """Columns of new rows whose coefficients vary, shape (k, q); rows without them are refused.

    Parameters
    ----------
    effects : Effects or None
        None: there are none, and nothing is refused.
    rows : Rows
        Of a table.
    """
    Z = np.full((rows.size, 0 if effects is None else effects.Z.shape[1]), np.nan)
    if effects is None or rows.frame is None:
        return Z if effects is None else effects.Z
    first = 0
    for term in effects.terms:
        found = term.design.rows(rows.frame)
        refuse_incomplete(found, rows.status)
        Z[:, first : first + found.X.shape[1]] = found.X
        first += found.X.shape[1]
    rows.status.refuse(np.asarray(~np.isfinite(Z).all(axis=1)), "a random effect's column is not finite")
    return Z


def refuse_incomplete(found: DesignRows, status: RowStatus) -> None:
    """Mark rows in which a covariate is missing, or has a level that the fit has not seen."""
    for reason, where in found.missing:
        status.refuse(where, reason)
    for unseen in found.unseen:
        name = unseen.factor.column or unseen.factor.expression
        status.refuse(unseen.where, f"level {_in_words(unseen.level)} of {name!r} not seen in the fit")


def cluster_codes(
    labels: NDArray[Any], name: str | None, frame: nw.DataFrame[Any]
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Number of the known cluster that each row of new data belongs to.

    Parameters
    ----------
    labels : ndarray, shape (m,)
        Known clusters.
    name : str or None
        The cluster column.
    frame : narwhals DataFrame

    Returns
    -------
    codes : ndarray of int64, shape (rows,)
        Positions in `labels`; -1 for other clusters, -2 where the label is missing.
    labels : ndarray of object, shape (rows,)
        Each row's label in words.

    Raises
    ------
    ClusterError
        When there is no cluster column.
    """
    import pandas as pd

    of_rows = None if name is None else cluster_column(frame, name)
    if of_rows is None:
        hint = nearest(name or "", frame.columns)
        raise ClusterError(
            f"new data without the cluster column {name!r}",
            "each row's cluster, for predictions that depend on it",
            f"{hint}add the column, or predict what does not depend on it: see kind= and scale=",
        )
    new = encode(of_rows)
    known = np.asarray(pd.Index(labels).get_indexer(pd.Index(new.labels)), dtype=np.int64)
    words = np.array([*(_in_words(label) for label in new.labels.tolist()), ""], dtype=object)
    return np.append(known, -2)[new.codes], words[new.codes]


def refuse_unknown_clusters(
    status: RowStatus, codes: NDArray[np.int64], words: NDArray[np.object_], name: str, where: str
) -> None:
    """Mark rows whose cluster is missing or not known; see `cluster_codes`."""
    status.refuse(codes == -2, f"missing value in {name!r}")
    unseen = codes == -1
    if unseen.any():
        number = len(np.unique(words[unseen & status.ok].astype(str)))
        first = words[int(np.argmax(unseen))]
        summary = f"cluster {first} not seen in {where}" if number == 1 else f"clusters not seen in {where}, as {first}"
        status.refuse(unseen, "cluster " + words + f" not seen in {where}", summary)


def history_data(data: ModelData, response: Response, table: Any) -> tuple[ModelData, RowStatus]:
    """Observed rows of other clusters, ready for a likelihood.

    Parameters
    ----------
    data : ModelData
        What was fitted.
    response : Response
    table : table
        With the columns of the response, the covariates and the clusters; each row counts with weight one.

    Returns
    -------
    history : ModelData
        Complete rows in cluster order; what concerns the likelihood of rows is theirs, the rest that of `data`.
    status : RowStatus
        Which rows of the table were left out, and why.

    Raises
    ------
    DataError
        When a column is missing or no row is complete; of a subclass for responses that do not fit the family.
    """
    rows = new_rows(data, table)
    assert rows.frame is not None
    codes, _ = cluster_codes(data.labels[:0], data.cluster_name, rows.frame)
    rows.status.refuse(codes == -2, f"missing value in {data.cluster_name!r}")
    values = _response(data, response, rows.frame)
    rows.status.refuse(np.isnan(values.successes), f"missing response {data.response_name!r}")
    rows.status.refuse(values.trials == 0.0, "no trials")
    Z = columns_with_effects(data.effects, rows)
    kept = np.flatnonzero(rows.status.ok)
    if len(kept) == 0:
        raise DataError(
            f"history= without a complete row ({rows.status})",
            "rows with response and covariates",
            "fill them in, or leave history= out",
        )
    labels = cluster_column(rows.frame, str(data.cluster_name))
    assert labels is not None  # the codes above have been found
    coded = encode(labels[kept])
    grouping = group(coded.codes, len(coded.labels))
    index = kept if grouping.order is None else kept[grouping.order]
    chosen = ResponseValues(values.successes[index], np.array(values.trials[index]), None)
    weights = np.ones(len(index))
    a, b = to_kernel(chosen, weights, response)
    history = replace(
        data,
        X=np.ascontiguousarray(rows.X[index]),
        a=np.ascontiguousarray(a),
        b=np.ascontiguousarray(b),
        offset=rows.offset[index],
        weights=weights,
        trials=chosen.trials,
        starts=grouping.starts,
        labels=coded.labels,
        cluster_weights=np.ones(len(coded.labels)),
        row_index=index,
        effects=None if data.effects is None else replace(data.effects, Z=np.ascontiguousarray(Z[index])),
    )
    return history, rows.status


def one_per_row(intercepts: ArrayLike, rows: int, named: Sequence[str], argument: str = "intercepts") -> Array:
    """A number or one for each row.

    Raises
    ------
    OptionError
        When it is something else; `named` are the words that would also have done, the default first.
    """
    try:
        values = np.asarray(intercepts, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty((0, 0))
    if values.shape not in ((), (rows,)) or np.isnan(values).any():
        got = f" of shape {values.shape}" if values.ndim > 0 and values.size > 0 else f"={intercepts!r}"
        raise OptionError(
            f"{argument}{got}",
            f"{', '.join(repr(name) for name in named)}, a number, or one for each of the {rows} rows",
            f"{argument}={named[0]!r}, the default",
        )
    return values


def _in_words(label: object) -> str:
    return repr(label) if isinstance(label, str) else str(label)


def _response(data: ModelData, response: Response, frame: nw.DataFrame[Any]) -> ResponseValues:
    """Successes and trials, or counts, of a table with the fitted response."""
    parsed = parse_formula(data.formula, frame.columns, data.design.functions)
    parts = parsed.response
    values = [evaluated(frame, part, data.design.functions) for part in parts]
    if parsed.survival:
        return parse_durations(values, [part.text for part in parts], response, True, levels=data.levels)
    if len(values) == 2:
        return parse_cbind(values[0], values[1], (parts[0].text, parts[1].text))
    return parse_response(values[0], response, data.response_name, levels=data.levels)
