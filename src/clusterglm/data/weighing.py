"""How large weights are, against which thresholds are set: what is found does not depend on their unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import frexp, inf, ldexp

import numpy as np

from clusterglm.data.prepare import ModelData


@dataclass(frozen=True)
class Weighing:
    """The size of the weights of a data set, those of rows times those of clusters.

    Parameters
    ----------
    unit : float
        The log-likelihood of a row of usual weight is counted in it: the largest power of two that is not above the
        mean weight, and not above 1, which is what rows without weights have.
    spread : float
        Mean weight over the least, at least 1.
    """

    unit: float = 1.0
    spread: float = 1.0

    @property
    def root(self) -> float:
        """What a score over a standard error is counted in."""
        return float(np.sqrt(self.unit))


@dataclass(frozen=True)
class WeightSum:
    """Number, sum and least of the weights of some rows."""

    n: int
    total: float
    least: float


def weight_sum(data: ModelData) -> WeightSum:
    """Sum of the weights of rows in memory."""
    n = data.n_obs
    if n == 0 or (data.weights.strides == (0,) and np.all(data.cluster_weights == 1.0)):  # nothing as long as the data
        return WeightSum(n, float(n), 1.0 if n > 0 else inf)
    each = data.weights * np.repeat(data.cluster_weights, np.diff(data.starts))
    return WeightSum(n, float(each.sum()), float(each.min()))


def weighing(parts: Sequence[WeightSum]) -> Weighing:
    """How large weights are in all parts together, some of which may be without rows."""
    mean = sum(part.total for part in parts) / max(1, sum(part.n for part in parts))
    if not mean > 0.0:
        return Weighing()
    unit = ldexp(1.0, frexp(min(mean, 1.0))[1] - 1)
    return Weighing(unit, max(1.0, mean / min(part.least for part in parts)))
