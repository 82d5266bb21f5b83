"""Arguments and options that several commands share, and what a shell completes for them.

Completion runs at every press of a key, so that most of what it offers stands here as text; tests hold it to the
library. Families and links are asked of their registry, which is all that is imported for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

MODELS = ("random_effects", "nonparametric", "fixed_effects", "conditional", "pooled")
FAMILY = "binomial"  # where none is named
DISTRIBUTIONS = (
    "gaussian", "logistic", "cauchy", "laplace", "bridge", "log_gamma", "t(4)", "student_t", "gaussian_mixture",
    "smooth",
)  # fmt: skip
COVARIANCES = ("observed", "robust", "CR0", "CR1", "CR2", "CR3", "quasi", "kenward_roger")
DEGREES = ("satterthwaite", "kenward_roger")
PENALTIES = ("firth", "soft")
SEPARATIONS = ("error", "limit")


def one_of(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Completes to one of some words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def families(incomplete: str) -> list[str]:
    """Names of families."""
    from clusterglm.model.family import all_families

    return one_of(all_families())(incomplete)


def links(incomplete: str) -> list[str]:
    """Names of links, whatever the family."""
    from clusterglm.model.family import RESPONSES

    return one_of(dict.fromkeys(each.link for each in RESPONSES.values()))(incomplete)


def columns_in(cluster: str | None) -> str | list[str] | None:
    """The column, or the columns between commas."""
    return cluster if cluster is None or "," not in cluster else [each.strip() for each in cluster.split(",")]


def data_sets(incomplete: str) -> list[str]:
    """Names of the bundled data sets."""
    from clusterglm.data.datasets import names

    return one_of(names())(incomplete)


Data: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="A CSV, TSV or Parquet file, - for CSV from standard input, or the name of a bundled data set "
        "(`clusterglm datasets`).",
        autocompletion=data_sets,
    ),
]
Formula: TypeAlias = Annotated[
    str, typer.Argument(help='For instance "y ~ x + C(group)" or "cbind(ill, well) ~ period".')
]
Fit: TypeAlias = Annotated[Path, typer.Argument(help="A file that `clusterglm fit ... --save FILE` wrote.")]
Cluster: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Column of cluster labels; of fixed effects also two, as person,year, with effects of each."),
]
Family: TypeAlias = Annotated[
    str,
    typer.Option(
        help="binomial, poisson or truncated_poisson; of fit with random effects or pooled also negative_binomial, "
        "negative_binomial1, truncated_negative_binomial, beta_binomial, ordinal, gaussian, gamma, weibull and "
        "exponential.",
        autocompletion=families,
    ),
]
Link: TypeAlias = Annotated[
    str | None, typer.Option(help="logit, cloglog, probit; log for poisson.", autocompletion=links)
]
Distribution: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help='Of the random intercept: gaussian, logistic, cauchy, laplace, bridge, log_gamma, "t(4)"; '
        "student_t, gaussian_mixture or smooth to estimate the shape.",
        show_default="gaussian",
        autocompletion=one_of(DISTRIBUTIONS),
    ),
]
Quadrature: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="auto, laplace, a number of nodes; or penalised quasi-likelihood, pql or pql-ml.",
        show_default="auto",
        autocompletion=one_of(("auto", "laplace", "pql", "pql-ml")),
    ),
]
Weights: TypeAlias = Annotated[str | None, typer.Option(help="Column of case weights.")]
ClusterWeights: TypeAlias = Annotated[str | None, typer.Option(help="Column of cluster weights.")]
Offset: TypeAlias = Annotated[str | None, typer.Option(help="Column added to the linear predictor.")]
Exposure: TypeAlias = Annotated[str | None, typer.Option(help="Column whose logarithm is the offset.")]
Success: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Level of a two-level response that is the success.", show_default="the second in their order"),
]
Levels: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Categories of an ordinal response from the lowest to the highest, with commas between.",
        show_default="whole numbers as they are",
    ),
]
Subset: TypeAlias = Annotated[
    str | None, typer.Option(help='Rows to use: a column of truth values, or a condition such as "week > 2".')
]
Robust: TypeAlias = Annotated[
    bool, typer.Option("--robust", help="Print robust standard errors too, which hold for misspecified models.")
]
Coverage: TypeAlias = Annotated[
    float | None, typer.Option("--level", help="Coverage of intervals, such as 0.95.", show_default="0.95")
]
Cov: TypeAlias = Annotated[
    str,
    typer.Option(
        help="Of the estimates: observed, robust, CR2 and the like (pooled models of few clusters), or quasi "
        "(conditional models of counts).",
        autocompletion=one_of(COVARIANCES),
    ),
]
Degrees: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--df",
        help="t in the place of z: satterthwaite (linear models; pooled ones with --cov CR2), or kenward_roger (linear "
        "mixed models by REML).",
        show_default="z",
        autocompletion=one_of(DEGREES),
    ),
]
Sep: TypeAlias = Annotated[
    str | None,
    typer.Option("--sep", help="What separates columns of CSV; \\t for tabs.", show_default="found in the file"),
]
Decimal: TypeAlias = Annotated[
    str | None, typer.Option("--decimal", help="Decimal sign of CSV: . or ,", show_default="found in the file")
]
Encoding: TypeAlias = Annotated[
    str | None, typer.Option("--encoding", help="Of CSV, such as latin-1.", show_default="found in the file")
]
Threads: TypeAlias = Annotated[int, typer.Option(help="Threads; 0 for every core.")]
Seed: TypeAlias = Annotated[
    int | None, typer.Option(help="Of the random numbers; the same seed gives the same answer.", show_default="fresh")
]
Jobs: TypeAlias = Annotated[int, typer.Option(help="Threads for the replicates; -1 for every core.")]
Json: TypeAlias = Annotated[
    Path | None, typer.Option(help="Write the answer to this file as JSON; - prints it in place of the text.")
]
Table: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Write the table to this file, .csv or .parquet.", show_default="printed, as CSV"),
]
Answer: TypeAlias = Annotated[
    Path | None,
    typer.Option("--out", help="Write the table to this file, .csv or .parquet.", show_default="printed, rounded"),
]


def listed(text: str | None) -> list[str] | None:
    """The parts of an option with commas between."""
    return None if text is None else [each.strip() for each in text.split(",")]
