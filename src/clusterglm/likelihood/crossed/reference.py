"""The likelihood of crossed factors once more, in plain NumPy, with whole matrices: the yardstick of the tests.

Values are of the kernel: constants free of theta are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from clusterglm.likelihood.crossed.layout import OutsideTerm
from clusterglm.likelihood.vector.points import PointSet
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import crossed_effects
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class Model:
    """Rows, whose units are `unit` (n,), from 0 up."""

    X: Array
    Z: Array
    unit: NDArray[np.int64]
    a: Array
    b: Array
    offset: Array
    weights: Array
    terms: tuple[OutsideTerm, ...]
    response: Response
    free: NDArray[np.bool_]

    @property
    def n_units(self) -> int:
        """Units."""
        return len(self.weights)

    def split(self, theta: Array) -> tuple[Array, Array, list[Array]]:
        """beta, the units' L and those outside."""
        own, *outside = [self.free, *(term.free for term in self.terms)]
        of = crossed_effects(self.X.shape[1], int(own.sum()), [int(free.sum()) for free in outside])
        beta, *entries = of.split(theta)
        factors = []
        for free, values in zip([own, *outside], entries, strict=True):
            L = np.zeros(free.shape)
            L[free] = values
            factors.append(L)
        return beta, factors[0], factors[1:]

    def rows(self, theta: Array) -> tuple[Array, Array, Array]:
        """The fixed part of the predictor, the slopes in the units' effects (n, d), and B (n, size of v)."""
        beta, L, outside = self.split(theta)
        n, blocks = len(self.X), []
        for term, factor in zip(self.terms, outside, strict=True):
            block = np.zeros((n, term.n_levels, term.n_effects))
            block[np.arange(n), term.levels] = term.Z @ factor
            blocks.append(block.reshape(n, -1))
        return self.X @ beta + self.offset, self.Z @ L, np.hstack(blocks)


@dataclass(frozen=True)
class Second:
    """f, its gradient and Hessian in v."""

    value: float
    gradient: Array
    hessian: Array


def summit(model: Model, eta: Array, A: Array, rows: NDArray[np.intp]) -> tuple[Array, Array]:
    """Mode and curvature of a unit's effects."""
    u, d = np.zeros(A.shape[1]), A.shape[1]
    for _ in range(200):
        _, G, H, _, _ = model.response.derivatives(eta[rows] + A[rows] @ u, model.a[rows], model.b[rows])
        step = np.linalg.solve(np.eye(d) - (A[rows].T * H) @ A[rows], A[rows].T @ G - u)
        u = u + step / max(1.0, float(np.abs(A[rows] @ step).max()))
        if np.abs(step).max() < 1e-14:
            break
    _, _, H, _, _ = model.response.derivatives(eta[rows] + A[rows] @ u, model.a[rows], model.b[rows])
    return u, np.eye(d) - (A[rows].T * H) @ A[rows]


def at(model: Model, theta: Array, v: Array, points: PointSet) -> Second:
    """f, its gradient and Hessian, each unit's integral by points about its mode."""
    fixed, A, B = model.rows(theta)
    eta = fixed + B @ v
    value, gradient, hessian = -0.5 * float(v @ v), -v, -np.eye(len(v))
    for i in range(model.n_units):
        r = np.flatnonzero(model.unit == i)
        mode, S = summit(model, eta, A, r)
        F = np.linalg.inv(np.linalg.cholesky(S)).T
        u = mode + points.positions @ F.T
        lam = eta[r] + u @ A[r].T
        logs = (
            points.log_weights
            - 0.5 * (u**2).sum(axis=1)
            + model.response.value(lam, model.a[r], model.b[r]).sum(axis=1)
        )
        total = float(logsumexp(logs))
        pi = np.exp(logs - total)
        _, G, H, _, _ = model.response.derivatives(lam, model.a[r], model.b[r])
        mean = pi @ G
        inner = ((G - mean).T * pi) @ (G - mean) + np.diag(pi @ H)
        value += model.weights[i] * (total + float(np.linalg.slogdet(F)[1]))
        gradient = gradient + model.weights[i] * (B[r].T @ mean)
        hessian = hessian + model.weights[i] * (B[r].T @ inner @ B[r])
    return Second(value, gradient, hessian)


def mode(model: Model, theta: Array, points: PointSet) -> Array:
    """The maximum of f in v."""
    v = np.zeros(model.rows(theta)[2].shape[1])
    for _ in range(200):
        here = at(model, theta, v, points)
        step = np.linalg.solve(-here.hessian, here.gradient)
        v = v + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-12:
            break
    return v


def laplace(model: Model, theta: Array, points: PointSet) -> float:
    """Laplace's approximation over v."""
    here = at(model, theta, mode(model, theta, points), points)
    return here.value - 0.5 * float(np.linalg.slogdet(-here.hessian)[1])


def joint(model: Model, theta: Array) -> float:
    """Laplace's approximation over all effects together."""
    fixed, A, B = model.rows(theta)
    d, m = A.shape[1], model.n_units
    W = np.zeros((len(A), m * d + B.shape[1]))
    for j, i in enumerate(model.unit):
        W[j, i * d : (i + 1) * d] = A[j]
    W[:, m * d :] = B
    e = np.zeros(W.shape[1])
    for _ in range(200):
        _, G, H, _, _ = model.response.derivatives(fixed + W @ e, model.a, model.b)
        step = np.linalg.solve(np.eye(len(e)) - (W.T * H) @ W, W.T @ G - e)
        e = e + step / max(1.0, float(np.abs(W @ step).max()))
        if np.abs(step).max() < 1e-13:
            break
    lam = fixed + W @ e
    _, _, H, _, _ = model.response.derivatives(lam, model.a, model.b)
    value = float(model.response.value(lam, model.a, model.b).sum()) - 0.5 * float(e @ e)
    return value - 0.5 * float(np.linalg.slogdet(np.eye(len(e)) - (W.T * H) @ W)[1])


def product(model: Model, theta: Array, points: PointSet, outside: PointSet) -> float:
    """The integral over v by points about the maximum of f."""
    centre = mode(model, theta, points)
    F = np.linalg.inv(np.linalg.cholesky(-at(model, theta, centre, points).hessian)).T
    v = centre + outside.positions @ F.T
    logs = [at(model, theta, each, points).value for each in v]
    return float(logsumexp(np.array(logs) + outside.log_weights)) + float(np.linalg.slogdet(F)[1])
