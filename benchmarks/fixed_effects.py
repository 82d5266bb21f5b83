"""Fixed and conditional effects beside their peers: the same data, one run, one thread, medians.

    python benchmarks/fixed_effects.py [--clusters 100000] [--few 2000] [--turns 5]

From a data frame to a finished result with standard errors, formula included, for everyone. The example of the paper is
1,000 clusters of 5 (Brostrom and Holmberg, section 3.3), fitted by R's glmmboot in 0.03 s elsewhere (R 4.2.2, glmmML
1.1.6, a machine like this); 200 bootstrap replicates of 10,000 clusters took it 133 seconds of processor time there.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import pandas as pd
import record
import simulate
from peers import base, fixest_like, r, statsmodels

import clusterglm as cg

GLMMBOOT_EXAMPLE = 0.03
GLMMBOOT_REPLICATES = 133.0
BUDGET = 10.0
"""Seconds after which a fit is not repeated."""


def example() -> pd.DataFrame:
    """1,000 clusters of 5, response and covariate at random."""
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(1000), 5)
    return pd.DataFrame({"y": rng.integers(0, 2, 5000), "x": rng.normal(size=5000), "id": ids})


def large_stratum(n: int = 10_000) -> pd.DataFrame:
    """One stratum of n rows, half of them events, five covariates."""
    rng = np.random.default_rng(2)
    data = pd.DataFrame(rng.normal(size=(n, 5)), columns=[f"x{k}" for k in range(1, 6)])
    return data.assign(y=rng.permutation(np.arange(n) % 2), id=0)


def ours(verb: Callable[..., object], formula: str, data: pd.DataFrame) -> Callable[[], object]:
    return lambda: verb(formula, data, cluster="id").bse  # type: ignore[attr-defined]


def large(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    """100,000 clusters, the example, and one large stratum."""
    data = simulate.logit(options.clusters)
    seconds = record.in_turns(
        {
            "fixed effects": ours(cg.fixed_effects, simulate.FORMULA, data),
            "conditional": ours(cg.conditional, simulate.FORMULA, data),
            "fixed effects, 1,000 clusters, one covariate": ours(cg.fixed_effects, "y ~ x", example()),
            "conditional, one stratum of 10,000 rows, 5,000 events": ours(
                cg.conditional, simulate.FORMULA, large_stratum()
            ),
        },
        options.turns,
    )
    for name, values in seconds.items():
        yield record.timed(name, name, values)
    taken = seconds["fixed effects, 1,000 clusters, one covariate"]
    yield record.measured(
        "glmmboot",
        "the example / glmmboot elsewhere (0.03 s)",
        [value / GLMMBOOT_EXAMPLE for value in taken],
        "times",
        against="glmmML 1.1.6, elsewhere",
    )
    peers = [fixest_like.FEREG, fixest_like.PYFIXEST]
    yield from base.figures(peers, data, {str(peers[0].ours): seconds["fixed effects"]}, options.turns, BUDGET)


def two_way(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    """100,000 persons in 10 years, effects of both."""
    data = simulate.logit(options.clusters, size=10)
    data = data.assign(year=np.tile(np.arange(10), options.clusters))
    both = fixest_like.TWO_WAY.ours[1]
    runs = {"two-way": lambda: cg.fixed_effects(simulate.FORMULA, data, **both).bse}
    seconds = record.in_turns(runs, options.turns)
    yield record.timed("two-way", "fixed effects of persons and years", seconds["two-way"])
    own = {str(fixest_like.TWO_WAY.ours): seconds["two-way"]}
    yield from base.figures([fixest_like.TWO_WAY], data, own, options.turns, BUDGET)


def few(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    """2,000 clusters, with the slower peers and R's."""
    data = simulate.logit(options.few)
    runs = {
        "fixed effects": ours(cg.fixed_effects, simulate.FORMULA, data),
        "conditional": ours(cg.conditional, simulate.FORMULA, data),
    }
    seconds = record.in_turns(runs, options.turns)
    for name, values in seconds.items():
        yield record.timed(name, name, values)
    peers = [fixest_like.FEREG, fixest_like.PYFIXEST, statsmodels.CONDITIONAL]
    yield from base.figures(peers, data, _by_call(seconds), options.turns, BUDGET)
    yield from r.figures("fixed", data, options.turns, lambda: _by_call(record.in_turns(runs, options.turns)))


def _by_call(seconds: dict[str, list[float]]) -> dict[str, list[float]]:
    """Our times by what peers name as ours."""
    return {str((verb, {})): seconds[verb.replace("_", " ")] for verb in ("fixed_effects", "conditional")}


def replicates(options: argparse.Namespace) -> Iterable[record.Figure]:
    """200 replicates of the bootstrap test for 10,000 clusters of 5."""
    fit = cg.fixed_effects(simulate.FORMULA, simulate.logit(10_000), cluster="id")
    taken = []
    for _ in range(3):
        start = time.process_time()
        fit.test_clustering(n_boot=200, seed=1)
        taken.append(time.process_time() - start)
    yield record.timed("replicates", "200 replicates of 10,000 clusters, processor time", taken)
    yield record.measured(
        "replicates glmmboot",
        "glmmboot elsewhere (133 s) / the same",
        [GLMMBOOT_REPLICATES / value for value in taken],
        "times",
        against="glmmML 1.1.6, elsewhere",
    )


if __name__ == "__main__":
    record.run(
        "fixed_effects",
        __doc__,
        {"large": large, "two_way": two_way, "few": few, "replicates": replicates},
        packages=("statsmodels", "fereg", "pyfixest"),
        clusters=100_000,
        few=2_000,
        turns=5,
    )
