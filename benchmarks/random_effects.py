"""Random effects beside their peers: the same data, one run, one thread, medians; ratios are what counts.

    python benchmarks/random_effects.py [--clusters 100000] [--few 2000] [--turns 5]

From a data frame to a finished result with standard errors. Peers that take arrays get them, y and X, ready made. What
we take to read the formula and to make X of the columns is therefore taken off our times, those stated and those that
such peers are compared with; it is timed by itself in the same turn, by the functions that our fits call (formulaic
would take longer). Peers that read a formula themselves, R's among them, are compared with our whole times. The peers
that fit no clustering at all are there as a floor.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[variable] = "1"

import pandas as pd
import record
import simulate
from peers import base, glmm, glum, gpboost, mixedlm, r, statsmodels

import clusterglm as cg
from clusterglm.data.design import listed_design
from clusterglm.data.formulas.formula import parse_formula
from clusterglm.data.tables.plain import plain_matrix
from clusterglm.data.tables.table import array_of, read_table

QUADRATURES = {"8 nodes": 8, "automatic": "auto", "Laplace": "laplace"}
PEERS = [statsmodels.POOLED, glum.POOLED, glmm.LAPLACE, glmm.SEVEN, gpboost.LAPLACE]
SLOWER = [mixedlm.LAPLACE, mixedlm.EIGHT]
_PROMISED = 100_000  # clusters from which on ratios are promised
BUDGET = 10.0
"""Seconds after which a fit is not repeated."""


def ours(data: pd.DataFrame, family: str, quadrature: str | int) -> Callable[[], object]:
    control = cg.Control(n_threads=1)

    def run() -> object:
        result = cg.random_effects(
            simulate.FORMULA, data, cluster="id", family=family, quadrature=quadrature, control=control
        )
        return result.bse, str(result.summary())

    return run


def formula_alone(data: pd.DataFrame) -> Callable[[], object]:
    """From the formula and the table to the design matrix, as our fits do it."""
    table = read_table(data)

    def run() -> object:
        parsed = parse_formula(simulate.FORMULA, table.columns)
        arrays = {name: array_of(table, name) for name in parsed.variables}
        design = listed_design(parsed, None, absorb=False)
        return design, plain_matrix(design.coding.plain, True, arrays, len(data)).X

    return run


def without_formula(seconds: dict[str, list[float]]) -> dict[str, list[float]]:
    """Our times less that of the formula, turn by turn."""
    formula = seconds["formula"]
    return {
        name: [value - alone for value, alone in zip(values, formula, strict=True)]
        for name, values in seconds.items()
        if name != "formula"
    }


def own_times(clusters: int, turns: int) -> dict[str, list[float]]:
    """Seconds of our fits and of the formula; imports are over when it begins."""
    binary, counts = simulate.logit(clusters), simulate.poisson(clusters)
    runs = {"formula": formula_alone(binary)}
    runs |= {f"logit, {name}": ours(binary, "binomial", rule) for name, rule in QUADRATURES.items()}
    runs |= {f"Poisson, {name}": ours(counts, "poisson", rule) for name, rule in QUADRATURES.items()}
    return record.in_turns(runs, turns)


def everything(
    clusters: int, turns: int, peers: list[base.Peer], with_r: bool
) -> Iterable[record.Figure | record.Missing]:
    """Our fits, then the peers beside them, and R's after both."""
    whole = own_times(clusters, turns)
    fit = without_formula(whole)
    for name, values in fit.items():
        yield record.timed(name, name, values)
    yield record.timed("formula", "the formula alone", whole["formula"])
    promised = clusters >= _PROMISED
    for family in ("logit", "Poisson"):
        eight, auto = fit[f"{family}, 8 nodes"], fit[f"{family}, automatic"]
        limit = 2.0 if promised else None
        yield record.ratio(f"automatic {family}", f"{family}, automatic / 8 nodes", auto, eight, at_most=limit)
    counts, binary = fit["Poisson, 8 nodes"], fit["logit, 8 nodes"]
    yield record.ratio("Poisson", "Poisson / logit, 8 nodes", counts, binary, at_most=0.5 if promised else None)
    data = simulate.logit(clusters)
    yield from base.figures([peer for peer in peers if not peer.reads_formulas], data, _by_call(fit), turns, BUDGET)
    yield from base.figures([peer for peer in peers if peer.reads_formulas], data, _by_call(whole), turns, BUDGET)
    if with_r:
        yield from r.figures("random", data, turns, lambda: _by_call(own_times(clusters, turns)))


def _by_call(fit: dict[str, list[float]]) -> dict[str, list[float]]:
    """Our times by what peers name as ours; a floor without clusters is compared with 8 nodes."""
    own = {str(("random_effects", {"quadrature": rule})): fit[f"logit, {name}"] for name, rule in QUADRATURES.items()}
    return own | {str(("pooled", {})): fit["logit, 8 nodes"]}


def beside_glum(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    """The promise: clustering costs no more than glum takes without any, the two in turns."""
    if record.installed("glum") is None:
        yield record.Missing("logit, 8 nodes / glum without clusters", "glum is not installed")
        return
    data = simulate.logit(options.clusters)
    runs = {"formula": formula_alone(data), "ours": ours(data, "binomial", 8), "glum": glum.pooled(data)}
    seconds = record.in_turns(runs, 3 * options.turns)
    ours_alone = without_formula(seconds)["ours"]
    yield record.ratio(
        "glum", "logit, 8 nodes / glum without clusters", ours_alone, seconds["glum"], against="glum", at_most=1.0
    )


def large(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    return everything(options.clusters, options.turns, [*PEERS, *SLOWER], with_r=False)


def tiny(_: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    """Variational Bayes with a parameter for each cluster takes time that grows with their square."""
    data = simulate.logit(300)
    own = record.in_turns({str(statsmodels.BAYES.ours): ours(data, "binomial", 8)}, 3)
    return base.figures([statsmodels.BAYES], data, own, 3, BUDGET)


def few(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    return everything(options.few, options.turns, [*PEERS, *SLOWER], with_r=True)


if __name__ == "__main__":
    record.run(
        "random_effects",
        __doc__,
        {"large": large, "few": few, "tiny": tiny, "glum": beside_glum},
        packages=("statsmodels", "glum", "glmm", "gpboost", "mixedlm"),
        clusters=100_000,
        few=2_000,
        turns=5,
    )
