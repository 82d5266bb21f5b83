"""Draws for ArviZ, in the form that its version takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import MissingPackageError
from clusterglm.model.arrays import Array


def for_arviz(
    draws: Mapping[str, Array], log_density: Array, by_cluster: tuple[NDArray[Any], Array] | None = None
) -> Any:
    """`InferenceData` of ArviZ 0.x, a `DataTree` of 1.x.

    Parameters
    ----------
    draws : mapping of str to ndarray, shape (chains, draws)
        Of each parameter.
    log_density : ndarray, shape (chains, draws)
    by_cluster : tuple of ndarray, shapes (m,) and (chains * draws, m), optional
        Labels of clusters, and their log-likelihoods at all draws.

    Raises
    ------
    MissingPackageError
        Without arviz, or where it cannot be imported.
    """
    try:
        import arviz  # type: ignore[import-not-found, unused-ignore]
    except Exception as problem:  # its older versions fail in other ways beside newer ones of what they need
        raise MissingPackageError(
            f"a posterior for ArviZ, which cannot be imported ({type(problem).__name__}: {problem})",
            "arviz 0.20 or later",
            "pip install --upgrade arviz",
        ) from problem
    groups: dict[str, Any] = {"posterior": dict(draws), "sample_stats": {"lp": np.array(log_density)}}
    coords: dict[str, NDArray[Any]] = {}
    dims: dict[str, list[str]] = {}
    if by_cluster is not None:
        labels, values = by_cluster
        groups["log_likelihood"] = {"cluster": values.reshape(*log_density.shape, -1)}
        coords, dims = {"label": labels}, {"cluster": ["label"]}
    if int(arviz.__version__.split(".")[0]) >= 1:
        return arviz.from_dict(groups, coords=coords, dims=dims)
    return arviz.from_dict(**groups, coords=coords, dims=dims)
