"""What a fit asks of the integrals over random effects, whatever these are and however they are computed.

An `Integrator` is a description, which can be sent to where the data are. Of a block of data it makes a
`UnitLikelihood`: a sum over units, each of which has random effects of its own (with one random intercept per cluster,
the clusters). Each kind is a file in the folder `integrators`, where `registry.py` finds it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import ModelData
from clusterglm.likelihood.evaluation import ClusterArrays, Evaluation
from clusterglm.likelihood.plan import Choice, Goal, Plan, R, UnitRule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.quadrature import Quadrature
from clusterglm.model.response.base import Response


class UnitLikelihood(Protocol):
    """The marginal log-likelihood of some units, without the constants that no parameter enters."""

    def evaluate(self, theta: Array, plan: Plan, order: int = 2) -> Evaluation:
        """Value, score and Hessian at `theta`, the derivatives up to `order`; those of the approximation itself."""

    def unit_values(self, theta: Array, plan: Plan) -> Array:
        """Each unit's log-likelihood, times its weight, shape (m,)."""

    def unit_scores(self, theta: Array, plan: Plan) -> Array:
        """Each unit's score, times its weight, shape (m, q)."""


L = TypeVar("L", bound=UnitLikelihood)

_EACH_UNIT = 1e-8  # error of a unit's log-integral by rules that are accurate


@dataclass(frozen=True)
class Intercepts:
    """Posterior of the random intercepts, on the scale of the linear predictor.

    Parameters
    ----------
    modes, means, sds : ndarray, shape (m,)
        Mode, mean and standard deviation. Infinite where the moment does not exist: Cauchy intercepts (or Student-t
        ones of few degrees of freedom) of clusters whose responses do not bound them on one side.
    """

    modes: Array
    means: Array
    sds: Array


@dataclass(frozen=True)
class Integrator(ABC, Generic[L, R]):
    """One way to integrate random effects out.

    Parameters
    ----------
    distribution : Distribution
        Of the random effect.
    scale : str
        Scale of integration, as the user asked.
    """

    distribution: Distribution
    scale: str

    several_modes: ClassVar[bool] = False
    """Whether it is for rows that are not log-concave, where a unit's integrand may have several modes."""

    @classmethod
    @abstractmethod
    def serves(cls, distribution: Distribution, scale: str) -> bool:
        """Whether this is the integrator of such a model."""

    @abstractmethod
    def likelihood(
        self, X: Array, data: ClusterArrays, response: Response, threads: int = 1, modes: Array | None = None
    ) -> L:
        """The likelihood of some data.

        Parameters
        ----------
        X : ndarray, shape (n, p)
            Design matrix to use with `data`, C-contiguous.
        data : ClusterArrays
        response : Response
        threads : int
            Threads of the core; results are the same bits for any number.
        modes : ndarray, shape (m,), optional
            Where searches start, and leave what they found for the next; zeros at first.
        """

    @abstractmethod
    def posterior(self, data: ModelData, response: Response, theta: Array, plan: Plan, threads: int = 1) -> Intercepts:
        """What each unit's data say of its random effects, at `theta` on the user's scale."""

    def accurate_posterior(self, data: ModelData, response: Response, theta: Array, threads: int = 1) -> Intercepts:
        """The same by rules chosen for it, whatever plan a fit used."""
        goal = Goal(_EACH_UNIT * data.n_clusters, data.n_clusters)
        plan = self.choose(self.likelihood(data.X, data, response, threads), theta, goal, None).plan
        return self.posterior(data, response, theta, plan, threads)

    @abstractmethod
    def adapted(self, plan: Plan) -> Plan:
        """The plan of a fit whose distribution had another shape, for this one."""

    def shape_scores(
        self, data: ModelData, response: Response, theta: Array, plan: Plan, family: Distribution, working: Array
    ) -> Array | None:
        """Each unit's score in the working values of a family's free shape parameters, shape (m, k).

        None where they are not known exactly: differences of the likelihood then serve.

        Parameters
        ----------
        data, response : ModelData, Response
        theta : ndarray
            On the user's scale.
        plan : Plan
            Rules that serve the units' integrals to a tolerance.
        family : Distribution
            Of which this integrator's distribution is the member with these values.
        working : ndarray, shape (k,)
        """
        return None

    # The choice of rules ----------------------------------------------------------------------------------------------

    @abstractmethod
    def first_rule(self, quadrature: Quadrature, least: float, size: float) -> R:
        """The rule that a search begins with: the one asked for, or a cheap one.

        Parameters
        ----------
        quadrature : Quadrature
        least : float
            The smallest sigma that the search may come by.
        size : float
            Trials or counts of a typical unit.
        """

    @abstractmethod
    def no_rule(self) -> R:
        """What is said to serve units whose effects do not vary, where nothing needs to be integrated."""

    @abstractmethod
    def coarse_rule(self, rule: R) -> R | None:
        """One by which large data are gone through much faster; None where `rule` is as cheap."""

    @abstractmethod
    def settled(self, plan: Plan, n_units: int) -> float:
        """Change of the estimates, relative, after which rules need not be chosen again."""

    @abstractmethod
    def by_sample(self, goal: Goal) -> bool:
        """Whether so many units are to share a rule, which some of them propose."""

    @abstractmethod
    def proposals(self, likelihood: L, theta: Array, goal: Goal) -> NDArray[np.int64]:
        """What some units of a block would choose, as numbers that `agreed` knows."""

    @abstractmethod
    def agreed(self, theta: Array, proposals: Sequence[NDArray[np.int64]]) -> R:
        """The rule that the units of all blocks share, by their proposals, block by block."""

    @abstractmethod
    def choose(self, likelihood: L, theta: Array, goal: Goal, shared: R | None) -> Choice:
        """Rules for all units of a block: the shared one for those that it suits; a rule for each where there is none.

        The errors of all blocks' units together are at most the goal's tolerance, or said to be more.
        """


AnyIntegrator = Integrator[UnitLikelihood, UnitRule]
"""An integrator whose kind is of no account."""
