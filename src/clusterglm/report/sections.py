"""What each section of a fit's report holds: blocks for each part that a result may name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.api.selection import select_prepared
from clusterglm.errors import DataError, OptionError
from clusterglm.inference.diagnostics.adequacy import Diagnosis
from clusterglm.inference.distribution.event_counts import totals_known
from clusterglm.inference.hypotheses.bootstrap import SimulatedTest
from clusterglm.model.control import Control
from clusterglm.model.distribution import Distribution, distribution
from clusterglm.model.large_data import MOST_ELEMENTS_AVERAGED
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
    random_effects,
    residuals,
    rootogram,
)
from clusterglm.report.page import Block, Part, Picture, Table, Words, alike, frame_table
from clusterglm.results.models.base import Result
from clusterglm.results.models.mixed import MixedEffectsResult
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult
from clusterglm.results.tables.selection import DistributionSelection
from clusterglm.results.topics.adjusted_means import Averages
from clusterglm.results.topics.clustering import ClusteredResult
from clusterglm.results.topics.diagnostics import ClusterInfluence, Diagnostics
from clusterglm.results.topics.effects import Effects

if TYPE_CHECKING:
    import pandas as pd

_LABELLED = 30  # clusters that a caterpillar plot shows by name
_TELLING = 200  # simulations that quick checks need to raise an alarm
_WORST = 5  # clusters in the table of influence
_LITTLE_MOVED = 0.5  # standard errors that a coefficient may move before the choice of a distribution matters
_LEVELS_SHOWN, _FACTORS_SHOWN = 6, 3  # of a factor whose means are compared, and how many of these
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
    cov : str
        Covariance behind the errors of coefficients and tests of terms.
    df : str or None
        Degrees of freedom of these.
    """

    data: Any
    n_boot: int
    n_sim: int
    distributions: tuple[str | Distribution, ...]
    variables: tuple[str, ...]
    seed: int
    n_jobs: int
    cov: str = "observed"
    df: str | None = None


Plan = list[tuple[str, str, list[Part]]]
"""Key, title and parts of each section."""
Make = Callable[[Any, Options], list[Part]]
"""From a fit and what is wanted to parts of a section; none where that is not wanted."""


def plan(fit: Result, options: Options) -> Plan:
    """The sections that suit a fit, of the parts that it names."""
    named = fit._report_parts()
    sections = []
    for key, title, makers in SECTIONS:
        parts = [part for name, make in makers.items() if name in named for part in make(fit, options)]
        if key == _LOOKED_AT and _OF_RESIDUALS.isdisjoint(named):
            parts.append(Part("Residuals", _residuals_elsewhere))
        if parts:
            sections.append((key, title, parts))
    return sections


def _part(name: str, blocks: Callable[[Any, Options], Iterable[Block]]) -> Make:
    return lambda fit, options: [Part(name, lambda: blocks(fit, options))]


def _coefficients(fit: Result, options: Options) -> Iterable[Block]:
    table = fit.tidy(cov=options.cov, df=options.df).set_index("term")
    tested = {"z": "z"} if options.df is None else {"z": "t", "df": "df"}
    columns = {"estimate": "Estimate", "std_error": "Std. error", **_INTERVAL, **tested, "pvalue": "p"}
    sandwich = "robust" in fit._covariances and fit.penalty is None and options.cov == "observed"
    if sandwich and fit.data.cluster_name is not None and fit.n_clusters > 1:
        with suppress(OptionError):  # there is none at the end of a parameter's range
            robust = np.sqrt(np.diag(fit.cov("robust").to_numpy()))
            table["robust"] = robust[: len(table)]
            columns = {"estimate": "Estimate", "std_error": "Std. error", "robust": "Robust s.e."} | columns
    shared = alike(table, ["estimate", "std_error", "robust", *_INTERVAL])
    kind = "Wald" if options.df is None else "t"
    yield frame_table(f"Coefficients with {kind} intervals", table, columns, {**shared, "z": 3, "df": 2})
    references = [f"{name} = {level}" for name, level in fit._reference_levels.items()]
    if references:
        yield Words(f"Levels are compared with the reference {'levels' if references[1:] else 'level'} "
                    f"{', '.join(references)}.")  # fmt: skip
    if fit.response.ratio is not None:
        ratios = fit.ratios(cov=options.cov)
        kinds = dict.fromkeys(map(str, ratios["kind"]))
        name = " and ".join(each for each in kinds if "ratio" in each) or next(reversed(kinds), "ratio")
        name = name.replace("ratio", "ratios")
        ratios = ratios.set_index("term")
        if options.df is not None:
            exponentiated = fit.tidy(exponentiate=True, cov=options.cov, df=options.df).set_index("term")
            ratios = exponentiated.loc[list(ratios.index)]
        chosen = {"estimate": "Ratio", **_INTERVAL}
        yield frame_table(f"Exponentiated: {name}", ratios, chosen, alike(ratios, chosen))
        if fit._intercepts_in_words:
            yield Words("Ratios hold within a cluster: they compare rows that share an intercept.")
    if len(fit._term_names) > 0:
        yield Picture(f"Coefficients with 95% {kind} intervals", coefficients(fit, cov=options.cov, df=options.df))


