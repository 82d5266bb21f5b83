"""Student-t random intercepts, with degrees of freedom given or estimated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import betaincinv, betaln, digamma, erf, log_ndtr, ndtr, stdtr, stdtrit

from clusterglm import _core
from clusterglm.errors import OptionError
from clusterglm.model.arguments import number
from clusterglm.model.arrays import Array, Jet
from clusterglm.model.distribution.base import Distribution, ShapeParameter
from clusterglm.model.distribution.cauchy import log_kernel, normal_of_symmetric
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.distribution.table import Table, build
from clusterglm.model.distribution.tabulated import normal_table

_HEAVIEST, _LIGHTEST = 0.01, 1e12  # df of tails whose quantiles float64 still holds, and of none to speak of
_SERIES_BELOW, _OF_X = 0.03, [(-1.0) ** n * (n - 1.0) / n for n in range(2, 12)]  # log(1 + x) - x / (1 + x) over x^2
_FEW_INVERSE = 0.02  # below it the series in its square (Abramowitz and Stegun 6.3.18) is good to the last digits
_OF_SQUARE = [1.0 / 4.0, -1.0 / 8.0, 1.0 / 4.0, -17.0 / 16.0, 31.0 / 4.0]
_FARTHEST_SQUARED = 1e150  # whose square is a number
_LEAST_INVERSE = 1e-8  # 1 / df of a t distribution that float64 can tell from the Gaussian


@dataclass(frozen=True)
class StudentT(Distribution):
    """The t distribution; sigma is its scale parameter. df = 1 is the Cauchy, df = inf would be the Gaussian.

    Parameters
    ----------
    df : float, optional
        Degrees of freedom, from 0.01 to 1e12; estimated, in [1/2, inf], if left out.

    Raises
    ------
    OptionError
        When `df` is not such a number.

    Examples
    --------
    >>> import clusterglm as cg
    >>> bacteria = cg.datasets.load("bacteria")
    >>> fit = cg.random_effects("y ~ week", bacteria, cluster="ID", distribution=cg.StudentT(4))
    >>> fit.distribution.name
    'student_t(4)'
    """

    df: float | None = None

    code = "student_t"

    def __post_init__(self) -> None:
        if self.df is None:
            return
        needed = f"degrees of freedom from {_HEAVIEST:g} to {_LIGHTEST:g}"
        advice = 'StudentT(4), or distribution="gaussian"'
        df = number("StudentT's df", self.df, _HEAVIEST, _LIGHTEST, needed=needed, advice=advice)
        object.__setattr__(self, "df", df)

    @property
    def name(self) -> str:
        return "student_t" if self.df is None else f"student_t({self.df:g})"

    @property
    def parameters(self) -> tuple[float, ...]:
        return () if self.df is None else (self.df,)

    @property
    def free(self) -> tuple[ShapeParameter, ...]:
        if self.df is not None:
            return ()
        ends = "the Gaussian", "tails heavier than these are not tried"
        return (ShapeParameter("df", 0.0, 2.0, (0.2,), *ends, prior="gamma(2, 0.1)", inverse=True),)

    def with_shape(self, working: Array) -> Distribution:
        # the working value is 1 / df, in which the Gaussian is a point like any other
        return StudentT(1.0 / float(working[0])) if working[0] > _LEAST_INVERSE else Gaussian()

    def shape(self, working: Array) -> tuple[Array, Array]:
        with np.errstate(divide="ignore"):
            return 1.0 / working, -1.0 / np.square(working)

    def by_shape(self, working: Array, t: Array) -> Array:
        inverse, square = float(working[0]), np.square(np.clip(t, -_FARTHEST_SQUARED, _FARTHEST_SQUARED))
        x = inverse * square
        near, rest = x < _SERIES_BELOW, np.empty_like(x)
        rest[near] = np.square(square[near]) * np.polynomial.polynomial.polyval(x[near], _OF_X)
        rest[~near] = (np.log1p(x[~near]) - x[~near] / (1.0 + x[~near])) / inverse**2
        found: Array = 0.5 * (rest - square / (1.0 + x)) + _constant_by_inverse(inverse)
        return found[None]

    @property
    def _known(self) -> float:
        if self.df is None:
            raise OptionError("StudentT() where a number is needed", "degrees of freedom", "StudentT(4)")
        return self.df

    @property
    def moment_order(self) -> float:
        return self._known

    @property
    def sd(self) -> float:
        return float(np.sqrt(self._known / (self._known - 2.0))) if self._known > 2.0 else np.inf

    def log_density(self, t: Array) -> Jet:
        # f is a power of the Cauchy's kernel at t / sqrt(df)
        root = np.sqrt(self._known)
        k0, k1, k2, k3, k4 = log_kernel(np.asarray(t, dtype=np.float64) / root)
        h = 0.5 * (self._known + 1.0)
        constant = -betaln(0.5, 0.5 * self._known) - np.log(root)
        return constant + h * k0, h * k1 / root, h * k2 / root**2, h * k3 / root**3, h * k4 / root**4

    def quantile_of_normal(self, s: Array) -> Array:
        # P(|T| > t) is a beta integral in x = df / (df + t^2), P(|T| < t) the same in 1 - x: whichever is small;
        # far out x^(df/2) alone is left of the integral, and in logs it cannot underflow
        s = np.asarray(s, dtype=np.float64)
        size = np.abs(s)
        half = 0.5 * self._known
        inside = betaincinv(0.5, half, erf(np.minimum(size, 1.0) / np.sqrt(2.0)))
        outside = betaincinv(half, 0.5, 2.0 * ndtr(-np.clip(size, 0.5, 37.0)))
        log_x = (np.log(2.0 * half) + log_ndtr(-np.maximum(size, 0.5)) + betaln(half, 0.5)) / half
        with np.errstate(divide="ignore", over="ignore"):
            middle = np.where(size < 0.7, np.sqrt(inside / (1.0 - inside)), np.sqrt((1.0 - outside) / outside))
            t = np.where(log_x < -40.0, np.exp(-0.5 * log_x), middle)
            value: Array = np.sign(s) * np.sqrt(self._known) * t
        return value

    @property
    def tail(self) -> float:
        return self._known

    @property
    def spread(self) -> float:
        return float(np.sqrt(self._known))

    def normal_of(self, t: Array) -> Array:
        return normal_of_symmetric(self.sf, t)

    def cdf(self, t: Array) -> Array:
        return np.asarray(stdtr(self._known, t), dtype=np.float64)

    def quantile(self, probability: Array) -> Array:
        return np.asarray(stdtrit(self._known, probability), dtype=np.float64)

    def rvs(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> Array:
        return rng.standard_t(self._known, size)

    def core_map(self, *, normal: bool) -> _core.LocationMap:
        table = _half_table(self)
        return _core.student_t(self._known, table.edges, table.coefficients, normal)


def _constant_by_inverse(inverse: float) -> float:
    """Derivative of the logarithm of the density's constant in 1 / df; for many df by the series of the digamma."""
    if inverse < _FEW_INVERSE:
        return -float(np.polynomial.polynomial.polyval(inverse**2, _OF_SQUARE))
    df = 1.0 / inverse
    return -0.5 * df * float(df * (digamma(0.5 * (df + 1.0)) - digamma(0.5 * df)) - 1.0)


@lru_cache(maxsize=32)
def _half_table(distribution: StudentT) -> Table:
    """asinh T(s) for s >= 0."""
    table, _ = normal_table(distribution)

    def function(s: Array) -> Array:
        return np.arcsinh(distribution.quantile_of_normal(s))[None, :]

    return build(function, distribution.name, 0.0, float(table.edges[-1]))
