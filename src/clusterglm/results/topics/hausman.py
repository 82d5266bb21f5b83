"""The Hausman test: whether random intercepts have something to do with the covariates."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from clusterglm.data.repeats import repeats_of
from clusterglm.errors import check_option
from clusterglm.results.topics.testing import Hypotheses

if TYPE_CHECKING:
    from clusterglm.fit.estimates import RandomEffectsFit
    from clusterglm.inference.hypotheses.hausman import Estimates, HausmanTest
    from clusterglm.results.models.conditional import ConditionalResult
    from clusterglm.results.models.fixed_effects import FixedEffectsResult


class AgainstWithin(Hypotheses):
    """A result that can be held against one of comparisons within clusters."""

    def hausman(self, other: ConditionalResult | FixedEffectsResult | None = None, cov: str = "joint") -> HausmanTest:
        """Compare the coefficients with those of a model that allows the intercepts to depend on the covariates.

        Random intercepts are taken to be independent of the covariates, with a distribution that is right; if either
        fails, these coefficients and those from comparisons within clusters differ by more than chance.

        Parameters
        ----------
        other : ConditionalResult or FixedEffectsResult, optional
            A fit to the same data; by default the conditional one is made (logit and Poisson).
        cov : {"joint", "difference"}
            Covariance of the difference: from each cluster's contribution to both estimates, which holds whether or not
            the model is right; or covariance of the within-cluster estimates less that of the random-effects ones,
            which need not be positive: what is not is left out, and the rank said.

        Returns
        -------
        HausmanTest
            `statistic`, `df`, `pvalue`, `names`, `difference`, ...; prints as a sentence.

        Raises
        ------
        OptionError
            On another kind of fit, or where no conditional likelihood exists: probit and cloglog need `other`.
        DataError
            When `other` was fitted to other data, or no coefficient is identified within clusters.

        References
        ----------
        Hausman, Econometrica 46, 1978; Tchetgen Tchetgen and Coull, Biometrika 93, 2006.
        """
        from clusterglm.inference.hypotheses.hausman import hausman_test, within_estimates, within_model

        check_option("cov", cov, ("joint", "difference"))
        data, response = self.data.rows, self.response
        own = self._random_estimates()
        model = within_model(data, response) if other is None else within_estimates(other, data, response)
        return hausman_test(own, model, repeats_of(data).clusters, cov)

    @abstractmethod
    def _random_estimates(self) -> Estimates:
        """The coefficients, and each cluster's contribution to them."""


class RandomEffectsHypotheses(AgainstWithin):
    """Tests of a random-intercept model."""

    if TYPE_CHECKING:
        fit: RandomEffectsFit

    def _random_estimates(self) -> Estimates:
        from clusterglm.inference.hypotheses.hausman import random_estimates

        return random_estimates(self.fit, self.data.rows)
