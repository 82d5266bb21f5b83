"""Arguments that a verb does not have: the nearest one, or ours for a word of other software."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from clusterglm.errors import OptionError, nearest

P = ParamSpec("P")
R = TypeVar("R")

_WORDS = {
    "cluster='id', the column of clusters": "groups group id ids strata stratum panel entity random effects cluster_id "
    "clusters re_formula exp_vc vc_formulas",
    "quadrature='auto', 'laplace' or a number of nodes, in cg.random_effects": "nAGQ n_points nodes nquad intpoints "
    "intmethod method approximation",
    "conf_int(level=0.95) of the result": "alpha level conf_level",
    "weights='w', the column of weights": "freq_weights var_weights case_weights fweights pweights sample_weight",
    "sigma=, the value to start from, in cg.random_effects": "start.sigma start_sigma sigma_start theta_start",
    "start=, coefficients by name or in order": "start_params start_values beta_start start.coef",
    "control=cg.Control(max_iter=..., tol=..., n_threads=...)": "max_iter maxiter maxit tol tolerance epsilon "
    "n_threads threads progress optimizer",
    "n_jobs=, seed= and progress= of the result's methods": "n_jobs seed verbose",
    "cov('robust') of the result, or cov='robust' in its methods": "cov_type vcov vce cov_kwds cov_struct robust",
    "distribution='gaussian', in cg.random_effects": "prior dist ranef_dist",
    "test_clustering(n_boot=2000) of the result, or its bootstrap()": "boot n_boot",
    "penalty='firth' of cg.pooled, cg.fixed_effects and cg.conditional, penalty='soft' of cg.random_effects": "penalty "
    "firth brglm bias_reduction jeffreys",
    "separation='limit', or a penalty": "detect_separation infinite",
    "nonparallel='x', terms of an ordinal model with a coefficient for each threshold": "nominal npl parallel",
    "no argument: incomplete rows are left out, and counted": "missing na_action dropna",
    "data=, the second argument": "df table frame",
}
ELSEWHERE = {word: ours for ours, words in _WORDS.items() for word in words.split()}
"""What R, Stata, statsmodels and scikit-learn call it, and what it is here."""


def explained(verb: Callable[P, R]) -> Callable[P, R]:
    """A verb that answers in words to arguments that it does not have.

    Raises
    ------
    OptionError
        On arguments that are unknown, missing, or too many.
    """
    signature = inspect.signature(verb)
    name = f"cg.{verb.__name__}"

    @wraps(verb)
    def with_words(*args: P.args, **kwargs: P.kwargs) -> R:
        unknown = [word for word in kwargs if word not in signature.parameters]
        if unknown:
            raise _unknown(name, unknown, [*signature.parameters])
        try:
            signature.bind(*args, **kwargs)
        except TypeError as problem:
            raise OptionError(
                f"{name}: {problem}", "a formula and data, and all else by name", f"{name}('y ~ x', data, cluster='id')"
            ) from None
        given = [*args, *(kwargs[word] for word in ("formula", "data")[len(args) :])]
        if _is_formula(given[1]) and not _is_formula(given[0]):
            raise OptionError(
                f"{name}(data, formula): data of type {type(given[0]).__name__} in the place of the formula",
                "the formula first, then the data",
                f"{name}({given[1]!r}, data, ...)",
            )
        return verb(*args, **kwargs)

    return with_words


def _is_formula(value: object) -> bool:
    return isinstance(value, str) and "~" in value.lstrip()[1:]  # "~/data.csv" is none


def _unknown(verb: str, unknown: list[str], known: list[str]) -> OptionError:
    word = unknown[0]
    ours = ELSEWHERE.get(word)
    hint = f"here it is {ours}" if ours is not None else (nearest(word, known).strip() or f"help({verb})")
    return OptionError(
        f"{', '.join(f'{each}=' for each in unknown)}, which {verb} does not have",
        f"arguments among {', '.join(known)}",
        hint,
    )
