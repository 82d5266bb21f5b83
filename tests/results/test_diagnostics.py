"""Diagnostics of results: under the model, where it is wrong, and against fits of the data with rows removed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit, ndtr
from scipy.stats import kstest

import clusterglm as cg
from clusterglm.data.prepare import ModelData
from clusterglm.data.resampled import only_clusters
from clusterglm.errors import ClusterError, OptionError
from clusterglm.likelihood import reference, reference_within
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.results.models.conditional import ConditionalResult
from clusterglm.results.models.fixed_effects import FixedEffectsResult
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult


def clustered(
    family: str, m: int = 80, rows: int = 5, sigma: float = 0.8, noise: float = 0.0, seed: int = 11
) -> pd.DataFrame:
    """Counts, or successes of 2 to 8 trials, with a random intercept per cluster and, if wanted, noise per row."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(m), rows)
    x = rng.normal(size=m * rows)
    eta = 0.5 + 0.4 * x + sigma * rng.normal(size=m)[cluster] + noise * rng.normal(size=m * rows)
    if family == "poisson":
        return pd.DataFrame({"y": rng.poisson(np.exp(eta)), "x": x, "id": cluster})
    trials = rng.integers(2, 9, m * rows)
    successes = rng.binomial(trials, expit(eta))
    return pd.DataFrame({"s": successes, "f": trials - successes, "x": x, "id": cluster})


FORMULA = {"poisson": "y ~ x", "binomial": "cbind(s, f) ~ x"}


def random_effects(family: str, data: pd.DataFrame, **more: Any) -> RandomEffectsResult:
    return cg.random_effects(FORMULA[family], data, cluster="id", family=family, **more)


@pytest.fixture(scope="module")
def fixed(epil: pd.DataFrame) -> FixedEffectsResult:
    return cg.fixed_effects("y ~ V4 + period", epil, cluster="subject", family="poisson")


@pytest.fixture(scope="module")
def conditional(golden_frame: Any) -> ConditionalResult:
    return cg.conditional("case ~ spontaneous + induced", golden_frame("infert"), cluster="stratum")


def known(fit: Any) -> np.ndarray:
    """X beta by row of the user's table."""
    return (fit.data.X @ fit.params.to_numpy())[np.argsort(fit.data.row_index)]


# Residuals -----------------------------------------------------------------------------------------------------------


def test_one_face_of_residuals(
    logit: RandomEffectsResult, pooled: PooledResult, fixed: FixedEffectsResult, bacteria: pd.DataFrame
) -> None:
    pd.testing.assert_series_equal(logit.residuals(), logit.residuals("response", "conditional"))
    pd.testing.assert_series_equal(pooled.residuals(), pooled.residuals("response", "typical"))
    pd.testing.assert_series_equal(fixed.residuals(), fixed.residuals("response", "conditional"))
    np.testing.assert_allclose(pooled.residuals("response", 0.5), bacteria.yy - expit(known(pooled) + 0.5))
    for result, wrong in ((pooled, "conditional"), (pooled, "marginal"), (fixed, "typical"), (logit, "margina")):
        with pytest.raises(OptionError, match="intercepts="):
            result.residuals("quantile", wrong)
    with pytest.raises(OptionError, match="over all clusters"):
        logit.residuals("deviance", "marginal")
    with pytest.raises(OptionError, match="n_sim="):
        logit.residuals("simulated", n_sim=0)


