"""The result of `nonparametric`: what it says of points, clusters and means, against sums over the points by hand."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

import clusterglm as cg
from clusterglm.errors import ClusterError, ConvergenceWarning, DesignError, OptionError
from clusterglm.results.models.nonparametric import NonparametricResult
from clusterglm.results.tables.export import as_dict

FORMULA = "y ~ trt + I(week > 2)"


@pytest.fixture(scope="module")
def bacteria() -> pd.DataFrame:
    return cg.datasets.load("bacteria")


@pytest.fixture(scope="module")
def fit(bacteria: pd.DataFrame) -> NonparametricResult:
    return cg.nonparametric(FORMULA, bacteria, cluster="ID")


@pytest.fixture(scope="module")
def counts() -> NonparametricResult:
    """Finite points only, and a covariate of clusters."""
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(60), 6)
    x, z = rng.normal(size=360), rng.normal(size=60)[ids]
    y = rng.poisson(np.exp(1.0 + 0.3 * x + 0.2 * z + np.where(np.arange(60) % 3 == 0, 1.0, -0.5)[ids]))
    return cg.nonparametric("y ~ x + z", {"y": y, "x": x, "z": z, "id": ids}, cluster="id", family="poisson")


def test_points_and_clusters(fit: NonparametricResult) -> None:
    """By hand: an infinite intercept gives successes alone."""
    table = fit.mass_points
    assert table["point"].iloc[-1] == np.inf
    assert np.isnan(table["std_error"].iloc[-1])
    assert table["weight"].sum() == pytest.approx(1.0)
    assert fit.random_effects_mean == np.inf == fit.random_effects_sd
    data, (point, _), (low, high) = fit.data, table["point"], table["weight"]
    p = expit(data.X @ fit.params.to_numpy() + point)
    chance = np.multiply.reduceat(np.where(data.a == 1.0, p, 1.0 - p), data.starts[:-1])
    successes = np.multiply.reduceat(data.a, data.starts[:-1])
    posterior = high * successes / (low * chance + high * successes)
    np.testing.assert_allclose(fit.posterior.to_numpy()[:, 1], posterior, atol=1e-12)
    clusters = fit.random_effects
    np.testing.assert_allclose(clusters["mean"], np.where(successes == 1.0, np.inf, point))
    np.testing.assert_allclose(clusters["sd"], np.where(successes == 1.0, np.inf, 0.0))
    assert list(clusters["most_probable"]) == [np.inf if q > 0.5 else point for q in posterior]
    assert fit.loglik == pytest.approx(np.log(low * chance + high * successes).sum(), abs=1e-8)
    share = np.repeat(posterior, np.diff(data.starts))
    order = np.argsort(data.row_index)
    np.testing.assert_allclose(fit.predict(), ((1.0 - share) * p + share)[order], atol=1e-10)
    np.testing.assert_allclose(fit.predict(kind="marginal"), (low * p + high)[order], atol=1e-12)
    np.testing.assert_allclose(fit.residuals(), data.a[order] - fit.predict())
    np.testing.assert_allclose(fit.augment()["mean"], fit.predict())


def test_criteria(fit: NonparametricResult, bacteria: pd.DataFrame) -> None:
    assert fit.n_parameters == 3 + 2 * 2 - 1
    assert fit.aic == pytest.approx(2 * 6 - 2 * fit.loglik)
    gaussian = cg.random_effects(FORMULA, bacteria, cluster="ID")
    assert fit.loglik > gaussian.loglik
    comparison = cg.compare(gaussian, fit)
    assert "number of mass points" in comparison.tests[0].reason
    assert "2 mass points" in str(comparison)
    assert fit.glance().loc[0, "n_points"] == 2


def test_moments(counts: NonparametricResult) -> None:
    points, weights = counts.fit.points, counts.fit.weights
    assert np.isfinite(points).all()
    mean = weights @ points
    assert counts.random_effects_mean == pytest.approx(mean)
    assert counts.random_effects_sd == pytest.approx(np.sqrt(weights @ (points - mean) ** 2))
    assert f"{mean:.4g}" in str(counts)


def test_standard_errors(counts: NonparametricResult) -> None:
    """Of predictions by differences in all parameters; of coefficients near those of a Gaussian intercept."""
    V = counts.cov().to_numpy()
    k, p = len(counts.fit.points), 2
    assert list(counts.cov().columns)[-1] == f"log(weight {k - 1} / weight {k})"
    table = counts.predict(kind="marginal", level=0.95)
    row = counts.data.X[np.argsort(counts.data.row_index)[0]]

    def log_mean(theta: np.ndarray) -> float:
        weights = np.exp(np.append(theta[p + k :], 0.0))
        return float(row @ theta[:p] + np.log(np.exp(theta[p : p + k]) @ (weights / weights.sum())))

    pi = counts.fit.weights
    theta = np.concatenate([counts.fit.beta, counts.fit.points, np.log(pi[:-1] / pi[-1])])
    slope = [(log_mean(theta + h) - log_mean(theta - h)) / 2e-5 for h in 1e-5 * np.eye(len(theta))]
    assert np.log(table["estimate"].iloc[0]) == pytest.approx(log_mean(theta))
    variance = np.array(slope) @ V @ slope
    assert table["std_error"].iloc[0] / table["estimate"].iloc[0] == pytest.approx(np.sqrt(variance), rel=1e-5)
    robust = np.sqrt(np.diag(counts.cov("robust"))[:p])
    np.testing.assert_allclose(robust, counts.bse, rtol=0.7)
    assert counts.wald_test("x").pvalue < 1e-6


def test_simulation_and_bootstrap(counts: NonparametricResult) -> None:
    pd.testing.assert_frame_equal(counts.simulate(3, seed=1), counts.simulate(3, seed=1))
    many = counts.simulate(400, seed=2)
    expected = counts.predict(kind="marginal")
    assert many.to_numpy().mean() == pytest.approx(expected.mean(), rel=0.03)
    found = counts.conf_int(method="bootstrap", n_boot=10, seed=1)
    assert (found["low"] < found["high"]).all()


def test_fixed_number_of_points(bacteria: pd.DataFrame) -> None:
    one = cg.nonparametric(FORMULA, bacteria, cluster="ID", points=1)
    pooled = cg.pooled(FORMULA, bacteria)
    assert one.loglik == pytest.approx(pooled.loglik, abs=1e-9)
    np.testing.assert_allclose(one.params, pooled.params[1:], atol=1e-5)
    np.testing.assert_allclose(one.bse, pooled.bse[1:], rtol=1e-4)
    assert one.mass_points["std_error"][0] == pytest.approx(pooled.bse.iloc[0], rel=1e-4)
    assert "more points" in str(one)


def test_refusals(bacteria: pd.DataFrame, fit: NonparametricResult) -> None:
    with pytest.raises(OptionError, match="typical"):
        fit.predict(kind="typical")
    with pytest.raises(OptionError, match="profile"):
        fit.conf_int(method="profile")
    with pytest.raises(DesignError, match="constant"):
        cg.nonparametric("y ~ one", bacteria.assign(one=1.0), cluster="ID")
    with pytest.raises(DesignError, match="week"):
        cg.nonparametric("y ~ week + twice", bacteria.assign(twice=2.0 * bacteria.week + 1.0), cluster="ID")
    with pytest.raises(ClusterError):
        cg.nonparametric("y ~ week", bacteria.assign(row=np.arange(len(bacteria))), cluster="row")
    with pytest.warns(ConvergenceWarning, match="1 rounds"):
        cg.nonparametric(FORMULA, bacteria, cluster="ID", control=cg.Control(max_iter=1))


def test_new_data(fit: NonparametricResult, bacteria: pd.DataFrame) -> None:
    pd.testing.assert_series_equal(fit.predict(bacteria.head(7)), fit.predict().head(7))
    at = fit.predict(bacteria.head(7), kind=0.5, scale="link", level=0.9)
    np.testing.assert_allclose(at["estimate"], logit(fit.predict(bacteria.head(7), kind=0.5)))
    with pytest.warns(cg.errors.PredictionWarning, match="not seen"):
        assert fit.predict(bacteria.head(1).assign(ID="new")).isna().all()


def test_travels(fit: NonparametricResult) -> None:
    again = pickle.loads(pickle.dumps(fit))
    assert str(again) == str(fit)
    content = json.loads(json.dumps(as_dict(fit), allow_nan=False))
    assert content["mass_points"]["point"][1] is None
    assert content["model"]["kind"] == "nonparametric"
    with pytest.raises(ValueError, match="read-only"):
        fit.fit.points[0] = 0.0


def test_reference_of_a_selection(fit: NonparametricResult, bacteria: pd.DataFrame) -> None:
    found = cg.select_distribution(
        FORMULA, bacteria, cluster="ID", distributions=["gaussian", "cauchy", "nonparametric"]
    )
    plain = cg.select_distribution(FORMULA, bacteria, cluster="ID", distributions=["gaussian", "cauchy"])
    table = found.table
    assert table.loc["nonparametric", "loglik"] == pytest.approx(fit.loglik, abs=1e-8)
    assert np.isnan(table.loc["nonparametric", "aic_weight"])
    pd.testing.assert_frame_equal(table.iloc[:2], plain.table.frame)
    assert found.best("aic").distribution.name == plain.best("aic").distribution.name
    gap = fit.loglik - plain.table["loglik"].max()
    assert f"more than {gap:.2g} above" in str(found)
    with pytest.raises(OptionError):
        cg.select_distribution(FORMULA, bacteria, cluster="ID", distributions=["nonparametric"])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_row_order_does_not_decide_whether_a_point_is_infinite(
    bacteria: pd.DataFrame, fit: NonparametricResult, seed: int
) -> None:
    """A search that ended at 23 on the logit scale once gave a finite point with a standard error."""
    other = cg.nonparametric(FORMULA, bacteria.sample(frac=1.0, random_state=seed), cluster="ID")
    np.testing.assert_allclose(other.mass_points["point"], fit.mass_points["point"], atol=1e-4)
    assert other.loglik == pytest.approx(fit.loglik, abs=1e-6)


def test_clusters_without_both_responses_are_refused_as_by_the_other_verbs() -> None:
    table = pd.DataFrame({"g": np.repeat(range(8), 3), "x": [0.3, -1.1, 0.7, 1.9, -0.2, 0.4] * 4}).assign(
        y=lambda d: d.g % 2, s=lambda d: 4 * (d.g % 2), n=4
    )
    for formula in ("y ~ x", "cbind(s, n - s) ~ x"):
        said = []
        for verb in (cg.random_effects, cg.nonparametric):
            with pytest.raises(ClusterError, match="none of the 8 clusters has both successes and failures") as error:
                verb(formula, table, cluster="g")
            said.append(str(error.value))
        assert said[0] == said[1]
    # a single point is a model without cluster effects, and has a maximum
    one, pooled = cg.nonparametric("y ~ x", table, cluster="g", points=1), cg.pooled("y ~ x", table)
    np.testing.assert_allclose(one.params["x"], pooled.params["x"], rtol=1e-8)
