"""Likelihoods of normal responses, ML and REML, with exact derivatives: profiled over beta and the residual, and whole.

With variances s^2 V(theta), theta the parameters of the effects' covariance over that of the residual, S = U' V^-1 U
of U = [X y], Q = y' V^-1 y at the best beta, and nu = n (ML) or n - p (REML):

    ML      -(n/2) log(2 pi Q / n) - n/2 - log|V| / 2
    REML    -(nu/2) log(2 pi Q / nu) - nu/2 - log|V| / 2 - log|X' V^-1 X| / 2

With a residual standard deviation s that is known, -nu log s - Q / (2 s^2) stands in the place of the terms in Q. Their
derivatives are those of log|V| and S (`moments.py`) and small algebra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.gaussian.moments import Direction, Moments
from clusterglm.likelihood.gaussian.statistics import Statistics
from clusterglm.model.arrays import Array
from clusterglm.model.covariance import Covariance

_LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class Jet:
    """log|V| and S with derivatives in theta.

    Parameters
    ----------
    logdet : float
    S : ndarray, shape (k, k)
    logdet_1 : ndarray, shape (r,)
    S_1 : ndarray, shape (r, k, c)
        Of S C.
    logdet_2 : ndarray, shape (r, r)
    S_2 : ndarray, shape (r, r, c, c)
        Of C' S C.
    """

    logdet: float
    S: Array
    logdet_1: Array
    S_1: Array
    logdet_2: Array
    S_2: Array


@dataclass(frozen=True)
class Best:
    """The best coefficients at some S.

    Parameters
    ----------
    beta : ndarray, shape (p,)
    Q : float
        Weighted sum of squares that they leave.
    v : ndarray, shape (p + 1,)
        (-beta, 1).
    """

    beta: Array
    Q: float
    v: Array


@dataclass(frozen=True)
class Task:
    """A normal likelihood, from statistics of [X y].

    Parameters
    ----------
    statistics : Statistics
    covariance : Covariance
    reml : bool
    known_sd : float, optional
        The residual standard deviation, where it is not estimated.
    """

    statistics: Statistics
    covariance: Covariance
    reml: bool = False
    known_sd: float | None = None

    @property
    def p(self) -> int:
        """Coefficients."""
        return len(self.statistics.total) - 1

    @property
    def nu(self) -> float:
        """n, or n - p for REML."""
        return self.statistics.n - self.p * self.reml

    @cached_property
    def _places(self) -> list[NDArray[np.int64]]:
        return [factor.columns for factor in self.statistics.factors]

    def roots(self, theta: Array) -> list[Array]:
        """L_f of each factor."""
        L = self.covariance.factor(theta)
        return [L] if len(self._places) == 1 else [L[np.ix_(some, some)] for some in self._places]

    def moments(self, theta: Array) -> Moments:
        """log|V| and S."""
        return Moments(self.statistics, self.roots(theta))

    def directions(self, theta: Array) -> list[Direction]:
        """Changes of M with each parameter."""
        return self._directions(self.covariance.factor(theta), self.covariance.slopes(theta))

    def _directions(self, L: Array, slopes: Array) -> list[Direction]:
        found = []
        for slope, factor in zip(slopes, self._factors, strict=True):
            E = slope @ L.T
            E = E + E.T
            some = self._places[factor]
            found.append(Direction(factor, E[np.ix_(some, some)]))
        return found

    @cached_property
    def _factors(self) -> list[int]:
        """The factor of each parameter."""
        found = []
        for term, where in self.covariance.blocks():
            factor = next(f for f, some in enumerate(self._places) if where.start in some)
            found += [factor] * term.size
        return found

    def jet(self, theta: Array, moments: Moments, C: Array) -> Jet:
        """Derivatives of log|V| and S in theta; those of S are of S C, and of C' S C."""
        L, slopes = self.covariance.factor(theta), self.covariance.slopes(theta)
        directions = self._directions(L, slopes)
        of_H, of_T = moments.gradients(C)
        logdet_1 = np.array([float((d.E * of_H[d.factor]).sum()) for d in directions])
        S_1 = moments.slopes(directions, C)
        logdet_2, S_2 = moments.bends(directions, C)
        for k in range(len(directions)):
            for j in range(k, len(directions)):
                if directions[k].factor != directions[j].factor:
                    continue
                f = directions[k].factor
                some = np.ix_(self._places[f], self._places[f])
                E = slopes[k] @ slopes[j].T
                bend = (E + E.T + self._bend(theta, k, j, L))[some]
                if bend.any():
                    more = float((bend * of_H[f]).sum()), -np.einsum("ab,abij->ij", bend, of_T[f])
                    logdet_2[k, j] += more[0]
                    S_2[k, j] += more[1]
                    if k != j:
                        logdet_2[j, k] += more[0]
                        S_2[j, k] += more[1]
        return Jet(moments.logdet, moments.S, logdet_1, S_1, logdet_2, S_2)

    def _bend(self, theta: Array, k: int, j: int, L: Array) -> Array:
        """Second derivative of L in two parameters times L', and its transpose."""
        second = self._second[k, j] if not self._bent else _second_derivatives(self.covariance, theta)[k, j]
        E = second @ L.T
        return np.asarray(E + E.T)

    @cached_property
    def _bent(self) -> bool:
        """Whether L is other than linear in its parameters."""
        return any(term.kind.bends(np.ones(term.size), len(term.effects)) is not None for term in self.covariance.terms)

    @cached_property
    def _second(self) -> Array:
        r, q = self.covariance.n_parameters, self.covariance.n_effects
        return np.zeros((r, r, q, q))

    def best(self, S: Array) -> Best:
        """Generalised least squares from S."""
        p = self.p
        beta = cho_solve(cho_factor(S[:p, :p]), S[:p, p]) if p else np.zeros(0)
        v = np.append(-beta, 1.0)
        return Best(beta, float(v @ S @ v), v)

    # The profiled likelihood ------------------------------------------------------------------------------------------

    def value(self, theta: Array) -> float:
        """The log-likelihood maximised over coefficients and the residual standard deviation, unless that is known.

        nan where float64 does not have it.
        """
        moments = self._moments_or_none(theta)
        return np.nan if moments is None else self._value(moments.logdet, moments.S, self.best(moments.S).Q)

    def _moments_or_none(self, theta: Array) -> Moments | None:
        """log|V| and S where float64 has them."""
        try:
            with np.errstate(all="ignore"):
                moments = self.moments(theta)
            np.linalg.cholesky(moments.S)
        except np.linalg.LinAlgError:
            return None
        return moments if np.isfinite(moments.logdet) and np.isfinite(moments.S).all() else None

    def _value(self, logdet: float, S: Array, Q: float) -> float:
        nu, s2 = self.nu, self.variance(Q)
        squares = 1.0 if self.known_sd is None else Q / s2 / nu
        found = -0.5 * nu * (_LOG_2PI + np.log(s2) + squares) - 0.5 * logdet
        return float(found - 0.5 * self._restriction(S))

    def variance(self, Q: float) -> float:
        """That of the residual: the best one, or the known one."""
        return Q / self.nu if self.known_sd is None else self.known_sd**2

    def _restriction(self, S: Array) -> float:
        """log|X' V^-1 X| of REML."""
        return float(np.linalg.slogdet(S[: self.p, : self.p])[1]) if self.reml and self.p else 0.0

    def evaluate(self, theta: Array) -> Evaluation:
        """The same with its derivatives in theta."""
        moments = self._moments_or_none(theta)
        if moments is None:
            return Evaluation(np.nan, np.full(len(theta), np.nan), np.full((len(theta),) * 2, np.nan))
        best = self.best(moments.S)
        jet = self.jet(theta, moments, np.eye(self.p + 1) if self.reml else best.v[:, None])
        nu, Q = self.nu, best.Q
        Q_1, Q_2 = self._squares(jet, best)
        if self.known_sd is None:
            score = -0.5 * nu * Q_1 / Q - 0.5 * jet.logdet_1
            hessian = -0.5 * nu * (Q_2 / Q - np.outer(Q_1, Q_1) / Q**2) - 0.5 * jet.logdet_2
        else:
            s2 = self.known_sd**2
            score, hessian = -0.5 * (Q_1 / s2 + jet.logdet_1), -0.5 * (Q_2 / s2 + jet.logdet_2)
        if self.reml:
            first, second = self._restriction_derivatives(jet)
            score, hessian = score - 0.5 * first, hessian - 0.5 * second
        return Evaluation(self._value(jet.logdet, jet.S, Q), score, hessian)

    def _squares(self, jet: Jet, best: Best, *, profiled: bool = True) -> tuple[Array, Array]:
        """Derivatives of Q = v' S v, at the best beta wherever theta is, or (not `profiled`) at this one."""
        v, p = best.v, self.p
        moved = jet.S_1[..., 0] if jet.S_1.shape[-1] == 1 else jet.S_1 @ v
        Q_1 = moved @ v
        Q_2 = jet.S_2[:, :, 0, 0] if jet.S_2.shape[-1] == 1 else np.einsum("i,klij,j->kl", v, jet.S_2, v)
        if profiled and p:
            Q_2 = Q_2 - 2.0 * moved[:, :p] @ cho_solve(cho_factor(jet.S[:p, :p]), moved[:, :p].T)
        return Q_1, Q_2

    def _restriction_derivatives(self, jet: Jet) -> tuple[Array, Array]:
        """Of log|X' V^-1 X|."""
        p = self.p
        inverse = np.linalg.inv(jet.S[:p, :p])
        scaled = inverse @ jet.S_1[:, :p, :p]
        first = np.einsum("kii->k", scaled)
        second = np.einsum("ij,klji->kl", inverse, jet.S_2[:, :, :p, :p]) - np.einsum("kij,lji->kl", scaled, scaled)
        return first, second

    # The whole likelihood ---------------------------------------------------------------------------------------------

    def whole(self, beta: Array, phi: Array, sd: float) -> Evaluation:
        """The log-likelihood in (beta, phi, residual sd), phi the parameters of the effects' own covariance.

        With `reml` it is the restricted one, whose score and Hessian in beta are those of generalised least squares:
        the others are about the best beta.
        """
        exponents = self.exponents
        theta = phi * sd**-exponents
        moments = self.moments(theta)
        best = self.best(moments.S) if self.reml else None
        v = np.append(-beta, 1.0) if best is None else best.v
        Q = float(v @ moments.S @ v)
        jet = self.jet(theta, moments, np.eye(self.p + 1) if self.reml else v[:, None])
        Q_1, Q_2 = self._squares(jet, Best(beta, Q, v), profiled=self.reml)
        p, r, nu, s2 = self.p, len(theta), self.nu, sd * sd
        value = -0.5 * nu * _LOG_2PI - nu * np.log(sd) - 0.5 * moments.logdet - 0.5 * Q / s2
        value -= 0.5 * self._restriction(moments.S)
        size = p + r + 1
        score, H = np.zeros(size), np.zeros((size, size))
        mean, random, last = slice(0, p), slice(p, p + r), p + r
        # in (beta, theta, log sd) first
        Sv = moments.S @ v
        score[mean] = Sv[:p] / s2
        score[random] = -0.5 * jet.logdet_1 - 0.5 * Q_1 / s2
        score[last] = -nu + Q / s2
        H[mean, mean] = -moments.S[:p, :p] / s2
        H[random, random] = -0.5 * jet.logdet_2 - 0.5 * Q_2 / s2
        H[random, last] = H[last, random] = Q_1 / s2
        H[last, last] = -2.0 * Q / s2
        if self.reml:
            first, second = self._restriction_derivatives(jet)
            score[random] -= 0.5 * first
            H[random, random] -= 0.5 * second
        else:
            cross = jet.S_1[:, :p, 0] / s2
            H[mean, random], H[random, mean] = cross.T, cross
            H[mean, last] = H[last, mean] = -2.0 * Sv[:p] / s2
        return Evaluation(float(value), *self._in_own_units(score, H, phi, sd))

    def whole_value(self, beta: Array, phi: Array, sd: float) -> float:
        """The same without derivatives, of the full likelihood; nan where float64 does not have it."""
        moments = self._moments_or_none(phi * sd**-self.exponents)
        if moments is None:
            return np.nan
        v = np.append(-beta, 1.0)
        Q = float(v @ moments.S @ v)
        return float(-self.nu * (0.5 * _LOG_2PI + np.log(sd)) - 0.5 * (moments.logdet + Q / sd**2))

    @cached_property
    def exponents(self) -> Array:
        """1 for parameters that grow with the residual standard deviation where the relative covariance stays."""
        twice = self.covariance.units(np.full(self.covariance.n_effects, 2.0))
        return np.log2(twice)

    def _in_own_units(self, score: Array, H: Array, phi: Array, sd: float) -> tuple[Array, Array]:
        """From (beta, theta, log sd) to (beta, phi, sd)."""
        p, r, e = self.p, len(phi), self.exponents
        J = np.eye(p + r + 1)
        random, last = np.arange(p, p + r), p + r
        J[random, random] = sd**-e
        J[random, last] = -e * phi * sd ** (-e - 1.0)
        J[last, last] = 1.0 / sd
        found = J.T @ H @ J
        mixed = -e * sd ** (-e - 1.0) * score[random]
        found[random, last] += mixed
        found[last, random] += mixed
        found[last, last] += float((e * (e + 1.0) * phi * sd ** (-e - 2.0)) @ score[random]) - score[last] / sd**2
        return J.T @ score, found


def _second_derivatives(covariance: Covariance, theta: Array) -> Array:
    """Of L, shape (r, r, q, q)."""
    r, q = covariance.n_parameters, covariance.n_effects
    found = np.zeros((r, r, q, q))
    for a in range(q):
        for b in range(a + 1):
            unit = np.zeros((q, q))
            unit[a, b] = 1.0
            found[:, :, a, b] = covariance.bends(theta, unit)
    return found


def factors_in(covariance: Covariance, groups: Sequence[str]) -> list[NDArray[np.int64]]:
    """Places of the effects of each grouping factor."""
    found: dict[str, list[int]] = {group: [] for group in groups}
    for term, where in covariance.blocks():
        found[term.group] += range(where.start, where.stop)
    return [np.array(found[group], dtype=np.int64) for group in groups]
