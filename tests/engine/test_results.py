"""Results of rows that are not in memory: to files and back, side by side, and over several distributions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import ClusterError, DataError, OptionError


@pytest.fixture(scope="module")
def fits(files):
    options = {"data": files, "cluster": "id"}
    return {
        "pooled": cg.pooled("y ~ x + g", **options),
        "random_effects": cg.random_effects("y ~ x + g", **options),
        "small": cg.random_effects("y ~ x", **options),
        "fixed_effects": cg.fixed_effects("y ~ x", bias_correction="analytical", **options),
        "conditional": cg.conditional("y ~ x", **options),
    }


@pytest.mark.parametrize("name", ["pooled", "random_effects", "fixed_effects", "conditional"])
def test_to_a_file_and_back(fits, data, tmp_path, name) -> None:
    fit = fits[name]
    fit.save(tmp_path / "fit.json.gz")
    again = cg.load(tmp_path / "fit.json.gz")
    assert type(again) is type(fit)
    assert str(again) == str(fit)
    for kind in ("observed", "robust"):
        assert again.cov(kind).equals(fit.cov(kind))
    if name != "fixed_effects":
        pd.testing.assert_series_equal(again.predict(data.head(5)), fit.predict(data.head(5)))
    with pytest.raises(OptionError, match="not in memory"):
        again.augment()


def test_side_by_side(fits, data) -> None:
    streamed = cg.compare(fits["small"], fits["random_effects"], fits["pooled"])
    whole = cg.compare(
        cg.random_effects("y ~ x", data, cluster="id"),
        cg.random_effects("y ~ x + g", data, cluster="id"),
        cg.pooled("y ~ x + g", data, cluster="id"),
    )
    pd.testing.assert_frame_equal(streamed.to_frame(), whole.to_frame(), rtol=1e-6)
    assert streamed.tests[0].df == 3
    mixed = cg.compare(fits["small"], cg.random_effects("y ~ x + g", data, cluster="id"))
    assert mixed.tests[0].statistic == pytest.approx(whole.tests[0].statistic, rel=1e-8)
    groups = cg.compare(fits["small"], fits["conditional"]).groups
    assert groups == (0, 1)


def test_other_rows_or_responses_do_not_compare(fits, files, data) -> None:
    with pytest.raises(DataError, match="rows"):
        cg.compare(fits["small"], cg.random_effects("y ~ x", files, cluster="id", subset="keep"))
    with pytest.raises(DataError, match=r"'y' and 'I\(n\)'"):
        cg.compare(fits["small"], cg.random_effects("I(n) ~ x", data, cluster="id", family="poisson"))
    other = cg.random_effects("y ~ x", data.assign(y=1 - data.y), cluster="id")
    with pytest.raises(DataError, match="differ in their sums"):
        cg.compare(fits["small"], other)
    weighted = cg.random_effects("y ~ x", data.assign(w=2.0), cluster="id", weights="w")
    assert "weights differ" in str(cg.compare(fits["small"], weighted))
    shifted = cg.random_effects("y ~ x", files, cluster="id", offset="t")
    assert "offsets differ" in str(cg.compare(fits["small"], shifted))


def test_distributions_of_the_intercept(data, files, engine) -> None:
    options = {"cluster": "id", "distributions": ["gaussian", "logistic", "laplace"]}
    whole = cg.select_distribution("y ~ x", data, **options)
    lines: list[str] = []
    told = cg.engine.Stream(memory=2**20, folder=engine.folder, progress=lines.append)
    blocks = cg.select_distribution("y ~ x", files, engine=told, **options)
    assert len([line for line in lines if "to become" in line]) == 1  # once for all
    columns = ["loglik", "aic", "bic", "aic_weight", "sigma", "random_effects_sd"]
    pd.testing.assert_frame_equal(blocks.table[columns], whole.table[columns], rtol=1e-7)
    pd.testing.assert_frame_equal(blocks.coefficients, whole.coefficients, rtol=1e-5)
    assert blocks.best().distribution.name == whole.best().distribution.name
    assert blocks.table["chi_square"].isna().all()
    assert "chi" not in str(blocks)
    with pytest.raises(OptionError, match="'aic', 'bic'"):
        blocks.best("chi_square")
    for fit in blocks.fits.values():
        assert np.isfinite(fit.cov("robust").to_numpy()).all()


def test_what_selection_needs_rows_for(files) -> None:
    for options in ({"n_boot": 5}, {"distributions": ["gaussian", "nonparametric"]}):
        with pytest.raises(OptionError, match="not in memory"):
            cg.select_distribution("y ~ x", files, cluster="id", **options)
    with pytest.raises(OptionError, match="would be estimated"):
        cg.select_distribution("y ~ x", files, cluster="id", distributions=["student_t"])


@pytest.mark.parametrize("formula", ["y ~ x + g", "count ~ x - 1"])
def test_the_score_test_of_no_clustering(data, files, engine, tmp_path, formula) -> None:
    family = "poisson" if "count" in formula else "binomial"
    options = {"cluster": "id", "family": family, "weights": "w", "offset": "t"}
    whole = cg.pooled(formula, data, **options).test_clustering()
    streamed = cg.pooled(formula, files, engine=engine, **options)
    streamed.save(tmp_path / "fit.json")
    for fit in (streamed, cg.load(tmp_path / "fit.json")):
        assert fit.test_clustering().statistic == pytest.approx(whole.statistic, rel=1e-9)
        assert fit.test_clustering().pvalue == pytest.approx(whole.pvalue, rel=1e-6)
    assert abs(whole.statistic) > 1.0


def test_no_score_test_without_clusters(fits, files) -> None:
    with pytest.raises(ClusterError, match="without clusters"):
        cg.pooled("y ~ x", files).test_clustering()
    with pytest.raises(OptionError, match="has not taken"):
        fits["small"].pooled.test_clustering()


@pytest.mark.parametrize("name", ["random_effects", "fixed_effects"])
def test_tests_of_clustering_say_what_there_is(fits, name) -> None:
    with pytest.raises(
        OptionError, match=r'(?s)not in memory.*test_clustering\("boundary"\).*sample of whole clusters'
    ):
        fits[name].test_clustering()
    assert fits["random_effects"].test_clustering("boundary").pvalue < 1e-6


@pytest.mark.parametrize("name", ["pooled", "random_effects", "fixed_effects", "conditional"])
def test_bootstraps_say_what_there_is(fits, name) -> None:
    for ask in (lambda: fits[name].bootstrap(3), lambda: fits[name].conf_int(method="bootstrap", n_boot=3)):
        with pytest.raises(OptionError, match=r'(?s)not in memory.*cov="robust".*sample of whole clusters'):
            ask()
    low, high = fits[name].conf_int(cov="robust").to_numpy().T
    assert (low < high).all()
