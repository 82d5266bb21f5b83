"""Adjusted means and contrasts: averages of predictions, derivatives, emmeans' published numbers, every kind of fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import DataError, OptionError

GOLDEN = Path(__file__).parent.parent / "golden" / "data"
TIGHT = cg.Control(tol=1e-10)


def simulated(seed: int = 3, clusters: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(clusters), 6)
    n = len(g)
    d = pd.DataFrame({"g": g, "x": rng.normal(size=n).round(2), "t": rng.integers(0, 4, n).astype(float)})
    d["f"] = rng.choice(["a", "b", "c"], n)
    d["z"] = rng.integers(0, 2, n)
    d["o"] = rng.normal(scale=0.2, size=n).round(2)
    effect = rng.normal(size=(clusters, 2)) @ np.array([[0.8, 0.2], [0.0, 0.5]])
    eta = 0.3 + 0.5 * d.x + 0.4 * (d.f == "b") - 0.3 * (d.f == "c") * d.x + 0.2 * d.z + effect[g, 0] + d.o
    eta = eta + effect[g, 1] * d.x
    d["y"] = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    d["k"] = rng.poisson(np.exp(0.4 * eta))
    return d


FORMULAS = {
    "pooled": ("pooled", "y ~ f * x + z + offset(o)", {"cluster": "g"}),
    "random_effects": ("random_effects", "y ~ f * x + z + offset(o)", {"cluster": "g"}),
    "probit": ("random_effects", "y ~ f * x + z + offset(o)", {"cluster": "g", "link": "probit"}),
    "soft": ("random_effects", "y ~ f * x + z + offset(o)", {"cluster": "g", "penalty": "soft"}),
    "counts": ("random_effects", "k ~ f * x + z + offset(o)", {"cluster": "g", "family": "poisson"}),
    "negative binomial": ("random_effects", "k ~ f * x + z", {"cluster": "g", "family": "negative_binomial"}),
    "cauchy": ("random_effects", "y ~ f * x + z", {"cluster": "g", "distribution": "cauchy"}),
    "slopes": ("random_effects", "y ~ f * x + z + offset(o) + (x | g)", {}),
    "counts with slopes": ("random_effects", "k ~ f * x + z + (x | g)", {"family": "poisson"}),
    "fixed_effects": ("fixed_effects", "k ~ f * x + z", {"cluster": "g", "family": "poisson"}),
}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return simulated()


@pytest.fixture(scope="module")
def fits(data: pd.DataFrame) -> dict[str, Any]:
    return {
        name: getattr(cg, verb)(formula, data, control=TIGHT, **options)
        for name, (verb, formula, options) in FORMULAS.items()
    }


def kinds(fit: Any) -> list[str]:
    return list(fit._mean_kinds)


def predicted(fit: Any, rows: pd.DataFrame, kind: str, scale: str) -> np.ndarray:
    given = {} if fit.kind == "pooled" else {"kind": kind}
    return fit.predict(rows, scale=scale, **given).to_numpy()


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("scale", ["response", "link"])
def test_means_are_averages_of_predictions(fits, data, name, scale) -> None:
    """Brute force: every row at the level, predicted, and averaged; to 1e-10."""
    fit = fits[name]
    for kind in kinds(fit):
        found = fit.adjusted_means("f", by="z", kind=kind, scale=scale).to_frame()
        wanted = []
        for z in (0, 1):
            for f in "abc":
                rows = data.assign(f=f, z=z)
                if fit.kind == "fixed_effects":  # without clusters whose intercept is infinite
                    ends = fit.cluster_effects.set_index("label")["estimate"].reindex(data.g)
                    rows = rows[np.isfinite(ends).to_numpy()]
                wanted.append(predicted(fit, rows, kind, scale).mean())
        assert found["f"].tolist() == list("abc") * 2
        assert found["z"].tolist() == [0] * 3 + [1] * 3
        np.testing.assert_allclose(found["estimate"], wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in FORMULAS if name != "fixed_effects"])
@pytest.mark.parametrize("kind", ["marginal", "typical"])
def test_balanced_means_are_averages_over_a_grid(fits, data, name, kind) -> None:
    fit = fits[name]
    if "o" in str(fit.formula) and "offset" in fit.formula:
        data = data.assign(o=data.o.mean())
    grid = pd.DataFrame({"z": [data.z.mean()], "x": [data.x.mean()], "o": [data.o.mean()], "g": [0]})
    found = fit.adjusted_means("f", over="balanced", kind=kind).to_frame()
    wanted = [predicted(fit, grid.assign(f=f), kind, "response").mean() for f in "abc"]
    np.testing.assert_allclose(found["estimate"], wanted, rtol=1e-10)
    both = fit.adjusted_means("z", over="balanced", kind=kind, at={"x": 0.5}).to_frame()
    wanted = [
        np.mean([predicted(fit, grid.assign(f=f, z=z, x=0.5), kind, "response")[0] for f in "abc"]) for z in (0, 1)
    ]
    np.testing.assert_allclose(both["estimate"], wanted, rtol=1e-10)


def moved(fit: Any, theta: np.ndarray) -> Any:
    """The fit at other parameters, (beta, sigma) or beta alone."""
    from dataclasses import replace

    p = len(fit.fit.beta)
    changes: dict[str, Any] = {"beta": theta[:p]}
    if len(theta) > p:
        changes["sigma"] = float(theta[p])
    return replace(fit, fit=replace(fit.fit, **changes))


@pytest.mark.parametrize("name", ["pooled", "random_effects", "probit", "counts", "soft"])
def test_covariance_follows_differences(fits, name) -> None:
    """Gradients by central differences of the means in (beta, sigma), and the covariance that they give."""
    fit = fits[name]
    for kind in ("marginal", "typical"):
        for slope in (None, "x"):
            theta = fit.fit.theta if hasattr(fit.fit, "theta") else fit.fit.beta
            J = np.empty((3, len(theta)))
            for j in range(len(theta)):
                h = 1e-4 * np.eye(len(theta))[j]
                ends = [moved(fit, theta + s * h).adjusted_means("f", kind=kind, slope=slope).estimate for s in (1, -1)]
                J[:, j] = (ends[0] - ends[1]) / 2e-4
            for cov in ("observed", "robust") if fit.penalty is None else ("observed",):  # else robust is refused
                found = fit.adjusted_means("f", kind=kind, cov=cov, slope=slope)
                V = J @ fit.cov(cov).to_numpy() @ J.T
                np.testing.assert_allclose(found.covariance, V, rtol=2e-5, atol=1e-9)
                np.testing.assert_allclose(found.std_error, np.sqrt(np.diag(V)), rtol=1e-5)


@pytest.mark.parametrize("name", FORMULAS)
def test_contrasts_are_average_effects(fits, name) -> None:
    """Of a level against the first: the same numbers by another way, standard errors too."""
    fit = fits[name]
    for kind in kinds(fit):
        effects = fit.average_effects("f", kind, **({"clusters": "informative"} if fit.kind == "fixed_effects" else {}))
        means = fit.adjusted_means("f", kind=kind)
        found = means.contrasts("reference", adjust=None).to_frame()
        if np.isinf(means.std_error).any():  # a heavy-tailed posterior
            assert "no variance" in means.note
            assert found["std_error"].isna().all()
            continue
        assert found["contrast"].tolist() == effects["contrast"].tolist() == ["b - a", "c - a"]
        for column in ("estimate", "std_error", "pvalue", "conf_low", "conf_high"):
            np.testing.assert_allclose(found[column], effects[column], rtol=1e-8, atol=1e-12)
        for comparison in ("ratio", "lnor"):
            if comparison == "lnor" and not fit.response.bounded:
                continue
            effects = fit.average_effects("f", kind, comparison=comparison)
            found = means.contrasts("reference", comparison=comparison, adjust=None).to_frame()
            for column in ("estimate", "std_error", "z", "conf_low", "conf_high"):
                np.testing.assert_allclose(found[column], effects[column], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["random_effects", "slopes", "pooled", "fixed_effects"])
def test_slopes_are_average_effects(fits, name) -> None:
    fit, kind = fits[name], kinds(fits[name])[0]
    by = fit.average_effects("x", by="f")
    assert by["f"].tolist() == ["a", "b", "c"]
    for _, row in by.iterrows():
        rows = simulated()
        alone = fit.average_effects("x", kind, data=rows[rows.f == row["f"]])
        if fit.kind != "fixed_effects":
            np.testing.assert_allclose(row["estimate"], alone["estimate"][0], rtol=1e-9)
            np.testing.assert_allclose(row["std_error"], alone["std_error"][0], rtol=1e-7)
    slopes = fit.adjusted_means("f", slope="x", kind=kind)
    lines = fit.adjusted_means("f", slope="x", kind=kinds(fit)[-1], scale="link").to_frame()
    beta = fit.params
    if name != "slopes":
        np.testing.assert_allclose(
            lines["estimate"], [beta["x"], beta["x"] + beta["fb:x"], beta["x"] + beta["fc:x"]], rtol=1e-8
        )
    assert slopes.contrasts().to_frame()["contrast"].tolist() == ["a - b", "a - c", "b - c"]


def test_conditional_models_have_linear_predictors(data) -> None:
    """No level, but differences, those of the coefficients; their exponentials are odds ratios."""
    fit = cg.conditional("y ~ f + x", data, cluster="g", control=TIGHT)
    means = fit.adjusted_means("f")
    assert "only differences" in means.note
    found = means.contrasts("reference", comparison="ratio", adjust=None).to_frame()
    ratios = fit.ratios().set_index("term").loc[["fb", "fc"]]
    for column in ("estimate", "std_error", "conf_low", "conf_high"):
        np.testing.assert_allclose(found[column], ratios[column], rtol=1e-9)
    with pytest.raises(OptionError, match="scale"):
        fit.adjusted_means("f", scale="response")


def test_one_row_is_its_prediction(fits, data) -> None:
    """With the prediction's interval: that of the link, transformed."""
    fit = fits["random_effects"]
    row = data.iloc[[7]]
    for kind in ("marginal", "typical"):
        mean = fit.adjusted_means("f", kind=kind, data=row, at={"f": [row["f"].iloc[0]]}, level=0.9).to_frame()
        wanted = fit.predict(row, kind, level=0.9).iloc[0]
        for one, other in (("estimate",) * 2, ("std_error",) * 2, ("conf_low", "low"), ("conf_high", "high")):
            np.testing.assert_allclose(mean[one], wanted[other], rtol=1e-8)


