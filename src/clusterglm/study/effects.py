"""The study of Holmberg's thesis, section 3 (paper I): clusters as fixed effects or as random effects.

Data come from a logit model with a Gaussian random intercept,

    y_ij ~ Bernoulli(p_ij),  logit p_ij = beta0 + beta1 x_ij + sigma u_i,  u_i ~ N(0, 1),  x_ij ~ N(0, 1),

for i = 1..clusters and j = 1..size. The thesis's cluster sizes are 2, 5 and 10. It does not print the numbers of
clusters, sigma and the coefficients; here they are 50 and 200; 0, 0.5 and 1; 0 and 1. All can be set.

Every replicate is fitted by every method: a row each, with the slope beta1, its standard error, where the model has
them the intercept and `sigma_hat`, and `pvalue` of a test of no clustering. The thesis has fixed effects, and mixed
models by Laplace and by 8 adaptive Gauss-Hermite nodes. Added are the pooled model, bias-corrected fixed effects,
conditional likelihood, the mixed model with as many nodes as it needs, penalised quasi-likelihood in both forms (REML
with dispersion 1; "ML", as R's glmmPQL has it), and a score test. With n_boot > 0 the tests by
simulation of fixed effects follow, so many replicates each; with draws > 0 the means of so many draws from the
posterior under the default priors. Both take far longer than all the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from clusterglm.data.arrays import from_arrays, with_intercepts
from clusterglm.data.prepare import ModelData
from clusterglm.errors import StudyError
from clusterglm.fit.conditional import fit_conditional
from clusterglm.fit.fixed_effects import FixedEffectsFit, fit_fixed_effects
from clusterglm.fit.pooled import PooledFit, fit_pooled
from clusterglm.fit.pql import fit_pql
from clusterglm.inference.hypotheses.bootstrap import fixed_effects_refit, simulated_test
from clusterglm.inference.hypotheses.clustering import likelihood_ratio
from clusterglm.inference.hypotheses.score_test import score_test
from clusterglm.inference.uncertainty.bootstrap_intervals import converged
from clusterglm.inference.uncertainty.correction import corrected
from clusterglm.inference.uncertainty.replicates import ReplicateError
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.quasi import QUASI
from clusterglm.sample.chains import run
from clusterglm.sample.likelihoods import InterceptLikelihood
from clusterglm.sample.prior import Prior
from clusterglm.sample.target import mode_of
from clusterglm.study.design import Cell, Row, Study, attempt, single
from clusterglm.study.methods import CONTROL, LOGIT, bernoulli, check_scale, check_whole, mixed_model


@dataclass
class Sample:
    """One data set: `within` has no column of ones, for models with an intercept per cluster; `common` has one."""

    within: ModelData
    common: ModelData
    n_boot: int
    draws: int
    seed: int
    _pooled: PooledFit | None = None
    _fixed: FixedEffectsFit | None = None

    @property
    def pooled(self) -> PooledFit:
        """Fitted when first asked for (without the lock that cached_property has, for which threads would wait)."""
        self._pooled = self._pooled or converged(fit_pooled(self.common, LOGIT, CONTROL))
        return self._pooled

    @property
    def fixed(self) -> FixedEffectsFit:
        """The fit with fixed effects, made when it is first asked for."""
        self._fixed = self._fixed or converged(fit_fixed_effects(self.within, LOGIT, None, CONTROL))
        return self._fixed


def draw(cell: Cell, rng: np.random.Generator) -> Sample:
    """Simulate a data set."""
    clusters, size, n_boot, draws = (int(cell[name]) for name in ("clusters", "size", "n_boot", "draws"))
    x = rng.standard_normal(clusters * size)
    intercepts = float(cell["sigma"]) * rng.standard_normal(clusters)
    y = bernoulli(rng, float(cell["beta0"]) + float(cell["beta1"]) * x + np.repeat(intercepts, size))
    within = from_arrays(y, x[:, None], size, LOGIT, names=("x",))
    common = from_arrays(y, np.column_stack([np.ones_like(x), x]), size, LOGIT, names=("(Intercept)", "x"))
    return Sample(within, common, n_boot, draws, int(rng.integers(2**62)))


def pooled(sample: Sample) -> Row:
    fit = sample.pooled
    return {"intercept": single(fit.beta[0]), **_slope(fit.beta[1], fit.covariance[1, 1])}


def mixed(quadrature: Quadrature, sample: Sample) -> Row:
    fit = mixed_model(sample.common, Gaussian(), quadrature, "normal")
    sigma = fit.parameters.scale
    return {
        "intercept": single(fit.beta[0]),
        **_slope(fit.beta[1], fit.covariance[1, 1]),
        "sigma_hat": single(fit.sigma),
        "sigma_hat_se": None if fit.boundary else single(np.sqrt(fit.covariance[sigma, sigma])),
        "pvalue": single(likelihood_ratio(fit.loglik, fit.pooled.loglik).pvalue),
    }


def quasi(form: str, sample: Sample) -> Row:
    fit = converged(fit_pql(with_intercepts(sample.common), LOGIT, QUASI[form], CONTROL))
    places = fit.parameters
    errors, (beta, phi, *_) = np.sqrt(np.diag(fit.covariance)), places.split(fit.theta)
    return {
        "intercept": single(beta[0]),
        **_slope(beta[1], fit.covariance[1, 1]),
        "sigma_hat": single(abs(phi[0])),
        "sigma_hat_se": None if fit.held.any() else single(places.split(errors)[1][0]),
    }


def posterior_mean(sample: Sample) -> Row:
    """Means and standard deviations of draws, which `fit.sample(draws, chains=1)` would have."""
    fit = mixed_model(sample.common, Gaussian(), Quadrature("auto"), "normal")
    likelihood, at = InterceptLikelihood(fit), fit.parameters
    target, mode = mode_of(likelihood, Prior().of(likelihood.coordinates))
    drawn = run(
        target, mode, method="auto", draws=sample.draws, warmup=None, chains=1,
        seed=np.random.SeedSequence(sample.seed), n_jobs=1, progress=None,
    )  # fmt: skip
    draws = likelihood.coordinates.theta(drawn.x[0])
    means, spreads = draws.mean(axis=0), draws.std(axis=0, ddof=1)
    beta, errors = means[at.coefficients], spreads[at.coefficients]
    return {
        "intercept": single(beta[0]),
        **_slope(beta[1], errors[1] ** 2),
        "sigma_hat": single(means[at.scale]),
        "sigma_hat_se": single(spreads[at.scale]),
    }


def fixed(sample: Sample) -> Row:
    return _slope(sample.fixed.beta[0], sample.fixed.covariance[0, 0])


def fixed_corrected(sample: Sample) -> Row:
    fit = corrected(sample.fixed, sample.within, LOGIT, "analytical", CONTROL, None)
    return _slope(fit.beta[0], fit.covariance[0, 0])


def conditional(sample: Sample) -> Row:
    fit = converged(fit_conditional(sample.within, LOGIT, None, CONTROL))
    return _slope(fit.beta[0], fit.covariance[0, 0])


def score(sample: Sample) -> Row:
    return {"pvalue": single(score_test(sample.common, LOGIT, sample.pooled.beta).pvalue)}


def simulated(method: str, statistic: str, sample: Sample) -> Row:
    """A test by simulation from the model without clusters, or by dealing rows out to the clusters anew."""
    refit = fixed_effects_refit(sample.within, LOGIT, sample.pooled)
    test = simulated_test(
        sample.within, sample.common, sample.pooled, sample.fixed.loglik, refit, LOGIT, method, statistic,
        sample.n_boot, sample.seed, 1, None, insist=True,
    )  # fmt: skip
    if len(test.replicates) == 0:
        raise ReplicateError(f"no replicate of {sample.n_boot} succeeded")
    return {"pvalue": single(test.pvalue)}


def _slope(estimate: float, variance: float) -> Row:
    return {"slope": single(estimate), "slope_se": single(np.sqrt(variance))}


METHODS: dict[str, Callable[[Sample], Row]] = {
    "pooled": pooled,
    "fixed": fixed,
    "fixed, corrected": fixed_corrected,
    "conditional": conditional,
    "mixed, Laplace": partial(mixed, Quadrature("laplace")),
    "mixed, 8 nodes": partial(mixed, Quadrature("fixed", 8)),
    "mixed, automatic": partial(mixed, Quadrature("auto")),
    "mixed, PQL": partial(quasi, "pql"),
    "mixed, PQL-ML": partial(quasi, "pql-ml"),
    "score test": score,
}
SIMULATED: dict[str, Callable[[Sample], Row]] = {
    "bootstrap, log-likelihood": partial(simulated, "bootstrap", "loglik"),  # that of R's glmmboot
    "bootstrap, likelihood ratio": partial(simulated, "bootstrap", "lr"),
    "permutation, likelihood ratio": partial(simulated, "permutation", "lr"),
}
SAMPLED: dict[str, Callable[[Sample], Row]] = {"mixed, posterior mean": posterior_mean}


def replicate(cell: Cell, rng: np.random.Generator) -> list[Row]:
    """One data set, and what every method makes of it."""
    sample = draw(cell, rng)
    methods = METHODS | (SIMULATED if sample.n_boot > 0 else {}) | (SAMPLED if sample.draws > 0 else {})
    return [attempt(name, partial(method, sample)) for name, method in methods.items()]


def check(cell: Cell) -> None:
    """Refuse what cannot be simulated."""
    check_whole(cell, size=2, clusters=2, n_boot=0, draws=0)
    if cell["draws"] == 1:
        raise StudyError("draws=1", "0, or 2 draws at least", "draws=400")
    check_scale(cell, "sigma")


STUDY = Study(
    name="effects",
    factors={
        "size": [2, 5, 10],
        "clusters": [50, 200],
        "sigma": [0.0, 0.5, 1.0],
        "beta0": [0.0],
        "beta1": [1.0],
        "n_boot": [0],
        "draws": [0],
    },
    replicate=replicate,
    check=check,
)
