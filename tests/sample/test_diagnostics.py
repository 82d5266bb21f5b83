"""What draws are worth, against processes of which that is known; smoothed weights."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clusterglm.sample.diagnostics import effective_size, normal_scores, r_hat, split, worth
from clusterglm.sample.loo import leave_one_out, pareto, smoothed, waic


def autoregressive(rho: float, chains: int, n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.empty((chains, n))
    x[:, 0] = rng.normal(size=chains)
    for t in range(1, n):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=chains)
    return x


@pytest.mark.parametrize("rho", [-0.4, 0.0, 0.6, 0.9])
def test_effective_size_of_an_autoregression(rho) -> None:
    n = 4 * 5000
    assert effective_size(autoregressive(rho, 4, 5000)) == pytest.approx(n * (1 - rho) / (1 + rho), rel=0.15)


def test_chains_that_disagree_are_seen() -> None:
    x = autoregressive(0.0, 4, 500)
    assert worth(x).rhat == pytest.approx(1.0, abs=0.01)
    assert worth(x + np.arange(4)[:, None]).rhat > 1.5
    wide = x * np.array([1.0, 1.0, 1.0, 4.0])[:, None]  # the same middle, other spreads: seen by distances alone
    assert r_hat(normal_scores(split(wide))) < 1.02
    assert worth(wide).rhat > 1.1


def test_r_hat_by_hand() -> None:
    x = np.array([[1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]])
    within, between = np.var([1, 2, 3, 4], ddof=1), np.var([2.5, 4.5], ddof=1)
    assert r_hat(x) == pytest.approx(np.sqrt(0.75 + between / within))
    assert split(x).tolist() == [[1, 2], [3, 4], [3, 4], [5, 6]] or split(x).shape == (4, 2)


def test_ties_share_a_rank() -> None:
    found = normal_scores(np.array([[1.0, 1.0], [0.0, 2.0]]))
    np.testing.assert_allclose(found.ravel(), stats.norm.ppf((np.array([2.5, 2.5, 1.0, 4.0]) - 0.375) / 4.25))


def test_the_monte_carlo_error_is_that_of_the_mean() -> None:
    means = [autoregressive(0.5, 2, 400, seed).mean() for seed in range(200)]
    claimed = worth(autoregressive(0.5, 2, 400, 7)).mcse_mean
    assert claimed == pytest.approx(np.std(means), rel=0.3)


@pytest.mark.parametrize("k", [-0.3, 0.2, 0.6])
def test_the_shape_of_a_tail(k) -> None:
    x = np.sort(stats.genpareto(k, scale=2.0).rvs(4000, random_state=np.random.default_rng(2)))
    shape, scale = pareto(x)
    assert shape == pytest.approx(k, abs=0.08)
    assert scale == pytest.approx(2.0, rel=0.1)


def test_smoothing_leaves_all_but_the_tail() -> None:
    log_weights = np.random.default_rng(3).standard_exponential(1000) * 0.5
    found, k = smoothed(log_weights)
    assert k == pytest.approx(0.5, abs=0.2)
    order = np.argsort(log_weights)[:-95]
    np.testing.assert_allclose(found[order], (log_weights - log_weights.max())[order])
    assert found.max() <= 0.0
    assert smoothed(np.zeros(1000))[1] == -np.inf


def test_smoothing_of_repeated_draws() -> None:
    """Metropolis steps that stay where they are repeat weights, also across the place where the tail begins."""
    each = np.random.default_rng(5).standard_exponential(60)
    found, k = smoothed(np.repeat(each, 5))
    assert np.isfinite(found).all()
    assert -1.0 < k < 2.0
    few = np.concatenate([np.zeros(290), np.repeat([1.0, 2.0], [60, 3])])  # three weights above what repeats
    assert smoothed(few)[1] == np.inf
    assert smoothed(-200.0 * np.log(np.arange(1.0, 401.0)))[0].max() <= 0.0  # quantiles beyond any number


def test_leaving_one_out_of_a_normal_sample() -> None:
    """Mean of normal observations of variance 1, a flat prior: what the others predict is known exactly."""
    rng = np.random.default_rng(4)
    y = rng.normal(size=20)
    mu = y.mean() + rng.normal(size=20000) / np.sqrt(20)
    found = leave_one_out(stats.norm(mu[:, None], 1.0).logpdf(y))
    others = (y.sum() - y) / 19
    exact = stats.norm(others, np.sqrt(1 + 1 / 19)).logpdf(y)
    np.testing.assert_allclose(found.elpd, exact, atol=0.01)
    assert found.tails.max() < 0.5
    assert waic(stats.norm(mu[:, None], 1.0).logpdf(y)).elpd.sum() == pytest.approx(exact.sum(), abs=0.1)