def _terms(fit: Result, options: Options) -> Iterable[Block]:
    table = fit.term_tests(options.cov, df=options.df).set_index("term")
    if len(table) == 0:
        return
    caption, columns = "Wald tests of whole terms, each given all the others", {"df": "df", "pvalue": "p"}
    if options.df is None:
        yield frame_table(caption, table, {"statistic": "Chi²", **columns}, {"statistic": 3})
    else:
        columns = {"F": "F", "df": "df", "df_denominator": "of the denominator", "pvalue": "p"}
        yield frame_table(caption.replace("Wald", "F"), table, columns, {"F": 3, "df_denominator": 2})


def _average_effects(fit: Effects, options: Options) -> Iterable[Block]:
    import pandas as pd

    if fit.data.rows.X.size > MOST_ELEMENTS_AVERAGED:
        yield Words("Average effects take a while with as many rows, and were left out: fit.average_effects().")
        return
    tables, refused = [], {}
    for name in fit._fixed_design.variables:
        try:
            tables.append(fit.average_effects(name, data=options.data))
        except DataError as problem:  # of this variable, which may enter by steps; or without data=
            refused[f"No average effects: {problem.got} (needed: {problem.needed})."] = "note"
    yield from (Words(text, tone) for text, tone in refused.items())
    if not tables:
        return
    found = pd.concat(tables)
    of_category = ": " + found["category"] if "category" in found else ""
    table = found.set_index(found["term"] + ": " + found["contrast"] + of_category)
    what = fit.response.words.expectation.lower()
    columns = {"estimate": "Effect", "std_error": "Std. error", **_INTERVAL, "pvalue": "p"}
    yield frame_table(
        f"Average effects on the {what}", table, columns, alike(table, ["estimate", "std_error", *_INTERVAL])
    )
    over = f"the rows{fit._averaged_over}"
    yield Words(f'Averaged over {over}; "derivative" is the change for one unit of the variable.')
    for note in dict.fromkeys(found.get("note", ())):
        yield Words(note, "note")


def _joined(columns: pd.DataFrame) -> pd.Index:
    """The columns of each row as one label."""
    import pandas as pd

    return pd.Index([": ".join(map(str, row)) for row in columns.itertuples(index=False)])


def _adjusted_means(fit: Averages, options: Options) -> Iterable[Block]:
    """Of each categorical variable with few levels."""
    if fit.data.rows.X.size > MOST_ELEMENTS_AVERAGED:
        yield Words("Adjusted means take a while with as many rows, and were left out: fit.adjusted_means(...).")
        return
    few = [f.column for f in fit._fixed_design.factors if f.column is not None and len(f.levels) <= _LEVELS_SHOWN]
    for name in few[:_FACTORS_SHOWN]:
        try:
            means = fit.adjusted_means(name, data=options.data)
        except DataError as problem:
            yield Words(f"No adjusted means of {name}: {problem.got} (needed: {problem.needed}).", "note")
            continue
        table = means.to_frame()
        table.index = _joined(table[[name, *means.by]])
        columns = {"estimate": "Mean", "std_error": "Std. error", **_INTERVAL}
        yield frame_table(f"{means.what}, of {name}", table, columns, alike(table, list(columns)))
        for note in dict.fromkeys(table.get("note", ())):
            yield Words(note, "note")
        found = means.contrasts()
        rows = found.to_frame()
        rows.index = _joined(rows[["contrast", *found.by]])
        columns = {"estimate": "Difference", "std_error": "Std. error", **_INTERVAL, "pvalue": "p"}
        caption = f"Contrasts of {name}: p-values adjusted by Holm, intervals by Bonferroni"
        yield frame_table(caption, rows, columns, alike(rows, ["estimate", "std_error", *_INTERVAL]))


def _score(fit: PooledResult, options: Options) -> Iterable[Block]:
    yield Words(_sentence(f"Score test: {fit.test_clustering()}"))


