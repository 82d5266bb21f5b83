"""Binomial response, logit link: F(eta) = 1 / (1 + exp(-eta))."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, log_expit, logit

from clusterglm.model.arrays import Array, Jet, times
from clusterglm.model.response.binomial import Binomial


class BinomialLogit(Binomial):
    """Logistic regression."""

    link = "logit"
    code = "binomial_logit"
    default = True
    ratio = ("odds ratio", "odds")
    totals_suffice = True
    latent_variance = np.pi**2 / 3.0
    attenuation = 0.346  # (16 sqrt(3) / (15 pi))^2 (Zeger, Liang and Albert, Biometrics 44, 1988)

    def mean(self, eta: Array) -> Array:
        return expit(eta)

    def mean_derivative(self, eta: Array) -> Array:
        return expit(eta) * expit(-eta)

    def link_function(self, mu: Array) -> Array:
        return logit(mu)

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        return times(a, log_expit(eta)) + times(b, log_expit(-eta))

    def slope(self, eta: Array, a: Array, b: Array) -> Array:
        return a * expit(-eta) - b * expit(eta)

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        p, q = expit(eta), expit(-eta)  # both, so that neither tail is lost in 1 - p
        v = p * q
        h = -(a + b) * v
        return self.value(eta, a, b), a * q - b * p, h, h * (q - p), h * (1.0 - 6.0 * v)
