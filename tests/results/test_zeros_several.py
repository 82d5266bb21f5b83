"""Counts with zero inflation or a hurdle, and slopes, nested or crossed effects: dense sums, limits, what follows."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, gammaln
from scipy.stats import norm

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, DesignError, OptionError, ResponseError
from clusterglm.results.models.zeros_mixed import WORK_OF_SEVERAL, WORK_WITH_HURDLE_OF_SEVERAL

GOLDEN = Path(__file__).parents[1] / "golden"
GLMMTMB = {record["call"]: record for record in json.loads((GOLDEN / "zero_inflated.json").read_text())["glmmTMB"]}
POISSON, NB = "poisson", "negative_binomial"
FORMS = {"slopes": "x + (x | a)", "nested": "x + (1 | a/b)", "crossed": "x + (1 | a) + (1 | item)"}
INFLATED, PASSED = "zero_inflation", "hurdle"


def drawn(form: str, alpha: float = 0.0, seed: int = 2, m: int = 18, items: int = 6, certain: float = -0.7) -> Any:
    """Of 12 rows a cluster, in three children each; zeros for certain by z."""
    rng, n = np.random.default_rng(seed), 12 * m
    a = np.repeat(np.arange(m), 12)
    data = pd.DataFrame({"a": a, "b": np.arange(n) // 4, "item": np.arange(n) % items, "x": rng.normal(size=n)})
    effects = {
        "slopes": 0.6 * rng.normal(size=m)[a] + 0.4 * rng.normal(size=m)[a] * data["x"],
        "nested": 0.5 * rng.normal(size=m)[a] + 0.6 * rng.normal(size=3 * m)[data["b"]],
        "crossed": 0.6 * rng.normal(size=m)[a] + 0.5 * rng.normal(size=items)[data["item"]],
    }
    mean = np.exp(0.9 + 0.5 * data["x"] + effects[form])
    y = rng.poisson(mean * (rng.gamma(1.0 / alpha, alpha, n) if alpha > 0.0 else 1.0))
    z = rng.normal(size=n)
    y = np.where(rng.random(n) < expit(certain + 0.8 * z), 0, y)
    y[a == 3] = 0
    return data.assign(y=y, z=z, w=rng.integers(1, 4, n))


def fitted(form: str, argument: str, family: str = POISSON, right: str = "~ z", **more: Any) -> Any:
    data = drawn(form, 0.5 if family == NB else 0.0)
    return cg.random_effects(f"y ~ {FORMS[form]}", data, family=family, **{argument: right}, **more)


# The likelihood by sums that share no code with the package ----------------------------------------------------------


def log_p(y: Any, mu: Any, pi: Any, alpha: float, argument: str) -> Any:
    """Of counts, by the formulas of textbooks."""
    if alpha == 0.0:
        counts, none = y * np.log(mu) - mu - gammaln(y + 1.0), -mu
    else:
        r = 1.0 / alpha
        none = -r * np.log1p(alpha * mu)
        counts = gammaln(y + r) - gammaln(r) - gammaln(y + 1.0) + none + y * (np.log(mu) - np.log(mu + r))
    if argument == INFLATED:
        return np.where(y == 0, np.log(pi + (1.0 - pi) * np.exp(none)), np.log1p(-pi) + counts)
    return np.where(y == 0, np.log(pi), np.log1p(-pi) + counts - np.log(-np.expm1(none)))


def over_two(log_density: Any) -> float:
    """log of the integral over two standard normal variables: on a lattice that spans where it is not negligible."""
    low, high, n = np.full(2, -8.5), np.full(2, 8.5), 69
    for _ in range(3):
        axes = [np.linspace(low[k], high[k], n) for k in range(2)]
        u, v = (each.ravel() for each in np.meshgrid(*axes, indexing="ij"))
        values = log_density(u, v) + norm.logpdf(u) + norm.logpdf(v)
        steps = [axis[1] - axis[0] for axis in axes]
        found = float(np.logaddexp.reduce(values) + np.log(steps).sum())
        there, n = values > values.max() - 42.0, 141
        for k, each in enumerate((u, v)):
            low[k], high[k] = each[there].min() - steps[k], each[there].max() + steps[k]
    return found


def dense(form: str, data: pd.DataFrame, theta: Any, argument: str, dispersed: bool = False) -> float:
    """The log-likelihood in (beta, L row by row or two sds, log(alpha) where dispersed, two coefficients of zeros)."""
    eta = (theta[0] + theta[1] * data["x"]).to_numpy()
    pi = expit(theta[-2] + theta[-1] * data["z"].to_numpy())
    alpha, y, x = float(np.exp(theta[-3])) if dispersed else 0.0, data["y"].to_numpy(), data["x"].to_numpy()
    step = 0.25
    grid, total = np.arange(-8.0, 8.0 + 0.5 * step, step), 0.0
    u, v = (each.ravel() for each in np.meshgrid(grid, grid, indexing="ij"))
    weights = norm.logpdf(grid) + np.log(step)
    for _, rows in data.groupby("a"):
        at = rows.index.to_numpy()
        if form == "slopes":

            def inside(u: Any, v: Any, at: Any = at) -> Any:
                shift = theta[2] * u + x[at, None] * (theta[3] * u + theta[4] * v)
                return log_p(y[at, None], np.exp(eta[at, None] + shift), pi[at, None], alpha, argument).sum(axis=0)

            total += over_two(inside)
            continue
        children = np.zeros(len(grid))
        for _, own in rows.groupby("b"):
            at, shift = own.index.to_numpy(), theta[2] * u + theta[3] * v
            each = log_p(y[at, None], np.exp(eta[at, None] + shift), pi[at, None], alpha, argument).sum(axis=0)
            children += np.logaddexp.reduce(each.reshape(len(grid), -1) + weights, axis=1)
        total += float(np.logaddexp.reduce(children + weights))
    return total


def working(fit: Any) -> Any:
    """As `dense` takes them."""
    own = np.array(fit.fit.response.values)
    if fit.family == NB:
        own[0] = np.log(own[0])
    return np.concatenate([fit.fit.beta, fit.fit.phi, own])


@pytest.mark.parametrize(
    ("form", "argument", "family"),
    [
        ("slopes", INFLATED, POISSON),
        ("nested", INFLATED, POISSON),
        ("slopes", INFLATED, NB),
        ("slopes", PASSED, POISSON),
        ("nested", PASSED, NB),
    ],
)
def test_the_log_likelihood_and_its_score_are_those_of_dense_sums(form: str, argument: str, family: str) -> None:
    """The value; and no slope of it, in units of standard errors, at the estimates."""
    fit, data = fitted(form, argument, family), drawn(form, 0.5 if family == NB else 0.0)
    theta = working(fit)
    value = dense(form, data, theta, argument, family == NB)
    assert fit.loglik == pytest.approx(value, abs=1e-6 if family == NB else 2e-7)
    V = fit.fit.whole_covariance
    se = np.sqrt(np.diag(V))
    if family == NB:
        se[-3] /= fit.family_parameters["alpha"]
    for j, error in enumerate(se):
        if not np.isfinite(error):  # on the boundary
            continue
        move = np.zeros(len(theta))
        move[j] = 1e-3 * error
        ends = [dense(form, data, theta + side * move, argument, family == NB) for side in (1.0, -1.0)]
        assert abs(ends[0] - ends[1]) / 2e-3 < 2e-3


def test_standard_errors_are_those_of_the_dense_sums_curvature() -> None:
    """Zero inflation, slopes: the whole information, that of zeros and counts together, by second differences."""
    fit, data = fitted("slopes", INFLATED), drawn("slopes")
    theta, V = working(fit), fit.fit.whole_covariance
    h = 0.05 * np.sqrt(np.diag(V))
    q, moves = len(theta), np.diag(h)

    def at(shift: Any) -> float:
        return dense("slopes", data, theta + shift, INFLATED)

    here = at(np.zeros(q))
    ends = np.array([[at(side * move) - here for side in (1.0, -1.0)] for move in moves])
    information = -np.diag(ends.sum(axis=1))
    for i in range(q):
        for j in range(i):
            both = at(moves[i] + moves[j]) + at(-moves[i] - moves[j]) - 2.0 * here
            information[i, j] = information[j, i] = -0.5 * (both - ends[i].sum() - ends[j].sum())
    found = np.linalg.inv(information / np.outer(h, h))
    assert np.sqrt(np.diag(V)) == pytest.approx(np.sqrt(np.diag(found)), rel=5e-3)
    scale = np.sqrt(np.outer(np.diag(V), np.diag(V)))
    assert np.abs(V / scale - found / scale).max() < 5e-3


def zoomed(log_density: Any) -> float:
    """log of an integral over two standard normal variables whose modes may be many and narrow: cells are split.

    Of each generation the cells with the highest values are split, until those that matter are many.
    """
    h, levels = 17.0 / 96.0, 16
    axis = -8.5 + h * (np.arange(96) + 0.5)
    u, v = (each.ravel() for each in np.meshgrid(axis, axis, indexing="ij"))
    for level in range(levels):
        values = log_density(u, v) + norm.logpdf(u) + norm.logpdf(v)
        inside = int((values > values.max() - 38.0).sum())
        if inside > 20_000 and level > 1:
            break
        most = 20_000 if level < 2 else 6_000 if inside < 300 else max(3_000, int((values > values.max() - 42.0).sum()))
        kept, h = np.argsort(values)[::-1][:most], 0.5 * h
        u = (u[kept][:, None] + 0.5 * h * np.array([-1.0, -1.0, 1.0, 1.0])).ravel()
        v = (v[kept][:, None] + 0.5 * h * np.array([-1.0, 1.0, -1.0, 1.0])).ravel()
    return float(np.logaddexp.reduce(values) + 2.0 * np.log(h))


@pytest.mark.parametrize(("level", "sigma", "certain"), [(3.0, 1.5, 0.5), (1.0, 3.0, 0.4), (5.0, 2.5, 0.7)])
def test_clusters_with_several_modes(level: float, sigma: float, certain: float) -> None:
    """Large means: zeros are for certain, or the cluster's mean is small."""
    rng, m, n = np.random.default_rng(2), 60, 4
    a, x = np.repeat(np.arange(m), n), rng.normal(size=m * n)
    counts = rng.poisson(np.exp(level + 0.4 * x + sigma * rng.normal(size=m)[a] + 0.5 * x * rng.normal(size=m)[a]))
    y = np.where(rng.random(m * n) < certain, 0, counts)
    fit = cg.random_effects("y ~ x + (x | a)", {"y": y, "x": x, "a": a}, family=POISSON, zero_inflation="~ 1")
    eta, pi, L, total = fit.fit.beta[0] + fit.fit.beta[1] * x, expit(fit.params.iloc[-1]), fit.fit.factor, 0.0
    for first in range(0, m * n, n):
        rows = range(first, first + n)

        def inside(u: Any, v: Any, rows: Any = rows) -> Any:
            shifts = (L[0, 0] * u + x[i] * (L[1, 0] * u + L[1, 1] * v) for i in rows)
            each = (
                log_p(y[i], np.exp(eta[i] + shift), pi, 0.0, INFLATED) for i, shift in zip(rows, shifts, strict=True)
            )
            with np.errstate(under="ignore"):
                return sum(each)

        total += zoomed(inside)
    assert fit.loglik == pytest.approx(total, abs=1e-7)
    assert fit.quadrature.error < 1e-6


