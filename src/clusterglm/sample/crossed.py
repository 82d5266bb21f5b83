"""Posteriors where grouping factors cross: the certified approximation, and effects given parameters and data.

The likelihood of what is sampled is the fit's: exact inside, Laplace's approximation outside. What importance sampling
adds to that differs little from place to place, and is smooth in the parameters, as its draws are held. So it is
computed once at some points about the estimates, with derivatives, and a quadratic function that is fitted to it stands
in for it everywhere else; far out that function levels off. Draws of the posterior that are looked at afterwards have
importance weights, the likelihood by the held draws themselves over that by the function.

Effects outside are drawn from the certificate's proposals, fresh ones, in proportion to their weights and once more
(see `effects.py`), component by component; those of clusters then given these, cluster by cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from clusterglm.fit.corrected import SEED, draws_of
from clusterglm.fit.levels import AnyPlan, CrossedFactors
from clusterglm.fit.mixed import points_for_moments
from clusterglm.fit.mixed_task import choose
from clusterglm.fit.own_corrected import OwnDraws
from clusterglm.fit.own_levels import OwnIntegrals
from clusterglm.likelihood.crossed.certificate import REPLICATES, Estimate, HeldDraws
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.sample.effects import FRESH, Blocks, drawn_of_clusters, shortfall
from clusterglm.sample.likelihoods import EffectsLikelihood, Points

_FITTED_AT = 1.5  # posterior standard deviations from the estimates to the points at which the correction is computed
_TIMES_HALVED = 8  # of the way to such a point
_WIDEST_OF_CURVED = 2.0  # of these standard deviations, where the data hardly bound the logarithm of one
_LEVELS_OFF = 6.0  # standard deviations, and for each parameter one more, at which the quadratic function levels off
_MOST_HELD = 128  # of draws that are held
_ROUNDS_OUTSIDE = 3  # of fresh proposals of effects outside
_SEED_OF_EFFECTS = 20129


@dataclass(frozen=True)
class Correction:
    """A quadratic function of x that stands in for what importance sampling adds to Laplace's approximation.

    With z = R^-1 (x - centre) it is one of s = z / (1 + z'z / r^2)^(1/2), which is z near by and never longer than r.

    Parameters
    ----------
    centre : ndarray, shape (q,)
    root : ndarray, shape (q, q)
        R.
    reach : float
        r.
    value : float
    slope : ndarray, shape (q,)
    bend : ndarray, shape (q, q)
        At the centre, in s.
    """

    centre: Array
    root: Array
    reach: float
    value: float
    slope: Array
    bend: Array

    def evaluate(self, x: Array) -> Evaluation:
        """Value and derivatives in x."""
        z = np.linalg.solve(self.root, x - self.centre)
        w = (1.0 + float(z @ z) / self.reach**2) ** -0.5
        s, first = w * z, -(w**3) / self.reach**2 * z  # and the derivative of w
        g = self.slope + self.bend @ s
        J = w * np.eye(len(z)) + np.outer(z, first)
        second = -(w**3) / self.reach**2 * np.eye(len(z)) + 3.0 * w**5 / self.reach**4 * np.outer(z, z)
        curved = J.T @ self.bend @ J + np.outer(first, g) + np.outer(g, first) + float(g @ z) * second
        value = self.value + float(self.slope @ s) + 0.5 * float(s @ self.bend @ s)
        inverse = np.linalg.inv(self.root)
        return Evaluation(value, inverse.T @ (J.T @ g), inverse.T @ curved @ inverse)


def fitted(centre: Array, root: Array, reach: float, x: Array, values: Array, slopes: Array) -> Correction:
    """The correction whose values and derivatives at points x, shape (k, q), are nearest to those given.

    Parameters
    ----------
    centre, root, reach
        See `Correction`.
    x : ndarray, shape (k, q)
    values : ndarray, shape (k,)
    slopes : ndarray, shape (k, q)
        Derivatives in x.
    """
    q = len(centre)
    pairs = [(i, j) for i in range(q) for j in range(i, q)]
    units = np.eye(1 + q + len(pairs))

    def made(entries: Array) -> Correction:
        bend = np.zeros((q, q))
        for (i, j), entry in zip(pairs, entries[1 + q :], strict=True):
            bend[i, j] = bend[j, i] = entry
        return Correction(centre, root, reach, float(entries[0]), entries[1 : 1 + q], bend)

    def seen(value: float, slope: Array) -> Array:
        return np.append(value, root.T @ slope)

    each = [made(unit) for unit in units]
    there = [[one.evaluate(place) for place in x] for one in each]
    columns = [np.concatenate([seen(at.value, at.score) for at in column]) for column in there]
    wanted = np.concatenate([seen(value, slope) for value, slope in zip(values, slopes, strict=True)])
    return made(np.linalg.lstsq(np.array(columns).T, wanted, rcond=None)[0])


@dataclass(frozen=True)
class CorrectedPoints(Points):
    """Points of the integrals, and what is added to Laplace's approximation by them; None where nothing is."""

    correction: Correction | None = None


@dataclass(frozen=True)
class _Held:
    """Draws that are held, and how many of each replicate the fit needed."""

    draws: HeldDraws | OwnDraws
    count: int
    tolerance: float
    plan: AnyPlan


@dataclass(frozen=True)
class CrossedLikelihood(EffectsLikelihood):
    """Of a model whose grouping factors cross."""

    _shared: dict[str, _Held] = field(default_factory=dict, compare=False)

    def fresh(self) -> CrossedLikelihood:
        """See `SampledLikelihood`."""
        return replace(self)

    @property
    def corrected(self) -> bool:
        """Whether the fit knows what Laplace's approximation is wrong by."""
        outside = self.fit.integration.outside
        return outside is not None and outside.applied

    def points(self, theta: Array) -> CorrectedPoints:
        """See `SampledLikelihood`."""
        found = super().points(theta)
        return CorrectedPoints(found.values, found.values, found.error, self._correction if self.corrected else None)

    def value(self, theta: Array, points: Points) -> float:
        """See `SampledLikelihood`."""
        return super().value(theta, points) + self._added(theta, points).value

    def evaluate(self, theta: Array, points: Points, order: int) -> Evaluation:
        """See `SampledLikelihood`."""
        there, more = super().evaluate(theta, points, order), self._added(theta, points)
        return Evaluation(there.value + more.value, there.score + more.score, there.hessian + more.hessian)

    def weight(self, theta: Array, points: Points) -> tuple[float, float]:
        """See `SampledLikelihood`: by the draws that are held."""
        if not self.corrected:
            return np.nan, np.nan
        held = self._held
        found = held.draws.estimate(self.entries(theta), held.plan, held.count, 0)
        return found.correction - self._added(theta, points).value, found.standard_error

    def _added(self, theta: Array, points: Points) -> Evaluation:
        """The correction, with derivatives in theta."""
        correction = points.correction if isinstance(points, CorrectedPoints) else None
        q, logs = len(theta), self.coordinates.logs
        if correction is None or not (np.isfinite(theta).all() and (theta[logs] > 0.0).all()):
            return Evaluation(0.0, np.zeros(q), np.zeros((q, q)))
        there = correction.evaluate(np.where(logs, np.log(np.where(logs, theta, 1.0)), theta))
        slope = np.where(logs, theta, 1.0)
        hessian = there.hessian - np.diag(np.where(logs, there.score, 0.0))
        return Evaluation(there.value, there.score / slope, hessian / np.outer(slope, slope))

    @property
    def _held(self) -> _Held:
        """Draws that lie where they lay in the fit; every copy has the same."""
        outside = self.fit.integration.outside
        assert outside is not None
        if "held" not in self._shared:
            theta = self.coordinates.theta(self.start)
            entries = self.entries(theta)
            plan, draws = super().points(theta).values, draws_of(self.task.likelihood, SEED)
            none = np.zeros((len(entries), len(entries)))
            certificate = draws.certify(entries, plan, none, outside.tolerance, np.inf, outside.draws // REPLICATES)
            count = certificate.estimate.draws // REPLICATES
            self._shared["held"] = _Held(draws, count, outside.tolerance, plan)
        return self._shared["held"]

    @cached_property
    def _correction(self) -> Correction:
        x0, held, coordinates = self.start, self._held, self.coordinates
        theta = self.coordinates.theta(x0)
        q, plan = len(x0), held.plan
        hessian = coordinates.in_x(self._laplace(theta, plan, 2), theta).hessian
        curvatures, axes = np.linalg.eigh(-hessian)
        root = axes / np.sqrt(np.maximum(curvatures, _WIDEST_OF_CURVED**-2))
        moves = [side * _FITTED_AT * axis for axis in root.T for side in (-1.0, 1.0)]
        places = np.array([x0, *(x0 + self._within(x0, move, plan) for move in moves)])
        each = [coordinates.theta(x) for x in places]
        while True:
            there = [held.draws.estimate(self.entries(at), plan, held.count) for at in each]
            if max(one.standard_error for one in there) <= held.tolerance or held.count >= _MOST_HELD:
                break
            held = replace(held, count=2 * held.count)
        self._shared["held"] = held
        slopes = [self._slopes(at, one) - self._laplace(at, plan, 1).score for at, one in zip(each, there, strict=True)]
        in_x = np.array(slopes) * np.where(coordinates.logs, np.array(each), 1.0)
        return fitted(x0, root, _LEVELS_OFF + q, places, np.array([one.correction for one in there]), in_x)

    def _within(self, x0: Array, move: Array, plan: AnyPlan) -> Array:
        """A move, halved until it ends where there is a likelihood: thresholds that are close would cross."""
        for share in 0.5 ** np.arange(_TIMES_HALVED):
            there = self._laplace(self.coordinates.theta(x0 + share * move), plan, 0)
            if np.isfinite(there.value):
                return np.asarray(share * move)
        return np.zeros(len(move))

    def _laplace(self, theta: Array, plan: AnyPlan, order: int) -> Evaluation:
        """The approximation that is corrected, with derivatives in theta."""
        return self.sampled(self.task.evaluate(self.searched(theta), plan, order), theta)

    def _slopes(self, theta: Array, estimate: Estimate) -> Array:
        """Derivatives of an estimate in theta."""
        score = self.task.slopes(self.searched(theta)) @ estimate.score
        return self.sampled(Evaluation(estimate.value, score, np.zeros((len(score),) * 2)), theta).score


@dataclass(frozen=True)
class CrossedDraws:
    """Effects of the levels of all factors, in units of their columns."""

    of: CrossedLikelihood

    @cached_property
    def _proposals(self) -> tuple[HeldDraws | OwnDraws, AnyPlan]:
        """Proposals that lie where the fit has put them, and points of the clusters' integrals."""
        likelihood, fit = self.of.task.likelihood, self.of.fit
        if self.of.corrected:
            return self.of._held.draws, self.of._held.plan
        entries = self.of.entries(self.of.coordinates.theta(self.of.start))
        plan = choose(likelihood, entries, points_for_moments(fit.integration.requested)).plan
        return draws_of(likelihood, _SEED_OF_EFFECTS), plan

    def _inside(self, theta: Array) -> tuple[CrossedFactors, HeldDraws, Array]:
        """The likelihood of the rows that the core has at theta, proposals for it, and what it takes."""
        (proposals, _), likelihood, entries = self._proposals, self.of.task.likelihood, self.of.entries(theta)
        if isinstance(proposals, OwnDraws):
            assert isinstance(likelihood, OwnIntegrals)
            inner, at = likelihood.inner(entries)
            assert isinstance(inner, CrossedFactors)
            return inner, proposals.of(inner), at
        assert isinstance(likelihood, CrossedFactors)
        return likelihood, proposals, entries

    def draw(self, theta: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """See `EffectDraws`: those of clusters, and then those of the other factors, of shape (1, number of all)."""
        likelihood, proposals, entries = self._inside(theta)
        fit, own = self.of.rows_at(theta)
        data, effects, covariance = fit.data.rows, fit.effects, self.of.task.covariance
        v, left = _outside(proposals, entries, self._proposals[1], rng)
        beta, phi = np.split(own, [len(fit.beta)])
        L, d = covariance.factor(phi), effects.n_upper
        slopes = likelihood.inside.move(entries, v)
        eta = data.X @ beta + data.offset + likelihood.layout.spread(slopes, v)

        def rows(change: Array) -> Array:
            return np.asarray(fit.response.value(eta[:, None] + change, data.a[:, None], data.b[:, None]))

        places = likelihood.inside.given.modes(likelihood.inside.own(entries), None)
        u, more = drawn_of_clusters(
            Blocks(places.centres, places.factors, effects.Z[:, :d] @ L[:d, :d], data.starts), rows, rng
        )
        return np.concatenate([(u @ L[:d, :d].T).ravel(), *self._scaled(v, L)])[None], left + more

    def _scaled(self, v: Array, L: Array) -> Iterator[Array]:
        effects, first = self.of.fit.effects, 0
        for factor in effects.outside:
            where = effects.places_of(factor.group)
            own = L[where, where]
            size = len(own) * (int(factor.codes.max()) + 1)
            yield (v[first : first + size].reshape(-1, len(own)) @ own.T).ravel()
            first += size


def _outside(proposals: HeldDraws, entries: Array, plan: AnyPlan, rng: np.random.Generator) -> tuple[Array, float]:
    """Effects outside, standard normal ones, and a bound of how far they are from where they should be."""
    components, size = proposals.layout.components, proposals.layout.size
    found, kept = rng.standard_normal(size), np.zeros((0, len(components)))
    left = np.ones(len(components))
    for _ in range(_ROUNDS_OUTSIDE):
        v, logs = proposals.proposed(entries, plan, FRESH, rng)
        v, logs = np.concatenate([v, np.broadcast_to(found, (len(kept), size))]), np.concatenate([logs, kept])
        weights = np.exp(logs - logs.max(axis=0))
        totals = weights.sum(axis=0)
        chosen = (np.cumsum(weights, axis=0) < rng.random(len(components)) * totals).sum(axis=0)
        chosen = np.minimum(chosen, len(weights) - 1)
        for own, k in zip(components, chosen, strict=True):
            found[own] = v[k, own]
        kept = logs[chosen, np.arange(len(components))][None]
        left *= shortfall(len(weights) / totals)
    return found, float(left.mean())
