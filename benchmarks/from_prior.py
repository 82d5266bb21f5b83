"""Parameters from a prior and data from the model at these, kind by kind: what simulation-based calibration ranks.

Numbers are drawn by what the prior says in words, without the package's densities. Scales are as they are given
(`scaled=False`), since calibration needs a prior that does not depend on the data, and covariates have mean 0, where
the priors of intercepts are. Data sets without what a fit needs (a category, a count above 0) are drawn anew,
parameters included: which data are kept depends on the data alone, and leaves ranks uniform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

import clusterglm as cg

Truth = dict[str, float]
Drawn = tuple[Truth, pd.DataFrame]
_CATEGORIES = 4
_OFFSET = np.log(
    3.0
)  # of counts whose zeros have a predictor: else few of them would tell the two kinds of zeros apart


@dataclass(frozen=True)
class Kind:
    """Of a model.

    Parameters
    ----------
    words, formula : str
    prior : Prior
    draw : callable
        Takes random numbers; returns true parameters, in the order in which the posterior has them, and data.
    options : dict
        Further arguments of `random_effects`.
    method : str
        Of the sampler: proposals alone where a Hamiltonian draw would take long.
    thinned : int
        Draws of which one is kept.
    """

    words: str
    formula: str
    prior: cg.Prior
    draw: Callable[[np.random.Generator], Drawn]
    options: dict[str, Any] = field(default_factory=dict)
    method: str = "auto"
    thinned: int = 5


def _rows(m: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Each row's cluster, and a covariate with mean 0."""
    return np.repeat(np.arange(m), size), np.tile(np.linspace(-1.0, 1.0, size), m)


def _half_normal(rng: np.random.Generator, scale: float) -> float:
    return float(abs(scale * rng.normal()))


def _negative_binomial(rng: np.random.Generator, eta: np.ndarray, alpha: float) -> np.ndarray:
    return rng.poisson(np.exp(eta) * rng.gamma(1.0 / alpha, alpha, len(eta)))


# One intercept --------------------------------------------------------------------------------------------------------


def logit(rng: np.random.Generator) -> Drawn:
    id_, x = _rows(25, 6)
    truth = {"intercept": rng.normal(), "slope": rng.normal(), "sd": _half_normal(rng, 1.0)}
    eta = truth["intercept"] + truth["slope"] * x + truth["sd"] * rng.normal(size=25)[id_]
    return truth, pd.DataFrame({"id": id_, "x": x, "y": rng.binomial(4, expit(eta)), "n": 4})


def counts(rng: np.random.Generator) -> Drawn:
    id_, x = _rows(25, 6)
    truth = {"intercept": rng.normal(1.0, 0.5), "slope": rng.normal(0.0, 0.5), "sd": _half_normal(rng, 0.7)}
    truth["alpha"] = rng.exponential(0.5)
    eta = truth["intercept"] + truth["slope"] * x + truth["sd"] * rng.normal(size=25)[id_]
    return truth, pd.DataFrame({"id": id_, "x": x, "y": _negative_binomial(rng, eta, truth["alpha"])})


def _cut(rng: np.random.Generator, eta: np.ndarray) -> tuple[Truth, np.ndarray]:
    """Thresholds that ascend, whose density is a product of equal ones where they do; and categories."""
    cuts = np.sort(rng.normal(0.0, 1.5, _CATEGORIES - 1))
    names = [f"threshold {k + 1}" for k in range(len(cuts))]
    return dict(zip(names, cuts.tolist(), strict=True)), np.digitize(eta + rng.logistic(size=len(eta)), cuts)


def ratings(rng: np.random.Generator) -> Drawn:
    id_, x = _rows(25, 6)
    truth = {"slope": rng.normal(), "sd": _half_normal(rng, 1.0)}
    thresholds, y = _cut(rng, truth["slope"] * x + truth["sd"] * rng.normal(size=25)[id_])
    if len(np.unique(y)) < _CATEGORIES:
        return ratings(rng)
    return truth | thresholds, pd.DataFrame({"id": id_, "x": x, "y": y})


