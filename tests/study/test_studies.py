"""The studies: rows are what the verbs give; findings have the right numbers; summaries the right errors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

import clusterglm as cg
from clusterglm.data.arrays import from_arrays
from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
from clusterglm.errors import ClusterGLMError, DataError, SamplingWarning, StudyError
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.family import response
from clusterglm.model.quadrature import Quadrature
from clusterglm.results import findings as parts
from clusterglm.study import attempt, distribution, effects, effects_findings, smooth_findings, timing, truths
from clusterglm.study.design import Cell, generator
from clusterglm.study.methods import mixed_model
from clusterglm.study.summary import accuracy, mean, ratio_of_rmse, share

LOGIT = response("binomial")


def by_method(rows: list[Any]) -> dict[str, Any]:
    assert not [row for row in rows if "failure" in row]
    return {row["method"]: row for row in rows}


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_arrays_give_the_data_of_a_table(family: str) -> None:
    rng = np.random.default_rng(1)
    sizes = np.array([3, 1, 4, 2])
    ids, x = np.repeat(np.arange(4), sizes), rng.normal(size=10)
    trials = rng.integers(2, 6, 10) if family == "binomial" else None
    y = rng.binomial(trials, 0.4) if trials is not None else rng.poisson(3.0, 10)
    table = pd.DataFrame({"y": y, "x": x, "id": ids, "rest": 0 if trials is None else trials - y})
    formula = "cbind(y, rest) ~ x" if trials is not None else "y ~ x"
    kind = response(family)
    one = prepare(formula, table, Request(kind, cluster="id"))
    design = np.column_stack([np.ones(10), x])
    other = from_arrays(y, design, sizes, kind, names=("(Intercept)", "x"), trials=trials)
    for name in ("X", "a", "b", "offset", "weights", "trials", "starts", "cluster_weights", "row_index"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert (one.constant, one.saturated) == pytest.approx((other.constant, other.saturated), rel=1e-14)
    assert (one.intercept, one.names, one.n_clusters) == (other.intercept, other.names, other.n_clusters)
    with pytest.raises(DataError, match="clusters of 9 rows"):
        from_arrays(y, design, np.array([3, 6]), kind)


def test_effects_are_those_of_the_verbs() -> None:
    cell: Cell = {"size": 5, "clusters": 40, "sigma": 1.0, "beta0": 0.2, "beta1": 1.0, "n_boot": 19, "draws": 30}
    found = by_method(effects.replicate(cell, generator(3, 1, 4)))
    sample = effects.draw(cell, generator(3, 1, 4))
    table = pd.DataFrame({"y": sample.within.a, "x": sample.within.X[:, 0], "id": np.repeat(np.arange(40), 5)})
    fixed = cg.fixed_effects("y ~ x", table, cluster="id")
    corrected = cg.fixed_effects("y ~ x", table, cluster="id", bias_correction="analytical")
    conditional = cg.conditional("y ~ x", table, cluster="id")
    pooled = cg.pooled("y ~ x", table, cluster="id")
    fits = {"fixed": fixed, "fixed, corrected": corrected, "conditional": conditional, "pooled": pooled}
    for name, quadrature in (
        ("Laplace", "laplace"), ("8 nodes", 8), ("automatic", "auto"), ("PQL", "pql"), ("PQL-ML", "pql-ml"),
    ):  # fmt: skip
        fits[f"mixed, {name}"] = cg.random_effects("y ~ x", table, cluster="id", quadrature=quadrature)
    with warnings.catch_warnings():  # so few draws are not enough, and say so
        warnings.simplefilter("ignore", SamplingWarning)
        drawn = fits["mixed, automatic"].sample(30, chains=1, seed=sample.seed).table()
    posterior = found["mixed, posterior mean"]
    for row, parameter in (("intercept", "(Intercept)"), ("slope", "x"), ("sigma_hat", "sigma")):
        assert posterior[row] == pytest.approx(drawn.loc[parameter, "mean"], rel=1e-3)
    assert (posterior["slope_se"], posterior["sigma_hat_se"]) == pytest.approx(
        tuple(drawn.sd[["x", "sigma"]]), rel=1e-3
    )
    for name, fit in fits.items():
        assert (found[name]["slope"], found[name]["slope_se"]) == pytest.approx(
            (fit.params["x"], fit.bse["x"]), rel=1e-5
        )
        if name.startswith("mixed"):
            assert (found[name]["sigma_hat"], found[name]["sigma_hat_se"]) == pytest.approx(
                (fit.sigma, fit.sigma_se), rel=1e-5
            )
        if name.startswith("mixed") and "PQL" not in name:
            assert found[name]["pvalue"] == pytest.approx(fit.test_clustering("boundary").pvalue, rel=1e-4)
    assert found["score test"]["pvalue"] == pytest.approx(pooled.test_clustering().pvalue, rel=1e-5)
    options: dict[str, Any] = {"n_boot": 19, "seed": sample.seed}
    for name, chosen in (
        ("bootstrap, log-likelihood", {"method": "bootstrap", "statistic": "loglik"}),
        ("bootstrap, likelihood ratio", {"method": "bootstrap"}),
        ("permutation, likelihood ratio", {"method": "permutation", "insist": True}),
    ):
        assert found[name]["pvalue"] == pytest.approx(fixed.test_clustering(**chosen, **options).pvalue, rel=1e-6)


@pytest.mark.parametrize("covariates", ["two", "none"])
def test_distributions_are_those_of_the_verbs(covariates: str) -> None:
    cell: Cell = {"size": 6, "clusters": 60, "sigma": 1.0, "truth": "logistic", "covariates": covariates,
                  "smooth": 1}  # fmt: skip
    rows = distribution.replicate(cell, generator(5, 0, 1))
    data = distribution.draw(cell, generator(5, 0, 1))
    ids = np.repeat(np.arange(60), np.diff(data.starts))
    formula = "cbind(y, rest) ~ 1"
    table = pd.DataFrame({"y": data.a, "rest": data.b, "id": ids})
    if covariates == "two":
        table, formula = table.assign(x1=data.X[:, 1], x2=data.X[:, 2]), "cbind(y, rest) ~ x1 + x2"
    options: dict[str, dict[str, Any]] = {
        "Laplace, density scale": {"quadrature": "laplace", "scale": "density"},
        "8 nodes, density scale": {"quadrature": 8, "scale": "density"},
        "accurate": {},
    }
    assert len(rows) == 10
    truth = truths.truth("logistic")
    pooled = cg.pooled(formula, table, cluster="id").loglik
    for row in rows:
        assumed, chosen = str(row["assumed"]), options[str(row["method"])]
        fit = cg.random_effects(formula, table, cluster="id", distribution=assumed, **chosen)
        assert row["sigma_hat"] == pytest.approx(fit.sigma, rel=1e-3, abs=1e-6)
        assert row["intercept"] == pytest.approx(fit.params.iloc[0], rel=1e-3)
        assert row["lr"] == pytest.approx(2.0 * (fit.loglik - pooled), rel=1e-4, abs=3e-3)
        b = np.linspace(-9.0, 9.0, 7001)  # and between its points the difference is hardly larger
        there = fit.distribution.cdf((b - fit.params.iloc[0]) / fit.sigma) - truth.cdf((b - 0.85) / 1.0)
        assert row["distance"] == pytest.approx(np.abs(there).max(), abs=2e-3)
        assert ("effective" in row) == (assumed == "smooth")
        if covariates == "two":
            assert (row["slope1"], row["slope2"]) == pytest.approx(tuple(fit.params.iloc[1:]), rel=1e-3)
        else:
            chi_square = cg.select_distribution(formula, table, cluster="id", distributions=[assumed], **chosen)
            assert row["chi_square"] == pytest.approx(chi_square.table.chi_square.iloc[0], rel=1e-3)


def test_counts_keep_the_rows_likelihood() -> None:
    """Without covariates a cluster is a count: the same fit as of its rows, but for the coefficients' logarithms."""
    cell: Cell = {"size": 6, "clusters": 60, "sigma": 1.0, "truth": "gaussian", "covariates": "none"}
    data = distribution.draw(cell, generator(1, 0, 0))
    y = np.concatenate([np.repeat([1.0, 0.0], [int(k), 6 - int(k)]) for k in data.a])
    long = from_arrays(y, np.ones((360, 1)), 6, LOGIT, names=("(Intercept)",))
    truth = truths.truth("gaussian")
    for integration in distribution.INTEGRATIONS:
        one, other = (distribution.estimates(each, integration, "logistic", truth, 1.0) for each in (data, long))
        assert one["lr"] == pytest.approx(other["lr"], rel=1e-4)
        assert one["chi_square"] == pytest.approx(other["chi_square"], rel=1e-4)


