"""The verb that tests one fit against another by parametric bootstrap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError
from clusterglm.inference.diagnostics.dispersion import with_responses
from clusterglm.inference.hypotheses.bootstrap_ratio import BootstrapRatio, bootstrap_ratio
from clusterglm.inference.hypotheses.comparison import data_difference, likelihood_ratio_test
from clusterglm.inference.uncertainty.bootstrap_intervals import converged
from clusterglm.inference.uncertainty.replicates import run_replicates
from clusterglm.model.arrays import Array
from clusterglm.model.workers import Progress
from clusterglm.results.models.several import check_fit

if TYPE_CHECKING:
    from clusterglm.results.models.base import Result


def bootstrap_test(
    smaller: Result,
    larger: Result,
    n_boot: int = 1000,
    seed: int | np.random.SeedSequence | None = None,
    n_jobs: int = 1,
    progress: Progress = None,
    engine: Any = None,
) -> BootstrapRatio:
    """Likelihood-ratio test of a fit against one of which it is a special case, by parametric bootstrap.

    Parameters
    ----------
    smaller, larger : Result
        Fitted to the same rows by maximum likelihood: with fewer terms and with more, or without and with random
        effects. Which is the smaller one is found out.
    n_boot : int
        Data sets that are drawn from the smaller fit; both models are fitted to each.
    seed : int or SeedSequence, optional
        The same seed gives the same replicates whatever `n_jobs`. By default fresh, and reported.
    n_jobs : int
        Threads; -1 for all processors.
    progress : bool or callable, optional
        True for a bar; or a function of the replicates done and wanted. Ctrl-C gives what was done.
    engine : Dask, optional
        `cg.engine.Dask(client)` runs the replicates there, with the same numbers.

    Returns
    -------
    BootstrapRatio
        With few clusters its p-value holds where those of Wald tests and of chi-square are too small.

    Raises
    ------
    OptionError
        Where the fits cannot be compared, or have weights.

    Examples
    --------
    >>> import clusterglm as cg
    >>> bacteria = cg.datasets.load("bacteria")
    >>> fit = cg.random_effects("y ~ trt + week", bacteria, cluster="ID")
    >>> test = cg.bootstrap_test(cg.update(fit, "~ . - trt"), fit, n_boot=50, seed=1)
    >>> test.asymptotic.df, len(test.replicates)
    (2, 50)
    """
    for fit in (smaller, larger):
        check_fit(fit, "bootstrap_test")
        _refuse_weights(fit)
    names = "the first fit", "the second fit"
    one, other = smaller._candidate(names[0]), larger._candidate(names[1])
    _refuse(data_difference(one.data, other.data, names))
    found = likelihood_ratio_test(one, other)
    _refuse("penalised likelihoods" if found.penalized else found.reason)
    if found.smaller == names[1]:
        smaller, larger = larger, smaller
    inner, outer = smaller.data.rows, larger.data.rows
    place = _places(inner, outer)

    def ratio(rng: np.random.Generator) -> float:
        y: Array = smaller._draw_new(rng)
        small = smaller._fitted_to(with_responses(inner, y, smaller.response))
        large = larger._fitted_to(with_responses(outer, y[place], larger.response))
        for again in (small, large):
            converged(again)
        return max(0.0, 2.0 * float(large.loglik - small.loglik))

    return bootstrap_ratio(found, run_replicates(ratio, n_boot, seed, n_jobs, progress, engine))


def _refuse(reason: str) -> None:
    if reason:
        raise OptionError(
            f"a bootstrap of a likelihood ratio: {reason}",
            "two fits to the same rows by maximum likelihood, one a special case of the other",
            "cg.update(fit, '~ . - x'), and reml=False",
        )


def _places(inner: ModelData, outer: ModelData) -> Any:
    """Where the rows of one are among those of the other, which may sort them by other clusters."""
    order = np.argsort(inner.row_index, kind="stable")
    return order[np.searchsorted(inner.row_index[order], outer.row_index)]


def _refuse_weights(fit: Result) -> None:
    rows = fit.data.rows
    if (rows.weights != 1.0).any() or (rows.cluster_weights != 1.0).any():
        raise OptionError(
            "a bootstrap of a likelihood ratio of fits with weights", "fits without", "rows as often as they are there"
        )
