"""The pictures of a page that are drawn by the page's own code: each shows the plot that the block before it ends with.

A page that shows `pictures/plot-NAME-light.svg` after a block gets that picture, and its like for dark pages.
"""

from __future__ import annotations

import ast
import contextlib
import re
import tempfile
from pathlib import Path
from typing import Any

import blocks
from pictures import FOLDER

import clusterglm.plot

_PICTURE = re.compile(r"pictures/(plot-[\w-]+)-light\.svg")
_SOURCES = Path(clusterglm.plot.__file__).parent


def shown(page: str) -> list[tuple[blocks.Block, str | None]]:
    """Each block of a page with the name of the picture between it and the next block."""
    found = blocks.blocks(page)
    lines = page.splitlines()
    ends = [block.line for block in found[1:]] + [len(lines) + 1]
    pictures = [
        _PICTURE.search("\n".join(lines[block.line - 1 : end - 1])) for block, end in zip(found, ends, strict=True)
    ]
    return [(block, None if match is None else match[1]) for block, match in zip(found, pictures, strict=True)]


def draw(path: Path) -> None:
    """Draw the pictures of a page, in light and in dark colours."""
    import matplotlib as mpl

    mpl.use("svg")
    pieces = shown(path.read_text())
    space: dict[str, Any] = {"__name__": "__docs__"}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # pages write files
        for block, name in pieces:
            tree = ast.parse(block.code, str(path))
            last = tree.body.pop() if name is not None else None
            with blocks.quiet():
                exec(compile(tree, str(path), "exec"), space)
                if last is not None:
                    assert isinstance(last, ast.Expr), f"{path.name}:{block.line}: the block does not end with a plot"
                    _save(eval(compile(ast.Expression(last.value), str(path), "eval"), space), str(name))


def _save(plot: Any, name: str) -> None:
    """Both versions: every colour of the light theme has one that takes its place in the dark."""
    import matplotlib as mpl

    from clusterglm.plot.themes import DARK, LIGHT
    from clusterglm.report.figures import colours

    light, dark = colours(LIGHT), colours(DARK)
    other = {colour.lower(): dark[name] for name, colour in light.items()}
    file = FOLDER / f"{name}-light.svg"
    with mpl.rc_context({"svg.hashsalt": name}):
        plot.figure.savefig(file, transparent=True, metadata={"Date": None})
    text = re.sub("|".join(other), lambda found: other[found[0].lower()], file.read_text(), flags=re.IGNORECASE)
    (FOLDER / f"{name}-dark.svg").write_text(text)


def draw_missing() -> None:
    """Draw what is not there, or older than its page or the plots."""
    FOLDER.mkdir(exist_ok=True)
    newest = max(path.stat().st_mtime for path in [Path(__file__), *_SOURCES.glob("*.py")])
    for path in blocks.pages():
        names = _PICTURE.findall(path.read_text())
        made = [FOLDER / f"{name}-{version}.svg" for name in names for version in ("light", "dark")]
        wanted = max(newest, path.stat().st_mtime)
        if not all(file.exists() and file.stat().st_mtime > wanted for file in made):
            draw(path)
