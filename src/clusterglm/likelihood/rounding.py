"""What rounding may do to a log-likelihood: a bound from the size of the terms that it is summed of.

A row of many trials, or of a large count, has a log-probability of moderate size that is the sum of much larger terms:
a log p, b log q, and the logs of factorials. Each is rounded to some 2^-53 of itself; what is left of that in the sum
no quadrature rule can better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clusterglm.likelihood.evaluation import ClusterArrays
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_ULPS = 4.0  # of a term: in an elementary function and a few sums
_RUN = 1024  # rows whose sum the core makes by itself (nodes.hpp)
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Rounding:
    """What rounding may do to the log-likelihood of some clusters, constants included.

    Parameters
    ----------
    alike : float
        Bound of what it does to rows of single trials: where these are alike so are their errors, which add up.
    square : float
        Square of a bound of what it does to the others, whose errors are independent.
    """

    alike: float
    square: float


def rounding_of(data: ClusterArrays, response: Response) -> Rounding:
    """What rounding may do to the log-likelihood of a block's clusters."""
    alike, square = _of_rows(data, response)
    sizes = np.diff(data.starts)
    long = sizes > _RUN  # sums of so many rows are added to large sums, each time with a rounding of these
    added = float(np.square(0.5 / _RUN * data.cluster_weights[long] * np.square(sizes[long].astype(np.float64))).sum())
    return Rounding(_EPS * _ULPS * alike, _EPS**2 * (_ULPS**2 * square + added))


def bound_of_rounding(parts: Sequence[Rounding]) -> float:
    """Bound of the rounding error of the log-likelihood of all clusters."""
    return float(sum(part.alike for part in parts) + np.sqrt(sum(part.square for part in parts)))


def _of_rows(data: ClusterArrays, response: Response) -> tuple[float, float]:
    """Sizes times weights of single trials, whose log-probabilities are of size 1, summed; squares of other rows'."""
    a, b, weights = data.a, data.b, data.cluster_weights
    if max(a.max(initial=0.0), b.max(initial=0.0), weights.max(initial=1.0)) <= 1.0 <= weights.min(initial=1.0):
        return float(len(a)), 0.0
    trials, of_rows = a + b, np.repeat(weights, np.diff(data.starts))
    large = np.flatnonzero(trials > 2.0)
    alike = float((of_rows * np.minimum(trials, 2.0)).sum())
    return alike, float(np.square(of_rows[large] * _magnitudes(response, a[large], b[large])).sum())


def _magnitudes(response: Response, a: Array, b: Array) -> Array:
    """`Response.magnitude`, once for each of a few numbers where rows have one b, as those without weights do."""
    if len(a) == 0 or (b != b[0]).any() or (a != np.rint(a)).any() or a.min() < 0.0 or a.max() >= len(a):
        return response.magnitude(a, b)
    counts = np.arange(a.max() + 1.0)
    return np.asarray(response.magnitude(counts, np.full(len(counts), b[0]))[a.astype(np.int64)])
