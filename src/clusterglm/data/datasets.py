"""Small real clustered data sets, bundled as facts for examples and tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clusterglm.errors import check_option

if TYPE_CHECKING:
    import pandas as pd

_FOLDER = Path(__file__).parent / "datasets"


@dataclass(frozen=True)
class Description:
    """What a data set is and where it comes from.

    Parameters
    ----------
    name, title, source : str
    rows, clusters : int
    cluster, formula, family : str
        Cluster column and a model that suits it.
    cluster_weights : str or None
        Column that says how many clusters a cluster stands for.
    model : str
        Name of the verb.
    """

    name: str
    title: str
    source: str
    rows: int
    clusters: int
    cluster: str
    formula: str
    family: str
    cluster_weights: str | None = None
    model: str = "random_effects"


_DESCRIPTIONS = {
    d.name: d
    for d in (
        Description(
            "bacteria",
            "Presence of H. influenzae in children with otitis media, by visit and treatment",
            "Menzies School of Health Research, Darwin; as in R's package MASS (Venables and Ripley 2002)",
            220,
            50,
            "ID",
            "y ~ trt + I(week > 2)",
            "binomial",
        ),
        Description(
            "catheter",
            "Days to infection at the point of insertion of a catheter, twice in each kidney patient",
            "McGilchrist and Aisbett (Biometrics 47, 1991); as in R's package survival",
            76,
            38,
            "patient",
            "Surv(time, infected) ~ age + sex",
            "weibull",
        ),
        Description(
            "cbpp",
            "New cases of contagious bovine pleuropneumonia in herds of zebu cattle, by period",
            "Lesnoff et al. (2004), Preventive Veterinary Medicine 64; as in R's package lme4",
            56,
            15,
            "herd",
            "cbind(incidence, size - incidence) ~ period",
            "binomial",
        ),
        Description(
            "contraception",
            "Whether women in Bangladesh, 1988, used contraception, by district, urban or rural",
            "Bangladesh Fertility Survey (Huq and Cleland 1990); as Contraception in R's package mlmRev",
            1934,
            60,
            "district",
            "use ~ urban + age + livch",
            "binomial",
        ),
        Description(
            "epil",
            "Seizure counts of epileptics in four two-week periods, placebo or progabide",
            "Thall and Vail (1990), Biometrics 46; as in R's package MASS (Venables and Ripley 2002)",
            236,
            59,
            "subject",
            "y ~ lbase * trt + lage + V4",
            "poisson",
        ),
        Description(
            "geissler",
            "Boys and girls in 991,958 families of Saxony, 1876 to 1885; a row for each number of boys and of girls",
            "Geissler (1889), as tabulated by Edwards (1958), Annals of Human Genetics 23; as in R's package vcdExtra",
            90,
            90,
            "composition",
            "cbind(boys, girls) ~ 1",
            "binomial",
            "families",
        ),
        Description(
            "guatemala",
            "Whether children in Guatemala, 1987, had all their immunizations; siblings by mother, and their community",
            "National Survey of Maternal and Child Health; Rodríguez and Goldman (2001), Journal of the Royal "
            "Statistical Society A 164; as guImmun in R's package mlmRev",
            2159,
            1595,
            "mom",
            "immun ~ kid2p + ethn + momEd + rural + pcInd81",
            "binomial",
        ),
        Description(
            "infert",
            "Infertility after spontaneous and induced abortion: 83 cases, each matched to one or two controls",
            "Trichopoulos et al. (1976), British Journal of Obstetrics and Gynaecology 83; as in R's datasets",
            248,
            83,
            "stratum",
            "case ~ spontaneous + induced",
            "binomial",
            model="conditional",
        ),
        Description(
            "toenail",
            "Onycholysis at seven visits in a trial of two drugs against infections of toenails",
            "De Backer et al. (1998), Journal of the American Academy of Dermatology 38; as in R's package HSAUR3",
            1908,
            294,
            "patientID",
            "outcome ~ treatment * time",
            "binomial",
        ),
        Description(
            "wine",
            "Bitterness of wines from 1 to 5 by nine judges; grapes pressed cold or warm, with or without skins",
            "Randall (1989), Biometrics 45; as in R's package ordinal",
            72,
            9,
            "judge",
            "rating ~ temp + contact",
            "ordinal",
        ),
        Description(
            "salamanders",
            "Counts of salamanders at 23 sites in streams, some below mountaintop mines, by species and life stage",
            "Price, Muncy, Bonner, Drayer and Barton (2016), Journal of Applied Ecology 53; as in R's package glmmTMB",
            644,
            23,
            "site",
            "count ~ mined + spp",
            "negative_binomial",
        ),
        Description(
            "verbagg",
            "Whether 100 persons would curse, scold or shout in 24 situations: verbal aggression, person by item",
            "Vansteelandt (2000), De Boeck and Wilson (2004); the first 100 persons of VerbAgg in R's package lme4",
            2400,
            100,
            "id",
            "y ~ btype + situ + mode",
            "binomial",
        ),
    )
}


def names() -> tuple[str, ...]:
    """Names of the bundled data sets."""
    return tuple(_DESCRIPTIONS)


def describe(name: str) -> Description:
    """What the data set `name` is.

    Raises
    ------
    OptionError
        When there is none of that name.
    """
    return _DESCRIPTIONS[check_option("name", name, names())]


def path(name: str) -> Path:
    """CSV file of the data set `name`."""
    return _FOLDER / f"{describe(name).name}.csv"


def load(name: str) -> pd.DataFrame:
    """The data set `name` as a pandas data frame; columns of text are categories with the reference level first.

    Examples
    --------
    >>> import clusterglm as cg
    >>> cg.datasets.load("epil").shape
    (236, 9)
    """
    import pandas as pd

    frame = pd.read_csv(path(name))
    if name in ("bacteria", "epil"):
        frame["trt"] = pd.Categorical(frame["trt"], ["placebo", *sorted(set(frame["trt"]) - {"placebo"})])
    if name == "toenail":
        frame["outcome"] = pd.Categorical(frame["outcome"], ["none or mild", "moderate or severe"])
    if name == "wine":
        frame["rating"] = pd.Categorical(frame["rating"], ordered=True)
    if name == "cbpp":
        frame["period"] = pd.Categorical(frame["period"].astype(str))
        frame["herd"] = frame["herd"].astype(str)
    return frame
