"""From a user's table to the arrays of a likelihood, rows sorted by cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.checks import check_clusters, check_columns, check_design, check_response
from clusterglm.data.cluster_means import cluster_means
from clusterglm.data.clusters import Codes, encode, gather, group
from clusterglm.data.constants import totals
from clusterglm.data.design import INTERCEPT, Design, listed_design, make_design
from clusterglm.data.effects import Effects, WholeDesign, make_effects, sorted_twice
from clusterglm.data.formulas.columnwise import State
from clusterglm.data.formulas.formula import ParsedFormula
from clusterglm.data.groupings import levels_of, with_intercept
from clusterglm.data.offsets import offset_notes
from clusterglm.data.request import Request
from clusterglm.data.response import ResponseValues, to_kernel
from clusterglm.data.rows import (
    Dropped,
    Selection,
    constant_within,
    offset_argument,
    offset_label,
    read_formula,
    read_response,
    select_rows,
)
from clusterglm.data.tables.columns import model_columns
from clusterglm.data.tables.plain import Matrix
from clusterglm.data.tables.success import coding_note
from clusterglm.data.tables.table import read_table
from clusterglm.data.within import absorbed, constant_within_clusters
from clusterglm.errors import ClusterError, FormulaError
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import MOST_REPEATS

__all__ = ["Dropped", "FittedData", "Learned", "ModelData", "assemble", "prepare"]


class FittedData(Protocol):
    """What a fit and its result ask of their data, wherever the rows are; `ModelData` says what each is.

    Whoever needs the rows themselves, their clusters or the labels of these asks for `rows`, the data in memory, or
    first whether they are there.
    """

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def intercept(self) -> int | None: ...
    @property
    def has_intercept(self) -> bool: ...
    @property
    def n_obs(self) -> int: ...
    @property
    def n_clusters(self) -> int: ...
    @property
    def constant(self) -> float: ...
    @property
    def saturated(self) -> float: ...
    @property
    def dropped(self) -> tuple[Dropped, ...]: ...
    @property
    def design(self) -> Design: ...
    @property
    def effects(self) -> Effects | None: ...
    @property
    def whole_design(self) -> WholeDesign: ...
    @property
    def response_name(self) -> str: ...
    @property
    def cluster_name(self) -> str | None: ...
    @property
    def formula(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def levels(self) -> tuple[str, ...] | None: ...

    @property
    def in_memory(self) -> bool:
        """Whether the rows are at hand."""

    @property
    def rows(self) -> ModelData:
        """The rows in cluster order, with all that belongs to single ones; `OptionError` where they are elsewhere."""


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
    levels : tuple of str, or None
        (failure, success) of a response that was not 0/1; the categories of an ordered one.
    effects : Effects or None
        What varies over the clusters, where it is more than an intercept.
    by_threshold : Design or None
        Further columns, whose coefficients differ between the thresholds of an ordered response.
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
    levels: tuple[str, ...] | None = None
    effects: Effects | None = None
    by_threshold: Design | None = None

    @property
    def n_obs(self) -> int:
        """Rows in use."""
        return len(self.a)

    @property
    def n_clusters(self) -> int:
        """Clusters in use."""
        return len(self.starts) - 1

    @property
    def innermost(self) -> NDArray[np.int64]:
        """First row of each group of rows that have all effects in common, and n: of each cluster, or of its children.

        Of shape (g + 1,). Where factors cross, each row is a group.
        """
        if self.effects is not None and self.effects.outside:
            return np.arange(self.n_obs + 1)
        children = None if self.effects is None else self.effects.children
        return self.starts if children is None else children.starts

    @property
    def innermost_clusters(self) -> NDArray[np.int64]:
        """The cluster of each group of `innermost`, shape (g,)."""
        if self.innermost is self.starts:
            return np.arange(self.n_clusters)
        return np.searchsorted(self.starts, self.innermost[:-1], side="right") - 1

    @property
    def whole_design(self) -> WholeDesign:
        """How all columns are made, those whose coefficients vary too."""
        return WholeDesign(self.design, self.effects, self.by_threshold)

    @property
    def has_intercept(self) -> bool:
        """Whether X has a column of ones from the formula."""
        return self.intercept is not None

    @property
    def in_memory(self) -> bool:
        """Whether the rows are in memory: they are."""
        return True

    @property
    def rows(self) -> ModelData:
        """Data with single rows, which these are themselves."""
        return self


@dataclass(frozen=True)
class Learned:
    """What the parts of a table must have in common.

    Parameters
    ----------
    design : Design
    levels : tuple of two str, or None
        (failure, success) of a response that is not 0/1.
    notes : tuple of str
        What a reader of the results should know of the design.
    effects : Effects or None
        What varies over clusters, where it is more than an intercept; without rows.
    """

    design: Design
    levels: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    effects: Effects | None = None


def prepare(formula: str, data: object, request: Request) -> ModelData:
    """Read the table, drop incomplete rows, build and check the design, sort by cluster.

    Parameters
    ----------
    formula : str
    data : table
        See `read_table`.
    request : Request

    Raises
    ------
    DataError
        Of a subclass that says what is wrong: formula, response, clusters or design.
    """
    table = read_table(data)
    return assemble(table, *read_formula(formula, table.columns, request))


def assemble(
    table: nw.DataFrame[Any], parsed: ParsedFormula, request: Request, learned: Learned | None = None
) -> ModelData:
    """What `prepare` makes of a table, or of one part of it.

    Parameters
    ----------
    table : narwhals DataFrame
    parsed : ParsedFormula
    request : Request
    learned : Learned, optional
        What other parts of the table have told. Then nothing is refused that only the whole can show, such as
        columns that are constant, and no row needs to be left.
    """
    selection = select_rows(table, parsed, request)
    rows, ids, cluster_name = selection.rows, selection.ids, selection.cluster_name
    whole, family_response = learned is None, request.response
    known = request.levels if learned is None else learned.levels
    if whole:
        rows.refuse_none()
    values = read_response(table, parsed, family_response, selection.within, known, request.success)
    if values.trials.strides != (0,):  # else single trials
        rows.drop("no trials", values.trials == 0.0)
        if whole:
            rows.refuse_none()

    chosen = rows.chosen()
    matrix = selection.matrix if chosen is None else None
    selection = replace(selection, matrix=None)  # every array counts where rows are moved
    together = bool(parsed.cluster_terms) or (request.fixed_effects and any(len(t.factors) > 1 for t in parsed.terms))
    coded, effects = _coded(ids, chosen, parsed) if whole and together else None, None
    if learned is not None:
        design = learned.design
        if matrix is None or design.coding.plain is None:
            matrix = Matrix(design.build(table if chosen is None else table[chosen]))
        if learned.effects is not None:
            effects = learned.effects.of_rows(table if chosen is None else table[chosen])
            check_columns(effects.Z, [name for term in effects.terms for name in term.design.names])
    else:
        columns = {} if matrix is not None else model_columns(table, parsed.variables, chosen, selection.arrays)
        of_rows = _row_repeats(selection, values.trials, chosen) if parsed.has_memory or together else _RowRepeats()
        design, matrix = _designed(table, parsed, chosen, request, columns, matrix, coded, str(cluster_name), of_rows)
        del columns
        if parsed.varies or request.groupings:
            varying = with_intercept(parsed, str(cluster_name)) if request.groupings else parsed
            of_table = table, chosen, selection.arrays
            effects = make_effects(varying, *of_table, design, of_rows.times, selection.arrangement)
    X = matrix.X
    notes: list[str] = []
    if whole and not request.absorb:
        check_design(X, design.names, design.intercept, matrix.ranges)
    else:
        check_columns(X, design.names, matrix.ranges)
    del matrix

    index = np.arange(len(table)) if chosen is None else chosen
    if ids is None:
        labels, order, starts = np.array([0]), None, np.array([0, len(index)], dtype=np.int64)
    elif (arrangement := selection.arrangement) is not None and arrangement.nested:
        assert effects is not None
        lower = selection.factors[arrangement.names[1]]
        pair = (encode(each if chosen is None else each[chosen]) for each in (ids, lower))
        labels, order, starts, children = sorted_twice(arrangement.names[1], *pair)
        effects = replace(effects, children=children)
    else:
        if coded is None:
            labels, grouping = gather(ids if chosen is None else ids[chosen])
        else:
            labels, grouping = coded.labels, group(coded.codes, len(coded.labels))
        order, starts = grouping.order, grouping.starts
        del coded, grouping
    if order is not None:
        index, X = order if chosen is None else index[order], np.take(X, order, axis=0)
        effects = None if effects is None else effects.moved(order)
    if effects is not None and (request.groupings or selection.crossed):
        of_factors = levels_of(selection.factors, str(cluster_name), index, starts, labels)
        if request.groupings:
            effects = replace(effects, groupings=of_factors)
        else:
            effects = replace(effects, outside=tuple(each for each in of_factors if each.group != cluster_name))
    notes += () if selection.arrangement is None else selection.arrangement.notes
    same = chosen is None and order is None  # nothing to select: no copies

    def select(whole: Array) -> Array:
        if whole.strides == (0,):  # one value for all
            return np.broadcast_to(whole[:1], len(index))
        return whole if same else whole[index]

    if whole and request.fixed_effects:
        flat = constant_within_clusters(X, starts)
        if flat.any() and not flat.all():
            names = [name for name, each in zip(design.names, flat.tolist(), strict=True) if each]
            notes.append(absorbed(names))
            design, X = design.without(np.flatnonzero(flat).tolist()), np.ascontiguousarray(X[:, ~flat])
    n = len(index)
    w: Array = np.broadcast_to(1.0, n) if selection.weights is None else select(selection.weights)
    chosen_values = ResponseValues(select(values.successes), select(values.trials), values.levels)
    a, b = to_kernel(chosen_values, w, family_response)
    if whole and not request.penalized:
        check_response(a, b, family_response, parsed.response_name)
    if whole and request.need_cluster and not request.absorb:
        check_clusters(chosen_values.trials, starts, family_response, str(cluster_name), request.sigma_known)
    m = len(starts) - 1
    of_cluster = selection.cluster_weights
    per_cluster = np.ones(m) if of_cluster is None else constant_within(select(of_cluster), starts, labels)
    constant, saturated = totals(chosen_values, w, per_cluster, starts, a, b, family_response)
    levels = values.levels
    offsets = np.zeros(n) if selection.offset is None else select(selection.offset)
    return ModelData(
        X=X,
        names=told_apart(design),
        intercept=design.intercept,
        a=np.ascontiguousarray(a),
        b=np.ascontiguousarray(b),
        offset=offsets,
        weights=w,
        trials=chosen_values.trials,
        starts=starts,
        labels=labels,
        cluster_weights=per_cluster,
        row_index=index,
        constant=constant,
        saturated=saturated,
        dropped=rows.dropped(),
        design=design,
        response_name=parsed.response_name,
        cluster_name=cluster_name,
        formula=parsed.text,
        notes=(
            *notes_of(
                parsed, request, levels, offsets if whole and selection.offset is not None else np.zeros(1), design
            ),
            *notes,
        ),
        levels=levels,
        effects=effects,
    )


def told_apart(design: Design) -> tuple[str, ...]:
    """Names of coefficients; a covariate that has the intercept's is in backticks, as a formula may write it."""
    return tuple(
        f"`{name}`" if name == INTERCEPT and j != design.intercept else name for j, name in enumerate(design.names)
    )


