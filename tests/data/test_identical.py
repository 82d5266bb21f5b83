"""Identical rows and clusters become one: nothing that is computed may change by it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clusterglm as cg
from clusterglm.data import identical
from clusterglm.data.identical import merge_identical
from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.request import Request
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.rules import single_rule
from clusterglm.model.distribution import Gaussian
from clusterglm.model.family import RESPONSES, response
from clusterglm.results.topics import effect_rows

EACH_RESPONSE = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())


def patterns(model, clusters: int, most: int = 6, seed: int = 1) -> pd.DataFrame:
    """Covariates of two and three levels, weights, offsets, clusters of up to so many rows, in no order."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(clusters), rng.integers(1, most + 1, clusters))
    n = len(ids)
    x, z = rng.integers(0, 2, n), rng.integers(0, 3, clusters)[ids]
    eta = -0.4 + 0.5 * x + 0.2 * z + 0.8 * rng.normal(size=clusters)[ids]
    y = rng.random(n) < 1.0 / (1.0 + np.exp(-eta)) if model.bounded else model.least + rng.poisson(np.exp(eta))
    frame = {"y": y.astype(int), "x": x, "z": z, "id": ids, "o": 0.1 * rng.integers(0, 2, n)}
    frame["w"] = np.repeat(rng.choice([1.0, 2.5], clusters), np.bincount(ids))
    return pd.DataFrame(frame).sample(frac=1.0, random_state=seed)


def data_of(frame: pd.DataFrame, model, **more) -> ModelData:
    return prepare("y ~ x + z", frame, Request(model, cluster="id", offset="o", cluster_weights="w", **more))


def values(data, X, model, theta) -> tuple[float, np.ndarray, np.ndarray]:
    problem = core_problem(X, data, model)
    found = MarginalLikelihood(problem, Gaussian(), "normal").evaluate(theta, single_rule(9))
    return found.value, found.score, found.hessian


@EACH_RESPONSE
def test_the_likelihood_and_its_derivatives_stay_as_they_are(model) -> None:
    data = data_of(patterns(model, 400), model)
    merged = merge_identical(data, model, always=True)
    assert merged.n_clusters < data.n_clusters
    assert merged.n_obs < 0.7 * data.n_obs
    assert merged.cluster_weights.sum() == pytest.approx(data.cluster_weights.sum(), rel=1e-14)
    theta = np.array([-0.3, 0.4, 0.1, 0.7])
    for one, other in zip(values(data, data.X, model, theta), values(merged, merged.X, model, theta), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-10)


def test_every_cluster_has_become_the_one_with_its_rows() -> None:
    model = response("binomial")
    data = data_of(patterns(model, 300), model)
    merged = merge_identical(data, model, always=True)
    assert merged.sort is not None

    def table(d, cluster: int) -> dict[tuple[float, ...], tuple[float, float]]:
        rows: dict[tuple[float, ...], tuple[float, float]] = {}
        for i in range(d.starts[cluster], d.starts[cluster + 1]):
            key = (*d.X[i].tolist(), float(d.offset[i]))
            a, b = rows.get(key, (0.0, 0.0))
            rows[key] = a + float(d.a[i]), b + float(d.b[i])
        return rows

    distinct = [table(merged, j) for j in range(merged.n_clusters)]
    assert all(table(data, j) == distinct[merged.sort[j]] for j in range(data.n_clusters))
    assert len({tuple(sorted(t.items())) for t in distinct}) == merged.n_clusters  # and none is there twice


@given(seed=st.integers(0, 10_000), clusters=st.integers(1, 40), most=st.integers(1, 12))
def test_any_small_data(seed: int, clusters: int, most: int) -> None:
    model = response("poisson")
    frame = patterns(model, clusters, most, seed)
    frame["y"] += frame.index == frame.index[0]  # not all zero
    frame = pd.concat([frame, frame.iloc[:1].assign(x=0, z=0), frame.iloc[:1].assign(x=1, z=2)])
    frame = pd.concat([frame, frame.iloc[-2:].assign(id=99, x=[1, 0], w=1.0)])
    data = data_of(frame, model)
    merged = merge_identical(data, model, always=True)
    theta = np.array([-0.3, 0.4, 0.1, 0.7])
    for one, other in zip(values(data, data.X, model, theta), values(merged, merged.X, model, theta), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-11, atol=1e-9)


