"""Whether the integrals of a fit were accurate enough, and the fit as a whole in a few lines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.repeats import repeats_of
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.penalty import jeffreys
from clusterglm.fit.soft import SoftPenalty
from clusterglm.fit.sums import added, chosen_clusters
from clusterglm.likelihood.evaluation import ClusterArrays, core_problem
from clusterglm.likelihood.plan import Choice, Goal
from clusterglm.likelihood.scalar.choice import choose_plan
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.rules import Rule, single_rule
from clusterglm.model.arrays import Array
from clusterglm.model.large_data import SAMPLES_FOR_CHECKS
from clusterglm.model.printing import printed, terminal_width
from clusterglm.model.quadrature import SCALES
from clusterglm.model.response.base import Response

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.dispersion import SimulationTest
    from clusterglm.inference.diagnostics.influence import Influence
    from clusterglm.inference.diagnostics.quantile_residuals import UniformityTest

REFERENCE_TOLERANCE = 1e-7  # of the accurate log-likelihood
_AS_FAR_OFF = 1e-9  # relative difference of clusters' errors that is rounding
_BEARABLE = 0.1  # standard errors, and units of log-likelihood, that an approximation may be off
_NOT_WORTH_A_WORD = 0.05  # half of what is, in units of log-likelihood for all clusters
_TRIAL = Rule(9)  # a quick look at a coarse rule: the next better one that costs little
_DOUBT = 0.01  # p-value below which a quick check asks for a look
_FAR_OFF = 1.0  # Cook's distance: without the cluster, estimates leave the ellipsoid of one unit


@printed
@dataclass(frozen=True)
class IntegrationCheck:
    """The log-likelihood as it was integrated, against an accurate one at the same estimate.

    Parameters
    ----------
    rule : str
        In use.
    difference : float
        Of the log-likelihood: that in use less the accurate one.
    error : float
        Estimated error of the accurate one.
    worst : float
        Difference of the cluster that is furthest off.
    worst_cluster : object
        Its label; None where clusters have no likelihoods of their own.
    parameters : tuple of str
        The coefficients and sigma.
    shift : ndarray, shape (p + 1,)
        How far each parameter would move with accurate integrals, in standard errors: one Newton step. nan for sigma
        where it was held fixed, or lies at 0; nan for all where the accurate likelihood is not concave here.
    adequate : bool
        Whether no shift is above 0.1 standard errors and `difference` is within 0.1.
    """

    rule: str
    difference: float
    error: float
    worst: float
    worst_cluster: Any
    parameters: tuple[str, ...]
    shift: Array
    adequate: bool

    def __str__(self) -> str:
        if self.rule == "none":
            return "Nothing to integrate at sigma = 0." + (
                "" if self.adequate else ' A fixed rule can be too coarse to see sigma; fit with quadrature="auto".'
            )
        words = f"With {self.rule}, the log-likelihood is off by {self.difference:.2g}"
        if self.difference != 0.0 and self.worst_cluster is not None:
            words += f" (cluster {self.worst_cluster} alone by {self.worst:.2g})"
        known = np.where(np.isnan(self.shift), -1.0, np.abs(self.shift))
        if known.max(initial=-1.0) >= 0.0:
            j = int(known.argmax())
            words += (
                f"; accurate integrals would move {self.parameters[j]} by {self.shift[j]:+.2g} standard errors, "
                "other parameters by less."
            )
        else:
            words += "; the accurate likelihood is not concave here, so that the estimates are far from its maximum."
        return words + (" That is accurate enough." if self.adequate else ' Fit again with quadrature="auto".')


def check_integration(fit: RandomEffectsFit) -> IntegrationCheck:
    """Compare the quadrature of a fit with one that is accurate to 1e-7.

    Parameters
    ----------
    fit : RandomEffectsFit
        Of whose response own parameters count as known.
    """
    from clusterglm.inference.diagnostics.influence import definite

    (data, response), parameters = fit.kernel, fit.parameters
    free, names, q = parameters.free, parameters.names, len(parameters)
    nothing = np.where(np.arange(q) == parameters.scale, np.nan, 0.0)
    if fit.sigma == 0.0:
        trusted = fit.sigma_fixed or fit.integration.requested.kind == "auto"
        return IntegrationCheck("none", 0.0, 0.0, 0.0, data.labels[0], names, nothing, trusted)
    likelihood, choice = _accurate(fit)
    accurate, error = choice.plan, choice.error
    apart = likelihood.unit_values(fit.theta, fit.plan) - likelihood.unit_values(fit.theta, accurate)
    at = likelihood.evaluate(fit.theta, accurate)
    if fit.penalty is not None:
        at = added([at, SoftPenalty.of(jeffreys(data.X, data, response)).evaluate(fit.theta)])
    shift, information = np.full(q, np.nan), -parameters.of_free(at.hessian)
    if np.isfinite(information).all() and np.all(np.diag(information) > 0.0) and definite(information, information):
        shift[free] = np.linalg.solve(information, at.score[free]) / np.sqrt(np.diag(fit.covariance)[free])
    each, total = apart / repeats_of(data).clusters, float(apart.sum())
    # of clusters that are alike but for rounding the first
    worst = int(np.argmax(np.abs(each) >= (1.0 - _AS_FAR_OFF) * np.abs(each).max()))
    adequate = is_bearable(shift[free], total)
    rule = _in_words(fit)
    return IntegrationCheck(rule, total, error, float(each[worst]), data.labels[worst], names, shift, adequate)


def is_bearable(shift: Array, total: float) -> bool:
    """Whether estimates, in standard errors, and the log-likelihood are as good as right; nan is not."""
    return bool(np.all(np.abs(shift) <= _BEARABLE)) and abs(total) <= _BEARABLE


def quick_difference(fit: RandomEffectsFit) -> float:
    """Log-likelihood in use less that by nine adaptive nodes, at the estimate; of many clusters from a sample of them.

    nan where there is nothing to compare: with "auto", with nine nodes or more, and at sigma = 0.
    """
    if fit.integration.requested.kind == "auto" or fit.integration.nodes >= _TRIAL.nodes or fit.sigma == 0.0:
        return float("nan")
    (data, response), apart = fit.kernel, float("nan")
    for sample in SAMPLES_FOR_CHECKS:
        step = max(1, data.n_clusters // sample)
        X, some = chosen_clusters(data.X, data, np.arange(0, data.n_clusters, step)) if step > 1 else (data.X, data)
        likelihood = _likelihood(fit, some, X, response)
        used, better = (likelihood.cluster_values(fit.theta, rule, None)[0] for rule in (fit.plan[0].rule, _TRIAL))
        apart = float(step * (some.cluster_weights @ (used - better)))
        if step == 1 or abs(apart) < _NOT_WORTH_A_WORD:
            break
    return apart


@dataclass(frozen=True)
class IntegrationCurve:
    """Error of adaptive Gauss-Hermite rules at the estimates.

    Parameters
    ----------
    scale : tuple of str, length k
        Scale of integration of the rule.
    nodes : ndarray of int64, shape (k,)
        1: the Laplace approximation.
    difference : ndarray, shape (k,)
        Log-likelihood by the rule less that by an accurate one.
    error : float
        Estimated error of the accurate one.
    """

    scale: tuple[str, ...]
    nodes: NDArray[np.int64]
    difference: Array
    error: float

    def to_frame(self) -> pd.DataFrame:
        """Columns `scale`, `nodes`, `difference`."""
        import pandas as pd

        return pd.DataFrame({"scale": list(self.scale), "nodes": self.nodes, "difference": self.difference})


def integration_curve(fit: RandomEffectsFit, nodes: Sequence[int]) -> IntegrationCurve:
    """The log-likelihood at the estimates by more and more nodes, on both scales where these differ.

    Parameters
    ----------
    fit : RandomEffectsFit
        With sigma above 0.
    nodes : sequence of int
    """
    (likelihood, accurate), (data, response) = _accurate(fit), fit.kernel
    value = likelihood.evaluate(fit.theta, accurate.plan, 0).value
    scales, counts, apart = [], [], []
    for scale in SCALES[:1] if fit.distribution.normal else SCALES:
        there = replace(fit, integration=replace(fit.integration, scale=scale))
        likelihood = _likelihood(there, data, data.X, response)
        for n in nodes:
            scales.append(scale)
            counts.append(int(n))
            apart.append(likelihood.evaluate(fit.theta, single_rule(int(n)), 0).value - value)
    return IntegrationCurve(tuple(scales), np.array(counts), np.array(apart), accurate.error)


def _accurate(fit: RandomEffectsFit) -> tuple[MarginalLikelihood, Choice]:
    """The likelihood of a fit, and rules that are accurate at its estimates."""
    data, response = fit.kernel
    if fit.integrator.several_modes:
        several = fit.integrator.likelihood(data.X, data, response)
        assert isinstance(several, MarginalLikelihood)
        return several, fit.integrator.choose(several, fit.theta, Goal(REFERENCE_TOLERANCE, data.n_clusters), None)
    likelihood = _likelihood(fit, data, data.X, response)
    return likelihood, choose_plan(likelihood, fit.theta, REFERENCE_TOLERANCE, likelihood.unimodal)


def _likelihood(fit: RandomEffectsFit, data: ClusterArrays, X: Array, response: Response) -> MarginalLikelihood:
    problem, log_concave = core_problem(X, data, response), response.log_concave
    return MarginalLikelihood(problem, fit.distribution, fit.integration.scale, log_concave=log_concave)


def _in_words(fit: RandomEffectsFit) -> str:
    requested = fit.integration.requested
    if requested.kind == "auto":
        return f"automatic quadrature (tolerance {requested.tolerance:g})"
    words = "the Laplace approximation" if fit.integration.nodes == 1 else f"{fit.integration.nodes} adaptive nodes"
    return words if fit.integration.scale == "normal" else f"{words} on the {fit.integration.scale} scale"


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    Parameters
    ----------
    name : str
    fine : bool or None
        None: could not be checked.
    words : str
        What was found.
    advice : str
        What to do; empty where all is fine.
    """

    name: str
    fine: bool | None
    words: str
    advice: str = ""


