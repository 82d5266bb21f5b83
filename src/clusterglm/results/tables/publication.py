"""Tables that people publish: fits side by side, as text, Markdown, HTML, LaTeX and Word."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.data.files import whole, write_text
from clusterglm.errors import MissingPackageError, OptionError, check_option, nearest
from clusterglm.inference.effects.ratios import ratio_names
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.model.arguments import mapping, several, whole_number, yes_or_no
from clusterglm.results.models.base import Result
from clusterglm.results.models.several import Fits, named_fits
from clusterglm.results.tables.maketables import STATISTICS
from clusterglm.results.tables.table import number

if TYPE_CHECKING:
    import pandas as pd

SPREADS = ("std_error", "interval", "none")
DEFAULT = ("N", "n_clusters", "icc", "ll", "aic")
_STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
_COUNTS = ("N", "n_clusters", "n_parameters", "n_informative", "df_resid")
_NOTHING = "–"
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "[": "{[}", "]": "{]}",  # a line that begins with a bracket would be an option of the line break before it
    "–": "--",
}  # fmt: skip
_ENDINGS = (".txt", ".md", ".html", ".tex", ".docx")


@dataclass(frozen=True, repr=False)
class PublicationTable:
    """Fits side by side, ready to be printed or written to a file.

    Parameters
    ----------
    frame : DataFrame
        Of text, a column for each fit. The index has two levels: the part of the table ("coefficients",
        "random intercept", "fit") and the row's label. A cell with a standard error or an interval has it in a second
        line.
    notes : tuple of str
    caption : str
    """

    frame: pd.DataFrame
    notes: tuple[str, ...]
    caption: str = ""

    def __str__(self) -> str:
        return "\n".join([*([self.caption, ""] if self.caption else []), *self._lines(), *self.notes])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str | None:
        """HTML in a notebook; without maketables the text."""
        try:
            return self.to_html()
        except MissingPackageError:
            return None

    def to_markdown(self) -> str:
        """The table in Markdown, as GitHub and pandoc read it."""
        head = ["", *self.frame.columns]
        rows = [[label, *cells] for (_, label), *cells in self.frame.itertuples()]
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
        text = [f"| {' | '.join(map(_markdown, line))} |" for line in lines]
        notes = "  \n".join(map(_markdown, self.notes))
        return "\n".join([*([_markdown(self.caption), ""] if self.caption else []), *text, "", notes])

    def to_html(self) -> str:
        """The table in HTML, with a style of its own; needs maketables.

        Raises
        ------
        MissingPackageError
            Without maketables.
        """
        return str(self._maketables().make("gt").as_raw_html())

    def to_latex(self) -> str:
        """The table in LaTeX; needs maketables. (The document loads booktabs, tabularx, makecell and threeparttable.)

        Raises
        ------
        MissingPackageError
            Without maketables.
        """
        frame = self.frame.map(_latex).rename(index=_latex, columns=_latex)
        notes = tuple(map(_latex, self.notes))
        return str(PublicationTable(frame, notes, _latex(self.caption))._maketables().make("tex"))

    def save(self, path: str | Path) -> Path:
        """Write the table to a file, whose ending says in which format: .txt, .md, .html, .tex or .docx (Word).

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        OptionError
            On another ending.
        MissingPackageError
            Without maketables, for the last three.
        """
        file = Path(path)
        ending = file.suffix.lower()
        if ending not in _ENDINGS:
            raise OptionError(f"a table in {str(path)!r}", f"a name that ends in one of {', '.join(_ENDINGS)}", ".docx")
        if ending == ".docx":
            document = self._maketables().make("docx")
            with whole(file) as part:
                document.save(str(part))
        elif ending == ".html":
            title = escape(self.caption or "Table")
            head = f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title></head>\n'
            write_text(file, f"{head}<body>\n{self.to_html()}\n</body>\n</html>\n")
        else:
            text = {".txt": self.__str__, ".md": self.to_markdown, ".tex": self.to_latex}[ending]()
            write_text(file, text + "\n")
        return file

    def _maketables(self) -> Any:
        """An MTable of maketables, which escapes what HTML and Word need escaped."""
        try:
            from maketables import MTable
        except ImportError as problem:
            raise MissingPackageError(
                f"a table in HTML, LaTeX or Word, and maketables cannot be imported ({problem})",
                "maketables 0.2 or later; text and Markdown need no other package",
                "pip install 'clusterglm[table]'",
            ) from problem
        return MTable(self.frame, notes=" ".join(self.notes), caption=self.caption or None, rgroup_display=False)

    def _lines(self) -> list[str]:
        """Text: columns aligned at their right, a rule between the parts."""
        rows = [
            (part, list(line))
            for (part, label), *cells in self.frame.itertuples()
            for line in zip_longest(*(text.split("\n") for text in (label, *cells)), fillvalue="")
        ]
        head = ["", *self.frame.columns]
        widths = [max(len(line[j]) for line in [head, *(cells for _, cells in rows)]) for j in range(len(head))]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        lines, before = [rule, _aligned(head, widths), rule], rows[0][0]
        for part, cells in rows:
            if part != before:
                lines.append(rule)
            lines.append(_aligned(cells, widths))
            before = part
        return [*lines, rule]


@with_alpha
def table(
    fits: Fits,
    *more: Result,
    exponentiate: bool = False,
    spread: str = "std_error",
    level: float = 0.95,
    cov: str = "observed",
    stars: bool = False,
    digits: int = 3,
    labels: Mapping[str, str] | None = None,
    terms: Sequence[str] | None = None,
    statistics: Sequence[str] = DEFAULT,
    caption: str = "",
    notes: Sequence[str] = (),
) -> PublicationTable:
    """Put fits side by side in a table for a paper: estimates, how sure they are, and what the fits are.

    Parameters
    ----------
    fits : Result, sequence of Result, or mapping of str to Result
        Of any verbs. A mapping names the columns, which are numbered otherwise.
    *more : Result
        Further ones: cg.table(a, b) is cg.table([a, b]).
    exponentiate : bool
        Odds, rate or hazard ratios in place of coefficients.
    spread : {"std_error", "interval", "none"}
        What stands below an estimate.
    level : float
        Coverage of the intervals, which are Wald intervals (of ratios: exponentiated; of sigma: on the log scale).
    cov : {"observed", "robust", "quasi"}
        Covariance of the estimates.
    stars : bool
        Mark coefficients by their p-values: * below 0.05, ** below 0.01, *** below 0.001.
    digits : int
        Decimals.
    labels : mapping of str to str, optional
        What rows are called, by the names of terms ("sigma" too).
    terms : sequence of str, optional
        Coefficients to show, in this order; by default all.
    statistics : sequence of str
        Rows below the estimates: "N", "n_clusters", "n_informative", "icc", "ll", "aic", "bic", "deviance",
        "df_resid", "n_parameters", "distribution", "family", "link". Those that no fit has are left out.
    caption : str
    notes : sequence of str
        Lines below the table, before our own.

    Returns
    -------
    PublicationTable
        Prints as text; `to_markdown()`, `to_html()`, `to_latex()`, `save("table.docx")`. HTML, LaTeX and Word need
        the package maketables (`pip install 'clusterglm[table]'`), whose own `ETable([fit1, fit2])` takes results, too.

    Raises
    ------
    OptionError
        On something that is no result, another option, a term or a statistic that does not exist; with `exponentiate`
        for probit.

    Examples
    --------
    >>> import clusterglm as cg
    >>> bacteria = cg.datasets.load("bacteria")
    >>> fit = cg.pooled("y ~ week", bacteria)
    >>> print(cg.table(fit, statistics=["N"]))
    ---------------------
                      (1)
    ---------------------
    week           -0.110
                  (0.043)
    (Intercept)     1.957
                  (0.291)
    ---------------------
    Observations      220
    ---------------------
    Standard errors in parentheses.
    Success: y = 'y'.
    """
    given: Any = [fits, *more] if more else fits
    named = named_fits(given, None, "cg.table")
    check_option("spread", spread, SPREADS)
    statistics = several("statistics", statistics, "names of statistics", "statistics=['N', 'aic']")
    notes = several("notes", notes, "lines of text", "notes=['Standard errors are robust.']")
    yes_or_no("stars", stars)
    for key in statistics:
        check_option("statistics", key, STATISTICS)
    whole_number("digits", digits, 0, 10, advice="digits=3")
    parts = {
        name: _parts(fit.tidy(level=level, exponentiate=exponentiate, cov=cov), fit) for name, fit in named.items()
    }
    shown = {
        "coefficients": _chosen(named, terms),
        "random intercept": list(dict.fromkeys(term for part in parts.values() for term in part["random intercept"])),
    }
    given = mapping("labels", labels)
    rows: dict[tuple[str, str], list[str]] = {}
    for part, names in shown.items():
        for term in names:
            cells = [
                _cell(named[name], each[part][term], spread, digits, stars and part == "coefficients")
                if term in each[part]
                else ""
                for name, each in parts.items()
            ]
            _put(rows, (part, given.get(term, term)), cells)
    rows["fit", "Intercepts of clusters"] = [fit._intercepts_in_words or _NOTHING for fit in named.values()]
    for key in statistics:
        cells = [_statistic(fit, key, digits) for fit in named.values()]
        if any(cell != _NOTHING for cell in cells):
            rows["fit", STATISTICS[key][0]] = cells
    if set(rows["fit", "Intercepts of clusters"]) == {_NOTHING}:
        del rows["fit", "Intercepts of clusters"]
    found = [*notes, *_notes(named, exponentiate, spread, level, cov, stars)]
    return PublicationTable(_frame(rows, list(named)), tuple(found), caption)


def _frame(rows: dict[tuple[str, str], list[str]], names: list[str]) -> pd.DataFrame:
    import pandas as pd

    index = pd.MultiIndex.from_tuples(list(rows), names=["part", "row"])
    return pd.DataFrame(list(rows.values()), index=index, columns=names)


def _parts(tidy: pd.DataFrame, fit: Result) -> dict[str, dict[str, dict[str, Any]]]:
    """The rows of `tidy` by part and term: a covariate may be called sigma, too."""
    tidy = tidy.reset_index(drop=True)
    terms = fit._rows_of_terms(tidy)
    parts = {"coefficients": terms, "random intercept": tidy.drop(index=terms.index)}
    columns = list(tidy.columns)
    return {
        part: {
            row["term"]: row for row in (dict(zip(columns, each, strict=True)) for each in some.itertuples(False, None))
        }
        for part, some in parts.items()
    }


def _put(rows: dict[tuple[str, str], list[str]], at: tuple[str, str], cells: list[str]) -> None:
    """Add a row; rows with the same label become one, where no fit has both."""
    before = rows.get(at, [""] * len(cells))
    if any(one and other for one, other in zip(before, cells, strict=True)):
        raise OptionError(
            f"labels= that call two terms of one fit {at[1]!r}", "a label of its own for each", "other labels"
        )
    rows[at] = [one or other for one, other in zip(before, cells, strict=True)]


def _chosen(named: dict[str, Result], terms: Sequence[str] | None) -> list[str]:
    """The coefficients' rows: in the order in which the fits have them, the intercept last."""
    known = list(dict.fromkeys(term for fit in named.values() for term in fit._term_names))
    if terms is None:
        intercepts = [name for fit in named.values() for name in fit._intercept_names]
        return sorted(known, key=lambda term: term in intercepts)
    wanted = several("terms", terms, f"names among {', '.join(known)}", "terms=None for all")
    for term in wanted:
        if term not in known:
            raise OptionError(
                f"terms= with {term!r}", f"coefficients of the fits: {', '.join(known)}",
                f"{nearest(str(term), known)}check the spelling",
            )  # fmt: skip
    return wanted


