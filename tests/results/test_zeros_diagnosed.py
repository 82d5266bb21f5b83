"""Effects, influence, diagnostics, tests of terms and plots of counts whose zeros have a linear predictor.

Against sums over dense grids, differences and fits without a cluster or a term.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

import clusterglm as cg
from clusterglm.errors import OptionError

sys.path.insert(0, str(Path(__file__).parent))
from zeros_for_tests import INFLATED, NB, PASSED, POISSON, log_p
from zeros_for_tests import drawn as drawn_several

U = np.linspace(-8.0, 8.0, 801)
WEIGHTS = norm.pdf(U) * (U[1] - U[0])
CASES = [(INFLATED, POISSON), (INFLATED, NB), (PASSED, POISSON), (PASSED, NB)]


def drawn(seed: int = 5, m: int = 24, n: int = 10) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a, x, z = np.repeat(np.arange(m), n), rng.normal(size=m * n), rng.normal(size=m * n)
    mean = np.exp(0.8 + 0.4 * x + 0.5 * rng.normal(size=m)[a]) * rng.gamma(2.5, 0.4, m * n)
    y = np.where(rng.random(m * n) < expit(-0.8 + 0.7 * z + 0.3 * x), 0, rng.poisson(mean))
    return pd.DataFrame({"y": y, "x": x, "z": z, "a": a, "g": np.where(rng.random(m * n) < 0.5, "one", "two")})


DATA = drawn()


def fitted(argument: str, family: str, *, pooled: bool = False, **more: Any) -> Any:
    given: dict[str, Any] = {"family": family, argument: "~ z + x", "cluster": "a", **more}
    return (cg.pooled if pooled else cg.random_effects)("y ~ x + g", DATA, **given)


@pytest.fixture(scope="module", params=CASES, ids=["-".join(case) for case in CASES])
def fit(request: pytest.FixtureRequest) -> Any:
    return fitted(*request.param)


def whole(fit: Any, theta: Any, data: pd.DataFrame, scale: str) -> Any:
    """The mean, or P(y = 0), of rows averaged over intercepts, from (beta, sigma, alpha, zeros)."""
    k = int(fit.family == NB)
    beta, sigma, alpha, zero = theta[:3], theta[3], theta[4] if k else 0.0, theta[4 + k :]
    eta = beta[0] + beta[1] * data["x"] + beta[2] * (data["g"] == "two")
    mu = np.exp(eta.to_numpy()[:, None] + sigma * U)
    pi = expit(zero[0] + zero[1] * data["z"] + zero[2] * data["x"]).to_numpy()
    none = np.exp(-mu) if alpha == 0.0 else (1.0 + alpha * mu) ** (-1.0 / alpha)
    if fit._argument == INFLATED:
        count, p0 = mu @ WEIGHTS, pi + (1.0 - pi) * (none @ WEIGHTS)
    else:
        count, p0 = (mu / (1.0 - none)) @ WEIGHTS, pi
    return (1.0 - pi) * count if scale == "response" else p0


def effects(fit: Any, theta: Any, scale: str) -> Any:
    h = 1e-4
    moved = [whole(fit, theta, DATA.assign(x=DATA["x"] + step), scale) for step in (-h, h)]
    slope = float(np.mean(moved[1] - moved[0])) / (2.0 * h)
    ends = [np.mean(whole(fit, theta, DATA.assign(g=level), scale)) for level in ("one", "two")]
    tilted = [whole(fit, theta, DATA.assign(z=DATA["z"] + step), scale) for step in (-h, h)]
    return np.array([slope, ends[1] - ends[0], float(np.mean(tilted[1] - tilted[0])) / (2.0 * h)])


def derivatives(function: Any, at: Any, h: float = 1e-4) -> Any:
    return np.array([(function(at + move) - function(at - move)) / (2.0 * h) for move in h * np.eye(len(at))]).T


@pytest.mark.parametrize("scale", ["response", "zero"])
def test_average_effects_are_those_of_dense_sums(fit: Any, scale: str) -> None:
    theta, V = fit._estimates, fit.cov().to_numpy()
    table = fit.average_effects(scale=scale).set_index("term").loc[["x", "g", "z"]]
    assert table["estimate"].to_numpy() == pytest.approx(effects(fit, theta, scale), rel=1e-6, abs=1e-9)
    J = derivatives(lambda at: effects(fit, at, scale), theta)
    se = np.sqrt(np.diag(J @ V @ J.T))
    assert table["std_error"].to_numpy() == pytest.approx(se, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("scale", ["response", "zero"])
def test_adjusted_means_are_averages_of_predictions(fit: Any, scale: str) -> None:
    means = fit.adjusted_means("g", scale=scale)
    for level, found in zip(("one", "two"), means.estimate, strict=True):
        predicted = fit.predict(DATA.assign(g=level), "marginal", scale=scale)
        assert found == pytest.approx(float(predicted.mean()), rel=1e-9)
    J = derivatives(
        lambda at: np.array([np.mean(whole(fit, at, DATA.assign(g=g), scale)) for g in ("one", "two")]), fit._estimates
    )
    V = J @ fit.cov().to_numpy() @ J.T
    assert means.covariance == pytest.approx(V, rel=1e-4, abs=1e-10)
    how = "lnor" if scale == "zero" else "ratio"
    of = logit if scale == "zero" else np.log
    ratio = means.contrasts(comparison=how)
    wanted = abs(of(means.estimate[0]) - of(means.estimate[1]))
    found = ratio.to_frame()["estimate"].iloc[0]
    assert abs(np.log(found) if how == "ratio" else found) == pytest.approx(wanted)


def test_averages_with_slopes_move_with_the_random_part() -> None:
    data = drawn_several("slopes")
    fit = cg.random_effects("y ~ x + (x | a)", data, family=POISSON, zero_inflation="~ z + x", quadrature=5)
    beta, L, zero = fit.fit.beta, fit.fit.factor, fit.fit.inflated.zero

    def mean(x: Any) -> float:
        sd = np.linalg.norm(np.column_stack([np.ones(len(x)), x]) @ L, axis=1)
        pi = expit(zero[0] + zero[1] * data["z"] + zero[2] * x)
        return float(np.mean((1.0 - pi) * np.exp(beta[0] + beta[1] * x + 0.5 * sd**2)))

    slope = (mean(data["x"] + 1e-4) - mean(data["x"] - 1e-4)) / 2e-4
    table = fit.average_effects("x")
    assert table["estimate"].iloc[0] == pytest.approx(slope, rel=1e-6)
    theta, V = np.concatenate([fit.fit.theta, zero]), fit._whole_covariance("observed")

    def moved(at: Any) -> float:
        from dataclasses import replace

        response = replace(fit.fit.inflated, values=tuple(at[-3:].tolist()))
        other = replace(fit, fit=replace(fit.fit, beta=at[:2], phi=at[2:-3], response=response))
        return float(other.average_effects("x")["estimate"].iloc[0])

    J = derivatives(moved, theta)
    assert table["std_error"].iloc[0] == pytest.approx(float(np.sqrt(J @ V @ J)), rel=1e-5)


# Influence ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("argument", "family"), CASES)
def test_one_step_without_a_cluster_is_newtons(argument: str, family: str) -> None:
    """By differences of the log-likelihood of textbooks, in working values."""
    fit, k = fitted(argument, family, pooled=True), int(family == NB)
    X = np.column_stack([np.ones(len(DATA)), DATA["x"], DATA["g"] == "two"]).astype(float)
    Z, y = np.column_stack([np.ones(len(DATA)), DATA["z"], DATA["x"]]), DATA["y"].to_numpy()

    def loglik(at: Any, rows: Any) -> float:
        alpha, zero = float(np.exp(at[3])) if k else 0.0, at[3 + k :]
        mu, pi = np.exp(X[rows] @ at[:3]), expit(Z[rows] @ zero)
        return float(np.sum(log_p(y[rows], mu, pi, alpha, argument)))

    alpha = np.log(fit.family_parameters.to_numpy())
    theta = np.concatenate([fit.params.to_numpy()[:3], alpha, fit.params.to_numpy()[3:]])
    rest = DATA["a"].to_numpy() != 7
    score = derivatives(lambda at: np.array([loglik(at, rest)]), theta)[0]
    information = -derivatives(lambda at: derivatives(lambda t: np.array([loglik(t, rest)]), at, 1e-3)[0], theta, 1e-3)
    wanted = theta + np.linalg.solve(information, score)
    found = fit.influence(clusters=[7])
    shown = found.deleted[0].copy()
    if k:
        shown[3] = np.log(shown[3])
    assert shown == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    assert found.parameters[-2:] == ("zero: z", "zero: x")
    exact = fit.influence("exact", clusters=[7])
    again = (cg.pooled)("y ~ x + g", DATA[rest], cluster="a", family=family, **{argument: "~ z + x"})
    without = np.concatenate([again.params[:3], again.family_parameters, again.params[3:]])
    assert exact.deleted[0] == pytest.approx(without, abs=1e-5)
    lost = 2.0 * (
        fit.loglik - loglik(np.concatenate([without[:3], np.log(without[3 : 3 + k]), without[3 + k :]]), y >= 0)
    )
    assert exact.displacement[0] == pytest.approx(lost, abs=1e-5)


def test_fits_without_a_cluster_are_those_of_the_rest(fit: Any) -> None:
    found = fit.influence("exact", clusters=[2])
    again = cg.random_effects(
        "y ~ x + g", DATA[DATA["a"] != 2], cluster="a", family=fit.family, **{fit._argument: "~ z + x"}
    )
    assert found.deleted[0] == pytest.approx(again._estimates, abs=2e-5)
    step = fit.influence(clusters=[2])
    assert step.dfbetas[0] == pytest.approx(found.dfbetas[0], abs=0.2)
    assert step.parameters == tuple(fit.cov().index)


def test_rows_are_left_out_where_there_are_no_clusters() -> None:
    fit = cg.pooled("y ~ x", DATA, family=POISSON, zero_inflation="~ z")
    found = fit.influence("exact", clusters=[3])
    again = cg.pooled("y ~ x", DATA.drop(index=3), family=POISSON, zero_inflation="~ z")
    assert found.deleted[0] == pytest.approx(again.params.to_numpy(), abs=1e-5)
    assert len(fit.influence().cook) == len(DATA)


def test_crossed_factors_have_no_single_clusters() -> None:
    data = drawn_several("crossed")
    fit = cg.random_effects(
        "y ~ x + (1 | a) + (1 | item)", data, family=POISSON, zero_inflation="~ z", quadrature="laplace"
    )
    with pytest.raises(OptionError, match="influence of single clusters"):
        fit.influence()
    assert {finding.name: finding.fine for finding in fit.check(1, 5).findings}["Influence"] is None


# Diagnostics ----------------------------------------------------------------------------------------------------------


def test_rows_by_their_count(fit: Any) -> None:
    """Expected numbers: probabilities of textbooks, summed over a grid of intercepts and the rows."""
    found, theta = fit._rows_by_count(), fit._estimates
    k = int(fit.family == NB)
    alpha, zero = theta[4] if k else 0.0, theta[4 + k :]
    eta = theta[0] + theta[1] * DATA["x"] + theta[2] * (DATA["g"] == "two")
    mu = np.exp(eta.to_numpy()[:, None] + theta[3] * U)
    pi = expit(zero[0] + zero[1] * DATA["z"] + zero[2] * DATA["x"]).to_numpy()[:, None]
    for count in (0, 1, 4):
        p = np.exp(log_p(np.full(mu.shape, count), mu, pi, alpha, fit._argument)) @ WEIGHTS
        assert found.expected[count] == pytest.approx(float(p.sum()), rel=1e-6)
        assert found.observed[count] == (DATA["y"] == count).sum()
    assert found.expected.sum() == pytest.approx(len(DATA))


def test_marginal_pearson_residuals_have_the_whole_variance(fit: Any) -> None:
    mean = whole(fit, fit._estimates, DATA, "response")
    theta, k = fit._estimates, int(fit.family == NB)
    alpha, zero = theta[4] if k else 0.0, theta[4 + k :]
    eta = theta[0] + theta[1] * DATA["x"] + theta[2] * (DATA["g"] == "two")
    mu = np.exp(eta.to_numpy()[:5, None] + theta[3] * U)
    pi = expit(zero[0] + zero[1] * DATA["z"] + zero[2] * DATA["x"]).to_numpy()[:5, None]
    y = np.arange(400.0)[:, None, None]
    p = np.exp(log_p(y, mu, pi, alpha, fit._argument)) @ WEIGHTS
    variance = (y[:, :, 0] ** 2 * p).sum(axis=0) - mean[:5] ** 2
    residual = fit.residuals("pearson", "marginal").to_numpy()[:5]
    assert residual == pytest.approx((DATA["y"][:5] - mean[:5]) / np.sqrt(variance), rel=1e-6)


def test_linear_predictors_found_anew_are_those_of_the_fit(fit: Any) -> None:
    """At the data themselves; and after other responses of the same clusters they move."""
    rows = fit.data.rows
    there = fit._predictor()(rows)
    assert there == pytest.approx(fit._fitted_eta(), abs=1e-6)
    test = fit.dispersion_test(40, seed=1)
    pearson = fit.residuals("pearson").to_numpy()
    assert test.statistic == pytest.approx(float(np.sum(pearson**2)), rel=1e-6)
    assert 0.5 < test.ratio < 2.0
    assert {finding.name for finding in fit.check(1, 20).findings} >= {"Dispersion", "Zeros", "Influence", "Residuals"}


def test_too_much_dispersion_is_seen() -> None:
    """Counts that are far from Poisson, in a model in which they are: the test sees it."""
    poisson, negative = (fitted(INFLATED, family, pooled=True) for family in (POISSON, NB))
    assert poisson.dispersion_test(99, seed=1).pvalue <= 0.02
    assert negative.dispersion_test(99, seed=1).pvalue > 0.05


def test_calibration_is_of_the_whole_mean(fit: Any) -> None:
    found = fit.calibration(groups=5)
    g = found.groups
    assert float(g.size @ g.predicted) == pytest.approx(
        float(whole(fit, fit._estimates, DATA, "response").sum()), rel=1e-7
    )
    assert float(g.size @ g.observed) == pytest.approx(DATA["y"].sum())
    assert (g.low < g.observed).all()
    assert (g.observed < g.high).all()


# Terms ----------------------------------------------------------------------------------------------------------------


def test_terms_of_both_parts_are_tested_and_dropped(fit: Any) -> None:
    table = fit.drop_one().set_index("term")
    assert list(table.index) == ["", "x", "g", "zero: z", "zero: x"]
    smaller = cg.random_effects("y ~ x + g", DATA, cluster="a", family=fit.family, **{fit._argument: "~ x"})
    assert table.loc["zero: z", "loglik"] == pytest.approx(smaller.loglik, abs=1e-5)
    (test,) = cg.compare(smaller, fit).tests
    assert test.df == 1
    assert test.statistic == pytest.approx(table.loc["zero: z", "lr_statistic"], abs=2e-5)
    wald = fit.term_tests().set_index("term")
    assert list(wald.index) == ["x", "g", "zero: z", "zero: x"]
    z = fit.tvalues
    assert wald.loc["zero: z", "statistic"] == pytest.approx(z["zero: z"] ** 2)
    both = fit.wald_test("zero: x = x")
    V = fit.cov().to_numpy()
    names = list(fit.cov().index)
    i, j = names.index("zero: x"), names.index("x")
    difference = fit.params["zero: x"] - fit.params["x"]
    assert both.statistic == pytest.approx(difference**2 / (V[i, i] + V[j, j] - 2.0 * V[i, j]))
    assert (both.ratio, fit.wald_test("zero: x").ratio, fit.wald_test("x").ratio) == ("", "odds ratio", "rate ratio")
    assert cg.anova(fit, test="lr")["term"].to_list() == ["x", "g", "zero: z", "zero: x"]
    updated = cg.update(fit, "~ . - g", DATA, **{fit._argument: "~ x"})
    assert list(updated.params.index) == ["(Intercept)", "x", "zero: (Intercept)", "zero: x"]


def test_terms_are_left_out_beside_slopes_and_a_dispersion() -> None:
    """Where the model has parameters of the response, too, of other columns than its own."""
    data, given = drawn_several("slopes", 0.5), {"family": NB, "quadrature": "laplace"}
    whole, less = (cg.random_effects(f"y ~ x{right} + (x | a)", data, **given) for right in (" + z", ""))
    found = cg.anova(whole, test="lr").set_index("term").loc["z", "statistic"]
    assert found == pytest.approx(2.0 * (whole.loglik - less.loglik), abs=1e-4)


def test_ratios_and_functions_of_both_parts(fit: Any) -> None:
    table = fit.ratios().set_index("term")
    assert table.loc["zero: z", "kind"] == "odds ratio"
    assert table.loc["zero: z", "estimate"] == pytest.approx(np.exp(fit.params["zero: z"]))
    assert table.loc["x", "kind"] == "rate ratio"
    found = fit.delta_method("exp(`zero: z`)")
    assert found["std_error"].iloc[0] == pytest.approx(table.loc["zero: z", "std_error"])
    rows = fit.augment()
    assert rows["mean"].to_numpy() == pytest.approx(fit.predict(kind="conditional").to_numpy(), rel=1e-9)


# Pictures -------------------------------------------------------------------------------------------------------------


def test_plots_show_both_parts(fit: Any) -> None:
    import matplotlib.pyplot as plt

    picture = fit.plot.coefficients()
    assert picture.data["term"].to_list() == ["x", "gtwo", "zero: z", "zero: x"]
    written = [text.get_text() for text in picture.ax.texts]
    assert written == list(fit._headings)
    assert [label.get_text() for label in picture.ax.get_yticklabels()] == ["x", "gtwo", "z", "x"]
    curve = fit.plot.predictions("z", scale="zero", points=5)
    assert curve.ax.get_ylabel().startswith("Probability of a zero")
    new = pd.DataFrame({"z": curve.data["z"][:5], "x": DATA["x"].median(), "g": DATA["g"].mode()[0]})
    assert curve.data["estimate"].to_numpy()[:5] == pytest.approx(fit.predict(new, scale="zero").to_numpy())
    counts = fit.plot.rootogram(cells=6)
    assert counts.data["last"].to_list()[:5] == [0, 1, 2, 3, 4]
    assert counts.data["observed"].sum() == len(DATA)
    assert counts.data["observed"].iloc[0] == (DATA["y"] == 0).sum()
    moved = fit.plot.influence(parameter="zero: z", named=2)
    assert len(moved.ax.texts) == 2
    assert len(moved.data) == DATA["a"].nunique()
    with pytest.raises(OptionError, match="zero: q"):
        fit.plot.influence(parameter="zero: q")
    profile = fit.profile("zero: z", points=3)
    assert profile.loglik.max() == pytest.approx(fit.loglik, abs=1e-6)
    plt.close("all")


def test_a_report_holds_both_parts(tmp_path: Path) -> None:
    fit = fitted(PASSED, POISSON, pooled=True)
    text = fit.report(tmp_path / "fit.html", n_sim=0, n_boot=0, variables=["z"]).read_text(encoding="utf-8")
    for words in (
        "zero: z",
        "Average effects on the",
        "Adjusted means",
        "move the estimates most",
        "Predictions along z",
    ):
        assert words in text
    assert "Could not be made" not in text
