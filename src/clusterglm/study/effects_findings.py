"""What the study of fixed and random effects says: the thesis's claims, tables and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clusterglm.results.findings import (
    NOT_RUN,
    Claim,
    Estimate,
    Figure,
    Findings,
    Table,
    verdict,
)
from clusterglm.study.summary import accuracy, mean, ratio_of_rmse, share
from clusterglm.study.tables import Grid, failures_table, label, panels

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05
_OFF = 0.025  # by which a coverage may be off and is still called right
THESIS, PAPER = "thesis, section 3.3", "Broström and Holmberg, abstract"
LIN = "Breslow and Lin, Biometrika 82, 1995"
DRAPER = "after Browne and Draper, Bayesian Analysis 1, 2006"
ESTIMATORS = (
    "pooled",
    "fixed",
    "fixed, corrected",
    "conditional",
    "mixed, Laplace",
    "mixed, 8 nodes",
    "mixed, automatic",
    "mixed, PQL",
    "mixed, PQL-ML",
    "mixed, posterior mean",
)
MIXED = ESTIMATORS[4:]
INTEGRATED, QUASI, SAMPLED = MIXED[:3], MIXED[3:5], MIXED[5]  # of which the first have a test
SIMULATED = ("bootstrap, log-likelihood", "bootstrap, likelihood ratio", "permutation, likelihood ratio")
WALD = "mixed, 8 nodes, Wald"
TESTS = (*SIMULATED, *INTEGRATED, WALD, "score test")


def findings(table: pd.DataFrame) -> Findings:
    """Everything, from the rows of one run or of several.

    Parameters
    ----------
    table : DataFrame
        Of the study's Parquet files, with a column `run` that tells them apart.
    """
    tests = Grid(_with_wald(table), TESTS)
    grid = Grid(table, ESTIMATORS)
    return Findings(
        "Clusters as fixed effects or as random effects",
        (
            "Binary responses, logit p = beta0 + beta1 x + sigma u with u and x standard normal, clusters of equal "
            "size; this is the study of section 3 of Holmberg's thesis (paper I), with methods it does not have: "
            "conditional likelihood, fixed effects corrected for bias, automatic nodes, penalised quasi-likelihood, "
            "means of the posterior under default priors, permutation and score tests.",
            "Tests reject at 5%. The likelihood-ratio test of mixed models halves the p-value of chi-squared on one "
            "degree of freedom, as sigma = 0 lies on the boundary; the Wald test compares sigma over its standard "
            "error with 1.645. Every value is given ± its Monte Carlo standard error; verdicts want two of them.",
        ),
        (
            _bootstrap_size(tests),
            _mixed_size(tests),
            _power(tests),
            _stable(grid, "fixed"),
            _stable(grid, "mixed, Laplace"),
            _severe_bias(grid),
            _no_mixing(grid),
            _laplace(grid),
            _quasi(grid),
            _calibrated(grid),
        ),
        (
            _rejections(tests, "size", 0.0),
            _rejections(tests, "power", None),
            _bias_of_slope(grid),
            _rmse_of_slope(grid),
            _bias_of_sigma(grid),
        ),
        (_slopes(grid), _sigmas(grid), _tests(tests), failures_table(table)),
    )


def _with_wald(table: pd.DataFrame) -> pd.DataFrame:
    """The Wald test of sigma as a method of its own."""
    import pandas as pd
    from scipy.special import ndtr

    rows = table[(table.method == "mixed, 8 nodes") & table.failure.isna()]
    ratio = rows.sigma_hat / rows.sigma_hat_se
    wald = rows.assign(method=WALD, pvalue=np.where(ratio.isna(), 1.0, ndtr(-ratio)))
    return pd.concat([table, wald], ignore_index=True)


def rejects(rows: pd.DataFrame) -> Estimate:
    """Share of p-values up to 5%; failures are left out."""
    p = rows.pvalue.to_numpy(dtype=np.float64)
    # p-values by simulation are multiples of 1 / (n_boot + 1), rounded to single precision
    return share(np.where(np.isnan(p), np.nan, p <= LEVEL + 1e-6))


def _bootstrap_size(tests: Grid) -> Claim:
    text = "The bootstrap test is conservative: its size is 3.2 to 3.6% at a nominal 5%"
    null = tests.at(sigma=0.0).of("bootstrap, log-likelihood")
    if null.empty:
        return Claim(text, THESIS, NOT_RUN, ("needs n_boot > 0 and sigma = 0",))
    evidence = []
    for method in SIMULATED:
        rows = tests.at(sigma=0.0).of(method)
        by_size = ", ".join(f"{rejects(part).percent()} (size {size})" for size, part in rows.groupby("size"))
        evidence.append(f"{method}: {rejects(rows).percent()} over all; {by_size}.")
    whole = rejects(null)
    sizes = [rejects(part) for _, part in null.groupby("size")]
    near = all(each.beyond(0.032) >= 0 and each.beyond(0.036) <= 0 for each in sizes)
    below = -whole.beyond(LEVEL)
    votes = [below, 1 if near else -1] if below != 0 else [0]
    evidence.append(
        "The first is glmmboot's statistic, the log-likelihood of the fixed-effects fit alone; likelihood ratios use "
        "the same replicates better."
    )
    evidence.append("Verdict: whether it is below 5%, and at every size within two standard errors of 3.2 to 3.6%.")
    return Claim(text, THESIS, verdict(votes), tuple(evidence), "size")


def _mixed_size(tests: Grid) -> Claim:
    text = "The test by the mixed model rejects too often when clusters have five or ten observations"
    null = tests.at(sigma=0.0)
    evidence, votes = [], []
    for method in (*INTEGRATED, WALD):
        parts = [(size, rejects(null.at(size=size).of(method))) for size in null.levels("size")]
        evidence.append(f"{method}: " + ", ".join(f"{p.percent()} (size {size})" for size, p in parts) + ".")
        if method != WALD:
            votes += [p.beyond(LEVEL) for size, p in parts if size >= 5 and np.isfinite(p.value)]
    if not votes:
        return Claim(text, THESIS, NOT_RUN, ("needs sigma = 0 and sizes of 5 or more",))
    evidence.append(
        "The verdict is on the likelihood-ratio tests, with the p-value that belongs to the boundary. The Wald test, "
        "which judges sigma by its standard error, is there to show what may have been meant."
    )
    return Claim(text, THESIS, verdict(votes), tuple(evidence), "size")


def _power(tests: Grid) -> Claim:
    text = "With clusters of two the fixed-effects test has the higher power"
    pairs = tests.at(size=2)
    evidence, votes = [], []
    for sigma in [s for s in pairs.levels("sigma") if s > 0.0]:
        at = pairs.at(sigma=sigma)
        for method in SIMULATED:
            wide = at.wide("pvalue", (method, "mixed, 8 nodes"))
            if len(wide) == 0:
                continue
            a, b = (np.asarray(wide[m] <= LEVEL + 1e-6, dtype=np.float64) for m in (method, "mixed, 8 nodes"))
            gain = mean(a - b)
            votes.append(gain.beyond(0.0))
            evidence.append(
                f"sigma = {sigma:g}: {method} rejects {share(a).percent()}, mixed by 8 nodes {share(b).percent()}; "
                f"difference on the same data {gain.percent()}."
            )
    if not votes:
        return Claim(text, THESIS, NOT_RUN, ("needs n_boot > 0, sigma > 0 and size = 2",))
    return Claim(text, THESIS, verdict(votes), tuple(evidence), "power")


def _stable(grid: Grid, method: str) -> Claim:
    erratic = "fixed effects" if method == "fixed" else "the mixed model by Laplace"
    text = f"8 nodes give the most stable slopes; those of {erratic} are somewhat erratic"
    evidence, votes = [], []
    for name, at in grid.cells("size", "sigma"):
        a, b = (at.of(m) for m in (method, "mixed, 8 nodes"))
        one, other = (accuracy(rows.slope, rows.beta1.mean()) for rows in (a, b))
        wide = at.wide("slope", (method, "mixed, 8 nodes"))
        centred = wide - wide.mean()
        ratio = ratio_of_rmse(centred[method], centred["mixed, 8 nodes"])
        votes.append(ratio.beyond(1.05))
        evidence.append(f"{name}: sd {one.sd}, with 8 nodes {other.sd}; ratio {ratio}.")
    evidence.append(
        "Verdict: whether the standard deviation is more than 5% larger in every cell, in some, or in none."
    )
    return Claim(text, THESIS, verdict(votes), tuple(evidence), "slopes")


def _severe_bias(grid: Grid) -> Claim:
    text = "Fixed effects have severe bias when sigma > 0 and clusters are many"
    most = max(grid.levels("clusters"))
    evidence, votes = [], []
    for name, at in grid.at(clusters=most).cells("size", "sigma"):
        rows = at.of("fixed")
        truth = float(rows.beta1.mean())
        bias = accuracy(rows.slope, truth).bias
        others = ", ".join(
            f"{m} {accuracy(at.of(m).slope, truth).bias}" for m in ("fixed, corrected", "conditional", "mixed, 8 nodes")
        )
        evidence.append(f"{most} clusters, {name}: bias of fixed effects {bias}; {others}.")
        if at.levels("sigma")[0] > 0.0:
            votes.append(bias.beyond(0.05 * truth))
    evidence.append(
        "The bias comes from an intercept for every few rows, not from sigma: it is there with sigma = 0 too, and few "
        "clusters do not make it smaller. Verdict: more than 5% of the slope wherever sigma > 0."
    )
    return Claim(text, PAPER, verdict(votes), tuple(evidence), "bias")


def _no_mixing(grid: Grid) -> Claim:
    text = "Without mixing, fixed effects have a much smaller standard error than the mixed model"
    null = grid.at(sigma=0.0)
    evidence, votes = [], []
    for name, at in null.cells("size"):
        wide = at.wide("slope", ("fixed", "mixed, 8 nodes"))
        centred = wide - wide.mean()
        ratio = ratio_of_rmse(centred["fixed"], centred["mixed, 8 nodes"])
        reported = [mean(at.of(m).slope_se) for m in ("fixed", "mixed, 8 nodes")]
        votes.append(-ratio.beyond(1.0))
        evidence.append(
            f"{name}: standard deviation over that of the mixed model {ratio}; mean reported standard error "
            f"{reported[0]} against {reported[1]}."
        )
    if not votes:
        return Claim(text, THESIS, NOT_RUN, ("needs sigma = 0",))
    return Claim(text, THESIS, verdict(votes), tuple(evidence), "slopes")


def _laplace(grid: Grid) -> Claim:
    text = "Laplace works fairly well when clusters are not too small"
    evidence, votes = [], []
    for name, at in grid.at(sigma=max(grid.levels("sigma"))).cells("size"):
        truth, sigma = float(at.table.beta1.mean()), float(at.table.sigma.mean())
        one, exact = (at.of(m) for m in ("mixed, Laplace", "mixed, automatic"))
        bias, reference = (accuracy(rows.sigma_hat, sigma).bias for rows in (one, exact))
        slope = accuracy(one.slope, truth).bias
        evidence.append(f"{name}: bias of sigma {bias} (automatic nodes {reference}), of the slope {slope}.")
        wide = at.wide("sigma_hat", ("mixed, Laplace", "mixed, automatic"))
        lost = mean(wide["mixed, Laplace"] - wide["mixed, automatic"])
        if at.levels("size")[0] > 2:
            votes.append(-Estimate(abs(lost.value), lost.error).beyond(0.05 * sigma))
    evidence.append("Verdict: whether Laplace moves the mean estimate of sigma by less than 5% at sizes above 2.")
    return Claim(text, PAPER, verdict(votes), tuple(evidence), "sigma")


def _quasi(grid: Grid) -> Claim:
    text = "Penalised quasi-likelihood puts sigma too low, the more the smaller the clusters, and the slope with it"
    evidence, votes = [], []
    for name, at in grid.at(sigma=max(grid.levels("sigma"))).cells("size"):
        truth, sigma = float(at.table.beta1.mean()), float(at.table.sigma.mean())
        for method in QUASI:
            part = at.of(method)
            if part.slope.notna().any():
                found, slope = accuracy(part.sigma_hat, sigma).bias, accuracy(part.slope, truth).bias
                evidence.append(f"{name}, {method}: bias of sigma {found}, of the slope {slope}.")
        wide = at.wide("sigma_hat", (QUASI[0], "mixed, automatic"))
        if len(wide) > 1:
            votes.append(-mean(wide[QUASI[0]] - wide["mixed, automatic"]).beyond(0.0))
    if not votes:
        return Claim(text, LIN, NOT_RUN, ("needs a run with penalised quasi-likelihood",))
    evidence.append("Verdict: whether sigma by PQL is below that of the maximum of the likelihood, in the same data.")
    return Claim(text, LIN, verdict(votes), tuple(evidence), "sigma")


def covers(rows: pd.DataFrame) -> Estimate:
    """Share of 95% intervals of the slope, estimate and standard error, that contain the truth."""
    inside = np.abs(rows.slope - rows.beta1) <= 1.959964 * rows.slope_se
    return share(np.where(rows.slope.isna(), np.nan, inside))


def _calibrated(grid: Grid) -> Claim:
    text = "Bayesian intervals under vague priors cover as they should where those of quasi-likelihood do not"
    evidence, votes = [], []
    for name, at in grid.at(sigma=max(grid.levels("sigma"))).cells("clusters", "size"):
        if not at.of(SAMPLED).slope.notna().any():
            continue
        found = {method: covers(at.of(method)) for method in (SAMPLED, "mixed, automatic", *QUASI)}
        evidence.append(f"{name}: " + ", ".join(f"{method} {each.percent()}" for method, each in found.items()) + ".")
        near = abs(found[SAMPLED].value - 0.95) <= _OFF + 2.0 * found[SAMPLED].error
        votes.append(1 if near and found[QUASI[0]].beyond(0.95 - _OFF) < 0 else -1 if not near else 0)
    if not votes:
        return Claim(text, DRAPER, NOT_RUN, ("needs draws > 0",))
    evidence.append(
        "Of the slope, mean or estimate ± 1.96 standard deviations or errors, at the largest sigma. Verdict: those of "
        f"the posterior within {_OFF:.1%} of 95%, those of PQL below that, in every cell."
    )
    return Claim(text, DRAPER, verdict(votes), tuple(evidence), "slopes")


def _rejections(tests: Grid, name: str, sigma: float | None) -> Figure:
    found = tests.at(sigma=sigma) if sigma is not None else tests
    if sigma is not None:
        grids = [(label("clusters", m), found.at(clusters=m)) for m in found.levels("clusters")]
        drawn = panels(grids, "size", TESTS, rejects)
        return Figure(
            name, "Size of the tests of no clustering",
            "Share of data sets without clustering (sigma = 0) in which a test rejects at 5%.",
            "cluster size", "rejected", drawn, 2, LEVEL, percent=True,
        )  # fmt: skip
    grids = [
        (f"{label('clusters', m)}, {label('size', k)}", found.at(clusters=m, size=k))
        for m in found.levels("clusters")
        for k in found.levels("size")
    ]
    return Figure(
        name, "Power of the tests of no clustering",
        "Share of data sets in which a test rejects at 5%, by sigma (0: its size).", "sigma", "rejected",
        panels(grids, "sigma", TESTS, rejects), len(found.levels("size")), LEVEL, percent=True,
    )  # fmt: skip


def _by_clusters_and_sigma(grid: Grid) -> list[tuple[str, Grid]]:
    return [
        (f"{label('clusters', m)}, {label('sigma', s)}", grid.at(clusters=m, sigma=s))
        for m in grid.levels("clusters")
        for s in grid.levels("sigma")
    ]


def _bias_of_slope(grid: Grid) -> Figure:
    drawn = panels(
        _by_clusters_and_sigma(grid), "size", ESTIMATORS, lambda rows: accuracy(rows.slope, rows.beta1.mean()).bias
    )
    return Figure(
        "bias", "Bias of the slope", "Mean estimate less the truth.", "cluster size", "bias", drawn,
        len(grid.levels("sigma")), 0.0,
    )  # fmt: skip


def _rmse_of_slope(grid: Grid) -> Figure:
    drawn = panels(
        _by_clusters_and_sigma(grid), "size", ESTIMATORS, lambda rows: accuracy(rows.slope, rows.beta1.mean()).rmse
    )
    return Figure(
        "rmse", "Root mean square error of the slope", "Bias and spread together.", "cluster size", "RMSE", drawn,
        len(grid.levels("sigma")),
    )  # fmt: skip


def _bias_of_sigma(grid: Grid) -> Figure:
    drawn = panels(
        _by_clusters_and_sigma(grid), "size", MIXED, lambda rows: accuracy(rows.sigma_hat, rows.sigma.mean()).bias
    )
    return Figure(
        "sigma", "Bias of sigma", "Mean estimate less the truth, estimates of 0 included.", "cluster size", "bias",
        drawn, len(grid.levels("sigma")), 0.0,
    )  # fmt: skip


def _slopes(grid: Grid) -> Table:
    rows = []
    for name, at in grid.cells("clusters", "size", "sigma"):
        for method in grid.methods:
            part = at.of(method)
            if part.slope.notna().sum() == 0:
                continue
            truth = float(part.beta1.mean())
            found = accuracy(part.slope, truth)
            covered = covers(part)
            spread, error = str(found.sd), str(mean(part.slope_se))
            rows.append(
                (name, method, str(found.n), str(found.bias), spread, error, str(found.rmse), covered.percent())
            )
    columns = (
        "cell",
        "method",
        "n",
        "bias",
        "standard deviation",
        "mean standard error",
        "RMSE",
        "95% interval covers",
    )
    return Table("slopes", "The slope", "n: replicates with an estimate.", columns, tuple(rows), folded=True)


def _sigmas(grid: Grid) -> Table:
    rows = []
    for name, at in grid.cells("clusters", "size", "sigma"):
        for method in MIXED:
            part = at.of(method)
            if len(part) == 0:
                continue
            found = accuracy(part.sigma_hat, float(part.sigma.mean()))
            zero = share(np.where(part.sigma_hat.isna(), np.nan, part.sigma_hat == 0.0))
            rows.append((name, method, str(found.n), str(found.bias), str(found.sd), str(found.rmse), zero.percent()))
    columns = ("cell", "method", "n", "bias", "standard deviation", "RMSE", "estimate is 0")
    return Table("sigmas", "Sigma", "", columns, tuple(rows), folded=True)


def _tests(tests: Grid) -> Table:
    rows = []
    for name, at in tests.cells("clusters", "size", "sigma"):
        for method in tests.methods:
            part = at.of(method)
            if part.pvalue.notna().sum() > 0:
                rows.append((name, method, str(int(part.pvalue.notna().sum())), rejects(part).percent()))
    return Table(
        "tests", "Tests of no clustering", "Share of p-values up to 5%.", ("cell", "test", "n", "rejected"),
        tuple(rows), folded=True,
    )  # fmt: skip
