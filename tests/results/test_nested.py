"""Effects of clusters and of what is nested in them: from the formula to the result."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import chi2

import clusterglm as cg
from clusterglm.errors import ClusterError, FormulaError, OptionError

sys.path.insert(0, str(Path(__file__).parents[1] / "weights"))
from members import called, members

GOLDEN = Path(__file__).parents[1] / "golden"
REFUSED = {  # in some call
    "adjusted_means", "average_effects", "chi_squared", "cov", "dispersion_test", "effects_covariance",
    "event_counts", "gradient_function", "hausman", "icc", "plot.density", "plot.gradient",
    "plot.random_effects", "plot.rootogram", "predict", "profile", "random_effects_sd", "sigma", "sigma_se",
    "test_clustering", "to_marginaleffects", "zero_inflation_test",
}  # fmt: skip
NAMES = ("guimmun", "arabidopsis")
FAMILIES = {"guimmun": "binomial", "arabidopsis": "poisson"}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    files = ("nested_effects.json", "nested_slopes.json")
    return {name: each for file in files for name, each in json.loads((GOLDEN / file).read_text()).items()}


def table(name: str) -> pd.DataFrame:
    found = pd.read_csv(GOLDEN / "data" / f"{name}.csv")
    if name == "arabidopsis":
        found = found.assign(nut8=(found["nutrient"] == 8) * 1.0, rack2=(found["rack"] == 2) * 1.0)
    return found


def schools(seed: int = 3, schools: int = 30, sd: tuple[float, float] = (0.7, 0.9)) -> pd.DataFrame:
    """Pupils in classes in schools; classes are numbered within each school."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(schools), 3)
    class_ = np.tile(np.arange(3), schools)
    sizes = rng.integers(4, 9, len(school))
    effects = sd[0] * rng.standard_normal(schools)[school] + sd[1] * rng.standard_normal(len(school))
    frame = pd.DataFrame({"school": school, "class": class_, "e": effects}).loc[
        np.repeat(np.arange(len(school)), sizes)
    ]
    frame["x"] = rng.standard_normal(len(frame))
    frame["y"] = (rng.random(len(frame)) < expit(-0.2 + 0.5 * frame["x"] + frame["e"])).astype(float)
    frame["room"] = [f"s{s}c{c}" for s, c in zip(frame["school"], frame["class"], strict=True)]
    return frame.drop(columns="e").sample(frac=1.0, random_state=seed).reset_index(drop=True)


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return schools()


@pytest.fixture(scope="module")
def fit(data: pd.DataFrame) -> Any:
    return cg.random_effects("y ~ x + (1 | school/class)", data)


# Against others -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_exact_maxima(golden: dict[str, Any], name: str) -> None:
    exact = golden[name]
    found = cg.random_effects(exact["formula"], table(name), family=FAMILIES[name])
    assert abs(found.loglik - exact["logLik"]) < 1e-5
    estimates = np.array(list(exact["parameters"].values()))
    se = np.array(list(exact["se"].values()))
    assert np.abs((found._estimates - estimates) / se).max() < 1e-3
    np.testing.assert_allclose(np.sqrt(np.diag(found.cov())), se, rtol=1e-3)
    assert abs(found.loglik - exact["logLik"]) < max(found.quadrature.error, 1e-8)


@pytest.mark.parametrize("name", [*NAMES, "guimmun_slope", "arabidopsis_slope"])
def test_laplace_is_that_of_glmmtmb(golden: dict[str, Any], name: str) -> None:
    laplace, data = golden[name]["laplace"], name.removesuffix("_slope")
    found = cg.random_effects(golden[name]["formula"], table(data), family=FAMILIES[data], quadrature="laplace")
    assert abs(found.loglik - laplace["logLik"]) < 1e-5
    se = np.sqrt(np.diag(found.cov()))
    assert np.abs((found._estimates - np.array(list(laplace["parameters"].values()))) / se).max() < 1e-3


