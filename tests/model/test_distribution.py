"""Densities, quantiles and the map from the normal scale, against mpmath."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from scipy import stats

from clusterglm.errors import OptionError
from clusterglm.model.distribution import Cauchy, Gaussian, Logistic, StudentT, distribution

ALL = (Gaussian(), Logistic(), Cauchy(), StudentT(0.7), StudentT(4), StudentT(30))
EACH = pytest.mark.parametrize("d", ALL, ids=lambda d: d.name)
PEERS = {"gaussian": stats.norm(), "logistic": stats.logistic(), "cauchy": stats.cauchy()}


def peer(d):
    return stats.t(d.df) if isinstance(d, StudentT) else PEERS[d.code]


def log_density(d, t):
    if d.code == "gaussian":
        return mp.log(mp.npdf(t))
    if d.code == "logistic":
        return -t - 2 * mp.log1p(mp.exp(-t))
    if d.code == "cauchy":
        return -mp.log(mp.pi * (1 + t * t))
    n = mp.mpf(d.df)
    constant = mp.loggamma((n + 1) / 2) - mp.loggamma(n / 2) - mp.log(n * mp.pi) / 2
    return constant - (n + 1) / 2 * mp.log1p(t * t / n)


def upper_tail(d, t):
    """P(T > t), t >= 0."""
    if d.code == "gaussian":
        return mp.ncdf(-t)
    if d.code == "logistic":
        return 1 / (1 + mp.exp(t))
    if d.code == "cauchy":
        return mp.atan2(1, t) / mp.pi
    n = mp.mpf(d.df)
    return mp.betainc(n / 2, mp.mpf(1) / 2, 0, n / (n + t * t), regularized=True) / 2


@EACH
@pytest.mark.parametrize("t", [-300.0, -9.0, -1.1, -1e-6, 0.0, 0.3, 1.0, 4.0, 35.0, 1e5])
def test_log_density_and_derivatives(d, t):
    got = d.log_density(np.array([t]))
    with mp.workdps(60):
        for n in range(5):
            want = mp.diff(lambda x: log_density(d, x), mp.mpf(t), n)
            floor = 1e-15 if abs(t) < 2 else 1e-40  # where a derivative crosses zero; digits that the differences lose
            assert abs(mp.mpf(float(got[n][0])) - want) <= 1e-13 * abs(want) + floor, n


@EACH
def test_densities_stay_finite_far_out(d):
    for part in d.log_density(np.array([-1e150, 1e150] if d.code != "gaussian" else [-1e100, 1e100])):
        assert not np.any(np.isnan(part))


@EACH
@pytest.mark.parametrize("s", [1e-9, 1e-3, 0.59, 0.61, 0.69, 0.71, 0.99, 1.01, 2.0, 5.0, 8.5, 20.0, 37.0])
def test_quantile_of_normal_inverts_in_relative_terms(d, s):
    t = d.quantile_of_normal(np.array([s, -s]))
    assert t[0] == -t[1]
    if np.isinf(t[0]):  # 1e-300 of a very heavy tail lies beyond the floating-point range
        assert d.moment_order < 1.0
        assert s > 30.0
        return
    with mp.workdps(40):
        x, tail = mp.mpf(float(t[0])), mp.ncdf(-mp.mpf(s))
        error = upper_tail(d, x) - tail  # to first order, times 1 / density, the error of t
        assert abs(error) / mp.exp(log_density(d, x)) <= 3e-13 * x


@EACH
def test_quantile_of_normal_at_the_centre_and_beyond_the_range(d):
    t = d.quantile_of_normal(np.array([0.0, 45.0, -45.0]))
    assert t[0] == 0.0
    assert t[1] > 40.0
    assert t[2] == -t[1]


@EACH
@pytest.mark.parametrize("s", [-8.5, -3.0, -0.65, 1e-4, 0.0, 0.5, 1.0, 2.2, 5.0, 8.5])
def test_normal_map_derivatives(d, s):
    """Against derivatives by mpmath of T, written as T(s) = T(s0) + the inverse of the cdf near s0."""
    got = d.normal_map(np.array([s]))
    np.testing.assert_array_equal(got[0], d.quantile_of_normal(np.array([s])))
    with mp.workdps(50):

        def exact(x):
            side = -1 if s < 0 else 1
            tail = mp.ncdf(-side * x)
            if d.code == "gaussian":
                return x
            if d.code == "logistic":
                return side * mp.log((1 - tail) / tail)
            if d.code == "cauchy":
                return side * mp.cot(mp.pi * tail)
            start = abs(mp.mpf(float(got[0][0])))
            return side * mp.findroot(lambda t: mp.log(upper_tail(d, t) / tail) if t > 0 else (t - start), start)

        if d.code == "student_t":
            if s == 0.0:
                return  # the root search has no relative scale there; s = 1e-4 covers it
            h = mp.mpf("1e-8")
            points = {k: exact(mp.mpf(s) + k * h) for k in range(-3, 4)}
            want = [
                points[0],
                (points[1] - points[-1]) / (2 * h),
                (points[1] - 2 * points[0] + points[-1]) / h**2,
                (points[2] - 2 * points[1] + 2 * points[-1] - points[-2]) / (2 * h**3),
                (points[2] - 4 * points[1] + 6 * points[0] - 4 * points[-1] + points[-2]) / h**4,
            ]
        else:
            want = [mp.diff(exact, mp.mpf(s), n) for n in range(5)]
        for n in range(5):
            floor = (1e-40, 1e-40, 1e-12, 5e-12, 5e-11)[n]  # each product rule multiplies rounding by about s
            assert abs(mp.mpf(float(got[n][0])) - want[n]) <= 2e-11 * abs(want[n]) + floor, n


@EACH
def test_cdf_quantile_and_sd_agree_with_scipy(d):
    t = np.linspace(-6.0, 6.0, 13)
    p = np.array([0.001, 0.2, 0.5, 0.7, 0.9999])
    np.testing.assert_allclose(d.cdf(t), peer(d).cdf(t), rtol=1e-12)
    np.testing.assert_allclose(d.quantile(p), peer(d).ppf(p), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(d.log_density(t)[0], peer(d).logpdf(t), rtol=1e-12)
    if d.moment_order > 2.0:
        assert d.sd == pytest.approx(peer(d).std(), rel=1e-12)
    else:
        assert d.sd == np.inf


@EACH
def test_draws_follow_the_distribution_and_the_generator(d):
    draws = d.rvs(np.random.default_rng(11), 4000)
    assert stats.kstest(draws, d.cdf).pvalue > 1e-3
    np.testing.assert_array_equal(draws, d.rvs(np.random.default_rng(11), 4000))
    assert d.rvs(np.random.default_rng(0), (3, 2)).shape == (3, 2)


def test_student_t_has_the_cauchy_and_the_gaussian_at_its_ends():
    s = np.linspace(-8.0, 8.0, 33)
    for one, other in zip(StudentT(1).normal_map(s), Cauchy().normal_map(s), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(StudentT(1e9).quantile_of_normal(s), s, rtol=1e-6)
    np.testing.assert_allclose(StudentT(1e9).log_density(s)[0], Gaussian().log_density(s)[0], rtol=1e-6)


@EACH
def test_moment_order(d):
    expected = {"gaussian": np.inf, "logistic": np.inf, "cauchy": 1.0}
    assert d.moment_order == expected.get(d.code, d.parameters[0] if d.parameters else None)
    assert d.symmetric
    assert d.scale_family


def test_lookup():
    assert distribution("gaussian") == Gaussian()
    assert distribution("student_t(4)") == StudentT(4) == StudentT(4.0)
    assert distribution("student_t( 2.5 )").parameters == (2.5,)
    assert distribution(Cauchy()) == distribution("cauchy")
    assert StudentT(4) != StudentT(5)
    assert StudentT(np.float64(2.0)).name == "student_t(2)"


@pytest.mark.parametrize("value", ["norm", "gausian", "student_t(0)", "student_t(x)", 4, None])
def test_lookup_lists_what_is_allowed(value):
    with pytest.raises(OptionError, match="'gaussian', 'logistic', 'cauchy', 'laplace', 'bridge'") as caught:
        distribution(value)
    if value == "gausian":
        assert "did you mean 'gaussian'?" in str(caught.value)


@pytest.mark.parametrize("df", [0, -1.0, np.nan, np.inf, "4", True])
def test_degrees_of_freedom_are_checked(df):
    with pytest.raises(OptionError, match="degrees of freedom"):
        StudentT(df)
