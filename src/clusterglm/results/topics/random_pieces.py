"""What tables, files, plots and reports ask of a result with a random intercept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clusterglm.data.formulas.coding import INTERCEPT
from clusterglm.fit.estimates import RandomEffectsFit, ShapeEstimate
from clusterglm.inference.hypotheses.clustering import ClusteringTest
from clusterglm.inference.uncertainty.intervals import wald_interval_of_scale
from clusterglm.likelihood.report import IntegrationReport
from clusterglm.model.distribution.base import Distribution
from clusterglm.results.topics.caveats import Caveat
from clusterglm.results.topics.pieces import Pieces

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.adequacy import IntegrationCheck
    from clusterglm.inference.distribution.density import DensityBand
    from clusterglm.inference.distribution.event_counts import EventCounts
    from clusterglm.inference.hypotheses.comparison import Candidate

_SMOOTHED = "where densities are smoothed as the data ask for the likelihood ratio is not nearly chi-square"
_FEW_FOR_SIGMA = 15  # clusters
_USUAL_NODES = 25  # of a cluster's integral, that a replicate of usual cost takes
_HEAVY = 6  # times the cost where integrands may have two modes


class RandomEffectsPieces(Pieces):
    """The answers of random intercepts."""

    _untested: ClassVar[str] = ""

    if TYPE_CHECKING:
        fit: RandomEffectsFit

        @property
        def distribution(self) -> Distribution: ...
        @property
        def quadrature(self) -> IntegrationReport: ...
        @property
        def sigma(self) -> float: ...
        @property
        def sigma_se(self) -> float: ...
        @property
        def random_effects_sd(self) -> float: ...
        @property
        def random_effects(self) -> pd.DataFrame: ...
        @property
        def shape(self) -> ShapeEstimate | None: ...
        @property
        def icc(self) -> float | None: ...
        @property
        def clustering_test(self) -> ClusteringTest: ...
        def event_counts(self) -> EventCounts: ...
        def integration_check(self) -> IntegrationCheck: ...

    # In words --------------------------------------------------------------------------------------------------------

    @property
    def _in_words(self) -> str:
        words = f"random intercept, {self.distribution.name}"
        return f"{words}, sigma fixed at {self.sigma:.4g}" if self.fit.sigma_fixed else words

    @property
    def _intercepts_in_words(self) -> str:
        return self.distribution.name

    def _instead_of_error(self, row: Mapping[str, Any]) -> str:
        if row["component"] != "random_intercept" or row["term"] != "sigma":
            return ""
        return "held fixed" if self.fit.sigma_fixed else "boundary" if self.sigma == 0.0 else ""

    def _caveats(self) -> list[Caveat]:
        own = [*self._caveats_of_sigma(), *self._caveats_of_tails(), *self._caveats_of_integration()]
        return [*super()._caveats(), *own]

    def _caveats_of_sigma(self) -> list[Caveat]:
        if self.fit.sigma_fixed:
            words = f"It was set to {self.sigma:.4g}; nothing here tells its uncertainty."
            return [Caveat("sigma was held fixed", words)]
        if self.fit.boundary:
            words = (
                "The likelihood is largest at sigma = 0: the data show no more variation between clusters than chance "
                "gives. That is not proof that clusters do not differ; the profile of sigma shows how large it could "
                "be. Coefficients and standard errors are those of the pooled model."
            )
            return [Caveat("On the boundary", words)]
        if self.n_clusters < _FEW_FOR_SIGMA:
            words = (
                f"From {self.n_clusters} clusters sigma is hardly known, maximum likelihood puts it too low on "
                "average, and with it the standard errors of what varies between clusters. Read its profile interval."
            )
            return [Caveat("sigma from few clusters", words)]
        return []

    def _caveats_of_tails(self) -> list[Caveat]:
        if not np.isinf(self.random_effects_sd) or self.sigma == 0.0:
            return []
        words = (
            f"The {self.distribution.name} distribution has no standard deviation: sigma is its scale, clusters far "
            "out are to be expected, and there is no intraclass correlation."
        )
        if self.response.exponential_mean:
            words += " Counts averaged over clusters have no finite mean."
        return [Caveat("Heavy tails", words)]

    def _caveats_of_integration(self) -> list[Caveat]:
        if self.sigma == 0.0 and self.quadrature.requested.kind == "auto":
            return []
        size = self.n_obs / self.n_clusters
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of is written here
            check = self.integration_check()
        if self.quadrature.nodes == 1 and self.sigma > 0.0:
            words = (
                f"The integrals over the intercepts were approximated by Laplace's method. In small clusters (here "
                f"{size:.3g} rows, on average) that can be far off, most of all for binary responses: sigma and the "
                "coefficients are then too close to zero."
            )
            return [Caveat("Laplace approximation", f"{words} {check}", serious=not check.adequate)]
        return [] if check.adequate else [Caveat("Integrals not accurate", str(check), serious=True)]

    # In files --------------------------------------------------------------------------------------------------------

    def _export(self) -> dict[str, Any]:
        test, report, shape = self.clustering_test, self.quadrature, self.shape
        low, high = wald_interval_of_scale(self.sigma, self.sigma_se, 0.95)
        return super()._export() | {
            "random_intercept": {
                "distribution": self.distribution.name,
                "sigma": self.sigma,
                "std_error": self.sigma_se,
                "conf_low": low,
                "conf_high": high,
                "fixed": self.fit.sigma_fixed,
                "at_boundary": self.fit.boundary,
                "sd": self.random_effects_sd,
                "icc": self.icc,
                "shape": None if shape is None else dict(zip(shape.names, shape.estimates, strict=True)),
            },
            "clustering_test": {"statistic": test.statistic, "pvalue": test.pvalue, "reason": test.reason or None},
            "integration": {
                "requested": str(report.requested),
                "scale": report.scale,
                "nodes": report.nodes,
                "rules": [{"rule": rule, "n_clusters": count} for rule, count in report.rules],
                "error": report.error,
            },
        }

    # Beside others ---------------------------------------------------------------------------------------------------

    def _candidate(self, name: str) -> Candidate:
        report = self.quadrature
        words = str(report.requested)
        return replace(
            super()._candidate(name),
            distribution=self.fit.free_distribution,
            sigma=self.sigma,
            sigma_estimated=not self.fit.sigma_fixed,
            integration_error=report.error,
            untested=_SMOOTHED if self.distribution.smoothed else self._untested,
            integration=words if report.requested.kind == "auto" else f"{words}, on the {report.scale} scale",
        )

    def _comparison_notes(self, name: str) -> list[str]:
        notes = super()._comparison_notes(name)
        if not self.fit.boundary:
            return notes
        doubt = "" if self.quadrature.requested.kind == "auto" else ", as far as a fixed quadrature can tell"
        return [f"The maximum of {name} lies at sigma = 0{doubt}: it is the pooled model there.", *notes]

    # In pictures -----------------------------------------------------------------------------------------------------

    @property
    def _profiled(self) -> str:
        return super()._profiled if self.fit.sigma_fixed else "sigma"

    @property
    def _without_integrals(self) -> str:
        return "" if self.sigma > 0.0 else f"{super()._without_integrals} at sigma = 0"

    def _cluster_effects(self) -> dict[str, tuple[str, pd.DataFrame]]:
        table = self.random_effects.rename(columns={"mode": "estimate", "sd": "std_error"})
        return {INTERCEPT: ("Random intercept (posterior mode)", table)}

    def _density_of_intercepts(self, points: int, level: float) -> DensityBand:
        from clusterglm.inference.distribution.density import density_band

        return density_band(self.fit, points, level) if self.sigma > 0.0 else super()._density_of_intercepts(0, level)

    def _clusters_by_events(self) -> EventCounts:
        return self.event_counts()

    # On a page -------------------------------------------------------------------------------------------------------

    @property
    def _rows_of_usual_cost(self) -> int:
        heavy = 1 if self.distribution.unimodal else _HEAVY
        nodes: int = max(self.quadrature.nodes, _USUAL_NODES)
        return self.n_obs * heavy * nodes // _USUAL_NODES

    def _report_parts(self) -> list[str]:
        lost = [*(["no clustering"] if self.fit.sigma_fixed else []), *(["intercepts"] if self.sigma == 0.0 else [])]
        parts = [*(part for part in super()._report_parts() if part not in lost), "sigma"]
        parts += [] if self.fit.sigma_fixed else ["distributions"]
        if self.sigma == 0.0:
            return [*parts, "intercepts at zero"]
        return [*parts, "integrals", *(["hausman"] if self.response.totals_suffice else [])]
