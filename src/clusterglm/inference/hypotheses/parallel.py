"""Score test of proportional odds: whether a covariate's effect is the same at all thresholds.

Under the alternative the slope at threshold c is beta + delta_c, with delta = 0 at the first. The log-likelihood of
the wider model is that of kernel rows with a column for each delta, and terms of the distances of thresholds, which
then differ between observations; its score and observed information at delta = 0 need no other fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import chdtrc

from clusterglm.data.prepare import ModelData
from clusterglm.fit.own_rows import kernel_data
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.printing import printed
from clusterglm.model.response.own.cumulative import Cumulative


@printed
@dataclass(frozen=True)
class ParallelTest:
    """Score tests that the effects of covariates do not depend on the threshold.

    Parameters
    ----------
    terms : tuple of str
        "all", and each term of the formula.
    statistic : ndarray, shape (t,)
        nan where the information of the wider model is not positive definite.
    df : ndarray of int64, shape (t,)
    pvalue : ndarray, shape (t,)
        By chi-square.
    """

    terms: tuple[str, ...]
    statistic: Array
    df: NDArray[np.int64]
    pvalue: Array

    def __str__(self) -> str:
        lines = ["score tests of effects that are the same at all thresholds"]
        width = max(map(len, self.terms))
        for term, statistic, df, p in zip(self.terms, self.statistic, self.df, self.pvalue, strict=True):
            lines.append(f"{term:{width}}  chi2 {statistic:8.3f} on {int(df)} df, p = {p:.4g}")
        return "\n".join(lines)


def parallel_test(
    data: ModelData,
    response: Cumulative,
    beta: Array,
    evaluate: Callable[[ModelData, Array], Evaluation],
    terms: Mapping[str, Sequence[int]],
) -> ParallelTest:
    """Test each term's columns, and all of them together.

    Parameters
    ----------
    data : ModelData
    response : Cumulative
        With the logit, at the estimates.
    beta : ndarray, shape (p,)
    evaluate : callable
        Data of kernel rows and coefficients of their columns -> the log-likelihood in (coefficients, others).
    terms : mapping of str to sequence of int
        Columns of each term.
    """
    k, p = len(response.values), len(beta)
    rows = response.kernel_rows(data.a, data.b)
    assert rows.columns is not None
    of = np.arange(data.n_obs) if rows.of is None else rows.of
    sd = data.X.std(axis=0)
    Z = (data.X - data.X.mean(axis=0)) / np.where(sd > 0.0, sd, 1.0)
    # columns of delta, threshold by threshold from the second on; rows lie at eta - kappa + z delta
    deltas = [-rows.columns[:, [c]] * Z[of] for c in range(1, k)]
    moved = kernel_data(data, rows)
    X = np.ascontiguousarray(np.hstack([moved.X, rows.columns, *deltas]))
    wider = replace(moved, X=X, offset=moved.offset - rows.shift)
    found = evaluate(wider, np.concatenate([beta, response.thresholds, np.zeros((k - 1) * p)]))
    score, hessian = found.score.copy(), found.hessian.copy()
    _add_terms(score, hessian, data, response, Z)
    first = p + k
    own = {name: [first + c * p + j for c in range(k - 1) for j in columns] for name, columns in terms.items()}
    chosen = {"all": [place for places in own.values() for place in places], **own}
    base = [place for place in range(len(score)) if not first <= place < first + (k - 1) * p]
    statistics = np.array([_statistic(score, hessian, base, places) for places in chosen.values()])
    df = np.array([len(places) for places in chosen.values()], dtype=np.int64)
    return ParallelTest(tuple(chosen), statistics, df, np.asarray(chdtrc(df, statistics)))


def _add_terms(score: Array, hessian: Array, data: ModelData, response: Cumulative, Z: Array) -> None:
    """Derivatives of the terms log(1 - exp(-distance)) of inner categories, in the thresholds and delta, added."""
    k, p = len(response.values), Z.shape[1]
    y = response.categories(data.a, data.b)
    weights = data.b * np.repeat(data.cluster_weights, np.diff(data.starts))
    before = data.X.shape[1]
    own = slice(before, before + k + (k - 1) * p)
    for c, gap in enumerate(np.diff(response.thresholds)):
        inside = y == c + 1
        z, w, slope = Z[inside], weights[inside], 1.0 / np.expm1(gap)
        moves = np.zeros((len(z), k + (k - 1) * p))  # of the distance; effective thresholds are kappa - z delta
        moves[:, c], moves[:, c + 1] = -1.0, 1.0
        moves[:, k + c * p : k + (c + 1) * p] = -z
        if c > 0:
            moves[:, k + (c - 1) * p : k + c * p] = z
        score[own] += slope * (w @ moves)
        hessian[own, own] -= slope * (1.0 + slope) * (moves.T @ (w[:, None] * moves))


def _statistic(score: Array, hessian: Array, base: list[int], places: list[int]) -> float:
    """The score in some more parameters, in the metric of the information that those of the model leave."""
    both = [*base, *places]
    try:
        information = cho_factor(-hessian[np.ix_(both, both)])
    except LinAlgError:
        return float("nan")
    return float(score[both] @ cho_solve(information, score[both]))
