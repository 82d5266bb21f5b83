"""Data with zeros of two kinds, and fits of them with several effects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, gammaln

import clusterglm as cg

POISSON, NB = "poisson", "negative_binomial"
FORMS = {"slopes": "x + (x | a)", "nested": "x + (1 | a/b)", "crossed": "x + (1 | a) + (1 | item)"}
INFLATED, PASSED = "zero_inflation", "hurdle"


def drawn(form: str, alpha: float = 0.0, seed: int = 2, m: int = 18, items: int = 6, certain: float = -0.7) -> Any:
    """Of 12 rows a cluster, in three children each; zeros for certain by z."""
    rng, n = np.random.default_rng(seed), 12 * m
    a = np.repeat(np.arange(m), 12)
    data = pd.DataFrame({"a": a, "b": np.arange(n) // 4, "item": np.arange(n) % items, "x": rng.normal(size=n)})
    effects = {
        "slopes": 0.6 * rng.normal(size=m)[a] + 0.4 * rng.normal(size=m)[a] * data["x"],
        "nested": 0.5 * rng.normal(size=m)[a] + 0.6 * rng.normal(size=3 * m)[data["b"]],
        "crossed": 0.6 * rng.normal(size=m)[a] + 0.5 * rng.normal(size=items)[data["item"]],
    }
    mean = np.exp(0.9 + 0.5 * data["x"] + effects[form])
    y = rng.poisson(mean * (rng.gamma(1.0 / alpha, alpha, n) if alpha > 0.0 else 1.0))
    z = rng.normal(size=n)
    y = np.where(rng.random(n) < expit(certain + 0.8 * z), 0, y)
    y[a == 3] = 0
    return data.assign(y=y, z=z, w=rng.integers(1, 4, n))


def fitted(form: str, argument: str, family: str = POISSON, right: str = "~ z", **more: Any) -> Any:
    data = drawn(form, 0.5 if family == NB else 0.0)
    return cg.random_effects(f"y ~ {FORMS[form]}", data, family=family, **{argument: right}, **more)


def log_p(y: Any, mu: Any, pi: Any, alpha: float, argument: str) -> Any:
    """Of counts, by the formulas of textbooks."""
    if alpha == 0.0:
        counts, none = y * np.log(mu) - mu - gammaln(y + 1.0), -mu
    else:
        r = 1.0 / alpha
        none = -r * np.log1p(alpha * mu)
        counts = gammaln(y + r) - gammaln(r) - gammaln(y + 1.0) + none + y * (np.log(mu) - np.log(mu + r))
    if argument == INFLATED:
        return np.where(y == 0, np.log(pi + (1.0 - pi) * np.exp(none)), np.log1p(-pi) + counts)
    return np.where(y == 0, np.log(pi), np.log1p(-pi) + counts - np.log(-np.expm1(none)))
