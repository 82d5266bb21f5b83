"""`fit.sample`: the posterior of a model's parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from clusterglm.errors import AccuracyWarning, OptionError, SamplingWarning
from clusterglm.model.arguments import seed_sequence, shown, whole_number, yes_or_no
from clusterglm.results.models.base import Result

if TYPE_CHECKING:
    from numpy.random import SeedSequence

    from clusterglm.results.models.posterior import Posterior
    from clusterglm.sample.prior import Prior

_LONGEST_CHAIN = 1_000_000
_CHECKED = 10  # draws at which points are chosen anew
_WEIGHED = 40  # draws whose importance weights are computed
_INACCURATE = 0.05  # of a log-likelihood, by which posterior probabilities would be seen to be wrong


class Sampled(Result):
    """A result from whose posterior one may draw."""

    def sample(
        self,
        draws: int = 1000,
        chains: int = 4,
        prior: Prior | None = None,
        seed: int | SeedSequence | None = None,
        *,
        method: str = "auto",
        warmup: int | None = None,
        prior_only: bool = False,
        n_jobs: int = 1,
        progress: bool | Callable[[int, int], object] | None = None,
    ) -> Posterior:
        """Draw from the posterior of coefficients, standard deviations and correlations.

        And of what the response has of its own, such as the dispersion of a negative binomial, coefficients of zeros,
        and the shape of the intercept's distribution where that was estimated. Random effects are integrated out,
        exactly as in the fit, and no latent variable is ever sampled; `Posterior.effects` draws them afterwards. Linear
        models are sampled from by their full likelihood, those fitted by REML too. Where factors cross the posterior of
        others is given the fit's approximation, and what importance sampling adds to it; `Posterior.weights` says how
        well.

        Parameters
        ----------
        draws, chains : int
            Draws of each chain, and chains.
        prior : Prior, optional
            By default `cg.Prior()`. A penalty of the fit is no part of it.
        seed : int or SeedSequence, optional
            The same seed gives the same draws, for any number of workers.
        method : {"auto", "independence", "hamiltonian"}
            Metropolis steps with proposals from a t at the posterior's mode, scaled by its curvature; Hamiltonian Monte
            Carlo with that curvature as metric. "auto" takes the first where the weights of the proposals, of 200 at
            first and of all at the end, are worth a fifth of as many draws at least, and the tail of the weights has a
            Pareto k of at most .7.
        warmup : int, optional
            Draws of each chain that are left out; by default 50, and 400 of the Hamiltonian method.
        prior_only : bool
            Leave out the data: draws of the prior.
        n_jobs : int
            Threads; -1 for all processors.
        progress : bool or callable, optional
            True for a bar, or a function of the draws done and wanted.

        Returns
        -------
        Posterior
            After Ctrl-C, the draws that all chains have.

        Raises
        ------
        OptionError
            On an argument out of range; for models that are not sampled from.
        DesignError
            Where the posterior has no mode, as it may with a flat prior.

        Warns
        -----
        PriorWarning
            Where the prior is no distribution.
        SamplingWarning
            After Ctrl-C, and where chains do not agree.
        AccuracyWarning
            Where integrals at some draws are less accurate than at the mode.

        Notes
        -----
        The points of the integrals are chosen once, at the posterior's mode, as the fit was asked to; where it was
        "auto", ten draws have theirs chosen anew afterwards, and the largest difference of log-likelihoods is reported.

        Examples
        --------
        >>> import clusterglm as cg
        >>> fit = cg.random_effects("y ~ trt + week", cg.datasets.load("bacteria"), cluster="ID")
        >>> posterior = fit.sample(200, chains=2, seed=1)
        >>> posterior.n_draws
        400
        """
        from clusterglm.results.models.posterior import Posterior
        from clusterglm.sample.chains import run
        from clusterglm.sample.likelihoods import NoLikelihood
        from clusterglm.sample.prior import Prior
        from clusterglm.sample.target import importance_weights, largest_difference, mode_of

        whole_number("draws", draws, 1, _LONGEST_CHAIN)
        whole_number("chains", chains, 1, 1000)
        if warmup is not None:
            whole_number("warmup", warmup, 0, _LONGEST_CHAIN)
        yes_or_no("prior_only", prior_only)
        prior = Prior() if prior is None else prior
        if not isinstance(prior, Prior):
            raise OptionError(f"prior={shown(prior)}", "a Prior", 'prior=cg.Prior(coefficients="normal(0, 2.5)")')
        likelihood, root = self._sampled(), seed_sequence(seed)
        density = prior.of(likelihood.coordinates)
        if prior_only and not density.proper:
            raise OptionError("prior_only=True with a flat prior", "a prior that is a distribution", "normal(0, 2.5)")
        if prior_only and any(one.kind == "threshold" for one in density.coordinates.each):
            raise OptionError(
                "prior_only=True with ordered categories",
                "a prior with a mode inside: that of thresholds which ascend has it where they are equal",
                "sorted draws of the prior of the intercept, which are those of all thresholds at the columns' means",
            )
        target, mode = mode_of(NoLikelihood(likelihood) if prior_only else likelihood, density)
        drawn = run(
            target,
            mode,
            method=method,
            draws=draws,
            warmup=warmup,
            chains=chains,
            seed=root,
            n_jobs=n_jobs,
            progress=progress,
        )
        found = Posterior(
            result=self,
            prior=prior,
            unconstrained=drawn.x,
            log_density=drawn.log_density,
            sampler=drawn.sampler,
            entropy=_as_one_number(root),
            spawn_key=tuple(root.spawn_key),
            prior_only=prior_only,
            integration_difference=largest_difference(target, drawn.x, _CHECKED),
            weights=importance_weights(target, drawn.x, _WEIGHED),
        )
        if found.integration_difference > _INACCURATE:
            warnings.warn(
                f"the log-likelihood at some draws differs by {found.integration_difference:.2g} from that by points "
                "chosen there: take a smaller tolerance, Quadrature('auto', tolerance=...), in the fit",
                AccuracyWarning,
                stacklevel=2,
            )
        for words in found._doubts():
            warnings.warn(words, SamplingWarning, stacklevel=2)
        return found


def _as_one_number(root: SeedSequence) -> int:
    """The entropy of a seed; of one made from several numbers a number that they lead to."""
    if isinstance(root.entropy, int):
        return root.entropy
    return int.from_bytes(root.generate_state(4).tobytes(), "little")
