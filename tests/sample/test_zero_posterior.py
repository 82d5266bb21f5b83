"""Posteriors of counts whose zeros have a linear predictor, with inflation and with a hurdle, against brute force."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, log_expit

import clusterglm as cg
from clusterglm.errors import OptionError, SamplingWarning
from clusterglm.sample.diagnostics import worth
from clusterglm.sample.target import Target

sys.path.insert(0, str(Path(__file__).parent))
import brute

EXACT = cg.Quadrature("auto", tolerance=1e-6)
EFFECTS = {
    "intercept": "(1 | id)",
    "slopes": "(x || id)",
    "nested": "(1 | id/child)",
    "crossed": "(1 | id) + (1 | item)",
}
ARGUMENTS = ("zero_inflation", "hurdle")
FAMILIES = ("poisson", "negative_binomial")


def counts(m: int = 12, size: int = 6, seed: int = 5) -> pd.DataFrame:
    """A third of them certain zeros, more where g is 1; the last cluster has nothing else."""
    rng = np.random.default_rng(seed)
    n, id_ = m * size, np.repeat(np.arange(m), size)
    child, item = np.arange(n) // 3, rng.integers(0, 2, n)
    x, g = rng.normal(0.5, 1.0, n), rng.integers(0, 2, n)
    eta = 1.2 + 0.3 * x + 0.5 * rng.normal(size=m)[id_] + 0.4 * rng.normal(size=m)[id_] * x
    eta = eta + 0.3 * rng.normal(size=n // 3)[child]
    y = rng.poisson(np.exp(eta) * rng.gamma(6.0, 1 / 6, n))
    y[rng.random(n) < expit(-0.8 + 0.7 * g)] = 0
    y[id_ == m - 1] = 0
    return pd.DataFrame({"id": id_, "child": child, "item": item, "x": x, "g": g, "y": y})


def fitted(argument: str, family: str, effects: str, **options) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        asked = {"quadrature": EXACT, argument: "~ g"} | options
        return cg.random_effects(f"y ~ x + {EFFECTS[effects]}", counts(), family=family, **asked)


def log_posterior(argument: str, family: str, effects: str, data: pd.DataFrame, values: np.ndarray) -> float:
    """At values of (coefficients, standard deviations, alpha, coefficients of zeros), as the package names them."""
    inflation, k = argument == "zero_inflation", int(family == "negative_binomial")
    d = 1 if effects == "intercept" else 2
    beta, sds, own, zeros = np.split(values, [2, 2 + d, 2 + d + k])
    every = data
    if not inflation:
        data = data[data["y"] > 0]
    y, x, w = (each.to_numpy(dtype=float) for each in (data["y"], data["x"], zeros[0] + zeros[1] * data["g"]))
    shape = (1, 1) if effects == "nested" else (1,)
    y, w = y.reshape(-1, *shape), w.reshape(-1, *shape)

    def rows(eta: np.ndarray) -> np.ndarray:
        def plain(at: np.ndarray) -> np.ndarray:
            return brute.nb2(at, eta, own[0]) if k else brute.poisson(at, eta)

        return brute.inflated(y, plain(y), w) if inflation else brute.truncated(plain(y), plain(0.0 * y))

    starts = np.flatnonzero(np.diff(data["id"], prepend=-1))
    eta, ones = beta[0] + beta[1] * x, np.ones(len(x))
    if effects == "intercept":
        found = brute.of_clusters(rows, eta, ones[:, None], np.diag(sds), starts, 81).sum()
    elif effects == "slopes":
        found = brute.of_clusters(rows, eta, np.column_stack([ones, x]), np.diag(sds), starts, 51).sum()
    elif effects == "nested":
        children = np.flatnonzero(np.diff(data["child"], prepend=-1))
        found = brute.of_nested(rows, eta, sds, starts, children).sum()
    else:
        codes = np.unique(data["id"], return_inverse=True)[1], data["item"].to_numpy()
        found = brute.of_crossed(rows, eta, codes, sds, (41, 31))
    if not inflation:
        zero = zeros[0] + zeros[1] * every["g"]
        found += log_expit(np.where(every["y"] == 0, zero, -zero)).sum()
    x = every["x"].to_numpy(dtype=float)  # priors are in units of all rows' columns
    unit = x.std()
    found += brute.normal(beta[0] + x.mean() * beta[1], 2.5) + brute.normal(beta[1], 2.5 / unit)
    units = {"intercept": [2.5], "slopes": [2.5, 2.5 / unit]}.get(effects, [2.5, 2.5])
    found += sum(brute.half_t(sd, scale) for sd, scale in zip(sds, units, strict=True)) + sum(map(brute.half_t, own))
    g = every["g"].to_numpy()
    return found + brute.normal(zeros[0] + g.mean() * zeros[1], 2.5) + brute.normal(zeros[1], 2.5 / g.std())


@pytest.mark.parametrize("effects", EFFECTS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_the_density_is_that_of_brute_force(argument, family, effects) -> None:
    """But for a constant, at places about where the search for the mode begins."""
    fit = fitted(argument, family, effects)
    likelihood = fit._sampled()
    coordinates = likelihood.coordinates
    target = Target(likelihood, cg.Prior().of(coordinates), likelihood.points(coordinates.theta(likelihood.start)))
    rng, data = np.random.default_rng(2), counts()
    off = []
    for _ in range(4):
        x = likelihood.start + 0.15 * rng.normal(size=len(coordinates))
        values = likelihood.shown(coordinates.theta(x))
        off.append(target.value(x) - log_posterior(argument, family, effects, data, values))
    assert np.ptp(off) < (0.05 if effects == "crossed" else 2e-3)


@pytest.mark.parametrize("effects", EFFECTS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_derivatives_of_the_target(argument, family, effects) -> None:
    likelihood = fitted(argument, family, effects)._sampled()
    density = cg.Prior(family="half_normal(2)").of(likelihood.coordinates)
    x = likelihood.start + 0.1 * np.random.default_rng(1).normal(size=len(likelihood.coordinates))
    target = Target(likelihood, density, likelihood.points(likelihood.coordinates.theta(x)))
    at, h = target.evaluate(x), 1e-4
    assert at.value == pytest.approx(target.value(x), rel=1e-9)
    for k, e in enumerate(np.eye(len(x))):
        ahead, behind = target.evaluate(x + h * e, 1), target.evaluate(x - h * e, 1)
        assert at.score[k] == pytest.approx((ahead.value - behind.value) / (2 * h), rel=1e-4, abs=1e-4)
        np.testing.assert_allclose(at.hessian[k], (ahead.score - behind.score) / (2 * h), rtol=1e-3, atol=5e-3)


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("effects", ["intercept", "slopes"])
def test_means_and_quantiles_are_those_of_brute_force(argument, effects) -> None:
    """By importance sampling from a t about the mode of the density in NumPy."""
    data, fit = counts(), fitted(argument, "poisson", effects, quadrature="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        if effects == "intercept":
            drawn = fit.sample(1500, chains=2, seed=3)
        else:
            drawn = fit.sample(4000, chains=2, seed=3, method="independence")
    scales = slice(2, 3 if effects == "intercept" else 4)

    def read(x: np.ndarray) -> np.ndarray:
        values = x.copy()
        values[scales] = np.exp(x[scales])
        return values

    def density(x: np.ndarray) -> float:
        return log_posterior(argument, "poisson", effects, data, read(x))

    start = drawn.unconstrained.reshape(-1, len(drawn.names)).mean(axis=0)
    x, weights = brute.importance(density, start, 1500 if effects == "intercept" else 600)
    assert not brute.refute(drawn.values, np.array([read(one) for one in x]), weights)


@pytest.mark.parametrize("effects", ["intercept", "slopes"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_clusters_have_the_probability_of_their_counts(argument, family, effects) -> None:
    fit = fitted(argument, family, effects)
    likelihood, data = fit._sampled(), counts()
    theta = likelihood.coordinates.theta(likelihood.start)
    values = likelihood.shown(theta)
    found = likelihood.cluster_values(theta, likelihood.points(theta))
    assert not fit._constants_of_clusters().any()
    if fit.fit.zero_state == "free":
        assert found.sum() == pytest.approx(fit.loglik, abs=0.02)
    for cluster in (0, 11):  # the second has zeros alone
        own = data[data["id"] == cluster]
        d = 1 if effects == "intercept" else 2
        if argument == "hurdle" and cluster == 11:
            zeros = values[-2] + values[-1] * own["g"]
            assert found[cluster] == pytest.approx(log_expit(zeros).sum(), rel=1e-9)
            continue
        flat = log_posterior(argument, family, effects, own, values)
        x, k = own["x"], int(family == "negative_binomial")
        beta, sds, alpha, zeros = np.split(values, [2, 2 + d, 2 + d + k])
        units = [2.5, 2.5 / x.std(ddof=0)][:d]
        flat -= brute.normal(beta[0] + x.mean() * beta[1], 2.5) + brute.normal(beta[1], 2.5 / x.std(ddof=0))
        flat -= sum(brute.half_t(sd, scale) for sd, scale in zip(sds, units, strict=True))
        flat -= sum(map(brute.half_t, alpha))
        flat -= brute.normal(zeros[0] + own["g"].mean() * zeros[1], 2.5)
        flat -= brute.normal(zeros[1], 2.5 / own["g"].std(ddof=0))
        assert found[cluster] == pytest.approx(flat, abs=1e-4)


@pytest.mark.parametrize("effects", EFFECTS)
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_what_follows_from_draws(argument, effects, tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        fit = fitted(argument, "negative_binomial", effects, quadrature="auto")
        prior = cg.Prior(sd="half_normal(1)", family="exponential(2)")
        drawn = fit.sample(120, chains=2, seed=2, prior=prior, method="independence")
        new = pd.DataFrame({"x": [1.0], "g": [1], "id": [0], "child": [0], "item": [0]})
        flat = drawn.values.reshape(-1, len(drawn.names))
        w = flat[:, -2] + flat[:, -1]
        eta = flat[:, 0] + flat[:, 1]
        assert drawn.predict(new, scale="link", draws=240)["mean"].iloc[0] == pytest.approx(eta.mean(), rel=1e-9)
        alpha = flat[:, -3]
        none = (1.0 + alpha * np.exp(eta)) ** (-1.0 / alpha)
        if argument == "hurdle":
            mean, zero = expit(-w) * np.exp(eta) / (1.0 - none), expit(w)
        else:
            mean, zero = expit(-w) * np.exp(eta), expit(w) + expit(-w) * none
        assert drawn.predict(new, draws=240)["mean"].iloc[0] == pytest.approx(mean.mean(), rel=1e-9)
        assert drawn.predict(new, scale="zero", draws=240)["mean"].iloc[0] == pytest.approx(zero.mean(), rel=1e-9)
        if argument == "zero_inflation":
            spread = (flat[:, 2:-3] ** 2).sum(axis=1)  # of all effects at x = 1
            averaged = expit(-w) * np.exp(eta + 0.5 * spread)
            found = drawn.predict(new, kind="marginal", draws=240)["mean"].iloc[0]
            assert found == pytest.approx(averaged.mean(), rel=1e-7)
        else:
            with pytest.raises(OptionError, match="excess"):
                drawn.predict(new, scale="excess")
        given = drawn.predict(kind="conditional", draws=60)["mean"]
        assert np.corrcoef(np.log(given), np.log(fit.predict(kind="conditional")))[0, 1] > 0.9
        table = drawn.effects(draws=300)
        assert len(table) == len(fit.random_effects)
        assert np.corrcoef(table["mean"], fit.random_effects["mean"])[0, 1] > 0.85
        seen, sets = drawn.predictive_statistics(40)
        assert (sets.min(axis=0) < seen).all()
        assert (seen < sets.max(axis=0)).all()
        drawn.save(tmp_path / "posterior.json.gz")
        again = cg.load(tmp_path / "posterior.json.gz")
        assert str(again) == str(drawn)
        assert again.effects(draws=5).equals(drawn.effects(draws=5))


@pytest.mark.parametrize("effects", EFFECTS)
def test_counts_of_a_hurdle_have_the_likelihood_of_truncated_ones(effects) -> None:
    """The likelihood separates; priors do not, for they are in units of all rows' columns."""
    whole = fitted("hurdle", "negative_binomial", effects)._sampled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        data = counts()
        alone = cg.random_effects(
            f"y ~ x + {EFFECTS[effects]}", data[data["y"] > 0], family="truncated_negative_binomial", quadrature=EXACT
        )._sampled()
    rng, q, off = np.random.default_rng(1), len(alone.coordinates), []
    at = whole.coordinates.theta(whole.start)
    points = whole.points(at), alone.points(at[:q])
    for _ in range(4):
        theta = whole.coordinates.theta(whole.start + 0.1 * np.append(rng.normal(size=q), [0.0, 0.0]))
        off.append(whole.value(theta, points[0]) - alone.value(theta[:q], points[1]))
    assert np.ptp(off) < 1e-3


