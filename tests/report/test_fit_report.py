"""The report of a fit: what it says, that it is valid HTML, and how a browser shows it."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import MissingPackageError, OptionError
from clusterglm.report.page import Part, Words, section, with_signs
from clusterglm.report.sections import SECTIONS
from clusterglm.results.topics import caveats as caveats_module
from clusterglm.results.topics.caveats import caveats

mpl.use("Agg")
QUICK: dict[str, Any] = {"n_boot": 19, "n_sim": 39, "distributions": ["cauchy"]}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def bacteria() -> pd.DataFrame:
    return cg.datasets.load("bacteria")


@pytest.fixture(scope="session")
def fits(bacteria: pd.DataFrame) -> dict[str, Any]:
    infert, epil = cg.datasets.load("infert"), cg.datasets.load("epil")
    x = np.tile([0.3, -0.2, 0.9, -1.1, 0.1, 0.4], 20) + np.repeat(np.linspace(-1.0, 1.0, 20), 6)
    even = pd.DataFrame({"y": np.tile([0, 1], 60), "x": x, "id": np.repeat(np.arange(20), 6)})
    return {
        "random": cg.random_effects("y ~ trt + week", bacteria, cluster="ID"),
        "laplace": cg.random_effects("y ~ trt + I(week > 2)", bacteria, cluster="ID", quadrature="laplace"),
        "at_zero": cg.random_effects("y ~ x", even, cluster="id"),
        "held": cg.random_effects("y ~ week", bacteria, cluster="ID", sigma=1.0, fix_sigma=True),
        "counts": cg.random_effects("y ~ lbase + trt", epil, cluster="subject", family="poisson"),
        "slopes": cg.random_effects("y ~ week + (week | ID)", bacteria),
        "any": cg.nonparametric("y ~ trt + week", bacteria, cluster="ID"),
        "fixed": cg.fixed_effects("y ~ week", bacteria, cluster="ID"),
        "conditional": cg.conditional("case ~ spontaneous + induced", infert, cluster="stratum"),
        "pooled": cg.pooled("y ~ trt + week", bacteria, cluster="ID"),
        "alone": cg.pooled("y ~ 1", bacteria),
    }


KINDS = ("random", "laplace", "at_zero", "held", "counts", "slopes", "any", "fixed", "conditional", "pooled", "alone")


@pytest.fixture(scope="session")
def pages(fits: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    more = {"counts": {"n_sim": 250}}
    return {name: fits[name].report(folder / f"{name}.html", **(QUICK | more.get(name, {}))) for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_valid_html(pages: dict[str, Path], name: str) -> None:
    """Parses without an error, ids are unique, links lead somewhere, nothing is fetched from elsewhere."""
    import html5lib

    text = pages[name].read_text(encoding="utf-8")
    parser = html5lib.HTMLParser(strict=True)
    parser.parse(text)
    assert parser.errors == []
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    links = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert links <= set(ids)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', text)
    assert "<script" not in text
    assert text.count("<svg") == text.count("<figure>")
    assert text.count("<svg") >= (0 if name == "alone" else 1)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_failed_but_what_must(pages: dict[str, Path], name: str) -> None:
    lost = re.findall(r"<strong>Missing.</strong> ([^:]*):", pages[name].read_text(encoding="utf-8"))
    # without data= nobody knows the weeks behind I(week > 2); and a Cauchy intercept is too much for Laplace
    needs_more = ["cauchy could not be fitted", "Predictions along trt", "Predictions along week"]
    assert lost == (needs_more if name == "laplace" else [])


def test_colours_follow_the_theme(pages: dict[str, Path]) -> None:
    """The pictures hold variables alone, and both themes set them."""
    text = pages["random"].read_text(encoding="utf-8")
    assert not re.search(r'style="[^"]*#[0-9a-fA-F]{6}', text)
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", text))
    light, dark = (set(re.findall(r"(--[a-z0-9-]+):", part)) for part in re.findall(r":root \{([^}]*)\}", text))
    assert used <= light == dark


def test_says_what_applies(fits: dict[str, Any], pages: dict[str, Path]) -> None:
    titles = {name: {caveat.title for caveat in caveats(fit)} for name, fit in fits.items()}
    assert titles["random"] == set()
    assert "Laplace approximation" in titles["laplace"]
    assert {"On the boundary", "Few clusters"} <= titles["at_zero"]
    assert "sigma was held fixed" in titles["held"]
    assert "Clusters without a say" in titles["fixed"]
    assert "Clusters are not in the model" in titles["pooled"]
    assert titles["alone"] == set()
    text = pages["at_zero"].read_text(encoding="utf-8")
    assert "That is not proof that clusters do not differ" in text
    assert "Nothing that this report looks at speaks against the fit" in pages["random"].read_text(encoding="utf-8")
    assert "look</td>" in pages["counts"].read_text(encoding="utf-8")  # dispersion


def test_every_part_that_a_result_names_is_known(fits: dict[str, Any]) -> None:
    known = {name for _, _, makers in SECTIONS for name in makers}
    named = {name for fit in fits.values() for name in fit._report_parts()}
    assert named == known


def _table(text: str, caption: str) -> dict[str, list[str]]:
    """The first table under a caption: cells of each row by the row's name."""
    shown = text[text.index(f'<p class="caption">{caption}') :]
    rows = re.findall(r"<tr>(.*?)</tr>", shown[: shown.index("</table>")], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return {row[0]: row[1:] for row in cells if row and row[0]}


@pytest.mark.parametrize("name", KINDS)
def test_columns_have_one_number_of_decimals(pages: dict[str, Path], name: str) -> None:
    text = pages[name].read_text(encoding="utf-8")
    found = re.findall(r'<table class="numbers">(.*?)</table>', text, re.DOTALL)
    assert found
    for table in found:
        headings = re.findall(r"<th scope=\"col\">(.*?)</th>", table)
        rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)[1:]]
        for heading, *column in zip(headings, *rows, strict=True):
            plain = [cell for cell in column if re.fullmatch(r"−?\d+\.\d+", cell)]
            assert len({len(cell.partition(".")[2]) for cell in plain}) <= 1, (heading, column)


