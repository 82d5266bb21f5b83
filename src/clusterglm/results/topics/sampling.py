"""What a posterior asks of a result: its likelihood, draws of effects, rows to predict."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeAlias

import numpy as np

from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array
from clusterglm.results.topics.newdata import Rows, columns_with_effects, fitted_rows, new_rows
from clusterglm.results.topics.prediction import Wanted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clusterglm.data.prepare import FittedData, ModelData
    from clusterglm.fit.estimates import RandomEffectsFit
    from clusterglm.fit.mixed import MixedFit
    from clusterglm.inference.predictions.crossed_mean import Levels
    from clusterglm.likelihood.report import IntegrationReport
    from clusterglm.model.response.base import Response
    from clusterglm.results.topics.given_clusters import Known
    from clusterglm.sample.effects import EffectDraws
    from clusterglm.sample.likelihoods import SampledLikelihood
    from clusterglm.sample.target import Weights


_PLAIN = Wanted(None, "observed")

Links: TypeAlias = Callable[[Any, Any], Array]
EffectPlace: TypeAlias = "tuple[str, NDArray[Any], list[str], tuple[Any, Any]]"


class Sampling:
    """What a posterior asks of the result that it was sampled from; of most there is none."""

    if TYPE_CHECKING:
        kind: ClassVar[str]
        data: FittedData

        @property
        def response(self) -> Response: ...

    @property
    def _scales_of_draws(self) -> tuple[str, ...]:
        """What `predict` of draws has."""
        return ("response", "link")

    def sample(self, *_: Any, **__: Any) -> Any:
        """Draw from a posterior; this kind of result has none, and says so.

        Raises
        ------
        OptionError
        """
        self._refuse_sampling()

    def _refuse_sampling(self) -> NoReturn:
        raise OptionError(
            f"a posterior of a {self.kind} fit",
            "a marginal likelihood over random effects: nothing else is sampled from",
            "cg.random_effects(...).sample()",
        )

    def _sampled(self) -> SampledLikelihood:
        """The likelihood in the parameters that are sampled."""
        self._refuse_sampling()

    def _refuse_by_cluster(self, what: str) -> None:
        """Refuse what asks for likelihoods of single clusters, where there are none."""

    def _given_of_posterior(self, weights: Weights) -> list[tuple[str, str]]:
        """What a posterior is given, in words, where the likelihood is an approximation, or not that of the fit."""
        return []

    def _constants_of_clusters(self) -> Array:
        """What the log-likelihood of one of each cluster leaves out, shape (m,)."""
        from clusterglm.sample.likelihoods import constants_of_clusters

        return constants_of_clusters(self.data.rows, self._response_of_constants)

    @property
    def _response_of_constants(self) -> Response:
        """The response that the data's constants are those of."""
        return self.response

    def _effect_draws(self, likelihood: Any) -> EffectDraws:
        """How effects are drawn given these parameters."""
        self._refuse_sampling()

    def _effect_places(self) -> list[EffectPlace]:
        """Grouping factors, their labels, names of effects, and where these are among draws."""
        self._refuse_sampling()

    def _links_of_draws(self, data: Any, kind: str) -> tuple[Rows, Links]:
        """Rows to predict, and their linear predictors from a fit with other estimates and effects of clusters."""
        self._refuse_sampling()

    def _predicted_of_draws(self, data: Any, kind: str, scale: str) -> tuple[Rows, Links]:
        """Rows to predict, and what is predicted from a fit with other estimates and effects of clusters."""
        rows, links = self._links_of_draws(data, kind)
        if scale == "link":
            return rows, links
        return rows, lambda fit, u: np.asarray(fit.response.mean(links(fit, u)))

    def _refuse_of_draws(self, kind: str, scale: str) -> None:
        """Raise `OptionError` where draws have no such prediction, or (kind "statistics") sets no such statistics."""


class InterceptSampling(Sampling):
    """With one random intercept."""

    if TYPE_CHECKING:
        fit: RandomEffectsFit
        data: FittedData

        @property
        def _known_distribution(self) -> str: ...
        def _known(self, rows: Rows, history: ModelData | None, wanted: Wanted) -> Known: ...

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.likelihoods import InterceptLikelihood
        from clusterglm.sample.shapes import ShapedLikelihood

        self._refuse_unsampled()
        return InterceptLikelihood(self.fit) if self.fit.shape is None else ShapedLikelihood(self.fit)

    def _refuse_unsampled(self) -> None:
        """Raise `OptionError` where there is nothing to sample, or more than is sampled."""
        fit = self.fit
        if fit.shape is not None and fit.shape.family.smoothed:
            raise OptionError(
                f"a posterior of a smooth density of the intercepts ({fit.shape})",
                "a distribution with parameters, for the density is known by a penalty whose weight is chosen from the "
                "data",
                'distribution="student_t" or "gaussian_mixture", whose shapes are sampled',
            )
        if fit.sigma_fixed and fit.sigma == 0.0:
            raise OptionError(
                "a posterior with sigma held at 0", "a random intercept that varies", "fit without sigma=0"
            )

    def _effect_draws(self, likelihood: Any) -> EffectDraws:
        from clusterglm.sample.effects import InterceptDraws
        from clusterglm.sample.shapes import ShapedDraws

        return InterceptDraws(likelihood) if self.fit.shape is None else ShapedDraws(likelihood)

    def _effect_places(self) -> list[EffectPlace]:
        return [(str(self.data.cluster_name), self.data.rows.labels, ["(Intercept)"], (slice(None), slice(None)))]

    def _links_of_draws(self, data: Any, kind: str) -> tuple[Rows, Links]:
        from clusterglm.inference.predictions.marginal_mean import marginal_link

        rows = rows_to_predict(self.data, data)
        if kind == "conditional":
            codes = self._known(rows, None, _PLAIN).codes
            return rows, lambda fit, u: rows.eta(fit.beta) + u[codes, 0]
        if kind == "typical":
            return rows, lambda fit, u: rows.eta(fit.beta)

        def averaged_over(fit: RandomEffectsFit, u: Any) -> Array:
            eta = rows.eta(fit.beta)
            known = np.flatnonzero(rows.status.ok)
            eta[known] = marginal_link(eta[known], fit.sigma, fit.response, fit.distribution).link
            return eta

        return rows, averaged_over


