"""What each section of a fit's report holds, by kind of result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from clusterglm.api.selection import select_prepared
from clusterglm.errors import DataError
from clusterglm.inference.diagnostics.adequacy import Diagnosis
from clusterglm.inference.diagnostics.influence import Influence
from clusterglm.inference.hypotheses.bootstrap import SimulatedTest
from clusterglm.model.control import Control
from clusterglm.model.distribution import Distribution, distribution
from clusterglm.plot import (
    bootstrap,
    calibration,
    caterpillar,
    coefficients,
    gradient,
    integration,
    predictions,
    profile,
    qq,
    residuals,
    rootogram,
)
from clusterglm.report.page import Block, Part, Picture, Table, Words, alike, frame_table
from clusterglm.results.models.base import Result
from clusterglm.results.models.conditional import ConditionalResult
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult
from clusterglm.results.tables.selection import DistributionSelection
from clusterglm.results.topics.clustering import ClusteredResult
from clusterglm.results.topics.diagnostics import ClusterInfluence, Diagnostics
from clusterglm.results.topics.effects import Effects, Ratios
from clusterglm.results.topics.testing import Hypotheses

_NAMED = 30  # clusters that a caterpillar plot shows by name
_ENOUGH = 200  # simulations that quick checks need to raise an alarm
_WORST = 5  # clusters in the table of influence
_LARGE = 5_000_000  # elements of a design matrix above which averages over all rows are left out
_LITTLE = 0.5  # standard errors that a coefficient may move before the choice of a distribution matters
_INTERVAL = {"conf_low": "95% from", "conf_high": "to"}


@dataclass(frozen=True)
class Options:
    """What a report computes.

    Parameters
    ----------
    data : table or None
        The table that was fitted, for predictions.
    n_boot, n_sim : int
        Replicates of the test of no clustering, simulations for diagnostics; 0 leaves them out.
    distributions : tuple of str or Distribution
        To compare; empty for none.
    variables : tuple of str
        To predict along.
    seed : int
    n_jobs : int
    """

    data: Any
    n_boot: int
    n_sim: int
    distributions: tuple[str | Distribution, ...]
    variables: tuple[str, ...]
    seed: int
    n_jobs: int


Plan = list[tuple[str, str, list[Part]]]
"""Key, title and parts of each section."""


def plan(fit: Result, options: Options) -> Plan:
    """The sections that suit a fit."""
    sections: Plan = [("estimates", "Estimates", _estimates(fit, options))]
    if isinstance(fit, ClusteredResult) or (isinstance(fit, PooledResult) and fit.data.cluster_name is not None):
        sections.append(("clusters", "Differences between clusters", _clusters(fit, options)))
    if isinstance(fit, RandomEffectsResult) and not fit.fit.sigma_fixed and options.distributions:
        sections.append(("distribution", "Distribution of the random intercept", _distribution(fit, options)))
    sections.append(("diagnostics", "Does the model fit?", _diagnostics(fit, options)))
    if options.variables:
        sections.append(("predictions", "Predictions", [_prediction(fit, name, options) for name in options.variables]))
    if isinstance(fit, RandomEffectsResult) and fit.sigma > 0.0:
        sections.append(("integration", "Accuracy of the integrals", [Part("Integration", lambda: _integrals(fit))]))
    return sections


def _estimates(fit: Result, options: Options) -> list[Part]:
    parts = [Part("Coefficients", lambda: _coefficients(fit))]
    if isinstance(fit, Hypotheses) and len(fit.data.names) > 1:
        parts.append(Part("Tests of terms", lambda: _terms(fit)))
    if isinstance(fit, Effects) and fit.data.design.variables:
        parts.append(Part("Average effects", lambda: _average_effects(fit, options)))
    return parts


def _coefficients(fit: Result) -> Iterable[Block]:
    table = fit.tidy().set_index("term")
    columns = {"estimate": "Estimate", "std_error": "Std. error", **_INTERVAL, "z": "z", "pvalue": "p"}
    if fit.data.cluster_name is not None and fit.n_clusters > 1 and fit.penalty is None:
        robust = np.sqrt(np.diag(fit.cov("robust").to_numpy()))
        table["robust"] = robust[: len(table)]
        columns = {"estimate": "Estimate", "std_error": "Std. error", "robust": "Robust s.e."} | columns
    shared = alike(table, ["estimate", "std_error", "robust", *_INTERVAL])
    yield frame_table("Coefficients with Wald intervals", table, columns, {**shared, "z": 3})
    references = [f"{name} = {level}" for name, level in fit.data.design.references.items()]
    if references:
        yield Words(f"Levels are compared with the reference {'levels' if references[1:] else 'level'} "
                    f"{', '.join(references)}.")  # fmt: skip
    if isinstance(fit, Ratios) and fit.response.ratio is not None:
        ratios = fit.ratios()
        kind = ratios["kind"].iloc[-1] if len(ratios) > 0 else "ratio"
        chosen = {"estimate": "Ratio", **_INTERVAL}
        yield frame_table(f"Exponentiated: {kind}s", ratios.set_index("term"), chosen, alike(ratios, chosen))
        if not isinstance(fit, PooledResult):
            yield Words("Ratios hold within a cluster: they compare rows that share an intercept.")
    if len(fit.data.names) > 0:
        yield Picture("Coefficients with 95% Wald intervals", coefficients(fit))


def _terms(fit: Hypotheses) -> Iterable[Block]:
    table = fit.term_tests().set_index("term")
    if len(table) > 0:
        columns = {"statistic": "Chi²", "df": "df", "pvalue": "p"}
        yield frame_table("Wald tests of whole terms, each given all the others", table, columns, {"statistic": 3})


def _average_effects(fit: Result, options: Options) -> Iterable[Block]:
    import pandas as pd

    assert isinstance(fit, Effects)
    if fit.data.rows.X.size > _LARGE:
        yield Words("Average effects take a while with as many rows, and were left out: fit.average_effects().")
        return
    tables, refused = [], {}
    for name in fit.data.design.variables:
        try:
            tables.append(fit.average_effects(name, data=options.data))
        except DataError as problem:  # of this variable, which may enter by steps; or without data=
            refused[f"No average effects: {problem.got} (needed: {problem.needed})."] = "note"
    yield from (Words(text, tone) for text, tone in refused.items())
    if not tables:
        return
    found = pd.concat(tables)
    table = found.set_index(found["term"] + ": " + found["contrast"])
    what = fit.response.words.expectation.lower()
    columns = {"estimate": "Effect", "std_error": "Std. error", **_INTERVAL, "pvalue": "p"}
    yield frame_table(
        f"Average effects on the {what}", table, columns, alike(table, ["estimate", "std_error", *_INTERVAL])
    )
    where = "" if isinstance(fit, PooledResult) else (
        " and over the distribution of intercepts" if isinstance(fit, RandomEffectsResult) else
        ", at the clusters' intercepts"
    )  # fmt: skip
    yield Words(f'Averaged over the rows{where}; "derivative" is the change for one unit of the variable.')
    for note in dict.fromkeys(found.get("note", ())):
        yield Words(note, "note")


def _clusters(fit: Result, options: Options) -> list[Part]:
    parts = []
    if isinstance(fit, PooledResult):
        parts.append(Part("Test of no clustering", lambda: [Words(_sentence(f"Score test: {fit.test_clustering()}"))]))
        return parts
    if isinstance(fit, RandomEffectsResult):
        parts.append(Part("sigma", lambda: _sigma(fit)))
    assert isinstance(fit, ClusteredResult)
    if not (isinstance(fit, RandomEffectsResult) and fit.fit.sigma_fixed):
        parts.append(Part("Test of no clustering", lambda: _clustering(fit, options)))
    parts.append(Part("Cluster effects", lambda: _effects(fit)))
    if isinstance(fit, RandomEffectsResult) and fit.sigma > 0.0 and fit.response.totals_suffice:
        parts.append(Part("Random intercepts or within clusters", lambda: _hausman(fit)))
    return parts


def _sigma(fit: RandomEffectsResult) -> Iterable[Block]:
    facts = dict(fit.summary().facts)
    rows = [("sigma", facts["sigma"])]
    if fit.sigma > 0.0 and fit.response.ratio is not None:
        name, _, value = str(fit.median_odds_ratio()).partition(": ")
        rows.append((name.capitalize(), value))
    rows += [(name, facts[name]) for name in ("ICC", "No clustering") if name in facts]
    yield Table("How much clusters differ", (), tuple(rows), prose=True)
    if not fit.fit.sigma_fixed:
        interval = fit.conf_int(method="profile").loc["sigma"]
        yield Words(f"Profile interval of sigma, 95%: {interval['low']:.4g} to {interval['high']:.4g}.")
        yield Picture("Profile likelihood of sigma: how well the data know it", profile(fit, "sigma"))


def _clustering(fit: ClusteredResult, options: Options) -> Iterable[Block]:
    if options.n_boot == 0:
        yield Words("The bootstrap test of no clustering was left out (n_boot=0).")
        return
    found = fit.test_clustering("bootstrap", n_boot=options.n_boot, seed=options.seed, n_jobs=options.n_jobs)
    assert isinstance(found, SimulatedTest)
    yield Words(_sentence(f"Test of no differences between clusters: {found}"))
    yield Picture("The likelihood ratio in data simulated without clustering, and as observed", bootstrap(found))


def _hausman(fit: RandomEffectsResult) -> Iterable[Block]:
    try:
        found = fit.hausman()
    except DataError as problem:  # nothing varies within clusters
        yield Words(f"There is no Hausman test: {problem.got}.")
        return
    yield Words(_sentence(str(found)))
    yield Words(
        "A small p-value speaks against random intercepts that are independent of the covariates: effects within "
        "clusters then differ from those between them."
    )


def _effects(fit: Result) -> Iterable[Block]:
    if isinstance(fit, RandomEffectsResult) and fit.sigma == 0.0:
        yield Words("Predicted intercepts are all 0, as sigma is.")
        return
    yield Picture("The clusters' intercepts in ascending order, with 95% intervals", caterpillar(fit, named=_NAMED))


def _distribution(fit: RandomEffectsResult, options: Options) -> list[Part]:
    made: list[DistributionSelection] = []

    def choose() -> Iterable[Block]:
        candidates = [distribution(given) for given in options.distributions]
        rule, scale = fit.quadrature.requested, fit.quadrature.scale
        made.append(select_prepared(fit.data.rows, fit.response, candidates, rule, scale, Control(), known=fit))
        yield from _chosen(made[0])

    def shape() -> Iterable[Block]:
        yield Picture(
            "Gradient function: above zero, the data ask for more clusters with such an intercept", gradient(fit)
        )

    def events() -> Iterable[Block]:
        shown = made[0] if made else fit
        yield Picture("Clusters by their number of events, observed and as each fit expects them", rootogram(shown))

    parts = [Part("Choice of the distribution", choose), Part("Events per cluster", events)]
    return [*parts, Part("Gradient function", shape)] if fit.sigma > 0.0 else parts


def _chosen(found: DistributionSelection) -> Iterable[Block]:
    columns = {"loglik": "Log-likelihood", "aic": "AIC", "aic_weight": "Weight", "chi_square": "Chi²", "sigma": "sigma",
               "converged": "Converged"}  # fmt: skip
    decimals = {"loglik": 2, "aic": 2, "aic_weight": 3}
    yield frame_table("The same model with other distributions of the intercept", found.table, columns, decimals)
    yield Words(
        f"AIC prefers {found.best().distribution.name}, the chi-squared criterion "
        f"{found.best('chi_square').distribution.name}. A difference in AIC below about 2 says little."
    )
    shift = found.coefficients[("range", "")]
    if len(shift) > 0:
        most, name = float(shift.max()), found.best().data.design.in_words(str(shift.idxmax()))
        verdict = "hardly matters for the coefficients" if most < _LITTLE else "matters for the coefficients"
        yield Words(
            f"The choice {verdict}: the one that moves most between these distributions is that of {name}, by "
            f"{most:.2g} of its standard errors."
        )
    for name, reason in found.failures.items():
        yield Words(f"{name} could not be fitted: {reason}", "problem")


def _diagnostics(fit: Result, options: Options) -> list[Part]:
    parts = []
    if isinstance(fit, Diagnostics):
        if options.n_sim > 0:
            parts.append(Part("Quick checks", lambda: _checks(fit.check(options.seed, options.n_sim), options.n_sim)))
            parts.append(Part("Residuals", lambda: _residuals(fit, options)))
        else:
            parts.append(
                Part("Residuals", lambda: [Words("Checks by simulation were left out (n_sim=0).")]),
            )
        parts.append(Part("Calibration", lambda: _calibration(fit)))
    if isinstance(fit, ConditionalResult):
        words = (
            "A conditional model says nothing of the level of the responses, so that there are no residuals: only what "
            "single clusters do to the estimates can be looked at."
        )
        parts.append(Part("Residuals", lambda: [Words(words)]))
    if isinstance(fit, ClusterInfluence) and fit.n_clusters > 1 and len(fit.data.names) > 0:
        parts.append(Part("Influence", lambda: _influence(fit.influence(), fit.data.cluster_name)))
    return parts


def _checks(found: Diagnosis, n_sim: int) -> Iterable[Block]:
    marks = {True: "fine", False: "look", None: "not checked"}
    rows = tuple(
        (each.name, marks[each.fine], each.words + (f" → {each.advice}" if each.advice else ""))
        for each in found.findings
    )
    yield Table("Quick checks", ("", "", "What was found"), rows, prose=True)
    if n_sim < _ENOUGH:
        yield Words(f"Tests are read at p = 0.01, which fewer than {_ENOUGH} simulations cannot reach.", "note")


def _residuals(fit: Diagnostics, options: Options) -> Iterable[Block]:
    found = fit.residual_envelope(min(options.n_sim, 99), seed=options.seed, n_jobs=options.n_jobs)
    yield Words(
        "Quantile residuals are standard normal if the model holds, but for what predicted intercepts take up; the "
        "shaded bands are where simulations from the fit put them."
    )
    yield Picture("Quantile residuals against the normal distribution", qq(found))
    yield Picture("Quantile residuals against the linear predictor, and their means in groups", residuals(found))
    if found.failures:
        yield Words("; ".join(f"{count} simulations failed: {reason}" for reason, count in found.failures), "note")


def _calibration(fit: Diagnostics) -> Iterable[Block]:
    yield Picture("Observed against predicted, in groups of ascending predictions", calibration(fit))


def _influence(found: Influence, cluster: str | None) -> Iterable[Block]:
    table = found.table(sort=True).head(_WORST)
    if "label" in table.columns:
        table = table.set_index("label")
    columns = {name: "Distance" for name in table.columns if name.startswith("cook")}
    name = "rows" if cluster is None else f"clusters of {cluster}"
    yield frame_table(f"The {name} that move the estimates most (Cook's distance; above 1 is a lot)", table, columns)


def _prediction(fit: Result, name: str, options: Options) -> Part:
    def make() -> Iterable[Block]:
        yield Picture(f"Predictions along {name}, with 95% intervals", predictions(fit, name, data=options.data))

    return Part(f"Predictions along {name}", make)


def _integrals(fit: RandomEffectsResult) -> Iterable[Block]:
    yield Words(str(fit.integration_check()))
    yield Picture("Error of the log-likelihood by the number of adaptive nodes, at the estimates", integration(fit))


def _sentence(text: str) -> str:
    return text.replace("\n", "; ").rstrip(".") + "."
