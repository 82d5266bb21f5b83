"""Data whose factors cross, made up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from clusterglm.likelihood.crossed import reference
from clusterglm.likelihood.crossed.crossed import CrossedLikelihood
from clusterglm.likelihood.crossed.layout import OutsideTerm
from clusterglm.likelihood.vector.vector import unstructured


@dataclass(frozen=True)
class CrossedBlock:
    """Rows of units, and terms that cross them, as the core takes them."""

    X: np.ndarray
    Z: np.ndarray
    a: np.ndarray
    b: np.ndarray
    offset: np.ndarray
    starts: np.ndarray
    cluster_weights: np.ndarray
    terms: tuple
    model: object

    def likelihood(self, threads=1):
        return CrossedLikelihood(self.X, self.Z, self, self.terms, self.model, threads=threads)

    def twin(self):
        units = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        return reference.Model(
            self.X,
            self.Z,
            units,
            self.a,
            self.b,
            self.offset,
            self.cluster_weights,
            self.terms,
            self.model,
            unstructured(self.Z.shape[1]),
        )

    def theta(self, scale=0.7, seed=3):
        """Coefficients, and entries of all factors."""
        rng, entries = np.random.default_rng(seed), []
        for d in (self.Z.shape[1], *(term.n_effects for term in self.terms)):
            L = np.tril(0.4 * scale * rng.normal(size=(d, d)), -1) + scale * np.diag(rng.uniform(0.7, 1.3, d))
            entries.append(L[unstructured(d)])
        return np.concatenate([[0.2, -0.4], *entries])


@pytest.fixture(scope="session")
def simulate():
    def made(model, units, levels, effects=(1,), d=1, *, seed=1, nested=False, binary=False):
        """`levels` and `effects` of each outside term; `nested`: units lie within the levels of the last term."""
        rng = np.random.default_rng(seed)
        unit = np.concatenate([np.full(rng.integers(2, 6), i) for i in range(units)])
        n = len(unit)
        X = np.column_stack([np.ones(n), rng.normal(size=n)])
        columns = np.column_stack([X, rng.normal(size=n)])
        chosen = [rng.integers(0, count, n) for count in levels]
        if nested:
            chosen[-1] = unit * levels[-1] // units
        terms = tuple(
            OutsideTerm(np.ascontiguousarray(columns[:, :e]), np.unique(level, return_inverse=True)[1], unstructured(e))
            for level, e in zip(chosen, effects, strict=True)
        )
        if model.family == "binomial":
            trials = np.ones(n) if binary else rng.integers(1, 3, n)
            a = rng.binomial(trials.astype(int), 0.5).astype(float)
            b = trials - a
        else:
            a, b = model.least + rng.poisson(1.3, n).astype(float), np.ones(n)
        starts = np.append(np.flatnonzero(np.diff(unit, prepend=-1)), n).astype(np.int64)
        Z = np.ascontiguousarray(columns[:, :d])
        offset = rng.normal(scale=0.2, size=n)
        return CrossedBlock(X, Z, a, b.astype(float), offset, starts, np.ones(units), terms, model)

    return made