# Which factor is nested in which --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "random",
    [
        "(1 | school) + (1 | school:class)",
        "(1 | class:school) + (1 | school)",
        "(1 | school) + (1 | room)",
        "(1 | room) + (1 | school)",
    ],
)
def test_nesting_is_found_in_the_data(fit: Any, data: pd.DataFrame, random: str) -> None:
    found = cg.random_effects(f"y ~ x + {random}", data)
    assert abs(found.loglik - fit.loglik) < 1e-9
    np.testing.assert_allclose(found._estimates, fit._estimates, atol=1e-9)
    assert found.data.cluster_name == "school"
    assert found.variance_components["group"].iloc[0] == "school"


def test_order_of_rows_does_not_matter(fit: Any, data: pd.DataFrame) -> None:
    found = cg.random_effects("y ~ x + (1 | school/class)", data.sample(frac=1.0, random_state=9))
    assert abs(found.loglik - fit.loglik) < 1e-9


def test_several_terms_of_a_level(data: pd.DataFrame) -> None:
    found = cg.random_effects("y ~ x + (x | school) + (1 | school:class)", data)
    kinds = found.variance_components
    assert list(kinds["group"]) == ["school"] * 3 + ["school:class"]
    apart = cg.random_effects("y ~ x + (1 | school) + (0 + x | school) + (1 | school:class)", data)
    diagonal = cg.random_effects("y ~ x + (x || school) + (1 | school:class)", data)
    assert abs(apart.loglik - diagonal.loglik) < 1e-6
    assert found.loglik >= diagonal.loglik - 1e-6
    lower = cg.random_effects("y ~ x + (1 | school) + (x | room)", data)
    assert list(lower.variance_components["group"]) == ["school"] + ["room"] * 3


def test_children_of_a_cluster_alone_are_clusters(data: pd.DataFrame) -> None:
    """Where the effects of schools vanish, classes are the clusters of a model of one factor."""
    flat = schools(7, sd=(0.0, 0.8))
    flat["school"] = np.random.default_rng(1).permutation(30)[flat["room"].str.extract(r"s(\d+)c")[0].astype(int) % 30]
    found = cg.random_effects("y ~ x + (1 | school) + (1 | room)", flat)
    alone = cg.random_effects("y ~ x + (1 | room)", flat)
    assert found.loglik >= alone.loglik - 1e-6
    if found.singular:
        assert abs(found.loglik - alone.loglik) < 1e-5


@pytest.mark.parametrize(
    ("random", "named"),
    [
        ("(1 | room) + (1 | school:class)", "group the rows alike"),
        ("(x | school) + (1 | school/class)", "twice"),
    ],
)
def test_refused_in_the_formula(data: pd.DataFrame, random: str, named: str) -> None:
    with pytest.raises(FormulaError, match=named):
        cg.random_effects(f"y ~ x + {random}", data)


def test_refused_elsewhere(data: pd.DataFrame) -> None:
    nested = "y ~ x + (1 | school/class)"
    with pytest.raises(ClusterError, match="cluster='school'"):
        cg.random_effects(nested, data, cluster="school")
    for verb in (cg.conditional, cg.fixed_effects, cg.pooled, cg.nonparametric):
        with pytest.raises(FormulaError, match="one grouping factor"):
            verb(nested, data)
    with pytest.raises(OptionError, match=r"(?s)at most 4.*inside='room'"):
        cg.random_effects("y ~ x + (x + I(x^2) | school) + (x | room)", data)
    same = data.assign(y=(data["school"] % 2).astype(float))
    with pytest.raises(ClusterError, match="none of the 30 clusters"):
        cg.random_effects(nested, same)


def test_rows_without_a_level_are_left_out(data: pd.DataFrame) -> None:
    holes = data.assign(room=data["room"].mask(data.index < 5))
    found = cg.random_effects("y ~ x + (1 | school) + (1 | room)", holes)
    assert found.n_obs == len(data) - 5
    assert [(each.reason, each.count) for each in found.data.dropped] == [("missing cluster 'room'", 5)]


# The result -----------------------------------------------------------------------------------------------------------


