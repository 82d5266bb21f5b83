"""What is asked of a response with parameters of its own, such as the dispersion of a negative binomial.

Given its parameters it is a response like any other. Its likelihood is that of rows that the core knows already
(`kernel_rows`): whatever integrates these serves it too. Fits search in working values psi, in which there are no
bounds but the ends of a range.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response


@dataclass(frozen=True)
class KernelRows:
    """Rows of a response without parameters, which have the same likelihood but for a constant.

    Parameters
    ----------
    response : Response
        What they are rows of.
    a, b : ndarray, shape (n,)
        Its two numbers.
    shift : float
        Added to the linear predictor.
    """

    response: Response
    a: Array
    b: Array
    shift: float


@dataclass(frozen=True, eq=False)
class OwnParameters(Response):
    """A family and link with parameters of its own, at some values of these.

    Parameters
    ----------
    values : tuple of float
        Of the parameters, as people know them; empty where they are to be estimated.
    """

    values: tuple[float, ...] = ()

    own: ClassVar[tuple[str, ...]]
    """Names of the parameters."""
    meaning: ClassVar[str]
    """What a larger value means, in words."""
    limit: ClassVar[str]
    """What the response is at the lower end of the parameters' range, in words."""
    lowest: ClassVar[float]
    """Least working value with which the rows' kernel keeps its digits: what is likelier there is the limit."""

    highest: ClassVar[float]
    """Largest working value that is searched."""

    @property
    @abstractmethod
    def reads(self) -> Response:
        """The response that reads the data: `at_limit`, by this family's name."""

    @property
    @abstractmethod
    def at_limit(self) -> Response:
        """The response without parameters that this one is at the lower end of their range."""

    @property
    @abstractmethod
    def working(self) -> Array:
        """The working values of the parameters, shape (k,)."""

    @abstractmethod
    def at(self, psi: Array) -> Self:
        """The response at working values, shape (k,)."""

    @abstractmethod
    def slopes(self, psi: Array) -> Array:
        """Derivatives of the values in the working ones, shape (k,)."""

    @abstractmethod
    def start(self, mean: Array, a: Array, b: Array) -> Array:
        """Working values by moments, from fitted means and the numbers of `rows`, shape (k,)."""

    @abstractmethod
    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        """The rows whose numbers in `rows` are a and b, as rows that the core knows."""

    @abstractmethod
    def log_terms(self, a: Array, b: Array) -> Array:
        """What the rows' weighted log-probabilities have besides those of `kernel_rows`, shape (n,).

        Proportional to the weights of rows with the same response, a / b.
        """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnParameters) and type(self) is type(other) and self.values == other.values

    def __hash__(self) -> int:
        return hash((type(self), self.values))
