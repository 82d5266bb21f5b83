"""Ordered categories with the normal distribution function: intervals of a normal latent variable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr

from clusterglm.model.arrays import Array, Jet
from clusterglm.model.response.binomial_probit import BinomialProbit
from clusterglm.model.response.own.base import Coordinates, KernelRows, Terms
from clusterglm.model.response.own.cumulative import Cumulative

_ROOT_HALF, _ONE_OVER_ROOT_TWO_PI = np.sqrt(0.5), 1.0 / np.sqrt(2.0 * np.pi)


class ProbitInterval(BinomialProbit):
    """Rows a log(Phi(x + b) - Phi(x - b)) where both numbers are positive, and probit rows.

    The half width b of the interval is the kernel's own parameter.
    """

    code = "probit_interval"
    additive = False

    def value(self, eta: Array, a: Array, b: Array) -> Array:
        return _Parts.of(eta, a, b).value

    def derivatives(self, eta: Array, a: Array, b: Array) -> Jet:
        return _Parts.of(eta, a, b).jet()

    def magnitude(self, a: Array, b: Array) -> Array:
        return np.where((a > 0.0) & (b > 0.0), a, a + b)


@dataclass(frozen=True)
class _Parts:
    """u = x + b and v = x - b, phi(u) / D and phi(v) / D with D = Phi(u) - Phi(v); 0 where there is no such end."""

    u: Array
    v: Array
    up: Array
    down: Array
    weight: Array
    inner: NDArray[np.bool_]
    value: Array

    @classmethod
    def of(cls, x: Array, a: Array, b: Array) -> _Parts:
        x, a, b = np.broadcast_arrays(np.asarray(x, dtype=np.float64), a, b)
        inner = (a > 0.0) & (b > 0.0)
        h, weight = np.where(inner, b, 0.0), np.where(inner, a, a + b)
        log_p = np.where(a > 0.0, log_ndtr(x), log_ndtr(-x))
        s = np.abs(x)
        near, far = s - h, s + h
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
            tails = [0.5 * erfcx(np.abs(each) * _ROOT_HALF) for each in (near, far)]
            outside = tails[0] - np.exp(-2.0 * s * h) * tails[1]
            inside = 1.0 - np.exp(-0.5 * near * near) * tails[0] - np.exp(-0.5 * far * far) * tails[1]
            beyond = np.log(np.where(near > 0.0, outside, 1.0)) - 0.5 * near * near
            between = np.where(near > 0.0, beyond, np.log(np.where(near > 0.0, 1.0, inside)))
            log_p = np.where(inner, between, log_p)
            u, v = x + h, x - h
            up, down = (_ONE_OVER_ROOT_TWO_PI * np.exp(-0.5 * each * each - log_p) for each in (u, v))
        return cls(
            u,
            v,
            np.where(inner | (a > 0.0), up, 0.0),
            np.where(inner | (b > 0.0), down, 0.0),
            weight,
            inner,
            np.where(weight > 0.0, weight * log_p, 0.0),
        )

    @property
    def second(self) -> Array:
        """D'' / D."""
        return self.v * self.down - self.u * self.up

    def jet(self) -> Jet:
        u, v, up, down, w = self.u, self.v, self.up, self.down, self.weight
        G, D2 = up - down, self.second
        D3 = (u * u - 1.0) * up - (v * v - 1.0) * down
        D4 = v * (v * v - 3.0) * down - u * (u * u - 3.0) * up
        fourth = D4 - 4.0 * D3 * G - 3.0 * D2 * D2 + 12.0 * D2 * G * G - 6.0 * G**4
        return self.value, w * G, w * (D2 - G * G), w * (D3 - 3.0 * D2 * G + 2.0 * G**3), w * fourth


@dataclass(frozen=True, eq=False, repr=False)
class OrdinalProbit(Cumulative):
    """Cumulative probit: coefficients are shifts of a latent normal variable, in its standard deviations.

    Inner categories are intervals about the middle of their thresholds, with half their distance as the half width.
    """

    link = "probit"
    by_shifts = False
    binary = BinomialProbit()
    no_ratio = BinomialProbit.no_ratio
    latent_variance = BinomialProbit.latent_variance

    def log_probability(self, low: Array, high: Array) -> Array:
        outer = np.where(np.isinf(low), log_ndtr(high), log_ndtr(-low))
        inner = np.isfinite(low) & np.isfinite(high)
        x, h = np.where(inner, -0.5 * (low + high), 0.0), np.where(inner, 0.5 * (high - low), 1.0)
        return np.where(inner, _Parts.of(x, np.ones_like(h), h).value, outer)

    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        y, w, k = self.categories(a, b), np.asarray(b, dtype=np.float64), len(self.values)
        rows, inner = np.arange(len(y)), (y > 0) & (y < k)
        columns = np.zeros((len(y), k))
        columns[rows[y > 0], y[y > 0] - 1] -= np.where(inner, 0.5, 1.0)[y > 0]
        columns[rows[y < k], y[y < k]] -= np.where(inner, 0.5, 1.0)[y < k]
        widths = np.append(0.5 * np.diff(self.thresholds), 1.0)
        groups = np.where(inner, y - 1, -1)
        halves = np.where(inner, widths[groups], np.where(y == 0, w, 0.0))
        shift = columns @ self.thresholds
        return KernelRows(
            ProbitInterval(), np.where(y > 0, w, 0.0), halves, shift, columns=columns, own=k - 1,
            groups=groups if k > 1 else None,
        )  # fmt: skip

    def coordinates(self, psi: Array) -> Coordinates:
        k = len(psi)
        first = np.vstack([np.eye(k), 0.5 * np.diff(np.eye(k), axis=0)])
        return Coordinates(first @ psi, first, np.zeros((2 * k - 1, k, k)))

    def terms(self, psi: Array, a: Array, b: Array, weights: Array | None = None) -> Terms:
        k = len(psi)
        value = -np.inf if np.any(np.diff(psi) <= 0.0) else 0.0
        return Terms(value, np.zeros((len(a), k)), np.zeros((k, k)))

    def own_derivatives(self, x: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
        at = _Parts.of(x, a, b)
        G, W, weight = at.up - at.down, at.up + at.down, np.where(at.inner, at.weight, 0.0)
        mixed = -at.u * at.up - at.v * at.down
        return weight * W, weight * (mixed - G * W), weight * (at.second - W * W)
