"""Counts with zero inflation or a hurdle, and slopes, nested or crossed effects: dense sums, limits, what follows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm

import clusterglm as cg
from clusterglm.errors import OptionError

sys.path.insert(0, str(Path(__file__).parent))
from zeros_for_tests import FORMS, INFLATED, NB, PASSED, POISSON, drawn, fitted, log_p

GOLDEN = Path(__file__).parents[1] / "golden"
GLMMTMB = {record["call"]: record for record in json.loads((GOLDEN / "zero_inflated.json").read_text())["glmmTMB"]}


# The likelihood by sums that share no code with the package ----------------------------------------------------------


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
    assert fit.family_parameters["alpha"] == 0.0
    assert fit.loglik == of_poisson.loglik
    assert fit.params.equals(of_poisson.params)
    assert fit.bse.equals(of_poisson.bse)
    assert fit.predict(kind="marginal", scale="zero").to_numpy() == pytest.approx(
        of_poisson.predict(kind="marginal", scale="zero").to_numpy()
    )
    assert "alpha = 0" in str(fit)
    assert fit.dispersion_lr_test.statistic == 0.0


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
