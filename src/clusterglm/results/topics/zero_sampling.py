"""What a posterior asks of a result of counts whose zeros have a linear predictor."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.model.arrays import Array
from clusterglm.results.topics.newdata import Rows, fitted_rows, new_rows
from clusterglm.results.topics.own_sampling import OwnCrossedSampling, OwnSampling, OwnSeveralSampling
from clusterglm.results.topics.sampling import Links, Sampling

if TYPE_CHECKING:
    from clusterglm.data.prepare import ModelData
    from clusterglm.model.response.zeros.inflated import ZeroInflated
    from clusterglm.sample.effects import EffectDraws
    from clusterglm.sample.likelihoods import SampledLikelihood


class ZeroSampling(Sampling):
    """With any effects."""

    if TYPE_CHECKING:

        @property
        def _inflated(self) -> ZeroInflated: ...
        @property
        def _zero(self) -> ModelData: ...

    @property
    def _scales_of_draws(self) -> tuple[str, ...]:
        return tuple(self._inflated.scales)

    def _predicted_of_draws(self, data: Any, kind: str, scale: str) -> tuple[Rows, Links]:
        from clusterglm.inference.predictions.zeros import Predictors, predicted

        averaged = kind == "marginal"
        rows, links = self._links_of_draws(data, "typical" if averaged else kind)
        zero = fitted_rows(self._zero) if data is None else new_rows(self._zero, data)
        rows.status.refuse(~zero.status.ok, zero.status.text)

        def of(fit: Any, u: Any) -> Array:
            at: Any = replace(self, fit=fit)  # type: ignore[type-var]  # all results are dataclasses
            beta, spread, zeros = at._split(at._theta, rows)
            shift = links(fit, u) - rows.eta(beta)
            there = Predictors(rows.X, rows.offset, shift, zero.X, averaged)
            return predicted(fit.inflated.scales[scale], there, beta, spread, zeros)

        return rows, of

    def _constants_of_clusters(self) -> Array:
        """None: these likelihoods are normalised."""
        return np.zeros(self.data.rows.n_clusters)


class ZeroInterceptSampling(ZeroSampling, OwnSampling):
    """With one random intercept and inflation."""

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.zeros import ZeroLikelihood

        self._refuse_unsampled()
        return ZeroLikelihood(self.fit)  # type: ignore[arg-type]  # of such counts


class ZeroSeveralSampling(ZeroSampling, OwnSeveralSampling):
    """With several random effects and inflation."""

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.zeros import ZeroEffectsLikelihood

        return ZeroEffectsLikelihood(self.fit)  # type: ignore[arg-type]  # of such counts


class ZeroCrossedSampling(ZeroSampling, OwnCrossedSampling):
    """With factors that cross and inflation."""

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.zeros import ZeroCrossedLikelihood

        return ZeroCrossedLikelihood(self.fit)  # type: ignore[arg-type]  # of such counts


class HurdleInterceptSampling(ZeroInterceptSampling):
    """With one random intercept of the counts that have passed a hurdle."""

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.likelihoods import InterceptLikelihood
        from clusterglm.sample.own import OwnLikelihood
        from clusterglm.sample.zeros import HurdleLikelihood

        self._refuse_unsampled()
        fit: Any = self.fit
        made = OwnLikelihood if self._inflated.dispersed else InterceptLikelihood
        return HurdleLikelihood(fit, made(fit.counts))

    def _effect_draws(self, likelihood: Any) -> EffectDraws:
        from clusterglm.sample.effects import InterceptDraws
        from clusterglm.sample.own import OwnDraws
        from clusterglm.sample.zeros import HurdleDraws

        made = OwnDraws if self._inflated.dispersed else InterceptDraws
        return HurdleDraws(likelihood, made(likelihood.counts))


class HurdleSeveralSampling(ZeroSeveralSampling):
    """With several random effects of these."""

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.likelihoods import EffectsLikelihood
        from clusterglm.sample.own_several import OwnEffectsLikelihood
        from clusterglm.sample.zeros import HurdleLikelihood

        fit: Any = self.fit
        made = OwnEffectsLikelihood if self._inflated.dispersed else EffectsLikelihood
        return HurdleLikelihood(fit, made(fit.counts))


class HurdleCrossedSampling(ZeroCrossedSampling):
    """With random effects of these, of factors that cross."""

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.crossed import CrossedLikelihood
        from clusterglm.sample.own_several import OwnCrossedLikelihood
        from clusterglm.sample.zeros import HurdleLikelihood

        fit: Any = self.fit
        made = OwnCrossedLikelihood if self._inflated.dispersed else CrossedLikelihood
        return HurdleLikelihood(fit, made(fit.counts))

    def _effect_draws(self, likelihood: Any) -> EffectDraws:
        from clusterglm.sample.crossed import CrossedDraws
        from clusterglm.sample.zeros import HurdleCrossedDraws

        return HurdleCrossedDraws(likelihood, CrossedDraws(likelihood.counts))
