"""Survival times with slopes, nested and crossed frailties: dense sums, limits, what follows a fit, refusals."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import gammaln
from scipy.stats import kstest, norm

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, OptionError
from clusterglm.results.models.durations_mixed import WORK_OF_SEVERAL

FAMILIES = ["weibull", "exponential"]
FORMS = {"slopes": "x + (x | a)", "nested": "x + (1 | a/b)", "crossed": "x + (1 | a) + (1 | item)"}


def drawn(form: str, k: float = 1.5, seed: int = 2, m: int = 15, last: float = 6.0, items: int = 6) -> pd.DataFrame:
    """Of 12 rows a cluster, in three children each."""
    rng, n = np.random.default_rng(seed), 12 * m
    a = np.repeat(np.arange(m), 12)
    data = pd.DataFrame({"a": a, "b": np.arange(n) // 4, "item": np.arange(n) % items, "x": rng.normal(size=n)})
    effects = {
        "slopes": 0.6 * rng.normal(size=m)[a] + 0.4 * rng.normal(size=m)[a] * data["x"],
        "nested": 0.6 * rng.normal(size=m)[a] + 0.6 * rng.normal(size=3 * m)[data["b"]],
        "crossed": 0.6 * rng.normal(size=m)[a] + 0.5 * rng.normal(size=items)[data["item"]],
    }
    eta = -1.0 + 0.5 * data["x"] + effects[form]
    t, censored = (rng.exponential(size=n) / np.exp(eta)) ** (1.0 / k), rng.uniform(0.3, last, n)
    return data.assign(t=np.minimum(t, censored), e=(t <= censored) * 1, w=rng.integers(1, 4, n))


def fitted(form: str, family: str = "weibull", **more: Any) -> Any:
    return cg.random_effects(f"Surv(t, e) ~ {FORMS[form]}", drawn(form), family=family, **more)


# The likelihood by sums that share no code with the package ----------------------------------------------------------


def log_density(data: pd.DataFrame, eta: Any, k: float) -> Any:
    """Of rows at linear predictors, shape (rows, points): an event at t, or none until then."""
    t, e = data["t"].to_numpy()[:, None], data["e"].to_numpy()[:, None]
    return e * (np.log(k) + (k - 1.0) * np.log(t) + eta) - t**k * np.exp(eta)


def summed(rows: pd.DataFrame, eta: Any, Z: Any, L: Any, k: float, reach: float = 8.5, step: float = 0.125) -> float:
    """log E exp(sum of log densities) over standard normal u, by a lattice in as many dimensions."""
    grid = np.arange(-reach, reach + 0.5 * step, step)
    u = np.stack(np.meshgrid(*[grid] * len(L), indexing="ij")).reshape(len(L), -1)
    inside = log_density(rows, eta[:, None] + Z @ L @ u, k).sum(axis=0) + norm.logpdf(u).sum(axis=0)
    return float(np.logaddexp.reduce(inside) + len(L) * np.log(step))


def dense(form: str, data: pd.DataFrame, theta: Any) -> float:
    """The log-likelihood of slopes in (beta, L row by row, log k), of nested effects in (beta, two sds, log k)."""
    k, eta = float(np.exp(theta[-1])), theta[0] + theta[1] * data["x"].to_numpy()
    total = 0.0
    for _, rows in data.groupby("a"):
        at = eta[rows.index]
        if form == "slopes":
            L = np.array([[theta[2], 0.0], [theta[3], theta[4]]])
            Z = np.column_stack([np.ones(len(rows)), rows["x"]])
            total += summed(rows, at, Z, L, k)
            continue
        grid = np.arange(-8.5, 8.6, 0.125)
        children = np.zeros(len(grid))
        for _, own in rows.groupby("b"):
            place = own.index - rows.index[0]
            shift = at[place][:, None, None] + theta[2] * grid[:, None] + theta[3] * grid
            each = log_density(own, shift.reshape(len(own), -1), k).sum(axis=0).reshape(len(grid), -1)
            children += np.logaddexp.reduce(each + norm.logpdf(grid) + np.log(0.125), axis=1)
        total += float(np.logaddexp.reduce(children + norm.logpdf(grid)) + np.log(0.125))
    return total


def estimates(fit: Any) -> Any:
    return np.concatenate([fit.fit.beta, fit.fit.phi, np.log(fit.family_parameters)])


@pytest.mark.parametrize("form", ["slopes", "nested"])
def test_the_log_likelihood_and_its_maximum_are_those_of_dense_sums(form: str) -> None:
    """The value, the score by differences, and standard errors from second differences."""
    data = drawn(form)
    fit = fitted(form, quadrature=cg.Quadrature("auto", tolerance=1e-9))
    theta = estimates(fit)
    assert fit.loglik == pytest.approx(dense(form, data, theta), abs=1e-7)
    h, q = 1e-3, len(theta)
    moves, here = np.eye(q) * h, dense(form, data, theta)
    ends = np.array([[dense(form, data, theta + side * move) for side in (1.0, -1.0)] for move in moves])
    information = -np.diag((ends.sum(axis=1) - 2.0 * here) / h**2)
    for i in range(q):
        for j in range(i):
            both = sum(dense(form, data, theta + side * (moves[i] + moves[j])) for side in (1.0, -1.0))
            bend = (both - 2.0 * here - information[i, i] * -(h**2) - information[j, j] * -(h**2)) / (2.0 * h**2)
            information[i, j] = information[j, i] = -bend
    V = np.linalg.inv(information)
    se = np.sqrt(np.diag(V))
    slopes = (ends[:, 0] - ends[:, 1]) / (2.0 * h)
    assert np.abs(slopes * se).max() < 1e-4
    own = np.append(np.sqrt(np.diag(fit.fit.covariance)), np.sqrt(fit.cov().loc["shape", "shape"]) / np.exp(theta[-1]))
    assert own == pytest.approx(se, rel=1e-3)


def test_crossed_factors_are_corrected_towards_the_dense_sum() -> None:
    """Of three items, whose lattice is summed over with the clusters' own sums inside."""
    data = drawn("crossed", m=10, items=3)
    fit = cg.random_effects(f"Surv(t, e) ~ {FORMS['crossed']}", data, family="weibull")
    k = float(fit.family_parameters.iloc[0])
    s1, s2 = fit.variance_components["estimate"]
    eta = fit.params.iloc[0] + fit.params.iloc[1] * data["x"].to_numpy()
    grid, wide = np.arange(-7.0, 7.1, 0.25), np.arange(-8.0, 8.1, 0.25)
    v = np.stack(np.meshgrid(*[grid] * 3, indexing="ij")).reshape(3, -1)
    total = norm.logpdf(v).sum(axis=0) + 3.0 * np.log(0.25)
    for _, rows in data.groupby("a"):
        inner = np.full(v.shape[1], -np.inf)
        for u in wide:
            # rows of one item have one v: sum over them on the one-dimensional lattice, then add up
            parts = [
                log_density(own, (eta[own.index] + s1 * u)[:, None] + s2 * grid, k).sum(axis=0)
                for _, own in rows.groupby("item")
            ]
            whole = parts[0][:, None, None] + parts[1][None, :, None] + parts[2][None, None, :]
            inner = np.logaddexp(inner, whole.ravel() + norm.logpdf(u) + np.log(0.25))
        total = total + inner
    exact = float(np.logaddexp.reduce(total))
    outside = fit.quadrature.outside
    assert abs(fit.loglik - exact) < 5.0 * outside.standard_error + 1e-4
    assert outside.standard_error < 0.01


