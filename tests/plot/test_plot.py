"""Every plot: its data against what they come from, and its picture."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import DataError, MissingPackageError, OptionError
from clusterglm.plot import Plot
from clusterglm.plot.themes import DARK, LIGHT

Fits = dict[str, Any]

PLOTS: dict[str, Callable[..., Plot]] = {
    "coefficients": lambda f, **k: f["random"].plot.coefficients(**k),
    "several": lambda f, **k: cg.plot.coefficients([f["pooled"], f["random"], f["fixed"]], exponentiate=True, **k),
    "caterpillar": lambda f, **k: f["random"].plot.caterpillar(**k),
    "ranks": lambda f, **k: f["fixed"].plot.caterpillar(named=10, **k),
    "infinite": lambda f, **k: f["fixed"].plot.caterpillar(**k),
    "rootogram": lambda f, **k: cg.plot.rootogram({"none": f["pooled"], "normal": f["random"]}, **k),
    "rootogram of counts": lambda f, **k: f["counts"].plot.rootogram(**k),
    "profile of sigma": lambda f, **k: f["random"].plot.profile(**k),
    "profile": lambda f, **k: f["conditional"].plot.profile("induced", **k),
    "profile at zero": lambda f, **k: f["at_zero"].plot.profile(**k),
    "density": lambda f, **k: f["random"].plot.density(**k),
    "densities": lambda f, **k: cg.plot.density({"normal": f["random"], "heavy": f["cauchy"]}, **k),
    "gradient": lambda f, **k: f["random"].plot.gradient(**k),
    "qq": lambda f, **k: f["random"].plot.qq(n_sim=19, seed=1, **k),
    "residuals": lambda f, **k: f["fixed"].plot.residuals(n_sim=19, seed=1, **k),
    "calibration": lambda f, **k: f["random"].plot.calibration(**k),
    "predictions": lambda f, **k: f["random"].plot.predictions("week", clusters=2, **k),
    "predicted levels": lambda f, **k: f["random"].plot.predictions("trt", **k),
    "predicted ratios": lambda f, **k: f["conditional"].plot.predictions("induced", scale="ratio", **k),
    "bootstrap": lambda f, **k: f["random"].plot.bootstrap(n_boot=19, seed=1, **k),
    "bootstrapped": lambda f, **k: f["random"].plot.bootstrap("sigma", n_boot=19, seed=1, **k),
    "survival": lambda f, **k: f["random"].plot.survival({"week": [0, 2, 4], "trt": ["drug"] * 3}, "week", **k),
    "survivals": lambda f, **k: f["random"].plot.survival(
        {"week": [0, 2, 4] * 2, "trt": ["drug"] * 3 + ["placebo"] * 3}, "week", by="trt", kind="typical", **k
    ),
    "integration": lambda f, **k: f["cauchy"].plot.integration(**k),
}


def pixels(plot: Plot) -> np.ndarray:
    """The picture, shape (rows, columns, 3), between 0 and 1."""
    import matplotlib.image

    file = io.BytesIO()
    plot.figure.savefig(file, dpi=60, format="png")
    file.seek(0)
    return np.asarray(matplotlib.image.imread(file))[:, :, :3]


def colour(text: str) -> np.ndarray:
    return np.array([int(text[k : k + 2], 16) / 255.0 for k in (1, 3, 5)])


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("name", PLOTS)
def test_pictures(fits: Fits, name: str, theme: Any) -> None:
    """On the theme's paper, not blank, with some of its first colour, and nothing cut off at the edges."""
    before = dict(mpl.rcParams)
    plot = PLOTS[name](fits, theme=theme.name)
    assert dict(mpl.rcParams) == before
    picture = pixels(plot)
    paper = np.abs(picture - colour(theme.paper)).max(axis=2) < 0.02
    assert 0.5 < paper.mean() < 0.995
    edges = np.concatenate([paper[0], paper[-1], paper[:, 0], paper[:, -1]])
    assert edges.all()
    # bands are translucent, so that a hue counts, not a shade
    first = picture - colour(theme.paper)
    wanted = colour(theme.colours[0]) - colour(theme.paper)
    cosine = (first @ wanted) / (np.linalg.norm(first, axis=2) * np.linalg.norm(wanted) + 1e-9)
    assert np.count_nonzero((cosine > 0.99) & ~paper) > 20
    assert len(plot.data) > 0


