"""Whole-number weights are repeats: every public member of every result, beside that of a fit to the rows themselves.

What is simulated is so with the same seed, from rows in the same order: the same numbers too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.data.repeats import written_out

sys.path.insert(0, str(Path(__file__).parent))
from members import TIGHT, VERBS, Called, called, differences, members


@dataclass(frozen=True)
class Pair:
    """A fit with weights, and one to the rows and clusters that these stand for."""

    weighted: Any
    rows: Any
    origin: np.ndarray
    """Row of the table that each row of the other one repeats."""
    folder: Path

    @property
    def of_rows(self) -> np.ndarray:
        """How often each row of the table is there, in its order."""
        data = self.weighted.data
        each = data.weights * np.repeat(data.cluster_weights, np.diff(data.starts))
        return each[np.argsort(data.row_index, kind="stable")].astype(int)

    @property
    def of_clusters(self) -> np.ndarray:
        return self.weighted.data.cluster_weights.astype(int)


Relation = Callable[[Called, Called, Pair], list[str]]


def same(*skip: str, tolerance: float | None = None) -> Relation:
    """Equal, but for parts that are named."""
    return lambda one, other, _: differences(one.value, other.value, skip, tolerance)


def repeated(times: str, *skip: str, tolerance: float | None = None) -> Relation:
    """A row for each row, or cluster, of the table; in the other fit a row for each that it stands for."""

    def relation(one: Called, other: Called, pair: Pair) -> list[str]:
        if isinstance(one.value, cg.errors.ClusterGLMError):
            return differences(one.value, other.value)
        table, rows = (getattr(value, "data", value) for value in (one.value, other.value))
        expected = table.iloc[np.repeat(np.arange(len(table)), getattr(pair, times))]
        return differences(*_in_order(expected, rows, times, pair), skip, tolerance)

    return relation


def _in_order(table: Any, other: Any, times: str, pair: Pair) -> tuple[Any, Any]:
    """Rows of clusters that are repeated lie apart in the other table: both by the row that they repeat."""
    if times == "of_clusters":
        return table, other
    return table, other.iloc[np.argsort(pair.origin, kind="stable")]


def residuals(one: Called, other: Called, pair: Pair) -> list[str]:
    """Residuals that are drawn are those of the rows written out; others have a row for each of the table."""
    if one.arguments["kind"] in ("quantile", "simulated") and not isinstance(one.value, cg.errors.ClusterGLMError):
        order = np.argsort(pair.origin, kind="stable")
        return differences(one.value, other.value.iloc[order])
    return repeated("of_rows")(one, other, pair)


def simulated(one: Called, other: Called, pair: Pair) -> list[str]:
    """Equal draws; the index says which row and which cluster each belongs to."""
    order = np.argsort(pair.origin, kind="stable")
    if not np.array_equal(one.value.index.get_level_values("row"), np.sort(pair.origin)):
        return ["the rows of the index"]
    if pair.weighted.kind == "conditional" and pair.weighted.family == "poisson":
        return totals_stay(one.value, pair)  # a multinomial draw turns on the last bit of equal probabilities
    return differences(one.value.reset_index(drop=True), other.value.iloc[order].reset_index(drop=True))


def totals_stay(drawn: pd.DataFrame, pair: Pair) -> list[str]:
    totals = drawn.groupby(level="cluster").sum()
    data = pair.rows.data
    wanted = np.add.reduceat(data.a, data.starts[:-1])
    return [] if (totals.to_numpy() == wanted[:, None]).all() else ["totals of clusters"]


def described(one: Called, other: Called, pair: Pair) -> list[str]:
    """Equal texts, but for iterations, what integrals cost, and the line that names the weights and their sum."""
    data = pair.weighted.data
    kind = "case" if (data.weights != 1.0).any() else "cluster"
    total = (data.weights if kind == "case" else data.cluster_weights).sum()
    number, unit = (data.n_obs, "rows") if kind == "case" else (data.n_clusters, "clusters")
    words = f"{kind} weights, which sum to {total:.10g} in {number} {unit} of the table"
    facts = dict((*one.value.model, *one.value.facts))
    found = [] if facts.pop("Weights", "") == words and words in " ".join(str(one.value).split()) else ["no weights"]
    others = dict((*other.value.model, *other.value.facts))
    found += [] if "Weights" not in others else ["weights where there are none"]
    loose = ("Convergence", "Integration")
    pairs = [({k: v for k, v in f.items() if k not in loose}) for f in (facts, others)]
    return found + differences(*pairs) + differences(one.value.coefficients, other.value.coefficients)


def glance(one: Called, other: Called, pair: Pair) -> list[str]:
    """The weights are named and their sums are those of the rows; how the maximum was found may differ."""
    counts = pair.weighted.data
    kind = "case" if (counts.weights != 1.0).any() else "cluster"
    row = one.value.iloc[0]
    found = [] if row["weighted"] == kind and other.value.iloc[0]["weighted"] == "" else ["no weights"]
    return found + differences(
        one.value,
        other.value,
        ("weighted]", "iterations]", "gradient_norm]", "gradient]", "nodes]", "integration_error]"),
    )


def fit(one: Called, other: Called, _: Pair) -> list[str]:
    names = [
        f.name for f in fields(one.value) if f.name in ("beta", "sigma", "covariance", "hessian", "loglik", "points")
    ]
    return [each for name in names for each in differences(getattr(one.value, name), getattr(other.value, name))]


def data(one: Called, other: Called, _: Pair) -> list[str]:
    """Written out, they are the other's arrays."""
    whole = written_out(one.value, "a test")
    names = ("X", "a", "b", "offset", "weights", "trials", "starts", "cluster_weights", "constant", "saturated")
    return [each for name in names for each in differences(getattr(whole, name), getattr(other.value, name))]


