"""Samples of many clusters tell what all of them do, in designs whose clusters take turns too."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.data.clusters import spread_out
from clusterglm.fit.standardise import tells_columns_apart


@pytest.mark.parametrize("every", [1, 2, 3, 4, 7, 10, 40])
def test_one_of_each_neighbourhood(every: int) -> None:
    found = spread_out(1000, every)
    np.testing.assert_array_equal(found // every, np.arange(1000 // every))


@pytest.mark.parametrize("every", [2, 4, 5, 8, 10, 20])
@pytest.mark.parametrize("turns", [2, 3, 4, 5, 6])
def test_patterns_have_their_part(every: int, turns: int) -> None:
    found = spread_out(20_000, every)
    share = np.bincount(found % turns, minlength=turns) / len(found)
    assert np.abs(share - 1.0 / turns).max() < 0.08


def test_fewer_clusters_than_one_in_so_many() -> None:
    assert spread_out(3, 10).tolist() == [0]


def test_columns_that_a_sample_does_not_see() -> None:
    x = np.tile([1.0, -1.0], 50)
    assert tells_columns_apart(np.column_stack([np.ones(100), x]))
    assert not tells_columns_apart(np.column_stack([np.ones(100), x])[::2])
    assert not tells_columns_apart(np.column_stack([np.ones(100), np.zeros(100)]))
    assert tells_columns_apart(np.zeros((100, 0)))


def trial(family: str, seed: int = 2, n: int = 2000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    id, week = np.repeat(np.arange(n), 4), np.tile(np.arange(4), n)
    b = rng.multivariate_normal([0.0, 0.0], [[0.64, 0.12], [0.12, 0.09]], size=n)
    eta = 1.0 - 0.7 * (id % 2) + 0.2 * week + b[id, 0] + b[id, 1] * week
    y = rng.poisson(np.exp(eta)) if family == "poisson" else rng.binomial(1, 1.0 / (1.0 + np.exp(-eta)))
    return pd.DataFrame({"id": id, "week": week, "trt": id % 2, "y": y})


@pytest.mark.parametrize("family", ["poisson", "binomial"])
@pytest.mark.parametrize("quadrature", ["laplace", "auto"])
def test_treatments_that_take_turns(family: str, quadrature: str) -> None:
    """One cluster in four would all have had the same treatment."""
    d = trial(family)
    fit = cg.random_effects("y ~ trt + week + (week | id)", d, family=family, quadrature=quadrature)
    mixed = d.assign(id=np.random.default_rng(1).permutation(2000)[d["id"]])
    other = cg.random_effects("y ~ trt + week + (week | id)", mixed, family=family, quadrature=quadrature)
    assert fit.converged
    assert fit.loglik == pytest.approx(other.loglik, abs=2e-5)
    np.testing.assert_allclose(fit.params, other.params, atol=1e-4)


def test_a_level_that_no_sample_has() -> None:
    d = trial("poisson").assign(rare=lambda d: (d["id"] == 1001).astype(int))
    fit = cg.random_effects("y ~ trt + week + rare + (week | id)", d, family="poisson", quadrature="laplace")
    assert fit.converged
    assert np.isfinite(fit.bse).all()
