"""What the links of the binomial family share: a = w successes, b = w failures, kernel a log F + b log(1 - F)."""

from __future__ import annotations

import numpy as np
from scipy.special import betainc, betaln, gammaln, xlogy

from clusterglm.model.arrays import Array, times
from clusterglm.model.response.base import Response, ScoreTerms, Words


class Binomial(Response):
    """Successes out of a number of trials; the mean is the probability of one."""

    family = "binomial"
    words = Words(
        mean="share of successes",
        expectation="Probability",
        squared_error="Brier score",
        total="number of successes",
        totals="Successes in a cluster",
        low="failures",
        only_low="only failures",
        all_low="all responses failures",
        nothing="there are only failures",
        varied="both successes and failures",
        some="both successes and failures",
        separated="successes from failures",
        events="successes or failures, whichever are fewer",
        high="successes",
        all_high="all responses successes",
    )
    grouped = True
    two_levels = True
    trials = True
    bounded = True
    additive = True
    log_concave = True
    one_summit = True
    variance_curvature = -1.0

    def rows(self, y: Array, trials: Array, weights: Array) -> tuple[Array, Array]:
        if weights.strides == (0,) and len(y) > 0 and weights[0] == 1.0:  # known to be one without a look
            return np.array(y), trials - y
        return weights * y, weights * (trials - y)

    def sizes(self, a: Array, b: Array) -> Array:
        return a + b

    def amount(self, a: float, b: float) -> float:
        return a + b

    def events(self, a: float, b: float) -> float:
        return min(a, b)

    def overall_mean(self, a: float, b: float, expected: float) -> float:
        return a / (a + b)

    def rises_towards(self, a: Array, b: Array) -> Array:
        return np.where(a == 0.0, -1.0, np.where(b == 0.0, 1.0, 0.0))

    def mean_derivatives(self, eta: Array) -> tuple[Array, Array, Array, Array]:
        # log mu is the kernel of a success, with derivatives G, H, I: mu'' = mu (H + G^2) and
        # mu''' = mu (I + 3 G H + G^3). Where mu is near 1, G is small and accurate: nothing is lost there either.
        mean = self.mean(eta)
        _, g, h, i, _ = self.derivatives(eta, np.ones_like(eta), np.zeros_like(eta))
        return mean, self.mean_derivative(eta), mean * (h + g * g), mean * (i + g * (3.0 * h + g * g))

    def variance(self, mean: Array) -> Array:
        return mean * (1.0 - mean)

    def variance_inside(self, observed: Array) -> Array:
        return self.variance(observed)  # trials are 0 or 1

    def log_constants(self, y: Array, trials: Array, weights: Array) -> Array:
        """w log choose(trials, successes)."""
        if trials.strides == (0,) and not trials[:1] > 1.0:
            return np.broadcast_to(0.0, len(y))
        constants = np.zeros(len(y))
        grouped = np.flatnonzero(~(trials <= 1.0))  # a single trial has no coefficient; NaN stays NaN
        if len(grouped) > 0:
            m, k = trials[grouped], y[grouped]
            # log choose(m, k) = -log((m + 1) B(k + 1, m - k + 1)); exactly 0 at both ends
            choose = np.where((k == 0.0) | (k == m), 0.0, -np.log1p(m) - betaln(k + 1.0, m - k + 1.0))
            constants[grouped] = times(weights[grouped], choose)
        return constants

    def saturated(self, a: Array, b: Array) -> Array:
        a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        n = np.where(a + b > 0.0, a + b, 1.0)
        return np.asarray(xlogy(a, a / n) + xlogy(b, b / n))

    def magnitude(self, a: Array, b: Array) -> Array:
        mean = (a + 0.5) / (a + b + 1.0)
        eta, zero = self.link_function(mean), np.zeros_like(a)
        size = a * np.abs(eta) + np.abs(gammaln(a + 1.0))
        size += np.abs(self.value(eta, a, zero))
        size += np.abs(self.value(eta, zero, b))
        size += np.abs(gammaln(b + 1.0)) + np.abs(gammaln(a + b + 1.0))
        return np.asarray(size)

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

    def simulate(self, rng: np.random.Generator, mu: Array, trials: Array | None = None) -> Array:
        count = np.ones_like(mu, dtype=np.int64) if trials is None else np.asarray(trials).astype(np.int64)
        return rng.binomial(count, mu).astype(np.float64)

    def expected_information(self, eta: Array) -> tuple[Array, Array, Array]:
        # F'^2 / (F (1 - F)) is the product of the slopes of log F and -log(1 - F), neither of which loses its tail
        one, zero = np.ones(1), np.zeros(1)
        _, r, r1, r2, _ = self.derivatives(eta, one, zero)
        _, s, s1, s2, _ = self.derivatives(eta, zero, one)
        return -r * s, -(r1 * s + r * s1), -(r2 * s + 2.0 * r1 * s1 + r * s2)

    def bias_moments(self, eta: Array) -> tuple[Array, Array]:
        """Expectations over the two outcomes of one trial, at its linear predictor.

        With mean mu, E[G^2] = mu'^2 / (mu (1 - mu)) and E[G H] + E[I] / 2 = -mu' mu'' / (2 mu (1 - mu)): what is cubic
        in mu' cancels. The derivatives of log mu (a success) and of log(1 - mu) (a failure) hold the quotients, each
        accurate in its tail: mu' / mu = G1, mu'' / mu = H1 + G1^2, -mu' / (1 - mu) = G0. No difference 1 - mu is taken.
        """
        one, zero = np.ones_like(eta), np.zeros_like(eta)
        _, g1, h1, _, _ = self.derivatives(eta, one, zero)
        g0 = self.derivatives(eta, zero, one)[1]
        # far out G0 may be infinite (cloglog) where what it multiplies has become 0: the product is 0 in the limit
        return -times(g1, g0), 0.5 * times(h1 + g1 * g1, g0)

    def score_terms(self, eta: Array, a: Array, b: Array) -> ScoreTerms:
        one, zero = np.ones_like(eta), np.zeros_like(eta)
        G, H, v, var_A, cov_AG = (np.zeros_like(eta) for _ in range(5))
        mean = self.mean(eta)
        for outcome, probability, number in (((one, zero), mean, a), ((zero, one), 1.0 - mean, b)):
            _, slope, curvature, *_ = self.derivatives(eta, *outcome)
            A = slope * slope + curvature
            G += times(number, slope)
            H += times(number, curvature)
            v += probability * slope * slope
            var_A += probability * A * A
            cov_AG += probability * A * slope
        return ScoreTerms(G, H, v, var_A, cov_AG)
