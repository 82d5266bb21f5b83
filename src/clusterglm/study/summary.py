"""Numbers of a simulation study with their Monte Carlo standard errors.

After Morris, White and Crowther (Statistics in Medicine 38, 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from clusterglm.model.arrays import Array
from clusterglm.results.findings import Estimate

NOTHING = Estimate(np.nan, np.nan)


@dataclass(frozen=True)
class Accuracy:
    """How estimates lie around the truth.

    Parameters
    ----------
    n : int
        Replicates with an estimate.
    bias, sd, rmse : Estimate
    """

    n: int
    bias: Estimate
    sd: Estimate
    rmse: Estimate


def accuracy(estimates: ArrayLike, truth: float) -> Accuracy:
    """Bias, standard deviation and root mean square error; nan are replicates without an estimate.

    Parameters
    ----------
    estimates : array_like, shape (n,)
    truth : float
    """
    error = _known(estimates) - truth
    n = len(error)
    if n < 2:
        return Accuracy(n, NOTHING, NOTHING, NOTHING)
    sd = float(error.std(ddof=1))
    square = error * error
    rmse = float(np.sqrt(square.mean()))
    # by the delta method from the standard error of the mean square
    rmse_error = float(square.std(ddof=1)) / np.sqrt(n) / (2.0 * rmse) if rmse > 0.0 else 0.0
    # of a standard deviation, by its fourth moment: estimates need not be normal
    variance_error = float(((error - error.mean()) ** 2).std(ddof=1)) / np.sqrt(n)
    return Accuracy(
        n,
        Estimate(float(error.mean()), sd / np.sqrt(n)),
        Estimate(sd, variance_error / (2.0 * sd) if sd > 0.0 else 0.0),
        Estimate(rmse, rmse_error),
    )


def mean(values: ArrayLike) -> Estimate:
    """A mean; nan are left out."""
    known = _known(values)
    if len(known) < 2:
        return NOTHING
    return Estimate(float(known.mean()), float(known.std(ddof=1)) / np.sqrt(len(known)))


def share(outcomes: ArrayLike) -> Estimate:
    """A proportion of replicates; nan are left out.

    Notes
    -----
    The standard error is that of (k + 1) / (n + 2), so that it is not zero where none or all have the property.
    """
    known = _known(outcomes)
    n = len(known)
    if n == 0:
        return NOTHING
    shrunk = (known.sum() + 1.0) / (n + 2.0)
    return Estimate(float(known.mean()), float(np.sqrt(shrunk * (1.0 - shrunk) / n)))


def ratio_of_rmse(errors: ArrayLike, others: ArrayLike) -> Estimate:
    """RMSE of one method over that of another on the same replicates.

    Parameters
    ----------
    errors, others : array_like, shape (n,)
        Estimates less the truth; replicates where either is nan are left out.

    Notes
    -----
    The standard error is the delta method's for the ratio of two means of squares that belong together.
    """
    a, b = np.asarray(errors, dtype=np.float64) ** 2, np.asarray(others, dtype=np.float64) ** 2
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 2 or not b.mean() > 0.0:
        return NOTHING
    ratio = a.mean() / b.mean()
    error = float((a - ratio * b).std(ddof=1)) / np.sqrt(len(a)) / b.mean()
    root = float(np.sqrt(ratio))
    return Estimate(root, error / (2.0 * root) if root > 0.0 else 0.0)


def _known(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]