@pytest.mark.parametrize("name", [*truths.OTHERS, "gaussian", "cauchy"])
def test_truths_draw_what_their_distribution_functions_say(name: str) -> None:
    truth = truths.truth(name)
    drawn = truth.draw(np.random.default_rng(4), 20_000)
    assert kstest(drawn, truth.cdf).pvalue > 0.01
    if name in truths.OTHERS:  # mean 0, standard deviation 1, by the distribution function
        t = np.linspace(-20.0, 40.0, 600_001)
        middle, mass = 0.5 * (t[1:] + t[:-1]), np.diff(truth.cdf(t))
        assert mass.sum() == pytest.approx(1.0, abs=1e-12)
        assert mass @ middle == pytest.approx(0.0, abs=1e-8)
        assert mass @ middle**2 == pytest.approx(1.0, abs=1e-7)


def test_distances_where_there_is_no_scale() -> None:
    """Estimated 0, the distribution function is a step: as far off as the true one is from a step there."""
    cell: Cell = {"size": 5, "clusters": 40, "sigma": 0.0, "truth": "gaussian", "covariates": "two"}
    found = [
        mixed_model(distribution.draw(cell, generator(k, 0, 0)), Gaussian(), Quadrature("auto"), "normal")
        for k in range(6)
    ]
    fit = next(each for each in found if each.sigma == 0.0)
    off = fit.beta[0] - 0.85
    normal = truths.truth("gaussian")
    assert distribution.distance(fit, normal, 0.0) == 1.0
    above = float(normal.cdf(np.array([abs(off)]))[0])
    assert distribution.distance(fit, normal, 1.0) == pytest.approx(above, abs=3e-3)


