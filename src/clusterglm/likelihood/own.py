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
    m, k, _ = at.second.shape
    hessian[own, own] += (core.score[coordinates] @ at.second.reshape(m, k * k)).reshape(k, k) + terms.second
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
    m, k = first.shape
    chain = np.zeros((q, q - m + k))
    np.fill_diagonal(chain[:p, :p], 1.0)
    np.fill_diagonal(chain[p + m :, p : q - m], 1.0)
    chain[p : p + m, q - m :] = first
    return chain
