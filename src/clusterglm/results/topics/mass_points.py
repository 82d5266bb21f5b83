"""Results of responses without a mean, or with another one, whose intercepts lie on mass points."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from clusterglm.errors import OptionError
from clusterglm.inference.distribution.mass_points import Chances
from clusterglm.model.arrays import Array
from clusterglm.results.topics.diagnostics import Diagnostics
from clusterglm.results.topics.kinds import Averaging
from clusterglm.results.topics.newdata import Rows, fitted_rows

if TYPE_CHECKING:
    from clusterglm.fit.own_npml import OwnNonparametricFit

_FROM_SIMULATIONS = "simulated"


class OnMassPoints(Diagnostics):
    """What asks for the points in place of a distribution with a density."""

    _where: ClassVar[tuple[str, ...]] = ("conditional", "posterior", "marginal")
    _named_predictors: ClassVar[tuple[str, ...]] = ("conditional", "marginal")

    if TYPE_CHECKING:
        fit: OwnNonparametricFit

        @property
        def _probabilities(self) -> Array: ...
        def _chances(self, kind: str, rows: Rows) -> Chances: ...

    def _at_words(self, eta: Array, kind: str, rows: Rows) -> tuple[Array, Averaging]:
        over = self._chances(kind, rows)  # refuses rows
        return np.where(rows.status.ok, eta, np.nan), over

    @property
    def _drawn(self) -> str:
        return "marginal"

    def _residuals(self, kind: str, intercepts: str | ArrayLike, n_sim: int, rng: np.random.Generator) -> Array:
        """In cluster order; by name, averaged over the points as `predict` does."""
        from clusterglm.inference.diagnostics.quantile_residuals import ends_over_points, randomised

        if not isinstance(intercepts, str):
            return super()._residuals(kind, intercepts, n_sim, rng)
        rows = fitted_rows(self.data.rows)
        chosen, eta = self._chances(intercepts, rows).probabilities, self._eta(0.0)
        if kind == _FROM_SIMULATIONS:
            return self._ranks(lambda g: self._draw(self._eta(self._points_drawn(intercepts, g)), g), n_sim, rng)
        ends = ends_over_points(self.response, self._y, eta, self.data.rows.trials, self.fit.points, chosen)
        return randomised(ends, rng)

    def _points_drawn(self, intercepts: str, rng: np.random.Generator) -> Array:
        """An intercept for each cluster: from the population, or from what its data say."""
        if intercepts == self._drawn:
            return rng.choice(self.fit.points, size=self.data.n_clusters, p=self.fit.weights)
        upto = np.cumsum(self._probabilities, axis=1)
        which = (rng.random(self.data.n_clusters)[:, None] * upto[:, -1:] > upto).sum(axis=1)
        return np.asarray(self.fit.points[which])

    def _deletion(self) -> NoReturn:
        raise OptionError(
            f"steps without single clusters of a fit on mass points with family={self.family!r}",
            "a number of parameters that does not depend on the data",
            'fit.jackknife(kind="exact"), which fits again without each cluster',
        )
