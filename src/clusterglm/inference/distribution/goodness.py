"""Whether the fitted distribution of intercepts agrees with the data: chi-squared criterion and gradient function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.random_effects import fit_again
from clusterglm.inference.diagnostics.dispersion import with_responses
from clusterglm.inference.distribution.event_counts import Discrepancy, EventCounts, discrepancy, event_counts
from clusterglm.inference.uncertainty.bootstrap_intervals import converged
from clusterglm.inference.uncertainty.replicates import run_replicates
from clusterglm.likelihood.mixture import MixtureLikelihood, gradient_values
from clusterglm.model.arguments import whole_number
from clusterglm.model.arrays import Array
from clusterglm.model.printing import printed
from clusterglm.model.response.base import Response
from clusterglm.model.workers import Progress


@printed
@dataclass(frozen=True)
class GoodnessOfFit:
    """Chi-squared comparison of observed and expected numbers of events per cluster.

    Parameters
    ----------
    statistic : float
    pvalue, pvalue_se : float
        By parametric bootstrap, and its Monte Carlo error; nan without replicates.
    table : Discrepancy
        The pooled cells.
    replicates : ndarray
        Statistics of data simulated from the fitted model and fitted again.
    failures : tuple of (str, int)
    n_boot : int
    seed : int or SeedSequence or None
    interrupted : bool
    """

    statistic: float
    pvalue: float
    pvalue_se: float
    table: Discrepancy
    replicates: Array
    failures: tuple[tuple[str, int], ...]
    n_boot: int
    seed: int | np.random.SeedSequence | None
    interrupted: bool

    @property
    def _replicated(self) -> str:
        """What the replicates are, in words."""
        return "Chi-squared distance, simulated from the fit"

    def __str__(self) -> str:
        cells = len(self.table.first)
        lines = [f"chi-squared distance {self.statistic:.4g} over {cells} cells of events per cluster"]
        if self.n_boot > 0:
            lines[0] += f", p = {self.pvalue:.4g} (Monte Carlo error {self.pvalue_se:.2g})"
            lines.append(f"parametric bootstrap, {len(self.replicates)} replicates of {self.n_boot}, seed {self.seed}")
        if self.interrupted:
            lines.append("interrupted: the p-value is from the replicates that were done")
        lines += [f"{count} failed: {reason}" for reason, count in self.failures]
        return "\n".join(lines)


@dataclass(frozen=True)
class GradientFunction:
    """How much the likelihood would gain from a little more probability at one value of the intercept.

    Parameters
    ----------
    intercept : ndarray, shape (k,)
        Values of the random intercept, on the linear predictor.
    gradient : ndarray, shape (k,)
        Mean over clusters of P(data | intercept) / P(data), less 1: at most 0 everywhere for the best of all
        distributions, and 0 where it has mass (Lindsay 1983).
    """

    intercept: Array
    gradient: Array

    @property
    def largest(self) -> float:
        """Largest value; the log-likelihood of another distribution exceeds this one's by at most clusters times it."""
        return float(self.gradient.max())


def fitted_counts(data: ModelData, fit: RandomEffectsFit) -> EventCounts:
    """Observed and expected numbers of clusters by number of events, at the estimates."""
    return event_counts(data, fit.response, fit.beta, fit.sigma, fit.distribution)


def goodness_of_fit(
    data: ModelData,
    fit: RandomEffectsFit,
    least: float,
    n_boot: int,
    seed: int | np.random.SeedSequence | None,
    n_jobs: int,
    progress: Progress,
) -> GoodnessOfFit:
    """Chi-squared criterion with a p-value by parametric bootstrap.

    Parameters
    ----------
    data : ModelData
    fit : RandomEffectsFit
    least : float
        Expected clusters in each pooled cell.
    n_boot : int
        Replicates; 0 for the statistic alone.
    seed, n_jobs, progress
        See `run_replicates`.

    Notes
    -----
    Every replicate is simulated from the fit, with new intercepts, fitted again, and pooled by its own expectations.
    """
    table = discrepancy(fitted_counts(data, fit), least)
    whole_number("n_boot", n_boot, 0, advice="n_boot=999, or 0 for none")
    if n_boot == 0:
        return GoodnessOfFit(table.statistic, np.nan, np.nan, table, np.empty(0), (), 0, None, False)

    def one(rng: np.random.Generator) -> float:
        return discrepancy(fitted_counts(*simulated_fit(data, fit, rng)), least).statistic

    runs = run_replicates(one, n_boot, seed, n_jobs, progress)
    done = len(runs.values)
    p = (1.0 + float(np.count_nonzero(runs.values >= table.statistic * (1.0 - 1e-9)))) / (1.0 + done)
    se = float(np.sqrt(p * (1.0 - p) / done)) if done > 0 else np.nan
    return GoodnessOfFit(
        table.statistic, p, se, table, runs.values, runs.failures, runs.wanted, runs.seed, runs.interrupted
    )


def gradient_function(data: ModelData, fit: RandomEffectsFit, intercepts: Array) -> GradientFunction:
    """The gradient function at given values of the intercept.

    Parameters
    ----------
    data : ModelData
    fit : RandomEffectsFit
    intercepts : ndarray, shape (k,)

    Notes
    -----
    Verbeke and Molenberghs (Biostatistics 14, 2013). Cluster weights count.
    """
    likelihood = MixtureLikelihood(data.X, data, fit.response)
    at = np.asarray(intercepts, dtype=np.float64)
    return GradientFunction(at, gradient_values(likelihood, fit.beta, marginal_values(data, fit), at))


def simulated_fit(
    data: ModelData, fit: RandomEffectsFit, rng: np.random.Generator
) -> tuple[ModelData, RandomEffectsFit]:
    """Data simulated from a fit, with new intercepts, and the same model fitted to them.

    Raises
    ------
    ReplicateError
        When that fit does not converge.
    """
    response, known = fit.response, data.X @ fit.beta + data.offset
    intercepts = fit.distribution.draw(rng, data.n_clusters, fit.sigma)
    y = response.simulate(rng, response.mean(known + np.repeat(intercepts, np.diff(data.starts))), data.trials)
    new = with_responses(data, y, response)
    return new, converged(fit_again(fit, new))


def marginal_values(data: ModelData, fit: RandomEffectsFit) -> Array:
    """Each cluster's log-likelihood (kernel, without its weight) at the estimates, shape (m,)."""
    if fit.sigma == 0.0:
        return pooled_values(data, fit.response, fit.beta)
    likelihood = fit.integrator.likelihood(data.X, data, fit.response)
    return np.asarray(likelihood.unit_values(fit.theta, fit.plan) / data.cluster_weights)


def pooled_values(data: ModelData, response: Response, beta: Array) -> Array:
    """Each cluster's log-likelihood without an intercept of its own."""
    rows = response.value(data.X @ beta + data.offset, data.a, data.b)
    return np.asarray(np.add.reduceat(rows, data.starts[:-1]))
