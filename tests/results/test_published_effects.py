"""Stata's average and conditional marginal effects of a published example, to its printed digits.

Spector and Mazzeo (1980): grades of 32 students; `logit grade gpa tuce i.psi` and `margins` as printed by R. Williams
(Marginal effects for continuous variables, University of Notre Dame, 2017).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg

GOLDEN = Path(__file__).parent.parent / "golden" / "data"
HALF = 0.5000001  # of the last printed digit
ONE = 1.0  # the same where Stata differentiates numerically


@pytest.fixture(scope="module")
def grades() -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "spector.csv").assign(psi=lambda d: d.psi.astype("category"))


@pytest.fixture(scope="module")
def fit(grades: pd.DataFrame) -> Any:
    return cg.pooled("grade ~ gpa + tuce + psi", grades)


def same(found: Any, printed: float, digits: int, units: float = HALF) -> bool:
    return abs(float(found) - printed) <= units * 10.0**-digits


def test_coefficients(fit: Any) -> None:
    printed = {"gpa": (2.826113, 1.262941), "tuce": (0.0951577, 0.1415542), "psi1": (2.378688, 1.064564)}
    for name, (estimate, error) in printed.items():
        digits = 7 if abs(estimate) < 1.0 else 6
        assert same(fit.params[name], estimate, digits)
        assert same(fit.bse[name], error, digits if error < 1.0 else 6)
    assert same(fit.loglik, -12.889633, 6, 1.3)  # Stata stopped at -12.889633, the maximum is -12.8896342


def test_average_marginal_effects(fit: Any) -> None:
    printed = {"gpa": (0.3625809, 0.1094412), "tuce": (0.0122084, 0.0177942)}
    found = fit.average_effects().set_index("term")
    for name, (estimate, error) in printed.items():
        assert same(found.estimate[name], estimate, 7, ONE)
        assert same(found.std_error[name], error, 7)


def test_marginal_effects_at_the_means(grades: pd.DataFrame) -> None:
    numbers = grades.assign(psi=grades.psi.astype(float))
    at = numbers.mean().to_frame().T
    found = cg.pooled("grade ~ gpa + tuce + psi", numbers).average_effects(data=at).set_index("term")
    for name, (estimate, error) in {"gpa": (0.5338589, 0.237038), "tuce": (0.0179755, 0.0262369)}.items():
        assert same(found.estimate[name], estimate, 7, ONE)
        assert same(found.std_error[name], error, 6 if name == "gpa" else 7)


def test_a_discrete_change_at_the_means_of_the_others(fit: Any, grades: pd.DataFrame) -> None:
    at = {name: float(grades[name].mean()) for name in ("gpa", "tuce")}
    change = fit.adjusted_means("psi", at=at).contrasts("reference")
    np.testing.assert_allclose(change.estimate, [0.4564984], atol=HALF * 1e-7)
    np.testing.assert_allclose(change.std_error, [0.1810537], atol=HALF * 1e-7)
