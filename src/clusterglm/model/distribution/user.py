"""Random intercepts from a distribution that the user supplies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr

from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array, Jet
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.distribution.by_scale import ShapedByScale
from clusterglm.model.distribution.tabulated import Tabulated
from clusterglm.model.special import log_normal_density

_TRIED = np.linspace(0.0, 8.0, 65)  # where the functions are tried, on the normal scale
_SIGMAS = (0.1, 0.5, 1.0, 2.0)
_AGREES = 1e-6  # density and slope of the quantile function, in logs


def UserDistribution(  # noqa: N802 - stands beside the classes that are distributions
    name: str,
    quantile: Callable[..., Array],
    *,
    upper_quantile: Callable[..., Array] | None = None,
    log_density: Callable[[Array], Array] | None = None,
    scale_family: bool = True,
    moment_order: float = np.inf,
    kinks: tuple[float, ...] = (),
) -> Distribution:
    """A distribution of the random intercept, from its quantile function.

    Parameters
    ----------
    name : str
        For tables and summaries.
    quantile : callable
        `quantile(p)` of the standard member, the intercept being sigma times it; or `quantile(p, sigma)` of the
        intercept itself, with `scale_family=False`. Takes an array of probabilities p <= 1/2 and returns an array of
        the same shape, to about 13 digits, down to p = 1e-300 (or until it overflows). An array of one number p must
        give the same as that number among others.
    upper_quantile : callable, optional
        The same for the upper tail: `upper_quantile(q)` is exceeded with probability q <= 1/2. Left out, the
        distribution is symmetric about 0 and `quantile` serves both sides. A skewed one should have mean 0 or median 0.
    log_density : callable, optional
        Log-density of the standard member, to check `quantile` against; scale families only.
    scale_family : bool
        Whether `quantile` takes p alone.
    moment_order : float
        Absolute moments of every order below it exist: inf by default, the degrees of freedom for a t distribution.
    kinks : tuple of float
        Points on the normal scale, Phi^-1(p), where a derivative of `quantile` jumps: (0.0,) for a density with a
        corner at its median. Integrals are split there.

    Returns
    -------
    Distribution
        Pickles if the functions do, as those do that are defined at the top of a module.

    Raises
    ------
    OptionError
        When the functions do not behave as quantile functions.

    Notes
    -----
    T(s) = F^-1(Phi(s)) is tabulated to about 14 digits, by Chebyshev polynomials on pieces, and differentiated exactly;
    likelihood, score and Hessian are those of the table.

    Examples
    --------
    >>> import numpy as np
    >>> import clusterglm as cg
    >>> def secant(p):
    ...     return 2.0 / np.pi * np.log(np.tan(np.pi / 2.0 * p))
    >>> cg.UserDistribution("hyperbolic secant", secant).name
    'hyperbolic secant'
    """
    if not isinstance(name, str) or not name:
        raise OptionError(f"name={name!r}", "a name for tables", 'UserDistribution("hyperbolic_secant", ...)')
    for what, value in (("quantile", quantile), ("upper_quantile", upper_quantile), ("log_density", log_density)):
        if not callable(value) and (value is not None or what == "quantile"):
            raise OptionError(f"{what}={value!r}", "a function of an array", "a def at the top of a module")
    if not (isinstance(kinks, tuple) and all(np.isfinite(kink) for kink in kinks)):
        raise OptionError(f"kinks={kinks!r}", "a tuple of finite numbers", "kinks=(0.0,)")
    if not scale_family and log_density is not None:
        raise OptionError("log_density= with scale_family=False", "a density of scale families alone", "leave it out")
    kinks = tuple(sorted(float(kink) for kink in kinks))
    shared = (name, quantile, upper_quantile, float(moment_order), kinks)
    if scale_family:
        found = UserScaleFamily(*shared, log_density)
        _check(found, lambda s: found.quantile_of_normal(s), upper_quantile is None)
        if log_density is not None:
            _check_density(found, log_density)
        return found
    shaped = UserFamily(*shared)
    for sigma in _SIGMAS:
        _check(shaped, lambda s, sigma=sigma: shaped.location(s, sigma), upper_quantile is None)  # type: ignore[misc]
    return shaped


def _both_tails(s: Array, quantile: Callable[..., Array], upper: Callable[..., Array] | None, *sigma: float) -> Array:
    """F^-1(Phi(s)), each tail from its own probability."""
    s = np.asarray(s, dtype=np.float64)
    value = np.empty_like(s)
    below = s <= 0.0
    with np.errstate(over="ignore"):
        value[below] = quantile(ndtr(s[below]), *sigma)
        above = ndtr(-s[~below])
        value[~below] = -np.asarray(quantile(above, *sigma)) if upper is None else upper(above, *sigma)
    return value


@dataclass(frozen=True)
class UserScaleFamily(Tabulated):
    """A scale family made by `UserDistribution`, whose arguments it keeps."""

    label: str
    lower: Callable[..., Array]
    upper: Callable[..., Array] | None
    order: float
    corners: tuple[float, ...]
    log_f: Callable[[Array], Array] | None

    code = "user"

    @property
    def kinks(self) -> tuple[float, ...]:  # type: ignore[override]
        return self.corners

    @property
    def name(self) -> str:
        return self.label

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        return self.upper is None

    @property
    def moment_order(self) -> float:
        return self.order

    def quantile_of_normal(self, s: Array) -> Array:
        return _both_tails(s, self.lower, self.upper)


@dataclass(frozen=True)
class _UserMember(Tabulated):
    """Distribution of b / sigma of a user's family at one sigma."""

    family: UserFamily
    sigma: float

    code = "member"

    @property
    def name(self) -> str:
        return f"{self.family.name} at sigma = {self.sigma:g}"

    @property
    def moment_order(self) -> float:
        return self.family.order

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        return self.family.symmetric

    @property
    def kinks(self) -> tuple[float, ...]:  # type: ignore[override]
        return self.family.corners

    def quantile_of_normal(self, s: Array) -> Array:
        return self.family.location(s, self.sigma) / self.sigma


