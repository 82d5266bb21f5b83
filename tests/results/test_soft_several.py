"""What follows a fit of several random effects with the soft penalty: it says so, rests on it, or refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import chi2
from typer.testing import CliRunner

import clusterglm as cg
from clusterglm.cli import app
from clusterglm.errors import ClusterError, DesignError, OptionError
from clusterglm.results.tables.export import as_dict

sys.path.insert(0, str(Path(__file__).parents[1] / "weights"))
sys.path.insert(0, str(Path(__file__).parents[1] / "fit"))
from members import called, members
from test_soft_several import TIGHT, Objective, parameters, small

HALF = 0.5 * chi2.ppf(0.95, 1)
REFUSED = {  # in some call
    "adjusted_means", "average_effects", "chi_squared", "conf_int", "cov", "delta_method", "dispersion_test",
    "event_counts", "gradient_function", "hausman", "icc", "plot.bootstrap", "plot.density", "plot.gradient",
    "plot.rootogram", "predict", "profile", "random_effects_sd",
    "sigma", "sigma_se", "term_tests", "test_clustering", "tidy", "to_marginaleffects", "wald_test",
    "zero_inflation_test",
}  # fmt: skip


@pytest.fixture(scope="module")
def fit() -> Any:
    return cg.random_effects("y ~ x + (x | g)", small(), penalty="soft", **TIGHT)


@pytest.fixture(scope="module")
def objective() -> Objective:
    data = small()
    X = np.column_stack([np.ones(len(data)), data.x])
    return Objective(X, data.y.to_numpy(), [(data.g.to_numpy(), X, True)], points=35)


def test_results_name_the_penalty(fit: Any, tmp_path: Path) -> None:
    text = " ".join(str(fit).split())
    assert "Random-effects model, maximum penalised likelihood" in text
    assert "Penalty: soft: 2 root(p/n) times Firth's of the model without random effects and Huber losses" in text
    assert "AIC, BIC and deviance are without the penalty" in text
    assert fit.aic == pytest.approx(2 * 5 - 2 * fit.loglik)
    row = fit.glance().iloc[0]
    assert (row.penalty, row.penalized_loglik) == ("soft", fit.penalized_loglik)
    exported = as_dict(fit)
    assert (exported["penalty"], exported["penalized_loglik"]) == ("soft", fit.penalized_loglik)
    assert "penalty soft" in str(cg.table([fit]))
    fit.save(tmp_path / "fit.json")
    assert str(cg.load(tmp_path / "fit.json")) == str(fit)
    page = fit.report(tmp_path / "fit.html").read_text()
    assert "Penalised likelihood" in page
    assert "rests in part on the penalty" in page


def test_what_has_no_meaning_is_refused(fit: Any) -> None:
    intercepts = cg.random_effects("y ~ x + (0 + one | g)", small().assign(one=1.0), penalty="soft")
    for refused in (lambda: fit.cov("robust"), intercepts.hausman, fit.test_clustering):
        with pytest.raises(OptionError, match="penalty='soft'"):
            refused()
    assert "the penalty keeps" in str(fit.test_clustering(method="boundary"))


def test_every_public_member_answers_or_refuses() -> None:
    from matplotlib import pyplot as plt

    data = small(9, 20, 6).assign(t=lambda d: 1 + np.tile(np.arange(6), 20))
    own = cg.random_effects("y ~ x + (x | g)", data, penalty="soft")
    answers = [each for name in members(type(own)) for each in called(own, name)]
    plt.close("all")
    refusals = [each for each in answers if isinstance(each.value, BaseException)]
    assert all(isinstance(each.value, OptionError) for each in refusals), [str(each) for each in refusals]
    assert {each.name for each in refusals} == REFUSED


@pytest.mark.parametrize(("name", "at"), [("x", 1), ("sd(g: (Intercept))", 2), ("cor(g: (Intercept),x)", 4)])
def test_profile_ends_lie_where_the_penalised_likelihood_has_fallen(
    fit: Any, objective: Objective, name: str, at: int
) -> None:
    """Maximised over the others in coefficients, logarithms of standard deviations and Fisher's z."""
    ends = fit.conf_int(method="profile").loc[name]
    theta = parameters(fit)
    read = np.array([*theta[:3], 0.5 * np.log(theta[3] ** 2 + np.exp(2 * theta[4])), 0.0])
    read[4] = np.arctanh(theta[3] / np.exp(read[3]))

    def as_factor(at: np.ndarray) -> np.ndarray:
        rho, sd = np.tanh(at[4]), np.exp(at[3])
        return np.array([*at[:3], rho * sd, at[3] - np.log(np.cosh(at[4]))])

    np.testing.assert_allclose(as_factor(read), theta, atol=1e-10)
    turn = {1: float, 2: np.log, 4: np.arctanh}[at]
    for end in ends:
        held, rest = turn(end), np.delete(read, at)

        def lost(others: np.ndarray, held: float = held) -> float:
            whole = as_factor(np.insert(others, at, held))
            return -objective.loglik(whole) - objective.penalty(whole)

        fallen = minimize(lost, rest, method="BFGS", options={"gtol": 1e-5}).fun + fit.penalized_loglik
        assert fallen == pytest.approx(HALF, abs=2e-4)


