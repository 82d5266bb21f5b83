"""Model data from arrays that are in order already: no table, no formula, no missing values. For simulation studies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.constants import totals
from clusterglm.data.design import INTERCEPT, Design
from clusterglm.data.effects import Effects, EffectTerm
from clusterglm.data.formulas.coding import Coding
from clusterglm.data.groupings import Levels
from clusterglm.data.prepare import ModelData
from clusterglm.data.response import ResponseValues, to_kernel
from clusterglm.errors import DataError
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response


def from_arrays(
    y: Array,
    X: Array,
    sizes: int | NDArray[np.int64],
    response: Response,
    *,
    names: tuple[str, ...] | None = None,
    trials: Array | None = None,
) -> ModelData:
    """What `prepare` makes of a table, from arrays sorted by cluster.

    Parameters
    ----------
    y : ndarray, shape (n,)
        Binomial: successes (0 and 1 without `trials`); Poisson: counts.
    X : ndarray, shape (n, p)
        Design matrix. A column of ones is the intercept: random intercepts and pooled models want one, fixed effects
        and conditional likelihoods none.
    sizes : int or ndarray of int64, shape (m,)
        Rows of each cluster.
    response : Response
    names : tuple of str, optional
        Columns of X; by default x0, x1, ...
    trials : ndarray, shape (n,), optional

    Raises
    ------
    DataError
        When lengths do not agree. Values are not looked at: the caller made them.
    """
    n, p = X.shape
    counts = np.full(n // sizes, sizes, dtype=np.int64) if isinstance(sizes, int) else np.asarray(sizes, np.int64)
    if len(y) != n or int(counts.sum()) != n or np.any(counts < 1):
        raise DataError(
            f"{len(y)} responses, {n} rows of X and clusters of {int(counts.sum())} rows in all",
            "as many responses as rows, each of them in one cluster",
            "sizes=5 for clusters of five rows; or an array with the rows of each cluster",
        )
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    ones, m = np.ones(n), len(counts)
    each_once = ones if trials is None else np.asarray(trials, dtype=np.float64)
    values = ResponseValues(np.asarray(y, dtype=np.float64), each_once, None)
    a, b = to_kernel(values, ones, response)
    constant, saturated = totals(values, ones, np.ones(m), starts, a, b, response)
    constant_columns = np.flatnonzero((X == 1.0).all(axis=0))
    intercept = int(constant_columns[0]) if len(constant_columns) > 0 else None
    columns = names or tuple(f"x{j}" for j in range(p))
    return ModelData(
        X=np.ascontiguousarray(X, dtype=np.float64),
        names=columns,
        intercept=intercept,
        a=np.ascontiguousarray(a),
        b=np.ascontiguousarray(b),
        offset=np.zeros(n),
        weights=ones,
        trials=each_once,
        starts=starts,
        labels=np.arange(m),
        cluster_weights=np.ones(m),
        row_index=np.arange(n),
        constant=constant,
        saturated=saturated,
        dropped=(),
        design=Design("", columns, intercept, (), Coding((), ()), {}, (), None),
        response_name="y",
        cluster_name="cluster",
        formula="",
        notes=(),
    )


def with_intercepts(data: ModelData) -> ModelData:
    """The same data with an intercept of each cluster as linear mixed models take it: as one of any random effects."""
    name = str(data.cluster_name)
    design = Design("1", (INTERCEPT,), 0, (), Coding((), ()), {}, (), None)
    codes = np.repeat(np.arange(data.n_clusters), np.diff(data.starts))
    levels = Levels(name, codes, data.labels, True)
    term = EffectTerm(name, "us", design)
    return replace(data, effects=Effects(np.ones((data.n_obs, 1)), (term,), groupings=(levels,)))
