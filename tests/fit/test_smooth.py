"""The smooth density of the intercept: its moments, derivatives, limit, and what is found in data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import expit, log_expit
from scipy.stats import norm

import clusterglm as cg
from clusterglm.errors import IntegrationError, OptionError
from clusterglm.fit import smooth
from clusterglm.fit.pooled import sums_of
from clusterglm.fit.shape import shape_scores
from clusterglm.likelihood.density import DensityLikelihood
from clusterglm.model.control import Control
from clusterglm.model.distribution import distribution as read
from clusterglm.model.distribution.smooth import COUNT, FLOOR, MEANS, SPACING, weights_of

ROUGH = tuple((0.15 * np.random.default_rng(8).standard_normal(COUNT)).tolist())
FLAT = (0.0,) * COUNT
DENSITIES = pytest.mark.parametrize("differences", [FLAT, ROUGH], ids=["flat", "rough"])


def clustered(draw, m: int, size: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    ids, x = np.repeat(np.arange(m), size), rng.normal(size=m * size)
    eta = 0.3 + 0.7 * x + draw(rng, m)[ids]
    return pd.DataFrame({"y": (rng.random(m * size) < expit(eta)).astype(int), "x": x, "id": ids})


def two_humps(rng, m):
    return rng.choice([-1.5, 1.5], m) + 0.5 * rng.standard_normal(m)


@pytest.fixture(scope="module")
def humps() -> pd.DataFrame:
    return clustered(two_humps, 150, 12, 0)


@pytest.fixture(scope="module")
def fit(humps: pd.DataFrame) -> cg.RandomEffectsResult:
    return cg.random_effects("y ~ x", humps, cluster="id", distribution="smooth")


def plain_density(differences, t):
    """The mixture by its definition: log-weights that have these third differences, tilted to the moments."""
    from scipy.optimize import minimize

    u = np.zeros(len(MEANS))
    for k in range(3, len(u)):  # a(k) from the recursion of third differences, with a start that tilting takes off
        u[k] = 3.0 * u[k - 1] - 3.0 * u[k - 2] + u[k - 3] + differences[k - 3]
    u -= np.polyval(np.polyfit(MEANS, u, 2), MEANS)  # the tilt is then small, and easily found

    def weights(tilt):
        logs = u + tilt[0] * MEANS + tilt[1] * MEANS**2
        w = np.exp(logs - logs.max())
        return w / w.sum()

    def off(tilt):
        w = weights(tilt)
        return float(100.0 * ((w @ MEANS) ** 2 + (w @ MEANS**2 - 1.0 + SPACING**2) ** 2))

    w = weights(minimize(off, [0.0, -0.5], method="Nelder-Mead", options={"xatol": 1e-13, "fatol": 1e-28}).x)
    parts = norm.pdf(np.asarray(t)[..., None], MEANS, SPACING) @ w
    return (1.0 - FLOOR) * parts + FLOOR * norm.pdf(t)


@DENSITIES
def test_density_has_mean_0_and_variance_1(differences) -> None:
    density = cg.Smooth(differences=differences)
    t = np.linspace(-12.0, 12.0, 24 * 64 + 1)
    f = np.exp(density.log_density(t)[0]) / 64.0
    assert f.sum() == pytest.approx(1.0, abs=1e-12)
    assert f @ t == pytest.approx(0.0, abs=1e-12)
    assert f @ t**2 == pytest.approx(1.0, abs=1e-12)
    skewness, kurtosis = density.shape(np.array(differences))[0]
    assert f @ t**3 == pytest.approx(skewness, abs=1e-11)
    assert f @ t**4 - 3.0 == pytest.approx(kurtosis, abs=1e-11)
    np.testing.assert_allclose(np.diff(density.weights.logs, n=3), differences, atol=1e-9)


@DENSITIES
def test_density_is_the_mixture_that_it_says(differences) -> None:
    density, t = cg.Smooth(differences=differences), np.linspace(-4.0, 4.0, 33)
    np.testing.assert_allclose(np.exp(density.log_density(t)[0]), plain_density(differences, t), rtol=1e-6)
    for a in (-3.0, 0.4, 2.1):
        below = quad(lambda v: float(np.exp(density.log_density(np.array(v))[0])), -20.0, a, limit=400)[0]
        assert density.cdf(np.array([a]))[0] == pytest.approx(below, rel=1e-7)
        assert density.cdf(np.array([a]))[0] + density.sf(np.array([a]))[0] == pytest.approx(1.0, abs=1e-14)
    s = np.linspace(-12.0, 12.0, 49)
    np.testing.assert_allclose(density.normal_of(density.quantile_of_normal(s)), s, rtol=1e-13, atol=1e-13)
    step = 1e-4
    low, high = density.log_density(t - step), density.log_density(t + step)
    for k in range(4):
        slope = (high[k] - low[k]) / (2.0 * step)
        np.testing.assert_allclose(density.log_density(t)[k + 1], slope, atol=1e-5 * np.abs(slope).max())
    draws = density.rvs(np.random.default_rng(1), 200_000)
    assert draws.mean() == pytest.approx(0.0, abs=0.01)
    assert draws.std() == pytest.approx(1.0, abs=0.01)
    value, slope = density.log_moment(2, 0.7)
    fine = np.linspace(-15.0, 15.0, 3001)
    parts = np.exp(density.log_density(fine)[0] + 1.4 * fine) * 0.01
    assert value == pytest.approx(np.log(parts.sum()), abs=1e-10)
    assert slope == pytest.approx(2.0 * (parts @ fine) / parts.sum(), abs=1e-9)


def test_without_third_differences_it_is_the_gaussian() -> None:
    t = np.linspace(-4.0, 4.0, 81)
    np.testing.assert_allclose(cg.Smooth(differences=FLAT).log_density(t)[0], norm.logpdf(t), atol=1e-6)


def test_derivatives_in_the_third_differences() -> None:
    at, step = np.array(ROUGH), 1e-5
    weights, pull = weights_of(ROUGH), np.random.default_rng(2).normal(size=len(MEANS))
    t = np.array([-2.0, -0.3, 1.1])
    family, slopes = cg.Smooth(), np.empty((len(MEANS), COUNT))
    bends, densities, moments = np.empty((COUNT, COUNT)), np.empty((COUNT, len(t))), np.empty((2, COUNT))
    for j, move in enumerate(step * np.eye(COUNT)):
        up, down = weights_of(tuple(at + move)), weights_of(tuple(at - move))
        slopes[:, j] = (up.logs - down.logs) / (2.0 * step)
        bends[j] = (up.slopes.T @ pull - down.slopes.T @ pull) / (2.0 * step)
        both = [family.with_shape(at + sign * move).log_density(t)[0] for sign in (1.0, -1.0)]
        densities[j] = (both[0] - both[1]) / (2.0 * step)
        moments[:, j] = (family.shape(at + move)[0] - family.shape(at - move)[0]) / (2.0 * step)
    np.testing.assert_allclose(weights.slopes, slopes, atol=1e-7 * np.abs(slopes).max())
    np.testing.assert_allclose(weights.bend(pull), bends, atol=1e-6 * np.abs(bends).max())
    np.testing.assert_allclose(family.by_shape(at, t), densities, atol=1e-7 * np.abs(densities).max())
    np.testing.assert_allclose(family.shape(at)[1], moments, atol=1e-7 * np.abs(moments).max())


@pytest.fixture(scope="module", params=["binomial", "poisson"])
def likelihood(request: pytest.FixtureRequest) -> DensityLikelihood:
    rng = np.random.default_rng(5)
    ids = np.repeat(np.arange(12), rng.integers(1, 9, 12))
    x = rng.normal(size=len(ids))
    eta = 0.3 + 0.5 * x + rng.normal(size=12)[ids]
    y = rng.poisson(np.exp(eta)) if request.param == "poisson" else (rng.random(len(ids)) < expit(eta)).astype(int)
    table = pd.DataFrame({"y": y, "x": x, "id": ids, "w": rng.uniform(0.5, 2.0, 12)[ids]})
    fit = cg.random_effects("y ~ x", table, cluster="id", family=request.param, cluster_weights="w")
    block = sums_of(fit.data.rows, fit.response, Control()).blocks.block
    return DensityLikelihood(block.X, block.data, block.response)


def test_score_and_hessian_against_differences(likelihood: DensityLikelihood) -> None:
    at = np.concatenate([[0.2, 0.4, 0.9], ROUGH])
    there = likelihood.evaluate(at[:3], at[3:])
    assert there.value == pytest.approx(likelihood.value(at[:3], at[3:]), rel=1e-14)
    step = 1e-5
    score, hessian = np.empty(len(at)), np.empty((len(at), len(at)))
    for j, move in enumerate(step * np.eye(len(at))):
        up, down = (likelihood.evaluate((at + s * move)[:3], (at + s * move)[3:]) for s in (1.0, -1.0))
        score[j] = (up.value - down.value) / (2.0 * step)
        hessian[j] = (up.score - down.score) / (2.0 * step)
    np.testing.assert_allclose(there.score, score, atol=2e-7 * np.abs(score).max())
    np.testing.assert_allclose(there.hessian, hessian, atol=2e-7 * np.abs(hessian).max())
    np.testing.assert_array_equal(there.hessian, there.hessian.T)


def test_likelihood_against_a_dense_rule(fit: cg.RandomEffectsResult, humps: pd.DataFrame) -> None:
    t, step = np.linspace(-8.0, 8.0, 4001, retstep=True)
    weights = plain_density(fit.distribution.differences, t) * step
    eta = fit.params["(Intercept)"] + fit.params["x"] * humps.x.to_numpy()
    rows = log_expit(np.where(humps.y == 1, 1.0, -1.0)[:, None] * (eta[:, None] + fit.sigma * t))
    clusters = np.add.reduceat(rows, np.arange(0, len(humps), 12), axis=0)
    assert fit.loglik == pytest.approx(np.log(np.exp(clusters) @ weights).sum(), abs=1e-5)
    assert fit.quadrature.accurate


def test_the_penalised_likelihood_is_at_its_maximum(fit: cg.RandomEffectsResult) -> None:
    """By scores of clusters that the search did not use: their sum is the penalty's slope."""
    shape = fit.shape
    assert fit.converged
    assert shape is not None
    np.testing.assert_allclose(
        shape_scores(fit.fit, shape).sum(axis=0), shape.smoothness * shape.working, atol=2e-5 * fit.n_clusters
    )


