"""The limits of fits where covariates separate the responses, one function for each verb."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from clusterglm.data.prepare import ModelData
from clusterglm.data.recession import Recession, recession, rest_of
from clusterglm.errors import OptionError, SeparationError
from clusterglm.fit.limit import loglik_without_columns, without_columns
from clusterglm.model.response.base import Response
from clusterglm.results.models.base import Result
from clusterglm.results.models.conditional import ConditionalResult
from clusterglm.results.models.fixed_effects import FixedEffectsResult
from clusterglm.results.models.limit import ConditionalLimit, FixedEffectsLimit, PooledLimit, RandomEffectsLimit
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult

R = TypeVar("R", bound=Result)


def pooled_to_limit(
    fitted: Callable[[ModelData], PooledResult], data: ModelData, response: Response, penalty: str | None
) -> PooledResult:
    """The fit, or its limit; complete separation leaves no coefficient."""
    _refuse_beside(penalty=penalty)

    def limit(rest: PooledResult | None, found: Recession) -> PooledResult:
        if rest is None:
            fit = without_columns(loglik_without_columns(data, response, ~found.decided))
            return PooledLimit(fit, data, response, None, found)
        return PooledLimit(rest.fit, data, response, rest, found)

    return _followed(fitted, limit, data, response, within=False, alone=True)


def random_effects_to_limit(
    fitted: Callable[[ModelData], RandomEffectsResult],
    data: ModelData,
    response: Response,
    start: Any,
    penalty: str | None,
) -> RandomEffectsResult:
    """The fit, or its limit."""
    _refuse_beside(start=start, penalty=penalty)

    def limit(rest: RandomEffectsResult | None, found: Recession) -> RandomEffectsResult:
        assert rest is not None
        return RandomEffectsLimit(rest.fit, data, rest, found)

    return _followed(fitted, limit, data, response, within=False)


def fixed_effects_to_limit(
    fitted: Callable[[ModelData], FixedEffectsResult],
    data: ModelData,
    response: Response,
    start: Any,
    correction: Any,
    penalty: str | None,
) -> FixedEffectsResult:
    """The fit, or its limit."""
    _refuse_beside(start=start, bias_correction=correction, penalty=penalty)

    def limit(rest: FixedEffectsResult | None, found: Recession) -> FixedEffectsResult:
        assert rest is not None
        return FixedEffectsLimit(rest.fit, data, response, rest, found)

    return _followed(fitted, limit, data, response, within=True)


def conditional_to_limit(
    fitted: Callable[[ModelData], ConditionalResult],
    data: ModelData,
    response: Response,
    start: Any,
    penalty: str | None,
) -> ConditionalResult:
    """The fit, or its limit."""
    _refuse_beside(start=start, penalty=penalty)

    def limit(rest: ConditionalResult | None, found: Recession) -> ConditionalResult:
        assert rest is not None
        return ConditionalLimit(rest.fit, data, response, rest, found)

    return _followed(fitted, limit, data, response, within=True)


def _followed(
    fitted: Callable[[ModelData], R],
    limit: Callable[[R | None, Recession], R],
    data: ModelData,
    response: Response,
    *,
    within: bool,
    alone: bool = False,
) -> R:
    """The fit to data, or its limit from the fit to the rows that are not certain; `alone`: even where none is."""
    try:
        return fitted(data)
    except SeparationError as problem:
        found = recession(data, response, within=within)
        if found is None:
            raise
        if len(found.kept) > 0:
            return limit(fitted(rest_of(data, found)), found)
        if alone:
            return limit(None, found)
        raise SeparationError(
            problem.got,
            "in the limit, a coefficient that stays finite beside those that do not",
            "cg.pooled(..., separation='limit'), or a fit with a penalty",
        ) from None


def _refuse_beside(**options: Any) -> None:
    """Raise `OptionError` for arguments that mean nothing where some coefficients are infinite."""
    for name, value in options.items():
        if value is not None:
            raise OptionError(
                f"separation='limit' with {name}={value!r}",
                "one of them: with a penalty estimates are finite, and infinite ones have neither start nor correction",
                f"{name}=None, or separation='error'",
            )
