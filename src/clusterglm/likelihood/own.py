"""Likelihoods of responses with parameters of their own: theta = (..., psi) -> value, score, Hessian.

Kernel rows depend on psi by coordinates: coefficients of columns, and parameters that the kernel itself knows. In these
the core's derivatives are exact, and so are those in psi by the chain rule, with the terms of psi alone.
"""

from __future__ import annotations

import numpy as np

from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.response.own.base import Coordinates, Terms


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
