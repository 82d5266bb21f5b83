"""Student's and Fisher's distributions in the place of normal ones: degrees of freedom of estimated variances.

Satterthwaite (Biometrics Bulletin 2, 1946): a variance estimate with mean V and variance W is taken for V times a
chi-square on 2 V^2 / W degrees of freedom, over these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtrc, stdtr, stdtrit

from clusterglm.errors import OptionError, check_option
from clusterglm.inference.uncertainty.intervals import check_level, wald_interval, wald_p_values
from clusterglm.model.arrays import Array

SATTERTHWAITE = "satterthwaite"
KENWARD_ROGER = "kenward_roger"
"""Also the name of the covariance that goes with these degrees of freedom."""
METHODS = (SATTERTHWAITE, KENWARD_ROGER)
IN_WORDS = {SATTERTHWAITE: "Satterthwaite's", KENWARD_ROGER: "Kenward and Roger's"}


@dataclass(frozen=True)
class Degrees:
    """Degrees of freedom of k linear combinations.

    Parameters
    ----------
    single : ndarray, shape (k,)
        Of each by itself, for Student's t.
    joint : float
        The denominator's, for the F statistic of all; nan where there is none.
    scale : float
        F over the Wald statistic.
    """

    single: Array
    joint: float
    scale: float

    def p_value(self, statistic: float) -> float:
        """Of a Wald statistic of all combinations."""
        k = len(self.single)
        if not self.joint > 0.0:
            raise OptionError(
                f"an F test of {k} hypotheses from so few clusters that its denominator has no degrees of freedom",
                "more clusters than hypotheses, in which they can be told apart",
                "fewer hypotheses at once",
            )
        return float(fdtrc(k, self.joint, self.scale * statistic))


def read_degrees(df: object) -> bool:
    """Whether degrees of freedom were asked for."""
    return df is not None and bool(check_option("df", df, METHODS))


def covariance_with(df: str, cov: str) -> str:
    """The kind of covariance that some degrees of freedom belong to, where `cov` was asked for.

    Raises
    ------
    OptionError
        When they belong to another.
    """
    if df == KENWARD_ROGER and cov == "observed":
        return KENWARD_ROGER
    if (df == KENWARD_ROGER) != (cov == KENWARD_ROGER):
        raise OptionError(
            f"df={df!r} with cov={cov!r}",
            "degrees of freedom that belong to the covariance",
            f'df="{KENWARD_ROGER}", which has a covariance of its own, or df="{SATTERTHWAITE}" with any other',
        )
    return cov


def t_p_values(t: Array, df: Array) -> Array:
    """Two-sided p-values; normal where there are no degrees of freedom (nan)."""
    with np.errstate(invalid="ignore"):
        found = 2.0 * stdtr(df, -np.abs(t))
    return np.asarray(np.where(np.isnan(df), wald_p_values(t), found))


def t_interval(estimate: Array, se: Array, df: Array, level: float) -> tuple[Array, Array]:
    """Intervals of Student's t; normal where there are no degrees of freedom (nan)."""
    low, high = wald_interval(estimate, se, level)
    half = stdtrit(df, 0.5 * (1.0 + check_level(level))) * se
    none = np.isnan(df)
    return np.where(none, low, estimate - half), np.where(none, high, estimate + half)


def interval(estimate: Array, se: Array, level: float, df: Array | None) -> tuple[Array, Array]:
    """Student's intervals where there are degrees of freedom, and normal ones."""
    return wald_interval(estimate, se, level) if df is None else t_interval(estimate, se, df, level)


def of_several(R: Array, covariance: Array, gradient: Array, uncertainty: Array) -> Degrees:
    """Degrees of freedom by the delta method, and of F statistics as SAS and R's lmerTest combine them.

    Parameters
    ----------
    R : ndarray, shape (k, p)
        Combinations.
    covariance : ndarray, shape (p, p)
        Of the coefficients.
    gradient : ndarray, shape (r, p, p)
        Its derivatives in the r parameters of the variances.
    uncertainty : ndarray, shape (r, r)
        Covariance of these parameters' estimates.

    Notes
    -----
    Fai and Cornelius (Journal of Statistical Computation and Simulation 54, 1996): F is the mean of k squares of
    independent t variables, along the eigenvectors of R V R', whose mean is matched.
    """
    single = _delta(R, covariance, gradient, uncertainty)
    k = len(R)
    if k == 1:
        return Degrees(single, float(single[0]), 1.0)
    _, vectors = np.linalg.eigh(R @ covariance @ R.T)
    apart = _delta(vectors.T @ R, covariance, gradient, uncertainty)
    some = apart[apart > 2.0]
    expected = float(np.sum(some / (some - 2.0)))
    joint = 2.0 * expected / (expected - k) if len(some) == k and expected > k else np.nan
    if np.ptp(apart) < 1e-8 * apart.max():
        joint = float(apart.mean())
    return Degrees(single, joint, 1.0 / k)


def _delta(R: Array, covariance: Array, gradient: Array, uncertainty: Array) -> Array:
    V = np.einsum("ij,jk,ik->i", R, covariance, R)
    g = np.einsum("ij,rjk,ik->ir", R, gradient, R)
    return np.asarray(2.0 * V**2 / np.einsum("ir,rs,is->i", g, uncertainty, g))
