"""Bootstrap of a fitted model's estimates: responses drawn from the model, or clusters drawn from the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from scipy.special import ndtr, ndtri

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError, check_option
from clusterglm.fit.newton import Optimization
from clusterglm.inference.diagnostics.dispersion import with_responses
from clusterglm.inference.uncertainty.intervals import INTERVALS, check_level, wald_interval, with_alpha
from clusterglm.inference.uncertainty.jackknife import Accelerated, not_finite
from clusterglm.inference.uncertainty.replicates import ReplicateError, run_replicates
from clusterglm.model.arrays import Array
from clusterglm.model.printing import printed
from clusterglm.model.response.base import Response
from clusterglm.model.workers import Progress

if TYPE_CHECKING:
    import pandas as pd


@printed
@dataclass(frozen=True)
class BootstrapEstimates:
    """Estimates from data simulated from a fitted model, or made of clusters drawn with replacement.

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
    resample : {"model", "clusters"}
        What was drawn.
    units : str
        How many clusters there are to draw, in words.
    """

    names: tuple[str, ...]
    estimate: Array
    replicates: Array
    failures: tuple[tuple[str, int], ...]
    n_boot: int
    seed: int | np.random.SeedSequence
    interrupted: bool
    resample: str = "model"
    units: str = ""

    @with_alpha
    def interval(
        self, *, level: float = 0.95, kind: str = "percentile", jackknife: Accelerated | None = None
    ) -> tuple[Array, Array]:
        """Bootstrap intervals (Davison and Hinkley 1997, chapter 5; Efron and Tibshirani 1993, chapters 13 and 14).

        Parameters
        ----------
        level : float
        kind : {"percentile", "basic", "normal", "bca"}
            Quantiles of the replicates; these reflected at the estimate, which takes off the bias that the replicates
            show; the estimate less this bias, and their standard deviation; or quantiles at levels that are corrected
            for the median's bias and the acceleration (Efron, Journal of the American Statistical Association 82,
            1987).
        jackknife : Jackknife, optional
            What `fit.jackknife()` gave, for the acceleration of "bca".

        Returns
        -------
        low, high : ndarray, shape (q,)
            nan where fewer than two replicates succeeded, and for "bca" where all replicates lie on one side of the
            estimate.

        Raises
        ------
        OptionError
            On another kind; for "bca" without a jackknife of the same parameters.
        """
        check_option("kind", kind, INTERVALS)
        if kind == "bca" and (jackknife is None or jackknife.names != self.names):
            got = "without the jackknife" if jackknife is None else f"with a jackknife of {', '.join(jackknife.names)}"
            raise OptionError(
                f'kind="bca" {got}',
                f"the acceleration of {', '.join(self.names)}, which the jackknife of the same fit tells",
                'interval(kind="bca", jackknife=fit.jackknife())',
            )
        tail = 0.5 * (1.0 - check_level(level))
        if len(self.replicates) < 2:
            return np.full(len(self.names), np.nan), np.full(len(self.names), np.nan)
        if kind == "normal":
            return wald_interval(self.estimate - self.bias, self.std_error, level)
        if kind == "bca":
            assert jackknife is not None
            return _bca(self.replicates, self.estimate, jackknife.acceleration, tail)
        low, high = np.quantile(self.replicates, [tail, 1.0 - tail], axis=0)
        return (low, high) if kind == "percentile" else (2.0 * self.estimate - high, 2.0 * self.estimate - low)

    @property
    def std_error(self) -> Array:
        """Standard deviations of the replicates, shape (q,)."""
        with np.errstate(invalid="ignore"):  # infinite where a parameter runs to the end of its range
            return np.asarray(np.std(self.replicates, axis=0, ddof=1))

    @property
    def bias(self) -> Array:
        """Means of the replicates less the estimates, shape (q,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.replicates.mean(axis=0) - self.estimate)

    @with_alpha
    def to_frame(
        self, *, level: float = 0.95, kind: str = "percentile", jackknife: Accelerated | None = None
    ) -> pd.DataFrame:
        """A row for each parameter: `estimate`, `bias`, `std_error`, `conf_low`, `conf_high`.

        Parameters
        ----------
        level, kind, jackknife
            Of the interval; see `interval`.

        Returns
        -------
        DataFrame
        """
        import pandas as pd

        low, high = self.interval(level=level, kind=kind, jackknife=jackknife)
        few = len(self.replicates) < 2
        none = np.full(len(self.names), np.nan)
        columns = {
            "estimate": self.estimate,
            "bias": none if few else self.bias,
            "std_error": none if few else self.std_error,
            "conf_low": low,
            "conf_high": high,
        }
        return pd.DataFrame(columns, index=pd.Index(self.names, name="term"))

    @property
    def _drawn(self) -> str:
        """What the replicates are estimates from, in words."""
        return "simulated data" if self.resample == "model" else "clusters drawn with replacement"

    def __str__(self) -> str:
        how = "parametric bootstrap" if self.resample == "model" else f"bootstrap of {self.units}"
        lines = [f"{how}, {len(self.replicates)} replicates of {self.n_boot}, seed {self.seed}"]
        if self.interrupted:
            lines.append("interrupted: only the replicates that were done count")
        lines += [f"{count} failed: {reason}" for reason, count in self.failures]
        return "\n".join([*lines, *not_finite(self.names, self.replicates)])