def _cell(fit: Result, row: Mapping[str, Any], spread: str, digits: int, stars: bool) -> str:
    estimate = number(row["estimate"], digits)
    if stars:
        estimate += next((mark for limit, mark in _STARS if row["pvalue"] < limit), "")
    if spread == "none":
        return estimate
    if instead := fit._instead_of_error(row):
        return f"{estimate}\n({instead})"
    if spread == "std_error":
        return f"{estimate}\n({_NOTHING if np.isnan(row['std_error']) else number(row['std_error'], digits)})"
    low, high = row["conf_low"], row["conf_high"]
    ends = _NOTHING if np.isnan(low) and np.isnan(high) else f"{number(low, digits)}, {number(high, digits)}"
    return f"{estimate}\n[{ends}]"


def _glanced(fit: Result) -> dict[str, Any]:
    return {str(name): values[0] for name, values in fit.glance().to_dict(orient="list").items()}


def _statistic(fit: Result, key: str, digits: int) -> str:
    value = _glanced(fit).get(STATISTICS[key][1])
    if key == "n_clusters" and fit.data.cluster_name is None:
        return _NOTHING
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return _NOTHING
    if key in _COUNTS:
        return f"{value:,.2f}" if value % 1 else f"{int(value):,}"
    return value if isinstance(value, str) else number(float(value), digits)


