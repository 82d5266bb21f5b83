"""What Laplace's approximation over outside effects is wrong by: importance sampling about the mode, draws held.

Each component's integral is the mean, over draws e of a density m, of f's exponential at v = v^ + F e over the density
of v, with F F' the inverse of -f_vv. m is .8 of a normal density and .2 of Student's, whose tails keep weights bounded,
with 10 degrees of freedom or as many as there are effects, beyond which all of its draws would lie where the integrand
is next to nothing; the weights that a normal integrand would have, whose mean is known, are a control: the estimate is
the ratio of both sums (Owen and Zhou 2000), without error for a normal integrand. With every draw e goes -e, whose
weight is wrong the other way about as far as f is lopsided, which is most of it where effects are many. Draws are
quasi-random, in replicates that are shifted apart, and the same at every theta: the estimate is a smooth function of
theta. Its derivative is that of each draw's log-weight,

    f_theta + f_v' dv/dtheta + d log|F| / dtheta,    dv/dtheta = dv^/dtheta - F (dC'/dtheta) F e,    F = C'^-1

where v^ and the Cholesky factor C of -f_vv, which all draws share, are differentiated by differences.

Where that takes too many draws, e becomes a + R e, the normal density that is nearest to the integrand: under it the
mean of f's slopes is 0, and that of its curvatures the inverse of its covariance (Opper and Archambeau 2009). Both
means are those over draws of signs, whose squares are what they are in the mean: of f's third and fourth derivatives
those that belong to one effect count without error. And each e is bent, e = z + k (z^2 - 1) / 6 + ..., so that its
density has the third and fourth derivatives k and l of the integrand in it alone: of many effects, of each of which the
data tell little, these are most of what draws from a normal density are wrong by. a, R, k and l stay as they are found
first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import factorial

import numpy as np
from scipy.special import logsumexp

from clusterglm.errors import ClusterError, OptionError
from clusterglm.likelihood.crossed.alone import higher
from clusterglm.likelihood.crossed.crossed import CrossedLikelihood, Mode
from clusterglm.likelihood.crossed.inside import is_summit
from clusterglm.likelihood.crossed.proposal import Placed, mixture
from clusterglm.likelihood.vector.vector import VectorPlan
from clusterglm.model.arrays import Array

REPLICATES = 16
_FIRST_DRAWS, _MOST_DRAWS = 4, 2048  # draws of each replicate, those with the other sign among them
_SIGNS = 4  # draws of signs, and as many with the other sign, that place the draws better
_MATRICES_FOR_DRAWS, _MOST_GIBIBYTES = (
    6,
    4.0,
)  # at a time, beside a derivative in each parameter; of all
_NUMBERS_OF_DRAWS = 10_000_000  # of draws that are looked at together
_BITS = 30  # of quasi-random numbers, which replicates shift digit by digit
_DIMENSIONS_AT_ONCE = 4096  # of one quasi-random sequence
_SKEWED = 19.0 / 18.0  # (2 z^2 + 1) / (6 z), z = 3: by how much skewness over the root of n widens 3 standard errors
_STEP_OF_MODES = 1e-7  # of differences of the mode and the curvature there, relative to parameters above 1


@dataclass(frozen=True, eq=False)
class Drawn:
    """Log-weights and their derivatives at n pairs of draws of each of R replicates, in C components.

    Parameters
    ----------
    logs, controls : ndarray, shape (R, n, 2, C)
        Log-weights, and those of a normal integrand.
    scores : ndarray, shape (R, k, 2, C, q)
        Derivatives of the first k pairs' `logs`.
    """

    logs: Array
    controls: Array
    scores: Array


@dataclass(frozen=True, eq=False)
class _Put:
    """Draws where they lie, and those of the other sign.

    Parameters
    ----------
    moved : ndarray, shape (R, n, 2, size of v)
        How far from the mode they are.
    logs : ndarray, shape (R, n, 2, C)
        Minus logs of their densities, but for a constant.
    """

    moved: Array
    logs: Array


@dataclass(frozen=True, eq=False)
class _Sensitivity:
    """Derivatives in theta of what all draws share.

    Parameters
    ----------
    v : ndarray, shape (q, size of v)
        Of the mode.
    factors : list of list of ndarray
        Of each parameter and component: of C'.
    log_sizes : ndarray, shape (q, C)
        Of log|F|.
    """

    v: Array
    factors: list[list[Array]]
    log_sizes: Array


@dataclass(frozen=True, eq=False)
class Estimate:
    """The held-draw estimate of a log-likelihood (without constants).

    Parameters
    ----------
    value : float
    laplace : float
        What it corrects.
    standard_error : float
        By the replicates, or as if draws were independent, whichever is larger.
    share : float
        Effective share of the draws, the smallest of all components.
    draws : int
    score : ndarray, shape (q,)
        Derivative of `value`, or of what fewer draws have in its place; nan where it was not asked for.
    scores : ndarray, shape (R, q)
        Of each replicate.
    values : ndarray, shape (R,)
        What each replicate says of the log-likelihood, but for a constant.
    """

    value: float
    laplace: float
    standard_error: float
    share: float
    draws: int
    score: Array
    scores: Array
    values: Array

    @property
    def correction(self) -> float:
        """What importance sampling adds to Laplace's approximation."""
        return self.value - self.laplace

    def errors_of_estimates(self, covariance: Array) -> Array:
        """Monte Carlo standard errors of the maximum near by, in units of the standard errors, shape (q,).

        Those of parameters that are held, whose rows of the covariance are 0, are 0.
        """
        moves = self.scores @ covariance
        size = np.sqrt(np.diagonal(covariance))
        errors = moves.std(axis=0, ddof=1) / np.sqrt(len(moves))
        return np.asarray(np.divide(errors, size, out=np.zeros_like(errors), where=size > 0.0))


