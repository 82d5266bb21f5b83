"""Factors that cross: from the formula to the result."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import clusterglm as cg
from clusterglm.errors import ClusterError, FormulaError, OptionError

GOLDEN = Path(__file__).parents[1] / "golden"
KNOWN = json.loads((GOLDEN / "crossed_effects.json").read_text())
MODELS = {
    "salamander1": ("mating ~ f * m + (1 | female) + (1 | male)", "female", 0.06),
    "verbagg100": ("y ~ btype + situ + do + (1 | id) + (1 | item)", None, 0.03),
}


def table(name: str) -> pd.DataFrame:
    found = pd.read_csv(GOLDEN / "data" / f"{name}.csv")
    if name == "salamander1":
        return found.assign(f=(found["female_type"] == "ws") * 1.0, m=(found["male_type"] == "ws") * 1.0)
    return found.assign(do=(found["mode"] == "do") * 1.0) if name == "verbagg100" else found


def answers(persons: int = 25, items: int = 4, *, seed: int = 3, sd: tuple[float, float] = (1.2, 0.8)) -> pd.DataFrame:
    """Persons' answers to items, some of them missing."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"person": np.repeat(np.arange(persons), items), "item": np.tile(np.arange(items), persons)})
    frame["x"] = rng.standard_normal(len(frame))
    u, v = sd[0] * rng.standard_normal(persons), sd[1] * rng.standard_normal(items)
    line = 0.3 + 0.5 * frame["x"] + u[frame["person"]] + v[frame["item"]]
    frame["y"] = (rng.random(len(frame)) < expit(line)).astype(float)
    frame["item"] = "i" + frame["item"].astype(str)
    return frame.sample(frac=0.9, random_state=seed).reset_index(drop=True)


FORMULA = "y ~ x + (1 | person) + (1 | item)"


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return answers()


@pytest.fixture(scope="module")
def fit(data: pd.DataFrame) -> Any:
    return cg.random_effects(FORMULA, data)


# Against others -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_maxima_by_importance_sampling(name: str) -> None:
    (formula, inside, within), known = MODELS[name], KNOWN["exact"][name]
    found = cg.random_effects(formula, table(name), inside=inside)
    outside = found.quadrature.outside
    assert outside.enough
    apart = abs(found.loglik - known["logLik"])
    assert apart < 3.0 * np.hypot(known["logLik_mc_error"], outside.standard_error)
    assert np.abs((found._estimates - known["estimate"]) / known["se"]).max() < within
    se = np.sqrt(np.diag(found.cov())) / known["se"]
    assert np.abs(se - 1.0).max() < {"salamander1": 0.03, "verbagg100": 0.005}[name]
    assert outside.laplace + found.data.constant == pytest.approx(found.loglik - outside.correction, abs=1e-9)


def test_laplace_is_the_joint_one() -> None:
    for name, (formula, inside, _) in MODELS.items():
        known = KNOWN["exact"][name]["joint_laplace_maximum"]
        found = cg.random_effects(formula, table(name), inside=inside, quadrature="laplace")
        assert found.loglik == pytest.approx(known["logLik"], abs=1e-6)
        np.testing.assert_allclose(found._estimates, np.abs(np.sign(known["estimate"])) * found._estimates)
        assert found.quadrature.outside is None


@pytest.mark.parametrize(
    ("key", "name", "formula", "family"),
    [
        ("glmmTMB_crossed", "verbagg100", "y ~ btype + situ + mode + (1 | id) + (1 | item)", "binomial"),
        ("glmmTMB_slope_crossed", "verbagg100", "y ~ btype + situ + mode + (mode | id) + (1 | item)", "binomial"),
        ("salamanders_poisson_crossed_slope", "salamanders", "count ~ mined + (mined | spp) + (1 | site)", "poisson"),
    ],
)
def test_laplace_is_that_of_glmmtmb(key: str, name: str, formula: str, family: str) -> None:
    known = KNOWN["glmmTMB"][key]
    found = cg.random_effects(formula, table(name), family=family, quadrature="laplace")
    assert found.loglik == pytest.approx(known["logLik"], abs=1e-5)
    np.testing.assert_allclose(found.params, list(known["coef"].values()), atol=2e-3)
    kinds = found.variance_components.set_index(["group", "effect"])
    for group, each in known["varcor"].items():
        own = kinds.loc[group]
        np.testing.assert_allclose(own.loc[own["kind"] == "sd", "estimate"], list(each["sd"].values()), rtol=2e-3)