def test_the_report_has_what_people_report(fits: dict[str, Any], pages: dict[str, Path]) -> None:
    text = pages["random"].read_text(encoding="utf-8")
    fit = fits["random"]
    effects = fit.average_effects().set_index("contrast")
    shown = _table(text, "Average effects on the probability")
    assert list(shown) == ["trt: drug - placebo", "trt: drug+ - placebo", "week: derivative"]
    for name, cells in shown.items():
        given = effects.loc[name.partition(": ")[2], ["estimate", "std_error", "conf_low", "conf_high"]]
        numbers = np.array([float(cell.replace("−", "-")) for cell in cells[:4]])
        assert np.all(np.abs(numbers - given.to_numpy(float)) < 5.1e-6)
    median = fit.median_odds_ratio()
    assert f"{median.estimate:.5g} (Std. Error {median.std_error:.4g}" in _table(text, "How much clusters differ")[
        "Median odds ratio"
    ][0]  # fmt: skip
    assert re.search(r"Hausman test of random intercepts against conditional likelihood: chi2 = 2\.198 on 1 df", text)
    assert "compared with the reference level trt = placebo." in text
    assert "Wald tests of whole terms, each given all the others" in text
    counts = pages["counts"].read_text(encoding="utf-8")
    assert "Average effects on the mean count" in counts
    assert "Median rate ratio" in counts
    steps = pages["laplace"].read_text(encoding="utf-8")
    assert re.search(r"No average effects: .*week", steps)
    fixed = pages["fixed"].read_text(encoding="utf-8")
    assert "at the clusters&#39; intercepts" in fixed
    assert not [name for name in ("at_zero", "held", "pooled") if "NaN" in pages[name].read_text(encoding="utf-8")]


