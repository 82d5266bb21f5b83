"""What a result has whose rows are not in memory: every public name works, or is not there and says what to do."""

from __future__ import annotations

import inspect
import pydoc

import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import AbsentError, OptionError
from clusterglm.fit.within import WithoutClusters
from clusterglm.results.models.blocks import Absent
from clusterglm.results.models.mixed import MixedEffectsResult

VERBS = ("pooled", "random_effects", "fixed_effects", "conditional")
MODELS = {
    **{verb: (verb, "y ~ x", "id") for verb in VERBS},
    "slopes": ("random_effects", "y ~ x + (x | id)", None),
    "nested": ("random_effects", "y ~ x + (1 | id/keep)", None),
}
"""Verb, formula, cluster=."""

CALLS = {
    "adjusted_means": lambda fit, data, _: fit.adjusted_means("x", at={"x": [0, 1]}, data=data.dropna().head(200)),
    "delta_method": lambda fit, *_: fit.delta_method("exp(x)"),
    "average_effects": lambda fit, data, _: fit.average_effects(data=data.dropna().head(200)),
    "effects_covariance": lambda fit, *_: fit.effects_covariance("id"),
    "interval_odds_ratio": lambda fit, *_: fit.interval_odds_ratio("x"),
    "intraclass_correlation": lambda fit, data, _: fit.intraclass_correlation(*_rows_of(fit, data)),
    "median_odds_ratio": lambda fit, data, _: fit.median_odds_ratio(*_rows_of(fit, data)),
    "predict": lambda fit, data, _: fit.predict(data.head(9)),
    "save": lambda fit, _, path: fit.save(path / "fit.json"),
    "survival": lambda fit, data, _: fit.survival(data.dropna().head(9), "t"),
    "test_clustering": lambda fit, *_: fit.test_clustering(*(["boundary"] if fit.kind == "random_effects" else [])),
    "wald_test": lambda fit, *_: fit.wald_test("x"),
}
"""How those are called that need something; all others are read, and called without arguments."""

OF_ONE = ("icc", "interval_odds_ratio", "random_effects_sd", "sigma", "sigma_se", "test_clustering")
"""What several random effects do not have, wherever the rows are, and say so; the last where the rows are elsewhere."""


def _several(fit) -> bool:
    return isinstance(fit, MixedEffectsResult)


def _rows_of(fit, data) -> tuple:
    return (data.head(9),) if _several(fit) else ()


@pytest.fixture(scope="module")
def fits(files):
    return {name: getattr(cg, verb)(formula, files, cluster=by) for name, (verb, formula, by) in MODELS.items()}


def _public(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_")]


@pytest.mark.parametrize("model", MODELS)
def test_every_public_name_works_or_is_not_there(fits, data, tmp_path, model) -> None:
    fit, gone = fits[model], []
    for name in _public(type(fit)):
        if isinstance(getattr(type(fit), name), Absent):
            gone.append(name)
            assert not hasattr(fit, name)
            assert name not in dir(fit)
            with pytest.raises(OptionError, match=r"(?s)not in memory.*needed:.*try:"):
                getattr(fit, name)
            continue
        assert name in dir(fit)
        if _several(fit) and name in OF_ONE:
            with pytest.raises(OptionError, match=r"(?s)several random effects.*needed:.*try:"):
                CALLS.get(name, lambda fit, *_, name=name: getattr(fit, name))(fit, data, tmp_path)
            continue
        value = getattr(fit, name)
        if name in CALLS:
            CALLS[name](fit, data, tmp_path)
        elif inspect.ismethod(value):
            value()
    assert {"augment", "bootstrap", "influence", "profile", "report", "simulate"} <= set(gone)


@pytest.mark.parametrize("model", MODELS)
def test_what_is_not_there_is_there_in_memory(data, fits, model) -> None:
    """Nothing is said to be absent for want of rows that this kind of model never has."""
    verb, formula, by = MODELS[model]
    whole = getattr(cg, verb)(formula, data, cluster=by)
    gone = {name for name in _public(type(fits[model])) if isinstance(getattr(type(fits[model]), name), Absent)}
    assert gone <= set(dir(whole))
    assert set(dir(whole)) - gone <= set(dir(fits[model]))


def test_what_is_not_there_is_no_attribute(fits) -> None:
    fit = fits["pooled"]
    assert getattr(fit, "influence", None) is None
    with pytest.raises(AttributeError, match="influence of single clusters"):
        fit.influence()
    with pytest.raises(AbsentError) as caught:
        fit.report("page.html")
    assert caught.value.advice.startswith("predict(data=...)")
    assert "absent: a bootstrap, which draws new responses" in pydoc.render_doc(type(fit), renderer=pydoc.plaintext)


@pytest.mark.parametrize("model", MODELS)
def test_rows_are_asked_for_by_name(fits, model) -> None:
    """Data and estimates have no attribute of what they lack, and whoever asks for the whole is told so."""
    fit = fits[model]
    for name in ("X", "a", "labels", "row_index", "starts"):
        assert not hasattr(fit.data, name)
    assert not fit.data.in_memory
    with pytest.raises(OptionError, match="not in memory"):
        _ = fit.data.rows
    if isinstance(fit.fit, WithoutClusters):
        assert not hasattr(fit.fit, "informative")
        with pytest.raises(OptionError, match="single clusters"):
            _ = fit.fit.by_cluster


@pytest.mark.parametrize("verb", ["pooled", "random_effects"])
def test_average_effects_over_a_table(data, files, verb) -> None:
    whole, blocks = (getattr(cg, verb)("y ~ x + g", rows, cluster="id") for rows in (data, files))
    some = data.dropna().head(300)
    pd.testing.assert_frame_equal(blocks.average_effects(data=some), whole.average_effects(data=some), rtol=1e-6)
    with pytest.raises(OptionError, match="not in memory"):
        blocks.average_effects()


@pytest.mark.parametrize("verb", VERBS)
def test_a_covariate_with_the_name_of_a_parameter(data, tmp_path, verb) -> None:
    named = data.rename(columns={"x": "sigma", "t": "(Intercept)"})
    named.to_parquet(tmp_path / "one.parquet")
    options = {"formula": "y ~ sigma + `(Intercept)`", "cluster": "id"}
    whole = getattr(cg, verb)(data=named, **options)
    blocks = getattr(cg, verb)(data=tmp_path / "one.parquet", engine=cg.engine.Stream(), **options)
    for of in (lambda fit: fit.conf_int(), lambda fit: fit.cov("robust"), lambda fit: fit.tidy()):
        pd.testing.assert_frame_equal(of(blocks), of(whole), rtol=1e-4)
    assert len(set(blocks.cov().index)) == len(blocks.cov())
    assert blocks.wald_test("sigma").statistic == pytest.approx(whole.wald_test("sigma").statistic, rel=1e-6)


@pytest.mark.parametrize("name", ["gradient", "qq", "residuals", "calibration", "caterpillar", "rootogram"])
@pytest.mark.parametrize("model", ["random_effects", "slopes", "nested"])
def test_plots_of_what_is_not_there_say_so(fits, name, model) -> None:
    without = _several(fits[model]) and name == "rootogram"  # which several effects do not have anywhere
    with pytest.raises(OptionError, match="numbers of events" if without else "not in memory"):
        getattr(fits[model].plot, name)()
