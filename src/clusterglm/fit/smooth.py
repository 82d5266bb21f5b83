"""The intercept's distribution as a smooth density: penalised likelihood, its smoothness by marginal likelihood.

The penalty is that of a normal prior on the third differences of the mixture's log-weights, with variance 1 over the
smoothness. Their marginal likelihood by Laplace's approximation, flat in (beta, sigma), is maximised over the
smoothness (Wood, JRSS B 73, 2011); infinity, the Gaussian, is one of its values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from clusterglm.engine.base import InMemory
from clusterglm.errors import ClusterGLMError, IntegrationError, OptionError
from clusterglm.fit.estimates import RandomEffectsFit, SmoothShape
from clusterglm.fit.newton import Maximum, Optimization, maximize
from clusterglm.fit.sums import Sums
from clusterglm.likelihood.density import DensityLikelihood
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.distribution.gaussian import Gaussian
from clusterglm.model.distribution.smooth import COUNT, MEANS, ROUGHEST, weights_of
from clusterglm.model.parameters import Parameters, random_intercept
from clusterglm.model.quadrature import Quadrature

_LOG_RATIO = 1.5  # of neighbouring values that are tried, in logs
_SMOOTHEST = 20.0  # times the largest information on a third difference: the smoothest density that is tried
_EVIDENCE_DROP = 3.0  # of the log marginal likelihood below its best, from which on rougher densities are not tried
_LEAST_SMOOTHNESS = 1e-4  # smoothness that is tried
_AT_ROUGH_END = 10.0  # times that, from which it is said
_AT_GRIDS_END = 5.0  # standard deviations, beyond which a hump is that of clusters which may lie anywhere further out
_WITH_WEIGHT = 1e-3  # that such a hump has
_SETTLED_SMOOTHNESS = 0.1  # of log(smoothness)
_FOR_EVIDENCE = 1e-3  # standard errors within which maxima are sought while the smoothness is
_STEP_HALVINGS = 7  # of the step between nodes: clusters that know their intercepts to 1/500 of sigma

_NOTHING_KNOWN = "at sigma = 0 nothing is known of the density"
_GIVEN, _SHAPES = slice(None, -COUNT), slice(-COUNT, None)
_BLOCKS = (_GIVEN, _GIVEN), (_GIVEN, _SHAPES), (_SHAPES, _SHAPES)

FitAt = Callable[[Distribution, tuple[Array, float] | None], RandomEffectsFit]


@dataclass(frozen=True)
class _Density:
    """The penalised maximum at one smoothness.

    Parameters
    ----------
    smoothness : float
    at : ndarray, shape (p + 1 + k,)
        (beta, sigma) in the optimiser's columns, and the third differences.
    information : ndarray, shape (f, f)
        Minus the Hessian of the penalised log-likelihood in the free parameters.
    evidence : float
        Logarithm of the approximate marginal likelihood; -inf where the information is not positive definite.
    optimization : Optimization
    """

    smoothness: float
    at: Array
    information: Array
    evidence: float
    optimization: Optimization

    @property
    def effective(self) -> float:
        """Effective number of shape parameters: trace of (H + P)^-1 H over their rows, P the penalty.

        H is the information on them, (beta, sigma) unknown. Of a mixture it need not be positive definite: directions
        of negative information count as none, where the formula has less than none.
        """
        if not np.isfinite(self.smoothness):
            return 0.0
        A, C, B = (self.information[part] for part in _BLOCKS)
        curvatures = np.linalg.eigvalsh(B - C.T @ np.linalg.solve(A, C)) - self.smoothness
        told = np.maximum(curvatures, 0.0)
        return float(np.sum(told / (told + self.smoothness)))


@dataclass
class _Search:
    """Penalised maxima of one data set."""

    likelihood: DensityLikelihood
    parameters: Parameters
    unit: float
    control: Control
    fits: int = 0
    within: bool = False  # whether densities with a hump at the grid's end are left aside

    def maximum(self, smoothness: float, begin: Array, tolerance: float | None = None) -> _Density:
        """The penalised maximum, from a point nearby; to a tolerance other than the control's."""
        free, shapes = self.parameters.free, self.parameters.shapes
        self.fits += 1

        def penalised(some: Array) -> Evaluation:
            whole = self.parameters.filled(some, begin)
            working = whole[shapes]
            try:
                if not (whole[self.parameters.scale] > 0.0 and np.abs(working).max() < ROUGHEST):
                    raise OptionError("a step to no density", "", "")
                there = self.likelihood.evaluate(whole[: shapes.start], working)
            except OptionError:  # too long a step: one that is refused
                return Evaluation(np.nan, np.full(len(some), np.nan), np.full((len(some), len(some)), np.nan))
            score, hessian = there.score.copy(), there.hessian.copy()
            score[shapes] -= smoothness * working
            hessian[shapes, shapes] -= smoothness * np.eye(COUNT)
            value = there.value - 0.5 * smoothness * float(working @ working)
            return Evaluation(value, score[free], self.parameters.of_free(hessian))

        quiet = replace(self.control, progress=None)
        top = maximize(penalised, begin[free], quiet, tolerance=tolerance, radius=1.0, unit=self.unit)
        information = -top.evaluation.hessian
        evidence = _log_evidence(top, information) + 0.5 * COUNT * np.log(smoothness)
        at = self.parameters.filled(top.theta, begin)
        if self.within and _ends_in_a_hump(at[shapes]):
            evidence = -np.inf
        return _Density(smoothness, at, information, evidence, top.optimization)

    def gaussian(self, theta: Array, story: Optimization) -> tuple[_Density, Array]:
        """The limit, at the maximum with Gaussian intercepts; and the information on the third differences there."""
        at, shapes = np.concatenate([theta, np.zeros(COUNT)]), self.parameters.shapes
        there = self.likelihood.evaluate(theta, at[shapes])
        whole, given = self.parameters.of_free(-there.hessian), np.arange(len(self.parameters))[self.parameters.free]
        inner = whole[np.ix_(given < shapes.start, given < shapes.start)]
        sign, logdet = np.linalg.slogdet(inner)
        evidence = there.value - 0.5 * float(logdet) if sign > 0.0 else -np.inf
        return _Density(np.inf, at, inner, evidence, story), -there.hessian[shapes, shapes]