@pytest.mark.parametrize("form", FORMS)
def test_exponential_times_are_poisson_counts_at_risk(form: str) -> None:
    """An event is a count of 1 with the time as its exposure: the same fit but for a constant."""
    data, laplace = drawn(form, k=1.0), {"quadrature": "laplace"} if form == "crossed" else {}
    times = cg.random_effects(f"Surv(t, e) ~ {FORMS[form]}", data, family="exponential", **laplace)
    counts = cg.random_effects(
        f"e ~ {FORMS[form]} + offset(lt)", data.assign(lt=np.log(data["t"])), family="poisson", **laplace
    )
    constant = float((data["e"] * np.log(data["t"])).sum())
    assert times.loglik == pytest.approx(counts.loglik - constant, abs=1e-7)
    assert times.params.to_numpy() == pytest.approx(counts.params.to_numpy(), abs=1e-6)
    same = ["estimate", "std_error"]
    assert times.variance_components[same].to_numpy() == pytest.approx(
        counts.variance_components[same].to_numpy(), rel=1e-4, abs=1e-6, nan_ok=True
    )
    assert times.random_effects["mode"].to_numpy() == pytest.approx(counts.random_effects["mode"].to_numpy(), abs=1e-5)
    assert times.n_parameters == counts.n_parameters


