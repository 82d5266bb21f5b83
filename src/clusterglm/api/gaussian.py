"""The verbs where responses are measured and normal: closed forms, ML and REML."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clusterglm.api.arguments import warn_unless_converged
from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
from clusterglm.errors import OptionError
from clusterglm.fit.gaussian import fit_gaussian, fit_gaussian_pooled
from clusterglm.model.control import Control
from clusterglm.model.distribution import Distribution
from clusterglm.model.response.continuous.gaussian import GaussianIdentity
from clusterglm.results.models.gaussian import GaussianMixedResult, GaussianPooledResult


def refuse_beside_gaussian(asked: list[tuple[bool, str, str]]) -> None:
    """Refuse arguments that say nothing of normal responses.

    Parameters
    ----------
    asked : list of (bool, str, str)
        Whether it was given, what, and what is needed in its place.

    Raises
    ------
    OptionError
    """
    for given, what, needed in asked:
        if given:
            raise OptionError(f"{what} with family='gaussian'", needed, "leave it out; or another family")


def gaussian_pooled(
    formula: str, data: Any, request: Request, reml: bool, elsewhere: bool, penalty: str | None, to_limit: bool
) -> GaussianPooledResult:
    """Least squares; see `cg.pooled`."""
    refuse_beside_gaussian(
        [
            (elsewhere, "data that are read block by block", "a table in memory"),
            (penalty is not None, f"penalty={penalty!r}", "maximum likelihood"),
            (to_limit, 'separation="limit"', 'separation="error": measured responses are not separated'),
        ]
    )
    rows = prepare(formula, data, request)
    fit = fit_gaussian_pooled(rows, reml)
    return GaussianPooledResult(fit, rows, GaussianIdentity(fit.residual_sd))


def gaussian_random_effects(
    formula: str,
    data: Any,
    request: Request,
    reml: bool,
    distribution: Distribution,
    refused: list[tuple[bool, str, str]],
    control: Control,
) -> GaussianMixedResult:
    """A linear mixed model; see `cg.random_effects`."""
    refuse_beside_gaussian(
        [
            *refused,
            (request.inside is not None, f"inside={request.inside!r}", "no choice: all effects are integrated out"),
            (not distribution.normal, f"distribution={distribution.name!r}", 'distribution="gaussian" of the effects'),
        ]
    )
    rows = prepare(formula, data, replace(request, effects=True, groupings=True))
    result = GaussianMixedResult(fit_gaussian(rows, reml, control), rows)
    warn_unless_converged(result.optimization)
    return result
