"""What follows fits with zero inflation or a hurdle and several effects: predictions, tables, files, weights, words."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, DesignError, ResponseError
from clusterglm.results.models.zeros_mixed import WORK_OF_SEVERAL, WORK_WITH_HURDLE_OF_SEVERAL

sys.path.insert(0, str(Path(__file__).parent))
from zeros_for_tests import FORMS, INFLATED, NB, PASSED, POISSON, drawn, fitted

CASES = [(argument, form) for argument in (INFLATED, PASSED) for form in FORMS]


@pytest.fixture(scope="module", params=CASES, ids=["-".join(case) for case in CASES])
def fit(request: pytest.FixtureRequest) -> Any:
    argument, form = request.param
    family = NB if form == "slopes" else POISSON
    return fitted(form, argument, family, **({"quadrature": "laplace"} if form == "crossed" else {}))


def form_of(fit: Any) -> str:
    return next(form for form, right in FORMS.items() if fit.formula.endswith(right))


def table_of(fit: Any) -> Any:
    return drawn(form_of(fit), 0.5 if fit.family == NB else 0.0)


def argument_of(fit: Any) -> str:
    return str(fit._argument)


def test_marginal_predictions_are_averages(fit: Any) -> None:
    new = pd.DataFrame({"x": [0.4, -1.2], "z": [0.3, -0.5]})
    alpha = float(fit.family_parameters["alpha"]) if fit.family == NB else 0.0
    beta, zero, u = fit.fit.beta, fit.params.iloc[-2:].to_numpy(), np.linspace(-9.0, 9.0, 4001)
    weights = norm.pdf(u) * (u[1] - u[0])
    for row, (x, z) in enumerate(zip(new["x"], new["z"], strict=True)):
        design = np.array([1.0, x]) if form_of(fit) == "slopes" else np.ones(2)
        sd = float(np.linalg.norm(fit.fit.factor.T @ design))
        mu, pi = np.exp(beta[0] + beta[1] * x + sd * u), expit(zero[0] + zero[1] * z)
        none = np.exp(-mu) if alpha == 0.0 else (1.0 + alpha * mu) ** (-1.0 / alpha)
        count = mu if argument_of(fit) == INFLATED else mu / (1.0 - none)
        p0 = pi + (1.0 - pi) * none if argument_of(fit) == INFLATED else pi + 0.0 * none
        for scale, wanted in (("count", count), ("response", (1.0 - pi) * count), ("zero", p0)):
            found = fit.predict(new, "marginal", scale=scale).iloc[row]
            assert found == pytest.approx(float(wanted @ weights), rel=1e-7)


@pytest.mark.parametrize("scale", ["response", "zero"])
def test_standard_errors_are_the_delta_methods(fit: Any, scale: str) -> None:
    """By differences of predictions in each parameter, of results that are the same but for it."""
    new = pd.DataFrame({"x": [0.4, -1.2], "z": [0.3, -0.5]})
    p, r = len(fit.fit.beta), len(fit.fit.phi)
    values = np.concatenate([fit.fit.beta, fit.fit.phi, fit.fit.response.values])

    def predicted(at: Any) -> Any:
        response = replace(fit.fit.response, values=tuple(at[p + r :].tolist()))
        there = replace(fit, fit=replace(fit.fit, beta=at[:p], phi=at[p : p + r], response=response))
        return there.predict(new, "marginal", scale=scale).to_numpy()

    h = 1e-5
    J = np.array([(predicted(values + m) - predicted(values - m)) / (2.0 * h) for m in np.eye(len(values)) * h])
    se = np.sqrt(np.einsum("kn,kl,ln->n", J, fit._whole_covariance("observed"), J))
    table = fit.predict(new, "marginal", scale=scale, level=0.9)
    assert table["std_error"].to_numpy() == pytest.approx(se, rel=1e-4)
    assert (fit.predict(kind="conditional", level=0.9)["std_error"] > 0.0).all()


def test_predictions_of_the_data_are_those_of_a_table(fit: Any) -> None:
    for kind in ("typical", "conditional", "marginal"):
        inside, outside = fit.predict(kind=kind), fit.predict(table_of(fit), kind=kind)
        assert inside.to_numpy() == pytest.approx(outside.to_numpy(), rel=1e-10)
    modes, at = fit.random_effects, fit.predict(kind="conditional", scale="link") - fit.predict(scale="link")
    if form_of(fit) == "slopes":
        wide, data = modes.pivot(index="label", columns="effect", values="mode"), table_of(fit)
        shift = wide["(Intercept)"].loc[data["a"]].to_numpy() + wide["x"].loc[data["a"]].to_numpy() * data["x"]
        assert at.to_numpy() == pytest.approx(shift.to_numpy(), abs=1e-9)


def test_tables_and_files(fit: Any, tmp_path: Path) -> None:
    text, argument = str(fit), argument_of(fit)
    assert "sd(a: (Intercept))" in text
    assert text.index("Counts") < text.index("Zeros (log odds")
    assert list(fit.conf_int().index) == list(fit.cov().index)
    assert fit.n_parameters == len(fit.cov())
    assert {"coefficient", "random_effect", "zero"} <= set(fit.tidy()["component"])
    assert fit.glance().iloc[0][argument] == "~ z"
    assert getattr(fit, argument) == "~ z"
    assert fit.pooled.loglik < fit.loglik
    fit.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert type(again) is type(fit)
    assert str(again) == text
    assert again.cov().equals(fit.cov())
    for kind in ("typical", "conditional", "marginal"):
        assert again.predict(kind=kind).equals(fit.predict(kind=kind))
    assert again.random_effects.equals(fit.random_effects)


def test_draws_and_residuals(fit: Any) -> None:
    many = fit.simulate(200, seed=2)
    p0 = fit.predict(kind="marginal", scale="zero").mean()
    assert (many == 0).to_numpy().mean() == pytest.approx(p0, abs=0.02)
    for intercepts in ("conditional", "marginal"):
        z = fit.residuals("quantile", intercepts, seed=1)
        assert abs(z.mean()) < 0.35
        assert 0.6 < z.std() < 1.3
    assert fit.residuals("pearson").notna().all()
    assert 0.7 < fit.zero_inflation_test(40, seed=1).ratio < 1.3


def test_profiles_and_robust_errors(fit: Any) -> None:
    names = list(fit.conf_int().index)
    if form_of(fit) == "crossed":
        with pytest.raises(ClusterGLMError, match="robust"):
            fit.cov("robust")
    else:
        scores = fit._scores
        se = np.sqrt(np.diag(fit._whole_covariance("observed")))
        assert np.abs(scores.sum(axis=0) * se).max() < 1e-3
        assert np.isfinite(fit.cov("robust").to_numpy()).all()
    if form_of(fit) == "nested":
        ends = fit.conf_int(method="profile")
        assert list(ends.index) == names
        assert (ends["low"] <= fit._estimates + 1e-6).all()
        assert (fit._estimates - 1e-6 <= ends["high"]).all()


def test_every_other_member_says_why_not(fit: Any) -> None:
    work = WORK_OF_SEVERAL if argument_of(fit) == INFLATED else WORK_WITH_HURDLE_OF_SEVERAL
    for name in dir(type(fit)):
        if name.startswith("_") or name in work:
            continue
        with pytest.raises(ClusterGLMError, match=f"{name} of a fit with {argument_of(fit)}="):
            _ = getattr(fit, name)()


@pytest.mark.parametrize("argument", [INFLATED, PASSED])
def test_simulated_counts_lead_back(argument: str) -> None:
    """Many clusters: estimates within four standard errors of what the counts were drawn with."""
    data = drawn("slopes", seed=9, m=200)
    data = data[data["a"] != 3].reset_index(drop=True)
    if argument == PASSED:  # counts behind a hurdle, from those that are inflated
        fit = cg.random_effects("y ~ x + (x | a)", data, family=POISSON, hurdle="~ z", quadrature="laplace")
        data = data.assign(y=fit.simulate(1, seed=4)[0].to_numpy())
        truth = fit.params.to_numpy()
    else:
        truth = np.array([0.9, 0.5, -0.7, 0.8])
    found = cg.random_effects("y ~ x + (x | a)", data, family=POISSON, quadrature="laplace", **{argument: "~ z"})
    assert np.abs((found.params.to_numpy() - truth) / found.bse).max() < 4.0


@pytest.mark.parametrize("argument", [INFLATED, PASSED])
@pytest.mark.parametrize("family", [POISSON, NB])
def test_whole_weights_are_repeats(argument: str, family: str) -> None:
    data = drawn("slopes", 0.5 if family == NB else 0.0)
    long = data.loc[data.index.repeat(data["w"])]
    given: dict[str, Any] = {"family": family, argument: "~ z"}
    weighted = cg.random_effects("y ~ x + (x | a)", data, weights="w", **given)
    repeated = cg.random_effects("y ~ x + (x | a)", long, **given)
    assert weighted.loglik == pytest.approx(repeated.loglik, abs=1e-6)
    assert weighted.cov().to_numpy() == pytest.approx(repeated.cov().to_numpy(), rel=2e-3, abs=1e-5)
    assert len(weighted.simulate(1, seed=1)) == repeated.n_obs


def test_bootstrap_of_all_parameters() -> None:
    for argument in (INFLATED, PASSED):
        found = fitted("slopes", argument, quadrature="laplace").bootstrap(5, seed=1)
        assert np.isfinite(found.replicates).any(axis=0).all()


def test_likelihood_ratios_of_the_counts_formula() -> None:
    data = drawn("slopes")
    given: dict[str, Any] = {"family": POISSON, "zero_inflation": "~ z", "quadrature": "laplace"}
    small, large = (cg.random_effects(f"y ~ {right} + (1 | a) + (0 + x | a)", data, **given) for right in ("1", "x"))
    (test,) = cg.compare(small, large).tests
    assert test.statistic == pytest.approx(2.0 * (large.loglik - small.loglik))
    assert test.df == 1


def test_command_line(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from clusterglm.cli import app

    rows, saved = tmp_path / "rows.csv", tmp_path / "fit.json"
    drawn("slopes").to_csv(rows, index=False)

    def good(*arguments: str) -> str:
        found = CliRunner().invoke(app, list(arguments))
        assert found.exit_code == 0, found.output
        return found.stdout

    for option in ("--zero-inflation", "--hurdle"):
        shown = good(
            "fit", str(rows), "y ~ x + (x | a)", "--family", "poisson", option, "~ z", "--quadrature", "laplace",
            "--save", str(saved),
        )  # fmt: skip
        assert "cor(a: (Intercept),x)" in shown
        assert "Zeros (log odds" in shown
        assert good("show", str(saved)).rstrip() == str(cg.load(saved))
        table = pd.read_csv(io.StringIO(good("predict", str(saved), "--kind", "marginal")))
        assert table.iloc[:, -1].to_numpy() == pytest.approx(cg.load(saved).predict(kind="marginal"), rel=1e-6)


@pytest.mark.parametrize("argument", [INFLATED, PASSED])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"distribution": "student_t(4)"}, "with several random effects"),
        ({"sigma": 1.0}, "sigma= or fix_sigma= with several random effects"),
        ({"penalty": "soft"}, "penalty='soft' with"),
        ({"separation": "limit"}, 'separation="limit" with'),
    ],
)
def test_what_there_is_not(argument: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ClusterGLMError, match=words):
        fitted("slopes", argument, **given)


def test_data_that_do_not_do_are_refused_in_words() -> None:
    data = drawn("slopes")
    formula = "y ~ x + (x | a)"
    with pytest.raises(ResponseError, match="no zero among"):
        cg.random_effects(formula, data.assign(y=data["y"] + 1), family=POISSON, zero_inflation="~ 1")
    with pytest.raises(ResponseError, match="no zero among"):
        cg.random_effects(formula, data.assign(y=data["y"] + 1), family=POISSON, hurdle="~ 1")
    data["d"] = (data["y"] == 0) * 1.0  # varies among zeros and not among other counts
    with pytest.raises(DesignError):
        cg.random_effects("y ~ x + (d | a)", data, family=POISSON, hurdle="~ 1")
