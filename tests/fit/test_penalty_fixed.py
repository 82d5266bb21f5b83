"""Firth's penalty next to an intercept for every cluster, against brglm2 and against dummies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import OptionError, SeparationError
from clusterglm.fit.penalty_fixed import PenalizedFixed

GOLDEN = Path(__file__).parent.parent / "golden"
BRGLM2 = json.loads((GOLDEN / "firth.json").read_text())
EXACT = cg.Control(tol=1e-10)
MODELS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "blocks": ("culcita", "predation ~ ttt", "block", {}),
    "blocks_probit": ("culcita", "predation ~ ttt", "block", {"link": "probit"}),
    "blocks_cloglog": ("culcita", "predation ~ ttt", "block", {"link": "cloglog"}),
    "subjects": ("epil", "y ~ V4", "subject", {"family": "poisson"}),
}


@pytest.fixture(scope="module")
def apart() -> pd.DataFrame:
    """A level with only successes, clusters with only successes or failures, unequal weights and offsets."""
    rng = np.random.default_rng(2)
    d = pd.DataFrame({"id": np.repeat(range(9), 6), "x": rng.normal(size=54), "z": np.tile([0, 0, 1], 18)})
    d["y"] = (rng.random(54) < 1 / (1 + np.exp(-d.x - rng.normal(size=9)[d.id]))) * 1
    d.loc[(d.z == 1) | (d.id == 3), "y"] = 1
    d.loc[d.id == 5, "y"] = 0
    d["w"], d["o"], d["cw"] = rng.integers(1, 4, 54), rng.normal(size=54), (d.id % 2 + 1) * 1.0
    return d


@pytest.mark.parametrize("which", MODELS)
def test_brglm2(which: str) -> None:
    data, formula, cluster, options = MODELS[which]
    golden = BRGLM2[which]
    d = pd.read_csv(GOLDEN / "data" / f"{data}.csv")
    fit = cg.fixed_effects(formula, d, cluster=cluster, penalty="firth", control=EXACT, **options)
    for name, value in fit.params.items():
        assert value == pytest.approx(golden["coef"][name], rel=1e-7)
        assert fit.bse[name] == pytest.approx(golden["se"][name], rel=1e-7)
    assert fit.loglik == pytest.approx(golden["loglik"], rel=1e-9)
    effects = fit.cluster_effects.set_index("label").estimate
    first = effects.iloc[0]
    assert first == pytest.approx(golden["coef"]["(Intercept)"], abs=1e-6)
    for label, value in effects.iloc[1:].items():
        assert value - first == pytest.approx(golden["coef"][f"factor({cluster}){label}"], abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"link": "probit"}, {"weights": "w", "offset": "o"}])
def test_dummies(apart: pd.DataFrame, options: dict[str, Any]) -> None:
    """Estimates, intervals and tests of the same model with a column for each cluster."""
    with pytest.raises(SeparationError, match="penalty='firth'"):
        cg.fixed_effects("y ~ x + z", apart, cluster="id", **options)
    fit = cg.fixed_effects("y ~ x + z", apart, cluster="id", penalty="firth", control=EXACT, **options)
    given = {**options, "penalty": "firth", "control": EXACT}
    other = cg.pooled("y ~ 0 + C(id) + x + z", apart, **given)
    np.testing.assert_allclose(fit.params, other.params[9:], atol=1e-7)
    np.testing.assert_allclose(fit.cluster_effects.estimate, other.params[:9], atol=1e-6)
    np.testing.assert_allclose(fit.cluster_effects.std_error, other.bse[:9], rtol=1e-6)
    np.testing.assert_allclose(fit.bse, other.bse[9:], rtol=1e-7)
    assert fit.loglik == pytest.approx(other.loglik, abs=1e-7)
    assert fit.penalized_loglik == pytest.approx(other.penalized_loglik, abs=1e-9)
    np.testing.assert_allclose(fit.conf_int(method="profile"), other.conf_int(method="profile")[9:], atol=1e-5)
    np.testing.assert_allclose(fit.predict(level=0.9).high, other.predict(level=0.9).high, rtol=1e-6)
    small = cg.fixed_effects("y ~ x", apart, cluster="id", penalty="firth", **options)
    ours = cg.compare(small, fit).tests[0]
    theirs = cg.compare(cg.pooled("y ~ 0 + C(id) + x", apart, **given), other).tests[0]
    assert (ours.df, ours.penalized) == (1, True)
    assert ours.statistic == pytest.approx(theirs.statistic, abs=1e-6)


def test_a_cluster_of_weight_two_is_two_clusters(apart: pd.DataFrame) -> None:
    again = apart[apart.cw == 2.0].assign(id=lambda d: d.id + 100)
    options = {"cluster": "id", "penalty": "firth", "control": EXACT, "weights": "w", "offset": "o"}
    fit = cg.fixed_effects("y ~ x + z", apart, cluster_weights="cw", **options)
    other = cg.fixed_effects("y ~ x + z", pd.concat([apart, again]), **options)
    np.testing.assert_allclose(fit.params, other.params, atol=1e-9)
    np.testing.assert_allclose(fit.bse, other.bse, rtol=1e-9)
    assert fit.penalized_loglik == pytest.approx(other.penalized_loglik, abs=1e-9)
    np.testing.assert_allclose(fit.cluster_effects.estimate, other.cluster_effects.estimate[:9], atol=1e-8)
    np.testing.assert_allclose(fit.cluster_effects.std_error, other.cluster_effects.std_error[:9], rtol=1e-8)
    np.testing.assert_allclose(fit.conf_int(method="profile"), other.conf_int(method="profile"), atol=1e-6)


@pytest.mark.parametrize("weights", [None, "cw"])
def test_score_and_curvature_of_the_profile(apart: pd.DataFrame, weights: str | None) -> None:
    fit = cg.fixed_effects("y ~ x + z", apart, cluster="id", penalty="firth", cluster_weights=weights)
    penalized = PenalizedFixed(fit.data.X, fit.data, fit.response)
    at, h = np.array([0.3, 0.8]), 1e-3
    here = penalized.evaluate(at)
    ends = [(penalized.evaluate(at + h * e), penalized.evaluate(at - h * e)) for e in np.eye(2)]
    np.testing.assert_allclose(here.score, [(a.value - b.value) / (2 * h) for a, b in ends], rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(here.hessian, [(a.score - b.score) / (2 * h) for a, b in ends], rtol=2e-6, atol=2e-6)
    assert fit.optimization.iterations < 10


def test_many_clusters() -> None:
    """Far from every intercept's best, no step throws one beyond return; and the bias of short clusters is gone."""
    rng = np.random.default_rng(0)
    d = pd.DataFrame({"id": np.repeat(range(4000), 5), "x": rng.normal(size=20_000)})
    d["y"] = (rng.random(20_000) < 1 / (1 + np.exp(-d.x - 2.0 * rng.normal(size=4000)[d.id]))) * 1
    fit = cg.fixed_effects("y ~ x", d, cluster="id", penalty="firth")
    assert fit.converged
    assert fit.optimization.iterations < 10
    plain = cg.fixed_effects("y ~ x", d, cluster="id")
    assert abs(fit.params["x"] - 1.0) < 0.06 < 0.2 < plain.params["x"] - 1.0


