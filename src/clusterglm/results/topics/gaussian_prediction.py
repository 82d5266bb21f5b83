"""Predictions, residuals and shares of variance of normal responses with random effects of any factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.nesting import lies_in
from clusterglm.errors import OptionError, check_option
from clusterglm.fit.gaussian import GaussianFit, responses
from clusterglm.inference.predictions.gaussian import Known as KnownEffects
from clusterglm.inference.predictions.gaussian import slopes_of_effects, variances
from clusterglm.inference.predictions.prediction import LinkPrediction, at_intercepts
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.model.arrays import Array
from clusterglm.results.topics.mixed_prediction import MixedPredictions, named_factors
from clusterglm.results.topics.newdata import Rows, cluster_codes, columns_with_effects
from clusterglm.results.topics.prediction import Wanted

if TYPE_CHECKING:
    import pandas as pd

_Integers = NDArray[np.int64]
_RESIDUALS = ("response", "pearson", "quantile")
_AT = ("conditional", "typical", "marginal")


class GaussianPredictions(MixedPredictions):
    """Predictions of normal responses: averaged over effects, means are those at effects of zero."""

    if TYPE_CHECKING:
        fit: GaussianFit  # type: ignore[assignment]

        @property
        def _effects_known(self) -> KnownEffects: ...
        def _rows_of(self, data: Any) -> tuple[Rows, Array]: ...
        def _in_user_order(self, values: Array, name: str) -> pd.Series[float]: ...

    def _counted(self, effects: Sequence[str] | None, kind: Any) -> tuple[str, ...] | None:
        """The grouping factors whose effects count; None means all."""
        if effects is None:
            return None
        known = [levels.group for levels in self.fit.effects.groupings]
        return named_factors(effects, kind, known, f"effects=[{known[0]!r}]")

    def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction:
        if wanted.history is not None:
            raise OptionError(
                "history= of normal responses, which is not worked out",
                "levels of the fit",
                "a fit to the rows of the history too",
            )
        eta = rows.eta(self._beta)
        if kind in ("typical", "marginal"):
            found = at_intercepts(eta)
            if wanted.interval == "cluster":
                every = np.ones(rows.size, dtype=bool)
                return LinkPrediction(found.estimate, found.slope, found.extra, of_new=every)
            return found
        Z = columns_with_effects(self.fit.effects, rows)
        codes = self._levels_of(rows, wanted)
        eta = rows.eta(self._beta)
        z = np.nan_to_num(Z)
        known = self._effects_known
        estimate = eta + known.effects(z, codes)
        if wanted.level is None:
            return at_intercepts(estimate)
        own = np.zeros((rows.size, len(self.fit.theta)))
        slopes = slopes_of_effects(self.fit, known)
        for slope, factor, code in zip(slopes, known.task.statistics.factors, codes, strict=True):
            moved = np.einsum("ia,iak->ik", z[:, factor.columns], slope[code])
            own += np.where((code >= 0)[:, None], moved, 0.0)
        counted = np.where(self._columns_counted(wanted), z, 0.0)
        extra = variances(self.fit, known, counted, codes)
        return LinkPrediction(estimate, np.ones(rows.size), extra, own=own, cluster=np.arange(rows.size))

    def _columns_counted(self, wanted: Wanted) -> NDArray[np.bool_]:
        """Which columns belong to factors whose effects count, shape (q,)."""
        terms = self.fit.effects.terms
        groups = np.repeat([term.group for term in terms], [len(term.design.names) for term in terms])
        return np.ones(len(groups), dtype=bool) if wanted.effects is None else np.isin(groups, wanted.effects)

    def _levels_of(self, rows: Rows, wanted: Wanted) -> list[_Integers]:
        """Each row's level of each factor; -1 for effects that do not count or of levels that were not seen."""
        found = []
        for levels in self.fit.effects.groupings:
            if wanted.effects is not None and levels.group not in wanted.effects:
                found.append(np.full(rows.size, -1))
                continue
            if rows.frame is None:
                found.append(levels.codes)
                continue
            codes, words = cluster_codes(levels.labels, levels.group, rows.frame)
            rows.status.refuse(codes == -2, f"missing value in {levels.group!r}")
            unseen = codes == -1
            if wanted.unseen == "marginal":
                reason = f"{levels.group} " + words + " not seen: the mean over all of them"
                rows.status.say_first(unseen, np.asarray(reason, dtype=object))
            else:
                from clusterglm.results.topics.newdata import refuse_unknown_clusters

                refuse_unknown_clusters(rows.status, codes, words, levels.group, "the fit")
            found.append(np.maximum(codes, -1))
        return found

    def _new_cluster_ends(self, rows: Rows, which: _Integers, cov: str, level: float) -> tuple[Array, Array]:
        from clusterglm.inference.uncertainty.intervals import wald_interval

        fit, X = self.fit, rows.X[which]
        V = self._delta_covariance(cov)[fit.parameters.coefficients, fit.parameters.coefficients]
        scaled = columns_with_effects(fit.effects, rows)[which] @ fit.factor
        sd = np.sqrt(np.einsum("ij,jk,ik->i", X, V, X) + np.einsum("ij,ij->i", scaled, scaled))
        return wald_interval(rows.eta(self._beta)[which], sd, level)

    # Residuals -------------------------------------------------------------------------------------------------------

    def residuals(
        self, kind: str = "response", intercepts: Any = None, seed: Any = None, n_sim: int = 250
    ) -> pd.Series[float]:
        """Residuals of the rows that were used.

        Parameters
        ----------
        kind : {"response", "pearson", "quantile"}
            Observed minus mean; the same over its standard deviation, which is the residual one, and for "marginal"
            that of effects and residual together; or the same as "pearson", as quantile residuals of normal responses
            are.
        intercepts : "conditional", "typical" or "marginal", optional
            At the effects given the data (the default), or at effects of zero.
        seed, n_sim
            Of no use: nothing is drawn.

        Returns
        -------
        Series
            Index `row`: position in the user's table.

        Raises
        ------
        OptionError
            On another kind, or other intercepts.
        """
        check_option("kind", kind, _RESIDUALS)
        at = check_option("intercepts", _AT[0] if intercepts is None else intercepts, _AT)
        data, fit = self.data.rows, self.fit
        left = responses(data) - data.X @ fit.beta
        sd: Array | float = fit.residual_sd
        if at == "conditional":
            left = left - self._effects_known.effects(fit.effects.Z, [each.codes for each in fit.effects.groupings])
        if at == "marginal":
            scaled = fit.effects.Z @ fit.factor
            sd = np.sqrt(fit.residual_sd**2 + np.einsum("ij,ij->i", scaled, scaled))
        return self._in_user_order(left if kind == "response" else left / sd, "residual")

    # Shares of variance ----------------------------------------------------------------------------------------------

    @with_alpha
    def intraclass_correlation(self, data: Any = None, *, level: float = 0.95) -> pd.DataFrame:
        """Correlation of two responses of a level that have the same covariates: the effects' share of the variance.

        z'S z / (z'S z + residual variance), S the covariance of the effects that the two have in common and z the row's
        columns. With several grouping factors there is one for each: of two responses of a level of it, and of what it
        lies in, that have no other level in common.

        Parameters
        ----------
        data : table, optional
            Rows with the columns of the random part; by default the rows that were used.
        level : float
            Coverage of the intervals, normal ones on the logit scale.

        Returns
        -------
        DataFrame
            Index `row`: `sd` (of the effects in common), `estimate`, `std_error` (delta method in covariance and
            residual), `conf_low`, `conf_high`, and `status`. No interval where the effects do not vary. With several
            factors a column `group` comes first, and the rows are there once for each.
        """
        import pandas as pd

        from clusterglm.inference.effects.gaussian import shares
        from clusterglm.results.tables.frame import shown

        check_level(level)
        rows, Z = self._rows_of(data)
        order = np.argsort(rows.index, kind="stable")
        tables = []
        for group, common in self._in_common().items():
            found = shares(self.fit, Z, common, self._delta_covariance("observed"), level)
            table = pd.DataFrame(
                {
                    "sd": found.sd,
                    "estimate": found.estimate,
                    "std_error": found.std_error,
                    "conf_low": found.low,
                    "conf_high": found.high,
                    "status": rows.status.text,
                }
            ).iloc[order]
            table.index = pd.Index(rows.index[order], name="row")
            if len(self.fit.effects.groupings) > 1:
                table.insert(0, "group", group)
            tables.append(table)
        return shown(pd.concat(tables))

    def _in_common(self) -> dict[str, NDArray[np.bool_]]:
        """For each factor, which effects two rows of one of its levels have in common for sure, shape (q,)."""
        groupings, terms = self.fit.effects.groupings, self.fit.effects.terms
        groups = np.repeat([term.group for term in terms], [len(term.design.names) for term in terms])
        found = {}
        for one in groupings:
            around = [other.group for other in groupings if lies_in(one.codes, other.codes)]
            found[one.group] = np.isin(groups, around)
        return found
