"""The verb that draws data from a model whose parameters are assumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clusterglm.api.assumed import assumed
from clusterglm.model.arguments import generator
from clusterglm.model.distribution import Distribution


def simulate(
    formula: str,
    design: Any,
    params: Any,
    *,
    sigma: Any = None,
    correlation: Any = None,
    covariance: Any = None,
    cluster: Any = None,
    family: str = "binomial",
    link: str | None = None,
    distribution: str | Distribution = "gaussian",
    family_parameters: Any = None,
    levels: Any = None,
    trials: Any = None,
    offset: Any = None,
    exposure: Any = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    seed: Any = None,
) -> Any:
    """Draw responses from a model with assumed parameters.

    Parameters
    ----------
    formula : str
        As of `cg.random_effects` and `cg.pooled`: "y ~ trt * week + (1 | id)". Its left-hand side names the response
        that is made, or two columns, `cbind(yes, no)`.
    design : StudyDesign or table
        Covariates and grouping factors: what `cg.design` plans, or a data frame.
    params : mapping, Series or sequence
        Coefficients by name, or in order: {"(Intercept)": -1.0, "trtdrug": 0.5}; `Intercept` and `trt[drug]` are
        read, too. Every coefficient needs its value.
    sigma : float, sequence or mapping, optional
        Standard deviation of the random intercept (the scale of another distribution); of several random effects
        their standard deviations, in order or by name; of several grouping factors by factor: {"person": 1.0,
        "item": 0.5}.
    correlation : float, matrix or mapping, optional
        Correlations of the effects of a grouping factor; 0 where there are none.
    covariance : matrix or mapping, optional
        Their covariance matrix, in place of `sigma` and `correlation`; a data frame goes by its names.
    cluster, family, link, distribution, offset, exposure, functions
        As of `cg.random_effects`. A distribution has its shape: "student_t(4)".
    family_parameters : float, sequence or mapping, optional
        The family's own parameters, as `fit.family_parameters` has them: `alpha` of the negative binomial,
        `residual_sd` of gaussian responses, thresholds of ordered categories in ascending order.
    levels : list, optional
        Names of ordered categories; by default 1, 2, ...
    trials : int or str, optional
        With `cbind(yes, no)`: trials of every row, or a column of the design.
    seed : int, SeedSequence or Generator, optional

    Returns
    -------
    DataFrame
        The design with the responses, of the kind that was given; from a `StudyDesign`, of pandas.

    Raises
    ------
    ClusterGLMError
        A subclass says which value is missing, unknown or impossible.

    Examples
    --------
    >>> import clusterglm as cg
    >>> plan = cg.design(50, between={"trt": ["placebo", "drug"]}, within={"week": range(4)})
    >>> params = {"(Intercept)": 1.0, "trtdrug": -0.7, "week": 0.2}
    >>> data = cg.simulate("y ~ trt + week + (1 | id)", plan, params, sigma=0.8, seed=1)
    >>> list(data), len(data)
    (['id', 'trt', 'week', 'y'], 200)
    """
    rng = generator(seed)
    model, table, rows = assumed(
        formula, design, params, sigma=sigma, correlation=correlation, covariance=covariance, cluster=cluster,
        family=family, link=link, distribution=distribution, family_parameters=family_parameters, levels=levels,
        trials=trials, offset=offset, exposure=exposure, functions=functions, rng=rng,
    )  # fmt: skip
    return model.frame(table, rows, model.truth.draw(rows, rng)).to_native()