# Other software -------------------------------------------------------------------------------------------------------


def arabidopsis() -> pd.DataFrame:
    data = pd.read_csv(GOLDEN / "data" / "arabidopsis.csv")
    return data.assign(
        nut8=(data["nutrient"] == 8) * 1.0,
        rack2=(data["rack"] == 2) * 1.0,
        amd=pd.Categorical(data["amd"], ["clipped", "unclipped"]),
    ).rename(columns={"total.fruits": "fruits"})


def test_slopes_by_laplace_are_glmmtmbs() -> None:
    formula = "count ~ mined + spp + DOY + (1 | site) + (0 + DOY | site)"
    call = f"glmmTMB({formula}, data = d, family = poisson, ziformula = ~ 1)"
    known, data = GLMMTMB[call], pd.read_csv(GOLDEN / "data" / "salamanders.csv")
    fit = cg.random_effects(
        "count ~ mined + spp + DOY + (1 | site) + (0 + DOY | site)",
        data,
        family=POISSON,
        zero_inflation="~ 1",
        quadrature="laplace",
    )
    assert -1e-7 < fit.loglik - known["logLik"] < 1e-5
    their = np.array([*known["coef"].values(), *known["zi_coef"].values()])
    assert (np.abs(fit.params.to_numpy() - their) / fit.bse.to_numpy()).max() < 2e-3  # where theirs stopped
    assert fit.bse.to_numpy()[:-1] == pytest.approx([*known["se"].values()], rel=5e-3)
    assert np.log(fit.variance_components["estimate"]).to_numpy() == pytest.approx(known["theta_working"], abs=2e-3)


