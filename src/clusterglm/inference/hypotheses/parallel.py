"""Tests of proportional odds: whether a covariate's effect is the same at all thresholds.

Under the alternative the slope at threshold c is beta + delta_c, with delta = 0 at the first. The log-likelihood of
the wider model is that of kernel rows with a column for each delta, and terms of the distances of thresholds, which
then differ between observations. It is the model of `nonparallel=`, with other names for its coefficients: a likelihood
needs the thresholds of every row in their order, at whatever categories. The score test needs its score and observed
information at delta = 0 alone, where they are; the likelihood-ratio test its maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import chdtrc

from clusterglm.data.prepare import ModelData
from clusterglm.data.weighing import weighing, weight_sum
from clusterglm.fit.newton import maximize
from clusterglm.fit.own_rows import kernel_data
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.printing import printed
from clusterglm.model.response.own.cumulative import Cumulative

METHODS = ("score", "lr")
_AT_EDGE = 1e-3  # distance of thresholds that is next to none
_IN_WORDS = {"score": "score", "lr": "likelihood-ratio"}

At = Callable[[Array], Evaluation]
"""A log-likelihood of kernel rows in (coefficients of their columns, others that are free)."""


@printed
@dataclass(frozen=True)
class ParallelTest:
    """Tests that the effects of covariates do not depend on the threshold.

    Parameters
    ----------
    terms : tuple of str
        "all", and each term of the formula.
    statistic : ndarray, shape (t,)
        nan where the information of the wider model is not positive definite, or its maximum was not found.
    df : ndarray of int64, shape (t,)
    pvalue : ndarray, shape (t,)
        By chi-square.
    method : {"score", "lr"}
    notes : tuple of str
        What is to be said of single terms.
    """

    terms: tuple[str, ...]
    statistic: Array
    df: NDArray[np.int64]
    pvalue: Array
    method: str = "score"
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{_IN_WORDS[self.method]} tests of effects that are the same at all thresholds"]
        width = max(map(len, self.terms))
        for term, statistic, df, p in zip(self.terms, self.statistic, self.df, self.pvalue, strict=True):
            lines.append(f"{term:{width}}  chi2 {statistic:8.3f} on {int(df)} df, p = {p:.4g}")
        lines += self.notes
        if np.isnan(self.statistic).sum() > len(self.notes):
            lines.append(
                "nan: the likelihood of the wider model has no maximum that was found, as where categories "
                "of some rows are certain"
                if self.method == "lr"
                else 'nan: the wider model\'s information is not positive definite here; method="lr" fits it'
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Wider:
    """The log-likelihood of kernel rows with more columns.

    Parameters
    ----------
    at : callable
        By the rules of the fit.
    others : ndarray, shape (r,)
        Estimates of what is free beside coefficients.
    laid_at : callable, optional
        Parameters -> the same by rules chosen there; None where rules stay.
    """

    at: At
    others: Array
    laid_at: Callable[[Array], At] | None = None


def parallel_test(
    data: ModelData,
    response: Cumulative,
    beta: Array,
    wider: Callable[[ModelData, Array], Wider],
    terms: Mapping[str, Sequence[int]],
    method: str = "score",
) -> ParallelTest:
    """Test each term's columns, and all of them together.

    Parameters
    ----------
    data : ModelData
    response : Cumulative
        With the logit, at the estimates.
    beta : ndarray, shape (p,)
    wider : callable
        Data of kernel rows, and the coefficients of their columns at the estimates -> the log-likelihood.
    terms : mapping of str to sequence of int
        Columns of each term.
    method : {"score", "lr"}
    """
    k, m, p = response.n_thresholds, len(response.own), len(beta)
    rows = response.kernel_rows(data.a, data.b)
    assert rows.columns is not None
    of = np.arange(data.n_obs) if rows.of is None else rows.of
    centre, sd = data.X.mean(axis=0), data.X.std(axis=0)
    sd = np.where(sd > 0.0, sd, 1.0)
    Z = (data.X - centre) / sd
    # columns of delta, threshold by threshold from the second on; rows lie at eta - kappa + z delta
    deltas = [-rows.columns[:, [c]] * Z[of] for c in range(1, k)]
    moved = kernel_data(data, rows)
    X = np.ascontiguousarray(np.hstack([moved.X, rows.columns, *deltas]))
    more = replace(moved, X=X, offset=moved.offset - rows.shift)
    start = np.concatenate([beta, response.working, np.zeros((k - 1) * p)])
    core = wider(more, start)
    theta = np.append(start, core.others)
    first = p + m
    own = {name: [first + c * p + j for c in range(k - 1) for j in columns] for name, columns in terms.items()}
    chosen = {"all": [place for places in own.values() for place in places], **own}
    base = [place for place in range(len(theta)) if not first <= place < len(start)]

    rows_of, inside = _Distances.of(data, response, Z), slice(p, len(start))  # thresholds, and what moves them

    def whole(at: At) -> At:
        def evaluate(theta: Array) -> Evaluation:
            if (rows_of.gaps(theta[inside]) <= 0.0).any():
                return Evaluation(-np.inf, np.zeros(len(theta)), np.zeros((len(theta),) * 2))
            return _with_terms(at(theta), theta, data, response, Z)

        return evaluate

    notes = list[str]()
    if method == "score":
        found = whole(core.at)(theta)
        statistics = np.array([_score_statistic(found, base, places) for places in chosen.values()])
    else:
        scale = np.eye(len(theta))  # to the user's coefficients and thresholds from those of the columns of Z
        scale[:p, :p] /= sd
        scale[p : p + k, :p] = centre / sd
        unit = weighing([weight_sum(data)]).unit
        rest = None if core.laid_at is None else lambda at: whole(core.laid_at(at))  # type: ignore[misc]
        asked = whole(core.at), rest, theta, scale, unit
        found_at = {name: _ratio(*asked, [*base, *places]) for name, places in chosen.items()}
        statistics = np.array([statistic for statistic, _ in found_at.values()])
        ends = {name: at for name, (statistic, at) in found_at.items() if np.isnan(statistic)}
        for name, at in ends.items():
            edge = int(rows_of.rows[(rows_of.gaps(at[inside]) <= _AT_EDGE).any(axis=1)].sum())
            if edge:
                notes.append(
                    f"{name}: nan, as the log-likelihood of the wider model rises up to where thresholds of {edge} of "
                    f"{data.n_obs} rows cross, and has no maximum"
                )
    df = np.array([len(places) for places in chosen.values()], dtype=np.int64)
    return ParallelTest(tuple(chosen), statistics, df, np.asarray(chdtrc(df, statistics)), method, tuple(notes))


@dataclass(frozen=True)
class _Distances:
    """Distances of neighbouring thresholds, of each of the g different rows of covariates.

    Parameters
    ----------
    moves : ndarray, shape (g, k - 1, m)
        Derivatives in the response's parameters and delta.
    rows : ndarray of int64, shape (g,)
        Rows that have these covariates.
    """

    moves: Array
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, data: ModelData, response: Cumulative, Z: Array) -> _Distances:
        k, N = response.n_thresholds, response.covariates(data.a, data.b)
        _, first, rows = np.unique(np.hstack([N, Z]), axis=0, return_index=True, return_counts=True)
        own = response.by_covariates(N[first])
        thresholds = np.broadcast_to(own, (len(first), *own.shape[-2:]))
        deltas = [np.eye(k)[:, [c]] * -Z[first][:, None, :] for c in range(1, k)]
        return cls(np.diff(np.concatenate([thresholds, *deltas], axis=2), axis=1), rows)

    def gaps(self, at: Array) -> Array:
        """Shape (g, k - 1)."""
        return self.moves @ at


def _with_terms(core: Evaluation, theta: Array, data: ModelData, response: Cumulative, Z: Array) -> Evaluation:
    """A log-likelihood of kernel rows and the terms log(1 - exp(-distance)) of inner categories.

    Distances are those of the effective thresholds, kappa_c - z delta_c, which are in order.
    """
    k, p = response.n_thresholds, Z.shape[1]
    inner, moves = response.distances(data.a, data.b)
    before, weights = data.X.shape[1], data.b * np.repeat(data.cluster_weights, np.diff(data.starts))
    own = slice(before, before + moves.shape[1] + (k - 1) * p)
    moves = np.hstack([moves, *(-moves[:, [c]] * Z[inner] for c in range(1, k))])
    gap, w = moves @ theta[own], weights[inner]
    slope = 1.0 / np.expm1(gap)
    score, hessian = core.score.copy(), core.hessian.copy()
    score[own] += (w * slope) @ moves
    hessian[own, own] -= moves.T @ ((w * slope * (1.0 + slope))[:, None] * moves)
    return Evaluation(core.value + float(w @ np.log(-np.expm1(-gap))), score, hessian)


def _score_statistic(found: Evaluation, base: list[int], places: list[int]) -> float:
    """The score in some more parameters, in the metric of the information that those of the model leave."""
    both = [*base, *places]
    try:
        information = cho_factor(-found.hessian[np.ix_(both, both)])
    except LinAlgError:
        return float("nan")
    return float(found.score[both] @ cho_solve(information, found.score[both]))


def _ratio(
    evaluate: At, laid_at: Callable[[Array], At] | None, theta: Array, scale: Array, unit: float, free: list[int]
) -> tuple[float, Array]:
    """Twice what the log-likelihood rises by when some more parameters are free, and where; nan without a maximum."""

    def of_free(whole: At) -> At:
        def at(u: Array) -> Evaluation:
            found = whole(filled(u))
            moves = scale[:, free]
            return Evaluation(found.value, moves.T @ found.score, moves.T @ found.hessian @ moves)

        return at

    def filled(u: Array) -> Array:
        inside = np.zeros(len(theta))
        inside[free] = u
        return np.asarray(scale @ inside)

    begin = np.asarray(np.linalg.solve(scale, theta)[free], dtype=np.float64)
    found = maximize(of_free(evaluate), begin, Control(), radius=4.0, unit=unit)
    if laid_at is not None and found.optimization.converged:
        found = maximize(of_free(laid_at(filled(found.theta))), found.theta, Control(), radius=4.0, unit=unit)
    at_end = filled(found.theta)
    if not found.optimization.converged:
        return float("nan"), at_end
    return max(0.0, 2.0 * (found.evaluation.value - evaluate(theta).value)), at_end
