"""Grouped rows, cbind(s, f), are rows of trials: every public member beside that of a fit to the trials themselves.

Equal, or by the relation that stands here where the two rightly differ: numbers of rows, the binomial coefficients in
the likelihood, what belongs to single rows. What is simulated draws other numbers, from the same distribution.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, gammaln, ndtri, xlogy
from scipy.stats import binom

import clusterglm as cg

sys.path.insert(0, str(Path(__file__).parent))
from members import FEW, TIGHT, VERBS, Called, called, differences, members

MANY = 80  # replicates whose means are compared
FAR = 5.0  # Monte Carlo standard errors


@dataclass(frozen=True)
class Pair:
    """A fit to grouped rows with s successes in n trials, and one to the trials."""

    grouped: Any
    trials: Any
    table: pd.DataFrame
    origin: np.ndarray
    """Grouped row of each trial."""

    @property
    def n(self) -> np.ndarray:
        return self.table.n.to_numpy(float)

    @property
    def s(self) -> np.ndarray:
        return self.table.s.to_numpy(float)

    @property
    def choose(self) -> float:
        """Log of the number of orders in which the successes of each row may come."""
        return float(np.sum(gammaln(self.n + 1) - gammaln(self.s + 1) - gammaln(self.n - self.s + 1)))

    @property
    def within_rows(self) -> float:
        """Log-likelihood of the trials where each grouped row has a probability of its own."""
        return float(np.sum(xlogy(self.s, self.s / self.n) + xlogy(self.n - self.s, 1.0 - self.s / self.n)))

    def summed(self, values: Any) -> np.ndarray:
        """Over the trials of each grouped row."""
        return np.bincount(self.origin, np.asarray(values, dtype=float))


Relation = Callable[[Called, Called, Pair], list[str]]


def same(*skip: str, tolerance: float = 1e-10) -> Relation:
    return lambda one, other, _: differences(one.value, other.value, skip, tolerance)


def shifted(by: Callable[[Pair], float]) -> Relation:
    """The number of the trials, and so much more."""
    return lambda one, other, pair: differences(one.value, other.value + by(pair), tolerance=1e-9)


def rows_more(pair: Pair) -> float:
    return float(len(pair.table) - len(pair.origin))


def bic_more(pair: Pair) -> float:
    k = pair.grouped.n_parameters
    return k * float(np.log(len(pair.table) / len(pair.origin))) - 2.0 * pair.choose


def deviance_more(pair: Pair) -> float:
    """Trials are fitted perfectly by a saturated model, rows as well as their shares allow."""
    return -2.0 * pair.choose if pair.grouped.kind == "conditional" else 2.0 * pair.within_rows


def repeated(one: Called, other: Called, pair: Pair) -> list[str]:
    """A prediction is that of each trial."""
    if isinstance(one.value, cg.errors.ClusterGLMError):
        return differences(one.value, other.value)
    return differences(one.value.iloc[pair.origin], other.value)


def augment(one: Called, other: Called, pair: Pair) -> list[str]:
    """Observed shares and their residuals are means over trials; the rest is that of each trial."""
    found = []
    for column in one.value.columns:
        mine, theirs = one.value[column], other.value[column]
        if column in ("observed", "residual"):
            found += differences(mine.to_numpy(), pair.summed(theirs) / pair.n)
        elif column == ".weights":
            found += differences(mine.to_numpy(), np.ones(len(pair.table)))
        elif column != ".resid":  # see residuals
            found += differences(mine.iloc[pair.origin].to_numpy(), theirs.to_numpy())
    return found


def residuals(one: Called, other: Called, pair: Pair) -> list[str]:
    """Residuals by hand, from means and intercepts that are those of the trials."""
    if isinstance(one.value, cg.errors.ClusterGLMError):
        return differences(one.value, other.value)
    fit, n, s, kind = pair.grouped, pair.n, pair.s, one.arguments["kind"]
    z = one.value.to_numpy()
    marginal = one.arguments.get("intercepts") == "marginal"
    if kind == "response":
        return differences(z, pair.summed(other.value) / n)
    if kind == "pearson" and not marginal:
        return differences(z, pair.summed(other.value) / np.sqrt(n))
    eta = fit.predict(kind=0.0, scale="link").to_numpy() if marginal or kind == "simulated" else conditional_link(fit)
    if kind == "pearson":
        p, weight = on_grid(eta, fit.sigma)
        mean, square = p @ weight, p**2 @ weight
        variance = square - mean**2 + (mean - square) / n
        return differences(z, (s / n - mean) / np.sqrt(variance), tolerance=1e-8)
    if kind == "deviance":
        mu = expit(eta)
        lack = xlogy(s, s / n) + xlogy(n - s, 1 - s / n) - s * np.log(mu) - (n - s) * np.log1p(-mu)
        return differences(z, np.copysign(np.sqrt(2.0 * lack), s / n - mu), tolerance=1e-8)
    if kind == "simulated":
        return [] if "intercepts" in one.arguments else ranks(z, pair)
    p, weight = on_grid(eta, fit.sigma) if marginal else (expit(eta)[:, None], np.ones(1))
    low, high = (ndtri(binom.cdf(count[:, None], n[:, None], p) @ weight) for count in (s - 1, s))
    inside = (z >= low - 1e-7) & (z <= high + 1e-7)
    return [] if inside.all() else [f"{kind} residuals outside their steps"]


def conditional_link(fit: Any) -> np.ndarray:
    if fit.kind == "pooled":
        return fit.predict(scale="link").to_numpy()
    return fit.predict(kind="conditional", scale="link").to_numpy()


def on_grid(eta: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities at many Gaussian intercepts, and their weights."""
    z = np.linspace(-9.0, 9.0, 2001)
    weight = np.exp(-0.5 * z**2)
    return expit(eta[:, None] + sigma * z), weight / weight.sum()


