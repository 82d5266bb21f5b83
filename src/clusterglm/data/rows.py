"""Which rows of a table are used, and what each of them brings along: cluster, weights, offset, response."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import cluster_column, encode
from clusterglm.data.design import formula_offset, listed_design, needs, numbers
from clusterglm.data.durations import parse_durations
from clusterglm.data.formulas.algebra import factor_text
from clusterglm.data.formulas.check import sees_missing, variables_of
from clusterglm.data.formulas.evaluate import Evaluator
from clusterglm.data.formulas.formula import Expression, ParsedFormula, parse_expression, parse_formula
from clusterglm.data.formulas.tree import Call, Name, text_of
from clusterglm.data.formulas.values import Basis, Categories, any_missing, missing
from clusterglm.data.groupings import clusters_among
from clusterglm.data.nesting import Arrangement, arrangement_of, factor_columns
from clusterglm.data.offsets import Exposure, described, given_in, log_exposure, refuse_bad_exposure, refuse_bad_offset
from clusterglm.data.request import Request
from clusterglm.data.response import ResponseValues, parse_cbind, parse_response, refuse_success
from clusterglm.data.tables.columns import model_columns
from clusterglm.data.tables.plain import Matrix, plain_matrix
from clusterglm.data.tables.table import (
    array_of,
    as_series,
    column,
    is_missing,
    is_nan,
    missing_in,
    refuse_other_index,
)
from clusterglm.errors import ClusterError, DataError, FormulaError
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_Rows = NDArray[np.bool_]
_LEAST_WEIGHT, _LARGEST_WEIGHT = 1e-100, 1e100  # weights, whose squares float64 still holds


@dataclass(frozen=True)
class Dropped:
    """Rows that were left out for one reason."""

    reason: str
    count: int


@dataclass(frozen=True)
class Selection:
    """Rows of a table, before the response is read.

    Parameters
    ----------
    rows : Complete
        Which of them are in use so far.
    within : ndarray of bool, shape (rows,)
        Those inside `subset`.
    ids : narwhals Series or None
        Each row's cluster.
    cluster_name : str or None
    arrangement : Arrangement or None
        What is nested in the clusters or crosses them, where something does.
    factors : mapping of str to narwhals Series
        Each row's level of several grouping factors.
    weights, cluster_weights, offset : ndarray or None, shape (rows,)
    arrays : dict of str to ndarray or None
        Covariates as `array_of` gives them.
    matrix : Matrix or None
        All rows of a plain design; None where it is none, or where rows were left out before it was made.
    """

    rows: Complete
    within: _Rows
    ids: nw.Series[Any] | None
    cluster_name: str | None
    arrangement: Arrangement | None
    factors: Mapping[str, nw.Series[Any]]
    weights: Array | None
    cluster_weights: Array | None
    offset: Array | None
    arrays: dict[str, NDArray[Any] | None]
    matrix: Matrix | None

    @property
    def crossed(self) -> bool:
        """Whether factors cross, or are to be taken as if they did."""
        return self.arrangement is not None and not self.arrangement.nested


def select_rows(table: nw.DataFrame[Any], parsed: ParsedFormula, request: Request) -> Selection:
    """Leave out rows outside the subset, incomplete ones and those of weight zero, each for the first reason."""
    ids, cluster_name = _cluster_ids(table, parsed, request)
    factors = factor_columns(table, parsed) if len(parsed.groupings) > 1 else {}
    rows = Complete(len(table))
    if request.subset is not None:
        label = _label(request.subset, "subset")
        rows.drop("outside subset", ~_truth(_per_row(table, request.subset, "subset", parsed), label))
    within = rows.keep.copy()
    for part in parsed.response:
        if sees_missing(part.node):
            rows.drop(f"missing response {part.text!r}", _without_value(table, part, parsed, within))
            continue
        for name in part.variables:
            rows.drop(f"missing response {name!r}", missing_in(table, name))
    arrays = {name: array_of(table, name) for name in dict.fromkeys((*parsed.variables, *parsed.random_variables))}
    matrix = _plain(table, parsed, request, arrays) if not rows.dropped() else None
    if parsed.varies or matrix is None or matrix.ranges is None or np.isnan(matrix.ranges).any():
        _drop_incomplete(table, parsed, rows, arrays)
    if ids is not None:
        rows.drop(f"missing cluster {cluster_name!r}", is_missing(ids))
    for name, levels in factors.items():
        rows.drop(f"missing cluster {name!r}", is_missing(levels))
    for name in request.beside:
        rows.drop(f"missing cluster {name!r}", missing_in(table, name))
    row_weights = _weights(table, request.weights, rows, "weights", parsed)
    arrangement = None
    if factors and request.nested is not None:
        arrangement = Arrangement(request.nested, nested=True)
        cluster_name = arrangement.names[0]
        ids = factors[cluster_name]
    elif factors:
        rows.refuse_none()
        counted = rows.keep if row_weights is None else rows.keep & (row_weights != 0.0)
        used = np.flatnonzero(counted if counted.any() else rows.keep)
        if request.groupings:
            cluster_name = clusters_among(factors, used)
        else:
            arrangement = arrangement_of(factors, used, request.inside)
            cluster_name = arrangement.names[0]
        ids = factors[cluster_name]
    of_cluster = _cluster_weights(table, request.cluster_weights, ids, rows, parsed)
    total_offset = _offset(table, parsed, request, rows)
    for each in (row_weights, of_cluster):
        if each is not None:
            rows.drop("zero weight", each == 0.0)
    weights = row_weights, of_cluster
    return Selection(rows, within, ids, cluster_name, arrangement, factors, *weights, total_offset, arrays, matrix)


def _plain(
    table: nw.DataFrame[Any], parsed: ParsedFormula, request: Request, arrays: Mapping[str, NDArray[Any] | None]
) -> Matrix | None:
    """All rows of a design that lists columns of numbers; None of any other."""
    design = listed_design(parsed, None, absorb=request.absorb)
    listed = None if design is None else design.coding.plain
    if design is None or listed is None:
        return None
    return plain_matrix(listed, design.intercept is not None, arrays, len(table))


def _drop_incomplete(
    table: nw.DataFrame[Any], parsed: ParsedFormula, rows: Complete, arrays: Mapping[str, NDArray[Any] | None]
) -> None:
    """Leave out rows in which a factor has no value."""
    every = dict.fromkeys((*parsed.factors, *parsed.random_factors))
    nodes = [node for node in every if not isinstance(node, Name) or node.name in arrays]
    required, through = needs(nodes, tuple(arrays))
    of_means = {name for term in parsed.cluster_terms for name in term.expression.variables}
    for name in arrays:
        if name in required or name in of_means:
            array = arrays[name]
            rows.drop(f"missing {name!r}", is_missing(table.get_column(name)) if array is None else is_nan(array))
    for node in through:
        part = Expression(factor_text(node), node, variables_of([node], arrays))
        rows.drop(f"missing {part.text!r}", _without_value(table, part, parsed, rows.keep))


def _without_value(table: nw.DataFrame[Any], part: Expression, parsed: ParsedFormula, keep: _Rows) -> _Rows:
    """Rows in which a column is missing, and the expression with it; memories are only tried out."""
    where = np.flatnonzero(keep)
    columns = model_columns(table, part.variables, where)
    absent = missing(Evaluator(columns, len(where), {}, parsed.functions, learning=True).column(part.node))
    found = np.zeros(len(table), dtype=bool)
    if absent is not None and part.variables:
        found[where] = absent & any_missing(columns[name] for name in part.variables)
    return found


def read_formula(formula: str, columns: Sequence[str], request: Request) -> tuple[ParsedFormula, Request]:
    """The formula of a request; an offset= or exposure= that is an expression of columns becomes one of its offsets.

    Raises
    ------
    FormulaError
        As `parse_formula`.
    """
    parsed = parse_formula(formula, columns, request.functions, request.taken)
    if len(parsed.groupings) > 1 and not request.effects:
        names = ", ".join(map(repr, parsed.groupings))
        raise FormulaError(
            f"clusters of {len(parsed.groupings)} kinds: {names}",
            "one grouping factor here",
            f"(1 | {parsed.groupings[0]}) alone; or cg.random_effects for several",
        )
    if request.inside is not None and (len(parsed.groupings) < 2 or request.inside not in parsed.groupings):
        raise FormulaError(
            f"inside={request.inside!r}",
            "one of several grouping factors of the formula"
            + (f": {', '.join(map(repr, parsed.groupings))}" if len(parsed.groupings) > 1 else ""),
            "leave inside= out: the factor with the most levels is taken",
        )
    if parsed.varies and not request.effects:
        term = next(term for term in parsed.random if not term.is_intercept)
        raise FormulaError(
            f"({term.text}), of which more than an intercept varies over {term.factor!r}",
            f"(1 | {term.factor}) here",
            f"cg.random_effects for random slopes; or cluster={term.factor!r}",
        )
    argument, given = given_in(request.offset)
    found = argument_expression(given, parsed, columns, argument) if isinstance(given, str) else None
    if found is None:
        return parsed, request
    if argument == "exposure":
        node = Call("log", (found.node,))
        found = Expression(text_of(node), node, found.variables)
    return replace(parsed, offsets=(*parsed.offsets, found)), replace(request, offset=None)


class Complete:
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
    table: nw.DataFrame[Any], parsed: ParsedFormula, request: Request
) -> tuple[nw.Series[Any] | None, str | None]:
    cluster, name = request.cluster, parsed.cluster
    if len(parsed.groupings) > 1:
        if cluster is not None:
            names = " and ".join(map(repr, parsed.groupings))
            raise ClusterError(
                f"random terms of {names} and cluster={_label(cluster, 'an array')!r}",
                "one of the two",
                "drop cluster=: the formula says which rows belong together",
            )
        return None, None  # until it is known which of them is nested in the other
    if isinstance(cluster, list | tuple) and cluster and set(map(str, cluster)) <= set(table.columns):
        cluster = ":".join(map(str, cluster))
    written = f"strata({name})" if parsed.strata else f"(1 | {name})"
    if parsed.strata and not request.fixed_effects:
        raise FormulaError(
            f"{written} in the formula",
            "cluster=, where clusters have no levels of their own as in cg.conditional and cg.fixed_effects",
            f"cluster={name!r} in place of {written}, or cg.conditional",
        )
    if cluster is not None and name is not None and not (isinstance(cluster, str) and cluster == name):
        raise ClusterError(
            f"{written} in the formula and cluster={_label(cluster, 'an array')!r}",
            "one of the two",
            f"drop {written} or cluster=",
        )
    given = cluster if cluster is not None else name
    if given is None:
        if request.need_cluster:
            raise ClusterError("no clusters", "the column that says which rows belong together", "cluster='id'")
        return None, None
    found = cluster_column(table, given) if isinstance(given, str) else None
    return _per_row(table, given, "cluster") if found is None else found, _label(given, "cluster")


def argument_expression(value: str, parsed: ParsedFormula, columns: Sequence[str], argument: str) -> Expression | None:
    """An argument such as weights="n / 2", which is an expression of columns; None for what is a name.

    Raises
    ------
    FormulaError
        When it cannot be read.
    """
    if value in columns or not value.strip() or all(part.isidentifier() for part in value.split(".")):
        return None
    return parse_expression(value, columns, parsed.functions, f"{argument}=")


def _per_row(
    table: nw.DataFrame[Any], value: Any, argument: str, parsed: ParsedFormula | None = None
) -> nw.Series[Any]:
    """A column by its name, an expression of columns, or an array with an element per row, as a Series."""
    if isinstance(value, str):
        found = None if parsed is None else argument_expression(value, parsed, table.columns, argument)
        if found is not None and parsed is not None:
            return evaluated(table, found, parsed.functions)
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


def _weights(
    table: nw.DataFrame[Any], given: Any, rows: Complete, argument: str, parsed: ParsedFormula
) -> Array | None:
    if given is None:
        return None
    values = numbers(_per_row(table, given, argument, parsed), _label(given, argument), "weight")
    rows.drop("missing weight", np.isnan(values))
    _refuse_bad_weights(values, rows.keep, _label(given, argument), argument)
    return values


def _refuse_bad_weights(values: Array, keep: _Rows, name: str, argument: str) -> None:
    bad = keep & ~((values == 0.0) | ((values >= _LEAST_WEIGHT) & (values <= _LARGEST_WEIGHT)))
    if bad.any():
        first, given = int(np.flatnonzero(bad)[0]), "" if name == argument else repr(name)
        raise DataError(
            f"{argument}={given} is {values[first]:g} in row {first} ({int(bad.sum())} such rows)",
            f"finite weights, zero or from {_LEAST_WEIGHT:g} to {_LARGEST_WEIGHT:g}",
            "zero, or a missing value, for rows to leave out",
        )


def _cluster_weights(
    table: nw.DataFrame[Any], given: Any, ids: nw.Series[Any] | None, rows: Complete, parsed: ParsedFormula
) -> Array | None:
    """Weight of each row's cluster, shape (rows,)."""
    if given is None:
        return None
    if ids is None:
        raise ClusterError(
            "cluster_weights= without clusters", "clusters to weigh", "cluster='id'; or weights= for rows"
        )
    if not isinstance(given, Mapping):
        return _weights(table, given, rows, "cluster_weights", parsed)
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


