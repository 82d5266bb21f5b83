"""What Laplace's approximation over outside effects is wrong by: importance sampling about the mode, draws held.

Each component's integral is the mean, over draws e of a density m, of f's exponential at v = v^ + F e over the density
of v, with F F' the inverse of -f_vv. m is .8 of a normal density and .2 of Student's with 10 degrees of freedom, whose
tails keep weights bounded; the weights that a normal integrand would have, whose mean is known, are a control: the
estimate is the ratio of both sums (Owen and Zhou 2000), without error for a normal integrand. Draws are quasi-random,
in replicates that are scrambled apart, and the same at every theta: the estimate is a smooth function of theta, whose
derivative is exact. With weights w normalised, E = sum of w f_v e', N = E'F, and Q symmetric with 1 + N_rr on and N_rs
(r > s) off its diagonal,

    score = sum of w f_theta + (sum of w f_v)' dv^/dtheta - 1/2 tr(F Q F' d(-f_vv)/dtheta)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, gammaln, logsumexp, ndtri

from clusterglm.errors import IntegrationError, OptionError
from clusterglm.likelihood.crossed.crossed import CrossedLikelihood, Mode
from clusterglm.likelihood.crossed.inside import is_summit
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.vector.vector import VectorPlan
from clusterglm.model.arrays import Array

_NORMAL = 0.8  # share of the normal density
_DF = 10.0  # of the other
_REPLICATES = 16
_FIRST_DRAWS, _MOST_DRAWS = 8, 2048  # draws of each replicate
_MOVED = 1e-3  # of a standard error: where the maximum has been found
_MOST_MOVES = 20


@dataclass(frozen=True, eq=False)
class Sums:
    """Weighted sums over `count` draws of each of R replicates.

    Parameters
    ----------
    count : int
    logs, controls, squares, products_with_controls, squares_of_controls : ndarray, shape (R, C)
        Logs of the sums of weights, of the control's weights, and of their squares and products, by component.
    theta : ndarray, shape (R, C, q)
        Weighted means of f_theta, as the next two.
    v : ndarray, shape (R, size of v)
        Of f_v.
    products : ndarray, shape (R, cells)
        Of f_v e', components one after another.
    """

    count: int
    logs: Array
    controls: Array
    squares: Array
    products_with_controls: Array
    squares_of_controls: Array
    theta: Array
    v: Array
    products: Array


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
        Derivative of `value`; nan where it was not asked for.
    scores : ndarray, shape (R, q)
        Of each replicate.
    """

    value: float
    laplace: float
    standard_error: float
    share: float
    draws: int
    score: Array
    scores: Array

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
    """

    estimate: Estimate
    errors: Array
    enough: bool


class HeldDraws:
    """Importance sampling with the same draws at every theta.

    Parameters
    ----------
    likelihood : CrossedLikelihood
    seed : int
    """

    def __init__(self, likelihood: CrossedLikelihood, seed: int = 20113) -> None:
        self.likelihood, self.layout, self._seed = likelihood, likelihood.layout, seed
        # Draws (R, k, size of v), and logs of the normal density over that of the draws (R, k, C), part by part.
        self._known: list[tuple[Array, Array]] = []

    def estimate(self, theta: Array, plan: VectorPlan, count: int, order: int = 1) -> Estimate:
        """The estimate with `count` draws of each replicate, a power of 2 from 8 up.

        Raises
        ------
        OptionError
            The plan takes Laplace's approximation for some units, of which there is no integral given v.
        """
        mode = self._mode(theta, plan)
        return self._concluded(theta, plan, mode, self._sums(theta, plan, mode, 0, count, order), order)

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
        mode, count = self._mode(theta, plan), _FIRST_DRAWS
        sums = self._sums(theta, plan, mode, 0, count, 1)
        while True:
            found = self._concluded(theta, plan, mode, sums, 0)
            if found.standard_error <= tolerance or count >= most:
                found = self._concluded(theta, plan, mode, sums, 1)
                errors = found.errors_of_estimates(covariance)
                enough = bool(found.standard_error <= tolerance and np.all(errors <= of_estimates))
                if enough or count >= most:
                    return Certificate(found, errors, enough)
            sums = _merged(
                sums, self._sums(theta, plan, mode, count, 2 * count, 1), self.layout.cells, self.layout.components
            )
            count *= 2

    def moved(self, theta: Array, plan: VectorPlan, covariance: Array, count: int) -> tuple[Array, Estimate]:
        """The maximum of the estimate, from that of Laplace's approximation, by steps with its covariance.

        Raises
        ------
        IntegrationError
            The steps do not settle.
        """
        size = np.sqrt(np.diagonal(covariance))
        for _ in range(_MOST_MOVES):
            found = self.estimate(theta, plan, count)
            step = covariance @ found.score
            if np.abs(step / size).max() < _MOVED:
                return theta, found
            theta = theta + step
        raise IntegrationError(
            f"the maximum has not settled after {_MOST_MOVES} steps of the corrected likelihood",
            "a likelihood that is near its approximation",
            "more draws",
        )

    def evaluation(self, theta: Array, plan: VectorPlan, count: int) -> Evaluation:
        """Value and score of the estimate, and the Hessian of Laplace's approximation."""
        found = self.estimate(theta, plan, count)
        return Evaluation(found.value, found.score, self.likelihood.evaluate(theta, plan, 2).hessian)

    def _mode(self, theta: Array, plan: VectorPlan) -> Mode:
        if any(is_summit(part) for part in plan):
            raise OptionError(
                "a plan with one point for some units",
                "points that integrate the units' own effects out",
                "a plan of `choose_points`, or 8 nodes or more",
            )
        return self.likelihood.mode(theta, plan)

    def _draws(self, first: int, last: int) -> list[tuple[Array, Array]]:
        """Draws first..last of each replicate, in parts that double."""
        from scipy.stats.qmc import Sobol

        while sum(e.shape[1] for e, _ in self._known) < last:
            known = sum(e.shape[1] for e, _ in self._known)
            more = known or _FIRST_DRAWS
            e = np.zeros((_REPLICATES, more, self.layout.size))
            ratios = np.zeros((_REPLICATES, more, len(self.layout.components)))
            for r in range(_REPLICATES):
                for c, own in enumerate(self.layout.components):
                    rng = np.random.default_rng([self._seed, r, c])
                    uniform = Sobol(len(own) + 1, seed=rng).random(known + more)[known:]
                    e[r][:, own], ratios[r, :, c] = _mixture(uniform)
            self._known.append((e, ratios))
        found, start = [], 0
        for part in self._known:
            if first <= start < last:
                found.append(part)
            start += part[0].shape[1]
        return found

    def _sums(self, theta: Array, plan: VectorPlan, mode: Mode, first: int, last: int, order: int) -> Sums:
        parts = [self._of_part(theta, plan, mode, e, ratios, order) for e, ratios in self._draws(first, last)]
        whole = parts[0]
        for part in parts[1:]:
            whole = _merged(whole, part, self.layout.cells, self.layout.components)
        return whole

    def _of_part(self, theta: Array, plan: VectorPlan, mode: Mode, e: Array, ratios: Array, order: int) -> Sums:
        from scipy.linalg import solve_triangular

        inside, layout = self.likelihood.inside, self.layout
        R, n, _ = e.shape
        C, q = len(layout.components), len(theta)
        logs, of_theta, of_v = np.zeros((R, n, C)), np.zeros((R, n, C, q)), np.zeros((R, n, layout.size))
        moved = np.zeros_like(e)
        determinants = np.zeros(C)
        for c, (own, factor) in enumerate(zip(layout.components, mode.factors, strict=True)):
            flat = e[:, :, own].reshape(R * n, -1)
            moved[:, :, own] = solve_triangular(factor, flat.T).T.reshape(R, n, -1)
            determinants[c] = np.log(np.diagonal(factor)).sum()
        moved += mode.v

        def of_draws(x: Array) -> list[Array]:
            return [x[own] for own in layout.components]

        for r in range(R):
            for s in range(n):
                v = moved[r, s]
                if order > 0:
                    at = inside.gradient(theta, v, plan)
                    values, of_theta[r, s], of_v[r, s] = at.values, inside.by_component(at, v), at.v
                else:
                    values = inside.values(theta, v, plan)
                f = np.bincount(layout.of_units, weights=values, minlength=C).astype(np.float64)
                f -= 0.5 * np.array([x @ x for x in of_draws(v)])
                logs[r, s] = f - determinants + ratios[r, s] + 0.5 * np.array([x @ x for x in of_draws(e[r, s])])
        total = logsumexp(logs, axis=1)
        weights = np.exp(logs - total[:, None, :])
        products = np.zeros((R, int(layout.cells[-1])))
        means = np.zeros((R, layout.size))
        for r in range(R):
            for c, (own, matrix) in enumerate(zip(layout.components, layout.matrices(products[r]), strict=True)):
                weighted = weights[r, :, c, None] * of_v[r][:, own]
                matrix[:] = weighted.T @ e[r][:, own]
                means[r, own] = weighted.sum(axis=0)
        of_theta = np.einsum("rsc,rscq->rcq", weights, of_theta)
        controls, crosses = logsumexp(ratios, axis=1), logsumexp(logs + ratios, axis=1)
        squares, of_controls = logsumexp(2.0 * logs, axis=1), logsumexp(2.0 * ratios, axis=1)
        return Sums(n, total, controls, squares, crosses, of_controls, of_theta, means, products)

    def _concluded(self, theta: Array, plan: VectorPlan, mode: Mode, sums: Sums, order: int) -> Estimate:
        R, n = len(sums.logs), sums.count
        by_component = logsumexp(sums.logs, axis=0) - logsumexp(sums.controls, axis=0)
        means = np.exp(sums.logs - np.log(n) - by_component)
        # Of the ratio, to first order: by the replicates, and as if draws were independent, for in few dimensions rare
        # draws that matter may be in no replicate at all.
        apart = means - np.exp(sums.controls - np.log(n))
        by_replicates = apart.var(axis=0, ddof=1) / R
        second = [logsumexp(x, axis=0) for x in (sums.squares, sums.products_with_controls, sums.squares_of_controls)]
        square = np.exp(second[0] - 2.0 * by_component) - 2.0 * np.exp(second[1] - by_component) + np.exp(second[2])
        independent = np.maximum(square, 0.0) / (R * n) ** 2
        error = float(np.sqrt(np.maximum(by_replicates, independent).sum()))
        share = np.exp(2.0 * logsumexp(sums.logs, axis=0) - logsumexp(sums.squares, axis=0)) / (R * n)
        score, scores = np.full(len(theta), np.nan), np.full((R, len(theta)), np.nan)
        if order > 0:
            of_replicates = means / means.sum(axis=0)  # each component's shares of its whole
            score = self._score(theta, plan, mode, sums, of_replicates)
            scores = np.array(
                [self._score(theta, plan, mode, sums, one) for one in np.eye(R)[:, :, None] * np.ones_like(means)]
            )
        laplace = self.likelihood.value_at(theta, mode, plan)
        return Estimate(float(by_component.sum()), laplace, error, float(share.min()), R * n, score, scores)

    def _score(self, theta: Array, plan: VectorPlan, mode: Mode, sums: Sums, of_replicates: Array) -> Array:
        """Derivative of the estimate whose replicates have shares (R, C) of each component."""
        from scipy.linalg.lapack import dtrtri

        layout, pull = self.layout, np.zeros(self.layout.size)
        T = np.empty(int(layout.cells[-1]))
        for c, (own, to, factor) in enumerate(zip(layout.components, layout.matrices(T), mode.factors, strict=True)):
            share = of_replicates[:, c]
            pull[own] = share @ sums.v[:, own]
            E = (share @ sums.products[:, layout.cells[c] : layout.cells[c + 1]]).reshape(to.shape)
            F = np.triu(dtrtri(factor, lower=0)[0])
            N = np.tril(E.T @ F)
            Q = N + np.tril(N, -1).T + np.eye(len(own))
            to[:] = F @ Q @ F.T
        held = self.likelihood.inside.contract(theta, mode.v, plan, T)
        direct = np.einsum("rc,rcq->q", of_replicates, sums.theta)
        return np.asarray(direct + self.likelihood.total(theta, mode, plan, held, pull))


