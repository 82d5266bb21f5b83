"""Responses with parameters of their own: evaluations, fits beside other programs, coverage of profile intervals.

    python benchmarks/own_parameters.py [--clusters 2000] [--turns 9] [--data-sets 500]

Negative binomial counts in clusters of 10, and ratings in five categories in clusters of 5, with a random intercept.
Times are of whole fits from a data frame, formula included, with standard errors; on one thread. An evaluation is that
of the value, score and Hessian by 8 nodes, beside one of a plain logit or Poisson likelihood of the same kernel rows.
"""

from __future__ import annotations

import argparse
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import pandas as pd
import record
import simulate
from peers import base, edi, glmm, gpboost

import clusterglm as cg
from clusterglm.data.blocks.store import BlockArrays
from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
from clusterglm.fit.own_rows import OwnMarginal, OwnRows, standardised
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.rules import single_rule
from clusterglm.model.control import Control
from clusterglm.model.distribution import distribution
from clusterglm.model.family import response, with_own

NB = "negative_binomial"
PLAIN = {NB: ("binomial", "logit"), "ordinal": ("binomial", "logit"), "gamma": ("poisson", "log")}
WORDS = {NB: "NB2", "ordinal": "cumulative logit", "gamma": "gamma"}
AT = {NB: [math.log(0.5)], "ordinal": list(simulate.THRESHOLDS), "gamma": [math.log(2.0)]}
"""Working values at which an evaluation is timed."""
BUDGET = 10.0
TRUTH = {"x1": 0.5, "sigma": 1.0} | dict(zip(("0|1", "1|2", "2|3", "3|4"), simulate.THRESHOLDS.tolist(), strict=True))


# Fits beside others ---------------------------------------------------------------------------------------------------


def ours(data: pd.DataFrame, family: str, quadrature: str | int = "auto") -> Callable[[], object]:
    control = cg.Control(n_threads=1)

    def run() -> object:
        return cg.random_effects(
            simulate.FORMULA, data, cluster="id", family=family, quadrature=quadrature, control=control
        ).bse

    return run


def beside(
    data: pd.DataFrame, family: str, peers: list[tuple[base.Peer, float]], turns: int
) -> Iterable[record.Figure | record.Missing]:
    """Our fit by "auto", and peers' over it, the least of each: what is promised of them is that ours takes less."""
    name = f"{WORDS[family]}, automatic"
    runs: dict[str, Callable[[], object]] = {name: ours(data, family)}
    for peer, _ in peers:
        if record.installed(peer.package) is None:
            yield record.Missing(peer.name, "not installed")
        else:
            runs[peer.name] = peer.prepare(data)
    seconds = record.in_turns(runs, turns, BUDGET)
    words = f"{data['id'].nunique():,} clusters of {len(data) // data['id'].nunique()}, {WORDS[family]}"
    yield record.timed(name, f"{words}, automatic", seconds[name])
    for peer, at_most in peers:
        if peer.name in seconds:
            version = record.installed(peer.package) or ""
            yield from base.timed(peer, version, seconds[peer.name], peer.prepare(data)(), data, {})
            yield record.ratio(
                f"ours / {peer.name}", f"{words}: ours, automatic / {peer.name}", seconds[name], seconds[peer.name],
                against=f"{peer.package} {version}", at_most=at_most,
            )  # fmt: skip


