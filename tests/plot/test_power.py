"""Pictures of power: what they show is the table, and the line on which `needed` rests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.pyplot import close

import clusterglm as cg
from clusterglm.errors import OptionError


@pytest.fixture(scope="module")
def found() -> Any:
    plan = cg.design(20, 5, between={"trt": ["a", "b"]})
    return cg.power(
        "y ~ trt + (1 | id)", "trt", design=plan, params=[0.0, 1.0], sigma=0.5, clusters=[20, 40, 80],
        effect=[0.0, 1.0], replicates=40, seed=1,
    )  # fmt: skip


def test_points_and_curves(found: Any) -> None:
    plot = cg.plot.power(found)
    pd.testing.assert_frame_equal(plot.data, pd.DataFrame(found.to_frame()))
    points = [line for line in plot.ax.lines if len(line.get_xdata()) == 3]
    drawn = np.concatenate([line.get_ydata() for line in points])
    np.testing.assert_allclose(np.sort(drawn), np.sort(plot.data["power"]))
    (curve,) = [line for line in plot.ax.lines if len(line.get_xdata()) > 10]  # none where the hypothesis is true
    needed = found.needed(0.8)["needed"].iloc[0]
    at = np.interp(0.8, curve.get_ydata(), curve.get_xdata())
    assert 20 < at <= needed <= at + 1.5
    assert [each.get_text() for each in plot.ax.get_legend().get_texts()] == ["effect 0", "effect 1"]
    assert plot.ax.get_xlabel() == "Clusters"
    close(plot.figure)


def test_along_the_effect(found: Any) -> None:
    plot = cg.plot.power(found, along="effect", target=None, theme="dark")
    assert plot.ax.get_xlabel() == "Effect"
    assert len(plot.ax.get_legend().get_texts()) == 3
    close(plot.figure)


def test_refusals(found: Any) -> None:
    with pytest.raises(OptionError, match="power gave"):
        cg.plot.power("y ~ x")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="along='size'"):
        cg.plot.power(found, along="size")
    with pytest.raises(OptionError, match="target=2"):
        cg.plot.power(found, target=2)
