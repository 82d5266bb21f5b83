"""Weights as rows in what is made of several fits, in formulas that look at whole columns, and in files in parts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg

sys.path.insert(0, str(Path(__file__).parent))
from members import TIGHT, differences

RNG = np.random.default_rng(21)
ID = np.repeat(np.arange(16), 6)
TABLE = pd.DataFrame({"id": ID, "x": RNG.normal(size=96).round(1), "w": RNG.integers(1, 4, 96)})
TABLE["y"] = (RNG.random(96) < 1.0 / (1.0 + np.exp(-0.5 * TABLE.x - RNG.normal(size=16)[ID]))).astype(int)
TABLE["v"] = RNG.integers(1, 4, 16)[ID]
ROWS = {
    "weights": TABLE.loc[TABLE.index.repeat(TABLE.w)].reset_index(drop=True),
    "cluster_weights": pd.concat(
        [
            part.assign(id=f"{label:02d}-{copy}")
            for label, part in TABLE.groupby("id")
            for copy in range(part.v.iloc[0])
        ],
        ignore_index=True,
    ),
}
COLUMN = {"weights": "w", "cluster_weights": "v"}
KINDS = pytest.mark.parametrize("kind", COLUMN)
OPTIONS: dict[str, Any] = {"cluster": "id", "control": TIGHT}


def both(verb: Any, formula: str, kind: str, **options: Any) -> tuple[Any, Any]:
    given = OPTIONS | options
    return verb(formula, TABLE, **{kind: COLUMN[kind]}, **given), verb(formula, ROWS[kind], **given)


@KINDS
def test_distributions_side_by_side(kind: str) -> None:
    one, other = both(cg.select_distribution, "y ~ x", kind, n_boot=5, seed=3, distributions=["gaussian", "cauchy"])
    assert differences(one.table, other.table, ("[integration_error]",)) == []
    assert differences(one.coefficients.to_numpy(), other.coefficients.to_numpy()) == []
    assert one.best("bic").distribution.name == other.best("bic").distribution.name
    assert one.best("chi_square").distribution.name == other.best("chi_square").distribution.name
    total = TABLE.w.sum() if kind == "weights" else TABLE.groupby("id").v.first().sum()
    assert f"weights, which sum to {total} in" in str(one)
    assert "weights," not in str(other)


@KINDS
def test_fits_side_by_side(kind: str) -> None:
    verbs = (cg.pooled, cg.random_effects, cg.fixed_effects)
    pairs = [both(verb, "y ~ x", kind) for verb in verbs]
    one, other = (cg.compare(*fits) for fits in zip(*pairs, strict=True))
    assert differences(one.to_frame(), other.to_frame()) == []
    assert differences(one.tests, other.tests) == []
    assert one.best("bic").kind == other.best("bic").kind
    assert "Weights:" in str(one)
    assert "Weights:" not in str(other)
    tables = [cg.table(list(fits), statistics=["N", "n_clusters", "bic"]) for fits in zip(*pairs, strict=True)]
    assert differences(tables[0].frame, tables[1].frame) == []
    assert [any("weights," in note for note in table.notes) for table in tables] == [True, False]


@KINDS
@pytest.mark.parametrize(
    "right", ["scale(x)", "poly(x, 2)", "bs(x, df=4)", "I(x - mean(x))", "within(scale(x)) + between(x)"]
)
def test_what_formulas_learn_of_columns(kind: str, right: str) -> None:
    one, other = both(cg.random_effects, f"y ~ {right}", kind)
    assert differences(one.tidy(), other.tidy(), tolerance=1e-8) == []
    new = TABLE.head(9)
    predictions = [fit.predict(new.assign(id="new"), kind="marginal") for fit in (one, other)]
    assert differences(*predictions, tolerance=1e-8) == []


def test_rows_and_clusters_at_once() -> None:
    clusters = ROWS["cluster_weights"]
    rows = clusters.loc[clusters.index.repeat(clusters.w)].reset_index(drop=True)
    one = cg.random_effects("y ~ x", TABLE, weights="w", cluster_weights="v", **OPTIONS)
    other = cg.random_effects("y ~ x", rows, **OPTIONS)
    for name in ("n_obs", "n_clusters", "loglik", "bic", "deviance", "params"):
        assert differences(getattr(one, name), getattr(other, name)) == []
    assert differences(one.cov("robust"), other.cov("robust")) == []
    for name in ("bootstrap", "calibration", "event_counts", "test_clustering", "average_effects"):
        options = {"n_boot": 5, "seed": 1} if name in ("bootstrap", "test_clustering") else {}
        assert differences(getattr(one, name)(**options), getattr(other, name)(**options)) == []
    said = " ".join(str(one).split())
    assert f"case weights times those of clusters, which sum to {len(rows)} in 96 rows" in said
    assert f"cluster weights, which sum to {other.n_clusters} in 16 clusters" in said


def test_means_of_clusters_count_trials() -> None:
    grouped = (
        TABLE.assign(late=(TABLE.x > 0).astype(int)).groupby(["id", "late"]).y.agg(s="sum", n="size").reset_index()
    )
    rows = TABLE.assign(late=(TABLE.x > 0).astype(int))
    one = cg.random_effects("cbind(s, n - s) ~ within(late) + between(late)", grouped, **OPTIONS)
    other = cg.random_effects("y ~ within(late) + between(late)", rows, **OPTIONS)
    assert differences(one.params, other.params) == []


@KINDS
@pytest.mark.parametrize("verb", ["random_effects", "pooled", "fixed_effects", "conditional"])
def test_rows_in_files(kind: str, verb: str, tmp_path: Path) -> None:
    """A result of rows that are not in memory counts as one of the rows themselves."""
    TABLE.to_parquet(tmp_path / "one.parquet")
    engine = cg.engine.Stream(folder=tmp_path)
    of_file = getattr(cg, verb)("y ~ x", tmp_path / "one.parquet", engine=engine, **{kind: COLUMN[kind]}, **OPTIONS)
    other = getattr(cg, verb)("y ~ x", ROWS[kind], **OPTIONS)
    for name in ("n_obs", "n_clusters", "bic", "df_resid", "n_parameters"):
        assert differences(getattr(of_file, name), getattr(other, name)) == []
    assert differences(of_file.cov("robust"), other.cov("robust"), tolerance=1e-8) == []
    assert "weights," in str(of_file)
    of_file.save(tmp_path / "fit.json")
    assert cg.load(tmp_path / "fit.json").n_obs == other.n_obs


def test_rows_in_files_without_clusters(tmp_path: Path) -> None:
    TABLE.to_parquet(tmp_path / "one.parquet")
    of_file = cg.pooled("y ~ x", tmp_path / "one.parquet", engine=cg.engine.Stream(folder=tmp_path), weights="w")
    other = cg.pooled("y ~ x", ROWS["weights"])
    assert differences(of_file.cov("robust"), other.cov("robust"), tolerance=1e-7) == []
    one = cg.pooled("y ~ x", TABLE, weights="w")
    assert differences(one.cov("robust"), other.cov("robust"), tolerance=1e-7) == []
    deleted = one.influence().table()
    expected = deleted.iloc[np.repeat(np.arange(len(deleted)), TABLE.w)]
    assert differences(expected, other.influence().table(), ("[label]",), tolerance=1e-7) == []


def test_the_note_on_bias_counts_trials() -> None:
    large = pd.DataFrame({"study": np.repeat(np.arange(9), 2), "arm": np.tile([0, 1], 9)})
    large = large.assign(s=40 + 3 * large.study + 11 * large.arm, n=500)
    assert "biased away" not in str(cg.fixed_effects("cbind(s, n - s) ~ arm", large, cluster="study"))
    small = large.assign(s=1 + (large.study + large.arm) % 3, n=4)
    fit = cg.fixed_effects("cbind(s, n - s) ~ arm", small, cluster="study")
    assert "With 8 trials for each intercept" in " ".join(str(fit).split())
