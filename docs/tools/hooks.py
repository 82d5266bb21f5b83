"""What mkdocs does not do by itself: the reference's pages, pictures, formulas as MathML."""

from __future__ import annotations

import html
import itertools
import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

import commands
import gallery
import pictures
import reference

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_CHOICES = re.compile(r"(\(<code>)\(((?:(?!</?code>).)*)\)(</code>)(?=, default|\s*\))", re.DOTALL)
_NOTHING_SAID = re.compile(r"\s*–\s*<div class=\"doc-md-description\">\s*</div>")
_ENTRY = re.compile(
    r'<li class="doc-section-item field-body">\s*(<b><code>[^<]*</code></b>)((?:(?!</li>).)*?)\s*–\s*'
    r'(<div class="doc-md-description">(?:(?!</li>).)*</div>)\s*</li>\s*',
    re.DOTALL,
)
_SHAPE = re.compile(r"(ndarray, )shape\(((?:<[^>]*>|[^<>()])*)\)")
_CODE_IN_TABLE = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
_WRAPPED = re.compile(r'(<div class="[^"]*\bwrap\b[^"]*"><pre>(?:<span></span>)?<code>)(.*?)(</code>)', re.DOTALL)
_WIDTH = 100  # of printed tables at most; a longer line is a sentence
_FUNCTION = re.compile(r"(<mi>(?:log|exp|sinh|max|min|tr|diag|sym|Pr)</mi>)(?!<mo[^>]*>&#x0002[89];|</|<mspace)")
_LETTERS = {r"\mathbb Z": "ℤ", r"\mathbf 1": "𝟏"}  # browsers do not know mathvariant=


def on_pre_build(config: Any) -> None:
    pictures.draw_missing()
    gallery.draw_missing()


def on_config(config: Any) -> Any:
    """Fill the places of the navigation that depend on what is there."""
    for section in config.nav:
        if "Reference" in section:
            section["Reference"] = ["reference/index.md", *_by_group(), {"Command line": "reference/command-line.md"}]
    return config


def on_files(files: Files, config: Any) -> Files:
    pages = {entry.page: _page(entry) for entry in reference.entries()}
    pages["reference/index.md"] = _index()
    pages["reference/command-line.md"] = commands.page()
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML, which browsers draw without a script; long sentences among what is printed are broken.

    And | in tables' code, which elsewhere is escaped; and lists in the reference: types without brackets in brackets,
    shapes as they are written, no dashes that nothing follows, and together what a docstring says of several names.
    """
    content = _NOTHING_SAID.sub("", _CHOICES.sub(r"\1\2\3", content))
    content = _SHAPE.sub(lambda found: found[1] + _shape(re.sub("<[^>]*>", "", found[2])), _together(content))
    content = _WRAPPED.sub(lambda found: found[1] + "\n".join(map(_broken, found[2].split("\n"))) + found[3], content)
    content = _CODE_IN_TABLE.sub(lambda found: found[0].replace("\\|", "|"), content)
    return _FORMULA.sub(lambda found: _mathml(html.unescape(found[2]), found[1] == "div"), content)


def _together(content: str) -> str:
    """Entries of lists that follow each other and say the same, in one: the parser of docstrings took them apart."""
    found = list(_ENTRY.finditer(content))
    for entry, following in reversed(list(itertools.pairwise(found))):
        if entry.end() == following.start() and entry[3] == following[3]:
            kind = "" if entry[2] == following[2] else entry[2]
            content = f"{content[: entry.end(1)]}{kind}, {content[following.start(1) :]}"
    return content


def _shape(lengths: str) -> str:
    """The shape of an array, which the parser of docstrings takes for a call."""
    return f"shape ({lengths})" if "," in lengths else f"shape ({lengths},)"


def _broken(line: str) -> str:
    """A line of what is printed, to be broken where it is no line of a table."""
    text = html.unescape(re.sub(r"<[^>]*>", "", line))
    return f'<span class="sentence">{line}</span>' if len(text) > _WIDTH else line


def _mathml(latex: str, block: bool) -> str:
    latex = latex.strip().replace("{aligned}", "{split}")  # the name under which the converter knows it
    for command, letter in _LETTERS.items():
        latex = latex.replace(command, letter)
    drawn = convert(latex, display="block" if block else "inline")
    if "<mi>&</mi>" in drawn or "\\begin" in drawn:
        raise ValueError(f"{latex!r} has an environment that cannot be drawn; use aligned")
    drawn = _FUNCTION.sub(r'\1<mspace width="0.17em" />', drawn)
    return f'<div class="formula">{drawn}</div>' if block else drawn


def _by_group() -> list[dict[str, list[dict[str, str]]]]:
    return [
        {title: [{entry.name: entry.page} for entry in reference.entries() if entry.group == group]}
        for group, title in reference.GROUPS.items()
    ]


def _page(entry: reference.Entry) -> str:
    public = entry.public
    options = {"heading": f"'{public}'", "toc_label": f"'{public}'"}
    if entry.group != "module":
        lines = [
            f"title: {public}",
            *(f"        {name}: {value}" for name, value in options.items()),
        ]
        return f"---\n{lines[0]}\n---\n\n::: {entry.path}\n    options:\n        heading_level: 1\n" + "\n".join(
            lines[1:]
        )
    module = sys.modules[entry.path]
    text = f"---\ntitle: {public}\n---\n\n# {public}\n\n{entry.summary}\n\n"
    return text + "".join(
        f"::: {reference.home(module, name)}\n    options:\n        heading_level: 2\n"
        f"        heading: '{public}.{name}'\n        toc_label: '{name}'\n        inherited_members: false\n\n"
        for name in reference.members(module)
    )


def _index() -> str:
    text = (
        "# Reference\n\nEvery public name, as `cg.NAME` after `import clusterglm as cg`, every class of results, "
        "and the [command line](command-line.md).\n"
    )
    for group, title in reference.GROUPS.items():
        text += f"\n## {title}\n\n| name | what it is |\n|---|---|\n"
        for entry in reference.entries():
            if entry.group == group:
                text += f"| [`{entry.name}`]({Path(entry.page).name}) | {entry.summary.replace('|', chr(92) + '|')} |\n"
    return text
