"""Counts whose zeros have a linear predictor too: kernel rows at given working values, and the terms beside these."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from clusterglm.errors import OptionError
from clusterglm.likelihood.evaluation import ClusterArrays
from clusterglm.model.arrays import Array
from clusterglm.model.response.own.base import Coordinates, KernelRows, Terms
from clusterglm.model.response.own.negative_binomial import NegativeBinomial
from clusterglm.model.response.zeros.inflated import ZeroInflated

_LARGEST_LOG_ODDS = 700.0  # linear predictors of zeros beyond which exp() is none


class ZeroData:
    """Zero-inflated counts as rows of a kernel that depend on psi = (log(alpha) where there is one, coefficients).

    Parameters
    ----------
    data : ClusterArrays
    Z : ndarray, shape (n, c)
        Columns of the linear predictor of zeros.
    response : ZeroInflated
        Whatever its values.
    """

    by_shifts = False

    def __init__(self, data: ClusterArrays, Z: Array, response: ZeroInflated) -> None:
        self.data, self.Z, self.response = data, Z, response
        self.n_working = len(response.own)
        self.k = int(response.dispersed)  # working values before the coefficients of zeros
        self.is_zero = data.a == 0.0
        self.of = repeats(data.b, self.is_zero) if response.dispersed else None
        self._cluster_weights = np.repeat(data.cluster_weights, np.diff(data.starts))
        self.weights: Array = data.b * self._cluster_weights
        counts = np.zeros(len(data.a))
        if not response.dispersed:
            counts = response.count.log_constants(np.rint(data.a / data.b), np.ones_like(data.a), self.weights)
        self._constants: Array = counts

    def w(self, psi: Array) -> Array:
        """Linear predictor of zeros, shape (n,)."""
        return np.asarray(self.Z @ psi[self.k :])

    def inside(self, psi: Array) -> Array:
        """Working values, alpha no further out than its kernel keeps its digits."""
        psi = np.array(psi, dtype=np.float64)
        psi[: self.k] = np.clip(psi[: self.k], NegativeBinomial.lowest - 1.0, NegativeBinomial.highest + 1.0)
        return psi

    def start(self) -> Array:
        """Any working values."""
        return np.zeros(self.n_working)

    def coordinates(self, psi: Array) -> Coordinates:
        """psi itself."""
        return self.response.coordinates(psi)

    def rows(self, psi: Array) -> KernelRows:
        """Kernel rows at psi."""
        return self._rows(self.response.at(psi), self.w(psi), self.of)

    def at_estimates(self) -> KernelRows:
        """Kernel rows at the values of the response, which may lie at the end of their range."""
        w = np.clip(self.Z @ self.response.zero, -_LARGEST_LOG_ODDS, _LARGEST_LOG_ODDS)
        return self._rows(self.response, w, self.of if self.response.alpha > 0.0 else None)

    def _rows(self, response: ZeroInflated, w: Array, of: NDArray[np.int64] | None) -> KernelRows:
        kernel, a, b, shift = response.zero_rows(self.data.a, self.data.b, w, of)
        return KernelRows(kernel, a, b, shift, of=of)

    def terms(self, psi: Array) -> Terms:
        """What log-probabilities have besides those of kernel rows, and its derivatives in psi; see `Terms`."""
        w, k, first, second = self.w(psi), self.k, self.first(psi), np.zeros((len(psi), len(psi)))
        value, pi = float(self._constants.sum()) - float(self.weights @ np.logaddexp(0.0, w)), expit(w)
        curved = -(self.weights * pi * (1.0 - pi))[:, None] * self.Z
        second[k:, k:] = np.einsum("rc,rd->cd", curved, self.Z)
        if k:
            counts = self._of_alpha(psi)
            value, second[0, 0] = value + counts.value, counts.second[0, 0]
        return Terms(value, first, second)

    def first(self, psi: Array) -> Array:
        """Derivatives of the rows' terms, shape (n, k), cluster weights included."""
        first = -(self.weights * expit(self.w(psi)))[:, None] * self.Z
        return np.column_stack([self._of_alpha(psi).first, first]) if self.k else first

    def of_clusters(self, psi: Array) -> tuple[Array, Array]:
        """Terms of clusters and their derivatives, shape (m,) and (m, k), cluster weights included."""
        starts, each = self.data.starts[:-1], self._constants - self.weights * np.logaddexp(0.0, self.w(psi))
        if self.k:
            alpha = NegativeBinomial((float(np.exp(psi[0])),))
            each = each + self._cluster_weights * alpha.log_terms(self.data.a, self.data.b)
        return np.add.reduceat(each, starts), np.add.reduceat(self.first(psi), starts, axis=0)

    def _of_alpha(self, psi: Array) -> Terms:
        alpha = NegativeBinomial((float(np.exp(psi[0])),))
        return alpha.terms(psi[:1], self._cluster_weights * self.data.a, self.weights)


def repeats(weights: Array, is_zero: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """The row of each kernel row, where zeros stand for several; None where each is one.

    Raises
    ------
    OptionError
        Where they stand for a part of one.
    """
    times = np.where(is_zero, weights, 1.0)
    if np.all(times == 1.0):
        return None
    if np.any(times != np.rint(times)):
        raise OptionError(
            "weights= that are not whole numbers with zero_inflation= and family='negative_binomial'",
            "whole numbers, which are repeats",
            "cluster_weights=, which may be any numbers; or family='poisson'",
        )
    return np.repeat(np.arange(len(weights)), times.astype(np.int64))
