"""Cells of adjusted means: rows of a design with some variables set to values, and averages by groups of rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.formulas.coding import Factor
from clusterglm.data.formulas.values import UNSEEN, positions
from clusterglm.errors import OptionError
from clusterglm.inference.diagnostics.design_changes import Columns, DesignChange, at_level, design_changes, of_codes
from clusterglm.inference.effects.average_effects import AverageEffects
from clusterglm.inference.effects.contrasts import transformed
from clusterglm.model.arguments import shown
from clusterglm.model.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

_MOST_VALUES = 12  # of a numeric variable whose means are asked for without saying where
_MOST_CELLS = 500  # means whose covariances are worth a matrix
_MOST_BY = 100  # groups of rows
_LARGEST_GRID = 100_000  # combinations of the levels of other variables


# Averages by groups of rows ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Groups:
    """Groups of rows.

    Parameters
    ----------
    names : tuple of str
        Variables whose levels tell the groups apart; none of them: one group of all rows.
    labels : tuple of tuple
        The levels of each group.
    rows : tuple of ndarray of int64
    """

    names: tuple[str, ...]
    labels: tuple[tuple[Any, ...], ...]
    rows: tuple[NDArray[np.int64], ...]

    def repeated(self, times: int) -> dict[str, list[Any]]:
        """Columns of a table that has the groups so many times, one after another."""
        return {name: [label[k] for label in self.labels] * times for k, name in enumerate(self.names)}


def groups_of(design: Columns, frame: pd.DataFrame, names: Sequence[str]) -> Groups:
    """Rows by the levels of variables, of combinations those that there are.

    Raises
    ------
    OptionError
        Where these are more than 100.
    """
    if not names:
        return Groups((), ((),), (np.arange(len(frame)),))
    factors, codes, levels = _factors(design), [], []
    for name in names:
        values = frame[name]
        if name in factors:
            known = factors[name].levels
            places = positions(known, list(dict.fromkeys(values.tolist())))
            found = dict(zip(dict.fromkeys(values.tolist()), places.tolist(), strict=True))
            codes.append(np.array([found[value] for value in values.tolist()]))
            levels.append(list(known))
        else:
            unique, inverse = np.unique(values.to_numpy(), return_inverse=True)
            codes.append(inverse)
            levels.append([_plain(value) for value in unique.tolist()])
    combined, which = np.unique(np.column_stack(codes), axis=0, return_inverse=True)
    if len(combined) > _MOST_BY:
        raise OptionError(
            f"by={list(names)!r}, which makes {len(combined):,} groups",
            f"at most {_MOST_BY} groups of rows",
            "a column of categories in the formula; or data= the rows of one group",
        )
    labels = tuple(tuple(levels[k][code] for k, code in enumerate(row)) for row in combined.tolist())
    rows = tuple(np.flatnonzero(which.ravel() == g) for g in range(len(combined)))
    return Groups(tuple(names), labels, rows)


def by_groups(changes: Sequence[DesignChange], groups: Groups) -> Sequence[DesignChange]:
    """Each change over the rows of each group."""
    if not groups.names:
        return changes
    return [_over(change, rows) for change in changes for rows in groups.rows]


def _over(change: DesignChange, rows: NDArray[np.int64]) -> DesignChange:
    low, slope = (None if each is None else each[rows] for each in (change.low, change.slope))
    return replace(change, high=change.high[rows], low=low, slope=slope, rows=rows)


def compared_effects(
    changes: Sequence[DesignChange],
    groups: Groups,
    means: Callable[[Collection[DesignChange]], AverageEffects],
    comparison: str,
) -> AverageEffects:
    """Effects as comparisons of averaged means: logarithms of their ratios, or of their odds ratios.

    Parameters
    ----------
    changes : sequence of DesignChange
    groups : Groups
    means : function
        Averages of means with their joint covariance; of several outcomes one after another where there are some.
    comparison : {"ratio", "lnor"}

    Raises
    ------
    OptionError
        For a derivative, which compares no two means.
    """
    slopes = [change.variable for change in changes if change.low is None]
    if slopes:
        raise OptionError(
            f"comparison={comparison!r} of {slopes[0]!r}, of whose mean there is a derivative",
            "a variable with two values, or levels",
            f"variables= without it; or adjusted_means({slopes[0]!r}, at={{{slopes[0]!r}: [0, 1]}}).contrasts()",
        )
    chosen, ends = by_groups(changes, groups), list[DesignChange]()
    for change in chosen:
        assert change.low is not None
        ends += [replace(change, high=end, low=None, slope=None) for end in (change.high, change.low)]
    found = means(ends)
    values, factors = transformed(found.estimate, comparison)
    outcomes = len(values) // len(ends)
    C = np.kron(np.eye(len(chosen)), np.kron([[1.0, -1.0]], np.eye(outcomes)))
    C, (high, low) = C * factors, np.swapaxes(values.reshape(len(chosen), 2, outcomes), 0, 1)
    covariance = C @ found.covariance @ C.T
    return replace(
        found,
        terms=tuple(change.variable for change in chosen for _ in range(outcomes)),
        contrasts=tuple(change.contrast for change in chosen for _ in range(outcomes)),
        estimate=(high - low).ravel(),
        std_error=np.sqrt(np.diag(covariance)),
        covariance=covariance,
        gradient=C @ found.gradient,
    )


# Cells ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cells(Collection[DesignChange]):
    """Means, or slopes, over the same rows with some variables set to values; made one by one.

    Parameters
    ----------
    design : Columns
    frame : DataFrame
        The variables of the design, n rows.
    values : mapping of str to sequence
        Variables whose combinations of values are the cells; the last varies slowest.
    slope : str or None
        The variable along which slopes are taken; None for means.
    """

    design: Columns
    frame: pd.DataFrame
    values: Mapping[str, Sequence[Any]]
    slope: str | None = None

    def __len__(self) -> int:
        return int(np.prod([len(each) for each in self.values.values()]))

    def __contains__(self, item: object) -> bool:
        return any(item is each for each in self)

    @property
    def combinations(self) -> list[tuple[Any, ...]]:
        """Values of each cell, in the order of `values`."""
        return [combination[::-1] for combination in product(*reversed(list(self.values.values())))]

    def __iter__(self) -> Iterator[DesignChange]:
        for combination in self.combinations:
            frame = set_to(self.design, self.frame, dict(zip(self.values, combination, strict=True)))
            words = ", ".join(map(str, combination))
            if self.slope is None:
                columns = self.design.build(nw.from_native(frame, eager_only=True))
                yield DesignChange("mean", words, columns, None, None)
            else:
                (change,) = design_changes(self.design, frame, [self.slope])
                yield replace(change, contrast=words)


def cell_values(
    design: Columns, frame: pd.DataFrame, names: Sequence[str], at: Mapping[str, Any]
) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Values of the variables whose means are asked for, and of those that are held.

    Parameters
    ----------
    design : Columns
    frame : DataFrame
        Rows of the fit.
    names : sequence of str
        The former.
    at : mapping of str to value or sequence of values

    Raises
    ------
    OptionError
        On a level that there is not, several values of a variable that is held, or a numeric variable of many values.
    """
    factors, values = _factors(design), dict[str, list[Any]]()
    for name in names:
        if name in at:
            values[name] = _listed(at[name])
        elif name in factors:
            values[name] = list(factors[name].levels)
        else:
            values[name] = [_plain(value) for value in np.unique(frame[name].to_numpy()).tolist()]
            if len(values[name]) > _MOST_VALUES:
                raise OptionError(
                    f"means at {len(values[name]):,} values of {name!r}",
                    f"the values, for a numeric variable of more than {_MOST_VALUES}",
                    f"at={{{name!r}: [...]}}; or slope={name!r}, for slopes along it",
                )
        values[name] = [_value(name, value, factors.get(name)) for value in values[name]]
    held = {}
    for name, value in at.items():
        if name not in values:
            if len(_listed(value)) != 1:
                raise OptionError(
                    f"at= with several values of {name!r}, which is held",
                    "one value; or means at each of them",
                    f"by={name!r}, with the same at=",
                )
            held[name] = _value(name, _listed(value)[0], factors.get(name))
    cells = int(np.prod([len(each) for each in values.values()]))
    if cells > _MOST_CELLS:
        raise OptionError(
            f"{cells:,} adjusted means", f"at most {_MOST_CELLS}", "fewer variables, or at= with fewer values"
        )
    return values, held