def notes_of(
    parsed: ParsedFormula, request: Request, levels: tuple[str, ...] | None, offset: Array, design: Design
) -> tuple[str, ...]:
    """What a reader should know: the coding of the response, odd values among some offsets, odd levels."""
    known: tuple[str, ...] = ()
    if levels is not None and request.success is None and not request.response.ordered:
        known = (coding_note(levels, parsed.response_name),)
    range_ = float(offset.min()), float(np.median(offset)), float(offset.max())
    return (*known, *offset_notes(*range_, offset_label(parsed, request)), *design.odd_levels())


def _designed(
    table: nw.DataFrame[Any],
    parsed: ParsedFormula,
    chosen: NDArray[np.int64] | None,
    request: Request,
    columns: dict[str, Any],
    matrix: Matrix | None,
    coded: Codes | None,
    cluster_name: str,
    of_rows: _RowRepeats,
) -> tuple[Design, Matrix]:
    """The design, and the matrix unless it is there already."""
    n, absorb, offset = len(table) if chosen is None else len(chosen), request.absorb, request.offset
    if matrix is not None:
        listed = listed_design(parsed, offset_argument(offset), absorb=absorb)
        assert listed is not None
        return listed, matrix
    means, memory = None, dict[str, State]()
    if coded is not None and parsed.cluster_terms:
        terms = parsed.cluster_terms
        means, made = cluster_means(
            terms, table, chosen, coded.codes, coded.labels, cluster_name, memory, parsed.functions,
            of_rows.in_means, of_rows.times,
        )  # fmt: skip
        columns = columns | made
    clusters = coded.codes if coded is not None and request.fixed_effects else None
    return make_design(
        parsed,
        columns,
        n,
        offset_argument(offset),
        absorb=absorb,
        cluster_means=means,
        memory=memory,
        clusters=clusters,
        times=of_rows.times,
    )


