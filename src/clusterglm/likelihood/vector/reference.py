"""The likelihood of several effects once more, in plain NumPy, one cluster at a time: the yardstick of the tests.

Values are of the kernel: constants free of theta are left out. Rows come in cluster order, with `starts` (m + 1,) the
first row of each cluster and the end, `X` (n, p), `Z` (n, d), `a`, `b`, `offset` (n,), `cluster_weights` (m,). `free`
(d, d) says which entries of L are parameters; theta = (beta, these row by row).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from clusterglm.likelihood.vector.points import PointSet
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import random_effects
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class Rows:
    """The rows of one cluster."""

    X: Array
    Z: Array
    a: Array
    b: Array
    offset: Array


@dataclass(frozen=True)
class Sums:
    """What one cluster adds, without its weight: value, score, Hessian, posterior mean and covariance of u."""

    value: float
    score: Array
    hessian: Array
    mean: Array
    covariance: Array


def split(theta: Array, p: int, free: NDArray[np.bool_]) -> tuple[Array, Array]:
    """beta and L."""
    L = np.zeros(free.shape)
    beta, L[free] = random_effects(p, int(free.sum())).split(theta)
    return beta, L


def rows_of(starts: NDArray[np.int64], X: Array, Z: Array, a: Array, b: Array, offset: Array, cluster: int) -> Rows:
    """Rows of one cluster."""
    r = slice(int(starts[cluster]), int(starts[cluster + 1]))
    return Rows(X[r], Z[r], a[r], b[r], offset[r])


def log_integrand(rows: Rows, theta: Array, free: NDArray[np.bool_], response: Response, u: Array) -> Array:
    """sum log P - u'u / 2 at points u (k, d)."""
    beta, L = split(theta, rows.X.shape[1], free)
    eta = rows.X @ beta + rows.offset
    value: Array = -0.5 * (u**2).sum(axis=1)
    for first in range(0, len(u), 4096):  # not all of a large table at once
        part = slice(first, first + 4096)
        value[part] += response.value(eta + u[part] @ (rows.Z @ L).T, rows.a, rows.b).sum(axis=1)
    return value


def mode(rows: Rows, theta: Array, free: NDArray[np.bool_], response: Response) -> tuple[Array, Array]:
    """Where the log-integrand is highest, and C^-T of its curvature C C' there."""
    beta, L = split(theta, rows.X.shape[1], free)
    A = rows.Z @ L
    eta = rows.X @ beta + rows.offset
    u, d = np.zeros(len(L)), len(L)

    def at(v: Array) -> float:
        return float(log_integrand(rows, theta, free, response, v[None])[0])

    for _ in range(2000):
        _, G, H, _, _ = response.derivatives(eta + A @ u, rows.a, rows.b)
        S = np.eye(d) - (A.T * H) @ A
        step = np.linalg.solve(S, A.T @ G - u)
        length = 1.0
        while at(u + length * step) < at(u) - 1e-12 * (1.0 + abs(at(u))) and length > 1e-12:
            length *= 0.5
        u = u + length * step
        if np.abs(step).max() < 1e-14 * (1.0 + np.abs(u).max()):
            break
    _, _, H, _, _ = response.derivatives(eta + A @ u, rows.a, rows.b)
    return u, np.linalg.inv(np.linalg.cholesky(np.eye(d) - (A.T * H) @ A)).T


def sums(
    rows: Rows,
    theta: Array,
    free: NDArray[np.bool_],
    response: Response,
    points: PointSet,
    centre: Array,
    factor: Array,
) -> Sums:
    """The sum over points centre + factor c, and its derivatives if they are held."""
    p = rows.X.shape[1]
    beta, L = split(theta, p, free)
    u = centre + points.positions @ factor.T
    q = points.log_weights + log_integrand(rows, theta, free, response, u)
    total = float(logsumexp(q))
    value = total + float(np.linalg.slogdet(factor)[1])
    pi = np.exp(q - total)
    eta = rows.X @ beta + rows.offset
    row, col = np.nonzero(free)
    count = p + len(row)
    second, weighty = np.zeros((count, count)), pi > 1e-25
    scores = np.zeros((len(pi), count))
    for k in np.flatnonzero(weighty):
        _, G, H, _, _ = response.derivatives(eta + rows.Z @ L @ u[k], rows.a, rows.b)
        W = np.hstack([rows.X, rows.Z[:, row] * u[k, col]])
        scores[k] = W.T @ G
        second += pi[k] * ((W.T * H) @ W)
    mean = pi @ scores
    apart = np.where(weighty[:, None], scores - mean, 0.0)
    centre_of_mass = pi @ u
    spread = (u - centre_of_mass).T @ ((u - centre_of_mass) * pi[:, None])
    return Sums(value, mean, second + (apart.T * pi) @ apart, centre_of_mass, spread)


def dense(
    rows: Rows, theta: Array, free: NDArray[np.bool_], response: Response, nodes: int = 301, half_width: float = 9.0
) -> float:
    """A cluster's log-integral by a trapezoid rule in a box that shrinks to where the integrand lies.

    The box begins as [-half_width, half_width] in every effect of the prior, which no posterior leaves, and shares
    nothing with the other rules but the integrand.
    """
    d = len(free)
    low, high = np.full(d, -half_width), np.full(d, half_width)
    coarse = nodes
    for _ in range(8):
        axes = [np.linspace(a, b, coarse) for a, b in zip(low, high, strict=True)]
        u = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        g = log_integrand(rows, theta, free, response, u.reshape(-1, d)).reshape(u.shape[:-1])
        matter = np.argwhere(g > g.max() - 45.0)
        first, last = matter.min(axis=0), matter.max(axis=0)
        if np.all(last - first > coarse // 2):
            break
        steps = (high - low) / (coarse - 1)
        low, high = np.maximum(low + (first - 2) * steps, low), np.minimum(low + (last + 2) * steps, high)
    steps = (high - low) / (coarse - 1)
    return float(logsumexp(g) + np.log(steps).sum() - 0.5 * d * np.log(2.0 * np.pi))
