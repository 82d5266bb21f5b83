"""Columns whose coefficients vary over clusters: the rows z of random terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.checks import check_design
from clusterglm.data.cluster_means import ClusterMeans
from clusterglm.data.clusters import Codes, group
from clusterglm.data.design import Design, Factor, make_design
from clusterglm.data.formulas.check import variables_of
from clusterglm.data.formulas.formula import ParsedFormula, right_text
from clusterglm.data.formulas.random import RandomTerm
from clusterglm.data.formulas.tree import Node
from clusterglm.data.groupings import Levels
from clusterglm.data.nesting import Arrangement
from clusterglm.data.tables.columns import model_columns
from clusterglm.data.tables.plain import Matrix
from clusterglm.errors import DesignError
from clusterglm.model.arrays import Array
from clusterglm.model.covariance import Covariance, CovarianceTerm


@dataclass(frozen=True)
class EffectTerm:
    """What varies over the levels of a grouping factor, and how it covaries.

    Parameters
    ----------
    group : str
        The factor: a column, or columns with colons between them.
    structure : {"us", "diag", "homdiag", "cs"}
    design : Design
        Of the columns.
    """

    group: str
    structure: str
    design: Design


@dataclass(frozen=True)
class Children:
    """Levels of a grouping factor that is nested in the clusters, c of them, in the order of the clusters.

    Parameters
    ----------
    group : str
        The factor.
    starts : ndarray of int64, shape (c + 1,)
        First row of each, and n; the first row of every cluster is among them.
    labels : ndarray, shape (c,)
    """

    group: str
    starts: NDArray[np.int64]
    labels: NDArray[Any]

    def without_rows(self) -> Children:
        """The name alone."""
        return Children(self.group, np.zeros(1, dtype=np.int64), self.labels[:0])


@dataclass(frozen=True)
class Effects:
    """The random part of a model with more than an intercept.

    Parameters
    ----------
    Z : ndarray, shape (n, q)
        Columns of all terms, one term after another, those of the clusters before those of what is nested in them or
        crosses them; rows as in the data.
    terms : tuple of EffectTerm
    children : Children or None
        What is nested in the clusters and has effects of its own.
    groupings : tuple of Levels
        Each row's level of each grouping factor, where they were asked for.
    outside : tuple of Levels
        Those of factors beside the clusters' that cross it, in the order of their terms.
    """

    Z: Array
    terms: tuple[EffectTerm, ...]
    children: Children | None = None
    groupings: tuple[Levels, ...] = ()
    outside: tuple[Levels, ...] = ()

    @property
    def covariance(self) -> Covariance:
        """How the effects covary, which has the parameters."""
        return Covariance(tuple(CovarianceTerm(term.group, term.design.names, term.structure) for term in self.terms))

    def rows(self, table: nw.DataFrame[Any]) -> Array:
        """Z of new data, shape (rows, q); see `Design.build`."""
        return np.hstack([term.design.build(table) for term in self.terms])

    def of_rows(self, table: nw.DataFrame[Any]) -> Effects:
        """The same of other rows, of which it is not known yet whose children they are."""
        return Effects(np.ascontiguousarray(self.rows(table)), self.terms)

    def without_rows(self) -> Effects:
        """What varies and how, of data whose rows are elsewhere."""
        children = None if self.children is None else self.children.without_rows()
        return Effects(np.empty((0, self.Z.shape[1])), self.terms, children)

    @property
    def n_upper(self) -> int:
        """Effects of the clusters themselves, which come first."""
        others = {each.group for each in self.outside} | ({self.children.group} if self.children else set())
        return sum(len(term.design.names) for term in self.terms if term.group not in others)

    @property
    def levels(self) -> tuple[int, ...]:
        """Effects of the clusters, and of what is nested in them or crosses them."""
        q, d = self.Z.shape[1], self.n_upper
        return (q,) if self.children is None and not self.outside else (d, q - d)

    @property
    def groups(self) -> tuple[str, ...]:
        """The grouping factors, that of the clusters first."""
        return tuple(dict.fromkeys(term.group for term in self.terms))

    def places_of(self, group: str) -> slice:
        """Places of a factor's effects among the columns of Z."""
        counts = [(term.group == group, len(term.design.names)) for term in self.terms]
        first = sum(count for _, count in counts[: [own for own, _ in counts].index(True)])
        return slice(first, first + sum(count for own, count in counts if own))

    def by_factor(self) -> list[tuple[list[EffectTerm], NDArray[np.int64]]]:
        """The terms of each grouping factor, and the places of their columns."""
        factors = np.array([term.group for term in self.terms for _ in term.design.names], dtype=object)
        return [
            ([term for term in self.terms if term.group == factor], np.flatnonzero(factors == factor))
            for factor in dict.fromkeys(factors.tolist())
        ]

    def moved(self, rows: NDArray[np.int64]) -> Effects:
        """Columns of some rows, in some order, where others were; who is whose child stays."""
        groupings, outside = (tuple(each.moved(rows) for each in some) for some in (self.groupings, self.outside))
        return replace(self, Z=np.take(self.Z, rows, axis=0), groupings=groupings, outside=outside)

    def taken(self, rows: NDArray[np.int64], starts: NDArray[np.int64]) -> Effects:
        """These effects for some rows, in an order that keeps the rows of a child together.

        Parameters
        ----------
        rows : ndarray of int64, shape (k,)
        starts : ndarray of int64, shape (m + 1,)
            First of these rows of each cluster, and k: a child that is there twice is two.
        """
        there = self.moved(rows)
        if self.groupings or self.outside:
            groupings, outside = (
                tuple(each.within(starts) for each in some) for some in (there.groupings, there.outside)
            )
            return replace(there, groupings=groupings, outside=outside)
        if self.children is None:
            return there
        own = np.searchsorted(self.children.starts, rows, side="right") - 1
        new = np.ones(len(rows), dtype=bool)
        new[1:] = own[1:] != own[:-1]
        new[starts[:-1]] = True
        first = np.flatnonzero(new)
        children = Children(self.children.group, np.append(first, len(rows)), self.children.labels[own[first]])
        return replace(there, children=children)


