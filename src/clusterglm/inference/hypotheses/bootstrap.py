"""Tests of no clustering by simulation: what the statistic would be, were clusters without effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from clusterglm import _core
from clusterglm.data.prepare import ModelData
from clusterglm.errors import ClusterGLMError, DataError
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.mixed import MixedFit, fit_mixed
from clusterglm.fit.newton import maximize
from clusterglm.fit.own import anew, fit_own_pooled, with_constant
from clusterglm.fit.own_fixed import OwnFixedEffectsFit, own_fixed_again
from clusterglm.fit.own_fixed import own_of as fixed_of
from clusterglm.fit.pooled import PooledFit, with_intercept
from clusterglm.fit.random_effects import fit_again
from clusterglm.fit.standardise import standardise
from clusterglm.inference.diagnostics.dispersion import with_responses
from clusterglm.inference.uncertainty.replicates import ReplicateError, run_replicates
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.pooled import evaluate_pooled
from clusterglm.likelihood.profile import ProfileLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.printing import printed
from clusterglm.model.response.base import Response
from clusterglm.model.workers import Progress

METHODS = ("bootstrap", "permutation")
STATISTICS = ("lr", "loglik")

_NEAR_HEIGHT = 0.05  # standard errors from the maximum at which a quadratic tells its height to 1e-4
_SUSPECT = 1e-3  # p-value, over all columns, below which covariates are held to differ between clusters
_QUICK = Control(max_iter=60, tol=_NEAR_HEIGHT)


@printed
@dataclass(frozen=True)
class SimulatedTest:
    """Test of no clustering by simulation under the null hypothesis.

    Parameters
    ----------
    statistic : float
        Of the data.
    pvalue : float
        (1 + replicates at least as large) / (1 + successful replicates).
    pvalue_se : float
        Monte Carlo standard error of `pvalue`.
    replicates : ndarray, shape (successful,)
        Statistics under the null hypothesis.
    failures : tuple of (str, int)
        Why replicates gave no statistic, with counts.
    n_boot : int
        Replicates asked for.
    method : {"bootstrap", "permutation"}
    statistic_name : {"lr", "loglik"}
    seed : int or SeedSequence
        Gives the same replicates again.
    interrupted : bool
        Stopped by the user; the replicates that were done count.
    """

    statistic: float
    pvalue: float
    pvalue_se: float
    replicates: Array
    failures: tuple[tuple[str, int], ...]
    n_boot: int
    method: str
    statistic_name: str
    seed: int | np.random.SeedSequence
    interrupted: bool

    @property
    def _replicated(self) -> str:
        """What the replicates are, in words."""
        what = "Likelihood ratio" if self.statistic_name == "lr" else "Log-likelihood less that of the saturated model"
        return f"{what} without clustering ({self.method})"

    def __str__(self) -> str:
        what = "likelihood ratio" if self.statistic_name == "lr" else "log-likelihood relative to the saturated model"
        how = "parametric bootstrap" if self.method == "bootstrap" else "permutation of the cluster labels"
        lines = [
            f"{what} {self.statistic:.5g}, p = {self.pvalue:.4g} (Monte Carlo error {self.pvalue_se:.2g})",
            f"{how}, {len(self.replicates)} replicates of {self.n_boot}, seed {self.seed}",
        ]
        if self.interrupted:
            lines.append("interrupted: the p-value is from the replicates that were done")
        lines += [f"{count} failed: {reason}" for reason, count in self.failures]
        return "\n".join(lines)


class Refit(Protocol):
    """The heights of both models on new responses."""

    def __call__(self, new: ModelData, start: Array | None, /) -> tuple[float, float, Array]:
        """Kernel log-likelihoods with and without clusters, and coefficients from which the next one may start."""


def simulated_test(
    data: ModelData,
    null: ModelData,
    pooled: PooledFit,
    loglik: float,
    refit: Refit,
    response: Response,
    method: str,
    statistic: str,
    n_boot: int,
    seed: int | np.random.SeedSequence | None,
    n_jobs: int,
    progress: Progress,
    insist: bool,
    engine: Any = None,
) -> SimulatedTest:
    """Simulate under the hypothesis of no clustering, and compare.

    Parameters
    ----------
    data : ModelData
        What was fitted.
    null : ModelData
        The same with the design of the model without clusters.
    pooled : PooledFit
        That model.
    loglik : float
        Of the model with clusters, normalised as that of `pooled`.
    refit : callable
        Fits both models to new responses.
    response : Response
        Of that model.
    method : {"bootstrap", "permutation"}
        Draw responses from the pooled fit; or deal the rows out to the clusters anew.
    statistic : {"lr", "loglik"}
        Twice the difference of the log-likelihoods with and without clusters; or the former alone, relative to the
        saturated model.
    n_boot, seed, n_jobs, progress
        See `run_replicates`.
    insist : bool
        Permute even where covariates differ between clusters.
    engine : Dask, optional
        See `run_replicates`.

    Raises
    ------
    DataError
        When labels cannot be permuted because covariates or offsets differ between clusters.

    Notes
    -----
    The permutation test is that of Holmberg's thesis, section 3; "loglik" with the bootstrap is that of R's glmmboot.
    Ties count against the hypothesis of clustering (Davison and Hinkley 1997, section 4.2).
    """
    if method == "permutation" and not insist:
        refuse_unlike_clusters(data)
    observed = 2.0 * (loglik - pooled.loglik) if statistic == "lr" else loglik - data.saturated
    draw = _drawing(data, null, pooled, response) if method == "bootstrap" else _dealing(data)
    start: Array | None = None

    def of(new: ModelData, begin: Array | None) -> tuple[float, Array]:
        clustered, unclustered, estimate = refit(new, begin)
        if statistic == "lr":
            return 2.0 * max(0.0, clustered - unclustered), estimate
        return clustered - _saturated(new, response), estimate

    # one replicate shows where estimates lie without clustering; no other starts from any other
    try:
        start = of(draw(np.random.default_rng(0)), None)[1]
    except (ReplicateError, ClusterGLMError):
        start = None
    runs = run_replicates(lambda rng: of(draw(rng), start)[0], n_boot, seed, n_jobs, progress, engine)
    slack = 1e-4 + 1e-9 * abs(observed)  # heights of replicates are no more precise
    done = len(runs.values)
    p = (1.0 + float(np.count_nonzero(runs.values >= observed - slack))) / (1.0 + done)
    se = float(np.sqrt(p * (1.0 - p) / done)) if done > 0 else np.nan
    return SimulatedTest(
        float(observed), p, se, runs.values, runs.failures, runs.wanted, method, statistic, runs.seed, runs.interrupted
    )


def fixed_effects_refit(data: ModelData, response: Response, pooled: PooledFit) -> Refit:
    """For models with fixed intercepts.

    Parameters
    ----------
    data : ModelData
    response : Response
    pooled : PooledFit
        With an intercept, unlike `data`.
    """
    null = with_intercept(data)
    null_standard = standardise(null.X, null.intercept)
    standard = standardise(data.X, None, centred=True)
    null_start = null_standard.inside(pooled.beta)
    p = data.X.shape[1]
    same_weights = bool(np.ptp(data.cluster_weights) == 0.0)

    def refit(new: ModelData, start: Array | None) -> tuple[float, float, Array]:
        # rows may have been dealt out anew: their design goes with them
        order = None if new.X is data.X else new.row_index
        X0, X1 = (Z if order is None else np.take(Z, order, axis=0) for Z in (null_standard.X, standard.X))
        rest = (new.a, new.b, new.offset, new.cluster_weights, response.code)
        if order is not None and same_weights:  # the order of rows does not matter without clusters
            unclustered = pooled.loglik - data.constant
        else:
            problem = _core.Problem(new.starts, X0, *rest)
            unclustered, _ = height(lambda gamma: evaluate_pooled(problem, gamma), null_start, "pooled")
        profile = ProfileLikelihood(_core.Problem(new.starts, X1, *rest))
        if p == 0:
            return profile.evaluate(np.zeros(0)).value, unclustered, np.zeros(0)
        clustered, at = height(profile.evaluate, np.zeros(p) if start is None else start, "fixed-effects")
        return clustered, unclustered, at

    return refit


def random_effects_refit(fit: RandomEffectsFit) -> Refit:
    """For models with random intercepts: the same distribution and quadrature."""

    def refit(new: ModelData, start: Array | None) -> tuple[float, float, Array]:
        again = fit_again(fit, new, control=_QUICK)
        if not again.optimization.converged:
            raise ReplicateError(f"random-effects fit: {again.optimization.message}")
        rest = again.optimization.gradient_norm
        clustered = again.loglik - new.constant + (0.5 * rest * rest if again.sigma > 0.0 else 0.0)
        return clustered, again.pooled.loglik - new.constant, again.beta

    return refit


def refit_by(fitted: Callable[[ModelData], RandomEffectsFit | MixedFit]) -> Refit:
    """For models with random effects whose response has parameters of its own, which `fitted` estimates anew."""

    def refit(new: ModelData, start: Array | None) -> tuple[float, float, Array]:
        again = fitted(new)
        if not again.optimization.converged:
            raise ReplicateError(f"random-effects fit: {again.optimization.message}")
        return again.loglik, again.pooled.loglik, again.beta

    return refit


def own_fixed_refit(fit: OwnFixedEffectsFit) -> Refit:
    """For models with fixed intercepts whose response has parameters of its own, which are estimated anew."""

    def refit(new: ModelData, start: Array | None) -> tuple[float, float, Array]:
        again, null = own_fixed_again(fit, new), with_intercept(new)
        unclustered = fit_own_pooled(with_constant(null, fixed_of(fit)), anew(fixed_of(fit), null))
        for found, name in ((again, "fixed-effects"), (unclustered, "pooled")):
            if not found.optimization.converged:
                raise ReplicateError(f"{name} fit: {found.optimization.message}")
        return again.loglik, unclustered.loglik, again.beta

    return refit


def mixed_refit(fit: MixedFit) -> Refit:
    """For models with several random effects: the same quadrature."""

    def refit(new: ModelData, start: Array | None) -> tuple[float, float, Array]:
        again = fit_mixed(new, fit.response, fit.integration.requested, _QUICK)
        if not again.optimization.converged:
            raise ReplicateError(f"random-effects fit: {again.optimization.message}")
        rest = again.optimization.gradient_norm
        return again.loglik - new.constant + 0.5 * rest * rest, again.pooled.loglik - new.constant, again.beta

    return refit


def height(evaluate: Callable[[Array], Evaluation], start: Array, name: str) -> tuple[float, Array]:
    """The maximum of a log-likelihood, to about 1e-4, and about where it is.

    A likelihood that only approaches its supremum, because covariates separate the responses, is followed to where
    nothing worth mentioning is left to gain.

    Raises
    ------
    ReplicateError
        When the optimiser does not get near.
    """
    found = maximize(evaluate, start, _QUICK, radius=4.0)
    story = found.optimization
    if not story.converged:
        raise ReplicateError(f"{name} fit: {story.message}")
    return found.evaluation.value + 0.5 * story.gradient_norm**2, found.theta


def refuse_unlike_clusters(data: ModelData) -> None:
    """Refuse to permute labels where rows of a cluster are more alike, response apart, than chance makes them.

    Permuting deals rows out anew, covariates and all; that leaves the distribution of the statistic as it is only if
    the clusters differ in nothing but chance.

    Raises
    ------
    DataError
        It names the columns.
    """
    advice = 'method="bootstrap", which keeps covariates where they are; or insist=True'
    columns = {name: data.X[:, j] for j, name in enumerate(data.names)}
    columns |= {"the offset": data.offset, "the trials": data.trials}
    columns = {name: x for name, x in columns.items() if np.ptp(x) > 0.0}
    p_values = {name: _between(x, data.starts) for name, x in columns.items()}
    guilty = [name for name, p in p_values.items() if p * len(columns) < _SUSPECT]
    if guilty:
        listed = ", ".join(f"{name!r}" if name in data.names else name for name in guilty[:6])
        raise DataError(
            f"{listed} differ{'s' * (len(guilty) == 1)} between clusters more than by chance (analysis of variance, "
            f"p = {min(p_values[name] for name in guilty):.1g})",
            "rows that are exchangeable between clusters, which a permutation of labels takes for granted",
            advice,
        )


def _between(x: Array, starts: NDArray[np.int64]) -> float:
    """P-value of a one-way analysis of variance between clusters."""
    sizes, n, m = np.diff(starts), len(x), len(starts) - 1
    if m < 2 or n == m:
        return 1.0
    means = np.add.reduceat(x, starts[:-1]) / sizes
    between = float(sizes @ (means - x.mean()) ** 2) / (m - 1)
    within = float(np.sum((x - np.repeat(means, sizes)) ** 2)) / (n - m)
    return float(fdtrc(m - 1, n - m, between / within)) if within > 1e-12 * between else 0.0


def _drawing(
    data: ModelData, null: ModelData, pooled: PooledFit, response: Response
) -> Callable[[np.random.Generator], ModelData]:
    eta = null.X @ pooled.beta + null.offset
    binary = response.is_binary(data.trials)
    mean = response.mean(eta) if binary else None

    def draw(rng: np.random.Generator) -> ModelData:
        if mean is not None:
            y = (rng.random(len(mean)) < mean).astype(np.float64)
        else:
            y = response.draw(rng, eta, response.known(data.a, data.b, data.trials))
        return with_responses(data, y, response)

    return draw


def _dealing(data: ModelData) -> Callable[[np.random.Generator], ModelData]:
    def deal(rng: np.random.Generator) -> ModelData:
        rows = rng.permutation(data.n_obs)
        X = np.take(data.X, rows, axis=0)
        moved = {name: getattr(data, name)[rows] for name in ("a", "b", "offset", "weights", "trials")}
        effects = None if data.effects is None else data.effects.moved(rows)
        return replace(data, X=X, row_index=rows, constant=0.0, saturated=np.nan, effects=effects, **moved)

    return deal


def _saturated(data: ModelData, response: Response) -> float:
    rows = response.saturated(data.a, data.b)
    return float(np.add.reduceat(rows, data.starts[:-1]) @ data.cluster_weights) if rows.any() else 0.0
