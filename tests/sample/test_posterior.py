"""Posteriors against a dense grid, the prior, differences; the same draws for any workers; what is refused."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp

import clusterglm as cg
from clusterglm.errors import MissingPackageError, OptionError, SamplingWarning
from clusterglm.sample.chains import _moving
from clusterglm.sample.diagnostics import worth
from clusterglm.sample.target import Target, mode_of

sys.path.insert(0, str(Path(__file__).parent))
from clustered import clustered


@pytest.fixture(scope="module")
def fit():
    return cg.random_effects("y ~ x", clustered(), cluster="id")


@pytest.fixture(scope="module")
def posterior(fit):
    return fit.sample(1000, chains=2, seed=5)


@pytest.fixture(scope="module")
def exact(fit):
    """Means, standard deviations and quantiles by a dense grid that knows the likelihood by brute force."""
    data = fit.data
    levels = [0.025, 0.975]
    nodes, weights = np.polynomial.hermite_e.hermegauss(25)
    log_weights = np.log(weights) - 0.5 * np.log(2 * np.pi)
    se = np.sqrt(np.diag(fit.cov()))
    axes = [
        np.linspace(fit.params.iloc[0] - 5 * se[0], fit.params.iloc[0] + 5 * se[0], 31),
        np.linspace(fit.params.iloc[1] - 5 * se[1], fit.params.iloc[1] + 6 * se[1], 31),
        np.linspace(np.log(fit.sigma) - 4.5, np.log(fit.sigma) + 1.6, 41),
    ]
    sd, mean = data.X[:, 1].std(), data.X[:, 1].mean()
    table = np.empty([len(a) for a in axes])
    sign = np.where(data.a > 0, 1.0, -1.0)
    for j, b1 in enumerate(axes[1]):
        for k, log_sigma in enumerate(axes[2]):
            sigma = np.exp(log_sigma)
            eta = axes[0][:, None, None] + b1 * data.X[:, 1][None, :, None] + sigma * nodes
            rows = -np.logaddexp(0.0, -sign[None, :, None] * eta)
            each = logsumexp(np.add.reduceat(rows, data.starts[:-1], axis=1) + log_weights, axis=2).sum(axis=1)
            prior = -0.5 * ((axes[0] + b1 * mean) / 2.5) ** 2 - 0.5 * (b1 * sd / 2.5) ** 2
            prior += -2.0 * np.log1p(sigma**2 / 6.25 / 3.0) + log_sigma
            table[:, j, k] = each + prior
    p = np.exp(table - table.max())
    p /= p.sum()
    found = []
    for d, axis in enumerate(axes):
        share = p.sum(axis=tuple({0, 1, 2} - {d}))
        assert share[0] < 1e-3
        assert share[-1] < 1e-3
        value = np.exp(axis) if d == 2 else axis
        mu = share @ value
        cdf = np.cumsum(share) - 0.5 * share  # as a density at the points
        ends = np.interp(levels, cdf, axis)
        found.append([mu, np.sqrt(share @ (value - mu) ** 2), *(np.exp(ends) if d == 2 else ends)])
    return np.array(found)


@pytest.mark.parametrize("method", ["independence", "hamiltonian"])
def test_a_dense_grid_says_the_same(fit, posterior, exact, method) -> None:
    drawn = posterior if method == "independence" else fit.sample(600, chains=2, seed=6, method=method)
    for k, (mean, sd, low, high) in enumerate(exact):
        x = drawn.values[:, :, k]
        known = worth(x)
        assert x.mean() == pytest.approx(mean, abs=4 * known.mcse_mean)
        assert x.std() == pytest.approx(sd, rel=4 * np.sqrt(1.5 / known.ess_bulk))
        for level, end in ((0.025, low), (0.975, high)):
            share = (x <= end).mean()
            assert share == pytest.approx(level, abs=4 * np.sqrt(0.025 * 0.975 / known.ess_tail) + 1e-3)


def test_without_data_the_prior_comes_back() -> None:
    fit = cg.random_effects("y ~ x + (x | id)", clustered(), quadrature=3)
    prior = cg.Prior(correlation="lkj(2)")
    for method in ("independence", "hamiltonian"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SamplingWarning)  # proposals about a prior's mode are not worth much
            drawn = fit.sample(800, chains=2, seed=2, prior=prior, prior_only=True, method=method)
        exact = prior.of(drawn._coordinates).draw(np.random.default_rng(1), 40000)
        for k in range(exact.shape[1]):
            x = drawn.unconstrained[:, :, k]
            for level in (0.1, 0.5, 0.9):
                share = (x <= np.quantile(exact[:, k], level)).mean()
                assert share == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / worth(x).ess_tail) + 0.005)
    assert drawn.sampler.log_evidence == pytest.approx(0.0, abs=0.3)  # a prior has the integral 1
    with pytest.raises(OptionError, match="draws of the prior alone"):
        drawn.loo()


MODELS = {
    "one": ("y ~ x + (1 | id)", None),
    "t": ("y ~ x + (1 | id)", "student_t(4)"),
    "three": ("y ~ x + (w | id)", None),
    "one correlation": ("y ~ x + cs(w | id)", None),
    "one variance": ("y ~ x + homdiag(0 + w | id)", None),
    "nested": ("y ~ x + (x | id) + (1 | id:k)", None),
}


@pytest.mark.parametrize("model", MODELS)
def test_derivatives_of_the_target(model) -> None:
    formula, distribution = MODELS[model]
    options = {} if distribution is None else {"distribution": distribution}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of maxima that are not reached: derivatives are asked for anywhere
        fit = cg.random_effects(formula, clustered(20), quadrature=5, control=cg.Control(max_iter=3), **options)
    likelihood, prior = fit._sampled(), cg.Prior(correlation="lkj(1.5)")
    density = prior.of(likelihood.coordinates)
    x = likelihood.start + 0.1 * np.random.default_rng(1).normal(size=len(likelihood.coordinates))
    target = Target(likelihood, density, likelihood.points(likelihood.coordinates.theta(x)))
    at, h = target.evaluate(x), 1e-5
    assert at.value == pytest.approx(target.value(x), rel=1e-12)
    for k, e in enumerate(np.eye(len(x))):
        ahead, behind = target.evaluate(x + h * e, 1), target.evaluate(x - h * e, 1)
        assert at.score[k] == pytest.approx((ahead.value - behind.value) / (2 * h), rel=1e-5, abs=1e-5)
        np.testing.assert_allclose(at.hessian[k], (ahead.score - behind.score) / (2 * h), rtol=2e-3, atol=2e-3)


def test_the_mode_is_one(fit) -> None:
    likelihood = fit._sampled()
    target, mode = mode_of(likelihood, cg.Prior().of(likelihood.coordinates))
    assert np.abs(mode.root.T @ target.evaluate(mode.x, 1).score).max() < 1e-9
    np.testing.assert_allclose(mode.root @ mode.root.T @ -target.evaluate(mode.x).hessian, np.eye(3), atol=1e-8)


def test_any_number_of_workers_draws_the_same(fit) -> None:
    one, two, other = (
        fit.sample(60, chains=3, seed=s, n_jobs=n, method="hamiltonian", warmup=50) for s, n in ((4, 1), (4, 2), (5, 1))
    )
    assert np.array_equal(one.unconstrained, two.unconstrained)
    assert not np.array_equal(one.unconstrained, other.unconstrained)
    assert not np.array_equal(one.unconstrained[0], one.unconstrained[1])


def test_what_was_drawn_is_kept_when_interrupted(fit) -> None:
    def stop(done: int, wanted: int) -> None:
        assert wanted == 400
        if done >= 120:
            raise KeyboardInterrupt

    with pytest.warns(SamplingWarning, match="stopped by the user: 60 draws"):
        found = fit.sample(200, chains=2, seed=1, progress=stop)
    assert found.unconstrained.shape[:2] == (2, 60)
    assert np.array_equal(found.unconstrained, fit.sample(200, chains=2, seed=1).unconstrained[:, :60])
    with pytest.warns(SamplingWarning, match="stopped"):
        fit.sample(200, chains=2, seed=1, n_jobs=2, progress=stop)


def test_a_posterior_far_from_its_mode_is_not_left_to_proposals() -> None:
    """The first two hundred proposals do not see it, all of them do."""
    data = clustered(6, 4, 1)
    prior = cg.Prior(coefficients="student_t(1, 0, 50)", intercept="student_t(1, 0, 50)", sd="half_t(1, 50)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = cg.random_effects("y ~ x", data, cluster="id").sample(300, chains=2, seed=1, prior=prior)
    assert found.sampler.method == "hamiltonian"


def test_equal_draws_are_not_left_to_proposals() -> None:
    class Chain:
        x = np.zeros((60, 2))

    assert not _moving([Chain(), Chain()])
    Chain.x = np.random.default_rng(1).normal(size=(60, 2))
    assert _moving([Chain()])


@pytest.mark.parametrize("draws", [1, 4])
def test_few_draws_are_said_to_be_few(fit, draws) -> None:
    with pytest.warns(SamplingWarning, match="too few, or all alike"):
        few = fit.sample(draws, chains=1, seed=1)
    assert "too few" in str(few)
    assert (
        few.effects()["sd"].isna().all() == few.predict()["sd"].isna().all() == np.isnan(few.waic().p) == (draws == 1)
    )


def test_priors_of_large_units(fit) -> None:
    """Scales of other units are other scales, as long as their squares are numbers."""
    small, large = (
        fit.sample(20, chains=1, seed=1, prior=cg.Prior(coefficients=f"normal(0, {s})")) for s in ("1e6", "1e10")
    )
    np.testing.assert_allclose(small.values, large.values, rtol=1e-6)


def test_files(posterior, tmp_path) -> None:
    path = tmp_path / "posterior.json.gz"
    posterior.save(path)
    again = cg.load(path)
    assert np.array_equal(again.unconstrained, posterior.unconstrained)
    assert str(again) == str(posterior)
    assert again.prior == posterior.prior
    assert again.effects(draws=20).equals(posterior.effects(draws=20))


def test_integration_is_checked_at_draws() -> None:
    fit = cg.random_effects("y ~ x", clustered(), cluster="id")
    assert 0.0 <= fit.sample(50, chains=2, seed=1).integration_difference < 1e-6
    fixed = cg.random_effects("y ~ x", clustered(), cluster="id", quadrature=7).sample(50, chains=2, seed=1)
    assert np.isnan(fixed.integration_difference)


def test_comparison_knows_the_better_model() -> None:
    data = clustered(100)
    fit = cg.random_effects("y ~ x", data, cluster="id")
    posterior = fit.sample(500, chains=2, seed=5)
    smaller = cg.random_effects("y ~ 1", data, cluster="id").sample(500, chains=2, seed=2)
    table = smaller.compare(posterior)
    assert table.index.tolist() == [1, 0]
    assert table["difference"].iloc[0] == 0.0
    assert table["difference"].iloc[1] < -table["se_difference"].iloc[1] < 0.0
    assert posterior.loo().n_uncertain == 0
    assert posterior.loo().elpd == pytest.approx(posterior.waic().elpd, abs=0.5)
    assert fit.loglik - 10 < posterior.loo().elpd < fit.loglik
    with pytest.raises(OptionError, match="other rows"):
        posterior.compare(cg.random_effects("y ~ 1", clustered(20), cluster="id").sample(20, chains=2, seed=2))


@pytest.mark.parametrize("verb", ["pooled", "fixed_effects", "conditional"])
def test_everything_else_refuses_in_a_sentence(verb) -> None:
    with pytest.raises(OptionError, match="a posterior of"):
        getattr(cg, verb)("y ~ x", clustered(), cluster="id").sample()


def test_what_is_sampled_has_a_given_shape() -> None:
    fit = cg.random_effects("y ~ x", clustered(), cluster="id", sigma=0.0, fix_sigma=True)
    with pytest.raises(OptionError, match="held at 0"):
        fit.sample(20)
    held = cg.random_effects("y ~ x", clustered(), cluster="id", sigma=1.0, fix_sigma=True).sample(50, chains=2, seed=1)
    assert held.names == ("(Intercept)", "x")
    with pytest.raises(OptionError, match="a Prior"):
        fit.sample(prior="flat")


def test_predictions(fit, posterior) -> None:
    typical = posterior.predict(pd.DataFrame({"x": [0.0, 2.0]}), scale="link", draws=2000)
    exact = posterior.values.reshape(-1, 3)[:, :2] @ np.array([[1.0, 1.0], [0.0, 2.0]])
    np.testing.assert_allclose(typical["mean"], exact.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(typical["low"], np.quantile(exact, 0.025, axis=0), rtol=1e-12)
    given = posterior.predict(kind="conditional", draws=300)["mean"]
    known = fit.predict(kind="posterior")
    assert np.abs(given - known).max() < 0.12  # at the estimates alone
    assert np.corrcoef(given, known)[0, 1] > 0.99
    marginal = posterior.predict(pd.DataFrame({"x": [2.0]}), kind="marginal", draws=100)["mean"].iloc[0]
    assert marginal == pytest.approx(fit.predict(pd.DataFrame({"x": [2.0]}), kind="marginal").iloc[0], abs=0.03)
    assert posterior.simulate(3).shape == (150, 3)
    few = fit.sample(20, chains=1, seed=1, method="independence")
    assert few.simulate(30).shape == (150, 30)
    assert len(few.effect_draws(30)[0]) == 20


def test_pictures(posterior) -> None:
    trace = cg.plot.trace(posterior, "x")
    assert trace.data["value"].mean() == pytest.approx(posterior.table().loc["x", "mean"])
    with pytest.raises(OptionError, match="one of"):
        cg.plot.trace(posterior, "z")
    check = cg.plot.predictive_check(posterior, n=60)
    seen = check.data[check.data["set"] == -1].set_index("statistic")
    data = clustered()
    assert seen["value"].iloc[0] == pytest.approx(data["y"].mean())
    assert seen["value"].iloc[1] == pytest.approx(data.groupby("id")["y"].mean().std(ddof=0))
    assert (seen["share"] > 0.01).all()
    assert (seen["share"] < 0.99).all()
    from matplotlib.pyplot import close

    close("all")


def test_arviz_reads_the_draws(posterior) -> None:
    pytest.importorskip("arviz")
    found = posterior.to_arviz(log_likelihood=True)
    assert found.posterior["x"].shape == (2, 1000)
    assert found.log_likelihood["cluster"].shape == (2, 1000, 30)


def test_arviz_that_cannot_be_imported_is_said(posterior, tmp_path, monkeypatch) -> None:
    """Version 0.21 beside a newer matplotlib fails with an AttributeError."""
    (tmp_path / "arviz.py").write_text("raise AttributeError('no attribute core')")
    monkeypatch.delitem(sys.modules, "arviz", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match="AttributeError: no attribute core"):
        posterior.to_arviz()


def test_seeds_of_several_numbers(fit, tmp_path) -> None:
    """Their draws of effects are those of the file again; `int(str([1, 2]))` once failed."""
    given = np.random.SeedSequence([1, 2])
    one, other = (fit.sample(20, chains=1, seed=given, method="independence") for _ in range(2))
    one.save(tmp_path / "posterior.json")
    loaded = cg.load(tmp_path / "posterior.json")
    for again in (other, loaded):
        np.testing.assert_array_equal(one.unconstrained, again.unconstrained)
        np.testing.assert_array_equal(one.effect_draws(3)[0], again.effect_draws(3)[0])
