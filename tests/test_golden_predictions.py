"""Predictions at estimated intercepts and the intraclass correlation against lme4 and glmmTMB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg

GOLDEN = Path(__file__).parent / "golden"
CASES = {case["data"]: case for case in json.loads((GOLDEN / "predictions.json").read_text())}


def fitted(case: dict[str, Any], quadrature: str | int) -> Any:
    name = case["data"]
    frame = pd.read_csv(GOLDEN / "data" / ("cbpp_grouped.csv" if name == "cbpp" else f"{name}.csv"))
    formula, cluster = {
        "bacteria": ("y ~ C(trt, contr.treatment('placebo')) + I(week > 2)", "ID"),
        "ohio": ("resp ~ age * smoke", "id"),
        "cbpp": ("cbind(incidence, size - incidence) ~ C(period)", "herd"),
        "epil": ("y ~ C(trt, contr.treatment('placebo')) + lbase + I(period == 4)", "subject"),
    }[name]
    return cg.random_effects(
        formula, frame, cluster=cluster, family=case["family"], link=case["link"], quadrature=quadrature
    )


@pytest.mark.parametrize("name", CASES)
def test_lme4_with_25_nodes(name: str) -> None:
    """lme4 stops at about 1e-4; its conditional predictions are at posterior modes, as ours."""
    case = CASES[name]
    fit, want = fitted(case, 25), case["lme4"]
    rows = len(want["conditional"])
    np.testing.assert_allclose(fit.params, want["coef"], atol=2e-4)
    for kind in ("conditional", "typical"):
        np.testing.assert_allclose(fit.predict(kind=kind)[:rows], want[kind], rtol=3e-4, err_msg=kind)
    if case["family"] == "binomial":
        assert fit.intraclass_correlation().estimate == pytest.approx(want["icc"], rel=3e-4)


@pytest.mark.parametrize("name", CASES)
def test_standard_errors(name: str) -> None:
    """glmmTMB takes the variance of an intercept given the data from the curvature at its mode; ours is integrated."""
    case = CASES[name]
    fit, want = fitted(case, "laplace"), case["glmmTMB"]
    rows = len(want["link"])
    found = fit.predict(kind="conditional", scale="link", level=0.95)[:rows]
    np.testing.assert_allclose(found.estimate, want["link"], atol=2e-4)
    assert (found.std_error / want["se"]).between(0.99, 1.035).all()
