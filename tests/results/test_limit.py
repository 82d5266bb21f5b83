"""Fits where covariates separate the responses, at the limit of their likelihood."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq, minimize
from scipy.special import comb
from typer.testing import CliRunner

import clusterglm as cg
from clusterglm.cli import app
from clusterglm.errors import OptionError, SeparationError
from clusterglm.results.files.schema import limit_misfit
from clusterglm.results.models.limit import ConditionalLimit, FixedEffectsLimit, PooledLimit, RandomEffectsLimit
from clusterglm.results.tables.export import as_dict

GOLDEN = Path(__file__).parent.parent / "golden"
R = json.loads((GOLDEN / "separation.json").read_text())
VERBS = {
    "pooled": (cg.pooled, PooledLimit),
    "random_effects": (cg.random_effects, RandomEffectsLimit),
    "fixed_effects": (cg.fixed_effects, FixedEffectsLimit),
    "conditional": (cg.conditional, ConditionalLimit),
}
HALF = 0.5 * 3.841458820694124  # of the 95% quantile of chi-square on one degree of freedom


@pytest.fixture(scope="module")
def nests() -> pd.DataFrame:
    """One treatment with only successes."""
    rng = np.random.default_rng(1)
    d = pd.DataFrame({"nest": np.repeat(range(18), 8), "trt": np.tile(["control", "none", "protein", "sucrose"], 36)})
    u = rng.normal(0, 1, 18)
    d["y"] = (rng.random(144) < 1 / (1 + np.exp(-1.5 - u[d.nest]))) * 1
    d.loc[d.trt == "sucrose", "y"] = 1
    return d


@pytest.fixture(scope="module", params=list(VERBS))
def fit(request: pytest.FixtureRequest, nests: pd.DataFrame) -> Any:
    verb, kind = VERBS[request.param]
    found = verb("y ~ trt", nests, cluster="nest", separation="limit")
    assert type(found) is kind
    return found


def cases() -> dict[str, tuple[str, str, pd.DataFrame, dict[str, Any]]]:
    endometrial = pd.read_csv(GOLDEN / "data" / "endometrial.csv")
    endometrial["w"] = 1 + np.arange(1, 80) % 3
    culcita = pd.read_csv(GOLDEN / "data" / "culcita.csv")
    late = culcita[(culcita.block > 4) & ~((culcita.block == 10) & (culcita.ttt == "none"))].copy()
    late["few"] = (late.block < 7) * 1
    epil = pd.read_csv(GOLDEN / "data" / "epil.csv")
    epil["none"] = ((epil.y == 0) & (epil.period == 4)) * 1
    large, small = "HG ~ NV + PI + EH", "HG ~ PI + EH"
    return {
        "logit": (large, small, endometrial, {}),
        "probit": (large, small, endometrial, {"link": "probit"}),
        "cloglog": (large, small, endometrial, {"link": "cloglog"}),
        "interaction": ("HG ~ NV * PI + EH", small, endometrial, {}),
        "weighted": (large, small, endometrial, {"weights": "w"}),
        "zeros": ("y ~ none + trt + lbase", "y ~ trt + lbase", epil, {"family": "poisson"}),
        "levels": ("predation ~ ttt + few", "predation ~ few", late, {}),
        "complete": (
            "predation ~ ttt", "predation ~ 1", culcita[(culcita.block == 5) & (culcita.ttt != "shrimp")], {}
        ),
    }  # fmt: skip


@pytest.mark.parametrize("case", R)
def test_likelihood_and_test_are_those_of_glm(case: str) -> None:
    large, small, data, options = cases()[case]
    fit = cg.pooled(large, data, separation="limit", **options)
    assert isinstance(fit, PooledLimit)
    assert fit.loglik == pytest.approx(R[case]["loglik"], abs=1e-6)
    test = cg.compare(cg.pooled(small, data, separation="limit", **options), fit).tests[0]
    assert test.statistic == pytest.approx(R[case]["statistic"], abs=2e-6)
    assert test.df == R[case]["df"]
    assert test.pvalue == pytest.approx(R[case]["pvalue"], rel=1e-6)
    with pytest.raises(SeparationError, match="separation='limit'"):
        cg.pooled(large, data, **options)


def test_the_test_of_glmer(nests: pd.DataFrame) -> None:
    """As on forums: chi2 10.8 on 3 df, p = .013."""
    small = cg.random_effects("y ~ 1", nests, cluster="nest")
    test = cg.compare(small, cg.random_effects("y ~ trt", nests, cluster="nest", separation="limit")).tests[0]
    assert (round(test.statistic, 1), test.df, round(test.pvalue, 3)) == (10.8, 3, 0.013)


# Brute force: likelihoods written out, maximised far out along the way to their limits --------------------------------


def logistic(y: np.ndarray, eta: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0.0, np.where(y == 1, -eta, eta))


def likelihood(kind: str, d: pd.DataFrame, X: np.ndarray) -> Any:
    """Log-likelihood of coefficients (and log sigma)."""
    y, cluster = d.y.to_numpy(), d.nest.to_numpy()
    rows = [np.flatnonzero(cluster == k) for k in np.unique(cluster)]
    z = np.linspace(-8.0, 8.0, 200)
    density = np.exp(-0.5 * z * z) * (z[1] - z[0]) / np.sqrt(2.0 * np.pi)

    def random_effects(theta: np.ndarray) -> float:
        eta, sigma, total = X @ theta[:-1], np.exp(theta[-1]), 0.0
        for own in rows:
            at = logistic(y[own][:, None], eta[own][:, None] + sigma * z).sum(axis=0)
            total += at.max() + np.log(np.exp(at - at.max()) @ density)
        return float(total)

    def conditional(theta: np.ndarray) -> float:
        total = 0.0
        for own in rows:  # sums over subsets, one row at a time
            eta, log_sums = X[own] @ theta, np.full(len(own) + 1, -np.inf)
            log_sums[0] = 0.0
            for e in eta:
                log_sums[1:] = np.logaddexp(log_sums[1:], log_sums[:-1] + e)
            total += y[own] @ eta - log_sums[int(y[own].sum())]
        return float(total)

    return random_effects if kind == "random_effects" else conditional


def highest(X: np.ndarray, y: np.ndarray, offset: Any = 0.0, bounds: Any = None) -> float:
    """Logistic likelihood, maximised within bounds."""

    def lost(beta: np.ndarray) -> tuple[float, np.ndarray]:
        eta = X @ beta + offset
        return -float(logistic(y, eta).sum()), -X.T @ (y - 1.0 / (1.0 + np.exp(-np.clip(eta, -700.0, 700.0))))

    bounds = [(-30.0, 30.0)] * X.shape[1] if bounds is None else bounds
    start = np.array([min(max(0.0, low), high) for low, high in bounds])
    options = {"maxiter": 10**5, "maxfun": 10**6, "ftol": 1e-16, "gtol": 1e-9}
    return -float(minimize(lost, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).fun)


def design(kind: str, d: pd.DataFrame) -> np.ndarray:
    levels = np.column_stack([(d.trt == level) * 1.0 for level in ("none", "protein", "sucrose")])
    return levels if kind in ("fixed_effects", "conditional") else np.column_stack([np.ones(len(d)), levels])


def profile(kind: str, d: pd.DataFrame, value: float) -> float:
    """Maximised over all but the coefficient of sucrose."""
    X, y = design(kind, d), d.y.to_numpy()
    if kind in ("pooled", "fixed_effects"):
        nests = pd.get_dummies(d.nest).to_numpy(dtype=float)
        own = X[:, :-1] if kind == "pooled" else np.column_stack([X[:, :-1], nests])
        return highest(own, y, value * X[:, -1])
    f, p = likelihood(kind, d, X), X.shape[1]
    q = p - 1 + (kind == "random_effects")
    found = minimize(lambda r: -f(np.concatenate([r[: p - 1], [value], r[p - 1 :]])), np.zeros(q), method="BFGS",
                     options={"gtol": 1e-6})  # fmt: skip
    return -float(found.fun)


def test_limit_of_the_likelihood(fit: Any, nests: pd.DataFrame) -> None:
    """Approached far out: what is left of the certain rows there is e^-30 each."""
    assert profile(fit.kind, nests, 35.0) == pytest.approx(fit.loglik, abs=1e-6)


def test_one_sided_interval(fit: Any, nests: pd.DataFrame) -> None:
    low, high = fit.conf_int(method="profile").loc["trtsucrose"]
    assert high == np.inf
    end = brentq(lambda b: fit.loglik - profile(fit.kind, nests, b) - HALF, low - 0.3, low + 0.3, xtol=1e-4)
    assert low == pytest.approx(end, abs=1e-3)


def test_finite_coefficients_are_those_of_the_other_rows(nests: pd.DataFrame, fit: Any) -> None:
    """Across clusters the certain rows are those of the level; within clusters, of the clusters that vary."""
    verb = VERBS[fit.kind][0]
    less = verb("y ~ trt", nests[nests.trt != "sucrose"], cluster="nest")
    assert fit.params[:-1].to_numpy() == pytest.approx(less.params.to_numpy(), abs=1e-7)
    assert fit.bse[:-1].to_numpy() == pytest.approx(less.bse.to_numpy(), rel=1e-6)
    assert fit.cov("robust").iloc[0, 0] == pytest.approx(less.cov("robust").iloc[0, 0], rel=1e-6)
    assert fit.params["trtsucrose"] == np.inf
    assert np.isnan(fit.bse["trtsucrose"])
    inner = fit.conf_int(method="profile").drop(index="trtsucrose")
    np.testing.assert_allclose(inner, less.conf_int(method="profile"), rtol=1e-5, atol=1e-5)
    assert fit.loglik == pytest.approx(less.loglik, abs=1e-8)


@pytest.mark.parametrize("seed", range(12))
def test_which_way_coefficients_go(seed: int) -> None:
    """Held on the wrong side, an infinite coefficient loses likelihood; one of any value does not, on either side."""
    rng = np.random.default_rng(seed)
    n = 24
    d = pd.DataFrame({"g": rng.integers(0, 3, n), "h": rng.integers(0, 2, n), "x": rng.normal(size=n).round(1)})
    X = np.column_stack([np.ones(n), d.g == 1, d.g == 2, d.h, d.x, (d.g == 1) * d.x])
    d["y"] = ((X @ np.array([0.3, -1.0, 0.5, 0.5, 0.5, 0.0]) + rng.logistic(size=n)) > 0) * 1
    d.loc[d.g == 1, "y"] = 1
    if seed % 3 == 0:
        d.loc[d.h == 1, "y"] = 1
    if seed % 4 == 0:
        d.loc[d.g == 0, "y"] = 0
    fit = cg.pooled("y ~ C(g) + h + x + I((g == 1) * x)", d, separation="limit")
    assert isinstance(fit, PooledLimit)

    def best(j: int, low: float, high: float) -> float:
        bounds = [(-600.0, 600.0)] * 6
        bounds[j] = (low, high)
        return highest(X, d.y.to_numpy(), bounds=bounds)

    assert best(0, -600.0, 600.0) == pytest.approx(fit.loglik, abs=1e-4)
    for j, value in enumerate(fit.params.to_numpy()):
        if np.isnan(value):
            assert best(j, -600.0, -1.0) == pytest.approx(fit.loglik, abs=1e-2)
            assert best(j, 1.0, 600.0) == pytest.approx(fit.loglik, abs=1e-2)
        elif np.isinf(value):
            assert (best(j, -600.0, 0.0) if value > 0 else best(j, 0.0, 600.0)) < fit.loglik - 1e-3
        else:
            assert best(j, value - 1e-3, value + 1e-3) == pytest.approx(fit.loglik, abs=1e-4)


def test_a_reference_level_with_only_successes(nests: pd.DataFrame) -> None:
    """All coefficients are infinite; what the other levels differ by is not."""
    d = nests.assign(trt=nests.trt.replace({"sucrose": "a"}))
    fit = cg.pooled("y ~ trt", d, cluster="nest", separation="limit")
    assert fit.params.to_list() == [np.inf, -np.inf, -np.inf, -np.inf]
    other = cg.pooled("y ~ trt", nests, cluster="nest", separation="limit")
    assert fit.loglik == pytest.approx(other.loglik, abs=1e-9)
    test = fit.wald_test("trtnone = trtprotein")
    assert test.statistic == pytest.approx(other.wald_test("trtnone = trtprotein").statistic, rel=1e-6)
    with pytest.raises(OptionError, match="Wald test of trtnone = 0"):
        fit.wald_test("trtnone = 0")
    ends = fit.conf_int(method="profile")
    assert ends.loc["trtprotein", "low"] == -np.inf
    inner = other.conf_int(method="profile")
    assert ends.loc["(Intercept)", "low"] < inner.loc["trtsucrose", "low"] + inner.loc["(Intercept)", "high"]
    np.testing.assert_allclose(fit.predict(), other.predict(), rtol=1e-9)


def test_slope_within_a_level_that_is_certain_has_any_value(nests: pd.DataFrame) -> None:
    d = nests.assign(x=np.random.default_rng(3).normal(size=144))
    fit = cg.random_effects("y ~ trt * x", d, cluster="nest", separation="limit")
    assert np.isnan(fit.params["trtsucrose:x"])
    assert fit.params["trtsucrose"] == np.inf
    assert fit.conf_int(method="profile").loc["trtsucrose:x"].to_list() == [-np.inf, np.inf]
    assert "of any value trtsucrose:x" in " ".join(str(fit).split())
    new = pd.DataFrame({"trt": ["sucrose", "sucrose", "none"], "x": [0.0, 50.0, 1.0]})
    found = fit.predict(new, level=0.95)
    assert found.estimate[0] == 1.0
    assert np.isnan(found.estimate[1])
    assert found.status[1].startswith("the limit leaves the linear predictor open")
    assert found.status[2] == "ok"


def test_predictions(fit: Any, nests: pd.DataFrame) -> None:
    if fit.kind == "conditional":
        assert fit.predict().to_list() == pytest.approx(fit.predict(nests).to_list())
        assert fit.predict()[3] == np.inf
        return
    means = fit.predict()
    decided = np.zeros(144, dtype=bool)
    decided[fit.data.row_index[fit.recession.decided]] = True
    assert (means[decided] == nests.y[decided]).all()
    np.testing.assert_allclose(means[~decided], fit.rest.predict(), rtol=1e-12)
    np.testing.assert_allclose(fit.predict(nests), means, rtol=1e-12)
    table, inner = fit.predict(level=0.9), fit.rest.predict(level=0.9)
    for column in ("estimate", "std_error", "low", "high"):
        np.testing.assert_allclose(table[column][~decided], inner[column], rtol=1e-12)
    assert table.std_error[decided].isna().all()
    assert set(table.status[decided]) == {"certain in the limit: no standard error"}
    np.testing.assert_allclose(fit.predict(kind=0.5)[~decided], fit.rest.predict(kind=0.5), rtol=1e-12)
    each = np.linspace(-1.0, 1.0, 144)
    np.testing.assert_allclose(fit.predict(kind=each)[~decided], fit.rest.predict(kind=each[~decided]), rtol=1e-12)
    assert (fit.augment()["residual"][decided] == 0.0).all()
    drawn = fit.simulate(3, seed=1)
    assert (drawn[decided].to_numpy() == nests.y[decided].to_numpy()[:, None]).all()


def test_kinds_of_predictions_of_random_effects(nests: pd.DataFrame) -> None:
    fit = cg.random_effects("y ~ trt", nests, cluster="nest", separation="limit")
    less = cg.random_effects("y ~ trt", nests[nests.trt != "sucrose"], cluster="nest")
    for kind in ("conditional", "marginal", "typical"):
        found, other = fit.predict(kind=kind, level=0.95), less.predict(kind=kind, level=0.95)
        kept = nests.trt != "sucrose"
        np.testing.assert_allclose(found.loc[kept, "high"], other["high"], rtol=1e-6)
        assert (found.loc[~kept, "estimate"] == 1.0).all()
    assert fit.pooled.params["trtsucrose"] == np.inf
    assert fit.clustering_test.pvalue == pytest.approx(less.clustering_test.pvalue, rel=1e-6)


def test_what_has_no_meaning_is_refused_by_name(fit: Any) -> None:
    for name in ("bootstrap", "influence", "term_tests", "average_effects", "residuals", "check", "hausman"):
        if hasattr(type(fit), name):
            with pytest.raises(OptionError, match=f"{name} of a fit with separation='limit'"):
                getattr(fit, name)()
    with pytest.raises(OptionError, match="which is infinite"):
        fit.profile("trtsucrose")
    assert fit.profile("trtnone").estimate == pytest.approx(fit.params["trtnone"])
    assert np.isfinite(fit.rest.influence().table()["cook_distance"]).all()


def test_tables_say_so(fit: Any) -> None:
    assert "Separation:" in str(fit)
    assert "infinite trtsucrose" in " ".join(str(fit).split())
    assert "one-sided interval" in " ".join(str(fit).split())
    row = fit.glance().iloc[0]
    assert (row.infinite, row.n_certain) == ("trtsucrose", int(fit.recession.decided.sum()))
    assert row.n_parameters == len(fit.params) + {"random_effects": 1, "fixed_effects": 18}.get(fit.kind, 0)
    assert fit.tidy(exponentiate=True).set_index("term").estimate["trtsucrose"] == np.inf
    assert np.isnan(fit.conf_int().loc["trtsucrose"]).all()


def test_saved_and_loaded(fit: Any, nests: pd.DataFrame, tmp_path: Path) -> None:
    fit.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert type(again) is type(fit)
    assert str(again) == str(fit)
    pd.testing.assert_frame_equal(again.conf_int(method="profile"), fit.conf_int(method="profile"))
    rest = cg.load(tmp_path / "fit.json").rest
    assert np.isnan(rest.predict(nests[3:4], level=0.9).estimate).all()


def test_the_rest_knows_what_it_is_not_of(nests: pd.DataFrame) -> None:
    """It makes no rows of the level that separates, neither to predict nor to compare with."""
    fit = cg.random_effects("y ~ trt", nests, cluster="nest", separation="limit")
    found = fit.rest.predict(nests[:4], level=0.9)
    assert found.status.to_list() == ["ok"] * 3 + ["certain or open in the limit of separation"]
    effects = fit.rest.average_effects(data=nests[nests.trt != "sucrose"]).frame
    assert effects.contrast.to_list() == ["none - control", "protein - control"]
    less = nests[nests.trt != "sucrose"]
    other = cg.random_effects("y ~ trt", less, cluster="nest").average_effects(data=less).frame
    np.testing.assert_allclose(effects.std_error, other.std_error, rtol=1e-6)


def test_clusters_of_fixed_effects(nests: pd.DataFrame) -> None:
    """Where all of a cluster's rows that are not certain lie along the way, its intercept is infinite too."""
    fit = cg.fixed_effects("y ~ trt", nests, cluster="nest", separation="limit")
    assert (fit.cluster_effects.status != "infinite in the limit").all()
    d = nests.assign(z=(nests.trt == "sucrose") + (nests.nest == 2) * 1)
    other = cg.fixed_effects("y ~ I(trt == 'none') + I(trt == 'protein') + z", d, cluster="nest", separation="limit")
    assert other.params["z"] == np.inf
    table = other.cluster_effects.set_index("label")
    assert table.estimate[2] == -np.inf
    assert table.status[2] == "infinite in the limit"
    np.testing.assert_allclose(other.predict(), fit.predict(), atol=1e-7)
    np.testing.assert_allclose(other.predict(d), fit.predict(), atol=1e-7)
    assert other.rest.predict(d, level=0.9).estimate.isna().all()  # it does not know which intercepts took z up
    assert "Without 22 of 144 rows, which are certain" in " ".join(str(other.rest).split())


