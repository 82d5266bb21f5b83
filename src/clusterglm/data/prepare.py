"""From a user's table to the arrays of a likelihood, rows sorted by cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.checks import check_clusters, check_columns, check_design, check_response
from clusterglm.data.cluster_means import cluster_means
from clusterglm.data.clusters import Codes, encode, group
from clusterglm.data.design import Design, formula_offset, is_missing, make_design, model_frame, numbers
from clusterglm.data.formula import Expression, ParsedFormula, parse_formula
from clusterglm.data.response import ResponseValues, parse_cbind, parse_response, to_kernel
from clusterglm.data.table import as_series, column, read_table, refuse_other_index, to_pandas_columns
from clusterglm.errors import ClusterError, DataError, FormulaError
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_Rows = NDArray[np.bool_]
_LARGEST = 1e100  # weight, whose square float64 still holds


@dataclass(frozen=True)
class Dropped:
    """Rows that were left out for one reason."""

    reason: str
    count: int


@dataclass(frozen=True)
class ModelData:
    """Everything a likelihood needs, n rows sorted by cluster, m clusters, p columns.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Design matrix on the user's scale, C order.
    names : tuple of str
        Columns of X.
    intercept : int or None
        The column of ones.
    a, b : ndarray, shape (n,)
        Binomial: weighted successes and failures. Poisson: weighted counts, and weights.
    offset, weights, trials : ndarray, shape (n,)
        Offset (linear predictor), case weights, binomial trials (ones for counts). Read-only views where all are one.
    starts : ndarray of int64, shape (m + 1,)
        First row of each cluster, and n.
    labels : ndarray, shape (m,)
        Cluster ids, ascending.
    cluster_weights : ndarray, shape (m,)
    row_index : ndarray of int64, shape (n,)
        Position of each row in the user's table.
    constant : float
        Log normalising constants, summed with the cluster weights.
    saturated : float
        Log-likelihood of the saturated model, constant included.
    dropped : tuple of Dropped
        Rows left out, each under the first reason that applies: subset, response, covariates in the order of the
        formula, cluster, weights, offset, zero weight, no trials.
    design : Design
    response_name : str
    cluster_name : str or None
        None when no clusters were given: then all rows are one.
    formula : str
    notes : tuple of str
        What a reader of the results should know, such as which level counts as success.
    levels : tuple of two str, or None
        (failure, success) of a response that was not 0/1.
    """

    X: Array
    names: tuple[str, ...]
    intercept: int | None
    a: Array
    b: Array
    offset: Array
    weights: Array
    trials: Array
    starts: NDArray[np.int64]
    labels: NDArray[Any]
    cluster_weights: Array
    row_index: NDArray[np.int64]
    constant: float
    saturated: float
    dropped: tuple[Dropped, ...]
    design: Design
    response_name: str
    cluster_name: str | None
    formula: str
    notes: tuple[str, ...]
    levels: tuple[str, str] | None = None

    @property
    def n_obs(self) -> int:
        """Rows in use."""
        return len(self.a)

    @property
    def n_clusters(self) -> int:
        """Clusters in use."""
        return len(self.starts) - 1

    @property
    def has_intercept(self) -> bool:
        """Whether X has a column of ones from the formula."""
        return self.intercept is not None


def prepare(
    formula: str,
    data: object,
    *,
    cluster: Any,
    family_response: Response,
    weights: Any = None,
    cluster_weights: Any = None,
    offset: Any = None,
    subset: Any = None,
    need_cluster: bool = True,
    sigma_known: bool = False,
    fixed_effects: bool = False,
) -> ModelData:
    """Read the table, drop incomplete rows, build and check the design, sort by cluster.

    Parameters
    ----------
    formula : str
    data : table
        See `read_table`.
    cluster : str, array or None
        Column or ids; None where the formula has `(1 | id)`, or without `need_cluster`.
    family_response : Response
    weights, offset, subset : str or array, optional
        Column, or an element per row of the table; `subset` is boolean.
    cluster_weights : str, array or mapping, optional
        Column or array, constant within clusters; or a mapping from cluster ids to weights.
    need_cluster : bool
        Whether the model has cluster effects.
    sigma_known : bool
        Sigma is held fixed, so that it need not be identified.
    fixed_effects : bool
        Every cluster has an intercept of its own: X gets no column of ones, and collinearity is left to be judged
        within clusters.

    Raises
    ------
    DataError
        Of a subclass that says what is wrong: formula, response, clusters or design.
    """
    table = read_table(data)
    parsed = parse_formula(formula, table.columns)
    ids, cluster_name = _cluster_ids(table, cluster, parsed, need_cluster)
    rows = _Complete(len(table))
    if subset is not None:
        rows.drop("outside subset", ~_truth(_per_row(table, subset, "subset"), _label(subset, "subset")))
    within = rows.keep.copy()
    for name in dict.fromkeys(name for part in parsed.response for name in part.variables):
        rows.drop(f"missing response {name!r}", is_missing(table[name]))
    for name in parsed.variables:
        rows.drop(f"missing {name!r}", is_missing(table[name]))
    if ids is not None:
        rows.drop(f"missing cluster {cluster_name!r}", is_missing(ids))
    row_weights = _weights(table, weights, rows, "weights")
    of_cluster = _cluster_weights(table, cluster_weights, ids, rows)
    total_offset = _offset(table, parsed, offset, rows)
    for each in (row_weights, of_cluster):
        if each is not None:
            rows.drop("zero weight", each == 0.0)
    rows.refuse_none()
    values = _response(table, parsed, family_response, within)
    rows.drop("no trials", values.trials == 0.0)
    rows.refuse_none()

    chosen = rows.chosen()
    frame = model_frame(table, parsed.variables, chosen)
    coded, means = None, None
    if parsed.cluster_terms:
        coded = _coded(ids, chosen, parsed)
        means, made = cluster_means(parsed.cluster_terms, table, chosen, coded.codes, coded.labels, str(cluster_name))
        frame = frame.assign(**made)
    design, X = make_design(parsed, frame, _offset_argument(offset), absorb=fixed_effects, cluster_means=means)
    del frame
    if fixed_effects:
        check_columns(X, design.names)
    else:
        check_design(X, design.names, design.intercept)

    index = np.arange(len(table)) if chosen is None else chosen
    if ids is None:
        labels, order, starts = np.array([0]), None, np.array([0, len(index)], dtype=np.int64)
    else:
        coded = coded or encode(ids if chosen is None else ids[chosen])
        labels, grouping = coded.labels, group(coded.codes, len(coded.labels))
        order, starts = grouping.order, grouping.starts
        del coded, grouping  # every array counts where rows are moved
    if order is not None:
        index, X = order if chosen is None else index[order], np.take(X, order, axis=0)
    same = chosen is None and order is None  # nothing to select: no copies

    def select(whole: Array) -> Array:
        if whole.strides == (0,):  # one value for all
            return np.broadcast_to(whole[0], len(index))
        return whole if same else whole[index]

    n = len(index)
    w: Array = np.broadcast_to(1.0, n) if row_weights is None else select(row_weights)
    chosen_values = ResponseValues(select(values.successes), select(values.trials), values.levels)
    a, b, constants = to_kernel(chosen_values, w, family_response)
    check_response(a, b, family_response.family, parsed.response_name)
    if need_cluster and not fixed_effects:
        check_clusters(chosen_values.trials, starts, family_response.family, str(cluster_name), sigma_known)
    m = len(starts) - 1
    per_cluster = np.ones(m) if of_cluster is None else _constant_within(select(of_cluster), starts, labels)
    constant = weighted_sum(constants, per_cluster, starts)
    levels = values.levels
    return ModelData(
        X=X,
        names=design.names,
        intercept=design.intercept,
        a=np.ascontiguousarray(a),
        b=np.ascontiguousarray(b),
        offset=np.zeros(n) if total_offset is None else select(total_offset),
        weights=w,
        trials=chosen_values.trials,
        starts=starts,
        labels=labels,
        cluster_weights=per_cluster,
        row_index=index,
        constant=constant,
        saturated=saturated(a, b, per_cluster, starts, family_response) + constant,
        dropped=rows.dropped(),
        design=design,
        response_name=parsed.response_name,
        cluster_name=cluster_name,
        formula=parsed.text,
        notes=() if levels is None else (f"success is {parsed.response_name} = {levels[1]!r}, failure {levels[0]!r}",),
        levels=levels,
    )


def _coded(ids: nw.Series[Any] | None, chosen: NDArray[np.int64] | None, parsed: ParsedFormula) -> Codes:
    if ids is None:
        raise ClusterError(
            f"{parsed.cluster_terms[0].name} without clusters",
            "the column that says which rows have a mean in common",
            "cluster='id'",
        )
    return encode(ids if chosen is None else ids[chosen])


class _Complete:
    """Which rows are still in use, and why the others are not."""

    def __init__(self, n: int) -> None:
        self.keep: _Rows = np.ones(n, dtype=bool)
        self._counts: dict[str, int] = {}

    def drop(self, reason: str, which: _Rows) -> None:
        if not which.any():
            return
        now = which & self.keep
        count = int(now.sum())
        if count > 0:
            self._counts[reason] = self._counts.get(reason, 0) + count
            self.keep &= ~now

    def dropped(self) -> tuple[Dropped, ...]:
        return tuple(Dropped(reason, count) for reason, count in self._counts.items())

    def chosen(self) -> NDArray[np.int64] | None:
        return np.flatnonzero(self.keep) if self._counts else None

    def refuse_none(self) -> None:
        if len(self.keep) == 0:
            raise DataError("data without rows", "a table with rows", "check how the table was made")
        if not self.keep.any():
            reasons = "; ".join(f"{count}: {reason}" for reason, count in self._counts.items())
            raise DataError(
                f"no row is left of {len(self.keep)} ({reasons})",
                "complete rows with positive weight",
                "look at the columns named; check subset=",
            )


def _cluster_ids(
    table: nw.DataFrame[Any], cluster: Any, parsed: ParsedFormula, need_cluster: bool
) -> tuple[nw.Series[Any] | None, str | None]:
    if (
        cluster is not None
        and parsed.cluster is not None
        and not (isinstance(cluster, str) and cluster == parsed.cluster)
    ):
        raise ClusterError(
            f"(1 | {parsed.cluster}) in the formula and cluster={_label(cluster, 'an array')!r}",
            "one of the two",
            f"drop (1 | {parsed.cluster}) or cluster=",
        )
    given = cluster if cluster is not None else parsed.cluster
    if given is None:
        if need_cluster:
            raise ClusterError("no clusters", "the column that says which rows belong together", "cluster='id'")
        return None, None
    return _per_row(table, given, "cluster"), _label(given, "cluster")


def _per_row(table: nw.DataFrame[Any], value: Any, argument: str) -> nw.Series[Any]:
    """A column by its name, or an array with an element per row of the table, as a Series."""
    if isinstance(value, str):
        return column(table, value, f"{argument}=")
    series = as_series(value, f"{argument}=")
    if len(series) != len(table):
        raise DataError(
            f"{argument}= with {len(series)} elements for {len(table)} rows",
            "an element per row of the data, also for rows that will be dropped",
            "make it a column of the data, and pass its name",
        )
    refuse_other_index(value, getattr(table.to_native(), "index", None), f"{argument}=", "the data")
    return series


def _label(value: Any, otherwise: str) -> str:
    if isinstance(value, str):
        return value
    name = getattr(value, "name", None)
    return name if isinstance(name, str) and name else otherwise


def _truth(values: nw.Series[Any], name: str) -> _Rows:
    """A boolean Series; missing counts as False."""
    if isinstance(values.dtype, nw.Boolean):
        return np.asarray(values.fill_null(False).to_numpy(), dtype=bool)
    items = values.to_list() if isinstance(values.dtype, nw.Object) else []
    missing = is_missing(values)
    if not items or not all(
        gone or isinstance(item, bool | np.bool_) for item, gone in zip(items, missing, strict=True)
    ):
        raise DataError(
            f"subset={name!r} of type {values.dtype}",
            "true or false for each row",
            "data['age'] > 60, for instance",
        )
    return np.array([not gone and bool(item) for item, gone in zip(items, missing, strict=True)], dtype=bool)


def _weights(table: nw.DataFrame[Any], given: Any, rows: _Complete, argument: str) -> Array | None:
    if given is None:
        return None
    values = numbers(_per_row(table, given, argument), _label(given, argument), "weight")
    rows.drop("missing weight", np.isnan(values))
    _refuse_bad_weights(values, rows.keep, _label(given, argument), argument)
    return values


def _refuse_bad_weights(values: Array, keep: _Rows, name: str, argument: str) -> None:
    bad = keep & ~((values >= 0.0) & (values <= _LARGEST))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{argument}={name!r} is {values[first]:g} in row {first} ({int(bad.sum())} such rows)",
            f"finite weights, zero or positive, at most {_LARGEST:g}",
            "zero, or a missing value, for rows to leave out",
        )


def _cluster_weights(table: nw.DataFrame[Any], given: Any, ids: nw.Series[Any] | None, rows: _Complete) -> Array | None:
    """Weight of each row's cluster, shape (rows,)."""
    if given is None:
        return None
    if ids is None:
        raise ClusterError(
            "cluster_weights= without clusters", "clusters to weigh", "cluster='id'; or weights= for rows"
        )
    if not isinstance(given, Mapping):
        return _weights(table, given, rows, "cluster_weights")
    codes = encode(ids)
    listed = codes.labels.tolist()
    per_label = np.array([*(given.get(label, np.nan) for label in listed), np.nan], dtype=np.float64)
    values = per_label[codes.codes]  # the last one serves the missing ids, -1
    unknown = rows.keep & np.isnan(values)
    if unknown.any():
        labels = dict.fromkeys(repr(listed[code]) for code in codes.codes[unknown])
        raise ClusterError(
            f"cluster_weights= without a number for {len(labels)} clusters, such as {', '.join([*labels][:5])}",
            "a weight for each cluster in use",
            "weight 0 for clusters to leave out",
        )
    _refuse_bad_weights(values, rows.keep, "a mapping", "cluster_weights")
    return values


