"""The most ordinary formulas: every public member works, or says in a sentence why not; and again from a file."""

from __future__ import annotations

import io
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from typer.testing import CliRunner

import clusterglm as cg
from clusterglm.cli import app

sys.path.insert(0, str(Path(__file__).parent))
from members import VERBS, called, differences, members

FORMULAS = ("1", "0 + f", "x", "offset(o)")
NOTHING_TO_CHANGE = "effects of a model without covariates"
NO_COEFFICIENT = "a model without coefficients"
NOT_WITHIN = "no covariate that varies within clusters"
ONE_MODEL = "write it with an intercept"
REFUSALS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("1", "offset(o)"): (NOTHING_TO_CHANGE, NO_COEFFICIENT, NOT_WITHIN),
    ("0 + f",): (ONE_MODEL,),
    ("x",): (),
}
"""What a model of these formulas may say that one with a covariate and an intercept does not."""


def table() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    id_ = np.repeat(np.arange(12), 6)
    d = pd.DataFrame({"id": id_, "x": rng.normal(size=72).round(1), "f": rng.choice(["a", "b", "c"], 72)})
    d["o"] = rng.normal(size=72).round(1)
    eta = 0.5 * d.x + rng.normal(size=12)[id_] + 0.3 * d.o
    return d.assign(y=(rng.random(72) < expit(eta)).astype(int), k=rng.poisson(np.exp(0.3 + 0.3 * eta)))


def fitted(verb: str, family: str, right: str) -> Any:
    response = "y" if family == "binomial" else "k"
    return getattr(cg, verb)(f"{response} ~ {right}", table(), cluster="id", family=family)


def outcomes(fit: Any) -> dict[str, Any]:
    return {f"{name} {k}": call.value for name in members(type(fit)) for k, call in enumerate(called(fit, name))}


@cache
def usual(verb: str, family: str) -> dict[str, str]:
    """What a model with two covariates and an intercept refuses."""
    return refusals(outcomes(fitted(verb, family, "x + f")))


def refusals(of: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in of.items() if isinstance(value, cg.errors.ClusterGLMError)}


@pytest.mark.parametrize("right", FORMULAS)
@pytest.mark.parametrize("verb", VERBS)
def test_every_member_works_or_says_why_not_and_from_a_file_too(verb: str, right: str, tmp_path: Path) -> None:
    family = "poisson" if (len(verb) + len(right)) % 2 else "binomial"  # each family meets each formula
    if verb == "conditional" and right in ("1", "offset(o)"):
        with pytest.raises(cg.errors.DesignError, match="conditional likelihood without covariates"):
            fitted(verb, family, right)
        return
    fit = fitted(verb, family, right)
    found = outcomes(fit)
    allowed = next(sentences for formulas, sentences in REFUSALS.items() if right in formulas)
    for name, words in refusals(found).items():
        if name not in usual(verb, family):
            assert any(sentence in words for sentence in allowed), (name, words)
            assert "needed:" in words
            assert "one of \n" not in words
    fit.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert {
        name: differ for name, value in outcomes(again).items() if (differ := differences(found[name], value))
    } == {}
    page = fit.report(tmp_path / "fit.html", n_boot=0, n_sim=0, distributions=()).read_text()
    assert f"{abs(fit.loglik):.4f}" in page


@pytest.mark.parametrize("right", ["0 + f", "f - 1"])
def test_a_model_without_an_intercept_is_the_same_model(right: str) -> None:
    one, other = fitted("random_effects", "binomial", right), fitted("random_effects", "binomial", "f")
    for method in ("bootstrap", "permutation", "score", "boundary"):
        tests = [fit.test_clustering(method, n_boot=49, seed=1, insist=True) for fit in (one, other)]
        assert tests[0].statistic == pytest.approx(tests[1].statistic, abs=1e-5)
        assert tests[0].pvalue == pytest.approx(tests[1].pvalue, abs=1e-5)
    assert one.average_effects()["estimate"].to_numpy() == pytest.approx(other.average_effects()["estimate"], abs=1e-6)


def test_tests_of_no_clustering_without_a_column_of_ones() -> None:
    """Of one covariate through the origin: responses are drawn from that model, in which a typical mean is one half."""
    fit = fitted("random_effects", "binomial", "0 + x")
    test = fit.test_clustering(n_boot=49, seed=1)
    assert len(test.replicates) == 49
    pooled = cg.pooled("y ~ 0 + x", table())
    assert test.statistic == pytest.approx(2.0 * (fit.loglik - pooled.loglik), abs=1e-6)


def test_an_intercept_alone_in_a_shell(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "data.csv", index=False)

    def shell(*arguments: object) -> str:
        ran = CliRunner().invoke(app, [str(each) for each in arguments])
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    saved = tmp_path / "one.json"
    shell("fit", tmp_path / "data.csv", "y ~ 1", "--cluster", "id", "--save", saved)
    assert "y ~ 1" in shell("show", saved)
    means = pd.read_csv(io.StringIO(shell("predict", saved)))["mean"]
    assert means.nunique() == 1
    assert len(pd.read_csv(io.StringIO(shell("simulate", saved, "--seed", "1")))) == 72
