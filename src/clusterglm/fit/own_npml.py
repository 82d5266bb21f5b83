"""Nonparametric maximum likelihood of the intercept's distribution where the response has parameters of its own.

The search is that of `npml.py`: the response's working values stand behind the coefficients, and points, weights,
coefficients and working values are maximised together. Thresholds take up any shift of all points: the first of them
stays where it is meanwhile, and of what is found the finite points are moved to a mean of zero.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from clusterglm.data.checks import check_clusters, check_design
from clusterglm.data.design import INTERCEPT
from clusterglm.data.prepare import ModelData
from clusterglm.data.weighing import weighing, weight_sum
from clusterglm.engine.block import Block
from clusterglm.errors import ClusterError, ResponseError
from clusterglm.fit.npml import Found, NonparametricFit, fit_npml, most_likely, span
from clusterglm.fit.own import anew, at_end, fit_own_pooled, refuse_boundless, with_constant
from clusterglm.fit.own_rows import OwnRows, alike, standardised
from clusterglm.fit.pooled import fit_pooled, with_intercept
from clusterglm.fit.random_effects import refuse_homogeneous, refuse_homogeneous_clusters
from clusterglm.fit.standardise import Standardisation, standardise
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.mixture import Mixture, MixtureLikelihood, OverPoints
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import State, mass_points
from clusterglm.model.response.own.base import OwnParameters

_NEAR_LIMIT = 0.25  # of the least working value: where a search begins that moments do not tell
_WIDENINGS, _FURTHER = 4, 1.0  # how often ranges of intercepts are laid anew, and by how much they have then grown
_NO_RESIDUAL = 1e-10  # size of residuals, relative, that are none


@dataclass(frozen=True)
class OwnNonparametricFit(NonparametricFit):
    """Estimates where the response has parameters of its own.

    Parameters
    ----------
    response : OwnParameters
        At the estimates; without values where the maximum lies at their lower end.
    whole_covariance : ndarray, shape (q + k, q + k)
        Of what `covariance` is of, and the response's parameters; nan in the rows of those at the end of their range.
    loglik_at_limit : float
        Of the most likely mixture without these parameters; nan where there is none.
    """

    response: OwnParameters
    whole_covariance: Array
    loglik_at_limit: float

    @property
    def own_state(self) -> State:
        """What became of the response's parameters; see `Block`."""
        return "boundary" if self.response.at_end else "free"


class OwnOverPoints(OverPoints):
    """The log-likelihood under mixtures in (gamma, working values), of which the first may be held.

    Parameters
    ----------
    rows : OwnRows
    held : ndarray
        Working values that stay.
    """

    def __init__(self, rows: OwnRows, held: Array) -> None:
        super().__init__(rows.blocks.block.data.cluster_weights)
        self._rows, self._held, self._p = rows, held, rows.sums.p
        self._sign = -1.0 if rows.response.reversed else 1.0
        self._known: tuple[bytes, MixtureLikelihood, Array] | None = None

    def psi(self, beta: Array) -> Array:
        """All working values."""
        return np.append(self._held, beta[self._p :])

    def constants(self, beta: Array) -> float:
        """What `cluster_values` leaves out, in sum."""
        rows = self._rows
        return rows.response.terms(self.psi(beta), *alike(rows.response, rows.blocks.block.data)).value

    def cluster_values(self, beta: Array, points: Array) -> Array:
        if self._known is None or self._known[0] != beta.tobytes():
            block, inner = self._rows.for_core(np.append(beta[: self._p], self.psi(beta)))
            self._known = beta.tobytes(), self._of(block), inner
        _, kernel, inner = self._known
        return kernel.cluster_values(inner, self._sign * points)

    def evaluate(self, mixture: Mixture) -> Evaluation:
        self.evaluations += 1
        p, k = self._p, len(mixture.beta) - self._p
        beta, *rest = mixture.parameters.split(mixture.theta)
        others, n_free = np.concatenate(rest), len(rest[0])

        def of_block(block: Block, inner: Array) -> Evaluation:
            of_kernel = replace(mixture, beta=inner[: block.X.shape[1]], points=self._sign * mixture.points)
            found = self._of(block).evaluate(of_kernel)
            turned = np.ones(len(found.score))
            begin = len(turned) - len(others)
            turned[begin : begin + n_free] = self._sign
            return Evaluation(found.value, turned * found.score, turned[:, None] * found.hessian * turned)

        whole = self._rows.whole(of_block, np.concatenate([beta[:p], others, self.psi(beta)]))
        total = len(whole.score)
        order = np.concatenate([np.arange(p), np.arange(total - k, total), np.arange(p, p + len(others))])
        return Evaluation(whole.value, whole.score[order], whole.hessian[np.ix_(order, order)])

    def _of(self, block: Block) -> MixtureLikelihood:
        return MixtureLikelihood(block.X, block.data, block.response, block.threads)


