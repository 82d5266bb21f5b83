"""One random intercept beside a response with parameters of its own: tests of no clustering, choice of distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, OptionError

FORMULAS = {
    "negative_binomial": "k ~ x",
    "negative_binomial1": "k ~ x",
    "beta_binomial": "cbind(o, 3 - o) ~ x",
    "ordinal": "o ~ x",
    "gamma": "t ~ x",
    "weibull": "Surv(t) ~ x",
    "exponential": "Surv(t, e) ~ x",
}


def drawn(sigma: float, seed: int, m: int = 30, n: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    cluster, x = np.repeat(np.arange(m), n), rng.normal(size=m * n)
    eta = 0.4 * x + sigma * rng.normal(size=m)[cluster]
    return pd.DataFrame(
        {
            "id": cluster,
            "x": x,
            "k": rng.poisson(np.exp(0.5 + eta) * rng.gamma(2.0, 0.5, m * n)),
            "o": np.digitize(eta + rng.logistic(size=m * n), [-1.0, 0.0, 1.0]),
            "t": rng.gamma(2.0, 0.5 * np.exp(eta)),
            "e": rng.binomial(1, 0.8, m * n),
        }
    )


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return drawn(0.7, 1)


@pytest.mark.parametrize("family", FORMULAS)
def test_the_likelihood_ratio_with_the_mixture_of_the_boundary(family: str, data: pd.DataFrame) -> None:
    fit, pooled = (verb(FORMULAS[family], data, cluster="id", family=family) for verb in (cg.random_effects, cg.pooled))
    test: Any = fit.test_clustering("boundary")
    assert test.statistic == pytest.approx(2.0 * (fit.loglik - pooled.loglik), abs=1e-9)
    assert test.pvalue == pytest.approx(0.5 * chi2.sf(test.statistic, 1))


@pytest.mark.parametrize("family", [family for family in FORMULAS if family != "exponential"])
def test_a_replicate_is_the_two_fits_to_its_responses(family: str, data: pd.DataFrame) -> None:
    """Drawn without clusters, from the pooled fit and its parameters."""
    formula, options = FORMULAS[family], {"cluster": "id", "family": family}
    fit, null = cg.random_effects(formula, data, **options), cg.pooled(formula, data, **options)
    test: Any = fit.test_clustering(n_boot=3, seed=11)
    assert test.failures == ()
    eta = null._beta @ null.data.rows.X.T
    trials = np.full(len(data), 3.0) if family == "beta_binomial" else None
    for seed, statistic in zip(np.random.SeedSequence(11).spawn(3), test.replicates, strict=True):
        y = null.response.draw(np.random.default_rng(seed), eta, trials)
        new = data.assign(**{"t" if "t" in formula else "k" if "k" in formula else "o": y})
        one, other = cg.random_effects(formula, new, **options), cg.pooled(formula, new, **options)
        assert statistic == pytest.approx(2.0 * (one.loglik - other.loglik), abs=1e-4)


def test_a_permuted_replicate_is_the_fit_to_dealt_out_rows(data: pd.DataFrame) -> None:
    """Of censored times too."""
    options: dict[str, Any] = {"cluster": "id", "family": "exponential"}
    fit = cg.random_effects(FORMULAS["exponential"], data, **options)
    pooled = cg.pooled(FORMULAS["exponential"], data, **options)
    test: Any = fit.test_clustering("permutation", n_boot=3, seed=11)
    for seed, statistic in zip(np.random.SeedSequence(11).spawn(3), test.replicates, strict=True):
        new = data.iloc[np.random.default_rng(seed).permutation(len(data))].assign(id=data["id"].to_numpy())
        again = cg.random_effects(FORMULAS["exponential"], new, **options)
        assert statistic == pytest.approx(2.0 * (again.loglik - pooled.loglik), abs=1e-4)


def test_draws_of_censored_times_are_refused(data: pd.DataFrame) -> None:
    fit = cg.random_effects(FORMULAS["exponential"], data, cluster="id", family="exponential")
    with pytest.raises(OptionError, match=r"bootstrap of censored times.*(?s:.)*permutation"):
        fit.test_clustering(n_boot=3)


@pytest.mark.parametrize("family", ["negative_binomial", "ordinal", "gamma"])
def test_clustering_is_found_and_its_absence_is_not(family: str) -> None:
    some, none = (
        cg.random_effects(FORMULAS[family], drawn(sigma, 2), cluster="id", family=family) for sigma in (1.0, 0.0)
    )
    for method in ("bootstrap", "boundary"):
        assert some.test_clustering(method, n_boot=49, seed=1).pvalue <= 0.02, method
        assert none.test_clustering(method, n_boot=49, seed=1).pvalue > 0.02, method


@pytest.mark.parametrize("family", FORMULAS)
def test_distributions_side_by_side_are_fits_of_each(family: str, data: pd.DataFrame, tmp_path: Path) -> None:
    formula, options = FORMULAS[family], {"cluster": "id", "family": family}
    names = ("gaussian", "logistic", "cauchy")
    found = cg.select_distribution(formula, data, distributions=names, **options)
    alone = {name: cg.random_effects(formula, data, distribution=name, **options) for name in names}
    assert [*found.fits] == [*names]
    for name, fit in alone.items():
        assert type(found.fits[name]) is type(fit)
        assert found.table.loc[name, "loglik"] == fit.loglik
        assert found.table.loc[name, "aic"] == fit.aic
        assert found.fits[name].family_parameters.equals(fit.family_parameters)
    assert found.best().loglik == max(fit.loglik for fit in alone.values())  # equally many parameters
    assert not found.goodness
    with pytest.raises(OptionError, match="criterion"):
        found.best("chi_square")
    assert f"AIC prefers {found.best().distribution.name}." in str(found)
    found.save(tmp_path / "choice.json")
    assert cg.load(tmp_path / "choice.json").table.equals(found.table)


def test_levels_say_the_order_of_categories(data: pd.DataFrame) -> None:
    words = data.assign(o=np.array(["none", "some", "more", "all"])[data["o"]])
    options: dict[str, Any] = {"cluster": "id", "family": "ordinal"}
    found = cg.select_distribution("o ~ x", words, levels=["none", "some", "more", "all"], **options)
    assert found.table["loglik"].equals(cg.select_distribution("o ~ x", data, **options).table["loglik"])


def test_distributions_that_such_a_response_cannot_have_are_named(data: pd.DataFrame) -> None:
    found = cg.select_distribution(
        "o ~ x", data, cluster="id", family="ordinal", link="cloglog", distributions=["gaussian", "log_gamma"]
    )
    assert [*found.failures] == ["log_gamma"]
    assert "distribution='log_gamma'" in found.failures["log_gamma"]
    with pytest.raises(ClusterGLMError, match="shape of student_t to be estimated"):
        cg.select_distribution("k ~ x", data, cluster="id", family="negative_binomial", distributions=["student_t"])


def test_normal_responses_have_normal_intercepts(data: pd.DataFrame) -> None:
    with pytest.raises(OptionError, match="closed forms of normal ones"):
        cg.select_distribution("t ~ x", data, cluster="id", family="gaussian")