def test_without_separation_it_is_the_ordinary_fit(nests: pd.DataFrame) -> None:
    d = nests[nests.trt != "sucrose"]
    for verb, kind in VERBS.values():
        fit, plain = (verb("y ~ trt", d, cluster="nest", **options) for options in ({"separation": "limit"}, {}))
        assert not isinstance(fit, kind)
        assert (fit.params == plain.params).all()


def test_complete_separation(nests: pd.DataFrame) -> None:
    d = nests.assign(z=nests.y * 2.0 - 1.0 + np.linspace(-0.4, 0.4, 144))
    fit = cg.pooled("y ~ z", d, separation="limit")
    assert fit.loglik == 0.0
    assert fit.rest is None
    assert np.isnan(fit.params["(Intercept)"])
    assert fit.params["z"] == np.inf
    assert fit.n_parameters == 2
    assert (fit.predict() == d.y).all()
    low, high = fit.conf_int(method="profile").loc["z"]
    assert highest(np.ones((144, 1)), d.y.to_numpy(), low * d.z.to_numpy()) == pytest.approx(-HALF, abs=1e-5)
    assert high == np.inf
    for verb in (cg.random_effects, cg.fixed_effects, cg.conditional):
        with pytest.raises(SeparationError, match="penalty"):
            verb("y ~ z", d, cluster="nest", separation="limit")


