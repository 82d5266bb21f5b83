"""What follows a fit with several random effects: where the model is one of random intercepts, the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import clusterglm as cg
from clusterglm.errors import AccuracyWarning, DataError, OptionError
from clusterglm.inference.diagnostics.mixed_influence import Nearby
from clusterglm.results.models.base import Result
from clusterglm.results.models.mixed import MixedEffectsResult

TIGHT = cg.Quadrature("auto", tolerance=1e-8)
PRECISE: dict[str, Any] = {"quadrature": TIGHT, "control": cg.Control(tol=1e-9)}


def simulated(family: str = "binomial", m: int = 50, size: int = 6, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(m), size)
    u = rng.normal(size=(m, 2)) @ np.array([[0.9, 0.0], [0.25, 0.5]]).T
    x, w = rng.normal(size=m * size).round(1), rng.normal(size=m * size).round(1)
    eta = -0.2 + 0.5 * x + 0.4 * w + u[g, 0] + u[g, 1] * x
    y = rng.binomial(1, expit(eta)) if family == "binomial" else rng.poisson(np.exp(eta - 0.3))
    return pd.DataFrame({"y": y, "x": x, "w": w, "g": g, "one": 1.0, "t": np.tile(np.arange(size), m)})


@pytest.fixture(scope="module", params=["binomial", "poisson"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def both(family: str) -> tuple[Result, ...]:
    """The same model as one with a vector of a single effect, and as one with a random intercept."""
    data, written = simulated(family), ("0 + one", "1")
    return tuple(cg.random_effects(f"y ~ x + w + ({one} | g)", data, family=family, **PRECISE) for one in written)


@pytest.fixture(scope="module")
def slopes(family: str) -> MixedEffectsResult:
    return cg.random_effects("y ~ x + w + (x | g)", simulated(family), family=family)


@pytest.fixture(scope="module")
def logit() -> MixedEffectsResult:
    return cg.random_effects("y ~ x + w + (x | g)", simulated())


# Diagnostics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("intercepts", ["conditional", "typical", "marginal", 0.3])
@pytest.mark.parametrize("kind", ["response", "pearson", "deviance", "quantile", "simulated"])
def test_residuals_are_those_of_random_intercepts(both: Any, kind: str, intercepts: Any) -> None:
    if (kind, intercepts) == ("deviance", "marginal"):
        with pytest.raises(OptionError, match="over all clusters"):
            both[0].residuals(kind, intercepts)
        return
    one, other = (fit.residuals(kind, intercepts, seed=3, n_sim=20) for fit in both)
    # simulated ranks move by one where a draw does
    np.testing.assert_allclose(one, other, atol=1e-3 if kind != "simulated" else 0.06)


def test_marginal_residuals_against_a_grid(slopes: MixedEffectsResult) -> None:
    """Moments over the effects of each row, by a plain rule in two dimensions."""
    s = np.linspace(-8.0, 8.0, 161)
    u = np.stack(np.meshgrid(s, s, indexing="ij"), axis=-1).reshape(-1, 2)
    weight = np.exp(-0.5 * (u**2).sum(axis=1))
    weight /= weight.sum()
    data, Z = slopes.data, slopes.fit.effects.Z
    eta = (data.X @ slopes.params.to_numpy())[:, None] + Z @ (u @ slopes.fit.factor.T).T
    mean = slopes.response.mean(eta)
    first, second = mean @ weight, (mean**2) @ weight
    variance = second - first**2 + slopes.response.variance(mean) @ weight
    expected = (data.a - first) / np.sqrt(variance)
    found = slopes.residuals("pearson", "marginal").to_numpy()[data.row_index]
    np.testing.assert_allclose(found, expected, atol=1e-8)
    probability = slopes.response.tails(data.a[:, None], eta, data.trials[:, None])[0] @ weight
    z = slopes.residuals("quantile", "marginal", seed=1).to_numpy()[data.row_index]
    from scipy.special import ndtr

    assert (ndtr(z) <= probability + 1e-9).all()


def test_tests_by_simulation(both: Any, slopes: MixedEffectsResult) -> None:
    if slopes.family == "poisson":
        assert 0.5 < slopes.dispersion_test(30, seed=1).ratio < 2.0
        assert slopes.zero_inflation_test(30, seed=1).expected > 0.0
        for name in ("dispersion_test", "zero_inflation_test"):
            one, other = (getattr(fit, name)(40, seed=2) for fit in both)
            assert one.statistic == pytest.approx(other.statistic, rel=1e-4)
            assert one.expected == pytest.approx(other.expected, rel=2e-2)
    one, other = (fit.calibration() for fit in both)
    np.testing.assert_allclose(one.table(), other.table(), rtol=1e-3, atol=1e-4)
    ends = [fit.residual_envelope(9, seed=1) for fit in both]
    np.testing.assert_allclose(ends[0].residual, ends[1].residual, atol=1e-3)
    verdicts = [[(each.name, each.fine) for each in fit.check(seed=1, n_sim=20).findings] for fit in both]
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("kind", ["one_step", "exact"])
def test_influence_is_that_of_random_intercepts(both: Any, kind: str) -> None:
    one, other = (fit.influence(kind, clusters=range(6)) for fit in both)
    np.testing.assert_allclose(one.estimate, other.estimate, atol=1e-4)
    np.testing.assert_allclose(one.se, other.se, rtol=1e-3)
    np.testing.assert_allclose(one.dfbetas, other.dfbetas, atol=2e-3)
    np.testing.assert_allclose(one.cook, other.cook, rtol=1e-2, atol=1e-4)
    if kind == "exact":
        np.testing.assert_allclose(one.displacement, other.displacement, rtol=1e-2, atol=1e-4)


def test_one_step_is_near_what_deletion_does(slopes: MixedEffectsResult) -> None:
    data = simulated(slopes.family)
    one, exact = (slopes.influence(kind, clusters=[0, 7]) for kind in ("one_step", "exact"))
    assert exact.parameters == (*slopes.params.index, "sd(g: (Intercept))", "sd(g: x)", "cor(g: (Intercept),x)")
    np.testing.assert_allclose(one.estimate, slopes._estimates)
    for k, label in enumerate([0, 7]):
        without = cg.random_effects("y ~ x + w + (x | g)", data[data["g"] != label], family=slopes.family)
        np.testing.assert_allclose(exact.deleted[k], without._estimates, atol=2e-4)
        assert exact.displacement[k] > 0.0
    np.testing.assert_allclose(one.dfbetas, exact.dfbetas, atol=0.15)


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y ~ x + (x | g)", {}),
        ("y ~ x + (x || g)", {"quadrature": "laplace", "cluster_weights": "times"}),
        ("y ~ x + (1 | g/part)", {"quadrature": 9}),
    ],
)
def test_maxima_near_the_estimates_are_those_of_whole_searches(formula: str, options: dict[str, Any]) -> None:
    """Clusters that weigh much, and one that weighs little; with weights, one of several that a cluster stands for."""
    rng = np.random.default_rng(21)
    g, part = np.repeat(np.arange(60), 12), np.tile(np.repeat(np.arange(3), 4), 60)
    data = pd.DataFrame({"g": g, "part": part, "x": rng.normal(size=720), "times": 1 + g % 3})
    u = rng.normal(size=(60, 2))
    eta = 0.4 * data.x + u[g, 0] + 0.8 * u[g, 1] * data.x + rng.normal(size=(60, 3))[g, part]
    data["y"] = (rng.random(720) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    fit = cg.random_effects(formula, data, **options)
    deletion = fit._deletion()
    assert deletion.nearby is not None
    order = fit.influence().order
    se = np.sqrt(np.diag(np.linalg.inv(deletion.information)))
    for i in (*order[:2].tolist(), int(order[-1])):
        near = deletion.nearby(i)
        assert near is not None
        whole, _ = deletion.refit(deletion.without(i))
        np.testing.assert_allclose(near[0] / se, whole / se, atol=2e-5)
        assert near[1] == pytest.approx(deletion.loglik(near[0]), abs=1e-5)


def test_a_maximum_that_may_be_elsewhere_is_sought_all_over(logit: MixedEffectsResult) -> None:
    """That of few clusters, and one at which a standard deviation has lost most of what it was."""
    deletion = logit._deletion()
    near = deletion.nearby
    assert isinstance(near, Nearby)
    assert near._like_before(deletion.theta)
    assert not near._like_before(deletion.theta * np.where(["sd" in name for name in deletion.parameters], 0.1, 1.0))
    assert cg.random_effects("y ~ x + w + (x | g)", simulated(m=40))._deletion().nearby is None


def test_influence_where_the_covariance_is_singular() -> None:
    rng = np.random.default_rng(12)
    g = np.repeat(np.arange(30), 5)
    data = pd.DataFrame({"x": rng.normal(size=150), "g": g})
    data["y"] = rng.binomial(1, expit(rng.normal(size=30)[g] + 0.5 * data["x"]))
    fit = cg.random_effects("y ~ x + (x || g)", data)
    alone = cg.random_effects("y ~ x + (1 | g)", data)
    assert fit.singular
    one, other = (each.influence() for each in (fit, alone))
    np.testing.assert_allclose(one.cook, other.cook, rtol=1e-2, atol=1e-5)


def test_integrals(both: Any, slopes: MixedEffectsResult) -> None:
    assert slopes.integration_check().adequate
    one, other = (fit.integration_curve((1, 3, 5)) for fit in both)
    np.testing.assert_allclose(one.difference, other.difference, atol=2e-6)
    rough = cg.random_effects("y ~ x + w + (x | g)", simulated(), quadrature=3)
    with pytest.warns(AccuracyWarning, match='quadrature="auto"'):
        found = rough.integration_check()
    assert found.rule == "3 adaptive nodes for each effect"
    accurate = cg.random_effects("y ~ x + w + (x | g)", simulated())
    moved = (accurate._estimates - rough._estimates) / np.sqrt(np.diag(rough.cov()))
    np.testing.assert_allclose(found.shift, moved, atol=0.02)
    with pytest.raises(OptionError, match="nodes"):
        slopes.integration_curve((0,))


# Effects -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["marginal", "typical", "conditional"])
def test_average_effects_are_those_of_random_intercepts(both: Any, kind: str) -> None:
    for cov in ("observed", "robust"):
        one, other = (fit.average_effects(["x", "w"], kind, cov=cov).set_index("term") for fit in both)
        pd.testing.assert_frame_equal(one, other, rtol=1e-3, atol=1e-6)


def moved(data: pd.DataFrame, name: str, step: float) -> pd.DataFrame:
    return data.assign(**{name: data[name] + step})


@pytest.mark.parametrize("kind", ["marginal", "typical", "conditional"])
def test_effects_move_the_random_part(slopes: MixedEffectsResult, kind: str) -> None:
    """Against differences of predictions, which know nothing of effects; errors against those of the prediction."""
    data, h = simulated(slopes.family), 1e-4
    found = slopes.average_effects(kind=kind).set_index("term")
    for name in ("x", "w"):
        ends = [slopes.predict(moved(data, name, side * h), kind=kind).mean() for side in (1.0, -1.0)]
        assert found.loc[name, "estimate"] == pytest.approx((ends[0] - ends[1]) / (2.0 * h), rel=1e-5)
        assert found.loc[name, "contrast"] == "derivative"


def test_errors_of_effects_by_differences(slopes: MixedEffectsResult) -> None:
    """The gradient of the estimate in the parameters, from estimates with other parameters."""
    from dataclasses import replace

    data = simulated(slopes.family).assign(b=lambda d: (d["w"] > 0).astype(int))
    fit = cg.random_effects("y ~ x + b + (x + b || g)", data, family=slopes.family)
    p, V = len(fit.params), fit._delta_covariance("observed")
    for kind in ("marginal", "typical"):
        rows = []
        for step in 1e-5 * np.eye(len(fit.fit.theta)):
            ends = [
                replace(
                    fit, fit=replace(fit.fit, beta=(fit.fit.theta + s)[:p], phi=(fit.fit.theta + s)[p:])
                ).average_effects(kind=kind)["estimate"]
                for s in (step, -step)
            ]
            rows.append((ends[0] - ends[1]) / 2e-5)
        gradient = np.array(rows).T
        se = np.sqrt(np.einsum("ij,jk,ik->i", gradient, V, gradient))
        np.testing.assert_allclose(fit.average_effects(kind=kind)["std_error"], se, rtol=1e-5)


def test_a_variable_of_the_random_part_alone(logit: MixedEffectsResult) -> None:
    data = simulated()
    with pytest.raises(DataError, match="'w'"):
        cg.random_effects("y ~ x + (I(w**2) | g)", data).average_effects()
    fit = cg.random_effects("y ~ x + (w | g)", data)
    found = fit.average_effects().set_index("term")
    pd.testing.assert_frame_equal(found, fit.average_effects(data=data).set_index("term"), rtol=1e-6)
    ends = [fit.predict(moved(data, "w", side * 1e-4), kind="marginal").mean() for side in (1.0, -1.0)]
    assert found.loc["w", "estimate"] == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-4, abs=1e-8)
    assert fit.average_effects("w", "typical", data=data)["estimate"][0] == 0.0


def test_how_far_clusters_differ(both: Any, slopes: MixedEffectsResult) -> None:
    one, other = (fit.median_odds_ratio() for fit in both)
    for name in ("estimate", "std_error", "conf_low", "conf_high"):
        np.testing.assert_allclose(one[name], getattr(other, name), rtol=1e-3)
    at = pd.DataFrame({"x": [-1.0, 0.0, 2.0, np.nan]})
    S = slopes.effects_covariance().to_numpy()
    sd = [np.sqrt(np.array([1.0, x]) @ S @ [1.0, x]) for x in at["x"][:3]]
    found = slopes.median_odds_ratio(at)
    np.testing.assert_allclose(found["sd"][:3], sd)
    assert found["status"].tolist()[:3] == ["ok"] * 3
    assert "missing" in found["status"][3]
    if slopes.family == "poisson":
        with pytest.raises(OptionError, match="median_odds_ratio"):
            slopes.intraclass_correlation()
        return
    icc, of_one = both[0].intraclass_correlation(), both[1].intraclass_correlation()
    for name in ("estimate", "std_error", "conf_low", "conf_high"):
        np.testing.assert_allclose(icc[name], getattr(of_one, name), rtol=1e-3)
    np.testing.assert_allclose(
        slopes.intraclass_correlation(at)["estimate"][:3], np.square(sd) / (np.square(sd) + np.pi**2 / 3)
    )


def test_marginal_coefficients(both: Any, slopes: MixedEffectsResult) -> None:
    one, other = (fit.marginal_coefficients() for fit in both)
    pd.testing.assert_frame_equal(one, other, rtol=1e-3, atol=1e-6)
    assert one.attrs["misfit"] == pytest.approx(other.attrs["misfit"], abs=1e-6)
    means = slopes.predict(kind="marginal", scale="link")
    X = slopes.data.X[np.argsort(slopes.data.row_index)]
    expected = np.linalg.lstsq(X, means.to_numpy(), rcond=None)[0]
    np.testing.assert_allclose(slopes.marginal_coefficients()["estimate"], expected, rtol=1e-8)
    assert slopes.marginal_coefficients().attrs["misfit"] > 0.0


def test_tests_of_no_clustering(both: Any, slopes: MixedEffectsResult) -> None:
    for method, options in (("boundary", {}), ("score", {}), ("bootstrap", {"n_boot": 9, "seed": 1})):
        one, other = (fit.test_clustering(method, **options) for fit in both)
        assert one.statistic == pytest.approx(other.statistic, rel=1e-3)
        assert one.pvalue == pytest.approx(other.pvalue, rel=1e-2)
    np.testing.assert_allclose(one.replicates, other.replicates, atol=2e-3)
    assert slopes.test_clustering(n_boot=5, seed=1).statistic == pytest.approx(
        2 * (slopes.loglik - slopes.pooled.loglik)
    )
    assert slopes.test_clustering("permutation", n_boot=5, seed=1).n_boot == 5
    with pytest.raises(OptionError, match="no known distribution"):
        slopes.test_clustering("boundary")
    assert "no known distribution" in str(slopes.clustering_test)


def test_hausman(both: Any, slopes: MixedEffectsResult) -> None:
    one, other = (fit.hausman() for fit in both)
    assert one.statistic == pytest.approx(other.statistic, rel=1e-2)
    np.testing.assert_allclose(one.std_error, other.std_error, rtol=1e-3)
    with pytest.raises(OptionError, match="random slopes"):
        slopes.hausman()


def test_survival(both: Any, slopes: MixedEffectsResult) -> None:
    new = pd.DataFrame({"x": 0.5, "w": [0.0, 0.3, -0.4, 0.1], "one": 1.0, "t": [0, 1, 2, 3], "x2": 1.0})
    for kind in ("marginal", "typical"):
        one, other = (fit.survival(new, "t", kind=kind) for fit in both)
        pd.testing.assert_frame_equal(one, other, rtol=1e-3, atol=1e-6)
    s = np.linspace(-8.0, 8.0, 161)
    u = np.stack(np.meshgrid(s, s, indexing="ij"), axis=-1).reshape(-1, 2)
    weight = np.exp(-0.5 * (u**2).sum(axis=1))
    b = u @ slopes.fit.factor.T
    eta = slopes.params.to_numpy() @ np.array([np.ones(4), new["x"], new["w"]]) + (b @ np.array([1.0, 0.5]))[:, None]
    mean = slopes.response.mean(eta)
    none = 1.0 - mean if slopes.family == "binomial" else np.exp(-mean)
    expected = weight @ np.cumprod(none, axis=1) / weight.sum()
    np.testing.assert_allclose(slopes.survival(new, "t")["survival"], expected, atol=1e-8)
    lost = slopes.survival(new.assign(x=[0.5, np.nan, 0.5, 0.5]), "t")
    assert lost["status"].str.contains("missing").tolist() == [False, True, False, False]


# Predictions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["conditional", "posterior"])
def test_history_of_new_clusters(both: Any, slopes: MixedEffectsResult, kind: str) -> None:
    data = simulated(slopes.family)
    history = data[data["g"].isin([3, 8])].assign(g=lambda d: d["g"] + 100)
    new = data[data["g"].isin([3, 8, 9])].assign(g=lambda d: d["g"].where(d["g"] == 9, d["g"] + 100))
    one, other = (fit.predict(new, kind, history=history, level=0.9) for fit in both)
    pd.testing.assert_frame_equal(one, other, rtol=3e-3, atol=1e-5)
    found = slopes.predict(new, kind, history=history, level=0.9)
    own = slopes.predict(data[data["g"].isin([3, 8, 9])], kind, level=0.9)  # the same data say the same
    np.testing.assert_allclose(found.iloc[:, :4], own.iloc[:, :4], rtol=1e-6)
    with pytest.raises(OptionError, match="history"):
        slopes.predict(new, "marginal", history=history)


def test_a_new_cluster(both: Any, slopes: MixedEffectsResult) -> None:
    one, other = (fit.predict(kind="marginal", level=0.9, interval="cluster") for fit in both)
    pd.testing.assert_frame_equal(one, other, rtol=2e-3, atol=1e-5)
    x = pd.DataFrame({"x": [-2.0, 0.0, 2.0], "w": 0.0})
    found = slopes.predict(x, "marginal", level=0.8, interval="cluster", scale="link")
    rng, n = np.random.default_rng(1), 40_000
    L, V = slopes.fit.factor, slopes._delta_covariance("observed")
    errors = rng.multivariate_normal(np.zeros(6), V, n)
    dL = np.zeros((n, 2, 2))
    dL[:, [0, 1, 1], [0, 0, 1]] = errors[:, 3:]
    for k, value in enumerate(x["x"]):
        z = np.array([1.0, value])
        s = np.linalg.norm(L.T @ z)
        u = np.einsum("i,nij,j->n", z, dL, L.T @ z) / s**2
        drawn = (slopes.params.to_numpy() + errors[:, :3]) @ [1.0, value, 0.0] + s * np.exp(u) * rng.normal(size=n)
        assert np.mean((drawn > found["low"][k]) & (drawn < found["high"][k])) == pytest.approx(0.8, abs=0.01)
    with pytest.raises(OptionError, match="interval"):
        slopes.predict(x, "typical", level=0.9, interval="cluster")


def test_unseen_clusters_among_others(both: Any) -> None:
    new = simulated(both[0].family).head(9).assign(g=[0, 1, 2, 990, 991, 3, 4, 5, 992])
    for interval in ("mean", "cluster"):
        options = {"kind": "conditional", "unseen": "marginal", "level": 0.9, "interval": interval}
        one, other = (fit.predict(new, **options) for fit in both)
        pd.testing.assert_frame_equal(one, other, rtol=3e-3, atol=1e-5)


def test_effects_of_a_factor_that_varies() -> None:
    """Three effects, one for each level: a level moves which of them a row has."""
    rng = np.random.default_rng(4)
    data = simulated(m=60, size=9).assign(f=lambda d: np.array(list("abc"))[rng.integers(0, 3, len(d))])
    fit = cg.random_effects("y ~ x + f + (0 + f | g)", data)
    found = fit.average_effects().set_index("contrast")
    for level in ("b", "c"):
        ends = [fit.predict(data.assign(f=each), kind="marginal").mean() for each in (level, "a")]
        assert found.loc[f"{level} - a", "estimate"] == pytest.approx(ends[0] - ends[1], abs=1e-9)
    at = pd.DataFrame({"f": ["a", "b", "c", "d"]})
    ratios = fit.median_odds_ratio(at)
    np.testing.assert_allclose(ratios["sd"][:3], np.sqrt(np.diag(fit.effects_covariance())))
    assert "not seen" in ratios["status"][3]
    assert len(fit.plot.caterpillar().figure.axes) == 3


def test_what_one_intercept_alone_has_is_refused_in_words(slopes: MixedEffectsResult) -> None:
    for name in ("sigma", "sigma_se", "random_effects_sd", "icc"):
        with pytest.raises(OptionError, match="try:"):
            getattr(slopes, name)
    for name in ("interval_odds_ratio", "event_counts", "chi_squared", "gradient_function", "to_marginaleffects"):
        with pytest.raises(OptionError, match="try:"):
            getattr(slopes, name)()
    assert slopes.shape is None
    assert slopes.distribution.name == "gaussian"
