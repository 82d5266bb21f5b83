"""Variances of effects by moments, against sums over single pairs of rows."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from clusterglm.likelihood.moments import NestedPairs, over_pairs, variances_of


def rows(seed: int = 3) -> tuple[np.ndarray, ...]:
    """Scores, curvatures, and codes of units and of the children nested in them."""
    rng = np.random.default_rng(seed)
    children = np.sort(rng.integers(0, 12, 40))
    return rng.normal(size=40), -rng.uniform(0.1, 0.3, 40), children // 3, children


def pairs(values: np.ndarray, same: np.ndarray) -> float:
    return sum(values[i] * values[j] for i, j in permutations(range(len(values)), 2) if same[i, j])


def test_sums_over_pairs() -> None:
    G, H, units, children = rows()
    shares_child = children[:, None] == children
    assert over_pairs(children, G) == pytest.approx(pairs(G, shares_child), rel=1e-12)
    z = np.linspace(-1.0, 2.0, 40)
    (found,) = variances_of(z[:, None], units, G, H)
    shares_unit = units[:, None] == units
    assert found == pytest.approx(pairs(z * G, shares_unit) / pairs(z * z * H, shares_unit), rel=1e-12)


def test_what_two_rows_of_a_child_share_is_not_all_the_units() -> None:
    G, H, units, children = rows()
    one, z = np.ones((40, 1)), np.linspace(-1.0, 2.0, 40)
    upper, lower, slope = NestedPairs.of((one, np.column_stack([one, z])), (units, children), G, H).variances()
    apart = (units[:, None] == units) & (children[:, None] != children)
    together = children[:, None] == children
    assert upper == pytest.approx(pairs(G, apart) / pairs(H, apart), rel=1e-12)
    of_unit = max(upper, 0.0)
    expected = (pairs(G, together) - of_unit * pairs(H, together)) / pairs(H, together)
    assert lower == pytest.approx(expected, rel=1e-12)
    expected = (pairs(z * G, together) - of_unit * pairs(z * H, together)) / pairs(z * z * H, together)
    assert slope == pytest.approx(expected, rel=1e-12)


def test_small_variances_are_found() -> None:
    """Normal effects and logistic responses, 4,000 units of three children of ten."""
    rng = np.random.default_rng(1)
    children = np.repeat(np.arange(12_000), 10)
    units = children // 3
    eta = 0.3 * rng.normal(size=4_000)[units] + 0.4 * rng.normal(size=12_000)[children]
    y, p = rng.random(len(eta)) < 1.0 / (1.0 + np.exp(-eta)), 0.5
    one = np.ones((len(eta), 1))
    H = np.full(len(eta), -p * (1.0 - p))
    found = NestedPairs.of((one, one), (units, children), y - p, H).variances()
    np.testing.assert_allclose(found, [0.09, 0.16], rtol=0.2)  # to first order, and 5% of sampling error


def test_pairs_of_blocks_add_up() -> None:
    G, H, units, children = rows()
    Z = np.column_stack([np.ones(40), np.linspace(-1.0, 2.0, 40)])
    whole = NestedPairs.of((Z, Z[:, :1]), (units, children), G, H)
    some, rest = (
        NestedPairs.of((Z[at], Z[at, :1]), (units[at], children[at]), G[at], H[at]) for at in (units < 2, units >= 2)
    )
    np.testing.assert_allclose((some + rest).variances(), whole.variances(), rtol=1e-12)


def test_without_pairs_nothing_is_said() -> None:
    found = variances_of(np.ones((3, 1)), np.arange(3), np.array([0.5, -0.5, 0.5]), np.full(3, -0.25))
    assert found == [0.0]
