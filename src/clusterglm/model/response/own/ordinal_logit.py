"""Ordered categories with the logistic distribution function: proportional odds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_expit

from clusterglm.model.arrays import Array
from clusterglm.model.response.binomial_logit import BinomialLogit
from clusterglm.model.response.own.base import KernelRows, Terms
from clusterglm.model.response.own.cumulative import Cumulative


@dataclass(frozen=True, eq=False, repr=False)
class OrdinalLogit(Cumulative):
    """Cumulative logit: the odds of being above any threshold are multiplied by exp(beta).

    log(F(high) - F(low)) = log F(high) + log(1 - F(low)) + log(1 - exp(low - high)): a failure at eta - kappa_high, a
    success at eta - kappa_low, and a term without eta.
    """

    link = "logit"
    default = True
    binary = BinomialLogit()
    ratio = ("odds ratio of a higher category", "odds")
    latent_variance = BinomialLogit.latent_variance

    def log_probability(self, low: Array, high: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            gap = np.where(np.isinf(low) | np.isinf(high), np.inf, high - low)
            inner = np.log(-np.expm1(-gap))
        return np.asarray(log_expit(high) + log_expit(-low) + inner)

    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        y, k = self.categories(a, b), len(self.levels) - 1
        n = len(y)
        above, below = np.flatnonzero(y > 0), np.flatnonzero(y < k)
        of = np.concatenate([above, below])
        order = np.argsort(of, kind="stable")
        threshold = np.concatenate([y[above] - 1, y[below]])[order]
        success = np.concatenate([np.ones(len(above)), np.zeros(len(below))])[order]
        of = of[order]
        columns = np.zeros((len(of), k))
        columns[np.arange(len(of)), threshold] = -1.0
        w = np.asarray(b, dtype=np.float64)[of]
        shift = columns @ self.thresholds if self.values else np.zeros(len(of))
        whole = None if len(of) == n and k == 1 else of
        return KernelRows(BinomialLogit(), w * success, w * (1.0 - success), shift, of=whole, columns=columns)

    def terms(self, psi: Array, a: Array, b: Array, weights: Array | None = None) -> Terms:
        y, k = self.categories(a, b), len(psi)
        gaps = np.diff(psi)
        first, second = np.zeros((len(y), k)), np.zeros((k, k))
        if np.any(gaps <= 0.0):
            return Terms(-np.inf, first, second)
        slope = 1.0 / np.expm1(gaps)
        inner = np.flatnonzero((y > 0) & (y < k))
        weight = np.bincount(y[inner] - 1, weights=b[inner], minlength=k - 1)[: k - 1] if k > 1 else np.zeros(0)
        moves = b[inner] * slope[y[inner] - 1] if k > 1 else np.zeros(0)
        first[inner, y[inner]], first[inner, y[inner] - 1] = moves, -moves
        bend = -weight * slope * (1.0 + slope)  # - e^g / (e^g - 1)^2
        corner = np.arange(k - 1)
        second[corner, corner + 1] = second[corner + 1, corner] = -bend
        second[corner, corner] += bend
        second[corner + 1, corner + 1] += bend
        return Terms(float(weight @ np.log(-np.expm1(-gaps))), first, second)

    def log_terms(self, a: Array, b: Array) -> Array:
        y, k, found = self.categories(a, b), len(self.values), np.zeros(len(a))
        inner = np.flatnonzero((y > 0) & (y < k))
        found[inner] = b[inner] * np.log(-np.expm1(-np.diff(self.thresholds)))[y[inner] - 1]
        return found
