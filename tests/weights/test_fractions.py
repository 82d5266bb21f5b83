"""Weights that are not whole numbers: what counts or draws rows refuses them, all else is a weighted likelihood."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg

sys.path.insert(0, str(Path(__file__).parent))
from members import TIGHT, VERBS, called, differences, members

REFUSED = {
    "bootstrap()", "calibration()", "chi_squared()", "conf_int(method='bootstrap')", "dispersion_test()",
    "event_counts()", "gradient_function()", "gradient_function(statistic='supremum')", "plot.bootstrap()",
    "plot.calibration()", "plot.gradient()", "plot.qq()", "plot.residuals()", "plot.rootogram()", "residual_envelope()",
    "residuals(kind='quantile')", "residuals(kind='quantile', intercepts='marginal')", "residuals(kind='simulated')",
    "residuals(kind='simulated', intercepts=0.5)", "simulate(n=3)", "test_clustering()",
    "test_clustering(method='permutation', insist=True)", "test_clustering(statistic='loglik')",
    "zero_inflation_test()",
}  # fmt: skip
"""Calls that take single rows or clusters, of any verb that has them."""
CONDITIONAL = "conditional", "weights"  # refused by the likelihood itself


def table(kind: str) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    id_ = np.repeat(np.arange(14), 5)
    d = pd.DataFrame({"id": id_, "x": rng.normal(size=70), "g": rng.choice(["a", "b"], 70)})
    d["k"] = rng.poisson(np.exp(0.2 + 0.4 * d.x + 0.5 * rng.normal(size=14)[id_]))
    d["u"] = rng.uniform(0.5, 2.5, 70) if kind == "weights" else rng.uniform(0.5, 2.5, 14)[id_]
    return d


FITS = [(verb, kind) for verb in VERBS for kind in ("weights", "cluster_weights") if (verb, kind) != CONDITIONAL]


@pytest.mark.parametrize(("verb", "kind"), FITS)
def test_one_sentence_refuses(verb: str, kind: str) -> None:
    options: dict[str, Any] = {"family": "poisson", "cluster": "id", "control": TIGHT}
    fit = getattr(cg, verb)("k ~ x + g", table(kind), **{kind: "u"}, **options)
    plain = getattr(cg, verb)("k ~ x + g", table(kind), **options)
    words = {"weights": "of a fit with weights that", "cluster_weights": "of a fit with cluster weights that"}[kind]
    refused, possible = set(), set()
    for name in members(type(fit)):
        possible |= {str(call) for call in called(plain, name) if not isinstance(call.value, cg.errors.ClusterGLMError)}
        for call in called(fit, name):
            if isinstance(call.value, cg.errors.OptionError) and "not whole numbers (such as" in call.value.got:
                assert f"{words} are not whole numbers" in call.value.got
                refused.add(str(call))
    expected = possible & REFUSED
    assert refused == (expected - {"test_clustering()"} if verb == "pooled" else expected)  # there, a score test
    assert "bootstrap()" in refused  # which draws rows; of whole clusters their weights are a part


@pytest.mark.parametrize(("verb", "kind"), FITS)
def test_they_are_said_and_what_is_a_likelihood_stays(verb: str, kind: str) -> None:
    """Half the weights: the same estimates, twice the variance; but robust errors, which take a unit for none."""
    options: dict[str, Any] = {"family": "poisson", "cluster": "id", "control": TIGHT}
    data = table(kind)
    fit = getattr(cg, verb)("k ~ x + g", data, **{kind: "u"}, **options)
    half = getattr(cg, verb)("k ~ x + g", data.assign(u=0.5 * data.u), **{kind: "u"}, **options)
    if kind == "cluster_weights" or verb in ("pooled", "fixed_effects"):
        assert differences(half.params, fit.params, tolerance=1e-7) == []
        assert differences(half.bse**2, 2.0 * fit.bse**2, tolerance=1e-6) == []
        assert differences(half.cov("robust"), fit.cov("robust"), tolerance=1e-6) == []
    unit = "rows" if kind == "weights" else "clusters"
    total = data.u.sum() if kind == "weights" else data.groupby("id").u.first().sum()
    said = " ".join(str(fit.summary()).split())
    assert f"{total:.10g} in {70 if kind == 'weights' else 14} {unit} of the table; not all whole" in said
    assert (fit.n_obs, fit.n_clusters) == (70, 14)
    if hasattr(fit, "check"):
        assert "not tested: weights that are not whole" in " ".join(str(fit.check(seed=1)).split())


def test_a_conditional_likelihood_refuses_them_itself() -> None:
    with pytest.raises(cg.errors.DataError, match="case weights that are not whole numbers"):
        cg.conditional("k ~ x", table("weights"), cluster="id", family="poisson", weights="u")


def test_split_panels_count_rows() -> None:
    d = table("weights").assign(y=lambda d: (d.k > 1).astype(int))
    with pytest.raises(cg.errors.OptionError, match="not whole numbers"):
        cg.fixed_effects("y ~ x", d, cluster="id", weights="u", bias_correction=cg.SplitPanel())


def test_distributions_are_compared_without_the_criterion_that_counts() -> None:
    found = cg.select_distribution("k ~ x", table("weights"), cluster="id", family="poisson", weights="u")
    assert found.goodness == {}
    assert np.isnan(found.table["chi_square"]).all()
    assert "Weights" in str(found)


def test_more_rows_than_can_be_written_out() -> None:
    d = table("weights").assign(u=3_000_000.0)
    fit = cg.pooled("k ~ x", d, family="poisson", weights="u")
    assert fit.n_obs == 210_000_000
    with pytest.raises(cg.errors.OptionError, match="stand for 210,000,000 rows"):
        fit.bootstrap(n_boot=2)