def check_own_mixture(data: ModelData, response: OwnParameters, points: int | None = None) -> None:
    """Refuse data from which coefficients next to an intercept, or its distribution, cannot be told.

    Raises
    ------
    DesignError
        On constant or collinear columns.
    ClusterError
        On a single cluster; on clusters in each of which all responses are alike, as far as points at the ends of the
        line are then most likely, or a mass point for each cluster fits measured responses exactly: the likelihood then
        has no maximum. A single point bears all of these.
    """
    check_design(np.column_stack([np.ones(data.n_obs), data.X]), (INTERCEPT, *data.names), 0)
    check_clusters(data.trials, data.starts, response, str(data.cluster_name))
    if points == 1:
        return
    if response.ordered:
        y = np.rint(data.a / data.b)
        if np.array_equal(np.maximum.reduceat(y, data.starts[:-1]), np.minimum.reduceat(y, data.starts[:-1])):
            refuse_homogeneous(data.n_clusters, response)
    elif response.continuous and response.own and _fitted_exactly(data, response):
        raise ClusterError(
            f"{data.n_clusters} clusters whose intercepts fit all responses exactly, as those of single rows do",
            f"responses that vary within some clusters beside the covariates: otherwise {response.own[0]}, and the "
            "likelihood with it, grows for ever with a mass point for each cluster",
            f"points=1 or cg.pooled; or cg.random_effects with family={response.family!r}, whose intercepts have a "
            "given distribution",
        )
    else:
        refuse_homogeneous_clusters(data, response)


def _fitted_exactly(data: ModelData, response: OwnParameters) -> bool:
    """Whether an intercept for each cluster leaves nothing of measured responses."""
    y, begin = data.a / data.b, data.starts[:-1]
    if response.durations:  # at one time in each cluster, and nothing is known of what comes then
        first = np.minimum.reduceat(np.where(y > 0.0, y, np.inf), begin)
        return bool(np.all(np.abs(y) <= np.repeat(first, np.diff(data.starts))))
    both = np.column_stack([np.log(y) - data.offset, data.X])
    sizes = np.diff(data.starts)
    within = both - np.repeat(np.add.reduceat(both, begin, axis=0) / sizes[:, None], sizes, axis=0)
    left = within[:, 0] - within[:, 1:] @ np.linalg.lstsq(within[:, 1:], within[:, 0], rcond=None)[0]
    return bool(np.abs(left).max() <= _NO_RESIDUAL * max(float(np.abs(both[:, 0]).max()), 1.0))


def fit_own_npml(
    data: ModelData, response: OwnParameters, control: Control, points: int | None = None
) -> OwnNonparametricFit:
    """Maximise over coefficients, the response's parameters and all distributions of the intercept; see `fit_npml`.

    Where there is a model at the lower end of these parameters, it is compared with what is found inside.

    Raises
    ------
    ResponseError
        Where a parameter of the response has no finite maximum.
    """
    quiet, limit = replace(control, progress=None), None
    if response.at_limit is not None:
        start = fit_pooled(with_intercept(data), response.at_limit, Control()).beta[1:]
        limit = fit_npml(data, response.at_limit, start, quiet, points)
    beta, psi = _begin(data, response, quiet, limit)
    standard = standardise(data.X, None, centred=True)
    if response.location:
        psi = psi - standard.centre @ beta
    rows = OwnRows(standardised(replace(data, X=standard.X), response, control), response)
    found, likelihood = _widening(data, standard, rows, rows.inside(standard.inside(beta), (), psi), control, points)
    psi = _in_standard_units(rows, likelihood, found.mixture.beta)[len(beta) :]
    value = found.loglik + likelihood.constants(found.mixture.beta)
    if limit is not None and at_end(response, psi, value, limit.loglik):
        return _at_limit(limit, data, response)
    refuse_boundless(response, psi)
    return _estimates(found, value, rows, standard, likelihood, points, np.nan if limit is None else limit.loglik)


def _begin(
    data: ModelData, response: OwnParameters, control: Control, limit: NonparametricFit | None
) -> tuple[Array, Array]:
    """Coefficients and working values of the model without clusters; those near the limit, where these end there."""
    near = np.full(len(response.own), _NEAR_LIMIT * response.lowest)
    try:
        pooled = fit_own_pooled(data if response.location else with_intercept(data), response, control)
    except ResponseError:  # what clusters differ by is too much for any finite value
        if limit is None:
            raise
        return limit.beta, near
    assert pooled.response is not None
    beta = pooled.beta[len(pooled.beta) - len(data.names) :]
    return beta, pooled.response.working if pooled.own_state == "free" else near


