"""The study of Holmberg's thesis, section 4 (paper II): a random intercept whose distribution is not the one assumed.

Data come from the thesis's model (7),

    y_ij ~ Bernoulli(p_ij),  logit p_ij = 0.85 + x1_ij + x2_ij + sigma u_i,

x1 being 0 or 1 with probability one half and x2 standard normal (the thesis says discrete and continuous; without u the
mean response is then 0.75, that of the thesis 0.8). The standard member u of the distribution is Gaussian, logistic or
Cauchy. To each data set the model is fitted with each of the three. With covariates = "none" the linear predictor is
0.85 + sigma u_i, as where the thesis selects by its chi-squared criterion; rows of a cluster are then alike and are
kept as one count of successes, which changes no likelihood but by a constant.

Every fit is made three times: on the scale of the density, as the thesis's software integrates, by Laplace and by 8
adaptive Gauss-Hermite nodes; and with as many nodes on the normal scale as bring the log-likelihood to within 0.001.
Each is a row: `method` (the integration), `assumed`, coefficients, `sigma_hat`, `lr` (twice the log-likelihood, less
that without clusters; AIC is least where it is largest, as all three have the same number of parameters) and, without
covariates, `chi_square`.

Not printed in the thesis, and settable here: the numbers of clusters (100), the scales (0.5, 1, 2), and the cluster
sizes but the largest, 100 (5, 20).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from clusterglm.data.arrays import from_arrays
from clusterglm.data.prepare import ModelData
from clusterglm.errors import StudyError
from clusterglm.inference.distribution.event_counts import discrepancy
from clusterglm.inference.distribution.goodness import fitted_counts
from clusterglm.model.distribution import distribution
from clusterglm.model.quadrature import Quadrature
from clusterglm.study.design import Cell, Row, Study, attempt, single
from clusterglm.study.methods import LOGIT, bernoulli, check_scale, check_whole, mixed_model

BETA = (0.85, 1.0, 1.0)
INTEGRATIONS = {
    "Laplace, density scale": (Quadrature("laplace"), "density"),
    "8 nodes, density scale": (Quadrature("fixed", 8), "density"),
    "accurate": (Quadrature("auto", tolerance=1e-3), "normal"),
}
ASSUMED = ("gaussian", "logistic", "cauchy")
COVARIATES = ("two", "none")


def draw(cell: Cell, rng: np.random.Generator) -> ModelData:
    """Simulate a data set."""
    clusters, size = int(cell["clusters"]), int(cell["size"])
    u = float(cell["sigma"]) * distribution(str(cell["truth"])).rvs(rng, clusters)
    if cell["covariates"] == "none":
        successes = rng.binomial(size, LOGIT.mean(BETA[0] + u)).astype(np.float64)
        ones, trials = np.ones((clusters, 1)), np.full(clusters, float(size))
        return from_arrays(successes, ones, 1, LOGIT, names=("(Intercept)",), trials=trials)
    n = clusters * size
    x1, x2 = rng.integers(0, 2, n).astype(np.float64), rng.standard_normal(n)
    y = bernoulli(rng, BETA[0] + BETA[1] * x1 + BETA[2] * x2 + np.repeat(u, size))
    return from_arrays(y, np.column_stack([np.ones(n), x1, x2]), size, LOGIT, names=("(Intercept)", "x1", "x2"))


def estimates(data: ModelData, integration: str, assumed: str) -> Row:
    """Fit with one integration and one assumed distribution."""
    quadrature, scale = INTEGRATIONS[integration]
    fit = mixed_model(data, distribution(assumed), quadrature, scale)
    row: Row = {name: single(value) for name, value in zip(("intercept", "slope1", "slope2"), fit.beta, strict=False)}
    row |= {"sigma_hat": single(fit.sigma), "lr": single(2.0 * (fit.loglik - fit.pooled.loglik))}
    if data.X.shape[1] == 1:
        row["chi_square"] = single(discrepancy(fitted_counts(data, fit)).statistic)
    return row


def replicate(cell: Cell, rng: np.random.Generator) -> list[Row]:
    """One data set, fitted with every integration and assumption."""
    data = draw(cell, rng)
    return [
        {"assumed": assumed, **attempt(integration, partial(estimates, data, integration, assumed))}
        for integration in INTEGRATIONS
        for assumed in ASSUMED
    ]


def check(cell: Cell) -> None:
    """Refuse what cannot be simulated."""
    check_whole(cell, size=2, clusters=2)
    check_scale(cell, "sigma")
    distribution(str(cell["truth"]))
    if cell["covariates"] not in COVARIATES:
        raise StudyError(f"covariates={cell['covariates']!r}", f"one of {', '.join(COVARIATES)}", "covariates=two,none")


STUDY = Study(
    name="distribution",
    factors={
        "covariates": ["two", "none"],
        "size": [5, 20, 100],
        "clusters": [100],
        "sigma": [0.5, 1.0, 2.0],
        "truth": list(ASSUMED),
    },
    replicate=replicate,
    check=check,
)
