"""What must not change a fixed-effects or conditional fit, and what must change it just so."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clusterglm as cg

FIXED = [("binomial", "logit"), ("binomial", "cloglog"), ("binomial", "probit"), ("poisson", "log")]
CANONICAL = [("binomial", "logit"), ("poisson", "log")]
MODELS = [("fixed_effects", *model) for model in FIXED] + [("conditional", *model) for model in CANONICAL]
EACH_MODEL = pytest.mark.parametrize(("verb", "family", "link"), MODELS)
EACH_FIXED = pytest.mark.parametrize(("family", "link"), FIXED)
EXACT = cg.Control(tol=1e-10)


def simulated(family: str, seed: int = 2, clusters: int = 60) -> pd.DataFrame:
    """Clusters of 1 to 8 rows, some of them without variation; weights and an offset."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, clusters)
    ids = np.repeat(np.arange(clusters), sizes)
    n = len(ids)
    x, z = rng.normal(size=n), rng.normal(size=n)
    eta = -0.2 + 0.7 * x - 0.4 * z + rng.normal(size=clusters)[ids]
    if family == "poisson":
        y = rng.poisson(np.exp(0.5 * eta - 0.5))
    else:
        y = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int)
    w, o = rng.integers(1, 4, n), 0.3 * rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "z": z, "id": ids, "w": w, "o": o})


def fitted(verb, data, family="binomial", link="logit", formula="y ~ x + z", cluster="id", **options):
    model = getattr(cg, verb)
    return model(formula, data, cluster=cluster, family=family, link=link, **{"control": EXACT, **options})


def effects(result) -> pd.Series:
    table = result.cluster_effects
    return table.set_index(table.label.astype(str)).estimate


