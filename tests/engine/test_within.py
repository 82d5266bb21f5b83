"""Fixed effects and conditional likelihoods block by block: the results of the table in memory, or the same refusal."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, DataError, DesignError, OptionError, SeparationError

VERBS = [cg.fixed_effects, cg.conditional]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y ~ x + big + C(w) + I(x**2)", {}),
        ("word ~ x", {"subset": "keep", "offset": "t"}),
        ("cbind(y, n) ~ x + t", {"weights": "w"}),
        ("count ~ x + offset(t)", {"family": "poisson"}),
        ("count ~ 0 + x + big", {"family": "poisson", "weights": "w"}),
    ],
)
def test_the_fit_of_the_table_in_memory(data, files, engine, same, verb, formula, options, words) -> None:
    whole = verb(formula, data, cluster="id", **options)
    blocks = verb(formula, files, cluster="id", engine=engine, **options)
    same(whole, blocks)
    assert words(blocks) == words(whole)
    pd.testing.assert_frame_equal(blocks.tidy(), whole.tidy(), rtol=1e-7)
    one, two = (fit.glance().drop(columns="gradient_norm") for fit in (blocks, whole))
    pd.testing.assert_frame_equal(one, two, rtol=1e-7)
    assert pickle.loads(pickle.dumps(blocks)).n_informative == whole.n_informative


@pytest.mark.parametrize(
    "options",
    [{"link": "probit"}, {"link": "cloglog", "bias_correction": "analytical"}, {"bias_correction": "analytical"}],
)
def test_links_and_the_bias_corrected_by_formula(data, files, engine, same, options, words) -> None:
    whole = cg.fixed_effects("y ~ x + big", data, cluster="id", **options)
    blocks = cg.fixed_effects("y ~ x + big", files, cluster="id", engine=engine, **options)
    same(whole, blocks)
    assert words(blocks) == words(whole)
    assert blocks.bias_correction == whole.bias_correction
    np.testing.assert_allclose(blocks.fit.uncorrected, whole.fit.uncorrected, rtol=1e-9)


def test_corrections_that_are_refused(files, engine) -> None:
    with pytest.raises(OptionError, match=r"(?s)orders single rows.*analytical"):
        cg.fixed_effects("y ~ x", files, cluster="id", engine=engine, bias_correction="jackknife")
    with pytest.raises(OptionError, match="poisson"):
        cg.fixed_effects("count ~ x", files, cluster="id", family="poisson", bias_correction="analytical")


def test_no_covariates(data, files, engine, words) -> None:
    whole = cg.fixed_effects("y ~ 1", data, cluster="id")
    blocks = cg.fixed_effects("y ~ 1", files, cluster="id", engine=engine)
    assert words(blocks) == words(whole)
    with pytest.raises(DesignError, match="without covariates"):
        cg.conditional("y ~ 1", files, cluster="id", engine=engine)


@pytest.mark.parametrize("verb", VERBS)
def test_many_clusters_start_from_some(tmp_path, table, engine, verb) -> None:
    """Not from the same ones, so that the searches end within the tolerance of each other."""
    data = table(4, clusters=21_000, size=5)
    data.to_parquet(tmp_path / "one.parquet")
    larger = cg.engine.Stream(memory=2**24, folder=engine.folder)
    whole = verb("y ~ x + t", data, cluster="id")
    blocks = verb("y ~ x + t", tmp_path / "one.parquet", cluster="id", engine=larger)
    np.testing.assert_array_less(np.abs(blocks.params - whole.params), 1e-6 * whole.bse)
    assert blocks.loglik == pytest.approx(whole.loglik, rel=1e-12)
    assert blocks.optimization.iterations <= 4


ODD = {
    "separated": ("y ~ x + apart", SeparationError),
    "separated in part": ("y ~ x + partly", SeparationError),
    "flat everywhere": ("y ~ length", DesignError),
    "a combination": ("y ~ x + big + double", DesignError),
    "nothing varies": ("one ~ x", DataError),
    "no cluster varies": ("first ~ x", ClusterGLMError),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ODD)
def test_what_only_all_rows_show(tmp_path, data, engine, verb, name) -> None:
    formula, kind = ODD[name]
    odd = data.assign(
        apart=data.y + 0.1 * data.x,
        partly=np.where(data.x > 0.3, data.y, 0),
        double=2.0 * data.x + 3.0 * data.big,
        length=data.id.str.len().fillna(0.0),
        one=1,
        first=(data.id.fillna("") < "c3").astype(int),
    )
    odd.to_parquet(tmp_path / "one.parquet")
    with pytest.raises(kind) as in_memory:
        verb(formula, odd, cluster="id")
    with pytest.raises(kind) as in_blocks:
        verb(formula, tmp_path / "one.parquet", cluster="id", engine=engine)
    expected = str(in_memory.value)
    for how in ("completely within every cluster", "within clusters in part"):  # which all rows together would show
        expected = expected.replace(how, "within clusters")
    assert str(in_blocks.value) == expected


@pytest.mark.parametrize("verb", VERBS)
def test_what_clusters_take_up_is_left_out_with_a_note(tmp_path, data, engine, verb) -> None:
    odd = data.assign(length=data.id.str.len().fillna(0.0))
    odd.to_parquet(tmp_path / "one.parquet")
    whole = verb("y ~ length * x", odd, cluster="id")
    blocks = verb("y ~ length * x", tmp_path / "one.parquet", cluster="id", engine=engine)
    assert list(whole.params.index) == list(blocks.params.index) == ["x", "length:x"]
    np.testing.assert_allclose(blocks.params, whole.params, rtol=1e-7)
    for fit in (whole, blocks):
        assert "without 'length': constant within every cluster, whose intercepts take it up" in str(fit)


CHOICES = [
    "case ~ alt + alt:edu",
    "case ~ alt/edu",
    "case ~ alt*edu - edu",
    "case ~ alt*edu",
    "case ~ alt + alt:region",
    "case ~ alt + alt:region:edu",
    "case ~ alt + alt:edu + region",
    "case ~ alt + alt:factor(edu > 12) + price",
    "case ~ alt + alt:edu + price:region",
    "case ~ 0 + alt:edu + alt:price",
    "case ~ alt + bs(price, 3):region",
]


def _choices(seed: int) -> pd.DataFrame:
    """Who chose which of three alternatives: `edu` and `region` belong to the chooser, `price` to the alternative."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(600), 3)
    data = pd.DataFrame({"id": ids, "alt": np.tile(["a", "b", "c"], 600), "price": rng.normal(size=1800)})
    data["edu"] = rng.integers(8, 18, 600)[ids].astype(float)
    data["region"] = rng.choice(["north", "south", "west"], 600)[ids]
    chosen = (rng.gumbel(size=1800) - data.price + 0.1 * data.edu * (data.alt == "c")).to_numpy()
    data["case"] = (np.arange(3) == chosen.reshape(-1, 3).argmax(axis=1)[:, None]).ravel().astype(int)
    return data


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("formula", CHOICES)
def test_interactions_with_what_clusters_take_up(tmp_path, engine, same, words, verb, formula) -> None:
    """Coded as next to it, whether a formula has it alone or not."""
    data = _choices(3).sample(frac=1.0, random_state=1)
    for k, rows in enumerate(np.array_split(np.arange(len(data)), 3)):
        data.iloc[rows].to_parquet(tmp_path / f"part-{k}.parquet")
    whole = verb(formula, data, cluster="id")
    blocks = verb(formula, tmp_path / "part-*.parquet", cluster="id", engine=engine)
    same(whole, blocks, 1e-7)
    assert words(blocks) == words(whole)


