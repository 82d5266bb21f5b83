"""Coverage of intervals: `level` by name, `alpha` of other software, and no 5% intervals by mistake."""

from __future__ import annotations

import inspect
import pkgutil
import warnings
from collections.abc import Iterator
from importlib import import_module
from types import FunctionType

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import IntervalWarning, OptionError
from clusterglm.results.models.random_effects import RandomEffectsResult


@pytest.fixture(scope="module")
def fit() -> RandomEffectsResult:
    return cg.random_effects("y ~ trt + week", cg.datasets.load("bacteria"), cluster="ID")


def with_level() -> Iterator[FunctionType]:
    """Every public function and method of results and plots that takes a level."""
    for package in ("results", "plot", "inference"):
        path = import_module(f"clusterglm.{package}").__path__
        for module in (import_module(found.name) for found in pkgutil.walk_packages(path, f"clusterglm.{package}.")):
            for holder in vars(module).values():
                if getattr(holder, "__module__", None) != module.__name__:
                    continue
                methods = (
                    vars(holder).values() if inspect.isclass(holder) else [holder] if package != "inference" else []
                )
                for each in methods:
                    if inspect.isfunction(each) and not each.__name__.startswith("_"):
                        found_level = inspect.signature(each).parameters.get("level")
                        if found_level is not None and found_level.default is not inspect.Parameter.empty:
                            yield each


def test_every_level_goes_by_name_and_has_an_alpha_beside_it() -> None:
    found = list(with_level())
    assert {"conf_int", "tidy", "ratios", "predict", "average_effects", "table", "interval", "qq"} <= {
        each.__name__ for each in found
    }
    for each in found:
        assert inspect.signature(each).parameters["level"].kind is inspect.Parameter.KEYWORD_ONLY, each
        with pytest.raises(OptionError, match=r"alpha=0\.9"):
            each(alpha=0.9)


@pytest.mark.parametrize("name", ["conf_int", "tidy", "ratios", "marginal_coefficients", "median_odds_ratio"])
def test_a_first_number_is_refused_in_words(fit: RandomEffectsResult, name: str) -> None:
    with pytest.raises(OptionError, match=r"level=0.95\), or .*alpha=0.05\)"):
        getattr(fit, name)(0.05)


def test_alpha_is_what_the_level_leaves(fit: RandomEffectsResult) -> None:
    pd.testing.assert_frame_equal(fit.conf_int(alpha=0.1), fit.conf_int(level=0.9))
    pd.testing.assert_frame_equal(fit.tidy(alpha=0.05), fit.tidy())
    pd.testing.assert_frame_equal(fit.predict(alpha=0.05), fit.predict(level=0.95))
    pd.testing.assert_frame_equal(fit.plot.coefficients(alpha=0.2).data, fit.plot.coefficients(level=0.8).data)
    with pytest.raises(OptionError, match="both level= and alpha="):
        fit.conf_int(level=0.95, alpha=0.05)


@pytest.mark.parametrize(
    ("level", "advice"), [(0.05, "level=0.95, or alpha=0.05"), (95, "level=0.95"), (1.0, "level=0.95"), (True, "level")]
)
def test_a_level_that_is_none_says_what_is_meant(fit: RandomEffectsResult, level: float, advice: str) -> None:
    for call in (fit.conf_int, fit.tidy, fit.ratios, fit.predict, fit.calibration):
        with pytest.raises(OptionError, match=r"from 0\.5 to below 1") as refusal:
            call(level=level)
        assert advice in refusal.value.advice


def test_warnings_still_name_the_line_of_the_call(fit: RandomEffectsResult, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fit.bootstrap(n_boot=3, seed=1)
    monkeypatch.setattr(type(fit), "bootstrap", lambda *_: type(found)(*found_with_failure(found)))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert np.isfinite(fit.conf_int(method="bootstrap")).all(axis=None)
    assert [each.category for each in heard] == [IntervalWarning]
    assert heard[0].filename == __file__


def found_with_failure(found: object) -> list[object]:
    content = {**vars(found), "failures": (("no maximum", 1),)}
    return [content[name] for name in inspect.signature(type(found)).parameters]
