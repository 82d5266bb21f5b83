"""Fits to the same responses side by side: information criteria and likelihood-ratio tests."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

from clusterglm.errors import DataError, OptionError
from clusterglm.inference.hypotheses.comparison import (
    Candidate,
    LikelihoodRatio,
    data_difference,
    incomparable,
    likelihood_ratio_test,
)
from clusterglm.model.arguments import several
from clusterglm.model.arrays import Array
from clusterglm.model.printing import count, terminal_width, unfolded
from clusterglm.results.models.base import Result
from clusterglm.results.models.several import Fits, is_result
from clusterglm.results.tables.html import as_html

if TYPE_CHECKING:
    import pandas as pd


_HEADINGS = ("model", "rows", "df", "loglik", "AIC", "BIC", "delta", "weight")
_NARROW = 12  # least width of names and of models
_CRITERIA = ("aic", "bic")


@dataclass(frozen=True, repr=False)
class Comparison:
    """Fits to the same rows and responses, in the order given.

    Parameters
    ----------
    fits : mapping of str to Result
        By name.
    tests : tuple of LikelihoodRatio
        Of each fit and the next one.
    groups : tuple of int
        Fits with the same number have log-likelihoods that compare.
    notes : tuple of str
        What the reader should know.
    """

    fits: Mapping[str, Result]
    tests: tuple[LikelihoodRatio, ...]
    groups: tuple[int, ...]
    notes: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """A row for each fit.

        Returns
        -------
        DataFrame
            Index `name`; columns `model`, `formula`, `n_obs`, `df` (estimated parameters), `loglik`, `aic`, `bic`,
            `delta` (AIC less the smallest one), `weight` (Akaike's; they sum to one over the fits that compare),
            `group` (fits with the same number compare); and of the likelihood-ratio test against the fit before,
            `lr_statistic`, `lr_df`, `lr_pvalue` and `lr_reason` (why there is none).
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        delta, weight = self._akaike()
        rows = []
        for k, (name, fit) in enumerate(self.fits.items()):
            test = self.tests[k - 1] if k > 0 else None
            rows.append(
                {
                    "name": name,
                    "model": model_words(fit),
                    "formula": fit.formula,
                    "n_obs": fit.n_obs,
                    "df": fit.n_parameters,
                    "loglik": fit.loglik,
                    "aic": fit.aic,
                    "bic": fit.bic,
                    "delta": delta[k],
                    "weight": weight[k],
                    "group": self.groups[k],
                    "lr_statistic": np.nan if test is None else test.statistic,
                    "lr_df": np.nan if test is None or test.reason else test.df,
                    "lr_pvalue": np.nan if test is None else test.pvalue,
                    "lr_reason": "" if test is None else test.reason,
                }
            )
        return shown(pd.DataFrame(rows).set_index("name"))

    def best(self, criterion: str = "aic") -> Result:
        """The fit with the smallest criterion.

        Parameters
        ----------
        criterion : {"aic", "bic"}

        Raises
        ------
        OptionError
            On another criterion, or where not all log-likelihoods compare.
        """
        from clusterglm.errors import check_option

        check_option("criterion", criterion, _CRITERIA)
        if len(set(self.groups)) > 1:
            raise OptionError(
                "the best of fits whose log-likelihoods do not compare",
                "fits of one group (see to_frame())",
                "compare those of each group by themselves",
            )
        return min(self.fits.values(), key=lambda fit: getattr(fit, criterion))

    def _akaike(self) -> tuple[Array, Array]:
        """Distances to the smallest AIC of the group, and Akaike weights."""
        aic, group = np.array([fit.aic for fit in self.fits.values()]), np.array(self.groups)
        delta, weight = np.empty(len(aic)), np.empty(len(aic))
        for each in np.unique(group):
            chosen = group == each
            delta[chosen] = aic[chosen] - aic[chosen].min()
            part = np.exp(-0.5 * delta[chosen])
            weight[chosen] = part / part.sum()
        return delta, weight

    def _cells(self) -> list[tuple[str, ...]]:
        delta, weight = self._akaike()
        return [
            (
                model_words(fit),
                str(fit.n_obs),
                count(fit.n_parameters),
                f"{fit.loglik:.3f}",
                f"{fit.aic:.2f}",
                f"{fit.bic:.2f}",
                f"{delta[k]:.2f}",
                f"{weight[k]:.3f}",
            )
            for k, fit in enumerate(self.fits.values())
        ]

    def _facts(self) -> list[tuple[str, str]]:
        formulas = {fit.formula for fit in self.fits.values()}
        facts = [("Formula", next(iter(formulas)))] if len(formulas) == 1 else []
        if len(formulas) > 1:
            facts += [(f"Formula of {name}", fit.formula) for name, fit in self.fits.items()]
        facts += next(iter(self.fits.values()))._weight_facts()
        return facts

    def _title(self) -> str:
        fit = next(iter(self.fits.values()))
        success = "" if fit._success is None else f" (success {fit._success!r})"
        return f"Comparison of {len(self.fits)} fits to {fit.n_obs} rows, response {fit.data.response_name}{success}"

    def __str__(self) -> str:
        lines = [*textwrap.wrap(self._title(), terminal_width()), "", *_table(list(self.fits), self._cells()), ""]
        lines += _wrapped([f"{label}: {text}" for label, text in self._facts()])
        lines += ["", "Likelihood-ratio tests", *_wrapped([unfolded(test) for test in self.tests], "  ")]
        for note in self.notes:
            lines += ["", *textwrap.wrap(f"Note: {note}", terminal_width(), subsequent_indent="      ")]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = zip(self.fits, self._cells(), strict=True)
        tests = [("Likelihood ratio", unfolded(test)) for test in self.tests]
        return as_html(self._title(), [], _HEADINGS, rows, [*self._facts(), *tests], self.notes)


def compare(*fits: Fits, names: Sequence[str] | None = None) -> Comparison:
    """Put fits to the same rows and responses side by side.

    Parameters
    ----------
    *fits : results
        Two or more, of any verb, or a list of them; or one mapping of names to results. Likelihood-ratio tests are of
        each fit and the next one, so that nested models are best given from the smallest to the largest.
    names : sequence of str, optional
        A name for each fit; by default "fit 1", "fit 2", ...

    Returns
    -------
    Comparison
        Log-likelihoods, AIC, BIC, Akaike weights, and a test where one model is a special case of the next: the columns
        of its design are combinations of the other's, with the same weights, offset, family, link, clusters and
        distribution. A pooled model is a special case, at the boundary sigma = 0, of one with random intercepts; random
        intercepts that were integrated out in different ways are not tested. Two fits with a penalty are tested by the
        penalised likelihood of the larger one (Heinze and Schemper 2002), a fit with one against a fit without not at
        all. Where there is no test, the reason is given. Conditional likelihoods compare among each other alone.

    Raises
    ------
    OptionError
        With fewer than two fits, something that is not a fit, or names that do not fit.
    DataError
        When rows or responses differ: log-likelihoods do not compare then.

    Examples
    --------
    >>> import clusterglm as cg
    >>> bacteria = cg.datasets.load("bacteria")
    >>> small = cg.random_effects("y ~ week", bacteria, cluster="ID")
    >>> large = cg.random_effects("y ~ week + trt", bacteria, cluster="ID")
    >>> comparison = cg.compare(small, large)
    >>> comparison.tests[0].df
    2
    """
    named = _named(fits, names)
    candidates = [fit._candidate(name) for name, fit in named.items()]
    for other in candidates[1:]:
        first = candidates[0]
        difference = data_difference(first.data, other.data, (first.name, other.name))
        if difference:
            raise DataError(
                f"fits to different data: {difference}",
                "the same rows and responses: log-likelihoods of different data do not compare",
                "fit all of them to the same table, without the rows in which a covariate of any is missing",
            )
    groups, why = _groups(candidates)
    tests = tuple(likelihood_ratio_test(a, b) for a, b in pairwise(candidates))
    notes = (*why, *_integration_notes(candidates, groups), *_other_notes(named))
    return Comparison(named, tests, groups, notes)


def model_words(fit: Result) -> str:
    """The model in a few words."""
    return f"{fit._in_words}, {fit.link}" + ("" if fit.penalty is None else f", {fit.penalty}")


def _named(fits: tuple[Fits, ...], names: Sequence[str] | None) -> dict[str, Result]:
    if len(fits) == 1 and isinstance(fits[0], list | tuple):
        fits = tuple(fits[0])
    if len(fits) == 1 and isinstance(fits[0], Mapping):
        if names is not None:
            raise OptionError("names= with a mapping", "names once", "leave names= out")
        names, given = [str(name) for name in fits[0]], list(fits[0].values())
    else:
        given = list(fits)  # type: ignore[arg-type]  # looked at below
        words = [f"fit {k + 1}" for k in range(len(given))] if names is None else names
        names = [str(name) for name in several("names", words, "a name for each fit", "names=None")]
    wrong = [type(fit).__name__ for fit in given if not is_result(fit)]
    if len(given) < 2 or wrong:
        raise OptionError(
            f"compare({', '.join(type(fit).__name__ for fit in fits)})",
            "two results or more, or one mapping of names to results",
            "cg.compare(small, large), or cg.compare({'small': small, 'large': large})",
        )
    if len(names) != len(given) or len(set(names)) < len(names):
        raise OptionError(f"names={list(names)!r} for {len(given)} fits", "a name of its own for each", "names=None")
    return dict(zip(names, given, strict=True))


def _groups(candidates: list[Candidate]) -> tuple[tuple[int, ...], list[str]]:
    """A number for each fit, the same for those whose log-likelihoods compare; and why not all of them do."""
    heads: list[Candidate] = []
    groups, reasons = [], []
    for candidate in candidates:
        answers = [incomparable(head, candidate) for head in heads]
        if "" in answers:
            groups.append(answers.index(""))
            continue
        groups.append(len(heads))
        heads.append(candidate)
        if answers:
            reasons.append(f"{heads[0].name} and {candidate.name}: {answers[0]}.")
    if reasons:
        reasons.append("delta and weight are among the fits that compare; `to_frame()` numbers these groups.")
    return tuple(groups), reasons


def _integration_notes(candidates: list[Candidate], groups: tuple[int, ...]) -> list[str]:
    """Pairs of fits that differ in log-likelihood by no more than its integration error."""
    notes = []
    unknown = [each.name for each in candidates if np.isnan(each.integration_error)]
    if unknown:
        notes.append(
            f'The integration error of {", ".join(unknown)} was not estimated: with quadrature="auto" it is, and '
            "log-likelihoods compare."
        )
    for (i, a), (j, b) in combinations(enumerate(candidates), 2):
        error, gap = float(np.nansum([a.integration_error, b.integration_error])), abs(a.loglik - b.loglik)
        if groups[i] == groups[j] and error > 0.0 and gap < error:
            notes.append(
                f"The log-likelihoods of {a.name} and {b.name} differ by {gap:.2g}, less than their integration errors "
                f"of {error:.2g} in all."
            )
    return notes


def _other_notes(fits: dict[str, Result]) -> list[str]:
    notes = [f"{name} did not converge: {fit.optimization.message}." for name, fit in fits.items() if not fit.converged]
    for name, fit in fits.items():
        notes += fit._comparison_notes(name)
    short = [name for name, fit in fits.items() if fit._short]
    if short:
        notes.append(
            f"{', '.join(short)}: with few trials for each fixed intercept, likelihood ratios are larger than "
            "chi-square, and AIC counts every intercept as a parameter."
        )
    return notes


def _table(names: list[str], cells: list[tuple[str, ...]]) -> list[str]:
    """Names and models to the left, broken over lines where needed; numbers to the right."""
    rows = [_HEADINGS, *cells]
    widths = [max(len(row[k]) for row in rows) for k in range(1, len(_HEADINGS))]
    room = terminal_width() - sum(widths) - 2 * (len(widths) + 1)
    longest = max(len(row[0]) for row in rows)
    first = min(max(map(len, names)), max(_NARROW, room - longest))
    second = min(longest, max(_NARROW, room - first))
    lines = []
    for name, row in zip(["", *names], rows, strict=True):
        left, middle = (textwrap.wrap(text, width) or [""] for text, width in ((name, first), (row[0], second)))
        numbers = "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths, strict=True))
        for k in range(max(len(left), len(middle))):
            start = f"{left[k] if k < len(left) else '':<{first}}  {middle[k] if k < len(middle) else '':<{second}}"
            lines.append(f"{start}  {numbers}".rstrip() if k == 0 else start.rstrip())
    return lines


def _wrapped(texts: list[str], indent: str = "") -> list[str]:
    return [
        line
        for text in texts
        for line in textwrap.wrap(text, terminal_width(), initial_indent=indent, subsequent_indent=f"{indent}    ")
    ]
