"""Several random effects of rows that are read block by block: the fit of the table in memory, or an error in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import clusterglm as cg
from clusterglm.data.blocks import nested
from clusterglm.engine.block import Block
from clusterglm.errors import (
    ClusterError,
    DataError,
    DesignError,
    FormulaError,
    OptionError,
    SeparationError,
)
from clusterglm.fit import mixed_blocks
from clusterglm.fit.mixed import task_of
from clusterglm.likelihood.vector.choice import choose_points
from clusterglm.results.files.schema import fit_misfit, misfit


def _table(seed: int = 0, clusters: int = 90, children: int = 4, size: int = 5) -> pd.DataFrame:
    """Children whose labels are those of others, a factor of which a level is rare, columns with missing values."""
    rng = np.random.default_rng(seed)
    n = clusters * children * size
    school, own = np.arange(n) // (children * size), np.arange(n) // size
    data = pd.DataFrame({"school": [f"s{k}" for k in school], "room": own % children, "class": own})
    data["x"], data["far"] = rng.normal(size=n), 1e4 + 50.0 * rng.normal(size=n)
    data["g"] = np.where(school < 3, "rare", np.array(["lo", "up"])[rng.integers(0, 2, n)])
    data["t"], data["w"] = rng.normal(size=n) / 4.0, rng.integers(0, 4, n).astype(float)
    data["cw"] = (1 + school % 3).astype(float)
    effects = rng.normal(size=(clusters, 2)) @ np.array([[0.9, 0.3], [0.0, 0.5]])
    eta = (
        0.6 * data.x - 0.2 + effects[school, 0] + effects[school, 1] * data.x + 0.7 * rng.normal(size=own[-1] + 1)[own]
    )
    data["y"] = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    data["count"] = rng.poisson(np.exp(0.3 * eta))
    data.loc[rng.integers(0, n, 20), "x"] = np.nan
    data.loc[rng.integers(0, n, 9), "room"] = np.nan
    return data.sample(frac=1.0, random_state=1).reset_index(drop=True)


def _written(data: pd.DataFrame, folder: Path, files: int = 3) -> Path:
    folder.mkdir(exist_ok=True)
    for k, rows in enumerate(np.array_split(np.arange(len(data)), files)):
        data.iloc[rows].to_parquet(folder / f"part-{k}.parquet")
    return folder


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return _table()


@pytest.fixture(scope="module")
def files(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _written(data, tmp_path_factory.mktemp("schools"))


def _alike(whole: Any, blocks: Any, rtol: float = 1e-12) -> None:
    assert blocks.loglik == pytest.approx(whole.loglik, rel=rtol)
    np.testing.assert_allclose(blocks._estimates, whole._estimates, rtol=1e3 * rtol, atol=1e3 * rtol)
    np.testing.assert_allclose(blocks.cov(), whole.cov(), rtol=1e5 * rtol)
    np.testing.assert_allclose(blocks.cov("robust"), whole.cov("robust"), rtol=1e6 * rtol)
    assert blocks.quadrature.rules == whole.quadrature.rules
    assert (blocks.n_obs, blocks.n_clusters, blocks.n_parameters) == (whole.n_obs, whole.n_clusters, whole.n_parameters)
    assert sorted((d.reason, d.count) for d in blocks.data.dropped) == sorted(
        (d.reason, d.count) for d in whole.data.dropped
    )


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y ~ x + (x | school)", {}),
        ("y ~ x + far + (x || school)", {"quadrature": 7}),
        ("y ~ x + diag(0 + g | school)", {"quadrature": "laplace"}),
        ("y ~ g + diag(ns(x, df=2) | school)", {"quadrature": 5}),
        ("y ~ 1 + (far | school)", {"quadrature": 7}),
        ("count ~ x + offset(t) + (x | school)", {"family": "poisson", "weights": "w", "cluster_weights": "cw"}),
        ("y ~ x + (1 | school/room)", {}),
        ("y ~ x + (x | school) + (1 | school:room)", {"link": "probit", "quadrature": 5, "weights": "w"}),
        ("y ~ x + (1 | class) + (1 | school)", {"cluster_weights": "cw", "subset": "t > -0.3"}),
    ],
)
def test_the_fit_of_the_table_in_memory(data, files, engine, words, formula, options) -> None:
    whole = cg.random_effects(formula, data, **options)
    blocks = cg.random_effects(formula, files, engine=engine, **options)
    _alike(whole, blocks)
    assert words(blocks) == words(whole)
    assert blocks.data.notes == whole.data.notes
    pd.testing.assert_frame_equal(blocks.tidy(), whole.tidy(), rtol=1e-6)
    pd.testing.assert_frame_equal(blocks.tidy(cov="robust"), whole.tidy(cov="robust"), rtol=1e-6)
    pd.testing.assert_frame_equal(blocks.glance(), whole.glance(), rtol=1e-4)


def test_the_same_numbers_however_the_data_are_cut(data, tmp_path) -> None:
    """Points of a cluster depend on it alone; sums are added in the order of the blocks."""
    ordered = data.sort_values("school", kind="stable")
    one, sorted_files = tmp_path / "one.parquet", tmp_path / "sorted.parquet"
    data.to_parquet(one)
    ordered.to_parquet(sorted_files)
    groups = tmp_path / "groups.parquet"
    ends = np.flatnonzero(ordered.school.to_numpy()[1:] != ordered.school.to_numpy()[:-1])[[20, 55]] + 1
    with pq.ParquetWriter(groups, pa.Table.from_pandas(ordered).schema) as file:
        for part in (ordered[ends[1] :], ordered[: ends[0]], ordered[ends[0] : ends[1]]):
            file.write_table(pa.Table.from_pandas(part))
    told: list[str] = []
    small, large = cg.engine.Stream(memory=2**20, progress=told.append), cg.engine.Stream()
    formula = "y ~ x + (x | school) + (1 | school:room)"
    fits = [
        cg.random_effects(formula, path, engine=engine, quadrature=5)
        for path, engine in ((one, large), (one, small), (sorted_files, small), (groups, small))
    ]
    assert any("rows stay where they are" in line for line in told)
    assert any("whole row groups" in line for line in told)
    assert any("brought together" in line for line in told)
    for fit in fits[1:]:
        _alike(fits[0], fit)


@pytest.mark.parametrize("formula", ["y ~ x + (x || school)", "y ~ x + (1 | school/room)"])
def test_many_clusters_start_from_some(tmp_path, engine, formula) -> None:
    data = _table(5, clusters=4200, children=2, size=2)
    path = _written(data, tmp_path / "many")
    whole = cg.random_effects(formula, data, quadrature=4)
    blocks = cg.random_effects(formula, path, engine=engine, quadrature=4)
    assert blocks.loglik == pytest.approx(whole.loglik, rel=1e-12)
    np.testing.assert_allclose(blocks._estimates, whole._estimates, rtol=1e-7)


def test_points_of_a_cluster_depend_on_it_alone(data) -> None:
    """However many others there are, and of whatever kind."""
    fit = cg.random_effects("y ~ x + (x | school)", data)
    task = task_of(fit.fit)
    theta = task.entries(fit.fit.theta)
    whole = choose_points(task.likelihood, theta, 1e-6)
    some = task_of(cg.random_effects("y ~ x + (x | school)", data[data.school.str[-1] == "3"], quadrature=2).fit)
    part = choose_points(some.likelihood, theta, 1e-6, among=fit.n_clusters)
    where = np.flatnonzero([label[-1] == "3" for label in fit.data.labels])
    np.testing.assert_array_equal(part.values, whole.values[where])
    np.testing.assert_array_equal(part.errors, whole.errors[where])


def test_a_block_that_has_lost_its_points_chooses_them_again(data, files, engine, monkeypatch) -> None:
    whole = cg.random_effects("y ~ x + (x | school)", files, engine=engine)
    evaluated = mixed_blocks._evaluated

    def forgetful(block: Block, *args: Any) -> Any:
        block.memory.points.clear()
        return evaluated(block, *args)

    monkeypatch.setattr(mixed_blocks, "_evaluated", forgetful)
    _alike(whole, cg.random_effects("y ~ x + (x | school)", files, engine=engine))


def test_blocks_keep_few_choices(files, engine, monkeypatch) -> None:
    kept: list[int] = []
    choice = mixed_blocks._choice

    def counted(block: Block, *args: Any) -> Any:
        found = choice(block, *args)
        kept.append(len(block.memory.points))
        return found

    monkeypatch.setattr(mixed_blocks, "_choice", counted)
    cg.random_effects("y ~ x + (x | school)", files, engine=engine)
    assert max(kept) == 2


def test_a_singular_maximum(tmp_path, engine) -> None:
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"id": np.repeat(np.arange(120), 10), "x": rng.normal(size=1200)})
    eta = 0.5 * data.x + rng.normal(size=120)[data.id]
    data["y"] = (rng.random(1200) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    path = _written(data, tmp_path / "flat")
    whole = cg.random_effects("y ~ x + (x | id)", data)
    blocks = cg.random_effects("y ~ x + (x | id)", path, engine=engine)
    assert whole.singular
    assert blocks.singular
    np.testing.assert_allclose(blocks.cov("robust"), whole.cov("robust"), rtol=1e-6)
    assert blocks.loglik == pytest.approx(whole.loglik, rel=1e-12)


# Which factor lies in which -------------------------------------------------------------------------------------------


def test_nesting_is_found_from_the_labels(data, files, engine) -> None:
    lines: list[str] = []
    told = cg.engine.Stream(memory=2**20, folder=engine.folder, progress=lines.append)
    blocks = cg.random_effects("y ~ x + (1 | class) + (1 | school)", files, engine=told, quadrature=3)
    assert lines[0] == "all rows are read once: which of 'class' and 'school' lies in the other"
    assert blocks.data.cluster_name == "school"
    assert blocks.data.n_children == 360
    assert "90 clusters of 'school' and 360 of 'class'" in " ".join(str(blocks).split())
    lines.clear()
    cg.random_effects("y ~ x + (1 | school/room)", files, engine=told, quadrature=3)
    assert not any("read once" in line for line in lines)


@pytest.mark.parametrize("terms", ["(1 | school) + (1 | room)", "(1 | school) + (x | site)"])
def test_crossed_factors_are_refused(data, tmp_path, engine, terms) -> None:
    path = _written(data.assign(site=np.arange(len(data)) % 7), tmp_path / "more")
    with pytest.raises(FormulaError, match="are crossed, with data that are not in memory"):
        cg.random_effects(f"y ~ x + {terms}", path, engine=engine)


@pytest.mark.parametrize("formula", ["y ~ x + (1 | school) + (x | twin)", "y ~ x + (1 | school/only)"])
def test_factors_that_are_not_nested_are_refused_as_in_memory(data, tmp_path, engine, formula) -> None:
    more = data.assign(twin=data.school.str[1:], only=1)
    path = _written(more, tmp_path / "more")
    with pytest.raises(FormulaError) as expected:
        cg.random_effects(formula, more)
    with pytest.raises(FormulaError) as found:
        cg.random_effects(formula, path, engine=engine)
    assert str(found.value) == str(expected.value)


def test_what_takes_more_than_two_columns_is_refused(files, engine) -> None:
    with pytest.raises(FormulaError, match="3 grouping factors with data that are not in memory"):
        cg.random_effects("y ~ x + (1 | school/room/class)", files, engine=engine)
    with pytest.raises(ClusterError, match="clusters by several columns, school:room"):
        cg.random_effects("y ~ x + (1 | school:room) + (1 | school:room:class)", files, engine=engine)


def test_parts_without_a_row_in_use(data, tmp_path, engine) -> None:
    """Of files whose rows are all left out nothing is learned; where that is so of all, it is said."""
    parts = tmp_path / "parts"
    parts.mkdir()
    data.assign(used=False).head(50).to_parquet(parts / "a.parquet")
    data.assign(used=True).to_parquet(parts / "b.parquet")
    options = {"subset": "used", "quadrature": 3}
    whole = cg.random_effects("y ~ x + (1 | class) + (1 | school)", data.assign(used=True), **options)
    blocks = cg.random_effects("y ~ x + (1 | class) + (1 | school)", parts, engine=engine, **options)
    assert blocks.loglik == pytest.approx(whole.loglik, rel=1e-12)
    (parts / "b.parquet").unlink()
    with pytest.raises(DataError, match="no complete row"):
        cg.random_effects("y ~ x + (1 | class) + (1 | school)", parts, engine=engine, **options)


def test_more_labels_than_can_be_compared(files, engine, monkeypatch) -> None:
    monkeypatch.setattr(nested, "MOST_PAIRS", 100)
    with pytest.raises(FormulaError, match=r"more than 100 combinations(?s:.*)\(1 \| class/school\)"):
        cg.random_effects("y ~ x + (1 | class) + (1 | school)", files, engine=engine)


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "change"),
    [
        ("y ~ x + (same | school)", {"same": 1.0}),
        ("y ~ x + (x | school) + (0 + twice | school)", {"twice": lambda d: 2.0 * d.x}),
        ("y ~ x + (x + twice | school)", {"twice": lambda d: 2.0 * d.x}),
        ("all ~ x + (x | school)", {"all": lambda d: (d.school.str[-1] > "4").astype(int)}),
        ("sure ~ x + (x | school)", {"sure": lambda d: (d.x > 0.0).astype(int)}),
        ("y ~ x + (log(t) | school)", {}),
    ],
)
def test_what_has_no_estimate_is_refused_as_in_memory(data, tmp_path, engine, formula, change) -> None:
    odd = data.assign(**change)
    path = _written(odd, tmp_path / "odd")
    errors = (ClusterError, DesignError, SeparationError)
    with np.errstate(all="ignore"):
        with pytest.raises(errors) as expected:
            cg.random_effects(formula, odd)
        with pytest.raises(errors) as found:
            cg.random_effects(formula, path, engine=engine)
    assert type(found.value) is type(expected.value)
    assert str(found.value).split("(")[0] == str(expected.value).split("(")[0]


@pytest.mark.parametrize(
    "options", [{"distribution": "logistic"}, {"scale": "density"}, {"sigma": 1.0}, {"penalty": "soft"}]
)
def test_what_is_known_of_one_intercept_alone(files, engine, options) -> None:
    with pytest.raises(OptionError, match=r"with several random effects|not in memory"):
        cg.random_effects("y ~ x + (x | school)", files, engine=engine, **options)


def test_other_verbs_and_families(files, engine) -> None:
    with pytest.raises(FormulaError, match="more than an intercept varies"):
        cg.pooled("y ~ x + (x | school)", files, engine=engine)
    with pytest.raises(OptionError, match="negative_binomial"):
        cg.random_effects("count ~ x + (x | school)", files, engine=engine, family="negative_binomial")


# After the fit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", ["y ~ x + (x | school)", "y ~ x + (1 | school/room)"])
def test_what_follows_needs_no_rows(data, files, engine, formula, tmp_path) -> None:
    whole = cg.random_effects(formula, data, quadrature=9)
    blocks = cg.random_effects(formula, files, engine=engine, quadrature=9)
    new = data.dropna().head(40)
    near = {"rtol": 1e-7, "atol": 1e-10}
    for kind in ("typical", "marginal"):
        for cov in ("observed", "robust"):
            expected = whole.predict(new, kind, level=0.9, cov=cov)
            pd.testing.assert_frame_equal(blocks.predict(new, kind, level=0.9, cov=cov), expected, **near)
    expected = whole.predict(new, "marginal", level=0.9, interval="cluster")
    pd.testing.assert_frame_equal(blocks.predict(new, "marginal", level=0.9, interval="cluster"), expected, **near)
    for of in (
        lambda fit: fit.variance_components,
        lambda fit: fit.effects_covariance("school"),
        lambda fit: fit.conf_int(cov="robust"),
        lambda fit: fit.intraclass_correlation(new),
        lambda fit: fit.median_odds_ratio(new),
        lambda fit: fit.average_effects(data=new),
        lambda fit: fit.average_effects(data=new, kind="typical", cov="robust"),
    ):
        pd.testing.assert_frame_equal(of(blocks), of(whole), **near)
    assert blocks.wald_test("x", cov="robust").statistic == pytest.approx(whole.wald_test("x", cov="robust").statistic)
    path = tmp_path / "fit.json"
    blocks.save(path)
    again = cg.load(path)
    assert str(again) == str(blocks)
    pd.testing.assert_frame_equal(again.cov("robust"), blocks.cov("robust"))
    pd.testing.assert_series_equal(again.predict(new, "marginal"), blocks.predict(new, "marginal"))


def test_comparisons(data, files, engine) -> None:
    """Of two fits of blocks, as of two in memory."""
    names = ("y ~ x + (x || school)", "y ~ x + (x | school)")
    whole, blocks = (
        cg.compare(*(cg.random_effects(name, rows, quadrature=7, engine=where) for name in names)).to_frame()
        for rows, where in ((data, None), (files, engine))
    )
    assert blocks.iloc[1]["lr_pvalue"] == pytest.approx(whole.iloc[1]["lr_pvalue"], rel=1e-6)


def test_rows_are_refused_in_words(files, engine) -> None:
    fit = cg.random_effects("y ~ x + (x | school)", files, quadrature=3, engine=engine)
    for ask in (
        lambda: fit.random_effects,
        lambda: fit.random_effects_covariance("s1"),
        lambda: fit.residuals(),
        lambda: fit.predict(),
        lambda: fit.predict(pd.DataFrame({"x": [1.0], "school": ["s1"]}), "conditional"),
        lambda: fit.conf_int(method="profile"),
        lambda: fit.intraclass_correlation(),
        lambda: fit.average_effects(),
        lambda: fit.plot.caterpillar(),
        lambda: fit.report("report.html"),
        lambda: fit.fit.posterior,
    ):
        with pytest.raises(OptionError, match="not in memory"):
            ask()


def test_progress_is_told_and_an_interrupt_leaves_nothing(files, engine) -> None:
    steps: list[Any] = []
    cg.random_effects("y ~ x + (x | school)", files, engine=engine, control=cg.Control(progress=steps.append))
    assert len(steps) >= 2

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, cg.errors.ClusterGLMError)):
        cg.random_effects("y ~ x + (x | school)", files, engine=engine, control=cg.Control(progress=stop))


def test_a_file_whose_parts_do_not_fit_together(files, engine) -> None:
    fit = cg.random_effects("y ~ x + (1 | school/room)", files, quadrature=3, engine=engine)
    data, effects = fit.data, fit.data.effects
    assert misfit(data) is None
    assert fit_misfit(fit.fit, data) is None
    assert "terms that are not those of clusters" in (
        misfit(replace(data, effects=replace(effects, terms=effects.terms[::-1]))) or ""
    )
    other = replace(effects, terms=tuple(replace(term, structure="other") for term in effects.terms))
    assert "a covariance that is 'other'" in (misfit(replace(data, effects=other)) or "")
    assert "phi of shape" in (fit_misfit(replace(fit.fit, phi=fit.fit.phi[:1]), data) or "")
