"""The result of `random_effects` with factors that cross."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import OptionError
from clusterglm.inference.predictions.crossed_mean import places_outside
from clusterglm.likelihood.vector.vector import VectorPosterior
from clusterglm.model.arrays import Array
from clusterglm.results.models.mixed import MixedEffectsResult
from clusterglm.results.tables.table import counted
from clusterglm.results.topics.crossed_effects import CrossedEffects
from clusterglm.results.topics.crossed_prediction import CrossedPredictions
from clusterglm.results.topics.sampling import CrossedSampling

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.adequacy import Finding, IntegrationCheck, IntegrationCurve
    from clusterglm.inference.diagnostics.influence import Deletion
    from clusterglm.inference.hypotheses.comparison import Candidate
    from clusterglm.results.topics.caveats import Caveat
    from clusterglm.results.topics.pieces import EffectsGivenData

_COST_OF_DRAWS = 50  # times that of a fit without these
_FEW_LEVELS = 10  # of a factor, of whose variance so many say little


@dataclass(frozen=True, repr=False, eq=False)
class CrossedEffectsResult(CrossedSampling, CrossedPredictions, CrossedEffects, MixedEffectsResult):
    """A generalised linear model with random effects of several grouping factors, of which some cross.

    The effects of one factor, that of the clusters, are integrated out given those of the others, and these by
    Laplace's approximation, which importance sampling corrects: `quadrature.outside` says how much, and what may be
    left.

    Parameters
    ----------
    fit : MixedFit
        The estimates.
    data : ModelData
        What was fitted.
    """

    _covariances: ClassVar[tuple[str, ...]] = ("observed",)

    def cov(self, kind: str = "observed") -> pd.DataFrame:
        """Covariance matrix of all estimates.

        Parameters
        ----------
        kind : "observed"
            Inverse of the observed information. There is no robust covariance: it needs clusters that are independent.

        Returns
        -------
        DataFrame
            Rows and columns by parameter: coefficients, standard deviations and correlations.

        Raises
        ------
        OptionError
            On another kind.
        """
        return super().cov(kind) if kind != "robust" else self._scores

    @property
    def _scores(self) -> NoReturn:
        raise OptionError(
            'a "robust" covariance of a model with crossed random effects',
            "clusters that are independent, which levels of crossed factors are not",
            'bootstrap(), which draws all effects anew; or cov("observed")',
        )

    # Each factor's levels --------------------------------------------------------------------------------------------

    def _levels(self) -> dict[str, NDArray[Any]]:
        return {str(self.data.cluster_name): self.data.rows.labels} | {
            each.group: each.labels for each in self.fit.effects.outside
        }

    def _of_levels(self, group: str) -> tuple[VectorPosterior, Array]:
        """What the data say of the standard normal effects of a factor's levels, and the factor of their covariance."""
        effects, (posterior, (v, u)) = self.fit.effects, (self._given_data.posterior, self._given_data.modes)
        where = effects.places_of(group)
        L = self.fit.factor[where, where]
        if group == self.data.cluster_name:
            return VectorPosterior(u, posterior.means_u, posterior.covariances_u), L
        places = places_outside(effects, group, np.arange(len(self._levels()[group])))
        covariances = np.array([posterior.covariance_v(own) for own in places])
        return VectorPosterior(v[places], posterior.means_v[places], covariances), L

    @property
    def random_effects(self) -> pd.DataFrame:
        """What the data say of the effects of each level of each factor.

        Returns
        -------
        DataFrame
            A row for each level and effect: `group` (the grouping factor), `label`, `effect`, and `mode`, `mean`, `sd`
            of the effect (on the linear predictor's scale, in units of its column) given all data and the estimates.
            Modes are those of all effects jointly. Means and standard deviations are those of Laplace's approximation
            over the factors that cross the clusters, means to the next order; those of clusters are by points given
            these, and carry what is not known of them.
        """
        import pandas as pd

        of_groups = []
        for group, labels in self._levels().items():
            (found, L), (names, _) = self._of_levels(group), self._effects_of(group)
            variances = np.einsum("ij,mjk,ik->mi", L, found.covariances, L)
            of_groups.append(
                pd.DataFrame(
                    {
                        "group": group,
                        "label": np.repeat(labels.astype(object), len(names)),
                        "effect": names * len(labels),
                        "mode": (found.modes @ L.T).ravel(),
                        "mean": (found.means @ L.T).ravel(),
                        "sd": np.sqrt(variances).ravel(),
                    }
                )
            )
        return pd.concat(of_groups, ignore_index=True)

    def random_effects_covariance(self, label: Any, group: str | None = None) -> pd.DataFrame:
        """Covariance of a level's effects given the data and the estimates.

        Parameters
        ----------
        label : object
            The level, as in `random_effects`.
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

        group = str(self.data.cluster_name) if group is None else group
        (names, _), labels = self._effects_of(group), self._levels()[group]
        at = np.flatnonzero(labels == label)
        if len(at) != 1:
            raise OptionError(
                f"label={label!r}", f"one of the {len(labels)} levels of {group!r}", "fit.random_effects['label']"
            )
        found, L = self._of_levels(group)
        return pd.DataFrame(L @ found.covariances[at[0]] @ L.T, index=names, columns=names)

    def _cluster_effects(self) -> dict[str, tuple[str, pd.DataFrame]]:
        table = self.random_effects.rename(columns={"mode": "estimate", "sd": "std_error"})
        table["effect"] = table["group"] + ": " + table["effect"]
        return {
            str(name): (f"{name} (posterior mode)", own.reset_index(drop=True))
            for name, own in table.groupby("effect", sort=False)
        }

    def _effects_given_data(self) -> EffectsGivenData:
        raise OptionError(
            "random effects of crossed factors against each other",
            "effects of one factor",
            "fit.plot.caterpillar(), or fit.random_effects",
        )

    def _at_joint_modes(self) -> Array:
        """What the effects add to each row's linear predictor at their joint modes."""
        data, effects, (v, u) = self.data.rows, self.fit.effects, self._given_data.modes
        columns = [v[places_outside(effects, each.group, each.codes)] for each in effects.outside]
        standard = np.hstack([u[data.innermost_clusters], *columns])
        return np.asarray(np.einsum("ij,ij->i", effects.Z, standard @ self.fit.factor.T))

    def _fitted_eta(self) -> Array:
        return np.asarray(self._eta(0.0) + self._at_joint_modes())

    def _cluster_levels(self) -> Array:
        starts = self.data.rows.starts
        return np.asarray(np.add.reduceat(self._at_joint_modes(), starts[:-1]) / np.diff(starts))

    def _draw_new(self, rng: np.random.Generator) -> Array:
        effects, L, data = self.fit.effects, self.fit.factor, self.data.rows
        levels = [(str(data.cluster_name), data.innermost_clusters, data.n_clusters)]
        levels += [(each.group, each.codes, int(each.codes.max()) + 1) for each in effects.outside]
        line = self._eta(0.0)
        for group, codes, count in levels:
            where = effects.places_of(group)
            drawn = rng.standard_normal((count, where.stop - where.start)) @ L[where, where].T
            line = line + np.einsum("ij,ij->i", effects.Z[:, where], drawn[codes])
        return self._draw(line, rng)

    def _report_parts(self) -> list[str]:
        return [part for part in super()._report_parts() if part != "influence"]

    # What single clusters would have to tell -------------------------------------------------------------------------

    def _deletion(self) -> Deletion:
        return self._of_clusters("influence of single clusters", "residuals(), and fit.random_effects of each factor")

    def _of_clusters(self, what: str, instead: str) -> NoReturn:
        raise OptionError(
            f"{what} in a model with crossed random effects",
            "clusters that are independent, each with a likelihood of its own",
            instead,
        )

    def _influence_finding(self) -> Finding:
        from clusterglm.inference.diagnostics.adequacy import Finding

        return Finding("Influence", None, "clusters are not independent where factors cross")

    @property
    def _rows_of_usual_cost(self) -> int:
        return _COST_OF_DRAWS * super()._rows_of_usual_cost

    # The integrals ---------------------------------------------------------------------------------------------------

    @cached_property
    def _integration_checked(self) -> IntegrationCheck:
        from clusterglm.inference.diagnostics.crossed import check_crossed_integration

        return check_crossed_integration(self._integrated, self._names_integrated, self._read[1])

    def _integration_curve(self, nodes: list[int]) -> IntegrationCurve:
        from clusterglm.inference.diagnostics.crossed import crossed_integration_curve

        return crossed_integration_curve(self._integrated, nodes)

    def _candidate(self, name: str) -> Candidate:
        found, outside = super()._candidate(name), self.quadrature.outside
        error = np.nan if outside is None else self.quadrature.error + 2.0 * outside.standard_error
        return replace(found, integration_error=error)

    def _integration_in_words(self) -> str:
        words = super()._integration_in_words()
        others = " and ".join(repr(each.group) for each in self.fit.effects.outside)
        return f"{words}. Of {others}: {self._outside_in_words()}"

    def _outside_in_words(self) -> str:
        outside = self.quadrature.outside
        if outside is None:
            return 'Laplace\'s approximation, of unknown error (quadrature="auto" corrects it)'
        draws = f"{outside.draws:,} draws, of which {100.0 * outside.share:.2g}% are effective"
        if not outside.applied:
            return f"Laplace's approximation, as importance sampling ({draws}) knows too little to correct it"
        return (
            f"Laplace's approximation, corrected by {outside.correction:+.4f} (standard error "
            f"{outside.standard_error:.1e}) by {draws}; estimates moved by up to {outside.moved:.2g} standard errors, "
            f"known to {outside.of_estimates:.1g}"
        )

    def _caveats_of_covariance(self) -> list[Caveat]:
        from clusterglm.results.topics.caveats import Caveat

        found = [] if not self.singular else super()._caveats_of_covariance()
        few = {name: len(labels) for name, labels in self._levels().items() if len(labels) < _FEW_LEVELS}
        if few and not self.singular:
            words = (
                f"There are {' and '.join(f'{count} levels of {name!r}' for name, count in few.items())}: their "
                "variance is hardly known, and maximum likelihood puts standard deviations too low on average. Read "
                "their profile intervals, or give them coefficients."
            )
            found.append(Caveat("A variance from few levels", words))
        return found

    def _caveats_of_integration(self) -> list[Caveat]:
        from clusterglm.results.topics.caveats import Caveat

        outside = self.quadrature.outside
        if outside is None:
            return super()._caveats_of_integration()
        if outside.enough:
            return []
        return [Caveat("Integrals not accurate", outside.advice, serious=True)]

    # Tables ----------------------------------------------------------------------------------------------------------

    def _glance(self) -> dict[str, Any]:
        outside = self.quadrature.outside
        return {
            **super()._glance(),
            "correction": np.nan if outside is None else outside.correction,
            "correction_std_error": np.nan if outside is None else outside.standard_error,
            "effective_share": np.nan if outside is None else outside.share,
        }

    def _export(self) -> dict[str, Any]:
        outside, found = self.quadrature.outside, super()._export()
        if outside is not None:
            names = ("laplace", "correction", "standard_error", "of_estimates", "moved", "share", "draws", "applied")
            found["integration"] |= {"outside": {name: getattr(outside, name) for name in names}}
        return found

    def _seen(self) -> str:
        levels = [f"{len(labels):,} of {name!r}" for name, labels in self._levels().items()]
        return f"{counted(self.n_obs, 'row')}; levels: {', '.join(levels)}"