@pytest.mark.parametrize("kind", ["quantile", "simulated"])
def test_random_residuals_are_reproducible(logit: RandomEffectsResult, kind: str) -> None:
    first, again, other = (logit.residuals(kind, "marginal", seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_series_equal(first, again)
    assert (first != other).any()


def test_quantile_residuals_are_in_the_users_order(bacteria: pd.DataFrame, logit: RandomEffectsResult) -> None:
    """Positive draws come from successes alone where p = 1/2."""
    z = logit.residuals("quantile", -known(logit), seed=1)
    np.testing.assert_array_equal(z > 0.0, bacteria.yy == 1)


@pytest.mark.parametrize("family", ["poisson", "binomial"])
@pytest.mark.parametrize("distribution", ["gaussian", "logistic"])
def test_residuals_over_all_clusters_are_normal_or_uniform(family: str, distribution: str) -> None:
    """Clusters of one row at the true parameters: independent values."""
    data = clustered(family, m=1500, rows=1)
    rng = np.random.default_rng(3)
    draws = rng.normal(size=1500) if distribution == "gaussian" else rng.logistic(size=1500)
    eta = 0.5 + 0.4 * data.x + 0.8 * draws
    if family == "poisson":
        data["y"] = rng.poisson(np.exp(eta))
    else:
        trials = data.s + data.f
        data["s"] = rng.binomial(trials, expit(eta))
        data["f"] = trials - data.s
    fit = random_effects(family, data, distribution=distribution, sigma=0.8, fix_sigma=True)
    z = fit.residuals("quantile", "marginal", seed=1)
    u = fit.residuals("simulated", seed=1)
    assert kstest(z, "norm").pvalue > 0.01
    assert kstest(u, "uniform").pvalue > 0.01
    assert np.corrcoef(ndtr(z), u)[0, 1] > 0.6  # but for the part that is drawn
    assert kstest(fit.residuals("quantile", 0.0, seed=1), "norm").pvalue < 1e-3


def test_marginal_response_and_pearson_residuals() -> None:
    data = clustered("binomial", m=3000, rows=2)
    fit = random_effects("binomial", data)
    size = data.s + data.f
    residual = fit.residuals("response", "marginal")
    assert abs(residual.mean()) < 0.01
    assert abs(fit.residuals("response", "typical").mean()) > abs(residual.mean())
    pearson = fit.residuals("pearson", "marginal")
    assert np.mean(pearson**2) == pytest.approx(1.0, abs=0.03)
    mean = data.s / size - residual
    assert (np.abs(pearson) < np.abs(residual / np.sqrt(mean * (1.0 - mean) / size))).all()


def test_residuals_where_intercepts_are_infinite() -> None:
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"id": np.repeat(np.arange(40), 3), "x": rng.normal(size=120)})
    data["y"] = rng.poisson(np.exp(0.3 * data.x) * 0.5)
    fit = cg.fixed_effects("y ~ x", data, cluster="id", family="poisson")
    silent = data.groupby("id").y.transform("sum") == 0
    assert silent.any()
    for kind in ("quantile", "simulated"):
        np.testing.assert_array_equal(fit.residuals(kind, seed=1).isna(), silent)
    assert fit.calibration().recalibration.left_out == silent.sum()


# Tests by simulation -------------------------------------------------------------------------------------------------


def test_dispersion_test_has_its_size() -> None:
    """40 fits to data from the model: p-values below 0.1 in 4 of them, give or take."""
    p = [
        random_effects("poisson", clustered("poisson", 40, 4, seed=k)).dispersion_test(99, k).pvalue for k in range(40)
    ]
    assert np.mean(np.array(p) <= 0.1) < 0.25
    assert 0.35 < np.mean(p) < 0.7


@pytest.mark.parametrize("family", ["poisson", "binomial"])
def test_overdispersion_is_found(family: str) -> None:
    data = clustered(family, noise=0.9)
    effects = cg.fixed_effects(FORMULA[family], data, cluster="id", family=family)
    for fit in (random_effects(family, data), effects):
        test = fit.dispersion_test(199, seed=1)
        assert test.pvalue <= 0.01
        assert test.ratio > 1.2
    assert random_effects(family, clustered(family)).dispersion_test(199, seed=1).pvalue > 0.05


def test_clustering_is_overdispersion_of_the_pooled_model() -> None:
    data = clustered("poisson")
    fit = cg.pooled("y ~ x", data, family="poisson")
    test = fit.dispersion_test(199, seed=1)
    assert test.statistic == pytest.approx(np.sum(fit.residuals("pearson") ** 2))
    assert test.expected == pytest.approx(len(data), rel=0.03)
    assert test.pvalue == pytest.approx(0.01)


