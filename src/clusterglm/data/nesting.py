"""How the grouping factors of a formula lie to each other: found from their labels, not from the spelling."""

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
class Arrangement:
    """How several grouping factors lie to each other.

    Parameters
    ----------
    names : tuple of str
        The factors: that of the clusters; and the one that is nested in it, or those that cross it.
    nested : bool
        Whether there are two factors, of which each level of the second lies in one of the first.
    notes : tuple of str
        What a reader of the results should know.
    """

    names: tuple[str, ...]
    nested: bool
    notes: tuple[str, ...] = ()


def factor_columns(table: nw.DataFrame[Any], parsed: ParsedFormula) -> dict[str, nw.Series[Any]]:
    """The levels of each row, by the names of the grouping factors of a formula's random terms."""
    found = {}
    for name in parsed.groupings:
        levels = cluster_column(table, name)
        found[name] = column(table, name, "grouping factor") if levels is None else levels
    return found


def arrangement_of(
    factors: Mapping[str, nw.Series[Any]], used: NDArray[np.int64], inside: str | None = None
) -> Arrangement:
    """Which factor the clusters are of, and how the others lie to it.

    Of two nested factors it is the upper one. Of others it is that with the most levels, or `inside`: its effects are
    integrated out one level at a time, given those of all others, whether they cross it, contain it or lie in it.

    Parameters
    ----------
    factors : mapping of str to narwhals Series
        Two or more.
    used : ndarray of int64
        Rows in use, whose levels are not missing.
    inside : str, optional
        One of the factors; two that are nested are then taken as if they crossed.

    Raises
    ------
    FormulaError
        On two factors that group the rows alike.
    """
    names = list(factors)
    coded = {name: encode(factors[name][used]) for name in names}
    refuse_alike(coded)
    by_levels = sorted(names, key=lambda name: -len(coded[name].labels))
    if inside is None and len(names) == 2 and lies_in(coded[by_levels[0]].codes, coded[by_levels[1]].codes):
        lower, upper = by_levels
        return Arrangement((upper, lower), nested=True)
    first = by_levels[0] if inside is None else inside
    others = [name for name in names if name != first]
    notes = [note for one, other in combinations(names, 2) if (note := _perhaps_nested(one, other, coded))]
    return Arrangement((first, *others), nested=False, notes=tuple(notes))


def alike(one: str, other: str) -> FormulaError:
    """The error for two factors that group the rows alike."""
    return FormulaError(
        f"grouping factors {one!r} and {other!r}, which group the rows alike: their effects cannot be told apart",
        "a lower factor of which a level of the upper one has several levels",
        f"(1 | {one}) alone",
    )


def lies_in(lower: NDArray[np.int64], upper: NDArray[np.int64]) -> bool:
    """Whether every level of one factor lies in one level of another, each row's levels being given."""
    of_level = np.zeros(int(lower.max(initial=0)) + 1, dtype=np.int64)
    of_level[lower] = upper
    return bool((of_level[lower] == upper).all())


def refuse_alike(coded: Mapping[str, Codes]) -> None:
    """Raise `FormulaError` on two factors that group the rows alike."""
    for one, other in combinations(coded, 2):
        if lies_in(coded[one].codes, coded[other].codes) and lies_in(coded[other].codes, coded[one].codes):
            raise alike(one, other)


def _perhaps_nested(upper: str, lower: str, coded: Mapping[str, Codes]) -> str | None:
    """A word on labels that look as if they were numbered within each level of a factor that is written before.

    They occur in every level of it, and mostly stand for several rows there: a person who answers each item once has
    no such labels.
    """
    own, over = coded[lower], coded[upper]
    count = len(own.labels) * len(over.labels)
    if ":" in upper + lower or 2 * count > len(own.codes):
        return None
    if not np.bincount(own.codes * len(over.labels) + over.codes, minlength=count).all():
        return None
    label = own.labels.tolist()[0]
    return (
        f"{upper} and {lower} are crossed: {lower} {label} is the same in every {upper}. "
        f"If {lower} {label} differs between levels of {upper} write (1 | {upper}/{lower})."
    )