def stored(one: Called, other: Called, pair: Pair) -> list[str]:
    """A file gives both back with what they say; the file of the weighted one names the weights."""
    again = []
    for name, result in (("one", pair.weighted), ("other", pair.rows)):
        result.save(pair.folder / f"{name}.json")
        again.append(cg.load(pair.folder / f"{name}.json"))
    found = [] if "Weights:" in (pair.folder / "one.json").read_text() else ["no weights in the file"]
    return found + differences(again[0].cov(), again[1].cov()) + differences(again[0].bic, again[1].bic)


def report(one: Called, other: Called, pair: Pair) -> list[str]:
    """The page names the weights, and has the same tables of estimates."""
    pages = []
    for name, result in (("one", pair.weighted), ("other", pair.rows)):
        path = result.report(pair.folder / f"{name}.html", n_boot=0, n_sim=0, distributions=(), variables=())
        pages.append(path.read_text())
    found = [] if "weights, which sum to" in pages[0] else ["no weights in the page"]
    tables = [pd.read_html(__import__("io").StringIO(page), match="Std. error")[0] for page in pages]
    return found + differences(*tables)


def within_of(one: Called, other: Called, pair: Pair) -> list[str]:
    return differences(one.value.params, other.value.params) + differences(
        one.value.cov("robust"), other.value.cov("robust")
    )


def influence(one: Called, other: Called, pair: Pair) -> list[str]:
    """One of the clusters that a label stands for is deleted: the same for each of them."""
    if isinstance(one.value, cg.errors.ClusterGLMError):
        return differences(one.value, other.value)
    tolerance = 1e-10 if one.arguments.get("kind") != "exact" else 1e-7  # fits end within a tolerance of 1e-7
    tables = [each.value.data if hasattr(each.value, "data") else each.value.table() for each in (one, other)]
    expected = tables[0].iloc[np.repeat(np.arange(len(tables[0])), pair.of_clusters)]
    return differences(expected, tables[1], ("[label]",), tolerance)


def check(one: Called, other: Called, _: Pair) -> list[str]:
    """Equal verdicts; the words name labels."""
    verdicts = [[(finding.name, finding.fine) for finding in each.value.findings] for each in (one, other)]
    words = [
        {
            finding.name: finding.words
            for finding in each.value.findings
            if finding.name in ("Dispersion", "Zeros", "Residuals")
        }
        for each in (one, other)
    ]
    return ([] if verdicts[0] == verdicts[1] else [f"{verdicts[0]} for {verdicts[1]}"]) + differences(*words)


def optimisation(one: Called, other: Called, _: Pair) -> list[str]:
    """Both reached the maximum; by how many steps is not the data's business."""
    return differences(one.value.status, other.value.status)


def quadrature(one: Called, other: Called, _: Pair) -> list[str]:
    """What was asked for; an estimate of the error is small, but not the same."""
    small = not one.value.error > 1e-6 and not other.value.error > 1e-6
    return differences(one.value.requested, other.value.requested) + ([] if small else ["errors"])


