"""Steps that the studies share: simulated clusters, and a fit by maximum likelihood as a row of numbers."""

from __future__ import annotations

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import StudyError
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.random_effects import fit_random_effects
from clusterglm.inference.uncertainty.bootstrap_intervals import converged
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.family import response
from clusterglm.model.quadrature import Quadrature
from clusterglm.study.design import Cell

LOGIT = response("binomial", "logit")
CONTROL = Control()


def bernoulli(rng: np.random.Generator, eta: Array) -> Array:
    """Responses with success probability 1 / (1 + exp(-eta))."""
    return (rng.random(eta.shape) < LOGIT.mean(eta)).astype(np.float64)


def mixed_model(data: ModelData, distribution: Distribution, quadrature: Quadrature, scale: str) -> RandomEffectsFit:
    """The random-intercept model by maximum likelihood, converged or an error."""
    fit = fit_random_effects(data, LOGIT, distribution, quadrature, scale, control=CONTROL)
    return converged(fit)


def check_whole(cell: Cell, **least: int) -> None:
    """Refuse factors that are not whole numbers, so many at least."""
    for name, smallest in least.items():
        if not isinstance(cell[name], int) or cell[name] < smallest:  # type: ignore[operator]
            raise StudyError(f"{name}={cell[name]!r}", f"a whole number, {smallest} or more", f"{name}={smallest + 2}")


def check_scale(cell: Cell, name: str) -> None:
    """Refuse a scale that is negative or no number."""
    value = cell[name]
    if isinstance(value, str) or not 0.0 <= value < np.inf:
        raise StudyError(f"{name}={value!r}", "a finite number, not negative", f"{name}=1.0")
