"""Every public member of every result, how tables of tests call it, and what it gives in numbers."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.pyplot import close

import clusterglm as cg
from clusterglm.plot.accessor import Plots
from clusterglm.plot.base import Plot
from clusterglm.results.models.base import Result

VERBS = ("random_effects", "pooled", "fixed_effects", "conditional", "nonparametric")
TIGHT = cg.Control(tol=1e-10)
TOLERANCE = 1e-10  # unless a relation has another; a test of second derivatives by differences may set one for all
FEW = {"n_boot": 3, "n_sim": 5, "seed": 1}
KINDS_OF_RESIDUALS = ("response", "pearson", "deviance", "quantile", "simulated")

TO_FILES = ("save", "report")  # tables call these themselves

# What methods are called with, one call each; with a seed and few replicates where they take these. A method that is
# not here is called without arguments.
CALLS: dict[str, tuple[dict[str, Any], ...]] = {
    "adjusted_means": (
        {"variables": "x", "at": {"x": [0, 1]}}, {"variables": "x", "at": {"x": [0, 1]}, "kind": "conditional"},
        {"variables": "x", "at": {"x": [0, 1]}, "kind": "typical", "scale": "link", "cov": "robust"},
        {"variables": "x", "at": {"x": [0, 1]}, "over": "balanced"},
    ),
    "augment": ({}, {"names": "broom"}),
    "bootstrap": ({}, {"resample": "clusters"}),
    "average_effects": (
        {}, {"kind": "typical"}, {"kind": "conditional"}, {"cov": "robust"}, {"clusters": "informative"},
    ),
    "conf_int": ({}, {"cov": "robust"}, {"method": "profile"}, {"method": "bootstrap"}),
    "cov": ({}, {"kind": "robust"}, {"kind": "quasi"}),
    "delta_method": ({"expressions": "exp(x)"}, {"expressions": "x / 2", "cov": "robust"}),
    "gradient_function": ({}, {"n_boot": 0}, {"statistic": "supremum"}),
    "glance": ({}, {"names": "broom"}),
    "hausman": ({}, {"cov": "difference"}),
    "influence": ({}, {"kind": "exact"}),
    "interval_odds_ratio": ({"contrast": "x"},),
    "jackknife": ({"groups": 3}, {"kind": "one_step"}),
    "parallel_test": ({}, {"method": "lr"}),
    "predict": (
        {}, {"kind": "typical", "level": 0.9}, {"kind": "conditional", "level": 0.9}, {"kind": "conditional"},
        {"kind": "marginal", "level": 0.9, "cov": "robust"}, {"kind": 0.5}, {"kind": "posterior", "level": 0.9},
        {"kind": "marginal", "level": 0.9, "interval": "cluster"}, {"scale": "probability", "level": 0.9},
    ),
    "r2": ({}, {"method": "delta"}),
    "profile": ({"parameter": "x"}, {"parameter": "sigma", "points": 5}),
    "random_effects_covariance": ({"label": "first"},),
    "residuals": (
        *({"kind": kind} for kind in KINDS_OF_RESIDUALS), {"kind": "quantile", "intercepts": "marginal"},
        {"kind": "pearson", "intercepts": "marginal"}, {"kind": "simulated", "intercepts": 0.5},
    ),
    "sample": ({"draws": 20, "chains": 1, "warmup": 5, "method": "independence"},),
    "simulate": ({"n": 3},),
    "survival": ({"data": 3, "time": "t"}, {"data": 2, "time": "t", "kind": "typical"}),
    "term_tests": ({}, {"cov": "robust"}),
    "test_clustering": (
        {}, {"statistic": "loglik"}, {"method": "permutation", "insist": True}, {"method": "score"},
        {"method": "boundary"},
    ),
    "tidy": ({}, {"cov": "robust"}),
    "wald_test": ({"hypothesis": "x"}, {"hypothesis": "x = 0.1", "cov": "robust"}),
    "plot.adjusted_means": ({"variables": "x", "at": {"x": [0, 1]}},),
    "plot.integration": ({"nodes": (1, 3)},),
    "plot.predictions": ({"variables": "x"},),
    "plot.profile": ({"parameters": ["x"]},),
    "plot.survival": ({"data": 3, "time": "t"},),
}  # fmt: skip


def members(kind: type) -> list[str]:
    """Names of public members of a class of results, plots one by one."""
    plots = [f"plot.{name}" for name in vars(Plots) if not name.startswith("_")]
    names = {*dir(kind), *(field.name for field in fields(kind))} - {"plot"}
    return sorted(name for name in names if not name.startswith("_")) + (plots if issubclass(kind, Result) else [])


@dataclass(frozen=True)
class Called:
    """A member, the arguments of one call, and what came of it; an error as such."""

    name: str
    arguments: Mapping[str, Any]
    value: Any

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.arguments.items())})"


def called(fit: Any, name: str) -> Iterator[Called]:
    """All calls of one member; those with arguments that it does not have are left out."""
    owner = fit.plot if name.startswith("plot.") else fit
    attribute = name.removeprefix("plot.")
    member = inspect.getattr_static(type(owner), attribute, None)
    if not callable(getattr(member, "function", member)):  # a property, or a field
        yield Called(name, {}, _outcome(lambda: getattr(owner, attribute)))
        return
    if name in TO_FILES:
        yield Called(name, {}, None)
        return
    method = getattr(owner, attribute)
    known = inspect.signature(method).parameters
    for arguments in CALLS.get(name, ({},)):
        if set(arguments) <= set(known):
            given = {key: value for key, value in FEW.items() if key in known} | _named(fit, arguments)
            yield Called(name, arguments, _outcome(lambda given=given: method(**given)))


def _named(fit: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The first coefficient, or variable, in the place of "x" where the model has no x."""
    names = [*fit.data.names, "x"]
    variables = [*fit.data.design.variables, "x"]

    def named(key: str, value: Any) -> Any:
        if key == "variables":
            return value if "x" in variables[:-1] else variables[0]
        if key == "at":  # without a variable x, all values of the first one
            return value if "x" in variables[:-1] else {}
        if key == "label":
            return fit.data.labels[0]
        if key == "data":  # a curve of so many periods
            return curve(fit.data.design, value)
        if key in ("parameter", "contrast", "hypothesis", "expressions") and "x" not in names[:-1]:
            quoted = key in ("hypothesis", "expressions")
            return re.sub(r"\bx\b", f"`{names[0]}`" if quoted else names[0], value)
        return [names[0]] if key == "parameters" and "x" not in names[:-1] else value

    return {key: named(key, value) for key, value in arguments.items()}