def test_same_seed_same_numbers_for_any_number_of_threads() -> None:
    fit = random_effects("poisson", clustered("poisson"))
    one, two = fit.dispersion_test(40, seed=3), fit.dispersion_test(40, seed=3, n_jobs=2)
    np.testing.assert_array_equal(one.replicates, two.replicates)
    fresh = fit.zero_inflation_test(20)
    np.testing.assert_array_equal(fresh.replicates, fit.zero_inflation_test(20, fresh.seed).replicates)


def test_zero_inflation_is_found() -> None:
    data = clustered("poisson", m=100)
    fit = random_effects("poisson", data)
    test = fit.zero_inflation_test(199, seed=1)
    assert test.statistic == (data.y == 0).sum()
    assert test.pvalue > 0.05
    data.loc[np.random.default_rng(1).random(len(data)) < 0.3, "y"] = 0
    test = random_effects("poisson", data).zero_inflation_test(199, seed=1)
    assert test.pvalue_greater <= 0.01
    assert test.ratio > 1.2
    assert "Zeros" in str(test)


def test_tests_that_make_no_sense_are_refused(logit: RandomEffectsResult) -> None:
    with pytest.raises(OptionError, match="binary"):
        logit.dispersion_test()
    with pytest.raises(OptionError, match="counts"):
        logit.zero_inflation_test()


# Influence -----------------------------------------------------------------------------------------------------------


def test_exact_deletion_is_a_fit_without_the_rows(
    bacteria: pd.DataFrame, logit: RandomEffectsResult, pooled: PooledResult
) -> None:
    chosen = ["X04", "Y02", "Z26"]
    for fit, verb in ((logit, cg.random_effects), (pooled, cg.pooled)):
        found = fit.influence("exact", clusters=chosen)
        assert found.labels.tolist() == chosen
        for k, label in enumerate(chosen):
            again = verb(
                "yy ~ trt + late", bacteria[~bacteria.ID.isin([label])], cluster="ID", control=cg.Control(tol=1e-8)
            )
            want = [*again.params, again.sigma] if isinstance(again, RandomEffectsResult) else again.params
            np.testing.assert_allclose(found.deleted[k], want, atol=1e-6)


def test_exact_deletion_within_clusters(
    epil: pd.DataFrame, fixed: FixedEffectsResult, conditional: ConditionalResult, golden_frame: Any
) -> None:
    found = fixed.influence("exact", clusters=[10, 49])
    for k, label in enumerate((10, 49)):
        again = cg.fixed_effects("y ~ V4 + period", epil[epil.subject != label], cluster="subject", family="poisson")
        np.testing.assert_allclose(found.deleted[k], again.params, atol=1e-6)
    data = golden_frame("infert")
    deleted = conditional.influence("exact", clusters=[5]).deleted
    again_c = cg.conditional("case ~ spontaneous + induced", data[data.stratum != 5], cluster="stratum")
    np.testing.assert_allclose(deleted[0], again_c.params, atol=1e-6)


def block(data: ModelData) -> tuple[Any, ...]:
    return data.starts, data.X, data.a, data.b, data.offset, data.cluster_weights


def assert_newton(fit: Any, evaluate: Callable[[ModelData], tuple[np.ndarray, np.ndarray]], clusters: int = 6) -> None:
    """The step is Newton's on the likelihood of the other clusters, by the plain NumPy of `likelihood.reference`."""
    found, m = fit.influence(clusters=fit.data.labels[:clusters]), fit.n_clusters
    for i in range(clusters):
        score, hessian = evaluate(only_clusters(fit.data, np.arange(m) != i))
        np.testing.assert_allclose(found.deleted[i] - found.estimate, np.linalg.solve(-hessian, score), atol=1e-7)


