"""Rows to predict: along one covariate, for each group of others, the rest held where the data have their middle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.design import Design
from clusterglm.data.formulas.check import variables_of
from clusterglm.data.tables.success import level_name
from clusterglm.data.tables.table import read_table, to_pandas_columns
from clusterglm.errors import OptionError, nearest
from clusterglm.inference.diagnostics.design_changes import Columns, check_variables
from clusterglm.model.arguments import number, several, shown
from clusterglm.results.models.base import Result
from clusterglm.results.topics.effect_rows import recovered_variables

if TYPE_CHECKING:
    import pandas as pd

FEW = 2  # numbers that are shown as points, not as a curve
_GROUPS = 6  # distinct numbers of which each is a group
_MOST_GROUPS = 24  # groups that a picture may have
_QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Grid:
    """What to predict.

    Parameters
    ----------
    variable : str
        Along which.
    by : tuple of str
        Variables whose values make the groups.
    groups : list of (str, DataFrame)
        Of each group its name, empty for the only one, and its rows.
    held : list of str
        The other variables and their values, in words.
    """

    variable: str
    by: tuple[str, ...]
    groups: list[tuple[str, pd.DataFrame]]
    held: list[str]


def make_grid(
    fit: Result,
    variable: str | Sequence[str] | None,
    by: str | None,
    data: Any,
    at: Mapping[str, Any],
    points: int,
) -> Grid:
    """See `predictions`.

    Raises
    ------
    OptionError
        On variables and values that the model does not have; it names those that there are.
    DataError
        When the table is needed.
    """
    import pandas as pd

    design, whole = fit.data.design, fit._whole_design
    wanted, group = _variables(whole, variable, by)
    names = list(dict.fromkeys([*whole.variables, *design.offset_columns]))
    for name in at:
        if name not in names:
            raise OptionError(
                f"at= with {name!r}",
                f"columns that the formula uses: {', '.join(map(repr, names))}",
                f"{nearest(name, names)}at={{{names[0]!r}: ...}}",
            )
    known = _known(fit, data, at)
    levels = {factor.column: list(factor.levels) for factor in whole.factors if factor.column is not None}
    given = {name: _values(name, value, levels.get(name)) for name, value in at.items()}
    if wanted in given:
        x: Any = given.pop(wanted)
    elif wanted in levels:
        x = levels[wanted]
    else:
        values = np.unique(known[wanted].dropna().to_numpy())
        x = values if len(values) <= FEW or values.dtype.kind not in "fiu" else np.linspace(*_range(values), points)
    chosen = [group] if group is not None else _interacting(design, wanted, levels) if by is None else []
    for name in chosen:
        given.setdefault(name, levels.get(name) or _typical_numbers(known[name]))
    groups = [name for name in names if len(given.get(name, [])) > 1]
    rest = {name: given.get(name) or [_middle(known[name], name in levels)] for name in names if name != wanted}
    combinations = list(product(*(rest[name] for name in groups)))
    if len(combinations) > _MOST_GROUPS:
        raise OptionError(
            f"{len(combinations)} groups by {' and '.join(map(repr, groups))}",
            f"at most {_MOST_GROUPS}, or nobody sees anything",
            f"at={{{groups[0]!r}: [...]}} with some of the values",
        )
    found = []
    for group_values in combinations:
        own = {name: each[0] for name, each in rest.items()} | dict(zip(groups, group_values, strict=True))
        frame = pd.DataFrame({wanted: np.asarray(x, dtype=object if wanted in levels else None)})
        frame = frame.assign(**{name: pd.Series([own[name]] * len(frame), index=frame.index) for name in rest})
        found.append((_name(groups, group_values), frame))
    held = [f"{name} = {_word(value[0])}" for name, value in rest.items() if name not in groups]
    return Grid(wanted, tuple(groups), found, held)


def _variables(design: Columns, variable: str | Sequence[str] | None, by: str | None) -> tuple[str, str | None]:
    """The variable along which, and the one whose values make groups."""
    example = "'x', or ['x', 'group'] for a curve for each group"
    words = (
        [variable] if isinstance(variable, str) or variable is None else several("variable", variable, example, "'x'")
    )
    if len(words) not in (1, 2) or (len(words) == 2 and by is not None):
        raise OptionError(
            f"variable={shown(variable)}" + ("" if by is None else f" and by={shown(by)}"),
            "one variable to predict along, and one more whose values make groups",
            "predictions('x', by='group', at={'z': [0, 1]}): at= makes groups of any number of columns",
        )
    wanted = check_variables(design, None)[0] if words[0] is None else words[0]
    group = words[1] if len(words) == 2 else by
    for name in (wanted, *(() if group is None else (group,))):
        if not isinstance(name, str):
            raise OptionError(f"variable={shown(name)}", "the name of a variable, or None", "variable='x'")
        check_variables(design, name)
    if group == wanted:
        raise OptionError(f"by={group!r}, along which predictions go", "another variable", "by=None")
    return wanted, group


def _interacting(design: Design, variable: str, levels: Mapping[str, list[Any]]) -> list[str]:
    """Categorical variables whose effect the model lets differ along the variable."""
    beside: list[str] = []
    for term in design.coding.terms:
        for part in term.parts:
            names = variables_of([design.coding.factors[factor[0]].node for factor in part], design.variables)
            if variable in names:
                beside += [name for name in names if name != variable and name in levels]
    return list(dict.fromkeys(beside))


def _values(name: str, value: Any, levels: list[Any] | None) -> list[Any]:
    """The values of a column that `at=` names, one or several; levels as the fit has them."""
    found = [value] if isinstance(value, str) or np.ndim(value) == 0 else list(value)
    if not found:
        raise OptionError(f"at= with no value of {name!r}", "one at least", f"at= without {name!r}")
    if levels is None:
        wide = np.finfo(np.float64).max
        return [
            bool(each) if isinstance(each, bool | np.bool_)
            else number(f"at= with {name}", each, -wide, wide, needed="a finite number", advice=f"at={{{name!r}: 0}}")
            for each in found
        ]  # fmt: skip
    words = {level_name(level): level for level in levels}
    for each in found:
        if level_name(each) not in words:
            raise OptionError(
                f"at= with {name} = {each!r}",
                f"levels that the fit has seen: {', '.join(map(repr, levels))}",
                f"{nearest(str(each), words)}at={{{name!r}: {levels[0]!r}}}",
            )
    return [words[level_name(each)] for each in found]


def _typical_numbers(values: pd.Series[Any]) -> list[Any]:
    """Groups of a numeric variable: its values where they are few, else its quartiles."""
    distinct = np.unique(values.dropna().to_numpy())
    if len(distinct) <= _GROUPS or distinct.dtype.kind not in "fiu":
        return list(distinct.tolist())
    return list(dict.fromkeys(np.quantile(values.dropna().to_numpy(float), _QUARTILES).tolist()))


def _known(fit: Result, data: Any, at: Mapping[str, Any]) -> pd.DataFrame:
    """Values of the covariates in the rows that were used."""
    design = fit.data.design
    if data is not None:
        table = read_table(data)
        names = [*fit._whole_design.variables, *design.offset_columns]
        frame: pd.DataFrame = to_pandas_columns(table, names)
        return frame.iloc[fit.data.rows.row_index]
    lost = [name for name in design.offset_columns if name not in at]
    if lost:
        raise OptionError(
            f"a model with the offset {', '.join(lost)}",
            "its value, or the table",
            f"at={{{lost[0]!r}: ...}}, or data=",
        )
    return recovered_variables(fit.data.rows, fit._beside)


def _middle(values: pd.Series[Any], factor: bool) -> Any:
    if factor or values.dtype.kind not in "fiu":
        return values.mode().iloc[0]
    numbers = values.to_numpy(float)
    distinct = np.unique(numbers)
    # the median of zeros and ones, if it lay between them, would be nobody's value
    return float(values.mode().iloc[0]) if len(distinct) <= FEW else float(np.nanmedian(numbers))


def _range(values: NDArray[Any]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _name(groups: Sequence[str], values: Sequence[Any]) -> str:
    if len(groups) == 1:
        return _word(values[0])
    return ", ".join(f"{name} = {_word(value)}" for name, value in zip(groups, values, strict=True))


def _word(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
