"""Densities of single parameters: logs with two derivatives, in words, and drawn from.

Those of a standard deviation are densities of its logarithm x, and those of a shape of the logit x of its place in its
range, the Jacobian included.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.special import betaln, expit, gammaincc, gammainccinv, gammaln, log_expit

from clusterglm.model.arrays import Array

D = TypeVar("D", bound="Density")


class Terms(NamedTuple):
    """A log-density and its first two derivatives."""

    value: float
    first: float
    second: float


class Density(ABC):
    """Of one parameter x, any real number."""

    proper = True
    """Whether it has an integral."""

    @abstractmethod
    def terms(self, x: float) -> Terms:
        """Log-density, normalised where it is proper, with two derivatives."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """Values of x, shape (n,)."""

    @abstractmethod
    def per(self: D, unit: float) -> D:
        """The density of what was measured in units so many times larger: scales are divided by `unit`."""

    def about(self: D, centre: float) -> D:
        """The density of what is so much larger; of coefficients alone."""
        return self

    @abstractmethod
    def __str__(self) -> str:
        """In words."""


@dataclass(frozen=True)
class Normal(Density):
    """Normal with a location and a standard deviation."""

    location: float
    scale: float

    def terms(self, x: float) -> Terms:
        """See `Density`."""
        z = (x - self.location) / self.scale
        return Terms(
            -0.5 * z * z - float(np.log(self.scale)) - 0.5 * float(np.log(2.0 * np.pi)),
            -z / self.scale,
            -1.0 / self.scale**2,
        )

    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """See `Density`."""
        return self.location + self.scale * rng.standard_normal(n)

    def per(self, unit: float) -> Normal:
        """See `Density`."""
        return Normal(self.location / unit, self.scale / unit)

    def about(self, centre: float) -> Normal:
        """See `Density`."""
        return replace(self, location=self.location + centre)

    def __str__(self) -> str:
        return f"normal with mean {self.location:.4g} and sd {self.scale:.4g}"


@dataclass(frozen=True)
class StudentT(Density):
    """Student's t with degrees of freedom, a location and a scale."""

    df: float
    location: float
    scale: float

    def terms(self, x: float) -> Terms:
        """See `Density`."""
        v, z = self.df, (x - self.location) / self.scale
        constant = gammaln(0.5 * (v + 1.0)) - gammaln(0.5 * v) - 0.5 * np.log(v * np.pi) - np.log(self.scale)
        below = v + z * z
        return Terms(
            float(constant - 0.5 * (v + 1.0) * np.log1p(z * z / v)),
            -(v + 1.0) * z / below / self.scale,
            -(v + 1.0) * (v - z * z) / below**2 / self.scale**2,
        )

    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """See `Density`."""
        return self.location + self.scale * rng.standard_t(self.df, n)

    def per(self, unit: float) -> StudentT:
        """See `Density`."""
        return StudentT(self.df, self.location / unit, self.scale / unit)

    def about(self, centre: float) -> StudentT:
        """See `Density`."""
        return replace(self, location=self.location + centre)

    def __str__(self) -> str:
        return f"Student-t with {self.df:g} df about {self.location:.4g}, scale {self.scale:.4g}"


@dataclass(frozen=True)
class Flat(Density):
    """All values alike, which is no distribution."""

    proper = False

    def terms(self, x: float) -> Terms:
        """See `Density`."""
        return Terms(0.0, 0.0, 0.0)

    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """See `Density`: there is nothing to draw from."""
        raise NotImplementedError("a flat prior is no distribution")

    def per(self, unit: float) -> Flat:
        """See `Density`."""
        return self

    def __str__(self) -> str:
        return "flat"


@dataclass(frozen=True)
class HalfNormal(Density):
    """Of a standard deviation: that of the absolute value of a normal variable."""

    scale: float

    def terms(self, x: float) -> Terms:
        """See `Density`."""
        z2 = float(np.exp(2.0 * (x - np.log(self.scale))))
        constant = 0.5 * float(np.log(2.0 / np.pi)) - float(np.log(self.scale))
        return Terms(constant - 0.5 * z2 + x, 1.0 - z2, -2.0 * z2)

    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """See `Density`."""
        return np.log(self.scale * np.abs(rng.standard_normal(n)))

    def per(self, unit: float) -> HalfNormal:
        """See `Density`."""
        return HalfNormal(self.scale / unit)

    def __str__(self) -> str:
        return f"half-normal, scale {self.scale:.4g}"


