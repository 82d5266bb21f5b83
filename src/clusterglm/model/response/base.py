"""The interface of a response model: a family with a link.

Every row enters as two non-negative numbers (a, b), weights included:

* binomial: a = w * successes, b = w * failures; kernel a log F(eta) + b log(1 - F(eta));
* Poisson:  a = w * count, b = w; kernel a eta - b exp(eta).

The weighted log-probability of the row is kernel + a constant free of eta.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from scipy.special import betainc, xlogy

from clusterglm.model.arrays import Array, Jet


class Response(ABC):
    """A family and link; stateless, and equal to any other instance of its class."""

    family: ClassVar[str]
    link: ClassVar[str]
    code: ClassVar[str]
    """Name by which the compiled core knows the kernel."""

    @abstractmethod
    def mean(self, eta: Array) -> Array:
        """Mean of one trial (binomial: probability) or of the count, from the linear predictor."""

    @abstractmethod
    def mean_derivative(self, eta: Array) -> Array:
        """d mean / d eta."""

    @abstractmethod
    def variance(self, mean: Array) -> Array:
        """Variance of one trial, or of the count, that has this mean."""

    @abstractmethod
    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        """P(Y <= y) and P(Y > y), each accurate where it is small.

        Parameters
        ----------
        y : ndarray
            Successes, or counts; whole numbers, -1 among them.
        eta : ndarray
            Linear predictor; -inf and inf are allowed. The three broadcast.
        trials : ndarray
            Of a binomial.
        """

    @abstractmethod
    def link_function(self, mu: Array) -> Array:
        """Linear predictor that has mean `mu`; -inf or inf at the ends of the range."""

    @abstractmethod
    def value(self, eta: Array, a: Array, b: Array) -> Array:
        """Kernel of the log-likelihood, row by row (shapes broadcast)."""

    @abstractmethod
    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        """Kernel and its first four derivatives in eta, row by row (shapes broadcast).

        Stable and free of warnings for |eta| up to 700; -inf where exp(eta) times the weight overflows.
        """

    @abstractmethod
    def expected_information(self, eta: Array) -> tuple[Array, Array, Array]:
        """Expected information of one trial, or of one count, on eta, with its first two derivatives in eta."""

    @abstractmethod
    def saturated(self, a: Array, b: Array) -> Array:
        """Maximum (supremum) of the kernel over eta, row by row."""

    @abstractmethod
    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        """Draw successes out of `trials` (default 1), or counts, with mean `mu` per trial; floats, shaped like `mu`."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Binomial(Response):
    """What the three binomial links share."""

    family = "binomial"

    def variance(self, mean: Array) -> Array:
        return mean * (1.0 - mean)

    def tails(self, y: Array, eta: Array, trials: Array) -> tuple[Array, Array]:
        one, zero = np.ones(1), np.zeros(1)
        p, q = np.exp(self.value(eta, one, zero)), np.exp(self.value(eta, zero, one))  # neither loses its tail
        if np.all(trials == 1.0):
            lower, upper = q, p
        else:  # the incomplete beta function, 0 < y + 1 < n + 1
            k = np.clip(y, 0.0, np.maximum(trials - 1.0, 0.0))
            rest = np.maximum(trials - k, 1.0)
            lower, upper = betainc(rest, k + 1.0, q), betainc(k + 1.0, rest, p)
        below, above = y < 0.0, y >= trials
        return np.where(below, 0.0, np.where(above, 1.0, lower)), np.where(below, 1.0, np.where(above, 0.0, upper))

    def expected_information(self, eta: Array) -> tuple[Array, Array, Array]:
        # F'^2 / (F (1 - F)) is the product of the slopes of log F and -log(1 - F), neither of which loses its tail
        one, zero = np.ones(1), np.zeros(1)
        _, r, r1, r2, _ = self.derivatives(eta, one, zero)
        _, s, s1, s2, _ = self.derivatives(eta, zero, one)
        return -r * s, -(r1 * s + r * s1), -(r2 * s + 2.0 * r1 * s1 + r * s2)

    def saturated(self, a: Array, b: Array) -> Array:
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        n = np.where(a + b > 0.0, a + b, 1.0)
        return np.asarray(xlogy(a, a / n) + xlogy(b, b / n))

    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        count = np.ones_like(mu, dtype=np.int64) if trials is None else np.asarray(trials).astype(np.int64)
        return rng.binomial(count, mu).astype(np.float64)
