"""Fits that the plots show, and a figure that nobody else sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import clusterglm as cg

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No figure outlives its test."""
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.fixture(scope="session")
def bacteria() -> pd.DataFrame:
    return cg.datasets.load("bacteria")


@pytest.fixture(scope="session")
def epil() -> pd.DataFrame:
    return cg.datasets.load("epil")


@pytest.fixture(scope="session")
def fits(bacteria: pd.DataFrame, epil: pd.DataFrame) -> dict[str, Any]:
    """One result of each kind, and a few that plots must not stumble over."""
    infert = cg.datasets.load("infert")
    x = np.tile([0.3, -0.2, 0.9, -1.1, 0.1, 0.4], 20) + np.repeat(np.linspace(-1.0, 1.0, 20), 6)
    even = pd.DataFrame({"y": np.tile([0, 1], 60), "x": x, "id": np.repeat(np.arange(20), 6)})
    return {
        "random": cg.random_effects("y ~ trt + week", bacteria, cluster="ID"),
        "cauchy": cg.random_effects("y ~ trt + week", bacteria, cluster="ID", distribution="cauchy"),
        "pooled": cg.pooled("y ~ trt + week", bacteria, cluster="ID"),
        "fixed": cg.fixed_effects("y ~ week", bacteria, cluster="ID"),
        "conditional": cg.conditional("case ~ spontaneous + induced", infert, cluster="stratum"),
        "counts": cg.random_effects("y ~ lbase + trt + offset(lage)", epil, cluster="subject", family="poisson"),
        "at_zero": cg.random_effects("y ~ x", even, cluster="id"),
    }
