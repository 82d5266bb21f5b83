"""Responses with parameters of their own in slopes, nested and crossed factors: exact maxima, limits, what follows."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

import clusterglm as cg
from clusterglm.errors import ClusterGLMError
from clusterglm.fit.own_mixed import fit_own_mixed
from clusterglm.model.response.own.base import Coordinates, Terms
from clusterglm.model.response.own.negative_binomial import NegativeBinomial

GOLDEN = Path(__file__).parents[1] / "golden"
KNOWN: dict[str, Any] = json.loads((GOLDEN / "own_several.json").read_text())
EXACT = KNOWN["exact"]
NB = "negative_binomial"
FORMS = {"slopes": "y ~ x + (x | a)", "nested": "y ~ x + (1 | a/b)", "crossed": "y ~ x + (1 | a) + (1 | item)"}
ORDER = list("pqrs")


def drawn(family: str, form: str, alpha: float = 0.6, seed: int = 2, categories: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a, n = np.repeat(np.arange(15), 12), 180
    data = pd.DataFrame({"a": a, "b": np.arange(n) // 4, "item": np.arange(n) % 6, "x": rng.normal(size=n)})
    effects = {
        "slopes": 0.6 * rng.normal(size=15)[a] + 0.4 * rng.normal(size=15)[a] * data["x"],
        "nested": 0.6 * rng.normal(size=15)[a] + 0.6 * rng.normal(size=45)[data["b"]],
        "crossed": 0.6 * rng.normal(size=15)[a] + 0.5 * rng.normal(size=6)[data["item"]],
    }
    eta = 0.5 * data["x"] + effects[form]
    if family == NB:
        data["y"] = rng.poisson(np.exp(0.5 + eta) * (rng.gamma(1.0 / alpha, alpha, n) if alpha > 0.0 else 1.0))
    else:
        codes = np.digitize(eta + rng.logistic(size=n), [-1.0, 0.3, 1.5][: categories - 1])
        data["y"] = pd.Categorical.from_codes(codes, ORDER[:categories], ordered=True)
    return data


def table(name: str) -> tuple[str, pd.DataFrame, dict[str, Any]]:
    data = pd.read_csv(GOLDEN / "data" / EXACT[name]["csv"])
    if name == "arabidopsis_nbinom2_slope":
        data = data.assign(
            nut8=(data["nutrient"] == 8) * 1.0,
            rack2=(data["rack"] == 2) * 1.0,
            amd=pd.Categorical(data["amd"], ["clipped", "unclipped"]),
        ).rename(columns={"total.fruits": "fruits"})
        return "fruits ~ nut8 * amd + rack2 + status + (nut8 | gen)", data, {"family": NB}
    if name == "epil2_nbinom1_slope":
        return EXACT[name]["formula"], data, {"family": "negative_binomial1"}
    data["mode"] = pd.Categorical(data["mode"], ["do", "want"])
    return EXACT[name]["formula"], data, {"family": "ordinal", "levels": ["no", "perhaps", "yes"]}


def as_written(fit: Any) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and standard errors but those of the covariance: coefficients, then logarithms, thresholds."""
    own, p, k = fit.family_parameters.to_numpy(), len(fit.params), len(fit.family_parameters)
    se = np.sqrt(np.diag(fit.cov()))
    if fit.family == NB:
        return np.append(fit.params, -np.log(own)), np.append(se[:p], se[-1] / own)
    if fit.family == "negative_binomial1":
        return np.append(fit.params, np.log(own)), np.append(se[:p], se[-1] / own)
    return np.append(fit.params, own), np.append(se[:p], se[-k:])