def test_weights_are_repeats(data) -> None:
    weighted = data.assign(w=np.arange(len(data)) % 3 + 1)
    rows = weighted.loc[weighted.index.repeat(weighted.w)].reset_index(drop=True)
    one, other = (
        cg.random_effects("y ~ f + x", table, cluster="g", control=TIGHT, **options)
        for table, options in ((weighted, {"weights": "w"}), (rows, {}))
    )
    for kind in ("marginal", "typical", "conditional"):
        a, b = one.adjusted_means("f", kind=kind), other.adjusted_means("f", kind=kind)
        np.testing.assert_allclose(a.estimate, b.estimate, rtol=1e-9)
        np.testing.assert_allclose(a.covariance, b.covariance, rtol=1e-6)


def test_groups_are_compared_within(fits) -> None:
    fit = fits["random_effects"]
    means = fit.adjusted_means("f", by="z")
    found = means.contrasts(adjust="bonferroni")
    assert found.by["z"] == (0, 0, 0, 1, 1, 1)
    single = fit.adjusted_means("f", at={"z": 1}).contrasts(adjust="bonferroni")
    np.testing.assert_allclose(found.pvalue[3:], single.pvalue, rtol=1e-10)
    np.testing.assert_allclose(found.estimate[3:], single.estimate, rtol=1e-10)
    C = np.array([[1, -1, 0, 0, 0, 0], [0, 0, 0, 1, -1, 0]])
    both = (C @ means.covariance @ C.T)[0, 1]
    assert found.covariance[0, 3] == pytest.approx(both)


