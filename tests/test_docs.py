"""The documentation: its code runs and prints what the pages show, and its reference is complete."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

import clusterglm as cg

ROOT = Path(__file__).parents[1]


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


blocks = _tool("blocks")
commands = _tool("commands")
gallery = _tool("gallery")
reference = _tool("reference")
shell = _tool("shell")


@pytest.mark.parametrize("page", [ROOT / "README.md", *blocks.pages()], ids=lambda page: str(page.relative_to(ROOT)))
def test_code_prints_what_the_page_shows(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert not blocks.differences(page)


def test_every_command_of_the_shell_tutorial_is_run():
    page = "tutorials/shell.md"
    code = "".join(block.code for block in blocks.blocks((blocks.DOCS / page).read_text()))
    called = [match[2] for match in re.finditer(r"""shell\(page, (['"])(.*)\1\)""", code)]
    lines = shell.lines(page)
    assert len(lines) > 10
    assert [line for line in lines if not any(line.startswith(words) for words in called)] == []


def test_commands_of_the_readme_run(monkeypatch, tmp_path):
    """As they stand, one after the other; what installs is tested elsewhere."""
    from typer.testing import CliRunner

    from clusterglm.cli import app

    monkeypatch.chdir(tmp_path)
    lines = [line for line in shell.lines("../README.md") if line.startswith("clusterglm ")]
    assert lines
    for line in lines:
        ran = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
        assert ran.exit_code == 0, f"{line}\n{ran.output}"
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"bacteria.html"}


def test_the_map_of_the_house_names_what_is_there():
    """Every file and folder that CONTRIBUTING speaks of, but for those that it tells how to add (NAME)."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    names = set(re.findall(r"`([\w./-]+(?:\.(?:py|hpp|cpp|md|yml|txt)|/))`", text))
    files = [f"/{path.relative_to(ROOT)}" for path in ROOT.rglob("*") if not {".venv", ".git"} & set(path.parts)]
    places = files + [f"{path}/" for path in files]
    wanted = [name for name in sorted(names) if "NAME" not in name]
    assert len(wanted) > 200
    assert [name for name in wanted if not any(place.endswith(f"/{name}") for place in places)] == []


def test_sources_have_what_the_pages_cite():
    """Names and years in brackets, as in (Self and Liang 1987; Mundlak 1978) and Dhaene and Jochmans (2015)."""
    entries = [re.sub(r"\s+", " ", part) for part in (blocks.DOCS / "sources.md").read_text().split("\n- ")[1:]]
    missing = []
    for page in blocks.pages():
        text = re.sub(r"```.*?```|<!--.*?-->", "", page.read_text(), flags=re.DOTALL)
        for inside in re.findall(r"\(([^()`]*\b(?:18|19|20)\d\d[^()`]*)\)", text):
            for name, year in re.findall(r"([A-Z][\w-]+)(?: and others)?,? ((?:18|19|20)\d\d)\b", inside):
                known = any(name in entry and f"({year})" in entry for entry in entries)
                missing += [] if known else [f"{page.name}: {name} {year}"]
        for name, year in re.findall(r"([A-Z][\w-]+)(?: and others)? \(((?:18|19|20)\d\d)\)", text):
            known = any(name in entry and f"({year})" in entry for entry in entries)
            missing += [] if known or page.name == "sources.md" else [f"{page.name}: {name} ({year})"]
    assert missing == []


def test_every_page_is_in_the_navigation():
    written = (ROOT / "mkdocs.yml").read_text()
    missing = [str(page.relative_to(blocks.DOCS)) for page in blocks.pages()]
    assert [name for name in missing if name not in written] == []


def test_the_gallery_has_every_plot():
    """Each kind on the page, with its picture right after a block that calls it."""
    page = (blocks.DOCS / "how-to" / "plots.md").read_text()
    drawn = {name: block.code for block, name in gallery.shown(page) if name is not None}
    assert set(drawn) == {f"plot-{name}" for name in cg.plot.__all__ if name != "Plot"}
    assert [name for name, code in drawn.items() if f"plot.{name.removeprefix('plot-')}(" not in code] == []


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a 1.30 b\n", "a  1.304 b\n", True),
        ("a 1.30 b\n", "a 1.32 b\n", False),
        ("p = 3.3e-07\n", "p = 3.30e-07\n", True),
        ("p = 3.3e-07\n", "p = 4.30e-07\n", False),
        ("gradient 2.5e-11\n", "gradient 9.1e-14\n", True),
        ("50 rows\n", "51 rows\n", False),
        ("a\n...\nb\n", "a\nx\ny\nb\n", True),
        ("a\n...\nb\n", "a\nx\ny\n", False),
        ("a\n", "a\nb\n", False),
        ("chi2 = 1.5\n", "chi3 = 1.5\n", False),
    ],
)
def test_comparison_of_outputs(shown, printed, same):
    assert blocks.agrees(shown, printed) == same


def test_blocks_are_found():
    page = "x\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n<!-- run\ny = 2\n-->\n\n```python\nz = 3\n```\ntext\n"
    found = [(block.code, block.line, block.text) for block in blocks.blocks(page)]
    assert found == [("print(1)\n", 3, "1\n"), ("y = 2\n", 11, None), ("z = 3\n", 15, None)]


def test_reference_has_every_public_name():
    described = {entry.public for entry in reference.entries()}
    assert {f"cg.{name}" for name in cg.__all__ if name != "__version__"} <= described
    assert {"clusterglm.sklearn", "clusterglm.study"} <= described
    modules = [entry for entry in reference.entries() if entry.group == "module"]
    assert {entry.name for entry in modules} == {"datasets", "engine", "errors", "plot", "sklearn", "study"}
    assert all(reference.members(_object(entry.path)) for entry in modules)


def _object(path: str) -> object:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError:  # a module itself
        return importlib.import_module(path)


def test_every_public_method_is_in_the_reference():
    """The pages show what has a docstring, inherited members included: so everything must have one."""
    silent = []
    for entry in reference.entries():
        found = _object(entry.path)
        owners = [found] if inspect.isclass(found) else []
        if inspect.ismodule(found):
            owners = [getattr(found, name) for name in reference.members(found)]
        for owner in owners:
            for name, value in inspect.getmembers(owner):
                part = getattr(value, "fget", None) or getattr(value, "func", value)
                ours = inspect.isfunction(part) and part.__module__.startswith("clusterglm")
                if ours and not name.startswith("_") and not inspect.getdoc(part):
                    inherited = any(inspect.getdoc(getattr(base, name, None)) for base in owner.__mro__[1:])
                    silent += [] if inherited else [f"{owner.__name__}.{name}"]
    assert silent == []


WITH_EXAMPLES = [entry for entry in reference.entries() if entry.group in ("function", "class")]


@pytest.mark.parametrize("entry", WITH_EXAMPLES, ids=lambda entry: entry.name)
def test_functions_and_arguments_have_an_example(entry):
    assert ">>>" in (inspect.getdoc(_object(entry.path)) or "")


def test_examples_run(monkeypatch, tmp_path):
    """All of the reference: functions, classes and their methods, wherever they are inherited from."""
    monkeypatch.chdir(tmp_path)
    finder, runner = doctest.DocTestFinder(recurse=True), doctest.DocTestRunner()
    found = {}
    for entry in reference.entries():
        described = _object(entry.path)
        for owner in described.__mro__ if inspect.isclass(described) else [described]:
            home = owner.__name__ if inspect.ismodule(owner) else f"{owner.__module__}.{owner.__name__}"
            if home.startswith("clusterglm"):
                found |= {test.name: test for test in finder.find(owner, home)}
    for test in found.values():
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
    assert runner.tries > 60


def test_every_plot_of_a_result_is_a_function_of_the_reference():
    from clusterglm.plot.accessor import Plots

    methods = {name for name in vars(Plots) if not name.startswith("_")}
    of_others = {"contrasts", "power", "predictive_check", "trace"}  # of adjusted means, posteriors, simulations
    assert methods == set(reference.members(cg.plot)) - {"Plot"} - of_others


def test_the_reference_is_free_of_what_passes_between_rooms():
    described = {entry.name for entry in reference.entries()}
    assert described.isdisjoint({"Design", "ModelData", "ParsedFormula", "Figure", "Panel", "Facts"})


def test_every_command_is_on_the_page_of_the_command_line():
    page = commands.page()
    for name in commands.names():
        assert f"\n## clusterglm {' '.join(name)}\n" in page
        assert f"Usage: clusterglm {' '.join(name)} " in page


def test_reference_has_every_kind_of_result():
    described = {entry.name for entry in reference.entries()}
    assert {
        "RandomEffectsResult",
        "MixedEffectsResult",
        "FixedEffectsResult",
        "ConditionalResult",
        "PooledResult",
        "DistributionSelection",
        "Comparison",
        "SimulatedTest",
        "ScoreTest",
        "ClusteringTest",
        "HausmanTest",
        "Diagnosis",
        "Influence",
        "Calibration",
        "ProfileCurve",
        "BootstrapEstimates",
        "IntegrationReport",
        "Optimization",
        "ScalarEstimate",
        "Distribution",
        "DispersionTest",  # of methods that only some kinds of results have
        "StudyDesign",
    } <= described


def test_each_class_has_one_place_and_each_page_a_name_of_its_own():
    """Also on file systems that do not tell capitals apart, where one page would take another's place."""
    pages = [entry.page.lower() for entry in reference.entries()]
    assert len(set(pages)) == len(pages)
    modules = [_object(entry.path) for entry in reference.entries() if entry.group == "module"]
    there = {reference.home(module, name) for module in modules for name in reference.members(module)}
    assert there.isdisjoint(entry.path for entry in reference.entries())


def test_entries_that_say_the_same_stand_together():
    pytest.importorskip("mkdocs")
    entry = (
        '<li class="doc-section-item field-body">\n<b><code>{}</code></b>\n(<code>{}</code>)\n–\n'
        '<div class="doc-md-description">\n<p>{}</p>\n</div>\n</li>\n'
    )
    said = [("low", "ndarray, shape(k)", "Ends."), ("high", "ndarray, shape(k)", "Ends."), ("n", "int", "Ends.")]
    page = "<ul>" + "".join(entry.format(*each) for each in [*said, ("seed", "int", "Of it.")]) + "</ul>"
    text = re.sub(r"<[^>]*>", "", _tool("hooks").on_page_content(page))
    assert re.sub(r"\s+", " ", text).split("Ends.")[0] == " low, high (ndarray, shape (k,)), n (int) – "
    assert "seed (int) – Of it." in re.sub(r"\s+", " ", text)


def test_everything_in_the_reference_says_what_it_is():
    assert [entry.name for entry in reference.entries() if not entry.summary] == []


def test_the_first_things_that_a_reader_needs_come_first():
    readme, start = (ROOT / "README.md").read_text(), (blocks.DOCS / "index.md").read_text()
    install = 'pip install ".[plot,report]"'
    assert readme.index(install) < readme.index("import clusterglm") < readme.index("| measured | figure |")
    assert start.index(install) < start.index("import clusterglm")


def test_nothing_is_promised_that_does_not_always_hold():
    """Errors below a tolerance are not exact, and a program cannot know what it does not say."""
    pages = [ROOT / "README.md", *blocks.pages(), *(ROOT / "src").rglob("*.py"), *(ROOT / "src").rglob("*.html")]
    promised = re.compile(r"nothing is silent|exact where it counts|by exact and fast|each next to all others", re.I)
    assert [page.name for page in pages if promised.search(page.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("verb", ["pooled", "random_effects", "fixed_effects", "conditional", "nonparametric"])
def test_each_argument_is_described_by_itself(verb):
    text = inspect.getdoc(getattr(cg, verb))
    described = re.findall(r"^(\w+) : .*\n((?: {4}.*\n)*)", text, re.MULTILINE)
    words = dict(described)
    for name in inspect.signature(getattr(cg, verb)).parameters:
        assert words.get(name, "").strip(), name
    assert len(set(words.values())) == len(described)


def test_docstrings_do_not_send_readers_to_modules():
    sources = {path: path.read_text() for path in (ROOT / "src").rglob("*.py")}
    assert [path.name for path, text in sources.items() if re.search(r"[Ss]ee `?clusterglm\.", text)] == []


def test_signatures_of_the_reference_are_broken_into_lines():
    """mkdocstrings leaves them in one line without a formatter."""
    import tomllib

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert any(each.startswith("ruff") for each in groups["docs"])
