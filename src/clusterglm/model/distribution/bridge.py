"""Bridge-distributed random intercepts: a logit stays a logit when they are integrated out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import erf, ndtr

from clusterglm.model.arrays import Array, Jet
from clusterglm.model.distribution.by_scale import ShapedByScale


@dataclass(frozen=True)
class Bridge(ShapedByScale):
    """The bridge distribution of the logit (Wang and Louis, Biometrika 90, 2003); sigma is its standard deviation.

    With phi = (1 + 3 sigma^2 / pi^2)^(-1/2), logit P(y = 1 | b) = eta + b implies logit P(y = 1) = phi eta. Tails fall
    like exp(-phi |b|), so that E exp(b) is infinite: counts have no mean.

    Examples
    --------
    >>> import clusterglm as cg
    >>> cg.Bridge().sd_of(1.3)
    1.3
    """

    code = "bridge"
    geometric = True
    least = 2.0**-30  # for a small sigma, b is about sigma^2 for most clusters and about sigma for a few

    def location(self, s: Array, sigma: float) -> Array:
        # log(sin(phi pi u) / sin(phi pi (1 - u))) / phi; with p the smaller of u and 1 - u, and psi = pi - phi pi,
        # the larger sine is that of psi + phi pi p; near the centre 2 atanh of a product of two tangents
        s = np.asarray(s, dtype=np.float64)
        phi, psi = _attenuation(sigma)
        size = np.abs(s)
        e = 0.5 * erf(np.minimum(size, 0.5) / np.sqrt(2.0))
        near = 2.0 * np.arctanh(np.tan(phi * np.pi * e) * np.tan(0.5 * psi))
        x = phi * np.pi * ndtr(-np.maximum(size, 0.25))
        far = np.log1p(np.sin(psi) / np.tan(x) - 2.0 * np.sin(0.5 * psi) ** 2)
        value: Array = np.sign(s) * np.where(size < 0.5, near, far) / phi
        return value

    def by_sigma(self, s: Array, sigma: float) -> Array:
        s = np.asarray(s, dtype=np.float64)
        phi, psi = _attenuation(sigma)
        p = ndtr(-np.abs(s))
        x = phi * np.pi * p
        # d/dphi of phi m = pi (u cot(phi pi u) - (1 - u) cot(phi pi (1 - u))) at u = 1 - p
        slope = -np.pi * ((1.0 - p) / np.tan(psi + x) + p / np.tan(x))
        m = np.abs(self.location(s, sigma))
        by_phi = (slope - m) / phi
        value: Array = np.sign(s) * by_phi * (-3.0 * sigma * phi**3 / np.pi**2)
        return value

    def log_density_at(self, b: Array, sigma: float) -> Jet:
        # sin(psi) / (2 pi (cosh t - cos(psi))), t = phi b
        phi, psi = _attenuation(sigma)
        t = phi * np.asarray(b, dtype=np.float64)
        size = np.abs(t)
        # with D = cosh t - cos(psi) = g + h, g = 1 - cos(psi): (log D)' = sinh / D, (log D)'' = (g - h + g h) / D^2,
        # and so on; everything times 2 exp(-|t|), which cannot overflow
        z = np.exp(-size)
        one = 2.0 * z
        g, h = one * 2.0 * np.sin(0.5 * psi) ** 2, np.square(1.0 - z)
        sinh, w = np.sign(t) * (1.0 - z * z), 1.0 / (g + h)
        value = np.log(np.sin(psi) / np.pi) - size - np.log(g + h)
        r1 = sinh * w
        r2 = (one * (g - h) + g * h) * w**2
        r3 = sinh * (one * (h - 3.0 * g) + g * (g - h)) * w**3
        r4 = one**2 * (18.0 * g * h - 3.0 * g**2 - 3.0 * h**2) + one * (g - h) * (g**2 - 10.0 * g * h + h**2)
        r4 = (r4 + g * h * (g**2 - 4.0 * g * h + h**2)) * w**4
        return value, -phi * r1, -(phi**2) * r2, -(phi**3) * r3, -(phi**4) * r4

    def sf_at(self, b: Array, sigma: float) -> Array:
        phi, psi = _attenuation(sigma)
        t = phi * np.asarray(b, dtype=np.float64)
        size = np.abs(t)
        z = np.exp(-size)
        # exp(t) - cos(psi), times exp(-t)
        tail = np.arctan2(np.sin(psi) * z, -np.expm1(-size) + 2.0 * z * np.sin(0.5 * psi) ** 2) / (phi * np.pi)
        value: Array = np.where(t >= 0.0, tail, 1.0 - tail)
        return value

    def cdf_at(self, b: Array, sigma: float) -> Array:
        return self.sf_at(-np.asarray(b, dtype=np.float64), sigma)

    def sd_of(self, sigma: float) -> float:
        return sigma

    def log_moment(self, order: float, sigma: float) -> tuple[float, float]:
        return float("inf"), float("nan")


def _attenuation(sigma: float) -> tuple[float, float]:
    """phi, and psi = pi (1 - phi) without cancellation."""
    ratio = 3.0 * sigma * sigma / np.pi**2
    root = np.sqrt(1.0 + ratio)
    return float(1.0 / root), float(np.pi * ratio / (root * (1.0 + root)))
