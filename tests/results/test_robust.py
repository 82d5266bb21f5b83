"""Robust covariances against a sandwich in plain NumPy, of scores that the core has no part in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import clusterglm as cg
from clusterglm.likelihood import reference, reference_within
from clusterglm.model.control import Control

TIGHT = Control(tol=1e-11)


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    sizes = rng.integers(2, 9, 25)
    ids = np.repeat(np.arange(25), sizes)
    x, z = rng.normal(size=len(ids)), rng.normal(size=len(ids))
    y = rng.random(len(ids)) < expit(0.7 * x - 0.3 * z + rng.normal(size=25)[ids])
    weights = rng.uniform(0.5, 2.0, 25)[ids]
    return pd.DataFrame({"y": y.astype(int), "x": x, "z": z, "id": ids, "v": weights})


def one_by_one(fit: Any) -> list[tuple[Any, ...]]:
    """The arrays of each cluster alone, its weight included."""
    d = fit.data
    clusters = []
    for i in range(d.n_clusters):
        rows = slice(d.starts[i], d.starts[i + 1])
        n = d.starts[i + 1] - d.starts[i]
        clusters.append(
            (np.array([0, n]), d.X[rows], d.a[rows], d.b[rows], d.offset[rows], d.cluster_weights[i : i + 1])
        )
    return clusters


def sandwich(covariance: np.ndarray, scores: list[np.ndarray]) -> np.ndarray:
    m = len(scores)
    meat = sum(np.outer(g, g) for g in scores)
    return np.asarray(m / (m - 1) * covariance @ meat @ covariance)


@pytest.mark.parametrize("verb", ["pooled", "fixed_effects", "conditional", "random_effects"])
def test_sandwich(verb: str, data: pd.DataFrame) -> None:
    options = {"quadrature": 9} if verb == "random_effects" else {}
    fit = getattr(cg, verb)("y ~ x + z", data, cluster="id", cluster_weights="v", control=TIGHT, **options)
    beta = fit.params.to_numpy()
    scores = []
    for cluster in one_by_one(fit):
        if verb == "pooled":
            scores.append(reference.pooled(*cluster, beta, fit.response)[1])
        elif verb == "random_effects":
            theta = np.append(beta, fit.sigma)
            scores.append(reference.marginal(*cluster, theta, fit.response, fit.distribution, "normal", 9)[1])
        elif cluster[2].any() and cluster[3].any():
            if verb == "fixed_effects":
                scores.append(reference_within.profile(*cluster, beta, fit.response)[0].score)
            else:
                scores.append(reference_within.conditional(*cluster, beta).score)
    expected = sandwich(fit.cov().to_numpy(), scores)
    np.testing.assert_allclose(fit.cov("robust"), expected, rtol=1e-9, atol=1e-10)
