"""Nested data with effects at both levels, made up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from clusterglm.likelihood.nested import reference
from clusterglm.likelihood.nested.nested import NestedLikelihood


@dataclass(frozen=True)
class NestedBlock:
    """Rows of units and their children as the core takes them."""

    X: np.ndarray
    Z1: np.ndarray
    Z2: np.ndarray
    a: np.ndarray
    b: np.ndarray
    offset: np.ndarray
    starts: np.ndarray
    child_starts: np.ndarray
    cluster_weights: np.ndarray

    def likelihood(self, model, free1=None, free2=None, threads=1):
        return NestedLikelihood(self.X, self.Z1, self.Z2, self, self.child_starts, model, free1, free2, threads)

    def unit(self, i):
        r = slice(self.starts[i], self.starts[i + 1])
        child = np.searchsorted(self.child_starts, np.arange(self.starts[i], self.starts[i + 1]), side="right") - 1
        return reference.Unit(self.X[r], self.Z1[r], self.Z2[r], child - child[0], self.a[r], self.b[r], self.offset[r])

    def place(self, places, i):
        """Where the points of one unit lie, out of those of all."""
        first = np.searchsorted(self.child_starts, self.starts)
        r = slice(first[i], first[i + 1])
        return reference.Place(
            places.centres1[i], places.factors1[i], places.centres2[r], places.slopes2[r], places.factors2[r]
        )

    def twin(self, theta, model, upper, lower, places=None):
        """Each unit's sums by the NumPy twin: value, score and Hessian, weighted."""
        value, score, hessian = 0.0, 0.0, 0.0
        for i, weight in enumerate(self.cluster_weights):
            place = reference.mode(self.unit(i), theta, model) if places is None else self.place(places, i)
            sums = reference.sums(self.unit(i), theta, model, upper, lower, place)
            value, score, hessian = (
                value + weight * sums.value,
                score + weight * sums.score,
                hessian + weight * sums.hessian,
            )
        return value, score, hessian


@pytest.fixture(scope="session")
def simulate():
    def made(model, units, d1, d2, *, seed=1, weighted=True):
        """`units`: of each unit, the rows of its children."""
        rng = np.random.default_rng(seed)
        sizes = [n for unit in units for n in unit]
        n = sum(sizes)
        X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
        Z1 = np.column_stack([X[:, :2], rng.normal(size=(n, 2))])[:, :d1]
        Z2 = np.column_stack([X[:, :1], rng.normal(size=(n, 1)), X[:, 2:]])[:, :d2]
        w = rng.uniform(0.5, 2.0, n) if weighted else np.ones(n)
        trials = rng.integers(1, 4, n) if weighted else np.ones(n, dtype=int)
        if model.family == "binomial":
            y = rng.binomial(trials, 0.5)
            a, b = w * y, w * (trials - y)
        else:
            a, b = w * (model.least + rng.poisson(1.5, n)), w
        child_starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        starts = np.concatenate([[0], np.cumsum([sum(unit) for unit in units])]).astype(np.int64)
        offset = rng.normal(scale=0.3, size=n) if weighted else np.zeros(n)
        weights = rng.uniform(0.5, 2.0, len(units)) if weighted else np.ones(len(units))
        return NestedBlock(X, Z1, Z2, a.astype(float), b.astype(float), offset, starts, child_starts, weights)

    return made


@pytest.fixture(scope="session")
def parameters():
    """Three coefficients, and entries of L1 and L2."""

    def made(free1, free2, scale=0.8):
        entries = scale * np.random.default_rng(3).normal(size=int(free1.sum() + free2.sum()))
        return np.concatenate([[0.3, -0.5, 0.8], entries])

    return made
