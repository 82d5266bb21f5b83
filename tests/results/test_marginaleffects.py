"""The adapter of marginaleffects: against statsmodels' margins and our own average effects."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import statsmodels.formula.api as smf

import clusterglm as cg
from clusterglm.errors import DataError, OptionError
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(21)
    n, m = 240, 40
    d = pd.DataFrame(
        {
            "x": rng.uniform(0.5, 4.0, n),
            "z": rng.normal(size=n),
            "flag": rng.integers(0, 2, n),
            "g": rng.choice(["a", "b", "c"], n),
            "id": rng.permutation(np.arange(n) % m),
        }
    )
    eta = -1.0 + 0.6 * d.x - 0.5 * d.z + 0.7 * d.flag + 0.4 * (d.g == "b") + rng.normal(size=m)[d.id]
    d["y"] = rng.binomial(1, 1.0 / (1.0 + np.exp(-eta)))
    d["count"] = rng.poisson(np.exp(0.4 * eta))
    return d


@dataclass
class Vault:
    """The fields of marginaleffects' ModelVault that the adapter fills."""

    coef: Any = None
    coefnames: Any = None
    formula: Any = None
    modeldata: Any = None
    package: str = ""
    variable_names: list[str] = field(default_factory=list)


class Abstract:
    """Stands in for marginaleffects' ModelAbstract, as its public interface is."""

    def __init__(self, model: Any, vault: Vault) -> None:
        self.model, self.vault = model, vault

    def get_coef(self) -> np.ndarray:
        return self.vault.coef

    def get_modeldata(self) -> pl.DataFrame:
        return self.vault.modeldata


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """marginaleffects needs an older polars and JAX: its interface is stood in for, and its real self tried apart."""
    package, classes = ModuleType("marginaleffects"), ModuleType("marginaleffects.classes")
    classes.ModelAbstract, classes.ModelVault = Abstract, Vault  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "marginaleffects", package)
    monkeypatch.setitem(sys.modules, "marginaleffects.classes", classes)


def average_slope(model: Any, name: str) -> tuple[float, float]:
    """Estimate and standard error of an average slope, as marginaleffects goes about it."""
    rows, h, coef = model.get_modeldata(), 1e-4, np.array(model.get_coef())

    def average(params: np.ndarray) -> float:
        up, down = (model.get_exog(rows.with_columns(pl.col(name) + step)) for step in (h, -h))
        high, low = (model.get_predict(params, exog)["estimate"].to_numpy() for exog in (up, down))
        return float(np.mean(high - low) / (2.0 * h))

    unit = np.eye(len(coef)) * 1e-5
    g = np.array([(average(coef + e) - average(coef - e)) / 2e-5 for e in unit])
    return average(coef), float(np.sqrt(g @ model.get_vcov(True) @ g))


if find_spec("marginaleffects") is not None:

    @pytest.mark.filterwarnings("ignore:`cat.get_categories:DeprecationWarning")  # between polars and the package
    def test_the_package_itself(frame: pd.DataFrame) -> None:
        """Collected only where marginaleffects is installed, with a polars that it takes.

        Its standard errors come from forward differences: steps of 1e-5 leave about 1e-5 of error.
        """
        from marginaleffects import avg_predictions, avg_slopes

        fit = cg.pooled("y ~ x + z", frame)
        got = avg_slopes(fit.to_marginaleffects(frame), eps=1e-4, eps_vcov=1e-5).sort("term")
        want = smf.logit("y ~ x + z", frame).fit(disp=0).get_margeff().summary_frame()
        np.testing.assert_allclose(got["estimate"], want["dy/dx"], rtol=1e-6)
        np.testing.assert_allclose(got["std_error"], want["Std. Err."], rtol=1e-4)
        mixed = cg.random_effects("y ~ x*flag + I(x**2) + g + z", frame, cluster="id")
        for kind in ("marginal", "typical"):
            ours = mixed.average_effects(kind=kind).sort_values(["term", "contrast"])
            model = mixed.to_marginaleffects(kind=kind)
            got = avg_slopes(model, eps=1e-4, eps_vcov=1e-5).sort("term", "contrast")
            assert list(got["term"]) == list(ours.term)
            np.testing.assert_allclose(got["estimate"], ours.estimate, rtol=1e-6)
            np.testing.assert_allclose(got["std_error"], ours.std_error, rtol=1e-4)
            np.testing.assert_allclose(got["p_value"], ours.pvalue, rtol=1e-3)
            mean = avg_predictions(model)["estimate"].item()
            assert mean == pytest.approx(mixed.predict(kind=kind).mean(), rel=1e-9)


@pytest.mark.usefixtures("stand_in")
def test_adapter_gives_the_margins_of_statsmodels(frame: pd.DataFrame) -> None:
    fit = cg.pooled("y ~ x + z", frame)
    want = smf.logit("y ~ x + z", frame).fit(disp=0).get_margeff().summary_frame()
    ours = fit.average_effects()
    for data in (None, frame, pl.from_pandas(frame)):
        model = fit.to_marginaleffects(data)
        assert model.vault.variable_names == ["y", "x", "z"]
        assert list(model.vault.coefnames) == list(fit.params.index)
        for j, name in enumerate(("x", "z")):
            got = average_slope(model, name)
            assert got == pytest.approx((want["dy/dx"].iloc[j], want["Std. Err."].iloc[j]), rel=1e-6)
            assert got == pytest.approx((ours.estimate[j], ours.std_error[j]), rel=1e-6)
    assert model.get_vcov(False) is None
    with pytest.raises(OptionError, match="shape"):
        model.get_vcov(np.eye(2))
    with pytest.raises(OptionError, match="vcov="):
        model.get_vcov("HC3")


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("kind", ["marginal", "typical"])
def test_adapter_of_random_effects(frame: pd.DataFrame, kind: str) -> None:
    fit = cg.random_effects("y ~ x*flag + g", frame, cluster="id")
    model = fit.to_marginaleffects(kind=kind)
    assert ("sigma" in model.vault.coefnames) == (kind == "marginal")
    ours = fit.average_effects("x", kind=kind)
    assert average_slope(model, "x") == pytest.approx((ours.estimate[0], ours.std_error[0]), rel=1e-5)
    found = model.get_predict(model.get_coef(), model.get_modeldata())
    assert found.columns == ["rowid", "estimate"]
    want = fit.predict(kind=kind).to_numpy()
    np.testing.assert_allclose(np.sort(found["estimate"].to_numpy()), np.sort(want), rtol=1e-9)


@pytest.mark.usefixtures("stand_in")
def test_adapter_with_an_offset(counts: RandomEffectsResult, epil: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="offset"):
        counts.to_marginaleffects()
    model = counts.to_marginaleffects(epil)
    found = model.get_predict(model.get_coef(), model.get_exog(model.get_modeldata()))["estimate"].to_numpy()
    np.testing.assert_allclose(np.sort(found), np.sort(counts.predict(kind="marginal")), rtol=1e-9)
    with pytest.raises(DataError, match="rows"):
        counts.to_marginaleffects(epil[:50])


def test_adapter_without_the_package(
    pooled: PooledResult, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("marginaleffects", "marginaleffects.classes"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OptionError, match="pip install"):
        pooled.to_marginaleffects()
    with pytest.raises(OptionError, match="noise"):
        cg.fixed_effects("y ~ x", frame, cluster="id").to_marginaleffects()
