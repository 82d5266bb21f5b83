"""Posteriors where the response has parameters of its own: a dense grid, differences, the prior, what follows."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, gammaln, logsumexp

import clusterglm as cg
from clusterglm.errors import OptionError, SamplingWarning
from clusterglm.sample.diagnostics import worth
from clusterglm.sample.target import Target

FORMULAS = {
    "negative_binomial": "y ~ x",
    "negative_binomial1": "y ~ x",
    "truncated_negative_binomial": "positive ~ x",
    "beta_binomial": "cbind(k, f) ~ x",
    "gamma": "t ~ x",
    "weibull": "Surv(t, e) ~ x",
    "exponential": "Surv(t, e) ~ x",
    "ordinal": "o ~ x",
}
POSITIVE = [family for family in FORMULAS if family not in ("exponential", "ordinal")]
LEVELS = (0.025, 0.975)


def dispersed(m: int = 24, size: int = 5, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n, id_ = m * size, np.repeat(np.arange(m), size)
    x = rng.normal(1.0, 1.0, n)
    eta = 0.5 + 0.3 * x + 0.7 * rng.normal(size=m)[id_]
    y = rng.poisson(np.exp(eta) * rng.gamma(2.0, 0.5, n))
    p = expit(eta - 0.5)
    k = rng.binomial(6, rng.beta(3 * p, 3 * (1 - p)))
    t, e = np.exp(eta) * rng.gamma(3.0, 1 / 3, n), rng.binomial(1, 0.8, n)
    o = np.digitize(eta + rng.logistic(size=n), [-0.5, 0.8, 2.0])
    each = {"y": y, "positive": y + 1, "k": k, "f": 6 - k, "t": t, "e": e, "o": o}
    return pd.DataFrame({"id": id_, "x": x, **each})


def fitted(family: str, **options) -> object:
    return cg.random_effects(FORMULAS[family], dispersed(), cluster="id", family=family, **options)


@pytest.fixture(scope="module")
def counts():
    return cg.random_effects("y ~ 1", dispersed(20, 4, 3), cluster="id", family="negative_binomial")


@pytest.fixture(scope="module")
def posterior(counts):
    return counts.sample(1500, chains=2, seed=5)


@pytest.fixture(scope="module")
def exact(counts):
    """Means, standard deviations and quantiles of (beta, sigma, alpha) by a grid over (beta, log sigma, log alpha)."""
    frame = dispersed(20, 4, 3)
    y = frame["y"].to_numpy()[:, None]
    axes = np.linspace(-1.6, 2.6, 43), np.linspace(-6.0, 1.6, 48), np.linspace(-6.5, 2.2, 48)
    z = np.linspace(-7.0, 7.0, 71)
    log_weights = -0.5 * z**2 - 0.5 * np.log(2 * np.pi) + np.log(z[1] - z[0])
    table = np.empty([len(axis) for axis in axes])
    for i, beta in enumerate(axes[0]):
        for j, log_sigma in enumerate(axes[1]):
            mu = np.exp(beta + np.exp(log_sigma) * z)
            for k, log_alpha in enumerate(axes[2]):
                r = np.exp(-log_alpha)
                rows = gammaln(y + r) - gammaln(r) - gammaln(y + 1.0)
                rows = rows + r * np.log(r / (r + mu)) + y * np.log(mu / (r + mu))
                clusters = rows.reshape(20, 4, -1).sum(axis=1)
                prior = -0.5 * (beta / 2.5) ** 2
                for one in (log_sigma, log_alpha):  # half-t of the value, on its logarithm
                    prior += one - 2.0 * np.log1p(np.exp(2.0 * one) / 2.5**2 / 3.0)
                table[i, j, k] = logsumexp(clusters + log_weights, axis=1).sum() + prior
    p = np.exp(table - table.max())
    p /= p.sum()
    found = []
    for d, axis in enumerate(axes):
        share = p.sum(axis=tuple({0, 1, 2} - {d}))
        assert share[0] < 1e-3
        assert share[-1] < 1e-3
        value = np.exp(axis) if d else axis
        mean = share @ value
        ends = np.interp(LEVELS, np.cumsum(share) - 0.5 * share, axis)
        found.append((mean, np.sqrt(share @ (value - mean) ** 2), *(np.exp(ends) if d else ends)))
    return found


@pytest.mark.parametrize("method", ["independence", "hamiltonian"])
def test_a_dense_grid_says_the_same(counts, posterior, exact, method) -> None:
    drawn = counts.sample(1000, chains=2, seed=6, method=method)
    assert drawn.names == ("(Intercept)", "sigma", "alpha")
    for k, (mean, sd, *ends) in enumerate(exact):
        x = drawn.values[:, :, k]
        known = worth(x)
        assert x.mean() == pytest.approx(mean, abs=4 * known.mcse_mean)
        assert x.std() == pytest.approx(sd, rel=4 * np.sqrt(1.5 / known.ess_bulk))
        for level, end in zip(LEVELS, ends, strict=True):
            error = 4 * np.sqrt(0.025 * 0.975 / known.ess_tail) + 1e-3
            assert (x <= end).mean() == pytest.approx(level, abs=error)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        *((family, {}) for family in FORMULAS),
        ("negative_binomial", {"distribution": "student_t(4)"}),
        ("negative_binomial", {"sigma": 0.5, "fix_sigma": True}),
        ("ordinal", {"link": "cloglog"}),
    ],
)
def test_derivatives_of_the_target(family, options) -> None:
    likelihood = fitted(family, **options)._sampled()
    density = cg.Prior(family="half_normal(2)").of(likelihood.coordinates)
    x = likelihood.start + 0.1 * np.random.default_rng(1).normal(size=len(likelihood.coordinates))
    target = Target(likelihood, density, likelihood.points(likelihood.coordinates.theta(x)))
    at, h = target.evaluate(x), 1e-5
    assert at.value == pytest.approx(target.value(x), rel=1e-12)
    for k, e in enumerate(np.eye(len(x))):
        ahead, behind = target.evaluate(x + h * e, 1), target.evaluate(x - h * e, 1)
        assert at.score[k] == pytest.approx((ahead.value - behind.value) / (2 * h), rel=1e-6, abs=1e-6)
        np.testing.assert_allclose(at.hessian[k], (ahead.score - behind.score) / (2 * h), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("family", FORMULAS)
def test_the_likelihood_is_that_of_the_fit(family) -> None:
    """And clusters' parts add up to it, the constants of the data included."""
    fit = fitted(family)
    likelihood = fit._sampled()
    theta = likelihood.coordinates.theta(likelihood.start)
    points = likelihood.points(theta)
    value = likelihood.value(theta, points)
    assert likelihood.cluster_values(theta, points).sum() + fit.data.constant == pytest.approx(value, rel=1e-12)
    if fit.sigma > 0.0:  # else the search begins inside
        assert value == pytest.approx(fit.loglik, abs=1e-6)