def of_dispersion(test: SimulationTest) -> Finding:
    """A test of dispersion in one line."""
    if test.ratio > 1.0:
        advice = 'cov("robust") for standard errors; look for covariates that are missing'
    else:
        advice = "look at how responses arose: they vary less than chance makes them"
    return _of_simulation("Dispersion", test, advice)


def of_zeros(test: SimulationTest) -> Finding:
    """A test for zero inflation in one line."""
    more = "look at whether some rows could only be zero" if test.ratio > 1.0 else "look at whether zeros were recorded"
    return _of_simulation("Zeros", test, more)


def of_influence(found: Influence | None) -> Finding:
    """The largest Cook's distances in one line; None where there is only one cluster."""
    if found is None:
        return Finding("Influence", None, "there is only one cluster")
    if len(found.parameters) == 0:
        return Finding("Influence", None, "there is no coefficient to influence")
    shown = ", ".join(f"{found.labels[k]} ({found.cook[k]:.2g})" for k in found.order[:3])
    words = f"largest Cook's distances {shown}"
    if found.failures:
        lost = sum(number for _, number in found.failures)
        return Finding("Influence", False, f"{words}; {lost} not defined", found.failures[0][0])
    fine = bool(found.cook.max() < _FAR_OFF)
    return Finding("Influence", fine, words, "" if fine else 'influence("exact"), and those data themselves')


