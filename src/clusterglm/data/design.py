"""From covariates to the design matrix, and again for new data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.cluster_means import ClusterMeans
from clusterglm.data.formulas.algebra import INTERCEPT as ONES
from clusterglm.data.formulas.algebra import factor_text
from clusterglm.data.formulas.check import sees_missing, variables_of
from clusterglm.data.formulas.coding import INTERCEPT, CodedTerm, Coding, Factor, build, fitted_to, learn_coding
from clusterglm.data.formulas.columnwise import State
from clusterglm.data.formulas.evaluate import Evaluator
from clusterglm.data.formulas.formula import Expression, ParsedFormula
from clusterglm.data.formulas.tree import Name, Node
from clusterglm.data.formulas.values import UNSEEN, Categories, any_missing, as_numbers, missing
from clusterglm.data.offsets import as_offset, column_of
from clusterglm.data.tables.columns import model_columns
from clusterglm.data.tables.plain import Matrix, plain_matrix
from clusterglm.data.tables.table import check_columns, column, missing_in, numeric
from clusterglm.errors import DataError, DesignError, UnseenLevelError
from clusterglm.model.arrays import Array

__all__ = ["INTERCEPT", "Design", "DesignRows", "Factor", "Unseen", "formula_offset", "make_design", "numbers"]

_SHOWN = 5  # levels that an error names
_Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Unseen:
    """A level that the fit has not seen, and the rows that have it, shape (rows,)."""

    factor: Factor
    level: Any
    where: _Mask


@dataclass(frozen=True)
class DesignRows:
    """New data as a design sees them.

    Parameters
    ----------
    X : ndarray, shape (rows, p)
        NaN in rows with a missing covariate or an unseen level.
    missing : tuple of (str, ndarray of bool)
        What is missing, and where.
    unseen : tuple of Unseen
    """

    X: Array
    missing: tuple[tuple[str, _Mask], ...]
    unseen: tuple[Unseen, ...]


@dataclass(frozen=True)
class Design:
    """How covariates become the columns of X; can be applied to new data, and is data itself.

    Parameters
    ----------
    formula : str
        The right-hand side, without offsets and clusters.
    names : tuple of str
        Columns of X, named as R names them.
    intercept : int or None
        The column of ones.
    variables : tuple of str
        Columns of the user's table that X needs.
    coding : Coding
        Factors and terms, with the levels that the fit has seen.
    memory : dict of str to State
        Knots, centres and the like of functions of whole columns, by the text of their call.
    offsets : tuple of Expression
        Arguments of the `offset(...)` terms.
    offset_argument : str, "array" or None
        Column passed as `offset=`, prefixed with "column:", or as `exposure=`, with "exposure:"; or that an array was.
    cluster_means : ClusterMeans or None
        For `within(...)` and `between(...)`.
    functions : dict of str to callable
        The user's own.
    """

    formula: str
    names: tuple[str, ...]
    intercept: int | None
    variables: tuple[str, ...]
    coding: Coding
    memory: dict[str, State]
    offsets: tuple[Expression, ...]
    offset_argument: str | None
    cluster_means: ClusterMeans | None = None
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Categorical factors with their levels."""
        return tuple(factor for factor in self.coding.factors if factor.contrast is not None)

    def terms(self) -> dict[str, tuple[int, ...]]:
        """Terms by their names, in the order of their columns, each with the positions of these.

        A covariate that is called 1, as the intercept's term is, stands in backticks.
        """
        found = [(term.name, places) for term, places in self.coding.places() if places]
        return {f"`{name}`" if name == "1" and places != (self.intercept,) else name: places for name, places in found}

    @property
    def aliases(self) -> tuple[str, ...]:
        """Longer names of the columns, such as `trt[T.drug]`."""
        return self.coding.names()[1]

    def in_words(self, name: str) -> str:
        """A column's name for people who read: `trt = drug` for `trtdrug`."""
        return dict(zip(self.names, self.coding.words(), strict=False)).get(name, name)

    def odd_levels(self) -> tuple[str, ...]:
        """Notes on factors with levels that look alike, as "drug" and "drug " do."""
        notes = []
        for factor in self.factors:
            alike: dict[str, list[Any]] = {}
            for level in factor.levels:
                alike.setdefault(" ".join(str(level).split()), []).append(level)
            same = [repr(level) for levels in alike.values() if len(levels) > 1 for level in levels]
            if same:
                name = factor.column or factor.expression
                notes.append(
                    f"levels of {name!r} that differ in blanks alone, and are taken to be different: {', '.join(same)}"
                )
        return tuple(notes)

    @property
    def references(self) -> dict[str, Any]:
        """Levels that the other levels of their factors are compared with, by column."""
        return self.coding.references()

    def build(self, table: nw.DataFrame[Any]) -> Array:
        """Design matrix of new data, shape (rows, p); rows with a missing covariate, or cluster if needed, are NaN.

        Raises
        ------
        DataError
            When a column is missing (the nearest name is given) or cannot be transformed as in the fit.
        UnseenLevelError
            When a categorical factor has a level that the fit has not seen.
        ClusterError
            When `within(...)` or `between(...)` finds no cluster column.
        """
        found = self.rows(table)
        if found.unseen:
            raise _unseen_error(found.unseen)
        return found.X

    def rows(self, table: nw.DataFrame[Any]) -> DesignRows:
        """Rows of the design matrix of new data, and what stands in the way of single rows: no errors about levels."""
        check_columns(table, self.variables, "covariate")
        n, p = len(table), len(self.names)
        required, through = needs([factor.node for factor in self.coding.factors], self.variables, self.cluster_means)
        reasons = [(f"missing value in {name!r}", missing_in(table, name)) for name in required]
        if self.cluster_means is not None:
            reasons.append((f"missing value in {self.cluster_means.column!r}", self.cluster_means.missing(table)))
        gone = np.zeros(n, dtype=bool)
        for _, where in reasons:
            gone |= where
        reasons = [(reason, where) for reason, where in reasons if where.any()]
        keep = np.flatnonzero(~gone) if gone.any() else None
        k = n if keep is None else len(keep)
        if k == 0 or p == 0:
            return DesignRows(np.full((n, p), np.nan), tuple(reasons), ())
        columns = model_columns(table, self.variables, keep)
        listed = self.coding.plain if self.cluster_means is None else None
        plain = None if listed is None else plain_matrix(listed, self.intercept is not None, columns, k)
        if plain is not None:
            return DesignRows(_spread(plain.X, keep, n), tuple(reasons), ())
        if self.cluster_means is not None:
            columns |= self.cluster_means.columns(table, keep, self.memory, self.functions)
        evaluator = Evaluator(columns, k, self.memory, self.functions)
        raw = {factor.node: evaluator.column(factor.node) for factor in self.coding.factors}
        values = {factor.node: fitted_to(factor, raw[factor.node]) for factor in self.coding.factors}
        for node in through:
            absent = missing(values[node])
            if absent is not None and absent.any():
                where = _spread(absent & _any_missing(node, columns), keep, n, False)
                reasons.append((f"missing value in {factor_text(node)!r}", where))
        unseen: list[Unseen] = []
        for factor in self.factors:
            unseen += _unseen(factor, raw[factor.node], values[factor.node], keep, n)
        return DesignRows(_spread(build(self.coding, values, k), keep, n), tuple(reasons), tuple(unseen))

    @property
    def offset_columns(self) -> list[str]:
        """Columns of the user's table that the offset needs."""
        argument = column_of(self.offset_argument)
        names = [name for term in self.offsets for name in term.variables]
        return list(dict.fromkeys(names if argument is None else [*names, argument]))

    def offset(self, table: nw.DataFrame[Any]) -> Array:
        """Sum of the offsets of new data, shape (rows,); NaN where a column of theirs is missing.

        Raises
        ------
        DataError
            When a column is missing or not numeric, or when the fit took its offset from an array.
        """
        total = formula_offset(self.offsets, table, self.functions)
        if self.offset_argument == "array":
            raise DataError(
                "new data for a model whose offset= or exposure= was an array",
                "the offset of the new rows",
                "fit with offset= or exposure= the name of a column, or with offset(...) in the formula",
            )
        name = column_of(self.offset_argument)
        if name is not None:
            total += as_offset(numbers(column(table, name, "offset"), name, "offset"), self.offset_argument)
        return total

    def without(self, columns: Sequence[int]) -> Design:
        """This design without some columns, and without the variables that only these need."""
        coding = self.coding.without(columns)
        used = variables_of([factor.node for factor in coding.factors], self.variables)
        means = () if self.cluster_means is None else self.cluster_means.terms
        for term in means:
            used += term.expression.variables
        return replace(
            self,
            coding=coding,
            names=tuple(name for j, name in enumerate(self.names) if j not in columns),
            intercept=coding.intercept,
            variables=tuple(name for name in self.variables if name in used),
        )


