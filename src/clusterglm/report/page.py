"""The parts of a report: each is made under guard, so that one that fails is told of and the others stand."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clusterglm.errors import ClusterGLMError, MissingPackageError
from clusterglm.plot.base import Plot, off_screen
from clusterglm.plot.themes import DARK, LIGHT
from clusterglm.report.figures import WIDTH, colours, inline_svg
from clusterglm.results.table import pvalue


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
        for words in dict.fromkeys(str(warning.message) for warning in heard):
            blocks.append(Words(f"{part.name}: {words}", "note"))
        done()
    return Section(key, title, tuple(blocks), tuple(failed), time.perf_counter() - started)


def frame_table(caption: str, frame: Any, headings: Sequence[str], p_values: Sequence[str] = ()) -> Table:
    """A data frame as a table: the index first, numbers with four significant digits, p-values as in summaries."""
    rows = []
    for name, row in zip(frame.index, frame.itertuples(index=False), strict=True):
        cells = [_cell(value, column in p_values) for column, value in zip(frame.columns, row, strict=True)]
        rows.append((str(name), *cells))
    return Table(caption, tuple(headings), tuple(rows))


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

    return Environment(
        loader=PackageLoader("clusterglm.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _cell(value: Any, is_p: bool) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        if is_p:
            return pvalue(float(value)) if np.isfinite(value) else "–"
        return f"{value:.4g}".replace("-", "−") if not np.isnan(value) else "–"
    return str(value)