def times(rng: np.random.Generator) -> Drawn:
    id_, x = _rows(25, 6)
    truth = {"intercept": rng.normal(), "slope": rng.normal(0.0, 0.5), "sd": _half_normal(rng, 0.7)}
    truth["shape"] = _half_normal(rng, 3.0)
    eta = truth["intercept"] + truth["slope"] * x + truth["sd"] * rng.normal(size=25)[id_]
    y = np.exp(eta) * rng.gamma(truth["shape"], 1.0 / truth["shape"], len(eta))
    return (truth, pd.DataFrame({"id": id_, "x": x, "y": y})) if y.min() > 0.0 else times(rng)


def shares(rng: np.random.Generator) -> Drawn:
    """Of 8 trials, whose probability has a beta distribution."""
    id_, x = _rows(25, 6)
    truth = {
        "intercept": rng.normal(),
        "slope": rng.normal(),
        "sd": _half_normal(rng, 1.0),
        "phi": _half_normal(rng, 10.0),
    }
    p = expit(truth["intercept"] + truth["slope"] * x + truth["sd"] * rng.normal(size=25)[id_])
    y = rng.binomial(8, rng.beta(np.maximum(truth["phi"] * p, 1e-300), np.maximum(truth["phi"] * (1.0 - p), 1e-300)))
    return truth, pd.DataFrame({"id": id_, "x": x, "y": y, "n": 8})


def lifetimes(rng: np.random.Generator) -> Drawn:
    """Looked at until time 3; data without an event, or with a time that is 0, are drawn anew."""
    id_, x = _rows(25, 6)
    truth = {"intercept": rng.normal(), "slope": rng.normal(0.0, 0.5), "sd": _half_normal(rng, 0.7)}
    truth["shape"] = _half_normal(rng, 3.0)
    eta = truth["intercept"] + truth["slope"] * x + truth["sd"] * rng.normal(size=25)[id_]
    t = np.exp((np.log(rng.standard_exponential(len(eta))) - eta) / truth["shape"])
    data = pd.DataFrame({"id": id_, "x": x, "t": np.minimum(t, 3.0), "event": (t < 3.0).astype(int)})
    return (truth, data) if t.min() > 0.0 and data["event"].any() else lifetimes(rng)


# Several effects ------------------------------------------------------------------------------------------------------


def slopes(rng: np.random.Generator) -> Drawn:
    """LKJ(2) of one correlation is a beta(2, 2) distribution of its place from -1 to 1."""
    id_, x = _rows(20, 6)
    truth = {"intercept": rng.normal(1.0, 0.5), "slope": rng.normal(0.0, 0.5)}
    truth |= {"sd of intercepts": _half_normal(rng, 0.7), "sd of slopes": _half_normal(rng, 0.7)}
    truth |= {"correlation": 2.0 * rng.beta(2.0, 2.0) - 1.0, "alpha": rng.exponential(0.5)}
    r, z = truth["correlation"], rng.normal(size=(2, 20))
    u, v = truth["sd of intercepts"] * z[0], truth["sd of slopes"] * (r * z[0] + np.sqrt(1.0 - r * r) * z[1])
    eta = truth["intercept"] + truth["slope"] * x + u[id_] + v[id_] * x
    return truth, pd.DataFrame({"id": id_, "x": x, "y": _negative_binomial(rng, eta, truth["alpha"])})


