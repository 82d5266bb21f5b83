"""Likelihood-ratio tests between fits with a penalty."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.mixed import MixedFit, scale_of
from clusterglm.fit.mixed_search import refined
from clusterglm.fit.mixed_sums import InMemorySums
from clusterglm.fit.newton import maximize
from clusterglm.fit.penalty import PenalizedSums
from clusterglm.fit.penalty_fixed import PenalizedFixed
from clusterglm.fit.penalty_within import PenalizedWithin
from clusterglm.fit.pooled import sums_of
from clusterglm.fit.soft import marginal_of
from clusterglm.fit.sums import Sums
from clusterglm.fit.within import WithinSums, sums_within
from clusterglm.inference.hypotheses.random_part import RandomPart
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import random_intercept
from clusterglm.model.response.base import Response


def pooled_ratio(data: ModelData, response: Response, top: float, inner: Array) -> float:
    """Twice what the penalised log-likelihood loses when the linear predictor is held to some columns.

    Parameters
    ----------
    data : ModelData
        Of the larger model.
    response : Response
    top : float
        Maximum of its penalised log-likelihood, the likelihood's constants included.
    inner : ndarray, shape (n, r)
        Columns of the smaller model, combinations of those of the larger one, rows in the order of `data`.

    Returns
    -------
    float
        nan where the maximum over the smaller model was not found; negative where `top` is no maximum.

    Notes
    -----
    Both maxima are of the likelihood with the penalty of the larger model (Heinze and Schemper, Statistics in Medicine
    21, 2002; what R's logistf calls nested). Each model under a penalty of its own would not do: the determinants of
    informations of different sizes do not compare, and change with the units of the covariates.
    """
    pooled = PenalizedSums.of(sums_of(data, response, Control()))
    return _ratio(pooled.evaluate, pooled.sums, pooled.start, data.X, inner, top - data.constant)


def within_ratio(data: ModelData, response: Response, top: float, inner: Array, *, conditional: bool) -> float:
    """`pooled_ratio` of models whose clusters have intercepts: the columns are combinations within clusters."""
    within = WithinSums(sums_within(data, response, 1), conditional=conditional)
    evaluate, constant = PenalizedFixed.of(within).evaluate, data.constant
    if conditional:
        given = PenalizedWithin.of(within)
        evaluate, constant = given.evaluate, given.constant
    outer, inner = (_within_clusters(columns, data) for columns in (data.X, inner))
    return _ratio(evaluate, within.sums, np.zeros(len(data.names)), outer, inner, top - constant)


def _ratio(
    evaluate: Callable[[Array], Evaluation], sums: Sums, start: Array, outer: Array, inner: Array, top: float
) -> float:
    combinations = np.asarray(np.linalg.lstsq(outer, inner, rcond=None)[0], dtype=np.float64)
    basis: Array = np.linalg.qr(sums.standard.inside(combinations))[0]

    def held(delta: Array) -> Evaluation:
        full = evaluate(basis @ delta)
        return Evaluation(full.value, basis.T @ full.score, basis.T @ full.hessian @ basis)

    if basis.shape[1] == 0:
        value = evaluate(np.zeros(len(basis))).value
    else:
        maximum = maximize(held, basis.T @ start, Control(), unit=sums.weights.unit)
        value = maximum.evaluation.value if maximum.optimization.converged else np.nan
    return 2.0 * (top - value)


def soft_ratio(fit: RandomEffectsFit, top: float, inner: Array, sigma: float | None) -> float:
    """`pooled_ratio` of random-intercept models with a soft penalty.

    Parameters
    ----------
    fit : RandomEffectsFit
        The larger model.
    top, inner
        As in `pooled_ratio`.
    sigma : float or None
        What the smaller model holds sigma at; None where it estimates it.
    """
    data = fit.data.rows
    sums = sums_of(data, fit.response, Control())
    likelihood, plan = marginal_of(sums, fit.integrator, fit.penalty), sums.by_block(fit.plan)
    combinations = np.asarray(np.linalg.lstsq(data.X, inner, rcond=None)[0], dtype=np.float64)
    basis: Array = np.linalg.qr(sums.standard.inside(combinations))[0]
    known, whole = fit.sigma if fit.sigma_fixed else sigma, fit.parameters
    smaller = random_intercept(basis.shape[1], state="free" if known is None else "held")
    begin = smaller.joined(basis.T @ sums.standard.inside(fit.beta), fit.sigma if known is None else known)
    move = np.zeros((len(whole), len(smaller)))
    move[whole.coefficients, smaller.coefficients] = basis
    move[whole.scale, smaller.scale] = 1.0

    def held(free: Array) -> Evaluation:
        delta, at_sigma = smaller.split(smaller.filled(free, begin))
        full, along = likelihood.evaluate(whole.joined(basis @ delta, at_sigma), plan), move[:, smaller.free]
        return Evaluation(full.value, along.T @ full.score, along.T @ full.hessian @ along)

    start = begin[smaller.free]
    if len(start) == 0:
        return 2.0 * (top - data.constant - held(start).value)
    maximum = maximize(held, start, Control(), radius=1.0, reflect=smaller.only_free.reflected)
    value = maximum.evaluation.value if maximum.optimization.converged else np.nan
    return 2.0 * (top - data.constant - value)


def mixed_soft_ratio(fit: MixedFit, top: float, inner: Array, effects: RandomPart) -> float:
    """`pooled_ratio` of models with several random effects and a soft penalty.

    Parameters
    ----------
    fit : MixedFit
        The larger model.
    top, inner
        As in `pooled_ratio`.
    effects : RandomPart
        Of the smaller model, which may lack correlations.
    """
    data, control = fit.data.rows, Control()
    given = InMemorySums(data, fit.response, control, fit.penalty)
    combinations = np.asarray(np.linalg.lstsq(data.X, inner, rcond=None)[0], dtype=np.float64)
    basis: Array = np.linalg.qr(given.standard.inside(combinations), mode="complete")[0]
    scale = scale_of(given)
    task = given.task(scale, basis)
    covariance, kept = task.covariance, np.arange(len(basis)) < combinations.shape[1]
    free = task.all_and(np.ones(covariance.n_parameters, dtype=bool))
    free[task.parameters.coefficients] = kept
    of_covariance = np.ones(covariance.n_parameters, dtype=bool)
    for term, (_, some) in zip(covariance.terms, covariance.blocks_of_parameters(), strict=True):
        if not RandomPart.of([(term.group, term.effects, term.structure)], False).blocks <= effects.blocks:
            of_covariance[some] = covariance.scales[some]
    free[task.parameters.place("random")] = of_covariance
    phi = covariance.units(scale) * fit.phi
    begin = np.where(free, task.parameters.joined(basis.T @ given.standard.inside(fit.beta), phi), 0.0)
    found = refined(task, begin, fit.integration.requested, control, given.sums.weights.unit, free).maximum
    value = found.evaluation.value if found.optimization.converged else np.nan
    return 2.0 * (top - data.constant - value)


def _within_clusters(columns: Array, data: ModelData) -> Array:
    sizes = np.diff(data.starts)
    means = np.add.reduceat(columns, data.starts[:-1], axis=0) / sizes[:, None]
    return np.asarray(columns - np.repeat(means, sizes, axis=0))
