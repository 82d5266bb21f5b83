"""The verbs where zeros have a linear predictor of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clusterglm.api.arguments import read_start, warn_unless_accurate, warn_unless_converged
from clusterglm.api.mixed import refuse_with_slopes
from clusterglm.data.prepare import ModelData
from clusterglm.data.request import Request
from clusterglm.data.zero_part import read_zero_part
from clusterglm.errors import OptionError
from clusterglm.fit.hurdle import fit_hurdle_pooled, fit_hurdle_random_effects
from clusterglm.fit.hurdle_mixed import fit_hurdle_mixed
from clusterglm.fit.zero_mixed import fit_zero_mixed
from clusterglm.fit.zeros import fit_zero_pooled, fit_zero_random_effects
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.distribution import Distribution
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response
from clusterglm.model.response.zeros.hurdle import Hurdle, hurdle_of
from clusterglm.model.response.zeros.inflated import ZeroInflated, zero_inflated
from clusterglm.results.models.hurdle import HurdlePooledResult, HurdleRandomEffectsResult
from clusterglm.results.models.zeros import ZeroPooledResult, ZeroRandomEffectsResult
from clusterglm.results.models.zeros_mixed import (
    HurdleCrossedResult,
    HurdleMixedResult,
    ZeroCrossedResult,
    ZeroMixedResult,
    ZeroSeveral,
)

Beside = tuple[bool, str | None, bool]
"""Whether the data are elsewhere, a penalty, and whether separation leads to a limit."""


def pooled_with_zeros(
    formula: str,
    data: Any,
    request: Request,
    response: Response,
    zero_inflation: str | None,
    hurdle: str | None,
    beside: Beside,
    control: Control,
) -> ZeroPooledResult:
    """Fit without cluster effects; see `cg.pooled`."""
    argument, right = _refused(response, zero_inflation, hurdle, beside)
    rows, zero = read_zero_part(formula, right, data, request, argument)
    if argument == "hurdle":
        passed = fit_hurdle_pooled(rows, zero, _with_hurdle(response, zero), control)
        warn_unless_converged(passed.optimization)
        return HurdlePooledResult(passed, rows, passed.inflated)
    fit = fit_zero_pooled(rows, zero, _inflated(response, zero), control)
    warn_unless_converged(fit.optimization)
    return ZeroPooledResult(fit, rows, fit.inflated)


def random_effects_with_zeros(
    formula: str,
    data: Any,
    request: Request,
    response: Response,
    zero_inflation: str | None,
    hurdle: str | None,
    beside: Beside,
    asked: tuple[Distribution, Quadrature, str, Any, float | None, bool],
    control: Control,
) -> ZeroRandomEffectsResult | ZeroSeveral:
    """Fit with one random intercept per cluster in the counts, or several random effects; see `cg.random_effects`."""
    argument, right = _refused(response, zero_inflation, hurdle, beside)
    distribution, quadrature, scale, start, sigma, fix_sigma = asked
    rows, zero = read_zero_part(formula, right, data, request, argument)
    if rows.effects is not None:
        refuse_with_slopes(distribution, scale, sigma, fix_sigma, False)
        return _several(rows, zero, response, argument, quadrature, read_start(start, rows), control)
    if not distribution.normal or scale != "normal":
        raise OptionError(
            f"distribution={distribution.name!r} and scale={scale!r} with {argument}=",
            "Gaussian intercepts, of which it is known what such counts make",
            'distribution="gaussian" and scale="normal"',
        )
    begin = read_start(start, rows)
    if argument == "hurdle":
        inner = distribution, quadrature, scale, begin, sigma, fix_sigma
        passed = fit_hurdle_random_effects(rows, zero, _with_hurdle(response, zero), inner, control)
        warn_unless_converged(passed.optimization)
        warn_unless_accurate(passed.integration)
        return HurdleRandomEffectsResult(passed, rows)
    fit = fit_zero_random_effects(
        rows, zero, _inflated(response, zero), distribution, quadrature, scale, begin, sigma, fix_sigma, control
    )
    warn_unless_converged(fit.optimization)
    warn_unless_accurate(fit.integration)
    return ZeroRandomEffectsResult(fit, rows)


def _several(
    rows: ModelData,
    zero: ModelData,
    response: Response,
    argument: str,
    quadrature: Quadrature,
    start: Array | None,
    control: Control,
) -> ZeroSeveral:
    """Fit data that have effects."""
    result: ZeroSeveral
    if argument == "hurdle":
        passed = fit_hurdle_mixed(rows, zero, _with_hurdle(response, zero), quadrature, control, start)
        result = (HurdleCrossedResult if passed.effects.outside else HurdleMixedResult)(passed, rows)
    else:
        fit = fit_zero_mixed(rows, zero, _inflated(response, zero), quadrature, control, start)
        result = (ZeroCrossedResult if fit.effects.outside else ZeroMixedResult)(fit, rows)
    warn_unless_converged(result.optimization)
    warn_unless_accurate(result.fit.integration)
    return result


def _refused(response: Response, zero_inflation: str | None, hurdle: str | None, beside: Beside) -> tuple[str, str]:
    """Which argument gives a second formula, and this, if nothing else was asked for that such models do not have.

    Raises
    ------
    OptionError
    """
    if zero_inflation is not None and hurdle is not None:
        raise OptionError(
            "zero_inflation= and hurdle= at once",
            "one of them: with a hurdle its linear predictor explains every zero",
            "a fit of each, and cg.compare",
        )
    argument = "zero_inflation" if hurdle is None else "hurdle"
    if zero_inflated(response) is None:
        raise OptionError(
            f"{argument}= with family={response.family!r}",
            "family='poisson' or 'negative_binomial', counts that may be 0",
            f"leave {argument}= out",
        )
    elsewhere, penalty, to_limit = beside
    for given, what, needed in (
        (elsewhere, "data that are read block by block", "a table in memory"),
        (penalty is not None, f"penalty={penalty!r}", "maximum likelihood"),
        (to_limit, 'separation="limit"', 'separation="error"'),
    ):
        if given:
            raise OptionError(f"{what} with {argument}=", needed, "leave out one of the two")
    right = zero_inflation if hurdle is None else hurdle
    assert right is not None
    return argument, right


def _with_hurdle(response: Response, zero: ModelData) -> Hurdle:
    found = hurdle_of(response)
    assert found is not None  # `_refused` has asked
    return replace(found, names=zero.names)


def _inflated(response: Response, zero: ModelData) -> ZeroInflated:
    found = zero_inflated(response)
    assert found is not None  # `_refused` has asked
    return replace(found, names=zero.names)
