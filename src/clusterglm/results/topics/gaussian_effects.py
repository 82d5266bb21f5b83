"""Effects of normal responses, or working ones: their scale where there is one, and what data say of each level."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clusterglm.data.prepare import FittedData
from clusterglm.errors import OptionError
from clusterglm.inference.predictions.gaussian import Known, NormalEstimates, known_effects
from clusterglm.model.arrays import Array
from clusterglm.model.covariance import Covariance
from clusterglm.model.parameters import Parameters
from clusterglm.results.topics.adjusted_means import Averages
from clusterglm.results.topics.mixed_clusters import OfOneIntercept
from clusterglm.results.topics.pieces import EffectsGivenData

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.design_changes import DesignChange
    from clusterglm.inference.effects.average_effects import AverageEffects
    from clusterglm.results.topics.effect_rows import EffectRows


class LinearAverages(Averages):
    """Averages where the mean is the linear predictor, whatever effects of clusters it is averaged over."""

    _mean_kinds = ("marginal", "typical")
    _marginal_differs = False
    _averaged_over: ClassVar[str] = ""

    if TYPE_CHECKING:

        def cov(self, kind: str = "observed", *, parameters: str = "all") -> pd.DataFrame: ...

    def _averaged(
        self, changes: Collection[DesignChange], rows: EffectRows, kind: str, cov: str, *, scale: str = "response"
    ) -> AverageEffects:
        from clusterglm.inference.effects.average_effects import average_effects
        from clusterglm.inference.predictions.averaged_mean import link_jet

        # columns of random effects, whose mean is 0, stand behind those with coefficients
        more = 0 if self.data.effects is None else self.data.effects.Z.shape[1]
        beta = np.append(self._beta, np.zeros(more))
        V = np.pad(self.cov(cov, parameters="coefficients").to_numpy(), (0, more))
        return average_effects(changes, beta, rows.offset, rows.weights, V, link_jet, None, rows.times)


class GaussianEffects(OfOneIntercept):
    """Effects of the levels of any grouping factors."""

    if TYPE_CHECKING:
        fit: NormalEstimates
        data: FittedData

        @property
        def n_obs(self) -> int: ...
        @property
        def _read(self) -> tuple[Array, Array]: ...
        @property
        def _parameters(self) -> Parameters: ...
        @property
        def _covariance_of(self) -> Covariance: ...
        def _covariance(self, kind: str) -> Array: ...
        def _eta(self, intercepts: Array | float) -> Array: ...
        def _draw(self, eta: Array, rng: np.random.Generator) -> Array: ...
        def _effects_of(self, group: str | None) -> tuple[list[str], slice]: ...

    @property
    def _scalar(self) -> bool:
        """Whether there is one random intercept, or one slope, and nothing else."""
        return len(self.fit.phi) == 1 and self.fit.effects.Z.shape[1] == 1

    @property
    def sigma(self) -> float:  # type: ignore[override]
        """Standard deviation of a single random effect; several effects have `variance_components`.

        Raises
        ------
        OptionError
        """
        return float(self._read[0][0]) if self._scalar else super().sigma

    @property
    def sigma_se(self) -> float:  # type: ignore[override]
        """Standard error of `sigma`; nan on the boundary.

        Raises
        ------
        OptionError
        """
        return (
            float(np.sqrt(np.diag(self._covariance("observed"))[self._parameters.place("random")][0]))
            if self._scalar
            else super().sigma_se
        )

    @property
    def random_effects_sd(self) -> float:  # type: ignore[override]
        """The same as `sigma`.

        Raises
        ------
        OptionError
        """
        return self.sigma if self._scalar else super().random_effects_sd

    @property
    def icc(self) -> float:  # type: ignore[override]
        """Share of the variance that a single random intercept has; with several effects `intraclass_correlation`.

        Raises
        ------
        OptionError
        """
        if not self._scalar or float(np.ptp(self.fit.effects.Z)) > 0.0:
            return super().icc
        return float(self.sigma**2 / (self.sigma**2 + self.fit.residual_sd**2))

    @property
    def random_effects(self) -> pd.DataFrame:
        """What the data say of the effects of each level.

        Returns
        -------
        DataFrame
            A row for each level and effect: `group` (the grouping factor), `label`, `effect`, and `mode`, `mean` (which
            is the same), `sd` of the effect given the data and the estimates. Of a single random intercept without
            `group` and `effect`.
        """
        import pandas as pd

        known, parts = self._effects_known, []
        for k, levels in enumerate(self.fit.effects.groupings):
            names, _ = self._effects_of(levels.group)
            means, variances = known.means[k], np.diagonal(known.covariances[k], axis1=1, axis2=2)
            parts.append(
                pd.DataFrame(
                    {
                        "group": levels.group,
                        "label": np.repeat(levels.labels, len(names)),
                        "effect": names * len(levels.labels),
                        "mode": means.ravel(),
                        "mean": means.ravel(),
                        "sd": np.sqrt(np.maximum(variances, 0.0)).ravel(),
                    }
                )
            )
        whole = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
        return whole[["label", "mode", "mean", "sd"]] if self._scalar else whole

    def random_effects_covariance(self, label: Any, group: str | None = None) -> pd.DataFrame:
        """Covariance of a level's effects given the data and the estimates; see `MixedEffectsResult`."""
        import pandas as pd

        groupings = self.fit.effects.groupings
        known = [levels.group for levels in groupings]
        if group not in known and (group is not None or len(known) > 1):
            raise OptionError(f"group={group!r}", f"one of {', '.join(map(repr, known))}", f"group={known[0]!r}")
        k = known.index(known[0] if group is None else group)
        found = np.flatnonzero(groupings[k].labels == label)
        if len(found) != 1:
            raise OptionError(
                f"label={label!r}",
                f"one of the {len(groupings[k].labels)} levels of {known[k]!r}",
                "fit.random_effects['label']",
            )
        names, _ = self._effects_of(known[k])
        return pd.DataFrame(self._effects_known.covariances[k][found[0]], index=names, columns=names)

    # Rows at these effects, and at new ones ---------------------------------------------------------------------------

    @cached_property
    def _effects_known(self) -> Known:
        return known_effects(self.fit)

    def _fitted_eta(self) -> Array:
        effects = self.fit.effects
        return np.asarray(self._eta(0.0) + self._effects_known.effects(effects.Z, [e.codes for e in effects.groupings]))

    def _draw_new(self, rng: np.random.Generator) -> Array:
        effects, L = self.fit.effects, self.fit.factor
        b = np.zeros_like(effects.Z)
        for levels, factor in zip(effects.groupings, self.fit.task.statistics.factors, strict=True):
            own = factor.columns
            u = rng.standard_normal((len(levels.labels), len(own))) @ L[np.ix_(own, own)].T
            b[:, own] = u[levels.codes]
        return self._draw(self._eta(0.0) + np.einsum("ij,ij->i", effects.Z, b), rng)

    # In tables and pictures -------------------------------------------------------------------------------------------

    def _component_facts(self) -> list[tuple[str, str]]:
        random = self._parameters.place("random")
        errors = np.sqrt(np.diag(self._covariance("observed")))[random]
        named = zip(self._covariance_of.read_labels(), self._read[0], errors, strict=True)
        return [
            (name, f"{value:.5g}" + (f" (Std. Error {error:.4g})" if np.isfinite(error) else " (on the boundary)"))
            for name, value, error in named
        ]

    def _cluster_effects(self) -> dict[str, tuple[str, pd.DataFrame]]:
        if self._scalar:
            table = self.random_effects.assign(effect=self._covariance_of.terms[0].effects[0])
        else:
            table = self.random_effects
            if len(self.fit.effects.groupings) > 1:
                table["effect"] = table["group"] + ": " + table["effect"]
        table = table.rename(columns={"mode": "estimate", "sd": "std_error"})
        return {
            str(name): (f"{name} (given the data)", own.reset_index(drop=True))
            for name, own in table.groupby("effect", sort=False)
        }

    def _effects_given_data(self) -> EffectsGivenData:
        if len(self.fit.effects.groupings) > 1:
            raise OptionError(
                "random effects of several factors against each other",
                "effects of one factor",
                "fit.plot.caterpillar(), or fit.random_effects",
            )
        (means,), (covariances,) = self._effects_known.means, self._effects_known.covariances
        names = [name for term in self._covariance_of.terms for name in term.effects]
        return EffectsGivenData(names, means, covariances, self.fit.factor @ self.fit.factor.T)

    def _cluster_levels(self) -> Array:
        """The average of z'b over the rows of each cluster."""
        values, starts = self._fitted_eta() - self._eta(0.0), self.data.rows.starts
        return np.asarray(np.add.reduceat(values, starts[:-1]) / np.diff(starts))

    @property
    def _rows_of_usual_cost(self) -> int:
        return self.n_obs