@pytest.mark.parametrize("verb", VERBS)
def test_what_varies_within_clusters_stays_refused(tmp_path, engine, verb) -> None:
    """The combination is not one that the clusters' intercepts take up."""
    data = _choices(4)
    data.to_parquet(tmp_path / "one.parquet")
    for formula in ("case ~ alt + price + alt:price + I(2*price)", "case ~ alt:edu + I(edu * (alt == 'b'))"):
        with pytest.raises(DesignError) as in_memory:
            verb(formula, data, cluster="id")
        with pytest.raises(DesignError) as in_blocks:
            verb(formula, tmp_path / "one.parquet", cluster="id", engine=engine)
        assert str(in_blocks.value) == str(in_memory.value)


def test_blocks_that_show_some_of_their_rows_find_what_separates(tmp_path, engine) -> None:
    """Most rows of `z` are 0, so that some rows suggest directions which others contradict."""
    rng = np.random.default_rng(6)
    ids = np.repeat(np.arange(3000), 6)
    data = pd.DataFrame({"id": ids, "x": rng.normal(size=len(ids)), "z": (rng.random(len(ids)) < 0.004).astype(float)})
    data["y"] = (rng.random(len(ids)) < 0.5).astype(int)
    larger = cg.engine.Stream(memory=2**23, folder=engine.folder)
    data.to_parquet(tmp_path / "one.parquet")
    assert cg.conditional("y ~ x + z", tmp_path / "one.parquet", cluster="id", engine=larger).converged
    data.loc[data.z == 1.0, "y"] = 1
    data.to_parquet(tmp_path / "one.parquet")
    for verb in VERBS:
        with pytest.raises(SeparationError, match="'z' separates successes from failures within clusters:"):
            verb("y ~ x + z", tmp_path / "one.parquet", cluster="id", engine=larger)


