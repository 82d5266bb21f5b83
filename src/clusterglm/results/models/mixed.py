"""The result of `random_effects` with slopes: several random effects of each cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.errors import OptionError
from clusterglm.fit.mixed import MixedFit, fit_again
from clusterglm.fit.newton import Optimization
from clusterglm.fit.pooled import PooledFit
from clusterglm.inference.uncertainty.intervals import wald_interval, wald_interval_of_scale
from clusterglm.inference.uncertainty.mixed import marginal_scores, standardised_covariance
from clusterglm.inference.uncertainty.mixed_profiles import mixed_crossing, mixed_summit
from clusterglm.likelihood.report import IntegrationReport
from clusterglm.model.arrays import Array
from clusterglm.model.covariance import Covariance
from clusterglm.model.parameters import Index, Parameters, random_effects
from clusterglm.model.penalty import SEVERAL_IN_WORDS
from clusterglm.model.response.base import Response
from clusterglm.results.models.base import freeze
from clusterglm.results.models.penalized import Penalized
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.sampled import Sampled
from clusterglm.results.tables.table import Summary, counted
from clusterglm.results.topics.mixed_clusters import MixedHypotheses, MixedSurvival, OfOneIntercept
from clusterglm.results.topics.mixed_diagnostics import MixedDiagnostics
from clusterglm.results.topics.mixed_effects import MixedEffects
from clusterglm.results.topics.mixed_pieces import MixedPieces, term_in_words
from clusterglm.results.topics.mixed_prediction import MixedPredictions
from clusterglm.results.topics.r_squared import ExplainedVariance
from clusterglm.results.topics.sampling import SeveralSampling

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.hypotheses.comparison import Candidate
    from clusterglm.inference.uncertainty.peaks import Summit
    from clusterglm.inference.uncertainty.profiling import Crossing, Peak

_AT_ONE = 1.0 - 1e-12  # a correlation beyond it is 1 where the covariance is singular


@dataclass(frozen=True, repr=False, eq=False)
class MixedEffectsResult(
    Penalized,
    MixedPieces,
    MixedPredictions,
    SeveralSampling,
    Sampled,
    MixedSurvival,
    MixedEffects,
    MixedDiagnostics,
    MixedHypotheses,
    ExplainedVariance,
    OfOneIntercept,
):
    """A generalised linear model with several random effects of each cluster, such as intercepts and slopes.

    Parameters
    ----------
    fit : MixedFit
        The estimates.
    data : FittedData
        What was fitted.
    """

    fit: MixedFit
    data: FittedData

    kind: ClassVar[str] = "random_effects"
    _named_predictors = ("typical", "conditional")
    _untested: ClassVar[str] = ""

    def __post_init__(self) -> None:
        freeze(self.fit)
        freeze(self.fit.pooled)

    # The estimates ---------------------------------------------------------------------------------------------------

    @property
    def response(self) -> Response:
        return self.fit.response

    @property
    def loglik(self) -> float:
        return float(self.fit.loglik)

    @property
    def optimization(self) -> Optimization:
        return self.fit.optimization

    @property
    def quadrature(self) -> IntegrationReport:
        """How the integrals were computed: rules, nodes, and the estimated error of the log-likelihood."""
        return self.fit.integration

    @property
    def n_parameters(self) -> int:
        """Number of estimated parameters: coefficients, standard deviations and correlations."""
        return len(self.fit.theta)

    @property
    def pooled(self) -> PooledResult:
        """The fit of this model without its random effects."""
        return PooledResult(self.fit.pooled, replace(self.data.rows, effects=None), self.response)

    @property
    def _covariance_of(self) -> Covariance:
        return self.fit.effects.covariance

    @cached_property
    def _read(self) -> tuple[Array, Array]:
        """Standard deviations and correlations, and the derivatives of all parameters as shown in theta."""
        values, slopes = self._covariance_of.read(self.fit.phi)
        J, random = np.eye(len(self.fit.theta)), self.fit.parameters.place("random")
        J[random, random] = slopes
        return values, J

    @property
    def _beta(self) -> Array:
        return self.fit.beta

    @property
    def _parameters(self) -> Parameters:
        return random_effects(self.data.names, self._covariance_of.read_labels())

    def _covariance(self, kind: str) -> Array:
        """Covariance of coefficients, standard deviations and correlations; nan for those that lie on the boundary."""
        return standardised_covariance(self._read[1], self._delta_covariance(kind), self._on_boundary)

    def _delta_covariance(self, kind: str) -> Array:
        """Covariance of (beta, phi), in which predictions have their derivatives; 0 for what is held at zero."""
        if kind != "observed":
            self._refuse_robust()
        whole = self.fit.covariance
        free = np.flatnonzero(np.isfinite(np.diag(whole)))
        some = np.ix_(free, free)
        found = np.zeros_like(whole)
        found[some] = whole[some] if kind == "observed" else self._robust(whole[some], free)
        return found

    def _robust(self, covariance: Array, free: NDArray[np.int64]) -> Array:
        """The sandwich about the covariance of those parameters that are not held."""
        return self._sandwich(covariance, self._scores[:, free])

    @cached_property
    def _scores(self) -> Array:
        return marginal_scores(self.fit)

    @cached_property
    def _on_boundary(self) -> NDArray[np.bool_]:
        """Whether a standard deviation is 0 or a correlation 1 or undefined, shape (r,), of what `_read` has."""
        values = self._read[0]
        names = self._covariance_of.read_labels()
        at_zero = np.array([name.startswith("sd") for name in names]) & (values == 0.0)
        correlations = np.array([name.startswith("cor") for name in names])
        at_one = correlations & ~(np.abs(values) < _AT_ONE) & self.fit.held.any()
        return np.asarray(at_zero | at_one | self._covariance_of.at_end(self.fit.phi), dtype=bool)

    @property
    def _estimates(self) -> Array:
        return np.append(self.fit.beta, self._read[0])

    @property
    def _with_intervals(self) -> Index:
        return self._parameters.estimated

    @property
    def variance_components(self) -> pd.DataFrame:
        """Standard deviations and correlations of the random effects.

        Returns
        -------
        DataFrame
            Columns `group`, `effect`, `with` (the other effect of a correlation, else empty), `kind` ("sd" or "cor"),
            `estimate`, `std_error`, `conf_low`, `conf_high`. Intervals are Wald intervals of 95 %: of the logarithm of
            a standard deviation, and of Fisher's z of a correlation; profile intervals are those of
            `conf_int(method="profile")`. nan where an estimate lies on the boundary.
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        random, se = self._parameters.place("random"), np.sqrt(np.diag(self._covariance("observed")))
        columns = [self._read[0], se[random], *(end[random] for end in self._wald(0.95, "observed"))]
        rows = [
            (group, effect, other, "cor" if other else "sd", *numbers)
            for (group, effect, other), *numbers in zip(self._covariance_of.components(), *columns, strict=True)
        ]
        names = ["group", "effect", "with", "kind", "estimate", "std_error", "conf_low", "conf_high"]
        return shown(pd.DataFrame(rows, columns=names))

    def effects_covariance(self, group: str | None = None) -> pd.DataFrame:
        """Covariance matrix of the random effects.

        Parameters
        ----------
        group : str, optional
            The grouping factor; by default the only one.

        Returns
        -------
        DataFrame
            Rows and columns by effect.

        Raises
        ------
        OptionError
            On a factor that there is not, and without one where there are two.
        """
        import pandas as pd

        L, (names, where) = self.fit.factor, self._effects_of(group)
        return pd.DataFrame((L @ L.T)[where, where], index=names, columns=names)

    def _effects_of(self, group: str | None) -> tuple[list[str], slice]:
        """Names of the effects of a grouping factor, and their places."""
        terms = self._covariance_of.terms
        known = list(dict.fromkeys(term.group for term in terms))
        if group not in known and (group is not None or len(known) > 1):
            raise OptionError(f"group={group!r}", f"one of {', '.join(map(repr, known))}", f"group={known[0]!r}")
        first = sum(len(term.effects) for term in terms if known.index(term.group) < known.index(group or known[0]))
        names = [name for term in terms if group in (None, term.group) for name in term.effects]
        return names, slice(first, first + len(names))

    @property
    def random_effects(self) -> pd.DataFrame:
        """What the data say of each cluster's effects, and of those of what is nested in clusters.

        Returns
        -------
        DataFrame
            A row for each cluster and effect: `group` (the grouping factor), `label`, `effect`, and `mode`, `mean`,
            `sd` of the effect (on the linear predictor's scale, in units of its column) given the cluster's data and
            the estimates. Levels of a nested factor follow the clusters.
        """
        import pandas as pd

        from clusterglm.inference.predictions.mixed_modes import firsts_of

        posterior, L = self.fit.posterior, self.fit.factor
        modes, means = posterior.modes @ L.T, posterior.means @ L.T
        variances = np.einsum("ij,mjk,ik->mi", L, posterior.covariances, L)
        of_groups = []
        for group, labels in self._levels().items():
            names, where = self._effects_of(group)
            some = slice(None) if len(labels) == len(modes) else firsts_of(self.data.rows.innermost_clusters)
            of_groups.append(
                pd.DataFrame(
                    {
                        "group": group,
                        "label": np.repeat(labels, len(names)),
                        "effect": names * len(labels),
                        "mode": modes[some, where].ravel(),
                        "mean": means[some, where].ravel(),
                        "sd": np.sqrt(variances[some, where]).ravel(),
                    }
                )
            )
        return of_groups[0] if len(of_groups) == 1 else pd.concat(of_groups, ignore_index=True)

    def _levels(self) -> dict[str, NDArray[Any]]:
        """Labels of the levels of each grouping factor, the clusters first."""
        effects = self.fit.effects
        found = {effects.terms[0].group: self.data.rows.labels}
        return found if effects.children is None else found | {effects.children.group: effects.children.labels}

    def random_effects_covariance(self, label: Any, group: str | None = None) -> pd.DataFrame:
        """Covariance of a cluster's effects given its data and the estimates.

        Parameters
        ----------
        label : object
            The cluster, or the level of `group`, as in `random_effects`.
        group : str, optional
            The grouping factor; by default the clusters'.

        Returns
        -------
        DataFrame
            Rows and columns by effect.

        Raises
        ------
        OptionError
            On a factor, or a level of it, that there is not.
        """
        import pandas as pd

        from clusterglm.inference.predictions.mixed_modes import firsts_of

        group = self.fit.effects.terms[0].group if group is None else group
        (names, where), labels = self._effects_of(group), self._levels()[group]
        found = np.flatnonzero(labels == label)
        if len(found) != 1:
            raise OptionError(
                f"label={label!r}", f"one of the {len(labels)} levels of {group!r}", "fit.random_effects['label']"
            )
        L, covariances = self.fit.factor[where, where], self.fit.posterior.covariances
        place = found[0] if len(labels) == len(covariances) else firsts_of(self.data.rows.innermost_clusters)[found[0]]
        return pd.DataFrame(L @ covariances[place][where, where] @ L.T, index=names, columns=names)

    # Intervals and simulation ----------------------------------------------------------------------------------------

    def _wald(self, level: float, cov: str) -> tuple[Array, Array]:
        """Wald intervals: of standard deviations on the log scale, of correlations on Fisher's."""
        p, names = len(self.fit.beta), self._covariance_of.read_labels()
        estimates, se = self._estimates, np.sqrt(np.diag(self._covariance(cov)))
        low, high = wald_interval(estimates, se, level)
        for k, name in enumerate(names, start=p):
            if name.startswith("sd"):
                low[k], high[k] = wald_interval_of_scale(float(estimates[k]), float(se[k]), level)
            else:
                rho = estimates[k]
                with np.errstate(all="ignore"):
                    z, half = np.arctanh(rho), se[k] / (1.0 - rho**2)
                ends = wald_interval(np.array([z]), np.array([half]), level)
                low[k], high[k] = np.tanh(ends[0][0]), np.tanh(ends[1][0])
        return low, high

    def _summit(self, threads: int) -> Summit:
        return mixed_summit(self.fit, threads)

    def _crossing(self, peak: Peak, drop: float, side: int, begin: Crossing | None = None) -> Crossing:
        return mixed_crossing(peak, drop, side, begin)

    def _null(self) -> tuple[ModelData, PooledFit]:
        self._refuse_test_of_no_clustering()
        return super()._null()

    def _penalized_ratio(self, top: float, inner: Array, smaller: Candidate) -> float:
        from clusterglm.inference.hypotheses.penalized import mixed_soft_ratio

        assert smaller.effects is not None  # they are compared before
        return mixed_soft_ratio(self.fit, top, inner, smaller.effects)

    @property
    def _penalty_in_words(self) -> str:
        return "" if self.penalty is None else SEVERAL_IN_WORDS[self.penalty]

    def _as_shown(self, values: Array) -> Array:
        """Coefficients and standard deviations as they are, correlations from what stands for them; shape (k,)."""
        beta, followed = self.fit.parameters.split(values)
        return self.fit.parameters.joined(beta, self._covariance_of.shown(followed))

    def _fitted_eta(self) -> Array:
        u = np.repeat(self.fit.posterior.modes, np.diff(self.data.rows.innermost), axis=0)
        return np.asarray(self._eta(0.0) + np.einsum("ij,ij->i", self.fit.effects.Z, u @ self.fit.factor.T))

    def _intercepts(self) -> Array:
        raise OptionError(
            "one intercept for each cluster of a model with several random effects",
            "what holds for any effects",
            "fit.random_effects, for the effects of each cluster",
        )

    def _draw_new(self, rng: np.random.Generator) -> Array:
        of, d = self.data.rows.innermost_clusters, self.fit.effects.n_upper
        u = rng.standard_normal((self.data.n_clusters, d))
        if d < self._covariance_of.n_effects:
            u = np.hstack([u[of], rng.standard_normal((len(of), self._covariance_of.n_effects - d))])
        u = np.repeat(u @ self.fit.factor.T, np.diff(self.data.rows.innermost), axis=0)
        effects = np.einsum("ij,ij->i", self.fit.effects.Z, u)
        return self._draw(self._eta(0.0) + effects, rng)

    def _fitted_to(self, new: ModelData) -> MixedEffectsResult:
        return replace(self, fit=fit_again(self.fit, new), data=new)

    def _call(self) -> tuple[str, dict[str, Any]]:
        verb, known = super()._call()
        return verb, known | {"quadrature": self.quadrature.requested}

    def _effects_variances(self) -> dict[str, Array]:
        scaled, found, first = self.fit.effects.Z, dict[str, Array](), 0
        covariance = self.fit.factor @ self.fit.factor.T
        for term in self.fit.effects.terms:
            last = first + len(term.design.names)
            some = slice(first, last)
            each = np.einsum("ij,jk,ik->i", scaled[:, some], covariance[some, some], scaled[:, some])
            found[term.group] = found.get(term.group, 0.0) + each
            first = last
        return found

    def _reestimate(self, new: ModelData) -> Array:
        from clusterglm.inference.uncertainty.bootstrap_intervals import converged

        again = fit_again(self.fit, new, self.fit.beta)
        return np.append(converged(again).beta, self._covariance_of.read(again.phi)[0])

    # Tables ----------------------------------------------------------------------------------------------------------

    def _tidy(self, level: float, exponentiate: bool, cov: str) -> pd.DataFrame:
        import pandas as pd

        table = super()._tidy(level, exponentiate, cov)
        table.insert(0, "component", "coefficient")
        p = len(self.fit.beta)
        se = np.sqrt(np.diag(self._covariance(cov)))
        low, high = self._wald(level, cov)
        rows = [
            ("random_effect", name, self._read[0][k - p], se[k], np.nan, np.nan, low[k], high[k])
            for k, name in enumerate(self._covariance_of.read_labels(), start=p)
        ]
        return pd.concat([table, pd.DataFrame(rows, columns=table.columns)], ignore_index=True)

    def _broom(self, table: pd.DataFrame) -> pd.DataFrame:
        table = super()._broom(table)
        random = table["effect"] == "ran_pars"
        names = [
            f"cor__{effect}.{other}" if other else f"sd__{effect}"
            for _, effect, other in self._covariance_of.components()
        ]
        table.loc[random, "term"] = names
        table.loc[random, "group"] = [group for group, _, _ in self._covariance_of.components()]
        return table

    def _glance(self) -> dict[str, Any]:
        return {
            **super()._glance(),
            "distribution": "gaussian",
            "n_effects": self._covariance_of.n_effects,
            "singular": self.singular,
            "nodes": self.quadrature.nodes,
            "integration_error": self.quadrature.error,
        }

    @property
    def singular(self) -> bool:
        """Whether the maximum lies on the boundary: a standard deviation is 0, or a correlation 1 or -1."""
        return bool(self._on_boundary.any())

    # Printing --------------------------------------------------------------------------------------------------------

    def _summary(self) -> Summary:
        terms = self.fit.effects.terms
        model = (
            ("Formula", self.formula),
            *self._response_facts(),
            ("Random effects", "; ".join(map(term_in_words, terms))),
            ("Observations", f"{self._seen()} ({self._sizes()})"),
            *self._weight_facts(),
            *self._penalty_facts(),
        )
        facts = [
            *self._component_facts(),
            *self._likelihood_facts(),
            *self._penalized_facts(),
            ("Integration", self._integration_in_words()),
            *self._closing_facts(),
        ]
        return Summary(
            f"Random-effects model, maximum {self._penalized}likelihood",
            model,
            self._coefficients(),
            tuple(facts),
            (*self._boundary_notes(), *self.data.notes),
        )

    def _seen(self) -> str:
        """How many rows and levels there are."""
        seen = f"{counted(self.n_obs, 'row')} in {counted(self.n_clusters, 'cluster')} of {self.data.cluster_name!r}"
        children = self.fit.effects.children
        return seen + ("" if children is None else f" and {self._n_children:,} of {children.group!r}")

    @property
    def _n_children(self) -> int:
        """Levels of what is nested in the clusters."""
        children = self.fit.effects.children
        return 0 if children is None else len(children.labels)

    def _component_facts(self) -> list[tuple[str, str]]:
        se = np.sqrt(np.diag(self._covariance("observed")))[self._parameters.place("random")]
        return [
            (
                name,
                f"{value:.5g}" + (f" (Std. Error {error:.4g})" if np.isfinite(error) else " (on the boundary)"),
            )
            for name, value, error in zip(self._covariance_of.read_labels(), self._read[0], se, strict=True)
        ]