def test_a_report_says_so(fit: Any, tmp_path: Path) -> None:
    page = fit.report(tmp_path / "fit.html", n_boot=0, n_sim=0, distributions=[], variables=[]).read_text()
    assert "Separated responses" in page
    assert "could not be made" not in page


def test_numbers_for_other_programs(fit: Any) -> None:
    content = as_dict(fit)
    assert content["infinite"] == {"trtsucrose": 1}
    assert content["coefficients"][-1]["estimate"] is None
    text = str(cg.table(fit))
    assert "inf" in text
    assert "the limit of a separated fit" in text


def test_a_picture_has_an_arrow(fit: Any, nests: pd.DataFrame) -> None:
    drawn = fit.plot.coefficients(method="profile", exponentiate=True)
    assert len(drawn.ax.texts) == 1
    assert drawn.ax.texts[0].xy[0] == 1.0
    assert drawn.data.set_index("term").high["trtsucrose"] == np.inf
    swapped = cg.pooled("n ~ trt", nests.assign(n=1 - nests.y), separation="limit")
    assert swapped.plot.coefficients(method="profile", exponentiate=True).ax.texts[0].xy[0] == 0.0


def test_what_files_must_fit(nests: pd.DataFrame) -> None:
    fit = cg.pooled("y ~ trt", nests, separation="limit")
    assert isinstance(fit, PooledLimit)
    assert limit_misfit(fit) is None
    for part, words in (
        (replace(fit.recession, decided=fit.recession.decided[:-1]), "a recession of shape"),
        (replace(fit.recession, kept=np.array([0, 2, 1])), "columns"),
        (replace(fit.recession, kept=np.array([0, 1, 3])), "a fit of"),
        (replace(fit.recession, decided=~fit.recession.decided), "other rows"),
    ):
        assert words in str(limit_misfit(replace(fit, recession=part)))


