"""Responses of ordered categories: the forms that they come in, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import clusterglm as cg
from clusterglm.errors import ClusterGLMError

LEVELS = ["bad", "fair", "good", "fine"]


def patients() -> pd.DataFrame:
    """40 clusters of five rows."""
    rng = np.random.default_rng(1)
    cluster, x = np.repeat(np.arange(40), 5), rng.normal(size=200)
    latent = 0.8 * x + 0.6 * rng.normal(size=40)[cluster] + rng.logistic(size=200)
    y = np.digitize(latent, [-1.0, 0.4, 2.0])
    kind = pd.CategoricalDtype(LEVELS, ordered=True)
    return pd.DataFrame({"y": pd.Categorical.from_codes(y, dtype=kind), "x": x, "id": cluster})


def test_categories_come_in_many_forms() -> None:
    data = patients()
    codes = data["y"].cat.codes.to_numpy()
    fit = cg.pooled("y ~ x", data, family="ordinal")
    forms: list[tuple[Any, dict[str, Any]]] = [
        (data.assign(y=codes), {}),
        (data.assign(y=codes.astype(float)), {}),
        (data.assign(y=data["y"].astype(str)), {"levels": LEVELS}),
        (data.assign(y=data["y"].cat.as_unordered()), {"levels": np.array(LEVELS)}),
        (pl.DataFrame({"x": data["x"].to_numpy(), "y": pl.Series(data["y"].astype(str), dtype=pl.Enum(LEVELS))}), {}),
        ({"x": data["x"].to_numpy(), "y": data["y"].astype(str).to_list()}, {"levels": tuple(LEVELS)}),
    ]
    for table, given in forms:
        other = cg.pooled("y ~ x", table, family="cumulative", **given)
        assert other.loglik == fit.loglik
        assert other.thresholds.to_numpy() == pytest.approx(fit.thresholds.to_numpy(), rel=1e-12)
    assert cg.pooled("y ~ x", data.assign(y=codes), family="ordinal").categories == ("0", "1", "2", "3")


def test_missing_responses_are_dropped() -> None:
    data = patients()
    data.loc[3, "y"] = None
    fit = cg.pooled("y ~ x", data, family="ordinal")
    assert fit.n_obs == len(data) - 1
    assert "1: missing" in str(fit)


@pytest.mark.parametrize(
    ("change", "given", "words"),
    [
        ({"y": lambda d: d["y"].astype(str)}, {}, "have no order"),
        ({"y": lambda d: d["y"].cat.as_unordered()}, {}, "an unordered categorical"),
        ({"y": lambda d: d["x"]}, {}, "different numbers, such as"),
        ({"y": lambda d: d["y"].cat.add_categories(["never"])}, {}, "no response in 'never'"),
        ({}, {"levels": [*LEVELS, "best"]}, "no response in 'best'"),
        ({}, {"levels": LEVELS[:-1]}, "the response 'y' is 'fine' in row"),
        ({}, {"levels": ["bad"]}, "levels="),
        ({}, {"levels": ["bad", "bad"]}, "at least two different categories"),
        ({}, {"levels": "bad"}, "at least two different categories"),
        ({}, {"subset": "y == 'bad'"}, "no response in"),
        ({}, {"formula": "y ~ 0 + x"}, "whose place the thresholds take"),
        ({}, {"link": "log"}, "link='log'"),
        ({}, {"success": "bad"}, "success='bad' with family='ordinal'"),
        ({}, {"distribution": "student_t"}, "the shape of student_t to be estimated"),
        ({}, {"distribution": "log_gamma", "link": "cloglog"}, "a symmetric distribution"),
        ({}, {"penalty": "soft"}, "penalty='soft' with family='ordinal'"),
        ({}, {"family": "binomial", "levels": LEVELS}, "levels= with family='binomial'"),
        ({"x": lambda d: (d["y"] == "fine").astype(float)}, {}, "'x' separates the categories"),
    ],
)
def test_what_cannot_be_fitted_is_said(change: Any, given: Any, words: str) -> None:
    data = patients().assign(**change)
    arguments = {"formula": "y ~ x", "cluster": "id", "family": "ordinal"} | given
    if "(" in arguments["formula"]:
        del arguments["cluster"]
    with pytest.raises(ClusterGLMError, match=words.replace("(", r"\(")):
        cg.random_effects(data=data, **arguments)


def test_sigma_needs_clusters_of_several_rows() -> None:
    data = patients().assign(id=range(200), y=lambda d: d["y"].cat.codes > 1)
    with pytest.raises(ClusterGLMError, match="none with more than one response of two categories"):
        cg.random_effects("y ~ x", data, cluster="id", family="ordinal")


@pytest.mark.parametrize("verb", ["fixed_effects", "conditional"])
def test_other_verbs_refuse(verb: str) -> None:
    with pytest.raises(ClusterGLMError, match="which has parameters of its own"):
        getattr(cg, verb)("y ~ x", patients(), cluster="id", family="ordinal")
