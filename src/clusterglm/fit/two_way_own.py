"""Intercepts of two factors beside a response with a parameter of its own, such as the negative binomial's alpha.

At a given parameter the response is one like any other (`two_way.py`). The profile likelihood of the parameter's
working value psi is maximised by Newton's method on its score, within a bracket: with slopes g and informations w of
rows in the linear predictor, and h the derivatives of g in psi, psi counts as one more column -h / w beside the
covariates.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from clusterglm.data.two_way import TwoWay
from clusterglm.errors import OptionError
from clusterglm.fit.own import at_end, refuse_boundless
from clusterglm.fit.two_way import TwoWayFit, crossing_of, fit_two_way
from clusterglm.fit.two_way_search import Maximum, newton
from clusterglm.likelihood.two_way import Crossing, Intercepts
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Parameters, State, coefficients
from clusterglm.model.response.own.base import OwnParameters

_WIDENED = 1.5  # steps of a search for a bracket, in psi
_MOST_PLACES = 60


@dataclass(frozen=True)
class OwnTwoWayFit(TwoWayFit):
    """Estimates of a model with intercepts of two factors whose response has a parameter of its own.

    Parameters
    ----------
    response : OwnParameters
        At the estimate; without values where the maximum lies at the lower end.
    whole_covariance : ndarray, shape (p + 1, p + 1)
        Of (beta, the parameter), all intercepts being estimated too; nan in the row of one at the end of its range.
    loglik_at_limit : float
        Of the model without the parameter.
    """

    response: OwnParameters | None = None
    whole_covariance: Array | None = None
    loglik_at_limit: float = np.nan

    @property
    def own_state(self) -> State:
        """What became of the parameter; see `Block`."""
        return "boundary" if self.response is None or self.response.at_end else "free"


@dataclass(frozen=True)
class Place:
    """The maximum over coefficients and intercepts at one psi, and the profile there.

    Parameters
    ----------
    maximum : Maximum
        Of `response`.
    response : OwnParameters
    value, score : float
        Of the normalised profile log-likelihood in psi.
    of_beta : ndarray, shape (p, p)
    cross : ndarray, shape (p,)
    of_psi : float
        Information of (beta, psi) beside all intercepts.
    column : ndarray, shape (n,)
        What psi is beside the covariates.
    slopes, own : ndarray, shape (n,)
        Derivatives of rows in the linear predictor, and in psi.
    """

    maximum: Maximum
    response: OwnParameters
    value: float
    score: float
    of_beta: Array
    cross: Array
    of_psi: float
    column: Array
    slopes: Array
    own: Array

    @property
    def curvature(self) -> float:
        """Information of psi, beta being at its best too."""
        return float(self.of_psi - self.cross @ np.linalg.solve(self.of_beta, self.cross))

    def covariance(self, parameters: Parameters) -> Array:
        """Of coefficients and the parameter itself."""
        mean, own = parameters.coefficients, parameters.own
        whole = np.zeros((len(parameters),) * 2)
        whole[mean, mean], whole[own, own] = self.of_beta, self.of_psi
        whole[mean, own], whole[own, mean] = self.cross[:, None], self.cross
        scale = np.ones(len(parameters))
        scale[own] = self.response.slopes(self.response.working)
        return np.asarray(np.linalg.inv(whole) * np.outer(scale, scale), dtype=np.float64)


def refuse_own_two_way(response: OwnParameters, correction: object) -> None:
    """Raise `OptionError` for responses that are not worked out, and for a correction of them."""
    if not response.profiled:
        raise OptionError(
            f"family={response.family!r} with effects of two factors",
            "'binomial', 'poisson', 'negative_binomial' or 'gaussian'",
            "family='poisson' with cov('robust'), whose coefficients allow for any variance of counts",
        )
    if correction is not None:
        raise OptionError(
            f"bias_correction= with family={response.family!r} and effects of two factors",
            "what is worked out for them",
            "bias_correction=None; or family='poisson', whose coefficients hardly have such a bias",
        )


def fit_own_two_way(
    whole: TwoWay, response: OwnParameters, start: Array | None, control: Control
) -> tuple[OwnTwoWayFit, TwoWay]:
    """The fit, from that of the model at the limit, and the rows that it rests on.

    Rows that say nothing, or are certain, are the same at every value of the parameter.

    Raises
    ------
    ClusterGLMError
        As `fit_two_way`; when the parameter grows without bound.
    """
    assert response.at_limit is not None
    limit, used = fit_two_way(whole, response.at_limit, start, control)
    crossing = crossing_of(used)
    rows = used.rows
    response.refuse(rows.a, rows.b, rows.weights)
    eta = rows.X @ limit.beta + rows.offset + crossing.at_rows(limit.intercepts, limit.second)
    psi = float(response.start(response.at_limit.mean(eta), rows.a, rows.b)[0])
    found = _profiled(used, crossing, response, psi, limit, control)
    names = coefficients(rows.names)
    if found is None or at_end(response, found.response.working, found.value, limit.loglik):
        held = names.and_own(response.own, "boundary").nan_where_not_free(limit.covariance)
        return OwnTwoWayFit(
            **_fields(limit), response=response, whole_covariance=held, loglik_at_limit=limit.loglik
        ), used
    at = found.response.working
    refuse_boundless(response, at)
    parameters = names.and_own(response.own)
    covariance, best = found.covariance(parameters), found.maximum
    first, second = crossing.identified(best.first, best.second)
    of_beta = covariance[parameters.coefficients, parameters.coefficients]
    fit = OwnTwoWayFit(
        best.beta, first, second, of_beta, np.asarray(-np.linalg.inv(of_beta), dtype=np.float64),
        found.value, best.optimization, crossing.n_components, np.nan, best.beta,
        response=found.response, whole_covariance=covariance, loglik_at_limit=limit.loglik,
    )  # fmt: skip
    return fit, used


def _fields(limit: TwoWayFit) -> dict[str, Any]:
    return {each.name: getattr(limit, each.name) for each in fields(TwoWayFit)}


def _profiled(
    used: TwoWay, crossing: Crossing, response: OwnParameters, psi: float, limit: TwoWayFit, control: Control
) -> Place | None:
    """The maximum of the profile; None where it falls from the lower end on."""
    near: tuple[Array, Array, Array] = limit.beta, limit.intercepts, limit.second
    low, high = response.lowest, response.highest
    below, above = low, high
    found = None
    for _ in range(_MOST_PLACES):
        found = at_psi(used, crossing, response.at(np.array([psi])), near, control)
        near = found.maximum.beta, found.maximum.first, found.maximum.second
        curvature = found.curvature
        if abs(found.score) <= control.tol * np.sqrt(max(curvature, 1e-12)):
            return found
        if found.score > 0.0:
            below = psi
        else:
            above = psi
        step = found.score / curvature if curvature > 0.0 else np.sign(found.score) * _WIDENED
        to = psi + float(np.clip(step, -_WIDENED, _WIDENED))
        if not below < to < above:
            to = 0.5 * (below + above)
        if (psi <= low and found.score < 0.0) or to - low < 1e-9:
            return None
        psi = min(max(to, low), high)
    assert found is not None
    words = f"stopped after {_MOST_PLACES} values of {response.own[0]}: try another start="
    stopped = replace(found.maximum.optimization, status="stalled", message=words)
    return replace(found, maximum=replace(found.maximum, optimization=stopped))


def at_psi(
    used: TwoWay, crossing: Crossing, response: OwnParameters, near: tuple[Array, Array, Array], control: Control
) -> Place:
    """The maximum at the response's value, searched from others near by."""
    rows = used.rows
    quiet = replace(control, progress=None)
    maximum = newton(rows.X, rows, crossing, response, near[0], quiet, (near[1], near[2]))
    eta = rows.X @ maximum.beta + rows.offset + crossing.at_rows(maximum.first, maximum.second)
    return profile_of(used, crossing, response, eta, maximum)


