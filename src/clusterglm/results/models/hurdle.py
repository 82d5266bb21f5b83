"""Results of counts with a hurdle: coefficients of counts that are not 0, and of the probability of a zero."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError
from clusterglm.fit.hurdle import HurdlePooledFit, HurdleRandomEffectsFit, hurdle_again, hurdle_pooled_again
from clusterglm.model.arrays import Array
from clusterglm.results.models.refusing import only
from clusterglm.results.models.zeros import (
    WORK,
    ZeroPooledResult,
    ZeroRandomEffectsResult,
    ZeroResult,
    no_inflation,
)
from clusterglm.results.topics.intervals import ProfileCurve
from clusterglm.results.topics.zero_sampling import HurdleInterceptSampling

if TYPE_CHECKING:
    from collections.abc import Callable

    from clusterglm.inference.diagnostics.influence import Deletion
    from clusterglm.inference.uncertainty.peaks import Summit

_OF_INFLATION = {"zero_inflation", "zero_inflation_lr_test"}


class HurdleResult(ZeroResult):
    """What results of counts with a hurdle share."""

    _headings: ClassVar[tuple[str, str]] = (
        "Counts that are not 0 (log of the mean before truncation)",
        "Zeros (log odds of y = 0)",
    )
    _poisson_in_words: ClassVar[str] = "truncated Poisson counts"
    _argument: ClassVar[str] = "hurdle"
    _mean_scales: ClassVar[tuple[str, ...]] = ("response", "count", "zero", "link")
    _scales = _mean_scales
    _words_of_scales: ClassVar[dict[str, str]] = {
        **ZeroResult._words_of_scales, "count": "Mean of counts that are not 0",
    }  # fmt: skip
    _silence: ClassVar[str] = "zeros alone, and no part in the estimates of counts"

    @property
    def hurdle(self) -> str:
        """The formula of zeros, without the response."""
        return self._second_formula

    def profile(self, parameter: str, to: float = 3.0, points: int = 13, threads: int = 1) -> ProfileCurve:
        """See `RandomEffectsResult.profile`: the parameters of the other part stay where they are."""
        found = super().profile(parameter, to, points, threads)
        return replace(found, loglik=self.loglik - 0.5 * found.root**2)

    @property
    def _in_words(self) -> str:
        return f"hurdle {super()._in_words.removeprefix('zero-inflated ')}"

    def _response_facts(self) -> list[tuple[str, str]]:
        words = f"{self.family} truncated at 0, {self.link}" + (f" ({self._inflated.meaning})" if self._k else "")
        data = self.data.rows
        times = data.weights * self._per_row(data.cluster_weights)
        passed, n = float(times[data.a > 0.0].sum()), float(times.sum())
        return [
            ("Family, link", words),
            ("Hurdle", f"{self.hurdle}, logit of P(y = 0): positive means more zeros"),
            ("Above 0", f"{passed:.10g} of {n:.10g} rows"),
        ]

    def _own_facts(self) -> list[tuple[str, str]]:
        return self._alpha_facts()

    def _glance(self) -> dict[str, Any]:
        return {"hurdle" if name == "zero_inflation" else name: value for name, value in super()._glance().items()}

    def _aligned(self, of_counts: Array, of_zeros: Array, by_row: bool) -> Array:
        """Scores of both parts, of all clusters or rows: 0 of counts where there are none."""
        data = self.data.rows
        place = (data.a if by_row else np.add.reduceat(data.a, data.starts[:-1])) > 0.0
        whole = np.zeros((len(of_zeros), of_counts.shape[1]))
        whole[place] = of_counts
        return np.column_stack([whole, of_zeros])


WORK_WITH_HURDLE = (WORK - _OF_INFLATION) | {"hurdle"}
"""Members that work."""
hurdle_only = only(WORK_WITH_HURDLE, no_inflation)


@hurdle_only
@dataclass(frozen=True, repr=False, eq=False)
class HurdlePooledResult(HurdleResult, ZeroPooledResult):  # type: ignore[misc]
    """A model of counts with a hurdle, without cluster effects."""

    fit: HurdlePooledFit

    def _again(self, new: ModelData) -> HurdlePooledFit:
        return hurdle_pooled_again(self.fit, new)

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.zeros import hurdle_pooled_deletion

        return hurdle_pooled_deletion(self.fit, self.data.rows)

    def _free_scores(self) -> tuple[Array, Array]:
        from clusterglm.inference.uncertainty.hurdle import hurdle_pooled_scores

        repeats = self._repeats.clusters
        repeats = repeats if self._clustered else self._repeats.rows * self._per_row(repeats)
        by_row = not self._clustered
        return self._aligned(*hurdle_pooled_scores(self.data.rows, self.fit, by_row=by_row), by_row), repeats

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.hurdle import hurdle_pooled_summit

        return hurdle_pooled_summit(self.data.rows, self.fit, threads)


@hurdle_only
@dataclass(frozen=True, repr=False, eq=False)
class HurdleRandomEffectsResult(HurdleInterceptSampling, HurdleResult, ZeroRandomEffectsResult):  # type: ignore[misc]
    """A model of counts with a hurdle, and a random intercept for each cluster in the counts that are not 0."""

    fit: HurdleRandomEffectsFit

    @property
    def pooled(self) -> HurdlePooledResult:
        """The fit of this model without its random intercepts."""
        return HurdlePooledResult(self.fit.pooled, self.data, self.fit.pooled.inflated)

    def _again(self, new: ModelData) -> HurdleRandomEffectsFit:
        return hurdle_again(self.fit, new)

    def _deletion(self) -> Deletion:
        from clusterglm.inference.diagnostics.zeros import hurdle_marginal_deletion

        return hurdle_marginal_deletion(self.fit, self.data.rows)

    def _predictor(self) -> Callable[[ModelData], Array]:
        from clusterglm.inference.diagnostics.zeros import hurdle_at_modes

        return hurdle_at_modes(self.fit)

    def _free_scores(self) -> tuple[Array, Array]:
        from clusterglm.inference.uncertainty.hurdle import hurdle_marginal_scores

        found = hurdle_marginal_scores(self.data.rows, self.fit)
        return self._aligned(*found, False), self._repeats.clusters

    def _summit(self, threads: int) -> Summit:
        from clusterglm.inference.uncertainty.hurdle import hurdle_marginal_summit

        return hurdle_marginal_summit(self.data.rows, self.fit, threads)

    def _written_out(self, what: str) -> Any:
        found = super()._written_out(what)
        if found is not self and "residuals" in what:
            raise OptionError(
                f"{what} of a fit with hurdle=, weights and random intercepts",
                "rows without weights: whose intercept belongs to which repeat is not known yet",
                "the table with its rows repeated",
            )
        return found