def curve(design: Any, periods: int) -> pd.DataFrame:
    """Periods t at the first levels of factors and at 0.3 of other columns."""
    levels = {factor.column: factor.levels[0] for factor in design.factors}
    columns = [*design.variables, *design.offset_columns]
    return pd.DataFrame({"t": range(1, periods + 1)} | {name: levels.get(name, 0.3) for name in columns})


def _outcome(function: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", cg.errors.ClusterGLMWarning)
        try:
            value = function()
        except cg.errors.ClusterGLMError as error:
            return error
    if isinstance(value, Plot):
        close(value.figure)
    return value


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Numbers, texts and arrays by the way to them."""
    if isinstance(value, Plot):
        return flat(value.data, path)
    if isinstance(value, pd.DataFrame):
        return {f"{path}[{column}]": value[column].to_numpy() for column in value.columns}
    if isinstance(value, pd.Series):
        return {path: value.to_numpy()}
    if isinstance(value, cg.errors.ClusterGLMError):
        return {path: str(value)}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, Mapping):
        parts = dict(value)
    elif isinstance(value, tuple | list):
        parts = dict(enumerate(value))
    else:
        return {path: value}
    return {key: each for name, part in parts.items() for key, each in flat(part, f"{path}.{name}").items()}


def differences(one: Any, other: Any, skip: tuple[str, ...] = (), tolerance: float | None = None) -> list[str]:
    """Where two values differ, as far as they are not skipped by the last part of the way to them."""
    tolerance = TOLERANCE if tolerance is None else tolerance
    a, b = ({key: v for key, v in flat(value).items() if not key.endswith(skip)} for value in (one, other))
    if a.keys() != b.keys():
        return [f"parts {sorted(a.keys() ^ b.keys())}"]
    return [f"{key}: {a[key]!r:.300} for {b[key]!r:.300}" for key in a if not _alike(a[key], b[key], tolerance)]


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    x, y = np.asarray(one), np.asarray(other)
    if x.shape != y.shape:
        return False
    if x.dtype.kind in "biuf" and y.dtype.kind in "biuf":
        return bool(np.allclose(x.astype(float), y.astype(float), rtol=tolerance, atol=tolerance, equal_nan=True))
    if x.dtype == object and all(isinstance(each, float) for each in (*x.ravel(), *y.ravel())):
        return _alike(x.astype(float), y.astype(float), tolerance)
    return type(one) is type(other) and bool(np.all(x == y))
