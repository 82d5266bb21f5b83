"""Densities of the random intercept b in extended precision, with what bounds them on an interval."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import mpmath
import numpy as np

from oracle.response import HALF_LOG_2PI, Long, Values, long


class Intercept(ABC):
    """A density f of b whose highest point is at `mode`, from where it falls on both sides.

    `concave` is an interval outside which log f is convex, or (-inf, inf).
    """

    mode: np.longdouble = Long(0)
    concave: tuple[float, float] = (-np.inf, np.inf)
    tail: float = np.inf
    """Moments of every order below it exist."""

    def __init__(self, sigma: float) -> None:
        self.sigma = Long(sigma)
        self.scale = self.sigma
        """Distance over which the density changes near its centres."""

    @abstractmethod
    def log_density(self, b: Values) -> Values:
        """log f."""

    @abstractmethod
    def slope(self, b: Values) -> Values:
        """(log f)', which falls where log f is concave."""

    def highest(self, u: Values, v: Values) -> Values:
        """The largest log f on [u, v]."""
        return self.log_density(np.clip(self.mode, u, v))

    def lowest(self, u: Values, v: Values) -> Values:
        """The smallest log f on [u, v]."""
        return np.minimum(self.log_density(u), self.log_density(v))

    def bend(self, u: Values, v: Values) -> Values:
        """At least the integral of max(0, -(log f)'') over [u, v]."""
        low, high = (np.clip(x, Long(self.concave[0]), Long(self.concave[1])) for x in (u, v))
        return self.slope(low) - self.slope(high)

    def centres(self) -> tuple[np.longdouble, ...]:
        """Points about which breakpoints are laid, corners among them."""
        return (self.mode,)

    def grid(self, reach: float) -> Values:
        """Breakpoints to start from: at doubling distances from the centres, `reach` and nearly all of f inside."""
        far = max(100.0 * float(self.sigma), 4.0 * reach)
        if self.tail < np.inf:
            far *= 10.0 ** (20.0 / min(self.tail, 1.0))
        steps = [self.scale / 2]
        while steps[-1] < far:
            steps.append(steps[-1] * 2)
        steps = np.array(steps, dtype=Long)
        points = [np.concatenate([c - steps[::-1], [c], c + steps]) for c in self.centres()]
        return np.unique(np.concatenate(points))

    def outside(self, end: np.longdouble) -> np.longdouble:
        """At least log P(b beyond `end`): f falls at least like a power there, of 1 + `tail`."""
        return self.log_density(end) + np.log(np.abs(end)) + max(0.0, -np.log(self.tail))


class Scaled(Intercept):
    """sigma times a standard member: from log f0 and its slope at t = b / sigma."""

    def standard(self, t: Values) -> Values:
        raise NotImplementedError

    def standard_slope(self, t: Values) -> Values:
        raise NotImplementedError

    def log_density(self, b: Values) -> Values:
        return self.standard(b / self.sigma) - np.log(self.sigma)

    def slope(self, b: Values) -> Values:
        return self.standard_slope(b / self.sigma) / self.sigma


class Gaussian(Scaled):
    """sigma is the standard deviation."""

    def standard(self, t: Values) -> Values:
        return -t * t / 2 - HALF_LOG_2PI

    def standard_slope(self, t: Values) -> Values:
        return -t


class Logistic(Scaled):
    """exp(-t) / (1 + exp(-t))^2."""

    def standard(self, t: Values) -> Values:
        return -np.abs(t) - 2 * np.log1p(np.exp(-np.abs(t)))

    def standard_slope(self, t: Values) -> Values:
        return -np.tanh(t / 2)


class Laplace(Scaled):
    """exp(-|t|) / 2, with a corner at 0: always a breakpoint, so that the bend there belongs to no interval."""

    def standard(self, t: Values) -> Values:
        return -np.abs(t) - np.log(Long(2))

    def standard_slope(self, t: Values) -> Values:
        return -np.sign(t)

    def bend(self, u: Values, v: Values) -> Values:
        return np.zeros_like(u)