@pytest.mark.parametrize("name", PLOTS)
def test_given_axis(fits: Fits, name: str) -> None:
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    ax.set_facecolor("#101010")
    plot = PLOTS[name](fits, ax=ax)
    assert plot.ax is ax
    assert plot.figure is figure
    drawn = [line.get_color() for line in ax.lines] + [str(c.get_edgecolor()) for c in ax.collections]
    assert not {LIGHT.colours[0], LIGHT.muted} & {str(each) for each in drawn}  # the dark theme was taken for its paper


def test_coefficients(fits: Fits) -> None:
    data = cg.plot.coefficients({"a": fits["random"], "b": fits["pooled"]}, level=0.9).data
    part = data[data["model"] == "a"].set_index("term")
    ends = fits["random"].conf_int(level=0.9)
    assert list(part.index) == ["trtdrug", "trtdrug+", "week"]
    np.testing.assert_array_equal(part["estimate"], fits["random"].params[part.index])
    np.testing.assert_array_equal(part[["low", "high"]], ends.loc[part.index])
    ratios = fits["pooled"].plot.coefficients(exponentiate=True, terms=["week"]).data
    np.testing.assert_allclose(ratios["estimate"], np.exp(fits["pooled"].params["week"]))
    with pytest.raises(OptionError, match="wek"):
        fits["pooled"].plot.coefficients(terms=["wek"])
    with pytest.raises(OptionError, match="str"):
        cg.plot.coefficients(["fit"])  # type: ignore[list-item]


def test_caterpillar(fits: Fits) -> None:
    data = fits["random"].plot.caterpillar(level=0.5).data
    known = fits["random"].random_effects.set_index("label").loc[data["label"]]
    assert data["estimate"].is_monotonic_increasing
    np.testing.assert_array_equal(data["estimate"], known["mode"])
    np.testing.assert_allclose(data["high"] - data["low"], 2 * 0.6744897501960817 * known["sd"])
    fixed = fits["fixed"].plot.caterpillar()
    assert np.isinf(fixed.data["estimate"]).sum() == 26
    assert [t.get_text() for t in fixed.ax.get_legend().get_texts()] == ["26 at +∞, all responses alike"]
    with pytest.raises(OptionError, match="pooled"):
        fits["pooled"].plot.caterpillar()


def test_many_clusters_have_no_labels(fits: Fits) -> None:
    plot = fits["random"].plot.caterpillar(named=20)
    assert len(plot.ax.get_xticklabels()) < 15
    assert "50 clusters" in plot.ax.get_xlabel()


def test_rootogram(fits: Fits, bacteria: pd.DataFrame) -> None:
    selection = cg.select_distribution("y ~ trt + week", bacteria, cluster="ID", distributions=["gaussian", "cauchy"])
    data = cg.plot.rootogram(selection).data
    events = (bacteria["y"] == "y").groupby(bacteria["ID"]).sum().value_counts()
    for name in ("gaussian", "cauchy"):
        part = data[data["model"] == name].set_index("first")
        assert part["observed"].to_dict() == {k: float(events.get(k, 0)) for k in range(6)}
        assert part["expected"].sum() == pytest.approx(50.0)
    few = fits["counts"].plot.rootogram(cells=5)
    assert len(few.data) == 5
    assert few.data["observed"].sum() == 59
    assert few.data["expected"].sum() == pytest.approx(59.0)
    assert few.ax.get_xticklabels()[-1].get_text() == f"{few.data['first'].iloc[-1]}+"
    with pytest.raises(OptionError, match="fixed_effects"):
        fits["fixed"].plot.rootogram()
    with pytest.raises(OptionError, match="different"):
        cg.plot.rootogram([fits["random"], fits["counts"]])


def test_profile(fits: Fits) -> None:
    curve = fits["random"].profile("week")
    data = cg.plot.profile(curve).data
    np.testing.assert_allclose(data["loglik"], curve.loglik - fits["random"].loglik, atol=1e-6)
    assert fits["at_zero"].plot.profile().data["value"].min() == 0.0


def test_the_curve_between_the_points_is_the_profile(fits: Fits, bacteria: pd.DataFrame) -> None:
    """Also where a profile of sigma levels off towards 0."""
    drawn = fits["random"].plot.profile("sigma").ax.lines[0].get_xydata()
    for sigma in (0.05, 0.15, 0.25, 0.4, 1.0, 2.0):
        held = cg.random_effects("y ~ trt + week", bacteria, cluster="ID", sigma=sigma, fix_sigma=True)
        assert np.interp(sigma, *drawn.T) == pytest.approx(held.loglik - fits["random"].loglik, abs=0.01)


