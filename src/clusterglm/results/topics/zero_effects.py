"""Effects on counts whose zeros have a linear predictor: on their mean, and on the probability of a zero; tests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.errors import check_option
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.model.response.binomial_logit import BinomialLogit
from clusterglm.model.response.poisson_log import PoissonLog
from clusterglm.model.response.zeros.inflated import PREFIX, ZeroInflated

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.design_changes import DesignChange
    from clusterglm.inference.effects.average_effects import AverageEffects
    from clusterglm.inference.effects.zero_average import BothParts
    from clusterglm.inference.hypotheses.comparison import Candidate
    from clusterglm.results.models.own import OwnResult as Base
    from clusterglm.results.topics.effect_rows import Beside, EffectRows
    from clusterglm.results.topics.newdata import Rows
else:
    Base = object

_PROBABILITIES = ("zero", "excess")


class ZeroEffects(Base):
    """What follows from the estimates of both linear predictors."""

    _mean_kinds: ClassVar[tuple[str, ...]] = ("marginal", "typical")
    _mean_scales: ClassVar[tuple[str, ...]] = ("response", "count", "zero", "excess", "link")
    _words_of_scales: ClassVar[dict[str, str]] = {
        "response": "Mean count", "count": "Mean of counts that are no zeros for certain",
        "zero": "Probability of a zero", "excess": "Probability of a zero for certain",
        "link": "Linear predictor of counts",
    }  # fmt: skip

    if TYPE_CHECKING:
        fit: Any

        @property
        def _inflated(self) -> ZeroInflated: ...
        @property
        def _zero(self) -> ModelData: ...
        @property
        def _k(self) -> int: ...
        @property
        def _zero_table(self) -> tuple[Array, Array, Array]: ...
        @property
        def _headings(self) -> tuple[str, str]: ...
        @property
        def _untested_at_ends(self) -> str: ...
        def _covariance_of_predictions(self, cov: str) -> Array: ...
        def _mean_rows(self, table: Any, kind: str) -> EffectRows: ...
        def _effects_over(self, *of: Any) -> pd.DataFrame: ...

    # Averages --------------------------------------------------------------------------------------------------------

    @property
    def _beside(self) -> Beside:
        from clusterglm.results.topics.effect_rows import Beside
        from clusterglm.results.topics.newdata import new_rows

        def mark(rows: Rows, frame: Any) -> None:
            more = new_rows(self._zero, frame)
            rows.status.refuse(~more.status.ok, more.status.text)

        return Beside(self._zero.design, lambda: self._zero.X, mark)

    def _words_on(self, scale: str) -> str:
        return self._scale_words[scale].lower()

    @property
    def _scale_words(self) -> dict[str, str]:
        return {scale: words for scale, words in self._words_of_scales.items() if scale in self._inflated.scales}

    def _response_on(self, scale: str) -> Response:
        return BinomialLogit() if scale in _PROBABILITIES else PoissonLog()

    @property
    def _both(self) -> BothParts:
        """Estimates of both parts; of a pooled model without effects of clusters."""
        return self._parts_with(np.zeros((1, 1)), np.zeros((0, 1, 1)), one_intercept=True)

    def _parts_with(self, factor: Array, slopes: Array, *, one_intercept: bool) -> BothParts:
        from clusterglm.inference.effects.zero_average import BothParts

        values, k = self._values, self._k
        alpha = float(values[0]) if k else None
        return BothParts(self._beta, np.maximum(values[k:], -700.0), factor, slopes, one_intercept, alpha)

    def _averaged(
        self, changes: Collection[DesignChange], rows: EffectRows, kind: str, cov: str, *, scale: str = "response"
    ) -> AverageEffects:
        from clusterglm.inference.effects.zero_average import averages_of_both

        both, V = self._both, self._covariance_of_predictions(cov)
        if kind == "typical":
            both = replace(both, factor=0.0 * both.factor, slopes=0.0 * both.slopes)
        return averages_of_both(changes, self._inflated, scale, both, rows.offset, rows.weights, V)

    @with_alpha
    def average_effects(
        self,
        variables: str | Sequence[str] | None = None,
        kind: str = "marginal",
        *,
        by: str | Sequence[str] | None = None,
        comparison: str = "difference",
        level: float = 0.95,
        data: Any = None,
        cov: str = "observed",
        scale: str = "response",
    ) -> pd.DataFrame:
        """Average changes of the mean, or of P(y = 0), when a variable of either formula changes.

        Parameters
        ----------
        variables : str or sequence of str, optional
            Columns of the data; by default all that either formula uses. A variable moves both linear predictors
            wherever it stands.
        kind : {"marginal", "typical"}
            Averaged over the distribution of the random effects; or at random effects of zero.
        by, comparison, level, data, cov
            As in `PooledResult.average_effects`. Odds ratios, "lnor", are of probabilities.
        scale : {"response", "count", "zero", "excess", "link"}
            Of what: the mean; the mean of counts that are no zeros for certain, or have passed the hurdle; P(y = 0);
            P(a zero for certain), of zero inflation; or the linear predictor of counts.

        Returns
        -------
        DataFrame
            As `PooledResult.average_effects`.

        Raises
        ------
        OptionError
            On another kind, comparison or scale, or a variable that neither formula uses.
        DataError
            Where `data` is needed, or does not do.

        Notes
        -----
        Standard errors by the delta method in all estimates, those of both parts and of the random effects'
        distribution.
        """
        check_option("kind", kind, self._mean_kinds)
        check_option("scale", scale, self._mean_scales)
        check_option("cov", cov, self._covariances)
        check_level(level)
        return self._effects_over(
            variables, kind, by, comparison, level, cov, lambda: (self._mean_rows(data, kind), ""), scale
        )

    @with_alpha
    def ratios(self, *, level: float = 0.95, cov: str = "observed") -> pd.DataFrame:
        """Exponentials of the coefficients: rate ratios of counts, and odds ratios of a zero.

        Parameters
        ----------
        level, cov
            As in `PooledResult.ratios`.

        Returns
        -------
        DataFrame
            As there: `kind` is "rate ratio" of coefficients of counts, "odds ratio" of those of zeros.
        """
        import pandas as pd

        from clusterglm.inference.effects.ratios import exponentiated, ratio_names
        from clusterglm.results.tables.frame import shown

        ratio, baseline = ratio_names(BinomialLogit())
        values, errors = self._zero_table[0], self._own_errors(cov)[self._k :]
        found = exponentiated(values, errors, level)
        kinds = [baseline if j == self._zero.intercept else ratio for j in range(len(values))]
        of_zeros = {
            "term": list(self._names_of_zeros), "kind": kinds, "estimate": found.estimate,
            "std_error": found.std_error, "conf_low": found.low, "conf_high": found.high,
        }  # fmt: skip
        of_counts = super().ratios(level=level, cov=cov)
        return shown(pd.concat([of_counts, pd.DataFrame(of_zeros)], ignore_index=True))

    # Terms of both parts ---------------------------------------------------------------------------------------------

    @property
    def _names_of_zeros(self) -> tuple[str, ...]:
        return self._inflated.own[self._k :]

    @property
    def _term_names(self) -> tuple[str, ...]:
        return (*super()._term_names, *self._names_of_zeros)

    @property
    def _intercept_names(self) -> list[str]:
        zero = self._zero
        own = [] if zero.intercept is None else [PREFIX + zero.names[zero.intercept]]
        return [*super()._intercept_names, *own]

    @property
    def _term_headings(self) -> dict[str, tuple[str, str]]:
        of_counts, of_zeros = self._headings
        zeros = zip(self._names_of_zeros, self._zero.names, strict=True)
        return {name: (of_counts, name) for name in self.data.names} | {
            whole: (of_zeros, name) for whole, name in zeros
        }

    def _rows_of_terms(self, table: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        return pd.concat([super()._rows_of_terms(table), table.iloc[len(table) - len(self._zero.names) :]])

    @property
    def _reference_levels(self) -> dict[str, Any]:
        return {**super()._reference_levels, **self._zero.design.references}

    @property
    def _testable(self) -> tuple[tuple[str, ...], Array, NDArray[np.int64]]:
        names, values, places = super()._testable
        own = np.arange(len(self._parameters))[self._parameters.zeros]
        return (*names, *self._names_of_zeros), np.append(values, self._zero_table[0]), np.append(places, own)

    def _ratio_of(self, R: Array) -> str:
        p = len(self.data.names)
        of_counts, of_zeros = R[:, :p].any(), R[:, p:].any()
        ratio = BinomialLogit.ratio if of_zeros else PoissonLog.ratio
        return "" if ratio is None or (of_counts and of_zeros) else ratio[0]

    @property
    def _further_terms(self) -> dict[str, tuple[int, ...]]:
        p, intercept = len(self.data.names), self._zero.intercept
        terms = self._zero.design.terms().items()
        return {PREFIX + term: tuple(p + j for j in columns) for term, columns in terms if columns != (intercept,)}

    def _smaller(self, *, alone: bool) -> dict[str, tuple[int, Callable[[], Any]]]:
        from clusterglm.data.fewer import coded_anew

        found, zero = super()._smaller(alone=alone), self._zero
        for whole, columns in self._further_terms.items():
            term = whole.removeprefix(PREFIX)
            if not (alone and coded_anew(zero, [term], absorbed=False)):
                found[whole] = len(columns), lambda term=term: self._without_of_zeros(term)  # type: ignore[misc]
        return found

    def _without_of_zeros(self, term: str) -> Any:
        """The fit without a term of the linear predictor of zeros."""
        from clusterglm.data.fewer import without_terms

        smaller = replace(self.fit, zero=without_terms(self._zero, [term]))
        return replace(self, fit=smaller)._fitted_to(self.data.rows)  # type: ignore[type-var]  # all results are dataclasses

    def _candidate(self, name: str) -> Candidate:
        """With what both predictors have; the response but for its parameters and the names of these."""
        found, response = super()._candidate(name), replace(self._inflated, values=(), names=())
        return replace(found, untested=self._untested_at_ends, response=response, beside=self._zero)
