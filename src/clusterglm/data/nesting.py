"""Grouping factors of a formula of which one is nested in the other: found from their labels, not from the spelling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from clusterglm.data.clusters import Codes, cluster_column, encode
from clusterglm.data.formulas.formula import ParsedFormula
from clusterglm.data.tables.table import column
from clusterglm.errors import FormulaError


@dataclass(frozen=True)
class Nesting:
    """Two grouping factors, each of whose levels of the lower one lies in one of the upper.

    Parameters
    ----------
    upper, lower : str
        Their names.
    children : narwhals Series
        Each row's level of the lower one.
    """

    upper: str
    lower: str
    children: nw.Series[Any]


def factor_columns(table: nw.DataFrame[Any], parsed: ParsedFormula) -> dict[str, nw.Series[Any]]:
    """The levels of each row, by the names of the grouping factors of a formula's random terms."""
    found = {}
    for name in parsed.groupings:
        levels = cluster_column(table, name)
        found[name] = column(table, name, "grouping factor") if levels is None else levels
    return found


def nesting_of(factors: Mapping[str, nw.Series[Any]], used: NDArray[np.int64]) -> Nesting:
    """Which of two factors is nested in the other.

    Parameters
    ----------
    factors : mapping of str to narwhals Series
        Two or more.
    used : ndarray of int64
        Rows in use, whose levels are not missing.

    Raises
    ------
    FormulaError
        On more than two factors, two that group the rows alike, and two that are crossed.
    """
    names = list(factors)
    coded = {name: encode(factors[name][used]) for name in names}
    for one, other in combinations(names, 2):
        if _is_nested(coded[one], coded[other]) and _is_nested(coded[other], coded[one]):
            raise alike(one, other)
    if len(names) > 2:
        raise FormulaError(
            f"random effects of {len(names)} grouping factors: {', '.join(map(repr, names))}",
            "one factor, or two of which one is nested in the other: further levels are not available",
            f"keep two of them, such as {names[0]!r} and {names[-1]!r}",
        )
    upper, lower = sorted(names, key=lambda name: len(coded[name].labels))
    if not _is_nested(coded[lower], coded[upper]):
        raise _crossed(names[0], names[1], coded)
    return Nesting(upper, lower, factors[lower])


def alike(one: str, other: str) -> FormulaError:
    """The error for two factors that group the rows alike."""
    return FormulaError(
        f"grouping factors {one!r} and {other!r}, which group the rows alike: their effects cannot be told apart",
        "a lower factor of which a level of the upper one has several levels",
        f"(1 | {one}) alone",
    )


def _is_nested(lower: Codes, upper: Codes) -> bool:
    """Whether every level of `lower` lies in one level of `upper`."""
    return len(_pairs(lower, upper)) == len(lower.labels)


def _pairs(lower: Codes, upper: Codes) -> NDArray[np.int64]:
    """Combinations of levels that occur, as numbers: those of `lower` times the number of levels of `upper`."""
    return np.unique(lower.codes * len(upper.labels) + upper.codes)


def _crossed(upper: str, lower: str, coded: Mapping[str, Codes]) -> FormulaError:
    """The error for factors of which neither is nested in the other; the larger one is mostly written first."""
    places = _pairs(coded[lower], coded[upper]) // len(coded[upper].labels)
    repeated = coded[lower].labels.tolist()[int(np.argmax(np.bincount(places)))]
    advice = f"keep one of them, such as (1 | {upper})"
    if ":" not in upper + lower:
        advice = f"if {lower} {repeated} differs between levels of {upper} write (1 | {upper}/{lower}); or {advice}"
    return FormulaError(
        f"grouping factors {upper!r} and {lower!r} that are crossed: {lower} {repeated} occurs in several levels of "
        f"{upper}",
        "factors of which one is nested in the other: crossed ones are not available",
        advice,
    )
