"""Fits that differ in the distribution of the random intercept alone, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clusterglm.inference.distribution.goodness import GoodnessOfFit
from clusterglm.results.models.nonparametric import NonparametricResult
from clusterglm.results.models.random_effects import RandomEffectsResult

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

CRITERIA = ("aic", "bic", "chi_square")
REFERENCE = "nonparametric"


@dataclass(frozen=True)
class DistributionSelection:
    """One fit per distribution, and what speaks for each.

    Parameters
    ----------
    fits : mapping of str to RandomEffectsResult
        By the distribution's name, in the order asked for.
    goodness : mapping of str to GoodnessOfFit
        The chi-squared criterion of each; of none where rows are not in memory, weights are not whole numbers, or the
        distribution of a cluster's sum is not known.
    failures : mapping of str to str
        Why a distribution could not be fitted.
    reference : NonparametricResult or None
        The most likely of all distributions, if asked for.
    """

    fits: Mapping[str, RandomEffectsResult]
    goodness: Mapping[str, GoodnessOfFit]
    failures: Mapping[str, str]
    reference: NonparametricResult | None = None

    @property
    def table(self) -> pd.DataFrame:
        """A row for each distribution.

        Returns
        -------
        DataFrame
            Index `distribution`; columns `loglik`, `n_parameters`, `aic`, `bic`, `aic_weight`, `bic_weight` (Akaike and
            Schwarz weights, which sum to one), `chi_square`, `chi_square_p` (nan without replicates), `sigma`,
            `random_effects_sd`, `integration_error`, `converged`. The reference, if there is one, comes last, without
            weights, chi-squared criterion or sigma.
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        rows = {}
        for name, fit in self.fits.items():
            rows[name] = {
                "loglik": fit.loglik,
                "n_parameters": fit.n_parameters,
                "aic": fit.aic,
                "bic": fit.bic,
                "aic_weight": 0.0,
                "bic_weight": 0.0,
                "chi_square": self.goodness[name].statistic if name in self.goodness else np.nan,
                "chi_square_p": self.goodness[name].pvalue if name in self.goodness else np.nan,
                "sigma": fit.sigma,
                "random_effects_sd": fit.random_effects_sd,
                "integration_error": fit.quadrature.error,
                "converged": fit.converged,
            }
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("distribution")
        for criterion in ("aic", "bic"):
            weight = np.exp(-0.5 * (table[criterion] - table[criterion].min()))
            table[f"{criterion}_weight"] = weight / weight.sum()
        if self.reference is not None:
            bound = self.reference
            known = {name: getattr(bound, name) for name in ("loglik", "n_parameters", "aic", "bic", "converged")}
            row = {**dict.fromkeys(table.columns, np.nan), **known, "random_effects_sd": bound.random_effects_sd}
            dtypes = table.dtypes
            table.loc[REFERENCE] = pd.Series(row)
            table = table.astype(dtypes)
        return shown(table)

    @property
    def coefficients(self) -> pd.DataFrame:
        """Does the choice matter for what is reported?

        Returns
        -------
        DataFrame
            A row for each coefficient; for each distribution its `estimate` and `std_error`; and `range`, the
            difference between the largest and the smallest estimate over the smallest standard error.
        """
        import pandas as pd

        columns = {}
        for name, fit in self.fits.items():
            columns[(name, "estimate")], columns[(name, "std_error")] = fit.params, fit.bse
        table = pd.DataFrame(columns)
        estimates = table.xs("estimate", axis=1, level=1)
        errors = table.xs("std_error", axis=1, level=1)
        spread = np.ptp(estimates.to_numpy(), axis=1) / errors.to_numpy().min(axis=1)
        table[("range", "")] = spread
        return table

    def best(self, criterion: str = "aic") -> RandomEffectsResult:
        """The fit that a criterion prefers.

        Parameters
        ----------
        criterion : {"aic", "bic", "chi_square"}
        """
        from clusterglm.errors import check_option

        check_option("criterion", criterion, CRITERIA if self.goodness else CRITERIA[:-1])
        return self.fits[str(self.table[criterion].drop(REFERENCE, errors="ignore").idxmin())]

    def save(self, path: str | Path) -> None:
        """Write all the fits to a JSON file that `clusterglm.load` reads; see `Result.save`."""
        from clusterglm.results.files.storage import save

        save(self, path)

    def __str__(self) -> str:
        table = self.table
        shown = table[["loglik", "aic", "aic_weight", "bic", "chi_square", "chi_square_p", "sigma"]].round(
            {"loglik": 4, "aic": 2, "aic_weight": 3, "bic": 2, "chi_square": 3, "chi_square_p": 4, "sigma": 4}
        )
        shown = shown.drop(columns=[name for name in ("chi_square", "chi_square_p") if table[name].isna().all()])
        by_events = f", the chi-squared criterion {self.best('chi_square').distribution.name}" if self.goodness else ""
        shift = self.coefficients[("range", "")]
        any_fit = next(iter(self.fits.values()))
        lines = [
            "Distribution of the random intercept",
            "",
            f"Formula:   {any_fit.formula}",
            *(f"{label}:   {text}" for label, text in any_fit._response_facts()[1:]),
            f"Clusters:  {any_fit.n_clusters}, {any_fit.n_obs} rows",
            *(f"{label}:   {text}" for label, text in any_fit._weight_facts()),
            "",
            shown.to_string(),
            "",
            f"AIC prefers {self.best().distribution.name}{by_events}.",
            f"Across distributions the coefficient that moves most is that of "
            f"{any_fit.data.design.in_words(str(shift.idxmax()))}, by {shift.max():.2g} standard errors.",
        ]
        worst = float(table["integration_error"].drop(REFERENCE, errors="ignore").max())
        if self.reference is not None and worst < 0.01:  # whose own likelihood is exact
            gap = self.reference.loglik - float(table["loglik"].drop(REFERENCE).max())
            lines.append(f"No distribution can reach a log-likelihood more than {gap:.2g} above the highest of these.")
        if not worst < 0.01:
            lines.append(
                f"Integration errors reach {worst:.2g} in the log-likelihood: differences below that mean nothing."
                if np.isfinite(worst)
                else 'Integration errors are not known: quadrature="auto" makes log-likelihoods comparable.'
            )
        lines += [f"{name} could not be fitted: {reason}" for name, reason in self.failures.items()]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<h4>Distribution of the random intercept</h4>{self.table.to_html()}{self.coefficients.to_html()}"
