"""Crossed factors: maxima of the joint Laplace approximation, and certified ones, beside other programs.

    python benchmarks/crossed.py [--turns 3] [--budget 60]

Binary data with a random intercept of each of two factors that cross: 500 persons who answer 50 items each; 5,000
persons who answer a tenth of 100 items; 2,972 students who rate 1,119 lecturers, 73,421 ratings. "Laplace" is what the
others compute: the joint approximation, with its observed information. "Certified" integrates the first factor to a
tolerance, and moves the maximum by importance sampling of the second's effects until the standard error of the
log-likelihood is below .01, as far as so many draws reach. Processor time of one thread, from the table to the result.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import pandas as pd
import record
from peers import glmm, gpboost
from peers.base import Answer

import clusterglm as cg

PEERS = {"glmm": glmm.crossed, "gpboost": gpboost.crossed}


def rated(persons: int, items: int, share: float, seed: int) -> pd.DataFrame:
    """Persons who answer items, each with probability `share`; standard deviations 1 and 0.7."""
    rng = np.random.default_rng(seed)
    person, item = np.repeat(np.arange(persons), items), np.tile(np.arange(items), persons)
    if share < 1.0:
        kept = rng.random(len(person)) < share
        person, item = person[kept], item[kept]
    u, v = rng.normal(size=persons), 0.7 * rng.normal(size=items)
    x = rng.normal(size=len(person))
    return drawn(rng, 0.2 + 0.5 * x + u[person] + v[item], x, person, item)


def lecturers(seed: int = 106) -> pd.DataFrame:
    """Students who rate lecturers, some of whom have few ratings; standard deviations 0.4 and 0.6."""
    rng = np.random.default_rng(seed)
    students, count, n = 2972, 1128, 73421
    popular = rng.gamma(1.2, 1.0, count)
    student, lecturer = np.sort(rng.integers(0, students, n)), rng.choice(count, n, p=popular / popular.sum())
    u, v = 0.4 * rng.normal(size=students), 0.6 * rng.normal(size=count)
    x = (rng.random(n) < 0.4).astype(float)
    return drawn(rng, 0.1 - 0.2 * x + u[student] + v[lecturer], x, student, lecturer)


def drawn(rng: np.random.Generator, eta: np.ndarray, x: np.ndarray, one: np.ndarray, other: np.ndarray) -> pd.DataFrame:
    """Responses with codes from 0 up of both factors, sorted."""
    y = (rng.random(len(eta)) < 1.0 / (1.0 + np.exp(-eta))).astype(np.int64)
    codes = (np.unique(factor, return_inverse=True)[1] for factor in (one, other))
    data = pd.DataFrame({"y": y, "x": x} | dict(zip("pi", codes, strict=True)))
    return data.sort_values(["p", "i"], ignore_index=True)


def fitted(data: pd.DataFrame, quadrature: str) -> Any:
    return cg.random_effects("y ~ x + (1 | p) + (1 | i)", data, inside="p", quadrature=quadrature)


def measured(name: str, data: pd.DataFrame, promises: dict[str, float]) -> record.Measure:
    """Times of both, beside the peers; `promises`: the largest ratios to a peer's time."""

    def part(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
        runs: dict[str, Callable[[], object]] = {
            "Laplace": lambda: fitted(data, "laplace"),
            "certified": lambda: fitted(data, "auto"),
        }
        answers: dict[str, Answer] = {}
        for peer, prepare in PEERS.items():
            if record.installed(peer) is None:
                yield record.Missing(f"{name}, {peer}", "not installed")
                continue
            call = prepare(data)
            runs[peer] = lambda call=call, peer=peer: answers.update({peer: call()})
        seconds = record.in_turns(runs, options.turns, options.budget, clock=time.process_time)
        top, found = fitted(data, "laplace"), fitted(data, "auto").quadrature.outside
        se = top.bse.to_numpy()
        note = f"log-likelihood {top.loglik:.5f}"
        yield record.timed(f"crossed {name}: Laplace", f"{name}, Laplace", seconds["Laplace"], note=note)
        note = (
            f"{found.correction:+.3f} of Laplace outside, standard error {found.standard_error:.2g}; estimates within "
            f"{found.of_estimates:.2g} standard errors; {found.draws:,} draws, {found.share:.0%} effective"
        )
        yield record.timed(f"crossed {name}: certified", f"{name}, certified", seconds["certified"], note=note)
        for peer, answer in answers.items():
            against = f"{peer} {record.installed(peer)}"
            apart = np.abs(answer.estimates - top.params.to_numpy()) / se
            note = f"coefficients within {apart.max():.1g} standard errors of ours"
            yield record.timed(f"crossed {name}: {peer}", f"{name}, {peer}", seconds[peer], against=against, note=note)
            for kind in ("Laplace", "certified"):
                yield record.ratio(
                    f"crossed {name}: {kind} / {peer}",
                    f"{name}, {kind} / {peer}",
                    seconds[kind],
                    seconds[peer],
                    against=against,
                    at_most=promises.get(f"{kind} / {peer}"),
                )

    return part


if __name__ == "__main__":
    glmms = {"Laplace / glmm": 0.1, "certified / glmm": 1.0}
    gpboosts = {"Laplace / gpboost": 0.2, "certified / gpboost": 1.0}
    parts = {
        "persons and items": measured("500 x 50", rated(500, 50, 1.0, 104), glmms),
        "a tenth observed": measured("5,000 x 100, a tenth", rated(5000, 100, 0.1, 105), glmms),
        "lecturers": measured("2,972 x 1,119, 73,421 rows", lecturers(), {**gpboosts, "Laplace / glmm": 1.0 / 30.0}),
    }
    record.run("crossed", __doc__, parts, packages=tuple(PEERS), turns=3, budget=60.0)
