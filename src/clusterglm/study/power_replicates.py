"""One data set of a power simulation: drawn, fitted, tested."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import chdtrc, fdtrc

from clusterglm.data.prepare import ModelData
from clusterglm.errors import ClusterGLMError, ResponseError
from clusterglm.inference.diagnostics.dispersion import with_responses
from clusterglm.inference.hypotheses.power import contained_dof
from clusterglm.inference.hypotheses.wald import Constraints
from clusterglm.inference.uncertainty.replicates import ReplicateError
from clusterglm.model.arrays import Array
from clusterglm.study.design import Cell, Row, reason
from clusterglm.study.power_sources import Draw, Source

METHODS = ("wald", "t", "lr")
_NULL = 1e-12  # of a combination of coefficients: what counts as 0


@dataclass(frozen=True)
class Hypothesis:
    """What is tested.

    Parameters
    ----------
    name : str
        As it was asked.
    constraints : Constraints
    columns : tuple of int
        Whose coefficients are 0 under the hypothesis; empty where it says something else.
    """

    name: str
    constraints: Constraints
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Replicate:
    """Draws, fits and tests; a replicate of a `Study`.

    Parameters
    ----------
    source : Source
    hypotheses : tuple of Hypothesis
    method : {"wald", "t", "lr"}
    cov : str
        Covariance of Wald tests.
    varied : tuple of int
        Coefficients that the cell's `effect` replaces, or its `multiple` multiplies.
    """

    source: Source
    hypotheses: tuple[Hypothesis, ...]
    method: str
    cov: str
    varied: tuple[int, ...]
    _kept: dict[Any, tuple[ModelData, Draw]] = field(default_factory=dict, repr=False, compare=False)
    _counted: dict[str, tuple[Array, Array]] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}, "_counted": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __call__(self, cell: Cell, rng: np.random.Generator) -> list[Row]:
        """The rows of one data set: a p-value for each hypothesis, or why there is none."""
        beta = self.coefficients(cell)
        found: list[Row] = []
        try:
            rows, draw = self._rows(cell, beta, rng)
            fit = fitted(self.source.fit, with_responses(rows, draw(rng), self.source.fit.response))
        except Exception as problem:  # as of any study: it is kept and counted
            return [self._row(each, beta) | {"failure": _reason(problem)} for each in self.hypotheses]
        for each in self.hypotheses:
            row = self._row(each, beta)
            R, r = each.constraints.R, each.constraints.r
            if len(r) == 1:
                row["estimate"] = float((R @ fit._beta - r)[0])
            try:
                row["pvalue"] = self._pvalue(fit, each)
            except Exception as problem:
                row["failure"] = _reason(problem)
            found.append(row)
        return found

    def coefficients(self, cell: Cell) -> Array:
        """Those of a cell, shape (p,)."""
        beta = np.array(self.source.beta)
        where = list(self.varied)
        if "effect" in cell:
            beta[where] = float(cell["effect"])
        if "multiple" in cell:
            beta[where] *= float(cell["multiple"])
        return beta

    def _row(self, hypothesis: Hypothesis, beta: Array) -> Row:
        R, r = hypothesis.constraints.R, hypothesis.constraints.r
        null = bool(np.abs(R @ beta - r).max() <= _NULL * max(1.0, float(np.abs(beta).max(initial=0.0))))
        return {"test": hypothesis.name, "null": null, "pvalue": None, "estimate": None, "failure": None}

    def _rows(self, cell: Cell, beta: Array, rng: np.random.Generator) -> tuple[ModelData, Draw]:
        """Rows and what draws their responses, kept where all data sets of a cell have the same rows."""
        clusters, size = (int(cell[name]) if name in cell else None for name in ("clusters", "size"))
        if not self.source.same(clusters, size):
            rows = self.source.rows(clusters, size, rng)
            return rows, self.source.drawing(rows, beta)
        key = tuple(sorted(cell.items()))
        if key not in self._kept:
            rows = self.source.rows(clusters, size, np.random.default_rng(0))
            self._kept[key] = rows, self.source.drawing(rows, beta)
        return self._kept[key]

    def _dof(self, rows: ModelData) -> Array:
        """Degrees of freedom, counted once for all data sets that have the same rows."""
        known = self._counted.get("dof")
        if known is None or known[0] is not rows.X:
            known = self._counted["dof"] = rows.X, contained_dof(rows)
        return known[1]

    def _pvalue(self, fit: Any, hypothesis: Hypothesis) -> float:
        if self.method == "lr":
            smaller = fitted(fit, without_columns(fit.data.rows, hypothesis.columns))
            statistic = max(0.0, 2.0 * (fit.loglik - smaller.loglik))
            return float(chdtrc(len(hypothesis.columns), statistic))
        test = fit._test(hypothesis.constraints, self.cov)
        if not np.isfinite(test.statistic):
            raise ReplicateError("a coefficient without a standard error")
        if self.method == "t":
            used = (hypothesis.constraints.R != 0.0).any(axis=0)
            dof = float(self._dof(fit.data.rows)[used].min())
            return float(fdtrc(test.df, dof, test.statistic / test.df))
        return float(test.pvalue)


def fitted(fit: Any, rows: ModelData) -> Any:
    """The model of a fit, fitted to other rows.

    Raises
    ------
    ReplicateError
        When the maximum is not found.
    ClusterGLMError
        When there is none.
    """
    empty = getattr(getattr(fit, "_family", None), "empty", None)
    lost = () if empty is None else empty(rows.a, rows.b)
    if lost:
        raise ResponseError(f"no response in the category {lost[0]!r}", "responses in each", "more of them")
    again = fit._fitted_to(rows)
    if not again.optimization.converged:
        raise ReplicateError(f"no convergence: {again.optimization.message}")
    return again


def without_columns(data: ModelData, columns: tuple[int, ...]) -> ModelData:
    """The data without some columns."""
    design = data.design.without(list(columns))
    kept = [j for j in range(len(data.names)) if j not in columns]
    return replace(
        data,
        X=np.ascontiguousarray(data.X[:, kept]),
        names=tuple(data.names[j] for j in kept),
        intercept=design.intercept,
        design=design,
    )


def _reason(problem: Exception) -> str:
    if isinstance(problem, ReplicateError):
        return str(problem).split("\n")[0]
    return problem.got.split("\n")[0] if isinstance(problem, ClusterGLMError) else reason(problem)
