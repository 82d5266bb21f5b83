"""Tests of no clustering: by simulation, by permutation, by the score."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import clusterglm as cg
from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
from clusterglm.errors import DataError, OptionError
from clusterglm.fit.pooled import fit_pooled
from clusterglm.inference.hypotheses.bootstrap import SimulatedTest
from clusterglm.inference.hypotheses.score_test import ScoreTest, score_test
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.rules import single_rule
from clusterglm.model.control import Control
from clusterglm.model.distribution import Gaussian
from clusterglm.model.family import RESPONSES, response


def simulate(clusters: int, size: int, sigma: float, seed: int, family: str = "binomial") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = clusters * size
    x, ids = rng.normal(size=n), np.repeat(np.arange(clusters), size)
    eta = 0.2 + 0.8 * x + sigma * rng.normal(size=clusters)[ids]
    y = rng.random(n) < expit(eta) if family == "binomial" else rng.poisson(np.exp(eta))
    return pd.DataFrame({"y": np.asarray(y, dtype=int), "x": x, "id": ids})


@pytest.fixture(scope="module")
def clustered() -> pd.DataFrame:
    return simulate(30, 6, 1.0, seed=1)


@pytest.fixture(scope="module", params=["fixed_effects", "random_effects"])
def fitted(request: Any, clustered: pd.DataFrame) -> Any:
    return getattr(cg, request.param)("y ~ x", clustered, cluster="id")


@pytest.mark.parametrize("method", ["bootstrap", "permutation"])
@pytest.mark.parametrize("statistic", ["lr", "loglik"])
def test_the_same_seed_gives_the_same_p_value_for_any_number_of_workers(
    fitted: Any, method: str, statistic: str
) -> None:
    one = fitted.test_clustering(method, statistic, n_boot=60, seed=5)
    two = fitted.test_clustering(method, statistic, n_boot=60, seed=5, n_jobs=2)
    assert isinstance(one, SimulatedTest)
    assert one.pvalue == two.pvalue
    assert np.array_equal(one.replicates, two.replicates)
    exceed = np.count_nonzero(one.replicates >= one.statistic - 1e-4)
    assert one.pvalue == (1 + exceed) / (1 + len(one.replicates))
    assert one.pvalue_se == pytest.approx(np.sqrt(one.pvalue * (1.0 - one.pvalue) / len(one.replicates)))
    assert "seed 5" in str(one)


def test_the_statistics_are_what_they_say(fitted: Any) -> None:
    lr = fitted.test_clustering(n_boot=5, seed=1).statistic
    null = cg.pooled("y ~ x", simulate(30, 6, 1.0, seed=1))
    assert lr == pytest.approx(2.0 * (fitted.loglik - null.loglik), abs=1e-8)
    assert fitted.test_clustering(statistic="loglik", n_boot=5, seed=1).statistic == pytest.approx(
        -0.5 * fitted.deviance
    )


def test_a_replicate_is_the_two_fits_to_its_responses(clustered: pd.DataFrame) -> None:
    # replicate k draws its responses from child k of the seed
    fit = cg.fixed_effects("y ~ x", clustered, cluster="id")
    test = fit.test_clustering(n_boot=3, seed=11)
    null = cg.pooled("y ~ x", clustered)
    for seed, statistic in zip(np.random.SeedSequence(11).spawn(3), test.replicates, strict=True):
        y = np.random.default_rng(seed).random(len(clustered)) < null.predict().to_numpy()
        new = clustered.assign(y=y.astype(int))
        expected = 2.0 * (cg.fixed_effects("y ~ x", new, cluster="id").loglik - cg.pooled("y ~ x", new).loglik)
        assert statistic == pytest.approx(expected, abs=1e-4)


def test_a_permuted_replicate_is_the_fit_to_dealt_out_rows(clustered: pd.DataFrame) -> None:
    fit = cg.fixed_effects("y ~ x", clustered, cluster="id")
    test = fit.test_clustering("permutation", n_boot=3, seed=11)
    null = cg.pooled("y ~ x", clustered)
    for seed, statistic in zip(np.random.SeedSequence(11).spawn(3), test.replicates, strict=True):
        rows = np.random.default_rng(seed).permutation(len(clustered))
        new = clustered.iloc[rows].assign(id=clustered["id"].to_numpy())
        expected = 2.0 * (cg.fixed_effects("y ~ x", new, cluster="id").loglik - null.loglik)
        assert statistic == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_clustering_is_found_and_its_absence_is_not(family: str) -> None:
    some = cg.fixed_effects("y ~ x", simulate(40, 6, 1.0, 2, family), cluster="id", family=family)
    none = cg.fixed_effects("y ~ x", simulate(40, 6, 0.0, 3, family), cluster="id", family=family)
    for method in ("bootstrap", "permutation", "score"):
        assert some.test_clustering(method, n_boot=99, seed=1).pvalue <= 0.02, method
        assert none.test_clustering(method, n_boot=99, seed=1).pvalue > 0.02, method


def test_without_covariates() -> None:
    fit = cg.fixed_effects("y ~ 1", simulate(40, 6, 1.0, 2), cluster="id")
    assert fit.test_clustering(n_boot=99, seed=1).pvalue == 0.01


def test_grouped_weighted_and_offset_data() -> None:
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"id": np.repeat(np.arange(20), 4), "x": rng.normal(size=80), "n": rng.integers(1, 6, 80)})
    data["y"] = rng.binomial(data.n, expit(0.5 * data.x + rng.normal(size=20)[data.id]))
    data["o"], data["w"] = 0.1 * rng.normal(size=80), rng.integers(1, 3, 80)
    fit = cg.fixed_effects("cbind(y, n - y) ~ x", data, cluster="id", offset="o", weights="w")
    assert fit.test_clustering(n_boot=50, seed=1).pvalue < 0.1
    single = data.assign(y=(data.y > 1).astype(int), v=1.0 + data.id % 2)
    uneven = cg.fixed_effects("y ~ x", single, cluster="id", cluster_weights=single.v.to_numpy() + 0.5)
    with pytest.raises(OptionError, match="cluster weights that are not whole numbers"):
        uneven.test_clustering("permutation", n_boot=5)


def test_permutation_is_refused_where_covariates_belong_to_clusters(clustered: pd.DataFrame) -> None:
    rng = np.random.default_rng(8)
    data = clustered.assign(z=rng.normal(size=30)[clustered.id] + 0.3 * rng.normal(size=len(clustered)))
    fit = cg.fixed_effects("y ~ x + z", data, cluster="id")
    with pytest.raises(DataError, match="'z' differs between clusters") as caught:
        fit.test_clustering("permutation", n_boot=5)
    assert "insist=True" in caught.value.advice
    assert fit.test_clustering("permutation", n_boot=5, seed=1, insist=True).n_boot == 5
    constant = cg.random_effects("y ~ g", clustered.assign(g=clustered.id % 2), cluster="id")
    with pytest.raises(DataError, match="'g'"):
        constant.test_clustering("permutation", n_boot=5)


def test_failed_replicates_are_named() -> None:
    # so few events that many replicates have none
    data = pd.DataFrame({"y": [1, 0, 1, 0, *[0] * 26], "id": np.repeat(np.arange(10), 3)})
    found = cg.random_effects("y ~ 1", data, cluster="id", sigma=0.5).test_clustering(n_boot=60, seed=1)
    assert len(found.replicates) + sum(count for _, count in found.failures) == 60
    assert found.failures
    assert "failed:" in str(found)


def test_an_interrupted_test_is_one_of_what_was_done(fitted: Any) -> None:
    def stop(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    found = fitted.test_clustering(n_boot=50, seed=1, progress=stop)
    assert found.interrupted
    assert len(found.replicates) == 20
    assert "interrupted" in str(found)


def test_options(clustered: pd.DataFrame, fitted: Any) -> None:
    with pytest.raises(OptionError, match="method="):
        fitted.test_clustering("chi2")
    with pytest.raises(OptionError, match="statistic="):
        fitted.test_clustering(statistic="wald")
    with pytest.raises(OptionError, match="replicates"):
        fitted.test_clustering(n_boot=0)
    held = cg.random_effects("y ~ x", clustered, cluster="id", sigma=1.0, fix_sigma=True)
    with pytest.raises(OptionError, match="held fixed"):
        held.test_clustering()


def test_boundary_test(clustered: pd.DataFrame) -> None:
    random = cg.random_effects("y ~ x", clustered, cluster="id")
    assert random.test_clustering("boundary") == random.clustering_test
    with pytest.raises(OptionError, match="boundary"):
        cg.fixed_effects("y ~ x", clustered, cluster="id").test_clustering("boundary")


# The score test -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())
def test_the_score_is_the_slope_in_the_variance_at_zero(model: Any) -> None:
    data = simulate(25, 4, 0.7, 3, model.family)
    data["y"] += int(model.least)
    built = prepare("y ~ x", data, Request(model, cluster="id"))
    fit = fit_pooled(built, model, Control())
    likelihood = MarginalLikelihood(core_problem(built.X, built, model), Gaussian(), "normal")

    def height(variance: float) -> float:
        return likelihood.evaluate(np.append(fit.beta, np.sqrt(variance)), single_rule(15), 0).value

    h = 1e-4
    slope = (4.0 * height(h) - height(2.0 * h) - 3.0 * height(0.0)) / (2.0 * h)
    found = score_test(built, model, fit.beta)
    assert isinstance(found, ScoreTest)
    eta = built.X @ fit.beta
    _, G, H, *_ = model.derivatives(eta, built.a, built.b)
    sums = [np.add.reduceat(v, built.starts[:-1]) for v in (G, H)]
    assert slope == pytest.approx(0.5 * (sums[0] ** 2 + sums[1]).sum(), rel=1e-4)
    assert np.sign(found.statistic) == np.sign(slope)


@pytest.mark.parametrize("link", ["logit", "cloglog", "probit"])
def test_the_variance_of_the_score_is_exact(link: str) -> None:
    # all 2^9 responses of three clusters of 2, 3 and 4 rows
    model = response("binomial", link)
    rng = np.random.default_rng(2)
    sizes = [2, 3, 4]
    data = pd.DataFrame({"y": [0, 1] * 4 + [1], "x": rng.normal(size=9), "id": np.repeat(np.arange(3), sizes)})
    built = prepare("y ~ x", data, Request(model, cluster="id"))
    beta = np.array([0.2, -0.5])
    eta = built.X @ beta
    mu = model.mean(eta)
    U, scores, probability = [], [], []
    for y in itertools.product([0.0, 1.0], repeat=9):
        a = np.array(y)
        _, G, H, *_ = model.derivatives(eta, a, 1.0 - a)
        S1, S2 = (np.add.reduceat(v, built.starts[:-1]) for v in (G, H))
        U.append(0.5 * (S1**2 + S2).sum())
        scores.append(G @ built.X)
        probability.append(np.prod(np.where(a == 1.0, mu, 1.0 - mu)))
    P, u, s = np.array(probability), np.array(U), np.array(scores)
    assert P @ u == pytest.approx(0.0, abs=1e-12)
    cross, information = (P * u) @ s, (s.T * P) @ s
    variance = P @ u**2 - cross @ np.linalg.solve(information, cross)
    _, G, H, *_ = model.derivatives(eta, built.a, built.b)
    S1, S2 = (np.add.reduceat(v, built.starts[:-1]) for v in (G, H))
    expected = 0.5 * (S1**2 + S2).sum() / np.sqrt(variance)
    assert score_test(built, model, beta).statistic == pytest.approx(expected, rel=1e-10)


def test_grouped_trials_are_single_trials_to_the_score() -> None:
    rng = np.random.default_rng(6)
    grouped = pd.DataFrame({"n": rng.integers(1, 5, 24), "x": rng.normal(size=24), "id": np.repeat(np.arange(8), 3)})
    grouped["y"] = rng.binomial(grouped.n, 0.4)
    rows = grouped.loc[grouped.index.repeat(grouped.n)].reset_index(drop=True)
    first = np.concatenate([np.arange(n) for n in grouped.n])
    rows["z"] = (first < rows.y).astype(int)
    one = cg.random_effects("cbind(y, n - y) ~ x", grouped, cluster="id", sigma=0.3)
    other = cg.random_effects("z ~ x", rows, cluster="id", sigma=0.3)
    assert one.test_clustering("score").statistic == pytest.approx(other.test_clustering("score").statistic, rel=1e-6)
