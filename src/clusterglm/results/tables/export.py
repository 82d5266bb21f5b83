"""A result as plain values, ready for JSON."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from clusterglm.results.models.base import Result
from clusterglm.results.models.conditional import ConditionalResult
from clusterglm.results.models.fixed_effects import FixedEffectsResult
from clusterglm.results.models.limit import Limit
from clusterglm.results.models.nonparametric import NonparametricResult
from clusterglm.results.models.penalized import Penalized
from clusterglm.results.models.random_effects import RandomEffectsResult


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
    rows = tidy.drop(columns="component", errors="ignore").to_dict(orient="records")[: len(result.data.names)]
    cov = result.cov()
    story = result.optimization
    content: dict[str, Any] = {
        "model": {
            "kind": result.kind,
            "formula": result.formula,
            "family": result.family,
            "link": result.link,
            "success": None if result.data.levels is None else result.data.levels[1],
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
    if isinstance(result, Limit):
        content |= {"infinite": result.infinite, "n_certain": int(result.recession.decided.sum())}
    if isinstance(result, Penalized):
        content |= {"penalty": result.penalty, "penalized_loglik": result.penalized_loglik}
    if isinstance(result, RandomEffectsResult):
        content |= _random_intercept(result)
    if isinstance(result, NonparametricResult):
        content |= {"mass_points": result.mass_points.to_dict(orient="list"), "gradient": result.fit.gradient}
    if isinstance(result, FixedEffectsResult | ConditionalResult):
        content |= {"n_informative": result.n_informative}
    if isinstance(result, FixedEffectsResult):
        content |= {
            "bias_correction": result.bias_correction or None,
            "cluster_effects": result.cluster_effects.to_dict(orient="records"),
        }
    values: dict[str, Any] = plain(content)
    return values


def _random_intercept(result: RandomEffectsResult) -> dict[str, Any]:
    test, report = result.clustering_test, result.quadrature
    table = result.tidy()
    low, high = table.loc[table["component"] == "random_intercept", ["conf_low", "conf_high"]].iloc[0]
    shape = result.shape
    return {
        "random_intercept": {
            "distribution": result.distribution.name,
            "sigma": result.sigma,
            "std_error": result.sigma_se,
            "conf_low": low,
            "conf_high": high,
            "fixed": result.fit.sigma_fixed,
            "at_boundary": result.fit.boundary,
            "sd": result.random_effects_sd,
            "icc": result.icc,
            "shape": None if shape is None else dict(zip(shape.names, shape.estimates, strict=True)),
        },
        "clustering_test": {"statistic": test.statistic, "pvalue": test.pvalue, "reason": test.reason or None},
        "integration": {
            "requested": str(report.requested),
            "scale": report.scale,
            "nodes": report.nodes,
            "rules": [{"rule": rule, "n_clusters": count} for rule, count in report.rules],
            "error": report.error,
        },
    }


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
