"""`within(x)` and `between(x)` in a formula."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import clusterglm as cg
from clusterglm.data.cluster_means import means_of
from clusterglm.data.formulas.formula import parse_formula
from clusterglm.errors import ClusterError, DesignError, FormulaError, PredictionWarning


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """Scattered clusters of unequal sizes; x goes with the intercepts."""
    rng = np.random.default_rng(5)
    sizes = rng.integers(2, 9, 70)
    cluster = np.repeat(np.arange(70), sizes)
    u = rng.normal(size=70)[cluster]
    d = pd.DataFrame({"id": np.char.add("c", cluster.astype(str)), "x": u + rng.normal(size=len(cluster))})
    d["z"] = rng.uniform(0.5, 3.0, len(d))
    d["g"] = rng.choice(["a", "b"], len(d))
    d["y"] = rng.poisson(np.exp(0.3 * d.x + 0.4 * u + 0.5 * rng.normal(size=70)[cluster]))
    d["s"] = (d.y > 1).astype(int)
    return d.sample(frac=1.0, random_state=1).reset_index(drop=True)


def by_hand(d: pd.DataFrame, column: str = "x") -> tuple[pd.Series[float], pd.Series[float]]:
    mean = d.groupby("id")[column].transform("mean")
    return d[column] - mean, mean


def columns(fit: Any) -> pd.DataFrame:
    """The design in the order of the user's table."""
    order = np.argsort(fit.data.row_index)
    return pd.DataFrame(fit.data.X[order], columns=list(fit.data.names), index=fit.data.row_index[order])


def test_values_are_those_of_a_group_by(data: pd.DataFrame) -> None:
    fit = cg.pooled("y ~ within(x) + between(x) + within(log(z)):g", data, family="poisson", cluster="id")
    within, between = by_hand(data)
    log_z, _ = by_hand(data.assign(log_z=np.log(data.z)), "log_z")
    X = columns(fit)
    assert list(fit.data.names) == [
        "(Intercept)", "within(x)", "between(x)", "within(log(z)):ga", "within(log(z)):gb",
    ]  # fmt: skip
    np.testing.assert_allclose(X["within(x)"], within, atol=1e-12)
    np.testing.assert_allclose(X["between(x)"], between, atol=1e-12)
    np.testing.assert_allclose(X["within(log(z)):gb"], log_z * (data.g == "b"), atol=1e-12)


def test_other_tables_and_orders_give_the_same(data: pd.DataFrame) -> None:
    fits = [
        cg.random_effects("s ~ within(x) + between(x)", table, cluster="id")
        for table in (data, pl.from_pandas(data), data.sort_values("id"), {name: data[name].tolist() for name in data})
    ]
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.params, fits[0].params, rtol=1e-7)


def test_means_are_over_the_rows_in_use(data: pd.DataFrame) -> None:
    """Without incomplete rows, those outside the subset and those of zero weight; others as often as weights say."""
    d = data.assign(w=np.where(np.arange(len(data)) % 7 == 0, 0.0, 1.0 + np.arange(len(data)) % 3), u=data.z)
    d.loc[[3, 40, 41], "u"] = np.nan
    keep = (d.w > 0) & d.u.notna() & (d.z < 2.9)
    fit = cg.pooled("y ~ within(x) + u", d, family="poisson", cluster="id", weights="w", subset=(d.z < 2.9).to_numpy())
    used = d[keep]
    within, _ = by_hand(used.loc[used.index.repeat(used.w.astype(int))])
    within = within[~within.index.duplicated()]
    np.testing.assert_allclose(columns(fit)["within(x)"], within, atol=1e-12)
    assert list(columns(fit).index) == list(within.index)


@pytest.mark.parametrize(
    ("verb", "response", "family"),
    [(cg.pooled, "y", "poisson"), (cg.random_effects, "y", "poisson"), (cg.random_effects, "s", "binomial")],
)
def test_two_parametrisations_of_one_model(verb: Any, response: str, family: str, data: pd.DataFrame) -> None:
    """within(x) + between(x) is x + between(x): the same likelihood, and coefficients that differ by arithmetic."""
    split = verb(f"{response} ~ within(x) + between(x)", data, family=family, cluster="id")
    plain = verb(f"{response} ~ x + between(x)", data, family=family, cluster="id")
    assert split.loglik == pytest.approx(plain.loglik, abs=1e-7)
    assert split.params["within(x)"] == pytest.approx(plain.params["x"], rel=1e-6)
    contextual = split.params["between(x)"] - split.params["within(x)"]
    assert plain.params["between(x)"] == pytest.approx(contextual, rel=1e-6)
    test = split.wald_test("within(x) = between(x)")
    assert test.statistic == pytest.approx(plain.wald_test("between(x) = 0").statistic, rel=1e-5)


