"""Wald tests and intervals."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import CO_VARARGS
from numbers import Real
from typing import ParamSpec, TypeVar, cast

import numpy as np
from scipy.special import erfc, ndtri

from clusterglm.errors import OptionError
from clusterglm.model.arguments import number, shown
from clusterglm.model.arrays import Array

RESAMPLES = ("model", "clusters")
"""What a bootstrap draws."""
INTERVALS = ("percentile", "basic", "normal", "bca")
"""Those that it has."""
P = ParamSpec("P")
R = TypeVar("R")


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
    """Return the coverage `level` if it is from 0.5 to below 1: less is an error probability, given by mistake.

    Raises
    ------
    OptionError
    """
    known = isinstance(level, Real) and not isinstance(level, bool)
    if not known or not 0.5 <= float(level) < 1.0:
        advice = "level=0.95"
        if known and 0.0 < float(level) < 0.5:
            advice = f"level={1.0 - float(level):.6g}, or alpha={level:g}, which says the same"
        elif known and 50.0 <= float(level) < 100.0:
            advice = f"level={float(level) / 100.0:.6g}"
        needed = "the intervals' coverage, a number from 0.5 to below 1"
        raise OptionError(f"level={shown(level)}", needed, advice)
    return float(level)


def with_alpha(function: Callable[P, R]) -> Callable[P, R]:
    """A function of `level` that takes `alpha` as well, with level = 1 - alpha.

    Raises
    ------
    OptionError
        On both, on an `alpha` beyond 0.5, and on a level without its name: elsewhere a first number is alpha.
    """
    code = function.__code__
    places = code.co_argcount if not code.co_flags & CO_VARARGS else 2**31
    name = function.__name__

    @wraps(function)
    def either(*args: P.args, **kwargs: P.kwargs) -> R:
        if len(args) > places:
            got = ", ".join(shown(each) for each in args[places:])
            raise OptionError(
                f"{name}(...) with {got} in a place of its own",
                "level, and all that comes after it, by name",
                f"{name}(level=0.95), or {name}(alpha=0.05), which says the same",
            )
        if "alpha" in kwargs:
            if "level" in kwargs:
                raise OptionError("both level= and alpha=", "one of them: level = 1 - alpha", "level=0.95")
            needed, advice = (
                "a number above 0, up to 0.5: 1 - level",
                "alpha=0.05 for 95% intervals, which is level=0.95",
            )
            kwargs["level"] = 1.0 - number("alpha", kwargs.pop("alpha"), 1e-15, 0.5, needed=needed, advice=advice)
        return function(*args, **kwargs)

    return cast("Callable[P, R]", either)


def _quantile(level: float) -> float:
    return float(-ndtri(0.5 * (1.0 - check_level(level))))
