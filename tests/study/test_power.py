"""Power by simulation: against closed forms, the same for any number of workers, resumed, failures counted, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binom, nct, t

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, OptionError, StudyError
from clusterglm.inference.hypotheses.power import contained_dof, power_line, share_interval

ARMS = cg.design(12, 5, between={"trt": ["placebo", "drug"]})
NORMAL: dict[str, Any] = {
    "model": "y ~ trt + (1 | id)", "test": "trt", "design": ARMS, "params": [0.0, 1.0], "sigma": 1.0,
    "family": "gaussian", "family_parameters": 1.5, "reml": True, "method": "t",
}  # fmt: skip
BINARY: dict[str, Any] = {
    "model": "y ~ trt + (1 | id)", "test": "trt", "design": ARMS, "params": [-0.3, 0.8], "sigma": 0.8,
    "replicates": 40, "seed": 5,
}  # fmt: skip


def of_two_groups(m: int, n: int, effect: float, alpha: float) -> float:
    """Power of the t test of m/2 against m/2 cluster means, by the noncentral t distribution."""
    shift = effect / np.sqrt(4.0 * (1.0 + 1.5**2 / n) / m)
    critical = t.isf(0.5 * alpha, m - 2)
    return float(nct.sf(critical, m - 2, shift) + nct.cdf(-critical, m - 2, shift))


def test_power_is_that_of_the_closed_form_and_type_one_error_alpha() -> None:
    found = cg.power(**NORMAL, clusters=[12, 24], size=5, effect=[0.0, 1.0], replicates=250, seed=3)
    table = found.to_frame()
    assert (table["failed"] == 0).all()
    for row in table.itertuples():
        expected = of_two_groups(int(row.clusters), int(row[2]), float(row.effect), 0.05)
        assert abs(row.power - expected) < 4.0 * np.sqrt(expected * (1 - expected) / 250), (row, expected)
        assert row.what == ("power" if row.effect else "type I error")
    null = table[table["effect"] == 0.0]
    assert null["rejected"].sum() == pytest.approx(25, abs=4 * np.sqrt(500 * 0.05 * 0.95))
    stricter = found.at_level(0.01).to_frame()
    expected = of_two_groups(24, 5, 1.0, 0.01)
    assert stricter["power"].iloc[-1] == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 250))
    assert stricter["rejected"].sum() < table["rejected"].sum()


def test_a_covariate_within_clusters_has_its_degrees_of_freedom() -> None:
    """A difference of two times of each person: the paired t test."""
    plan = cg.design(10, within={"week": [0, 1]})
    arguments = NORMAL | {"model": "y ~ week + (1 | id)", "test": "week", "design": plan, "params": [0.0, 1.5]}
    table = cg.power(**arguments, replicates=200, seed=1).to_frame()
    shift, critical = 1.5 / np.sqrt(2.0 * 1.5**2 / 10), t.isf(0.025, 9)
    expected = float(nct.sf(critical, 9, shift))
    # where the spread of persons is estimated to be 0 the test is not the paired one
    assert table["power"].iloc[0] == pytest.approx(expected, abs=0.04 + 4 * np.sqrt(0.25 / 200))


def test_degrees_of_freedom_by_containment() -> None:
    plan = cg.design(12, between={"trt": ["a", "b"]}, within={"week": [0, 1, 2, 3]})
    data = cg.simulate(
        "y ~ trt * week + (1 | id)", plan, [0, 0, 0, 0], sigma=1.0, family="gaussian", family_parameters=1.0, seed=1
    )
    intercepts = cg.random_effects("y ~ trt * week + (1 | id)", data, family="gaussian")
    np.testing.assert_array_equal(contained_dof(intercepts.data.rows), [10, 10, 34, 34])
    slopes = cg.random_effects("y ~ trt * week + (week | id)", data, family="gaussian")
    np.testing.assert_array_equal(contained_dof(slopes.data.rows), [10, 10, 10, 10])
    nested = cg.random_effects("y ~ trt + (1 | trt/id)", data, family="gaussian")
    with pytest.raises(OptionError, match="grouping factors"):
        contained_dof(nested.data.rows)


def test_wald_and_likelihood_ratio_in_large_samples_agree_with_the_normal_closed_form() -> None:
    plan = cg.design(200, 4, between={"trt": ["a", "b"]})
    arguments = NORMAL | {"design": plan, "params": [0.0, 0.35], "reml": False, "replicates": 150, "seed": 2}
    expected = float(ndtr(0.35 / np.sqrt(4.0 * (1.0 + 1.5**2 / 4) / 200) - ndtri(0.975)))
    found = {method: cg.power(**(arguments | {"method": method})) for method in ("wald", "lr")}
    for each in found.values():
        assert each.to_frame()["power"].iloc[0] == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 150))
    both = [each.replicates["pvalue"].to_numpy() for each in found.values()]
    np.testing.assert_allclose(*both, atol=0.01)  # the same data sets
    estimates = found["wald"].replicates["estimate"]
    assert estimates.mean() == pytest.approx(0.35, abs=4 * estimates.std() / np.sqrt(150))


def test_the_same_numbers_for_any_number_of_workers(tmp_path: Path) -> None:
    one = cg.power(**(BINARY | {"replicates": 60}), clusters=[10, 20])
    two = cg.power(**(BINARY | {"replicates": 60}), clusters=[10, 20], workers=2, store=tmp_path / "two.parquet")
    pd.testing.assert_frame_equal(one.replicates, two.replicates)
    other = cg.power(**(BINARY | {"replicates": 60, "seed": 6}), clusters=[10, 20])
    assert not np.array_equal(one.replicates["pvalue"], other.replicates["pvalue"])


def test_an_interrupted_simulation_counts_what_was_done_and_goes_on(tmp_path: Path) -> None:
    whole = cg.power(**(BINARY | {"replicates": 120}), clusters=[10, 20])
    seen: list[int] = []

    def stop(done: int, wanted: int) -> None:
        assert wanted == 240
        seen.append(done)
        if done == 100:
            raise KeyboardInterrupt

    arguments = BINARY | {"replicates": 120, "store": tmp_path / "power.parquet"}
    partly = cg.power(**arguments, clusters=[10, 20], progress=stop)
    assert partly.interrupted
    assert 100 <= partly.to_frame()["replicates"].sum() < 240
    assert "interrupted" in str(partly)
    rest: list[int] = []
    again = cg.power(**arguments, clusters=[10, 20], progress=lambda done, _: rest.append(done))
    assert rest[0] > 100
    pd.testing.assert_frame_equal(again.replicates, whole.replicates)
    # what is finished is read, and nothing else is taken for it
    read = cg.power(**arguments, clusters=[10, 20], progress=lambda done, _: rest.append(-done))
    assert rest[-1] == -240
    pd.testing.assert_frame_equal(read.replicates, whole.replicates)
    for change, words in (
        ({"seed": 9}, "seed"),
        ({"params": [-0.3, 0.9]}, "model or test"),
        ({"clusters": [10]}, "numbers"),
    ):
        with pytest.raises(StudyError, match=words):
            cg.power(**({"clusters": [10, 20]} | arguments | change))
    without_store = cg.power(**(BINARY | {"replicates": 120}), clusters=[10, 20], progress=stop)
    assert without_store.interrupted


def test_failures_are_counted_and_named() -> None:
    """Few clusters of one row in each arm: often all responses of a cluster are equal, or arms are separated."""
    plan = cg.design(6, 2, between={"trt": ["a", "b"]})
    found = cg.power(**(BINARY | {"design": plan, "params": [-2.0, 4.0], "replicates": 100}))
    row = found.to_frame().iloc[0]
    assert 10 < row["failed"] < 100
    assert row["replicates"] == 100
    assert row["power"] == row["rejected"] / 100
    assert row["power_most"] == (row["rejected"] + row["failed"]) / 100
    assert found.failures["count"].sum() == row["failed"]
    assert found.failures["reason"].str.contains("separate").any()
    assert "failures count as no rejections" in str(found)
    assert found.replicates["failure"].notna().sum() == row["failed"]


def test_several_tests_in_the_same_data_sets() -> None:
    plan = cg.design(40, between={"trt": ["a", "b", "c"]}, within={"week": range(3)})
    values = {"(Intercept)": 0.0, "trt[b]": 0.0, "trt[c]": 1.5, "week": 0.0}
    found = cg.power(
        "y ~ trt + week + (1 | id)", ["trt", "trt[c]", "trtb = trtc", "week"], design=plan, params=values, sigma=0.5,
        replicates=60, seed=1,
    )  # fmt: skip
    table = found.to_frame().set_index("test")
    assert table.index.to_list() == ["trt", "trt[c]", "trtb = trtc", "week"]
    assert table["what"].to_list() == ["power", "power", "power", "type I error"]
    assert table.loc["week", "power"] < 0.2 < table.loc["trt[c]", "power"]
    assert np.isnan(table.loc["trt", "mean_estimate"])
    with pytest.raises(OptionError, match="multiples of all"):
        cg.power("y ~ trt + (1 | id)", "trt", design=plan, params=[0, 0, 1], sigma=1.0, effect=[0.0, 1.0])
    half = cg.power(
        "y ~ trt + week + (1 | id)",
        "trt",
        design=plan,
        params=values,
        sigma=0.5,
        multiple=[0.0, 0.5],
        replicates=40,
        seed=1,
    )
    assert half.to_frame()["what"].to_list() == ["type I error", "power"]
    named = cg.power(
        "y ~ trt + week + (1 | id)", ["trt", "week"], design=plan, params=values, sigma=0.5,
        effect={"week": [0.0, 1.0]}, replicates=40, seed=1,
    )  # fmt: skip
    assert named.to_frame()["what"].to_list() == ["power", "type I error", "power", "power"]


def test_from_a_fit_with_more_clusters_and_other_effects() -> None:
    bacteria = cg.datasets.load("bacteria")
    fit = cg.random_effects("y ~ trt + week + (1 | ID)", bacteria)
    found = cg.power(fit, "week", clusters=[30, 50, 100], replicates=60, seed=1)
    power = found.to_frame()["power"]
    assert power.is_monotonic_increasing
    estimates = found.replicates.groupby("clusters")["estimate"]
    assert estimates.mean()[100] == pytest.approx(fit.params["week"], abs=4 * estimates.std()[100] / np.sqrt(60) + 0.02)
    none = cg.power(fit, "week", effect=0.0, replicates=60, seed=1).to_frame().iloc[0]
    assert none["what"] == "type I error"
    assert none["power"] < 0.2
    assert "from its estimates" in str(found)


@pytest.mark.parametrize(
    ("formula", "more", "clusters"),
    [
        ("y ~ x + (x | id)", {"sigma": [0.8, 0.3], "correlation": 0.2, "quadrature": "laplace"}, [20, 30]),
        ("y ~ x + (1 | id/class)", {"sigma": {"id": 0.8, "class": 0.5}, "quadrature": "laplace"}, [20, 30]),
        ("y ~ x + (1 | id) + (1 | item)", {"sigma": {"id": 0.8, "item": 0.5}, "quadrature": "laplace"}, [20, 30]),
        ("y ~ x + (1 | id)", {"sigma": 0.8, "family": "poisson"}, [20, 30]),
        ("y ~ x + (1 | id)", {"sigma": 0.8, "family": "negative_binomial", "family_parameters": 0.5}, [20, 30]),
        ("y ~ x + (1 | id)", {"sigma": 0.8, "family": "ordinal", "family_parameters": [-0.5, 0.8]}, [20, 30]),
        ("y ~ x + (1 | id)", {"sigma": 0.8, "distribution": "logistic", "link": "cloglog"}, [20, 30]),
        (
            "y ~ x + (1 | id) + (1 | item)",
            {"sigma": {"id": 0.8, "item": 0.5}, "family": "gaussian", "family_parameters": 1.0},
            [20, 30],
        ),
        ("y ~ x", {"cluster": "id", "cov": "robust", "sigma": 0.0}, [20, 30]),
        ("y ~ x", {}, None),
    ],
)  # fmt: skip
def test_every_structure_and_family_has_power(formula: str, more: dict[str, Any], clusters: Any) -> None:
    plan = cg.design(20, 2, nested={"class": 2}, crossed={"item": 2}, within={"x": [0, 1]})
    names = ["x"] if more.get("family") == "ordinal" else ["(Intercept)", "x"]
    params = dict.fromkeys(names, 0.2) | {"x": 0.8}
    found = cg.power(formula, "x", design=plan, params=params, clusters=clusters, replicates=4, seed=1, **more)
    table = found.to_frame()
    assert (table["failed"] == 0).all(), found.failures
    fitted = cg.simulate(
        formula, plan, params, **{k: v for k, v in more.items() if k not in ("quadrature", "cov")}, seed=1
    )
    kept = {k: v for k, v in more.items() if k in ("family", "link", "quadrature", "distribution", "cluster")}
    verb: Any = cg.random_effects if "|" in formula or "cluster" in kept else cg.pooled
    of_fit = cg.power(verb(formula, fitted, **kept), "x", clusters=clusters, replicates=3, seed=1)
    assert (of_fit.to_frame()["failed"] == 0).all(), of_fit.failures


def test_random_designs_are_drawn_anew_and_tables_are_extended() -> None:
    plan = cg.design(30, between={"age": "normal(0, 1)", "trt": ["a", "b"]}, within={"week": range(3)}, randomise=True)
    values = {"params": [0.0, 0.5, 0.5, 0.1], "sigma": 0.7, "replicates": 30, "seed": 1}
    drawn = cg.power("y ~ age + trt + week + (1 | id)", "age", design=plan, **values)
    assert drawn.to_frame()["failed"].iloc[0] == 0
    table = plan.frame(1)
    fixed = cg.power(
        "y ~ age + trt + week + (1 | id)", "age", design=table, clusters=[20, 45, 60], size=[2, 6], **values
    )
    assert fixed.to_frame()[["clusters", "size"]].to_numpy().tolist() == [[a, b] for a in (20, 45, 60) for b in (2, 6)]


def test_a_curve_says_how_many_are_needed() -> None:
    found = cg.power(**NORMAL, clusters=[12, 16, 24, 32, 48], replicates=100, seed=4)
    right = next(m for m in range(4, 200, 2) if of_two_groups(m, 5, 1.0, 0.05) >= 0.8)
    row = found.needed(0.8).iloc[0]
    assert row["conf_low"] - 2 <= right <= row["conf_high"] + 2
    assert row["needed"] == pytest.approx(right, rel=0.2)
    assert "outside" in found.needed(0.999)["note"].iloc[0]
    effects = cg.power(**(NORMAL | {"design": ARMS.resized(24)}), effect=[0.0, 0.5, 1.0, 1.5], replicates=100, seed=4)
    least = effects.detectable(0.8).iloc[0]
    grid = np.linspace(0.5, 2.5, 400)
    exact = grid[np.searchsorted([of_two_groups(24, 5, e, 0.05) for e in grid], 0.8)]
    assert least["conf_low"] - 0.05 <= exact <= least["conf_high"] + 0.05
    with pytest.raises(OptionError, match="effects did not vary"):
        found.detectable()
    with pytest.raises(OptionError, match="one point"):
        cg.power(**(BINARY | {"replicates": 2})).needed()


def test_the_line_is_the_maximum_of_the_likelihood() -> None:
    x = np.array([3.0, 4.0, 5.0, 6.0])
    k, n = np.array([21.0, 43.0, 66.0, 88.0]), np.full(4, 100.0)
    line = power_line(x, k, n)
    assert line is not None
    data = pd.DataFrame({"x": x, "k": k, "rest": n - k})
    fit = cg.pooled("cbind(k, rest) ~ x", data, link="probit")
    assert [line.a, line.b] == pytest.approx(fit.params.to_list(), abs=1e-8)
    assert line.deviance == pytest.approx(fit.deviance, abs=1e-8)
    assert np.diag(line.covariance) == pytest.approx(np.diag(fit.cov()), rel=0.05)  # expected and observed information
    at = line.at(0.8)
    assert ndtr(line.a + line.b * at) == pytest.approx(0.8)
    low, high = line.interval(0.8, 0.95)
    assert low < at < high
    for end in (low, high):  # where a + b x is 1.96 standard errors off
        variance = line.covariance[0, 0] + 2 * end * line.covariance[0, 1] + end**2 * line.covariance[1, 1]
        assert abs(line.a + line.b * end - ndtri(0.8)) == pytest.approx(ndtri(0.975) * np.sqrt(variance))
    assert power_line(np.array([1.0, 2.0]), np.array([0.0, 10.0]), np.array([10.0, 10.0])) is None
    assert power_line(np.array([1.0]), np.array([5.0]), np.array([10.0])) is None


def test_intervals_of_shares_are_exact() -> None:
    k, n = np.array([0.0, 3.0, 50.0, 10.0]), np.array([10.0, 10.0, 200.0, 10.0])
    low, high = share_interval(k, n, 0.95)
    assert binom.sf(k[1:] - 1, n[1:], low[1:]) == pytest.approx(0.025)
    assert binom.cdf(k[:-1], n[:-1], high[:-1]) == pytest.approx(0.025)
    assert low[0] == 0.0
    assert high[-1] == 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"test": "trtx"}, "trt"),
        ({"test": []}, "a coefficient, a term"),
        ({"test": ["trt", "trt"]}, "different hypotheses"),
        ({"design": None}, "design="),
        ({"clusters": 1}, "clusters=1"),
        ({"clusters": [10, "many"]}, "'many'"),
        ({"size": 0}, "size=0"),
        ({"replicates": 0}, "replicates=0"),
        ({"alpha": 0.7}, "alpha=0.7"),
        ({"method": "walt"}, "did you mean 'wald'"),
        ({"cov": "hc3"}, "cov='hc3'"),
        ({"effect": 1.0, "multiple": 2.0}, "one of the two"),
        ({"effect": {"dose": 1.0}}, "no coefficient"),
        ({"effect": {"trt": 1.0, "x": 1.0}}, "one coefficient"),
        ({"effect": "large"}, "'large'"),
        ({"seed": -1}, "seed=-1"),
        ({"workers": 0}, "workers=0"),
        ({"store": "power.csv"}, "ends in .parquet"),
        ({"model": 3}, "a fit, or a formula"),
        ({"params": {"(Intercept)": 0.0}}, "without trtdrug"),
        ({"sigma": -1.0}, "not negative"),
        ({"method": "lr", "test": "trtdrug = 1"}, "coefficients that are 0"),
        ({"progress": 3}, "progress=3"),
        ({"params": [9.0, 0.0], "sigma": 0.0}, "none of which could be fitted"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_words(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ClusterGLMError) as caught:
        cg.power(**(BINARY | arguments))
    assert words in str(caught.value)
    assert caught.value.advice


def test_fits_that_cannot_be_extended_are_refused() -> None:
    bacteria = cg.datasets.load("bacteria")
    with pytest.raises(OptionError, match="clusters are drawn"):
        cg.power(cg.fixed_effects("y ~ week", bacteria, cluster="ID"), "week")
    fit = cg.random_effects("y ~ trt + (1 | ID)", bacteria)
    with pytest.raises(OptionError, match="sigma= beside a fit"):
        cg.power(fit, "trt", sigma=1.0)
    with pytest.raises(OptionError, match="clusters= of a model without clusters"):
        cg.power(cg.pooled("y ~ trt", bacteria), "trt", clusters=100)