def test_both_humps_are_found(fit: cg.RandomEffectsResult, humps: pd.DataFrame) -> None:
    low, high = fit.distribution.modes * fit.sigma
    assert low == pytest.approx(-1.5, abs=0.5)
    assert high == pytest.approx(1.5, abs=0.5)
    beside = cg.random_effects("y ~ x", humps, cluster="id")
    best = cg.nonparametric("y ~ x", humps, cluster="id")
    assert beside.loglik + 8.0 < fit.loglik < best.loglik
    assert fit.params["x"] == pytest.approx(0.7, abs=3.0 * fit.bse["x"])


@pytest.mark.parametrize("seed", [0, 2])
def test_gaussian_intercepts_stay_gaussian(seed: int) -> None:
    table = clustered(lambda rng, m: 1.2 * rng.standard_normal(m), 200, 10, seed)
    gaussian = cg.random_effects("y ~ x", table, cluster="id")
    smooth = cg.random_effects("y ~ x", table, cluster="id", distribution="smooth")
    assert gaussian.loglik - 1e-5 < smooth.loglik < gaussian.loglik + 1.5
    assert 3.0 <= smooth.n_parameters < 4.0
    assert smooth.aic == pytest.approx(2.0 * smooth.n_parameters - 2.0 * smooth.loglik)
    assert len(smooth.distribution.modes) == 1


