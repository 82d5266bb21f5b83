"""Uncertainty of the parameters of models with several random effects: standard deviations and correlations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.effects import Effects
from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError
from clusterglm.fit.mixed import MixedFit, fit_mixed, task_of
from clusterglm.fit.mixed_search import MixedTask, choose
from clusterglm.inference.uncertainty.peaks import Summit
from clusterglm.inference.uncertainty.profiling import Peak
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.covariance import Covariance, CovarianceTerm

_ALONG_PROFILES = 1e-5  # of the log-likelihood along profiles


def standardised_covariance(J: Array, V: Array, nowhere: NDArray[np.bool_]) -> Array:
    """Covariance of what is shown, by the delta method.

    Parameters
    ----------
    J : ndarray, shape (k, k)
        Derivatives of what is shown in the parameters.
    V : ndarray, shape (k, k)
        Covariance of the parameters, 0 for those that are held.
    nowhere : ndarray of bool, shape (r,)
        Which of the last of what is shown have no standard error: the method has nothing to say on a boundary.
    """
    some = J.copy()
    lost = len(J) - len(nowhere) + np.flatnonzero(nowhere)
    some[lost] = 0.0
    found = some @ V @ some.T
    found[lost, :] = found[:, lost] = np.nan
    return np.asarray(0.5 * (found + found.T))


def marginal_scores(fit: MixedFit) -> Array:
    """Each cluster's score in (beta, phi) at the estimate, shape (m, k)."""
    task = task_of(fit)
    theta = task.entries(fit.theta)
    scores = task.likelihood.unit_scores(theta, choose(task.likelihood, theta, fit.integration.requested).plan)
    return scores @ task.slopes(fit.theta).T


def task_by_reading(fit: MixedFit, threads: int = 1) -> MixedTask:
    """The likelihood in coefficients, standard deviations and functions of the correlations."""
    whole = task_of(fit, threads)
    return replace(whole, covariance=whole.covariance.by_reading())


def estimates_by_reading(fit: MixedFit) -> Array:
    """The estimates as `task_by_reading` takes them."""
    L = fit.factor
    return fit.parameters.joined(fit.beta, fit.effects.covariance.by_reading().of(L @ L.T))


def mixed_summit(fit: MixedFit, threads: int = 1) -> Summit:
    """The likelihood around its maximum in coefficients, standard deviations and functions of the correlations.

    A standard deviation has 0 as its least value, where the profile is the maximum without the effect.

    Raises
    ------
    OptionError
        Where the maximum is singular.
    """
    if fit.held.any():
        raise OptionError(
            "a profile where the covariance of random effects is singular",
            "a maximum inside the parameter space",
            'method="wald", or "bootstrap"; or fit fewer random effects',
        )
    task = task_by_reading(fit, threads)
    theta, p = estimates_by_reading(fit), len(fit.beta)
    requested = fit.integration.requested
    if requested.kind == "auto":
        requested = replace(requested, tolerance=max(requested.tolerance, _ALONG_PROFILES))

    def evaluate(at: Array) -> Evaluation:
        entries = task.entries(at)
        if not np.isfinite(entries).all():  # correlations of no covariance
            return Evaluation(np.nan, np.zeros(len(at)), np.zeros((len(at), len(at))))
        return task.evaluate(at, choose(task.likelihood, entries, requested).plan)

    here = evaluate(theta)
    names = task.covariance.read_labels()
    peaks = []
    for k, direction in enumerate(np.eye(len(theta))):
        peak = Peak(evaluate, theta, here, direction)
        if k >= p and names[k - p].startswith("sd"):
            peak = replace(peak, least=0.0, value_at_least=_without(fit, k - p) - fit.data.constant)
        peaks.append(peak)
    return Summit(tuple(peaks), fit.data.constant)


def _without(fit: MixedFit, parameter: int) -> float:
    """The log-likelihood, maximised, of the model without the effects that a standard deviation is of."""
    effects = fit.effects
    kept, first, terms = [], 0, []
    place = 0
    for term in effects.terms:
        names = term.design.names
        size = Covariance((CovarianceTerm(term.group, names, term.structure),)).n_parameters
        of_term = range(place, place + size)
        for j in range(len(names)):
            gone = parameter in of_term and (size == 1 or parameter - place == j)
            kept += [] if gone else [first + j]
        if parameter in of_term:
            left = [] if size == 1 else [j for j in range(len(names)) if j != parameter - place]
            if left:
                gone_columns = [j for j in range(len(names)) if j not in left]
                terms.append(replace(term, design=term.design.without(gone_columns)))
        else:
            terms.append(term)
        first, place = first + len(names), place + size
    if not kept:
        return fit.pooled.loglik
    data = _with_effects(fit.data, Effects(np.ascontiguousarray(effects.Z[:, kept]), tuple(terms), effects.children))
    return fit_mixed(data, fit.response, fit.integration.requested, Control(), fit.beta).loglik


def _with_effects(data: ModelData, effects: Effects) -> ModelData:
    """Data with some of their effects; where only one of two nested factors still has some, its levels are clusters."""
    children = effects.children
    if children is None or 0 < effects.n_upper < effects.Z.shape[1]:
        return replace(data, effects=effects)
    alone = replace(effects, children=None)
    if effects.n_upper > 0:
        return replace(data, effects=alone)
    weights = data.cluster_weights[data.innermost_clusters]
    return replace(
        data,
        starts=children.starts,
        labels=children.labels,
        cluster_weights=weights,
        cluster_name=children.group,
        effects=alone,
    )
