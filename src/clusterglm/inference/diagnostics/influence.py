"""What single clusters do to the estimates: deletion, in one Newton step or by fitting again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clusterglm import _core
from clusterglm.data.prepare import ModelData
from clusterglm.data.repeats import repeats_of, rows_of_clusters
from clusterglm.data.resampled import clusters_taken, rows_as_clusters
from clusterglm.errors import OptionError, nearest
from clusterglm.fit.conditional import ConditionalFit, conditional_scores, fit_conditional
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.fixed_effects import FixedEffectsFit, cluster_profile, fit_fixed_effects
from clusterglm.fit.newton import Optimization
from clusterglm.fit.penalty import jeffreys
from clusterglm.fit.penalty_within import PenalizedWithin
from clusterglm.fit.pooled import PooledFit, fit_pooled
from clusterglm.fit.random_effects import fit_again
from clusterglm.fit.soft import SoftPenalty
from clusterglm.fit.within import WithinSums, sums_within
from clusterglm.inference.uncertainty.covariance import free_scores, pooled_scores
from clusterglm.inference.uncertainty.replicates import ReplicateError, number_of, run_replicates
from clusterglm.likelihood.conditional import ConditionalLikelihood
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.integrator import UnitLikelihood
from clusterglm.likelihood.plan import Part, UnitRule
from clusterglm.likelihood.pooled import evaluate_pooled
from clusterglm.likelihood.profile import ProfileLikelihood
from clusterglm.model.arguments import several, yes_or_no
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.printing import printed
from clusterglm.model.response.base import Response
from clusterglm.model.workers import Progress

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("one_step", "exact")

_SHOWN = 5  # clusters that are printed
CLOSE = Control(tol=1e-7)  # how closely maxima without a cluster are found
_NOT_DEFINITE = "without the cluster, the information is not positive definite: it alone identifies a coefficient"


@printed
@dataclass(frozen=True)
class Influence:
    """Estimates without single clusters.

    Of a cluster that stands for several, one is deleted; with weights that are not whole numbers, a cluster whole.

    Parameters
    ----------
    kind : {"one_step", "exact"}
    parameters : tuple of str, length q
        The coefficients, and sigma where it was estimated and is not at the boundary. With several random effects their
        standard deviations and correlations, the latter on the scale of Fisher's z in all but `estimate` and `deleted`;
        where the covariance is singular, those parameters of its factor that are free. A response's own parameters are
        on their working scale (alpha: its logarithm) in the same way.
    labels : ndarray, shape (k,)
        Of the clusters that were deleted, one at a time; positions in the user's table where rows are the clusters.
    n_obs : ndarray of int64, shape (k,)
        Their rows; with whole-number case weights, those that they stand for.
    estimate, se : ndarray, shape (q,)
        With all clusters.
    deleted : ndarray, shape (k, q)
        Without the cluster; nan where that has no estimate.
    dfbetas : ndarray, shape (k, q)
        (estimate - deleted) / se: what the cluster adds, in standard errors.
    cook : ndarray, shape (k,)
        (estimate - deleted)' J (estimate - deleted) / q, J the observed information.
    displacement : ndarray, shape (k,), or None
        Twice the log-likelihood of all data lost at `deleted` (Cook, Journal of the Royal Statistical Society B 48,
        1986), with kind "exact"; q times `cook` is its quadratic approximation.
    failures : tuple of (str, int)
        Why clusters have no estimate without them, with counts.
    interrupted : bool
        Stopped by the user; clusters that were not reached are nan.
    """

    kind: str
    parameters: tuple[str, ...]
    labels: NDArray[Any]
    n_obs: NDArray[np.int64]
    estimate: Array
    se: Array
    deleted: Array
    dfbetas: Array
    cook: Array
    displacement: Array | None
    failures: tuple[tuple[str, int], ...] = ()
    interrupted: bool = False

    @property
    def order(self) -> NDArray[np.int64]:
        """Clusters by Cook's distance, the largest first, those without one last; shape (k,)."""
        return np.argsort(-np.where(np.isnan(self.cook), -np.inf, self.cook), kind="stable")

    def table(self, sort: bool = False) -> pd.DataFrame:
        """One row per cluster: `label`, `n_obs`, `cook_distance`, `displacement`, and a column for each parameter.

        Parameters
        ----------
        sort : bool
            By Cook's distance, the largest first; otherwise in the order of the labels.

        Returns
        -------
        DataFrame
            The columns `dfbetas_NAME` are in standard errors; `displacement` is there with kind "exact".
        """
        yes_or_no("sort", sort)
        import pandas as pd

        columns: dict[str, Any] = {"label": self.labels, "n_obs": self.n_obs, "cook_distance": self.cook}
        if self.displacement is not None:
            columns["displacement"] = self.displacement
        columns |= {f"dfbetas_{name}": self.dfbetas[:, j] for j, name in enumerate(self.parameters)}
        table = pd.DataFrame(columns, copy=True)
        return table.iloc[self.order].reset_index(drop=True) if sort else table

    def __str__(self) -> str:
        how = "one Newton step" if self.kind == "one_step" else "fitting again"
        lines = [
            f"Deletion of single clusters by {how}; those with the largest Cook's distances of {len(self.labels)}:"
        ]
        lines += [f"  {self.labels[k]}: {self.cook[k]:.3g}{self._mover(k)}" for k in self.order[:_SHOWN]]
        if self.interrupted:
            lines.append("interrupted: clusters that were not reached are nan")
        lines += [f"{number} without an estimate: {reason}" for reason, number in self.failures]
        return "\n".join(lines)

    def _mover(self, k: int) -> str:
        moves = self.dfbetas[k]
        if len(moves) == 0 or np.isnan(moves).all():
            return ""
        j = int(np.nanargmax(np.abs(moves)))
        return f", which moves {self.parameters[j]} by {moves[j]:+.2g} standard errors"


