"""Which of two grouping factors lies in the other, where the rows come in parts.

Rows are brought together by the upper one, so it must be known beforehand. `(1 | a/b)` says it: a level of `a:b` lies
in one of `a`, whatever the data. Of two columns it is found from their labels, for which all rows are read once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np

from clusterglm.data.clusters import encode
from clusterglm.data.formulas.formula import ParsedFormula
from clusterglm.data.nesting import arrangement_of, factor_columns
from clusterglm.data.request import Request
from clusterglm.data.rows import select_rows
from clusterglm.data.tables.table import read_table
from clusterglm.errors import ClusterError, DataError, FormulaError

if TYPE_CHECKING:
    import pandas as pd

MOST_PAIRS = 20_000_000
"""Combinations of two factors' labels that are held in memory."""


def with_nesting(
    parsed: ParsedFormula,
    request: Request,
    columns: Sequence[str],
    pairs: Callable[[Request], Iterable[pd.DataFrame]],
) -> Request:
    """The request, and which of two grouping factors of its formula lies in the other.

    Parameters
    ----------
    parsed : ParsedFormula
    request : Request
    columns : sequence of str
        Of the data.
    pairs : callable
        Takes a request, and gives `pairs_of` each part; called only where the formula leaves it open.

    Raises
    ------
    FormulaError
        On more than two factors, two that are crossed, and two that group the rows alike.
    ClusterError
        When the upper one is a combination of columns.
    """
    factors = parsed.groupings
    if len(factors) < 2:
        return request
    if request.inside is not None:
        raise FormulaError(
            f"inside={request.inside!r} with data that are not in memory",
            "factors of which one is nested in the other",
            "leave inside= out, or read the data into memory",
        )
    if len(factors) > 2:
        raise FormulaError(
            f"random effects of {len(factors)} grouping factors with data that are not in memory",
            "one factor, or two of which one is nested in the other",
            f"keep two of them, such as {factors[0]!r} and {factors[1]!r}",
        )
    found = _by_spelling(parsed)
    if found is None:
        found = _by_labels(factors, pairs(replace(request, nested=(factors[0], factors[1]))))
    refuse_several(found[0], columns)
    return replace(request, nested=found)


def cluster_of(parsed: ParsedFormula, request: Request) -> str | None:
    """The column by which rows are brought together."""
    found: str | None = request.nested[0] if request.nested else request.cluster or parsed.cluster
    return found


def refuse_several(cluster: Any, columns: Sequence[str]) -> None:
    """Raise `ClusterError` for clusters that are combinations of columns."""
    if isinstance(cluster, str) and cluster not in columns and set(cluster.split(":")) <= set(columns):
        raise ClusterError(
            f"clusters by several columns, {cluster}, with data that are not in memory",
            "one column of labels",
            "write one into the data, and pass its name as cluster=",
        )


def pairs_of(native: Any, parsed: ParsedFormula, request: Request) -> pd.DataFrame:
    """Labels of two grouping factors that occur together, of the rows in use of one part."""
    import pandas as pd

    table = read_table(native)
    used = np.flatnonzero(select_rows(table, parsed, request).rows.keep)
    columns = factor_columns(table, parsed)
    one, other = (encode(columns[name][used]) for name in parsed.groupings)
    both = np.unique(one.codes * max(1, len(other.labels)) + other.codes)
    of_one, of_other = np.divmod(both, max(1, len(other.labels)))
    labels = (one.labels[of_one], other.labels[of_other])
    return pd.DataFrame(dict(zip(parsed.groupings, labels, strict=True)))


def _by_spelling(parsed: ParsedFormula) -> tuple[str, str] | None:
    """A factor, and one of its columns and others; None where it is neither of the two."""
    names = {parsed.factor_of(term): frozenset(term.group) for term in parsed.random}
    upper, lower = sorted(names, key=lambda name: len(names[name]))
    return (upper, lower) if names[upper] < names[lower] else None


def _by_labels(factors: Sequence[str], parts: Iterable[pd.DataFrame]) -> tuple[str, str]:
    """Judged by all combinations of labels, as for rows in memory."""
    import pandas as pd

    found: pd.DataFrame | None = None
    for part in parts:
        if len(part) == 0:
            continue
        whole = part if found is None else pd.concat([found, part], ignore_index=True)
        found = whole.drop_duplicates(ignore_index=True)
        if len(found) > MOST_PAIRS:
            raise FormulaError(
                f"more than {MOST_PAIRS:,} combinations of {factors[0]!r} and {factors[1]!r}, by whose labels alone it "
                "can be told which is nested in the other",
                "a formula that says it",
                f"(1 | {factors[0]}/{factors[1]}), where {factors[1]!r} is nested in {factors[0]!r}",
            )
    if found is None:
        raise DataError(
            "no complete row with positive weight",
            "rows in which nothing is missing",
            "look at the columns of the formula; check subset=",
        )
    series = {name: nw.from_native(found[name], series_only=True) for name in factors}
    arrangement = arrangement_of(series, np.arange(len(found)))
    if not arrangement.nested:
        raise FormulaError(
            f"grouping factors {factors[0]!r} and {factors[1]!r} that are crossed, with data that are not in memory",
            "factors of which one is nested in the other",
            f"(1 | {factors[0]}/{factors[1]}), where {factors[1]!r} is numbered within each {factors[0]!r}; or data in "
            "memory",
        )
    return arrangement.names[0], arrangement.names[1]
