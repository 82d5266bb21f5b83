"""The likelihood-ratio test of no clustering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from clusterglm.model.printing import p_in_words, printed


@printed
@dataclass(frozen=True)
class ClusteringTest:
    """Likelihood-ratio test of sigma = 0 against sigma > 0.

    Parameters
    ----------
    statistic : float
        Twice the difference of the log-likelihoods, never negative; nan where there is no test.
    pvalue : float
        P(T >= statistic), where T is 0 or chi-square on one degree of freedom with probability one half each: sigma = 0
        lies on the boundary of the parameter space (Self and Liang, JASA 82, 1987). It is 1 when the statistic is 0.
    reason : str
        Why there is no test; empty when there is one.
    """

    statistic: float
    pvalue: float
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"no test: {self.reason}"
        return at_boundary_in_words(self.statistic, self.pvalue)


def at_boundary_in_words(statistic: float, pvalue: float) -> str:
    """A likelihood-ratio test of a parameter at the end of its range, as summaries print it."""
    return f"likelihood ratio {statistic:.4g}, {p_in_words(pvalue)} (half chi2 on 0 and half chi2 on 1 df)"


def likelihood_ratio(loglik: float, loglik_pooled: float) -> ClusteringTest:
    """Compare a random-intercept model with the pooled one.

    Parameters
    ----------
    loglik, loglik_pooled : float
        Maximised log-likelihoods, normalised in the same way.
    """
    statistic = max(0.0, 2.0 * (loglik - loglik_pooled))
    pvalue = 0.5 * float(chdtrc(1.0, statistic)) if statistic > 0.0 else 1.0
    return ClusteringTest(statistic, pvalue)


def no_test(reason: str) -> ClusteringTest:
    """The answer where the test makes no sense."""
    return ClusteringTest(np.nan, np.nan, reason)