@pytest.mark.parametrize("words", ["exponential(2)", "pc(3, 0.1)", "half_normal(0.7)", None])
def test_without_data_the_prior_comes_back(words) -> None:
    fit = cg.random_effects("cbind(k, f) ~ 1", dispersed(), cluster="id", family="beta_binomial", quadrature=3)
    prior = cg.Prior(family=words if words is None else {"phi": words}, sd="half_normal(1)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        drawn = fit.sample(800, chains=2, seed=2, prior=prior, prior_only=True, method="hamiltonian")
    phi, rng = drawn.values[:, :, 2], np.random.default_rng(1)
    exact = {
        "exponential(2)": lambda n: rng.exponential(0.5, n),
        "pc(3, 0.1)": lambda n: rng.exponential(3.0 / np.log(10.0), n),
        "half_normal(0.7)": lambda n: 0.7 * np.abs(rng.normal(size=n)),
        None: lambda n: 10.0 * np.abs(rng.standard_cauchy(n)),
    }[words](40000)
    for level in (0.1, 0.5, 0.9):
        share = (phi <= np.quantile(exact, level)).mean()
        assert share == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / worth(phi).ess_tail) + 0.005)


def test_priors_of_a_response_in_words() -> None:
    likelihood = fitted("negative_binomial")._sampled()
    told = dict(cg.Prior(family="pc(2, 0.05)").of(likelihood.coordinates).lines())
    assert told["alpha"] == "exponential with P(value > 2) = 0.05 (penalised complexity)"
    assert "parameters of the family: alpha exponential(1)" in str(cg.Prior(family={"alpha": "exponential(1)"}))
    with pytest.raises(OptionError, match="one of half_normal"):
        cg.Prior(family="normal(0, 1)")
    with pytest.raises(OptionError, match="one of half_normal"):
        cg.Prior(family="flat")
    with pytest.raises(OptionError, match="'phi'"):
        cg.Prior(family={"phi": "exponential(1)"}).of(likelihood.coordinates)


