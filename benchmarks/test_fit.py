"""pytest-benchmark suite: `pytest benchmarks/test_fit.py`; CLUSTERS=1000,1000000 in the environment chooses sizes."""

from __future__ import annotations

import os

import pytest
import simulate

import clusterglm as cg

SIZES = [int(size) for size in os.environ.get("CLUSTERS", "1000,10000,100000").split(",")]
MODELS = {"logit": (simulate.logit, "binomial"), "Poisson": (simulate.poisson, "poisson")}


@pytest.mark.parametrize("clusters", SIZES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("quadrature", ["laplace", 8, "auto"])
def test_random_effects(benchmark, clusters: int, model: str, quadrature: str | int) -> None:
    generate, family = MODELS[model]
    data = generate(clusters)
    rounds = 5 if clusters <= 100_000 else 1
    result = benchmark.pedantic(
        lambda: cg.random_effects(simulate.FORMULA, data, cluster="id", family=family, quadrature=quadrature),
        rounds=rounds,
        warmup_rounds=1,
    )
    assert result.converged
