"""Parametric bootstrap of a fitted model's estimates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.newton import Optimization
from clusterglm.inference.diagnostics.dispersion import with_responses
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.inference.uncertainty.replicates import ReplicateError, run_replicates
from clusterglm.model.arrays import Array
from clusterglm.model.printing import printed
from clusterglm.model.response.base import Response
from clusterglm.model.workers import Progress


@printed
@dataclass(frozen=True)
class BootstrapEstimates:
    """Estimates from data simulated from a fitted model.

    Parameters
    ----------
    names : tuple of str
        Of the parameters.
    estimate : ndarray, shape (q,)
        From the data.
    replicates : ndarray, shape (successful, q)
    failures : tuple of (str, int)
        Why replicates gave no estimates, with counts.
    n_boot : int
        Replicates asked for.
    seed : int or SeedSequence
        Gives the same replicates again.
    interrupted : bool
        Stopped by the user; the replicates that were done count.
    """

    names: tuple[str, ...]
    estimate: Array
    replicates: Array
    failures: tuple[tuple[str, int], ...]
    n_boot: int
    seed: int | np.random.SeedSequence
    interrupted: bool

    @with_alpha
    def interval(self, *, level: float = 0.95, kind: str = "percentile") -> tuple[Array, Array]:
        """Bootstrap intervals (Davison and Hinkley 1997, chapter 5).

        Parameters
        ----------
        level : float
        kind : {"percentile", "basic"}
            Quantiles of the replicates; or these reflected at the estimate, which takes off the bias that the
            replicates show.

        Returns
        -------
        low, high : ndarray, shape (q,)
            nan where fewer than two replicates succeeded.
        """
        tail = 0.5 * (1.0 - check_level(level))
        if len(self.replicates) < 2:
            return np.full(len(self.names), np.nan), np.full(len(self.names), np.nan)
        low, high = np.quantile(self.replicates, [tail, 1.0 - tail], axis=0)
        return (low, high) if kind == "percentile" else (2.0 * self.estimate - high, 2.0 * self.estimate - low)

    @property
    def std_error(self) -> Array:
        """Standard deviations of the replicates, shape (q,)."""
        return np.asarray(np.std(self.replicates, axis=0, ddof=1))

    @property
    def bias(self) -> Array:
        """Means of the replicates less the estimates, shape (q,)."""
        return np.asarray(self.replicates.mean(axis=0) - self.estimate)

    def __str__(self) -> str:
        lines = [f"parametric bootstrap, {len(self.replicates)} replicates of {self.n_boot}, seed {self.seed}"]
        if self.interrupted:
            lines.append("interrupted: only the replicates that were done count")
        lines += [f"{count} failed: {reason}" for reason, count in self.failures]
        return "\n".join(lines)


def bootstrap_estimates(
    names: tuple[str, ...],
    estimate: Array,
    data: ModelData,
    response: Response,
    draw: Callable[[np.random.Generator], Array],
    refit: Callable[[ModelData], Array],
    n_boot: int,
    seed: int | np.random.SeedSequence | None,
    n_jobs: int,
    progress: Progress,
    engine: Any = None,
) -> BootstrapEstimates:
    """Draw responses, and fit again.

    Parameters
    ----------
    names, estimate
        Of the parameters.
    data : ModelData
        What was fitted.
    response : Response
    draw : callable
        Generator -> responses of every row, shape (n,).
    refit : callable
        Data with new responses -> estimates, shape (q,).
    n_boot, seed, n_jobs, progress, engine
        See `run_replicates`.
    """

    def one(rng: np.random.Generator) -> Array:
        y = draw(rng)
        return refit(with_responses(data, y, response))

    runs = run_replicates(one, n_boot, seed, n_jobs, progress, engine)
    values = runs.values if runs.values.ndim == 2 else np.empty((0, len(names)))
    return BootstrapEstimates(names, estimate, values, runs.failures, runs.wanted, runs.seed, runs.interrupted)


class Converging(Protocol):
    """Any fit."""

    @property
    def optimization(self) -> Optimization: ...


Fit = TypeVar("Fit", bound=Converging)


def converged(fit: Fit) -> Fit:
    """Return the fit of a replicate if it converged.

    Raises
    ------
    ReplicateError
    """
    if not fit.optimization.converged:
        raise ReplicateError(fit.optimization.message)
    return fit
