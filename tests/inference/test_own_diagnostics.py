"""Deletion of clusters and tests by simulation where the response has parameters of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import OptionError
from clusterglm.inference.diagnostics.own import own_at_modes, own_marginal_deletion, own_pooled_deletion

GOLDEN = Path(__file__).parent.parent / "golden" / "data"
CASES = {
    "counts": ("count ~ mined + cover", "site", {"family": "negative_binomial"}),
    "logit": ("rating ~ temp + contact", "judge", {"family": "ordinal"}),
    "probit": ("rating ~ temp + contact", "judge", {"family": "ordinal", "link": "probit"}),
    "cloglog": ("rating ~ temp + contact", "judge", {"family": "ordinal", "link": "cloglog"}),
}


def data_of(case: str) -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "salamanders.csv") if case == "counts" else cg.datasets.load("wine")


def fitted(case: str, verb: str = "random_effects") -> Any:
    formula, cluster, options = CASES[case]
    return getattr(cg, verb)(formula, data_of(case), cluster=cluster, control=cg.Control(tol=1e-9), **options)


def differences(f: Any, at: np.ndarray, h: float) -> np.ndarray:
    steps = h * np.eye(len(at))
    return np.array([(f(at + e) - f(at - e)) / (2.0 * h) for e in steps])


@pytest.mark.parametrize("verb", ["random_effects", "pooled"])
@pytest.mark.parametrize("case", list(CASES))
def test_scores_and_information_are_those_of_the_likelihood(case: str, verb: str) -> None:
    fit = fitted(case, verb)
    make = own_marginal_deletion if verb == "random_effects" else own_pooled_deletion
    model = make(fit.fit, fit.data.rows)
    slopes = differences(lambda at: model.loglik(at), model.theta, 1e-5)
    np.testing.assert_allclose(model.scores.sum(axis=0), slopes, atol=2e-5)
    curvature = differences(lambda at: differences(model.loglik, at, 3e-4), model.theta, 3e-4)
    np.testing.assert_allclose(-model.information, curvature, rtol=2e-4, atol=2e-3 * np.abs(curvature).max())
    whole = sum(model.cluster_hessian(i) for i in range(fit.n_clusters))
    np.testing.assert_allclose(whole, -model.information, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("verb", ["random_effects", "pooled"])
@pytest.mark.parametrize("case", ["counts", "logit"])
def test_deletion_is_a_fit_without_the_cluster(case: str, verb: str) -> None:
    fit, d = fitted(case, verb), data_of(case)
    formula, cluster, options = CASES[case]
    last = fit.data.rows.labels[-1]
    found = fit.influence("exact", clusters=[last])
    without = getattr(cg, verb)(formula, d[d[cluster] != last], cluster=cluster, **options)
    inner = [*without.params, without.sigma] if verb == "random_effects" else [*without.params]
    np.testing.assert_allclose(found.deleted[0], [*inner, *without.family_parameters], rtol=1e-4, atol=1e-5)
    step = fit.influence(clusters=[last])
    moved = np.abs(step.dfbetas[0] - found.dfbetas[0])
    assert moved.max() < 0.4 * np.abs(found.dfbetas[0]).max() + 0.05


def test_rows_are_deleted_where_there_are_no_clusters() -> None:
    d = pd.read_csv(GOLDEN / "salamanders.csv").head(120)
    fit = cg.pooled("count ~ mined + cover", d, family="negative_binomial")
    found = fit.influence("exact", clusters=[5])
    without = cg.pooled("count ~ mined + cover", d.drop(index=5), family="negative_binomial")
    expected = [*without.params, *without.family_parameters]
    np.testing.assert_allclose(found.deleted[0], expected, rtol=1e-4, atol=1e-5)


def test_predictors_of_the_data_are_those_of_the_fit() -> None:
    fit = fitted("cloglog")  # whose kernel rows have the linear predictor with its sign turned
    modes = fit.random_effects.set_index("label")["mode"]
    rows = fit.data.rows
    expected = rows.X @ fit.params.to_numpy() + modes.loc[rows.labels].to_numpy().repeat(np.diff(rows.starts))
    np.testing.assert_allclose(own_at_modes(fit.fit)(rows), expected, atol=1e-7)


def test_dispersion_and_zeros_against_the_fitted_family() -> None:
    fit = fitted("counts")
    poisson = cg.random_effects("count ~ mined + cover", data_of("counts"), cluster="site", family="poisson")
    assert poisson.dispersion_test(199, seed=2).pvalue < 0.02
    assert fit.dispersion_test(199, seed=2).pvalue > 0.02
    zeros = fit.zero_inflation_test(199, seed=2)
    assert zeros.statistic == np.count_nonzero(data_of("counts")["count"] == 0)
    assert 0.9 < zeros.ratio < 1.1


def test_no_clustering_is_tested_with_the_dispersion_of_the_pooled_fit() -> None:
    """Without clusters in the data the test holds its level, which it would not with the dispersion given clusters."""
    rng = np.random.default_rng(5)
    p = []
    for _ in range(12):
        mean = rng.gamma(1.0, 2.0, 90)
        d = pd.DataFrame({"g": np.repeat(np.arange(15), 6), "y": rng.poisson(mean)})
        fit = cg.random_effects("y ~ 1", d, cluster="g", family="negative_binomial")
        p.append(fit.test_clustering(n_boot=19, seed=1).pvalue)
    assert np.mean(p) > 0.3
    clustered = fitted("counts").test_clustering(n_boot=19, seed=1)
    assert clustered.pvalue == pytest.approx(0.05)
    assert clustered.statistic == pytest.approx(fitted("counts").clustering_test.statistic, rel=1e-6)


def test_what_there_is_not_is_said() -> None:
    fit = fitted("logit")
    with pytest.raises(OptionError, match="method='score'"):
        fit.test_clustering("score")
    with pytest.raises(OptionError, match="statistic='loglik'"):
        fit.test_clustering(statistic="loglik")
    with pytest.raises(OptionError, match="score test"):
        fitted("counts", "pooled").test_clustering()