def set_to(design: Columns, frame: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """Rows with variables at values, which are levels of the fit where they are categorical."""
    factors, n = _factors(design), len(frame)
    columns: dict[str, Any] = {}
    for name, value in values.items():
        if name in factors:
            columns[name] = at_level(factors[name], factors[name].levels.index(value), n)
        else:
            columns[name] = np.full(n, value, dtype=bool if frame[name].dtype.kind == "b" else np.float64)
    return frame.assign(**columns) if columns else frame


def balanced(design: Columns, frame: pd.DataFrame, weights: Array, moved: Collection[str]) -> pd.DataFrame:
    """Every combination of levels of the variables that are not moved, numeric ones at their mean.

    Parameters
    ----------
    design : Columns
    frame : DataFrame
        Rows of the fit, shape (n, ...).
    weights : ndarray, shape (n,)
        For the means.
    moved : collection of str
        Variables that cells set; they are in the answer at some value.

    Raises
    ------
    OptionError
        With means of clusters among the covariates, or too many combinations.
    """
    import pandas as pd

    if design.cluster_means is not None:
        raise OptionError(
            'over="balanced" with within(...) or between(...) in the formula',
            "covariates that do not depend on the rows of a cluster",
            'over="observed"',
        )
    factors, numbers, codes = _factors(design), dict[str, Any](), dict[str, range]()
    for name in design.variables:
        if name in factors:
            codes[name] = range(1 if name in moved else len(factors[name].levels))
        elif frame[name].dtype.kind == "b":
            codes[name] = range(1 if name in moved else 2)
        else:
            numbers[name] = float(weights @ frame[name].to_numpy(float) / weights.sum())
    size = int(np.prod([len(each) for each in codes.values()]))
    if size > _LARGEST_GRID:
        raise OptionError(
            f'over="balanced" with {size:,} combinations of levels', f"at most {_LARGEST_GRID:,}", 'over="observed"'
        )
    grid = np.array(list(product(*codes.values())), dtype=np.int64).reshape(size, len(codes))
    columns: dict[str, Any] = {name: np.full(size, value) for name, value in numbers.items()}
    for k, name in enumerate(codes):
        columns[name] = of_codes(factors[name], grid[:, k]) if name in factors else grid[:, k] == 1
    return pd.DataFrame({name: columns[name] for name in design.variables}, index=pd.RangeIndex(size))


def _factors(design: Columns) -> dict[str, Factor]:
    return {factor.column: factor for factor in design.factors if factor.column is not None}


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str) or np.ndim(value) == 0:
        return [value]
    return list(value)


def _value(name: str, value: Any, factor: Factor | None) -> Any:
    """A value as the design knows it."""
    if factor is not None:
        (place,) = positions(factor.levels, [value]).tolist()
        if place == UNSEEN:
            known = ", ".join(map(repr, factor.levels[:20]))
            raise OptionError(
                f"at= with {name!r} at {shown(value)}", f"one of the levels {known}", "check the spelling"
            )
        return factor.levels[place]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise OptionError(f"at= with {name!r} at {shown(value)}", "a finite number", f"at={{{name!r}: 0}}")
    return value if isinstance(value, bool) else _plain(number)


def _plain(value: Any) -> Any:
    """A whole number as such."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2.0**53 else value
