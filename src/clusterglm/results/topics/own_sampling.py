"""What a posterior asks of a result whose response has parameters of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.errors import OptionError
from clusterglm.fit.own import own_of
from clusterglm.model.arrays import Array
from clusterglm.results.topics.newdata import Rows
from clusterglm.results.topics.sampling import InterceptSampling, Links

if TYPE_CHECKING:
    from clusterglm.fit.own import OwnRandomEffectsFit
    from clusterglm.model.response.base import Response
    from clusterglm.sample.effects import EffectDraws
    from clusterglm.sample.likelihoods import SampledLikelihood


class OwnSampling(InterceptSampling):
    """With one random intercept."""

    if TYPE_CHECKING:
        fit: OwnRandomEffectsFit

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.own import OwnLikelihood

        self._refuse_unsampled()
        return OwnLikelihood(self.fit)

    @property
    def _response_of_constants(self) -> Response:
        own = own_of(self.fit)
        return own.reads if own.at_limit is None else own.at_limit

    def _effect_draws(self, likelihood: Any) -> EffectDraws:
        from clusterglm.sample.own import OwnDraws

        return OwnDraws(likelihood)


class DurationsSampling(OwnSampling):
    """With survival times, whose mean moves with the shape."""

    def _links_of_draws(self, data: Any, kind: str) -> tuple[Rows, Links]:
        from clusterglm.inference.predictions.durations import mean_times

        rows, links = super()._links_of_draws(data, "typical" if kind == "marginal" else kind)
        if kind != "marginal":
            return rows, links

        def averaged_over(fit: Any, u: Any) -> Array:
            """The linear predictor of whom this is the mean time: -inf where there is none."""
            found = mean_times(links(fit, u), fit.response.k, fit.sigma, fit.distribution)
            return np.asarray(fit.response.k * (fit.response.log_mean_factor - found.value))

        return rows, averaged_over

    def _refuse_of_draws(self, kind: str, scale: str) -> None:
        if kind == "statistics" and bool(np.any(self.data.rows.a < 0.0)):
            raise OptionError(
                "means of drawn times beside those of data that are censored",
                "times that are all events, since draws are not censored",
                "fit.survival, whose curves know of censoring",
            )


class OrdinalSampling(OwnSampling):
    """With ordered categories, which have no mean."""

    def _refuse_of_draws(self, kind: str, scale: str) -> None:
        if kind in ("marginal", "statistics") or scale == "response":
            raise OptionError(
                f"{'statistics' if kind == 'statistics' else f'kind={kind!r} with scale={scale!r}'} of draws with "
                "ordered categories, which have no mean",
                "the linear predictor of a typical cluster, or of a known one",
                'scale="link" with kind="typical" or "conditional"; fit.predict for probabilities at the estimates',
            )
