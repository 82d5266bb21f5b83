"""Counts with a hurdle: the sum of two fits, other programs' numbers, what follows a fit, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import nbinom, norm, poisson

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, OptionError, ResponseError, SeparationError

GOLDEN = Path(__file__).parents[1] / "golden"
GLMMTMB = {record["call"]: record for record in json.loads((GOLDEN / "zero_inflated.json").read_text())["glmmTMB"]}
POISSON, NB = "poisson", "negative_binomial"


def drawn(alpha: float = 0.0, sigma: float = 0.0, seed: int = 1, m: int = 60, n: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    cluster, x, z = np.repeat(np.arange(m), n), rng.normal(size=m * n), rng.normal(size=m * n)
    mean = np.exp(0.9 + 0.5 * x + sigma * rng.normal(size=m)[cluster])
    y = np.zeros(m * n, dtype=int)
    while (y == 0).any():
        again = rng.poisson(mean * (rng.gamma(1.0 / alpha, alpha, m * n) if alpha > 0.0 else 1.0))
        y = np.where(y == 0, again, y)
    y = np.where(rng.random(m * n) < expit(-0.4 + 0.8 * z), 0, y)
    return pd.DataFrame({"y": y, "x": x, "z": z, "id": cluster, "w": rng.integers(1, 4, m * n)})


def log_probability(y: Any, mu: Any, p0: Any, alpha: float = 0.0) -> Any:
    """By scipy's distributions."""
    counts = poisson(mu) if alpha == 0.0 else nbinom(1.0 / alpha, 1.0 / (1.0 + alpha * mu))
    with np.errstate(divide="ignore"):
        return np.where(y == 0, np.log(p0), np.log1p(-p0) + counts.logpmf(y) - np.log1p(-counts.pmf(0)))


@pytest.fixture(scope="module")
def salamanders() -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "data" / "salamanders.csv")


@pytest.fixture(scope="module")
def mined(salamanders: pd.DataFrame) -> Any:
    return cg.random_effects("count ~ mined + spp", salamanders, cluster="site", family=POISSON, hurdle="~ mined")


@pytest.fixture(scope="module")
def pooled_nb() -> Any:
    return cg.pooled("y ~ x", drawn(0.5), family=NB, hurdle="~ z")


@pytest.mark.parametrize(("family", "theirs"), [(POISSON, "truncated_poisson"), (NB, "truncated_nbinom2")])
def test_laplace_is_glmmtmbs(salamanders: pd.DataFrame, family: str, theirs: str) -> None:
    call = f"glmmTMB(count ~ mined + spp + (1 | site), data = d, family = {theirs}, ziformula = ~ mined)"
    known = GLMMTMB[call]
    fit = cg.random_effects(
        "count ~ mined + spp", salamanders, cluster="site", family=family, hurdle="~ mined", quadrature="laplace"
    )
    assert fit.loglik == pytest.approx(known["logLik"], abs=1e-5)
    their = np.array([*known["coef"].values(), *known["zi_coef"].values()])
    assert (np.abs(fit.params.to_numpy() - their) / fit.bse.to_numpy()).max() < 2e-3  # where theirs stopped
    assert fit.bse.to_numpy()[: len(known["se"])] == pytest.approx([*known["se"].values()], rel=1e-2)


