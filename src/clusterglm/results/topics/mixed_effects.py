"""Effects in the units people report, with several random effects: a variable moves the random part too."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.repeats import repeats_of
from clusterglm.data.tables.table import read_table
from clusterglm.errors import OptionError
from clusterglm.fit.mixed import MixedFit
from clusterglm.inference.uncertainty.intervals import check_level, wald_interval, wald_p_values, with_alpha
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.results.topics.effects import Effects
from clusterglm.results.topics.heterogeneity import row_weights
from clusterglm.results.topics.newdata import Rows, RowStatus, columns_with_effects

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.design_changes import DesignChange
    from clusterglm.inference.effects.average_effects import AverageEffects
    from clusterglm.inference.effects.mixed_average import KnownEffects
    from clusterglm.inference.effects.mixed_heterogeneity import Sizes
    from clusterglm.inference.effects.ratios import Estimates
    from clusterglm.results.topics.effect_rows import EffectRows

_SINGULAR = "what lies on the boundary of the random effects' covariance is taken as known"


class MixedEffects(Effects):
    """Effects with several random effects of each cluster."""

    _marginal_differs = True
    _averaged_over: ClassVar[str] = " and over the distribution of the random effects"

    if TYPE_CHECKING:
        fit: MixedFit

        @property
        def singular(self) -> bool: ...

    def _mean_note(self, kind: str) -> str:
        return self._covariance_note

    def _averaged(
        self, changes: Collection[DesignChange], rows: EffectRows, kind: str, cov: str, *, scale: str = "response"
    ) -> AverageEffects:
        from clusterglm.inference.effects.mixed_average import effects_in_clusters, effects_over_clusters

        given = (changes, self.fit, rows.offset, rows.weights, self._delta_covariance(cov))
        if kind == "marginal":
            return effects_over_clusters(*given, link=scale == "link")
        known = self._known_effects(rows.codes) if kind == "conditional" else None
        return effects_in_clusters(*given, known, link=scale == "link")

    @property
    def _covariance_note(self) -> str:
        return _SINGULAR if self.singular else ""

    def _known_effects(self, codes: NDArray[np.int64]) -> KnownEffects:
        """Modes; repeats of a cluster have noise of their own."""
        from clusterglm.inference.effects.mixed_average import KnownEffects
        from clusterglm.inference.predictions.mixed_modes import mode_derivatives

        if self.fit.effects.children is not None:
            raise OptionError(
                'kind="conditional" with nested random effects, whose posteriors depend on each other',
                'kind="marginal" or "typical"',
                'predict(kind="conditional"), for single rows',
            )
        fit, L = self.fit, self.fit.factor
        spread = L @ fit.posterior.about_modes @ L.T / repeats_of(self.data.rows).clusters[:, None, None]
        derivatives = mode_derivatives(fit, self.response, fit.data.rows, fit.posterior.modes)
        return KnownEffects(fit.posterior.modes @ L.T, derivatives, spread, codes)

    @with_alpha
    def marginal_coefficients(self, *, level: float = 0.95) -> pd.DataFrame:
        """Coefficients as a population-averaged model of the same covariates would have them, as nearly as may be.

        The mean averaged over the distribution of the random effects, put on the scale of the link, is regressed on
        the covariates over the rows that were used. With random slopes it is no linear function of the covariates, not
        even nearly where slopes vary a lot: `attrs["misfit"]` says how far off it is, and `average_effects` needs no
        such line.

        Parameters
        ----------
        level : float
            Coverage of the intervals.

        Returns
        -------
        DataFrame
            One row per coefficient: `term`, `estimate`, `std_error` (delta method in coefficients and covariance), `z`,
            `pvalue`, `conf_low`, `conf_high`; with `note` where something is to be said. `attrs["misfit"]`: root mean
            square, on the scale of the link, of what the coefficients leave.

        Notes
        -----
        Hedeker, du Toit, Demirtas and Gibbons, Biometrics 74, 2018. Rows count with their trials, their
        weights and their cluster's.
        """
        import pandas as pd

        from clusterglm.inference.effects.ratios import regressed
        from clusterglm.inference.predictions.mixed_mean import averaged, on_link
        from clusterglm.results.tables.frame import shown

        data, fit = self.data.rows, self.fit
        means = averaged(data.X, fit.effects.Z, data.offset, fit)
        link, slopes = on_link(means, fit.response)
        V = self._delta_covariance("observed")
        found = regressed(data.X, row_weights(data), link - data.offset, slopes, V)
        z = found.estimate / found.std_error
        low, high = wald_interval(found.estimate, found.std_error, level)
        table = pd.DataFrame(
            {
                "term": list(data.names),
                "estimate": found.estimate,
                "std_error": found.std_error,
                "z": z,
                "pvalue": wald_p_values(z),
                "conf_low": low,
                "conf_high": high,
            }
        )
        table.attrs["misfit"] = found.misfit
        return shown(table.assign(note=self._covariance_note) if self.singular else table)

    def to_marginaleffects(self, data: Any = None) -> Any:
        """Refused: the package marginaleffects moves variables in the design of coefficients alone.

        Raises
        ------
        OptionError
        """
        raise OptionError(
            "marginaleffects for random slopes, whose columns it does not move with a variable",
            "a model in which variables have coefficients alone",
            "average_effects(), which moves both; or (1 | id) in the formula",
        )

    # How far clusters differ -----------------------------------------------------------------------------------------

    @with_alpha
    def intraclass_correlation(self, data: Any = None, *, level: float = 0.95) -> pd.DataFrame:
        """Correlation of two responses of a cluster that have the same covariates, on the latent scale.

        With random slopes clusters differ by z'b, whose variance z'S z depends on the row's covariates z: the
        correlation is z'S z / (z'S z + v), v the variance of the latent error: pi^2/3 (logit), 1 (probit) or pi^2/6
        (cloglog). With nested effects there is one for each grouping factor: of two responses of a level of it that
        have no lower level in common.

        Parameters
        ----------
        data : table, optional
            Rows with the columns of the random part; by default the rows that were used.
        level : float
            Coverage of the intervals, normal ones on the logit scale.

        Returns
        -------
        DataFrame
            Index `row`: `sd` (of z'b), `estimate`, `std_error` (delta method), `conf_low`, `conf_high`, and `status`:
            "ok", or what is missing. No interval where z'b does not vary. With nested effects a column `group` comes
            first, and the rows are there once for each factor; `sd` is of the effects that the two have in common.

        Raises
        ------
        OptionError
            For counts, which have no latent scale.
        """
        from clusterglm.inference.effects.mixed_heterogeneity import latent_shares, shares_of_upper, sizes

        latent = latent_variance(self.response)
        check_level(level)
        rows, Z = self._rows_of(data)
        V = self._delta_covariance("observed")
        found = sizes(Z, self.fit, V)
        shares, children = latent_shares(found, latent, level), self.fit.effects.children
        if children is None:
            return _by_row(rows, found, shares)
        d, random = self.fit.effects.n_upper, self.fit.parameters.place("random")
        upper, lower = sizes(Z, self.fit, V, slice(0, d)), sizes(Z, self.fit, V, slice(d, None))
        of_upper = shares_of_upper(upper, lower, latent, V[random, random], level)
        return by_level(rows, {str(self.data.cluster_name): (upper, of_upper), children.group: (found, shares)})

    @with_alpha
    def median_odds_ratio(self, data: Any = None, *, level: float = 0.95) -> pd.DataFrame:
        """Median odds ratio between two rows with the same covariates, from two clusters, higher over lower.

        For counts the median rate ratio, for cloglog the median hazard ratio. With random slopes it depends on the
        row's covariates. With nested effects there is one for each grouping factor: for rows from two levels of it,
        which differ in all effects; and for two levels of the lower one in the same cluster, which differ in its
        effects alone.

        Parameters
        ----------
        data : table, optional
            Rows with the columns of the random part; by default the rows that were used.
        level : float
            Coverage of the intervals, those of the logarithm of the standard deviation transformed.

        Returns
        -------
        DataFrame
            As that of `intraclass_correlation`.

        Raises
        ------
        OptionError
            For probit.

        Notes
        -----
        Larsen and Merlo, American Journal of Epidemiology 161, 2005, at the standard deviation of z'b. Of nested
        effects: Rabe-Hesketh and Skrondal, Multilevel and Longitudinal Modeling Using Stata, 2012, chapter 16.
        """
        from clusterglm.inference.effects.mixed_heterogeneity import median_ratios, sizes
        from clusterglm.inference.effects.ratios import ratio_names

        ratio_names(self.response)
        check_level(level)
        rows, Z = self._rows_of(data)
        V, children = self._delta_covariance("observed"), self.fit.effects.children
        found = sizes(Z, self.fit, V)
        ratios = median_ratios(found, level)
        if children is None:
            return _by_row(rows, found, ratios)
        lower = sizes(Z, self.fit, V, slice(self.fit.effects.n_upper, None))
        of_lower = (lower, median_ratios(lower, level))
        return by_level(rows, {str(self.data.cluster_name): (found, ratios), children.group: of_lower})

    def _rows_of(self, data: Any) -> tuple[Rows, Array]:
        """Rows, and the columns of their random part."""
        from clusterglm.results.topics.newdata import fitted_rows

        if data is None:
            rows = fitted_rows(self.data.rows)
        else:
            frame = read_table(data)
            n = len(frame)
            rows = Rows(np.empty((n, 0)), np.zeros(n), np.arange(n), RowStatus(n), frame)
        return rows, columns_with_effects(self.fit.effects, rows)


def latent_variance(response: Response) -> float:
    """Variance of the latent error of responses.

    Raises
    ------
    OptionError
        Where responses have no latent scale.
    """
    found = response.latent_variance
    if found is None:
        raise OptionError(
            f"an intraclass correlation of {response.family} responses",
            "responses with a latent scale",
            "median_odds_ratio(), the median ratio of two clusters' means",
        )
    return found


def by_level(rows: Rows, of_factors: dict[str, tuple[Sizes, Estimates]]) -> pd.DataFrame:
    """A table for each grouping factor, one after another."""
    import pandas as pd

    from clusterglm.results.tables.frame import shown

    tables = [_by_row(rows, found, estimates) for found, estimates in of_factors.values()]
    for table, name in zip(tables, of_factors, strict=True):
        table.insert(0, "group", name)
    return shown(pd.concat(tables))


def _by_row(rows: Rows, found: Sizes, estimates: Estimates) -> pd.DataFrame:
    import pandas as pd

    from clusterglm.results.tables.frame import shown

    order = np.argsort(rows.index, kind="stable")
    columns: dict[str, Array] = {
        "sd": found.sd,
        "estimate": estimates.estimate,
        "std_error": estimates.std_error,
        "conf_low": estimates.low,
        "conf_high": estimates.high,
    }
    table = pd.DataFrame({name: values[order] for name, values in columns.items()})
    table["status"] = rows.status.text[order]
    return shown(table.set_index(pd.Index(rows.index[order], name="row")))
