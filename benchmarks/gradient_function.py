"""How often the gradient function's test rejects a Gaussian intercept at 5%, where it is Gaussian and where it is not.

    python benchmarks/gradient_function.py --all [--data-sets 200] [--clusters 100] [--size 5] [--replicates 99]

Binomial (logit) data with one covariate; intercepts of standard deviation 1.5, Gaussian or with two mass points (30% at
+2.29, 70% at -0.98). The band is 5% and two Monte Carlo standard errors. Both statistics come from the same replicates.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Iterable
from functools import partial

import numpy as np
import record

import clusterglm as cg
from clusterglm.errors import OptionError
from clusterglm.inference.distribution.gradient_function import _deviations

SD = 1.5


def intercepts(rng: np.random.Generator, clusters: int, truth: str) -> np.ndarray:
    if truth == "gaussian":
        return SD * rng.normal(size=clusters)
    share = 0.3  # (1 - p, -p) / sqrt(p (1 - p)) have mean 0 and variance 1
    high = rng.random(clusters) < share
    return SD * np.where(high, 1.0 - share, -share) / math.sqrt(share * (1.0 - share))


def rejections(truth: str, options: argparse.Namespace) -> Iterable[record.Figure]:
    """Per cent of data sets in which each statistic rejects at 5%."""
    rejected, used, at_zero, failed = np.zeros(2), 0, 0, 0
    ids = np.repeat(np.arange(options.clusters), options.size)
    warnings.simplefilter("ignore")
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
    half = 200.0 * math.sqrt(0.05 * 0.95 / used)
    for name, share in zip(("integral", "supremum"), 100.0 * rejected / used, strict=True):
        yield record.Figure(
            name,
            f"{truth}, {name}: rejects a Gaussian intercept at 5%",
            float(share),
            "%",
            turns=used,
            at_least=round(5.0 - half, 2) if truth == "gaussian" else None,
            at_most=round(5.0 + half, 2) if truth == "gaussian" else None,
            note=f"{used} data sets, {at_zero} at sigma = 0, {failed} replicates failed",
        )


if __name__ == "__main__":
    record.run(
        "gradient_function",
        __doc__,
        {},
        long={truth: partial(rejections, truth) for truth in ("gaussian", "two points")},
        data_sets=200,
        clusters=100,
        size=5,
        replicates=99,
    )
