"""Parametric bootstrap of a likelihood ratio: what it would be, were the smaller model true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from clusterglm.inference.hypotheses.comparison import LikelihoodRatio
from clusterglm.inference.uncertainty.replicates import Replicates
from clusterglm.model.arrays import Array
from clusterglm.model.printing import p_in_words, printed

_SLACK = 1e-6  # of a likelihood ratio, by which two maxima of the same data may differ


@printed
@dataclass(frozen=True)
class BootstrapRatio:
    """Likelihood-ratio test by parametric bootstrap.

    Parameters
    ----------
    asymptotic : LikelihoodRatio
        The statistic, and its test by chi-square distributions.
    pvalue : float
        (1 + replicates at least as large) / (1 + successful replicates).
    pvalue_se : float
        Monte Carlo standard error of `pvalue`.
    pvalue_bartlett : float
        P(chi-square > statistic x df / mean of the replicates): Bartlett's correction, which needs fewer replicates;
        nan at a boundary, where chi-square does not hold.
    replicates : ndarray, shape (successful,)
        Likelihood ratios of data sets drawn from the smaller model.
    failures : tuple of (str, int)
        Why data sets gave none, with counts.
    n_boot : int
    seed : int or SeedSequence
    interrupted : bool
    """

    asymptotic: LikelihoodRatio
    pvalue: float
    pvalue_se: float
    pvalue_bartlett: float
    replicates: Array
    failures: tuple[tuple[str, int], ...]
    n_boot: int
    seed: int | np.random.SeedSequence
    interrupted: bool

    @property
    def statistic(self) -> float:
        """The likelihood ratio of the data."""
        return self.asymptotic.statistic

    def __str__(self) -> str:
        corrected = "" if np.isnan(self.pvalue_bartlett) else f"; Bartlett-corrected {p_in_words(self.pvalue_bartlett)}"
        lines = [
            str(self.asymptotic),
            f"parametric bootstrap: p = {self.pvalue:.4g} (Monte Carlo error {self.pvalue_se:.2g}){corrected}",
            f"{len(self.replicates)} replicates of {self.n_boot}, seed {self.seed}",
        ]
        if self.interrupted:
            lines.append("interrupted: only the replicates that were done count")
        lines += [f"{count} failed: {reason}" for reason, count in self.failures]
        return "\n".join(lines)


def bootstrap_ratio(asymptotic: LikelihoodRatio, runs: Replicates) -> BootstrapRatio:
    """What replicates of a likelihood ratio say of the one of the data.

    Notes
    -----
    Davison and Hinkley (1997), section 4.2; as pbkrtest's PBmodcomp (Halekoh and Hojsgaard, Journal of Statistical
    Software 59, 2014).
    """
    statistic, done = asymptotic.statistic, len(runs.values)
    p = (1.0 + float(np.count_nonzero(runs.values >= statistic - _SLACK))) / (1.0 + done)
    se = float(np.sqrt(p * (1.0 - p) / done)) if done > 0 else np.nan
    mean = float(runs.values.mean()) if done > 0 else 0.0
    bartlett = np.nan
    if mean > 0.0 and not asymptotic.boundary:
        bartlett = float(chdtrc(asymptotic.df, statistic * asymptotic.df / mean))
    return BootstrapRatio(
        asymptotic, p, se, bartlett, runs.values, runs.failures, runs.wanted, runs.seed, runs.interrupted
    )