class StudentT(Scaled):
    """Gamma((df + 1) / 2) / (Gamma(df / 2) sqrt(pi df)) (1 + t^2 / df)^(-(df + 1) / 2)."""

    def __init__(self, sigma: float, df: float) -> None:
        super().__init__(sigma)
        self.df, self.tail = Long(df), float(df)
        root = float(self.sigma * np.sqrt(self.df))
        self.concave = (-root, root)
        self.scale = self.sigma * min(self.df, 1)
        d = mpmath.mpf(df)
        self.constant = long(
            lambda: mpmath.loggamma((d + 1) / 2) - mpmath.loggamma(d / 2) - mpmath.log(mpmath.pi * d) / 2
        )

    def standard(self, t: Values) -> Values:
        return self.constant - (self.df + 1) / 2 * np.log1p(t * t / self.df)

    def standard_slope(self, t: Values) -> Values:
        return -(self.df + 1) * t / (self.df + t * t)


class Cauchy(StudentT):
    """1 / (pi (1 + t^2)), the t distribution with one degree of freedom."""

    def __init__(self, sigma: float) -> None:
        super().__init__(sigma, 1.0)


class Bridge(Intercept):
    """sin(phi pi) / (2 pi (cosh(phi b) + cos(phi pi))), phi = (1 + 3 sigma^2 / pi^2)^(-1/2) (Wang and Louis, 2003)."""

    def __init__(self, sigma: float) -> None:
        super().__init__(sigma)
        with mpmath.workdps(60):
            phi = 1 / mpmath.sqrt(1 + 3 * mpmath.mpf(sigma) ** 2 / mpmath.pi**2)
            gap = mpmath.pi * (1 - phi)
            cosine = mpmath.cos(mpmath.pi * phi)
            if cosine < 0:
                turn = float(mpmath.acosh(-1 / cosine) / phi)
                self.concave = (-turn, turn)
        self.phi = long(lambda: phi)
        self.constant = long(lambda: mpmath.log(mpmath.sin(gap) / (2 * mpmath.pi)))
        self.half = long(lambda: 2 * mpmath.sin(gap / 2) ** 2)  # 1 + cos(phi pi)
        self.scale = long(lambda: min(gap, 1) / phi)

    def _denominator(self, t: Values) -> Values:
        """exp(-|t|) times cosh(t) - 1 + 1 + cos(phi pi)."""
        z = np.exp(-np.abs(t))
        return np.expm1(-np.abs(t)) ** 2 / 2 + z * self.half

    def log_density(self, b: Values) -> Values:
        t = self.phi * b
        return self.constant - np.abs(t) - np.log(self._denominator(t))

    def slope(self, b: Values) -> Values:
        t = self.phi * b
        return self.phi * np.sign(t) * np.expm1(-2 * np.abs(t)) / (2 * self._denominator(t))

    def grid(self, reach: float) -> Values:
        return super().grid(max(reach, 40.0 / float(self.phi)))


class LogGamma(Intercept):
    """exp(b) is gamma with mean 1 and variance sigma^2: k^k / Gamma(k) exp(k (b - e^b)), k = 1 / sigma^2."""

    def __init__(self, sigma: float) -> None:
        super().__init__(sigma)
        with mpmath.workdps(60):
            k = 1 / mpmath.mpf(sigma) ** 2
        self.k = long(lambda: k)
        self.constant = long(lambda: k * mpmath.log(k) - k - mpmath.loggamma(k))

    def log_density(self, b: Values) -> Values:
        small = np.clip(b, Long(-0.125), Long(0.125))
        series, term = np.zeros_like(small), np.ones_like(small)
        for n in range(2, 18):  # exp(b) - 1 - b
            term = term * small / n
            series = series + term
        return self.constant - self.k * np.where(np.abs(b) < 0.125, series * small, np.expm1(b) - b)

    def slope(self, b: Values) -> Values:
        return -self.k * np.expm1(b)

    def grid(self, reach: float) -> Values:
        return super().grid(max(reach, 25.0 / float(self.k)))