def make_design(
    parsed: ParsedFormula,
    columns: Mapping[str, Any],
    n: int,
    offset_argument: str | None,
    *,
    absorb: bool = False,
    cluster_means: ClusterMeans | None = None,
    memory: dict[str, State] | None = None,
    clusters: NDArray[np.int64] | None = None,
    constant: Collection[Node] = (),
    levels: Mapping[Node, tuple[Any, ...]] | None = None,
    times: NDArray[np.int64] | None = None,
) -> tuple[Design, Matrix]:
    """Design and matrix of the fitted data.

    Parameters
    ----------
    parsed : ParsedFormula
    columns : mapping of str to ndarray or Categories
        Complete rows of `parsed.variables`, from `model_columns`, and the columns of `parsed.cluster_terms`.
    n : int
        Number of rows.
    offset_argument : str or None
        See `Design`.
    absorb : bool
        The clusters have intercepts of their own: categorical columns are coded as next to an intercept, whatever the
        formula says of one, and the column of ones is left out.
    cluster_means : ClusterMeans, optional
        What new data will need for the terms of clusters.
    memory : dict of str to State, optional
        What functions of whole columns have learned already.
    clusters : ndarray of int64, shape (n,), optional
        With `absorb`, each row's cluster: an interaction with a factor that is constant in clusters is then coded as
        next to that factor, which the clusters' intercepts stand for.
    constant : collection of Node
        Such factors, where `clusters` are not at hand.
    levels : mapping of Node to tuple, optional
        Levels of computed factors in all rows, where these are some of them.
    times : ndarray of int64, shape (n,), optional
        How often each row is there, for what functions of whole columns learn.

    Returns
    -------
    design : Design
    matrix : Matrix
        Of float64; infinite or NaN where a transform made it so.

    Raises
    ------
    FormulaError
        When a term cannot be computed.
    DesignError
        When the formula leaves no column, or a term is not numeric.
    """
    learned: dict[str, State] = dict(memory or {})
    plain = listed_design(parsed, offset_argument, absorb=absorb)
    if plain is not None:
        listed = plain.coding.plain
        assert listed is not None
        found = plain_matrix(listed, plain.intercept is not None, columns, n)
        if found is not None:
            return plain, found
    evaluator = Evaluator(columns, n, learned, parsed.functions, learning=True, times=times)
    values = {node: evaluator.column(node) for node in parsed.factors}
    _refuse_other_rows(parsed, columns, n, learned, values)
    terms = list(parsed.terms)
    if absorb:
        terms = [ONES, *(term for term in terms if term.factors)]
        if clusters is not None and any(len(term.factors) > 1 for term in terms):
            constant = tuple(node for node in parsed.factors if _constant(values[node], clusters))
    coding = learn_coding(terms, values, n, absorbed=constant, levels=levels)
    if absorb:
        coding = replace(coding, terms=coding.terms[1:])
    names, _ = coding.names()
    if not names and not absorb:
        raise DesignError(f"no coefficient in '{parsed.text}'", "an intercept or a covariate", "drop '- 1' or '0 +'")
    values = {factor.node: fitted_to(factor, values[factor.node]) for factor in coding.factors}
    design = Design(
        formula=parsed.right,
        names=names,
        intercept=coding.intercept,
        variables=parsed.variables,
        coding=coding,
        memory=learned,
        offsets=parsed.offsets,
        offset_argument=offset_argument,
        cluster_means=cluster_means,
        functions=parsed.functions,
    )
    return design, Matrix(build(coding, values, n))


