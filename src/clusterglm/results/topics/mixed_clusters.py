"""What else follows a fit with several random effects: survival, tests; and what only one intercept has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError
from clusterglm.fit.mixed import MixedFit
from clusterglm.fit.pooled import PooledFit
from clusterglm.inference.hypotheses.clustering import ClusteringTest, likelihood_ratio, no_test
from clusterglm.results.topics.clustering import ClusteredResult
from clusterglm.results.topics.hausman import AgainstWithin
from clusterglm.results.topics.newdata import Rows, columns_with_effects
from clusterglm.results.topics.survival import Survival

if TYPE_CHECKING:
    from clusterglm.inference.hypotheses.bootstrap import Refit
    from clusterglm.inference.hypotheses.hausman import Estimates
    from clusterglm.inference.predictions.survival import SurvivalCurves

_ACCURATE = 1e-8  # error of a logarithm of survival that is no reason for a word
_SEVERAL = (
    "several parameters vanish at once where clusters do not differ, and the likelihood ratio then has no known "
    "distribution"
)


class MixedSurvival(Survival):
    """Survival curves averaged over several random effects."""

    if TYPE_CHECKING:
        fit: MixedFit

    def _complete(self, rows: Rows) -> None:
        columns_with_effects(self.fit.effects, rows)

    def _survival_curves(
        self, rows: Rows, at: NDArray[np.int64], begin: NDArray[np.int64], kind: str
    ) -> SurvivalCurves:
        from clusterglm.inference.predictions.mixed_mean import log_survival
        from clusterglm.inference.predictions.survival import SurvivalCurves

        fit = self.fit if kind == "marginal" else replace(self.fit, phi=np.zeros_like(self.fit.phi))
        Z = columns_with_effects(fit.effects, rows)
        found = log_survival(rows.X[at], Z[at], rows.offset[at], begin, fit)
        accurate = np.full(len(at), found.error <= _ACCURATE * max(1, len(at)))
        return SurvivalCurves(found.value, found.gradient, accurate)


class MixedHypotheses(AgainstWithin, ClusteredResult):
    """Tests of a model with several random effects."""

    if TYPE_CHECKING:
        fit: MixedFit

    @property
    def clustering_test(self) -> ClusteringTest:
        """Likelihood-ratio test of no differences between clusters, where there is one variance; see `test_clustering`.

        With several effects it says why there is none.
        """
        if self.fit.penalty is not None:
            return no_test("the penalty keeps the covariance of the random effects from 0")
        if self.fit.effects.covariance.n_parameters > 1:
            return no_test(_SEVERAL)
        return likelihood_ratio(self.loglik, float(self.fit.pooled.loglik))

    def _boundary_test(self) -> ClusteringTest:
        found = self.clustering_test
        if found.reason and self.fit.penalty is None:
            raise OptionError(
                'method="boundary" with several random effects',
                f"a covariance of one parameter: {_SEVERAL}",
                'method="bootstrap"; or cg.compare with the fit of (1 | id), for one effect more',
            )
        return found

    def _null(self) -> tuple[ModelData, PooledFit]:
        return self.data.rows, self.fit.pooled

    def _refit(self, pooled: PooledFit) -> Refit:
        from clusterglm.inference.hypotheses.bootstrap import mixed_refit

        return mixed_refit(self.fit)

    def _random_estimates(self) -> Estimates:
        from clusterglm.inference.hypotheses.hausman import mixed_estimates

        if not (self.fit.effects.Z.shape[1] == 1 and np.ptp(self.fit.effects.Z) == 0.0):
            several = len(self.fit.effects.groups) > 1
            kind = "random effects of several factors" if several else "random slopes"
            raise OptionError(
                f"a Hausman test of a model with {kind}",
                "intercepts alone that differ between clusters, as the models within clusters take them to",
                "the means of clusters as covariates, between(x) in the formula, and wald_test() of their coefficients",
            )
        return mixed_estimates(self.fit)


class OfOneIntercept:
    """What is known of a single random intercept alone, refused in words."""

    def _of_one(self, what: str, instead: str) -> NoReturn:
        raise OptionError(f"{what} of a model with several random effects", "one random intercept", instead)

    @property
    def sigma(self) -> NoReturn:
        """Of a single random intercept; several effects have `variance_components`.

        Raises
        ------
        OptionError
        """
        self._of_one("sigma", "fit.variance_components, which has the standard deviations of all effects")

    @property
    def sigma_se(self) -> NoReturn:
        """Of a single random intercept; several effects have `variance_components`.

        Raises
        ------
        OptionError
        """
        self._of_one("the standard error of sigma", "fit.variance_components")

    @property
    def random_effects_sd(self) -> NoReturn:
        """Of a single random intercept; several effects have `variance_components`.

        Raises
        ------
        OptionError
        """
        self._of_one("the standard deviation", "fit.variance_components, or by row fit.intraclass_correlation()")

    @property
    def icc(self) -> NoReturn:
        """Of a single random intercept; with several effects it depends on the row: `intraclass_correlation`.

        Raises
        ------
        OptionError
        """
        self._of_one("the intraclass correlation", "fit.intraclass_correlation(data), by row")

    @property
    def shape(self) -> None:
        """Shape parameters of the distribution: the normal one has none."""

    def interval_odds_ratio(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Of a single random intercept; several effects have `median_odds_ratio`, by row.

        Raises
        ------
        OptionError
        """
        self._of_one("an interval of odds ratios", "fit.median_odds_ratio(data), by row")

    def event_counts(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Of a single random intercept; several effects have `calibration` and `residual_envelope`.

        Raises
        ------
        OptionError
        """
        self._of_one("expected events per cluster", "fit.calibration() or fit.residual_envelope()")

    def chi_squared(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Of a single random intercept; several effects have `check` and `residual_envelope`.

        Raises
        ------
        OptionError
        """
        self._of_one("a chi-squared test of events per cluster", "fit.check() or fit.residual_envelope()")

    def gradient_function(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Of a single random intercept; the effects' posterior modes are in `random_effects`.

        Raises
        ------
        OptionError
        """
        self._of_one("the gradient function", "fit.random_effects and fit.plot.caterpillar()")
