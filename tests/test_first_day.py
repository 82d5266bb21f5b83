"""What people who know other software try first: it works, or the answer says how."""

from __future__ import annotations

import re
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import (
    ClusterError,
    DataError,
    DesignError,
    FormulaError,
    OptionError,
    ResponseError,
    SeparationError,
)

mpl.use("agg")


@pytest.fixture(scope="module")
def bacteria() -> pd.DataFrame:
    return cg.datasets.load("bacteria")


@pytest.fixture(scope="module")
def fits(bacteria: pd.DataFrame) -> list[Any]:
    return [cg.pooled(formula, bacteria) for formula in ("y ~ week", "y ~ week + trt")]


def test_the_short_name_of_students_t(bacteria: pd.DataFrame) -> None:
    assert (
        cg.random_effects("y ~ week", bacteria, cluster="ID", distribution="t(4)").distribution.name == "student_t(4)"
    )
    with pytest.raises(OptionError, match="distribution="):
        cg.random_effects("y ~ week", bacteria, cluster="ID", distribution="tt(4)")


def test_tables_and_comparisons_take_both_forms(fits: list[Any]) -> None:
    assert str(cg.table(*fits)) == str(cg.table(fits)) == str(cg.table(tuple(fits)))
    assert str(cg.compare(*fits)) == str(cg.compare(fits)) == str(cg.compare(tuple(fits)))
    assert list(cg.compare(fits, names=["a", "b"]).fits) == ["a", "b"]
    assert str(cg.table({"a": fits[0]}))
    with pytest.raises(OptionError, match="two results or more"):
        cg.compare(fits[:1])
    with pytest.raises(OptionError, match="float"):
        cg.table(fits[0], 0.9)


@pytest.mark.parametrize("verb", ["pooled", "random_effects", "fixed_effects", "conditional", "nonparametric"])
def test_data_before_the_formula_are_recognised(bacteria: pd.DataFrame, verb: str) -> None:
    for given, named in (((bacteria, "y ~ week"), {}), ((), {"formula": bacteria, "data": "y ~ week"})):
        with pytest.raises(OptionError, match="the formula first, then the data") as refusal:
            getattr(cg, verb)(*given, **named)
        assert f"cg.{verb}('y ~ week', data" in refusal.value.advice
    with pytest.raises(DataError, match="does not exist"):
        cg.pooled("y ~ week", "~/nowhere/at/all.csv")
    with pytest.raises(OptionError, match="the formula first"):
        cg.select_distribution("data.csv", "y ~ week", cluster="ID")


def test_a_lazy_frame_says_what_makes_it_a_table() -> None:
    polars = pytest.importorskip("polars")
    with pytest.raises(DataError, match=r"\.collect\(\)"):
        cg.pooled("y ~ x", polars.LazyFrame({"y": [0, 1, 1, 0], "x": [1, 2, 3, 4]}))


def test_dir_lists_the_public_names() -> None:
    assert dir(cg) == sorted(cg.__all__)
    assert all(hasattr(cg, name) for name in dir(cg))


def test_a_share_with_weights_says_how_it_is_written_here() -> None:
    data = {"share": [0.25, 0.5, 0.75, 1 / 3], "size": [4, 6, 8, 3], "x": [1.0, 2.0, 3.0, 5.0]}
    with pytest.raises(ResponseError, match="R takes as weights") as refusal:
        cg.pooled("share ~ x", data, weights="size")
    assert "cbind(round(share * n), n - round(share * n))" in refusal.value.advice
    fit = cg.pooled("cbind(round(share * size), size - round(share * size)) ~ x", data)
    with pytest.raises(ResponseError, match=r"cbind\(round\(\(good / size\) \* n\)"):
        cg.pooled("good / size ~ x", data | {"good": [1, 3, 6, 1]})
    assert fit.n_obs == 4


def test_counts_that_rounding_left_off_are_whole() -> None:
    size = np.array([7.0, 49.0, 49.0, 98.0, 29.0])
    good = np.array([4.0, 1.0, 47.0, 2.0, 29.0])
    x = np.arange(5.0)
    data = {"share": good / size, "size": size, "good": good, "x": x}
    made = data["share"] * size
    assert (made != np.rint(made)).any() or (size - made != np.rint(size - made)).any()
    computed = cg.pooled("cbind(share * size, size - share * size) ~ x", data)
    exact = cg.pooled("cbind(good, size - good) ~ x", data)
    np.testing.assert_array_equal(computed.params, exact.params)
    assert computed.loglik == exact.loglik
    off = cg.pooled("cbind(a, b) ~ x", {"a": good - 4e-10, "b": size - good + 4e-10, "x": x})
    np.testing.assert_array_equal(off.params, exact.params)
    with pytest.raises(ResponseError, match=r"3\.99999"):
        cg.pooled("cbind(a, b) ~ x", {"a": good - 1e-5, "b": size - good, "x": x})


