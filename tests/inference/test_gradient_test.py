"""The gradient function as a test of the distribution of intercepts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, norm

import clusterglm as cg
from clusterglm.errors import OptionError
from clusterglm.inference.distribution.goodness import gradient_function, simulated_fit
from clusterglm.results.models.random_effects import RandomEffectsResult


def clustered(mixture: bool, clusters: int = 100, size: int = 6) -> RandomEffectsResult:
    rng = np.random.default_rng(2)
    ids = np.repeat(np.arange(clusters), size)
    u = np.where(rng.random(clusters) < 0.3, 2.0, -0.8) if mixture else rng.normal(size=clusters)
    x = rng.normal(size=len(ids))
    y = rng.poisson(np.exp(0.3 * x + u[ids]))
    return cg.random_effects("y ~ x", pd.DataFrame({"y": y, "x": x, "id": ids}), cluster="id", family="poisson")


@pytest.fixture(scope="module")
def good() -> RandomEffectsResult:
    return clustered(mixture=False)


def test_finds_two_groups() -> None:
    fit = clustered(mixture=True)
    for statistic in ("integral", "supremum"):
        test = fit.gradient_function(n_boot=39, seed=1, statistic=statistic)
        assert test.pvalue == 1 / 40
        assert "speak against intercepts with a gaussian" in str(test)
    table = test.to_frame()
    wanted = table["intercept"] + fit.params["Intercept" if "Intercept" in fit.params else "(Intercept)"]
    outside = table["gradient"] > table["upper_simultaneous"]
    assert outside.any()
    assert np.min(np.abs(wanted[outside] + 0.8)) < 0.3  # more near one of the groups


def test_leaves_a_good_model_alone(good: RandomEffectsResult) -> None:
    test = good.gradient_function(n_boot=39, seed=1)
    assert test.pvalue > 0.05
    assert "do not speak against" in str(test)
    assert f"seed {test.seed}" in str(test)
    assert test.pvalue_se == pytest.approx(np.sqrt(test.pvalue * (1 - test.pvalue) / 39))
    table = test.to_frame()
    assert (table["lower_simultaneous"] <= table["lower"] + 0.2).all()
    inside = (table["gradient"] > table["lower_simultaneous"]) & (table["gradient"] < table["upper_simultaneous"])
    assert inside.all()


def test_statistic_and_replicates_by_hand(good: RandomEffectsResult) -> None:
    test = good.gradient_function(n_boot=8, seed=3)
    s = np.linspace(-3.0, 3.0, 61)
    np.testing.assert_allclose(test.intercept, good.sigma * s)
    np.testing.assert_allclose(test.gradient, gradient_function(good.data, good.fit, test.intercept).gradient)
    integral = np.trapezoid(test.gradient**2 * norm.pdf(s), s)
    assert test.statistic == pytest.approx(good.n_clusters * integral, rel=0.02)
    own = np.array([good.n_clusters * test.weights @ curve**2 for curve in test.replicates])
    assert test.pvalue == (1 + np.count_nonzero(own >= test.statistic)) / 9
    again = good.gradient_function(n_boot=8, seed=3, n_jobs=2)
    np.testing.assert_array_equal(again.replicates, test.replicates)
    largest = good.gradient_function(n_boot=8, seed=3, statistic="supremum")
    curves = np.vstack([test.gradient, test.replicates])
    far = np.abs((curves - curves.mean(axis=0)) / curves.std(axis=0)).max(axis=1)
    assert largest.statistic == pytest.approx(far[0])
    assert largest.pvalue == np.mean(far >= far[0])
    assert test.largest == test.gradient.max()


def test_without_replicates(good: RandomEffectsResult) -> None:
    test = good.gradient_function(n_boot=0, grid=[-1.0, 0.0, 2.0])
    assert np.isnan(test.pvalue)
    assert test.to_frame()["lower"].isna().all()
    assert len(str(test).splitlines()) == 1
    assert len(test.gradient) == 3


def test_refusals(good: RandomEffectsResult) -> None:
    for grid in ([1.0], [0.0, 0.0], [0.0, np.nan], "wide"):
        with pytest.raises(OptionError, match="grid="):
            good.gradient_function(n_boot=0, grid=grid)
    with pytest.raises(OptionError, match="integral"):
        good.gradient_function(statistic="largest")
    same = pd.DataFrame({"y": [0, 1] * 20, "id": np.repeat(np.arange(20), 2)})
    with pytest.raises(OptionError, match="sigma = 0"):
        cg.random_effects("y ~ 1", same, cluster="id").gradient_function()


def test_methods_of_a_result(good: RandomEffectsResult) -> None:
    counts = good.event_counts().to_frame()
    assert counts["observed"].sum() == pytest.approx(100.0)
    test = good.chi_squared(n_boot=9, seed=1)
    assert 0.0 < test.pvalue <= 1.0
    coarse = good.chi_squared(n_boot=0, least_expected=20.0).table.to_frame()
    assert (coarse["expected"] >= 20.0).all()
    assert len(coarse) < len(test.table.to_frame())
    with pytest.raises(OptionError, match="least_expected"):
        good.chi_squared(n_boot=0, least_expected=-1.0)


@pytest.mark.parametrize("distribution", ["logistic", "laplace", "bridge", "log_gamma", "gaussian_mixture(0.3, 3)"])
def test_distributions_whose_shape_is_their_own(distribution: str) -> None:
    """The weights are the fitted distribution's, and replicates come from it: their events are those expected."""
    rng = np.random.default_rng(5)
    ids = np.repeat(np.arange(3000), 4)
    x = rng.normal(size=len(ids))
    y = rng.binomial(1, 1.0 / (1.0 + np.exp(-0.5 * x - 2.0 * rng.normal(size=3000)[ids])))
    frame = pd.DataFrame({"y": y, "x": x, "id": ids})
    fit = cg.random_effects("y ~ x", frame, cluster="id", distribution=distribution)
    test = fit.gradient_function(n_boot=0)
    assert abs(test.weights @ test.gradient) < 0.01 * np.abs(test.gradient).max() + 1e-4
    new, again = simulated_fit(fit.data, fit.fit, np.random.default_rng(1))
    assert again.distribution == fit.distribution
    drawn = np.bincount(np.add.reduceat(new.a, new.starts[:-1]).astype(int), minlength=5)
    expected = fit.event_counts().expected
    assert ((drawn - expected) ** 2 / expected).sum() < chi2(4).isf(1e-4)