def test_weights_that_are_not_whole(tmp_path, data, engine) -> None:
    data.assign(w=0.5).to_parquet(tmp_path / "one.parquet")
    with pytest.raises(DataError, match="not whole numbers"):
        cg.conditional("y ~ x", tmp_path / "one.parquet", cluster="id", weights="w", engine=engine)


OF_ROWS = {
    "cluster_effects": lambda fit, data: fit.cluster_effects,
    "test_clustering": lambda fit, data: fit.test_clustering(),
    "permutation": lambda fit, data: fit.test_clustering("permutation"),
    "predict": lambda fit, data: fit.predict(data.head()),
    "augment": lambda fit, data: fit.augment(),
    "residuals": lambda fit, data: fit.residuals(),
    "bootstrap": lambda fit, data: fit.bootstrap(3),
    "profile": lambda fit, data: fit.conf_int(method="profile"),
    "average_effects": lambda fit, data: fit.average_effects(),
    "check": lambda fit, data: fit.check(),
    "simulate": lambda fit, data: fit.simulate(1),
}


@pytest.fixture(scope="module")
def fitted(files):
    return cg.fixed_effects("y ~ x", files, cluster="id")


@pytest.mark.parametrize("name", OF_ROWS)
def test_what_takes_rows_is_refused(fitted, data, name) -> None:
    with pytest.raises(OptionError, match="not in memory"):
        OF_ROWS[name](fitted, data)


def test_conditional_predictions_need_no_intercepts(data, files) -> None:
    whole, blocks = (cg.conditional("y ~ x", rows, cluster="id") for rows in (data, files))
    pd.testing.assert_series_equal(blocks.predict(data.head(9)), whole.predict(data.head(9)))


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y ~ x + big", {"bias_correction": "analytical", "link": "probit"}),
        ("y ~ 1", {}),
        ("count ~ x + offset(t)", {"family": "poisson", "weights": "w"}),
    ],
)
def test_cluster_effects_in_a_file(data, files, engine, tmp_path, formula, options) -> None:
    path = tmp_path / "effects.parquet"
    path.write_text("old")
    told = cg.engine.Stream(memory=2**20, folder=engine.folder, cluster_effects=path)
    blocks = cg.fixed_effects(formula, files, cluster="id", engine=told, **options)
    whole = cg.fixed_effects(formula, data, cluster="id", **options).cluster_effects
    found = pd.read_parquet(path).sort_values("label", ignore_index=True)
    pd.testing.assert_frame_equal(found, whole, check_dtype=False, rtol=1e-7, atol=1e-9)
    assert {each.name for each in tmp_path.iterdir()} == {"effects.parquet", "scratch"}
    with pytest.raises(OptionError, match="which writes a file of them"):
        _ = blocks.cluster_effects


def test_a_file_of_cluster_effects_that_cannot_be_written(files, engine, tmp_path, monkeypatch) -> None:
    told = cg.engine.Stream(folder=engine.folder, cluster_effects=tmp_path / "nowhere" / "effects.parquet")
    with pytest.raises(OptionError, match=r"nowhere.*its folder does not exist"):
        cg.fixed_effects("y ~ x", files, cluster="id", engine=told)

    real = pq.ParquetWriter.write_table
    for verb in (cg.conditional, cg.random_effects):
        with pytest.raises(OptionError, match=r"cg\.fixed_effects"):
            verb("y ~ x", files, cluster="id", engine=told)

    def full(self, *args, **kwargs) -> None:
        if Path(self.where).name.startswith(".effects."):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    path = tmp_path / "effects.parquet"
    path.write_text("old")
    with pytest.raises(DataError, match="no space left"):
        cg.fixed_effects(
            "y ~ x", files, cluster="id", engine=cg.engine.Stream(folder=engine.folder, cluster_effects=path)
        )
    assert path.read_text() == "old"
    assert {each.name for each in tmp_path.iterdir()} == {"effects.parquet", "scratch"}
