"""Whole-number weights are repeats with several random effects too: every public member of the result."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg

sys.path.insert(0, str(Path(__file__).parent))
from members import TIGHT, Called, called, differences, members
from test_repeats import EXPANDED, RELATIONS, SAME, Pair, Relation, in_ascending_order, repeated, same

FORMULA = "y ~ x + g + (x | id)"


def of_each(relation: Relation, part: Callable[[Any], Any] = lambda value: value) -> Relation:
    """The same for each effect, whose rows `part` gives."""

    def of_all(one: Called, other: Called, pair: Pair) -> list[str]:
        if isinstance(one.value, cg.errors.ClusterGLMError):
            return differences(one.value, other.value)
        found = []
        for name in part(one.value)["effect"].unique():
            own = [
                Called(each.name, each.arguments, table[table["effect"] == name].reset_index(drop=True))
                for each in (one, other)
                for table in (part(each.value),)
            ]
            found += relation(own[0], own[1], pair)
        return found

    return of_all


class _Drawn:
    """A table in the place of a plot, for relations of plots."""

    def __init__(self, data: pd.DataFrame) -> None:
        self.data = data


def _caterpillar(one: Called, other: Called, pair: Pair) -> list[str]:
    return in_ascending_order(*(Called(each.name, each.arguments, _Drawn(each.value)) for each in (one, other)), pair)


def _fit(one: Called, other: Called, _: Pair) -> list[str]:
    """Estimates; the Hessian is as exact as the points, and the two differ in its last digits alone."""
    names = ("beta", "phi", "covariance", "loglik", "held")
    found = [each for name in names for each in differences(getattr(one.value, name), getattr(other.value, name))]
    return found + differences(one.value.hessian, other.value.hessian, tolerance=1e-8)


OWN: dict[str, Relation] = {
    **RELATIONS,
    "effects_covariance": SAME,
    "fit": _fit,
    "integration_check": same(".worst_cluster", ".error", tolerance=1e-8),  # of shifts in standard errors
    "intraclass_correlation": repeated("of_rows"),
    "median_odds_ratio": repeated("of_rows", tolerance=1e-7),  # ends up to 1e15, exponentials twice over
    "plot.caterpillar": of_each(_caterpillar, lambda plot: plot.data),
    "plot.density": SAME,
    "plot.random_effects": repeated("of_clusters", "[label]"),
    "random_effects": of_each(repeated("of_clusters", "[label]")),
    "random_effects_covariance": SAME,
    "singular": SAME,
    "variance_components": SAME,
}


def patients() -> pd.DataFrame:
    """Clusters of six to eight rows, with case weights w and cluster weights v."""
    rng = np.random.default_rng(14)
    sizes = rng.integers(6, 9, 24)
    n, id_ = int(sizes.sum()), np.repeat(np.arange(24), sizes)
    x, g = rng.normal(size=n).round(1), rng.choice(["a", "b", "c"], n)
    u = rng.normal(size=(24, 2))
    eta = 0.4 * x + 0.5 * (g == "b") + u[id_, 0] + u[id_, 1] * x
    y = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    weights = {"w": rng.integers(1, 4, n), "v": rng.integers(1, 4, 24)[id_]}
    d = pd.DataFrame({"id": id_, "x": x, "g": g, "y": y, "k": rng.poisson(np.exp(0.3 * eta)), **weights})
    return d.iloc[rng.permutation(n)].assign(row=np.arange(n)).reset_index(drop=True)


def pair_of(family: str, kind: str, folder: Path) -> Pair:
    column, expanded = EXPANDED[kind]
    table, formula = patients(), FORMULA if family == "binomial" else f"k{FORMULA[1:]}"
    rows = expanded(table)
    options: dict[str, Any] = {"family": family, "control": TIGHT, "quadrature": 7}
    one = cg.random_effects(formula, table, **{kind: column}, **options)
    return Pair(one, cg.random_effects(formula, rows, **options), rows.row.to_numpy(), folder)


def test_every_member_has_an_entry() -> None:
    known = set(members(type(cg.random_effects(FORMULA, patients(), quadrature=3))))
    assert known - set(OWN) == set()
    assert {"average_effects", "influence", "survival", "test_clustering", "plot.random_effects"} <= known


@pytest.mark.parametrize("kind", ["weights", "cluster_weights"])
@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_weights_are_rows(family: str, kind: str, tmp_path: Path) -> None:
    pair, found = pair_of(family, kind, tmp_path), []
    for name in members(type(pair.weighted)):
        for one, other in zip(called(pair.weighted, name), called(pair.rows, name), strict=True):
            found += [f"{one}: {each}" for each in OWN[name](one, other, pair)]
    assert found == []
