"""A result as plain values, ready for JSON."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from clusterglm.results.models.base import Result


def as_dict(result: Result) -> dict[str, Any]:
    """Everything a summary says, in numbers.

    Returns
    -------
    dict
        Of dicts, lists, strings, booleans, integers and finite floats; None for what is not finite or does not exist,
        so that any JSON writer gives strict JSON. Keys: `model`, `coefficients`, `covariance`, `fit`, `optimization`,
        `notes`, `dropped`; `penalty` and `penalized_loglik` of all with coefficients that may have one;
        `infinite` (1 or -1 by coefficient, None: any value) and `n_certain` at the limit of separation;
        `random_intercept`, `clustering_test`, `integration` in a random-intercept model;
        `mass_points` and `gradient` of a nonparametric one (a point at infinity is None); `n_informative` with fixed
        effects and in conditional models, `bias_correction` and `cluster_effects` in the former (where `status` tells
        an infinite estimate from a missing one).
    """
    glance = result.glance().iloc[0].to_dict()
    tidy = result.tidy()
    rows = result._rows_of_terms(tidy).drop(columns="component", errors="ignore").to_dict(orient="records")
    cov = result.cov()
    story = result.optimization
    content: dict[str, Any] = {
        "model": {
            "kind": result.kind,
            "formula": result.formula,
            "family": result.family,
            "link": result.link,
            "success": result._success,
            "cluster": result.data.cluster_name,
        },
        "coefficients": rows,
        "covariance": {"names": list(cov.columns), "matrix": cov.to_numpy().tolist()},
        "fit": {
            key: glance[key]
            for key in ("n_obs", "n_clusters", "n_parameters", "loglik", "aic", "bic", "deviance", "df_resid")
        },
        "optimization": {
            "converged": result.converged,
            "status": story.status,
            "message": story.message,
            "iterations": story.iterations,
            "evaluations": story.evaluations,
            "gradient_norm": story.gradient_norm,
        },
        "dropped": [{"reason": dropped.reason, "count": dropped.count} for dropped in result.data.dropped],
        "notes": list(result.data.notes),
    }
    values: dict[str, Any] = plain(content | result._export())
    return values


def plain(value: Any) -> Any:
    """Dicts, lists and scalars as JSON has them: numbers that are not finite are None, keys are text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if isfinite(value) else None
    return value