def test_a_hausman_test_that_does_not_exist_is_no_failure(bacteria: pd.DataFrame, tmp_path: Path) -> None:
    fit = cg.random_effects("y ~ trt", bacteria, cluster="ID")  # which does not vary within children
    text = fit.report(tmp_path / "x.html", n_boot=0, n_sim=0, distributions=()).read_text(encoding="utf-8")
    assert "There is no Hausman test: " in text
    assert "Missing." not in text


def test_coefficients_in_words(fits: dict[str, Any], bacteria: pd.DataFrame, tmp_path: Path) -> None:
    data = bacteria.assign(Clinic=np.where(bacteria["hilo"] == "hi", "St. Mary's", "General"))
    fit = cg.random_effects("y ~ 0 + Clinic", data, cluster="ID")
    text = fit.report(tmp_path / "x.html", n_boot=0, n_sim=0, distributions=["cauchy"]).read_text(encoding="utf-8")
    assert re.search(r"moves most between these distributions is that of Clinic = (General|St\. Mary&#39;s), by", text)
    assert "ClinicSt. Mary's, by" not in text
    chosen = cg.select_distribution("y ~ 0 + Clinic", data, cluster="ID", distributions=["gaussian", "cauchy"])
    assert re.search(r"moves most is that of Clinic = (General|St\. Mary's), by", str(chosen))


def test_names_break_between_the_parts_of_an_interaction(bacteria: pd.DataFrame, tmp_path: Path) -> None:
    data = bacteria.assign(trt=bacteria["trt"].astype(str).replace("drug", "<b>"))
    text = cg.pooled("y ~ trt * week", data).report(tmp_path / "x.html", n_sim=0).read_text(encoding="utf-8")
    assert '<th scope="row">trtdrug+:<wbr>week</th>' in text
    assert "<b>" not in text
    assert "trt = &lt;b&gt;" in text


def test_the_method_has_the_arguments_of_the_report() -> None:
    import inspect

    from clusterglm.report import report

    inner, method = inspect.signature(report).parameters, inspect.signature(cg.pooled("y ~ 1", {"y": [0, 1]}).report)
    assert list(inner)[1:] == list(method.parameters)
    assert [each.default for each in inner.values()][1:] == [each.default for each in method.parameters.values()]


def test_captions_stand_outside_of_what_scrolls(pages: dict[str, Path]) -> None:
    text = pages["random"].read_text(encoding="utf-8")
    assert "<caption" not in text
    captions = re.findall(r'<p class="caption">(.*?)</p>\s*<div class="scroll"', text, re.DOTALL)
    assert len(captions) == text.count('<p class="caption">') >= 6
    assert "(scrolls sideways →)" in next(each for each in captions if each.startswith("Coefficients with Wald"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-98.7 (5 parameters)   AIC 2e-07", "−98.7 (5 parameters); AIC 2e−07"),
        ("on 2026-11-29, phase-2, Kolmogorov-Smirnov", "on 2026-11-29, phase-2, Kolmogorov-Smirnov"),
        ("(cluster X14 alone by -1e-09)", "(cluster X14 alone by −1e−09)"),
    ],
)
def test_minus_signs_do_not_break(text: str, shown: str) -> None:
    assert with_signs(text) == shown


def test_more_caveats(bacteria: pd.DataFrame) -> None:
    holes = bacteria.assign(week=bacteria["week"].where(bacteria["week"] < 11).astype(float))
    few = cg.random_effects("y ~ week", holes, cluster="ID", control=cg.Control(max_iter=100))
    assert {caveat.title for caveat in caveats(few)} == {"Rows left out"}
    wanted = cg.random_effects("y ~ week", bacteria, cluster="ID", subset="week > 0")
    assert "Rows left out" not in {caveat.title for caveat in caveats(wanted)}  # rows outside subset= are no loss
    heavy = cg.random_effects("y ~ week", bacteria, cluster="ID", distribution="cauchy")
    assert {caveat.title for caveat in caveats(heavy)} == {"Heavy tails"}
    small = bacteria[bacteria["ID"].isin(sorted(bacteria["ID"].unique())[:12])]
    titles = {caveat.title for caveat in caveats(cg.random_effects("y ~ trt + week", small, cluster="ID"))}
    assert {"Few clusters", "Few events"} <= titles
    with pytest.warns(cg.errors.ConvergenceWarning):
        early = cg.pooled("y ~ week", bacteria, control=cg.Control(max_iter=1))
    assert caveats(early)[0].title == "Not converged"
    assert caveats(early)[0].serious