@pytest.mark.parametrize("effects", EFFECTS)
def test_the_prior_of_a_hurdle_knows_nothing_of_the_counts(effects) -> None:
    """Other counts are 0, and the prior is the same; it was once in units of the columns of those that are not."""
    data, said = counts(), []
    for y in (data["y"], np.where(data["x"] > 1.0, 0, data["y"])):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
            formula = f"y ~ x + {EFFECTS[effects]}"
            fit = cg.random_effects(formula, data.assign(y=y), family="poisson", hurdle="~ g", quadrature="laplace")
        density = cg.Prior().of(fit._sampled().coordinates)
        said.append((density.lines(), density.evaluate(np.arange(len(density.each)) / 10.0).value))
    assert said[0] == said[1]


def test_effects_of_clusters_without_counts_are_those_of_the_prior() -> None:
    for effects in ("intercept", "slopes", "crossed"):
        fit = fitted("hurdle", "poisson", effects)
        likelihood = fit._sampled()
        theta = likelihood.coordinates.theta(likelihood.start)
        theta[2] = 0.8
        draws, rng = fit._effect_draws(likelihood), np.random.default_rng(1)
        u = np.array([draws.draw(theta, rng)[0] for _ in range(400)])
        last = u[:, 0, 11] if effects == "crossed" else u[:, 11, 0]
        assert last.mean() == pytest.approx(0.0, abs=4.0 * 0.8 / 20.0)
        assert last.std() == pytest.approx(0.8, rel=0.15)


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_effects_have_the_density_that_rows_say(argument) -> None:
    """Of one intercept, by sums over a grid; clusters of zeros alone have two summits with inflation."""
    fit, data = fitted(argument, "negative_binomial", "intercept"), counts()
    likelihood = fit._sampled()
    theta = likelihood.coordinates.theta(likelihood.start)
    theta[2] = 1.0
    beta, alpha, zeros = theta[:2], theta[3], theta[4:]
    draws, rng = fit._effect_draws(likelihood), np.random.default_rng(1)
    drawn, errors = zip(*(draws.draw(theta, rng) for _ in range(600)), strict=True)
    u, grid = np.array(drawn)[:, :, 0], np.linspace(-6.0, 6.0, 1201)
    y, w = data["y"].to_numpy(dtype=float)[:, None], (zeros[0] + zeros[1] * data["g"]).to_numpy()[:, None]
    eta = (beta[0] + beta[1] * data["x"]).to_numpy()[:, None] + grid
    log_p = brute.nb2(y, eta, alpha)
    if argument == "zero_inflation":
        rows = brute.inflated(y, log_p, w)
    else:
        rows = np.where(y > 0.0, brute.truncated(log_p, brute.nb2(0.0 * y, eta, alpha)), 0.0)
    log_density = np.add.reduceat(rows, np.arange(0, 72, 6), axis=0) - 0.5 * grid**2
    p = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    mean = p @ grid
    sd = np.sqrt(p @ grid**2 - mean**2)
    assert max(errors) < 0.01
    assert np.abs((u.mean(axis=0) - mean) / sd * np.sqrt(600.0)).max() < 4.5
    assert np.abs(u.std(axis=0) / sd - 1.0).max() < 0.2


