"""Results as data frames, with our names or those of R's broom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.prepare import FittedData
from clusterglm.errors import check_option
from clusterglm.inference.uncertainty.degrees import t_interval, t_p_values
from clusterglm.inference.uncertainty.intervals import wald_interval, wald_p_values, with_alpha
from clusterglm.model.arguments import yes_or_no
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import Parameters
from clusterglm.model.response.base import Response
from clusterglm.results.tables.maketables import MaketablesModel

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.uncertainty.degrees import Degrees

NAMES = ("plain", "broom")
_TIDY = {
    "std_error": "std.error", "z": "statistic", "pvalue": "p.value", "conf_low": "conf.low", "conf_high": "conf.high",
}  # fmt: skip
_GLANCE = {"n_obs": "nobs", "loglik": "logLik", "aic": "AIC", "bic": "BIC", "df_resid": "df.residual"}
_EFFECTS = {"coefficient": "fixed", "random_intercept": "ran_pars", "random_effect": "ran_pars"}
_AUGMENT = {"linear_predictor": ".fitted", "mean": ".mu"}


class Frames:
    """What every kind of result says as a data frame."""

    kind: ClassVar[str]
    _resid_of_broom: ClassVar[str] = "deviance"
    """Kind of residuals that stand in the place of R's deviance residuals."""

    if TYPE_CHECKING:
        data: FittedData
        _own_intercepts: ClassVar[bool]

        @property
        def _single(self) -> tuple[Array, Array]: ...
        @property
        def response(self) -> Response: ...
        @property
        def _response_of_rows(self) -> Response: ...
        @property
        def _covariances(self) -> tuple[str, ...]: ...
        @property
        def _beta(self) -> Array: ...
        @property
        def _parameters(self) -> Parameters: ...
        def _covariance(self, kind: str) -> Array: ...
        def _small_sample(
            self, df: str | None, cov: str, R: Array | None = ..., together: bool = ...
        ) -> tuple[str, Degrees | None]: ...
        def _glance(self) -> dict[str, Any]: ...
        def _fitted_eta(self) -> Array: ...
        def _eta(self, intercepts: Array | float) -> Array: ...
        def _per_row(self, values: Any) -> Any: ...

    # One row a parameter ---------------------------------------------------------------------------------------------

    @with_alpha
    def tidy(
        self,
        *,
        level: float = 0.95,
        conf_int: bool = True,
        exponentiate: bool = False,
        cov: str = "observed",
        df: str | None = None,
        names: str = "plain",
    ) -> pd.DataFrame:
        """One row per parameter: its estimate, standard error, z, p-value and interval.

        Parameters
        ----------
        level : float
            Coverage of the intervals; that of sigma is a Wald interval on the log scale.
        conf_int : bool
            With the intervals.
        exponentiate : bool
            Odds, rate or hazard ratios in place of coefficients: their intervals are exponentiated, their standard
            errors follow by the delta method, z and p-values stay those of the coefficients.
        cov : {"observed", "robust", "quasi"}
            Covariance behind standard errors, p-values and intervals.
        df : "satterthwaite" or "kenward_roger", optional
            Student's t in the place of a normal distribution, for coefficients; their degrees of freedom are in a
            column of that name. See `conf_int`.
        names : {"plain", "broom"}
            Of the columns: ours, or those of R's broom.mixed, which also names rows by `effect` and `group`.

        Returns
        -------
        DataFrame
            Columns `term`, `estimate`, `std_error`, `z`, `pvalue`, `conf_low`, `conf_high`. A random-intercept model
            has sigma and estimated shape parameters in its last rows, and `component` before the others: "coefficient"
            or "random_intercept".

        Raises
        ------
        OptionError
            On another covariance or other names; with `exponentiate` for probit, whose coefficients are not logarithms
            of ratios.
        """
        from clusterglm.inference.effects.ratios import ratio_names
        from clusterglm.results.tables.frame import shown

        check_option("names", names, NAMES)
        check_option("cov", cov, self._covariances)
        yes_or_no("conf_int", conf_int)
        if yes_or_no("exponentiate", exponentiate):
            ratio_names(self.response)
        kind, degrees = self._small_sample(df, cov)
        table = self._tidy(level, exponentiate, kind)
        if degrees is not None:
            table = self._with_degrees(table, level, exponentiate, kind, degrees.single)
        if not conf_int:
            table = table.drop(columns=["conf_low", "conf_high"])
        return shown(table if names == "plain" else self._broom(table))

    def _tidy(self, level: float, exponentiate: bool, cov: str) -> pd.DataFrame:
        import pandas as pd

        from clusterglm.inference.effects.ratios import exponentiated

        beta = self._beta
        se = np.sqrt(np.diag(self._covariance(cov))[self._parameters.coefficients])
        z = beta / se
        low, high = wald_interval(beta, se, level)
        estimate = beta
        if exponentiate:
            ratios = exponentiated(self.response.ratio_sign * beta, se, level)
            estimate, se, low, high = ratios.estimate, ratios.std_error, ratios.low, ratios.high
        return pd.DataFrame(
            {
                "term": list(self.data.names),
                "estimate": estimate,
                "std_error": se,
                "z": z,
                "pvalue": wald_p_values(z),
                "conf_low": low,
                "conf_high": high,
            }
        )

    def _with_degrees(
        self, table: pd.DataFrame, level: float, exponentiate: bool, cov: str, found: Array
    ) -> pd.DataFrame:
        """The table with t in the place of normal distributions for its coefficients, `df` after `z`."""
        p = len(self._beta)
        rows = np.flatnonzero(table["component"] == "coefficient") if "component" in table else np.arange(p)
        beta, se = self._beta, np.sqrt(np.diag(self._covariance(cov))[self._parameters.coefficients])
        low, high = t_interval(beta, se, found, level)
        if exponentiate:
            ends = np.exp(self.response.ratio_sign * low), np.exp(self.response.ratio_sign * high)
            low, high = np.minimum(*ends), np.maximum(*ends)
        degrees = np.full(len(table), np.nan)
        degrees[rows] = found
        table = table.copy()
        table.insert(list(table.columns).index("z") + 1, "df", degrees)
        for name, values in (("pvalue", t_p_values(beta / se, found)), ("conf_low", low), ("conf_high", high)):
            table.loc[rows, name] = values
        return table

    def _broom(self, table: pd.DataFrame) -> pd.DataFrame:
        """A tidy table with the columns and terms of broom.mixed."""
        effect = table.pop("component").map(_EFFECTS) if "component" in table else "fixed"
        table = table.rename(columns=_TIDY)
        table.insert(0, "effect", effect)
        random = (table["effect"] == "ran_pars").to_numpy()
        table.insert(1, "group", [str(self.data.cluster_name) if own else None for own in random])
        # R's name says that it is a standard deviation: so it is of a Gaussian intercept alone
        gaussian = self._glance().get("distribution") == "gaussian"
        table.loc[random & (table["term"] == "sigma"), "term"] = "sd__(Intercept)" if gaussian else "scale__(Intercept)"
        return table

    # The whole fit ---------------------------------------------------------------------------------------------------

    def glance(self, *, names: str = "plain") -> pd.DataFrame:
        """The fit as a whole, in one row.

        Parameters
        ----------
        names : {"plain", "broom"}
            Of the columns: ours, or `nobs`, `logLik`, `AIC`, `BIC` and `df.residual` as in R's broom for what it knows.
            `sigma` is the scale of the random intercept in both; broom.mixed has that of a residual in its place.

        Raises
        ------
        OptionError
            On other names.
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        check_option("names", names, NAMES)
        table = pd.DataFrame([self._glance()])
        return shown(table if names == "plain" else table.rename(columns=_GLANCE))

    # One row a row ---------------------------------------------------------------------------------------------------

    def augment(self, *, names: str = "plain") -> pd.DataFrame:
        """The rows that were used, in the order of the user's table, with what the model says of each.

        Parameters
        ----------
        names : {"plain", "broom"}
            Of the columns: ours, or those of R's broom.mixed.

        Returns
        -------
        DataFrame
            Index `row`, the position in the user's table; columns `cluster` (label), `observed` (share of successes, or
            count), `linear_predictor`, `mean` and `residual` (observed - mean). Random intercepts are at their
            posterior modes; a conditional model has no intercepts, so that its `linear_predictor` is without them and
            the last two columns are not there.

            With the names of broom: `.fitted` (the linear predictor), `.resid` (deviance residuals; Pearson's of
            counts whose zeros have a linear predictor), `.fixed` (the linear predictor without the random intercept,
            in random-intercept models), `.mu`, `.offset` and `.weights` besides `cluster` and `observed`.

        Raises
        ------
        OptionError
            On other names, and where the rows are not in memory.
        """
        import pandas as pd

        from clusterglm.results.tables.frame import shown

        check_option("names", names, NAMES)
        columns = self._augmented()
        if names == "broom":
            columns.pop("residual", None)
            columns = {_AUGMENT.get(name, name): values for name, values in columns.items()} | self._as_in_broom()
        order = np.argsort(self.data.rows.row_index, kind="stable")
        index = pd.Index(self.data.rows.row_index[order], name="row")
        return shown(pd.DataFrame({name: values[order] for name, values in columns.items()}, index=index))

    def _augmented(self) -> dict[str, NDArray[Any]]:
        """Columns by name, rows in cluster order."""
        from clusterglm.inference.diagnostics.residuals import observed

        eta = self._fitted_eta()
        y, mean = observed(self.response, self.data.rows.a, self.data.rows.b), self._response_of_rows.mean(eta)
        return {
            "cluster": self._per_row(self.data.rows.labels),
            "observed": y,
            "linear_predictor": eta,
            "mean": mean,
            "residual": y - mean,
        }

    def _as_in_broom(self) -> dict[str, NDArray[Any]]:
        """What only broom's names have."""
        from clusterglm.inference.diagnostics.residuals import residuals

        eta = self._fitted_eta()
        columns: dict[str, NDArray[Any]] = {}
        if not np.isnan(eta).all():  # of conditional models
            columns[".resid"] = residuals(self._resid_of_broom, self._response_of_rows, eta, *self._single)
        return (
            columns
            | self._without_random_intercepts()
            | {".offset": self.data.rows.offset, ".weights": self.data.rows.weights}
        )

    def _without_random_intercepts(self) -> dict[str, NDArray[Any]]:
        """The linear predictor without them, under broom's name; nothing where there are none."""
        return {}

    # For other packages ----------------------------------------------------------------------------------------------

    @with_alpha
    def for_maketables(
        self, *, exponentiate: bool = False, level: float = 0.95, cov: str = "observed"
    ) -> MaketablesModel:
        """The result as a model of the package maketables, for its `ETable([...])`; see `cg.table` for the short way.

        `ETable` takes a result itself for one of statsmodels, which has no sigma.

        Parameters
        ----------
        exponentiate, level, cov
            As in `tidy`.
        """
        facts = {str(name): values[0] for name, values in self.glance().to_dict(orient="list").items()}
        return MaketablesModel(
            self.tidy(level=level, exponentiate=exponentiate, cov=cov),
            facts,
            self.data.response_name,
            self.data.cluster_name,
            self._own_intercepts,
            cov,
        )


def as_coefficients(table: pd.DataFrame, c: int, component: str, exponentiate: bool) -> pd.DataFrame:
    """A tidy table the last c rows of which are coefficients, with tests; exponentiated where that is asked for."""
    some = table.index[len(table) - c :]
    table.loc[some, "component"] = component
    estimate, error = (table.loc[some, name].to_numpy(dtype=np.float64) for name in ("estimate", "std_error"))
    with np.errstate(invalid="ignore"):
        z = estimate / error
    table.loc[some, "z"], table.loc[some, "pvalue"] = z, wald_p_values(z)
    if exponentiate:
        ends = np.exp(table.loc[some, ["conf_low", "conf_high"]].to_numpy(dtype=np.float64))
        table.loc[some, "estimate"], table.loc[some, "std_error"] = np.exp(estimate), np.exp(estimate) * error
        table.loc[some, ["conf_low", "conf_high"]] = ends
    return table
