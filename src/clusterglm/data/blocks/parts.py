"""What parts of a table must have in common, so that each alone becomes what it is in the whole: terms and levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from clusterglm.data.blocks.nested import refuse_several
from clusterglm.data.clusters import encode
from clusterglm.data.design import make_design
from clusterglm.data.effects import learn_effects
from clusterglm.data.formulas.algebra import Term
from clusterglm.data.formulas.check import FACTORS, has_memory, variables_of
from clusterglm.data.formulas.columnwise import State
from clusterglm.data.formulas.evaluate import Evaluator
from clusterglm.data.formulas.formula import ParsedFormula
from clusterglm.data.formulas.tree import Call, Name, Node, walk
from clusterglm.data.formulas.values import Categories, names_of, positions, recoded, used
from clusterglm.data.offsets import given_in
from clusterglm.data.prepare import Learned
from clusterglm.data.request import Request
from clusterglm.data.response import parse_response
from clusterglm.data.rows import argument_expression, evaluated, offset_argument, read_response, select_rows
from clusterglm.data.tables.columns import model_columns
from clusterglm.data.tables.success import level_name
from clusterglm.data.tables.table import read_table, to_pandas_columns
from clusterglm.data.within import absorbed
from clusterglm.errors import DataError, FormulaError, OptionError
from clusterglm.model.large_data import ROWS_FOR_FORMULAS

_MOST_LEVELS = 10_000


@dataclass(frozen=True)
class Survey:
    """What one part shows of the columns that have levels.

    Parameters
    ----------
    levels : dict of str to list
        Levels of the categorical variables in rows in use.
    response : list of str
        Values of a response of two levels; in the order of its levels where it is computed.
    head : data frame or None
        Some complete rows.
    columns : dict of str to ndarray or Categories
        All rows in use of the variables of which functions of whole columns are taken.
    made : dict of Node to tuple
        Levels of categories that the formula computes row by row.
    """

    levels: dict[str, list[Any]] = field(default_factory=dict)
    response: list[Any] = field(default_factory=list)
    head: Any = None
    columns: dict[str, Any] = field(default_factory=dict)
    made: dict[Node, tuple[Any, ...]] = field(default_factory=dict)


def check_request(parsed: ParsedFormula, request: Request, columns: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns that a fit needs, which must all be given as names.

    Raises
    ------
    OptionError
        When an argument is an array.
    FormulaError
        When the formula takes means of clusters.
    """
    names = [name for part in (*parsed.response, *parsed.offsets) for name in part.variables]
    names += [*_variables(parsed), *([parsed.cluster] if parsed.cluster else [])]
    names += [name for term in parsed.random for name in term.group]
    for given in (parsed.cluster, request.cluster):
        refuse_several(given, columns)
    for argument in ("cluster", "weights", "cluster_weights", "offset", "subset"):
        value = getattr(request, argument)
        if argument == "offset":
            argument, value = given_in(value)
        if isinstance(value, str):
            found = argument_expression(value, parsed, columns, argument)
            names += [value] if found is None else found.variables
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


def has_levels(table: nw.DataFrame[Any], parsed: ParsedFormula, success: Any = None) -> tuple[list[str], bool]:
    """Variables of which all levels must be known, and whether the response is one of them."""
    made = [part for node in _factors(parsed) for part in walk(node) if isinstance(part, Call)]
    coded = set(variables_of([part for part in made if part.function in FACTORS], _variables(parsed)))
    names = [name for name in _variables(parsed) if name in coded or not _plain(table[name].dtype)]
    response = parsed.response[0]
    named = response.is_column and (success is not None or not _plain(table[response.variables[0]].dtype))
    return names, len(parsed.response) == 1 and named


def whole_columns(parsed: ParsedFormula) -> tuple[str, ...]:
    """Variables of which functions of whole columns are taken."""
    return variables_of([node for node in _factors(parsed) if has_memory(node)], _variables(parsed))


def _factors(parsed: ParsedFormula) -> tuple[Node, ...]:
    """Factors of the formula's terms, those that vary over clusters included."""
    return tuple(dict.fromkeys((*parsed.factors, *parsed.random_factors)))


def _variables(parsed: ParsedFormula) -> tuple[str, ...]:
    """Columns that these use."""
    return tuple(dict.fromkeys((*parsed.variables, *parsed.random_variables)))


def survey(native: Any, parsed: ParsedFormula, request: Request) -> Survey:
    """Levels, some rows, and whole columns where they are needed, of one part."""
    table = read_table(native)
    selection = select_rows(table, parsed, request)
    keep = np.flatnonzero(selection.rows.keep)
    names, text = has_levels(table, parsed, request.success)
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
        response = [level_name(value) for value in column[selection.within].dropna().unique()]
    elif len(parsed.response) == 1 and not parsed.response[0].is_column:
        response = _computed_levels(table, parsed, request, selection.within)
    head = table[keep[:ROWS_FOR_FORMULAS]].to_native() if len(keep) else None
    whole, columns = whole_columns(parsed), dict[str, Any]()
    if whole:
        if len(parsed.response) == 2:  # else single trials
            values = read_response(table, parsed, request.response, selection.within)
            keep = keep[values.trials[keep] != 0.0]
        columns = model_columns(table, whole, keep)
    return Survey(levels, response, head, columns, _made(table, keep, parsed))


def _computed_levels(table: nw.DataFrame[Any], parsed: ParsedFormula, request: Request, within: Any) -> list[str]:
    """Levels of a computed response in their order; none of bools and of 0 and 1, unless one is named."""
    values = evaluated(table, parsed.response[0], parsed.functions)[np.flatnonzero(within)]
    if not request.response.two_levels or (request.success is None and _plain(values.dtype)):
        return []
    return [level_name(value) for value in encode(values).labels.tolist()]


