"""Results to and from JSON files: what they hold, as data, and never code.

A stored result is a tree of frozen dataclasses. One list, `STORED`, names the classes that a file may hold: a new class
of results, fits or distributions is saved and loaded once its name stands there.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.data.blocks.streamed import StreamedData
from clusterglm.data.files import write_bytes
from clusterglm.data.formulas.formula import check_functions
from clusterglm.errors import DataError, FileError, MissingFileError, StorageError
from clusterglm.model.distribution import DISTRIBUTIONS
from clusterglm.model.family import CONTINUOUS, RESPONSES, WITH_OWN
from clusterglm.results.files import older
from clusterglm.results.files.schema import fit_misfit, limit_misfit, misfit
from clusterglm.results.files.values import Reader, Writer

if TYPE_CHECKING:
    from clusterglm.data.design import Design
    from clusterglm.data.prepare import ModelData

FORMAT = "clusterglm result"
FORMAT_VERSION = 2
"""To be raised when a file of today could be misread by code of yesterday, or the other way round."""

STORED: dict[str, tuple[str, ...]] = {
    "results.models.pooled": ("PooledResult",),
    "results.models.fixed_effects": ("FixedEffectsResult",),
    "results.models.two_way": ("TwoWayResult",),
    "results.models.two_way_own": ("OwnTwoWayResult",),
    "results.models.conditional": ("ConditionalResult",),
    "results.models.random_effects": ("RandomEffectsResult",),
    "results.models.mixed": ("MixedEffectsResult",),
    "results.models.crossed": ("CrossedEffectsResult",),
    "results.models.durations": ("DurationsPooledResult", "DurationsRandomEffectsResult"),
    "results.models.durations_mixed": ("DurationsMixedResult", "DurationsCrossedResult"),
    "results.models.ordinal": ("OrdinalPooledResult", "OrdinalRandomEffectsResult"),
    "results.models.gaussian": ("GaussianPooledResult", "GaussianMixedResult"),
    "results.models.pql": ("QuasiResult",),
    "results.models.own": ("OwnPooledResult", "OwnRandomEffectsResult"),
    "results.models.own_fixed": ("OwnFixedEffectsResult",),
    "results.models.own_mixed": ("OwnMixedResult", "OwnCrossedResult"),
    "results.models.ordinal_mixed": ("OrdinalMixedResult", "OrdinalCrossedResult"),
    "results.models.zeros": ("ZeroPooledResult", "ZeroRandomEffectsResult"),
    "results.models.zeros_mixed": (
        "ZeroMixedResult",
        "ZeroCrossedResult",
        "HurdleMixedResult",
        "HurdleCrossedResult",
    ),
    "results.models.hurdle": ("HurdlePooledResult", "HurdleRandomEffectsResult"),
    "results.models.limit": ("PooledLimit", "RandomEffectsLimit", "FixedEffectsLimit", "ConditionalLimit"),
    "results.models.blocks": (
        "PooledResultOverBlocks",
        "FixedEffectsResultOverBlocks",
        "ConditionalResultOverBlocks",
        "RandomEffectsResultOverBlocks",
        "MixedEffectsResultOverBlocks",
    ),
    "results.models.posterior": ("Posterior",),
    "results.models.nonparametric": ("NonparametricResult",),
    "results.models.own_nonparametric": (
        "OwnNonparametricResult",
        "OrdinalNonparametricResult",
        "DurationsNonparametricResult",
    ),
    "results.tables.selection": ("DistributionSelection",),
    "fit.pooled": ("PooledFit",),
    "fit.fixed_effects": ("FixedEffectsFit", "ProfiledEstimates"),
    "fit.two_way": ("TwoWayFit",),
    "fit.two_way_own": ("OwnTwoWayFit",),
    "fit.conditional": ("ConditionalFit", "ConditionalEstimates"),
    "fit.within": ("Informative",),
    "fit.estimates": ("RandomEffectsFit", "ShapeEstimate", "SmoothShape"),
    "fit.own": ("OwnPooledFit", "OwnRandomEffectsFit"),
    "fit.own_fixed": ("OwnFixedEffectsFit",),
    "fit.own_mixed": ("OwnMixedFit",),
    "fit.zero_estimates": ("ZeroPooledFit", "ZeroRandomEffectsFit"),
    "fit.zero_mixed": ("ZeroMixedFit",),
    "fit.hurdle_mixed": ("HurdleMixedFit",),
    "fit.hurdle": ("HurdlePooledFit", "HurdleRandomEffectsFit"),
    "fit.gaussian": ("GaussianPooledFit", "GaussianFit"),
    "fit.pql": ("PqlFit",),
    "fit.npml": ("NonparametricFit",),
    "fit.own_npml": ("OwnNonparametricFit",),
    "fit.mixed": ("MixedFit",),
    "fit.newton": ("Optimization", "Iteration"),
    "likelihood.plan": ("Part", "CountedPart"),
    "likelihood.report": ("IntegrationReport", "OutsideReport"),
    "likelihood.scalar.rules": ("Rule",),
    "data.prepare": ("ModelData",),
    "data.recession": ("Recession", "RestDesign"),
    "data.blocks.streamed": ("StreamedData", "Totals"),
    "data.rows": ("Dropped",),
    "data.repeats": ("Counts",),
    "data.design": ("Design",),
    "data.formulas.coding": ("Coding", "CodedTerm", "Factor"),
    "data.formulas.contrasts": ("Contrast",),
    "data.formulas.formula": ("Expression", "ClusterTerm"),
    "data.groupings": ("Levels",),
    "data.effects": ("Effects", "EffectTerm", "Children"),
    "data.cluster_means": ("ClusterMeans",),
    "sample.chains": ("Sampler",),
    "sample.target": ("Weights",),
    "sample.prior": ("Prior",),
    "inference.distribution.goodness": ("GoodnessOfFit",),
    "inference.distribution.event_counts": ("Discrepancy",),
    "inference.diagnostics.overdispersion": ("Overdispersion",),
    "inference.hypotheses.score_test": ("ScoreTest",),
    "model.quadrature": ("Quadrature",),
    "model.response.nonparallel.ordinal_logit": ("NonparallelLogit",),
    "model.response.zeros.inflated": ("ZeroInflated",),
    "model.response.zeros.hurdle": ("Hurdle",),
}
"""Modules and their classes that a file may hold: frozen dataclasses, named tuples, and classes without state.

