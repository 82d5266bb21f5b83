"""Pictures of several random effects of each cluster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.pyplot import close
from scipy.special import expit

import clusterglm as cg
from clusterglm.errors import OptionError
from clusterglm.results.models.mixed import MixedEffectsResult


@pytest.fixture(autouse=True)
def closed():
    yield
    close("all")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(40), 10)
    u = rng.normal(size=(40, 2)) @ np.array([[1.0, 0.0], [0.3, 0.9]]).T
    x, w = rng.normal(size=400).round(1), rng.normal(size=400).round(1)
    y = rng.binomial(1, expit(-0.2 + 0.5 * x + u[g, 0] + u[g, 1] * x))
    return pd.DataFrame({"y": y, "x": x, "w": w, "g": g})


@pytest.fixture(scope="module")
def fit(rows: pd.DataFrame) -> MixedEffectsResult:
    return cg.random_effects("y ~ x + (x | g)", rows)


def test_caterpillars(fit: MixedEffectsResult) -> None:
    plot = fit.plot.caterpillar(level=0.5)
    assert len(plot.figure.axes) == 2
    known = fit.random_effects.set_index(["effect", "label"])
    for name, part in plot.data.groupby("effect", sort=False):
        assert part["estimate"].is_monotonic_increasing
        own = known.loc[name].loc[part["label"]]
        np.testing.assert_array_equal(part["estimate"], own["mode"])
        np.testing.assert_allclose(part["high"] - part["low"], 2.0 * 0.6744897501960817 * own["sd"])
    assert plot.data["effect"].unique().tolist() == ["(Intercept)", "x"]
    below = [line for panel in plot.figure.axes for line in panel.get_xlabel().split("\n")]
    assert max(map(len, below)) <= 24  # panels are narrow
    one = fit.plot.caterpillar(effect="x", named=10)
    assert len(one.figure.axes) == 1
    assert one.data["effect"].unique().tolist() == ["x"]
    import matplotlib.pyplot as plt

    axis = plt.subplots()[1]
    assert fit.plot.caterpillar(axis).ax is axis
    with pytest.raises(OptionError, match="one of"):
        fit.plot.caterpillar(effect="y")


def test_effects_against_each_other(fit: MixedEffectsResult, rows: pd.DataFrame) -> None:
    plot = fit.plot.random_effects(["x", "(Intercept)"])
    known = fit.random_effects.set_index(["effect", "label"])
    for name in ("x", "(Intercept)"):
        np.testing.assert_allclose(plot.data[name], known.loc[name]["mean"])
        np.testing.assert_allclose(plot.data[f"sd_{name}"], known.loc[name]["sd"])
    covariance = fit.random_effects_covariance(plot.data["label"][0])
    correlation = covariance.iloc[0, 1] / np.sqrt(np.prod(np.diag(covariance)))
    assert plot.data["correlation"][0] == pytest.approx(correlation)
    lines = [line.get_xydata() for line in plot.ax.lines if len(line.get_xydata()) > 100]
    assert len(lines) == 41  # a cluster each, and the distribution's
    S = fit.effects_covariance().to_numpy()[::-1, ::-1]
    np.testing.assert_allclose(np.einsum("ni,ij,nj->n", lines[-1], np.linalg.inv(S), lines[-1]), 5.991464547107979)
    assert len([line for line in fit.plot.random_effects(named=5).ax.lines if len(line.get_xydata()) > 100]) == 1
    alone = cg.random_effects("y ~ x + (1 | g)", rows)
    with pytest.raises(OptionError, match="two random effects"):
        alone.plot.random_effects()
    for wrong in (["x"], ["x", "x"], ["x", "z"]):
        with pytest.raises(OptionError, match="effects"):
            fit.plot.random_effects(wrong)


def test_lines_of_clusters_have_slopes_of_their_own(fit: MixedEffectsResult, rows: pd.DataFrame) -> None:
    data = fit.plot.predictions("x", clusters=[3, 7], kinds=["typical"], scale="link").data
    for curve, part in data.groupby("curve"):
        slope = np.polyfit(part["x"].to_numpy(float), part["estimate"], 1)[0]
        effect = fit.random_effects.set_index(["effect", "label"])
        own = 0.0 if curve == "typical cluster" else effect.loc[("x", int(curve.split()[1])), "mode"]
        assert slope == pytest.approx(fit.params["x"] + own)
    assert fit.plot.predictions("x", clusters=3).data["curve"].nunique() == 5
    beside = cg.random_effects("y ~ x + (w | g)", rows)
    flat = beside.plot.predictions("w", kinds=["typical"]).data["estimate"]
    assert np.ptp(flat) < 1e-12


@pytest.mark.parametrize("name", ["coefficients", "profile", "residuals", "qq", "calibration", "integration"])
def test_other_pictures(fit: MixedEffectsResult, name: str) -> None:
    few = {"n_sim": 5, "seed": 1} if name in ("residuals", "qq") else {"nodes": (1, 3)} if name == "integration" else {}
    plot = getattr(fit.plot, name)(**few)
    plot.figure.draw_without_rendering()
    assert len(plot.data) > 0
    if name == "profile":
        assert plot.ax.get_xlabel() == "sd(g: (Intercept))"


def test_pictures_of_one_intercept_are_refused(fit: MixedEffectsResult) -> None:
    for name in ("rootogram", "gradient"):
        with pytest.raises(OptionError, match="needed:"):
            getattr(fit.plot, name)()


def test_report(fit: MixedEffectsResult, rows: pd.DataFrame, tmp_path: Path) -> None:
    page = fit.report(tmp_path / "fit.html", data=rows, n_boot=9, n_sim=9).read_text()
    assert "Could not be made" not in page
    for words in ("sd(g: x)", "Standard deviations and correlations", "95% ellipses", "Test of no differences"):
        assert words in page
