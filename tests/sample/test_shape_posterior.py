"""Posteriors where the shape of the intercept's distribution is sampled with the rest, against brute force."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import beta as beta_distribution
from scipy.stats import gamma as gamma_distribution
from scipy.stats import norm, t

import clusterglm as cg
from clusterglm.errors import OptionError, SamplingWarning
from clusterglm.sample.coordinates import Coordinate, Coordinates
from clusterglm.sample.densities import GammaOfInverse, of_place
from clusterglm.sample.target import Target

sys.path.insert(0, str(Path(__file__).parent))
import brute

EXACT = cg.Quadrature("auto", tolerance=1e-7)


def clustered(m: int = 40, size: int = 6, seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    id_ = np.repeat(np.arange(m), size)
    x = rng.normal(size=m * size)
    u = 1.2 * rng.standard_t(3, m)
    return pd.DataFrame({"id": id_, "x": x, "y": (rng.random(m * size) < expit(0.3 + u[id_])).astype(int)})


def fitted(distribution: str, **options) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        return cg.random_effects("y ~ 1", clustered(), cluster="id", distribution=distribution, **options)


def standard_log_density(distribution: str, shape: np.ndarray):
    """Of the standard member: Student's t, or a mixture of two normal ones, of mean 0 and variance 1."""
    if distribution == "student_t":
        return lambda v: t.logpdf(v, shape[0])
    weight, gap = shape
    sd = 1.0 / np.sqrt(1.0 + weight * (1.0 - weight) * gap**2)
    return lambda v: np.logaddexp(
        np.log1p(-weight) + norm.logpdf(v, -weight * gap * sd, sd),
        np.log(weight) + norm.logpdf(v, (1.0 - weight) * gap * sd, sd),
    )


def log_posterior(distribution: str, data: pd.DataFrame, x: np.ndarray) -> float:
    """In (intercept, log of the scale, logits of the working values' places)."""
    intercept, sigma, place = x[0], np.exp(x[1]), expit(x[2:])
    if distribution == "student_t":
        df = 1.0 / (2.0 * place[0])
        shape = np.array([df])
        prior = gamma_distribution.logpdf(df, 2.0, scale=10.0) + np.log(df * (1.0 - place[0]))
    else:
        shape = np.array([expit(9.0 * place[0] - 4.5), 6.0 * place[1]])
        prior = beta_distribution.logpdf(place[0], 2.0, 2.0) + np.log(place * (1.0 - place)).sum()
    # the effect on the scale of sinh, where all of the tails are
    s = np.linspace(-9.0, 9.0, 901)
    v, jacobian = np.sinh(s), np.cosh(s)
    successes = data.groupby("id")["y"].sum().to_numpy()
    eta = intercept + sigma * v
    rows = successes[:, None] * log_expit(eta) + (6 - successes)[:, None] * log_expit(-eta)
    log_f = standard_log_density(distribution, shape)(v) + np.log(jacobian * (s[1] - s[0]))
    return logsumexp(rows + log_f, axis=1).sum() + prior + brute.normal(intercept, 2.5) + brute.half_t(sigma)


@pytest.mark.parametrize("distribution", ["student_t", "gaussian_mixture"])
def test_the_density_is_that_of_brute_force(distribution) -> None:
    fit = fitted(distribution, quadrature=EXACT)
    likelihood = fit._sampled()
    density = cg.Prior().of(likelihood.coordinates)
    target = Target(likelihood, density, likelihood.points(likelihood.coordinates.theta(likelihood.start)))
    rng, data, off = np.random.default_rng(2), clustered(), []
    for _ in range(6):
        x = likelihood.start + 0.2 * rng.normal(size=len(likelihood.start))
        off.append(target.value(x) - log_posterior(distribution, data, x))
    assert np.ptp(off) < 1e-3


@pytest.mark.parametrize("distribution", ["student_t", "gaussian_mixture"])
def test_derivatives_of_the_target(distribution) -> None:
    likelihood = fitted(distribution, quadrature=EXACT)._sampled()
    density = cg.Prior(shape="beta(2, 3)").of(likelihood.coordinates)
    x = likelihood.start + 0.1
    target = Target(likelihood, density, likelihood.points(likelihood.coordinates.theta(x)))
    at, h = target.evaluate(x), 1e-3
    assert at.value == pytest.approx(target.value(x), rel=1e-9)
    for k, e in enumerate(np.eye(len(x))):
        ahead, behind = target.evaluate(x + h * e, 1), target.evaluate(x - h * e, 1)
        assert at.score[k] == pytest.approx((ahead.value - behind.value) / (2 * h), rel=1e-3, abs=1e-3)
        np.testing.assert_allclose(at.hessian[k], (ahead.score - behind.score) / (2 * h), rtol=2e-3, atol=5e-3)


