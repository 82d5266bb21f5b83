"""One cell of the study `effects`, everything included, beside R; and what a second worker brings.

    python benchmarks/study.py [--replicates 400] [--r-replicates 20] [--repeats 3]

200 clusters of 5, sigma 1: the pooled model, fixed effects (and corrected), conditional likelihood, Laplace, 8 and
automatic nodes, the score test. In R, where it is installed: lme4's glmer by Laplace and 8 nodes, and glm with dummies.
Seconds of processor time are what other users of the machine disturb least.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from clusterglm.study import run_study
from clusterglm.study.design import generator
from clusterglm.study.effects import METHODS, STUDY, draw, replicate

CELL = {"size": 5, "clusters": 200, "sigma": 1.0, "beta0": 0.0, "beta1": 1.0, "n_boot": 0}
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


def per_method(replicates: int) -> None:
    """Milliseconds of each method, fits that others use counted where they are made first."""
    samples = [draw(CELL, generator(1, 0, r)) for r in range(replicates)]
    for name, method in METHODS.items():
        began = time.process_time()
        for sample in samples:
            method(sample)
        print(f"    {name:20s}{1e3 * (time.process_time() - began) / replicates:8.2f} ms")


def workers(replicates: int, repeats: int) -> None:
    """Whole runs with one and two workers, by processes and by threads: wall time, processor time, best of several."""
    study = STUDY.with_levels([f"{name}={level}" for name, level in CELL.items()])
    for threads in (False, True):
        best: dict[int, float] = {}
        cpu: dict[int, float] = {}
        for _ in range(repeats):
            for number in (1, 2):
                with tempfile.TemporaryDirectory() as folder:
                    marks: list[tuple[float, int]] = []
                    done = run_study(
                        study,
                        replicates,
                        Path(folder) / "out.parquet",
                        workers=number,
                        threads=threads,
                        progress=lambda p, marks=marks: marks.append((time.perf_counter(), p.done)),
                    )
                # from the first batches on, so that starting processes does not count
                first, last = marks[number - 1], marks[-1]
                rate = (last[1] - first[1]) / (last[0] - first[0])
                best[number] = max(rate, best.get(number, 0.0))
                cpu[number] = min(1e3 * done.cpu_seconds / replicates, cpu.get(number, float("inf")))
        kind = "threads" if threads else "processes"
        print(
            f"  {kind}: {1e3 / best[1]:.2f} ms a replicate by one, {1e3 / best[2]:.2f} by two; ratio "
            f"{best[2] / best[1]:.2f}; processor time {cpu[1]:.2f} and {cpu[2]:.2f} ms"
        )


def in_r(replicates: int) -> None:
    """The same fits in R."""
    if shutil.which("Rscript") is None:
        print("  R is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "fits.R"
        script.write_text(R_SCRIPT)
        ran = subprocess.run(["Rscript", str(script), str(replicates)], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        print(f"  R: {ran.stderr.strip().splitlines()[-1]}")
        return
    names = ("glmer, Laplace", "glmer, 8 nodes", "glm with dummies")
    for name, value in zip(names, ran.stdout.split(), strict=True):
        print(f"    R {name:18s}{float(value):8.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--r-replicates", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    replicate(CELL, generator(1, 0, 0))
    before = resource.getrusage(resource.RUSAGE_SELF)
    for r in range(options.replicates):
        replicate(CELL, generator(1, 0, r))
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"one replicate, all methods: {1e3 * seconds / options.replicates:.1f} ms of processor time")
    per_method(options.replicates)
    in_r(options.r_replicates)
    workers(options.replicates, options.repeats)


if __name__ == "__main__":
    main()
