"""Tables for papers: their numbers are the results', and each format is well formed."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import html5lib
import numpy as np
import pytest

import clusterglm as cg
from clusterglm.errors import MissingPackageError, OptionError
from clusterglm.results.tables.publication import PublicationTable

FORMULA, WITHIN = "y ~ trt + I(week > 2)", "y ~ I(week > 2)"
needs_maketables = pytest.mark.skipif(find_spec("maketables") is None, reason="maketables is an extra")


@pytest.fixture(scope="module")
def fits() -> dict[str, Any]:
    """Every kind of model, with names that formats must escape."""
    data = cg.datasets.load("bacteria")
    return {
        "Pooled": cg.pooled(FORMULA, data),
        "Fixed & co": cg.fixed_effects(WITHIN, data, cluster="ID", bias_correction="analytical"),
        "Cond_1": cg.conditional(WITHIN, data, cluster="ID"),
        "Random 100%": cg.random_effects(FORMULA, data, cluster="ID"),
        "<NP>": cg.nonparametric(FORMULA, data, cluster="ID"),
    }


@pytest.fixture(scope="module")
def table(fits: dict[str, Any]) -> PublicationTable:
    return cg.table(fits, spread="interval", stars=True, exponentiate=True, caption="5% & more")


def cell(table: PublicationTable, part: str, row: str, fit: str) -> list[str]:
    return str(table.frame.loc[(part, row), fit]).split("\n")


def test_numbers_are_the_results(fits: dict[str, Any]) -> None:
    table = cg.table(fits, digits=4)
    for name, fit in fits.items():
        for term in fit.params.index:
            shown = cell(table, "coefficients", term, name)
            assert shown == [f"{fit.params[term]:.4f}", f"({fit.bse[term]:.4f})"]
        assert cell(table, "fit", "Log-likelihood", name) == [f"{fit.loglik:.4f}"]
        assert cell(table, "fit", "AIC", name) == [f"{fit.aic:.4f}"]
        assert cell(table, "fit", "Observations", name) == ["220"]
    random = fits["Random 100%"]
    assert cell(table, "random intercept", "sigma", "Random 100%") == [
        f"{random.sigma:.4f}",
        f"({random.sigma_se:.4f})",
    ]
    assert cell(table, "random intercept", "sigma", "Pooled") == [""]
    assert cell(table, "fit", "ICC", "Random 100%") == [f"{random.icc:.4f}"]
    assert cell(table, "fit", "Clusters", "Pooled") == ["–"]
    assert list(table.frame.loc["fit"].loc["Intercepts of clusters"]) == [
        "–", "fixed", "conditioned out", "gaussian", "2 mass points",
    ]  # fmt: skip


def test_ratios_with_intervals_and_stars(fits: dict[str, Any], table: PublicationTable) -> None:
    fit = fits["Random 100%"]
    ratios = fit.ratios().set_index("term")
    for term in fit.params.index:
        estimate, low, high = ratios.loc[term, ["estimate", "conf_low", "conf_high"]]
        p = fit.pvalues[term]
        stars = "***" if p < 0.001 else "**" if p < 0.01 else "*" if p < 0.05 else ""
        assert cell(table, "coefficients", term, "Random 100%") == [
            f"{estimate:.3f}{stars}",
            f"[{low:.3f}, {high:.3f}]",
        ]
    low, high = fit.tidy().set_index("term").loc["sigma", ["conf_low", "conf_high"]]
    assert cell(table, "random intercept", "sigma", "Random 100%") == [f"{fit.sigma:.3f}", f"[{low:.3f}, {high:.3f}]"]
    assert table.notes[0] == "Odds ratios (of the intercept: odds)."
    assert any("do not compare" in note for note in table.notes)
    assert any(note.startswith("Fixed & co: bias correction analytical") for note in table.notes)


def test_robust_errors(fits: dict[str, Any]) -> None:
    fit = fits["Random 100%"]
    robust = np.sqrt(np.diag(fit.cov("robust")))
    table = cg.table(fit, cov="robust")
    shown = [cell(table, "coefficients", term, "(1)")[1] for term in fit.params.index]
    assert shown == [f"({se:.3f})" for se in robust[:-1]]
    assert cell(table, "random intercept", "sigma", "(1)")[1] == f"({robust[-1]:.3f})"
    assert table.notes == ("Standard errors (robust) in parentheses.", "Success: y = 'y'.")


def test_sigma_without_a_standard_error_says_why() -> None:
    data = cg.datasets.load("bacteria")
    held = cg.random_effects(FORMULA, data, cluster="ID", sigma=1.0, fix_sigma=True)
    assert cell(cg.table(held), "random intercept", "sigma", "(1)") == ["1.000", "(held fixed)"]
    rng = np.random.default_rng(1)
    null = {"y": np.tile([0, 1], 100), "id": np.arange(200) // 4, "x": rng.normal(size=200)}
    flat = cg.random_effects("y ~ x", null, cluster="id")
    assert flat.sigma == 0.0
    assert cell(cg.table(flat), "random intercept", "sigma", "(1)") == ["0.000", "(boundary)"]


def test_rows_can_be_chosen_named_and_put_together(fits: dict[str, Any]) -> None:
    two = [fits["Pooled"], cg.pooled("y ~ week", cg.datasets.load("bacteria"))]
    table = cg.table(two, terms=["week", "trtdrug"], labels={"week": "Drug or week", "trtdrug": "Drug or week"})
    assert list(table.frame.loc["coefficients"].index) == ["Drug or week"]
    assert all(table.frame.loc[("coefficients", "Drug or week")] != "")
    with pytest.raises(OptionError, match="two terms of one fit"):
        cg.table(two, labels={"trtdrug": "drug", "trtdrug+": "drug"})
    none = cg.table(two, spread="none", statistics=["bic", "icc"], notes=["Ours."])
    assert list(none.frame.loc["fit"].index) == ["BIC"]
    assert none.notes == ("Ours.", "Success: y = 'y'.")
    assert "\n" not in none.frame.loc[("coefficients", "week"), "(2)"]


def test_a_covariate_may_be_called_sigma() -> None:
    rng = np.random.default_rng(3)
    ids = np.arange(400) // 4
    x = rng.normal(size=400)
    data = {"y": rng.random(400) < 1 / (1 + np.exp(-x - rng.normal(size=100)[ids])), "sigma": x, "id": ids}
    fit = cg.random_effects("y ~ sigma", data, cluster="id")
    table = cg.table(fit)
    assert cell(table, "coefficients", "sigma", "(1)")[0] == f"{fit.params['sigma']:.3f}"
    assert cell(table, "random intercept", "sigma", "(1)")[0] == f"{fit.sigma:.3f}"


def test_text_is_aligned(table: PublicationTable) -> None:
    lines = str(table).splitlines()
    assert lines[0] == "5% & more"
    rules = [line for line in lines if set(line) == {"-"}]
    assert len(rules) == 5
    assert len(set(map(len, rules))) == 1
    inside = lines[2 : len(lines) - len(table.notes)]
    assert max(map(len, inside)) == len(rules[0])


def test_markdown_is_read_back(table: PublicationTable) -> None:
    import markdown

    page = markdown.markdown(table.to_markdown(), extensions=["tables"])
    rows = [[each.text_content for each in row] for row in _rows(page)]
    assert len(rows) == len(table.frame) + 1
    assert rows[0][1:] == list(table.frame.columns)
    assert [row[0] for row in rows[1:]] == list(table.frame.index.get_level_values("row"))
    assert "<li>" not in page


class _Cell:
    def __init__(self, element: Any) -> None:
        self.text_content = "".join(element.itertext())


def _rows(page: str) -> list[list[_Cell]]:
    tree = html5lib.parse(page, namespaceHTMLElements=False)
    return [[_Cell(each) for each in row if each.tag in ("td", "th")] for row in tree.iter("tr")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spread": "se"}, "'std_error', 'interval', 'none'"),
        ({"digits": 2.5}, "0 to 10"),
        ({"statistics": ["AIC"]}, "'aic'"),
        ({"terms": ["wek"]}, "coefficients of the fits"),
        ({"cov": "hc3"}, "'observed', 'robust'"),
        ({"level": 95}, "level"),
    ],
)
def test_refusals(fits: dict[str, Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=re.escape(words)):
        cg.table(fits, **options)


def test_what_is_no_table(fits: dict[str, Any], tmp_path: Path) -> None:
    probit = cg.pooled(FORMULA, cg.datasets.load("bacteria"), link="probit")
    with pytest.raises(OptionError, match="probit"):
        cg.table([fits["Pooled"], probit], exponentiate=True)
    with pytest.raises(OptionError, match="int"):
        cg.table([fits["Pooled"], 3])  # type: ignore[list-item]
    with pytest.raises(OptionError, match="no fits"):
        cg.table([])
    with pytest.raises(OptionError, match=r"\.docx"):
        cg.table(probit).save(tmp_path / "table.xlsx")
    assert list(tmp_path.iterdir()) == []


def test_without_maketables(table: PublicationTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "maketables", None)
    for work in (table.to_html, table.to_latex, lambda: table.save(tmp_path / "table.docx")):
        with pytest.raises(MissingPackageError, match=r"clusterglm\[table\]"):
            work()
    assert table._repr_html_() is None
    assert list(tmp_path.iterdir()) == []
    assert table.save(tmp_path / "table.md").read_text() == table.to_markdown() + "\n"
    assert table.save(tmp_path / "table.txt").read_text() == f"{table}\n"


# With maketables ------------------------------------------------------------------------------------------------------


@needs_maketables
def test_html(table: PublicationTable, tmp_path: Path) -> None:
    page = table.save(tmp_path / "table.html").read_text(encoding="utf-8")
    html5lib.HTMLParser(strict=True).parse(page)
    rows = [[each.text_content.strip() for each in row] for row in _rows(page)]
    shown = {row[0]: row[1:] for row in rows if len(row) == 6}
    assert [name for name in ("Pooled", "Fixed & co", "Cond_1", "Random 100%", "<NP>") if name in shown[""]]
    for (_, label), *cells in table.frame.itertuples():
        assert shown[label] == [each.replace("\n", "") for each in cells]
    assert "<table" in (table._repr_html_() or "")


@needs_maketables
def test_latex(table: PublicationTable) -> None:
    text = table.to_latex()
    opened = re.findall(r"\\begin\{(\w+)\}", text)
    assert sorted(opened) == sorted(re.findall(r"\\end\{(\w+)\}", text))
    bare = re.sub(r"\\\\|\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"(?<!\\)%", text)
    assert not re.search(r"(?<!\\)_", text)
    assert not re.search(r"\\\\\[", text.replace(r"\\[0", ""))  # a bracket there would be a length
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == len(table.frame)
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {5}
    assert r"Random 100\%" in text
    assert r"Cond\_1" in text
    assert "$-$" in text


@needs_maketables
def test_word(table: PublicationTable, tmp_path: Path) -> None:
    file = table.save(tmp_path / "table.docx")
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        tree = ET.fromstring(archive.read("word/document.xml"))
    space = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
    rows = [
        ["".join(part.text or "" for part in each.iter(f"{space}t")) for each in row.iter(f"{space}tc")]
        for row in tree.iter(f"{space}tr")
    ]
    shown = {row[0]: row[1:] for row in rows}
    for (_, label), *cells in table.frame.itertuples():
        assert shown[label] == [each.replace("\n", "") for each in cells]


@needs_maketables
def test_results_in_an_etable_of_their_users(fits: dict[str, Any]) -> None:
    from maketables import ETable

    frame = ETable([fit.for_maketables() for fit in fits.values()], coef_fmt="b:.4f (se:.4f)").df
    random = fits["Random 100%"]
    assert frame.loc[("coef", "sigma")].iloc[3].split() == [f"{random.sigma:.4f}", f"({random.sigma_se:.4f})"]
    for column, fit in enumerate(fits.values()):
        for term in fit.params.index:
            shown = frame.loc[("coef", term)].iloc[column]
            assert shown.split() == [f"{fit.params[term]:.4f}", f"({fit.bse[term]:.4f})"]
        assert float(frame.loc[("stats", "Log-likelihood")].iloc[column]) == pytest.approx(fit.loglik, abs=1e-3)
    assert list(frame.loc[("fe", "ID")]) == ["-", "x", "x", "-", "-"]
    ratios = ETable([random.for_maketables(exponentiate=True)], coef_fmt="b:.4f").df
    assert ratios.loc[("coef", "trtdrug")].iloc[0] == f"{np.exp(random.params['trtdrug']):.4f}"
    assert ratios.loc[("coef", "sigma")].iloc[0] == f"{random.sigma:.4f}"