def listed_design(parsed: ParsedFormula, offset_argument: str | None, *, absorb: bool) -> Design | None:
    """The design of a formula that lists columns, if these are numbers; None where it does more."""
    nodes = parsed.factors
    if parsed.cluster_terms or not all(isinstance(node, Name) for node in nodes):
        return None
    if any(len(term.factors) > 1 for term in parsed.terms):
        return None
    ones = parsed.has_intercept and not absorb
    if not nodes and not ones and not absorb:
        return None
    listed = [node.name for node in nodes if isinstance(node, Name)]
    factors = tuple(Factor(name, node) for name, node in zip(listed, nodes, strict=True))
    terms = [CodedTerm("1", ((),), 1)] if ones else []
    terms += [CodedTerm(name, (((k, False),),), 1) for k, name in enumerate(listed)]
    names = (INTERCEPT,) * ones + tuple(listed)
    coding = Coding(factors, tuple(terms))
    return Design(
        parsed.right, names if len(set(names)) == len(names) else coding.names()[0], 0 if ones else None,
        parsed.variables, coding, {}, parsed.offsets, offset_argument, None, parsed.functions,
    )  # fmt: skip


def needs(
    nodes: Sequence[Node], variables: Sequence[str], means: ClusterMeans | None = None
) -> tuple[tuple[str, ...], tuple[Node, ...]]:
    """Variables without which a row has no value, in their order, and factors that may have one nevertheless."""
    through = tuple(node for node in nodes if sees_missing(node))
    opaque = [node for node in nodes if node not in through]
    needed = set(variables_of(opaque, variables))
    if means is not None:
        needed |= {name for term in means.terms for name in term.expression.variables}
    return tuple(name for name in variables if name in needed), through