def counts(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    peers = [(gpboost.NEGATIVE_BINOMIAL, 1.0 / 5.0), (glmm.NEGATIVE_BINOMIAL, 1.0 / 30.0)]
    return beside(simulate.overdispersed(options.clusters), NB, peers, options.turns)


def ratings(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    return beside(simulate.ratings(options.clusters), "ordinal", [(edi.ORDINAL, 1.0 / 50.0)], options.turns)


# One evaluation -------------------------------------------------------------------------------------------------------


def evaluations(family: str, clusters: int) -> dict[str, Callable[[], object]]:
    """One with the response's parameters, and a plain one of the same kernel rows and columns."""
    own = with_own(family)
    assert own is not None
    data = simulate.ratings(clusters) if family == "ordinal" else simulate.overdispersed(clusters)
    if family == "gamma":
        data = data.assign(y=data["y"] + 0.5)
    read = own.reads
    rows = prepare(simulate.FORMULA, data, Request(read, cluster="id"))
    if own.location:
        from clusterglm.data.recession import without_column

        own = own.of_levels(rows.levels)
        rows = without_column(rows, rows.intercept)
    kernel = OwnRows(standardised(rows, own, Control()), own)
    likelihood, plan = OwnMarginal(kernel, integrator_for(distribution("gaussian"), "normal")), single_rule(8)
    slopes = simulate.SLOPES if own.location else np.append(0.0, simulate.SLOPES)
    theta = np.concatenate([slopes / 4.0, [0.5], AT[family]])
    block, inner = kernel.for_core(theta)
    arrays = block.data
    alone = BlockArrays(arrays.starts, arrays.a, arrays.b, arrays.offset, arrays.cluster_weights)
    problem = core_problem(block.X, alone, response(*PLAIN[family]))
    plain = MarginalLikelihood(problem, distribution("gaussian"), "normal", 1)
    turn, other = iter(range(1_000_000)), iter(range(1_000_000))
    return {
        family: lambda: likelihood.evaluate(theta * (1.0 + 0.01 * (next(turn) % 2)), plan),
        f"plain {family}": lambda: plain.evaluate(inner * (1.0 + 0.01 * (next(other) % 2)), plan),
    }


def kernels(options: argparse.Namespace) -> Iterable[record.Figure]:
    """By processor time, the least of many turns: others on the machine disturb it least."""
    for family in PLAIN:
        runs = evaluations(family, options.clusters)
        seconds = record.in_turns(runs, 5 * options.turns, clock=time.process_time)
        own, plain = (min(values) for values in seconds.values())
        name = "Poisson" if PLAIN[family][0] == "poisson" else "logit"
        yield record.Figure(
            f"evaluation {family}", f"{WORDS[family]}, one evaluation / {name} of as many kernel rows and columns",
            own / plain, "times", turns=5 * options.turns, against=f"{name}, 8 nodes", at_most=1.3,
            note=f"{1e3 * own:.2f} ms, least processor times",
        )  # fmt: skip


# Coverage -------------------------------------------------------------------------------------------------------------


def covered(job: tuple[int, int]) -> dict[str, float]:
    """Whether the profile interval of each parameter covers (nan where it could not be given)."""
    seed, clusters = job
    warnings.simplefilter("ignore")
    data = simulate.ratings(clusters, seed)
    found = cg.random_effects(simulate.FORMULA, data, cluster="id", family="ordinal").conf_int(method="profile")
    inside = {}
    for name, value in TRUTH.items():
        low, high = found.loc[name]
        inside[name] = float(low <= value <= high) if np.isfinite([low, high]).all() else np.nan
    return inside


def coverage(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Of 95% profile intervals, per cent of data sets of 200 clusters of 5; promised within two Monte Carlo errors."""
    jobs = [(1000 + k, 200) for k in range(options.data_sets)]
    with ProcessPoolExecutor(options.workers) as pool:
        table = pd.DataFrame(pool.map(covered, jobs, chunksize=10))
    error = 100.0 * math.sqrt(0.05 * 0.95 / options.data_sets)
    for name in table:
        word = f"threshold {name}" if "|" in name else name
        without = int(table[name].isna().sum())
        yield record.Figure(
            f"coverage {name}", f"ratings, {word}: coverage of 95% profile intervals", 100.0 * table[name].mean(), "%",
            turns=options.data_sets, at_least=round(95.0 - 2.0 * error, 2), at_most=round(95.0 + 2.0 * error, 2),
            note=f"{options.data_sets:,} data sets, Monte Carlo error {error:.2f}%, {without} without an interval",
        )  # fmt: skip


def fixed_covered(job: tuple[int, int]) -> dict[str, float]:
    """Whether the Wald intervals of a coefficient and of alpha cover, with fixed intercepts, and what alpha is."""
    seed, clusters = job
    warnings.simplefilter("ignore")
    data, found = simulate.overdispersed(clusters, seed, size=4), {}
    for how in (None, "analytical"):
        try:
            fit = cg.fixed_effects(simulate.FORMULA, data, cluster="id", family=NB, bias_correction=how)
        except cg.errors.OptionError:  # alpha at 0
            return {}
        word, ends = how or "none", fit.conf_int()
        for name, value in (("x5", 0.25), ("alpha", 0.5)):
            low, high = ends.loc[name]
            found[f"{name} {word}"] = float(low <= value <= high)
        found[f"mean {word}"] = fit.family_parameters["alpha"]
    return found


def fixed(options: argparse.Namespace) -> Iterable[record.Figure]:
    """With an intercept for each of 100 clusters of 4: what the correction of alpha does."""
    jobs = [(1000 + k, 100) for k in range(options.data_sets)]
    with ProcessPoolExecutor(options.workers) as pool:
        table = pd.DataFrame(pool.map(fixed_covered, jobs, chunksize=10))
    error = 100.0 * math.sqrt(0.05 * 0.95 / options.data_sets)
    for how, words in (("none", "no correction"), ("analytical", "analytical correction")):
        for name in ("x5", "alpha"):
            yield record.Figure(
                f"fixed {name} {how}", f"fixed effects, NB2, {words}, {name}: coverage of 95% Wald intervals",
                100.0 * table[f"{name} {how}"].mean(), "%", turns=options.data_sets,
                at_least=round(95.0 - 2.0 * error, 2) if how == "analytical" else None,
                note=f"{options.data_sets:,} data sets, Monte Carlo error {error:.2f}%, "
                f"{int(table['x5 none'].isna().sum())} with alpha = 0",
            )  # fmt: skip
        yield record.Figure(
            f"fixed mean {how}", f"fixed effects, NB2, {words}: mean estimate of alpha = 0.5",
            table[f"mean {how}"].mean(), "", turns=options.data_sets,
        )  # fmt: skip


if __name__ == "__main__":
    record.run(
        "own_parameters",
        __doc__,
        {"kernels": kernels, "counts": counts, "ratings": ratings},
        long={"coverage": coverage, "fixed": fixed},
        packages=("gpboost", "glmm", "edi-kernels"),
        clusters=2_000,
        turns=9,
        data_sets=500,
        workers=2,
    )