def _sigma(fit: RandomEffectsResult, options: Options) -> Iterable[Block]:
    facts = dict(fit.summary().facts)
    rows = [("sigma", facts["sigma"])]
    if fit.sigma > 0.0 and fit.response.ratio is not None:
        with suppress(OptionError):  # of some responses it is not worked out
            name, _, value = str(fit.median_odds_ratio()).partition(": ")
            rows.append((name.capitalize(), value))
    rows += [(name, facts[name]) for name in ("ICC", "No clustering") if name in facts]
    yield Table("How much clusters differ", (), tuple(rows), prose=True)
    if not fit.fit.sigma_fixed:
        try:
            interval = fit.conf_int(method="profile").loc["sigma"]
        except OptionError as refusal:
            yield Words(f"Not here: {refusal.got}. Needed: {refusal.needed}.")
            return
        yield Words(f"Profile interval of sigma, 95%: {interval['low']:.4g} to {interval['high']:.4g}.")
        yield Picture("Profile likelihood of sigma: how well the data know it", profile(fit, "sigma"))


def _random_effects(fit: MixedEffectsResult, options: Options) -> Iterable[Block]:
    table = fit.tidy().set_index("term")
    rows = table[table["component"] == "random_effect"]
    columns = {"estimate": "Estimate", "std_error": "Std. error", **_INTERVAL}
    caption = "Standard deviations and correlations of the random effects, with Wald intervals"
    yield frame_table(caption, rows, columns, alike(rows, columns))
    if len(fit._cluster_effects()) > 1 and len(fit.fit.effects.groups) == 1:
        yield Picture("The first two random effects of each cluster, with 95% ellipses", random_effects(fit))


def _clustering(fit: ClusteredResult, options: Options) -> Iterable[Block]:
    if options.n_boot == 0:
        yield Words("The bootstrap test of no clustering was left out (n_boot=0).")
        return
    found = fit.test_clustering("bootstrap", n_boot=options.n_boot, seed=options.seed, n_jobs=options.n_jobs)
    assert isinstance(found, SimulatedTest)
    yield Words(_sentence(f"Test of no differences between clusters: {found}"))
    yield Picture("The likelihood ratio in data simulated without clustering, and as observed", bootstrap(found))


def _hausman(fit: RandomEffectsResult, options: Options) -> Iterable[Block]:
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


def _intercepts(fit: Result, options: Options) -> Iterable[Block]:
    yield Picture("The clusters' intercepts in ascending order, with 95% intervals", caterpillar(fit, named=_LABELLED))


def _distributions(fit: RandomEffectsResult, options: Options) -> list[Part]:
    if not options.distributions:
        return []
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

    parts = [Part("Choice of the distribution", choose)]
    if totals_known(fit.response):
        parts.append(Part("Events per cluster", events))
    return [*parts, Part("Gradient function", shape)] if fit.sigma > 0.0 else parts


def _chosen(found: DistributionSelection) -> Iterable[Block]:
    columns = {"loglik": "Log-likelihood", "aic": "AIC", "aic_weight": "Weight", "chi_square": "Chi²", "sigma": "sigma",
               "converged": "Converged"}  # fmt: skip
    by_events = ""
    if found.goodness:
        by_events = f", the chi-squared criterion {found.best('chi_square').distribution.name}"
    else:
        del columns["chi_square"]
    decimals = {"loglik": 2, "aic": 2, "aic_weight": 3}
    yield frame_table("The same model with other distributions of the intercept", found.table, columns, decimals)
    yield Words(
        f"AIC prefers {found.best().distribution.name}{by_events}. A difference in AIC below about 2 says little."
    )
    shift = found.coefficients[("range", "")]
    if len(shift) > 0:
        most, name = float(shift.max()), found.best().data.design.in_words(str(shift.idxmax()))
        verdict = "hardly matters for the coefficients" if most < _LITTLE_MOVED else "matters for the coefficients"
        yield Words(
            f"The choice {verdict}: the one that moves most between these distributions is that of {name}, by "
            f"{most:.2g} of its standard errors."
        )
    for name, reason in found.failures.items():
        yield Words(f"{name} could not be fitted: {reason}", "problem")


def _checks(fit: Diagnostics, options: Options) -> list[Part]:
    """Left out without simulations; what takes their place says so."""
    if options.n_sim == 0:
        return []
    return [Part("Quick checks", lambda: _checked(fit.check(options.seed, options.n_sim), options.n_sim))]