def test_robust_caveat(monkeypatch: pytest.MonkeyPatch, fits: dict[str, Any]) -> None:
    monkeypatch.setattr(caveats_module, "_APART", 1.001)
    found = {caveat.title: caveat.words for caveat in caveats(fits["random"])}
    assert "times that of the model" in found["Robust standard errors differ"]


def test_failures_and_warnings_are_told() -> None:
    import warnings

    def fails() -> list[Words]:
        raise OptionError("what was got", "what was needed", "what to try")

    def warns() -> list[Words]:
        warnings.warn("mind this", cg.errors.AccuracyWarning, stacklevel=1)
        return [Words("done")]

    calls: list[int] = []
    made = section("key", "Title", [Part("First", fails), Part("Second", warns)], lambda: calls.append(1))
    assert [block.tone for block in made.blocks if isinstance(block, Words)] == ["problem", "", "note"]
    assert "OptionError: what was got (needed: what was needed)" in made.blocks[0].text  # type: ignore[union-attr]
    assert made.failed == ("First",)
    assert len(calls) == 2


def test_what_a_page_says_by_itself_is_not_a_warning_too() -> None:
    import warnings

    def says() -> list[Words]:
        warnings.warn("integrals are coarse", cg.errors.AccuracyWarning, stacklevel=1)
        return [Words("integrals are coarse")]

    made = section("key", "Title", [Part("Integration", says)], lambda: None)
    assert made.blocks == (Words("integrals are coarse"),)