def test_any_number_of_workers_draws_the_same() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        for argument, effects in (("zero_inflation", "slopes"), ("hurdle", "intercept")):
            fit = fitted(argument, "poisson", effects, quadrature="auto")
            one, two = (fit.sample(15, chains=3, seed=4, n_jobs=n, method="hamiltonian", warmup=10) for n in (1, 2))
            assert np.array_equal(one.unconstrained, two.unconstrained)


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_without_data_the_prior_comes_back(argument) -> None:
    fit, rng = fitted(argument, "negative_binomial", "intercept", quadrature="laplace"), np.random.default_rng(1)
    prior = cg.Prior(sd="half_normal(1)", family="exponential(2)", scaled=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        drawn = fit.sample(800, chains=2, seed=2, prior=prior, prior_only=True, method="hamiltonian")
    data, n = counts(), 40000
    x, g = rng.normal(0.0, 2.5, n), rng.normal(0.0, 2.5, n)
    exact = [rng.normal(0.0, 2.5, n) - data["x"].mean() * x, x, np.abs(rng.normal(size=n)), rng.exponential(0.5, n)]
    exact += [rng.normal(0.0, 2.5, n) - data["g"].mean() * g, g]
    assert len(drawn.names) == len(exact)
    for values, each in zip(np.moveaxis(drawn.values, 2, 0), exact, strict=True):
        for level in (0.1, 0.5, 0.9):
            share = (values <= np.quantile(each, level)).mean()
            error = 4.0 * np.sqrt(level * (1.0 - level) / worth(values).ess_tail) + 0.005
            assert share == pytest.approx(level, abs=error)


def test_priors_of_zeros_in_words() -> None:
    likelihood = fitted("zero_inflation", "negative_binomial", "intercept")._sampled()
    told = dict(cg.Prior(coefficients={"zero: g": "student_t(3, 0, 1)"}).of(likelihood.coordinates).lines())
    assert told["zero: g"].startswith("Student-t with 3 df about 0")
    assert told["zero: (Intercept)"] == "normal with mean 0 and sd 2.5, at the means of the columns"
    with pytest.raises(OptionError, match="zero: g"):
        cg.Prior(coefficients={"g": "flat"}).of(likelihood.coordinates)


def test_a_maximum_without_excess_is_sampled_from() -> None:
    """Of counts that are no more dispersed than Poisson ones, and have no more zeros."""
    rng = np.random.default_rng(8)
    id_ = np.repeat(np.arange(25), 6)
    y = rng.binomial(4, expit(rng.normal(size=25)[id_]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        data = pd.DataFrame({"y": y, "id": id_})
        fit = cg.random_effects("y ~ 1", data, cluster="id", family="negative_binomial", zero_inflation="~ 1")
        assert "boundary" in (fit.fit.zero_state, fit.fit.alpha_state)
        drawn = fit.sample(300, chains=2, seed=1)
    table = drawn.table()
    assert table["rhat"].max() < 1.05
    assert table.loc["zero: (Intercept)", "high"] < 0.0
    assert drawn.predict(kind="conditional", draws=20)["mean"].notna().all()
