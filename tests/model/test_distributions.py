"""Laplace, bridge, log-gamma, mixture and user-supplied intercepts: densities, quantiles, moments, names."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import mpmath as mp
import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr, ndtri

import clusterglm as cg
from clusterglm.errors import OptionError
from clusterglm.model.distribution import (
    Bridge,
    GaussianMixture,
    Laplace,
    LogGamma,
    Logistic,
    StudentT,
    UserDistribution,
    distribution,
)
from clusterglm.model.distribution.tabulated import normal_table

MIXTURES = (GaussianMixture(0.3, 3.0), GaussianMixture(0.5, 7.0), GaussianMixture(0.05, 0.0))
SCALE_FAMILIES = (Laplace(), *MIXTURES)
SHAPED = (Bridge(), LogGamma())
SIGMAS = (0.03, 0.4, 1.0, 3.0)


def members():
    """Standard members of every kind: scale families, and those of others at some sigma."""
    return [*SCALE_FAMILIES, *(family.at(sigma) for family in SHAPED for sigma in SIGMAS)]


EACH = pytest.mark.parametrize("d", members(), ids=lambda d: d.name)


def logistic_quantile(p):
    return np.log(p) - np.log1p(-p)


def secant_quantile(p):
    return 2.0 / np.pi * np.log(np.tan(0.5 * np.pi * p))


def gumbel_lower(p):
    return -np.log(-np.log(p)) - np.euler_gamma


def gumbel_upper(q):
    return -np.log(-np.log1p(-q)) - np.euler_gamma


def laplace_quantile(p):
    return np.log(2.0 * p)


def student_2_quantile(p):
    return (2.0 * p - 1.0) / np.sqrt(2.0 * p * (1.0 - p))


def bridge_quantile(p, sigma):
    return Bridge().location(ndtri(p), sigma)


USERS = (
    UserDistribution("logistic of mine", logistic_quantile),
    UserDistribution("gumbel", gumbel_lower, upper_quantile=gumbel_upper),
    UserDistribution("laplace of mine", laplace_quantile, kinks=(0.0,)),
    UserDistribution("t of mine", student_2_quantile, moment_order=2.0),
)


def exact_log_density(d, t):
    """Log-density by mpmath, for mpf t."""
    if isinstance(d, Laplace):
        return -abs(t) - mp.log(2)
    if isinstance(d, GaussianMixture):
        w, gap = mp.mpf(d.weight), mp.mpf(d.separation)
        part = 1 / mp.sqrt(1 + w * (1 - w) * gap**2)
        return mp.log((1 - w) * mp.npdf(t, -w * gap * part, part) + w * mp.npdf(t, (1 - w) * gap * part, part))
    sigma = mp.mpf(d.sigma)
    b = sigma * t
    if isinstance(d.family, LogGamma):
        k = 1 / sigma**2
        return k * mp.log(k) - mp.loggamma(k) + k * (b - mp.exp(b)) + mp.log(sigma)
    phi = 1 / mp.sqrt(1 + 3 * sigma**2 / mp.pi**2)
    return mp.log(sigma * mp.sin(phi * mp.pi) / (2 * mp.pi) / (mp.cosh(phi * b) + mp.cos(phi * mp.pi)))


@dataclass(frozen=True)
class Exact:
    """A family at a sigma of any precision."""

    family: object
    sigma: object


def exact_tail(d, t, side):
    """P(T > t) for side 1, P(T < t) for side -1, by mpmath."""
    if isinstance(d, Laplace):
        return mp.exp(-abs(t)) / 2
    if isinstance(d, GaussianMixture):
        w, gap = mp.mpf(d.weight), mp.mpf(d.separation)
        part = 1 / mp.sqrt(1 + w * (1 - w) * gap**2)
        lower, upper = (mp.ncdf(-side * (t - mean) / part) for mean in (-w * gap * part, (1 - w) * gap * part))
        return (1 - w) * lower + w * upper
    sigma = mp.mpf(d.sigma)
    b = sigma * t
    if isinstance(d.family, LogGamma):
        k = 1 / sigma**2
        ends = (k * mp.exp(b), mp.inf) if side > 0 else (0, k * mp.exp(b))
        return mp.gammainc(k, *ends, regularized=True)
    phi = 1 / mp.sqrt(1 + 3 * sigma**2 / mp.pi**2)
    return mp.atan2(mp.sin(phi * mp.pi), mp.exp(side * phi * b) + mp.cos(phi * mp.pi)) / (phi * mp.pi)


@EACH
@pytest.mark.parametrize("t", [-6.0, -1.3, -0.2, 1e-3, 0.7, 2.5])
def test_log_density_and_derivatives(d, t):
    got = d.log_density(np.array([t]))
    with mp.workdps(60):
        for n in range(5):
            want = mp.diff(lambda x: exact_log_density(d, x), mp.mpf(t), n)
            size = max(1.0, abs(float(want)), *(abs(float(g[0])) for g in got))
            assert abs(mp.mpf(float(got[n][0])) - want) <= 1e-11 * size, n


@EACH
@pytest.mark.parametrize("s", [1e-3, 0.45, 0.55, 1.5, 4.0, 8.5, 20.0, 36.0])
def test_quantile_of_normal_inverts_each_tail(d, s):
    for side, t in zip((1, -1), d.quantile_of_normal(np.array([s, -s])), strict=True):
        with mp.workdps(60):
            x, tail = mp.mpf(float(t)), mp.ncdf(-mp.mpf(s))
            error = (exact_tail(d, x, side) - tail) / mp.exp(exact_log_density(d, x))
            sigma = getattr(d, "sigma", 1.0)
            assert abs(error) <= 1e-13 * (abs(x) + 1.0 + 1.0 / sigma) * (1.0 if s < 10.0 else 10.0)
        assert np.isfinite(t)


@EACH
def test_distribution_function_draws_and_sd(d):
    s = np.linspace(-6.0, 6.0, 41)
    t = d.quantile_of_normal(s)
    np.testing.assert_allclose(np.where(s < 0, d.cdf(t), d.sf(t)), ndtr(-np.abs(s)), rtol=2e-9)
    np.testing.assert_allclose(d.quantile(ndtr(s)), t, rtol=1e-6, atol=1e-6)
    assert stats.kstest(d.rvs(np.random.default_rng(5), 3000), d.cdf).pvalue > 1e-3
    assert d.rvs(np.random.default_rng(5), (3, 2)).shape == (3, 2)
    x, w = np.polynomial.legendre.leggauss(40)
    fine = 10.0 ** np.arange(-6.0, -0.5, 0.25)  # a mixture's quantiles rise steeply at its gap
    edges = np.sort(np.concatenate([np.linspace(-37.0, 37.0, 297), fine, -fine]))
    half = 0.5 * np.diff(edges)[:, None]
    nodes = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * x).ravel()
    weights = (half * w).ravel() * np.exp(-0.5 * nodes**2) / np.sqrt(2.0 * np.pi)
    values = d.quantile_of_normal(nodes)
    assert np.sqrt(weights @ values**2 - (weights @ values) ** 2) == pytest.approx(d.sd, rel=1e-9)


@pytest.mark.parametrize("family", SHAPED, ids=lambda d: d.name)
@pytest.mark.parametrize("sigma", SIGMAS)
def test_derivative_in_sigma(family, sigma):
    """With F the distribution function: F_b dm/dsigma + F_sigma = 0 at a fixed s."""
    s = np.array([-7.0, -2.0, -0.3, 0.4, 1.0, 5.0])
    got = family.by_sigma(s, sigma)
    for at, slope in zip(s, got, strict=True):
        side = 1 if at > 0 else -1
        with mp.workdps(40):
            b = mp.mpf(float(family.location(np.array([at]), sigma)[0]))
            by_sigma = mp.diff(lambda c, b=b, side=side: exact_tail(Exact(family, c), b / c, side), mp.mpf(sigma))
            density = mp.exp(exact_log_density(family.at(sigma), b / sigma)) / sigma
            assert slope == pytest.approx(float(side * by_sigma / density), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("d", [Laplace(), MIXTURES[0], LogGamma(), Logistic(), cg.Bridge()], ids=lambda d: d.name)
@pytest.mark.parametrize("order", [1, 2])
def test_moments_of_the_exponential(d, order):
    sigma = 0.3
    value, slope = d.log_moment(order, sigma)
    if isinstance(d, Bridge):
        assert value == np.inf
        return
    s = np.linspace(-30.0, 30.0, 60001)

    def moment(c):
        t = c * d.at(c).quantile_of_normal(s)
        return np.log(np.exp(order * t - 0.5 * s * s).sum() * (s[1] - s[0]) / np.sqrt(2.0 * np.pi))

    assert value == pytest.approx(moment(sigma), rel=1e-8, abs=1e-10)
    assert slope == pytest.approx((moment(sigma + 1e-4) - moment(sigma - 1e-4)) / 2e-4, rel=1e-6, abs=1e-8)


def test_exponential_moments_that_do_not_exist():
    assert Laplace().log_moment(2, 0.5)[0] == np.inf
    assert Logistic().log_moment(1, 1.0)[0] == np.inf


def test_bridge_and_log_gamma_shrink_to_the_gaussian_or_to_a_point():
    s = np.linspace(-4.0, 4.0, 17)
    np.testing.assert_allclose(LogGamma().at(1e-4).quantile_of_normal(s), s, atol=1e-3)
    np.testing.assert_allclose(Bridge().location(s, 1e-5), 0.0, atol=1e-5)
    np.testing.assert_allclose(GaussianMixture(0.4, 0.0).quantile_of_normal(s), s, atol=1e-14)


@pytest.mark.parametrize("d", USERS, ids=lambda d: d.name)
def test_user_distribution_follows_from_its_quantiles(d):
    table, compressed = normal_table(d)
    s = np.random.default_rng(3).uniform(-9.0, 9.0, 500)
    t = d.quantile_of_normal(s)
    y = table(s)[0]
    np.testing.assert_allclose(np.sinh(y) if compressed else y, t, rtol=3e-13, atol=3e-13)
    np.testing.assert_allclose(d.cdf(t), ndtr(s), rtol=1e-10)
    np.testing.assert_allclose(d.sf(t), ndtr(-s), rtol=1e-10)
    assert stats.kstest(d.rvs(np.random.default_rng(5), 3000), d.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("mine", "built_in"),
    [(USERS[0], Logistic()), (USERS[2], Laplace()), (USERS[3], StudentT(2.0))],
    ids=lambda d: d.name,
)
def test_user_distribution_equals_the_built_in_one(mine, built_in):
    t = np.array([-4.0, -1.2, -0.3, 0.25, 1.0, 3.0])
    for n, (got, want) in enumerate(zip(mine.log_density(t), built_in.log_density(t), strict=True)):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=10.0 ** (-13 + 2 * n))
    assert mine.sd == pytest.approx(built_in.sd, rel=1e-11)
    assert mine.moment_order == built_in.moment_order


def test_user_family_with_a_shape_that_follows_sigma():
    mine = UserDistribution("bridge of mine", bridge_quantile, scale_family=False)
    b = np.array([-2.0, -0.1, 0.3, 4.0])
    for n, (got, want) in enumerate(zip(mine.log_density_at(b, 1.3), Bridge().log_density_at(b, 1.3), strict=True)):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=10.0 ** (-12 + 2 * n))
    np.testing.assert_allclose(mine.sf_at(b, 1.3), Bridge().sf_at(b, 1.3), rtol=1e-12)
    np.testing.assert_allclose(mine.by_sigma(b, 1.3), Bridge().by_sigma(b, 1.3), rtol=1e-9)
    assert mine.sd_at(1.3) == pytest.approx(1.3, rel=1e-10)


def test_user_distribution_pickles_and_compares():
    d = UserDistribution("secant", secant_quantile)
    again = pickle.loads(pickle.dumps(d))
    assert again == d
    assert hash(again) == hash(d)
    assert d != USERS[0]


def rough_quantile(p):
    return ndtri(p) * (1.0 + 1e-6 * np.sin(1e9 * p))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("", logistic_quantile), {}, "name="),
        (("x", 3), {}, "quantile=3"),
        (("x", lambda p: -ndtri(p)), {}, "do not increase"),
        (("x", lambda p: 1.0 / (p - 0.5)), {}, "not finite"),
        (("x", lambda p: ndtri(p) + 1.0), {}, "median 1"),
        (("x", gumbel_lower), {}, "median"),
        (("x", gumbel_lower), {"upper_quantile": lambda q: gumbel_upper(q) + 1.0}, "jump by 1"),
        (("x", lambda p: p[:3]), {}, "fail"),
        (("x", ndtri), {"log_density": lambda t: -0.5 * t * t}, "differs"),
        (("x", ndtri), {"kinks": [0.0]}, "kinks="),
        (("x", bridge_quantile), {"scale_family": False, "log_density": np.cos}, "log_density="),
    ],
)
def test_user_distributions_are_checked(arguments, options, message):
    with np.errstate(divide="ignore"), pytest.raises(OptionError, match=message):
        UserDistribution(*arguments, **options)


def test_quantiles_without_digits_are_refused():
    with pytest.raises(OptionError, match="no polynomial"):
        normal_table(UserDistribution("rough", rough_quantile))


def test_names():
    assert distribution("laplace") == cg.Laplace()
    assert distribution("bridge") == cg.Bridge()
    assert distribution("log_gamma") == cg.LogGamma()
    assert distribution("student_t") == cg.StudentT()
    assert distribution("gaussian_mixture(0.3, 3)") == cg.GaussianMixture(0.3, 3.0)
    assert distribution("gaussian_mixture").name == "gaussian_mixture"
    assert cg.GaussianMixture(separation=3).name == "gaussian_mixture(?, 3)"
    assert [parameter.name for parameter in cg.GaussianMixture(separation=3).free] == ["weight"]
    assert cg.StudentT(4).free == ()
    for wrong in ("gaussian_mixture(2, 3)", "laplace(2)", "student_t(4, 5)"):
        with pytest.raises(OptionError, match="gaussian_mixture"):
            distribution(wrong)
    for wrong in ({"weight": 0.0}, {"weight": 1.0}, {"separation": -1.0}, {"separation": 11.0}, {"weight": "a"}):
        with pytest.raises(OptionError, match="GaussianMixture"):
            GaussianMixture(**wrong)


def test_shapes_in_and_out_of_working_values():
    mixture = cg.GaussianMixture()
    values, slopes = mixture.shape(np.array([0.4, 2.0]))
    member = mixture.with_shape(np.array([0.4, 2.0]))
    assert member.parameters == pytest.approx(values)
    up, down = (mixture.shape(np.array([0.4 + h, 2.0]))[0] for h in (1e-6, -1e-6))
    assert slopes[0] == pytest.approx((up - down)[0] / 2e-6, rel=1e-8)
    assert cg.StudentT().with_shape(np.array([0.25])) == cg.StudentT(4.0)
    assert cg.StudentT().with_shape(np.array([0.0])).code == "gaussian"
    with pytest.raises(OptionError, match="degrees of freedom"):
        cg.StudentT().quantile_of_normal(np.zeros(1))
    with pytest.raises(OptionError, match="weight and a separation"):
        mixture.quantile_of_normal(np.zeros(1))