def test_hashes_that_collide_do_no_harm(monkeypatch) -> None:
    model = response("binomial")
    data = data_of(patterns(model, 200), model)
    theta = np.array([-0.3, 0.4, 0.1, 0.7])
    before = values(data, data.X, model, theta)
    right = identical._hashes
    monkeypatch.setattr(identical, "_hashes", lambda *columns: right(*columns) & np.uint64(1))
    merged = merge_identical(data, model, always=True)
    np.testing.assert_allclose(values(merged, merged.X, model, theta)[0], before[0], rtol=1e-12)


def test_only_where_it_pays() -> None:
    model = response("binomial")
    rng = np.random.default_rng(2)
    large = patterns(model, 40_000, most=2)
    assert merge_identical(data_of(large, model), model).sort is not None
    many = data_of(large.assign(x=rng.integers(0, 60, len(large))), model)  # much is left
    assert merge_identical(many, model).X is many.X
    continuous = data_of(large.assign(x=rng.normal(size=len(large))), model)
    assert merge_identical(continuous, model).X is continuous.X
    few = data_of(patterns(model, 300), model)
    assert merge_identical(few, model).X is few.X


@pytest.mark.parametrize(("clusters", "size", "levels"), [(40_000, 3, 2), (40_000, 3, 200), (3, 60_000, 40)])
def test_what_is_left_is_known_from_a_part(clusters: int, size: int, levels: int) -> None:
    model = response("binomial")
    rng = np.random.default_rng(4)
    ids = np.repeat(np.arange(clusters), size)
    x, z, y = (rng.integers(0, k, len(ids)) for k in (levels, 2, 2))
    frame = pd.DataFrame({"x": x, "z": z, "y": y, "id": ids, "o": 0.0, "w": 1.0})
    data = data_of(frame, model)
    parts = identical.Merged(data.X, data.starts, data.a, data.b, data.offset, data.cluster_weights)
    left = merge_identical(data, model, always=True).n_obs / data.n_obs
    seen = identical._share_left(parts)
    assert (seen <= identical._FEW) == (left <= identical._FEW)
    assert 0.75 * left < seen < 1.25 * left + 0.1
    if left <= identical._FEW:  # the first look leaves room for it
        assert identical._share_left(parts, identical._FIRST) < identical._MUCH


@pytest.mark.parametrize(("clusters", "size"), [(1, 200_000), (40_000, 5), (200_000, 1)])
def test_the_first_look_sees_that_nothing_is_alike(clusters: int, size: int) -> None:
    n = clusters * size
    X = np.random.default_rng(5).normal(size=(n, 2))
    ones = np.ones(n)
    parts = identical.Merged(X, np.arange(0, n + 1, size), ones, ones, ones, np.ones(clusters))
    assert identical._share_left(parts, identical._FIRST) > 0.99


@pytest.mark.parametrize("sorts", [50, 150, 300])
def test_the_first_look_does_not_hide_that_clusters_are_of_few_sorts(sorts: int) -> None:
    """As many sorts as all that is looked at can tell are few, none of them in the first look more than once or so."""
    rng = np.random.default_rng(sorts)
    m, model = 60_000, response("binomial")
    x = rng.normal(size=sorts)[rng.integers(0, sorts, m)].repeat(2)
    frame = pd.DataFrame(
        {"x": x, "z": 0.0, "y": np.arange(2 * m) % 2, "id": np.arange(m).repeat(2), "o": 0.0, "w": 1.0}
    )
    data = data_of(frame.assign(z=rng.integers(0, 1, 2 * m) + np.arange(2 * m) % 2), model)
    assert merge_identical(data, model).n_clusters == sorts


def test_what_is_common_does_not_hide_what_is_rare() -> None:
    """Half of the clusters are of a few sorts, the others of their own: pairs alone would show few patterns."""
    rng = np.random.default_rng(6)
    ids = np.repeat(np.arange(40_000), 2)
    x = np.where(ids % 2 == 0, 0.0, rng.normal(size=len(ids)))
    frame = pd.DataFrame({"x": x, "z": 0.0, "y": rng.integers(0, 2, len(ids)), "id": ids, "o": 0.0, "w": 1.0})
    data = data_of(frame.assign(z=rng.integers(0, 2, len(ids))), response("binomial"))
    parts = identical.Merged(data.X, data.starts, data.a, data.b, data.offset, data.cluster_weights)
    assert identical._share_left(parts) > 0.4


