"""Fixed-effects estimates with the bias from the intercepts taken off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.data.repeats import written_out
from clusterglm.data.resampled import only_clusters, only_rows
from clusterglm.data.tables.table import column, read_table
from clusterglm.engine.block import Block
from clusterglm.errors import ClusterGLMError, DesignError, OptionError
from clusterglm.fit.fixed_effects import (
    FixedEffectsFit,
    ProfiledEstimates,
    at_coefficients,
    curvature_at,
    fit_fixed_effects,
)
from clusterglm.fit.own_fixed import OwnFixedEffectsFit, OwnWithin, at_parameters, own_of, parameters_of
from clusterglm.fit.sums import chosen_clusters
from clusterglm.fit.within import WithinSums, informative_clusters, profile_of, sums_within
from clusterglm.inference.uncertainty.bias import bias_sums, half_panels, jackknife, own_bias, solve_bias
from clusterglm.model.arrays import Array
from clusterglm.model.bias import SplitPanel
from clusterglm.model.control import Control
from clusterglm.model.response.base import Response

ANALYTICAL = "analytical, of first order"


def corrected(
    fit: FixedEffectsFit, data: ModelData, response: Response, how: str | SplitPanel, control: Control, table: Any
) -> FixedEffectsFit:
    """The fit with corrected coefficients, and intercepts and covariance that go with them.

    Parameters
    ----------
    fit : FixedEffectsFit
    data : ModelData
        What was fitted.
    response : Response
    how : "analytical" or SplitPanel
    control : Control
    table : table
        The user's, in which `SplitPanel` finds the column that orders rows.

    Raises
    ------
    OptionError
        For Poisson responses, which have no such bias; halves of clusters where weights are not whole numbers.
    DesignError
        When halves of the clusters do not identify the coefficients.
    """
    refuse_counts(response)
    if len(fit.beta) == 0:
        return fit
    within = WithinSums(sums_within(data, response, control.threads), conditional=False)
    if isinstance(how, SplitPanel):
        rows = written_out(data, "bias_correction= by split panels")
        beta = _jackknifed(fit, rows, response, _order(rows, how, table), control)
        return at_coefficients(fit, within, beta, str(how))
    return at_coefficients(fit, within, without_bias(within, fit.beta), ANALYTICAL)


def corrected_estimates(found: ProfiledEstimates, within: WithinSums) -> ProfiledEstimates:
    """Estimates from sums over blocks, corrected by formula; see `corrected`."""
    refuse_counts(within.sums.response)
    if len(found.beta) == 0:
        return found
    beta = without_bias(within, found.beta)
    covariance, hessian = curvature_at(within, beta)
    return replace(found, beta=beta, covariance=covariance, hessian=hessian, correction=ANALYTICAL)


def corrected_own(fit: OwnFixedEffectsFit, data: ModelData, how: str | SplitPanel) -> OwnFixedEffectsFit:
    """The fit with its response's parameter corrected, and intercepts and covariance that go with it.

    Coefficients stay: they have no bias of first order.

    Raises
    ------
    OptionError
        For the jackknife; where the maximum lies at the end of the parameter's range.
    """
    response = own_of(fit)
    if isinstance(how, SplitPanel):
        raise OptionError(
            f"bias_correction= by split panels with family={response.family!r}",
            "the analytical one: in half a cluster the maximum lies at the end of the parameter's range too often",
            'bias_correction="analytical"',
        )
    if fit.own_state != "free":
        names = ", ".join(response.own)
        raise OptionError(
            f"bias_correction= where the maximum lies at {names} = {response.at_lower:g}, {response.limit}",
            f"a maximum inside: how far {names} is too small there is not known",
            "bias_correction=None; or cg.random_effects",
        )
    rows = np.repeat(fit.informative, np.diff(data.starts))
    some = only_clusters(data, fit.informative)
    v, c = response.own_bias_moments(linear_predictor(data, fit.beta, fit.intercepts)[rows])
    score = own_bias(some.starts, some.cluster_weights, some.weights * v, some.weights * c)
    psi, own = response.working, parameters_of(fit, data.names).own
    within = OwnWithin(data, response)
    information = -within.evaluate(within.inside(fit.beta, psi)).hessian[own, own].diagonal()
    return at_parameters(fit, data, psi - score / information, ANALYTICAL)


def refuse_counts(response: Response) -> None:
    """Refuse to correct what has no bias.

    Raises
    ------
    OptionError
        For Poisson responses.
    """
    if not response.intercepts_bias:
        raise OptionError(
            f"bias_correction= with family {response.family!r}",
            "a binomial model: estimating intercepts does not bias Poisson coefficients",
            "bias_correction=None",
        )


def without_bias(within: WithinSums, beta: Array) -> Array:
    """Coefficients less their bias of first order, a quotient of sums over blocks."""
    standard = within.sums.standard
    parts = within.sums.blocks.each(_bias, standard.inside(beta))
    score, information = (sum(terms[1:], start=terms[0]) for terms in zip(*parts, strict=True))
    return np.asarray(beta - standard.L @ solve_bias(information, score))


def _bias(block: Block, gamma: Array) -> tuple[Array, Array]:
    known = np.flatnonzero(informative_clusters(block.data, block.response))
    if len(known) == 0:
        p = len(gamma)
        return np.zeros(p), np.zeros((p, p))
    intercepts = profile_of(block).intercepts(gamma)[known]
    X, data = block.X, block.data
    if len(known) < block.n_clusters:
        X, data = chosen_clusters(X, data, known)
    eta = X @ gamma + data.offset + np.repeat(intercepts, np.diff(data.starts))
    size = block.response.sizes(data.a, data.b)
    return bias_sums(X, data.starts, data.cluster_weights, eta, size, block.response)[:2]


def linear_predictor(data: ModelData, beta: Array, intercepts: Array) -> Array:
    """X beta + offset + intercept, shape (n,)."""
    eta: Array = data.X @ beta + data.offset + np.repeat(intercepts, np.diff(data.starts))
    return eta


def _order(data: ModelData, how: SplitPanel, table: Any) -> NDArray[np.generic]:
    """What the rows in use are ordered by within their clusters."""
    if how.order is None:
        return data.row_index
    values = column(read_table(table), how.order, "order").to_numpy()[data.row_index]
    _, ranks = np.unique(values, return_inverse=True)
    return ranks


def _jackknifed(
    fit: FixedEffectsFit, data: ModelData, response: Response, order: NDArray[np.generic], control: Control
) -> Array:
    panels = half_panels(data.starts, order)
    quiet = replace(control, progress=None)

    def estimate(rows: NDArray[np.int64]) -> Array:
        try:
            half = fit_fixed_effects(only_rows(data, rows), response, None, quiet)
        except ClusterGLMError as error:
            raise DesignError(
                f"half of every cluster does not carry an estimate: {error.got}",
                "clusters of which each half has responses and covariates that vary; four rows at the least",
                'bias_correction="analytical", which needs no halves; or cg.conditional for logit',
            ) from error
        if not half.optimization.converged:
            raise DesignError(
                f"half of every cluster does not carry an estimate: {half.optimization.message}",
                "a fit to each half that converges",
                'bias_correction="analytical", which needs no halves; or cg.conditional for logit',
            )
        return half.beta

    halves = [(estimate(first), estimate(second)) for first, second in panels]
    return jackknife(fit.beta, halves, panels)
