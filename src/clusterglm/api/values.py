"""Values of parameters that a user assumes: numbers by name, standard deviations and correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from clusterglm.errors import OptionError, nearest
from clusterglm.fit.gaussian import RESIDUAL
from clusterglm.model.arguments import shown
from clusterglm.model.arrays import Array
from clusterglm.model.covariance import Covariance, CovarianceTerm
from clusterglm.model.response.base import Response
from clusterglm.model.response.continuous.gaussian import GaussianIdentity
from clusterglm.model.response.own.base import OwnParameters

_OF_A_MATRIX = 1e-10  # relative, by which a matrix may fail to be symmetric or positive semidefinite


def numbers_by_name(argument: str, given: Any, names: Mapping[str, Sequence[str]]) -> Array:
    """One number for each name, from a mapping or Series by any spelling, or in order.

    Parameters
    ----------
    argument : str
        What errors call it.
    given : mapping, Series or sequence
    names : mapping of str to sequence of str
        Names and other spellings of them.

    Raises
    ------
    OptionError
        It names what is missing and what is not known, with the nearest name.
    """
    if hasattr(given, "to_dict"):
        given = given.to_dict()
    if isinstance(given, Mapping):
        known = {other: name for name, others in names.items() for other in (name, *others)}
        known |= {name: name for name in names}
        unknown = [str(name) for name in given if name not in known]
        found = {known[name]: value for name, value in given.items() if name in known}
        missing = [name for name in names if name not in found]
        if unknown or missing:
            hint = nearest(unknown[0], known) if unknown else ""
            lacking = f"without {', '.join(missing)}" if missing else ""
            more = f"with {', '.join(unknown)}" if unknown else ""
            example = ", ".join(f"{name!r}: 0.0" for name in (missing or list(names))[:3])
            raise OptionError(
                f"{argument}= {' and '.join(filter(None, [lacking, more]))}",
                f"a number for each of {', '.join(names)}",
                f"{hint}{argument}={{{example}{', ...' if len(missing) > 3 else ''}}}",
            )
        given = [found[name] for name in names]
    try:
        values = np.atleast_1d(np.asarray([] if given is None else given, dtype=np.float64))
    except (TypeError, ValueError):
        values = np.full(1, np.nan)
    if values.shape != (len(names),) or not np.isfinite(values).all():
        raise OptionError(
            f"{argument}={shown(given)}",
            f"{len(names)} finite number{'s' * (len(names) != 1)}: {', '.join(names)}" if names else "no numbers",
            f"{argument}={{{', '.join(f'{name!r}: 0.0' for name in list(names)[:3])}}}, for instance",
        )
    return values


def read_own(response: Response, family: str, given: Any) -> Response:
    """The response with the values of its own parameters.

    Raises
    ------
    OptionError
        When values are missing, out of range, or not asked for.
    """
    if response.continuous:
        (sd,) = _positive(numbers_by_name("family_parameters", _need(given, family, [RESIDUAL]), {RESIDUAL: ("sd",)}))
        return GaussianIdentity(float(sd))
    if not isinstance(response, OwnParameters):
        if given is not None:
            raise OptionError(
                f"family_parameters={shown(given)} with family={family!r}", "a family that has some", "leave them out"
            )
        return response
    names = dict.fromkeys(response.own, ())
    values = numbers_by_name("family_parameters", _need(given, family, list(names)), names)
    if response.scales:
        _positive(values)
    elif response.ordered and not (np.diff(values) > 0.0).all():
        raise OptionError(f"thresholds {shown(values.tolist())}", "numbers in ascending order", "[-1.0, 0.5, 2.0]")
    return replace(response, values=tuple(values.tolist()))


def _need(given: Any, family: str, names: list[str]) -> Any:
    if given is None:
        example = ", ".join(f"{name!r}: ..." for name in names)
        raise OptionError(
            f"no family_parameters= with family={family!r}", f"values of {', '.join(names)}", f"{{{example}}}"
        )
    return given


def _positive(values: Array) -> Array:
    if not (values > 0.0).all():
        raise OptionError(f"family_parameters={shown(values.tolist())}", "positive numbers", "1.0, for instance")
    return values


def read_covariance(covariance: Covariance, sigma: Any, correlation: Any, given: Any) -> Array:
    """L, with the covariance L L' of all effects, shape (q, q).

    Parameters
    ----------
    covariance : Covariance
        Which effects there are, and what structure their covariance may have.
    sigma : number, sequence or mapping
        Standard deviations: of the one effect; in order, or by effect; for several grouping factors by factor.
    correlation : number or matrix, or mapping of these by grouping factor; optional
        0 where it is not given.
    given : matrix, or mapping of these by grouping factor; optional
        The covariance itself, in place of `sigma` and `correlation`.

    Raises
    ------
    OptionError
    """
    if (given is None) == (sigma is None):
        raise OptionError(
            "both sigma= and covariance=" if given is not None else "neither sigma= nor covariance= of random effects",
            "one of the two",
            "sigma={'id': 1.0}, or covariance=[[1.0, 0.2], [0.2, 0.5]]",
        )
    if given is not None and correlation is not None:
        raise OptionError("correlation= and covariance=", "one of the two", "covariance= alone")
    groups = list(dict.fromkeys(term.group for term in covariance.terms))
    q = covariance.n_effects
    S, first = np.zeros((q, q)), 0
    for group in groups:
        terms = [term for term in covariance.terms if term.group == group]
        names = [name for term in terms for name in term.effects]
        where = slice(first, first + len(names))
        first = where.stop
        if given is not None:
            S[where, where] = _matrix(f"covariance of {group!r}", _of_group("covariance", given, group, groups), names)
            continue
        sds = _deviations(_of_group("sigma", sigma, group, groups, effects=names), group, names)
        R = _correlations(_of_group("correlation", correlation, group, groups), group, names)
        S[where, where] = R * np.outer(sds, sds)
    for term, where in covariance.blocks():
        _refuse_other_structure(term, S[where, where])
    whole = np.zeros((q, q), dtype=bool)
    for _, where in covariance.blocks():
        whole[where, where] = True
    if (S[~whole] != 0.0).any():
        raise OptionError(
            "covariances of effects that stand in different terms", "0 between terms", "one term, (1 + x | id)"
        )
    return _root(S)


def _of_group(argument: str, given: Any, group: str, groups: list[str], effects: Sequence[str] = ()) -> Any:
    """What was given for one grouping factor."""
    if hasattr(given, "to_dict") and not hasattr(given, "columns"):
        given = given.to_dict()
    if not isinstance(given, Mapping):
        if len(groups) > 1 and given is not None:
            raise OptionError(
                f"{argument}={shown(given)} with the grouping factors {', '.join(map(repr, groups))}",
                "a value for each by name",
                f"{argument}={{{', '.join(f'{name!r}: ...' for name in groups)}}}",
            )
        return given
    if len(groups) == 1 and effects and group not in given:
        return given
    given = {_whole_name(name, groups): value for name, value in given.items()}
    unknown = [str(name) for name in given if name not in groups]
    if unknown or (group not in given and argument != "correlation"):
        what = f"with {unknown[0]!r}" if unknown else f"without {group!r}"
        raise OptionError(
            f"{argument}= {what}",
            f"the grouping factors {', '.join(map(repr, groups))}",
            (nearest(unknown[0], groups) if unknown else "") + f"{argument}={{{groups[0]!r}: ...}}",
        )
    return given.get(group)


def _whole_name(name: Any, groups: list[str]) -> Any:
    """A nested factor may be called by its own column: `class` for `school:class`."""
    found = [group for group in groups if str(name) == group.rpartition(":")[2]]
    return found[0] if name not in groups and len(found) == 1 else name


def _deviations(given: Any, group: str, names: list[str]) -> Array:
    spelled = {name: ("Intercept",) if name == "(Intercept)" else () for name in names}
    sds = numbers_by_name(f"sigma of {group!r}", given, spelled)
    if (sds < 0.0).any():
        raise OptionError(f"sigma={shown(given)} of {group!r}", "standard deviations, not negative", "1.0")
    return sds


def _correlations(given: Any, group: str, names: list[str]) -> Array:
    d = len(names)
    if given is None:
        return np.eye(d)
    if np.ndim(given) == 0:
        try:
            rho = float(given)
        except (TypeError, ValueError):
            rho = np.nan
        if not -1.0 <= rho <= 1.0:
            raise OptionError(f"correlation={shown(given)} of {group!r}", "a number from -1 to 1", "correlation=0.3")
        return np.full((d, d), rho) + (1.0 - rho) * np.eye(d)
    R = _matrix(f"correlation of {group!r}", given, names)
    if np.abs(np.diag(R) - 1.0).max() > _OF_A_MATRIX:
        raise OptionError(f"a correlation matrix of {group!r} with {np.diag(R)} on its diagonal", "ones", "covariance=")
    return R


def _matrix(what: str, given: Any, names: list[str]) -> Array:
    """A symmetric, positive semidefinite matrix; a data frame by the effects' names."""
    d = len(names)
    if hasattr(given, "loc"):
        lost = [name for name in names if name not in given.columns or name not in given.index]
        if lost:
            raise OptionError(f"a {what} without {lost[0]!r}", f"rows and columns {', '.join(names)}", "reindex it")
        given = given.loc[names, names].to_numpy()
    try:
        M = np.asarray(given, dtype=np.float64)
        M = M.reshape(1, 1) if M.ndim == 0 and d == 1 else M
    except (TypeError, ValueError):
        M = np.empty(0)
    if M.shape != (d, d) or not np.isfinite(M).all():
        raise OptionError(
            f"{what}: {shown(given)}",
            f"a matrix with {d} rows and columns: {', '.join(names)}",
            "[[1.0, 0.2], [0.2, 0.5]]",
        )
    size = np.abs(M).max(initial=0.0)
    if np.abs(M - M.T).max() > _OF_A_MATRIX * size or np.linalg.eigvalsh(0.5 * (M + M.T))[0] < -_OF_A_MATRIX * size:
        raise OptionError(
            f"{what}: {shown(M.tolist())}",
            "a symmetric matrix whose eigenvalues are not negative",
            "smaller correlations",
        )
    return np.asarray(0.5 * (M + M.T))


def _refuse_other_structure(term: CovarianceTerm, S: Array) -> None:
    """Raise `OptionError` on a covariance that the structure of a term does not allow."""
    sds = np.sqrt(np.diag(S))
    if len(sds) == 1 or not (sds > 0.0).all() or np.linalg.eigvalsh(S)[0] < _OF_A_MATRIX * S.max():
        near = S if term.structure == "us" else np.diag(np.diag(S))  # at the boundary no structure has parameters
    else:
        kind, d = term.kind, len(sds)
        L = kind.factor(kind.of(S), d)
        near = L @ L.T
    if np.abs(near - S).max() > 1e-8 * S.max(initial=0.0):
        raise OptionError(
            f"a covariance {shown(S.tolist())} of ({', '.join(term.effects)} | {term.group})",
            f"one that the structure {term.structure!r} of this term allows",
            "(x | id), which may have any covariance; or correlation=0 and equal standard deviations",
        )


def _root(S: Array) -> Array:
    """L with L L' = S, lower triangular where S is positive definite."""
    try:
        return np.asarray(np.linalg.cholesky(S))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(S)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
