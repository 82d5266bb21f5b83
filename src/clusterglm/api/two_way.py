"""Fixed effects of two factors; see `cg.fixed_effects`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clusterglm.api.arguments import read_control, read_start, warn_unless_converged
from clusterglm.api.elsewhere import is_elsewhere
from clusterglm.data.request import Request
from clusterglm.data.tables.table import read_table
from clusterglm.data.two_way import prepare_two_way
from clusterglm.errors import ClusterError, OptionError
from clusterglm.fit.two_way import fit_two_way
from clusterglm.fit.two_way_own import fit_own_two_way, refuse_own_two_way
from clusterglm.inference.uncertainty.two_way import corrected_two_way
from clusterglm.model.bias import bias_correction as read_bias_correction
from clusterglm.model.control import Control
from clusterglm.model.family import continuous as family_continuous
from clusterglm.model.family import response as read_response
from clusterglm.model.family import with_own as family_with_own
from clusterglm.model.response.continuous.gaussian import GaussianIdentity
from clusterglm.results.models.two_way import TwoWayResult, with_fit
from clusterglm.results.models.two_way_own import OwnTwoWayResult


def columns_in(cluster: Any, data: Any, engine: Any) -> tuple[str, ...] | None:
    """Several columns that are named as clusters; None for one, and for labels of rows."""
    if not isinstance(cluster, list | tuple) or len(cluster) < 2 or not all(isinstance(each, str) for each in cluster):
        return None
    if is_elsewhere(data, engine):
        return None
    return tuple(cluster) if set(cluster) <= set(read_table(data).columns) else None


def two_way_fixed_effects(
    formula: str,
    data: Any,
    names: tuple[str, ...],
    family: str,
    link: str | None,
    given: dict[str, Any],
    start: Any,
    bias_correction: Any,
    refused: dict[str, bool],
    control: Control | None,
) -> TwoWayResult:
    """Fit with an intercept for every level of two factors.

    Parameters
    ----------
    formula, data, family, link, start, bias_correction, control
        As `cg.fixed_effects` has them.
    names : tuple of str
        Columns.
    given : dict of str to object
        What `Request` takes of the rows.
    refused : dict of str to bool
        Arguments that two factors do not have, and whether they were given.

    Raises
    ------
    ClusterGLMError
    """
    together = ":".join(names)
    if len(names) != 2 or len(set(names)) != 2:
        raise ClusterError(
            f"fixed effects of {len(names)} factors: {', '.join(map(repr, names))}",
            "two different ones, each with effects of its own",
            f"two of them, the third in the formula as C({names[-1]}); or cluster={together!r}, their combinations",
        )
    for argument, asked in refused.items():
        if asked:
            raise OptionError(
                f"{argument} with effects of two factors, {names[0]!r} and {names[1]!r}",
                "what is worked out for two factors",
                f"leave it out; or cluster= one of them, or {together!r}, their combinations",
            )
    measured, own = family_continuous(family, link), family_with_own(family, link)
    response = measured or (read_response(family, link) if own is None else own.reads)
    settings, correction = read_control(control), read_bias_correction(bias_correction)
    request = Request(response, fixed_effects=True, **given)
    if measured is None and own is not None:
        refuse_own_two_way(own, correction)
        whole = prepare_two_way(formula, data, request, (names[0], names[1]))
        known, used = fit_own_two_way(whole, own, read_start(start, whole.rows), settings)
        assert known.response is not None
        found = OwnTwoWayResult(known, used.rows, used.second, (names[0], names[1]), known.response.as_fitted)
        warn_unless_converged(found.optimization)
        return found
    whole = prepare_two_way(formula, data, request, (names[0], names[1]))
    fit, used = fit_two_way(whole, response, read_start(start, whole.rows), settings)
    if response.continuous:
        response = GaussianIdentity(fit.residual_sd)
    result = TwoWayResult(fit, used.rows, used.second, (names[0], names[1]), response)
    warn_unless_converged(result.optimization)
    if correction is None:
        return result
    return with_fit(result, corrected_two_way(fit, used, response, correction, replace(settings, progress=None)))
