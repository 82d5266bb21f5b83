"""Quasi-Poisson standard errors of conditional models of counts, against dummies in statsmodels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import clusterglm as cg
from clusterglm.errors import OptionError


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    data = pd.DataFrame({"day": np.repeat(np.arange(40), 5), "x": rng.normal(size=200), "z": rng.normal(size=200)})
    data["n"] = rng.uniform(0.5, 2.0, 200)
    rate = data.n * np.exp(0.4 * data.x + 0.8 * rng.normal(size=40)[data.day])
    data["y"] = rng.negative_binomial(2, 2 / (2 + 4 * rate))
    data.loc[data.day == 7, "y"] = 0  # a day without events
    return data


def test_standard_errors_are_those_of_dummies(data: pd.DataFrame) -> None:
    fit = cg.conditional("y ~ x + z", data, cluster="day", family="poisson", exposure="n")
    seen = data[data.day != 7]
    X = np.column_stack([seen.x, seen.z, pd.get_dummies(seen.day)]).astype(float)
    peer = sm.GLM(seen.y, X, family=sm.families.Poisson(), exposure=seen.n).fit(scale="X2", tol=1e-12)
    assert fit.dispersion == pytest.approx(peer.scale, rel=1e-7)
    assert fit.dispersion > 2.0
    np.testing.assert_allclose(fit.tidy(cov="quasi").std_error, peer.bse[:2], rtol=1e-6)
    np.testing.assert_allclose(fit.conf_int(cov="quasi"), peer.conf_int().iloc[:2], rtol=1e-6)
    np.testing.assert_allclose(fit.cov("quasi"), fit.cov() * fit.dispersion)
    assert fit.wald_test("x", cov="quasi").statistic == pytest.approx(float(peer.tvalues.iloc[0]) ** 2, rel=1e-6)
    assert fit.ratios(cov="quasi").std_error[0] == pytest.approx(np.exp(fit.params["x"]) * peer.bse.iloc[0], rel=1e-5)
    found = fit.predict(scale="probability", level=0.9, cov="quasi").std_error
    plain = fit.predict(scale="probability", level=0.9).std_error
    np.testing.assert_allclose(found[data.day != 7], plain[data.day != 7] * np.sqrt(peer.scale), rtol=1e-6)


def test_the_summary_says_so(data: pd.DataFrame) -> None:
    fit = cg.conditional("y ~ x + z", data, cluster="day", family="poisson")
    words = " ".join(str(fit).split())
    assert f"Dispersion: {fit.dispersion:.4g} (Pearson" in words
    assert "on 154 degrees of freedom" in words  # 195 rows, 39 days with events, 2 coefficients
    assert f'cov="quasi" multiplies standard errors by its root, {np.sqrt(fit.dispersion):.4g}' in words
    assert fit.glance()["dispersion"][0] == fit.dispersion
    notes = cg.table([fit], cov="quasi")
    assert "(quasi)" in str(notes)


def test_weights_are_repeated_rows_and_clusters(data: pd.DataFrame) -> None:
    rng = np.random.default_rng(1)
    rows, days = rng.integers(1, 4, len(data)), rng.integers(1, 3, 40)
    weighted = data.assign(w=rows, c=days[data.day])
    fit = cg.conditional("y ~ x", weighted, cluster="day", family="poisson", weights="w", cluster_weights="c")
    repeated = weighted.loc[weighted.index.repeat(rows)]
    copies = [repeated[repeated.c > k].assign(day=lambda d, k=k: d.day + 100 * k) for k in range(2)]
    whole = cg.conditional("y ~ x", pd.concat(copies), cluster="day", family="poisson")
    assert fit.dispersion == pytest.approx(whole.dispersion, rel=1e-7)
    np.testing.assert_allclose(fit.cov("quasi"), whole.cov("quasi"), rtol=1e-6)


def test_binomial_models_and_others_have_none(data: pd.DataFrame) -> None:
    binary = cg.conditional("I(y > 2) ~ x", data, cluster="day")
    assert binary.dispersion is None
    assert "Dispersion" not in str(binary)
    for fit in (binary, cg.fixed_effects("y ~ x", data, cluster="day", family="poisson")):
        for ask in (fit.tidy, fit.conf_int, fit.ratios):
            with pytest.raises(OptionError, match="cov='quasi'"):
                ask(cov="quasi")
        with pytest.raises(OptionError, match="'quasi'"):
            fit.cov("quasi")


def test_without_degrees_of_freedom_it_is_not_known() -> None:
    two = pd.DataFrame({"id": [1, 1], "x": [0.0, 1.0], "y": [1, 3]})
    fit = cg.conditional("y ~ x", two, cluster="id", family="poisson")
    assert np.isnan(fit.dispersion)
    assert "not known without degrees of freedom" in str(fit)
    assert fit.tidy(cov="quasi").std_error.isna().all()


def test_over_blocks_and_in_files(data: pd.DataFrame, tmp_path: Path) -> None:
    for k in range(3):
        data[data.day % 3 == k].to_parquet(tmp_path / f"part{k}.parquet")
    whole = cg.conditional("y ~ x + z", data, cluster="day", family="poisson")
    blocks = cg.conditional("y ~ x + z", str(tmp_path / "*.parquet"), cluster="day", family="poisson")
    blocks.save(tmp_path / "fit.json")
    for fit in (blocks, cg.load(tmp_path / "fit.json")):
        assert fit.dispersion == pytest.approx(whole.dispersion, rel=1e-9)
        np.testing.assert_allclose(fit.tidy(cov="quasi").std_error, whole.tidy(cov="quasi").std_error, rtol=1e-7)
    assert cg.conditional("I(y > 2) ~ x", str(tmp_path / "*.parquet"), cluster="day").dispersion is None
