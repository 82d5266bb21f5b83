"""The gradient function of a fitted distribution of intercepts, with what the model itself would make of it.

Where the model holds the gradient function is zero but for noise; it is positive where the data want more intercepts
than the distribution has, negative where they want fewer (Verbeke and Molenberghs, Biostatistics 14, 2013). The test by
its weighted square, with a parametric bootstrap, follows Drikvandi, Verbeke and Molenberghs (Biometrics 73, 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError, check_option
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.inference.distribution.goodness import gradient_function, simulated_fit
from clusterglm.inference.uncertainty.intervals import check_level
from clusterglm.inference.uncertainty.replicates import run_replicates
from clusterglm.model.arguments import whole_number
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.printing import printed
from clusterglm.model.workers import Progress

if TYPE_CHECKING:
    import pandas as pd

STATISTICS = ("integral", "supremum")

_GRID_HALF_WIDTH, _GRID_POINTS = 3.0, 61  # of the grid, on the normal scale
_SMALL = 0.05  # p-value that the verdict calls small


@printed
@dataclass(frozen=True)
class GradientTest:
    """The gradient function on a grid of g intercepts, beside those of data simulated from the fitted model.

    Parameters
    ----------
    distribution : str
        Name of the fitted one.
    intercept : ndarray, shape (g,)
        Values of the random intercept, on the linear predictor.
    gradient : ndarray, shape (g,)
        How much the mean log-likelihood would gain from a little more probability there.
    weights : ndarray, shape (g,)
        Probabilities of the fitted distribution around each value, which the integral uses.
    replicates : ndarray, shape (successful, g)
        Gradient functions of simulated data, fitted again.
    statistic : float
        Of the kind asked for: "integral", the number of clusters times the integral of the squared gradient function
        over the fitted distribution; "supremum", its largest distance from the mean of all curves, data and
        replicates, in their standard deviations at each value.
    statistic_name : {"integral", "supremum"}
    pvalue, pvalue_se : float
        (1 + replicates at least as large) / (1 + successful replicates), and its Monte Carlo error; nan without
        replicates.
    level : float
        Coverage of the bands.
    failures : tuple of (str, int)
        Why replicates gave nothing, with counts.
    n_boot : int
        Replicates asked for.
    seed : int, SeedSequence or None
        Gives the same replicates again.
    interrupted : bool
        Stopped by the user; the replicates that were done count.
    """

    distribution: str
    intercept: Array
    gradient: Array
    weights: Array
    replicates: Array
    statistic: float
    statistic_name: str
    pvalue: float
    pvalue_se: float
    level: float
    failures: tuple[tuple[str, int], ...]
    n_boot: int
    seed: int | np.random.SeedSequence | None
    interrupted: bool

    @property
    def largest(self) -> float:
        """Largest value on the grid; times the clusters a bound of what other distributions there could gain."""
        return float(self.gradient.max())

    def bands(self, *, simultaneous: bool = False) -> tuple[Array, Array]:
        """Where gradient functions lie when the model holds.

        Parameters
        ----------
        simultaneous : bool
            Over the whole grid at once: mean and standard deviation of the replicates at each value, with a common
            multiple of the latter. Otherwise quantiles at each value by itself.

        Returns
        -------
        lower, upper : ndarray, shape (g,)
            nan with fewer than two replicates.
        """
        nothing = np.full(len(self.gradient), np.nan)
        if len(self.replicates) < 2:
            return nothing, nothing.copy()
        tail = 0.5 * (1.0 - self.level)
        if not simultaneous:
            low, high = np.quantile(self.replicates, [tail, 1.0 - tail], axis=0)
            return low, high
        mean, sd = self.replicates.mean(axis=0), self.replicates.std(axis=0, ddof=1)
        far = np.abs(self.replicates - mean) / np.where(sd > 0.0, sd, 1.0)
        width = np.quantile(far.max(axis=1), self.level) * sd
        return mean - width, mean + width

    def to_frame(self) -> pd.DataFrame:
        """A row per value of the intercept.

        Returns
        -------
        DataFrame
            `intercept`, `gradient`, `lower`, `upper` (pointwise), `lower_simultaneous`, `upper_simultaneous`.
        """
        import pandas as pd

        columns = {"intercept": self.intercept, "gradient": self.gradient}
        for suffix, simultaneous in (("", False), ("_simultaneous", True)):
            columns[f"lower{suffix}"], columns[f"upper{suffix}"] = self.bands(simultaneous=simultaneous)
        return pd.DataFrame(columns)

    def __str__(self) -> str:
        what = {
            "integral": "weighted square of the gradient function",
            "supremum": "largest deviation of the gradient function, in sds,",
        }
        lines = [f"{what[self.statistic_name]} {self.statistic:.4g}"]
        if self.n_boot > 0:
            lines[0] += f", p = {self.pvalue:.4g} (Monte Carlo error {self.pvalue_se:.2g})"
            lines.append(self._verdict())
            lines.append(f"parametric bootstrap, {len(self.replicates)} replicates of {self.n_boot}, seed {self.seed}")
        if self.interrupted:
            lines.append("interrupted: the p-value is from the replicates that were done")
        lines += [f"{count} failed: {reason}" for reason, count in self.failures]
        return "\n".join(lines)

    def _verdict(self) -> str:
        if not self.pvalue <= _SMALL:
            return f"the data do not speak against intercepts with a {self.distribution} distribution"
        low, high = self.bands(simultaneous=True)
        words = [
            f"{name} near {self.intercept[int(np.argmax(excess))]:.3g}"
            for name, excess in (("more", self.gradient - high), ("fewer", low - self.gradient))
            if excess.max() > 0.0
        ]
        where = f": they want {' and '.join(words)}" if words else ""
        return f"the data speak against intercepts with a {self.distribution} distribution{where}"


def gradient_test(
    data: ModelData,
    fit: RandomEffectsFit,
    n_boot: int,
    seed: int | np.random.SeedSequence | None,
    n_jobs: int,
    progress: Progress,
    grid: Array | None = None,
    statistic: str = "integral",
    level: float = 0.95,
) -> GradientTest:
    """Compare the gradient function with those of data simulated from the fit.

    Parameters
    ----------
    data : ModelData
    fit : RandomEffectsFit
    n_boot : int
        Replicates; 0 for the function alone.
    seed, n_jobs, progress
        See `run_replicates`.
    grid : ndarray, shape (g,), optional
        Values of the intercept, ascending; by default 61 quantiles of the fitted distribution, 0.1% to 99.9%.
    statistic : {"integral", "supremum"}
    level : float
        Coverage of the bands.

    Raises
    ------
    OptionError
        Where the maximum lies at sigma = 0, so that there is no distribution to look at; on a grid that cannot be used.
    """
    check_option("statistic", statistic, STATISTICS)
    check_level(level)
    if fit.sigma == 0.0:
        raise OptionError(
            "a gradient function where sigma = 0", "intercepts that vary", "the pooled model, which fits as well"
        )
    member = fit.distribution.at(fit.sigma)
    if grid is None:
        at = fit.sigma * member.quantile_of_normal(np.linspace(-_GRID_HALF_WIDTH, _GRID_HALF_WIDTH, _GRID_POINTS))
    else:
        at = _checked(grid)
    weights = _masses(at / fit.sigma, member)
    observed = gradient_function(data, fit, at).gradient
    clusters = float(data.cluster_weights.sum())
    nothing = np.empty((0, len(at)))
    name = fit.distribution.name
    whole_number("n_boot", n_boot, 0, advice="n_boot=999, or 0 for none")
    if n_boot == 0:
        value = float(_integrals(observed[None, :], weights, clusters)[0]) if statistic == "integral" else np.nan
        return GradientTest(
            name, at, observed, weights, nothing, value, statistic, np.nan, np.nan, level, (), 0, None, False
        )
    runs = run_replicates(
        lambda rng: gradient_function(*simulated_fit(data, fit, rng), at).gradient, n_boot, seed, n_jobs, progress
    )
    curves = runs.values if runs.values.ndim == 2 else nothing
    done = len(curves)
    every = np.vstack([observed, curves])
    value, *simulated = (
        _integrals(every, weights, clusters) if statistic == "integral" else _deviations(every)
    ).tolist()
    p = (1.0 + float(np.count_nonzero(np.array(simulated) >= value * (1.0 - 1e-9)))) / (1.0 + done)
    se = float(np.sqrt(p * (1.0 - p) / done)) if done > 0 else np.nan
    rest = (runs.failures, runs.wanted, runs.seed, runs.interrupted)
    return GradientTest(name, at, observed, weights, curves, value, statistic, p, se, level, *rest)


def _integrals(curves: Array, weights: Array, clusters: float) -> Array:
    return np.asarray(clusters * (curves**2 @ weights))


def _deviations(curves: Array) -> Array:
    """Largest standardised deviation of each curve from the mean of all."""
    sd = curves.std(axis=0)
    far = np.abs(curves - curves.mean(axis=0)) / np.where(sd > 0.0, sd, 1.0)
    return np.asarray(far.max(axis=1))


def _masses(t: Array, distribution: Distribution) -> Array:
    """Probability of the standard member between the middles of the neighbours of each value; the ends' tails go."""
    borders = np.concatenate([t[:1], 0.5 * (t[1:] + t[:-1]), t[-1:]])
    return np.diff(distribution.cdf(borders))


def _checked(grid: Array) -> Array:
    try:
        at = np.asarray(grid, dtype=np.float64)
    except (TypeError, ValueError):
        at = np.empty(0)
    if at.ndim != 1 or len(at) < 2 or not np.isfinite(at).all() or np.any(np.diff(at) <= 0.0):
        raise OptionError(
            f"grid={grid!r}", "two or more intercepts, finite and ascending", "grid=np.linspace(-3, 3, 61)"
        )
    return at
