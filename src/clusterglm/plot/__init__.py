"""Plots: each takes an axis or makes one, and returns it with the data that it shows. Needs matplotlib.

Colours are those of Okabe and Ito (2008), told apart by colour-blind readers, with markers and lines for print;
`theme="dark"` is for dark paper. The user's own settings of matplotlib are left alone.
"""

from clusterglm.plot.base import Plot
from clusterglm.plot.clusters import caterpillar
from clusterglm.plot.counts import rootogram
from clusterglm.plot.curves import predictions
from clusterglm.plot.density import density
from clusterglm.plot.estimates import coefficients
from clusterglm.plot.fitted import calibration, qq, residuals
from clusterglm.plot.influence import influence
from clusterglm.plot.likelihood import integration, profile
from clusterglm.plot.means import adjusted_means, contrasts
from clusterglm.plot.mixing import gradient
from clusterglm.plot.posterior import predictive_check, trace
from clusterglm.plot.power import power
from clusterglm.plot.random_effects import random_effects
from clusterglm.plot.replicates import bootstrap
from clusterglm.plot.survival import survival

__all__ = [
    "Plot",
    "adjusted_means",
    "bootstrap",
    "calibration",
    "caterpillar",
    "coefficients",
    "contrasts",
    "density",
    "gradient",
    "influence",
    "integration",
    "power",
    "predictions",
    "predictive_check",
    "profile",
    "qq",
    "random_effects",
    "residuals",
    "rootogram",
    "survival",
    "trace",
]