def test_smoothness_may_be_given(humps: pd.DataFrame, fit: cg.RandomEffectsResult) -> None:
    gaussian = cg.random_effects("y ~ x", humps, cluster="id")
    limit = cg.random_effects("y ~ x", humps, cluster="id", distribution="smooth(lambda=inf)")
    assert limit.loglik == pytest.approx(gaussian.loglik, abs=1e-4)
    assert limit.n_parameters == 3.0
    np.testing.assert_allclose(limit.bse, gaussian.bse, rtol=1e-4)
    stiff = cg.random_effects("y ~ x", humps, cluster="id", distribution=cg.Smooth(smoothness=500.0))
    assert gaussian.loglik < stiff.loglik < fit.loglik
    again = cg.random_effects("y ~ x", humps, cluster="id", distribution=cg.Smooth(fit.shape.smoothness))
    np.testing.assert_allclose(again.params, fit.params, atol=1e-5)
    assert again.loglik == pytest.approx(fit.loglik, abs=1e-4)
    assert "as given" in str(again.shape)


def test_words() -> None:
    assert read("smooth") == cg.Smooth()
    assert read("smooth(lambda=10)") == read("smooth(10)") == cg.Smooth(10.0)
    assert cg.Smooth(10.0).name == "smooth(lambda=10)"
    for wrong in (0.0, -1.0, "a", True, np.nan):
        with pytest.raises(OptionError, match="smoothness"):
            cg.Smooth(wrong)
    for wrong in ((1.0,), [0.0] * COUNT, (np.nan,) * COUNT, (1e6,) * COUNT):
        with pytest.raises(OptionError, match="differences"):
            cg.Smooth(differences=wrong)
    with pytest.raises(OptionError, match="smooth"):
        read("smooth(banana=4)")
    with pytest.raises(OptionError, match="density is needed"):
        cg.Smooth().log_density(np.zeros(1))


