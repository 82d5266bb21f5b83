"""Effects of clusters drawn given the parameters and the data, which no chain ever walked through.

One effect: by the distribution function of its density on a grid about the mode, between whose points the density is
taken as linear. The error is that of the distribution function, the largest difference of two grids of which one has
every other point of the other.

Several: the best of a few proposals about the mode, a t by the curvature there, chosen in proportion to their weights,
and once more among fresh ones (iterated sampling importance resampling; Andrieu, Lee and Vihola, Bernoulli 24, 2018).
After r rounds of K fresh proposals draws are within (1 - K / (K + 2 M - 1))^r of the distribution, in total variation,
where M is the largest weight over the mean one. Of effects of clusters and of their children those of the latter are
taken from where the former put them by the joint mode; this leaves them almost independent, and each in its turn is
drawn so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.nested.nested import NestedLikelihood, NestedPlaces
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.vector.vector import VectorLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import random_intercept
from clusterglm.sample.likelihoods import EffectsLikelihood, InterceptLikelihood

_EACH_GRID = 129
_GRID_REACH = 9.0  # on the standard normal scale of an effect, beyond which it has no probability
_GRID_WIDTHS = 10.0  # of the mode's curvature, that a grid covers on either side
_CLOSE_BY = 0.2  # distance of the points about the mode, in such widths
FRESH = 16  # proposals of a round
_RESAMPLED = {False: 2, True: 6}  # without, and with children
_EFFECTS_DF = 8.0


class EffectDraws(Protocol):
    """Of one model."""

    def draw(self, theta: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """Effects given theta, shape (g, d), of the g innermost groups of rows; and what they may be wrong by."""


@dataclass(frozen=True)
class InterceptDraws:
    """Random intercepts, on the scale of the linear predictor."""

    of: InterceptLikelihood

    @cached_property
    def _likelihood(self) -> MarginalLikelihood:
        fit: RandomEffectsFit = self.of.fit
        data = fit.data.rows
        return MarginalLikelihood(core_problem(data.X, data, fit.response), fit.distribution, "normal")

    def draw(self, theta: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """See `EffectDraws`."""
        whole, m = self.of.whole(theta), self._likelihood.n_clusters
        uniform = rng.random(m)
        if whole[random_intercept(len(self.of.fit.beta)).scale] == 0.0:
            return np.zeros((m, 1)), 0.0
        modes = self._likelihood.modes(whole)
        points = modes[:, None] + _grid(self._likelihood.memory.omegas, np.abs(modes) + _GRID_REACH)
        s, error = _by_distribution(points, self._likelihood.log_integrands(whole, None, points), uniform)
        return self._likelihood.intercepts(whole, s[:, None])[0], error


def _grid(widths: Array, reach: Array) -> Array:
    """Distances from the mode, shape (m, knots): close by as fine as it asks for, and far enough."""
    far = np.maximum(reach, _GRID_WIDTHS * widths)
    t = np.linspace(-1.0, 1.0, _EACH_GRID)
    steep = np.maximum(far * (t[1] - t[0]) / (_CLOSE_BY * widths), 1.0 + 1e-6)  # sinh(a) / a
    a = np.sqrt(6.0 * (steep - 1.0))
    for _ in range(12):  # Newton's for log(sinh(a) / a) = log(steep), from above
        a = np.maximum(a - (np.log(np.sinh(a) / a) - np.log(steep)) / (1.0 / np.tanh(a) - 1.0 / a), 1e-3)
    return np.asarray(far[:, None] * np.sinh(a[:, None] * t) / np.sinh(a)[:, None])


def _by_distribution(points: Array, log_density: Array, uniform: Array) -> tuple[Array, float]:
    """Quantiles of densities that are linear between points, shape (m, k), and how far they may be off."""
    f = np.exp(np.nan_to_num(log_density - np.nanmax(log_density, axis=1, keepdims=True), nan=0.0))
    mass = 0.5 * (f[:, 1:] + f[:, :-1]) * np.diff(points, axis=1)
    below = np.concatenate([np.zeros((len(f), 1)), np.cumsum(mass, axis=1)], axis=1)
    some, coarse = points[:, ::2], f[:, ::2]
    rough = np.cumsum(0.5 * (coarse[:, 1:] + coarse[:, :-1]) * np.diff(some, axis=1), axis=1)
    error = np.abs(rough / rough[:, -1:] - (below / below[:, -1:])[:, 2::2]).max()
    wanted = uniform * below[:, -1]
    k = np.clip((below[:, 1:] <= wanted[:, None]).sum(axis=1), 0, mass.shape[1] - 1)
    row = np.arange(len(f))
    f0, f1, rest = f[row, k], f[row, k + 1], wanted - below[row, k]
    h = points[row, k + 1] - points[row, k]
    # rest = h (f0 t + (f1 - f0) t^2 / 2), the root that does not cancel
    root = np.sqrt(np.maximum(f0**2 + 2.0 * (f1 - f0) * rest / h, 0.0))
    t = np.divide(2.0 * rest / h, f0 + root, out=np.full(len(f), 0.5), where=f0 + root > 0.0)
    return points[row, k] + np.clip(t, 0.0, 1.0) * h, float(error)


@dataclass(frozen=True)
class SeveralDraws:
    """Effects of each cluster, or of each child and its cluster, in units of their columns."""

    of: EffectsLikelihood

    @cached_property
    def _integrals(self) -> VectorLikelihood | NestedLikelihood:
        """Which finds the modes."""
        fit = self.of.fit
        data, effects, pattern, d = fit.data.rows, fit.effects, fit.effects.covariance.pattern, fit.effects.n_upper
        if effects.children is None:
            return VectorLikelihood(data.X, effects.Z, data, fit.response, pattern)
        upper, lower = (np.ascontiguousarray(part) for part in (effects.Z[:, :d], effects.Z[:, d:]))
        free = pattern[:d, :d], pattern[d:, d:]
        return NestedLikelihood(data.X, upper, lower, data, effects.children.starts, fit.response, *free)

    def draw(self, theta: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """See `EffectDraws`."""
        fit, task = self.of.fit, self.of.task
        data, effects = fit.data.rows, fit.effects
        beta, phi = task.parameters.split(theta)
        L, d = task.covariance.factor(phi), effects.n_upper
        eta, scaled = data.X @ beta + data.offset, effects.Z @ L

        def rows(change: Array) -> Array:
            """Log-probabilities of rows whose linear predictors are changed by so much, shape (n, k)."""
            return np.asarray(fit.response.value(eta[:, None] + change, data.a[:, None], data.b[:, None]))

        places = self._integrals.modes(task.entries(theta), None)
        if isinstance(places, NestedPlaces):
            u, error = _of_both(places, scaled[:, :d], scaled[:, d:], data, rows, rng)
        else:
            u, error = drawn_of_clusters(Blocks(places.centres, places.factors, scaled, data.starts), rows, rng)
        return u @ L.T, error


Rows = Callable[[Array], Array]


@dataclass(frozen=True)
class Blocks:
    """Groups of rows with d effects each, about whose modes proposals are.

    Parameters
    ----------
    centres : ndarray, shape (g, d)
    factors : ndarray, shape (g, d, d)
    scaled : ndarray, shape (n, d)
        What effects are multiplied by.
    starts : ndarray of int64, shape (g + 1,)
    """

    centres: Array
    factors: Array
    scaled: Array
    starts: NDArray[np.int64]

    def fresh(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Proposals, shape (g, k, d), and logs of their densities, shape (g, k)."""
        g, d = self.centres.shape
        z = rng.standard_normal((g, FRESH, d)) / np.sqrt(rng.chisquare(_EFFECTS_DF, (g, FRESH, 1)) / _EFFECTS_DF)
        u = self.centres[:, None] + np.einsum("gij,gkj->gki", self.factors, z)
        return u, -0.5 * (_EFFECTS_DF + d) * np.log1p((z**2).sum(axis=2) / _EFFECTS_DF)

    def log_density(self, u: Array) -> Array:
        """Of proposals, shape (g,), at one u each, shape (g, d)."""
        z = np.linalg.solve(self.factors, (u - self.centres)[:, :, None])[:, :, 0]
        return np.asarray(-0.5 * (_EFFECTS_DF + u.shape[1]) * np.log1p((z**2).sum(axis=1) / _EFFECTS_DF))

    def change(self, u: Array) -> Array:
        """Of the rows' linear predictors, shape (n, k), at u, shape (g, k, d)."""
        return np.asarray(np.einsum("nd,nkd->nk", self.scaled, np.repeat(u, np.diff(self.starts), axis=0)))

    def sums(self, values: Array) -> Array:
        """Of rows, shape (n, k), over groups."""
        return np.add.reduceat(values, self.starts[:-1], axis=0)


