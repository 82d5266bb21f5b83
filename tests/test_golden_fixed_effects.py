"""Fixed cluster effects and conditional likelihood: other software, real data, and identities that hold exactly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import gammaln, xlogy
from statsmodels.duration.hazard_regression import PHReg

import clusterglm as cg

GOLDEN = json.loads((Path(__file__).parent / "golden" / "fixed_effects.json").read_text())
FITS = [(name, which) for name, golden in GOLDEN.items() for which in golden["fits"]]
EACH_FIT = pytest.mark.parametrize(("name", "which"), FITS)
EXACT = cg.Control(tol=1e-10)
REACHED = 1e-9  # of a standard error, by which the tests' own maxima may be off

# How far a source's coefficients are from the maximum, in standard errors, and its log-likelihoods in units
ACCURACY = {
    "glm_factor_logit": (1e-9, 1e-9),
    "glm_factor_log": (1e-9, 1e-9),
    "glm_factor_cloglog": (1e-7, 1e-9),
    "clogit": (1e-8, 1e-11),
    "fixest_feglm_logit": (1e-9, 1e-9),
    "fixest_feglm_log": (1e-9, 1e-9),
    "fixest_feglm_cloglog": (5e-5, 1e-8),
    "alpaca_feglm_logit": (1e-4, 1e-8),
    "alpaca_feglm_cloglog": (2e-3, 1e-5),
    "bife_logit": (3e-5, 1e-9),
    "glmmboot_logit_boot0": (1e-5, 1e-9),
    "glmmboot_cloglog_boot0": (5e-5, 5e-9),
    "glmmboot_log_boot0": (1e-5, 1e-9),
}
EARLY = {("respiratory", "glmmboot_logit_boot0"): (2e-3, 2e-6)}  # three digits of the smaller coefficient


def data_of(name: str, golden_frame) -> pd.DataFrame:
    """The golden data with the columns of the fixed-effects formulas."""
    d = golden_frame(name)
    if name == "ohio":
        d["age_smoke"] = d.age * d.smoke
    if name == "respiratory":
        baseline = d[d.month == 1].assign(month=0, y=lambda first: first.base)
        d = pd.concat([d, baseline], ignore_index=True)
        d["after"] = (d.month > 0).astype(int)
        d["trt_after"] = d.after * d.trt
    return d


@cache
def _fitted(name: str, verb: str, link: str, golden_frame):
    golden = GOLDEN[name]
    formula = "y ~ V4" if name == "epil" else golden["formula"]  # R drops the other terms
    options = {"cluster": golden["cluster"], "family": golden["family"], "link": link, "control": EXACT}
    return getattr(cg, verb)(formula, data_of(name, golden_frame), **options)


def fitted(name: str, which: str, golden_frame):
    verb = "conditional" if which == "clogit" else "fixed_effects"
    return _fitted(name, verb, GOLDEN[name]["fits"][which]["link"], golden_frame)


# Real data, in R ---------------------------------------------------------------------------------------------------


@EACH_FIT
def test_estimates(name, which, golden_frame):
    other, result = GOLDEN[name]["fits"][which], fitted(name, which, golden_frame)
    tolerance, _ = EARLY.get((name, which), ACCURACY[which])
    assert result.converged
    assert list(result.params.index) == list(other["coef"])
    want = np.array(list(other["coef"].values()))
    assert (np.abs(result.params - want) / result.bse).max() < tolerance + REACHED
    if which.startswith("glm_factor"):
        np.testing.assert_allclose(result.params, want, rtol=1e-6)


@EACH_FIT
def test_standard_errors(name, which, golden_frame):
    """Where the other's are from the observed information, as with canonical links and with glmmboot they are."""
    other, result = GOLDEN[name]["fits"][which], fitted(name, which, golden_frame)
    expected_information = other["link"] == "cloglog" and not which.startswith("glmmboot")
    factor = 1.0
    if which.startswith("fixest"):  # its small-sample factor
        n = result.n_obs_informative
        factor = np.sqrt((n - 1) / (n - result.n_informative - len(result.params)))
    for term, value in other["se"].items():
        if expected_information:
            assert result.bse[term] * factor == pytest.approx(value, rel=0.07)
            assert result.bse[term] * factor != pytest.approx(value, rel=1e-3)
        else:
            tolerance, _ = EARLY.get((name, which), ACCURACY[which])
            # fixest's are right to six digits, where its coefficients are to eight
            assert result.bse[term] * factor == pytest.approx(value, rel=1e-6 if factor > 1.0 else max(tolerance, 1e-8))