@pytest.mark.parametrize("form", FORMS)
def test_times_to_a_power_have_another_shape(form: str) -> None:
    """T^c is Weibull with the shape over c, and the same hazard ratios and effects on the log hazard."""
    data, c = drawn(form), 1.7
    laplace = {"quadrature": "laplace"} if form == "crossed" else {}
    one = cg.random_effects(f"Surv(t, e) ~ {FORMS[form]}", data, family="weibull", **laplace)
    other = cg.random_effects(f"Surv(t, e) ~ {FORMS[form]}", data.assign(t=data["t"] ** c), family="weibull", **laplace)
    assert float(other.family_parameters.iloc[0]) * c == pytest.approx(float(one.family_parameters.iloc[0]), rel=1e-6)
    jacobian = float((data["e"] * (np.log(c) + (c - 1.0) * np.log(data["t"]))).sum())
    assert other.loglik + jacobian == pytest.approx(one.loglik, abs=1e-7)
    assert other.params.to_numpy() == pytest.approx(one.params.to_numpy(), abs=1e-5)
    assert other.bse.to_numpy() == pytest.approx(one.bse.to_numpy(), rel=1e-4)


def test_where_the_shape_is_one_weibull_times_are_exponential() -> None:
    """With the shape held there both log-likelihoods are the same function."""
    exponential = fitted("slopes", "exponential")
    weibull = fitted("slopes")
    task = weibull.fit.task()
    theta = np.concatenate([exponential.fit.beta, [0.0], exponential.fit.phi])
    plan = task.likelihood.by_nodes(25)
    own = exponential.fit.task()
    there = own.value(exponential.fit.theta, own.likelihood.by_nodes(25))
    assert task.value(theta, plan) == pytest.approx(there, abs=1e-9)
    assert weibull.loglik > exponential.loglik


def test_without_effects_of_what_is_nested_it_is_the_fit_of_one_intercept() -> None:
    data = drawn("slopes", seed=10)
    data["b"] = data["a"] * 3 + np.arange(len(data)) % 3
    nested = cg.random_effects("Surv(t, e) ~ x + (1 | a/b)", data, family="weibull")
    one = cg.random_effects("Surv(t, e) ~ x", data, cluster="a", family="weibull")
    assert nested.variance_components["estimate"].to_list() == pytest.approx([one.sigma, 0.0], abs=1e-5)
    assert nested.loglik == pytest.approx(one.loglik, abs=1e-7)
    assert nested.params.to_numpy() == pytest.approx(one.params.to_numpy(), abs=1e-6)
    new = pd.DataFrame({"x": [-0.5, 1.0]})
    for scale in ("response", "median"):
        ours, theirs = (fit.predict(new, "marginal", scale=scale, level=0.9) for fit in (nested, one))
        assert ours.drop(columns="status").to_numpy() == pytest.approx(
            theirs.drop(columns="status").to_numpy(), rel=1e-4
        )
    ours, theirs = (fit.survival(new, [0.5, 3.0]) for fit in (nested, one))
    assert ours.drop(columns="status").to_numpy() == pytest.approx(theirs.drop(columns="status").to_numpy(), rel=1e-4)


def test_simulated_times_lead_back() -> None:
    """Many clusters: estimates within four standard errors of what the times were drawn with."""
    data = drawn("slopes", seed=11, m=250)
    fit = cg.random_effects("Surv(t, e) ~ x + (x | a)", data, family="weibull", quadrature="laplace")
    assert np.abs((fit.params - [-1.0, 0.5]) / fit.bse).max() < 4.0
    shape, se = float(fit.family_parameters.iloc[0]), float(np.sqrt(fit.cov().loc["shape", "shape"]))
    assert abs(shape - 1.5) < 4.0 * se
    parts = fit.variance_components
    assert np.abs((parts["estimate"] - [0.6, 0.4, 0.0]) / parts["std_error"]).max() < 4.0
    again = data.assign(t=fit.simulate(1, seed=3)[0], e=1)
    refit = cg.random_effects("Surv(t, e) ~ x + (x | a)", again, family="weibull", quadrature="laplace")
    assert np.abs((refit.params - fit.params) / refit.bse).max() < 4.0
    assert float(refit.family_parameters.iloc[0]) == pytest.approx(shape, rel=0.1)


# After the fit --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[(family, form) for form in FORMS for family in FAMILIES])
def fit(request: pytest.FixtureRequest) -> Any:
    family, form = request.param
    return fitted(form, family)