def test_numbers_have_the_values_that_there_are_or_those_given(fits) -> None:
    fit = fits["random_effects"]
    assert fit.adjusted_means("x", at={"x": [-1, 0.5]}).to_frame()["x"].tolist() == [-1, 0.5]
    with pytest.raises(OptionError, match=r"at=\{'x'"):
        fit.adjusted_means("x")
    trend = cg.random_effects("y ~ t", simulated(), cluster="g").adjusted_means("t")
    assert trend.to_frame()["t"].tolist() == [0, 1, 2, 3]
    assert trend.contrasts("polynomial").names == ("linear", "quadratic", "cubic")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"variables": "w"}, "variables= with 'w'"),
        ({"variables": "f", "by": "f"}, "by="),
        ({"variables": []}, "no variable"),
        ({"variables": "f", "at": {"z": [0, 1]}}, "several values"),
        ({"variables": "f", "at": {"f": "q"}}, "'q'"),
        ({"variables": "z", "at": {"z": "q"}}, "finite number"),
        ({"variables": "f", "kind": "mean"}, "kind"),
        ({"variables": "f", "scale": "logit"}, "scale"),
        ({"variables": "f", "over": "mean"}, "over"),
        ({"variables": "f", "cov": "hc3"}, "cov"),
        ({"variables": "f", "slope": "f"}, "slopes along"),
        ({"variables": "f", "slope": "x", "scale": "link"}, "link of averaged"),
        ({"variables": "f", "kind": "conditional", "over": "balanced"}, "balanced"),
        ({"variables": "f", "level": 1.5}, "level"),
        ({"variables": "x", "at": {"x": np.arange(600)}}, "600 adjusted means"),
    ],
)
def test_refusals(fits, arguments, words) -> None:
    with pytest.raises(OptionError, match=words):
        fits["random_effects"].adjusted_means(**arguments)


