"""Results to and from JSON files: what they hold, as data, and never code.

A stored result is a tree of frozen dataclasses. One list, `STORED`, names the classes that a file may hold: a new class
of results, fits or distributions is saved and loaded once its name stands there.
"""

from __future__ import annotations

import gzip
import json
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.data.files import write_bytes
from clusterglm.data.safety import refuse_unsafe
from clusterglm.data.streamed import StreamedData
from clusterglm.errors import DataError, StorageError, StorageWarning
from clusterglm.results.values import Reader, Writer

if TYPE_CHECKING:
    from clusterglm.data.design import Design
    from clusterglm.data.prepare import ModelData

FORMAT = "clusterglm result"
FORMAT_VERSION = 1
"""To be raised when a file of today could be misread by code of yesterday, or the other way round."""

STORED: dict[str, tuple[str, ...]] = {
    "results.pooled": ("PooledResult",),
    "results.fixed_effects": ("FixedEffectsResult",),
    "results.conditional": ("ConditionalResult",),
    "results.random_effects": ("RandomEffectsResult",),
    "results.blocks": (
        "PooledResultOverBlocks",
        "FixedEffectsResultOverBlocks",
        "ConditionalResultOverBlocks",
        "RandomEffectsResultOverBlocks",
    ),
    "results.nonparametric": ("NonparametricResult",),
    "results.selection": ("DistributionSelection",),
    "fit.pooled": ("PooledFit",),
    "fit.fixed_effects": ("FixedEffectsFit", "ProfiledEstimates"),
    "fit.conditional": ("ConditionalFit", "ConditionalEstimates"),
    "fit.within": ("Informative",),
    "fit.sums": ("CountedPart",),
    "fit.random_effects": ("RandomEffectsFit",),
    "fit.npml": ("NonparametricFit",),
    "fit.shape": ("ShapeEstimate",),
    "fit.newton": ("Optimization", "Iteration"),
    "fit.integration": ("IntegrationReport",),
    "likelihood.rules": ("Part", "Rule"),
    "data.prepare": ("ModelData",),
    "data.streamed": ("StreamedData", "Totals"),
    "data.rows": ("Dropped",),
    "data.design": ("Design", "Factor"),
    "data.formula": ("Expression", "ClusterTerm"),
    "data.cluster_means": ("ClusterMeans",),
    "inference.goodness": ("GoodnessOfFit",),
    "inference.event_counts": ("Discrepancy",),
    "inference.score_test": ("ScoreTest",),
    "model.quadrature": ("Quadrature",),
    "model.distribution.gaussian": ("Gaussian",),
    "model.distribution.logistic": ("Logistic",),
    "model.distribution.cauchy": ("Cauchy",),
    "model.distribution.student_t": ("StudentT",),
    "model.distribution.laplace": ("Laplace",),
    "model.distribution.bridge": ("Bridge",),
    "model.distribution.log_gamma": ("LogGamma",),
    "model.distribution.gaussian_mixture": ("GaussianMixture",),
    "model.response.binomial_logit": ("BinomialLogit",),
    "model.response.binomial_cloglog": ("BinomialCloglog",),
    "model.response.binomial_probit": ("BinomialProbit",),
    "model.response.poisson_log": ("PoissonLog",),
}
"""Modules and their classes that a file may hold: frozen dataclasses, named tuples, and classes without state."""

_MODULES = {name: f"clusterglm.{module}" for module, names in STORED.items() for name in names}
_ROWS = 100  # of a design that are put through its formula again
_PER_LINE = 10  # numbers


def save(result: Any, path: str | Path) -> None:
    """Write a result to a JSON file; compressed if its name ends in `.gz`.

    Parameters
    ----------
    result : Result or DistributionSelection
    path : str or Path

    Raises
    ------
    StorageError
        When something in the result cannot be written, or would not be read back as it is; the file is not written
        then.
    """
    tree = Writer(_MODULES).plain(result)
    read_back = Reader(_MODULES, "what would be written").value(tree)
    for data, again in zip(_model_data(result), _model_data(read_back), strict=True):
        _verify(data, again.design)
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **_versions(),
        "summary": str(result).splitlines(),
        "result": tree,
    }
    text = "".join(_lines(content, "")) + "\n"
    # no time and no name in the header: the same result gives the same bytes
    packed = gzip.compress(text.encode(), 6, mtime=0) if _is_packed(path) else text.encode()
    write_bytes(path, packed)


