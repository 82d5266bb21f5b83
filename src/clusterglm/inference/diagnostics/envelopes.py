"""Quantile residuals beside those of data simulated from the fit: how far they may stray where the model holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from clusterglm.data.prepare import ModelData
from clusterglm.inference.diagnostics.dispersion import with_responses
from clusterglm.inference.diagnostics.quantile_residuals import conditional_ends, randomised
from clusterglm.inference.uncertainty.intervals import check_level
from clusterglm.inference.uncertainty.replicates import ReplicateError, run_replicates
from clusterglm.model.arguments import seed_sequence, whole_number
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.model.workers import Progress

_KEPT = 500  # order statistics that are kept of many rows


@dataclass(frozen=True)
class ResidualEnvelope:
    """Residuals of the data with pointwise envelopes from simulations.

    Parameters
    ----------
    predictor, residual : ndarray, shape (n,)
        Linear predictor and quantile residual of each row, in cluster order; nan where nothing was left to chance.
    theoretical, ordered, low, high : ndarray, shape (k,)
        Standard normal quantiles, the same quantiles of the residuals, and their envelope.
    centre, mean, mean_low, mean_high : ndarray, shape (g,)
        Groups of rows with ascending predictor: its mean, that of the residuals, and its envelope.
    level : float
        Share of the simulations between low and high, point by point.
    failures : tuple of (str, int)
        Why simulations gave no residuals, with counts.
    n_sim : int
    seed : int or SeedSequence
        Gives the same envelopes again.
    """

    predictor: Array
    residual: Array
    theoretical: Array
    ordered: Array
    low: Array
    high: Array
    centre: Array
    mean: Array
    mean_low: Array
    mean_high: Array
    level: float
    failures: tuple[tuple[str, int], ...]
    n_sim: int
    seed: int | np.random.SeedSequence


def residual_envelope(
    data: ModelData,
    response: Response,
    y: Array,
    draw: Callable[[np.random.Generator], Array],
    predictor: Callable[[ModelData], Array],
    against: Array | None,
    groups: int,
    level: float,
    n_sim: int,
    seed: int | np.random.SeedSequence | None,
    n_jobs: int,
    progress: Progress,
) -> ResidualEnvelope:
    """Randomised quantile residuals at predicted intercepts, of the data and of simulations.

    Parameters
    ----------
    data : ModelData
    response : Response
    y : ndarray, shape (n,)
        Successes or counts.
    draw : callable
        Generator -> new responses.
    predictor : callable
        Linear predictor, shape (n,), of data; intercepts are predicted anew from their responses.
    against : ndarray, shape (n,), or None
        What rows are grouped by; None takes the predictor, that of each simulation for its own residuals.
    groups : int
        Of about equal numbers of rows, at most one for every five.
    level : float
    n_sim, seed, n_jobs, progress
        See `run_replicates`.

    Notes
    -----
    Predicted intercepts have taken up part of the noise, so that the residuals are not quite standard normal; as those
    of the simulations are treated alike, the envelopes are right for them.
    """
    n = len(y)
    probability = (np.arange(min(n, _KEPT)) + 0.5) / min(n, _KEPT)
    g = max(2, min(whole_number("groups", groups, 1), n // 5))
    tail = 0.5 * (1.0 - check_level(level))

    def of(new: ModelData, values: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        eta = predictor(new)
        return eta, randomised(conditional_ends(response, values, eta, data.trials), rng)

    def curves(x: Array, residual: Array) -> tuple[Array, Array, Array]:
        known = ~np.isnan(residual)
        if np.count_nonzero(known) < g:
            raise ReplicateError("nearly every response was certain, so that residuals do not exist")
        ordered = np.quantile(residual[known], probability, method="hazen")
        order = np.argsort(np.round(x[known], 9), kind="stable")  # equal predictors are found with some noise
        parts = np.array_split(order, g)
        centre = np.array([x[known][part].mean() for part in parts])
        return ordered, centre, np.array([residual[known][part].mean() for part in parts])

    def one(rng: np.random.Generator) -> Array:
        values = draw(rng)
        eta, residual = of(with_responses(data, values, response), values, rng)
        ordered, _, mean = curves(eta if against is None else against, residual)
        return np.concatenate([ordered, mean])

    root = seed if isinstance(seed, np.random.SeedSequence) else seed_sequence(seed)
    eta, residual = of(data, y, np.random.default_rng(root))
    x = eta if against is None else against
    ordered, centre, mean = curves(x, residual)
    runs = run_replicates(one, n_sim, root, n_jobs, progress)
    k = len(probability)
    values = runs.values if runs.values.ndim == 2 else np.full((1, k + g), np.nan)
    low, high = np.quantile(values, [tail, 1.0 - tail], axis=0)
    given = seed if isinstance(seed, np.random.SeedSequence) else int(str(root.entropy))
    return ResidualEnvelope(
        x,
        residual,
        ndtri(probability),
        ordered,
        low[:k],
        high[:k],
        centre,
        mean,
        low[k:],
        high[k:],
        level,
        runs.failures,
        n_sim,
        given,
    )
