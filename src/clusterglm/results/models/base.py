"""What all results share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from clusterglm.data.prepare import FittedData
from clusterglm.errors import StorageError, check_option
from clusterglm.fit.newton import Optimization
from clusterglm.inference.uncertainty.covariance import KINDS as COVARIANCES
from clusterglm.inference.uncertainty.degrees import IN_WORDS, Degrees, t_p_values
from clusterglm.inference.uncertainty.intervals import wald_p_values
from clusterglm.model.arguments import generator, whole_number
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters, coefficients
from clusterglm.model.printing import count
from clusterglm.model.response.base import Response
from clusterglm.results.tables.table import Coefficients, Summary, counted
from clusterglm.results.tables.tidy import Frames
from clusterglm.results.topics.effects import Ratios
from clusterglm.results.topics.intervals import Intervals
from clusterglm.results.topics.newdata import one_per_row
from clusterglm.results.topics.pieces import Pieces
from clusterglm.results.topics.prediction import Predictions
from clusterglm.results.topics.sampling import Sampling
from clusterglm.results.topics.shown import Shown
from clusterglm.results.topics.testing import Hypotheses

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from _typeshed import DataclassInstance

Seed: TypeAlias = int | np.random.Generator | np.random.SeedSequence | None
"""What numpy's `default_rng` takes."""


def freeze(fit: DataclassInstance) -> None:
    """Make the arrays of a fit read-only; not those of its data, which may be the user's own."""
    for field in fields(fit):
        value = getattr(fit, field.name)
        if isinstance(value, np.ndarray):
            value.flags.writeable = False


def _version() -> str:
    from clusterglm import __version__

    return __version__


def _refuse_other_version(version: str | None) -> None:
    if version != _version():
        raise StorageError(
            f"a pickle made by clusterglm {version or 'of another version'}",
            f"one made by the version that reads it, {_version()}",
            "fit.save(path) and cg.load(path), which read older files; or fit again",
        )


def _unpickled(version: str, kind: type[Result]) -> Result:
    """An empty result to fill from a pickle of this version."""
    _refuse_other_version(version)
    return kind.__new__(kind)