def _bca(replicates: Array, estimate: Array, acceleration: Array, tail: float) -> tuple[Array, Array]:
    """Quantiles at levels that follow from how much of the replicates lies below the estimate, ties by half."""
    below = 0.5 * (np.mean(replicates < estimate, axis=0) + np.mean(replicates <= estimate, axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        z0 = ndtri(below)
        ends = []
        for z in ndtri([tail, 1.0 - tail]):
            at = ndtr(z0 + (z0 + z) / (1.0 - acceleration * (z0 + z)))
            ends.append([_quantile(own, q) for own, q in zip(replicates.T, at, strict=True)])
    return np.array(ends[0]), np.array(ends[1])


def _quantile(values: Array, q: float) -> float:
    return float(np.quantile(values, q)) if np.isfinite(q) else np.nan


def drawn_responses(
    data: ModelData,
    response: Response,
    draw: Callable[[np.random.Generator], Array],
    refit: Callable[[ModelData], Array],
) -> Callable[[np.random.Generator], Array]:
    """A replicate from responses that the model draws.

    Parameters
    ----------
    data : ModelData
        What was fitted.
    response : Response
    draw : callable
        Generator -> responses of every row, shape (n,).
    refit : callable
        Data with new responses -> estimates, shape (q,).
    """

    def one(rng: np.random.Generator) -> Array:
        y = draw(rng)
        return refit(with_responses(data, y, response))

    return one


def drawn_clusters(repeats: Array, refit: Callable[[Array], Array]) -> Callable[[np.random.Generator], Array]:
    """A replicate from as many clusters as there are, drawn with replacement: the bootstrap of cases, or pairs.

    Parameters
    ----------
    repeats : ndarray, shape (k,)
        How many clusters each one stands for.
    refit : callable
        How often each is drawn, shape (k,) -> estimates, shape (q,).

    Notes
    -----
    Whole clusters stay as they are: Davison and Hinkley (1997, section 3.8) find that drawing rows within clusters
    drawn varies too much; Field and Welsh (Journal of the Royal Statistical Society B 69, 2007) have its theory.
    Replicate k of a seed draws numbers of clusters, each equally likely, from the seed's child k.
    """
    each = np.repeat(np.arange(len(repeats)), repeats.astype(np.int64))

    def one(rng: np.random.Generator) -> Array:
        drawn = each[rng.integers(0, len(each), len(each))]
        return refit(np.bincount(drawn, minlength=len(repeats)).astype(np.float64))

    return one


def bootstrap_estimates(
    names: tuple[str, ...],
    estimate: Array,
    one: Callable[[np.random.Generator], Array],
    n_boot: int,
    seed: int | np.random.SeedSequence | None,
    n_jobs: int,
    progress: Progress,
    engine: Any = None,
    resample: str = "model",
    units: str = "",
) -> BootstrapEstimates:
    """Estimates again and again.

    Parameters
    ----------
    names, estimate
        Of the parameters.
    one : callable
        Generator -> estimates of a replicate, shape (q,); see `drawn_responses` and `drawn_clusters`.
    n_boot, seed, n_jobs, progress, engine
        See `run_replicates`.
    resample, units
        See `BootstrapEstimates`.
    """
    runs = run_replicates(one, n_boot, seed, n_jobs, progress, engine)
    values = runs.values if runs.values.ndim == 2 else np.empty((0, len(names)))
    return BootstrapEstimates(
        names, estimate, values, runs.failures, runs.wanted, runs.seed, runs.interrupted, resample, units
    )


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
