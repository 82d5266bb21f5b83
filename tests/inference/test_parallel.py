"""Score tests of proportional odds against the wider model by differences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import clusterglm as cg
from clusterglm.errors import ClusterGLMError


def patients() -> pd.DataFrame:
    """60 clusters of five ratings in four categories."""
    rng = np.random.default_rng(3)
    cluster, x = np.repeat(np.arange(60), 5), rng.normal(size=300)
    y = np.digitize(0.8 * x + 0.7 * rng.normal(size=60)[cluster] + rng.logistic(size=300), [-1.0, 0.4, 2.0])
    kind = pd.CategoricalDtype(["bad", "fair", "good", "fine"], ordered=True)
    return pd.DataFrame({"y": pd.Categorical.from_codes(y, dtype=kind), "x": x, "id": cluster})


@pytest.mark.parametrize("verb", ["pooled", "random_effects"])
def test_parallel_effects_by_differences_of_the_wider_model(verb: str) -> None:
    """Score and information of the model with a slope for each threshold, by a Gauss-Hermite rule of its own."""
    data = patients().assign(z=lambda d: 10.0 + np.sin(5.0 * d["x"]))
    fit = getattr(cg, verb)("y ~ x + z", data, cluster="id", family="ordinal")
    found, random = fit.parallel_test(), verb == "random_effects"
    u, w = np.polynomial.hermite_e.hermegauss(40)
    codes, X = data["y"].cat.codes.to_numpy(), data[["x", "z"]].to_numpy()
    at = np.array([*fit.params, *([fit.sigma] if random else []), *fit.thresholds, 0.0, 0.0, 0.0, 0.0])

    def loglik(theta: np.ndarray) -> float:
        slopes = np.vstack([np.zeros((1, 2)), theta[-4:].reshape(2, 2)])  # at each threshold, beside beta
        b = theta[2] * u if random else np.zeros(40)
        cuts = theta[-7:-4] - X @ slopes.T
        eta = (X @ theta[:2])[:, None] + b
        below = expit(cuts[:, :, None] - eta[:, None, :])
        p = np.diff(below, axis=1, prepend=0.0, append=1.0)[np.arange(len(codes)), codes]
        whole = np.add.reduceat(np.log(p), np.arange(0, len(data), 5), axis=0)
        return float(np.log(np.exp(whole) @ w / w.sum()).sum())

    steps = np.diag(np.r_[1e-3, 1e-4, np.full(len(at) - 2, 1e-3)] * np.r_[np.ones(len(at) - 4), 1.0, 0.1, 1.0, 0.1])
    score = np.array([(loglik(at + e) - loglik(at - e)) / (2.0 * e.sum()) for e in steps])

    def twice(e: np.ndarray, f: np.ndarray) -> float:
        corners = loglik(at + e + f) - loglik(at + e - f) - loglik(at - e + f) + loglik(at - e - f)
        return corners / (4.0 * e.sum() * f.sum())

    H = np.array([[twice(e, f) for f in steps] for e in steps])
    assert found.terms == ("all", "x", "z")
    assert found.df.tolist() == [4, 2, 2]
    assert found.statistic[0] == pytest.approx(score @ np.linalg.solve(-H, score), rel=1e-3)
    some = np.r_[np.arange(len(at) - 4), len(at) - 4, len(at) - 2]
    expected = score[some] @ np.linalg.solve(-H[np.ix_(some, some)], score[some])
    assert found.statistic[1] == pytest.approx(expected, rel=1e-3)


def test_parallel_effects_where_there_are_none() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=3000)
    below = expit(np.array([-1.0, 0.5]) - np.outer(x, [1.5, 0.2]))
    below[:, 1] = np.maximum(below[:, 1], below[:, 0])
    y = (rng.random(3000)[:, None] > below).sum(axis=1)
    data = pd.DataFrame({"y": y, "x": x, "z": rng.normal(size=3000)})
    found = cg.pooled("y ~ x + z", data, family="ordinal").parallel_test()
    assert found.pvalue[1] < 1e-10
    assert found.pvalue[2] > 0.01
    assert "chi2" in str(found)
    for fit in (
        cg.pooled("y ~ x", data, family="ordinal", link="cloglog"),
        cg.pooled("y ~ 1", data, family="ordinal"),
        cg.pooled("y ~ x", data[data["y"] > 0], family="ordinal"),
    ):
        with pytest.raises(ClusterGLMError, match="parallel effects"):
            fit.parallel_test()