def load(path: str | Path, *, trusted: bool = False) -> Any:
    """Read a result that `save` wrote.

    Parameters
    ----------
    path : str or Path
    trusted : bool
        Accept formulas with functions that this package does not know to be harmless. Nothing in a file is run when it
        is read, but the terms of its formula are when new data are predicted.

    Returns
    -------
    Result or DistributionSelection
        Of the class that was saved, with the same numbers.

    Raises
    ------
    StorageError
        When the file is not such a file, was written in a newer format, is damaged, or has a formula that could do more
        than compute columns.

    Warns
    -----
    StorageWarning
        When the installed formulaic is not the one that made the design, and the columns do not tell whether it builds
        the same.

    Examples
    --------
    >>> import clusterglm as cg
    >>> fit = cg.pooled("y ~ week", cg.datasets.load("bacteria"))
    >>> fit.save("fit.json")
    >>> str(cg.load("fit.json")) == str(fit)
    True
    """
    content = _read(path)
    result = Reader(_MODULES, _source(path)).value(content["result"])
    for data in _model_data(result):
        if not trusted:
            refuse_unsafe(data.design, data.formula)
        made_by, here = content.get("formulaic"), _versions()["formulaic"]
        if made_by != here and not _gives_rows(data, data.design):
            _warn_of_formulaic(path, made_by, here)
    return result


def _warn_of_formulaic(path: str | Path, made_by: object, here: str) -> None:
    warnings.warn(
        f"{str(path)!r} was written with formulaic {made_by}, and {here} is installed: estimates are as they were; "
        "predictions of new data assume that both transform the covariates alike",
        StorageWarning,
        stacklevel=3,
    )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("clusterglm", "formulaic")}


def _is_packed(path: str | Path) -> bool:
    return str(path).endswith(".gz")


def _source(path: str | Path) -> str:
    return f"the file {str(path)!r}"


def _read(path: str | Path) -> dict[str, Any]:
    raw = Path(path).read_bytes()
    try:
        # by content: a file may have been unpacked, or renamed
        content = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    except (ValueError, OSError, EOFError, zlib.error) as problem:
        raise StorageError(
            f"{_source(path)}, which is not complete JSON: {problem}",
            "a file written by fit.save(path)",
            "save the result again",
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise StorageError(
            f"{_source(path)}, which is JSON but no stored result",
            f'a file written by fit.save(path), with "format": "{FORMAT}"',
            "check the path",
        )
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise StorageError(
            f"{_source(path)} in format {version}, written by clusterglm {content.get('clusterglm')}",
            f"format {FORMAT_VERSION}, which clusterglm {_versions()['clusterglm']} reads",
            f"pip install clusterglm=={content.get('clusterglm')} to read it, or fit and save again",
        )
    return content


# The design ----------------------------------------------------------------------------------------------------------


def _model_data(result: Any) -> list[ModelData]:
    """The data of each fit, once."""
    fits = result.fits.values() if hasattr(result, "fits") else (result,)
    return list({id(fit.data): fit.data for fit in fits}.values())


def _verify(data: ModelData, rebuilt: Design) -> None:
    """Refuse a design that would not come back as it is.

    It is judged by its state, and by some rows where the columns tell the variables.
    """
    same = Writer(_MODULES).plain(rebuilt) == Writer(_MODULES).plain(data.design)
    if not same or (_gives_rows(data, data.design) and not _gives_rows(data, rebuilt)):
        raise StorageError(
            f"the design of {data.formula!r}, which a file would not give back as it is",
            "terms that formulaic builds from columns and learned numbers",
            "compute the odd terms as columns of the data first, and fit with these",
        )


def _gives_rows(data: ModelData, design: Design) -> bool:
    """Whether the variables can be read off some fitted rows, and the design makes these rows of them."""
    from clusterglm.inference.design_changes import recovered_frame

    if isinstance(data, StreamedData):
        return False
    some = np.ascontiguousarray(data.X[:: len(data.X) // _ROWS + 1])
    try:
        recovered_frame(replace(data, X=some, design=design))
    except DataError:
        return False
    return True


# The text ------------------------------------------------------------------------------------------------------------


def _lines(value: Any, indent: str) -> Iterator[str]:
    """JSON that people can read: a line for each entry, for each row of a matrix, and for every few numbers."""
    if isinstance(value, dict) and value:
        yield from _block(((f"{_dumps(key)}: ", item) for key, item in value.items()), indent, "{}")
    elif isinstance(value, list) and value and not _is_row(value):
        yield from _block((("", item) for item in value), indent, "[]")
    elif isinstance(value, list) and len(value) > _PER_LINE:
        rows = (_dumps(value[i : i + _PER_LINE])[1:-1] for i in range(0, len(value), _PER_LINE))
        yield f"[\n{indent} " + f",\n{indent} ".join(rows) + f"\n{indent}]"
    else:
        yield _dumps(value)


def _is_row(items: list[Any]) -> bool:
    """Numbers, with words for those that are not finite; not text alone, of which each gets a line."""
    kinds = {type(item) for item in items}
    return not kinds & {list, dict} and kinds != {str}


def _block(entries: Iterable[tuple[str, Any]], indent: str, brackets: str) -> Iterator[str]:
    inner, between = indent + " ", brackets[0]
    for key, item in entries:
        yield f"{between}\n{inner}{key}"
        yield from _lines(item, inner)
        between = ","
    yield f"\n{indent}{brackets[1]}"


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