def of_uniformity(what: str, test: UniformityTest) -> Finding:
    """A test of quantile residuals in one line."""
    fine = test.pvalue >= _DOUBT if test.n > 0 else None
    advice = "" if fine is not False else 'plot residuals("quantile") against covariates; other terms, or another link'
    return Finding("Residuals", fine, f"{what}: {test}", advice)


def _of_simulation(name: str, test: SimulationTest, advice: str) -> Finding:
    if len(test.replicates) == 0:
        return Finding(name, None, "no simulation could be made: " + "; ".join(reason for reason, _ in test.failures))
    fine = test.pvalue >= _DOUBT
    done = f"{len(test.replicates)} simulations" + (f" of {test.n_sim}; others failed" if test.failures else "")
    words = f"ratio of observed to expected {test.ratio:.3g}, p = {test.pvalue:.3g} ({done})"
    return Finding(name, fine, words, "" if fine else advice)


@printed
@dataclass(frozen=True)
class Diagnosis:
    """The quick checks of a fit.

    Parameters
    ----------
    findings : tuple of Finding
    seed : int
        Gives the same numbers again.
    """

    findings: tuple[Finding, ...]
    seed: int

    @property
    def fine(self) -> bool:
        """Whether no check found anything."""
        return all(finding.fine is not False for finding in self.findings)

    def __str__(self) -> str:
        names = max((len(finding.name) for finding in self.findings), default=0)
        lines = [f"Diagnosis (seed {self.seed})"]
        for finding in self.findings:
            mark = {True: "ok  ", False: "LOOK", None: "-   "}[finding.fine]
            text = finding.words + (f" -> {finding.advice}" if finding.advice else "")
            start = f"{mark} {finding.name + ':':<{names + 2}}"
            lines += textwrap.wrap(text, terminal_width(), initial_indent=start, subsequent_indent=" " * len(start))
        return "\n".join(lines)
