"""Fits that several tests of results look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult


@pytest.fixture(scope="session")
def bacteria(golden_frame: Any) -> pd.DataFrame:
    return golden_frame("bacteria")


@pytest.fixture(scope="session")
def epil(golden_frame: Any) -> pd.DataFrame:
    return golden_frame("epil")


@pytest.fixture(scope="session")
def logit(bacteria: pd.DataFrame) -> RandomEffectsResult:
    """A Gaussian intercept on the logit scale."""
    return cg.random_effects("yy ~ trt + late", bacteria, cluster="ID")


@pytest.fixture(scope="session")
def cauchy(bacteria: pd.DataFrame) -> RandomEffectsResult:
    return cg.random_effects("yy ~ trt + late", bacteria, cluster="ID", distribution="cauchy")


@pytest.fixture(scope="session")
def counts(epil: pd.DataFrame) -> RandomEffectsResult:
    """A logistic intercept in a Poisson model with an offset."""
    return cg.random_effects(
        "y ~ lbase + trt + offset(lage)", epil, cluster="subject", family="poisson", distribution="logistic"
    )


@pytest.fixture(scope="session")
def pooled(bacteria: pd.DataFrame) -> PooledResult:
    return cg.pooled("yy ~ trt + late", bacteria, cluster="ID")


@pytest.fixture(scope="session")
def alternating() -> pd.DataFrame:
    """Each cluster has as many successes as failures: less variation between clusters than chance gives."""
    x = np.tile([0.3, -0.2, 0.9, -1.1, 0.1, 0.4], 20) + np.repeat(np.linspace(-1.0, 1.0, 20), 6)
    return pd.DataFrame({"y": np.tile([0, 1], 60), "x": x, "id": np.repeat(np.arange(20), 6)})


@pytest.fixture(scope="session")
def at_zero(alternating: pd.DataFrame) -> RandomEffectsResult:
    """A fit whose maximum lies at sigma = 0."""
    return cg.random_effects("y ~ x", alternating, cluster="id")
