"""Likelihood-ratio tests between fits with a penalty."""

from __future__ import annotations

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.newton import maximize
from clusterglm.fit.penalty import PenalizedSums
from clusterglm.fit.pooled import sums_of
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response


def penalized_ratio(data: ModelData, response: Response, top: float, inner: Array) -> float:
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
    penalized = PenalizedSums.of(sums_of(data, response, Control()))
    combinations = np.asarray(np.linalg.lstsq(data.X, inner, rcond=None)[0], dtype=np.float64)
    basis: Array = np.linalg.qr(penalized.sums.standard.inside(combinations))[0]

    def held(delta: Array) -> Evaluation:
        full = penalized.evaluate(basis @ delta)
        return Evaluation(full.value, basis.T @ full.score, basis.T @ full.hessian @ basis)

    start = basis.T @ penalized.start
    if len(start) == 0:
        value = held(start).value
    else:
        maximum = maximize(held, start, Control(), unit=penalized.sums.weights.unit)
        value = maximum.evaluation.value if maximum.optimization.converged else np.nan
    return 2.0 * (top - data.constant - value)
