"""Likelihoods of responses with parameters of their own: theta = (..., psi) -> value, score, Hessian.

At given psi the rows are rows that the core knows, and so are value, score and Hessian in all other parameters. Where
psi enters by shifts of the linear predictor alone, it does by coefficients of columns, and derivatives are exact by the
chain rule (`through_coordinates`). Otherwise they are central differences of fourth order: of values and of exact
scores, of the very sums that are maximised. With a step of 0.01 in a working value (a logarithm) their error is below
1e-7 standard errors.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.response.own.base import Coordinates, Terms

_WORKING_STEP = 0.01
_SLOPE = ((-2, 1.0 / 12.0), (-1, -8.0 / 12.0), (1, 8.0 / 12.0), (2, -1.0 / 12.0))
_CURVATURE = ((-2, -1.0 / 12.0), (-1, 16.0 / 12.0), (1, 16.0 / 12.0), (2, -1.0 / 12.0))
_MIDDLE = -30.0 / 12.0


def with_own(at: Callable[[Array, int], Evaluation], psi: Array) -> Evaluation:
    """The likelihood in all parameters.

    Parameters
    ----------
    at : callable
        Takes psi and the highest derivative wanted; gives the evaluation in the other parameters, terms that depend on
        psi alone included.
    psi : ndarray, shape (k,)
        Working values.

    Returns
    -------
    Evaluation
        In the other parameters and psi, shape (q + k,).
    """
    middle, k = at(psi, 2), len(psi)
    steps = np.eye(k) * _WORKING_STEP
    around = [{j: at(psi + j * steps[i], 1) for j, _ in _SLOPE} for i in range(k)]
    own_score = np.array([sum(w * near[j].value for j, w in _SLOPE) for near in around]) / _WORKING_STEP
    mixed = np.array([sum(w * near[j].score for j, w in _SLOPE) for near in around]).reshape(k, -1) / _WORKING_STEP
    own = np.empty((k, k))
    for i, near in enumerate(around):
        own[i, i] = (sum(w * near[j].value for j, w in _CURVATURE) + _MIDDLE * middle.value) / _WORKING_STEP**2
    for i, j in combinations(range(k), 2):
        corners = sum(s * t * at(psi + s * steps[i] + t * steps[j], 0).value for s in (-1, 1) for t in (-1, 1))
        own[i, j] = own[j, i] = corners / (4.0 * _WORKING_STEP**2)
    hessian = np.block([[middle.hessian, mixed.T], [mixed, own]])
    return Evaluation(middle.value, np.append(middle.score, own_score), hessian)


def through_coordinates(core: Evaluation, p: int, at: Coordinates, terms: Terms) -> Evaluation:
    """The likelihood in psi from that in the coordinates which kernel rows depend on.

    Parameters
    ----------
    core : Evaluation
        In (p coefficients, m coordinates, others).
    p : int
    at : Coordinates
    terms : Terms

    Returns
    -------
    Evaluation
        In (p coefficients, others, psi).
    """
    coordinates = slice(p, p + len(at.value))
    chain = chain_of(at.first, p, len(core.score))
    score, hessian = chain.T @ core.score, chain.T @ core.hessian @ chain
    own = slice(len(score) - at.first.shape[1], len(score))
    score[own] += terms.first.sum(axis=0)
    hessian[own, own] += np.tensordot(core.score[coordinates], at.second, 1) + terms.second
    return Evaluation(core.value + terms.value, score, hessian)


def chain_of(first: Array, p: int, q: int) -> Array:
    """Derivatives of what the core takes, (p coefficients, m coordinates, others), in (coefficients, others, psi).

    Parameters
    ----------
    first : ndarray, shape (m, k)
        Of the coordinates in psi.
    p, q : int
        Coefficients, and all that the core takes.

    Returns
    -------
    ndarray, shape (q, q - m + k)
    """
    of_rest = np.ones(q, dtype=bool)
    of_rest[p : p + len(first)] = False
    chain = np.zeros((q, int(of_rest.sum()) + first.shape[1]))
    chain[of_rest, : int(of_rest.sum())] = np.eye(int(of_rest.sum()))
    chain[~of_rest, int(of_rest.sum()) :] = first
    return chain


def slopes(values: Callable[[Array], Array], psi: Array) -> Array:
    """Derivatives of single log-likelihoods, shape (m,), in the working values, shape (k, m)."""
    steps = np.eye(len(psi)) * _WORKING_STEP
    found = [np.sum([w * values(psi + j * step) for j, w in _SLOPE], axis=0) / _WORKING_STEP for step in steps]
    return np.array(found)
