"""What is asked of a response with parameters of its own, such as the dispersion of a negative binomial.

Given its parameters it is a response like any other. Its likelihood is that of rows that the core knows already
(`kernel_rows`): whatever integrates these serves it too. Fits search in working values psi, in which there are no
bounds but the ends of a range.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response, ScoreTerms


@dataclass(frozen=True)
class KernelRows:
    """Rows of a response without parameters, which have the same likelihood but for a constant.

    Row r is one of observation `of[r]`, at the linear predictor `sign * eta + shift[r]`.

    Parameters
    ----------
    response : Response
        What they are rows of.
    a, b : ndarray, shape (r,)
        Its two numbers.
    shift : float or ndarray, shape (r,)
    sign : {1.0, -1.0}
    of : ndarray of int64, shape (r,), optional
        Ascending; None: each observation is one row.
    columns : ndarray, shape (r, m), optional
        Where parameters enter by shifts: `shift` is the product with the first m of `coordinates(psi).value`.
    own : int
        Parameters that the kernel itself knows, the last of the coordinates.
    groups : ndarray of int64, shape (r,), optional
        Which of these each row has, -1 for none.
    """

    response: Response
    a: Array
    b: Array
    shift: float | Array
    sign: float = 1.0
    of: NDArray[np.int64] | None = None
    columns: Array | None = None
    own: int = 0
    groups: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Coordinates:
    """What kernel rows depend on in place of k working values, and its derivatives in these.

    First the coefficients of `KernelRows.columns`, then the kernel's own parameters.

    Parameters
    ----------
    value : ndarray, shape (m,)
    first : ndarray, shape (m, k)
    second : ndarray, shape (m, k, k)
    """

    value: Array
    first: Array
    second: Array


@dataclass(frozen=True)
class Terms:
    """What log-probabilities have besides those of kernel rows, and its derivatives in k working values.

    Parameters
    ----------
    value : float
        The sum over observations.
    first : ndarray, shape (n, k)
        Of each of them.
    second : ndarray, shape (k, k)
        Of the sum.
    """

    value: float
    first: Array
    second: Array


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
    """What they mean, in words; empty where nothing needs to be said."""
    scales: ClassVar[bool] = True
    """Whether they are positive, with intervals on the log scale."""
    by_shifts: ClassVar[bool] = False
    """Whether kernel rows depend on them by shifts of the linear predictor alone, so that their numbers stay."""
    location: ClassVar[bool] = False
    """Whether they, the first `n_thresholds` of them, take the place of the intercept, so that the design has none."""
    reversed: ClassVar[bool] = False
    """Whether kernel rows have the linear predictor, and with it the cluster's intercept, with its sign turned."""
    limit: ClassVar[str] = ""
    """What the response is at the lower end of the parameters' range, in words; empty without one."""
    at_lower: ClassVar[float] = 0.0
    """The parameters' values at the lower end of the working values, where there is one."""
    alike_by_ratio: ClassVar[bool] = True
    """Whether rows with one a / b have one response, and `log_terms` in proportion to b.

    Otherwise rows have no weights, and `terms` takes how many rows each of those stands for that it is given."""
    mean_moves: ClassVar[bool] = False
    """Whether the mean at a linear predictor depends on the response's parameters."""
    profiled: ClassVar[bool] = False
    """Whether there may be an intercept for every cluster: with one kernel row for each observation, one parameter,
    which the kernel knows and which is orthogonal to the mean, and the clusters of infinite intercept at the limit."""
    lowest: ClassVar[float] = -np.inf
    """Least working value with which the rows' kernel keeps its digits: what is likelier there is the limit."""
    highest: ClassVar[float] = np.inf
    """Largest working value that is searched."""
    prior: ClassVar[str] = "half_t(3, 2.5)"
    """Of each parameter's value, where a posterior is asked for and no prior is given."""

    @property
    @abstractmethod
    def reads(self) -> Response:
        """The response that reads the data."""

    @property
    def n_thresholds(self) -> int:
        """Parameters that a shift of all linear predictors shifts, with `location`."""
        return len(self.own)

    @property
    def at_end(self) -> bool:
        """Whether its parameters, if it has any, are at the lower end of their range, or not estimated yet."""
        return len(self.own) > 0 and not self.values

    @property
    def at_limit(self) -> Response | None:
        """The response without parameters that this one is at the lower end of their range; None without one."""
        return None

    @property
    def of_constants(self) -> Response:
        """The response whose constants data know: that at the limit, where there is one."""
        return self.reads if self.at_limit is None else self.at_limit

    @property
    def as_fitted(self) -> Response:
        """The response at its values: the one at the limit, where these lie at the lower end of their range."""
        return self.at_limit if self.at_limit is not None and self.at_end else self

    def of_levels(self, levels: tuple[str, ...] | None) -> Self:
        """The response for data with these levels."""
        return self

    def refuse(self, a: Array, b: Array, weights: Array) -> None:
        """Raise `DataError` where the parameters cannot be estimated from rows with these numbers, shape (n,)."""

    def misfit(self, a: Array, b: Array, by_threshold: tuple[str, ...]) -> str | None:
        """What does not fit together in the response and rows, in words; None where everything does.

        `by_threshold`: columns whose coefficients differ between thresholds.
        """
        return f"coefficients at each threshold of {', '.join(by_threshold)}" if by_threshold else None

    def empty(self, a: Array, b: Array) -> tuple[str, ...]:
        """Levels that no row with these numbers has."""
        return ()

    @property
    @abstractmethod
    def working(self) -> Array:
        """The working values of the parameters, shape (k,)."""

    @abstractmethod
    def at(self, psi: Array) -> Self:
        """The response at working values, shape (k,)."""

    @abstractmethod
    def slopes(self, psi: Array) -> Array:
        """Derivatives of the values in the working ones, each in its own, shape (k,)."""

    @abstractmethod
    def start(self, mean: Array, a: Array, b: Array) -> Array:
        """Working values by moments, shape (k,).

        Parameters
        ----------
        mean : ndarray, shape (n,)
            Fitted by the model at the limit; without one, exp(offset).
        a, b : ndarray, shape (n,)
            The numbers of `rows`.
        """

    def standard(self) -> tuple[Self, Array | None]:
        """The response with parameters of like size, and the matrix that turns these into its own; None: they are."""
        return self, None

    def at_edge(self, psi: Array, a: Array, b: Array) -> NDArray[np.bool_] | None:
        """Rows, shape (n,), by which psi is as good as at an edge of where there is a likelihood; None: not by rows."""
        return None

    def start_level(self, a: Array, b: Array, offset: Array) -> float:
        """Linear predictor at an offset of 0, at which a search begins that no model at the limit has prepared."""
        return 0.0

    @abstractmethod
    def kernel_rows(self, a: Array, b: Array) -> KernelRows:
        """The rows whose numbers in `rows` are a and b, as rows that the core knows."""

    def coordinates(self, psi: Array) -> Coordinates:
        """What kernel rows depend on at psi: psi itself, where nothing else is said."""
        k = len(psi)
        return Coordinates(np.array(psi), np.eye(k), np.zeros((k, k, k)))

    @abstractmethod
    def terms(self, psi: Array, a: Array, b: Array, weights: Array | None = None) -> Terms:
        """`log_terms` at psi with their derivatives; the sum is -inf outside the range of psi.

        `weights`: how often each row counts, where rows have none in their numbers; see `alike_by_ratio`.
        """

    def own_derivatives(self, x: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
        """Derivatives of kernel rows in the kernel's own parameter, in it and in x, and twice in it, shape (r,) each.

        Parameters
        ----------
        x : ndarray, shape (r,)
            The rows' linear predictors, shifts included.
        a, b : ndarray, shape (r,)
        """
        raise NotImplementedError(f"kernel rows of {type(self).__name__} have no parameters of their own")

    def own_bias_moments(self, eta: Array) -> tuple[Array, Array]:
        """A row's information v on its linear predictor, and c, of which many intercepts make a bias; shape (n,) each.

        The score of the working value has expectation sum(c) / sum(v) in a cluster whose intercept is at its best:
        c = E[M G] + E[N] / 2, with G the first derivative of the log-probability in the linear predictor, M and N those
        of the first derivative in the working value.
        """
        raise NotImplementedError(f"no correction is made for family={self.family!r}")

    @abstractmethod
    def log_terms(self, a: Array, b: Array) -> Array:
        """What the rows' weighted log-probabilities have besides those of `kernel_rows`, shape (n,).

        Proportional to the weights of rows with the same response, a / b; see `alike_by_ratio`.
        """

    # What only penalties, corrections and score tests of responses without parameters ask for

    def expected_information(self, eta: Array) -> tuple[Array, Array, Array]:
        raise NotImplementedError(f"no penalty is known for family={self.family!r}")

    def bias_moments(self, eta: Array) -> tuple[Array, Array]:
        raise NotImplementedError(f"no correction of means is made for family={self.family!r}")

    def score_terms(self, eta: Array, a: Array, b: Array) -> ScoreTerms:
        raise NotImplementedError(f"no score test is made for family={self.family!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnParameters) and type(self) is type(other) and self.values == other.values

    def __hash__(self) -> int:
        return hash((type(self), self.values))


class OnePositive(OwnParameters):
    """A response with one parameter of its own, which is positive and sought in its logarithm."""

    @property
    def working(self) -> Array:
        return np.asarray(np.log(self.values))

    def at(self, psi: Array) -> Self:
        return type(self)((float(np.exp(psi[0])),))

    def slopes(self, psi: Array) -> Array:
        return np.asarray(np.exp(psi))
