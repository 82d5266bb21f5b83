"""Random-intercept estimates against those from comparisons within clusters."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from clusterglm.data.prepare import FittedData, ModelData
from clusterglm.errors import DataError, DesignError, OptionError
from clusterglm.fit.conditional import ConditionalFit, check_conditional, conditional_scores, fit_conditional
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.fixed_effects import FixedEffectsFit, cluster_profile
from clusterglm.fit.mixed import MixedFit
from clusterglm.fit.within import informative_clusters
from clusterglm.inference.hypotheses.comparison import data_difference, same_clusters, same_weights
from clusterglm.inference.uncertainty.covariance import free_scores, sandwich
from clusterglm.inference.uncertainty.mixed import marginal_scores
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.printing import p_in_words, printed
from clusterglm.model.response.base import Response

if TYPE_CHECKING:
    import pandas as pd

_FLAT = 1e-13  # of a column's largest value: variation within clusters that is rounding
_LEAST_VARIANCE = 1e-8  # variance of the difference, in units of the within-cluster estimates', that is told from none
_SPELLED_OUT = 6  # names that a sentence spells out
_AT_ZERO = "the random-effects maximum lies at sigma = 0, where its large-sample normality is in doubt"
_BIASED = (
    "fixed effects of a binomial response are biased in small clusters whether or not the random-effects model holds"
)


@dataclass(frozen=True)
class Estimates:
    """Estimates of one model, and each cluster's contribution to them.

    Parameters
    ----------
    words : str
        What was fitted.
    names : tuple of str, length p
    beta : ndarray, shape (p,)
    covariance : ndarray, shape (p, p)
        Inverse of the observed information.
    influence : ndarray, shape (m, p)
        Of each cluster, such that beta-hat - beta is nearly their sum.
    left_out : tuple of str
        Columns without an estimate in this model.
    remarks : tuple of str
    """

    words: str
    names: tuple[str, ...]
    beta: Array
    covariance: Array
    influence: Array
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@printed
@dataclass(frozen=True)
class HausmanTest:
    """Do random-effects and within-cluster estimates differ by more than chance?

    Parameters
    ----------
    statistic : float
        d' W d, d the difference and W the (generalised) inverse of its covariance; nan where that is 0.
    df : int
        Rank of the covariance.
    pvalue : float
        P(chi-square on df degrees of freedom > statistic).
    names : tuple of str, length k
        Coefficients that both models identify.
    difference : ndarray, shape (k,)
        Within-cluster estimates less random-effects ones.
    random, within : ndarray, shape (k,)
    covariance : ndarray, shape (k, k)
        Of the difference.
    cov : {"joint", "difference"}
    words : str
        The within-cluster model.
    left_out : tuple of str
        Columns that do not vary within clusters that say something of them.
    remarks : tuple of str
        What the reader should know.
    """

    statistic: float
    df: int
    pvalue: float
    names: tuple[str, ...]
    difference: Array
    random: Array
    within: Array
    covariance: Array = field(repr=False)
    cov: str
    words: str
    left_out: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def std_error(self) -> Array:
        """Standard errors of the differences, shape (k,); nan where their variance came out negative."""
        variance = np.diag(self.covariance)
        return np.asarray(np.sqrt(np.where(variance >= 0.0, variance, np.nan)))

    def to_frame(self) -> pd.DataFrame:
        """A row per coefficient: `term`, `random`, `within`, `difference`, `std_error`."""
        import pandas as pd

        return pd.DataFrame(
            {
                "term": list(self.names),
                "random": self.random,
                "within": self.within,
                "difference": self.difference,
                "std_error": self.std_error,
            }
        )

    def __str__(self) -> str:
        shown = ", ".join(self.names[:_SPELLED_OUT])
        if len(self.names) > _SPELLED_OUT:
            shown += f" and {len(self.names) - _SPELLED_OUT} more"
        if self.df == 0:
            words = f"Hausman test of random intercepts against {self.words}: no test of {shown}"
        else:
            words = (
                f"Hausman test of random intercepts against {self.words}: chi2 = {self.statistic:.4g} on {self.df} df, "
                f"{p_in_words(self.pvalue)} ({shown}; {self.cov} covariance)"
            )
        if self.left_out:
            words += f"; not identified within clusters: {', '.join(self.left_out)}"
        return "".join([words, *(f"\n  note: {remark}" for remark in self.remarks)])


class WithinResult(Protocol):
    """A result of conditional or fixed effects."""

    @property
    def kind(self) -> str:
        """Name of the verb that made it."""

    @property
    def penalty(self) -> str | None:
        """What was added to the log-likelihood."""

    @property
    def data(self) -> FittedData:
        """What was fitted."""

    @property
    def response(self) -> Response:
        """Family and link."""

    def _within_estimates(self, left_out: tuple[str, ...]) -> Estimates:
        """The estimates, without the columns that were left out."""


def random_estimates(fit: RandomEffectsFit, data: ModelData) -> Estimates:
    """Coefficients of a random-intercept model; with sigma estimated, its part in their influence is included."""
    if fit.penalty is not None:
        _refuse_penalty("a random-intercept fit", fit.penalty, "cg.random_effects")
    of_beta = fit.parameters.coefficients
    influence = (free_scores(data, fit) @ fit.parameters.of_free(fit.covariance))[:, of_beta]
    covariance, remarks = fit.covariance[of_beta, of_beta], (_AT_ZERO,) if fit.boundary else ()
    return Estimates("random intercepts", data.names, fit.beta, covariance, influence, remarks=remarks)


def mixed_estimates(fit: MixedFit) -> Estimates:
    """Coefficients of a model whose only random effects are intercepts, in the form of several effects."""
    if fit.penalty is not None:
        _refuse_penalty("a fit with random effects", fit.penalty, "cg.random_effects")
    free, of_beta = np.isfinite(np.diag(fit.covariance)), fit.parameters.coefficients
    covariance = np.where(free[:, None] & free, fit.covariance, 0.0)
    influence = (marginal_scores(fit) @ covariance)[:, of_beta]
    remarks = (_AT_ZERO,) if fit.held.any() else ()
    return Estimates(
        "random intercepts", fit.data.names, fit.beta, covariance[of_beta, of_beta], influence, remarks=remarks
    )


def _refuse_penalty(what: str, penalty: str, verb: str) -> NoReturn:
    raise OptionError(
        f"{what} with penalty={penalty!r}",
        "estimates at the maximum of the likelihood alone, as the covariance of the difference takes them",
        f"{verb} without penalty=",
    )


def within_model(data: ModelData, response: Response) -> Estimates:
    """Fit the conditional likelihood to the data of a random-intercept model.

    Parameters
    ----------
    data : ModelData
        Columns that do not vary within any informative cluster, the intercept among them, are left out.
    response : Response

    Raises
    ------
    OptionError
        When there is no conditional likelihood: probit, cloglog.
    DesignError
        When no column varies within clusters, or one is a combination of others there.
    """
    check_conditional(response)
    varies = varying_columns(data.X, data.starts, informative_clusters(data, response))
    if not varies.any():
        raise DesignError(
            f"no covariate that varies within clusters whose responses vary, among {', '.join(data.names)}",
            "a coefficient that comparisons within clusters identify",
            "no Hausman test: there is nothing to compare",
        )
    if data.intercept is None and _holds_ones(data.X[:, varies]):
        raise DesignError(
            f"a Hausman test of {data.formula!r}, whose columns add up to an intercept",
            "coefficients that comparisons within clusters tell from each other",
            "write it with an intercept, without '0 +' or '- 1': it is the same model",
        )
    kept = np.flatnonzero(varies).tolist()
    names = tuple(data.names[j] for j in kept)
    reduced = replace(data, X=np.ascontiguousarray(data.X[:, kept]), names=names, intercept=None)
    fit = fit_conditional(reduced, response, None, Control())
    left_out = tuple(name for name in data.names if name not in names)
    return conditional_estimates(fit, reduced, response, left_out)


def within_estimates(other: WithinResult, data: ModelData, response: Response) -> Estimates:
    """Estimates of a fit with cluster intercepts, checked to be of the same data as a random-intercept model.

    Parameters
    ----------
    other : result of conditional or fixed effects
    data : ModelData
        Of the random-intercept model.
    response : Response

    Raises
    ------
    OptionError
        When `other` is another kind of fit, or its family or link differs.
    DataError
        When rows, responses, clusters, weights or offsets differ.
    DesignError
        When a column that varies within clusters is in one of the models only.
    """
    if not hasattr(other, "_within_estimates"):
        raise OptionError(
            f"other={type(other).__name__}", "a result of cg.conditional or cg.fixed_effects", "other=None"
        )
    if other.penalty is not None:
        _refuse_penalty("other=", other.penalty, f"cg.{other.kind}")
    if other.response != response:
        raise OptionError(
            f"other= with {other.response.family}, {other.response.link} for {response.family}, {response.link}",
            "the same family and link",
            "fit both alike",
        )
    rows = other.data.rows
    _check_same_data(data, rows)
    varies = varying_columns(data.X, data.starts, informative_clusters(data, response))
    columns = {name: data.X[:, j] for j, name in enumerate(data.names)}
    for j, name in enumerate(rows.names):
        if name not in columns or not np.array_equal(columns[name], rows.X[:, j]):
            how = "is not in" if name not in columns else "has other values in"
            raise DesignError(
                f"the column {name!r}, which {how} the random-effects model",
                "the same covariates in both models",
                "the same formula for both",
            )
    only_here = [data.names[j] for j in np.flatnonzero(varies).tolist() if data.names[j] not in rows.names]
    if only_here:
        raise DesignError(
            f"{', '.join(map(repr, only_here))} in the random-effects model alone",
            "every covariate that varies within clusters in both models: coefficients mean something else otherwise",
            "the same formula for both",
        )
    left_out = tuple(name for name in data.names if name not in other.data.names)
    return other._within_estimates(left_out)


def conditional_estimates(
    fit: ConditionalFit, data: ModelData, response: Response, left_out: tuple[str, ...]
) -> Estimates:
    """Coefficients of a conditional likelihood."""
    influence = conditional_scores(data, response, fit.beta) @ fit.covariance
    remarks = () if fit.optimization.converged else (f"the conditional fit: {fit.optimization.message}",)
    return Estimates("conditional likelihood", data.names, fit.beta, fit.covariance, influence, left_out, remarks)


def fixed_effects_estimates(
    fit: FixedEffectsFit, data: ModelData, response: Response, left_out: tuple[str, ...]
) -> Estimates:
    """Coefficients beside an intercept for every cluster."""
    scores = cluster_profile(data, response, fit.uncorrected).scores
    scores = np.where(fit.informative[:, None], scores, 0.0)
    remarks = (_BIASED,) if response.intercepts_bias and not fit.correction else ()
    words = "fixed effects" + (" corrected for bias" if fit.correction else "")
    return Estimates(words, data.names, fit.beta, fit.covariance, scores @ fit.covariance, left_out, remarks)


def hausman_test(random: Estimates, within: Estimates, repeats: Array, cov: str = "joint") -> HausmanTest:
    """Compare the coefficients that both models estimate.

    Parameters
    ----------
    random, within : Estimates
        With the same clusters in the same order; the coefficients of `within` are among those of `random`.
    repeats : ndarray, shape (m,)
        How many clusters each one stands for.
    cov : {"joint", "difference"}
        m/(m - 1) times the sum over clusters of (I_w - I_r)(I_w - I_r)', with the clusters' influence on both
        estimates; or V_w - V_r, which is right where the random-effects model is and efficient.

    Notes
    -----
    Eigenvalues of the covariance, both sides in units of the within-cluster standard errors, are inverted where they
    are positive and more than 1e-8 (a standard deviation of 1e-4 standard errors); the others are left out. Estimates
    that agree by construction, as those of a Poisson response with the same covariates in every cluster, leave none.
    In the joint covariance weights mean what they mean in other sandwiches.

    References
    ----------
    Hausman (1978), Econometrica 46; Tchetgen Tchetgen and Coull (2006), Biometrika 93; White (1982), Econometrica 50,
    for the joint covariance.
    """
    position = {name: j for j, name in enumerate(random.names)}
    chosen = [position[name] for name in within.names]
    if not chosen:
        raise DesignError(
            "a within-cluster model without covariates",
            "coefficients that both models estimate",
            "no Hausman test: there is nothing to compare",
        )
    d = within.beta - random.beta[chosen]
    if cov == "joint":
        influence = within.influence - random.influence[:, chosen]
        V = sandwich(np.eye(len(chosen)), influence, repeats)
    else:
        V = within.covariance - random.covariance[np.ix_(chosen, chosen)]
    V = 0.5 * (V + V.T)
    scale = np.sqrt(np.diag(within.covariance))
    values, vectors = np.linalg.eigh(V / np.outer(scale, scale))
    use = values > _LEAST_VARIANCE
    along = (vectors.T @ (d / scale))[use]
    df = int(use.sum())
    statistic = float(np.sum(along**2 / values[use])) if df > 0 else np.nan
    remarks = [*random.remarks, *within.remarks]
    if df < len(d):
        remarks.append(_lost_rank(values, df, cov))
    return HausmanTest(
        statistic,
        df,
        float(chdtrc(df, statistic)) if df > 0 else np.nan,
        within.names,
        d,
        random.beta[chosen],
        within.beta,
        V,
        cov,
        within.words,
        within.left_out,
        tuple(remarks),
    )


def varying_columns(X: Array, starts: NDArray[np.int64], informative: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Columns that vary within some informative cluster, shape (p,).

    Parameters
    ----------
    X : ndarray, shape (n, p)
    starts : ndarray of int64, shape (m + 1,)
    informative : ndarray of bool, shape (m,)
    """
    varies = np.zeros(X.shape[1], dtype=bool)
    for j in range(X.shape[1]):
        x = X[:, j]
        spread = np.maximum.reduceat(x, starts[:-1]) - np.minimum.reduceat(x, starts[:-1])
        varies[j] = bool((spread[informative] > _FLAT * np.abs(x).max()).any())
    return varies