def test_a_failed_part_is_on_the_page(fits: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> None:
        raise ZeroDivisionError("on <purpose>")

    monkeypatch.setattr("clusterglm.report.sections.qq", broken)
    text = fits["pooled"].report(tmp_path / "x.html", **QUICK).read_text(encoding="utf-8")
    assert "Residuals: could not be made. ZeroDivisionError: on &lt;purpose&gt;" in text
    assert "Parts are missing" in text
    assert "Observed against predicted" in text


def test_alternatives_are_those_of_select_distribution(
    fits: dict[str, Any], pages: dict[str, Path], bacteria: pd.DataFrame
) -> None:
    """The table of the page has the figures of the verb; a candidate that is the fit's own is not fitted twice."""
    table = cg.select_distribution("y ~ trt + week", bacteria, cluster="ID", distributions=["gaussian", "cauchy"]).table
    text = pages["random"].read_text(encoding="utf-8")
    shown = text[text.index("The same model with other distributions") :]
    shown = shown[: shown.index("</table>")]
    rows = re.findall(r"<tr>(.*?)</tr>", shown, re.DOTALL)
    cells = {row[0]: row[1:] for row in (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", each, re.DOTALL) for each in rows)}
    for name in ("gaussian", "cauchy"):
        found = [float(cell.replace("−", "-")) for cell in cells[name][:5]]
        wanted = table.loc[name, ["loglik", "aic", "aic_weight", "chi_square", "sigma"]].astype(float)
        assert np.all(np.abs(found - wanted) < [0.0051, 0.0051, 0.00051, 0.00051, 0.00051])  # as rounded
    assert len(cells) == 3  # with the headings


def test_options(fits: dict[str, Any], bacteria: pd.DataFrame, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    file = fits["laplace"].report(
        tmp_path / "small.html",
        data=bacteria,
        title="A <title>",
        n_boot=0,
        n_sim=0,
        distributions=[],
        variables=["week"],
        progress=lambda done, wanted: steps.append((done, wanted)),
    )
    text = file.read_text(encoding="utf-8")
    assert "<h1>A &lt;title&gt;</h1>" in text
    assert "Distribution of the random intercept" not in text
    assert "left out (n_boot=0)" in text
    assert "left out (n_sim=0)" in text
    assert "Missing." not in text
    assert steps == [(k + 1, len(steps)) for k in range(len(steps))]
    for options in ({"n_boot": -1}, {"n_sim": 1.5}, {"variables": ["wek"]}):
        with pytest.raises(OptionError):
            fits["laplace"].report(tmp_path / "x.html", **options)
    with pytest.raises(OptionError, match="folder"):
        fits["laplace"].report(tmp_path / "nowhere" / "x.html")


def test_same_seed_same_page(fits: dict[str, Any], tmp_path: Path) -> None:
    first, second = (
        re.sub(r"<footer>.*</footer>", "", fits["pooled"].report(tmp_path / name, **QUICK).read_text(), flags=re.DOTALL)
        for name in ("a.html", "b.html")
    )
    assert first == second


def test_replicates_follow_from_the_data_and_not_from_the_clock(
    fits: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0.0, 1e4)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))  # a machine on which everything takes hours
    options: dict[str, Any] = {"n_sim": 0, "distributions": (), "variables": ()}
    text = fits["laplace"].report(tmp_path / "a.html", **options).read_text()
    assert "499 replicates" in re.sub(r"\s+", " ", text)
    assert "interrupted" not in text


def test_without_jinja(fits: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingPackageError, match=r"clusterglm\[report\]"):
        fits["pooled"].report(tmp_path / "x.html")


def test_command_line(tmp_path: Path) -> None:
    file = tmp_path / "out.html"
    command = [sys.executable, "-m", "clusterglm.cli", "fit", "bacteria", "y ~ I(week > 2)", "--cluster", "ID"]
    ran = subprocess.run([*command, "--model", "pooled", "--report", str(file)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    text = file.read_text(encoding="utf-8")
    assert "Predictions along week" in text
    assert "Missing." not in text


# In a browser ---------------------------------------------------------------------------------------------------------

PROBE = """<!DOCTYPE html><title>probe</title><body><pre id="out"></pre>
<iframe style="width:WIDTHpx;height:800px;border:0" srcdoc="PAGE"></iframe>
<script>addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const pictures = [...page.querySelectorAll("figure svg")], boxes = pictures.map(s => s.getBoundingClientRect());
  document.getElementById("out").textContent = JSON.stringify({
    scroll: root.scrollWidth, inner: root.clientWidth,
    empty: pictures.filter(s => s.querySelectorAll("path").length < 5).length,
    pictures: boxes.filter(b => b.width > 200 && b.height > 80 && b.right <= WIDTH + 1).length,
    cut: [...page.querySelectorAll(".caption, figcaption, h1, h2, p")].filter(
      c => c.scrollWidth > c.clientWidth + 1 || c.getBoundingClientRect().right > WIDTH + 1).length,
    unmarked: [...page.querySelectorAll(".scroll")].filter(s => s.scrollWidth > s.clientWidth + 1
      && !(s.previousElementSibling?.querySelector(".more")?.getClientRects().length)).length,
    text: Math.min(...[...page.querySelectorAll("svg text")].map(t => t.getBoundingClientRect().height))});
});</script>"""


@pytest.mark.parametrize("zeros", ["zero_inflation", "hurdle"])
def test_zeros_beside_factors_that_cross(tmp_path: Path, zeros: str) -> None:
    salamanders = cg.datasets.load("salamanders")
    model = {"family": "poisson", zeros: "~ mined", "quadrature": "laplace"}
    fit = cg.random_effects("count ~ mined + (1 | site) + (1 | spp)", salamanders, **model)
    text = fit.report(tmp_path / "fit.html", data=salamanders, n_boot=0, n_sim=0).read_text(encoding="utf-8")
    assert "could not be made" not in text
    assert "Exponentiated: rate ratios and odds ratios" in text
    assert "Few clusters" in text
    assert "sandwich" not in text  # there is none


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(
    ("name", "width"), [("random", 400), ("random", 360), ("counts", 400), ("fixed", 360), ("random", 1300)]
)
def test_in_a_browser(pages: dict[str, Path], tmp_path: Path, name: str, width: int) -> None:
    """On narrow and wide screens: no error in the console, all pictures drawn, no scrolling sideways."""
    import html
    import json

    text = pages[name].read_text(encoding="utf-8")
    probe = PROBE.replace("WIDTH", str(width)).replace("PAGE", html.escape(text))
    (tmp_path / "probe.html").write_text(probe, encoding="utf-8")
    ran = subprocess.run(
        [
            str(BROWSER),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1400,900",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr",
            "--dump-dom",
            (tmp_path / "probe.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "CONSOLE" not in ran.stderr, [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    answer = re.search(r'<pre id="out">([^<]+)</pre>', ran.stdout)
    assert answer is not None, ran.stderr[-2000:]
    seen = json.loads(html.unescape(answer[1]))
    assert seen["scroll"] <= seen["inner"] <= width
    assert seen["pictures"] == text.count("<figure>") > 3
    assert seen["empty"] == 0
    assert seen["cut"] == 0
    assert seen["unmarked"] == 0  # every table that scrolls says so
    assert seen["text"] > 5.0


def test_pages_of_other_responses_have_what_there_is(tmp_path: Path) -> None:
    """Nothing is promised that is refused, no section is empty, and ratios have their plural."""
    wine, epil = cg.datasets.load("wine"), cg.datasets.load("epil")
    catheter = cg.datasets.load("catheter")
    crossed = "warm ~ contact + (1 | judge) + (1 | bottle)"
    warm = wine.assign(warm=(wine["rating"].astype(int) > 3).astype(int))
    made = {
        "odds ratios of a higher category": (
            cg.random_effects("rating ~ temp + contact", wine, cluster="judge", family="ordinal"), wine),
        "odds ratios": (cg.random_effects(crossed, warm, quadrature="laplace"), warm),
        "rate ratios": (
            cg.random_effects("y ~ trt + V4", epil, cluster="subject", family="negative_binomial"), epil),
        "ratios of means": (cg.random_effects("time ~ sex", catheter, cluster="patient", family="gamma"), catheter),
        "hazard ratios": (
            cg.random_effects("Surv(time, infected) ~ sex", catheter, cluster="patient", family="weibull"), catheter),
        "": (cg.random_effects("log1p(y) ~ trt + V4 + (1 | subject)", epil, family="gaussian"), epil),
    }  # fmt: skip
    for name, (fit, data) in made.items():
        path = fit.report(tmp_path / "page.html", data=data, n_boot=0, n_sim=20)
        page = path.read_text(encoding="utf-8")
        assert "Missing." not in page, name
        assert name == "" or f"Exponentiated: {name}<" in page, name
        assert "Predictions along" in page, name
        assert "intercepts in ascending order" in page, name
        empty = re.findall(r'<section aria-labelledby="(\w+)">\s*<h2[^>]*>[^<]*</h2>\s*</section>', page)
        assert empty == [], name


def test_a_note_that_is_a_caveat_stands_once(bacteria: pd.DataFrame, tmp_path: Path) -> None:
    fit = cg.random_effects("y ~ trt + week + (1 | ID)", bacteria, quadrature="pql")
    page = fit.report(tmp_path / "page.html", data=bacteria, n_boot=0, n_sim=0).read_text(encoding="utf-8")
    assert page.count("penalised quasi-likelihood puts") == 1


def test_distributions_of_responses_without_known_sums(tmp_path: Path) -> None:
    epil = cg.datasets.load("epil")
    fit = cg.random_effects("y ~ V4", epil[epil["y"] > 0], cluster="subject", family="truncated_poisson")
    path = fit.report(tmp_path / "page.html", data=epil, n_boot=0, n_sim=0, distributions=["gaussian", "logistic"])
    page = path.read_text(encoding="utf-8")
    assert "Missing." not in page
    assert "AIC prefers" in page
    assert "chi-squared criterion" not in page
