"""Results where covariates separate the responses: limits of the likelihood, in which some coefficients are infinite.

A result at the limit is of its verb's class. What infinite coefficients leave without a meaning is refused by name, and
`rest` is the ordinary result of the rows that separation does not decide.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri

from clusterglm.data.prepare import ModelData
from clusterglm.data.recession import Recession, recession, rest_of, without_column
from clusterglm.data.repeats import written_out_rows
from clusterglm.errors import IntervalWarning, OptionError
from clusterglm.fit.conditional import fit_conditional
from clusterglm.fit.fixed_effects import fit_fixed_effects
from clusterglm.fit.limit import loglik_given_totals, loglik_without_columns, without_columns
from clusterglm.fit.pooled import fit_pooled
from clusterglm.fit.random_effects import fit_again
from clusterglm.fit.within import Informative
from clusterglm.inference.diagnostics.overdispersion import Overdispersion
from clusterglm.inference.predictions.prediction import LinkPrediction
from clusterglm.inference.uncertainty.intervals import check_level
from clusterglm.inference.uncertainty.one_sided import finite_end
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response
from clusterglm.results.models.base import Result
from clusterglm.results.models.conditional import ConditionalResult
from clusterglm.results.models.fixed_effects import FixedEffectsResult
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult
from clusterglm.results.models.refusing import only
from clusterglm.results.tables.table import Summary, counted
from clusterglm.results.topics.caveats import Caveat
from clusterglm.results.topics.intervals import ProfileCurve
from clusterglm.results.topics.newdata import Rows, fitted_rows, new_rows, one_per_row
from clusterglm.results.topics.prediction import Wanted

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.hypotheses.wald import Constraints, LinearTest

R = TypeVar("R")
L = TypeVar("L", bound="Limit")

_ANYTHING = "the limit leaves the linear predictor open: the rows that are not certain say nothing of it"
_CERTAIN = "certain in the limit: no standard error"
_WORK = {
    "aic", "augment", "bias_correction", "bic", "bse", "cluster_effects", "clustering_test", "conf_int",
    "converged", "cov", "cov_params", "data", "deviance", "df_resid", "dispersion", "distribution", "family",
    "family_response", "fit", "for_maketables", "formula", "glance", "icc", "infinite", "kind", "link", "llf",
    "loglik", "n_clusters", "n_informative", "n_obs", "n_obs_informative", "n_parameters", "nobs",
    "optimization", "params", "penalized_loglik", "penalty", "plot", "pooled", "predict", "profile", "pvalues",
    "quadrature", "random_effects", "random_effects_sd", "ratios", "recession", "report", "response", "rest",
    "save", "shape", "sigma", "sigma_se", "simulate", "summary", "tidy", "tvalues", "wald_test", "zvalues",
}  # fmt: skip


def _no_meaning(_: Any, name: str) -> tuple[str, str, str]:
    return (
        f"{name} of a fit with separation='limit', some of whose coefficients are infinite",
        "finite coefficients",
        f"fit.rest.{name}, which is that of the rows that are not certain; or a fit with a penalty",
    )


at_the_limit = only(_WORK, _no_meaning)


class Limit(Result):
    """What results at the limit share.

    Attributes
    ----------
    rest : Result or None
        The ordinary result of the rows that are not certain, with the columns that these need; None where they need
        none.
    recession : Recession
        Which rows the limit predicts with certainty, and which way coefficients go.
    """

    if TYPE_CHECKING:
        data: ModelData
        rest: Any
        recession: Recession

        def _loglik_of(self, new: ModelData) -> float: ...

    @classmethod
    def _without_rest(cls: type[L], data: ModelData, response: Response, found: Recession) -> L | None:
        """The limit in which no coefficient stays finite; None for models that need one."""
        return None

    @property
    def infinite(self) -> dict[str, int | None]:
        """Coefficients without a finite estimate: 1 where it is inf, -1 where -inf, None where any value will do."""
        ends = zip(self.data.names, self._ends.tolist(), strict=True)
        return {name: None if np.isnan(end) else int(np.sign(end)) for name, end in ends if end != 0.0}

    # Coefficients ----------------------------------------------------------------------------------------------------

    @cached_property
    def _ends(self) -> Array:
        """0 for finite coefficients, inf, -inf, or nan where all values are as likely, shape (p,)."""
        return self.recession.ends(np.eye(len(self.data.names)))

    @cached_property
    def _representative(self) -> Array:
        """Finite coefficients that predict the other rows as all do on the way to the limit, shape (p,)."""
        beta = np.zeros(len(self.data.names))
        if self.rest is not None:
            beta[self.recession.kept] = self.rest._beta
        return beta

    @property
    def _beta(self) -> Array:
        return np.where(self._ends == 0.0, self._representative, self._ends)

    @property
    def _estimates(self) -> Array:
        if self.rest is None:
            return self._beta
        return np.append(self._beta, np.delete(self.rest._estimates, self.rest._parameters.coefficients))

    def _embedded(self, kind: str) -> Array:
        """Covariance of the representative coefficients, and of the other parameters."""
        every, of_beta = np.arange(len(self._parameters)), self._parameters.coefficients
        whole = np.zeros((len(every), len(every)))
        if self.rest is not None:
            places = np.append(every[of_beta][self.recession.kept], np.delete(every, of_beta))
            whole[np.ix_(places, places)] = self.rest._covariance(kind)
        return whole

    def _covariance(self, kind: str) -> Array:
        whole, lost = self._embedded(kind), np.flatnonzero(self._ends != 0.0)
        whole[lost, :] = whole[:, lost] = np.nan
        return whole

    @property
    def n_parameters(self) -> float:
        """Number of estimated parameters, the infinite ones too, as in other software."""
        k: int = self.recession.basis.shape[1]
        if self.rest is None:
            return k
        rest: float = self.rest.n_parameters
        return rest + k

    def _test(self, constraints: Constraints, cov: str) -> LinearTest:
        from clusterglm.inference.hypotheses.wald import linear_test

        if (self.recession.ends(constraints.R) != 0.0).any():
            raise OptionError(
                f"a Wald test of {', '.join(constraints.words)} where coefficients are infinite",
                "combinations of coefficients that stay finite",
                "cg.compare(smaller, fit), the likelihood-ratio test; or a fit with a penalty",
            )
        of_beta = self._parameters.coefficients
        return linear_test(constraints, self._representative, self._embedded(cov)[of_beta, of_beta], cov)

    # Intervals -------------------------------------------------------------------------------------------------------

    def _by_profile(self, level: float, names: list[str], n_jobs: int) -> tuple[Array, Array]:
        """Finite parameters as of the other rows, whose profile is the same; infinite ones have one finite end."""
        drop = 0.5 * float(chdtri(1.0, 1.0 - check_level(level)))
        low, high = np.full(len(names), -np.inf), np.full(len(names), np.inf)
        if self.rest is not None:
            inner = self.rest._interval_names
            found = dict(zip(inner, zip(*self.rest._by_profile(level, inner, n_jobs), strict=True), strict=True))
            for k, name in enumerate(names):
                if k >= len(self._ends) or self._ends[k] == 0.0:
                    low[k], high[k] = found[name]
        lost = []
        for j in np.flatnonzero(np.isinf(self._ends)).tolist():
            ends = high if self._ends[j] < 0.0 else low
            ends[j] = self._finite_end(j, drop)
            if np.isnan(ends[j]):
                lost.append(names[j])
        if lost:
            warnings.warn(
                f"the profile of {', '.join(lost)} could not be followed to where it ends; the interval is nan there",
                IntervalWarning,
                stacklevel=4,
            )
        return low, high

    def _finite_end(self, j: int, drop: float) -> float:
        """The finite end of an interval, by fits with the coefficient held; what then still separates is taken away."""
        column = self.data.X[:, j]
        others = without_column(self.data, j)
        found = recession(others, self.response, within=self._own_intercepts)
        left = np.ones(self.data.n_obs, dtype=bool)
        if found is not None:
            others, left = rest_of(others, found), ~found.decided
        offset, x = others.offset, column[left]
        unit = 1.0 / float(np.ptp(column) or np.abs(column).max())
        return finite_end(
            lambda value: self._loglik_of(replace(others, offset=offset + value * x)),
            self.loglik,
            drop,
            float(np.sign(self._ends[j])),
            unit,
        )

    def profile(self, parameter: str, to: float = 3.0, points: int = 13, threads: int = 1) -> ProfileCurve:
        """The profile log-likelihood of a parameter that is finite; see the result of the verb."""
        names = self._interval_names
        infinite = parameter in names and not np.isfinite(self._estimates[names.index(parameter)])
        if self.rest is None or infinite:
            raise OptionError(
                f"the profile of {parameter!r}, which is infinite",
                "a parameter with a finite estimate",
                'conf_int(method="profile") for its one-sided interval',
            )
        curve: ProfileCurve = self.rest.profile(parameter, to, points, threads)
        return curve

    # Rows ------------------------------------------------------------------------------------------------------------

    def _written_out(self: L, what: str) -> L:
        whole = super()._written_out(what)
        if whole is self:
            return self
        decided = self.recession.decided[written_out_rows(self.data)]
        rest = None if self.rest is None else self.rest._written_out(what)
        state: dict[str, Any] = {"rest": rest, "recession": replace(self.recession, decided=decided)}
        return replace(whole, **state)  # type: ignore[type-var]  # all results are dataclasses

    def _row_ends(self, rows: Rows) -> Array:
        """Where linear predictors go: 0 for those that stay finite."""
        if rows.frame is None:
            return np.where(self.recession.decided, np.where(self.data.a > 0.0, np.inf, -np.inf), 0.0)
        return self._ends_of(rows)

    def _ends_of(self, rows: Rows) -> Array:
        ends = np.zeros(rows.size)
        ends[rows.status.ok] = self.recession.ends(rows.X[rows.status.ok])
        return ends

    def _eta(self, intercepts: Array | float) -> Array:
        ends = self._row_ends(fitted_rows(self.data))
        eta = self.data.X @ self._representative + self.data.offset
        return np.where(
            ends == 0.0, eta + (intercepts if np.ndim(intercepts) == 0 else self._per_row(intercepts)), ends
        )

    def _of_clusters(self, values: Array, otherwise: float) -> Array:
        """One value for each cluster from one for each of the rest's."""
        whole = np.full(self.data.n_clusters, otherwise)
        whole[self._cluster_numbers] = values
        return whole

    @cached_property
    def _cluster_numbers(self) -> Any:
        """Which clusters have rows that are not certain."""
        return np.flatnonzero(np.add.reduceat(~self.recession.decided, self.data.starts[:-1]) > 0)

    def _predicted(
        self, data: Any, kind: str | ArrayLike | None, scale: str, wanted: Wanted
    ) -> pd.Series[float] | pd.DataFrame:
        if wanted.history is not None:
            raise OptionError(*_no_meaning(self, "predict(history=...)"))
        rows = fitted_rows(self.data) if data is None else new_rows(self.data, data)
        ends = self._row_ends(rows)
        inner = replace(rows, X=rows.X[:, self.recession.kept])
        at = LinkPrediction(rows.offset + 0.0, np.ones(rows.size), np.zeros(rows.size))
        if self.rest is not None:
            at = self._inside(inner, kind, wanted)
        sure = np.isinf(ends)
        rows.status.ok[sure], rows.status.text[sure] = True, "ok"
        rows.status.note(sure, _CERTAIN)
        rows.status.refuse(np.isnan(ends), _ANYTHING)
        at = replace(at, estimate=np.where(ends == 0.0, at.estimate, ends))
        of: Any = self if self.rest is None else self.rest
        table: pd.Series[float] | pd.DataFrame = of._table(at, inner, scale, wanted)
        return table

    def _inside(self, rows: Rows, kind: Any, wanted: Wanted) -> LinkPrediction:
        """Predictions by the rest; of what is not finite, anything."""
        kind, some = self.rest._kinds[0] if kind is None else kind, rows
        if rows.frame is None:  # the rest's own rows
            left = np.flatnonzero(~self.recession.decided)
            if not isinstance(kind, str) and np.ndim(kind) > 0:
                given = one_per_row(kind, rows.size, self.rest._kinds, "kind")
                kind = given[np.isin(np.sort(rows.index), rows.index[left])]
            some = fitted_rows(self.rest.data)
        named = isinstance(kind, str) and kind in self.rest._kinds
        at: LinkPrediction = self.rest._at_kind(kind, some, wanted) if named else self.rest._at_numbers(kind, some)
        if some is rows:
            return at
        moved = {}
        for name in ("estimate", "slope", "extra", "by_sigma", "cluster"):
            values = getattr(at, name)
            if values is not None:
                moved[name] = np.zeros(rows.size, dtype=values.dtype)
                moved[name][left] = values
        return replace(at, **moved)

    # Tables ----------------------------------------------------------------------------------------------------------

    @property
    def _finite(self) -> Any:
        return self.rest

    def _caveats(self) -> list[Caveat]:
        infinite = ", ".join(self._named(np.isinf)) or "some coefficients"
        words = (
            f"Covariates separate the responses: {infinite} went to infinity, and this is the limit of the fit. Wald "
            "tests and intervals of what is infinite mean nothing: use profile intervals, which have one finite end, "
            "and likelihood-ratio tests. Other parameters, and what is said below, rest on the rows that are not "
            "certain."
        )
        of_rest = [] if self.rest is None else self.rest._caveats()
        return [Caveat("Separated responses", words, serious=True), *of_rest]

    def _export(self) -> dict[str, Any]:
        return {"infinite": self.infinite, "n_certain": int(self.recession.decided.sum())} | super()._export()

    def _comparison_notes(self, name: str) -> list[str]:
        note = (
            f"{name} is the limit of a fit where covariates separate the responses: its log-likelihood is never "
            "reached, and AIC counts infinite coefficients as parameters."
        )
        return [*super()._comparison_notes(name), note]

    def _glance(self) -> dict[str, Any]:
        return super()._glance() | {
            "infinite": ", ".join(self._named(np.isinf)),
            "n_certain": int(self.recession.decided.sum()),
        }

    def _named(self, kind: Callable[[Array], Any]) -> list[str]:
        return [self.data.names[j] for j in np.flatnonzero(kind(self._ends)).tolist()]

    def _summary(self) -> Summary:
        known = super()._summary()  # type: ignore[safe-super]  # of the verb's class
        words = [f"{counted(int(self.recession.decided.sum()), 'row')} predicted with certainty"]
        if infinite := self._named(np.isinf):
            words.append(f"infinite {', '.join(infinite)}")
        if anything := self._named(np.isnan):
            words.append(f"of any value {', '.join(anything)}")
        separation = ("Separation", f"the limit of the likelihood, which has no maximum: {'; '.join(words)}")
        note = (
            "An infinite coefficient has no standard error, and no Wald test holds: "
            'conf_int(method="profile") gives its one-sided interval, cg.compare likelihood-ratio tests. The '
            "log-likelihood is its limit, to which rows that are certain add nothing; AIC and BIC count infinite "
            "coefficients as parameters. `rest` is the fit to the other rows, with all its methods."
        )
        return replace(known, facts=(separation, *known.facts), notes=(*known.notes, note))