def _constant_within(values: Array, starts: NDArray[np.int64], labels: NDArray[Any]) -> Array:
    first = values[starts[:-1]]
    varies = np.flatnonzero(np.maximum.reduceat(values, starts[:-1]) != np.minimum.reduceat(values, starts[:-1]))
    if len(varies) > 0:
        raise ClusterError(
            f"cluster_weights= that vary within {len(varies)} clusters, the first of them {labels[varies[0]]!r}",
            "one weight per cluster",
            "weights= for weights of single rows",
        )
    return first


def _offset(table: nw.DataFrame[Any], parsed: ParsedFormula, given: Any, rows: _Complete) -> Array | None:
    """Sum of all offsets, shape (rows,); drops rows in which one is missing, refuses others that are not finite."""
    if not parsed.offsets and given is None:
        return None
    absent = np.zeros(len(table), dtype=bool)
    for name in dict.fromkeys(name for term in parsed.offsets for name in term.variables):
        absent |= is_missing(table[name])
    total = formula_offset(parsed.offsets, table)
    label = " + ".join(f"offset({term.text})" for term in parsed.offsets)
    if given is not None:
        values = numbers(_per_row(table, given, "offset"), _label(given, "offset"), "offset")
        absent |= np.isnan(values)
        total = total + values
        label = f"{label} + {_label(given, 'offset')}" if label else _label(given, "offset")
    rows.drop("missing offset", absent)
    bad = rows.keep & ~np.isfinite(total)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"the offset {label} is {total[first]:g} in row {first} ({int(bad.sum())} such rows)",
            "finite offsets",
            "drop rows without exposure, or replace their offset by a missing value",
        )
    return total


