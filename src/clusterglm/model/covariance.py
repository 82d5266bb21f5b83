"""How the effects of a cluster covary: structures, their parameters, and the factor L of the covariance L L'.

L is lower triangular, with a block for each term. Its entries are functions of the parameters phi, whose first and
second derivatives carry those of a likelihood in L over to phi. Signs of L's columns are symmetries of the likelihood:
a parameter whose sign means nothing is turned positive by `canonical`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array


class Structure(ABC):
    """Covariances of d effects that a term may have."""

    @abstractmethod
    def size(self, d: int) -> int:
        """Number of parameters."""

    @abstractmethod
    def labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the parameters."""

    @abstractmethod
    def factor(self, phi: Array, d: int) -> Array:
        """L, shape (d, d)."""

    @abstractmethod
    def slopes(self, phi: Array, d: int) -> Array:
        """Derivatives of L, shape (parameters, d, d)."""

    def bends(self, phi: Array, d: int) -> Array | None:
        """Second derivatives of L, shape (parameters, parameters, d, d); None where L is linear."""
        return None

    @abstractmethod
    def canonical(self, phi: Array, d: int) -> Array:
        """Parameters of the same covariance with signs that are the custom."""

    @abstractmethod
    def of(self, covariance: Array) -> Array:
        """Parameters of a covariance, or of one near it that the structure allows; shape (parameters,)."""

    def pattern(self, d: int) -> NDArray[np.bool_]:
        """Entries of L that may be other than zero, shape (d, d)."""
        return np.tri(d, dtype=bool)


