"""Golden data and values as fixtures, and the models that tests run over."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from scipy.special import gammaln

os.environ.pop("COLUMNS", None)  # pytest's readline leaves it to workers; text that goes to no terminal is not folded
settings.register_profile("clusterglm", deadline=None)  # how busy the machine is does not matter
settings.load_profile("clusterglm")

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def figures_closed() -> Iterator[None]:
    """Whatever a test has drawn; matplotlib warns of many open figures."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@dataclass(frozen=True)
class Arrays:
    """A data set as the likelihoods take it: rows in cluster order, design prepared by hand."""

    names: tuple[str, ...]
    starts: np.ndarray
    X: np.ndarray
    a: np.ndarray
    b: np.ndarray
    offset: np.ndarray
    cluster_weights: np.ndarray
    constant: float
    """What the kernel leaves out of the full log-likelihood."""

    @property
    def block(self) -> tuple[np.ndarray, ...]:
        """The leading arguments of every function of `likelihood.reference`."""
        return self.starts, self.X, self.a, self.b, self.offset, self.cluster_weights

    def theta(self, fit: dict[str, Any]) -> np.ndarray:
        """(beta, sigma) of a golden fit, in the order of the columns of X."""
        return np.array([*(fit["coef"][name] for name in self.names), fit["sigma"]])


def _recoded(name: str) -> tuple[pd.DataFrame, str, np.ndarray, np.ndarray, list[tuple[str, Any]]]:
    """Data frame, cluster column, successes or counts, trials or ones, and the columns of X."""
    d = pd.read_csv(GOLDEN / "data" / f"{name}.csv")
    one = ("(Intercept)", np.ones(len(d)))
    if name == "bacteria":
        columns = [one, ("trtdrug", d.trt == "drug"), ("trtdrug+", d.trt == "drug+"), ("late", d.week > 2)]
        return d, "ID", (d.y == "y").to_numpy(float), np.ones(len(d)), columns
    if name.startswith("cbpp"):
        columns = [one, *((f"period{k}", d.period == k) for k in (2, 3, 4))]
        if name == "cbpp_expanded":
            return d, "herd", d.y.to_numpy(float), np.ones(len(d)), columns
        return d, "herd", d.incidence.to_numpy(float), d["size"].to_numpy(float), columns
    if name == "epil":
        trt = (d.trt == "progabide").to_numpy(float)
        columns = [one, ("lbase", d.lbase), ("trtprogabide", trt), ("lage", d.lage), ("V4", d.V4)]
        return d, "subject", d.y.to_numpy(float), np.ones(len(d)), [*columns, ("lbase:trtprogabide", d.lbase * trt)]
    if name == "infert":
        columns = [one, ("spontaneous", d.spontaneous), ("induced", d.induced)]
        return d, "stratum", d.case.to_numpy(float), np.ones(len(d)), columns
    if name == "ohio":
        return d, "id", d.resp.to_numpy(float), np.ones(len(d)), [one, ("age", d.age), ("smoke", d.smoke)]
    if name == "respiratory":
        columns = [
            one,
            ("base", d.baseline == "good"),
            ("trt", d.treatment == "treatment"),
            ("male", d.gender == "male"),
            ("age", d.age),
            ("c2", d.centre == 2),
        ]
        return d, "subject", d.y.to_numpy(float), np.ones(len(d)), columns
    raise KeyError(name)


@lru_cache
def _arrays(name: str) -> Arrays:
    d, cluster, y, n, columns = _recoded(name)
    codes, _ = pd.factorize(d[cluster], sort=True)
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    X = np.column_stack([np.asarray(column, dtype=float) for _, column in columns])[order]
    y, n = y[order], n[order]
    if name == "epil":
        a, b, constant = y, n, -gammaln(y + 1).sum()
    else:
        a, b = y, n - y
        constant = (gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)).sum()
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    names = tuple(column for column, _ in columns)
    X = np.ascontiguousarray(X)
    return Arrays(names, starts, X, a, b, np.zeros(len(y)), np.ones(len(counts)), float(constant))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `exact_name` runs once for every fit of exact.json."""
    if "exact_name" in metafunc.fixturenames:
        metafunc.parametrize("exact_name", list(json.loads((GOLDEN / "exact.json").read_text())))


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the golden files."""
    return GOLDEN


@pytest.fixture(scope="session")
def exact() -> dict[str, Any]:
    """exact.json: fits by name, each with dataset, formula, coef, sigma, se, logLik."""
    return json.loads((GOLDEN / "exact.json").read_text())


@pytest.fixture(scope="session")
def r_reference() -> dict[str, Any]:
    """r.json: data sets by name, each with ll_sat and its fits by id."""
    return json.loads((GOLDEN / "r.json").read_text())


@pytest.fixture(scope="session")
def golden_arrays() -> Callable[[str], Arrays]:
    """Function from a data set's name to its arrays."""
    return _arrays


@pytest.fixture(scope="session")
def golden_frame() -> Callable[[str], pd.DataFrame]:
    """Function from a data set's name to a data frame with the columns its formula names."""

    def frame(name: str) -> pd.DataFrame:
        d = _recoded(name)[0].copy()
        if name == "bacteria":
            d["yy"], d["late"] = (d.y == "y").astype(int), (d.week > 2).astype(int)
            d["trt"] = pd.Categorical(d.trt, ["placebo", "drug", "drug+"])
        if name.startswith("cbpp"):
            d["period"] = d.period.astype(str)
        if name == "epil":
            d["trt"] = pd.Categorical(d.trt, ["placebo", "progabide"])
        if name == "respiratory":
            d["base"], d["trt"] = (d.baseline == "good").astype(int), (d.treatment == "treatment").astype(int)
            d["male"], d["c2"] = (d.gender == "male").astype(int), (d.centre == 2).astype(int)
        return d

    return frame