def numbers(values: nw.Series[Any], name: str, role: str) -> Array:
    """A numeric column as float64 with NaN for missing values; `DataError` if it is not numeric."""
    found = numeric(values)
    if found is None:
        raise DataError(
            f"the {role} {name!r} of type {values.dtype}", "numbers", "convert the column, or name another one"
        )
    return np.array(found)  # never the user's own memory


def formula_offset(
    offsets: Sequence[Expression], table: nw.DataFrame[Any], functions: Mapping[str, Callable[..., Any]]
) -> Array:
    """Sum of the `offset(...)` terms over all rows of the table, shape (rows,); NaN where a column is missing."""
    total: Array = np.zeros(len(table))
    for term in offsets:
        columns = {name: numbers(column(table, name, "offset"), name, "offset") for name in term.variables}
        evaluator = Evaluator(columns, len(table), {}, functions)
        value = evaluator.column(term.node) if term.variables else evaluator.single(term.node)
        total = total + as_numbers(value, f"offset({term.text})")
    return total


def _spread(values: Any, keep: NDArray[np.int64] | None, n: int, otherwise: Any = np.nan) -> Any:
    """Values of some rows at their places among all."""
    if keep is None:
        return values
    whole = np.full((n, *values.shape[1:]), otherwise, dtype=values.dtype)
    whole[keep] = values
    return whole


def _any_missing(node: Node, columns: Mapping[str, Any]) -> Any:
    return any_missing(columns[name] for name in variables_of([node], columns))


def _unseen(factor: Factor, raw: Any, value: Any, keep: NDArray[np.int64] | None, n: int) -> list[Unseen]:
    new = value.codes == UNSEEN
    if not new.any():
        return []
    if not isinstance(raw, Categories):
        return [Unseen(factor, level, _spread(raw == level, keep, n, False)) for level in np.unique(raw[new]).tolist()]
    which = np.unique(raw.codes[new & (raw.codes >= 0)]).tolist()
    return [Unseen(factor, raw.levels[k], _spread(raw.codes == k, keep, n, False)) for k in which]


def _unseen_error(unseen: Sequence[Unseen]) -> UnseenLevelError:
    factor = unseen[0].factor
    levels = [each.level for each in unseen if each.factor is factor]
    shown, known = ", ".join(map(repr, levels[:_SHOWN])), ", ".join(map(repr, factor.levels[:20]))
    more = f" and {len(levels) - _SHOWN} more" if len(levels) > _SHOWN else ""
    return UnseenLevelError(
        f"levels of {factor.column or factor.expression!r} that the fit has not seen: {shown}{more}",
        f"one of the fitted levels {known}",
        "drop these rows, or fit again with data that have the level",
    )


def _constant(value: Any, clusters: NDArray[np.int64]) -> bool:
    """Whether a factor has one value in each cluster."""
    if not isinstance(value, (Categories, np.ndarray)):
        return False
    each = value.codes if isinstance(value, Categories) else value
    first = np.zeros(int(clusters.max(initial=0)) + 1, dtype=np.int64)
    first[clusters[::-1]] = np.arange(len(clusters))[::-1]
    return bool(np.all(each == each[first[clusters]]))


def _refuse_other_rows(
    parsed: ParsedFormula, columns: Mapping[str, Any], n: int, memory: dict[str, State], values: Mapping[Node, Any]
) -> None:
    """Refuse a function of the user's by which a row's value depends on which other rows are there."""
    if not parsed.functions or n < 2:
        return
    half = slice(n // 2, n)
    part = {name: _some(value, half) for name, value in columns.items()}
    alone = Evaluator(part, n - n // 2, memory, parsed.functions)
    for node, value in values.items():
        again, before = alone.column(node), _some(value, half)
        if isinstance(before, np.ndarray) and not np.allclose(again, before, rtol=1e-9, atol=0.0, equal_nan=True):
            raise DesignError(
                f"{factor_text(node)!r}, which gives a row another value when fewer rows are there",
                "a function that gives each row its value from that row alone",
                "mean(), scale() and the like inside the formula, which remember the fitted rows",
            )


def _some(value: Any, rows: slice) -> Any:
    if isinstance(value, Categories):
        return replace(value, codes=value.codes[rows])
    return value[rows] if isinstance(value, np.ndarray) else value