@pytest.mark.parametrize("verb", [cg.fixed_effects, cg.conditional])
def test_cluster_intercepts_take_up_the_means(verb: Any, data: pd.DataFrame) -> None:
    """within(x) is x less what the intercepts take up; between(x) is nothing else than that."""
    split = verb("y ~ within(x)", data, family="poisson", cluster="id")
    plain = verb("y ~ x", data, family="poisson", cluster="id")
    assert split.params["within(x)"] == pytest.approx(plain.params["x"], rel=1e-8)
    with pytest.raises(DesignError, match=r"'between\(x\)' is constant within every cluster"):
        verb("y ~ between(x)", data, family="poisson", cluster="id")
    without = verb("y ~ x + between(x)", data, family="poisson", cluster="id")
    assert without.params.to_dict() == plain.params.to_dict()
    assert "without 'between(x)': constant within every cluster" in str(without)


def test_known_clusters_keep_the_means_of_the_fit(data: pd.DataFrame) -> None:
    fit = cg.random_effects("y ~ within(x) + between(x) + I(within(x)^2)", data, cluster="id", family="poisson")
    np.testing.assert_allclose(fit.predict(data, scale="link"), fit.predict(scale="link"), atol=1e-12)
    one = data.iloc[[7]]
    np.testing.assert_allclose(fit.predict(one, scale="link").iloc[0], fit.predict(scale="link").loc[7], atol=1e-12)
    raised = one.assign(x=one.x + 1.0)
    within = by_hand(data)[0].loc[7]
    squares = fit.params["I(within(x) ** 2)"] * ((within + 1.0) ** 2 - within**2)
    step = fit.predict(raised, scale="link").iloc[0] - fit.predict(one, scale="link").iloc[0]
    assert step == pytest.approx(fit.params["within(x)"] + squares, rel=1e-9)


def test_new_clusters_have_the_means_of_their_new_rows(data: pd.DataFrame) -> None:
    fit = cg.pooled("y ~ within(x) + between(x)", data, cluster="id", family="poisson")
    new = pd.DataFrame({"id": ["new", "c1", "new", "other"], "x": [1.0, 0.3, 4.0, 2.0]})
    mean = data.x[data.id == "c1"].mean()
    within, between = np.array([-1.5, 0.3 - mean, 1.5, 0.0]), np.array([2.5, mean, 2.5, 2.0])
    b = fit.params
    want = b["(Intercept)"] + b["within(x)"] * within + b["between(x)"] * between
    np.testing.assert_allclose(fit.predict(new, scale="link"), want, rtol=1e-12)
    again = pickle.loads(pickle.dumps(fit))
    np.testing.assert_array_equal(again.predict(new), fit.predict(new))


def test_new_data_need_the_cluster_column(data: pd.DataFrame) -> None:
    fit = cg.pooled("y ~ within(x)", data, cluster="id", family="poisson")
    with pytest.raises(ClusterError, match=r"without the cluster column 'id', for within\(x\)"):
        fit.predict(data.drop(columns="id"))
    new = data.head(4).assign(id=["c1", None, "c2", "c3"])
    with pytest.warns(PredictionWarning, match="1 of 4 rows"):
        answer = fit.predict(new)
    assert answer.isna().tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("formula", "cluster", "error", "words"),
    [
        ("y ~ within(x)", None, ClusterError, r"within\(x\) without clusters"),
        ("y ~ between(g)", "id", FormulaError, r"'g', categories, in between\(g\)"),
        ("y ~ within(w)", "id", FormulaError, "'w' in the formula, which is not a column"),
        ("y ~ within()", "id", FormulaError, r"within\(\) in the formula"),
        ("y ~ within(2)", "id", FormulaError, "a single value"),
        ("y ~ within(between(x))", "id", FormulaError, r"between\(x\) inside within"),
        ("y ~ within(y)", "id", FormulaError, "on both sides"),
    ],
)
def test_what_cannot_be_read_is_named(
    formula: str, cluster: str | None, error: type[Exception], words: str, data: pd.DataFrame
) -> None:
    with pytest.raises(error, match=words):
        cg.pooled(formula, data, family="poisson", cluster=cluster)


def test_a_column_of_the_same_name_is_refused(data: pd.DataFrame) -> None:
    with pytest.raises(FormulaError, match="also a column"):
        cg.pooled("y ~ within(x)", data.assign(**{"within(x)": 0.0}), family="poisson", cluster="id")


def test_a_column_may_be_called_within(data: pd.DataFrame) -> None:
    named = data.assign(within=data.x)
    fit = cg.pooled("y ~ within + within(within)", named, family="poisson", cluster="id")
    assert list(fit.params.index) == ["(Intercept)", "within", "within(within)"]


def test_names_of_columns_that_are_not_words() -> None:
    parsed = parse_formula("y ~ within(`two words`) + between(log(x))", ["y", "x", "two words"])
    assert [(term.name, term.kind) for term in parsed.cluster_terms] == [
        ("within(two words)", "within"),
        ("between(log(x))", "between"),
    ]
    assert parsed.variables == ("two words", "x")


def test_means_of_constants_are_exact() -> None:
    x = np.array([0.1, 0.3, 0.1, 0.1, 0.3, 1e15 + 1.0])
    np.testing.assert_array_equal(means_of(x, np.array([0, 1, 0, 0, 1, 2]), 3), [0.1, 0.3, 1e15 + 1.0])