def ranks(z: np.ndarray, pair: Pair) -> list[str]:
    """Among simulations that `simulate` draws from the same seed."""
    drawn = pair.grouped.simulate(FEW["n_sim"], seed=FEW["seed"]).to_numpy()
    less, upto = ((relation(drawn, pair.s[:, None])).sum(axis=1) for relation in (np.less, np.less_equal))
    low, high = less / (FEW["n_sim"] + 1), (upto + 1) / (FEW["n_sim"] + 1)
    return [] if ((z >= low) & (z <= high)).all() else ["ranks"]


def simulated(one: Called, other: Called, pair: Pair) -> list[str]:
    """Means of each row's successes, over many draws."""
    mine = pair.grouped.simulate(400, seed=2).to_numpy()
    theirs = np.stack([pair.summed(column) for column in pair.trials.simulate(400, seed=3).to_numpy().T], axis=1)
    return in_distribution(mine.T, theirs.T)


def in_distribution(mine: np.ndarray, theirs: np.ndarray) -> list[str]:
    """Means within Monte Carlo error, column by column."""
    error = np.sqrt(mine.var(axis=0) / len(mine) + theirs.var(axis=0) / len(theirs))
    gap = np.abs(mine.mean(axis=0) - theirs.mean(axis=0))
    return [] if (gap <= FAR * error + 1e-12).all() else [f"{gap / error} Monte Carlo standard errors"]


def bootstrap(one: Called, other: Called, pair: Pair) -> list[str]:
    if one.arguments:  # whole clusters are drawn
        return differences(one.value, other.value, tolerance=1e-6)
    mine, theirs = (fit.bootstrap(MANY, seed=seed) for fit, seed in ((pair.grouped, 5), (pair.trials, 6)))
    return differences(mine.estimate, theirs.estimate) + in_distribution(mine.replicates, theirs.replicates)


def conf_int(one: Called, other: Called, pair: Pair) -> list[str]:
    """Bootstrap intervals are the quantiles of the bootstrap with that seed."""
    if one.arguments.get("method") != "bootstrap":
        return differences(one.value, other.value)
    low, high = pair.grouped.bootstrap(FEW["n_boot"], seed=FEW["seed"]).interval()
    return differences(one.value.to_numpy(), np.column_stack([low, high]))


