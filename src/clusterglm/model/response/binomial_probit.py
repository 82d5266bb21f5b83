"""Binomial response, probit link: F = Phi."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri

from clusterglm.model.arrays import Array, Jet, times
from clusterglm.model.response.binomial import Binomial
from clusterglm.model.special import log_normal_cdf, log_normal_density


class BinomialProbit(Binomial):
    """Probit regression."""

    link = "probit"
    code = "binomial_probit"
    no_ratio = (
        ". A probit coefficient is a shift of a latent normal variable in standard deviations, and its exponential is "
        "a ratio of nothing"
    )
    latent_variance = 1.0
    normal_latent = True
    attenuation = 1.0  # exact for Gaussian intercepts

    def mean(self, eta: Array) -> Array:
        return ndtr(eta)

    def mean_derivative(self, eta: Array) -> Array:
        return np.exp(log_normal_density(np.asarray(eta, dtype=np.float64)))

    def link_function(self, mu: Array) -> Array:
        return ndtri(mu)

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        return times(a, log_ndtr(eta)) + times(b, log_ndtr(-eta))

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        p0, p1, p2, p3, p4 = log_normal_cdf(eta)
        q0, q1, q2, q3, q4 = log_normal_cdf(-eta)  # odd derivatives change sign
        return (
            times(a, p0) + times(b, q0),
            a * p1 - b * q1,
            a * p2 + b * q2,
            a * p3 - b * q3,
            a * p4 + b * q4,
        )
