"""Whole-number weights are repeats where the response has parameters of its own: every member that works."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg

sys.path.insert(0, str(Path(__file__).parent))
from members import TIGHT, Called, called, differences, members
from test_repeats import EXPANDED, RELATIONS, SAME, Pair, Relation, patients, repeated

from clusterglm.results.models import durations, ordinal, own, own_fixed, own_nonparametric

FORMULAS = {
    "negative_binomial": "k ~ x + g",
    "negative_binomial1": "dispersed ~ x + g",
    "ordinal": "o ~ x + g",
    "nonparallel": "o ~ x + g",
    "gamma": "t ~ x + g",
    "weibull": "Surv(t) ~ x + g",
    "exponential": "Surv(t, e) ~ x + g",
}
WORK = {"ordinal": ordinal.WORK, "nonparallel": ordinal.WORK, "weibull": durations.WORK, "exponential": durations.WORK}


def _fit(one: Any, other: Any, _: Pair) -> list[str]:
    names = ("beta", "whole_covariance", "loglik")
    return [each for name in names for each in differences(getattr(one.value, name), getattr(other.value, name))]


def _predicted(one: Called, other: Called, pair: Pair) -> list[str]:
    """Predictions row by row, those with an interval category by category."""
    relation, value = repeated("of_rows"), one.value
    if not isinstance(getattr(value, "index", None), pd.MultiIndex):
        return relation(one, other, pair)
    found = []
    for category in value.index.unique("category"):
        parts = [Called(each.name, each.arguments, each.value.xs(category, level="category")) for each in (one, other)]
        found += relation(parts[0], parts[1], pair)
    return found


OWN: dict[str, Relation] = {
    **RELATIONS,
    "acceleration_factors": SAME,
    "categories": SAME,
    "dispersion_lr_test": SAME,
    "family_parameters": SAME,
    "fit": _fit,
    "nonparallel": SAME,
    "parallel_test": SAME,
    "predict": _predicted,
    "survival": SAME,
    "thresholds": SAME,
}


def pair_of(family: str, verb: str, kind: str, folder: Path) -> Pair:
    column, expanded = EXPANDED[kind]
    rng = np.random.default_rng(1)
    table = patients().assign(o=lambda d: d["k"].clip(0, 2), dispersed=lambda d: d["k"] * (1 + d.index.to_numpy() % 4))
    table["t"], table["e"] = rng.gamma(2.0, 0.5 + table["k"]), rng.binomial(1, 0.7, len(table))
    rows = expanded(table)
    options: dict[str, Any] = {"family": family, "control": TIGHT, "cluster": "id"}
    if family == "nonparallel":
        options |= {"family": "ordinal", family: "g"}
    fit, formula = getattr(cg, verb), FORMULAS[family]
    if verb == "nonparametric" and family == "negative_binomial":
        formula = FORMULAS["negative_binomial1"]  # of counts hardly dispersed, alpha and its interval have few digits
    one = fit(formula, table, **{kind: column}, **options)
    return Pair(one, fit(formula, rows, **options), rows.row.to_numpy(), folder)


VERBS = [(family, verb) for family in FORMULAS for verb in ("random_effects", "pooled")]


@pytest.mark.parametrize("kind", ["weights", "cluster_weights"])
@pytest.mark.parametrize(
    ("family", "verb"),
    [
        *VERBS,
        ("negative_binomial", "fixed_effects"),
        *((family, "nonparametric") for family in FORMULAS if family != "nonparallel"),
    ],
)
def test_weights_are_rows(family: str, verb: str, kind: str, tmp_path: Path) -> None:
    pair, found = pair_of(family, verb, kind, tmp_path), []
    work = own_fixed.WORK_OF_FIXED if verb == "fixed_effects" else WORK.get(family, own.WORK)
    if verb == "nonparametric":
        work = own_nonparametric.work_on_points(work)
    names = [name for name in members(type(pair.weighted)) if name in work]
    assert len(names) > 30
    for name in names:
        for one, other in zip(called(pair.weighted, name), called(pair.rows, name), strict=True):
            found += [f"{one}: {each}" for each in OWN[name](one, other, pair)]
    assert found == []