def test_what_is_not_there_is_refused(humps: pd.DataFrame, fit: cg.RandomEffectsResult) -> None:
    for more in ({"quadrature": 9}, {"quadrature": "laplace"}, {"scale": "density"}):
        with pytest.raises(OptionError, match="with a smooth density to be estimated"):
            cg.random_effects("y ~ x", humps, cluster="id", distribution="smooth", **more)
    with pytest.raises(OptionError, match="penalty='soft'"):
        cg.random_effects("y ~ x", humps, cluster="id", distribution="smooth", penalty="soft")
    with pytest.raises(OptionError, match=r"distribution=fit\.distribution"):
        fit.conf_int(method="profile")
    with pytest.raises(OptionError, match="a smooth density of the intercepts"):
        fit.sample(draws=10)
    smaller = cg.random_effects("y ~ 1", humps, cluster="id", distribution="smooth(lambda=10)")
    assert "not nearly chi-square" in str(cg.compare(fit, smaller))


def test_a_known_density_is_a_distribution_like_any_other(humps: pd.DataFrame, fit: cg.RandomEffectsResult) -> None:
    known = cg.random_effects("y ~ x", humps, cluster="id", distribution=fit.distribution)
    assert known.loglik == pytest.approx(fit.loglik, abs=1e-6)
    np.testing.assert_allclose(known.params, fit.params, atol=1e-6)
    assert known.n_parameters == 3
    assert np.isfinite(known.conf_int(method="profile")).all(axis=None)
    fixed = cg.random_effects("y ~ x", humps, cluster="id", distribution=fit.distribution, quadrature=40)
    assert fixed.loglik == pytest.approx(fit.loglik, abs=0.5)


def test_what_follows_a_fit(fit: cg.RandomEffectsResult, humps: pd.DataFrame, tmp_path: Path) -> None:
    for kind in ("typical", "marginal", "conditional", "posterior"):
        assert np.isfinite(fit.predict(kind=kind, level=0.95)[["estimate", "std_error", "low", "high"]]).all(axis=None)
    assert fit.simulate(200, seed=2).to_numpy().mean() == pytest.approx(fit.predict(kind="marginal").mean(), rel=0.05)
    assert np.isfinite(fit.random_effects[["mode", "mean", "sd"]]).all(axis=None)
    assert np.isfinite(fit.cov("robust")).all(axis=None)
    assert (np.abs(fit.gradient_function(n_boot=0).to_frame()["gradient"]) < 0.2).all()
    assert fit.random_effects_sd == fit.sigma
    rows = fit.tidy()
    assert list(rows["term"][-2:]) == ["skewness", "excess kurtosis"]
    assert np.isfinite(rows["std_error"][-2:]).all()
    assert f"{fit.n_parameters:.2f} parameters" in str(fit)
    fit.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert str(again) == str(fit)
    assert again.distribution == fit.distribution
    assert again.shape.smoothness == fit.shape.smoothness
    assert "smooth" in fit.report(tmp_path / "report.html").read_text()
    chosen = cg.select_distribution("y ~ x", humps, cluster="id", distributions=["gaussian", "smooth(lambda=1)"])
    assert chosen.best("aic").distribution.code == "smooth"
    assert np.isfinite(
        cg.random_effects("y ~ x", humps, cluster="id", distribution=cg.Smooth(5.0)).bootstrap(2, seed=1).replicates
    ).all()


