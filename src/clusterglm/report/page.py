"""The parts of a report: each is made under guard, so that one that fails is told of and the others stand."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clusterglm.errors import ClusterGLMError, MissingPackageError
from clusterglm.model.arrays import Array
from clusterglm.plot.base import Plot, off_screen
from clusterglm.plot.themes import DARK, LIGHT
from clusterglm.report.figures import WIDTH, colours, inline_svg
from clusterglm.results.tables.table import decimals_of, number, pvalue


@dataclass(frozen=True)
class Words:
    """A paragraph; `tone` is "", "note" for what a computation warned of, or "problem" for what it died of."""

    text: str
    tone: str = ""
    kind: str = field(default="words", init=False)


@dataclass(frozen=True)
class Table:
    """Headings and rows of text; the first column names the rows, the others hold numbers unless `prose`."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    prose: bool = False
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Picture:
    """A plot and what it says."""

    caption: str
    plot: Plot
    kind: str = field(default="picture", init=False)


Block = Words | Table | Picture


@dataclass(frozen=True)
class Part:
    """Something to compute for a section: `make` gives its blocks when called."""

    name: str
    make: Callable[[], Iterable[Block]]


@dataclass(frozen=True)
class Section:
    """Blocks under a heading.

    Parameters
    ----------
    key : str
        Anchor of the heading.
    title : str
    blocks : tuple of Block
    failed : tuple of str
        Names of the parts that could not be made.
    seconds : float
    """

    key: str
    title: str
    blocks: tuple[Block, ...]
    failed: tuple[str, ...] = ()
    seconds: float = 0.0


def section(key: str, title: str, parts: Sequence[Part], done: Callable[[], object]) -> Section:
    """Make the parts of a section; errors and warnings become blocks of it.

    Parameters
    ----------
    key, title : str
    parts : sequence of Part
    done : callable
        Called after each part.
    """
    blocks: list[Block] = []
    failed: list[str] = []
    started = time.perf_counter()
    for part in parts:
        with warnings.catch_warnings(record=True) as heard, off_screen(WIDTH):
            warnings.simplefilter("always")
            try:
                blocks += part.make()
            except MissingPackageError:
                raise
            except Exception as error:  # whatever it was, the page says so
                failed.append(part.name)
                text = f"{error.got} (needed: {error.needed})" if isinstance(error, ClusterGLMError) else str(error)
                blocks.append(Words(f"{part.name}: could not be made. {type(error).__name__}: {text}", "problem"))
        said = {block.text for block in blocks if isinstance(block, Words)}
        for words in dict.fromkeys(str(warning.message) for warning in heard if str(warning.message) not in said):
            blocks.append(Words(f"{part.name}: {words}", "note"))
        done()
    return Section(key, title, tuple(blocks), tuple(failed), time.perf_counter() - started)


def frame_table(
    caption: str, frame: Any, columns: Mapping[str, str], decimals: Mapping[str, int] | None = None
) -> Table:
    """A data frame as a table: the index first, each column of numbers with one number of decimals.

    Parameters
    ----------
    caption : str
    frame : DataFrame
    columns : mapping of str to str
        Columns to show, and their headings. "pvalue" is written as in summaries.
    decimals : mapping of str to int, optional
        Of columns; the others have as many as show three digits of their smallest ordinary number.
    """
    cells = [_cells(name, frame[name].tolist(), (decimals or {}).get(name)) for name in columns]
    rows = tuple(zip(map(str, frame.index), *cells, strict=True))
    return Table(caption, ("", *columns.values()), rows)


def alike(frame: Any, columns: Iterable[str]) -> dict[str, int]:
    """Decimals of columns of estimates, whose standard errors are in "std_error", as in summaries."""
    return dict.fromkeys(columns, decimals_of(frame["std_error"].to_numpy(float)))


def render(template: str, sections: Sequence[Section], **values: Any) -> str:
    """Fill a template of `report/templates`.

    Parameters
    ----------
    template : str
        File name.
    sections : sequence of Section
        Passed on with `svg`, which turns a picture into an element, and the colours of both themes.
    **values
        What else the template names.

    Raises
    ------
    MissingPackageError
        Without jinja2.
    """
    environment = jinja()
    count = iter(range(1, 10_000))

    def svg(picture: Picture) -> str:
        return inline_svg(picture.plot, f"p{next(count)}", picture.caption)

    text: str = environment.get_template(template).render(
        sections=sections, svg=svg, light=colours(LIGHT), dark=colours(DARK), **values
    )
    return text


def jinja() -> Any:
    """The environment of our templates.

    Raises
    ------
    MissingPackageError
        Without jinja2.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as problem:
        raise MissingPackageError(
            f"a report, and jinja2 cannot be imported ({problem})", "jinja2", "pip install 'clusterglm[report]'"
        ) from problem

    made = Environment(
        loader=PackageLoader("clusterglm.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["with_signs"] = with_signs
    made.filters["breakable"] = _breakable
    return made


def _cells(name: str, values: list[Any], decimals: int | None) -> tuple[str, ...]:
    numbers = np.array([value for value in values if isinstance(value, float)])
    digits = _decimals(numbers) if decimals is None else decimals
    return tuple(_cell(value, digits, name == "pvalue") for value in values)


def _cell(value: Any, decimals: int, is_p: bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    if np.isnan(value):
        return "–"
    return with_signs(pvalue(value) if is_p else number(value, decimals))


def _decimals(values: Array) -> int:
    sizes = np.abs(values[np.isfinite(values)])
    ordinary = sizes[sizes > 1e-3 * sizes.max(initial=0.0)]
    return int(np.clip(2 - np.floor(np.log10(ordinary.min())), 0, 5)) if len(ordinary) > 0 else 2


def _breakable(name: str) -> str:
    """A name that may be broken between the parts of an interaction."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r":(?=\S)", ":<wbr>", str(escape(name))))


def with_signs(text: str) -> str:
    """Minus signs before digits, where a line never breaks, and semicolons for columns of spaces."""
    return re.sub(r"(?<![^\s(,])-(?=[\d.])|(?<=\de)-(?=\d)", "−", re.sub(r" {2,}", "; ", text))
