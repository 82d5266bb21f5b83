"""Intercepts at their best beside parameters of the response: (beta, psi) -> value, score, exact Hessian.

The core finds each cluster's intercept at given parameters, whose kernel rows are rows like any other. Derivatives are
those of the rows, less what the intercepts take up: with h a cluster's sum of second derivatives in its intercept and s
those in the intercept and the parameters, the Hessian is that at fixed intercepts less the sum of s s' / h.
"""

from __future__ import annotations

import numpy as np

from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation, OwnArrays, core_problem
from clusterglm.likelihood.own import through_coordinates
from clusterglm.likelihood.profile import ClusterProfile, ProfileLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.response.own.base import OwnParameters


class OwnProfileLikelihood:
    """The likelihood of clusters whose intercepts are finite, each at its maximum, normalised.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Without a column of ones.
    data : ClusterArrays
        Of these clusters; the others have likelihood 1.
    response : OwnParameters
        With one kernel row for each observation, and one parameter that its kernel knows.
    alike : tuple of ndarray
        Rows that have the same terms in sum, as `OwnParameters.terms` takes them.
    threads : int
    """

    def __init__(
        self, X: Array, data: ClusterArrays, response: OwnParameters, alike: tuple[Array, ...], threads: int = 1
    ) -> None:
        self._X, self._data, self._response, self._alike, self._threads = X, data, response, alike, threads
        self._intercepts = np.full(len(data.cluster_weights), np.nan)  # of the last call, where the next one begins
        self._weights = np.repeat(data.cluster_weights, np.diff(data.starts))

    def evaluate(self, theta: Array) -> Evaluation:
        """Log-likelihood, score and Hessian in (beta, psi), shape (p + 1,)."""
        psi, p = self._psi(theta), self._X.shape[1]
        terms = self._response.terms(psi, *self._alike)
        value, (G, H, g, Gg, gg) = self._rows(theta)
        tau, means, moves = self._within(H, Gg)
        weights, w = self._data.cluster_weights, self._weights
        X = self._X - np.repeat(means, np.diff(self._data.starts), axis=0)
        score = np.append(X.T @ (w * G), w @ g)
        cross = X.T @ (w * Gg)
        last = float(w @ gg) + float(weights @ (tau * moves * moves))
        hessian = np.block([[X.T @ (X * (w * H)[:, None]), cross[:, None]], [cross[None, :], np.full((1, 1), last)]])
        return through_coordinates(Evaluation(value, score, hessian), p, self._response.coordinates(psi), terms)

    def clusters(self, theta: Array) -> ClusterProfile:
        """Intercepts, their information, and means and scores in (beta, psi), shape (m, p + 1)."""
        (G, H, g, Gg, _), first = self._rows(theta)[1], self._data.starts[:-1]
        tau, means, moves = self._within(H, Gg)
        g = g + self._response.terms(self._psi(theta), self._data.a, self._data.b).first[:, 0]
        rows = np.column_stack([self._X * G[:, None], g])
        scores = self._data.cluster_weights[:, None] * np.add.reduceat(rows, first, axis=0)
        return ClusterProfile(self._intercepts.copy(), tau, np.column_stack([means, -moves]), scores)

    def intercepts(self, theta: Array) -> Array:
        """The intercepts that maximise the likelihood at theta, shape (m,)."""
        self._value(theta)
        return self._intercepts.copy()

    def _psi(self, theta: Array) -> Array:
        """The working value, no further out than its kernel keeps its digits."""
        own = self._response
        return np.clip(theta[self._X.shape[1] :], own.lowest - 1.0, own.highest + 1.0)

    def _value(self, theta: Array) -> tuple[float, OwnArrays, OwnParameters]:
        """The kernel rows' log-likelihood, and what they are."""
        data, own = self._data, self._response.at(self._psi(theta))
        rows = own.kernel_rows(data.a, data.b)
        arrays = OwnArrays(data.starts, rows.a, rows.b, data.offset + rows.shift, data.cluster_weights)
        profile = ProfileLikelihood(core_problem(self._X, arrays, rows.response), self._threads, self._intercepts)
        return profile.evaluate(theta[: self._X.shape[1]], 0).value, arrays, own

    def _rows(self, theta: Array) -> tuple[float, tuple[Array, Array, Array, Array, Array]]:
        """The value, and derivatives of kernel rows in the linear predictor, the parameter and both."""
        value, rows, own = self._value(theta)
        x = self._X @ theta[: self._X.shape[1]] + rows.offset + np.repeat(self._intercepts, np.diff(rows.starts))
        g, Gg, gg = own.own_derivatives(x, rows.a, rows.b)
        kernel = own.kernel_rows(self._data.a[:1], self._data.b[:1]).response
        _, G, H, *_ = kernel.derivatives(x, rows.a, rows.b)
        return value, (G, H, g, Gg, gg)

    def _within(self, H: Array, Gg: Array) -> tuple[Array, Array, Array]:
        """Of each cluster: information on its intercept, means of the columns, the intercept's slope in psi."""
        first, counts = self._data.starts[:-1], np.diff(self._data.starts)
        tau = -np.add.reduceat(H, first)
        share = -H / np.repeat(tau, counts)
        means = np.add.reduceat(self._X * share[:, None], first, axis=0)
        return tau, means, np.add.reduceat(Gg, first) / tau
