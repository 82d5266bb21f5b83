"""Testing for clustering, from a fitted model with cluster effects."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError, check_option
from clusterglm.fit.pooled import PooledFit
from clusterglm.inference.hypotheses.clustering import ClusteringTest
from clusterglm.model.response.base import Response
from clusterglm.model.workers import Progress
from clusterglm.results.models.base import Result

if TYPE_CHECKING:
    from clusterglm.inference.hypotheses.bootstrap import Refit, SimulatedTest
    from clusterglm.inference.hypotheses.score_test import ScoreTest


class ClusteredResult(Result):
    """A result of a model with cluster effects, which can be compared with the model without them."""

    _simulates_no_clustering: ClassVar[bool] = True
    _by_ratio: ClassVar[tuple[str, ...]] = ()
    """Methods that there are where the response has parameters of its own, which other tests take for known."""

    def _report_parts(self) -> list[str]:
        return [*super()._report_parts(), "no clustering", "intercepts"]

    @abstractmethod
    def _null(self) -> tuple[ModelData, PooledFit]:
        """The model without cluster effects: its data and fit."""

    @property
    def _null_response(self) -> Response:
        """Its response."""
        return self.response

    @abstractmethod
    def _refit(self, pooled: PooledFit) -> Refit:
        """Fits both models to other responses."""

    def _refuse_clustering_test(self, method: str, statistic: str, insist: bool) -> None:
        """Raise `OptionError` for tests that there are not for the model."""
        if self._by_ratio and (method == "score" or statistic == "loglik"):
            what = "method='score'" if method == "score" else "statistic='loglik'"
            raise OptionError(
                f"test_clustering with {what} and family={self.family!r}",
                "a response without parameters of its own",
                f"method={' or '.join(map(repr, self._by_ratio))}, with statistic='lr'",
            )

    def _boundary_test(self) -> ClusteringTest:
        raise OptionError(
            'method="boundary" for fixed effects',
            "a model with a sigma, of which 0 is the boundary",
            'method="bootstrap": with an intercept per cluster the likelihood ratio is not nearly chi-square',
        )

    def test_clustering(
        self,
        method: str = "bootstrap",
        statistic: str = "lr",
        n_boot: int = 2000,
        seed: int | np.random.SeedSequence | None = None,
        n_jobs: int = 1,
        progress: Progress = None,
        insist: bool = False,
        engine: Any = None,
    ) -> SimulatedTest | ScoreTest | ClusteringTest:
        """Test the hypothesis that clusters have no effect.

        Parameters
        ----------
        method : {"bootstrap", "permutation", "score", "boundary"}
            Draw responses from the pooled fit and fit again; deal the rows out to the clusters at random and fit again;
            the score test of a small variance between clusters, which needs no simulation and only the pooled fit; or,
            for random intercepts, the likelihood-ratio test with the boundary's mixture of chi-squares.
        statistic : {"lr", "loglik"}
            For the first two: twice the difference between the log-likelihoods with and without clusters; or, as in R's
            glmmboot, the log-likelihood with clusters alone, relative to the saturated model, which makes a
            conservative test.
        n_boot : int
            Replicates.
        seed : int or SeedSequence, optional
            The same seed gives the same p-value whatever `n_jobs`. By default fresh, and reported.
        n_jobs : int
            Threads; -1 for all processors.
        progress : bool or callable, optional
            True for a bar on the terminal; or a function of the replicates done and wanted. Ctrl-C ends the simulation
            and gives the test from what was done.
        insist : bool
            Permute although covariates or offsets differ between clusters.
        engine : Dask, optional
            `cg.engine.Dask(client)` runs the replicates on the workers of a Dask cluster, with the same numbers.

        Returns
        -------
        SimulatedTest, ScoreTest or ClusteringTest
            With `statistic` and `pvalue`; prints as a sentence.

        Raises
        ------
        OptionError
            On an unknown method or statistic, where sigma was held fixed, or simulation where weights are not whole
            numbers.
        DataError
            When rows are not exchangeable between clusters, so that a permutation test would not be valid.

        Examples
        --------
        >>> import clusterglm as cg
        >>> bacteria = cg.datasets.load("bacteria")
        >>> fit = cg.random_effects("y ~ trt + week", bacteria, cluster="ID")
        >>> test = fit.test_clustering(n_boot=99, seed=1)
        >>> len(test.replicates)
        99
        """
        from clusterglm.inference.hypotheses.bootstrap import METHODS, STATISTICS, simulated_test
        from clusterglm.inference.hypotheses.score_test import score_test

        check_option("method", method, (*METHODS, "score", "boundary"))
        check_option("statistic", statistic, STATISTICS)
        self._refuse_clustering_test(method, statistic, insist)
        if method == "boundary":
            return self._boundary_test()
        null, pooled = self._null()
        if method == "score":
            return score_test(null, self.response, pooled.beta)
        rows = self._written_out("a test by simulation")
        null, pooled = rows._null()  # remembered where nothing was written out
        return simulated_test(
            rows.data.rows,
            null,
            pooled,
            self.loglik,
            rows._refit(pooled),
            rows._null_response,
            method,
            statistic,
            n_boot,
            seed,
            n_jobs,
            progress,
            insist,
            engine,
        )