def _ends_in_a_hump(differences: Array) -> bool:
    """Whether there is a hump where the grid ends.

    A constant third difference makes the log-density a cubic, which rises at the end of any grid: hardly anything is
    penalised, and clusters whose responses are all alike do not mind how far out they are.
    """
    w, out = weights_of(tuple(differences.tolist())).values, np.abs(MEANS) >= _AT_GRIDS_END
    sides = (MEANS > 0.0, MEANS < 0.0)
    return any(w[out & side].sum() > _WITH_WEIGHT and w[out & side].max() > w[~out & side].min() for side in sides)


def _log_evidence(top: Maximum, information: Array) -> float:
    sign, logdet = np.linalg.slogdet(information)
    proper = sign > 0.0 and np.linalg.eigvalsh(information)[0] > 0.0
    return top.evaluation.value - 0.5 * float(logdet) if proper else -np.inf


def fit_smooth(
    sums: Sums, family: Distribution, quadrature: Quadrature, scale: str, fit_at: FitAt, control: Control
) -> RandomEffectsFit:
    """Maximise the penalised likelihood over beta, sigma and the density, at the most likely smoothness or a given one.

    Parameters
    ----------
    sums : Sums
        Data in memory.
    family : Distribution
        Whose density is to be estimated.
    quadrature : Quadrature
    scale : {"normal", "density"}
    fit_at : callable
        Takes a distribution, and where beta and sigma start, if that is known; returns the fit of these to `sums`.
    control : Control

    Returns
    -------
    RandomEffectsFit
        With `shape`; log-likelihood and its error are those of integrals chosen for the estimated density.

    Raises
    ------
    OptionError
        With another quadrature than "auto", on another scale than the normal one.
    IntegrationError
        Where a fixed grid cannot hold clusters' likelihoods, or the density has gaps that integrals do not see.

    Notes
    -----
    1. The fit with Gaussian intercepts. 2. A grid whose sums are those of half its step. 3. Penalised maxima from the
    smoothest to rougher densities, each from the one before, and a search about the most likely smoothness. 4. The
    maximum there with the exact Hessian, and 5. once more beta and sigma at the density found, by the rules of any
    other distribution, which tell the error.
    """
    if quadrature.kind != "auto" or scale != "normal":
        raise OptionError(
            f"quadrature={str(quadrature)!r}, scale={scale!r} with a smooth density to be estimated",
            'quadrature="auto" and scale="normal": the density is estimated on a grid fine enough for every cluster',
            "distribution=fit.distribution of such a fit, which is known, with any quadrature",
        )
    before = fit_at(Gaussian(), None)
    stopped = before.optimization.status == "interrupted"
    if before.sigma == 0.0 or stopped:
        flat = np.zeros(COUNT)
        note = "the search was stopped before it came to the density" if stopped else _NOTHING_KNOWN
        shape = _described(family, flat, np.full((len(before.parameters) + COUNT,) * 2, np.nan), 0.0, 0, (note,))
        return replace(before, distribution=family.with_shape(flat), shape=replace(shape, smoothness=np.inf))
    tolerance = quadrature.tolerance * sums.weights.unit
    theta = sums.standard.inside(before.beta)
    parameters = random_intercept(before.data.names, before.data.cluster_name, before.sigma_state)
    theta = parameters.joined(theta, before.sigma)
    halvings = 0
    while True:
        search = _Search(
            _fine_likelihood(sums, theta, tolerance, halvings),
            parameters.and_shapes(("",) * COUNT),
            sums.weights.unit,
            control,
        )
        best = _at_best(search, family, theta, before.optimization)
        try:
            fit = _with_shape(sums, search, best, family, fit_at)
        except IntegrationError:
            if family.smoothness is not None:
                raise
            search.within = True
            best = _at_best(search, family, theta, before.optimization)
            fit = _with_shape(sums, search, best, family, fit_at)
        constant = sums.data.constant
        gap = abs(search.likelihood.value(best.at[: len(theta)], best.at[len(theta) :]) + constant - fit.loglik)
        known = 100.0 * tolerance + 2.0 * fit.integration.error + 1e-10 * abs(fit.loglik)
        if gap <= known or fit.optimization.status == "interrupted":
            return fit
        halvings = search.likelihood.halvings + 1


