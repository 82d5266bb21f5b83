"""Deletion of clusters from fits with several random effects whose response has parameters of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.data.resampled import only_clusters
from clusterglm.fit.mixed import task_of
from clusterglm.fit.mixed_task import choose
from clusterglm.fit.newton import Optimization
from clusterglm.fit.own_mixed import OwnMixedFit, own_of
from clusterglm.inference.diagnostics.influence import CLOSE, Deletion
from clusterglm.inference.diagnostics.mixed_influence import ANOTHER_FACE, mixed_deletion
from clusterglm.inference.uncertainty.mixed import estimates_by_reading
from clusterglm.inference.uncertainty.replicates import ReplicateError
from clusterglm.model.arrays import Array

_OTHER_END = "without the cluster, the response's parameters lie at the end of their range"


def own_several_deletion(fit: OwnMixedFit, as_shown: Callable[[Array], Array]) -> Deletion:
    """Of clusters, in coefficients, working values of the response, and what `mixed_deletion` has of the covariance.

    Where the response's parameters lie at the end of their range it is deletion from the model there.
    """
    response, singular = own_of(fit), bool(fit.held.any())
    if fit.own_state == "boundary":
        return mixed_deletion(fit.given, as_shown)
    p, k = len(fit.beta), len(response.own)
    found = mixed_deletion(fit, as_shown, response.own)
    theta = fit.searched if singular else estimates_by_reading(fit)
    free = np.flatnonzero(~task_of(fit).all_and(fit.held))
    of_psi = slice(p, p + k)

    def of_cluster(i: int) -> Array:
        """By the cluster alone, as terms without the linear predictor are sums over what the likelihood is given."""
        alone = only_clusters(fit.data.rows, np.arange(fit.data.n_clusters) == i)
        task = fit.task_with(alone)
        task = task if singular else replace(task, covariance=task.covariance.by_reading())
        plan = choose(task.likelihood, task.entries(theta), fit.integration.requested).plan
        return task.evaluate(theta, plan).hessian[np.ix_(free, free)]

    def refit(new: ModelData) -> tuple[Array, Optimization]:
        again = fit.again(new, CLOSE)
        if not np.array_equal(again.held, fit.held):
            raise ReplicateError(ANOTHER_FACE)
        if again.own_state != fit.own_state or not np.isfinite(again.searched).all():
            raise ReplicateError(_OTHER_END)
        return (again.searched if singular else estimates_by_reading(again))[free], again.optimization

    def shown(at: Array) -> Array:
        inner = np.concatenate([at[:p], at[of_psi.stop :]])
        inner = inner if singular else as_shown(inner)
        values = np.full(k, np.nan) if np.isnan(at).any() else np.array(response.at(at[of_psi]).values)
        return np.concatenate([inner[:p], values, inner[p:]])

    return replace(found, cluster_hessian=of_cluster, refit=refit, as_shown=shown)
