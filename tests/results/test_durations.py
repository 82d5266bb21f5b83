"""Survival times with a shared frailty: closed forms, published figures, derivatives, what follows a fit, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import gammaln
from scipy.stats import kstest, norm, weibull_min

import clusterglm as cg
from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
from clusterglm.errors import ClusterGLMError, FormulaError, OptionError, ResponseError
from clusterglm.fit.own import own_of
from clusterglm.fit.own_rows import OwnMarginal, OwnRows, standardised
from clusterglm.likelihood.plan import Part
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.control import Control
from clusterglm.model.distribution import Gaussian
from clusterglm.model.family import with_own

FAMILIES = ["weibull", "exponential"]


def drawn(k: float = 1.5, sigma: float = 0.7, seed: int = 1, m: int = 40, n: int = 5, last: float = 6.0) -> Any:
    rng = np.random.default_rng(seed)
    cluster, x = np.repeat(np.arange(m), n), rng.normal(size=m * n)
    eta = -1.0 + 0.5 * x + sigma * rng.normal(size=m)[cluster]
    t, censored = (rng.exponential(size=m * n) / np.exp(eta)) ** (1.0 / k), rng.uniform(0.3, last, m * n)
    event = t <= censored
    return pd.DataFrame({
        "t": np.where(event, t, censored), "e": event.astype(int), "x": x, "id": cluster, "w": rng.integers(1, 4, m * n)
    })  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Any:
    return drawn()


@pytest.fixture(scope="module")
def fit(data: Any) -> Any:
    return cg.random_effects("Surv(t, e) ~ x", data, cluster="id", family="weibull")


@pytest.fixture(scope="module")
def catheter() -> pd.DataFrame:
    return cg.datasets.load("catheter")


def test_published_fit_of_catheters(catheter: pd.DataFrame) -> None:
    """Munda, Rotolo and Legrand (Journal of Statistical Software 51(11), 2012) print a log-likelihood of -333.248,
    theta 0.301, lambda 0.025, sex -1.485 and age 0.005 for exponential times with gamma frailties."""
    data = catheter.assign(female=1.0 * (catheter["sex"] == "female"))
    model: dict[str, Any] = {"family": "exponential", "distribution": "log_gamma"}
    fit = cg.random_effects("Surv(time, infected) ~ female + age", data, cluster="patient", **model)
    assert fit.loglik == pytest.approx(-333.248, abs=5e-4)
    assert fit.sigma**2 == pytest.approx(0.301, abs=5e-4)
    assert np.exp(fit.params["(Intercept)"]) == pytest.approx(0.025, abs=5e-4)
    assert fit.params["female"] == pytest.approx(-1.485, abs=5e-4)
    assert fit.params["age"] == pytest.approx(0.005, abs=5e-4)


def closed_form(data: pd.DataFrame, beta: Any, k: float, theta: float) -> float:
    """Weibull times with gamma frailties of variance theta: the marginal log-likelihood without an integral."""
    eta = beta[0] + beta[1] * data["x"].to_numpy()
    H, log_h = data["t"] ** k * np.exp(eta), np.log(k) + (k - 1.0) * np.log(data["t"]) + eta
    total = 0.0
    for _, rows in data.groupby("id"):
        d, a = int(rows["e"].sum()), 1.0 / theta
        total += float((rows["e"] * log_h[rows.index]).sum()) + gammaln(a + d) - gammaln(a) + d * np.log(theta)
        total -= (a + d) * np.log1p(theta * H[rows.index].sum())
    return total


def test_gamma_frailty_has_a_closed_form(data: Any) -> None:
    fit = cg.random_effects("Surv(t, e) ~ x", data, cluster="id", family="weibull", distribution="log_gamma")
    k = float(fit.family_parameters["shape"])
    assert fit.loglik == pytest.approx(closed_form(data, fit.params.to_numpy(), k, fit.sigma**2), abs=1e-6)

    def loss(v: Any) -> float:
        return -closed_form(data, v[:2], float(np.exp(v[2])), float(np.exp(v[3])))

    found = minimize(loss, [-1.0, 0.4, 0.3, -1.0], method="BFGS", options={"gtol": 1e-6})
    ours = [*fit.params, np.log(k), np.log(fit.sigma**2)]
    assert ours == pytest.approx(found.x, abs=2e-5)
    assert fit.loglik == pytest.approx(-found.fun, abs=1e-6)


def by_quadrature(data: pd.DataFrame, beta: Any, k: float, sigma: float) -> float:
    """Weibull times with normal log frailties, each cluster's integral by a dense rule over its own box."""
    u = np.linspace(-10.0, 10.0, 4001) * sigma
    total = 0.0
    for _, rows in data.groupby("id"):
        x = beta[0] + beta[1] * rows["x"].to_numpy()[:, None] + u
        t, e = rows["t"].to_numpy()[:, None], rows["e"].to_numpy()[:, None]
        each = e * (np.log(k) + (k - 1.0) * np.log(t) + x) - t**k * np.exp(x)
        height = each.sum(axis=0) + norm.logpdf(u, scale=sigma)
        total += float(np.log(np.exp(height - height.max()).sum() * (u[1] - u[0])) + height.max())
    return total


