"""The verbs: from a user's table to a result."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from clusterglm.data.prepare import ModelData, prepare
from clusterglm.errors import AccuracyWarning, ConvergenceWarning, OptionError, nearest
from clusterglm.fit.newton import Optimization
from clusterglm.fit.pooled import fit_pooled
from clusterglm.fit.random_effects import fit_random_effects
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.distribution import Distribution
from clusterglm.model.distribution import distribution as read_distribution
from clusterglm.model.family import response as read_response
from clusterglm.model.quadrature import Quadrature, check_scale
from clusterglm.model.quadrature import quadrature as read_quadrature
from clusterglm.results.pooled import PooledResult
from clusterglm.results.random_effects import RandomEffectsResult

__all__ = ["pooled", "random_effects"]


def pooled(
    formula: str,
    data: Any,
    *,
    family: str = "binomial",
    link: str | None = None,
    cluster: Any = None,
    weights: Any = None,
    cluster_weights: Any = None,
    offset: Any = None,
    subset: Any = None,
    control: Control | None = None,
) -> PooledResult:
    """Fit a generalised linear model without cluster effects, by maximum likelihood.

    Parameters
    ----------
    formula : str
        Wilkinson formula. The response is a 0/1, bool or two-level column, `cbind(successes, failures)`, or counts.
    data : table
        Any eager data frame that narwhals knows (pandas, polars, pyarrow, ...), a dict of columns, or the path of a CSV
        or Parquet file.
    family : {"binomial", "poisson"}
    link : {"logit", "cloglog", "probit"} or "log", optional
        By default "logit" for binomial, "log" for Poisson.
    cluster : str or array, optional
        Column of cluster labels; it matters only for `cov("robust")`, for cluster weights and for the counts.
    weights, cluster_weights, offset, subset : str or array, optional
        A column name or an array with an element per row of `data`. Case weights multiply a row's log-likelihood,
        cluster weights a cluster's.
    control : Control, optional
        Settings of the optimiser.

    Returns
    -------
    PooledResult

    Raises
    ------
    ClusterGLMError
        A subclass says which argument or which part of the data cannot be used, and what to try.

    Warns
    -----
    ConvergenceWarning
        When the optimiser ended before it reached its tolerance.
    """
    response = read_response(family, link)
    settings = _control(control)
    model_data = prepare(
        formula,
        data,
        cluster=cluster,
        family_response=response,
        weights=weights,
        cluster_weights=cluster_weights,
        offset=offset,
        subset=subset,
        need_cluster=False,
    )
    fit = fit_pooled(model_data, response, settings)
    _warn_unless_converged(fit.optimization)
    return PooledResult(fit, model_data, response)


def random_effects(
    formula: str,
    data: Any,
    *,
    cluster: Any = None,
    family: str = "binomial",
    link: str | None = None,
    distribution: str | Distribution = "gaussian",
    quadrature: str | int | Quadrature = "auto",
    scale: str = "normal",
    weights: Any = None,
    cluster_weights: Any = None,
    offset: Any = None,
    subset: Any = None,
    start: Any = None,
    sigma: float | None = None,
    fix_sigma: bool = False,
    control: Control | None = None,
) -> RandomEffectsResult:
    """Fit a generalised linear model with a random intercept for each cluster, by maximum likelihood.

    Parameters
    ----------
    formula : str
        Wilkinson formula. The response is a 0/1, bool or two-level column, `cbind(successes, failures)`, or counts.
    data : table
        Any eager data frame that narwhals knows (pandas, polars, pyarrow, ...), a dict of columns, or the path of a CSV
        or Parquet file.
    cluster : str or array
        Column of cluster labels of any type, or the labels; `(1 | id)` in the formula says the same. Row order never
        matters.
    family : {"binomial", "poisson"}
    link : {"logit", "cloglog", "probit"} or "log", optional
        By default "logit" for binomial, "log" for Poisson.
    distribution : str or Distribution
        Of the random intercept: "gaussian", "logistic", "cauchy", "student_t(4)", or an object such as `StudentT(4)`.
    quadrature : "auto", "laplace", int or Quadrature
        How the integral over a cluster's intercept is computed: as many nodes as a tolerance needs, the Laplace
        approximation, or a number of adaptive Gauss-Hermite nodes.
    scale : {"normal", "density"}
        Scale on which the adaptive rules integrate; "density" is that of R's glmmML.
    weights, cluster_weights, offset, subset : str or array, optional
        A column name or an array with an element per row of `data`. Case weights multiply a row's log-likelihood,
        cluster weights a cluster's.
    start : array or mapping, optional
        Starting coefficients, in the order of the columns or by name; by default from the pooled fit.
    sigma : float, optional
        Starting value of sigma, or its value if `fix_sigma`.
    fix_sigma : bool
        Hold sigma at the value given.
    control : Control, optional
        Settings of the optimiser.

    Returns
    -------
    RandomEffectsResult

    Raises
    ------
    ClusterGLMError
        A subclass says which argument or which part of the data cannot be used, and what to try.

    Warns
    -----
    ConvergenceWarning
        When the optimiser ended before it reached its tolerance.
    AccuracyWarning
        When `quadrature="auto"` could not reach its tolerance.

    Examples
    --------
    >>> import clusterglm as cg
    >>> bacteria = cg.datasets.load("bacteria")
    >>> fit = cg.random_effects("y ~ trt + week", bacteria, cluster="ID")
    >>> bool(fit.converged)
    True
    """
    response = read_response(family, link)
    intercept = read_distribution(distribution)
    rule = read_quadrature(quadrature)
    check_scale(scale)
    settings = _control(control)
    model_data = prepare(
        formula,
        data,
        cluster=cluster,
        family_response=response,
        weights=weights,
        cluster_weights=cluster_weights,
        offset=offset,
        subset=subset,
        need_cluster=True,
        sigma_known=fix_sigma,
    )
    fit = fit_random_effects(
        model_data,
        response,
        intercept,
        rule,
        scale,
        _start(start, model_data),
        sigma,
        fix_sigma,
        settings,
    )
    _warn_unless_converged(fit.optimization)
    if not fit.integration.accurate:
        warnings.warn(
            f"the integrals are known to {fit.integration.error:.1e} in the log-likelihood, not to the "
            f"{rule.tolerance:g} asked for: look at `result.quadrature`, or allow Quadrature('auto', tolerance=...)",
            AccuracyWarning,
            stacklevel=2,
        )
    return RandomEffectsResult(fit, model_data)


def _control(control: Control | None) -> Control:
    if control is None:
        return Control()
    if not isinstance(control, Control):
        raise OptionError(f"control={control!r}", "a Control, or None", "control=cg.Control(max_iter=200)")
    return control


def _start(start: Any, data: ModelData) -> Array | None:
    """Starting coefficients in the order of the columns, from an array or by name."""
    if start is None:
        return None
    if hasattr(start, "to_dict"):  # a pandas Series, such as another result's params
        start = start.to_dict()
    if isinstance(start, Mapping):
        names = list(data.names)
        unknown = [str(name) for name in start if name not in names]
        missing = [name for name in names if name not in start]
        if unknown or missing:
            hint = nearest(unknown[0], names) if unknown else ""
            raise OptionError(
                f"start without {', '.join(missing) or 'nothing'} and with {', '.join(unknown) or 'nothing else'}",
                f"one number for each of {', '.join(names)}",
                f"{hint}start=None, which begins at the pooled fit",
            )
        start = [start[name] for name in names]
    try:
        return np.asarray(start, dtype=np.float64)
    except (TypeError, ValueError):
        raise OptionError(
            f"start={start!r}", "numbers, one for each coefficient", "start=None, which begins at the pooled fit"
        ) from None


def _warn_unless_converged(story: Optimization) -> None:
    if not story.converged:
        warnings.warn(story.message, ConvergenceWarning, stacklevel=3)