def same(one, two, rtol=1e-8):
    assert one.converged
    assert two.converged
    assert two.loglik == pytest.approx(one.loglik, abs=1e-8)
    np.testing.assert_allclose(two.params, one.params, rtol=0.0, atol=rtol * one.bse.min())
    np.testing.assert_allclose(two.cov_params(), one.cov_params(), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(two.cov(kind="robust"), one.cov(kind="robust"), rtol=1e-6, atol=1e-12)


@EACH_MODEL
def test_row_order(verb, family, link):
    """With weights and offsets, as columns and as arrays."""
    data = simulated(family)
    one = fitted(verb, data, family, link, weights="w", offset="o")
    shuffled = data.sample(frac=1.0, random_state=3)
    two = fitted(verb, shuffled, family, link, weights="w", offset="o")
    same(one, two)
    arrays = {"weights": shuffled.w.to_numpy(), "offset": shuffled.o.to_numpy(), "cluster": shuffled.id.to_numpy()}
    same(two, fitted(verb, shuffled, family, link, **arrays))
    if verb == "fixed_effects":
        np.testing.assert_allclose(effects(two), effects(one)[effects(two).index], rtol=1e-8, atol=1e-9)


@EACH_MODEL
def test_labels(verb, family, link):
    """Strings, dates and categories in place of integers."""
    data = simulated(family)
    one = fitted(verb, data, family, link)
    names = np.array([f"patient {997 * i % 1009:04d}" for i in range(60)])
    dates = (pd.Timestamp("2003-11-01") + pd.to_timedelta(37 * np.arange(60) % 60, unit="D")).to_numpy()
    for labels in (names, dates, pd.Categorical(names)):
        two = fitted(verb, data.assign(id=labels[data.id]), family, link)
        same(one, two)
        if verb == "fixed_effects":
            by_label = dict(zip(two.cluster_effects.label, two.cluster_effects.estimate, strict=True))
            moved = [by_label[label] for label in pd.Series(np.asarray(labels))[one.cluster_effects.label]]
            np.testing.assert_allclose(moved, one.cluster_effects.estimate, rtol=1e-8, atol=1e-9)


@EACH_MODEL
def test_weights_are_repeated_rows(verb, family, link):
    """With the conditional logit as well: a weight of two is two rows, of which one or both may be the successes."""
    data = simulated(family)
    one = fitted(verb, data.loc[data.index.repeat(data.w)], family, link, offset="o")
    two = fitted(verb, data, family, link, weights="w", offset="o")
    if (verb, family) == ("fixed_effects", "binomial"):
        assert two.loglik == pytest.approx(one.loglik, abs=1e-8)
        np.testing.assert_allclose(two.cluster_effects.std_error, one.cluster_effects.std_error, rtol=1e-7)
    np.testing.assert_allclose(two.params, one.params, rtol=0.0, atol=1e-8 * one.bse.min())
    np.testing.assert_allclose(two.cov_params(), one.cov_params(), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(two.cov(kind="robust"), one.cov(kind="robust"), rtol=1e-6, atol=1e-12)


@EACH_MODEL
def test_cluster_weight_2_is_the_cluster_twice(verb, family, link):
    data = simulated(family)
    data["cw"] = np.where(data.id % 5 == 0, 2.0, 1.0)
    again = data[data.id % 5 == 0]
    one = fitted(verb, pd.concat([data, again.assign(id=again.id + 1000)]), family, link)
    two = fitted(verb, data, family, link, cluster_weights="cw")
    assert two.loglik == pytest.approx(one.loglik, abs=1e-8)
    np.testing.assert_allclose(two.params, one.params, rtol=0.0, atol=1e-8 * one.bse.min())
    np.testing.assert_allclose(two.cov_params(), one.cov_params(), rtol=1e-7, atol=1e-12)
    if verb == "fixed_effects":
        np.testing.assert_allclose(effects(two), effects(one)[effects(two).index], rtol=1e-8, atol=1e-9)


@EACH_MODEL
def test_an_offset_is_part_of_a_coefficient(verb, family, link):
    data = simulated(family)
    one = fitted(verb, data, family, link)
    for options in ({"offset": "part"}, {"formula": "y ~ x + z + offset(part)"}):
        two = fitted(verb, data.assign(part=0.3 * data.x), family, link, **options)
        assert two.loglik == pytest.approx(one.loglik, abs=1e-8)
        np.testing.assert_allclose(two.params, one.params - np.array([0.3, 0.0]), rtol=0.0, atol=1e-8 * one.bse.min())
        np.testing.assert_allclose(two.cov_params(), one.cov_params(), rtol=1e-7, atol=1e-12)


@EACH_MODEL
def test_offsets_of_clusters_move_intercepts_alone(verb, family, link):
    data = simulated(family)
    one = fitted(verb, data, family, link, offset="o")
    shift = np.random.default_rng(9).normal(size=60)
    two = fitted(verb, data.assign(o=data.o + shift[data.id]), family, link, offset="o")
    same(one, two)
    if verb == "fixed_effects":
        known = np.isfinite(one.cluster_effects.estimate)
        difference = two.cluster_effects.estimate[known] - one.cluster_effects.estimate[known]
        np.testing.assert_allclose(difference, -shift[one.cluster_effects.label[known]], atol=1e-8)
        pd.testing.assert_series_equal(two.cluster_effects.estimate[~known], one.cluster_effects.estimate[~known])
        np.testing.assert_allclose(two.cluster_effects.std_error, one.cluster_effects.std_error, rtol=1e-7)
        np.testing.assert_allclose(two.predict(), one.predict(), rtol=1e-7, atol=1e-12)


@EACH_MODEL
@pytest.mark.parametrize(("x_scale", "x_shift", "z_scale"), [(1e6, 3e6, 1e-7), (1.0, 1e5, 1e3), (1e-8, 0.0, 1.0)])
def test_units_of_covariates(verb, family, link, x_scale, x_shift, z_scale):
    data = simulated(family)
    one = fitted(verb, data, family, link)
    two = fitted(verb, data.assign(x=x_scale * data.x + x_shift, z=z_scale * data.z), family, link)
    assert two.loglik == pytest.approx(one.loglik, abs=1e-8)
    scale = np.array([x_scale, z_scale])
    np.testing.assert_allclose(two.params * scale, one.params, rtol=0.0, atol=1e-7 * one.bse.min())
    np.testing.assert_allclose(two.bse * scale, one.bse, rtol=1e-7)
    if verb == "fixed_effects":
        moved = two.cluster_effects.estimate + x_shift * two.params["x"]
        np.testing.assert_allclose(moved, one.cluster_effects.estimate, rtol=0.0, atol=1e-6)


@EACH_MODEL
def test_covariates_shifted_by_cluster(verb, family, link):
    """Only differences within clusters count."""
    data = simulated(family)
    one = fitted(verb, data, family, link)
    shift = np.random.default_rng(10).normal(size=60)
    two = fitted(verb, data.assign(x=data.x + shift[data.id]), family, link)
    same(one, two)
    if verb == "fixed_effects":
        known = np.isfinite(one.cluster_effects.estimate)
        difference = two.cluster_effects.estimate[known] - one.cluster_effects.estimate[known]
        np.testing.assert_allclose(difference, -one.params["x"] * shift[one.cluster_effects.label[known]], atol=1e-8)


@EACH_MODEL
@pytest.mark.parametrize("value", [0, 1])
def test_clusters_without_variation_change_nothing(verb, family, link, value):
    """With a cluster that has only failures (zero counts) or only successes more."""
    data = simulated(family)
    one = fitted(verb, data, family, link)
    more = data[data.id == data.id.max()].assign(id=1000, y=value * (family == "binomial"), x=50.0, o=-3.0)
    two = fitted(verb, pd.concat([data, more]), family, link)
    same(one, two)
    assert two.n_informative == one.n_informative
    assert two.n_clusters == one.n_clusters + 1
    if verb == "fixed_effects":
        expected = np.inf if value == 1 and family == "binomial" else -np.inf
        assert two.cluster_effects.estimate.iloc[-1] == expected
        assert two.n_parameters == one.n_parameters + 1
        assert two.deviance == pytest.approx(one.deviance, abs=1e-8)
    else:
        assert two.n_parameters == one.n_parameters == 2


@EACH_MODEL
def test_failures_and_successes_change_places(verb, family, link):
    """With the symmetric links every sign changes, and nothing else."""
    if link not in ("logit", "probit"):
        return
    data = simulated(family)
    one = fitted(verb, data, family, link)
    two = fitted(verb, data.assign(y=1 - data.y), family, link)
    assert two.loglik == pytest.approx(one.loglik, abs=1e-8)
    np.testing.assert_allclose(two.params, -one.params, rtol=0.0, atol=1e-8 * one.bse.min())
    if verb == "fixed_effects":
        np.testing.assert_allclose(two.cluster_effects.estimate, -one.cluster_effects.estimate, rtol=1e-7, atol=1e-9)


@EACH_MODEL
def test_starting_values_lead_to_the_same_maximum(verb, family, link):
    data = simulated(family)
    one = fitted(verb, data, family, link)
    for start in ([2.0, 2.0], {"x": -1.0, "z": 1.0}):
        same(one, fitted(verb, data, family, link, start=start))


@EACH_MODEL
def test_threads_do_not_change_a_bit(verb, family, link):
    data = simulated(family, clusters=700)
    one = fitted(verb, data, family, link)
    two = fitted(verb, data, family, link, control=cg.Control(tol=1e-10, n_threads=2))
    assert two.loglik == one.loglik
    np.testing.assert_array_equal(two.params, one.params)
    np.testing.assert_array_equal(two.cov_params(), one.cov_params())
    if verb == "fixed_effects":
        np.testing.assert_array_equal(two.cluster_effects.estimate, one.cluster_effects.estimate)


@EACH_MODEL
def test_kind_of_table(verb, family, link):
    """pandas, polars, a dict of arrays: the same bits."""
    data = simulated(family)
    one = fitted(verb, data, family, link, weights="w", offset="o")
    for table in (pl.from_pandas(data), {name: data[name].to_numpy() for name in data}):
        two = fitted(verb, table, family, link, weights="w", offset="o")
        assert two.loglik == one.loglik
        np.testing.assert_array_equal(two.params, one.params)
        np.testing.assert_array_equal(two.cov_params(), one.cov_params())


@EACH_MODEL
def test_subset_is_the_rows_alone(verb, family, link):
    data = simulated(family)
    chosen = data.id < 40
    same(fitted(verb, data[chosen], family, link), fitted(verb, data, family, link, subset=chosen.to_numpy()))


@pytest.mark.parametrize(
    ("verb", "link"), [("fixed_effects", k) for k in ("logit", "cloglog", "probit")] + [("conditional", "logit")]
)
def test_grouped_equals_expanded(verb, link, golden_frame):
    """Log-likelihoods differ by the rows' binomial coefficients alone, the conditional ones too."""
    formula = "cbind(incidence, size - incidence) ~ period"
    options = {"family": "binomial", "link": link, "cluster": "herd"}
    grouped = fitted(verb, golden_frame("cbpp_grouped"), formula=formula, **options)
    expanded = fitted(verb, golden_frame("cbpp_expanded"), formula="y ~ period", **options)
    np.testing.assert_allclose(grouped.params, expanded.params, rtol=1e-8)
    np.testing.assert_allclose(grouped.cov_params(), expanded.cov_params(), rtol=1e-7)
    np.testing.assert_allclose(grouped.cov(kind="robust"), expanded.cov(kind="robust"), rtol=1e-7)
    assert grouped.loglik - grouped.data.constant == pytest.approx(expanded.loglik, abs=1e-8)


@EACH_FIXED
def test_an_intercept_in_the_formula_or_not(family, link):
    data = simulated(family)
    one = fitted("fixed_effects", data, family, link)
    for formula in ("y ~ 1 + x + z", "y ~ 0 + x + z", "y ~ x + z - 1"):
        two = fitted("fixed_effects", data, family, link, formula=formula)
        assert two.loglik == one.loglik
        assert list(two.params.index) == ["x", "z"]


@EACH_FIXED
def test_every_cluster_in_a_category_of_its_own_is_a_pooled_model_with_dummies(family, link):
    """Among clusters with variation the two are one model."""
    data = simulated(family)
    share = data.groupby("id").y.transform("mean")
    data = data[(share > 0) & ((share < 1) | (family == "poisson"))]
    one = fitted("fixed_effects", data, family, link)
    two = cg.pooled("y ~ 0 + C(id) + x + z", data, family=family, link=link, control=EXACT)
    assert two.loglik == pytest.approx(one.loglik, abs=1e-8)
    assert two.n_parameters == one.n_parameters
    assert two.aic == pytest.approx(one.aic, abs=1e-7)
    assert two.deviance == pytest.approx(one.deviance, abs=1e-7)
    np.testing.assert_allclose(one.params, two.params[["x", "z"]], rtol=0.0, atol=1e-7 * one.bse.min())
    np.testing.assert_allclose(one.bse, two.bse[["x", "z"]], rtol=1e-7)
    dummies = [name for name in two.params.index if name not in ("x", "z")]
    np.testing.assert_allclose(one.cluster_effects.estimate, two.params[dummies], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(one.cluster_effects.std_error, two.bse[dummies], rtol=1e-6)


@pytest.mark.parametrize(
    ("verb", "family", "link", "seed", "clusters", "x_scale", "whole"),
    [
        ("fixed_effects", "binomial", "probit", 824482, 8, 1e5, True),  # tails thinner than the logit's
        ("fixed_effects", "binomial", "probit", 0, 2, 1e-8, True),
        ("fixed_effects", "binomial", "cloglog", 212166, 3, 1.0, True),
        ("fixed_effects", "binomial", "cloglog", 753739, 2, 1e-8, True),
        ("fixed_effects", "poisson", "log", 393722, 4, 1.0, False),  # the Hessian becomes singular on the way
        ("conditional", "poisson", "log", 393722, 4, 1.0, False),
    ],
)
def test_separation_is_found_however_the_optimiser_ends(verb, family, link, seed, clusters, x_scale, whole):
    data = small(family, seed, clusters, x_scale, whole)
    with pytest.raises(cg.errors.SeparationError, match="within"):
        fitted(verb, data, family, link, control=None)


def small(family: str, seed: int, clusters: int, x_scale: float, whole: bool) -> pd.DataFrame:
    """Few clusters; with whole numbers there are ties, collinear columns and separation."""
    data = simulated(family, seed=seed, clusters=clusters)
    if whole:
        data["x"], data["z"] = data.x.round(), (data.z > 1.0).astype(int)
    data["x"] *= x_scale
    return data


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    seed=st.integers(0, 10**6),
    model=st.sampled_from(MODELS),
    clusters=st.integers(1, 20),
    scale=st.sampled_from([1e-8, 1.0, 1e5]),
    whole=st.booleans(),
)
def test_any_small_data_gives_a_fit_or_one_clear_error(seed, model, clusters, scale, whole):
    verb, family, link = model
    try:
        fit = fitted(verb, small(family, seed, clusters, scale, whole), family, link, control=None)
    except cg.errors.ClusterGLMError as error:
        explained = all((error.got, error.needed, error.advice))
        assert explained
        return
    assert fit.converged
    assert fit.optimization.gradient_norm < 1e-6
    assert np.isfinite(fit.loglik)
    assert (fit.bse > 0).all()
    assert np.isfinite(fit.bse).all()
