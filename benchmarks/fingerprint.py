"""Every public number of 120 fits as text, to compare two commits that should say the same.

    python benchmarks/fingerprint.py OUT [--only WORDS]

One line a number, written with all its digits, under the fit and the member it belongs to; `diff` shows what a change
of the code's structure has changed besides. Data are real (`tests/golden/data`). Methods without an argument that is
needed are called, with a seed where they take one; what is refused is a line too, with the error's words.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import pandas as pd

import clusterglm as cg

DATA = Path(__file__).parent.parent / "tests" / "golden" / "data"
QUICK = {"n_boot": 19}
LEFT_OUT = {
    "plot", "report", "save", "fit", "data", "progress", "to_marginaleffects", "stat_labels",
    "influence", "sample",  # many fits, or draws; their numbers are those of fits
}  # fmt: skip
_DEEP = 6


def fits() -> Iterator[tuple[str, Any]]:
    """Names, and functions that fit."""
    bacteria = pd.read_csv(DATA / "bacteria.csv").assign(y=lambda d: (d.y == "y").astype(int))
    bacteria["late"] = (bacteria.week > 2).astype(int)
    bacteria["w"] = 1 + (np.arange(len(bacteria)) % 3 == 0)
    cbpp, epil, ohio = (pd.read_csv(DATA / f"{name}.csv") for name in ("cbpp_grouped", "epil", "ohio"))
    respiratory, infert = pd.read_csv(DATA / "respiratory.csv"), pd.read_csv(DATA / "infert.csv")
    cbpp["rest"] = cbpp["size"] - cbpp.incidence
    tables = {
        "bacteria": (bacteria, "y ~ trt + week", "ID", {}),
        "weighted": (bacteria, "y ~ ap + late", "ID", {"weights": "w"}),
        "cbpp": (cbpp, "cbind(incidence, rest) ~ factor(period)", "herd", {}),
        "epil": (epil, "y ~ lbase * trt + lage + V4", "subject", {"family": "poisson"}),
        "exposure": (epil, "y ~ trt + period", "subject", {"family": "poisson", "exposure": "base"}),
        "respiratory": (respiratory, "y ~ treatment + baseline + age", "subject", {}),
        "ohio": (ohio, "resp ~ age * smoke", "id", {}),
    }
    distributions = ["gaussian", "logistic", "cauchy", "laplace", "log_gamma", "bridge", "student_t(4)"]
    for name, (table, formula, cluster, options) in tables.items():
        links = [{}] if "family" in options else [{}, {"link": "cloglog"}, {"link": "probit"}]
        for link in links:
            given = {**options, **link}
            words = " ".join([name, *link.values()])
            yield f"pooled {words}", _call(cg.pooled, formula, table, cluster=cluster, **given)
            yield f"random effects {words}", _call(cg.random_effects, formula, table, cluster=cluster, **given)
            yield f"fixed effects {words}", _call(cg.fixed_effects, formula, table, cluster=cluster, **given)
            yield f"nonparametric {words}", _call(cg.nonparametric, formula, table, cluster=cluster, **given)
        yield f"conditional {name}", _call(cg.conditional, formula, table, cluster=cluster, **options)
        for distribution in distributions[1:]:
            given = {**options, "distribution": distribution}
            words = f"{name} {distribution}"
            yield f"random effects {words}", _call(cg.random_effects, formula, table, cluster=cluster, **given)
        for quadrature in ("laplace", 7):
            given = {**options, "quadrature": quadrature}
            words = f"{name} {quadrature}"
            yield f"random effects {words}", _call(cg.random_effects, formula, table, cluster=cluster, **given)
    matched = "case ~ spontaneous + induced", infert
    yield "conditional infert", _call(cg.conditional, *matched, cluster="stratum")
    yield "penalized pooled", _call(cg.pooled, "case ~ spontaneous + induced", infert, penalty="firth")
    yield "penalized conditional", _call(cg.conditional, *matched, cluster="stratum", penalty="firth")
    yield "corrected", _call(cg.fixed_effects, "y ~ week + trt", bacteria, cluster="ID", bias_correction="analytical")
    yield "splines", _call(cg.random_effects, "resp ~ bs(age, 3) + smoke", ohio, cluster="id")
    yield "within", _call(cg.random_effects, "y ~ within(week) + between(week)", bacteria, cluster="ID")
    yield "selected", _call(cg.select_distribution, "y ~ trt + week", bacteria, cluster="ID")


def _call(verb: Any, *args: Any, **options: Any) -> Any:
    return lambda: verb(*args, **options)


def members(result: Any) -> Iterator[tuple[str, Any]]:
    """Public members of a result by name, and functions that give their values."""
    for name in sorted(name for name in dir(type(result)) if not name.startswith("_")):
        if name in LEFT_OUT:
            continue
        member = inspect.getattr_static(type(result), name)
        if callable(member) or isinstance(member, (staticmethod, classmethod)):
            method = getattr(result, name)
            parameters = inspect.signature(method).parameters
            needed = [
                p
                for p in parameters.values()
                if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
            ]
            if needed:
                continue
            options = {key: value for key, value in {**QUICK, "seed": 1}.items() if key in parameters}
            yield f"{name}()", lambda method=method, options=options: method(**options)
        else:
            yield name, lambda name=name: getattr(result, name)
    yield "str", lambda: str(result)


def lines(value: Any, deep: int = 0) -> Iterator[str]:
    """A value, one line a number."""
    if isinstance(value, str):
        yield from value.splitlines()
    elif value is None or isinstance(value, (bool, int, float, complex, np.generic)):
        yield repr(value.item() if isinstance(value, np.generic) else value)
    elif isinstance(value, (pd.DataFrame, pd.Series, pd.Index)):
        frame = value.to_frame() if not isinstance(value, pd.DataFrame) else value
        for name in frame.columns:
            yield from (f"{name} {row!r}" for row in frame[name].tolist())
    elif isinstance(value, np.ndarray):
        yield f"shape {value.shape}"
        yield from map(repr, value.ravel().tolist())
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from (f"{key}: {line}" for line in lines(each, deep + 1))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from lines(each, deep + 1)
    elif dataclasses.is_dataclass(value) and deep < _DEEP:
        for field in dataclasses.fields(value):
            yield from (f"{field.name}: {line}" for line in lines(getattr(value, field.name), deep + 1))
    else:
        yield type(value).__name__


def main() -> None:
    """Write the lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="", help="fits whose names have these words in them")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    count = 0
    with options.out.open("w") as out:
        for name, fit in fits():
            if options.only not in name:
                continue
            count += 1
            try:
                result = fit()
            except cg.errors.ClusterGLMError as error:
                print(f"{name} / error: {' '.join(str(error).split())}", file=out)
                continue
            for member, get in members(result):
                try:
                    value = get()
                except Exception as error:  # what fails is a line too, for both commits
                    value = f"{type(error).__name__}: {error}"
                for line in lines(value):
                    print(f"{name} / {member} / {line}", file=out)
            out.flush()
    print(f"{count} fits")


if __name__ == "__main__":
    main()