def clustering(one: Called, other: Called, pair: Pair) -> list[str]:
    """Equal statistics, or another one relative to the saturated model; replicates are alike in distribution."""
    if "Simulated" not in type(one.value).__name__:
        return differences(one.value, other.value, tolerance=1e-7)
    more = -pair.within_rows if one.arguments.get("statistic") == "loglik" else 0.0
    found = differences(one.value.statistic, other.value.statistic + more, tolerance=1e-7)
    if one.arguments:
        return found
    mine, theirs = (
        np.sqrt(fit.test_clustering(n_boot=MANY, seed=seed).replicates)
        for fit, seed in ((pair.grouped, 7), (pair.trials, 8))
    )
    return found + in_distribution(mine[:, None], theirs[:, None])


def chi_squared(one: Called, other: Called, pair: Pair) -> list[str]:
    found = differences(one.value.table, other.value.table)
    mine, theirs = (fit.chi_squared(MANY, seed=seed) for fit, seed in ((pair.grouped, 9), (pair.trials, 10)))
    return found + in_distribution(np.log(mine.replicates)[:, None], np.log(theirs.replicates)[:, None])


def gradient(one: Called, other: Called, _: Pair) -> list[str]:
    """The function of the data; bands are simulated."""
    tables = [value.data if hasattr(value, "data") else value.to_frame() for value in (one.value, other.value)]
    return differences(*(table[["intercept", "gradient"]] for table in tables))


def dispersion(one: Called, other: Called, pair: Pair) -> list[str]:
    """Single trials have none; that of rows is the sum of their squared Pearson residuals."""
    fit = pair.grouped
    found = [] if "dispersion test of binary responses" in str(other.value) else ["trials with a dispersion"]
    return found + differences(one.value.statistic, float((fit.residuals("pearson") ** 2).sum()), tolerance=1e-7)


def envelope(one: Called, other: Called, pair: Pair) -> list[str]:
    """Envelopes of each fit's own residuals, which are those with that seed; the predictor is that of each trial."""
    fit = pair.grouped
    order = np.argsort(fit.data.row_index, kind="stable")
    found = differences(
        one.value.residual[order], fit.residuals("quantile", seed=FEW["seed"]).to_numpy(), tolerance=1e-6
    )
    again = np.argsort(pair.trials.data.row_index, kind="stable")
    return found + differences(one.value.predictor[order][pair.origin], other.value.predictor[again], tolerance=1e-8)


def drawn_residuals(one: Called, other: Called, pair: Pair) -> list[str]:
    """A picture of the envelope."""
    envelope = pair.grouped.residual_envelope(FEW["n_sim"], seed=FEW["seed"])
    shown = one.value.data.select_dtypes("number")
    parts = [np.sort(v) for v in (envelope.ordered, envelope.low, envelope.mean, envelope.mean_low, envelope.residual)]
    known = [any(len(p) == len(v) and np.allclose(p, np.sort(v)) for p in parts) for v in shown.to_numpy().T]
    return [] if sum(known) >= 2 else ["another envelope"]


def drawn_replicates(one: Called, other: Called, pair: Pair) -> list[str]:
    """A picture of the test with that seed."""
    test = pair.grouped.test_clustering(n_boot=FEW["n_boot"], seed=FEW["seed"])
    drawn = np.sort(one.value.data.select_dtypes("number").to_numpy().ravel())
    return [] if np.isin(np.sort(test.replicates), drawn).all() else ["other replicates"]


def check(one: Called, other: Called, _: Pair) -> list[str]:
    """Integrals and influence are those of clusters; trials have no dispersion."""
    both = [{f.name: f.words for f in each.value.findings} for each in (one, other)]
    found = (
        [] if "ratio of observed" in both[0]["Dispersion"] and "have none" in both[1]["Dispersion"] else ["dispersion"]
    )
    return found + differences(both[0]["Influence"], both[1]["Influence"])


def clusters(one: Called, other: Called, pair: Pair) -> list[str]:
    """Equal tables but for the number of rows, which in the other fit is that of trials."""
    trials = pair.table.groupby("id").n.sum().to_numpy()
    found = differences(other.value["n_obs"].to_numpy(), trials)
    return found + differences(one.value, other.value, ("[n_obs]",))