def _fine_likelihood(sums: Sums, theta: Array, tolerance: float, halvings: int) -> DensityLikelihood:
    """On the coarsest grid that half its step does not better."""
    assert isinstance(sums.blocks, InMemory)
    block, flat = sums.blocks.block, np.zeros(COUNT)

    def likelihood(halvings: int) -> DensityLikelihood:
        return DensityLikelihood(block.X, block.data, block.response, block.threads, halvings)

    coarse = likelihood(halvings)
    for more in range(halvings + 1, _STEP_HALVINGS + 1):
        fine = likelihood(more)
        if abs(fine.value(theta, flat) - coarse.value(theta, flat)) <= tolerance:
            return coarse
        coarse = fine
    raise IntegrationError(
        "clusters so large that their intercepts are known to a small part of sigma",
        f"likelihoods of single clusters that a grid of {coarse.nodes} nodes can hold",
        'distribution="gaussian_mixture" or "student_t"; or cg.nonparametric',
    )


def _at_best(search: _Search, family: Distribution, theta: Array, story: Optimization) -> _Density:
    """The penalised maximum at the smoothness that was given, or is most likely."""
    limit, information = search.gaussian(theta, story)
    nearly = max(_FOR_EVIDENCE, search.control.tol)
    smoothness = _SMOOTHEST * max(float(np.linalg.eigvalsh(information).max()), _LEAST_SMOOTHNESS)
    if family.smoothness is not None:
        if not np.isfinite(family.smoothness):
            return limit
        highest, found = max(family.smoothness, smoothness), limit
        steps = 1 + int(np.log(highest / family.smoothness) / _LOG_RATIO)
        for each in np.geomspace(highest, family.smoothness, steps):
            found = search.maximum(float(each), found.at, nearly)
        return search.maximum(family.smoothness, found.at)
    from scipy.optimize import minimize_scalar

    best = found = limit
    while smoothness > _LEAST_SMOOTHNESS:
        found = search.maximum(smoothness, found.at, nearly)
        if found.evidence > best.evidence:
            best = found
        if found.evidence < best.evidence - _EVIDENCE_DROP:
            break
        smoothness *= np.exp(-_LOG_RATIO)
    if not np.isfinite(best.smoothness):
        return best
    begin, middle = best, float(np.log(best.smoothness))

    def at(log_smoothness: float) -> float:
        nonlocal best
        there = search.maximum(float(np.exp(log_smoothness)), begin.at, nearly)
        if there.evidence > best.evidence:
            best = there
        return -there.evidence

    minimize_scalar(
        at, bounds=(middle - _LOG_RATIO, middle + _LOG_RATIO), method="bounded", options={"xatol": _SETTLED_SMOOTHNESS}
    )
    return search.maximum(best.smoothness, best.at)