def _checked(found: Diagnosis, n_sim: int) -> Iterable[Block]:
    marks = {True: "fine", False: "look", None: "not checked"}
    rows = tuple(
        (each.name, marks[each.fine], each.words + (f" → {each.advice}" if each.advice else ""))
        for each in found.findings
    )
    yield Table("Quick checks", ("", "", "What was found"), rows, prose=True)
    if n_sim < _TELLING:
        yield Words(f"Tests are read at p = 0.01, which fewer than {_TELLING} simulations cannot reach.", "note")


def _residuals(fit: Diagnostics, options: Options) -> Iterable[Block]:
    if options.n_sim == 0:
        yield Words("Checks by simulation were left out (n_sim=0).")
        return
    found = fit.residual_envelope(min(options.n_sim, 99), seed=options.seed, n_jobs=options.n_jobs)
    yield Words(
        "Quantile residuals are standard normal if the model holds, but for what predicted intercepts take up; the "
        "shaded bands are where simulations from the fit put them."
    )
    yield Picture("Quantile residuals against the normal distribution", qq(found))
    yield Picture("Quantile residuals against the linear predictor, and their means in groups", residuals(found))
    if found.failures:
        yield Words("; ".join(f"{count} simulations failed: {reason}" for reason, count in found.failures), "note")


def _calibration(fit: Diagnostics, options: Options) -> Iterable[Block]:
    yield Picture("Observed against predicted, in groups of ascending predictions", calibration(fit))


def _influence(fit: ClusterInfluence, options: Options) -> Iterable[Block]:
    table, cluster = fit.influence().table(sort=True).head(_WORST), fit.data.cluster_name
    if "label" in table.columns:
        table = table.set_index("label")
    columns = {name: "Distance" for name in table.columns if name.startswith("cook")}
    name = "rows" if cluster is None else f"clusters of {cluster}"
    yield frame_table(f"The {name} that move the estimates most (Cook's distance; above 1 is a lot)", table, columns)


def _predictions(fit: Result, options: Options) -> list[Part]:
    return [Part(f"Predictions along {name}", partial(_prediction, fit, name, options)) for name in options.variables]


def _prediction(fit: Result, name: str, options: Options) -> Iterable[Block]:
    yield Picture(f"Predictions along {name}, with 95% intervals", predictions(fit, name, data=options.data))


def _integrals(fit: RandomEffectsResult, options: Options) -> Iterable[Block]:
    yield Words(str(fit.integration_check()))
    yield Picture("Error of the log-likelihood by the number of adaptive nodes, at the estimates", integration(fit))


def _sentence(text: str) -> str:
    return text.replace("\n", "; ").rstrip(".") + "."


def _no_residuals(fit: Result, options: Options) -> Iterable[Block]:
    yield Words(
        "A conditional model says nothing of the level of the responses, so that there are no residuals: only what "
        "single clusters do to the estimates can be looked at."
    )


def _residuals_elsewhere() -> Iterable[Block]:
    yield Words(
        "This page draws no residuals of such a fit: fit.residuals() has them, and fit.simulate() data to compare with."
    )


def _at_zero(fit: Result, options: Options) -> Iterable[Block]:
    yield Words("Predicted intercepts are all 0, as sigma is.")


SECTIONS: tuple[tuple[str, str, dict[str, Make]], ...] = (
    (
        "estimates",
        "Estimates",
        {
            "coefficients": _part("Coefficients", _coefficients),
            "terms": _part("Tests of terms", _terms),
            "average effects": _part("Average effects", _average_effects),
            "adjusted means": _part("Adjusted means", _adjusted_means),
        },
    ),
    (
        "clusters",
        "Differences between clusters",
        {
            "score test": _part("Test of no clustering", _score),
            "sigma": _part("sigma", _sigma),
            "random effects": _part("Random effects", _random_effects),
            "no clustering": _part("Test of no clustering", _clustering),
            "intercepts": _part("Cluster effects", _intercepts),
            "intercepts at zero": _part("Cluster effects", _at_zero),
            "hausman": _part("Random intercepts or within clusters", _hausman),
        },
    ),
    ("distribution", "Distribution of the random intercept", {"distributions": _distributions}),
    (
        "diagnostics",
        "Does the model fit?",
        {
            "checks": _checks,
            "residuals": _part("Residuals", _residuals),
            "calibration": _part("Calibration", _calibration),
            "no residuals": _part("Residuals", _no_residuals),
            "influence": _part("Influence", _influence),
        },
    ),
    ("predictions", "Predictions", {"predictions": _predictions}),
    ("integration", "Accuracy of the integrals", {"integrals": _part("Integration", _integrals)}),
)
"""Key and title of each section, and its parts as `Result._report_parts` names them, in the order of the page."""
_LOOKED_AT, _OF_RESIDUALS = "diagnostics", {"checks", "residuals", "no residuals"}
