"""What the timing example says: what profiling saves over dummies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clusterglm.results.findings import CONTRADICTED, NOT_RUN, SUPPORTED, Claim, Findings, Table
from clusterglm.study.summary import mean
from clusterglm.study.tables import Grid, failures_table

if TYPE_CHECKING:
    import pandas as pd

DUMMIES, TABLE, ARRAYS = "dummies, statsmodels", "profiled, table and formula", "profiled, arrays"
SOURCE = "Broström and Holmberg, section 3.3.1"


def findings(table: pd.DataFrame) -> Findings:
    """Times and estimates of each method.

    Parameters
    ----------
    table : DataFrame
        Of the study's Parquet files, with a column `run` that tells them apart.
    """
    grid = Grid(table, (DUMMIES, TABLE, ARRAYS))
    rows = []
    for name, at in grid.cells("clusters", "size"):
        for method in grid.methods:
            part = at.of(method)
            known = part[part.failure.isna()]
            if len(known) > 0:
                slope, error = (f"{known[c].iloc[0]:.6f}" for c in ("slope", "slope_se"))
                times = [f"{1e3 * known[c].median():.4g}" for c in ("seconds", "cpu_seconds")]
                rows.append((name, method, str(len(known)), *times, slope, error))
    columns = ("cell", "method", "n", "ms", "ms of processor", "slope (first replicate)", "standard error")
    caption = "Medians. Times depend on the machine; those on the clock also on what else it does."
    return Findings(
        "An intercept for every cluster: profiled out, or as dummies",
        ("Responses 0 or 1 with probability one half, a standard normal covariate without effect.",),
        (_faster(grid), _same(grid)),
        (),
        (Table("times", "Times", caption, columns, tuple(rows)), failures_table(table)),
    )


def _faster(grid: Grid) -> Claim:
    text = "Profiling takes 0.1 s where a GLM with dummies takes 87 s (about 900 times as long)"
    wide = grid.wide("cpu_seconds", (DUMMIES, TABLE, ARRAYS))
    if len(wide) == 0:
        return Claim(text, SOURCE, NOT_RUN, ("no replicate in which all methods succeeded",))
    ratios = [wide[DUMMIES] / wide[method] for method in (TABLE, ARRAYS)]
    evidence = (
        f"statsmodels takes {mean(wide[DUMMIES])} s of processor time, {ratios[0].median():.0f} times as long as a "
        f"table and a formula, {ratios[1].median():.0f} times as long as arrays ({len(wide)} replicates).",
        "Verdict: more than 100 times as long.",
    )
    return Claim(text, SOURCE, SUPPORTED if ratios[0].median() > 100.0 else CONTRADICTED, evidence, "times")


def _same(grid: Grid) -> Claim:
    text = "Estimates and standard errors are indistinguishable"
    found = []
    for column in ("slope", "slope_se"):
        wide = grid.wide(column, (DUMMIES, ARRAYS))
        if len(wide) == 0:
            return Claim(text, SOURCE, NOT_RUN, ("no replicate in which both methods succeeded",))
        found.append(float(np.abs(wide[DUMMIES] - wide[ARRAYS]).max()))
    evidence = (f"largest difference of the slopes {found[0]:.1g}, of their standard errors {found[1]:.1g}.",)
    return Claim(text, SOURCE, SUPPORTED if max(found) < 1e-4 else CONTRADICTED, evidence, "times")
