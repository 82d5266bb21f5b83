"""Penalised quasi-likelihood: published estimates, other programs', a dense oracle, and all that has no likelihood."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import norm
from typer.testing import CliRunner

import clusterglm as cg
from clusterglm.cli import app
from clusterglm.errors import ClusterError, ClusterGLMError, ConvergenceWarning, OptionError
from clusterglm.results.tables.export import as_dict

sys.path.insert(0, str(Path(__file__).parent.parent / "weights"))
from members import called, members

GOLDEN = Path(__file__).parent.parent / "golden"
KNOWN = json.loads((GOLDEN / "pql.json").read_text())
FORMS = ("pql", "pql-ml")


def fitted(formula: str, data: pd.DataFrame, quadrature: str = "pql", **options: Any) -> Any:
    return cg.random_effects(formula, data, quadrature=quadrature, **options)


def simulated(family: str = "binomial", seed: int = 0, m: int = 20, size: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(m), size)
    h, k = rng.integers(0, 7, len(g)), g * 2 + np.tile([0, 1], len(g) // 2)
    x = rng.normal(size=len(g)).round(2)
    eta = 0.3 + 0.6 * x + rng.normal(size=m)[g] + 0.7 * rng.normal(size=7)[h] + 0.5 * rng.normal(size=m)[g] * x
    eta += 0.6 * rng.normal(size=2 * m)[k]
    y = rng.binomial(1, expit(eta)) if family == "binomial" else rng.poisson(np.exp(0.4 * eta))
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h, "k": k, "o": rng.normal(size=len(g)).round(1)})


@pytest.fixture(scope="module")
def bacteria() -> Any:
    return {form: fitted("y ~ trt + I(week > 2) + (1 | ID)", cg.datasets.load("bacteria"), form) for form in FORMS}


# Other programs, and what is published --------------------------------------------------------------------------------


def test_glmmpql_of_an_intercept(bacteria: Any) -> None:
    """It stops while the linear predictor still moves in the fourth digit; ours does not move at all."""
    known, fit = KNOWN["glmmPQL_bacteria"], bacteria["pql-ml"]
    np.testing.assert_allclose(fit.params, list(known["coef"].values()), rtol=2e-4)
    np.testing.assert_allclose(fit.bse * np.sqrt(220 / 216), known["summary_se"], rtol=5e-4)
    assert fit.sigma == pytest.approx(known["sds"]["(Intercept)"], rel=5e-4)
    assert fit.family_parameters["residual_sd"] == pytest.approx(known["residual_sd"], rel=2e-5)
    assert fit.dispersion == pytest.approx(0.608, abs=5e-4)


def test_glmmpql_of_a_slope() -> None:
    known = KNOWN["glmmPQL_epil2"]
    data = pd.read_csv(GOLDEN / "data" / "epil2.csv")
    fit = fitted(known["formula"], data, "pql-ml", family="poisson")
    assert fit.converged
    ours = fit.params.rename({"Base:trt[T.progabide]": "Base:trtprogabide"})
    np.testing.assert_allclose(ours, list(known["coef"].values()), rtol=1e-4)
    np.testing.assert_allclose(fit.bse, list(known["se"].values()), rtol=1e-4)
    covariance = fit.effects_covariance().to_numpy()
    np.testing.assert_allclose(np.diag(covariance), list(known["variances"].values()), rtol=2e-4)
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) == pytest.approx(
        known["correlation"], abs=5e-4
    )
    assert fit.family_parameters["residual_sd"] == pytest.approx(known["residual_sd"], rel=1e-4)


def test_seeds_of_breslow_and_clayton() -> None:
    known = KNOWN["seeds"]
    data = pd.DataFrame({name: known[name] for name in ("r", "n", "seed", "extract")}).assign(plate=range(21))
    fit = fitted("cbind(r, n - r) ~ seed * extract + (1 | plate)", data)
    np.testing.assert_allclose(fit.params, known["coef"], atol=6e-4)
    np.testing.assert_allclose(fit.bse, known["se"], atol=6e-4)
    assert fit.sigma == pytest.approx(known["sd"], abs=6e-4)
    assert fit.sigma_se == pytest.approx(known["sd_se"], abs=6e-4)
    with pytest.raises(ClusterError, match="none with two responses"):  # a plate is a row: no dispersion beside it
        fitted("cbind(r, n - r) ~ seed * extract + (1 | plate)", data, "pql-ml")


# An oracle that shares no code: dense matrices ------------------------------------------------------------------------


LINKS = {
    "logit": (expit, lambda eta: expit(eta) * expit(-eta), lambda mu: mu * (1.0 - mu)),
    "probit": (norm.cdf, norm.pdf, lambda mu: mu * (1.0 - mu)),
    "cloglog": (
        lambda eta: -np.expm1(-np.exp(eta)), lambda eta: np.exp(eta - np.exp(eta)), lambda mu: mu * (1.0 - mu)
    ),
    "log": (np.exp, np.exp, lambda mu: mu),
}  # fmt: skip


def dense_pql(y: Any, X: Any, blocks: Any, link: str, form: str, offset: Any = 0.0) -> Any:
    """Coefficients, their standard errors, covariances of the blocks, dispersion, effects' part of the predictor.

    `blocks` are designs (n, levels, d) of factors with free covariances L L' each.
    """
    mean, slope, variance = LINKS[link]
    n = len(X)
    counts = [Z.shape[2] * (Z.shape[2] + 1) // 2 for Z in blocks]
    free = form == "pql-ml"

    def factors(theta: Any) -> list[Any]:
        found, first = [], 0
        for Z, count in zip(blocks, counts, strict=True):
            L = np.zeros((Z.shape[2],) * 2)
            L[np.tril_indices(Z.shape[2])] = theta[first : first + count]
            found.append(L)
            first += count
        return found

    def between(theta: Any) -> Any:
        whole = np.zeros((n, n))
        for Z, L in zip(blocks, factors(theta), strict=True):
            scaled = Z @ L
            whole += np.einsum("ila,jla->ij", scaled, scaled)
        return whole

    def solved(theta: Any, z: Any, w: Any) -> Any:
        phi = np.exp(theta[-1]) if free else 1.0
        V = between(theta) + np.diag(phi / w)
        inverse = np.linalg.inv(V)
        information = X.T @ inverse @ X
        beta = np.linalg.solve(information, X.T @ inverse @ z)
        left = z - X @ beta
        value = -0.5 * np.linalg.slogdet(V)[1] - 0.5 * left @ inverse @ left
        if not free:
            value -= 0.5 * np.linalg.slogdet(information)[1]
        return value, beta, information, between(theta) @ inverse @ left

    theta = np.concatenate([np.eye(Z.shape[2])[np.tril_indices(Z.shape[2])] for Z in blocks])
    theta = np.append(theta, 0.0) if free else theta
    eta = np.full(n, 0.1) + offset
    for _ in range(100):
        mu = mean(eta)
        z, w = eta - offset + (y - mu) / slope(eta), slope(eta) ** 2 / variance(mu)
        found = minimize(lambda t, z=z, w=w: -solved(t, z, w)[0], theta, method="BFGS", options={"gtol": 1e-8})
        theta = found.x
        _, beta, information, effects = solved(theta, z, w)
        new = X @ beta + effects + offset
        moved = float(np.abs(new - eta).max())
        eta = new
        if moved < 1e-7:
            break
    else:
        raise AssertionError("the oracle did not settle")
    covariances = [L @ L.T for L in factors(theta)]
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    return beta, errors, covariances, float(np.exp(theta[-1])) if free else 1.0, effects


def block(codes: Any, *columns: Any) -> Any:
    """A design (n, levels, d)."""
    one = np.equal.outer(codes.to_numpy(), np.unique(codes)).astype(float)
    return np.stack([one * column[:, None] for column in columns], axis=2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("random", "link"),
    [
        *(("(1 | g)", link) for link in LINKS), ("(x | g)", "logit"), ("(x | g)", "log"), ("(1 | g/k)", "probit"),
        ("(1 | g/k)", "log"), ("(1 | g) + (1 | h)", "logit"), ("(1 | g) + (1 | h)", "cloglog"),
    ],
)  # fmt: skip
def test_dense_matrices(random: str, link: str, form: str) -> None:
    family = "poisson" if link == "log" else "binomial"
    data = simulated(family, seed=3, m=12)
    ones, x = np.ones(len(data)), data.x.to_numpy()
    blocks = {
        "(1 | g)": [block(data.g, ones)],
        "(x | g)": [block(data.g, ones, x)],
        "(1 | g) + (1 | h)": [block(data.g, ones), block(data.h, ones)],
        "(1 | g/k)": [block(data.g, ones), block(data.k, ones)],
    }[random]
    fit = fitted(f"y ~ x + {random} + offset(o / 4)", data, form, family=family, link=link)
    X = np.column_stack([ones, x])
    beta, errors, covariances, phi, effects = dense_pql(data.y.to_numpy(), X, blocks, link, form, data.o.to_numpy() / 4)
    assert fit.converged
    np.testing.assert_allclose(fit.params, beta, atol=2e-5)
    np.testing.assert_allclose(fit.bse, errors, atol=2e-5)
    assert fit.dispersion == pytest.approx(phi, rel=2e-5)
    groups = list(fit.variance_components["group"].drop_duplicates())
    for group, covariance in zip(groups, covariances, strict=True):
        np.testing.assert_allclose(fit.effects_covariance(group), covariance, atol=5e-5)
    eta = fit.predict(kind="conditional", scale="link").to_numpy()
    np.testing.assert_allclose(eta, X @ beta + data.o / 4 + effects, atol=5e-5)


# The same model in other words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_units_and_order_do_not_matter(form: str) -> None:
    data = simulated(seed=1)
    one = fitted("y ~ x + (x | g)", data, form)
    other = fitted("y ~ v + (v | g)", data.assign(v=5.0 + 1000.0 * data.x).sample(frac=1.0, random_state=1), form)
    assert other.params["v"] == pytest.approx(one.params["x"] / 1000.0, rel=1e-6)
    assert other.bse["v"] == pytest.approx(one.bse["x"] / 1000.0, rel=1e-6)
    covariance = one.effects_covariance().to_numpy()
    back = np.array([[1.0, -0.005], [0.0, 0.001]])
    np.testing.assert_allclose(other.effects_covariance(), back @ covariance @ back.T, rtol=1e-4, atol=1e-9)
    assert other.dispersion == pytest.approx(one.dispersion, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_repeats(form: str) -> None:
    data = simulated(seed=2).assign(w=lambda d: 1 + (np.arange(len(d)) % 3 == 0), c=lambda d: 1 + (d.g % 2))
    rows = fitted("y ~ x + (1 | g)", data, form, weights="w")
    written = fitted("y ~ x + (1 | g)", data.loc[data.index.repeat(data.w)], form)
    clusters = fitted("y ~ x + (1 | g)", data, form, cluster_weights="c")
    copies = pd.concat([data, data[data.c == 2].assign(g=lambda d: d.g + 100)])
    twice = fitted("y ~ x + (1 | g)", copies, form)
    for one, other in ((rows, written), (clusters, twice)):
        np.testing.assert_allclose(one.conf_int(), other.conf_int(), rtol=1e-5, atol=1e-6)
    assert rows.n_obs == written.n_obs
    if form == "pql":
        np.testing.assert_array_equal(rows.simulate(2, seed=1).to_numpy(), written.simulate(2, seed=1).to_numpy())


def test_trials_are_single_rows_where_the_dispersion_is_1() -> None:
    data = simulated(seed=4, m=30)
    data["x"] = (data.x > 0.0) * 1.0
    grouped = data.groupby(["g", "x"], as_index=False)["y"].agg(["sum", "count"])
    grouped["f"] = grouped["count"] - grouped["sum"]
    one, other = fitted("y ~ x + (1 | g)", data), fitted("cbind(sum, f) ~ x + (1 | g)", grouped)
    np.testing.assert_allclose(one.conf_int(), other.conf_int(), rtol=1e-6)


def test_a_start_does_not_matter() -> None:
    data = simulated("poisson", seed=5)
    one, other = (fitted("y ~ x + (x | g)", data, family="poisson", start=start) for start in (None, [1.0, -1.0]))
    np.testing.assert_allclose(one.conf_int(), other.conf_int(), rtol=1e-5)


def test_clusters_that_do_not_differ() -> None:
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(10), 8), "x": rng.normal(size=80)})
    data["y"] = np.tile([0, 1], 40)
    fit = fitted("y ~ x + (1 | g)", data)
    assert fit.singular
    assert fit.sigma == 0.0
    assert np.isnan(fit.sigma_se)
    np.testing.assert_allclose(fit.params, cg.pooled("y ~ x", data).params, rtol=1e-6)
    assert "on the boundary" in str(fit)
    assert (fit.random_effects["mode"] == 0.0).all()


# Convergence ----------------------------------------------------------------------------------------------------------


def test_no_convergence_is_said() -> None:
    data = simulated()
    with pytest.warns(ConvergenceWarning, match="working models still moved the linear predictor"):
        fit = fitted("y ~ x + (x | g)", data, control=cg.Control(max_iter=3))
    assert not fit.converged
    assert "stopped at the iteration limit" in str(fit)
    seen: list[Any] = []
    with pytest.warns(ConvergenceWarning, match="progress callback"):
        fitted("y ~ x + (x | g)", data, control=cg.Control(progress=lambda step: seen.append(step) or len(seen) < 2))
    assert [step.iteration for step in seen] == [1, 2]


def test_where_glmmpql_does_not_converge() -> None:
    """Slopes of the toenail data: R's fails; a fixed point is found, from which nothing moves."""
    data = pd.read_csv(GOLDEN / "data" / "toenail.csv")
    for form in FORMS:
        fit = fitted("y ~ treatment * time + (time | patientID)", data, form)
        assert fit.converged
        task = fit.fit.task
        best = task.best(task.moments(fit.fit.phi * fit.fit.residual_sd**-task.exponents).S)
        assert np.abs(best.beta / fit.bse).max() < 1e-6


