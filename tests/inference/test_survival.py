"""Survival curves under a frailty, against numerical integration by brute force and against simulated lives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import expit, ndtr
from scipy.stats import norm

import clusterglm as cg
from clusterglm.errors import DataError, OptionError
from clusterglm.results.models.random_effects import RandomEffectsResult

MEANS: dict[str, Callable[[Any], Any]] = {
    "logit": expit,
    "probit": ndtr,
    "cloglog": lambda eta: -np.expm1(-np.exp(np.minimum(eta, 700.0))),
}


def lives(link: str, m: int = 300, seed: int = 3) -> pd.DataFrame:
    """Person-periods of persons in twos, who share a frailty, until the event or the sixth period."""
    rng, rows = np.random.default_rng(seed), []
    v, treated = rng.normal(0.0, 1.0, m), np.arange(2 * m) % 2
    for i in range(2 * m):
        for t in range(1, 7):
            p = MEANS[link](-1.8 + 0.15 * t - 0.6 * treated[i] + v[i // 2])
            event = int(rng.random() < p)
            rows.append((i // 2, i, t, treated[i], event))
            if event:
                break
    return pd.DataFrame(rows, columns=["pair", "person", "t", "treated", "event"])


NEW = pd.DataFrame({"t": np.tile(np.arange(1, 7), 2), "treated": np.repeat([0, 1], 6)})


@pytest.fixture(scope="module")
def fit() -> RandomEffectsResult:
    return cg.random_effects("event ~ C(t) + treated", lives("cloglog"), cluster="pair", link="cloglog")


@pytest.mark.parametrize("link", MEANS)
@pytest.mark.parametrize("distribution", ["gaussian", "logistic"])
def test_curves_by_brute_force(link: str, distribution: str) -> None:
    result = cg.random_effects(
        "event ~ t + treated", lives(link, 150), cluster="pair", link=link, distribution=distribution
    )
    found = result.survival(NEW, "t", by="treated")
    eta = result.predict(NEW, kind="typical", scale="link").to_numpy()
    density = norm.pdf if distribution == "gaussian" else lambda z: expit(z) * expit(-z)
    for k in range(12):
        periods = eta[(NEW.treated == NEW.treated[k]) & (NEW.t <= NEW.t[k])]

        def alive(z: float, periods: np.ndarray = periods) -> float:
            return float(np.prod(1.0 - MEANS[link](periods + result.sigma * z)) * density(z))

        want = sum(quad(alive, a, a + 10.0, epsabs=1e-13, epsrel=1e-12)[0] for a in range(-40, 40, 10))
        assert found.survival[k] == pytest.approx(want, rel=1e-9)
    before = found.survival.groupby(found.treated).shift(fill_value=1.0)
    np.testing.assert_allclose(found.hazard, 1.0 - found.survival / before, rtol=1e-7)


def test_a_gamma_frailty_has_a_closed_form() -> None:
    """With cloglog hazards and log-gamma intercepts, S = (1 + theta H)^(-1/theta) (Hougaard 1984)."""
    data = lives("cloglog")
    result = cg.random_effects("event ~ t + treated", data, cluster="pair", link="cloglog", distribution="log_gamma")
    found = result.survival(NEW, "t", by="treated")
    family = result.distribution.at(result.sigma)
    z = family.quantile_of_normal(np.linspace(-8.0, 8.0, 4001))  # the law's moments, from the law itself
    weights = norm.pdf(np.linspace(-8.0, 8.0, 4001)) * 16.0 / 4000
    factor = np.exp(result.sigma * z)
    mean, square = weights @ factor, weights @ factor**2
    theta = square / mean**2 - 1.0
    hazard = np.exp(result.predict(NEW, kind="typical", scale="link")).groupby(NEW.treated).cumsum() * mean
    np.testing.assert_allclose(found.survival, (1.0 + theta * hazard) ** (-1.0 / theta), rtol=1e-6)


def test_simulated_lives_end_as_the_curve_says() -> None:
    """A curve from a fit to 4,000 pairs, and the lives of 100,000 others with frailties of their own."""
    result = cg.random_effects("event ~ C(t) + treated", lives("logit", 4000), cluster="pair")
    found = result.survival(NEW, "t", by="treated")
    rng, n = np.random.default_rng(9), 100_000
    v = rng.normal(0.0, 1.0, n)
    for treated in (0, 1):
        alive, curve = np.ones(n, dtype=bool), found[found.treated == treated]
        for t in range(1, 7):
            alive &= rng.random(n) >= expit(-1.8 + 0.15 * t - 0.6 * treated + v)
            row = curve[curve.t == t].iloc[0]
            error = np.hypot(row.std_error, np.sqrt(alive.mean() * (1.0 - alive.mean()) / n))
            assert abs(alive.mean() - row.survival) < 2.5 * error


@pytest.mark.parametrize("kind", ["marginal", "typical"])
@pytest.mark.parametrize("cov", ["observed", "robust"])
def test_standard_errors_by_differences(fit: RandomEffectsResult, kind: str, cov: str) -> None:
    theta, h = fit.fit.theta, 1e-5

    def at(theta: np.ndarray) -> np.ndarray:
        other = replace(fit.fit, beta=theta[:-1].copy(), sigma=float(theta[-1]))
        return RandomEffectsResult(other, fit.data).survival(NEW, "t", "treated", kind).survival.to_numpy()

    slopes = np.column_stack([(at(theta + e) - at(theta - e)) / (2 * h) for e in h * np.eye(len(theta))])
    found = fit.survival(NEW, "t", "treated", kind, level=0.9, cov=cov)
    want = np.sqrt(np.einsum("ij,jk,ik->i", slopes, fit.cov(cov), slopes))
    np.testing.assert_allclose(found.std_error, want, rtol=1e-5)
    S, reach = found.survival, 1.6448536269514722 * found.std_error
    z = reach / (S * -np.log(S))
    np.testing.assert_allclose(found.low, S ** np.exp(z), rtol=1e-9)
    np.testing.assert_allclose(found.high, S ** np.exp(-z), rtol=1e-9)
    pd.testing.assert_frame_equal(fit.survival(NEW, "t", "treated", kind, alpha=0.1, cov=cov), found)


def test_the_frail_leave(fit: RandomEffectsResult) -> None:
    marginal, typical = (fit.survival(NEW, "t", "treated", kind) for kind in ("marginal", "typical"))
    mean = fit.predict(NEW, kind="typical")
    np.testing.assert_allclose(typical.hazard, mean, rtol=1e-9)
    np.testing.assert_allclose(typical.survival, (1.0 - mean).groupby(NEW.treated).cumprod(), rtol=1e-9)
    ratio = (marginal.hazard / fit.predict(NEW, kind="marginal").to_numpy()).groupby(marginal.treated)
    np.testing.assert_allclose(ratio.first(), 1.0, rtol=1e-8)
    assert (ratio.apply(lambda r: (np.diff(r) < 0.0).all())).all()


def test_counts_are_piecewise_exponential() -> None:
    data = lives("cloglog").assign(length=1.5)
    result = cg.random_effects("event ~ treated", data, cluster="pair", family="poisson", exposure="length")
    found = result.survival(NEW.assign(length=1.5), "t", "treated")
    typical = result.survival(NEW.assign(length=1.5), "t", "treated", "typical")
    rate = np.exp(result.params.iloc[0] + result.params["treated"] * typical.treated)
    np.testing.assert_allclose(typical.survival, np.exp(-1.5 * rate * typical.t), rtol=1e-10)
    for k in (0, 5, 11):
        total = -np.log(typical.survival[k])

        def alive(z: float, total: float = total) -> float:
            return float(np.exp(-total * np.exp(result.sigma * z)) * norm.pdf(z))

        assert found.survival[k] == pytest.approx(quad(alive, -12.0, 12.0, epsabs=1e-13)[0], rel=1e-9)


def test_order_names_and_types(fit: RandomEffectsResult) -> None:
    want = fit.survival(NEW, "t", by="treated")
    shuffled = NEW.sample(frac=1.0, random_state=1)
    pd.testing.assert_frame_equal(fit.survival(shuffled, "t", by=["treated"]), want, rtol=1e-9)
    one = fit.survival(NEW[NEW.treated == 0], "t")
    assert one.columns.to_list() == ["t", "hazard", "survival", "std_error", "low", "high", "status"]
    np.testing.assert_allclose(one.survival, want.survival[:6], rtol=1e-9)
    group = NEW.assign(arm=np.where(NEW.treated == 1, "b", "a"), site=["x", "y"] * 6)
    both = fit.survival(group, "t", by=["arm", "site"])
    assert both.columns.to_list()[:3] == ["arm", "site", "t"]
    assert both.groupby(["arm", "site"]).size().to_list() == [3, 3, 3, 3]
    dated = group.assign(day=pd.to_datetime("2020-01-01") + pd.to_timedelta(group.t, "D"))
    np.testing.assert_allclose(fit.survival(dated, "day", by="arm").survival, want.survival, rtol=1e-9)
    assert fit.survival(NEW.iloc[:0], "t", by="treated").empty


def test_a_curve_ends_where_a_row_is_missing(fit: RandomEffectsResult) -> None:
    holes = NEW.astype({"treated": float})
    holes.loc[2, "treated"] = np.nan
    found = fit.survival(holes.assign(arm=NEW.treated), "t", by="arm")
    assert found.survival.notna().to_list() == [True] * 2 + [False] * 4 + [True] * 6
    assert found.status.to_list()[2:4] == [
        "missing value in 'treated'",
        "an earlier period of its curve cannot be predicted",
    ]
    first = holes.assign(treated=np.where(NEW.t == 1, np.nan, NEW.treated), arm=NEW.treated)
    assert fit.survival(first, "t", by="arm").survival.isna().all()


@pytest.mark.parametrize(
    ("change", "arguments", "error", "words"),
    [
        ({}, {"time": "t"}, DataError, "period 1 of 't' twice"),
        ({}, {"time": "when"}, DataError, "when"),
        ({}, {"time": "t", "by": "arm"}, DataError, "arm"),
        ({"t": [str(t) for t in NEW.t]}, {"time": "t", "by": "treated"}, DataError, "numbers or dates"),
        ({"u": [np.nan] * 12}, {"time": "u", "by": "treated"}, DataError, "missing values"),
        ({}, {"time": "t", "by": ["treated", 3]}, OptionError, "by=3"),
        ({"status": 1}, {"time": "t", "by": "status"}, OptionError, "another name"),
        ({}, {"time": "t", "by": "treated", "kind": "conditional"}, OptionError, "'typical'"),
        ({}, {"time": "t", "by": "treated", "level": 0.05}, OptionError, "level"),
    ],
)
def test_refusals(fit: RandomEffectsResult, change: Any, arguments: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        fit.survival(NEW.assign(**change), **arguments)
