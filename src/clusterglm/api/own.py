"""The verbs where the response has parameters of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from clusterglm.api.arguments import read_start, warn_unless_accurate, warn_unless_converged
from clusterglm.api.mixed import refuse_with_slopes
from clusterglm.data.by_threshold import apart
from clusterglm.data.durations import refuse_boundless_times
from clusterglm.data.ordered import refuse_empty
from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.recession import without_column
from clusterglm.data.request import Request
from clusterglm.errors import ClusterError, FormulaError, OptionError
from clusterglm.fit.own import OwnRandomEffectsFit, fit_own_pooled, fit_own_random_effects, own_of
from clusterglm.fit.own_fixed import fit_own_fixed_effects
from clusterglm.fit.own_fixed import own_of as fixed_of
from clusterglm.fit.own_mixed import fit_own_mixed
from clusterglm.fit.own_npml import check_own_mixture, fit_own_npml
from clusterglm.inference.uncertainty.correction import corrected_own
from clusterglm.model.arrays import Array
from clusterglm.model.bias import SplitPanel
from clusterglm.model.control import Control
from clusterglm.model.distribution import Distribution
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.nonparallel.ordinal_logit import nonparallel
from clusterglm.model.response.own.base import OwnParameters
from clusterglm.model.response.own.cumulative import Cumulative
from clusterglm.results.models.durations import DurationsRandomEffectsResult, durations_pooled
from clusterglm.results.models.durations_mixed import DurationsCrossedResult, DurationsMixedResult
from clusterglm.results.models.ordinal import OrdinalRandomEffectsResult, ordinal_pooled
from clusterglm.results.models.ordinal_mixed import OrdinalCrossedResult, OrdinalMixedResult
from clusterglm.results.models.own import OwnPooledResult, OwnRandomEffectsResult, pooled_result
from clusterglm.results.models.own_fixed import OwnFixedEffectsResult
from clusterglm.results.models.own_mixed import OwnCrossedResult, OwnMixedResult, OwnSeveral
from clusterglm.results.models.own_nonparametric import OwnNonparametricResult, own_nonparametric_result

_OF_MEANS = OwnMixedResult, OwnCrossedResult
_OF_CATEGORIES = OrdinalMixedResult, OrdinalCrossedResult
_OF_TIMES = DurationsMixedResult, DurationsCrossedResult


def refuse_beside_own(response: OwnParameters, elsewhere: bool, penalty: str | None, to_limit: bool) -> None:
    """Refuse what such responses do not have yet.

    Raises
    ------
    OptionError
    """
    limit = response.at_limit
    asked = [
        (elsewhere, "data that are read block by block", "a table in memory", "read them into a data frame"),
        (penalty is not None, f"penalty={penalty!r}", "maximum likelihood", "leave penalty= out"),
        (to_limit, 'separation="limit"', 'separation="error"', "leave separation= out"),
    ]
    for given, what, needed, advice in asked:
        if given:
            instead = "" if limit is None else f"; or family={limit.family!r}"
            raise OptionError(f"{what} with family={response.family!r}", needed, f"{advice}{instead}")


def own_pooled(formula: str, data: Any, request: Request, response: OwnParameters, control: Control) -> OwnPooledResult:
    """Fit without cluster effects; see `cg.pooled`."""
    model_data, response = read_own(formula, data, request, response)
    fit = fit_own_pooled(model_data, response, control)
    warn_unless_converged(fit.optimization)
    if response.durations:
        return durations_pooled(fit, model_data)
    return ordinal_pooled(fit, model_data) if response.ordered else pooled_result(fit, model_data)


def own_random_effects(
    formula: str,
    data: Any,
    request: Request,
    response: OwnParameters,
    distribution: Distribution,
    quadrature: Quadrature,
    scale: str,
    start: Any,
    sigma: float | None,
    fix_sigma: bool,
    control: Control,
) -> OwnRandomEffectsResult | OwnSeveral:
    """Fit with a random intercept for each cluster, or several random effects; see `cg.random_effects`."""
    rows, response = read_own(formula, data, request, response)
    if rows.effects is not None:
        refuse_with_slopes(distribution, scale, sigma, fix_sigma, False)
        return _several(rows, response, quadrature, read_start(start, rows), control)
    begin = read_start(start, rows)
    fit = own_intercepts(rows, response, distribution, quadrature, scale, begin, sigma, fix_sigma, control)
    warn_unless_converged(fit.optimization)
    warn_unless_accurate(fit.integration)
    return own_random_effects_result(fit, rows)


def own_intercepts(
    rows: ModelData,
    response: OwnParameters,
    distribution: Distribution,
    quadrature: Quadrature,
    scale: str,
    begin: Array | None,
    sigma: float | None,
    fix_sigma: bool,
    control: Control,
) -> OwnRandomEffectsFit:
    """Fit with a random intercept for each cluster, where the data can tell its variance.

    Raises
    ------
    ClusterError
        Where no cluster has more than one response of two categories.
    """
    if response.location and len(response.own) == 1 and not fix_sigma and int(np.diff(rows.starts).max()) < 2:
        raise ClusterError(
            f"{rows.n_clusters} clusters in {rows.cluster_name!r}, none with more than one response of two categories",
            "clusters with several responses: otherwise sigma is not identified",
            "cg.pooled; or check that cluster= names the group and not the row",
        )
    return fit_own_random_effects(rows, response, distribution, quadrature, scale, begin, sigma, fix_sigma, control)


def own_random_effects_result(fit: OwnRandomEffectsFit, rows: ModelData) -> OwnRandomEffectsResult:
    """The result of a fit with a random intercept for each cluster."""
    response = own_of(fit)
    if response.durations:
        return DurationsRandomEffectsResult(fit, rows)
    return (OrdinalRandomEffectsResult if response.ordered else OwnRandomEffectsResult)(fit, rows)


def own_fixed_effects(
    formula: str,
    data: Any,
    request: Request,
    response: OwnParameters,
    start: Any,
    correction: str | SplitPanel | None,
    control: Control,
) -> OwnFixedEffectsResult:
    """Fit with a fixed intercept for each cluster; see `cg.fixed_effects`.

    Raises
    ------
    OptionError
        For responses of which such a likelihood is not worked out.
    """
    if not response.profiled:
        raise OptionError(
            f"fixed_effects with family={response.family!r}, which has parameters of its own",
            "a family of which intercepts can be profiled out: 'binomial', 'poisson' or 'negative_binomial'",
            f"cg.random_effects or cg.pooled with family={response.family!r}",
        )
    rows, response = read_own(formula, data, request, response)
    fit = fit_own_fixed_effects(rows, response, read_start(start, rows), control)
    warn_unless_converged(fit.optimization)
    if correction is not None:
        fit = corrected_own(fit, rows, correction)
    return OwnFixedEffectsResult(fit, rows, fixed_of(fit).as_fitted)


def own_nonparametric(
    formula: str, data: Any, request: Request, response: OwnParameters, control: Control, points: int | None
) -> OwnNonparametricResult:
    """Fit without a word on the intercept's distribution; see `cg.nonparametric`."""
    rows, response = read_own(formula, data, request, response)
    check_own_mixture(rows, response, points)
    fit = fit_own_npml(rows, response, control, points)
    warn_unless_converged(fit.optimization, 6)
    return own_nonparametric_result(fit, rows)


