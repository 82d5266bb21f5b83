"""Sums over units by the core, against all rows' covariance matrix and its inverse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clusterglm import _core
from clusterglm.likelihood.gaussian.layout import Factor
from clusterglm.likelihood.gaussian.moments import Direction, Moments
from clusterglm.likelihood.gaussian.statistics import Statistics, statistics_of


def of_rows(d: int, p: int, seed: int, weighted: bool) -> tuple[Statistics, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, 11)
    codes = np.repeat(np.arange(11), sizes)
    n = len(codes)
    X, y, Z = rng.normal(size=(n, p)), rng.normal(size=n), rng.normal(size=(n, d))
    w = rng.uniform(0.5, 2.0, n) if weighted else np.ones(n)
    cw = rng.integers(1, 4, 11)[codes].astype(float) if weighted else np.ones(n)
    found = statistics_of(X, y, Z, [Factor(codes, 11, np.arange(d))], w, cw)
    return found, {"U": np.column_stack([X, y]), "Z": Z, "codes": codes, "w": w, "cw": cw}


def dense(rows: dict[str, Any], M: np.ndarray) -> tuple[float, np.ndarray]:
    """log|V| and U' V^-1 U, cluster by cluster, of V = W^-1 + Z M Z' less the weights' own determinant."""
    logdet, S = 0.0, np.zeros((rows["U"].shape[1],) * 2)
    for c in np.unique(rows["codes"]):
        some = rows["codes"] == c
        Z, U, w = rows["Z"][some], rows["U"][some], rows["w"][some]
        V = np.diag(1.0 / w) + Z @ M @ Z.T
        cw = float(rows["cw"][some][0])
        logdet += cw * (np.linalg.slogdet(V)[1] + np.log(w).sum())
        S += cw * U.T @ np.linalg.solve(V, U)
    return logdet, S


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("p", [0, 1, 3, 8])
def test_units_are_those_of_all_rows(d: int, p: int, weighted: bool) -> None:
    statistics, rows = of_rows(d, p, 10 * d + p, weighted)
    assert (statistics.packed is not None) == (d <= _core.NORMAL_EFFECTS)
    rng = np.random.default_rng(d)
    L = np.eye(d) + 0.3 * np.tril(rng.normal(size=(d, d)))
    moments = Moments(statistics, [L])
    logdet, S = dense(rows, L @ L.T)
    assert moments.logdet == pytest.approx(logdet, rel=1e-12)
    np.testing.assert_allclose(moments.S, S, rtol=1e-10, atol=1e-12)
    v, h = rng.normal(size=p + 1), 1e-5
    directions = [Direction(0, each + each.T) for each in 0.3 * rng.normal(size=(2, d, d))]

    def moved(steps: np.ndarray) -> tuple[float, np.ndarray]:
        return dense(rows, L @ L.T + steps[0] * directions[0].E + steps[1] * directions[1].E)

    C = v[:, None]
    of_H, of_T = moments.gradients(C)
    slopes, (of_logdet, of_S) = moments.slopes(directions, C), moments.bends(directions, C)
    for k, step in enumerate(h * np.eye(2)):
        up, down = moved(step), moved(-step)
        assert (of_H[0] * directions[k].E).sum() == pytest.approx((up[0] - down[0]) / (2.0 * h), rel=1e-6, abs=1e-7)
        np.testing.assert_allclose(slopes[k, :, 0], (up[1] - down[1]) @ v / (2.0 * h), rtol=1e-6, atol=1e-7)
        by_T = -np.einsum("ab,abij->ij", directions[k].E, of_T[0])
        np.testing.assert_allclose(by_T, v @ (up[1] - down[1]) @ v / (2.0 * h), rtol=1e-6, atol=1e-7)
        for j, other in enumerate(1e-3 * np.eye(2)):
            wide = 1e-3 * np.eye(2)[k]
            ends = [moved(s * wide + t * other) for s in (1, -1) for t in (1, -1)]
            second = [(ends[0][i] - ends[1][i] - ends[2][i] + ends[3][i]) / 4e-6 for i in (0, 1)]
            assert of_logdet[k, j] == pytest.approx(second[0], rel=2e-4, abs=2e-4)
            np.testing.assert_allclose(of_S[k, j], v @ second[1] @ v, rtol=2e-4, atol=2e-4)


