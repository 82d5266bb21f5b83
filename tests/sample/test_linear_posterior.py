"""Posteriors of linear mixed models: a dense grid, differences, effects by dense matrices, what follows."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import OptionError, SamplingWarning
from clusterglm.sample.diagnostics import worth
from clusterglm.sample.target import Target

MODELS = {
    "one": "y ~ x + (1 | id)",
    "slopes": "y ~ x + (x | id)",
    "nested": "y ~ x + (1 | id) + (1 | id:k)",
    "crossed": "y ~ x + (1 | id) + (1 | w)",
    "one correlation": "y ~ x + cs(x | id)",
}


def measured(m: int = 15, size: int = 6, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n, id_ = m * size, np.repeat(np.arange(m), size)
    x, k, w = rng.normal(2.0, 1.0, n), np.tile(np.arange(size) // 2, m), np.tile(np.arange(size), m)
    u, v = 4.0 * rng.normal(size=m), 1.5 * rng.normal(size=m)
    y = 50.0 + 3.0 * x + u[id_] + v[id_] * x + 2.0 * rng.normal(size=(m, 3))[id_, k] + 3.0 * rng.normal(size=n)
    return pd.DataFrame({"id": id_, "x": x, "y": y, "k": k, "w": w})


def fitted(model: str, **options):
    return cg.random_effects(MODELS[model], measured(), family="gaussian", **options)


@pytest.mark.parametrize("method", ["independence", "hamiltonian"])
def test_a_dense_grid_says_the_same(method) -> None:
    frame = measured(12, 4, 3)
    y = frame["y"].to_numpy().reshape(12, 4)
    unit, centre = y.std(), y.mean()
    axes = np.linspace(centre - 12.0, centre + 12.0, 97), np.linspace(-4.0, 3.6, 153), np.linspace(0.6, 2.4, 73)
    table = np.empty([len(axis) for axis in axes])
    for j, log_sd in enumerate(axes[1]):
        for k, log_residual in enumerate(axes[2]):
            V = np.exp(2.0 * log_sd) * np.ones((4, 4)) + np.exp(2.0 * log_residual) * np.eye(4)
            left = y[None] - axes[0][:, None, None]
            squares = np.einsum("bij,jk,bik->b", left, np.linalg.inv(V), left)
            prior = -0.5 * ((axes[0] - centre) / (2.5 * unit)) ** 2
            for one in (log_sd, log_residual):
                prior += one - 2.0 * np.log1p(np.exp(2.0 * one) / (2.5 * unit) ** 2 / 3.0)
            table[:, j, k] = -0.5 * squares - 6.0 * np.linalg.slogdet(V)[1] + prior
    p = np.exp(table - table.max())
    p /= p.sum()
    fit = cg.random_effects("y ~ 1 + (1 | id)", frame, family="gaussian")
    drawn = fit.sample(1500, chains=2, seed=6, method=method)
    assert drawn.names == ("(Intercept)", "sd(id: (Intercept))", "residual_sd")
    for d, axis in enumerate(axes):
        share = p.sum(axis=tuple({0, 1, 2} - {d}))
        assert share[0] < 1e-3
        assert share[-1] < 1e-3
        value = np.exp(axis) if d else axis
        mean = share @ value
        x = drawn.values[:, :, d]
        known = worth(x)
        assert x.mean() == pytest.approx(mean, abs=4 * known.mcse_mean)
        assert x.std() == pytest.approx(np.sqrt(share @ (value - mean) ** 2), rel=4 * np.sqrt(1.5 / known.ess_bulk))
        for level in (0.025, 0.975):
            end = np.interp(level, np.cumsum(share) - 0.5 * share, axis)
            error = 4 * np.sqrt(0.025 * 0.975 / known.ess_tail) + 1e-3
            assert (x <= (np.exp(end) if d else end)).mean() == pytest.approx(level, abs=error)


@pytest.mark.parametrize("model", MODELS)
def test_derivatives_of_the_target(model) -> None:
    likelihood = fitted(model)._sampled()
    density = cg.Prior(family={"residual_sd": "exponential(1)"}).of(likelihood.coordinates)
    x = likelihood.start + 0.1 * np.random.default_rng(1).normal(size=len(likelihood.coordinates))
    target = Target(likelihood, density, likelihood.points(likelihood.coordinates.theta(x)))
    at, h = target.evaluate(x), 1e-5
    assert at.value == pytest.approx(target.value(x), rel=1e-12)
    for k, e in enumerate(np.eye(len(x))):
        ahead, behind = target.evaluate(x + h * e, 1), target.evaluate(x - h * e, 1)
        assert at.score[k] == pytest.approx((ahead.value - behind.value) / (2 * h), rel=1e-6, abs=1e-6)
        np.testing.assert_allclose(at.hessian[k], (ahead.score - behind.score) / (2 * h), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_the_likelihood_is_the_full_one(model) -> None:
    fit = fitted(model, reml=False)
    likelihood = fit._sampled()
    theta = likelihood.coordinates.theta(likelihood.start)
    there = likelihood.fit_at(theta)
    Z, L = fit.data.effects.Z, there.factor
    data = fit.data
    V = there.residual_sd**2 * np.eye(data.n_obs)
    columns = [factor.columns for factor in fit.fit.task.statistics.factors]
    for levels, some in zip(data.effects.groupings, columns, strict=True):
        z = Z[:, some] @ L[np.ix_(some, some)]
        V += (z @ z.T) * (levels.codes[:, None] == levels.codes)
    left = data.a - data.X @ there.beta
    exact = -0.5 * (left @ np.linalg.solve(V, left) + np.linalg.slogdet(V)[1] + data.n_obs * np.log(2 * np.pi))
    value = likelihood.value(theta, likelihood.points(theta))
    assert value == pytest.approx(exact, rel=1e-12)
    if model != "crossed":
        assert likelihood.cluster_values(theta, likelihood.points(theta)).sum() == pytest.approx(value, rel=1e-12)
    # effects given the data, by the same matrix
    draws, rng = fit._effect_draws(likelihood), np.random.default_rng(1)
    drawn = np.array([draws.draw(theta, rng)[0] for _ in range(600)])
    for levels, some in zip(data.effects.groupings, columns, strict=True):
        S = L[np.ix_(some, some)] @ L[np.ix_(some, some)].T
        for level in (0, len(levels.labels) - 1):
            C = S @ (Z[:, some] * (levels.codes == level)[:, None]).T
            mean, covariance = C @ np.linalg.solve(V, left), S - C @ np.linalg.solve(V, C.T)
            u = drawn[:, level][:, some]
            sd = np.sqrt(np.diag(covariance))
            assert np.abs((u.mean(axis=0) - mean) / sd).max() < 4.5 / np.sqrt(600)
            np.testing.assert_allclose(np.cov(u.T) / np.outer(sd, sd), covariance / np.outer(sd, sd), atol=0.25)


def test_weights_are_rows() -> None:
    frame = measured()
    frame["n"] = 1 + np.arange(len(frame)) % 3
    whole = frame.loc[frame.index.repeat(frame["n"])]
    one, other = (
        cg.random_effects("y ~ x + (1 | id)", each, family="gaussian", **more)
        for each, more in ((frame, {"weights": "n"}), (whole, {}))
    )
    likelihoods = one._sampled(), other._sampled()
    theta = likelihoods[0].coordinates.theta(likelihoods[0].start)
    values = [each.cluster_values(theta, each.points(theta)) for each in likelihoods]
    np.testing.assert_allclose(*values, rtol=1e-10)
    assert values[0].sum() == pytest.approx(likelihoods[0].value(theta, likelihoods[0].points(theta)), rel=1e-12)


def test_units_of_the_response_do_not_matter() -> None:
    frame = measured()
    one, other = (
        cg.random_effects("y ~ x + (1 | id)", frame.assign(y=frame["y"] * c), family="gaussian").sample(
            200, chains=1, seed=1, method="independence"
        )
        for c in (1.0, 1000.0)
    )
    np.testing.assert_allclose(other.values, 1000.0 * one.values, rtol=1e-6)


def test_without_data_the_prior_comes_back() -> None:
    prior = cg.Prior(family="exponential(0.5)", scaled=False, intercept="normal(10, 2)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        drawn = fitted("slopes").sample(800, chains=2, seed=2, prior=prior, prior_only=True, method="hamiltonian")
    exact = prior.of(drawn._coordinates).draw(np.random.default_rng(1), 40000)
    exact[:, -1] = np.log(np.random.default_rng(2).exponential(2.0, 40000))
    for k in range(exact.shape[1]):
        x = drawn.unconstrained[:, :, k]
        for level in (0.1, 0.5, 0.9):
            share = (x <= np.quantile(exact[:, k], level)).mean()
            assert share == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / worth(x).ess_tail) + 0.005)


def test_what_follows_from_draws(tmp_path) -> None:
    fit = fitted("nested", reml=True)
    posterior = fit.sample(400, chains=2, seed=2)
    assert "the full one, not the restricted one of the fit" in str(posterior)
    assert "Likelihood:" not in str(fitted("one", reml=False).sample(200, chains=2, seed=2, method="hamiltonian"))
    given = posterior.predict(kind="conditional", draws=300)
    assert np.abs(given["mean"] - fit.predict(kind="conditional")).max() < 1.5
    assert np.corrcoef(given["mean"], fit.predict(kind="conditional"))[0, 1] > 0.99
    typical = posterior.predict(pd.DataFrame({"x": [2.0]}), draws=800)["mean"].iloc[0]
    flat = posterior.values.reshape(-1, 5)
    assert typical == pytest.approx((flat[:, 0] + 2.0 * flat[:, 1]).mean(), rel=1e-12)
    table = posterior.effects(draws=100)
    assert table["group"].value_counts().to_dict() == {"id": 15, "id:k": 45}
    assert np.corrcoef(table["mean"], fit.random_effects["mean"])[0, 1] > 0.98
    assert posterior.compare(fitted("one").sample(200, chains=2, seed=1, method="hamiltonian")).shape == (2, 6)
    seen, sets = posterior.predictive_statistics(100)
    assert (np.quantile(sets, 0.005, axis=0) < seen).all()
    assert (seen < np.quantile(sets, 0.995, axis=0)).all()
    posterior.save(tmp_path / "posterior.json.gz")
    again = cg.load(tmp_path / "posterior.json.gz")
    assert again.effects(draws=10).equals(posterior.effects(draws=10))
    one, two = (fit.sample(150, chains=3, seed=4, n_jobs=n, method="hamiltonian", warmup=100) for n in (1, 2))
    assert np.array_equal(one.unconstrained, two.unconstrained)
    crossed = fitted("crossed").sample(200, chains=2, seed=1, method="hamiltonian")
    assert len(crossed.effects(draws=5)) == 21
    with pytest.raises(OptionError, match="'w' cross"):
        crossed.loo()
    with pytest.raises(OptionError, match="sample of a fit"):
        cg.pooled("y ~ x", measured(), family="gaussian").sample()
