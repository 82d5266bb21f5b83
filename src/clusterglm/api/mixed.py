"""`random_effects` where more than an intercept varies over clusters."""

from __future__ import annotations

from typing import Any

from clusterglm.api.arguments import read_start, warn_unless_accurate, warn_unless_converged
from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError
from clusterglm.fit.mixed import fit_mixed
from clusterglm.model.control import Control
from clusterglm.model.distribution import Distribution
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response
from clusterglm.results.models.crossed import CrossedEffectsResult
from clusterglm.results.models.mixed import MixedEffectsResult


def random_slopes(
    data: ModelData, response: Response, quadrature: Quadrature, start: Any, control: Control, penalty: str | None
) -> MixedEffectsResult:
    """Fit data that have effects; see `cg.random_effects`."""
    if penalty is not None and data.effects is not None and data.effects.outside:
        raise OptionError(
            f"penalty={penalty!r} with crossed random effects",
            "one grouping factor, or two of which one is nested in the other",
            "maximum likelihood, in which a standard deviation may be 0",
        )
    fit = fit_mixed(data, response, quadrature, control, read_start(start, data), penalty)
    result = (CrossedEffectsResult if fit.effects.outside else MixedEffectsResult)(fit, data)
    warn_unless_converged(result.optimization)
    warn_unless_accurate(fit.integration)
    return result


def refuse_with_slopes(
    distribution: Distribution, scale: str, sigma: float | None, fix_sigma: bool, to_limit: bool
) -> None:
    """Refuse what is known of one random intercept alone.

    Raises
    ------
    OptionError
    """
    asked = [
        (not distribution.normal, f"distribution={distribution.name!r}", 'distribution="gaussian"'),
        (scale != "normal", f"scale={scale!r}", 'scale="normal"'),
        (sigma is not None or fix_sigma, "sigma= or fix_sigma=", "covariances that are estimated"),
        (to_limit, 'separation="limit"', 'separation="error", or penalty="soft", whose estimates are finite'),
    ]
    for given, what, needed in asked:
        if given:
            raise OptionError(f"{what} with several random effects", needed, "(1 | id) alone, for one random intercept")
