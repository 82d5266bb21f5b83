"""The likelihood of nested effects once more, in plain NumPy, one unit at a time: the yardstick of the tests.

Values are of the kernel: constants free of theta are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from clusterglm.likelihood.vector.points import PointSet
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import nested_effects
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class Unit:
    """The rows of one unit: `child` (n,) says whose they are, from 0 up."""

    X: Array
    Z1: Array
    Z2: Array
    child: NDArray[np.int64]
    a: Array
    b: Array
    offset: Array

    def of_child(self, c: int) -> Unit:
        """The rows of one child."""
        r = self.child == c
        return Unit(self.X[r], self.Z1[r], self.Z2[r], self.child[r], self.a[r], self.b[r], self.offset[r])


@dataclass(frozen=True)
class Place:
    """Where a unit's points lie; see `NestedPlaces`."""

    centre1: Array
    factor1: Array
    centres2: Array
    slopes2: Array
    factors2: Array


@dataclass(frozen=True)
class Sums:
    """What one unit adds, without its weight; means and covariances of u, of each v, and of each v with u."""

    value: float
    score: Array
    hessian: Array
    mean1: Array
    covariance1: Array
    means2: Array
    covariances2: Array
    across: Array


@dataclass(frozen=True)
class Model:
    """How theta is read: which entries of L1 and L2 are free."""

    response: Response
    free1: NDArray[np.bool_]
    free2: NDArray[np.bool_]

    def split(self, theta: Array, p: int) -> tuple[Array, Array, Array]:
        """beta, L1 and L2."""
        L1, L2 = np.zeros(self.free1.shape), np.zeros(self.free2.shape)
        of = nested_effects(p, int(self.free1.sum()), int(self.free2.sum()))
        beta, L1[self.free1], L2[self.free2] = of.split(theta)
        return beta, L1, L2

    def slopes(self, rows: Unit, u: Array, v: Array) -> Array:
        """d lambda / d theta of a child's rows, shape (n, q)."""
        (row1, col1), (row2, col2) = np.nonzero(self.free1), np.nonzero(self.free2)
        return np.hstack([rows.X, rows.Z1[:, row1] * u[col1], rows.Z2[:, row2] * v[col2]])


def mode(unit: Unit, theta: Array, model: Model) -> Place:
    """The joint mode, with the factor of the joint curvature there, by Newton's method on all effects at once."""
    beta, L1, L2 = model.split(theta, unit.X.shape[1])
    d1, d2, count = len(L1), len(L2), int(unit.child.max()) + 1
    eta = unit.X @ beta + unit.offset
    A = np.zeros((len(eta), d1 + count * d2))
    A[:, :d1] = unit.Z1 @ L1
    for c in range(count):
        r = unit.child == c
        A[r, d1 + c * d2 : d1 + (c + 1) * d2] = unit.Z2[r] @ L2
    e = np.zeros(A.shape[1])

    def at(x: Array) -> float:
        return float(model.response.value(eta + A @ x, unit.a, unit.b).sum() - 0.5 * x @ x)

    for _ in range(2000):
        _, G, H, _, _ = model.response.derivatives(eta + A @ e, unit.a, unit.b)
        step = np.linalg.solve(np.eye(len(e)) - (A.T * H) @ A, A.T @ G - e)
        length = 1.0
        while at(e + length * step) < at(e) - 1e-12 * (1.0 + abs(at(e))) and length > 1e-12:
            length *= 0.5
        e = e + length * step
        if np.abs(step).max() < 1e-14 * (1.0 + np.abs(e).max()):
            break
    _, _, H, _, _ = model.response.derivatives(eta + A @ e, unit.a, unit.b)
    S = np.eye(len(e)) - (A.T * H) @ A
    Suu, factors, slopes = S[:d1, :d1].copy(), [], []
    for c in range(count):
        own = slice(d1 + c * d2, d1 + (c + 1) * d2)
        factors.append(np.linalg.inv(np.linalg.cholesky(S[own, own])).T)
        slopes.append(-np.linalg.solve(S[own, own], S[own, :d1]))
        Suu += S[:d1, own] @ slopes[c]
    factor1 = np.linalg.inv(np.linalg.cholesky(Suu)).T
    return Place(e[:d1], factor1, e[d1:].reshape(count, d2), np.array(slopes), np.array(factors))


def sums(unit: Unit, theta: Array, model: Model, upper: PointSet, lower: PointSet, place: Place) -> Sums:
    """The sum over points, its derivatives if these are held, and moments of the effects."""
    beta, L1, L2 = model.split(theta, unit.X.shape[1])
    count, d2, size = len(place.centres2), len(L2), len(theta)
    children = [unit.of_child(c) for c in range(count)]
    u = place.centre1 + upper.positions @ place.factor1.T
    q = upper.log_weights - 0.5 * (u**2).sum(axis=1)
    M, E = np.zeros((len(u), size)), np.zeros((len(u), size, size))
    means, seconds = np.zeros((len(u), count, d2)), np.zeros((len(u), count, d2, d2))
    for k, at in enumerate(u):
        for c, rows in enumerate(children):
            v = place.centres2[c] + place.slopes2[c] @ (at - place.centre1) + lower.positions @ place.factors2[c].T
            lam = rows.X @ beta + rows.offset + rows.Z1 @ L1 @ at + v @ (rows.Z2 @ L2).T
            log_f = lower.log_weights - 0.5 * (v**2).sum(axis=1) + model.response.value(lam, rows.a, rows.b).sum(axis=1)
            J = float(logsumexp(log_f))
            share = np.exp(log_f - J)
            q[k] += J + float(np.linalg.slogdet(place.factors2[c])[1])
            scores = np.zeros((len(v), size))
            for index in np.flatnonzero(share > 1e-25):
                _, G, H, _, _ = model.response.derivatives(lam[index], rows.a, rows.b)
                W = model.slopes(rows, at, v[index])
                scores[index] = W.T @ G
                E[k] += share[index] * (W.T * H) @ W
            mean = share @ scores
            apart = np.where((share > 1e-25)[:, None], scores - mean, 0.0)
            M[k] += mean
            E[k] += (apart.T * share) @ apart
            means[k, c], seconds[k, c] = share @ v, (v.T * share) @ v
    total = float(logsumexp(q))
    pi = np.exp(q - total)
    score = pi @ M
    hessian = np.tensordot(pi, E, 1) + ((M - score).T * pi) @ (M - score)
    mean1, means2 = pi @ u, np.tensordot(pi, means, 1)
    return Sums(
        total + float(np.linalg.slogdet(place.factor1)[1]),
        score,
        hessian,
        mean1,
        ((u - mean1).T * pi) @ (u - mean1),
        means2,
        np.tensordot(pi, seconds, 1) - np.einsum("ca,cb->cab", means2, means2),
        np.einsum("k,kca,kb->cab", pi, means - means2, u - mean1),
    )
