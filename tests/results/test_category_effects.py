"""Average effects on the probabilities of ordered categories: averages by definition, their errors by differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, ndtr

import clusterglm as cg
from clusterglm.cli import app
from clusterglm.errors import DataError, OptionError

LEVELS = ["bad", "fair", "good", "fine"]
BELOW: dict[str, Callable[[Any], Any]] = {"logit": expit, "cloglog": lambda x: -np.expm1(-np.exp(x)), "probit": ndtr}
U = np.linspace(-8.0, 8.0, 81)
W = np.exp(-0.5 * U * U) / np.sqrt(2.0 * np.pi) * (U[1] - U[0])


def ratings(seed: int = 8, m: int = 30, n: int = 6) -> pd.DataFrame:
    """Clusters of ratings, half of each cluster in a part of it, of m / 4 items each of which many clusters rate."""
    rng = np.random.default_rng(seed)
    cluster, x = np.repeat(np.arange(m), n), rng.normal(size=m * n)
    item, g = rng.integers(0, 8, m * n), rng.integers(0, 3, m * n)
    part = np.tile(np.arange(n) * 2 // n, m)
    eta = 0.7 * x + np.array([0.0, 0.6, -0.5])[g] + 0.6 * rng.normal(size=8)[item]
    eta += rng.normal(size=m)[cluster] + 0.7 * x * rng.normal(size=m)[cluster]
    eta += 1.3 * rng.normal(size=(m, 2))[cluster, part]
    y = np.digitize(eta + rng.logistic(size=m * n), [-1.2, 0.3, 2.0])
    kind = pd.CategoricalDtype(LEVELS, ordered=True)
    return pd.DataFrame(
        {
            "y": pd.Categorical.from_codes(y, dtype=kind),
            "x": x,
            "g": np.array(["a", "b", "c"])[g],
            "id": cluster,
            "part": part,
            "item": item,
            "w": rng.integers(1, 4, m * n),
        }
    )


def columns_of(table: pd.DataFrame) -> np.ndarray:
    return np.column_stack([table["x"], table["g"] == "b", table["g"] == "c"]).astype(float)


class ByDefinition:
    """Averages of probabilities as functions of all parameters: (beta, standard deviations, thresholds, slopes)."""

    def __init__(self, fit: Any, sizes: Callable[[np.ndarray, np.ndarray], Any], spread: np.ndarray, kind: str) -> None:
        self.fit, self.sizes, self.kind, self.link = fit, sizes, kind, fit.link
        self.names = list(fit.nonparallel.index)
        self.shared = [j for j, name in enumerate(["x", "g[b]", "g[c]"]) if not self._apart(j)]
        self.p, self.r = len(self.shared), len(spread)
        own = [*fit.thresholds, *fit.nonparallel.to_numpy().ravel()]
        self.theta = np.concatenate([fit.params[: self.p], spread, own])

    def _apart(self, j: int) -> bool:
        return any(name.startswith("x" if j == 0 else "g") for name in self.names)

    def probabilities(self, table: pd.DataFrame, theta: np.ndarray) -> np.ndarray:
        X = columns_of(table)
        beta, spread, own = np.split(theta, [self.p, self.p + self.r])
        cuts = np.broadcast_to(own[:3], (len(X), 3))
        if self.names:
            apart = [j for j in range(3) if j not in self.shared]
            cuts = cuts - X[:, apart] @ own[3:].reshape(len(apart), 3)
        at = cuts - (X[:, self.shared] @ beta)[:, None]
        size = np.zeros(len(X)) if self.kind == "typical" else self.sizes(spread, X[:, 0]) * np.ones(len(X))
        below = BELOW[self.link](at[:, :, None] - size[:, None, None] * U) @ W if size.any() else BELOW[self.link](at)
        return np.diff(below, axis=1, prepend=0.0, append=1.0)

    def checked(self, of: Callable[[np.ndarray], np.ndarray], found: pd.DataFrame, factor: float = 1.0) -> None:
        """What a table should have: estimates by definition, errors by differences in all parameters."""
        assert found["estimate"].to_numpy() == pytest.approx(factor * of(self.theta).ravel(), abs=3e-8)
        steps = 1e-3 * np.eye(len(self.theta))
        J = np.array([(8.0 * (of(self.theta + e) - of(self.theta - e)) - of(self.theta + 2.0 * e)
                       + of(self.theta - 2.0 * e)).ravel() / 12e-3 for e in steps])  # fmt: skip
        V = self.fit.cov().to_numpy()
        errors = np.sqrt(np.einsum("qc,qr,rc->c", J, V, J))
        assert found["std_error"].to_numpy() == pytest.approx(factor * errors, rel=2e-5)


def of_one(s: np.ndarray, x: np.ndarray) -> Any:
    return s[0] if len(s) else 0.0


def of_slopes(s: np.ndarray, x: np.ndarray) -> Any:
    return np.sqrt(s[0] ** 2 + 2.0 * s[2] * s[0] * s[1] * x + s[1] ** 2 * x**2)


def of_two(s: np.ndarray, x: np.ndarray) -> Any:
    return np.hypot(s[0], s[1])


MODELS: dict[str, tuple[str, str, dict[str, Any], Any]] = {
    "pooled": ("pooled", "y ~ x + g", {}, of_one),
    "pooled, probit": ("pooled", "y ~ x + g", {"link": "probit"}, of_one),
    "pooled, cloglog": ("pooled", "y ~ x + g", {"link": "cloglog"}, of_one),
    "intercept": ("random_effects", "y ~ x + g", {"cluster": "id"}, of_one),
    "intercept, probit": ("random_effects", "y ~ x + g", {"cluster": "id", "link": "probit"}, of_one),
    "intercept, cloglog": ("random_effects", "y ~ x + g", {"cluster": "id", "link": "cloglog"}, of_one),
    "slopes": ("random_effects", "y ~ x + g + (x | id)", {"quadrature": 5}, of_slopes),
    "nested": ("random_effects", "y ~ x + g + (1 | id/part)", {"quadrature": 5, "link": "cloglog"}, of_two),
    "crossed": ("random_effects", "y ~ x + g + (1 | id) + (1 | item)", {"quadrature": "laplace"}, of_two),
    "nonparallel": ("pooled", "y ~ x + g", {"nonparallel": "x"}, of_one),
    "nonparallel factor": ("random_effects", "y ~ x + g", {"cluster": "id", "nonparallel": "g"}, of_one),
    "nonparallel, slopes": ("random_effects", "y ~ x + g + (x | id)", {"nonparallel": "g", "quadrature": 3}, of_slopes),
}


def spread_of(fit: Any) -> np.ndarray:
    """Standard deviations and correlations of the random effects."""
    if fit.kind == "pooled":
        return np.zeros(0)
    several = "(" in fit.formula
    return fit.variance_components["estimate"].to_numpy() if several else np.array([fit.sigma])


@pytest.fixture(scope="module", params=MODELS)
def fitted(request: Any) -> tuple[Any, Any]:
    verb, formula, options, sizes = MODELS[request.param]
    return getattr(cg, verb)(formula, ratings(), family="ordinal", **options), sizes


@pytest.mark.parametrize("kind", ["marginal", "typical"])
def test_effects_are_averages_of_changes_by_definition(fitted: Any, kind: str) -> None:
    fit, sizes = fitted
    of, table = ByDefinition(fit, sizes, spread_of(fit), kind), ratings()
    found = fit.average_effects(kind=kind)
    assert sorted(found["term"]) == ["g"] * 8 + ["x"] * 4
    found = found.sort_values("term", ascending=False, kind="stable")  # those that all thresholds share come first
    assert found["contrast"].to_list() == ["derivative"] * 4 + ["b - a"] * 4 + ["c - a"] * 4
    assert found["category"].to_list() == LEVELS * 3
    assert found["estimate"].to_numpy().reshape(3, 4).sum(axis=1) == pytest.approx(0.0, abs=1e-12)

    def changes(theta: np.ndarray) -> np.ndarray:
        def at(**moved: Any) -> np.ndarray:
            return of.probabilities(table.assign(**moved), theta).mean(axis=0)

        h, x = 1e-3, table["x"]
        slope = (8.0 * (at(x=x + h) - at(x=x - h)) - at(x=x + 2.0 * h) + at(x=x - 2.0 * h)) / (12.0 * h)
        return np.array([slope, at(g="b") - at(g="a"), at(g="c") - at(g="a")])

    of.checked(changes, found)


def test_adjusted_probabilities_and_their_contrasts(fitted: Any) -> None:
    fit, sizes = fitted
    of, table = ByDefinition(fit, sizes, spread_of(fit), "marginal"), ratings()
    means = fit.adjusted_means("g")

    def at(theta: np.ndarray) -> np.ndarray:
        return np.array([of.probabilities(table.assign(g=level), theta).mean(axis=0) for level in "abc"])

    frame = means.to_frame()
    of.checked(at, frame)
    assert (frame["g"].to_list(), frame["category"].to_list()) == ([*"aaaabbbbcccc"], LEVELS * 3)
    assert means.covariance.reshape(3, 4, 12).sum(axis=1) == pytest.approx(0.0, abs=1e-14)
    z = -1.959963984540054
    odds = np.log(frame["estimate"] / (1.0 - frame["estimate"]))
    spread = frame["std_error"] / (frame["estimate"] * (1.0 - frame["estimate"]))
    assert frame["conf_low"].to_numpy() == pytest.approx(expit(odds + z * spread).to_numpy(), rel=1e-9)
    contrasts = means.contrasts(adjust=None).to_frame()
    assert contrasts["category"].to_list() == [level for level in LEVELS for _ in range(3)]
    effects = fit.average_effects("g").set_index(["contrast", "category"])
    for level in LEVELS:
        one = contrasts[contrasts["category"] == level].set_index("contrast").loc["a - b"]
        assert -one["estimate"] == pytest.approx(effects.loc[("b - a", level), "estimate"], abs=1e-12)
        assert one["std_error"] == pytest.approx(effects.loc[("b - a", level), "std_error"], rel=1e-9)


# Comparisons, groups, other rows --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fit() -> Any:
    return cg.random_effects("y ~ x + g", ratings(), cluster="id", family="ordinal")


def test_ratios_and_odds_ratios_of_probabilities_by_groups(fit: Any) -> None:
    of, table = ByDefinition(fit, of_one, np.array([fit.sigma]), "marginal"), ratings().assign(x=lambda d: d["x"] > 0)
    fit = cg.random_effects("y ~ x + g", table.assign(x=1 * table["x"]), cluster="id", family="ordinal")
    of = ByDefinition(fit, of_one, np.array([fit.sigma]), "marginal")

    def both(theta: np.ndarray) -> list[np.ndarray]:
        ends = [of.probabilities(table.assign(x=end), theta) for end in (0, 1)]
        return [np.array([end[table["g"] == level].mean(axis=0) for level in "abc"]) for end in ends]

    def log_ratios(theta: np.ndarray) -> np.ndarray:
        low, high = both(theta)
        return np.log(high / low)

    def log_odds_ratios(theta: np.ndarray) -> np.ndarray:
        low, high = both(theta)
        return np.log(high / (1.0 - high)) - np.log(low / (1.0 - low))

    ratios = fit.average_effects("x", by="g", comparison="ratio")
    assert list(ratios.columns[:4]) == ["term", "contrast", "g", "category"]
    assert ratios["g"].to_list() == [*"aaaabbbbcccc"]
    logs = ratios.assign(estimate=np.log(ratios["estimate"]), std_error=ratios["std_error"] / ratios["estimate"])
    of.checked(log_ratios, logs)
    of.checked(log_odds_ratios, fit.average_effects("x", by="g", comparison="lnor"))


def test_two_categories_are_the_binary_response() -> None:
    table = ratings().assign(high=lambda d: d["y"].cat.codes > 1)
    ordered = cg.random_effects("high ~ x + g", table, cluster="id", family="ordinal", levels=[False, True])
    binary = cg.random_effects("high ~ x + g", table, cluster="id")
    for kind in ("marginal", "typical"):
        found, expected = ordered.average_effects(kind=kind), binary.average_effects(kind=kind)
        above = found[found["category"] == "True"]
        assert above["estimate"].to_numpy() == pytest.approx(expected["estimate"].to_numpy(), abs=1e-6)
        assert above["std_error"].to_numpy() == pytest.approx(expected["std_error"].to_numpy(), rel=1e-5)


def test_probabilities_balanced_at_values_and_along_a_slope(fit: Any) -> None:
    typical = fit.adjusted_means("x", at={"x": [0.0, 1.0], "g": "b"}, kind="typical").to_frame()
    new = pd.DataFrame({"x": [0.0, 1.0], "g": "b"})
    assert typical["estimate"].to_numpy() == pytest.approx(fit.predict(new).to_numpy().ravel(), abs=1e-12)
    x = ratings()["x"].mean()
    balanced = fit.adjusted_means("g", over="balanced").to_frame()
    each = fit.predict(pd.DataFrame({"x": x, "g": list("abc")}), "marginal")
    assert balanced["estimate"].to_numpy() == pytest.approx(each.to_numpy().ravel(), abs=1e-9)
    slopes = fit.adjusted_means("g", slope="x", over="balanced").to_frame()
    up, down = (fit.predict(pd.DataFrame({"x": x + h, "g": list("abc")}), "marginal") for h in (1e-4, -1e-4))
    assert slopes["estimate"].to_numpy() == pytest.approx(((up - down) / 2e-4).to_numpy().ravel(), abs=1e-7)


def test_linear_predictors_and_their_ratios() -> None:
    for link in ("logit", "cloglog"):
        fit = cg.pooled("y ~ x + g", ratings(), family="ordinal", link=link)
        means = fit.adjusted_means("g", scale="link")
        assert "category" not in means.to_frame()
        found = means.contrasts("reference", comparison="ratio", adjust=None).to_frame()
        expected = fit.ratios().iloc[1:]
        assert found["estimate"].to_numpy() == pytest.approx(expected["estimate"].to_numpy(), rel=1e-12)
        assert found["conf_low"].to_numpy() == pytest.approx(expected["conf_low"].to_numpy(), rel=1e-12)
        with pytest.raises(OptionError, match="ordered categories"):
            means.on_response()


def test_other_rows_and_covariates_that_the_design_does_not_tell(fit: Any) -> None:
    table, some = ratings(), ratings(9).drop(columns="y")
    found = fit.average_effects("g", data=some)
    at = [fit.predict(some.assign(g=level), "marginal").mean() for level in "abc"]
    assert found["estimate"].to_numpy() == pytest.approx(np.concatenate([at[1] - at[0], at[2] - at[0]]), abs=1e-8)
    curved = cg.pooled("y ~ exp(x) + g", table, family="ordinal", nonparallel="g")
    with pytest.raises(DataError, match="'x' cannot be read off"):
        curved.average_effects("x")
    slope = curved.average_effects("x", data=table)["estimate"].to_numpy()
    up, down = (curved.predict(table.assign(x=table["x"] + h)).mean() for h in (1e-4, -1e-4))
    assert slope == pytest.approx(((up - down) / 2e-4).to_numpy(), abs=1e-7)
    groups = curved.average_effects("g", data=table)
    at = [curved.predict(table.assign(g=level)).mean() for level in "abc"]
    assert groups["estimate"].to_numpy() == pytest.approx(np.concatenate([at[1] - at[0], at[2] - at[0]]), abs=1e-12)


def test_weights_count(fit: Any) -> None:
    table = ratings()
    weighted = cg.pooled("y ~ x + g", table, family="ordinal", weights="w")
    repeated = cg.pooled("y ~ x + g", table.loc[table.index.repeat(table["w"])], family="ordinal")
    one, other = weighted.average_effects(), repeated.average_effects()
    assert one["estimate"].to_numpy() == pytest.approx(other["estimate"].to_numpy(), abs=1e-9)
    assert one["std_error"].to_numpy() == pytest.approx(other["std_error"].to_numpy(), rel=1e-6)


# In words -------------------------------------------------------------------------------------------------------------


def test_what_is_refused(fit: Any) -> None:
    table = ratings()
    for ask, words in (
        (lambda: fit.average_effects(kind="conditional"), "kind"),
        (lambda: fit.adjusted_means("g", scale="link"), "kind='typical'"),
        (lambda: fit.adjusted_means("g", scale="response"), "scale"),
        (lambda: fit.average_effects("x", comparison="ratio"), "derivative"),
    ):
        with pytest.raises(OptionError, match=words):
            ask()
    apart = cg.pooled("y ~ x + g", table, family="ordinal", nonparallel="x + g")
    with pytest.raises(OptionError, match="each threshold"):
        apart.adjusted_means("g", scale="link")
    far = pd.concat([table.assign(x=60.0), table, table.assign(x=-60.0)]).drop(columns="y")
    with pytest.warns(cg.errors.PredictionWarning, match="thresholds that cross"):
        apart.average_effects("x", data=far)
    with pytest.raises(DataError, match=r"thresholds of .* rows cross there"):
        apart.adjusted_means("x", at={"x": [-60.0, 60.0]})


def test_on_the_command_line_in_reports_and_pictures(fit: Any, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    saved = tmp_path / "fit.json"
    fit.save(saved)
    done = CliRunner().invoke(app, ["effects", str(saved), "--variable", "g", "--out", str(tmp_path / "effects.csv")])
    assert done.exit_code == 0, done.output
    written = pd.read_csv(tmp_path / "effects.csv")
    assert written["estimate"].to_numpy() == pytest.approx(fit.average_effects("g")["estimate"].to_numpy(), rel=1e-9)
    done = CliRunner().invoke(app, ["adjusted-means", str(saved), "g", "--contrasts", "pairwise"])
    assert done.exit_code == 0, done.output
    assert "fair" in done.output
    page = tmp_path / "fit.html"
    fit.report(page, n_boot=0, n_sim=0)
    text = page.read_text()
    assert "Average effects on the probability" in text
    assert "b - a: fair" in text
    assert "c: fine" in text
    drawn = fit.plot.adjusted_means("g")
    assert [each.get_text() for each in drawn.ax.get_legend().get_texts()] == LEVELS
