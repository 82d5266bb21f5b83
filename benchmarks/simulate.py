"""The data of the benchmarks: random-intercept models, clusters of 5, five standard normal covariates."""

from __future__ import annotations

import numpy as np
import pandas as pd

FORMULA = "y ~ x1 + x2 + x3 + x4 + x5"
SLOPES = np.array([0.5, -0.5, 0.25, -0.25, 1.0])
THRESHOLDS = np.array([-2.0, -0.5, 0.5, 2.0])


def logit(clusters: int, seed: int = 1, size: int = 5, intercept: float = -0.3) -> pd.DataFrame:
    """Binary responses: sigma 1."""
    rng, X, ids = _covariates(clusters, seed, size)
    eta = intercept + X @ SLOPES + rng.normal(size=clusters)[ids]
    return _frame(X, ids, (rng.random(len(ids)) < 1.0 / (1.0 + np.exp(-eta))).astype(np.int64))


def poisson(clusters: int, seed: int = 1, size: int = 5) -> pd.DataFrame:
    """Counts: a quarter of the slopes, intercept 0, sigma 0.5."""
    rng, X, ids = _covariates(clusters, seed, size)
    eta = X @ SLOPES / 4.0 + 0.5 * rng.normal(size=clusters)[ids]
    return _frame(X, ids, rng.poisson(np.exp(eta)))


def totals(clusters: int, seed: int = 1, trials: int = 5) -> pd.DataFrame:
    """One row a cluster: successes among a few trials; intercept -0.3, sigma 1."""
    rng, X, ids = _covariates(clusters, seed, 1)
    eta = -0.3 + X @ SLOPES + rng.normal(size=clusters)
    return _frame(X, ids, rng.binomial(trials, 1.0 / (1.0 + np.exp(-eta)))).assign(n=trials)


def overdispersed(clusters: int, seed: int = 1, size: int = 10, alpha: float = 0.5) -> pd.DataFrame:
    """Counts with variance mean + alpha mean^2: those of `poisson` with a gamma factor for each row."""
    rng, X, ids = _covariates(clusters, seed, size)
    mean = np.exp(0.5 + X @ SLOPES / 4.0 + 0.5 * rng.normal(size=clusters)[ids])
    return _frame(X, ids, rng.poisson(mean * rng.gamma(1.0 / alpha, alpha, len(ids))))


def ratings(clusters: int, seed: int = 1, size: int = 5) -> pd.DataFrame:
    """Five categories, by thresholds at -2, -0.5, 0.5 and 2 of a logistic variable: sigma 1."""
    rng, X, ids = _covariates(clusters, seed, size)
    latent = X @ SLOPES + rng.normal(size=clusters)[ids] + rng.logistic(size=len(ids))
    return _frame(X, ids, np.digitize(latent, THRESHOLDS))


def _covariates(clusters: int, seed: int, size: int) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(clusters), size)
    return rng, rng.normal(size=(len(ids), len(SLOPES))), ids


def _frame(X: np.ndarray, ids: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    data = pd.DataFrame(X, columns=[f"x{k + 1}" for k in range(X.shape[1])])
    return data.assign(y=y, id=ids)
