"""The study of Holmberg's thesis, section 4 (paper II): a random intercept whose distribution is not the one assumed.

Data come from the thesis's model (7),

    y_ij ~ Bernoulli(p_ij),  logit p_ij = 0.85 + x1_ij + x2_ij + sigma u_i,

x1 being 0 or 1 with probability one half and x2 standard normal (the thesis says discrete and continuous; without u the
mean response is then 0.75, that of the thesis 0.8). The standard member u of the distribution is Gaussian, logistic or
Cauchy. To each data set the model is fitted with each of the three. With covariates = "none" the linear predictor is
0.85 + sigma u_i, as where the thesis selects by its chi-squared criterion; rows of a cluster are then alike and are
kept as one count of successes, which changes no likelihood but by a constant.

Added are two truths that none of the three has, u with mean 0 and standard deviation 1: skewed (an exponential less its
mean) and bimodal (two normal humps, three of their standard deviations from the middle). With smooth = 1 a fourth
distribution is assumed, the penalised Gaussian mixture of Komarek and Lesaffre (2008), by accurate integration alone; a
fit of it takes a second or two.

Every fit is made three times: on the scale of the density, as the thesis's software integrates, by Laplace and by 8
adaptive Gauss-Hermite nodes; and with as many nodes on the normal scale as bring the log-likelihood to within 0.001.
Each is a row: `method` (the integration), `assumed`, coefficients, `sigma_hat`, `lr` (twice the log-likelihood, less
that without clusters; AIC is least where it is largest, as all three have the same number of parameters), `distance`
(the largest difference between the distribution functions of intercepts, estimated and true), of smooth distributions
`effective` (shape parameters, which AIC counts) and, without covariates, `chi_square`.

Not printed in the thesis, and settable here: the numbers of clusters (100), the scales (0.5, 1, 2), and the cluster
sizes but the largest, 100 (5, 20).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from clusterglm.data.arrays import from_arrays
from clusterglm.data.prepare import ModelData
from clusterglm.errors import StudyError
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.inference.distribution.event_counts import discrepancy
from clusterglm.inference.distribution.goodness import fitted_counts
from clusterglm.model.arrays import Array
from clusterglm.model.distribution import distribution
from clusterglm.model.quadrature import Quadrature
from clusterglm.study.design import Cell, Row, Study, attempt, single
from clusterglm.study.methods import LOGIT, bernoulli, check_scale, check_whole, mixed_model
from clusterglm.study.truths import OTHERS, Truth, truth

BETA = (0.85, 1.0, 1.0)
INTEGRATIONS = {
    "Laplace, density scale": (Quadrature("laplace"), "density"),
    "8 nodes, density scale": (Quadrature("fixed", 8), "density"),
    "accurate": (Quadrature("auto", tolerance=1e-3), "normal"),
}
ASSUMED = ("gaussian", "logistic", "cauchy")
SMOOTH, ACCURATE = "smooth", "accurate"
COVARIATES = ("two", "none")
_GRID = np.linspace(-12.0, 12.0, 4801)  # standard units in which distribution functions are compared


def draw(cell: Cell, rng: np.random.Generator) -> ModelData:
    """Simulate a data set."""
    clusters, size = int(cell["clusters"]), int(cell["size"])
    u = float(cell["sigma"]) * truth(str(cell["truth"])).draw(rng, clusters)
    if cell["covariates"] == "none":
        successes = rng.binomial(size, LOGIT.mean(BETA[0] + u)).astype(np.float64)
        ones, trials = np.ones((clusters, 1)), np.full(clusters, float(size))
        return from_arrays(successes, ones, 1, LOGIT, names=("(Intercept)",), trials=trials)
    n = clusters * size
    x1, x2 = rng.integers(0, 2, n).astype(np.float64), rng.standard_normal(n)
    y = bernoulli(rng, BETA[0] + BETA[1] * x1 + BETA[2] * x2 + np.repeat(u, size))
    return from_arrays(y, np.column_stack([np.ones(n), x1, x2]), size, LOGIT, names=("(Intercept)", "x1", "x2"))


def estimates(data: ModelData, integration: str, assumed: str, true: Truth, sigma: float) -> Row:
    """Fit with one integration and one assumed distribution; `true` and `sigma` are what its intercepts really have."""
    quadrature, scale = INTEGRATIONS[integration]
    fit = mixed_model(data, distribution(assumed), quadrature, scale)
    row: Row = {name: single(value) for name, value in zip(("intercept", "slope1", "slope2"), fit.beta, strict=False)}
    row |= {"sigma_hat": single(fit.sigma), "lr": single(2.0 * (fit.loglik - fit.pooled.loglik))}
    row["distance"] = single(distance(fit, true, sigma))
    if assumed == SMOOTH:
        row["effective"] = single(fit.shape.count if fit.shape is not None else 0.0)
    if data.X.shape[1] == 1:
        row["chi_square"] = single(discrepancy(fitted_counts(data, fit)).statistic)
    return row


def distance(fit: RandomEffectsFit, true: Truth, sigma: float) -> float:
    """The largest difference of two distribution functions of a cluster's intercept, beta0 and all."""
    unit = max(sigma, fit.sigma)
    if unit == 0.0:
        return 0.0 if fit.beta[0] == BETA[0] else 1.0
    at = BETA[0] + unit * _GRID
    kind = fit.distribution.at(fit.sigma) if fit.sigma > 0.0 else fit.distribution
    return float(np.max(np.abs(_cdf(kind.cdf, at - fit.beta[0], fit.sigma) - _cdf(true.cdf, at - BETA[0], sigma))))


def _cdf(of: Callable[[Array], Array], b: Array, sigma: float) -> Array:
    """Of sigma times a standard member; without a scale, of a point at 0."""
    return of(b / sigma) if sigma > 0.0 else (b >= 0.0).astype(np.float64)


def replicate(cell: Cell, rng: np.random.Generator) -> list[Row]:
    """One data set, fitted with every integration and assumption."""
    data, true, sigma = draw(cell, rng), truth(str(cell["truth"])), float(cell["sigma"])
    fits = [(integration, assumed) for integration in INTEGRATIONS for assumed in ASSUMED]
    fits += [(ACCURATE, SMOOTH)] if cell["smooth"] else []
    return [
        {"assumed": assumed, **attempt(integration, partial(estimates, data, integration, assumed, true, sigma))}
        for integration, assumed in fits
    ]


def check(cell: Cell) -> None:
    """Refuse what cannot be simulated."""
    check_whole(cell, size=2, clusters=2)
    check_scale(cell, "sigma")
    truth(str(cell["truth"]))
    if cell["smooth"] not in (0, 1):
        raise StudyError(f"smooth={cell['smooth']!r}", "0 or 1", "smooth=1")
    if cell["covariates"] not in COVARIATES:
        raise StudyError(f"covariates={cell['covariates']!r}", f"one of {', '.join(COVARIATES)}", "covariates=two,none")


STUDY = Study(
    name="distribution",
    factors={
        "covariates": ["two", "none"],
        "size": [5, 20, 100],
        "clusters": [100],
        "sigma": [0.5, 1.0, 2.0],
        "truth": [*ASSUMED, *OTHERS],
        "smooth": [0],
    },
    replicate=replicate,
    check=check,
)