def test_the_band_of_a_density(fit: cg.RandomEffectsResult, humps: pd.DataFrame) -> None:
    """Delta method, derivatives by differences here."""
    data = fit.plot.density().data.iloc[::50]
    b, shape, sigma = data["intercept"].to_numpy(), fit.shape, fit.sigma

    def log_density(at):
        return cg.Smooth().with_shape(at[1:]).log_density(b / at[0])[0] - np.log(at[0])

    at, step = np.concatenate([[sigma], shape.working]), 1e-5
    np.testing.assert_allclose(np.log(data["density"]), log_density(at), rtol=1e-12)
    slopes = np.array([(log_density(at + m) - log_density(at - m)) / (2.0 * step) for m in step * np.eye(len(at))])
    inner = shape.covariance[2:, 2:]
    error = norm.ppf(0.975) * np.sqrt(np.einsum("ik,ij,jk->k", slopes, inner, slopes))
    np.testing.assert_allclose(data["high"] / data["density"] - 1.0, error, rtol=1e-4)
    np.testing.assert_allclose(data["low"], np.maximum(data["density"] * (1.0 - error), 0.0), rtol=1e-3, atol=1e-6)
    mixture = cg.random_effects("y ~ x", humps, cluster="id", distribution="gaussian_mixture")
    both = cg.plot.density({"smooth": fit, "two parts": mixture}).data
    assert np.isfinite(both[["density", "low", "high"]]).all(axis=None)


def test_rows_elsewhere_and_responses_of_their_own_are_refused(humps: pd.DataFrame, tmp_path: Path) -> None:
    humps.to_parquet(tmp_path / "part.parquet")
    with pytest.raises(OptionError, match="density would be estimated from rows that are not in memory"):
        cg.random_effects("y ~ x", tmp_path, cluster="id", distribution="smooth")
    with pytest.raises(OptionError, match="shape of smooth"):
        cg.random_effects("y ~ x", humps, cluster="id", family="negative_binomial", distribution="smooth")


