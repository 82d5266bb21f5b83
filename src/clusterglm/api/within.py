"""The verbs that compare rows within clusters: intercepts that are profiled or conditioned out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clusterglm.api.arguments import read_control, read_start, warn_unless_converged
from clusterglm.api.elsewhere import is_elsewhere
from clusterglm.api.two_way import columns_in, two_way_fixed_effects
from clusterglm.api.unknown import explained
from clusterglm.data.offsets import one_offset
from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.request import Request
from clusterglm.errors import OptionError
from clusterglm.fit.conditional import check_conditional, fit_conditional
from clusterglm.fit.fixed_effects import fit_fixed_effects
from clusterglm.inference.uncertainty.correction import corrected
from clusterglm.model.bias import SplitPanel
from clusterglm.model.bias import bias_correction as read_bias_correction
from clusterglm.model.control import Control
from clusterglm.model.family import response as read_response
from clusterglm.model.family import with_own as family_with_own
from clusterglm.model.penalty import read_penalty
from clusterglm.model.separation import read_separation
from clusterglm.results.models.conditional import ConditionalResult
from clusterglm.results.models.fixed_effects import FixedEffectsResult
from clusterglm.results.models.two_way import TwoWayResult


@explained
def fixed_effects(
    formula: str,
    data: Any,
    *,
    cluster: Any = None,
    family: str = "binomial",
    link: str | None = None,
    weights: Any = None,
    cluster_weights: Any = None,
    offset: Any = None,
    exposure: Any = None,
    subset: Any = None,
    success: Any = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    start: Any = None,
    bias_correction: str | SplitPanel | None = None,
    penalty: str | None = None,
    separation: str = "error",
    control: Control | None = None,
    engine: Any = None,
) -> FixedEffectsResult | TwoWayResult:
    """Fit a generalised linear model with a fixed intercept for each cluster, by maximum likelihood.

    The intercepts are profiled out, so that 100,000 of them cost little more than none.

    Parameters
    ----------
    formula : str
        Wilkinson formula. The response is a 0/1, bool or two-level column, `cbind(successes, failures)`, or counts. The
        clusters' intercepts take the place of a common one.
    data : table
        Any eager data frame that narwhals knows (pandas, polars, pyarrow, ...), a dict of columns, or the path of a CSV
        or Parquet file. A folder of Parquet files or a pattern such as "folder/*.parquet" is read block by block and
        may be larger than memory: see `engine`.
    cluster : str, list of str or array
        Column of cluster labels of any type, or the labels. Row order never matters. Two columns, such as
        ["person", "year"], have effects of their own each: see Notes. `cluster="a:b"`: their combinations are clusters.
    family : {"binomial", "poisson", "negative_binomial", "gaussian"}
        Of the responses: 0/1 or shares of trials, counts, or counts with variance mean + alpha mean^2, alpha being
        estimated; with two factors measured values too.
    link : {"logit", "cloglog", "probit"} or "log", optional
        By default "logit" for binomial, "log" for counts.
    weights : str or array, optional
        Case weights, which multiply a row's log-likelihood; whole numbers are repeats, wherever rows are counted or
        drawn. A column, an expression of columns, or an array with an element per row of `data`.
    cluster_weights : str or array, optional
        Of clusters, the same in all rows of one, or a dict of them by label: they multiply its log-likelihood, and
        whole numbers are repeats of it.
    offset : str or array, optional
        Added to the linear predictor: a column, an expression of columns such as "log(years)", or an array.
    exposure : str or array, optional
        Positive numbers, given likewise, whose logarithm is the offset.
    subset : str or array, optional
        Rows to use: a column or an array of truth values, or a condition such as "week > 2".
    success : str, number or bool, optional
        The level of a two-level response that is the success; by default the second in the order of its levels, which
        for text is that of the alphabet: "survived", not "died".
    functions : dict of str to callable, optional
        Functions of your own that the formula calls: of arrays, each row's value from that row alone.
    start : array or mapping, optional
        Starting coefficients, in the order of the columns or by name.
    bias_correction : {"analytical", "jackknife"} or SplitPanel, optional
        Take off the bias of binomial coefficients that comes from estimating an intercept for every few rows: by
        formula (Hahn and Newey, Econometrica 72, 2004; Fernandez-Val, Journal of Econometrics 150, 2009), or from the
        two halves of every cluster (Dhaene and Jochmans, Review of Economic Studies 82, 2015), which `SplitPanel`
        says how to make. Coefficients of counts have no such bias; of negative binomial ones the formula corrects
        alpha, which is too small, and with it the standard errors.
    penalty : "firth", optional
        Maximise the log-likelihood and half the log-determinant of the expected information on coefficients and
        intercepts together (Jeffreys' prior; Firth, Biometrika 80, 1993; Kosmidis and Firth, Biometrika 108, 2021): all
        estimates are finite, the intercepts too. Standard errors are from the expected information; `loglik` and AIC
        are without the penalty, profile intervals and `cg.compare`'s tests with it.
    separation : {"error", "limit"}
        Where covariates separate the responses within clusters, so that the likelihood has no maximum: an error that
        names them, or the limit of the fit, in which some coefficients are infinite and some rows certain. Its
        log-likelihood serves likelihood-ratio tests, `conf_int(method="profile")` gives one-sided intervals, `rest` is
        the fit to the other rows.
    control : Control, optional
        Settings of the optimiser.
    engine : Stream or Dask, optional
        Where the rows are while the model is fitted: `cg.engine.Stream(...)` for Parquet files that are read block by
        block, the default for several of them; `cg.engine.Dask(client)` for data spread over a Dask cluster. Results
        then do without what belongs to single rows or clusters, their intercepts among it, and the bias is corrected by
        formula alone.

    Returns
    -------
    FixedEffectsResult, or TwoWayResult

    Raises
    ------
    ClusterGLMError
        A subclass says which argument or which part of the data cannot be used, and what to try: `DesignError` names
        covariates that are constant within every cluster, `SeparationError` those that separate the responses there.

    Warns
    -----
    ConvergenceWarning
        When the optimiser ended before it reached its tolerance.

    Notes
    -----
    With two factors, rows that say nothing of the coefficients are left out and counted, as long as there are some:
    levels of either factor with failures, successes or zero counts alone, levels of a single row, and rows that the
    effects predict for certain (Correia, Guimaraes and Zylkin, arXiv:1903.01633). Bias is corrected as in Fernandez-Val
    and Weidner (Journal of Econometrics 192, 2016). `cov("robust")` clusters by the first factor, `cov("robust:year")`
    by the one named, `cov("two-way")` by both.

    Examples
    --------
    >>> import clusterglm as cg
    >>> bacteria = cg.datasets.load("bacteria")
    >>> fit = cg.fixed_effects("y ~ I(week > 2)", bacteria, cluster="ID")
    >>> fit.n_informative, fit.n_clusters
    (24, 50)
    """
    names = columns_in(cluster, data, engine)
    if names is not None:
        given = {"weights": weights, "offset": one_offset(offset, exposure), "subset": subset, "success": success}
        refused = {
            "cluster_weights=": cluster_weights is not None,
            f"penalty={penalty!r}": penalty is not None,
            f"separation={separation!r}": separation != "error",
        }
        asked = formula, data, names, family, link, given | {"functions": functions}
        return two_way_fixed_effects(*asked, start, bias_correction, refused, control)
    own = family_with_own(family, link)
    response = read_response(family, link) if own is None else own.reads
    offset = one_offset(offset, exposure)
    correction = read_bias_correction(bias_correction)
    chosen = read_penalty(penalty)
    if chosen is not None and correction is not None:
        raise OptionError(
            f"penalty={chosen!r} with bias_correction={bias_correction!r}",
            "one of them: with the penalty estimates lack most of the bias that is to be corrected",
            "either alone",
        )
    settings, to_limit = read_control(control), read_separation(separation)
    request = Request(
        response,
        cluster=cluster,
        weights=weights,
        cluster_weights=cluster_weights,
        offset=offset,
        subset=subset,
        success=success,
        functions=functions,
        fixed_effects=True,
    )
    if own is not None:
        from clusterglm.api.own import own_fixed_effects, refuse_beside_own

        refuse_beside_own(own, is_elsewhere(data, engine), chosen, to_limit)
        return own_fixed_effects(formula, data, request, own, start, correction, settings)
    if is_elsewhere(data, engine, chosen, to_limit):
        from clusterglm.api.blocks import fixed_effects_over_blocks

        return fixed_effects_over_blocks(formula, data, engine, request, start, correction, settings)
    model_data = prepare(formula, data, request)

    def fitted(rows: ModelData) -> FixedEffectsResult:
        fit = fit_fixed_effects(rows, response, read_start(start, rows), settings, chosen)
        return FixedEffectsResult(fit, rows, response)

    if to_limit:
        from clusterglm.api.separation import fit_or_limit
        from clusterglm.results.models.limit import FixedEffectsLimit

        beside = {"start": start, "bias_correction": correction, "penalty": chosen}
        result = fit_or_limit(fitted, FixedEffectsLimit, model_data, response, **beside)
    else:
        result = fitted(model_data)
    warn_unless_converged(result.optimization)
    if correction is not None:
        fit = corrected(result.fit.by_cluster, model_data, response, correction, settings, data)
        return FixedEffectsResult(fit, model_data, response)
    return result


@explained
def conditional(
    formula: str,
    data: Any,
    *,
    cluster: Any = None,
    family: str = "binomial",
    link: str | None = None,
    weights: Any = None,
    cluster_weights: Any = None,
    offset: Any = None,
    exposure: Any = None,
    subset: Any = None,
    success: Any = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    start: Any = None,
    penalty: str | None = None,
    separation: str = "error",
    control: Control | None = None,
    engine: Any = None,
) -> ConditionalResult:
    """Fit coefficients by the likelihood given each cluster's total, in which the clusters' intercepts have no part.

    Conditional logistic regression (given the number of successes, exactly), the analysis of matched case-control sets;
    and conditional Poisson regression. Unlike fixed effects it is free of bias in clusters of any size.

    Parameters
    ----------
    formula : str
        Wilkinson formula. The response is a 0/1, bool or two-level column, `cbind(successes, failures)`, or counts.
    data : table
        Any eager data frame that narwhals knows (pandas, polars, pyarrow, ...), a dict of columns, or the path of a CSV
        or Parquet file. A folder of Parquet files or a pattern such as "folder/*.parquet" is read block by block and
        may be larger than memory: see `engine`.
    cluster : str, list of str or array
        Column of cluster labels of any type, columns whose combinations are clusters, or the labels: matched sets,
        strata, persons. Row order never matters. `strata(id)` in the formula says the same, as in R's `clogit`.
    family : {"binomial", "poisson"}
        Of the responses: 0/1 or shares of trials, or counts.
    link : "logit" or "log", optional
        The canonical one of the family; others have no sufficient totals.
    weights : str or array, optional
        Case weights, whole numbers that stand for repeated rows: a column, an expression of columns, or an array with
        an element per row of `data`.
    cluster_weights : str or array, optional
        Of clusters, the same in all rows of one, or a dict of them by label: they multiply its log-likelihood, and
        whole numbers are repeats of it.
    offset : str or array, optional
        Added to the linear predictor: a column, an expression of columns such as "log(years)", or an array.
    exposure : str or array, optional
        Positive numbers, given likewise, whose logarithm is the offset.
    subset : str or array, optional
        Rows to use: a column or an array of truth values, or a condition such as "week > 2".
    success : str, number or bool, optional
        The level of a two-level response that is the success; by default the second in the order of its levels, which
        for text is that of the alphabet: "survived", not "died".
    functions : dict of str to callable, optional
        Functions of your own that the formula calls: of arrays, each row's value from that row alone.
    start : array or mapping, optional
        Starting coefficients, in the order of the columns or by name.
    penalty : "firth", optional
        Maximise the log-likelihood and half the log-determinant of its information (Jeffreys' prior; Heinze and Puhr,
        Statistics in Medicine 29, 2010): estimates are finite, also where covariates separate the responses within
        clusters. `loglik` and AIC are without the penalty, profile intervals and `cg.compare`'s tests with it.
    separation : {"error", "limit"}
        Where covariates separate the responses within clusters, so that the likelihood has no maximum: an error that
        names them, or the limit of the fit, in which some coefficients are infinite and some rows certain. Its
        log-likelihood serves likelihood-ratio tests, `conf_int(method="profile")` gives one-sided intervals, `rest` is
        the fit to the other rows.
    control : Control, optional
        Settings of the optimiser.
    engine : Stream or Dask, optional
        Where the rows are while the model is fitted: `cg.engine.Stream(...)` for Parquet files that are read block by
        block, the default for several of them; `cg.engine.Dask(client)` for data spread over a Dask cluster. Results
        then do without what belongs to single rows or clusters, and there is no penalty.

    Returns
    -------
    ConditionalResult

    Raises
    ------
    ClusterGLMError
        A subclass says which argument or which part of the data cannot be used, and what to try.

    Warns
    -----
    ConvergenceWarning
        When the optimiser ended before it reached its tolerance.

    Examples
    --------
    >>> import clusterglm as cg
    >>> infert = cg.datasets.load("infert")
    >>> fit = cg.conditional("case ~ spontaneous + induced", infert, cluster="stratum")
    >>> fit.params.round(3).to_dict()
    {'spontaneous': 1.986, 'induced': 1.409}
    """
    response = read_response(family, link)
    offset = one_offset(offset, exposure)
    check_conditional(response)
    settings = read_control(control)
    chosen, to_limit = read_penalty(penalty), read_separation(separation)
    request = Request(
        response,
        cluster=cluster,
        weights=weights,
        cluster_weights=cluster_weights,
        offset=offset,
        subset=subset,
        success=success,
        functions=functions,
        fixed_effects=True,
    )
    if is_elsewhere(data, engine, chosen, to_limit):
        from clusterglm.api.blocks import conditional_over_blocks

        return conditional_over_blocks(formula, data, engine, request, start, settings)
    model_data = prepare(formula, data, request)

    def fitted(rows: ModelData) -> ConditionalResult:
        fit = fit_conditional(rows, response, read_start(start, rows), settings, chosen)
        return ConditionalResult(fit, rows, response)

    if to_limit:
        from clusterglm.api.separation import fit_or_limit
        from clusterglm.results.models.limit import ConditionalLimit

        result = fit_or_limit(fitted, ConditionalLimit, model_data, response, start=start, penalty=chosen)
    else:
        result = fitted(model_data)
    warn_unless_converged(result.optimization)
    return result
