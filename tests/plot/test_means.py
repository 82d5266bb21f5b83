"""Pictures of adjusted means and contrasts: what they show is the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.pyplot import close

import clusterglm as cg
from clusterglm.errors import OptionError


@pytest.fixture(scope="module")
def fit() -> Any:
    return cg.random_effects("y ~ trt * week", cg.datasets.load("bacteria"), cluster="ID")


def heights(axis: Any) -> np.ndarray:
    return np.sort(np.concatenate([line.get_ydata() for line in axis.lines if len(line.get_xdata()) > 0]))


def test_means_by_groups(fit) -> None:
    plot = fit.plot.adjusted_means("trt", by="week", at={"week": [0, 11]})
    means = fit.adjusted_means("trt", by="week", at={"week": [0, 11]})
    pd.testing.assert_frame_equal(plot.data, means.to_frame())
    np.testing.assert_allclose(heights(plot.ax), np.sort(means.estimate))
    assert [each.get_text() for each in plot.ax.get_xticklabels()] == ["placebo", "drug", "drug+"]
    assert [each.get_text() for each in plot.ax.get_legend().get_texts()] == ["0", "11"]
    assert "probability" in plot.ax.get_ylabel()
    close(plot.figure)


def test_means_of_numbers_stand_where_these_are(fit) -> None:
    plot = cg.plot.adjusted_means(fit.adjusted_means("week", level=0.8), theme="dark")
    assert plot.ax.lines[0].get_xdata().tolist() == [0.0, 2.0, 4.0, 6.0, 11.0]
    assert "80% interval" in plot.ax.get_ylabel().replace("\n", " ")
    close(plot.figure)


@pytest.mark.parametrize("comparison", ["difference", "ratio"])
def test_contrasts(fit, comparison) -> None:
    found = fit.adjusted_means("trt", by="week", at={"week": [0, 11]}).contrasts(comparison=comparison)
    plot = cg.plot.contrasts(found)
    table = found.to_frame()
    drawn = next(line for line in plot.ax.lines if len(line.get_xdata()) == len(table))
    np.testing.assert_allclose(drawn.get_xdata(), table["estimate"])
    assert plot.ax.get_xscale() == ("log" if comparison == "ratio" else "linear")
    assert plot.ax.get_yticklabels()[0].get_text().startswith("0: placebo")
    close(plot.figure)


def test_refusals(fit) -> None:
    with pytest.raises(OptionError, match="no variable"):
        fit.plot.adjusted_means()
    with pytest.raises(OptionError, match="there already"):
        cg.plot.adjusted_means(fit.adjusted_means("trt"), "trt")
    with pytest.raises(OptionError, match="contrasts"):
        cg.plot.contrasts(fit)
    with pytest.raises(OptionError, match="adjusted means of a"):
        cg.plot.adjusted_means(3, "trt")