def form_of(fit: Any) -> str:
    return next(form for form, right in FORMS.items() if fit.formula.endswith(right))


def expected(sd: float, function: Any) -> float:
    u = np.linspace(-10.0, 10.0, 20_001)
    return float((function(sd * u) * norm.pdf(u)).sum() * (u[1] - u[0]))


def test_marginal_times_and_survival_are_averages(fit: Any) -> None:
    new = pd.DataFrame({"x": [0.4, -1.2]})
    k = float(fit.family_parameters.iloc[0]) if fit.family == "weibull" else 1.0
    L = fit.fit.factor
    means, medians = fit.predict(new, "marginal"), fit.predict(new, "marginal", scale="median")
    curve = fit.survival(new, [0.5, 2.0]).set_index(["row", "time"])
    for row, x in enumerate(new["x"]):
        eta = float(fit.params @ [1.0, x])
        z = np.array([1.0, x]) if form_of(fit) == "slopes" else np.ones(2)
        sd = float(np.linalg.norm(L.T @ z))
        mean = expected(sd, lambda u, eta=eta: np.exp(gammaln(1.0 + 1.0 / k) - (eta + u) / k))
        assert means.iloc[row] == pytest.approx(mean, rel=1e-9)
        half = brentq(
            lambda t, eta=eta, sd=sd: expected(sd, lambda u: np.exp(-(t**k) * np.exp(eta + u))) - 0.5, 1e-3, 1e3
        )
        assert medians.iloc[row] == pytest.approx(half, rel=1e-8)
        for t in (0.5, 2.0):
            S = expected(sd, lambda u, t=t, eta=eta: np.exp(-(t**k) * np.exp(eta + u)))
            f = expected(sd, lambda u, t=t, eta=eta: k * t ** (k - 1.0) * np.exp(eta + u - t**k * np.exp(eta + u)))
            assert curve.loc[(row, t), "survival"] == pytest.approx(S, abs=1e-9)
            assert curve.loc[(row, t), "hazard"] == pytest.approx(f / S, rel=1e-8)


def test_standard_errors_are_the_delta_methods(fit: Any) -> None:
    """By differences of predictions in each parameter, of results that are the same but for it."""
    new, h = pd.DataFrame({"x": [-0.3, 1.0], "s": [0.7, 2.5]}), 1e-5
    p, r = len(fit.fit.beta), len(fit.fit.phi)
    values = np.concatenate([fit.fit.beta, fit.fit.phi, fit.family_parameters])

    def predicted(at: Any) -> Any:
        response = replace(fit.fit.response, values=tuple(at[p + r :].tolist()))
        there = replace(fit, fit=replace(fit.fit, beta=at[:p], phi=at[p : p + r], response=response))
        curve = there.survival(new, "s", level=None)["survival"].to_numpy()
        return np.concatenate([there.predict(new, "marginal"), there.predict(new, "marginal", scale="median"), curve])

    J = np.array([(predicted(values + m) - predicted(values - m)) / (2.0 * h) for m in np.eye(len(values)) * h])
    se = np.sqrt(np.einsum("kn,kl,ln->n", J, fit._whole_covariance("observed"), J))
    tables = [fit.predict(new, "marginal", scale=scale, level=0.9) for scale in ("response", "median")]
    found = [each["std_error"] for each in (*tables, fit.survival(new, "s"))]
    assert np.concatenate(found) == pytest.approx(se, rel=1e-4)


def test_conditional_predictions_know_the_levels(fit: Any) -> None:
    data = drawn(form_of(fit))
    k = float(fit.family_parameters.iloc[0]) if fit.family == "weibull" else 1.0
    rows = data.iloc[[7]]
    modes = fit.random_effects
    own = {"a": rows["a"].iloc[0], "item": rows["item"].iloc[0], "a:b": rows["b"].iloc[0], "b": rows["b"].iloc[0]}
    mode = modes[
        [
            str(label).endswith(str(own[group])) and (group != "a" or label == own["a"])
            for group, label in zip(modes["group"], modes["label"], strict=True)
        ]
    ]
    x = float(rows["x"].iloc[0])
    shift = sum(m * (x if effect == "x" else 1.0) for m, effect in zip(mode["mode"], mode["effect"], strict=True))
    eta = float(fit.params @ [1.0, x]) + shift
    if form_of(fit) != "nested":  # whose labels are written in another way
        assert fit.predict(rows, "conditional", scale="median").iloc[0] == pytest.approx(
            (np.log(2.0) * np.exp(-eta)) ** (1.0 / k), rel=1e-6
        )
    inside = fit.predict(kind="conditional", scale="link").to_numpy()
    assert fit.predict(data, kind="conditional", scale="link").to_numpy() == pytest.approx(inside, rel=1e-9)
    curve = fit.survival(rows, [1.0], kind="conditional")
    assert curve["survival"].iloc[0] == pytest.approx(np.exp(-np.exp(inside[7])))
    assert (fit.predict(kind="conditional", level=0.9)["std_error"] > 0.0).all()


