"""Data of a model that keeps some of its random effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clusterglm.data.clusters import group
from clusterglm.data.effects import Effects
from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError


def with_effects(data: ModelData, kept: Sequence[int]) -> ModelData:
    """Data with some of the columns whose coefficients vary; without any, they have no effects.

    Where a grouping factor is left without effects, the others group the rows.

    Parameters
    ----------
    data : ModelData
        With effects.
    kept : sequence of int
        Places of the columns that stay.
    """
    effects = data.effects
    assert effects is not None
    if not kept:
        return replace(data, effects=None)
    first, terms = 0, []
    for term in effects.terms:
        gone = [j for j in range(len(term.design.names)) if first + j not in kept]
        if len(gone) < len(term.design.names):
            terms.append(replace(term, design=term.design.without(gone)) if gone else term)
        first += len(term.design.names)
    some = replace(effects, Z=np.ascontiguousarray(effects.Z[:, kept]), terms=tuple(terms))
    if effects.outside:
        return _of_crossed(data, some)
    children = some.children
    if children is None or 0 < some.n_upper < some.Z.shape[1]:
        return replace(data, effects=some)
    alone = replace(some, children=None)
    if some.n_upper > 0:
        return replace(data, effects=alone)
    weights = data.cluster_weights[data.innermost_clusters]
    return replace(
        data,
        starts=children.starts,
        labels=children.labels,
        cluster_weights=weights,
        cluster_name=children.group,
        effects=alone,
    )


def _of_crossed(data: ModelData, effects: Effects) -> ModelData:
    """Data whose factors are those that still have effects; if the clusters have none, the largest of the others."""
    outside = tuple(each for each in effects.outside if each.group in effects.groups)
    if data.cluster_name in effects.groups:
        return replace(data, effects=replace(effects, outside=outside))
    if (data.cluster_weights != 1.0).any():
        raise OptionError(
            f"a model without effects of {data.cluster_name!r}, whose levels have weights",
            "weights of rows",
            "a fit without cluster_weights=",
        )
    factor = max(outside, key=lambda each: len(each.labels))
    grouping = group(factor.codes, len(factor.labels))
    order = np.arange(data.n_obs) if grouping.order is None else grouping.order
    others = tuple(each for each in outside if each is not factor)
    moved = replace(effects, outside=others).moved(order)
    groups = [factor.group, *(each.group for each in others)]
    places = np.concatenate([np.arange(effects.Z.shape[1])[effects.places_of(name)] for name in groups])
    terms = tuple(term for name in groups for term in effects.terms if term.group == name)

    def taken(values: np.ndarray) -> np.ndarray:
        return values if values.strides == (0,) else np.ascontiguousarray(values[order])

    return replace(
        data,
        X=np.ascontiguousarray(data.X[order]),
        a=taken(data.a),
        b=taken(data.b),
        offset=taken(data.offset),
        weights=taken(data.weights),
        trials=taken(data.trials),
        row_index=data.row_index[order],
        starts=grouping.starts,
        labels=factor.labels,
        cluster_weights=np.ones(len(factor.labels)),
        cluster_name=factor.group,
        effects=replace(moved, Z=np.ascontiguousarray(moved.Z[:, places]), terms=terms),
    )
