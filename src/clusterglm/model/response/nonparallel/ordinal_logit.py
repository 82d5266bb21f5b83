"""Partial proportional odds: P(Y <= c) = expit(kappa_c - n'gamma_c - eta), with coefficients gamma_c at each threshold.

The rows are those of proportional odds, and the coefficients are those of more columns. What a row's thresholds depend
on are its covariates n: rows with the same ones have one *pattern*. A row's category and the number of its pattern
make one number, its code, so that the two numbers of a row still say all that a likelihood asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array
from clusterglm.model.response.own.base import KernelRows, Terms
from clusterglm.model.response.own.cumulative import Cumulative
from clusterglm.model.response.own.ordinal_logit import OrdinalLogit

_AT_EDGE = 1e-3  # distance of thresholds that is next to none


@dataclass(frozen=True, eq=False, repr=False)
class NonparallelLogit(OrdinalLogit):
    """Cumulative logit with coefficients that differ between thresholds, the last of the response's parameters.

    Of a row, a is w times its code: the number of its category, and as often as its pattern says the number of
    categories and one. A likelihood needs the thresholds of each pattern in their order.

    Parameters
    ----------
    columns : tuple of str
        The q covariates.
    patterns : ndarray, shape (g, q)
        Their values in each pattern.
    """

    columns: tuple[str, ...] = ()
    patterns: Array = field(default_factory=lambda: np.zeros((1, 0)))

    @property
    def plain(self) -> OrdinalLogit:
        return OrdinalLogit(levels=self.levels)

    @property
    def nonparallel(self) -> tuple[str, ...]:
        return self.columns

    @property
    def n_thresholds(self) -> int:
        return len(self.levels) - 1

    @property
    def own(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the thresholds, and of the coefficients at each of them."""
        thresholds = super().own
        return (*thresholds, *(f"{column}: {name}" for column in self.columns for name in thresholds))

    @property
    def thresholds(self) -> Array:
        return np.array(self.values[: self.n_thresholds])

    @property
    def working(self) -> Array:
        return np.array(self.values)

    def misfit(self, a: Array, b: Array, by_threshold: tuple[str, ...]) -> str | None:
        if self.columns != by_threshold or self.patterns.ndim != 2 or self.patterns.shape[1] != len(by_threshold):
            return f"covariates {', '.join(self.columns)} for columns {', '.join(by_threshold)}"
        if len(self.values) not in (0, len(self.own)):
            return f"{len(self.values)} parameters named {', '.join(self.own)}"
        codes = a / b
        known = (self.pattern(codes) < len(self.patterns)) & (self.pattern(codes) >= 0) & (self.category(codes) >= 0)
        return None if known.all() else "responses of other covariates than there are"

    def start(self, mean: Array, a: Array, b: Array) -> Array:
        return np.append(super().start(mean, a, b), np.zeros(len(self.columns) * self.n_thresholds))

    def standard(self) -> tuple[Self, Array | None]:
        """With covariates of mean 0 and size 1 over the patterns."""
        k, q = self.n_thresholds, len(self.columns)
        centre, size = self.patterns.mean(axis=0), self.patterns.std(axis=0)
        back = np.eye(k * (1 + q))
        for j in range(q):
            of_j = slice(k * (1 + j), k * (2 + j))
            back[of_j, of_j] /= size[j]
            back[:k, of_j] = np.eye(k) * centre[j] / size[j]
        return replace(self, values=(), patterns=(self.patterns - centre) / size), back

    # Codes -----------------------------------------------------------------------------------------------------------

    def coded(self, y: NDArray[np.int64], patterns: NDArray[np.int64]) -> Array:
        """Codes of categories, in these patterns."""
        return np.asarray(y + (len(self.levels) + 1) * patterns, dtype=np.float64)

    def category(self, codes: Array) -> NDArray[np.int64]:
        whole = np.asarray(np.rint(codes), dtype=np.int64)
        return (whole + 1) % (len(self.levels) + 1) - 1  # -1 is what lies below the lowest

    def pattern(self, codes: Array) -> NDArray[np.int64]:
        """The number of each code's pattern."""
        return (np.asarray(np.rint(codes), dtype=np.int64) + 1) // (len(self.levels) + 1)

    def categories(self, a: Array, b: Array) -> NDArray[np.int64]:
        return self.category(a / b)

    def covariates(self, a: Array, b: Array) -> Array:
        return self.patterns[self.pattern(a / b)]

    def in_rows(self, y: Array, a: Array, b: Array) -> Array:
        return self.coded(self.category(y), self.pattern(a / b))

    def known(self, a: Array, b: Array, trials: Array) -> Array:
        return self.pattern(a / b).astype(np.float64)

    # Thresholds of rows ----------------------------------------------------------------------------------------------

    def thresholds_at(self, covariates: Array) -> Array:
        k = self.n_thresholds
        gamma = np.array(self.values[k:]).reshape(len(self.columns), k)
        return np.asarray(self.thresholds - covariates @ gamma)

    def by_covariates(self, covariates: Array) -> Array:
        k = self.n_thresholds
        each = [-covariates[:, [j]][:, :, None] * np.eye(k) for j in range(len(self.columns))]
        return np.concatenate([np.broadcast_to(np.eye(k), (len(covariates), k, k)), *each], axis=2)

    def ends(self, y: Array, eta: Array) -> tuple[Array, Array]:
        at = self.thresholds_at(self.patterns)
        none = np.full((len(at), 1), np.inf)
        padded, pattern, number = np.hstack([-none, at, none]), self.pattern(y), self.category(y)
        return padded[pattern, number] - eta, padded[pattern, number + 1] - eta

    def draw(self, rng: np.random.Generator, eta: Array, trials: Array | None = None) -> Array:
        """Codes at linear predictors, shape (n,); `trials`: the rows' patterns."""
        assert trials is not None
        pattern = np.asarray(np.rint(trials), dtype=np.int64)
        at = self.thresholds_at(self.patterns)[pattern]
        below = self.binary.mean(at - np.asarray(eta)[:, None])
        y = (rng.random(np.shape(eta))[:, None] > below).sum(axis=1)
        return self.coded(y, pattern)

    # The likelihood --------------------------------------------------------------------------------------------------

    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        rows = super().kernel_rows(a, b)
        assert rows.columns is not None
        N = self.covariates(a, b)
        N = N if rows.of is None else N[rows.of]
        columns = np.hstack([rows.columns, *(-rows.columns * N[:, [j]] for j in range(len(self.columns)))])
        shift = columns @ self.working if self.values else np.zeros(len(columns))
        return replace(rows, shift=shift, columns=columns)

    def at_edge(self, psi: Array, a: Array, b: Array) -> NDArray[np.bool_]:
        return self.crossing(psi, _AT_EDGE)[self.pattern(a / b)]

    def crossing(self, psi: Array, room: float = 0.0) -> NDArray[np.bool_]:
        """Patterns two of whose thresholds lie no further apart than `room`, or in the wrong order."""
        gaps = np.diff(self.at(psi).thresholds_at(self.patterns), axis=1)
        return np.asarray((gaps <= room).any(axis=1))

    def terms(self, psi: Array, a: Array, b: Array, weights: Array | None = None) -> Terms:
        n, m = len(a), len(psi)
        first, second = np.zeros((n, m)), np.zeros((m, m))
        if self.crossing(psi).any():
            return Terms(-np.inf, first, second)
        inner, moves = self.distances(a, b)
        gap, w = moves @ psi, b[inner]
        slope = 1.0 / np.expm1(gap)
        first[inner] = (w * slope)[:, None] * moves
        bend = w * slope * (1.0 + slope)  # e^g / (e^g - 1)^2
        second -= np.einsum("n,ni,nj->ij", bend, moves, moves, optimize=False)
        return Terms(float(w @ np.log(-np.expm1(-gap))), first, second)

    def log_terms(self, a: Array, b: Array) -> Array:
        inner, moves = self.distances(a, b)
        found = np.zeros(len(a))
        found[inner] = b[inner] * np.log(-np.expm1(-(moves @ self.working)))
        return found

    def distances(self, a: Array, b: Array) -> tuple[NDArray[np.int64], Array]:
        inner, thresholds = super().distances(a, b)
        N = self.covariates(a, b)[inner]
        return inner, np.hstack([thresholds, *(-thresholds * N[:, [j]] for j in range(len(self.columns)))])


def nonparallel(response: Cumulative, columns: tuple[str, ...], patterns: Array) -> NonparallelLogit | None:
    """The response with coefficients at each threshold for some columns; None for other links than the logit."""
    if type(response) is not OrdinalLogit:
        return None
    return NonparallelLogit(levels=response.levels, columns=columns, patterns=patterns)