def dense(frame: pd.DataFrame, theta: np.ndarray, items: list[Any]) -> dict[str, Any]:
    """The integral by product rules about 0 over the items' effects, and over each person's within; no code shared.

    With means of the effects, and of the probability of success in each row for its own person and item, given all.
    """
    z, w = np.polynomial.hermite_e.hermegauss(24)
    u, h = np.polynomial.hermite_e.hermegauss(40)
    w, h = w / w.sum(), h / h.sum()
    (b0, b1, s_in, s_out), count = theta, len(items)
    grid = np.array(list(product(z, repeat=count)))
    log_w = np.log(np.array(list(product(w, repeat=count)))).sum(axis=1)
    place = {item: k for k, item in enumerate(items)}
    total, persons = log_w.copy(), {}
    for person, rows in frame.groupby("person"):
        log_p = np.zeros((len(grid), len(u)))
        for row in rows.itertuples():
            line = b0 + b1 * row.x + s_out * grid[:, place[row.item], None] + s_in * u
            log_p += -np.logaddexp(0.0, -line if row.y == 1.0 else line)
        weights = np.exp(log_p) * h
        persons[person] = weights / weights.sum(axis=1, keepdims=True)
        total += np.log(weights.sum(axis=1))
    top = total.max()
    share = np.exp(total - top)
    value, share = top + np.log(share.sum()), share / share.sum()
    v = s_out * (share @ grid)
    return {
        "value": value,
        "v": v,
        "v_sd": np.sqrt(s_out**2 * (share @ grid**2) - v**2),
        "u": {person: s_in * float(share @ (own @ u)) for person, own in persons.items()},
        "u_sd": {
            person: s_in * float(np.sqrt(share @ (own @ u**2) - (share @ (own @ u)) ** 2))
            for person, own in persons.items()
        },
        "mean": lambda x, person, item: float(
            share
            @ np.einsum(
                "gu,gu->g",
                persons.get(person, np.broadcast_to(h, (len(grid), len(u)))),
                expit(b0 + b1 * x + s_out * grid[:, place[item], None] + s_in * u),
            )
        ),
    }


@pytest.fixture(scope="module")
def truth(fit: Any, data: pd.DataFrame) -> dict[str, Any]:
    small = answers(12, 3, seed=5, sd=(1.0, 0.9))
    found = cg.random_effects(FORMULA, small)
    return {"fit": found, "data": small, **dense(small, found._estimates, sorted(small["item"].unique()))}


def test_the_correction_is_what_was_missing(truth: dict[str, Any]) -> None:
    fit = truth["fit"]
    outside = fit.quadrature.outside
    left = abs(fit.loglik - truth["value"])
    assert left < 3.0 * outside.standard_error + fit.quadrature.error
    assert abs(outside.laplace + fit.data.constant - truth["value"]) > left


def test_effects_given_the_data(truth: dict[str, Any]) -> None:
    """Those outside by Laplace's approximation: from five answers on each item, to some hundredths."""
    table = truth["fit"].random_effects.set_index(["group", "label"])
    assert list(table.columns) == ["effect", "mode", "mean", "sd"]
    items, persons = table.loc["item"], table.loc["person"]
    np.testing.assert_allclose(items["mean"], truth["v"], atol=0.04)
    np.testing.assert_allclose(items["sd"], truth["v_sd"], rtol=0.12)
    assert np.abs(items["mean"] - truth["v"]).max() < np.abs(items["mode"] - truth["v"]).max()
    np.testing.assert_allclose(persons["mean"], [truth["u"][k] for k in persons.index], atol=0.03)
    np.testing.assert_allclose(persons["sd"], [truth["u_sd"][k] for k in persons.index], rtol=0.03)


