"""Student-t random intercepts, with given degrees of freedom."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np
from scipy.special import betaincinv, betaln, erf, log_ndtr, ndtr, stdtr, stdtrit

from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array, Jet
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.distribution.cauchy import log_kernel


@dataclass(frozen=True)
class StudentT(Distribution):
    """The t distribution; sigma is its scale parameter. df = 1 is the Cauchy, df = inf would be the Gaussian.

    Parameters
    ----------
    df : float
        Degrees of freedom, above 0 and finite.

    Raises
    ------
    OptionError
        When `df` is not such a number.
    """

    df: float

    code = "student_t"

    def __post_init__(self) -> None:
        if isinstance(self.df, bool) or not isinstance(self.df, Real) or not 0.0 < float(self.df) < np.inf:
            raise OptionError(
                f"StudentT(df={self.df!r})", "degrees of freedom above 0", 'StudentT(4), or distribution="gaussian"'
            )
        object.__setattr__(self, "df", float(self.df))

    @property
    def name(self) -> str:
        return f"student_t({self.df:g})"

    @property
    def parameters(self) -> tuple[float, ...]:
        return (self.df,)

    @property
    def moment_order(self) -> float:
        return self.df

    @property
    def sd(self) -> float:
        return float(np.sqrt(self.df / (self.df - 2.0))) if self.df > 2.0 else np.inf

    def log_density(self, t: Array) -> Jet:
        # f is a power of the Cauchy's kernel at t / sqrt(df)
        root = np.sqrt(self.df)
        k0, k1, k2, k3, k4 = log_kernel(np.asarray(t, dtype=np.float64) / root)
        h = 0.5 * (self.df + 1.0)
        constant = -betaln(0.5, 0.5 * self.df) - np.log(root)
        return constant + h * k0, h * k1 / root, h * k2 / root**2, h * k3 / root**3, h * k4 / root**4

    def quantile_of_normal(self, s: Array) -> Array:
        # P(|T| > t) is a beta integral in x = df / (df + t^2), P(|T| < t) the same in 1 - x: whichever is small;
        # far out x^(df/2) alone is left of the integral, and in logs it cannot underflow
        s = np.asarray(s, dtype=np.float64)
        size = np.abs(s)
        half = 0.5 * self.df
        inside = betaincinv(0.5, half, erf(np.minimum(size, 1.0) / np.sqrt(2.0)))
        outside = betaincinv(half, 0.5, 2.0 * ndtr(-np.clip(size, 0.5, 37.0)))
        log_x = (np.log(2.0 * half) + log_ndtr(-np.maximum(size, 0.5)) + betaln(half, 0.5)) / half
        with np.errstate(divide="ignore", over="ignore"):
            middle = np.where(size < 0.7, np.sqrt(inside / (1.0 - inside)), np.sqrt((1.0 - outside) / outside))
            t = np.where(log_x < -40.0, np.exp(-0.5 * log_x), middle)
            value: Array = np.sign(s) * np.sqrt(self.df) * t
        return value

    def cdf(self, t: Array) -> Array:
        return np.asarray(stdtr(self.df, t), dtype=np.float64)

    def quantile(self, probability: Array) -> Array:
        return np.asarray(stdtrit(self.df, probability), dtype=np.float64)

    def rvs(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> Array:
        return rng.standard_t(self.df, size)