@dataclass(frozen=True)
class HalfT(Density):
    """Of a standard deviation: that of the absolute value of a t variable."""

    df: float
    scale: float

    def terms(self, x: float) -> Terms:
        """See `Density`."""
        v, y = self.df, 2.0 * (x - float(np.log(self.scale))) - float(np.log(self.df))
        constant = np.log(2.0) + gammaln(0.5 * (v + 1.0)) - gammaln(0.5 * v) - 0.5 * np.log(v * np.pi)
        share = float(expit(y))  # z^2 / (v + z^2)
        return Terms(
            float(constant - np.log(self.scale) + 0.5 * (v + 1.0) * log_expit(-y)) + x,
            1.0 - (v + 1.0) * share,
            -2.0 * (v + 1.0) * share * (1.0 - share),
        )

    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """See `Density`."""
        return np.log(self.scale * np.abs(rng.standard_t(self.df, n)))

    def per(self, unit: float) -> HalfT:
        """See `Density`."""
        return HalfT(self.df, self.scale / unit)

    def __str__(self) -> str:
        return f"half-t with {self.df:g} df, scale {self.scale:.4g}"


@dataclass(frozen=True)
class Exponential(Density):
    """Of a standard deviation; `known` says of the penalised-complexity prior what it was made from."""

    rate: float
    known: tuple[float, float] | None = None

    def terms(self, x: float) -> Terms:
        """See `Density`."""
        z = float(np.exp(x + np.log(self.rate)))
        return Terms(float(np.log(self.rate)) - z + x, 1.0 - z, -z)

    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """See `Density`."""
        return np.log(rng.standard_exponential(n) / self.rate)

    def per(self, unit: float) -> Exponential:
        """See `Density`."""
        known = None if self.known is None else (self.known[0] / unit, self.known[1])
        return replace(self, rate=self.rate * unit, known=known)

    def __str__(self) -> str:
        if self.known is None:
            return f"exponential, rate {self.rate:.4g}"
        return f"exponential with P(value > {self.known[0]:.4g}) = {self.known[1]:g} (penalised complexity)"


@dataclass(frozen=True)
class LogisticBeta(Density):
    """logistic(slope x + shift) has a beta distribution.

    What LKJ priors say of correlations in `BetaShare`, and what is said of the place of a shape in its range.
    """

    a: float
    b: float
    slope: float
    shift: float
    words: str

    def terms(self, x: float) -> Terms:
        """See `Density`."""
        y, c = self.slope * x + self.shift, self.slope
        share, both = float(expit(y)), self.a + self.b
        value = self.a * log_expit(y) + self.b * log_expit(-y) - betaln(self.a, self.b) + np.log(c)
        return Terms(float(value), c * (self.a - both * share), -c * c * both * share * (1.0 - share))

    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """See `Density`."""
        # the log of a ratio of gammas keeps its digits at the ends
        y = np.log(rng.standard_gamma(self.a, n)) - np.log(rng.standard_gamma(self.b, n))
        return np.asarray((y - self.shift) / self.slope)

    def per(self, unit: float) -> LogisticBeta:
        """See `Density`: correlations and shapes have no unit."""
        return self

    def __str__(self) -> str:
        return self.words


def of_place(a: float, b: float) -> LogisticBeta:
    """Of a shape: a beta distribution of the place of its working value between the ends of the range."""
    return LogisticBeta(a, b, 1.0, 0.0, f"beta({a:g}, {b:g}) of its place in its range")


@dataclass(frozen=True)
class GammaOfInverse(Density):
    """Of a shape whose working value, 1 over it, is in (0, `most`): a gamma distribution of it, above 1 / `most`."""

    shape: float
    rate: float
    most: float = np.inf

    def terms(self, x: float) -> Terms:
        """See `Density`."""
        place, rest = float(expit(x)), float(expit(-x))
        log_value = -float(np.log(self.most)) - float(log_expit(x))
        pull = self.rate * float(np.exp(min(log_value, 700.0)))
        above = float(np.log(gammaincc(self.shape, self.rate / self.most)))
        constant = self.shape * float(np.log(self.rate)) - float(gammaln(self.shape)) - above
        return Terms(
            constant + self.shape * log_value - pull + float(log_expit(-x)),
            rest * (pull - self.shape) - place,
            place * rest * (self.shape - 1.0) - rest * pull,
        )

    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """See `Density`."""
        above = gammaincc(self.shape, self.rate / self.most)
        place = self.rate / (self.most * gammainccinv(self.shape, above * rng.random(n)))
        return np.asarray(np.log(place) - np.log1p(-place))

    def per(self, unit: float) -> GammaOfInverse:
        """See `Density`: shapes have no unit."""
        return self

    def __str__(self) -> str:
        return f"gamma with shape {self.shape:g} and rate {self.rate:g}, above {1.0 / self.most:.4g}"
