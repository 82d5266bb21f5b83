"""The likelihood: profiles of a parameter, and the error of its integrals against nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtri

from clusterglm.errors import OptionError
from clusterglm.inference.uncertainty.intervals import check_level, with_alpha
from clusterglm.model.arrays import Array
from clusterglm.plot.base import Plot, canvas, legend, wrapped
from clusterglm.results.models.base import Result
from clusterglm.results.models.several import check_fit
from clusterglm.results.topics.intervals import ProfileCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 200
NODES = (1, 2, 3, 4, 5, 7, 9, 12, 16, 20, 25, 32, 40, 50)
_LEAST_ERROR = 1e-13  # relative error below which there is only rounding


@with_alpha
def profile(
    fit: Result | ProfileCurve,
    parameter: str | None = None,
    ax: Axes | None = None,
    *,
    level: float = 0.95,
    to: float = 3.0,
    points: int = 17,
    theme: str | None = None,
) -> Plot:
    """Profile log-likelihood of one parameter, its interval, and the parabola that a Wald interval takes it for.

    Parameters
    ----------
    fit : Result or ProfileCurve
        A fit, or what its `profile` gave.
    parameter : str, optional
        Name of a coefficient, or "sigma"; by default sigma in a random-intercept model, otherwise the first one.
    ax : matplotlib Axes, optional
    level : float
        Coverage of the interval marked: values that a likelihood-ratio test does not reject.
    to, points
        Of `fit.profile`.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `value`, `loglik` (relative to the maximum), `root` at the points computed.
    """
    check_fit(fit, "cg.plot.profile", ProfileCurve)
    if isinstance(fit, ProfileCurve):
        curve = fit
    else:
        curve = fit.profile(fit._profiled if parameter is None else parameter, to, points)
    table = curve.to_frame().drop_duplicates("value", ignore_index=True)  # an estimate of 0 is the boundary, too
    table["loglik"] = -0.5 * table["root"] ** 2
    value, root = table["value"].to_numpy(), table["root"].to_numpy()
    drop = 0.5 * float(chdtri(1.0, 1.0 - check_level(level)))
    dense = np.linspace(value[0], value[-1], _POINTS)
    height = _between(value, -0.5 * root**2, dense)
    middle = int(np.argmin(np.abs(root)))
    with canvas(ax, theme, (6.2, 3.8)) as (axis, look):
        inside = height >= -drop
        axis.fill_between(dense[inside], height[inside], -drop, color=look.colours[0], alpha=0.18, linewidth=0.0)
        axis.plot(dense, height, color=look.colours[0], label="profile log-likelihood")
        if 0 < middle < len(value) - 1:
            se = (value[middle + 1] - value[middle - 1]) / (root[middle + 1] - root[middle - 1])
            parabola = -0.5 * ((dense - curve.estimate) / se) ** 2
            axis.plot(dense, parabola, color=look.colours[1], linestyle="--", label="parabola (Wald)")
        axis.plot([curve.estimate], [0.0], "o", color=look.colours[0], label=f"estimate {curve.estimate:.4g}")
        axis.axhline(-drop, color=look.muted, linewidth=1.0, linestyle=":", label=f"{100 * level:g}% interval")
        axis.set_ylim(min(-1.25 * drop, max(float(height.min()), -4.5)) * 1.05, 0.25)
        axis.set_xlabel(wrapped(curve.parameter, 60))
        axis.set_ylabel("Log-likelihood less its maximum")
        legend(axis)
    return Plot(axis, table)


def _between(value: Array, height: Array, at: Array) -> Array:
    """A smooth curve through the points; where it begins at sigma = 0, it begins level, being even in sigma.

    A profile that stops at a limit before it has fallen has few points there, between which a cubic spline may swing:
    then it is one that rises and falls as the points do.
    """
    from scipy.interpolate import CubicSpline, PchipInterpolator

    away = np.sign(at - value[np.argmax(height)])
    if value[0] == 0.0:
        value, height = np.append(-value[:0:-1], value), np.append(height[:0:-1], height)
    if len(value) < 2:
        return np.interp(at, value, height)
    curve = np.asarray(CubicSpline(value, height)(at))
    swings = (np.diff(curve) * away[1:] > 0.0) & (away[1:] == away[:-1])
    return np.asarray(PchipInterpolator(value, height)(at)) if swings.any() else curve


def integration(fit: Result, ax: Axes | None = None, *, nodes: Sequence[int] = NODES, theme: str | None = None) -> Plot:
    """Error of the log-likelihood at the estimates against the number of adaptive Gauss-Hermite nodes.

    Parameters
    ----------
    fit : RandomEffectsResult
    ax : matplotlib Axes, optional
    nodes : sequence of int
        1 is the Laplace approximation.
    theme : "light" or "dark", optional

    Returns
    -------
    Plot
        Data: `scale` (on which the rule integrates; one where they are the same), `nodes`, `difference` from an
        accurate rule's log-likelihood.

    Raises
    ------
    OptionError
        For other models, and at sigma = 0, where there is nothing to integrate.
    """
    check_fit(fit, "cg.plot.integration")
    if fit._without_integrals:
        raise OptionError(
            f"integration errors of {fit._without_integrals}",
            "a model whose likelihood is an integral",
            "cg.random_effects(...), with sigma above 0",
        )
    table = fit.integration_curve(nodes).to_frame()  # type: ignore[attr-defined]  # what has integrals has it
    floor = _LEAST_ERROR * max(abs(fit.loglik), 1.0)
    with canvas(ax, theme, (6.4, 3.8)) as (axis, look):
        for k, (scale, part) in enumerate(table.groupby("scale", sort=False)):
            known = part[np.isfinite(part["difference"])]
            error = np.maximum(known["difference"].abs(), floor)
            axis.plot(known["nodes"], error, **look.series(k), label=f"adaptive, {scale} scale")
        axis.set_xscale("log")
        axis.set_yscale("log")
        shown = [n for n in (1, 2, 3, 5, 9, 16, 25, 50, 100) if min(nodes) <= n <= max(nodes)]
        axis.set_xticks(shown, ["1\nLaplace" if n == 1 else str(n) for n in shown])
        axis.minorticks_off()
        axis.axhline(0.1, color=look.muted, linewidth=1.0, linestyle=":", label="0.1, worth a second look")
        axis.set_xlabel("Nodes")
        axis.set_ylabel("Absolute error of the log-likelihood")
        legend(axis)
    return Plot(axis, table)
