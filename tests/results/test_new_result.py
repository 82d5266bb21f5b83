"""A kind of result of which nothing else in the package has heard: what it says is shown, the rest refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.data.prepare import ModelData
from clusterglm.errors import OptionError
from clusterglm.fit.newton import Optimization
from clusterglm.inference.uncertainty.peaks import Summit, pooled_summit
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response
from clusterglm.results.models.base import Result
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.tables.export import as_dict
from clusterglm.results.tables.table import Summary
from clusterglm.results.topics.caveats import caveats
from clusterglm.results.topics.prediction import Wanted


@dataclass(frozen=True, repr=False, eq=False)
class Guessed(Result):
    """Estimates of a pooled model that claim to be of another one, and say no more than they must."""

    pooled: PooledResult
    data: ModelData

    kind: ClassVar[str] = "guessed"

    @property
    def response(self) -> Response:
        return self.pooled.response

    @property
    def loglik(self) -> float:
        return self.pooled.loglik

    @property
    def optimization(self) -> Optimization:
        return self.pooled.optimization

    @property
    def n_parameters(self) -> int:
        return len(self._beta)

    @property
    def _beta(self) -> Array:
        return self.pooled.fit.beta

    @property
    def _intercepts_in_words(self) -> str:
        return "guessed"

    def _covariance(self, kind: str) -> Array:
        return self.pooled._covariance(kind)

    def _summit(self, threads: int) -> Summit:
        return pooled_summit(self.data, self.response, self._beta, threads, None)

    def _draw_new(self, rng: np.random.Generator) -> Array:
        return self._draw(self._eta(0.0), rng)

    def _reestimate(self, new: ModelData) -> Array:
        return self._beta

    def _intercepts(self) -> Array:
        return np.zeros(self.data.n_clusters)

    def predict(self, data: Any = None, *, scale: str = "response", level: float | None = None) -> Any:
        return self._predicted(data, "typical", scale, Wanted(level, "observed"))

    def _summary(self) -> Summary:
        return Summary("Guesses", (("Formula", self.formula),), self._coefficients(), (), ())


@pytest.fixture(scope="module")
def bacteria() -> pd.DataFrame:
    return cg.datasets.load("bacteria")


@pytest.fixture(scope="module")
def fit(bacteria: pd.DataFrame) -> Guessed:
    pooled = cg.pooled("y ~ week", bacteria, cluster="ID")
    return Guessed(pooled, pooled.data)


def test_coefficients_and_all_that_follows(fit: Guessed) -> None:
    assert (fit.tidy().estimate == fit.pooled.tidy().estimate).all()
    assert fit.conf_int(method="profile").equals(fit.pooled.conf_int(method="profile"))
    assert fit.wald_test("week").pvalue == fit.pooled.wald_test("week").pvalue
    assert fit.ratios().equals(fit.pooled.ratios())
    assert as_dict(fit)["model"]["kind"] == "guessed"
    assert {caveat.title for caveat in caveats(fit)} <= {"Robust standard errors differ"}


def test_no_likelihood_ratio_is_tested_unless_it_says_so(fit: Guessed, bacteria: pd.DataFrame) -> None:
    for other in (
        cg.pooled("y ~ 1", bacteria, cluster="ID"),
        cg.random_effects("y ~ week", bacteria, cluster="ID"),
        cg.conditional("y ~ week", bacteria, cluster="ID"),
    ):
        found = cg.compare(other, fit)
        assert np.isnan(found.tests[0].pvalue)
        assert found.to_frame().model.iloc[1] == "guessed, logit"


def test_beside_others_for_papers(fit: Guessed) -> None:
    lines = str(cg.table([fit.pooled, fit])).splitlines()
    assert next(line for line in lines if line.startswith("Intercepts of clusters")).split()[-2:] == ["–", "guessed"]


def test_pictures_of_what_it_has_and_refusals_of_the_rest(fit: Guessed, bacteria: pd.DataFrame) -> None:
    assert len(fit.plot.coefficients().data) == 1
    assert fit.plot.profile().data.value.notna().all()
    for plot in (
        fit.plot.caterpillar,
        fit.plot.rootogram,
        fit.plot.integration,
        fit.plot.gradient,
        fit.plot.qq,
        fit.plot.calibration,
        lambda: fit.plot.bootstrap(n_boot=3),
        lambda: fit.plot.survival(bacteria, "week"),
        lambda: fit.plot.predictions(clusters=2),
        fit.plot.predictions,
    ):
        with pytest.raises(OptionError, match=r"guessed fit|neither kinds="):
            plot()
    with pytest.raises(OptionError, match="Guessed"):
        cg.random_effects("y ~ week", bacteria, cluster="ID").hausman(fit)  # type: ignore[arg-type]


def test_a_report_has_the_parts_that_it_names(fit: Guessed, tmp_path: Path) -> None:
    page = fit.report(tmp_path / "fit.html", variables=[]).read_text(encoding="utf-8")
    assert "could not be made" not in page
    assert "Coefficients with Wald intervals" in page
    assert "Ratios hold within a cluster" in page
    assert "Differences between clusters" not in page
