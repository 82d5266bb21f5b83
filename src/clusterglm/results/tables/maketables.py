"""Results as models of the package maketables, which reads them by its plug-in names and need not be installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

STATISTICS = {
    "N": ("Observations", "n_obs"),
    "n_clusters": ("Clusters", "n_clusters"),
    "icc": ("ICC", "icc"),
    "ll": ("Log-likelihood", "loglik"),
    "aic": ("AIC", "aic"),
    "bic": ("BIC", "bic"),
    "deviance": ("Deviance", "deviance"),
    "df_resid": ("Residual df", "df_resid"),
    "n_parameters": ("Parameters", "n_parameters"),
    "n_informative": ("Informative clusters", "n_informative"),
    "distribution": ("Random intercept", "distribution"),
    "family": ("Family", "family"),
    "link": ("Link", "link"),
}
"""Statistics of a whole fit by maketables' keys where it has one: a label, and the column of `glance`."""

_TOKENS = {"estimate": "b", "std_error": "se", "z": "t", "pvalue": "p", "conf_low": "ci95l", "conf_high": "ci95u"}


@dataclass(frozen=True)
class MaketablesModel:
    """What maketables asks of a model. It has no `params`, lest it be taken for a result of statsmodels.

    Parameters
    ----------
    tidy : DataFrame
        A row for each parameter.
    facts : dict
        The fit as a whole.
    response_name : str
    cluster_name : str or None
    absorbs : bool
        Whether each cluster has an intercept that is not in the table.
    covariance : {"observed", "robust"}
    """

    tidy: pd.DataFrame
    facts: dict[str, Any]
    response_name: str
    cluster_name: str | None
    absorbs: bool
    covariance: str

    @property
    def __maketables_coef_table__(self) -> pd.DataFrame:
        table = self.tidy.set_index("term")[list(_TOKENS)].rename(columns=_TOKENS)
        table.index.name = "Coefficient"
        return table

    def __maketables_stat__(self, key: str) -> Any:
        if key == "se_type":
            return self.covariance
        value = self.facts.get(STATISTICS[key][1]) if key in STATISTICS else None
        return None if isinstance(value, float) and not np.isfinite(value) else value

    @property
    def __maketables_depvar__(self) -> str:
        return self.response_name

    @property
    def __maketables_fixef_string__(self) -> str | None:
        return self.cluster_name if self.absorbs else None

    @property
    def __maketables_vcov_info__(self) -> dict[str, Any]:
        return {"vcov_type": self.covariance, "clustervar": self.cluster_name if self.covariance == "robust" else None}

    @property
    def __maketables_stat_labels__(self) -> dict[str, str]:
        return {key: label for key, (label, _) in STATISTICS.items()}

    @property
    def __maketables_default_stat_keys__(self) -> list[str]:
        return ["N", "n_clusters", "icc", "ll", "aic"]
