"""The likelihood of a model with crossed factors: units' effects integrated out, Laplace's approximation outside.

theta = (beta, free entries of the units' L row by row, those of each term outside) -> value, score, Hessian. With
f(v) = sum of the units' log-integrals - v'v / 2 and its maximum v^ (found by Newton's method),

    log L is about f(v^) - 1/2 log det(-f_vv)

A plan gives every unit points, as for a single factor. One point means Laplace's approximation there too: then v^ and
the units' modes are the joint mode, and the determinant that of the joint curvature. The score is the exact derivative
of the approximation, but for points that follow the units and are few (2 to 7 a dimension), where it is the differences
of the value; the Hessian is the differences of the score. `roughly` has the average information instead, which costs
less than a score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import IntegrationError
from clusterglm.likelihood.crossed.inside import Contraction, Gradient, Inside, is_summit
from clusterglm.likelihood.crossed.layout import OutsideTerm
from clusterglm.likelihood.crossed.posterior import CrossedPosterior, joined
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation
from clusterglm.likelihood.vector.choice import VectorChoice, choose_points
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import VectorPart, VectorPlan, unstructured
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

_SCORE_STEP = 3e-5  # of differences of the score, relative to parameters above 1, where it is differences itself
_STEP_AHEAD = 1e-7  # of one-sided ones
_VALUE_STEP = 1e-4  # of differences of the value
_NOT_FORESEEN = 1.0  # motion of the mode beyond which it is not foreseen
_ANOTHER_CURVATURE = 0.15  # of a standard deviation: a step after which the curvature is computed anew if it is cheap
_MOST_STEPS = 200
_NODES_TO_START, _MOST_TO_START = (9, 25, 61), 4000  # a dimension; points above which no more are tried
_FOUND, _BY_OLD_ONES = 1e-18, 1e-22  # Newton decrement from which one more step leads to the mode; by an old curvature
_LEFT_BY_OLD_ONES = 2e-26  # and what is left after it, if it falls as it did; after a fresh one a quarter as much
_SAME_MODE = 1e-3  # standard deviations of effects by which a mode may move and points inside are as good
_GLANCED = 0.01  # and where the value is wanted to a few hundredths
_FAR_LOWER = 5.0  # what a glance may be wrong by, times the Newton decrement and at least one
_NO_STEP_LEFT = 1e-24  # and at which there is no step left
_ROUNDED = 1e-11  # and at which it is, if it falls no more
_CONTRACTS = 1e-3  # factor by which a step by an old curvature has to bring the decrement down, or it is computed anew
_CONTRACTS_IF_DEAR = 0.02
_MOST_EXPECTED = 6.0  # standard deviations up to which effects are expected
_WORTH_ANOTHER = 2.5  # steps to come above which a new curvature, and one or two steps by it, are less
_PASSES_A_FACTOR = 3e8  # operations of a factorisation above which an old one is worth some passes


@dataclass(frozen=True, eq=False)
class Mode:
    """The maximum of f.

    Parameters
    ----------
    v : ndarray
    value : float
        f there.
    gradient : Gradient
        First derivatives next to it, from where v is one step of Newton's method.
    factors : list of ndarray
        C' of each component's curvature C C', upper triangular.
    log_determinant : float
        Of all curvatures, those of units of which only the summit counts among them.
    """

    v: Array
    value: float
    gradient: Gradient
    factors: list[Array]
    log_determinant: float


@dataclass(frozen=True, eq=False)
class _Visited:
    """What was computed last."""

    theta: Array
    plan: VectorPlan
    mode: Mode
    score: Array | None = None


class CrossedLikelihood:
    """Laplace's approximation over outside effects of the units' log-integrals.

    An instance remembers the last modes, which makes the next search short.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Columns with coefficients.
    Z : ndarray, shape (n, d)
        Columns with effects of the units.
    data : ClusterArrays
        Everything else; its clusters are the units, the levels of the inside factor.
    terms : sequence of OutsideTerm
        At least one.
    response : Response
    free : ndarray of bool, shape (d, d), optional
        Which entries of the units' L are parameters. By default its lower triangle.
    threads : int
        Threads of the core; results are the same bits for any number.

    Raises
    ------
    ClusterError
        More outside effects hang together than there is memory for.
    """

    def __init__(
        self,
        X: Array,
        Z: Array,
        data: ClusterArrays,
        terms: Sequence[OutsideTerm],
        response: Response,
        free: NDArray[np.bool_] | None = None,
        threads: int = 1,
    ) -> None:
        own = unstructured(Z.shape[1]) if free is None else free
        self.inside = Inside(X, Z, data, response, own, terms, threads)
        self.layout, self.parameters = self.inside.layout, self.inside.parameters
        self._v, self._factors = np.zeros(self.layout.size), list[Array]()
        self._last: _Visited | None = None
        self._follows: tuple[VectorPlan, Array] | None = None  # dv^/dtheta, where it is known, for modes to come
        self._told: Array | None = None  # by how much less than 1 the effects varied given the data

    def laplace_plan(self) -> VectorPlan:
        """The plan of the joint approximation."""
        return self.inside.summit

    def choose(self, theta: Array, tolerance: float) -> VectorChoice:
        """Points for every unit at `theta` and the mode there, for errors of the units' integrals within `tolerance`.

        Errors are those at the mode: elsewhere, where a certificate draws, points that stay serve a little less well.
        """
        theta = np.ascontiguousarray(theta, dtype=np.float64)
        v = self._about_where(theta)
        for _ in range(2):  # the second time about the mode that the first points have, if that is another
            self.inside.move(theta, v)
            choice = choose_points(self.inside.given, self.inside.own(theta), tolerance)
            last, v = v, self.mode(theta, choice.plan).v
            if np.abs(v - last).max() < _SAME_MODE:
                break
        return choice

    def _about_where(self, theta: Array) -> Array:
        """The mode by few points, or by more where so few have none."""
        for nodes in _NODES_TO_START:
            try:
                return self.mode(theta, (VectorPart(hermite_points(nodes, self.inside.n_effects)),)).v
            except IntegrationError:
                self._v, self._factors = np.zeros(self.layout.size), []
                if nodes**self.inside.n_effects > _MOST_TO_START:
                    raise
        return self.mode(theta, self.inside.summit).v

    def evaluate(self, theta: Array, plan: VectorPlan, order: int = 2) -> Evaluation:
        """Log-likelihood (without constants), and derivatives up to `order`, at `theta`, shape (q,).

        Raises
        ------
        IntegrationError
            f has no maximum in v that Newton's method finds.
        """
        theta = np.ascontiguousarray(theta, dtype=np.float64)
        size = len(self.parameters)
        mode = self.mode(theta, plan)
        score, hessian = np.zeros(size), np.zeros((size, size))
        if order > 0:
            score = self._score_there(theta, mode, plan)
        if order > 1:
            hessian = self._hessian(theta, mode, plan, score)
        return Evaluation(self.value_at(mode), score, hessian)

    def glanced(self, theta: Array, plan: VectorPlan, above: float = -np.inf) -> float:
        """The value at a place to which a search need not go: what was known of modes stays known.

        If it is compared with `above` it is accurate to a few hundredths, and less so far below; otherwise it is exact.

        Raises
        ------
        IntegrationError
            See `evaluate`.
        """
        theta, before = np.ascontiguousarray(theta, dtype=np.float64), (self._v, self._factors, self._last)
        try:
            return self.value_at(self.mode(theta, plan, _GLANCED if above > -np.inf else _FOUND, above))
        finally:
            self._v, self._factors, self._last = before

    def roughly(self, theta: Array, plan: VectorPlan) -> Evaluation:
        """Value and score, and minus the average information, made ready for steps, as the Hessian."""
        there = self.evaluate(theta, plan, 1)
        mode = self.mode(theta, plan)
        theta = np.ascontiguousarray(theta, dtype=np.float64)
        rows = mode.gradient.rows
        found, follows = self.inside.information(theta, mode.v, plan, rows, lambda g: self.solved(mode.factors, g))
        self._follows = plan, follows
        sizes = self.inside.towards_expected(theta, mode.v, plan, there.score)
        return replace(there, hessian=-found * np.sqrt(sizes[:, None] * sizes))

    def mode(self, theta: Array, plan: VectorPlan, enough: float = _FOUND, above: float = -np.inf) -> Mode:
        """The maximum of f, sought from where it was last found.

        `enough`: a Newton decrement with which the search ends. It ends, too, where f is far below `above`.
        """
        if self._last is not None and self._last.plan is plan and np.array_equal(self._last.theta, theta):
            return self._last.mode
        v, factors, fresh = self._expected(theta, plan), self._factors, False
        # Points that follow the units have the gradient of points held, which is not quite that of their sum.
        follow = any(part.places is None and not is_summit(part) for part in plan)
        at = self.inside.gradient(theta, v, plan)
        value, last, last_fresh = _sum(at.values, v), np.inf, np.inf
        contracts = _CONTRACTS_IF_DEAR if self._dear() else _CONTRACTS
        for _ in range(_MOST_STEPS):
            # more than Newton's decrement, as -f_vv > 1
            if above > -np.inf and value + _FAR_LOWER * (1.0 + float(at.v @ at.v)) < above:
                return Mode(v, value, at, [], 0.0)
            if not factors:
                factors, fresh = self._factored(theta, v, plan), True
            step = self.solved(factors, at.v)
            decrement = float(at.v @ step)
            if decrement <= (enough if fresh else max(_BY_OLD_ONES, 1e-4 * enough)) or (
                fresh and decrement < _ROUNDED and decrement > 0.1 * last_fresh
            ):
                break
            if not fresh and decrement**2 <= _LEFT_BY_OLD_ONES * last < np.inf:
                break
            if not fresh and (decrement > contracts * last or self._steps_left(decrement, last) > _WORTH_ANOTHER):
                factors, last = [], np.inf
                continue
            length, rounding = 1.0, 1e-13 * (1.0 + abs(value))
            while True:
                there = self.inside.gradient(theta, v + length * step, plan)
                ahead = _sum(there.values, v + length * step)
                uphill = ahead >= value + 1e-4 * length * decrement - rounding
                if follow and not uphill:
                    uphill = float(there.v @ self.solved(factors, there.v)) < (1.0 - 0.5 * length) * decrement
                if uphill or length < 1e-10:
                    break
                length *= 0.5
            if length < 1e-10:
                if fresh:
                    decrement = 0.0
                    break
                factors, last = [], np.inf
                continue
            v, at, value = v + length * step, there, ahead
            last_fresh = decrement if fresh else last_fresh
            if fresh and (length < 1.0 or not self._old_ones_serve(decrement, enough)):
                factors, fresh, last = [], False, np.inf
            else:
                fresh, last = False, decrement
        else:
            raise IntegrationError(
                f"the effects of crossed factors have not settled after {_MOST_STEPS} steps",
                "a log-likelihood that has a maximum in them",
                "start from smaller standard deviations",
            )
        if decrement > _NO_STEP_LEFT:  # the last step needs no first derivatives
            v, value = v + step, value + 0.5 * decrement
        mode = self._about(theta, v, plan, value, at)
        self._v, self._factors = mode.v, mode.factors
        self._last = _Visited(theta.copy(), plan, mode)
        return mode

    def posterior(self, theta: Array, plan: VectorPlan) -> CrossedPosterior:
        """Modes, means and covariances of all effects given the data, at `theta`, shape (q,)."""
        theta = np.ascontiguousarray(theta, dtype=np.float64)
        mode, units = self.mode(theta, plan), self.inside.no_moments()
        S = self.inverses(mode.factors)
        held = self.inside.contract(theta, mode.v, plan, S, units)
        modes = self.inside.given.modes(self.inside.own(theta), None).centres
        return joined(self.layout, mode.v, S, held.v, units, modes)

    def near(self, theta: Array, mode: Mode, plan: VectorPlan) -> Mode:
        """The mode, without a value, at a theta so near to another's that one step with its curvature leads there."""
        at = self.inside.gradient(theta, mode.v, plan, valued=False)
        return self._about(theta, mode.v + self.solved(mode.factors, at.v), plan, np.nan, at)

    def value_at(self, mode: Mode) -> float:
        """The approximation, given the mode."""
        return mode.value - 0.5 * mode.log_determinant

    def solved(self, factors: list[Array], g: Array) -> Array:
        """(-f_vv)^-1 g, for a vector g or the columns of a matrix."""
        from scipy.linalg.lapack import dpotrs

        step = np.zeros_like(g)
        for own, factor in zip(self.layout.components, factors, strict=True):
            step[own] = dpotrs(factor, g[own], lower=0)[0]
        return step

    def inverses(self, factors: list[Array]) -> Array:
        """The components' covariances, their lower triangles, one after another."""
        from scipy.linalg.lapack import dpotri

        flat = np.empty(int(self.layout.cells[-1]))
        for to, factor in zip(self.layout.matrices(flat), factors, strict=True):
            to[:] = dpotri(factor, lower=0)[0].T
        return flat

    def total(self, theta: Array, mode: Mode, plan: VectorPlan, held: Contraction, pull: Array) -> Array:
        """Derivative in theta of what has derivatives `held` and, in v, `pull` more: v^ follows theta.

        What is left of f_v is one Newton step that f_theta has not felt.
        """
        y = self.solved(mode.factors, held.v + pull + mode.gradient.v)
        return held.theta + self.inside.along(theta, mode.v, plan, y, held.kappa, held.first)

    def _expected(self, theta: Array, plan: VectorPlan) -> Array:
        """Where the mode is expected, from where it was last.

        Effects are known from there to first order; and the standard normal ones, v, shrink as standard deviations
        grow by r: one of which the data tell a share w of 1 becomes r / (r^2 w + 1 - w) times as large.
        """
        known, last = self._follows, self._last
        if last is None or self._v is not last.mode.v or self._told is None:
            return self._v
        grown = self.inside.growth(last.theta, theta)
        far = np.abs(grown - 1.0).max() > _ANOTHER_CURVATURE
        if far and not self._dear():
            self._factors = []
        v = self._v * (grown / (grown**2 * self._told + 1.0 - self._told))
        if np.abs(v).max() > max(_MOST_EXPECTED, np.abs(self._v).max()):  # from next to none shares say nothing
            return self._v
        if known is None or known[0] is not plan or last.plan is not plan:
            return np.asarray(v)
        more = known[1] @ (theta - last.theta) - self._v * (grown - 1.0) * (1.0 - 2.0 * self._told)
        return np.asarray(v + more if np.abs(more).max() < _NOT_FORESEEN else v)

    def _score(self, theta: Array, mode: Mode, plan: VectorPlan) -> Array:
        if any(_is_few(part) for part in plan):
            found = np.zeros(len(theta))
            for k in range(len(theta)):
                move = _step(theta, k, _VALUE_STEP)
                ahead, behind = (self.evaluate(theta + side * move, plan, 0).value for side in (1.0, -1.0))
                found[k] = (ahead - behind) / (2.0 * move[k])
            return found
        S = self.inverses(mode.factors)
        self._told = self._shares(S)
        held = self.inside.contract(theta, mode.v, plan, S)
        return self.inside.in_theta(mode.gradient) + self.total(theta, mode, plan, held, np.zeros(self.layout.size))

    def _score_there(self, theta: Array, mode: Mode, plan: VectorPlan) -> Array:
        """The score, which may have been computed before."""
        last = self._last
        if last is None or last.mode is not mode:
            return self._score(theta, mode, plan)
        if last.score is None:
            last = replace(last, score=self._score(theta, mode, plan))
        self._last = last
        assert last.score is not None
        return last.score.copy()

    def _hessian(self, theta: Array, mode: Mode, plan: VectorPlan, score: Array) -> Array:
        """Differences of the score, one-sided, as f_v is far more accurate than what steps leave out."""
        found, few, last = np.zeros((len(theta), len(theta))), any(_is_few(part) for part in plan), self._last
        at = mode.gradient.v
        if not few and float(at @ self.solved(mode.factors, at)) > _FOUND:  # by the same steps as those beside it
            score = self._score(theta, self.near(theta, mode, plan), plan)
        for k in range(len(theta)):
            if few:
                move = _step(theta, k, _SCORE_STEP)
                ahead, behind = (self.evaluate(theta + side * move, plan, 1).score for side in (1.0, -1.0))
                found[k] = (ahead - behind) / (2.0 * move[k])
            else:
                move = _step(theta, k, _STEP_AHEAD)
                there = self.near(theta + move, mode, plan)
                found[k] = (self._score(theta + move, there, plan) - score) / move[k]
        self._v, self._factors, self._last = mode.v, mode.factors, last
        return 0.5 * (found + found.T)

    def _about(self, theta: Array, v: Array, plan: VectorPlan, value: float, at: Gradient) -> Mode:
        """The mode v, with the curvature there."""
        matrices, logs = self.inside.curvature(theta, v, plan)
        factors = self._factors_of(matrices)
        of_outside = sum(float(np.log(np.diagonal(factor)).sum()) for factor in factors)
        return Mode(v, value, at, factors, 2.0 * (of_outside - float(logs.sum())))

    def _factored(self, theta: Array, v: Array, plan: VectorPlan) -> list[Array]:
        return self._factors_of(self.inside.curvature(theta, v, plan)[0])

    def _factors_of(self, matrices: Array) -> list[Array]:
        from scipy.linalg.lapack import dpotrf

        found = []
        for matrix in self.layout.matrices(matrices):
            factor, info = dpotrf(matrix.T, lower=0, clean=0, overwrite_a=1)
            if info != 0:
                raise IntegrationError(
                    "the curvature in the effects of crossed factors is not positive definite",
                    "an integrand that falls away from its maximum in every direction",
                    "more points for the inside factor, or smaller standard deviations to start from",
                )
            found.append(factor)
        return found

    def _steps_left(self, decrement: float, last: float) -> float:
        """How many steps by an old curvature the mode is away, if all do as the last did; 0 where another is dear."""
        if self._dear() or not 0.0 < decrement < last < np.inf:
            return 0.0
        return float(np.log(_BY_OLD_ONES / decrement) / np.log(decrement / last))

    def _old_ones_serve(self, decrement: float, enough: float) -> bool:
        """Whether the next step may use the same curvature: near the mode, or where a new one costs much."""
        return decrement < max(1e-8, 100.0 * enough) or self._dear()

    def _dear(self) -> bool:
        """Whether a factorisation costs more than some passes."""
        sizes = np.array([len(own) for own in self.layout.components], dtype=np.float64)
        return float((sizes**3).sum()) / 3.0 > _PASSES_A_FACTOR

    def _shares(self, S: Array) -> Array:
        """By how much less than 1 each effect varies given the data: 0 of those without."""
        found = np.zeros(self.layout.size)
        for own, matrix in zip(self.layout.components, self.layout.matrices(S), strict=True):
            found[own] = np.clip(1.0 - np.diagonal(matrix), 0.0, 1.0)
        return found


def _is_few(part: VectorPart) -> bool:
    """Whether a part's points follow its units and are so few that their motion counts."""
    return part.places is None and not part.points.fine and not is_summit(part)


def _sum(values: Array, v: Array) -> float:
    return float(values.sum()) - 0.5 * float(v @ v)


def _step(theta: Array, k: int, size: float) -> Array:
    move = np.zeros(len(theta))
    move[k] = size * max(1.0, abs(float(theta[k])))
    return move