def test_random_effects_by_factor(fit: Any, data: pd.DataFrame) -> None:
    table = fit.random_effects
    assert list(table["group"].value_counts()) == [90, 30]
    assert list(table.columns) == ["group", "label", "effect", "mode", "mean", "sd"]
    own = table[table["group"] == "school"].set_index("label")
    means = data.groupby("school")["y"].mean()
    assert np.corrcoef(own["mean"], means.loc[own.index])[0, 1] > 0.8
    room = fit.random_effects_covariance("0:1", group="school:class")
    label = table[(table["group"] == "school:class") & (table["label"] == "0:1")]
    assert room.to_numpy()[0, 0] == pytest.approx(label["sd"].item() ** 2)
    school = fit.random_effects_covariance(4)
    assert school.to_numpy()[0, 0] == pytest.approx(own.loc[4, "sd"] ** 2)
    with pytest.raises(OptionError, match="group=None"):
        fit.effects_covariance()
    sd = fit.variance_components["estimate"].to_numpy()
    assert fit.effects_covariance("school:class").to_numpy()[0, 0] == pytest.approx(sd[1] ** 2)


def test_save_and_load(fit: Any, tmp_path: Path) -> None:
    fit.save(tmp_path / "nested.cgm")
    again = cg.load(tmp_path / "nested.cgm")
    assert again.loglik == fit.loglik
    pd.testing.assert_frame_equal(again.random_effects, fit.random_effects)
    assert str(again.summary()) == str(fit.summary())


def test_whole_number_weights_are_repeats(data: pd.DataFrame) -> None:
    nested = "y ~ x + (1 | school/class)"
    twice = data.assign(w=1.0 + (data.index % 3 == 0), v=1.0 + (data["school"] == 2))
    rows = cg.random_effects(nested, twice, weights="w", cluster_weights="v")
    written = rows._written_out("this")
    assert len(written.data.effects.children.labels) == 93
    long = twice.loc[np.repeat(twice.index, twice["w"].astype(int))]
    copy = long[long["school"] == 2].assign(school=99)
    both = cg.random_effects(nested, pd.concat([long, copy]))
    assert abs(rows.loglik - both.loglik) < 1e-6
    np.testing.assert_allclose(rows.cov(), both.cov(), rtol=1e-4)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_modes_depend_on_the_estimates_as_differences_say(data: pd.DataFrame, family: str) -> None:
    from dataclasses import replace

    from clusterglm.fit.mixed import task_of
    from clusterglm.inference.predictions.mixed_modes import mode_derivatives

    own = cg.random_effects("y ~ x + (x | school) + (1 | school:class)", data, family=family, quadrature=5).fit
    own = replace(own, phi=np.where(np.abs(own.phi) < 0.05, 0.3, own.phi))

    def effects(theta: np.ndarray) -> np.ndarray:
        beta, phi = own.parameters.split(theta)
        moved = replace(own, beta=beta, phi=phi)
        task = task_of(moved)
        return task.likelihood.at_modes(task.entries(theta)) @ moved.factor.T

    task = task_of(own)
    found = mode_derivatives(own, own.response, own.data, task.likelihood.at_modes(task.entries(own.theta)))
    for k in range(len(own.theta)):
        step = np.zeros(len(own.theta))
        step[k] = 1e-4
        differences = (effects(own.theta + step) - effects(own.theta - step)) / 2e-4
        np.testing.assert_allclose(found[:, :, k], differences, atol=2e-6)


def test_every_public_member_answers_or_refuses(fit: Any) -> None:
    """Values, or a refusal in one sentence; nothing else."""
    from matplotlib import pyplot as plt

    answers = [each for name in members(type(fit)) for each in called(fit, name)]
    plt.close("all")
    refusals = [each for each in answers if isinstance(each.value, BaseException)]
    assert all(isinstance(each.value, OptionError) for each in refusals), [str(each) for each in refusals]
    assert {each.name for each in refusals} == REFUSED


# What follows a fit, against integrals that share no code -------------------------------------------------------------

POINTS, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@pytest.fixture(scope="module")
def small() -> pd.DataFrame:
    return schools(5, schools=8)


@pytest.fixture(scope="module")
def of_small(small: pd.DataFrame) -> Any:
    return cg.random_effects("y ~ x + (1 | school/class)", small)


