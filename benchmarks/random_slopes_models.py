"""Random small models with an intercept and a slope of each cluster: is a wrong number ever reported without a word?

    python benchmarks/random_slopes_models.py [--models 5000]

Responses of all links, clusters of 1 to 12 rows, standard deviations from 0 to 2.5, rare successes, constant clusters,
covariates that hardly vary within clusters. A fit may be refused or warn. Otherwise its log-likelihood has to be that
of brute force (`oracle/two_effects.py`) at its estimates, within its reported error and 1e-5, and within 1e-4 of the
best maximum that SciPy finds from elsewhere.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import pandas as pd
import record
from oracle.two_effects import accurate, likelihood, maximum

import clusterglm as cg
from clusterglm.errors import ClusterGLMError

LINKS = (("binomial", "logit"), ("binomial", "probit"), ("binomial", "cloglog"), ("poisson", "log"))
VALUE, TOP = 1e-5, 1e-4
STEP = 0.25  # of the lattices that are maximised, and that judge first ...
FINE = 0.05  # ... and, on the scale of the effects, of the one that judges where these and the fit differ: of skewed
# integrands, which a lattice about the mode cuts off
WIDEST = 4.0  # standard deviation up to which there are hardly skewed integrands, which a lattice may cut off


def model(seed: np.random.SeedSequence) -> tuple[str, str, pd.DataFrame]:
    """A family, a link and data."""
    rng = np.random.default_rng(seed)
    family, link = LINKS[int(rng.integers(len(LINKS)))]
    m = int(rng.integers(6, 40))
    sizes = np.full(m, 1 + rng.integers(12)) if rng.random() < 0.3 else 1 + rng.integers(1, 12, size=m)
    g = np.repeat(np.arange(m), sizes)
    x = rng.normal(size=len(g))
    if rng.random() < 0.2:
        x = rng.normal(size=m)[g] + 0.05 * x  # hardly varies within clusters
    sd = rng.choice([0.0, 0.3, 1.0, 2.5], size=2, p=[0.2, 0.3, 0.4, 0.1])
    if link == "log":
        sd = np.minimum(sd, 1.0)
    rho = rng.uniform(-1.0, 1.0)
    z = rng.normal(size=(m, 2))
    eta = rng.choice([-2.0, -0.5, 0.5]) + 0.5 * x + sd[0] * z[g, 0]
    eta = eta + sd[1] * (rho * z[g, 0] + np.sqrt(1.0 - rho**2) * z[g, 1]) * x
    if link == "log":
        y = rng.poisson(np.exp(np.minimum(eta, 6.0)))
    else:
        y = (rng.random(len(g)) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    return family, link, pd.DataFrame({"y": y, "x": x, "id": g})


def verdict(seed: np.random.SeedSequence) -> str:
    """What became of a model: a word, and of a wrong one the numbers."""
    family, link, data = model(seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fit = cg.random_effects("y ~ x + (x | id)", data, family=family, link=link)
    except ClusterGLMError:
        return "refused"
    except Warning:
        return "warned"
    L = fit.fit.factor
    if np.linalg.norm(L, axis=1).max() > WIDEST:
        return "too wide for the oracle"
    y, ones = data["y"].to_numpy(dtype=float), np.column_stack([np.ones(len(data)), data["x"]])
    starts = np.append(np.flatnonzero(np.diff(data["id"], prepend=-1)), len(data))
    here = np.append(fit.params, [L[0, 0], L[1, 0], L[1, 1]])
    allowed = VALUE + fit.quadrature.error
    there = accurate(link, y, ones, ones, starts, here, STEP)
    if abs(there - fit.loglik) > allowed:
        there = likelihood(link, y, ones, ones, starts, FINE)(here)[0]
    if abs(there - fit.loglik) > allowed:
        return f"value: {fit.loglik:.8f}, by brute force {there:.8f}"
    tails = ([1.0, 0.0, 0.5], [0.3, 0.3, 0.3], [0.5, -0.5, 0.5])
    where = maximum(likelihood(link, y, ones, ones, starts, STEP), [np.append(fit.params, tail) for tail in tails])
    top = accurate(link, y, ones, ones, starts, where, STEP)
    if top > fit.loglik + TOP:
        return f"maximum: {fit.loglik:.6f}, elsewhere {top:.6f} at {where.round(3).tolist()}"
    return "singular" if fit.singular else "right"


def models(options: argparse.Namespace) -> Iterable[record.Figure]:
    """How many reported a wrong number without a word."""
    seeds = np.random.SeedSequence(options.seed).spawn(options.models)
    with ProcessPoolExecutor(options.workers) as pool:
        found = list(pool.map(verdict, seeds, chunksize=10))
    counts = pd.Series([words for words in found if ":" not in words]).value_counts()
    note = ", ".join(f"{count:,} {words}" for words, count in counts.items())
    words = f"{options.models:,} random small models with two effects: wrong without a word"
    wrong = sum(":" in words for words in found)
    yield record.Figure("wrong", words, wrong, "", turns=options.models, at_most=0, note=note)


if __name__ == "__main__":
    record.run("random_slopes_models", __doc__, {}, long={"models": models}, models=5000, seed=1, workers=2)
