"""Rules for single clusters whose integrals no shared rule resolves: Gauss-Legendre on panels where the integral lies.

Panels begin at the summit of the likelihood, at corners of the intercept's density and at fixed points of the normal
scale. Those that a bound shows to hold next to nothing are left out, others are halved until two halves say the same as
the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clusterglm.likelihood.scalar.outside import Summits, log_outside, log_probability
from clusterglm.model.arrays import Array
from clusterglm.model.special import log_normal_density

ORDER = 12  # nodes of a panel
_FIXED = np.array([-37.0, -24.0, -16.0, -12.0, -9.0, -7.0, -5.5, -4.0, -3.0, -2.0, -1.0, 0.0])
_ABOUT = np.array([0.5, 2.0, 4.0, 7.0, 12.0, 30.0, 100.0, 1e3, 1e5])  # widths of the summit
_MOST_PANELS = 400  # panels of a cluster
_HALVINGS = 60
_NOISE = 5e-14  # relative error of a log-integral that no rule can better
_CHILDREN = 2.0  # the halves' own error allowed for
_SHARE = 0.02  # of the error that is allowed, for one panel; and for all that are left out


def _lagrange(nodes: Array, x: float) -> Array:
    """What the values at nodes are multiplied by in the value at x of the polynomial through them."""
    apart = nodes[:, None] - nodes + np.eye(len(nodes))
    return np.asarray([np.prod(np.delete(x - nodes, k)) for k in range(len(nodes))] / np.prod(apart, axis=1))


_X, _W = np.polynomial.legendre.leggauss(ORDER)
_TO_ENDS = np.stack([_lagrange(_X, end) for end in (-1.0, 1.0)], axis=1)
_LOWER, _UPPER = 0.5 * (_X - 1.0), 0.5 * (_X + 1.0)  # where the halves' nodes lie in the whole

LogIntegrands = Callable[[NDArray[np.int64], Array], Array]
"""Takes k clusters, any of them more than once, and points of each, shape (k, j); returns log-integrands there."""


@dataclass(frozen=True)
class Panels:
    """Panels of one cluster.

    Parameters
    ----------
    edges : tuple of (float, float)
        Ends of each panel, ascending.
    value : float
        Log of the integral.
    error : float
        Bound of its error.
    """

    edges: tuple[tuple[float, float], ...]
    value: float
    error: float


def panel_points(edges: tuple[tuple[float, float], ...]) -> tuple[Array, Array]:
    """Nodes and log-weights of the rules of some panels."""
    ends = np.array(edges)
    half = 0.5 * (ends[:, 1] - ends[:, 0])[:, None]
    nodes = 0.5 * (ends[:, 0] + ends[:, 1])[:, None] + half * _X
    return nodes.ravel(), np.log(half * _W).ravel()


def lay_panels(
    log_integrands: LogIntegrands, summits: Summits, kinks: tuple[float, ...], tolerances: Array
) -> list[Panels]:
    """Panels for each of some clusters.

    Parameters
    ----------
    log_integrands : callable
    summits : Summits
        Of the clusters.
    kinks : tuple of float
        Where the integrands are not analytic.
    tolerances : ndarray, shape (c,)
        What the errors of the clusters' log-integrals may be.

    Returns
    -------
    list of Panels
        `error` is larger than the tolerance where so many panels would not do.
    """
    return [
        _Laid(log_integrands, i, summits.of(np.array([i])), kinks, float(tolerance)).finished()
        for i, tolerance in enumerate(tolerances)
    ]


def _moments(terms: Array, top: float, x: Array) -> Array:
    """Integrals of the integrand and of its products with x and x^2, relative to the whole integral; shape (n, 3).

    Integrals alone may agree by chance; products with these three do not.
    """
    return np.asarray(np.exp(np.minimum(terms - top, 700.0)) @ np.stack([np.ones_like(x), x, x * x], axis=1))


class _Laid:
    """The panels of one cluster while they are laid."""

    def __init__(
        self,
        log_integrands: LogIntegrands,
        cluster: int,
        summits: Summits,
        kinks: tuple[float, ...],
        tolerance: float,
    ) -> None:
        self._log_integrands = log_integrands
        self._cluster = cluster
        self._tolerance = tolerance
        self._summits = summits
        far, summit, width = summits.reach, float(summits.s[0]), float(summits.width[0])
        edges = [_FIXED, -_FIXED, np.array(kinks)]
        if np.isfinite(width):
            edges += [np.array([summit]), summit + width * _ABOUT, summit - width * _ABOUT]
        elif np.isfinite(summit):
            edges += [np.array([summit])]
        inside = np.clip(np.concatenate(edges), -far, far)
        self._edges = np.unique(inside)

    def _at(self, points: Array) -> Array:
        return self._log_integrands(np.full(len(points), self._cluster, dtype=np.int64), points)

    def _heights(self, points: Array) -> Array:
        """Log-likelihoods, which beyond all numbers are as good as none."""
        found = self._at(points) - log_normal_density(points)
        return np.asarray(np.where(np.isnan(found), -np.inf, found))

    def _bounds(self, edges: Array) -> Array:
        """Logs of bounds of the integral on each panel: no summit lies inside one."""
        heights = self._heights(edges[None, :])[0]
        return np.asarray(log_probability(edges[:-1], edges[1:]) + np.maximum(heights[:-1], heights[1:]))

    def finished(self) -> Panels:
        """Halve panels until the halves agree with the whole; what is not worth it is left out."""
        bounds = self._bounds(self._edges)
        left, right = self._edges[:-1], self._edges[1:]
        terms = self._terms(left, right)
        top = float(np.logaddexp.reduce(terms, axis=None))
        done: list[tuple[float, float, float]] = []
        error = 0.0
        for _ in range(_HALVINGS):
            if not np.isfinite(top):
                break
            worth = bounds > top + np.log(_SHARE * self._tolerance / _MOST_PANELS)
            error += float(np.exp(bounds[~worth] - top).sum())
            left, right, terms, bounds = left[worth], right[worth], terms[worth], bounds[worth]
            if len(left) == 0:
                return self._result(done, error)
            middle = 0.5 * (left + right)
            lower, upper = self._terms(left, middle), self._terms(middle, right)
            change = np.abs(_moments(lower, top, _LOWER) + _moments(upper, top, _UPPER) - _moments(terms, top, _X))
            change = change.max(axis=1)
            change += self._beyond_nodes(left, right, terms, top)
            enough = max(_SHARE * self._tolerance, _NOISE * (1.0 + abs(top)))
            good = (change <= enough) | (middle <= left) | (middle >= right)
            error += float(change[good].sum())
            values = np.logaddexp.reduce(terms[good], axis=1)
            done += zip(left[good].tolist(), right[good].tolist(), values.tolist(), strict=True)
            if good.all():
                return self._result(done, error)
            rest = float(change[~good].sum())
            left, right = np.append(left[~good], middle[~good]), np.append(middle[~good], right[~good])
            terms = np.concatenate([lower[~good], upper[~good]])
            bounds = np.append(bounds[~good], bounds[~good])
            before, values = top, np.logaddexp.reduce(terms, axis=1)
            top = float(np.logaddexp.reduce(np.append(values, [panel[2] for panel in done])))
            error *= float(np.exp(before - top))
            if len(done) + len(left) > _MOST_PANELS:
                break
        else:
            rest = np.inf
        done += zip(left.tolist(), right.tolist(), np.logaddexp.reduce(terms, axis=1).tolist(), strict=True)
        return self._result(done, error + rest if np.isfinite(top) else np.inf)

    def _beyond_nodes(self, left: Array, right: Array, terms: Array, top: float) -> Array:
        """Bounds of what may hide between panels' outermost nodes and their ends.

        An integrand that the nodes resolve is at the ends what the polynomial through them says.
        """
        half = 0.5 * (right - left)[:, None]
        inside = np.exp(np.minimum(terms - np.log(half * _W) - top, 700.0))
        ends = self._at(np.stack([left, right], axis=1))
        found = np.exp(np.minimum(np.where(np.isnan(ends), -np.inf, ends) - top, 700.0))
        apart = np.abs(found - inside @ _TO_ENDS).sum(axis=1)
        return np.asarray((1.0 + _X[0]) * half[:, 0] * apart)

    def _terms(self, left: Array, right: Array) -> Array:
        """Logs of what each node adds to the integral on its panel, by one rule for each panel."""
        half = 0.5 * (right - left)[:, None]
        g = self._at(0.5 * (left + right)[:, None] + half * _X)
        return np.asarray(np.where(np.isnan(g), -np.inf, g) + np.log(half * _W))

    def _result(self, done: list[tuple[float, float, float]], error: float) -> Panels:
        ordered = sorted(done)
        value = float(np.logaddexp.reduce([panel[2] for panel in ordered]))
        low, high = self._edges[:1], self._edges[-1:]
        beyond = log_outside(self._heights, low, high, self._summits, np.full(1, np.inf))[0]
        with np.errstate(over="ignore"):
            error = _CHILDREN * error + float(np.exp(beyond - value))
        return Panels(tuple((a, b) for a, b, _ in ordered), value, error)