def informative_rows(one: Called, other: Called, pair: Pair) -> list[str]:
    known = pair.table[pair.table.id.isin(pair.grouped.data.labels[pair.grouped.fit.informative])]
    return differences([one.value, other.value], [len(known), int(known.n.sum())])


def glance(one: Called, other: Called, pair: Pair) -> list[str]:
    """Each number as the member of its name."""
    row = one.value.iloc[0].to_dict()
    names = {"nobs": "nobs", "n_obs": "nobs", "logLik": "loglik", "AIC": "aic", "BIC": "bic", "df.residual": "df_resid"}
    of_rows = {"n_obs", "nobs", "loglik", "logLik", "aic", "AIC", "bic", "BIC", "deviance", "df_resid", "df.residual"}
    found = [
        each for key in of_rows & set(row) for each in differences(row[key], getattr(pair.grouped, names.get(key, key)))
    ]
    skip = *(f"[{name}]" for name in of_rows), "[sum_weights]", "[n_obs_informative]", "[iterations]", "[gradient_norm]"
    loose = "[nodes]", "[integration_error]", "[gradient]"
    return found + differences(one.value, other.value, (*skip, *loose))


def fit(one: Called, other: Called, _: Pair) -> list[str]:
    names = [name for name in ("beta", "sigma", "covariance", "intercepts") if hasattr(one.value, name)]
    return [each for name in names for each in differences(getattr(one.value, name), getattr(other.value, name))]


def data(one: Called, other: Called, pair: Pair) -> list[str]:
    """Sums of successes over the trials of each row, and its covariates for each of them."""
    mine, theirs = (each.value.row_index for each in (one, other))
    place = np.argsort(mine)[pair.origin[theirs]]
    found = differences(one.value.a, np.bincount(place, other.value.a))
    return found + differences(one.value.X[place], other.value.X)


def pooled(one: Called, other: Called, _: Pair) -> list[str]:
    return differences(one.value.params, other.value.params) + differences(
        one.value.cov("robust"), other.value.cov("robust")
    )


def described(one: Called, other: Called, _: Pair) -> list[str]:
    facts = [
        {k: v for k, v in each.value.facts if k in ("sigma", "ICC", "Mass points", "Mean, sd")} for each in (one, other)
    ]
    return differences(*facts) + differences(one.value.coefficients, other.value.coefficients)


def maketables(one: Called, other: Called, _: Pair) -> list[str]:
    return differences(one.value.tidy, other.value.tidy)


def to_files(one: Called, other: Called, pair: Pair) -> list[str]:
    """Grouped rows come back from a file; what a page says is looked at in the table of weights."""
    pair.grouped.save(FOLDER[0] / "grouped.json")
    again = cg.load(FOLDER[0] / "grouped.json")
    return differences(again.cov(), pair.trials.cov()) + differences(again.loglik, pair.grouped.loglik)


