"""Estimates of zero-inflated counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.own import OwnPooledFit, OwnRandomEffectsFit
from clusterglm.fit.zero_rows import kernel_data
from clusterglm.likelihood.integrator import AnyIntegrator, Intercepts
from clusterglm.likelihood.registry import integrator_for
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters, State
from clusterglm.model.response.base import Response
from clusterglm.model.response.zeros.inflated import ZeroInflated


@dataclass(frozen=True)
class WithZeros:
    """What estimates of zero-inflated counts have, with and without cluster effects.

    Parameters
    ----------
    zero : ModelData
        The same rows with the columns of the linear predictor of zeros.
    loglik_plain : float
        Of counts without inflation, otherwise of the same model.
    poisson, plain : bool
        Whether the maximum lies at alpha = 0, and whether it lies where no zero is for certain.
    """

    zero: ModelData | None = None
    loglik_plain: float = np.nan
    poisson: bool = False
    plain: bool = False

    if TYPE_CHECKING:

        @property
        def response(self) -> Response | None: ...

        @property
        def loglik(self) -> float: ...

        @property
        def covariance(self) -> Array: ...

        @property
        def whole_covariance(self) -> Array | None: ...

    @property
    def alpha_state(self) -> State:
        """What became of alpha; see `Block`."""
        return "boundary" if self.poisson else "free"

    @property
    def zero_state(self) -> State:
        """What became of the coefficients of zeros."""
        return "boundary" if self.plain else "free"

    @property
    def inflated(self) -> ZeroInflated:
        """The response, whose parameters are known to be there."""
        assert isinstance(self.response, ZeroInflated)
        return self.response

    @property
    def zero_rows(self) -> ModelData:
        """The data of zeros."""
        assert self.zero is not None
        return self.zero


@dataclass(frozen=True)
class ZeroPooledFit(WithZeros, OwnPooledFit):
    """Estimates of a model of zero-inflated counts without cluster effects.

    Parameters
    ----------
    whole_covariance : ndarray, shape (p + k, p + k)
        Of (beta, alpha of negative binomial counts, coefficients of zeros).
    loglik_at_limit : float
        Of zero-inflated Poisson counts, where these are negative binomial; otherwise nan.
    zero, loglik_plain, poisson, plain
        As `WithZeros` has them.
    """


@dataclass(frozen=True)
class ZeroRandomEffectsFit(WithZeros, OwnRandomEffectsFit):
    """The same with a random intercept for each cluster in the linear predictor of counts.

    Parameters
    ----------
    pooled : ZeroPooledFit
    zero, loglik_plain, poisson, plain
        As `WithZeros` has them.
    """

    pooled: ZeroPooledFit

    @property
    def all_parameters(self) -> Parameters:
        return with_zeros(self.parameters, self.inflated, self.alpha_state, self.zero_state)

    @property
    def integrator(self) -> AnyIntegrator:
        """How the random effects are integrated out."""
        return integrator_for(self.distribution, self.integration.scale, several_modes=True)

    def kernel_of(self, data: ModelData) -> tuple[ModelData, Response]:
        """Of the clusters of the fit, whose rows have columns of zeros too."""
        return kernel_data(data, self.zero_rows.X, self.inflated)

    @cached_property
    def intercepts(self) -> Intercepts:
        """Posterior mode, mean and standard deviation of every cluster's intercept."""
        return self._none if self.sigma == 0.0 else self.integrator.posterior(*self.kernel, self.theta, self.plan)

    def moved(self, inner: Array, values: Array) -> Self:
        """At other estimates, as differences ask for, with what the data say of effects there.

        Parameters
        ----------
        inner : ndarray, shape (p + 1,)
            (beta, sigma).
        values : ndarray, shape (k,)
            Of the response's parameters.
        """
        at, response = self.parameters, replace(self.inflated, values=tuple(values.tolist()))
        return replace(self, beta=inner[at.coefficients], sigma=float(inner[at.scale]), response=response)

    def accurate_intercepts(self, data: ModelData) -> Intercepts:
        return self._none if self.sigma == 0.0 else super().accurate_intercepts(data)

    @property
    def _none(self) -> Intercepts:
        nothing = np.zeros(self.data.n_clusters)
        return Intercepts(nothing, nothing, nothing)


def with_zeros(
    inner: Parameters, response: ZeroInflated, alpha_state: State = "free", zero_state: State = "free"
) -> Parameters:
    """Parameters of a model with those of its zeros after them."""
    inner = inner.and_own(("alpha",), alpha_state) if response.dispersed else inner
    return inner.and_zeros(response.own[int(response.dispersed) :], zero_state)