@lru_cache(maxsize=32)
def _member(family: UserFamily, sigma: float) -> _UserMember:
    return _UserMember(family, sigma)


@dataclass(frozen=True)
class UserFamily(ShapedByScale):
    """A family made by `UserDistribution` with scale_family=False, whose arguments it keeps."""

    label: str
    lower: Callable[..., Array]
    upper: Callable[..., Array] | None
    order: float
    corners: tuple[float, ...]

    code = "user"

    @property
    def kinks(self) -> tuple[float, ...]:  # type: ignore[override]
        return self.corners

    @property
    def name(self) -> str:
        return self.label

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        return self.upper is None

    @property
    def moment_order(self) -> float:
        return self.order

    def at(self, sigma: float) -> Distribution:
        return _member(self, float(sigma))

    def location(self, s: Array, sigma: float) -> Array:
        return _both_tails(s, self.lower, self.upper, sigma)

    def log_density_at(self, b: Array, sigma: float) -> Jet:
        value, d1, d2, d3, d4 = self.at(sigma).log_density(np.asarray(b, dtype=np.float64) / sigma)
        return value - np.log(sigma), d1 / sigma, d2 / sigma**2, d3 / sigma**3, d4 / sigma**4

    def sf_at(self, b: Array, sigma: float) -> Array:
        return self.at(sigma).sf(np.asarray(b, dtype=np.float64) / sigma)

    def cdf_at(self, b: Array, sigma: float) -> Array:
        return self.at(sigma).cdf(np.asarray(b, dtype=np.float64) / sigma)

    def sd_of(self, sigma: float) -> float:
        return sigma * self.at(sigma).sd


def _check(distribution: Distribution, location: Callable[[Array], Array], symmetric: bool) -> None:
    """Raise `OptionError` unless the quantiles are finite, increasing and meet at the median."""
    advice = "see the parameters of cg.UserDistribution"
    try:
        t = location(np.concatenate([-_TRIED[:0:-1], _TRIED]))
        at_median, above = float(location(np.zeros(1))[0]), float(location(np.array([1e-9]))[0])
    except Exception as error:  # whatever a user's function may raise
        raise OptionError(
            f"functions of {distribution.name} that fail: {type(error).__name__}: {error}",
            "quantiles of an array of probabilities, as an array of the same shape",
            advice,
        ) from error
    if not np.isfinite(t).all():
        raise OptionError(
            f"quantiles of {distribution.name} that are not finite inside (0, 1)", "finite quantiles", advice
        )
    scale = abs(float(t[len(t) // 2 + 8] - t[len(t) // 2 - 8]))
    if symmetric and abs(at_median) > 1e-9 * scale:
        raise OptionError(
            f"the median {at_median:.3g} of {distribution.name}, given without upper_quantile=",
            "a distribution symmetric about 0, or upper_quantile= for its upper tail",
            advice,
        )
    if abs(above - at_median) > 1e-6 * scale:
        raise OptionError(
            f"quantiles of {distribution.name} that jump by {above - at_median:.3g} at the median",
            "quantile(0.5) equal to upper_quantile(0.5)",
            advice,
        )
    if not np.all(np.diff(t) > 0.0):
        raise OptionError(
            f"quantiles of {distribution.name} that do not increase with the probability",
            "an increasing quantile function; upper_quantile(q) falls as its q rises",
            advice,
        )


def _check_density(distribution: UserScaleFamily, log_density: Callable[[Array], Array]) -> None:
    """Raise `OptionError` unless density and quantile function belong together."""
    s = np.array([-3.1, -1.7, -0.4, 0.3, 1.2, 2.9])
    t, slope = distribution.normal_map(s)[:2]
    gap = float(np.abs(np.asarray(log_density(t)) + np.log(slope) - log_normal_density(s)).max())
    if not gap <= _AGREES:
        raise OptionError(
            f"a density of {distribution.name} that differs from that of its quantiles by a factor of exp({gap:.3g})",
            "the normalised log-density of the distribution whose quantiles were given",
            "check one of them by differences of the other; or leave log_density= out",
        )