@dataclass(frozen=True, eq=False)
class Certificate:
    """An estimate with as many draws as it takes.

    Parameters
    ----------
    estimate : Estimate
    errors : ndarray, shape (q,)
        Monte Carlo standard errors of the maximum in units of standard errors.
    enough : bool
        Whether both errors are as small as was asked for.
    scored : int
        Draws of each replicate, the first of them, whose derivatives were needed.
    """

    estimate: Estimate
    errors: Array
    enough: bool
    scored: int


class HeldDraws:
    """Importance sampling with the same draws at every theta.

    An instance remembers the draws at the last theta, of which an estimate may need no more; and where `certify` has
    put them once, they stay.

    Parameters
    ----------
    likelihood : CrossedLikelihood
    seed : int

    Raises
    ------
    ClusterError
        So many effects hang together that there is no memory for the derivatives of their covariances.
    """

    def __init__(self, likelihood: CrossedLikelihood, seed: int = 20113) -> None:
        self.likelihood, self.layout, self._seed = likelihood, likelihood.layout, seed
        _check_memory(int(self.layout.cells[-1]), len(likelihood.parameters))
        # Draws (R, n, size of v) without those of the other sign, and their controls (R, n, C), part by part.
        self._known: list[tuple[Array, Array]] = []
        self._last: tuple[Array, VectorPlan, list[Drawn]] | None = None  # the same parts, at one theta
        self._shared: tuple[Array, VectorPlan, _Sensitivity] | None = None
        self._placed: list[Placed] | None = None  # of each component
        self._of_effects = np.full(self.layout.size, len(self.layout.components))  # those without rows are in none
        for c, own in enumerate(self.layout.components):
            self._of_effects[own] = c

    def of(self, likelihood: CrossedLikelihood) -> HeldDraws:
        """The same draws for another likelihood with the same effects."""
        other = HeldDraws(likelihood, self._seed)
        other._known, other._placed = self._known, self._placed
        return other

    def estimate(
        self, theta: Array, plan: VectorPlan, count: int, order: int = 1, scored: int | None = None
    ) -> Estimate:
        """The estimate with `count` draws of each replicate, a power of 2 from 4 up; `scored`: those with derivatives.

        Raises
        ------
        OptionError
            The plan takes Laplace's approximation for some units, of which there is no integral given v.
        """
        theta = np.ascontiguousarray(theta, dtype=np.float64)
        mode, k = self._mode(theta, plan), count if scored is None else scored
        return self._concluded(mode, self._drawn(theta, plan, mode, count, k if order > 0 else 0))

    def certify(
        self,
        theta: Array,
        plan: VectorPlan,
        covariance: Array,
        tolerance: float = 0.01,
        of_estimates: float = 0.02,
        most: int = _MOST_DRAWS,
    ) -> Certificate:
        """Draw until the errors of value and maximum are small enough, or `most` times in each replicate.

        Parameters
        ----------
        theta : ndarray, shape (q,)
        plan : VectorPlan
        covariance : ndarray, shape (q, q)
            Of the estimates, the inverse of the information.
        tolerance : float
            Standard error of the log-likelihood.
        of_estimates : float
            Monte Carlo standard error of every estimate over its standard error.
        most : int
        """
        theta = np.ascontiguousarray(theta, dtype=np.float64)
        mode, count, scored = self._mode(theta, plan), _FIRST_DRAWS, _FIRST_DRAWS
        while True:
            drawn = self._drawn(theta, plan, mode, count, scored)
            found = self._concluded(mode, drawn)
            errors = found.errors_of_estimates(covariance)
            valued, moved = found.standard_error <= tolerance, bool(np.all(errors <= of_estimates))
            if (valued or count >= most) and (moved or scored >= most):
                return Certificate(found, errors, bool(valued and moved), scored)
            if self._placed is None:
                self._placed, self._last = self._better_places(theta, plan, mode, drawn.logs), None
                continue
            scored = scored if moved else min(2 * scored, most)
            count = max(count if valued else min(2 * count, most), scored)

    def _mode(self, theta: Array, plan: VectorPlan) -> Mode:
        if any(is_summit(part) for part in plan):
            raise OptionError(
                "a plan with one point for some units",
                "points that integrate the units' own effects out",
                "a plan of `choose_points`, or 8 nodes or more",
            )
        return self.likelihood.mode(theta, plan)

    def _draws(self, last: int) -> list[tuple[Array, Array]]:
        """At least `last` draws of each replicate, in parts that double."""
        from scipy.stats.qmc import Sobol

        components = self.layout.components
        groups = np.cumsum([len(own) + 1 for own in components]) // _DIMENSIONS_AT_ONCE
        while (known := sum(e.shape[1] for e, _ in self._known)) < last:
            more = known or _FIRST_DRAWS // 2
            e = np.zeros((REPLICATES, more, self.layout.size))
            controls = np.zeros((REPLICATES, more, len(components)))
            for number, group in enumerate(np.unique(groups)):
                chosen = np.flatnonzero(groups == group)
                ends = np.cumsum([len(components[c]) + 1 for c in chosen])
                sequence = Sobol(int(ends[-1]), bits=_BITS, seed=np.random.default_rng([self._seed, number]))
                cells = (sequence.random(known + more)[known:] * 2.0**_BITS).astype(np.int64)
                for r in range(REPLICATES):
                    shift = np.random.default_rng([self._seed, r, number]).integers(2**_BITS, size=cells.shape[1])
                    uniform = np.split(((cells ^ shift) + 0.5) / 2.0**_BITS, ends[:-1], axis=1)
                    for c, numbers in zip(chosen, uniform, strict=True):
                        e[r][:, components[c]], controls[r, :, c] = mixture(numbers)
            self._known.append((e, controls))
        return self._known

    def _drawn(self, theta: Array, plan: VectorPlan, mode: Mode, count: int, scored: int) -> Drawn:
        """Weights of `count` draws of each replicate, of which some may be known, and derivatives of the first."""
        last, known, start = self._last, list[Drawn](), 0
        if last is not None and last[1] is plan and np.array_equal(last[0], theta):
            known = last[2]
        parts: list[Drawn] = []
        for k, (e, controls) in enumerate(self._draws(count // 2)):
            if start == count // 2:
                break
            part = known[k] if k < len(known) else None
            if part is None or (start < scored // 2 and part.scores.shape[1] == 0):
                shared = self._sensitivity(theta, plan, mode) if start < scored // 2 else None
                step = max(1, _NUMBERS_OF_DRAWS // e[0].size)
                some = [slice(r, r + step) for r in range(0, REPLICATES, step)]
                part = _joined([self._of_part(theta, plan, mode, shared, e[r], controls[r]) for r in some], 0)
            parts.append(part)
            start += e.shape[1]
        self._last = theta.copy(), plan, parts + known[len(parts) :]
        found = _joined(parts, 1)
        return replace(found, scores=found.scores[:, : scored // 2])

    def _sensitivity(self, theta: Array, plan: VectorPlan, mode: Mode) -> _Sensitivity:
        if self._shared is not None and self._shared[1] is plan and np.array_equal(self._shared[0], theta):
            return self._shared[2]
        self._shared = None  # before others take as much memory
        likelihood, v, factors, sizes = self.likelihood, [], [], []
        for k, entry in enumerate(theta.tolist()):
            move = np.zeros(len(theta))
            move[k] = _STEP_OF_MODES * max(1.0, abs(entry))
            there = likelihood.near(theta + move, mode, plan)
            v.append((there.v - mode.v) / move[k])
            pairs = list(zip(there.factors, mode.factors, strict=True))
            factors.append([(one - other) / move[k] for one, other in pairs])
            sizes.append([-np.log(np.diagonal(one) / np.diagonal(other)).sum() / move[k] for one, other in pairs])
        found = _Sensitivity(np.array(v), factors, np.array(sizes))
        self._shared = theta.copy(), plan, found
        return found

    def _better_places(self, theta: Array, plan: VectorPlan, mode: Mode, logs: Array) -> list[Placed]:
        """`logs`: log-weights of the draws that were not enough."""
        from scipy.linalg import solve_triangular
        from scipy.linalg.lapack import dpotrf, dtrtri

        inside, layout, rng = self.likelihood.inside, self.layout, np.random.default_rng([self._seed, REPLICATES])
        slopes, curvatures = np.zeros(layout.size), np.zeros(int(layout.cells[-1]))
        for signs in rng.choice([-1.0, 1.0], (_SIGNS, layout.size)):
            move = np.zeros(layout.size)
            for own, factor in zip(layout.components, mode.factors, strict=True):
                move[own] = solve_triangular(factor, signs[own])
            for side in (1.0, -1.0):
                slopes += inside.gradient(theta, mode.v + side * move, plan).v / (2 * _SIGNS)
                curvatures += inside.curvature(theta, mode.v + side * move, plan)[0] / (2 * _SIGNS)
        scales, shifts, centre = [], [], mode.v.copy()
        for own, factor, matrix in zip(layout.components, mode.factors, layout.matrices(curvatures), strict=True):
            whole = np.tril(matrix) + np.tril(matrix, -1).T
            half = solve_triangular(factor, whole, trans=1)
            scaled = solve_triangular(factor, half.T, trans=1)
            R = np.triu(dtrtri(np.triu(dpotrf(scaled, lower=0)[0]), lower=0)[0])
            scales.append(R)
            shifts.append(R @ (R.T @ solve_triangular(factor, slopes[own], trans=1)))
            centre[own] += solve_triangular(factor, shifts[-1])
        found, of_effects = [], higher(inside, theta, centre, plan)
        e = np.concatenate([known for known, _ in self._known], axis=1)[:, : logs.shape[1]]
        for c, (own, factor, a, R) in enumerate(zip(layout.components, mode.factors, shifts, scales, strict=True)):
            z, plus, minus = e[:, :, own].reshape(-1, len(own)), logs[:, :, 0, c].ravel(), logs[:, :, 1, c].ravel()
            inverse, derivatives = np.triu(dtrtri(factor, lower=0)[0]), []
            powers = zip(_third_and_fourth(inverse), _third_and_fourth(inverse @ R), _third_and_fourth(z), strict=True)
            told = zip((3, 4), of_effects, (0.5 * (plus - minus), 0.5 * (plus + minus)), powers, strict=True)
            for power, of, seen, (of_inverse, of_scaled, of_draws) in told:
                # With the units' effects held they are too large: what the draws so far say of them, all in one.
                expected = of_draws @ (of[own] @ of_inverse) / factorial(power)
                expected = expected - (expected.mean() if power == 4 else 0.0)
                share = np.clip(expected @ seen / max(float(expected @ expected), 1e-300), 0.0, 1.0)
                derivatives.append(share * (of[own] @ of_scaled))
            found.append(Placed.of(a, R, *derivatives))
        return found

    def proposed(self, theta: Array, plan: VectorPlan, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Fresh effects from the proposal at `theta`, shape (count, size of v), and logs of their weights, (count, C).

        Weights are those of the effects given data and parameters, component by component, up to a factor. Effects of
        levels without rows are standard normal.
        """
        theta, layout = np.ascontiguousarray(theta, dtype=np.float64), self.layout
        mode, C = self._mode(theta, plan), len(layout.components)
        e, controls = rng.standard_normal((count, layout.size)), np.zeros((count, C))
        for c, own in enumerate(layout.components):
            e[:, own], controls[:, c] = mixture(rng.random((count, len(own) + 1)))
        placed = self._put(mode, e[None], controls[None])
        found = mode.v + placed.moved[0, :, 0]
        lonely = self._of_effects == C
        found[:, lonely] = e[:, lonely]
        return found, placed.logs[0, :, 0] + np.array(
            [self._log_integrand(self.likelihood.inside.values(theta, v, plan), v) for v in found]
        )

    def _put(self, mode: Mode, e: Array, controls: Array) -> _Put:
        """Draws e, shape (R, n, size of v), about the mode."""
        from scipy.linalg import solve_triangular

        layout = self.layout
        shape = *e.shape[:2], 2
        moved, logs = np.zeros((*shape, e.shape[2])), np.zeros((*shape, len(layout.components)))
        for c, (own, factor) in enumerate(zip(layout.components, mode.factors, strict=True)):
            flat = (e[:, :, None, own] * np.array([1.0, -1.0])[:, None]).reshape(-1, len(own))
            log = 0.5 * (flat**2).sum(axis=1) - np.log(np.diagonal(factor)).sum()
            if self._placed is not None:
                placed = self._placed[c]
                flat, sizes = placed.bent(flat)
                flat = placed.shift + flat @ placed.scale.T
                log += sizes + np.log(np.diagonal(placed.scale)).sum()
            moved[..., own] = solve_triangular(factor, flat.T).T.reshape(*shape, -1)
            logs[..., c] = log.reshape(shape)
        return _Put(moved, controls[:, :, None] + logs)

    def _log_integrand(self, values: Array, v: Array) -> Array:
        """Component by component, shape (C,), from the units' log-integrals at v."""
        C = len(self.layout.components)
        f = np.bincount(self.layout.of_units, weights=values, minlength=C)
        return np.asarray(f - 0.5 * np.bincount(self._of_effects, weights=v**2, minlength=C + 1)[:C])

    def _of_part(
        self, theta: Array, plan: VectorPlan, mode: Mode, shared: _Sensitivity | None, e: Array, controls: Array
    ) -> Drawn:
        from scipy.linalg import solve_triangular

        inside, layout = self.likelihood.inside, self.layout
        R, n, size = e.shape
        C, q = len(layout.components), len(theta)
        logs, scores = np.zeros((R, n, 2, C)), np.zeros((R, n if shared else 0, 2, C, q))
        pulls, placed = np.zeros((R, n, 2, size if shared else 0)), self._put(mode, e, controls)
        for r, s, side in np.ndindex(R, n, 2):
            v = mode.v + placed.moved[r, s, side]
            if shared:
                at = inside.gradient(theta, v, plan)
                values, scores[r, s, side], pulls[r, s, side] = at.values, inside.by_component(at), at.v
            else:
                values = inside.values(theta, v, plan)
            logs[r, s, side] = self._log_integrand(values, v)
        logs += placed.logs
        if shared:
            scores += shared.log_sizes.T
            for c, (own, factor) in enumerate(zip(layout.components, mode.factors, strict=True)):
                there, pull = placed.moved[..., own].reshape(2 * R * n, -1), pulls[..., own]
                for k, changes in enumerate(shared.factors):
                    change = solve_triangular(factor, changes[c] @ there.T).T.reshape(pull.shape)
                    scores[..., c, k] += pull @ shared.v[k, own] - np.einsum("rnsv,rnsv->rns", pull, change)
        return Drawn(logs, np.broadcast_to(controls[:, :, None], logs.shape), scores)

    def _concluded(self, mode: Mode, drawn: Drawn) -> Estimate:
        R, n, _, _ = drawn.logs.shape
        q = len(self.likelihood.parameters)
        by_component = logsumexp(drawn.logs, axis=(0, 1, 2)) - logsumexp(drawn.controls, axis=(0, 1, 2))
        weights = np.exp(drawn.logs - by_component)
        # Of the ratio, to first order: by the replicates, and as if pairs were independent, for in few dimensions rare
        # draws that matter may be in no replicate at all. Weights are skewed: where the mean is too low, so is their
        # variance (Hall 1992).
        apart = (weights - np.exp(drawn.controls)).mean(axis=2)
        by_replicates = apart.mean(axis=1).var(axis=0, ddof=1) / R
        independent = (apart**2).sum(axis=(0, 1)) / (R * n) ** 2
        skew = np.maximum((apart**3).mean(axis=(0, 1)), 0.0) / np.maximum((apart**2).mean(axis=(0, 1)), 1e-300) ** 1.5
        error = float(
            np.sqrt((np.maximum(by_replicates, independent) * (1.0 + _SKEWED * skew / np.sqrt(R * n)) ** 2).sum())
        )
        share = weights.sum(axis=(0, 1, 2)) ** 2 / (weights**2).sum(axis=(0, 1, 2)) / (2 * R * n)
        score, scores = np.full(q, np.nan), np.full((R, q), np.nan)
        if (k := drawn.scores.shape[1]) > 0:
            of_replicates = np.einsum("rnsc,rnscq->rcq", weights[:, :k], drawn.scores)
            totals = weights[:, :k].sum(axis=(1, 2))
            score = (of_replicates.sum(axis=0) / totals.sum(axis=0)[:, None]).sum(axis=0)
            scores = (of_replicates / totals[:, :, None]).sum(axis=1)
        laplace = self.likelihood.value_at(mode)
        values = logsumexp(drawn.logs, axis=(1, 2)).sum(axis=1)
        return Estimate(float(by_component.sum()), laplace, error, float(share.min()), 2 * R * n, score, scores, values)


def _third_and_fourth(x: Array) -> tuple[Array, Array]:
    """Powers entry by entry, as products: powers of arrays take ten times as long."""
    square = x * x
    return square * x, square * square


def _joined(parts: list[Drawn], axis: int) -> Drawn:
    return Drawn(
        *(np.concatenate(arrays, axis=axis) for arrays in zip(*(vars(p).values() for p in parts), strict=True))
    )


def _check_memory(cells: int, parameters: int) -> None:
    gibibytes = (parameters + _MATRICES_FOR_DRAWS) * 8.0 * cells / 2.0**30
    if gibibytes > _MOST_GIBIBYTES:
        raise ClusterError(
            f"importance sampling of effects of crossed factors whose covariances would fill {gibibytes:,.1f} GiB",
            f"at most {_MOST_GIBIBYTES:g} GiB",
            "Laplace's approximation alone (quadrature='laplace'), or leave out a random term",
        )
