"""Data drawn from assumed values: designs, moments of every structure and family, errors in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, ndtr

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, OptionError


def within(found: Any, expected: Any, errors: Any, times: float = 4.5) -> None:
    """Numbers within so many standard errors of what they should be."""
    z = (np.asarray(found) - np.asarray(expected)) / np.asarray(errors)
    assert np.abs(z).max() < times, f"{found} for {expected}, {z} standard errors off"


def mean_of(y: Any) -> tuple[float, float]:
    values = np.asarray(y, dtype=float)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def product_of(a: Any, b: Any) -> tuple[float, float]:
    """Mean of a product, and its standard error."""
    return mean_of(np.asarray(a) * np.asarray(b))


def over_normal(f: Any, sd: float) -> float:
    """E f(b), b ~ N(0, sd^2), by a dense rule that shares no code with the package."""
    z = np.linspace(-9.0, 9.0, 4001)
    weight = np.exp(-0.5 * z * z)
    return float(np.sum(weight * f(sd * z)) / np.sum(weight))


# Designs -------------------------------------------------------------------------------------------------------------


def test_a_design_deals_every_combination_out_equally() -> None:
    plan = cg.design(24, between={"trt": ["b", "a"], "sex": ["f", "m"]}, within={"week": [0, 2, 4]})
    rows = plan.frame()
    assert list(rows.columns) == ["id", "trt", "sex", "week"]
    assert len(rows) == plan.n_rows == 72
    assert list(rows["trt"].cat.categories) == ["b", "a"]  # as given: the first is the reference
    first = rows.drop_duplicates("id")
    assert first.groupby(["trt", "sex"], observed=True).size().to_list() == [6, 6, 6, 6]
    assert rows.groupby("id")["week"].apply(list).iloc[5] == [0, 2, 4]
    pd.testing.assert_frame_equal(rows, plan.frame(seed=9))
    assert not plan.random


def test_shares_levels_and_nested_factors() -> None:
    plan = cg.design(
        6,
        2,
        cluster="school",
        nested={"class": 4},
        between={"arm": {"a": 2, "b": 1}, "how": [0, 1]},
        level={"how": "class"},
    )
    rows = plan.frame()
    assert len(rows) == 48
    assert rows["class"].nunique() == 24
    assert (rows.groupby("class")["school"].nunique() == 1).all()
    assert rows.drop_duplicates("school")["arm"].value_counts().to_dict() == {"a": 4, "b": 2}
    assert (rows.groupby("class")["how"].nunique() == 1).all()
    assert (rows.groupby("school")["how"].mean() == 0.5).all()


def test_crossed_factors_meet_in_every_cell() -> None:
    rows = cg.design(5, crossed={"item": 7}, between={"hard": [0, 1]}, level={"hard": "item"}).frame()
    assert len(rows) == 35
    assert (pd.crosstab(rows["id"], rows["item"]) == 1).all(axis=None)
    assert (rows.groupby("item")["hard"].nunique() == 1).all()


def test_random_parts_keep_their_numbers_and_follow_the_seed() -> None:
    plan = cg.design(
        40,
        between={"trt": ["a", "b"], "age": "normal(50, 10)"},
        within={"dose": [1, 2], "x": "uniform(2, 3)"},
        randomise=True,
    )
    assert plan.random
    rows = plan.frame(1)
    pd.testing.assert_frame_equal(rows, plan.frame(1))
    assert not rows.equals(plan.frame(2))
    assert rows.drop_duplicates("id")["trt"].value_counts().to_dict() == {"a": 20, "b": 20}
    assert rows.drop_duplicates("id")["trt"].to_list() != ["a", "b"] * 20
    assert (rows.groupby("id")["dose"].apply(set) == {1, 2}).all()
    assert (rows.groupby("id")["age"].nunique() == 1).all()
    assert rows["x"].between(2, 3).all()
    assert rows["x"].nunique() == 80
    big = cg.design(20_000, 1, between={"age": "normal(50, 10)", "old": "bernoulli(0.3)"}).frame(3)
    within(*[[each] for each in (mean_of(big["age"])[0], 50.0, mean_of(big["age"])[1])])
    within([big["old"].mean()], [0.3], [mean_of(big["old"])[1]])
    assert big["age"].std() == pytest.approx(10.0, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"clusters": 1}, "clusters=1"),
        ({"clusters": 10, "size": 0}, "size=0"),
        ({"clusters": 10, "size": 2, "within": {"week": range(5)}}, "5 combinations"),
        ({"clusters": 2, "between": {"a": [0, 1], "b": [0, 1]}}, "4 combinations"),
        ({"clusters": 10, "between": {"x": "norml"}}, "did you mean 'normal'"),
        ({"clusters": 10, "between": {"x": "normal(1)"}}, "2 numbers"),
        ({"clusters": 10, "between": {"x": "normal(0, -1)"}}, "standard deviation"),
        ({"clusters": 10, "between": {"x": "bernoulli(2)"}}, "probability"),
        ({"clusters": 10, "between": {"x": {"a": 0.5}}}, "a share of 0.5"),
        ({"clusters": 10, "between": {"x": [1, 1]}}, "different values"),
        ({"clusters": 10, "between": {"id": [1, 2]}}, "'id' twice"),
        ({"clusters": 10, "between": {"x": [1, 2]}, "level": {"x": "clas"}}, "grouping factors 'id'"),
        ({"clusters": 10, "level": {"x": "id"}}, "a covariate of between="),
        ({"clusters": 10, "nested": {"class": 1}}, "from 2"),
        ({"clusters": 10**7, "size": 10}, "100,000,000 rows"),
    ],
)
def test_impossible_designs_are_refused_in_words(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match="needed") as caught:
        cg.design(**arguments)
    assert words in str(caught.value)


# Moments -------------------------------------------------------------------------------------------------------------

PAIRS = cg.design(20_000, within={"week": [0, 1]})


def drawn(formula: str, plan: Any, params: Any, seed: int, **values: Any) -> pd.DataFrame:
    found: pd.DataFrame = cg.simulate(formula, plan, params, seed=seed, **values)
    return found


def pairs(data: pd.DataFrame, column: str = "y") -> np.ndarray:
    """Responses, a row for each cluster."""
    return data[column].to_numpy(float).reshape(-1, 2)


@pytest.mark.parametrize(
    ("link", "inverse"), [("logit", expit), ("probit", ndtr), ("cloglog", lambda x: -np.expm1(-np.exp(x)))]
)
def test_binary_responses_have_the_marginal_moments(link: str, inverse: Any) -> None:
    y = pairs(drawn("y ~ week + (1 | id)", PAIRS, [-0.5, 0.4], 1, sigma=1.2, link=link))
    for k, eta in enumerate((-0.5, -0.1)):
        mean, error = mean_of(y[:, k])
        within([mean], [over_normal(lambda b, at=eta: inverse(at + b), 1.2)], [error])
    both, error = product_of(y[:, 0], y[:, 1])
    within([both], [over_normal(lambda b: inverse(-0.5 + b) * inverse(-0.1 + b), 1.2)], [error])


def test_counts_have_the_marginal_moments() -> None:
    y = pairs(drawn("y ~ week + (1 | id)", PAIRS, [0.3, 0.4], 2, sigma=0.5, family="poisson"))
    m = np.exp(np.array([0.3, 0.7]) + 0.125)
    within(y.mean(axis=0), m, y.std(axis=0) / np.sqrt(len(y)))
    within([product_of(y[:, 0], y[:, 1])[0]], [m[0] * m[1] * np.exp(0.25)], [product_of(y[:, 0], y[:, 1])[1]])
    n = pairs(
        drawn("y ~ week + (1 | id)", PAIRS, [0.3, 0.4], 3, sigma=0.5, family="negative_binomial", family_parameters=0.7)
    )
    within(n.mean(axis=0), m, n.std(axis=0) / np.sqrt(len(n)))
    factorial, error = mean_of(n[:, 0] * (n[:, 0] - 1.0))  # E y (y - 1) = (1 + alpha) E mu^2
    within([factorial], [1.7 * m[0] ** 2 * np.exp(0.25)], [error])


def test_trials_and_offsets() -> None:
    data = drawn("cbind(yes, no) ~ week + (1 | id)", PAIRS, [-0.5, 0.4], 4, sigma=1.0, trials=6)
    assert (data["yes"] + data["no"] == 6).all()
    y = pairs(data, "yes")
    within([y[:, 0].mean()], [6 * over_normal(lambda b: expit(-0.5 + b), 1.0)], [y[:, 0].std() / np.sqrt(len(y))])
    rows = PAIRS.frame().assign(n=lambda d: 1 + d["id"] % 3)
    by_column = drawn("cbind(yes, no) ~ week + (1 | id)", rows, [-0.5, 0.4], 4, sigma=1.0, trials="n")
    assert (by_column["yes"] + by_column["no"] == rows["n"]).all()
    exposed = drawn("y ~ week + (1 | id)", rows, [0.1, 0.0], 5, sigma=0.0, family="poisson", exposure="n")
    rate = exposed.groupby("n")["y"].mean().to_numpy()
    within(rate, np.exp(0.1) * np.arange(1, 4), np.sqrt(np.exp(0.1) * np.arange(1, 4) * 3 / 40_000))


def test_ordered_categories_have_their_probabilities() -> None:
    thresholds = [-1.0, 0.2, 1.5]
    data = drawn(
        "y ~ week + (1 | id)", PAIRS, {"week": 0.6}, 6, sigma=0.9, family="ordinal", family_parameters=thresholds,
        levels=["none", "some", "more", "all"],
    )  # fmt: skip
    assert data["y"].cat.ordered
    assert list(data["y"].cat.categories) == ["none", "some", "more", "all"]
    late = data.loc[data["week"] == 1, "y"].cat.codes.to_numpy()
    for c, threshold in enumerate(thresholds):
        share, error = mean_of(late <= c)
        within([share], [over_normal(lambda b, at=threshold: expit(at - 0.6 - b), 0.9)], [error])
    plain = drawn(
        "y ~ week + (1 | id)", PAIRS, {"week": 0.6}, 6, sigma=0.9, family="ordinal", family_parameters=thresholds
    )
    assert list(plain["y"].cat.categories) == ["1", "2", "3", "4"]


def test_normal_responses_have_their_variances() -> None:
    y = pairs(drawn("y ~ week + (1 | id)", PAIRS, [2.0, -1.0], 7, sigma=1.5, family="gaussian", family_parameters=0.8))
    left = y - np.array([2.0, 1.0])
    within([mean_of(left[:, 0])[0]], [0.0], [mean_of(left[:, 0])[1]])
    within(*[[each] for each in (product_of(*left.T)[0], 2.25, product_of(*left.T)[1])])
    within(*[[each] for each in (mean_of(left[:, 1] ** 2)[0], 2.25 + 0.64, mean_of(left[:, 1] ** 2)[1])])


def test_slopes_have_their_covariance() -> None:
    plan = cg.design(20_000, within={"week": [0.0, 2.0]})
    matrix = pd.DataFrame([[1.0, 0.3], [0.3, 0.25]], ["(Intercept)", "week"], ["(Intercept)", "week"])
    expected = {(0, 0): 1.0, (0, 1): 1.0 + 2 * 0.3, (1, 1): 1.0 + 4 * 0.3 + 4 * 0.25}
    ways: tuple[dict[str, Any], ...] = (
        {"covariance": matrix.iloc[::-1, ::-1]},
        {"covariance": {"id": matrix.to_numpy()}},
        {"sigma": [1.0, 0.5], "correlation": 0.6},
        {"sigma": {"week": 0.5, "Intercept": 1.0}, "correlation": {"id": [[1.0, 0.6], [0.6, 1.0]]}},
    )
    found = []
    for values in ways:
        data = drawn("y ~ week + (week | id)", plan, [0, 0], 8, family="gaussian", family_parameters=1e-6, **values)
        found.append(pairs(data))
        for (i, j), value in expected.items():
            within(
                *[
                    [each]
                    for each in (
                        product_of(found[-1][:, i], found[-1][:, j])[0],
                        value,
                        product_of(found[-1][:, i], found[-1][:, j])[1],
                    )
                ]
            )
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-4)
    # a binary response, whose effects are those of a term without correlation
    y = pairs(drawn("y ~ week + (week || id)", plan, [0.2, 0.1], 9, sigma=[0.7, 0.4]))
    late = over_normal(lambda b: expit(0.4 + b), np.sqrt(0.49 + 4 * 0.16))
    within(*[[each] for each in (mean_of(y[:, 1])[0], late, mean_of(y[:, 1])[1])])


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_nested_effects_are_shared_at_their_level(family: str) -> None:
    plan = cg.design(10_000, 2, cluster="school", nested={"class": 2})
    own = {"family_parameters": 1e-6} if family == "gaussian" else {}
    data = drawn(
        "y ~ 1 + (1 | school/class)", plan, [0.0], 10, sigma={"school": 0.6, "class": 0.5}, family=family, **own
    )
    y = data["y"].to_numpy(float).reshape(-1, 4)  # two rows of each of two classes
    same, other = product_of(y[:, 0], y[:, 1]), product_of(y[:, 0], y[:, 2])
    if family == "gaussian":
        within([same[0], other[0]], [0.36 + 0.25, 0.36], [same[1], other[1]])
    else:
        m = np.exp(0.5 * 0.61) ** 2
        within([same[0], other[0]], [m * np.exp(0.61), m * np.exp(0.36)], [same[1], other[1]])


@pytest.mark.parametrize("family", ["gaussian", "binomial"])
def test_crossed_effects_are_shared_along_both_factors(family: str) -> None:
    plan = cg.design(400, crossed={"item": 400})
    own = {"family_parameters": 1e-6} if family == "gaussian" else {}
    data = drawn("y ~ 1 + (1 | id) + (1 | item)", plan, [0.0], 11, sigma={"id": 1.0, "item": 0.5}, family=family, **own)
    y = data["y"].to_numpy(float).reshape(400, 400)
    total = 1.25
    if family == "gaussian":
        of_ids, of_items = y.mean(axis=1).var(ddof=1), y.mean(axis=0).var(ddof=1)
        within([of_ids, of_items], [1.0, 0.25], np.array([1.0, 0.25]) * np.sqrt(2.0 / 399), 4.5)
        assert y.var() == pytest.approx(total, rel=0.25)
    else:
        rows = y.mean(axis=1)  # the marginal mean of a person is a half whatever its effect's sign is
        within([y.mean()], [0.5], [np.sqrt(rows.var(ddof=1) / 400 + y.mean(axis=0).var(ddof=1) / 400)])
        z = np.linspace(-8, 8, 401)
        w = np.exp(-0.5 * z * z) / np.exp(-0.5 * z * z).sum()
        given = np.array([(w * expit(b + 0.5 * z)).sum() for b in z])  # of a person, over items
        share = float((w * (given - 0.5) ** 2).sum())
        within([rows.var(ddof=1)], [share + 0.25 / 400], [rows.var(ddof=1) * np.sqrt(2.0 / 399)])


def test_intercepts_of_another_distribution() -> None:
    plan = cg.design(40_000, 2)
    data = drawn("y ~ 1 + (1 | id)", plan, [0.0], 12, sigma=0.5, family="poisson", distribution="log_gamma")
    law = cg.LogGamma()
    draws = law.draw(np.random.default_rng(1), 400_000, 0.5)
    within([data["y"].mean()], [np.exp(draws).mean()], [data["y"].std() / np.sqrt(40_000)])


def test_a_table_of_any_kind_keeps_its_kind_and_its_rows_their_order() -> None:
    import polars as pl

    rows = cg.design(50, within={"week": range(3)}).frame().sample(frac=1.0, random_state=3)
    made = cg.simulate("y ~ week + (1 | id)", rows, [0, 0.2], sigma=2.0, seed=1)
    assert made.index.equals(rows.index)
    pd.testing.assert_frame_equal(made[["id", "week"]], rows)
    other = cg.simulate("y ~ week + (1 | id)", pl.from_pandas(rows), [0, 0.2], sigma=2.0, seed=1)
    assert isinstance(other, pl.DataFrame)
    assert other["y"].to_list() == made["y"].to_list()
    ordered = cg.simulate(
        "y ~ week + (1 | id)",
        pl.from_pandas(rows),
        [0.2],
        sigma=2.0,
        seed=1,
        family="ordinal",
        family_parameters=[0.0, 1.0],
    )
    assert ordered["y"].dtype == pl.Enum(["1", "2", "3"])
    fit = cg.random_effects("y ~ week + (1 | id)", ordered, family="ordinal")
    assert fit.converged


def test_the_reference_level_is_the_first_that_was_planned() -> None:
    plan = cg.design(40, 5, between={"trt": ["placebo", "drug"]})
    for name in ("trtdrug", "trt[drug]", "trt[T.drug]"):
        data = cg.simulate("y ~ trt + (1 | id)", plan, {"Intercept": 0.0, name: 1.0}, sigma=1.0, seed=1)
        fit = cg.random_effects("y ~ trt + (1 | id)", data)
        assert list(fit.params.index) == ["(Intercept)", "trtdrug"]


# Errors --------------------------------------------------------------------------------------------------------------

PLAN = cg.design(20, between={"trt": ["placebo", "drug"]}, within={"week": range(4)})
RIGHT: dict[str, Any] = {"formula": "y ~ trt + week + (1 | id)", "design": PLAN, "params": [0, 1, 0.1], "sigma": 1.0}
SLOPES: dict[str, Any] = RIGHT | {"formula": "y ~ trt + week + (week | id)", "sigma": None}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"params": {"(Intercept)": 0.0, "week": 0.1}}, "without trtdrug"),
        ({"params": {"(Intercept)": 0.0, "week": 0.1, "trtdrig": 1.0}}, "did you mean 'trtdrug'"),
        ({"params": [0.0, 1.0]}, "3 finite numbers"),
        ({"params": [0.0, 1.0, np.nan]}, "3 finite numbers"),
        ({"params": "all"}, "3 finite numbers"),
        ({"sigma": -1.0}, "not negative"),
        ({"sigma": None}, "no sigma="),
        ({"sigma": "large"}, "not negative"),
        ({"correlation": 0.5}, "one random intercept"),
        ({"formula": "y ~ trt + week"}, "without clusters"),
        ({"formula": "y ~ trt + weak + (1 | id)"}, "'weak'"),
        ({"formula": "log(y) ~ trt + week + (1 | id)"}, "the name of its column"),
        ({"formula": "y ~ trt + week + (1 | school)"}, "school"),
        ({"family": "poison"}, "did you mean 'poisson'"),
        ({"family": "negative_binomial"}, "alpha"),
        ({"family": "negative_binomial", "family_parameters": -0.1}, "positive"),
        ({"family": "negative_binomial", "family_parameters": {"alfa": 0.1}}, "did you mean 'alpha'"),
        ({"family_parameters": 0.1}, "a family that has some"),
        ({"family": "gaussian"}, "residual_sd"),
        ({"family": "gaussian", "family_parameters": 0.0}, "positive"),
        ({"family": "ordinal", "params": [1, 0.1]}, "the thresholds"),
        ({"family": "ordinal", "params": [1, 0.1], "family_parameters": [1.0, 0.0]}, "ascending"),
        ({"family": "ordinal", "params": [1, 0.1], "family_parameters": [0.0], "levels": ["a", "b", "c"]}, "2 finite"),
        ({"distribution": "student_t"}, "shape is not given"),
        ({"trials": 5}, "cbind"),
        ({"formula": "cbind(a, b) ~ trt + week + (1 | id)"}, "trials="),
        ({"formula": "cbind(a, b) ~ trt + week + (1 | id)", "trials": 0}, "from 1"),
        ({"formula": "cbind(a, b) ~ trt + week + (1 | id)", "trials": "n"}, "column of the design"),
        ({"seed": -1}, "not negative"),
    ],
)
def test_values_that_make_no_sense_are_refused_in_words(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ClusterGLMError) as caught:
        cg.simulate(**(RIGHT | arguments))
    assert words in str(caught.value)
    assert caught.value.advice


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "neither sigma= nor covariance="),
        ({"sigma": [1.0, 0.5], "covariance": np.eye(2)}, "both sigma="),
        ({"sigma": 1.0}, "2 finite numbers"),
        ({"sigma": [1.0, -0.5]}, "not negative"),
        ({"sigma": {"(Intercept)": 1.0, "weak": 0.5}}, "did you mean 'week'"),
        ({"sigma": [1.0, 0.5], "correlation": 1.5}, "from -1 to 1"),
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, "eigenvalues"),
        ({"covariance": [[1.0, 0.2], [0.1, 1.0]]}, "symmetric"),
        ({"covariance": np.eye(3)}, "2 rows and columns"),
        ({"covariance": {"person": np.eye(2)}}, "'person'"),
        ({"covariance": np.eye(2), "correlation": 0.2}, "covariance= alone"),
        ({"formula": "y ~ trt + week + (week || id)", "sigma": [1.0, 0.5], "correlation": 0.4}, "'diag'"),
        (
            {"formula": "y ~ trt + week + (1 | id) + (0 + week | id)", "sigma": [1.0, 0.5], "correlation": 0.4},
            "in different terms",
        ),
        ({"sigma": [1.0, 0.5], "distribution": "cauchy"}, "distribution='gaussian'"),
    ],
)
def test_covariances_that_make_no_sense_are_refused_in_words(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError) as caught:
        cg.simulate(**(SLOPES | arguments))
    assert words in str(caught.value)


def test_singular_covariances_are_drawn_from() -> None:
    data = cg.simulate(
        "y ~ week + (week | id)", cg.design(4000, within={"week": [0, 1]}), [0, 0], sigma=[1.0, 0.0], family="gaussian",
        family_parameters=1e-6, seed=1,
    )  # fmt: skip
    y = pairs(data)
    np.testing.assert_allclose(y[:, 0], y[:, 1], atol=1e-4)