def test_it_is_biased_and_the_exact_fit_is_not(bacteria: Any) -> None:
    data = cg.datasets.load("bacteria")
    exact = cg.random_effects("y ~ trt + I(week > 2) + (1 | ID)", data)
    assert bacteria["pql"].sigma < 0.9 * exact.sigma
    assert "Breslow and Lin 1995" in str(bacteria["pql"])
    many = pd.DataFrame({"g": np.repeat(np.arange(8), 2), "s": 40, "f": np.tile([30, 50], 8)})
    assert "Bias" not in str(fitted("cbind(s, f) ~ 1 + (1 | g)", many.assign(s=many.s + 3 * many.g)))


# After the fit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_marginal_means_are_averages(family: str) -> None:
    data = simulated(family)
    fit = fitted("y ~ x + (x | g)", data, family=family)
    u, w = np.polynomial.hermite_e.hermegauss(60)
    Z = np.column_stack([np.ones(len(data)), data.x])
    sd = np.sqrt(np.einsum("ij,jk,ik->i", Z, fit.effects_covariance().to_numpy(), Z))
    at = (Z @ fit.params.to_numpy())[:, None] + sd[:, None] * u
    means = LINKS["log" if family == "poisson" else "logit"][0](at) @ w / w.sum()
    np.testing.assert_allclose(fit.predict(kind="marginal"), means, rtol=1e-8)