def test_log_normal_frailty_by_a_dense_rule(data: Any, fit: Any) -> None:
    k = float(fit.family_parameters["shape"])
    assert fit.loglik == pytest.approx(by_quadrature(data, fit.params.to_numpy(), k, fit.sigma), abs=1e-6)
    at = np.array([*fit.params, k, fit.sigma])
    se, V = np.sqrt(np.diag(fit.cov())), fit.cov().to_numpy()[np.ix_([0, 1, 3, 2], [0, 1, 3, 2])]
    h = 1e-2 * se[[0, 1, 3, 2]]

    def value(v: Any) -> float:
        return by_quadrature(data, v[:2], v[2], v[3])

    here, moves = value(at), np.diag(h)
    assert all(abs(value(at + move) - value(at - move)) < 2e-6 for move in moves)
    curved = np.array([
        [
            (value(at + a + b) - value(at + a - b) - value(at - a + b) + value(at - a - b)) / (4.0 * a.sum() * b.sum())
            for b in moves
        ]
        for a in moves
    ])  # fmt: skip
    assert np.sqrt(np.diag(np.linalg.inv(-curved))) == pytest.approx(np.sqrt(np.diag(V)), rel=1e-3)
    assert np.isfinite(here)


def test_pooled_is_the_maximum_of_the_density(data: Any) -> None:
    fit = cg.pooled("Surv(t, e) ~ x", data, family="weibull")
    e, t = data["e"] == 1, data["t"]

    def loss(v: Any) -> float:
        k = np.exp(v[2])
        scale = np.exp(-(v[0] + v[1] * data["x"]) / k)
        return -float(
            weibull_min.logpdf(t[e], k, scale=scale[e]).sum() + weibull_min.logsf(t[~e], k, scale=scale[~e]).sum()
        )

    found = minimize(loss, [-1.0, 0.3, 0.2], method="BFGS", options={"gtol": 1e-7})
    assert fit.loglik == pytest.approx(-found.fun, abs=1e-8)
    assert [*fit.params, np.log(fit.family_parameters["shape"])] == pytest.approx(found.x, abs=1e-5)


@pytest.mark.parametrize("verb", ["pooled", "random_effects"])
def test_exponential_times_are_poisson_events_in_time_at_risk(data: Any, verb: str) -> None:
    fit = getattr(cg, verb)("Surv(t, e) ~ x", data, cluster="id", family="exponential")
    counts = getattr(cg, verb)("e ~ x + offset(log(t))", data, cluster="id", family="poisson")
    assert fit.loglik == pytest.approx(counts.loglik - np.log(data["t"][data["e"] == 1]).sum(), abs=1e-9)
    assert fit.params.to_numpy() == pytest.approx(counts.params.to_numpy(), abs=1e-6)
    assert fit.bse.to_numpy() == pytest.approx(counts.bse.to_numpy(), rel=1e-6)
    assert fit.n_parameters == counts.n_parameters
    assert len(fit.family_parameters) == 0


