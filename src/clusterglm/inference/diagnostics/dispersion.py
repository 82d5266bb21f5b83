"""Whether responses vary more, or counts are zero more often, than in simulations from the fitted model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.fixed_effects import cluster_profile
from clusterglm.inference.diagnostics.residuals import residuals
from clusterglm.inference.uncertainty.replicates import ReplicateError, run_replicates
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.scalar.posterior import posterior_modes_of
from clusterglm.model.arrays import Array
from clusterglm.model.printing import printed
from clusterglm.model.response.base import Response
from clusterglm.model.workers import Progress

_LARGEST_COUNT = 1e15  # count that float64 still tells from its neighbours
_TIED = 1e-9  # relative difference of statistics that counts as a tie


@printed
@dataclass(frozen=True)
class SimulationTest:
    """A statistic of the data beside its distribution under the fitted model.

    Parameters
    ----------
    name : str
        What was compared, in words.
    statistic : float
        Of the data.
    expected : float
        Mean over the simulated data sets.
    ratio : float
        The first over the second; nan where both are 0.
    pvalue : float
        Two-sided: twice the smaller of the next two, at most 1.
    pvalue_greater, pvalue_less : float
        (1 + simulations at least as large, or as small) / (1 + simulations).
    pvalue_se : float
        Monte Carlo standard error of `pvalue`.
    replicates : ndarray, shape (successful,)
        Statistics of the simulated data sets.
    n_sim : int
        Simulations asked for.
    seed : int or SeedSequence
        Gives the same simulations again.
    failures : tuple of (str, int)
        Why simulations gave no statistic, with counts.
    interrupted : bool
        Stopped by the user; the simulations that were done count.
    """

    name: str
    statistic: float
    expected: float
    ratio: float
    pvalue: float
    pvalue_greater: float
    pvalue_less: float
    pvalue_se: float
    replicates: Array
    n_sim: int
    seed: int | np.random.SeedSequence
    failures: tuple[tuple[str, int], ...]
    interrupted: bool

    @property
    def _replicated(self) -> str:
        """What the replicates are, in words."""
        return f"{self.name}, simulated from the fit"

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.statistic:.5g} observed, {self.expected:.5g} expected under the model, ratio "
            f"{self.ratio:.3g}, p = {self.pvalue:.4g} (two-sided, Monte Carlo error {self.pvalue_se:.2g})",
            f"{len(self.replicates)} simulations of {self.n_sim}, seed {self.seed}",
        ]
        if self.interrupted:
            lines.append("interrupted: the p-value is from the simulations that were done")
        lines += [f"{count} failed: {reason}" for reason, count in self.failures]
        return "\n".join(lines)


def against_simulations(
    name: str,
    statistic: Callable[[Array], float],
    y: Array,
    draw: Callable[[np.random.Generator], Array],
    n_sim: int,
    seed: int | np.random.SeedSequence | None,
    n_jobs: int = 1,
    progress: Progress = None,
) -> SimulationTest:
    """Compare a statistic of the responses with that of responses drawn from the fitted model.

    Parameters
    ----------
    name : str
    statistic : callable
        Of responses, shape (n,), successes or counts; safe in threads.
    y : ndarray, shape (n,)
        The data's.
    draw : callable
        Generator -> new responses.
    n_sim, seed, n_jobs, progress
        See `run_replicates`.

    Notes
    -----
    A parametric bootstrap without fitting again, as in R's DHARMa: the estimates are taken as known. Fitted to the
    data, they make the model look a little better than it is, so that p-values err on the large side.
    """
    observed = statistic(y)
    runs = run_replicates(lambda rng: statistic(draw(rng)), n_sim, seed, n_jobs, progress)
    found, done = runs.values, len(runs.values)
    slack = _TIED * (1.0 + abs(observed))
    greater = (1.0 + float(np.count_nonzero(found >= observed - slack))) / (1.0 + done)
    less = (1.0 + float(np.count_nonzero(found <= observed + slack))) / (1.0 + done)
    one = min(greater, less)
    # the two-sided p-value is twice a share of the simulations
    se = 2.0 * float(np.sqrt(one * (1.0 - one) / done)) if done > 0 else float("nan")
    expected = float(found.mean()) if done > 0 else float("nan")
    ratio = observed / expected if expected > 0.0 else (float("nan") if observed == 0.0 else float("inf"))
    return SimulationTest(
        name,
        observed,
        expected,
        ratio,
        min(1.0, 2.0 * one),
        greater,
        less,
        se,
        found,
        runs.wanted,
        runs.seed,
        runs.failures,
        runs.interrupted,
    )


def with_responses(data: ModelData, y: Array, response: Response) -> ModelData:
    """Data with other responses in the rows that they have.

    Parameters
    ----------
    data : ModelData
    y : ndarray, shape (n,)
        Successes or counts.
    response : Response
    """
    a, b = response.rows(response.in_rows(y, data.a, data.b), data.trials, data.weights)
    return replace(data, a=a, b=b, constant=0.0, saturated=float("nan"))


def pearson_sum(
    data: ModelData, response: Response, predictor: Callable[[ModelData], Array]
) -> Callable[[Array], float]:
    """The sum of squared Pearson residuals as a function of the responses.

    Parameters
    ----------
    data : ModelData
    response : Response
    predictor : callable
        Linear predictor, shape (n,), of data; it may depend on the responses, through predicted intercepts.

    Raises
    ------
    ReplicateError
        By the function that is returned, on counts beyond 1e15, which heavy-tailed intercepts can make.
    """

    def statistic(y: Array) -> float:
        if y.max() > _LARGEST_COUNT:
            raise ReplicateError("a simulated count beyond 1e15, from an intercept far out in a heavy tail")
        new = with_responses(data, y, response)
        return float(np.sum(residuals("pearson", response, predictor(new), new.a, new.b) ** 2))

    return statistic


def at_modes(fit: RandomEffectsFit) -> Callable[[ModelData], Array]:
    """The linear predictor at posterior modes of the intercepts, which are found for every data set anew.

    Only so are data and simulations treated alike: the modes of the data have taken up part of its noise.
    """

    def predictor(data: ModelData) -> Array:
        known: Array = data.X @ fit.beta + data.offset
        if fit.sigma == 0.0:
            return known
        problem = core_problem(data.X, data, fit.response)
        modes = posterior_modes_of(problem, fit.distribution, fit.theta)
        return known + np.repeat(modes, np.diff(data.starts))

    return predictor


def at_best_intercepts(beta: Array, response: Response) -> Callable[[ModelData], Array]:
    """The linear predictor at each cluster's maximum-likelihood intercept given `beta`, found for every data set."""

    def predictor(data: ModelData) -> Array:
        intercepts = cluster_profile(data, response, beta).intercepts
        eta: Array = data.X @ beta + data.offset + np.repeat(intercepts, np.diff(data.starts))
        return eta

    return predictor


def refuse_binary(data: ModelData, response: Response) -> None:
    """Raise `OptionError` where every row is a single trial: the variance is then what the mean makes it."""
    if response.is_binary(data.trials):
        raise OptionError(
            "a dispersion test of binary responses",
            "counts, or binomial rows of several trials: that of a 0 or 1 has no dispersion beside its mean",
            'residuals("quantile") or calibration(); or rows grouped as cbind(successes, failures)',
        )


def refuse_other_than_counts(response: Response) -> None:
    """Raise `OptionError` for binomial responses, of which zeros are nothing special."""
    if not response.zero_inflation:
        raise OptionError(
            f"a test for zero inflation with family {response.family!r}", "counts: family='poisson'", "calibration()"
        )