def test_standard_errors_of_marginal_means_against_differences() -> None:
    data = simulated(seed=1)
    fit = fitted("y ~ x + (x | g)", data)
    assert not fit.singular
    theta, V = fit.fit.theta, fit.fit.covariance

    def link(at: Any) -> Any:
        moved = replace(fit, fit=replace(fit.fit, beta=at[:2], phi=at[2:]))
        return moved.predict(kind="marginal", scale="link").to_numpy()

    steps = 1e-5 * np.eye(len(theta))
    slopes = np.stack([(link(theta + step) - link(theta - step)) / 2e-5 for step in steps], axis=1)
    found = fit.predict(kind="marginal", scale="link", level=0.95)
    np.testing.assert_allclose(found["std_error"], np.sqrt(np.einsum("ij,jk,ik->i", slopes, V, slopes)), rtol=1e-6)


def test_predictions_of_effects_and_residuals(bacteria: Any) -> None:
    fit, data = bacteria["pql-ml"], cg.datasets.load("bacteria")
    modes = fit.random_effects.set_index("label")["mode"]
    typical, own = (fit.predict(kind=kind, scale="link") for kind in ("typical", "conditional"))
    np.testing.assert_allclose(own - typical, modes[data.ID].to_numpy(), atol=1e-12)
    mean = fit.predict(kind="conditional")
    left = (data.y == "y") * 1.0 - mean
    np.testing.assert_allclose(fit.residuals(), left, atol=1e-12)
    pearson = left / np.sqrt(fit.dispersion * mean * (1.0 - mean))
    np.testing.assert_allclose(fit.residuals("pearson"), pearson, rtol=1e-9)
    assert np.mean(fit.residuals("pearson", "typical") ** 2) > np.mean(pearson**2)
    new = data.head(2).assign(ID="new")
    with pytest.raises(OptionError, match='unseen="marginal"'):
        fit.predict(new, "conditional", unseen="marginal")
    assert fit.predict(new, "marginal").notna().all()


