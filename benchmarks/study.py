"""One cell of the study `effects`, everything included, beside R; and what a second worker brings.

    python benchmarks/study.py [--replicates 400] [--r-replicates 20] [--turns 3]

200 clusters of 5, sigma 1: the pooled model, fixed effects (and corrected), conditional likelihood, Laplace, 8 and
automatic nodes, the score test. In R, where it is installed: lme4's glmer by Laplace and 8 nodes, and glm with dummies.
Seconds of processor time are what other users of the machine disturb least.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import record

from clusterglm.study import run_study
from clusterglm.study.design import generator
from clusterglm.study.effects import METHODS, STUDY, draw, replicate

CELL = {"size": 5, "clusters": 200, "sigma": 1.0, "beta0": 0.0, "beta1": 1.0, "n_boot": 0, "draws": 0}
R_SCRIPT = """
suppressMessages(library(lme4))
set.seed(1); n <- as.integer(commandArgs(TRUE)[1]); id <- factor(rep(1:200, each = 5)); seconds <- c(0, 0, 0)
user <- function(expression) { t <- system.time(suppressMessages(suppressWarnings(expression))); t[1] + t[2] }
for (r in 1:n) {
  x <- rnorm(1000); y <- rbinom(1000, 1, plogis(x + rnorm(200)[id]))
  seconds[1] <- seconds[1] + user(glmer(y ~ x + (1 | id), family = binomial, nAGQ = 1))
  seconds[2] <- seconds[2] + user(glmer(y ~ x + (1 | id), family = binomial, nAGQ = 8))
  seconds[3] <- seconds[3] + user(glm(y ~ 0 + id + x, family = binomial))
}
cat(1000 * seconds / n)
"""


def per_method(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Milliseconds of each method, fits that others use counted where they are made first."""
    replicate(CELL, generator(1, 0, 0))  # imports
    rounds: dict[str, list[float]] = {name: [] for name in METHODS}
    for turn in range(options.turns):
        # new samples: a sample keeps the fits that were made of it
        samples = [draw(CELL, generator(1, turn, r)) for r in range(options.replicates)]
        for name, method in METHODS.items():
            began = time.process_time()
            for sample in samples:
                method(sample)
            rounds[name].append(time.process_time() - began)
    for name, seconds in rounds.items():
        each = [1e3 * value / options.replicates for value in seconds]
        yield record.measured(name, f"{name}, processor time a replicate", each, "ms")
    whole = [1e3 * sum(values) / options.replicates for values in zip(*rounds.values(), strict=True)]
    yield record.measured("all", "all methods", whole, "ms")


def in_r(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    """The fits of the study, in R."""
    names = ("lme4 glmer, Laplace", "lme4 glmer, 8 nodes", "glm with dummies")
    if shutil.which("Rscript") is None:
        yield record.Missing("R's glmer and glm", "R is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "fits.R"
        script.write_text(R_SCRIPT)
        command = ["Rscript", str(script), str(options.r_replicates)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        yield record.Missing("R's glmer and glm", ran.stderr.strip().splitlines()[-1])
        return
    for name, value in zip(names, ran.stdout.split(), strict=True):
        yield record.Figure(name, f"R: {name}, processor time a replicate", float(value), "ms", against="R")


def workers(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Whole runs with one and two workers, by processes and by threads: replicates a second, from first batches on."""
    study = STUDY.with_levels([f"{name}={level}" for name, level in CELL.items()])
    for threads in (False, True):
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(options.turns):
            for number in rates:
                rates[number].append(_rate(study, options.replicates, number, threads))
        kind = "threads" if threads else "processes"
        gain = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
        yield record.measured(f"workers {kind}", f"two workers / one, {kind}: replicates a second", gain, "times")


def _rate(study: object, replicates: int, number: int, threads: bool) -> float:
    with tempfile.TemporaryDirectory() as folder:
        marks: list[tuple[float, int]] = []
        run_study(
            study,
            replicates,
            Path(folder) / "out.parquet",
            workers=number,
            threads=threads,
            progress=lambda p: marks.append((time.perf_counter(), p.done)),
        )
    first, last = marks[number - 1], marks[-1]
    return (last[1] - first[1]) / (last[0] - first[0])


if __name__ == "__main__":
    record.run(
        "study",
        __doc__,
        {"methods": per_method, "R": in_r, "workers": workers},
        replicates=400,
        r_replicates=20,
        turns=3,
    )
