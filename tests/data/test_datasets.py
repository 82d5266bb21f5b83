"""The bundled data sets are the facts they claim to be, and can be fitted as described."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from clusterglm.data import datasets
from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
from clusterglm.errors import OptionError
from clusterglm.model.family import response, with_own

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.mark.parametrize("name", datasets.names())
def test_descriptions(name: str) -> None:
    about, data = datasets.describe(name), datasets.load(name)
    assert (len(data), data[about.cluster].nunique()) == (about.rows, about.clusters)
    assert about.source
    assert datasets.path(name).is_file()
    for given in (data, datasets.path(name)):
        own = with_own(about.family)
        known = response(about.family) if own is None else own.reads
        built = prepare(about.formula, given, Request(known, cluster=about.cluster))
        assert (built.n_obs, built.n_clusters) == (about.rows, about.clusters)


@pytest.mark.parametrize(
    ("name", "golden"), [("bacteria", "bacteria"), ("cbpp", "cbpp_grouped"), ("epil", "epil"), ("infert", "infert")]
)
def test_the_same_facts_as_the_golden_files(
    name: str, golden: str, golden_frame: Callable[[str], pd.DataFrame]
) -> None:
    bundled, expected = datasets.load(name), golden_frame(golden).rename(columns={"pooled.stratum": "pooled_stratum"})
    assert set(bundled.columns) <= set(expected.columns)
    for column in bundled:
        assert bundled[column].astype(str).tolist() == expected[column].astype(str).tolist(), column


def test_published_totals_of_families() -> None:
    """What the sources print: Rodríguez and Goldman (2001), Geissler (1889) and his families of twelve."""
    children = datasets.load("guatemala")
    assert (len(children), children["mom"].nunique(), children["comm"].nunique()) == (2159, 1595, 161)
    assert children["ord"].unique().tolist() == ["01", "23", "46", "7p"]
    assert not children.isna().any().any()
    families = datasets.load("geissler")
    assert families["families"].sum() == 991_958
    twelve = families[families["boys"] + families["girls"] == 12].sort_values("boys")
    assert twelve["families"].tolist() == [3, 24, 104, 286, 670, 1033, 1343, 1112, 829, 478, 181, 45, 7]


@pytest.mark.parametrize(
    ("name", "response", "success"), [("toenail", "outcome", "moderate or severe"), ("contraception", "use", "Y")]
)
def test_the_facts_that_exact_maxima_were_computed_from(name: str, response: str, success: str) -> None:
    bundled, expected = datasets.load(name), pd.read_csv(GOLDEN / "data" / f"{name}.csv")
    assert (bundled[response] == success).astype(int).tolist() == expected["y"].tolist()
    for column in expected.columns.drop("y"):
        assert bundled[column].tolist() == expected[column].tolist(), column


def test_reference_levels_come_first() -> None:
    assert datasets.load("bacteria")["trt"].cat.categories.tolist() == ["placebo", "drug", "drug+"]
    assert datasets.load("epil")["trt"].cat.categories.tolist() == ["placebo", "progabide"]
    assert datasets.load("toenail")["outcome"].cat.categories.tolist() == ["none or mild", "moderate or severe"]


def test_unknown_name() -> None:
    with pytest.raises(OptionError, match="did you mean 'bacteria'"):
        datasets.load("bacterium")


def test_the_answers_are_those_of_the_golden_file() -> None:
    pd.testing.assert_frame_equal(datasets.load("verbagg"), pd.read_csv(GOLDEN / "data" / "verbagg100.csv"))