def test_a_plot_says_what_it_is(fits: list[Any]) -> None:
    text = repr(fits[0].plot.predictions("week"))
    assert "Probability" in text
    assert "against week" in text
    assert "60 rows of curve, week, estimate" in text
    assert len(text.split("\n")) == 3


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%y", "%Y-%m-%d %H:%M:%S"])
def test_dates_that_are_text_are_recognised(form: str) -> None:
    days = pd.date_range("2024-01-01", periods=60)
    data = pd.DataFrame({"y": np.arange(60) % 3 == 0, "day": days.strftime(form)})
    with pytest.raises(DesignError, match="60 texts that are dates") as refusal:
        cg.pooled("y ~ day", data)
    assert "to_datetime" in refusal.value.advice
    few = pd.DataFrame({"y": np.arange(60) % 3 == 0, "day": np.repeat(days.strftime(form)[:4], 15)})
    assert cg.pooled("y ~ day", few).n_parameters == 4  # four visits are categories
    number = data.assign(day=(pd.to_datetime(data["day"], format=form) - days[0]).dt.days)
    assert cg.pooled("y ~ day", number).n_parameters == 2


@pytest.mark.parametrize(
    "form", ["%d.%m.%Y", "%m/%d/%y", "%d/%m/%Y", "%d.%m.%Y %H:%M", "%m-%d-%Y %H:%M:%S", "%Y-%m-%d"]
)
def test_the_advice_on_dates_reads_them_rightly(form: str) -> None:
    """01.03.2024 is the first of March, and pandas alone would take it for the third of January."""
    days = pd.Series(pd.date_range("2024-02-01", periods=60))
    data = pd.DataFrame({"y": np.arange(60) % 3 == 0, "day": days.dt.strftime(form)})
    with pytest.raises(DesignError) as refusal:
        cg.pooled("y ~ day", data)
    call = refusal.value.advice.removeprefix("days since the start: ").partition(", less its least value")[0]
    assert (eval(call, {"pandas": pd, "data": data}) == days).all()


def test_dates_that_may_be_read_both_ways_are_left_to_their_owner() -> None:
    data = pd.DataFrame({"y": np.arange(60) % 3 == 0, "day": [f"{1 + k % 12}/{1 + k // 12}/2024" for k in range(60)]})
    with pytest.raises(DesignError, match="format='%d/%m/%Y' or '%m/%d/%Y', as they are meant"):
        cg.pooled("y ~ day", data)


NUMBERS = np.round(np.random.default_rng(1).lognormal(1.0, 0.6, 200), 1)


@pytest.mark.parametrize(
    ("texts", "odd"),
    [([".", "<0.5"], "but for '.', '<0.5'"), (["n.d."], "but for 'n.d.'"), (["3.5 mg"], "but for '3.5 mg'"), ([], "")],
)
def test_numbers_with_an_entry_that_is_none(texts: list[str], odd: str, tmp_path: Any) -> None:
    """One '.' in a file makes a column of numbers text: 60 levels, and a separation error that names them all."""
    column = [*texts, *(str(value) for value in NUMBERS[len(texts) :])]
    data = pd.DataFrame({"y": np.arange(200) % 3 == 0, "crp": column})
    with pytest.raises(DesignError, match=re.escape(f"texts that are numbers{' ' if odd else ''}{odd}")) as refusal:
        cg.pooled("y ~ crp", data)
    call = refusal.value.advice.partition(";")[0].partition(", which")[0]
    read = eval(call, {"pandas": pd, "data": data})
    np.testing.assert_array_equal(read, [*[np.nan] * len(texts), *NUMBERS[len(texts) :]])
    assert cg.pooled("y ~ crp", data.assign(crp=read)).n_parameters == 2
    if texts:
        data.to_csv(tmp_path / "a.csv", index=False)
        with pytest.raises(DesignError, match="texts that are numbers"):
            cg.pooled("y ~ crp", tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (lambda x: f"{x:.1f}".replace(".", ","), lambda x: x),
        (lambda x: f"{1000 * x:,.2f}", lambda x: 1000 * x),
        (lambda x: f"{round(1000 * x):,}", lambda x: np.round(1000 * x)),
        (lambda x: f"{1000 * x:,.2f}".translate(str.maketrans(",.", ".,")), lambda x: 1000 * x),
    ],
    ids=["decimal commas", "thousands", "whole thousands", "points and commas"],
)
def test_numbers_with_commas(written: Any, value: Any) -> None:
    data = pd.DataFrame({"y": np.arange(200) % 3 == 0, "crp": [written(x) for x in NUMBERS + 1.0]})
    with pytest.raises(DesignError, match="texts that are numbers") as refusal:
        cg.pooled("y ~ crp", data)
    read = eval(refusal.value.advice.partition(";")[0], {"pandas": pd, "data": data})
    np.testing.assert_allclose(read, value(NUMBERS + 1.0))


