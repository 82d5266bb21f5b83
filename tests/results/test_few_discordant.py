"""A sigma that few clusters keep from infinity: what is said of it, and where its profile ends."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm

import clusterglm as cg

HALF = 0.5 * 3.841458820694124
NOTE = "both successes and failures, and sigma rests on"


def alike(discordant: int, m: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    d = pd.DataFrame({"id": np.repeat(range(m), 4)})
    d["y"] = (rng.random(m) < 0.6)[d.id] * 1
    first = d.id.drop_duplicates().index[:discordant]
    d.loc[first, "y"] = 1 - d.y[first]
    return d


class Exact:
    """Log-likelihood of an intercept and sigma, by a dense rule where logits are finite and normal tails beyond."""

    def __init__(self, d: pd.DataFrame) -> None:
        self.totals = d.groupby("id").y.sum().value_counts().to_dict()
        self.t = np.linspace(-60.0, 60.0, 12_001)
        self.weights = np.full(12_001, self.t[1] - self.t[0])
        self.weights[[0, -1]] /= 2.0

    def __call__(self, b: float, sigma: float) -> float:
        density = norm.pdf((self.t - b) / sigma) / sigma * self.weights
        total = 0.0
        for s, number in self.totals.items():
            p = np.exp(-s * np.logaddexp(0, -self.t) - (4 - s) * np.logaddexp(0, self.t)) @ density
            p += norm.sf((60.0 - b) / sigma) * (s == 4) + norm.cdf((-60.0 - b) / sigma) * (s == 0)
            total += number * np.log(max(p, 1e-300))
        return float(total)

    def of_sigma(self, sigma: float) -> float:
        return -minimize_scalar(lambda c: -self(c * sigma, sigma), bounds=(-3, 3), method="bounded",
                                options={"xatol": 1e-9}).fun  # fmt: skip

    def of_intercept(self, b: float) -> float:
        return -minimize_scalar(lambda c: -self(b, np.exp(c)), bounds=(1.5, 9), method="bounded",
                                options={"xatol": 1e-9}).fun  # fmt: skip


def test_profile_of_one_discordant_cluster() -> None:
    """Far from the estimates integrands lie elsewhere, and rules are laid anew; sigma's end is far beyond."""
    d = alike(1)
    fit, exact = cg.random_effects("y ~ 1", d, cluster="id"), Exact(d)
    assert f"Only 1 of 30 clusters has {NOTE} it" in " ".join(str(fit).split())
    top = exact.of_sigma(fit.sigma)
    assert fit.loglik == pytest.approx(top, abs=1e-5)
    ends = fit.conf_int(method="profile")
    assert ends.loc["sigma", "low"] == pytest.approx(brentq(lambda s: top - exact.of_sigma(s) - HALF, 2, 30), rel=1e-3)
    high = brentq(lambda s: top - exact.of_sigma(s) - HALF, 100, 5000)
    assert ends.loc["sigma", "high"] == pytest.approx(high, rel=2e-3)
    assert high > 10 * fit.sigma
    for end, away in zip(ends.loc["(Intercept)"], (-3.0, 100.0), strict=True):
        found = brentq(lambda b: top - exact.of_intercept(b) - HALF, *sorted((end - away / 3, end + away / 3)))
        assert end == pytest.approx(found, rel=5e-3)


def test_the_likelihood_falls_as_a_power_of_sigma() -> None:
    """As the note says: by log 10 for each discordant cluster and decade."""
    for k in (1, 2):
        exact = Exact(alike(k))
        assert exact.of_sigma(1e3) - exact.of_sigma(1e4) == pytest.approx(k * np.log(10.0), rel=0.05)


def test_who_is_told() -> None:
    for k, told in ((1, True), (3, True), (4, False)):
        assert (NOTE in " ".join(str(cg.random_effects("y ~ 1", alike(k), cluster="id")).split())) is told
    few = alike(3, m=6)  # half of all clusters
    assert NOTE not in " ".join(str(cg.random_effects("y ~ 1", few, cluster="id")).split())
    held = cg.random_effects("y ~ 1", alike(1), cluster="id", sigma=2.0, fix_sigma=True)
    assert NOTE not in " ".join(str(held).split())
    soft = cg.random_effects("y ~ 1", alike(1), cluster="id", penalty="soft")
    assert NOTE not in " ".join(str(soft).split())
    assert soft.sigma < cg.random_effects("y ~ 1", alike(1), cluster="id").sigma


def test_where_sigma_has_no_maximum_the_advice_can_be_followed() -> None:
    d = alike(1).assign(x=np.random.default_rng(4).normal(size=120))
    d.loc[0, "x"] = -9.0 if d.y[0] == 0 else 9.0  # separates the one discordant cluster
    with pytest.raises(cg.errors.ClusterError, match="penalty='soft', whose estimates are finite"):
        cg.random_effects("y ~ x", d, cluster="id")
    assert cg.random_effects("y ~ x", d, cluster="id", penalty="soft").converged
