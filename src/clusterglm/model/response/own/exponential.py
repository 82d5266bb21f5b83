"""Survival times with a constant hazard exp(eta)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from clusterglm.model.arrays import Array
from clusterglm.model.response.own.base import KernelRows, Terms
from clusterglm.model.response.own.durations import Durations
from clusterglm.model.response.poisson_log import PoissonLog


@dataclass(frozen=True, eq=False, repr=False)
class Exponential(Durations):
    """Weibull times of shape 1: an event, or none, is a Poisson count with the time at risk as its exposure."""

    family = "exponential"
    own = ()
    meaning = "hazard exp(predictor), the same at all times"

    @property
    def k(self) -> float:
        return 1.0

    @property
    def working(self) -> Array:
        return np.zeros(0)

    def at(self, psi: Array) -> Self:
        return self

    def slopes(self, psi: Array) -> Array:
        return np.zeros(0)

    def start(self, mean: Array, a: Array, b: Array) -> Array:
        return np.zeros(0)

    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        t, event = self.times_of(a, b)
        b = np.array(b, dtype=np.float64)
        return KernelRows(PoissonLog(), b * event, b, np.log(t))

    def terms(self, psi: Array, a: Array, b: Array, weights: Array | None = None) -> Terms:
        return Terms(float(np.sum(self.log_terms(a, b))), np.zeros((len(a), 0)), np.zeros((0, 0)))
