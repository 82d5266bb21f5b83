"""Posteriors where factors cross: given the certified approximation, against brute force."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.pyplot import close
from scipy.special import expit, logsumexp

import clusterglm as cg
from clusterglm.errors import OptionError, SamplingWarning
from clusterglm.sample.crossed import fitted
from clusterglm.sample.diagnostics import worth
from clusterglm.sample.target import mode_of

PRIOR = cg.Prior(sd="half_normal(1)")


def crossed(persons: int = 30, items: int = 2, seed: int = 3, slope: float = 0.0) -> pd.DataFrame:
    """Everyone answers every item."""
    rng = np.random.default_rng(seed)
    p, i = np.repeat(np.arange(persons), items), np.tile(np.arange(items), persons)
    x = rng.normal(size=len(p))
    eta = 0.3 + slope * x + rng.normal(size=persons)[p] + np.linspace(-1.0, 1.0, items)[i]
    return pd.DataFrame({"p": p, "i": i, "x": x, "y": (rng.random(len(p)) < expit(eta)).astype(int)})


@pytest.fixture(scope="module")
def fit():
    return cg.random_effects("y ~ 1 + (1 | p) + (1 | i)", crossed(), inside="p")


@pytest.fixture(scope="module")
def posterior(fit):
    return fit.sample(1000, chains=2, seed=5, prior=PRIOR)


@pytest.fixture(scope="module")
def exact(fit):
    """Means, sds and quantiles of intercept and both standard deviations by a dense grid.

    The likelihood is a sum over effects of both items on a grid of their own, each person's integral by Gauss and
    Hermite's rule given these: persons with the same answers have the same.
    """
    data, levels = crossed(), [0.025, 0.975]
    answers = data.pivot(index="p", columns="i", values="y").to_numpy()
    counts = [((answers == pair).all(axis=1).sum(), pair) for pair in ((0, 0), (0, 1), (1, 0), (1, 1))]
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    weights = weights / weights.sum()
    v = np.linspace(-6.0, 6.0, 41)
    log_v = -0.5 * v**2 - 0.5 * np.log(2.0 * np.pi) + np.log(v[1] - v[0])
    intercepts, logs_p, logs_i = np.linspace(-4.0, 4.5, 27), np.linspace(-5.0, 1.6, 30), np.linspace(-4.0, 1.6, 28)
    table = np.empty((len(intercepts), len(logs_p), len(logs_i)))
    for a, intercept in enumerate(intercepts):
        for b, sd_p in enumerate(np.exp(logs_p)):
            for c, sd_i in enumerate(np.exp(logs_i)):
                one = expit(intercept + sd_i * v[:, None] + sd_p * nodes)
                each = {1: one, 0: 1.0 - one}
                sums = log_v[:, None] + log_v
                for count, (first, second) in counts:
                    sums = sums + count * np.log((each[first] * weights) @ each[second].T)
                prior = -0.5 * (intercept / 2.5) ** 2 + np.log(sd_p) + np.log(sd_i)
                prior -= 0.5 * (sd_p**2 + sd_i**2)
                table[a, b, c] = logsumexp(sums) + prior
    share = np.exp(table - table.max())
    share /= share.sum()
    found = []
    for d, axis in enumerate((intercepts, logs_p, logs_i)):
        own = share.sum(axis=tuple({0, 1, 2} - {d}))
        assert max(own[0], own[-1]) < 2e-3
        value = axis if d == 0 else np.exp(axis)
        mean, cdf = own @ value, np.cumsum(own) - 0.5 * own
        ends = np.interp(levels, cdf, axis)
        found.append([mean, np.sqrt(own @ (value - mean) ** 2), *(ends if d == 0 else np.exp(ends))])
    return np.array(found)


def test_a_dense_grid_says_the_same(posterior, exact) -> None:
    assert posterior.weights.share > 0.95
    for k, (mean, sd, low, high) in enumerate(exact):
        x = posterior.values[:, :, k]
        known = worth(x)
        tails = 4.0 / np.sqrt(known.ess_tail)
        assert x.mean() == pytest.approx(mean, abs=4.0 * known.mcse_mean)
        assert x.std() == pytest.approx(sd, rel=4.0 * np.sqrt(1.5 / known.ess_bulk))
        for level, end in ((0.025, low), (0.975, high)):
            assert (x <= end).mean() == pytest.approx(level, abs=tails * np.sqrt(0.025 * 0.975) + 2e-3)


def test_derivatives_of_the_target(fit) -> None:
    likelihood = fit._sampled()
    target, _ = mode_of(likelihood, cg.Prior().of(likelihood.coordinates))
    x = likelihood.start + np.array([0.1, -0.2, 0.15])
    here, h = target.evaluate(x), 1e-4
    for k, move in enumerate(h * np.eye(3)):
        ahead, behind = target.evaluate(x + move), target.evaluate(x - move)
        assert here.score[k] == pytest.approx((ahead.value - behind.value) / (2 * h), abs=2e-5)
        np.testing.assert_allclose(here.hessian[k], (ahead.score - behind.score) / (2 * h), atol=2e-4)


def test_a_quadratic_correction_is_found_again() -> None:
    rng, q, reach = np.random.default_rng(1), 3, 8.0
    root, bend = np.tril(rng.normal(size=(q, q))) + 2.0 * np.eye(q), rng.normal(size=(q, q))
    centre, slope, bend = rng.normal(size=q), rng.normal(size=q), bend + bend.T
    places = np.array([centre, *(centre + side * axis for axis in root.T for side in (-1.5, 1.5))])

    def truth(x):
        z = np.linalg.solve(root, x - centre)
        s = z / np.sqrt(1.0 + z @ z / reach**2)
        return 0.7 + slope @ s + 0.5 * s @ bend @ s

    slopes = [[(truth(x + 1e-5 * e) - truth(x - 1e-5 * e)) / 2e-5 for e in np.eye(q)] for x in places]
    found = fitted(centre, root, reach, places, np.array([truth(x) for x in places]), np.array(slopes))
    far = centre + root @ np.array([30.0, -40.0, 5.0])
    for x in (places[2], centre + 0.3, far):
        assert found.evaluate(x).value == pytest.approx(truth(x), rel=1e-7)
    assert abs(found.evaluate(far).value) < 0.7 + reach * np.abs(slope).sum() + reach**2 * np.abs(bend).sum()


def test_effects_are_drawn_given_parameters_and_data() -> None:
    """Means and sds at given parameters, by sums over effects of three items on a grid."""
    data = crossed(8, 3, slope=0.5, seed=5)
    fit, n = cg.random_effects("y ~ x + (1 | p) + (1 | i)", data, inside="p"), 500
    likelihood, rng = fit._sampled(), np.random.default_rng(2)
    theta = np.array([0.2, 0.4, 0.9, 0.7])
    made = fit._effect_draws(likelihood)
    drawn = [made.draw(theta, rng) for _ in range(n)]
    assert np.mean([error for _, error in drawn]) < 0.02
    effects = np.array([one[0] for one, _ in drawn])
    v, u = np.linspace(-4.5, 4.5, 21), np.linspace(-5.0, 5.0, 41)
    grid = np.array(np.meshgrid(v, v, v, indexing="ij")).reshape(3, -1)
    logs, moments = -0.5 * (grid**2).sum(axis=0), []
    for _, rows in data.groupby("p"):
        line = 0.2 + 0.4 * rows.x.to_numpy()[:, None, None] + 0.7 * grid[rows.i.to_numpy()][:, :, None] + 0.9 * u
        sign = np.where(rows.y.to_numpy() > 0, 1.0, -1.0)[:, None, None]
        each = -np.logaddexp(0.0, -sign * line).sum(axis=0) - 0.5 * u**2
        total = logsumexp(each, axis=1)
        logs = logs + total
        given = np.exp(each - total[:, None])
        moments.append((given @ u, given @ u**2))
    share = np.exp(logs - logsumexp(logs))
    wanted = [(0.9 * share @ first, 0.81 * share @ second) for first, second in moments]
    wanted += [(0.7 * share @ one, 0.49 * share @ one**2) for one in grid]
    mean, square = np.array(wanted).T
    sd = np.sqrt(square - mean**2)
    assert np.abs((effects.mean(axis=0) - mean) / sd).max() < 4.5 / np.sqrt(n)
    np.testing.assert_allclose(effects.std(axis=0), sd, rtol=4.5 / np.sqrt(2 * n))


def test_what_is_said_and_refused(posterior, fit) -> None:
    text = " ".join(str(posterior).split())
    assert "Laplace's approximation over the effects of 'i', corrected by importance sampling" in text
    for asked in (posterior.loo, posterior.waic, posterior.cluster_logliks):
        with pytest.raises(OptionError, match="single clusters in a model with crossed random effects"):
            asked()
    plain = cg.random_effects("y ~ 1 + (1 | p) + (1 | i)", crossed(), inside="p", quadrature="laplace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)  # so few draws
        drawn = plain.sample(30, chains=2, seed=1, method="independence")
    assert "of unknown error" in " ".join(str(drawn).split())
    assert np.isnan(drawn.weights.share)
    assert drawn.effects(draws=20).shape == (32, 7)


def test_files_predictions_and_pictures(posterior, fit, tmp_path) -> None:
    posterior.save(tmp_path / "posterior.json")
    again = cg.load(tmp_path / "posterior.json")
    assert str(again) == str(posterior)
    effects = posterior.effects(draws=40)
    pd.testing.assert_frame_equal(again.effects(draws=40), effects)
    assert list(effects["group"].unique()) == ["p", "i"]
    drawn, _ = posterior.effect_draws(40)
    theta = list(posterior._some(40))
    own = posterior.predict(kind="conditional", scale="link", draws=40)
    first = np.mean([one[0] for one in theta]) + drawn[:, 0, 0].mean() + drawn[:, 0, 30].mean()
    assert own["mean"].iloc[0] == pytest.approx(first)
    new = pd.DataFrame({"p": [0, 99], "i": [1, 1]})
    known = posterior.predict(new, kind="conditional", draws=40)
    assert known["status"].iloc[0] == "ok"
    assert np.isnan(known["mean"].iloc[1])
    assert posterior.predict(kind="marginal", draws=20)["mean"].between(0.0, 1.0).all()
    seen, sets = posterior.predictive_statistics(20)
    assert seen.shape == (2,)
    assert sets.shape == (20, 2)
    trace = cg.plot.trace(posterior, "sd(i: (Intercept))")
    assert trace.data["value"].mean() == pytest.approx(posterior.table()["mean"].iloc[2])
    assert cg.plot.predictive_check(posterior, n=20).data["value"].notna().all()
    close("all")


def test_any_number_of_workers_draws_the_same(fit) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)  # so few draws
        one, two = (fit.sample(20, chains=2, seed=4, method="independence", n_jobs=n) for n in (1, 2))
    assert np.array_equal(one.unconstrained, two.unconstrained)