@at_the_limit
@dataclass(frozen=True, repr=False, eq=False)
class PooledLimit(Limit, PooledResult):
    """A model without cluster effects at the limit of its likelihood; see `Limit`."""

    rest: PooledResult | None
    recession: Recession

    _of_few_clusters: ClassVar[bool] = False

    @classmethod
    def _without_rest(cls, data: ModelData, response: Response, found: Recession) -> PooledLimit:
        fit = without_columns(loglik_without_columns(data, response, ~found.decided))
        return cls(fit, data, response, None, found)

    def _loglik_of(self, new: ModelData) -> float:
        if len(new.names) == 0:
            return loglik_without_columns(new, self.response)
        return fit_pooled(new, self.response, Control()).loglik


@at_the_limit
@dataclass(frozen=True, repr=False, eq=False)
class RandomEffectsLimit(Limit, RandomEffectsResult):
    """A random-intercept model at the limit of its likelihood; see `Limit`."""

    rest: RandomEffectsResult
    recession: Recession

    def _loglik_of(self, new: ModelData) -> float:
        return fit_again(self.rest.fit, new).loglik

    @property
    def pooled(self) -> PooledResult:
        return PooledLimit(self.rest.fit.pooled, self.data, self.response, self.rest.pooled, self.recession)

    def _intercepts(self) -> Array:
        return self._of_clusters(self.rest.fit.modes, 0.0)

    @property
    def random_effects(self) -> pd.DataFrame:
        """Random effects of the clusters with rows that are not certain; the others say nothing of theirs."""
        return self.rest.random_effects

    def _integration_in_words(self) -> str:
        return self.rest._integration_in_words()


