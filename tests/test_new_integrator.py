"""An integrator is one Python file: one that the package does not have, put beside the others, serves a whole fit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import OptionError
from clusterglm.fit.random_effects import RandomEffectsFit, fit_random_effects
from clusterglm.inference.distribution.goodness import marginal_values
from clusterglm.inference.uncertainty.covariance import marginal_scores
from clusterglm.likelihood import integrators as folder
from clusterglm.likelihood import registry
from clusterglm.likelihood.integrators.scalar import ScalarIntegrator
from clusterglm.likelihood.integrators.several_modes import SeveralModes
from clusterglm.model.distribution import Bridge, Gaussian, Logistic

# Plain Gauss-Hermite: as many nodes as asked for, about 0, on the normal scale of a scale family; NumPy and no core.
PLAIN = '''
"""Gauss-Hermite rules about 0, the same for every cluster."""

from dataclasses import dataclass

import numpy as np

from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.likelihood.integrator import Integrator, Intercepts
from clusterglm.likelihood.plan import Choice, Part


@dataclass(frozen=True)
class PlainRule:
    nodes: int
    adaptive = False
    laid_for = "all"

    def __str__(self):
        return f"plain Gauss-Hermite, {self.nodes} nodes"


class PlainLikelihood:
    def __init__(self, X, data, response, distribution):
        self.X, self.data, self.response, self.distribution = X, data, response, distribution

    def moments(self, theta, plan):
        """Log-likelihoods (m,), scores (m, q), Hessians (m, q, q), and the nodes' shares (m, k) with the intercepts."""
        X, data = self.X, self.data
        x, w = np.polynomial.hermite_e.hermegauss(plan[0].rule.nodes)
        t = self.distribution.quantile_of_normal(x)
        eta = X @ theta[:-1] + data.offset
        rows = [self.response.derivatives(eta + theta[-1] * each, data.a, data.b) for each in t]
        W = [np.column_stack([X, np.full(len(eta), each)]) for each in t]
        starts = data.starts[:-1]
        logs = np.stack([np.add.reduceat(row[0], starts) for row in rows], axis=1) + np.log(w / w.sum())
        top = logs.max(axis=1, keepdims=True)
        shares = np.exp(logs - top)
        values = top[:, 0] + np.log(shares.sum(axis=1))
        shares /= shares.sum(axis=1, keepdims=True)
        first = np.stack([np.add.reduceat(v * row[1][:, None], starts) for v, row in zip(W, rows)], axis=1)
        second = np.stack(
            [np.add.reduceat(v[:, :, None] * v[:, None, :] * row[2][:, None, None], starts) for v, row in zip(W, rows)],
            axis=1,
        )
        score = np.einsum("mk,mkq->mq", shares, first)
        hessian = np.einsum("mk,mkqr->mqr", shares, second + first[..., None] * first[..., None, :])
        return values, score, hessian - score[:, :, None] * score[:, None, :], shares, theta[-1] * t

    def evaluate(self, theta, plan, order=2):
        values, scores, hessians, *_ = self.moments(theta, plan)
        weights = self.data.cluster_weights
        return Evaluation(float(weights @ values), weights @ scores, np.tensordot(weights, hessians, axes=1))

    def unit_values(self, theta, plan):
        return self.data.cluster_weights * self.moments(theta, plan)[0]

    def unit_scores(self, theta, plan):
        return self.data.cluster_weights[:, None] * self.moments(theta, plan)[1]


class PlainIntegrator(Integrator):
    @classmethod
    def serves(cls, distribution, scale):
        return scale == "plain" and distribution.scale_family

    def likelihood(self, X, data, response, threads=1, modes=None):
        return PlainLikelihood(X, data, response, self.distribution)

    def posterior(self, data, response, theta, plan, threads=1):
        *_, shares, t = self.likelihood(data.X, data, response).moments(theta, plan)
        means = shares @ t
        return Intercepts(t[shares.argmax(axis=1)], means, np.sqrt(shares @ t**2 - means**2))

    def adapted(self, plan):
        return plan

    def no_rule(self):
        return PlainRule(1)

    def first_rule(self, quadrature, least, size):
        return PlainRule(quadrature.nodes or 20)

    def coarse_rule(self, rule):
        return None

    def settled(self, plan, n_units):
        return np.inf

    def by_sample(self, goal):
        return False

    def proposals(self, likelihood, theta, goal):
        return np.zeros(0, dtype=np.int64)

    def agreed(self, theta, proposals):
        return PlainRule(20)

    def choose(self, likelihood, theta, goal, shared):
        values = [likelihood.evaluate(theta, (Part(PlainRule(k)),)).value for k in (50, 80)]
        return Choice((Part(PlainRule(80)),), abs(values[1] - values[0]))
