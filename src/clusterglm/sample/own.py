"""Posteriors of models whose response has parameters of its own, with one random intercept.

A positive parameter is sampled by its logarithm, which is the working value of the fit or this with its sign turned;
thresholds of ordered categories are sampled as they are. At each draw of them the response is one like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.own import OwnRandomEffectsFit, own_of
from clusterglm.fit.own_rows import OwnMarginal, OwnRows, kernel_data, standardised
from clusterglm.fit.sums import in_free
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.plan import Part, Plan
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Parameters, State, random_intercept
from clusterglm.model.response.own.base import OwnParameters
from clusterglm.model.response.own.cumulative import Cumulative
from clusterglm.sample.coordinates import Coordinate, Coordinates, of_columns
from clusterglm.sample.effects import InterceptDraws
from clusterglm.sample.likelihoods import LEAST_TRIED, InterceptLikelihood, Points, row_weights, unweighted


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

    @property
    def _response(self) -> OwnParameters:
        return own_of(self.fit)

    @cached_property
    def _rows(self) -> OwnRows:
        return OwnRows(standardised(self._data, self._response, Control()), self._response)

    @cached_property
    def _marginal(self) -> OwnMarginal:
        return OwnMarginal(self._rows, self.fit.integrator)

    @cached_property
    def coordinates(self) -> Coordinates:
        """See `SampledLikelihood`; a sigma that was held is no parameter."""
        data, own = self._data, self._response
        found = of_columns(data.names, data.X, data.intercept, row_weights(data))
        scale = [] if self.fit.sigma_fixed else [Coordinate("sigma", "sd")]
        k = own.n_thresholds
        of_own = [Coordinate(name, "own" if own.scales else "threshold", prior=own.prior) for name in own.own[:k]]
        if len(own.own) > k:
            assert isinstance(own, Cumulative)
            columns = of_columns(own.nonparallel, own.covariates(data.a, data.b), None, row_weights(data))
            each = [(column, threshold) for column in columns for threshold in own.own[:k]]
            of_own += [
                replace(column, name=name, against=threshold)
                for name, (column, threshold) in zip(own.own[k:], each, strict=True)
            ]
        return Coordinates((*found, *scale, *of_own))

    @property
    def start(self) -> Array:
        """See `SampledLikelihood`: inside, where the maximum lies at an end of a range."""
        own, fit = self._response, self.fit
        at = own
        if own.at_end:
            data = self._data
            mean = np.zeros(data.n_obs) if own.at_limit is None else own.at_limit.mean(data.X @ fit.beta + data.offset)
            at = own.at(own.start(mean, data.a, data.b))
        values = np.log(at.values) if own.scales else np.array(at.values)
        scale = [] if fit.sigma_fixed else [np.log(max(fit.sigma, LEAST_TRIED))]
        return np.concatenate([fit.beta, scale, values])

    def fresh(self) -> OwnLikelihood:
        """See `SampledLikelihood`."""
        return replace(self)

    @cached_property
    def _parameters(self) -> Parameters:
        state: State = "held" if self.fit.sigma_fixed else "free"
        return random_intercept(len(self.fit.beta), state=state).and_own(self._response.own)

    def _at(self, theta: Array) -> tuple[Array, float, OwnParameters]:
        """beta, sigma, and the response with its parameters."""
        places = self._parameters
        whole = places.filled(
            theta, np.concatenate([self.fit.beta, [self.fit.sigma], np.zeros(len(self._response.own))])
        )
        response = replace(self._response, values=tuple(whole[places.own].tolist()))
        return whole[places.coefficients], float(whole[places.scale]), response

    def _inside(self, theta: Array) -> tuple[Array, Array]:
        """What the fit's likelihood takes, (gamma, sigma, psi), and the working values."""
        beta, sigma, response = self._at(theta)
        psi = response.working
        return self._rows.inside(beta, (sigma,), psi), psi

    def points(self, theta: Array) -> Points:
        """See `SampledLikelihood`."""
        asked, inside = self.fit.integration, self._inside(theta)[0]
        if asked.requested.kind != "auto":
            plan: Plan = (Part(self.fit.integrator.first_rule(asked.requested, 0.0, 1.0)),)
            return Points(plan, plan, np.nan)
        found = self._marginal.choose(inside, asked.requested.tolerance, True)
        return Points(found.plan, found.plan, found.error)

    def value(self, theta: Array, points: Points) -> float:
        """See `SampledLikelihood`."""
        return self._marginal.evaluate(self._inside(theta)[0], points.values, 0).value

    def evaluate(self, theta: Array, points: Points, order: int) -> Evaluation:
        """See `SampledLikelihood`."""
        inside, psi = self._inside(theta)
        found = self._marginal.evaluate(inside, points.slopes, order)
        places = self._parameters
        back = np.linalg.inv(self._rows.to_user(1))
        score, hessian = back.T @ found.score, back.T @ found.hessian @ back
        if self._response.scales:
            first, bend = np.ones(len(score)), np.zeros(len(score))
            first[places.own] = 1.0 / self._response.slopes(psi)  # of a working value, +-log(value), in its value
            bend[places.own] = -first[places.own] / self._at(theta)[2].values
            hessian = hessian * np.outer(first, first) + np.diag(score * bend)
            score = score * first
        return in_free(Evaluation(found.value, score, hessian), places)

    def weight(self, theta: Array, points: Points) -> tuple[float, float]:
        """See `SampledLikelihood`: these points are chosen so that no more need be known."""
        return np.nan, np.nan

    def cluster_values(self, theta: Array, points: Points) -> Array:
        """See `SampledLikelihood`; without the constants of the model at the limit, as that model's are."""
        data, (_, _, response) = self._data, self._at(theta)
        each = response.log_terms(data.a, data.b)
        if response.at_limit is not None:
            each = each - response.at_limit.log_constants(np.rint(data.a / data.weights), data.trials, data.weights)
        units = self._marginal.unit_values(self._inside(theta)[0], points.values)
        return unweighted(units, data.cluster_weights) + np.add.reduceat(each, data.starts[:-1])

    def shown(self, theta: Array) -> Array:
        """See `SampledLikelihood`."""
        return theta

    def fit_at(self, theta: Array) -> OwnRandomEffectsFit:
        """See `SampledLikelihood`."""
        beta, sigma, response = self._at(theta)
        return replace(self.fit, beta=beta, sigma=sigma, boundary=False, response=response)


@dataclass(frozen=True)
class OwnDraws:
    """Random intercepts given the response's parameters: those of the rows that it has in the core."""

    of: OwnLikelihood

    def draw(self, theta: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """See `EffectDraws`."""
        fit, data = self.of.fit_at(theta), self.of.fit.data.rows
        rows = own_of(fit).kernel_rows(data.a, data.b)
        there = RandomEffectsFit(
            fit.beta, fit.sigma, fit.covariance, fit.hessian, fit.loglik, fit.optimization, fit.integration,
            pooled=fit.pooled, boundary=False, sigma_fixed=True, data=kernel_data(data, rows),
            distribution=fit.distribution, response=rows.response, plan=fit.plan,
        )  # fmt: skip
        drawn, error = InterceptDraws(InterceptLikelihood(there)).draw(fit.beta, rng)
        return rows.sign * drawn, error
