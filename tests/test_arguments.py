"""Odd values for every argument of everything public: an answer, or an error in words, never one from inside."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
import clusterglm.plot
from clusterglm.api.unknown import ELSEWHERE
from clusterglm.errors import ClusterGLMError, OptionError

mpl.use("Agg")
VERBS = (cg.pooled, cg.random_effects, cg.fixed_effects, cg.conditional, cg.nonparametric)
ODD: dict[str, Any] = {
    "text": "a",
    "bytes": b"x",
    "list": [1],
    "empty list": [],
    "empty dict": {},
    "array of two dimensions": np.ones((2, 2)),
    "None": None,
    "True": True,
    "nan": float("nan"),
    "inf": float("inf"),
    "fraction": 1.5,
    "negative": -3,
    "zero": 0,
    "huge": 1e300,
    "minus huge": -1e300,
    "whole and huge": 10**30,
    "complex": 1j,
    "object": object(),
}
NEEDED = {"contrast": "x", "parameter": "x", "path": "out.json", "hypothesis": "x = 0", "time": "x"}
NEEDED |= {"variables": "x", "expressions": "exp(x)", "data": {"x": [0.0, 1.0], "z": [0.0, 0.0]}}
QUICK = {"n_boot": 5, "n_sim": 5, "draws": 20, "chains": 1, "warmup": 5, "seed": 1, "at": {"x": [0.0, 1.0]}}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(12), 4)
    x, u = rng.normal(size=48), rng.normal(size=12)[g]
    return pd.DataFrame(
        {
            "x": x,
            "z": rng.normal(size=48),
            "g": g,
            "y": (rng.random(48) < 1 / (1 + np.exp(-(x + u)))) * 1,
            "c": rng.poisson(np.exp(0.2 * x + 0.3 * u + 0.5)),
        }
    )


@pytest.fixture(scope="module")
def fits(table: pd.DataFrame) -> dict[str, Any]:
    return {
        f"{verb.__name__} {family}": verb(f"{y} ~ x + z", table, cluster="g", family=family)
        for verb in VERBS
        for family, y in (("binomial", "y"), ("poisson", "c"))
    }


def raw_errors(what: str, function: Callable[..., Any], **given: Any) -> Iterator[str]:
    """Errors that are not ours, from a call for each argument and each odd value of it."""
    parameters = inspect.signature(function).parameters
    usual = {key: value for key, value in QUICK.items() if key in parameters} | given
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key in NEEDED:
            usual.setdefault(key, NEEDED[key])
    for key, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        for words, value in ODD.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    function(**usual | {key: value})
            except ClusterGLMError:
                pass
            except Exception as error:
                yield f"{what}({key}={words}): {type(error).__name__}: {error}"


@pytest.mark.parametrize("verb", [*VERBS, cg.select_distribution], ids=lambda verb: verb.__name__)
def test_verbs(table: pd.DataFrame, verb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {"formula": "y ~ x", "data": table, "cluster": "g"}
    if verb is cg.select_distribution:
        given["distributions"] = ["gaussian"]
    assert list(raw_errors(verb.__name__, verb, **given)) == []


@pytest.mark.parametrize("family", ["binomial", "poisson"])
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_methods_of_results(
    fits: dict[str, Any], verb: Any, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit = fits[f"{verb.__name__} {family}"]
    found, looked_at = [], 0
    for name in sorted(name for name in dir(type(fit)) if not name.startswith("_") and name != "report"):
        if callable(getattr(type(fit), name)):
            looked_at += 1
            found += raw_errors(name, getattr(fit, name))
    assert found == []
    assert looked_at > 10


def test_reports(fits: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clusterglm.report import report

    report_module = import_module("clusterglm.report.fit")

    monkeypatch.chdir(tmp_path)
    made = report_module.section
    monkeypatch.setattr(report_module, "section", lambda key, heading, parts, advance: made(key, heading, [], advance))
    nothing: dict[str, Any] = {"path": "page.html", "n_boot": 0, "n_sim": 0, "distributions": (), "variables": ()}
    fit = fits["random_effects binomial"]
    calls = {key: value for key, value in inspect.signature(report).parameters.items() if key != "fit"}

    def page(**options: Any) -> None:
        fit.report(**options)

    page.__signature__ = inspect.Signature(list(calls.values()))  # type: ignore[attr-defined]
    assert list(raw_errors("report", page, **nothing)) == []


def test_plots(fits: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found, looked_at = [], 0
    for name in sorted(dir(clusterglm.plot)):
        function = getattr(clusterglm.plot, name)
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        looked_at += 1
        first = next(iter(inspect.signature(function).parameters))
        found += raw_errors(name, function, **{first: fits["random_effects binomial"]})
        plt.close("all")
    assert found == []
    assert looked_at > 8


def test_the_rest(fits: dict[str, Any], table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pair = [fits["pooled binomial"], fits["random_effects binomial"]]
    comparison, posterior = cg.compare(*pair), pair[1].sample(20, chains=1, seed=1, method="independence")
    selection = cg.select_distribution("y ~ x", table, cluster="g", distributions=["gaussian", "logistic"])
    calls: list[tuple[str, Callable[..., Any], dict[str, Any]]] = [
        ("table", cg.table, {"fits": pair}),
        ("compare", lambda names: cg.compare(*pair, names=names), {}),
        ("best", comparison.best, {}),
        ("best", selection.best, {}),
        ("influence", pair[1].influence().table, {}),
        ("Control", cg.Control, {}),
        ("Prior", cg.Prior, {}),
        ("posterior.table", posterior.table, {}),
        ("posterior.effects", posterior.effects, {"draws": 2}),
        ("posterior.predict", posterior.predict, {"draws": 2}),
        ("posterior.simulate", posterior.simulate, {}),
        ("posterior.loo", posterior.loo, {}),
        ("posterior.waic", posterior.waic, {}),
        ("posterior.compare", lambda others: posterior.compare(others), {}),
        ("trace", cg.plot.trace, {"posterior": posterior}),
        ("predictive_check", cg.plot.predictive_check, {"posterior": posterior}),
        ("Quadrature", cg.Quadrature, {"kind": "auto"}),
        ("StudentT", cg.StudentT, {}),
        ("GaussianMixture", cg.GaussianMixture, {}),
        ("SplitPanel", cg.SplitPanel, {}),
        ("Stream", cg.engine.Stream, {}),
        ("datasets.load", cg.datasets.load, {"name": "bacteria"}),
        ("save", cg.plot.coefficients(pair[0]).save, {"path": "a.png"}),
    ]
    assert [error for name, function, given in calls for error in raw_errors(name, function, **given)] == []


# Arguments that are not there -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [*VERBS, cg.select_distribution], ids=lambda verb: verb.__name__)
def test_unknown_arguments_are_answered_with_ours(table: pd.DataFrame, verb: Any) -> None:
    known = inspect.signature(verb).parameters
    for word, ours in ELSEWHERE.items():
        if word in known:
            continue
        with pytest.raises(OptionError) as error:
            verb("y ~ x", table, **{word: 1})
        assert error.value.got == f"{word}=, which cg.{verb.__name__} does not have"
        assert error.value.advice == f"here it is {ours}"
    with pytest.raises(OptionError, match="did you mean 'weights'"):
        verb("y ~ x", table, wieghts="w")
    with pytest.raises(OptionError, match="missing a required argument: 'data'"):
        verb("y ~ x")
    with pytest.raises(OptionError, match="too many positional arguments"):
        verb("y ~ x", table, "g")


@pytest.mark.parametrize("verb", [*VERBS, cg.select_distribution], ids=lambda verb: verb.__name__)
def test_signatures_stay_as_people_read_them(verb: Any) -> None:
    signature = inspect.signature(verb)
    assert [*signature.parameters][:2] == ["formula", "data"]
    assert not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in signature.parameters.values())
    assert {"cluster", "weights", "offset", "exposure", "subset"} <= set(signature.parameters)
    assert verb.__doc__.startswith("Fit")


def test_warnings_point_to_the_line_of_the_call(table: pd.DataFrame) -> None:
    with pytest.warns(cg.errors.ConvergenceWarning) as heard:
        cg.pooled("y ~ x", table, control=cg.Control(max_iter=1))
    assert heard[0].filename == __file__


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d: cg.random_effects("y ~ x", d, cluster="g", sigma="a"), "sigma='a'"),
        (lambda d: cg.random_effects("y ~ x", d, cluster="g", sigma=[1]), r"sigma=\[1\]"),
        (lambda d: cg.random_effects("y ~ x", d, cluster="g", sigma=1e300), r"sigma=1e\+300"),
        (lambda d: cg.random_effects("y ~ x", d, cluster="g", fix_sigma="yes"), "fix_sigma='yes'"),
        (lambda d: cg.StudentT(1e300), r"df=1e\+300"),
        (lambda d: cg.StudentT(1e-3), "df=0.001"),
        (lambda d: cg.Control(n_threads=10**30), "n_threads=10000"),
        (lambda d: cg.pooled("y ~ x", d).simulate(1.5), "n=1.5"),
        (lambda d: cg.pooled("y ~ x", d).simulate(-1), "n=-1"),
        (lambda d: cg.pooled("y ~ x", d).simulate(seed="a"), "seed='a'"),
        (lambda d: cg.pooled("y ~ x", d).simulate(seed=-3), "seed=-3"),
    ],
)
def test_refusals_name_the_argument_and_its_value(table: pd.DataFrame, call: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        call(table)
