"""What draws of several chains are worth: R-hat, effective sizes, Monte Carlo errors.

Formulas of Vehtari, Gelman, Simpson, Carpenter and Burkner, Bayesian Analysis 16, 2021: rank-normalised split R-hat,
the larger of that of the draws and that of their distances from the median; effective sizes for the bulk, by ranks, and
for the tails, the smaller of those of the indicators of the 5 and 95 % quantiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from clusterglm.model.arrays import Array

_FEWEST_DRAWS = 4  # draws of half a chain, below which nothing is said


@dataclass(frozen=True)
class Worth:
    """Of one parameter's draws.

    Parameters
    ----------
    rhat : float
        Above 1.01 chains do not agree.
    ess_bulk, ess_tail : float
        Independent draws that would tell as much of the middle, and of the 5 and 95 % quantiles.
    mcse_mean : float
        Standard error of the draws' mean.
    """

    rhat: float
    ess_bulk: float
    ess_tail: float
    mcse_mean: float


def worth(draws: Array) -> Worth:
    """Diagnostics of draws, shape (chains, draws); nan where they are constant or too few."""
    if draws.shape[1] < 2 * _FEWEST_DRAWS or not np.isfinite(draws).all() or np.ptp(draws) == 0.0:
        return Worth(np.nan, np.nan, np.nan, np.nan)
    halves = split(draws)
    folded = np.abs(halves - np.median(halves))
    low, high = np.quantile(draws, [0.05, 0.95])
    tails = [effective_size(split((draws <= end).astype(np.float64))) for end in (low, high)]
    mean = float(np.std(draws, ddof=1)) / effective_size(halves) ** 0.5
    return Worth(
        max(r_hat(normal_scores(halves)), r_hat(normal_scores(folded))),
        effective_size(normal_scores(halves)),
        min(tails),
        mean,
    )


def variance(draws: Array) -> Array:
    """Along the first axis; nan of a single draw, which tells of none."""
    return np.asarray(np.var(draws, axis=0, ddof=1) if len(draws) > 1 else np.full(draws.shape[1:], np.nan))


def split(draws: Array) -> Array:
    """Each chain as two, shape (2 chains, draws // 2); of an odd number the middle draw is left out."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, draws.shape[1] - half :]])


def normal_scores(draws: Array) -> Array:
    """Normal quantiles of fractional ranks among all draws, (r - 3/8) / (S + 1/4); equal draws share a rank."""
    _, place, counts = np.unique(draws, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - 0.5 * (counts - 1))[place].reshape(draws.shape)
    return np.asarray(ndtri((ranks - 0.375) / (draws.size + 0.25)))


def r_hat(chains: Array) -> float:
    """Root of the variance of all draws over that within chains, shape (m, n)."""
    n = chains.shape[1]
    within = float(np.mean(np.var(chains, axis=1, ddof=1)))
    between = float(np.var(chains.mean(axis=1), ddof=1)) if len(chains) > 1 else 0.0
    return float(np.sqrt((n - 1.0) / n + between / within)) if within > 0.0 else np.nan


def effective_size(chains: Array) -> float:
    """Independent draws with the same variance of the mean, shape (m, n).

    Autocorrelations of all chains together, summed in pairs as long as these are positive and, made so, do not rise
    (Geyer 1992); at most m n log10(m n).
    """
    m, n = chains.shape
    centred = chains - chains.mean(axis=1, keepdims=True)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size, axis=1)
    autocovariances = np.fft.irfft(spectrum * spectrum.conj(), size, axis=1)[:, :n] / n
    within = float(np.mean(autocovariances[:, 0])) * n / (n - 1.0)
    if within == 0.0:
        return np.nan
    total = within * (n - 1.0) / n + (float(np.var(chains.mean(axis=1), ddof=1)) if m > 1 else 0.0)
    rho = 1.0 - (within - autocovariances.mean(axis=0) * n / (n - 1.0)) / total
    rho[0] = 1.0
    pairs = rho[: 2 * (n // 2)].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0.0)
    kept = np.minimum.accumulate(pairs[: negative[0] if len(negative) else len(pairs)])
    time = -1.0 + 2.0 * float(kept.sum())
    return float(m * n / max(time, 1.0 / np.log10(m * n)))