@at_the_limit
@dataclass(frozen=True, repr=False, eq=False)
class FixedEffectsLimit(Limit, FixedEffectsResult):
    """A model with fixed cluster effects at the limit of its likelihood; see `Limit`."""

    rest: FixedEffectsResult
    recession: Recession

    @property
    def n_parameters(self) -> float:
        """Number of estimated parameters, those that are infinite too, and an intercept for every cluster."""
        return super().n_parameters + self.n_clusters - self.rest.n_clusters

    def _loglik_of(self, new: ModelData) -> float:
        return fit_fixed_effects(new, self.response, None, Control()).loglik

    @cached_property
    def _informative(self) -> Informative:
        return self.rest._informative

    def _intercepts(self) -> Array:
        return self._of_clusters(self.rest.fit.by_cluster.intercepts, np.nan)

    def _draw_new(self, rng: np.random.Generator) -> Array:
        return self._draw(self._fitted_eta(), rng)

    @property
    def cluster_effects(self) -> pd.DataFrame:
        """Intercepts of the clusters with rows that are not certain; coefficients may drive these to infinity too."""
        table = self.rest.cluster_effects
        ends = -self.recession.ends(self._references)
        table.loc[ends != 0.0, ["estimate", "std_error"]] = np.column_stack([ends, ends * np.nan])[ends != 0.0]
        table.loc[ends != 0.0, "status"] = "infinite in the limit"
        return table

    @property
    def _references(self) -> Array:
        """A row of each of these clusters that is not certain."""
        rows: Array = self.data.rows.X[~self.recession.decided][self.rest.data.rows.starts[:-1]]
        return rows

    def _ends_of(self, rows: Rows) -> Array:
        reference = np.full((self.data.n_clusters, len(self.data.names)), np.nan)
        reference[self._cluster_numbers] = self._references
        apart = rows.X - reference[self._codes(rows)]
        known = np.isfinite(apart).all(axis=1)
        ends = np.where(rows.status.ok & ~known, np.nan, 0.0)
        ends[known] = self.recession.ends(apart[known])
        return ends


@at_the_limit
@dataclass(frozen=True, repr=False, eq=False)
class ConditionalLimit(Limit, ConditionalResult):
    """Coefficients at the limit of a conditional likelihood; see `Limit`."""

    rest: ConditionalResult
    recession: Recession

    @property
    def n_informative(self) -> int:
        """Clusters that contribute: those of the rest do."""
        return self.rest.n_informative

    @cached_property
    def _overdispersion(self) -> Overdispersion | None:
        return self.rest._overdispersion

    def _row_ends(self, rows: Rows) -> Array:
        """Where x'beta ends by itself, whatever else is in the cluster."""
        return self._ends_of(rows)

    def _loglik_of(self, new: ModelData) -> float:
        if len(new.names) == 0:
            return loglik_given_totals(new, self.response)
        return fit_conditional(new, self.response, None, Control()).loglik

    def _draw_new(self, rng: np.random.Generator) -> Array:
        y = np.rint(self.data.rows.a / self.data.rows.weights)
        y[~self.recession.decided] = self.rest._draw_new(rng)
        return np.asarray(y)
