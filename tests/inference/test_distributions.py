"""Averages over bridge, log-gamma, Laplace and mixture intercepts, against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, ndtr

import clusterglm as cg
from clusterglm.inference.diagnostics.quantile_residuals import over_intercepts
from clusterglm.inference.distribution.event_counts import event_counts
from clusterglm.inference.effects.heterogeneity import difference_tail, median_ratio
from clusterglm.inference.effects.icc import response_correlation
from clusterglm.inference.predictions.averaged_mean import averaged_jet
from clusterglm.inference.predictions.marginal_mean import marginal_link
from clusterglm.likelihood.scalar.rules import averaging_rule
from clusterglm.model.distribution import Bridge, GaussianMixture, Laplace, LogGamma, Logistic, UserDistribution
from clusterglm.model.family import response

ETA = np.array([-6.0, -1.2, 0.0, 0.4, 3.0])
LOGIT, CLOGLOG, POISSON = response("binomial", "logit"), response("binomial", "cloglog"), response("poisson", "log")


def gumbel_lower(p):
    return -np.log(-np.log(p)) - np.euler_gamma


def gumbel_upper(q):
    return -np.log(-np.log1p(-q)) - np.euler_gamma


GUMBEL = UserDistribution("gumbel", gumbel_lower, upper_quantile=gumbel_upper)
EACH = pytest.mark.parametrize(
    "d", [Laplace(), Bridge(), LogGamma(), GaussianMixture(0.2, 4.0), GUMBEL], ids=lambda d: d.name
)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 4.0])
def test_a_logit_stays_a_logit_over_a_bridge(sigma):
    """Wang and Louis (2003), by brute-force integration against the density and by the averages of the package."""
    phi = 1.0 / np.sqrt(1.0 + 3.0 * sigma**2 / np.pi**2)
    x, w = np.polynomial.legendre.leggauss(40)
    fine = sigma**2 * np.array([0.02, 0.1, 0.3, 1.0])
    edges = np.sort(np.concatenate([np.linspace(-60.0 / phi, 60.0 / phi, 1601), fine, -fine]))
    half = 0.5 * np.diff(edges)[:, None]
    b = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * x).ravel()
    weights = (half * w).ravel() * np.exp(Bridge().log_density_at(b, sigma)[0])
    at = ETA[:, None] + b
    mean, slope = expit(at) @ weights, (expit(at) * expit(-at)) @ weights
    np.testing.assert_allclose(slope / (mean * (1.0 - mean)), phi, rtol=1e-8)  # slope of the marginal logit
    np.testing.assert_allclose(np.log(mean / (1.0 - mean)), phi * ETA, atol=1e-8)
    jet = averaged_jet(ETA, sigma, LOGIT, Bridge())
    np.testing.assert_allclose(jet.mean, expit(phi * ETA), rtol=1e-9)
    np.testing.assert_allclose(jet.first, phi * expit(phi * ETA) * expit(-phi * ETA), rtol=1e-8)
    link = marginal_link(ETA, sigma, LOGIT, Bridge())
    np.testing.assert_allclose(link.link, phi * ETA, atol=1e-8)
    np.testing.assert_allclose(link.by_eta, phi, rtol=1e-8)
    by_sigma = -3.0 * sigma * phi**3 / np.pi**2
    np.testing.assert_allclose(link.by_sigma, by_sigma * ETA, rtol=1e-6, atol=1e-8)
    assert jet.resolved.all()
    assert link.resolved.all()


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5])
def test_a_cloglog_over_a_log_gamma(sigma):
    h = np.exp(ETA)
    none = (1.0 + sigma**2 * h) ** (-1.0 / sigma**2)
    jet = averaged_jet(ETA, sigma, CLOGLOG, LogGamma())
    np.testing.assert_allclose(jet.mean, 1.0 - none, rtol=1e-9)
    np.testing.assert_allclose(jet.first, h * none / (1.0 + sigma**2 * h), rtol=1e-8)
    step = 1e-5
    ends = [1.0 - (1.0 + c**2 * h) ** (-1.0 / c**2) for c in (sigma - step, sigma + step)]
    np.testing.assert_allclose(jet.by_sigma, (ends[1] - ends[0]) / (2.0 * step), rtol=1e-5, atol=1e-9)
    link = marginal_link(ETA, sigma, CLOGLOG, LogGamma())
    np.testing.assert_allclose(link.link, np.log(-np.log(none)), atol=1e-8)


@EACH
def test_averages_and_their_derivatives(d):
    sigma = 1.4
    s, weights = averaging_rule(d, 4001, 12.0)
    mean = expit(ETA[:, None] + sigma * d.at(sigma).quantile_of_normal(s)) @ weights
    jet = averaged_jet(ETA, sigma, LOGIT, d)
    np.testing.assert_allclose(jet.mean, mean, rtol=1e-9)
    step = 1e-5
    up, down = (averaged_jet(ETA, c, LOGIT, d) for c in (sigma + step, sigma - step))
    np.testing.assert_allclose(jet.by_sigma, (up.mean - down.mean) / (2.0 * step), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(jet.first_by_sigma, (up.first - down.first) / (2.0 * step), rtol=1e-5, atol=1e-8)
    link = marginal_link(ETA, sigma, LOGIT, d)
    np.testing.assert_allclose(link.link, np.log(mean / (1.0 - mean)), rtol=1e-8, atol=1e-9)
    more, less = (marginal_link(ETA, c, LOGIT, d).link for c in (sigma + step, sigma - step))
    np.testing.assert_allclose(link.by_sigma, (more - less) / (2.0 * step), rtol=1e-5, atol=1e-7)

    def function(rows, shift):
        return expit(ETA[rows, None] + shift)[None]

    found, unresolved = over_intercepts(function, len(ETA), d, sigma)
    assert unresolved == 0
    np.testing.assert_allclose(found[0], mean, rtol=1e-8)
    correlation = response_correlation(0.3, sigma, LOGIT, d)
    p = expit(0.3 + sigma * d.at(sigma).quantile_of_normal(s))
    one, square = p @ weights, p**2 @ weights
    assert correlation.value == pytest.approx((square - one**2) / (one * (1.0 - one)), rel=1e-7)


def test_marginal_link_far_out_changes_places_with_the_latent_variable():
    """Where only the tail of a skewed intercept matters."""
    sigma, eta = 6.0, np.array([-60.0, 55.0])
    for d in (GUMBEL, GaussianMixture(0.2, 4.0)):
        x, w = np.polynomial.legendre.leggauss(60)
        edges = np.linspace(-37.0, 37.0, 1481)
        half = 0.5 * np.diff(edges)[:, None]
        s = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * x).ravel()
        weights = (half * w).ravel() * np.exp(-0.5 * s**2) / np.sqrt(2.0 * np.pi)
        b = sigma * d.quantile_of_normal(s)
        low, high = expit(eta[0] + b) @ weights, expit(-eta[1] - b) @ weights
        link = marginal_link(eta, sigma, LOGIT, d).link
        np.testing.assert_allclose(link, [np.log(low) - np.log1p(-low), np.log1p(-high) - np.log(high)], rtol=1e-7)


@pytest.mark.parametrize("distance", [0.0, 0.7, 4.0])
def test_differences_of_two_intercepts(distance):
    # Laplace: e^-d (2 + d) / 4; logarithms of exponentials differ by a logistic; mixtures by a mixture
    assert difference_tail(Laplace(), distance) == pytest.approx(np.exp(-distance) * (2.0 + distance) / 4.0, rel=1e-11)
    assert difference_tail(LogGamma().at(1.0), distance) == pytest.approx(expit(-distance), rel=1e-10)
    assert difference_tail(GUMBEL, distance) == pytest.approx(expit(-distance), rel=1e-10)
    w, gap = 0.2, 4.0
    part = 1.0 / np.sqrt(1.0 + w * (1.0 - w) * gap**2)
    spread = np.sqrt(2.0) * part
    shares = ((w * w + (1.0 - w) ** 2, 0.0), (w * (1.0 - w), gap * part), (w * (1.0 - w), -gap * part))
    want = sum(share * ndtr((mean - distance) / spread) for share, mean in shares)
    assert difference_tail(GaussianMixture(w, gap), distance) == pytest.approx(want, rel=1e-10)


def test_median_ratio_of_a_family_that_follows_sigma():
    found = median_ratio(1.0, 0.1, LogGamma(), 0.95, name="median odds ratio", fixed=False)
    assert found.estimate == pytest.approx(3.0, rel=1e-9)  # the logistic's upper quartile is log 3
    up, down = (np.log(median_ratio(c, 0.1, LogGamma(), 0.95, name="", fixed=False).estimate) for c in (1.001, 0.999))
    assert found.std_error == pytest.approx(3.0 * 0.1 * (up - down) / 0.002, rel=1e-4)


def test_correlation_of_counts_over_a_log_gamma():
    """Var(E) / (Var(E) + E) with E(exp b) = 1 and Var(exp b) = sigma^2."""
    found = response_correlation(0.7, 0.8, POISSON, LogGamma())
    mean = np.exp(0.7)
    assert found.value == pytest.approx(0.64 * mean**2 / (0.64 * mean**2 + mean), rel=1e-12)
    step = 1e-6
    ends = [response_correlation(0.7, c, POISSON, LogGamma()).value for c in (0.8 - step, 0.8 + step)]
    assert found.by_sigma == pytest.approx((ends[1] - ends[0]) / (2.0 * step), rel=1e-7)


@pytest.fixture(scope="module")
def bacteria():
    return cg.datasets.load("bacteria")


@pytest.mark.parametrize("d", ["laplace", "bridge", "log_gamma", "gaussian_mixture(0.3, 3)"])
def test_a_result_answers_everything(bacteria, d):
    fit = cg.random_effects("y ~ trt", bacteria, cluster="ID", distribution=d)
    assert fit.converged
    assert fit.quadrature.error < 1e-6
    assert fit.random_effects_sd == pytest.approx(fit.distribution.sd_at(fit.sigma))
    table = fit.random_effects
    # the mode of the intercept given the data, by its own density
    i = int(np.argmax(table["mode"]))
    first, last = fit.data.starts[i], fit.data.starts[i + 1]
    eta = fit.data.X[first:last] @ fit.params.to_numpy()
    a, b = fit.data.a[first:last], fit.data.b[first:last]

    def height(u):
        t = np.array([u / fit.sigma])
        rows = fit.response.value(eta + u, a, b).sum()
        return float(rows + fit.distribution.at(fit.sigma).log_density(t)[0][0])

    mode = float(table["mode"].iloc[i])
    assert height(mode) >= max(height(mode - 1e-3), height(mode + 1e-3))
    assert np.isfinite(fit.predict(kind="marginal")).all() if "kind" in fit.predict.__doc__ else True
    assert "sigma" in str(fit.summary())
    assert fit.simulate(2, seed=1).shape == (220, 2)
    assert fit.median_odds_ratio().estimate > 1.0
    assert np.isfinite(fit.residuals("quantile")).all()


def test_event_counts_over_a_bridge_sum_to_the_clusters(bacteria):
    fit = cg.random_effects("y ~ 1", bacteria, cluster="ID", distribution="bridge")
    counts = event_counts(fit.data, fit.response, fit.fit.beta, fit.sigma, fit.distribution)
    assert counts.expected.sum() == pytest.approx(50.0, rel=1e-10)
    phi = 1.0 / np.sqrt(1.0 + 3.0 * fit.sigma**2 / np.pi**2)
    k = np.arange(len(counts.expected))
    assert k @ counts.expected == pytest.approx(220.0 * expit(phi * fit.fit.beta[0]), rel=1e-7)


def test_logistic_and_users_logistic_give_one_fit(bacteria):
    mine = UserDistribution("mine", lambda p: np.log(p) - np.log1p(-p))
    one, other = (cg.random_effects("y ~ trt", bacteria, cluster="ID", distribution=d) for d in (mine, Logistic()))
    assert one.loglik == pytest.approx(other.loglik, abs=1e-7)
    assert one.sigma == pytest.approx(other.sigma, rel=1e-5)
