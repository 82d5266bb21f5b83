"""The log-likelihood of two normal effects of each cluster by brute force, and its maximum by SciPy.

`accurate` lays a lattice about each cluster's mode, scaled by its curvature, which cuts off the tails of very skewed
integrands. `likelihood` has one lattice on the scale of standard normal effects for all clusters, too coarse for large
counts. Log-probabilities are written from their definitions. theta = (beta, L11, L21, L22). Shares nothing with the
package.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import gammaln, log_ndtr

Array = NDArray[np.float64]
Value = Callable[[Array], tuple[float, Array]]


def log_probability(link: str, eta: Array, y: Array) -> tuple[Array, Array]:
    """log P(y) and its derivative in eta; y is 0 or 1, or a count with the log link."""
    if link == "log":
        mean = np.exp(np.minimum(eta, 300.0))
        return y * eta - mean - gammaln(y + 1.0), y - mean
    sign = 2.0 * y - 1.0
    if link == "logit":
        small = np.exp(-np.abs(eta))
        value = np.minimum(sign * eta, 0.0) - np.log1p(small)
        return value, y - np.where(eta > 0.0, 1.0 / (1.0 + small), small / (1.0 + small))
    if link == "probit":
        value = log_ndtr(sign * eta)
        return value, sign * np.exp(-0.5 * eta * eta - 0.5 * np.log(2.0 * np.pi) - value)
    rate = np.exp(np.minimum(eta, 300.0))
    with np.errstate(divide="ignore"):
        success = np.where(rate < 1e-8, eta, np.log(-np.expm1(-rate)))
    slope = np.where(rate < 1e-8, 1.0, rate / np.maximum(np.expm1(np.minimum(rate, 600.0)), 1e-300))
    return np.where(y > 0.0, success, -rate), np.where(y > 0.0, slope, -rate)


def accurate(link: str, y: Array, X: Array, Z: Array, starts: NDArray[np.int64], theta: Array, step: float) -> float:
    """The log-likelihood at theta; `step` of the lattices, in standard deviations that curvature gives."""
    p = X.shape[1]
    (a, b, c), fixed, total = theta[p:], X @ theta[:p], 0.0
    slopes = np.column_stack([a * Z[:, 0] + b * Z[:, 1], c * Z[:, 1]])
    axis = np.arange(-14.0, 14.0 + 1e-9, step)
    lattice = np.array(np.meshgrid(axis, axis)).reshape(2, -1)
    lattice = lattice[:, (lattice**2).sum(axis=0) <= 14.0**2]
    for first, last in pairwise(starts.tolist()):
        own, eta, A = y[first:last], fixed[first:last], slopes[first:last]

        def slope(u: Array, own: Array = own, eta: Array = eta, A: Array = A) -> Array:
            return A.T @ log_probability(link, eta + A @ u, own)[1] - u

        def curvature(u: Array, slope: Callable[[Array], Array] = slope) -> Array:
            found = np.array([(slope(u - e) - slope(u + e)) / 2e-5 for e in 1e-5 * np.eye(2)])
            return 0.5 * (found + found.T)

        u = np.zeros(2)
        for _ in range(200):  # damped Newton steps: the integrand is log-concave
            move = np.linalg.solve(curvature(u), slope(u))
            u = u + move * min(1.0, 0.5 / max(float(np.abs(A @ move).max()), 1e-300))
            if np.abs(move).max() < 1e-9:
                break
        F = np.linalg.inv(np.linalg.cholesky(curvature(u))).T
        points = u[:, None] + F @ lattice
        terms = log_probability(link, eta[:, None] + A @ points, own[:, None])[0].sum(axis=0)
        terms -= 0.5 * (points**2).sum(axis=0) + np.log(2.0 * np.pi)
        total += float(np.logaddexp.reduce(terms)) + 2.0 * np.log(step) + float(np.log(np.abs(np.linalg.det(F))))
    return total


def likelihood(link: str, y: Array, X: Array, Z: Array, starts: NDArray[np.int64], step: float) -> Value:
    """theta -> log-likelihood and score; rows of a cluster follow each other from `starts` on."""
    axis = np.arange(-7.0, 7.0 + 1e-9, step)
    U = np.array(np.meshgrid(axis, axis)).reshape(2, -1)
    U = U[:, (U**2).sum(axis=0) <= 49.0]
    weights = -0.5 * (U**2).sum(axis=0) - np.log(2.0 * np.pi) + 2.0 * np.log(step)
    p, first = X.shape[1], starts[:-1]

    def value(theta: Array) -> tuple[float, Array]:
        beta, (a, b, c) = theta[:p], theta[p:]
        u, v = a * U[0], b * U[0] + c * U[1]
        eta = (X @ beta)[:, None] + Z[:, :1] * u + Z[:, 1:] * v
        logs, slopes = log_probability(link, eta, y[:, None])
        terms = np.add.reduceat(logs, first, axis=0) + weights
        most = terms.max(axis=1, keepdims=True)
        shares = np.exp(terms - most)
        total = shares.sum(axis=1)
        shares /= total[:, None]
        of_rows = np.repeat(shares, np.diff(starts), axis=0) * slopes
        one, two = Z[:, 0] @ of_rows, Z[:, 1] @ of_rows
        score = np.append(X.T @ of_rows.sum(axis=1), [one @ U[0], two @ U[0], two @ U[1]])
        return float((np.log(total) + most[:, 0]).sum()), score

    return value


def maximum(value: Value, starts: list[Array]) -> Array:
    """The best point that L-BFGS finds from several starts."""

    def negative(theta: Array) -> tuple[float, Array]:
        found, score = value(theta)
        return -found, -score

    tried = [minimize(negative, start, jac=True, method="L-BFGS-B") for start in starts]
    return np.asarray(min(tried, key=lambda found: found.fun).x)