def test_the_core_and_numpy_agree() -> None:
    """The same units with two columns at once, of which the core has no sums."""
    statistics, _ = of_rows(2, 3, 5, weighted=True)
    L = np.array([[1.2, 0.0], [-0.4, 0.7]])
    one, two = np.random.default_rng(1).normal(size=(2, 4))
    directions = [Direction(0, np.array([[1.0, 0.3], [0.3, 0.2]])), Direction(0, np.array([[0.1, 0.9], [0.9, -0.5]]))]
    whole = Moments(statistics, [L])
    of_H, of_T = whole.gradients(np.column_stack([one, two]))
    slopes, (of_logdet, of_S) = (
        whole.slopes(directions, np.column_stack([one, two])),
        whole.bends(directions, np.column_stack([one, two])),
    )
    for place, v in enumerate((one, two)):
        C = v[:, None]
        H, T = whole.gradients(C)
        np.testing.assert_allclose(H[0], of_H[0], rtol=1e-12)
        np.testing.assert_allclose(T[0][..., 0, 0], of_T[0][..., place, place], rtol=1e-11)
        np.testing.assert_allclose(whole.slopes(directions, C)[..., 0], slopes[..., place], rtol=1e-11)
        second = whole.bends(directions, C)
        np.testing.assert_allclose(second[0], of_logdet, rtol=1e-12)
        np.testing.assert_allclose(second[1][..., 0, 0], of_S[..., place, place], rtol=1e-11)


@pytest.mark.parametrize("width", range(1, 12))
def test_products_of_rows_in_runs(width: int) -> None:
    rng = np.random.default_rng(width)
    for n in (0, 1, 2, 7, 30):
        left, right = rng.normal(size=(n, 3)), rng.normal(size=(n, width))
        starts = np.sort(np.append(rng.integers(0, n + 1, 4), [0, n]))
        found = np.full((3, width + 2, 8), 9.0)
        _core.normal_products(left, right, starts, found, 1)
        for u in range(5):
            some = slice(starts[u], starts[u + 1])
            np.testing.assert_allclose(found[:, 1 : width + 1, u], left[some].T @ right[some], rtol=1e-12, atol=1e-13)
        assert (found[:, [0, width + 1]] == 9.0).all()
        assert (found[:, :, 5:] == 9.0).all()
    with pytest.raises(ValueError, match="starts: ascending"):
        _core.normal_products(left, right, starts[::-1].copy(), found, 1)
    with pytest.raises(ValueError, match="from their place on"):
        _core.normal_products(left, right, starts, found, 3)


def test_the_core_refuses_what_does_not_fit() -> None:
    squares, products, w, root = np.zeros((2, 2, 8)), np.zeros((2, 3, 8)), np.zeros(8), np.eye(2)
    _core.normal_value(squares, products, w, root, np.zeros(10))
    others = [
        (squares[:1].copy(), products, w, root),
        (squares, products[:1].copy(), w, root),
        (squares, products, w[:4].copy(), root),
        (squares, products, w, np.eye(3)),
    ]
    for bad, words in zip(others, ("squares", "products", "weights", "root"), strict=True):
        with pytest.raises(ValueError, match=f"^{words}: "):
            _core.normal_value(*bad, np.zeros(10))
    with pytest.raises(ValueError, match="found"):
        _core.normal_value(squares, products, w, root, np.zeros(9))
    with pytest.raises(ValueError, match="one number of each column"):
        _core.normal_slopes(squares, products, w, root, np.zeros(2), np.zeros(48))
