"""Posteriors of models whose response has parameters of its own, with one random intercept.

A positive parameter is sampled by its logarithm, which is the working value of the fit or this with its sign turned;
thresholds of ordered categories are sampled as they are. At each draw of them the response is one like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.own import OwnRandomEffectsFit
from clusterglm.fit.own_rows import OwnMarginal, OwnRows, kernel_data, standardised
from clusterglm.fit.sums import in_free
from clusterglm.fit.zero_rows import ZeroRows
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.plan import Part, Plan
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Parameters, State, random_intercept
from clusterglm.model.response.base import Response
from clusterglm.model.response.own.base import OwnParameters
from clusterglm.model.response.own.cumulative import Cumulative
from clusterglm.sample.coordinates import Coordinate, Coordinates, of_columns
from clusterglm.sample.effects import InterceptDraws
from clusterglm.sample.likelihoods import (
    LEAST_TRIED,
    InterceptLikelihood,
    Points,
    constants_of_clusters,
    row_weights,
    unweighted,
)


@dataclass(frozen=True)
class OwnPart:
    """The parameters of a response, the last of those that are sampled.

    Parameters
    ----------
    response : OwnParameters
        Whatever its values.
    each : tuple of Coordinate
    start : ndarray, shape (k,)
        See `SampledLikelihood`.
    """

    response: OwnParameters
    each: tuple[Coordinate, ...]
    start: Array

    @classmethod
    def of(cls, own: OwnParameters, data: ModelData, beta: Array) -> OwnPart:
        """Of a response that is the same in all rows; the search begins inside, where the maximum is at an end."""
        at = own
        if own.at_end:
            mean = np.ones(data.n_obs) if own.at_limit is None else own.at_limit.mean(data.X @ beta + data.offset)
            at = own.at(own.start(mean, data.a, data.b))
        k = own.n_thresholds
        each = [Coordinate(name, "own" if own.scales else "threshold", prior=own.prior) for name in own.own[:k]]
        if len(own.own) > k:
            assert isinstance(own, Cumulative)
            columns = of_columns(own.nonparallel, own.covariates(data.a, data.b), None, row_weights(data))
            pairs = [(column, threshold) for column in columns for threshold in own.own[:k]]
            each += [
                replace(column, name=name, against=threshold)
                for name, (column, threshold) in zip(own.own[k:], pairs, strict=True)
            ]
        return cls(own, tuple(each), np.log(at.values) if own.scales else np.array(at.values))

    def __len__(self) -> int:
        return len(self.each)

    def split(self, theta: Array) -> tuple[Array, OwnParameters]:
        """What comes before them, and the response at their values."""
        inner, values = np.split(theta, [len(theta) - len(self)])
        return inner, replace(self.response, values=tuple(values.tolist()))

    def in_values(self, there: Evaluation, at: OwnParameters) -> Evaluation:
        """Derivatives in the values, of those in the working ones, which are the last."""
        positive = np.array([one.kind == "own" for one in self.each], dtype=bool)
        q = len(there.score)
        first, bend, own = np.ones(q), np.zeros(q), slice(q - len(self), q)
        first[own] = np.where(positive, 1.0 / at.slopes(at.working), 1.0)  # of +-log(value) in the value
        bend[own] = np.where(positive, -first[own] / np.array(at.values), 0.0)
        hessian = there.hessian * np.outer(first, first) + np.diag(there.score * bend)
        return Evaluation(there.value, there.score * first, hessian)


@dataclass(frozen=True)
class OwnLikelihood:
    """Of a model with one random intercept, in (beta, sigma, the response's parameters).

    Beyond the working values with which the rows' kernel keeps its digits (alpha below 4e-6, say) the likelihood is
    that at their ends.
    """

    fit: OwnRandomEffectsFit

    @property
    def _data(self) -> ModelData:
        return self.fit.data.rows

    @cached_property
    def part(self) -> OwnPart:
        """The parameters of the response."""
        assert isinstance(self.fit.response, OwnParameters)
        return OwnPart.of(self.fit.response, self._data, self.fit.beta)

    @cached_property
    def _rows(self) -> OwnRows | ZeroRows:
        return OwnRows(standardised(self._data, self.part.response, Control()), self.part.response)

    @cached_property
    def _marginal(self) -> OwnMarginal:
        return OwnMarginal(self._rows, self.fit.integrator)

    @cached_property
    def coordinates(self) -> Coordinates:
        """See `SampledLikelihood`; a sigma that was held is no parameter."""
        data = self._data
        found = of_columns(data.names, data.X, data.intercept, row_weights(data))
        scale = [] if self.fit.sigma_fixed else [Coordinate("sigma", "sd")]
        return Coordinates((*found, *scale, *self.part.each))

    @property
    def start(self) -> Array:
        """See `SampledLikelihood`: inside, where the maximum lies at an end of a range."""
        scale = [] if self.fit.sigma_fixed else [np.log(max(self.fit.sigma, LEAST_TRIED))]
        return np.concatenate([self.fit.beta, scale, self.part.start])

    def fresh(self) -> OwnLikelihood:
        """See `SampledLikelihood`."""
        return replace(self)

    @cached_property
    def _parameters(self) -> Parameters:
        state: State = "held" if self.fit.sigma_fixed else "free"
        return random_intercept(len(self.fit.beta), state=state).and_own(self.part.response.own)

    def _at(self, theta: Array) -> tuple[Array, float, OwnParameters]:
        """beta, sigma, and the response with its parameters."""
        inner, response = self.part.split(theta)
        beta, scale = np.split(inner, [len(self.fit.beta)])
        return beta, self.fit.sigma if self.fit.sigma_fixed else float(scale[0]), response

    def _inside(self, theta: Array) -> Array:
        """What the fit's likelihood takes, (gamma, sigma, psi)."""
        beta, sigma, response = self._at(theta)
        return self._rows.inside(beta, (sigma,), response.working)

    def points(self, theta: Array) -> Points:
        """See `SampledLikelihood`."""
        asked, inside = self.fit.integration, self._inside(theta)
        if asked.requested.kind != "auto":
            plan: Plan = (Part(self.fit.integrator.first_rule(asked.requested, 0.0, 1.0)),)
            return Points(plan, plan, np.nan)
        found = self._marginal.choose(inside, asked.requested.tolerance, True)
        return Points(found.plan, found.plan, found.error)

    def value(self, theta: Array, points: Points) -> float:
        """See `SampledLikelihood`."""
        return self._marginal.evaluate(self._inside(theta), points.values, 0).value

    def evaluate(self, theta: Array, points: Points, order: int) -> Evaluation:
        """See `SampledLikelihood`."""
        found = self._marginal.evaluate(self._inside(theta), points.slopes, order)
        back = np.linalg.inv(self._rows.to_user(1))
        there = Evaluation(found.value, back.T @ found.score, back.T @ found.hessian @ back)
        return in_free(self.part.in_values(there, self._at(theta)[2]), self._parameters)

    def weight(self, theta: Array, points: Points) -> tuple[float, float]:
        """See `SampledLikelihood`: these points are chosen so that no more need be known."""
        return np.nan, np.nan

    def cluster_values(self, theta: Array, points: Points) -> Array:
        """See `SampledLikelihood`."""
        units = self._marginal.unit_values(self._inside(theta), points.values)
        return unweighted(units, self._data.cluster_weights) + self._terms(self._at(theta)[2])

    def _terms(self, at: OwnParameters) -> Array:
        """What clusters' likelihoods have beside their kernel rows: without constants, where the data have some."""
        data = self._data
        each = np.add.reduceat(at.log_terms(data.a, data.b), data.starts[:-1])
        return each - constants_of_clusters(data, at.of_constants)

    def shown(self, theta: Array) -> Array:
        """See `SampledLikelihood`."""
        return theta

    def fit_at(self, theta: Array) -> OwnRandomEffectsFit:
        """See `SampledLikelihood`."""
        beta, sigma, response = self._at(theta)
        return replace(self.fit, beta=beta, sigma=sigma, boundary=False, response=response)

    def kernel_at(self, theta: Array) -> tuple[ModelData, Response, float]:
        """Data of the rows that the core has at theta, what they are rows of, and the sign of their intercepts."""
        data = self._data
        rows = self._at(theta)[2].kernel_rows(data.a, data.b)
        return kernel_data(data, rows), rows.response, rows.sign


@dataclass(frozen=True)
class OwnDraws:
    """Random intercepts given the response's parameters: those of the rows that it has in the core."""

    of: OwnLikelihood

    def draw(self, theta: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """See `EffectDraws`."""
        fit: Any = self.of.fit_at(theta)
        data, response, sign = self.of.kernel_at(theta)
        there = RandomEffectsFit(
            fit.beta, fit.sigma, fit.covariance, fit.hessian, fit.loglik, fit.optimization, fit.integration,
            pooled=fit.pooled, boundary=False, sigma_fixed=True, data=data, distribution=fit.distribution,
            response=response, plan=fit.plan,
        )  # fmt: skip
        drawn, error = InterceptDraws(InterceptLikelihood(there)).draw(fit.beta, rng)
        return sign * drawn, error