def test_results_name_the_penalty(apart: pd.DataFrame, tmp_path: Path) -> None:
    fit = cg.fixed_effects("y ~ x + z", apart, cluster="id", penalty="firth")
    text = " ".join(str(fit).split())
    assert "maximum penalised likelihood" in text
    assert "Penalty: Firth" in text
    assert "9 finite intercepts (54 rows)" in text
    assert "biased" not in text
    assert fit.glance().penalty[0] == "firth"
    fit.save(tmp_path / "fit.json")
    assert str(cg.load(tmp_path / "fit.json")) == str(fit)
    for refused in (fit.test_clustering, lambda: fit.cov("robust"), fit.influence):
        with pytest.raises(OptionError, match="penalty"):
            refused()
    assert np.isfinite(fit.influence("exact").cook).all()
    assert len(fit.bootstrap(3, seed=1).replicates) == 3
    assert np.isfinite(fit.average_effects().frame.std_error).all()
    assert "influence" in str(fit.check(seed=1))
    assert "Penalised likelihood" in fit.report(tmp_path / "fit.html").read_text()
    random = cg.random_effects("y ~ x + z", apart, cluster="id")
    with pytest.raises(OptionError, match="penalty='firth'"):
        random.hausman(fit)
    with pytest.raises(OptionError, match="with bias_correction"):
        cg.fixed_effects("y ~ x", apart, cluster="id", penalty="firth", bias_correction="analytical")


def test_intercepts_alone(apart: pd.DataFrame) -> None:
    fit = cg.fixed_effects("y ~ 1", apart, cluster="id", penalty="firth")
    cells = apart.groupby("id").y.agg(["sum", "count"])
    np.testing.assert_allclose(
        fit.cluster_effects.estimate, np.log((cells["sum"] + 0.5) / (cells["count"] - cells["sum"] + 0.5)), atol=1e-8
    )
