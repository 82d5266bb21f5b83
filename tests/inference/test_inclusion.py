"""Probabilities within sets against enumeration, the noncentral hypergeometric distribution and statsmodels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import comb, expit, logit, logsumexp
from scipy.stats import nchypergeom_fisher

from clusterglm.inference.predictions.inclusion import inclusion, shares_of_events
from clusterglm.model.family import response

LOGIT = response("binomial", "logit")
BETA = np.array([0.7, -1.2])


def enumerated(X: np.ndarray, offset: np.ndarray, size: np.ndarray, total: int, beta: np.ndarray) -> np.ndarray:
    """Logits from all responses that have the total."""
    eta, whole, each = X @ beta + offset, 0.0, np.zeros(len(X))
    for y in itertools.product(*(range(int(k) + 1) for k in size)):
        if sum(y) == total:
            weight = np.exp(np.dot(y, eta)) * np.prod(comb(size, y))
            whole, each = whole + weight, each + weight * np.array(y)
    return np.asarray(logit(each / whole / size))


@pytest.mark.parametrize("size", [[1] * 6, [2, 3, 1, 4]], ids=str)
def test_every_total_against_enumeration(size: list[int]) -> None:
    rng, h = np.random.default_rng(len(size)), 1e-5
    n, trials = len(size), np.array(size, dtype=float)
    X, offset = 1.5 * rng.normal(size=(n, 2)), rng.normal(size=n)
    for total in range(1, sum(size)):
        found = inclusion(X, offset, trials, np.array([float(total)]), np.array([0, n]), BETA, LOGIT)
        np.testing.assert_allclose(found.logit, enumerated(X, offset, trials, total, BETA), rtol=1e-10, atol=1e-12)
        slopes = [
            (enumerated(X, offset, trials, total, BETA + e) - enumerated(X, offset, trials, total, BETA - e)) / (2 * h)
            for e in h * np.eye(2)
        ]
        np.testing.assert_allclose(found.gradient, np.column_stack(slopes), atol=2e-8)


def test_sets_of_all_sizes_and_totals_together() -> None:
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 7, 60)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    n = int(starts[-1])
    X, offset, trials = rng.normal(size=(n, 2)), rng.normal(size=n), rng.integers(1, 3, n).astype(float)
    most = np.add.reduceat(trials, starts[:-1])
    total = np.floor(rng.random(60) * (most + 1.0))
    found = inclusion(X, offset, trials, total, starts, BETA, LOGIT)
    for i in range(60):
        rows = slice(starts[i], starts[i + 1])
        if 0.0 < total[i] < most[i]:
            want = enumerated(X[rows], offset[rows], trials[rows], int(total[i]), BETA)
            np.testing.assert_allclose(found.logit[rows], want, rtol=1e-9, atol=1e-11)
        else:
            assert (found.logit[rows] == (-np.inf if total[i] == 0.0 else np.inf)).all()
            assert np.isnan(found.gradient[rows]).all()
    mean = np.add.reduceat(trials * expit(found.logit), starts[:-1])
    np.testing.assert_allclose(mean, total, rtol=1e-12)


@pytest.mark.parametrize("trials", [(40, 25), (88_391, 5000), (3, 1_000_000)])
def test_two_rows_of_many_trials_are_hypergeometric(trials: tuple[int, int]) -> None:
    X, total = np.array([[0.3, 0.1], [-0.4, 0.5]]), sum(trials) // 3
    size, odds = np.array(trials, dtype=float), float(np.exp((X[0] - X[1]) @ BETA))
    found = inclusion(X, np.zeros(2), size, np.array([float(total)]), np.array([0, 2]), BETA, LOGIT)
    mean = nchypergeom_fisher.mean(sum(trials), trials[0], total, odds)
    np.testing.assert_allclose(found.logit, logit(np.array([mean, total - mean]) / size), rtol=1e-7)


def test_one_success_is_a_softmax_however_unlike_the_rows() -> None:
    X = np.random.default_rng(0).normal(size=(12, 2)) * 9.0
    starts, eta = np.array([0, 5, 12]), X @ BETA
    found, shares = inclusion(X, np.zeros(12), np.ones(12), np.ones(2), starts, BETA, LOGIT), None
    shares = shares_of_events(X, eta, starts)
    np.testing.assert_allclose(found.logit, shares.logit, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.gradient, shares.gradient, rtol=1e-9, atol=1e-12)
    for rows in (slice(0, 5), slice(5, 12)):
        others = [logsumexp(np.delete(eta[rows], j)) for j in range(rows.stop - rows.start)]
        np.testing.assert_allclose(shares.logit[rows], eta[rows] - np.array(others), rtol=1e-12)


def test_a_set_that_float64_cannot_tell_from_certain() -> None:
    X = np.array([[0.0], [2000.0], [1.0]])
    for found in (
        inclusion(X, np.zeros(3), np.ones(3), np.ones(1), np.array([0, 3]), np.ones(1), LOGIT),
        shares_of_events(X, X[:, 0], np.array([0, 3])),
    ):
        assert expit(found.logit).tolist() == [0.0, 1.0, 0.0]
        assert np.isnan(found.gradient[np.isinf(found.logit)]).all()
    alone = shares_of_events(np.ones((1, 1)), np.ones(1), np.array([0, 1]))
    assert np.isposinf(alone.logit[0])
