"""The result of `nonparametric`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError, check_option
from clusterglm.fit.newton import Optimization
from clusterglm.fit.npml import TOLERANCE, NonparametricFit, fit_npml
from clusterglm.inference.diagnostics.residuals import KINDS as RESIDUALS
from clusterglm.inference.diagnostics.residuals import residuals
from clusterglm.inference.distribution.mass_points import (
    Chances,
    averaged_mean,
    link_of_mean,
    mixture_scores,
    moments,
    posterior_probabilities,
)
from clusterglm.inference.predictions.prediction import LinkPrediction, at_intercepts
from clusterglm.inference.uncertainty.bootstrap_intervals import converged
from clusterglm.inference.uncertainty.intervals import with_alpha
from clusterglm.inference.uncertainty.peaks import Summit
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.parameters import Parameters, mass_points
from clusterglm.model.response.base import Response
from clusterglm.results.models.base import Result, freeze
from clusterglm.results.tables.table import Summary, counted
from clusterglm.results.topics.newdata import Rows
from clusterglm.results.topics.prediction import Wanted

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False, eq=False)
class NonparametricResult(Result):
    """A random-intercept model whose intercepts have the most likely of all distributions, one on mass points.

    Parameters
    ----------
    fit : NonparametricFit
        The estimates.
    data : ModelData
        What was fitted.
    family_response : Response
        Family and link.
    """

    fit: NonparametricFit
    data: ModelData
    family_response: Response

    kind: ClassVar[str] = "nonparametric"
    _untested: ClassVar[str] = (
        "where the number of mass points is estimated the likelihood ratio is not nearly chi-square"
    )
    _kinds = ("conditional", "posterior", "marginal")
    _drawn_kinds = ("marginal",)

    def __post_init__(self) -> None:
        freeze(self.fit)

    # The estimates ---------------------------------------------------------------------------------------------------

    @property
    def response(self) -> Response:
        return self.family_response

    @property
    def loglik(self) -> float:
        return float(self.fit.loglik)

    @property
    def optimization(self) -> Optimization:
        return self.fit.optimization

    @property
    def n_parameters(self) -> int:
        """Coefficients, points, and weights but one: p + 2 k - 1."""
        return len(self.fit.beta) + 2 * len(self.fit.points) - 1

    @property
    def mass_points(self) -> pd.DataFrame:
        """The distribution of the intercept.

        Returns
        -------
        DataFrame
            A row per mass point, ascending: `point` (-inf and inf are possible), `std_error` (as if the number of
            points had been known; nan for infinite ones) and `weight`.
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        finite = np.isfinite(self.fit.points)
        errors = np.full(len(finite), np.nan)
        with np.errstate(invalid="ignore"):
            errors[finite] = np.sqrt(np.diag(self.fit.covariance)[self._parameters.place("points")])
        table = {"point": self.fit.points, "std_error": errors, "weight": self.fit.weights}
        return shown(pd.DataFrame(table, copy=True))

    @property
    def random_effects_mean(self) -> float:
        """Mean of the fitted distribution; infinite, or nan, where a point is infinite."""
        return float(moments(self.fit.points, self.fit.weights)[0])

    @property
    def random_effects_sd(self) -> float:
        """Standard deviation of the fitted distribution; inf where a point is infinite."""
        return float(moments(self.fit.points, self.fit.weights)[1])

    @property
    def posterior(self) -> pd.DataFrame:
        """Probabilities of the mass points given each cluster's data: index `label`, a column per point."""
        import pandas as pd

        index = pd.Index(self.data.labels, name="label")
        return pd.DataFrame(self._probabilities, index=index, columns=pd.Index(self.fit.points, name="point"))

    @property
    def random_effects(self) -> pd.DataFrame:
        """What the data say of each cluster's intercept.

        Returns
        -------
        DataFrame
            One row per cluster in the order of the labels: `label`; `mean` and `sd` of the intercept given the
            cluster's data (infinite where an infinite point remains possible); `most_probable`, the point with the
            largest probability, and that `probability`.
        """
        import pandas as pd

        mean, sd = moments(self.fit.points, self._probabilities)
        best = self._probabilities.argmax(axis=1)
        return pd.DataFrame(
            {
                "label": self.data.labels,
                "mean": mean,
                "sd": sd,
                "most_probable": self.fit.points[best],
                "probability": self._probabilities.max(axis=1),
            },
            copy=True,
        )

    @cached_property
    def _probabilities(self) -> Array:
        return posterior_probabilities(self.data, self.response, self.fit)

    @property
    def _in_words(self) -> str:
        return f"nonparametric, {self._intercepts_in_words}"

    @property
    def _intercepts_in_words(self) -> str:
        return counted(len(self.fit.points), "mass point")

    def _export(self) -> dict[str, Any]:
        points = {"mass_points": self.mass_points.to_dict(orient="list"), "gradient": self.fit.gradient}
        return super()._export() | points

    @property
    def _beta(self) -> Array:
        return self.fit.beta

    @property
    def _parameters(self) -> Parameters:
        finite = np.flatnonzero(np.isfinite(self.fit.points)).tolist()
        return mass_points(self.data.names, finite, len(self.fit.points))

    def _covariance(self, kind: str) -> Array:
        if kind == "observed":
            return self.fit.covariance
        return self._sandwich(self.fit.covariance, mixture_scores(self.data, self.response, self.fit))

    def _summit(self, threads: int) -> Summit:
        raise OptionError(
            "a profile over distributions of the intercept",
            "a likelihood with a fixed number of parameters",
            'method="wald" or "bootstrap"',
        )

    def _draw_new(self, rng: np.random.Generator) -> Array:
        intercepts = rng.choice(self.fit.points, size=self.data.n_clusters, p=self.fit.weights)
        return self._draw(self._eta(intercepts), rng)

    def _reestimate(self, new: ModelData) -> Array:
        return converged(fit_npml(new, self.response, self.fit.beta, Control(), self.fit.wanted)).beta

    def _intercepts(self) -> Array:
        return moments(self.fit.points, self._probabilities)[0]

    def _fitted_eta(self) -> Array:
        """Link of the mean given the cluster's data."""
        mean = averaged_mean(self.response, self._eta(0.0), self.fit.points, self._per_cluster_row(self._probabilities))
        return self.response.link_function(mean)

    def _per_cluster_row(self, values: Array) -> Array:
        return np.repeat(values, np.diff(self.data.starts), axis=0)

    # Predictions -----------------------------------------------------------------------------------------------------

    @with_alpha
    def predict(
        self,
        data: Any = None,
        kind: str | ArrayLike | None = None,
        *,
        scale: str = "response",
        level: float | None = None,
        cov: str = "observed",
    ) -> pd.Series[float] | pd.DataFrame:
        """Predict rows of the fitted data or of new data.

        Parameters
        ----------
        data : table, optional
            Anything the fit takes as data, with the columns of the right-hand side; by default the rows that were used.
        kind : {"conditional", "posterior", "marginal"} or array_like, optional
            The mean averaged over the mass points with their probabilities given the data of the row's cluster (the
            default, by either name); or with their weights, that of the population. Or an intercept as a number, or one
            for each row. There is no "typical" cluster: no value of the intercept is the distribution's centre.
        scale : {"response", "link"}
            Scale of the predictions: the mean (of one trial, for a binomial), or its link. Offsets are included,
            weights are not.
        level : float, optional
            Coverage of intervals, such as 0.95. Without it, predictions alone. Intervals given a cluster's data are to
            hold the posterior mean, not the cluster's own mean, which lies further from it the less was seen of it.
        cov : {"observed", "robust"}
            Covariance of the estimates, for the intervals.

        Returns
        -------
        Series or DataFrame
            Index `row`: position in the table. With `level` the columns `estimate`, `std_error` (delta method in
            coefficients, points and weights, as if the number of points had been known), `low`, `high` and `status`.

        Raises
        ------
        OptionError
            On another kind, scale, level or covariance.
        DataError
            When a column is missing altogether.

        Warns
        -----
        PredictionWarning
            Without `level`, when rows cannot be predicted: they are nan.
        """
        check_option("scale", scale, self._scales)
        return self._predicted(data, kind, scale, Wanted(level, cov))

    def _at_kind(self, kind: str, rows: Rows, wanted: Wanted) -> LinkPrediction:
        over = self._chances(kind, rows)  # refuses rows, whose eta is then nan
        eta = rows.eta(self._beta)
        if wanted.level is None:
            mean = averaged_mean(self.response, eta, self.fit.points, over.probabilities)
            return at_intercepts(self.response.link_function(mean))
        link, by_eta, own = link_of_mean(self.data, self.response, self.fit, eta, over)
        return LinkPrediction(link, by_eta, np.zeros(rows.size), own=own, cluster=np.arange(rows.size))

    def _chances(self, kind: str, rows: Rows) -> Chances:
        """With which probabilities the rows' intercepts take the points."""
        if kind == "marginal":
            return Chances(np.broadcast_to(self.fit.weights, (rows.size, len(self.fit.weights))))
        codes = self._codes(rows)
        return Chances(self._probabilities[codes], codes)

    def residuals(self, kind: str = "response") -> pd.Series[float]:
        """Residuals of the rows that were used, from their "conditional" predictions.

        Parameters
        ----------
        kind : {"response", "pearson", "deviance"}
            Observed (share of successes, or count) minus mean; the same over its standard deviation; the signed root
            of the row's deviance.

        Returns
        -------
        Series
            Index `row`: position in the user's table.

        Raises
        ------
        OptionError
            On another kind.
        """
        check_option("kind", kind, RESIDUALS)
        values = residuals(kind, self.response, self._fitted_eta(), *self._single)
        return self._in_user_order(values, "residual")

    # Printing --------------------------------------------------------------------------------------------------------

    def _glance(self) -> dict[str, Any]:
        return {
            **super()._glance(),
            "n_points": len(self.fit.points),
            "random_effects_mean": self.random_effects_mean,
            "random_effects_sd": self.random_effects_sd,
            "gradient": self.fit.gradient,
        }

    def _summary(self) -> Summary:
        seen = f"{counted(self.n_obs, 'row')} in {counted(self.n_clusters, 'cluster')} of {self.data.cluster_name!r}"
        found = "as many points as the likelihood wants" if self.fit.wanted is None else "a fixed number of points"
        model = (
            ("Formula", self.formula),
            *self._response_facts(),
            ("Random intercept", f"any distribution, {found}"),
            ("Observations", f"{seen} ({self._sizes()})"),
            *self._weight_facts(),
        )
        pairs = zip(self.fit.points.tolist(), self.fit.weights.tolist(), strict=True)
        points = ", ".join(f"{point:.4g} (weight {weight:.4g})" for point, weight in pairs)
        facts = (
            ("Mass points", f"{len(self.fit.points)}: {points}"),
            ("Mean, sd", self._moments_in_words()),
            ("Gradient", self._gradient_in_words()),
            *self._likelihood_facts(),
            *self._closing_facts(),
        )
        title = "Random intercepts of any distribution, nonparametric maximum likelihood"
        return Summary(title, model, self._coefficients(), facts, tuple(self._notes()))

    def _moments_in_words(self) -> str:
        if np.isfinite(self.fit.points).all():
            return f"{self.random_effects_mean:.4g}, {self.random_effects_sd:.4g}"
        share = float(self.fit.weights[np.isinf(self.fit.points)].sum())
        return f"none: a share of {share:.3g} of the clusters has an infinite intercept"

    def _gradient_in_words(self) -> str:
        largest = self.fit.gradient
        if largest <= TOLERANCE:
            return (
                f"nowhere above {TOLERANCE:g}: at these coefficients no other distribution of the intercept raises the "
                f"log-likelihood by more than {TOLERANCE * float(self.data.cluster_weights.sum()):.2g}"
            )
        return f"up to {largest:.2g}: distributions with more points reach a higher log-likelihood"

    def _notes(self) -> list[str]:
        notes = list(self.data.notes)
        if np.isnan(self._se).any():
            notes.insert(0, "The data do not tell all coefficients from the distribution: no standard errors there.")
        return notes
