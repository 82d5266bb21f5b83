"""Contrasts of estimates: their coefficients, the scales on which they are compared, and p-values of many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import chdtri, fdtrc, gammaincc, ndtr, ndtri, stdtrit

from clusterglm.errors import OptionError, check_option, nearest
from clusterglm.inference.uncertainty.degrees import t_p_values
from clusterglm.inference.uncertainty.intervals import check_level, wald_p_values
from clusterglm.model.arguments import shown
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

METHODS = ("pairwise", "reference", "polynomial")
ADJUSTMENTS = ("holm", "tukey", "mvt", "bonferroni")
COMPARISONS = ("difference", "ratio", "lnor")

_WHOLE = 1e-8  # coefficients so close to whole numbers are these
_LARGEST_COEFFICIENT = 1000
_DIRECTIONS, _ANGLES = 1 << 17, 1 << 12  # on spheres, and on half a circle
_CHUNK = 1 << 22  # elements of a matrix of contrasts by directions
_LEAST_EIGENVALUE = 1e-10  # smallest eigenvalue of a correlation that counts
_TAIL_END, _STEPS_OF_RANGE = 12.0, 2400  # of the trapezoid rule for ranges
_LEAST_OF_SCALE = 1e-15  # tails that the rule for the logarithm of a standard deviation leaves out
_STEPS_OF_SCALE, _WIDEST_STEP = 101, 0.06  # fewest of its points, and their distance
_SAME_DF = 1e-6  # degrees of freedom that differ by this share are the same
_FARTHEST = 60.0  # a critical value of normal variables lies nearer; of others it is looked for farther out


# Coefficients --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coefficients:
    """Contrasts of k estimates.

    Parameters
    ----------
    names : tuple of str
    matrix : ndarray, shape (contrasts, k)
    pairwise : bool
        Whether they are all differences of two.
    """

    names: tuple[str, ...]
    matrix: Array
    pairwise: bool = False


def coefficients_of(
    method: Any, labels: Sequence[str], values: Sequence[Any] | None = None, reference: Any = None, sign: str = "-"
) -> Coefficients:
    """Contrasts by name, or given.

    Parameters
    ----------
    method : {"pairwise", "reference", "polynomial"}, mapping of str to coefficients, or array_like of shape (c, k)
        All differences of two, an earlier less a later one; of each from one; orthogonal polynomials in the values, or
        in the order where these are no numbers.
    labels : sequence of str, length k
    values : sequence, length k, optional
        What the labels stand for.
    reference : str or number, optional
        For "reference": a label, by default the first.
    sign : str
        Between the labels of a name.

    Raises
    ------
    OptionError
    """
    k = len(labels)
    if reference is not None and not (isinstance(method, str) and method == "reference"):
        raise OptionError("reference= with other contrasts", 'method="reference"', "leave reference= out")
    if not isinstance(method, str):
        return _given(method, k)
    check_option("method", method, METHODS)
    if k < 2:
        raise OptionError(f"{method} contrasts of one mean", "two means or more", "other variables, or at= with values")
    unit = np.eye(k)
    if method == "pairwise":
        pairs = list(combinations(range(k), 2))
        names = tuple(f"{labels[i]} {sign} {labels[j]}" for i, j in pairs)
        return Coefficients(names, np.array([unit[i] - unit[j] for i, j in pairs]), pairwise=True)
    if method == "reference":
        base = _place(reference, labels)
        others = [j for j in range(k) if j != base]
        names = tuple(f"{labels[j]} {sign} {labels[base]}" for j in others)
        return Coefficients(names, np.array([unit[j] - unit[base] for j in others]))
    return _polynomials(k, values)


def _place(reference: Any, labels: Sequence[str]) -> int:
    if reference is None:
        return 0
    if str(reference) not in labels:
        raise OptionError(
            f"reference={shown(reference)}",
            f"one of {', '.join(map(repr, labels))}",
            f"{nearest(str(reference), labels)}reference={labels[0]!r}",
        )
    return list(labels).index(str(reference))


def _given(method: Any, k: int) -> Coefficients:
    names: tuple[str, ...] | None = None
    if isinstance(method, Mapping):
        names, method = tuple(map(str, method)), list(method.values())
    try:
        matrix = np.atleast_2d(np.asarray(method, dtype=np.float64))
    except (TypeError, ValueError):
        matrix = np.empty((0, 0))
    if matrix.ndim != 2 or matrix.shape[1] != k or len(matrix) == 0 or not np.isfinite(matrix).all():
        raise OptionError(
            f"method={shown(method)}",
            f"one of {', '.join(map(repr, METHODS))}, or {k} finite numbers for each contrast",
            'method="pairwise", or method={"first less last": [1, ..., -1]}',
        )
    return Coefficients(names or tuple(f"contrast {j + 1}" for j in range(len(matrix))), matrix)


def _polynomials(k: int, values: Sequence[Any] | None) -> Coefficients:
    """Orthogonal polynomials, whole numbers where they are multiples of such."""
    x = np.arange(k, dtype=np.float64)
    if values is not None and all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in values):
        x = np.asarray(values, dtype=np.float64)
    x = (x - x.mean()) / np.ptp(x)
    Q = np.linalg.qr(np.vander(x, k, increasing=True))[0][:, 1:].T
    names = ["linear", "quadratic", "cubic", "quartic"][: k - 1] + [f"degree {d}" for d in range(5, k)]
    order = int(np.argmax(x))
    return Coefficients(tuple(names), np.array([_whole(row * np.sign(row[order])) for row in Q]))


def _whole(row: Array) -> Array:
    """The smallest whole numbers in the same proportions, if there are any of a reasonable size."""
    least = np.abs(row[np.abs(row) > 1e-9 * np.abs(row).max()]).min()
    for times in range(1, _LARGEST_COEFFICIENT):
        scaled = row / least * times
        if np.abs(scaled).max() > _LARGEST_COEFFICIENT:
            break
        if np.all(np.abs(scaled - np.rint(scaled)) < _WHOLE * np.abs(scaled).max()):
            row = np.rint(scaled) + 0.0
            break
    return row


# Scales of comparison ------------------------------------------------------------------------------------------------


def check_comparison(comparison: str, response: Response) -> str:
    """The comparison, if means of this response can be compared so; `OptionError` otherwise."""
    check_option("comparison", comparison, COMPARISONS)
    if comparison == "lnor" and not response.bounded:
        raise OptionError(
            f'comparison="lnor" of {response.family} means, which are no probabilities',
            "difference or ratio",
            'comparison="ratio"',
        )
    return comparison


def transformed(means: Array, comparison: str) -> tuple[Array, Array]:
    """Means on the scale on which differences are taken, and its slopes: themselves, logarithms, or log odds."""
    if comparison == "difference":
        return means, np.ones_like(means)
    with np.errstate(divide="ignore", invalid="ignore"):
        if comparison == "ratio":
            return np.log(means), 1.0 / means
        return np.log(means) - np.log1p(-means), 1.0 / (means * (1.0 - means))


# Many at once --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adjusted:
    """P-values of several contrasts, and the standard errors that their intervals reach to each side, shape (c,)."""

    pvalues: Array
    critical: Array
    note: str = ""


def adjusted(
    z: Array,
    correlation: Array,
    adjust: str | None,
    level: float,
    means: int,
    *,
    pairwise: bool,
    df: Array | None = None,
) -> Adjusted:
    """P-values and simultaneous intervals of contrasts.

    Parameters
    ----------
    z : ndarray, shape (c,)
        Estimates over their standard errors.
    correlation : ndarray, shape (c, c)
        Of the contrasts' estimates, which are normal.
    adjust : {"holm", "tukey", "mvt", "bonferroni"} or None
        Holm's and Bonferroni's hold whatever the correlation. "tukey" is the studentized range of the means, exact
        where all differences have one variance and means are independent, and else conservative (Tukey and Kramer;
        Hayter, Annals of Statistics 12, 1984); "mvt" the distribution of the largest absolute value of correlated
        normal variables (Genz and Bretz, Computation of Multivariate Normal and t Probabilities, 2009): exact for any
        contrasts, and computed to about three digits of a p-value.
    level : float
    means : int
        How many means are compared.
    pairwise : bool
        Whether the contrasts are all differences of two of them.
    df : ndarray, shape (c,), optional
        Degrees of freedom of each, whose `z` are t statistics. "tukey" takes each difference with its own, as R's
        emmeans does; "mvt" knows one number for all, and takes the smallest.

    Raises
    ------
    OptionError
        On "tukey" of other contrasts than all differences.
    """
    check_level(level)
    c = len(z)
    plain = wald_p_values(z) if df is None else t_p_values(z, df)
    df = np.full(c, np.inf) if df is None else np.where(np.isnan(df), np.inf, df)
    if adjust is None or c == 1:
        return Adjusted(plain, _two_sided(1.0 - level, df))
    check_option("adjust", adjust, ADJUSTMENTS)
    if adjust == "bonferroni":
        return Adjusted(np.minimum(1.0, c * plain), _two_sided((1.0 - level) / c, df))
    if adjust == "holm":
        order = np.argsort(plain, kind="stable")
        stepped = np.maximum.accumulate(np.minimum(1.0, (c - np.arange(c)) * plain[order]))
        pvalues = np.empty(c)
        pvalues[order] = stepped
        note = "intervals are Bonferroni's: Holm's tests have none of their own"
        return Adjusted(pvalues, _two_sided((1.0 - level) / c, df), note)
    if adjust == "tukey":
        if not pairwise:
            raise OptionError(
                'adjust="tukey" of contrasts that are not all differences of two means',
                'method="pairwise"',
                'adjust="mvt", which is exact for any contrasts',
            )
        ranges = {each: partial(range_tail, k=means, df=each) for each in set(df.tolist())}
        tails = [ranges[each] for each in df.tolist()]
        at = np.array([tail(np.sqrt(2.0) * abs(value)) for tail, value in zip(tails, z.tolist(), strict=True)])
        ends = {each: _solved(tail, 1.0 - level) / np.sqrt(2.0) for each, tail in ranges.items()}
        return Adjusted(at, np.array([ends[each] for each in df.tolist()]))
    largest, least = _Largest.of(correlation), float(df.min())
    tail = partial(largest.tail, df=least)
    note = "" if df.max() <= (1.0 + _SAME_DF) * least else f"mvt takes the smallest df of all, {least:.4g}"
    return Adjusted(np.array([tail(abs(value)) for value in z.tolist()]), np.full(c, _solved(tail, 1.0 - level)), note)


def _two_sided(alpha: float, df: Array) -> Array:
    return np.where(np.isinf(df), -ndtri(0.5 * alpha), -stdtrit(df, 0.5 * alpha))


def _solved(tail: Callable[[float], float], alpha: float) -> float:
    """Where a decreasing probability is alpha."""
    from scipy.optimize import brentq

    end = _FARTHEST
    while tail(end) > alpha:
        end *= 4.0
    return float(brentq(lambda x: tail(x) - alpha, 0.0, end, xtol=1e-10))


def range_tail(q: float, k: int, df: float = np.inf) -> float:
    """P(range of k independent standard normal variables > q), studentized if `df` is finite; to about 1e-14.

    Parameters
    ----------
    q : float
        Not negative; nan gives nan.
    k : int
    df : float
        Of the independent standard deviation that divides the range.

    Notes
    -----
    With x the place of the smallest, k times the integral of phi(x) (A^(k - 1) - (A - T)^(k - 1)), A = P(Z > x) and
    T = P(Z > x + q), by the trapezoid rule, which is as good as exact for functions so smooth; and over the logarithm
    of the standard deviation likewise.
    """
    if np.isnan(q) or np.isnan(df):
        return np.nan
    if np.isinf(df):
        return _plain_range_tail(q, k)
    ends = 0.5 * np.log(chdtri(df, [1.0 - _LEAST_OF_SCALE, _LEAST_OF_SCALE]) / df)
    low, high = ends.tolist()
    log_s = np.linspace(low, high, max(_STEPS_OF_SCALE, int((high - low) / _WIDEST_STEP)))
    log_density = df * log_s - 0.5 * df * np.expm1(2.0 * log_s)  # but for a constant
    weights = np.exp(log_density - log_density.max())
    tails = np.array([_plain_range_tail(q * s, k) for s in np.exp(log_s).tolist()])
    return float(min(1.0, weights @ tails / weights.sum()))


@cache
def _range_rule() -> tuple[Array, Array, Array]:
    """Points x, P(Z > x), and the normal density."""
    x = np.linspace(-_TAIL_END, _TAIL_END, _STEPS_OF_RANGE + 1)
    return x, ndtr(-x), np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi)


def _plain_range_tail(q: float, k: int) -> float:
    x, above, density = _range_rule()
    beyond = ndtr(-x - q)
    with np.errstate(divide="ignore"):
        some = -np.expm1((k - 1) * np.log1p(-np.minimum(beyond / above, 1.0)))
    return float(min(1.0, k * (x[1] - x[0]) * np.sum(density * above ** (k - 1) * some)))


@dataclass(frozen=True)
class _Largest:
    """The largest absolute value of correlated standard normal variables, by directions from the centre.

    With the variables L u, u standard normal in r dimensions, u = rho w of independent length and direction, all are
    at most c where rho <= c / max|L w|: the tail is the average over directions of that of chi with r degrees of
    freedom. Directions are evenly spaced on circles and spheres, and points of a lattice in more dimensions: the same
    at every call.
    """

    reach: Array  # max |L w| in each direction
    dimensions: int

    @classmethod
    def of(cls, correlation: Array) -> _Largest:
        values, vectors = np.linalg.eigh(correlation)
        kept = values > _LEAST_EIGENVALUE * values[-1]
        L, r = vectors[:, kept] * np.sqrt(values[kept]), int(kept.sum())
        points = _directions(r)
        chunk = max(1, _CHUNK // len(L))
        parts = [np.abs(L @ points[:, first : first + chunk]).max(axis=0) for first in range(0, points.shape[1], chunk)]
        return cls(np.concatenate(parts), r)

    def tail(self, c: float, df: float = np.inf) -> float:
        """P(largest > c), of t variables with one standard deviation in common if `df` is finite."""
        if np.isnan(c):
            return np.nan
        r, square = self.dimensions, (c / self.reach) ** 2
        beyond = gammaincc(0.5 * r, 0.5 * square) if np.isinf(df) else fdtrc(r, df, square / r)
        return float(np.mean(beyond))


def _directions(r: int) -> Array:
    """Points of the unit sphere, shape (r, directions); of two opposite ones one is enough."""
    if r == 1:
        return np.ones((1, 1))
    if r == 2:
        angle = np.pi * (np.arange(_ANGLES) + 0.5) / _ANGLES
        return np.stack([np.cos(angle), np.sin(angle)])
    if r == 3:  # of half a sphere: along a spiral, evenly
        k = np.arange(_DIRECTIONS) + 0.5
        height, turn = 1.0 - k / _DIRECTIONS, np.pi * (1.0 + np.sqrt(5.0)) * k
        radius = np.sqrt(1.0 - height**2)
        return np.stack([radius * np.cos(turn), radius * np.sin(turn), height])
    steps = np.sqrt(_primes(r))[:, None]  # Richtmyer's lattice, folded (Genz and Bretz 2009, sec. 4.2.2)
    u = 1.0 - np.abs(2.0 * ((steps * np.arange(1.0, _DIRECTIONS + 1.0) + 0.5) % 1.0) - 1.0)
    normal = ndtri(u)
    points: Array = normal / np.linalg.norm(normal, axis=0)
    return points


def _primes(number: int) -> Array:
    """The first primes."""
    found: list[int] = []
    candidate = 2
    while len(found) < number:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return np.array(found, dtype=np.float64)