def test_nested_effects_by_laplace_are_glmmtmbs() -> None:
    formula = "total.fruits ~ nut8 * amd + rack2 + status + (1 | popu/gen)"
    call = f"glmmTMB({formula}, data = d, family = poisson, ziformula = ~ 1)"
    known = GLMMTMB[call]
    fit = cg.random_effects(
        "fruits ~ nut8 * amd + rack2 + status + (1 | popu/gen)",
        arabidopsis(),
        family=POISSON,
        zero_inflation="~ 1",
        quadrature="laplace",
    )
    assert -1e-7 < fit.loglik - known["logLik"] < 1e-5
    assert fit.params.to_numpy() == pytest.approx([*known["coef"].values(), *known["zi_coef"].values()], abs=2e-4)
    lower, upper = np.exp(known["theta_working"])
    assert fit.variance_components["estimate"].to_numpy() == pytest.approx([upper, lower], rel=1e-3)


def test_a_hurdle_with_slopes_goes_as_far_as_glmmtmb_and_converges() -> None:
    """Where theirs says that it has not converged, with a correlation of 1."""
    call = (
        "glmmTMB(total.fruits ~ nut8 * amd + rack2 + status + (nut8 | gen), data = d, family = truncated_nbinom2, "
        "ziformula = ~ amd)"
    )
    known = GLMMTMB[call]
    fit = cg.random_effects(
        "fruits ~ nut8 * amd + rack2 + status + (nut8 | gen)",
        arabidopsis(),
        family=NB,
        hurdle="~ amd",
        quadrature="laplace",
    )
    assert fit.converged
    assert fit.singular
    assert fit.loglik == pytest.approx(known["logLik"], abs=1e-4)
    assert fit.params.to_numpy() == pytest.approx([*known["coef"].values(), *known["zi_coef"].values()], abs=5e-3)


