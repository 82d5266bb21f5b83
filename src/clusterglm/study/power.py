"""Power and sample size by simulation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.api.assumed import assumed, spelled, unknown_coefficient
from clusterglm.data.planned import StudyDesign, is_planned
from clusterglm.data.prepare import ModelData
from clusterglm.errors import ClusterGLMError, OptionError, StudyError, check_option
from clusterglm.inference.hypotheses.power import contained_dof
from clusterglm.inference.hypotheses.wald import read_hypotheses, symbols_of
from clusterglm.inference.uncertainty.replicates import ReplicateError
from clusterglm.model.arguments import number, several, shown, whole_number
from clusterglm.model.distribution import Distribution
from clusterglm.model.workers import Progress, reporting
from clusterglm.results.models.several import is_result
from clusterglm.results.tables.power import Power
from clusterglm.results.topics.testing import formula_terms
from clusterglm.study.design import Study
from clusterglm.study.power_replicates import METHODS, Hypothesis, Replicate, fitted
from clusterglm.study.power_sources import Source, from_fit, from_values
from clusterglm.study.runner import description, run_study, unfinished

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

_DATA_SETS_A_TIME = 50  # data sets written at a time
_LARGEST_SEED = 2**63 - 1  # that a file holds
_ASSUMED = ("sigma", "correlation", "covariance", "family_parameters")


def power(
    model: Any,
    test: str | Sequence[str],
    *,
    effect: Any = None,
    multiple: Any = None,
    clusters: Any = None,
    size: Any = None,
    replicates: int = 1000,
    alpha: float = 0.05,
    method: str = "wald",
    cov: str = "observed",
    design: Any = None,
    params: Any = None,
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
    functions: Any = None,
    quadrature: Any = "auto",
    reml: bool = False,
    seed: int | None = None,
    workers: int = 1,
    client: Client | None = None,
    store: str | Path | None = None,
    progress: Progress = None,
) -> Power:
    """Power of tests, by simulation: for numbers and sizes of clusters, and for effects.

    Parameters
    ----------
    model : Result or str
        A fit, whose estimates are taken for the truth; or a formula, with `design` and the values of its parameters as
        `cg.simulate` takes them.
    test : str or sequence of str
        What is tested: a coefficient, a term ("trt"), or equations, as of `fit.wald_test`; several are tested in the
        same data sets.
    effect : float, sequence, or mapping of one name to these; optional
        Values of the tested coefficient, or of the one that is named, in place of its own. At 0 the table has the type
        I error.
    multiple : float or sequence, optional
        Factors of the tested coefficients.
    clusters, size : int or sequence of int, optional
        Numbers of clusters, and of rows in each; by default those of the fit or of the design. A `StudyDesign` is
        planned anew for each. Of a fit, or a table, clusters are taken as they are, all equally often but for one, and
        every k-th of a further part, which is drawn anew for every data set; rows in clusters likewise.
    replicates : int
        Data sets for each combination.
    alpha : float
        Significance level.
    method : {"wald", "t", "lr"}
        Wald tests by normal and chi-square distributions; by t and F distributions with degrees of freedom by
        containment (for one grouping factor, best with `reml=True`); likelihood-ratio tests of coefficients that are 0.
    cov : {"observed", "robust"}
        Covariance of Wald tests.
    design, params, sigma, correlation, covariance, cluster, family, link, distribution, family_parameters, levels, \