@EACH_RESPONSE
@pytest.mark.parametrize("quadrature", [5, "auto"])
def test_a_fit_does_not_show_it(model, quadrature, monkeypatch) -> None:
    monkeypatch.setattr(identical, "_FEW", 1.0)
    frame = patterns(model, 3000)
    options = {"cluster": "id", "family": model.family, "link": model.link, "quadrature": quadrature, "offset": "o"}
    one = cg.random_effects("y ~ x + z", frame, cluster_weights="w", **options)
    profile = one.conf_int(method="profile")
    monkeypatch.setattr(identical, "FEWEST_MERGED", np.inf)
    other = cg.random_effects("y ~ x + z", frame, cluster_weights="w", **options)
    assert one.loglik == pytest.approx(other.loglik, abs=1e-7)
    np.testing.assert_allclose(one.params, other.params, atol=1e-8)
    np.testing.assert_allclose(one.cov_params(), other.cov_params(), rtol=1e-6, atol=1e-12)
    assert sum(number for _, number in one.quadrature.rules) == one.n_clusters == other.n_clusters
    assert list(one.random_effects.index) == list(other.random_effects.index)
    np.testing.assert_allclose(one.random_effects, other.random_effects, atol=1e-6)
    np.testing.assert_allclose(one.cov("robust"), other.cov("robust"), rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(profile, other.conf_int(method="profile"), atol=1e-5)


def test_pooled_models_need_no_clusters_for_it(monkeypatch) -> None:
    frame = patterns(response("binomial"), 3000)
    rows = prepare("y ~ x + z", frame, Request(response("binomial"), need_cluster=False))
    assert merge_identical(rows, response("binomial")).n_obs < 10
    one = cg.pooled("y ~ x + z", frame)
    monkeypatch.setattr(identical, "FEWEST_MERGED", np.inf)
    other = cg.pooled("y ~ x + z", frame)
    assert one.loglik == pytest.approx(other.loglik, abs=1e-8)
    np.testing.assert_allclose(one.params, other.params, atol=1e-9)
    assert one.n_obs == other.n_obs == len(frame)


@pytest.mark.parametrize(
    ("verb", "kind"),
    [
        ("pooled", "marginal"),
        ("random_effects", "marginal"),
        ("random_effects", "conditional"),
        ("fixed_effects", "conditional"),
    ],
)
def test_average_effects_take_rows_that_are_alike_as_one(verb, kind, monkeypatch) -> None:
    frame = patterns(response("binomial"), 2000).assign(g=lambda d: np.where(d.z > 0.0, "a", "b"))
    fit = getattr(cg, verb)("y ~ x + g + offset(o)", frame, cluster="id")
    left = []

    def seen(X, *columns):
        first, place = identical.distinct_rows(X, *columns)
        left.append(len(first))
        return first, place

    monkeypatch.setattr(effect_rows, "distinct_rows", seen)
    one = fit.average_effects(kind=kind, data=frame)
    monkeypatch.setattr(identical, "FEWEST_MERGED", np.inf)
    other = fit.average_effects(kind=kind, data=frame)
    np.testing.assert_allclose(one.iloc[:, 2:8].astype(float), other.iloc[:, 2:8].astype(float), rtol=1e-7, atol=1e-9)
    assert left[1] == fit.data.n_obs
    if kind == "marginal":  # whatever the cluster
        assert left[0] < 0.01 * left[1]


def test_rows_that_are_alike_are_found_and_told_apart_from_others(monkeypatch) -> None:
    rng = np.random.default_rng(1)
    X, o = rng.integers(0, 2, (9000, 3)).astype(float), rng.integers(0, 2, 9000).astype(float)
    first, place = identical.distinct_rows(X, o)
    assert len(first) == 16
    np.testing.assert_array_equal(np.column_stack([X, o])[first[place]], np.column_stack([X, o]))
    different, own = identical.distinct_rows(rng.normal(size=(9000, 3)))
    np.testing.assert_array_equal(different, np.arange(9000))
    np.testing.assert_array_equal(own, np.arange(9000))
    monkeypatch.setattr(identical, "_hashes", lambda *columns: np.zeros(len(columns[-1]), dtype=np.uint64))
    assert len(identical.distinct_rows(X, o)[0]) == 9000  # hashes that fail are seen through
