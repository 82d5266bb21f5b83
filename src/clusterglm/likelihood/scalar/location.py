"""The core's description of a random-intercept distribution: m(s, sigma) on the normal or the density scale.

Formulas: docs/explanation/likelihood.md, "The map of the intercept".
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.polynomial.chebyshev import chebder, chebval

from clusterglm import _core
from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.distribution.table import REACH, Table, build, transform
from clusterglm.model.distribution.tabulated import normal_table

_RATIO = 2.0**0.5  # of the ends of a piece in sigma
_IN_SIGMA = 14  # Chebyshev points of a piece in sigma ...
_NEAR_ZERO, _FROM = 6, 0.25  # ... and of the first; they keep away from zero, where m / sigma has few digits


def reach(distribution: Distribution) -> float:
    """How far on the normal scale, to either side, the map follows the distribution; beyond, the intercept is held."""
    if distribution.closed or not distribution.scale_family:
        return REACH
    edges = normal_table(distribution)[0].edges
    return float(min(-edges[0], edges[-1]))


def location_map(distribution: Distribution, scale: str, sigma: float = 1.0) -> _core.LocationMap:
    """Describe `distribution` to the core.

    Parameters
    ----------
    distribution : Distribution
    scale : {"normal", "density", "own"}
        Scale of integration: "own" is the variable of the normal scale with the intercept's own density, whose mode is
        the intercept's.
    sigma : float
        At which the map is to serve, not negative; of no account for scale families.

    Raises
    ------
    OptionError
        When `scale` is "density" and the distribution does not offer it; when a table cannot be made.
    """
    if scale == "density" and not distribution.density_scale:
        raise OptionError(
            f'scale="density" with distribution {distribution.name}',
            "a scale family whose density has a continuous slope, such as the Gaussian or StudentT(4)",
            'scale="normal", the default',
        )
    if scale == "own":
        return _core.own_density(location_map(distribution, "normal", sigma))
    own = distribution.core_map(normal=scale == "normal")
    if own is not None:
        return own
    if not distribution.scale_family:
        return _at_sigma(distribution, sigma)
    table, compressed = normal_table(distribution)
    return _core.scale_table(table.edges, table.jets(4).coefficients, compressed)


@lru_cache(maxsize=16)
def sigma_piece(distribution: Distribution, piece: int) -> Table:
    """m(s, sigma) / sigma at Chebyshev points of a piece in sigma, as Chebyshev coefficients in both.

    Parameters
    ----------
    distribution : Distribution
        Whose shape follows sigma.
    piece : int
        0 for [0, least], k for [2^((k - 1)/2), 2^(k/2)] least, where `least` is the distribution's.

    Returns
    -------
    Table
        Function i holds the coefficients of the i-th Chebyshev polynomial in sigma.
    """
    low, high = _ends(distribution, piece)
    count = _IN_SIGMA if piece > 0 else _NEAR_ZERO
    x = np.cos(np.pi * (np.arange(count) + 0.5) / count)
    sigmas = 0.5 * (low + high) + 0.5 * (high - low) * x

    def function(s: Array) -> Array:
        return np.stack([distribution.location(s, float(sigma)) / sigma for sigma in sigmas])

    table = build(function, distribution.name, -REACH, REACH, distribution.kinks)
    return Table(table.edges, np.tensordot(transform(count), table.coefficients, axes=1))


def _ends(distribution: Distribution, piece: int) -> tuple[float, float]:
    """Between the first and the last Chebyshev point, nearly; the first piece is extrapolated to zero."""
    high = float(distribution.least * _RATIO**piece)
    return high * (1.0 / _RATIO if piece > 0 else _FROM), high


def _at_sigma(distribution: Distribution, sigma: float) -> _core.LocationMap:
    """m = sigma y, r = y + sigma y', v = 2 y' + sigma y'' with y and its derivatives in sigma from the table."""
    least = distribution.least
    piece = 0 if sigma <= least else int(np.ceil(np.log(sigma / least) / np.log(_RATIO)))
    table = sigma_piece(distribution, piece)
    low, high = _ends(distribution, piece)
    x, slope = (2.0 * sigma - low - high) / (high - low), 2.0 / (high - low)
    unit = np.eye(len(table.coefficients))
    weights = np.stack([slope**k * chebval(x, chebder(unit, k)) for k in range(3)])
    y, y1, y2 = np.tensordot(weights, table.coefficients, axes=1)
    m, r, v = sigma * y, y + sigma * y1, 2.0 * y1 + sigma * y2
    fields = [Table(table.edges, part[None]).jets(order).coefficients for part, order in ((m, 4), (r, 3), (v, 2))]
    return _core.map_table(table.edges, np.ascontiguousarray(np.concatenate(fields)))