class Unstructured(Structure):
    """Any covariance; phi are the entries of L, row by row."""

    def size(self, d: int) -> int:
        """See `Structure`."""
        return d * (d + 1) // 2

    def labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """See `Structure`."""
        return tuple(f"L[{effects[i]},{effects[j]}]" for i, j in zip(*np.tril_indices(len(effects)), strict=True))

    def factor(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        L = np.zeros((d, d))
        L[np.tril_indices(d)] = phi
        return L

    def slopes(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        rows, columns = np.tril_indices(d)
        found = np.zeros((len(rows), d, d))
        found[np.arange(len(rows)), rows, columns] = 1.0
        return found

    def canonical(self, phi: Array, d: int) -> Array:
        """Diagonal entries are not negative."""
        L = self.factor(phi, d)
        return np.asarray((L * np.where(np.diag(L) < 0.0, -1.0, 1.0))[np.tril_indices(d)])

    def of(self, covariance: Array) -> Array:
        """See `Structure`."""
        return np.asarray(np.linalg.cholesky(covariance)[np.tril_indices(len(covariance))])


class Diagonal(Structure):
    """No correlations; phi are the standard deviations."""

    def size(self, d: int) -> int:
        """See `Structure`."""
        return d

    def labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """See `Structure`."""
        return tuple(f"sd({name})" for name in effects)

    def factor(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        return np.diag(phi)

    def slopes(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        found = np.zeros((d, d, d))
        found[np.arange(d), np.arange(d), np.arange(d)] = 1.0
        return found

    def canonical(self, phi: Array, d: int) -> Array:
        """Standard deviations are not negative."""
        return np.abs(phi)

    def of(self, covariance: Array) -> Array:
        """See `Structure`."""
        return np.sqrt(np.diag(covariance))

    def pattern(self, d: int) -> NDArray[np.bool_]:
        """See `Structure`."""
        return np.eye(d, dtype=bool)


class OneVariance(Diagonal):
    """No correlations, and one standard deviation, which is phi."""

    def size(self, d: int) -> int:
        """See `Structure`."""
        return 1

    def labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """See `Structure`."""
        return ("sd",)

    def factor(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        return np.asarray(phi[0] * np.eye(d))

    def slopes(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        return np.eye(d)[None]

    def of(self, covariance: Array) -> Array:
        """See `Structure`."""
        return np.array([np.sqrt(np.mean(np.diag(covariance)))])


class CompoundSymmetry(Structure):
    """One correlation; phi are the standard deviations and a number t that it follows from.

    The correlation runs from -1/(d - 1) to 1 as t runs over the real line: rho = (e^t - 1) / (e^t + d - 1).
    """

    def size(self, d: int) -> int:
        """See `Structure`."""
        return d + (d > 1)

    def labels(self, effects: tuple[str, ...]) -> tuple[str, ...]:
        """See `Structure`."""
        return (*(f"sd({name})" for name in effects), *(("t(correlation)",) if len(effects) > 1 else ()))

    @staticmethod
    def correlation(t: float, d: int) -> tuple[float, float, float]:
        """The correlation of d effects, and its first two derivatives in t."""
        share = 1.0 / (1.0 + (d - 1) * np.exp(-t))  # logistic in t - log(d - 1)
        slope = share * (1.0 - share) * d / (d - 1)
        return (d * share - 1.0) / (d - 1), slope, slope * (1.0 - 2.0 * share)

    def factor(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        return phi[:d, None] * self._roots(phi, d)[0]

    def slopes(self, phi: Array, d: int) -> Array:
        """See `Structure`."""
        root, first, _ = self._roots(phi, d)
        found = np.zeros((self.size(d), d, d))
        found[np.arange(d), np.arange(d)] = root
        if d > 1:
            found[d] = phi[:d, None] * first
        return found

    def bends(self, phi: Array, d: int) -> Array | None:
        """See `Structure`."""
        if d == 1:
            return None
        _, first, second = self._roots(phi, d)
        found = np.zeros((d + 1, d + 1, d, d))
        found[np.arange(d), d, np.arange(d)] = found[d, np.arange(d), np.arange(d)] = first
        found[d, d] = phi[:d, None] * second
        return found

    def canonical(self, phi: Array, d: int) -> Array:
        """Standard deviations are not negative, where all can be turned at once."""
        return np.concatenate([-phi[:d], phi[d:]]) if (phi[:d] <= 0.0).all() else phi

    def of(self, covariance: Array) -> Array:
        """See `Structure`."""
        d = len(covariance)
        sd = np.sqrt(np.diag(covariance))
        if d == 1:
            return sd
        mean = ((covariance / np.outer(sd, sd)).sum() - d) / (d * (d - 1))
        share = np.clip((mean * (d - 1) + 1.0) / d, 1e-3, 1.0 - 1e-3)
        return np.append(sd, np.log(share / (1.0 - share)) + np.log(d - 1))

    def _roots(self, phi: Array, d: int) -> tuple[Array, Array, Array]:
        """The factor of the correlations and its first two derivatives in t.

        From R = C C': C' = C low(C^-1 R' C^-T) and C'' = C low(C^-1 (R'' - 2 C' C'^T) C^-T), where `low` is the lower
        triangle with half the diagonal.
        """
        if d == 1:
            return np.eye(1), np.zeros((1, 1)), np.zeros((1, 1))
        rho, slope, bend = self.correlation(float(phi[d]), d)
        others = np.ones((d, d)) - np.eye(d)
        C = np.asarray(np.linalg.cholesky(np.eye(d) + rho * others), dtype=np.float64)
        first = C @ _low(_between(C, slope * others))
        second = C @ _low(_between(C, bend * others - 2.0 * first @ first.T))
        return C, first, second


STRUCTURES: dict[str, Structure] = {
    "us": Unstructured(),
    "diag": Diagonal(),
    "homdiag": OneVariance(),
    "cs": CompoundSymmetry(),
}


@dataclass(frozen=True)
class CovarianceTerm:
    """Effects of one grouping factor that covary.

    Parameters
    ----------
    group : str
    effects : tuple of str
    structure : {"us", "diag", "homdiag", "cs"}
    """

    group: str
    effects: tuple[str, ...]
    structure: str

    @property
    def kind(self) -> Structure:
        """What the structure is."""
        return STRUCTURES[self.structure]

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.kind.size(len(self.effects))


@dataclass(frozen=True)
class Covariance:
    """Of all effects of a cluster: blocks, one term after another.

    Parameters
    ----------
    terms : tuple of CovarianceTerm
    """

    terms: tuple[CovarianceTerm, ...]

    @property
    def n_effects(self) -> int:
        """Effects of all terms, q."""
        return sum(len(term.effects) for term in self.terms)

    @property
    def n_parameters(self) -> int:
        """Elements of phi."""
        return sum(term.size for term in self.terms)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the parameters, with the grouping factor."""
        return tuple(f"{term.group}: {name}" for term in self.terms for name in term.kind.labels(term.effects))

    @cached_property
    def pattern(self) -> NDArray[np.bool_]:
        """Entries of L that may be other than zero, shape (q, q)."""
        found = np.zeros((self.n_effects, self.n_effects), dtype=bool)
        for term, _, where in self._places():
            found[where, where] = term.kind.pattern(len(term.effects))
        return found

    def factor(self, phi: Array) -> Array:
        """L, shape (q, q)."""
        L = np.zeros((self.n_effects, self.n_effects))
        for term, some, where in self._places():
            L[where, where] = term.kind.factor(phi[some], len(term.effects))
        return L

    def slopes(self, phi: Array) -> Array:
        """Derivatives of L in phi, shape (parameters, q, q)."""
        found = np.zeros((self.n_parameters, self.n_effects, self.n_effects))
        for term, some, where in self._places():
            found[some, where, where] = term.kind.slopes(phi[some], len(term.effects))
        return found

    def bends(self, phi: Array, weights: Array) -> Array:
        """Second derivatives of the sum of `weights`, shape (q, q), times L; shape (parameters, parameters)."""
        found = np.zeros((self.n_parameters, self.n_parameters))
        for term, some, where in self._places():
            second = term.kind.bends(phi[some], len(term.effects))
            if second is not None:
                found[some, some] = np.einsum("abij,ij->ab", second, weights[where, where])
        return found

    def canonical(self, phi: Array) -> Array:
        """Parameters of the same covariance with the customary signs."""
        found = np.array(phi)
        for term, some, _ in self._places():
            found[some] = term.kind.canonical(phi[some], len(term.effects))
        return found

    def of(self, covariance: Array) -> Array:
        """Parameters of a covariance, shape (q, q), or of one near it that the structures allow."""
        return np.concatenate([term.kind.of(covariance[where, where]) for term, _, where in self._places()])

    def blocks(self) -> list[tuple[CovarianceTerm, slice]]:
        """The terms, each with the places of its effects."""
        return [(term, where) for term, _, where in self._places()]

    def _places(self) -> list[tuple[CovarianceTerm, slice, slice]]:
        """Terms, their parameters, their effects."""
        found, first, place = [], 0, 0
        for term in self.terms:
            d = len(term.effects)
            found.append((term, slice(first, first + term.size), slice(place, place + d)))
            first, place = first + term.size, place + d
        return found


def _low(matrix: Array) -> Array:
    return np.asarray(np.tril(matrix) - 0.5 * np.diag(np.diag(matrix)))


def _between(C: Array, matrix: Array) -> Array:
    """C^-1 matrix C^-T."""
    half = np.linalg.solve(C, matrix)
    return np.asarray(np.linalg.solve(C, half.T).T)