def test_means_given_the_data(truth: dict[str, Any]) -> None:
    """Rows of known persons and items, and of a new person: effects are taken as normal, which costs a little."""
    fit, rows = truth["fit"], truth["data"].iloc[[0, 7, 20, 30]]
    found = fit.predict(rows, kind="posterior")
    np.testing.assert_allclose(found, [truth["mean"](r.x, r.person, r.item) for r in rows.itertuples()], atol=0.01)
    new = rows.assign(person=99)
    expected = [truth["mean"](r.x, 99, r.item) for r in rows.itertuples()]
    for kind in ("conditional", "posterior"):
        np.testing.assert_allclose(fit.predict(new, kind=kind, unseen="marginal"), expected, atol=0.01)
    np.testing.assert_allclose(fit.predict(rows, kind="posterior", effects=["item"]), expected, atol=0.01)
    both = new.assign(item="none")
    np.testing.assert_allclose(
        fit.predict(both, kind="posterior", unseen="marginal"), fit.predict(both, kind="marginal"), atol=1e-9
    )


# How factors lie to each other ----------------------------------------------------------------------------------------


def test_the_factor_with_most_levels_is_inside(fit: Any, data: pd.DataFrame) -> None:
    assert fit.data.cluster_name == "person"
    turned = cg.random_effects("y ~ x + (1 | item) + (1 | person)", data.sample(frac=1.0, random_state=8))
    assert turned.loglik == pytest.approx(fit.loglik, abs=1e-8)
    np.testing.assert_allclose(turned._estimates, fit._estimates, atol=1e-7)
    other = cg.random_effects(FORMULA, data, inside="item")
    assert other.data.cluster_name == "item"
    error = np.hypot(other.quadrature.outside.standard_error, fit.quadrature.outside.standard_error)
    assert abs(other.loglik - fit.loglik) < 4.0 * error + 1e-4
    # joint Laplace does not ask who is inside
    one, two = (cg.random_effects(FORMULA, data, inside=each, quadrature="laplace") for each in ("item", "person"))
    assert one.loglik == pytest.approx(two.loglik, abs=1e-8)