'''


PACKAGED = list(registry.INTEGRATORS)


@pytest.fixture(scope="module", autouse=True)
def added(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A file in the folder of integrators, and the registry made anew."""
    place = tmp_path_factory.mktemp("integrators")
    (place / "plain.py").write_text(PLAIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "__path__", [*folder.__path__, str(place)])
        patch.setattr(registry, "INTEGRATORS", list(registry.registered()))
        yield
    sys.modules.pop(f"{folder.__name__}.plain")


@pytest.fixture(scope="module")
def known() -> cg.RandomEffectsResult:
    rng = np.random.default_rng(4)
    ids = np.repeat(np.arange(60), 5)
    x = rng.normal(size=300)
    y = rng.random(300) < 1.0 / (1.0 + np.exp(-(0.3 + x + rng.normal(size=60)[ids])))
    frame = pd.DataFrame({"id": ids, "x": x, "y": y.astype(int)})
    return cg.random_effects("y ~ x", frame, cluster="id", cluster_weights=1.0 + ids % 3)


def refitted(known: cg.RandomEffectsResult, quadrature: str | int = 40, **more: object) -> RandomEffectsFit:
    distribution = more.pop("distribution", known.fit.distribution)
    requested = cg.Quadrature("auto") if quadrature == "auto" else cg.Quadrature("fixed", quadrature)
    return fit_random_effects(known.data, known.response, distribution, requested, scale="plain", **more)


def test_a_file_is_all_that_it_takes() -> None:
    assert {ScalarIntegrator, SeveralModes} == set(PACKAGED)
    assert {kind.__name__ for kind in registry.INTEGRATORS} == {"ScalarIntegrator", "SeveralModes", "PlainIntegrator"}
    assert isinstance(registry.integrator_for(Gaussian(), "normal"), ScalarIntegrator)
    assert isinstance(registry.integrator_for(Gaussian(), "normal", several_modes=True), SeveralModes)
    assert isinstance(registry.integrator_for(Gaussian(), "density"), ScalarIntegrator)
    assert type(registry.integrator_for(Gaussian(), "plain")).__name__ == "PlainIntegrator"


def test_what_no_integrator_serves_is_refused() -> None:
    with pytest.raises(OptionError, match="what an integrator serves"):
        registry.integrator_for(Gaussian(), "nowhere")
    with pytest.raises(OptionError, match="scale='plain' with distribution bridge"):
        registry.integrator_for(Bridge(), "plain")


@pytest.mark.parametrize("quadrature", [40, "auto"])
@pytest.mark.parametrize("distribution", [Gaussian(), Logistic()])
def test_its_fit_is_that_of_the_package(known: cg.RandomEffectsResult, quadrature: str | int, distribution) -> None:
    own = fit_random_effects(known.data, known.response, distribution, cg.Quadrature("auto"))
    fit = refitted(known, quadrature, distribution=distribution)
    assert fit.optimization.converged
    assert fit.integration.rules == ((f"plain Gauss-Hermite, {40 if quadrature == 40 else 80} nodes", 60),)
    assert fit.loglik == pytest.approx(own.loglik, abs=1e-4)
    np.testing.assert_allclose(fit.theta, own.theta, rtol=1e-4)
    np.testing.assert_allclose(fit.covariance, own.covariance, rtol=1e-3, atol=1e-5)
    if quadrature == "auto":
        assert abs(fit.loglik - own.loglik) < fit.integration.error + own.integration.error + 1e-7


def test_what_is_asked_of_a_fit_afterwards_comes_from_it(known: cg.RandomEffectsResult) -> None:
    fit = refitted(known, "auto")
    np.testing.assert_allclose(fit.means, known.fit.means, atol=1e-4)
    np.testing.assert_allclose(fit.sds, known.fit.sds, atol=1e-4)
    np.testing.assert_allclose(marginal_scores(fit.data, fit), marginal_scores(known.data, known.fit), atol=1e-3)
    np.testing.assert_allclose(marginal_values(fit.data, fit), marginal_values(known.data, known.fit), atol=1e-5)
    result = replace(known, fit=fit)
    assert "plain Gauss-Hermite" in str(result)
    np.testing.assert_allclose(result.cov("robust"), known.cov("robust"), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(result.conf_int(method="profile"), known.conf_int(method="profile"), atol=1e-3)


def test_sigma_may_be_held(known: cg.RandomEffectsResult) -> None:
    fit = refitted(known, sigma=0.7, fix_sigma=True)
    own = fit_random_effects(known.data, known.response, Gaussian(), cg.Quadrature("auto"), sigma=0.7, fix_sigma=True)
    np.testing.assert_allclose(fit.beta, own.beta, rtol=1e-6)
    without = refitted(known, sigma=0.0, fix_sigma=True)
    assert without.integration.rules == (("plain Gauss-Hermite, 1 nodes", 60),)
