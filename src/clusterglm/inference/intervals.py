"""Wald tests and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import numpy as np
from scipy.special import erfc, ndtri

from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array


def with_sigma(names: Sequence[str]) -> tuple[str, ...]:
    """Names of the coefficients, and "sigma"; a covariate of that name stands in backticks beside it."""
    return (*(f"`{name}`" if name == "sigma" else name for name in names), "sigma")


def wald_p_values(z: Array) -> Array:
    """Two-sided p-values of standard normal statistics, accurate far into the tail.

    Parameters
    ----------
    z : ndarray, any shape

    Returns
    -------
    ndarray, shape of `z`
        nan where `z` is.
    """
    return np.asarray(erfc(np.abs(z) / np.sqrt(2.0)), dtype=np.float64)


def wald_interval(estimate: Array, se: Array, level: float = 0.95) -> tuple[Array, Array]:
    """Normal interval, estimate -+ z se.

    Parameters
    ----------
    estimate, se : ndarray, shape (k,)
    level : float
        Coverage wanted, in (0, 1).

    Returns
    -------
    low, high : ndarray, shape (k,)

    Raises
    ------
    OptionError
        When `level` is out of range.
    """
    half = _quantile(level) * se
    return estimate - half, estimate + half


def wald_interval_of_scale(estimate: float, se: float, level: float = 0.95) -> tuple[float, float]:
    """Normal interval for the logarithm of a scale parameter, transformed back: it stays above zero.

    Returns
    -------
    low, high : float
        nan where the standard error is, or the estimate is not positive.

    Raises
    ------
    OptionError
        When `level` is out of range.
    """
    z = _quantile(level)
    if not (estimate > 0.0 and np.isfinite(se)):
        return np.nan, np.nan
    factor = float(np.exp(z * se / estimate))
    return estimate / factor, estimate * factor


def check_level(level: float) -> float:
    """Return the coverage `level` if it is between 0 and 1.

    Raises
    ------
    OptionError
    """
    if isinstance(level, bool) or not isinstance(level, Real) or not 0.0 < float(level) < 1.0:
        raise OptionError(f"level={level!r}", "a number between 0 and 1", "level=0.95")
    return float(level)


def _quantile(level: float) -> float:
    return float(-ndtri(0.5 * (1.0 - check_level(level))))