@pytest.fixture(scope="module", params=EXACT)
def exact(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    formula, data, given = table(request.param)
    return cg.random_effects(formula, data, **given), EXACT[request.param]


def test_exact_maxima(exact: tuple[Any, Any]) -> None:
    """Of the exactly integrated likelihood, by other code."""
    fit, known = exact
    assert (fit.n_obs, fit.n_clusters, fit.converged) == (known["n"], known["n_clusters"], True)
    assert fit.loglik == pytest.approx(known["logLik"], abs=1e-6)
    own = [name for name in known["parameters"] if not name.startswith("L[")]
    wanted, errors = (np.array([known[kind][name] for name in own]) for kind in ("parameters", "se"))
    estimates, se = as_written(fit)
    assert np.abs((estimates - wanted) / errors).max() < 1e-4
    assert se == pytest.approx(errors, rel=1e-5)
    derived = [name for name in known["derived"] if name not in ("theta", "alpha")]
    components = fit.variance_components
    errors = np.array([known["derived_se"][name] for name in derived])
    assert np.abs(components["estimate"] - [known["derived"][name] for name in derived]).max() < 1e-4 * errors.min()
    assert components["std_error"].to_numpy() == pytest.approx(errors, rel=1e-5)


@pytest.mark.parametrize("name", EXACT)
def test_laplace_is_the_value_of_other_code_near_its_maximum(name: str) -> None:
    formula, data, given = table(name)
    fit, known = cg.random_effects(formula, data, quadrature="laplace", **given), EXACT[name]["laplace"]
    assert fit.loglik >= known["value_there"] - 1e-8
    assert fit.loglik == pytest.approx(known["value_there"], abs=1e-5)


@pytest.mark.parametrize("name", KNOWN["laplace"])
def test_laplace_is_what_glmmtmb_and_clmm_find(name: str) -> None:
    """clmm stops a little early."""
    known = KNOWN["laplace"][name]
    data = pd.read_csv(GOLDEN / "data" / known["csv"])
    given: dict[str, Any] = {"family": NB}
    if "clmm" in known["call"]:
        given = {"family": "ordinal", "link": "probit" if "probit" in known["call"] else "logit"}
        if "resp" in data:
            data["mode"] = pd.Categorical(data["mode"], ["do", "want"])
            given["levels"] = ["no", "perhaps", "yes"]
    formula = known["call"].partition("(")[2].partition(", data")[0]
    fit = cg.random_effects(formula, data, quadrature="laplace", **given)
    assert -1e-7 < fit.loglik - known["logLik"] < 2e-5
    for coefficient, value in known["coef"].items():
        if coefficient in fit.params:
            assert abs(fit.params[coefficient] - value) < 2e-3 * fit.bse[coefficient]


@pytest.mark.parametrize("form", FORMS)
def test_two_categories_are_the_binary_model(form: str) -> None:
    data = drawn("ordinal", form, categories=2)
    ordinal = cg.random_effects(FORMS[form], data, family="ordinal")
    binary = cg.random_effects(FORMS[form], data.assign(y=(data["y"] == "q") * 1))
    assert ordinal.loglik == pytest.approx(binary.loglik, abs=1e-9)
    # where factors cross, searches learn their Hessian, and each ends within 1e-6 standard errors
    within = 2e-6 * float(binary.bse.min()) if form == "crossed" else 1e-7
    assert ordinal.params["x"] == pytest.approx(binary.params["x"], abs=within)
    assert ordinal.thresholds.iloc[0] == pytest.approx(-binary.params.iloc[0], abs=within)
    same = ["estimate", "std_error"]
    assert ordinal.variance_components[same].to_numpy() == pytest.approx(
        binary.variance_components[same].to_numpy(),
        rel=1e-4 if form == "crossed" else 1e-5,  # whose Hessian is by one-sided differences
        nan_ok=True,
    )
    assert ordinal.bse["x"] == pytest.approx(binary.bse["x"], rel=1e-5 if form == "crossed" else 1e-7)
    ours, theirs = ordinal.random_effects, binary.random_effects
    assert ours[["mode", "mean", "sd"]].to_numpy() == pytest.approx(theirs[["mode", "mean", "sd"]].to_numpy(), abs=1e-6)
    for kind in ("typical", "conditional", "marginal"):
        assert ordinal.predict(kind=kind)["q"].to_numpy() == pytest.approx(binary.predict(kind=kind), abs=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_where_alpha_is_zero_it_is_the_poisson_fit(form: str) -> None:
    data = drawn(NB, form, alpha=0.0, seed=3)
    fit = cg.random_effects(FORMS[form], data, family=NB)
    poisson = cg.random_effects(FORMS[form], data, family="poisson")
    assert fit.family_parameters["alpha"] == 0.0
    assert fit.loglik == poisson.loglik
    assert fit.params.equals(poisson.params)
    assert fit.bse.equals(poisson.bse)
    assert fit.n_parameters == poisson.n_parameters + 1
    assert fit.variance_components.equals(poisson.variance_components)
    assert fit.random_effects.equals(poisson.random_effects)
    assert fit.dispersion_lr_test.pvalue == 1.0
    assert np.isnan(fit.cov().loc["alpha", "alpha"])
    assert "The maximum lies at alpha = 0, the Poisson model" in str(fit)
    assert fit.predict(kind="marginal").to_numpy() == pytest.approx(poisson.predict(kind="marginal"), rel=1e-8)
    with pytest.raises(ClusterGLMError, match="profile where the maximum lies at alpha = 0"):
        fit.profile("x")


def test_without_effects_of_what_is_nested_it_is_the_fit_of_one_intercept() -> None:
    """By other code, in the core too."""
    data = drawn("ordinal", "nested", seed=4)
    nested = cg.random_effects(FORMS["nested"], data, family="ordinal")
    one = cg.random_effects("y ~ x", data, cluster="a", family="ordinal")
    assert nested.variance_components["estimate"].to_list() == pytest.approx([one.sigma, 0.0], abs=1e-6)
    assert nested.loglik == pytest.approx(one.loglik, abs=1e-7)
    assert nested.params["x"] == pytest.approx(one.params["x"], abs=1e-6)
    assert nested.thresholds.to_numpy() == pytest.approx(one.thresholds.to_numpy(), abs=1e-6)
    shared = ["x", "p|q", "q|r", "r|s"]
    ours, theirs = nested.cov().loc[shared, shared], one.cov().loc[shared, shared]
    assert ours.to_numpy() == pytest.approx(theirs.to_numpy(), rel=1e-4)
    for kind in ("conditional", "marginal"):
        assert nested.predict(kind=kind).to_numpy() == pytest.approx(one.predict(kind=kind).to_numpy(), abs=1e-5)
    assert nested.parallel_test().statistic == pytest.approx(one.parallel_test().statistic, rel=1e-4)


class BySize(NegativeBinomial):
    """A response that no file of the package knows: the same in log(r), r = 1 / alpha, with no model at its end."""

    own = ("size",)
    lowest, highest = -20.0, 20.0

    @property
    def alpha(self) -> float:
        return 1.0 / self.values[0]

    @property
    def at_limit(self) -> None:  # type: ignore[override]
        return None

    def start(self, mean: Any, a: Any, b: Any) -> Any:
        return np.zeros(1)

    def coordinates(self, psi: Any) -> Coordinates:
        return Coordinates(-psi, -np.eye(1), np.zeros((1, 1, 1)))

    def terms(self, psi: Any, a: Any, b: Any) -> Terms:
        found = super().terms(psi, a, b)
        return Terms(found.value, -found.first, found.second)


@pytest.mark.parametrize("form", FORMS)
def test_a_new_response_has_every_structure_by_itself(form: str) -> None:
    data = drawn(NB, form)
    known = cg.random_effects(FORMS[form], data, family=NB)
    found = fit_own_mixed(known.data, BySize(), known.quadrature.requested)
    assert found.loglik == pytest.approx(known.loglik, abs=1e-7 if form != "crossed" else 1e-5)
    assert found.beta == pytest.approx(known.params.to_numpy(), abs=1e-4)
    (size,), alpha = found.response.values, known.family_parameters["alpha"]  # type: ignore[attr-defined]
    assert size == pytest.approx(1.0 / alpha, rel=1e-4)
    assert found.whole_covariance is not None
    error = np.sqrt(found.whole_covariance[-1, -1]) / size
    assert error == pytest.approx(np.sqrt(known.cov().loc["alpha", "alpha"]) / alpha, rel=1e-3)


@pytest.fixture(scope="module", params=[(NB, form) for form in FORMS] + [("ordinal", form) for form in FORMS])
def fitted(request: pytest.FixtureRequest) -> Any:
    family, form = request.param
    return cg.random_effects(FORMS[form], drawn(family, form), family=family)


def test_summary_tables_and_files(fitted: Any, tmp_path: Path) -> None:
    text = str(fitted)
    assert all(word in text for word in (["alpha"] if fitted.family == NB else ["Threshold p|q", "p < q < r < s"]))
    assert "sd(a: (Intercept))" in text
    k, r = len(fitted.family_parameters), len(fitted.variance_components)
    assert fitted.n_parameters == len(fitted.params) + r + k
    assert fitted.cov().shape == (fitted.n_parameters, fitted.n_parameters)
    assert np.isfinite(fitted.cov().to_numpy()).all()
    assert list(fitted.cov(parameters="coefficients").columns) == list(fitted.params.index)
    assert list(fitted.conf_int().index) == list(fitted.cov().index)
    tidy = fitted.tidy()
    assert set(tidy["component"]) == {
        "coefficient",
        "random_effect",
        "response" if fitted.family == NB else "threshold",
    }
    assert fitted.glance().shape[0] == 1
    assert fitted.pooled.loglik < fitted.loglik
    fitted.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert type(again) is type(fitted)
    assert str(again) == text
    assert again.cov().equals(fitted.cov())
    assert again.random_effects.equals(fitted.random_effects)
    for kind in ("typical", "conditional", "marginal"):
        assert again.predict(kind=kind).equals(fitted.predict(kind=kind))


def test_predictions_of_the_data_are_those_of_a_table(fitted: Any) -> None:
    family = fitted.family
    form = next(form for form, formula in FORMS.items() if formula == fitted.formula)
    data = drawn(family, form)
    for kind in ("typical", "conditional", "marginal"):
        inside, outside = fitted.predict(kind=kind), fitted.predict(data, kind=kind)
        assert inside.to_numpy() == pytest.approx(outside.to_numpy(), rel=1e-12)
        if family == "ordinal":
            assert inside.sum(axis=1).to_numpy() == pytest.approx(1.0)


def test_marginal_predictions_are_averages_over_draws(fitted: Any) -> None:
    """Over normal effects of the estimated covariance."""
    data, rng = fitted.data, np.random.default_rng(1)
    order = np.argsort(data.row_index)
    Z, L = fitted.fit.effects.Z[order], fitted.fit.factor
    eta = (data.X @ fitted.params.to_numpy())[order]
    line = eta[:5] + rng.standard_normal((100_000, Z.shape[1])) @ L.T @ Z[:5].T
    found = fitted.predict(kind="marginal").iloc[:5].to_numpy()
    if fitted.family == NB:
        assert found == pytest.approx(np.exp(line).mean(axis=0), rel=0.03)
        return
    response = fitted.response
    for row in range(5):
        assert found[row] == pytest.approx(response.probabilities(line[:, row]).mean(axis=0), abs=0.01)


def test_standard_errors_of_marginal_predictions_are_those_of_differences(fitted: Any) -> None:
    from dataclasses import replace

    table = fitted.predict(kind="marginal", level=0.9)
    fit, V = fitted.fit, fitted._whole_covariance("observed")
    p, r, h = len(fit.beta), len(fit.phi), 1e-5
    values = np.concatenate([fit.beta, fit.phi, fitted.family_parameters])
    moved = []
    for move in np.eye(len(values)) * h:
        ends = []
        for side in (1.0, -1.0):
            at = values + side * move
            response = replace(fit.response, values=tuple(at[p + r :].tolist()))
            there = replace(fitted, fit=replace(fit, beta=at[:p], phi=at[p : p + r], response=response))
            found = there.predict(kind="marginal")
            ends.append(found.to_numpy().ravel())
        moved.append((ends[0] - ends[1]) / (2.0 * h))
    J = np.array(moved)
    assert table["std_error"].to_numpy() == pytest.approx(np.sqrt(np.einsum("kn,kl,ln->n", J, V, J)), rel=1e-4)


def test_draws_and_residuals(fitted: Any) -> None:
    simulated = fitted.simulate(2, seed=1)
    assert simulated.equals(fitted.simulate(2, seed=1))
    assert len(simulated) == fitted.n_obs
    for intercepts in ("conditional", "marginal"):
        z = fitted.residuals("quantile", intercepts, seed=1)
        assert abs(z.mean()) < 0.3
        assert 0.6 < z.std() < 1.3


def test_profiles_end_where_the_likelihood_has_fallen(fitted: Any) -> None:
    """By fits with the slope of x given."""
    ends = fitted.conf_int(method="profile")
    assert list(ends.index) == list(fitted.conf_int().index)
    estimates = pd.Series(fitted._estimates, index=ends.index)
    inside = (ends["low"] <= estimates + 1e-9) & (estimates <= ends["high"] + 1e-9)
    assert inside.all(), ends
    form = next(form for form, formula in FORMS.items() if formula == fitted.formula)
    data, without = drawn(fitted.family, form), FORMS[form].replace("~ x", "~ 1")
    within = 1e-3 if form == "crossed" else 1e-4  # whose correction is drawn anew for each fit
    for end in ends.loc["x"]:
        given = data.assign(known=end * data["x"])
        there = cg.random_effects(without, given, family=fitted.family, offset="known")
        assert 2.0 * (fitted.loglik - there.loglik) == pytest.approx(chi2.isf(0.05, 1), abs=within)
    curve = fitted.profile(ends.index[-1], to=1.0, points=3)
    assert curve.loglik.max() == pytest.approx(fitted.loglik, abs=1e-6)


def test_robust_covariance_of_clusters(fitted: Any) -> None:
    if " | item" in fitted.formula:
        with pytest.raises(ClusterGLMError, match="robust"):
            fitted.cov("robust")
        return
    scores = fitted._scores
    assert np.abs(scores.sum(axis=0) * np.sqrt(np.diag(fitted._whole_covariance("observed")))).max() < 1e-4
    assert np.isfinite(fitted.cov("robust").to_numpy()).all()


def test_every_other_member_says_why_not(fitted: Any) -> None:
    from clusterglm.results.models import ordinal_mixed, own_mixed

    work = (own_mixed if fitted.family == NB else ordinal_mixed).WORK_OF_SEVERAL
    for name in dir(type(fitted)):
        if name.startswith("_") or name in work:
            continue
        with pytest.raises(ClusterGLMError, match=f"{name} of a fit with family="):
            _ = getattr(fitted, name)()


def test_nested_models_are_tested_by_the_likelihood_ratio() -> None:
    data = drawn(NB, "slopes")
    fits = [
        cg.random_effects(formula, data, family=NB)
        for formula in ("y ~ 1 + (x || a)", "y ~ x + (x || a)", "y ~ x + (x | a)")
    ]
    first, second = cg.compare(*fits).tests
    assert first.statistic == pytest.approx(2.0 * (fits[1].loglik - fits[0].loglik))
    assert (first.df, first.boundary) == (1, False)
    assert second.statistic == pytest.approx(2.0 * (fits[2].loglik - fits[1].loglik))
    assert second.df == 1


@pytest.mark.parametrize(("family", "form"), [(NB, "slopes"), ("ordinal", "nested"), (NB, "crossed")])
def test_bootstrap_of_all_parameters(family: str, form: str) -> None:
    fit = cg.random_effects(FORMS[form], drawn(family, form), family=family, quadrature="laplace")
    found = fit.bootstrap(20, seed=1)
    assert len(found.names) == fit.n_parameters
    low, high = found.interval(level=0.9)
    assert (low < high).all()
    assert (low < fit._estimates + 1.0).all()


def test_average_effects_are_of_the_mean(fitted: Any) -> None:
    """Of one unit of x, from marginal predictions."""
    data = drawn(fitted.family, next(form for form, formula in FORMS.items() if formula == fitted.formula))
    h = 1e-4
    ends = [fitted.predict(data.assign(x=data["x"] + side * h), kind="marginal").mean() for side in (1.0, -1.0)]
    found = fitted.average_effects("x", kind="marginal")
    np.testing.assert_allclose(found["estimate"], np.atleast_1d((ends[0] - ends[1]) / (2.0 * h)), rtol=1e-5)
    if fitted.family != "ordinal" and fitted.fit.effects.children is None and not fitted.fit.effects.outside:
        ends = [fitted.predict(data.assign(x=data["x"] + side * h), kind="conditional").mean() for side in (1.0, -1.0)]
        at_modes = fitted.average_effects("x", kind="conditional")
        np.testing.assert_allclose(at_modes["estimate"], np.atleast_1d((ends[0] - ends[1]) / (2.0 * h)), rtol=1e-5)
        assert (at_modes["std_error"] > 0.0).all()
        return
    with pytest.raises(ClusterGLMError, match="conditional"):
        fitted.average_effects("x", kind="conditional")


def test_command_line(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from clusterglm.cli import app

    rows, saved = tmp_path / "rows.csv", tmp_path / "fit.json"
    data = drawn(NB, "slopes")
    data.to_csv(rows, index=False)

    def good(*arguments: str) -> str:
        found = CliRunner().invoke(app, list(arguments))
        assert found.exit_code == 0, found.output
        return found.stdout

    shown = good("fit", str(rows), FORMS["slopes"], "--family", NB, "--save", str(saved))
    assert "alpha:" in shown
    assert "cor(a: (Intercept),x)" in shown
    assert good("show", str(saved)).rstrip() == str(cg.load(saved))
    table = pd.read_csv(io.StringIO(good("predict", str(saved), "--kind", "marginal")))
    fit = cg.random_effects(FORMS["slopes"], pd.read_csv(rows), family=NB)
    assert table.iloc[:, -1].to_numpy() == pytest.approx(fit.predict(kind="marginal").to_numpy(), rel=1e-6)


def test_report_and_pictures(fitted: Any, tmp_path: Path) -> None:
    path = tmp_path / "fit.html"
    fitted.report(path)
    assert "sd(a: (Intercept))" in path.read_text()
    assert len(fitted.plot.caterpillar().data) >= 15


def test_weights_are_repeats() -> None:
    data = drawn(NB, "slopes").assign(w=lambda d: 1 + np.arange(len(d)) % 3)
    weighted = cg.random_effects("y ~ x + (x | a)", data, family=NB, weights="w")
    repeated = cg.random_effects("y ~ x + (x | a)", data.loc[data.index.repeat(data["w"])], family=NB)
    assert weighted.loglik == pytest.approx(repeated.loglik, abs=1e-6)
    assert weighted.cov().to_numpy() == pytest.approx(repeated.cov().to_numpy(), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"distribution": "student_t(4)"}, "with several random effects"),
        ({"sigma": 1.0}, "sigma= or fix_sigma= with several random effects"),
        ({"penalty": "soft"}, "penalty='soft' with family"),
        ({"separation": "limit"}, 'separation="limit" with family'),
    ],
)
def test_what_there_is_not(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ClusterGLMError, match=words):
        cg.random_effects(FORMS["slopes"], drawn(NB, "slopes"), family=NB, **given)


@pytest.mark.parametrize("alpha", [0.6, 0.0])
@pytest.mark.parametrize("form", FORMS)
def test_simulations_tell_dispersion_and_zeros(form: str, alpha: float) -> None:
    """What counts vary more than Poisson ones is told by alpha, and then no longer found."""
    data = drawn(NB, form, alpha, seed=3)
    fit = cg.random_effects(FORMS[form], data, family=NB)
    rows = fit.data.rows
    at_modes = fit._predictor()(rows)[np.argsort(rows.row_index)]
    assert np.exp(at_modes) == pytest.approx(fit.predict(kind="conditional").to_numpy(), rel=1e-9)
    for found in (fit.dispersion_test(n_sim=60, seed=1), fit.zero_inflation_test(n_sim=60, seed=1)):
        assert found.pvalue > 0.05
    if alpha > 0.0:
        poisson = cg.random_effects(FORMS[form], data, family="poisson")
        assert poisson.dispersion_test(n_sim=60, seed=1).pvalue < 0.05