def test_any_number_of_workers_draws_the_same(counts) -> None:
    one, two = (counts.sample(40, chains=3, seed=4, n_jobs=n, method="hamiltonian", warmup=40) for n in (1, 2))
    assert np.array_equal(one.unconstrained, two.unconstrained)


def test_a_maximum_at_the_end_of_the_range() -> None:
    """Of counts that are no more dispersed than Poisson ones."""
    rng = np.random.default_rng(2)
    id_ = np.repeat(np.arange(30), 5)
    y = rng.binomial(4, expit(rng.normal(size=30)[id_]))
    fit = cg.random_effects("y ~ 1", pd.DataFrame({"y": y, "id": id_}), cluster="id", family="negative_binomial")
    assert fit.family_parameters["alpha"] == 0.0
    drawn = fit.sample(400, chains=2, seed=1)
    assert 0.0 < drawn.table().loc["alpha", "median"] < 0.3
    assert drawn.table()["rhat"].max() < 1.03
    assert drawn.predict(kind="conditional", draws=20)["mean"].notna().all()


@pytest.mark.parametrize(
    ("family", "options"), [*((family, {}) for family in FORMULAS), ("ordinal", {"link": "cloglog"})]
)
def test_effects_have_the_density_that_rows_say(family, options) -> None:
    """By sums over a grid of the intercept, of the response's own log-probabilities."""
    fit = fitted(family, **options)
    likelihood = fit._sampled()
    theta = likelihood.coordinates.theta(likelihood.start)
    theta[fit.data.X.shape[1]] = 0.8
    draws, rng = fit._effect_draws(likelihood), np.random.default_rng(1)
    drawn, errors = zip(*(draws.draw(theta, rng) for _ in range(400)), strict=True)
    u, data, at = np.array(drawn)[:, :, 0], fit.data, likelihood.fit_at(theta)
    grid = np.linspace(-5.0, 5.0, 801)
    eta = (data.X @ at.beta + data.offset)[:, None] + grid
    rows = at.response.value(eta, data.a[:, None], data.b[:, None])
    log_density = np.add.reduceat(rows, data.starts[:-1], axis=0) - 0.5 * (grid / 0.8) ** 2
    p = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    mean = p @ grid
    sd = np.sqrt(p @ grid**2 - mean**2)
    assert max(errors) < 0.01
    assert np.abs((u.mean(axis=0) - mean) / sd * 20.0).max() < 4.5
    assert np.abs(u.std(axis=0) / sd - 1.0).max() < 0.2