NO_LIKELIHOOD = ("loglik", "llf", "aic", "bic", "deviance", "clustering_test", "drop_one", "test_clustering", "sample")


@pytest.mark.parametrize("form", FORMS)
def test_what_needs_a_likelihood_refuses(bacteria: Any, form: str) -> None:
    fit = bacteria[form]
    for name in NO_LIKELIHOOD:
        with pytest.raises(
            OptionError, match=f"{name} of a fit by penalised quasi-likelihood, which maximises no like"
        ):
            getattr(fit, name)()
    exact = cg.random_effects("y ~ trt + I(week > 2) + (1 | ID)", cg.datasets.load("bacteria"))
    for pair in ((fit, exact), (exact, fit)):
        with pytest.raises(OptionError, match="a comparison of fit"):
            cg.compare(*pair)
    with pytest.raises(OptionError, match="profile"):
        fit.conf_int(method="profile")
    assert fit.glance()[["loglik", "aic", "bic", "deviance"]].isna().all(axis=None)
    assert "no likelihood" in str(fit)
    assert as_dict(fit)["fit"]["loglik"] is None
    if form == "pql-ml":
        for draw in (fit.simulate, fit.bootstrap):
            with pytest.raises(OptionError, match="dispersion"):
                draw()
    else:
        assert len(fit.bootstrap(5, seed=1).replicates) == 5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("random", ["(1 | g)", "(x | g)", "(1 | g) + (1 | h)"])