def nested(rng: np.random.Generator) -> Drawn:
    id_, x = _rows(12, 8)
    child = np.arange(len(id_)) // 4
    truth = {"intercept": rng.normal(), "slope": rng.normal(0.0, 0.5)}
    truth |= {"sd of clusters": _half_normal(rng, 0.7), "sd of children": _half_normal(rng, 0.7)}
    truth["shape"] = _half_normal(rng, 3.0)
    eta = truth["intercept"] + truth["slope"] * x + truth["sd of clusters"] * rng.normal(size=12)[id_]
    eta = eta + truth["sd of children"] * rng.normal(size=24)[child]
    y = np.exp(eta) * rng.gamma(truth["shape"], 1.0 / truth["shape"], len(eta))
    data = pd.DataFrame({"id": id_, "child": child, "x": x, "y": y})
    return (truth, data) if y.min() > 0.0 else nested(rng)


def crossed(rng: np.random.Generator) -> Drawn:
    """Persons who rate all of a few items."""
    id_, x = _rows(20, 4)
    item, x = np.tile(np.arange(4), 20), rng.permutation(x)
    truth = {"slope": rng.normal(), "sd of persons": _half_normal(rng, 1.0), "sd of items": _half_normal(rng, 1.0)}
    eta = truth["slope"] * x + truth["sd of persons"] * rng.normal(size=20)[id_]
    thresholds, y = _cut(rng, eta + truth["sd of items"] * rng.normal(size=4)[item])
    if len(np.unique(y)) < _CATEGORIES:
        return crossed(rng)
    return truth | thresholds, pd.DataFrame({"id": id_, "item": item, "x": x, "y": y})


def trials(rng: np.random.Generator) -> Drawn:
    """Of children, one row each."""
    id_, _ = _rows(15, 3)
    truth = {
        "intercept": rng.normal(),
        "sd of clusters": _half_normal(rng, 1.0),
        "sd of children": _half_normal(rng, 1.0),
    }
    eta = truth["intercept"] + truth["sd of clusters"] * rng.normal(size=15)[id_]
    y = rng.binomial(12, expit(eta + truth["sd of children"] * rng.normal(size=len(id_))))
    return truth, pd.DataFrame({"id": id_, "child": np.arange(len(id_)), "y": y, "n": 12})


def answers(rng: np.random.Generator) -> Drawn:
    """Of persons to all of a few items, four times each."""
    id_, item = np.repeat(np.arange(20), 8), np.tile(np.arange(8), 20)
    truth = {"intercept": rng.normal(), "sd of persons": _half_normal(rng, 1.0), "sd of items": _half_normal(rng, 1.0)}
    eta = truth["intercept"] + truth["sd of persons"] * rng.normal(size=20)[id_]
    y = rng.binomial(4, expit(eta + truth["sd of items"] * rng.normal(size=8)[item]))
    return truth, pd.DataFrame({"id": id_, "item": item, "y": y, "n": 4})


def lines(rng: np.random.Generator) -> Drawn:
    id_, x = _rows(20, 5)
    truth = {"intercept": rng.normal(), "slope": rng.normal()}
    truth |= {"sd of intercepts": _half_normal(rng, 1.0), "sd of slopes": _half_normal(rng, 1.0)}
    truth |= {"correlation": 2.0 * rng.beta(2.0, 2.0) - 1.0, "residual sd": _half_normal(rng, 1.0)}
    r, z = truth["correlation"], rng.normal(size=(2, 20))
    u, v = truth["sd of intercepts"] * z[0], truth["sd of slopes"] * (r * z[0] + np.sqrt(1.0 - r * r) * z[1])
    eta = truth["intercept"] + u[id_] + (truth["slope"] + v[id_]) * x
    return truth, pd.DataFrame({"id": id_, "x": x, "y": eta + truth["residual sd"] * rng.normal(size=len(x))})


# Zeros ----------------------------------------------------------------------------------------------------------------