@EACH_FIT
def test_log_likelihood_and_degrees_of_freedom(name, which, golden_frame):
    other, result = GOLDEN[name]["fits"][which], fitted(name, which, golden_frame)
    _, tolerance = EARLY.get((name, which), ACCURACY[which])
    if "logLik" in other:
        assert result.loglik == pytest.approx(other["logLik"], abs=tolerance)
    if "deviance" in other:
        assert result.deviance == pytest.approx(other["deviance"], abs=2 * tolerance)
    if "n_trivial" in other:
        assert result.n_clusters - result.n_informative == other["n_trivial"]
    if which.startswith("glm_factor") or (which.startswith("glmmboot") and name not in ("cbpp_grouped", "epil")):
        assert result.df_resid == other["df_residual"]


def test_what_the_golden_fits_cover():
    assert len(FITS) == 46
    assert set(ACCURACY) == {which for _, which in FITS}
    assert {(fit["link"]) for golden in GOLDEN.values() for fit in golden["fits"].values()} == {
        "logit",
        "cloglog",
        "log",
    }


@pytest.mark.parametrize("name", ["bacteria", "ohio", "respiratory", "epil"])
def test_cluster_effects_of_clusters_without_variation(name, golden_frame):
    effects = _fitted(name, "fixed_effects", "log" if name == "epil" else "logit", golden_frame).cluster_effects
    golden = GOLDEN[name]
    d = data_of(name, golden_frame)
    share = d.groupby(golden["cluster"])[golden["formula"].split(" ~ ")[0]].mean()
    want = np.where(share == 0.0, -np.inf, np.where((share == 1.0) & (name != "epil"), np.inf, 0.0))
    known = np.isfinite(effects.estimate)
    np.testing.assert_array_equal(np.where(known, 0.0, effects.estimate), want)
    np.testing.assert_array_equal(effects.label.astype(str), share.index.astype(str))
    assert (effects.status == "estimated").to_numpy().tolist() == known.tolist()
    assert np.isfinite(effects.std_error[known]).all()
    assert effects.std_error[~known].isna().all()


def test_terms_that_r_drops_are_left_out_and_named(golden_frame):
    golden = GOLDEN["epil"]
    fit = cg.fixed_effects(golden["formula"], golden_frame("epil"), cluster="subject", family="poisson")
    named = next(
        line for line in " ".join(str(fit.summary()).split()).split("Note: ") if "constant within every" in line
    )
    assert [f"'{name}'" in named for name in ("lbase", "trtprogabide", "lage", "V4")] == [True, True, True, False]
    assert not {"lbase", "trtprogabide", "lage"} & set(fit.params.index)
    fit = cg.conditional("yy ~ trt + late", golden_frame("bacteria"), cluster="ID")
    assert "without 'trtdrug' and 'trtdrug+': constant within every cluster" in " ".join(str(fit.summary()).split())
    assert list(fit.params.index) == ["late"]


# Dummies, in statsmodels -------------------------------------------------------------------------------------------


def with_dummies(data: pd.DataFrame, family: sm.families.Family):
    """A dummy for every cluster; fitted by Newton's method, with standard errors from the observed information."""
    dummies = pd.get_dummies(data.id, dtype=float)
    return sm.GLM(data.y, data[["x"]].join(dummies), family=family).fit(method="newton", tol=1e-10, maxiter=50)


def binary_panel(clusters: int, size: int, slope: float = 0.0, seed: int = 2003) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = clusters * size
    d = pd.DataFrame({"id": np.repeat(np.arange(clusters), size), "x": rng.normal(size=n)})
    d["y"] = (rng.random(n) < 1.0 / (1.0 + np.exp(-slope * d.x))).astype(int)
    return d


