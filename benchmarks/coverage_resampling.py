"""How often intervals of the cluster bootstrap and the jackknife cover where clusters are few, beside robust ones.

    python benchmarks/coverage_resampling.py [--data-sets 2000] [--clusters 16] [--size 5] [--replicates 399]

Every other cluster is treated, and its intercepts vary by half as much again; errors are of Student's t on 5 degrees of
freedom. The model is least squares: intervals of the treatment's coefficient.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
import record

import clusterglm as cg

EFFECT = 0.5
KINDS = ("percentile", "basic", "normal", "bca")
WORDS = {
    "observed": "rows taken for independent",
    "robust": 'cov="robust"',
    "CR2": 'cov="CR2", df="satterthwaite"',
    **{kind: f"bootstrap of clusters, {kind}" for kind in KINDS},
    "jackknife": "jackknife",
}


def one(job: tuple[np.random.SeedSequence, int, int, int]) -> dict[str, tuple[float, float]]:
    """Whether each interval covers, and how long it is; of replicates, how many failed."""
    seed, clusters, size, replicates = job
    warnings.simplefilter("ignore")
    draws, boot = seed.spawn(2)
    rng = np.random.default_rng(draws)
    ids, treated = np.repeat(np.arange(clusters), size), np.arange(clusters) % 2
    u = rng.normal(size=clusters) * (1.0 + 0.5 * treated)
    y = 1.0 + EFFECT * treated[ids] + u[ids] + rng.standard_t(5, len(ids))
    data = pd.DataFrame({"y": y, "treated": treated[ids], "id": ids})
    fit = cg.pooled("y ~ treated", data, family="gaussian", cluster="id")
    drawn, without = fit.bootstrap(replicates, seed=boot, resample="clusters"), fit.jackknife()
    tables = {"observed": {}, "robust": {"cov": "robust"}, "CR2": {"cov": "CR2", "df": "satterthwaite"}}
    ends = {name: fit.conf_int(**options).loc["treated"].to_numpy() for name, options in tables.items()}
    ends |= {kind: np.array(drawn.interval(kind=kind, jackknife=without))[:, 1] for kind in KINDS}
    ends["jackknife"] = np.array(without.interval())[:, 1]
    found = {name: (float(low <= EFFECT <= high), float(high - low)) for name, (low, high) in ends.items()}
    return found | {"failed": (float(replicates - len(drawn.replicates)), 0.0)}


def coverage(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Per cent of data sets, and mean lengths."""
    seeds = np.random.SeedSequence(options.seed).spawn(options.data_sets)
    with ProcessPoolExecutor(options.workers) as pool:
        jobs = [(seed, options.clusters, options.size, options.replicates) for seed in seeds]
        found = list(pool.map(one, jobs, chunksize=5))
    for name, words in WORDS.items():
        covered, length = np.mean([each[name] for each in found], axis=0)
        error = 100.0 * math.sqrt(covered * (1.0 - covered) / options.data_sets)
        yield record.Figure(
            name,
            f"95% intervals, {words}: coverage",
            100.0 * float(covered),
            "%",
            turns=options.data_sets,
            note=f"mean length {length:.2f}; Monte Carlo error {error:.2f}%",
        )
    failed = sum(each["failed"][0] for each in found)
    wanted = options.data_sets * options.replicates
    note = f"of {wanted:,}: all clusters drawn were of one kind"
    yield record.Figure("failed", "replicates that failed", failed, "", note=note)


if __name__ == "__main__":
    record.run(
        "coverage_resampling",
        __doc__,
        {},
        long={"coverage": coverage},
        data_sets=2000,
        clusters=16,
        size=5,
        replicates=399,
        seed=1,
        workers=2,
    )
