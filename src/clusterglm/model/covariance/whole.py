"""The covariance of all effects of a cluster, and its parameters phi."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array
from clusterglm.model.covariance.angle import FirstAngle
from clusterglm.model.covariance.base import Structure
from clusterglm.model.covariance.compound_symmetry import CompoundSymmetry
from clusterglm.model.covariance.correlated import FisherCorrelated
from clusterglm.model.covariance.diagonal import Diagonal
from clusterglm.model.covariance.one_variance import OneVariance
from clusterglm.model.covariance.partial import PartialCorrelated
from clusterglm.model.covariance.unstructured import Unstructured

STRUCTURES: dict[str, Structure] = {
    "us": Unstructured(),
    "diag": Diagonal(),
    "homdiag": OneVariance(),
    "cs": CompoundSymmetry(),
}
_ALONG_A_PROFILE: dict[str, Structure] = {"angle": FirstAngle(), "partial": PartialCorrelated()}  # no formula has them
_EVERY = STRUCTURES | _ALONG_A_PROFILE
_UNCONSTRAINED = {"us": "partial"}  # structures whose parameters but the scales may be any numbers, for those that not
_BY_READING: dict[str, Structure] = {"us": FisherCorrelated()}


@dataclass(frozen=True)
class CovarianceTerm:
    """Effects of one grouping factor that covary.

    Parameters
    ----------
    group : str
    effects : tuple of str
    structure : {"us", "diag", "homdiag", "cs"}
    by_reading : bool
        Whether the parameters are standard deviations and functions of single correlations, whatever they are else.
    """

    group: str
    effects: tuple[str, ...]
    structure: str
    by_reading: bool = False

    @property
    def kind(self) -> Structure:
        """What the structure is."""
        found = _EVERY[self.structure]
        return _BY_READING.get(self.structure, found) if self.by_reading else found

    @cached_property
    def size(self) -> int:
        """Number of parameters."""
        return self.kind.size(len(self.effects))


@dataclass(frozen=True)
class Covariance:
    """Covariance of all effects of a cluster: blocks, one term after another.

    Parameters
    ----------
    terms : tuple of CovarianceTerm
    """

    terms: tuple[CovarianceTerm, ...]

    @cached_property
    def n_effects(self) -> int:
        """Effects of all terms, q."""
        return sum(len(term.effects) for term in self.terms)

    @cached_property
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
        for term, _, where in self._places:
            found[where, where] = term.kind.pattern(len(term.effects))
        return found

    @cached_property
    def counts(self) -> Array:
        """How often a sum over the entries of L counts each, so that equal ones count once; shape (q, q)."""
        found = np.zeros((self.n_effects, self.n_effects))
        for term, _, where in self._places:
            found[where, where] = term.kind.counts(len(term.effects))
        return found

    @cached_property
    def scales(self) -> NDArray[np.bool_]:
        """Which parameters are scales, shape (parameters,)."""
        return np.concatenate([term.kind.scales(len(term.effects)) for term, _, _ in self._places])

    def factor(self, phi: Array) -> Array:
        """L, shape (q, q)."""
        L = np.zeros((self.n_effects, self.n_effects))
        for term, some, where in self._places:
            L[where, where] = term.kind.factor(phi[some], len(term.effects))
        return L

    def slopes(self, phi: Array) -> Array:
        """Derivatives of L in phi, shape (parameters, q, q)."""
        found = np.zeros((self.n_parameters, self.n_effects, self.n_effects))
        for term, some, where in self._places:
            found[some, where, where] = term.kind.slopes(phi[some], len(term.effects))
        return found

    def bends(self, phi: Array, weights: Array) -> Array:
        """Second derivatives of the sum of `weights`, shape (q, q), times L; shape (parameters, parameters)."""
        found = np.zeros((self.n_parameters, self.n_parameters))
        for term, some, where in self._places:
            second = term.kind.bends(phi[some], len(term.effects))
            if second is not None:
                found[some, some] = np.einsum("abij,ij->ab", second, weights[where, where])
        return found

    def canonical(self, phi: Array) -> Array:
        """Parameters of the same covariance with the customary signs."""
        found = np.array(phi)
        for term, some, _ in self._places:
            found[some] = term.kind.canonical(phi[some], len(term.effects))
        return found

    def of(self, covariance: Array) -> Array:
        """Parameters of a covariance, shape (q, q), or of one near it that the structures allow."""
        return np.concatenate([term.kind.of(covariance[where, where]) for term, _, where in self._places])

    def by_reading(self) -> Covariance:
        """This covariance by standard deviations and functions of single correlations: Fisher's z, or t."""
        return Covariance(tuple(replace(term, by_reading=True) for term in self.terms))

    def unconstrained(self) -> Covariance:
        """This covariance by standard deviations and parameters that may be any numbers."""
        kinds = [_UNCONSTRAINED.get(term.structure, term.structure) for term in self.terms]
        return Covariance(tuple(replace(term, structure=k) for term, k in zip(self.terms, kinds, strict=True)))

    def at_end(self, phi: Array) -> NDArray[np.bool_]:
        """Which parameters have run to an end that lies at infinity, shape (parameters,)."""
        return np.concatenate([term.kind.at_end(phi[some], len(term.effects)) for term, some, _ in self._places])

    def shown(self, followed: Array) -> Array:
        """Standard deviations and correlations from the parameters of `by_reading`, ends at infinity included."""
        found = np.array(followed)
        for term, some, _ in self._places:
            d = len(term.effects)
            found[some][d:] = term.kind.correlations(followed[some][d:], d)
        return found

    def components(self) -> list[tuple[str, str, str]]:
        """What each number of `read` is: grouping factor, effect, and the other effect of a correlation, else empty."""
        found = []
        for term in self.terms:
            known = {f"sd({name})": (name, "") for name in term.effects}
            known |= {f"cor({one},{other})": (one, other) for one in term.effects for other in term.effects}
            for label in term.kind.read_labels(term.effects):
                of_all = "all", "all" if label.startswith("cor") else ""
                found.append((term.group, *known.get(label, of_all)))
        return found

    def units(self, scale: Array) -> Array:
        """Factors of the parameters where effects are multiplied by `scale`, shape (q,)."""
        return np.concatenate([term.kind.units(scale[where]) for term, _, where in self._places])

    def common(self, scale: Array) -> Array:
        """Scales near those given, shape (q,), that the structures allow."""
        found = np.array(scale)
        for term, _, where in self._places:
            if term.kind.same_unit:
                found[where] = np.sqrt(np.mean(scale[where] ** 2))
        return found

    def read_labels(self) -> tuple[str, ...]:
        """Names of what `read` gives, with the grouping factor: `sd(id: x)`, `cor(id: (Intercept),x)`."""
        return tuple(
            name.replace("(", f"({term.group}: ", 1) if "(" in name else f"{name}({term.group})"
            for term in self.terms
            for name in term.kind.read_labels(term.effects)
        )

    def read(self, phi: Array) -> tuple[Array, Array]:
        """Standard deviations and correlations of all terms, and their derivatives in phi, a square matrix."""
        values, slopes = np.zeros(self.n_parameters), np.zeros((self.n_parameters, self.n_parameters))
        for term, some, _ in self._places:
            values[some], slopes[some, some] = term.kind.read(phi[some], len(term.effects))
        return values, slopes

    def blocks(self) -> list[tuple[CovarianceTerm, slice]]:
        """The terms, each with the places of its effects."""
        return [(term, where) for term, _, where in self._places]

    def blocks_of_parameters(self) -> list[tuple[str, slice]]:
        """The terms' grouping factors, each with the places of its parameters."""
        return [(term.group, some) for term, some, _ in self._places]

    @cached_property
    def _places(self) -> list[tuple[CovarianceTerm, slice, slice]]:
        """Terms, their parameters, their effects."""
        found, first, place = [], 0, 0
        for term in self.terms:
            d = len(term.effects)
            found.append((term, slice(first, first + term.size), slice(place, place + d)))
            first, place = first + term.size, place + d
        return found