def test_mean_response() -> None:
    """What the study's text says of it, for a sigma of 0."""
    cell: Cell = {"size": 100, "clusters": 2000, "sigma": 0.0, "truth": "gaussian", "covariates": "two"}
    assert distribution.draw(cell, generator(1, 0, 0)).a.mean() == pytest.approx(0.75, abs=0.004)


def test_timing_methods_agree() -> None:
    found = by_method(timing.replicate({"clusters": 30, "size": 6}, generator(1, 0, 0)))
    slopes = [row["slope"] for row in found.values()]
    assert len(slopes) == 3
    assert np.ptp(slopes) < 1e-6
    assert all(row["seconds"] > 0.0 for row in found.values())


@pytest.mark.parametrize(
    ("study", "setting", "words"),
    [
        (effects, "size=1", "2 or more"),
        (effects, "size=two", "whole numbers"),
        (effects, "sigma=-1", "not negative"),
        (effects, "sigmas=1", "did you mean 'sigma'"),
        (effects, "size", "FACTOR=LEVEL"),
        (effects, "size=2,2", "levels that differ"),
        (distribution, "truth=gausian", "gaussian"),
        (distribution, "covariates=one", "two, none"),
        (distribution, "smooth=2", "0 or 1"),
        (effects, "draws=1", "2 draws at least"),
    ],
)
def test_settings_that_make_no_sense(study: Any, setting: str, words: str) -> None:
    with pytest.raises(ClusterGLMError, match=words):
        study.STUDY.with_levels([setting])


def test_settings_are_read_as_the_factor_s_type() -> None:
    chosen = effects.STUDY.with_levels(["size=3, 4", "sigma=2"])
    assert chosen.factors["size"] == [3, 4]
    assert chosen.factors["sigma"] == [2.0]
    assert chosen.factors["clusters"] == effects.STUDY.factors["clusters"]
    assert chosen.fingerprint(1) != effects.STUDY.fingerprint(1)