@pytest.mark.parametrize("distribution", ["gaussian", "cauchy"])
def test_one_step_of_random_effects_is_newtons(bacteria: pd.DataFrame, distribution: str) -> None:
    weighted = bacteria.assign(w=1.0 + (bacteria.week > 4), c=np.where(bacteria.ID < "X10", 2.0, 0.5))
    fit = cg.random_effects(
        "yy ~ trt + late",
        weighted,
        cluster="ID",
        distribution=distribution,
        quadrature=8,
        weights="w",
        cluster_weights="c",
        control=cg.Control(tol=1e-9),
    )
    assert_newton(
        fit,
        lambda data: reference.marginal(*block(data), fit.fit.theta, fit.response, fit.distribution, "normal", 8)[1:3],
    )


def test_one_step_of_other_models_is_newtons(
    pooled: PooledResult, fixed: FixedEffectsResult, conditional: ConditionalResult
) -> None:
    def of(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
        return evaluation.score, evaluation.hessian

    beta = {fit.kind: fit.params.to_numpy() for fit in (pooled, fixed, conditional)}
    assert_newton(pooled, lambda d: reference.pooled(*block(d), beta["pooled"], pooled.response)[1:])
    assert_newton(fixed, lambda d: of(reference_within.profile(*block(d), beta["fixed_effects"], fixed.response)[0]))
    assert_newton(conditional, lambda d: of(reference_within.conditional(*block(d), beta["conditional"])))


@pytest.mark.parametrize("name", ["logit", "cauchy", "counts", "pooled", "fixed", "conditional"])
def test_one_step_is_close_to_exact(name: str, request: pytest.FixtureRequest) -> None:
    fit = request.getfixturevalue(name)
    step, exact = fit.influence(), fit.influence("exact", n_jobs=2)
    assert not exact.failures
    for j in range(len(exact.parameters)):
        assert np.corrcoef(step.dfbetas[:, j], exact.dfbetas[:, j])[0, 1] > 0.98
    assert np.corrcoef(step.cook, exact.cook)[0, 1] > 0.95  # least for Cauchy intercepts: a skewed likelihood of sigma
    assert (exact.displacement >= 0.0).all()
    np.testing.assert_allclose(exact.displacement, exact.cook * len(exact.parameters), rtol=0.5, atol=0.02)
    np.testing.assert_allclose(exact.dfbetas, (exact.estimate - exact.deleted) / exact.se)
    np.testing.assert_allclose(exact.se[: len(fit.bse)], fit.bse, rtol=1e-6)


def test_one_step_of_rows_is_pregibons(bacteria: pd.DataFrame) -> None:
    """statsmodels' one-step deletion of rows, which for canonical links is Newton's."""
    fit = cg.pooled("yy ~ trt + late", bacteria, control=cg.Control(tol=1e-10))
    peer = sm.GLM(bacteria.yy, fit.data.X, family=sm.families.Binomial()).fit(tol=1e-13, tol_criterion="params")
    influence = peer.get_influence()
    step = fit.influence()
    np.testing.assert_array_equal(step.labels, np.arange(220))
    np.testing.assert_allclose(step.estimate - step.deleted, influence.d_params, rtol=1e-6, atol=1e-9)


def test_table_of_influence(logit: RandomEffectsResult) -> None:
    found = logit.influence()
    table = found.table(sort=True)
    assert table.columns.tolist() == ["label", "n_obs", "cook_distance", *(f"dfbetas_{n}" for n in found.parameters)]
    assert table.cook_distance.is_monotonic_decreasing
    assert found.table().label.tolist() == logit.data.labels.tolist()
    assert "displacement" in logit.influence("exact", clusters="Y02").table()
    assert table.label[0] in str(found)


def test_sigma_that_is_not_estimated_is_no_parameter(bacteria: pd.DataFrame, at_zero: RandomEffectsResult) -> None:
    held = cg.random_effects("yy ~ trt + late", bacteria, cluster="ID", sigma=1.0, fix_sigma=True)
    for fit in (held, at_zero):
        step, exact = fit.influence(), fit.influence("exact")
        assert step.parameters == exact.parameters == tuple(fit.data.names)
        assert np.corrcoef(step.cook, exact.cook)[0, 1] > 0.9


def test_a_cluster_that_alone_identifies_a_coefficient(bacteria: pd.DataFrame) -> None:
    data = bacteria.assign(own=(bacteria.ID == "X02").astype(float))
    fit = cg.pooled("yy ~ trt + own", data, cluster="ID")
    for kind in ("one_step", "exact"):
        found = fit.influence(kind, clusters=["X02", "X04"])
        assert np.isnan(found.cook).tolist() == [True, False]
        assert sum(number for _, number in found.failures) == 1
        assert "1 without an estimate" in str(found)
        assert found.table(sort=True).label.tolist() == ["X04", "X02"]
    assert not fit.check(1, n_sim=20).fine


def test_influence_of_clusters_that_do_not_exist(logit: RandomEffectsResult, epil: pd.DataFrame) -> None:
    with pytest.raises(OptionError, match="X99"):
        logit.influence(clusters=["X99"])
    with pytest.raises(OptionError, match="did you mean 'exact'"):
        logit.influence("exac")
    with pytest.raises(ClusterError, match="only cluster"):
        cg.pooled("y ~ V4", epil.assign(one=1), cluster="one", family="poisson").influence()


def test_progress_of_exact_deletion(pooled: PooledResult) -> None:
    seen: list[tuple[int, int]] = []
    pooled.influence("exact", clusters=["X04", "Y02"], progress=lambda done, wanted: seen.append((done, wanted)))
    assert seen == [(1, 2), (2, 2)]


# Calibration ---------------------------------------------------------------------------------------------------------


def test_a_pooled_fit_is_calibrated_to_its_own_data(pooled: PooledResult, bacteria: pd.DataFrame) -> None:
    found = pooled.calibration(groups=3)
    assert found.recalibration.slope == pytest.approx(1.0, abs=1e-6)
    assert found.recalibration.intercept == pytest.approx(0.0, abs=1e-6)
    assert found.brier == pytest.approx(np.mean((bacteria.yy - expit(known(pooled))) ** 2))
    assert found.brier_null == pytest.approx(bacteria.yy.var(ddof=0))
    np.testing.assert_allclose(found.table().observed @ found.table()["size"], bacteria.yy.sum())
    assert "slope 1 " in str(found)


@pytest.mark.parametrize("family", ["poisson", "binomial"])
def test_marginal_predictions_are_calibrated_and_those_of_typical_clusters_are_not(family: str) -> None:
    data = clustered(family, m=1500, rows=3, sigma=1.2)
    fit = random_effects(family, data)
    marginal, typical = (fit.calibration(kind=kind).recalibration for kind in ("marginal", "typical"))
    assert abs(marginal.slope - 1.0) < 3.0 * marginal.slope_se
    assert abs(marginal.intercept) < 3.0 * marginal.intercept_se
    assert abs(typical.intercept) > 3.0 * typical.intercept_se
    if family == "binomial":
        assert typical.slope < 1.0 - 3.0 * typical.slope_se


@pytest.mark.parametrize("family", ["poisson", "binomial"])
def test_calibration_of_a_model_that_holds_raises_no_alarm_by_default(family: str) -> None:
    """Predictions at posterior modes have a slope well above 1 even then: the intercepts are shrunken."""
    fit = random_effects(family, clustered(family, m=1500, rows=3, sigma=1.2))
    default, shrunken = fit.calibration(), fit.calibration(kind="conditional")
    assert default.kind == "marginal"
    assert abs(default.recalibration.slope - 1.0) < 3.0 * default.recalibration.slope_se
    assert shrunken.recalibration.slope > 1.0 + 3.0 * shrunken.recalibration.slope_se


@pytest.mark.parametrize("family", ["poisson", "binomial"])
def test_intervals_of_groups_cover(family: str) -> None:
    """Rows that are independent."""
    data = clustered(family, m=4000, rows=1, sigma=0.0)
    found = cg.pooled(FORMULA[family], data, family=family).calibration(groups=100).table()
    inside = (found.low <= found.predicted) & (found.predicted <= found.high)
    assert 0.88 < inside.mean() < 1.0


def test_brier_score_of_grouped_trials_is_that_of_single_ones(golden_frame: Any) -> None:
    grouped, single = golden_frame("cbpp_grouped"), golden_frame("cbpp_expanded")
    one = cg.pooled("cbind(incidence, size - incidence) ~ period", grouped, cluster="herd").calibration()
    two = cg.pooled("y ~ period", single, cluster="herd").calibration()
    assert one.brier == pytest.approx(two.brier)
    assert one.brier_null == pytest.approx(two.brier_null)
    assert one.recalibration.slope_se == pytest.approx(two.recalibration.slope_se, rel=1e-5)
    np.testing.assert_allclose(one.groups.low, two.groups.low)


def test_calibration_that_cannot_be(
    logit: RandomEffectsResult, pooled: PooledResult, epil: pd.DataFrame, bacteria: pd.DataFrame
) -> None:
    with pytest.raises(OptionError, match="kind="):
        pooled.calibration(kind="marginal")
    with pytest.raises(OptionError, match="groups="):
        logit.calibration(groups=0)
    heavy = cg.random_effects("y ~ lbase", epil, cluster="subject", family="poisson", distribution="cauchy")
    with pytest.raises(OptionError, match="do not exist"):
        heavy.calibration(kind="marginal")
    assert heavy.calibration().kind == "conditional"
    assert heavy.check(1, n_sim=60).findings[1].fine is not None  # some counts that it draws are beyond computing
    flat = cg.pooled("yy ~ 1", bacteria).calibration()
    assert "all predictions are equal" in str(flat)
    assert np.isnan(flat.recalibration.slope)


# Overview ------------------------------------------------------------------------------------------------------------


def test_check_of_a_good_model_and_a_bad_one() -> None:
    good = random_effects("poisson", clustered("poisson")).check(seed=1)
    assert good.fine
    assert [f.name for f in good.findings] == ["Integration", "Dispersion", "Zeros", "Influence", "Residuals"]
    bad = random_effects("poisson", clustered("poisson", noise=1.0)).check(seed=1)
    assert {f.name for f in bad.findings if f.fine is False} >= {"Dispersion"}
    assert "LOOK Dispersion" in str(bad)
    assert str(bad) == str(random_effects("poisson", clustered("poisson", noise=1.0)).check(seed=1))


def test_check_of_every_model(
    pooled: PooledResult, logit: RandomEffectsResult, fixed: FixedEffectsResult, at_zero: RandomEffectsResult
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for fit in (pooled, logit, fixed, at_zero):
            found = fit.check(seed=2, n_sim=20)
            assert "seed 2" in str(found)
            assert max(len(line) for line in str(found).splitlines()) <= 100
    assert pooled.check(n_sim=20).seed != pooled.check(n_sim=20).seed


def test_check_knows_a_wrong_link() -> None:
    """Quantile residuals of a pooled model that misses a square."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=2000)
    data = pd.DataFrame({"x": x, "y": rng.poisson(np.exp(0.5 * x**2 - 0.5))})
    found = cg.pooled("y ~ x", data, family="poisson").check(seed=1, n_sim=20)
    assert {f.name: f.fine for f in found.findings}["Residuals"] is False


@pytest.mark.parametrize("family", ["poisson", "binomial"])
def test_check_and_the_tests_alone_agree_on_a_seed(family: str) -> None:
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(40), 5)
    table = pd.DataFrame({"g": g, "x": rng.normal(size=200), "n": 6})
    table["y"] = rng.poisson(2.0, 200) if family == "poisson" else rng.binomial(6, 0.4, 200)
    formula = "y ~ x" if family == "poisson" else "cbind(y, n - y) ~ x"
    for verb in (cg.random_effects, cg.pooled, cg.fixed_effects):
        fit = verb(formula, table, cluster="g", family=family)
        checked = {finding.name: finding.words for finding in fit.check(seed=1).findings}
        assert f"{fit.dispersion_test(seed=1).pvalue:.3g}" in checked["Dispersion"]
        if family == "poisson":
            assert f"{fit.zero_inflation_test(seed=1).pvalue:.3g}" in checked["Zeros"]
