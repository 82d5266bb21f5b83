"""Choosing the distribution of the random intercept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from clusterglm.api.arguments import read_control, warn_unless_accurate, warn_unless_converged
from clusterglm.api.elsewhere import is_elsewhere
from clusterglm.api.nonparametric import nonparametric_fit
from clusterglm.api.unknown import explained
from clusterglm.data.offsets import one_offset
from clusterglm.data.ordered import read_levels
from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.repeats import counts_of
from clusterglm.data.request import Request
from clusterglm.data.tables.table import read_table
from clusterglm.errors import ClusterGLMError, OptionError
from clusterglm.fit.random_effects import fit_random_effects
from clusterglm.inference.distribution.event_counts import totals_known
from clusterglm.model.arguments import several
from clusterglm.model.control import Control
from clusterglm.model.distribution import Distribution
from clusterglm.model.distribution import distribution as read_distribution
from clusterglm.model.family import continuous as family_continuous
from clusterglm.model.family import response as read_response
from clusterglm.model.family import with_own as family_with_own
from clusterglm.model.quadrature import Quadrature, check_scale
from clusterglm.model.quadrature import quadrature as read_quadrature
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import OwnParameters
from clusterglm.model.workers import Progress
from clusterglm.results.models.random_effects import RandomEffectsResult
from clusterglm.results.tables.selection import REFERENCE, DistributionSelection


@explained
def select_distribution(
    formula: str,
    data: Any,
    *,
    cluster: Any = None,
    family: str = "binomial",
    link: str | None = None,
    distributions: Sequence[str | Distribution] = ("gaussian", "logistic", "cauchy"),
    quadrature: str | int | Quadrature = "auto",
    scale: str = "normal",
    weights: Any = None,
    cluster_weights: Any = None,
    offset: Any = None,
    exposure: Any = None,
    subset: Any = None,
    success: Any = None,
    levels: Any = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    least_expected: float = 1.0,
    n_boot: int = 0,
    seed: int | np.random.SeedSequence | None = None,
    n_jobs: int = 1,
    progress: Progress = None,
    control: Control | None = None,
    engine: Any = None,
) -> DistributionSelection:
    """Fit the same model with several distributions of the random intercept, and compare them.

    With `quadrature="auto"` all log-likelihoods are integrated to the same tolerance, so that their differences are
    those of the models; with few nodes they are not (a Cauchy model can lose whole units to the integration).

    Parameters
    ----------
    formula, data, cluster, family, link, weights, cluster_weights, offset, exposure, subset, success, levels, functions
        As for `random_effects`, but for `family="gaussian"`, whose intercepts are normal. The chi-squared criterion is
        for responses whose sum over a cluster has a known distribution: binomial and Poisson.
    distributions : sequence of str or Distribution
        See `random_effects` for the names. With "nonparametric" among them, `cg.nonparametric` is fitted too, as a
        bound of what any distribution can reach: it has a row in the table, but no weight and is never the best.
    quadrature, scale
        As for `random_effects`.
    least_expected : float
        The chi-squared criterion pools neighbouring numbers of events until a cell expects at least so many clusters.
    n_boot : int
        Replicates of the parametric bootstrap for its p-value; 0 for none.
    seed, n_jobs, progress
        Of the bootstrap.
    control : Control, optional
    engine : Stream or Dask, optional
        As for `random_effects`. Data that stay elsewhere are brought into blocks once for all distributions, and the
        chi-squared criterion, which takes single clusters, is left out.

    Returns
    -------
    DistributionSelection
        With `table`, `coefficients`, `best()`, and each fit in `fits`.

    Raises
    ------
    ClusterGLMError
        When the data cannot be used, or no distribution can be fitted; one that fails beside others is named in the
        result.

    Examples
    --------
    >>> import clusterglm as cg
    >>> bacteria = cg.datasets.load("bacteria")
    >>> found = cg.select_distribution("y ~ trt + I(week > 2)", bacteria, cluster="ID")
    >>> found.best("aic").distribution.name
    'gaussian'
    """
    own = family_with_own(family, link)
    if family_continuous(family, link) is not None:
        raise OptionError(
            f"a choice of distributions with family={family!r}",
            "a family whose intercepts may have any distribution: integrals are here closed forms of normal ones",
            "cg.random_effects, with distribution='gaussian'",
        )
    response = read_response(family, link) if own is None else own.reads
    distributions = several(
        "distributions", distributions, "a list of distributions", "distributions=['gaussian', 'cauchy']"
    )
    reference = any(isinstance(each, str) and each == REFERENCE for each in distributions)
    candidates = [
        read_distribution(each) for each in distributions if not (isinstance(each, str) and each == REFERENCE)
    ]
    names = [each.name for each in candidates]
    if len(candidates) < 1 or len(set(names)) < len(names):
        raise OptionError(
            f"distributions={list(names)}", "one or more, all different", "distributions=['gaussian', 'cauchy']"
        )
    if own is not None and n_boot:
        raise OptionError(
            f"n_boot={n_boot} with family={family!r}",
            "n_boot=0, where the response has parameters of its own: sums of a cluster have no known distribution",
            "log-likelihoods, AIC and BIC, which do not need it",
        )
    rule = read_quadrature(quadrature)
    check_scale(scale)
    settings = read_control(control)
    request = Request(
        response,
        cluster=cluster,
        weights=weights,
        cluster_weights=cluster_weights,
        offset=one_offset(offset, exposure),
        subset=subset,
        success=success,
        levels=read_levels(levels, response.ordered, family),
        functions=functions,
    )
    if own is not None:
        from clusterglm.api.own import read_own, refuse_beside_own

        refuse_beside_own(own, is_elsewhere(data, engine), None, False)
        table = read_table(data)
        rows, of_rows = read_own(formula, table, request, own)
        found = select_prepared(rows, of_rows, candidates, rule, scale, settings)
        if not reference:
            return found
        return replace(found, reference=nonparametric_fit(formula, table, request, settings, own=own))
    if is_elsewhere(data, engine):
        from clusterglm.api.blocks import select_over_blocks

        if reference or n_boot:
            raise OptionError(
                "the nonparametric reference or a bootstrap, for rows that are not in memory",
                "named distributions, and n_boot=0",
                "a table in memory for these: a sample of whole clusters may do",
            )
        return select_over_blocks(formula, data, engine, request, candidates, rule, scale, settings)
    table = read_table(data)
    model_data = prepare(formula, table, request)
    found = select_prepared(
        model_data, response, candidates, rule, scale, settings, None, least_expected, n_boot, seed, n_jobs, progress
    )
    if not reference:
        return found
    return replace(found, reference=nonparametric_fit(formula, table, request, settings))


def select_prepared(
    data: ModelData,
    response: Response,
    candidates: Sequence[Distribution],
    rule: Quadrature,
    scale: str,
    control: Control,
    known: RandomEffectsResult | None = None,
    least_expected: float = 1.0,
    n_boot: int = 0,
    seed: int | np.random.SeedSequence | None = None,
    n_jobs: int = 1,
    progress: Progress = None,
) -> DistributionSelection:
    """Select among distributions for data that are arrays already.

    Parameters
    ----------
    data : ModelData
    response : Response
        One with parameters of its own: for these data, its parameters to be estimated.
    candidates : sequence of Distribution
    rule : Quadrature
    scale : {"normal", "density"}
        Scale of integration.
    control : Control
    known : RandomEffectsResult, optional
        A fit to the same data, which comes first and is not made again.
    least_expected, n_boot, seed, n_jobs, progress
        As for `select_distribution`.

    Raises
    ------
    ClusterGLMError
        When there is no fit at all: that of the last candidate.
    """
    fits = {} if known is None else {known.distribution.name: known}
    failures: dict[str, str] = {}
    last: ClusterGLMError | None = None
    fitted = _fitting(data, response, rule, scale, control)
    for candidate in candidates:
        if candidate.name in fits:
            continue
        try:
            found = fitted(candidate)
        except ClusterGLMError as error:
            failures[candidate.name], last = error.got, error
            continue
        warn_unless_converged(found.optimization, level=5)
        warn_unless_accurate(found.fit.integration, level=5)
        fits[candidate.name] = found
    if last is not None and not fits:
        raise last
    goodness = {}
    known_events = not isinstance(response, OwnParameters)
    if (
        known_events and counts_of(data).whole and (totals_known(response) or n_boot)
    ):  # a bootstrap of what is not known is refused
        goodness = {
            name: each.chi_squared(n_boot, seed, n_jobs, progress, least_expected) for name, each in fits.items()
        }
    return DistributionSelection(fits, goodness, failures)


def _fitting(
    data: ModelData, response: Response, rule: Quadrature, scale: str, control: Control
) -> Callable[[Distribution], RandomEffectsResult]:
    """Fits with one distribution or another."""
    if isinstance(response, OwnParameters):
        from clusterglm.api.own import own_intercepts, own_random_effects_result

        def with_own(distribution: Distribution) -> RandomEffectsResult:
            fit = own_intercepts(data, response, distribution, rule, scale, None, None, False, control)
            return own_random_effects_result(fit, data)

        return with_own

    def fitted(distribution: Distribution) -> RandomEffectsResult:
        return RandomEffectsResult(fit_random_effects(data, response, distribution, rule, scale, control=control), data)

    return fitted