# Limits and smaller models --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", [POISSON, NB])
def test_a_hurdle_is_the_sum_of_the_parts_fitted_apart(form: str, family: str) -> None:
    data, rule = drawn(form, 0.5 if family == NB else 0.0), {"quadrature": "laplace"} if form == "crossed" else {}
    fit = fitted(form, PASSED, family, **rule)
    zeros = cg.pooled("none ~ z", data.assign(none=(data["y"] == 0) * 1))
    positive = data[data["y"] > 0]
    counts = cg.random_effects(f"y ~ {FORMS[form]}", positive, family=f"truncated_{family}", **rule)
    assert fit.loglik == pytest.approx(zeros.loglik + counts.loglik, abs=1e-8)
    assert fit.params.to_numpy() == pytest.approx(np.concatenate([counts.params, zeros.params]), rel=1e-6)
    assert fit.bse.to_numpy() == pytest.approx(np.concatenate([counts.bse, zeros.bse]), rel=1e-6)
    assert fit.n_parameters == counts.n_parameters + zeros.n_parameters
    assert fit.variance_components.equals(counts.variance_components)
    assert fit.predict(positive, "conditional", scale="link").to_numpy() == pytest.approx(
        counts.predict(positive, "conditional", scale="link").to_numpy(), abs=1e-5
    )
    assert fit.predict(positive, "conditional", scale="count").to_numpy() == pytest.approx(
        counts.predict(positive, "conditional").to_numpy(), rel=1e-5
    )
    if form == "slopes" and family == POISSON:
        both = pd.concat([counts.conf_int(method="profile"), zeros.conf_int(method="profile")])
        assert fit.conf_int(method="profile").to_numpy() == pytest.approx(both.to_numpy(), rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("argument", [INFLATED, PASSED])
def test_clusters_of_zeros_alone(form: str, argument: str) -> None:
    """Behind a hurdle they say nothing of their effects; zeros that may be counts say that these are low."""
    fit = fitted(form, argument, **({"quadrature": "laplace"} if form == "crossed" else {}))
    table = fit.random_effects
    own = table[(table["group"] == "a") & (table["label"] == 3) & (table["effect"] == "(Intercept)")].iloc[0]
    sd = fit.variance_components["estimate"].iloc[0]
    if argument == PASSED:
        assert own["mode"] == pytest.approx(0.0, abs=1e-12)
        assert own["sd"] == pytest.approx(sd, rel=1e-6)
        assert form == "crossed" or "1 cluster has zeros alone, and no part" in str(fit)
        return
    assert own["mode"] < -0.3 * sd
    assert own["sd"] < sd


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", [POISSON, NB])
def test_without_more_zeros_it_is_the_plain_model(form: str, family: str) -> None:
    data = drawn(form, 0.5 if family == NB else 0.0, certain=-40.0)
    data = data[(data["y"] > 0) | (data.index % 40 == 0)].reset_index(drop=True)
    rule = {"quadrature": "laplace"}
    fit = cg.random_effects(f"y ~ {FORMS[form]}", data, family=family, zero_inflation="~ 1", **rule)
    plain = cg.random_effects(f"y ~ {FORMS[form]}", data, family=family, **rule)
    assert fit.loglik == plain.loglik
    assert fit.params.iloc[:-1].to_numpy() == pytest.approx(plain.params.to_numpy(), rel=1e-12)
    assert fit.bse.iloc[:-1].to_numpy() == pytest.approx(plain.bse.to_numpy(), rel=1e-12)
    assert fit.params["zero: (Intercept)"] == -np.inf
    assert np.isnan(fit.bse["zero: (Intercept)"])
    assert fit.zero_inflation_lr_test.statistic == 0.0
    assert fit.random_effects["mode"].to_numpy() == pytest.approx(plain.random_effects["mode"].to_numpy(), abs=1e-6)
    assert fit.predict(kind="marginal").to_numpy() == pytest.approx(plain.predict(kind="marginal").to_numpy(), rel=1e-8)
    assert "no zero is one for certain" in " ".join(str(fit).split())
    with pytest.raises(OptionError, match="P\\(a zero for certain\\)"):
        fit.conf_int(method="profile")


def test_where_alpha_is_zero_it_is_the_poisson_fit() -> None:
    data = drawn("slopes", seed=6)
    of_poisson, fit = (
        cg.random_effects("y ~ x + (x | a)", data, family=family, zero_inflation="~ z") for family in (POISSON, NB)
    )
    if fit.family_parameters["alpha"] == 0.0:
        assert fit.loglik == of_poisson.loglik
        assert fit.params.equals(of_poisson.params)
        assert fit.bse.equals(of_poisson.bse)
        assert fit.predict(kind="marginal", scale="zero").to_numpy() == pytest.approx(
            of_poisson.predict(kind="marginal", scale="zero").to_numpy()
        )
        assert "alpha = 0" in str(fit)
    assert fit.loglik >= of_poisson.loglik
    assert fit.dispersion_lr_test.statistic == pytest.approx(max(0.0, 2.0 * (fit.loglik - of_poisson.loglik)))


@pytest.mark.parametrize("family", [POISSON, NB])
def test_without_effects_of_what_is_nested_it_is_the_fit_of_one_intercept(family: str) -> None:
    """By other code, in the core too."""
    for seed in range(3, 40):
        data = drawn("slopes", 0.4 if family == NB else 0.0, seed=seed).drop(columns="b")
        data["b"] = data["a"] * 3 + np.arange(len(data)) % 3
        nested = cg.random_effects("y ~ x + (1 | a/b)", data, family=family, zero_inflation="~ z")
        if nested.variance_components["estimate"].iloc[1] == 0.0:
            break
    one = cg.random_effects("y ~ x", data, cluster="a", family=family, zero_inflation="~ z")
    assert nested.variance_components["estimate"].to_list() == pytest.approx([one.sigma, 0.0], abs=1e-5)
    assert nested.loglik == pytest.approx(one.loglik, abs=1e-6)
    assert nested.params.to_numpy() == pytest.approx(one.params.to_numpy(), abs=1e-5)
    assert nested.bse.to_numpy() == pytest.approx(one.bse.to_numpy(), rel=1e-4)
    for scale in ("response", "count", "zero", "excess"):
        for kind in ("typical", "marginal", "conditional"):
            ours, theirs = (fit.predict(kind=kind, scale=scale).to_numpy() for fit in (nested, one))
            assert ours == pytest.approx(theirs, rel=1e-4)
    ours, theirs = (fit.predict(kind="marginal", level=0.9)["std_error"].to_numpy() for fit in (nested, one))
    assert ours == pytest.approx(theirs, rel=1e-3)


# What follows a fit ---------------------------------------------------------------------------------------------------

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
    with pytest.raises(OptionError, match="an interval of a 'conditional' prediction"):
        fit.predict(kind="conditional", level=0.9)


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
