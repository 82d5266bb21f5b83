"""How far fits of real data are from their exact maxima (tests/golden/exact.json), and how long they take.

python benchmarks/accuracy.py
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

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


def main() -> None:
    print(f"{'fit':32s}{'loglik':>10s}{'estimates':>11s}{'SEs':>10s}{'gradient':>10s}{'claimed':>10s}{'seconds':>9s}")
    print(f"{'':32s}{'error':>10s}{'in SEs':>11s}{'relative':>10s}{'in SEs':>10s}{'error':>10s}{'':>9s}")
    worst = np.zeros(6)
    for name, exact in json.loads((GOLDEN / "exact.json").read_text()).items():
        data = frame(exact["dataset"])
        options = {key: exact[key] for key in ("cluster", "family", "link")} | {"distribution": exact["prior"]}
        cg.random_effects(exact["formula"], data, **options)  # imports and caches
        start = time.perf_counter()
        fit = cg.random_effects(exact["formula"], data, **options)
        seconds = time.perf_counter() - start
        terms, se = list(exact["coef"]), np.array(exact["se"])
        got, want = np.array([*fit.params[terms], fit.sigma]), np.array([*exact["coef"].values(), exact["sigma"]])
        figures = np.array(
            [
                abs(fit.loglik - exact["logLik"]),
                np.max(np.abs(got - want) / se),
                np.max(np.abs(np.array([*fit.bse[terms], fit.sigma_se]) / se - 1.0)),
                fit.optimization.gradient_norm,
                fit.quadrature.error,
                seconds,
            ]
        )
        worst = np.maximum(worst, figures)
        print(f"{name:32s}" + _line(figures))
    print(f"{'largest':32s}" + _line(worst))


def _line(figures: np.ndarray) -> str:
    a, b, c, d, e, seconds = figures
    return f"{a:10.1e}{b:11.1e}{c:10.1e}{d:10.1e}{e:10.1e}{seconds:9.3f}"


if __name__ == "__main__":
    main()
