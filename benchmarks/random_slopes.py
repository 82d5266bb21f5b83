"""Random slopes and nested factors: one evaluation beside a floor, fits beside the random intercept's and a peer's.

    python benchmarks/random_slopes.py [--clusters 20000] [--few 2000] [--turns 3]

Binary data, clusters of 10; intercept and slope have standard deviations 1 and 0.7 and a correlation of 0.4. The floor
is what NumPy takes for X'WX and one exp per row. Nested: 200 schools of 10 classes of 10. The peer is glmm, which has
Laplace's approximation for both. On one thread; ratios are what counts.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import pandas as pd
import record

import clusterglm as cg
from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.request import Request
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import VectorLikelihood, VectorPart
from clusterglm.model.family import response

SLOPES = np.array([0.8, 0.4, -0.3, 0.2, 0.1])
FORMULA = "y ~ x1 + x2 + x3 + x4 + x5"
RULES: dict[str, str | int] = {"auto": "auto", "7 nodes": 7, "Laplace": "laplace"}


def simulated(clusters: int, seed: int = 1, size: int = 10) -> pd.DataFrame:
    """Responses of clusters with an intercept and a slope of x1 of their own."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(clusters), size)
    X = rng.normal(size=(len(g), len(SLOPES)))
    b = rng.normal(size=(clusters, 2)) @ np.linalg.cholesky([[1.0, 0.28], [0.28, 0.49]]).T
    eta = -0.5 + X @ SLOPES + b[g, 0] + b[g, 1] * X[:, 0]
    data = pd.DataFrame(X, columns=[f"x{k + 1}" for k in range(len(SLOPES))])
    return data.assign(y=(rng.random(len(g)) < 1.0 / (1.0 + np.exp(-eta))).astype(np.int64), id=g)


def floor(data: ModelData) -> Callable[[], object]:
    """X'WX by BLAS and one exp per row."""
    X, beta = data.X, np.full(data.X.shape[1], 0.1)

    def run() -> object:
        p = 1.0 / (1.0 + np.exp(-(X @ beta)))
        return (X * (p * (1.0 - p))[:, None]).T @ X

    return run


def nested(schools: int = 200, seed: int = 1) -> pd.DataFrame:
    """Responses of pupils in classes in schools, ten of each in the next."""
    rng = np.random.default_rng(seed)
    pupil = np.arange(100 * schools)
    school, group = pupil // 100, pupil // 10
    x, z = rng.normal(size=len(pupil)), rng.normal(size=10 * schools)[group]
    eta = -0.3 + 0.7 * x + 0.3 * z + 0.8 * rng.normal(size=schools)[school] + 0.6 * rng.normal(size=10 * schools)[group]
    y = (rng.random(len(pupil)) < 1.0 / (1.0 + np.exp(-eta))).astype(np.int64)
    return pd.DataFrame({"y": y, "x": x, "z": z, "school": school, "group": group})


