"""Fits of data that are not in memory: blocks, sums over them, results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from clusterglm.api.arguments import read_start, warn_unless_accurate, warn_unless_converged
from clusterglm.api.mixed import refuse_with_slopes
from clusterglm.data.blocks.streamed import StreamedData
from clusterglm.data.formulas.tree import Node
from clusterglm.data.request import Request
from clusterglm.data.within import AbsorbedError
from clusterglm.engine.base import Gathered
from clusterglm.engine.stream import DiskBlocks, Stream
from clusterglm.errors import ClusterGLMError, DesignError, EngineError, OptionError
from clusterglm.fit.conditional import conditional_estimates
from clusterglm.fit.fixed_effects import effects_of_block, profiled_estimates
from clusterglm.fit.mixed import fit_mixed_sums
from clusterglm.fit.mixed_blocks import MixedBlockSums
from clusterglm.fit.pooled import pooled_estimates
from clusterglm.fit.random_effects import fit_sums
from clusterglm.fit.streamed import refuse_homogeneous_blocks, sums_of_blocks
from clusterglm.fit.sums import Sums, whole_weights
from clusterglm.fit.within import WithinSums, variation_of
from clusterglm.inference.diagnostics.overdispersion import overdispersion_over_blocks
from clusterglm.inference.hypotheses.score_test import score_test_over_blocks
from clusterglm.inference.uncertainty.correction import corrected_estimates, refuse_counts
from clusterglm.inference.uncertainty.covariance import marginal_products, pooled_products
from clusterglm.inference.uncertainty.mixed import mixed_products
from clusterglm.model.bias import SplitPanel
from clusterglm.model.control import Control
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.quadrature import Quadrature
from clusterglm.results.models.blocks import (
    ConditionalResultOverBlocks,
    FixedEffectsResultOverBlocks,
    MixedEffectsResultOverBlocks,
    PooledResultOverBlocks,
    RandomEffectsResultOverBlocks,
)
from clusterglm.results.models.random_effects import RandomEffectsResult
from clusterglm.results.tables.selection import DistributionSelection


@dataclass(frozen=True)
class RandomEffectsModel:
    """Arguments of `random_effects` that say nothing of the data."""

    distribution: Distribution
    quadrature: Quadrature
    scale: str
    start: Any
    sigma: float | None
    fix_sigma: bool

    def refuse_with_slopes(self) -> None:
        """See `refuse_with_slopes`; penalties and limits are refused before."""
        refuse_with_slopes(self.distribution, self.scale, self.sigma, self.fix_sigma, False)


def pooled_over_blocks(
    formula: str, data: Any, engine: Any, request: Request, control: Control
) -> PooledResultOverBlocks:
    """See `cg.pooled`."""
    with _gathered(formula, data, engine, request, control) as gathered:
        described, sums = sums_of_blocks(gathered, request)
        fit = pooled_estimates(sums, control)
        clustered = described.cluster_name is not None
        products = pooled_products(sums, fit.beta, by_row=not clustered)
        score = score_test_over_blocks(sums, fit.beta) if clustered else None
    warn_unless_converged(fit.optimization, 5)
    return PooledResultOverBlocks(fit, described, request.response, products, score)


def random_effects_over_blocks(
    formula: str, data: Any, engine: Any, request: Request, model: RandomEffectsModel, control: Control
) -> RandomEffectsResultOverBlocks | MixedEffectsResultOverBlocks:
    """See `cg.random_effects`."""
    _refuse_free_shape(model.distribution)
    with _gathered(formula, data, engine, request, control) as gathered:
        if gathered.parsed.varies:
            model.refuse_with_slopes()
            return _mixed_effects(gathered, request, model, control)
        described, sums = sums_of_blocks(gathered, request)
        if not model.fix_sigma:
            refuse_homogeneous_blocks(gathered, request)
        found = _random_effects(sums, described, model, control)
    warn_unless_converged(found.optimization, 5)
    warn_unless_accurate(found.fit.integration, 5)
    return found


def _mixed_effects(
    gathered: Gathered, request: Request, model: RandomEffectsModel, control: Control
) -> MixedEffectsResultOverBlocks:
    given = MixedBlockSums.of(gathered, request, control.threads)
    fit = fit_mixed_sums(given, request.response, model.quadrature, control, read_start(model.start, given.data))
    found = MixedEffectsResultOverBlocks(fit, given.data, mixed_products(given, fit))
    warn_unless_converged(found.optimization, 6)
    warn_unless_accurate(found.fit.integration, 6)
    return found


def select_over_blocks(
    formula: str,
    data: Any,
    engine: Any,
    request: Request,
    candidates: Sequence[Distribution],
    quadrature: Quadrature,
    scale: str,
    control: Control,
) -> DistributionSelection:
    """See `cg.select_distribution`; the rows are brought together once."""
    for candidate in candidates:
        _refuse_free_shape(candidate)
    fits: dict[str, RandomEffectsResult] = {}
    failures: dict[str, str] = {}
    last: ClusterGLMError | None = None
    with _gathered(formula, data, engine, request, control) as gathered:
        described, sums = sums_of_blocks(gathered, request)
        refuse_homogeneous_blocks(gathered, request)
        for candidate in candidates:
            model = RandomEffectsModel(candidate, quadrature, scale, None, None, False)
            try:
                fits[candidate.name] = _random_effects(sums, described, model, control)
            except EngineError:
                raise  # not the distribution's doing
            except ClusterGLMError as error:
                failures[candidate.name], last = error.got, error
    if last is not None and not fits:
        raise last
    for found in fits.values():
        warn_unless_converged(found.optimization, 5)
        warn_unless_accurate(found.fit.integration, 5)
    return DistributionSelection(fits, {}, failures)


def _random_effects(
    sums: Sums, data: StreamedData, model: RandomEffectsModel, control: Control
) -> RandomEffectsResultOverBlocks:
    start = read_start(model.start, data)
    fit = fit_sums(
        sums, model.distribution, model.quadrature, model.scale, start, model.sigma, model.fix_sigma, control
    )
    products = pooled_products(sums, fit.beta, by_row=False) if fit.sigma == 0.0 else marginal_products(sums, fit)
    return RandomEffectsResultOverBlocks(fit, data, products)


def fixed_effects_over_blocks(
    formula: str,
    data: Any,
    engine: Any,
    request: Request,
    start: Any,
    correction: str | SplitPanel | None,
    control: Control,
) -> FixedEffectsResultOverBlocks:
    """See `cg.fixed_effects`."""
    if isinstance(correction, SplitPanel):
        raise OptionError(
            f"bias_correction={correction!s}, which orders single rows, for rows that are not in memory",
            "no correction, or the analytical one",
            'bias_correction="analytical"',
        )
    if correction is not None:
        refuse_counts(request.response)

    def estimates(gathered: Gathered, data: StreamedData, within: WithinSums) -> FixedEffectsResultOverBlocks:
        found = profiled_estimates(within, read_start(start, data), control)
        if correction is not None:
            found = corrected_estimates(found, within)
        standard = within.sums.standard
        gamma = standard.inside(found.beta)
        products = within.outer_products(gamma)
        path = getattr(engine, "cluster_effects", None)
        if isinstance(gathered.blocks, DiskBlocks) and path is not None:
            units = found.covariance, standard.centre, 1.0 / np.diag(standard.L), whole_weights(within.sums)
            gathered.blocks.write(path, effects_of_block, gamma, *units)
        return FixedEffectsResultOverBlocks(found, data, request.response, products)

    gather = partial(_gathered, formula, data, engine, control=control, effects=True)
    result = _identified(gather, request, estimates, conditional=False)
    warn_unless_converged(result.optimization, 5)
    return result


def conditional_over_blocks(
    formula: str, data: Any, engine: Any, request: Request, start: Any, control: Control
) -> ConditionalResultOverBlocks:
    """See `cg.conditional`."""

    def estimates(_: Gathered, data: StreamedData, within: WithinSums) -> ConditionalResultOverBlocks:
        found = conditional_estimates(within, read_start(start, data), control)
        products = within.outer_products(within.sums.standard.inside(found.beta))
        counts = request.response.poisson_totals
        spread = overdispersion_over_blocks(within.sums, found.beta) if counts else None
        return ConditionalResultOverBlocks(found, data, request.response, products, spread)

    gather = partial(_gathered, formula, data, engine, control=control)
    result = _identified(gather, request, estimates, conditional=True)
    warn_unless_converged(result.optimization, 5)
    return result


_Result = TypeVar("_Result")


def _identified(
    gather: Callable[[Request], Gathered],
    request: Request,
    estimates: Callable[[Gathered, StreamedData, WithinSums], _Result],
    *,
    conditional: bool,
) -> _Result:
    """Estimates of what the clusters' intercepts leave to the formula.

    Columns that are constant within clusters are left out, and said to be. Where columns are combinations of others
    there, the rows are gathered once more to see which factors are constant: their interactions are then coded as next
    to them, as for rows in memory.
    """
    while True:
        with gather(request) as gathered:
            try:
                data, sums = sums_of_blocks(gathered, request)
                return estimates(gathered, data, WithinSums(sums, conditional))
            except AbsorbedError as problem:
                request = replace(request, left_out=(*request.left_out, *problem.columns))
                continue
            except DesignError as problem:
                several = any(len(term.factors) > 1 for term in gathered.parsed.terms)
                if request.constant is not None or not several:
                    raise
                unidentified = problem
        constant = _constant_factors(gather, request)
        if not constant:
            raise unidentified
        request = replace(request, constant=constant, left_out=())


def _constant_factors(gather: Callable[[Request], Gathered], request: Request) -> tuple[Node, ...]:
    """Factors of the formula that are constant within every cluster."""
    with gather(replace(request, alone=True, left_out=())) as gathered:
        constant = variation_of(gathered.blocks).constant
    coding = gathered.learned.design.coding
    alone = [(term.parts, places) for term, places in coding.places()]
    return tuple(coding.factors[parts[0][0][0]].node for parts, places in alone if constant[list(places)].all())


def _refuse_free_shape(distribution: Distribution) -> None:
    """The search for a shape compares members on the very rows."""
    if distribution.free:
        names = " and ".join(parameter.name for parameter in distribution.free)
        raise OptionError(
            f"distribution={distribution.name!r}, whose {names} would be estimated from rows that are not in memory",
            "a distribution of given shape where rows are read block by block",
            "the shape that a part of the rows gives, fitted in memory, such as 'student_t(4)' or "
            "'gaussian_mixture(0.3, 3)'",
        )


def _gathered(
    formula: str, data: Any, engine: Any, request: Request, control: Control, *, effects: bool = False
) -> Gathered:
    chosen = Stream() if engine is None else engine
    if not effects and getattr(chosen, "cluster_effects", None) is not None:
        raise OptionError(
            f"cluster_effects={str(chosen.cluster_effects)!r} for a model without fixed intercepts",
            "cg.fixed_effects, which writes them there",
            "an engine without cluster_effects=",
        )
    if not hasattr(chosen, "gather"):
        raise OptionError(
            f"engine={engine!r}", "an engine", "engine=cg.engine.Stream() for Parquet files, or cg.engine.Dask(client)"
        )
    found: Gathered = chosen.gather(formula, data, request, control.threads)
    return found
