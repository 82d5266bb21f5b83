"""What happens to the design when a variable of the user's table changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.cluster_means import ClusterMeans
from clusterglm.data.design import Factor
from clusterglm.data.prepare import ModelData
from clusterglm.data.tables.columns import model_frame
from clusterglm.data.tables.table import to_pandas_columns
from clusterglm.errors import DataError, OptionError, nearest
from clusterglm.model.arguments import several
from clusterglm.model.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

_MOVE = 2.0**-15  # of a variable's scale: near eps^(1/3), where cut-off and rounding errors of a derivative balance
_LEAST_SCALE = 2.0**-10  # smallest scale, relative to the standard deviation


class Columns(Protocol):
    """A design, or several side by side."""

    @property
    def variables(self) -> Sequence[str]:
        """Columns of the table that it is made from."""

    @property
    def factors(self) -> Sequence[Factor]:
        """Those that are categorical."""

    @property
    def cluster_means(self) -> ClusterMeans | None:
        """Means of clusters among its columns."""

    def build(self, table: nw.DataFrame[Any], /) -> Array:
        """Its columns of new data."""


@dataclass(frozen=True)
class DesignChange:
    """What is averaged over n rows: a change of one variable, or a mean.

    Parameters
    ----------
    variable : str
        Column of the user's table.
    contrast : str
        "derivative", or the difference that is taken, such as "drug - placebo".
    high : ndarray, shape (n, p)
        Design with the variable at its higher value; for a derivative or a mean the design as it is.
    low : ndarray, shape (n, p), or None
        Design with the variable at its lower value; None for a derivative or a mean.
    slope : ndarray, shape (n, p), or None
        For a derivative, that of the design; None for a mean; otherwise empty.
    rows : ndarray of int64, shape (n,), or None
        Which of the rows that are averaged over it is of; None: all of them. Their weights then sum to one.
    """

    variable: str
    contrast: str
    high: Array
    low: Array | None
    slope: Array | None
    rows: NDArray[np.int64] | None = None

    def of_rows(self, weights: Array) -> tuple[slice | NDArray[np.int64], Array]:
        """Where its rows are among all, and their weights."""
        if self.rows is None:
            return slice(None), weights
        own = weights[self.rows]
        return self.rows, own / own.sum()


def design_changes(design: Columns, frame: pd.DataFrame, variables: Sequence[str]) -> list[DesignChange]:
    """Change variables one at a time; every term that is made from them follows.

    Parameters
    ----------
    design : Design
    frame : DataFrame
        The variables of the design, n complete rows, as `table_frame` or `recovered_frame` give them.
    variables : sequence of str
        Columns to change.

    Returns
    -------
    list of DesignChange
        Categorical variables give one for each level but the first, against the first; numeric ones that are 0 or 1
        (or bools) one, from 0 to 1; others the derivative.

    Raises
    ------
    DataError
        When a variable acts by steps, as in C(x > 3), so that it has no derivative, or is not numeric.
    """
    found: list[DesignChange] = []
    factors = {factor.column: factor for factor in design.factors}
    for name in variables:
        factor = factors.get(name)
        if factor is not None:
            found += _levels(design, frame, factor, name)
        else:
            found.append(_numeric(design, frame, name))
    return found


def check_variables(design: Columns, variables: str | Sequence[str] | None, argument: str = "variables") -> list[str]:
    """The variables asked for by an argument, all of the design by default.

    Raises
    ------
    OptionError
        When one is not in the formula, or the formula has none.
    """
    known = list(design.variables)
    if not known:
        raise OptionError("effects of a model without covariates", "a variable that can change", "add a covariate")
    example = f"{argument}={known[0]!r}"
    words = [variables] if isinstance(variables, str) else variables
    wanted = known if words is None else several(argument, words, "names of variables", example)
    for name in wanted:
        if name not in known:
            raise OptionError(
                f"{argument}= with {name!r}",
                f"columns of the data that the formula uses: {', '.join(map(repr, known))}",
                f"{nearest(str(name), known)}name variables, not terms: x for x, I(x**2) and bs(x) together",
            )
    return wanted


def table_frame(design: Columns, table: nw.DataFrame[Any], rows: NDArray[np.int64]) -> pd.DataFrame:
    """The variables of the design in given rows of a table, free of missing values; the clusters too if it needs them.

    Means of clusters, as in `within(x)`, are those of the fit and stay where they are when a variable changes.
    """
    frame = model_frame(table, design.variables, rows)
    if design.cluster_means is None:
        return frame
    name = design.cluster_means.column
    return frame.assign(**{name: to_pandas_columns(table, [name])[name].take(rows).to_numpy()})


def recovered_frame(data: ModelData) -> pd.DataFrame:
    """The variables of the design, read off the columns of X, rows as there.

    Raises
    ------
    DataError
        When the columns do not tell a variable's values: then the table itself is needed.

    Notes
    -----
    A numeric variable is known where it is a column by itself, a categorical one where its levels are. What was read
    is put through the formula again and must give the same design.
    """
    import pandas as pd

    design, X = data.design, data.X
    alone: dict[str, list[int]] = {}
    for term, places in design.coding.places():
        if len(term.parts) == 1 and len(term.parts[0]) == 1 and len(places) == term.columns:
            alone[design.coding.factors[term.parts[0][0][0]].expression] = list(places)
    factors = {factor.column: factor for factor in design.factors if factor.column is not None}
    lost = [name for name in design.variables if (factors[name].expression if name in factors else name) not in alone]
    if lost or design.cluster_means is not None:
        raise table_needed(lost or list(design.variables))
    columns: dict[str, Any] = {}
    for name in design.variables:
        if name not in factors:
            columns[name] = X[:, alone[name]][:, 0]
    for name, factor in factors.items():
        columns[name] = at_level(factor, 0, len(X))
    for name, factor in factors.items():
        few = pd.DataFrame({key: values[:1].repeat(len(factor.levels)) for key, values in columns.items()})
        few[name] = of_codes(factor, np.arange(len(factor.levels)))
        where = alone[factor.expression]
        patterns = _build(design, few)[:, where]
        codes = np.full(len(X), -1)
        for code, pattern in enumerate(patterns):
            codes[np.all(np.abs(X[:, where] - pattern) < 1e-9, axis=1)] = code
        if (codes < 0).any():
            raise table_needed([name])
        columns[name] = of_codes(factor, codes)
    frame = pd.DataFrame({name: columns[name] for name in design.variables}, index=pd.RangeIndex(len(X)))
    again = _build(design, frame)
    if not np.all(np.abs(again - X) <= 1e-9 * (np.abs(X).max(axis=0) + 1e-300)):
        raise table_needed(list(design.variables))
    return frame


def at_level(factor: Factor, code: int, rows: int) -> Any:
    """A column all of one level."""
    return of_codes(factor, np.full(rows, code))


def of_codes(factor: Factor, codes: NDArray[np.int64]) -> Any:
    """A column of levels by their numbers: numbers and bools as such, anything else as categories."""
    import pandas as pd

    levels = np.asarray(factor.levels)
    if levels.dtype.kind in "bif":
        return levels[codes]
    return pd.Categorical.from_codes(codes, categories=pd.Index(list(factor.levels)))


def _levels(design: Columns, frame: pd.DataFrame, factor: Factor, name: str) -> list[DesignChange]:
    n = len(frame)
    designs = [_build(design, frame.assign(**{name: at_level(factor, code, n)})) for code in range(len(factor.levels))]
    # what is left beside a level that separates the responses does not make it
    made = [(level, X) for level, X in zip(factor.levels, designs, strict=True) if not np.isnan(X).any()]
    return [DesignChange(name, f"{level} - {made[0][0]}", X, made[0][1], np.empty((n, 0))) for level, X in made[1:]]


def _numeric(design: Columns, frame: pd.DataFrame, name: str) -> DesignChange:
    if frame[name].dtype.kind not in "bif":
        raise _steps(name)
    values = frame[name].to_numpy()
    if values.dtype.kind == "b" or np.isin(values, (0.0, 1.0)).all():
        low, high = (_build(design, frame.assign(**{name: np.full_like(values, end)})) for end in (0, 1))
        words = "True - False" if values.dtype.kind == "b" else "1 - 0"
        return DesignChange(name, words, high, low, np.empty((len(frame), 0)))
    x = values.astype(np.float64)
    slope = _slope(design, frame, name, x, 1.0)
    # across a step, half the distance gives twice the slope; beside it none, though the column changes from end to end
    largest, closer = (np.abs(each).max(axis=0) for each in (slope, _slope(design, frame, name, x, 0.5)))
    low, high = (_build(design, frame.assign(**{name: np.full_like(x, end)})) for end in (x.min(), x.max()))
    if not slope.any() or np.any(closer > 1.2 * largest) or np.any((low != high).any(axis=0) & (largest == 0.0)):
        raise _steps(name)
    return DesignChange(name, "derivative", _build(design, frame), None, slope)


def _slope(design: Columns, frame: pd.DataFrame, name: str, x: Array, share: float) -> Array:
    """dX/dx, shape (n, p), by three points in the range of the variable: central differences except near its ends.

    Steps follow each value's own size, between a fraction of the standard deviation and the whole of it: logarithms of
    small values and squares of values far from zero both come out to about 1e-9 of their size; `share` of such a step.
    """
    spread = float(np.std(x)) or float(np.abs(x[0])) or 1.0
    h = share * _MOVE * np.clip(np.abs(x), _LEAST_SCALE * spread, spread)
    least, most = x.min(), x.max()
    one = np.where(x - h < least, h, -h)
    other = np.where(x - h < least, 2.0 * h, np.where(x + h > most, -2.0 * h, h))
    if most == least:  # no range: constant in these rows
        one, other = -h, h
    first, second = x + one, x + other
    at, up, down = (_build(design, frame.assign(**{name: value})) for value in (x, second, first))
    d1, d2 = (first - x)[:, None], (second - x)[:, None]  # as rounded, so that linear terms are exact
    slope: Array = ((down - at) * (d2 / d1) - (up - at) * (d1 / d2)) / (d2 - d1)
    return slope


def _build(design: Columns, frame: pd.DataFrame) -> Array:
    return design.build(nw.from_native(frame, eager_only=True))


def _steps(name: str) -> DataError:
    return DataError(
        f"the effect of {name!r}, which enters by steps or as a computed category",
        "a numeric variable that moves the mean smoothly, or a categorical column",
        f"compute the categories as a column of the data and fit with it; or variables= without {name!r}",
    )


def table_needed(names: Sequence[str]) -> DataError:
    """The error where a fit does not tell the values of some variables."""
    listed = ", ".join(map(repr, names))
    return DataError(
        f"effects of variables where {listed} cannot be read off the design, and the fit keeps no table",
        "the table that was fitted, or another one to average over",
        "data=the same table",
    )
