"""Intraclass correlation on the latent scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clusterglm.model.response.base import Response

# Variance of the latent variable's error, whose distribution function is the inverse link.
_LATENT_VARIANCE = {
    "binomial_logit": np.pi**2 / 3.0,
    "binomial_probit": 1.0,
    "binomial_cloglog": np.pi**2 / 6.0,
}


@dataclass(frozen=True)
class IntraclassCorrelation:
    """Share of the intercepts' variance in the total variance of a latent response.

    Parameters
    ----------
    value : float or None
        Between 0 and 1; nan when the intercepts have no finite variance; None when there is no latent scale.
    reason : str
        Why `value` is no number; empty when it is one.
    """

    value: float | None
    reason: str = ""


def intraclass_correlation(response: Response, sd: float) -> IntraclassCorrelation:
    """Correlation of the latent responses of two rows of a cluster that have the same covariates.

    Parameters
    ----------
    response : Response
        Its link fixes the variance of the latent error: pi^2/3 for logit, 1 for probit, pi^2/6 for cloglog.
    sd : float
        Standard deviation of the random intercept, inf if it has none.

    Notes
    -----
    Counts have no latent error, so a Poisson model has no such correlation free of the covariates (Nakagawa, Johnson
    and Schielzeth, J. R. Soc. Interface 14, 2017, discuss ones that depend on them).
    """
    latent = _LATENT_VARIANCE.get(response.code)
    if latent is None:
        return IntraclassCorrelation(None, f"a {response.family} response has no latent scale")
    if not np.isfinite(sd):
        return IntraclassCorrelation(np.nan, "the intercept's distribution has no finite variance")
    return IntraclassCorrelation(float(sd**2 / (sd**2 + latent)))