def constant_within(values: Array, starts: NDArray[np.int64], labels: NDArray[Any]) -> Array:
    first = values[starts[:-1]]
    varies = np.flatnonzero(np.maximum.reduceat(values, starts[:-1]) != np.minimum.reduceat(values, starts[:-1]))
    if len(varies) > 0:
        raise ClusterError(
            f"cluster_weights= that vary within {len(varies)} clusters, the first of them {labels[varies[0]]!r}",
            "one weight per cluster",
            "weights= for weights of single rows",
        )
    return first


def _offset(table: nw.DataFrame[Any], parsed: ParsedFormula, request: Request, rows: Complete) -> Array | None:
    """Sum of all offsets, shape (rows,); drops rows in which one is missing, refuses others that cannot be used."""
    argument, given = given_in(request.offset)
    if not parsed.offsets and given is None:
        return None
    absent = np.zeros(len(table), dtype=bool)
    for name in dict.fromkeys(name for term in parsed.offsets for name in term.variables):
        absent |= missing_in(table, name)
    total = formula_offset(parsed.offsets, table, parsed.functions)
    values = None
    if given is not None:
        values = numbers(_per_row(table, given, argument), _label(given, argument), argument)
        absent |= np.isnan(values)
    rows.drop("missing offset" if argument == "offset" else "missing exposure", absent)
    if values is not None and argument == "exposure":
        refuse_bad_exposure(values, rows.keep, _label(given, argument))
        values = log_exposure(values)
    if values is not None:
        total = total + values
    refuse_bad_offset(total, rows.keep, offset_label(parsed, request), request.response)
    return total