def compared_with_dummies(data: pd.DataFrame, family: str, link: str, other_family: sm.families.Family) -> None:
    result = cg.fixed_effects("y ~ x", data, cluster="id", family=family, link=link, control=EXACT)
    share = data.groupby("id").y.transform("mean")
    used = (share > 0.0) & ((share < 1.0) | (family == "poisson"))
    other = with_dummies(data[used], other_family)
    assert result.n_clusters > result.n_informative == data.id[used].nunique()
    assert result.loglik == pytest.approx(other.llf, abs=1e-8)
    assert result.params["x"] == pytest.approx(other.params["x"], abs=1e-6 * other.bse["x"])
    assert result.bse["x"] == pytest.approx(other.bse["x"], rel=1e-6)
    effects = result.cluster_effects.set_index("label")
    informative = effects[effects.status == "estimated"]
    np.testing.assert_array_equal(informative.index, other.params.index[1:])
    np.testing.assert_allclose(informative.estimate, other.params[1:], rtol=0.0, atol=1e-6 * other.bse[1:].min())
    np.testing.assert_allclose(informative.std_error, other.bse[1:], rtol=1e-6)


def test_the_seeds_example_with_dummies():
    """Clusters of five, responses by coin, a covariate that means nothing; 200 of the thousand clusters.

    (With all of them below; here the intercepts are compared, too.)
    """
    compared_with_dummies(binary_panel(200, 5), "binomial", "logit", sm.families.Binomial())


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "log"])
def test_every_link_with_dummies(link):
    data = binary_panel(50, 6, slope=0.7)
    if link == "log":
        rng = np.random.default_rng(5)
        data["y"] = rng.poisson(np.exp(0.3 * data.x - 1.0))
        compared_with_dummies(data, "poisson", link, sm.families.Poisson())
    else:
        links = {
            "logit": sm.families.links.Logit,
            "probit": sm.families.links.Probit,
            "cloglog": sm.families.links.CLogLog,
        }
        compared_with_dummies(data, "binomial", link, sm.families.Binomial(links[link]()))


# Identities ----------------------------------------------------------------------------------------------------------


ALL_DUMMIES = """
import sys
import numpy as np, pandas as pd, statsmodels.api as sm
data = pd.read_csv(sys.argv[1])
X = np.column_stack([data.x, pd.get_dummies(data.id).to_numpy(float)])
fit = sm.GLM(data.y, X, family=sm.families.Binomial()).fit(tol=1e-12, maxiter=50)
np.save(sys.argv[2], np.array([fit.params.iloc[0], fit.bse.iloc[0], fit.llf, fit.deviance]))
"""


def test_the_seeds_example_with_a_thousand_dummies(tmp_path):
    """Section 3.3: 1000 clusters of five, responses by coin, a covariate that means nothing.

    statsmodels runs by itself with one BLAS thread: beside other tests, threads that wait for each other take minutes.
    """
    data = binary_panel(1000, 5)
    fit = cg.fixed_effects("y ~ x", data, cluster="id")
    known = fit.cluster_effects.set_index("label").status == "estimated"
    data[data.id.map(known)].to_csv(tmp_path / "data.csv", index=False)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ALL_DUMMIES, str(tmp_path / "data.csv"), str(tmp_path / "fit.npy")]
    subprocess.run(command, check=True, env=environment)
    slope, se, loglik, deviance = np.load(tmp_path / "fit.npy")
    assert fit.params["x"] == pytest.approx(slope, rel=1e-7)
    assert fit.bse["x"] == pytest.approx(se, rel=1e-6)
    assert fit.loglik == pytest.approx(loglik, abs=1e-7)
    assert fit.deviance == pytest.approx(deviance, abs=1e-7)


def survival_data(ties: bool, n: int = 150, seed: int = 6) -> pd.DataFrame:
    """Exponential survival with censoring; times rounded up where ties are wanted."""
    rng = np.random.default_rng(seed)
    d = pd.DataFrame({"x": rng.normal(size=n), "treated": rng.integers(0, 2, n)})
    death = rng.exponential(np.exp(-0.6 * d.x + 0.4 * d.treated))
    censoring = rng.exponential(2.0, n)
    d["time"], d["event"] = np.minimum(death, censoring), (death <= censoring).astype(int)
    if ties:
        d["time"] = np.ceil(10.0 * d.time) / 10.0
    return d