def test_what_follows_from_draws(counts, posterior, tmp_path) -> None:
    wider = fitted("negative_binomial").sample(300, chains=2, seed=2)
    given = wider.predict(kind="conditional", draws=200)["mean"]
    assert np.corrcoef(given, wider.result.predict(kind="conditional"))[0, 1] > 0.98
    typical = wider.predict(pd.DataFrame({"x": [1.0]}), draws=600)["mean"].iloc[0]
    flat = wider.values.reshape(-1, 4)
    assert typical == pytest.approx(np.exp(flat[:, 0] + flat[:, 1]).mean(), rel=1e-12)
    marginal = wider.predict(pd.DataFrame({"x": [1.0]}), kind="marginal", draws=600)["mean"].iloc[0]
    assert marginal == pytest.approx(np.exp(flat[:, 0] + flat[:, 1] + 0.5 * flat[:, 2] ** 2).mean(), rel=1e-9)
    seen, sets = posterior.predictive_statistics(100)
    assert (np.quantile(sets, 0.005, axis=0) < seen).all()
    assert (seen < np.quantile(sets, 0.995, axis=0)).all()
    assert posterior.loo().elpd == pytest.approx(posterior.waic().elpd, abs=0.5)
    poisson = cg.random_effects("y ~ 1", dispersed(20, 4, 3), cluster="id", family="poisson")
    table = posterior.compare(poisson.sample(500, chains=2, seed=2))
    assert table.index.tolist() == [0, 1]  # the counts are dispersed
    assert table.loc[1, "difference"] < -5.0
    posterior.save(tmp_path / "posterior.json.gz")
    again = cg.load(tmp_path / "posterior.json.gz")
    assert str(again) == str(posterior)
    assert again.effects(draws=10).equals(posterior.effects(draws=10))


def test_times_and_categories() -> None:
    times = fitted("weibull").sample(200, chains=2, seed=1, method="hamiltonian", warmup=100)
    flat = times.values.reshape(-1, 4)
    new = pd.DataFrame({"x": [1.0]})
    k = flat[:, 3]
    mean = np.exp(gammaln(1.0 + 1.0 / k) - (flat[:, 0] + flat[:, 1]) / k)
    assert times.predict(new, draws=400)["mean"].iloc[0] == pytest.approx(mean.mean(), rel=1e-9)
    averaged = mean * np.exp(0.5 * (flat[:, 2] / k) ** 2)
    found = times.predict(new, kind="marginal", draws=400)["mean"].iloc[0]
    assert found == pytest.approx(averaged.mean(), rel=1e-9)
    with pytest.raises(OptionError, match="censored"):
        times.predictive_statistics(5)
    categories = fitted("ordinal").sample(200, chains=2, seed=1, method="hamiltonian", warmup=100)
    flat = categories.values.reshape(-1, 5)
    assert (np.diff(flat[:, 2:], axis=1) > 0.0).all()
    assert categories.predict(new, scale="link", draws=400)["mean"].iloc[0] == pytest.approx(flat[:, 0].mean())
    assert set(np.unique(categories.simulate(2).to_numpy())) <= {"0", "1", "2", "3"}
    for ask in (
        lambda: categories.predict(new),
        lambda: categories.predict(kind="marginal", scale="link"),
        lambda: categories.predictive_statistics(5),
    ):
        with pytest.raises(OptionError, match="no mean"):
            ask()
    with pytest.raises(OptionError, match="ordered categories"):
        fitted("ordinal").sample(20, prior_only=True)


@pytest.mark.parametrize("family", ["poisson", "negative_binomial", "beta_binomial"])
def test_what_is_said_of_a_cluster_left_out_is_a_probability(family) -> None:
    """With the constants of its own counts, which differ from cluster to cluster and were once left out."""
    formula = FORMULAS.get(family, "y ~ x")
    data = dispersed().assign(w=np.repeat(np.random.default_rng(3).integers(1, 4, 24), 5))
    fit = cg.random_effects(formula, data, cluster="id", family=family, cluster_weights="w")
    constants = fit._constants_of_clusters()
    assert constants @ data["w"].to_numpy()[::5] == pytest.approx(fit.data.constant, rel=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        accuracy = fit.sample(200, chains=2, seed=1).loo(100)
    each = accuracy.to_frame()["elpd"]
    assert (each < 0.0).all()
    assert accuracy.elpd == pytest.approx(float(each @ data["w"].to_numpy()[::5]), rel=1e-12)
    assert accuracy.se < 0.3 * abs(accuracy.elpd)