def test_other_refusals(fits, data) -> None:
    means = fits["random_effects"].adjusted_means("f")
    for options, words in (
        ({"comparison": "rr"}, "comparison"),
        ({"adjust": "scheffe"}, "adjust"),
        ({"method": "reference", "adjust": "tukey"}, "tukey"),
        ({"method": "all"}, "method"),
    ):
        with pytest.raises(OptionError, match=words):
            means.contrasts(**options)
    with pytest.raises(OptionError, match="linear predictors"):
        means.on_response()
    with pytest.raises(OptionError, match="no probabilities"):
        fits["counts"].adjusted_means("f").contrasts(comparison="lnor")
    with pytest.raises(OptionError, match="probit"):
        fits["probit"].adjusted_means("f", scale="link").contrasts(comparison="ratio")
    with pytest.raises(OptionError, match="derivative"):
        fits["pooled"].average_effects("x", comparison="ratio")
    with pytest.raises(OptionError, match="by= with"):
        fits["pooled"].average_effects("x", by="g")
    splined = cg.random_effects("y ~ f + bs(x, df=4)", data, cluster="g")
    with pytest.raises(DataError, match="the same table"):
        splined.adjusted_means("f")
    assert np.isfinite(splined.adjusted_means("f", data=data).std_error).all()


def test_saved_fits_say_the_same(fits, tmp_path) -> None:
    for name, fit in fits.items():
        fit.save(tmp_path / "fit.json")
        again = cg.load(tmp_path / "fit.json")
        np.testing.assert_array_equal(again.adjusted_means("f").estimate, fit.adjusted_means("f").estimate, name)
        np.testing.assert_array_equal(again.adjusted_means("f").covariance, fit.adjusted_means("f").covariance)


def test_they_print_as_tables(fits) -> None:
    means = fits["random_effects"].adjusted_means("f", by="z")
    assert str(means).startswith("Adjusted means: probability, marginal")
    assert "within z" in str(means)
    contrasts = means.contrasts(comparison="ratio")
    assert "a / b" in str(contrasts)
    assert "Bonferroni's" in str(contrasts)
    assert "<table" in means._repr_html_()
    assert "<table" in contrasts._repr_html_()