def posterior(one: Called, other: Called, pair: Pair) -> list[str]:
    """A row for each cluster; the columns are named by the points."""
    points = differences(one.value.columns.to_numpy(), other.value.columns.to_numpy())
    return points + differences(one.value.to_numpy().repeat(pair.of_clusters, axis=0), other.value.to_numpy())


def in_ascending_order(one: Called, other: Called, pair: Pair) -> list[str]:
    """Clusters by their estimate."""
    if isinstance(one.value, cg.errors.ClusterGLMError):
        return differences(one.value, other.value)
    labels = pair.weighted.data.labels
    times = pd.Series(pair.of_clusters, labels)[one.value.data["label"]].to_numpy()
    expected = one.value.data.iloc[np.repeat(np.arange(len(labels)), times)]
    return differences(expected, other.value.data, ("[label]",))


def names_of(table: str) -> Relation:
    """Names of a table by clusters, whose labels are the repeats' own in the other fit."""
    return repeated("of_clusters", "[label]")


def sampled(one: Called, other: Called, _: Pair) -> list[str]:
    """Draws by one seed, which rest on where the posterior has its mode."""
    values = [getattr(each.value, "values", each.value) for each in (one, other)]
    return differences(*values, tolerance=1e-7)


def bootstrap(one: Called, other: Called, pair: Pair) -> list[str]:
    """Replicates from clusters that are drawn as often: fits of weights and of rows, which end within a tolerance."""
    tolerance = 1e-6 if one.arguments.get("resample") == "clusters" else 1e-8  # where searches end; 3e-9 was seen
    return differences(one.value, other.value, tolerance=tolerance)


def intervals(one: Called, other: Called, pair: Pair) -> list[str]:
    """Of replicates as near as these are; all others as near as estimates."""
    return differences(one.value, other.value, tolerance=1e-8 if one.arguments.get("method") == "bootstrap" else None)


def jackknife(one: Called, other: Called, pair: Pair) -> list[str]:
    """A cluster that stands for several is deleted as often, one at a time; groups are those of the rows."""
    if isinstance(one.value, cg.errors.ClusterGLMError):
        return differences(one.value, other.value)
    names = "estimate", "bias", "std_error", "df", "acceleration"
    found = [
        each
        for name in names
        for each in differences(getattr(one.value, name), getattr(other.value, name), tolerance=1e-5)
    ]
    times = 1 if "groups" in one.arguments else pair.of_clusters
    return found + differences(np.repeat(one.value.deleted, times, axis=0), other.value.deleted, tolerance=1e-6)


SAME = same()
EQUAL = (
    "adjusted_means", "aic", "average_effects", "bic", "bse", "calibration",
    "chi_squared", "clustering_test", "converged", "cov",
    "cov_params", "deviance", "df_resid", "dispersion", "dispersion_test",
    "delta_method", "distribution", "survival", "plot.survival",
    "event_counts", "family", "family_response", "formula", "gradient_function", "hausman", "icc",
    "interval_odds_ratio", "intraclass_correlation", "kind", "link", "llf", "loglik", "marginal_coefficients",
    "median_odds_ratio", "n_clusters", "n_obs", "n_parameters", "nobs", "params", "penalty", "pvalues",
    "random_effects_sd", "ratios", "response", "shape", "sigma", "sigma_se", "term_tests", "tidy", "tvalues",
    "wald_test", "zero_inflation_test", "zvalues", "penalized_loglik", "bias_correction", "n_informative",
    "n_obs_informative", "mass_points", "random_effects_mean", "profile", "plot.adjusted_means", "plot.bootstrap",
    "plot.calibration",
    "plot.coefficients", "plot.gradient", "plot.predictions", "plot.profile", "plot.rootogram",
    "to_marginaleffects",
)  # fmt: skip
RELATIONS: dict[str, Relation] = dict.fromkeys(EQUAL, SAME) | {
    "augment": repeated("of_rows", "[cluster]", "[.weights]"),
    "bootstrap": bootstrap,
    "check": check,
    "cluster_effects": names_of("cluster_effects"),
    "conf_int": intervals,
    "data": data,
    "drop_one": same(tolerance=1e-6),  # fits end within a tolerance of 1e-7
    "fit": fit,
    "for_maketables": same("iterations", "gradient_norm", "weighted", "nodes", "integration_error", "gradient"),
    "glance": glance,
    "influence": influence,
    "integration_check": same(".worst_cluster", ".error"),
    "integration_curve": same(".error"),
    "jackknife": jackknife,
    "optimization": optimisation,
    "plot.caterpillar": in_ascending_order,
    "plot.density": SAME,
    "plot.influence": influence,
    "plot.integration": SAME,
    "plot.qq": SAME,
    "plot.random_effects": SAME,
    "plot.residuals": SAME,
    "pooled": within_of,
    "posterior": posterior,
    "predict": repeated("of_rows"),
    "quadrature": quadrature,
    "r2": same(tolerance=1e-6),
    "random_effects": names_of("random_effects"),
    "report": report,
    "residual_envelope": SAME,
    "residuals": residuals,
    "sample": sampled,
    "save": stored,
    "simulate": simulated,
    "summary": described,
    "test_clustering": same(tolerance=1e-7),  # the pooled fit to fixed effects' data ends at the default tolerance
}


