"""What must not change a fit, and what must change it just so."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clusterglm as cg

MODELS = [("binomial", "logit"), ("binomial", "cloglog"), ("binomial", "probit"), ("poisson", "log")]
EACH_MODEL = pytest.mark.parametrize(("family", "link"), MODELS)
EACH_DISTRIBUTION = pytest.mark.parametrize("distribution", ["gaussian", "logistic", "cauchy"])


def simulated(family: str, seed: int = 2, clusters: int = 50) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 8, clusters)
    ids = np.repeat(np.arange(clusters), sizes)
    n = len(ids)
    x, z = rng.normal(size=n), rng.normal(size=n)
    eta = -0.2 + 0.7 * x - 0.4 * z + rng.normal(size=clusters)[ids]
    y = rng.poisson(np.exp(0.5 * eta)) if family == "poisson" else (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int)
    return pd.DataFrame({"y": y, "x": x, "z": z, "id": ids})


def fitted(data, family="binomial", link="logit", formula="y ~ x + z", cluster="id", **options):
    return cg.random_effects(formula, data, cluster=cluster, family=family, link=link, **options)


def same(one, two, tolerance=1e-6):
    assert two.loglik == pytest.approx(one.loglik, abs=2e-6)
    scale = one.bse.to_numpy()
    assert np.max(np.abs(two.params.to_numpy() - one.params.to_numpy()) / scale) < 30 * tolerance
    assert abs(two.sigma - one.sigma) < 30 * tolerance * (one.sigma_se if np.isfinite(one.sigma_se) else 1.0)
    np.testing.assert_allclose(two.bse, one.bse, rtol=1e-4)


@EACH_MODEL
@EACH_DISTRIBUTION
def test_row_order_and_labels(family, link, distribution):
    data = simulated(family)
    one = fitted(data, family, link, distribution=distribution)
    shuffled = data.sample(frac=1.0, random_state=3)
    same(one, fitted(shuffled, family, link, distribution=distribution))
    names = data.assign(id=[f"patient {997 * i % 1009}" for i in data.id])
    same(one, fitted(names, family, link, distribution=distribution))


@EACH_MODEL
def test_units_of_covariates(family, link):
    data = simulated(family)
    one = fitted(data, family, link)
    scaled = fitted(data.assign(x=1e6 * data.x + 3e6, z=1e-7 * data.z), family, link)
    assert scaled.loglik == pytest.approx(one.loglik, abs=2e-6)
    assert scaled.params["x"] * 1e6 == pytest.approx(one.params["x"], rel=1e-5)
    assert scaled.params["z"] * 1e-7 == pytest.approx(one.params["z"], rel=1e-5)
    assert scaled.bse["x"] * 1e6 == pytest.approx(one.bse["x"], rel=1e-5)
    shifted = scaled.params["(Intercept)"] + 3e6 * scaled.params["x"]
    assert shifted == pytest.approx(one.params["(Intercept)"], abs=1e-4)


@EACH_MODEL
def test_an_offset_is_a_shifted_intercept(family, link):
    data = simulated(family)
    one = fitted(data, family, link)
    moved = fitted(data.assign(o=0.8), family, link, formula="y ~ x + z + offset(o)")
    assert moved.loglik == pytest.approx(one.loglik, abs=2e-6)
    assert moved.params["(Intercept)"] == pytest.approx(one.params["(Intercept)"] - 0.8, abs=1e-5)
    by_argument = fitted(data.assign(o=0.8), family, link, offset="o")
    assert by_argument.loglik == pytest.approx(moved.loglik, abs=1e-9)


@EACH_MODEL
def test_weight_2_is_the_row_twice(family, link):
    data = simulated(family)
    data["w"] = np.where(data.index % 4 == 0, 2.0, 1.0)
    same(
        fitted(data.loc[data.index.repeat(data.w.astype(int))], family, link),
        fitted(data, family, link, weights="w"),
    )


@EACH_MODEL
@EACH_DISTRIBUTION
def test_cluster_weight_2_is_the_cluster_twice(family, link, distribution):
    data = simulated(family)
    data["cw"] = np.where(data.id % 5 == 0, 2.0, 1.0)
    again = data[data.id % 5 == 0]
    twice = pd.concat([data, again.assign(id=again.id + 1000)])
    same(
        fitted(twice, family, link, distribution=distribution),
        fitted(data, family, link, distribution=distribution, cluster_weights="cw"),
    )


@pytest.mark.parametrize("link", ["logit", "cloglog", "probit"])
def test_grouped_equals_expanded(link, golden_frame):
    formula = "cbind(incidence, size - incidence) ~ period"
    grouped = fitted(golden_frame("cbpp_grouped"), link=link, formula=formula, cluster="herd")
    expanded = fitted(golden_frame("cbpp_expanded"), link=link, formula="y ~ period", cluster="herd")
    np.testing.assert_allclose(grouped.params, expanded.params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grouped.cov_params(), expanded.cov_params(), rtol=1e-4, atol=1e-7)
    assert grouped.sigma == pytest.approx(expanded.sigma, rel=1e-5)
    # The normalised log-likelihoods differ by the binomial coefficients alone.
    d = grouped.data
    assert grouped.loglik - d.constant == pytest.approx(expanded.loglik, abs=2e-6)


@EACH_MODEL
def test_threads_do_not_change_a_bit(family, link):
    data = simulated(family, clusters=700)
    one = fitted(data, family, link, quadrature=9)
    two = fitted(data, family, link, quadrature=9, control=cg.Control(n_threads=2))
    assert two.loglik == one.loglik
    np.testing.assert_array_equal(two.params, one.params)
    np.testing.assert_array_equal(two.cov_params(), one.cov_params())


def test_negative_starting_sigma_has_no_meaning_but_small_ones_lead_to_the_same_maximum():
    data = simulated("binomial")
    one = fitted(data)
    for sigma in (0.05, 0.5, 3.0, 8.0):
        same(one, fitted(data, sigma=sigma))


def test_student_t_goes_from_cauchy_to_gaussian():
    data = simulated("binomial")
    cauchy, gaussian = fitted(data, distribution="cauchy"), fitted(data)
    assert fitted(data, distribution=cg.StudentT(1.0)).loglik == pytest.approx(cauchy.loglik, abs=2e-6)
    assert fitted(data, distribution=cg.StudentT(1e6)).loglik == pytest.approx(gaussian.loglik, abs=1e-4)


@pytest.mark.parametrize("distribution", ["gaussian", "logistic", "cauchy", "t"])
def test_no_clustering_ends_at_zero_in_silence(distribution):
    rng = np.random.default_rng(11)
    data = pd.DataFrame({"id": np.repeat(np.arange(60), 4), "x": rng.normal(size=240)})
    data["y"] = np.tile([0, 1, 0, 1], 60)  # less alike within clusters than chance
    d = cg.StudentT(3) if distribution == "t" else distribution
    fit = cg.random_effects("y ~ x", data, cluster="id", distribution=d)
    pooled = cg.pooled("y ~ x", data)
    assert fit.sigma == 0.0
    assert fit.loglik == pytest.approx(pooled.loglik, abs=1e-10)
    assert fit.converged
    assert fit.clustering_test.pvalue == 1.0
    assert "sigma = 0" in str(fit.summary())
    np.testing.assert_allclose(fit.bse, pooled.bse, rtol=1e-9)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    seed=st.integers(0, 10**6),
    model=st.sampled_from(MODELS),
    distribution=st.sampled_from(["gaussian", "logistic", "cauchy"]),
    clusters=st.integers(8, 30),
    scale=st.sampled_from([1e-8, 1.0, 1e5]),
)
def test_any_small_data_gives_a_fit_or_one_clear_error(seed, model, distribution, clusters, scale):
    family, link = model
    data = simulated(family, seed=seed, clusters=clusters)
    data["x"] *= scale
    try:
        fit = fitted(data, family, link, distribution=distribution)
    except cg.errors.ClusterGLMError as error:
        explained = all((error.got, error.needed, error.advice))
        assert explained
        return
    assert fit.converged
    assert fit.optimization.gradient_norm < 1e-6
    assert np.isfinite(fit.loglik)
    assert (fit.bse > 0).all()
    assert fit.loglik >= cg.pooled("y ~ x + z", data, family=family, link=link).loglik - 1e-7