def profile_at(used: TwoWay, fit: OwnTwoWayFit) -> Place:
    """The profile at a fit whose parameter is free."""
    assert fit.response is not None
    crossing, none = crossing_of(used), np.zeros(used.rows.n_obs, dtype=bool)
    eta = used.rows.X @ fit.beta + used.rows.offset + crossing.at_rows(fit.intercepts, fit.second)
    value = float(np.sum(fit.response.derivatives(eta, used.rows.a, used.rows.b)[0]))
    there = Maximum(fit.beta, fit.intercepts, fit.second, value, fit.optimization, none)
    return profile_of(used, crossing, fit.response, eta, there)


def profile_of(used: TwoWay, crossing: Crossing, response: OwnParameters, eta: Array, maximum: Maximum) -> Place:
    """The profile at a maximum over coefficients and intercepts."""
    rows = used.rows
    psi, kernel = response.working, response.kernel_rows(rows.a, rows.b)
    jet = response.derivatives(eta, rows.a, rows.b)
    own, mixed, bent = response.own_derivatives(eta + kernel.shift, kernel.a, kernel.b)
    terms = response.terms(psi, rows.a, rows.b)
    slopes, w = jet[1], np.maximum(-jet[2], np.finfo(float).tiny)
    of_rows = own + terms.first[:, 0]
    column = -mixed / w
    system = Intercepts(crossing, w)
    left, left_of_psi = system.residual(rows.X), system.residual(column[:, None])[:, 0]
    weighted = left * system.weights[:, None]
    bend = float(np.sum(bent) + terms.second[0, 0] + np.sum(mixed**2 / w))
    of_psi = float(system.weights @ left_of_psi**2) - bend
    constants = response.log_constants(np.rint(rows.a / rows.weights), rows.trials, rows.weights)
    value = maximum.value + float(np.sum(constants))
    score, cross = float(np.sum(of_rows)), left_of_psi @ weighted
    return Place(maximum, response, value, score, left.T @ weighted, cross, of_psi, column, slopes, of_rows)
