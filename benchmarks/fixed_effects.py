"""Fixed and conditional effects beside their peers: the same data, one run, one thread, medians.

    python benchmarks/fixed_effects.py [--clusters 100000] [--repeats 5]

From a data frame to a finished result with standard errors, formula included, for us and for fereg (which is timed
where it is installed). The seed's example is 1,000 clusters of 5, fitted by R's glmmboot in 0.03 s elsewhere, by glm
with dummies in 55 s; glmmboot's 200 bootstrap replicates of 10,000 clusters took 133 CPU seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import pandas as pd
import simulate

import clusterglm as cg

GLMMBOOT_SEED_EXAMPLE = 0.03  # seconds, R 4.2.2, glmmML 1.1.6, on a machine like this
GLMMBOOT_REPLICATES = 133.0  # CPU seconds, likewise
FIXEST = 0.78  # seconds, fixest 0.12.2, one thread, likewise


def seed_example() -> pd.DataFrame:
    """1,000 clusters of 5, response and covariate at random (Brostrom and Holmberg, section 3.3)."""
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


def by_fereg(formula: str, data: pd.DataFrame) -> Callable[[], object] | None:
    try:
        import fereg
    except ImportError:
        return None
    return lambda: fereg.feglm(f"{formula} | id", data, family="logit").se()


def medians(runs: dict[str, Callable[[], object] | None], repeats: int) -> dict[str, float]:
    """Seconds, the runs in turn, so that a slow spell of the machine meets all of them."""
    present = {name: run for name, run in runs.items() if run is not None}
    seconds: dict[str, list[float]] = {name: [] for name in present}
    for turn in range(repeats + 1):
        for name, run in present.items():
            start = time.perf_counter()
            run()
            if turn > 0:  # the first is for imports and caches
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clusters", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")

    example, data = seed_example(), simulate.logit(options.clusters)
    ours_name, peer = f"fixed effects, {options.clusters:,} clusters of 5", "fereg, the same"
    found = medians(
        {
            "fixed effects, 1,000 clusters of 5": ours(cg.fixed_effects, "y ~ x", example),
            ours_name: ours(cg.fixed_effects, simulate.FORMULA, data),
            peer: by_fereg(simulate.FORMULA, data),
            f"conditional, {options.clusters:,} clusters of 5": ours(cg.conditional, simulate.FORMULA, data),
            "conditional, one stratum of 10,000 with 5,000 events": ours(
                cg.conditional, simulate.FORMULA, large_stratum()
            ),
        },
        options.repeats,
    )
    for name, value in found.items():
        print(f"  {name:56s}{value:9.4f} s")
    print(f"  seed's example / glmmboot elsewhere ({GLMMBOOT_SEED_EXAMPLE} s):  "
          f"{found['fixed effects, 1,000 clusters of 5'] / GLMMBOOT_SEED_EXAMPLE:.2f}")  # fmt: skip
    if peer in found:
        print(f"  {options.clusters:,} clusters / fereg in this run:  {found[ours_name] / found[peer]:.2f}")
    if options.clusters == 100_000:
        print(f"  100,000 clusters / fixest elsewhere ({FIXEST} s):  {found[ours_name] / FIXEST:.2f}")

    fit = cg.fixed_effects(simulate.FORMULA, simulate.logit(10_000), cluster="id")
    start = time.process_time()
    fit.test_clustering(n_boot=200, seed=1)
    cpu = time.process_time() - start
    print(f"  200 bootstrap replicates of 10,000 clusters of 5: {cpu:.2f} CPU s, "
          f"1/{GLMMBOOT_REPLICATES / cpu:.0f} of glmmboot's {GLMMBOOT_REPLICATES:.0f} elsewhere")  # fmt: skip


if __name__ == "__main__":
    main()