def _chosen(u: Array, log_weights: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """One of k proposals for each group, by their weights; and bounds of how far it is from where it should be."""
    top = log_weights.max(axis=1, keepdims=True)
    weights = np.exp(log_weights - top)
    total = weights.sum(axis=1)
    k = (np.cumsum(weights, axis=1) < (rng.random(len(u)) * total)[:, None]).sum(axis=1)
    left = shortfall(weights.shape[1] / total)  # the largest weight is 1
    return u[np.arange(len(u)), np.minimum(k, u.shape[1] - 1)], left


def shortfall(largest: Array) -> Array:
    """How far a round leaves draws from where they should be; `largest`: the largest weight over the mean one."""
    return np.asarray(1.0 - FRESH / (FRESH + 2.0 * largest - 1.0))


def drawn_of_clusters(blocks: Blocks, rows: Rows, rng: np.random.Generator) -> tuple[Array, float]:
    """Effects of clusters, shape (m, d)."""
    u: Array | None = None
    worst = np.ones(len(blocks.centres))
    for _ in range(_RESAMPLED[False]):
        fresh, log_density = blocks.fresh(rng)
        if u is not None:
            fresh = np.concatenate([fresh, u[:, None]], axis=1)
            log_density = np.column_stack([log_density, blocks.log_density(u)])
        values = blocks.sums(rows(blocks.change(fresh))) - 0.5 * (fresh**2).sum(axis=2)
        u, left = _chosen(fresh, values - log_density, rng)
        worst *= left
    assert u is not None
    return u, float(worst.mean())


def _of_both(
    places: NestedPlaces, upper: Array, lower: Array, data: ModelData, rows: Rows, rng: np.random.Generator
) -> tuple[Array, float]:
    """Effects of clusters beside those of their children, shape (c, d1 + d2)."""
    above = Blocks(places.centres1, places.factors1, upper, data.starts)
    below = Blocks(places.centres2, places.factors2, lower, data.innermost)
    of, T = data.innermost_clusters, places.slopes2
    children = np.searchsorted(of, np.arange(len(places.centres1) + 1))

    def moved(u: Array) -> Array:
        """By how much effects of children follow those of their clusters, shape (c, k, d2)."""
        return np.asarray(np.einsum("cij,ckj->cki", T, (u - above.centres[:, None])[of]))

    u, w = above.fresh(rng)[0][:, 0], below.fresh(rng)[0][:, 0]
    worst = np.ones(len(u))
    for _ in range(_RESAMPLED[True]):
        fresh, log_density = above.fresh(rng)
        fresh = np.concatenate([fresh, u[:, None]], axis=1)
        log_density = np.column_stack([log_density, above.log_density(u)])
        v = w[:, None] + moved(fresh)
        values = above.sums(rows(above.change(fresh) + below.change(v))) - 0.5 * (fresh**2).sum(axis=2)
        values -= 0.5 * np.add.reduceat((v**2).sum(axis=2), children[:-1], axis=0)
        u, left = _chosen(fresh, values - log_density, rng)
        worst *= left
        at, known = moved(u[:, None]), above.change(u[:, None])
        fresh, log_density = below.fresh(rng)
        fresh = np.concatenate([fresh, w[:, None]], axis=1)
        log_density = np.column_stack([log_density, below.log_density(w)])
        v = fresh + at
        values = below.sums(rows(known + below.change(v))) - 0.5 * (v**2).sum(axis=2)
        w, _ = _chosen(fresh, values - log_density, rng)
    return np.hstack([u[of], w + moved(u[:, None])[:, 0]]), float(worst.mean())
