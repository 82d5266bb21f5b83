"""Shape parameters that are estimated: degrees of freedom, weight and separation."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import OptionError
from clusterglm.fit.shape import shape_likelihood, shape_scores


def clustered(draw, clusters=150, size=6, seed=4):
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), size)
    x = rng.normal(size=len(cluster))
    eta = 0.5 + 0.4 * x + draw(rng, clusters)[cluster]
    return pd.DataFrame({"y": rng.poisson(np.exp(eta)), "x": x, "id": cluster})


@pytest.fixture(scope="module")
def heavy():
    return clustered(lambda rng, n: 0.5 * rng.standard_t(3.0, n))


@pytest.fixture(scope="module")
def fitted(heavy):
    return cg.random_effects("y ~ x", heavy, cluster="id", family="poisson", distribution="student_t")


def at_df(data, df):
    return cg.random_effects("y ~ x", data, cluster="id", family="poisson", distribution=cg.StudentT(df))


def test_degrees_of_freedom_maximise_the_profile(heavy, fitted):
    (df,) = fitted.shape.estimates
    assert 1.0 < df < 15.0
    assert fitted.distribution == cg.StudentT(df)
    assert fitted.loglik >= max(at_df(heavy, c * df).loglik for c in (0.97, 1.03))
    assert fitted.loglik == pytest.approx(at_df(heavy, df).loglik, abs=2e-6)
    value = shape_likelihood(fitted.fit, cg.StudentT())
    working = fitted.shape.working
    slope = (value(working + 1e-4)[0] - value(working - 1e-4)[0]) / 2e-4
    assert abs(slope * fitted.shape.covariance[-1, -1] ** 0.5) < 1e-2  # in standard errors


def test_uncertainty_of_the_shape_is_that_of_its_profile(heavy, fitted):
    """Curvature of the profile log-likelihood in 1/df, from fits at given df, is that of the joint information."""
    (x,) = fitted.shape.working
    h = 0.05 * x
    middle, up, down = (at_df(heavy, 1.0 / c).loglik for c in (x, x + h, x - h))
    curvature = -(up - 2.0 * middle + down) / h**2
    assert curvature**-0.5 == pytest.approx(fitted.shape.covariance[-1, -1] ** 0.5, rel=0.05)
    assert fitted.shape.std_errors[0] == pytest.approx(fitted.shape.covariance[-1, -1] ** 0.5 / x**2)
    given = at_df(heavy, fitted.shape.estimates[0])
    assert fitted.sigma_se > 1.05 * given.sigma_se  # sigma is a scale, and knows of the shape
    assert fitted.bse["x"] == pytest.approx(given.bse["x"], rel=0.05)


def test_shape_counts_is_shown_and_survives(fitted):
    assert fitted.n_parameters == 4
    assert fitted.aic == pytest.approx(2.0 * 4 - 2.0 * fitted.loglik)
    assert "df " in str(fitted.summary())
    assert "estimated" in str(fitted.summary())
    assert fitted.tidy()["term"].iloc[-1] == "df"
    assert "estimated too" in str(fitted.clustering_test)
    again = pickle.loads(pickle.dumps(fitted))
    assert again.shape.estimates == fitted.shape.estimates
    assert fitted.fit.free_distribution == cg.StudentT()


def test_what_cannot_allow_for_the_shape_says_so(heavy, fitted):
    with pytest.raises(OptionError, match="Wald or bootstrap"):
        fitted.conf_int(method="profile")
    smaller = cg.random_effects("y ~ 1", heavy, cluster="id", family="poisson", distribution="student_t")
    assert "no test" not in str(cg.compare(smaller, fitted))
    assert "means nothing at sigma = 0" in " ".join(str(cg.compare(fitted.pooled, fitted)).split())


def test_robust_covariance_knows_of_the_shape(fitted):
    scores = shape_scores(fitted.fit, fitted.shape)
    assert scores.shape == (150, 1)
    assert abs(scores.sum()) * fitted.shape.covariance[-1, -1] ** 0.5 < 1e-2
    robust = fitted.cov(kind="robust")
    assert np.all(np.linalg.eigvalsh(np.asarray(robust)) > 0.0)


def test_gaussian_intercepts_are_recognised():
    data = clustered(lambda rng, n: 0.7 * rng.uniform(-1.7, 1.7, n), seed=2)  # tails lighter than any t
    fit = cg.random_effects("y ~ x", data, cluster="id", family="poisson", distribution=cg.StudentT())
    assert fit.shape.estimates[0] == np.inf
    assert np.isnan(fit.shape.std_errors[0])
    assert fit.distribution.code == "gaussian"
    gaussian = cg.random_effects("y ~ x", data, cluster="id", family="poisson")
    assert fit.loglik == pytest.approx(gaussian.loglik, abs=1e-6)
    assert "Df is at the end of its range: the Gaussian" in str(fit.summary())
    assert fit.sigma_se == pytest.approx(gaussian.sigma_se, rel=1e-3)


def test_mixture_finds_two_groups():
    def two(rng, n):
        return np.where(rng.random(n) < 0.3, 1.4, -0.6) + 0.3 * rng.normal(size=n)

    data = clustered(two, seed=6)
    fit = cg.random_effects("y ~ x", data, cluster="id", family="poisson", distribution="gaussian_mixture")
    gaussian = cg.random_effects("y ~ x", data, cluster="id", family="poisson")
    weight, separation = fit.shape.estimates
    assert weight == pytest.approx(0.3, abs=0.12)
    assert 3.0 < separation <= 6.0
    assert fit.loglik > gaussian.loglik + 3.0
    assert fit.n_parameters == 5
    assert fit.random_effects_sd == fit.sigma
    half = cg.random_effects(
        "y ~ x", data, cluster="id", family="poisson", distribution=cg.GaussianMixture(separation=separation)
    )
    assert half.shape.names == ("weight",)
    assert half.loglik == pytest.approx(fit.loglik, abs=1e-3)


def test_shape_without_clustering(heavy):
    rng = np.random.default_rng(1)
    data = heavy.assign(y=rng.poisson(1.0, len(heavy)))
    fit = cg.random_effects("y ~ x", data, cluster="id", family="poisson", distribution="student_t")
    if fit.sigma == 0.0:
        assert np.isnan(fit.shape.std_errors).all()
    assert fit.converged


@pytest.mark.parametrize("working", [1e-9, 1e-4, 0.019, 0.021, 0.3, 1.0, 2.0])
def test_slopes_of_the_t_density_are_those_of_mpmath(working):
    mp = pytest.importorskip("mpmath")
    mp.mp.dps = 60
    t = np.array([0.0, 1e-3, 0.7, 5.0, 300.0, -2.0])
    found = cg.StudentT().by_shape(np.array([working]), t)[0]

    def log_density(inverse, at):
        df = 1 / inverse
        constant = mp.loggamma((df + 1) / 2) - mp.loggamma(df / 2) - mp.log(df * mp.pi) / 2
        return constant - (df + 1) / 2 * mp.log(1 + at**2 * inverse)

    step = working * mp.mpf(1e-15)
    for at, slope in zip(t.tolist(), found.tolist(), strict=True):
        exact = (log_density(working + step, at) - log_density(working - step, at)) / (2 * step)
        assert slope == pytest.approx(float(exact), rel=2e-11, abs=2e-11)


@pytest.mark.parametrize("given", [{}, {"weight": 0.3}, {"separation": 2.5}])
def test_slopes_of_the_mixture_are_differences_of_its_log_density(given):
    family = cg.GaussianMixture(**given)
    working = np.array([-0.8, 2.2] if not given else [2.2] if "weight" in given else [-0.8])
    t = np.linspace(-4.0, 4.0, 17)
    found = family.by_shape(working, t)
    assert found.shape == (len(working), 17)
    for j, step in enumerate(np.eye(len(working)) * 1e-5):
        up, down = family.with_shape(working + step), family.with_shape(working - step)
        differences = (up.log_density(t)[0] - down.log_density(t)[0]) / 2e-5
        assert found[j] == pytest.approx(differences, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("distribution", ["student_t", "gaussian_mixture"])
def test_scores_of_the_shape_are_differences_of_clusters_likelihoods(heavy, distribution):
    fit = cg.random_effects("y ~ x", heavy, cluster="id", family="poisson", distribution=distribution)
    family, working = fit.shape.family, fit.shape.working
    found = shape_scores(fit.fit, fit.shape)
    data = fit.fit.data.rows
    for j, step in enumerate(np.eye(len(working)) * 1e-4):
        values = []
        for at in (working + step, working - step):
            integrator = replace(fit.fit.integrator, distribution=family.with_shape(at))
            likelihood = integrator.likelihood(data.X, data, fit.fit.response)
            values.append(likelihood.unit_values(fit.fit.theta, integrator.adapted(fit.fit.plan)))
        assert found[:, j] == pytest.approx((values[0] - values[1]) / 2e-4, rel=1e-5, abs=1e-6)
