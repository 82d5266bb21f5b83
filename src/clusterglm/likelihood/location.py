"""The core's description of a random-intercept distribution: m(s, sigma) on the normal or the density scale."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from clusterglm import _core
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.distribution.student_t import StudentT

_PIECE = 0.25  # width in s of one polynomial of the quantile table
_TERMS = 14  # asinh T is analytic about the real line: 14 terms reach rounding on such a piece
_LARGEST = 1e100  # T beyond this is never needed, and its square must not overflow


def location_map(distribution: Distribution, scale: str) -> _core.LocationMap:
    """Describe `distribution` on `scale` ("normal" or "density") to the core.

    Raises
    ------
    NotImplementedError
        When the core has no file for the distribution.
    """
    normal = scale == "normal"
    if isinstance(distribution, StudentT):
        width, coefficients = quantile_table(distribution)
        return _core.student_t(distribution.df, width, coefficients, normal)
    if distribution.code == "gaussian":
        return _core.gaussian()  # both scales are one
    builders = {"logistic": _core.logistic, "cauchy": _core.cauchy}
    if distribution.code not in builders:
        raise NotImplementedError(f"the core has no distribution {distribution.code!r}")
    return builders[distribution.code](normal)


@lru_cache(maxsize=16)
def quantile_table(distribution: Distribution) -> tuple[float, Array]:
    """Chebyshev coefficients of asinh T(s), T = F^-1 o Phi, on pieces of s >= 0.

    Returns
    -------
    width : float
        Length of a piece.
    coefficients : ndarray, shape (pieces, 14)
        Row i belongs to [i, i + 1] * width.
    """
    x = np.cos(np.pi * (np.arange(_TERMS) + 0.5) / _TERMS)
    edges = np.arange(0.0, 37.0, _PIECE)
    with np.errstate(over="ignore"):
        pieces = max(1, int(np.searchsorted(distribution.quantile_of_normal(edges), _LARGEST)) - 1)
    s = _PIECE * (np.arange(pieces)[:, None] + 0.5 * (x + 1.0))
    values = np.arcsinh(distribution.quantile_of_normal(s))
    basis = np.polynomial.chebyshev.chebvander(x, _TERMS - 1)
    coefficients = 2.0 / _TERMS * (values @ basis)
    coefficients[:, 0] *= 0.5
    return _PIECE, np.ascontiguousarray(coefficients)
