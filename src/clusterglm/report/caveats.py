"""What a reader should know before trusting a fit: only what applies to this one, in plain words."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from clusterglm.results.models.base import Result
from clusterglm.results.models.conditional import ConditionalResult
from clusterglm.results.models.fixed_effects import FixedEffectsResult
from clusterglm.results.models.limit import Limit
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult
from clusterglm.results.tables.table import counted

_FEW_FOR_ROBUST = 40  # clusters below which the sandwich is too small on average
_FEW_FOR_SIGMA = 15
_EVENTS = 10  # for each coefficient
_APART = 1.5  # robust over model-based standard error that asks for an explanation


@dataclass(frozen=True)
class Caveat:
    """One thing to know.

    Parameters
    ----------
    title : str
    words : str
    serious : bool
        The numbers may be wrong, not just uncertain.
    """

    title: str
    words: str
    serious: bool = False


def caveats(fit: Result) -> list[Caveat]:
    """All that apply to a fit, the serious ones first."""
    if isinstance(fit, Limit):
        return [_separation(fit), *([] if fit.rest is None else caveats(fit.rest))]
    found = [*_optimisation(fit), *_penalty(fit), *_data(fit), *_clusters(fit)]
    if isinstance(fit, RandomEffectsResult):
        found += [*_sigma(fit), *_integration(fit)]
    return sorted(found, key=lambda caveat: not caveat.serious)


def _optimisation(fit: Result) -> list[Caveat]:
    if fit.converged:
        return []
    words = f"The optimiser stopped early: {fit.optimization.message}. The estimates are not at the maximum."
    return [Caveat("Not converged", words, serious=True)]


def _penalty(fit: Result) -> list[Caveat]:
    if fit.penalty is None:
        return []
    words = (
        "The coefficients maximise the likelihood with a penalty, which keeps them finite whatever the responses. "
        "Where responses are separated, normal intervals and Wald tests are unreliable: use profile intervals, and "
        "likelihood-ratio tests between fits with the penalty."
    )
    return [Caveat("Penalised likelihood", words)]


def _separation(fit: Limit) -> Caveat:
    infinite = fit.glance()["infinite"][0] or "some coefficients"
    words = (
        f"Covariates separate the responses: {infinite} went to infinity, and this is the limit of the fit. Wald tests "
        "and intervals of what is infinite mean nothing: use profile intervals, which have one finite end, and "
        "likelihood-ratio tests. Other parameters, and what is said below, rest on the rows that are not certain."
    )
    return Caveat("Separated responses", words, serious=True)


def _data(fit: Result) -> list[Caveat]:
    found = []
    lost = [dropped for dropped in fit.data.dropped if dropped.reason != "outside subset"]  # that one was wanted
    if lost:
        total = sum(dropped.count for dropped in lost)
        share = total / (total + fit.data.n_obs)
        reasons = "; ".join(f"{dropped.count} for {dropped.reason}" for dropped in lost)
        words = (
            f"{counted(total, 'row')} of the table ({100 * share:.3g}%) played no part: {reasons}. The estimates speak "
            "for the rows that are left; if what is missing has to do with the response, they can be biased."
        )
        found.append(Caveat("Rows left out", words))
    weights = fit._per_row(fit.data.rows.cluster_weights)
    events = fit.response.events(float(weights @ fit.data.rows.a), float(weights @ fit.data.rows.b))
    kind = fit.response.words.events
    p = len(fit.data.names)
    if p > 0 and events < _EVENTS * p:
        words = (
            f"There are {events:.4g} {kind} for {counted(p, 'coefficient')}. Below about {_EVENTS} for each, estimates "
            "tend to lie too far from zero and normal intervals are unreliable: profile intervals are safer."
        )
        found.append(Caveat("Few events", words))
    return found


def _clusters(fit: Result) -> list[Caveat]:
    found = []
    clustered = fit.data.cluster_name is not None
    m = fit.n_clusters
    if clustered and m < _FEW_FOR_ROBUST:
        words = (
            f"With {counted(m, 'cluster')}, robust (sandwich) standard errors are too small on average, and tests and "
            "intervals that rest on many clusters are optimistic. Bootstrap intervals are safer."
        )
        found.append(Caveat("Few clusters", words))
    elif clustered and fit.penalty is None:
        found += _robust(fit)
    if isinstance(fit, PooledResult) and clustered:
        words = (
            "This model has no cluster effects, and its standard errors take rows to be independent. If clusters "
            "differ, they are too small for covariates that vary between clusters: use "
            f"{'the robust ones, or ' if fit.penalty is None else ''}a model with cluster effects."
        )
        found.append(Caveat("Clusters are not in the model", words))
    if isinstance(fit, FixedEffectsResult | ConditionalResult) and fit.n_informative < m:
        silent = m - fit.n_informative
        words = (
            f"In {silent} of {m} clusters the responses are all alike (or certain given their total). They say nothing "
            f"of the coefficients, which rest on the other {fit.n_informative}."
        )
        found.append(Caveat("Clusters without a say", words))
    return found


def _robust(fit: Result) -> list[Caveat]:
    robust = np.sqrt(np.diag(fit.cov("robust").to_numpy()))[: len(fit.data.names)]
    ratio = robust / fit.bse.to_numpy()
    if len(ratio) == 0 or not np.isfinite(ratio).all() or np.abs(np.log(ratio)).max() < np.log(_APART):
        return []
    j = int(np.abs(np.log(ratio)).argmax())
    words = (
        f"The robust standard error of {fit.data.names[j]} is {ratio[j]:.2f} times that of the model. If the model "
        "held, they would be about the same: rows of a cluster may be dependent in another way than the model says, or "
        "vary more."
    )
    return [Caveat("Robust standard errors differ", words)]


def _sigma(fit: RandomEffectsResult) -> list[Caveat]:
    found = []
    if fit.fit.sigma_fixed:
        found.append(
            Caveat("sigma was held fixed", f"It was set to {fit.sigma:.4g}; nothing here tells its uncertainty.")
        )
    elif fit.fit.boundary:
        words = (
            "The likelihood is largest at sigma = 0: the data show no more variation between clusters than chance "
            "gives. That is not proof that clusters do not differ; the profile of sigma shows how large it could be. "
            "Coefficients and standard errors are those of the pooled model."
        )
        found.append(Caveat("On the boundary", words))
    elif fit.n_clusters < _FEW_FOR_SIGMA:
        words = (
            f"From {fit.n_clusters} clusters sigma is hardly known, maximum likelihood puts it too low on average, and "
            "with it the standard errors of what varies between clusters. Read its profile interval."
        )
        found.append(Caveat("sigma from few clusters", words))
    if np.isinf(fit.random_effects_sd) and fit.sigma > 0.0:
        words = (
            f"The {fit.distribution.name} distribution has no standard deviation: sigma is its scale, clusters far out "
            "are to be expected, and there is no intraclass correlation."
        )
        if fit.response.exponential_mean:
            words += " Counts averaged over clusters have no finite mean."
        found.append(Caveat("Heavy tails", words))
    return found


def _integration(fit: RandomEffectsResult) -> list[Caveat]:
    if fit.sigma == 0.0 and fit.quadrature.requested.kind == "auto":
        return []
    found = []
    size = fit.n_obs / fit.n_clusters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is written here
        check = fit.integration_check()
    if fit.quadrature.nodes == 1 and fit.sigma > 0.0:
        words = (
            f"The integrals over the intercepts were approximated by Laplace's method. In small clusters (here "
            f"{size:.3g} rows, on average) that can be far off, most of all for binary responses: sigma and the "
            "coefficients are then too close to zero."
        )
        found.append(Caveat("Laplace approximation", f"{words} {check}", serious=not check.adequate))
    elif not check.adequate:
        found.append(Caveat("Integrals not accurate", str(check), serious=True))
    return found
