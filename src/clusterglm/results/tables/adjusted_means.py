"""Adjusted means, and contrasts of them: estimates with their joint covariance that print as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.errors import OptionError
from clusterglm.inference.effects.contrasts import (
    Adjusted,
    Coefficients,
    adjusted,
    check_comparison,
    coefficients_of,
    transformed,
)
from clusterglm.inference.effects.ratios import exponentiated, ratio_names
from clusterglm.inference.predictions.prediction import with_interval
from clusterglm.inference.uncertainty.degrees import interval
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.model.arrays import Array
from clusterglm.model.printing import fold
from clusterglm.model.response.base import Response

if TYPE_CHECKING:
    import pandas as pd

_LNOR = "log odds ratio"


@dataclass(frozen=True, repr=False, eq=False)
class AdjustedMeans:
    """Means of groups, adjusted for the other covariates; k of them.

    Parameters
    ----------
    values : mapping of str to tuple, length k each
        What variables are at in each mean: those that were asked for, then those of `by`.
    by : tuple of str
        Variables within whose values means are compared.
    estimate, std_error : ndarray, shape (k,)
    covariance : ndarray, shape (k, k)
        Joint, by the delta method.
    scale : {"response", "link"}
    kind : str
        At which random effects.
    level : float
        Coverage of intervals.
    what : str
        What the estimates are, in words.
    response : Response
    note : str
        What is to be said of them.
    slopes : bool
        Whether they are slopes, not means.
    degrees : callable, optional
        Degrees of freedom of c combinations of the means, (c, k) to (c,).
    """

    values: Mapping[str, tuple[Any, ...]]
    by: tuple[str, ...]
    estimate: Array
    std_error: Array
    covariance: Array = field(repr=False)
    scale: str
    kind: str
    level: float
    what: str
    response: Response
    note: str = ""
    slopes: bool = False
    degrees: Callable[[Array], Array] | None = field(default=None, repr=False)

    def to_frame(self) -> pd.DataFrame:
        """A row for each mean.

        Returns
        -------
        DataFrame
            The variables' columns, `estimate`, `std_error`, `df` where degrees of freedom were asked for, `conf_low`,
            `conf_high`; `note` where something is to be said. Intervals of means are those of their link, transformed,
            as predictions have them; of slopes normal.
        """
        low, high = self._interval()
        return self._table(self.estimate, self.std_error, low, high)

    def on_response(self) -> pd.DataFrame:
        """Means of linear predictors put through the inverse link: of a typical row, not averages of means.

        Returns
        -------
        DataFrame
            As `to_frame`. It is what R's emmeans calls type="response".

        Raises
        ------
        OptionError
            Where the means are on the scale of the response already, or are slopes.
        """
        if self.scale != "link" or self.slopes:
            raise OptionError("estimates that are no linear predictors", 'scale="link"', "to_frame()")
        if self.response.ordered:
            raise OptionError(
                "a mean of ordered categories, from a linear predictor", "probabilities", 'scale="probability"'
            )
        variance = np.diag(self.covariance)
        found = with_interval("response", self.response, self.estimate, variance, self.level, self._df)
        return self._table(found.estimate, found.std_error, found.low, found.high)

    @cached_property
    def _df(self) -> Array | None:
        """Degrees of freedom of each mean, where they were asked for."""
        return None if self.degrees is None else self.degrees(np.eye(len(self.estimate)))

    def _interval(self) -> tuple[Array, Array]:
        if self.scale == "link" or self.slopes:
            return interval(self.estimate, self.std_error, self.level, self._df)
        with np.errstate(divide="ignore", invalid="ignore"):
            link = self.response.link_function(self.estimate)
            variance = np.square(self.std_error / self.response.mean_derivative(link))
            found = with_interval("response", self.response, link, variance, self.level, self._df)
        return found.low, found.high

    def _table(self, estimate: Array, se: Array, low: Array, high: Array) -> pd.DataFrame:
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        columns = {name: list(values) for name, values in self.values.items()}
        degrees = {} if self._df is None else {"df": self._df}
        ends = {"conf_low": low, "conf_high": high}
        table = pd.DataFrame({**columns, "estimate": estimate, "std_error": se, **degrees, **ends})
        return shown(table.assign(note=self.note) if self.note else table)

    @with_alpha
    def contrasts(
        self,
        method: Any = "pairwise",
        *,
        comparison: str = "difference",
        adjust: str | None = "holm",
        reference: Any = None,
        level: float | None = None,
    ) -> Contrasts:
        """Compare the means, within each group of `by`.

        Parameters
        ----------
        method : {"pairwise", "reference", "polynomial"}, mapping of str to coefficients, or array_like
            All differences of two; of each from a reference; orthogonal polynomials; or coefficients of your own, one
            for each mean of a group: a mapping names them, a matrix has a row for each contrast.
        comparison : {"difference", "ratio", "lnor"}
            Of means: contrasts of themselves; of their logarithms, exponentiated; or of their log odds. Of linear
            predictors "ratio" is the exponential of the difference: for a logit an odds ratio.
        adjust : {"holm", "tukey", "mvt", "bonferroni"} or None
            For how many comparisons a group has. "tukey" is that of the
            studentized range (emmeans' default), "mvt" the exact one for correlated estimates.
        reference : str or number, optional
            For "reference": by default the first.
        level : float, optional
            Coverage of the intervals, together; by default that of the means.

        Returns
        -------
        Contrasts

        Raises
        ------
        OptionError
            On another method, comparison or adjustment.
        """
        level = check_level(self.level if level is None else level)
        self._check(comparison)
        on_log = comparison == "ratio"
        values, slopes = self._on(comparison)
        covariance = slopes[:, None] * self.covariance * slopes
        names = [name for name in self.values if name not in self.by]
        blocks, pvalues, critical, degrees = (list[Array]() for _ in range(4))
        labels, groups, note = list[str](), list[tuple[Any, ...]](), ""
        for group, rows in self._groups():
            texts = [", ".join(str(self.values[name][j]) for name in names) for j in rows]
            only = [self.values[names[0]][j] for j in rows] if len(names) == 1 else None
            chosen = coefficients_of(method, texts, only, reference, "/" if on_log else "-")
            C = np.zeros((len(chosen.names), len(values)))
            C[:, rows] = chosen.matrix
            df = None if self.degrees is None else self.degrees(C * slopes)
            done = self._adjusted(C @ values, _between(C, covariance), adjust, level, len(rows), chosen, df)
            blocks.append(C)
            labels += chosen.names
            groups += [group] * len(chosen.names)
            pvalues.append(done.pvalues)
            critical.append(done.critical)
            degrees += [] if df is None else [df]
            note = done.note
        C = np.vstack(blocks)
        total = _between(C, covariance)
        return Contrasts(
            by={name: tuple(group[k] for group in groups) for k, name in enumerate(self.by)},
            names=tuple(labels),
            estimate=C @ values,
            std_error=np.sqrt(np.diag(total)),
            covariance=total,
            pvalue=np.concatenate(pvalues),
            critical=np.concatenate(critical),
            exponentiate=on_log,
            what=self._compared_in_words(comparison),
            adjust=adjust,
            level=level,
            note="; ".join(filter(None, [self.note, note])),
            df=np.concatenate(degrees) if degrees else None,
        )

    def _check(self, comparison: str) -> None:
        check_comparison(comparison, self.response)
        if self.slopes and comparison != "difference":
            raise OptionError(f"comparison={comparison!r} of slopes", "differences", 'comparison="difference"')
        if self.scale == "link" and comparison == "lnor":
            raise OptionError('comparison="lnor" of linear predictors', "means", 'scale="response"')
        if self.scale == "link" and comparison == "ratio":
            ratio_names(self.response)

    def _on(self, comparison: str) -> tuple[Array, Array]:
        if self.scale != "link":
            return transformed(self.estimate, comparison)
        sign = self.response.ratio_sign if comparison == "ratio" else 1.0
        return sign * self.estimate, np.full(len(self.estimate), sign)

    def _compared_in_words(self, comparison: str) -> str:
        if comparison == "lnor":
            return _LNOR
        if comparison == "ratio":
            return ratio_names(self.response)[0] if self.scale == "link" else "ratio of means"
        return f"difference of {'slopes' if self.slopes else 'means'}"

    def _groups(self) -> list[tuple[tuple[Any, ...], list[int]]]:
        """Means that are compared with each other, by the values of `by`."""
        found: dict[tuple[Any, ...], list[int]] = {}
        for j in range(len(self.estimate)):
            found.setdefault(tuple(self.values[name][j] for name in self.by), []).append(j)
        return list(found.items())

    @staticmethod
    def _adjusted(
        estimate: Array,
        covariance: Array,
        adjust: str | None,
        level: float,
        means: int,
        chosen: Coefficients,
        df: Array | None,
    ) -> Adjusted:
        se = np.sqrt(np.diag(covariance))
        with np.errstate(divide="ignore", invalid="ignore"):
            z, correlation = estimate / se, covariance / np.outer(se, se)
        if adjust == "mvt" and not np.isfinite(correlation).all():
            raise OptionError(
                'adjust="mvt" of contrasts without a standard error', "estimates that vary", 'adjust="holm"'
            )
        return adjusted(z, correlation, adjust, level, means, pairwise=chosen.pairwise, df=df)

    def __str__(self) -> str:
        within = f", within {' and '.join(self.by)}" if self.by else ""
        return f"{fold(f'{self.what}{within}')}\n{self.to_frame()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{self.what}</p>{self.to_frame()._repr_html_()}"  # type: ignore[operator]  # of an EstimateFrame


def _between(C: Array, covariance: Array) -> Array:
    """Covariance of contrasts; nan where a variance is infinite."""
    with np.errstate(invalid="ignore"):
        found: Array = C @ covariance @ C.T
    return found


@dataclass(frozen=True, repr=False, eq=False)
class Contrasts:
    """Comparisons of estimates; c of them.

    Parameters
    ----------
    by : mapping of str to tuple, length c each
        The group of each.
    names : tuple of str
    estimate, std_error : ndarray, shape (c,)
        Of ratios their logarithms; `to_frame` shows them exponentiated.
    covariance : ndarray, shape (c, c)
    pvalue : ndarray, shape (c,)
        Adjusted for how many there are.
    critical : ndarray, shape (c,)
        Standard errors that intervals reach to each side.
    exponentiate : bool
    what : str
        In words.
    adjust : str or None
    level : float
    note : str
    df : ndarray, shape (c,), optional
        Degrees of freedom, where they were asked for.
    """

    by: Mapping[str, tuple[Any, ...]]
    names: tuple[str, ...]
    estimate: Array
    std_error: Array
    covariance: Array = field(repr=False)
    pvalue: Array
    critical: Array
    exponentiate: bool
    what: str
    adjust: str | None
    level: float
    note: str = ""
    df: Array | None = None

    def to_frame(self) -> pd.DataFrame:
        """A row for each contrast.

        Returns
        -------
        DataFrame
            The columns of `by`, `contrast`, `estimate`, `std_error` (of ratios by the delta method), `z` (of ratios
            that of the logarithm), `df` where degrees of freedom were asked for, `pvalue`, `conf_low`, `conf_high`;
            `note` where something is to be said.
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        estimate, se = self.estimate, self.std_error
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            z = estimate / se
            low, high = estimate - self.critical * se, estimate + self.critical * se
            if self.exponentiate:
                ratio = exponentiated(estimate, se, self.level)
                estimate, se, low, high = ratio.estimate, ratio.std_error, np.exp(low), np.exp(high)
        table = pd.DataFrame(
            {
                **{name: list(values) for name, values in self.by.items()},
                "contrast": list(self.names),
                "estimate": estimate,
                "std_error": se,
                "z": z,
                **({} if self.df is None else {"df": self.df}),
                "pvalue": self.pvalue,
                "conf_low": low,
                "conf_high": high,
            }
        )
        return shown(table.assign(note=self.note) if self.note else table)

    def __str__(self) -> str:
        how = "not adjusted" if self.adjust is None else f"adjusted: {self.adjust}"
        return f"{fold(f'Contrasts: {self.what}; p-values and intervals {how}')}\n{self.to_frame()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>Contrasts: {self.what}</p>{self.to_frame()._repr_html_()}"  # type: ignore[operator]
