"""Crossed logit models of real data against other code (tests/golden/crossed_effects.json)."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from clusterglm.likelihood.crossed.crossed import CrossedLikelihood
from clusterglm.likelihood.crossed.layout import OutsideTerm
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import VectorPart, unstructured
from clusterglm.model.family import response

GOLDEN = Path(__file__).parents[2] / "golden"
KNOWN = json.loads((GOLDEN / "crossed_effects.json").read_text(encoding="utf-8"))
EXACT = (VectorPart(hermite_points(25, 1)),)


def built(name, d=1):
    """The likelihood of a data set, females and persons inside; d = 2: with slopes of `mode` too."""
    with (GOLDEN / "data" / f"{name}.csv").open(encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    table = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    ones = np.ones(len(rows))
    if name == "salamander1":
        female, male = table["female_type"] == "ws", table["male_type"] == "ws"
        columns, y, inside, outside = [female, male, female & male], table["mating"], table["female"], table["male"]
    else:
        columns = [table["btype"] == "scold", table["btype"] == "shout", table["situ"] == "self", table["mode"] == "do"]
        y, inside, outside = table["y"], table["id"], table["item"]
    X = np.column_stack([ones, *columns]).astype(float)
    units, levels = (np.unique(factor, return_inverse=True)[1] for factor in (inside, outside))
    order = np.lexsort([levels, units])
    X, units, levels = np.ascontiguousarray(X[order]), units[order], levels[order]
    if d == 2:
        X[:, -1] = 1.0 - X[:, -1]  # as glmmTMB has it: of "want"

    class Data:
        starts = np.append(np.flatnonzero(np.diff(units, prepend=-1)), len(units)).astype(np.int64)
        a = y[order].astype(float)
        b, offset, cluster_weights = 1.0 - a, np.zeros(len(units)), np.ones(units.max() + 1)

    Z = np.ascontiguousarray(X[:, [0, -1][:d]])
    term = OutsideTerm(np.ones((len(units), 1)), levels, unstructured(1))
    return CrossedLikelihood(X, Z, Data(), (term,), response("binomial", "logit"))


@pytest.mark.parametrize("name", ["salamander1", "verbagg100"])
def test_values_at_known_points(name):
    known, likelihood = KNOWN["exact"][name], built(name)
    theta = np.array(known["estimate"])
    value = likelihood.evaluate(theta, EXACT, 0).value
    assert value == pytest.approx(known["inside_exact_outside_laplace_at_estimate"], abs=1e-6)
    joint = likelihood.evaluate(theta, likelihood.laplace_plan(), 0).value
    assert joint == pytest.approx(known["joint_laplace_at_estimate"], abs=1e-6)


@pytest.mark.parametrize("name", ["salamander1", "verbagg100"])
@pytest.mark.parametrize("which", ["inside_exact_maximum", "joint_laplace_maximum"])
def test_known_maxima_are_maxima(name, which):
    known, likelihood = KNOWN["exact"][name], built(name)
    theta, plan = np.array(known[which]["estimate"]), EXACT if which[0] == "i" else likelihood.laplace_plan()
    at = likelihood.evaluate(theta, plan)
    assert at.value == pytest.approx(known[which]["logLik"], abs=1e-6)
    covariance = np.linalg.inv(-at.hessian)
    step = covariance @ at.score
    assert np.abs(step / np.sqrt(np.diagonal(covariance))).max() < 3e-3
    assert 0.5 * at.score @ step < 1e-5  # what is left to gain


@pytest.mark.parametrize(("fit", "d"), [("glmmTMB_crossed", 1), ("glmmTMB_slope_crossed", 2)])
def test_joint_approximation_is_that_of_glmmtmb(fit, d):
    known, likelihood = KNOWN["glmmTMB"][fit], built("verbagg100", 2)
    if d == 1:
        likelihood = built("verbagg100")
    coefficients, spread = np.array(list(known["coef"].values())), known["varcor"]
    sds = np.array(list(spread["id"]["sd"].values()))
    if d == 1:
        coefficients = np.append(coefficients[:-1], -coefficients[-1])
        coefficients[0] -= coefficients[-1]
        entries = sds
    else:
        rho = spread["id"]["cor"][0][1]
        entries = [sds[0], rho * sds[1], np.sqrt(1.0 - rho**2) * sds[1]]
    theta = np.concatenate([coefficients, entries, list(spread["item"]["sd"].values())])
    at = likelihood.evaluate(theta, likelihood.laplace_plan(), 1)
    assert at.value == pytest.approx(known["logLik"], abs=1e-5)
    assert np.abs(at.score).max() < 0.05