def _with_zeros(rng: np.random.Generator, dispersed: bool) -> tuple[Truth, pd.DataFrame, np.ndarray]:
    """Parameters; data without counts; linear predictors of these, and of zeros."""
    id_, x = _rows(25, 6)
    g = np.tile([-0.5, 0.5, 0.5, -0.5, 0.5, -0.5], 25)
    truth = {"intercept": rng.normal(0.0, 0.7), "slope": rng.normal(0.0, 0.5), "sd": _half_normal(rng, 0.7)}
    truth |= {"alpha": rng.exponential(0.5)} if dispersed else {}
    truth |= {"intercept of zeros": rng.normal(0.0, 0.7), "slope of zeros": rng.normal(0.0, 0.5)}
    eta = _OFFSET + truth["intercept"] + truth["slope"] * x + truth["sd"] * rng.normal(size=25)[id_]
    zeros = rng.random(len(x)) < expit(truth["intercept of zeros"] + truth["slope of zeros"] * g)
    return truth, pd.DataFrame({"id": id_, "x": x, "g": g, "zero": zeros, "more": _OFFSET}), eta


def inflated(rng: np.random.Generator) -> Drawn:
    truth, data, eta = _with_zeros(rng, False)
    y = np.where(data["zero"], 0, rng.poisson(np.exp(eta)))
    return (truth, data.assign(y=y)) if y.max() > 0 else inflated(rng)


def hurdle(rng: np.random.Generator) -> Drawn:
    truth, data, eta = _with_zeros(rng, True)
    y = np.zeros(len(data), dtype=int)
    left = np.flatnonzero(~data["zero"])
    while len(left):
        y[left] = _negative_binomial(rng, eta[left], truth["alpha"])
        left = left[y[left] == 0]
    return (truth, data.assign(y=y)) if y.max() > 1 else hurdle(rng)


# Shapes ---------------------------------------------------------------------------------------------------------------


def _successes(rng: np.random.Generator, truth: Truth, t: np.ndarray) -> Drawn:
    id_, _ = _rows(len(t), 1)
    y = rng.binomial(12, expit(truth["intercept"] + truth["sd"] * t))
    return truth, pd.DataFrame({"id": id_, "y": y, "n": 12})


def heavy_tails(rng: np.random.Generator) -> Drawn:
    truth = {"intercept": rng.normal(), "sd": _half_normal(rng, 1.0)}
    truth["df"] = next(df for df in iter(lambda: rng.gamma(2.0, 10.0), None) if df > 0.5)
    return _successes(rng, truth, rng.standard_t(truth["df"], 60))


def two_parts(rng: np.random.Generator) -> Drawn:
    truth = {"intercept": rng.normal(), "sd": _half_normal(rng, 1.0)}
    weight, gap = expit(9.0 * rng.beta(2.0, 2.0) - 4.5), 6.0 * rng.random()
    upper = rng.random(60) < weight
    t = (np.where(upper, 1.0 - weight, -weight) * gap + rng.normal(size=60)) / np.sqrt(
        1 + weight * (1 - weight) * gap**2
    )
    return _successes(rng, truth | {"weight": float(weight), "separation": gap}, t)


def _prior(intercept: str, slope: str, sd: str, **more: str) -> cg.Prior:
    return cg.Prior(coefficients=slope, intercept=intercept, sd=sd, scaled=False, **more)