@dataclass(frozen=True)
class WholeDesign:
    """Columns with coefficients and those whose coefficients vary, side by side, as one design.

    Parameters
    ----------
    fixed : Design
    effects : Effects or None
    beside : Design or None
        Columns of another linear predictor, or with coefficients at each threshold, the last.
    """

    fixed: Design
    effects: Effects | None
    beside: Design | None = None

    @property
    def _parts(self) -> list[Design]:
        varying = [term.design for term in (self.effects.terms if self.effects else ())]
        return [self.fixed, *varying, *([] if self.beside is None else [self.beside])]

    @property
    def variables(self) -> tuple[str, ...]:
        """Columns of the table that any part is made from, those of the fixed part first."""
        return tuple(dict.fromkeys(name for part in self._parts for name in part.variables))

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Categorical variables."""
        return tuple({factor.expression: factor for part in self._parts for factor in part.factors}.values())

    @property
    def cluster_means(self) -> ClusterMeans | None:
        """Those of the fit, which no change of a variable moves."""
        return self.fixed.cluster_means

    def build(self, table: nw.DataFrame[Any]) -> Array:
        """[X Z N] of new data, shape (rows, p + q + r), N the columns beside the others; see `Design.build`."""
        parts = [part.build(table) for part in self._parts]
        return parts[0] if len(parts) == 1 else np.hstack(parts)


def make_effects(
    parsed: ParsedFormula,
    table: nw.DataFrame[Any],
    chosen: NDArray[np.int64] | None,
    arrays: Mapping[str, NDArray[Any] | None],
    design: Design,
    times: NDArray[np.int64] | None,
    arrangement: Arrangement | None = None,
) -> Effects:
    """The random part of a formula, of the fitted data.

    Parameters
    ----------
    parsed : ParsedFormula
    table : narwhals DataFrame
    chosen : ndarray of int64 or None
        Rows in use.
    arrays : dict of str to ndarray or None
        Columns as `array_of` gives them.
    design : Design
        Of the fixed part, whose memory of whole columns holds here too.
    times : ndarray of int64 or None
        How often each row is there.
    arrangement : Arrangement or None
        Of several grouping factors.

    Raises
    ------
    FormulaError, DesignError
        When a term cannot be computed, or its effects cannot be told apart.
    """
    n = len(table) if chosen is None else len(chosen)
    columns = model_columns(table, parsed.random_variables, chosen, arrays)
    if design.cluster_means is not None:
        columns |= design.cluster_means.columns(table, chosen, design.memory, parsed.functions)
    found, parts = [], []
    order = parsed.groupings if arrangement is None else arrangement.names
    for term, matrix in _terms(parsed, columns, n, design, order, times=times):
        check_design(matrix.X, term.design.names, term.design.intercept, matrix.ranges)
        found.append(term)
        parts.append(matrix.X)
    Z = np.ascontiguousarray(np.hstack(parts))
    effects = Effects(Z, tuple(found))
    for own, where in effects.by_factor():
        refuse_dependent(Z[:, where], own)
    return effects


def learn_effects(
    parsed: ParsedFormula,
    columns: Mapping[str, Any],
    n: int,
    design: Design,
    lower: str | None,
    levels: Mapping[Node, tuple[Any, ...]],
) -> Effects:
    """The random part of a formula without rows, from some that show all levels.

    Parameters
    ----------
    parsed : ParsedFormula
    columns : mapping of str to ndarray or Categories
        Of n rows.
    n : int
    design : Design
        See `make_effects`.
    lower : str or None
        The factor that lies in the other, of two.
    levels : mapping of Node to tuple
        See `make_design`.
    """
    order = sorted(parsed.groupings, key=lambda name: name == lower)
    terms = tuple(term for term, _ in _terms(parsed, columns, n, design, order, levels=levels))
    children = None if lower is None else Children(lower, np.zeros(1, dtype=np.int64), np.empty(0, dtype=object))
    return Effects(np.empty((0, sum(len(term.design.names) for term in terms))), terms, children)


def _terms(
    parsed: ParsedFormula,
    columns: Mapping[str, Any],
    n: int,
    design: Design,
    order: Sequence[str],
    *,
    times: NDArray[np.int64] | None = None,
    levels: Mapping[Node, tuple[Any, ...]] | None = None,
) -> Iterator[tuple[EffectTerm, Matrix]]:
    """The terms with their columns, by grouping factors in some order."""
    for term in sorted(parsed.random, key=lambda term: order.index(parsed.factor_of(term))):
        made, matrix = make_design(
            _alone(parsed, term),
            columns,
            n,
            None,
            cluster_means=design.cluster_means,
            memory=design.memory,
            levels=levels,
            times=times,
        )
        yield EffectTerm(parsed.factor_of(term), term.structure, made), matrix


def sorted_twice(
    lower: str, clusters: Codes, levels: Codes
) -> tuple[NDArray[Any], NDArray[np.int64] | None, NDArray[np.int64], Children]:
    """Rows by cluster and, within it, by what is nested there.

    Parameters
    ----------
    lower : str
        Name of the nested factor.
    clusters, levels : Codes
        Of n rows.

    Returns
    -------
    labels : ndarray, shape (m,)
        Of the clusters.
    order : ndarray of int64, shape (n,), or None
        None where the rows are so already.
    starts : ndarray of int64, shape (m + 1,)
        First row of each cluster, and n.
    children : Children
    """
    pairs, place = np.unique(clusters.codes * len(levels.labels) + levels.codes, return_inverse=True)
    both = group(place.astype(np.int64), len(pairs))
    starts = np.zeros(len(clusters.labels) + 1, dtype=np.int64)
    np.cumsum(np.bincount(clusters.codes, minlength=len(clusters.labels)), out=starts[1:])
    return clusters.labels, both.order, starts, Children(lower, both.starts, levels.labels[pairs % len(levels.labels)])


def _alone(parsed: ParsedFormula, term: RandomTerm) -> ParsedFormula:
    """A random term as the right-hand side of a formula."""
    factors = tuple(dict.fromkeys(factor for part in term.terms for factor in part.factors))
    made = [part for part in parsed.cluster_terms if part.name in variables_of(factors, [part.name])]
    names = [*parsed.random_variables, *(name for part in made for name in part.expression.variables)]
    used = variables_of(factors, names) + tuple(name for part in made for name in part.expression.variables)
    return replace(
        parsed,
        right=right_text(term.terms),
        terms=term.terms,
        offsets=(),
        variables=tuple(dict.fromkeys(used)),
        cluster_terms=tuple(made),
        random=(),
        random_variables=(),
    )


def refuse_dependent(Z: Array, terms: Sequence[EffectTerm]) -> None:
    """Refuse effects of several terms that are combinations of each other, where a term may have any covariance."""
    if len(terms) == 1 or all(term.structure == "diag" or len(term.design.names) == 1 for term in terms):
        return
    scale = np.linalg.norm(Z, axis=0)
    triangle = np.linalg.qr(Z / scale, mode="r")
    if np.linalg.svd(triangle, compute_uv=False)[-1] < 1e-7:
        shown = ", ".join(f"({term.design.formula} | {term.group})" for term in terms)
        raise DesignError(
            f"random effects some of which are combinations of others: {shown}",
            "columns of different terms that are independent, or terms without correlations",
            "one term for them all, such as (f | id); or (f || id)",
        )
