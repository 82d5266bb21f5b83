"""Predictions by groups: every curve that was asked for is there, and is what `predict` says."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import DataError, OptionError

mpl.use("agg")


@pytest.fixture(scope="module")
def bacteria() -> pd.DataFrame:
    return cg.datasets.load("bacteria")


@pytest.fixture(scope="module")
def plain(bacteria: pd.DataFrame) -> Any:
    return cg.random_effects("y ~ trt + week", bacteria, cluster="ID")


@pytest.fixture(scope="module")
def crossed(bacteria: pd.DataFrame) -> Any:
    return cg.random_effects("y ~ trt * week", bacteria, cluster="ID")


def legend(plot: Any) -> list[str]:
    return [text.get_text() for text in plot.ax.get_legend().get_texts()]


def test_the_second_variable_makes_groups(plain: Any) -> None:
    plot = plain.plot.predictions(["week", "trt"], points=5)
    assert legend(plot) == ["placebo", "drug", "drug+"]
    assert plot.ax.get_legend().get_title().get_text() == "trt"
    assert "typical cluster" in plot.ax.get_ylabel()
    for group, rows in plot.data.groupby("curve", sort=False):
        assert set(rows["trt"]) == {group}
        new = pd.DataFrame({"week": rows["week"], "trt": group})
        np.testing.assert_allclose(rows["estimate"], plain.predict(new, kind="typical"))
    pd.testing.assert_frame_equal(plot.data, plain.plot.predictions("week", by="trt", points=5).data)


def test_an_interaction_shows_its_groups_by_itself(crossed: Any, plain: Any) -> None:
    assert legend(crossed.plot.predictions("week", points=4)) == ["placebo", "drug", "drug+"]
    one = crossed.plot.predictions("week", at={"trt": "drug"}, points=4)
    assert legend(one) == ["typical cluster", "average over clusters"]
    assert plain.plot.predictions("week", points=4).data["curve"].nunique() == 2  # no interaction: as before


def test_several_values_of_other_columns(crossed: Any) -> None:
    plot = crossed.plot.predictions("trt", at={"week": [0, 11]}, kinds=["typical", "marginal"])
    kinds = "typical cluster", "average over clusters"
    assert legend(plot) == [f"{week}, {kind}" for week in (0, 11) for kind in kinds]
    assert len(plot.data) == 12
    two = crossed.plot.predictions("week", by="trt", at={"trt": ["drug", "placebo"], "week": [0, 2, 4]})
    assert two.data["week"].tolist() == [0, 2, 4] * 2
    assert legend(two) == ["drug", "placebo"]


def test_groups_of_numbers_are_their_values_or_quartiles(bacteria: pd.DataFrame) -> None:
    rng = np.random.default_rng(1)
    data = bacteria.assign(age=rng.normal(50.0, 9.0, len(bacteria)).round(1))
    fit = cg.pooled("y ~ week * age", data)
    assert fit.plot.predictions("age", by="week").data["week"].unique().tolist() == [0, 2, 4, 6, 11]
    quartiles = data["age"].quantile([0.25, 0.5, 0.75])
    np.testing.assert_allclose(fit.plot.predictions("week", by="age").data["age"].unique(), quartiles)


def test_fixed_effects_show_one_cluster_for_each_group(bacteria: pd.DataFrame) -> None:
    fit = cg.fixed_effects("y ~ week", bacteria, cluster="ID")
    assert fit.plot.predictions("week", points=3).data["curve"].nunique() == 3
    one = fit.plot.predictions(at={"week": [0, 6, 11]}, clusters=1).data
    ranked = fit.cluster_effects.set_index("label")["estimate"]
    ranked = ranked[np.isfinite(ranked)].sort_values(kind="stable")
    assert one["curve"].unique().tolist() == [f"ID {ranked.index[(len(ranked) - 1) // 2]}"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"variable": "week", "at": {"trt": "Placebo"}}, "'placebo', 'drug', 'drug.'"),
        ({"variable": "week", "at": {"trt": ["drug", "x"]}}, "'placebo', 'drug', 'drug.'"),
        ({"variable": "trt", "at": {"week": "two"}}, "a finite number"),
        ({"variable": "trt", "at": {"week": []}}, "one at least"),
        ({"variable": "week", "by": "trtt"}, "'trt', 'week'"),
        ({"variable": ["week", "trt"], "by": "trt"}, "one variable to predict along"),
        ({"variable": ["week", "trt", "trt"]}, "one variable to predict along"),
        ({"variable": "week", "by": "week"}, "another variable"),
        ({"variable": "trt", "at": {"week": list(range(25))}}, "at most 24"),
    ],
)
def test_refusals_name_what_there_is(plain: Any, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        plain.plot.predictions(**arguments)


def test_a_picture_of_nothing_is_refused(bacteria: pd.DataFrame) -> None:
    cauchy = cg.random_effects("y ~ week", bacteria, cluster="ID", distribution="cauchy")
    assert np.isfinite(cauchy.plot.predictions("week", points=3).data["estimate"]).any()
    counts = cg.datasets.load("epil")
    heavy = cg.random_effects("y ~ lbase", counts, cluster="subject", family="poisson", distribution="cauchy")
    with pytest.raises(DataError, match="none of which exists"):
        heavy.plot.predictions("lbase", kinds=["marginal"])


def test_ordered_categories_have_a_curve_each() -> None:
    wine = cg.datasets.load("wine")
    fit = cg.random_effects("rating ~ temp + contact", wine, cluster="judge", family="ordinal")
    plot = fit.plot.predictions("temp", level=0.9)
    assert legend(plot) == list(fit.categories)
    assert plot.ax.get_legend().get_title().get_text() == "rating"
    assert "Probability (typical cluster), with 90% interval" in plot.ax.get_ylabel().replace("\n", " ")
    new = pd.DataFrame({"temp": ["cold", "warm"], "contact": "no"})
    expected = fit.predict(new, kind="typical", level=0.9)
    for category, own in plot.data.groupby("curve"):
        got, want = own[["estimate", "low", "high"]], expected.xs(category, level="category")
        np.testing.assert_allclose(got, want[["estimate", "low", "high"]], rtol=1e-12)
    both = fit.plot.predictions("temp", by="contact", scale="cumulative", kinds=["marginal"])
    assert both.data["curve"].unique().tolist() == [f"{c}, {k}" for c in ("no", "yes") for k in fit.categories[:-1]]
    points = [line for line in both.ax.get_lines() if len(line.get_xdata()) == 2]
    assert len({(line.get_color(), line.get_marker()) for line in points}) == len(points) == 8


def test_columns_with_coefficients_at_thresholds_are_columns_too() -> None:
    wine = cg.datasets.load("wine")
    fit = cg.pooled("rating ~ temp + contact", wine, family="ordinal", nonparallel="contact")
    plot = fit.plot.predictions("contact", data=wine, at={"temp": "warm"})
    expected = fit.predict(pd.DataFrame({"contact": ["no", "yes"], "temp": "warm"}))
    for category, own in plot.data.groupby("curve"):
        np.testing.assert_allclose(own["estimate"], expected[category], rtol=1e-9)
    pd.testing.assert_frame_equal(fit.plot.predictions("contact", at={"temp": "warm"}).data, plot.data)


def test_ratios_are_called_so(bacteria: pd.DataFrame) -> None:
    fit = cg.conditional("y ~ week", bacteria, cluster="ID")
    assert fit.plot.predictions("week", scale="ratio").ax.get_ylabel().startswith("Ratio to a linear predictor of 0")
