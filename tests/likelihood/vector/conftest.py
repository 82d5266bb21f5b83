"""Clustered data with several effects, made up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from clusterglm.likelihood.vector import reference
from clusterglm.likelihood.vector.vector import Places, VectorLikelihood, unstructured


@dataclass(frozen=True)
class Block:
    """Clustered data as the core takes them, with columns of effects."""

    X: np.ndarray
    Z: np.ndarray
    a: np.ndarray
    b: np.ndarray
    offset: np.ndarray
    starts: np.ndarray
    cluster_weights: np.ndarray

    def likelihood(self, model, free=None, threads=1):
        return VectorLikelihood(self.X, self.Z, self, model, free, threads)

    def rows(self, cluster):
        return reference.rows_of(self.starts, self.X, self.Z, self.a, self.b, self.offset, cluster)

    def twin(self, theta, model, points, free=None, places=None):
        """The weighted sums of the NumPy twin."""
        free = unstructured(self.Z.shape[1]) if free is None else free
        value, score, hessian = 0.0, 0.0, 0.0
        for i, weight in enumerate(self.cluster_weights):
            rows = self.rows(i)
            at = (places.centres[i], places.factors[i]) if places else reference.mode(rows, theta, free, model)
            sums = reference.sums(rows, theta, free, model, points, *at)
            value, score, hessian = (
                value + weight * sums.value,
                score + weight * sums.score,
                hessian + weight * sums.hessian,
            )
        return value, score, hessian

    def about_modes(self, theta, model, free=None, scale=1.2):
        """Places near the modes, factors lower triangular."""
        free = unstructured(self.Z.shape[1]) if free is None else free
        found = [reference.mode(self.rows(i), theta, free, model) for i in range(len(self.starts) - 1)]
        factors = np.array([np.linalg.cholesky(F @ F.T) for _, F in found])
        return Places(np.array([u for u, _ in found]) + 0.1, scale * factors)


@pytest.fixture(scope="session")
def simulate():
    def made(model, sizes, d, *, seed=1, weighted=True):
        rng = np.random.default_rng(seed)
        n = sum(sizes)
        X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
        Z = np.column_stack([X[:, :2], rng.normal(size=(n, 3))])[:, :d]
        w = rng.uniform(0.5, 2.0, n) if weighted else np.ones(n)
        trials = rng.integers(1, 4, n) if weighted else np.ones(n, dtype=int)
        if model.family == "binomial":
            y = rng.binomial(trials, 0.5)
            a, b = w * y, w * (trials - y)
        else:
            a, b = w * (model.least + rng.poisson(1.5, n)), w
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        offset = rng.normal(scale=0.3, size=n) if weighted else np.zeros(n)
        weights = rng.uniform(0.5, 2.0, len(sizes)) if weighted else np.ones(len(sizes))
        return Block(X, Z, a.astype(float), b.astype(float), offset, starts, weights)

    return made


@pytest.fixture(scope="session")
def parameters():
    """Three coefficients, and entries of L."""

    def made(free, scale=0.8):
        return np.concatenate([[0.3, -0.5, 0.8], scale * np.random.default_rng(3).normal(size=int(free.sum()))])

    return made
