"""The pictures of the explanations, drawn with the package's own numbers, for light and for dark pages.

python docs/tools/pictures.py         draw them all into docs/pictures/
python docs/tools/pictures.py NAME    draw this one; `families`, which the README shows, into docs/images/
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logsumexp
from scipy.stats import binom

FOLDER = Path(__file__).parents[1] / "pictures"
KEPT = {"families": Path(__file__).parents[1] / "images"}  # the README shows it, so it is in the repository

# Okabe and Ito's colours, which colour-blind readers can tell apart; paler on dark pages
THEMES = {
    "light": {
        "text": "#333333",
        "grid": "#dddddd",
        "colours": ["#0072b2", "#d55e00", "#009e73", "#8f4f8a"],
    },
    "dark": {
        "text": "#d8d8d8",
        "grid": "#4a4d57",
        "colours": ["#6cb8ee", "#ff9c5a", "#3fcf9f", "#e0a0d8"],
    },
}

# Five ones of five, logit, intercept 0.85, sigma 1
ETA, SIGMA, SIZE = 0.85, 1.0, 5


def log_integrand(s: np.ndarray, scale: str, distribution: str) -> np.ndarray:
    """log of what is integrated over s, for the cluster above."""
    from clusterglm.model.distribution import DISTRIBUTIONS
    from clusterglm.model.special import log_normal_density

    chosen = DISTRIBUTIONS[distribution]
    if scale == "density":
        log_weight, value = chosen.log_density(s)[0], s
    else:
        log_weight, value = log_normal_density(s), chosen.quantile_of_normal(s)
    return log_weight - SIZE * np.logaddexp(0.0, -(ETA + SIGMA * value))


def log_integral(nodes: int, scale: str, distribution: str) -> tuple[float, np.ndarray, float, float]:
    """Adaptive Gauss-Hermite: the log-integral, the nodes, the mode and the width of the normal curve through it."""
    from scipy.optimize import minimize_scalar

    from clusterglm.model.quadrature import hermite

    def height(s: float) -> float:
        return float(log_integrand(np.array([s]), scale, distribution)[0])

    mode = float(minimize_scalar(lambda s: -height(s), bracket=(0.0, 1.0)).x)
    h = 1e-3
    width = (-(height(mode + h) - 2.0 * height(mode) + height(mode - h)) / h**2) ** -0.5
    c, log_w = hermite(nodes)
    s = mode + c * width
    total = np.log(2.0) / 2.0 + np.log(width) + logsumexp(log_w + log_integrand(s, scale, distribution))
    return float(total), s, mode, width


@cache
def exact(distribution: str) -> float:
    s = np.linspace(-37.0, 37.0, 40001)
    return float(logsumexp(log_integrand(s, "normal", distribution)) + np.log(s[1] - s[0]))


def integrand(axes: Any, theme: dict[str, Any]) -> None:
    """The integrand of a Cauchy intercept on both scales, the normal curve through its mode, and 8 nodes."""
    for ax, scale, low, high in zip(axes, ("density", "normal"), (-6.0, -4.0), (14.0, 4.0), strict=True):
        s = np.linspace(low, high, 800)
        g = log_integrand(s, scale, "cauchy")
        _, nodes, mode, width = log_integral(8, scale, "cauchy")
        top = float(log_integrand(np.array([mode]), scale, "cauchy")[0])
        ax.plot(s, np.exp(g), color=theme["colours"][0], label="integrand")
        ax.plot(
            s,
            np.exp(top - 0.5 * ((s - mode) / width) ** 2),
            color=theme["colours"][1],
            linestyle="--",
            label="Laplace's normal curve",
        )
        inside = nodes[(nodes > low) & (nodes < high)]
        ax.plot(
            inside,
            np.zeros_like(inside),
            "|",
            color=theme["colours"][2],
            markersize=16,
            label="8 nodes",
        )
        ax.set(title=f"{scale} scale", xlabel="variable of integration", ylim=(0.0, None))
    axes[0].set_ylabel("height")
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)


def nodes(axes: Any, theme: dict[str, Any]) -> None:
    """Error of the log-integral against the number of nodes."""
    counts = [1, 2, 4, 8, 16, 32, 64, 100]
    lines = [
        ("cauchy", "density", "Cauchy, density scale"),
        ("cauchy", "normal", "Cauchy, normal scale"),
    ]
    lines.append(("gaussian", "normal", "Gaussian (both scales are the same)"))
    for (distribution, scale, label), colour, marker in zip(lines, theme["colours"], "osD", strict=False):
        error = [abs(log_integral(k, scale, distribution)[0] - exact(distribution)) for k in counts]
        axes.loglog(counts, np.maximum(error, 1e-13), marker=marker, color=colour, label=label)
    axes.set_xticks(counts, [str(k) for k in counts])
    axes.minorticks_off()
    axes.set(
        xlabel="nodes (1 is Laplace)",
        ylabel="error of the log-integral, absolute",
        ylim=(1e-12, 3.0),
    )
    axes.legend()


def laplace(axes: Any, theme: dict[str, Any]) -> None:
    """What estimates of sigma go to as the number of clusters grows, with few nodes."""
    sizes = [2, 3, 5, 10, 20, 50]
    for sigma, colour in zip((1.0, 2.0), theme["colours"], strict=False):
        for rule, marker, style, name in (
            ("laplace", "o", "-", "Laplace"),
            (8, "s", "--", "8 nodes"),
        ):
            limits = [limit_of_sigma(size, sigma, rule) / sigma for size in sizes]
            axes.semilogx(
                sizes,
                limits,
                style,
                marker=marker,
                color=colour,
                label=f"{name}, sigma {sigma:g}",
            )
    axes.axhline(1.0, color=theme["text"], linewidth=0.8)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set(
        xlabel="rows in each cluster",
        ylabel="limit of the estimate of sigma / sigma",
        ylim=(0.7, 1.03),
    )
    axes.legend(loc="lower right")


def limit_of_sigma(size: int, sigma: float, rule: str | int, intercept: float = -1.0) -> float:
    """The maximum of the expected likelihood: every count of successes, weighted by its probability."""
    import clusterglm as cg

    s = np.linspace(-8.5, 8.5, 2001)
    weight = np.exp(-0.5 * s * s) / np.exp(-0.5 * s * s).sum()
    counts = np.arange(size + 1)
    probability = binom.pmf(counts[:, None], size, expit(intercept + sigma * s)) @ weight
    table = {
        "id": counts,
        "ones": counts,
        "zeros": size - counts,
        "share": 1000.0 * probability,
    }
    fit = cg.random_effects(
        "cbind(ones, zeros) ~ 1",
        table,
        cluster="id",
        cluster_weights="share",
        quadrature=rule,
        sigma=sigma,
    )
    return float(fit.sigma)


def fixed(axes: Any, theme: dict[str, Any]) -> None:
    """What coefficients with an intercept per cluster go to as the number of clusters grows."""
    sizes = [2, 4, 6, 8, 10, 12, 16, 20]
    ways = (
        (None, "o", "-", "maximum likelihood"),
        ("analytical", "s", "--", "analytical correction"),
    )
    for (correction, marker, style, name), colour in zip(ways, theme["colours"], strict=False):
        limits = [limit_of_coefficient(size, correction) for size in sizes]
        axes.plot(sizes, limits, style, marker=marker, color=colour, label=name)
    axes.axhline(1.0, color=theme["text"], linewidth=0.8)
    axes.text(20.0, 0.93, "conditional likelihood: 1", color=theme["text"], ha="right")
    axes.set_xticks(sizes)
    axes.set(xlabel="rows in each cluster", ylabel="limit of the estimate / the truth")
    axes.legend()


def limit_of_coefficient(size: int, correction: str | None, beta: float = 1.0) -> float:
    """Half of each cluster's rows have x = 1; the clusters' own log-odds are normal(0, 1)."""
    import clusterglm as cg

    half = size // 2
    s = np.linspace(-8.5, 8.5, 801)
    weight = np.exp(-0.5 * s * s) / np.exp(-0.5 * s * s).sum()
    k = np.arange(half + 1)
    without = binom.pmf(k[:, None], half, expit(s - beta / 2.0))
    exposed = binom.pmf(k[:, None], half, expit(s + beta / 2.0))
    probability = (without * weight) @ exposed.T
    table: dict[str, list[float]] = {"id": [], "x": [], "y": [], "share": []}
    for zeros, ones in itertools.product(range(half + 1), repeat=2):
        for x, successes in ((0.0, zeros), (1.0, ones)):
            for row in range(half):
                table["id"].append(zeros * 1000 + ones)
                table["x"].append(x)
                table["y"].append(float(row < successes))
                table["share"].append(1e4 * probability[zeros, ones])
    fit = cg.fixed_effects("y ~ x", table, cluster="id", cluster_weights="share", bias_correction=correction)
    return float(fit.params["x"]) / beta


def families(axes: Any, theme: dict[str, Any]) -> None:
    """What Laplace's approximation makes of siblings: the likelihood of sigma, and odds ratios with intervals."""
    ours, laplace = theme["colours"][0], theme["colours"][1]
    exact, rough = siblings("auto"), siblings("laplace")
    left, right = axes
    grid = np.linspace(0.0, 4.2, 43)
    for fit, rule, colour, style in ((exact, "auto", ours, "-"), (rough, "laplace", laplace, (0, (6, 2)))):
        left.plot(grid, [siblings(rule, sigma).loglik for sigma in grid], color=colour, linestyle=style, linewidth=2.0)
        left.plot(fit.sigma, fit.loglik, "o" if rule == "auto" else "s", color=colour, markersize=7)
    low = siblings("auto", 0.0).loglik
    left.set(
        xlabel="sigma: how much families differ",
        ylabel="log-likelihood",
        ylim=(low - 3.0, exact.loglik + 13.0),
    )
    left.annotate(
        f"accurate integrals: sigma {exact.sigma:.2f}",
        (exact.sigma, exact.loglik),
        (0.0, 9.0),
        textcoords="offset points",
        ha="center",
        color=ours,
    )
    left.annotate(
        f"Laplace: sigma {rough.sigma:.2f}",
        (rough.sigma, rough.loglik),
        (9.0, 3.0),
        textcoords="offset points",
        color=laplace,
    )
    shown = {
        "kid2pY": "two years\nor older",
        "momEdP": "mother finished\nprimary school",
        "ruralY": "rural",
        "pcInd81": "indigenous\ncommunity",
    }
    for fit, shift, colour, marker in ((exact, 0.13, ours, "o"), (rough, -0.13, laplace, "s")):
        table = fit.ratios().set_index("term").loc[list(shown)]
        at = np.arange(len(shown))[::-1] + shift
        right.hlines(at, table["conf_low"], table["conf_high"], color=colour, linewidth=2.0)
        right.plot(table["estimate"], at, marker, color=colour, markersize=6)
    right.axvline(1.0, color=theme["text"], linewidth=0.8)
    right.set_xscale("log")
    right.set_xticks([0.125, 0.25, 0.5, 1, 2, 4, 8], ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    right.minorticks_off()
    right.set_yticks(np.arange(len(shown))[::-1], list(shown.values()))
    right.grid(visible=False, axis="y")
    right.tick_params(axis="y", length=0)
    right.set(xlabel="odds ratios, 95% intervals", ylim=(-0.6, len(shown) - 0.4))


@cache
def siblings(quadrature: str, sigma: float | None = None) -> Any:
    """The fit of the picture: complete immunization of children in Guatemala, clusters of siblings."""
    import clusterglm as cg

    held = {} if sigma is None else {"sigma": sigma, "fix_sigma": True}
    formula = "immun ~ kid2p + ethn + momEd + rural + pcInd81"
    return cg.random_effects(formula, cg.datasets.load("guatemala"), cluster="mom", quadrature=quadrature, **held)


def slopes(axes: Any, theme: dict[str, Any]) -> None:
    """The toenail trial by accurate integrals and by Laplace: profiles of a standard deviation, and averaged means."""
    left, right = axes
    ways = (("auto", 5.0, "accurate integrals", "-", "o"), ("laplace", 8.0, "Laplace", (0, (6, 2)), "s"))
    months = np.linspace(0.0, 12.0, 25)
    for (rule, to, name, style, marker), colour in zip(ways, theme["colours"], strict=False):
        fit = toenails(rule)
        curve = toenail_profile(rule, to)
        left.plot(curve.value, curve.loglik, color=colour, linestyle=style, linewidth=2.0)
        left.plot(curve.estimate, fit.loglik, marker, color=colour, markersize=7)
        left.annotate(
            f"{name}: {curve.estimate:.1f}",
            (curve.estimate, fit.loglik),
            (-14.0, 8.0),
            textcoords="offset points",
            ha="left",
            color=colour,
        )
        means = fit.predict({"treatment": ["itraconazole"] * len(months), "time": months}, "marginal")
        right.plot(months, means, color=colour, linestyle=style, linewidth=2.0, label=name)
    left.set(
        xlabel="standard deviation of the intercepts",
        ylabel="log-likelihood, at its best in all else",
        xlim=(3.0, 36.0),
        ylim=(-572.0, -478.0),
    )
    rows = toenail_rows()
    seen = rows[rows["treatment"] == "itraconazole"].assign(bad=rows["outcome"] == "moderate or severe")
    visits = seen.groupby("visit").agg(month=("time", "mean"), share=("bad", "mean"))
    right.plot(visits["month"], visits["share"], "D", color=theme["text"], markersize=5, label="observed")
    right.set(xlabel="months (itraconazole)", ylabel="share with a bad nail", ylim=(0.0, None))
    right.legend()


@cache
def toenail_rows() -> Any:
    import clusterglm as cg

    return cg.datasets.load("toenail")


@cache
def toenails(rule: str) -> Any:
    """Intercepts and slopes of the patients of the toenail trial; accurate integrals to 0.1 in the log-likelihood."""
    import clusterglm as cg

    quadrature = cg.Quadrature("auto", tolerance=0.1) if rule == "auto" else rule
    return cg.random_effects("outcome ~ treatment * time + (time | patientID)", toenail_rows(), quadrature=quadrature)


@cache
def toenail_profile(rule: str, to: float) -> Any:
    return toenails(rule).profile("sd(patientID: (Intercept))", to=to, points=17)


PICTURES: dict[str, tuple[Callable[[Any, dict[str, Any]], None], int, tuple[float, float]]] = {
    "integrand": (integrand, 2, (8.0, 3.8)),
    "nodes": (nodes, 1, (6.4, 3.8)),
    "laplace": (laplace, 1, (6.4, 3.8)),
    "fixed-effects": (fixed, 1, (6.4, 3.8)),
    "families": (families, 2, (9.2, 3.5)),
    "slopes": (slopes, 2, (9.2, 3.8)),
}


def draw(name: str) -> None:
    """Both versions of a picture."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    picture, panels, size = PICTURES[name]
    for version, theme in THEMES.items():
        text, grid = theme["text"], theme["grid"]
        style: dict[str, Any] = dict.fromkeys(("axes.labelcolor", "text.color", "xtick.color", "ytick.color"), text)
        style |= {
            "axes.edgecolor": text,
            "axes.grid": True,
            "grid.color": grid,
            "svg.hashsalt": name,
        }
        style |= {
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "font.size": 11.0,
        }
        style |= {
            "axes.axisbelow": True,
            "figure.constrained_layout.use": True,
            "savefig.transparent": True,
        }
        with mpl.rc_context(style):
            figure, axes = plt.subplots(1, panels, figsize=size)
            picture(axes, theme)
            figure.savefig(KEPT.get(name, FOLDER) / f"{name}-{version}.svg", metadata={"Date": None})
            plt.close(figure)


def draw_missing() -> None:
    """Draw what is not there, or older than this file; what the repository keeps is left alone."""
    FOLDER.mkdir(exist_ok=True)
    for name in PICTURES.keys() - KEPT.keys():
        made = [FOLDER / f"{name}-{version}.svg" for version in THEMES]
        if not all(path.exists() and path.stat().st_mtime > Path(__file__).stat().st_mtime for path in made):
            draw(name)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in sys.argv[1:] or PICTURES:
        draw(each)
        sys.stderr.write(f"{each}\n")
