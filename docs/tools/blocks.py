"""The code on the pages: found, run in order, and its output compared with what the page shows.

    python docs/tools/blocks.py PAGE ...             say where a page and its code disagree
    python docs/tools/blocks.py --update PAGE ...    write the output into the pages

A fenced `python` block is run. A fenced `text` block right after it, or `{ .text .wrap }` for long lines, shows what it
prints; a line `...` there stands for any number of lines. The code in a comment `<!-- run ... -->` is run but not
shown: it fetches what other programs said. All code of a page shares one namespace. Warnings are errors.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))  # hidden code imports `golden`

_BLOCK = re.compile(
    r"^(?:```python[^\n]*\n(?P<shown>.*?)^```|<!-- run\n(?P<hidden>.*?)^-->)[ \t]*\n"
    r"(?P<output>\s*^```(?:text|{ \.text)[^\n]*\n(?P<text>.*?)^```)?",
    re.DOTALL | re.MULTILINE,
)
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:e[-+]?\d+)?(?![\w])", re.IGNORECASE)
_ROUNDING = 1e-12  # relative: beyond it processors differ
_NOISE = 1e-9  # numbers that only say that something is nearly 0 need only be as small


@dataclass(frozen=True)
class Block:
    """A piece of code, its first line in the page, and where the text that shows its output lies."""

    code: str
    line: int
    text: str | None
    span: tuple[int, int]


def pages() -> list[Path]:
    """The pages that are written by hand."""
    return sorted(path for path in DOCS.rglob("*.md") if "tools" not in path.parts)


def blocks(page: str) -> list[Block]:
    """All code of a page, in order."""
    found = []
    for match in _BLOCK.finditer(page):
        which = "shown" if match["shown"] is not None else "hidden"
        line = page.count("\n", 0, match.start(which)) + 1
        found.append(Block(match[which], line, match["text"], match.span("text")))
    return found


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """What is printed is caught, warnings are errors, and figures are closed in the end."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield out
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def run(path: Path) -> list[tuple[Block, str]]:
    """What each block of a page prints."""
    space: dict[str, object] = {"__name__": "__docs__"}
    printed = []
    for block in blocks(path.read_text()):
        tree = ast.parse(block.code, str(path))
        ast.increment_lineno(tree, block.line - 1)
        with quiet() as out:
            exec(compile(tree, str(path), "exec"), space)
        printed.append((block, "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())))
    return printed


def differences(path: Path) -> list[str]:
    """Where a page says something else than its code."""
    wrong = []
    for block, output in run(path):
        if block.text is None:
            if output.strip():
                wrong.append(f"{path.name}:{block.line}: prints what the page does not show:\n{output}")
        elif not agrees(block.text, output):
            wrong.append(f"{path.name}:{block.line}: the page shows\n{block.text}\nbut the code prints\n{output}")
    return wrong


def agrees(shown: str, printed: str) -> bool:
    """Whether a text is what was printed, numbers to the digits shown."""
    pieces: list[list[str]] = [[]]
    for line in shown.splitlines():
        if line.strip() == "...":
            pieces.append([])
        else:
            pieces[-1].append(line)
    lines = printed.splitlines()
    if len(pieces) == 1:
        return len(lines) == len(pieces[0]) and _at(pieces[0], lines, 0)
    if not _at(pieces[0], lines, 0):
        return False
    start = len(pieces[0])
    for piece in pieces[1:-1]:
        here = next((at for at in range(start, len(lines)) if _at(piece, lines, at)), None)
        if here is None:
            return False
        start = here + len(piece)
    last = len(lines) - len(pieces[-1])
    return last >= start and _at(pieces[-1], lines, last)


def _at(piece: list[str], lines: list[str], at: int) -> bool:
    return at + len(piece) <= len(lines) and all(
        _same(shown, real) for shown, real in zip(piece, lines[at : at + len(piece)], strict=True)
    )


def _same(shown: str, real: str) -> bool:
    """Equal words, and numbers that differ by no more than a unit of the last digit shown."""
    if _NUMBER.sub("0", shown).split() != _NUMBER.sub("0", real).split():
        return False
    return all(map(_close, _NUMBER.findall(shown), _NUMBER.findall(real)))


def _close(shown: str, real: str) -> bool:
    a, b = float(shown), float(real)
    if "." not in shown and "e" not in shown.lower():
        return a == b  # counts
    mantissa, _, exponent = shown.lower().partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    unit = max(unit, _ROUNDING * abs(b))
    return abs(a - b) <= 1.001 * unit or max(abs(a), abs(b)) < _NOISE


def update(path: Path) -> bool:
    """Write what the code prints into the page; blocks with `...` that still agree are left alone."""
    page = path.read_text()
    for block, output in reversed(run(path)):
        if block.text is not None and not agrees(block.text, output):
            page = page[: block.span[0]] + output + page[block.span[1] :]
    changed = page != path.read_text()
    path.write_text(page)
    return changed


def main(arguments: list[str]) -> int:
    chosen = [Path(name).absolute() for name in arguments if name != "--update"] or pages()
    wrong = []
    for path in chosen:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # pages write files
            if "--update" in arguments:
                sys.stderr.write(f"{path}: {'changed' if update(path) else 'as it was'}\n")
            else:
                wrong += differences(path)
    sys.stderr.write("\n".join(wrong))
    return len(wrong) > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
