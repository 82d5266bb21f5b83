"""How far fits of real data are from their exact maxima (tests/golden/exact.json), and how long they take.

python benchmarks/accuracy.py
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import record

import clusterglm as cg

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"


def frame(name: str) -> pd.DataFrame:
    """A data set with the recoded columns that its formula names."""
    d = pd.read_csv(GOLDEN / "data" / f"{name}.csv")
    if name == "bacteria":
        d["trt"] = pd.Categorical(d.trt, ["placebo", "drug", "drug+"])
        return d.assign(yy=(d.y == "y").astype(int), late=(d.week > 2).astype(int))
    if name == "cbpp_grouped":
        return d.assign(period=d.period.astype(str))
    if name == "epil":
        return d.assign(trt=pd.Categorical(d.trt, ["placebo", "progabide"]))
    if name == "respiratory":
        yes = {"base": d.baseline == "good", "trt": d.treatment == "treatment", "male": d.gender == "male"}
        return d.assign(c2=(d.centre == 2).astype(int), **{name: column.astype(int) for name, column in yes.items()})
    return d


WORDS = {
    "loglik": ("log-likelihood, absolute error", ""),
    "estimates": ("estimates, error in standard errors", "SE"),
    "se": ("standard errors, relative error", ""),
    "gradient": ("norm of the gradient where the fit stopped, in standard errors", "SE"),
    "claimed": ("the error that the fits report for their integrals", ""),
}


def errors(exact: dict[str, Any]) -> tuple[dict[str, float], float]:
    """How far one fit is from its exact maximum, and the milliseconds that it takes at its best of three."""
    data = frame(exact["dataset"])
    options = {key: exact[key] for key in ("cluster", "family", "link")} | {"distribution": exact["prior"]}
    cg.random_effects(exact["formula"], data, **options)  # imports and caches
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        fit = cg.random_effects(exact["formula"], data, **options)
        taken.append(time.perf_counter() - start)
    terms, se = list(exact["coef"]), np.array(exact["se"])
    got, want = np.array([*fit.params[terms], fit.sigma]), np.array([*exact["coef"].values(), exact["sigma"]])
    found = {
        "loglik": abs(fit.loglik - exact["logLik"]),
        "estimates": float(np.max(np.abs(got - want) / se)),
        "se": float(np.max(np.abs(np.array([*fit.bse[terms], fit.sigma_se]) / se - 1.0))),
        "gradient": fit.optimization.gradient_norm,
        "claimed": fit.quadrature.error,
    }
    return found, 1e3 * min(taken)


def exact_maxima(_: argparse.Namespace) -> Iterable[record.Figure]:
    """The largest error of all fits, with the least and the largest in brackets."""
    fits = {name: errors(exact) for name, exact in json.loads((GOLDEN / "exact.json").read_text()).items()}
    for key, (words, unit) in WORDS.items():
        values = {name: found[key] for name, (found, _) in fits.items()}
        worst = max(values, key=values.__getitem__)
        limit = {"loglik": 1e-7, "estimates": 1e-5}.get(key)
        yield record.Figure(key, f"largest of {len(fits)}: {words}", values[worst], unit, at_most=limit, note=worst)
    yield record.measured("time", "time of a whole fit, formula included", [ms for _, ms in fits.values()], "ms")


if __name__ == "__main__":
    record.run("accuracy", __doc__, {"exact maxima": exact_maxima})
