"""Rising factorials: log(s (s + 1) ... (s + k - 1)) and its derivatives in log(s), with all their digits for any s."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clusterglm.model.arrays import Array

_FIRST = 8  # factors that are taken one by one
_LOG_GAMMA = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
# minus the digamma function, and its derivatives, have these coefficients of z^-2, z^-4, ...
_SERIES = (
    (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160),
    (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510),
    (1 / 2, -1 / 6, 1 / 6, -3 / 10, 5 / 6, -691 / 210, 35 / 2, -3617 / 30),
    (2.0, -1.0, 4 / 3, -3.0, 10.0, -691 / 15, 280.0, -3617 * 18 / 30),
)


class Rising(NamedTuple):
    """The logarithm of a rising factorial, and its derivatives in log(s); arrays of one shape.

    Parameters
    ----------
    rest : ndarray
        The logarithm, less log(s) where there is a factor.
    d1, d2, d3, d4 : ndarray
    """

    rest: Array
    d1: Array
    d2: Array
    d3: Array
    d4: Array


def log_rising(s: Array, k: Array) -> Array:
    """log Gamma(s + k) - log Gamma(s) for counts k from 0 on and s above 0 (shapes broadcast)."""
    with np.errstate(divide="ignore"):
        return np.where(np.asarray(k) > 0.0, np.log(s), 0.0) + rising(s, k).rest


def rising(s: Array, k: Array) -> Rising:
    """The logarithm of s (s + 1) ... (s + k - 1), and its derivatives; see the core's `response/rising.hpp`.

    Parameters
    ----------
    s : ndarray
        Above 0, finite.
    k : ndarray
        Whole numbers from 0 on; the two broadcast.
    """
    s, k = np.broadcast_arrays(np.asarray(s, dtype=np.float64), np.asarray(k, dtype=np.float64))
    some, z = k > 0.0, s + _FIRST
    product, d = np.ones(s.shape), np.zeros((4, *s.shape))
    d[0] = some
    for i in range(1, _FIRST):
        there = k > i
        if not there.any():
            break
        factor = s + i
        product = product * np.where(there, factor / z, 1.0)
        v, u = np.where(there, s / factor, 0.0), i / factor
        d += v, v * u, v * u * (u - v), v * u * (1.0 - 6.0 * v * u)
    rest = np.asarray(np.where(some, np.minimum(k, _FIRST) - 1.0, 0.0) * np.log(z) + np.log(product))
    far = k > _FIRST
    if far.any():
        more, of_far = _far(s[far], k[far] - _FIRST)
        rest[far] += more
        d[:, far] += of_far
    return Rising(rest, *d)


def _far(s: Array, n: Array) -> tuple[Array, Array]:
    """What the n factors from s + 8 on add, by Stirling's series: to the value, and to the four derivatives."""
    z, w = s + _FIRST, s + _FIRST + n
    iz, iw = 1.0 / z, 1.0 / w
    grown, zz, ww = np.log1p(n * iz), iz * iz, iw * iw
    gap = n * iz * iw  # 1/z - 1/w; then those of squares, cubes and fourth powers
    square, cube = gap * (iz + iw), gap * (zz + iz * iw + ww)
    fourth = square * (zz + ww)
    value = (z - 0.5) * grown + n * np.log(w) - n
    value += iw * _polynomial(ww, _LOG_GAMMA) - iz * _polynomial(zz, _LOG_GAMMA)
    leading = (grown + 0.5 * gap, -gap - 0.5 * square, square + cube, -2.0 * cube - 3.0 * fourth)
    e = []
    for order, (first, series) in enumerate(zip(leading, _SERIES, strict=True), start=1):
        at_z, at_w = (x ** (order + 1) * _polynomial(x * x, series) for x in (iz, iw))
        e.append(s**order * (first + (at_z - at_w) * (-1.0) ** (order - 1)))
    return value, np.stack([e[0], e[0] + e[1], e[0] + 3 * e[1] + e[2], e[0] + 7 * e[1] + 6 * e[2] + e[3]])


def _polynomial(z: Array, coefficients: tuple[float, ...]) -> Array:
    total = np.zeros_like(z)
    for each in reversed(coefficients):
        total = total * z + each
    return total
