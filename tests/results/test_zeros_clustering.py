"""Tests of no clustering by simulation, of counts whose zeros have a linear predictor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

import clusterglm as cg
from clusterglm.errors import DataError, OptionError
from clusterglm.inference.hypotheses import bootstrap

sys.path.insert(0, str(Path(__file__).parent))
from test_zeros_diagnosed import CASES, DATA, fitted
from zeros_for_tests import INFLATED, PASSED, POISSON


@pytest.fixture(scope="module", params=CASES, ids=["-".join(case) for case in CASES])
def fit(request: pytest.FixtureRequest) -> Any:
    return fitted(*request.param)


def test_draws_are_from_both_parts_of_the_model_without_clusters(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[np.ndarray[Any, Any]] = []

    def no_fit(new: Any, start: Any) -> Any:
        drawn.append(new.a)
        return 1.0, 0.0, np.zeros(0)

    monkeypatch.setattr(bootstrap, "refit_by", lambda fitted: no_fit)
    found = fit.test_clustering(n_boot=3000, seed=3)
    assert found.statistic == pytest.approx(2.0 * (fit.loglik - fit.pooled.loglik), rel=1e-12)
    assert (found.replicates == 2.0).all()
    y, order = np.array(drawn[1:]), fit.data.rows.row_index
    zero, mean = fit.pooled.predict(scale="zero").to_numpy()[order], fit.pooled.predict().to_numpy()[order]
    assert np.abs((y == 0.0).mean(axis=0) - zero).max() < 5.0 * 0.5 / np.sqrt(3000)
    assert np.abs((y.mean(axis=0) - mean) / (y.std(axis=0) / np.sqrt(3000))).max() < 5.0


@pytest.mark.parametrize(("argument", "family"), CASES)
def test_labels_are_dealt_out_with_both_formulas_covariates(argument: str, family: str) -> None:
    """A replicate is the likelihood ratio of a table whose rows are in other clusters."""
    table = DATA.sample(frac=1.0, random_state=1, ignore_index=True)
    asked: dict[str, Any] = {"family": family, argument: "~ z + x", "cluster": "a"}
    fit = cg.random_effects("y ~ x + g", table, **asked)
    assert len(fit.test_clustering("permutation", n_boot=2, seed=1).replicates) == 2
    order = fit.data.rows.row_index
    new = bootstrap._dealing(fit.data.rows)(np.random.default_rng(8))
    one, other, _ = fit._refit(fit.fit.pooled)(new, None)
    dealt = table.iloc[order[new.row_index]].assign(a=table["a"].to_numpy()[order])
    again = cg.random_effects("y ~ x + g", dealt, **asked)
    assert one - other == pytest.approx(again.loglik - again.pooled.loglik, abs=1e-6)
    assert other == pytest.approx(fit.pooled.loglik, abs=1e-6)


def test_a_hurdle_leaves_clusters_to_the_counts_beyond_it() -> None:
    """The statistic, and those without clustering, are those of truncated counts fitted alone."""
    fit, positive = fitted(PASSED, POISSON), DATA[DATA["y"] > 0]
    alone = cg.random_effects("y ~ x + g", positive, family="truncated_poisson", cluster="a")
    assert fit.test_clustering("boundary").statistic == pytest.approx(alone.clustering_test.statistic, rel=1e-6)
    here, there = fit.test_clustering(n_boot=19, seed=2), alone.test_clustering(n_boot=19, seed=2)
    assert here.statistic == pytest.approx(there.statistic, rel=1e-6)
    assert here.pvalue == there.pvalue == 0.05


@pytest.mark.parametrize("argument", [INFLATED, PASSED])
def test_without_clusters_half_of_the_ratios_are_zero(argument: str) -> None:
    """The mixture of the boundary, of which the bootstrap knows nothing: ratios are 0 or about chi-square(1)."""
    rng = np.random.default_rng(4)
    table = DATA.assign(y=np.where(rng.random(240) < expit(DATA["z"] - 0.5), 0, rng.poisson(2.0, 240)))
    asked: dict[str, Any] = {"family": POISSON, argument: "~ z", "cluster": "a"}
    found = cg.random_effects("y ~ x", table, **asked).test_clustering(n_boot=99, seed=1)
    assert found.failures == ()
    assert 0.35 < (found.replicates < 1e-6).mean() < 0.75
    assert found.pvalue > 0.05


def test_several_effects_are_left_out_together() -> None:
    asked: dict[str, Any] = {"family": POISSON, INFLATED: "~ z"}
    fit = cg.random_effects("y ~ x + (x || a)", DATA, quadrature="laplace", **asked)
    found = fit.test_clustering(n_boot=3, seed=1)
    assert len(found.replicates) == 3
    assert found.pvalue == 0.25


def test_what_there_is_not_is_said(fit: Any) -> None:
    unlike = DATA.assign(z=DATA["z"] + DATA["a"])
    argument = PASSED if hasattr(type(fit), "hurdle") else INFLATED
    other = cg.random_effects("y ~ x", unlike, family=fit.family, cluster="a", **{argument: "~ z"})
    with pytest.raises(DataError, match="'z' differs between clusters"):
        other.test_clustering("permutation")
    for asked in ({"method": "score"}, {"statistic": "loglik"}):
        with pytest.raises(OptionError, match="test_clustering with"):
            fit.test_clustering(**asked)
    with pytest.raises(OptionError, match="test_clustering"):
        fit.pooled.test_clustering()
