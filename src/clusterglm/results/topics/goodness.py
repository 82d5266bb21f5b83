"""What a random-intercept result says of its distribution: events per cluster, chi-squared, gradient function."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.model.arguments import is_whole
from clusterglm.model.workers import Progress
from clusterglm.results.models.weighted import Weighted

if TYPE_CHECKING:
    from clusterglm.inference.distribution.event_counts import EventCounts
    from clusterglm.inference.distribution.goodness import GoodnessOfFit
    from clusterglm.inference.distribution.gradient_function import GradientTest


class RandomEffectsGoodness(Weighted):
    """Whether the fitted distribution of intercepts agrees with the data."""

    if TYPE_CHECKING:
        fit: RandomEffectsFit

    def event_counts(self) -> EventCounts:
        """Observed and expected numbers of clusters by their number of events.

        Returns
        -------
        EventCounts
            `events`, `observed`, `expected`; `to_frame()` is the table.

        Raises
        ------
        DataError
            When responses are not whole numbers of events.
        OptionError
            Where weights are not whole numbers.
        """
        from clusterglm.inference.distribution.goodness import fitted_counts

        rows = self._written_out("a count of events per cluster")
        return fitted_counts(rows.data.rows, rows.fit)

    def chi_squared(
        self,
        n_boot: int = 999,
        seed: int | np.random.SeedSequence | None = None,
        n_jobs: int = 1,
        progress: Progress = None,
        least_expected: float = 1.0,
    ) -> GoodnessOfFit:
        """Chi-squared comparison of observed and expected numbers of events per cluster, by parametric bootstrap.

        Parameters
        ----------
        n_boot : int
            Data sets that are simulated from the fit, with new intercepts, and fitted again; 0 for the statistic alone.
        seed : int or SeedSequence, optional
            The same seed gives the same p-value whatever `n_jobs`. By default fresh, and reported.
        n_jobs : int
            Threads; -1 for all processors.
        progress : bool or callable, optional
            True for a bar on the terminal; or a function of the replicates done and wanted. Ctrl-C gives the test from
            what was done.
        least_expected : float
            Neighbouring numbers of events are pooled, from 0 upwards, until a cell expects at least so many clusters;
            by default 1. Each replicate is pooled by its own expectations.

        Returns
        -------
        GoodnessOfFit
            `statistic`, `pvalue`, the pooled cells in `table`, the failed replicates; prints as sentences.

        Raises
        ------
        DataError
            When responses are not whole numbers of events.
        OptionError
            On a number of replicates, seed or `least_expected` that cannot be used, or weights that are not whole
            numbers.
        """
        from clusterglm.inference.distribution.goodness import goodness_of_fit

        rows = self._written_out("a chi-squared criterion")
        return goodness_of_fit(rows.data.rows, rows.fit, least_expected, n_boot, seed, n_jobs, progress)

    @with_alpha
    def gradient_function(
        self,
        n_boot: int = 199,
        seed: int | np.random.SeedSequence | None = None,
        n_jobs: int = 1,
        progress: Progress = None,
        grid: ArrayLike | None = None,
        statistic: str = "integral",
        *,
        level: float = 0.95,
    ) -> GradientTest:
        """Where the data want more, or fewer, intercepts than the fitted distribution has; and a test of it.

        Parameters
        ----------
        n_boot : int
            Data sets that are simulated from the fit, with new intercepts, and fitted again; 0 for the function alone.
        seed : int or SeedSequence, optional
            The same seed gives the same p-value whatever `n_jobs`. By default fresh, and reported.
        n_jobs : int
            Threads; -1 for all processors.
        progress : bool or callable, optional
            True for a bar on the terminal; or a function of the replicates done and wanted. Ctrl-C gives the test from
            what was done.
        grid : array_like, shape (g,), optional
            Values of the intercept, ascending; by default 61 quantiles of the fitted distribution, 0.1% to 99.9%.
        statistic : {"integral", "supremum"}
            The integral of the squared function over the fitted distribution; or its largest distance from the mean
            of data and replicates, in their standard deviations at each value.
        level : float
            Coverage of the bands.

        Returns
        -------
        GradientTest
            `intercept`, `gradient`, `pvalue`; `to_frame()` with pointwise and simultaneous bands of the function where
            the model holds. Prints as a verdict.

        Raises
        ------
        OptionError
            Where the maximum lies at sigma = 0, and on options that cannot be used; replicates where weights are not
            whole numbers.

        Notes
        -----
        Verbeke and Molenberghs, Biostatistics 14, 2013; Drikvandi, Verbeke and Molenberghs, Biometrics 73, 2017. The
        supremum of the function for the best of all distributions, `cg.nonparametric`, is zero.
        """
        from clusterglm.inference.distribution.gradient_function import gradient_test

        values = None if grid is None else np.asarray(grid)
        rows = self if is_whole(n_boot) and n_boot == 0 else self._written_out("a test of the gradient function")
        return gradient_test(rows.data.rows, rows.fit, n_boot, seed, n_jobs, progress, values, statistic, level)
