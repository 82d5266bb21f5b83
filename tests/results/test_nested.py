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

import clusterglm as cg
from clusterglm.errors import ClusterError, FormulaError, OptionError

sys.path.insert(0, str(Path(__file__).parents[1] / "weights"))
from members import called, members

GOLDEN = Path(__file__).parents[1] / "golden"
REFUSED = {  # in some call
    "average_effects", "chi_squared", "cov", "dispersion_test", "effects_covariance", "event_counts",
    "gradient_function", "hausman", "icc", "plot.gradient", "plot.random_effects", "plot.rootogram", "predict",
    "profile", "random_effects_sd", "sigma", "sigma_se", "test_clustering", "to_marginaleffects", "zero_inflation_test",
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
        ("(1 | school) + (1 | class)", r"if class \d differs between levels of school|if school \d+ differs"),
        ("(1 | school/class/x)", "3 grouping factors"),
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
    with pytest.raises(OptionError, match="at most 4"):
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
    found = mode_derivatives(own, own.data, task.likelihood.at_modes(task.entries(own.theta)))
    for k in range(len(own.theta)):
        step = np.zeros(len(own.theta))
        step[k] = 1e-4
        differences = (effects(own.theta + step) - effects(own.theta - step)) / 2e-4
        np.testing.assert_allclose(found[:, :, k], differences, atol=2e-6)


def test_every_public_member_answers_or_refuses(fit: Any) -> None:
    """Values, or a refusal in one sentence; nothing else."""
    answers = [each for name in members(type(fit)) for each in called(fit, name)]
    refusals = [each for each in answers if isinstance(each.value, BaseException)]
    assert all(isinstance(each.value, OptionError) for each in refusals), [str(each) for each in refusals]
    assert {each.name for each in refusals} == REFUSED
