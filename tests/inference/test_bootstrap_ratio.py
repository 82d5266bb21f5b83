"""Likelihood ratios by parametric bootstrap: against an exact test, in any order, with failures and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import chdtrc
from scipy.stats import ttest_ind

import clusterglm as cg
from clusterglm.errors import OptionError

FEW = cg.design(8, 4, between={"trt": ["a", "b"]})


@pytest.fixture(scope="module")
def measured() -> Any:
    return cg.simulate(
        "y ~ trt + (1 | id)", FEW, [0.0, 1.5], sigma=1.0, family="gaussian", family_parameters=1.0, seed=4
    )


def test_two_groups_of_normal_responses_have_the_p_value_of_the_t_test(measured: Any) -> None:
    """In balanced data the likelihood ratio rises with |t| of the cluster means, whose distribution is known."""
    fit = cg.random_effects("y ~ trt + (1 | id)", measured, family="gaussian")
    none = cg.random_effects("y ~ 1 + (1 | id)", measured, family="gaussian")
    found = cg.bootstrap_test(none, fit, n_boot=300, seed=1)
    means = measured.groupby(["trt", "id"], observed=True)["y"].mean()
    exact = ttest_ind(means["a"], means["b"]).pvalue
    assert abs(found.pvalue - exact) < 4.0 * found.pvalue_se + 1.0 / 300
    assert found.asymptotic.pvalue < exact  # chi-square rejects too often
    assert abs(found.pvalue_bartlett - exact) < abs(found.asymptotic.pvalue - exact)
    assert found.pvalue_bartlett == pytest.approx(chdtrc(1, found.statistic / found.replicates.mean()))
    turned = cg.bootstrap_test(fit, none, n_boot=20, seed=1)
    np.testing.assert_array_equal(turned.replicates, found.replicates[:20])
    assert "parametric bootstrap: p =" in str(found)


@pytest.mark.parametrize("family", ["binomial", "poisson", "negative_binomial", "ordinal"])
def test_of_every_family_in_any_number_of_threads(family: str) -> None:
    bacteria = cg.datasets.load("bacteria")
    data, response = (bacteria, "y") if family == "binomial" else (bacteria, "week")
    formula = f"{response} ~ trt + (1 | ID)"
    fit = cg.random_effects(formula, data, family=family)
    smaller = cg.random_effects(f"{response} ~ 1 + (1 | ID)", data, family=family)
    found = cg.bootstrap_test(smaller, fit, n_boot=4, seed=2)
    again = cg.bootstrap_test(smaller, fit, n_boot=4, seed=2, n_jobs=2)
    np.testing.assert_array_equal(found.replicates, again.replicates)
    assert found.failures == ()
    assert (found.replicates >= 0.0).all()


def test_rows_in_another_order_and_no_random_effects(measured: Any) -> None:
    """The pooled fit has the rows in the order of the table; sigma = 0 is a boundary, without Bartlett's correction."""
    mixed = measured.sample(frac=1.0, random_state=1).reset_index(drop=True)
    fit = cg.random_effects("y ~ trt + (1 | id)", mixed, family="gaussian")
    found = cg.bootstrap_test(cg.pooled("y ~ trt", mixed, family="gaussian"), fit, n_boot=60, seed=1)
    assert found.asymptotic.boundary
    assert np.isnan(found.pvalue_bartlett)
    # without clusters more than a third of the ratios are 0
    assert 0.3 < np.mean(found.replicates < 1e-8) < 0.95


def test_what_is_refused_in_words(measured: Any) -> None:
    fit = cg.random_effects("y ~ trt + (1 | id)", measured, family="gaussian", reml=True)
    none = cg.random_effects("y ~ 1 + (1 | id)", measured, family="gaussian", reml=True)
    with pytest.raises(OptionError, match="REML"):
        cg.bootstrap_test(none, fit)
    part = cg.random_effects("y ~ 1 + (1 | id)", measured[measured["id"] > 1], family="gaussian")
    with pytest.raises(OptionError, match="rows"):
        cg.bootstrap_test(part, cg.random_effects("y ~ trt + (1 | id)", measured, family="gaussian"))
    bacteria = cg.datasets.load("bacteria").assign(w=2)
    weighted = cg.random_effects("y ~ trt + (1 | ID)", bacteria, weights="w")
    with pytest.raises(OptionError, match="weights"):
        cg.bootstrap_test(weighted, weighted)
    with pytest.raises(OptionError, match="result"):
        cg.bootstrap_test("y ~ 1", weighted)  # type: ignore[arg-type]
