"""Errors that the certificate reports, against product rules over two to six effects outside.

A person of two or three rows depends on the effects of two or three items alone: over a grid of all items' effects the
integrand is a product of small tables, whose sum is a contraction of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from clusterglm.likelihood.crossed.certificate import HeldDraws
from clusterglm.likelihood.crossed.crossed import CrossedLikelihood
from clusterglm.likelihood.crossed.layout import OutsideTerm
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import VectorPart, unstructured
from clusterglm.model.family import response

PLAN = (VectorPart(hermite_points(25, 1)),)
LOGIT = response("binomial", "logit")
U, W = np.polynomial.hermite_e.hermegauss(48)
W = W / W.sum()


@dataclass(frozen=True)
class Answers:
    """Answers of persons to items; parameters (intercept, slope, sd inside, sd outside)."""

    x: np.ndarray
    y: np.ndarray
    items: np.ndarray
    starts: np.ndarray
    theta: np.ndarray

    a = property(lambda self: self.y)
    b = property(lambda self: 1.0 - self.y)
    offset = property(lambda self: np.zeros(len(self.y)))
    cluster_weights = property(lambda self: np.ones(len(self.starts) - 1))

    @classmethod
    def random(cls, number: int) -> Answers:
        rng = np.random.default_rng([7, number])
        items, persons = int(rng.integers(2, 7)), int(rng.integers(6, 16))
        rows = rng.integers(2, 4, persons)
        starts = np.append(0, np.cumsum(rows))
        chosen = np.concatenate([rng.choice(items, min(k, items), replace=True) for k in np.minimum(rows, 3)])
        chosen = np.resize(chosen, starts[-1])
        chosen[:items] = np.arange(items)
        x, sd = rng.standard_normal(len(chosen)), rng.uniform(0.3, 1.8, 2)
        line = 0.2 - 0.4 * x + sd[1] * rng.standard_normal(items)[chosen]
        line += np.repeat(sd[0] * rng.standard_normal(persons), rows)
        y = (rng.random(len(x)) < 1.0 / (1.0 + np.exp(-line))).astype(float)
        return cls(x, y, chosen, starts.astype(np.int64), np.array([0.2, -0.4, *sd]))

    def likelihood(self) -> CrossedLikelihood:
        ones = np.ones((len(self.x), 1))
        term = OutsideTerm(ones, self.items.astype(np.int64), unstructured(1))
        X = np.ascontiguousarray(np.column_stack([ones, self.x]))
        return CrossedLikelihood(X, ones, self, (term,), LOGIT)

    def by_product_rule(self, nodes: int) -> float:
        z, w = np.polynomial.hermite_e.hermegauss(nodes)
        count, total, operands = int(self.items.max()) + 1, 0.0, []
        for first, last in zip(self.starts[:-1], self.starts[1:], strict=True):
            own = np.unique(self.items[first:last])
            log_p = np.zeros((*[nodes] * len(own), len(U)))
            for j in range(first, last):
                shape = [1] * (len(own) + 1)
                shape[int(np.searchsorted(own, self.items[j]))] = nodes
                line = self.theta[0] + self.theta[1] * self.x[j] + self.theta[2] * U
                line = line + self.theta[3] * z.reshape(shape)
                log_p = log_p - np.logaddexp(0.0, -line if self.y[j] == 1.0 else line)
            table = np.exp(log_p) @ W
            total += np.log(table.max())
            operands += [table / table.max(), own.tolist()]
        for k in range(count):
            operands += [w / w.sum(), [k]]
        return total + float(np.log(np.einsum(*operands, [], optimize="greedy")))


@pytest.mark.parametrize("number", range(3))
def test_rules_agree(number: int) -> None:
    answers = Answers.random(number)
    assert answers.by_product_rule(26) == pytest.approx(answers.by_product_rule(36), abs=1e-5)


def test_the_error_is_what_it_says_for_up_to_six_effects() -> None:
    """Within 3 standard errors in at least 98% of the designs, and mostly within 1."""
    apart, sizes = [], []
    for number in range(200):
        answers = Answers.random(number)
        likelihood = answers.likelihood()
        truth = answers.by_product_rule(26)
        found = HeldDraws(likelihood, seed=number).estimate(answers.theta, PLAN, 8, 0)
        apart.append((found.value - truth) / max(found.standard_error, 1e-5))
        sizes.append(likelihood.layout.size)
    assert set(sizes) == {2, 3, 4, 5, 6}
    assert np.mean(np.abs(apart) <= 3.0) >= 0.98
    assert np.mean(np.abs(apart) <= 1.0) >= 0.5