def _offset_argument(given: Any) -> str | None:
    if given is None:
        return None
    return f"column:{given}" if isinstance(given, str) else "array"


def _response(table: nw.DataFrame[Any], parsed: ParsedFormula, response: Response, within: _Rows) -> ResponseValues:
    """The response of every row of the table, NaN where missing or outside the subset."""
    all_rows = bool(within.all())
    where = np.flatnonzero(within)
    parts = [_evaluated(table, part) for part in parsed.response]
    if not all_rows:  # values that are set aside need not make sense
        parts = [part[where] for part in parts]
    if len(parts) == 2:
        if response.family != "binomial":
            raise FormulaError(
                f"{parsed.response_name} with family {response.family!r}", "family='binomial'", "the column of counts"
            )
        found = parse_cbind(parts[0], parts[1], (parsed.response[0].text, parsed.response[1].text), where)
    else:
        found = parse_response(parts[0], response, parsed.response_name, where)
    if all_rows:
        return found
    successes, trials = np.full(len(table), np.nan), np.full(len(table), np.nan)
    successes[where], trials[where] = found.successes, found.trials
    return ResponseValues(successes, trials, found.levels)


def _evaluated(table: nw.DataFrame[Any], part: Expression) -> nw.Series[Any]:
    if part.is_column:
        return table[part.variables[0]]
    import pandas as pd

    columns = to_pandas_columns(table, part.variables)
    value = part.evaluate({name: columns[name] for name in part.variables})
    if np.shape(value) != (len(table),):
        raise FormulaError(f"{part.text!r}, a single value", "a value for each row", "an expression of columns")
    return nw.from_native(pd.Series(value), series_only=True)


def weighted_sum(values: Array, cluster_weights: Array, starts: NDArray[np.int64]) -> float:
    return float(np.add.reduceat(values, starts[:-1]) @ cluster_weights) if values.any() else 0.0


def saturated(a: Array, b: Array, cluster_weights: Array, starts: NDArray[np.int64], response: Response) -> float:
    if response.family == "binomial" and not np.any((a > 0.0) & (b > 0.0)):
        return 0.0  # perfect prediction has probability one
    return weighted_sum(response.saturated(a, b), cluster_weights, starts)
