"""Normal responses, identity link: mean eta, and one standard deviation of what is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from scipy.special import log_ndtr, ndtr

from clusterglm.model.arrays import Array, Jet
from clusterglm.model.response.base import Response, ScoreTerms, Words

_LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True, eq=False)
class GaussianIdentity(Response):
    """Normal responses with some residual standard deviation.

    Parameters
    ----------
    sd : float
        Of a response about its mean.
    """

    sd: float = 1.0

    family = "gaussian"
    link = "identity"
    code = ""
    default = True
    continuous = True
    additive = False
    intercepts_bias = False
    variance_curvature = 0.0
    no_ratio = "; this one is a difference of means"
    words = Words(
        mean="mean response",
        expectation="Mean",
        squared_error="mean squared error",
        total="sum of responses",
        totals="Sum of responses of a cluster",
        low="",
        only_low="",
        all_low="",
        nothing="",
        varied="responses that differ",
        some="responses that differ",
        separated="responses",
        events="responses",
    )

    @property
    def latent_variance(self) -> float | None:  # type: ignore[override]
        """That of a response about its mean: the response is its own latent variable."""
        return self.sd**2

    def rows(self, y: Array, trials: Array, weights: Array) -> tuple[Array, Array]:
        return weights * y, np.array(weights, dtype=np.float64)

    def sizes(self, a: Array, b: Array) -> Array:
        return b

    def amount(self, a: float, b: float) -> float:
        return b

    def events(self, a: float, b: float) -> float:
        return b

    def overall_mean(self, a: float, b: float, expected: float) -> float:
        return a / b

    def rises_towards(self, a: Array, b: Array) -> Array:
        return np.zeros(np.shape(a))

    def mean(self, eta: Array) -> Array:
        return np.asarray(eta, dtype=np.float64)

    def mean_derivative(self, eta: Array) -> Array:
        return np.ones_like(np.asarray(eta, dtype=np.float64))

    def mean_derivatives(self, eta: Array) -> tuple[Array, Array, Array, Array]:
        one = self.mean_derivative(eta)
        zero = np.zeros_like(one)
        return self.mean(eta), one, zero, zero

    def variance(self, mean: Array) -> Array:
        return np.full_like(np.asarray(mean, dtype=np.float64), self.sd**2)

    def variance_inside(self, observed: Array) -> Array:
        return np.zeros_like(np.asarray(observed, dtype=np.float64))

    def link_function(self, mu: Array) -> Array:
        return np.asarray(mu, dtype=np.float64)

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        return np.asarray(-0.5 * b * np.square((a / b - eta) / self.sd))

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        left, precision = a / b - eta, b / self.sd**2
        zero = np.zeros_like(left)
        return -0.5 * precision * left * left, precision * left, -precision + zero, zero, zero

    def log_constants(self, y: Array, trials: Array, weights: Array) -> Array:
        return np.asarray(-weights * (0.5 * _LOG_2PI + np.log(self.sd)))

    def saturated(self, a: Array, b: Array) -> Array:
        return np.zeros(np.shape(a))

    def magnitude(self, a: Array, b: Array) -> Array:
        return np.asarray(b * (0.5 * _LOG_2PI + abs(np.log(self.sd)) + 0.5))

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        z = (y - eta) / self.sd
        return np.asarray(ndtr(z)), np.asarray(ndtr(-z))

    def log_cdf(self, y: Array, eta: Array) -> Array:
        """log P(Y <= y)."""
        return np.asarray(log_ndtr((y - eta) / self.sd))

    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        return np.asarray(rng.normal(mu, self.sd))

    def expected_information(self, eta: Array) -> tuple[Array, Array, Array]:
        one = self.mean_derivative(eta)
        return one / self.sd**2, 0.0 * one, 0.0 * one

    def bias_moments(self, eta: Array) -> NoReturn:
        raise NotImplementedError("coefficients of a normal response have no bias to correct")

    def score_terms(self, eta: Array, a: Array, b: Array) -> ScoreTerms:
        raise NotImplementedError("no score test is made for normal responses")
