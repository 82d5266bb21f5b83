"""What a result says of the fit: residuals, dispersion, influence, calibration, accuracy of the integrals."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from clusterglm.data.prepare import ModelData
from clusterglm.data.repeats import repeats_of
from clusterglm.errors import ClusterError, OptionError, check_option
from clusterglm.inference.diagnostics.residuals import KINDS as OF_MEANS
from clusterglm.inference.diagnostics.residuals import residuals
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.model.arguments import generator, seed_sequence
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.response.base import Response
from clusterglm.results.models.base import Result, Seed
from clusterglm.results.topics.newdata import one_per_row

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.adequacy import Diagnosis, Finding
    from clusterglm.inference.diagnostics.calibration import Calibration
    from clusterglm.inference.diagnostics.dispersion import SimulationTest
    from clusterglm.inference.diagnostics.envelopes import ResidualEnvelope
    from clusterglm.inference.diagnostics.influence import Deletion, Influence
    from clusterglm.inference.distribution.event_counts import EventCounts
    from clusterglm.model.distribution.base import Distribution
    from clusterglm.model.workers import Progress

RESIDUALS = (*OF_MEANS, "quantile", "simulated")

_SHORT = 20  # rows an intercept below which residuals of fixed effects are too small by what it took up


class ClusterInfluence(Result):
    """A result that can say what single clusters do to it."""

    def _report_parts(self) -> list[str]:
        some = self.n_clusters > 1 and len(self.data.names) > 0
        return [*super()._report_parts(), *(["influence"] if some else [])]

    @abstractmethod
    def _deletion(self) -> Deletion:
        """What the deletion of clusters needs of the model."""

    def influence(
        self, kind: str = "one_step", clusters: ArrayLike | None = None, n_jobs: int = 1, progress: Progress = None
    ) -> Influence:
        """What the estimates would be without each cluster; without `cluster=`, without each row.

        Parameters
        ----------
        kind : {"one_step", "exact"}
            One Newton step from the estimates on the other clusters' likelihood, which is cheap and close unless the
            cluster weighs a lot; or fitting again without the cluster, from the estimates. After a fit with a penalty
            the step takes the expected information for the Hessian.
        clusters : array_like, optional
            Labels of the clusters to delete, one at a time; by default all. Positions in the user's table where rows
            are deleted.
        n_jobs : int
            Threads of "exact"; -1 for all processors.
        progress : bool or callable, optional
            Of "exact": True for a bar on the terminal, or a function of the clusters done and wanted.

        Returns
        -------
        Influence
            `table(sort=True)` has a row for each cluster: Cook's distance, the change of each parameter in standard
            errors, and, with "exact", the likelihood displacement. Prints the largest.

        Raises
        ------
        OptionError
            On another kind, or labels that the fit has not seen; on one step from a conditional fit with a penalty.
        ClusterError
            When there is only one cluster.
        """
        from clusterglm.inference.diagnostics.influence import KINDS as DELETIONS
        from clusterglm.inference.diagnostics.influence import delete_clusters, positions

        check_option("kind", kind, DELETIONS)
        model = self._deletion()
        if repeats_of(model.data).clusters.sum() < 2:
            raise ClusterError("the influence of the only cluster", "two clusters or more", "cluster= of the fit")
        return delete_clusters(model, kind, positions(clusters, model.data.labels), n_jobs, progress)


class Diagnostics(ClusterInfluence):
    """A result with a mean for each row, which can be held against the responses."""

    def _report_parts(self) -> list[str]:
        return [*super()._report_parts(), "checks", "residuals", "calibration"]

    # Residuals -------------------------------------------------------------------------------------------------------

    def residuals(
        self,
        kind: str = "response",
        intercepts: str | ArrayLike | None = None,
        seed: Seed = None,
        n_sim: int = 250,
    ) -> pd.Series[float]:
        """Residuals of the rows that were used.

        Parameters
        ----------
        kind : {"response", "pearson", "deviance", "quantile", "simulated"}
            Observed (share of successes, or count) minus mean; the same over its standard deviation; the signed root
            of the row's deviance; randomised quantile residuals, standard normal if the model holds; or the rank of the
            response among simulated ones, uniform on (0, 1) if the model holds. The last two are nan where an infinite
            intercept leaves nothing to chance.
        intercepts : {"conditional", "typical", "marginal"} or array_like, optional
            The cluster's own intercept (for random effects its posterior mode), which has taken up part of the noise,
            the more the smaller the cluster; zero, that of a typical cluster; for random effects "marginal", any
            cluster's, averaged over its distribution; or a number, or one for each row in the order of the user's
            table. By default "conditional" where clusters have intercepts, but for "simulated" residuals of random
            effects "marginal": new intercepts are drawn. Residuals other than conditional ones are not independent
            within clusters.
        seed : int, SeedSequence or Generator, optional
            For numpy's `default_rng`; the last two kinds are random.
        n_sim : int
            Simulated data sets for "simulated".

        Returns
        -------
        Series
            Index `row`: position in the user's table. A residual is that of one row: weights play no part, but that
            the last two kinds, which are drawn, have one for each row that a row of the table stands for.

        Raises
        ------
        OptionError
            On another kind or intercepts of another form; for marginal deviance residuals, and other marginal ones
            where the moments of a count do not exist; for the last two where weights are not whole numbers.

        Warns
        -----
        AccuracyWarning
            When averages over the intercept did not settle for some rows.

        References
        ----------
        Dunn and Smyth, Journal of Computational and Graphical Statistics 5, 1996; for simulated ones, R's DHARMa.
        """
        check_option("kind", kind, RESIDUALS)
        if intercepts is None:
            intercepts = self._drawn if kind == "simulated" else self._own
        if isinstance(intercepts, str):
            self._check_intercepts(intercepts, "intercepts")
        drawn = kind not in OF_MEANS
        rows = self._written_out(f"{kind} residuals") if drawn else self
        if rows is not self and not isinstance(intercepts, str) and np.ndim(intercepts) > 0:
            each = one_per_row(intercepts, self.data.n_obs, self._known_intercepts)
            times = self._repeats.rows * self._per_row(self._repeats.clusters)
            intercepts = np.repeat(each, times[np.argsort(self.data.rows.row_index, kind="stable")].astype(np.int64))
        values = rows._residuals(kind, intercepts, n_sim, generator(seed))
        return rows._in_user_order(values, "residual")

    def _residuals(self, kind: str, intercepts: str | ArrayLike, n_sim: int, rng: np.random.Generator) -> Array:
        """In cluster order."""
        from clusterglm.inference.diagnostics.quantile_residuals import conditional_ends, randomised

        eta = self._eta_at(intercepts)
        if kind == "quantile":
            return randomised(conditional_ends(self._response_of_rows, self._y, eta, self.data.rows.trials), rng)
        if kind == "simulated":
            ranks = self._ranks(lambda g: self._draw(eta, g), n_sim, rng)
            return np.where(np.isinf(eta), np.nan, ranks)
        return residuals(kind, self._response_of_rows, eta, *self._single)

    @property
    def _own(self) -> str:
        """The intercepts that belong to the rows."""
        return "conditional" if "conditional" in self._named_predictors else "typical"

    @property
    def _drawn(self) -> str:
        """The intercepts with which responses are simulated."""
        return self._own

    @property
    def _known_intercepts(self) -> list[str]:
        """Intercepts that have a name."""
        return list(self._named_predictors)

    def _check_intercepts(self, name: str, argument: str) -> None:
        check_option(argument, name, self._known_intercepts)

    def _eta_at(self, intercepts: str | ArrayLike) -> Array:
        """Linear predictor of the rows in cluster order."""
        eta = np.empty(self.data.n_obs)
        eta[np.argsort(self.data.rows.row_index, kind="stable")] = self._link_at(None, intercepts)
        return eta

    @property
    def _y(self) -> Array:
        """Successes, counts or measured responses, in cluster order."""
        y = np.asarray(self.data.rows.a / self.data.rows.weights)
        return y if self.response.continuous else np.rint(y)

    def _ranks(self, draw: Callable[[np.random.Generator], Array], n_sim: int, rng: np.random.Generator) -> Array:
        """Ranks of the responses among simulated ones."""
        from clusterglm.inference.diagnostics.quantile_residuals import simulated

        if isinstance(n_sim, bool) or not isinstance(n_sim, int | np.integer) or n_sim < 1:
            raise OptionError(f"n_sim={n_sim!r}", "a whole number, 1 or more", "n_sim=250")
        return simulated(self._y, draw, n_sim, rng)

    def _predictor(self) -> Callable[[ModelData], Array]:
        """The linear predictor of data, the clusters' intercepts found anew from its responses."""
        eta = self._eta(0.0)
        return lambda data: eta

    @property
    def _axis(self) -> Array | None:
        """What residuals are held against; None: the linear predictor that is found anew."""
        return self._eta(0.0)

    @with_alpha
    def residual_envelope(
        self,
        n_sim: int = 99,
        *,
        level: float = 0.95,
        groups: int = 20,
        seed: int | np.random.SeedSequence | None = None,
        n_jobs: int = 1,
        progress: Progress = None,
    ) -> ResidualEnvelope:
        """Conditional quantile residuals beside those of data simulated from the fit.

        Parameters
        ----------
        n_sim : int
            Simulations; those of random effects draw new intercepts, which are then predicted as the data's are.
        level : float
            Share of the simulations within the envelopes, point by point.
        groups : int
            Groups of rows for the mean residual against the linear predictor (of random effects, at an intercept of
            zero).
        seed, n_jobs, progress
            As in `dispersion_test`.

        Returns
        -------
        ResidualEnvelope
        """
        from clusterglm.inference.diagnostics.envelopes import residual_envelope

        rows = self._written_out("an envelope of residuals")
        return residual_envelope(
            rows.data.rows,
            rows._response_of_rows,
            rows._y,
            rows._draw_new,
            rows._predictor(),
            rows._axis,
            groups,
            level,
            n_sim,
            seed,
            n_jobs,
            progress,
        )

    def _rows_by_count(self) -> EventCounts | None:
        from clusterglm.inference.diagnostics.frequencies import row_counts

        if not self.response.unbounded_counts:
            return None
        rows = self._written_out("a count of rows")
        return row_counts(rows._response_of_rows, rows._y, *rows._averaged_counts)

    @property
    def _averaged_counts(self) -> tuple[Array, Distribution, float | Array]:
        """Linear predictors of rows, and the distribution and scale of what is averaged over."""
        return self._eta_at(self._own), Gaussian(), 0.0

    # Tests by simulation ---------------------------------------------------------------------------------------------

    def dispersion_test(
        self,
        n_sim: int = 250,
        seed: int | np.random.SeedSequence | None = None,
        n_jobs: int = 1,
        progress: Progress = None,
    ) -> SimulationTest:
        """Test whether responses vary about their means as the family says, against simulations from the fit.

        The statistic is the sum of squared Pearson residuals, at the clusters' intercepts where the model has them:
        these are predicted (or, as fixed effects, estimated) anew from the responses of each simulation, so that
        nothing is favoured; coefficients and sigma stay.

        Parameters
        ----------
        n_sim : int
            Simulations; those of random effects draw new intercepts.
        seed : int or SeedSequence, optional
            The same seed gives the same p-value whatever `n_jobs`. By default fresh, and reported.
        n_jobs : int
            Threads; -1 for all processors.
        progress : bool or callable, optional
            True for a bar on the terminal; or a function of the simulations done and wanted.

        Returns
        -------
        SimulationTest
            `ratio` above 1: more variation than the model has. Prints as a sentence.

        Raises
        ------
        OptionError
            For binary responses, which have no dispersion of their own.
        """
        from clusterglm.inference.diagnostics.dispersion import against_simulations, pearson_sum, refuse_binary

        refuse_binary(self.data.rows, self.response)
        rows = self._written_out("a dispersion test")
        statistic = pearson_sum(rows.data.rows, rows._response_of_rows, rows._predictor())
        name = "Sum of squared Pearson residuals"
        return against_simulations(name, statistic, rows._y, rows._draw_new, n_sim, seed, n_jobs, progress)

    def zero_inflation_test(
        self,
        n_sim: int = 250,
        seed: int | np.random.SeedSequence | None = None,
        n_jobs: int = 1,
        progress: Progress = None,
    ) -> SimulationTest:
        """Test whether counts are 0 as often as in simulations from the fit.

        Parameters
        ----------
        n_sim, seed, n_jobs, progress
            As in `dispersion_test`.

        Returns
        -------
        SimulationTest
            `ratio` above 1: more zeros than the model has. Overdispersed counts have more zeros too.

        Raises
        ------
        OptionError
            For binomial responses.
        """
        from clusterglm.inference.diagnostics.dispersion import against_simulations, refuse_other_than_counts

        refuse_other_than_counts(self.response)
        rows = self._written_out("a test for zero inflation")
        return against_simulations(
            "Zeros",
            lambda y: float(np.count_nonzero(y == 0.0)),
            rows._y,
            rows._draw_new,
            n_sim,
            seed,
            n_jobs,
            progress,
        )

    # Calibration -----------------------------------------------------------------------------------------------------

    @with_alpha
    def calibration(self, groups: int = 10, kind: str | None = None, *, level: float = 0.95) -> Calibration:
        """Observed against predicted means, of the data that were fitted.

        Parameters
        ----------
        groups : int
            Groups of ascending predictions with about equal numbers of trials or counts.
        kind : "conditional", "marginal" or "typical", optional
            Predictions at the clusters' own intercepts; averages over all clusters (random effects); or those of a
            typical cluster, an intercept of zero. By default "marginal" for random effects where these means exist,
            since predicted intercepts are shrunken: even if the model holds, what is observed lies further out than
            "conditional" predictions. Otherwise "conditional" where clusters have intercepts, else "typical".
        level : float
            Coverage of the groups' intervals.

        Returns
        -------
        Calibration
            Groups with score intervals, slope and intercept of a recalibration in the model's link, Brier's score.

        Raises
        ------
        OptionError
            On another kind, or where marginal means do not exist.
        """
        from clusterglm.inference.diagnostics.calibration import calibrate

        kind = self._calibrated if kind is None else kind
        self._check_intercepts(kind, "kind")
        rows = self._written_out("calibration")
        mean, (response, variance) = rows._mean_at(kind), rows._calibration_by(kind)
        found = calibrate(rows.data.rows, response, mean, kind, groups, level, variance)
        return replace(found, response=self.response)

    def _calibration_by(self, kind: str) -> tuple[Response, Array | None]:
        """The response in whose link means are recalibrated, and the variance of rows where it is not this one's."""
        return self.response, None

    @property
    def _calibrated(self) -> str:
        """The intercepts of whose means calibration is worth a look."""
        return self._own

    def _mean_at(self, intercepts: str) -> Array:
        """In cluster order."""
        return np.asarray(self._response_of_rows.mean(self._eta_at(intercepts)))

    # Overview --------------------------------------------------------------------------------------------------------

    def check(self, seed: int | None = None, n_sim: int = 250) -> Diagnosis:
        """The quick checks, a line each: integrals, dispersion, zeros, influence, quantile residuals.

        Parameters
        ----------
        seed : int, optional
            By default fresh, and reported.
        n_sim : int
            Simulations of each test; there are none where weights are not whole numbers.

        Returns
        -------
        Diagnosis
            Prints as a short report. Tests are read at a p-value of 0.01, for there are several; fewer than 200
            simulations cannot reach it.
        """
        from clusterglm.inference.diagnostics.adequacy import Diagnosis, Finding, of_zeros

        given = seed_sequence(seed).entropy
        assert isinstance(given, int)  # of a whole number, or of None
        findings = self._own_findings()
        influence = self._influence_finding()
        if not self._counts.whole:
            words = "not tested: weights that are not whole numbers do not say how many rows to draw"
            return Diagnosis((*findings, influence, Finding("Others", None, words)), given)
        findings.append(
            self._dispersion_finding(n_sim, given)
        )  # each with the seed itself: the test alone says the same
        if self.response.zero_inflation:
            findings.append(of_zeros(self.zero_inflation_test(n_sim, given)))
        findings.append(influence)
        findings.append(self._uniformity_finding(np.random.default_rng(given)))
        return Diagnosis(tuple(findings), given)

    @property
    def _one_step(self) -> bool:
        """Whether the likelihood is a sum over clusters, so that one step goes without a cluster."""
        return True

    def _influence_finding(self) -> Finding:
        from clusterglm.inference.diagnostics.adequacy import Finding, of_influence

        if not self._one_step:
            words = 'no single step is possible with a penalty: influence("exact") fits again without each cluster'
            return Finding("Influence", None, words)
        alone = self.n_clusters < 2 and self.data.cluster_name is not None
        return of_influence(None if alone else self.influence())

    def _own_findings(self) -> list[Finding]:
        return []

    def _dispersion_finding(self, n_sim: int, seed: int) -> Finding:
        from clusterglm.inference.diagnostics.adequacy import Finding, of_dispersion

        if self.response.is_binary(self.data.rows.trials):
            return Finding("Dispersion", None, "binary responses have none beside their mean")
        return of_dispersion(self.dispersion_test(n_sim, seed))

    def _uniformity_finding(self, rng: np.random.Generator) -> Finding:
        from clusterglm.inference.diagnostics.adequacy import Finding, of_uniformity
        from clusterglm.inference.diagnostics.quantile_residuals import uniformity

        if self._own == "conditional" and self.n_obs < _SHORT * self.n_clusters:
            words = f"not tested: an intercept for every {self.n_obs / self.n_clusters:.3g} rows takes up their noise"
            return Finding("Residuals", None, words)
        z = self._written_out("quantile residuals")._residuals("quantile", self._own, 0, rng)
        return of_uniformity("quantile residuals", uniformity(ndtr(z)))
