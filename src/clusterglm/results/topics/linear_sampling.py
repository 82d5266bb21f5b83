"""What a posterior asks of a linear mixed model, whose effects are normal given parameters and data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import OptionError
from clusterglm.inference.predictions.gaussian import known_effects
from clusterglm.model.arrays import Array
from clusterglm.results.topics.newdata import Rows, columns_with_effects
from clusterglm.results.topics.prediction import Wanted
from clusterglm.results.topics.sampling import EffectPlace, Links, Sampling, rows_to_predict

if TYPE_CHECKING:
    from clusterglm.data.prepare import FittedData
    from clusterglm.fit.gaussian import GaussianFit
    from clusterglm.sample.effects import EffectDraws
    from clusterglm.sample.likelihoods import SampledLikelihood
    from clusterglm.sample.linear import LinearLikelihood
    from clusterglm.sample.target import Weights

_PLAIN = Wanted(None, "observed")


@dataclass(frozen=True)
class LinearDraws:
    """Effects of all levels at once, by conditioning draws of the model (Hoffman and Ribak, ApJ 380, 1991).

    Effects and responses drawn from the model, plus what the difference from the responses that were seen says of
    effects, have the distribution of effects given these, across all factors.
    """

    of: LinearLikelihood

    def draw(self, theta: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """See `EffectDraws`: shape (most levels of a factor, q), nan below the levels of each; with no error."""
        fit = self.of.fit_at(theta)
        data, effects, L = fit.data, fit.effects, fit.factor
        groupings = effects.groupings
        columns = [factor.columns for factor in self.of.fit.task.statistics.factors]
        drawn = np.full((max(len(levels.labels) for levels in groupings), effects.Z.shape[1]), np.nan)
        made = np.zeros(data.n_obs)
        for levels, some in zip(groupings, columns, strict=True):
            u = rng.standard_normal((len(levels.labels), len(some))) @ L[np.ix_(some, some)].T
            drawn[: len(u), some] = u
            made += np.einsum("ij,ij->i", effects.Z[:, some], u[levels.codes])
        made += fit.residual_sd * rng.standard_normal(data.n_obs) / np.sqrt(data.weights)
        known = known_effects(replace(fit, data=replace(data, a=data.a - data.weights * made)))
        for mean, some in zip(known.means, columns, strict=True):
            drawn[: len(mean), some] += mean
        return drawn, 0.0


class LinearSampling(Sampling):
    """With normal responses."""

    if TYPE_CHECKING:
        fit: GaussianFit
        data: FittedData

        @property
        def reml(self) -> bool: ...
        def _effects_of(self, group: str | None) -> tuple[list[str], slice]: ...
        def _levels_of(self, rows: Rows, wanted: Wanted) -> list[NDArray[np.int64]]: ...

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.linear import LinearLikelihood

        return LinearLikelihood(self.fit)

    def _given_of_posterior(self, weights: Weights) -> list[tuple[str, str]]:
        return [("Likelihood", "the full one, not the restricted one of the fit")] if self.reml else []

    def _effect_draws(self, likelihood: Any) -> EffectDraws:
        return LinearDraws(likelihood)

    def _effect_places(self) -> list[EffectPlace]:
        found: list[EffectPlace] = []
        for levels in self.fit.effects.groupings:
            names, where = self._effects_of(levels.group)
            found.append((levels.group, levels.labels, names, (slice(0, len(levels.labels)), where)))
        return found

    def _links_of_draws(self, data: Any, kind: str) -> tuple[Rows, Links]:
        rows = rows_to_predict(self.data, data)
        if kind != "conditional":  # the average over effects is that at effects of zero
            return rows, lambda fit, u: rows.eta(fit.beta)
        z, codes = np.nan_to_num(columns_with_effects(self.fit.effects, rows)), self._levels_of(rows, _PLAIN)
        columns = [factor.columns for factor in self.fit.task.statistics.factors]

        def at_effects(fit: GaussianFit, u: Any) -> Array:
            eta = rows.eta(fit.beta)
            for some, code in zip(columns, codes, strict=True):
                eta = eta + np.where(code >= 0, np.einsum("ij,ij->i", z[:, some], u[np.ix_(code, some)]), 0.0)
            return eta

        return rows, at_effects

    def _refuse_by_cluster(self, what: str) -> None:
        crossed = [levels.group for levels in self.fit.effects.groupings if not levels.nested]
        if crossed:
            raise OptionError(
                f"{what} where {', '.join(map(repr, crossed))} cross them",
                "a likelihood that is a product over clusters",
                "posterior.predictive_statistics(), or factors that lie in clusters",
            )
