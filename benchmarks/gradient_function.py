"""How often the gradient function's test rejects a Gaussian intercept at 5%, where it is Gaussian and where it is not.

    python benchmarks/gradient_function.py [--data-sets 200] [--clusters 100] [--size 5] [--replicates 99]

Binomial (logit) data with one covariate; intercepts of standard deviation 1.5, Gaussian or with two mass points (30% at
+2.29, 70% at -0.98). The band is 5% and two Monte Carlo standard errors. Both statistics come from the same replicates.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings

import numpy as np

import clusterglm as cg
from clusterglm.errors import OptionError
from clusterglm.inference.gradient_test import _deviations

SD = 1.5


def intercepts(rng: np.random.Generator, clusters: int, truth: str) -> np.ndarray:
    if truth == "gaussian":
        return SD * rng.normal(size=clusters)
    share = 0.3  # (1 - p, -p) / sqrt(p (1 - p)) have mean 0 and variance 1
    high = rng.random(clusters) < share
    return SD * np.where(high, 1.0 - share, -share) / math.sqrt(share * (1.0 - share))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-sets", type=int, default=200)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--size", type=int, default=5)
    parser.add_argument("--replicates", type=int, default=99)
    parser.add_argument("--truths", nargs="+", default=["gaussian", "two points"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    ids = np.repeat(np.arange(options.clusters), options.size)
    for truth in options.truths:
        began, rejected, used, at_zero, failed = time.perf_counter(), np.zeros(2), 0, 0, 0
        for k, seed in enumerate(np.random.SeedSequence(1).spawn(options.data_sets)):
            rng = np.random.default_rng(seed)
            x = rng.normal(size=len(ids))
            eta = 0.5 * x + intercepts(rng, options.clusters, truth)[ids]
            y = (rng.random(len(ids)) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
            fit = cg.random_effects("y ~ x", {"y": y, "x": x, "id": ids}, cluster="id")
            try:
                test = fit.gradient_function(n_boot=options.replicates, seed=k)
            except OptionError:  # sigma = 0
                at_zero += 1
                continue
            used += 1
            failed += sum(count for _, count in test.failures)
            far = _deviations(np.vstack([test.gradient, test.replicates]))
            rejected += [test.pvalue <= 0.05, np.mean(far >= far[0]) <= 0.05]
        seconds = time.perf_counter() - began
        for name, share in zip(("integral", "supremum"), rejected / used, strict=True):
            error = math.sqrt(share * (1.0 - share) / used)
            print(
                f"{truth:>10}, {name:<8}: rejects {100 * share:5.1f}% (Monte Carlo error {100 * error:.1f})", flush=True
            )
        print(
            f"{'':>10}  {used} data sets, {at_zero} at sigma = 0, {failed} replicates failed, {seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