def test_failures_are_rows() -> None:
    def fail() -> dict[str, Any]:
        raise StudyError("nothing", "something", "anything")

    assert attempt("a", lambda: {"x": 1.0}) == {"method": "a", "x": 1.0}
    assert attempt("a", fail) == {"method": "a", "failure": "StudyError: nothing"}


def test_accuracy_of_a_sample() -> None:
    found = accuracy([1.0, 2.0, 4.0, np.nan], 2.0)
    assert found.n == 3
    assert found.bias.value == pytest.approx(1.0 / 3.0)
    assert found.bias.error == pytest.approx(np.std([1, 2, 4], ddof=1) / np.sqrt(3))
    assert found.rmse.value == pytest.approx(np.sqrt(5.0 / 3.0))
    assert accuracy([1.0], 0.0).n == 1
    assert np.isnan(accuracy([1.0], 0.0).bias.value)
    assert share([1.0, 0.0, np.nan]).value == 0.5
    assert share([0.0] * 10).error > 0.0
    assert mean([1.0, 3.0, np.nan]).error == pytest.approx(1.0)


def test_monte_carlo_errors_are_those_of_repeated_studies() -> None:
    """Each standard error against the spread of what it belongs to, over 2000 studies of 400 skewed estimates."""
    rng = np.random.default_rng(1)
    samples = rng.gamma(5.0, 1.0, (2000, 400)) - 4.5
    others = samples + rng.normal(size=samples.shape)
    for measure in (
        lambda x, z: accuracy(x, 0.0).bias,
        lambda x, z: accuracy(x, 0.0).sd,
        lambda x, z: accuracy(x, 0.0).rmse,
        lambda x, z: ratio_of_rmse(x, z),
        lambda x, z: share(x > 0.3),
    ):
        found = [measure(x, z) for x, z in zip(samples, others, strict=True)]
        spread = np.std([each.value for each in found])
        assert np.mean([each.error for each in found]) == pytest.approx(spread, rel=0.07)


def test_numbers_show_their_error() -> None:
    assert str(parts.Estimate(0.12345, 0.0123)) == "0.123 ± 0.012"
    assert str(parts.Estimate(-18000.3, 1523.0)) == "-18000 ± 1523"
    assert parts.Estimate(0.034, 0.006).percent() == "3.4 ± 0.6%"
    assert str(parts.Estimate(np.nan, np.nan)) == "–"
    assert [parts.Estimate(1.0, e).beyond(0.5) for e in (0.1, 0.3)] == [1, 0]


@pytest.mark.parametrize(
    ("votes", "word"),
    [
        ([], parts.NOT_RUN),
        ([1, 1], parts.SUPPORTED),
        ([1, 0], parts.IN_PART),
        ([1, -1], parts.IN_PART),
        ([-1, 0, -1], parts.CONTRADICTED),
        ([0, -1], parts.UNDECIDED),
        ([0], parts.UNDECIDED),
    ],
)
def test_verdicts(votes: list[int], word: str) -> None:
    assert parts.verdict(votes) == word


def _sizes(rates: dict[str, float], n: int = 4000) -> pd.DataFrame:
    """P-values that are at most 5% at given rates, without clustering."""
    rows = [
        {"run": 0, "cell": k, "replicate": r, "size": size, "clusters": 50, "sigma": 0.0, "beta0": 0.0, "beta1": 1.0,
         "n_boot": 99, "method": method, "pvalue": 0.01 if r < rate * n else 0.5, "failure": None, "slope": np.nan,
         "slope_se": np.nan, "sigma_hat": 0.1, "sigma_hat_se": 0.1}
        for k, size in enumerate((2, 5, 10))
        for method, rate in rates.items()
        for r in range(n)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("bootstrap", "mixed", "first", "second"),
    [
        (0.034, 0.09, parts.SUPPORTED, parts.SUPPORTED),
        (0.050, 0.05, parts.UNDECIDED, parts.UNDECIDED),
        (0.020, 0.03, parts.IN_PART, parts.CONTRADICTED),
        (0.080, 0.06, parts.CONTRADICTED, parts.SUPPORTED),
    ],
)
def test_claims_on_sizes(bootstrap: float, mixed: float, first: str, second: str) -> None:
    table = _sizes({"bootstrap, log-likelihood": bootstrap, "mixed, Laplace": mixed, "mixed, 8 nodes": mixed})
    grid = effects_findings.Grid(effects_findings._with_wald(table), effects_findings.TESTS)
    assert effects_findings._bootstrap_size(grid).verdict == first
    claim = effects_findings._mixed_size(grid)
    assert claim.verdict == second
    assert any(f"{100 * mixed:.1f}" in sentence for sentence in claim.evidence)


