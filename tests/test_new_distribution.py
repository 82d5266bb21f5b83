"""A distribution is one Python file: a new one, put beside the others, does all that they do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import log_expit, ndtr

import clusterglm as cg
from clusterglm.errors import OptionError
from clusterglm.model import distribution as folder
from clusterglm.model.distribution.base import Distribution

# Hyperbolic secant: density 1 / (2 cosh(pi t / 2)), of standard deviation 1. The core knows nothing of it.
SECANT = '''
"""Hyperbolic secant random intercepts."""

from dataclasses import dataclass

import numpy as np
from scipy.special import erf, ndtr

from clusterglm.model.distribution.base import Distribution

C = 0.5 * np.pi


@dataclass(frozen=True)
class Secant(Distribution):
    """Tails between those of the Gaussian and the logistic distribution."""

    code = "secant"
    density_scale = False

    @property
    def sd(self):
        return 1.0

    def log_density(self, t):
        u = C * np.asarray(t, dtype=np.float64)
        th = np.tanh(u)
        sech2 = 1.0 - th * th
        value = -np.logaddexp(u, -u)
        return value, -C * th, -(C**2) * sech2, 2.0 * C**3 * sech2 * th, C**4 * (2.0 * sech2**2 - 4.0 * sech2 * th * th)

    def quantile_of_normal(self, s):
        s = np.asarray(s, dtype=np.float64)
        centre = 2.0 * np.arctanh(np.tan(0.5 * C * erf(np.clip(s, -1.0, 1.0) / np.sqrt(2.0))))
        tail = -np.sign(s) * np.log(np.tan(C * ndtr(-np.abs(s))))
        return np.where(np.abs(s) < 1.0, centre, tail) / C

    def cdf(self, t):
        return np.arctan(np.exp(C * np.asarray(t, dtype=np.float64))) / C

    def quantile(self, probability):
        return np.log(np.tan(C * np.asarray(probability))) / C

    def rvs(self, rng, size):
        return self.quantile(rng.random(size))
'''

PACKAGED = dict(folder.DISTRIBUTIONS)


@pytest.fixture(scope="module", autouse=True)
def added(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    """A file in the folder of distributions, and the registry made anew."""
    place = tmp_path_factory.mktemp("distribution")
    (place / "secant.py").write_text(SECANT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "__path__", [*folder.__path__, str(place)])
        new = folder.registered()["secant"]
        patch.setitem(folder.DISTRIBUTIONS, "secant", new)
        yield new
    sys.modules.pop(f"{folder.__name__}.secant")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    ids = np.repeat(np.arange(80), 5)
    frame = pd.DataFrame({"id": ids, "x": rng.normal(size=400), "half": rng.integers(0, 2, 400)})
    eta = 0.4 + 0.8 * frame.x - 0.3 * frame.half + 1.2 * np.log(np.tan(0.5 * np.pi * rng.random(80)))[ids] * 2.0 / np.pi
    frame["y"] = (rng.random(400) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    return frame


@pytest.fixture(scope="module")
def fit(table: pd.DataFrame) -> cg.RandomEffectsResult:
    return cg.random_effects("y ~ x + half", table, cluster="id", distribution="secant")


def test_a_file_is_all_that_it_takes(added: Distribution) -> None:
    assert list(folder.DISTRIBUTIONS) == [*PACKAGED, "secant"]
    assert folder.distribution("secant") is added
    with pytest.raises(OptionError, match="'smooth', 'secant'"):
        folder.distribution("nowhere")


def test_it_is_the_distribution_that_it_says(added: Distribution) -> None:
    for t in (-6.0, -0.7, 0.0, 2.5):
        assert added.cdf(np.array([t]))[0] == pytest.approx(quad(lambda v: 0.5 / np.cosh(0.5 * np.pi * v), -60, t)[0])
        h = 1e-3
        jets = [added.log_density(np.array([t + d])) for d in (-h, 0.0, h)]
        for low, middle, high in zip(jets[0], jets[1][1:], jets[2], strict=False):
            assert middle[0] == pytest.approx((high[0] - low[0]) / (2.0 * h), abs=1e-4)
    s = np.array([-5.0, -1.0, -1e-8, 0.3, 4.0])
    np.testing.assert_allclose(added.cdf(added.quantile_of_normal(s)), ndtr(s), rtol=1e-12)


def test_its_likelihood_is_the_integral(fit: cg.RandomEffectsResult, table: pd.DataFrame) -> None:
    t = np.linspace(-22.0, 22.0, 8001)
    weights = 0.5 / np.cosh(0.5 * np.pi * t) * (t[1] - t[0])
    eta = fit.params["(Intercept)"] + fit.params["x"] * table.x + fit.params["half"] * table.half
    rows = log_expit(np.where(table.y == 1, 1.0, -1.0)[:, None] * (eta.to_numpy()[:, None] + fit.sigma * t))
    clusters = np.add.reduceat(rows, np.arange(0, len(table), 5), axis=0)
    assert fit.loglik == pytest.approx(np.log(np.exp(clusters) @ weights).sum(), abs=2e-6)
    assert fit.quadrature.accurate
    beside = cg.random_effects("y ~ x + half", table, cluster="id")
    assert 0.0 < abs(fit.loglik - beside.loglik) < 2.0


def test_every_method_works(fit: cg.RandomEffectsResult, tmp_path: Path) -> None:
    summary = str(fit)
    assert "secant" in summary
    for kind in ("typical", "marginal", "conditional"):
        assert np.isfinite(fit.predict(kind=kind, level=0.95)[["estimate", "std_error", "low", "high"]]).all(axis=None)
    for kind in ("response", "pearson", "deviance", "quantile", "simulated"):
        assert np.isfinite(fit.residuals(kind, seed=1, n_sim=20)).all()
    for kind in ("response", "pearson", "quantile"):
        assert np.isfinite(fit.residuals(kind, "marginal", seed=1)).all()
    assert fit.simulate(200, seed=2).to_numpy().mean() == pytest.approx(fit.predict(kind="marginal").mean(), rel=0.05)
    assert np.isfinite(fit.average_effects()[["estimate", "std_error"]]).all(axis=None)
    assert np.isfinite(fit.random_effects[["mean", "sd"]]).all(axis=None)
    assert np.isfinite(fit.intraclass_correlation("response", at=0.2).estimate)
    assert np.isfinite(fit.influence().table()["cook_distance"]).all()
    assert np.isfinite(fit.cov("robust")).all(axis=None)
    assert np.isfinite(fit.conf_int(method="profile")).all(axis=None)
    assert str(fit.check(seed=1, n_sim=30))
    assert fit.integration_check().adequate
    assert np.isfinite(fit.bootstrap(3, seed=1).replicates).all()
    assert "secant" in fit.report(tmp_path / "report.html").read_text()
    fit.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert str(again) == summary
    assert again.distribution == fit.distribution


def test_rows_may_be_elsewhere(fit: cg.RandomEffectsResult, table: pd.DataFrame, tmp_path: Path) -> None:
    for k, part in table.groupby(table.id // 40):
        part.to_parquet(tmp_path / f"part{k}.parquet")
    streamed = cg.random_effects("y ~ x + half", tmp_path, cluster="id", distribution="secant")
    np.testing.assert_allclose(streamed.params, fit.params, rtol=1e-6)
    assert streamed.loglik == pytest.approx(fit.loglik, rel=1e-9)


def test_it_is_chosen_among_others(table: pd.DataFrame) -> None:
    chosen = cg.select_distribution("y ~ x", table, cluster="id", distributions=("gaussian", "secant"))
    assert list(chosen.fits) == ["gaussian", "secant"]
