"""Where a response's own parameter lies at the end of its range, answers are those of the model there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import clusterglm as cg

PARTS = {"one": "(1 | g)", "slopes": "(x | g)", "crossed": "(1 | g) + (1 | h)"}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Successes and counts that vary less than a binomial and a Poisson distribution have it."""
    rng = np.random.default_rng(9)
    g, h, x = rng.integers(0, 20, 300), rng.integers(0, 6, 300), rng.normal(size=300)
    eta = 0.3 + 0.4 * x + rng.normal(0.0, 0.4, 20)[g] + rng.normal(0.0, 0.3, 6)[h]
    trt = rng.choice(["a", "b"], 300)
    return pd.DataFrame(
        {"k": np.round(6.0 * expit(eta)), "n": 1 + rng.binomial(4, expit(eta)), "x": x, "trt": trt, "g": g, "h": h}
    )


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("response", "family", "limit"),
    [
        ("cbind(k, 6 - k)", "beta_binomial", "binomial"),
        ("n", "truncated_negative_binomial", "truncated_poisson"),
    ],
)
def test_averages(rows: pd.DataFrame, part: str, response: str, family: str, limit: str) -> None:
    formula = f"{response} ~ x + trt + {PARTS[part]}"
    rule = "laplace" if part == "crossed" else "auto"  # which is quick
    fit, there = (cg.random_effects(formula, rows, family=each, quadrature=rule) for each in (family, limit))
    assert fit.dispersion_lr_test.statistic == 0.0
    for of in (
        lambda each: each.predict(rows.head(3), "marginal", level=0.9).drop(columns="status"),
        lambda each: each.average_effects().set_index(["term", "contrast"])[["estimate", "std_error"]],
        lambda each: each.adjusted_means("trt").to_frame().set_index("trt")[["estimate", "std_error"]],
    ):
        np.testing.assert_allclose(of(fit), of(there), rtol=2e-3)


@pytest.mark.parametrize(
    ("part", "zeros"),
    [("one", {"zero_inflation": "~ 1"}), ("one", {"hurdle": "~ trt"}), ("slopes", {"hurdle": "~ trt"})],
)
def test_reports(rows: pd.DataFrame, part: str, zeros: dict[str, str], tmp_path: Path) -> None:
    """With all that there is, and a sentence on what there is not."""
    data = rows.assign(n=np.where(np.arange(len(rows)) % 4 == 0, 0, rows["n"]))
    fit = cg.random_effects(f"n ~ x + trt + {PARTS[part]}", data, family="negative_binomial", **zeros)
    assert fit.family_parameters["alpha"] == 0.0
    text = fit.report(tmp_path / "fit.html", data=data, n_boot=0, n_sim=0).read_text(encoding="utf-8")
    assert "could not be made" not in text
    assert "Coefficients with Wald intervals" in text
    if part == "one" and fit.sigma > 0.0:
        assert "Not here: a profile where the maximum lies at alpha = 0" in text
