"""Studies that other processes can import."""

from __future__ import annotations

import time

import numpy as np

from clusterglm.study.design import Cell, Row


def noisy_mean(cell: Cell, rng: np.random.Generator) -> list[Row]:
    """Two methods; one in ten replicates fails."""
    x = rng.normal(float(cell["mean"]), 1.0, int(cell["n"]))
    if rng.random() < 0.1:
        raise ValueError("unlucky\nsecond line")
    return [{"method": "mean", "estimate": float(x.mean())}, {"method": "median", "estimate": float(np.median(x))}]


def slow_mean(cell: Cell, rng: np.random.Generator) -> list[Row]:
    """`noisy_mean`, slowly enough to be killed."""
    time.sleep(0.02)
    return noisy_mean(cell, rng)
