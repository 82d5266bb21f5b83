"""Fits on a cluster of processes, one of which dies, are those in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri

import clusterglm as cg
from clusterglm.errors import DataError, OptionError, ResponseError

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("default")  # Dask's own


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    ids = np.repeat(np.arange(900), 5)
    data = pd.DataFrame({"x": rng.normal(size=len(ids)), "far": 1e4 + 100.0 * rng.normal(size=len(ids)), "id": ids})
    data["g"] = pd.Categorical.from_codes(rng.integers(0, 3, len(ids)), ["up", "mid", "lo"])
    eta = 0.2 + 0.5 * data.x + rng.normal(size=900)[ids]
    data["y"] = (rng.random(len(ids)) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    data.loc[::91, "x"] = np.nan
    return data.sample(frac=1.0, random_state=1).reset_index(drop=True)


def spread(data: pd.DataFrame, partitions: int = 3):
    import dask.dataframe as dd

    return dd.from_pandas(data, npartitions=partitions, sort=False)


FORMULA = "y ~ x + far + g"


def test_the_fit_of_the_table_in_memory(data, client, words) -> None:
    lines: list[str] = []
    whole = cg.random_effects(FORMULA, data, cluster="id")
    engine = cg.engine.Dask(client, progress=lines.append)
    fit = cg.random_effects(FORMULA, spread(data), cluster="id", engine=engine)
    assert list(fit.params.index) == list(whole.params.index)
    np.testing.assert_allclose(fit.params, whole.params, rtol=1e-9)
    np.testing.assert_allclose(fit.cov(), whole.cov(), rtol=1e-8)
    np.testing.assert_allclose(fit.cov("robust"), whole.cov("robust"), rtol=1e-6)
    assert fit.loglik == pytest.approx(whole.loglik, rel=1e-12)
    assert words(fit) == words(whole)
    assert "8 blocks on 2 workers" in lines[0]
    with pytest.raises(OptionError, match="on the workers"):
        fit.augment()


@pytest.mark.parametrize("verb", [cg.fixed_effects, cg.conditional])
def test_comparisons_within_clusters(data, client, verb, words) -> None:
    options = {"bias_correction": "analytical"} if verb is cg.fixed_effects else {}
    whole = verb(FORMULA, data, cluster="id", **options)
    fit = verb(FORMULA, spread(data), cluster="id", engine=cg.engine.Dask(client), **options)
    np.testing.assert_allclose(fit.params, whole.params, rtol=1e-9)
    np.testing.assert_allclose(fit.cov("robust"), whole.cov("robust"), rtol=1e-6)
    assert fit.loglik == pytest.approx(whole.loglik, rel=1e-12)
    assert words(fit) == words(whole)


def test_interactions_with_what_clusters_take_up(data, client, words) -> None:
    odd = data.assign(length=data.id % 5.0, half=np.where(data.x > 0.0, "high", "low"))
    whole = cg.conditional("y ~ half + half:length", odd, cluster="id")
    fit = cg.conditional("y ~ half + half:length", spread(odd), cluster="id", engine=cg.engine.Dask(client))
    np.testing.assert_allclose(fit.params, whole.params, rtol=1e-9)
    assert words(fit) == words(whole)


def test_a_worker_is_lost_on_the_way(data, cluster, client) -> None:
    lines: list[str] = []
    engine = cg.engine.Dask(client, blocks=6, progress=lines.append)
    whole = cg.random_effects(FORMULA, spread(data), cluster="id", engine=engine)
    steps = []

    def kill(step) -> None:
        steps.append(step)
        if len(steps) == 1:
            next(iter(cluster.workers.values())).process.process.kill()

    fit = cg.random_effects(FORMULA, spread(data), cluster="id", engine=engine, control=cg.Control(progress=kill))
    assert any("is lost" in line for line in lines)
    # sums are the same bits; modes were found again from elsewhere
    np.testing.assert_allclose(fit.params, whole.params, rtol=1e-11)
    assert fit.loglik == pytest.approx(whole.loglik, rel=1e-14)
    assert len(steps) >= 2


DISTRIBUTIONS = {
    "a corner": "laplace",
    "a shape that goes with sigma": "log_gamma",
    "a scale of its own": "gaussian_mixture(0.3, 3)",
    "a user's": cg.UserDistribution("own", ndtri),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_other_distributions(data, client, name) -> None:
    options = {"cluster": "id", "distribution": DISTRIBUTIONS[name]}
    whole = cg.random_effects("y ~ x", data, **options)
    fit = cg.random_effects("y ~ x", spread(data), engine=cg.engine.Dask(client), **options)
    np.testing.assert_allclose(fit.params, whole.params, rtol=1e-9)
    np.testing.assert_allclose(fit.cov("robust"), whole.cov("robust"), rtol=1e-6)
    assert fit.loglik == pytest.approx(whole.loglik, rel=1e-12)
    assert fit.quadrature.rules == whole.quadrature.rules


def test_a_shape_is_not_estimated_on_workers(data, client) -> None:
    with pytest.raises(OptionError, match="df would be estimated"):
        cg.random_effects("y ~ x", spread(data), cluster="id", distribution="student_t", engine=cg.engine.Dask(client))


def test_files_without_clusters(data, client, tmp_path: Path) -> None:
    for k in range(3):
        data.iloc[k::3].to_parquet(tmp_path / f"part-{k}.parquet")
    whole = cg.pooled(FORMULA, data)
    fit = cg.pooled(FORMULA, tmp_path, engine=cg.engine.Dask(client, blocks=3))
    np.testing.assert_allclose(fit.params, whole.params, rtol=1e-9)
    np.testing.assert_allclose(fit.cov("robust"), whole.cov("robust"), rtol=1e-6)


def test_errors_come_back_from_the_workers(data, client) -> None:
    engine = cg.engine.Dask(client)
    with pytest.raises(ResponseError, match="'y' is 7"):
        cg.pooled("y ~ x", spread(data.assign(y=data.y.where(data.y == 0, 7))), engine=engine)
    with pytest.raises(DataError, match="not a column"):
        cg.pooled("y ~ x", spread(data), weights="nothing", engine=engine)
    with pytest.raises(DataError, match=r"dask\.dataframe"):
        cg.pooled("y ~ x", data, engine=engine)


def test_a_file_with_a_hole(data, client, tmp_path: Path) -> None:
    for k in range(3):
        data.iloc[k::3].to_parquet(tmp_path / f"part-{k}.parquet")
    path = tmp_path / "part-1.parquet"
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"part-1.*cannot be read as Parquet"):
        cg.fixed_effects("y ~ x", tmp_path, cluster="id", engine=cg.engine.Dask(client))


def test_a_column_of_another_type_in_one_partition(data, client) -> None:
    import dask
    import dask.dataframe as dd

    parts = [data.iloc[::2], data.iloc[1::2].assign(x="a")]
    mixed = dd.from_delayed([dask.delayed(part) for part in parts], meta=parts[0].head(0), verify_meta=False)
    with pytest.raises(DataError, match="partitions whose columns have different types"):
        cg.pooled("y ~ x", mixed, cluster="id", engine=cg.engine.Dask(client))


@pytest.fixture(scope="module")
def nested() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    n = 100 * 4 * 5
    data = pd.DataFrame({"school": np.arange(n) // 20, "room": np.arange(n) // 5 % 4, "own": np.arange(n) // 5})
    data["x"] = rng.normal(size=n)
    eta = 0.5 * data.x - 0.2 + rng.normal(size=100)[data.school] + 0.7 * rng.normal(size=400)[data.own]
    data["y"] = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    data.loc[::91, "x"] = np.nan
    return data.sample(frac=1.0, random_state=1).reset_index(drop=True)


@pytest.mark.parametrize(
    "formula", ["y ~ x + (x | school)", "y ~ x + (1 | school/room)", "y ~ x + (1|own) + (1|school)"]
)
def test_several_random_effects(nested, client, words, formula) -> None:
    lines: list[str] = []
    engine = cg.engine.Dask(client, progress=lines.append)
    whole = cg.random_effects(formula, nested)
    fit = cg.random_effects(formula, spread(nested), engine=engine)
    np.testing.assert_allclose(fit.params, whole.params, rtol=1e-9)
    np.testing.assert_allclose(fit.cov("robust"), whole.cov("robust"), rtol=1e-6)
    assert fit.loglik == pytest.approx(whole.loglik, rel=1e-12)
    assert words(fit) == words(whole)
    assert ("which of 'own' and 'school'" in lines[0]) == ("own" in formula)
    with pytest.raises(OptionError, match="on the workers"):
        fit.augment()


def test_several_random_effects_in_any_number_of_blocks(nested, cluster, client) -> None:
    """More blocks than there are clusters for, and a worker that is lost on the way, with the points of its blocks."""
    formula, lines, some = "y ~ x + (x | school)", list[str](), nested[nested.school < 25]
    one = cg.random_effects(formula, spread(some), engine=cg.engine.Dask(client, blocks=1))
    engine = cg.engine.Dask(client, blocks=40, progress=lines.append)
    steps = []

    def kill(step) -> None:
        steps.append(step)
        if len(steps) == 2:
            next(iter(cluster.workers.values())).process.process.kill()

    many = cg.random_effects(formula, spread(some), engine=engine, control=cg.Control(progress=kill))
    assert any("is lost" in line for line in lines)
    np.testing.assert_allclose(many._estimates, one._estimates, rtol=1e-9)
    np.testing.assert_allclose(many.cov("robust"), one.cov("robust"), rtol=1e-6)
    assert many.loglik == pytest.approx(one.loglik, rel=1e-12)
    assert many.quadrature.rules == one.quadrature.rules