def _widening(
    data: ModelData, standard: Standardisation, rows: OwnRows, start: Array, control: Control, points: int | None
) -> tuple[Found, OwnOverPoints]:
    """The most likely mixture, on ranges of intercepts that suit the response's parameters there."""
    response, p = rows.response, rows.sums.p
    n_held = int(response.location)
    likelihood = OwnOverPoints(rows, start[p : p + n_held])
    begin = np.append(start[:p], start[p + n_held :])

    def ends_at(beta: Array) -> tuple[float, float]:
        at = _in_standard_units(rows, likelihood, beta)
        return span(response.at(at[p:]), data.a, data.b, standard.X @ at[:p] + data.offset)

    def left(beta: Array) -> bool:
        psi = beta[p:]
        return bool(np.any((psi <= response.lowest) | (psi >= response.highest)))

    low, high = ends_at(begin)
    weights = weighing([weight_sum(data)])
    for _ in range(_WIDENINGS):
        found = most_likely(likelihood, begin, (low, high), weights, control, points, left)
        begin = found.mixture.beta
        wider = ends_at(begin)
        if found.story.status != "converged" or (wider[0] > low - _FURTHER and wider[1] < high + _FURTHER):
            break
        low, high = min(low, wider[0] - _FURTHER), max(high, wider[1] + _FURTHER)
    return found, likelihood


def _in_standard_units(rows: OwnRows, likelihood: OwnOverPoints, beta: Array) -> Array:
    """(coefficients of the standardised columns, working values) from what a mixture has in their place."""
    return np.asarray(rows.to_user(0) @ np.append(beta[: rows.sums.p], likelihood.psi(beta)))


def own_npml_again(fit: OwnNonparametricFit, data: ModelData, control: Control) -> OwnNonparametricFit:
    """Fit the model of `fit` to other responses.

    Raises
    ------
    ResponseError
        Where a level has no responses.
    """
    response = anew(fit.response, data)
    return fit_own_npml(with_constant(data, response), response, control, fit.wanted)


def _at_limit(limit: NonparametricFit, data: ModelData, response: OwnParameters) -> OwnNonparametricFit:
    """The model without parameters of the response, as the maximum."""
    of_limit = mass_points(len(data.names), np.flatnonzero(np.isfinite(limit.points)).tolist(), len(limit.points))
    whole = of_limit.and_own(response.own, "boundary").nan_where_not_free(limit.covariance)
    known: dict[str, Any] = {field.name: getattr(limit, field.name) for field in fields(NonparametricFit)}
    return OwnNonparametricFit(
        **known, response=replace(response, values=()), whole_covariance=whole, loglik_at_limit=limit.loglik
    )


def _estimates(
    found: Found,
    loglik: float,
    rows: OwnRows,
    standard: Standardisation,
    likelihood: OwnOverPoints,
    wanted: int | None,
    loglik_at_limit: float,
) -> OwnNonparametricFit:
    """On the user's scale."""
    response, p, mixture, inner = rows.response, rows.sums.p, found.mixture, found.mixture.parameters
    at = _in_standard_units(rows, likelihood, mixture.beta)
    beta, psi, points = standard.L @ at[:p], at[p:], mixture.points
    user = mass_points(p, np.flatnonzero(mixture.free).tolist(), len(points)).and_own(response.own)
    n_held = len(at) - len(mixture.beta)
    linear = np.delete(rows.to_user(0), np.s_[p : p + n_held], axis=1)
    back = np.zeros((len(user), len(inner)))
    back[user.coefficients, inner.coefficients] = standard.L @ linear[:p]
    back[user.place("points"), inner.place("points")] = np.eye(int(np.count_nonzero(mixture.free)))
    back[user.place("weights"), inner.place("weights")] = np.eye(len(points) - 1)
    back[user.own, inner.coefficients] = linear[p:]
    shift, moved = float(standard.centre @ beta), standard.centre @ back[user.coefficients]
    if response.location:
        mean, slopes = _mean_of_finite(mixture)
        psi, points = psi + shift - mean, points - mean
        back[user.own] += moved - slopes
        back[user.place("points")] -= slopes
    else:
        points = points - shift
        back[user.place("points")] -= moved
    back[user.own] *= response.slopes(psi)[:, None]
    whole = back @ found.covariance @ back.T
    known = slice(0, len(user) - len(response.own))
    return OwnNonparametricFit(
        beta, points, mixture.weights, whole[known, known].copy(), loglik, found.gradient, wanted, found.story,
        response=response.at(psi), whole_covariance=whole, loglik_at_limit=loglik_at_limit,
    )  # fmt: skip


def _mean_of_finite(mixture: Mixture) -> tuple[float, Array]:
    """The mean over the finite points, and its derivatives in the mixture's parameters."""
    parameters, free = mixture.parameters, mixture.free
    share = np.where(free, mixture.weights, 0.0) / mixture.weights[free].sum()
    mean = float(share[free] @ mixture.points[free])
    slopes = np.zeros(len(parameters))
    slopes[parameters.place("points")] = share[free]
    away = np.zeros(len(free))
    away[free] = share[free] * (mixture.points[free] - mean)
    slopes[parameters.place("weights")] = away[:-1]
    return mean, slopes