trials, offset, exposure, functions
        As of `cg.simulate`, for a formula.
    quadrature, reml
        As of `cg.random_effects`, for a formula.
    seed : int, optional
        The same seed gives the same numbers for any number of workers; by default fresh, and reported.
    workers : int
        Processes. A script that asks for several does so below `if __name__ == "__main__":`.
    client : distributed.Client, optional
        Run on the workers of a Dask cluster instead.
    store : str or Path, optional
        A Parquet file for all p-values. An interrupted call goes on where it was when it is made again, and a finished
        one is read.
    progress : bool or callable, optional
        True for a bar; or a function of the data sets done and wanted.

    Returns
    -------
    Power
        Prints as a table; `to_frame()`, `needed(power=0.8)`, `detectable(0.8)`, `failures`, `cg.plot.power`. After
        Ctrl-C, of what was done.

    Raises
    ------
    ClusterGLMError
        A subclass says which argument cannot be used, and what to try.

    Notes
    -----
    A data set whose fit fails, by separation or otherwise, is counted: it is no rejection in `power`, and one in
    `power_most`.

    Examples
    --------
    >>> import clusterglm as cg
    >>> found = cg.power(
    ...     "y ~ trt + (1 | id)", "trt", clusters=[20, 60], replicates=50, seed=1,
    ...     design=cg.design(20, 10, between={"trt": ["placebo", "drug"]}), params=[0.0, 1.0], sigma=0.5,
    ... )
    >>> found.to_frame()["power"].round(1).to_list()
    [0.8, 1.0]
    """
    check_option("method", method, METHODS)
    number("alpha", alpha, 1e-4, 0.5, advice="alpha=0.05")
    whole_number("replicates", replicates, 1, 10**7)
    whole_number("workers", workers, 1, 1024)
    known = _seed(seed)
    asked = {
        "clusters": _numbers("clusters", clusters, least=2),
        "size": _numbers("size", size, least=1),
        **_effects(effect, multiple),
    }
    factors: dict[str, Sequence[Any]] = {name: levels for name, levels in asked.items() if levels is not None}
    values = {
        "sigma": sigma, "correlation": correlation, "covariance": covariance, "cluster": cluster, "family": family,
        "link": link, "distribution": distribution, "family_parameters": family_parameters, "levels": levels,
        "trials": trials, "offset": offset, "exposure": exposure, "functions": functions,
    }  # fmt: skip
    source: Source
    if is_result(model):
        _refuse_values(design, params, {name: values[name] for name in _ASSUMED})
        source = from_fit(model)
    else:
        rule = {"quadrature": quadrature, "reml": reml}
        source = _from_formula(model, design, params, values, rule, factors, known)
    hypotheses = tuple(_hypothesis(each, source.fit) for each in _texts(test))
    replicate = Replicate(source, hypotheses, method, cov, _varied(effect, factors, hypotheses, source.fit))
    _check(replicate, factors, reml=bool(getattr(source.fit, "reml", False)))
    study = Study("power", factors, replicate, _version(replicate, hypotheses))
    frame, interrupted = _run(study, replicates, known, workers, client, store, progress)
    names = tuple(each.name for each in hypotheses)
    return Power(
        _completed(frame, factors), tuple(factors), names, alpha, method, known, replicates, source.words, interrupted
    )


def _seed(seed: Any) -> int:
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(16))
    return whole_number("seed", seed, 0, _LARGEST_SEED, advice="seed=1")


def _numbers(argument: str, given: Any, *, least: int) -> list[int] | None:
    """One whole number, or several."""
    if given is None:
        return None
    listed = (
        [given] if np.ndim(given) == 0 else several(argument, given, "whole numbers", f"{argument}=[10, 20]", least=1)
    )
    return [whole_number(argument, each, least, 10**7) for each in dict.fromkeys(listed)]


def _effects(effect: Any, multiple: Any) -> dict[str, list[float] | None]:
    if effect is not None and multiple is not None:
        raise OptionError("effect= and multiple=", "one of the two", "multiple=[0.5, 1.0, 1.5]")
    name, given = ("multiple", multiple) if effect is None else ("effect", effect)
    if isinstance(given, Mapping):
        if len(given) != 1:
            raise OptionError(f"{name}={shown(given)}", "one coefficient with its values", "effect={'x': [0.2, 0.4]}")
        (given,) = given.values()
    if given is None:
        return {}
    listed = [given] if np.ndim(given) == 0 else several(name, given, "numbers", f"{name}=[0.5, 1.0]", least=1)
    return {name: [number(name, each, -1e6, 1e6) for each in dict.fromkeys(listed)]}


def _texts(test: Any) -> list[str]:
    listed = (
        [test]
        if isinstance(test, str)
        else several("test", test, "a coefficient, a term or equations", "test='x'", least=1)
    )
    bad = [each for each in listed if not isinstance(each, str)]
    if bad or len(set(listed)) < len(listed):
        raise OptionError(f"test={shown(test)}", "different hypotheses as text", "test=['trt', 'week']")
    return listed


def _hypothesis(text: str, fit: Any) -> Hypothesis:
    rows: ModelData = fit.data.rows
    name = spelled(rows, text)
    terms = {term: which for term, which in formula_terms(fit.data).items() if term != "1"}
    symbols = symbols_of(rows.names, rows.design.aliases, terms)
    read = f"`{name}`" if name is not None else text
    found = read_hypotheses(read, None, rows.names, symbols)
    single = (found.R != 0.0).sum(axis=1) == 1
    columns = np.flatnonzero((found.R != 0.0).any(axis=0)).tolist() if single.all() and not found.r.any() else []
    return Hypothesis(text, found, tuple(columns))


def _varied(effect: Any, factors: Mapping[str, Any], hypotheses: Sequence[Hypothesis], fit: Any) -> tuple[int, ...]:
    """Coefficients that effects replace or multiply."""
    if "effect" not in factors and "multiple" not in factors:
        return ()
    names = list(fit.data.names)
    if isinstance(effect, Mapping):
        (given,) = effect
        name = spelled(fit.data.rows, given) if isinstance(given, str) else None
        if name is None:
            raise unknown_coefficient(fit.data.rows, given, "effect=")
        return (names.index(name),)
    columns = sorted(
        {j for each in hypotheses for j in np.flatnonzero((each.constraints.R != 0.0).any(axis=0)).tolist()}
    )
    if "effect" in factors and len(columns) != 1:
        raise OptionError(
            f"effect={shown(effect)} of {len(columns)} coefficients: {', '.join(names[j] for j in columns)}",
            "one of them by name, or multiples of all",
            f"effect={{{names[columns[-1]]!r}: ...}}, or multiple=[0.5, 1.0]",
        )
    return tuple(columns)


def _refuse_values(design: Any, params: Any, values: Mapping[str, Any]) -> None:
    given = {"design": design, "params": params, **values}
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        raise OptionError(
            f"{wrong[0]}= beside a fit, which has its own",
            "a fit alone, with clusters=, size=, effect= or multiple=",
            "a formula in place of the fit, with design=, params= and the other values",
        )


def _from_formula(
    formula: Any, design: Any, params: Any, values: Mapping[str, Any], rule: Mapping[str, Any],
    factors: Mapping[str, Any], seed: int,
) -> Source:  # fmt: skip
    if not isinstance(formula, str):
        raise OptionError(f"power({shown(formula)}, ...)", "a fit, or a formula", "cg.power('y ~ trt + (1 | id)', ...)")
    if design is None:
        raise OptionError(
            "power of a formula without design=", "rows with covariates and clusters", "design=cg.design(40, 10, ...)"
        )
    if is_planned(design):
        planned: StudyDesign = design
        for pair in itertools.product(factors.get("clusters", [None]), factors.get("size", [None])):
            planned.resized(*pair)
        design = planned.resized(
            max(factors.get("clusters", [planned.clusters])), max(factors.get("size", [planned.size]))
        )
    root = np.random.SeedSequence(seed, spawn_key=(2**31,))  # no cell has this number
    model, _, rows = assumed(formula, design, params, **values, rng=np.random.default_rng(root))
    return from_values(model, design, rows, root, rule)


def _check(replicate: Replicate, factors: Mapping[str, Any], *, reml: bool) -> None:
    """Refuse what no data set could answer.

    Raises
    ------
    OptionError
    """
    fit = replicate.source.fit
    check_option("cov", replicate.cov, fit._covariances)
    if replicate.method == "t":
        contained_dof(fit.data.rows)
    if replicate.method == "lr":
        other = [each.name for each in replicate.hypotheses if not each.columns]
        if other or reml or replicate.cov != "observed":
            what = (
                "restricted likelihoods"
                if reml
                else f"the hypothesis {other[0]!r}"
                if other
                else f"cov={replicate.cov!r}"
            )
            raise OptionError(
                f"method='lr' with {what}", "coefficients that are 0, likelihoods of all the data", "method='wald'"
            )
    if "clusters" in factors and fit.data.rows.cluster_name is None:
        raise OptionError("clusters= of a model without clusters", "clusters", "cluster= in the fit; or size=")
    try:
        fitted(fit, fit.data.rows)
    except OptionError:
        raise
    except (ClusterGLMError, ReplicateError, ArithmeticError):
        pass  # data sets may fail


def _version(replicate: Replicate, hypotheses: Sequence[Hypothesis]) -> str:
    words = [(each.constraints.words, each.name) for each in hypotheses]
    fit = replicate.source.fit
    rule = getattr(getattr(fit.fit, "integration", None), "requested", None)
    how = (rule, getattr(fit.fit, "reml", False), fit.penalty)
    parts = (words, replicate.method, replicate.cov, replicate.varied, how)
    return f"{replicate.source.digest()} {parts!r}"


@contextmanager
def _place(store: str | Path | None) -> Iterator[Path]:
    """Where p-values are kept while they come, and afterwards if they are to stay."""
    if store is not None:
        path = Path(store)
        if path.suffix != ".parquet":
            raise OptionError(f"store={str(store)!r}", "a name that ends in .parquet", f"store='{path.stem}.parquet'")
        yield path
        return
    with TemporaryDirectory(prefix="clusterglm-") as folder:
        yield Path(folder) / "power.parquet"


def _run(
    study: Study, replicates: int, seed: int, workers: int, client: Client | None, store: str | Path | None,
    progress: Progress,
) -> tuple[pd.DataFrame, bool]:  # fmt: skip
    """All rows, and whether some are missing because the user stopped it."""
    import pandas as pd

    total = replicates * len(study.cells)
    with _place(store) as path, reporting(progress, total, "data sets") as report:
        if path.exists():
            _refuse_other(path, study, replicates, seed)
            report(total)
            return pd.read_parquet(path), False
        try:
            run_study(
                study, replicates, path, seed=seed, workers=workers, client=client, batch=_DATA_SETS_A_TIME,
                progress=lambda at: report(at.done),
            )  # fmt: skip
        except KeyboardInterrupt:
            found = unfinished(path)
            if found is None:
                raise
            return found.to_pandas(), True
        return pd.read_parquet(path), False


def _refuse_other(path: Path, study: Study, replicates: int, seed: int) -> None:
    """Raise `StudyError` unless a finished file is of the same simulation."""
    found = description(path)
    asked = {"study": study.name, "study_version": study.version, "replicates": replicates, "seed": seed}
    asked["factors"] = {name: list(levels) for name, levels in study.factors.items()}
    other = [name for name, value in asked.items() if found.get(name) != value]
    if other:
        words = {"study_version": "model or test", "factors": "numbers or effects"}
        raise StudyError(
            f"{path} holds a simulation with another {', '.join(words.get(name, name) for name in other)}",
            "the same call, to read it",
            "another file",
        )


def _completed(frame: pd.DataFrame, factors: Mapping[str, Any]) -> pd.DataFrame:
    columns = [*factors, "replicate", "test", "pvalue", "estimate", "null", "failure"]
    found = frame[columns].copy()
    found[["pvalue", "estimate"]] = found[["pvalue", "estimate"]].astype(float)
    return found
