"""The result of `sample`: draws from a posterior, and what follows from them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.data.prepare import FittedData
from clusterglm.errors import OptionError, check_option
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.model.arguments import shown, whole_number
from clusterglm.model.arrays import Array
from clusterglm.results.models.base import Result
from clusterglm.results.tables.posterior import PosteriorSummary, PredictiveAccuracy, compared
from clusterglm.sample.chains import Sampler
from clusterglm.sample.coordinates import Coordinates
from clusterglm.sample.diagnostics import variance, worth
from clusterglm.sample.independence import WORST_TAIL
from clusterglm.sample.likelihoods import SampledLikelihood
from clusterglm.sample.loo import leave_one_out, threshold, waic
from clusterglm.sample.prior import Prior
from clusterglm.sample.target import Target, Weights, mode_of

if TYPE_CHECKING:
    import pandas as pd

_DISAGREE = 1.01  # R-hat above which chains do not agree
_LEAST_SHARE_OF_WEIGHTS = 0.9  # of importance weights, below which posterior probabilities would be seen to be wrong
_NOISY_WEIGHTS = 0.1  # standard error of the log of one, likewise
_EFFECTIVE = 100  # effective draws a chain, below which quantiles are rough
_UNKNOWN = "the draws are too few, or all alike, to tell whether chains agree: take more of them"
_NO_WEIGHTS = Weights()
_KINDS = ("typical", "conditional", "marginal")


@dataclass(frozen=True, repr=False, eq=False)
class Posterior:
    """Draws of a model's parameters given the data, and questions to them.

    Parameters
    ----------
    result : Result
        The fit that was sampled from.
    prior : Prior
    unconstrained : ndarray, shape (chains, draws, q)
        Logarithms of standard deviations and what stands for correlations among them.
    log_density : ndarray, shape (chains, draws)
        Log-posterior, without constants of the data.
    sampler : Sampler
        How the draws were made.
    entropy : int
    spawn_key : tuple of int
        The seed's; effects and replicates are drawn from it too, so that they are the same when asked for again.
    prior_only : bool
        Whether these are draws of the prior.
    integration_difference : float
        Largest difference between log-likelihoods of ten draws and those by points of integration chosen there; nan
        where the fit has a given number of them.
    weights : Weights
        Where the likelihood is an approximation that importance sampling corrects: what the importance weights of some
        draws are worth.
    """

    result: Result
    prior: Prior
    unconstrained: Array
    log_density: Array
    sampler: Sampler
    entropy: int
    spawn_key: tuple[int, ...]
    prior_only: bool
    integration_difference: float
    weights: Weights = _NO_WEIGHTS

    def __post_init__(self) -> None:
        shape = self.unconstrained.shape
        if len(shape) != 3 or shape[2] != len(self._coordinates) or self.log_density.shape != shape[:2]:
            raise ValueError(f"draws of shape {shape} for {len(self._coordinates)} parameters")
        for array in (self.unconstrained, self.log_density):
            array.flags.writeable = False

    @property
    def fit(self) -> Any:
        """Estimates of the fit that was sampled from."""
        return self.result.fit  # type: ignore[attr-defined]

    @property
    def data(self) -> FittedData:
        """What was fitted."""
        return self.result.data

    @cached_property
    def _likelihood(self) -> SampledLikelihood:
        return self.result._sampled()

    @cached_property
    def _coordinates(self) -> Coordinates:
        return self._likelihood.coordinates

    @cached_property
    def _target(self) -> Target:
        """With points chosen at the mode, as when it was sampled."""
        return mode_of(self._likelihood, self.prior.of(self._coordinates))[0]

    # Draws ------------------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return self._coordinates.names

    @property
    def n_draws(self) -> int:
        """Of all chains together."""
        return int(self.log_density.size)

    @cached_property
    def values(self) -> Array:
        """Parameters as people read them, shape (chains, draws, q): standard deviations, correlations."""
        shape = self.unconstrained.shape
        each = self._coordinates.theta(self.unconstrained.reshape(-1, shape[2]))
        return np.array([self._likelihood.shown(theta) for theta in each]).reshape(shape)

    @property
    def draws(self) -> pd.DataFrame:
        """All draws: columns `chain`, `draw`, and a column for each parameter."""
        import pandas as pd

        chains, number, q = self.values.shape
        frame = pd.DataFrame(self.values.reshape(-1, q), columns=list(self.names))
        frame.insert(0, "chain", np.repeat(np.arange(chains), number))
        frame.insert(1, "draw", np.tile(np.arange(number), chains))
        return frame

    @with_alpha
    def table(self, *, level: float = 0.95) -> pd.DataFrame:
        """What the draws say of each parameter.

        Parameters
        ----------
        level : float
            Of equal-tailed intervals.

        Returns
        -------
        DataFrame
            Index: parameters. Columns `mean`, `median`, `sd`, `low`, `high`, `rhat`, `ess_bulk`, `ess_tail`,
            `mcse_mean`.
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        check_level(level)
        rows = []
        for one in np.moveaxis(self.values, 2, 0):
            low, median, high = np.quantile(one, [0.5 * (1.0 - level), 0.5, 0.5 * (1.0 + level)])
            known = worth(one)
            sd = np.std(one, ddof=1) if one.size > 1 else np.nan
            worths = known.rhat, known.ess_bulk, known.ess_tail, known.mcse_mean
            rows.append([one.mean(), median, sd, low, high, *worths])
        names = ["mean", "median", "sd", "low", "high", "rhat", "ess_bulk", "ess_tail", "mcse_mean"]
        return shown(pd.DataFrame(rows, columns=names, index=pd.Index(self.names, name="parameter")))

    @with_alpha
    def summary(self, *, level: float = 0.95) -> PosteriorSummary:
        """The table with how it came about and what to know of it, as text."""
        return PosteriorSummary(self.table(level=level), self._facts(), self._prior_lines(), tuple(self._doubts()))

    def __repr__(self) -> str:
        return str(self.summary())

    __str__ = __repr__

    def _prior_lines(self) -> tuple[tuple[str, str], ...]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said when it was sampled
            return tuple(self.prior.of(self._coordinates).lines())

    def _facts(self) -> tuple[tuple[str, str], ...]:
        chains, number, _ = self.values.shape
        ways = {
            "independence": "Metropolis steps, proposals from a t at the mode",
            "hamiltonian": "Hamiltonian, the mode's curvature as metric",
        }
        made = self.sampler
        accepted = f"{made.accepted:.2f} accepted, {made.evaluations:,} evaluations of the likelihood"
        lost = f", {made.divergences} divergent" if made.method == "hamiltonian" else ""
        facts = [
            ("Formula", self.result.formula),
            ("Model", f"{self.result.family}, {self.result.link}" + ("; the prior alone" if self.prior_only else "")),
            ("Draws", f"{number} of each of {chains} chains, {made.warmup} before them left out"),
            ("Sampler", f"{ways[made.method]}: {accepted}{lost}"),
        ]
        if np.isfinite(self.integration_difference) and not self.prior_only:
            facts.append(("Integration", f"largest error seen at ten draws {self.integration_difference:.1e}"))
        if not self.prior_only:
            facts += self.result._given_of_posterior(self.weights)
        return tuple(facts)

    def _doubts(self) -> list[str]:
        """What a reader should know of the draws."""
        known = [worth(one) for one in np.moveaxis(self.values, 2, 0)]
        found = [_UNKNOWN] if any(np.isnan(each.rhat) for each in known) else []
        if self.sampler.interrupted:
            found.append(f"stopped by the user: {self.unconstrained.shape[1]} draws of each chain were made")
        rhat, size = max(each.rhat for each in known), min(min(each.ess_bulk, each.ess_tail) for each in known)
        if rhat > max(_DISAGREE, 1.0 + 4.0 * len(self.values) / size):  # so much is chance
            found.append(f"chains do not agree (R-hat {rhat:.3f}): take more draws, or method='hamiltonian'")
        if size < min(_EFFECTIVE * len(self.values), 0.1 * self.n_draws):
            found.append(f"the draws are worth only {size:.0f} independent ones: take more of them")
        if self.sampler.method == "independence" and self.sampler.tail > WORST_TAIL:
            found.append(
                f"the weights of proposals have a heavy tail (Pareto k {self.sampler.tail:.2f}): the posterior has far "
                "parts that few of them reach; take method='hamiltonian'"
            )
        if self.weights.share < _LEAST_SHARE_OF_WEIGHTS or self.weights.error > _NOISY_WEIGHTS:
            found.append(
                f"importance weights of draws are worth {self.weights.share:.0%} as many, and known to "
                f"{self.weights.error:.1g}: far from the estimates the approximation is not corrected well enough; "
                "take a smaller tolerance_outside in the fit, or a narrower prior of standard deviations"
            )
        if self.sampler.divergences > 0:
            found.append(f"{self.sampler.divergences} paths diverged: a narrower prior may be needed")
        return found

    # Given the draws --------------------------------------------------------------------------------------------------

    def _some(self, number: int, argument: str = "draws") -> Iterator[Array]:
        """So many draws of theta, evenly spaced; no more than there are, but of "n" sets some at the same."""
        whole_number(argument, number, 1)
        flat = self.unconstrained.reshape(-1, self.unconstrained.shape[2])
        count = number if argument == "n" else min(number, len(flat))
        return (self._coordinates.theta(flat[k]) for k in np.linspace(0, len(flat) - 1, count).astype(int))

    def _generator(self, stream: int) -> np.random.Generator:
        """Random numbers for one purpose, the same whenever they are asked for."""
        return np.random.default_rng(np.random.SeedSequence(self.entropy, spawn_key=(*self.spawn_key, 1 << 20, stream)))

    def _refuse_prior(self, what: str) -> None:
        if self.prior_only:
            raise OptionError(f"{what} of draws of the prior alone", "a posterior", "sample() without prior_only=True")

    def effect_draws(self, draws: int = 400) -> tuple[Array, float]:
        """Random effects drawn given the parameters and the data.

        Parameters
        ----------
        draws : int
            Draws of the parameters, evenly spaced, with one draw of all effects each.

        Returns
        -------
        effects : ndarray, shape (draws, g, d)
            Of each cluster (or level of the nested factor, with those of its cluster before its own), on the linear
            predictor's scale, in units of their columns. Where factors cross, (draws, 1, number of all) of all levels
            in the order of `effects`; of linear models g is the most levels that a factor has, nan beyond others'.
        error : float
            With one intercept, the largest error of a distribution function that was drawn from; else a bound of the
            total variation by which draws are wrong, averaged over clusters.
        """
        self._refuse_prior("random effects given the data")
        rng, made = self._generator(0), self.result._effect_draws(self._likelihood)
        found = [made.draw(theta, rng) for theta in self._some(draws)]
        return np.array([effects for effects, _ in found]), float(np.mean([error for _, error in found]))

    @with_alpha
    def effects(self, *, level: float = 0.95, draws: int = 400) -> pd.DataFrame:
        """What the posterior says of each cluster's effects, the uncertainty of the parameters included.

        Parameters
        ----------
        level : float
            Of equal-tailed intervals.
        draws : int
            See `effect_draws`.

        Returns
        -------
        DataFrame
            Columns `group`, `label`, `effect`, `mean`, `sd`, `low`, `high`.
        """
        import pandas as pd

        check_level(level)
        drawn, _ = self.effect_draws(draws)
        ends, parts = (0.5 * (1.0 - level), 0.5 * (1.0 + level)), []
        for group, labels, names, some in self.result._effect_places():
            own = drawn[:, some[0], some[1]].reshape(len(drawn), -1)
            low, high = np.quantile(own, ends, axis=0)
            columns = {"mean": own.mean(axis=0), "sd": np.sqrt(variance(own)), "low": low, "high": high}
            where = {"group": group, "label": np.repeat(labels, len(names)), "effect": list(names) * len(labels)}
            parts.append(pd.DataFrame(where | columns))
        return pd.concat(parts, ignore_index=True)

    @with_alpha
    def predict(
        self,
        data: Any = None,
        kind: str = "typical",
        *,
        scale: str = "response",
        level: float = 0.95,
        draws: int = 400,
    ) -> pd.DataFrame:
        """Predict rows of the fitted data or of new data.

        Parameters
        ----------
        data : table, optional
            As in `predict` of the fit; by default the rows that were used.
        kind : {"typical", "conditional", "marginal"}
            At effects of zero; at those of the row's own cluster, drawn given its data; averaged over the distribution
            of effects.
        scale : {"response", "link"}
            Of counts with a linear predictor of zeros, all that `predict` of the fit has.
        level : float
            Of equal-tailed intervals of the mean, not of a new response.
        draws : int
            How many are used, evenly spaced.

        Returns
        -------
        DataFrame
            Index `row`; columns `mean`, `sd`, `low`, `high`, `status`: "ok", or what is missing.
        """
        import pandas as pd

        check_option("kind", kind, _KINDS)
        check_option("scale", scale, self.result._scales_of_draws)
        check_level(level)
        self.result._refuse_of_draws(kind, scale)
        rows, predicted = self.result._predicted_of_draws(data, kind, scale)
        effects = self.effect_draws(draws)[0] if kind == "conditional" else repeat(None)
        fits = map(self._likelihood.fit_at, self._some(draws))
        values = np.array([predicted(at, u) for at, u in zip(fits, effects, strict=False)])
        values = np.where(rows.status.ok, values, np.nan)
        low, high = np.quantile(values, [0.5 * (1.0 - level), 0.5 * (1.0 + level)], axis=0)
        mean, sd = values.mean(axis=0), np.sqrt(variance(values))
        columns = {"mean": mean, "sd": sd, "low": low, "high": high, "status": rows.status.text}
        frame = pd.DataFrame(columns, index=pd.Index(rows.index, name="row"))
        return frame.sort_index() if data is None else frame

    def simulate(self, n: int = 100) -> pd.DataFrame:
        """New responses for the rows that were used, of clusters with new effects, each set at another draw.

        Parameters
        ----------
        n : int
            Data sets.

        Returns
        -------
        DataFrame
            As `simulate` of a fit: index `row`, columns 0 to n - 1.
        """
        import pandas as pd

        rng, columns = self._generator(1), []
        for theta in self._some(n, "n"):
            at: Any = replace(self.result, fit=self._likelihood.fit_at(theta))  # type: ignore[type-var]
            columns.append(at.simulate(1, seed=rng).iloc[:, 0])
        found: pd.DataFrame = pd.concat(columns, axis=1, keys=range(len(columns)))
        return found

    def predictive_statistics(self, n: int = 100) -> tuple[Array, Array]:
        """What sets drawn by `simulate`, and the data that were seen, are like.

        Parameters
        ----------
        n : int
            Data sets.

        Returns
        -------
        seen : ndarray, shape (2,)
            Mean of all responses (of one trial), and standard deviation of the clusters' means.
        drawn : ndarray, shape (n, 2)
            The same of each set.
        """
        self.result._refuse_of_draws("statistics", "response")
        sets = self.simulate(n).to_numpy(dtype=np.float64).T
        data = self.result._written_out("sets drawn from a posterior").data.rows
        back = np.argsort(np.argsort(data.row_index, kind="stable"), kind="stable")

        def of(y: Array) -> tuple[float, float]:
            means = np.add.reduceat(y, data.starts[:-1]) / np.add.reduceat(data.trials, data.starts[:-1])
            return float(y.sum() / data.trials.sum()), float(np.std(means))

        single = data.a / data.weights
        return np.array(of(single)), np.array([of(y[back]) for y in sets])

    # Predictive accuracy ----------------------------------------------------------------------------------------------

    def cluster_logliks(self, draws: int = 1000) -> Array:
        """Log-likelihoods of clusters at some draws, shape (draws, m), without constants; effects integrated out."""
        self._refuse_prior("the likelihood")
        self.result._refuse_by_cluster("log-likelihoods of single clusters")
        target = self._target
        return np.array([target.likelihood.cluster_values(theta, target.points) for theta in self._some(draws)])

    def loo(self, draws: int = 1000) -> PredictiveAccuracy:
        """How well each cluster is predicted by the others, by Pareto-smoothed importance sampling.

        Parameters
        ----------
        draws : int
            How many are used, evenly spaced.

        Returns
        -------
        PredictiveAccuracy
            With Pareto k of each cluster: above the threshold its part is not to be trusted.
        """
        values = self.cluster_logliks(draws)
        return self._accuracy("loo", leave_one_out(values), threshold(len(values)))

    def waic(self, draws: int = 1000) -> PredictiveAccuracy:
        """Watanabe's criterion by cluster; `loo` tells where it fails, and this does not."""
        return self._accuracy("waic", waic(self.cluster_logliks(draws)), np.inf)

    def _accuracy(self, kind: str, pointwise: Any, worst: float) -> PredictiveAccuracy:
        self.result._written_out("prediction of clusters left out")
        data, repeats = self.data.rows, self.result._repeats.clusters
        return PredictiveAccuracy(kind, data.labels, repeats, pointwise, self.result._constants_of_clusters(), worst)

    def compare(self, *others: Posterior, draws: int = 1000) -> pd.DataFrame:
        """Models of the same data by how well they predict clusters left out, the best first.

        Parameters
        ----------
        *others : Posterior
        draws : int

        Returns
        -------
        DataFrame
            Index `model`, from 0 in the order of the arguments, this one first; columns `formula`, `elpd`, `se`, `p`,
            `difference` from the best and its standard error `se_difference`, by cluster.

        Raises
        ------
        OptionError
            On other data.
        """
        each, first = (self, *others), self.data.rows
        for other in others:
            if not hasattr(type(other), "cluster_logliks"):
                raise OptionError(f"a comparison with {shown(other)}", "posteriors", "posterior.compare(fit.sample())")
            data = other.data.rows
            same = np.array_equal(first.labels, data.labels) and first.n_obs == data.n_obs
            if not same or not (np.array_equal(first.a, data.a) and np.array_equal(first.b, data.b)):
                raise OptionError(
                    f"a comparison with {other.result.formula!r}, fitted to other rows",
                    "the same responses in the same clusters",
                    "cg.common_rows, and fits to these",
                )
        return compared([(one.result.formula, one.loo(draws)) for one in each])

    # To other places --------------------------------------------------------------------------------------------------

    def to_arviz(self, log_likelihood: bool = False) -> Any:
        """These draws for ArviZ: `InferenceData` of its 0.x, a `DataTree` of 1.x.

        Parameters
        ----------
        log_likelihood : bool
            Whether those of clusters at all draws are to be there too: each costs an evaluation of the likelihood.

        Raises
        ------
        MissingPackageError
            Without arviz.
        """
        from clusterglm.results.files.arviz import for_arviz

        by_cluster = None
        if log_likelihood:
            logliks = self.cluster_logliks(self.n_draws) + self.result._constants_of_clusters()
            by_cluster = self.data.rows.labels, logliks
        draws = dict(zip(self.names, np.moveaxis(self.values, 2, 0), strict=True))
        return for_arviz(draws, self.log_density, by_cluster)

    def save(self, path: str | Path) -> None:
        """Write the draws and the fit to a JSON file that `clusterglm.load` reads; see `save` of a fit.

        Parameters
        ----------
        path : str or Path
        """
        from clusterglm.results.files.storage import save

        save(self, path)
