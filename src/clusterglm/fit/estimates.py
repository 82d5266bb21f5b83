"""Estimates of a random-intercept model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.fit.newton import Optimization
from clusterglm.fit.pooled import PooledFit
from clusterglm.likelihood.integrator import AnyIntegrator, Intercepts
from clusterglm.likelihood.plan import Plan
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.report import IntegrationReport
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.parameters import Parameters, State, random_intercept
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class ShapeEstimate:
    """Estimated shape parameters.

    Parameters
    ----------
    family : Distribution
        With the shape free: what to fit to other data.
    names : tuple of str
    estimates, std_errors : ndarray, shape (k,)
        On the scale that people know; a standard error is nan at the end of a parameter's range, where sigma = 0, and
        where the information is not positive definite.
    working : ndarray, shape (k,)
        The values in which the search was made.
    covariance : ndarray, shape (q, q)
        Inverse observed information of beta, sigma and the working values, in this order; nan in
        the rows of parameters without a standard error.
    notes : tuple of str
        What the model is where an estimate lies at the end of its range; a search that did not converge.
    fits : int
        Fits with a given shape that the search took.
    """

    family: Distribution
    names: tuple[str, ...]
    estimates: Array
    std_errors: Array
    working: Array
    covariance: Array
    notes: tuple[str, ...]
    fits: int

    @property
    def working_names(self) -> tuple[str, ...]:
        """Names of the working values."""
        return self.names

    @property
    def count(self) -> float:
        """How many parameters they count as."""
        return len(self.names)

    @property
    def _in_words(self) -> str:
        words = []
        for name, estimate, se in zip(self.names, self.estimates.tolist(), self.std_errors.tolist(), strict=True):
            words.append(f"{name} {estimate:.4g}" + (f" (Std. Error {se:.3g})" if np.isfinite(se) else ""))
        return ", ".join(words)

    def __str__(self) -> str:
        return f"{self._in_words}, estimated"


@dataclass(frozen=True)
class SmoothShape(ShapeEstimate):
    """An estimated smooth density, described by its skewness and excess kurtosis.

    `covariance` is the inverse of the observed information and the penalty's, so that the penalty is taken for a prior:
    intervals then allow for what smoothing leaves out (the covariance of R's mgcv).

    Parameters
    ----------
    smoothness : float
        Weight of the penalty; inf where the estimate is the Gaussian.
    chosen : bool
        By approximate marginal likelihood, rather than given.
    effective : float
        Effective number of shape parameters: trace of (information + penalty)^-1 information, of their rows.
    """

    smoothness: float
    chosen: bool
    effective: float

    @property
    def working_names(self) -> tuple[str, ...]:
        return tuple(f"third difference {j + 1}" for j in range(len(self.working)))

    @property
    def count(self) -> float:
        return self.effective

    def __str__(self) -> str:
        how = "by approximate marginal likelihood" if self.chosen else "as given"
        return (
            f"{self._in_words}; smoothness {self.smoothness:.3g} {how}, {self.effective:.2f} effective shape parameters"
        )


@dataclass(frozen=True)
class RandomEffectsFit:
    """Estimates of a random-intercept model, on the user's scale.

    Parameters
    ----------
    beta : ndarray, shape (p,)
        Regression coefficients.
    sigma : float
        Scale of the random intercept, not negative; exactly 0 where that is the maximum.
    covariance : ndarray, shape (p + 1, p + 1)
        Inverse observed information of (beta, sigma). Rows of sigma are nan at the boundary and where sigma was fixed.
    hessian : ndarray, shape (p + 1, p + 1)
        Of the log-likelihood at the estimate.
    loglik : float
        Full, normalised log-likelihood.
    optimization : Optimization
    integration : IntegrationReport
    pooled : PooledFit
        The same model without random intercepts.
    boundary, sigma_fixed : bool
        Whether sigma = 0 is the maximum; whether sigma was held fixed.
    data : FittedData
        What was fitted; the posterior of the intercepts is computed from it when first asked for.
    distribution : Distribution
    response : Response
    plan : tuple of Part
        The quadrature rules in use.
    shape : ShapeEstimate, optional
        Shape parameters of the distribution, where they were estimated.
    penalty : "soft", optional
        What was added to the log-likelihood that was maximised; `loglik` is without it.
    penalized_loglik : float, optional
        The maximum: `loglik` and the penalty.
    """

    beta: Array
    sigma: float
    covariance: Array
    hessian: Array
    loglik: float
    optimization: Optimization
    integration: IntegrationReport
    pooled: PooledFit
    boundary: bool
    sigma_fixed: bool
    data: FittedData
    distribution: Distribution
    response: Response
    plan: Plan
    shape: ShapeEstimate | None = None
    penalty: str | None = None
    penalized_loglik: float | None = None

    @property
    def free_distribution(self) -> Distribution:
        """What to fit to other data: the distribution, with its shape free where it was estimated here."""
        return self.distribution if self.shape is None else self.shape.family

    @property
    def sigma_state(self) -> State:
        """What became of sigma; see `Block`."""
        return "held" if self.sigma_fixed else "boundary" if self.boundary else "free"

    @cached_property
    def parameters(self) -> Parameters:
        """What stands where in `theta`, `covariance` and `hessian`."""
        return random_intercept(self.data.names, self.data.cluster_name, self.sigma_state)

    @property
    def all_parameters(self) -> Parameters:
        """Parameters (beta, sigma), and after them the shape where it was estimated."""
        return self.parameters if self.shape is None else self.parameters.and_shapes(self.shape.working_names)

    @property
    def theta(self) -> Array:
        """(beta, sigma), shape (p + 1,)."""
        return self.parameters.joined(self.beta, self.sigma)

    @property
    def integrator(self) -> AnyIntegrator:
        """How the random effects are integrated out."""
        return integrator_for(self.distribution, self.integration.scale)

    def kernel_of(self, data: ModelData) -> tuple[ModelData, Response]:
        """The rows of some clusters as the core integrates them at the estimates, and what they are rows of."""
        return data, self.response

    @property
    def kernel(self) -> tuple[ModelData, Response]:
        """Those of the fit."""
        return self.kernel_of(self.data.rows)

    @cached_property
    def intercepts(self) -> Intercepts:
        """Posterior mode, mean and standard deviation of every cluster's intercept."""
        return self._as_known(self.integrator.posterior(*self.kernel, self.theta, self.plan))

    def accurate_intercepts(self, data: ModelData) -> Intercepts:
        """Those of some clusters, of the fit or others, by rules chosen for them, whatever quadrature it used."""
        return self._as_known(self.integrator.accurate_posterior(*self.kernel_of(data), self.theta))

    def _as_known(self, found: Intercepts) -> Intercepts:
        """The intercepts from those of kernel rows."""
        return found

    @property
    def modes(self) -> Array:
        """Posterior modes of the intercepts, shape (m,)."""
        return self.intercepts.modes

    @property
    def means(self) -> Array:
        """Posterior means of the intercepts, shape (m,)."""
        return self.intercepts.means

    @property
    def sds(self) -> Array:
        """Posterior standard deviations of the intercepts, shape (m,)."""
        return self.intercepts.sds
