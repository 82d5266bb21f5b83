"""Whether errors that are reported of integrals over several effects hold: random clusters against an oracle.

    python benchmarks/certified_slopes.py [--clusters 5000]

Clusters of two effects: all links, 1 to 40 rows, standard deviations from .1 to 3, covariates of any size. Extreme
ones: 1 to 200 rows, standard deviations to 15, all successes or all failures, responses that the model thinks
impossible. Clusters of three effects. Points are chosen for errors within 1e-8, as for one of a hundred clusters; each
log-integral has to be that of the oracle (`oracle/one_cluster.py`) within the error reported and the rounding of its
sums. Counted apart: errors reported that are larger than what was asked for, and clusters on which the oracle's own
rules disagree.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import record
from oracle import one_cluster
from oracle.two_effects import log_probability

from clusterglm.data.blocks.store import BlockArrays
from clusterglm.likelihood.vector.choice import choose_points
from clusterglm.likelihood.vector.vector import VectorLikelihood
from clusterglm.model.family import response

Array = np.ndarray
LINKS = (("binomial", "logit"), ("binomial", "probit"), ("binomial", "cloglog"), ("poisson", "log"))
TOLERANCE = 1e-8
KINDS = {"random": 2, "extreme": 2, "three": 3}


def cluster(kind: str, seed: np.random.SeedSequence) -> tuple[str, str, Array, Array, Array, Array]:
    """Family, link, responses, linear predictors without effects, columns of effects, factor of their covariance."""
    rng, d = np.random.default_rng(seed), KINDS[kind]
    family, link = LINKS[int(rng.integers(len(LINKS)))]
    extreme = kind == "extreme"
    n = int(np.exp(rng.uniform(0.0, np.log(200.0 if extreme else 40.0))).round())
    sd = np.exp(rng.uniform(np.log(0.1), np.log(15.0 if extreme else 3.0), size=d))
    if link == "log":
        sd = np.minimum(sd, 4.0 if extreme else 1.5)
    factor = np.linalg.cholesky(_correlations(rng, d)) * sd[:, None]
    Z = np.column_stack([np.ones(n), rng.normal(size=(n, d - 1)) * rng.choice([0.1, 1.0, 3.0])])
    eta = rng.choice([-2.0, 0.0, 1.0]) + 0.7 * rng.normal(size=n)
    truth = eta + Z @ (factor @ rng.normal(size=d))
    if link == "log":
        y = rng.poisson(np.exp(np.clip(truth, -30.0, 9.0))).astype(float)
    else:
        y = (np.log(rng.random(n)) < log_probability(link, truth, np.ones(n))[0]).astype(float)
    if extreme:
        what = rng.integers(4)
        if what < 2:
            y = np.full(n, float(what)) if link != "log" else y * what
        elif what == 2:
            eta = eta + rng.choice([-1.0, 1.0]) * rng.uniform(5.0, 20.0)  # far modes
    return family, link, y, eta, Z, factor


def _correlations(rng: np.random.Generator, d: int) -> np.ndarray:
    draws = rng.normal(size=(d, d + 1))
    covariance = draws @ draws.T
    root = np.sqrt(np.diag(covariance))
    return np.asarray(covariance / np.outer(root, root))


def verdict(kind: str, seed: np.random.SeedSequence) -> tuple[str, float]:
    """What became of a cluster, and the difference over what was allowed."""
    family, link, y, eta, Z, factor = cluster(kind, seed)
    n, d = Z.shape
    model = response(family, link)
    b = np.ones(n) if link == "log" else 1.0 - y
    data = BlockArrays(np.array([0, n]), y.copy(), b, eta.copy(), np.ones(1))
    likelihood = VectorLikelihood(np.zeros((n, 1)), Z.copy(), data, model, np.tril(np.ones((d, d), dtype=bool)))
    theta = np.append(0.0, factor[np.tril_indices(d)])
    found = choose_points(likelihood, theta, TOLERANCE)
    value = float(found.values[0])
    if link == "log":
        from scipy.special import gammaln

        value -= float(gammaln(y + 1.0).sum())  # the constant that kernels leave out
    exact, settled = (one_cluster.two if d == 2 else one_cluster.three)(link, y, eta, Z @ factor)
    if not settled:
        return "not judged", np.nan
    rounding = 4e-15 * (1.0 + np.abs(log_probability(link, eta, y)[0]).sum() + abs(exact))
    over = abs(value - exact) / (found.error + rounding + one_cluster.SETTLED)
    if over > 1.0:
        return "outside", over
    return ("inside" if found.error <= TOLERANCE else "inside, error above what was asked for"), over


def clusters(kind: str, number: int, options: argparse.Namespace) -> Iterable[record.Figure]:
    """How many are further off than reported."""
    seeds = np.random.SeedSequence([options.seed, list(KINDS).index(kind)]).spawn(number)
    with ProcessPoolExecutor(options.workers) as pool:
        found = list(pool.map(partial(verdict, kind), seeds, chunksize=10))
    counts = Counter(word for word, _ in found)
    largest = max((over for _, over in found if np.isfinite(over)), default=np.nan)
    note = ", ".join(f"{count:,} {word}" for word, count in counts.most_common())
    words = f"{number:,} {kind} clusters of {KINDS[kind]} effects: log-integrals further off than reported"
    yield record.Figure(
        f"outside_{kind}",
        words,
        counts["outside"],
        "",
        turns=number,
        at_most=0,
        note=f"{note}; largest difference {largest:.2g} of what was allowed",
    )


def random(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Clusters as data have them."""
    return clusters("random", options.clusters, options)


def extreme(options: argparse.Namespace) -> Iterable[record.Figure]:
    """A tenth as many at the edges."""
    return clusters("extreme", options.clusters // 10, options)


def three(options: argparse.Namespace) -> Iterable[record.Figure]:
    """A few of three effects."""
    return clusters("three", options.clusters // 25, options)


if __name__ == "__main__":
    parts = {"random": random, "extreme": extreme, "three": three}
    record.run("certified_slopes", __doc__, {}, long=parts, clusters=5000, seed=1, workers=2)
