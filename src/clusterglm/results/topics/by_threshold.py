"""Results of ordered categories some of whose covariates have a coefficient for each threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.fewer import written
from clusterglm.inference.uncertainty.intervals import wald_p_values, with_alpha
from clusterglm.model.arrays import Array
from clusterglm.model.response.own.cumulative import Cumulative
from clusterglm.results.tables.table import Coefficients, Summary
from clusterglm.results.tables.tidy import as_coefficients
from clusterglm.results.topics.newdata import Rows, refuse_incomplete

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.data.design import Design
    from clusterglm.inference.hypotheses.comparison import Candidate
    from clusterglm.inference.uncertainty.degrees import Degrees
    from clusterglm.results.models.own import OwnResult as Base
else:
    Base = object

_HEADINGS = "Coefficients, the same at all thresholds", "Coefficients at each threshold"
_CROSS = "thresholds that cross: a category between them would have a negative probability"


class ByThreshold(Base):
    """What such results have more; without such coefficients, nothing."""

    if TYPE_CHECKING:

        @property
        def _cumulative(self) -> Cumulative: ...

    @property
    def nonparallel(self) -> pd.DataFrame:
        """Coefficients that differ between thresholds: a row for each covariate, a column for each threshold.

        P(Y <= c) = F(threshold_c - x'gamma_c - linear predictor): a positive one means higher categories. Empty where
        `nonparallel=` was not given. Their standard errors are in `bse`, under names such as "x: low|high".
        """
        import pandas as pd

        own = self._cumulative
        values = self._values[own.n_thresholds :].reshape(len(own.nonparallel), own.n_thresholds)
        thresholds = pd.Index(own.own[: own.n_thresholds], name="threshold")
        return pd.DataFrame(values, index=pd.Index(own.nonparallel, name="term"), columns=thresholds)

    @property
    def _by_threshold(self) -> Design | None:
        found: Design | None = self.data.rows.by_threshold
        return found

    @property
    def _many(self) -> int:
        """Coefficients at thresholds."""
        own = self._cumulative
        return len(own.own) - own.n_thresholds

    @property
    def _names_at_thresholds(self) -> tuple[str, ...]:
        own = self._cumulative
        return own.own[own.n_thresholds :]

    # Coefficients ----------------------------------------------------------------------------------------------------

    def _series(self, values: Array, name: str) -> pd.Series[float]:
        import pandas as pd

        if self._many == 0:
            return super()._series(values, name)
        se = self._own_errors()[-self._many :]
        estimate = self._values[-self._many :]
        z = estimate / se
        more = {"estimate": estimate, "std_error": se, "z": z, "pvalue": wald_p_values(z)}[name]
        return pd.Series(np.append(values, more), index=list(self._term_names), name=name)

    @property
    def _term_names(self) -> tuple[str, ...]:
        return (*super()._term_names, *self._names_at_thresholds)

    @property
    def _reference_levels(self) -> dict[str, Any]:
        design = self._by_threshold
        return {**super()._reference_levels, **({} if design is None else design.references)}

    def _rows_of_terms(self, table: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd

        found, m = super()._rows_of_terms(table), self._many
        return found if m == 0 else pd.concat([found, table.iloc[len(table) - m :]])

    def _tidy(self, level: float, exponentiate: bool, cov: str) -> pd.DataFrame:
        table = super()._tidy(level, exponentiate, cov)
        return table if self._many == 0 else as_coefficients(table, self._many, "nonparallel", exponentiate)

    @with_alpha
    def ratios(self, *, level: float = 0.95, cov: str = "observed") -> pd.DataFrame:
        """Exponentials of the coefficients: see `PooledResult.ratios`.

        Odds ratios of a higher category; with `nonparallel=` those at each threshold, of being above it, too.
        """
        import pandas as pd

        from clusterglm.inference.effects.ratios import exponentiated, ratio_names
        from clusterglm.results.tables.frame import shown

        table = super().ratios(level=level, cov=cov)
        if self._many == 0:
            return table
        estimate, se = self._values[-self._many :], self._own_errors(cov)[-self._many :]
        found = exponentiated(self.response.ratio_sign * estimate, se, level)
        more = pd.DataFrame(
            {
                "term": list(self._names_at_thresholds),
                "kind": ratio_names(self.response)[0],
                "estimate": found.estimate,
                "std_error": found.std_error,
                "conf_low": found.low,
                "conf_high": found.high,
            }
        )
        return shown(more if len(table) == 0 else pd.concat([table, more], ignore_index=True))

    # Tests -----------------------------------------------------------------------------------------------------------

    @property
    def _testable(self) -> tuple[tuple[str, ...], Array, NDArray[np.int64]]:
        names, values, places = super()._testable
        own, first = np.arange(len(self._parameters))[self._parameters.own], self._cumulative.n_thresholds
        more = own[first:], self._values[first:]
        return (*names, *self._names_at_thresholds), np.append(values, more[1]), np.append(places, more[0])

    @property
    def _further_terms(self) -> dict[str, tuple[int, ...]]:
        """Terms whose coefficients differ between thresholds; the first of all is behind those of the formula."""
        design, k, first = self._by_threshold, self._cumulative.n_thresholds, len(self.data.names)
        terms = {} if design is None else design.terms()
        return {term: tuple(first + j * k + c for j in columns for c in range(k)) for term, columns in terms.items()}

    def _candidate(self, name: str) -> Candidate:
        """As a model of proportional odds with more columns, which then say what it has more."""
        found, own, design = super()._candidate(name), self._cumulative, self._by_threshold
        found = replace(found, response=own.plain)
        if design is None:
            return found
        data = self.data.rows
        N = own.covariates(data.a, data.b)
        y = own.categories(data.a, data.b)
        known: dict[str, Any] = {"design": design, "names": design.names, "intercept": None}
        apart = replace(data, X=N, a=data.b * y, **known)
        whole = replace(data, X=np.hstack([data.X, N]), names=(*data.names, *design.names), a=data.b * y)
        return replace(found, data=whole, apart=apart, n_apart=own.n_thresholds)

    def _call(self) -> tuple[str, dict[str, Any]]:
        verb, known = super()._call()
        known = {name: value for name, value in known.items() if name != "success"}
        known["levels"] = list(self._cumulative.levels)
        design = self._by_threshold
        if design is not None:
            known["nonparallel"] = " + ".join(written(design, term) for term in design.terms())
        return verb, known

    @property
    def _in_words(self) -> str:
        design = self._by_threshold
        more = "" if design is None else f", {', '.join(design.terms())} not parallel"
        return f"{super()._in_words}{more}"

    # Rows ------------------------------------------------------------------------------------------------------------

    def _covariates_of(self, rows: Rows) -> Array:
        """What rows have of covariates whose coefficients differ; those without, or of crossing thresholds, refused.

        Of shape (n, q).
        """
        own, design, fitted = self._cumulative, self._by_threshold, self.data.rows
        if rows.frame is None or design is None:
            return own.covariates(fitted.a, fitted.b) if rows.frame is None else np.zeros((rows.size, 0))
        found = design.rows(rows.frame)
        refuse_incomplete(found, rows.status)
        rows.status.refuse(np.asarray(~np.isfinite(found.X).all(axis=1)), "a covariate is not finite once transformed")
        gaps = np.diff(own.thresholds_at(found.X), axis=1)
        rows.status.refuse(np.asarray((gaps <= 0.0).any(axis=1)), _CROSS)
        return found.X

    # Tables ----------------------------------------------------------------------------------------------------------

    @property
    def _facts_at_thresholds(self) -> list[tuple[str, str]]:
        design = self._by_threshold
        if design is None:
            return []
        return [("Not parallel", f"{', '.join(design.terms())}: coefficients for each threshold")]

    def _table_at_thresholds(self, cov: str = "observed") -> Coefficients:
        estimate, se = self._values[-self._many :], self._own_errors(cov)[-self._many :]
        with np.errstate(invalid="ignore"):
            z = estimate / se
        return Coefficients(self._names_at_thresholds, estimate, se, z, wald_p_values(z))

    def _with_own_facts(self, plain: Summary) -> Summary:
        found = super()._with_own_facts(plain)
        if self._many == 0:
            return found
        heading = _HEADINGS[0] if self.data.names else ""
        return replace(found, heading=heading, others=((_HEADINGS[1], self._table_at_thresholds()),))

    def _with_errors(self, found: Summary, kind: str, degrees: Degrees | None) -> Summary:
        found = super()._with_errors(found, kind, degrees)
        if self._many == 0:
            return found
        return replace(found, others=((_HEADINGS[1], self._table_at_thresholds(kind)),))

    def _export(self) -> dict[str, Any]:
        found = super()._export()
        return found if self._many == 0 else found | {"nonparallel": self.nonparallel.to_dict(orient="index")}
