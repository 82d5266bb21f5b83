"""This package beside its peers: the same data, one run, one thread, medians; ratios are what counts.

    python benchmarks/peers.py [--clusters 100000] [--repeats 5] [--no-glmm]

Everything is timed from a data frame to a finished result with standard errors. The time that formulaic takes for
the formula is given apart and taken off ours: statsmodels and glum get arrays, and fit no clustering at all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import simulate

import clusterglm as cg

RESULTS = Path(__file__).parent / "results.json"


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ours(data, family: str, quadrature) -> Callable[[], object]:
    def run() -> object:
        result = cg.random_effects(simulate.FORMULA, data, cluster="id", family=family, quadrature=quadrature)
        return result.bse, str(result.summary())

    return run


def formula_alone(data) -> Callable[[], object]:
    import formulaic

    return lambda: formulaic.Formula(simulate.FORMULA).get_model_matrix(data, output="numpy")


def statsmodels_pooled(X, y) -> Callable[[], object]:
    import statsmodels.api as sm

    return lambda: sm.GLM(y, X, family=sm.families.Binomial()).fit().bse


def glum_pooled(X, y) -> Callable[[], object]:
    from glum import GeneralizedLinearRegressor

    return lambda: GeneralizedLinearRegressor(family="binomial", alpha=0, fit_intercept=False).fit(X, y)


def glmm_fit(data, nodes: int) -> Callable[[], object]:
    import glmm

    columns = {name: data[name].to_numpy() for name in data.columns} | {"id": data["id"].astype(str).to_numpy()}
    columns["y"] = columns["y"].astype(float)
    return lambda: glmm.fit(columns, f"{simulate.FORMULA} + (1|id)", family="binomial", nagq=nodes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clusters", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-glmm", action="store_true", help="leave out the slow peer")
    options = parser.parse_args()
    warnings.simplefilter("ignore")

    logit, poisson = simulate.logit(options.clusters), simulate.poisson(options.clusters)
    X = np.column_stack([np.ones(len(logit)), logit[[f"x{k}" for k in range(1, 6)]]])
    y = logit["y"].to_numpy(float)
    runs = {
        "formula alone": formula_alone(logit),
        "logit, 8 nodes": ours(logit, "binomial", 8),
        "logit, auto": ours(logit, "binomial", "auto"),
        "logit, Laplace": ours(logit, "binomial", "laplace"),
        "Poisson, 8 nodes": ours(poisson, "poisson", 8),
        "Poisson, auto": ours(poisson, "poisson", "auto"),
        "statsmodels GLM, pooled": statsmodels_pooled(X, y),
        "glum, pooled": glum_pooled(X, y),
    }
    for run in runs.values():
        run()  # imports and caches
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.repeats):  # in turn, so that a slow spell of the machine meets all of them
        for name, run in runs.items():
            seconds[name].append(timed(run))
    if not options.no_glmm:
        seconds["glmm, 7 nodes"] = [timed(glmm_fit(logit, 7))]
        seconds["glmm, Laplace"] = [timed(glmm_fit(logit, 1))]
    median = {name: statistics.median(values) for name, values in seconds.items()}
    formula = median["formula alone"]
    fit = {name: value - (formula if name.startswith(("logit", "Poisson")) else 0.0) for name, value in median.items()}
    eight = fit["logit, 8 nodes"]
    ratios = {
        "logit, 8 nodes / statsmodels pooled": eight / fit["statsmodels GLM, pooled"],
        "logit, 8 nodes / glum pooled": eight / fit["glum, pooled"],
        "Poisson, 8 nodes / logit, 8 nodes": fit["Poisson, 8 nodes"] / eight,
        "logit, auto / logit, 8 nodes": fit["logit, auto"] / eight,
        "Poisson, auto / Poisson, 8 nodes": fit["Poisson, auto"] / fit["Poisson, 8 nodes"],
    }
    if not options.no_glmm:
        ratios["glmm, 7 nodes / logit, 8 nodes"] = fit["glmm, 7 nodes"] / eight
    print(f"{options.clusters:,} clusters of 5, one thread, median of {options.repeats}; {platform.machine()}")

    for name, value in fit.items():
        print(f"  {name:32s}{value:9.3f} s   (min {min(seconds[name]):.3f}, max {max(seconds[name]):.3f} with formula)")
    for name, value in ratios.items():
        print(f"  {name:44s}{value:7.2f}")
    RESULTS.write_text(json.dumps({"clusters": options.clusters, "seconds": fit, "ratios": ratios}, indent=2) + "\n")


if __name__ == "__main__":
    main()
