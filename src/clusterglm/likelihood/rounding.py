"""What rounding may do to a log-likelihood: a bound from the size of the terms that it is summed of.

A row of many trials, or of a large count, has a log-probability of moderate size that is the sum of much larger terms:
a log p, b log q, and the logs of factorials. Each is rounded to some 2^-53 of itself; what is left of that in the sum
no quadrature rule can better.
"""

from __future__ import annotations

import numpy as np

from clusterglm.likelihood.evaluation import ClusterArrays
from clusterglm.model.response.base import Response

_ULPS = 4.0  # of a term: in an elementary function and a few sums
_RUN = 1024  # rows whose sum the core makes by itself (nodes.hpp)
_EPS = float(np.finfo(np.float64).eps)


def rounding_square(data: ClusterArrays, response: Response) -> float:
    """Square of a bound of the rounding error of the log-likelihood of some clusters, constants included.

    Squares of clusters that are fitted together add up: roundings of different rows are independent.

    Parameters
    ----------
    data : ClusterArrays
    response : Response
    """
    total = _of_rows(data, response)
    sizes = np.diff(data.starts)
    long = sizes > _RUN  # sums of so many rows are added to large sums, each time with a rounding of these
    added = float(np.square(0.5 / _RUN * data.cluster_weights[long] * np.square(sizes[long].astype(np.float64))).sum())
    return _EPS**2 * (_ULPS**2 * total + added)


def _of_rows(data: ClusterArrays, response: Response) -> float:
    """Sum of the squares of the rows' sizes times weights; a log-probability of a single trial is of size 1."""
    a, b, weights = data.a, data.b, data.cluster_weights
    if max(a.max(initial=0.0), b.max(initial=0.0), weights.max(initial=1.0)) <= 1.0 <= weights.min(initial=1.0):
        return float(len(a))
    trials, of_rows = a + b, np.repeat(weights, np.diff(data.starts))
    large = np.flatnonzero(trials > 2.0)
    total = float(np.square(of_rows * np.minimum(trials, 2.0)).sum())
    return total + float(np.square(of_rows[large] * response.magnitude(a[large], b[large])).sum())
