"""Estimates again: from responses drawn from the model, from clusters drawn with replacement, without each cluster."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.data.repeats import repeats_of
from clusterglm.data.resampled import clusters_taken, identified, rows_as_clusters
from clusterglm.errors import ClusterError, OptionError, check_option
from clusterglm.inference.uncertainty.intervals import RESAMPLES
from clusterglm.model.arrays import Array
from clusterglm.results.models.weighted import Weighted

if TYPE_CHECKING:
    from clusterglm.inference.diagnostics.influence import Influence
    from clusterglm.inference.uncertainty.bootstrap_intervals import BootstrapEstimates
    from clusterglm.model.response.base import Response
    from clusterglm.model.workers import Progress
    from clusterglm.results.tables.jackknife import Jackknife

Refit = Callable[[Array], Array]
"""How often each cluster is there -> estimates."""


class Resampling(Weighted):
    """What results tell by fitting their model again and again."""

    if TYPE_CHECKING:
        kind: ClassVar[str]

        @property
        def response(self) -> Response: ...
        @property
        def _estimates(self) -> Array: ...
        @property
        def _interval_names(self) -> list[str]: ...

    @abstractmethod
    def _draw_new(self, rng: np.random.Generator) -> Array:
        """New responses of every row in cluster order, shape (n,)."""

    @abstractmethod
    def _reestimate(self, new: ModelData) -> Array:
        """The parameters from other responses or rows, shape (q,); a ReplicateError where they are not found."""

    def _check_draws(self) -> None:
        """Refuse a bootstrap where responses cannot be drawn."""

    def _check_again(self) -> None:
        """Refuse what takes estimates from other data where these cannot be found again."""

    def _refit_of_clusters(self) -> Refit:
        """Estimates from the data's clusters (rows, without clusters), each as often as it is told."""
        data = as_units(self.data.rows)
        return lambda times: self._reestimate(identified(clusters_taken(data, times)))

    def _check_units(self, what: str) -> None:
        """Refuse what takes clusters for independent where they are not."""
        effects = self.data.effects
        if effects is not None and (effects.outside or not all(each.nested for each in effects.groupings)):
            self._refuse_crossed(what, "crossed random effects", "bootstrap(), which draws all effects anew")

    def _refuse_crossed(self, what: str, effects: str, instead: str) -> NoReturn:
        raise OptionError(
            f"{what} of a model with {effects}",
            "clusters that are independent: where factors cross no resampling has the right variance (McCullagh, "
            "Bernoulli 6, 2000), and that of both factors (Owen, Annals of Applied Statistics 1, 2007) repeats levels, "
            "whose effects would be the same in each copy",
            instead,
        )

    def bootstrap(
        self,
        n_boot: int = 1000,
        seed: int | np.random.SeedSequence | None = None,
        n_jobs: int = 1,
        progress: Progress = None,
        engine: Any = None,
        resample: str = "model",
    ) -> BootstrapEstimates:
        """Estimates from data simulated from the fitted model, or made of its clusters drawn with replacement.

        Parameters
        ----------
        n_boot : int
            Replicates.
        seed : int or SeedSequence, optional
            The same seed gives the same replicates whatever `n_jobs`. By default fresh, and reported.
        n_jobs : int
            Threads; -1 for all processors.
        progress : bool or callable, optional
            True for a bar on the terminal; or a function of the replicates done and wanted. Ctrl-C ends the simulation
            and gives what was done.
        engine : Dask, optional
            `cg.engine.Dask(client)` runs the replicates on the workers of a Dask cluster, with the same numbers.
        resample : {"model", "clusters"}
            "model" draws responses from the fit: the parametric bootstrap, which is right if the model is. "clusters"
            draws whole clusters of the data with replacement (of nested factors those of the top level; rows, without
            `cluster=`): the cluster bootstrap, or that of cases, which asks only that clusters are independent and
            many. A cluster that is drawn three times counts as three clusters.

        Returns
        -------
        BootstrapEstimates
            Percentile, basic, normal and BCa intervals, bias, standard errors.

        Raises
        ------
        OptionError
            Where neither responses nor clusters can be drawn, or estimates not be found again; "clusters" where factors
            cross.
        ClusterError
            When there is only one cluster to draw.
        """
        from clusterglm.inference.uncertainty.bootstrap_intervals import (
            bootstrap_estimates,
            drawn_clusters,
            drawn_responses,
        )

        check_option("resample", resample, RESAMPLES)
        self._check_again()
        units = ""
        if resample == "model":
            self._check_draws()
            whole = self._written_out("a bootstrap")
            one = drawn_responses(whole.data.rows, self.response, whole._draw_new, whole._reestimate)
        else:
            self._check_units("a bootstrap of clusters")
            repeats = repeats_of(as_units(self.data.rows)).clusters
            units = self._units(repeats, "a bootstrap")
            one = drawn_clusters(repeats, self._refit_of_clusters())
        names = tuple(self._interval_names)
        run = n_boot, seed, n_jobs, progress, engine
        return bootstrap_estimates(names, self._estimates, one, *run, resample, units)

    def jackknife(
        self,
        kind: str = "exact",
        groups: int | None = None,
        seed: int | np.random.SeedSequence | None = None,
        n_jobs: int = 1,
        progress: Progress = None,
        engine: Any = None,
    ) -> Jackknife:
        """Bias, covariance and intervals from estimates without each cluster (each row, without `cluster=`).

        Parameters
        ----------
        kind : {"exact", "one_step"}
            Fitting again without the cluster; or one Newton step from the estimates on the other clusters' likelihood,
            as `influence` takes it.
        groups : int, optional
            Deletes so many groups of clusters instead, into which these are dealt at random: for many clusters, of
            which each would be a fit.
        seed : int or SeedSequence, optional
            Of the groups. By default fresh, and reported.
        n_jobs : int
            Threads; -1 for all processors.
        progress : bool or callable, optional
            True for a bar on the terminal; or a function of the fits done and wanted. Ctrl-C gives what was done.
        engine : Dask, optional
            Where to fit, as for `bootstrap`.

        Returns
        -------
        Jackknife
            Prints as a table. Intervals are Student's t on as many degrees of freedom as there are clusters, or groups,
            less one.

        Raises
        ------
        OptionError
            On another kind, one step without groups, or where the model has none; where factors cross.
        ClusterError
            When there is only one cluster.

        References
        ----------
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11; with groups Busing, Meijer and van der
        Leeden, Statistics and Computing 9, 1999; of least squares MacKinnon, Nielsen and Webb, Journal of Applied
        Econometrics 38, 2023.

        Examples
        --------
        >>> import clusterglm as cg
        >>> bacteria = cg.datasets.load("bacteria")
        >>> fit = cg.pooled("y ~ trt + week", bacteria, cluster="ID")
        >>> fit.jackknife().std_error.round(3).tolist()
        [0.5, 0.604, 0.569, 0.039]
        """
        from clusterglm.inference.diagnostics.influence import KINDS
        from clusterglm.inference.uncertainty.jackknife import (
            groups_of_clusters,
            refitted,
            refuse_kind_of_groups,
            single_clusters,
        )
        from clusterglm.results.tables.jackknife import Jackknife

        check_option("kind", kind, KINDS)
        refuse_kind_of_groups(kind, groups)
        self._check_again()
        self._check_units("a jackknife of clusters")
        data = as_units(self.data.rows)
        repeats = repeats_of(data).clusters
        units = self._units(repeats, "a jackknife")
        if groups is None:
            parts, units = single_clusters(data.labels, repeats), f"each of {units}"
        else:
            parts = groups_of_clusters(repeats, groups, seed)
            units = f"each of {groups} groups of {units}, seed {parts.seed}"
        estimate = self._estimates
        if kind == "one_step":
            deleted, failures, interrupted = *self._stepped(estimate), False
        else:
            found = refitted(parts, self._refit_of_clusters(), len(estimate), n_jobs, progress, engine)
            deleted, failures, interrupted = found.deleted, found.failures, found.interrupted
        return Jackknife(
            kind=kind,
            names=tuple(self._interval_names),
            estimate=estimate,
            labels=parts.labels,
            sizes=parts.sizes,
            times=parts.times,
            deleted=deleted,
            units=units,
            failures=failures,
            seed=parts.seed,
            interrupted=interrupted,
        )

    def _stepped(self, estimate: Array) -> tuple[Array, tuple[tuple[str, int], ...]]:
        """Estimates without each cluster by one step, and why some have none.

        A cluster does the same to coefficients that were corrected for bias as to the others, to first order.
        """
        influence = getattr(self, "influence", None)
        if influence is None:
            raise OptionError(
                f"a jackknife of a {self.kind} fit by one step",
                "scores and information of single clusters, which are not worked out for it",
                'kind="exact"',
            )
        found: Influence = influence()
        if found.parameters != tuple(self._interval_names):
            raise OptionError(
                "a jackknife by one step, where a parameter lies at the end of its range",
                "parameters that are free to move",
                'kind="exact"',
            )
        return found.deleted + (estimate - found.estimate), found.failures

    def _units(self, repeats: Array, what: str) -> str:
        """How many clusters there are, in words."""
        m, name = int(repeats.sum()), self.data.cluster_name
        if m < 2:
            raise ClusterError(f"{what} of the only cluster", "two clusters or more", "cluster= of the fit")
        return f"{m:,} rows" if name is None else f"{m:,} clusters of {name!r}"


def as_units(data: ModelData) -> ModelData:
    """Data whose clusters are what is drawn or left out: rows, where there are no clusters."""
    return rows_as_clusters(data) if data.cluster_name is None else data
