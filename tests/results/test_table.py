"""How a summary is laid out."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterglm.model.printing import WIDEST
from clusterglm.results.tables.table import Coefficients, Summary, counted, number, pvalue, stars, wrapped


def summary(names: tuple[str, ...], estimate: list[float], se: list[float], **parts: object) -> Summary:
    b, s = np.array(estimate), np.array(se)
    table = Coefficients(names, b, s, b / s, np.full(len(b), 0.02))
    return Summary(
        "Title",
        (("Formula", "y ~ " + "x + " * 60),),
        table,
        (("sigma", "1"),),
        **parts,  # type: ignore[arg-type]
    )


def test_no_line_is_too_wide_and_nothing_is_lost() -> None:
    long = "bs(age, df=5, knots=[" + ", ".join(str(k) for k in range(40)) + "]):C(treatment)[T.placebo]"
    text = str(summary(("(Intercept)", long), [1.0, -2.0], [0.1, 0.2], notes=("a note " * 30,)))
    assert max(map(len, text.splitlines())) <= WIDEST
    assert long.replace(" ", "") in "".join(text.split())
    assert text.count("x +") == 60


def test_numbers_keep_three_digits_of_the_standard_error() -> None:
    rows = summary(("a", "b"), [1.23456789, 2e9], [0.000123456, 3e5]).coefficients.cells()
    assert rows[0][:2] == ("1.234568", "0.000123")
    assert rows[1][0] == "2.0000e+09"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (-1.5, "-1.5000"), (3e-5, "3.0000e-05"), (np.nan, "nan"), (-np.inf, "-inf"), (np.inf, "inf")],
)
def test_number(value: float, text: str) -> None:
    assert number(value, 4) == text


@pytest.mark.parametrize(
    ("p", "text", "mark"),
    [
        (0.5, "0.50000", ""),
        (0.0499, "0.04990", "*"),
        (0.00012, "0.00012", "***"),
        (3e-9, "3.00e-09", "***"),
        (1e-300, "<2e-16", "***"),
        (np.nan, "nan", ""),
        (0.07, "0.07000", "."),
    ],
)
def test_p_values(p: float, text: str, mark: str) -> None:
    assert (pvalue(p), stars(p)) == (text, mark)


def test_html_escapes_names() -> None:
    html = summary(("I(x<2)",), [1.0], [0.5], notes=("a < b",))._repr_html_()
    assert "I(x&lt;2)" in html
    assert "a &lt; b" in html
    assert html.count("<table>") == html.count("</table>") == 3


def test_counted() -> None:
    assert counted(1, "row") == "1 row"
    assert counted(0, "row") == "0 rows"


@given(
    st.text(st.sampled_from("ab- ,.\t\n\u00a0"), max_size=110),
    st.sampled_from(["", "Formula:  "]),
    st.sampled_from([12, 44, WIDEST]),
)
def test_lines_are_those_of_textwrap(text: str, first: str, width: int) -> None:
    later = " " * len(first)
    assert wrapped(text, first, later, width) == textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=later
    )