def test_files_out_of_memory(nests: pd.DataFrame, tmp_path: Path) -> None:
    nests.to_parquet(tmp_path / "nests.parquet")
    for verb, _ in VERBS.values():
        with pytest.raises(OptionError, match="separation='limit' for rows that are not in memory"):
            verb("y ~ trt", str(tmp_path), cluster="nest", engine=cg.engine.Stream(), separation="limit")


def test_command_line(nests: pd.DataFrame, tmp_path: Path) -> None:
    nests.to_csv(tmp_path / "nests.csv", index=False)

    def ran(*options: str) -> str:
        asked = ["fit", str(tmp_path / "nests.csv"), "y ~ trt", "--cluster", "nest", *options]
        return " ".join(CliRunner().invoke(app, asked).output.split())

    assert "--separation limit in" in ran()
    assert "infinite trtsucrose" in ran("--separation", "limit")
    assert "Penalty: soft" in ran("--penalty", "soft")
    assert "Penalty: Firth" in ran("--penalty", "firth", "--model", "fixed_effects")
    assert "belongs to" in ran("--model", "nonparametric", "--separation", "limit")


def test_arguments(nests: pd.DataFrame) -> None:
    with pytest.raises(OptionError, match="separation='infinite'"):
        cg.pooled("y ~ trt", nests, separation="infinite")
    with pytest.raises(OptionError, match="separation='limit' with penalty='firth'"):
        cg.pooled("y ~ trt", nests, separation="limit", penalty="firth")
    with pytest.raises(OptionError, match="bias_correction"):
        cg.fixed_effects("y ~ trt", nests, cluster="nest", separation="limit", bias_correction="analytical")


