"""The verbs: from a user's table to a result; those that compare rows within clusters are in `within.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from clusterglm.api.arguments import read_control, read_start, warn_unless_accurate, warn_unless_converged
from clusterglm.api.elsewhere import is_elsewhere
from clusterglm.api.unknown import explained
from clusterglm.data.by_threshold import read_nonparallel
from clusterglm.data.offsets import one_offset
from clusterglm.data.ordered import read_levels
from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.request import Request
from clusterglm.errors import OptionError
from clusterglm.fit.pooled import fit_pooled
from clusterglm.fit.random_effects import check_sigma, fit_random_effects
from clusterglm.model.arguments import yes_or_no
from clusterglm.model.control import Control
from clusterglm.model.distribution import Distribution
from clusterglm.model.distribution import distribution as read_distribution
from clusterglm.model.family import continuous as family_continuous
from clusterglm.model.family import response as read_response
from clusterglm.model.family import with_own as family_with_own
from clusterglm.model.penalty import read_penalty
from clusterglm.model.quadrature import Quadrature, check_scale
from clusterglm.model.quadrature import quadrature as read_quadrature
from clusterglm.model.quasi import read_quasi
from clusterglm.model.separation import read_separation
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult

if TYPE_CHECKING:
    from clusterglm.results.models.mixed import MixedEffectsResult


@explained
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
    exposure: Any = None,
    subset: Any = None,
    success: Any = None,
    levels: Any = None,
    nonparallel: Any = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    zero_inflation: str | None = None,
    hurdle: str | None = None,
    reml: bool = False,
    penalty: str | None = None,
    separation: str = "error",
    control: Control | None = None,
    engine: Any = None,
) -> PooledResult:
    """Fit a generalised linear model without cluster effects, by maximum likelihood, or with Firth's penalty.

    Parameters
    ----------
    formula : str
        Wilkinson formula. The response is a 0/1, bool or two-level column, `cbind(successes, failures)`, counts,
        ordered categories, measured values, or `Surv(time, event)`.
    data : table
        Any eager data frame that narwhals knows (pandas, polars, pyarrow, ...), a dict of columns, or the path of a CSV
        or Parquet file. A folder of Parquet files or a pattern such as "folder/*.parquet" is read block by block and
        may be larger than memory: see `engine`.
    family : {"binomial", "poisson", "negative_binomial", "ordinal", "gaussian", "gamma", "weibull", ...}
        Of the responses: 0/1 or shares of trials; counts; counts with variance mean + alpha mean^2; ordered categories,
        with `thresholds` in place of the intercept, P(Y <= c) = F(threshold_c - linear predictor), so that a positive
        coefficient means higher categories; measured values; positive ones with variance mean^2 / shape; or survival
        times, `Surv(time, event)`, with hazard shape t^(shape - 1) exp(linear predictor) or, "exponential", a constant
        one. "negative_binomial1": counts with variance mean (1 + alpha); "truncated_poisson",
        "truncated_negative_binomial": counts without zeros, whose coefficients are those of the counts before zeros
        were left out; "beta_binomial": successes and failures of rows whose probabilities vary, with correlation
        1 / (1 + phi). Alpha, phi, thresholds, shapes and the residual standard deviation of measured values are
        estimated: `family_parameters` of the result.
    link : {"logit", "cloglog", "probit"}, "log" or "identity", optional
        By default "logit" for binomial and ordinal, "identity" for gaussian, "log" for others.
    cluster : str or array, optional
        Column of cluster labels; it matters only for `cov("robust")`, for cluster weights and for the counts.
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
    levels : list, optional
        The categories of an ordinal response from the lowest to the highest; by default those of an ordered
        categorical, or whole numbers as they are.
    nonparallel : str or list of str, optional
        Terms of the formula of an ordinal response, such as "x" or "x + z", whose coefficients differ between the
        thresholds (partial proportional odds): P(Y <= c) = F(threshold_c - x'gamma_c - linear predictor).
    functions : dict of str to callable, optional
        Functions of your own that the formula calls: of arrays, each row's value from that row alone.
    zero_inflation : str, optional
        Of counts, Poisson or negative binomial: `"~ 1"` or `"~ x"`, the linear predictor of the log odds that a count
        is 0 for certain, whatever its mean: a positive coefficient means more zeros.
    hurdle : str, optional
        Of the same, the linear predictor of the log odds that a count is 0; the others are then of the family truncated
        at zero.
    reml : bool
        Of normal responses: the residual variance of restricted maximum likelihood, which divides by n - p, as R's lm
        and its t tests have it; `loglik` is then the restricted one.
    penalty : "firth", optional
        Maximise the log-likelihood and half the log-determinant of the expected information (Jeffreys' prior; Firth,
        Biometrika 80, 1993): estimates are finite, also where covariates separate the responses. Standard errors are
        from the expected information; `loglik` and AIC are without the penalty, profile intervals and `cg.compare`'s
        tests with it. A row's weight counts it so many times, in the penalty too.
    separation : {"error", "limit"}
        Where covariates separate the responses, so that the likelihood has no maximum: an error that names them, or the
        limit of the fit, in which some coefficients are infinite and some rows certain. Its log-likelihood serves
        likelihood-ratio tests, `conf_int(method="profile")` gives one-sided intervals, `rest` is the fit to the other
        rows.
    control : Control, optional
        Settings of the optimiser.
    engine : Stream or Dask, optional
        Where the rows are while the model is fitted: `cg.engine.Stream(...)` for Parquet files that are read block by
        block, the default for several of them; `cg.engine.Dask(client)` for data spread over a Dask cluster. Results
        then do without what belongs to single rows or clusters, and there is no penalty.

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

    Examples
    --------
    >>> import clusterglm as cg
    >>> bacteria = cg.datasets.load("bacteria")
    >>> fit = cg.pooled("y ~ trt + week", bacteria, cluster="ID")
    >>> fit.n_parameters, fit.n_clusters
    (4, 50)
    """
    own, measured = family_with_own(family, link), family_continuous(family, link)
    response = measured or (read_response(family, link) if own is None else own.reads)
    offset = one_offset(offset, exposure)
    settings = read_control(control)
    chosen, to_limit = read_penalty(penalty), read_separation(separation)
    if yes_or_no("reml", reml) and (measured is None or zero_inflation is not None or hurdle is not None):
        raise OptionError(f"reml=True with family={family!r}", "family='gaussian' alone", "reml=False")
    request = Request(
        response,
        cluster=cluster,
        weights=weights,
        cluster_weights=cluster_weights,
        offset=offset,
        subset=subset,
        success=success,
        levels=read_levels(levels, response.ordered, family),
        nonparallel=read_nonparallel(nonparallel, response.ordered, family),
        functions=functions,
        need_cluster=False,
        penalized=chosen is not None,
    )
    if zero_inflation is not None or hurdle is not None:
        from clusterglm.api.zeros import pooled_with_zeros

        beside = is_elsewhere(data, engine), chosen, to_limit
        return pooled_with_zeros(formula, data, request, own or response, zero_inflation, hurdle, beside, settings)
    if measured is not None:
        from clusterglm.api.gaussian import gaussian_pooled

        return gaussian_pooled(formula, data, request, reml, is_elsewhere(data, engine), chosen, to_limit)
    if own is not None:
        from clusterglm.api.own import own_pooled, refuse_beside_own

        refuse_beside_own(own, is_elsewhere(data, engine), chosen, to_limit)
        return own_pooled(formula, data, request, own, settings)
    if is_elsewhere(data, engine, chosen, to_limit):
        from clusterglm.api.blocks import pooled_over_blocks

        return pooled_over_blocks(formula, data, engine, request, settings)
    model_data = prepare(formula, data, request)

    def fitted(rows: ModelData) -> PooledResult:
        return PooledResult(fit_pooled(rows, response, settings, chosen), rows, response)

    if to_limit:
        from clusterglm.api.separation import fit_or_limit
        from clusterglm.results.models.limit import PooledLimit

        result = fit_or_limit(fitted, PooledLimit, model_data, response, penalty=chosen)
    else:
        result = fitted(model_data)
    warn_unless_converged(result.optimization)
    return result


@explained
def random_effects(
    formula: str,
    data: Any,
    *,
    cluster: Any = None,
    inside: str | None = None,
    family: str = "binomial",
    link: str | None = None,
    distribution: str | Distribution = "gaussian",
    quadrature: str | int | Quadrature = "auto",
    scale: str = "normal",
    weights: Any = None,
    cluster_weights: Any = None,
    offset: Any = None,
    exposure: Any = None,
    subset: Any = None,
    success: Any = None,
    levels: Any = None,
    nonparallel: Any = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    zero_inflation: str | None = None,
    hurdle: str | None = None,
    start: Any = None,
    sigma: float | None = None,
    fix_sigma: bool = False,
    reml: bool = False,
    penalty: str | None = None,
    separation: str = "error",
    control: Control | None = None,
    engine: Any = None,
) -> RandomEffectsResult | MixedEffectsResult:
    """Fit a generalised linear model with random effects of clusters, by maximum likelihood.

    Parameters
    ----------
    formula : str
        Wilkinson formula. The response is a 0/1, bool or two-level column, `cbind(successes, failures)`, counts,
        ordered categories, measured values, or `Surv(time, event)`. Random effects are terms in lme4's grammar:
        `(1 | id)` an intercept, `(x | id)` an intercept and a slope with any covariance, `(x || id)` or `diag(x | id)`
        without correlation, `(0 + x | id)` the slope alone, `homdiag(0 + f | id)` effects of one variance,
        `cs(0 + f | id)` of one correlation; `(1 | a/b)`, or terms of two factors of which one lies in the other,
        effects at both levels; `(1 | person) + (1 | item)` of any number of factors, nested, crossed or both.
    data : table
        Any eager data frame that narwhals knows (pandas, polars, pyarrow, ...), a dict of columns, or the path of a CSV
        or Parquet file. A folder of Parquet files or a pattern such as "folder/*.parquet" is read block by block and
        may be larger than memory: see `engine`.
    cluster : str, list of str or array
        Column of cluster labels of any type, columns whose combinations are clusters, or the labels, for one random
        intercept; `(1 | id)` or `(1 | a:b)` in the formula says the same. Row order never matters.
    inside : str, optional
        Of factors that cross, the one that is integrated out exactly, given the others, for which Laplace's
        approximation is corrected; by default that with the most levels. Of two nested factors it asks for the same.
    family : {"binomial", "poisson", "negative_binomial", "ordinal", "gaussian", "gamma", "weibull", ...}
        Of the responses: 0/1 or shares of trials; counts; counts with variance mean + alpha mean^2; ordered categories,
        with `thresholds` in place of the intercept, P(Y <= c) = F(threshold_c - linear predictor), so that a positive
        coefficient means higher categories; measured values; positive ones with variance mean^2 / shape; or survival
        times, `Surv(time, event)`, with hazard shape t^(shape - 1) exp(linear predictor) or, "exponential", a constant
        one. "negative_binomial1": counts with variance mean (1 + alpha); "truncated_poisson",
        "truncated_negative_binomial": counts without zeros, whose coefficients are those of the counts before zeros
        were left out; "beta_binomial": successes and failures of rows whose probabilities vary, with correlation
        1 / (1 + phi). Alpha, phi, thresholds, shapes and the residual standard deviation of measured values are
        estimated: `family_parameters` of the result.
    link : {"logit", "cloglog", "probit"}, "log" or "identity", optional
        By default "logit" for binomial and ordinal, "identity" for gaussian, "log" for others.
    distribution : str or Distribution
        Of the random intercept: "gaussian", "logistic", "cauchy", "laplace", "bridge" (a logit stays a logit when it is
        integrated out), "log_gamma" (closed forms with Poisson and cloglog), "student_t(4)",
        "gaussian_mixture(0.3, 3)"; "student_t", "gaussian_mixture" and "smooth" (a smooth density of any shape), whose
        shape is then estimated; or an object such as `StudentT(4)`, `GaussianMixture(separation=3)`, `Smooth()` or a
        `UserDistribution`. Several effects are gaussian.
    quadrature : "auto", "laplace", int, Quadrature, "pql" or "pql-ml"
        How the integral over a cluster's random effects is computed: as many nodes as a tolerance needs, the Laplace
        approximation, or a number of adaptive Gauss-Hermite nodes; of several effects, in each dimension. Of those the
        cost is the number's power, and a tolerance is met by lattices where such rules do not agree. Or no integral:
        penalised quasi-likelihood, by REML with dispersion 1 ("pql"), or by maximum likelihood with a dispersion that
        is estimated ("pql-ml", as R's glmmPQL), for comparison with these; it is biased and has no likelihood.
    scale : {"normal", "density"}
        Scale of integration of the adaptive rules, which has nothing to do with that of predictions: along a standard
        normal variable that is mapped to the intercept, or along the intercept itself, as R's glmmML does. Of several
        effects, "normal" alone.
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
    levels : list, optional
        The categories of an ordinal response from the lowest to the highest; by default those of an ordered
        categorical, or whole numbers as they are.
    nonparallel : str or list of str, optional
        Terms of the formula of an ordinal response, such as "x" or "x + z", whose coefficients differ between the
        thresholds (partial proportional odds): P(Y <= c) = F(threshold_c - x'gamma_c - linear predictor).
    functions : dict of str to callable, optional
        Functions of your own that the formula calls: of arrays, each row's value from that row alone.
    zero_inflation : str, optional
        Of counts, Poisson or negative binomial: `"~ 1"` or `"~ x"`, the linear predictor of the log odds that a count
        is 0 for certain, whatever its mean: a positive coefficient means more zeros.
    hurdle : str, optional
        Of the same, the linear predictor of the log odds that a count is 0; the others are then of the family truncated
        at zero.
    start : array or mapping, optional
        Starting coefficients, in the order of the columns or by name; by default from the pooled fit.
    sigma : float, optional
        Starting value of the standard deviation of a single random intercept, or its value if `fix_sigma`.
    fix_sigma : bool
        Hold sigma at the value given.
    reml : bool
        Of normal responses: restricted maximum likelihood, whose variances allow for the coefficients.
    penalty : "soft", optional
        Maximise the log-likelihood and 2 root(p/n) times half the log-determinant of the expected information of the
        model without random effects and a Huber loss of log sigma (Sterzinger and Kosmidis, Statistics and Computing
        33, 2023, 53): estimates are finite and sigma is not 0, whatever the responses, and with many rows they are
        those of maximum likelihood. n counts trials. Standard errors are from the observed information of the
        responses alone; `loglik` and AIC are without the penalty, profile intervals and `cg.compare`'s tests with it.
        With several effects the losses are those of the entries of the Cholesky factor of their covariance, on its
        diagonal of their logarithms, so that this is never singular.
    separation : {"error", "limit"}
        Where covariates separate the responses, so that the likelihood has no maximum: an error that names them, or the
        limit of the fit, in which some coefficients are infinite and some rows certain. Its log-likelihood serves
        likelihood-ratio tests, `conf_int(method="profile")` gives one-sided intervals, `rest` is the fit to the other
        rows.
    control : Control, optional
        Settings of the optimiser.
    engine : Stream or Dask, optional
        Where the rows are while the model is fitted: `cg.engine.Stream(...)` for Parquet files that are read block by
        block, the default for several of them; `cg.engine.Dask(client)` for data spread over a Dask cluster. Results
        then do without what belongs to single rows or clusters, and shapes of distributions must be given.

    Returns
    -------
    RandomEffectsResult, MixedEffectsResult or CrossedEffectsResult
        With one random intercept; with any other random effects, whose standard deviations and correlations are
        `variance_components` in place of `sigma`; and with those of factors that cross. Of normal responses
        GaussianMixedResult, a MixedEffectsResult.

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
    >>> women = cg.datasets.load("contraception")
    >>> slopes = cg.random_effects("use ~ urban + age + (urban | district)", women)
    >>> slopes.variance_components["estimate"].round(1).to_list()
    [0.6, 0.8, -0.8]
    """
    own, measured = family_with_own(family, link), family_continuous(family, link)
    response = measured or (read_response(family, link) if own is None else own.reads)
    offset = one_offset(offset, exposure)
    intercept = read_distribution(distribution)
    quasi = read_quasi(quadrature)
    rule = read_quadrature("auto" if quasi is not None else quadrature)
    check_scale(scale)
    check_sigma(sigma, fix_sigma)
    settings, to_limit = read_control(control), read_separation(separation)
    chosen = read_penalty(penalty, "soft")
    request = Request(
        response,
        cluster=cluster,
        weights=weights,
        cluster_weights=cluster_weights,
        offset=offset,
        subset=subset,
        success=success,
        levels=read_levels(levels, response.ordered, family),
        nonparallel=read_nonparallel(nonparallel, response.ordered, family),
        functions=functions,
        sigma_known=fix_sigma,
        penalized=chosen is not None,
        effects=True,
        inside=inside,
    )
    restricted = yes_or_no("reml", reml)
    if quasi is not None:
        from clusterglm.api.pql import quasi_random_effects

        beside = [
            (own is not None or measured is not None, f"family={family!r}", "'binomial' or 'poisson'"),
            (restricted, "reml=True", '"pql", whose working models are fitted by REML, or "pql-ml"'),
            (is_elsewhere(data, engine), "data that are read block by block", "a table in memory"),
            (inside is not None, f"inside={inside!r}", "no choice: nothing is integrated out"),
            (not intercept.normal, f"distribution={intercept.name!r}", 'distribution="gaussian"'),
            (scale != "normal", f"scale={scale!r}", 'scale="normal"'),
            (sigma is not None or fix_sigma, "sigma= or fix_sigma=", "covariances that are estimated"),
            (chosen is not None, f"penalty={chosen!r}", "no penalty"),
            (to_limit, 'separation="limit"', 'separation="error"'),
            (zero_inflation is not None, f"zero_inflation={zero_inflation!r}", "one linear predictor"),
            (hurdle is not None, f"hurdle={hurdle!r}", "one linear predictor"),
        ]
        return quasi_random_effects(formula, data, request, quasi, start, settings, beside)
    if zero_inflation is not None or hurdle is not None:
        from clusterglm.api.zeros import random_effects_with_zeros

        return random_effects_with_zeros(
            formula, data, request, own or response, zero_inflation, hurdle,
            (is_elsewhere(data, engine), chosen, to_limit),
            (intercept, rule, scale, start, sigma, fix_sigma), settings,
        )  # fmt: skip
    if measured is not None:
        from clusterglm.api.gaussian import gaussian_random_effects

        asked = [
            (is_elsewhere(data, engine), "data that are read block by block", "a table in memory"),
            (rule.kind != "auto", f"quadrature={quadrature!r}", 'quadrature="auto": there are no integrals to compute'),
            (scale != "normal", f"scale={scale!r}", 'scale="normal"'),
            (start is not None, "start=", "start=None: coefficients are least squares at each covariance"),
            (sigma is not None or fix_sigma, "sigma= or fix_sigma=", "covariances that are estimated"),
            (chosen is not None, f"penalty={chosen!r}", "maximum likelihood, or reml=True"),
            (to_limit, 'separation="limit"', 'separation="error": measured responses are not separated'),
        ]
        return gaussian_random_effects(formula, data, request, restricted, intercept, asked, settings)
    if restricted:
        raise OptionError(f"reml=True with family={family!r}", "family='gaussian'", "maximum likelihood, reml=False")
    if own is not None:
        from clusterglm.api.own import own_random_effects, refuse_beside_own

        refuse_beside_own(own, is_elsewhere(data, engine), chosen, to_limit)
        return own_random_effects(
            formula, data, request, own, intercept, rule, scale, start, sigma, fix_sigma, settings
        )
    if is_elsewhere(data, engine, chosen, to_limit):
        from clusterglm.api.blocks import RandomEffectsModel, random_effects_over_blocks

        model = RandomEffectsModel(intercept, rule, scale, start, sigma, fix_sigma)
        return random_effects_over_blocks(formula, data, engine, request, model, settings)
    model_data = prepare(formula, data, request)
    if model_data.effects is not None:
        from clusterglm.api.mixed import random_slopes, refuse_with_slopes

        refuse_with_slopes(intercept, scale, sigma, fix_sigma, to_limit)
        return random_slopes(model_data, response, rule, start, settings, chosen)

    def fitted(rows: ModelData) -> RandomEffectsResult:
        begin = read_start(start, rows)
        fit = fit_random_effects(rows, response, intercept, rule, scale, begin, sigma, fix_sigma, settings, chosen)
        return RandomEffectsResult(fit, rows)

    if to_limit:
        from clusterglm.api.separation import fit_or_limit
        from clusterglm.results.models.limit import RandomEffectsLimit

        result = fit_or_limit(fitted, RandomEffectsLimit, model_data, response, start=start, penalty=chosen)
    else:
        result = fitted(model_data)
    warn_unless_converged(result.optimization)
    warn_unless_accurate(result.fit.integration)
    return result