class Result(Intervals, Frames, Hypotheses, Ratios, Predictions, Sampling, Shown, Pieces, ABC):
    """An immutable result: the regression coefficients and all that follows from them.

    Attributes
    ----------
    data : ModelData
        The arrays that were fitted, rows in cluster order, and how they were made from the user's table.
    """

    data: FittedData
    kind: ClassVar[str]
    """Name of the verb that made it."""

    # What a kind of result must tell ---------------------------------------------------------------------------------

    @property
    @abstractmethod
    def response(self) -> Response:
        """Family and link."""

    @property
    @abstractmethod
    def loglik(self) -> float:
        """Maximised log-likelihood, with every normalising constant: AIC compares across models and packages.

        After a fit with a penalty it is the log-likelihood alone, at the penalised estimates. AIC, BIC and the deviance
        rest on that too, as in R's brglm2.
        """

    @property
    def penalty(self) -> str | None:
        """What was added to the log-likelihood before it was maximised; None: nothing."""
        return None

    @property
    @abstractmethod
    def optimization(self) -> Optimization:
        """How the maximum was found: status, message, iterations, gradient norm, trace."""

    @property
    @abstractmethod
    def n_parameters(self) -> float:
        """Number of parameters that were estimated; of what is smoothed, the effective number."""

    @property
    @abstractmethod
    def _beta(self) -> Array:
        """Coefficients, shape (p,)."""

    @property
    def _parameters(self) -> Parameters:
        return coefficients(self.data.names)

    @abstractmethod
    def _covariance(self, kind: str) -> Array:
        """Covariance of all parameters, shape (q, q), of one of the known kinds."""

    @abstractmethod
    def _intercepts(self) -> Array:
        """The cluster intercepts that fitted values include, shape (m,)."""

    @abstractmethod
    def _summary(self) -> Summary:
        """The summary with standard errors from the observed information."""

    # To files and back -----------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the result to a JSON file that `clusterglm.load` reads; compressed if its name ends in `.gz`.

        The file holds the data as they were fitted (not the table they came from), so that everything works as before:
        intervals, predictions, tests, bootstrap.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        StorageError
            When something in the result has no form in a file.
        """
        from clusterglm.results.files.storage import save

        save(self, path)

    def __reduce__(self) -> tuple[Any, ...]:
        """The version comes first in a pickle, so that another one refuses it before it reads what may have changed."""
        version = _version()
        return _unpickled, (version, type(self)), (version, dict(self.__dict__))

    def __setstate__(self, state: Any) -> None:
        version, content = state if isinstance(state, tuple) else (None, {})  # None: before versions were written
        _refuse_other_version(version)
        self.__dict__.update(content)

    # Coefficients ----------------------------------------------------------------------------------------------------

    @property
    def params(self) -> pd.Series[float]:
        """Regression coefficients by name."""
        return self._series(self._beta.copy(), "estimate")

    @property
    def bse(self) -> pd.Series[float]:
        """Standard errors of coefficients, from the observed information; after Firth's penalty the expected one."""
        return self._series(self._se, "std_error")

    @property
    def tvalues(self) -> pd.Series[float]:
        """Coefficients over their standard errors; normal in large samples."""
        return self._series(self._beta / self._se, "z")

    @property
    def zvalues(self) -> pd.Series[float]:
        """Another name of `tvalues`."""
        return self.tvalues

    @property
    def pvalues(self) -> pd.Series[float]:
        """Two-sided p-values of the Wald tests that a coefficient is zero."""
        return self._series(wald_p_values(self._beta / self._se), "pvalue")

    @property
    def _covariances(self) -> tuple[str, ...]:
        """Kinds of covariances that there are of this result."""
        return COVARIANCES

    def cov(self, kind: str = "observed") -> pd.DataFrame:
        """Covariance matrix of all estimates.

        Parameters
        ----------
        kind : {"observed", "robust", "quasi"}
            Inverse of the observed information, or the sandwich of per-cluster scores, m/(m - 1) included, which holds
            for misspecified models as long as clusters are independent; cluster weights that are not whole numbers are
            sampling weights to it. With Firth's penalty "observed" is the inverse of the expected information, and
            "robust" is refused. "quasi", of conditional models of counts alone, is the first times the Pearson
            dispersion.

        Returns
        -------
        DataFrame
            Rows and columns by parameter: the coefficients, then `sigma` in a random-intercept model.

        Raises
        ------
        OptionError
            On another kind, or one that this result does not have.
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        check_option("kind", kind, self._covariances)
        names = list(self._parameters.names)
        return shown(pd.DataFrame(self._covariance(kind), index=names, columns=names, copy=True))

    def cov_params(self) -> pd.DataFrame:
        """Covariance of the estimates, `cov("observed")`, by the name that it has in statsmodels."""
        return self.cov()

    # The fit as a whole ----------------------------------------------------------------------------------------------

    @property
    def llf(self) -> float:
        """Another name of `loglik`."""
        return self.loglik

    @property
    def aic(self) -> float:
        """Akaike's criterion, 2 k - 2 loglik."""
        return 2.0 * self.n_parameters - 2.0 * self.loglik

    @property
    def bic(self) -> float:
        """Schwarz's criterion, k log(n) - 2 loglik, where n is the number of rows (`n_obs`), as in R's lme4."""
        return self.n_parameters * float(np.log(self.n_obs)) - 2.0 * self.loglik

    @property
    def deviance(self) -> float:
        """Twice the log-likelihood that a model with a parameter for each row has more than this one."""
        return -2.0 * (self.loglik - self.data.saturated)

    @property
    def df_resid(self) -> float:
        """Rows less estimated parameters."""
        return self.n_obs - self.n_parameters

    @property
    def n_obs(self) -> int:
        """Rows used; with whole-number weights, rows that these stand for: their sum."""
        return self._counts.rows

    @property
    def nobs(self) -> int:
        """Another name of `n_obs`."""
        return self.n_obs

    @property
    def n_clusters(self) -> int:
        """Clusters used; with whole-number cluster weights, clusters that these stand for: their sum."""
        return self._counts.clusters

    @property
    def converged(self) -> bool:
        """Whether the optimiser reached its tolerance."""
        return self.optimization.converged

    @property
    def formula(self) -> str:
        """The formula as given."""
        return self.data.formula

    @property
    def family(self) -> str:
        """Name of the family."""
        return self.response.family

    @property
    def link(self) -> str:
        """Name of the link."""
        return self.response.link

    @property
    def _success(self) -> str | None:
        """The level that is the success, of a response of two levels that is not 0/1."""
        levels = self.data.levels
        return None if levels is None or self.response.ordered else levels[1]

    # Tables ----------------------------------------------------------------------------------------------------------

    def _glance(self) -> dict[str, Any]:
        return {
            "family": self.family,
            "link": self.link,
            "n_obs": self.n_obs,
            "n_clusters": self.n_clusters,
            "weighted": " and ".join(self._counts.weighted),
            "sum_weights": self._counts.sum_rows,
            "sum_cluster_weights": self._counts.sum_clusters,
            "n_parameters": self.n_parameters,
            "loglik": self.loglik,
            "aic": self.aic,
            "bic": self.bic,
            "deviance": self.deviance,
            "df_resid": self.df_resid,
            "converged": self.converged,
            "iterations": self.optimization.iterations,
            "gradient_norm": self.optimization.gradient_norm,
        }

    # Shared work -----------------------------------------------------------------------------------------------------

    @property
    def _se(self) -> Array:
        return np.asarray(np.sqrt(np.diag(self._covariance("observed"))[self._parameters.coefficients]))

    def _delta_covariance(self, kind: str) -> Array:
        """The covariance for the delta method: parameters without a standard error are taken as known."""
        return self._parameters.zero_where_not_free(self._covariance(kind))

    def _series(self, values: Array, name: str) -> pd.Series[float]:
        import pandas as pd

        return pd.Series(values, index=list(self.data.names), name=name)

    def _per_row(self, values: Any) -> Any:
        """One value per cluster -> one per row."""
        return np.repeat(values, np.diff(self.data.rows.starts))

    def _eta(self, intercepts: Array | float) -> Array:
        """Linear predictor of the rows in cluster order, at one intercept per cluster."""
        known = self.data.rows.X @ self._beta + self.data.rows.offset
        return known if np.ndim(intercepts) == 0 and intercepts == 0.0 else known + self._per_row(intercepts)

    def _cluster_levels(self) -> Array:
        """By what clusters are ordered in a picture of their curves, shape (m,)."""
        return self._intercepts()

    def _fitted_eta(self) -> Array:
        """Linear predictor of the rows in cluster order, with what is known of each cluster."""
        return self._eta(self._intercepts())

    def _in_user_order(self, values: Array, name: str) -> pd.Series[float]:
        import pandas as pd

        order = np.argsort(self.data.rows.row_index, kind="stable")
        return pd.Series(values[order], index=pd.Index(self.data.rows.row_index[order], name="row"), name=name)

    @property
    def _estimates(self) -> Array:
        return self._beta.copy()

    _named_predictors: ClassVar[tuple[str, ...]] = ("typical",)
    """Linear predictors that have a name, the default first: without cluster effects, or with what is known of them."""

    def _link_at(self, data: None, intercepts: str | ArrayLike) -> pd.Series[float]:
        """Linear predictor of the rows that were used, at intercepts by name, a number, or one a row."""
        named = self._named_predictors
        if isinstance(intercepts, str) and intercepts in named and intercepts != "typical":
            return self._in_user_order(self._fitted_eta(), "")
        known = self._in_user_order(self._eta(0.0), "")
        if isinstance(intercepts, str) and intercepts in named:
            return known
        return known + one_per_row(intercepts, len(known), list(named))

    def simulate(self, n: int = 1, seed: Seed = None) -> pd.DataFrame:
        """Draw new responses for the rows that were used.

        Random intercepts are drawn anew from their distribution, fixed ones stay as they were estimated; a conditional
        model keeps each cluster's total.

        Parameters
        ----------
        n : int
            Number of data sets, at least 1.
        seed : int, SeedSequence or Generator, optional
            For numpy's `default_rng`.

        Returns
        -------
        DataFrame
            Index `row`, columns 0 to n - 1: successes or counts. With weights the rows that these stand for, those of
            one row of the table next to each other, and a second level of the index: `cluster`, the number of the
            cluster, of which repeats are different ones.

        Raises
        ------
        OptionError
            On another number, a seed that is none, or weights that are not whole numbers.
        """
        import pandas as pd

        whole_number("n", n, 1)
        rng, rows = generator(seed), self._written_out("a simulation")
        drawn = pd.DataFrame({k: rows._in_user_order(rows._draw_new(rng), "") for k in range(n)})
        if rows is self:
            return drawn
        cluster = rows._in_user_order(rows._per_row(rows.data.rows.labels), "cluster")
        return drawn.set_index(pd.MultiIndex.from_arrays([drawn.index, cluster], names=["row", "cluster"]))

    def _draw(self, eta: Array, rng: np.random.Generator) -> Array:
        rows = self.data.rows
        return self.response.draw(rng, eta, self.response.known(rows.a, rows.b, rows.trials))

    # Printing --------------------------------------------------------------------------------------------------------

    def summary(self, *, cov: str = "observed", df: str | None = None) -> Summary:
        """The summary as an object that prints as text and shows as a table in notebooks.

        Parameters
        ----------
        cov : {"observed", "robust", "quasi"}
            Covariance behind the standard errors and p-values of coefficients; see `cov`. Errors of other parameters
            stay those of the observed information.
        df : "satterthwaite" or "kenward_roger", optional
            t statistics with their degrees of freedom; see `conf_int`.

        Returns
        -------
        Summary

        Raises
        ------
        OptionError
            On another covariance, or where there are no degrees of freedom.
        """
        check_option("cov", cov, self._covariances)
        kind, degrees = self._small_sample(df, cov)
        found = self._summary()
        if kind == "observed" and degrees is None:
            return found
        words = IN_WORDS.get(kind, "of the observed information" if kind == "observed" else kind)
        if df is not None:
            words += f"; t with {IN_WORDS[df] if df != kind else 'their'} degrees of freedom"
        facts = (("Standard errors", words), *found.facts)
        return replace(self._with_errors(found, kind, degrees), facts=facts)

    def _with_errors(self, found: Summary, kind: str, degrees: Degrees | None) -> Summary:
        """A summary whose tables of coefficients rest on one of the covariances."""
        return replace(found, coefficients=self._coefficients(kind, degrees))

    def __repr__(self) -> str:
        return str(self.summary())

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def _response_facts(self) -> list[tuple[str, str]]:
        """What the responses are taken for."""
        facts, levels = [("Family, link", f"{self.family}, {self.link}")], self.data.levels
        return facts if levels is None else [*facts, ("Success", f"{levels[1]!r} (failure {levels[0]!r})")]

    def _coefficients(self, kind: str = "observed", degrees: Degrees | None = None) -> Coefficients:
        se = np.sqrt(np.diag(self._covariance(kind))[self._parameters.coefficients])
        ratio = self._beta / se
        p = wald_p_values(ratio) if degrees is None else t_p_values(ratio, degrees.single)
        df = None if degrees is None else degrees.single
        return Coefficients(tuple(self.data.names), self._beta, se, ratio, p, df)

    def _likelihood_facts(self) -> list[tuple[str, str]]:
        return [
            (
                "Log-likelihood",
                f"{self.loglik:.4f} ({counted(self.n_parameters, 'parameter')})   "
                f"AIC {self.aic:.2f}   BIC {self.bic:.2f}",
            ),
            ("Deviance", f"{self.deviance:.2f} on {count(self.df_resid)} degrees of freedom"),
        ]

    def _closing_facts(self) -> list[tuple[str, str]]:
        story = self.optimization
        facts = [
            (
                "Convergence",
                f"{story.message} ({counted(story.iterations, 'iteration')}, gradient norm "
                f"{story.gradient_norm:.1e} standard errors)",
            )
        ]
        if self.data.dropped:
            total = sum(dropped.count for dropped in self.data.dropped)
            reasons = "; ".join(f"{dropped.count}: {dropped.reason}" for dropped in self.data.dropped)
            facts.append(("Dropped", f"{counted(total, 'row')} ({reasons})"))
        return facts