def _made(table: nw.DataFrame[Any], keep: Any, parsed: ParsedFormula) -> dict[Node, tuple[Any, ...]]:
    """Levels of categories that are computed from the rows of one part."""
    nodes = [node for node in _factors(parsed) if not isinstance(node, Name) and not has_memory(node)]
    evaluator = Evaluator(
        model_columns(table, variables_of(nodes, _variables(parsed)), keep), len(keep), {}, parsed.functions
    )
    values = {node: evaluator.column(node) for node in nodes}
    return {node: used(value).levels for node, value in values.items() if isinstance(value, Categories)}


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
        When a term cannot be computed.
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
    columns = model_columns(table, _variables(parsed), None)
    n = _with_levels(columns, levels, len(table))
    memory, made = _memory(surveys, parsed)
    for node in dict.fromkeys(node for each in surveys for node in each.made):
        made[node] = _together(node, [each.made.get(node, ()) for each in surveys], columns, n, parsed)
    terms = tuple(Term((node,)) for node in parsed.factors) if request.alone else parsed.terms
    design, _ = make_design(
        replace(parsed, terms=terms),
        columns,
        n,
        offset_argument(request.offset),
        absorb=request.absorb,
        memory=memory,
        constant=request.constant or (),
        levels=made,
    )
    notes: tuple[str, ...] = ()
    if request.left_out:
        design = design.without([design.names.index(name) for name in request.left_out])
        notes = (absorbed(request.left_out),)
    lower = request.nested[1] if request.nested else None
    effects = learn_effects(parsed, columns, n, design, lower, made) if parsed.varies else None
    return Learned(design, _response_levels(surveys, parsed, request, orders), notes, effects)


def _memory(surveys: Sequence[Survey], parsed: ParsedFormula) -> tuple[dict[str, State], dict[Node, tuple[Any, ...]]]:
    """What functions of whole columns learn from all parts, and the levels of categories that they make."""
    memory: dict[str, State] = {}
    made: dict[Node, tuple[Any, ...]] = {}
    columns = {name: _joined([each.columns[name] for each in surveys]) for name in whole_columns(parsed)}
    if columns:
        n = max(len(each.codes) if isinstance(each, Categories) else len(each) for each in columns.values())
        evaluator = Evaluator(columns, n, memory, parsed.functions, learning=True)
        for node in _factors(parsed):
            if has_memory(node):
                value = evaluator.column(node)
                if isinstance(value, Categories):
                    made[node] = used(value).levels
    return memory, made


def _together(
    node: Node, parts: Sequence[tuple[Any, ...]], columns: Mapping[str, Any], n: int, parsed: ParsedFormula
) -> tuple[Any, ...]:
    """Levels of all parts: in the order that the factor gives them where it has one of its own, else sorted."""
    found = {names_of(level)[0]: level for part in parts for level in part}
    shown = Evaluator(columns, n, {}, parsed.functions, learning=True).column(node).levels
    ordered = [level for level in shown if names_of(level)[0] in found]
    if len(ordered) == len(found):
        return tuple(found[names_of(level)[0]] for level in ordered)
    return tuple(sorted(found.values()))


def _joined(parts: Sequence[Any]) -> Any:
    """A column of all parts, one after the other."""
    some = [part for part in parts if isinstance(part, Categories)]
    if not some:
        return np.concatenate(parts)
    levels = tuple({names_of(level)[0]: level for part in some for level in part.levels}.values())
    return Categories(levels, np.concatenate([recoded(part, levels).codes for part in some]))


def _plain(dtype: Any) -> bool:
    return bool((dtype.is_numeric() and not dtype.is_decimal()) or isinstance(dtype, nw.Boolean))


def _ordered(found: set[Any], order: Sequence[Any] | None) -> list[Any]:
    if order is not None and found <= set(order):
        return [value for value in order if value in found]
    return sorted(found)


def _with_levels(columns: dict[str, Any], levels: Mapping[str, list[Any]], n: int) -> int:
    """Adds to the rows as many more as it takes to show every level; the number of all."""
    most = max(map(len, levels.values()), default=0)
    if most == 0:
        return n
    for name, column in columns.items():
        if name not in levels:
            again = np.zeros(most, dtype=np.int64)
            columns[name] = np.concatenate([column, column[again]])
            continue
        shown = [levels[name][k % len(levels[name])] for k in range(most)]
        if isinstance(column, Categories):
            every = tuple(levels[name])
            codes = np.concatenate([recoded(column, every).codes, positions(every, shown)])
            columns[name] = Categories(every, codes)
        else:
            columns[name] = np.concatenate([column, np.asarray(shown, dtype=column.dtype)])
    return n + most


def _response_levels(
    surveys: Sequence[Survey], parsed: ParsedFormula, request: Request, orders: Mapping[str, Sequence[Any]]
) -> tuple[str, ...] | None:
    import pandas as pd

    found = {value for each in surveys for value in each.response}
    if not found:
        return None
    response = parsed.response[0]
    if response.is_column:
        order = orders.get(response.variables[0])
        values = _ordered(found, None if order is None else [str(value) for value in order])
    else:
        both = next((each.response for each in surveys if len(each.response) == len(found)), None)
        if both is None and request.success is None:
            raise FormulaError(
                f"the response {response.text}, of which no part of the data shows all levels",
                "the level that is the success",
                f"success={sorted(found)[-1]!r}",
            )
        values = both or sorted(found)
    column = pd.Series(pd.Categorical(values, values))
    return parse_response(column, request.response, parsed.response_name, success=request.success).levels
