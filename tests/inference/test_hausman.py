"""Random-intercept against within-cluster estimates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

import clusterglm as cg
from clusterglm.errors import DataError, DesignError, OptionError
from clusterglm.fit.conditional import conditional_scores
from clusterglm.inference.hypotheses.hausman import Estimates, hausman_test, varying_columns
from clusterglm.inference.uncertainty.covariance import marginal_scores


def simulated(
    seed: int, m: int = 150, k: int = 5, dependence: float = 0.0, family: str = "binomial", sigma: float = 1.0
) -> pd.DataFrame:
    """Clusters of k rows; x varies between clusters too, and goes with the intercepts by `dependence`."""
    rng = np.random.default_rng(seed)
    cluster, level = np.repeat(np.arange(m), k), rng.normal(size=m)
    u = sigma * (dependence * level + np.sqrt(1 - dependence**2) * rng.normal(size=m))
    d = pd.DataFrame({"id": cluster, "x": level[cluster] + rng.normal(size=m * k), "z": rng.normal(size=m * k)})
    d["c"] = rng.normal(size=m)[cluster]
    eta = 0.5 * d.x - 0.3 * d.z + u[cluster]
    mean = 1 / (1 + np.exp(-eta)) if family == "binomial" else np.exp(eta)
    d["y"] = (rng.random(m * k) < mean).astype(int) if family == "binomial" else rng.poisson(mean)
    return d


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return simulated(1).sample(frac=1.0, random_state=0).reset_index(drop=True)


@pytest.fixture(scope="module")
def fit(data: pd.DataFrame) -> Any:
    return cg.random_effects("y ~ x + z + c", data, cluster="id")


@pytest.fixture(scope="module")
def conditional(data: pd.DataFrame) -> Any:
    return cg.conditional("y ~ x + z", data, cluster="id")


# The statistic --------------------------------------------------------------------------------------------------------


def estimates(beta: Any, covariance: Any, influence: Any) -> Estimates:
    names = tuple("abcdef"[: len(beta)])
    return Estimates("w", names, np.array(beta), np.array(covariance), np.array(influence, dtype=float))


def test_difference_by_hand() -> None:
    random = estimates([1.0, 9.0], np.diag([1.0, 7.0]), np.zeros((3, 2)))
    within = estimates([4.0], [[3.25]], np.zeros((3, 1)))
    test = hausman_test(random, within, np.ones(len(within.influence)), "difference")
    assert (test.statistic, test.df, test.names) == (pytest.approx(9.0 / 2.25), 1, ("a",))
    assert test.pvalue == pytest.approx(chi2.sf(4.0, 1))
    assert (test.difference[0], test.std_error[0], test.random[0], test.within[0]) == (3.0, 1.5, 1.0, 4.0)


def test_joint_by_hand() -> None:
    """Three clusters: differences of influence 1, -2, 1, so that the variance is 3/2 * 6."""
    random = estimates([1.0, 9.0], np.eye(2), [[1, 5], [1, 5], [-2, -10]])
    within = estimates([4.0], [[1.0]], [[2], [-1], [-1]])
    test = hausman_test(random, within, np.ones(len(within.influence)), "joint")
    assert test.statistic == pytest.approx(9.0 / 9.0)
    assert (test.df, test.cov) == (1, "joint")


def test_joint_from_scores(fit: Any, conditional: Any) -> None:
    test = fit.hausman(conditional)
    ours = (marginal_scores(fit.data, fit.fit) @ fit.fit.covariance)[:, 1:3]
    theirs = conditional_scores(conditional.data, conditional.response, conditional.fit.beta)
    theirs = theirs @ conditional.fit.covariance
    m = fit.n_clusters
    V = (theirs - ours).T @ (theirs - ours) * m / (m - 1)
    d = (conditional.params - fit.params[["x", "z"]]).to_numpy()
    np.testing.assert_allclose(test.covariance, V, rtol=1e-10)
    assert test.statistic == pytest.approx(d @ np.linalg.solve(V, d))
    # the diagonal blocks of the joint covariance are the sandwiches
    sandwich = theirs.T @ theirs * m / (m - 1)
    np.testing.assert_allclose(fit.cov("robust").iloc[1:3, 1:3], ours.T @ ours * m / (m - 1), rtol=1e-10)
    k = conditional.n_informative
    np.testing.assert_allclose(conditional.cov("robust"), sandwich * (k / (k - 1)) / (m / (m - 1)), rtol=1e-10)


def test_directions_without_variance_are_left_out_and_said() -> None:
    random = estimates([0.0, 0.0], np.diag([1.0, 3.0]), np.zeros((3, 2)))
    within = estimates([2.0, 100.0], np.diag([2.0, 2.0]), np.zeros((3, 2)))
    test = hausman_test(random, within, np.ones(len(within.influence)), "difference")
    assert (test.statistic, test.df) == (pytest.approx(4.0), 1)
    assert np.isnan(test.std_error[1])
    assert "not positive definite: 1 of 2 directions" in str(test)
    same = hausman_test(random, replace(random, beta=np.array([0.0, 1e-9])), np.ones(len(random.influence)), "joint")
    assert (same.df, np.isnan(same.statistic), np.isnan(same.pvalue)) == (0, True, True)
    assert "nothing to test" in str(same)
    assert "no test of a, b" in str(same)


def test_units_do_not_matter(data: pd.DataFrame, fit: Any) -> None:
    scaled = cg.random_effects("y ~ x + z + c", data.assign(x=data.x * 1e6, z=data.z / 1e5), cluster="id")
    for cov in ("joint", "difference"):
        assert scaled.hausman(cov=cov).statistic == pytest.approx(fit.hausman(cov=cov).statistic, rel=1e-4)


# The default is the conditional fit to the same data ------------------------------------------------------------------


@pytest.mark.parametrize("family", ["binomial", "poisson"])
@pytest.mark.parametrize("cov", ["joint", "difference"])
def test_the_conditional_fit_is_made(family: str, cov: str) -> None:
    d = simulated(5, family=family)
    weights = np.random.default_rng(0).integers(1, 3, 150)
    d["w"], d["off"] = weights[d.id], 0.2 * d.z**2
    options: dict[str, Any] = {"cluster": "id", "family": family, "cluster_weights": "w", "offset": "off"}
    fit = cg.random_effects("y ~ x + c + z", d, **options)
    made, given = fit.hausman(cov=cov), fit.hausman(cg.conditional("y ~ x + z", d, **options), cov)
    assert made.names == given.names == ("x", "z")
    assert made.left_out == given.left_out == ("(Intercept)", "c")
    np.testing.assert_allclose(made.within, given.within, rtol=1e-6)
    assert made.statistic == pytest.approx(given.statistic, rel=1e-4)


def test_columns_that_vary_only_in_silent_clusters_are_named() -> None:
    d = simulated(2)
    mean = d.groupby("id").y.transform("mean")
    d["odd"] = np.where((mean == 0) | (mean == 1), d.z, 0.0)
    fit = cg.random_effects("y ~ x + odd", d, cluster="id")
    assert fit.hausman().left_out == ("(Intercept)", "odd")
    assert "not identified within clusters: (Intercept), odd" in str(fit.hausman())


def test_varying_columns() -> None:
    X = np.array([[1.0, 5, 1e9, 0], [1, 6, 1e9, 0], [1, 5, 2e9, 0], [1, 5, 2e9, 1]])
    starts = np.array([0, 2, 4])
    assert varying_columns(X, starts, np.array([True, True])).tolist() == [False, True, False, True]
    assert varying_columns(X, starts, np.array([True, False])).tolist() == [False, True, False, False]


def test_nothing_to_compare(data: pd.DataFrame) -> None:
    for formula in ("y ~ c", "y ~ 1"):
        with pytest.raises(DesignError, match="no covariate that varies within clusters"):
            cg.random_effects(formula, data, cluster="id").hausman()
    with pytest.raises(DesignError, match="without covariates"):
        cg.random_effects("y ~ c", data, cluster="id").hausman(cg.fixed_effects("y ~ 1", data, cluster="id"))


def test_equal_by_construction() -> None:
    """Poisson with the same covariates in every cluster: conditional and random-effects estimates are one."""
    d = simulated(3, family="poisson")
    d["time"] = np.tile([0.0, 1.0, 2.0, 3.0, 4.0], 150)
    test = cg.random_effects("y ~ time + c", d, cluster="id", family="poisson").hausman()
    assert abs(test.difference[0]) < 1e-6
    assert test.df == 0
    assert "whatever the responses: nothing to test" in str(test)


# Other fits -----------------------------------------------------------------------------------------------------------


def test_fixed_effects_may_stand_on_the_other_side(data: pd.DataFrame) -> None:
    fit = cg.random_effects("y ~ x + c + z", data, cluster="id", link="probit")
    fixed = cg.fixed_effects("y ~ x + z", data, cluster="id", link="probit", bias_correction="analytical")
    test = fit.hausman(fixed)
    np.testing.assert_allclose(test.difference, fixed.params - fit.params[["x", "z"]])
    assert test.words == "fixed effects corrected for bias"
    assert test.remarks == ()
    assert "biased in small clusters" in str(
        fit.hausman(cg.fixed_effects("y ~ x + z", data, cluster="id", link="probit"))
    )
    with pytest.raises(OptionError, match="canonical link"):
        fit.hausman()


def test_poisson_fixed_effects_are_conditional() -> None:
    d = simulated(6, family="poisson")
    fit = cg.random_effects("y ~ x + z", d, cluster="id", family="poisson")
    fixed = fit.hausman(cg.fixed_effects("y ~ x + z", d, cluster="id", family="poisson"))
    assert fixed.statistic == pytest.approx(fit.hausman().statistic, rel=1e-5)
    assert fixed.remarks == ()


def test_sigma_held_fixed_or_at_zero(data: pd.DataFrame, fit: Any) -> None:
    fixed = cg.random_effects("y ~ x + z + c", data, cluster="id", sigma=fit.sigma, fix_sigma=True)
    assert fixed.hausman().statistic == pytest.approx(fit.hausman().statistic, rel=0.1)
    flat = data.assign(y=np.random.default_rng(9).integers(0, 2, len(data)))
    for seed in range(20):
        flat["y"] = np.random.default_rng(seed).integers(0, 2, len(data))
        at_zero = cg.random_effects("y ~ x + z", flat, cluster="id")
        if at_zero.sigma == 0.0:
            break
    assert at_zero.sigma == 0.0
    assert "sigma = 0, where its large-sample normality is in doubt" in str(at_zero.hausman())
    assert at_zero.hausman().df == 2


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"formula": "y ~ x"}, DesignError, "'z' in the random-effects model alone"),
        ({"formula": "y ~ x + z + I(z**2)"}, DesignError, r"the column 'I\(z \*\* 2\)', which is not in"),
        ({"rows": 700}, DataError, "the random-effects model uses 750 rows, other 700"),
        ({"flip": True}, DataError, "the responses 'y' differ"),
        ({"other_z": True}, DesignError, "the column 'z', which has other values"),
        ({"offset": "z"}, DataError, "the offsets differ"),
        ({"weights": "w"}, DataError, "the weights differ"),
        ({"cluster": "half"}, DataError, "the clusters differ"),
        ({"family": "poisson"}, OptionError, "poisson, log for binomial, logit"),
    ],
)
def test_fits_that_do_not_match(
    change: dict[str, Any], error: type[Exception], words: str, data: pd.DataFrame, fit: Any
) -> None:
    change, d = dict(change), data.assign(w=2, half=data.id // 2)
    d = d.head(change.pop("rows", len(d)))
    if change.pop("flip", False):
        d["y"] = 1 - d.y
    if change.pop("other_z", False):
        d["z"] = d.z + 1e-3 * d.x
    options = {"formula": "y ~ x + z", "cluster": "id", **change}
    with pytest.raises(error, match=words):
        fit.hausman(cg.conditional(options.pop("formula"), d, **options))


def test_other_kinds_of_fits_are_refused(data: pd.DataFrame, fit: Any) -> None:
    for wrong in (cg.pooled("y ~ x + z", data, cluster="id"), fit, "conditional"):
        with pytest.raises(OptionError, match=r"cg.conditional or cg.fixed_effects"):
            fit.hausman(wrong)
    with pytest.raises(OptionError, match="one of 'joint', 'difference'"):
        fit.hausman(cov="robust")


# In many data sets ----------------------------------------------------------------------------------------------------


def many(n: int, **options: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    family = options.get("family", "binomial")
    answers = []
    for seed in range(n):
        fit = cg.random_effects("y ~ x + z", simulated(1000 + seed, **options), cluster="id", family=family)
        within = fit.hausman()
        other = fit.hausman(cov="difference")
        answers.append([within.pvalue, other.pvalue if other.df == 2 else np.nan])
    return np.array(answers)


def test_size_and_power() -> None:
    """200 data sets under the model: 10% of 200 is 20, standard deviation 4.2; and with intercepts that go with x."""
    null = many(200)
    assert 8 <= (null[:, 0] < 0.1).sum() <= 34
    assert np.isfinite(null[:, 0]).all()
    dependent = many(25, dependence=0.7)
    assert (dependent[:, 0] < 0.05).mean() > 0.8


def test_both_covariances_agree_in_a_large_sample() -> None:
    fit = cg.random_effects("y ~ x + z", simulated(7, m=20_000), cluster="id")
    joint, difference = fit.hausman(), fit.hausman(cov="difference")
    np.testing.assert_allclose(joint.std_error, difference.std_error, rtol=0.04)


def test_a_frame(fit: Any) -> None:
    table = fit.hausman().to_frame()
    assert list(table.columns) == ["term", "random", "within", "difference", "std_error"]
    assert list(table.term) == ["x", "z"]
    np.testing.assert_allclose(table.difference, table.within - table.random)
