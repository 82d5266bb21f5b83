"""Importance sampling of crossed factors where the response has parameters of its own.

At given working values psi it is that of the kernel rows (`certificate.py`). Where psi moves the rows' numbers, the
estimate's derivatives in psi are central differences, with the same draws about the modes there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clusterglm.fit.levels import AnyPlan, CrossedFactors
from clusterglm.fit.own_levels import OwnIntegrals
from clusterglm.likelihood.crossed.certificate import Certificate, Estimate, HeldDraws
from clusterglm.likelihood.own import chain_of
from clusterglm.model.arrays import Array


class OwnDraws:
    """Importance sampling with the same draws at every (coefficients, psi, entries of L); see `HeldDraws`.

    Parameters
    ----------
    likelihood : OwnIntegrals
        Of crossed factors.
    seed : int
    """

    def __init__(self, likelihood: OwnIntegrals, seed: int) -> None:
        self._likelihood, self._seed = likelihood, seed
        self._draws: HeldDraws | None = None

    def estimate(
        self, entries: Array, plan: AnyPlan, count: int, order: int = 1, *, scored: int | None = None
    ) -> Estimate:
        """See `HeldDraws.estimate`; derivatives are those of all draws."""
        inner, at = self._likelihood.inner(entries)
        found = self.of(inner).estimate(at, plan, count, order)
        if order == 0:
            more = self._likelihood.terms(self._likelihood.split(entries)[1]).value
            return replace(found, value=found.value + more, laplace=found.laplace + more)
        return self._in_entries(found, entries, plan, count)

    def certify(
        self, entries: Array, plan: AnyPlan, covariance: Array, tolerance: float, of_estimates: float, most: int
    ) -> Certificate:
        """See `HeldDraws.certify`; as many draws as it takes where psi is known."""
        inner, at = self._likelihood.inner(entries)
        chain = self._chain(entries)
        found = self.of(inner).certify(at, plan, chain @ covariance @ chain.T, tolerance, of_estimates, most)
        count = found.estimate.draws // len(found.estimate.scores)
        estimate = self.estimate(entries, plan, count)
        errors = estimate.errors_of_estimates(covariance)
        enough = bool(estimate.standard_error <= tolerance and np.all(errors <= of_estimates))
        return Certificate(estimate, errors, enough, count)

    def of(self, inner: object) -> HeldDraws:
        """The draws, for the likelihood at one psi."""
        assert isinstance(inner, CrossedFactors)
        if self._draws is None:
            self._draws = HeldDraws(inner, self._seed)
        elif self._draws.likelihood is not inner:
            self._draws = self._draws.of(inner)
        return self._draws

    def _chain(self, entries: Array) -> Array:
        """Derivatives of what kernel rows' integrals take in (coefficients, psi, entries of L)."""
        beta, psi, free = self._likelihood.split(entries)
        columns, p, k = self._likelihood.n_columns, len(beta), len(psi)
        first = self._likelihood.given.coordinates(psi).first[:columns]
        chain = chain_of(first, p, p + columns + len(free))  # in (coefficients, entries of L, psi)
        of_beta, of_free, of_psi = np.split(chain, [p, chain.shape[1] - k], axis=1)
        return np.hstack([of_beta, of_psi, of_free])

    def _in_entries(self, found: Estimate, entries: Array, plan: AnyPlan, count: int) -> Estimate:
        own, (beta, psi, _) = self._likelihood, self._likelihood.split(entries)
        terms, chain, p = own.terms(psi), self._chain(entries), len(beta)
        score, scores = found.score @ chain, found.scores @ chain
        of_psi = slice(p, p + len(psi))
        score[of_psi] += terms.first.sum(axis=0)
        scores[:, of_psi] += terms.first.sum(axis=0)
        if not own.given.by_shifts:
            moved, each = self._by_psi(entries, plan, count)
            score[of_psi] += moved
            scores[:, of_psi] += each
        return replace(
            found, value=found.value + terms.value, laplace=found.laplace + terms.value, score=score, scores=scores
        )

    def _by_psi(self, entries: Array, plan: AnyPlan, count: int) -> tuple[Array, Array]:
        """Derivatives of the estimate, and of each replicate's, in psi by which the rows' numbers move."""
        own = self._likelihood
        (inner, at), (_, psi, _) = own.inner(entries), own.split(entries)
        held, draws, slopes, each = inner.held_places(plan), self.of(inner), [], []
        for step, move in zip(own.steps(psi), np.eye(len(psi)), strict=True):
            ends = []
            for side in (1.0, -1.0):
                beside = own.beside(psi + side * step * move)
                assert isinstance(beside, CrossedFactors)
                ends.append(draws.of(beside).estimate(at, held, count, order=0))
            slopes.append((ends[0].value - ends[1].value) / (2.0 * step))
            each.append((ends[0].values - ends[1].values) / (2.0 * step))
        return np.array(slopes), np.array(each).reshape(len(psi), -1).T
