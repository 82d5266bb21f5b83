"""Response models: one file for each family and link."""

from clusterglm.model.response.base import Response

__all__ = ["Response"]