def test_density(fits: Fits) -> None:
    from scipy.stats import norm

    fit = fits["random"]
    plot = cg.plot.density({"normal": fit, "heavy": fits["cauchy"]}, level=0.9)
    one = plot.data[plot.data["model"] == "normal"]
    np.testing.assert_allclose(one["density"], norm.pdf(one["intercept"], scale=fit.sigma), rtol=1e-12)
    error = np.abs((one["intercept"] / fit.sigma) ** 2 - 1.0) * fit.sigma_se / fit.sigma
    np.testing.assert_allclose(one["high"] / one["density"] - 1.0, norm.ppf(0.95) * error, atol=1e-12)
    np.testing.assert_allclose(one["low"], np.maximum(one["density"] * (1.0 - norm.ppf(0.95) * error), 0.0), atol=1e-12)
    assert set(plot.data["model"]) == {"normal", "heavy"}
    assert len(fit.plot.density().data) == len(one)
    for name in ("pooled", "at_zero"):
        with pytest.raises(OptionError, match="sigma above zero"):
            fits[name].plot.density()


def test_gradient(fits: Fits) -> None:
    plot = fits["random"].plot.gradient()
    data = plot.data
    # weighted by the fitted density, the gradient function integrates to zero
    sigma = fits["random"].sigma
    x = data["intercept"].to_numpy()
    density = np.exp(-0.5 * (x / sigma) ** 2) / (sigma * np.sqrt(2.0 * np.pi))
    assert abs(np.trapezoid(density * data["gradient"], x)) < 0.01
    words = [text.get_text() for text in plot.ax.get_legend().get_texts()]
    assert not [text for text in words if "fitted model" in text]
    test = fits["random"].gradient_function(n_boot=19, seed=1)
    banded = cg.plot.gradient(test)
    pd.testing.assert_frame_equal(banded.data, test.to_frame())
    words = [text.get_text() for text in banded.ax.get_legend().get_texts()]
    assert len([text for text in words if "fitted model" in text]) == 2
    with pytest.raises(OptionError, match="pooled"):
        fits["pooled"].plot.gradient()


def test_residual_plots_share_an_envelope(fits: Fits) -> None:
    found = fits["counts"].residual_envelope(n_sim=19, seed=2)
    qq, against = cg.plot.qq(found).data, cg.plot.residuals(found).data
    np.testing.assert_allclose(qq["residual"], np.sort(found.residual))
    assert (qq["low"] <= qq["high"]).all()
    assert (against["low"] <= against["high"]).all()
    np.testing.assert_array_equal(fits["counts"].plot.qq(n_sim=19, seed=2).data, qq)
    with pytest.raises(OptionError, match="conditional"):
        fits["conditional"].plot.qq()


def test_calibration(fits: Fits) -> None:
    pd.testing.assert_frame_equal(fits["random"].plot.calibration(groups=5).data, fits["random"].calibration(5).table())


def test_predictions(fits: Fits, bacteria: pd.DataFrame, epil: pd.DataFrame) -> None:
    data = fits["random"].plot.predictions("week", clusters=["X01"], points=5).data
    assert list(data["curve"].unique()) == ["typical cluster", "average over clusters", "ID X01"]
    part = data[data["curve"] == "average over clusters"]
    rows = pd.DataFrame({"week": part["week"], "trt": "placebo"})
    again = fits["random"].predict(rows, "marginal", level=0.95)
    np.testing.assert_allclose(part[["estimate", "low", "high"]], again[["estimate", "low", "high"]])
    assert part["week"].min() == bacteria["week"].min()
    held = fits["random"].plot.predictions("week", at={"trt": "drug"}, kinds=["typical"], points=3)
    assert "trt = drug" in held.ax.get_xlabel()
    with pytest.raises(OptionError, match="trtt"):
        fits["random"].plot.predictions("week", at={"trtt": "drug"})
    with pytest.raises(OptionError, match="labels"):
        fits["random"].plot.predictions("week", clusters=["nobody"])
    with pytest.raises(OptionError, match="offset"):
        fits["counts"].plot.predictions("lbase")
    by_table = fits["counts"].plot.predictions("lbase", data=epil, points=4).data
    by_value = fits["counts"].plot.predictions("lbase", at={"lage": epil["lage"].median()}, points=4).data
    pd.testing.assert_frame_equal(by_table, by_value)
    steps = cg.random_effects("y ~ I(week > 2)", bacteria, cluster="ID")
    with pytest.raises(DataError):
        steps.plot.predictions("week")
    assert len(steps.plot.predictions("week", data=bacteria, points=7).data) == 14