def test_counts_within_clusters_against_a_sum_over_outcomes() -> None:
    """Two of three visits of one arm have no events: multinomial probabilities, enumerated."""
    rng = np.random.default_rng(5)
    d = pd.DataFrame({"id": np.repeat(range(12), 4), "t": np.tile(range(4), 12)})
    d["n"] = rng.poisson(2.0, 48)
    d["silent"] = (d.t == 3) * 1
    d["x"] = rng.normal(size=48)
    d.loc[d.t == 3, "n"] = 0
    fit = cg.conditional("n ~ x + silent", d, cluster="id", family="poisson", separation="limit")
    assert fit.params["silent"] == -np.inf
    eta = np.where(d.silent == 1, -40.0, fit.params["x"] * d.x).reshape(-1, 4)
    n = d.n.to_numpy().reshape(-1, 4)
    share = np.exp(eta) / np.exp(eta).sum(axis=1, keepdims=True)
    ways = [comb(n[:, j:].sum(axis=1), n[:, j]) for j in range(4)]
    assert fit.loglik == pytest.approx(float((n * np.log(share)).sum() + np.log(np.prod(ways, axis=0)).sum()), abs=1e-9)
    fixed = cg.fixed_effects("n ~ x + silent", d, cluster="id", family="poisson", separation="limit")
    assert fixed.params["x"] == pytest.approx(fit.params["x"], abs=1e-8)
    assert fixed.conf_int(method="profile").loc["silent", "high"] == pytest.approx(
        fit.conf_int(method="profile").loc["silent", "high"], abs=1e-6
    )


