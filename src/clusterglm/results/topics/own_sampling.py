"""What a posterior asks of a result whose response has parameters of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array
from clusterglm.results.topics.newdata import Rows
from clusterglm.results.topics.sampling import CrossedSampling, InterceptSampling, Links, Sampling, SeveralSampling

if TYPE_CHECKING:
    from clusterglm.fit.mixed import MixedFit
    from clusterglm.fit.own import OwnRandomEffectsFit
    from clusterglm.fit.own_mixed import OwnMixedFit
    from clusterglm.model.response.base import Response
    from clusterglm.model.response.own.base import OwnParameters
    from clusterglm.sample.effects import EffectDraws
    from clusterglm.sample.likelihoods import SampledLikelihood


class _Own(Sampling):
    """Of any effects."""

    if TYPE_CHECKING:

        @property
        def _family(self) -> OwnParameters: ...

    @property
    def _response_of_constants(self) -> Response:
        return self._family.of_constants


class OwnSampling(_Own, InterceptSampling):
    """With one random intercept."""

    if TYPE_CHECKING:
        fit: OwnRandomEffectsFit

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.own import OwnLikelihood

        self._refuse_unsampled()
        return OwnLikelihood(self.fit)

    def _effect_draws(self, likelihood: Any) -> EffectDraws:
        from clusterglm.sample.own import OwnDraws

        return OwnDraws(likelihood)


class OwnSeveralSampling(_Own, SeveralSampling):
    """With several random effects."""

    if TYPE_CHECKING:
        fit: OwnMixedFit

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.own_several import OwnEffectsLikelihood

        return OwnEffectsLikelihood(self.fit)

    def _effect_draws(self, likelihood: Any) -> EffectDraws:
        from clusterglm.sample.own_several import OwnSeveralDraws

        return OwnSeveralDraws(likelihood)

    def _averaged_of_draws(self, fit: MixedFit, X: Array, Z: Array, offset: Array) -> Array:
        from clusterglm.inference.predictions.normal_mean import normal_jet

        spread = np.linalg.norm(Z @ fit.factor, axis=1)
        return np.asarray(normal_jet(X @ fit.beta + offset, spread, fit.response).on_link(fit.response).mean)


class OwnCrossedSampling(OwnSeveralSampling, CrossedSampling):
    """With factors that cross."""

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.own_several import OwnCrossedLikelihood

        return OwnCrossedLikelihood(self.fit)

    def _effect_draws(self, likelihood: Any) -> EffectDraws:
        return CrossedSampling._effect_draws(self, likelihood)


class DurationsSampling(Sampling):
    """With survival times, whose mean moves with the shape."""

    if TYPE_CHECKING:
        fit: Any

    def _links_of_draws(self, data: Any, kind: str) -> tuple[Rows, Links]:
        from clusterglm.inference.predictions.durations import mean_times

        rows, links = super()._links_of_draws(data, "typical" if kind == "marginal" else kind)
        if kind != "marginal":
            return rows, links

        def averaged_over(fit: Any, u: Any) -> Array:
            """The linear predictor of whom this is the mean time: -inf where there is none."""
            at: Any = replace(self, fit=fit)  # type: ignore[type-var]  # all results are dataclasses
            frailty = at._frailty(rows, True)
            found = mean_times(links(fit, u), fit.response.k, frailty.sigma, frailty.distribution)
            return np.asarray(fit.response.k * (fit.response.log_mean_factor - found.value))

        return rows, averaged_over

    def _refuse_of_draws(self, kind: str, scale: str) -> None:
        if kind == "statistics" and bool(np.any(self.data.rows.a < 0.0)):
            raise OptionError(
                "means of drawn times beside those of data that are censored",
                "times that are all events, since draws are not censored",
                "fit.survival, whose curves know of censoring",
            )


class OrdinalSampling(Sampling):
    """With ordered categories, which have no mean."""

    def _refuse_of_draws(self, kind: str, scale: str) -> None:
        if kind in ("marginal", "statistics") or scale == "response":
            raise OptionError(
                f"{'statistics' if kind == 'statistics' else f'kind={kind!r} with scale={scale!r}'} of draws with "
                "ordered categories, which have no mean",
                "the linear predictor of a typical cluster, or of a known one",
                'scale="link" with kind="typical" or "conditional"; fit.predict for probabilities at the estimates',
            )