def nested(seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    school, room = np.repeat(np.arange(12), 15), np.repeat(np.arange(36), 5)
    line = 0.8 * rng.standard_normal(12)[school] + 0.9 * rng.standard_normal(36)[room]
    frame = pd.DataFrame({"school": school, "room": room, "x": rng.standard_normal(180)})
    frame["teacher"] = rng.integers(0, 5, 180)
    frame["y"] = (rng.random(180) < expit(line + 0.5 * frame["x"])).astype(float)
    return frame


def test_nested_factors_are_nested(nested_data: pd.DataFrame) -> None:
    written = "y ~ x + (1 | school) + (1 | room)"
    chain = cg.random_effects(written, nested_data)
    assert type(chain).__name__ == "MixedEffectsResult"
    one, two = (cg.random_effects(written, nested_data, quadrature="laplace", inside=each) for each in (None, "room"))
    assert type(two).__name__ == "CrossedEffectsResult"
    assert two.loglik == pytest.approx(one.loglik, abs=1e-8)
    se = np.sqrt(np.diag(one.cov()))
    order = [0, 1, 3, 2]  # the inside factor is first
    np.testing.assert_allclose(two._estimates[order], one._estimates, atol=1e-5 * se.max())
    crossed = cg.random_effects(written, nested_data, inside="room")
    error = crossed.quadrature.outside.standard_error
    assert abs(crossed.loglik - chain.loglik) < 3.0 * error + 1e-4
    assert np.abs((crossed._estimates[order] - chain._estimates) / se).max() < 0.06


@pytest.fixture(scope="module")
def nested_data() -> pd.DataFrame:
    return nested()


def test_nested_in_part_and_crossed_in_part(nested_data: pd.DataFrame) -> None:
    """Rooms inside; schools, in which they lie, and teachers, who cross both, outside."""
    written = "y ~ x + (1 | school/room) + (x || teacher)"
    found = cg.random_effects(written, nested_data, quadrature="laplace")
    assert found.data.cluster_name == "school:room"
    assert found.fit.effects.groups == ("school:room", "school", "teacher")
    other = cg.random_effects(written, nested_data, quadrature="laplace", inside="school")
    assert other.loglik == pytest.approx(found.loglik, abs=1e-7)
    groups = found.random_effects["group"].value_counts()
    assert dict(groups) == {"school:room": 36, "school": 12, "teacher": 10}


def test_labels_that_repeat_are_said(nested_data: pd.DataFrame, fit: Any) -> None:
    numbered = nested_data.assign(room=nested_data["room"] % 3)
    found = cg.random_effects("y ~ x + (1 | school) + (1 | room)", numbered, quadrature="laplace")
    assert any(
        "If room 0 differs between levels of school write (1 | school/room)" in each for each in found.data.notes
    )
    assert "write (1 | school/room)" in str(found)
    assert fit.data.notes == ()  # of items that everybody answers once there is nothing to say


@pytest.mark.parametrize(
    ("formula", "options", "error", "named"),
    [
        ("y ~ x + (1 | person)", {"inside": "person"}, FormulaError, "inside='person'"),
        (FORMULA, {"inside": "persons"}, FormulaError, "'person', 'item'"),
        (FORMULA, {"cluster": "person"}, ClusterError, "cluster='person'"),
        (FORMULA, {"distribution": "logistic"}, OptionError, "several random effects"),
        (FORMULA, {"penalty": "soft"}, OptionError, "penalty='soft' with crossed"),
    ],
)
def test_refused(data: pd.DataFrame, formula: str, options: dict[str, Any], error: Any, named: str) -> None:
    with pytest.raises(error, match=named):
        cg.random_effects(formula, data, **options)


def test_too_many_effects_outside() -> None:
    """What would not fit into memory is refused with the memory that it would take."""
    n = 30_000
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": np.arange(n) % 9_000, "b": rng.integers(0, 8_500, n), "y": rng.integers(0, 2, n) * 1.0})
    with pytest.raises(ClusterError, match="GiB"):
        cg.random_effects("y ~ 1 + (1 | a) + (1 | b)", frame, quadrature="laplace")


# Edges ----------------------------------------------------------------------------------------------------------------


def test_one_level_and_two(data: pd.DataFrame) -> None:
    """A factor of one level cannot be told from the intercept: its standard deviation is 0. Two do as they can."""
    with_all = data.assign(all="here", half=data["item"] < "i2")
    with pytest.raises(ClusterError, match="one cluster"):  # everybody lies in it
        cg.random_effects("y ~ x + (1 | person) + (1 | all)", with_all)
    laplace = {"quadrature": "laplace"}
    one = cg.random_effects(FORMULA + " + (1 | all)", with_all, **laplace)
    without = cg.random_effects(FORMULA, data, **laplace)
    assert one.singular
    assert one.loglik == pytest.approx(without.loglik, abs=1e-5)
    assert one.variance_components["estimate"].iloc[2] == 0.0
    assert "is 0" in str(one)
    alone = cg.random_effects("y ~ x + (1 | person)", data)
    two = cg.random_effects("y ~ x + (1 | person) + (1 | half)", with_all)
    assert two.loglik >= alone.loglik - 1e-6


def test_an_item_nobody_varies_on_and_a_component_of_one_row(data: pd.DataFrame) -> None:
    same = data.assign(y=data["y"].where(data["item"] != "i1", 1.0))
    found = cg.random_effects(FORMULA, same)
    own = found.random_effects.query("group == 'item' and label == 'i1'")
    assert own["mean"].item() > own["mode"].item() > 0.0  # its answers have no mode, the distribution sees to it
    apart = pd.concat([data, pd.DataFrame({"person": [77], "item": ["own"], "x": [0.4], "y": [1.0]})])
    found = cg.random_effects(FORMULA, apart)
    assert len(found.random_effects) == 25 + 4 + 2
    assert found.quadrature.outside.enough


def test_singular_fits_are_results() -> None:
    """A factor without effects has a standard deviation of 0, and the model without it has the same likelihood."""
    flat = answers(30, 6, seed=12, sd=(1.0, 0.0))
    found = cg.random_effects(FORMULA, flat)
    alone = cg.random_effects("y ~ x + (1 | person)", flat)
    assert found.singular
    assert found.loglik == pytest.approx(alone.loglik, abs=1e-5)
    assert np.isnan(found.variance_components["std_error"].iloc[1])
    assert found.quadrature.outside.enough
    assert (found.random_effects.query("group == 'item'")["sd"] == 0.0).all()