def _notes(named: dict[str, Result], exponentiate: bool, spread: str, level: float, cov: str, stars: bool) -> list[str]:
    notes = []
    if exponentiate:
        kinds = [ratio_names(fit.response) for fit in named.values()]
        words = " or ".join(dict.fromkeys(f"{ratio}s" for ratio, _ in kinds))
        baseline = " or ".join(dict.fromkeys(name for _, name in kinds))
        of_intercept = any(fit.data.intercept is not None for fit in named.values())
        notes.append(f"{words[0].upper()}{words[1:]}{f' (of the intercept: {baseline})' if of_intercept else ''}.")
    robust = "" if cov == "observed" else f" ({cov})"
    if spread == "std_error":
        notes.append(f"Standard errors{robust} in parentheses.")
    elif spread == "interval":
        notes.append(f"{100 * level:g}% confidence intervals{robust} in brackets.")
    if stars:
        notes.append("* p < 0.05, ** p < 0.01, *** p < 0.001.")
    if len({fit._given_totals for fit in named.values()}) > 1:
        notes.append("Log-likelihoods given the clusters' totals (conditional models) do not compare with the others.")
    for name, fit in named.items():
        correction = _glanced(fit).get("bias_correction")
        if correction:
            notes.append(f"{name}: bias correction {correction}.")
        for _, words in fit._weight_facts():
            notes.append(f"{name}: {words}.")
        if "infinite" in _glanced(fit):
            notes.append(f"{name}: the limit of a separated fit, with infinite coefficients.")
        if fit.penalty is not None:
            notes.append(f"{name}: penalty {fit.penalty}; the log-likelihood is without it.")
        if not fit.converged:
            notes.append(f"{name}: not converged.")
    coded = {fit.data.response_name: fit._success for fit in named.values() if fit._success is not None}
    return [*notes, *(f"Success: {name} = {level!r}." for name, level in coded.items())]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (f"{cell:<{width}}" if j == 0 else f"{cell:>{width}}" for j, (cell, width) in
                      enumerate(zip(cells, widths, strict=True)))  # fmt: skip
    return "  ".join([first, *others]).rstrip()


def _markdown(text: str) -> str:
    marked = "".join(f"\\{letter}" if letter in "|*_[]`\\" else letter for letter in escape(text, quote=False))
    return marked.replace("\n", "<br>")


def _latex(text: str) -> str:
    """Text as LaTeX shows it, with minus signs that are no hyphens."""
    escaped = "".join(_LATEX.get(letter, letter) for letter in text)
    return re.sub(r"(?<![\w.)])-(?=[\d.])", "$-$", escaped)