def _several(
    rows: ModelData, response: OwnParameters, quadrature: Quadrature, start: Array | None, control: Control
) -> OwnSeveral:
    """Fit data that have effects."""
    fit = fit_own_mixed(rows, response, quadrature, control, start)
    warn_unless_converged(fit.optimization)
    warn_unless_accurate(fit.integration)
    mixed, crossed = _OF_TIMES if response.durations else _OF_CATEGORIES if response.ordered else _OF_MEANS
    return (crossed if fit.effects.outside else mixed)(fit, rows)


def read_own(formula: str, data: Any, request: Request, response: OwnParameters) -> tuple[ModelData, OwnParameters]:
    """The data, and the response for them; where its parameters stand for the intercept, without that column."""
    rows = prepare(formula, data, request)
    if response.durations:
        refuse_boundless_times(rows.a / rows.b, rows.response_name, shape=bool(response.own))
    response.refuse(rows.a, rows.b, rows.weights)
    if not response.location:
        return rows, response
    if rows.intercept is None and not request.absorb:
        raise FormulaError(
            f"{formula!r} without an intercept, with family={response.family!r}",
            "a formula with its intercept, whose place the thresholds take",
            "leave 0 + or - 1 out of the formula",
        )
    response = response.of_levels(rows.levels)
    assert rows.levels is not None
    refuse_empty(response.empty(rows.a, rows.b), rows.levels, rows.response_name)
    rows = rows if rows.intercept is None else without_column(rows, rows.intercept)
    return (rows, response) if request.nonparallel is None else _by_threshold(rows, response, request.nonparallel)


def _by_threshold(rows: ModelData, response: OwnParameters, terms: str) -> tuple[ModelData, OwnParameters]:
    """With coefficients of some terms that differ between thresholds.

    Raises
    ------
    FormulaError
        On terms that the formula does not have.
    OptionError
        With two categories, or a link whose kernel rows would be other ones for each covariate.
    """
    assert rows.levels is not None
    if len(rows.levels) < 3:
        raise OptionError(
            f"nonparallel={terms!r} with two categories, which have one threshold",
            "at least three categories",
            "leave nonparallel= out",
        )
    found = apart(rows, terms)
    assert isinstance(response, Cumulative)
    wider = nonparallel(response, found.names, found.patterns)
    if wider is None:
        raise OptionError(
            f"nonparallel={terms!r} with link={response.link!r}, whose rows depend on the distance of thresholds, and "
            "with it on each row's covariates",
            "link='logit', where distances stand apart from the rows",
            "link='logit'",
        )
    y = response.categories(rows.a, rows.b)
    return replace(found.data, a=rows.b * wider.coded(y, found.of)), wider