Responses and distributions are known by their registries, `RESPONSES`, `WITH_OWN`, `CONTINUOUS` and `DISTRIBUTIONS`."""

_RESULTS = {name for module in STORED if module.startswith("results.") for name in STORED[module]}
_ROWS_CHECKED = 100  # of a design that are put through its formula again
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
    modules = _modules()
    tree = Writer(modules).plain(result)
    own = next((data.design.functions for data in _model_data(result) if data.design.functions), {})
    read_back = Reader(modules, "what would be written", _size(result), own).value(tree)
    for data, again in zip(_model_data(result), _model_data(read_back), strict=True):
        _verify(data, again)
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "clusterglm": _version(),
        "digest": _digest(tree),
        "summary": str(result).splitlines(),
        "result": tree,
    }
    text = "".join(_lines(content, "")) + "\n"
    # no time and no name in the header: the same result gives the same bytes
    packed = gzip.compress(text.encode(), 6, mtime=0) if _is_packed(path) else text.encode()
    write_bytes(path, packed)


def load(path: str | Path, *, functions: Mapping[str, Callable[..., Any]] | None = None) -> Any:
    """Read a result that `save` wrote. Nothing in a file is ever run.

    Parameters
    ----------
    path : str or Path
    functions : mapping of str to callable, optional
        The functions of your own that the fit was made with, by the names that its formula calls; a file holds none.

    Returns
    -------
    Result or DistributionSelection
        Of the class that was saved, with the same numbers.

    Raises
    ------
    FileError
        When the file cannot be read, is no such file, was written in a newer format, or is damaged in any way.

    Examples
    --------
    >>> import clusterglm as cg
    >>> fit = cg.pooled("y ~ week", cg.datasets.load("bacteria"))
    >>> fit.save("fit.json")
    >>> str(cg.load("fit.json")) == str(fit)
    True
    """
    content, size = _read(path)
    own = check_functions(functions)
    tree = content.get("result")
    modules = _modules()
    reader = Reader(modules, _source(path), size, own)
    if content["format_version"] == 1:
        tree = older.translated(tree, _source(path), modules)
    elif content.get("digest") != _digest(tree):
        raise FileError(
            f"{_source(path)}, whose content is not what was written: its digest differs",
            "a file as fit.save(path) wrote it",
            "a copy that nothing has changed; or fit and save again",
        )
    result = reader.value(tree)
    _refuse_misfits(result, _source(path))
    return result


def _refuse_misfits(result: Any, source: str) -> None:
    """Refuse what is no result, and parts of one that do not belong together."""
    reason: str | None = "no result of a fit"
    try:
        if type(result).__name__ in _RESULTS:
            found = [misfit(data) for data in _model_data(result)]
            fits = result.fits.values() if hasattr(result, "fits") else (result,)
            found += [
                limit_misfit(each) if hasattr(each, "recession") else fit_misfit(each.fit, each.data) for each in fits
            ]
            reason = next((each for each in found if each is not None), None)
            if reason is None:
                str(result)
    except Exception as problem:  # whatever a file may lead to is the file's fault
        reason = f"{type(problem).__name__}: {problem}"
    if reason is not None:
        raise FileError(
            f"{source}, whose parts do not belong together: {reason}",
            "a file as fit.save(path) wrote it",
            "fit and save again",
        )


def _modules() -> dict[str, str]:
    """The modules of the classes that a file may hold, by the classes' names."""
    registered = {
        type(each).__name__: type(each).__module__
        for each in (*RESPONSES.values(), *WITH_OWN.values(), *CONTINUOUS.values(), *DISTRIBUTIONS.values())
    }
    return registered | {name: f"clusterglm.{module}" for module, names in STORED.items() for name in names}