PLAIN = Kind(
    "logit, one intercept",
    "cbind(y, n - y) ~ x + (1 | id)",
    _prior("normal(0, 1)", "normal(0, 1)", "half_normal(1)"),
    logit,
    thinned=10,
)
KINDS = {
    "negative_binomial": Kind(
        "negative binomial, one intercept",
        "y ~ x + (1 | id)",
        _prior("normal(1, 0.5)", "normal(0, 0.5)", "half_normal(0.7)", family="exponential(2)"),
        counts,
        {"family": "negative_binomial"},
    ),
    "ordinal": Kind(
        "ordered categories, one intercept",
        "y ~ x + (1 | id)",
        _prior("normal(0, 1.5)", "normal(0, 1)", "half_normal(1)"),
        ratings,
        {"family": "ordinal"},
    ),
    "gamma": Kind(
        "gamma, one intercept",
        "y ~ x + (1 | id)",
        _prior("normal(0, 1)", "normal(0, 0.5)", "half_normal(0.7)", family="half_normal(3)"),
        times,
        {"family": "gamma"},
    ),
    "beta_binomial": Kind(
        "beta-binomial, one intercept",
        "cbind(y, n - y) ~ x + (1 | id)",
        _prior("normal(0, 1)", "normal(0, 1)", "half_normal(1)", family="half_normal(10)"),
        shares,
        {"family": "beta_binomial"},
    ),
    "weibull": Kind(
        "Weibull times, some of them censored, one intercept",
        "Surv(t, event) ~ x + (1 | id)",
        _prior("normal(0, 1)", "normal(0, 0.5)", "half_normal(0.7)", family="half_normal(3)"),
        lifetimes,
        {"family": "weibull"},
    ),
    "slopes": Kind(
        "negative binomial, correlated slopes",
        "y ~ x + (x | id)",
        _prior("normal(1, 0.5)", "normal(0, 0.5)", "half_normal(0.7)", family="exponential(2)", correlation="lkj(2)"),
        slopes,
        {"family": "negative_binomial"},
    ),
    "nested": Kind(
        "gamma, nested factors",
        "y ~ x + (1 | id/child)",
        _prior("normal(0, 1)", "normal(0, 0.5)", "half_normal(0.7)", family="half_normal(3)"),
        nested,
        {"family": "gamma"},
    ),
    "crossed": Kind(
        "ordered categories, crossed factors",
        "y ~ x + (1 | id) + (1 | item)",
        _prior("normal(0, 1.5)", "normal(0, 1)", "half_normal(1)"),
        crossed,
        {"family": "ordinal"},
        "independence",
    ),
    "gaussian": Kind(
        "normal responses, correlated slopes",
        "y ~ x + (x | id)",
        _prior("normal(0, 1)", "normal(0, 1)", "half_normal(1)", family="half_normal(1)", correlation="lkj(2)"),
        lines,
        {"family": "gaussian"},
    ),
    "nested_logit": Kind(
        "logit, nested factors",
        "cbind(y, n - y) ~ 1 + (1 | id/child)",
        _prior("normal(0, 1)", "normal(0, 1)", "half_normal(1)"),
        trials,
    ),
    "crossed_logit": Kind(
        "logit, crossed factors",
        "cbind(y, n - y) ~ 1 + (1 | id) + (1 | item)",
        _prior("normal(0, 1)", "normal(0, 1)", "half_normal(1)"),
        answers,
    ),
    "inflated": Kind(
        "Poisson counts with more zeros, one intercept",
        "y ~ x + offset(more) + (1 | id)",
        _prior("normal(0, 0.7)", "normal(0, 0.5)", "half_normal(0.7)"),
        inflated,
        {"family": "poisson", "zero_inflation": "~ g"},
    ),
    "hurdle": Kind(
        "negative binomial counts behind a hurdle, one intercept",
        "y ~ x + offset(more) + (1 | id)",
        _prior("normal(0, 0.7)", "normal(0, 0.5)", "half_normal(0.7)", family="exponential(2)"),
        hurdle,
        {"family": "negative_binomial", "hurdle": "~ g"},
    ),
    "student_t": Kind(
        "logit, intercepts with a t distribution",
        "cbind(y, n - y) ~ 1 + (1 | id)",
        _prior("normal(0, 1)", "normal(0, 1)", "half_normal(1)", shape="gamma(2, 0.1)"),
        heavy_tails,
        {"distribution": "student_t"},
        "independence",
    ),
    "gaussian_mixture": Kind(
        "logit, intercepts from two Gaussian parts",
        "cbind(y, n - y) ~ 1 + (1 | id)",
        cg.Prior(
            intercept="normal(0, 1)",
            sd="half_normal(1)",
            scaled=False,
            shape={"weight": "beta(2, 2)", "separation": "beta(1, 1)"},
        ),
        two_parts,
        {"distribution": "gaussian_mixture"},
        "independence",
    ),
}
