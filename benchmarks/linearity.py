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
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import pandas as pd
import record
import simulate
from kernels import marginal

import clusterglm as cg
from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
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
        evaluations: list[int] = []
        call = fit(data)
        counted = {"fit": lambda call=call, kept=evaluations: kept.append(call().optimization.evaluations)}
        found = record.in_turns(counted, turns, ENOUGH, CLOCK)["fit"]
        whole[rows] = [1e9 * value / rows for value in found]
        arrays = prepare(simulate.FORMULA, data, Request(response("binomial", "logit"), cluster="id"))
        del data, call, counted
        evaluation = record.in_turns({"one": marginal(arrays, "logit", 8)}, 2 * turns, ENOUGH, CLOCK)["one"]
        one[rows] = [1e9 * value / rows for value in evaluation]
        note = f"{evaluations[0]} evaluations with nodes"
        yield record.timed(f"fit {rows}", f"{rows:,} rows, fit", found, note=note)
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


def long_clusters(_: argparse.Namespace) -> Iterable[record.Figure]:
    """Two clusters of a million rows: the integrand is a spike, and the sums are long."""
    seconds, found = _once(fit(simulate.logit(2, size=1_000_000), quadrature="auto"))
    off = float(np.max(np.abs(found.params.to_numpy()[1:] - simulate.SLOPES) / found.bse.to_numpy()[1:]))
    yield record.Figure("long", "2 clusters of 1,000,000 rows", seconds, "s", note=f"sigma {found.sigma:.3f}")
    yield record.Figure("long truth", "the same: slopes from the truth, at most", off, "SE", at_most=4.0)


def single_rows(_: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    """A million clusters of one row: counts say what sigma is; one binary row each does not, and the fit says so."""
    clusters = 1_000_000
    for claim, words, call, sigma in (
        ("counts", "counts", fit(simulate.poisson(clusters, size=1), family="poisson"), 0.5),
        ("totals", "binomial totals of 5", fit_totals(simulate.totals(clusters)), 1.0),
    ):
        seconds, found = _once(call)
        off = abs(found.sigma - sigma) / found.sigma_se
        yield record.Figure(f"single {claim}", f"{clusters:,} {words}, each its own cluster", seconds, "s")
        yield record.Figure(f"single {claim} truth", "the same: sigma from the truth", off, "SE", at_most=4.0)
    try:
        fit(simulate.logit(clusters, size=1))()
    except cg.errors.ClusterGLMError as error:
        yield record.Missing(
            f"{clusters:,} binary rows, each its own cluster", f"refused: {str(error).splitlines()[0]}"
        )


def _once(call: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of one fit, and the fit."""
    start = CLOCK()
    found = call()
    return CLOCK() - start, found


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