def _size(result: Any) -> int:
    """Most elements that an array of the result may have."""
    sizes = [data.X.size + len(data.labels) for data in _model_data(result) if not isinstance(data, StreamedData)]
    return 10_000_000 + 10 * sum(sizes)


def _digest(tree: Any) -> str:
    """Tells a changed content from the one that was written."""
    text = json.dumps(tree, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _version() -> str:
    from importlib.metadata import version

    return version("clusterglm")


def _is_packed(path: str | Path) -> bool:
    return str(path).endswith(".gz")


def _source(path: str | Path) -> str:
    return f"the file {str(path)!r}"


def _read(path: str | Path) -> tuple[dict[str, Any], int]:
    """What the file holds as JSON, and how many characters it has."""
    try:
        raw = Path(path).read_bytes()
    except (OSError, ValueError, TypeError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise (MissingFileError if isinstance(problem, FileNotFoundError) else FileError)(
            f"{_source(path)}, which cannot be read: {reason}", "a file written by fit.save(path)", "check the path"
        ) from None
    try:
        # by content: a file may have been unpacked, or renamed
        text = _unpacked(raw) if raw[:2] == b"\x1f\x8b" else raw
        content = json.loads(text)
    except (ValueError, OSError, EOFError, zlib.error, RecursionError, MemoryError) as problem:
        raise FileError(
            f"{_source(path)}, which is not complete JSON: {problem}",
            "a file written by fit.save(path)",
            "save the result again",
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileError(
            f"{_source(path)}, which is JSON but no stored result",
            f'a file written by fit.save(path), with "format": "{FORMAT}"',
            "check the path",
        )
    version = content.get("format_version")
    if version not in (1, FORMAT_VERSION) or isinstance(version, bool):
        raise FileError(
            f"{_source(path)} in format {version}, written by clusterglm {content.get('clusterglm')}",
            f"format 1 or {FORMAT_VERSION}, which clusterglm {_version()} reads",
            f"pip install clusterglm=={content.get('clusterglm')} to read it, or fit and save again",
        )
    return content, len(text)


def _unpacked(raw: bytes) -> bytes:
    """The text of a packed file; a small file that unpacks to gigabytes is refused."""
    limit = max(100_000_000, 500 * len(raw))
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
        text = stream.read(limit + 1)
    if len(text) > limit:
        raise ValueError(f"{len(raw):,} packed bytes are more than {limit:,} unpacked")
    return text


# The design ----------------------------------------------------------------------------------------------------------


def _model_data(result: Any) -> list[ModelData]:
    """The data of each fit, once."""
    fits = list(result.fits.values()) if hasattr(result, "fits") else [result]
    fits += [each.rest for each in fits if getattr(each, "rest", None) is not None]
    return list({id(fit.data): fit.data for fit in fits}.values())


def _verify(data: ModelData, again: ModelData) -> None:
    """Refuse designs that would not come back as they are.

    They are judged by their states, and by some rows where the columns tell the variables.
    """
    modules, rebuilt = _modules(), again.design
    pairs = [
        (data.design, rebuilt),
        *([] if isinstance(data, StreamedData) else [(data.by_threshold, again.by_threshold)]),
    ]
    same = all(Writer(modules).plain(one) == Writer(modules).plain(other) for one, other in pairs)
    if not same or (_gives_rows(data, data.design) and not _gives_rows(data, rebuilt)):
        raise StorageError(
            f"the design of {data.formula!r}, which a file would not give back as it is",
            "terms that columns and learned numbers give",
            "compute the odd terms as columns of the data first, and fit with these",
        )


def _gives_rows(data: ModelData, design: Design) -> bool:
    """Whether the variables can be read off some fitted rows, and the design makes these rows of them."""
    from clusterglm.inference.diagnostics.design_changes import recovered_frame

    if isinstance(data, StreamedData):
        return False
    some = np.ascontiguousarray(data.X[:: len(data.X) // _ROWS_CHECKED + 1])
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