def test_rows_without_a_column_of_effects_are_refused_alone() -> None:
    fit = cg.random_effects("Surv(t, e) ~ 1 + (0 + x | a)", drawn("slopes"), family="weibull")
    new = pd.DataFrame({"x": [0.3, np.nan]})
    table = fit.predict(new, "marginal", scale="median", level=0.9)
    assert np.isfinite(table["estimate"].iloc[0])
    assert np.isnan(table["estimate"].iloc[1])
    assert "x" in table["status"].iloc[1]
    curve = fit.survival(new, [1.0])
    assert np.isnan(curve["survival"].iloc[1])
    assert np.isfinite(curve["survival"].iloc[0])


def test_ratios_and_acceleration_factors(fit: Any) -> None:
    k = float(fit.family_parameters.iloc[0]) if fit.family == "weibull" else 1.0
    ratios, times = fit.ratios().set_index("term"), fit.acceleration_factors().set_index("term")
    assert ratios.loc["x", "kind"] == "hazard ratio"
    assert ratios.loc["x", "estimate"] == pytest.approx(np.exp(fit.params["x"]))
    assert times.loc["x", "estimate"] == pytest.approx(np.exp(-fit.params["x"] / k))
    one, other = fit.predict(pd.DataFrame({"x": [0.0, 1.0]}), scale="median")
    assert other / one == pytest.approx(times.loc["x", "estimate"])
    names = ["x", "shape"] if fit.family == "weibull" else ["x"]
    g = np.array([-1.0 / k, fit.params["x"] / k**2][: len(names)])
    se = np.sqrt(g @ fit.cov().loc[names, names].to_numpy() @ g)
    assert times.loc["x", "std_error"] == pytest.approx(np.exp(-fit.params["x"] / k) * se)


def test_residuals_of_many_clusters() -> None:
    data = drawn("slopes", seed=4, m=200)
    fit = cg.random_effects("Surv(t, e) ~ x + (x | a)", data, family="weibull", quadrature="laplace")
    first = fit.residuals("quantile", "marginal", seed=1).iloc[::12]
    assert kstest(first, "norm").pvalue > 0.01
    hazard = fit.residuals("cox_snell", "typical")
    k = float(fit.family_parameters.iloc[0])
    assert hazard.to_numpy() == pytest.approx(data["t"] ** k * np.exp(fit.params.iloc[0] + fit.params["x"] * data["x"]))
    assert fit.residuals("martingale", "conditional").to_numpy() == pytest.approx(
        data["e"] - data["t"] ** k * np.exp(fit.predict(kind="conditional", scale="link")), rel=1e-9
    )
    assert [each.fine for each in fit.check(seed=1).findings] == [True]
    with pytest.raises(OptionError, match="a bootstrap of censored times"):
        fit.bootstrap(n_boot=2)


def test_tables_files_pages_and_pictures(fit: Any, tmp_path: Path) -> None:
    text = str(fit)
    assert "Events:" in text
    assert "sd(a: (Intercept))" in text
    assert ("shape" in text) == (fit.family == "weibull" or "hazard shape" in text)
    assert list(fit.conf_int().index) == list(fit.cov().index)
    assert fit.n_parameters == len(fit.cov())
    assert {"coefficient", "random_effect"} <= set(fit.tidy()["component"])
    assert fit.glance().shape[0] == 1
    assert fit.pooled.loglik < fit.loglik
    fit.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert type(again) is type(fit)
    assert str(again) == text
    assert again.cov().equals(fit.cov())
    for kind in ("typical", "conditional", "marginal"):
        assert again.predict(kind=kind, scale="median").equals(fit.predict(kind=kind, scale="median"))
    fit.report(tmp_path / "fit.html")
    assert "sd(a: (Intercept))" in (tmp_path / "fit.html").read_text()
    assert len(fit.plot.caterpillar().data) >= 15
    assert len(fit.plot.survival(pd.DataFrame({"x": [0.0, 0.0], "s": [1.0, 2.0]}), "s").data) == 2


