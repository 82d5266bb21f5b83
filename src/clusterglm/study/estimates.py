"""Estimates of the study of misspecified intercepts, less the truth."""

from __future__ import annotations

import numpy as np

from clusterglm.model.arrays import Array
from clusterglm.results.findings import Estimate
from clusterglm.study.distribution import BETA
from clusterglm.study.summary import ratio_of_rmse
from clusterglm.study.tables import Grid


def errors(grid: Grid, method: str, assumed: str, column: str, truth: float) -> Array:
    """Estimates less the truth, in the order of replicates; nan where a file does not have the column."""
    rows = grid.of(method)
    rows = rows[rows.assumed == assumed].sort_values(["run", "cell", "replicate"])
    if column not in rows:
        return np.full(len(rows), np.nan)
    return rows[column].to_numpy(dtype=np.float64) - truth


def slope_ratio(grid: Grid, method: str, one: str, other: str) -> Estimate:
    """RMSE of both slopes together, one assumption over another, on the same replicates."""
    found = []
    for assumed in (one, other):
        both = [errors(grid, method, assumed, f"slope{k}", BETA[k]) for k in (1, 2)]
        found.append(np.sqrt((both[0] ** 2 + both[1] ** 2) / 2.0))
    return ratio_of_rmse(found[0], found[1])
