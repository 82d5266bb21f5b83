"""Every error and warning of the package.

An error says what was got, what was needed and what to try; whoever catches one finds the three parts as attributes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ClusterGLMError(Exception):
    """Base of every error that clusterglm raises on purpose.

    Parameters
    ----------
    got : str
        What was found.
    needed : str
        What would have been right.
    advice : str
        What to try.
    """

    def __init__(self, got: str, needed: str, advice: str) -> None:
        super().__init__(got, needed, advice)
        self.got = got
        self.needed = needed
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.got}\n  needed: {self.needed}\n  try:    {self.advice}"


class OptionError(ClusterGLMError, ValueError):
    """An argument has a value that is not among the allowed ones."""


class AbsentError(OptionError, AttributeError):
    """A result does not have what was asked of it, where others of its kind do."""


class DataError(ClusterGLMError, ValueError):
    """The data cannot be used as they are: a column, a value, a file."""


class FormulaError(DataError):
    """The formula cannot be read, or names what the data do not have."""


class ResponseError(DataError):
    """The response does not fit the family."""


class ClusterError(DataError):
    """The clusters cannot carry the model: missing, only one, or sigma not identified."""


class DesignError(DataError):
    """The design matrix cannot be used: constant or collinear columns, or no finite maximum."""


class SeparationError(DesignError):
    """Covariates separate the responses perfectly: the maximum lies at infinity."""


class IntegrationError(ClusterGLMError, ArithmeticError):
    """The quadrature rule asked for is too coarse for the model: its approximation has no proper maximum."""


class StudyError(ClusterGLMError, ValueError):
    """A simulation study whose design, folder or earlier run does not fit."""


class EngineError(ClusterGLMError, RuntimeError):
    """The workers of an engine are gone, or die of the work."""


class StorageError(ClusterGLMError, ValueError):
    """A result that cannot be saved, or a file or pickle that this version cannot read."""


class FileError(StorageError):
    """A file is no stored result, was written in a format that is not known, or is damaged."""


class MissingFileError(FileError, FileNotFoundError):
    """There is no such file."""


class MissingPackageError(ClusterGLMError, ImportError):
    """A package that only part of clusterglm needs is not installed."""


class UnseenLevelError(DataError):
    """New data hold a level that the fit has not seen."""


class ClusterGLMWarning(UserWarning):
    """Base of every warning that clusterglm gives."""


class ConvergenceWarning(ClusterGLMWarning):
    """The optimisation ended before it reached its tolerance; the text says what to do."""


class AccuracyWarning(ClusterGLMWarning):
    """The integration error is larger than asked for."""


class IntervalWarning(ClusterGLMWarning):
    """Some ends of intervals could not be found, or replicates behind them failed."""


class PredictionWarning(ClusterGLMWarning):
    """Some rows could not be predicted; the text counts the reasons."""


class PriorWarning(ClusterGLMWarning):
    """A prior is no distribution, so that the posterior may be none."""


class SamplingWarning(ClusterGLMWarning):
    """Draws that are fewer, or worth less, than was asked for; the text says what to do."""


class GroupsWarning(ClusterGLMWarning):
    """A model with group effects was fitted without groups."""


class StorageWarning(ClusterGLMWarning):
    """A file was read that was written in an older format, of which something could not be taken over."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """The sentence 'did you mean ...?' for a mistyped name, or an empty string."""
    known = list(candidates)
    alike = [each for each in known if each.casefold() == name.casefold()]  # capitals alone
    close = alike or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}? " if close else ""


_NAMESAKES = {
    ("scale", word): f"{word!r} is a scale of {what}"
    for words, what in (
        ("normal density", "integration, in cg.random_effects"),
        ("response link ratio", "predictions, in predict() of a result"),
        ("latent", "correlations, in intraclass_correlation() of a result"),
    )
    for word in words.split()
}
"""Words of another argument of the same name, and where they belong."""


def check_option(argument: str, value: object, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of the `allowed` strings; raise `OptionError` that lists them otherwise."""
    names = list(allowed)
    if isinstance(value, str) and value in names:
        return value
    listed = ", ".join(repr(name) for name in names)
    meant = _NAMESAKES.get((argument, value)) if isinstance(value, str) else None
    hint = f"{meant}; here, " if meant else nearest(value, names) if isinstance(value, str) else ""
    raise OptionError(
        f"{argument}={value!r}", f"one of {listed}", f"{hint}pass one of the allowed values as {argument}="
    )
