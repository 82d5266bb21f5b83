"""Fixed effects of two factors: against one factor with a column for each level of the other, and other programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
import clusterglm.fit.two_way as fit_module
import clusterglm.likelihood.two_way as algebra
from clusterglm.errors import ClusterError, DesignError, OptionError, SeparationError
from clusterglm.inference.uncertainty.covariance import sandwich
from clusterglm.likelihood.two_way import Crossing, Intercepts

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
from two_way_by_pyfixest import panel  # noqa: E402

TIGHT = cg.Control(tol=1e-9)
BOTH = ["person", "year"]
FAMILIES = {"binary": "binomial", "count": "poisson", "measure": "gaussian"}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return panel()


@pytest.fixture(params=["columns", "dense", "gradients"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Levels of the second factor as columns, by Cholesky's method, by conjugate gradients."""
    if request.param != "columns":
        monkeypatch.setattr(fit_module, "_FEW_COLUMNS", 0)
    if request.param == "gradients":
        monkeypatch.setattr(algebra, "DENSE", 0)
    return str(request.param)


def errors(fit: Any, kind: str = "observed") -> np.ndarray:
    return np.sqrt(np.diag(fit.cov(kind).to_numpy()))


@pytest.mark.parametrize(
    ("response", "family", "link"),
    [("binary", "binomial", "logit"), ("binary", "binomial", "probit"), ("binary", "binomial", "cloglog"),
     ("count", "poisson", "log")],
)  # fmt: skip
@pytest.mark.usefixtures("route")
def test_every_route_ends_at_the_maximum_with_a_column_for_each_level(
    data: pd.DataFrame, response: str, family: str, link: str
) -> None:
    known = {"family": family, "link": link, "control": TIGHT}
    fit = cg.fixed_effects(f"{response} ~ x + z", data, cluster=BOTH, **known)
    wide = cg.fixed_effects(f"{response} ~ x + z + C(year)", data, cluster="person", **known)
    np.testing.assert_allclose(fit.params, wide.params.iloc[:2], rtol=0, atol=1e-8)
    np.testing.assert_allclose(fit.bse, wide.bse.iloc[:2], rtol=1e-6)
    assert fit.loglik == pytest.approx(wide.loglik, abs=1e-8)
    effects = fit.cluster_effects.set_index("factor")
    years, persons = effects.loc["year"], effects.loc["person"]
    np.testing.assert_allclose(years["estimate"], [0.0, *wide.params.iloc[2:]], rtol=0, atol=1e-7)
    np.testing.assert_allclose(years["std_error"], [0.0, *wide.bse.iloc[2:]], rtol=1e-5)
    other = wide.cluster_effects.set_index("label").loc[persons["label"]]
    np.testing.assert_allclose(persons["estimate"], other["estimate"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(persons["std_error"], other["std_error"], rtol=1e-5)


@pytest.mark.parametrize("response", FAMILIES)
@pytest.mark.usefixtures("route")
def test_pyfixest_gives_the_same_numbers(data: pd.DataFrame, response: str) -> None:
    """Its clustered covariances are without m/(m - 1)."""
    known = json.loads((GOLDEN / "two_way_by_pyfixest.json").read_text())[response]
    fit = cg.fixed_effects(f"{response} ~ x + z", data, cluster=BOTH, family=FAMILIES[response], control=TIGHT)
    np.testing.assert_allclose(fit.params, known["coef"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(fit.bse, known["iid"], rtol=1e-7)
    parts = {}
    for name, m in fit.n_effects.items():
        parts[name] = fit.cov(f"robust:{name}").to_numpy() * (m - 1) / m
        np.testing.assert_allclose(np.sqrt(np.diag(parts[name])), known[name], rtol=1e-7)
    np.testing.assert_array_equal(fit.cov("robust"), fit.cov("robust:person"))
    # each pair of person and year is one row
    n = fit.n_obs
    rows = sandwich(fit.cov().to_numpy(), fit._joint.scores, np.ones(n))
    whole = fit.cov("robust:person") + fit.cov("robust:year") - rows
    np.testing.assert_allclose(fit.cov("two-way"), whole, rtol=1e-10)
    plain = parts["person"] + parts["year"] - rows * (n - 1) / n
    np.testing.assert_allclose(np.sqrt(np.diag(plain)), known["person + year"], rtol=1e-7)


@pytest.mark.usefixtures("route")
def test_least_squares_with_all_columns(data: pd.DataFrame) -> None:
    weighted = data.assign(w=1.0 + (np.arange(len(data)) % 3))
    fit = cg.fixed_effects("measure ~ x + z", weighted, cluster=BOTH, family="gaussian", weights="w")
    columns = [pd.get_dummies(data[name], dtype=float).to_numpy() for name in BOTH]
    X = np.column_stack([data[["x", "z"]], *columns])
    root = np.sqrt(weighted["w"].to_numpy())
    beta, _, rank, _ = np.linalg.lstsq(X * root[:, None], data["measure"] * root)
    left = data["measure"] - X @ beta
    rss, n = float(weighted["w"] @ left**2), float(weighted["w"].sum())
    np.testing.assert_allclose(fit.params, beta[:2], rtol=1e-10)
    assert fit.n_parameters == rank + 1
    assert fit.residual_sd == pytest.approx(np.sqrt(rss / (n - rank)), rel=1e-10)
    inverse = np.linalg.pinv((X * root[:, None]).T @ (X * root[:, None]), rcond=1e-12)
    np.testing.assert_allclose(fit.bse, fit.residual_sd * np.sqrt(np.diag(inverse)[:2]), rtol=1e-9)
    assert fit.loglik == pytest.approx(-0.5 * n * (np.log(2 * np.pi * rss / n) + 1), rel=1e-12)
    assert fit.deviance == pytest.approx(rss)
    np.testing.assert_allclose(fit.predict(scale="link"), X @ beta, rtol=0, atol=1e-9)


def test_predictions_and_effects_are_those_of_one_factor_with_columns(data: pd.DataFrame) -> None:
    fit = cg.fixed_effects("binary ~ x + z", data, cluster=BOTH, control=TIGHT)
    wide = cg.fixed_effects("binary ~ x + z + C(year)", data, cluster="person", control=TIGHT)
    some = data.iloc[fit.data.row_index[::7]]
    one, other = (each.predict(some, level=0.9) for each in (fit, wide))
    for name in ("estimate", "std_error", "low", "high"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-6)
    np.testing.assert_allclose(fit.predict(some), one["estimate"])
    effects = fit.average_effects().set_index("term")
    those = wide.average_effects(["x", "z"], clusters="informative").set_index("term")
    for name in ("estimate", "std_error"):
        np.testing.assert_allclose(effects[name], those[name], rtol=1e-4)  # observed against expected information
    own = fit.average_effects(data=data.iloc[fit.data.row_index])
    np.testing.assert_allclose(own["std_error"], effects["std_error"], rtol=1e-9)
    assert fit.augment().columns[:2].to_list() == BOTH


def test_unknown_levels_of_either_factor_are_refused_row_by_row(data: pd.DataFrame) -> None:
    fit = cg.fixed_effects("binary ~ x + z", data, cluster=BOTH)
    person = fit.data.labels[0]
    new = pd.DataFrame({"x": 1.0, "z": 0.0, "person": [person, 999, person], "year": [2003, 2003, 1066]})
    table = fit.predict(new, level=0.95)
    assert table["status"].to_list() == ["ok", "cluster 999 not seen in the fit", "cluster 1066 not seen in the fit"]
    assert np.isfinite(table["estimate"]).to_list() == [True, False, False]


@pytest.mark.usefixtures("route")
def test_levels_without_variation_are_left_out_until_none_is_left() -> None:
    """Person 0 has failures alone; without it so has year 0; without that person 1 has a single row."""
    rows = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 1)]
    rng = np.random.default_rng(5)
    rows += [
        (p, t, (p + t + p * t) % 2 if p < 8 else int(rng.random() < 0.5)) for p in range(2, 12) for t in range(1, 6)
    ]
    table = pd.DataFrame(rows, columns=["person", "year", "y"])
    table["x"] = rng.normal(size=len(table))
    fit = cg.fixed_effects("y ~ x", table, cluster=BOTH)
    counts = {each.reason: each.count for each in fit.data.dropped}
    assert counts["level of 'person' with only failures"] >= 2
    assert counts["level of 'year' with only failures"] == 1
    assert sum(counts.values()) + fit.n_obs == len(table)
    kept = table.iloc[np.sort(fit.data.row_index)]
    assert (kept.groupby("person")["y"].nunique() == 2).all()
    assert (kept.groupby("year")["y"].nunique() == 2).all()
    again = cg.fixed_effects("y ~ x", kept, cluster=BOTH)
    assert again.data.dropped == ()
    np.testing.assert_allclose(again.params, fit.params, atol=1e-8)
    assert "Dropped" in str(fit)


@pytest.mark.usefixtures("route")
def test_rows_that_effects_predict_for_certain_are_left_out() -> None:
    """One half of the persons, alone in the later years, always succeeds in the others: no level lacks variation."""
    rng = np.random.default_rng(3)
    person, year = (each.ravel() for each in np.meshgrid(np.arange(24), np.arange(8), indexing="ij"))
    x = rng.normal(size=len(person))
    y = (rng.random(len(person)) < 1 / (1 + np.exp(-0.8 * x))).astype(int)
    upper, late = person >= 12, year >= 4
    y[upper & ~late] = 1
    table = pd.DataFrame({"y": y, "x": x, "person": person, "year": year})[~(~upper & late)]
    fit = cg.fixed_effects("y ~ x", table, cluster=BOTH)
    assert any("certain" in each.reason for each in fit.data.dropped)
    assert fit.n_components == 2
    others = table[~((table.person >= 12) & (table.year < 4))]
    rest = cg.fixed_effects("y ~ x", others, cluster=BOTH)
    rows = set(table.index[fit.data.row_index])
    assert rows == set(others.index[rest.data.row_index])
    np.testing.assert_allclose(fit.params, rest.params, atol=1e-6)
    np.testing.assert_allclose(fit.bse, rest.bse, rtol=1e-5)


@pytest.mark.usefixtures("route")
def test_a_covariate_that_separates_is_refused(data: pd.DataFrame) -> None:
    for response, family in (("binary", "binomial"), ("count", "poisson")):
        never = data.assign(odd=((data[response] == 0) & (np.arange(len(data)) % 2 == 0)).astype(float))
        with pytest.raises(SeparationError, match="certain in the limit"):
            cg.fixed_effects(f"{response} ~ x + odd", never, cluster=BOTH, family=family)


@pytest.mark.usefixtures("route")
def test_what_both_factors_take_up(data: pd.DataFrame) -> None:
    cohort = data.assign(age=data.year - 1900 - data.person % 7, trend=np.sqrt(data.year - 2000.0))
    with pytest.raises(DesignError, match="'age', of which the effects of 'person' and 'year' leave nothing"):
        cg.fixed_effects("binary ~ x + age", cohort, cluster=BOTH)
    with pytest.raises(DesignError, match="fewer dimensions"):
        cg.fixed_effects("binary ~ x + z + I(2 * x - z + year**2 / 1000)", cohort, cluster=BOTH)
    fit = cg.fixed_effects("binary ~ x + trend", cohort, cluster=BOTH)
    assert fit.data.names == ("x",)
    assert "without 'trend': constant within every level of 'year'" in str(fit).replace("\n      ", " ")
    np.testing.assert_allclose(fit.params, cg.fixed_effects("binary ~ x", data, cluster=BOTH).params)


def test_nested_factors_are_refused(data: pd.DataFrame) -> None:
    nested = data.assign(village=data.person // 6)
    for names in (["village", "person"], ["person", "village"]):
        with pytest.raises(ClusterError, match="every level of 'person' lies in one level of 'village'"):
            cg.fixed_effects("binary ~ x", nested, cluster=names)


def test_the_order_of_factors_and_rows_does_not_matter(data: pd.DataFrame) -> None:
    fit = cg.fixed_effects("count ~ x", data, cluster=BOTH, family="poisson", control=TIGHT)
    turned = cg.fixed_effects(
        "count ~ x", data.sample(frac=1.0, random_state=1), cluster=BOTH[::-1], family="poisson", control=TIGHT
    )
    np.testing.assert_allclose(fit.params, turned.params, rtol=1e-10)
    np.testing.assert_allclose(fit.cov("robust"), turned.cov("robust:person"), rtol=1e-9)
    assert list(turned.n_effects) == ["year", "person"]


def test_missing_levels_are_counted(data: pd.DataFrame) -> None:
    gaps = data.assign(year=data.year.astype(float).where(np.arange(len(data)) % 10 != 0))
    fit = cg.fixed_effects("measure ~ x", gaps, cluster=BOTH, family="gaussian")
    missing = gaps.year.isna().sum()
    assert {each.reason: each.count for each in fit.data.dropped} == {"missing cluster 'year'": missing}
    again = cg.fixed_effects("measure ~ x", gaps.dropna(), cluster=BOTH, family="gaussian")
    np.testing.assert_allclose(fit.params, again.params, rtol=1e-12)


def test_bias_correction_is_the_formula_with_all_columns(data: pd.DataFrame) -> None:
    """Fernandez-Val and Weidner's terms of both factors, from a dense design and the logit's own derivatives."""
    fit = cg.fixed_effects("binary ~ x + z", data, cluster=BOTH, control=TIGHT)
    corrected = cg.fixed_effects("binary ~ x + z", data, cluster=BOTH, control=TIGHT, bias_correction="analytical")
    used = data.iloc[np.sort(fit.data.row_index)]
    mu = fit.predict().to_numpy()
    w = mu * (1 - mu)
    third = -w * (1 - 2 * mu)  # of the log-likelihood; E[G H] is 0 for a logit
    X = used[["x", "z"]].to_numpy()
    D = np.column_stack([pd.get_dummies(used[name], dtype=float) for name in BOTH])
    weighted = D * w[:, None]
    left = X - D @ np.linalg.lstsq(D.T @ weighted, weighted.T @ X, rcond=1e-11)[0]
    sums = sum((used[name].map(pd.Series(w, used.index).groupby(used[name]).sum())).rdiv(1.0) for name in BOTH)
    bias = np.linalg.solve(left.T @ (left * w[:, None]), left.T @ (0.5 * third * sums.to_numpy()))
    np.testing.assert_allclose(corrected.params, fit.params - bias, rtol=1e-7)
    assert (np.abs(corrected.params) < np.abs(fit.params)).all()
    assert corrected.loglik == fit.loglik
    # the intercepts are at their best beside the corrected coefficients
    at = corrected.predict()
    score = used["binary"] - at
    for name in BOTH:
        assert np.abs(score.groupby(used[name].to_numpy()).sum()).max() < 1e-6


def test_bias_correction_takes_off_most_of_the_bias() -> None:
    rng = np.random.default_rng(11)
    m, T = 150, 8
    person, year = (each.ravel() for each in np.meshgrid(np.arange(m), np.arange(T), indexing="ij"))
    plain, less = [], []
    for _ in range(20):
        x = rng.normal(size=m * T)
        eta = x + rng.normal(size=m)[person] + rng.normal(size=T)[year]
        table = pd.DataFrame({"y": (rng.random(m * T) < 1 / (1 + np.exp(-eta))).astype(int), "x": x})
        table = table.assign(person=person, year=year)
        plain.append(cg.fixed_effects("y ~ x", table, cluster=BOTH).params.iloc[0])
        less.append(cg.fixed_effects("y ~ x", table, cluster=BOTH, bias_correction="analytical").params.iloc[0])
    assert np.mean(plain) - 1.0 > 0.12
    assert abs(np.mean(less) - 1.0) < 0.035


@pytest.mark.parametrize("response", FAMILIES)
def test_files_give_results_back(data: pd.DataFrame, response: str, tmp_path: Path) -> None:
    fit = cg.fixed_effects(f"{response} ~ x + z", data, cluster=BOTH, family=FAMILIES[response])
    fit.save(tmp_path / "fit.json.gz")
    again = cg.load(tmp_path / "fit.json.gz")
    assert str(again) == str(fit)
    for kind in fit._covariances:
        np.testing.assert_array_equal(again.cov(kind), fit.cov(kind))
    pd.testing.assert_frame_equal(again.predict(data.head(9), level=0.9), fit.predict(data.head(9), level=0.9))
    pd.testing.assert_frame_equal(again.cluster_effects, fit.cluster_effects)


def test_all_else_works_or_refuses_in_words(data: pd.DataFrame) -> None:
    fit = cg.fixed_effects("binary ~ x + z", data, cluster=BOTH)
    assert fit.tidy(cov="two-way")["std_error"].to_list() == errors(fit, "two-way").tolist()
    assert fit.wald_test("x = z", cov="robust:year").df == 1
    assert fit.glance()["n_year"].item() == fit.n_effects["year"]
    drawn = fit.simulate(2, seed=1)
    assert drawn.shape == (fit.n_obs, 2)
    low, high = fit.conf_int(method="bootstrap", n_boot=10, seed=2).to_numpy().T
    assert (low < high).all()
    score = (fit.residuals() * data.loc[fit.residuals().index, "x"]).sum()
    assert abs(score) < 1e-5
    for call in (lambda: fit.conf_int(method="profile"), fit.drop_one, fit.adjusted_means):
        with pytest.raises(OptionError, match="two factors"):
            call()
    for given in ({"penalty": "firth"}, {"separation": "limit"}, {"family": "beta_binomial"}):
        with pytest.raises(OptionError, match="effects of two factors"):
            cg.fixed_effects("count ~ x", data, cluster=BOTH, **given)
    with pytest.raises(OptionError, match="does not bias"):
        cg.fixed_effects("measure ~ x", data, cluster=BOTH, family="gaussian", bias_correction="analytical")
    with pytest.raises(OptionError, match="Poisson"):
        cg.fixed_effects("count ~ x", data, cluster=BOTH, family="poisson", bias_correction="analytical")
    with pytest.raises(ClusterError, match="3 factors"):
        cg.fixed_effects("count ~ x", data, cluster=[*BOTH, "z"])


def test_one_factor_stays_what_it_was(data: pd.DataFrame) -> None:
    """A list of one column, labels in a list, and combinations of columns by their names."""
    one = cg.fixed_effects("binary ~ x", data, cluster="person")
    for cluster in (["person"], data["person"].astype(str).to_list()):
        fit = cg.fixed_effects("binary ~ x", data, cluster=cluster)
        np.testing.assert_allclose(fit.params, one.params, rtol=1e-12)
    half = data.assign(half=data.year > 2005)
    pairs = cg.fixed_effects("binary ~ x", half, cluster="person:half")
    assert pairs.n_clusters == len(half[["person", "half"]].drop_duplicates())


@pytest.mark.parametrize("dense", [500, 0])
def test_intercepts_are_solved_as_by_a_dense_matrix(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two sets of levels that have no rows in common."""
    monkeypatch.setattr(algebra, "DENSE", dense)
    rng = np.random.default_rng(2)
    first = np.sort(rng.integers(0, 30, 200))
    first = np.unique(first, return_inverse=True)[1]
    m = int(first.max()) + 1
    second = np.where(first < m // 2, rng.integers(0, 4, 200), rng.integers(4, 9, 200))
    starts = np.append(np.searchsorted(first, np.arange(m)), 200)
    crossing, w = Crossing(starts, second, 9), np.exp(3.0 * rng.normal(size=200))
    assert crossing.n_components == 2
    X = rng.normal(size=(200, 3)) + 100.0
    D = np.column_stack([first[:, None] == np.arange(m), second[:, None] == np.arange(9)]).astype(float)
    root = np.sqrt(w)[:, None]
    expected = X - D @ np.linalg.lstsq(D * root, X * root)[0]
    np.testing.assert_allclose(Intercepts(crossing, w).residual(X), expected, rtol=0, atol=1e-9)
    u, v = Intercepts(crossing, w).projection(X)
    np.testing.assert_allclose(v[crossing.references], 0.0)
    np.testing.assert_allclose(crossing.at_rows(u, v), X - expected, rtol=1e-9)


def test_the_command_line(data: pd.DataFrame, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from clusterglm.cli.common import app

    data.to_csv(tmp_path / "panel.csv", index=False)
    given = ["fit", str(tmp_path / "panel.csv"), "count ~ x", "--model", "fixed_effects", "--family", "poisson"]
    found = CliRunner().invoke(app, [*given, "--cluster", "person,year", "--save", str(tmp_path / "fit.json")])
    assert found.exit_code == 0, found.output
    assert "of 'person' and 9 of 'year'" in found.output
    known = cg.fixed_effects("count ~ x", data, cluster=BOTH, family="poisson")
    np.testing.assert_array_equal(cg.load(tmp_path / "fit.json").params, known.params)


def test_ratios_of_normal_responses_are_refused() -> None:
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"a": np.repeat(np.arange(10), 6), "b": np.arange(60) % 6, "x": rng.normal(size=60)})
    data["y"] = data["x"] + rng.normal(size=60)
    fit = cg.fixed_effects("y ~ x", data, cluster=["a", "b"], family="gaussian")
    with pytest.raises(OptionError, match="differences of means"):
        fit.ratios()