class GaussianMixture(Intercept):
    """Two Gaussian parts of one standard deviation s, weights 1 - w and w, means `separation` s apart; variance sigma^2
    and mean 0 in all."""

    def __init__(self, sigma: float, weight: float, separation: float) -> None:
        super().__init__(sigma)
        w, d = Long(weight), Long(separation)
        self.scale = self.part = self.sigma / np.sqrt(1 + w * (1 - w) * d * d)
        self.means = (-w * d * self.part, (1 - w) * d * self.part)
        self.logs = (np.log1p(-w), np.log(w))

    def _parts(self, points: Callable[[np.longdouble], Values]) -> Values:
        terms = [
            log - ((points(mean) - mean) / self.part) ** 2 / 2 for log, mean in zip(self.logs, self.means, strict=True)
        ]
        return np.logaddexp(*terms) - np.log(self.part) - HALF_LOG_2PI

    def log_density(self, b: Values) -> Values:
        return self._parts(lambda mean: b)

    def slope(self, b: Values) -> Values:
        raise NotImplementedError("its parts bound it")

    def highest(self, u: Values, v: Values) -> Values:
        return self._parts(lambda mean: np.clip(mean, u, v))

    def lowest(self, u: Values, v: Values) -> Values:
        return self._parts(lambda mean: np.where(np.abs(u - mean) > np.abs(v - mean), u, v))

    def bend(self, u: Values, v: Values) -> Values:
        return (v - u) / self.part**2  # (log f)'' = -1 / s^2 + a variance

    def centres(self) -> tuple[np.longdouble, ...]:
        return self.means


class HyperbolicSecant(Scaled):
    """sech(pi t / 2) / 2."""

    half_pi = long(lambda: mpmath.pi / 2)

    def standard(self, t: Values) -> Values:
        size = self.half_pi * np.abs(t)
        return -size - np.log1p(np.exp(-2 * size))

    def standard_slope(self, t: Values) -> Values:
        return -self.half_pi * np.tanh(self.half_pi * t)


class Gumbel(Scaled):
    """exp(-z - exp(-z)), z = t - log log 2, so that the median is 0."""

    shift = long(lambda: mpmath.log(mpmath.log(2)))

    def __init__(self, sigma: float) -> None:
        super().__init__(sigma)
        self.mode = self.sigma * self.shift

    def standard(self, t: Values) -> Values:
        z = t - self.shift
        return -z - np.exp(-z)

    def standard_slope(self, t: Values) -> Values:
        return np.expm1(-(t - self.shift))


class SinhNormal(Intercept):
    """b = sinh(sigma z), z standard normal: no scale family, with tails heavier than any exponential."""

    def __init__(self, sigma: float) -> None:
        super().__init__(sigma)
        self.scale = min(self.sigma, Long(1))

    def log_density(self, b: Values) -> Values:
        z = np.arcsinh(b) / self.sigma
        return -z * z / 2 - HALF_LOG_2PI - np.log(self.sigma) - np.log(np.hypot(Long(1), b))

    def slope(self, b: Values) -> Values:
        raise NotImplementedError("its second derivative bounds it")

    def bend(self, u: Values, v: Values) -> Values:
        # -(log f)'' <= 1 / sigma^2 + 1, and not positive beyond 2
        inside = np.clip(v, -2, 2) - np.clip(u, -2, 2)
        return inside * (1 / self.sigma**2 + 1)

    def grid(self, reach: float) -> Values:
        return super().grid(max(reach, float(np.sinh(40 * self.sigma))))


INTERCEPTS: dict[str, Callable[..., Intercept]] = {
    "gaussian": Gaussian,
    "logistic": Logistic,
    "cauchy": Cauchy,
    "laplace": Laplace,
    "bridge": Bridge,
    "log_gamma": LogGamma,
    "student_t": StudentT,
    "gaussian_mixture": GaussianMixture,
    "secant": HyperbolicSecant,
    "gumbel": Gumbel,
    "sinh_normal": SinhNormal,
}


def intercept(name: str, sigma: float, *shape: float) -> Intercept:
    """A density by its name, sigma and shape parameters."""
    return INTERCEPTS[name](sigma, *shape)