@dataclass(frozen=True)
class Deletion:
    """What deletion needs of a model.

    Parameters
    ----------
    data : ModelData
        With the units of deletion as clusters.
    parameters : tuple of str, length q
    theta : ndarray, shape (q,)
        The maximum of the likelihood.
    information : ndarray, shape (q, q)
        J, minus the Hessian there.
    scores : ndarray, shape (m, q)
        Of each cluster.
    cluster_hessian : callable
        Number of a cluster -> its share of the Hessian, shape (q, q).
    refit : callable
        Data of other clusters -> estimates, shape (q,), and how they were found.
    loglik : callable
        theta -> log-likelihood of all data, up to a constant.
    penalty_score : callable, optional
        Number of a cluster, information without it, and the share of it that is deleted -> the penalty's score without
        it, which the scores of clusters do not hold. With a penalty, `information` is the expected one.
    as_shown : callable
        theta -> parameters as people read them, where these are functions of theta one by one.
    nearby : callable, optional
        Number of a cluster -> estimates without it, and the log-likelihood of all data there, where a search that
        begins at the estimates is sure to find them; None where it is not.
    """

    data: ModelData
    parameters: tuple[str, ...]
    theta: Array
    information: Array
    scores: Array
    cluster_hessian: Callable[[int], Array]
    refit: Callable[[ModelData], tuple[Array, Optimization]]
    loglik: Callable[[Array], float]
    penalty_score: Callable[[int, Array, float], Array] | None = None
    as_shown: Callable[[Array], Array] = np.array
    nearby: Callable[[int], tuple[Array, float] | None] | None = None

    @cached_property
    def share(self) -> Array:
        """How much of each cluster its deletion takes away: one of the clusters that it stands for, shape (m,)."""
        return np.asarray(1.0 / repeats_of(self.data).clusters)

    def without(self, i: int) -> ModelData:
        """The data less one cluster."""
        times = np.array(repeats_of(self.data).clusters)
        times[i] -= 1.0
        return clusters_taken(self.data, times)


def delete_clusters(
    model: Deletion, kind: str, chosen: NDArray[np.int64], n_jobs: int = 1, progress: Progress = None
) -> Influence:
    """Estimates without each of the `chosen` clusters.

    Parameters
    ----------
    model : Deletion
    kind : {"one_step", "exact"}
        One Newton step from the estimate on the likelihood of the other clusters, theta - (J - J_i)^-1 s_i, with the
        cluster's own score and information; or fitting again.
    chosen : ndarray of int64, shape (k,)
        Numbers of clusters.
    n_jobs, progress
        For "exact"; see `run_replicates`.

    Notes
    -----
    Pregibon (Annals of Statistics 9, 1981) for generalised linear models. Clusters do not share anything but the
    parameters, so that the step is exactly Newton's on what is left, leverage included.
    """
    q = len(model.theta)
    if kind == "exact":
        deleted, displacement, failures, interrupted = _refitted(model, chosen, n_jobs, progress)
    else:
        deleted, failures = _one_step(model, chosen)
        displacement, interrupted = None, False
    difference = model.theta - deleted
    se = np.sqrt(np.diag(np.linalg.inv(model.information)))
    cook = np.einsum("ij,jk,ik->i", difference, model.information, difference) / max(q, 1)
    return Influence(
        kind,
        model.parameters,
        model.data.labels[chosen],
        rows_of_clusters(model.data, repeats_of(model.data)).astype(np.int64)[chosen],
        model.as_shown(model.theta),
        se,
        np.array([model.as_shown(each) for each in deleted]).reshape(deleted.shape),
        difference / se,
        cook,
        displacement,
        failures,
        interrupted,
    )


