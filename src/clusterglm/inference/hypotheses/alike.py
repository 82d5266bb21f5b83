"""Whether two fits to the same rows have the same columns, and levels of the same factors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import FittedData, ModelData


def row_order(data: ModelData) -> NDArray[np.int64]:
    return np.argsort(data.row_index, kind="stable")


def same_columns(first: FittedData, second: FittedData) -> bool:
    """Whether two fits to the same rows have the same columns, in whatever order."""
    if sorted(first.names) != sorted(second.names):
        return False
    one, two = first.rows.X[row_order(first.rows)], second.rows.X[row_order(second.rows)]
    return bool(np.array_equal(one[:, np.argsort(first.names)], two[:, np.argsort(second.names)]))


def same_levels(first: FittedData, second: FittedData) -> bool | None:
    """Whether grouping factors that two fits have in common group the rows alike; None where no levels are kept."""
    effects = [data.rows.effects if data.in_memory else None for data in (first, second)]
    if not all(each is not None and each.groupings for each in effects):
        return None
    orders = [row_order(data.rows) for data in (first, second)]
    one, two = (
        {levels.group: levels.codes[order] for levels in each.groupings}
        for each, order in zip(effects, orders, strict=True)
        if each is not None
    )
    return all(_alike(one[name], two[name]) for name in one.keys() & two.keys())


def same_factors(first: ModelData, second: ModelData) -> bool:
    """Whether the grouping factors of one of two fits to the same rows are all among those of the other."""
    smaller, larger = sorted((_factors(first), _factors(second)), key=len)
    return all(any(_alike(each, other) for other in larger) for each in smaller)


def _factors(data: ModelData) -> list[NDArray[np.int64]]:
    """Levels of each grouping factor, by number, of the rows in a common order."""
    order, effects, own = row_order(data), data.effects, np.repeat(np.arange(data.n_clusters), np.diff(data.starts))
    found = [own[order]]
    if effects is not None and effects.children is not None:
        found.append((np.searchsorted(effects.children.starts, np.arange(data.n_obs), side="right") - 1)[order])
    return found + [each.codes[order] for each in (effects.outside if effects is not None else ())]


def _alike(one: NDArray[np.int64], two: NDArray[np.int64]) -> bool:
    """Whether two numberings put the same rows together."""
    pairs = len(np.unique(one * (two.max() + 1) + two))
    return pairs == len(np.unique(one)) == len(np.unique(two))