def test_whole_numbers_among_words_for_nothing() -> None:
    for word in ("n/a", "?", "Unknown", "..", "<18"):
        data = pd.DataFrame({"y": np.arange(90) % 3 == 0, "age": [word, *(str(20 + k % 45) for k in range(89))]})
        with pytest.raises(DesignError, match=re.escape(f"texts that are numbers but for '{word}'")):
            cg.pooled("y ~ age", data)


def test_codes_of_digits_stay_categories() -> None:
    """French departments, with two of Corsica; and few levels of any kind."""
    codes = [*(f"{k:02d}" for k in range(1, 60)), "2A", "2B"]
    data = pd.DataFrame({"y": np.arange(610) // 61 % 2 == 0, "dep": codes * 10})
    assert cg.pooled("y ~ dep", data).n_parameters == 61
    few = pd.DataFrame({"y": np.arange(60) % 2 == 0, "dose": ["0.5", "1.0", "2.5", "."] * 15}).iloc[:59]
    assert cg.pooled("y ~ dose", few.assign(y=np.arange(59) % 3 == 0)).n_parameters == 4
    many = pd.DataFrame({"y": np.arange(200) % 3 == 0, "crp": [".", *map(str, NUMBERS[1:])]})
    with pytest.raises(SeparationError):
        cg.pooled("y ~ C(crp)", many)


def test_levels_of_a_response_that_differ_in_capitals(bacteria: pd.DataFrame) -> None:
    for odd in ("Yes", "yes "):
        messy = bacteria.assign(
            y=[odd if k == 5 else ("yes" if y == "y" else "no") for k, y in enumerate(bacteria["y"])]
        )
        with pytest.raises(ResponseError, match="3 levels") as refusal:
            cg.pooled("y ~ week", messy)
        made = messy.assign(y=eval(refusal.value.advice.partition(":")[0], {"data": messy}))
        assert cg.pooled("y ~ week", made).loglik == cg.pooled("y ~ week", bacteria).loglik


def test_normal_is_gaussian_as_a_distribution_and_as_a_family(bacteria: pd.DataFrame) -> None:
    assert cg.random_effects("y ~ week", bacteria, cluster="ID", distribution="normal").distribution.name == "gaussian"
    for family in ("normal", "gaussian"):
        assert cg.random_effects("week ~ trt", bacteria, cluster="ID", family=family).family == "gaussian"
        with pytest.raises(OptionError, match="'binomial', 'poisson'") as refusal:
            cg.conditional("week ~ trt", bacteria, cluster="ID", family=family)
        assert "cg.random_effects" in refusal.value.advice
        assert "distribution='gaussian'" in refusal.value.advice


@pytest.mark.parametrize("verb", ["conditional", "fixed_effects"])
def test_strata_name_the_clusters_where_they_have_levels_of_their_own(verb: str, tmp_path: Any) -> None:
    """As in R's clogit(case ~ spontaneous + induced + strata(stratum))."""
    infert = cg.datasets.load("infert")
    fit = getattr(cg, verb)("case ~ spontaneous + induced + strata(stratum)", infert)
    named = getattr(cg, verb)("case ~ spontaneous + induced", infert, cluster="stratum")
    np.testing.assert_array_equal(fit.params, named.params)
    assert (fit.loglik, fit.data.cluster_name, fit.n_clusters) == (named.loglik, "stratum", 83)
    both = getattr(cg, verb)("case ~ spontaneous + induced + strata(stratum)", infert, cluster="stratum")
    assert both.loglik == named.loglik
    columns = infert[["case", "spontaneous", "induced", "stratum"]]
    assert getattr(cg, verb)("case ~ . + strata(stratum)", columns).loglik == named.loglik
    fit.save(tmp_path / "fit.json")
    assert cg.load(tmp_path / "fit.json").loglik == fit.loglik
    infert.to_parquet(tmp_path / "infert.parquet")
    streamed = getattr(cg, verb)(
        "case ~ spontaneous + induced + strata(stratum)", tmp_path / "infert.parquet", engine=cg.engine.Stream()
    )
    np.testing.assert_allclose(streamed.loglik, named.loglik, rtol=1e-12)


@pytest.mark.parametrize("verb", ["pooled", "random_effects", "nonparametric"])
def test_strata_elsewhere_say_what_they_would_be(bacteria: pd.DataFrame, verb: str) -> None:
    with pytest.raises(FormulaError, match=r"strata\(ID\)") as refusal:
        getattr(cg, verb)("y ~ week + strata(ID)", bacteria)
    assert "cluster='ID'" in refusal.value.advice


@pytest.mark.parametrize(
    ("formula", "options", "words"),
    [
        ("y ~ week + strata(ID)", {"cluster": "hilo"}, "one of the two"),
        ("y ~ week + strata(ID, hilo)", {}, "of one column"),
        ("y ~ week * strata(ID)", {}, "a term of its own"),
        ("y ~ week + strata(Id)", {}, "did you mean 'ID'"),
        ("y ~ week - strata(ID)", {}, r"\+ strata\(ID\)"),
        ("y ~ week + strata(ID) + (1 | hilo)", {}, "one grouping factor: clusters nested"),
    ],
)
def test_strata_that_cannot_be_read(bacteria: pd.DataFrame, formula: str, options: Any, words: str) -> None:
    with pytest.raises((FormulaError, ClusterError), match=words):
        cg.conditional(formula, bacteria, **options)


def test_each_scale_names_the_others(bacteria: pd.DataFrame) -> None:
    """That of integration, of predictions, of correlations: a word of another one says where it belongs."""
    fit = cg.random_effects("y ~ week", bacteria, cluster="ID", scale="density", quadrature=5)
    cases: list[tuple[Any, str]] = [
        (lambda: cg.random_effects("y ~ week", bacteria, cluster="ID", scale="link"), "predictions, in predict"),
        (lambda: fit.predict(scale="density"), "integration, in cg.random_effects"),
        (lambda: fit.predict(scale="latent"), "correlations, in intraclass_correlation"),
        (lambda: fit.intraclass_correlation("link"), "predictions, in predict"),
    ]
    for call, words in cases:
        with pytest.raises(OptionError, match=re.escape(words)):
            call()


def test_text_files_by_other_names(bacteria: pd.DataFrame, tmp_path: Any) -> None:
    expected = cg.pooled("y ~ week", bacteria).loglik
    for name, sep in (("a.tsv", "\t"), ("a.txt", "\t"), ("b.txt", ";"), ("a.tsv.gz", "\t")):
        bacteria.to_csv(tmp_path / name, sep=sep, index=False)
        assert cg.pooled("y ~ week", tmp_path / name).loglik == expected
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(DataError, match=r"ends in .*\.tsv, .*\.txt"):
        cg.pooled("y ~ week", tmp_path / "a.xlsx")


def test_levels_that_differ_in_blanks_alone_are_noted(bacteria: pd.DataFrame) -> None:
    messy = bacteria.assign(trt=[f"{each} " if k % 7 == 0 else each for k, each in enumerate(bacteria["trt"])])
    text = " ".join(str(cg.random_effects("y ~ trt", messy, cluster="ID")).split())
    assert "levels of 'trt' that differ in blanks alone, and are taken to be different: 'drug', 'drug '," in text
    assert "blanks alone" not in str(cg.random_effects("y ~ trt", bacteria, cluster="ID"))


def test_a_reference_level_in_the_words_of_other_software(bacteria: pd.DataFrame) -> None:
    for written in ("C(trt, ref='drug')", "factor(trt, reference='drug')", "C(trt, base='drug')"):
        with pytest.raises(FormulaError) as refusal:
            cg.pooled(f"y ~ {written}", bacteria)
        assert refusal.value.advice == "relevel(trt, ref='drug')"
    fit = cg.pooled("y ~ relevel(trt, ref='drug')", bacteria)
    assert fit.data.design.references == {"trt": "drug"}