def test_every_member_works_or_says_why_not_and_from_a_file_too(random: str, form: str, tmp_path: Path) -> None:
    fit = fitted(f"y ~ x + {random}", simulated(), form)
    fit.save(tmp_path / "fit.json.gz")
    again = cg.load(tmp_path / "fit.json.gz")
    assert str(again) == str(fit)
    for name in members(type(fit)):
        for call in called(fit, name):
            if isinstance(call.value, Exception):
                assert isinstance(call.value, ClusterGLMError), (str(call), call.value)
                assert "needed:" in str(call.value)
    for kind in ("typical", "conditional", "marginal"):
        pd.testing.assert_frame_equal(again.predict(kind=kind, level=0.9), fit.predict(kind=kind, level=0.9))
    assert "penalised quasi-likelihood" in fit.report(tmp_path / "fit.html", n_boot=0).read_text()


# What it is not for ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"family": "negative_binomial"}, "'binomial' or 'poisson'"),
        ({"family": "gaussian"}, "'binomial' or 'poisson'"),
        ({"family": "ordinal"}, "'binomial' or 'poisson'"),
        ({"distribution": "cauchy"}, "gaussian"),
        ({"scale": "density"}, "normal"),
        ({"sigma": 1.0, "fix_sigma": True}, "estimated"),
        ({"penalty": "soft"}, "no penalty"),
        ({"separation": "limit"}, "error"),
        ({"reml": True}, "REML"),
        ({"inside": "g"}, "no choice"),
    ],
)
def test_refused_beside_it(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        fitted("y ~ x", simulated(), cluster="g", **options)


def test_only_random_effects_has_it(tmp_path: Path) -> None:
    data = simulated()
    with pytest.raises(OptionError, match="penalised quasi-likelihood, which computes no integral"):
        cg.select_distribution("y ~ x", data, cluster="g", quadrature="pql")
    for part in range(2):
        data[data.g % 2 == part].to_parquet(tmp_path / f"{part}.parquet")
    with pytest.raises(OptionError, match="data that are read block by block"):
        fitted("y ~ x", tmp_path / "*.parquet", cluster="g")  # type: ignore[arg-type]


def test_in_a_shell(tmp_path: Path) -> None:
    simulated().to_csv(tmp_path / "data.csv", index=False)
    saved = tmp_path / "fit.json"
    ran = CliRunner().invoke(
        app, ["fit", str(tmp_path / "data.csv"), "y ~ x + (x | g)", "--quadrature", "pql", "--save", str(saved)]
    )
    assert ran.exit_code == 0, ran.output
    assert "penalised quasi-likelihood: no likelihood" in ran.output
    assert cg.load(saved).fit.quasi == "pql"
