"""Parquet files that are fitted block by block: the results of the table in memory, or an error in words."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri

import clusterglm as cg
from clusterglm.data.blocks import regroup, store
from clusterglm.errors import (
    ClusterError,
    DataError,
    DesignError,
    FormulaError,
    OptionError,
    SeparationError,
)

FORMULA = "y ~ x + big + g + I(x**2)"


@pytest.mark.parametrize("quadrature", [8, "auto"])
def test_the_fit_of_the_table_in_memory(data, files, engine, quadrature, same) -> None:
    options = {"cluster": "id", "quadrature": quadrature}
    whole = cg.random_effects(FORMULA, data, **options)
    lines: list[str] = []
    told = cg.engine.Stream(memory=2**20, folder=engine.folder, progress=lines.append)
    blocks = cg.random_effects(FORMULA, str(files / "*.parquet"), engine=told, **options)
    assert "GB" in lines[0]
    assert len([line for line in lines if line.startswith("block")]) >= 3
    same(whole, blocks)
    assert blocks.sigma == pytest.approx(whole.sigma, rel=1e-10)
    assert blocks.quadrature.rules == whole.quadrature.rules
    if quadrature == "auto":
        assert str(blocks) == str(whole)
    else:
        assert "not checked" in str(blocks)
    pd.testing.assert_frame_equal(blocks.tidy(), whole.tidy(), rtol=1e-7)
    pd.testing.assert_frame_equal(blocks.glance(), whole.glance(), rtol=1e-5)
    pd.testing.assert_series_equal(blocks.predict(data.head(9)), whole.predict(data.head(9)))
    assert pickle.loads(pickle.dumps(blocks)).loglik == blocks.loglik


def test_many_clusters_share_a_rule_of_the_same_kind(tmp_path, engine, same, table) -> None:
    data = table(3, clusters=5000, size=3)
    data.to_parquet(tmp_path / "one.parquet")
    whole = cg.random_effects("y ~ x", data, cluster="id")
    blocks = cg.random_effects("y ~ x", tmp_path / "one.parquet", cluster="id", engine=engine)
    same(whole, blocks)
    assert sum(count for _, count in blocks.quadrature.rules) == whole.n_clusters


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y ~ x + g", {"weights": "w", "offset": "t", "subset": "keep"}),
        ("word ~ x", {}),
        ("cbind(y, n) ~ x", {"link": "probit"}),
        ("count ~ x + offset(t)", {"family": "poisson"}),
        ("I(count > 1) ~ log(big) + C(w)", {"link": "cloglog"}),
        ("y ~ 0 + x", {"distribution": "logistic", "sigma": 0.7, "fix_sigma": True}),
    ],
)
def test_every_argument_that_names_a_column(data, files, engine, formula, options) -> None:
    options = {"cluster": "id", "quadrature": 6, **options}
    whole = cg.random_effects(formula, data, **options)
    blocks = cg.random_effects(formula, files, engine=engine, **options)
    np.testing.assert_allclose(blocks.params, whole.params, rtol=1e-8)
    np.testing.assert_allclose(blocks.cov("robust"), whole.cov("robust"), rtol=1e-6)
    assert blocks.sigma == pytest.approx(whole.sigma, rel=1e-9)
    assert blocks.loglik == pytest.approx(whole.loglik, rel=1e-12)
    assert blocks.data.notes == whole.data.notes


@pytest.mark.parametrize("cluster", [None, "id"])
def test_pooled(data, files, engine, cluster, same) -> None:
    whole = cg.pooled(FORMULA, data, cluster=cluster)
    blocks = cg.pooled(FORMULA, files, cluster=cluster, engine=engine)
    same(whole, blocks)
    assert str(blocks) == str(whole)


def test_the_boundary(tmp_path, engine) -> None:
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"y": np.tile([0, 1, 1, 0], 500), "x": rng.normal(size=2000), "id": np.repeat(range(500), 4)})
    data.to_parquet(tmp_path / "one.parquet")
    whole = cg.random_effects("y ~ x", data, cluster="id")
    blocks = cg.random_effects("y ~ x", tmp_path / "one.parquet", cluster="id", engine=engine)
    assert (blocks.sigma, whole.sigma) == (0.0, 0.0)
    np.testing.assert_allclose(blocks.cov("robust"), whole.cov("robust"), rtol=1e-8)


def test_categories_keep_their_order(tmp_path, data, engine) -> None:
    ordered = data.assign(g=pd.Categorical(data.g, ["up", "mid", "lo", "rare"]))
    ordered.to_parquet(tmp_path / "one.parquet")
    whole = cg.pooled("y ~ g", ordered)
    blocks = cg.pooled("y ~ g", tmp_path / "one.parquet", engine=engine)
    assert list(whole.params.index) == list(blocks.params.index)
    np.testing.assert_allclose(blocks.params, whole.params, rtol=1e-9)


def test_rows_are_refused_in_words(files, engine) -> None:
    fit = cg.random_effects("y ~ x", files, cluster="id", quadrature=4, engine=engine)
    for ask in (
        lambda: fit.random_effects,
        lambda: fit.residuals(),
        lambda: fit.augment(),
        lambda: fit.predict(),
        lambda: fit.simulate(1),
    ):
        with pytest.raises(OptionError, match="not in memory"):
            ask()
    with pytest.raises(OptionError, match=r"cg\.pooled"):
        fit.pooled.cov("robust")


OF_ROWS = {
    "plot.caterpillar": lambda fit: fit.plot.caterpillar(),
    "plot.calibration": lambda fit: fit.plot.calibration(),
    "plot.predictions": lambda fit: fit.plot.predictions(),
    "report": lambda fit: fit.report("report.html"),
    "bootstrap": lambda fit: fit.bootstrap(5),
    "profile": lambda fit: fit.conf_int(method="profile"),
    "bootstrap intervals": lambda fit: fit.conf_int(method="bootstrap", n_boot=5),
    "gradient_function": lambda fit: fit.gradient_function(),
    "chi_squared": lambda fit: fit.chi_squared(),
    "event_counts": lambda fit: fit.event_counts(),
    "residual_envelope": lambda fit: fit.residual_envelope(),
    "integration_curve": lambda fit: fit.integration_curve(),
    "integration_check": lambda fit: fit.integration_check(),
    "check": lambda fit: fit.check(),
    "average_effects": lambda fit: fit.average_effects(),
    "hausman": lambda fit: fit.hausman(),
    "test_clustering": lambda fit: fit.test_clustering(),
}


@pytest.fixture(scope="module")
def fitted(files: Path):
    return cg.random_effects("y ~ x", files, cluster="id")


@pytest.mark.parametrize("name", OF_ROWS)
def test_what_takes_rows_is_refused_before_work_begins(fitted, name) -> None:
    with pytest.raises(OptionError, match="not in memory"):
        OF_ROWS[name](fitted)


USER = cg.UserDistribution("own", ndtri)
DISTRIBUTIONS = ["laplace", "bridge", "log_gamma", "student_t(4)", "gaussian_mixture(0.3, 3)", USER]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_other_distributions(data, files, engine, distribution, same) -> None:
    """Those with corners, a scale of their own, a shape that goes with sigma, and tables have rules of their own."""
    options = {"cluster": "id", "distribution": distribution}
    whole = cg.random_effects("y ~ x + t", data, **options)
    blocks = cg.random_effects("y ~ x + t", files, engine=engine, **options)
    same(whole, blocks)
    assert blocks.sigma == pytest.approx(whole.sigma, rel=1e-10)
    assert blocks.quadrature.rules == whole.quadrature.rules


@pytest.mark.parametrize("distribution", ["laplace", "gaussian_mixture(0.3, 3)"])
def test_many_clusters_share_a_rule_of_their_distribution(tmp_path, engine, distribution, same, table) -> None:
    data = table(3, clusters=4500, size=3)
    data.to_parquet(tmp_path / "one.parquet")
    whole = cg.random_effects("y ~ x", data, cluster="id", distribution=distribution)
    blocks = cg.random_effects(
        "y ~ x", tmp_path / "one.parquet", cluster="id", distribution=distribution, engine=engine
    )
    same(whole, blocks, rtol=1e-8)
    assert sum(count for _, count in blocks.quadrature.rules) == whole.n_clusters


def test_a_shape_is_not_estimated_without_rows(files, engine) -> None:
    for distribution in ("student_t", "gaussian_mixture", cg.GaussianMixture(separation=3.0)):
        with pytest.raises(OptionError, match="would be estimated from rows that are not in memory"):
            cg.random_effects("y ~ x", files, cluster="id", distribution=distribution, engine=engine)


def test_terms_that_need_whole_clusters_are_refused(files, engine) -> None:
    with pytest.raises(FormulaError, match="not in memory"):
        cg.random_effects("y ~ within(x)", files, cluster="id", engine=engine)


def test_the_same_bits_by_any_number_of_threads(files, engine) -> None:
    fits = [
        cg.random_effects(FORMULA, files, cluster="id", engine=engine, control=cg.Control(n_threads=k))
        for k in (1, 2, 5)
    ]
    for fit in fits[1:]:
        assert fit.params.tolist() == fits[0].params.tolist()
        assert fit.loglik == fits[0].loglik


def test_labels_that_cannot_be_told_apart(tmp_path, data, engine) -> None:
    data.assign(id=[[k % 7] for k in range(len(data))]).to_parquet(tmp_path / "one.parquet")
    with pytest.raises(ClusterError, match="cluster labels of type List"):
        cg.pooled("y ~ x", tmp_path / "one.parquet", cluster="id", engine=engine)


@pytest.mark.parametrize("kind", ["float32", "whole numbers"])
def test_narrow_columns(tmp_path, data, engine, same, kind) -> None:
    chosen = data.assign(x=data.x.astype("float32") if kind == "float32" else data.x.round().clip(-90, 90))
    if kind == "whole numbers":
        chosen = chosen.dropna(subset="x").astype({"x": "int8", "y": "int8", "n": "uint8"})
    chosen = chosen.reset_index(drop=True)
    for k, rows in enumerate(np.array_split(np.arange(len(chosen)), 2)):
        chosen.iloc[rows].to_parquet(tmp_path / f"{k}.parquet")
    for formula in ("y ~ x + t", "cbind(y, n) ~ x + I(x**3) + I(t**2)"):
        blocks = cg.random_effects(formula, tmp_path / "*.parquet", cluster="id", engine=engine)
        same(cg.random_effects(formula, chosen, cluster="id"), blocks)


def test_what_only_all_rows_show(tmp_path, data, engine) -> None:
    odd = data.assign(same=1.0, double=2.0 * data.x + 3.0, apart=data.y + 0.1 * data.x, only=0)
    odd.to_parquet(tmp_path / "one.parquet")
    path = tmp_path / "one.parquet"
    with pytest.raises(DesignError, match="'same'"):
        cg.pooled("y ~ x + same", path, engine=engine)
    with pytest.raises(DesignError, match="'double'"):
        cg.pooled("y ~ x + double", path, engine=engine)
    with pytest.raises(SeparationError, match="'apart'"):
        cg.pooled("y ~ x + apart", path, engine=engine)
    with pytest.raises(ClusterError, match="only one cluster"):
        cg.random_effects("y ~ x", path, cluster="same", engine=engine)
    with pytest.raises(DataError, match="all responses"):
        cg.pooled("only ~ x", path, engine=engine)
    odd.assign(void=np.nan).to_parquet(path)
    with pytest.raises(DataError, match="no complete row"):
        cg.pooled("y ~ void", path, engine=engine)


def test_a_level_that_alone_separates(tmp_path, data, engine) -> None:
    odd = data.assign(g=np.where(data.index % 900 == 5, "all", "some"))
    odd.loc[odd.g == "all", "y"] = 1
    odd.to_parquet(tmp_path / "one.parquet")
    with pytest.raises(SeparationError, match="gsome"):
        cg.pooled("y ~ x + g", tmp_path / "one.parquet", engine=engine)


def test_arrays_are_refused(data, files, engine) -> None:
    with pytest.raises(OptionError, match="the name of a column"):
        cg.pooled("y ~ x", files, weights=np.ones(len(data)), engine=engine)
    with pytest.raises(DataError, match="Parquet"):
        cg.pooled("y ~ x", data, engine=engine)
    with pytest.raises(OptionError, match="engine="):
        cg.pooled("y ~ x", files, engine="disk")


def test_other_models_say_that_they_need_memory(files) -> None:
    for verb in (cg.nonparametric,):
        with pytest.raises(DataError, match=verb.__name__):
            verb("y ~ x", files, cluster="id")


def test_many_levels_and_a_crossing_of_them(tmp_path, data, engine) -> None:
    wide = data.assign(a=data.index % 12, b=data.index % 7)
    for k in range(2):
        wide.iloc[k::2].assign(g=pd.Categorical(wide.g.iloc[k::2])).to_parquet(tmp_path / f"part-{k}.parquet")
    formula = "y ~ C(a):C(b) + g"
    whole = cg.pooled(formula, wide)
    for cluster in (None, "id"):
        blocks = cg.pooled(formula, tmp_path / "part-*.parquet", cluster=cluster, engine=engine)
        if cluster is None:
            np.testing.assert_allclose(blocks.params, whole.params, rtol=1e-8)
        assert list(blocks.params.index) == list(whole.params.index)


# Files in order ------------------------------------------------------------------------------------------------------


@pytest.fixture
def ordered(tmp_path, data):
    """Files whose names are not in the order of their labels; clusters span their borders."""
    rows = data.dropna(subset="id").sort_values("id", kind="stable").reset_index(drop=True)
    rows["number"] = rows.id.str[1:].astype(int).rank(method="dense")
    rows = rows.sort_values("number", kind="stable")
    folder = tmp_path / "ordered"
    folder.mkdir()
    for k, part in enumerate(np.array_split(np.arange(len(rows)), 4)):
        rows.iloc[part].to_parquet(folder / f"part-{3 - k}.parquet")
    return folder, rows


def test_files_in_order_are_not_rearranged(ordered, engine, same, monkeypatch) -> None:
    folder, rows = ordered
    monkeypatch.setattr("clusterglm.engine.stream.Parts", None)
    lines: list[str] = []
    told = cg.engine.Stream(memory=2**20, folder=engine.folder, progress=lines.append)
    blocks = cg.random_effects("y ~ x + g", folder, cluster="number", engine=told)
    same(cg.random_effects("y ~ x + g", rows, cluster="number"), blocks)
    assert "stay where they are" in lines[1]
    assert len([line for line in lines if line.startswith("block ")]) >= 2


def test_one_long_cluster_among_files_in_order(tmp_path, engine, same) -> None:
    rng = np.random.default_rng(3)
    ids = np.repeat(["a", "b", "c", "d", "e"], [3, 9000, 1, 4, 2000])
    data = pd.DataFrame({"id": ids, "x": rng.normal(size=len(ids)), "y": rng.poisson(2.0, len(ids))})
    data["y"] += (ids == "b") * rng.poisson(2.0, len(ids))
    data.to_parquet(tmp_path / "one.parquet", row_group_size=700)
    lines: list[str] = []
    told = cg.engine.Stream(memory=2**20, folder=engine.folder, progress=lines.append)
    options = {"cluster": "id", "family": "poisson"}
    blocks = cg.random_effects("y ~ x", tmp_path / "one.parquet", engine=told, **options)
    same(cg.random_effects("y ~ x", data, **options), blocks)
    assert "stay where they are" in lines[1]


@pytest.mark.parametrize("spoil", ["missing", "overlapping", "falling at the end"])
def test_files_almost_in_order(ordered, engine, same, spoil) -> None:
    folder, _ = ordered
    path = folder / "part-0.parquet"
    last = pd.read_parquet(path)
    if spoil == "missing":
        last.loc[last.index[5], "number"] = np.nan
    elif spoil == "overlapping":
        last.loc[last.index[0], "number"] = 1.0
    else:
        last.loc[last.index[-1], "number"] = 1.0
    last.to_parquet(path)
    whole = pd.concat([pd.read_parquet(folder / f"part-{k}.parquet") for k in range(4)])
    blocks = cg.fixed_effects("y ~ x", folder, cluster="number", engine=engine)
    same(cg.fixed_effects("y ~ x", whole.reset_index(drop=True), cluster="number"), blocks)


@pytest.fixture
def in_ranges(tmp_path, data):
    """Files of ranges of labels, rows in no order, some without a label."""
    rows = data.assign(number=data.id.str[1:].astype("Int64"))
    folder = tmp_path / "ranges"
    folder.mkdir()
    for k in range(5):
        part = rows[(rows.number // 120 == (3 * k) % 5) | (rows.number.isna() & (np.arange(len(rows)) % 5 == k))]
        part.to_parquet(folder / f"part-{k}.parquet", row_group_size=400)
    return folder, pd.concat([pd.read_parquet(path) for path in sorted(folder.iterdir())], ignore_index=True)


@pytest.mark.parametrize("memory", [2**20, 2**21, 2**26])
def test_files_that_share_no_labels_are_not_rearranged(in_ranges, engine, same, memory) -> None:
    folder, rows = in_ranges
    lines: list[str] = []
    told = cg.engine.Stream(memory=memory, folder=engine.folder, progress=lines.append)
    blocks = cg.random_effects("y ~ x + g", folder, cluster="number", engine=told)
    same(cg.random_effects("y ~ x + g", rows, cluster="number"), blocks)
    assert "whole row groups" in lines[1]
    assert len([line for line in lines if line.startswith("block ")]) == {2**20: 5, 2**21: 2, 2**26: 1}[memory]


@pytest.mark.parametrize("spoil", ["one label", "no statistics"])
def test_files_that_nearly_share_no_labels(in_ranges, engine, same, spoil) -> None:
    folder, _ = in_ranges
    path = folder / "part-1.parquet"
    last = pd.read_parquet(path)
    if spoil == "one label":  # chains the ranges of all files, which are too many rows for a block then
        last.loc[last.index[7], "number"] = 0
        last.loc[last.index[8], "number"] = 599
    last.to_parquet(path, write_statistics=spoil != "no statistics")
    lines: list[str] = []
    told = cg.engine.Stream(memory=2**20, folder=engine.folder, progress=lines.append)
    rows = pd.concat([pd.read_parquet(path) for path in sorted(folder.iterdir())], ignore_index=True)
    blocks = cg.pooled("y ~ x", folder, cluster="number", engine=told)
    same(cg.pooled("y ~ x", rows, cluster="number"), blocks)
    assert "brought together" in lines[1]


# Files and disks that fail -------------------------------------------------------------------------------------------


@pytest.fixture
def copies(files: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copies"
    folder.mkdir()
    for path in files.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_file_cut_short(copies, engine) -> None:
    path = copies / "part-1.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"part-1.*cannot be read as Parquet"):
        cg.pooled("y ~ x", copies, engine=engine)


@pytest.mark.parametrize("cluster", [None, "id"])
def test_a_file_with_a_hole(copies, engine, cluster) -> None:
    path = copies / "part-1.parquet"
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        cg.pooled("y ~ x", copies, cluster=cluster, engine=engine)


def test_a_column_of_another_type(copies, engine) -> None:
    path = copies / "part-2.parquet"
    pd.read_parquet(path).assign(x="a").to_parquet(path)
    with pytest.raises(DataError, match=r"'x' of type .*string.*part-2"):
        cg.pooled("y ~ x", copies, engine=engine)


def test_a_column_that_is_missing(copies, engine) -> None:
    path = copies / "part-2.parquet"
    pd.read_parquet(path).drop(columns="x").to_parquet(path)
    with pytest.raises(DataError, match=r"part-2.* without the column 'x'"):
        cg.pooled("y ~ x", copies, engine=engine)


def test_names_that_differ_in_capitals_alone(tmp_path, data, engine, same) -> None:
    twins = data.assign(X=data.t)
    twins.to_parquet(tmp_path / "one.parquet")
    blocks = cg.pooled("y ~ x + X", tmp_path / "one.parquet", cluster="id", engine=engine)
    same(cg.pooled("y ~ x + X", twins, cluster="id"), blocks)


def test_a_folder_that_is_not_there(files, tmp_path) -> None:
    with pytest.raises(OptionError, match="in which nothing can be written"):
        cg.pooled("y ~ x", files, engine=cg.engine.Stream(folder=tmp_path / "nowhere"))


def test_no_files(tmp_path, engine) -> None:
    with pytest.raises(DataError, match="no Parquet file"):
        cg.pooled("y ~ x", tmp_path / "*.parquet", engine=engine)


def test_a_small_disk_is_seen_beforehand(files, engine, monkeypatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match="no space left"):
        cg.pooled("y ~ x", files, cluster="id", engine=engine)


@pytest.mark.parametrize("modes", [("ab",), ("wb", "r+b")], ids=["parts", "blocks"])
def test_a_disk_that_fills_up(files, engine, monkeypatch, modes) -> None:
    real = Path.open

    def full(self: Path, mode: str = "r", *args, **kwargs):
        if mode in modes and self.name == "block-00001":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, mode, *args, **kwargs)

    monkeypatch.setattr(store.Path, "open", full)
    with pytest.raises(DataError, match="no space left"):
        cg.pooled("y ~ x", files, cluster="id", engine=engine)


def test_a_limit_on_the_size_of_files(files, engine) -> None:
    program = f"""
import resource, signal
import clusterglm as cg
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
try:
    cg.pooled("y ~ x", {str(files)!r}, cluster="id", engine=cg.engine.Stream(folder={str(engine.folder)!r}))
except cg.errors.DataError as problem:
    assert "no space left" in problem.got, problem
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_part_that_is_lost(files, engine, monkeypatch) -> None:
    real = regroup.Parts.reads

    def cut(self):
        path = next(Path(engine.folder).glob("*/block-00001"))
        path.write_bytes(path.read_bytes()[:-8])
        return real(self)

    monkeypatch.setattr(regroup.Parts, "reads", cut)
    with pytest.raises(DataError, match=r"block-00001.*cannot be read back"):
        cg.pooled("y ~ x", files, cluster="id", engine=engine)


def test_a_block_that_is_lost(files, engine, monkeypatch) -> None:
    scratch = Path(engine.folder)

    def cut(step) -> None:
        for path in scratch.glob("*/block-00001"):
            path.write_bytes(path.read_bytes()[:-8])

    with pytest.raises(DataError, match="cannot be read back"):
        cg.pooled("y ~ x", files, cluster="id", engine=engine, control=cg.Control(progress=cut))
