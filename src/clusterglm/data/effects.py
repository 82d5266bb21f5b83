"""Columns whose coefficients vary over clusters: the rows z of random terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.checks import check_design
from clusterglm.data.design import Design, make_design
from clusterglm.data.formulas.check import variables_of
from clusterglm.data.formulas.formula import ParsedFormula, right_text
from clusterglm.data.formulas.random import RandomTerm
from clusterglm.data.tables.columns import model_columns
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
class Effects:
    """The random part of a model with more than an intercept.

    Parameters
    ----------
    Z : ndarray, shape (n, q)
        Columns of all terms, one term after another; rows as in the data.
    terms : tuple of EffectTerm
    """

    Z: Array
    terms: tuple[EffectTerm, ...]

    @property
    def covariance(self) -> Covariance:
        """How the effects covary, which has the parameters."""
        return Covariance(tuple(CovarianceTerm(term.group, term.design.names, term.structure) for term in self.terms))

    def rows(self, table: nw.DataFrame[Any]) -> Array:
        """Z of new data, shape (rows, q); see `Design.build`."""
        return np.hstack([term.design.build(table) for term in self.terms])

    def sorted(self, order: NDArray[np.int64]) -> Effects:
        """These effects with rows in another order."""
        return replace(self, Z=np.take(self.Z, order, axis=0))


def make_effects(
    parsed: ParsedFormula,
    table: nw.DataFrame[Any],
    chosen: NDArray[np.int64] | None,
    arrays: Mapping[str, NDArray[Any] | None],
    design: Design,
    times: NDArray[np.int64] | None,
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
    for term in parsed.random:
        alone = _alone(parsed, term)
        made, matrix = make_design(
            alone, columns, n, None, cluster_means=design.cluster_means, memory=design.memory, times=times
        )
        check_design(matrix.X, made.names, made.intercept, matrix.ranges)
        found.append(EffectTerm(term.factor, term.structure, made))
        parts.append(matrix.X)
    Z = np.ascontiguousarray(np.hstack(parts))
    _refuse_dependent(Z, found)
    return Effects(Z, tuple(found))


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


def _refuse_dependent(Z: Array, terms: list[EffectTerm]) -> None:
    """Effects of several terms that are combinations of each other, where a term may have any covariance."""
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