def test_clusters_that_are_certain_say_nothing_of_a_conditional_limit() -> None:
    """The rest has fewer clusters than the data."""
    z = [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    d = pd.DataFrame(
        {"y": [1, 0, 1, 0, 1, 0, 0, 1], "z": z, "x": [0.1, 0.9, 0.5, 0.4, 0.2, 0.7, 0.3, 0.6], "id": list("aabbccdd")}
    )
    fit = cg.conditional("y ~ x + z", d, cluster="id", separation="limit")
    assert fit.infinite == {"z": 1}
    assert fit.rest.n_clusters == fit.n_informative == fit.glance().n_informative[0] == 2
    assert "2 contribute; 2 do not" in str(fit)


def test_a_profile_that_passes_sigma_zero(nests: pd.DataFrame) -> None:
    """Where the best sigma nears 0 the likelihood is not concave in it, and a step must go halfway back."""
    fit = cg.random_effects("y ~ trt", nests[nests.trt != "sucrose"], cluster="nest")
    low = fit.conf_int(method="profile").loc["(Intercept)", "low"]
    d = nests[nests.trt != "sucrose"].assign(o=low)
    held = cg.random_effects("y ~ 0 + I(trt == 'none') + I(trt == 'protein') + offset(o)", d, cluster="nest")
    assert fit.loglik - held.loglik == pytest.approx(HALF, abs=1e-5)


@pytest.mark.parametrize("verb", list(VERBS))
def test_weights_are_repeats_in_the_limit_too(nests: pd.DataFrame, verb: str) -> None:
    """The rows, and draws of them, are those that the weights stand for."""
    weighted = nests.assign(w=1 + (nests.index % 3 == 0))
    rows = weighted.loc[weighted.index.repeat(weighted.w)].reset_index(drop=True)
    options = {"cluster": "nest", "separation": "limit"}
    one = VERBS[verb][0]("y ~ trt", weighted, weights="w", **options)
    other = VERBS[verb][0]("y ~ trt", rows, **options)
    pd.testing.assert_series_equal(one.params, other.params, rtol=1e-6)
    assert one.loglik == pytest.approx(other.loglik, rel=1e-9)
    assert (one.nobs, one.n_parameters, one.infinite) == (other.nobs, other.n_parameters, other.infinite)
    drawn, expected = one.simulate(2, seed=3), other.simulate(2, seed=3)
    assert len(drawn) == len(expected) == len(rows)
    sure = (rows.trt == "sucrose").to_numpy()
    assert ((drawn[sure] == 1.0).all(axis=None), (drawn[~sure] == 0.0).any(axis=None)) == (True, True)