class SeveralSampling(Sampling):
    """With several random effects."""

    if TYPE_CHECKING:
        fit: MixedFit
        data: FittedData

        @property
        def _known_distribution(self) -> str: ...
        def _known(self, rows: Rows, history: ModelData | None, wanted: Wanted) -> Known: ...
        def _levels(self) -> dict[str, NDArray[Any]]: ...
        def _effects_of(self, group: str | None) -> tuple[list[str], slice]: ...

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.likelihoods import EffectsLikelihood

        return EffectsLikelihood(self.fit)

    def _effect_draws(self, likelihood: Any) -> EffectDraws:
        from clusterglm.sample.effects import SeveralDraws

        return SeveralDraws(likelihood)

    def _effect_places(self) -> list[EffectPlace]:
        from clusterglm.inference.predictions.mixed_modes import firsts_of

        found: list[EffectPlace] = []
        rows = self.data.rows
        for group, labels in self._levels().items():
            names, where = self._effects_of(group)
            every = len(labels) == len(rows.innermost) - 1
            found.append((group, labels, names, (slice(None) if every else firsts_of(rows.innermost_clusters), where)))
        return found

    def _links_of_draws(self, data: Any, kind: str) -> tuple[Rows, Links]:
        rows = rows_to_predict(self.data, data)
        if kind == "typical":
            return rows, lambda fit, u: rows.eta(fit.beta)
        Z = columns_with_effects(self.fit.effects, rows)
        if kind == "conditional":
            codes, z = self._known(rows, None, _PLAIN).codes, np.nan_to_num(Z)
            return rows, lambda fit, u: rows.eta(fit.beta) + np.einsum("ij,ij->i", z, u[codes])

        known = np.flatnonzero(rows.status.ok)

        def averaged_over(fit: MixedFit, u: Any) -> Array:
            eta = rows.eta(fit.beta)
            eta[known] = self._averaged_of_draws(fit, rows.X[known], Z[known], rows.offset[known])
            return eta

        return rows, averaged_over

    def _averaged_of_draws(self, fit: MixedFit, X: Array, Z: Array, offset: Array) -> Array:
        """Links of means over the distribution of effects."""
        from clusterglm.inference.predictions.mixed_mean import averaged, on_link

        return on_link(averaged(X, Z, offset, fit), fit.response)[0]


class CrossedSampling(SeveralSampling):
    """With factors that cross: draws of effects are those of all levels of all factors, one after another."""

    if TYPE_CHECKING:

        @property
        def quadrature(self) -> IntegrationReport: ...
        def _levels_of(self, rows: Rows, kind: str, wanted: Wanted) -> Levels: ...

    def _sampled(self) -> SampledLikelihood:
        from clusterglm.sample.crossed import CrossedLikelihood

        return CrossedLikelihood(self.fit)

    def _effect_draws(self, likelihood: Any) -> EffectDraws:
        from clusterglm.sample.crossed import CrossedDraws

        return CrossedDraws(likelihood)

    def _effect_places(self) -> list[EffectPlace]:
        found: list[EffectPlace] = []
        first = 0
        for group, labels in self._levels().items():
            names, _ = self._effects_of(group)
            last = first + len(names) * len(labels)
            found.append((group, labels, names, (0, slice(first, last))))
            first = last
        return found

    def _links_of_draws(self, data: Any, kind: str) -> tuple[Rows, Links]:
        if kind != "conditional":
            return super()._links_of_draws(data, kind)
        rows, effects = rows_to_predict(self.data, data), self.fit.effects
        levels = self._levels_of(rows, kind, _PLAIN)
        Z, d = np.nan_to_num(columns_with_effects(effects, rows)), effects.n_upper
        own = levels.units[:, None] * d + np.arange(d)
        places = np.hstack([own, self.data.rows.n_clusters * d + levels.columns])
        return rows, lambda fit, u: rows.eta(fit.beta) + np.einsum("ij,ij->i", Z, u[0, places])

    def _refuse_by_cluster(self, what: str) -> None:
        raise OptionError(
            f"{what} in a model with crossed random effects",
            "clusters that are independent, which levels of crossed factors are not",
            "another fit, and a likelihood ratio by simulation (cg.bootstrap_test)",
        )

    def _given_of_posterior(self, weights: Weights) -> list[tuple[str, str]]:
        outside = self.quadrature.outside
        others = " and ".join(repr(each.group) for each in self.fit.effects.outside)
        words = f"Laplace's approximation over the effects of {others}"
        if outside is None or not outside.applied:
            return [("Given", f"{words}, of unknown error")]
        return [
            ("Given", f"{words}, corrected by importance sampling ({outside.draws:,} draws)"),
            (
                "Weights",
                f"importance weights by these, of draws: their logs vary by {weights.spread:.1g} (errors up to "
                f"{weights.error:.1g}), they are worth {weights.share:.0%} as many",
            ),
        ]


def rows_to_predict(fitted: FittedData, data: Any) -> Rows:
    """Those of new data, or those that were fitted."""
    return fitted_rows(fitted.rows) if data is None else new_rows(fitted, data)
