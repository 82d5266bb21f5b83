"""Whole-number weights are repeats with several effects and a response with parameters of its own."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clusterglm as cg

sys.path.insert(0, str(Path(__file__).parent))
from members import TIGHT, Called, called, differences, members
from test_own_parameters import OWN as OF_OWN
from test_repeats import EXPANDED, SAME, Pair, Relation, same
from test_several_effects import OWN as OF_SEVERAL
from test_several_effects import patients

from clusterglm.results.models import durations_mixed, ordinal_mixed, own_mixed, zeros_mixed

FORMULAS = {
    "zero_inflation": "k0 ~ x + g + (x | id)",
    "hurdle": "k0 ~ x + g + (x | id)",
    "negative_binomial": "k ~ x + g + (x | id)",
    "ordinal": "o ~ x + g + (x | id)",
    "weibull": "Surv(t) ~ x + g + (x | id)",
    "exponential": "Surv(t, e) ~ x + g + (x | id)",
}
WITH_ZEROS = ("zero_inflation", "hurdle")
WORK = {
    "zero_inflation": zeros_mixed.WORK_OF_SEVERAL,
    "hurdle": zeros_mixed.WORK_WITH_HURDLE_OF_SEVERAL,
    "negative_binomial": own_mixed.WORK_OF_SEVERAL,
    "ordinal": ordinal_mixed.WORK_OF_SEVERAL,
    "weibull": durations_mixed.WORK_OF_SEVERAL,
    "exponential": durations_mixed.WORK_OF_SEVERAL,
}


def _fit(one: Called, other: Called, _: Pair) -> list[str]:
    """Estimates; second derivatives in parameters of a kernel are differences."""
    found = [
        each for name in ("beta", "phi", "loglik", "held")
        for each in differences(getattr(one.value, name), getattr(other.value, name), tolerance=1e-7)
    ]  # fmt: skip
    return found + differences(one.value.whole_covariance, other.value.whole_covariance, tolerance=1e-6)


def _bootstrap(one: Called, other: Called, _: Pair) -> list[str]:
    """As close as alpha is found next to the end of its range."""
    return differences(one.value, other.value, tolerance=1e-6 if one.arguments else 1e-8)


def _influence(one: Called, other: Called, pair: Pair) -> list[str]:
    """As in the table of weights, but that second derivatives in parameters of a kernel are differences."""
    tables = one.value.table(), other.value.table()
    expected = tables[0].iloc[np.repeat(np.arange(len(tables[0])), pair.of_clusters)]
    return differences(expected, tables[1], ("[label]",), 1e-5)


OWN: dict[str, Relation] = {
    **OF_SEVERAL,
    **{name: OF_OWN[name] for name in ("categories", "dispersion_lr_test", "family_parameters", "parallel_test")},
    **{name: OF_OWN[name] for name in ("acceleration_factors", "nonparallel", "predict", "survival", "thresholds")},
    "bootstrap": _bootstrap,
    "conf_int": same(tolerance=1e-8),
    "fit": _fit,
    "integration_curve": same(".error", tolerance=1e-8),
    **dict.fromkeys(("hurdle", "zero_inflation", "zero_inflation_lr_test"), SAME),
}


def pair_of(family: str, kind: str, folder: Path) -> Pair:
    column, expanded = EXPANDED[kind]
    rng, table = np.random.default_rng(1), patients().assign(o=lambda d: d["k"].clip(0, 2))
    table["t"], table["e"] = rng.gamma(2.0, 0.5 + table["k"]), rng.binomial(1, 0.7, len(table))
    table["k0"] = table["k"] * rng.binomial(1, 0.7, len(table))
    rows = expanded(table)
    options: dict[str, Any] = {"family": family, "control": TIGHT, "quadrature": 9}
    if family in WITH_ZEROS:
        options |= {"family": "poisson", family: "~ x"}
    one = cg.random_effects(FORMULAS[family], table, **{kind: column}, **options)
    return Pair(one, cg.random_effects(FORMULAS[family], rows, **options), rows.row.to_numpy(), folder)


@pytest.mark.parametrize("kind", ["weights", "cluster_weights"])
@pytest.mark.parametrize("family", FORMULAS)
def test_weights_are_rows(family: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if family == "zero_inflation":  # of whose coefficients of zeros second derivatives are differences
        monkeypatch.setattr(sys.modules["members"], "TOLERANCE", 1e-7)
    pair, found = pair_of(family, kind, tmp_path), []
    names = [name for name in members(type(pair.weighted)) if name in WORK[family]]
    assert len(names) > 30
    for name in names:
        # fits without each cluster take long; those of a cluster are looked at in results/test_zeros_diagnosed.py
        calls = 1 if (family, name) == ("zero_inflation", "influence") else None
        both = (islice(called(fit, name), calls) for fit in (pair.weighted, pair.rows))
        for one, other in zip(*both, strict=True):
            relation = _influence if calls else OWN[name]
            found += [f"{one}: {each}" for each in relation(one, other, pair)]
    assert found == []