def by_dense_rule(fit: Any, frame: pd.DataFrame, row: pd.Series, *, new: bool = False) -> float:
    """P(y = 1) of a row given its school's data, by Gauss-Hermite rules about 0 at both levels; `new`: a new class."""
    (b0, b1), (s1, s2) = fit.fit.beta, fit.variance_components["estimate"]
    own = frame[frame["school"] == row["school"]]
    u, v = s1 * POINTS[:, None], s2 * POINTS[None, :]
    of_row = expit(b0 + b1 * row["x"] + u + v) @ WEIGHTS
    total, with_row = WEIGHTS.copy(), WEIGHTS * (of_row if new else 1.0)
    for label, rows in own.groupby("class"):
        eta = (b0 + b1 * rows["x"].to_numpy())[:, None, None] + u + v
        y = rows["y"].to_numpy()[:, None, None]
        P = np.prod(np.where(y == 1.0, expit(eta), expit(-eta)), axis=0)
        here = not new and label == row["class"]
        with_row = with_row * ((P * expit(b0 + b1 * row["x"] + u + v) if here else P) @ WEIGHTS)
        total = total * (P @ WEIGHTS)
    return float(with_row.sum() / total.sum())


def test_means_given_the_data(of_small: Any, small: pd.DataFrame) -> None:
    rows = small.iloc[[0, 17, 55, 90]]
    found = of_small.predict(rows, kind="posterior")
    np.testing.assert_allclose(found, [by_dense_rule(of_small, small, row) for _, row in rows.iterrows()], atol=1e-6)
    np.testing.assert_allclose(of_small.predict(kind="posterior").loc[rows.index], found, atol=1e-9)


def test_averaged_means(of_small: Any, small: pd.DataFrame) -> None:
    s = float(np.linalg.norm(of_small.variance_components["estimate"]))
    b0, b1 = of_small.fit.beta
    expected = expit((b0 + b1 * small["x"].to_numpy())[:, None] + s * POINTS) @ WEIGHTS
    np.testing.assert_allclose(of_small.predict(small, kind="marginal"), expected, atol=1e-7)


def test_conditional_predictions_are_at_the_modes(of_small: Any, small: pd.DataFrame) -> None:
    modes = of_small.random_effects.set_index(["group", "label"])["mode"]
    b0, b1 = of_small.fit.beta
    joined = small["school"].astype(str) + ":" + small["class"].astype(str)
    expected = b0 + b1 * small["x"]
    expected += modes["school"].loc[small["school"]].to_numpy() + modes["school:class"].loc[joined].to_numpy()
    found = of_small.predict(small, kind="conditional", scale="link")
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(of_small.predict(kind="conditional", scale="link").loc[small.index], found, atol=1e-9)


def test_a_level_that_has_moved_is_refused(data: pd.DataFrame) -> None:
    found = cg.random_effects("y ~ x + (1 | school) + (1 | room)", data)
    moved = data.head(2).assign(room=["s1c1", "s1c9"], school=[2, 1])
    with pytest.warns(cg.errors.PredictionWarning):
        assert found.predict(moved, kind="conditional").isna().all()
    status = found.predict(moved, kind="conditional", level=0.9)["status"]
    assert list(status) == ["another level of 'school' than in the fit", "cluster 's1c9' not seen in the fit"]


def test_shares_of_variance_by_level(of_small: Any, small: pd.DataFrame) -> None:
    s1, s2 = of_small.variance_components["estimate"]
    latent = np.pi**2 / 3
    table = of_small.intraclass_correlation(small.head(2))
    assert list(table["group"]) == ["school"] * 2 + ["school:class"] * 2
    total = s1**2 + s2**2 + latent
    np.testing.assert_allclose(table["estimate"], [s1**2 / total] * 2 + [(s1**2 + s2**2) / total] * 2)
    ratios = of_small.median_odds_ratio(small.head(1))["estimate"]
    np.testing.assert_allclose(ratios, np.exp(0.6744897501960817 * np.sqrt(2.0) * np.array([np.hypot(s1, s2), s2])))
    V = of_small.cov().to_numpy()[2:, 2:]
    slope = np.array([2.0 * s1 * (total - s1**2), -2.0 * s2 * s1**2]) / total**2
    assert table["std_error"].iloc[0] == pytest.approx(float(np.sqrt(slope @ V @ slope)), rel=1e-6)


def test_profiles_end_at_models_of_one_factor(fit: Any, data: pd.DataFrame) -> None:
    """At a standard deviation of 0 the profile is the maximum without the effect."""
    peaks = fit._summit(1).peaks
    for k, group in ((2, "school:class"), (3, "school")):
        alone = cg.random_effects(f"y ~ x + (1 | {group})", data)
        assert peaks[k].value_at_least + fit.data.constant == pytest.approx(alone.loglik, abs=1e-5)


