"""Posteriors of several effects where the response has parameters of its own, against brute force."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import clusterglm as cg
from clusterglm.errors import OptionError, SamplingWarning
from clusterglm.sample.target import Target

sys.path.insert(0, str(Path(__file__).parent))
import brute

EXACT = cg.Quadrature("auto", tolerance=1e-6)


def dispersed(m: int = 12, size: int = 6, seed: int = 1) -> pd.DataFrame:
    """Clusters of children of rows, and items that cross them."""
    rng = np.random.default_rng(seed)
    n, id_ = m * size, np.repeat(np.arange(m), size)
    child = np.arange(n) // 3
    item = rng.integers(0, 2, n)
    x = rng.normal(0.5, 1.0, n)
    eta = 0.5 + 0.3 * x + 0.8 * rng.normal(size=m)[id_] + 0.6 * rng.normal(size=n // 3)[child]
    eta = eta + 0.8 * rng.normal(size=m)[id_] * x + np.array([-0.5, 0.6])[item]
    y = rng.poisson(np.exp(eta) * rng.gamma(4.0, 0.25, n))
    p = expit(eta - 0.5)
    k = rng.binomial(6, rng.beta(3 * p, 3 * (1 - p)))
    t, e = np.exp(eta) * rng.gamma(3.0, 1 / 3, n), rng.binomial(1, 0.8, n)
    o = np.digitize(eta + rng.logistic(size=n), [-0.5, 0.8])
    each = {"y": y, "positive": y + 1, "k": k, "f": 6 - k, "t": t, "e": e, "o": o}
    return pd.DataFrame({"id": id_, "child": child, "item": item, "x": x, **each})


RESPONSES = {
    "negative_binomial": "y",
    "negative_binomial1": "y",
    "truncated_negative_binomial": "positive",
    "beta_binomial": "cbind(k, f)",
    "gamma": "t",
    "weibull": "Surv(t, e)",
    "exponential": "Surv(t, e)",
    "ordinal": "o",
}
EFFECTS = {"slopes": "(x || id)", "nested": "(1 | id/child)", "crossed": "(1 | id) + (1 | item)"}


def fitted(family: str, effects: str, **options) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        return cg.random_effects(
            f"{RESPONSES[family]} ~ x + {EFFECTS[effects]}",
            dispersed(),
            family=family,
            **{"quadrature": EXACT} | options,
        )


def rows_of(family: str, data: pd.DataFrame, own: np.ndarray, shape: tuple[int, ...]):
    """eta -> log-probabilities of rows, where eta has so many axes behind theirs."""

    def column(name: str) -> np.ndarray:
        return data[name].to_numpy(dtype=float).reshape(-1, *shape)

    y, positive, k, t, e = (column(name) for name in ("y", "positive", "k", "t", "e"))
    o = data["o"].to_numpy().reshape(-1, *shape)
    return {
        "negative_binomial": lambda eta: brute.nb2(y, eta, own[0]),
        "negative_binomial1": lambda eta: brute.nb1(y, eta, own[0]),
        "truncated_negative_binomial": lambda eta: brute.truncated(
            brute.nb2(positive, eta, own[0]), brute.nb2(0.0 * positive, eta, own[0])
        ),
        "beta_binomial": lambda eta: brute.beta_binomial(k, eta, own[0], 6.0),
        "gamma": lambda eta: brute.gamma(t, eta, own[0]),
        "weibull": lambda eta: brute.weibull(t, eta, own[0], e),
        "exponential": lambda eta: brute.weibull(t, eta, 1.0, e),
        "ordinal": lambda eta: brute.cumulative_logit(o, eta, own),
    }[family]


def log_posterior(family: str, effects: str, data: pd.DataFrame, values: np.ndarray, n: int = 41) -> float:
    """At values of (coefficients, two standard deviations, the response's), the density of what is sampled."""
    x, starts = data["x"].to_numpy(), np.flatnonzero(np.diff(data["id"], prepend=-1))
    p = 1 if family == "ordinal" else 2
    beta, sds, own = values[:p], values[p : p + 2], values[p + 2 :]
    eta = x * beta[-1] + (0.0 if family == "ordinal" else beta[0])
    if effects == "slopes":
        Z = np.column_stack([np.ones(len(x)), x])
        found = brute.of_clusters(rows_of(family, data, own, (1,)), eta, Z, np.diag(sds), starts, n).sum()
    elif effects == "nested":
        children = np.flatnonzero(np.diff(data["child"], prepend=-1))
        found = brute.of_nested(rows_of(family, data, own, (1, 1)), eta, sds, starts, children, (2 * n - 1, n)).sum()
    else:
        codes = data["id"].to_numpy(), data["item"].to_numpy()
        found = brute.of_crossed(rows_of(family, data, own, (1,)), eta, codes, sds, (25, 25))
    unit, centre = x.std(), x.mean()
    found += brute.normal(beta[-1], 2.5 / unit)
    found += brute.half_t(sds[0]) + brute.half_t(sds[1], 2.5 / unit if effects == "slopes" else 2.5)
    if family == "ordinal":
        return found + brute.normal(own - centre * beta[-1], 2.5).sum()
    found += brute.normal(beta[0] + centre * beta[1], 2.5)
    wide = {"beta_binomial": (10.0, 1.0), "gamma": (10.0, 1.0)}.get(family, (2.5, 3.0))
    return found + sum(brute.half_t(value, *wide) for value in own)


@pytest.mark.parametrize(
    ("family", "effects"),
    [
        *((family, effects) for family in RESPONSES for effects in ("slopes", "nested")),
        *((family, "crossed") for family in ("negative_binomial", "beta_binomial", "weibull", "ordinal")),
    ],
)
def test_the_density_is_that_of_brute_force(family, effects) -> None:
    """But for a constant, at places about the mode."""
    fit = fitted(family, effects)
    posterior = fit._sampled()
    coordinates = posterior.coordinates
    target = Target(posterior, cg.Prior().of(coordinates), posterior.points(coordinates.theta(posterior.start)))
    rng, data = np.random.default_rng(2), dispersed()
    places = [posterior.start + 0.15 * rng.normal(size=len(coordinates)) for _ in range(4)]
    off = []
    for x in places:
        values = posterior.shown(coordinates.theta(x))
        off.append(target.value(x) - log_posterior(family, effects, data, values))
    assert np.ptp(off) < (0.03 if effects == "crossed" else 1e-3)


@pytest.mark.parametrize("effects", EFFECTS)
def test_a_place_without_a_likelihood_is_forgotten(effects) -> None:
    """What was found far out, infinite or absurd, is nowhere to begin the next search for modes: chains once stayed."""
    likelihood = fitted("gamma", effects, quadrature=3 if effects == "nested" else "laplace")._sampled()
    coordinates = likelihood.coordinates
    here = coordinates.theta(likelihood.start)
    points, rng, lost = likelihood.points(here), np.random.default_rng(1), 0
    before = likelihood.evaluate(here, points, 1)
    for _ in range(60):
        far = coordinates.theta(likelihood.start + rng.normal(size=len(coordinates)) * 10.0 ** rng.uniform(0.0, 2.0))
        with np.errstate(all="ignore"):
            lost += not np.isfinite(likelihood.evaluate(far, points, 1).value)
        again = likelihood.evaluate(here, points, 1)
        assert again.value == pytest.approx(before.value, abs=1e-6)
        np.testing.assert_allclose(again.score, before.score, atol=1e-3)
    assert lost > 0


def test_a_correction_where_thresholds_are_close() -> None:
    """Of 80 ratings only one is in the third category: a standard deviation and a half away thresholds would cross."""
    rng = np.random.default_rng(3)
    id_, item, x = np.repeat(np.arange(20), 4), np.tile(np.arange(4), 20), rng.normal(size=80)
    eta = 0.8 * x + rng.normal(size=20)[id_] + np.linspace(-1.0, 1.0, 4)[item]
    y = np.digitize(eta + rng.logistic(size=80), [-0.3, 0.6])
    y = np.where(y == 2, 3, y)
    y[np.argmax(y == 3)] = 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        data = pd.DataFrame({"y": y, "x": x, "id": id_, "item": item})
        fit = cg.random_effects("y ~ x + (1 | id) + (1 | item)", data, family="ordinal")
        drawn = fit.sample(20, chains=1, seed=1, method="independence", prior=cg.Prior(sd="half_normal(1)"))
    assert fit.quadrature.outside.applied
    assert np.isfinite(drawn.log_density).all()
    assert drawn.weights.share > 0.9


@pytest.mark.parametrize("effects", ["slopes"])
def test_means_and_quantiles_are_those_of_brute_force(effects) -> None:
    """Of a negative binomial, by importance sampling from a t about the mode of the density in NumPy."""
    data = dispersed(20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        fit = cg.random_effects(f"y ~ x + {EFFECTS[effects]}", data, family="negative_binomial")
        drawn = fit.sample(1000, chains=2, seed=3)

    def density(x: np.ndarray) -> float:
        values = np.append(x[:2], np.exp(x[2:]))
        return log_posterior("negative_binomial", effects, data, values, 25)

    x, weights = brute.importance(density, drawn.unconstrained.reshape(-1, 5).mean(axis=0), 500)
    values = np.hstack([x[:, :2], np.exp(x[:, 2:])])
    assert not brute.refute(drawn.values, values, weights)


def test_slopes_with_a_correlation() -> None:
    """The likelihood at standard deviations and a correlation as people read them."""
    data = dispersed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        fit = cg.random_effects("o ~ x + (x | id)", data, family="ordinal", quadrature=EXACT)
    likelihood, rng = fit._sampled(), np.random.default_rng(1)
    x, starts = data["x"].to_numpy(), np.flatnonzero(np.diff(data["id"], prepend=-1))
    for _ in range(3):
        at = likelihood.start + 0.2 * rng.normal(size=len(likelihood.start))
        theta = likelihood.coordinates.theta(at)
        beta, s, v, rho, *cuts = likelihood.shown(theta)
        L = np.array([[s, 0.0], [v * rho, v * np.sqrt(1.0 - rho * rho)]])
        rows, Z = rows_of("ordinal", data, np.array(cuts), (1,)), np.column_stack([np.ones(len(x)), x])
        exact = brute.of_clusters(rows, x * beta, Z, L, starts).sum()
        assert likelihood.value(theta, likelihood.points(theta)) == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("effects", EFFECTS)
@pytest.mark.parametrize("family", ["negative_binomial", "weibull", "ordinal"])
def test_derivatives_of_the_target(family, effects) -> None:
    likelihood = fitted(family, effects)._sampled()
    density = cg.Prior(family="half_normal(2)").of(likelihood.coordinates)
    x = likelihood.start + 0.1 * np.random.default_rng(1).normal(size=len(likelihood.coordinates))
    target = Target(likelihood, density, likelihood.points(likelihood.coordinates.theta(x)))
    at, h = target.evaluate(x), 1e-4
    assert at.value == pytest.approx(target.value(x), abs=1e-5)  # by fewer points
    for k, e in enumerate(np.eye(len(x))):
        ahead, behind = target.evaluate(x + h * e, 1), target.evaluate(x - h * e, 1)
        assert at.score[k] == pytest.approx((ahead.value - behind.value) / (2 * h), rel=1e-4, abs=1e-4)
        np.testing.assert_allclose(at.hessian[k], (ahead.score - behind.score) / (2 * h), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("family", RESPONSES)
def test_the_likelihood_is_that_of_the_fit(family) -> None:
    """And clusters' parts add up to it, the constants of the data included."""
    fit = fitted(family, "slopes")
    likelihood = fit._sampled()
    theta = likelihood.coordinates.theta(likelihood.start)
    points = likelihood.points(theta)
    value = likelihood.value(theta, points)
    assert likelihood.cluster_values(theta, points).sum() + fit.data.constant == pytest.approx(value, rel=1e-12)
    constants = fit._constants_of_clusters()
    assert constants.sum() == pytest.approx(fit.data.constant, abs=1e-9)


def test_one_intercept_by_either_way() -> None:
    """The posterior of one random intercept is that by integrals of several effects."""
    from clusterglm.sample.own import OwnLikelihood

    data = dispersed()
    one = cg.random_effects("y ~ x", data, cluster="id", family="negative_binomial", quadrature=EXACT)
    two = fitted("negative_binomial", "nested")
    likelihood, other = one._sampled(), two._sampled()
    assert isinstance(likelihood, OwnLikelihood)
    x = likelihood.start
    wide = np.insert(x, 3, -16.0)  # children that hardly differ
    theta, there = likelihood.coordinates.theta(x), other.coordinates.theta(wide)
    values = [each.value(at, each.points(at)) for each, at in ((likelihood, theta), (other, there))]
    assert values[0] == pytest.approx(values[1], abs=1e-5)


@pytest.mark.parametrize("effects", EFFECTS)
@pytest.mark.parametrize("family", ["negative_binomial", "ordinal"])
def test_effects_have_the_means_that_the_density_says(family, effects) -> None:
    """At given parameters, of the first cluster, by a product rule over all effects that have to do with it."""
    fit = fitted(family, effects)
    likelihood, data = fit._sampled(), dispersed()
    theta = likelihood.coordinates.theta(likelihood.start)
    p = 1 if family == "ordinal" else 2
    theta[p : p + 2] = 0.7, 0.5
    draws, rng = fit._effect_draws(likelihood), np.random.default_rng(1)
    drawn, errors = zip(*(draws.draw(theta, rng) for _ in range(600)), strict=True)
    at, x = likelihood.shown(theta), data["x"].to_numpy()
    eta = x * at[p - 1] + (0.0 if family == "ordinal" else at[0])
    sds, own = at[p : p + 2], at[p + 2 :]
    if effects == "crossed":
        z, log_w = brute.evenly(31, 2)
        codes, total = data["id"].to_numpy(), np.empty(len(z))
        for k, v in enumerate(z):  # both items
            rows = rows_of(family, data, own, (1,))
            one, log_one = brute.evenly(41)
            by_row = rows(eta[:, None] + sds[0] * one.ravel() + (sds[1] * v[data["item"]])[:, None])
            clusters = np.add.reduceat(by_row, np.flatnonzero(np.diff(codes, prepend=-1)), axis=0)
            total[k] = np.logaddexp.reduce(clusters + log_one, axis=1).sum()
        share = np.exp(total + log_w - (total + log_w).max())
        share /= share.sum()
        u, exact, spread = np.array(drawn)[:, 0, -2], sds[1] * share @ z[:, 0], sds[1] * z[:, 0]
    else:
        last = np.flatnonzero(np.diff(data["id"], prepend=-1))[1]
        children = np.unique(data["child"][:last])
        z, log_w = brute.evenly(*((41, 2) if effects == "slopes" else (25, 1 + len(children))))
        some = data.iloc[:last]
        Z = (
            np.column_stack([sds[0] * np.ones(last), sds[1] * x[:last]])
            if effects == "slopes"
            else np.column_stack([sds[0] * np.ones(last), *(sds[1] * (some["child"] == c) for c in children)])
        )
        total = rows_of(family, some, own, (1,))(eta[:last, None] + Z @ z.T).sum(axis=0) + log_w
        share = np.exp(total - total.max())
        share /= share.sum()
        u, exact, spread = np.array(drawn)[:, 0, 0], sds[0] * share @ z[:, 0], sds[0] * z[:, 0]
    sd = np.sqrt(share @ (spread - exact) ** 2)
    assert np.mean(errors) < 0.01
    assert abs(u.mean() - exact) < 4.5 * sd / np.sqrt(len(u))
    assert u.std() == pytest.approx(sd, rel=0.15)


def test_any_number_of_workers_draws_the_same() -> None:
    fit = fitted("negative_binomial", "slopes", quadrature="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        for method in ("independence", "hamiltonian"):
            one, two = (fit.sample(15, chains=3, seed=4, n_jobs=n, method=method, warmup=10) for n in (1, 2))
            assert np.array_equal(one.unconstrained, two.unconstrained)


def test_without_data_the_prior_comes_back() -> None:
    fit = fitted("negative_binomial", "slopes", quadrature="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        drawn = fit.sample(1000, chains=2, seed=2, prior_only=True, prior=cg.Prior(sd="half_normal(1)"))
    values = np.abs(np.random.default_rng(1).normal(size=(40000, 3)) * [1.0, 1.0 / dispersed()["x"].std(ddof=0), 0.0])
    values[:, 2] = 2.5 * np.abs(np.random.default_rng(2).standard_t(3, 40000))
    for k in range(3):
        for level in (0.1, 0.5, 0.9):
            share = (drawn.values[:, :, 2 + k] <= np.quantile(values[:, k], level)).mean()
            assert share == pytest.approx(level, abs=0.05)


@pytest.mark.parametrize("effects", EFFECTS)
def test_what_follows_from_draws(effects, tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        fit = fitted("negative_binomial", effects, quadrature="auto")
        drawn = fit.sample(150, chains=2, seed=2, prior=cg.Prior(sd="half_normal(0.5)"), method="independence")
        new = pd.DataFrame({"x": [1.0], "id": [0], "child": [0], "item": [0]})
        flat = drawn.values.reshape(-1, 5)
        typical = drawn.predict(new, draws=300)["mean"].iloc[0]
        assert typical == pytest.approx(np.exp(flat[:, 0] + flat[:, 1]).mean(), rel=1e-12)
        spread = flat[:, 2] ** 2 + flat[:, 3] ** 2  # of both effects at x = 1
        marginal = drawn.predict(new, kind="marginal", draws=300)["mean"].iloc[0]
        assert marginal == pytest.approx(np.exp(flat[:, 0] + flat[:, 1] + 0.5 * spread).mean(), rel=1e-7)
        given = drawn.predict(kind="conditional", draws=100)["mean"]
        assert np.corrcoef(given, fit.predict(kind="conditional"))[0, 1] > 0.95
        table = drawn.effects(draws=300)
        assert len(table) == len(fit.random_effects)
        assert np.corrcoef(table["mean"], fit.random_effects["mean"])[0, 1] > 0.9
        seen, sets = drawn.predictive_statistics(60)
        assert (sets.min(axis=0) < seen).all()
        assert (seen < sets.max(axis=0)).all()
        if effects == "crossed":
            with pytest.raises(OptionError, match="crossed"):
                drawn.loo()
        else:
            assert drawn.loo(200).elpd == pytest.approx(drawn.waic(200).elpd, abs=1.5)
        drawn.save(tmp_path / "posterior.json.gz")
        again = cg.load(tmp_path / "posterior.json.gz")
        assert str(again) == str(drawn)
        assert again.effects(draws=5).equals(drawn.effects(draws=5))


def test_a_maximum_at_the_end_of_the_range() -> None:
    """Of counts that are no more dispersed than Poisson ones."""
    rng = np.random.default_rng(2)
    id_, x = np.repeat(np.arange(30), 5), rng.normal(size=150)
    y = rng.binomial(4, expit(rng.normal(size=30)[id_] + 0.5 * rng.normal(size=30)[id_] * x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        data = pd.DataFrame({"y": y, "id": id_, "x": x})
        fit = cg.random_effects("y ~ x + (x || id)", data, family="negative_binomial")
        drawn = fit.sample(300, chains=2, seed=1)
    assert fit.family_parameters["alpha"] == 0.0
    assert 0.0 < drawn.table().loc["alpha", "median"] < 0.3
    assert drawn.predict(kind="conditional", draws=20)["mean"].notna().all()