def test_no_clustering_and_a_sigma_that_is_held(humps: pd.DataFrame) -> None:
    none = humps.assign(y=np.tile([0, 1], len(humps) // 2))  # as many ones in every cluster
    flat = cg.random_effects("y ~ x", none, cluster="id", distribution="smooth")
    assert flat.sigma == 0.0
    assert flat.n_parameters == 3.0
    assert "at sigma = 0 nothing is known of the density" in flat.shape.notes
    held = cg.random_effects("y ~ x", humps, cluster="id", distribution=cg.Smooth(1.0), sigma=1.5, fix_sigma=True)
    assert held.sigma == 1.5
    assert 2.0 < held.n_parameters < 6.0
    assert np.isnan(held.sigma_se)


def test_a_fit_that_is_stopped_says_so(humps: pd.DataFrame) -> None:
    def stop(step):
        return False

    with pytest.warns(cg.errors.ConvergenceWarning):
        fit = cg.random_effects(
            "y ~ x", humps, cluster="id", distribution=cg.Smooth(5.0), control=cg.Control(progress=stop)
        )
    assert fit.optimization.status == "interrupted"
    assert "the search was stopped before it came to the density" in fit.shape.notes


def test_weights_that_are_repeats(humps: pd.DataFrame, fit: cg.RandomEffectsResult) -> None:
    twice = pd.concat([humps, humps.assign(id=humps.id + 1000)])
    given = cg.random_effects("y ~ x", twice, cluster="id", distribution="smooth(lambda=0.5)")
    weighted = cg.random_effects(
        "y ~ x", humps.assign(w=2), cluster="id", cluster_weights="w", distribution=cg.Smooth(0.5)
    )
    np.testing.assert_allclose(weighted.params, given.params, atol=1e-6)
    assert weighted.loglik == pytest.approx(given.loglik, abs=1e-5)
    assert weighted.n_parameters == pytest.approx(given.n_parameters, abs=1e-5)
    assert replace(fit.distribution) == fit.distribution


def test_clusters_that_a_grid_cannot_hold_are_refused() -> None:
    rng = np.random.default_rng(1)
    p = expit(3.0 * rng.standard_normal(40))
    n = np.full(40, 10_000_000)
    table = pd.DataFrame({"y": rng.binomial(n, p), "n": n, "id": np.arange(40)})
    table["fail"] = table.n - table.y
    with pytest.raises(IntegrationError, match="known to a small part of sigma"):
        cg.random_effects("cbind(y, fail) ~ 1", table, cluster="id", distribution="smooth")


def test_large_clusters_get_finer_grids() -> None:
    rng = np.random.default_rng(2)
    b = rng.choice([-1.0, 1.0], 120) + 0.3 * rng.standard_normal(120)
    n = np.full(120, 800)
    table = pd.DataFrame({"y": rng.binomial(n, expit(b)), "n": n, "id": np.arange(120)})
    table["fail"] = table.n - table.y
    fit = cg.random_effects("cbind(y, fail) ~ 1", table, cluster="id", distribution="smooth")
    assert fit.converged
    assert fit.quadrature.accurate
    low, high = fit.params["(Intercept)"] + fit.distribution.modes * fit.sigma
    assert (low, high) == pytest.approx((-1.0, 1.0), abs=0.25)
    assert fit.sigma == pytest.approx(b.std(), rel=0.03)  # the intercepts are as good as seen
    known = cg.random_effects("cbind(y, fail) ~ 1", table, cluster="id", distribution=fit.distribution)
    assert known.loglik == pytest.approx(fit.loglik, abs=1e-6)


def test_from_the_command_line(humps: pd.DataFrame, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from clusterglm.cli import app

    humps.to_csv(tmp_path / "humps.csv", index=False)
    words = ["fit", str(tmp_path / "humps.csv"), "y ~ x", "--cluster", "id", "--distribution", "smooth(lambda=5)"]
    ran = CliRunner().invoke(app, [*words, "--save", str(tmp_path / "fit.json")])
    assert ran.exit_code == 0, ran.output
    assert "smoothness 5 as given" in " ".join(ran.output.split())
    drawn = ["plot", "density", str(tmp_path / "fit.json"), "--out", str(tmp_path / "density.png")]
    assert CliRunner().invoke(app, drawn).exit_code == 0


def test_a_density_that_no_table_follows_gives_way_to_one_that_ends_in_no_hump(humps, fit, monkeypatch) -> None:
    """A cubic log-density, of which next to nothing is penalised, rises where the grid ends: it is left aside then."""
    assert smooth._ends_in_a_hump(np.full(COUNT, 0.08))
    assert smooth._ends_in_a_hump(np.full(COUNT, -0.08))
    assert not smooth._ends_in_a_hump(np.zeros(COUNT))
    assert not smooth._ends_in_a_hump(np.array(fit.distribution.differences))
    once, real = [], smooth._with_shape

    def fails_once(*given):
        if not once:
            once.append(True)
            raise IntegrationError("a density with gaps", "", "")
        return real(*given)

    monkeypatch.setattr(smooth, "_with_shape", fails_once)
    again = cg.random_effects("y ~ x", humps, cluster="id", distribution="smooth")
    assert again.loglik == pytest.approx(fit.loglik, abs=1e-8)
    assert "left aside" in " ".join(again.shape.notes)
    once.clear()
    with pytest.raises(IntegrationError, match="gaps"):
        cg.random_effects("y ~ x", humps, cluster="id", distribution="smooth(lambda=10)")
