"""Survival times with hazard k t^(k - 1) exp(eta): proportional hazards, and accelerated failure times too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from clusterglm.model.arrays import Array
from clusterglm.model.response.own.base import Coordinates, KernelRows, Terms
from clusterglm.model.response.own.durations import Durations
from clusterglm.model.response.poisson_log import PoissonLog

_LEAST_POWER, _MOST_POWER = 0.1, 50.0  # shapes worth starting from


@dataclass(frozen=True, eq=False, repr=False)
class Weibull(Durations):
    """Weibull times of shape k, with events and censored times as Poisson rows.

    The density of an event, k t^(k - 1) exp(eta - t^k exp(eta)), and the survival of a censored time,
    exp(-t^k exp(eta)), are those of a count of 1 or 0 at eta + k log(t), but for k / t of an event: k is the
    coefficient of the column log(t). The working value is log(k).
    """

    family = "weibull"
    own = ("shape",)
    meaning = "hazard shape t^(shape - 1) exp(predictor): a shape above 1 means that it rises with time"
    highest = float(np.log(1e5))

    @property
    def k(self) -> float:
        (k,) = self.values
        return k

    def at(self, psi: Array) -> Self:
        return type(self)((float(np.exp(psi[0])),))

    def slopes(self, psi: Array) -> Array:
        return np.asarray(np.exp(psi))

    def start(self, mean: Array, a: Array, b: Array) -> Array:
        """From the spread of the logarithms of event times."""
        t, event = self.times_of(a, b)
        x, w = np.log(t[event]), np.asarray(b)[event]
        sd = np.sqrt(np.average(np.square(x - np.average(x, weights=w)), weights=w))
        shape = np.sqrt(self.latent_variance) / max(float(sd), 1e-12)
        return np.asarray(np.log(np.clip([shape], _LEAST_POWER, _MOST_POWER)))

    def start_level(self, a: Array, b: Array, offset: Array) -> float:
        """That of times which have the power of `start`."""
        t, event = self.times_of(a, b)
        x = np.exp(self.start(np.zeros(0), a, b)[0]) * np.log(t) + offset
        return float(np.log((b * event).sum()) - x.max() - np.log((b * np.exp(x - x.max())).sum()))

    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        t, event = self.times_of(a, b)
        b = np.array(b, dtype=np.float64)
        column = np.log(t)
        shift = self.k * column if self.values else np.zeros(len(t))
        return KernelRows(PoissonLog(), b * event, b, shift, columns=column[:, None])

    def coordinates(self, psi: Array) -> Coordinates:
        k = np.exp(psi)
        return Coordinates(k, k[:, None], k[:, None, None])

    def terms(self, psi: Array, a: Array, b: Array, weights: Array | None = None) -> Terms:
        _, event = self.times_of(a, b)
        value = float(np.sum(self.at(psi).log_terms(a, b)))
        return Terms(value, np.asarray(b * event)[:, None], np.zeros((1, 1)))