def test_draws_have_the_covariance_of_both_levels(fit: Any) -> None:
    """Mean products of two rows of one class, of two classes of one school, and of two schools."""
    rng, sd = np.random.default_rng(2), np.array([1.5, 1.0])
    wide = type(fit)(replace_phi(fit, sd), fit.data)
    draws = np.array([wide._draw_new(rng) for _ in range(400)])
    first = fit.data.effects.children.starts[:-1]
    eta = wide._eta(0.0)
    u, v = sd[0] * POINTS[:, None], sd[1] * POINTS[None, :]

    def mean(row: int) -> np.ndarray:
        return expit(eta[row] + u + v)

    for one, other, kind in (
        (first, first + 1, "class"),
        (first[::3], first[1::3], "school"),
        (first[:-3], first[3:], ""),
    ):
        if kind == "class":
            expected = [WEIGHTS @ (mean(i) * mean(j)) @ WEIGHTS for i, j in zip(one, other, strict=True)]
        elif kind == "school":
            expected = [WEIGHTS @ ((mean(i) @ WEIGHTS) * (mean(j) @ WEIGHTS)) for i, j in zip(one, other, strict=True)]
        else:
            expected = [
                (WEIGHTS @ mean(i) @ WEIGHTS) * (WEIGHTS @ mean(j) @ WEIGHTS) for i, j in zip(one, other, strict=True)
            ]
        each = (draws[:, one] * draws[:, other]).mean(axis=1)
        assert abs(each.mean() - np.mean(expected)) < 4.0 * each.std() / np.sqrt(len(each)), kind


def replace_phi(fit: Any, phi: np.ndarray) -> Any:
    from dataclasses import replace

    return replace(fit.fit, phi=phi)


def test_robust_covariance_is_by_clusters(of_small: Any) -> None:
    scores = of_small._scores
    assert scores.shape == (8, 4)
    np.testing.assert_allclose(scores.sum(axis=0), 0.0, atol=1e-4)
    A = of_small.fit.covariance
    sandwich = 8 / 7 * A @ scores.T @ scores @ A
    np.testing.assert_allclose(of_small.cov("robust"), sandwich, rtol=1e-8)


def test_each_factor_has_its_panel(fit: Any) -> None:
    drawn = fit.plot.caterpillar()
    assert list(drawn.data["effect"].value_counts()) == [90, 30]
    labels = [axis.get_xlabel() + axis.get_ylabel() for axis in drawn.ax.figure.axes]
    assert any("school:class" in label for label in labels)
    assert fit.plot.caterpillar(effect="school: (Intercept)").data["label"].nunique() == 30


def test_another_maximum_nearby_is_not_taken() -> None:
    """Counts whose likelihood has a second, lower maximum, at which the search once ended."""
    rng = np.random.default_rng(1607)
    m = int(rng.integers(4, 25))
    kids = rng.integers(1, 5, m)
    sizes = rng.integers(1, 7, kids.sum())
    upper = np.repeat(np.arange(m), kids)
    sd = rng.choice([0, 0.3, 1, 3], 2)
    effects = sd[0] * rng.standard_normal(m)[upper] + sd[1] * rng.standard_normal(len(upper))
    rows = np.repeat(np.arange(len(upper)), sizes)
    frame = pd.DataFrame({"a": upper[rows], "b": rows, "x": rng.standard_normal(len(rows))})
    frame["y"] = rng.poisson(np.exp(np.minimum(effects[rows] + 0.5 * frame["x"], 5.0)))
    found = cg.random_effects("y ~ x + (1 | a) + (1 | b)", frame, family="poisson")
    for group in "ab":
        assert found.loglik >= cg.random_effects(f"y ~ x + (1 | {group})", frame, family="poisson").loglik - 1e-6


def test_a_new_class_of_a_known_school(of_small: Any, small: pd.DataFrame) -> None:
    rows = small.iloc[[0, 17, 55, 90]].assign(**{"class": 99})
    found = of_small.predict(rows, kind="posterior", effects=["school"])
    expected = [by_dense_rule(of_small, small, row, new=True) for _, row in rows.iterrows()]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    without = rows.drop(columns="class")
    np.testing.assert_allclose(of_small.predict(without, kind="posterior", effects=["school"]), found, atol=1e-9)
    own = of_small.predict(kind="posterior", effects=["school"])
    np.testing.assert_allclose(own.loc[rows.index], found, atol=1e-9)


