"""Small data with random effects of every layout, and their densities written out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterglm.likelihood.gaussian.layout import Factor
from clusterglm.likelihood.gaussian.objective import Task, factors_in
from clusterglm.likelihood.gaussian.statistics import statistics_of
from clusterglm.model.covariance import Covariance, CovarianceTerm

STRUCTURES = (
    "intercept",
    "us",
    "diag",
    "homdiag",
    "cs",
    "two terms",
    "nested",
    "three nested",
    "crossed",
    "three crossed",
    "nested and crossed",
)


@dataclass(frozen=True)
class Case:
    """Rows, their levels, and how effects covary."""

    X: np.ndarray
    Z: np.ndarray
    y: np.ndarray
    levels: dict[str, np.ndarray]
    covariance: Covariance
    weights: np.ndarray
    cluster_weights: np.ndarray

    @property
    def places(self) -> list[np.ndarray]:
        """Columns of Z of each factor."""
        return factors_in(self.covariance, list(self.levels))

    def task(self, reml: bool = False) -> Task:
        factors = []
        for codes, columns in zip(self.levels.values(), self.places, strict=True):
            labels, place = np.unique(codes, return_inverse=True)
            factors.append(Factor(place.astype(np.int64), len(labels), columns))
        found = statistics_of(self.X, self.y, self.Z, factors, self.weights, self.cluster_weights)
        return Task(found, self.covariance, reml)

    def marginal(self, phi: np.ndarray, sd: float, rows: np.ndarray) -> np.ndarray:
        """Covariance matrix of some rows."""
        L = self.covariance.factor(phi)
        S, Z = L @ L.T, self.Z[rows]
        V = sd**2 * np.eye(len(rows))
        for codes, columns in zip(self.levels.values(), self.places, strict=True):
            same = codes[rows][:, None] == codes[rows][None]
            V += same * (Z[:, columns] @ S[np.ix_(columns, columns)] @ Z[:, columns].T)
        return V

    def written_out(self) -> list[np.ndarray]:
        """Rows as often as their weights say, a list for each copy of the clusters."""
        rows = np.repeat(np.arange(len(self.y)), self.weights.astype(int))
        most = int(self.cluster_weights.max())
        return [rows[self.cluster_weights[rows] >= copy] for copy in range(1, most + 1)]


def case_of(name: str, *, weighted: bool = False, seed: int = 1, n: int = 60) -> Case:
    rng = np.random.default_rng(seed)
    a, x, z, one = rng.integers(0, 6, n), rng.normal(size=n), rng.normal(size=n), np.ones(n)
    b, c = rng.integers(0, 8, n), rng.integers(0, 5, n)
    inside = a * 3 + rng.integers(0, 3, n)
    terms: list[tuple[str, tuple[str, ...], str]]
    levels = {"a": a}
    if name in ("us", "diag", "homdiag"):
        columns, terms = [one, x], [("a", ("1", "x"), name)]
    elif name == "intercept":
        columns, terms = [one], [("a", ("1",), "us")]
    elif name == "cs":
        columns, terms = [one, x, z], [("a", ("1", "x", "z"), "cs")]
    elif name == "two terms":
        columns, terms = [one, x, z], [("a", ("1", "x"), "us"), ("a", ("z",), "us")]
    elif name == "nested":
        levels |= {"b": inside}
        columns, terms = [one, x, one, z], [("a", ("1", "x"), "us"), ("b", ("1", "z"), "us")]
    elif name == "three nested":
        levels |= {"b": inside, "c": inside * 2 + rng.integers(0, 2, n)}
        columns = [one, x, one, one]
        terms = [("a", ("1", "x"), "us"), ("b", ("1",), "us"), ("c", ("1",), "us")]
    elif name == "crossed":
        levels |= {"b": b}
        columns, terms = [one, x, one, z], [("a", ("1", "x"), "us"), ("b", ("1", "z"), "cs")]
    elif name == "three crossed":
        levels |= {"b": b, "c": c}
        columns, terms = [one, one, one, z], [("a", ("1",), "us"), ("b", ("1",), "us"), ("c", ("1", "z"), "diag")]
    else:
        levels |= {"b": inside, "c": c}
        columns, terms = [one, one, x, one], [("a", ("1",), "us"), ("b", ("1", "x"), "us"), ("c", ("1",), "us")]
    crossed = "crossed" in name
    y = 1.0 + 0.5 * x + 2.0 * rng.normal(size=n) + rng.normal(size=6)[a]
    return Case(
        np.column_stack([one, x]),
        np.column_stack(columns),
        y,
        levels,
        Covariance(tuple(CovarianceTerm(*term) for term in terms)),
        rng.integers(1, 3, n).astype(float) if weighted else np.ones(n),
        np.array([1.0, 2.0, 1.0, 3.0, 1.0, 2.0])[a] if weighted and not crossed else np.ones(n),
    )