@dataclass(frozen=True)
class _RowRepeats:
    """What rows in use stand for: single responses, in means of clusters; and rows, where weights are whole numbers.

    None where each stands for itself.
    """

    in_means: Array | None = None
    times: NDArray[np.int64] | None = None


def _row_repeats(selection: Selection, trials: Array, chosen: NDArray[np.int64] | None) -> _RowRepeats:
    def used(values: Array) -> Array:
        return values if chosen is None else values[chosen]

    weights, of_cluster = selection.weights, selection.cluster_weights
    single = None if trials.strides == (0,) else trials
    given = [each for each in (weights, of_cluster) if each is not None]
    in_means = [used(each) for each in (weights, single) if each is not None]
    each = used(np.prod(given, axis=0)) if given else None
    whole = each is not None and bool((np.rint(each) == each).all())
    if each is not None and whole and each.sum() > MOST_REPEATS:
        raise FormulaError(
            f"functions of whole columns with weights that stand for {each.sum():,.0f} rows",
            f"at most {MOST_REPEATS:,} rows, which they look at one by one",
            "compute these columns first, and fit with them",
        )
    return _RowRepeats(
        np.prod(in_means, axis=0) if in_means else None, each.astype(np.int64) if each is not None and whole else None
    )


def _coded(ids: nw.Series[Any] | None, chosen: NDArray[np.int64] | None, parsed: ParsedFormula) -> Codes:
    if ids is None:
        what = parsed.cluster_terms[0].name if parsed.cluster_terms else "fixed effects"
        raise ClusterError(
            f"{what} without clusters",
            "the column that says which rows have a mean in common",
            "cluster='id'",
        )
    return encode(ids if chosen is None else ids[chosen])
