"""log|V| and U' V^-1 U of normal responses, with derivatives in the relative covariance of the effects.

V = I + sum over factors f of Z_f (I x M_f) Z_f', U = [X y]. A direction k is a factor and a change E_k of its M. With
H_ab = Z_a' V^-1 Z_b and T_a = Z_a' V^-1 U of levels a and b, and S = U' V^-1 U,

    d log|V| = sum_a tr(E H_aa),                      d S = - sum_a T_a' E T_a,
    d2 log|V| = - sum_ab tr(E_k H_ab E_l H_ba),       d2 S = sum_ab T_a' E_k H_ab E_l T_b + its transpose.

The units (levels of the inner factor) have V1 = I + Z1 M1 Z1', whose inverse is one of small matrices; the outer levels
follow by Woodbury's formula, V = V1 + Z2 M2 Z2'. (In other words the elimination of Bates, Maechler, Bolker and Walker,
Journal of Statistical Software 67, 2015.) Sums over pairs of units do without the pairs, as
H_ab = delta_ab H0_a - J_a K J_b' with J_a = Z_a' V1^-1 Z2 and K = (M2^-1 + Z2' V1^-1 Z2)^-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clusterglm.likelihood.gaussian.small import (
    inverse_and_logdet,
    pairs,
    product,
    summed,
    transposed,
    weighted_sum,
)
from clusterglm.likelihood.gaussian.statistics import Outside, Statistics
from clusterglm.likelihood.gaussian.sums import Sums
from clusterglm.model.arrays import Array


@dataclass(frozen=True)
class Direction:
    """A change of the relative covariance of one factor's effects.

    Parameters
    ----------
    factor : int
    E : ndarray, shape (d, d)
        Symmetric.
    """

    factor: int
    E: Array


@dataclass(frozen=True)
class Part:
    """One shape of components, at some covariances: C components of q outer effects, k columns.

    Parameters
    ----------
    outside : Outside
    units : slice
    K : ndarray, shape (C, q, q)
        (M2^-1 + Z2' V1^-1 Z2)^-1: the relative covariance of the outer effects given the data.
    D : ndarray, shape (C, q, q)
        I - K Z2' V1^-1 Z2.
    H : ndarray, shape (C, q, q)
        Z2' V^-1 Z2.
    T : ndarray, shape (C, q, k)
        Z2' V^-1 U.
    KR : ndarray, shape (C, q, k)
        K Z2' V1^-1 U.
    """

    outside: Outside
    units: slice
    K: Array
    D: Array
    H: Array
    T: Array
    KR: Array


class Moments:
    """log|V| and S at some covariances, and what derivatives and predictions need.

    Parameters
    ----------
    statistics : Statistics
    roots : sequence of ndarray, shape (d, d)
        L_f of each factor, M_f = L_f L_f'.

    Attributes
    ----------
    logdet : float
        log|V|, weighted by cluster.
    S : ndarray, shape (k, k)
        U' V^-1 U, likewise.
    parts : list of Part
    """

    def __init__(self, statistics: Statistics, roots: Sequence[Array]) -> None:
        self.statistics = statistics
        self.parts: list[Part] = []
        self._last: tuple[Array, Array] | None = None
        self._known: dict[int, Array] = {}
        self._L = roots[statistics.layout.inner]
        R, w = statistics.products, statistics.weights
        self._left = R.copy() if statistics.outside else R
        self._sums: Sums | None = None
        if statistics.packed is not None:
            self._sums = Sums(statistics.packed, self._L)
            self.logdet, self.S = self._sums.logdet, statistics.total - self._sums.explained
            return
        KR = product(self.K, R)
        self.logdet = float(w @ self._relative[1])
        S = statistics.total - summed(R, w, KR)
        outer = [roots[k] for k in statistics.layout.outer]
        for outside in statistics.outside:
            part, logdets, explained = self._eliminated(outside, KR, outer)
            self.parts.append(part)
            self.logdet += float(outside.weights @ logdets)
            S -= explained
            self._left[part.units] -= outside.spread(part.KR)
        self.S = 0.5 * (S + S.T)

    @cached_property
    def _relative(self) -> tuple[Array, Array]:
        """(M1^-1 + Z1' Z1)^-1 and log|V1| of each unit."""
        L, G = self._L, self.statistics.squares
        inverse, logdet = inverse_and_logdet(np.eye(len(L)) + product(L.T, product(G, L)))
        return product(L, product(inverse, L.T)), logdet

    @property
    def K(self) -> Array:  # noqa: N802  # as the formulas have it
        """(M1^-1 + Z1' Z1)^-1 of each unit, shape (U, d, d)."""
        return self._relative[0]

    @cached_property
    def B(self) -> Array:  # noqa: N802
        """I - Z1' Z1 K of each unit, shape (U, d, d)."""
        return np.asarray(np.eye(len(self._L)) - product(self.statistics.squares, self.K))

    @cached_property
    def alone(self) -> Array:
        """Z1' V1^-1 Z1 of each unit, shape (U, d, d)."""
        return product(self.B, self.statistics.squares)

    def of_units(self, C: Array) -> Array:
        """Z1' V^-1 U C of each unit, shape (U, d, c)."""
        if self._last is None or self._last[0] is not C:
            self._last = C, product(self.B, self._left @ C)
        return self._last[1]

    def _eliminated(self, outside: Outside, KR: Array, roots: Sequence[Array]) -> tuple[Part, Array, Array]:
        """A part, its log-determinants, shape (C,), and what it takes off S."""
        units = slice(outside.group.first, outside.group.end)
        G = outside.squares - outside.gram(self.K[units])
        R = outside.products - outside.gather(KR[units])
        L = _whole(outside, roots)
        A = np.eye(L.shape[-1]) + L.T @ G @ L
        inverse, logdets = inverse_and_logdet(A)
        K = L @ inverse @ L.T
        D = np.eye(L.shape[-1]) - K @ G
        KR2 = K @ R
        part = Part(outside, units, K, D, G @ D, transposed(D) @ R, KR2)
        return part, logdets, summed(R, outside.weights, KR2)

    # First derivatives ------------------------------------------------------------------------------------------------

    def within_units(self) -> Array:
        """H_aa of each unit, shape (U, d, d)."""
        if not self.parts:
            return self.alone
        found = self.alone.copy()
        for part in self.parts:
            found[part.units] -= self._explained(part)
        return found

    def _explained(self, part: Part) -> Array:
        """J K J' of the units of a part, shape (units, d, d)."""
        first = part.units.start
        if first not in self._known:
            B = self.B[part.units]
            self._known[first] = product(B, product(part.outside.within(part.K), transposed(B)))
        return self._known[first]

    def gradients(self, C: Array) -> tuple[list[Array], list[Array]]:
        """Sums over levels of H_aa, shape (d, d), and of T_a C x T_a C, shape (d, d, c, c), for each factor."""
        if self._sums is not None and C.shape[1] == 1:
            return self._sums.gradients(C)
        statistics, w = self.statistics, self.statistics.weights
        of_H: list[Array] = [np.zeros(0)] * len(statistics.factors)
        of_T: list[Array] = [np.zeros(0)] * len(statistics.factors)
        inner = statistics.layout.inner
        of_H[inner] = weighted_sum(w, self.within_units())
        of_T[inner] = np.swapaxes(pairs(w, *[self.of_units(C)] * 2), 1, 2)
        for place, k in enumerate(statistics.layout.outer):
            d = statistics.factors[k].n_effects
            of_H[k], of_T[k] = np.zeros((d, d)), np.zeros((d, d, C.shape[1], C.shape[1]))
            for part in self.parts:
                first, levels, _ = part.outside.blocks[place]
                some = slice(first, first + levels * d)
                T = (part.T[:, some] @ C).reshape(-1, d, C.shape[1])
                H = part.H[:, some, some].reshape(-1, levels, d, levels, d)
                weights = part.outside.weights
                of_H[k] += _diagonal(H, weights)
                of_T[k] += np.swapaxes(pairs(np.repeat(weights, levels), T, T), 1, 2)
        return of_H, of_T

    def slopes(self, directions: Sequence[Direction], C: Array) -> Array:
        """First derivatives of S times C, shape (r, k, c); C (k, c)."""
        if self._sums is not None and C.shape[1] == 1:
            return self._sums.slopes([each.E for each in directions], C)
        found, w = np.zeros((len(directions), len(self.S), C.shape[1])), self.statistics.weights
        t, Bt = self.of_units(C), transposed(self.B)
        for k, direction in enumerate(directions):
            if direction.factor == self.statistics.layout.inner:
                moved = product(Bt, product(direction.E, t))
                found[k] = -summed(self._left, w, moved)
                continue
            for part in self.parts:
                moved = _times(part, self._place(direction), direction.E, part.T @ C)
                found[k] -= summed(part.T, part.outside.weights, moved)
        return found

    # Second derivatives -----------------------------------------------------------------------------------------------

    def bends(self, directions: Sequence[Direction], C: Array) -> tuple[Array, Array]:
        """Second derivatives of log|V|, shape (r, r), and of C' S C, shape (r, r, c, c); C (k, c).

        As if M were linear in the parameters: E_k are its first derivatives.
        """
        r, c = len(directions), C.shape[1]
        of_logdet, of_S = np.zeros((r, r)), np.zeros((r, r, c, c))
        inner = self.statistics.layout.inner
        own = [k for k in range(r) if directions[k].factor == inner]
        self._bends_of_units(directions, own, C, of_logdet, of_S)
        for part in self.parts:
            _bends_of_part(self, part, directions, own, C, of_logdet, of_S)
        for k in range(r):
            for j in range(k):
                of_logdet[k, j], of_S[k, j] = of_logdet[j, k], of_S[j, k]
        return of_logdet, of_S

    def _bends_of_units(
        self, directions: Sequence[Direction], own: list[int], C: Array, of_logdet: Array, of_S: Array
    ) -> None:
        """What single units give: with H0 in the place of H."""
        w, one, tHt = self.statistics.weights, C.shape[1] == 1, None
        if self._sums is not None and one:
            of_pairs, tHt = self._sums.pairs(C)
        else:
            of_pairs = pairs(w, self.alone, self.alone)
            tHt = _between(w, self.of_units(C), self.alone) if one else None
        for i, k in enumerate(own):
            E = directions[k].E
            Et = product(E, self.of_units(C)) if tHt is None else E
            for j in own[i:]:
                of_logdet[k, j] -= float(np.einsum("ab,bcea,ce->", E, of_pairs, directions[j].E))
                if tHt is not None:
                    of_S[k, j] += 2.0 * float(np.einsum("ab,abce,ce->", E, tHt, directions[j].E))
                    continue
                twice = summed(Et, w, product(self.alone, product(directions[j].E, self.of_units(C))))
                of_S[k, j] += twice + twice.T

    # Predictions ------------------------------------------------------------------------------------------------------

    def conditional_covariances(self) -> list[Array]:
        """Relative covariance of the effects of each level given the data, (levels, d, d) for each factor."""
        statistics = self.statistics
        inner = statistics.layout.inner
        found: list[Array] = [np.zeros((f.levels, f.n_effects, f.n_effects)) for f in statistics.factors]
        units = self.K.copy()
        for part in self.parts:
            # M J K2 J' M with M (I - G K) = K
            K1 = self.K[part.units]
            units[part.units] += product(K1, product(part.outside.within(part.K), K1))
            self._scatter(part, part.K, found)
        found[inner][statistics.layout.units] = units
        return found

    def by_level(self) -> list[Array]:
        """T_a of each level, (levels, d, k) for each factor."""
        statistics = self.statistics
        size = len(self.S)
        found: list[Array] = [np.zeros((f.levels, f.n_effects, size)) for f in statistics.factors]
        found[statistics.layout.inner][statistics.layout.units] = self.of_units(np.eye(size))
        for part in self.parts:
            for place, k in enumerate(statistics.layout.outer):
                first, levels, d = part.outside.blocks[place]
                T = part.T[:, first : first + levels * d].reshape(len(part.T), levels, d, size)
                of = part.outside.group.levels[place]
                found[k][of[of >= 0]] = T[of >= 0]
        return found

    def within_levels(self) -> list[Array]:
        """H_aa of each level, (levels, d, d) for each factor."""
        statistics = self.statistics
        found: list[Array] = [np.zeros((f.levels, f.n_effects, f.n_effects)) for f in statistics.factors]
        found[statistics.layout.inner][statistics.layout.units] = self.within_units()
        for part in self.parts:
            self._scatter(part, part.H, found)
        return found

    def _scatter(self, part: Part, A: Array, found: list[Array]) -> None:
        """Diagonal blocks of A, shape (C, q, q), to the levels of the outer factors."""
        for place, k in enumerate(self.statistics.layout.outer):
            first, levels, d = part.outside.blocks[place]
            some = slice(first, first + levels * d)
            blocks = A[:, some, some].reshape(len(A), levels, d, levels, d)
            each = np.arange(levels)
            there = np.moveaxis(blocks[:, each, :, each], 0, 1)
            of = part.outside.group.levels[place]
            found[k][of[of >= 0]] = there[of >= 0]

    def slopes_by_level(self, direction: Direction, v: Array) -> list[Array]:
        """Derivatives of T_a v, (levels, d) for each factor; v (k,)."""
        statistics = self.statistics
        inner = statistics.layout.inner
        found: list[Array] = [np.zeros((f.levels, f.n_effects)) for f in statistics.factors]
        H0, t = self.alone, self.of_units(v[:, None])
        units = np.zeros(t.shape[:2])
        if direction.factor == inner:
            Et = product(direction.E, t)
            units = -product(H0, Et)[..., 0]
        for part in self.parts:
            B = self.B[part.units]
            if direction.factor == inner:
                Y = part.outside.gather(product(transposed(B), product(direction.E, t[part.units])))
                units[part.units] += product(B, part.outside.spread(part.K @ Y))[..., 0]
                outer = -(transposed(part.D) @ Y)[..., 0]
            else:
                moved = _times(part, self._place(direction), direction.E, (part.T @ v)[..., None])
                units[part.units] = -product(B, part.outside.spread(part.D @ moved))[..., 0]
                outer = -(part.H @ moved)[..., 0]
            for place, k in enumerate(statistics.layout.outer):
                first, levels, d = part.outside.blocks[place]
                of = part.outside.group.levels[place]
                found[k][of[of >= 0]] = outer[:, first : first + levels * d].reshape(len(of), levels, d)[of >= 0]
        found[inner][statistics.layout.units] = units
        return found

    def _place(self, direction: Direction) -> int:
        """Which of the outer factors a direction is of."""
        return self.statistics.layout.outer.index(direction.factor)


def _bends_of_part(
    moments: Moments,
    part: Part,
    directions: Sequence[Direction],
    own: list[int],
    C: Array,
    of_logdet: Array,
    of_S: Array,
) -> None:
    """What pairs of units of a component, and the outer levels, give."""
    outside, B, w = part.outside, moments.B[part.units], part.outside.weights
    Bt, T1, T2 = transposed(B), moments.of_units(C)[part.units], part.T @ C
    H0 = moments.alone[part.units]
    others = [k for k in range(len(directions)) if k not in own]
    N, Y = {}, {}
    for k in own:
        E = directions[k].E
        N[k] = outside.gram(product(Bt, product(E, B)))
        Y[k] = outside.gather(product(Bt, product(E, T1)))
    NK = {k: N[k] @ part.K for k in own}
    of_pairs = pairs(moments.statistics.weights[part.units], H0, moments._explained(part)) if own else H0
    for i, k in enumerate(own):
        for j in own[i:]:
            of_logdet[k, j] += 2.0 * float(np.einsum("ab,bcea,ce->", directions[k].E, of_pairs, directions[j].E))
            of_logdet[k, j] -= float(w @ np.einsum("cab,cba->c", NK[k], NK[j]))
            twice = summed(Y[k], w, part.K @ Y[j])
            of_S[k, j] -= twice + twice.T
    places = {b: moments._place(directions[b]) for b in others}
    moved = {b: _times(part, places[b], directions[b].E, T2) for b in others}
    for k in own:
        DY, ND = transposed(part.D) @ Y[k], transposed(part.D) @ N[k] @ part.D
        for b in others:
            of_logdet[min(k, b), max(k, b)] -= float(w @ _trace(part, places[b], directions[b].E, ND))
            twice = summed(DY, w, moved[b])
            of_S[min(k, b), max(k, b)] += twice + twice.T
    for i, b in enumerate(others):
        EH = _times(part, places[b], directions[b].E, part.H)
        for j in others[i:]:
            HE = _times(part, places[j], directions[j].E, part.H)
            of_logdet[b, j] -= float(w @ np.einsum("cab,cba->c", EH, HE))
            twice = summed(moved[b], w, part.H @ moved[j])
            of_S[b, j] += twice + twice.T


def _times(part: Part, place: int, E: Array, A: Array) -> Array:
    """(I x E) A for the rows of one outer factor, 0 in the others; A (C, q, k)."""
    first, levels, d = part.outside.blocks[place]
    some = slice(first, first + levels * d)
    found = np.zeros_like(A)
    rows = A[:, some].reshape(len(A), levels, d, A.shape[-1])
    found[:, some] = np.einsum("ab,clbk->clak", E, rows).reshape(len(A), levels * d, A.shape[-1])
    return found


def _trace(part: Part, place: int, E: Array, A: Array) -> Array:
    """tr((I x E) A) over the levels of one outer factor, shape (C,)."""
    first, levels, d = part.outside.blocks[place]
    some = slice(first, first + levels * d)
    blocks = A[:, some, some].reshape(len(A), levels, d, levels, d)
    found = np.zeros(len(A))
    for a in range(d):
        for b in range(d):
            if E[a, b] != 0.0:
                found += E[a, b] * np.einsum("cll->c", blocks[:, :, b, :, a])
    return found


def _diagonal(H: Array, weights: Array) -> Array:
    """Weighted sum of the diagonal blocks of H, shape (C, levels, d, levels, d)."""
    d = H.shape[2]
    return np.array([[float(weights @ np.einsum("cll->c", H[:, :, a, :, b])) for b in range(d)] for a in range(d)])


def _whole(outside: Outside, roots: Sequence[Array]) -> Array:
    """L of all outer effects of a component, shape (q, q)."""
    L = np.zeros((outside.squares.shape[-1],) * 2)
    for (first, levels, d), root in zip(outside.blocks, roots, strict=True):
        some = slice(first, first + levels * d)
        L[some, some] = np.kron(np.eye(levels), root)
    return L


def _between(weights: Array, t: Array, H: Array) -> Array:
    """Weighted sums of t_a H_bc t_e, shape (d, d, d, d), in the order a, b, c, e; t (m, d, 1)."""
    d = t.shape[1]
    squares = product(t, transposed(t))
    return np.asarray(np.einsum("aebc->abce", pairs(weights, squares, H).reshape(d, d, d, d)))