def test_predictions_of_any_distribution(fits: Fits, bacteria: pd.DataFrame) -> None:
    """There is no typical cluster: the average is shown, and says that it is one."""
    fit = cg.nonparametric("y ~ trt + week", bacteria, cluster="ID")
    data = fit.plot.predictions("week", points=4).data
    assert set(data["curve"]) == {"average over clusters"}
    rows = pd.DataFrame({"week": data["week"], "trt": "placebo"})
    again = fit.predict(rows, "marginal", level=0.95)
    np.testing.assert_allclose(data[["estimate", "low", "high"]], again[["estimate", "low", "high"]])
    for other in (fit, fits["pooled"]):
        with pytest.raises(OptionError, match="clusters="):
            other.plot.predictions("week", clusters=2)


def test_predictions_that_do_not_exist(epil: pd.DataFrame) -> None:
    """A Cauchy intercept has no mean of counts: said in the legend, not drawn."""
    fit = cg.random_effects("y ~ lbase", epil, cluster="subject", family="poisson", distribution="cauchy")
    plot = fit.plot.predictions("lbase", points=3)
    words = [t.get_text().replace("\n", " ") for t in plot.ax.get_legend().get_texts()]
    assert any("no finite mean" in each for each in words)
    assert len(plot.data) == 6


@pytest.mark.parametrize(("observed", "beyond"), [(2.0, False), (11.0, False), (121.0, True), (-50.0, True)])
def test_an_observed_value_far_out_leaves_the_replicates_visible(fits: Fits, observed: float, beyond: bool) -> None:
    test = replace(fits["random"].test_clustering("bootstrap", n_boot=19, seed=2), statistic=observed)
    test = replace(test, replicates=np.linspace(0.0, 3.0, 50))
    ax = cg.plot.bootstrap(test).ax
    low, high = ax.get_xlim()
    left, right = min(bar.get_x() for bar in ax.patches), max(bar.get_x() + bar.get_width() for bar in ax.patches)
    assert low <= left < right <= high
    assert (right - left) / (high - low) > 0.15
    label = ax.get_legend().get_texts()[1].get_text()
    assert label.startswith(f"observed {observed:g}")
    assert label.endswith("beyond the axis") is beyond
    assert [each.get_text() for each in ax.texts if each.get_text()] == ([f"{observed:g}"] if beyond else [])
    if not beyond:
        assert low < observed < high
        assert observed in [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata())]


def test_bootstrap(fits: Fits) -> None:
    test = fits["random"].test_clustering(n_boot=19, seed=3)
    plot = cg.plot.bootstrap(test)
    np.testing.assert_array_equal(plot.data["replicate"], test.replicates)
    assert float(plot.ax.lines[0].get_xdata()[0]) == test.statistic
    estimates = fits["random"].bootstrap(19, seed=3)
    data = cg.plot.bootstrap(estimates, "week").data
    np.testing.assert_array_equal(data["replicate"], estimates.replicates[:, estimates.names.index("week")])
    with pytest.raises(OptionError, match="wek"):
        cg.plot.bootstrap(estimates, "wek")
    with pytest.raises(OptionError, match="pooled"):
        fits["pooled"].plot.bootstrap()


def test_integration(fits: Fits) -> None:
    data = fits["random"].plot.integration(nodes=[1, 9, 30]).data.set_index("nodes")["difference"]
    laplace = cg.random_effects("y ~ trt + week", cg.datasets.load("bacteria"), cluster="ID", quadrature=9)
    assert abs(data[30]) < 1e-8 < abs(data[9]) < abs(data[1])
    # two estimates apart by little, the log-likelihoods at them differ by what the rule is off, nearly
    assert laplace.loglik - fits["random"].loglik == pytest.approx(data[9], rel=0.05)
    assert set(fits["cauchy"].integration_curve([1]).scale) == {"normal", "density"}
    for wrong in ("pooled", "at_zero"):
        with pytest.raises(OptionError):
            fits[wrong].plot.integration()


