"""The example of section 3.3.1 of Holmberg's thesis: an intercept for each of 1000 clusters of five, or dummies.

    y_ij ~ Bernoulli(1/2),  x_ij ~ N(0, 1)

In R (2011) `glm` with dummies took 87.5 seconds and `glmmboot` 0.097; estimates were "indistinguishable". Here the same
by statsmodels' GLM with dummies and by `cg.fixed_effects`, from a table and a formula, and from arrays.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np

from clusterglm.data.arrays import from_arrays
from clusterglm.errors import StudyError
from clusterglm.fit.fixed_effects import fit_fixed_effects
from clusterglm.model.arrays import Array
from clusterglm.study.design import Cell, Row, Study, attempt
from clusterglm.study.methods import CONTROL, LOGIT, check_whole


def dummies(x: Array, y: Array, ids: Array) -> tuple[float, float]:
    """A GLM with a dummy for each cluster."""
    import statsmodels.api as sm

    X = np.column_stack([ids[:, None] == np.unique(ids), x]).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clusters with equal responses: fitted probabilities of 0 and 1
        fit = sm.GLM(y, X, family=sm.families.Binomial()).fit()
    return float(fit.params[-1]), float(fit.bse[-1])


def profiled_table(x: Array, y: Array, ids: Array) -> tuple[float, float]:
    """A table and a formula."""
    import pandas as pd

    from clusterglm.api.within import fixed_effects

    fit = fixed_effects("y ~ x", pd.DataFrame({"y": y, "x": x, "group": ids}), cluster="group")
    return float(fit.params["x"]), float(fit.bse["x"])


def profiled_arrays(x: Array, y: Array, ids: Array) -> tuple[float, float]:
    """Arrays."""
    data = from_arrays(y, x[:, None], np.bincount(ids.astype(np.int64)), LOGIT)
    fit = fit_fixed_effects(data, LOGIT, None, CONTROL)
    return float(fit.beta[0]), float(np.sqrt(fit.covariance[0, 0]))


METHODS: dict[str, Callable[[Array, Array, Array], tuple[float, float]]] = {
    "dummies, statsmodels": dummies,
    "profiled, table and formula": profiled_table,
    "profiled, arrays": profiled_arrays,
}


def timed(method: Callable[[Array, Array, Array], tuple[float, float]], *data: Array) -> Row:
    """Slope, its standard error, and what they took; the second of two runs where the first is quick."""
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        slope, std_error = method(*data)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if wall > 2.0:  # imports no longer matter
            break
    return {"slope": slope, "slope_se": std_error, "seconds": wall, "cpu_seconds": cpu}


def replicate(cell: Cell, rng: np.random.Generator) -> list[Row]:
    """One data set, fitted by each."""
    clusters, size = int(cell["clusters"]), int(cell["size"])
    y = rng.integers(0, 2, clusters * size).astype(np.float64)
    x = rng.standard_normal(clusters * size)
    ids = np.repeat(np.arange(clusters), size).astype(np.float64)
    return [attempt(name, partial(timed, method, x, y, ids)) for name, method in METHODS.items()]


def check(cell: Cell) -> None:
    """Refuse what cannot be run."""
    check_whole(cell, size=2, clusters=2)
    try:
        import statsmodels.api  # noqa: F401
    except ImportError:
        raise StudyError("the study timing without statsmodels", "it", "pip install statsmodels") from None


STUDY = Study(name="timing", factors={"clusters": [1000], "size": [5]}, replicate=replicate)
