"""Whether time is linear in rows, from 10,000 to 10 million; and clusters as long, or as many, as rows can make them.

    python benchmarks/linearity.py [--rows 10000,100000,1000000,10000000] [--turns 5]

Logit, 8 nodes, clusters of 5, five covariates, one thread: a whole fit from a data frame, and one evaluation with score
and Hessian; seconds of processor time, which other users of the machine disturb least. A fit has a part that does not
depend on rows (parsing the formula, looking at columns, the iterations' own work in Python), which is measured with 100
rows: the same steps with next to nothing to add up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import pandas as pd
import record
import simulate
from kernels import marginal

import clusterglm as cg
from clusterglm.data.prepare import prepare
from clusterglm.model.family import response

CLOCK = time.process_time
SIZE = 5
ENOUGH = 20.0
"""Seconds after which a size is not repeated."""
WITHIN = 1.2
"""The promise: time per row differs by at most 20%."""


def fit(data: pd.DataFrame, **options: object) -> Callable[[], object]:
    control = cg.Control(n_threads=1)
    return lambda: cg.random_effects(
        simulate.FORMULA, data, cluster="id", **{"quadrature": 8, "control": control} | options
    )


def by_rows(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Fits and evaluations of each size; small ones many times, as their times are the noisiest."""
    sizes = [int(size) for size in options.rows.split(",")]
    none = record.in_turns({"fit": fit(simulate.logit(20, size=SIZE))}, 10 * options.turns, clock=CLOCK)["fit"]
    yield record.measured("fixed", "a fit of 100 rows", [1e3 * value for value in none], "ms")
    fixed = statistics.median(none)
    whole: dict[int, list[float]] = {}
    one: dict[int, list[float]] = {}
    for rows in sizes:
        turns = max(options.turns, min(50, 2_000_000 // rows))
        data = simulate.logit(rows // SIZE, size=SIZE)
        found = record.in_turns({"fit": fit(data)}, turns, ENOUGH, CLOCK)["fit"]
        whole[rows] = [1e9 * value / rows for value in found]
        arrays = prepare(simulate.FORMULA, data, cluster="id", family_response=response("binomial", "logit"))
        del data
        evaluation = record.in_turns({"one": marginal(arrays, "logit", 8)}, 2 * turns, ENOUGH, CLOCK)["one"]
        one[rows] = [1e9 * value / rows for value in evaluation]
        yield record.timed(f"fit {rows}", f"{rows:,} rows, fit", found)
        yield record.measured(f"fit per row {rows}", f"{rows:,} rows, fit, per row", whole[rows], "ns")
        yield record.measured(f"evaluation per row {rows}", f"{rows:,} rows, evaluation, per row", one[rows], "ns")
    least = {rows: min(values) for rows, values in whole.items()}
    net = {rows: value - 1e9 * min(fixed, min(none)) / rows for rows, value in least.items()}
    yield _range("fit", "fit, time per row: largest / least", least, WITHIN)
    yield _range("net", "the same without what a fit of 100 rows takes", net, WITHIN)
    large = {rows: value for rows, value in least.items() if rows >= 100_000}
    if len(large) > 1:
        yield _range("fit from 1e5", "fit, from 100,000 rows", large, WITHIN)
    yield _range("evaluation", "evaluation, time per row: largest / least", {n: min(v) for n, v in one.items()}, WITHIN)


def _range(claim: str, words: str, per_row: dict[int, float], at_most: float) -> record.Figure:
    """How much the least times per row differ between sizes."""
    above, below = max(per_row, key=per_row.__getitem__), min(per_row, key=per_row.__getitem__)
    note = f"most at {above:,} rows, least at {below:,}"
    return record.Figure(claim, words, per_row[above] / per_row[below], "times", at_most=at_most, note=note)


def long_clusters(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Few clusters of a million rows: the integrand is a spike, and the sums are long."""
    rows = 1_000_000
    for clusters in (2, 5):
        data = simulate.logit(clusters, size=rows)
        seconds = record.in_turns({"fit": fit(data, quadrature="auto")}, 1, ENOUGH, CLOCK)["fit"]
        found = fit(data, quadrature="auto")()
        truth = np.append(-0.3, simulate.SLOPES)[1:]
        off = float(np.max(np.abs(found.params.to_numpy()[1:] - truth) / found.bse.to_numpy()[1:]))
        words = f"{clusters} clusters of {rows:,} rows"
        yield record.timed(
            f"long {clusters}", words, seconds, note=f"sigma {found.sigma:.3f}, {found.optimization.message}"
        )
        yield record.Figure(f"long {clusters} truth", f"{words}: slopes from the truth", off, "SE", at_most=4.0)


def single_rows(options: argparse.Namespace) -> Iterable[record.Figure]:
    """A million clusters of one row: counts say what sigma is; one binary row each does not, and the fit says so."""
    clusters = 1_000_000
    counts = simulate.poisson(clusters, size=1)
    seconds = record.in_turns({"fit": fit(counts, family="poisson")}, 2, ENOUGH, CLOCK)["fit"]
    found = fit(counts, family="poisson")()
    yield record.timed("single counts", f"{clusters:,} counts, each its own cluster", seconds)
    off = abs(found.sigma - 0.5) / found.sigma_se
    yield record.Figure("single counts truth", "the same: sigma from the truth", off, "SE", at_most=4.0)
    totals = simulate.totals(clusters)
    seconds = record.in_turns({"fit": fit_totals(totals)}, 2, ENOUGH, CLOCK)["fit"]
    found = fit_totals(totals)()
    yield record.timed("single totals", f"{clusters:,} binomial totals of 5, each its own cluster", seconds)
    off = abs(found.sigma - 1.0) / found.sigma_se
    yield record.Figure("single totals truth", "the same: sigma from the truth", off, "SE", at_most=4.0)


def fit_totals(data: pd.DataFrame) -> Callable[[], object]:
    formula = simulate.FORMULA.replace("y ~", "cbind(y, n - y) ~")
    return lambda: cg.random_effects(formula, data, cluster="id", quadrature=8, control=cg.Control(n_threads=1))


if __name__ == "__main__":
    record.run(
        "linearity",
        __doc__,
        {"by rows": by_rows, "long clusters": long_clusters, "single rows": single_rows},
        rows="10000,100000,1000000,10000000",
        turns=5,
    )
