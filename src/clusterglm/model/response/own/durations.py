"""Survival times, some of them censored on the right: T with hazard h(t) exp(eta).

A response is a time with a sign: t where the event came at t, -t where nothing is known but that it had not come by t.
A row's a is w times that, its b is w.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array, Jet, times
from clusterglm.model.response.base import BEYOND_SUMMIT, CERTAIN, Response, Words
from clusterglm.model.response.own.base import OwnParameters


@dataclass(frozen=True, eq=False, repr=False)
class Durations(OwnParameters):
    """Survival times with proportional hazards, exp(eta) times a baseline whose cumulative hazard is t^k.

    Given eta, T^k exp(eta) is exponential: log T = (log E - eta) / k.
    """

    link = "log"
    code = ""
    default = True
    ratio = ("hazard ratio", "hazard")
    durations = True
    continuous = True
    log_concave = True
    one_summit = True
    by_shifts = True
    intercepts_bias = False
    variance_curvature = 0.0
    latent_variance = np.pi**2 / 6.0
    """Of log E: that of the logarithm of a time, in units of 1 / k."""
    words = Words(
        mean="mean time",
        expectation="Mean time",
        squared_error="mean squared error",
        total="sum of times",
        totals="Sum of times in a cluster",
        low="censored",
        only_low="only censored times",
        all_low="all times censored",
        nothing="every time is censored",
        varied="an event",
        some="some events",
        separated="censored times from the others",
        events="events",
    )

    @property
    @abstractmethod
    def k(self) -> float:
        """The power of time in the cumulative hazard."""

    @property
    def reads(self) -> Response:
        return self

    @property
    def working(self) -> Array:
        return np.asarray(np.log(self.values))

    @staticmethod
    def times_of(a: Array, b: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Times of rows, and whether the event came then, shape (n,) each."""
        y = np.asarray(a) / b
        return np.abs(y), y > 0.0

    def start_level(self, a: Array, b: Array, offset: Array) -> float:
        """Events over time at risk."""
        (t, event), most = self.times_of(a, b), offset.max()
        return float(np.log((b * event).sum() / (b * t * np.exp(offset - most)).sum()) - most)

    # Rows ------------------------------------------------------------------------------------------------------------

    def rows(self, y: Array, trials: Array, weights: Array) -> tuple[Array, Array]:
        return weights * y, np.array(weights, dtype=np.float64, order="C")

    def sizes(self, a: Array, b: Array) -> Array:
        return b

    def amount(self, a: float, b: float) -> float:
        return b

    def events(self, a: float, b: float) -> float:
        return b

    def overall_mean(self, a: float, b: float, expected: float) -> float:
        return a / b

    def rises_towards(self, a: Array, b: Array) -> Array:
        return np.zeros(np.shape(a))  # what separates events is asked of kernel rows

    # Given the linear predictor --------------------------------------------------------------------------------------

    def cumulative_hazard(self, t: Array, eta: Array) -> Array:
        """t^k exp(eta)."""
        with np.errstate(divide="ignore", over="ignore"):
            return np.exp(self.k * np.log(t) + eta)

    @property
    def log_mean_factor(self) -> float:
        """Logarithm of the mean time at eta = 0, Gamma(1 + 1 / k)."""
        from scipy.special import gammaln

        return float(gammaln(1.0 + 1.0 / self.k))

    def mean(self, eta: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.exp(self.log_mean_factor - np.asarray(eta, dtype=np.float64) / self.k)

    def mean_derivative(self, eta: Array) -> Array:
        return -self.mean(eta) / self.k

    def mean_derivatives(self, eta: Array) -> tuple[Array, Array, Array, Array]:
        mean, k = self.mean(eta), self.k
        return mean, -mean / k, mean / k**2, -mean / k**3

    def link_function(self, mu: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.asarray(self.k * (self.log_mean_factor - np.log(mu)))

    def variance(self, mean: Array) -> Array:
        from scipy.special import gammaln

        return np.asarray(np.square(mean) * np.expm1(gammaln(1.0 + 2.0 / self.k) - 2.0 * self.log_mean_factor))

    def variance_inside(self, observed: Array) -> Array:
        return np.zeros_like(np.asarray(observed, dtype=np.float64))

    def span(self, a: Array, b: Array) -> tuple[float | Array, float | Array]:
        """From survival for certain to beyond the largest hazard that an event makes likely, exp(-eta) = t^k."""
        x = self.k * np.log(self.times_of(a, b)[0])
        return np.log(CERTAIN) - x, BEYOND_SUMMIT - x

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        t, event = self.times_of(a, b)
        x = eta + self.k * np.log(t)
        with np.errstate(over="ignore"):
            return times(b * event, x) - times(b, np.exp(x))

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        t, event = self.times_of(a, b)
        with np.errstate(over="ignore"):
            r = times(b, np.exp(eta + self.k * np.log(t)))
        return self.value(eta, a, b), b * event - r, -r, -r, -r

    def log_terms(self, a: Array, b: Array) -> Array:
        t, event = self.times_of(a, b)
        return np.asarray(b * event * (np.log(self.k) - np.log(t)))

    def log_constants(self, y: Array, trials: Array, weights: Array) -> Array:
        return self.log_terms(weights * y, weights)

    def saturated(self, a: Array, b: Array) -> Array:
        _, event = self.times_of(a, b)
        return np.where(event, -np.asarray(b), 0.0)

    def magnitude(self, a: Array, b: Array) -> Array:
        t, event = self.times_of(a, b)
        return np.asarray(b * (1.0 + event * (self.k + 1.0) * (1.0 + np.abs(np.log(t)))))

    def before(self, y: Array) -> Array:
        return np.abs(y)

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        """Of a censored response, whose time may be anything beyond, P(T <= y) is 1."""
        hazard = self.cumulative_hazard(np.maximum(y, 0.0), eta)
        censored = np.asarray(y) < 0.0
        return np.where(censored, 1.0, -np.expm1(-hazard)), np.where(censored, 0.0, np.exp(-hazard))

    def draw(self, rng: np.random.Generator, eta: Array, trials: Array | None = None) -> Array:
        """Times at linear predictors, none of them censored."""
        with np.errstate(over="ignore"):
            drawn = np.exp((np.log(rng.standard_exponential(np.shape(eta))) - eta) / self.k)
        return np.clip(drawn, np.finfo(float).tiny, 1e300)

    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        return self.draw(rng, self.link_function(mu))
