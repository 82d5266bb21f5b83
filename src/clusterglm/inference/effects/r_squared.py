"""Shares of variance that covariates, and covariates with random effects, explain (Nakagawa and Schielzeth)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import polygamma

from clusterglm.errors import OptionError
from clusterglm.model.arrays import Array
from clusterglm.model.printing import printed
from clusterglm.model.response.base import Response

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("theoretical", "delta", "lognormal", "trigamma")


@printed
@dataclass(frozen=True)
class R2:
    """R^2 of a mixed model, and the variances that it is made of, on the scale of the linear predictor.

    Parameters
    ----------
    marginal : float
        Share of the fixed part: f / (f + r + e).
    conditional : float
        Share of the fixed part and the random effects: (f + r) / (f + r + e).
    method : {"theoretical", "delta", "lognormal", "trigamma"}
        How e was found.
    fixed, random, residual : float
        f, r and e: variance of x'beta over the rows, mean variance of z'b, and variance of an observation.
    groups : dict of str to float
        r by grouping factor.
    """

    marginal: float
    conditional: float
    method: str
    fixed: float
    random: float
    residual: float
    groups: dict[str, float]

    def to_frame(self) -> pd.DataFrame:
        """The partition of the variance: `component`, `variance`, `share`."""
        import pandas as pd

        named = {"fixed": self.fixed, **self.groups, "residual": self.residual}
        total = self.fixed + self.random + self.residual
        rows = [(name, value, value / total) for name, value in named.items()]
        return pd.DataFrame(rows, columns=["component", "variance", "share"])

    def __str__(self) -> str:
        return (
            f"R2 marginal {self.marginal:.4g}, conditional {self.conditional:.4g} ({self.method}; variances: fixed "
            f"part {self.fixed:.4g}, random effects {self.random:.4g}, residual {self.residual:.4g})"
        )


def methods_for(response: Response) -> tuple[str, ...]:
    """Methods that there are for a response, the default first.

    Raises
    ------
    OptionError
        Where there is none.
    """
    if response.latent_variance is not None:
        return ("theoretical", "delta")
    if response.exponential_mean:
        return ("trigamma", "lognormal", "delta")
    raise OptionError(
        f"R2 of {response.family} responses with link {response.link!r}",
        "responses with a latent scale, or whose mean is an exponential: there is no formula for others",
        "fit.deviance and that of a smaller model",
    )


def residual_variance(method: str, mean: float, response: Response) -> float:
    """Variance of an observation on the scale of the linear predictor.

    Parameters
    ----------
    method : {"theoretical", "delta", "lognormal", "trigamma"}
    mean : float
        Mean of the responses in the null model, random effects averaged over; not needed for "theoretical".
    response : Response

    Notes
    -----
    Nakagawa, Johnson and Schielzeth (J. R. Soc. Interface 14, 2017), with V the variance of a response of mean mu:
    the latent variable's own; V / mu'^2 by the delta method; log(1 + V / mu^2); trigamma(mu^2 / V), the latter two with
    a logarithmic link. For counts mu^2 / V is mu (Poisson) or 1 / (1 / mu + alpha).
    """
    if method == "theoretical":
        assert response.latent_variance is not None
        return float(response.latent_variance)
    mu = np.array([mean])
    variance = float(response.variance(mu)[0])
    if method == "delta":
        return variance / float(response.mean_derivative(response.link_function(mu))[0]) ** 2
    return float(np.log1p(variance / mean**2) if method == "lognormal" else polygamma(1, mean**2 / variance))


def explained(fixed: Array, weights: Array, rows: int, groups: dict[str, float], residual: float, method: str) -> R2:
    """R^2 from the linear predictor's fixed part and the other variances.

    Parameters
    ----------
    fixed : ndarray, shape (n,)
        x'beta of the rows, without offset.
    weights : ndarray, shape (n,)
    rows : int
        How many single responses these stand for: their variance has this less one as divisor.
    groups : dict of str to float
        Mean variance of z'b over the rows, by grouping factor (Johnson, Methods in Ecology and Evolution 5, 2014).
    residual : float
    method : str
    """
    share = weights / weights.sum()
    mean = share @ fixed
    f = float(share @ np.square(fixed - mean)) * rows / (rows - 1)
    r = sum(groups.values())
    total = f + r + residual
    return R2(f / total, (f + r) / total, method, f, r, residual, groups)
