"""Survival curves as pictures: where they step, what they show, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import DataError, OptionError

NEW = pd.DataFrame({"week": [0, 2, 4, 6] * 2, "trt": ["drug"] * 4 + ["placebo"] * 4})


def test_curves_step_down_at_the_ends_of_periods(fits: dict[str, Any]) -> None:
    plot = fits["random"].plot.survival(NEW, "week", by="trt", level=0.9)
    want = fits["random"].survival(NEW, "week", by="trt", level=0.9)
    pd.testing.assert_frame_equal(plot.data, want)
    lines = plot.ax.get_lines()
    assert [line.get_label() for line in lines] == ["drug", "placebo"]
    for line, (_, own) in zip(lines, want.groupby("trt"), strict=True):
        assert line.get_drawstyle() == "steps-post"
        np.testing.assert_array_equal(line.get_xdata(), [0, 0, 2, 4, 6])  # no curve begins before time 0
        np.testing.assert_array_equal(line.get_ydata(), [1.0, *own.survival])
    assert len(plot.ax.collections) == 2  # bands
    assert "90%" in plot.ax.get_ylabel()
    assert plot.ax.get_legend().get_title().get_text() == "trt"


def test_one_curve_one_period_dates_and_many(fits: dict[str, Any]) -> None:
    one = fits["random"].plot.survival(NEW.iloc[:1], "week")
    assert one.ax.get_legend() is None
    assert one.ax.get_lines()[0].get_xdata().tolist() == [0, 0]
    later = fits["random"].plot.survival(NEW.iloc[1:4], "week")
    assert later.ax.get_lines()[0].get_xdata().tolist() == [0, 2, 4, 6]
    dated = NEW.assign(day=pd.to_datetime("2021-03-01") + pd.to_timedelta(NEW.week, "D"))
    first = fits["random"].plot.survival(dated, "day", by="trt").ax.get_lines()[0].get_xdata()[0]
    assert pd.Timestamp(first) == pd.Timestamp("2021-02-27")
    single = fits["random"].plot.survival(dated.iloc[:1], "day").ax.get_lines()[0].get_xdata()[0]
    assert pd.Timestamp(single) == pd.Timestamp("2021-02-28")
    many = pd.concat([NEW.assign(site=k) for k in range(3)])
    plot = fits["random"].plot.survival(many, "week", by=["trt", "site"], kind="typical")
    assert len(plot.ax.get_lines()) == 6
    assert not plot.ax.collections  # no room for bands
    assert plot.ax.get_lines()[1].get_label() == "drug, 1"


def test_refusals(fits: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="survival curves of a pooled fit"):
        cg.plot.survival(fits["pooled"], NEW, "week")
    with pytest.raises(DataError, match="none of which is known: level 'other'"):
        fits["random"].plot.survival(NEW.iloc[:4].assign(trt="other"), "week")
    with pytest.raises(DataError, match="no rows"):
        fits["random"].plot.survival(NEW.iloc[:0], "week")


def test_curves_of_continuous_time_do_not_step() -> None:
    fit = cg.random_effects(
        "Surv(time, infected) ~ sex", cg.datasets.load("catheter"), cluster="patient", family="weibull"
    )
    new = pd.DataFrame({"day": [0.0, 50.0, 100.0] * 2, "sex": ["male"] * 3 + ["female"] * 3})
    plot = fit.plot.survival(new, "day", by="sex", level=0.9)
    pd.testing.assert_frame_equal(plot.data, fit.survival(new, "day", by="sex", level=0.9))
    for line, (_, own) in zip(plot.ax.get_lines(), plot.data.groupby("sex", sort=False), strict=True):
        assert line.get_drawstyle() == "default"
        np.testing.assert_array_equal(line.get_xdata(), own["day"])
        np.testing.assert_array_equal(line.get_ydata(), own["survival"])
    assert "90%" in plot.ax.get_ylabel()
    own = fit.plot.survival(new.assign(patient=4), "day", by="sex", kind="conditional")
    assert own.ax.get_ylabel().replace("\n", " ") == "Survival at the frailty of the cluster, with 95% interval"
