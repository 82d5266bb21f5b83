"""Ordered categories with F(x) = 1 - exp(-exp(x)): proportional hazards in grouped time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterglm.model.arrays import Array
from clusterglm.model.response.binomial_cloglog import BinomialCloglog
from clusterglm.model.response.own.base import Coordinates, KernelRows, Terms
from clusterglm.model.response.own.cumulative import Cumulative


@dataclass(frozen=True, eq=False, repr=False)
class OrdinalCloglog(Cumulative):
    """Cumulative complementary log-log: exp(-beta) multiplies the hazard of ending in a category, given not before.

    F(high) - F(low) = exp(-e^low) (1 - exp(-e^d)) with d = log(e^high - e^low): a failure at kappa_low - eta, and a
    success at log(e^kappa_high - e^kappa_low) - eta.
    """

    link = "cloglog"
    binary = BinomialCloglog()
    reversed = True
    ratio = ("hazard ratio", "hazard")
    ratio_sign = -1.0
    latent_variance = BinomialCloglog.latent_variance

    def log_probability(self, low: Array, high: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            gap = np.where(np.isinf(low) | np.isinf(high), np.inf, high - low)
            width = high + np.log(-np.expm1(-gap))
            one = np.ones(np.shape(low))
            return np.asarray(self.binary.value(width, one, 0.0 * one) - np.exp(low))

    def start_level(self, a: Array, b: Array, offset: Array) -> float:
        """Such that exp(-eta), beyond which log P falls, is 1 on average."""
        least = offset.min()
        return float(np.log(np.average(np.exp(least - offset), weights=b)) - least)

    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        y, k = self.categories(a, b), len(self.levels) - 1
        above, below = np.flatnonzero(y > 0), np.flatnonzero(y < k)
        of = np.concatenate([above, below])
        order = np.argsort(of, kind="stable")
        # coordinates: the k thresholds, and the k - 1 widths of inner categories
        ends = np.where(y[below] == 0, 0, k + y[below] - 1)
        at = np.concatenate([y[above] - 1, ends])[order]
        success = np.concatenate([np.zeros(len(above)), np.ones(len(below))])[order]
        of = of[order]
        columns = np.zeros((len(of), 2 * k - 1))
        columns[np.arange(len(of)), at] = 1.0
        w = np.asarray(b, dtype=np.float64)[of]
        shift = columns @ self.coordinates(self.thresholds).value if self.values else np.zeros(len(of))
        whole = None if k == 1 else of
        return KernelRows(BinomialCloglog(), w * success, w * (1.0 - success), shift, -1.0, whole, columns)

    def coordinates(self, psi: Array) -> Coordinates:
        k = len(psi)
        gaps = np.diff(psi)
        value, first, second = np.append(psi, np.zeros(k - 1)), np.zeros((2 * k - 1, k)), np.zeros((2 * k - 1, k, k))
        first[:k] = np.eye(k)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            value[k:] = psi[1:] + np.log(-np.expm1(-gaps))
            share = -1.0 / np.expm1(-gaps)  # of the width, that the upper threshold moves
            bend = -np.exp(-gaps) * share * share
        for c in range(k - 1):
            first[k + c, c], first[k + c, c + 1] = 1.0 - share[c], share[c]
            second[k + c][np.ix_([c, c + 1], [c, c + 1])] = bend[c] * np.array([[1.0, -1.0], [-1.0, 1.0]])
        return Coordinates(value, first, second)

    def terms(self, psi: Array, a: Array, b: Array, weights: Array | None = None) -> Terms:
        k = len(psi)
        value = -np.inf if np.any(np.diff(psi) <= 0.0) else 0.0
        return Terms(value, np.zeros((len(a), k)), np.zeros((k, k)))