@pytest.mark.parametrize("family", [POISSON, NB])
def test_the_log_likelihood_is_the_sum_of_the_parts_fitted_apart(family: str) -> None:
    data = drawn(0.5 if family == NB else 0.0, 0.6, seed=3)
    zeros = cg.pooled("none ~ z", data.assign(none=(data["y"] == 0) * 1))
    positive = data[data["y"] > 0]
    for verb, more in ((cg.pooled, {}), (cg.random_effects, {"cluster": "id"})):
        fit: Any = verb("y ~ x", data, family=family, hurdle="~ z", **more)
        counts: Any = verb("y ~ x", positive, family=f"truncated_{family}", **more)
        assert fit.loglik == pytest.approx(zeros.loglik + counts.loglik, abs=1e-8)
        together = np.concatenate([counts.params, zeros.params])
        assert fit.params.to_numpy() == pytest.approx(together, rel=1e-7)
        assert fit.bse.to_numpy() == pytest.approx(np.concatenate([counts.bse, zeros.bse]), rel=1e-6)
        assert fit.n_parameters == counts.n_parameters + zeros.n_parameters
        c = fit.cov().to_numpy()
        assert (c[: -len(zeros.params), -len(zeros.params) :] == 0.0).all()
        for method in ("wald", "profile"):
            ours = fit.conf_int(method=method)
            theirs = pd.concat([counts.conf_int(method=method), zeros.conf_int(method=method)])
            assert ours.to_numpy() == pytest.approx(theirs.to_numpy(), rel=1e-5)
        if more:
            assert fit.sigma == pytest.approx(counts.sigma, rel=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_pooled_maxima_are_those_of_a_general_optimiser(alpha: float) -> None:
    data = drawn(alpha, seed=5)
    fit = cg.pooled("y ~ x", data, family=NB if alpha else POISSON, hurdle="~ z")
    y, x, z = (data[name].to_numpy() for name in ("y", "x", "z"))

    def minus(theta: Any) -> float:
        dispersion = float(np.exp(theta[4])) if alpha else 0.0
        each = log_probability(y, np.exp(theta[0] + theta[1] * x), expit(theta[2] + theta[3] * z), dispersion)
        return -float(each.sum()) if np.isfinite(each).all() else 1e6

    found = minimize(minus, [0.5, 0.2, -0.5, 0.0, *([np.log(0.3)] if alpha else [])], method="BFGS", tol=1e-9)
    assert fit.loglik == pytest.approx(-found.fun, abs=1e-7)
    assert fit.params.to_numpy() == pytest.approx(found.x[:4], abs=5e-5)


def test_the_log_likelihood_of_random_intercepts_is_the_integral(mined: Any, salamanders: pd.DataFrame) -> None:
    u = np.linspace(-9.0, 9.0, 2001)
    eta = mined.predict(scale="link").to_numpy()
    p0, y = mined.predict(scale="zero").to_numpy(), salamanders["count"].to_numpy()
    each = log_probability(y[:, None], np.exp(eta[:, None] + mined.sigma * u), p0[:, None])
    total = 0.0
    for site in salamanders["site"].unique():
        inside = each[(salamanders["site"] == site).to_numpy()].sum(axis=0) + norm.logpdf(u)
        total += float(np.logaddexp.reduce(inside) + np.log(u[1] - u[0]))
    assert mined.loglik == pytest.approx(total, abs=1e-7)


def test_clusters_of_zeros_are_counted_and_know_nothing(mined: Any, salamanders: pd.DataFrame) -> None:
    silent = salamanders.groupby("site")["count"].sum().eq(0)
    assert f"{silent.sum()} cluster" in str(mined)
    table = mined.random_effects.set_index("label")
    for site in silent.index[silent]:
        assert table.loc[site, "mode"] == 0.0
        assert table.loc[site, "sd"] == mined.sigma
    assert (table.loc[silent.index[~silent], "sd"] < mined.sigma).all()


@pytest.mark.parametrize("kind", ["typical", "marginal", "conditional"])
def test_predictions_are_the_models(mined: Any, kind: str) -> None:
    mean, count, zero = (mined.predict(kind=kind, scale=s) for s in ("response", "count", "zero"))
    assert mean.to_numpy() == pytest.approx(((1.0 - zero) * count).to_numpy(), rel=1e-10)
    eta = mined.predict(scale="link").to_numpy()
    if kind == "typical":
        assert count.to_numpy() == pytest.approx(np.exp(eta) / -np.expm1(-np.exp(eta)), rel=1e-9)
    if kind == "marginal":
        u = np.linspace(-8.0, 8.0, 4001)
        mu = np.exp(eta[:, None] + mined.sigma * u)
        assert count.to_numpy() == pytest.approx(
            ((mu / -np.expm1(-mu)) * norm.pdf(u)).sum(axis=1) * (u[1] - u[0]), rel=1e-7
        )
    assert mined.predict(kind="typical", scale="zero").to_numpy() == pytest.approx(zero.to_numpy(), rel=1e-12)
    with pytest.raises(OptionError, match="excess"):
        mined.predict(scale="excess")


@pytest.mark.parametrize("scale", ["response", "count", "zero"])
def test_standard_errors_of_predictions_are_the_delta_methods(pooled_nb: Any, scale: str) -> None:
    rows = pd.DataFrame({"x": [0.3, -1.0], "z": [0.2, 1.5]})
    table = pooled_nb.predict(rows, scale=scale, level=0.95)

    def value(theta: Any) -> Any:
        mu, p0, r = np.exp(theta[0] + theta[1] * rows["x"]), expit(theta[3] + theta[4] * rows["z"]), 1.0 / theta[2]
        count = mu / (1.0 - (1.0 + mu / r) ** -r)
        return {"response": (1.0 - p0) * count, "count": count, "zero": p0}[scale].to_numpy()

    theta = np.concatenate([pooled_nb.params[:2], pooled_nb.family_parameters, pooled_nb.params[2:]])
    assert table["estimate"].to_numpy() == pytest.approx(value(theta), rel=1e-8)
    steps = np.eye(5) * 1e-5
    gradient = np.array([(value(theta + h) - value(theta - h)) / 2e-5 for h in steps])
    variance = np.einsum("ki,kl,li->i", gradient, pooled_nb.cov().to_numpy(), gradient)
    assert table["std_error"].to_numpy() == pytest.approx(np.sqrt(variance), rel=1e-4)


def test_draws_and_residuals(mined: Any, pooled_nb: Any) -> None:
    many = pooled_nb.simulate(300, seed=2)
    assert (many == 0).to_numpy().mean() == pytest.approx(pooled_nb.predict(scale="zero").mean(), abs=0.005)
    assert many.to_numpy().mean() == pytest.approx(pooled_nb.predict().mean(), rel=0.015)
    z = pooled_nb.residuals("quantile", seed=1)
    assert abs(z.mean()) < 0.15
    assert z.std() == pytest.approx(1.0, abs=0.12)
    assert pooled_nb.residuals("pearson").var() == pytest.approx(1.0, abs=0.3)
    for intercepts in ("marginal", "conditional", "typical"):
        assert mined.residuals("quantile", intercepts, seed=1).notna().all()
    assert 0.9 < mined.zero_inflation_test(40, seed=1).ratio < 1.1


def test_robust_errors_of_both_parts(mined: Any, pooled_nb: Any) -> None:
    for fit in (mined, pooled_nb):
        scores, _ = fit._free_scores()
        assert np.abs(scores.sum(axis=0)).max() < 1e-3
        robust = fit.cov("robust")
        assert np.isfinite(robust.to_numpy()).all()
    names = list(mined.cov())
    assert abs(mined.cov("robust").loc[names[0], names[-1]]) > 0.0  # clusters have both parts


def test_tables_and_files(mined: Any, pooled_nb: Any, tmp_path: Path) -> None:
    text = str(mined)
    assert text.index("Counts that are not 0") < text.index("Zeros (log odds of y = 0):")
    assert "Hurdle:" in text
    assert pooled_nb.glance().iloc[0]["hurdle"] == "~ z"
    assert "hurdle" in str(cg.compare(mined, mined.pooled))
    for fit in (mined, pooled_nb):
        fit.save(tmp_path / "fit.json")
        again = cg.load(tmp_path / "fit.json")
        assert str(again) == str(fit)
        assert again.conf_int(method="profile").equals(fit.conf_int(method="profile"))
        assert again.predict(scale="zero").equals(fit.predict(scale="zero"))
    wider = cg.update(pooled_nb, "~ . + z", drawn(0.5))
    assert (wider.hurdle, len(wider.params)) == ("~ z", 5)


@pytest.mark.parametrize("family", [POISSON, NB])
def test_whole_weights_are_repeats(family: str) -> None:
    data = drawn(0.4, 0.5, seed=17, m=25, n=4)
    repeated = data.loc[data.index.repeat(data["w"])]
    for verb, more in ((cg.pooled, {}), (cg.random_effects, {"cluster": "id"})):
        fit: Any = verb("y ~ x", data, family=family, weights="w", hurdle="~ z", **more)
        long: Any = verb("y ~ x", repeated, family=family, hurdle="~ z", **more)
        assert fit.loglik == pytest.approx(long.loglik, abs=1e-7)
        assert fit.params.to_numpy() == pytest.approx(long.params.to_numpy(), abs=1e-5)
        assert len(fit.simulate(1, seed=1)) == long.n_obs


def test_what_is_refused_is_named(mined: Any) -> None:
    data = drawn(seed=31, m=20)

    def refused(match: str, kind: type[ClusterGLMError], rows: pd.DataFrame, **arguments: Any) -> None:
        with pytest.raises(kind, match=match):
            cg.pooled("y ~ x", rows, **{"family": POISSON, "hurdle": "~ 1", **arguments})

    refused("no zero", ResponseError, data[data["y"] > 0])
    refused("nothing but zeros|all responses", ResponseError, data.assign(y=0))
    refused("counts of 1|all responses", ResponseError, data.assign(y=np.minimum(data["y"], 1)))
    refused("family='truncated_poisson'", OptionError, data[data["y"] > 0], family="truncated_poisson")
    refused("hurdle='y ~ x'", ClusterGLMError, data, hurdle="y ~ x")
    told = data.assign(group=np.where(data["y"] == 0, "a", np.where(data["id"] % 2 == 0, "a", "b")))
    refused("group", SeparationError, told, hurdle="~ group")
    for name in ("zero_inflation_lr_test", "event_counts"):
        with pytest.raises(OptionError, match=name):
            _ = getattr(mined, name)()