def several(effects: int, clusters: int = 2_000, seed: int = 1) -> pd.DataFrame:
    """As `simulated`, with independent effects of the intercept and of the first columns."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(clusters), 10)
    X = rng.normal(size=(len(g), len(SLOPES)))
    b = rng.normal(size=(clusters, effects)) * np.array([1.0, 0.7, 0.5, 0.5, 0.4])[:effects]
    eta = -0.5 + X @ SLOPES + b[g, 0] + (b[g, 1:] * X[:, : effects - 1]).sum(axis=1)
    data = pd.DataFrame(X, columns=[f"x{k + 1}" for k in range(len(SLOPES))])
    return data.assign(y=(rng.random(len(g)) < 1.0 / (1.0 + np.exp(-eta))).astype(np.int64), id=g)


def evaluation(options: argparse.Namespace) -> Iterable[record.Figure]:
    logit = response("binomial", "logit")
    data = prepare(f"{FORMULA} + (x1 | id)", simulated(options.clusters), Request(logit, effects=True))
    assert data.effects is not None
    likelihood = VectorLikelihood(data.X, data.effects.Z, data, logit)
    theta = np.concatenate([[-0.5], SLOPES, [1.0, 0.28, 0.64]])
    plan = (VectorPart(hermite_points(8, 2)),)
    runs = {"ours": lambda: likelihood.evaluate(theta, plan), "floor": floor(data)}
    seconds = record.in_turns(runs, options.turns)
    words = "8 x 8 nodes, value, score and Hessian / X'WX and one exp per row"
    yield record.ratio("slopes, one evaluation", words, seconds["ours"], seconds["floor"], against="NumPy")


def fits(options: argparse.Namespace) -> Iterable[record.Figure]:
    for clusters in (options.few, options.clusters):
        data = simulated(clusters)
        runs = {name: _fit(f"{FORMULA} + (x1 | id)", data, RULES[name]) for name in RULES}
        runs["intercept"] = _fit(f"{FORMULA} + (1 | id)", data, "auto")
        seconds = record.in_turns(runs, options.turns)
        for name in RULES:
            words = f"{clusters:,} clusters of 10, slopes, {name} / random intercept"
            yield record.ratio(
                f"slopes {clusters} {name}", words, seconds[name], seconds["intercept"], against="random intercept"
            )


def peers(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    """Ours over the Laplace approximation of glmm: exact integrals, and the same approximation."""
    version = record.installed("glmm")
    if version is None:
        yield record.Missing("glmm", "not installed")
        return
    slopes = f"{FORMULA} + (x1 | id)", f"{FORMULA} + (x1|id)"
    schools = "y ~ x + z + (1 | school/group)", "y ~ x + z + (1|school) + (1|group)"
    workloads = {
        f"{options.few:,} clusters of 10, slopes": (simulated(options.few), slopes, 0.6),
        f"{options.clusters:,} clusters of 10, slopes": (simulated(options.clusters), slopes, 1.0 / 3.0),
        "200 schools of 10 classes of 10": (nested(), schools, 1.0 / 8.0),
    }
    for words, (data, (ours, theirs), most) in workloads.items():
        runs = {rule: _fit(ours, data, RULES[rule]) for rule in ("auto", "Laplace")}
        seconds = record.in_turns({**runs, "glmm": _of_glmm(theirs, data)}, options.turns)
        for rule, limit in (("auto", most), ("Laplace", 0.1)):
            claim = f"{words}: {rule} / glmm's Laplace"
            yield record.ratio(claim, claim, seconds[rule], seconds["glmm"], against=f"glmm {version}", at_most=limit)


def many_effects(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Seconds with three and with five effects."""
    for effects, most in ((3, 2.0), (5, 60.0)):
        columns = " + ".join(f"x{k}" for k in range(1, effects))
        fit = _fit(f"{FORMULA} + ({columns} | id)", several(effects), "auto")
        seconds = record.in_turns({"ours": fit}, min(options.turns, 2))["ours"]
        words = f"2,000 clusters of 10, {effects} correlated effects, auto"
        yield record.timed(f"{effects} effects", words, seconds, at_most=most)


def _fit(formula: str, data: pd.DataFrame, rule: str | int) -> Callable[[], object]:
    control = cg.Control(n_threads=1)
    return lambda: cg.random_effects(formula, data, quadrature=rule, control=control).bse


def _of_glmm(formula: str, data: pd.DataFrame) -> Callable[[], object]:
    import glmm

    groups = {"id", "school", "group"} & set(data.columns)
    columns = {name: data[name].to_numpy(float) for name in data.columns if name not in groups}
    columns |= {name: data[name].astype(str).to_numpy() for name in groups}
    return lambda: glmm.fit(columns, formula, family="binomial", nagq=1)


if __name__ == "__main__":
    parts = {"evaluation": evaluation, "fits": fits, "peers": peers, "many_effects": many_effects}
    record.run("random_slopes", __doc__, parts, clusters=20_000, few=2_000, turns=3)