def _one_step(model: Deletion, chosen: NDArray[np.int64]) -> tuple[Array, tuple[tuple[str, int], ...]]:
    deleted = np.full((len(chosen), len(model.theta)), np.nan)
    rest = model.scores.sum(axis=0)  # 0 but for what the optimiser left
    for k, i in enumerate(chosen):
        share = float(model.share[i])
        information = model.information + share * model.cluster_hessian(int(i))
        if not definite(information, model.information):
            continue
        score = rest - share * model.scores[i]
        if model.penalty_score is not None:
            score = score + model.penalty_score(int(i), information, share)
        deleted[k] = model.theta + np.linalg.solve(information, score)
    missing = int(np.isnan(deleted).any(axis=1).sum())
    return deleted, ((_NOT_DEFINITE, missing),) if missing > 0 else ()


def definite(information: Array, whole: Array) -> bool:
    """Whether what is left is positive definite beside the whole, beyond rounding."""
    size = np.sqrt(np.diag(whole))
    return len(size) == 0 or bool(np.linalg.eigvalsh(information / np.outer(size, size))[0] > 1e-10)


def _refitted(
    model: Deletion, chosen: NDArray[np.int64], n_jobs: int, progress: Progress
) -> tuple[Array, Array, tuple[tuple[str, int], ...], bool]:
    deleted, displacement = np.full((len(chosen), len(model.theta)), np.nan), np.full(len(chosen), np.nan)
    top = model.loglik(model.theta)

    def without(rng: np.random.Generator) -> float:
        k = number_of(rng)  # nothing is random
        near = None if model.nearby is None else model.nearby(int(chosen[k]))
        if near is not None:
            deleted[k], displacement[k] = near[0], 2.0 * (top - near[1])
            return 0.0
        theta, story = model.refit(model.without(int(chosen[k])))
        if not story.converged:
            raise ReplicateError(story.message)
        deleted[k], displacement[k] = theta, 2.0 * (top - model.loglik(theta))
        return 0.0

    if len(chosen) == 0:
        return deleted, displacement, (), False
    runs = run_replicates(without, len(chosen), 0, n_jobs, progress)
    return deleted, displacement, runs.failures, runs.interrupted


def positions(clusters: ArrayLike | None, labels: NDArray[Any]) -> NDArray[np.int64]:
    """Positions of `clusters` among the labels, shape (k,); of all of them by default.

    Raises
    ------
    OptionError
        When there is no such label.
    """
    import pandas as pd

    if clusters is None:
        return np.arange(len(labels), dtype=np.int64)
    given = clusters if isinstance(clusters, Iterable) and not isinstance(clusters, str | bytes) else [clusters]
    wanted = pd.Index(several("clusters", given, "labels of clusters", "clusters=None for all"))
    found = np.asarray(pd.Index(labels).get_indexer(wanted), dtype=np.int64)
    unknown = [str(label) for label in wanted[found < 0]]
    if unknown:
        hint = nearest(unknown[0], [str(label) for label in labels[:10_000]])
        raise OptionError(
            f"clusters={', '.join(unknown[:5])}" + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""),
            f"labels of the {len(labels)} clusters that were fitted",
            f"{hint}clusters=None for all",
        )
    return found


def pooled_deletion(fit: PooledFit, data: ModelData, response: Response) -> Deletion:
    """Deletion of clusters from a pooled fit, or of rows where there are none."""
    if data.cluster_name is None:
        data = rows_as_clusters(data)
    penalty = None if fit.penalty is None else jeffreys(data.X, data, response)
    if penalty is None:
        curvature = response.derivatives(data.X @ fit.beta + data.offset, data.a, data.b)[2]
        curvature = curvature * np.repeat(data.cluster_weights, np.diff(data.starts))
    else:
        curvature = -penalty.weights(fit.beta)[0]
    problem = core_problem(data.X, data, response)

    def rows_of(i: int) -> slice:
        return slice(int(data.starts[i]), int(data.starts[i + 1]))

    def hessian(i: int) -> Array:
        rows = rows_of(i)
        share: Array = (data.X[rows].T * curvature[rows]) @ data.X[rows]
        return share

    def refit(new: ModelData) -> tuple[Array, Optimization]:
        again = fit_pooled(new, response, CLOSE, fit.penalty)
        return again.beta, again.optimization

    def loglik(beta: Array) -> float:
        plain = evaluate_pooled(problem, beta, 0).value
        return plain if penalty is None else plain + penalty.evaluate(beta).value

    whole = Deletion(
        data,
        tuple(data.names),
        fit.beta,
        -fit.hessian,
        pooled_scores(data, response, fit.beta, by_row=False),
        hessian,
        refit,
        loglik,
    )
    if penalty is None:
        return whole
    without = penalty.score_without(fit.beta)
    return replace(whole, penalty_score=lambda i, *left: without(rows_of(i), *left))


