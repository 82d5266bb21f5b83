"""Fits side by side, and likelihood-ratio tests between them."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

import clusterglm as cg
from clusterglm.errors import DataError, OptionError
from clusterglm.inference.hypotheses.comparison import columns_nested, mixture_p_value, same_clusters


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    cluster = np.repeat(np.arange(60), 5)
    d = pd.DataFrame({"id": cluster, "x": rng.normal(size=300), "z": rng.uniform(1, 4, 300)})
    d["g"] = rng.choice(["a", "b", "c"], 300)
    d["u"] = rng.normal(size=60)[cluster]  # constant within clusters
    eta = 0.7 * d.x + 0.9 * rng.normal(size=60)[cluster]
    d["y"] = (rng.random(300) < 1 / (1 + np.exp(-eta))).astype(int)
    d["w"], d["half"] = rng.integers(1, 4, 300), cluster // 2
    d["label"] = np.char.add("k", d.id.astype(str).to_numpy().astype(str))
    return d.sample(frac=1.0, random_state=2).reset_index(drop=True)


def random(formula: str, data: pd.DataFrame, **options: Any) -> Any:
    return cg.random_effects(formula, data, **{"cluster": "id", **options})


def only_test(first: Any, second: Any) -> Any:
    (test,) = cg.compare(first, second).tests
    return test


# The tests ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("df", [1, 2, 5])
def test_p_values_of_mixtures(df: int) -> None:
    t = 3.7
    assert mixture_p_value(t, df, boundary=False) == pytest.approx(chi2.sf(t, df))
    lower = chi2.sf(t, df - 1) if df > 1 else 0.0
    assert mixture_p_value(t, df, boundary=True) == pytest.approx(0.5 * chi2.sf(t, df) + 0.5 * lower)
    assert mixture_p_value(0.0, df, boundary=True) == 1.0


def test_pooled_against_random_is_the_test_of_no_clustering(data: pd.DataFrame) -> None:
    pooled, fit = cg.pooled("y ~ x", data), random("y ~ x", data)
    for pair in ((pooled, fit), (fit, pooled)):
        test = only_test(*pair)
        assert test.statistic == pytest.approx(fit.clustering_test.statistic)
        assert test.pvalue == pytest.approx(fit.clustering_test.pvalue)
        assert (test.df, test.boundary, test.reason) == (1, True, "")
    assert test.smaller == "fit 2"


def test_coefficients_and_sigma_at_once(data: pd.DataFrame) -> None:
    pooled, fit = cg.pooled("y ~ 1", data), random("y ~ x + g", data)
    test = only_test(pooled, fit)
    statistic = 2 * (fit.loglik - pooled.loglik)
    assert (test.df, test.boundary) == (4, True)
    assert test.pvalue == pytest.approx(0.5 * chi2.sf(statistic, 3) + 0.5 * chi2.sf(statistic, 4))
    assert "half chi2 on 3 and half chi2 on 4 df" in str(test)
    assert only_test(cg.pooled("y ~ z", data), fit).reason == "neither is a special case of the other"
    assert only_test(cg.pooled("y ~ x + g + z", data), fit).reason == "neither is a special case of the other"


@pytest.mark.parametrize("verb", [cg.pooled, cg.random_effects, cg.fixed_effects, cg.conditional])
def test_more_coefficients(verb: Any, data: pd.DataFrame) -> None:
    small, large = verb("y ~ x", data, cluster="id"), verb("y ~ x + g", data, cluster="id")
    test = only_test(small, large)
    assert (test.df, test.boundary) == (2, False)
    assert test.statistic == pytest.approx(2 * (large.loglik - small.loglik))
    assert test.pvalue == pytest.approx(chi2.sf(test.statistic, 2))


def test_sigma_held_fixed(data: pd.DataFrame) -> None:
    free, at_one = random("y ~ x", data), random("y ~ x", data, sigma=1.0, fix_sigma=True)
    at_two, at_zero = (random("y ~ x", data, sigma=s, fix_sigma=True) for s in (2.0, 0.0))
    assert (only_test(at_one, free).df, only_test(at_one, free).boundary) == (1, False)
    assert only_test(at_one, at_two).reason == "neither is a special case of the other"
    assert only_test(at_zero, free).pvalue == pytest.approx(free.clustering_test.pvalue)
    assert only_test(cg.pooled("y ~ x", data), at_one).reason == "neither is a special case of the other"
    assert only_test(cg.pooled("y ~ x", data), at_zero).reason == "they are the same model in other words"
    assert only_test(random("y ~ 1", data, sigma=1.0, fix_sigma=True), at_one).df == 1


def test_size_of_the_mixture() -> None:
    """Without clustering and without an effect, 10% of the tests reject; of those by chi-square, fewer."""
    rng = np.random.default_rng(4)
    d = pd.DataFrame({"id": np.repeat(np.arange(40), 5), "x": rng.normal(size=200)})
    rejected = np.zeros(2)
    for _ in range(150):
        d["y"] = rng.poisson(1.5, 200)
        pooled = cg.pooled("y ~ 1", d, family="poisson")
        large = cg.random_effects("y ~ x", d, family="poisson", cluster="id")
        test = only_test(pooled, large)
        rejected += test.pvalue < 0.1, chi2.sf(test.statistic, test.df) < 0.1
    assert 5 <= rejected[0] <= 26  # 15 expected, standard deviation 3.7
    assert rejected[1] < rejected[0]


# Nested by column spaces ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inner", "outer", "nested"),
    [
        ("y ~ x", "y ~ x + g", True),
        ("y ~ x + g", "y ~ x", False),
        ("y ~ 0 + g", "y ~ g", True),
        ("y ~ g", "y ~ 0 + g", True),
        ("y ~ 1", "y ~ 0 + g", True),
        ("y ~ x", "y ~ 0 + g + I(3*x - 7)", True),
        ("y ~ x + I(x^2)", "y ~ poly(x, 2)", True),
        ("y ~ poly(x, 2)", "y ~ x + I(x^2) + z", True),
        ("y ~ I(z*1e6 + 1e9)", "y ~ z", True),
        ("y ~ I(1e6 + x)", "y ~ z", False),
        ("y ~ 0 + x", "y ~ x", True),
        ("y ~ x", "y ~ 0 + x", False),
        ("y ~ 1", "y ~ 0 + x", False),
        ("y ~ I(g == 'b')", "y ~ g", True),
        ("y ~ x", "y ~ bs(x, df=5)", True),
        ("y ~ log(z)", "y ~ poly(z, 5)", False),
    ],
)
def test_column_spaces(inner: str, outer: str, nested: bool, data: pd.DataFrame) -> None:
    one, two = cg.pooled(inner, data).data, cg.pooled(outer, data, cluster="id").data
    assert columns_nested(one, two, within=False) is nested


@pytest.mark.parametrize(
    ("inner", "outer", "nested"),
    [
        ("y ~ x", "y ~ x + z", True),
        ("y ~ x + z", "y ~ x", False),
        ("y ~ within(x)", "y ~ x", True),
        ("y ~ x", "y ~ within(x)", True),
        ("y ~ I(x + 5*u)", "y ~ x", True),
        ("y ~ I(x + 5*z)", "y ~ x", False),
        ("y ~ 1", "y ~ x", True),
    ],
)
def test_column_spaces_next_to_cluster_intercepts(inner: str, outer: str, nested: bool, data: pd.DataFrame) -> None:
    one, two = (cg.fixed_effects(formula, data, cluster="id").data for formula in (inner, outer))
    assert columns_nested(one, two, within=True) is nested


def test_many_rows_go_in_pieces(data: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterglm.inference.hypotheses.comparison.ROWS_AT_A_TIME", 7)
    small, large = (cg.pooled(f, data, cluster=c).data for f, c in (("y ~ x", None), ("y ~ poly(x, 3)", "id")))
    assert columns_nested(small, large, within=False)
    assert not columns_nested(large, small, within=False)
    within, plain = (cg.fixed_effects(f, data, cluster="id").data for f in ("y ~ within(x)", "y ~ x + z"))
    assert columns_nested(within, plain, within=True)
    assert not columns_nested(plain, within, within=True)


# Where there is no test -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "options", "reason"),
    [
        (cg.random_effects, {"distribution": "cauchy"}, "the distributions of the intercept differ"),
        (cg.random_effects, {"link": "probit"}, "family or link differ"),
        (cg.random_effects, {"weights": "w"}, "the weights differ, so that log-likelihoods do not compare"),
        (cg.random_effects, {"offset": "z"}, "the offsets differ"),
        (cg.random_effects, {"cluster": "half"}, "the clusters differ"),
        (cg.random_effects, {}, "they are the same model in other words"),
        (cg.random_effects, {"cluster": "label"}, "they are the same model in other words"),
        (cg.fixed_effects, {}, "with an intercept for every cluster the likelihood ratio is not nearly chi-square"),
        (cg.conditional, {}, "a likelihood given each cluster's total does not compare with a full one"),
    ],
)
def test_reasons(verb: Any, options: dict[str, Any], reason: str, data: pd.DataFrame) -> None:
    comparison = cg.compare(random("y ~ x", data), verb("y ~ x", data, **{"cluster": "id", **options}))
    (test,) = comparison.tests
    assert test.reason == reason
    assert np.isnan(test.statistic)
    assert np.isnan(test.pvalue)
    together = "do not compare" not in reason and "does not compare" not in reason
    assert comparison.groups == ((0, 0) if together else (0, 1))
    assert f"no test, {reason}" in " ".join(str(comparison).split())


def test_distributions_with_parameters(data: pd.DataFrame) -> None:
    four, again, five = (random("y ~ 1 + x", data, distribution=cg.StudentT(df)) for df in (4, 4.0, 5))
    assert only_test(random("y ~ 1", data, distribution="student_t(4)"), four).df == 1
    assert only_test(four, again).reason == "they are the same model in other words"
    assert only_test(four, five).reason == "the distributions of the intercept differ"


def test_a_larger_model_that_is_less_likely_is_not_tested(data: pd.DataFrame) -> None:
    small = random("y ~ x", data)
    with pytest.warns(cg.errors.ConvergenceWarning):
        stopped = random("y ~ x + z", data, control=cg.Control(max_iter=1), quadrature=5, start=[2, 2, 2], sigma=3)
    test = only_test(small, stopped)
    assert stopped.loglik < small.loglik
    assert "fit 2, has the lower log-likelihood" in test.reason
    assert "fit 2 did not converge" in " ".join(str(cg.compare(small, stopped)).split())


def test_grouping_does_not_depend_on_labels(data: pd.DataFrame) -> None:
    one, two, three = (cg.pooled("y ~ x", data, cluster=name).data for name in ("id", "label", "half"))
    assert same_clusters(one, two)
    assert not same_clusters(one, three)
    mixed = data.assign(other=data.id.sample(frac=1.0, random_state=0).to_numpy())
    assert not same_clusters(one, cg.pooled("y ~ x", mixed, cluster="other").data)


def test_conditional_likelihoods_compare_among_each_other(data: pd.DataFrame) -> None:
    fits = [cg.conditional("y ~ x", data, cluster="id"), cg.pooled("y ~ x", data)]
    fits += [cg.conditional("y ~ x + z", data, cluster="id"), random("y ~ x", data)]
    comparison = cg.compare(*fits)
    assert comparison.groups == (0, 1, 0, 1)
    table = comparison.to_frame()
    np.testing.assert_allclose(table.groupby("group").weight.sum(), 1.0)
    assert (table.groupby("group").delta.min() == 0.0).all()
    with pytest.raises(OptionError, match="do not compare"):
        comparison.best()
    halves = cg.conditional("y ~ x", data, cluster="half")
    assert cg.compare(fits[0], halves).groups == (0, 1)


# Different data -------------------------------------------------------------------------------------------------------


def test_different_rows_are_refused(data: pd.DataFrame) -> None:
    holes = data.assign(z=data.z.where(data.index > 2))
    with pytest.raises(
        DataError, match=r"fit 1 uses 300 rows, fit 2 297: fit 2 is without 3 of the rows of fit 1"
    ) as e:
        cg.compare(cg.pooled("y ~ x", holes), cg.pooled("y ~ x + z", holes))
    assert "3 dropped: missing 'z'" in str(e.value)


def test_different_responses_are_refused(data: pd.DataFrame) -> None:
    other = data.assign(y=np.where(data.index == 17, 1 - data.y, data.y), other=1 - data.y)
    with pytest.raises(DataError, match="the responses 'y' differ in 1 of 300 rows, the first of them row 17"):
        cg.compare(cg.pooled("y ~ x", data), random("y ~ x", other))
    with pytest.raises(DataError, match="'y' and 'other' differ in 300 of 300 rows"):
        cg.compare(cg.pooled("y ~ x", data), cg.pooled("other ~ x", other))


def test_trials_are_part_of_the_response(data: pd.DataFrame) -> None:
    counts = data.assign(n=3, f=2 - data.y, y3=3 - data.y)
    one = cg.pooled("cbind(y, f) ~ x", counts)
    assert cg.compare(one, cg.pooled("cbind(y, 2 - y) ~ x + z", counts)).tests[0].df == 1
    with pytest.raises(DataError, match="differ in 300 of 300"):
        cg.compare(one, cg.pooled("cbind(y, y3) ~ x", counts))


# The table ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def comparison(data: pd.DataFrame) -> Any:
    return cg.compare(
        {
            "pooled": cg.pooled("y ~ x", data),
            "gaussian": random("y ~ x", data),
            "with g": random("y ~ x + g", data),
            "cauchy": random("y ~ x + g", data, distribution="cauchy"),
        }
    )


def test_frame(comparison: Any) -> None:
    table = comparison.to_frame()
    fits = comparison.fits
    assert list(table.index) == ["pooled", "gaussian", "with g", "cauchy"]
    for column, attribute in (("n_obs", "n_obs"), ("df", "n_parameters"), ("loglik",) * 2, ("aic",) * 2, ("bic",) * 2):
        assert list(table[column]) == [getattr(fit, attribute) for fit in fits.values()]
    weight = np.exp(-0.5 * (table.aic - table.aic.min()))
    np.testing.assert_allclose(table.weight, weight / weight.sum())
    np.testing.assert_allclose(table.delta, table.aic - table.aic.min())
    assert table.lr_df.tolist()[1:3] == [1, 2]
    assert np.isnan(table.lr_pvalue["cauchy"])
    assert table.lr_reason["cauchy"] == "the distributions of the intercept differ"
    assert comparison.best() is fits[table.aic.idxmin()]
    assert comparison.best("bic") is fits[table.bic.idxmin()]
    with pytest.raises(OptionError, match="one of 'aic', 'bic'"):
        comparison.best("dic")


def test_prints_within_100_columns(comparison: Any, data: pd.DataFrame) -> None:
    long = "a name that goes on for a long while and then some more " + "x" * 120
    wide = cg.compare(
        {long: comparison.best(), "b": random("y ~ " + " + ".join(f"I(x**{k})" for k in range(1, 16)), data)}
    )
    for each in (comparison, wide):
        assert max(map(len, str(each).splitlines())) <= 100
    text = str(comparison)
    assert text.startswith("Comparison of 4 fits to 300 rows, response y")
    assert f"{comparison.fits['cauchy'].loglik:.3f}" in text
    assert "pooled against gaussian: likelihood ratio" in text
    assert repr(comparison) == text


def test_html_and_pickles(comparison: Any) -> None:
    html = comparison._repr_html_()
    assert html.count("<tr>") >= 5
    assert "pooled against gaussian" in html
    again = pickle.loads(pickle.dumps(comparison))
    assert str(again) == str(comparison)
    with pytest.raises(AttributeError):
        comparison.notes = ()


def test_random_against_fixed_effects_counts_clusters(data: pd.DataFrame) -> None:
    fixed = cg.fixed_effects("y ~ x", data, cluster="id")
    table = cg.compare(random("y ~ x", data), fixed).to_frame()
    assert list(table.df) == [3, 61]
    assert table.aic.iloc[1] == pytest.approx(2 * 61 - 2 * fixed.loglik)
    assert table.group.nunique() == 1


# Integration ----------------------------------------------------------------------------------------------------------


def test_differences_below_the_integration_error_are_noted(data: pd.DataFrame) -> None:
    rough = random("y ~ x", data, quadrature=cg.Quadrature("auto", tolerance=0.5))
    fine = random("y ~ x", data)
    error = rough.quadrature.error + fine.quadrature.error
    assert abs(rough.loglik - fine.loglik) < error
    text = " ".join(str(cg.compare(rough, fine)).split())
    assert f"of fit 1 and fit 2 differ by {abs(rough.loglik - fine.loglik):.2g}, less than their" in text
    assert f"integration errors of {error:.2g} in all" in text
    larger = random("y ~ x + g", data)
    assert abs(larger.loglik - fine.loglik) > 0.1
    assert "integration" not in str(cg.compare(fine, larger))


def test_unknown_integration_errors_are_noted(data: pd.DataFrame) -> None:
    text = " ".join(str(cg.compare(random("y ~ x", data, quadrature=3), random("y ~ x", data))).split())
    assert "The integration error of fit 1 was not estimated" in text


def test_sigma_at_zero_is_noted() -> None:
    x = np.tile([0.3, -0.2, 0.9, -1.1, 0.1, 0.4], 20) + np.repeat(np.linspace(-1.0, 1.0, 20), 6)
    d = pd.DataFrame({"y": np.tile([0, 1], 60), "x": x, "id": np.repeat(np.arange(20), 6)})
    comparison = cg.compare(cg.pooled("y ~ x", d), cg.random_effects("y ~ x", d, cluster="id"))
    assert comparison.tests[0].pvalue == 1.0
    assert "The maximum of fit 2 lies at sigma = 0" in str(comparison)


# Arguments ------------------------------------------------------------------------------------------------------------


def test_names(data: pd.DataFrame) -> None:
    one, two = cg.pooled("y ~ x", data), cg.pooled("y ~ z", data)
    assert list(cg.compare(one, two, names=["a", "b"]).fits) == ["a", "b"]
    assert list(cg.compare(one, two).fits) == ["fit 1", "fit 2"]
    for bad in (lambda: cg.compare(one, two, names=["a"]), lambda: cg.compare(one, two, names=["a", "a"])):
        with pytest.raises(OptionError, match="a name of its own for each"):
            bad()
    for wrong in ((one,), (), (one, "y ~ x"), ([one],)):
        with pytest.raises(OptionError, match="two results or more"):
            cg.compare(*wrong)
    with pytest.raises(OptionError, match="names once"):
        cg.compare({"a": one, "b": two}, names=["a", "b"])


def test_no_test_between_integrals_of_other_accuracy(data: pd.DataFrame) -> None:
    fits = {
        name: [random(formula, data, quadrature=rule) for formula in ("y ~ 1", "y ~ x")]
        for name, rule in (("laplace", "laplace"), ("one", 1), ("fifty", 50), ("auto", "auto"))
    }
    for coarse, fine in (("laplace", "auto"), ("one", "fifty"), ("fifty", "auto"), ("auto", "laplace")):
        comparison = cg.compare(fits[coarse][0], fits[fine][1])
        (test,) = comparison.tests
        assert np.isnan(test.statistic)
        assert np.isnan(test.pvalue)
        assert "their integrals differ in accuracy" in test.reason
        assert 'fit both with quadrature="auto"' in " ".join(str(comparison).split())
        assert comparison.to_frame().lr_reason.iloc[1] == test.reason
        assert len(comparison.to_frame()) == 2
    for alike in fits.values():
        assert only_test(*alike).reason == ""
    scales = [random("y ~ 1", data, quadrature=3), random("y ~ x", data, quadrature=3, scale="density")]
    assert "scale" in only_test(*scales).reason
    # tolerances that a statistic does not show, and one that it does
    loose = random("y ~ 1", data, quadrature=cg.Quadrature("auto", tolerance=1e-4))
    assert only_test(loose, fits["auto"][1]).reason == ""
    # at sigma = 0 every rule is exact: the pooled model is a special case of each
    assert only_test(cg.pooled("y ~ 1", data), fits["laplace"][0]).reason == ""


def test_no_bound_from_coarse_integrals(data: pd.DataFrame) -> None:
    names = ["gaussian", "nonparametric"]
    found = {
        rule: str(cg.select_distribution("y ~ x", data, cluster="id", distributions=names, quadrature=rule))
        for rule in ("auto", "laplace")
    }
    assert "No distribution can reach a log-likelihood more than" in found["auto"]
    assert "No distribution can reach" not in found["laplace"]
    assert "Integration errors are not known" in found["laplace"]
