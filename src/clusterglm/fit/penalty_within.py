"""Firth's penalty for conditional likelihoods: half the log-determinant of their information (Heinze and Puhr 2010).

Given the clusters' totals the responses are of an exponential family whose natural parameters are the coefficients, so
that the information does not depend on the responses: the observed one is the expected one. Its derivatives, which are
third and fourth cumulants over all ways to reach the totals, come from differences of the exact Hessian.

References
----------
Heinze and Puhr, Statistics in Medicine 29, 2010; Firth, Biometrika 80, 1993.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve

from clusterglm.engine.base import InMemory
from clusterglm.fit.penalty import cholesky
from clusterglm.fit.within import WithinSums
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array

_SHIFT = 0.005  # of the linear predictor, between the rows of a cluster that are furthest apart


@dataclass(frozen=True)
class PenalizedWithin:
    """The penalised conditional log-likelihood, in the optimiser's columns.

    Parameters
    ----------
    within : WithinSums
    steps : ndarray, shape (p,)
        Of the differences, in each coefficient.
    units : float
        What the units of the user's columns add to half the log-determinant.
    """

    within: WithinSums
    steps: Array
    units: float

    @classmethod
    def of(cls, within: WithinSums) -> PenalizedWithin:
        assert isinstance(within.sums.blocks, InMemory)  # nothing else is fitted with a penalty
        block = within.sums.blocks.block
        highest, lowest = (each.reduceat(block.X, block.data.starts[:-1], axis=0) for each in (np.maximum, np.minimum))
        widest = (highest - lowest).max(axis=0)
        steps = _SHIFT / np.where(widest > 0.0, widest, 1.0)  # columns that are flat in all clusters are refused later
        return cls(within, steps, -float(np.linalg.slogdet(within.sums.standard.L)[1]))

    @property
    def constant(self) -> float:
        """What the value lacks of the normalised likelihood."""
        return float(self.within.sums.data.constant + self.within.constant())

    def evaluate(self, gamma: Array) -> Evaluation:
        """Value, score and Hessian; -inf where the information is singular.

        Notes
        -----
        First derivatives of the information, and the second ones in a single coefficient, come from differences of
        fourth order, with errors of about 1e-11 of it; mixed ones of second order, 1e-5, enter the Hessian alone.
        """
        p = len(gamma)
        here = self.within.evaluate(gamma)
        root = cholesky(-here.hessian)
        if root is None:
            return Evaluation(-np.inf, np.zeros(p), np.zeros((p, p)))
        first, second = self._derivatives(gamma, -here.hessian)
        over = np.array([cho_solve((root, True), each) for each in first])
        score = 0.5 * np.trace(over, axis1=1, axis2=2)
        inverse = cho_solve((root, True), np.eye(p))
        hessian = 0.5 * np.einsum("ab,jkba->jk", inverse, second) - 0.5 * np.einsum("jab,kba->jk", over, over)
        value = float(np.log(np.diag(root)).sum()) + self.units
        return Evaluation(here.value + value, here.score + score, here.hessian + hessian)

    def _derivatives(self, gamma: Array, information: Array) -> tuple[Array, Array]:
        """First and second derivatives of the information, shapes (p, p, p) and (p, p, p, p)."""
        p, h = len(gamma), self.steps
        unit = np.diag(h)

        def at(move: Array) -> Array:
            return -self.within.evaluate(gamma + move).hessian

        first, second = np.empty((p, p, p)), np.empty((p, p, p, p))
        for j in range(p):
            one, two, back, far = at(unit[j]), at(2.0 * unit[j]), at(-unit[j]), at(-2.0 * unit[j])
            first[j] = (8.0 * (one - back) - (two - far)) / (12.0 * h[j])
            second[j, j] = (16.0 * (one + back) - (two + far) - 30.0 * information) / (12.0 * h[j] ** 2)
            for k in range(j):
                plus, minus = unit[j] + unit[k], unit[j] - unit[k]
                second[j, k] = (at(plus) + at(-plus) - at(minus) - at(-minus)) / (4.0 * h[j] * h[k])
                second[k, j] = second[j, k]
        return first, second
