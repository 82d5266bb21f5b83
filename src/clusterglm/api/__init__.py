"""The verbs: from a user's table to a result."""

from clusterglm.api.selection import select_distribution
from clusterglm.api.verbs import conditional, fixed_effects, nonparametric, pooled, random_effects

__all__ = ["conditional", "fixed_effects", "nonparametric", "pooled", "random_effects", "select_distribution"]