def test_long_names_and_labels_fit() -> None:
    rng = np.random.default_rng(5)
    long = "a covariate whose name says nearly everything of how, when and by whom it was once measured"
    data = pd.DataFrame({long: rng.normal(size=120), "id": [f"{long} {k}" for k in np.repeat(np.arange(20), 6)]})
    data["y"] = rng.random(120) < 0.5
    fit = cg.fixed_effects(f"y ~ `{long}`", data, cluster="id")
    for plot in (fit.plot.coefficients(), fit.plot.caterpillar(), fit.plot.predictions(long)):
        plot.figure.draw_without_rendering()
        box = plot.figure.get_tightbbox()
        width, height = plot.figure.get_size_inches()
        assert box.x0 >= 0.0
        assert box.y0 >= 0.0
        assert box.x1 <= width
        assert box.y1 <= height
        assert plot.ax.get_position().width > 0.4


@pytest.mark.parametrize("parameter", [None, "week"])
def test_names_of_neighbours_do_not_touch(fits: Fits, parameter: str | None) -> None:
    plot = fits["random"].plot.influence(parameter=parameter, named=30)
    plot.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in plot.ax.texts]
    assert len(boxes) == 30
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_colours_differ(fits: Fits) -> None:
    """Within a theme, so that one can be replaced by the other's; from the paper by enough to be seen."""
    for theme in (LIGHT, DARK):
        colours = [theme.paper, theme.ink, theme.muted, theme.grid, *theme.colours]
        assert len(set(colours)) == len(colours)

        def luminance(text: str) -> float:
            c = colour(text)
            linear = np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
            return float(linear @ [0.2126, 0.7152, 0.0722])

        for each in (theme.ink, theme.muted):
            light, dark = sorted([luminance(each), luminance(theme.paper)], reverse=True)
            assert (light + 0.05) / (dark + 0.05) > 4.5  # WCAG, text
        for each in theme.colours[:4]:
            light, dark = sorted([luminance(each), luminance(theme.paper)], reverse=True)
            assert (light + 0.05) / (dark + 0.05) > 2.5
    with pytest.raises(OptionError, match="theme"):
        cg.plot.gradient(fits["random"], theme="blue")


def test_without_matplotlib(fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"clusterglm\[plot\]"):
        fits["random"].plot.coefficients()


def test_accessor(fits: Fits) -> None:
    import inspect

    assert "caterpillar" in repr(fits["random"].plot)
    assert next(iter(inspect.signature(fits["random"].plot.coefficients).parameters)) == "ax"
    assert "Coefficients with intervals" in inspect.getdoc(fits["random"].plot.coefficients)


def test_save(fits: Fits, tmp_path: Any) -> None:
    file = fits["random"].plot.coefficients().save(tmp_path / "plot.svg")
    assert file.read_text().startswith("<?xml")


@pytest.mark.parametrize("backend", ["svg", "pdf", "agg"])
def test_every_format_can_be_saved_whatever_the_backend(fits: Fits, tmp_path: Any, backend: str) -> None:
    before = mpl.get_backend()
    mpl.use(backend)
    try:
        plot = fits["random"].plot.coefficients()
        for ending, begins in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
            assert plot.save(tmp_path / f"plot.{ending}").read_bytes().startswith(begins)
        with pytest.raises(OptionError, match=r"\.pdf.*\.png"):
            plot.save(tmp_path / "plot.docx")
    finally:
        mpl.use(before)


def test_off_screen_figures_are_nobodys(fits: Fits) -> None:
    import matplotlib.pyplot as plt

    from clusterglm.plot.base import off_screen

    with off_screen(5.0):
        plot = fits["random"].plot.coefficients()
    assert plt.get_fignums() == []
    assert plot.figure.get_figwidth() == 5.0


def test_a_profile_that_stops_at_its_limit_does_not_swing():
    """A correlation whose profile has hardly fallen at -1 and 1: few points, and no rise away from the estimate."""
    from clusterglm.plot.likelihood import _between

    value, height = np.array([-1.0, -0.8, -0.19, 0.35, 1.0]), np.array([-0.64, -0.5, 0.0, -0.5, -0.66])
    at = np.linspace(-1.0, 1.0, 201)
    curve = _between(value, height, at)
    assert (np.diff(curve[at <= -0.19]) >= 0.0).all()
    assert (np.diff(curve[at >= -0.19]) <= 1e-12).all()
    np.testing.assert_allclose(_between(value, height, value), height)
