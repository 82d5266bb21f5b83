"""Reports as single HTML pages. Needs matplotlib and jinja2: `pip install 'clusterglm[report]'`."""

from clusterglm.report.fit import report

__all__ = ["report"]
