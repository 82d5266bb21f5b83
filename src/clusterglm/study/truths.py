"""From what distributions the studies draw intercepts: those of the package, and two that no model assumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from clusterglm.model.arrays import Array
from clusterglm.model.distribution import distribution

_FROM_MIDDLE = 3.0  # standard deviations of a hump, from either of two to the middle


@dataclass(frozen=True)
class Truth:
    """The standard member of a distribution of intercepts.

    Parameters
    ----------
    draw : callable
        (random generator, number) -> draws.
    cdf : callable
        Of values, shape (n,).
    """

    draw: Callable[[np.random.Generator, int], Array]
    cdf: Callable[[Array], Array]


def truth(name: str) -> Truth:
    """By name; "skewed" and "bimodal" have mean 0 and standard deviation 1.

    Raises
    ------
    OptionError
        For a name that neither this file nor the package has.
    """
    if name in _TRUTHS:
        return _TRUTHS[name]
    known = distribution(name)
    return Truth(known.rvs, known.cdf)


def _exponential(rng: np.random.Generator, n: int) -> Array:
    return rng.standard_exponential(n) - 1.0


def _exponential_cdf(t: Array) -> Array:
    return -np.expm1(-np.maximum(t + 1.0, 0.0))


def _two_humps(rng: np.random.Generator, n: int) -> Array:
    side = 2.0 * rng.integers(0, 2, n) - 1.0
    return np.asarray((_FROM_MIDDLE * side + rng.standard_normal(n)) / np.hypot(_FROM_MIDDLE, 1.0))


def _two_humps_cdf(t: Array) -> Array:
    at = t * np.hypot(_FROM_MIDDLE, 1.0)
    return np.asarray(0.5 * (ndtr(at - _FROM_MIDDLE) + ndtr(at + _FROM_MIDDLE)))


_TRUTHS = {"skewed": Truth(_exponential, _exponential_cdf), "bimodal": Truth(_two_humps, _two_humps_cdf)}
OTHERS = tuple(_TRUTHS)
"""Truths that no model assumes."""