def rows_of(family: str, data: Any) -> tuple[OwnRows, OwnMarginal]:
    response = with_own(family)
    assert response is not None
    sums = standardised(prepare("Surv(t, e) ~ x", data, Request(response.reads, cluster="id")), response, Control())
    rows = OwnRows(sums, response)
    return rows, OwnMarginal(rows, integrator_for(Gaussian(), "normal"))


def test_of_shape_one_it_is_the_exponential(data: Any) -> None:
    (weibull, marginal), (exponential, other) = rows_of("weibull", data), rows_of("exponential", data)
    beta, plan = np.array([-0.9, 0.4]), (Part(Rule(25)),)
    assert weibull.pooled(np.append(beta, 0.0)).value == pytest.approx(exponential.pooled(beta).value, rel=1e-14)
    one, two = marginal.evaluate(np.array([*beta, 0.6, 0.0]), plan), other.evaluate(np.append(beta, 0.6), plan)
    assert one.value == pytest.approx(two.value, rel=1e-13)
    assert one.score[:3] == pytest.approx(two.score, rel=1e-10, abs=1e-10)
    assert one.hessian[:3, :3] == pytest.approx(two.hessian, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("nodes", [1, 5, 25])
@pytest.mark.parametrize("family", FAMILIES)
def test_score_and_hessian_are_the_differences_of_the_value(data: Any, family: str, nodes: int) -> None:
    _, likelihood = rows_of(family, data)
    theta = np.array([-0.9, 0.4, 0.5, *([0.3] if family == "weibull" else [])])
    plan, h = (Part(Rule(nodes)),), 1e-4
    at = likelihood.evaluate(theta, plan)
    for k, move in enumerate(np.eye(len(theta)) * h):
        ahead, behind = likelihood.evaluate(theta + move, plan), likelihood.evaluate(theta - move, plan)
        assert at.score[k] == pytest.approx((ahead.value - behind.value) / (2.0 * h), rel=1e-6, abs=1e-5)
        assert at.hessian[k] == pytest.approx((ahead.score - behind.score) / (2.0 * h), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("factor", [1e-8, 3600.0, 1e9])
def test_units_of_time_do_not_matter(data: Any, fit: Any, factor: float) -> None:
    other = cg.random_effects("Surv(t, e) ~ x", data.assign(t=factor * data["t"]), cluster="id", family="weibull")
    k = float(fit.family_parameters["shape"])
    assert other.loglik == pytest.approx(fit.loglik - data["e"].sum() * np.log(factor), abs=1e-6)
    assert other.params["x"] == pytest.approx(fit.params["x"], abs=1e-5)
    assert other.params["(Intercept)"] == pytest.approx(fit.params["(Intercept)"] - k * np.log(factor), abs=1e-3)
    assert other.bse["x"] == pytest.approx(fit.bse["x"], rel=1e-4)
    assert float(other.family_parameters["shape"]) == pytest.approx(k, abs=1e-5)
    assert other.sigma == pytest.approx(fit.sigma, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_repeats_and_offsets_count(data: Any, family: str) -> None:
    model: dict[str, Any] = {"formula": "Surv(t, e) ~ x", "cluster": "id", "family": family}
    fit = cg.random_effects(**model, data=data, weights="w")
    repeated = cg.random_effects(**model, data=data.loc[data.index.repeat(data["w"])])
    assert fit.loglik == pytest.approx(repeated.loglik, abs=1e-7)
    assert fit.params.to_numpy() == pytest.approx(repeated.params.to_numpy(), abs=1e-5)
    assert fit.cov().to_numpy() == pytest.approx(repeated.cov().to_numpy(), rel=1e-4, abs=1e-6)
    shifted = cg.random_effects(**{**model, "formula": "Surv(t, e) ~ x + offset(0.3 * x)"}, data=data)
    plain = cg.random_effects(**model, data=data)
    assert shifted.params["x"] == pytest.approx(plain.params["x"] - 0.3, abs=1e-6)


def test_the_event_in_other_forms(data: Any, fit: Any) -> None:
    data = data.assign(b=data["e"] == 1, s=np.where(data["e"] == 1, "ill", "well"), two=data["e"] + 1)
    for formula, more in (
        ("Surv(t, b) ~ x", {}), ("Surv(time=t, event=e) ~ x", {}), ("Surv(t, s) ~ x", {"success": "ill"}),
        ("Surv(t, two == 2) ~ x", {}), ("Surv(t, two) ~ x", {"success": 2}),
    ):  # fmt: skip
        other = cg.random_effects(formula, data, cluster="id", family="weibull", **more)
        assert other.loglik == pytest.approx(fit.loglik, abs=1e-9)
        words = "Event:            'ill' (censored 'well')"
        assert (words in str(other)) == (formula == "Surv(t, s) ~ x")
    everyone = cg.pooled("Surv(t) ~ x", data, family="weibull")
    assert everyone.loglik == cg.pooled("Surv(t, one) ~ x", data.assign(one=1), family="weibull").loglik


# After the fit --------------------------------------------------------------------------------------------------------


def expected(fit: Any, function: Any) -> float:
    """E function(u) over the frailty, on the scale of a standard normal variable."""
    member, s = fit.distribution.at(fit.sigma), fit.sigma

    def integrand(z: float) -> float:
        return float(function(s * member.quantile_of_normal(np.array([z]))[0]) * norm.pdf(z))

    parts = [quad(integrand, *ends, epsabs=1e-13, epsrel=1e-12, limit=200)[0] for ends in ((-9.0, 0.0), (0.0, 9.0))]
    return float(sum(parts))


@pytest.mark.parametrize("distribution", ["gaussian", "log_gamma", "laplace", "gaussian_mixture(0.3, 2)"])
def test_marginal_predictions_are_averages_over_frailties(data: Any, distribution: str) -> None:
    fit = cg.random_effects("Surv(t, e) ~ x", data, cluster="id", family="weibull", distribution=distribution)
    new, k = pd.DataFrame({"x": [0.4]}), float(fit.family_parameters["shape"])
    eta = float(fit.params @ [1.0, 0.4])
    mean = expected(fit, lambda u: np.exp(gammaln(1.0 + 1.0 / k) - (eta + u) / k))
    assert fit.predict(new, "marginal").iloc[0] == pytest.approx(mean, rel=1e-9)
    median = fit.predict(new, "marginal", scale="median").iloc[0]
    assert expected(fit, lambda u: np.exp(-(median**k) * np.exp(eta + u))) == pytest.approx(0.5, abs=1e-9)
    assert fit.predict(new, scale="median").iloc[0] == pytest.approx((np.log(2.0) / np.exp(eta)) ** (1.0 / k))
    curve = fit.survival(new, [0.5, 2.0])
    for t, hazard, survival in zip(curve["time"], curve["hazard"], curve["survival"], strict=True):
        S = expected(fit, lambda u, t=t: np.exp(-(t**k) * np.exp(eta + u)))
        f = expected(fit, lambda u, t=t: k * t ** (k - 1.0) * np.exp(eta + u - t**k * np.exp(eta + u)))
        assert survival == pytest.approx(S, abs=1e-9)
        assert hazard == pytest.approx(f / S, rel=1e-8)
    typical = fit.survival(new, [2.0], kind="typical")
    assert typical["survival"].iloc[0] == pytest.approx(weibull_min.sf(2.0, k, scale=np.exp(-eta / k)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("distribution", ["gaussian", "log_gamma", "laplace"])
def test_standard_errors_are_the_delta_methods(data: Any, family: str, distribution: str) -> None:
    """By differences of predictions in each parameter, of results that are the same but for it."""
    from dataclasses import replace

    model = cg.random_effects("Surv(t, e) ~ x", data, cluster="id", family=family, distribution=distribution)
    new, h = pd.DataFrame({"x": [-0.3, 1.0], "s": [0.7, 2.5]}), 1e-5

    def predicted(result: Any) -> Any:
        curve = result.survival(new, "s")["survival"].to_numpy()
        parts = [
            result.predict(new, "marginal"),
            result.predict(new, "marginal", scale="median"),
            np.log(-np.log(curve)),
        ]
        return np.concatenate([np.log(parts[0]), np.log(parts[1]), parts[2]])

    def moved(j: int, by: float) -> Any:
        theta = np.array([*model.fit.beta, model.fit.sigma, *own_of(model.fit).values])
        theta[j] += by
        own = replace(own_of(model.fit), values=tuple(theta[3:].tolist()))
        return replace(model, fit=replace(model.fit, beta=theta[:2], sigma=float(theta[2]), response=own))

    q = 3 + len(own_of(model.fit).values)
    gradient = np.column_stack([(predicted(moved(j, h)) - predicted(moved(j, -h))) / (2.0 * h) for j in range(q)])
    V = model.cov().to_numpy()
    se = np.sqrt(np.einsum("ij,jk,ik->i", gradient, V, gradient))
    mean, median = model.predict(new, "marginal", level=0.9), model.predict(new, "marginal", scale="median", level=0.9)
    curve = model.survival(new, "s")
    S = curve["survival"]
    found = [mean["std_error"] / mean["estimate"], median["std_error"] / median["estimate"],
             curve["std_error"] / (-np.log(S) * S)]  # fmt: skip
    assert np.concatenate(found) == pytest.approx(se, rel=1e-4)


def test_ratios_of_hazards_and_of_times(fit: Any) -> None:
    k, beta, V = float(fit.family_parameters["shape"]), float(fit.params["x"]), fit.cov()
    ratios, times = fit.ratios().set_index("term"), fit.acceleration_factors().set_index("term")
    assert ratios.loc["x", "kind"] == "hazard ratio"
    assert ratios.loc["x", "estimate"] == pytest.approx(np.exp(beta))
    assert times.loc["x", "estimate"] == pytest.approx(np.exp(-beta / k))
    g = np.array([-1.0 / k, beta / k**2])
    se = np.sqrt(g @ V.loc[["x", "shape"], ["x", "shape"]].to_numpy() @ g)
    assert times.loc["x", "std_error"] == pytest.approx(np.exp(-beta / k) * se)
    one, other = fit.predict(pd.DataFrame({"x": [0.0, 1.0]}), scale="median")
    assert other / one == pytest.approx(times.loc["x", "estimate"])


def test_profiles_and_the_shape(fit: Any) -> None:
    profile, wald = fit.conf_int(method="profile"), fit.conf_int()
    assert list(profile.index) == ["(Intercept)", "x", "sigma", "shape"]
    assert profile.to_numpy() == pytest.approx(wald.to_numpy(), abs=0.06)
    low, high = profile.loc["shape"]
    assert low < float(fit.family_parameters["shape"]) < high
    assert fit.profile("shape").loglik.max() == pytest.approx(fit.loglik, abs=1e-7)
    with pytest.raises(OptionError, match="dispersion_lr_test of a fit with family='weibull'"):
        _ = fit.dispersion_lr_test


def test_icc_is_that_of_log_times() -> None:
    """Of two times of a cluster, drawn without censoring: log T = (log E - eta - u) / k."""
    data = drawn(last=1e9, m=30)
    fit = cg.random_effects("Surv(t) ~ x", data, cluster="id", family="weibull")
    assert fit.icc == pytest.approx(fit.sigma**2 / (fit.sigma**2 + np.pi**2 / 6.0))


def test_draws_and_residuals() -> None:
    data = drawn(seed=3, m=300, n=4)
    fit = cg.random_effects("Surv(t, e) ~ x", data, cluster="id", family="weibull")
    new = fit.simulate(2, seed=1)
    assert new.equals(fit.simulate(2, seed=1))
    assert (new > 0.0).all().all()
    k = float(fit.family_parameters["shape"])
    for values in (fit.residuals("quantile", "marginal", seed=1), cg.pooled(
        "Surv(t, e) ~ x", drawn(sigma=0.0, seed=3, m=300, n=4), family="weibull"
    ).residuals(seed=1)):  # fmt: skip
        first = values.iloc[::4]
        assert kstest(first, "norm").pvalue > 0.01
    hazard = fit.residuals("cox_snell", "typical")
    assert hazard.to_numpy() == pytest.approx(
        data["t"] ** k * np.exp(fit.params["(Intercept)"] + fit.params["x"] * data["x"])
    )
    assert fit.residuals("martingale", "typical").to_numpy() == pytest.approx(data["e"] - hazard)
    pooled = cg.pooled("Surv(t, e) ~ x", data, family="weibull")
    assert pooled.residuals("martingale").sum() == pytest.approx(0.0, abs=1e-6)  # the intercept's score
    with pytest.raises(OptionError, match="a bootstrap of censored times"):
        fit.bootstrap(n_boot=2)


def test_check_tells_a_wrong_hazard() -> None:
    """Times that are nearly the same for all are not exponential."""
    data = drawn(k=4.0, sigma=0.3, seed=4, m=200, n=3)
    right = cg.random_effects("Surv(t, e) ~ x", data, cluster="id", family="weibull").check(seed=1)
    wrong = cg.random_effects("Surv(t, e) ~ x", data, cluster="id", family="exponential").check(seed=1)
    assert [each.fine for each in right.findings] == [True]
    assert [each.fine for each in wrong.findings] == [False]
    assert cg.pooled("Surv(t, e) ~ x", data, family="exponential").check(seed=1).findings[0].fine is False


def test_bootstrap_of_times_that_are_all_events() -> None:
    data = drawn(m=20, n=3, last=1e9)
    fit = cg.random_effects("Surv(t) ~ x", data, cluster="id", family="weibull")
    found = fit.bootstrap(n_boot=5, seed=1)
    assert np.isfinite(found.replicates).all()


def test_robust_covariance_is_close_where_the_model_holds() -> None:
    data = drawn(seed=5, m=300, n=3)
    fit = cg.random_effects("Surv(t, e) ~ x", data, cluster="id", family="weibull")
    assert np.sqrt(np.diag(fit.cov("robust"))) == pytest.approx(np.sqrt(np.diag(fit.cov())), rel=0.25)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("verb", ["pooled", "random_effects"])
def test_saved_and_loaded(data: Any, family: str, verb: str, tmp_path: Path) -> None:
    fit = getattr(cg, verb)("Surv(t, e) ~ x", data, cluster="id", family=family)
    fit.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert str(again) == str(fit)
    assert again.predict(data, scale="median").equals(fit.predict(data, scale="median"))
    assert "Events" in str(fit)
    assert set(fit.tidy()["term"]) >= {"x", *([] if family == "exponential" else ["shape"])}
    assert np.isfinite(fit.glance()["loglik"].iloc[0])
    fit.report(tmp_path / "page.html")


def test_compared_with_other_densities(data: Any) -> None:
    fits = {each: cg.random_effects("Surv(t, e) ~ x", data, cluster="id", family=each) for each in FAMILIES}
    shown = str(cg.compare(fits))
    assert all(f"{each.loglik:.3f}" in shown for each in fits.values())
    smaller = cg.random_effects("Surv(t, e) ~ 1", data, cluster="id", family="weibull")
    (test,) = cg.compare(smaller, fits["weibull"]).tests
    assert test.statistic == pytest.approx(2.0 * (fits["weibull"].loglik - smaller.loglik))
    assert test.df == 1
    (test,) = cg.compare(fits["exponential"], fits["weibull"]).tests
    assert "family" in test.reason


def test_conditional_predictions_know_the_cluster(fit: Any, data: Any) -> None:
    k = float(fit.family_parameters["shape"])
    rows = data[["x", "id"]].iloc[[7]]
    mode = fit.random_effects.set_index("label").loc[rows["id"].iloc[0], "mode"]
    eta = float(fit.params @ [1.0, rows["x"].iloc[0]]) + mode
    assert fit.predict(rows, "conditional", scale="median").iloc[0] == pytest.approx(
        (np.log(2.0) * np.exp(-eta)) ** (1 / k)
    )
    curve = fit.survival(rows, [1.0], kind="conditional")
    assert curve["survival"].iloc[0] == pytest.approx(np.exp(-np.exp(eta)))
    assert curve["low"].iloc[0] < curve["survival"].iloc[0] < curve["high"].iloc[0]


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "change", "error", "words"),
    [
        ("Surv(t, e) ~ x", {"t": 0.0}, ResponseError, "the response 't' is 0 in row 3"),
        ("Surv(t, e) ~ x", {"t": -1.0}, ResponseError, "positive numbers for family='weibull'"),
        ("Surv(t, e) ~ x", {"t": np.inf}, ResponseError, "finite times"),
        ("Surv(t, e) ~ x", {"e": 2}, ResponseError, "the event 'e' is 2 in row 3"),
        ("Surv(t, 0 * e) ~ x", {}, ResponseError, "of which every time is censored"),
        ("t ~ x", {}, FormulaError, r"the response t with family='weibull'"),
        ("Surv(x, t, e) ~ x", {}, FormulaError, "with a start of the time at risk"),
        ("Surv(t, e, type='right') ~ x", {}, FormulaError, "times at risk begin at 0"),
        ("e ~ Surv(t, e)", {}, FormulaError, "left of '~'"),
    ],
)
def test_bad_data_in_words(data: Any, formula: str, change: Any, error: Any, words: str) -> None:
    data = data.astype({"t": float}).copy()
    for name, value in change.items():
        data.loc[3, name] = value
    with pytest.raises(error, match=words):
        cg.pooled(formula, data, family="weibull")


def test_survival_times_of_other_families_and_verbs(data: Any, fit: Any) -> None:
    with pytest.raises(FormulaError, match=r"Surv\(t, e\) with family='poisson'"):
        cg.pooled("Surv(t, e) ~ x", data, family="poisson")
    with pytest.raises(FormulaError, match=r"Surv\(t, e\) with family='gaussian'"):
        cg.pooled("Surv(t, e) ~ x", data, family="gaussian")
    for verb in (cg.fixed_effects, cg.conditional):
        with pytest.raises(ClusterGLMError, match="parameters of its own"):
            verb("Surv(t, e) ~ x", data, cluster="id", family="weibull")
    for name in ("calibration", "average_effects", "influence", "dispersion_test"):
        with pytest.raises(OptionError, match=f"{name} of a fit with family='weibull'"):
            getattr(fit, name)()


def test_missing_times_and_events_are_dropped(data: Any, fit: Any) -> None:
    more = pd.concat([data, pd.DataFrame({"t": [np.nan, 2.0], "e": [1, np.nan], "x": [0.1, 0.2], "id": [0, 0]})])
    other = cg.random_effects("Surv(t, e) ~ x", more.reset_index(drop=True), cluster="id", family="weibull")
    assert other.loglik == pytest.approx(fit.loglik, abs=1e-9)
    assert [(each.reason, each.count) for each in other.data.dropped] == [
        ("missing response 't'", 1), ("missing response 'e'", 1),
    ]  # fmt: skip


def test_a_group_without_events_separates(data: Any) -> None:
    data = data.assign(g=np.where(data["id"] < 5, "a", "b"), e=np.where(data["id"] < 5, 0, data["e"]))
    with pytest.raises(ClusterGLMError, match="separates censored times from the others"):
        cg.pooled("Surv(t, e) ~ x + g", data, family="weibull")
    with pytest.raises(ClusterGLMError, match="separates censored times from the others"):
        cg.pooled("Surv(t, e) ~ x + g", data, family="exponential")


def test_times_that_are_all_the_same_have_no_shape() -> None:
    data = pd.DataFrame({"t": np.full(20, 3.0), "id": np.repeat(np.arange(5), 4)})
    with pytest.raises(ResponseError, match="all events come at 3"):
        cg.pooled("Surv(t) ~ 1", data, family="weibull")


@pytest.mark.parametrize("events", [1, 2, 3])
def test_few_events_are_enough(data: Any, events: int) -> None:
    data = data.assign(e=0)
    data.loc[[3, 50, 120][:events], "e"] = 1
    fit = cg.pooled("Surv(t, e) ~ 1", data, family="weibull")
    k, t = float(fit.family_parameters["shape"]), data["t"]
    assert (t**k).sum() * np.exp(fit.params["(Intercept)"]) == pytest.approx(events, rel=1e-6)  # the score's two parts
    slope = 1.0 / k + np.log(t[data["e"] == 1]).mean() - (t**k * np.log(t)).sum() / (t**k).sum()
    assert slope == pytest.approx(0.0, abs=1e-6)
