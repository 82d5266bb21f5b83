"""Maxima of likelihoods with several effects, found by other code (tests/golden/several_effects.json)."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from clusterglm.likelihood.vector.choice import choose_points
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import VectorLikelihood, VectorPart, diagonal, unstructured
from clusterglm.model.family import response

GOLDEN = Path(__file__).parents[2] / "golden"
MODELS = json.loads((GOLDEN / "several_effects.json").read_text(encoding="utf-8"))


def dummies(values):
    return [(values == level).astype(float) for level in np.unique(values)[1:]]


def numbers(values):
    return values.astype(float)


def design(name, d):
    """X, and which of its columns are those of effects."""
    ones = np.ones(len(d["y"]))
    if name.startswith("toenail"):
        treated, time = (d["treatment"] == "terbinafine").astype(float), numbers(d["time"])
        return [ones, treated, time, treated * time], [0, 2]
    if name.startswith("contraception"):
        urban, age = (d["urban"] == "Y").astype(float), numbers(d["age"]) / 10.0
        effects = {"slope": [0, 1], "3d": [0, 1, 2], "noint": [1]}[name.rpartition("_")[2]]
        return [ones, urban, age, *dummies(d["livch"])], effects
    if name.startswith("respiratory"):
        columns = [*dummies(d["baseline"]), *dummies(d["treatment"]), numbers(d["age"]), *dummies(d["centre"])]
        return [ones, *columns, numbers(d["month"])], [0, 5]
    base, treated, age = (
        np.log(numbers(d["base"]) / 4.0),
        (d["trt"] == "progabide").astype(float),
        np.log(numbers(d["age"])),
    )
    visit = 0.2 * numbers(d["period"]) - 0.5
    return [ones, base, treated, age, visit, base * treated], [0, 4]


def built(name):
    """The likelihood, where its maximum is, and the constant that kernels leave out."""
    file = {"epil2": "epil"}.get(name.partition("_")[0], name.partition("_")[0])
    with (GOLDEN / "data" / f"{file}.csv").open(encoding="utf-8") as text:
        table = list(csv.DictReader(text))
    d = {key: np.array([row[key] for row in table]) for key in table[0]}
    columns, effects = design(name, d)
    X, y = np.column_stack(columns), numbers(d["y"])
    _, codes = np.unique(d[MODELS[name]["cluster"]], return_inverse=True)
    order = np.argsort(codes, kind="stable")
    model = response("poisson", "log") if "poisson" in name else response("binomial", "logit")
    rows_a, rows_b = model.rows(y[order], np.ones(len(y)), np.ones(len(y)))

    class Data:
        starts = np.concatenate([[0], np.cumsum(np.bincount(codes))]).astype(np.int64)
        a, b = rows_a, rows_b
        offset, cluster_weights = np.zeros(len(y)), np.ones(codes.max() + 1)

    structure = diagonal if "uncorrelated" in name else unstructured
    likelihood = VectorLikelihood(X[order], X[order][:, effects], Data(), model, structure(len(effects)))
    constant = float(model.log_constants(y[order], np.ones(len(y)), np.ones(len(y))).sum())
    return likelihood, np.array(list(MODELS[name]["parameters"].values())), constant


@pytest.mark.parametrize("name", MODELS)
def test_maxima(name):
    likelihood, theta, constant = built(name)
    choice = choose_points(likelihood, theta, 1e-4)
    assert choice.error <= 1e-4
    at = likelihood.evaluate(theta, choice.plan)
    assert abs(at.value + constant - MODELS[name]["logLik"]) <= choice.error
    assert at.value + constant == pytest.approx(MODELS[name]["logLik"], abs=1e-5)
    se = np.array(list(MODELS[name]["se"].values()))
    assert np.abs(at.score * se).max() < 1e-4
    np.testing.assert_allclose(np.sqrt(np.diag(np.linalg.inv(-at.hessian))), se, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_laplace(name):
    """By this approximation, the values that other code has at the exact maximum and at glmmTMB's, which is one."""
    likelihood, theta, constant = built(name)
    plan, known = (VectorPart(hermite_points(1, likelihood.n_effects)),), MODELS[name]["laplace"]
    assert likelihood.evaluate(theta, plan, 0).value + constant == pytest.approx(known["at_the_maximum"], abs=1e-7)
    there = likelihood.evaluate(np.array(list(known["glmmTMB_parameters"].values())), plan)
    assert there.value + constant == pytest.approx(known["glmmTMB_logLik"], abs=1e-6)
    se = np.sqrt(np.diag(np.linalg.inv(-there.hessian)))
    assert np.abs(there.score * se).max() < 1e-3
