"""One evaluation of the likelihood beside a floor: what NumPy takes for X'WX and one exp per row of the same data.

    python benchmarks/kernels.py [--clusters 100000] [--turns 15]

Value, score and Hessian, one thread, the rows sorted. What is compared takes turns, and only ratios are promised,
because machines are noisy. The part `small` is what `tests/test_kernel_ratios.py` compares a machine's ratios with:
fewer clusters, and ratios of the least processor times over many turns, which other users of a machine disturb least.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import record
import simulate

from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.request import Request
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.pooled import evaluate_pooled
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.rules import single_rule
from clusterglm.model.distribution import distribution
from clusterglm.model.family import response

SIGMA = {"binomial": 1.0, "poisson": 0.5}
SLOPES = {"binomial": 1.0, "poisson": 0.25}
LINKS = {"logit": "binomial", "probit": "binomial", "cloglog": "binomial", "log": "poisson"}
NAMES = {"log": "Poisson"}
PROMISED = {("logit", 8): 2.5, ("log", 8): 1.5, ("cloglog", 8): 8.0, ("probit", 8): 8.0}
"""At most so many times the floor."""
SMALL = 10_000
FEW = 60


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
    """X'WX and one exp per row in two threads, which shows what a second thread is worth on this machine."""
    middle, pool = data.n_obs // 2, ThreadPoolExecutor(1)
    first, second = floor(data, slice(middle)), floor(data, slice(middle, None))

    def run() -> object:
        other = pool.submit(second)
        return first(), other.result()

    return run


def marginal(data: ModelData, link: str, nodes: int, threads: int = 1) -> Callable[[], object]:
    """An evaluation near the maximum, from modes that were found at a point nearby."""
    family = LINKS[link]
    likelihood = MarginalLikelihood(
        core_problem(data.X, data, response(family, link)), distribution("gaussian"), "normal", threads
    )
    theta = np.array([-0.3 * (family == "binomial"), *(SLOPES[family] * simulate.SLOPES), SIGMA[family]])
    plan, turn = single_rule(nodes), iter(range(1_000_000))
    return lambda: likelihood.evaluate(theta * (1.0 + 0.01 * (next(turn) % 2)), plan)


def pooled(data: ModelData, link: str) -> Callable[[], object]:
    """An evaluation of the likelihood without cluster effects."""
    family = LINKS[link]
    problem = core_problem(data.X, data, response(family, link))
    beta = np.append(0.0, SLOPES[family] * simulate.SLOPES)
    return lambda: evaluate_pooled(problem, beta)


def samples(clusters: int) -> dict[str, ModelData]:
    """The data for each link, prepared."""
    binary, counts = simulate.logit(clusters), simulate.poisson(clusters)
    return {
        link: prepare(
            simulate.FORMULA,
            counts if family == "poisson" else binary,
            Request(response(family, link), cluster="id"),
        )
        for link, family in LINKS.items()
    }


def words(link: str, nodes: int | None, threads: int = 1) -> str:
    rule = "pooled" if nodes is None else f"{nodes} nodes"
    return f"{NAMES.get(link, link)}, {rule}" + (f", {threads} threads" if threads > 1 else "")


def everything(options: argparse.Namespace) -> Iterable[record.Figure]:
    """What users wait for: 100,000 clusters of 5."""
    data = samples(options.clusters)
    runs = {"floor": floor(data["logit"]), "floor, 2 threads": halves(data["logit"])}
    runs |= {words(link, None): pooled(data[link], link) for link in ("logit", "log")}
    for link, nodes, threads in (
        *((link, 8, 1) for link in LINKS),
        *((link, nodes, threads) for link in ("logit", "log") for nodes, threads in ((24, 1), (8, 2))),
    ):
        runs[words(link, nodes, threads)] = marginal(data[link], link, nodes, threads)
    seconds = record.in_turns(runs, options.turns)
    for name, values in seconds.items():
        yield record.measured(f"time {name}", name, [1e3 * value for value in values], "ms")
    for link in LINKS:
        for nodes in (None, 8, 24):
            if words(link, nodes) in seconds:
                above = seconds[words(link, nodes)]
                yield record.ratio(
                    f"floor {words(link, nodes)}",
                    f"{words(link, nodes)} / floor",
                    above,
                    seconds["floor"],
                    against="X'WX and one exp per row, NumPy",
                    at_most=PROMISED.get((link, nodes)),
                )
    words_of_two = "what a second thread is worth here: the floor, one thread / two threads"
    yield record.ratio("threads floor", words_of_two, seconds["floor"], seconds["floor, 2 threads"])
    for link in ("logit", "log"):
        eight, name = seconds[words(link, 8)], NAMES.get(link, link)
        more, two = seconds[words(link, 24)], seconds[words(link, 8, 2)]
        yield record.ratio(f"nodes {name}", f"{name}, 24 nodes / 8 nodes", more, eight, at_most=2.2)
        yield record.ratio(f"threads {name}", f"{name}, one thread / two threads", eight, two, at_least=1.8)


def ratios(clusters: int = SMALL, turns: int = FEW) -> dict[str, float]:
    """Each kernel's time over the floor's."""
    data = samples(clusters)
    runs = {"floor": floor(data["logit"])}
    runs |= {words(link, None): pooled(data[link], link) for link in ("logit", "log")}
    runs |= {words(link, 8): marginal(data[link], link, 8) for link in LINKS}
    return least_ratios(runs, turns)


def least_ratios(runs: dict[str, Callable[[], object]], turns: int = FEW) -> dict[str, float]:
    """The least processor time of each run over the least of the run `floor`, all in turns."""
    seconds = record.in_turns(runs, turns, clock=time.process_time)
    least = {name: min(values) for name, values in seconds.items()}
    below = least.pop("floor")
    return {name: value / below for name, value in least.items()}


def stored(folder: Path = record.RESULTS) -> tuple[dict[str, float], str] | None:
    """The ratios that were kept for machines with the vectors of this one, and of which; None where there are none."""
    part = record.read(folder / "kernels.json").get(small_part())
    return None if part is None else ({figure.words: figure.value for figure in part.figures}, part.machine)


def small_part() -> str:
    return f"small, {vectors()}"


def vectors() -> str:
    """The generation of vector instructions, which decides how kernels and BLAS compare: AVX-512, AVX2, NEON, ..."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.exists() else set()
    if platform.machine() not in ("x86_64", "AMD64"):
        return platform.machine()
    return next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "SSE2")


def small(_: argparse.Namespace) -> Iterable[record.Figure]:
    """What is stored for the test."""
    rounds = [ratios() for _ in range(3)]
    for name in rounds[0]:
        values = [one[name] for one in rounds]
        yield record.Figure(name, name, statistics.median(values), "times", min(values), max(values), 3, "floor")


if __name__ == "__main__":
    record.run("kernels", __doc__, {"everything": everything, small_part(): small}, clusters=100_000, turns=15)
