"""The documentation: its code runs and prints what the pages show, and its reference is complete."""

from __future__ import annotations

import importlib.util
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
gallery = _tool("gallery")
reference = _tool("reference")


@pytest.mark.parametrize("page", [ROOT / "README.md", *blocks.pages()], ids=lambda page: str(page.relative_to(ROOT)))
def test_code_prints_what_the_page_shows(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert not blocks.differences(page)


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
    described = {entry.name for entry in reference.entries()}
    assert set(cg.__all__) - {"__version__"} <= described


def test_reference_has_every_kind_of_result():
    described = {entry.name for entry in reference.entries()}
    assert {
        "RandomEffectsResult",
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
    } <= described


def test_everything_in_the_reference_says_what_it_is():
    assert [entry.name for entry in reference.entries() if not entry.summary] == []
