"""What tables, files, plots and reports ask of a result: each kind answers for itself, and no other file for it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from clusterglm.data.effects import WholeDesign
from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array
from clusterglm.results.topics.caveats import Caveats

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.data.prepare import FittedData
    from clusterglm.inference.distribution.density import DensityBand
    from clusterglm.inference.distribution.event_counts import EventCounts
    from clusterglm.inference.hypotheses.comparison import Candidate
    from clusterglm.model.response.base import Response
    from clusterglm.results.topics.effect_rows import Beside


@dataclass(frozen=True)
class EffectsGivenData:
    """Several random effects of m clusters.

    Parameters
    ----------
    names : list of str, length q
    means : ndarray, shape (m, q)
        Given the clusters' data.
    covariances : ndarray, shape (m, q, q)
    covariance : ndarray, shape (q, q)
        Of the effects' distribution.
    """

    names: list[str]
    means: Array
    covariances: Array
    covariance: Array


class Pieces(Caveats):
    """Answers that hold for any kind of result until it has its own; where none claims nothing, it is abstract."""

    kind: ClassVar[str]
    _own_intercepts: ClassVar[bool] = False
    """Whether each cluster has an intercept that is not among the coefficients, or had one: conditioned out."""
    _given_totals: ClassVar[bool] = False
    """Whether the likelihood is that of the responses given each cluster's total."""
    _untested: ClassVar[str] = "likelihood ratios of such models have no known distribution"
    """Why there are no likelihood-ratio tests; empty where there are."""
    _simulates_no_clustering: ClassVar[bool] = False
    """Whether `test_clustering` can draw responses without cluster effects and fit again."""

    if TYPE_CHECKING:
        data: FittedData

        @property
        def response(self) -> Response: ...
        @property
        def loglik(self) -> float: ...
        @property
        def n_obs(self) -> int: ...

    @property
    def _response_of_rows(self) -> Response:
        """The response, with what is known of each of the rows in cluster order besides its linear predictor."""
        return self.response

    @property
    def _beside(self) -> Beside | None:
        """Columns of another linear predictor, or with coefficients at each threshold; None without any."""
        return None

    @property
    def _whole_design(self) -> WholeDesign:
        """The columns of all parts of the formulas, side by side."""
        whole = self.data.whole_design
        return whole if self._beside is None else replace(whole, beside=self._beside.design)

    @property
    def _fixed_design(self) -> WholeDesign:
        """Those whose coefficients do not vary."""
        return WholeDesign(self.data.design, None, beside=None if self._beside is None else self._beside.design)

    # In words --------------------------------------------------------------------------------------------------------

    @property
    def _in_words(self) -> str:
        """The model in a few words, without its link."""
        return self.kind.replace("_", " ")

    @property
    @abstractmethod
    def _intercepts_in_words(self) -> str:
        """What becomes of the clusters' intercepts, in a word or two; empty where clusters have no effect."""

    def _instead_of_error(self, row: Mapping[str, Any]) -> str:
        """What stands below an estimate that has no standard error to show, by its row of `tidy`; empty for others."""
        return ""

    # In files --------------------------------------------------------------------------------------------------------

    def _export(self) -> dict[str, Any]:
        """What plain values hold of this kind of result alone."""
        return {}

    # Beside others ---------------------------------------------------------------------------------------------------

    def _candidate(self, name: str) -> Candidate:
        """What a comparison needs to know."""
        from clusterglm.inference.hypotheses.comparison import Candidate

        return Candidate(
            name,
            self.data,
            self.response,
            self.loglik,
            self._untested,
            conditional=self._given_totals,
            within=self._own_intercepts,
            penalty=self.penalty,
        )

    def _comparison_notes(self, name: str) -> list[str]:
        """What to know of its place in a comparison, where it is called `name`."""
        if self.penalty is None:
            return []
        return [f"The log-likelihood, AIC and BIC of {name} are those at its penalised estimates, without the penalty."]

    @property
    def _short(self) -> bool:
        """Whether so few trials belong to each fixed intercept that likelihoods are not what they are elsewhere."""
        return False

    @property
    def _term_names(self) -> tuple[str, ...]:
        """Names of the coefficients that tables and plots show."""
        return self.data.names

    @property
    def _intercept_names(self) -> list[str]:
        """Which of them are intercepts."""
        return [] if self.data.intercept is None else [self.data.names[self.data.intercept]]

    @property
    def _term_headings(self) -> dict[str, tuple[str, str]]:
        """Of each of them the heading that it stands under, and what it is called there; empty without headings."""
        return {}

    @property
    def _reference_levels(self) -> dict[str, Any]:
        """Levels that others are compared with, by column."""
        return self.data.design.references

    def _rows_of_terms(self, table: pd.DataFrame) -> pd.DataFrame:
        """Their rows of a table of all parameters."""
        return table.iloc[: len(self.data.names)]

    # In pictures -----------------------------------------------------------------------------------------------------

    _drawn_outcomes: str | None = None
    """The name of what a row has several predictions of, such as categories; None where it has one."""

    def _by_outcome(self, predicted: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
        """Predictions with a row for each row of the data, a table for each outcome and its name."""
        return [("", predicted)]

    @property
    def _scale_words(self) -> dict[str, str]:
        """What scales of predictions are on an axis, where their names do not tell."""
        return {}

    @property
    def _profiled(self) -> str:
        """The parameter whose profile is looked at first."""
        return self._term_names[0]

    @property
    def _without_integrals(self) -> str:
        """The kind of fit whose likelihood has no integrals to look at, in words; empty where there are some."""
        return f"a {self.kind} fit"

    def _cluster_effects(self) -> dict[str, tuple[str, pd.DataFrame]]:
        """Effects of clusters by name: what each is, and the columns `label`, `estimate` and `std_error`."""
        return {}

    def _effects_given_data(self) -> EffectsGivenData:
        """What the data say of several effects of each cluster; asked where `_cluster_effects` names some."""
        raise NotImplementedError

    def _density_of_intercepts(self, points: int, level: float) -> DensityBand:
        """The density of the random intercept, with a band; refused in words where there is none."""
        raise OptionError(
            f"a density of the intercepts of a {self.kind} fit",
            "a random intercept for each cluster, with sigma above zero",
            "cg.random_effects(...) of one intercept",
        )

    def _clusters_by_events(self) -> EventCounts | None:
        """Observed and expected numbers of clusters by their events; None where their distribution is not known."""
        return None

    def _rows_by_count(self) -> EventCounts | None:
        """Observed and expected numbers of rows by their count; None of other responses, and without means."""
        return None

    # On a page -------------------------------------------------------------------------------------------------------

    @property
    def _finite(self) -> Any:
        """The result whose parameters are all finite, for tests and pictures; None where there is none."""
        return self

    @property
    def _rows_of_usual_cost(self) -> int:
        """How many rows of an ordinary fit a replicate of this one takes the time of."""
        return self.n_obs

    def _report_parts(self) -> list[str]:
        """The parts of a report that say something of this fit, as `report/sections.py` calls them."""
        return ["coefficients", "predictions"]
