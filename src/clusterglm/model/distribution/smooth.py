"""Random intercepts with a smooth density of any shape: a penalised mixture of Gaussians on a fixed grid.

Komarek and Lesaffre (Computational Statistics and Data Analysis 52, 2008, 3441-3458), whose constraints of mean 0 and
variance 1 hold here for every vector of parameters: the mixture's weights are an exponential family in which these two
moments are matched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from numbers import Real
from typing import ClassVar

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtri, ndtri_exp

from clusterglm.errors import OptionError
from clusterglm.model.arguments import number, shown
from clusterglm.model.arrays import Array, Jet
from clusterglm.model.distribution.base import Distribution, ShapeParameter
from clusterglm.model.special import log_normal_density

SPACING = (
    0.25  # between the means of neighbouring parts, and the standard deviation of each: between them no ripple shows
)
OUTERMOST = 6.0  # of the outermost means, in standard deviations of the whole
MEANS: Array = np.array([SPACING * j for j in range(-int(OUTERMOST / SPACING), int(OUTERMOST / SPACING) + 1)])
COUNT = len(MEANS) - 3  # third differences of the log-weights
FLOOR = 1e-5  # share of a standard normal part, which keeps the density from vanishing: quantiles would jump there
_ALL_MEANS, _ALL_SDS = np.append(MEANS, 0.0), np.append(np.full(len(MEANS), SPACING), 1.0)
_MOMENTS = np.stack([MEANS, np.square(MEANS) - (1.0 - SPACING**2)], axis=1)  # whose means over the weights are 0
_TILTS, _SEARCHES, _POINTS_AT_A_TIME = 200, 80, 20_000
_NO_SPREAD = 1e12  # condition number of the covariance of a mean and a square, over the weights
ROUGHEST = 100.0  # largest third difference of log-weights: no density that data tell has such


@lru_cache(maxsize=1)
def _from_differences() -> Array:
    """Matrix from third differences to the log-weights that have them and no quadratic part, shape (K, K - 3)."""
    return np.array(np.linalg.pinv(np.diff(np.eye(len(MEANS)), n=3, axis=0)), dtype=np.float64)


@dataclass(frozen=True)
class Weights:
    """Weights of the parts at some third differences.

    Parameters
    ----------
    logs : ndarray, shape (K,)
        Logarithms, of weights whose sum is 1.
    slopes : ndarray, shape (K, K - 3)
        Derivatives of `logs` in the third differences.
    """

    logs: Array
    slopes: Array

    @cached_property
    def values(self) -> Array:
        """The weights, shape (K,)."""
        found: Array = np.exp(self.logs)
        return found

    @cached_property
    def all_logs(self) -> Array:
        """Logarithms of the weights of all parts, that of the standard normal one last, shape (K + 1,)."""
        return np.concatenate([self.logs + np.log1p(-FLOOR), [np.log(FLOOR)]])

    def bend(self, gradient: Array) -> Array:
        """Second derivatives of `gradient @ logs` in the third differences, shape (K - 3, K - 3).

        Notes
        -----
        The tilt l(d) keeps E[c], c = (x, x^2 - 1 + step^2), at 0; differentiated twice, Cov(c) l'' is minus the third
        cumulant of c with the two first derivatives.
        """
        w = self.values
        pull = np.linalg.solve((_MOMENTS.T * w) @ _MOMENTS, _MOMENTS.T @ gradient)
        found: Array = -(self.slopes.T * (w * (_MOMENTS @ pull))) @ self.slopes
        # the logarithm of the sum of the weights moves too: its second derivative is the slopes' covariance
        found -= float(gradient.sum()) * (self.slopes.T * w) @ self.slopes
        return found


@lru_cache(maxsize=64)
def weights_of(differences: tuple[float, ...]) -> Weights:
    """The weights with these third differences of their logarithms, mean 0 and variance 1 - step^2.

    Raises
    ------
    OptionError
        When hardly more than two parts keep any weight.

    Notes
    -----
    w_k is proportional to exp(u_k + l1 x_k + l2 x_k^2), u with the given differences; a quadratic has none. The tilt
    (l1, l2) minimises log sum_k exp(u_k + l' c_k), which is convex, by Newton's method.
    """
    u, tilt = _from_differences() @ np.array(differences), np.array([0.0, -0.5 / (1.0 - SPACING**2)])

    def at(tilt: Array) -> tuple[float, Array]:
        logs = u + _MOMENTS @ tilt
        total = float(logsumexp(logs))
        return total, logs - total

    value, logs = at(tilt)
    for _ in range(_TILTS):
        w = np.exp(logs)
        gradient = _MOMENTS.T @ w
        centred = _MOMENTS - gradient
        covariance = (centred.T * w) @ centred
        covariance[np.diag_indices(2)] += (
            1e-12 * np.trace(covariance) + 1e-300
        )  # far from the minimum it may be singular
        step = np.linalg.solve(covariance, gradient)
        decrement = float(gradient @ step)
        share = 1.0
        while share > 1e-12:
            new = at(tilt - share * step)
            if new[0] <= value - 0.25 * share * decrement + 1e-14 * (1.0 + abs(value)):
                break
            share *= 0.5
        tilt, (value, logs) = tilt - share * step, new
        if np.abs(gradient).max() < 1e-15 or decrement < 1e-29:
            break
    w = np.exp(logs)
    centred = _MOMENTS - _MOMENTS.T @ w
    spread = (centred.T * w) @ centred
    if np.abs(_MOMENTS.T @ w).max() > 1e-12 or np.linalg.cond(spread) > _NO_SPREAD:
        raise OptionError(
            "third differences of log-weights that leave weight to hardly more than two of the parts",
            "a density whose mean and variance can be matched",
            "smaller third differences, or a larger smoothness",
        )
    base = _from_differences() - w @ _from_differences()
    tilts = np.linalg.solve(spread, (centred.T * w) @ base)
    return Weights(logs, base - centred @ tilts)


@dataclass(frozen=True)
class Smooth(Distribution):
    """A smooth density of any shape with mean 0 and variance 1: sigma is the intercept's standard deviation.

    A mixture of 49 Gaussians with standard deviation 1/4, whose means lie 1/4 apart from -6 to 6. What is added to the
    log-likelihood is -smoothness / 2 times the sum of the squared third differences of the log-weights: infinite
    smoothness is the Gaussian distribution.

    Parameters
    ----------
    smoothness : float, optional
        Weight of the penalty, above 0; inf is the Gaussian. Chosen by approximate marginal likelihood if left out.
    differences : tuple of float, optional
        The 46 third differences of the log-weights; estimated if left out. What `fit.distribution` has.

    Raises
    ------
    OptionError
        On other values.

    Examples
    --------
    >>> import clusterglm as cg
    >>> cg.Smooth().name, cg.Smooth(smoothness=10).name
    ('smooth', 'smooth(lambda=10)')
    """

    smoothness: float | None = None
    differences: tuple[float, ...] | None = None

    code = "smooth"
    symmetric = False
    own_scale = True
    density_scale = False
    smoothed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.smoothness is not None:
            words = "a weight of the penalty above 0, inf for the Gaussian"
            value = number("smoothness", self.smoothness, 5e-324, np.inf, needed=words, advice="smoothness=10")
            object.__setattr__(self, "smoothness", value)
        if self.differences is None:
            return
        if (
            not isinstance(self.differences, tuple)
            or len(self.differences) != COUNT
            or not all(isinstance(each, Real) and abs(float(each)) <= ROUGHEST for each in self.differences)
        ):
            raise OptionError(
                f"Smooth(differences={shown(self.differences)})",
                f"{COUNT} numbers from -{ROUGHEST:g} to {ROUGHEST:g}, as a tuple",
                "fit.distribution.differences of a fit, or leave it out to estimate it",
            )
        object.__setattr__(self, "differences", tuple(float(each) for each in self.differences))

    @property
    def name(self) -> str:
        if self.smoothness is None or self.differences is not None:
            return "smooth"
        return f"smooth(lambda={self.smoothness:g})"

    @property
    def parameters(self) -> tuple[float, ...]:
        return self.differences or ()

    @property
    def free(self) -> tuple[ShapeParameter, ...]:
        if self.differences is not None:
            return ()
        return (ShapeParameter("density", -ROUGHEST, ROUGHEST, (0.0,), "", ""),)

    def with_shape(self, working: Array) -> Smooth:
        return Smooth(self.smoothness, tuple(np.asarray(working, dtype=np.float64).tolist()))

    def shape(self, working: Array) -> tuple[Array, Array]:
        """Skewness and excess kurtosis, shape (2,), and their derivatives in the third differences, shape (2, k)."""
        weights = weights_of(tuple(np.asarray(working, dtype=np.float64).tolist()))
        cubes = MEANS**3 + 3.0 * MEANS * SPACING**2
        fourth = MEANS**4 + 6.0 * MEANS**2 * SPACING**2 + 3.0 * SPACING**4 - 3.0
        moments = (1.0 - FLOOR) * np.stack([cubes, fourth]) * weights.values
        return moments.sum(axis=1), moments @ weights.slopes

    @property
    def modes(self) -> Array:
        """Where the density has its humps, in units of sigma, ascending; those below 1% of the highest do not count."""
        t = np.linspace(-OUTERMOST, OUTERMOST, 4801)
        f = self.log_density(t)[0]
        tops = np.flatnonzero((f[1:-1] > f[:-2]) & (f[1:-1] >= f[2:])) + 1
        found: Array = t[tops[f[tops] > f.max() + np.log(0.01)]]
        return found

    def by_shape(self, working: Array, t: Array) -> Array:
        t = np.asarray(t, dtype=np.float64)
        weights, flat = weights_of(tuple(working.tolist())), t.ravel()
        found = np.empty((COUNT, len(flat)))
        for first in range(0, len(flat), _POINTS_AT_A_TIME):
            some = slice(first, first + _POINTS_AT_A_TIME)
            logs = log_parts(flat[some], weights.all_logs)
            found[:, some] = weights.slopes.T @ np.exp(logs - logsumexp(logs, axis=0))[:-1]
        return found.reshape(COUNT, *t.shape)

    @property
    def weights(self) -> Weights:
        """The weights of the parts."""
        if self.differences is None:
            raise OptionError(f"{self.name} where a density is needed", "an estimated one", "fit.distribution of a fit")
        return weights_of(self.differences)

    @property
    def sd(self) -> float:
        return 1.0

    def log_density(self, t: Array) -> Jet:
        # moments of each part's slope -z / sd and curvature, over the parts' shares of the density at t
        t = np.asarray(t, dtype=np.float64)
        logs, shape = log_parts(t, self.weights.all_logs), (-1, *[1] * t.ndim)
        value = logsumexp(logs, axis=0)
        shares, sds = np.exp(logs - value), _ALL_SDS.reshape(shape)
        g, c = (_ALL_MEANS.reshape(shape) - t) / sds**2, -1.0 / sds**2
        f1, f2, f3, f4 = (
            (shares * each).sum(axis=0)
            for each in (g, g**2 + c, g**3 + 3.0 * g * c, g**4 + 6.0 * g**2 * c + 3.0 * c**2)
        )
        d2 = f2 - f1**2
        d3 = f3 - 3.0 * f1 * f2 + 2.0 * f1**3
        return value, f1, d2, d3, f4 - 4.0 * f1 * f3 - 3.0 * f2**2 + 12.0 * f1**2 * f2 - 6.0 * f1**4

    def _log_cdf(self, t: Array, side: float) -> Array:
        """log P(T <= t) for side = 1, log P(T > t) for side = -1."""
        shape = (-1, *[1] * np.ndim(t))
        z = (t - _ALL_MEANS.reshape(shape)) / _ALL_SDS.reshape(shape)
        value: Array = logsumexp(self.weights.all_logs.reshape(shape) + log_ndtr(side * z), axis=0)
        return value

    def quantile_of_normal(self, s: Array) -> Array:
        # Newton's method for Phi^-1(F(t)) = s from whichever tail is small, inside a bracket
        s = np.asarray(s, dtype=np.float64)
        z = np.clip(s, -37.5, 37.5)
        low, high = np.minimum(MEANS[0] + SPACING * z, z), np.maximum(MEANS[-1] + SPACING * z, z)
        t = np.clip(np.interp(z, *_roughly(self)), low, high)
        for _ in range(_SEARCHES):
            at = self.normal_of(t)
            low, high = np.where(at < z, t, low), np.where(at > z, t, high)
            slope = np.exp(logsumexp(log_parts(t, self.weights.all_logs), axis=0) - log_normal_density(at))
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                newton = t - (at - z) / slope
            new = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
            moved, t = np.abs(new - t), new
            if not np.any((moved > 1e-15 * (1.0 + np.abs(t))) & (np.abs(at - z) > 4e-16 * (1.0 + np.abs(z)))):
                break
        return t + (s - z)

    def normal_of(self, t: Array) -> Array:
        t = np.asarray(t, dtype=np.float64)
        below, above = self._log_cdf(t, 1.0), self._log_cdf(t, -1.0)
        value: Array = np.where(below < above, ndtri_exp(np.minimum(below, -0.6)), -ndtri_exp(np.minimum(above, -0.6)))
        return value

    def cdf(self, t: Array) -> Array:
        return np.exp(self._log_cdf(np.asarray(t, dtype=np.float64), 1.0))

    def sf(self, t: Array) -> Array:
        return np.exp(self._log_cdf(np.asarray(t, dtype=np.float64), -1.0))

    def quantile(self, probability: Array) -> Array:
        return self.quantile_of_normal(ndtri(probability))

    def rvs(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> Array:
        w = np.exp(self.weights.all_logs)
        part = rng.choice(len(w), size=size, p=w / w.sum())
        return np.asarray(_ALL_MEANS[part] + _ALL_SDS[part] * rng.standard_normal(size))

    def log_moment(self, order: float, sigma: float) -> tuple[float, float]:
        t = order * sigma
        logs = self.weights.all_logs + t * _ALL_MEANS + 0.5 * (t * _ALL_SDS) ** 2
        value = float(logsumexp(logs))
        return value, float(order * (np.exp(logs - value) @ (_ALL_MEANS + t * _ALL_SDS**2)))


@lru_cache(maxsize=8)
def _roughly(distribution: Smooth) -> tuple[Array, Array]:
    """Points on the normal scale, and the quantiles there: where searches for others begin."""
    t = np.concatenate([np.linspace(-38.0, -OUTERMOST - 1.0, 100), np.linspace(-OUTERMOST, OUTERMOST, 1201)])
    t = np.concatenate([t, -t[99::-1]])
    return distribution.normal_of(t), t


def log_parts(t: Array, log_weights: Array) -> Array:
    """log of each part's share of the density at t, shape (K + 1, *t.shape)."""
    shape = (-1, *[1] * np.ndim(t))
    sds = _ALL_SDS.reshape(shape)
    z = (np.asarray(t, dtype=np.float64) - _ALL_MEANS.reshape(shape)) / sds
    logs: Array = log_weights.reshape(shape) + log_normal_density(z) - np.log(sds)
    return logs
