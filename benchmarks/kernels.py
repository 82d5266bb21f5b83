"""One evaluation of the likelihood beside a floor: what NumPy takes for X'WX and one exp per row of the same data.

    python benchmarks/kernels.py [--clusters 100000] [--repeats 15]

Value, score and Hessian, one thread, the rows sorted. What is compared takes turns; each ratio is the median over turns
with its quartiles, because machines are noisy.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import simulate

from clusterglm.data.prepare import ModelData, prepare
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.marginal import MarginalLikelihood
from clusterglm.likelihood.pooled import evaluate_pooled
from clusterglm.likelihood.rules import single_rule
from clusterglm.model.distribution import distribution
from clusterglm.model.family import response

SIGMA = {"binomial": 1.0, "poisson": 0.5}
SLOPES = {"binomial": 1.0, "poisson": 0.25}


def floor(data: ModelData, rows: slice = slice(None)) -> Callable[[], object]:
    """X'WX by BLAS and one exp per row."""
    X = data.X[rows]
    eta = X @ np.full(X.shape[1], 0.1)
    weighted, scale = np.empty_like(X), np.empty_like(eta)

    def run() -> object:
        np.exp(eta, out=scale)
        np.multiply(X, scale[:, None], out=weighted)
        return X.T @ weighted

    return run


def halves(data: ModelData) -> Callable[[], object]:
    """The same in two threads, which shows what a second thread is worth on this machine."""
    middle, pool = data.n_obs // 2, ThreadPoolExecutor(1)
    first, second = floor(data, slice(middle)), floor(data, slice(middle, None))

    def run() -> object:
        other = pool.submit(second)
        return first(), other.result()

    return run


def marginal(data: ModelData, family: str, link: str, nodes: int, threads: int = 1) -> Callable[[], object]:
    """An evaluation near the maximum, from modes that were found at a point nearby."""
    model = response(family, link)
    likelihood = MarginalLikelihood(
        core_problem(data.X, data, model), data.n_clusters, data.X.shape[1], distribution("gaussian"), "normal", threads
    )
    theta = np.array([-0.3 * (family == "binomial"), *(SLOPES[family] * simulate.SLOPES), SIGMA[family]])
    plan, turn = single_rule(nodes), iter(range(1_000_000))
    return lambda: likelihood.evaluate(theta * (1.0 + 0.01 * (next(turn) % 2)), plan)


def pooled(data: ModelData, family: str, link: str) -> Callable[[], object]:
    model = response(family, link)
    problem, beta = core_problem(data.X, data, model), np.append(0.0, SLOPES[family] * simulate.SLOPES)
    return lambda: evaluate_pooled(problem, beta)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clusters", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    logit, poisson = simulate.logit(options.clusters), simulate.poisson(options.clusters)
    binary = prepare(simulate.FORMULA, logit, cluster="id", family_response=response("binomial", "logit"))
    counts = prepare(simulate.FORMULA, poisson, cluster="id", family_response=response("poisson", "log"))
    runs = {
        "floor": floor(binary),
        "floor, 2 threads": halves(binary),
        "logit, pooled": pooled(binary, "binomial", "logit"),
        "Poisson, pooled": pooled(counts, "poisson", "log"),
        "logit, 8 nodes": marginal(binary, "binomial", "logit", 8),
        "logit, 24 nodes": marginal(binary, "binomial", "logit", 24),
        "logit, 8 nodes, 2 threads": marginal(binary, "binomial", "logit", 8, 2),
        "cloglog, 8 nodes": marginal(binary, "binomial", "cloglog", 8),
        "probit, 8 nodes": marginal(binary, "binomial", "probit", 8),
        "Poisson, 8 nodes": marginal(counts, "poisson", "log", 8),
        "Poisson, 24 nodes": marginal(counts, "poisson", "log", 24),
        "Poisson, 8 nodes, 2 threads": marginal(counts, "poisson", "log", 8, 2),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(-1, options.repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn >= 0:  # the first warms up
                seconds[name].append(time.perf_counter() - start)
    print(f"{options.clusters:,} clusters of 5, one thread, {options.repeats} turns; {platform.machine()}")
    for name, values in seconds.items():
        print(f"  {name:32s}{1e3 * float(np.median(values)):8.1f} ms   (min {1e3 * min(values):.1f})")
    ratios = [(name, "floor") for name in runs if name != "floor" and "threads" not in name]
    ratios += [(f"{family}, 24 nodes", f"{family}, 8 nodes") for family in ("logit", "Poisson")]
    ratios += [(name, f"{name}, 2 threads") for name in ("floor", "logit, 8 nodes", "Poisson, 8 nodes")]
    for above, below in ratios:
        low, middle, high = np.quantile(np.divide(seconds[above], seconds[below]), (0.25, 0.5, 0.75))
        print(f"  {above + ' / ' + below:52s}{middle:7.2f}   ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