# emmeans' vignette "Transformations and link functions" ---------------------------------------------------------------
# R's glm has its covariance from the weights of the last step but one: its z differ from ours in the fourth digit.


@pytest.fixture(scope="module")
def neuralgia() -> Any:
    return cg.pooled("Pain ~ Treatment * Sex + Age", pd.read_csv(GOLDEN / "neuralgia.csv"), success="Yes")


def test_emmeans_of_neuralgia(neuralgia) -> None:
    means = neuralgia.adjusted_means("Treatment", over="balanced", scale="link")
    found = means.on_response()
    assert found["estimate"].round(3).tolist() == [0.211, 0.121, 0.866]
    assert found["std_error"].tolist() == pytest.approx([0.1110, 0.0835, 0.0883], abs=1.01e-4)
    assert found["conf_low"].tolist() == pytest.approx([0.0675, 0.0285, 0.5927], abs=1.01e-4)
    assert found["conf_high"].round(3).tolist() == [0.497, 0.391, 0.966]


def test_odds_ratios_of_neuralgia_with_tukeys_p_values(neuralgia) -> None:
    means = neuralgia.adjusted_means("Treatment", over="balanced", scale="link")
    later = {"B / A": [-1, 1, 0], "P / A": [-1, 0, 1], "P / B": [0, -1, 1]}
    found = means.contrasts(later, comparison="ratio", adjust=None).to_frame()
    assert found["estimate"].round(3).tolist() == [0.513, 24.234, 47.213]
    assert found["std_error"].tolist() == pytest.approx([0.515, 25.1, 57.2], rel=3e-3)
    assert found["z"].tolist() == pytest.approx([-0.665, 3.073, 3.179], abs=1.01e-3)
    pairs = means.contrasts(comparison="ratio", adjust="tukey").to_frame()
    assert pairs["pvalue"].round(4).tolist() == [0.7837, 0.0060, 0.0042]
    np.testing.assert_allclose(1.0 / pairs["estimate"], found["estimate"])


def test_contrasts_of_women_in_neuralgia_with_bonferronis_p_values(neuralgia) -> None:
    """From the help page of the data set."""
    means = neuralgia.adjusted_means("Treatment", over="balanced", scale="link", at={"Sex": "F"})
    found = means.contrasts("reference", comparison="ratio", adjust=None).to_frame()
    assert found["estimate"].round(3).tolist() == [0.398, 16.892]
    assert found["std_error"].tolist() == pytest.approx([0.648, 22.3], rel=1e-3)
    pairs = means.contrasts(adjust="bonferroni").to_frame()
    assert pairs["z"].abs().tolist() == pytest.approx([0.566, 2.141, 2.511], abs=1.01e-3)
    assert pairs["pvalue"].tolist() == pytest.approx([1.0, 0.0969, 0.0361], abs=1.01e-4)


def test_counterfactual_means_of_neuralgia() -> None:
    """From the vignette on messy data: averages over the rows as they are."""
    fit = cg.pooled("Pain ~ Sex + Age + Duration + Treatment", pd.read_csv(GOLDEN / "neuralgia.csv"), success="Yes")
    assert fit.adjusted_means("Treatment").estimate.round(3).tolist() == [0.283, 0.221, 0.754]


def test_emmeans_of_cbpp() -> None:
    """With an intercept for each herd and each row in it, by Laplace's approximation as lme4 has it."""
    cbpp = cg.datasets.load("cbpp").reset_index(names="unit")
    formula = "cbind(incidence, size - incidence) ~ C(period) + (1 | herd/unit)"
    fit = cg.random_effects(formula, cbpp, quadrature="laplace")
    means = fit.adjusted_means("period", kind="typical", scale="link", over="balanced").on_response()
    assert means["estimate"].round(4).tolist() == pytest.approx([0.1824, 0.0614, 0.0558, 0.0334], abs=1.01e-4)
    assert means["std_error"].tolist() == pytest.approx([0.0442, 0.0230, 0.0220, 0.0172], abs=4e-4)