def patients() -> pd.DataFrame:
    """Clusters of four to six rows, with case weights w and cluster weights v."""
    rng = np.random.default_rng(12)
    sizes = rng.integers(4, 7, 16)
    n, id_ = int(sizes.sum()), np.repeat(np.arange(16), sizes)
    d = pd.DataFrame(
        {"id": id_, "x": rng.normal(size=n).round(1), "g": rng.choice(["a", "b", "c"], n), "row": np.arange(n)}
    )
    eta = 0.4 * d.x + 0.5 * (d.g == "b") + rng.normal(size=16)[id_]
    d["y"] = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    d["k"] = rng.poisson(np.exp(0.3 + 0.3 * eta))
    d["w"], d["v"] = rng.integers(1, 4, n), rng.integers(1, 4, 16)[id_]
    return d.iloc[rng.permutation(n)].assign(row=np.arange(n)).reset_index(drop=True)


def clusters_as_often(d: pd.DataFrame) -> pd.DataFrame:
    """Each cluster as often as its weight v says, its repeats next to each other in the order of labels."""
    parts = [
        part.assign(id=f"{label:02d}-{copy}")
        for label, part in d.groupby("id", sort=True)
        for copy in range(part.v.iloc[0])
    ]
    return pd.concat(parts, ignore_index=True)


def rows_as_often(d: pd.DataFrame) -> pd.DataFrame:
    return d.loc[d.index.repeat(d.w)].reset_index(drop=True)


EXPANDED = {"weights": ("w", rows_as_often), "cluster_weights": ("v", clusters_as_often)}
MODELS: list[tuple[str, str, str, dict[str, Any]]] = [
    *((verb, "binomial", kind, {}) for verb in VERBS for kind in EXPANDED),
    *(
        (verb, "poisson", kind, {})
        for verb, kind in zip(
            VERBS, ("weights", "cluster_weights", "weights", "cluster_weights", "weights"), strict=True
        )
    ),
    ("random_effects", "binomial", "cluster_weights", {"quadrature": 3, "distribution": "logistic"}),
    ("fixed_effects", "binomial", "weights", {"bias_correction": "analytical"}),
    ("fixed_effects", "binomial", "weights", {"bias_correction": cg.SplitPanel()}),
    ("pooled", "binomial", "cluster_weights", {"penalty": "firth"}),
    ("conditional", "binomial", "weights", {"penalty": "firth"}),
]


def pair_of(verb: str, family: str, kind: str, options: dict[str, Any], folder: Path) -> Pair:
    column, expanded = EXPANDED[kind]
    table, formula = patients(), f"{'y' if family == 'binomial' else 'k'} ~ x + g"
    options = {"family": family, "cluster": "id", "control": TIGHT, **options}
    rows = expanded(table)
    one, other = (
        getattr(cg, verb)(formula, table, **{kind: column}, **options),
        getattr(cg, verb)(formula, rows, **options),
    )
    return Pair(one, other, rows.row.to_numpy(), folder)


def compared(pair: Pair) -> list[str]:
    found = []
    for name in members(type(pair.weighted)):
        for one, other in zip(called(pair.weighted, name), called(pair.rows, name), strict=True):
            found += [f"{one}: {each}" for each in RELATIONS[name](one, other, pair)]
    return found


def test_every_member_has_an_entry() -> None:
    known = {name for verb in VERBS for name in members(type(getattr(cg, verb)("y ~ x", patients(), cluster="id")))}
    assert known == set(RELATIONS)


@pytest.mark.parametrize(("verb", "family", "kind", "options"), MODELS)
def test_weights_are_rows(verb: str, family: str, kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    assert compared(pair_of(verb, family, kind, options, tmp_path)) == []
