"""The unit of weights: separation is seen and estimates are the same whatever it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import DataError, SeparationError

CLUSTER = np.repeat(np.arange(40), 5)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    x, u = rng.normal(size=200), rng.normal(size=40)[CLUSTER]
    return pd.DataFrame(
        {
            "g": CLUSTER,
            "x": x,
            "z": rng.normal(size=200) * 100 + 3,
            "y": (rng.random(200) < 1 / (1 + np.exp(-x - u))) * 1,
            "c": rng.poisson(np.exp(0.3 * x + 0.5 * u)),
            "w": rng.uniform(0.5, 2.0, 200),
            "v": rng.uniform(0.5, 2.0, 40)[CLUSTER],
        }
    )


@pytest.fixture(scope="module")
def separated() -> pd.DataFrame:
    """The last row alone has z = 1, and is a success in a cluster with a failure."""
    table = pd.DataFrame({"y": [0, 1, 0, 1, 1, 0, 1, 0, 1, 0] * 4 + [1], "x": [0, 1, 2, 3] * 10 + [1]})
    return table.assign(z=[0] * 40 + [1], g=[i // 4 for i in range(40)] + [9])


WEIGHTS = {
    "one row 1e-5": np.where(np.arange(41) == 40, 1e-5, 1.0),
    "one row 1e-12": np.where(np.arange(41) == 40, 1e-12, 1.0),
    "one row 1e-50": np.where(np.arange(41) == 40, 1e-50, 1.0),
    "all 1e-7": np.full(41, 1e-7),
    "all 1e-50": np.full(41, 1e-50),
    "all 1e7": np.full(41, 1e7),
    "one row 1e-5 of 1e-7": np.where(np.arange(41) == 40, 1e-12, 1e-7),
}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("verb", [cg.pooled, cg.random_effects, cg.fixed_effects, cg.nonparametric])
def test_separation_is_seen_whatever_the_weights(separated: pd.DataFrame, verb: Any, weights: np.ndarray) -> None:
    with pytest.raises(SeparationError, match="'z' separates"):
        verb("y ~ x + z", separated, cluster="g", weights=weights)


@pytest.mark.parametrize("weight", [1e-5, 1e-12, 1e-50])
@pytest.mark.parametrize("others", [1.0, 1e-7, 1e7])
@pytest.mark.parametrize("verb", [cg.pooled, cg.random_effects, cg.fixed_effects, cg.conditional, cg.nonparametric])
def test_separation_in_a_light_cluster_is_seen(
    separated: pd.DataFrame, verb: Any, weight: float, others: float
) -> None:
    light = np.where(separated.g == 9, weight, 1.0) * others
    with pytest.raises(SeparationError, match="'z' separates"):
        verb("y ~ x + z", separated, cluster="g", cluster_weights=light)


@pytest.mark.parametrize("verb", [cg.pooled, cg.random_effects, cg.fixed_effects])
def test_separation_is_seen_in_files_with_small_weights(separated: pd.DataFrame, verb: Any, tmp_path: Any) -> None:
    for k, part in enumerate((separated[separated.g < 5], separated[separated.g >= 5])):
        part.assign(w=np.where(part.z == 1, 1e-9, 1e-4)).to_parquet(tmp_path / f"{k}.parquet")
    with pytest.raises(SeparationError, match="'z' separates"):
        verb("y ~ x + z", str(tmp_path / "*.parquet"), cluster="g", weights="w")


def test_separation_is_seen_where_the_tolerance_is_loose(separated: pd.DataFrame) -> None:
    with pytest.raises(SeparationError, match="'z' separates"):
        cg.pooled("y ~ x + z", separated, control=cg.Control(tol=1e-2))


def test_a_light_row_that_separates_nothing_does_no_harm(separated: pd.DataFrame) -> None:
    fit = cg.pooled("y ~ x", separated, weights=WEIGHTS["one row 1e-50"])
    np.testing.assert_allclose(fit.params, cg.pooled("y ~ x", separated[:40]).params, rtol=1e-12)


@pytest.mark.parametrize("factor", [1e-30, 1e-7, 1e7])
@pytest.mark.parametrize("response", ["y", "c"])
@pytest.mark.parametrize(
    ("verb", "argument", "column"),
    [
        (cg.pooled, "weights", "w"),
        (cg.pooled, "cluster_weights", "v"),
        (cg.fixed_effects, "weights", "w"),
        (cg.fixed_effects, "cluster_weights", "v"),
        (cg.conditional, "cluster_weights", "v"),
        (cg.random_effects, "cluster_weights", "v"),
        (cg.nonparametric, "cluster_weights", "v"),
    ],
)
def test_estimates_do_not_depend_on_the_unit_of_weights(
    table: pd.DataFrame, verb: Any, argument: str, column: str, response: str, factor: float
) -> None:
    family = "binomial" if response == "y" else "poisson"
    options: dict[str, Any] = {"cluster": "g", "family": family, "control": cg.Control(tol=1e-9)}
    one = verb(f"{response} ~ x + z", table, **options, **{argument: table[column]})
    if verb is cg.random_effects and factor > 1.0:  # rounding alone is more than 1e-6 of a log-likelihood of 1e9
        options["quadrature"] = cg.Quadrature("auto", tolerance=1e-6 * factor)
    other = verb(f"{response} ~ x + z", table, **options, **{argument: table[column] * factor})
    np.testing.assert_allclose(other.params, one.params, rtol=1e-8)
    np.testing.assert_allclose(other.loglik, factor * one.loglik, rtol=1e-12)
    np.testing.assert_allclose(other.bse * factor**0.5, one.bse, rtol=1e-8)
    assert other.converged
    if verb is cg.random_effects:
        np.testing.assert_allclose(other.sigma, one.sigma, rtol=1e-8)


def test_an_estimated_shape_does_not_depend_on_the_unit_of_weights(table: pd.DataFrame) -> None:
    def fitted(factor: float) -> Any:
        weights = table.v * factor
        return cg.random_effects("y ~ x", table, cluster="g", distribution=cg.StudentT(), cluster_weights=weights)

    # a power of two: the search for the shape ends at a gradient that is only roughly 0, at the same place then
    one, other = fitted(1.0), fitted(0.5**24)
    np.testing.assert_allclose(other.sigma, one.sigma, rtol=1e-8)
    np.testing.assert_allclose(other.shape.estimates, one.shape.estimates, rtol=1e-8)


def test_weights_scaled_in_files_give_the_same_estimates(table: pd.DataFrame, tmp_path: Any) -> None:
    for k in range(4):
        part = table[(table.g >= 10 * k) & (table.g < 10 * k + 10)]
        part.assign(small=part.v * 1e-7).to_parquet(tmp_path / f"{k}.parquet")
    files = str(tmp_path / "*.parquet")
    for verb in (cg.pooled, cg.random_effects, cg.fixed_effects, cg.conditional):
        one = verb("y ~ x + z", files, cluster="g", cluster_weights="v")
        other = verb("y ~ x + z", files, cluster="g", cluster_weights="small")
        np.testing.assert_allclose(other.params, one.params, rtol=1e-8)


def test_weights_whose_squares_vanish_are_refused(table: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="1e-200"):
        cg.pooled("y ~ x", table, weights=np.full(200, 1e-200))
