"""The verb for a distribution of random intercepts of which nothing is assumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clusterglm.api.arguments import read_control, warn_unless_converged
from clusterglm.api.elsewhere import refuse_elsewhere
from clusterglm.api.unknown import explained
from clusterglm.data.offsets import one_offset
from clusterglm.data.ordered import read_levels
from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
from clusterglm.errors import OptionError
from clusterglm.fit.pooled import fit_pooled, with_intercept
from clusterglm.model.control import Control
from clusterglm.model.family import continuous, with_own
from clusterglm.model.family import response as read_response
from clusterglm.model.response.own.base import OwnParameters

if TYPE_CHECKING:
    from clusterglm.results.models.nonparametric import NonparametricResult


@explained
def nonparametric(
    formula: str,
    data: Any,
    *,
    cluster: Any = None,
    family: str = "binomial",
    link: str | None = None,
    points: int | None = None,
    weights: Any = None,
    cluster_weights: Any = None,
    offset: Any = None,
    exposure: Any = None,
    subset: Any = None,
    success: Any = None,
    levels: Any = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    control: Control | None = None,
) -> NonparametricResult:
    """Fit a random-intercept model without a word on the intercept's distribution, by nonparametric maximum likelihood.

    The most likely distribution has a few mass points (Laird 1978; Lindsay 1983); it shows what the data say of the
    intercepts, and its log-likelihood is the highest that any distribution can reach.

    Parameters
    ----------
    formula : str
        Wilkinson formula. The response is a 0/1, bool or two-level column, `cbind(successes, failures)`, counts,
        positive numbers, ordered categories, or `Surv(time, event)`. The mass points take the place of an intercept;
        covariates may be constant within clusters.
    data : table
        Any eager data frame that narwhals knows (pandas, polars, pyarrow, ...), a dict of columns, or the path of a CSV
        or Parquet file.
    cluster : str or array
        Column of cluster labels of any type, or the labels. Row order never matters.
    family : str
        Of the responses: "binomial" or "beta_binomial", 0/1 or shares of trials; "poisson", "negative_binomial" and
        "negative_binomial1", counts; "truncated_poisson" and "truncated_negative_binomial", counts without zeros;
        "ordinal", ordered categories; "gamma", positive numbers; "weibull" and "exponential", survival times.
        Parameters of the response (the dispersion, thresholds, shape) are maximised together with all else. "gaussian"
        is not among them.
    link : str, optional
        Binomial and ordinal: "logit" (default), "cloglog" or "probit"; beta-binomial "logit"; all others "log".
    points : int, optional
        A fixed number of mass points (Aitkin, Biometrics 55, 1999), which grow one by one; by default as many as the
        likelihood wants.
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
        categorical column.
    functions : dict of str to callable, optional
        Functions of your own that the formula calls: of arrays, each row's value from that row alone.
    control : Control, optional
        Settings of the optimiser; an iteration is a round in which points come and go.

    Returns
    -------
    NonparametricResult
        With a response that has parameters of its own, one that has these too: `OwnNonparametricResult`,
        `OrdinalNonparametricResult` or `DurationsNonparametricResult`.

    Raises
    ------
    ClusterGLMError
        A subclass says which argument or which part of the data cannot be used, and what to try.

    Warns
    -----
    ConvergenceWarning
        When the optimiser ended before it reached its tolerance.

    Notes
    -----
    Of ordered categories, thresholds and mass points are told apart by a mean of 0 of the points, as elsewhere random
    intercepts have a mean of 0; where points are infinite, of the finite ones. Where alpha, or 1 / phi, is as likely to
    be 0, the fit is that of the model there.

    Examples
    --------
    >>> import clusterglm as cg
    >>> bacteria = cg.datasets.load("bacteria")
    >>> fit = cg.nonparametric("y ~ trt + I(week > 2)", bacteria, cluster="ID")
    >>> len(fit.mass_points)
    2
    """
    from clusterglm.fit.npml import check_points

    refuse_elsewhere(data, "nonparametric")
    check_points(points)
    if continuous(family, link) is not None:
        raise OptionError(
            f"mass points with family={family!r}",
            "a family whose intercepts are not closed forms of normal ones",
            "cg.random_effects, with normal intercepts; or family='gamma' for positive responses",
        )
    own = with_own(family, link)
    response = read_response(family, link) if own is None else own.reads
    offset = one_offset(offset, exposure)
    settings = read_control(control)
    request = Request(
        response,
        cluster=cluster,
        weights=weights,
        cluster_weights=cluster_weights,
        offset=offset,
        subset=subset,
        success=success,
        levels=read_levels(levels, response.ordered, family),
        functions=functions,
    )
    return nonparametric_fit(formula, data, request, settings, points, own)


def nonparametric_fit(
    formula: str,
    data: Any,
    request: Request,
    control: Control,
    points: int | None = None,
    own: OwnParameters | None = None,
) -> NonparametricResult:
    """What `nonparametric` makes of a request that says nothing of mass points yet."""
    from clusterglm.fit.npml import check_mixture, fit_npml
    from clusterglm.results.models.nonparametric import NonparametricResult

    request = replace(request, mass_points=True)
    if own is not None:
        from clusterglm.api.own import own_nonparametric

        return own_nonparametric(formula, data, request, own, control, points)
    response, model_data = request.response, prepare(formula, data, request)
    check_mixture(model_data, response, points)
    start = fit_pooled(with_intercept(model_data), response, Control()).beta[1:]
    fit = fit_npml(model_data, response, start, control, points)
    warn_unless_converged(fit.optimization, 5)
    return NonparametricResult(fit, model_data, response)