def _holds_ones(X: Array) -> bool:
    """Whether a combination of the columns is one in every row."""
    ones = np.ones(len(X))
    return bool(np.abs(X @ np.linalg.lstsq(X, ones, rcond=None)[0] - ones).max() < _LEAST_VARIANCE)


def _check_same_data(data: ModelData, other: ModelData) -> None:
    difference = data_difference(data, other, ("the random-effects model", "other"))
    if not difference and not np.array_equal(data.row_index, other.row_index):
        difference = "the clusters differ"
    if not difference and not same_clusters(data, other):
        difference = "the clusters differ"
    if not difference and not same_weights(data, other):
        difference = "the weights differ"
    if not difference and not np.array_equal(data.offset, other.offset):
        difference = "the offsets differ"
    if difference:
        raise DataError(
            f"other= fitted to other data: {difference}", "the same rows, responses and clusters", "fit both alike"
        )


def _lost_rank(values: Array, df: int, cov: str) -> str:
    k = len(values)
    if cov == "difference" and values[0] < -_LEAST_VARIANCE:
        words = f"the covariance of the difference is not positive definite: {df} of {k} directions have variance"
        return f'{words} and are used; cov="joint" has no such trouble'
    if df == 0:
        return "the two models give the same estimates of these coefficients whatever the responses: nothing to test"
    return f"in {k - df} of {k} directions the two models give the same estimates whatever the responses"