FOLDER: list[Path] = []
EQUAL = (
    "adjusted_means", "average_effects", "delta_method", "bse", "clustering_test", "converged", "cov",
    "cov_params", "dispersion", "distribution",
    "event_counts", "family", "family_response", "hausman", "icc", "interval_odds_ratio",
    "intraclass_correlation", "kind", "link", "plot.survival", "survival",
    "marginal_coefficients", "median_odds_ratio", "n_clusters", "n_parameters", "params", "penalty", "pvalues",
    "random_effects_sd", "ratios", "response", "shape", "sigma", "sigma_se", "term_tests", "tidy", "tvalues",
    "wald_test", "zero_inflation_test", "zvalues", "bias_correction", "n_informative", "mass_points",
    "random_effects_mean",
    "plot.adjusted_means", "plot.caterpillar", "plot.coefficients", "plot.density", "plot.integration",
    "plot.predictions",
    "plot.random_effects", "plot.rootogram",
    "random_effects", "to_marginaleffects",
)  # fmt: skip
RELATIONS: dict[str, Relation] = dict.fromkeys(EQUAL, same()) | {
    "aic": shifted(lambda pair: -2.0 * pair.choose),
    "augment": augment,
    "bic": shifted(bic_more),
    "bootstrap": bootstrap,
    "calibration": same(".rows"),
    "check": check,
    "chi_squared": chi_squared,
    "cluster_effects": clusters,
    "conf_int": conf_int,
    "data": data,
    "deviance": shifted(deviance_more),
    "drop_one": same("[loglik]", "[aic]", tolerance=1e-6),
    "r2": same(tolerance=1e-6),
    "df_resid": shifted(rows_more),
    "dispersion_test": dispersion,
    "fit": fit,
    "for_maketables": maketables,
    "formula": lambda one, other, pair: differences([one.value, other.value], ["cbind(s, n - s) ~ x + g", "y ~ x + g"]),
    "glance": glance,
    "gradient_function": gradient,
    "influence": same(".n_obs", ".displacement", tolerance=1e-6),
    "plot.influence": same("[n_obs]", tolerance=1e-6),
    "integration_check": same(".error", tolerance=1e-7),
    "integration_curve": same(".error", tolerance=1e-8),
    "jackknife": same(tolerance=1e-6),
    "llf": shifted(lambda pair: pair.choose),
    "loglik": shifted(lambda pair: pair.choose),
    "n_obs": shifted(rows_more),
    "n_obs_informative": informative_rows,
    "nobs": shifted(rows_more),
    "optimization": lambda one, other, pair: differences(one.value.status, other.value.status),
    "penalized_loglik": lambda one, other, pair: differences([one.value, other.value], [None, None]),
    "plot.bootstrap": drawn_replicates,
    "plot.calibration": same("[n_obs]"),
    "plot.gradient": gradient,
    "plot.profile": same("[loglik]"),
    "posterior": lambda one, other, pair: differences(one.value.to_numpy(), other.value.to_numpy()),
    "plot.qq": drawn_residuals,
    "plot.residuals": drawn_residuals,
    "pooled": pooled,
    "predict": repeated,
    "profile": same(".loglik", tolerance=1e-8),
    "quadrature": lambda one, other, pair: differences(one.value.requested, other.value.requested),
    "report": to_files,
    "residual_envelope": envelope,
    "residuals": residuals,
    "sample": lambda one, other, pair: differences(one.value.values, other.value.values, tolerance=1e-7),
    "save": to_files,
    "simulate": simulated,
    "summary": described,
    "test_clustering": clustering,
}


def pair_of(verb: str) -> Pair:
    rng = np.random.default_rng(2)
    sizes = rng.integers(4, 7, 15)
    id_ = np.repeat(np.arange(15), sizes)
    d = pd.DataFrame({"id": id_, "x": rng.normal(size=len(id_)).round(1), "g": rng.choice(["a", "b"], len(id_))})
    d["n"] = rng.integers(1, 6, len(d))
    d["s"] = rng.binomial(d.n, expit(0.4 * d.x + 0.5 * (d.g == "b") + 0.8 * rng.normal(size=15)[id_]))
    origin = np.repeat(np.arange(len(d)), d.n)
    first = np.concatenate([np.arange(k) for k in d.n])
    trials = d.iloc[origin].assign(y=(first < d.s.to_numpy()[origin]).astype(int)).reset_index(drop=True)
    options = {"cluster": "id", "control": TIGHT}
    verb_ = getattr(cg, verb)
    return Pair(verb_("cbind(s, n - s) ~ x + g", d, **options), verb_("y ~ x + g", trials, **options), d, origin)


def test_every_member_has_an_entry() -> None:
    known = {name for verb in VERBS for name in members(type(pair_of(verb).grouped))}
    assert known == set(RELATIONS)


@pytest.mark.parametrize("verb", VERBS)
def test_grouped_rows_are_trials(verb: str, tmp_path: Path) -> None:
    FOLDER[:] = [tmp_path]
    pair, found = pair_of(verb), []
    for name in members(type(pair.grouped)):
        for one, other in zip(called(pair.grouped, name), called(pair.trials, name), strict=True):
            refused = [isinstance(each.value, cg.errors.ClusterGLMError) for each in (one, other)]
            if all(refused):
                found += [f"{one}: {each}" for each in differences(one.value, other.value)]
            elif not refused[0]:
                found += [f"{one}: {each}" for each in RELATIONS[name](one, other, pair)]
            else:
                found.append(f"{one}: {one.value}")
    assert found == []
