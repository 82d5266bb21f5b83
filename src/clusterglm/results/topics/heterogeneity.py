"""Heterogeneity between clusters, and what it does to coefficients, in the units people report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.errors import OptionError, check_option, nearest
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.inference.predictions.marginal_mean import marginal_link
from clusterglm.inference.uncertainty.intervals import check_level, wald_interval, wald_p_values, with_alpha
from clusterglm.model.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.effects.heterogeneity import ScalarEstimate

NO_MEAN = "the mean over the intercept's distribution is infinite: its tails are too heavy"


class Heterogeneity:
    """What a random intercept's scale means."""

    if TYPE_CHECKING:
        fit: RandomEffectsFit
        data: FittedData

        @property
        def sigma_se(self) -> float: ...
        def _delta_covariance(self, kind: str) -> Array: ...

    @with_alpha
    def marginal_coefficients(self, *, level: float = 0.95) -> pd.DataFrame:
        """Coefficients as a population-averaged model of the same covariates would have them.

        The mean averaged over the distribution of intercepts, put on the scale of the link, is regressed on the
        covariates over the rows that were used. Coefficients of binomial models shrink towards zero; of those for
        counts only the intercept moves.

        Parameters
        ----------
        level : float
            Coverage of the intervals.

        Returns
        -------
        DataFrame
            One row per coefficient: `term`, `estimate`, `std_error` (delta method in coefficients and sigma), `z`,
            `pvalue`, `conf_low`, `conf_high`; with `note` where something is to be said.
            `attrs["misfit"]`: root mean square, on the scale of the link, of what the coefficients leave; the averaged
            mean follows a probit with Gaussian intercepts exactly, other links nearly.

        Raises
        ------
        OptionError
            Where the averaged mean is infinite: counts whose intercept has too heavy tails.

        Notes
        -----
        Hedeker, du Toit, Demirtas and Gibbons, Biometrics 74, 2018. Rows count with their trials, their
        weights and their cluster's.
        """
        import pandas as pd

        from clusterglm.inference.effects.heterogeneity import sigma_note
        from clusterglm.inference.effects.ratios import marginal_coefficients
        from clusterglm.results.tables.frame import shown

        fit, data = self.fit, self.data.rows
        link = partial(marginal_link, sigma=fit.sigma, response=fit.response, distribution=fit.distribution)
        at = link(np.zeros(1))
        if not at.exists:
            raise OptionError(NO_MEAN, "an intercept with lighter tails", 'distribution="gaussian"')
        V = self._delta_covariance("observed")
        found = marginal_coefficients(data.X, data.offset, row_weights(data), fit.beta, V, link)
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
        note, _ = sigma_note(fit.sigma, 0.0, fit.sigma_fixed)
        table.attrs["misfit"] = found.misfit
        return shown(table.assign(note=note) if note else table)

    @with_alpha
    def intraclass_correlation(
        self, scale: str = "latent", *, level: float = 0.95, at: float | None = None
    ) -> ScalarEstimate:
        """Correlation of two responses of a cluster that have the same covariates.

        Parameters
        ----------
        scale : {"latent", "response"}
            Scale of the correlation: that of the continuous variables behind binary responses, free of covariates
            (none for counts); or that of the responses themselves, single trials or counts, which depends on the
            linear predictor.
        level : float
            Coverage of the interval, a normal one on the logit scale.
        at : float, optional
            For "response": linear predictor, offset included, at an intercept of zero. By default its average over the
            rows that were used.

        Returns
        -------
        ScalarEstimate
            `estimate`, `std_error`, `conf_low`, `conf_high`, `note`. Without an interval where the maximum lies at
            sigma = 0; nan, with the reason, where the intercept has no variance (on the latent scale, a Cauchy).

        Raises
        ------
        OptionError
            On another scale, or `at` with "latent".

        Notes
        -----
        Response scale: variance of the mean over the distribution of intercepts, relative to the variance of one
        response (Goldstein, Browne and Rasbash, Understanding Statistics 1, 2002; Nakagawa, Johnson and Schielzeth,
        J. R. Soc. Interface 14, 2017).
        """
        from clusterglm.inference.effects.icc import correlation_with_interval, latent_correlation, response_correlation

        check_option("scale", scale, ("latent", "response"))
        check_level(level)
        fit = self.fit
        if scale == "latent":
            if at is not None:
                raise OptionError(f'at={at!r} with scale="latent"', "no linear predictor", 'scale="response"')
            return latent_correlation(
                fit.response, fit.distribution, fit.sigma, self.sigma_se, level, fixed=fit.sigma_fixed
            )
        gradient, eta = np.zeros(len(fit.beta)), at
        if eta is None:
            weights = row_weights(self.data.rows)
            gradient = weights @ self.data.rows.X
            eta = float(gradient @ fit.beta + weights @ self.data.rows.offset)
        if isinstance(eta, bool) or not isinstance(eta, Real) or not np.isfinite(float(eta)):
            raise OptionError(f"at={at!r}", "a finite number, a linear predictor", "at=0.0; or leave it out")
        found = response_correlation(float(eta), fit.sigma, fit.response, fit.distribution)
        V = self._delta_covariance("observed")
        return correlation_with_interval(found, gradient, fit.sigma, V, level, fixed=fit.sigma_fixed)

    @with_alpha
    def median_odds_ratio(self, *, level: float = 0.95) -> ScalarEstimate:
        """Median odds ratio between two rows with the same covariates, from two clusters, higher over lower.

        For counts the median rate ratio, for cloglog the median hazard ratio.

        Parameters
        ----------
        level : float
            Coverage of the interval, that of log sigma transformed: it stays above 1.

        Returns
        -------
        ScalarEstimate
            `estimate`, `std_error`, `conf_low`, `conf_high`, `note`; 1 without an interval where the maximum lies at
            sigma = 0.

        Raises
        ------
        OptionError
            For probit.

        Notes
        -----
        Larsen and Merlo, American Journal of Epidemiology 161, 2005.
        """
        from clusterglm.inference.effects.heterogeneity import median_ratio
        from clusterglm.inference.effects.ratios import ratio_names

        name = f"median {ratio_names(self.fit.response)[0]}"
        check_level(level)
        fit = self.fit
        return median_ratio(fit.sigma, self.sigma_se, fit.distribution, level, name=name, fixed=fit.sigma_fixed)

    @with_alpha
    def interval_odds_ratio(
        self, contrast: str | Mapping[str, float] | ArrayLike, coverage: float = 0.8, *, level: float = 0.95
    ) -> pd.DataFrame:
        """Middle part of the odds ratios between rows of two clusters whose covariates differ.

        For counts of rate ratios, for cloglog of hazard ratios. Meant for covariates of clusters: where the interval
        holds 1, clusters differ by more than the covariate makes up for.

        Parameters
        ----------
        contrast : str, mapping or array_like of shape (p,)
            Difference of the two rows' covariates: a coefficient by name, for a difference of one; differences by
            name; or all of them.
        coverage : float
            Share of the ratios inside.
        level : float
            Coverage of the intervals of the ends.

        Returns
        -------
        DataFrame
            Rows `term` "lower" and "upper": `estimate`, `std_error` (delta method in coefficients and sigma),
            `conf_low`, `conf_high`; with `note` where something is to be said. `attrs["opposed"]`: share of ratios on
            the other side of 1 than the covariates' own effect.

        Raises
        ------
        OptionError
            For probit, or on a contrast or coverage that cannot be used.

        Notes
        -----
        Larsen and Merlo, American Journal of Epidemiology 161, 2005.
        """
        import pandas as pd

        from clusterglm.inference.effects.heterogeneity import interval_ratio
        from clusterglm.inference.effects.ratios import ratio_names
        from clusterglm.results.tables.frame import shown

        ratio_names(self.fit.response)
        check_level(level)
        if isinstance(coverage, bool) or not isinstance(coverage, Real) or not 0.0 < float(coverage) < 1.0:
            raise OptionError(f"coverage={coverage!r}", "a number between 0 and 1", "coverage=0.8")
        fit = self.fit
        found = interval_ratio(
            _contrast(contrast, self.data.names),
            float(coverage),
            fit.beta,
            fit.sigma,
            self._delta_covariance("observed"),
            fit.distribution,
            level,
            fixed=fit.sigma_fixed,
        )
        ends = found.ends
        table = pd.DataFrame(
            {
                "term": ["lower", "upper"],
                "estimate": ends.estimate,
                "std_error": ends.std_error,
                "conf_low": ends.low,
                "conf_high": ends.high,
            }
        )
        table.attrs["opposed"] = found.opposed
        return shown(table.assign(note=found.note) if found.note else table)


def row_weights(data: ModelData) -> Array:
    """Weights of rows times their trials and the weights of their clusters, of sum one."""
    weights = data.weights * data.trials * np.repeat(data.cluster_weights, np.diff(data.starts))
    return np.asarray(weights / weights.sum())


def _contrast(contrast: str | Mapping[str, float] | ArrayLike, names: Sequence[str]) -> Array:
    """A difference of covariates, shape (p,)."""
    wanted: Any = {contrast: 1.0} if isinstance(contrast, str) else contrast
    if isinstance(wanted, Mapping):
        values = np.zeros(len(names))
        for name, value in wanted.items():
            if name not in names:
                raise OptionError(
                    f"contrast= with {name!r}",
                    f"coefficients: {', '.join(map(repr, names))}",
                    f"{nearest(str(name), names)}name coefficients as in params",
                )
            values[list(names).index(name)] = float(value)
        return values
    try:
        values = np.asarray(wanted, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (len(names),) or not np.isfinite(values).all():
        raise OptionError(
            f"contrast={contrast!r}", f"a coefficient's name, a mapping, or {len(names)} finite numbers", "contrast='x'"
        )
    return values