def test_profiles_end_inside(fit: Any) -> None:
    """Unlike those of the likelihood alone, whose standard deviations may be 0 and correlations 1."""
    for terms in ("(x | g)", "(x || g)", "cs(0 + f | g)", "(1 | g/h)"):
        data = small().assign(f=np.tile(["a", "b"], 42), h=np.arange(84) // 3)
        own = fit if terms == "(x | g)" else cg.random_effects(f"y ~ x + {terms}", data, penalty="soft")
        ends, names = own.conf_int(method="profile"), own.fit.effects.covariance.read_labels()
        assert np.isfinite(ends).all().all()
        scales = [name for name in names if name.startswith("sd")]
        assert (ends.loc[scales, "low"] > 0.0).all()
        if "cs" not in terms:  # whose upper end is indeed as good as 1
            assert (ends.loc[[name for name in names if name.startswith("cor")]].abs() < 1.0).all().all()


def test_ratios_are_of_the_larger_penalty(fit: Any, objective: Objective) -> None:
    """Coefficients, and correlations, held at zero in the larger model."""
    data = small()
    without = cg.random_effects("y ~ 1 + (x | g)", data, penalty="soft", **TIGHT)
    test = cg.compare(without, fit).tests[0]

    def lost(theta: np.ndarray, held: int) -> float:
        full = np.insert(theta, held, 0.0)
        return -objective.loglik(full) - objective.penalty(full)

    start = parameters(fit)
    options: dict[str, Any] = {"method": "BFGS", "options": {"gtol": 1e-5}}
    statistic = 2 * (fit.penalized_loglik + minimize(lost, np.delete(start, 1), args=(1,), **options).fun)
    assert (test.df, test.penalized, test.boundary) == (1, True, False)
    assert test.statistic == pytest.approx(statistic, abs=1e-4)
    assert test.pvalue == pytest.approx(chi2.sf(statistic, 1), abs=1e-4)
    apart = cg.random_effects("y ~ z + (x || g)", data.assign(z=lambda d: 7.0 - 30.0 * d.x), penalty="soft", **TIGHT)
    test = cg.compare(apart, fit).tests[0]
    statistic = 2 * (fit.penalized_loglik + minimize(lost, np.delete(start, 3), args=(3,), **options).fun)
    assert (test.df, test.penalized) == (1, True)
    assert test.statistic == pytest.approx(statistic, abs=1e-4)


def test_ratios_that_are_not_tested(fit: Any) -> None:
    intercepts = cg.random_effects("y ~ x + (1 | g)", small(), penalty="soft")
    assert "cannot be 0" in cg.compare(intercepts, fit).tests[0].reason
    plain = cg.random_effects("y ~ 1 + (x | g)", small())
    assert "one without" in cg.compare(plain, fit).tests[0].reason


def test_deletion_of_clusters() -> None:
    data = small(9, 30, 8)
    own = cg.random_effects("y ~ x + (x | g)", data, penalty="soft")
    step, exact = own.influence(), own.influence("exact")
    assert np.corrcoef(step.cook, exact.cook)[0, 1] > 0.95
    np.testing.assert_allclose(step.dfbetas[:, :2], exact.dfbetas[:, :2], atol=0.1)
    assert (exact.displacement > -1e-6).all()  # what is maximised falls


def test_replicates_have_the_penalty(fit: Any) -> None:
    """None is singular, and the first is the fit of the first data that are simulated."""
    boot = fit.bootstrap(3, seed=4)
    assert (boot.replicates[:, 2:4] > 0.0).all()
    assert (np.abs(boot.replicates[:, 4]) < 1.0).all()


def test_after_the_fit(fit: Any) -> None:
    assert np.isfinite(fit.average_effects().frame.std_error).all()
    assert abs(fit.integration_check().shift).max() < 1e-3
    probabilities = fit.predict(kind="marginal", level=0.95)
    assert (probabilities.low < probabilities.estimate).all()
    assert (probabilities.estimate < probabilities.high).all()


def test_coarse_points_that_have_no_maximum() -> None:
    """By a fixed number of nodes a likelihood may rise without end where responses are equal within clusters."""
    data = small().assign(y=lambda d: d.g % 2)
    with pytest.raises(DesignError, match='quadrature="auto"'):
        cg.random_effects("y ~ x + (x | g)", data, penalty="soft", quadrature=15)
    with pytest.raises(ClusterError):
        cg.random_effects("y ~ x + (x | g)", data)


def test_command_line(tmp_path: Path) -> None:
    small().to_csv(tmp_path / "rows.csv", index=False)
    ran = CliRunner().invoke(app, ["fit", str(tmp_path / "rows.csv"), "y ~ x + (x | g)", "--penalty", "soft"])
    assert ran.exit_code == 0, ran.output
    assert "Penalty:" in ran.output
    assert "penalised likelihood" in ran.output