def _misspecified(bias: float, smooth: float, truth: str) -> pd.DataFrame:
    """The Gaussian model's slopes off by `bias`, its distribution by .2; the smooth model's by `smooth`."""
    rng, rows = np.random.default_rng(3), []
    for r in range(300):
        noise = 0.02 * rng.normal(size=3)
        for assumed, distance, more in (("gaussian", 0.2, 0.0), ("smooth", smooth, 9.0)):
            rows.append(
                {"run": 0, "cell": 0, "replicate": r, "size": 5, "clusters": 100, "sigma": 1.0, "truth": truth,
                 "covariates": "two", "smooth": 1, "method": "accurate", "assumed": assumed, "failure": None,
                 "intercept": 0.85 + bias + noise[0], "slope1": 1.0 + bias + noise[1], "slope2": 1.0 + bias + noise[2],
                 "sigma_hat": 1.0, "lr": 10.0 + more, "distance": distance + 0.01 * noise[0], "effective": 2.0,
                 "chi_square": np.nan}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _claims(table: pd.DataFrame) -> tuple[parts.Claim, ...]:
    return smooth_findings.claims(smooth_findings.Grid(table, tuple(distribution.INTEGRATIONS)))


@pytest.mark.parametrize(
    ("bias", "smooth", "slopes", "intercept", "found"),
    [
        (0.0, 0.1, parts.SUPPORTED, parts.CONTRADICTED, parts.SUPPORTED),
        (0.3, 0.3, parts.CONTRADICTED, parts.SUPPORTED, parts.CONTRADICTED),
    ],
)
def test_claims_on_other_truths(bias: float, smooth: float, slopes: str, intercept: str, found: str) -> None:
    claims = _claims(_misspecified(bias, smooth, "bimodal"))
    assert [claim.verdict for claim in claims] == [slopes, intercept, found, parts.NOT_RUN]
    assert "AIC prefers the smooth one in 100.0" in claims[2].evidence[0]  # 2 x 2 effective parameters for 9
    costs = _claims(_misspecified(bias, smooth, "gaussian"))[-1]
    assert costs.verdict == parts.SUPPORTED


def test_files_without_the_smooth_model() -> None:
    """Of older runs, which have no such columns."""
    older = _misspecified(0.0, 0.1, "gaussian").query("assumed == 'gaussian'")
    claims = _claims(older.drop(columns=["smooth", "distance", "effective"]))
    assert {claim.verdict for claim in claims} == {parts.NOT_RUN}


@pytest.mark.parametrize(("off", "word"), [(0.0, parts.SUPPORTED), (2.0, parts.CONTRADICTED)])
def test_claim_on_posteriors(off: float, word: str) -> None:
    rng = np.random.default_rng(1)
    rows = [
        {"run": 0, "cell": 0, "replicate": r, "size": 2, "clusters": 50, "sigma": 1.0, "beta0": 0.0, "beta1": 1.0,
         "method": method, "slope": 1.0 + shift + rng.normal(), "slope_se": 1.0, "failure": None}
        for r in range(2000)
        for method, shift in (("mixed, posterior mean", off), ("mixed, automatic", 0.0), ("mixed, PQL", -2.0))
    ]  # fmt: skip
    grid = effects_findings.Grid(pd.DataFrame(rows), effects_findings.ESTIMATORS)
    assert effects_findings._calibrated(grid).verdict == word