def test_means_and_quantiles_are_those_of_brute_force() -> None:
    data, fit = clustered(), fitted("student_t")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        drawn = fit.sample(250, chains=2, seed=3)
    assert drawn.names == ("(Intercept)", "sigma", "df")

    def density(x: np.ndarray) -> float:
        return log_posterior("student_t", data, x)

    x, weights = brute.importance(density, drawn.unconstrained.reshape(-1, 3).mean(axis=0), 800)
    values = np.column_stack([x[:, 0], np.exp(x[:, 1]), 0.5 / expit(x[:, 2])])
    assert not brute.refute(drawn.values, values, weights)


@pytest.mark.parametrize("density", [GammaOfInverse(2.0, 0.1, 2.0), GammaOfInverse(1.5, 0.5, 4.0), of_place(2.0, 3.0)])
def test_densities_of_shapes(density) -> None:
    """They integrate to 1, have their derivatives, and draws of them have their quantiles."""
    assert quad(lambda x: np.exp(density.terms(x).value), -30.0, 30.0, limit=200)[0] == pytest.approx(1.0, abs=1e-8)
    h = 1e-4
    for x in (-4.0, -1.0, 0.5, 2.0):
        ahead, here, behind = (density.terms(x + step) for step in (h, 0.0, -h))
        assert here.first == pytest.approx((ahead.value - behind.value) / (2 * h), rel=1e-6, abs=1e-6)
        assert here.second == pytest.approx((ahead.first - behind.first) / (2 * h), rel=1e-6, abs=1e-6)
    drawn = density.draw(np.random.default_rng(1), 4000)
    if isinstance(density, GammaOfInverse):
        exact = gamma_distribution(density.shape, scale=1.0 / density.rate)
        above, value = exact.sf(1.0 / density.most), 1.0 / (density.most * expit(drawn))
        shares = exact.sf(value) / above
    else:
        shares = beta_distribution(density.a, density.b).cdf(expit(drawn))
    for level in (0.1, 0.5, 0.9):
        assert (shares <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 4000))


def test_priors_of_shapes_in_words() -> None:
    of_df = Coordinates((Coordinate("df", "shape", prior="gamma(2, 0.1)", ends=(0.0, 2.0), inverse=True),))
    assert dict(cg.Prior().of(of_df).lines()) == {"df": "gamma with shape 2 and rate 0.1, above 0.5"}
    assert dict(cg.Prior(shape="beta(1, 3)").of(of_df).lines()) == {"df": "beta(1, 3) of its place in its range"}
    assert "shapes of distributions: df beta(1, 3)" in str(cg.Prior(shape={"df": "beta(1, 3)"}))
    with pytest.raises(OptionError, match="one of beta"):
        cg.Prior(shape="half_normal(1)")
    with pytest.raises(OptionError, match="'weight'"):
        cg.Prior(shape={"weight": "beta(1, 1)"}).of(of_df)
    of_weight = Coordinates((Coordinate("weight", "shape", prior="beta(2, 2)", ends=(-4.5, 4.5)),))
    with pytest.raises(OptionError, match="place in its range"):
        cg.Prior(shape="gamma(2, 0.1)").of(of_weight)


def test_what_follows_from_draws(tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        fit = fitted("student_t")
        drawn = fit.sample(50, chains=2, seed=2, n_jobs=2)
        assert np.array_equal(drawn.unconstrained, fit.sample(50, chains=2, seed=2).unconstrained)
        typical = drawn.predict(kind="typical", draws=100)["mean"].iloc[0]
        assert typical == pytest.approx(expit(drawn.values[:, :, 0]).mean(), rel=1e-9)
        given = drawn.predict(kind="conditional", draws=60)["mean"]
        assert np.corrcoef(given, fit.predict(kind="conditional"))[0, 1] > 0.97
        assert drawn.predict(kind="marginal", draws=10)["mean"].between(0.3, 0.7).all()
        assert drawn.loo(100).elpd == pytest.approx(drawn.waic(100).elpd, abs=1.0)
        seen, sets = drawn.predictive_statistics(30)
        assert (sets.min(axis=0) < seen).all()
        assert (seen < sets.max(axis=0)).all()
        drawn.save(tmp_path / "posterior.json.gz")
        again = cg.load(tmp_path / "posterior.json.gz")
        assert str(again) == str(drawn)
        prior_alone = fit.sample(500, chains=2, seed=1, prior_only=True)
        df = prior_alone.values[:, :, 2]
        for level in (0.1, 0.5, 0.9):
            end = gamma_distribution.ppf(level, 2.0, scale=10.0)
            assert (df <= end).mean() == pytest.approx(level, abs=0.05)


def test_a_shape_at_the_end_of_its_range() -> None:
    """Of intercepts that are normal."""
    rng = np.random.default_rng(1)
    id_ = np.repeat(np.arange(40), 6)
    y = (rng.random(240) < expit(rng.normal(size=40)[id_])).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        data = pd.DataFrame({"y": y, "id": id_})
        drawn = cg.random_effects("y ~ 1", data, cluster="id", distribution="student_t").sample(60, chains=2, seed=1)
    assert drawn.table().loc["df", "median"] > 5.0


def test_smooth_densities_are_refused_in_a_sentence() -> None:
    fit = fitted("smooth(lambda=10)")
    with pytest.raises(OptionError, match="smooth density"):
        fit.sample(10)