def _mixture(uniform: Array) -> tuple[Array, Array]:
    """Draws of a mixture in d dimensions from numbers in (0, 1), shape (k, d + 1); logs of normal over own density."""
    inside = np.clip(uniform, 1e-12, 1.0 - 1e-12)
    z, chosen = ndtri(inside[:, 1:]), inside[:, 0]
    heavy = chosen > _NORMAL
    chi2 = chdtri(_DF, np.clip((chosen - _NORMAL) / (1.0 - _NORMAL), 1e-12, 1.0))
    e = np.where(heavy[:, None], z * np.sqrt(_DF / np.maximum(chi2, 1e-12))[:, None], z)
    d, square = e.shape[1], (e**2).sum(axis=1)
    normal = -0.5 * square - 0.5 * d * np.log(2.0 * np.pi)
    student = gammaln(0.5 * (_DF + d)) - gammaln(0.5 * _DF) - 0.5 * d * np.log(_DF * np.pi)
    student = student - 0.5 * (_DF + d) * np.log1p(square / _DF)
    return e, np.asarray(normal - np.logaddexp(np.log(_NORMAL) + normal, np.log(1.0 - _NORMAL) + student))


def _merged(
    a: Sums, b: Sums, cells: np.ndarray[tuple[int], np.dtype[np.int64]], components: tuple[np.ndarray, ...]
) -> Sums:
    """Sums over the draws of both."""
    logs = np.logaddexp(a.logs, b.logs)
    first, second = np.exp(a.logs - logs), np.exp(b.logs - logs)
    theta = first[:, :, None] * a.theta + second[:, :, None] * b.theta
    v, products = np.zeros_like(a.v), np.zeros_like(a.products)
    for c, own in enumerate(components):
        v[:, own] = first[:, c, None] * a.v[:, own] + second[:, c, None] * b.v[:, own]
        at = slice(int(cells[c]), int(cells[c + 1]))
        products[:, at] = first[:, c, None] * a.products[:, at] + second[:, c, None] * b.products[:, at]
    return Sums(
        a.count + b.count,
        logs,
        np.logaddexp(a.controls, b.controls),
        np.logaddexp(a.squares, b.squares),
        np.logaddexp(a.products_with_controls, b.products_with_controls),
        np.logaddexp(a.squares_of_controls, b.squares_of_controls),
        theta,
        v,
        products,
    )
