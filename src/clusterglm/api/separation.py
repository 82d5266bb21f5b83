"""The limits of fits where covariates separate the responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from clusterglm.data.prepare import ModelData
from clusterglm.data.recession import recession, rest_of
from clusterglm.errors import OptionError, SeparationError
from clusterglm.model.response.base import Response
from clusterglm.results.models.base import Result
from clusterglm.results.models.limit import Limit

R = TypeVar("R", bound=Result)
L = TypeVar("L", bound=Limit)


def fit_or_limit(
    fitted: Callable[[ModelData], R], kind: type[L], data: ModelData, response: Response, **beside: Any
) -> R | L:
    """The fit to data, or its limit, which is made from the fit to the rows that are not certain.

    Parameters
    ----------
    fitted : callable
        Data -> result of a verb.
    kind : type
        Of the verb's results at the limit.
    data : ModelData
    response : Response
    **beside
        Arguments of the verb that mean nothing where some coefficients are infinite.

    Raises
    ------
    OptionError
        When one of `beside` is not None.
    SeparationError
        Where no coefficient stays finite, if the model needs one.
    """
    for name, value in beside.items():
        if value is not None:
            raise OptionError(
                f"separation='limit' with {name}={value!r}",
                "one of them: with a penalty estimates are finite, and infinite ones have neither start nor correction",
                f"{name}=None, or separation='error'",
            )
    try:
        return fitted(data)
    except SeparationError as problem:
        found = recession(data, response, within=kind._own_intercepts)
        if found is None:
            raise
        if len(found.kept) > 0:
            rest: Any = fitted(rest_of(data, found))
            state = {field.name: getattr(rest, field.name) for field in fields(rest)}
            return kind(**state | {"data": data, "rest": rest, "recession": found})
        alone = kind._without_rest(data, response, found)
        if alone is not None:
            return alone
        raise SeparationError(
            problem.got,
            "in the limit, a coefficient that stays finite beside those that do not",
            "cg.pooled(..., separation='limit'), or a fit with a penalty",
        ) from None
