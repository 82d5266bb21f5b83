"""What the study of misspecified intercepts says: the thesis's claims, tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.results.findings import (
    NOT_RUN,
    Claim,
    Estimate,
    Figure,
    Findings,
    Panel,
    Series,
    Table,
    verdict,
)
from clusterglm.study import smooth_findings
from clusterglm.study.distribution import ASSUMED, BETA, INTEGRATIONS
from clusterglm.study.estimates import errors, slope_ratio
from clusterglm.study.summary import accuracy, share
from clusterglm.study.tables import Grid, failures_table, label

if TYPE_CHECKING:
    import pandas as pd

AIC, CHI_SQUARE = "AIC", "chi-squared"
LOGISTIC_VARIANCE = np.pi**2 / 3.0
SELECTION, SLOPES, SPREAD = "thesis, section 4.2.3", "thesis, section 4.2.1", "thesis, section 4.2.2"


def findings(table: pd.DataFrame) -> Findings:
    """Everything, from the rows of one run or of several.

    Parameters
    ----------
    table : DataFrame
        Of the study's Parquet files, with a column `run` that tells them apart.
    """
    everything, methods = Grid(table, tuple(INTEGRATIONS)).at(covariates="two"), tuple(INTEGRATIONS)
    grid = Grid(table[table.truth.isin(ASSUMED)], methods)  # what the thesis speaks of
    with_slopes, without = grid.at(covariates="two"), grid.at(covariates="none")
    return Findings(
        "A random intercept whose distribution is not the one assumed",
        (
            "Model (7) of Holmberg's thesis, section 4 (paper II): logit p = 0.85 + x1 + x2 + sigma u, x1 zero or one, "
            "x2 standard normal; u Gaussian, logistic or Cauchy, and each model fitted to data of each. Criteria "
            "select among fits without covariates, as the thesis did; all have the same number of parameters, so that "
            "AIC selects the largest log-likelihood.",
            "Every fit is made with the thesis's integration, Laplace and 8 adaptive nodes on the scale of the "
            "density, and with accurate integration, log-likelihoods to within 0.001. Every value is given ± its Monte "
            "Carlo standard error; verdicts want two of them, and speak of the integration named.",
            "Added, after other literature: intercepts that are skewed (an exponential less its mean) or have two "
            "humps, and a fourth assumption, a smooth distribution (a penalised Gaussian mixture).",
        ),
        (
            *(_finds_cauchy(without, AIC, method) for method in INTEGRATIONS),
            *(_finds_cauchy(without, CHI_SQUARE, method) for method in INTEGRATIONS),
            _false_cauchy(without),
            _large_clusters(without),
            *(_cauchy_slopes(with_slopes, method) for method in INTEGRATIONS),
            _large_and_wide(with_slopes),
            _logistic_like_gaussian(with_slopes),
            _variances(with_slopes),
            _intercepts(with_slopes),
            *smooth_findings.claims(everything),
        ),
        (
            _selected(without),
            _slopes_figure(with_slopes),
            _bias_figure(with_slopes, "intercept", BETA[0], "Bias of the intercept"),
            _bias_figure(with_slopes, "slope2", BETA[2], "Bias of the slope of x2"),
            smooth_findings.figure(everything),
        ),
        (*_matrices(without), _accuracies(with_slopes), smooth_findings.table(everything), failures_table(table)),
    )


def picks(grid: Grid, criterion: str, method: str) -> pd.Series[Any]:
    """The distribution that a criterion selects, for each replicate; "none" where every fit failed."""
    column, sign = ("lr", 1.0) if criterion == AIC else ("chi_square", -1.0)
    rows = grid.of(method)
    wide = rows.pivot(index=["run", "cell", "replicate"], columns="assumed", values=column).reindex(
        columns=list(ASSUMED)
    )
    values = np.where(wide.isna(), -np.inf, sign * wide.to_numpy(dtype=np.float64))
    best = np.array(ASSUMED, dtype=object)[values.argmax(axis=1)]
    best[~np.isfinite(values).any(axis=1)] = "none"
    return wide.assign(best=best).best


def picked(grid: Grid, criterion: str, method: str, name: str) -> Estimate:
    """How often a criterion selects one distribution."""
    return share((picks(grid, criterion, method) == name).to_numpy(dtype=np.float64))


def _words(method: str) -> str:
    return "accurate integration" if method == "accurate" else method


def _finds_cauchy(without: Grid, criterion: str, method: str) -> Claim:
    thesis = {AIC: (1, "AIC finds Cauchy intercepts once in 1800"), CHI_SQUARE: (1444, "Chi-squared finds Cauchy "
              "intercepts 1444 times in 1800")}[criterion]  # fmt: skip
    text = f"{thesis[1]}; here by {_words(method)}"
    cauchy = without.at(truth="cauchy")
    if len(cauchy.table) == 0:
        return Claim(text, SELECTION, NOT_RUN, ("needs truth = cauchy and covariates = none",))
    chosen = picks(cauchy, criterion, method)
    found = share((chosen == "cauchy").to_numpy(dtype=np.float64))
    parts = ", ".join(
        f"{picked(at, criterion, method, 'cauchy').percent()} ({name})" for name, at in cauchy.cells("size")
    )
    scales = ", ".join(
        f"{picked(at, criterion, method, 'cauchy').percent()} ({name})" for name, at in cauchy.cells("sigma")
    )
    evidence = (
        f"{int((chosen == 'cauchy').sum())} of {len(chosen)}: {found.percent()}, thesis {100 * thesis[0] / 1800:.1f}%.",
        f"By size of clusters: {parts}.",
        f"By scale: {scales}.",
    )
    # the thesis's cells are not printed: an order of magnitude is what can be compared
    vote = -found.beyond(0.05) if criterion == AIC else found.beyond(0.5)
    rule = "below 5% supports, above contradicts" if criterion == AIC else "above one half supports, below contradicts"
    return Claim(text, SELECTION, verdict([vote]), (*evidence, f"Verdict: {rule}."), "selected")


def _false_cauchy(without: Grid) -> Claim:
    text = "Chi-squared takes logistic intercepts for Cauchy in 248 of 1800 (13.8%)"
    logistic = without.at(truth="logistic")
    if len(logistic.table) == 0:
        return Claim(text, SELECTION, NOT_RUN, ("needs truth = logistic and covariates = none",))
    shares = {method: picked(logistic, CHI_SQUARE, method, "cauchy") for method in INTEGRATIONS}
    evidence = tuple(f"{method}: {found.percent()}." for method, found in shares.items())
    near = [1 if abs(found.value - 248 / 1800) <= 0.05 + 2.0 * found.error else -1 for found in shares.values()]
    return Claim(text, SELECTION, verdict(near), (*evidence, "Verdict: within five percentage points."), "selected")


def _large_clusters(without: Grid) -> Claim:
    text = "Selection by AIC works well only with the largest clusters, of 100"
    if 100 not in without.levels("size"):
        return Claim(text, SELECTION, NOT_RUN, ("needs size = 100 and covariates = none",))
    evidence, works = [], {}
    for method in INTEGRATIONS:
        found = [(k, _right(without.at(size=k), AIC, method)) for k in without.levels("size")]
        works[method] = {k: right.beyond(0.6) > 0 for k, right in found}
        evidence.append(f"{method}: right in " + ", ".join(f"{right.percent()} (size {k})" for k, right in found) + ".")
    evidence.append("Verdict: right in more than 60%, over all truths and scales, at size 100 and at no other.")
    only = [1 if w[100] and not any(right for k, right in w.items() if k < 100) else -1 for w in works.values()]
    return Claim(text, SELECTION, verdict(only), tuple(evidence), "selected")


def _right(grid: Grid, criterion: str, method: str) -> Estimate:
    """Share of replicates in which the true distribution is selected."""
    hits = [picks(at, criterion, method) == truth for truth in grid.levels("truth") for at in (grid.at(truth=truth),)]
    return share(np.concatenate([np.asarray(hit, dtype=np.float64) for hit in hits]))


def _cauchy_slopes(grid: Grid, method: str) -> Claim:
    text = f"The Cauchy model gives worse slopes than the Gaussian even on Cauchy data; here by {_words(method)}"
    cauchy = grid.at(truth="cauchy")
    if len(cauchy.table) == 0:
        return Claim(text, SLOPES, NOT_RUN, ("needs truth = cauchy and covariates = two",))
    evidence, votes = [], []
    for name, at in cauchy.cells("size", "sigma"):
        ratio = slope_ratio(at, method, "cauchy", "gaussian")
        votes.append(ratio.beyond(1.0))
        evidence.append(f"{name}: {ratio}")
    worse, better = sum(v > 0 for v in votes), sum(v < 0 for v in votes)
    whole = slope_ratio(cauchy, method, "cauchy", "gaussian")
    summary = (
        f"RMSE of the slopes, Cauchy over Gaussian model: worse in {worse} of {len(votes)} cells, better in "
        f"{better}, no difference beyond two standard errors in the others. Verdict: worse in most cells supports; in "
        "more cells than better, in part."
    )
    most = [1] if worse > len(votes) / 2 else [1, -1] if worse > better else [-1] if better > worse else [0]
    return Claim(
        text, SLOPES, verdict(most), (f"Over all cells {whole}.", "; ".join(evidence) + ".", summary), "slopes"
    )


def _large_and_wide(grid: Grid) -> Claim:
    text = "The Cauchy model gives the better slopes on Cauchy data where clusters and the scale are large"
    cauchy = grid.at(truth="cauchy")
    if len(cauchy.table) == 0:
        return Claim(text, SLOPES, NOT_RUN, ("needs truth = cauchy and covariates = two",))
    at = cauchy.at(size=max(cauchy.levels("size")), sigma=max(cauchy.levels("sigma")))
    name = f"{label('size', max(cauchy.levels('size')))}, {label('sigma', max(cauchy.levels('sigma')))}"
    found = {method: slope_ratio(at, method, "cauchy", "gaussian") for method in INTEGRATIONS}
    evidence = tuple(f"{name}, {method}: RMSE over that of the Gaussian model {r}." for method, r in found.items())
    return Claim(text, SLOPES, verdict([-ratio.beyond(1.0) for ratio in found.values()]), evidence, "slopes")


def _logistic_like_gaussian(grid: Grid) -> Claim:
    text = "On logistic data the logistic model gains truly little over the Gaussian for the slopes"
    logistic = grid.at(truth="logistic")
    if len(logistic.table) == 0:
        return Claim(text, SLOPES, NOT_RUN, ("needs truth = logistic and covariates = two",))
    found = {method: slope_ratio(logistic, method, "logistic", "gaussian") for method in INTEGRATIONS}
    evidence = tuple(f"{method}: RMSE over that of the Gaussian model {ratio}." for method, ratio in found.items())
    small = [1 if abs(ratio.value - 1.0) <= 0.03 + 2.0 * ratio.error else -1 for ratio in found.values()]
    return Claim(text, SLOPES, verdict(small), (*evidence, "Verdict: within 3%."), "slopes")


def _variances(grid: Grid) -> Claim:
    text = "The logistic model overestimates the variance of Gaussian data, the Gaussian one does the reverse"
    evidence, votes = [], []
    for method in INTEGRATIONS:
        for truth, assumed, sign in (("gaussian", "logistic", 1), ("logistic", "gaussian", -1)):
            ratios = []
            for _, at in grid.at(truth=truth).cells("size", "sigma"):
                sigma = float(at.table.sigma.iloc[0])
                unit = {"gaussian": 1.0, "logistic": LOGISTIC_VARIANCE}
                rows = at.of(method)
                estimate = unit[assumed] * rows[rows.assumed == assumed].sigma_hat ** 2
                ratios.append((estimate / (unit[truth] * sigma**2)).to_numpy(dtype=np.float64))
            if not ratios:
                continue
            found = accuracy(np.concatenate(ratios), 1.0).bias
            votes.append(sign * found.beyond(0.0))
            evidence.append(f"{method}, truth {truth}, assumed {assumed}: relative bias of the variance {found}.")
    if not votes:
        return Claim(text, SPREAD, NOT_RUN, ("needs gaussian and logistic truth",))
    return Claim(text, SPREAD, verdict(votes), tuple(evidence), "accuracies")


def _intercepts(grid: Grid) -> Claim:
    text = "The wrong distribution biases the intercept"
    evidence, votes = [], []
    for truth in grid.levels("truth"):
        for assumed in ASSUMED:
            at = grid.at(truth=truth)
            found = accuracy(errors(at, "accurate", assumed, "intercept", BETA[0]), 0.0).bias
            evidence.append(f"truth {truth}, assumed {assumed}: {found}")
            if assumed != truth:
                votes.append(Estimate(abs(found.value), found.error).beyond(0.05 * BETA[0]))
    end = "Accurate integration, over all sizes and scales. Verdict: more than 5% of the intercept in every wrong pair."
    return Claim(text, "thesis, section 4.2.4", verdict(votes), ("; ".join(evidence) + ".", end), "intercept")


def _selected(without: Grid) -> Figure:
    drawn = []
    sizes = without.levels("size")
    for criterion in (AIC, CHI_SQUARE):
        for truth in without.levels("truth"):
            lines = []
            for method in INTEGRATIONS:
                found = [picked(without.at(truth=truth, size=k), criterion, method, truth) for k in sizes]
                lines.append(Series(method, tuple(f.value for f in found), tuple(f.error for f in found)))
            drawn.append(Panel(f"{criterion}, truth {truth}", tuple(map(str, sizes)), tuple(lines)))
    return Figure(
        "selected", "How often the true distribution is selected", "Over all scales; one third would be chance.",
        "cluster size", "selected", tuple(drawn), len(without.levels("truth")), 1.0 / 3.0, percent=True,
    )  # fmt: skip


def _slopes_figure(grid: Grid) -> Figure:
    drawn = []
    sizes = grid.levels("size")
    for truth in grid.levels("truth"):
        for sigma in grid.levels("sigma"):
            at = grid.at(truth=truth, sigma=sigma)
            lines = []
            for method in INTEGRATIONS:
                found = [slope_ratio(at.at(size=k), method, "cauchy", "gaussian") for k in sizes]
                values, bars = tuple(f.value for f in found), tuple(f.error for f in found)
                lines.append(Series(f"Cauchy, {method}", values, bars))
            found = [slope_ratio(at.at(size=k), "accurate", "logistic", "gaussian") for k in sizes]
            lines.append(Series("logistic, accurate", tuple(f.value for f in found), tuple(f.error for f in found)))
            drawn.append(Panel(f"truth {truth}, sigma = {sigma:g}", tuple(map(str, sizes)), tuple(lines)))
    return Figure(
        "slopes", "RMSE of the slopes, over that of the Gaussian model",
        "Both slopes together, on the same data; above 1 the model named is worse than the Gaussian.", "cluster size",
        "ratio of RMSE", tuple(drawn), len(grid.levels("sigma")), 1.0,
    )  # fmt: skip


def _bias_figure(grid: Grid, column: str, target: float, title: str) -> Figure:
    drawn = []
    sizes = grid.levels("size")
    for truth in grid.levels("truth"):
        for sigma in grid.levels("sigma"):
            at = grid.at(truth=truth, sigma=sigma)
            lines = []
            for method in ("8 nodes, density scale", "accurate"):
                for assumed in ASSUMED:
                    found = [accuracy(errors(at.at(size=k), method, assumed, column, target), 0.0).bias for k in sizes]
                    values, bars = tuple(f.value for f in found), tuple(f.error for f in found)
                    lines.append(Series(f"{assumed}, {method}", values, bars))
            drawn.append(Panel(f"truth {truth}, sigma = {sigma:g}", tuple(map(str, sizes)), tuple(lines)))
    return Figure(
        column, title, "By assumed distribution and integration.", "cluster size", "bias", tuple(drawn),
        len(grid.levels("sigma")), 0.0,
    )  # fmt: skip


def _matrices(without: Grid) -> tuple[Table, ...]:
    tables = []
    for criterion in (AIC, CHI_SQUARE):
        rows, shades = [], []
        for method in INTEGRATIONS:
            for truth in without.levels("truth"):
                chosen = picks(without.at(truth=truth), criterion, method)
                found = [share((chosen == name).to_numpy(dtype=np.float64)) for name in (*ASSUMED, "none")]
                rows.append((method, truth, str(len(chosen)), *(each.percent() for each in found)))
                shades.append((np.nan, np.nan, np.nan, *(each.value for each in found)))
        caption = "Over all sizes and scales, without covariates; a fit that failed cannot be selected."
        columns = ("integration", "truth", "n", *ASSUMED, "none")
        name, title = f"matrix-{criterion}", f"Selected by {criterion}"
        tables.append(Table(name, title, caption, columns, tuple(rows), tuple(shades)))
    return tuple(tables)


def _accuracies(grid: Grid) -> Table:
    rows = []
    for name, at in grid.cells("truth", "size", "sigma"):
        sigma = float(at.table.sigma.iloc[0])
        for method in INTEGRATIONS:
            for assumed in ASSUMED:
                cells = []
                for column, target in zip(("intercept", "slope1", "slope2"), BETA, strict=True):
                    found = accuracy(errors(at, method, assumed, column, target), 0.0)
                    cells += [str(found.bias), str(found.rmse)]
                truth = str(at.table.truth.iloc[0])
                scale = accuracy(errors(at, method, assumed, "sigma_hat", sigma), 0.0)
                cells += [str(scale.bias), str(scale.rmse)] if assumed == truth else ["–", "–"]
                rows.append((name, method, assumed, str(found.n), *cells))
    measures = (f"{what} of {c}" for c in ("intercept", "x1", "x2", "sigma") for what in ("bias", "RMSE"))
    columns = ("cell", "integration", "assumed", "n", *measures)
    caption = (
        "Sigma is compared where the assumed distribution is the true one: scales of different ones are different."
    )
    return Table("accuracies", "Bias and RMSE", caption, columns, tuple(rows), folded=True)