def test_effects_of_one_factor_at_the_modes(of_small: Any, small: pd.DataFrame) -> None:
    modes = of_small.random_effects.set_index(["group", "label"])["mode"]
    b0, b1 = of_small.fit.beta
    line = b0 + b1 * small["x"]
    upper = of_small.predict(small, kind="conditional", scale="link", effects=["school"])
    np.testing.assert_allclose(upper, line + modes["school"].loc[small["school"]].to_numpy(), atol=1e-9)
    joined = small["school"].astype(str) + ":" + small["class"].astype(str)
    lower = of_small.predict(small, kind="conditional", scale="link", effects=["school:class"])
    np.testing.assert_allclose(lower, line + modes["school:class"].loc[joined].to_numpy(), atol=1e-9)
    both = of_small.predict(small, kind="conditional", scale="link", effects=["school:class", "school"])
    np.testing.assert_allclose(both, of_small.predict(small, kind="conditional", scale="link"), atol=1e-12)
    unknown = small.head(1).assign(school=77)
    marginal = of_small.predict(unknown, kind="marginal")
    for kind in ("conditional", "posterior"):
        found = of_small.predict(unknown, kind=kind, effects=["school"], unseen="marginal")
        np.testing.assert_allclose(found, marginal, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kind": "posterior", "effects": ["school:class"]}, "those of the clusters"),
        ({"kind": "conditional", "effects": ["room"]}, "'room'"),
        ({"kind": "marginal", "effects": ["school"]}, "effects= with kind='marginal'"),
        ({"effects": ["school"]}, "effects= with kind=None"),
        ({"kind": "conditional", "effects": "school "}, "effects="),
        ({"data": "frame", "kind": "posterior", "history": "frame"}, "history="),
    ],
)
def test_questions_that_are_refused(of_small: Any, small: pd.DataFrame, options: dict[str, Any], named: str) -> None:
    given = {key: small if isinstance(value, str) and value == "frame" else value for key, value in options.items()}
    with pytest.raises(OptionError, match=named):
        of_small.predict(**given)


@pytest.mark.parametrize("group", ["school", "school:class"])
def test_a_factor_is_tested_by_half_a_chi_square(fit: Any, data: pd.DataFrame, group: str) -> None:
    alone = cg.random_effects(f"y ~ x + (1 | {group})", data)
    (test,) = cg.compare(alone, fit).tests
    statistic = 2.0 * (fit.loglik - alone.loglik)
    assert test.statistic == pytest.approx(statistic, abs=1e-6)
    assert test.pvalue == pytest.approx(0.5 * chi2.sf(statistic, 1), rel=1e-6)


def test_another_factor_is_no_special_case(fit: Any, data: pd.DataFrame) -> None:
    other = cg.random_effects("y ~ x + (1 | half)", data.assign(half=data["school"] // 2))
    assert cg.compare(other, fit).tests[0].reason == "the clusters differ"


def test_many_units_have_the_maximum_of_a_fine_rule():
    """The search takes one rule for all on its way, and does not evaluate its last step: neither moves the maximum."""
    rng = np.random.default_rng(4)
    group, x = np.repeat(np.arange(600), 5), rng.normal(size=3_000)
    school = group // 5
    eta = -0.3 + 0.7 * x + 0.9 * rng.normal(size=120)[school] + 0.7 * rng.normal(size=600)[group]
    data = pd.DataFrame({"y": (rng.random(3_000) < expit(eta)).astype(int), "x": x, "school": school, "group": group})
    formula = "y ~ x + (1 | school/group)"
    auto = cg.random_effects(formula, data)
    fine = cg.random_effects(formula, data, quadrature=25, control=cg.Control(tol=1e-10))
    assert auto.loglik == pytest.approx(fine.loglik, abs=2e-6)
    assert (np.abs(auto.params - fine.params) / fine.bse).max() < 1e-5
    np.testing.assert_allclose(auto.bse, fine.bse, rtol=1e-5)
