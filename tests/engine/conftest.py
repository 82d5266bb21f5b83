"""A table whose clusters are scattered over files, and an engine whose blocks are small."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg


def _table(seed: int = 0, clusters: int = 600, size: int = 6) -> pd.DataFrame:
    """Clusters with scattered rows, missing values, a level in a few clusters, a column far from zero."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(clusters), size)
    n = len(ids)
    data = pd.DataFrame({"x": rng.normal(size=n), "id": [f"c{k}" for k in ids]})
    data["big"] = 1e5 + 300.0 * rng.normal(size=n)
    data["g"] = np.where((ids > 6) & (ids < 12), "rare", np.array(["lo", "mid", "up"])[rng.integers(0, 3, n)])
    data["w"] = rng.integers(0, 4, n).astype(float)
    data["t"] = rng.normal(size=n) / 4.0
    data["keep"] = rng.random(n) < 0.95
    eta = 0.3 + 0.7 * data.x + rng.normal(size=clusters)[ids]
    data["y"] = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    data["word"] = np.where(data.y == 1, "yes", "no")
    data["n"] = 3 - data.y
    data["count"] = rng.poisson(np.exp(0.3 * data.x + 0.5 * rng.normal(size=clusters)[ids]))
    data.loc[rng.integers(0, n, 30), "x"] = np.nan
    data.loc[rng.integers(0, n, 20), "id"] = None
    return data.sample(frac=1.0, random_state=1).reset_index(drop=True)


@pytest.fixture(scope="session")
def data() -> pd.DataFrame:
    return _table()


@pytest.fixture(scope="session")
def files(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for k, rows in enumerate(np.array_split(np.arange(len(data)), 3)):
        data.iloc[rows].to_parquet(folder / f"part-{k}.parquet")
    return folder


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Any]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    yield cg.engine.Stream(memory=2**20, folder=scratch)  # blocks of about a thousand rows
    assert list(scratch.iterdir()) == []  # whatever happened


def _same(a, b, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(b.params, a.params, rtol=rtol)
    assert list(b.params.index) == list(a.params.index)
    np.testing.assert_allclose(b.cov(), a.cov(), rtol=100 * rtol)
    np.testing.assert_allclose(b.cov("robust"), a.cov("robust"), rtol=1e4 * rtol)
    assert b.loglik == pytest.approx(a.loglik, rel=1e-12)
    assert b.deviance == pytest.approx(a.deviance, rel=1e-10)
    assert (b.n_obs, b.n_clusters, b.aic > 0) == (a.n_obs, a.n_clusters, a.aic > 0)
    assert sorted((d.reason, d.count) for d in b.data.dropped) == sorted((d.reason, d.count) for d in a.data.dropped)


@pytest.fixture(scope="session")
def table() -> Callable[..., pd.DataFrame]:
    return _table


@pytest.fixture(scope="session")
def same() -> Callable[..., None]:
    """Compares a fit in memory with one of blocks."""
    return _same


@pytest.fixture(scope="session")
def words() -> Callable[[Any], str]:
    """A summary but for the gradient where the search stopped, which is rounding."""
    return lambda fit: re.sub(r"gradient\s+norm\s+\S+", "gradient", " ".join(str(fit).split()))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two processes of Dask."""
    from distributed import LocalCluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
        with LocalCluster(**options) as found:
            yield found


@pytest.fixture(scope="module")
def client(cluster: Any) -> Iterator[Any]:
    with cluster.get_client() as found:
        yield found
