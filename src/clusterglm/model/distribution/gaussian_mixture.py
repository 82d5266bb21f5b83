"""Random intercepts from a mixture of two Gaussian distributions."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtri, ndtri_exp

from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array, Jet
from clusterglm.model.distribution.base import Distribution, ShapeParameter
from clusterglm.model.special import log_normal_density

_WIDEST_GAP = 10.0  # separation, in standard deviations of a component: beyond, the two never mix
_SPLIT = 6.0  # the same, where it is estimated: the likelihood hardly tells such parts from two points
_SEARCHES, _GRID = 80, 1001  # of the search for a quantile, and points of a grid to begin it from


@dataclass(frozen=True)
class GaussianMixture(Distribution):
    """Two Gaussian components of one standard deviation, with mean 0 in all; sigma is the standard deviation in all.

    Parameters
    ----------
    weight : float, optional
        Share of the upper component, in (0, 1); estimated if left out.
    separation : float, optional
        Distance of the two means in standard deviations of a component, from 0 (the Gaussian) to 10; estimated, up
        to 6, if left out.

    Raises
    ------
    OptionError
        On other values.

    Notes
    -----
    Skewed unless weight is 1/2: weight and 1 - weight are mirror images, so that sigma >= 0 is no restriction.

    Examples
    --------
    >>> import clusterglm as cg
    >>> cg.GaussianMixture(weight=0.3, separation=3).name
    'gaussian_mixture(0.3, 3)'
    """

    weight: float | None = None
    separation: float | None = None

    code = "gaussian_mixture"
    symmetric = False
    own_scale = True
    density_scale = False

    def __post_init__(self) -> None:
        for field, low, high, words in (
            ("weight", 0.0, 1.0, "a share above 0 and below 1"),
            ("separation", -1e-300, _WIDEST_GAP * (1.0 + 1e-12), f"a distance from 0 to {_WIDEST_GAP:g}"),
        ):
            value = getattr(self, field)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, Real) or not low < float(value) < high:
                raise OptionError(
                    f"GaussianMixture({field}={value!r})",
                    words,
                    "GaussianMixture(0.3, 3), or leave it out to estimate it",
                )
            object.__setattr__(self, field, float(value))

    @property
    def name(self) -> str:
        known = [f"{value:g}" if value is not None else "?" for value in (self.weight, self.separation)]
        return f"gaussian_mixture({', '.join(known)})" if known != ["?", "?"] else "gaussian_mixture"

    @property
    def parameters(self) -> tuple[float, ...]:
        return tuple(value for value in (self.weight, self.separation) if value is not None)

    @property
    def free(self) -> tuple[ShapeParameter, ...]:
        weight = ShapeParameter(
            "weight", -4.5, 4.5, (0.0, 1.3, -1.3), "hardly any cluster is in the upper part", "hardly any in the lower",
            prior="beta(2, 2)",
        )  # fmt: skip
        separation = ShapeParameter(
            "separation", 0.0, _SPLIT, (2.5,), "the parts coincide: the Gaussian", "the parts are two points, nearly"
        )
        wanted = ((weight, self.weight), (separation, self.separation))
        return tuple(parameter for parameter, value in wanted if value is None)

    def with_shape(self, working: Array) -> GaussianMixture:
        values = iter(self.shape(working)[0].tolist())
        weight = self.weight if self.weight is not None else next(values)
        separation = self.separation if self.separation is not None else next(values)
        return GaussianMixture(weight, max(separation, 0.0))

    def shape(self, working: Array) -> tuple[Array, Array]:
        # the working value of the weight is its logit
        values, slopes = np.array(working, dtype=np.float64), np.ones(len(working))
        if self.weight is None:
            values[0] = 1.0 / (1.0 + np.exp(-working[0]))
            slopes[0] = values[0] * (1.0 - values[0])
        return values, slopes

    def by_shape(self, working: Array, t: Array) -> Array:
        member = self.with_shape(working)
        w, _, part = member._parts()
        d, both = member.separation or 0.0, w * (1.0 - w)
        logs, z = member._log_parts(t)
        lower, upper = np.exp(logs - np.logaddexp(logs[0], logs[1]))
        t = np.asarray(t, dtype=np.float64)
        found = []
        if self.weight is None:  # in the logit of the weight; 1 / part^2 = 1 + w (1 - w) d^2, z = t / part - middle
            by_variance = both * (1.0 - 2.0 * w) * d * d
            stretch = 0.5 * by_variance * part * t + both * d
            found.append(
                upper * (1.0 - w) - lower * w - (lower * z[0] + upper * z[1]) * stretch + 0.5 * by_variance * part**2
            )
        if self.separation is None:
            by_variance = 2.0 * both * d
            stretch = 0.5 * by_variance * part * t
            moved = lower * z[0] * (stretch + w) + upper * z[1] * (stretch - (1.0 - w))
            found.append(0.5 * by_variance * part**2 - moved)
        return np.array(found)

    def _parts(self) -> tuple[float, Array, float]:
        """Weight of the upper part, both means, and the standard deviation of each part, for variance 1 in all."""
        if self.weight is None or self.separation is None:
            raise OptionError(
                f"{self.name} where numbers are needed", "a weight and a separation", "GaussianMixture(0.3, 3)"
            )
        w, d = self.weight, self.separation
        part = 1.0 / np.sqrt(1.0 + w * (1.0 - w) * d * d)
        return w, np.array([-w * d, (1.0 - w) * d]) * part, float(part)

    @property
    def sd(self) -> float:
        return 1.0

    def _log_parts(self, t: Array) -> tuple[Array, Array]:
        """log of each part's share of the density at t, shape (2, ...), and the standard deviation's reciprocal."""
        w, means, part = self._parts()
        z = (np.asarray(t, dtype=np.float64) - means.reshape(2, *[1] * np.ndim(t))) / part
        shares = np.log([1.0 - w, w]).reshape(2, *[1] * np.ndim(t))
        return shares + log_normal_density(z) - np.log(part), z

    def log_density(self, t: Array) -> Jet:
        _, means, part = self._parts()
        logs, z = self._log_parts(t)
        value = np.logaddexp(logs[0], logs[1])
        lower, upper = np.exp(logs[0] - value), np.exp(logs[1] - value)
        gap, both = (means[1] - means[0]) / part, lower * upper
        d1 = -(lower * z[0] + upper * z[1]) / part
        d2 = (both * gap**2 - 1.0) / part**2
        d3 = both * (lower - upper) * gap**3 / part**3
        d4 = both * (1.0 - 6.0 * both) * gap**4 / part**4
        return value, d1, d2, d3, d4

    def _log_cdf(self, t: Array, side: float) -> Array:
        """log P(T <= t) for side = 1, log P(T > t) for side = -1."""
        w, means, part = self._parts()
        logs = [
            np.log(share) + log_ndtr(side * (t - mean) / part) for share, mean in zip((1.0 - w, w), means, strict=True)
        ]
        value: Array = np.logaddexp(logs[0], logs[1])
        return value

    def quantile_of_normal(self, s: Array) -> Array:
        # Newton's method for Phi^-1(F(t)) = s from whichever tail is small, between the quantiles of the two parts
        s = np.asarray(s, dtype=np.float64)
        _, means, part = self._parts()
        z = np.clip(s, -37.5, 37.5)
        low, high = means[0] + part * z, means[1] + part * z
        grid = np.linspace(np.min(low, initial=0.0), np.max(high, initial=0.0), _GRID)
        t = np.clip(np.interp(z, self.normal_of(grid), grid), low, high)
        for _ in range(_SEARCHES):
            at = self.normal_of(t)
            low, high = np.where(at < z, t, low), np.where(at > z, t, high)
            slope = np.exp(self.log_density(t)[0] - log_normal_density(at))
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                newton = t - (at - z) / slope
            new = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
            moved, t = np.abs(new - t), new
            if not np.any((moved > 1e-15 * (1.0 + np.abs(t))) & (np.abs(at - z) > 4e-16 * (1.0 + np.abs(z)))):
                break
        return t + part * (s - z)

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
        w, means, part = self._parts()
        upper = rng.random(size) < w
        return np.asarray(np.where(upper, means[1], means[0]) + part * rng.standard_normal(size))

    def log_moment(self, order: float, sigma: float) -> tuple[float, float]:
        w, means, part = self._parts()
        t = order * sigma
        logs = np.log([1.0 - w, w]) + t * means + 0.5 * (t * part) ** 2
        value = float(logsumexp(logs))
        return value, float(order * (np.exp(logs - value) @ means + t * part**2))