def fixed_effects_deletion(fit: FixedEffectsFit, data: ModelData, response: Response) -> Deletion:
    """At the maximum of the likelihood: what a cluster does to corrected coefficients is the same to first order."""
    beta = fit.uncorrected
    likelihood = ProfileLikelihood(core_problem(data.X, data, response))
    information = -likelihood.evaluate(beta).hessian

    def refit(new: ModelData) -> tuple[Array, Optimization]:
        again = fit_fixed_effects(new, response, beta, CLOSE, fit.penalty)
        return again.beta, again.optimization

    def loglik(at: Array) -> float:  # an instance remembers where it was: not for two threads at once
        return ProfileLikelihood(core_problem(data.X, data, response)).evaluate(at, 0).value

    return Deletion(
        data,
        tuple(data.names),
        beta,
        information,
        cluster_profile(data, response, beta).scores,
        lambda i: ProfileLikelihood(_one_cluster(data, response, i)).evaluate(beta).hessian,
        refit,
        loglik,
        None if fit.penalty is None else _refuse_step,
    )


def conditional_deletion(fit: ConditionalFit, data: ModelData, response: Response) -> Deletion:
    """Deletion of clusters from a conditional fit, given the totals of the others."""
    kind = ProfileLikelihood if response.poisson_totals else ConditionalLikelihood
    beta = fit.beta

    def refit(new: ModelData) -> tuple[Array, Optimization]:
        again = fit_conditional(new, response, beta, CLOSE, fit.penalty)
        return again.beta, again.optimization

    def loglik(at: Array) -> float:
        if fit.penalty is None:
            return kind(core_problem(data.X, data, response)).evaluate(at, 0).value
        penalized = PenalizedWithin.of(WithinSums(sums_within(data, response, 1), conditional=True))
        return penalized.evaluate(penalized.within.sums.standard.inside(at)).value

    return Deletion(
        data,
        tuple(data.names),
        beta,
        -fit.hessian,
        conditional_scores(data, response, beta),
        lambda i: kind(_one_cluster(data, response, i)).evaluate(beta).hessian,
        refit,
        loglik,
        None if fit.penalty is None else _refuse_step,
    )


def _refuse_step(i: int, information: Array, share: float) -> Array:
    raise OptionError(
        "one step without a cluster, from a conditional or fixed-effects fit with a penalty",
        "fits without each cluster, as the penalty is no sum over clusters",
        'influence(kind="exact")',
    )


def random_effects_deletion(fit: RandomEffectsFit, data: ModelData) -> Deletion:
    """Deletion of clusters from a random-intercept fit; at sigma = 0 as from the pooled one."""
    if fit.sigma == 0.0:
        again = pooled_deletion(fit.pooled, data, fit.response)
        return replace(again, refit=lambda new: _refit_random_effects(fit, new))
    parameters, free = fit.parameters, fit.parameters.free
    rules: dict[int, UnitRule] = {}
    for part in fit.plan:
        served = range(data.n_clusters) if part.clusters is None else part.clusters
        rules |= {int(i): part.rule for i in served}

    def likelihood() -> UnitLikelihood:
        return fit.integrator.likelihood(data.X, data, fit.response)

    shared = likelihood()
    penalty = None if fit.penalty is None else SoftPenalty.of(jeffreys(data.X, data, fit.response))
    without = None if penalty is None else penalty.score_without(fit.theta, data.starts)

    def hessian(i: int) -> Array:
        plan = (Part(rules[i], np.array([i], dtype=np.int64)),)
        return parameters.of_free(shared.evaluate(fit.theta, plan).hessian)

    def loglik(theta: Array) -> float:
        return likelihood().evaluate(parameters.filled(theta, fit.theta), fit.plan, 0).value

    return Deletion(
        data,
        parameters.names_of(free),
        fit.theta[free],
        -parameters.of_free(fit.hessian),
        free_scores(data, fit),
        hessian,
        lambda new: _refit_random_effects(fit, new),
        loglik,
        None if without is None else lambda *left: without(*left)[free],
    )


def _refit_random_effects(fit: RandomEffectsFit, new: ModelData) -> tuple[Array, Optimization]:
    """A fit's model and shape, fitted to other data from its estimates; at the boundary from the pooled fit."""
    again = fit_again(replace(fit, shape=None), new, None if fit.boundary else fit.theta, CLOSE)
    return again.theta[fit.parameters.free], again.optimization


def _one_cluster(data: ModelData, response: Response, i: int) -> _core.Problem:
    rows = slice(int(data.starts[i]), int(data.starts[i + 1]))
    starts = np.array([0, rows.stop - rows.start], dtype=np.int64)
    X, a, b, offset = (np.ascontiguousarray(values[rows]) for values in (data.X, data.a, data.b, data.offset))
    return _core.Problem(starts, X, a, b, offset, data.cluster_weights[i : i + 1], response.code)
