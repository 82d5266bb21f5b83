"""Envelopes of quantile residuals: right where the model holds, wrong where it does not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg


def counts(rng: np.random.Generator, dispersed: bool) -> pd.DataFrame:
    m, n = 60, 6
    x = rng.normal(size=m * n)
    rate = np.exp(0.8 + 0.4 * x + np.repeat(0.6 * rng.normal(size=m), n))
    y = rng.poisson(rate * rng.gamma(1.0, 1.0, m * n)) if dispersed else rng.poisson(rate)
    return pd.DataFrame({"y": y, "x": x, "id": np.repeat(np.arange(m), n)})


@pytest.mark.parametrize("verb", [cg.random_effects, cg.fixed_effects], ids=lambda verb: verb.__name__)
def test_share_inside(verb) -> None:  # type: ignore[no-untyped-def]
    """Of data from the model 95 points in 100 lie inside, of over-dispersed ones hardly any in the tails."""
    shares = {}
    for dispersed, sets in ((False, 8), (True, 1)):
        rng, inside = np.random.default_rng(11), []
        for _ in range(sets):
            fit = verb("y ~ x", counts(rng, dispersed), cluster="id", family="poisson")
            found = fit.residual_envelope(n_sim=39, seed=1)
            tails = np.abs(found.theoretical) > 1.0
            inside.append(np.mean((found.ordered >= found.low) & (found.ordered <= found.high), where=tails))
        shares[dispersed] = np.mean(inside)
    assert shares[False] > 0.85
    assert shares[True] < 0.1


def test_same_seed_same_envelope(bacteria_fit: cg.Control) -> None:
    first = bacteria_fit.residual_envelope(n_sim=9, seed=4)
    second = bacteria_fit.residual_envelope(n_sim=9, seed=4, n_jobs=2)
    for name in ("residual", "ordered", "low", "high", "mean", "mean_low", "mean_high"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_certain_rows_are_left_out() -> None:
    fit = cg.fixed_effects("y ~ week", cg.datasets.load("bacteria"), cluster="ID")
    found = fit.residual_envelope(n_sim=9, seed=1)
    assert np.isnan(found.residual).sum() == fit.n_obs - fit.n_obs_informative
    assert np.isfinite(found.ordered).all()
    assert np.isfinite(found.mean).all()


@pytest.fixture(scope="module")
def bacteria_fit():  # type: ignore[no-untyped-def]
    return cg.random_effects("y ~ week", cg.datasets.load("bacteria"), cluster="ID")
