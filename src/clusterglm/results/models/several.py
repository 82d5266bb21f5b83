"""Several results: what they are called beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from clusterglm.errors import OptionError
from clusterglm.model.arguments import several, shown
from clusterglm.results.models.base import Result

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Fits: TypeAlias = Result | Sequence[Result] | Mapping[str, Result]
"""A result, several, or a mapping that names them."""


def is_result(value: object) -> TypeIs[Result]:
    """Whether a user's argument is a result at all."""
    return isinstance(value, Result)


def check_fit(fit: object, verb: str, *others: type) -> None:
    """Raise `OptionError` unless it is a result, or of the `others`; `verb` is the function that was called."""
    if not is_result(fit) and not isinstance(fit, others):
        raise OptionError(f"{verb}({shown(fit)}, ...)", "a result of cg.random_effects or another verb", f"{verb}(fit)")


def named_fits(fits: Fits, words: Callable[[Result], str] | None, verb: str) -> dict[str, Result]:
    """Results by name.

    Parameters
    ----------
    fits : Result, sequence of Result, or mapping of str to Result
    words : function, optional
        What a result without a name is called, where this tells the results apart; otherwise, and without `words`,
        they are numbered.
    verb : str
        The function that was called, for the error.

    Raises
    ------
    OptionError
        When they are not results.
    """
    if isinstance(fits, Mapping):
        names, given = [str(name) for name in fits], list(fits.values())
    else:
        what = "a result, several, or a mapping of names to results"
        example = f"{verb}({{'small': small, 'large': large}})"
        given = [fits] if is_result(fits) else several("fits", fits, what, example)
        names = [words(fit) if words is not None and is_result(fit) else "" for fit in given]
        if len(set(names)) < len(names) or words is None:
            names = [f"fit {k + 1}" if words is not None else f"({k + 1})" for k in range(len(given))]
    wrong = [type(fit).__name__ for fit in given if not is_result(fit)]
    if wrong or not given:
        raise OptionError(
            f"fits of type {', '.join(wrong)}" if wrong else "no fits",
            "a result, several, or a mapping of names to results",
            f"{verb}({{'small': small, 'large': large}})",
        )
    return dict(zip(names, given, strict=True))