def test_profiles_and_robust_errors() -> None:
    fit = fitted("slopes")
    profile, wald = fit.conf_int(method="profile"), fit.conf_int()
    assert list(profile.index) == list(wald.index)
    assert (profile["low"] <= fit._estimates + 1e-9).all()
    assert (fit._estimates - 1e-9 <= profile["high"]).all()
    assert profile.loc[["x", "shape"]].to_numpy() == pytest.approx(wald.loc[["x", "shape"]].to_numpy(), abs=0.1)
    scores = fit._scores
    assert np.abs(scores.sum(axis=0) * np.sqrt(np.diag(fit._whole_covariance("observed")))).max() < 1e-4
    assert np.isfinite(fit.cov("robust").to_numpy()).all()
    with pytest.raises(ClusterGLMError, match="robust"):
        fitted("crossed").cov("robust")


def test_latent_correlations_are_those_of_log_times() -> None:
    fit = fitted("slopes")
    table = fit.intraclass_correlation(pd.DataFrame({"x": [0.0, 1.0]}))
    S = (fit.fit.factor @ fit.fit.factor.T)[0, 0]
    assert table["estimate"].iloc[0] == pytest.approx(S / (S + np.pi**2 / 6.0))


def test_compared_with_one_frailty_and_with_other_effects() -> None:
    data = drawn("slopes")
    formulas = ("1 + (1 | a)", "x + (x || a)", "x + (x | a)")
    fits = [cg.random_effects(f"Surv(t, e) ~ {right}", data, family="weibull") for right in formulas]
    _, last = cg.compare(*fits).tests
    assert last.statistic == pytest.approx(2.0 * (fits[2].loglik - fits[1].loglik))
    assert last.df == 1


def test_bootstrap_of_times_that_are_all_events() -> None:
    data = drawn("slopes", last=1e9).assign(e=1)
    fit = cg.random_effects("Surv(t) ~ x + (x || a)", data, family="weibull", quadrature="laplace")
    found = fit.bootstrap(n_boot=5, seed=1)
    assert np.isfinite(found.replicates).all()
    assert len(found.names) == fit.n_parameters


def test_whole_weights_are_repeats() -> None:
    data = drawn("slopes")
    weighted = cg.random_effects("Surv(t, e) ~ x + (x | a)", data, family="weibull", weights="w")
    repeated = cg.random_effects("Surv(t, e) ~ x + (x | a)", data.loc[data.index.repeat(data["w"])], family="weibull")
    assert weighted.loglik == pytest.approx(repeated.loglik, abs=1e-6)
    assert weighted.cov().to_numpy() == pytest.approx(repeated.cov().to_numpy(), rel=1e-3, abs=1e-6)


def test_every_other_member_says_why_not(fit: Any) -> None:
    for name in dir(type(fit)):
        if name.startswith("_") or name in WORK_OF_SEVERAL:
            continue
        with pytest.raises(ClusterGLMError, match=f"{name} of a fit with family="):
            _ = getattr(fit, name)()


def test_command_line(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from clusterglm.cli import app

    rows, saved = tmp_path / "rows.csv", tmp_path / "fit.json"
    drawn("slopes").to_csv(rows, index=False)

    def good(*arguments: str) -> str:
        found = CliRunner().invoke(app, list(arguments))
        assert found.exit_code == 0, found.output
        return found.stdout

    shown = good("fit", str(rows), "Surv(t, e) ~ x + (x | a)", "--family", "weibull", "--save", str(saved))
    assert "cor(a: (Intercept),x)" in shown
    assert good("show", str(saved)).rstrip() == str(cg.load(saved))
    table = pd.read_csv(io.StringIO(good("predict", str(saved), "--kind", "marginal")))
    fit = cg.random_effects("Surv(t, e) ~ x + (x | a)", pd.read_csv(rows), family="weibull")
    assert table.iloc[:, -1].to_numpy() == pytest.approx(fit.predict(kind="marginal").to_numpy(), rel=1e-6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"distribution": "log_gamma"}, "with several random effects"),
        ({"sigma": 1.0}, "sigma= or fix_sigma= with several random effects"),
        ({"penalty": "soft"}, "penalty='soft' with family"),
    ],
)
def test_what_there_is_not(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ClusterGLMError, match=words):
        fitted("slopes", **given)
