"""What parts of a table must have in common, so that each alone becomes what it is in the whole: terms and levels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np

from clusterglm.data.columns import model_frame
from clusterglm.data.design import formula_offset, make_design
from clusterglm.data.formula import ParsedFormula
from clusterglm.data.offsets import given_in
from clusterglm.data.prepare import Learned
from clusterglm.data.response import parse_response
from clusterglm.data.rows import Request, evaluated, offset_argument, select_rows
from clusterglm.data.table import read_table, to_pandas_columns
from clusterglm.errors import DataError, FormulaError, OptionError

if TYPE_CHECKING:
    import pandas as pd

_HEAD = 20_000  # rows from which a formula's terms are learned
_MOST_LEVELS = 10_000


@dataclass(frozen=True)
class Survey:
    """What one part shows of the columns that have levels.

    Parameters
    ----------
    levels : dict of str to list
        Levels of the categorical variables in rows in use.
    response : list of str
        Values of a response of two levels.
    head : data frame or None
        Some complete rows.
    """

    levels: dict[str, list[Any]] = field(default_factory=dict)
    response: list[Any] = field(default_factory=list)
    head: Any = None


def check_request(parsed: ParsedFormula, request: Request) -> tuple[str, ...]:
    """The columns that a fit needs, which must all be named.

    Raises
    ------
    OptionError
        When an argument is an array.
    FormulaError
        When the formula takes means of clusters.
    """
    names = [name for part in (*parsed.response, *parsed.offsets) for name in part.variables]
    names += [*parsed.variables, *([parsed.cluster] if parsed.cluster else [])]
    for argument in ("cluster", "weights", "cluster_weights", "offset", "subset"):
        value = getattr(request, argument)
        if argument == "offset":
            argument, value = given_in(value)
        if isinstance(value, str):
            names.append(value)
        elif value is not None and not (argument == "cluster_weights" and isinstance(value, Mapping)):
            raise OptionError(
                f"{argument}= of type {type(value).__name__} with data that are not in memory",
                "the name of a column",
                f"write it into the data as a column, and pass {argument}='its name'",
            )
    if parsed.cluster_terms:
        raise FormulaError(
            f"{parsed.cluster_terms[0].name} with data that are not in memory",
            "columns of the data",
            "write the clusters' means into the data, for instance with SQL's avg(x) over (partition by id)",
        )
    return tuple(dict.fromkeys(names))


def has_levels(table: nw.DataFrame[Any], parsed: ParsedFormula) -> tuple[list[str], bool]:
    """Variables of which all levels must be known, and whether the response is one of them."""
    coded = {
        name
        for name in parsed.variables
        if re.search(rf"\b(?:C|factor)\(\s*`?{re.escape(name)}`?\s*[,)]", parsed.right)
    }
    names = [name for name in parsed.variables if name in coded or not _plain(table[name].dtype)]
    response = parsed.response[0]
    return names, len(parsed.response) == 1 and response.is_column and not _plain(table[response.variables[0]].dtype)


def survey(native: Any, parsed: ParsedFormula, request: Request) -> Survey:
    """Levels and some rows of one part."""
    table = read_table(native)
    selection = select_rows(table, parsed, request)
    keep = np.flatnonzero(selection.rows.keep)
    names, text = has_levels(table, parsed)
    levels: dict[str, list[Any]] = {}
    for name in names:
        found = to_pandas_columns(table[keep] if len(keep) < len(table) else table, [name])[name].unique()
        levels[name] = [value for value in np.asarray(found, dtype=object).tolist() if value is not None]
        if len(levels[name]) > _MOST_LEVELS:
            raise FormulaError(
                f"{name!r} with more than {_MOST_LEVELS} levels",
                "covariates with few levels",
                "cluster= for ids of clusters; or drop it",
            )
    response: list[Any] = []
    if text:
        column = to_pandas_columns(table, [parsed.response[0].variables[0]]).iloc[:, 0]
        response = [str(value) for value in column[selection.within].dropna().unique()]
    head = table[keep[:_HEAD]].to_native() if len(keep) else None
    return Survey(levels, response, head)


def learn(
    surveys: Sequence[Survey], parsed: ParsedFormula, request: Request, orders: Mapping[str, Sequence[Any]]
) -> Learned:
    """The design that all parts share.

    Parameters
    ----------
    surveys : sequence of Survey
        Of all parts, or of one where no column has levels.
    parsed : ParsedFormula
    request : Request
    orders : mapping of str to sequence
        Levels of categorical columns in an order of their own; others are sorted.

    Raises
    ------
    DataError
        When no part has a complete row.
    FormulaError
        When a term depends on more than its own row: splines, polynomials, centring.
    """
    head = next((each.head for each in surveys if each.head is not None), None)
    if head is None:
        raise DataError(
            "no complete row with positive weight",
            "rows in which nothing is missing",
            "look at the columns of the formula; check subset=",
        )
    table = read_table(head)
    levels = {
        name: _ordered({value for each in surveys for value in each.levels.get(name, ())}, orders.get(name))
        for name in surveys[0].levels
    }
    frame = _with_levels(model_frame(table, parsed.variables, None), levels, has_levels(table, parsed)[0])
    design, X = make_design(parsed, frame, offset_argument(request.offset), absorb=request.fixed_effects)
    _refuse_memory_of_the_whole(parsed, design.spec.transform_state)
    _refuse_other_rows(parsed, table, design.build, X)
    return Learned(design, _response_levels(surveys, parsed, request, orders))


def _plain(dtype: Any) -> bool:
    return bool((dtype.is_numeric() and not dtype.is_decimal()) or isinstance(dtype, nw.Boolean))


def _ordered(found: set[Any], order: Sequence[Any] | None) -> list[Any]:
    if order is not None and found <= set(order):
        return [value for value in order if value in found]
    return sorted(found)


def _with_levels(frame: pd.DataFrame, levels: Mapping[str, list[Any]], names: Sequence[str]) -> pd.DataFrame:
    """The rows, and as many more as it takes to show every level."""
    import pandas as pd

    most = max((len(levels[name]) for name in names), default=0)
    if most == 0:
        return frame
    more = frame.iloc[np.zeros(most, dtype=int)].reset_index(drop=True)
    whole = pd.concat([frame.astype(dict.fromkeys(names, object)), more], ignore_index=True)
    for name in names:
        values = [levels[name][k % len(levels[name])] for k in range(most)]
        column = [*whole[name].iloc[: len(frame)].tolist(), *values]
        plain = pd.api.types.is_numeric_dtype(frame[name].dtype) or pd.api.types.is_datetime64_any_dtype(
            frame[name].dtype
        )
        whole[name] = pd.Series(column, dtype=frame[name].dtype) if plain else pd.Categorical(column, levels[name])
    return whole


def _response_levels(
    surveys: Sequence[Survey], parsed: ParsedFormula, request: Request, orders: Mapping[str, Sequence[Any]]
) -> tuple[str, str] | None:
    import pandas as pd

    found = {value for each in surveys for value in each.response}
    if not found:
        return None
    order = orders.get(parsed.response[0].variables[0])
    values = _ordered(found, None if order is None else [str(value) for value in order])
    return parse_response(pd.Series(pd.Categorical(values, values)), request.response, parsed.response_name).levels


def _refuse_memory_of_the_whole(parsed: ParsedFormula, state: Mapping[str, Any]) -> None:
    if state:
        raise FormulaError(
            f"{', '.join(state)} in '{parsed.text}', with data that are not in memory",
            "terms that each row gives by itself: the knots, centres or scales of these come from all rows",
            "numbers in their place, such as I((age - 50) / 10); or the term as columns of the data",
        )


def _refuse_other_rows(parsed: ParsedFormula, table: nw.DataFrame[Any], build: Any, X: Any) -> None:
    """Refuse terms that are different when fewer rows are at hand, such as x - np.mean(x)."""
    n = len(table)
    if n < 2:
        return
    part = table[np.arange(n // 2, n)]
    same = np.allclose(build(part), X[n // 2 : n], rtol=1e-9, atol=0.0, equal_nan=True)
    if parsed.offsets:
        same &= np.allclose(formula_offset(parsed.offsets, part), formula_offset(parsed.offsets, table)[n // 2 :])
    for expression in parsed.response:
        if not expression.is_column:
            whole, alone = evaluated(table, expression).to_numpy(), evaluated(part, expression).to_numpy()
            same &= bool(np.all(whole[n // 2 :] == alone))
    if not same:
        raise FormulaError(
            f"'{parsed.text}', of which a part depends on other rows than its own, with data that are not in memory",
            "terms that each row gives by itself",
            "numbers in place of means and the like; or the term as a column of the data",
        )
