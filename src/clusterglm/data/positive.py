"""The two data sets of a hurdle: which counts are 0, and the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clusterglm.data.checks import check_design, check_response
from clusterglm.data.effects import Effects
from clusterglm.data.prepare import ModelData
from clusterglm.model.response.base import Response


def zero_or_not(zero: ModelData) -> ModelData:
    """Rows with the columns of zeros, of which a zero is a success."""
    is_zero = zero.a == 0.0
    return replace(
        zero,
        a=np.where(is_zero, zero.b, 0.0),
        b=np.where(is_zero, 0.0, zero.b),
        trials=np.broadcast_to(1.0, zero.n_obs),
        constant=0.0,
        saturated=0.0,
    )


def positive_counts(data: ModelData, truncated: Response) -> ModelData:
    """The rows whose counts are not 0, and the clusters that have some.

    Parameters
    ----------
    data : ModelData
    truncated : Response
        Of these counts, without parameters of its own.

    Raises
    ------
    DesignError
        Where their columns have no unique coefficients.
    ResponseError
        Where all of them are 1.
    """
    keep = data.a > 0.0
    sizes = np.add.reduceat(keep.astype(np.int64), data.starts[:-1])
    clusters, rows = sizes > 0, np.flatnonzero(keep)
    X, a, b = np.ascontiguousarray(data.X[rows]), data.a[rows], data.b[rows]
    check_design(X, data.names, data.intercept)
    check_response(a, b, truncated, data.response_name)
    weights, trials = data.weights[rows], np.broadcast_to(1.0, len(rows))
    starts = np.concatenate([[0], np.cumsum(sizes[clusters])])
    effects = None if data.effects is None else data.effects.taken(rows, starts)
    if effects is not None:
        refuse_alike_columns(effects)
    cluster_weights = data.cluster_weights[clusters]
    constants = truncated.log_constants(np.rint(a / b), trials, weights)
    return replace(
        data,
        X=X,
        a=a,
        b=b,
        offset=data.offset[rows],
        weights=weights,
        trials=trials,
        starts=starts,
        labels=data.labels[clusters],
        cluster_weights=cluster_weights,
        row_index=data.row_index[rows],
        constant=float(np.repeat(cluster_weights, sizes[clusters]) @ constants),
        saturated=0.0,
        effects=effects,
    )


def refuse_alike_columns(effects: Effects) -> None:
    """Raise `DesignError` where columns of one term are combinations of each other in the rows that are left."""
    first = 0
    for term in effects.terms:
        last = first + len(term.design.names)
        check_design(np.ascontiguousarray(effects.Z[:, first:last]), term.design.names, term.design.intercept)
        first = last
