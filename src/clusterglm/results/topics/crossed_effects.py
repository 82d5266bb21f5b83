"""How far the levels of crossed factors differ, factor by factor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from clusterglm.errors import OptionError
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.results.topics.mixed_effects import MixedEffects, by_level, latent_variance

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.effects.mixed_heterogeneity import Sizes
    from clusterglm.model.arrays import Array


class CrossedEffects(MixedEffects):
    """Effects where factors cross."""

    def _known_effects(self, codes: NDArray[np.int64]) -> NoReturn:
        raise OptionError(
            'kind="conditional" with crossed random effects, whose posteriors depend on each other',
            'kind="marginal" or "typical"',
            'predict(kind="conditional"), for single rows',
        )

    @with_alpha
    def intraclass_correlation(self, data: Any = None, *, level: float = 0.95) -> pd.DataFrame:
        """Shares of the variance on the latent scale, factor by factor.

        The share of a factor is the correlation of two responses of one of its levels, with the same covariates, that
        have no level of another factor in common: z'S z of its effects over that of all effects and v, the variance of
        the latent error: pi^2/3 (logit), 1 (probit) or pi^2/6 (cloglog). Those of all factors add up to the correlation
        of two responses that have all levels in common. A factor that lies in another has its own share alone.

        Parameters
        ----------
        data : table, optional
            Rows with the columns of the random part; by default the rows that were used.
        level : float
            Coverage of the intervals, normal ones on the logit scale.

        Returns
        -------
        DataFrame
            Index `row`: `group`, `sd` (of z'b of this factor), `estimate`, `std_error` (delta method), `conf_low`,
            `conf_high`, and `status`: "ok", or what is missing. The rows are there once for each factor. No interval
            where z'b does not vary.

        Raises
        ------
        OptionError
            For counts, which have no latent scale.
        """
        from clusterglm.inference.effects.mixed_heterogeneity import shares_of_upper

        latent = latent_variance(self.response)
        check_level(level)
        rows, Z = self._rows_of(data)
        V, found = self._delta_covariance("observed"), {}
        random = self.fit.parameters.place("random")
        for group in self.fit.effects.groups:
            own, others = self._sizes_of(Z, group, V)
            found[group] = (own, shares_of_upper(own, others, latent, V[random, random], level))
        return by_level(rows, found)

    @with_alpha
    def median_odds_ratio(self, data: Any = None, *, level: float = 0.95) -> pd.DataFrame:
        """Median odds ratio between two rows that differ in the level of one factor alone, higher over lower.

        For counts the median rate ratio, for cloglog the median hazard ratio. With random slopes it depends on the
        row's covariates.

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
        Larsen and Merlo, American Journal of Epidemiology 161, 2005, at the standard deviation of z'b of the factor.
        """
        from clusterglm.inference.effects.mixed_heterogeneity import median_ratios
        from clusterglm.inference.effects.ratios import ratio_names

        ratio_names(self.response)
        check_level(level)
        rows, Z = self._rows_of(data)
        V, found = self._delta_covariance("observed"), {}
        for group in self.fit.effects.groups:
            own, _ = self._sizes_of(Z, group, V)
            found[group] = (own, median_ratios(own, level))
        return by_level(rows, found)

    def _sizes_of(self, Z: Array, group: str, V: Array) -> tuple[Sizes, Sizes]:
        """Of what a factor's effects add to the linear predictor, and of what all others add."""
        from clusterglm.inference.effects.mixed_heterogeneity import sizes

        where = self.fit.effects.places_of(group)
        others = Z.copy()
        others[:, where] = 0.0
        return sizes(Z - others, self.fit, V), sizes(others, self.fit, V)
