"""Events per cluster, the chi-squared criterion and the gradient function."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import comb, expit
from scipy.stats import norm

import clusterglm as cg
from clusterglm.errors import AccuracyWarning, DataError, OptionError
from clusterglm.inference.distribution.event_counts import EventCounts, discrepancy, event_counts
from clusterglm.inference.distribution.goodness import (
    fitted_counts,
    goodness_of_fit,
    gradient_function,
    marginal_values,
)
from clusterglm.model.distribution import Cauchy, Gaussian, Logistic, StudentT

DISTRIBUTIONS = (Gaussian(), Logistic(), Cauchy(), StudentT(3))


@pytest.fixture(scope="module")
def uneven() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 8, 60)
    ids = np.repeat(np.arange(60), sizes)
    x = rng.normal(size=len(ids))
    n = rng.integers(1, 4, len(ids))
    p = expit(0.3 + x + rng.normal(size=60)[ids])
    return pd.DataFrame(
        {"id": ids, "x": x, "n": n, "y": rng.binomial(n, p), "z": rng.poisson(np.exp(0.2 * x)), "o": 0.1 * x**2}
    )


@pytest.mark.parametrize("d", DISTRIBUTIONS, ids=lambda d: d.name)
def test_clusters_alike_have_an_over_dispersed_binomial(d: Any) -> None:
    data = pd.DataFrame({"y": np.tile([0, 1, 1, 0, 1, 1], 20), "id": np.repeat(np.arange(20), 6)})
    fit = cg.random_effects("y ~ 1", data, cluster="id", distribution=d, sigma=0.8, fix_sigma=True)
    counts = fitted_counts(fit.data, fit.fit)

    def mass(k: int) -> float:
        def integrand(s: float) -> float:
            p = expit(fit.params.iloc[0] + 0.8 * float(d.quantile_of_normal(np.array([s]))[0]))
            return float(norm.pdf(s) * comb(6, k) * p**k * (1.0 - p) ** (6 - k))

        return float(quad(integrand, -9.0, 9.0, limit=400, epsabs=1e-12)[0])

    np.testing.assert_allclose(counts.expected, [20 * mass(k) for k in range(7)], atol=2e-6)
    assert counts.expected.sum() == pytest.approx(20.0, abs=1e-10)
    np.testing.assert_array_equal(counts.observed, [0, 0, 0, 0, 20, 0, 0])


@pytest.mark.parametrize("d", DISTRIBUTIONS, ids=lambda d: d.name)
@pytest.mark.parametrize("link", ["logit", "cloglog", "probit"])
def test_expected_numbers_are_those_of_simulations(link: str, d: Any, uneven: pd.DataFrame) -> None:
    fit = cg.random_effects(
        "cbind(y, n - y) ~ x", uneven, cluster="id", link=link, distribution=d, offset="o", sigma=0.9, fix_sigma=True
    )
    counts = fitted_counts(fit.data, fit.fit)
    assert counts.expected.sum() == pytest.approx(60.0, abs=1e-10)
    assert counts.observed.sum() == 60.0
    draws, rng = 17_000, np.random.default_rng(2)  # of 60 clusters: a million
    known = fit.data.X @ fit.params.to_numpy() + fit.data.offset
    sizes, found = np.diff(fit.data.starts), np.zeros(len(counts.expected))
    for _ in range(draws // 1000):
        u = 0.9 * d.rvs(rng, 60 * 1000).reshape(1000, 60)
        p = fit.response.mean(known + np.repeat(u, sizes, axis=1))
        y = rng.binomial(fit.data.trials.astype(int), p)
        totals = np.add.reduceat(y, fit.data.starts[:-1], axis=1)
        found += np.bincount(totals.ravel(), minlength=len(found))
    error = np.sqrt(np.maximum(counts.expected, 0.02) / draws)
    assert np.all(np.abs(found / draws - counts.expected) < 4.5 * error)


def test_counts(uneven: pd.DataFrame) -> None:
    fit = cg.random_effects("z ~ x", uneven, cluster="id", family="poisson", sigma=0.5, fix_sigma=True)
    counts = fitted_counts(fit.data, fit.fit)
    assert counts.open_ended
    assert counts.expected.sum() == pytest.approx(60.0, abs=1e-10)
    rng = np.random.default_rng(3)
    mean = np.exp(fit.data.X @ fit.params.to_numpy())
    rate = np.add.reduceat(mean, fit.data.starts[:-1])
    totals = np.minimum(rng.poisson(rate * np.exp(0.5 * rng.normal(size=(17_000, 60)))), counts.events[-1])
    found = np.bincount(totals.ravel(), minlength=len(counts.events)) / 17_000
    assert np.all(np.abs(found - counts.expected) < 4.5 * np.sqrt(np.maximum(counts.expected, 0.02) / 17_000))


def test_grouped_rows_are_single_trials(uneven: pd.DataFrame) -> None:
    rows = uneven.loc[uneven.index.repeat(uneven.n)].reset_index(drop=True)
    first = np.concatenate([np.arange(n) for n in uneven.n])
    rows["single"] = (first < rows.y).astype(int)
    one = cg.random_effects("cbind(y, n - y) ~ x", uneven, cluster="id")
    other = cg.random_effects("single ~ x", rows, cluster="id")
    np.testing.assert_allclose(
        fitted_counts(one.data, one.fit).expected, fitted_counts(other.data, other.fit).expected, atol=1e-6
    )


def test_no_intercepts_and_odd_responses(uneven: pd.DataFrame) -> None:
    fit = cg.pooled("cbind(y, n - y) ~ x", uneven, cluster="id")
    counts = event_counts(fit.data, fit.response, fit.params.to_numpy(), 0.0, Gaussian())
    assert counts.expected.sum() == pytest.approx(60.0, abs=1e-10)
    half = cg.random_effects("z ~ x", uneven.assign(w=2.0), cluster="id", family="poisson", weights="w")
    assert fitted_counts(half.data, half.fit).observed.sum() == 60.0
    broken = cg.random_effects("z ~ x", uneven, cluster="id", family="poisson")
    shifted = replace(broken.data, a=broken.data.a + 0.5)
    with pytest.raises(DataError, match="whole numbers"):
        fitted_counts(shifted, broken.fit)


def test_pooling_of_sparse_cells() -> None:
    counts = EventCounts(
        np.arange(6), np.array([1.0, 0.0, 3.0, 2.0, 0.0, 0.0]), np.array([0.4, 0.7, 2.5, 1.5, 0.6, 0.3]), False
    )
    found = discrepancy(counts)
    np.testing.assert_array_equal(found.first, [0, 2, 3])
    np.testing.assert_array_equal(found.last, [1, 2, 5])
    np.testing.assert_allclose(found.expected, [1.1, 2.5, 2.4])
    np.testing.assert_allclose(found.statistic, 0.01 / 1.1 + 0.25 / 2.5 + 0.16 / 2.4)
    assert discrepancy(counts, 100.0).statistic == pytest.approx(0.0, abs=1e-12)  # one cell holds all


def test_p_value_by_bootstrap(uneven: pd.DataFrame) -> None:
    fit = cg.random_effects("cbind(y, n - y) ~ x", uneven, cluster="id")
    one = goodness_of_fit(fit.data, fit.fit, 1.0, 30, 5, 1, None)
    two = goodness_of_fit(fit.data, fit.fit, 1.0, 30, 5, 2, None)
    assert one.pvalue == two.pvalue
    assert len(one.replicates) + sum(count for _, count in one.failures) == 30
    assert one.pvalue == (1 + np.count_nonzero(one.replicates >= one.statistic)) / (1 + len(one.replicates))
    assert "seed 5" in str(one)
    assert np.isnan(goodness_of_fit(fit.data, fit.fit, 1.0, 0, None, 1, None).pvalue)


@pytest.mark.parametrize("d", DISTRIBUTIONS, ids=lambda d: d.name)
def test_gradient_function(d: Any, uneven: pd.DataFrame) -> None:
    fit = cg.random_effects("cbind(y, n - y) ~ x", uneven, cluster="id", distribution=d)
    s = np.linspace(-8.6, 8.6, 801)
    weights = norm.pdf(s) / norm.pdf(s).sum()
    found = gradient_function(fit.data, fit.fit, fit.sigma * d.quantile_of_normal(s))
    assert weights @ found.gradient == pytest.approx(0.0, abs=1e-7)  # by its definition
    assert found.largest == found.gradient.max()
    u = 0.7
    ratio = [
        np.exp(
            fit.response.value(
                fit.data.X[r] @ fit.params.to_numpy() + fit.data.offset[r] + u, fit.data.a[r], fit.data.b[r]
            ).sum()
            - total
        )
        for r, total in zip(
            (slice(*pair) for pair in zip(fit.data.starts[:-1], fit.data.starts[1:], strict=True)),
            marginal_values(fit.data, fit.fit),
            strict=True,
        )
    ]
    assert gradient_function(fit.data, fit.fit, np.array([u])).gradient[0] == pytest.approx(np.mean(ratio) - 1.0)


def test_selection(uneven: pd.DataFrame) -> None:
    found = cg.select_distribution(
        "cbind(y, n - y) ~ x",
        uneven,
        cluster="id",
        distributions=["gaussian", "cauchy", cg.StudentT(4)],
        n_boot=19,
        seed=1,
    )
    alone = cg.random_effects("cbind(y, n - y) ~ x", uneven, cluster="id", distribution="cauchy")
    assert found.fits["cauchy"].loglik == alone.loglik
    table = found.table
    assert list(table.index) == ["gaussian", "cauchy", "student_t(4)"]
    assert table.aic_weight.sum() == pytest.approx(1.0)
    assert found.best().aic == table.aic.min()
    assert table.chi_square_p.between(0.05, 1.0).all()
    coefficients = found.coefficients
    assert coefficients[("cauchy", "estimate")].tolist() == alone.params.tolist()
    spread = table.index.map(lambda name: found.fits[name].params.x)
    width = (max(spread) - min(spread)) / min(found.fits[name].bse.x for name in table.index)
    assert coefficients.loc["x", ("range", "")] == pytest.approx(width)
    assert "AIC prefers" in str(found)
    assert "<table" in found._repr_html_()


def test_selection_goes_on_when_one_distribution_fails(golden_frame: Any) -> None:
    # Laplace with Cauchy intercepts has no maximum here
    data = golden_frame("respiratory")
    found = cg.select_distribution("y ~ 1", data, cluster="subject", quadrature="laplace")
    assert set(found.fits) | set(found.failures) == {"gaussian", "logistic", "cauchy"}
    assert "not known" in str(found)
    with pytest.raises(cg.errors.OptionError, match="all different"):
        cg.select_distribution("y ~ 1", data, cluster="subject", distributions=["gaussian", "gaussian"])


def test_cluster_weights_stand_for_repeated_clusters(uneven: pd.DataFrame) -> None:
    twice = pd.concat([uneven, uneven[uneven.id < 10].assign(id=lambda d: d.id + 1000)])
    weighted = uneven.assign(w=np.where(uneven.id < 10, 2.0, 1.0))
    one = cg.random_effects("cbind(y, n - y) ~ x", twice, cluster="id")
    other = cg.random_effects("cbind(y, n - y) ~ x", weighted, cluster="id", cluster_weights="w")
    at = np.linspace(-2.0, 2.0, 9)
    np.testing.assert_allclose(
        gradient_function(other.data, other.fit, at).gradient,
        gradient_function(one.data, one.fit, at).gradient,
        atol=1e-7,
    )


def test_sums_without_bounds_are_counted_up_to_a_bound() -> None:
    """One cluster of a billion events asks for no table of a billion rows."""
    y = [3, 4, 2, 5, 1, 6, 500_000_000, 500_000_000]
    data = pd.DataFrame({"y": y, "id": np.repeat([0, 1, 2, 3], 2)})
    with pytest.warns(AccuracyWarning):  # rounding in terms of that size
        fit = cg.random_effects("y ~ 1", data, cluster="id", family="poisson", distribution="cauchy")
    counts = fit.event_counts().to_frame()
    assert counts["events"].iloc[-1] == 100_000
    assert counts["observed"].iloc[-1] == 1.0
    assert counts["observed"].sum() == 4.0
    assert counts["expected"].sum() == pytest.approx(4.0, abs=1e-9)


def test_very_many_trials_are_refused_in_words() -> None:
    data = pd.DataFrame({"s": [50_000, 61_000], "f": [50_000, 39_000], "id": [0, 1]})
    fit = cg.random_effects("cbind(s, f) ~ 1", data, cluster="id")
    with pytest.raises(OptionError, match="clusters of up to 100,000 trials"):
        fit.event_counts()