def offset_label(parsed: ParsedFormula, request: Request) -> str:
    """The offsets in words."""
    argument, given = given_in(request.offset)
    words = [f"offset({term.text})" for term in parsed.offsets]
    if given is not None:
        name = _label(given, argument)
        words.append(f"log({name})" if isinstance(request.offset, Exposure) else name)
    return " + ".join(words)


def offset_argument(given: Any) -> str | None:
    return described(given)


def read_response(
    table: nw.DataFrame[Any],
    parsed: ParsedFormula,
    response: Response,
    within: _Rows,
    levels: tuple[str, ...] | None = None,
    success: Any = None,
) -> ResponseValues:
    """The response of every row of the table, NaN where missing or outside the subset."""
    where = None if within.all() else np.flatnonzero(within)
    parts = [evaluated(table, part, parsed.functions) for part in parsed.response]
    if where is not None:  # values that are set aside need not make sense
        parts = [part[where] for part in parts]
    if parsed.survival or response.durations:
        texts = [part.text for part in parsed.response]
        found = parse_durations(parts, texts, response, parsed.survival, where, levels, success)
    elif len(parts) == 2:
        if not response.grouped:
            raise FormulaError(
                f"{parsed.response_name} with family {response.family!r}", "family='binomial'", "the column of counts"
            )
        refuse_success(success, f"{parsed.response_name}, of which the first is the successes")
        found = parse_cbind(parts[0], parts[1], (parsed.response[0].text, parsed.response[1].text), where)
    else:
        found = parse_response(parts[0], response, parsed.response_name, where, levels, success)
    if where is None:
        return found
    successes, trials = np.full(len(table), np.nan), np.full(len(table), np.nan)
    successes[where], trials[where] = found.successes, found.trials
    return ResponseValues(successes, trials, found.levels)


def evaluated(
    table: nw.DataFrame[Any], part: Expression, functions: Mapping[str, Callable[..., Any]]
) -> nw.Series[Any]:
    """The values of an expression, one per row: a column as it is, anything else as numbers, bools or categories."""
    if part.is_column:
        return table.get_column(part.variables[0])
    import pandas as pd

    columns = model_columns(table, part.variables, None)
    value = Evaluator(columns, len(table), {}, functions).column(part.node)
    if isinstance(value, Basis):
        raise FormulaError(f"{part.text!r}, which is several columns", "a value for each row", "one of them")
    if isinstance(value, Categories):
        value = pd.Categorical.from_codes(value.codes, categories=pd.Index(list(value.levels)))
    return nw.from_native(pd.Series(value, copy=False), series_only=True)