def _with_shape(sums: Sums, search: _Search, best: _Density, family: Distribution, fit_at: FitAt) -> RandomEffectsFit:
    parameters, L = search.parameters, sums.standard.L
    working = best.at[parameters.shapes]
    member = family.with_shape(working)
    try:
        fit = fit_at(member, (L @ best.at[parameters.coefficients], float(best.at[parameters.scale])))
    except ClusterGLMError as error:
        raise IntegrationError(
            f"an estimated density with gaps: {error.got}",
            "a density whose quantiles a table can follow",
            f'a larger smoothness, such as distribution="smooth(lambda={100.0 * (family.smoothness or 1.0):g})"; or '
            "cg.nonparametric",
        ) from error
    notes: tuple[str, ...] = ()
    if not best.optimization.converged:
        notes += ("the search for the density stopped before it converged",)
    if family.smoothness is None and search.within:
        notes += (
            f"densities with a gap, and a hump beyond {_AT_GRIDS_END:g} standard deviations where the grid ends, were "
            "left aside: such clusters may lie anywhere further out; cg.nonparametric has points for them",
        )
    if family.smoothness is None and best.smoothness < _AT_ROUGH_END * _LEAST_SMOOTHNESS:
        notes += ("the smoothness is at the end of its range: rougher densities are not tried",)
    to_user = parameters.of_free(parameters.to_user(L))
    if np.isfinite(best.smoothness):
        covariance = parameters.nan_where_not_free(to_user @ np.linalg.inv(best.information) @ to_user.T)
    else:  # as if the smoothness had been known: nothing but beta and sigma varies
        covariance = np.zeros((len(parameters), len(parameters)))
        covariance[: len(fit.parameters), : len(fit.parameters)] = fit.covariance
    shape = _described(family, working, covariance, best.effective, search.fits, notes)
    return replace(
        fit,
        covariance=covariance[: len(fit.parameters), : len(fit.parameters)].copy(),
        optimization=fit.optimization if fit.optimization.status == "interrupted" else best.optimization,
        shape=replace(shape, smoothness=best.smoothness),
    )


def _described(
    family: Distribution, working: Array, covariance: Array, effective: float, fits: int, notes: tuple[str, ...]
) -> SmoothShape:
    values, slopes = family.shape(working)
    inner = covariance[-COUNT:, -COUNT:]
    with np.errstate(invalid="ignore"):
        errors = np.sqrt(np.einsum("ij,jk,ik->i", slopes, inner, slopes))
    return SmoothShape(
        family,
        ("skewness", "excess kurtosis"),
        values,
        errors,
        working,
        covariance,
        notes,
        fits,
        smoothness=np.inf if family.smoothness is None else family.smoothness,
        chosen=family.smoothness is None,
        effective=effective,
    )
