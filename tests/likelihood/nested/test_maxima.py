"""Maxima of likelihoods with nested intercepts, found by other code (tests/golden/nested_effects.json)."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from clusterglm.fit.newton import maximize
from clusterglm.likelihood.nested.choice import choose_points
from clusterglm.likelihood.nested.nested import NestedLikelihood, NestedPart
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.model.control import Control
from clusterglm.model.family import response

GOLDEN = Path(__file__).parents[2] / "golden"
MODELS = json.loads((GOLDEN / "nested_effects.json").read_text(encoding="utf-8"))
LAPLACE = (NestedPart(hermite_points(1, 1), hermite_points(1, 1)),)


def design(name, d):
    """X, the response, units and children."""
    ones = np.ones(len(next(iter(d.values()))))
    if name == "guimmun":
        factors = [d["kid2p"] == "Y", d["ethn"] == "N", d["ethn"] == "S", d["momEd"] == "P", d["momEd"] == "S"]
        columns = [*factors, d["rural"] == "Y", d["pcInd81"].astype(float)]
        return np.column_stack([ones, *columns]).astype(float), d["y"].astype(float), d["comm"], d["mom"]
    nut8, amd = d["nutrient"] == "8", d["amd"] == "unclipped"
    columns = [nut8, amd, d["rack"] == "2", d["status"] == "Petri.Plate", d["status"] == "Transplant", nut8 & amd]
    return np.column_stack([ones, *columns]).astype(float), d["total.fruits"].astype(float), d["popu"], d["gen"]


def built(name):
    """The likelihood, and the constant that kernels leave out."""
    with (GOLDEN / "data" / f"{name}.csv").open(encoding="utf-8") as text:
        table = list(csv.DictReader(text))
    X, y, upper, lower = design(name, {key: np.array([row[key] for row in table]) for key in table[0]})
    _, units = np.unique(upper, return_inverse=True)
    _, children = np.unique(np.char.add(np.char.add(upper, "/"), lower), return_inverse=True)
    order = np.lexsort([children, units])
    X, y, units, children = X[order], y[order], units[order], children[order]
    model = response("poisson", "log") if name == "arabidopsis" else response("binomial", "logit")
    ones = np.ones(len(y))
    rows_a, rows_b = model.rows(y, ones, ones)

    class Data:
        starts = np.append(np.flatnonzero(np.diff(units, prepend=-1)), len(y)).astype(np.int64)
        a, b, offset = rows_a, rows_b, np.zeros(len(y))
        cluster_weights = np.ones(units.max() + 1)

    child_starts = np.append(np.flatnonzero(np.diff(children, prepend=-1)), len(y)).astype(np.int64)
    effect = np.ones((len(y), 1))
    likelihood = NestedLikelihood(np.ascontiguousarray(X), effect, effect, Data(), child_starts, model)
    return likelihood, float(model.log_constants(y, ones, ones).sum())


@pytest.mark.parametrize("name", MODELS)
def test_maxima(name):
    likelihood, constant = built(name)
    theta, se = (np.array(list(MODELS[name][key].values())) for key in ("parameters", "se"))
    choice = choose_points(likelihood, theta, 1e-5)
    assert choice.error <= 1e-5
    at = likelihood.evaluate(theta, choice.plan)
    assert at.value + constant == pytest.approx(MODELS[name]["logLik"], abs=1e-6)
    assert np.abs(at.score * se).max() < 1e-5
    np.testing.assert_allclose(np.sqrt(np.diag(np.linalg.inv(-at.hessian))), se, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_newtons_method_finds_them(name):
    """From no effect of any covariate, with a few points first."""
    likelihood, constant = built(name)
    begin = np.append(np.zeros(len(MODELS[name]["se"]) - 2), [0.5, 0.5])
    few = (NestedPart(hermite_points(7, 1), hermite_points(7, 1)),)
    coefficients = len(begin) - 2

    def positive(theta):
        return np.append(theta[:coefficients], np.abs(theta[coefficients:]))

    theta = maximize(lambda t: likelihood.evaluate(t, few), begin, Control(), tolerance=0.02, reflect=positive).theta
    plan = choose_points(likelihood, theta, 1e-4).plan
    found = maximize(lambda t: likelihood.evaluate(t, plan), theta, Control(), reflect=positive)
    assert found.optimization.converged
    assert found.evaluation.value + constant == pytest.approx(MODELS[name]["logLik"], abs=1e-4)
    want, se = (np.array(list(MODELS[name][key].values())) for key in ("parameters", "se"))
    np.testing.assert_allclose((found.theta - want) / se, 0.0, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_laplace(name):
    """The maximum that other code found of this approximation, and the exact log-likelihood there."""
    likelihood, constant = built(name)
    known = MODELS[name]["laplace"]
    theta = np.array(list(known["parameters"].values()))
    at = likelihood.evaluate(theta, LAPLACE)
    assert at.value + constant == pytest.approx(known["logLik"], abs=1e-6)
    se = np.sqrt(np.diag(np.linalg.inv(-at.hessian)))
    assert np.abs(at.score * se).max() < 1e-3
    exact = likelihood.evaluate(theta, choose_points(likelihood, theta, 1e-5).plan, 0).value
    assert exact + constant == pytest.approx(known["logLik_exact"], abs=1e-5)