def risk_sets(d: pd.DataFrame) -> pd.DataFrame:
    """A cluster for every time with events: those still there, and who has the event."""
    sets = [
        d[d.time >= time].assign(
            set=time, y=lambda rows, time=time: ((rows.time == time) & (rows.event == 1)).astype(int)
        )
        for time in np.unique(d.time[d.event == 1])
    ]
    return pd.concat(sets, ignore_index=True)


def cox(d: pd.DataFrame):
    return PHReg(d.time, d[["x", "treated"]], status=d.event, ties="breslow").fit(tol=1e-12)


def same_as_cox(result, other) -> None:
    np.testing.assert_allclose(result.params, other.params, rtol=1e-7)
    np.testing.assert_allclose(result.bse, other.bse, rtol=1e-7)


@pytest.mark.parametrize("ties", [False, True])
def test_poisson_in_risk_sets_is_cox_regression(ties):
    """Johansen (1983); ties as Breslow has them. The log-likelihoods differ by what does not depend on coefficients."""
    d = survival_data(ties)
    sets, other = risk_sets(d), cox(d)
    events = sets.groupby("set").y.sum().to_numpy(float)
    assert events.max() > 1 if ties else events.max() == 1
    profile = cg.fixed_effects("y ~ x + treated", sets, cluster="set", family="poisson", control=EXACT)
    same_as_cox(profile, other)
    assert profile.loglik == pytest.approx(other.llf + (xlogy(events, events) - events).sum(), abs=1e-9)
    conditional = cg.conditional("y ~ x + treated", sets, cluster="set", family="poisson", control=EXACT)
    same_as_cox(conditional, other)
    assert conditional.loglik == pytest.approx(other.llf + gammaln(events + 1.0).sum(), abs=1e-9)


def test_conditional_logit_in_risk_sets_with_one_event_is_cox_regression():
    d = survival_data(ties=False)
    other = cox(d)
    result = cg.conditional("y ~ x + treated", risk_sets(d), cluster="set", control=EXACT)
    same_as_cox(result, other)
    assert result.loglik == pytest.approx(other.llf, abs=1e-9)


def test_conditional_logit_with_ties_is_not_breslows():
    """Given the number of events, which of them there are: the exact method for ties, further from zero."""
    d = survival_data(ties=True)
    exact = cg.conditional("y ~ x + treated", risk_sets(d), cluster="set")
    assert (np.abs(exact.params) > np.abs(cox(d).params)).all()


def test_poisson_profile_and_conditional_agree():
    """One maximum: the total of a cluster carries no information on the coefficients."""
    rng = np.random.default_rng(7)
    d = binary_panel(60, 4)
    d["y"], d["w"] = rng.poisson(np.exp(0.5 * d.x)), rng.integers(1, 4, len(d))
    options = {"cluster": "id", "family": "poisson", "weights": "w", "control": EXACT}
    profile, conditional = cg.fixed_effects("y ~ x", d, **options), cg.conditional("y ~ x", d, **options)
    np.testing.assert_allclose(conditional.params, profile.params, rtol=1e-9)
    np.testing.assert_allclose(conditional.bse, profile.bse, rtol=1e-9)


@pytest.mark.parametrize("slope", [0.0, 0.8])
def test_in_clusters_of_two_the_profile_estimate_is_twice_the_conditional_one(slope):
    """Andersen (1970); so the standard error at the estimate is larger by the root of two."""
    d = binary_panel(400, 2, slope)
    profile = cg.fixed_effects("y ~ x", d, cluster="id", control=EXACT)
    conditional = cg.conditional("y ~ x", d, cluster="id", control=EXACT)
    assert profile.params["x"] == pytest.approx(2.0 * conditional.params["x"], rel=1e-7)
    assert profile.bse["x"] == pytest.approx(np.sqrt(2.0) * conditional.bse["x"], rel=1e-7)
    assert profile.loglik == pytest.approx(2.0 * conditional.loglik, abs=1e-9)
    corrected = cg.fixed_effects("y ~ x", d, cluster="id", bias_correction="analytical")
    assert abs(corrected.params["x"]) < abs(profile.params["x"])
