"""What tables, files, plots and reports ask of a result with several random effects."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.effects import EffectTerm
from clusterglm.errors import OptionError
from clusterglm.fit.mixed import MixedFit
from clusterglm.inference.hypotheses.random_part import RandomPart
from clusterglm.likelihood.report import IntegrationReport
from clusterglm.model.arrays import Array
from clusterglm.model.covariance import Covariance
from clusterglm.results.tables.table import counted
from clusterglm.results.topics.caveats import Caveat
from clusterglm.results.topics.pieces import EffectsGivenData, Pieces

if TYPE_CHECKING:
    import pandas as pd

    from clusterglm.inference.diagnostics.adequacy import IntegrationCheck
    from clusterglm.inference.hypotheses.comparison import Candidate

_FEW_FOR_COVARIANCE = 15  # clusters for each random effect
_USUAL_POINTS = 25  # of a cluster's integral, that a replicate of usual cost takes


class MixedPieces(Pieces):
    """The answers of several random effects."""

    _untested: ClassVar[str] = ""

    if TYPE_CHECKING:
        fit: MixedFit

        @property
        def quadrature(self) -> IntegrationReport: ...
        @property
        def singular(self) -> bool: ...
        @property
        def _read(self) -> tuple[Array, Array]: ...
        @property
        def _covariance_of(self) -> Covariance: ...
        @property
        def _on_boundary(self) -> NDArray[np.bool_]: ...
        @property
        def random_effects(self) -> pd.DataFrame: ...
        @property
        def variance_components(self) -> pd.DataFrame: ...
        def integration_check(self) -> IntegrationCheck: ...
        def _eta(self, intercepts: Array | float) -> Array: ...

    # In words, in files and beside others ----------------------------------------------------------------------------

    @property
    def _in_words(self) -> str:
        return "random effects: " + "; ".join(map(term_in_words, self.fit.effects.terms))

    def _boundary_notes(self) -> list[str]:
        names, values = self._covariance_of.read_labels(), self._read[0]
        notes = []
        for name, value, there in zip(names, values, self._on_boundary, strict=True):
            if there and name.startswith("sd"):
                notes.append(
                    f"{name} is 0: the data show no more variation of this effect than chance explains. It has no "
                    "standard error on the boundary; the model without it has the same log-likelihood."
                )
            elif there and np.isfinite(value):
                pair = name.partition(": ")[2].rstrip(")").replace(",", " and ") or "any two effects"
                notes.append(
                    f"{name} is {'1' if value > 0.0 else '-1'}: two effects move as one ({pair}). The correlation has "
                    "no standard error on the boundary, and the others are those of a model in which it is known."
                )
        return notes

    def _integration_in_words(self) -> str:
        report = self.quadrature
        words = ", ".join(f"{rule} for {counted(count, 'cluster')}" for rule, count in report.rules)
        if report.requested.kind == "auto":
            words += f", chosen for a tolerance of {report.requested.tolerance:g}"
        if np.isnan(report.error):
            return f'{words}; error not estimated (quadrature="auto" does)'
        return f"{words}; estimated error of the log-likelihood {report.error:.1e}"

    @property
    def _intercepts_in_words(self) -> str:
        return "gaussian"

    def _candidate(self, name: str) -> Candidate:
        terms = [(term.group, term.effects, term.structure) for term in self.fit.effects.covariance.terms]
        return replace(
            super()._candidate(name),
            integration_error=self.quadrature.error,
            integration=str(self.quadrature.requested),
            random_part=RandomPart.of(terms, self.singular),
        )

    def _comparison_notes(self, name: str) -> list[str]:
        notes = super()._comparison_notes(name)
        return [f"The covariance of the random effects of {name} is singular.", *notes] if self.singular else notes

    def _instead_of_error(self, row: Mapping[str, Any]) -> str:
        return "boundary" if row["component"] == "random_effect" and not np.isfinite(row["std_error"]) else ""

    def _without_random_intercepts(self) -> dict[str, NDArray[Any]]:
        return {".fixed": self._eta(0.0)}

    def _export(self) -> dict[str, Any]:
        report = self.quadrature
        return super()._export() | {
            "random_effects": self.variance_components.to_dict(orient="records"),
            "integration": {
                "requested": str(report.requested),
                "nodes": report.nodes,
                "rules": [{"rule": rule, "n_clusters": count} for rule, count in report.rules],
                "error": report.error,
            },
        }

    def _caveats(self) -> list[Caveat]:
        return [*super()._caveats(), *self._caveats_of_covariance(), *self._caveats_of_integration()]

    @property
    def _restricted(self) -> bool:
        """Whether the likelihood is a restricted one, which has no profiles."""
        return False

    def _caveats_of_covariance(self) -> list[Caveat]:
        if self.singular:
            words = (
                "A standard deviation of the random effects is 0, or two effects move as one: the data show no more "
                "variation between clusters than fewer effects give. That is not proof that there is none. What lies "
                "on the boundary has no standard error, and the others take it as known."
            )
            return [Caveat("On the boundary", words)]
        q = self.fit.effects.n_upper
        if self.n_clusters < _FEW_FOR_COVARIANCE * q:
            biased = "maximum likelihood puts standard deviations too low on average"
            if self.fit.penalty is not None:
                biased = "what is said of it rests in part on the penalty, and so on the effects' units and order"
            words = (
                f"From {self.n_clusters} clusters the covariance of {q} random effects is hardly known, and {biased}. "
                "Read their profile intervals."
            )
            if self._restricted:
                words = (
                    f"From {self.n_clusters} clusters the covariance of {q} random effects is hardly known: profile "
                    "intervals, which a fit with reml=False has, say how little."
                )
            return [Caveat("A covariance from few clusters", words)]
        return []

    def _caveats_of_integration(self) -> list[Caveat]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of is written here
            check = self.integration_check()
        return [] if check.adequate else [Caveat("Integrals not accurate", str(check), serious=True)]

    # In pictures -----------------------------------------------------------------------------------------------------

    @property
    def _profiled(self) -> str:
        return self.fit.effects.covariance.read_labels()[0]

    @property
    def _without_integrals(self) -> str:
        return "" if self.fit.factor.any() else f"{super()._without_integrals} whose standard deviations are all 0"

    def _cluster_effects(self) -> dict[str, tuple[str, pd.DataFrame]]:
        table = self.random_effects.rename(columns={"mode": "estimate", "sd": "std_error"})
        if self.fit.effects.children is not None:
            table["effect"] = table["group"] + ": " + table["effect"]
        return {
            str(name): (f"{name} (posterior mode)", own.reset_index(drop=True))
            for name, own in table.groupby("effect", sort=False)
        }

    def _effects_given_data(self) -> EffectsGivenData:
        if self.fit.effects.children is not None:
            raise OptionError(
                "random effects of two nested factors against each other",
                "effects of one factor",
                "fit.plot.caterpillar(), or fit.random_effects",
            )
        posterior, L = self.fit.posterior, self.fit.factor
        names = [name for term in self.fit.effects.covariance.terms for name in term.effects]
        return EffectsGivenData(names, posterior.means @ L.T, L @ posterior.covariances @ L.T, L @ L.T)

    def _cluster_levels(self) -> Array:
        """The average of z'b over the rows of each cluster."""
        data, b = self.data.rows, self.fit.posterior.modes @ self.fit.factor.T
        values = np.einsum("ij,ij->i", self.fit.effects.Z, np.repeat(b, np.diff(data.innermost), axis=0))
        return np.asarray(np.add.reduceat(values, data.starts[:-1]) / np.diff(data.starts))

    # On a page -------------------------------------------------------------------------------------------------------

    @property
    def _rows_of_usual_cost(self) -> int:
        points: int = max(self.quadrature.nodes, _USUAL_POINTS)
        return self.n_obs * points // _USUAL_POINTS

    def _report_parts(self) -> list[str]:
        parts = [*super()._report_parts(), "random effects"]
        return [*parts, "integrals"] if self.fit.factor.any() else [part for part in parts if part != "intercepts"]


def term_in_words(term: EffectTerm) -> str:
    """A term as people say it."""
    names = ", ".join(term.design.names)
    how = {
        "us": "" if len(term.design.names) == 1 else ", with correlations",
        "diag": ", uncorrelated",
        "homdiag": ", uncorrelated and of one variance",
        "cs": ", with one correlation",
    }[term.structure]
    return f"{names} of each {term.group!r}{how}, gaussian"
