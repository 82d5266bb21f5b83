"""The rows that average effects are averages over, and the table that they make."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import encode
from clusterglm.data.design import Design
from clusterglm.data.identical import distinct_rows
from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.data.tables.table import read_table
from clusterglm.errors import DataError, PredictionWarning
from clusterglm.inference.uncertainty.intervals import wald_interval, wald_p_values
from clusterglm.model.arrays import Array
from clusterglm.results.topics.heterogeneity import NO_MEAN, row_weights
from clusterglm.results.topics.newdata import (
    Rows,
    cluster_codes,
    columns_with_effects,
    new_rows,
    refuse_unknown_clusters,
)

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.effects.average_effects import AverageEffects


@dataclass(frozen=True)
class EffectRows:
    """Rows to average over, n of them.

    Parameters
    ----------
    frame : DataFrame
        The variables of the design.
    offset, weights : ndarray, shape (n,)
        The weights sum to one.
    codes : ndarray of int64, shape (n,)
        Cluster of each row; empty where it was not asked for.
    times : ndarray, shape (n,)
        How many rows each of these is.
    """

    frame: pd.DataFrame
    offset: Array
    weights: Array
    codes: NDArray[np.int64]
    times: Array


@dataclass(frozen=True, eq=False)
class Beside:
    """Columns of another linear predictor, or with coefficients at each threshold, beside all others.

    Parameters
    ----------
    design : Design
        How they are made.
    columns : callable
        () -> those of the rows of the fit, shape (n, q).
    mark : callable
        (rows, frame) of another table; it marks the rows that lack some.
    """

    design: Design
    columns: Callable[[], Array]
    mark: Callable[[Rows, nw.DataFrame[Any]], object]


def effect_rows(data: FittedData, table: Any, *, clusters: bool, beside: Beside | None = None) -> EffectRows:
    """The rows of the fit, or of another table.

    Parameters
    ----------
    data : FittedData
        What was fitted.
    table : table or None
        The table that was fitted, which is recognised by its design; another one; or None.
    clusters : bool
        Whether the rows' clusters are needed.
    beside : Beside, optional
        Further columns of the rows.

    Raises
    ------
    DataError
        When a column is missing, no row is complete, or the variables cannot be read off the design.

    Warns
    -----
    PredictionWarning
        When rows of another table are left out.
    """
    from clusterglm.inference.diagnostics.design_changes import table_frame

    if table is None:
        data = data.rows
        columns = _none(data) if beside is None else beside.columns()
        first, rest = _own_rows(data, columns, clusters)
        effects = None if data.effects is None else data.effects.moved(first)
        whole = len(first) == data.n_obs
        some = data if whole else replace(data, X=np.ascontiguousarray(data.X[first]), effects=effects)
        other = None if beside is None else replace(beside, columns=lambda: columns[first])
        return EffectRows(recovered_variables(some, other), *rest)
    design, frame = data.whole_design, read_table(table)
    if beside is not None:
        design = replace(design, beside=beside.design)
    if data.in_memory and len(frame) > data.rows.row_index.max():
        data = data.rows
        columns = _none(data) if beside is None else beside.columns()
        try:
            same = np.array_equal(design.build(frame[data.row_index]), _columns(data, columns))
        except DataError:  # another table; what is wrong with it, if anything, comes out below
            same = False
        if same:  # rows whose columns of X are alike may differ in what these are computed from, as x and -x in x^2
            fitted = frame[data.row_index]
            apart = [encode(fitted.get_column(name)).codes.astype(np.float64) for name in design.variables]
            first, rest = _own_rows(data, columns, clusters, apart)
            return EffectRows(table_frame(design, frame, data.row_index[first]), *rest)
    rows = new_rows(data, frame)
    columns_with_effects(data.effects, rows)
    if beside is not None:
        beside.mark(rows, frame)
    codes = np.zeros(0, dtype=np.int64)
    if clusters:
        codes, words = cluster_codes(data.rows.labels, data.cluster_name, frame)
        refuse_unknown_clusters(rows.status, codes, words, str(data.cluster_name), "the fit")
    kept = np.flatnonzero(rows.status.ok)
    if len(kept) == 0:
        raise DataError(f"data= without a row to average over ({rows.status})", "complete rows", "the fitted table")
    if len(kept) < rows.size:
        warnings.warn(
            f"{rows.size - len(kept)} of {rows.size} rows are not in the averages ({rows.status})",
            PredictionWarning,
            stacklevel=4,
        )
    weights = np.full(len(kept), 1.0 / len(kept))
    used = codes[kept] if clusters else codes
    return EffectRows(table_frame(design, frame, kept), rows.offset[kept], weights, used, np.ones(len(kept)))


def _none(data: ModelData) -> Array:
    """No further columns."""
    return np.zeros((data.n_obs, 0))


def _columns(data: ModelData, beside: Array) -> Array:
    """[X Z N], as `ModelData.whole_design` builds them, with further columns N."""
    parts = [data.X, *([] if data.effects is None else [data.effects.Z]), *([beside] if beside.shape[1] else [])]
    return parts[0] if len(parts) == 1 else np.hstack(parts)


def recovered_variables(data: ModelData, beside: Beside | None = None) -> pd.DataFrame:
    """The variables of all parts, read off their columns, and of those beside them; see `recovered_frame`."""
    from clusterglm.inference.diagnostics.design_changes import recovered_frame, table_needed

    frame = recovered_frame(data)
    if beside is not None:
        design, columns = beside.design, beside.columns()
        lost = [name for name in design.variables if name not in frame]
        if lost:
            own = recovered_frame(replace(data, X=columns, design=design))
            frame = frame.assign(**{name: own[name] for name in lost})
        if not np.allclose(design.build(nw.from_native(frame, eager_only=True)), columns, rtol=1e-9):
            raise table_needed(list(replace(data.whole_design, beside=design).variables))
    if data.effects is None:
        return frame
    first = 0
    for term in data.effects.terms:
        last = first + len(term.design.names)
        lost = [name for name in term.design.variables if name not in frame]
        if lost:
            own = recovered_frame(replace(data, X=data.effects.Z[:, first:last], design=term.design))
            frame = frame.assign(**{name: own[name] for name in lost})
        first = last
    again = data.effects.rows(nw.from_native(frame, eager_only=True))
    if not np.allclose(again, data.effects.Z, rtol=1e-9):
        raise table_needed(list(data.whole_design.variables))
    return frame


def _own_rows(
    data: ModelData, beside: Array, clusters: bool, apart: Sequence[Array] = ()
) -> tuple[NDArray[np.int64], tuple[Array, Array, NDArray[np.int64], Array]]:
    """Rows of the fit, those that are alike, in `apart` too, as one; with their offsets, weights, clusters and numbers.

    Items that thousands answer make few rows, and what is averaged over them an integral each.
    """
    own: NDArray[np.int64] = np.repeat(np.arange(data.n_clusters), np.diff(data.starts))
    columns = _columns(data, beside)
    first, place = distinct_rows(columns, data.offset, *([own.astype(np.float64)] if clusters else []), *apart)
    weights = row_weights(data)
    if len(first) == data.n_obs:
        return first, (data.offset, weights, own, np.ones(data.n_obs))
    times = np.bincount(place).astype(np.float64)
    return first, (data.offset[first], np.asarray(np.bincount(place, weights), np.float64), own[first], times)


def with_outcomes(
    columns: Mapping[str, Sequence[Any]], outcomes: Sequence[str], rows: int
) -> dict[str, tuple[Any, ...]]:
    """Columns of a table with a row for each of the outcomes in the place of each of its rows, and that of outcomes."""
    if not outcomes:
        return {name: tuple(values) for name, values in columns.items()}
    repeated = {name: tuple(value for value in values for _ in outcomes) for name, values in columns.items()}
    return repeated | {"category" if "category" not in columns else "outcome": tuple(outcomes) * rows}


def effects_table(
    found: AverageEffects,
    level: float,
    note: str,
    labels: Mapping[str, Sequence[Any]] | None = None,
    *,
    exponentiate: bool = False,
) -> pd.DataFrame:
    """Average effects as a table; `note` and what else is to be said in a column of its own, if anything is.

    Parameters
    ----------
    found : AverageEffects
    level : float
    note : str
    labels : mapping of str to sequence, optional
        Further columns.
    exponentiate : bool
        Whether the effects are logarithms of what is shown.
    """
    import pandas as pd

    from clusterglm.inference.effects.ratios import exponentiated
    from clusterglm.results.tables.frame import shown

    estimate, se = found.estimate, found.std_error
    note = said_of(found, note)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = estimate / se
        low, high = wald_interval(estimate, se, level)
        if exponentiate:
            ratio = exponentiated(estimate, se, level)
            estimate, se, low, high = ratio.estimate, ratio.std_error, ratio.low, ratio.high
    table = pd.DataFrame(
        {
            "term": list(found.terms),
            "contrast": list(found.contrasts),
            **{name: list(values) for name, values in (labels or {}).items()},
            "estimate": estimate,
            "std_error": se,
            "z": z,
            "pvalue": wald_p_values(z),
            "conf_low": low,
            "conf_high": high,
        }
    )
    return shown(table.assign(note=note) if note else table)


def said_of(found: AverageEffects, note: str) -> str:
    """A note with what is to be said of the averages themselves."""
    if not found.exists:
        return NO_MEAN
    if found.unresolved > 0:
        return "; ".join(filter(None, [note, f"{found.unresolved} rows' averaged mean is not known accurately"]))
    return note
