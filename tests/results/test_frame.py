"""Tables and tests as text: whole, no wider than the terminal, and data frames all the same."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.model.printing import fold
from clusterglm.results.tables.frame import EstimateFrame, shown

TABLES = {
    "tidy": lambda fit: fit.tidy(), "broom": lambda fit: fit.tidy(names="broom"), "ratios": lambda fit: fit.ratios(),
    "effects": lambda fit: fit.average_effects(), "intervals": lambda fit: fit.conf_int(), "cov": lambda fit: fit.cov(),
    "marginal": lambda fit: fit.marginal_coefficients(), "glance": lambda fit: fit.glance(),
    "compared": lambda fit: cg.compare(fit, fit).to_frame(), "rows": lambda fit: shown(fit.augment(names="broom")[:9]),
    "terms": lambda fit: fit.term_tests(), "odds": lambda fit: fit.interval_odds_ratio("week"),
}  # fmt: skip


@pytest.fixture(scope="module")
def fit() -> Any:
    return cg.random_effects("y ~ trt + week", cg.datasets.load("bacteria"), cluster="ID")


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize("name", TABLES)
def test_every_column_of_every_table_is_printed(
    fit: Any, name: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    table = TABLES[name](fit)
    text = repr(table)
    assert str(table) == text
    assert max(map(len, text.split("\n"))) <= columns
    words = text.split()
    assert all(str(column) in words for column in table.columns)
    assert "..." not in text


def test_numbers_are_rounded_as_in_the_summary(fit: Any) -> None:
    rows = repr(fit.tidy()).split("\n")
    assert rows[0].split() == ["component", "term", "estimate", "std_error", "z", "pvalue", "conf_low", "conf_high"]
    assert rows[4].split()[1:6] == ["week", "-0.1455", "0.0514", "-2.834", "0.00460"]
    assert str(fit).count("-0.1455      0.0514   -2.834   0.00460") == 1
    assert len({len(row) for row in rows}) == 1  # aligned at the right
    assert "-0.1455" in fit.tidy()._repr_html_()


def test_small_and_large_numbers_keep_digits() -> None:
    table = shown(pd.DataFrame({"term": ["a", "b"], "estimate": [1e-7, 2e6], "std_error": [2e-8, np.nan], "n": [1, 2]}))
    assert repr(table).split() == ["term", "estimate", "std_error", "n", "a", "1.0000e-07", "2.0000e-08", "1", "b",
                                   "2000000.0000", "nan", "2"]  # fmt: skip


def test_it_is_a_data_frame_and_what_comes_of_it_a_plain_one(fit: Any) -> None:
    table = fit.tidy()
    assert isinstance(table, pd.DataFrame)
    for made in (table.round(2), table[["term", "z"]], table.copy(), table.set_index("term"), table.iloc[:2], table.T,
                 table.assign(x=1), pd.concat([table, table]), table.frame, table.query("z < 0")):  # fmt: skip
        assert type(made) is pd.DataFrame
    assert type(table["estimate"]) is pd.Series
    pd.testing.assert_frame_equal(table.frame, pd.DataFrame(table))
    again = pickle.loads(pickle.dumps(table))
    assert type(again) is EstimateFrame
    pd.testing.assert_frame_equal(again, table)
    pd.testing.assert_frame_equal(copy.deepcopy(table), table.frame)
    assert nw.from_native(table).columns == list(table.columns)
    table.loc[0, "estimate"] = 7.0  # changes the table alone
    assert fit.params.iloc[0] != 7.0
    assert fit.marginal_coefficients().attrs == fit.marginal_coefficients().frame.attrs


def test_long_and_empty_tables() -> None:
    table = shown(pd.DataFrame({"x": np.arange(100.0)}))
    assert repr(table).endswith("(100 rows)")
    assert len(repr(table).split("\n")) == 63
    assert "Empty" in repr(shown(pd.DataFrame({"x": []})))


def test_one_note_of_all_rows_stands_below(fit: Any) -> None:
    table = shown(fit.ratios().assign(note="held <fixed>"))
    assert repr(table).endswith("Note: held <fixed>")
    assert "note" not in repr(table).split("\n")[0]
    assert "held &lt;fixed&gt;" in table._repr_html_()


@pytest.mark.parametrize("columns", [70, 80])
def test_tests_are_no_wider_than_the_terminal(fit: Any, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one_line = {name: str(getattr(fit, name)(*given)) for name, given in
                {"wald_test": ("trtdrug = 0",), "test_clustering": ("boundary",)}.items()}  # fmt: skip
    monkeypatch.setenv("COLUMNS", str(columns))
    for made in (fit.wald_test("trtdrug = 0"), fit.test_clustering("boundary"), fit.test_clustering(n_boot=9, seed=1),
                 fit.diagnose(n_sim=19, seed=1) if hasattr(fit, "diagnose") else fit, fit):  # fmt: skip
        if made is not fit:
            assert repr(made) == str(made)
        assert max(map(len, str(made).split("\n"))) <= columns
    assert " ".join(str(fit.wald_test("trtdrug = 0")).split()) == " ".join(one_line["wald_test"].split())


def test_folding_keeps_margins(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "  a margin " + "word " * 40
    monkeypatch.delenv("COLUMNS", raising=False)
    assert fold(line) == line  # no terminal, no width
    monkeypatch.setenv("COLUMNS", "120")
    text = fold(line)
    assert all(line.startswith("  ") for line in text.split("\n"))
    assert max(map(len, text.split("\n"))) <= 100


def test_predictions_with_intervals_print_whole() -> None:
    """However long the words of a row are."""
    bacteria = cg.datasets.load("bacteria")
    fit = cg.random_effects("y ~ trt + week", bacteria, cluster="ID")
    new = bacteria.head(2).assign(ID=["X01", "X99"])
    text = str(fit.predict(new, "posterior", level=0.9, unseen="marginal"))
    assert "cluster 'X99' not seen: the mean over all clusters" in text
    assert "std_error" in text
    assert "..." not in text
